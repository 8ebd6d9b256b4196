/* Events: a change and what is to be told of it are one step.
 *
 *   apply_replace(), apply_delete_key() ... --> apply_emit() --> Event row, EventQueue row
 *   dispatcher --> ChangeEvents: rows go, move to a later time, or are parked; others come
 *
 * A queue is all that one target is to be told, whatever rule it comes from: a target that is
 * down stops its own queue and no other. New events are due at 0, so that they lie one behind the
 * other, in the order of the changes.
 */
#include "storage/base/codec.h"
#include "storage/index/apply_internal.h"

/* Spans are for looking at, some days later: they go when new ones come. */
#define TRACE_LIFE_MS ((int64_t)7 * 86400000)
#define TRACES_DROPPED 4
#define TRACE_SPANS_DROPPED 256

/* ---- rules ---- */

static enum kist_err load_rules(struct apply *a, const Kist__Bucket *bucket)
{
    struct row_key key;
    struct bytes value;
    Kist__BucketConfig *config = NULL;
    arena_clear(&a->notify_arena);
    a->notify = NULL;
    a->notify_bucket = 0;
    row_config(&key, bucket->id, CONFIG_NOTIFICATION);
    enum kist_err err = kv_get(&a->read, row_bytes(&key), &value);
    if (err == KIST_OK)
        err = schema_unpack(&kist__bucket_config__descriptor, value, &a->notify_arena, &config);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    a->notify = config ? config->notification : NULL;
    a->notify_bucket = bucket->id;
    a->notify_stamp = bucket->configs_changed;
    return KIST_OK;
}

static bool ends_with(struct bytes text, struct bytes end)
{
    return text.len >= end.len &&
           bytes_equal(bytes_of(text.ptr + text.len - end.len, end.len), end);
}

static bool matches(const Kist__NotificationRule *rule, struct bytes key, enum event_kind kind)
{
    return (rule->kinds >> kind & 1) && bytes_starts_with(key, schema_bytes(rule->prefix)) &&
           ends_with(key, schema_bytes(rule->suffix));
}

/* ---- rows ---- */

static enum kist_err count_queue(struct apply *a, uint64_t queue, const char *target,
                                 int64_t waiting, int64_t parked)
{
    struct row_key key;
    Kist__EventQueue fresh = KIST__EVENT_QUEUE__INIT;
    Kist__EventQueue *q = &fresh;
    row_queue(&key, queue);
    enum kist_err err = apply_get(a, &key, &kist__event_queue__descriptor, &q);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    if (!q->target[0])
        q->target = (char *)target;
    q->waiting += (uint64_t)waiting;
    q->parked += (uint64_t)parked;
    if (q->waiting == 0 && q->parked == 0 && !q->paused) {
        apply_drop(a, &key);
        return KIST_OK;
    }
    return apply_set(a, &key, q);
}

/* Changes of a bucket tell the same target again and again. */
static uint64_t queue_of(struct apply *a, const char *target)
{
    size_t len = strlen(target);
    if (len >= sizeof(a->queue_target))
        return row_queue_id(bytes_of(target, len));
    if (strcmp(a->queue_target, target) != 0) {
        memcpy(a->queue_target, target, len + 1);
        a->queue_id = row_queue_id(bytes_of(target, len));
    }
    return a->queue_id;
}

/* queue: 0: of several. */
static void note_event(struct apply *a, uint64_t queue)
{
    struct apply_result *r = a->result;
    r->event_queue = !r->made_event || r->event_queue == queue ? queue : 0;
    r->made_event = true;
}

static enum kist_err add_event(struct apply *a, Kist__Event *event)
{
    struct row_key row;
    uint64_t queue = queue_of(a, event->target);
    int64_t due_ms = event->ordered || event->not_before_ms < 0 ? 0 : event->not_before_ms;
    row_event(&row, queue, due_ms, a->input->index, a->event_count++);
    TRY(apply_set(a, &row, event));
    note_event(a, queue);
    return count_queue(a, queue, event->target, 1, 0);
}

