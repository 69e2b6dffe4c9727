/* net_test.c - byte streams over the simulated network, and what breaks them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sim/net.h"
#include "sim/world.h"

/* One end of a connection as the test sees it. It lives in the test's memory, so it outlives its process. */
struct end {
    struct world *w;
    struct env_loop *loop;
    struct env_stream *s;
    uint64_t sent, received; /* byte i of a stream is pattern(i) */
    uint64_t to_send;
    uint64_t connected_at, first_at, last_at, closed_at;
    unsigned reads, short_reads, drains;
    size_t queued_max;
    bool connected, closed, accepted, pause, echo, close_when_sent, close_on_closed;
    enum status connect_status, closed_status;
};

static uint8_t pattern(uint64_t i) { return (uint8_t)(i * 131 + (i >> 8) * 17 + (i >> 16)); }

#define CHUNK 5000

/* Writes until something has to queue. */
static void end_pump(struct end *e)
{
    uint8_t chunk[CHUNK];
    while (e->sent < e->to_send && env_stream_queued(e->s) == 0) {
        size_t n = (size_t)MIN(e->to_send - e->sent, (uint64_t)1 + e->sent % CHUNK);
        for (size_t i = 0; i < n; i++) chunk[i] = pattern(e->sent + i);
        env_stream_write(e->s, bytes_of(chunk, n));
        e->sent += n;
        e->queued_max = MAX(e->queued_max, env_stream_queued(e->s));
    }
    if (e->close_when_sent && e->sent == e->to_send && env_stream_queued(e->s) == 0) {
        env_stream_close(e->s);
        e->s = NULL;
    }
}

static void on_data(struct env_stream *s, void *ctx, struct bytes data)
{
    struct end *e = ctx;
    assert_true(!e->closed && !e->pause);
    if (e->received == 0) e->first_at = world_now_ns(e->w);
    for (size_t i = 0; i < data.n; i++) assert_int_equal(data.p[i], pattern(e->received + i));
    e->received += data.n;
    e->last_at = world_now_ns(e->w);
    e->reads++;
    e->short_reads += data.n < 100;
    if (e->echo) env_stream_write(s, data);
}

static void on_drained(struct env_stream *s, void *ctx)
{
    struct end *e = ctx;
    e->drains++;
    assert_int_equal(env_stream_queued(s), 0);
    end_pump(e);
}

static void on_closed(struct env_stream *s, void *ctx, enum status st, const char *text)
{
    struct end *e = ctx;
    assert_false(e->closed);
    assert_true(text[0] != '\0');
    e->closed = true;
    e->closed_status = st;
    e->closed_at = world_now_ns(e->w);
    if (e->close_on_closed) {
        env_stream_close(s);
        e->s = NULL;
    }
}

static const struct env_stream_events events = {on_data, on_drained, on_closed};

static void on_connected(struct env_stream *s, void *ctx, enum status st)
{
    struct end *e = ctx;
    assert_false(e->connected);
    e->connected = true;
    e->connect_status = st;
    e->connected_at = world_now_ns(e->w);
    if (st == ST_OK) {
        end_pump(e);
    } else {
        env_stream_close(s);
        e->s = NULL;
    }
}

static void on_accept(void *ctx, struct env_stream *s)
{
    struct end *e = ctx;
    e->s = s;
    e->accepted = true;
    env_stream_set_events(s, &events, e);
    assert_non_null(strchr(env_stream_peer(s), ':'));
    end_pump(e);
}

/* A client "c" and a server "s" that listens on port 7000; one connection. */
struct rig {
    struct world *w;
    struct sim_node *cn, *sn;
    struct end c, s;
    struct env_listener *listener;
};

static void server_start(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct rig *r = ctx;
    r->s.loop = loops[0];
    assert_int_equal(env_listen(loops[0], "0.0.0.0:7000", on_accept, &r->s, &r->listener, NULL), ST_OK);
}

static void client_start(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct rig *r = ctx;
    r->c.loop = loops[0];
}

static void do_connect(void *ctx)
{
    struct rig *r = ctx;
    r->c.s = env_connect(r->c.loop, "s:7000", &events, &r->c, on_connected);
}

