/* A target's queue: what is read for it, when, and how much at once.
 *
 * New events lie at due 0 one behind the other, and a cursor walks over them; what is due later
 * is read in passes from the earliest. The two take turns. A queue reads only when its target may
 * take something: what waits for a dead target is not looked at.
 */
#include <assert.h>
#include <stdlib.h>

#include "server/events/internal.h"
#include "storage/base/trace.h"

/* Events delivered before the next queue's turn, and rows looked at for them. */
#define TURN_EVENTS 16
#define TURN_ROWS 256
#define AGAIN_MS 1000
/* Looking through the queues takes at most this part of the time. */
#define DISCOVER_PART 10

/* ---- targets ---- */

struct bytes arn_part(struct bytes arn, unsigned part)
{
    size_t start = 0;
    for (size_t i = 0; i < arn.len; i++) {
        if (arn.ptr[i] != ':')
            continue;
        if (part-- == 0)
            return bytes_of(arn.ptr + start, i - start);
        start = i + 1;
    }
    return part == 0 ? bytes_of(arn.ptr + start, arn.len - start) : BYTES_EMPTY;
}

const struct event_sink *events_sink_of(const struct events *e, struct bytes arn)
{
    struct bytes service = arn_part(arn, 2);
    for (size_t i = 0; i < e->config.sink_count; i++)
        if (bytes_equal(bytes_str(e->config.sinks[i]->service), service))
            return e->config.sinks[i];
    return NULL;
}

/* False: not now. */
static bool describe(struct queue *q)
{
    if (q->described)
        return true;
    arena_clear(&q->policy_arena);
    q->policy = (struct event_policy){ 0 };
    enum kist_err err = q->sink ? q->sink->describe(q->sink->ctx, bytes_str(q->target),
                                                    &q->policy_arena, &q->policy)
                                : KIST_E_NOT_FOUND;
    q->gone = err == KIST_E_NOT_FOUND;
    q->described = err == KIST_OK || q->gone;
    if (!q->policy.concurrency)
        q->policy.concurrency = CONCURRENCY_DEFAULT;
    if (!q->policy.age_max_s)
        q->policy.age_max_s = AGE_DEFAULT_S;
    q->window = q->policy.concurrency;
    if (!q->described) {
        TRACE(TRACE_ERROR, "events", "%s: %s", q->target, kist_err_text(err));
        q->again_ns = events_after(AGAIN_MS);
    }
    return q->described;
}

uint32_t queue_age_max_s(const struct queue *q, const Kist__Event *event)
{
    return event->age_max_s ? event->age_max_s : q->policy.age_max_s;
}

static struct queue **queue_slot(struct events *e, struct bytes target)
{
    uint32_t hash = crc32c_update(0, target.ptr, target.len);
    struct queue **p = &e->queue_table[hash % QUEUE_BUCKETS];
    while (*p && !bytes_equal(bytes_str((*p)->target), target))
        p = &(*p)->hash_next;
    return p;
}

struct queue *queue_find(struct events *e, struct bytes target)
{
    return *queue_slot(e, target);
}

static struct queue *queue_new(struct events *e, struct bytes target)
{
    struct queue *q = calloc(1, sizeof(*q));
    char *copy = q ? malloc(target.len + 1) : NULL;
    if (!copy) {
        free(q);
        return NULL;
    }
    if (target.len)
        memcpy(copy, target.ptr, target.len);
    copy[target.len] = 0;
    q->e = e;
    q->target = copy;
    q->sink = events_sink_of(e, target);
    q->id = row_queue_id(target);
    q->is_function = q->sink && strcmp(q->sink->service, "lambda") == 0;
    q->later_ms = INT64_MAX;
    q->new_maybe = q->later_maybe = true;
    arena_init(&q->policy_arena, (size_t)1 << 20);
    item_list_init(&q->back);
    pthread_mutex_lock(&e->lock);
    q->next = e->queues;
    e->queues = q;
    *queue_slot(e, target) = q;
    e->queue_count++;
    pthread_mutex_unlock(&e->lock);
    return q;
}

