/* disk.h - the simulated disk of a machine, and how a driver disturbs it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    files and directories with what a crash really does. Written data is in the page cache until
 *             env_file_sync: at a power loss each 512-byte sector written since is kept, lost (its old content is
 *             back) or, rarely, torn or garbage. Names (create, rename, unlink) are in doubt until env_dir_sync of a
 *             directory they are in: each such operation is kept or lost as a whole. A killed process loses nothing.
 *             env_dir_create makes its directories durable.
 * Time:       operations take time; a thread of a worker waits, so what comes after a crash did not happen. */
#ifndef CAIRN_SIM_DISK_H
#define CAIRN_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct sim_node;

#define SIM_SECTOR 512

/* Of one machine; may be changed at any time. one_in 0: never. */
struct sim_disk_options {
    uint64_t capacity_bytes;
    uint64_t sync_ns_min; /* drawn between, small ones more often */
    uint64_t sync_ns_max;
    uint64_t slow_factor;        /* multiplies what operations take; 1: normal */
    uint64_t read_error_one_in;  /* reads that fail with ST_IO */
    uint64_t write_error_one_in; /* writes that fail with ST_IO; part of the data may have been written */
    uint64_t sync_error_one_in;  /* syncs that fail; what was not synced is dropped, a later sync does not bring it */
    uint64_t torn_one_in;        /* sectors in doubt at a crash that end half new, half old */
    uint64_t garbage_one_in;     /* sectors in doubt at a crash that end as neither */
    bool garbage_takes_whole_sector; /* else only bytes that the write changed can end as garbage */
};

struct sim_disk_options *sim_disk_options(struct sim_node *n);

/* The next operations of the kind fail, once `skip` of them have succeeded. */
enum sim_disk_op { SIM_DISK_READ, SIM_DISK_WRITE, SIM_DISK_SYNC };
void sim_disk_fail(struct sim_node *n, enum sim_disk_op op, uint64_t skip, uint64_t count);

/* Syncs and writes that begin within the next for_ns end only after them. */
void sim_disk_stall(struct sim_node *n, uint64_t for_ns);

/* Flips bits of the stored sector that holds the offset. ST_NOT_FOUND, ST_INVALID (outside the file, or in doubt). */
enum status sim_disk_corrupt(struct sim_node *n, const char *path, uint64_t offset, struct error *err);
/* The same for a stored sector drawn from the driver's generator among files whose path contains `part` (NULL: all). */
bool sim_disk_corrupt_one(struct sim_node *n, const char *part, char *out_path, size_t path_size, uint64_t *out_offset);

/* A new, empty disk in the machine, which has no process. */
void sim_disk_replace(struct sim_node *n);

/* The same for one of the last `last` stored sectors that hold something, of the last matching file (by name) that has one. */
bool sim_disk_corrupt_end(struct sim_node *n, const char *part, unsigned last, char *out_path, size_t path_size,
                          uint64_t *out_offset);

uint64_t sim_disk_used(const struct sim_node *n);
/* Sectors and names that a power loss now could take. */
uint64_t sim_disk_in_doubt(const struct sim_node *n);

#endif
