/* disk.c - the simulated disk of a machine: files, what a crash leaves of them, faults.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A file's pages hold what a reader sees. Above what is durable lie layers: the first write to a sector after a sync
 * saves the sector's old content in the page's layer of that epoch. A sync that succeeds drops the layers of its epoch
 * and older ones (more than one lives only while syncs are under way); a power loss goes through them from the newest
 * to the oldest and decides for each sector whether it stays or falls back to what lies below.
 *
 * Directories know two bindings per name: now, and stable. Operations on names wait in a list until a directory they
 * touch is synced; a power loss decides for each.
 *
 * Operations spend their time first and take effect at its end, so one that a crash came before has not happened. (What
 * is not durable by itself, a write say, may take effect some microseconds early: nobody can tell.) */
#include "sim/disk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
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

static struct world *world_of(const struct disk *d) { return d->node->world; }
static struct disk *disk_of(struct env *env) { return process_of(env)->node->disk; }

static void *alloc(struct disk *d, size_t n) { return heap_zalloc(&world_of(d)->heap, n); }

/* Room for one more element. */
static void grow(struct disk *d, void **array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) return;
    size_t more = *cap != 0 ? *cap * 2 : 8;
    void *p = heap_alloc(&world_of(d)->heap, more * size);
    if (count != 0) memcpy(p, *array, count * size);
    mem_free(*array);
    *array = p;
    *cap = more;
}

/* ---- memory for pages ---- */

#define SLAB_PAGES_MIN 4 /* the first; each next one is twice as large */
#define SLAB_PAGES_MAX 256

/* Taken from a pool of the world: a page just given back is still in the processor's cache. */
static uint8_t *page_take(struct disk *d)
{
    struct world *w = world_of(d);
    if (w->pages_free == NULL) {
        size_t n = w->slab_pages = MIN(MAX(w->slab_pages * 2, SLAB_PAGES_MIN), SLAB_PAGES_MAX);
        uint8_t *slab = heap_alloc(&w->heap, n * PAGE_BYTES);
        for (size_t k = 0; k < n; k++) {
            void *next = w->pages_free;
            w->pages_free = slab + k * PAGE_BYTES;
            memcpy(w->pages_free, &next, sizeof next);
        }
    }
    uint8_t *p = w->pages_free;
    memcpy(&w->pages_free, p, sizeof w->pages_free);
    return p;
}

static void page_give(struct disk *d, uint8_t *p)
{
    struct world *w = world_of(d);
    if (p == NULL) return;
    memcpy(p, &w->pages_free, sizeof w->pages_free);
    w->pages_free = p;
}

/* ---- inodes ---- */

static struct inode *inode_new(struct disk *d, bool dir)
{
    struct inode *i = alloc(d, sizeof *i);
    i->disk = d;
    i->id = ++d->inode_count;
    i->dir = dir;
    if (!dir) list_push_back(&d->files, &i->link);
    return i;
}

static void inode_ref(struct inode *i) { i->refs++; }
static void inode_unref(struct inode *i);
static void page_drop_layers(struct disk *d, struct page *p);

static void inode_free(struct inode *i)
{
    for (size_t k = 0; k < i->page_count; k++) {
        page_drop_layers(i->disk, &i->pages[k]);
        page_give(i->disk, i->pages[k].data);
    }
    i->disk->used_pages -= i->page_count;
    for (size_t k = 0; k < i->entry_count; k++) {
        struct entry *e = &i->entries[k];
        if (e->now != NULL) inode_unref(e->now);
        if (e->stable != NULL) inode_unref(e->stable);
        mem_free(e->name);
    }
    mem_free(i->pages);
    mem_free(i->dirty);
    mem_free(i->entries);
    if (link_linked(&i->link)) link_remove(&i->link);
    if (link_linked(&i->dirty_link)) link_remove(&i->dirty_link);
    mem_free(i);
}

static void inode_unref(struct inode *i)
{
    ASSERT(i->refs > 0);
    if (--i->refs == 0) inode_free(i);
}

static void set_ref(struct inode **slot, struct inode *i)
{
    struct inode *old = *slot;
    if (i != NULL) inode_ref(i);
    *slot = i;
    if (old != NULL) inode_unref(old);
}

static void inode_dirty(struct inode *i)
{
    if (!link_linked(&i->dirty_link)) list_push_back(&i->disk->dirty, &i->dirty_link);
}

static void inode_clean_if(struct inode *i)
{
    if (i->dirty_count == 0 && i->size == i->stable_size && link_linked(&i->dirty_link)) link_remove(&i->dirty_link);
}

/* ---- pages ---- */

static void layer_free(struct disk *d, struct layer *l)
{
    page_give(d, l->old);
    mem_free(l);
}

static void page_drop_layers(struct disk *d, struct page *p)
{
    while (p->layers != NULL) {
        struct layer *l = p->layers;
        p->layers = l->below;
        layer_free(d, l);
    }
}

