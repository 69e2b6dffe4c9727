/* history.c - rows that keep the older versions of rows, and what of them is visible.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/history.h"

#include "base/status.h"

enum { REST_AT = HISTORY_SPACE_AT + 1, STAMP = 8 };

static bool in_space(struct bytes key, uint8_t space)
{
    return key.n >= HISTORY_KEY_MIN && key.p[HISTORY_SPACE_AT] == space;
}

void history_key(struct buf *out, struct bytes data_key, uint8_t history_space, hlc_t superseded)
{
    ASSERT(data_key.n >= HISTORY_KEY_MIN && !in_space(data_key, history_space));
    size_t at = out->n;
    buf_put_bytes(out, data_key);
    out->p[at + HISTORY_SPACE_AT] = history_space;
    buf_put_be64(out, superseded);
}

void history_value(struct buf *out, bool present, struct bytes old_value)
{
    buf_put_u8(out, present);
    if (present) buf_put_bytes(out, old_value);
}

bool history_is_of(struct bytes key, uint8_t history_space, struct bytes data_key)
{
    ASSERT(data_key.n >= HISTORY_KEY_MIN);
    return key.n == data_key.n + STAMP && in_space(key, history_space) &&
           memcmp(key.p, data_key.p, HISTORY_SPACE_AT) == 0 &&
           memcmp(key.p + REST_AT, data_key.p + REST_AT, data_key.n - REST_AT) == 0;
}

bool history_key_decode(struct bytes key, uint8_t history_space, uint8_t data_space, struct buf *out_data_key,
                        hlc_t *out_superseded)
{
    if (key.n < HISTORY_KEY_MIN + STAMP || !in_space(key, history_space)) return false;
    size_t at = out_data_key->n;
    buf_put(out_data_key, key.p, key.n - STAMP);
    out_data_key->p[at + HISTORY_SPACE_AT] = data_space;
    *out_superseded = get_be64(key.p + key.n - STAMP);
    return true;
}

bool history_value_decode(struct bytes value, bool *out_present, struct bytes *out_old_value)
{
    if (value.n < 1 || value.p[0] > 1 || (value.p[0] == 0 && value.n != 1)) return false;
    *out_present = value.p[0] == 1;
    *out_old_value = bytes_of(value.p + 1, value.n - 1);
    return true;
}

bool history_skip(void *ctx, struct bytes key, struct bytes value)
{
    const struct history_skip *s = ctx;
    (void)value;
    return (in_space(key, s->spaces[0]) || in_space(key, s->spaces[1])) && key.n >= HISTORY_KEY_MIN + STAMP &&
           !history_should_keep(s->watermark, get_be64(key.p + key.n - STAMP));
}