static uint64_t *deaf_slot(struct queue *q)
{
    return &q->e->deaf[q->id % DEAF_MAX];
}

/* What is stored before is read in the next turn, hence the order; see store_woke(). */
void queue_deafen(struct queue *q)
{
    struct events *e = q->e;
    pthread_mutex_lock(&e->lock);
    uint64_t *slot = deaf_slot(q);
    q->deaf = *slot == 0 || *slot == q->id;
    if (q->deaf)
        *slot = q->id;
    pthread_mutex_unlock(&e->lock);
    q->new_maybe = q->later_maybe = true;
}

void queue_listen(struct queue *q)
{
    struct events *e = q->e;
    if (!q->deaf)
        return;
    pthread_mutex_lock(&e->lock);
    *deaf_slot(q) = 0;
    pthread_mutex_unlock(&e->lock);
    q->deaf = false;
    q->new_maybe = q->later_maybe = true;
}

void queue_free(struct queue *q)
{
    chains_free(q);
    arena_release(&q->policy_arena);
    free(q->target);
    free(q);
}

/* ---- which queues there are ---- */

static bool discover_row(void *ctx, const Kist__EventQueue *row)
{
    struct events *e = ctx;
    struct queue *q = queue_find(e, bytes_str(row->target));
    if (!q)
        q = queue_new(e, bytes_str(row->target));
    if (!q)
        return true; /* at the next look */
    q->listed = true;
    q->paused = row->paused;
    if (q->paused && !q->deaf)
        queue_deafen(q);
    if (row->waiting)
        q->new_maybe = q->later_maybe = true;
    return true;
}

/* Queues of targets that are long gone would add up. */
static void drop_idle(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    for (struct queue **p = &e->queues; *p && e->queue_count > QUEUES_KEPT;) {
        struct queue *q = *p;
        if (q->listed || q->items || (q->chains && q->chains->count)) {
            p = &q->next;
            continue;
        }
        *p = q->next;
        *queue_slot(e, bytes_str(q->target)) = q->hash_next;
        if (q->deaf)
            *deaf_slot(q) = 0;
        e->queue_count--;
        queue_free(q);
    }
    pthread_mutex_unlock(&e->lock);
}

void queues_discover(struct events *e)
{
    uint64_t begun_ns = mono_ns();
    for (struct queue *q = e->queues; q; q = q->next)
        q->listed = false;
    enum kist_err err = store_list_queues(e->config.store, discover_row, e);
    if (err != KIST_OK)
        TRACE(TRACE_ERROR, "events", "queues: %s", kist_err_text(err));
    for (struct queue *q = e->queues; q; q = q->next)
        q->paused = q->paused && (q->listed || err != KIST_OK);
    drop_idle(e);
    uint64_t end_ns = mono_ns();
    e->discover = err != KIST_OK;
    e->discover_ns = err == KIST_OK ? end_ns + (end_ns - begun_ns) * (DISCOVER_PART - 1)
                                    : end_ns + (uint64_t)AGAIN_MS * 1000000;
}

/* ---- how much at once ---- */

/* How many more it may have under way. */
static size_t queue_room(const struct queue *q)
{
    const struct events *e = q->e;
    size_t window = q->window ? q->window : 1;
    size_t total = e->config.window_total;
    if (q->absent_pause_ms)
        window = 1;
    if (q->in_flight >= window)
        return 0;
    if (q->in_flight >= WINDOW_OWN && e->out >= total)
        return 0;
    /* What is being settled is in memory, too. */
    if (q->items >= 2 * WINDOW_OWN && e->items >= 2 * total)
        return 0;
    if (q->items && e->item_bytes >= ITEM_BYTES_TOTAL_MAX)
        return 0;
    size_t room = window - q->in_flight, left = e->out < total ? total - e->out : 0;
    if (q->in_flight + left < WINDOW_OWN)
        left = WINDOW_OWN - q->in_flight;
    room = room < left ? room : left;
    return room < TURN_EVENTS ? room : TURN_EVENTS;
}

