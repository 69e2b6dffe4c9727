/* env_sim.c - the table of functions behind env.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "sim/world_internal.h"

static uint64_t sim_now_ns(struct env *env)
{
    struct sim_node *n = process_of(env)->node;
    uint64_t now = node_mono(n, n->world->at);
    struct sim_loop *l = n->world->context.loop;
    if (l == NULL || l->process != process_of(env)) return now;
    /* What a loop has seen it does not unsee, though what it did on its own time may have run ahead of the world. */
    if (now < l->mono_seen) return l->mono_seen;
    return l->mono_seen = now;
}

static uint64_t sim_wall_ms(struct env *env)
{
    struct sim_node *n = process_of(env)->node;
    return node_wall_ns(n, n->world->at) / NS_PER_MS;
}

static void sim_random(struct env *env, void *out, size_t n)
{
    struct process *p = process_of(env);
    for (size_t at = 0; at < n; at += 8) {
        uint64_t v = rng_next(&p->rng);
        memcpy((uint8_t *)out + at, &v, MIN(n - at, 8));
    }
}

const struct env_ops sim_env_ops = {
    .now_ns = sim_now_ns,
    .wall_ms = sim_wall_ms,
    .random = sim_random,
    .defer = sim_defer,
    .post = sim_post,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .listen = sim_listen,
    .listener_port = sim_listener_port,
    .listener_close = sim_listener_close,
    .connect = sim_connect,
    .stream_set_events = sim_stream_set_events,
    .stream_write = sim_stream_write,
    .stream_queued = sim_stream_queued,
    .stream_pause = sim_stream_pause,
    .stream_resume = sim_stream_resume,
    .stream_peer = sim_stream_peer,
    .stream_close = sim_stream_close,
    .file_open = sim_file_open,
    .file_close = sim_file_close,
    .file_read = sim_file_read,
    .file_write = sim_file_write,
    .file_sync = sim_file_sync,
    .file_size = sim_file_size,
    .file_truncate = sim_file_truncate,
    .file_zero_fill = sim_file_zero_fill,
    .dir_create = sim_dir_create,
    .dir_sync = sim_dir_sync,
    .dir_remove = sim_dir_remove,
    .dir_list = sim_dir_list,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .exists = sim_exists,
    .dir_lock = sim_dir_lock,
    .disk_free = sim_disk_free,
    .worker_new = sim_worker_new,
    .worker_submit = sim_worker_submit,
    .worker_free = sim_worker_free,
};
