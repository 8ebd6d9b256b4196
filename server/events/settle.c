/* How deliveries ended, and what follows: a row goes, moves to a later time, or is parked.
 *
 * Settlements are written many in one command, and few commands are under way: while one is made
 * durable, the next gathers.
 */
#include <assert.h>
#include <stdlib.h>

#include "server/events/internal.h"
#include "storage/base/trace.h"

#define BATCH_MAX 256
#define BATCH_BYTES_MAX ((size_t)1 << 20)
#define OPS_MAX 2
#define AGAIN_NS ((uint64_t)1000000000)
#define ERROR_TEXT_MAX 512

/* A target that is not there is asked again after these pauses. */
#define ABSENT_MIN_MS 200
#define ABSENT_MAX_MS 30000
/* "retries [...] exponential backoff [...] from 1 second [...] to a maximum of 5 minutes"
 * https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html */
#define THROTTLE_MIN_MS 1000
#define THROTTLE_MAX_MS 300000
/* Where there was no room, nothing new is tried for a moment. */
#define CALM_MIN_MS 10
#define CALM_MAX_MS 1000

/* ---- pauses ---- */

/* base doubled `times` times, at most max. */
static int64_t doubled(int64_t base, int64_t max, unsigned times)
{
    for (; times && base < max; times--)
        base *= 2;
    return base < max ? base : max;
}

/* 0 to max: not all come back at once. */
static int64_t jitter(const struct events *e, int64_t max)
{
    uint32_t random;
    e->env->random(e->env, &random, sizeof(random));
    return max > 0 ? (int64_t)(random % (uint64_t)(max + 1)) : 0;
}

/* ---- verdicts ---- */

#define COUNT(item, what)                                                                        \
    do {                                                                                         \
        atomic_fetch_add(&(item)->e->counts.what, 1);                                            \
        atomic_fetch_add(&(item)->queue->counts.what, 1);                                        \
    } while (0)

static void settle(struct item *item, enum item_how how)
{
    item->how = how;
    item_list_add(&item->e->settled, item);
}

static void settle_later(struct item *item, int64_t pause_ms)
{
    const Kist__Event *event = item->event;
    int64_t since_ms = event->redriven_ms ? event->redriven_ms : event->time_ms;
    int64_t end_ms = since_ms + (int64_t)queue_age_max_s(item->queue, event) * 1000 + 1;
    int64_t left_ms = since_ms ? end_ms - events_age_now(item->e) : PAUSE_MAX_MS;
    if (left_ms > PAUSE_MAX_MS)
        left_ms = PAUSE_MAX_MS;
    if (pause_ms > left_ms) /* then it is looked at for the last time */
        pause_ms = left_ms > 0 ? left_ms : 0;
    item->due_ms = events_now(item->e) + pause_ms;
    if (item->due_ms < 1)
        item->due_ms = 1;
    settle(item, ITEM_LATER);
}

static void park(struct item *item, const char *reason)
{
    char *text = arena_printf(&item->arena, "%s%s%s", reason,
                              reason[0] && item->why[0] ? ": " : "", item->why);
    if (text)
        item->why = text;
    COUNT(item, parked);
    settle(item, ITEM_PARKED);
}

static bool is_bucket(const char *destination)
{
    return bytes_starts_with(bytes_str(destination), BYTES_LIT("s3://"));
}

static enum kist_err tell(struct item *item, const char *destination, const char *condition,
                          bool by_rule, bool *waits)
{
    struct bytes body;
    *waits = false;
    TRY(letter_render(item, condition, &body));
    if (!is_bucket(destination)) {
        TRY(letter_event(item, destination, body, &item->added));
        return KIST_OK;
    }
    *waits = true;
    letter_write(item, destination, body, by_rule);
    return KIST_OK;
}

static void dead_letter(struct item *item, const char *condition)
{
    const Kist__Event *event = item->event;
    bool by_rule = event->dead_letter[0], waits = false;
    const char *destination = by_rule ? event->dead_letter : item->queue->policy.dead_letter;
    item->success = false;
    if (!destination || !destination[0]) {
        park(item, condition);
        return;
    }
    /* Letters about letters about letters. */
    if (event_depth(event) > LINEAGE_DEPTH_MAX) {
        park(item, "recursive dead letters");
        return;
    }
    enum kist_err err = tell(item, destination, condition, by_rule, &waits);
    if (err != KIST_OK) {
        park(item, kist_err_text(err));
    } else if (!waits) {
        COUNT(item, dead_letters);
        settle(item, ITEM_GONE);
    }
}

static void tell_success(struct item *item)
{
    const char *destination = item->queue->policy.on_success;
    bool waits = false;
    item->success = true;
    if (!destination || !destination[0] || event_depth(item->event) > LINEAGE_DEPTH_MAX) {
        settle(item, ITEM_GONE);
        return;
    }
    enum kist_err err = tell(item, destination, "Success", false, &waits);
    if (err != KIST_OK)
        TRACE(TRACE_WARN, "events", "%s: on success, %s: %s", item->queue->target, destination,
              kist_err_text(err));
    if (!waits)
        settle(item, ITEM_GONE);
}

