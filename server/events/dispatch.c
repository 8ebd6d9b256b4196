/* The dispatcher's thread, and what others may ask it. */
#include <stdlib.h>

#include "server/events/internal.h"
#include "storage/base/trace.h"

/* The wall clock may be set while the thread waits for a time of its own. */
#define WAIT_MAX_MS 60000
#define IN_VAIN_NS 1000000

int64_t events_now(const struct events *e)
{
    return e->env->now_ms(e->env);
}

static int64_t age_offset(const struct events *e)
{
    return events_now(e) - (int64_t)(mono_ns() / 1000000);
}

int64_t events_age_now(struct events *e)
{
    int64_t offset_ms = age_offset(e);
    if (offset_ms < e->age_offset_ms)
        e->age_offset_ms = offset_ms;
    return e->age_offset_ms + (int64_t)(mono_ns() / 1000000);
}

uint64_t events_after(int64_t pause_ms)
{
    return mono_ns() + (uint64_t)pause_ms * 1000000;
}

/* ---- the mailbox ---- */

void events_post(struct events *e, struct note *n)
{
    pthread_mutex_lock(&e->lock);
    n->next = NULL;
    *e->notes_end = n;
    e->notes_end = &n->next;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

/* From storage's threads, after every change that made events: they can be read by now, so that
 * a queue that listens later finds them. */
static void store_woke(void *ctx, uint64_t queue)
{
    struct events *e = ctx;
    pthread_mutex_lock(&e->lock);
    bool is_news = !queue || e->deaf[queue % DEAF_MAX] != queue;
    if (is_news && !e->noted)
        pthread_cond_signal(&e->wake);
    e->noted = e->noted || is_news;
    pthread_mutex_unlock(&e->lock);
}

struct mail {
    struct item_list finished;
    struct note *notes;
    bool noted, targets_changed, rewind, replays_changed, stopping;
};

static bool has_mail(const struct events *e)
{
    return e->finished.first || e->notes || (e->noted && !e->discover) || e->targets_changed ||
           e->rewind || e->replays_changed || (e->stopping && !e->stop_seen);
}

/* Under the lock. */
static void take_mail(struct events *e, struct mail *m)
{
    item_list_init(&m->finished);
    item_list_move(&m->finished, &e->finished);
    m->notes = e->notes;
    e->notes = NULL;
    e->notes_end = &e->notes;
    m->noted = e->noted;
    m->targets_changed = e->targets_changed;
    m->rewind = e->rewind;
    m->replays_changed = e->replays_changed;
    m->stopping = e->stop_seen = e->stopping;
    e->noted = e->targets_changed = e->rewind = e->replays_changed = false;
}

static void read_mail(struct events *e, struct mail *m)
{
    for (struct item *item; (item = item_list_take(&m->finished));)
        settle_outcome(item);
    while (m->notes) {
        struct note *n = m->notes;
        m->notes = n->next;
        n->run(n);
    }
    for (struct queue *q = e->queues; q && (m->targets_changed || m->rewind); q = q->next) {
        q->described = q->described && !m->targets_changed;
        if (m->targets_changed) { /* it may be there now, or have room */
            q->absent_ns = q->calm_ns = 0;
            q->throttles = 0;
        }
        if (m->rewind) {
            q->cursor = q->sweep = BYTES_EMPTY;
            q->new_maybe = q->later_maybe = true;
        }
    }
    if (m->replays_changed)
        replays_load(e);
    e->discover = e->discover || m->noted || m->rewind;
}

/* ---- the thread ---- */

/* A turn for each queue, another one first each time; false: none had anything to do. */
static bool go_round(struct events *e)
{
    bool worked = false, looked = e->discover && mono_ns() >= e->discover_ns;
    if (looked)
        queues_discover(e);
    if (e->queues && e->queues->next) {
        /* Only this thread changes the list, but others read it. */
        pthread_mutex_lock(&e->lock);
        struct queue *first = e->queues, *last = first;
        while (last->next)
            last = last->next;
        e->queues = first->next;
        first->next = NULL;
        last->next = first;
        pthread_mutex_unlock(&e->lock);
    }
    for (struct queue *q = e->queues; q; q = q->next)
        worked = queue_turn(q) || worked;
    worked = replays_turn(e) || worked;
    /* News only for targets that take none: not at every change of theirs. */
    if (looked && !worked)
        e->discover_ns = mono_ns() + IN_VAIN_NS;
    return worked;
}

static uint64_t sooner(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

/* When there is something to do, if nothing comes. */
static uint64_t next_ns(struct events *e, bool stopping, uint64_t grace_end_ns)
{
    uint64_t now_ns = mono_ns(), until_ns = now_ns + (uint64_t)WAIT_MAX_MS * 1000000;
    int64_t now_ms = events_now(e);
    if (e->settled.first && e->settle_ns > now_ns)
        until_ns = sooner(until_ns, e->settle_ns);
    if (stopping)
        return sooner(until_ns, grace_end_ns);
    if (e->discover)
        until_ns = sooner(until_ns, e->discover_ns);
    until_ns = sooner(until_ns, replays_next_ns(e));
    for (struct queue *q = e->queues; q; q = q->next)
        until_ns = sooner(until_ns, queue_next_ns(q, now_ms, now_ns));
    return until_ns;
}

static void wait_until(struct events *e, uint64_t until_ns)
{
    struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000),
                              .tv_nsec = (long)(until_ns % 1000000000) };
    int rc = 0;
    while (!has_mail(e) && rc == 0)
        rc = pthread_cond_timedwait(&e->wake, &e->lock, &until);
}