static enum kist_err add_of_rule(struct apply *a, const Kist__NotificationRule *rule,
                                 Kist__Event event)
{
    event.target = rule->target;
    event.rule = rule->id;
    event.ordered = rule->ordered;
    event.retries = rule->retries;
    event.age_max_s = rule->age_max_s;
    event.dead_letter = rule->dead_letter;
    return add_event(a, &event);
}

enum kist_err apply_emit(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                         enum event_kind kind, const Kist__Object *object)
{
    if (!(bucket->configs >> CONFIG_NOTIFICATION & 1))
        return KIST_OK;
    if (a->notify_bucket != bucket->id || a->notify_stamp != bucket->configs_changed)
        TRY(load_rules(a, bucket));
    if (!a->notify)
        return KIST_OK;
    Kist__Event event = KIST__EVENT__INIT;
    event.kind = kind;
    event.bucket = bucket->name;
    event.owner = bucket->owner;
    event.key = schema_data(key);
    event.size = object->size;
    event.etag = object->etag;
    event.part_count = object->part_count;
    event.versioned = bucket->versioning != VERSIONING_NEVER;
    event.version = object->version;
    event.sequencer = a->input->index;
    event.cause = (Kist__Cause *)a->cause;
    event.time_ms = a->cause && a->cause->time_ms ? a->cause->time_ms : a->time_ms;
    for (size_t i = 0; i < a->notify->n_rules; i++)
        if (matches(a->notify->rules[i], key, kind))
            TRY(add_of_rule(a, a->notify->rules[i], event));
    return KIST_OK;
}

/* ---- what the dispatcher says ---- */

/* The event's row is written anew, at the place where its settlement puts it. */
static enum kist_err move_event(struct apply *a, const Kist__SettledEvent *s, Kist__Event *event,
                                const struct row_event_parts *was, struct row_key *row)
{
    bool park = s->how == KIST__SETTLEMENT__PARKED;
    bool was_parked = was->due_ms == ROW_DUE_PARKED;
    int64_t due_ms = park ? ROW_DUE_PARKED : event->ordered || s->due_ms < 0 ? 0 : s->due_ms;
    event->attempts = s->attempts;
    event->error = s->error;
    event->throttles = s->throttles;
    if (s->redriven_ms)
        event->redriven_ms = s->redriven_ms;
    event->not_before_ms = park ? 0 : s->due_ms;
    row_event(row, was->queue, due_ms, was->index, was->counter);
    TRY(apply_set(a, row, event));
    if (!park)
        note_event(a, was->queue);
    if (park == was_parked)
        return KIST_OK;
    return count_queue(a, was->queue, event->target, park ? -1 : 1, park ? 1 : -1);
}

/* A row that is not there was settled before: the dispatcher may say so twice. */
static enum kist_err settle(struct apply *a, const Kist__SettledEvent *s)
{
    struct row_key old = { .len = 0 }, new = { .len = 0 };
    struct row_event_parts was;
    Kist__Event *event = NULL;
    if (!row_event_parse(schema_bytes(s->row), &was))
        return KIST_E_INVALID;
    row_add(&old, schema_bytes(s->row));
    enum kist_err err = apply_get(a, &old, &kist__event__descriptor, &event);
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK;
    TRY(err);
    bool done = s->how == KIST__SETTLEMENT__DONE, parked = was.due_ms == ROW_DUE_PARKED;
    if (!done)
        TRY(move_event(a, s, event, &was, &new));
    if (!bytes_equal(row_bytes(&old), row_bytes(&new)))
        apply_drop(a, &old);
    return done ? count_queue(a, was.queue, event->target, parked ? 0 : -1, parked ? -1 : 0)
                : KIST_OK;
}

static enum kist_err add_span(struct apply *a, const Kist__Span *span)
{
    struct row_key row;
    uint8_t trace[16];
    struct bytes text = bytes_str(span->trace);
    if (text.len != 32 || hex_decode(text, trace, sizeof(trace)) != KIST_OK)
        return KIST_OK; /* not of a trace */
    row_span(&row, bytes_of(trace, sizeof(trace)), a->input->index, a->spans++);
    TRY(apply_set(a, &row, span));
    row_trace_age(&row, span->begin_ms, bytes_of(trace, sizeof(trace)));
    kv_put(a->kv, row_bytes(&row), BYTES_EMPTY);
    return KIST_OK;
}

