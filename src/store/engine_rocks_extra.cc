/* engine_rocks_extra.cc - what engine_rocks.c needs of RocksDB and its C interface lacks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store/engine_rocks_extra.h"

#include <rocksdb/perf_context.h>
#include <rocksdb/perf_level.h>

extern "C" void rocks_count_misses(bool on)
{
    if (on) {
        rocksdb::get_perf_context()->EnablePerLevelPerfContext();
        rocksdb::SetPerfLevel(rocksdb::PerfLevel::kEnableCount);
    } else {
        rocksdb::SetPerfLevel(rocksdb::PerfLevel::kDisable);
    }
}

extern "C" uint64_t rocks_misses(void)
{
    uint64_t n = 0;
    const auto *levels = rocksdb::get_perf_context()->level_to_perf_context;
    if (levels == nullptr) return 0;
    for (const auto &level : *levels) n += level.second.block_cache_miss_count;
    return n;
}
