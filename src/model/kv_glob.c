/* kv_glob.c - Redis's glob patterns, without their exponential worst case.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A star matches as little as it can; when the rest fails, the last star takes one byte more. Earlier stars need not be
 * tried again, so the cost is at most pattern × text. */
#include "model/kv_internal.h"

/* Matches one byte against the class that begins after `[`; *at ends behind the class. An unclosed class ends with the
 * pattern; `\` quotes; the ends of a range may be in any order. */
static bool class_match(struct bytes p, size_t *at, uint8_t c)
{
    size_t i = *at;
    bool negate = i < p.n && p.p[i] == '^', match = false;
    if (negate) i++;
    for (; i < p.n && p.p[i] != ']'; i++) {
        if (p.p[i] == '\\' && i + 1 < p.n) {
            i++;
            match |= p.p[i] == c;
        } else if (i + 2 < p.n && p.p[i + 1] == '-') {
            uint8_t low = MIN(p.p[i], p.p[i + 2]), high = MAX(p.p[i], p.p[i + 2]);
            match |= c >= low && c <= high;
            i += 2;
        } else {
            match |= p.p[i] == c;
        }
    }
    *at = i < p.n ? i + 1 : i;
    return match != negate;
}

/* One element of the pattern against one byte; *at moves past the element. */
static bool element_match(struct bytes p, size_t *at, uint8_t c)
{
    uint8_t e = p.p[(*at)++];
    switch (e) {
    case '?': return true;
    case '[': return class_match(p, at, c);
    case '\\':
        if (*at < p.n) e = p.p[(*at)++];
        return e == c;
    default: return e == c;
    }
}

bool kv_glob(struct bytes pattern, struct bytes text)
{
    size_t p = 0, t = 0, star_p = SIZE_MAX, star_t = 0;
    for (;;) {
        while (p < pattern.n && pattern.p[p] == '*') {
            star_p = ++p;
            star_t = t;
        }
        if (t == text.n && p == pattern.n) return true;
        if (p < pattern.n && t < text.n && element_match(pattern, &p, text.p[t])) {
            t++;
            continue;
        }
        if (star_p == SIZE_MAX || star_t == text.n) return false;
        p = star_p;
        t = ++star_t;
    }
}