void settle_letter_done(struct item *item, enum kist_err err)
{
    if (err != KIST_OK)
        TRACE(TRACE_WARN, "events", "%s: a letter about %s: %s", item->queue->target, item->id,
              kist_err_text(err));
    if (item->success) {
        settle(item, ITEM_GONE); /* it was delivered: not again for this */
    } else if (err == KIST_OK) {
        COUNT(item, dead_letters);
        settle(item, ITEM_GONE);
    } else {
        const char *reason = arena_printf(&item->arena, "dead letter: %s", kist_err_text(err));
        park(item, reason ? reason : "dead letter");
    }
}

void settle_refuse(struct item *item, const char *condition, const char *why)
{
    item->why = item_text(item, why);
    item->attempts = item->event->attempts;
    dead_letter(item, condition);
}

/* ---- outcomes ---- */

static void failed(struct item *item)
{
    const Kist__Event *event = item->event;
    const struct event_policy *policy = &item->queue->policy;
    int retries = event->retries ? event->retries - 1 : policy->retries;
    item->attempts = event->attempts + 1;
    COUNT(item, failed);
    if (retries >= 0 && item->attempts > (unsigned)retries) {
        dead_letter(item, "RetriesExhausted");
        return;
    }
    int64_t base_ms = policy->retry_base_ms ? policy->retry_base_ms : 1000;
    int64_t max_ms = policy->retry_max_ms > base_ms ? policy->retry_max_ms : base_ms;
    int64_t pause_ms = doubled(base_ms, max_ms, item->attempts - 1);
    COUNT(item, retried);
    settle_later(item, pause_ms + jitter(item->e, pause_ms / 4));
}

static void throttled(struct item *item)
{
    struct queue *q = item->queue;
    COUNT(item, throttled);
    item->attempts = item->event->attempts;
    item->throttles = item->event->throttles + 1;
    q->window = q->window > 4 ? q->window - q->window / 4 : q->window > 1 ? q->window - 1 : 1;
    q->throttles++;
    q->calm_ns = events_after(doubled(CALM_MIN_MS, CALM_MAX_MS, q->throttles / 4));
    int64_t pause_ms = doubled(THROTTLE_MIN_MS, THROTTLE_MAX_MS, item->event->throttles);
    settle_later(item, pause_ms / 2 + jitter(item->e, pause_ms / 2));
}

/* The row stays as it is; the queue waits. */
static void absent(struct item *item)
{
    struct queue *q = item->queue;
    COUNT(item, absent);
    if (mono_ns() >= q->absent_ns) { /* others of the same moment say nothing new */
        q->absent_pause_ms =
            q->absent_pause_ms ? doubled(q->absent_pause_ms, ABSENT_MAX_MS, 1) : ABSENT_MIN_MS;
        q->absent_ns = events_after(q->absent_pause_ms + jitter(item->e, q->absent_pause_ms / 4));
        TRACE(TRACE_INFO, "events", "%s is absent: %s", q->target, item->why);
    }
    q->absent_now = true;
    queue_deafen(q);
    if (item->chain) {
        chain_back(item);
        item_free(item);
    } else {
        item_unload(item);
        item_list_add(&q->back, item);
    }
}

/* It answers, whatever it says. */
static void is_there(struct queue *q, enum event_outcome outcome)
{
    q->absent_ns = 0;
    q->absent_pause_ms = 0;
    q->absent_now = false;
    queue_listen(q);
    if (outcome == EVENT_THROTTLED)
        return;
    q->throttles = 0;
    q->calm_ns = 0;
    if (q->window < q->policy.concurrency)
        q->window++;
}

void settle_outcome(struct item *item)
{
    struct queue *q = item->queue;
    assert(item->out && q->in_flight > 0);
    item->out = false;
    q->in_flight_now = --q->in_flight;
    item->e->in_flight_now = --item->e->out;
    if (item->outcome != EVENT_ABSENT)
        is_there(q, item->outcome);
    switch (item->outcome) {
    case EVENT_DELIVERED:
        COUNT(item, delivered);
        item->attempts = item->event->attempts + 1;
        tell_success(item);
        break;
    case EVENT_FAILED:
        failed(item);
        break;
    case EVENT_THROTTLED:
        throttled(item);
        break;
    case EVENT_ABSENT:
        absent(item);
        break;
    case EVENT_REFUSED:
        COUNT(item, refused);
        item->attempts = item->event->attempts + 1;
        dead_letter(item, "Refused");
        break;
    }
}

/* ---- the command ---- */

struct batch {
    struct note note;
    struct store_op op;
    struct item_list items;
    struct arena arena;
};