static void do_pump_client(void *ctx) { end_pump(&((struct rig *)ctx)->c); }
static void do_pump_server(void *ctx) { end_pump(&((struct rig *)ctx)->s); }
static void do_close_client(void *ctx)
{
    struct rig *r = ctx;
    env_stream_close(r->c.s);
    r->c.s = NULL;
}
static void do_pause_server(void *ctx)
{
    struct rig *r = ctx;
    r->s.pause = true;
    env_stream_pause(r->s.s);
}
static void do_resume_server(void *ctx)
{
    struct rig *r = ctx;
    r->s.pause = false;
    env_stream_resume(r->s.s);
}

static void rig_new(struct rig *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    r->w = world_new(seed);
    r->cn = world_node_new(r->w, "c");
    r->sn = world_node_new(r->w, "s");
    r->c.w = r->s.w = r->w;
    world_start(r->sn, 1, server_start, r);
    world_start(r->cn, 1, client_start, r);
    world_run(r->w, NS_PER_MS);
}

static void call(struct rig *r, struct end *e, void (*fn)(void *)) { world_call(e->loop, fn, r); }

static void rig_connect(struct rig *r)
{
    call(r, &r->c, do_connect);
    world_run(r->w, 20 * NS_PER_MS);
    assert_true(r->c.connected && r->s.accepted);
    assert_int_equal(r->c.connect_status, ST_OK);
}

static void send_more(struct rig *r, struct end *e, uint64_t n)
{
    e->to_send += n;
    call(r, e, e == &r->c ? do_pump_client : do_pump_server);
}

static void bytes_arrive_in_order_and_complete(void **state)
{
    uint64_t lost = 0, split = 0, drains = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct rig r;
        rig_new(&r, seed);
        struct sim_net_options *o = net_options(r.w);
        o->loss_one_in = seed % 20 != 0 ? 3 + seed % 20 : 0;
        o->connect_timeout_ns = 300 * NS_PER_S;
        o->window_bytes_min = 1;
        o->window_bytes_max = 20000;
        r.c.to_send = 1 + seed * 60;
        r.s.to_send = 1 + seed * 31;
        call(&r, &r.c, do_connect);
        world_run(r.w, 600 * NS_PER_S);
        assert_true(r.c.connected && r.c.connect_status == ST_OK);
        assert_int_equal(r.s.received, r.c.to_send);
        assert_int_equal(r.c.received, r.s.to_send);
        assert_false(r.c.closed || r.s.closed);
        lost += world_counters(r.w)->segments_lost;
        split += r.s.short_reads;
        drains += r.c.drains;
        world_free(r.w);
    }
    assert_true(lost > 1000 && split > 1000 && drains > 1000);
}

static void an_orderly_end_comes_after_the_data(void **state)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rig r;
        rig_new(&r, seed);
        r.c.to_send = 100000;
        r.c.close_when_sent = true;
        r.s.close_on_closed = true;
        call(&r, &r.c, do_connect);
        world_run(r.w, 60 * NS_PER_S);
        assert_int_equal(r.s.received, 100000);
        assert_true(r.s.closed && r.s.closed_status == ST_OK);
        assert_null(r.c.s);
        assert_false(r.c.closed); /* it closed itself: no event after that */
        world_free(r.w);
    }
}

/* A reader that pauses: the writer sees its bytes queue, and `drained` when it goes on. */
static void a_paused_reader_pushes_back(void **state)
{
    struct rig r;
    rig_new(&r, 11);
    net_options(r.w)->window_bytes_min = net_options(r.w)->window_bytes_max = 30000;
    rig_connect(&r);
    call(&r, &r.s, do_pause_server);
    world_run(r.w, NS_PER_MS);
    send_more(&r, &r.c, 200000);
    world_run(r.w, 10 * NS_PER_S);
    assert_int_equal(r.s.received, 0);
    assert_true(r.c.sent < 40000 && r.c.queued_max > 0 && r.c.drains == 0);
    call(&r, &r.s, do_resume_server);
    world_run(r.w, 10 * NS_PER_S);
    assert_int_equal(r.s.received, 200000);
    assert_true(r.c.drains > 0);
    world_free(r.w);
}

