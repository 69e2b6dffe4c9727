/* engine_rocks_extra.h - what engine_rocks.c needs of RocksDB and its C interface lacks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    counting the look-ups in the block cache that found nothing, of the calling thread. See engine_rocks.c,
 *             "Reading from memory alone". */
#ifndef CAIRN_STORE_ENGINE_ROCKS_EXTRA_H
#define CAIRN_STORE_ENGINE_ROCKS_EXTRA_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void rocks_count_misses(bool on);
uint64_t rocks_misses(void); /* while counting was on; rises only */

#ifdef __cplusplus
}
#endif

#endif