static void pages_resize(struct inode *i, size_t count)
{
    struct disk *d = i->disk;
    while (i->page_count < count) {
        grow(d, (void **)&i->pages, i->page_count, &i->page_cap, sizeof *i->pages);
        i->pages[i->page_count++] = (struct page){0};
        d->used_pages++;
    }
}

/* Before sectors of a page change: their content is saved in the layer of the running epoch. */
static void page_save(struct inode *i, size_t index, uint8_t mask, bool whole)
{
    struct page *p = &i->pages[index];
    struct disk *d = i->disk;
    struct layer *top = p->layers;
    if (top == NULL || top->epoch != i->epoch || top->lost) {
        struct layer *l = alloc(d, sizeof *l);
        l->epoch = i->epoch;
        l->below = top;
        p->layers = l;
        if (top == NULL) {
            grow(d, (void **)&i->dirty, i->dirty_count, &i->dirty_cap, sizeof *i->dirty);
            i->dirty[i->dirty_count++] = (uint32_t)index;
        }
        top = l;
    }
    uint8_t fresh = mask & (uint8_t)~top->mask;
    top->mask |= fresh;
    if (fresh == 0 || p->data == NULL) return;
    if (fresh == 0xff && whole) { /* every byte changes: no copy */
        top->old = p->data;
        p->data = NULL;
        return;
    }
    if (top->old == NULL) {
        top->old = page_take(d);
        memset(top->old, 0, PAGE_BYTES);
    }
    for (unsigned s = 0; s < PAGE_SECTORS; s++)
        if (fresh & 1u << s) memcpy(top->old + s * SIM_SECTOR, p->data + s * SIM_SECTOR, SIM_SECTOR);
}

static uint8_t sector_mask(size_t from, size_t n)
{
    unsigned first = (unsigned)(from / SIM_SECTOR), last = (unsigned)((from + n - 1) / SIM_SECTOR);
    return (uint8_t)(((1u << (last + 1)) - 1) & ~((1u << first) - 1));
}

/* Changes bytes of pages that exist; p NULL: to zeros. */
static void pages_write(struct inode *i, uint64_t offset, const uint8_t *p, uint64_t n)
{
    struct disk *d = i->disk;
    inode_dirty(i);
    while (n > 0) {
        size_t index = offset / PAGE_BYTES, at = offset % PAGE_BYTES;
        size_t part = (size_t)MIN(n, (uint64_t)(PAGE_BYTES - at));
        struct page *page = &i->pages[index];
        page_save(i, index, sector_mask(at, part), part == PAGE_BYTES);
        if (page->data == NULL && p != NULL) {
            page->data = page_take(d);
            if (part != PAGE_BYTES) memset(page->data, 0, PAGE_BYTES);
        }
        if (p != NULL) {
            memcpy(page->data + at, p, part);
            p += part;
        } else if (page->data != NULL) {
            memset(page->data + at, 0, part);
        }
        offset += part;
        n -= part;
    }
}

/* Makes room up to `end`: the file's size grows, what is new is zero and unsynced. */
static void file_extend(struct inode *i, uint64_t end)
{
    if (end <= i->size) return;
    pages_resize(i, (size_t)((end + PAGE_BYTES - 1) / PAGE_BYTES));
    i->size = end;
    inode_dirty(i);
}

static enum status room_check(struct inode *i, uint64_t end, const char *path, struct error *err)
{
    struct disk *d = i->disk;
    uint64_t need = (end + PAGE_BYTES - 1) / PAGE_BYTES;
    if (need <= i->page_count || (d->used_pages + need - i->page_count) * PAGE_BYTES <= d->options.capacity_bytes)
        return ST_OK;
    world_of(d)->counters.disk_fulls++;
    return error_set(err, ST_DISK_FULL, "write '%s': no space left on device", path);
}

/* Gives back the pages beyond what the file can ever have again. */
static void pages_trim(struct inode *i)
{
    uint64_t need = (MAX(i->size, i->stable_size) + PAGE_BYTES - 1) / PAGE_BYTES;
    while (i->page_count > need && i->pages[i->page_count - 1].layers == NULL) {
        page_give(i->disk, i->pages[--i->page_count].data);
        i->disk->used_pages--;
    }
}

/* A sync of the layers up to `epoch` succeeded. */
static void file_synced(struct inode *i, uint64_t epoch, uint64_t size)
{
    size_t kept = 0;
    for (size_t k = 0; k < i->dirty_count; k++) {
        struct page *p = &i->pages[i->dirty[k]];
        uint8_t durable = 0;
        for (struct layer **at = &p->layers; *at != NULL;) {
            struct layer *l = *at;
            if (l->lost) l->mask &= (uint8_t)~durable; /* written again since */
            else if (l->epoch <= epoch) durable |= l->mask;
            if (l->lost ? l->mask == 0 : l->epoch <= epoch) {
                *at = l->below;
                layer_free(i->disk, l);
            } else {
                at = &l->below;
            }
        }
        if (p->layers != NULL) i->dirty[kept++] = i->dirty[k];
    }
    i->dirty_count = kept;
    i->stable_size = size;
    pages_trim(i);
    inode_clean_if(i);
}

