/* inode.c - files and names of a simulated disk: what is in them, what is durable of it, and what a power loss leaves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/inode.h"

#include <string.h>

#include "base/mem.h"

/* Room for one more element. */
static void grow(struct disk *d, void **array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) return;
    size_t more = *cap != 0 ? *cap * 2 : 8;
    void *p = heap_alloc(&disk_world(d)->heap, more * size);
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
    struct world *w = disk_world(d);
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
    struct world *w = disk_world(d);
    if (p == NULL) return;
    memcpy(p, &w->pages_free, sizeof w->pages_free);
    w->pages_free = p;
}

/* ---- inodes ---- */

struct inode *inode_new(struct disk *d, bool dir)
{
    struct inode *i = disk_alloc(d, sizeof *i);
    i->disk = d;
    i->id = ++d->inode_count;
    i->dir = dir;
    if (!dir) list_push_back(&d->files, &i->link);
    return i;
}

void inode_ref(struct inode *i) { i->refs++; }
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

void inode_unref(struct inode *i)
{
    ASSERT(i->refs > 0);
    if (--i->refs == 0) inode_free(i);
}

void inode_set_ref(struct inode **slot, struct inode *i)
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
        struct layer *l = disk_alloc(d, sizeof *l);
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
void pages_write(struct inode *i, uint64_t offset, const uint8_t *p, uint64_t n)
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
void inode_extend(struct inode *i, uint64_t end)
{
    if (end <= i->size) return;
    pages_resize(i, (size_t)((end + PAGE_BYTES - 1) / PAGE_BYTES));
    i->size = end;
    inode_dirty(i);
}

enum status inode_room_check(struct inode *i, uint64_t end, const char *path, struct error *err)
{
    struct disk *d = i->disk;
    uint64_t need = (end + PAGE_BYTES - 1) / PAGE_BYTES;
    if (need <= i->page_count || (d->used_pages + need - i->page_count) * PAGE_BYTES <= d->options.capacity_bytes)
        return ST_OK;
    disk_world(d)->counters.disk_fulls++;
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
void inode_synced(struct inode *i, uint64_t epoch, uint64_t size)
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
void page_fill(struct disk *d, struct page *p)
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
void inode_sync_failed(struct inode *i, uint64_t epoch)
{
    struct world *w = disk_world(i->disk);
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

void inode_truncate(struct inode *i, uint64_t size)
{
    if (size >= i->size) {
        inode_extend(i, size);
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
    struct world *w = disk_world(d);
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
    struct world *w = disk_world(d);
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
    struct world *w = disk_world(i->disk);
    struct rng *r = &w->rng_disk;
    if (i->size == i->stable_size || kept(r, m)) return i->size;
    w->counters.sizes_lost++;
    if (i->size > i->stable_size && m == MOOD_MIX && (rng_next(r) & 1)) return rng_between(r, i->stable_size, i->size);
    return i->stable_size;
}

static void file_crash(struct inode *i)
{
    struct disk *d = i->disk;
    struct rng *r = &disk_world(d)->rng_disk;
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

struct inode *entry_now(const struct inode *dir, const char *name)
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
    dir->entries[at] = (struct entry){.name = heap_strdup(&disk_world(d)->heap, name)};
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

void entry_set_now(struct inode *dir, const char *name, struct inode *i)
{
    inode_set_ref(&entry_make(dir, name)->now, i);
    entry_drop_if_empty(dir, name);
}

static void entry_set_stable(struct inode *dir, const char *name, struct inode *i)
{
    inode_set_ref(&entry_make(dir, name)->stable, i);
    entry_drop_if_empty(dir, name);
}

void name_op_new(struct disk *d, struct inode *from_dir, const char *from, struct inode *to_dir, const char *to,
                 struct inode *inode)
{
    struct name_op *op = disk_alloc(d, sizeof *op);
    struct heap *heap = &disk_world(d)->heap;
    op->seq = ++d->op_seq;
    inode_set_ref(&op->from_dir, from_dir);
    inode_set_ref(&op->to_dir, to_dir);
    if (from != NULL) op->from = heap_strdup(heap, from);
    if (to != NULL) op->to = heap_strdup(heap, to);
    inode_set_ref(&op->inode, inode);
    list_push_back(&d->ops, &op->link);
}

static void op_free(struct name_op *op)
{
    link_remove(&op->link);
    inode_set_ref(&op->from_dir, NULL);
    inode_set_ref(&op->to_dir, NULL);
    inode_set_ref(&op->inode, NULL);
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
void dir_commit(struct inode *dir, uint64_t seq)
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
    struct world *w = disk_world(d);
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
