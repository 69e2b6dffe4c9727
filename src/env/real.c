/* real.c - the real environment of a process: clocks, randomness, threads, and the ops table.
 * SPDX-License-Identifier: Apache-2.0 */
#include "env/real.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/mem.h"
#include "env/real_internal.h"

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    int rc = clock_gettime(clock, &t);
    ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t real_now_ns(struct env *env) { return clock_ns(CLOCK_BOOTTIME); }
static uint64_t real_wall_ms(struct env *env) { return clock_ns(CLOCK_REALTIME) / NS_PER_MS; }

static void random_fill(uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR) continue;
        ASSERT(got > 0); /* fails only with a wrong argument or a kernel without it */
        p += got;
        n -= (size_t)got;
    }
}

/* The kernel's randomness, taken in blocks: a call costs more than it yields when 8 bytes are asked for. Used bytes are
 * erased. */
static void real_random(struct env *env, void *out, size_t n)
{
    static _Thread_local uint8_t pool[512];
    static _Thread_local size_t left;
    if (n > sizeof pool) {
        random_fill(out, n);
        return;
    }
    if (left < n) {
        random_fill(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= n;
    memcpy(out, pool + left, n);
    memset(pool + left, 0, n);
}

enum status real_status_of(int errnum)
{
    switch (errnum) {
    case 0: return ST_OK;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL: return ST_UNAVAILABLE;
    case ETIMEDOUT: return ST_TIMEOUT;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN: return ST_CLOSED;
    case EADDRINUSE: return ST_BUSY;
    case EINVAL: return ST_INVALID;
    default: return ST_IO;
    }
}

static const struct env_ops real_ops = {
    .now_ns = real_now_ns,
    .wall_ms = real_wall_ms,
    .random = real_random,
    .defer = real_defer,
    .post = real_post,
    .timer_start = real_timer_start,
    .timer_stop = real_timer_stop,
    .listen = real_listen,
    .listener_port = real_listener_port,
    .listener_close = real_listener_close,
    .connect = real_connect,
    .stream_set_events = real_stream_set_events,
    .stream_write = real_stream_write,
    .stream_queued = real_stream_queued,
    .stream_pause = real_stream_pause,
    .stream_resume = real_stream_resume,
    .stream_peer = real_stream_peer,
    .stream_close = real_stream_close,
    .file_open = real_file_open,
    .file_close = real_file_close,
    .file_read = real_file_read,
    .file_write = real_file_write,
    .file_sync = real_file_sync,
    .file_size = real_file_size,
    .file_truncate = real_file_truncate,
    .file_zero_fill = real_file_zero_fill,
    .dir_create = real_dir_create,
    .dir_sync = real_dir_sync,
    .dir_remove = real_dir_remove,
    .dir_list = real_dir_list,
    .rename = real_rename,
    .unlink = real_unlink,
    .exists = real_exists,
    .dir_lock = real_dir_lock,
    .disk_free = real_disk_free,
    .worker_new = real_worker_new,
    .worker_submit = real_worker_submit,
    .worker_free = real_worker_free,
    .process_stats = real_process_stats,
};

struct env *env_real_new(void)
{
    struct real_env *e = mem_zalloc(sizeof *e);
    e->base.ops = &real_ops;
    pthread_mutex_init(&e->ports_mutex, NULL);
    signal(SIGPIPE, SIG_IGN); /* writing to a closed connection is an error of that connection */
    return &e->base;
}

void env_real_free(struct env *env)
{
    if (env == NULL) return;
    struct real_env *e = real_env_of(env);
    for (unsigned i = 0; i < REAL_PORTS_MAX; i++) ASSERT(e->ports[i].listeners == 0);
    pthread_mutex_destroy(&e->ports_mutex);
    mem_free(e);
}

struct env_thread {
    pthread_t id;
    char name[16]; /* what the kernel keeps */
    void (*fn)(void *arg);
    void *arg;
};

static void *thread_main(void *arg)
{
    struct env_thread *t = arg;
    pthread_setname_np(pthread_self(), t->name);
    t->fn(t->arg);
    return NULL;
}

struct env_thread *env_real_thread_new(const char *name, void (*fn)(void *arg), void *arg)
{
    struct env_thread *t = mem_zalloc(sizeof *t);
    strncpy(t->name, name, sizeof t->name - 1);
    t->fn = fn;
    t->arg = arg;
    int rc = pthread_create(&t->id, NULL, thread_main, t);
    ASSERT(rc == 0); /* as with memory: a process that gets no threads at start can't go on */
    return t;
}

void env_real_thread_join(struct env_thread *t)
{
    if (t == NULL) return;
    int rc = pthread_join(t->id, NULL);
    ASSERT(rc == 0);
    mem_free(t);
}