/* A page of zeros gets its own bytes. */
static void page_fill(struct disk *d, struct page *p)
{
    if (p->data != NULL) return;
    p->data = page_take(d);
    memset(p->data, 0, PAGE_BYTES);
}

static void sector_restore(struct disk *d, struct page *p, const struct layer *l, unsigned s)
{
    if (p->data == NULL && l->old == NULL) return;
    page_fill(d, p);
    if (l->old != NULL) memcpy(p->data + s * SIM_SECTOR, l->old + s * SIM_SECTOR, SIM_SECTOR);
    else memset(p->data + s * SIM_SECTOR, 0, SIM_SECTOR);
}

/* A sync failed: the kernel calls the pages clean all the same, and the disk does not have them (fsyncgate). Some are
 * thrown out of memory at once, so that readers see the old content; others only a crash takes. */
static void file_sync_failed(struct inode *i, uint64_t epoch)
{
    struct world *w = world_of(i->disk);
    bool evict = rng_next(&w->rng_disk) & 1;
    size_t kept = 0;
    for (size_t k = 0; k < i->dirty_count; k++) {
        struct page *p = &i->pages[i->dirty[k]];
        struct layer *top = p->layers;
        if (evict && top->below == NULL && !top->lost && top->epoch <= epoch) {
            for (unsigned s = 0; s < PAGE_SECTORS; s++)
                if (top->mask & 1u << s) sector_restore(i->disk, p, top, s);
            page_drop_layers(i->disk, p);
            continue;
        }
        for (struct layer *l = top; l != NULL; l = l->below)
            if (l->epoch <= epoch) l->lost = true;
        i->dirty[kept++] = i->dirty[k];
    }
    i->dirty_count = kept;
}

static void file_truncate(struct inode *i, uint64_t size)
{
    if (size >= i->size) {
        file_extend(i, size);
        return;
    }
    pages_write(i, size, NULL, i->size - size); /* its old content may come back */
    i->size = size;
    inode_dirty(i);
}

/* ---- power loss ---- */

enum crash_mood { MOOD_KEEP, MOOD_LOSE, MOOD_MIX };

static enum crash_mood mood(struct rng *r)
{
    uint64_t x = rng_below(r, 4);
    return x == 0 ? MOOD_KEEP : x == 1 ? MOOD_LOSE : MOOD_MIX;
}

static bool kept(struct rng *r, enum crash_mood m)
{
    if (m == MOOD_MIX) return rng_next(r) & 1;
    return m == MOOD_KEEP;
}

static void sector_damage(struct disk *d, struct page *p, const struct layer *l, unsigned s, bool torn)
{
    struct world *w = world_of(d);
    static const uint8_t zeros[SIM_SECTOR];
    const uint8_t *old = l->old != NULL ? l->old + s * SIM_SECTOR : zeros;
    page_fill(d, p);
    uint8_t *now = p->data + s * SIM_SECTOR;
    if (torn) {
        size_t cut = rng_below(&w->rng_disk, SIM_SECTOR);
        memcpy(now + cut, old + cut, SIM_SECTOR - cut);
        w->counters.sectors_torn++;
        return;
    }
    for (size_t k = 0; k < SIM_SECTOR; k++)
        if (d->options.garbage_takes_whole_sector || now[k] != old[k]) now[k] = (uint8_t)rng_next(&w->rng_disk);
    w->counters.sectors_garbage++;
}

/* Goes down the layers until one says that its sector stays. */
static void sector_crash(struct disk *d, struct page *p, unsigned s, enum crash_mood m, bool force_lost)
{
    struct world *w = world_of(d);
    struct rng *r = &w->rng_disk;
    for (struct layer *l = p->layers; l != NULL; l = l->below) {
        if (!(l->mask & 1u << s)) continue;
        if (!force_lost && !l->lost && rng_chance(r, d->options.torn_one_in)) {
            sector_damage(d, p, l, s, true);
            return;
        }
        if (!force_lost && !l->lost && rng_chance(r, d->options.garbage_one_in)) {
            sector_damage(d, p, l, s, false);
            return;
        }
        if (!force_lost && kept(r, l->lost ? MOOD_LOSE : m)) {
            w->counters.sectors_kept++;
            return;
        }
        sector_restore(d, p, l, s);
        w->counters.sectors_lost++;
    }
}

static uint64_t size_after_crash(struct inode *i, enum crash_mood m)
{
    struct world *w = world_of(i->disk);
    struct rng *r = &w->rng_disk;
    if (i->size == i->stable_size || kept(r, m)) return i->size;
    w->counters.sizes_lost++;
    if (i->size > i->stable_size && m == MOOD_MIX && (rng_next(r) & 1)) return rng_between(r, i->stable_size, i->size);
    return i->stable_size;
}

