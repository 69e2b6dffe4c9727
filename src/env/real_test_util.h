/* real_test_util.h - what the tests of the real environment share. Included once by each, after its own headers.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CAIRN_ENV_REAL_TEST_UTIL_H
#define CAIRN_ENV_REAL_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "env/real.h"

struct world {
    struct env *env;
    struct env_loop *loop;
};

static inline struct world world_new(void)
{
    struct world w;
    w.env = env_real_new();
    w.loop = env_real_loop_new(w.env);
    return w;
}

static inline void world_free(struct world *w)
{
    env_real_loop_free(w->loop);
    env_real_free(w->env);
}

/* Listens on a free port and writes its address. */
static inline struct env_listener *listen_any(struct env_loop *loop, env_accept_fn accept, void *ctx, char address[32])
{
    struct env_listener *l = NULL;
    struct error err = {0};
    assert_int_equal(env_listen(loop, "127.0.0.1:0", accept, ctx, &l, &err), ST_OK);
    snprintf(address, 32, "127.0.0.1:%u", env_listener_port(l));
    return l;
}

static inline void ignore_data(struct env_stream *s, void *ctx, struct bytes data) {}
static inline void ignore_closed(struct env_stream *s, void *ctx, enum status st, const char *text) {}
static inline void ignore_connected(struct env_stream *s, void *ctx, enum status st) {}
static const struct env_stream_events ignore_events = {.data = ignore_data, .closed = ignore_closed};
static inline void set_ignore(void *ctx, struct env_stream *s) { env_stream_set_events(s, &ignore_events, NULL); }

static inline void loop_main(void *arg) { env_real_loop_run(arg); }

#endif
