/* Who runs where and when: fleets, and those who wait for a slot or for memory (pool_room.c).
 *
 * A slot is the right to run: there are `concurrency` of them. A call that finds no slot is
 * throttled at once. An event may wait for one, in a short queue of its fleet; fleets that wait
 * take turns. Events leave a slot alone, so that a backlog does not shut out callers. An
 * environment that is idle holds memory and no slot; the one that was used longest ago is ended
 * when another needs the memory. */
#include <stdlib.h>

#include "server/functions/run.h"
#include "storage/base/cleanup.h"

#define SLOT_TURN_NS (100 * UINT64_C(1000000)) /* a fleet's, while others wait */
/* Credentials are made once for an environment: it is replaced before they expire. */
#define ENV_LIFE_NS ((uint64_t)CREDENTIALS_LIFE_MS / 2 * 1000000)

/* ---- families and fleets ---- */

static struct shard *shard_of(struct pool *p, const struct function_id *id)
{
    uint32_t hash = crc32c_update(0, id->account.ptr, id->account.len);
    return &p->shards[crc32c_update(hash, id->name.ptr, id->name.len) % SHARDS];
}

/* The shard's lock is held. */
static struct family *family_of(struct shard *shard, const struct function_id *id)
{
    struct family *family = shard->families;
    while (family && !(bytes_equal(id->name, bytes_str(family->name)) &&
                       bytes_equal(id->account, bytes_str(family->account))))
        family = family->next;
    return family;
}

static struct family *family_new(struct shard *shard, const struct function_id *id)
{
    struct family *family = calloc(1, sizeof(*family));
    if (!family)
        return NULL;
    family->account = strndup((const char *)id->account.ptr, id->account.len);
    family->name = strndup((const char *)id->name.ptr, id->name.len);
    if (!family->account || !family->name) {
        free(family->account);
        free(family->name);
        free(family);
        return NULL;
    }
    family->shard = shard;
    family->next = shard->families;
    shard->families = family;
    return family;
}

/* The shard's lock is held. */
static void family_drop_if_empty(struct family *family)
{
    struct family **at = &family->shard->families;
    if (family->fleets || family->running)
        return;
    while (*at && *at != family)
        at = &(*at)->next;
    if (*at)
        *at = family->next;
    free(family->account);
    free(family->name);
    free(family);
}

static void fleet_free(struct fleet *fleet)
{
    logs_unref(fleet->log);
    arena_release(&fleet->arena);
    free(fleet);
}

/* The shard's lock is held; true: it is to be freed when the lock is not. */
static bool fleet_drop(struct fleet *fleet)
{
    struct fleet **at = &fleet->family->fleets;
    if (--fleet->refs)
        return false;
    while (*at && *at != fleet)
        at = &(*at)->next;
    if (*at)
        *at = fleet->next;
    family_drop_if_empty(fleet->family);
    return true;
}

void fleet_unref(struct fleet *fleet)
{
    struct shard *shard = fleet->family->shard;
    pthread_mutex_lock(&shard->lock);
    bool last = fleet_drop(fleet);
    pthread_mutex_unlock(&shard->lock);
    if (last)
        fleet_free(fleet);
}

/* The function as it is now, read once more: what is kept must outlive the run. */
static struct fleet *fleet_new(struct functions *f, const struct fn_run *run)
{
    struct fleet *fleet = calloc(1, sizeof(*fleet));
    if (!fleet)
        return NULL;
    arena_init(&fleet->arena, 1 << 20);
    fleet->waiting_end = &fleet->waiting;
    fleet->refs = 1;
    fleet->id.account = arena_copy(&fleet->arena, run->id.account);
    fleet->id.name = arena_copy(&fleet->arena, run->id.name);
    fleet->id.qualifier = arena_copy(&fleet->arena, bytes_str(run->found.function->version));
    fleet->log = logs_stream(f->logs, run->id.account, run->id.name);
    if (fleet->log && fleet->id.account.ptr && fleet->id.name.ptr && fleet->id.qualifier.ptr &&
        registry_find(f, &fleet->id, &fleet->arena, &fleet->found) == KIST_OK)
        return fleet;
    fleet_free(fleet);
    return NULL;
}

