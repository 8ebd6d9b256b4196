/* Events that wait, traces, and records: reading them. */
#include <stdio.h>

#include "storage/base/codec.h"

#include "storage/object/store_internal.h"

/* Rows of a table are small, and none outlives its visit. */
#define ROW_ARENA_MAX ((size_t)8 << 20)

struct walk {
    struct row_key prefix; /* rows that begin so */
    struct row_key start;
    bool skip_start;
    /* False: enough. */
    bool (*row)(struct walk *w, struct bytes key, struct bytes value, enum kist_err *err);
    struct arena arena; /* cleared for each row */
    void *ctx;
};

static enum kist_err walk(struct store *s, struct walk *w)
{
    struct kv_read read;
    struct kv_cursor *cursor = NULL;
    struct bytes key, value;
    bool more = true;
    arena_init(&w->arena, ROW_ARENA_MAX);
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = kv_cursor_open(&read, &cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(cursor, row_bytes(&w->start), &key, &value);
    if (err == KIST_OK && w->skip_start && bytes_equal(key, row_bytes(&w->start)))
        err = kv_cursor_next(cursor, &key, &value);
    while (err == KIST_OK && more && bytes_starts_with(key, row_bytes(&w->prefix))) {
        arena_clear(&w->arena);
        more = w->row(w, key, value, &err);
        if (err == KIST_OK && more)
            err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    kv_read_end(&read);
    arena_release(&w->arena);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* ---- events ---- */

struct event_walk {
    struct walk walk;
    int64_t until_ms;
    bool (*each)(void *ctx, const struct event_item *item);
    void *ctx;
};

/* Follows from what never changes about the event: where it was made, and when. */
static void event_id(const struct row_event_parts *parts, const Kist__Event *event, char out[37])
{
    uint8_t hash[DIGEST_MAX_LEN];
    struct row_key key = { .len = 0 };
    if (event->id[0] && strlen(event->id) <= 36) {
        snprintf(out, 37, "%s", event->id);
        return;
    }
    row_add_u64(&key, parts->queue);
    row_add_u64(&key, parts->index);
    row_add_u32(&key, parts->counter);
    row_add_u64(&key, (uint64_t)event->time_ms);
    digest_once(DIGEST_SHA256, row_bytes(&key), hash);
    hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x80); /* RFC 9562 section 5.8 */
    hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80);
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7], hash[8],
             hash[9], hash[10], hash[11], hash[12], hash[13], hash[14], hash[15]);
}

static bool event_row(struct walk *w, struct bytes key, struct bytes value, enum kist_err *err)
{
    struct event_walk *e = CONTAINER_OF(w, struct event_walk, walk);
    struct row_event_parts parts;
    Kist__Event *event = NULL;
    if (!row_event_parse(key, &parts)) {
        *err = KIST_E_CORRUPT;
        return false;
    }
    if (parts.due_ms > e->until_ms)
        return false;
    *err = schema_unpack(&kist__event__descriptor, value, &w->arena, &event);
    if (*err != KIST_OK)
        return false;
    struct event_item item = {
        .row = key, .due_ms = parts.due_ms, .event = event, .packed = value
    };
    event_id(&parts, event, item.id);
    return e->each(e->ctx, &item);
}

static void begin_events(struct event_walk *e, struct bytes target, int64_t from_ms)
{
    uint64_t queue = row_queue_id(target);
    row_event(&e->walk.prefix, queue, 0, 0, 0);
    e->walk.prefix.len = 2 + 8;
    row_event(&e->walk.start, queue, from_ms, 0, 0);
    e->walk.row = event_row;
}

enum kist_err store_list_events(struct store *s, struct bytes target, struct bytes after,
                                int64_t until_ms,
                                bool (*each)(void *ctx, const struct event_item *item), void *ctx)
{
    struct event_walk e = { .until_ms = until_ms, .each = each, .ctx = ctx };
    begin_events(&e, target, 0);
    if (after.len) {
        if (after.len != ROW_EVENT_LEN)
            return KIST_E_INVALID;
        e.walk.start.len = 0;
        row_add(&e.walk.start, after);
        e.walk.skip_start = true;
    }
    return walk(s, &e.walk);
}

enum kist_err store_list_later_events(struct store *s, struct bytes target, int64_t from_ms,
                                      int64_t until_ms,
                                      bool (*each)(void *ctx, const struct event_item *item),
                                      void *ctx)
{
    struct event_walk e = { .until_ms = until_ms, .each = each, .ctx = ctx };
    begin_events(&e, target, from_ms + 1);
    return walk(s, &e.walk);
}

enum kist_err store_event(struct store *s, struct bytes row, struct arena *arena,
                          struct event_item *out)
{
    struct row_event_parts parts;
    struct kv_read read;
    struct bytes value;
    Kist__Event *event = NULL;
    if (!row_event_parse(row, &parts))
        return KIST_E_INVALID;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = kv_get(&read, row, &value);
    struct bytes copy = err == KIST_OK ? arena_copy(arena, value) : BYTES_EMPTY;
    kv_read_end(&read);
    TRY(err);
    struct bytes key = arena_copy(arena, row);
    if (!copy.ptr || !key.ptr)
        return KIST_E_NOMEM;
    TRY(schema_unpack(&kist__event__descriptor, copy, arena, &event));
    *out =
        (struct event_item){ .row = key, .due_ms = parts.due_ms, .event = event, .packed = copy };
    event_id(&parts, event, out->id);
    return KIST_OK;
}