enum kist_err apply_trace_object(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                 const Kist__Object *object)
{
    const Kist__Lineage *lineage = object->lineage;
    Kist__Span span = KIST__SPAN__INIT;
    if (!lineage || !lineage->trace[0])
        return KIST_OK;
    span.kind = SPAN_OBJECT;
    span.parent = lineage->span;
    span.trace = lineage->trace;
    span.event_id = lineage->event_id;
    span.begin_ms = span.end_ms = object->mtime_ms;
    span.name = arena_printf(&a->arena, "%s/%.*s", bucket->name, (int)key.len, key.ptr);
    return span.name ? add_span(a, &span) : KIST_E_NOMEM;
}

/* The spans of a trace that is too old, or some of them: the rest goes another time. */
static enum kist_err drop_spans(struct apply *a, struct bytes trace, bool *all)
{
    struct row_key prefix;
    struct kv_cursor *cursor;
    struct bytes key, value;
    row_span(&prefix, trace, 0, 0);
    prefix.len = 2 + 16;
    *all = true;
    TRY(kv_cursor_open(&a->read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&prefix), &key, &value);
    for (unsigned n = 0; err == KIST_OK && bytes_starts_with(key, row_bytes(&prefix)); n++) {
        struct row_key row = { .len = 0 };
        if (n == TRACE_SPANS_DROPPED) {
            *all = false;
            break;
        }
        row_add(&row, key);
        apply_drop(a, &row);
        err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err drop_old_traces(struct apply *a, int64_t now_ms)
{
    struct row_key prefix;
    struct kv_cursor *cursor;
    struct bytes key, value;
    row_start(&prefix, ROW_TRACE);
    row_add(&prefix, BYTES_LIT("a"));
    TRY(kv_cursor_open(&a->read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&prefix), &key, &value);
    for (unsigned i = 0; i < TRACES_DROPPED && err == KIST_OK; i++) {
        bool all = true;
        if (!bytes_starts_with(key, row_bytes(&prefix)) || key.len != 2 + 8 + 16 ||
            now_ms - (int64_t)row_read_u64(key.ptr + 2) <= TRACE_LIFE_MS)
            break;
        struct row_key row = { .len = 0 };
        row_add(&row, key);
        err = drop_spans(a, bytes_of(row.data + 10, 16), &all);
        if (err == KIST_OK && all)
            apply_drop(a, &row);
        if (err == KIST_OK)
            err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

enum kist_err apply_change_events(struct apply *a, Kist__ChangeEvents *c)
{
    struct row_event_parts parts;
    for (size_t i = 0; i < c->n_settled; i++)
        if (!row_event_parse(schema_bytes(c->settled[i]->row), &parts))
            return KIST_E_INVALID;
    for (size_t i = 0; i < c->n_added; i++)
        if (c->added[i]->kind >= EVENT_KIND_COUNT || !c->added[i]->target[0])
            return KIST_E_INVALID;
    TRY(apply_records(a, c->n_records, c->records));
    for (size_t i = 0; i < c->n_settled; i++)
        TRY(settle(a, c->settled[i]));
    for (size_t i = 0; i < c->n_added; i++)
        TRY(add_event(a, c->added[i]));
    for (size_t i = 0; i < c->n_spans; i++)
        TRY(add_span(a, c->spans[i]));
    return c->n_spans ? drop_old_traces(a, c->now_ms) : KIST_OK;
}

enum kist_err apply_pause_events(struct apply *a, const Kist__PauseEvents *c)
{
    struct row_key key;
    Kist__EventQueue fresh = KIST__EVENT_QUEUE__INIT;
    Kist__EventQueue *q = &fresh;
    if (!c->target[0])
        return KIST_E_INVALID;
    row_queue(&key, row_queue_id(bytes_str(c->target)));
    enum kist_err err = apply_get(a, &key, &kist__event_queue__descriptor, &q);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    q->target = c->target;
    q->paused = c->paused;
    if (!c->paused)
        note_event(a, 0);
    if (!q->paused && q->waiting == 0 && q->parked == 0) {
        apply_drop(a, &key);
        return KIST_OK;
    }
    return apply_set(a, &key, q);
}