static bool same_code(const struct fleet *fleet, const Kist__Function *function)
{
    const Kist__Function *mine = fleet->found.function;
    return strcmp(mine->revision, function->revision) == 0 &&
           bytes_equal(schema_bytes(mine->code_sha256), schema_bytes(function->code_sha256));
}

/* ---- giving work ---- */

static uint64_t memory_of(const Kist__Function *function)
{
    return (uint64_t)function->memory_mb << 20;
}

/* The shard's lock is held. */
static void wait_enter(struct pool *p, struct fleet *fleet)
{
    pthread_mutex_lock(&p->wait_lock);
    if (!fleet->listed) {
        fleet->listed = true;
        fleet->refs++;
        fleet->wait_next = NULL;
        *p->wait_end = fleet;
        p->wait_end = &fleet->wait_next;
        atomic_fetch_add(&p->wait_count, 1);
    }
    pthread_mutex_unlock(&p->wait_lock);
}

/* The shard's lock is held. Calls come before events. */
static void put_in_line(struct pool *p, struct fleet *fleet, struct fn_run *run)
{
    if (run->event) {
        run->next = NULL;
        *fleet->waiting_end = run;
        fleet->waiting_end = &run->next;
    } else {
        run->next = fleet->waiting;
        fleet->waiting = run;
        if (!run->next)
            fleet->waiting_end = &run->next;
    }
    fleet->waiting_count++;
    wait_enter(p, fleet);
}

/* The shard's lock is held. A call that does not wait for its turn may wait for an environment
 * that has answered just now: it will ask for work sooner than another one starts. */
static bool enqueue(struct pool *p, struct fleet *fleet, struct fn_run *run)
{
    bool soon = !run->event && !run->impatient && fleet->returning > fleet->soon;
    if ((!run->event && !soon) || fleet->stale || fleet->waiting_count >= FLEET_WAITING_MAX)
        return false;
    fleet->soon += soon;
    run->soon = soon;
    put_in_line(p, fleet, run);
    return true;
}

/* The shard's lock is held. There is no memory, but there will be, or it will be known that there
 * is none: some environment has just answered, or an event's fleet has others that run. */
static bool enqueue_for_memory(struct pool *p, struct fleet *fleet, struct fn_run *run,
                               bool *others)
{
    *others = !run->event || !fleet->family->running;
    bool waits = !*others || atomic_load(&p->returning) > 0;
    if (!waits || fleet->stale || fleet->waiting_count >= FLEET_WAITING_MAX)
        return false;
    put_in_line(p, fleet, run);
    return true;
}

struct fn_run *pool_dequeue(struct fleet *fleet)
{
    struct fn_run *run = fleet->waiting;
    if (!run)
        return NULL;
    fleet->waiting = run->next;
    if (!fleet->waiting)
        fleet->waiting_end = &fleet->waiting;
    fleet->waiting_count--;
    fleet->soon -= run->soon;
    run->soon = false;
    return run;
}