struct queue_walk {
    struct walk walk;
    bool (*each)(void *ctx, const Kist__EventQueue *queue);
    void *ctx;
};

static bool queue_row(struct walk *w, struct bytes key, struct bytes value, enum kist_err *err)
{
    struct queue_walk *q = CONTAINER_OF(w, struct queue_walk, walk);
    Kist__EventQueue *queue = NULL;
    (void)key;
    *err = schema_unpack(&kist__event_queue__descriptor, value, &w->arena, &queue);
    return *err == KIST_OK && q->each(q->ctx, queue);
}

enum kist_err store_list_queues(struct store *s,
                                bool (*each)(void *ctx, const Kist__EventQueue *queue), void *ctx)
{
    struct queue_walk q = { .each = each, .ctx = ctx };
    row_queue(&q.walk.prefix, 0);
    q.walk.prefix.len = 2;
    q.walk.start = q.walk.prefix;
    q.walk.row = queue_row;
    return walk(s, &q.walk);
}

static enum kist_err get(struct store *s, const struct row_key *row,
                         const ProtobufCMessageDescriptor *type, struct arena *arena, void *out)
{
    struct kv_read read;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup(&read, row, type, arena, out);
    kv_read_end(&read);
    return err;
}

enum kist_err store_queue(struct store *s, struct bytes target, struct arena *arena,
                          Kist__EventQueue **out)
{
    struct row_key row;
    row_queue(&row, row_queue_id(target));
    return get(s, &row, &kist__event_queue__descriptor, arena, out);
}

void store_watch_events(struct store *s, void (*wake)(void *ctx, uint64_t queue), void *ctx)
{
    pthread_mutex_lock(&s->watcher.lock);
    s->watcher.wake = wake;
    s->watcher.ctx = ctx;
    pthread_mutex_unlock(&s->watcher.lock);
}

void events_note(struct store *s, uint64_t queue)
{
    pthread_mutex_lock(&s->watcher.lock);
    if (s->watcher.wake)
        s->watcher.wake(s->watcher.ctx, queue);
    pthread_mutex_unlock(&s->watcher.lock);
}

/* ---- traces ---- */

struct span_walk {
    struct walk walk;
    bool (*each)(void *ctx, const Kist__Span *span);
    void *ctx;
};

static bool span_row(struct walk *w, struct bytes key, struct bytes value, enum kist_err *err)
{
    struct span_walk *t = CONTAINER_OF(w, struct span_walk, walk);
    Kist__Span *span = NULL;
    (void)key;
    *err = schema_unpack(&kist__span__descriptor, value, &w->arena, &span);
    return *err == KIST_OK && t->each(t->ctx, span);
}

enum kist_err store_list_spans(struct store *s, struct bytes trace,
                               bool (*each)(void *ctx, const Kist__Span *span), void *ctx)
{
    uint8_t id[16];
    struct span_walk t = { .each = each, .ctx = ctx };
    if (trace.len != 32 || hex_decode(trace, id, sizeof(id)) != KIST_OK)
        return KIST_E_INVALID;
    row_span(&t.walk.prefix, bytes_of(id, sizeof(id)), 0, 0);
    t.walk.prefix.len = 2 + 16;
    t.walk.start = t.walk.prefix;
    t.walk.row = span_row;
    return walk(s, &t.walk);
}

/* ---- records ---- */

static bool account_fits(struct bytes account)
{
    return account.len == 0 || account.len == ACCOUNT_ID_LEN;
}

enum kist_err store_record(struct store *s, enum record_kind kind, struct bytes account,
                           struct bytes name, struct arena *arena, Kist__Record **out)
{
    struct row_key row;
    if (!account_fits(account) || name.len == 0 || name.len > RECORD_NAME_MAX)
        return KIST_E_NOT_FOUND;
    row_record(&row, (uint8_t)kind, account, name);
    return get(s, &row, &kist__record__descriptor, arena, out);
}

struct record_walk {
    struct walk walk;
    size_t name_at;
    bool (*each)(void *ctx, struct bytes name, const Kist__Record *record);
    void *ctx;
};

static bool record_row(struct walk *w, struct bytes key, struct bytes value, enum kist_err *err)
{
    struct record_walk *r = CONTAINER_OF(w, struct record_walk, walk);
    Kist__Record *record = NULL;
    struct bytes name = bytes_of(key.ptr + r->name_at, key.len - r->name_at);
    *err = schema_unpack(&kist__record__descriptor, value, &w->arena, &record);
    return *err == KIST_OK && r->each(r->ctx, name, record);
}

enum kist_err store_list_records(struct store *s, enum record_kind kind, struct bytes account,
                                 struct bytes prefix, struct bytes after,
                                 bool (*each)(void *ctx, struct bytes name,
                                              const Kist__Record *record),
                                 void *ctx)
{
    struct record_walk r = { .each = each, .ctx = ctx };
    if (!account_fits(account) || prefix.len > RECORD_NAME_MAX || after.len > RECORD_NAME_MAX)
        return KIST_OK;
    row_record(&r.walk.prefix, (uint8_t)kind, account, BYTES_EMPTY);
    r.name_at = r.walk.prefix.len;
    row_add(&r.walk.prefix, prefix);
    r.walk.start = r.walk.prefix;
    if (after.len && bytes_compare(after, prefix) >= 0) {
        row_record(&r.walk.start, (uint8_t)kind, account, after);
        r.walk.skip_start = true;
    }
    r.walk.row = record_row;
    return walk(s, &r.walk);
}