static void free_batch(struct batch *b)
{
    store_op_release(&b->op);
    arena_release(&b->arena);
    free(b);
}

static void settled(struct item *item)
{
    struct queue *q = item->queue;
    if (item->chain)
        chain_settled(item);
    else if (item->how == ITEM_LATER && item->due_ms < q->later_ms)
        q->later_ms = item->due_ms;
    item_free(item);
}

static void batch_done(struct note *note)
{
    struct batch *b = CONTAINER_OF(note, struct batch, note);
    struct events *e = b->note.e;
    enum kist_err err = b->op.err;
    e->ops--;
    e->settle_ops--;
    if (err == KIST_OK) {
        for (struct item *item; (item = item_list_take(&b->items));)
            settled(item);
    } else {
        TRACE(TRACE_ERROR, "events", "settling: %s", kist_err_text(err));
        item_list_move(&e->settled, &b->items);
        e->settle_ns = mono_ns() + AGAIN_NS;
    }
    free_batch(b);
}

static void on_done(struct store_op *op)
{
    struct batch *b = op->user;
    events_post(b->note.e, &b->note);
}

static size_t bytes_of_item(const struct item *item)
{
    return 128U + ERROR_TEXT_MAX + (item->span ? 1024U : 0) +
           (item->added ? 2048U + item->added->payload.len : 0);
}

/* Cut where a character ends: here, or by who said it. */
static char *error_text(struct arena *arena, const char *why)
{
    size_t len = strnlen(why, ERROR_TEXT_MAX);
    for (unsigned cut = 0; cut < 4 && cut <= len; cut++)
        if (bytes_is_utf8(bytes_of(why, len - cut)))
            return arena_strndup(arena, why, len - cut);
    return arena_strdup(arena, "(not UTF-8)");
}

static Kist__SettledEvent *settlement(struct batch *b, struct item *item)
{
    static const Kist__Settlement how[] = { [ITEM_GONE] = KIST__SETTLEMENT__DONE,
                                            [ITEM_LATER] = KIST__SETTLEMENT__LATER,
                                            [ITEM_PARKED] = KIST__SETTLEMENT__PARKED };
    Kist__SettledEvent *s = arena_alloc(&b->arena, sizeof(*s));
    if (!s)
        return NULL;
    kist__settled_event__init(s);
    s->row = schema_data(bytes_of(item->row, ROW_EVENT_LEN));
    s->how = how[item->how];
    if (item->how == ITEM_GONE)
        return s;
    s->due_ms = item->how == ITEM_LATER ? item->due_ms : 0;
    s->attempts = item->attempts;
    s->throttles = item->throttles;
    s->error = error_text(&b->arena, item->why);
    return s->error ? s : NULL;
}

static bool fill(struct batch *b, Kist__ChangeEvents *c)
{
    struct arena *arena = &b->arena;
    size_t n = b->items.count;
    c->settled = arena_alloc(arena, n * sizeof(*c->settled));
    c->added = arena_alloc(arena, n * sizeof(*c->added));
    c->spans = arena_alloc(arena, n * sizeof(*c->spans));
    if (!c->settled || !c->added || !c->spans)
        return false;
    for (struct item *item = b->items.first; item; item = item->next) {
        c->settled[c->n_settled] = settlement(b, item);
        if (!c->settled[c->n_settled++])
            return false;
        if (item->added)
            c->added[c->n_added++] = item->added;
        if (item->span)
            c->spans[c->n_spans++] = item->span;
    }
    return true;
}

static struct batch *batch_new(struct events *e)
{
    struct batch *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->note = (struct note){ .run = batch_done, .e = e };
    arena_init(&b->arena, (size_t)4 << 20);
    item_list_init(&b->items);
    store_op_init(&b->op, on_done, b);
    size_t bytes = 0;
    while (e->settled.first && b->items.count < BATCH_MAX) {
        bytes += bytes_of_item(e->settled.first);
        if (b->items.count && bytes > BATCH_BYTES_MAX)
            break;
        item_list_add(&b->items, item_list_take(&e->settled));
    }
    return b;
}

void settle_flush(struct events *e)
{
    while (e->settled.first && e->settle_ops < OPS_MAX && mono_ns() >= e->settle_ns) {
        struct batch *b = batch_new(e);
        Kist__Command command = KIST__COMMAND__INIT;
        Kist__ChangeEvents change = KIST__CHANGE_EVENTS__INIT;
        if (!b || !fill(b, &change)) {
            if (b) {
                item_list_move(&e->settled, &b->items);
                free_batch(b);
            }
            e->settle_ns = mono_ns() + AGAIN_NS;
            return;
        }
        change.now_ms = events_now(e);
        command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
        command.change_events = &change;
        e->ops++;
        e->settle_ops++;
        store_submit(e->config.store, &b->op, &command);
    }
}