/* A slot is the caller's; the run and the slot go to a new environment. No lock is held. */
static void start_one(struct pool *p, struct fleet *fleet, struct fn_run *run, bool shared)
{
    struct shard *shard = fleet->family->shard;
    uint64_t bytes = memory_of(fleet->found.function);
    struct fn_env *e = pool_make_room(p, bytes) ? env_new(p->f, fleet, run) : NULL;
    if (!e) {
        const char *why = bytes > p->memory_max
                              ? "the function's memory is more than all functions may have here"
                              : "no memory is left for one more environment";
        pthread_mutex_lock(&shard->lock);
        pool_slot_back(p, fleet->family, shared);
        bool others = false;
        bool waits = bytes <= p->memory_max && enqueue_for_memory(p, fleet, run, &others);
        pthread_mutex_unlock(&shard->lock);
        /* The last of them may have come back before we stood in line, and seen nobody there. */
        if (waits && others && atomic_load(&p->returning) == 0)
            pool_pump(p);
        if (!waits)
            run_end_with(run, bytes > p->memory_max ? FN_BROKEN : FN_THROTTLED, why);
        return;
    }
    pthread_mutex_lock(&shard->lock);
    fleet->refs++;
    e->slot = true;
    e->slot_shared = shared;
    e->memory_held = bytes;
    pthread_mutex_unlock(&shard->lock);
    env_start(e);
}

/* The shard's lock is held: takes a slot for one more run of the fleet, and an idle environment
 * (with a reference) where there is one. */
static bool claim(struct pool *p, struct fleet *fleet, bool event, bool *shared,
                  struct fn_env **out)
{
    if (!pool_slot_take(p, fleet->family, event, shared))
        return false;
    struct fn_env *e = fleet->idle_first;
    if (e) {
        pool_idle_remove(e);
        e->slot = true;
        e->slot_shared = *shared;
        e->slot_ns = mono_ns();
        env_ref(e);
    }
    *out = e;
    return true;
}

/* False: the environment ended while it was idle; its slot goes with it. */
static bool give(struct pool *p, struct fleet *fleet, struct fn_env *e, struct fn_run *run,
                 bool shared)
{
    if (!e) {
        start_one(p, fleet, run, shared);
        return true;
    }
    bool given = env_give(e, run);
    env_unref(e);
    return given;
}

/* Into its fleet, which is made if need be: a reference for the run. An older fleet of the same
 * version is left to end; *old gets its idle environments' fleet. */
static struct fleet *join(struct pool *p, struct fn_run *run, struct fleet **old)
{
    struct shard *shard = shard_of(p, &run->id);
    struct fleet *fresh = NULL;
    *old = NULL;
    for (;;) {
        pthread_mutex_lock(&shard->lock);
        struct family *family = family_of(shard, &run->id);
        struct fleet *t = family ? family->fleets : NULL;
        while (t && (t->stale ||
                     strcmp(t->found.function->version, run->found.function->version) != 0))
            t = t->next;
        if (t && !same_code(t, run->found.function) && fresh) {
            t->stale = true;
            t->refs++;
            *old = t;
            t = NULL;
        } else if (t && !same_code(t, run->found.function)) {
            t = NULL;
        }
        if (t)
            t->refs++;
        if (!t && fresh && (family || (family = family_new(shard, &run->id)))) {
            t = TAKE_PTR(fresh);
            t->family = family;
            t->next = family->fleets;
            family->fleets = t;
        }
        if (t)
            t->family->reserved = run->found.latest->reserved;
        pthread_mutex_unlock(&shard->lock);
        if (t || fresh) {
            if (fresh)
                fleet_free(fresh);
            return t;
        }
        fresh = fleet_new(p->f, run);
        if (!fresh)
            return NULL;
    }
}

/* From the beginning: what it was to run in is no more. */
static void run_again(struct pool *p, struct fn_run *run)
{
    struct fleet *was = TAKE_PTR(run->fleet);
    fleet_unref(was);
    pool_run(p, run);
}

/* What a changed function leaves behind: idle environments end, what waits goes to the new. */
static void retire_fleet(struct pool *p, struct fleet *old)
{
    struct shard *shard = old->family->shard;
    for (;;) {
        pthread_mutex_lock(&shard->lock);
        struct fn_env *e = old->idle_first;
        struct fn_run *run = e ? NULL : pool_dequeue(old);
        if (e) {
            pool_idle_remove(e);
            env_ref(e);
        }
        pthread_mutex_unlock(&shard->lock);
        if (e) {
            env_kill(e);
            env_unref(e);
        } else if (run) {
            run_again(p, run);
        } else {
            return;
        }
    }
}