/* Nothing is under way that would come back. After the grace time, deliveries are left alone;
 * the store's own work always ends. */
static bool is_over(const struct events *e, uint64_t grace_end_ns)
{
    if (e->ops)
        return false;
    return (e->out == 0 && !e->settled.first) || mono_ns() >= grace_end_ns;
}

static void *run(void *arg)
{
    struct events *e = arg;
    uint64_t grace_end_ns = UINT64_MAX;
    bool worked = true;
    for (;;) {
        struct mail mail;
        uint64_t until_ns = worked ? 0 : next_ns(e, grace_end_ns != UINT64_MAX, grace_end_ns);
        pthread_mutex_lock(&e->lock);
        if (!worked)
            wait_until(e, until_ns);
        take_mail(e, &mail);
        if (mail.stopping && grace_end_ns == UINT64_MAX)
            grace_end_ns = mono_ns() + (uint64_t)e->grace_ms * 1000000;
        pthread_mutex_unlock(&e->lock);
        read_mail(e, &mail);
        worked = !mail.stopping && go_round(e);
        settle_flush(e);
        if (mail.stopping && is_over(e, grace_end_ns))
            return NULL;
    }
}

/* ---- opening and closing ---- */

enum kist_err events_open(const struct events_config *config, struct events **out)
{
    struct events *e = calloc(1, sizeof(*e));
    if (!e)
        return KIST_E_NOMEM;
    e->config = *config;
    if (!e->config.window_total)
        e->config.window_total = WINDOW_DEFAULT;
    e->env = store_env(config->store);
    e->age_offset_ms = age_offset(e);
    e->noted = e->replays_changed = true;
    e->replays_ns = UINT64_MAX;
    e->notes_end = &e->notes;
    item_list_init(&e->finished);
    item_list_init(&e->settled);
    pthread_mutex_init(&e->lock, NULL);
    mono_cond_init(&e->wake);
    if (pthread_create(&e->thread, NULL, run, e) != 0) {
        events_destroy(e);
        return KIST_E_NOMEM;
    }
    store_watch_events(config->store, store_woke, e);
    *out = e;
    return KIST_OK;
}

void events_destroy(struct events *e)
{
    replays_free(e);
    while (e->queues) {
        struct queue *q = e->queues;
        e->queues = q->next;
        queue_free(q);
    }
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    free(e);
}

/* What is known goes, but for deliveries whose done() is still to come. */
static void forget_items(struct events *e)
{
    for (struct item *item; (item = item_list_take(&e->finished));)
        item->out = false;
    for (size_t i = 0; i < ITEM_BUCKETS; i++) {
        struct item *item = e->table[i];
        e->table[i] = NULL;
        for (struct item *next; item; item = next) {
            next = item->hash_next;
            if (item->out) {
                e->orphans++;
                continue;
            }
            arena_release(&item->arena);
            free(item);
        }
    }
}

void events_close(struct events *e, unsigned grace_ms)
{
    if (!e)
        return;
    store_watch_events(e->config.store, NULL, NULL);
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    e->grace_ms = grace_ms;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    pthread_mutex_lock(&e->lock);
    forget_items(e);
    e->closed = true;
    bool last = e->orphans == 0;
    pthread_mutex_unlock(&e->lock);
    if (last)
        events_destroy(e);
}

/* ---- questions ---- */

enum kist_err events_check_target(struct events *e, struct bytes arn, struct bytes bucket,
                                  struct bytes account)
{
    const struct event_sink *sink = events_sink_of(e, arn);
    struct event_policy policy = { 0 };
    struct arena arena;
    if (!sink)
        return KIST_E_NOT_FOUND;
    arena_init(&arena, (size_t)1 << 20);
    enum kist_err err = sink->describe(sink->ctx, arn, &arena, &policy);
    arena_release(&arena);
    TRY(err);
    bool accepted = !sink->accepts || sink->accepts(sink->ctx, arn, bucket, account);
    return accepted ? KIST_OK : KIST_E_DENIED;
}

