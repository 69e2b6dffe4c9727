/* result_text_test_util.h - results as text that a test's table can hold.
 * SPDX-License-Identifier: Apache-2.0
 *
 * OK, nil, nil-array, true, 12, "bulk", +simple, -error text, [a b], {k: v}, <k: v> (pairs), (a b) (a set), conflict. */
#ifndef CAIRN_MODEL_RESULT_TEXT_TEST_UTIL_H
#define CAIRN_MODEL_RESULT_TEXT_TEST_UTIL_H

#include "model/result.h"

static inline void result_text_bytes(struct buf *out, struct bytes s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] >= ' ' && s.p[i] < 127 && s.p[i] != '"' && s.p[i] != '\\') buf_put_u8(out, s.p[i]);
        else buf_printf(out, "\\x%02x", s.p[i]);
    }
}

static inline bool result_text(struct buf *out, struct reader *r)
{
    struct result v;
    if (!result_next(r, &v)) return false;
    const char *ends = v.tag == 'm' ? "{}" : v.tag == 'p' ? "<>" : v.tag == 't' ? "()" : "[]";
    switch (v.tag) {
    case 'o': buf_printf(out, "OK"); return true;
    case 'n': buf_printf(out, "nil"); return true;
    case 'N': buf_printf(out, "nil-array"); return true;
    case 'T': buf_printf(out, "true"); return true;
    case 'F': buf_printf(out, "false"); return true;
    case 'V': buf_printf(out, "conflict"); return true;
    case 'Z': buf_printf(out, "too-large"); return true;
    case 'W': buf_printf(out, "forgotten:%llu", (unsigned long long)v.count); return true;
    case 'i': buf_printf(out, "%lld", (long long)v.number); return true;
    case 'X': buf_printf(out, "blocked %llu", (unsigned long long)v.count); return true;
    case 'b':
        buf_put_u8(out, '"');
        result_text_bytes(out, v.bytes);
        buf_put_u8(out, '"');
        return true;
    case 's':
    case 'e':
    case 'd':
        buf_put_u8(out, v.tag == 's' ? '+' : v.tag == 'e' ? '-' : '~');
        result_text_bytes(out, v.bytes);
        return true;
    default: break;
    }
    bool pairs = v.tag == 'm' || v.tag == 'p';
    buf_put_u8(out, (uint8_t)ends[0]);
    for (uint64_t i = 0; i < v.count; i++) {
        if (i != 0) buf_put_u8(out, ' ');
        if (!result_text(out, r)) return false;
        if (pairs) buf_printf(out, ": ");
        if (pairs && !result_text(out, r)) return false;
    }
    buf_put_u8(out, (uint8_t)ends[1]);
    return true;
}

#endif
