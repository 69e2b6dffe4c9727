/* port_detect.c - which protocol a connection speaks, by its first bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "wire/port_detect.h"

#include "base/status.h"
#include "mesh/mesh.h"

enum match { NO, SO_FAR, YES };

static enum match begins_with(struct bytes b, struct bytes with)
{
    size_t n = MIN(b.n, with.n);
    if (memcmp(b.p, with.p, n) != 0) return NO;
    return n == with.n ? YES : SO_FAR;
}

/* A PostgreSQL packet without a type: length, then a code; both big-endian. */
static enum match is_postgres(struct bytes b)
{
    static const uint8_t codes[][4] = {{0x04, 0xd2, 0x16, 0x2f}, {0x04, 0xd2, 0x16, 0x30}, {0, 3, 0, 0}};
    enum match length = begins_with(b, BYTES_LIT("\0\0"));
    if (length != YES || b.n <= 4) return length == YES ? SO_FAR : length;
    enum match best = NO;
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        enum match m = begins_with(bytes_of(b.p + 4, b.n - 4), bytes_of(codes[i], 4));
        if (m > best) best = m;
    }
    return best;
}

/* "GET /…": letters, a blank, a slash. */
static bool looks_like_request(struct bytes b)
{
    size_t i = 0;
    while (i < b.n && i < 20 && ((b.p[i] >= 'A' && b.p[i] <= 'Z') || b.p[i] == '-')) i++;
    return i > 0 && i + 1 < b.n && b.p[i] == ' ' && (b.p[i + 1] == '/' || b.p[i + 1] == 'h' || b.p[i + 1] == '*');
}

static enum port_verdict by_line(struct bytes b)
{
    const uint8_t *end = memchr(b.p, '\n', MIN(b.n, (size_t)PORT_LINE_MAX));
    if (end == NULL) {
        if (b.n < PORT_LINE_MAX) return DETECT_MORE;
        return looks_like_request(b) ? DETECT_LONG_HTTP : DETECT_LONG;
    }
    struct bytes line = bytes_of(b.p, (size_t)(end - b.p)), tail = BYTES_LIT(" HTTP/1.");
    if (line.n > 0 && line.p[line.n - 1] == '\r') line.n--;
    if (line.n > tail.n && memcmp(line.p + line.n - tail.n - 1, tail.p, tail.n) == 0 && line.p[line.n - 1] >= '0' &&
        line.p[line.n - 1] <= '9')
        return DETECT_HTTP;
    return DETECT_RESP;
}

enum port_verdict port_detect(struct bytes first)
{
    if (first.n == 0) return DETECT_MORE;
    if (first.p[0] == '*') return DETECT_RESP;
    const struct {
        enum match match;
        enum port_verdict verdict;
    } rows[] = {
        {begins_with(first, BYTES_LIT(MESH_MAGIC)), DETECT_MESH},
        {begins_with(first, BYTES_LIT("PRI ")), DETECT_HTTP2},
        {begins_with(first, BYTES_LIT("\x16\x03")), DETECT_TLS},
        {is_postgres(first), DETECT_POSTGRES},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (rows[i].match == YES) return rows[i].verdict;
        if (rows[i].match == SO_FAR) return DETECT_MORE; /* what it may become differs in the first byte */
    }
    return by_line(first);
}
