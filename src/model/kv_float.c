/* kv_float.c - float arithmetic, evaluated by the leader into plain ops.
 * SPDX-License-Identifier: Apache-2.0
 *
 * INCR_FLOAT and HINCR_FLOAT are computed in long double and printed as Redis 7 prints them (%.17Lf without trailing
 * zeros). That differs between machines, so only the leader does it: what is logged sets the text. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/kv_internal.h"

bool kv_float_parse(struct bytes text, long double *out)
{
    char copy[KV_FLOAT_TEXT_MAX];
    if (text.n == 0 || text.n >= sizeof copy || isspace(text.p[0])) return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    char *end;
    errno = 0;
    long double v = strtold(copy, &end);
    if ((size_t)(end - copy) != text.n || isnan(v)) return false;
    if (errno == ERANGE && (v == HUGE_VALL || v == -HUGE_VALL || fpclassify(v) == FP_ZERO)) return false;
    *out = v;
    return true;
}

size_t kv_float_text(long double v, char *out, size_t max)
{
    int n = snprintf(out, max, "%.17Lf", v);
    ASSERT(n > 0 && (size_t)n < max);
    while (out[n - 1] == '0') n--; /* there is a point before the zeros */
    if (out[n - 1] == '.') n--;
    if (n == 2 && out[0] == '-' && out[1] == '0') {
        out[0] = '0';
        n = 1;
    }
    return (size_t)n;
}

static enum status evaluated_error(struct buf *out_result, const char *text)
{
    result_error(out_result, "%s", text);
    return ST_OK;
}

/* EFFECT: the result, then one op. */
static void put_effect(struct buf *out_op, uint16_t opcode, struct bytes body, struct bytes text)
{
    struct buf effect = {0}, result = {0};
    result_bulk(&result, text);
    buf_put_lp(&effect, buf_view(&result));
    buf_put_varint(&effect, 1);
    kv_build_multi_op(&effect, opcode, 0, body);
    op_encode(&(struct op){.semantics = OP_SEMANTICS, .opcode = KV_EFFECT, .body = buf_view(&effect)}, out_op);
    buf_deinit(&effect);
    buf_deinit(&result);
}

/* Adds the increment to `value` and prints the sum; false: an error is in out_result. */
static bool add(long double value, struct bytes increment, const char *overflow, char *text, size_t *out_n,
                struct buf *out_result)
{
    long double delta;
    if (!kv_float_parse(increment, &delta)) {
        evaluated_error(out_result, "ERR value is not a valid float");
        return false;
    }
    value += delta;
    if (isnan(value) || isinf(value)) {
        evaluated_error(out_result, overflow);
        return false;
    }
    *out_n = kv_float_text(value, text, KV_FLOAT_TEXT_MAX);
    return true;
}

#define FLOAT_OVERFLOW "ERR increment would produce NaN or Infinity"

static enum status evaluate_incr(struct kv_run *run, struct buf *out_op, struct buf *out_result)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body);
    if (run->body.failed) return evaluated_error(out_result, "ERR malformed operation");
    if (key.n > KV_KEY_MAX) return evaluated_error(out_result, "ERR a key is longer than 65535 bytes");
    struct bytes increment = reader_bytes(&run->body, reader_left(&run->body));
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    long double value = 0;
    if (k.head.type == KV_HASH)
        return evaluated_error(out_result, "WRONGTYPE Operation against a key holding the wrong kind of value");
    if (k.head.type == KV_LONG || (k.head.type == KV_STRING && !kv_float_parse(k.head.text, &value)))
        return evaluated_error(out_result, "ERR value is not a valid float");
    char text[KV_FLOAT_TEXT_MAX];
    size_t n;
    if (!add(value, increment, FLOAT_OVERFLOW, text, &n, out_result)) return ST_OK;
    struct buf *body = kv_temp(run);
    kv_build_set(body, key, 0, (struct kv_when){.mode = KV_WHEN_KEEP}, bytes_of(text, n));
    put_effect(out_op, KV_SET, buf_view(body), bytes_of(text, n));
    return ST_OK;
}

static enum status evaluate_hincr(struct kv_run *run, struct buf *out_op, struct buf *out_result)
{
    struct kv_key k;
    struct bytes key = reader_lp(&run->body), field = reader_lp(&run->body);
    if (run->body.failed) return evaluated_error(out_result, "ERR malformed operation");
    if (key.n > KV_KEY_MAX || field.n > KV_KEY_MAX)
        return evaluated_error(out_result, "ERR a key or field is longer than 65535 bytes");
    struct bytes increment = reader_bytes(&run->body, reader_left(&run->body));
    enum status st = kv_open(run, &k, key);
    if (st != ST_OK) return st;
    long double value = 0;
    if (kv_is_string(&k))
        return evaluated_error(out_result, "WRONGTYPE Operation against a key holding the wrong kind of value");
    if (k.head.type == KV_HASH) {
        struct bytes old;
        st = kv_element_get(run, &k, field, &old);
        if (st != ST_OK && st != ST_NOT_FOUND) return st;
        if (st == ST_OK && !kv_float_parse(old, &value))
            return evaluated_error(out_result, "ERR hash value is not a float");
    }
    char text[KV_FLOAT_TEXT_MAX];
    size_t n;
    if (!add(value, increment, FLOAT_OVERFLOW, text, &n, out_result)) return ST_OK;
    struct buf *body = kv_temp(run);
    struct bytes pair[2] = {field, bytes_of(text, n)};
    kv_build_hset(body, key, pair, 1);
    put_effect(out_op, KV_HSET, buf_view(body), pair[1]);
    return ST_OK;
}

enum status kv_evaluate_one(struct kv_run *run, struct buf *out_op, struct buf *out_result)
{
    switch (run->op->opcode) {
    case KV_INCR_FLOAT: return evaluate_incr(run, out_op, out_result);
    case KV_HINCR_FLOAT: return evaluate_hincr(run, out_op, out_result);
    default: return ST_VERSION;
    }
}
