/* real_worker.c - threads that run jobs which may block.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/mem.h"
#include "env/real_internal.h"

struct real_worker {
    struct env_worker base;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    struct list queue; /* under mutex, as the next two */
    unsigned idle;     /* threads that wait */
    bool ending;
    unsigned n_threads;
    struct env_thread *threads[];
};

static void job_back(struct env_task *task)
{
    struct env_job *job = CONTAINER_OF(task, struct env_job, task);
    job->done(job); /* may free it */
}

static void worker_main(void *arg)
{
    struct real_worker *w = arg;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        struct link *k = list_pop_front(&w->queue);
        if (k != NULL) {
            pthread_mutex_unlock(&w->mutex);
            struct env_job *job = CONTAINER_OF(k, struct env_job, link);
            job->run(job);
            env_post(job->loop, &job->task);
            pthread_mutex_lock(&w->mutex);
        } else if (w->ending) {
            break;
        } else {
            w->idle++;
            pthread_cond_wait(&w->more, &w->mutex);
            w->idle--;
        }
    }
    pthread_mutex_unlock(&w->mutex);
}

struct env_worker *real_worker_new(struct env *env, const char *name, unsigned threads)
{
    ASSERT(threads > 0 && threads <= REAL_WORKER_THREADS_MAX);
    struct real_worker *w = mem_zalloc(sizeof *w + threads * sizeof w->threads[0]);
    w->base.env = env;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->more, NULL);
    list_init(&w->queue);
    w->n_threads = threads;
    for (unsigned i = 0; i < threads; i++) {
        char full[32];
        snprintf(full, sizeof full, threads > 1 ? "%s-%u" : "%s", name, i);
        w->threads[i] = env_real_thread_new(full, worker_main, w);
    }
    return &w->base;
}

void real_worker_submit(struct env_worker *worker, struct env_loop *loop, struct env_job *job)
{
    struct real_worker *w = (struct real_worker *)worker;
    job->loop = loop;
    job->task = (struct env_task){.run = job_back};
    pthread_mutex_lock(&w->mutex);
    ASSERT(!w->ending);
    list_push_back(&w->queue, &job->link);
    bool wake = w->idle > 0;
    pthread_mutex_unlock(&w->mutex);
    if (wake) pthread_cond_signal(&w->more);
}

void real_worker_free(struct env_worker *worker)
{
    struct real_worker *w = (struct real_worker *)worker;
    struct list undone;
    list_init(&undone);
    pthread_mutex_lock(&w->mutex);
    w->ending = true;
    for (struct link *k; (k = list_pop_front(&w->queue)) != NULL;) list_push_back(&undone, k);
    pthread_mutex_unlock(&w->mutex);
    pthread_cond_broadcast(&w->more);
    for (unsigned i = 0; i < w->n_threads; i++) env_real_thread_join(w->threads[i]);
    for (struct link *k; (k = list_pop_front(&undone)) != NULL;) {
        struct env_job *job = CONTAINER_OF(k, struct env_job, link);
        env_post(job->loop, &job->task);
    }
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->mutex);
    mem_free(w);
}
