/* replay.h - tells a message that comes a second time from one that is new.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    senders number their messages; a receiver remembers, for each sender, the highest number and which of the
 *             REPLAY_WINDOW below it have come (the anti-replay window of IPsec, RFC 4303, section 3.4.3). So a copy that the
 *             network made, or that comes late, is never taken for an attempt of its own.
 * Bounds:     REPLAY_WINDOW bits a sender. What is older than the window is taken for a copy: its sender asks again.
 * Threading:  one owner. */
#ifndef CAIRN_REPLICA_REPLAY_H
#define CAIRN_REPLICA_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#define REPLAY_WINDOW 4096u

/* All zero is a sender not heard of yet. */
struct replay {
    uint64_t life;   /* of the sender: with a new one its numbers begin anew */
    uint64_t before; /* the life before it: what still comes from there is late */
    uint64_t highest;
    uint64_t seen[REPLAY_WINDOW / 64]; /* bit n % REPLAY_WINDOW, for numbers in (highest - REPLAY_WINDOW, highest] */
};

/* Is this the first time? Numbers begin at 1, lives are not 0. */
bool replay_first(struct replay *r, uint64_t life, uint64_t number);

#endif