void pool_run(struct pool *p, struct fn_run *run)
{
    struct fleet *old, *fleet = join(p, run, &old);
    if (old) {
        retire_fleet(p, old);
        fleet_unref(old);
    }
    if (!fleet) {
        run_end_with(run, FN_MISSING, "the function was changed or removed just now");
        return;
    }
    run->fleet = fleet;
    for (;;) {
        struct fn_env *e = NULL;
        bool shared = false, claimed = false, waits = false, missed = false;
        pthread_mutex_lock(&fleet->family->shard->lock);
        if (!atomic_load(&p->stopping)) {
            waits = !fleet->idle_first && !run->event && enqueue(p, fleet, run);
            claimed = !waits && claim(p, fleet, run->event, &shared, &e);
            if (!waits && !claimed) {
                waits = enqueue(p, fleet, run);
                missed = waits && pool_slot_free(p, fleet->family, run->event);
            }
        }
        pthread_mutex_unlock(&fleet->family->shard->lock);
        if (missed)
            pool_pump(p);
        if (waits)
            return;
        if (!claimed) {
            run_end_with(run, FN_THROTTLED, "Rate Exceeded.");
            return;
        }
        if (give(p, fleet, e, run, shared))
            return;
    }
}

/* ---- what environments say ---- */

struct fn_run *pool_next(struct fn_env *e, bool *retire)
{
    struct pool *p = e->f->pool;
    struct fleet *fleet = e->fleet;
    struct shard *shard = fleet->family->shard;
    uint64_t now = mono_ns();
    struct fn_run *run = NULL;
    pthread_mutex_lock(&shard->lock);
    pool_return_over(e);
    *retire = fleet->stale || atomic_load(&p->stopping) || now - e->started_ns > ENV_LIFE_NS;
    if (!*retire && fleet->waiting) {
        /* Others that wait come after us, but not for ever. */
        bool others = atomic_load(&p->wait_count) > (fleet->listed ? 1U : 0U);
        if (!others || fleet->soon || now - e->slot_ns < SLOT_TURN_NS)
            run = pool_dequeue(fleet);
    }
    if (!run && !*retire) {
        e->state = ENV_IDLE;
        e->idle_ns = now;
        pool_idle_push(e);
        pool_slot_release(e);
    }
    pthread_mutex_unlock(&shard->lock);
    return run;
}

void pool_returns(struct fn_env *e)
{
    struct shard *shard = e->fleet->family->shard;
    pthread_mutex_lock(&shard->lock);
    if (!e->fleet->stale) {
        e->returns = true;
        e->fleet->returning++;
        atomic_fetch_add(&e->f->pool->returning, 1);
    }
    pthread_mutex_unlock(&shard->lock);
}

/* The shard's lock is held: one that waits for an environment that will not come back. */
static struct fn_run *take_disappointed(struct fleet *fleet)
{
    struct fn_run **at = &fleet->waiting, *run;
    if (fleet->soon <= fleet->returning)
        return NULL;
    while (!(*at)->soon)
        at = &(*at)->next;
    run = *at;
    run->soon = false;
    *at = run->next;
    if (!*at)
        fleet->waiting_end = at;
    fleet->waiting_count--;
    fleet->soon--;
    return run;
}

static void disappoint(struct pool *p, struct fleet *fleet)
{
    struct shard *shard = fleet->family->shard;
    for (;;) {
        pthread_mutex_lock(&shard->lock);
        struct fn_run *run = take_disappointed(fleet);
        pthread_mutex_unlock(&shard->lock);
        if (!run)
            return;
        run->impatient = true;
        run_again(p, run);
    }
}

