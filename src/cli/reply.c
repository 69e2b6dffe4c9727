/* reply.c - reads replies of the Redis protocol.
 * SPDX-License-Identifier: Apache-2.0
 *
 * https://redis.io/docs/latest/develop/reference/protocol-spec/ */
#include "cli/reply.h"

#include <stdio.h>

#define LINE_MAX_BYTES (64u << 10)
#define BODY_MAX       (1ll << 30)
#define PARTS_MAX      (1ull << 28) /* elements of one reply */
#define DEPTH_MAX      16

static enum reply_state body_of(struct bytes in, size_t line_end, int64_t n, struct reply_part *out)
{
    if (n > BODY_MAX) return REPLY_BROKEN;
    size_t at = line_end + 2, size = (size_t)n;
    if (in.n < at + size + 2) return REPLY_PARTIAL;
    if (in.p[at + size] != '\r' || in.p[at + size + 1] != '\n') return REPLY_BROKEN;
    out->text = bytes_of(in.p + at, size);
    out->size = at + size + 2;
    return REPLY_WHOLE;
}

enum reply_state reply_part(struct bytes in, struct reply_part *out)
{
    int64_t n;
    if (in.n == 0) return REPLY_PARTIAL;
    if (strchr("+-:$*_#,(!=%~>|", in.p[0]) == NULL || in.p[0] == 0) return REPLY_BROKEN;
    const uint8_t *end = memchr(in.p, '\n', MIN(in.n, LINE_MAX_BYTES));
    if (end == NULL) return in.n >= LINE_MAX_BYTES ? REPLY_BROKEN : REPLY_PARTIAL;
    size_t line_end = (size_t)(end - in.p) - 1; /* of the '\r' */
    if (end == in.p || end - in.p < 2 || in.p[line_end] != '\r') return REPLY_BROKEN;
    *out = (struct reply_part){.type = in.p[0], .text = bytes_of(in.p + 1, line_end - 1), .size = line_end + 2};
    if (strchr("$=!", out->type) != NULL) {
        if (!bytes_to_i64(out->text, &n) || n < -1) return REPLY_BROKEN;
        if (n >= 0) return body_of(in, line_end, n, out);
        out->nil = true;
    } else if (strchr("*%~>|", out->type) != NULL) {
        if (!bytes_to_i64(out->text, &n) || n < -1 || n > (int64_t)(PARTS_MAX / 2)) return REPLY_BROKEN;
        out->nil = n < 0;
        out->count = n < 0 ? 0 : (uint64_t)n;
        if (out->type == '%') out->count *= 2;
        if (out->type == '|') out->count = out->count * 2 + 1; /* attributes, then what they belong to */
    } else if (out->type == '_') {
        out->nil = true;
    }
    return REPLY_WHOLE;
}

enum reply_state reply_scan(struct bytes in, size_t *out_size)
{
    struct reply_part part;
    size_t at = 0;
    for (uint64_t left = 1; left != 0; left--) {
        enum reply_state state = reply_part(bytes_of(in.p + at, in.n - at), &part);
        if (state != REPLY_WHOLE) return state;
        at += part.size;
        left += part.count;
        if (left > PARTS_MAX) return REPLY_BROKEN;
    }
    *out_size = at;
    return REPLY_WHOLE;
}

static void print_quoted(struct bytes s, struct buf *out)
{
    buf_put_u8(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t ch = s.p[i];
        if (ch == '"' || ch == '\\') buf_printf(out, "\\%c", ch);
        else if (ch == '\n') buf_printf(out, "\\n");
        else if (ch == '\r') buf_printf(out, "\\r");
        else if (ch == '\t') buf_printf(out, "\\t");
        else if (ch < 0x20 || ch == 0x7f) buf_printf(out, "\\x%02x", ch);
        else buf_put_u8(out, ch);
    }
    buf_put_u8(out, '"');
}

static void print_line(const struct reply_part *part, struct buf *out)
{
    switch (part->type) {
    case '-':
    case '!': buf_printf(out, "(error) "), buf_put_bytes(out, part->text); break;
    case ':': buf_printf(out, "(integer) "), buf_put_bytes(out, part->text); break;
    case ',': buf_printf(out, "(double) "), buf_put_bytes(out, part->text); break;
    case '#': buf_printf(out, bytes_equal(part->text, BYTES_LIT("t")) ? "(true)" : "(false)"); break;
    case '$': print_quoted(part->text, out); break;
    case '=': buf_put_bytes(out, part->text.n > 4 ? bytes_of(part->text.p + 4, part->text.n - 4) : part->text); break;
    default: buf_put_bytes(out, part->text); break;
    }
    buf_put_u8(out, '\n');
}

/* Returns what is left behind the reply. */
static struct bytes print(struct bytes in, unsigned indent, unsigned depth, struct buf *out)
{
    struct reply_part part;
    if (reply_part(in, &part) != REPLY_WHOLE) return (struct bytes){0};
    in = bytes_of(in.p + part.size, in.n - part.size);
    if (part.nil || strchr("*%~>|", part.type) == NULL) {
        if (part.nil) buf_printf(out, "(nil)\n");
        else print_line(&part, out);
        return in;
    }
    if (part.count == 0) buf_printf(out, "(empty)\n");
    if (depth == DEPTH_MAX) {
        buf_printf(out, "(nested too deeply to be shown)\n");
        return (struct bytes){0};
    }
    char number[32];
    int width = snprintf(number, sizeof number, "%llu", (unsigned long long)part.count) + 2;
    for (uint64_t i = 0; i < part.count && in.n != 0; i++) {
        buf_printf(out, "%*s%*llu) ", i == 0 ? 0 : (int)indent, "", width - 2, (unsigned long long)i + 1);
        in = print(in, indent + (unsigned)width, depth + 1, out);
    }
    return in;
}

void reply_print(struct bytes reply, struct buf *out) { print(reply, 0, 0, out); }
