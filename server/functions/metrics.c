/* Counters per function, after OpenTelemetry's names for functions as a service.
 * https://opentelemetry.io/docs/specs/semconv/faas/faas-metrics/ */
#include <stdlib.h>

#include "server/functions/run.h"

#define TABLE_SIZE 1024
#define FUNCTIONS_MAX 10000 /* that are counted each by itself */
#define DAY_MS ((int64_t)86400000)

const double fn_duration_bounds[FN_DURATION_BUCKETS] = { 0.001, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                         0.25,  0.5,   1,    2.5,   5,    10,
                                                         30,    60,    300,  900 };

struct histogram {
    atomic_uint_fast64_t buckets[FN_DURATION_BUCKETS + 1];
    atomic_uint_fast64_t sum_us;
};

/* Not recorded yet: of a day, which is used by turns with the one after it. */
struct slot {
    uint32_t day;
    uint64_t invocations, billed_mb_ms;
};

struct fn_metric {
    struct fn_metric *next; /* never changes */
    char *account, *name;
    atomic_uint_fast64_t invocations, errors, timeouts, throttles, coldstarts;
    atomic_uint_fast64_t billed_mb_ms, memory_max;
    struct histogram init, run;
    pthread_mutex_t lock; /* of: */
    struct slot slots[2];
};

struct fn_metrics {
    pthread_rwlock_t lock;
    size_t count;
    struct fn_metric *table[TABLE_SIZE];
    struct fn_metric rest;
};

enum kist_err metrics_open(struct fn_metrics **out)
{
    struct fn_metrics *m = calloc(1, sizeof(*m));
    if (!m)
        return KIST_E_NOMEM;
    pthread_rwlock_init(&m->lock, NULL);
    pthread_mutex_init(&m->rest.lock, NULL);
    *out = m;
    return KIST_OK;
}

static void metric_free(struct fn_metric *one)
{
    pthread_mutex_destroy(&one->lock);
    free(one->account);
    free(one->name);
    free(one);
}

void metrics_close(struct fn_metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        while (m->table[i]) {
            struct fn_metric *one = m->table[i];
            m->table[i] = one->next;
            metric_free(one);
        }
    pthread_mutex_destroy(&m->rest.lock);
    pthread_rwlock_destroy(&m->lock);
    free(m);
}

static struct fn_metric *look(struct fn_metric *one, struct bytes account, struct bytes name)
{
    while (one && !(bytes_equal(name, bytes_str(one->name)) &&
                    bytes_equal(account, bytes_str(one->account))))
        one = one->next;
    return one;
}

struct fn_metric *metrics_of(struct fn_metrics *m, struct bytes account, struct bytes name)
{
    uint32_t hash = crc32c_update(crc32c_update(0, account.ptr, account.len), name.ptr, name.len);
    struct fn_metric **bucket = &m->table[hash % TABLE_SIZE];
    pthread_rwlock_rdlock(&m->lock);
    struct fn_metric *one = look(*bucket, account, name);
    pthread_rwlock_unlock(&m->lock);
    if (one)
        return one;
    pthread_rwlock_wrlock(&m->lock);
    one = look(*bucket, account, name);
    if (!one && m->count < FUNCTIONS_MAX && (one = calloc(1, sizeof(*one)))) {
        pthread_mutex_init(&one->lock, NULL);
        one->account = strndup((const char *)account.ptr, account.len);
        one->name = strndup((const char *)name.ptr, name.len);
        if (one->account && one->name) {
            one->next = *bucket;
            *bucket = one;
            m->count++;
        } else {
            metric_free(one);
            one = NULL;
        }
    }
    pthread_rwlock_unlock(&m->lock);
    return one ? one : &m->rest;
}

/* ---- what is to be recorded ---- */

static void add_unrecorded(struct fn_metric *m, uint32_t day, uint64_t invocations,
                           uint64_t billed_mb_ms)
{
    pthread_mutex_lock(&m->lock);
    struct slot *slot = &m->slots[day % 2];
    if (!slot->invocations) /* else nothing was recorded for days: it goes with what is there */
        slot->day = day;
    slot->invocations += invocations;
    slot->billed_mb_ms += billed_mb_ms;
    pthread_mutex_unlock(&m->lock);
}

void metrics_put_back(const struct fn_unrecorded *taken)
{
    add_unrecorded(taken->metric, taken->day, taken->invocations, taken->billed_mb_ms);
}

/* The rest comes last. */
static struct fn_metric *first_from(struct fn_metrics *m, size_t *list)
{
    struct fn_metric *one = NULL;
    pthread_rwlock_rdlock(&m->lock);
    while (*list < TABLE_SIZE && !one)
        one = m->table[(*list)++];
    pthread_rwlock_unlock(&m->lock);
    if (one || *list > TABLE_SIZE)
        return one;
    (*list)++;
    return &m->rest;
}

