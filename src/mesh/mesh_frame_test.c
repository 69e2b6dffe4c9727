/* mesh_frame_test.c - frames survive being cut anywhere; damage and lies about length are found.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "mesh/mesh_frame.h"

enum { BODY_MAX = 4096 };

static void test_layout(void **state)
{
    /* kind 7, endpoint 0x0102, body "abc"; the CRC is over bytes 8 to 14. */
    static const uint8_t expect[] = {3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 2, 1, 'a', 'b', 'c'};
    struct buf b = {0};
    mesh_frame_put(&b, 7, 0x0102, BYTES_LIT("a"), BYTES_LIT("bc"), true);
    assert_int_equal(b.n, sizeof expect);
    assert_memory_equal(b.p, expect, 4);
    assert_int_equal(get_u32(b.p + 4), crc32c(0, expect + 8, 7));
    assert_memory_equal(b.p + 8, expect + 8, 7);
    buf_deinit(&b);
}

static void test_every_flipped_bit_is_found(void **state)
{
    struct buf b = {0};
    mesh_frame_put(&b, MESH_RAFT, 3, BYTES_LIT("head"), BYTES_LIT("body of the frame"), true);
    for (size_t bit = 4 * 8; bit < b.n * 8; bit++) { /* the length is the cutter's matter */
        struct mesh_frame f;
        struct error err = {0};
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(mesh_frame_decode(buf_view(&b), true, &f, &err), ST_CORRUPT);
        assert_true(err.text[0] != 0);
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_deinit(&b);
}

struct seen {
    size_t count, bytes;
    uint32_t crc;
    size_t stop_at; /* each returns false for this one; 0: never */
};

static bool each(void *ctx, struct mesh_frame *f)
{
    struct seen *s = ctx;
    s->count++;
    s->bytes += f->body.n;
    s->crc = crc32c(s->crc, &f->kind, 1);
    s->crc = crc32c(s->crc, f->body.p, f->body.n);
    return s->count != s->stop_at;
}

static void put_frames(struct buf *b, size_t count)
{
    static const size_t sizes[] = {0, 1, 5, 300, 12, BODY_MAX, 2, 77};
    uint8_t body[BODY_MAX];
    for (size_t i = 0; i < count; i++) {
        memset(body, (int)i, sizeof body);
        mesh_frame_put(b, (uint8_t)(MESH_RAFT + i % 4), (uint16_t)i, (struct bytes){0},
                       bytes_of(body, sizes[i % ARRAY_COUNT(sizes)]), true);
    }
}

/* Feeds pieces of memory of their exact size, so that a read beyond one is seen. */
static enum status feed(struct mesh_cutter *c, struct bytes all, size_t piece, struct seen *seen, struct error *err)
{
    enum status st = ST_OK;
    for (size_t at = 0; at < all.n && st == ST_OK; at += piece) {
        size_t n = MIN(piece, all.n - at);
        void *p = mem_copy(all.p + at, n);
        st = mesh_cutter_feed(c, bytes_of(p, n), each, seen, err);
        mem_free(p);
    }
    return st;
}

static void test_cut_anywhere(void **state)
{
    struct buf b = {0};
    struct seen whole = {0};
    put_frames(&b, 16);
    for (size_t piece = b.n; piece > 0; piece = piece > 40 ? piece - piece / 7 : piece - 1) {
        struct mesh_cutter c = {.body_max = BODY_MAX};
        struct seen seen = {0};
        assert_int_equal(feed(&c, buf_view(&b), piece, &seen, NULL), ST_OK);
        if (piece == b.n) whole = seen;
        assert_int_equal(seen.count, 16);
        assert_int_equal(seen.bytes, whole.bytes);
        assert_int_equal(seen.crc, whole.crc);
        assert_int_equal(c.partial.n, 0);
        mesh_cutter_deinit(&c);
    }
    buf_deinit(&b);
}

static void test_stops_when_told(void **state)
{
    struct buf b = {0};
    put_frames(&b, 4);
    for (size_t piece = 1; piece < 40; piece++) {
        struct mesh_cutter c = {.body_max = BODY_MAX};
        struct seen seen = {.stop_at = 2};
        assert_int_equal(feed(&c, buf_view(&b), piece, &seen, NULL), ST_CLOSED);
        assert_int_equal(seen.count, 2);
        mesh_cutter_deinit(&c);
    }
    buf_deinit(&b);
}

static void test_lies_about_length(void **state)
{
    struct buf b = {0};
    struct seen seen = {0};
    struct error err = {0};
    struct mesh_cutter c = {.body_max = BODY_MAX};
    mesh_frame_put(&b, MESH_RAFT, 0, (struct bytes){0}, BYTES_LIT("x"), true);
    put_u32(b.p, BODY_MAX + 1);
    assert_int_equal(feed(&c, buf_view(&b), b.n, &seen, &err), ST_TOO_LARGE);
    assert_string_equal(err.text, "a frame of 4097 bytes, at most 4096");
    mesh_cutter_deinit(&c);
    /* Within the limit, but not true: nothing is handed out, and no more memory is taken than bytes have come. */
    c = (struct mesh_cutter){.body_max = 1u << 30};
    put_u32(b.p, 1u << 30);
    assert_int_equal(feed(&c, buf_view(&b), b.n, &seen, &err), ST_OK);
    assert_int_equal(seen.count, 0);
    assert_true(c.partial.cap < 1024);
    mesh_cutter_deinit(&c);
    buf_deinit(&b);
}

static struct mesh_hello hello(uint64_t from, uint64_t to)
{
    struct mesh_hello h = {.format = MESH_FORMAT, .lane = MESH_BULK, .semantics_oldest = 2, .semantics_newest = 4};
    h.from_node = from;
    h.to_node = to;
    h.shard = 3;
    h.shard_count = 8;
    memset(h.cluster_id, 0xab, sizeof h.cluster_id);
    return h;
}

static void test_hello_round_trip(void **state)
{
    struct buf b = {0};
    struct mesh_hello in = hello(7, 9), out;
    struct mesh_frame f;
    for (uint64_t id = 1; id <= 3; id++) lineage_grow(&in.lineage, id * 77);
    mesh_hello_put(&b, &in);
    assert_int_equal(b.n, MESH_HEADER_BYTES + MESH_HELLO_BYTES + 25 + 3 * 8);
    assert_int_equal(mesh_frame_decode(buf_view(&b), true, &f, NULL), ST_OK);
    assert_int_equal(f.kind, MESH_HELLO);
    assert_int_equal(mesh_hello_decode(f.body, &out, NULL), ST_OK);
    assert_memory_equal(&in, &out, sizeof in);
    for (size_t n = 0; n < f.body.n; n++)
        assert_int_equal(mesh_hello_decode(bytes_of(f.body.p, n), &out, NULL), ST_CORRUPT);
    buf_deinit(&b);
}

static void test_hello_of_another_format(void **state)
{
    static const uint8_t body[] = {2, 0, 0xff}; /* what follows is not for us to read */
    struct mesh_hello out;
    struct error err = {0};
    assert_int_equal(mesh_hello_decode(bytes_of(body, sizeof body), &out, &err), ST_VERSION);
    assert_int_equal(out.format, 2);
    assert_string_equal(err.text, "frame format 1 here, 2 there");
}

static void test_hello_check(void **state)
{
    struct mesh_hello mine = hello(2, 0), theirs = hello(1, 2);
    struct error err = {0};
    assert_int_equal(mesh_hello_check(&mine, &theirs, "10.0.0.1:5", &err), ST_OK);
    theirs.cluster_id[15] = 0xac;
    assert_int_equal(mesh_hello_check(&mine, &theirs, "10.0.0.1:5", &err), ST_DENIED);
    assert_string_equal(
        err.text, "cluster abababababababababababababababab here, abababababababababababababababac at 10.0.0.1:5");
    theirs = hello(1, 2);
    theirs.semantics_oldest = 5;
    theirs.semantics_newest = 6;
    assert_int_equal(mesh_hello_check(&mine, &theirs, "10.0.0.1:5", &err), ST_VERSION);
    assert_string_equal(err.text, "semantics versions 2 to 4 here, 5 to 6 at 10.0.0.1:5");
    theirs.semantics_oldest = 4;
    assert_int_equal(mesh_hello_check(&mine, &theirs, "a", &err), ST_OK);
    theirs.semantics_oldest = 0;
    theirs.semantics_newest = 1;
    assert_int_equal(mesh_hello_check(&mine, &theirs, "a", &err), ST_VERSION);
    theirs = hello(1, 3);
    assert_int_equal(mesh_hello_check(&mine, &theirs, "10.0.0.1:5", &err), ST_DENIED);
    assert_string_equal(err.text, "node 2 here, but 10.0.0.1:5 wants node 3");
    theirs = hello(0, 2);
    assert_int_equal(mesh_hello_check(&mine, &theirs, "10.0.0.1:5", &err), ST_DENIED);
    /* The other direction: the one that answers is not the one that was wanted. */
    mine = hello(1, 2);
    theirs = hello(4, 1);
    assert_int_equal(mesh_hello_check(&mine, &theirs, "10.0.0.1:5", &err), ST_DENIED);
    assert_string_equal(err.text, "node 2 wanted, node 4 is at 10.0.0.1:5");
}

static void test_hello_check_of_calls(void **state)
{
    struct mesh_hello member = hello(2, 0), joiner = hello(0, 0);
    member.lane = joiner.lane = MESH_LANE_CALL;
    memset(joiner.cluster_id, 0, sizeof joiner.cluster_id);
    assert_int_equal(mesh_hello_check(&member, &joiner, "a", NULL), ST_OK);
    assert_int_equal(mesh_hello_check(&joiner, &member, "a", NULL), ST_OK);
    joiner.cluster_id[0] = 1; /* it means another cluster */
    assert_int_equal(mesh_hello_check(&member, &joiner, "a", NULL), ST_DENIED);
    assert_int_equal(mesh_hello_check(&joiner, &member, "a", NULL), ST_DENIED);
}

static void test_refusal(void **state)
{
    struct buf b = {0};
    struct mesh_frame f;
    enum mesh_refusal why;
    char text[16];
    mesh_refuse_put(&b, MESH_REFUSED_MISMATCH, "line\nand \x1b more than fits");
    assert_int_equal(mesh_frame_decode(buf_view(&b), true, &f, NULL), ST_OK);
    assert_int_equal(mesh_refuse_decode(f.body, &why, text, sizeof text), ST_OK);
    assert_int_equal(why, MESH_REFUSED_MISMATCH);
    assert_string_equal(text, "line?and ? more"); /* a peer can't forge lines of our log */
    for (size_t n = 0; n < f.body.n; n++)
        assert_int_equal(mesh_refuse_decode(bytes_of(f.body.p, n), &why, text, sizeof text), ST_CORRUPT);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_every_flipped_bit_is_found),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_stops_when_told),
        cmocka_unit_test(test_lies_about_length),
        cmocka_unit_test(test_hello_round_trip),
        cmocka_unit_test(test_hello_of_another_format),
        cmocka_unit_test(test_hello_check),
        cmocka_unit_test(test_hello_check_of_calls),
        cmocka_unit_test(test_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
