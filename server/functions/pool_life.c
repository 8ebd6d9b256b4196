/* A pool's own life: opening, stopping, and what it counts beside. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/functions/run.h"

#define STARTERS 4

static bool add_reserved(void *ctx, const Kist__Function *latest)
{
    unsigned *sum = ctx;
    if (latest->reserved > 1)
        *sum += latest->reserved - 1;
    return true;
}

static void count_reserved(struct job *job)
{
    struct pool *p = CONTAINER_OF(job, struct pool, count_job);
    unsigned sum = 0;
    atomic_store(&p->counting, false); /* a change from here on counts again */
    if (registry_each(p->f, add_reserved, &sum) == KIST_OK)
        atomic_store(&p->reserved, sum);
}

void pool_count_reserved(struct pool *p)
{
    if (atomic_exchange(&p->counting, true))
        return;
    p->count_job.run = count_reserved;
    worker_submit(p->counter, &p->count_job);
}

static uint64_t half_the_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : UINT64_C(1) << 30;
}

static unsigned cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

enum kist_err pool_open(struct functions *f, struct pool **out)
{
    struct pool *p = calloc(1, sizeof(*p));
    if (!p)
        return KIST_E_NOMEM;
    p->f = f;
    p->concurrency = f->config.concurrency ? f->config.concurrency : 2 * cores();
    p->spare = p->concurrency >= 4 ? 1 : 0;
    p->memory_max = f->config.memory_bytes ? f->config.memory_bytes : half_the_memory();
    p->idle_ns = (uint64_t)(f->config.idle_s ? f->config.idle_s : 300) * 1000000000;
    p->wait_end = &p->wait_first;
    pthread_mutex_init(&p->wait_lock, NULL);
    pthread_mutex_init(&p->live_lock, NULL);
    pthread_cond_init(&p->live_none, NULL);
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&p->shards[i].lock, NULL);
    enum kist_err err = worker_pool_open("fn-start", STARTERS, &p->workers);
    if (err == KIST_OK)
        err = worker_pool_open("fn-count", 1, &p->counter);
    unsigned loops = cores() < LOOPS_MAX ? cores() : LOOPS_MAX;
    while (err == KIST_OK && p->loop_count < loops) {
        err = loop_open(&p->loops[p->loop_count]);
        p->loop_count += err == KIST_OK;
    }
    if (err != KIST_OK) {
        pool_close(p);
        return err;
    }
    *out = p;
    return KIST_OK;
}

void pool_keep_key(struct fn_env *e, const char *access_key)
{
    pthread_mutex_t *lock = &e->f->pool->live_lock;
    pthread_mutex_lock(lock);
    snprintf(e->access_key, sizeof(e->access_key), "%s", access_key);
    pthread_mutex_unlock(lock);
}

/* Few requests come so: a function's usual way is its environment's own connection. */
struct fn_env *pool_env_of_key(struct pool *p, struct bytes access_key)
{
    pthread_mutex_lock(&p->live_lock);
    struct fn_env *e = p->live;
    while (e && !bytes_equal(access_key, bytes_str(e->access_key)))
        e = e->live_next;
    if (e)
        env_ref(e);
    pthread_mutex_unlock(&p->live_lock);
    return e;
}

/* What waits is not begun any more: its event stays in the outbox. */
static void drop_waiting(struct pool *p)
{
    struct fleet *fleet;
    while ((fleet = pool_wait_take(p))) {
        struct shard *shard = fleet->family->shard;
        struct fn_run *run;
        do {
            pthread_mutex_lock(&shard->lock);
            run = pool_dequeue(fleet);
            pthread_mutex_unlock(&shard->lock);
            if (run)
                run_end_with(run, FN_THROTTLED, "the server is stopping");
        } while (run);
        fleet_unref(fleet);
    }
}

void pool_stop(struct pool *p)
{
    atomic_store(&p->stopping, true);
    drop_waiting(p);
    for (;;) {
        pthread_mutex_lock(&p->live_lock);
        struct fn_env *e = p->live;
        while (e && e->told_to_end)
            e = e->live_next;
        if (e) {
            e->told_to_end = true;
            env_ref(e);
        }
        pthread_mutex_unlock(&p->live_lock);
        if (!e)
            break;
        env_kill(e);
        env_unref(e);
    }
    pthread_mutex_lock(&p->live_lock);
    while (p->live_count)
        pthread_cond_wait(&p->live_none, &p->live_lock);
    pthread_mutex_unlock(&p->live_lock);
}

void pool_close(struct pool *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->loop_count; i++)
        loop_close(p->loops[i]);
    worker_pool_close(p->workers);
    worker_pool_close(p->counter);
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&p->shards[i].lock);
    pthread_mutex_destroy(&p->wait_lock);
    pthread_mutex_destroy(&p->live_lock);
    pthread_cond_destroy(&p->live_none);
    free(p);
}
