/* hash.c - checksums, hashes and small random generators.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <isa-l/crc.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/status.h"

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    /* ISA-L takes an int length and does no inversion. */
    const uint8_t *at = p;
    crc = ~crc;
    while (n > 0) {
        size_t part = MIN(n, (size_t)1 << 30);
        crc = crc32_iscsi((unsigned char *)at, (int)part, crc);
        at += part;
        n -= part;
    }
    return ~crc;
}

uint64_t hash64(struct bytes b, uint64_t seed) { return XXH3_64bits_withSeed(b.p, b.n, seed); }

uint16_t crc16(struct bytes b)
{
    static uint16_t table[256];
    static _Bool ready;
    if (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE)) {
        for (unsigned i = 0; i < 256; i++) {
            uint16_t c = (uint16_t)(i << 8);
            for (int bit = 0; bit < 8; bit++) c = (uint16_t)((c & 0x8000) ? (c << 1) ^ 0x1021 : c << 1);
            __atomic_store_n(&table[i], c, __ATOMIC_RELAXED);
        }
        __atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
    }
    uint16_t crc = 0;
    for (size_t i = 0; i < b.n; i++)
        crc = (uint16_t)((crc << 8) ^ __atomic_load_n(&table[((crc >> 8) ^ b.p[i]) & 0xff], __ATOMIC_RELAXED));
    return crc;
}

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

void rng_init(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) r->s[i] = hash_u64(seed + (uint64_t)i * 0x9e3779b97f4a7c15u);
}

uint64_t rng_next(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    ASSERT(n > 0);
    return (uint64_t)(((unsigned __int128)rng_next(r) * n) >> 64);
}

uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high)
{
    ASSERT(low <= high);
    return low + (high - low == UINT64_MAX ? rng_next(r) : rng_below(r, high - low + 1));
}

bool rng_chance(struct rng *r, uint64_t one_in) { return one_in != 0 && rng_below(r, one_in) == 0; }