static void file_crash(struct inode *i)
{
    struct disk *d = i->disk;
    struct rng *r = &world_of(d)->rng_disk;
    enum crash_mood m = mood(r);
    uint64_t size = size_after_crash(i, m);
    /* A truncation that is lost brings back all that it cut off. */
    uint64_t force_from = size > i->size ? i->size / SIM_SECTOR : UINT64_MAX;
    for (size_t k = 0; k < i->dirty_count; k++) {
        struct page *p = &i->pages[i->dirty[k]];
        uint64_t first = (uint64_t)i->dirty[k] * PAGE_SECTORS;
        for (unsigned s = 0; s < PAGE_SECTORS; s++) sector_crash(d, p, s, m, first + s >= force_from);
        page_drop_layers(d, p);
    }
    i->dirty_count = 0;
    size_t pages = (size_t)((size + PAGE_BYTES - 1) / PAGE_BYTES);
    ASSERT(pages <= i->page_count);
    while (i->page_count > pages) {
        page_give(d, i->pages[--i->page_count].data);
        d->used_pages--;
    }
    if (size % PAGE_BYTES != 0 && i->pages[pages - 1].data != NULL)
        memset(i->pages[pages - 1].data + size % PAGE_BYTES, 0, PAGE_BYTES - size % PAGE_BYTES);
    i->size = i->stable_size = size;
}

/* ---- names ---- */

static size_t entry_place(const struct inode *dir, const char *name, bool *found)
{
    size_t low = 0, high = dir->entry_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strcmp(dir->entries[mid].name, name);
        if (c == 0) {
            *found = true;
            return mid;
        }
        if (c < 0) low = mid + 1;
        else high = mid;
    }
    *found = false;
    return low;
}

static struct entry *entry_get(const struct inode *dir, const char *name)
{
    bool found;
    size_t at = entry_place(dir, name, &found);
    return found ? &dir->entries[at] : NULL;
}

static struct inode *entry_now(const struct inode *dir, const char *name)
{
    struct entry *e = entry_get(dir, name);
    return e != NULL ? e->now : NULL;
}

static struct entry *entry_make(struct inode *dir, const char *name)
{
    ASSERT(dir != NULL);
    struct disk *d = dir->disk;
    bool found;
    size_t at = entry_place(dir, name, &found);
    if (found) return &dir->entries[at];
    grow(d, (void **)&dir->entries, dir->entry_count, &dir->entry_cap, sizeof *dir->entries);
    memmove(&dir->entries[at + 1], &dir->entries[at], (dir->entry_count++ - at) * sizeof *dir->entries);
    dir->entries[at] = (struct entry){.name = heap_strdup(&world_of(d)->heap, name)};
    return &dir->entries[at];
}

static void entry_drop_if_empty(struct inode *dir, const char *name)
{
    bool found;
    size_t at = entry_place(dir, name, &found);
    if (!found || dir->entries[at].now != NULL || dir->entries[at].stable != NULL) return;
    mem_free(dir->entries[at].name);
    memmove(&dir->entries[at], &dir->entries[at + 1], (--dir->entry_count - at) * sizeof *dir->entries);
}

static void entry_set_now(struct inode *dir, const char *name, struct inode *i)
{
    set_ref(&entry_make(dir, name)->now, i);
    entry_drop_if_empty(dir, name);
}

static void entry_set_stable(struct inode *dir, const char *name, struct inode *i)
{
    set_ref(&entry_make(dir, name)->stable, i);
    entry_drop_if_empty(dir, name);
}

static void op_new(struct disk *d, struct inode *from_dir, const char *from, struct inode *to_dir, const char *to,
                   struct inode *inode)
{
    struct name_op *op = alloc(d, sizeof *op);
    struct heap *heap = &world_of(d)->heap;
    op->seq = ++d->op_seq;
    set_ref(&op->from_dir, from_dir);
    set_ref(&op->to_dir, to_dir);
    if (from != NULL) op->from = heap_strdup(heap, from);
    if (to != NULL) op->to = heap_strdup(heap, to);
    set_ref(&op->inode, inode);
    list_push_back(&d->ops, &op->link);
}

static void op_free(struct name_op *op)
{
    link_remove(&op->link);
    set_ref(&op->from_dir, NULL);
    set_ref(&op->to_dir, NULL);
    set_ref(&op->inode, NULL);
    mem_free(op->from);
    mem_free(op->to);
    mem_free(op);
}

/* On the disk. That it names the inode lets operations before it be lost. */
static void op_apply(struct name_op *op)
{
    if (op->from != NULL) {
        struct entry *e = entry_get(op->from_dir, op->from);
        if (e != NULL && e->stable == op->inode) entry_set_stable(op->from_dir, op->from, NULL);
    }
    if (op->to != NULL) entry_set_stable(op->to_dir, op->to, op->inode);
}