/* Until when it waits whatever there is for it. */
static uint64_t waits_until_ns(const struct queue *q)
{
    uint64_t until_ns = q->again_ns;
    if (until_ns < q->absent_ns)
        until_ns = q->absent_ns;
    return until_ns < q->calm_ns ? q->calm_ns : until_ns;
}

static bool may_deliver(const struct queue *q)
{
    return !q->paused && mono_ns() >= waits_until_ns(q);
}

/* ---- reading ---- */

struct page {
    struct queue *q;
    struct item_list *out;
    size_t want;
    unsigned rows;
    bool full; /* there may be more */
    bool later;
    bool stray; /* of read_strays() */
};

static void advance(struct page *p, struct bytes row)
{
    struct queue *q = p->q;
    if (p->stray)
        return;
    uint8_t *at = p->later ? q->sweep_row : q->cursor_row;
    memcpy(at, row.ptr, ROW_EVENT_LEN);
    *(p->later ? &q->sweep : &q->cursor) = bytes_of(at, ROW_EVENT_LEN);
}

static bool page_row(void *ctx, const struct event_item *row)
{
    struct page *p = ctx;
    struct queue *q = p->q;
    if (p->want == 0 || p->rows++ == TURN_ROWS) {
        p->full = true;
        return false;
    }
    if (row->event->ordered && row->due_ms == 0) {
        p->full = !chains_offer(q, row);
        if (!p->full)
            advance(p, row->row);
        return !p->full;
    }
    if (item_known(q->e, row->row)) {
        advance(p, row->row);
        return true;
    }
    struct item *item = item_new(q, row->row);
    enum kist_err err = item ? item_load(item, row->packed, row->id) : KIST_E_NOMEM;
    if (err != KIST_OK) {
        TRACE(TRACE_ERROR, "events", "%s: %s", q->target, kist_err_text(err));
        if (item)
            item_free(item);
        q->again_ns = events_after(AGAIN_MS);
        p->full = true;
        return false;
    }
    item_list_add(p->out, item);
    advance(p, row->row);
    p->want--;
    return true;
}

/* False: the store could not be read. */
static bool read_page(struct queue *q, struct page *p, int64_t now_ms)
{
    struct bytes target = bytes_str(q->target);
    struct store *store = q->e->config.store;
    enum kist_err err;
    if (p->later && !q->sweep.len)
        err = store_list_later_events(store, target, 0, now_ms, page_row, p);
    else
        err = store_list_events(store, target, p->later ? q->sweep : q->cursor,
                                p->later ? now_ms : 0, page_row, p);
    if (err == KIST_OK)
        return true;
    TRACE(TRACE_ERROR, "events", "%s: %s", q->target, kist_err_text(err));
    q->again_ns = events_after(AGAIN_MS);
    return false;
}

static bool first_due(void *ctx, const struct event_item *item)
{
    *(int64_t *)ctx = item->due_ms;
    return false;
}

static size_t read_new(struct queue *q, int64_t now_ms, size_t want, struct item_list *out)
{
    struct page p = { .q = q, .out = out, .want = want };
    if (!q->new_maybe || want == 0)
        return 0;
    if (read_page(q, &p, now_ms) && !p.full)
        q->new_maybe = false;
    /* Chains without room: when one goes, it is tried again. */
    if (p.full && p.want == want && p.rows < TURN_ROWS)
        q->new_maybe = false;
    return want - p.want;
}

/* Rows that were stored while the clock was ahead: they have come, and lie behind those that
 * have not. */
static enum kist_err read_strays(struct queue *q, int64_t now_ms, struct page *p)
{
    p->stray = true;
    p->rows = 0;
    enum kist_err err =
        store_list_later_events(q->e->config.store, bytes_str(q->target), now_ms + PAUSE_MAX_MS,
                                ROW_DUE_PARKED - 1, page_row, p);
    /* There may be more, or the same if they fail. */
    if ((p->rows || p->full) && q->later_ms > now_ms + AGAIN_MS)
        q->later_ms = now_ms + AGAIN_MS;
    return err;
}

