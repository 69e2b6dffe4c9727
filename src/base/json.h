/* json.h - writes JSON into a buffer.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    the few calls that a status page needs; commas are put where they belong. Strings are taken as bytes:
 * what is not UTF-8 or is a control character is escaped, so the output always parses. Ownership:  the buffer is the
 * caller's. Threading:  pure. A key is given before each member of an object, NULL before each element of an array and
 * before the whole. */
#ifndef CAIRN_BASE_JSON_H
#define CAIRN_BASE_JSON_H

#include "base/bytes.h"

struct json {
    struct buf *out;
    bool comma; /* something stands before, at this level */
};

void json_begin_object(struct json *j, const char *key);
void json_begin_array(struct json *j, const char *key);
void json_end_object(struct json *j);
void json_end_array(struct json *j);
void json_put_text(struct json *j, const char *key, const char *text); /* NULL: null */
void json_put_bytes(struct json *j, const char *key, struct bytes text);
void json_put_u64(struct json *j, const char *key, uint64_t v); /* above 2^53 readers may round it */
void json_put_i64(struct json *j, const char *key, int64_t v);
void json_put_bool(struct json *j, const char *key, bool v);
void json_put_null(struct json *j, const char *key);
/* A number with three decimals; v times 1000. */
void json_put_milli(struct json *j, const char *key, int64_t thousandths);

#endif