/* Makes durable what was done to names in dir up to seq, and, in their order, whatever it may depend on. */
static void dir_commit(struct inode *dir, uint64_t seq)
{
    struct disk *d = dir->disk;
    struct list todo;
    list_init(&todo);
    inode_ref(dir);
    dir->syncing = true;
    for (struct link *k = list_last(&d->ops), *prev; k != NULL; k = prev) {
        struct name_op *op = CONTAINER_OF(k, struct name_op, link);
        prev = k->prev == &d->ops.head ? NULL : k->prev;
        if (op->seq > seq) continue;
        bool touches = (op->from_dir != NULL && op->from_dir->syncing) || (op->to_dir != NULL && op->to_dir->syncing);
        if (!touches) continue;
        if (op->from_dir != NULL) op->from_dir->syncing = true;
        if (op->to_dir != NULL) op->to_dir->syncing = true;
        link_remove(k);
        list_push_front(&todo, k);
    }
    dir->syncing = false;
    for (struct link *k = list_first(&todo), *next; k != NULL; k = next) {
        struct name_op *op = CONTAINER_OF(k, struct name_op, link);
        next = list_next(&todo, k);
        if (op->from_dir != NULL) op->from_dir->syncing = false;
        if (op->to_dir != NULL) op->to_dir->syncing = false;
        op_apply(op);
        op_free(op);
    }
    inode_unref(dir);
}

static void names_crash(struct disk *d)
{
    struct world *w = world_of(d);
    enum crash_mood m = mood(&w->rng_disk);
    for (struct link *k = list_first(&d->ops); k != NULL; k = list_next(&d->ops, k)) {
        if (kept(&w->rng_disk, m)) {
            w->counters.names_kept++;
            op_apply(CONTAINER_OF(k, struct name_op, link));
        } else {
            w->counters.names_lost++;
        }
    }
    for (struct link *k; (k = list_first(&d->ops)) != NULL;) {
        struct name_op *op = CONTAINER_OF(k, struct name_op, link);
        struct inode *dirs[] = {op->from_dir, op->to_dir};
        const char *names[] = {op->from, op->to};
        for (int i = 0; i < 2; i++) {
            struct entry *e = names[i] != NULL ? entry_get(dirs[i], names[i]) : NULL;
            if (e != NULL) entry_set_now(dirs[i], names[i], e->stable);
        }
        op_free(op);
    }
}

void disk_power_loss(struct disk *d)
{
    names_crash(d);
    for (struct link *k; (k = list_pop_front(&d->dirty)) != NULL;)
        file_crash(CONTAINER_OF(k, struct inode, dirty_link));
    d->stalled_until = 0;
}

/* ---- time and faults ---- */

static uint64_t slowed(struct disk *d, uint64_t ns, bool device)
{
    const struct world *w = world_of(d);
    ns *= d->options.slow_factor;
    if (device && d->stalled_until > w->at) ns += d->stalled_until - w->at;
    return ns;
}

static void spend(struct disk *d, uint64_t ns, bool device) { world_spend(world_of(d), slowed(d, ns, device)); }

static void spend_name(struct disk *d) { spend(d, rng_between(&world_of(d)->rng_disk, 2000, 30000), false); }

/* Between min and max; each doubling is as likely as the next. */
static void spend_sync(struct disk *d)
{
    struct rng *r = &world_of(d)->rng_disk;
    uint64_t low = d->options.sync_ns_min, high = d->options.sync_ns_max, span = low;
    while (span * 2 <= high && rng_below(r, 3) != 0) span *= 2;
    world_block(world_of(d), slowed(d, rng_between(r, span, MIN(span * 2, high)), true));
}

static bool fails(struct disk *d, enum sim_disk_op op, uint64_t one_in)
{
    if (d->fail[op].skip > 0) {
        d->fail[op].skip--;
    } else if (d->fail[op].count > 0) {
        d->fail[op].count--;
        return true;
    }
    return rng_chance(&world_of(d)->rng_disk, one_in);
}

/* ---- paths ---- */

/* The directory that holds the last name of a path, and that name; the root has none. */
static enum status path_find(struct disk *d, const char *path, struct inode **out_dir, char name[NAME_MAX_ + 1],
                             struct error *err)
{
    struct inode *dir = d->root;
    name[0] = '\0';
    for (const char *p = path;;) {
        while (*p == '/') p++;
        size_t n = strcspn(p, "/");
        if (n == 0) break;
        if (n == 1 && p[0] == '.') {
            p += n;
            continue;
        }
        if (n > NAME_MAX_ || (n == 2 && p[0] == '.' && p[1] == '.'))
            return error_set(err, ST_INVALID, "path '%s': not supported", path);
        if (name[0] != '\0') {
            dir = entry_now(dir, name);
            if (dir == NULL) return error_set(err, ST_NOT_FOUND, "'%s': no such directory", path);
            if (!dir->dir) return error_set(err, ST_IO, "'%s': not a directory", path);
        }
        memcpy(name, p, n);
        name[n] = '\0';
        p += n;
    }
    *out_dir = dir;
    return ST_OK;
}

