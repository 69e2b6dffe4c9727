/* op_fuzz.c - arbitrary bytes as a sequence of ops on one partition.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The input is a list of ops, each with its length (u16). None may crash, write a row outside the partition, break the
 * invariants of kv_check, answer what result_check refuses, or give another result when reads are not ready at first. */
#include "base/mem.h"
#include "model/kv_build.h"
#include "model/kv_check.h"
#include "model/memory_view.h"
#include "model/result.h"
#include "table/place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SLOT_LO 100u
#define SLOT_HI 12300u

static void check_read(void *ctx, struct bytes row, struct bytes hi, bool more)
{
    struct row_parts p;
    ASSERT(row_parse(row, &p) && p.table == 1);
    ASSERT(hi.n == 0 || bytes_compare(row, hi) < 0);
    ASSERT(!more || p.space == SPACE_HEAD);
}

static enum status run(struct memory_view *m, const struct op *op, hlc_t ts, struct buf *out)
{
    buf_clear(out);
    /* The replica evaluates only what says so, and reads only what says so: as memory_view_run does. */
    enum status st = memory_view_run(m, op, ts, out);
    ASSERT(st == ST_OK || st == ST_STALE || st == ST_VERSION);
    ASSERT(st != ST_OK || result_check(buf_view(out)));
    return st;
}

static void check_rows(struct memory_view *m)
{
    struct row_parts p;
    struct error err = {0};
    for (const struct row_node *n = row_tree_first(&m->rows); n != NULL; n = row_tree_next(n))
        ASSERT(row_parse(n->key, &p) && p.table == 1 && p.slot >= SLOT_LO && p.slot < SLOT_HI);
    enum status st = kv_check(&m->base, &err);
    ASSERT(st == ST_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of(bytes_of(data, size));
    struct memory_view *m = mem_zalloc(2 * sizeof *m);
    struct buf out = {0}, other = {0};
    hlc_t ts = hlc_from_ms(1000000);
    for (int i = 0; i < 2; i++) memory_view_init(&m[i], 1, SLOT_LO, SLOT_HI);
    for (int count = 0; count < 64 && reader_left(&r) != 0; count++) {
        size_t n = reader_u16(&r);
        struct bytes encoded = reader_bytes(&r, MIN(n, reader_left(&r)));
        struct op op;
        if (!op_decode(encoded, &op)) continue;
        if ((op.opcode & 0xff00) != OPCODE_KV && op.opcode != OPCODE_WRITE_SET) continue; /* other models' fuzzers */
        op_reads(&op, &m[0].base, check_read, NULL);
        uint64_t takes = op_timestamps(&op);
        ASSERT(takes >= 1 && takes <= encoded.n + 1);
        memory_view_inject(&m[1], 3, ts);
        enum status st = run(&m[0], &op, ts, &out), st2 = run(&m[1], &op, ts, &other);
        ASSERT(st == st2 && bytes_equal(buf_view(&out), buf_view(&other)));
        memory_view_inject(&m[1], 0, 0);
        ts += takes;
        if (count % 8 == 0) ts += hlc_from_ms(500);
        m[0].base.ts = m[1].base.ts = ts;
    }
    ASSERT(memory_view_hash(&m[0]) == memory_view_hash(&m[1]));
    check_rows(&m[0]);
    for (int i = 0; i < 2; i++) memory_view_deinit(&m[i]);
    mem_free(m);
    buf_deinit(&out);
    buf_deinit(&other);
    return 0;
}