static void connecting_fails_as_it_should(void **state)
{
    struct rig r;
    rig_new(&r, 12);
    call(&r, &r.c, do_connect); /* fine */
    world_run(r.w, NS_PER_S);
    assert_int_equal(r.c.connect_status, ST_OK);
    /* No process: the machine refuses. */
    world_crash(r.sn, SIM_KILL);
    world_run(r.w, NS_PER_S);
    memset(&r.c.connected, 0, sizeof r.c.connected);
    call(&r, &r.c, do_connect);
    world_run(r.w, NS_PER_S);
    assert_true(r.c.connected);
    assert_int_equal(r.c.connect_status, ST_UNAVAILABLE);
    /* No machine: no answer. */
    world_crash(r.sn, SIM_POWER_LOSS);
    r.c.connected = false;
    uint64_t began = world_now_ns(r.w);
    call(&r, &r.c, do_connect);
    world_run(r.w, net_options(r.w)->connect_timeout_ns - NS_PER_S);
    assert_false(r.c.connected);
    world_run(r.w, 2 * NS_PER_S);
    assert_true(r.c.connected);
    assert_int_equal(r.c.connect_status, ST_TIMEOUT);
    assert_in_range(r.c.connected_at - began, net_options(r.w)->connect_timeout_ns,
                    net_options(r.w)->connect_timeout_ns + NS_PER_MS);
    /* It comes back meanwhile: the handshake is tried again. */
    r.c.connected = false;
    call(&r, &r.c, do_connect);
    world_run(r.w, 2 * NS_PER_S);
    world_start(r.sn, 1, server_start, &r);
    world_run(r.w, 10 * NS_PER_S);
    assert_true(r.c.connected);
    assert_int_equal(r.c.connect_status, ST_OK);
    /* It goes away and comes back while the handshake is on its way. */
    r.c.connected = false;
    net_slow(r.cn, r.sn, 100 * NS_PER_MS, 0);
    call(&r, &r.c, do_connect);
    world_run(r.w, 50 * NS_PER_MS);
    world_crash(r.sn, SIM_POWER_LOSS);
    world_run(r.w, 100 * NS_PER_MS);
    world_start(r.sn, 1, server_start, &r);
    r.s.accepted = false;
    world_run(r.w, 10 * NS_PER_S);
    assert_true(r.c.connected && r.s.accepted);
    assert_int_equal(r.c.connect_status, ST_OK);
    const struct sim_counters *c = world_counters(r.w);
    assert_int_equal(c->connects, 5);
    assert_int_equal(c->connects_refused, 1);
    assert_int_equal(c->connects_timed_out, 1);
    world_free(r.w);
}

static void connect_to(void *ctx, const char *address)
{
    struct rig *r = ctx;
    r->c.connected = false;
    r->c.s = env_connect(r->c.loop, address, &events, &r->c, on_connected);
    assert_false(r->c.connected); /* never before the call has returned */
}
static void do_connect_nowhere(void *ctx) { connect_to(ctx, "nowhere:1"); }
static void do_connect_badly(void *ctx) { connect_to(ctx, "what"); }
static void do_connect_and_close(void *ctx)
{
    connect_to(ctx, "s:7000");
    do_close_client(ctx);
}

static void connecting_nowhere(void **state)
{
    struct rig r;
    rig_new(&r, 13);
    static void (*const fns[])(void *) = {do_connect_nowhere, do_connect_badly};
    for (size_t i = 0; i < ARRAY_COUNT(fns); i++) {
        call(&r, &r.c, fns[i]);
        world_run(r.w, NS_PER_S);
        assert_true(r.c.connected);
        assert_int_equal(r.c.connect_status, ST_UNAVAILABLE);
    }
    call(&r, &r.c, do_connect_and_close);
    world_run(r.w, NS_PER_S);
    assert_false(r.c.connected || r.s.accepted);
    world_free(r.w);
}

/* A paused reader is not told of an end, until it reads again or finds that it can't write. */
static void a_paused_reader_learns_of_the_end_late(void **state)
{
    for (int write = 0; write < 2; write++) {
        struct rig r;
        rig_new(&r, 14);
        rig_connect(&r);
        call(&r, &r.s, do_pause_server);
        world_run(r.w, NS_PER_MS);
        send_more(&r, &r.c, 1000);
        world_run(r.w, NS_PER_S);
        net_reset(r.cn, r.sn);
        world_run(r.w, NS_PER_S);
        assert_true(r.c.closed && !r.s.closed);
        if (write) send_more(&r, &r.s, 100);
        else call(&r, &r.s, do_resume_server);
        world_run(r.w, NS_PER_S);
        assert_true(r.s.closed);
        assert_int_equal(r.s.closed_status, ST_CLOSED);
        assert_true(r.s.received == 0 || !write);
        world_free(r.w);
    }
}

