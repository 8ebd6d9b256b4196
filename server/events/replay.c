/* Replays: events about objects that are there already, for one target.
 *
 * A replay walks a prefix in key order, some objects at a time. Each step's events and how far it
 * has come are one command, so that it goes on after a crash where it was: no object is left out,
 * and none is told twice. It waits while its target has much to do: what is still to be replayed
 * lies in the bucket, not in the queue.
 */
#include <stdlib.h>

#include "server/events/internal.h"
#include "storage/base/trace.h"

#define STEP_OBJECTS 128
#define STEP_BYTES_MAX ((size_t)2 << 20)
#define WAITING_MAX 10000
#define AGAIN_NS ((uint64_t)1000000000)

struct replay {
    struct note note;
    struct replay *next;
    struct store_op op;
    struct arena arena; /* of state */
    Kist__EventReplay *state;
    uint64_t expected; /* Record.changed */
    int64_t created_ms;
    char id[40];
    uint8_t after[1024]; /* state->after */
    bool busy;
    bool stale;        /* state is not what the store has: it is to be read again */
    uint64_t again_ns; /* not before */
};

static void replay_free(struct replay *r)
{
    arena_release(&r->arena);
    free(r);
}

/* ---- which there are ---- */

static enum kist_err load_state(struct replay *r, const Kist__Record *record)
{
    arena_clear(&r->arena);
    r->expected = record->changed;
    r->created_ms = record->created_ms;
    return schema_unpack(&kist__event_replay__descriptor, schema_bytes(record->body), &r->arena,
                         &r->state);
}

struct load {
    struct events *e;
    bool lacks_memory;
};

static bool load_row(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct load *load = ctx;
    struct events *e = load->e;
    struct replay *r = e->replays;
    while (r && !bytes_equal(bytes_str(r->id), name))
        r = r->next;
    if (r || name.len >= sizeof(r->id))
        return true;
    r = calloc(1, sizeof(*r));
    if (!r) {
        load->lacks_memory = true;
        return true;
    }
    arena_init(&r->arena, (size_t)64 << 10);
    memcpy(r->id, name.ptr, name.len);
    r->note.e = e;
    enum kist_err err = load_state(r, record);
    if (err != KIST_OK || r->state->done) {
        load->lacks_memory = load->lacks_memory || err == KIST_E_NOMEM;
        replay_free(r);
        return true;
    }
    r->next = e->replays;
    e->replays = r;
    return true;
}

void replays_load(struct events *e)
{
    struct load load = { .e = e };
    enum kist_err err = store_list_records(e->config.store, RECORD_BACKFILL, BYTES_EMPTY,
                                           BYTES_EMPTY, BYTES_EMPTY, load_row, &load);
    if (err == KIST_OK && load.lacks_memory)
        err = KIST_E_NOMEM;
    e->replays_ns = err == KIST_OK ? UINT64_MAX : mono_ns() + AGAIN_NS;
    if (err != KIST_OK)
        TRACE(TRACE_ERROR, "events", "replays: %s", kist_err_text(err));
}

static void drop(struct replay *r)
{
    struct replay **p = &r->note.e->replays;
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
    replay_free(r);
}

/* Something of ours failed: after a while it goes on from what the store has then. */
static void put_off(struct replay *r, enum kist_err err)
{
    TRACE(TRACE_ERROR, "events", "replay %s: %s", r->id, kist_err_text(err));
    r->stale = true;
    r->again_ns = mono_ns() + AGAIN_NS;
}

/* What the store has counts: somebody may have ended it. False: r is gone, or put off. */
static bool reload(struct replay *r)
{
    struct arena arena;
    Kist__Record *record = NULL;
    arena_init(&arena, (size_t)64 << 10);
    enum kist_err err = store_record(r->note.e->config.store, RECORD_BACKFILL, BYTES_EMPTY,
                                     bytes_str(r->id), &arena, &record);
    if (err == KIST_OK)
        err = load_state(r, record);
    arena_release(&arena);
    if (err == KIST_OK && !r->state->done) {
        r->stale = false;
        return true;
    }
    if (err == KIST_OK || err == KIST_E_NOT_FOUND || err == KIST_E_CORRUPT)
        drop(r);
    else
        put_off(r, err);
    return false;
}

/* ---- a step ---- */

struct step {
    struct replay *r;
    const Kist__Bucket *bucket;
    struct arena arena;
    Kist__Event *events[STEP_OBJECTS];
    size_t count;
    struct bytes last;
    bool failed;
    int64_t now_ms;
};

static bool add_object(void *ctx, struct bytes key, const Kist__Object *object)
{
    static char rule[] = "replay";
    struct step *s = ctx;
    Kist__Event *event = arena_alloc(&s->arena, sizeof(*event));
    Kist__Cause *cause = arena_alloc(&s->arena, sizeof(*cause));
    struct bytes copy = arena_copy(&s->arena, key),
                 etag = arena_copy(&s->arena, schema_bytes(object->etag));
    s->failed = !event || !cause || !copy.ptr || !etag.ptr || key.len > sizeof(s->r->after);
    if (s->failed)
        return false;
    kist__event__init(event);
    kist__cause__init(cause);
    cause->request_id = s->r->id;
    event->kind = EVENT_CREATED_PUT;
    event->target = s->r->state->target;
    event->rule = rule;
    event->bucket = s->bucket->name;
    event->owner = s->bucket->owner;
    event->key = schema_data(copy);
    event->size = object->size;
    event->etag = schema_data(etag);
    event->part_count = object->part_count;
    event->versioned = s->bucket->versioning != VERSIONING_NEVER;
    event->version = object->version;
    event->sequencer = object->data_id;
    event->time_ms = s->now_ms;
    event->cause = cause;
    s->events[s->count++] = event;
    s->last = copy;
    return true;
}

