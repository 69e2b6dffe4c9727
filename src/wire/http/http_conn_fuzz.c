/* http_conn_fuzz.c - arbitrary bytes to the HTTP door: the same answers however they are cut, and nothing left behind.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte says how many bytes a read returns, the second when the handler answers and whether the client reads.
 */
#include "env/fake_env.h"
#include "wire/http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HELD_MAX = 64 };

struct bench {
    struct fake_env *f;
    struct http_door *door;
    struct http_exchange *held[HELD_MAX];
    size_t held_count;
    bool hold;
    struct buf log; /* requests and what the client got */
};

static void handle(void *ctx, struct http_exchange *x, const struct http_request *r)
{
    struct bench *b = ctx;
    char value[16];
    buf_printf(&b->log, "%s ", r->method);
    buf_put_bytes(&b->log, r->path);
    buf_put_u8(&b->log, '?');
    buf_put_bytes(&b->log, r->query);
    buf_put_u8(&b->log, '|');
    buf_put_bytes(&b->log, r->body);
    buf_put_u8(&b->log, '\n');
    if (http_query(r->query, "a", value, sizeof value)) ASSERT(strlen(value) < sizeof value);
    for (size_t i = 0; i < r->path.n; i++) ASSERT(r->path.p[i] != 0);
    ASSERT(r->body.n <= 1000 && r->path.n > 0);
    if (b->hold && b->held_count < HELD_MAX) b->held[b->held_count++] = x;
    else http_answer(x, 200, "text/plain", r->body);
}

static void run(struct buf *log, struct bytes text, size_t read_bytes, uint8_t mode)
{
    struct bench b = {.f = fake_env_new(), .hold = mode & 1};
    struct env_loop *loop = fake_loop_new(b.f);
    struct http_door_options o = {
        .loop = loop, .body_max = 1000, .connections_max = 1, .idle_ns = NS_PER_S, .handle = handle, .ctx = &b};
    struct fake_client c = {0};
    struct env_stream *served;
    b.door = http_door_new(&o);
    b.f->read_bytes = read_bytes;
    if (mode & 2) b.f->window_bytes = 100;
    fake_pair(loop, &served, &c.s);
    env_stream_set_events(c.s, &fake_client_events, &c);
    http_door_accept(b.door, served, (struct bytes){0});
    env_stream_write(c.s, text);
    fake_run(b.f);
    for (size_t answered = 0; answered < b.held_count; answered++) {
        http_answer(b.held[answered], 200, "text/plain", BYTES_LIT("later"));
        fake_run(b.f);
    }
    if ((mode & 4) && c.s != NULL) {
        fake_client_free(&c);
        fake_run(b.f);
    }
    fake_advance(b.f, 10 * NS_PER_S);
    struct http_door_stats stats;
    http_door_stats(b.door, &stats);
    ASSERT(stats.connections == 0); /* an answer, an error or the clock has ended it */
    buf_put_bytes(log, buf_view(&b.log));
    buf_put_bytes(log, buf_view(&c.got));
    fake_client_free(&c);
    http_door_free(b.door);
    buf_deinit(&b.log);
    fake_env_free(b.f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, pieces = {0};
    if (size < 2) return 0;
    struct bytes text = bytes_of(data + 2, size - 2);
    if (text.n > 40000) return 0;
    run(&whole, text, 65536, data[1] & 3);
    run(&pieces, text, data[0] + 1u, data[1] & 3);
    ASSERT(bytes_equal(buf_view(&whole), buf_view(&pieces)));
    if (data[1] & 4) run(&pieces, text, data[0] + 1u, data[1] & 7); /* the client leaves early: only without a crash */
    buf_deinit(&whole);
    buf_deinit(&pieces);
    return 0;
}