/* ---- cuts ---- */

static void a_short_cut_delays(void **state)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct rig r;
        rig_new(&r, seed);
        rig_connect(&r);
        net_cut_both(r.cn, r.sn);
        assert_true(net_is_cut(r.cn, r.sn) && net_is_cut(r.sn, r.cn));
        uint64_t cut_at = world_now_ns(r.w);
        send_more(&r, &r.c, 50000);
        send_more(&r, &r.s, 50000);
        world_run(r.w, 5 * NS_PER_S);
        assert_int_equal(r.c.received + r.s.received, 0);
        net_heal_both(r.cn, r.sn);
        world_run(r.w, 5 * NS_PER_S);
        assert_int_equal(r.c.received, 50000);
        assert_int_equal(r.s.received, 50000);
        assert_true(r.c.first_at >= cut_at + 5 * NS_PER_S && r.s.first_at >= cut_at + 5 * NS_PER_S);
        assert_false(r.c.closed || r.s.closed);
        world_run(r.w, 200 * NS_PER_S); /* nor later */
        assert_false(r.c.closed || r.s.closed);
        world_free(r.w);
    }
}

/* From the client nothing gets through, to the client everything does; but its acknowledgements are lost. */
static void a_one_way_cut(void **state)
{
    struct rig r;
    rig_new(&r, 21);
    net_options(r.w)->window_bytes_min = net_options(r.w)->window_bytes_max = 30000;
    rig_connect(&r);
    net_cut(r.cn, r.sn);
    assert_true(net_is_cut(r.cn, r.sn) && !net_is_cut(r.sn, r.cn));
    send_more(&r, &r.c, 1000);
    send_more(&r, &r.s, 100000);
    world_run(r.w, 5 * NS_PER_S);
    assert_int_equal(r.s.received, 0);
    assert_int_equal(r.c.received, 30000); /* the window, and not a byte more */
    net_heal(r.cn, r.sn);
    world_run(r.w, 5 * NS_PER_S);
    assert_int_equal(r.s.received, 1000);
    assert_int_equal(r.c.received, 100000);
    assert_false(r.c.closed || r.s.closed);
    world_free(r.w);
}

static void a_long_cut_breaks(void **state)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct rig r;
        rig_new(&r, seed);
        rig_connect(&r);
        uint64_t cut_at = world_now_ns(r.w);
        bool one_way = seed % 2 != 0;
        net_cut(r.cn, r.sn);
        if (!one_way) net_cut(r.sn, r.cn);
        send_more(&r, &r.c, 1000);
        send_more(&r, &r.s, 1000);
        world_run(r.w, 100 * NS_PER_S);
        /* Both lack acknowledgements: the client's bytes can't go, the server's are not confirmed. */
        assert_true(r.c.closed && r.s.closed);
        assert_int_equal(r.c.closed_status, ST_TIMEOUT);
        assert_int_equal(r.s.closed_status, ST_TIMEOUT);
        assert_true(r.c.closed_at - cut_at >= net_options(r.w)->give_up_ns_min);
        assert_int_equal(r.c.received, one_way ? 1000 : 0);
        world_free(r.w);
    }
}

static void an_idle_cut_is_not_noticed(void **state)
{
    struct rig r;
    rig_new(&r, 22);
    rig_connect(&r);
    net_cut_both(r.cn, r.sn);
    world_run(r.w, 1000 * NS_PER_S);
    net_heal_all(r.w);
    assert_false(net_is_cut(r.cn, r.sn) || net_is_cut(r.sn, r.cn));
    send_more(&r, &r.c, 1000);
    world_run(r.w, NS_PER_S);
    assert_int_equal(r.s.received, 1000);
    assert_false(r.c.closed || r.s.closed);
    world_free(r.w);
}

static void slow_links_are_slow(void **state)
{
    struct rig r;
    rig_new(&r, 23);
    rig_connect(&r);
    net_slow(r.cn, r.sn, 300 * NS_PER_MS, 0);
    uint64_t at = world_now_ns(r.w);
    send_more(&r, &r.c, 100);
    send_more(&r, &r.s, 100);
    world_run(r.w, NS_PER_S);
    assert_true(r.s.first_at - at >= 300 * NS_PER_MS);
    assert_true(r.c.first_at - at < 50 * NS_PER_MS);
    world_free(r.w);
}