static enum status path_lookup(struct disk *d, const char *path, struct inode **out, struct error *err)
{
    char name[NAME_MAX_ + 1];
    struct inode *dir;
    enum status st = path_find(d, path, &dir, name, err);
    if (st != ST_OK) return st;
    *out = name[0] != '\0' ? entry_now(dir, name) : dir;
    return *out != NULL ? ST_OK : error_set(err, ST_NOT_FOUND, "'%s': no such file or directory", path);
}

/* ---- files ---- */

static struct sim_file *file_of(struct env_file *f) { return (struct sim_file *)f; }

static struct sim_file *file_new(struct env *env, const char *path, struct inode *i, enum env_open_mode mode)
{
    struct process *p = process_of(env);
    size_t n = strlen(path) + 1;
    struct sim_file *f = alloc(p->node->disk, sizeof *f + n);
    f->base.env = env;
    f->process = p;
    f->mode = mode;
    set_ref(&f->inode, i);
    memcpy(f->path, path, n);
    list_push_back(&p->files, &f->link);
    return f;
}

enum status sim_file_open(struct env *env, const char *path, enum env_open_mode mode, struct env_file **out,
                          struct error *err)
{
    struct disk *d = disk_of(env);
    char name[NAME_MAX_ + 1];
    struct inode *dir, *i;
    spend_name(d);
    enum status st = path_find(d, path, &dir, name, err);
    if (st != ST_OK) return st;
    i = name[0] != '\0' ? entry_now(dir, name) : dir;
    if (i != NULL && i->dir) return error_set(err, ST_IO, "open '%s': is a directory", path);
    if (mode == ENV_CREATE) {
        if (i != NULL) return error_set(err, ST_EXISTS, "create '%s': file exists", path);
        i = inode_new(d, false);
        op_new(d, NULL, NULL, dir, name, i);
        entry_set_now(dir, name, i);
    }
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "open '%s': no such file", path);
    *out = &file_new(env, path, i, mode)->base;
    return ST_OK;
}

static void file_free(struct sim_file *f)
{
    if (f->lock_dir != NULL) {
        f->lock_dir->locked_by = NULL;
        set_ref(&f->lock_dir, NULL);
    }
    link_remove(&f->link);
    set_ref(&f->inode, NULL);
    mem_free(f);
}

void sim_file_close(struct env_file *f) { file_free(file_of(f)); }

enum status sim_file_read(struct env_file *file, uint64_t offset, void *out, size_t n, struct error *err)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    struct disk *d = i->disk;
    struct world *w = world_of(d);
    w->counters.reads++;
    bool cold = rng_chance(&w->rng_disk, 8);
    spend(d, 1000 + n / 4 + (cold ? rng_between(&w->rng_disk, 30000, 200000) : 0), cold);
    if (fails(d, SIM_DISK_READ, d->options.read_error_one_in)) {
        w->counters.read_errors++;
        return error_set(err, ST_IO, "read '%s': input/output error", f->path);
    }
    if (offset > i->size || n > i->size - offset)
        return error_set(err, ST_CORRUPT, "read '%s': short read: %zu bytes at offset %" PRIu64 " of %" PRIu64, f->path,
                         n, offset, i->size);
    for (size_t at = 0; at < n;) {
        size_t in = (offset + at) % PAGE_BYTES, part = MIN(n - at, PAGE_BYTES - in);
        const struct page *p = &i->pages[(offset + at) / PAGE_BYTES];
        if (p->data != NULL) memcpy((uint8_t *)out + at, p->data + in, part);
        else memset((uint8_t *)out + at, 0, part);
        at += part;
    }
    return ST_OK;
}

enum status sim_file_write(struct env_file *file, uint64_t offset, const void *p, size_t n, struct error *err)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    struct disk *d = i->disk;
    struct world *w = world_of(d);
    ASSERT(f->mode != ENV_READ);
    w->counters.writes++;
    spend(d, rng_between(&w->rng_disk, 1000, 5000) + n / 4, true);
    enum status st = room_check(i, offset + n, f->path, err);
    if (st == ST_OK && fails(d, SIM_DISK_WRITE, d->options.write_error_one_in)) {
        w->counters.write_errors++;
        st = error_set(err, ST_IO, "write '%s': input/output error", f->path);
    }
    if (st == ST_IO) n = rng_below(&w->rng_disk, n + 1); /* some of it may have been written */
    if (st == ST_DISK_FULL) {
        uint64_t free_bytes = i->page_count * (uint64_t)PAGE_BYTES;
        if (d->used_pages * PAGE_BYTES < d->options.capacity_bytes)
            free_bytes += d->options.capacity_bytes / PAGE_BYTES * PAGE_BYTES - d->used_pages * PAGE_BYTES;
        n = offset < free_bytes ? (size_t)MIN(n, free_bytes - offset) : 0;
    }
    if (n == 0) return st;
    file_extend(i, offset + n);
    pages_write(i, offset, p, n);
    world_mix(w, EV_WRITE, d->node->id, hash64(bytes_of(p, n), offset));
    w->counters.bytes_written += n;
    return st;
}

