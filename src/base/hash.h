/* hash.h - checksums, hashes and small random generators.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   CRC32C for what is stored or sent (ISA-L); XXH3 for tables in memory and for the permanent place of a key;
 *            CRC16 for hash slots; a seeded generator for decisions that need no secrecy.
 * Threading: pure. */
#ifndef CAIRN_BASE_HASH_H
#define CAIRN_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Standard CRC32C ("123456789" gives e3069283). Continue by passing the last result as crc; start with 0. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* XXH3-64. A table in memory passes a seed drawn from env; permanent uses pass 0. */
uint64_t hash64(struct bytes b, uint64_t seed);

/* CRC16 (XMODEM), as Redis Cluster uses it. */
uint16_t crc16(struct bytes b);

/* Spreads the bits of a number (splitmix64's finaliser). */
static inline uint64_t hash_u64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* xoshiro256**: the same seed gives the same numbers on every machine. */
struct rng {
    uint64_t s[4];
};
void rng_init(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);                    /* 0 … n-1, n > 0 */
uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high); /* both ends included */
bool rng_chance(struct rng *r, uint64_t one_in);                  /* true once in one_in; 0 never */

#endif