/* ---- ends without a word, and with one ---- */

static void power_loss_leaves_connections_half_open(void **state)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct rig r;
        rig_new(&r, seed);
        rig_connect(&r);
        world_crash(r.sn, SIM_POWER_LOSS);
        world_run(r.w, 1000 * NS_PER_S);
        assert_false(r.c.closed); /* nobody told it */
        uint64_t at = world_now_ns(r.w);
        send_more(&r, &r.c, 1000);
        if (seed % 2 != 0) {
            world_run(r.w, 100 * NS_PER_S);
            assert_true(r.c.closed);
            assert_int_equal(r.c.closed_status, ST_TIMEOUT);
            assert_true(r.c.closed_at - at >= net_options(r.w)->give_up_ns_min);
        } else { /* it boots: its kernel does not know the connection */
            world_run(r.w, 5 * NS_PER_S);
            assert_false(r.c.closed);
            world_start(r.sn, 1, server_start, &r);
            world_run(r.w, 5 * NS_PER_S);
            assert_true(r.c.closed);
            assert_int_equal(r.c.closed_status, ST_CLOSED);
        }
        assert_true(world_counters(r.w)->half_open > 0);
        world_free(r.w);
    }
}

static void a_killed_process_closes_its_connections(void **state)
{
    unsigned orderly = 0, reset = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rig r;
        rig_new(&r, seed);
        rig_connect(&r);
        world_crash(r.sn, SIM_KILL);
        world_run(r.w, NS_PER_S);
        assert_true(r.c.closed);
        orderly += r.c.closed_status == ST_OK;
        reset += r.c.closed_status == ST_CLOSED;
        world_free(r.w);
    }
    assert_int_equal(orderly + reset, 200);
    assert_true(orderly > 50 && reset > 50);
}

static void resets_reach_both_sides(void **state)
{
    unsigned delivered = 0, lost = 0;
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct rig r;
        rig_new(&r, seed);
        rig_connect(&r);
        send_more(&r, &r.c, 100);
        world_run(r.w, rng_below(world_rng(r.w), 200 * NS_PER_US));
        assert_int_equal(net_reset(r.cn, r.sn), 1);
        world_run(r.w, NS_PER_S);
        assert_true(r.c.closed && r.s.closed);
        assert_int_equal(r.c.closed_status, ST_CLOSED);
        assert_int_equal(r.s.closed_status, ST_CLOSED);
        assert_true(r.s.received <= 100);
        delivered += r.s.received == 100; /* the sender can't know: it will send them again elsewhere */
        lost += r.s.received == 0;
        assert_int_equal(net_reset(r.cn, NULL), 0);
        assert_false(net_reset_one(r.cn));
        world_free(r.w);
    }
    assert_true(delivered > 50 && lost > 50);
}

static void random_resets_happen(void **state)
{
    unsigned resets = 0, server_told = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rig r;
        rig_new(&r, seed);
        net_options(r.w)->reset_one_in = 50;
        r.c.to_send = 1000000;
        r.s.close_on_closed = r.c.close_on_closed = true;
        call(&r, &r.c, do_connect);
        world_run(r.w, 100 * NS_PER_S);
        assert_true(r.s.received <= 1000000);
        assert_true(r.s.received == 1000000 || r.s.closed || !r.s.accepted);
        resets += r.c.closed;
        server_told += r.s.closed;
        world_free(r.w);
    }
    assert_true(resets > 150 && server_told > 30); /* many came before the connection was accepted */
}

static void writing_to_a_closed_peer_is_harmless(void **state)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rig r;
        rig_new(&r, seed);
        rig_connect(&r);
        r.s.to_send = 500000;
        call(&r, &r.s, do_pump_server);
        call(&r, &r.c, do_close_client);
        world_run(r.w, 100 * NS_PER_S);
        assert_true(r.s.closed);
        send_more(&r, &r.s, 1000);
        world_run(r.w, 10 * NS_PER_S);
        world_free(r.w);
    }
}

/* ---- listeners ---- */