enum status sim_file_sync(struct env_file *file, struct error *err)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    struct disk *d = i->disk;
    struct world *w = world_of(d);
    w->counters.syncs++;
    uint64_t epoch = i->epoch++, size = i->size;
    spend_sync(d);
    if (fails(d, SIM_DISK_SYNC, d->options.sync_error_one_in)) {
        w->counters.sync_errors++;
        file_sync_failed(i, epoch);
        return error_set(err, ST_IO, "fdatasync '%s': input/output error", f->path);
    }
    file_synced(i, epoch, size);
    return ST_OK;
}

enum status sim_file_size(struct env_file *file, uint64_t *out, struct error *err)
{
    *out = file_of(file)->inode->size;
    return ST_OK;
}

enum status sim_file_truncate(struct env_file *file, uint64_t size, struct error *err)
{
    struct sim_file *f = file_of(file);
    ASSERT(f->mode != ENV_READ);
    spend_name(f->inode->disk);
    enum status st = room_check(f->inode, size, f->path, err);
    if (st == ST_OK) file_truncate(f->inode, size);
    return st;
}

enum status sim_file_zero_fill(struct env_file *file, uint64_t size, struct error *err)
{
    struct sim_file *f = file_of(file);
    struct inode *i = f->inode;
    ASSERT(f->mode != ENV_READ);
    if (size <= i->size) return ST_OK;
    spend(i->disk, 5000 + (size - i->size) / 2, true);
    enum status st = room_check(i, size, f->path, err);
    if (st != ST_OK || size <= i->size) return st;
    uint64_t from = i->size;
    file_extend(i, size);
    pages_write(i, from, NULL, size - from);
    return ST_OK;
}

/* ---- directories ---- */

enum status sim_dir_create(struct env *env, const char *path, struct error *err)
{
    struct disk *d = disk_of(env);
    char name[NAME_MAX_ + 1];
    size_t n = strlen(path);
    char *part = heap_strdup(&world_of(d)->heap, path);
    enum status st = ST_OK;
    for (size_t end = 1; st == ST_OK && end <= n; end++) {
        if (path[end] != '/' && path[end] != '\0') continue;
        struct inode *dir = NULL;
        part[end] = '\0';
        spend_name(d);
        st = path_find(d, part, &dir, name, err);
        part[end] = path[end];
        if (st != ST_OK || name[0] == '\0') continue;
        struct inode *i = entry_now(dir, name);
        if (i != NULL) {
            if (!i->dir) st = error_set(err, ST_IO, "create directory '%s': not a directory", path);
            continue;
        }
        i = inode_new(d, true);
        op_new(d, NULL, NULL, dir, name, i);
        entry_set_now(dir, name, i);
        uint64_t seq = d->op_seq;
        inode_ref(dir);
        spend_sync(d);
        dir_commit(dir, seq);
        inode_unref(dir);
    }
    mem_free(part);
    return st;
}

enum status sim_dir_sync(struct env *env, const char *path, struct error *err)
{
    struct disk *d = disk_of(env);
    struct world *w = world_of(d);
    struct inode *dir;
    enum status st = path_lookup(d, path, &dir, err);
    if (st != ST_OK) return st;
    if (!dir->dir) return error_set(err, ST_IO, "fsync '%s': not a directory", path);
    w->counters.dir_syncs++;
    uint64_t seq = d->op_seq;
    inode_ref(dir);
    spend_sync(d);
    if (fails(d, SIM_DISK_SYNC, d->options.sync_error_one_in)) {
        w->counters.sync_errors++;
        st = error_set(err, ST_IO, "fsync directory '%s': input/output error", path);
    } else {
        dir_commit(dir, seq);
    }
    inode_unref(dir);
    return st;
}

enum status sim_dir_list(struct env *env, const char *path, void (*each)(void *ctx, const char *name), void *ctx,
                         struct error *err)
{
    struct disk *d = disk_of(env);
    struct world *w = world_of(d);
    struct inode *dir;
    spend_name(d);
    enum status st = path_lookup(d, path, &dir, err);
    if (st != ST_OK) return st;
    if (!dir->dir) return error_set(err, ST_IO, "open directory '%s': not a directory", path);
    size_t n = 0;
    char **names = alloc(d, (dir->entry_count + 1) * sizeof *names);
    for (size_t k = 0; k < dir->entry_count; k++)
        if (dir->entries[k].now != NULL) names[n++] = heap_strdup(&w->heap, dir->entries[k].name);
    for (size_t k = n; k > 1; k--) { /* in no promised order */
        size_t other = rng_below(&w->rng_disk, k);
        char *name = names[other];
        names[other] = names[k - 1];
        names[k - 1] = name;
    }
    for (size_t k = 0; k < n; k++) {
        each(ctx, names[k]);
        mem_free(names[k]);
    }
    mem_free(names);
    return ST_OK;
}

