/* What the pool gives out: slots to run in, and memory for environments, which idle ones hold
 * until somebody needs it more. */
#include "server/functions/run.h"

/* ---- slots and memory ---- */

/* Takes one of a counter's, which stays within max. */
static bool take_one(atomic_uint *counter, unsigned max)
{
    unsigned now = atomic_load(counter);
    while (now < max)
        if (atomic_compare_exchange_weak(counter, &now, now + 1))
            return true;
    return false;
}

static unsigned shared_max(const struct pool *p)
{
    unsigned reserved = atomic_load(&p->reserved);
    return reserved < p->concurrency ? p->concurrency - reserved : 1;
}

static unsigned running_max(const struct pool *p, bool event)
{
    return p->concurrency - (event ? p->spare : 0);
}

bool pool_slot_free(const struct pool *p, const struct family *family, bool event)
{
    if (atomic_load(&p->running) >= running_max(p, event))
        return false;
    return family->reserved ? family->running < family->reserved - 1
                            : atomic_load(&p->running_shared) < shared_max(p);
}

bool pool_slot_take(struct pool *p, struct family *family, bool event, bool *shared)
{
    *shared = family->reserved == 0;
    if (!*shared && family->running >= family->reserved - 1)
        return false;
    if (!take_one(&p->running, running_max(p, event)))
        return false;
    if (*shared && !take_one(&p->running_shared, shared_max(p))) {
        atomic_fetch_sub(&p->running, 1);
        return false;
    }
    family->running++;
    return true;
}

void pool_slot_back(struct pool *p, struct family *family, bool shared)
{
    family->running--;
    atomic_fetch_sub(&p->running, 1);
    if (shared)
        atomic_fetch_sub(&p->running_shared, 1);
}

void pool_return_over(struct fn_env *e)
{
    if (!e->returns)
        return;
    e->returns = false;
    e->fleet->returning--;
    atomic_fetch_sub(&e->f->pool->returning, 1);
}

void pool_slot_release(struct fn_env *e)
{
    pool_return_over(e);
    if (!e->slot)
        return;
    e->slot = false;
    pool_slot_back(e->f->pool, e->fleet->family, e->slot_shared);
}

static bool memory_take(struct pool *p, uint64_t bytes)
{
    uint_fast64_t now = atomic_load(&p->memory);
    while (now + bytes <= p->memory_max)
        if (atomic_compare_exchange_weak(&p->memory, &now, now + bytes))
            return true;
    return false;
}

void pool_memory_back(struct fn_env *e)
{
    atomic_fetch_sub(&e->f->pool->memory, e->memory_held);
    e->memory_held = 0;
}

/* ---- idle environments ---- */

void pool_idle_push(struct fn_env *e)
{
    struct fleet *fleet = e->fleet;
    e->idle_prev = NULL;
    e->idle_next = fleet->idle_first;
    *(fleet->idle_first ? &fleet->idle_first->idle_prev : &fleet->idle_last) = e;
    fleet->idle_first = e;
    e->idle = true;
}

void pool_idle_remove(struct fn_env *e)
{
    struct fleet *fleet = e->fleet;
    *(e->idle_prev ? &e->idle_prev->idle_next : &fleet->idle_first) = e->idle_next;
    *(e->idle_next ? &e->idle_next->idle_prev : &fleet->idle_last) = e->idle_prev;
    e->idle = false;
}

bool pool_take_idle(struct fn_env *e)
{
    struct shard *shard = e->fleet->family->shard;
    pthread_mutex_lock(&shard->lock);
    bool taken = e->idle;
    if (taken)
        pool_idle_remove(e);
    pthread_mutex_unlock(&shard->lock);
    return taken;
}

/* Of a shard; with a reference. */
static struct fn_env *oldest_of(struct shard *shard, uint64_t *idle_ns)
{
    struct fn_env *oldest = NULL;
    pthread_mutex_lock(&shard->lock);
    for (struct family *y = shard->families; y; y = y->next)
        for (struct fleet *t = y->fleets; t; t = t->next)
            if (t->idle_last && t->idle_last->idle_ns < *idle_ns) {
                oldest = t->idle_last;
                *idle_ns = oldest->idle_ns;
            }
    if (oldest)
        env_ref(oldest);
    pthread_mutex_unlock(&shard->lock);
    return oldest;
}

/* The one of all that was used longest ago, out of its fleet and with a reference. Rare, and
 * small against the start that it makes room for. */
static struct fn_env *take_oldest(struct pool *p)
{
    for (;;) {
        struct fn_env *oldest = NULL;
        uint64_t idle_ns = UINT64_MAX;
        for (size_t i = 0; i < SHARDS; i++) {
            struct fn_env *e = oldest_of(&p->shards[i], &idle_ns);
            if (e && oldest)
                env_unref(oldest);
            oldest = e ? e : oldest;
        }
        if (!oldest || pool_take_idle(oldest))
            return oldest;
        env_unref(oldest);
    }
}

bool pool_make_room(struct pool *p, uint64_t bytes)
{
    while (!memory_take(p, bytes)) {
        struct fn_env *e = bytes <= p->memory_max ? take_oldest(p) : NULL;
        if (!e)
            return false;
        struct shard *shard = e->fleet->family->shard;
        pthread_mutex_lock(&shard->lock);
        pool_memory_back(e);
        pthread_mutex_unlock(&shard->lock);
        env_kill(e);
        env_unref(e);
    }
    return true;
}