struct spread {
    unsigned accepted[3];
    struct env_listener *listeners[3];
    struct {
        struct spread *all;
        unsigned i;
    } each[3];
};

static void on_spread(void *ctx, struct env_stream *s)
{
    struct spread *sp = *(struct spread **)ctx;
    sp->accepted[((unsigned *)((struct spread **)ctx + 1))[0]]++;
    env_stream_close(s);
}

static void spread_start(void *ctx, struct env *env, struct env_loop **loops, unsigned n)
{
    struct spread *sp = ctx;
    for (unsigned i = 0; i < 3; i++) {
        sp->each[i].all = sp;
        sp->each[i].i = i;
        assert_int_equal(env_listen(loops[i], "s:7000", on_spread, &sp->each[i], &sp->listeners[i], NULL), ST_OK);
    }
    struct env_listener *l;
    struct error err = {0};
    assert_int_equal(env_listen(loops[0], "elsewhere:7000", on_spread, NULL, &l, &err), ST_UNAVAILABLE);
    assert_int_equal(env_listen(loops[0], "7000", on_spread, NULL, &l, &err), ST_INVALID);
    assert_int_equal(env_listen(loops[0], "[::]:0", on_spread, NULL, &l, NULL), ST_OK);
    assert_true(env_listener_port(l) != 0 && env_listener_port(l) != 7000);
    env_listener_close(l);
}

static void connections_spread_over_loops(void **state)
{
    struct rig r;
    rig_new(&r, 31);
    world_stop(r.sn);
    struct spread sp = {0};
    world_start(r.sn, 3, spread_start, &sp);
    world_run(r.w, NS_PER_S);
    r.c.close_on_closed = true;
    for (int i = 0; i < 300; i++) {
        r.c.connected = r.c.closed = false;
        call(&r, &r.c, do_connect);
        world_run(r.w, NS_PER_S);
        assert_true(r.c.connected && r.c.closed);
    }
    for (int i = 0; i < 3; i++) assert_in_range(sp.accepted[i], 60, 140);
    struct sim_leaks leaks = world_stop(r.sn);
    assert_int_equal(leaks.listeners, 3);
    assert_int_equal(leaks.streams, 0);
    world_free(r.w);
}

/* Two connections are two lanes: what is sent later on one may arrive earlier. */
static void connections_overtake_one_another(void **state)
{
    unsigned overtaken = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rig r, other;
        rig_new(&r, seed);
        rig_connect(&r);
        other = r;
        memset(&other.c, 0, sizeof other.c);
        other.c.w = r.w;
        other.c.loop = r.c.loop;
        struct end first = r.s;
        env_stream_set_events(r.s.s, &events, &first);
        r.s.accepted = false;
        call(&other, &other.c, do_connect);
        world_run(r.w, 20 * NS_PER_MS);
        assert_true(r.s.accepted);
        r.s.received = 0;
        r.c.to_send += 10;
        other.c.to_send += 10;
        call(&r, &r.c, do_pump_client);
        call(&other, &other.c, do_pump_client);
        world_run(r.w, NS_PER_S);
        assert_int_equal(first.received, 10);
        assert_int_equal(r.s.received, 10);
        overtaken += r.s.first_at < first.first_at;
        world_free(r.w);
    }
    assert_in_range(overtaken, 20, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_arrive_in_order_and_complete),
        cmocka_unit_test(an_orderly_end_comes_after_the_data),
        cmocka_unit_test(a_paused_reader_pushes_back),
        cmocka_unit_test(a_paused_reader_learns_of_the_end_late),
        cmocka_unit_test(connecting_fails_as_it_should),
        cmocka_unit_test(connecting_nowhere),
        cmocka_unit_test(a_short_cut_delays),
        cmocka_unit_test(a_one_way_cut),
        cmocka_unit_test(a_long_cut_breaks),
        cmocka_unit_test(an_idle_cut_is_not_noticed),
        cmocka_unit_test(slow_links_are_slow),
        cmocka_unit_test(power_loss_leaves_connections_half_open),
        cmocka_unit_test(a_killed_process_closes_its_connections),
        cmocka_unit_test(resets_reach_both_sides),
        cmocka_unit_test(random_resets_happen),
        cmocka_unit_test(writing_to_a_closed_peer_is_harmless),
        cmocka_unit_test(connections_spread_over_loops),
        cmocka_unit_test(connections_overtake_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
