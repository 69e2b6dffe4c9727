/* replay.c - tells a message that comes a second time from one that is new.
 * SPDX-License-Identifier: Apache-2.0 */
#include "replica/replay.h"

#include <string.h>

static uint64_t *word(struct replay *r, uint64_t number) { return &r->seen[number % REPLAY_WINDOW / 64]; }

static uint64_t bit(uint64_t number) { return 1ull << number % 64; }

bool replay_first(struct replay *r, uint64_t life, uint64_t number)
{
    if (number == 0 || life == r->before) return false;
    if (life != r->life) *r = (struct replay){.life = life, .before = r->life};
    if (number > r->highest) {
        if (number - r->highest >= REPLAY_WINDOW) memset(r->seen, 0, sizeof r->seen);
        else
            for (uint64_t n = r->highest + 1; n < number; n++) *word(r, n) &= ~bit(n);
        r->highest = number;
        *word(r, number) |= bit(number);
        return true;
    }
    if (r->highest - number >= REPLAY_WINDOW || (*word(r, number) & bit(number)) != 0) return false;
    *word(r, number) |= bit(number);
    return true;
}
