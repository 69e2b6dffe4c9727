/* disk_fault.c - the disks of machines as the driver has them: made, replaced, slow, failing, rotten.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sim/inode.h"

/* ---- machines, processes, the driver ---- */

struct disk *disk_new(struct sim_node *n)
{
    struct disk *d = heap_zalloc(&n->world->heap, sizeof *d);
    d->node = n;
    d->options = (struct sim_disk_options){
        .capacity_bytes = 1ull << 40,
        .sync_ns_min = 50 * NS_PER_US,
        .sync_ns_max = 5 * NS_PER_MS,
        .slow_factor = 1,
        .torn_one_in = 64,
        .garbage_one_in = 256,
    };
    list_init(&d->files);
    list_init(&d->dirty);
    list_init(&d->ops);
    d->root = inode_new(d, true);
    inode_ref(d->root);
    return d;
}

void disk_process_end(struct process *p)
{
    for (struct link *k; (k = list_first(&p->files)) != NULL;) sim_file_free(CONTAINER_OF(k, struct sim_file, link));
}

struct sim_disk_options *sim_disk_options(struct sim_node *n) { return &n->disk->options; }

void sim_disk_fail(struct sim_node *n, enum sim_disk_op op, uint64_t skip, uint64_t count)
{
    n->disk->fail[op].skip = skip;
    n->disk->fail[op].count = count;
}

void sim_disk_stall(struct sim_node *n, uint64_t for_ns)
{
    n->disk->stalled_until = MAX(n->disk->stalled_until, n->world->at + for_ns);
    n->world->counters.disk_stalls++;
}

static bool sector_stored(const struct inode *i, uint64_t sector)
{
    if (sector * SIM_SECTOR >= i->size) return false;
    for (const struct layer *l = i->pages[sector / PAGE_SECTORS].layers; l != NULL; l = l->below)
        if (l->mask & 1u << sector % PAGE_SECTORS) return false;
    return true;
}