static size_t read_later(struct queue *q, int64_t now_ms, size_t want, struct item_list *out)
{
    struct page p = { .q = q, .out = out, .want = want, .later = true };
    bool due = q->sweep.len || q->later_maybe || has_come(q->later_ms, now_ms);
    if (!due || want == 0)
        return 0;
    if (!q->sweep.len)
        q->later_maybe = false;
    if (!read_page(q, &p, now_ms)) {
        q->later_maybe = true;
        return want - p.want;
    }
    if (p.full)
        return want - p.want;
    q->sweep = BYTES_EMPTY;
    q->later_ms = INT64_MAX;
    enum kist_err err = store_list_later_events(q->e->config.store, bytes_str(q->target), now_ms,
                                                now_ms + PAUSE_MAX_MS, first_due, &q->later_ms);
    if (err == KIST_OK)
        err = read_strays(q, now_ms, &p);
    if (err != KIST_OK)
        q->later_ms = now_ms + AGAIN_MS;
    return want - p.want;
}

/* Those that were put aside while the target was absent. */
static size_t take_back(struct queue *q, size_t want, struct item_list *out)
{
    size_t taken = 0;
    while (taken < want && q->back.count && mono_ns() >= q->again_ns) {
        struct item *item = item_list_take(&q->back);
        struct event_item found;
        struct arena scratch;
        arena_init(&scratch, ITEM_BYTES_MAX);
        enum kist_err err =
            store_event(q->e->config.store, bytes_of(item->row, ROW_EVENT_LEN), &scratch, &found);
        if (err == KIST_OK)
            err = item_load(item, found.packed, found.id);
        arena_release(&scratch);
        if (err == KIST_OK) {
            item_list_add(out, item);
            taken++;
        } else if (err == KIST_E_NOT_FOUND) {
            item_free(item); /* somebody took it away */
        } else {
            item_list_add_first(&q->back, item);
            q->again_ns = events_after(AGAIN_MS);
        }
    }
    return taken;
}

static void gather(struct queue *q, int64_t now_ms, size_t want, struct item_list *out)
{
    want -= take_back(q, want, out);
    size_t half = want > 1 ? want / 2 : want;
    q->later_turn = !q->later_turn;
    if (q->later_turn)
        want -= read_later(q, now_ms, half, out);
    /* Ordered ones that are free, and the cursor, take turns at being first. */
    size_t before = out->count;
    if (q->later_turn)
        chains_take(q, now_ms, want, out);
    want -= out->count - before;
    want -= read_new(q, now_ms, want, out);
    before = out->count;
    chains_take(q, now_ms, want, out);
    want -= out->count - before;
    (void)read_later(q, now_ms, want, out);
}

/* ---- delivering ---- */

uint32_t event_depth(const Kist__Event *event)
{
    return event->cause && event->cause->lineage ? event->cause->lineage->depth : 0;
}

static void done(struct event_delivery *d, enum event_outcome outcome, const char *why,
                 struct bytes response, const Kist__Span *span);

static void send(struct item *item)
{
    struct queue *q = item->queue;
    const Kist__Event *event = item->event;
    int64_t since_ms = event->redriven_ms ? event->redriven_ms : event->time_ms;
    if (q->gone) {
        settle_refuse(item, "Refused", "there is no such target");
        return;
    }
    if (since_ms && events_age_now(q->e) - since_ms > (int64_t)queue_age_max_s(q, event) * 1000) {
        settle_refuse(item, "EventAgeExceeded",
                      event->error[0] ? event->error : "too old to be delivered");
        return;
    }
    if (q->is_function && event_depth(event) >= LINEAGE_DEPTH_MAX) {
        settle_refuse(item, "RecursionDetected",
                      "recursive loop: functions wrote what invoked "
                      "them, 16 times");
        return;
    }
    item->d = (struct event_delivery){
        .event = event, .id = item->id, .attempt = event->attempts + 1, .done = done
    };
    item->out = true;
    q->in_flight++;
    q->e->out++;
    q->in_flight_now = q->in_flight;
    q->e->in_flight_now = q->e->out;
    q->sink->deliver(q->sink->ctx, &item->d);
}

