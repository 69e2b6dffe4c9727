/* history.c - rows that keep the older versions of keys, and what of them is visible.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/history.h"

#include "base/status.h"

enum { REST_AT = HISTORY_SPACE_AT + 1, STAMP = 8 };

static bool in_space(struct bytes key, uint8_t space)
{
    return key.n >= HISTORY_KEY_MIN && key.p[HISTORY_SPACE_AT] == space;
}

void history_key(struct buf *out, struct bytes data_key, uint8_t history_space, hlc_t written)
{
    ASSERT(data_key.n >= HISTORY_KEY_MIN && !in_space(data_key, history_space));
    size_t at = out->n;
    buf_put_bytes(out, data_key);
    out->p[at + HISTORY_SPACE_AT] = history_space;
    buf_put_be64(out, ~written);
}

void history_value(struct buf *out, hlc_t superseded, struct bytes old_value)
{
    buf_put_u64(out, superseded);
    buf_put_bytes(out, old_value);
}

bool history_is_of(struct bytes key, uint8_t history_space, struct bytes data_key)
{
    ASSERT(data_key.n >= HISTORY_KEY_MIN);
    return key.n == data_key.n + STAMP && in_space(key, history_space) &&
           memcmp(key.p, data_key.p, HISTORY_SPACE_AT) == 0 &&
           memcmp(key.p + REST_AT, data_key.p + REST_AT, data_key.n - REST_AT) == 0;
}

bool history_key_decode(struct bytes key, uint8_t history_space, uint8_t data_space, struct buf *out_data_key,
                        hlc_t *out_written)
{
    if (key.n < HISTORY_KEY_MIN + STAMP || !in_space(key, history_space)) return false;
    size_t at = out_data_key->n;
    buf_put(out_data_key, key.p, key.n - STAMP);
    out_data_key->p[at + HISTORY_SPACE_AT] = data_space;
    *out_written = ~get_be64(key.p + key.n - STAMP);
    return true;
}

bool history_value_decode(struct bytes value, hlc_t *out_superseded, struct bytes *out_old_value)
{
    if (value.n < STAMP) return false;
    *out_superseded = get_u64(value.p);
    *out_old_value = bytes_of(value.p + STAMP, value.n - STAMP);
    return true;
}

bool history_skip(void *ctx, struct bytes key, struct bytes value)
{
    const struct history_view *view = ctx;
    hlc_t superseded;
    struct bytes old;
    return in_space(key, view->history_space) && history_value_decode(value, &superseded, &old) &&
           !history_should_keep(view->watermark, superseded);
}