void pool_lingers(struct fn_env *e)
{
    struct shard *shard = e->fleet->family->shard;
    pthread_mutex_lock(&shard->lock);
    pool_return_over(e);
    pthread_mutex_unlock(&shard->lock);
    disappoint(e->f->pool, e->fleet);
    pool_pump(e->f->pool);
}

void pool_release_slot(struct fn_env *e)
{
    struct shard *shard = e->fleet->family->shard;
    pthread_mutex_lock(&shard->lock);
    pool_slot_release(e);
    pthread_mutex_unlock(&shard->lock);
}

void pool_gone(struct fn_env *e)
{
    struct shard *shard = e->fleet->family->shard;
    pthread_mutex_lock(&shard->lock);
    if (e->idle)
        pool_idle_remove(e);
    pool_slot_release(e);
    pool_memory_back(e);
    pthread_mutex_unlock(&shard->lock);
    disappoint(e->f->pool, e->fleet);
    pool_pump(e->f->pool);
}

struct fleet *pool_wait_take(struct pool *p)
{
    pthread_mutex_lock(&p->wait_lock);
    struct fleet *fleet = p->wait_first;
    if (fleet) {
        p->wait_first = fleet->wait_next;
        if (!p->wait_first)
            p->wait_end = &p->wait_first;
        fleet->listed = false;
        atomic_fetch_sub(&p->wait_count, 1);
    }
    pthread_mutex_unlock(&p->wait_lock);
    return fleet;
}

/* One run of the fleet gets going, if there is a slot for it. True: there was none, and now there
 * is. */
static bool pump_one(struct pool *p, struct fleet *fleet)
{
    struct shard *shard = fleet->family->shard;
    struct fn_env *e = NULL;
    struct fn_run *run = NULL;
    bool shared = false;
    pthread_mutex_lock(&shard->lock);
    bool claimed = fleet->waiting && claim(p, fleet, fleet->waiting->event, &shared, &e);
    if (claimed)
        run = pool_dequeue(fleet);
    if (fleet->waiting)
        wait_enter(p, fleet);
    bool missed =
        !claimed && fleet->waiting && pool_slot_free(p, fleet->family, fleet->waiting->event);
    pthread_mutex_unlock(&shard->lock);
    if (run && !give(p, fleet, e, run, shared))
        run_again(p, run);
    return missed;
}

void pool_pump(struct pool *p)
{
    /* Once round: a fleet that has its reserved concurrency in use does not stop the others. */
    unsigned tries = atomic_load(&p->wait_count);
    for (tries += tries ? p->concurrency : 0; tries; tries--) {
        struct fleet *fleet = pool_wait_take(p);
        if (!fleet)
            return;
        tries += pump_one(p, fleet);
        fleet_unref(fleet);
    }
}

void functions_changed(struct functions *f, struct bytes account, struct bytes name)
{
    struct function_id id = { .account = account, .name = name };
    struct pool *p = f->pool;
    if (!p)
        return;
    struct shard *shard = shard_of(p, &id);
    for (;;) {
        struct fleet *old = NULL;
        struct arena arena;
        arena_init(&arena, 1 << 20);
        pthread_mutex_lock(&shard->lock);
        struct family *family = family_of(shard, &id);
        for (struct fleet *t = family ? family->fleets : NULL; t && !old; t = t->next) {
            struct function_found found;
            struct function_id version = id;
            version.qualifier = bytes_str(t->found.function->version);
            arena_clear(&arena);
            if (!t->stale && (registry_find(f, &version, &arena, &found) != KIST_OK ||
                              !same_code(t, found.function))) {
                t->stale = true;
                t->refs++;
                old = t;
            } else if (!t->stale) {
                family->reserved = found.latest->reserved;
            }
        }
        pthread_mutex_unlock(&shard->lock);
        arena_release(&arena);
        if (!old)
            break;
        retire_fleet(p, old);
        fleet_unref(old);
    }
    pool_count_reserved(p);
}
