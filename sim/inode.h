/* inode.h - files and names of a simulated disk: what is in them, what is durable of it, and what a power loss leaves.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:   the state behind disk.c (what a process calls) and disk_fault.c (what a driver does). No time passes here.
 *
 * A file's pages hold what a reader sees. Above what is durable lie layers: the first write to a sector after a sync
 * saves the sector's old content in the page's layer of that epoch. A sync that succeeds drops the layers of its epoch
 * and older ones (more than one lives only while syncs are under way); a power loss goes through them from the newest
 * to the oldest and decides for each sector whether it stays or falls back to what lies below.
 *
 * Directories know two bindings per name: now, and stable. Operations on names wait in a list until a directory they
 * touch is synced; a power loss decides for each. */
#ifndef CAIRN_SIM_INODE_H
#define CAIRN_SIM_INODE_H

#include "sim/disk.h"
#include "sim/world_internal.h"

#define PAGE_BYTES   4096u
#define PAGE_SECTORS (PAGE_BYTES / SIM_SECTOR)
#define NAME_MAX_    255

struct layer {
    struct layer *below; /* older */
    uint64_t epoch;
    uint8_t mask; /* sectors whose old content is here */
    bool lost;    /* of a sync that failed: a later sync does not make these durable */
    uint8_t *old; /* a page; NULL: zeros */
};

struct page {
    uint8_t *data; /* NULL: zeros */
    struct layer *layers;
};

struct entry {
    char *name;
    struct inode *now;
    struct inode *stable;
};

struct inode {
    struct disk *disk;
    struct link link;       /* disk.files, if a file */
    struct link dirty_link; /* disk.dirty: has layers or an unsynced size */
    uint32_t id;
    uint32_t refs; /* names, name operations, open files */
    bool dir;
    /* file */
    struct page *pages;
    size_t page_count, page_cap;
    uint64_t size, stable_size;
    uint64_t epoch;
    uint32_t *dirty; /* indices of pages with layers */
    size_t dirty_count, dirty_cap;
    /* directory */
    struct entry *entries; /* sorted by name */
    size_t entry_count, entry_cap;
    struct process *locked_by;
    bool syncing; /* scratch of dir_commit */
};

/* Create: only `to`. Unlink: only `from`. Rename: both. */
struct name_op {
    struct link link; /* disk.ops, in order */
    uint64_t seq;
    struct inode *from_dir, *to_dir;
    char *from, *to;
    struct inode *inode;
};

struct disk {
    struct sim_node *node;
    struct sim_disk_options options;
    struct inode *root;
    struct list files;
    struct list dirty;
    struct list ops;
    uint64_t op_seq;
    uint32_t inode_count;
    uint64_t used_pages;
    uint64_t stalled_until;
    struct {
        uint64_t skip, count;
    } fail[3];
};

struct sim_file {
    struct env_file base; /* first */
    struct process *process;
    struct link link; /* process.files */
    struct inode *inode;
    enum env_open_mode mode;
    struct inode *lock_dir; /* NULL: not a lock */
    char path[];
};

static inline struct world *disk_world(const struct disk *d) { return d->node->world; }
static inline struct disk *disk_of(struct env *env) { return process_of(env)->node->disk; }

static inline void *disk_alloc(struct disk *d, size_t n) { return heap_zalloc(&disk_world(d)->heap, n); }

/* Nobody refers to it yet. */
struct inode *inode_new(struct disk *d, bool dir);
void inode_ref(struct inode *i);
/* The last one frees it. */
void inode_unref(struct inode *i);
/* Puts i (NULL: none) in the slot, and lets go of what was there. */
void inode_set_ref(struct inode **slot, struct inode *i);
/* In the page cache: what is overwritten is kept in layers until a sync. */
void pages_write(struct inode *i, uint64_t offset, const uint8_t *p, uint64_t n);
/* Longer, with zeros; not shorter. */
void inode_extend(struct inode *i, uint64_t end);
/* ST_FULL if the disk has no room for a file that ends there. */
enum status inode_room_check(struct inode *i, uint64_t end, const char *path, struct error *err);
/* A sync that began in this epoch, with this size, has succeeded … */
void inode_synced(struct inode *i, uint64_t epoch, uint64_t size);
/* Gives a page of zeros memory of its own. */
void page_fill(struct disk *d, struct page *p);
/* … or failed: what it should have made durable is gone. */
void inode_sync_failed(struct inode *i, uint64_t epoch);
void inode_truncate(struct inode *i, uint64_t size);
/* What a name in a directory stands for; NULL: nothing. */
struct inode *entry_now(const struct inode *dir, const char *name);
void entry_set_now(struct inode *dir, const char *name, struct inode *i);
/* A change of names that a directory sync has yet to make durable: create (only to), unlink (only from), rename. */
void name_op_new(struct disk *d, struct inode *from_dir, const char *from, struct inode *to_dir, const char *to,
                 struct inode *inode);
/* Makes durable what was done to names in dir up to seq, and, in their order, whatever it may depend on. */
void dir_commit(struct inode *dir, uint64_t seq);
/* disk.c */
enum status disk_path_lookup(struct disk *d, const char *path, struct inode **out, struct error *err);
void sim_file_free(struct sim_file *f);

#endif