static void sector_corrupt(struct inode *i, uint64_t sector)
{
    struct disk *d = i->disk;
    struct world *w = disk_world(d);
    struct page *p = &i->pages[sector / PAGE_SECTORS];
    page_fill(d, p);
    uint64_t bytes = MIN(i->size - sector * SIM_SECTOR, (uint64_t)SIM_SECTOR);
    uint64_t bits = rng_between(&w->rng_driver, 1, 8), first = rng_below(&w->rng_driver, bytes * 8);
    for (uint64_t b = 0; b < bits; b++) { /* different ones, so that something does change */
        uint64_t bit = (first + b * 37) % (bytes * 8);
        p->data[sector % PAGE_SECTORS * SIM_SECTOR + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    w->counters.sectors_corrupted++;
}

enum status sim_disk_corrupt(struct sim_node *n, const char *path, uint64_t offset, struct error *err)
{
    struct inode *i;
    enum status st = disk_path_lookup(n->disk, path, &i, err);
    if (st != ST_OK) return st;
    if (i->dir || !sector_stored(i, offset / SIM_SECTOR))
        return error_set(err, ST_INVALID, "'%s': offset %" PRIu64 " is not stored", path, offset);
    sector_corrupt(i, offset / SIM_SECTOR);
    return ST_OK;
}

struct candidate {
    struct inode *inode;
    uint64_t files;
    char path[1024];
};

/* Goes through the tree in the order of names; each matching file is taken with the chance that makes all alike. */
static void candidates(struct world *w, struct inode *dir, char *path, size_t n, const char *part,
                       struct candidate *out)
{
    for (size_t k = 0; k < dir->entry_count; k++) {
        struct inode *i = dir->entries[k].now;
        size_t more = strlen(dir->entries[k].name) + 1;
        if (i == NULL || n + more >= sizeof out->path) continue;
        path[n] = '/';
        memcpy(path + n + 1, dir->entries[k].name, more);
        if (i->dir) candidates(w, i, path, n + more, part, out);
        else if (i->size != 0 && (part == NULL || strstr(path, part) != NULL) &&
                 rng_below(&w->rng_driver, ++out->files) == 0) {
            out->inode = i;
            memcpy(out->path, path, n + more + 1);
        }
        path[n] = '\0';
    }
}

bool sim_disk_corrupt_one(struct sim_node *n, const char *part, char *out_path, size_t path_size, uint64_t *out_offset)
{
    struct world *w = n->world;
    struct candidate found = {0};
    char path[sizeof found.path] = "";
    candidates(w, n->disk->root, path, 0, part, &found);
    if (found.inode == NULL) return false;
    uint64_t sectors = (found.inode->size + SIM_SECTOR - 1) / SIM_SECTOR;
    for (int tries = 0; tries < 32; tries++) {
        uint64_t sector = rng_below(&w->rng_driver, sectors);
        if (!sector_stored(found.inode, sector)) continue;
        sector_corrupt(found.inode, sector);
        if (out_path != NULL) snprintf(out_path, path_size, "%s", found.path);
        if (out_offset != NULL) *out_offset = sector * SIM_SECTOR;
        return true;
    }
    return false;
}

void sim_disk_replace(struct sim_node *n)
{
    struct sim_disk_options options = n->disk->options;
    ASSERT(n->process == NULL);
    n->disk = disk_new(n); /* the old one's memory goes with the world */
    n->disk->options = options;
}

static bool sector_holds_something(struct inode *i, uint64_t sector)
{
    static const uint8_t zeros[SIM_SECTOR];
    struct page *p = &i->pages[sector / PAGE_SECTORS];
    if (!sector_stored(i, sector)) return false;
    page_fill(i->disk, p);
    return memcmp(p->data + sector % PAGE_SECTORS * SIM_SECTOR, zeros, sizeof zeros) != 0;
}

static void last_candidate(struct inode *dir, char *path, size_t n, const char *part, struct candidate *out)
{
    for (size_t k = 0; k < dir->entry_count; k++) {
        struct inode *i = dir->entries[k].now;
        size_t more = strlen(dir->entries[k].name) + 1;
        if (i == NULL || n + more >= sizeof out->path) continue;
        path[n] = '/';
        memcpy(path + n + 1, dir->entries[k].name, more);
        if (i->dir) {
            last_candidate(i, path, n + more, part, out);
        } else if (i->size != 0 && (part == NULL || strstr(path, part) != NULL) &&
                   (out->inode == NULL || strcmp(path, out->path) > 0)) {
            for (uint64_t s = 0; s < (i->size + SIM_SECTOR - 1) / SIM_SECTOR; s++) {
                if (!sector_holds_something(i, s)) continue;
                out->inode = i;
                memcpy(out->path, path, n + more + 1);
                break;
            }
        }
        path[n] = '\0';
    }
}

bool sim_disk_corrupt_end(struct sim_node *n, const char *part, unsigned last, char *out_path, size_t path_size,
                          uint64_t *out_offset)
{
    struct world *w = n->world;
    struct candidate found = {0};
    char path[sizeof found.path] = "";
    last_candidate(n->disk->root, path, 0, part, &found);
    if (found.inode == NULL) return false;
    uint64_t skip = rng_below(&w->rng_driver, last);
    for (uint64_t s = (found.inode->size + SIM_SECTOR - 1) / SIM_SECTOR; s-- > 0;) {
        if (!sector_holds_something(found.inode, s) || skip-- > 0) continue;
        sector_corrupt(found.inode, s);
        if (out_path != NULL) snprintf(out_path, path_size, "%s", found.path);
        if (out_offset != NULL) *out_offset = s * SIM_SECTOR;
        return true;
    }
    return false;
}

uint64_t sim_disk_used(const struct sim_node *n) { return n->disk->used_pages * PAGE_BYTES; }

uint64_t sim_disk_in_doubt(const struct sim_node *n)
{
    uint64_t count = 0;
    for (struct link *k = list_first(&n->disk->ops); k != NULL; k = list_next(&n->disk->ops, k)) count++;
    for (struct link *k = list_first(&n->disk->dirty); k != NULL; k = list_next(&n->disk->dirty, k)) {
        const struct inode *i = CONTAINER_OF(k, struct inode, dirty_link);
        count += i->size != i->stable_size;
        for (size_t p = 0; p < i->dirty_count; p++)
            for (const struct layer *l = i->pages[i->dirty[p]].layers; l != NULL; l = l->below)
                count += (unsigned)__builtin_popcount(l->mask);
    }
    return count;
}