bool metrics_take(struct fn_metrics *m, struct fn_metrics_at *at, struct fn_unrecorded *out)
{
    for (;;) {
        if (at->metric && at->slot == 2)
            *at = (struct fn_metrics_at){ at->list, at->metric->next, 0 };
        if (!at->metric && !(at->metric = first_from(m, &at->list)))
            return false;
        struct fn_metric *one = at->metric;
        pthread_mutex_lock(&one->lock);
        struct slot slot = one->slots[at->slot];
        one->slots[at->slot++] = (struct slot){ .day = 0 };
        pthread_mutex_unlock(&one->lock);
        *out = (struct fn_unrecorded){ one,
                                       one->account ? one->account : "",
                                       one->name ? one->name : "other",
                                       slot.day,
                                       slot.invocations,
                                       slot.billed_mb_ms };
        if (slot.invocations)
            return true;
    }
}

/* ---- counting ---- */

static void observe(struct histogram *h, uint64_t us)
{
    size_t i = 0;
    while (i < FN_DURATION_BUCKETS && (double)us / 1e6 > fn_duration_bounds[i])
        i++;
    atomic_fetch_add(&h->buckets[i], 1);
    atomic_fetch_add(&h->sum_us, us);
}

void metrics_count(struct fn_metric *m, const struct fn_run *run, const struct fn_result *r)
{
    if (!m)
        return;
    if (r->end == FN_THROTTLED) {
        atomic_fetch_add(&m->throttles, 1);
        return;
    }
    atomic_fetch_add(&m->invocations, 1);
    if (r->end != FN_OK)
        atomic_fetch_add(&m->errors, 1);
    if (run->cold) {
        atomic_fetch_add(&m->coldstarts, 1);
        observe(&m->init, run->init_us);
    }
    if (run->begun_ns)
        observe(&m->run, r->duration_us);
    uint64_t billed_mb_ms = r->billed_ms * run->found.function->memory_mb;
    atomic_fetch_add(&m->billed_mb_ms, billed_mb_ms);
    if (r->end == FN_OK || r->end == FN_ERROR) {
        struct env *env = store_env(run->f->store);
        add_unrecorded(m, (uint32_t)(env->now_ms(env) / DAY_MS), 1, billed_mb_ms);
    }
    uint_fast64_t most = atomic_load(&m->memory_max);
    while (r->memory_max_bytes > most &&
           !atomic_compare_exchange_weak(&m->memory_max, &most, r->memory_max_bytes))
        continue;
}

void metrics_timeout(struct fn_metric *m)
{
    if (m)
        atomic_fetch_add(&m->timeouts, 1);
}

static void histogram_copy(struct histogram *h, struct fn_histogram *out)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < FN_DURATION_BUCKETS; i++)
        out->upto[i] = sum += atomic_load(&h->buckets[i]);
    out->count = sum + atomic_load(&h->buckets[FN_DURATION_BUCKETS]);
    out->sum_s = (double)atomic_load(&h->sum_us) / 1e6;
}

void functions_stats(struct functions *f, bool (*each)(void *ctx, const struct fn_stats *stats),
                     void *ctx)
{
    struct fn_metrics *m = f->metrics;
    bool more = true;
    if (!m)
        return;
    pthread_rwlock_rdlock(&m->lock);
    for (size_t i = 0; i < TABLE_SIZE && more; i++)
        for (struct fn_metric *one = m->table[i]; one && more; one = one->next) {
            struct fn_stats s = { .account = one->account,
                                  .name = one->name,
                                  .invocations = atomic_load(&one->invocations),
                                  .errors = atomic_load(&one->errors),
                                  .timeouts = atomic_load(&one->timeouts),
                                  .throttles = atomic_load(&one->throttles),
                                  .coldstarts = atomic_load(&one->coldstarts),
                                  .memory_max_bytes = atomic_load(&one->memory_max),
                                  .billed_gb_ms =
                                      (double)atomic_load(&one->billed_mb_ms) / 1024 };
            histogram_copy(&one->init, &s.init);
            histogram_copy(&one->run, &s.run);
            more = each(ctx, &s);
        }
    pthread_rwlock_unlock(&m->lock);
}

void functions_totals(struct functions *f, struct fn_totals *out)
{
    struct pool *p = f->pool;
    memset(out, 0, sizeof(*out));
    if (!p)
        return;
    out->concurrency = p->concurrency;
    out->running = atomic_load(&p->running);
    out->waiting_functions = atomic_load(&p->wait_count);
    out->memory_bytes = atomic_load(&p->memory);
    out->memory_max_bytes = p->memory_max;
    pthread_mutex_lock(&p->live_lock);
    out->environments = p->live_count;
    pthread_mutex_unlock(&p->live_lock);
}
