/* fake_env_test_util.h - a small environment for tests of the log: one loop, workers run by hand, a disk that can lose power.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    the simulator draws what a crash takes; this one lets a test choose it, sector by sector and name by name,
 *             so that all cases can be tried. Streams are not offered.
 * Ownership:  struct fake owns all; a disk can be cloned, to try several endings of one run.
 * Threading:  one thread. Jobs of workers run inside fake_run. */
#ifndef CAIRN_STORE_FAKE_ENV_TEST_UTIL_H
#define CAIRN_STORE_FAKE_ENV_TEST_UTIL_H

#include "base/hash.h"
#include "env/env.h"

struct fake;
struct fake_disk;

/* disk NULL: an empty one. The disk passes to the fake. */
struct fake *fake_new(struct fake_disk *disk, uint64_t seed);
void fake_free(struct fake *f); /* with its disk; everything must be closed */
struct env_loop *fake_loop(struct fake *f);

void fake_run(struct fake *f);                 /* tasks and jobs until nothing is left; no time passes */
void fake_tasks(struct fake *f);               /* tasks only: jobs stay queued */
bool fake_job(struct fake *f);                 /* runs one queued job; false: none */
void fake_advance(struct fake *f, uint64_t ns); /* time passes: timers fire, tasks and jobs run */

/* Counts what changes the disk (write, fill, sync, truncate, create, rename, unlink, directory sync). */
uint64_t fake_ops(const struct fake *f);
/* From the n-th such operation on (counted from the beginning) nothing reaches the disk any more: all fail with ST_IO. */
void fake_power_off_at(struct fake *f, uint64_t n);
enum fake_op { FAKE_READ, FAKE_WRITE, FAKE_SYNC, FAKE_FILL, FAKE_CREATE, FAKE_DIR_SYNC, FAKE_OP_COUNT };
/* The next `count` operations of the kind, after `skip` of them, fail with st. */
void fake_fail(struct fake *f, enum fake_op op, uint64_t skip, uint64_t count, enum status st);
/* The kernel writes back all sectors in doubt by itself (if the power is on). */
void fake_writeback(struct fake *f);
void fake_set_free(struct fake *f, uint64_t bytes); /* what env_disk_free says */

struct fake_disk *fake_disk_clone(const struct fake_disk *d);
void fake_disk_free(struct fake_disk *d);
struct fake_disk *fake_disk(struct fake *f);
struct fake_disk *fake_take_disk(struct fake *f); /* the fake has none then, and can only be freed */

/* What a power loss leaves: keep(ctx, path, sector) says for each sector written and not synced whether it reached the
 * disk (NULL: none did). Of the names' changes since the last directory sync the first names_kept last. */
void fake_disk_crash(struct fake_disk *d, bool (*keep)(void *ctx, const char *path, uint64_t sector), void *ctx,
                     uint64_t names_kept);
uint64_t fake_disk_names_in_doubt(const struct fake_disk *d);
/* Calls each for every sector in doubt. */
void fake_disk_in_doubt(const struct fake_disk *d, void (*each)(void *ctx, const char *path, uint64_t sector), void *ctx);
/* The file's bytes as a process sees them, to be changed at will (damage): they are durable. NULL: no such file. */
uint8_t *fake_disk_bytes(struct fake_disk *d, const char *path, uint64_t *out_size);
void fake_disk_remove(struct fake_disk *d, const char *path);
/* Names in no special order; borrowed. False: no more. */
bool fake_disk_each(const struct fake_disk *d, size_t *at, const char **out_path);
/* Reads of this sector of the file fail with ST_IO from now on. */
void fake_disk_unreadable(struct fake_disk *d, const char *path, uint64_t sector);

#endif
