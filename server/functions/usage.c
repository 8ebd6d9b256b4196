/* What invocations would be billed, recorded like requests and transfer.
 *
 *   an invocation's end --> counts of its function (metrics.c) --every interval--> AddUsage
 *
 * No invocation writes a row. What a crash loses is what came since the last commit. */
#include <stdlib.h>
#include <time.h>

#include "server/functions/run.h"
#include "storage/base/trace.h"

#define DAY_MS ((int64_t)86400000)
#define DAYS_KEPT 400 /* as those of requests */
#define DELTAS_MAX 512

/* The deltas of one command, built where they are. */
struct batch {
    size_t count;
    struct fn_unrecorded taken[DELTAS_MAX];
    Kist__UsageDelta deltas[DELTAS_MAX], *list[DELTAS_MAX];
    Kist__Usage usages[DELTAS_MAX];
};

struct fn_usage {
    struct functions *f;
    struct batch batch; /* the thread's */
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool stopping;
};

static void put_delta(struct batch *b, size_t i)
{
    const struct fn_unrecorded *t = &b->taken[i];
    Kist__UsageDelta *d = b->list[i] = &b->deltas[i];
    Kist__Usage *u = &b->usages[i];
    kist__usage_delta__init(d);
    kist__usage__init(u);
    d->function = true;
    d->account = (char *)(uintptr_t)t->account;
    d->who = (char *)(uintptr_t)t->name;
    d->day = t->day;
    d->usage = u;
    u->invocations = t->invocations;
    u->billed_mb_ms = t->billed_mb_ms;
}

static void commit(struct functions *f, struct batch *b)
{
    struct env *env = store_env(f->store);
    uint32_t day = (uint32_t)(env->now_ms(env) / DAY_MS);
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AddUsage request = KIST__ADD_USAGE__INIT;
    if (!b->count)
        return;
    for (size_t i = 0; i < b->count; i++)
        put_delta(b, i);
    request.n_deltas = b->count;
    request.deltas = b->list;
    request.first_day = day > DAYS_KEPT ? day - DAYS_KEPT : 0;
    command.of_case = KIST__COMMAND__OF_ADD_USAGE;
    command.add_usage = &request;
    enum kist_err err = store_commit(f->store, &command);
    if (err != KIST_OK)
        TRACE(TRACE_ERROR, "functions", "usage: %s", kist_err_text(err));
    for (size_t i = 0; i < b->count && err != KIST_OK && err != KIST_E_INVALID; i++)
        metrics_put_back(&b->taken[i]);
    b->count = 0;
}

static void flush(struct fn_usage *u)
{
    struct fn_metrics_at at = { .list = 0 };
    struct batch *b = &u->batch;
    while (metrics_take(u->f->metrics, &at, &b->taken[b->count]))
        if (++b->count == DELTAS_MAX)
            commit(u->f, b);
    commit(u->f, b);
}

/* False: stopping. */
static bool wait_for_time(struct fn_usage *u)
{
    struct timespec until;
    mono_after((int64_t)u->f->config.usage_interval_s * 1000, &until);
    pthread_mutex_lock(&u->lock);
    int rc = 0;
    while (!u->stopping && rc == 0)
        rc = pthread_cond_timedwait(&u->wake, &u->lock, &until);
    bool go_on = !u->stopping;
    pthread_mutex_unlock(&u->lock);
    return go_on;
}

static void *record(void *arg)
{
    struct fn_usage *u = arg;
    while (wait_for_time(u))
        flush(u);
    flush(u);
    return NULL;
}

static void destroy(struct fn_usage *u)
{
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->wake);
    free(u);
}

enum kist_err fn_usage_open(struct functions *f, struct fn_usage **out)
{
    struct fn_usage *u = calloc(1, sizeof(*u));
    if (!u)
        return KIST_E_NOMEM;
    u->f = f;
    pthread_mutex_init(&u->lock, NULL);
    mono_cond_init(&u->wake);
    if (pthread_create(&u->thread, NULL, record, u) != 0) {
        destroy(u);
        return KIST_E_NOMEM;
    }
    *out = u;
    return KIST_OK;
}

void fn_usage_close(struct fn_usage *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    u->stopping = true;
    pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    destroy(u);
}