void events_target_changed(struct events *e, struct bytes arn)
{
    (void)arn; /* changes are rare, and looking again is cheap */
    pthread_mutex_lock(&e->lock);
    e->targets_changed = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void events_replays_changed(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    e->replays_changed = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void events_reread(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    e->rewind = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

/* Names first: what is asked about each is a read of its own. */
struct names {
    struct arena arena;
    struct name {
        struct name *next;
        struct events_target row;
    } * first;
    bool full;
};

static struct events_target *name_new(struct names *all, const char *target)
{
    struct name *n = arena_zalloc(&all->arena, sizeof(*n));
    char *copy = n ? arena_strdup(&all->arena, target) : NULL;
    if (!copy) {
        all->full = true;
        return NULL;
    }
    n->row.target = copy;
    n->next = all->first;
    all->first = n;
    return &n->row;
}

static bool add_name(void *ctx, const Kist__EventQueue *queue)
{
    struct events_target *row = name_new(ctx, queue->target);
    if (!row)
        return false;
    row->waiting = queue->waiting;
    row->parked = queue->parked;
    row->paused = queue->paused;
    return true;
}

static void add_counts(const struct queue *q, struct events_target *row)
{
    row->in_flight = q->in_flight_now;
    row->is_absent = q->absent_now;
    row->delivered = q->counts.delivered;
    row->failed = q->counts.failed;
    row->throttled = q->counts.throttled;
    row->absent = q->counts.absent;
    row->refused = q->counts.refused;
    row->retried = q->counts.retried;
    row->dead_letters = q->counts.dead_letters;
}

/* What the dispatcher knows of those, and of others for which nothing waits any more. */
static void add_known(struct events *e, struct names *all)
{
    pthread_mutex_lock(&e->lock);
    for (struct queue *q = e->queues; q; q = q->next)
        q->named = false;
    for (struct name *n = all->first; n; n = n->next) {
        struct queue *q = queue_find(e, bytes_str(n->row.target));
        if (!q)
            continue;
        q->named = true;
        add_counts(q, &n->row);
    }
    for (struct queue *q = e->queues; q; q = q->next) {
        struct events_target *row = q->named ? NULL : name_new(all, q->target);
        if (row)
            add_counts(q, row);
    }
    pthread_mutex_unlock(&e->lock);
}

static bool take_time(void *ctx, const struct event_item *item)
{
    int64_t *oldest_ms = ctx;
    if (!*oldest_ms || item->event->time_ms < *oldest_ms)
        *oldest_ms = item->event->time_ms;
    return false;
}

static enum kist_err find_oldest(struct events *e, struct events_target *row)
{
    struct bytes target = bytes_str(row->target);
    struct store *store = e->config.store;
    if (!row->waiting)
        return KIST_OK;
    TRY(store_list_events(store, target, BYTES_EMPTY, 0, take_time, &row->oldest_ms));
    return store_list_later_events(store, target, 0, ROW_DUE_PARKED - 1, take_time,
                                   &row->oldest_ms);
}

enum kist_err events_each_target(struct events *e,
                                 bool (*each)(void *ctx, const struct events_target *target),
                                 void *ctx)
{
    struct names all = { .first = NULL };
    arena_init(&all.arena, (size_t)16 << 20);
    enum kist_err err = store_list_queues(e->config.store, add_name, &all);
    if (err == KIST_OK)
        add_known(e, &all);
    if (err == KIST_OK && all.full)
        err = KIST_E_NOMEM;
    for (struct name *n = all.first; n && err == KIST_OK; n = n->next) {
        err = find_oldest(e, &n->row);
        if (err == KIST_OK && !each(ctx, &n->row))
            break;
    }
    arena_release(&all.arena);
    return err;
}

static bool older(void *ctx, const struct events_target *target)
{
    int64_t *oldest_ms = ctx;
    if (target->oldest_ms && (!*oldest_ms || target->oldest_ms < *oldest_ms))
        *oldest_ms = target->oldest_ms;
    return true;
}

void events_counts(struct events *e, struct events_stats *out)
{
    *out = (struct events_stats){ .delivered = e->counts.delivered,
                                  .failed = e->counts.failed,
                                  .throttled = e->counts.throttled,
                                  .absent = e->counts.absent,
                                  .refused = e->counts.refused,
                                  .retried = e->counts.retried,
                                  .dead_letters = e->counts.dead_letters,
                                  .parked = e->counts.parked,
                                  .in_flight = e->in_flight_now };
}

void events_stats(struct events *e, struct events_stats *out)
{
    events_counts(e, out);
    enum kist_err err = events_each_target(e, older, &out->oldest_ms);
    if (err != KIST_OK)
        TRACE(TRACE_ERROR, "events", "statistics: %s", kist_err_text(err));
}