static void stepped(struct note *note)
{
    struct replay *r = CONTAINER_OF(note, struct replay, note);
    struct events *e = note->e;
    enum kist_err err = r->op.err;
    r->expected = err == KIST_OK ? r->op.result.index : r->expected;
    store_op_release(&r->op);
    r->busy = false;
    e->ops--;
    if (err != KIST_OK)
        put_off(r, err);
    else if (r->state->done)
        drop(r);
}

static void op_done(struct store_op *op)
{
    struct replay *r = op->user;
    events_post(r->note.e, &r->note);
}

static enum kist_err submit(struct replay *r, struct step *s)
{
    struct events *e = r->note.e;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents change = KIST__CHANGE_EVENTS__INIT;
    Kist__RecordChange put = KIST__RECORD_CHANGE__INIT, *puts[] = { &put };
    Kist__Record record = KIST__RECORD__INIT;
    struct buf body;
    buf_init(&body, (size_t)64 << 10);
    enum kist_err err = schema_pack(r->state, &body);
    if (err == KIST_OK) {
        record.created_ms = r->created_ms;
        record.body = schema_data(buf_bytes(&body));
        put.kind = RECORD_BACKFILL;
        put.name = r->id;
        put.expected = r->expected;
        put.record = &record;
        change.n_records = 1;
        change.records = puts;
        change.n_added = s->count;
        change.added = s->events;
        change.now_ms = s->now_ms;
        command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
        command.change_events = &change;
        r->busy = true;
        r->note.run = stepped;
        e->ops++;
        store_op_init(&r->op, op_done, r);
        store_submit(e->config.store, &r->op, &command);
    }
    buf_release(&body);
    return err;
}

static enum kist_err read_objects(struct replay *r, struct step *s)
{
    struct store *store = r->note.e->config.store;
    Kist__Bucket *bucket = NULL;
    Kist__EventReplay *state = r->state;
    struct list_query query = { .prefix = schema_bytes(state->prefix), .max = STEP_OBJECTS };
    struct list_page page = { .each = add_object, .ctx = s };
    if (state->after.len)
        query.after = schema_bytes(state->after);
    TRY(store_bucket(store, bytes_str(state->bucket), &s->arena, &bucket));
    s->bucket = bucket;
    TRY(store_list(store, bytes_str(state->bucket), &query, &s->arena, &page));
    if (s->failed)
        return KIST_E_NOMEM;
    state->done = !page.truncated;
    return KIST_OK;
}

static void step(struct replay *r)
{
    struct step s = { .r = r, .now_ms = events_now(r->note.e) };
    Kist__EventReplay *state = r->state;
    arena_init(&s.arena, STEP_BYTES_MAX);
    enum kist_err err = read_objects(r, &s);
    if (err == KIST_E_NO_BUCKET) {
        state->done = true;
        state->error = (char *)(uintptr_t)kist_err_text(err);
        err = KIST_OK;
    }
    if (err == KIST_OK && s.count) {
        memcpy(r->after, s.last.ptr, s.last.len);
        state->after = schema_data(bytes_of(r->after, s.last.len));
        state->events += s.count;
    }
    if (err == KIST_OK) {
        state->changed_ms = s.now_ms;
        err = submit(r, &s);
    }
    if (err != KIST_OK)
        put_off(r, err);
    arena_release(&s.arena);
}

static bool target_is_full(struct replay *r, struct arena *arena)
{
    Kist__EventQueue *q = NULL;
    return store_queue(r->note.e->config.store, bytes_str(r->state->target), arena, &q) ==
               KIST_OK &&
           q->waiting >= WAITING_MAX;
}

bool replays_turn(struct events *e)
{
    bool worked = false;
    if (mono_ns() >= e->replays_ns)
        replays_load(e);
    for (struct replay *r = e->replays, *next; r; r = next) {
        struct arena arena;
        next = r->next;
        if (r->busy || mono_ns() < r->again_ns)
            continue;
        r->again_ns = 0;
        if (r->stale && !reload(r))
            continue;
        arena_init(&arena, (size_t)64 << 10);
        if (!target_is_full(r, &arena)) {
            step(r);
            worked = true;
        }
        arena_release(&arena);
    }
    return worked;
}

uint64_t replays_next_ns(const struct events *e)
{
    uint64_t next_ns = e->replays_ns;
    for (const struct replay *r = e->replays; r; r = r->next)
        if (!r->busy && r->again_ns && r->again_ns < next_ns)
            next_ns = r->again_ns;
    return next_ns;
}

void replays_free(struct events *e)
{
    while (e->replays) {
        struct replay *r = e->replays;
        e->replays = r->next;
        replay_free(r);
    }
}
