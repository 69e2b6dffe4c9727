/* deb822.c - records of "Name: value" lines.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/deb822.h"

static bool blank(uint8_t ch) { return ch == ' ' || ch == '\t' || ch == '\r'; }

static struct bytes trim(struct bytes b)
{
    while (b.n != 0 && (blank(b.p[0]) || b.p[0] == '\n')) b.p++, b.n--;
    while (b.n != 0 && (blank(b.p[b.n - 1]) || b.p[b.n - 1] == '\n')) b.n--;
    return b;
}

static enum status add_field(struct bytes line, unsigned number, struct deb822_record *out, struct error *err)
{
    const uint8_t *colon = memchr(line.p, ':', line.n);
    if (colon == NULL || colon == line.p)
        return error_set(err, ST_INVALID, "line %u has no field name before a ':': '%.*s'", number,
                         (int)MIN(line.n, 40u), (const char *)line.p);
    if (out->count == DEB822_FIELDS_MAX)
        return error_set(err, ST_TOO_LARGE, "line %u: the record has more than %d fields", number, DEB822_FIELDS_MAX);
    out->fields[out->count++] = (struct deb822_field){
        .name = bytes_of(line.p, (size_t)(colon - line.p)),
        .value = bytes_of(colon + 1, line.n - (size_t)(colon + 1 - line.p))};
    return ST_OK;
}

/* A line beginning with a blank: the value before it grows up to here. */
static enum status go_on(struct bytes line, unsigned number, struct deb822_record *out, struct error *err)
{
    if (out->count == 0)
        return error_set(err, ST_INVALID, "line %u goes on with a field, but there is none before it", number);
    struct deb822_field *f = &out->fields[out->count - 1];
    f->value.n = (size_t)(line.p + line.n - f->value.p);
    return ST_OK;
}

enum status deb822_next(struct bytes in, bool last, struct deb822_record *out, size_t *out_size, struct error *err)
{
    size_t at = 0;
    unsigned number = 0;
    bool ended = false;
    out->count = 0;
    while (at < in.n && !ended) {
        const uint8_t *end = memchr(in.p + at, '\n', in.n - at);
        if (end == NULL && !last) break;
        struct bytes line = bytes_of(in.p + at, end != NULL ? (size_t)(end - in.p) - at : in.n - at);
        at += line.n + (end != NULL);
        number++;
        enum status st = ST_OK;
        if (trim(line).n == 0) ended = out->count != 0;
        else if (line.p[0] == '#') continue;
        else if (blank(line.p[0])) st = go_on(line, number, out, err);
        else st = add_field(line, number, out, err);
        if (st != ST_OK) return st;
    }
    if (!ended && !last) {
        if (in.n > DEB822_RECORD_MAX)
            return error_set(err, ST_TOO_LARGE, "a record is longer than %u KiB", DEB822_RECORD_MAX >> 10);
        return ST_NOT_READY;
    }
    for (size_t i = 0; i < out->count; i++) {
        out->fields[i].name = trim(out->fields[i].name);
        out->fields[i].value = trim(out->fields[i].value);
    }
    *out_size = at;
    return ST_OK;
}

struct bytes deb822_field(const struct deb822_record *r, const char *lower_name)
{
    for (size_t i = 0; i < r->count; i++)
        if (bytes_equal_nocase(r->fields[i].name, lower_name)) return r->fields[i].value;
    return (struct bytes){0};
}