bool queue_turn(struct queue *q)
{
    struct item_list list;
    int64_t now_ms = events_now(q->e);
    size_t want = queue_room(q);
    if (want == 0 || !may_deliver(q))
        return false;
    if (!q->new_maybe && !q->later_maybe && !q->sweep.len && !has_come(q->later_ms, now_ms) &&
        !q->back.count &&
        !(q->chains && (q->chains->ready || has_come(q->chains->delayed_ms, now_ms))))
        return false;
    if (!describe(q))
        return false;
    queue_listen(q);
    item_list_init(&list);
    uint8_t before[2 * ROW_EVENT_LEN];
    memcpy(before, q->cursor_row, ROW_EVENT_LEN);
    memcpy(before + ROW_EVENT_LEN, q->sweep_row, ROW_EVENT_LEN);
    gather(q, now_ms, want, &list);
    bool moved = list.count > 0 || memcmp(before, q->cursor_row, ROW_EVENT_LEN) != 0 ||
                 memcmp(before + ROW_EVENT_LEN, q->sweep_row, ROW_EVENT_LEN) != 0;
    for (struct item *item; (item = item_list_take(&list));)
        send(item);
    /* The one that tries the target may do so for long. */
    if (q->absent_pause_ms && q->in_flight)
        queue_deafen(q);
    return moved;
}

uint64_t queue_next_ns(struct queue *q, int64_t now_ms, uint64_t now_ns)
{
    if (q->paused || queue_room(q) == 0)
        return UINT64_MAX;
    int64_t due_ms = q->later_ms;
    if (q->chains && q->chains->delayed_ms < due_ms)
        due_ms = q->chains->delayed_ms;
    bool now = q->new_maybe || q->later_maybe || q->back.count || q->sweep.len ||
               (q->chains && q->chains->ready) || has_come(due_ms, now_ms);
    if (!now && due_ms == INT64_MAX)
        return UINT64_MAX;
    uint64_t next_ns = now_ns, waits_ns = waits_until_ns(q);
    if (!now)
        next_ns += (uint64_t)(due_ms - now_ms) * 1000000;
    return next_ns < waits_ns ? waits_ns : next_ns;
}

/* ---- the end of a delivery, on any thread ---- */

/* The arena is nobody's at this moment: the sink is done with it, the dispatcher not yet back. */
static void keep_answer(struct item *item, const char *why, struct bytes response,
                        const Kist__Span *span)
{
    item->why = item_text(item, why);
    if (response.len && response.len <= EVENT_RESPONSE_MAX)
        item->response = arena_copy(&item->arena, response);
    if (!span)
        return;
    struct buf packed;
    buf_init(&packed, (size_t)64 << 10);
    if (schema_pack(span, &packed) == KIST_OK &&
        schema_unpack(&kist__span__descriptor, buf_bytes(&packed), &item->arena, &item->span) !=
            KIST_OK)
        item->span = NULL;
    const Kist__Event *event = item->d.event;
    if (item->span && !item->span->source[0] && event->bucket[0])
        item->span->source = arena_printf(&item->arena, "%s/%.*s", event->bucket,
                                          (int)event->key.len, event->key.data);
    if (item->span && !item->span->source)
        item->span = NULL; /* out of memory: a trace can do without a step */
    buf_release(&packed);
}

static void done(struct event_delivery *d, enum event_outcome outcome, const char *why,
                 struct bytes response, const Kist__Span *span)
{
    struct item *item = CONTAINER_OF(d, struct item, d);
    struct events *e = item->e;
    item->outcome = outcome;
    keep_answer(item, why, response, span);
    pthread_mutex_lock(&e->lock);
    if (!e->closed) {
        item_list_add(&e->finished, item);
        pthread_cond_signal(&e->wake);
        pthread_mutex_unlock(&e->lock);
        return;
    }
    bool last = --e->orphans == 0;
    pthread_mutex_unlock(&e->lock);
    arena_release(&item->arena);
    free(item);
    if (last)
        events_destroy(e);
}
