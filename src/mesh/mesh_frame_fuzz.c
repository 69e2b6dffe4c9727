/* mesh_frame_fuzz.c - arbitrary bytes, cut into pieces, as frames, hellos and refusals.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte says how long the pieces are and whether the checksums are made right, so that a fuzzer gets past
 * them. */
#include "base/hash.h"
#include "base/mem.h"
#include "mesh/mesh_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    size_t count;
    uint32_t crc;
};

static bool each(void *ctx, struct mesh_frame *f)
{
    struct seen *s = ctx;
    struct mesh_hello hello, mine = {.format = MESH_FORMAT};
    struct error err = {0};
    enum mesh_refusal why;
    char text[32];
    s->count++;
    s->crc = crc32c(s->crc, f->body.p, f->body.n);
    if (mesh_hello_decode(f->body, &hello, &err) == ST_OK) {
        struct buf b = {0};
        mesh_hello_put(&b, &hello);
        ASSERT(bytes_equal(bytes_of(b.p + MESH_HEADER_BYTES, b.n - MESH_HEADER_BYTES), f->body));
        buf_deinit(&b);
        if (mesh_hello_check(&mine, &hello, "peer", &err) != ST_OK) ASSERT(err.text[0] != 0);
    }
    if (mesh_refuse_decode(f->body, &why, text, sizeof text) == ST_OK) ASSERT(strlen(text) < sizeof text);
    return true;
}

static enum status feed(struct bytes all, size_t piece, struct seen *seen)
{
    struct mesh_cutter c = {.body_max = 1024};
    enum status st = ST_OK;
    for (size_t at = 0; at < all.n && st == ST_OK; at += piece) {
        size_t n = MIN(piece, all.n - at);
        void *p = mem_copy(all.p + at, n);
        st = mesh_cutter_feed(&c, bytes_of(p, n), each, seen, NULL);
        mem_free(p);
        ASSERT(c.partial.cap <= 4096);
    }
    mesh_cutter_deinit(&c);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    uint8_t mode = data[0];
    struct buf b = {0};
    buf_put(&b, data + 1, size - 1);
    if (mode & 1) /* right checksums */
        for (size_t at = 0, n; mesh_frame_size(bytes_of(b.p + at, b.n - at), b.n, &n, NULL) == ST_OK && n <= b.n - at;
             at += n)
            put_u32(b.p + at + 4, crc32c(0, b.p + at + 8, n - 8));
    struct seen whole = {0}, pieces = {0};
    enum status st_whole = feed(buf_view(&b), b.n + 1, &whole);
    enum status st_pieces = feed(buf_view(&b), (mode >> 1) + 1u, &pieces);
    ASSERT(st_whole == st_pieces && whole.count == pieces.count && whole.crc == pieces.crc);
    buf_deinit(&b);
    return 0;
}