static bool dir_is_empty(const struct inode *dir)
{
    for (size_t k = 0; k < dir->entry_count; k++)
        if (dir->entries[k].now != NULL) return false;
    return true;
}

enum status sim_rename(struct env *env, const char *from, const char *to, struct error *err)
{
    struct disk *d = disk_of(env);
    char from_name[NAME_MAX_ + 1], to_name[NAME_MAX_ + 1];
    struct inode *from_dir, *to_dir;
    spend_name(d);
    enum status st = path_find(d, from, &from_dir, from_name, err);
    if (st == ST_OK) st = path_find(d, to, &to_dir, to_name, err);
    if (st != ST_OK) return st;
    struct inode *i = from_name[0] != '\0' ? entry_now(from_dir, from_name) : NULL;
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "rename '%s': no such file (to '%s')", from, to);
    struct inode *replaced = entry_now(to_dir, to_name);
    if (replaced == i) return ST_OK;
    if (to_name[0] == '\0' || (replaced != NULL && (replaced->dir != i->dir || !dir_is_empty(replaced))))
        return error_set(err, ST_EXISTS, "rename '%s': '%s' is in the way", from, to);
    op_new(d, from_dir, from_name, to_dir, to_name, i);
    inode_ref(i);
    entry_set_now(from_dir, from_name, NULL);
    entry_set_now(to_dir, to_name, i);
    inode_unref(i);
    return ST_OK;
}

enum status sim_unlink(struct env *env, const char *path, struct error *err)
{
    struct disk *d = disk_of(env);
    char name[NAME_MAX_ + 1];
    struct inode *dir;
    spend_name(d);
    enum status st = path_find(d, path, &dir, name, err);
    if (st != ST_OK) return st;
    struct inode *i = name[0] != '\0' ? entry_now(dir, name) : NULL;
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "unlink '%s': no such file", path);
    if (i->dir) return error_set(err, ST_IO, "unlink '%s': is a directory", path);
    op_new(d, dir, name, NULL, NULL, i);
    entry_set_now(dir, name, NULL);
    return ST_OK;
}

enum status sim_dir_remove(struct env *env, const char *path, struct error *err)
{
    struct disk *d = disk_of(env);
    char name[NAME_MAX_ + 1];
    struct inode *dir;
    spend_name(d);
    enum status st = path_find(d, path, &dir, name, err);
    if (st != ST_OK) return st;
    struct inode *i = name[0] != '\0' ? entry_now(dir, name) : NULL;
    if (i == NULL) return error_set(err, ST_NOT_FOUND, "rmdir '%s': no such directory", path);
    if (!i->dir || !dir_is_empty(i)) return error_set(err, ST_IO, "rmdir '%s': not an empty directory", path);
    op_new(d, dir, name, NULL, NULL, i);
    entry_set_now(dir, name, NULL);
    return ST_OK;
}

bool sim_exists(struct env *env, const char *path)
{
    struct inode *i;
    return path_lookup(disk_of(env), path, &i, NULL) == ST_OK;
}

enum status sim_dir_lock(struct env *env, const char *path, struct env_file **out, struct error *err)
{
    struct disk *d = disk_of(env);
    struct inode *dir;
    spend_name(d);
    enum status st = path_lookup(d, path, &dir, err);
    if (st != ST_OK) return st;
    if (!dir->dir) return error_set(err, ST_IO, "lock '%s': not a directory", path);
    if (dir->locked_by != NULL)
        return error_set(err, ST_BUSY, "directory '%s' is in use by process %" PRIu64, path,
                         dir->locked_by->incarnation);
    struct inode *i = entry_now(dir, "LOCK");
    if (i == NULL) {
        i = inode_new(d, false);
        op_new(d, NULL, NULL, dir, "LOCK", i);
        entry_set_now(dir, "LOCK", i);
    }
    struct sim_file *f = file_new(env, path, i, ENV_WRITE);
    set_ref(&f->lock_dir, dir);
    dir->locked_by = f->process;
    *out = &f->base;
    return ST_OK;
}

enum status sim_disk_free(struct env *env, const char *path, uint64_t *out, struct error *err)
{
    struct disk *d = disk_of(env);
    struct inode *i;
    enum status st = path_lookup(d, path, &i, err);
    if (st != ST_OK) return st;
    uint64_t used = d->used_pages * PAGE_BYTES;
    *out = d->options.capacity_bytes > used ? d->options.capacity_bytes - used : 0;
    return ST_OK;
}

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
    for (struct link *k; (k = list_first(&p->files)) != NULL;) file_free(CONTAINER_OF(k, struct sim_file, link));
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
    struct world *w = world_of(d);
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
    enum status st = path_lookup(n->disk, path, &i, err);
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
