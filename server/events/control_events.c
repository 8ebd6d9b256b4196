/* Events by hand: what waits and why, again, away, a pause.
 *
 *   ListQueues    { NextToken, MaxResults }
 *   ListEvents    { Target, State: waiting | parked, NextToken, MaxResults }
 *   GetEvent      { Target, Handle }
 *   RedriveEvents { Target, Handles }          parked ones (all without Handles), from the start
 *   DropEvents    { Target, Handles, State }
 *   PauseTarget, ResumeTarget { Target }
 *
 * RedriveEvents and DropEvents take so many at a time, and say More: true when there are others.
 */
#include <stdlib.h>

#include "server/events/control_internal.h"
#include "storage/base/codec.h"
#include "storage/index/rows.h"

#define STEP_EVENTS 256
#define STEPS_EVENTS_MAX 10000
/* What of an event's row is not its target's: when it is due, index, counter. */
#define HANDLE_BYTES (ROW_EVENT_LEN - 10)

static struct store *store_of(const struct control_request *w)
{
    return w->config->store;
}

/* ---- what is asked ---- */

void control_events_fail(struct control_request *w, enum kist_err err, const char *what)
{
    const char *message = arena_printf(w->call->arena, "%.300s: %s", what, kist_err_text(err));
    if (err == KIST_E_NOT_FOUND || err == KIST_E_NO_BUCKET)
        control_fail(w, 400, "ResourceNotFoundException", message);
    else if (err == KIST_E_INVALID)
        control_fail(w, 400, "ValidationException", message);
    else
        control_fail_err(w, err);
}

bool control_page(struct control_request *w, struct control_page *out)
{
    uint64_t max = CONTROL_PAGE_DEFAULT;
    if (!control_number(w, "MaxResults", CONTROL_PAGE_MAX, &max) ||
        !control_text(w, "NextToken", &out->after))
        return false;
    out->max = max ? (size_t)max : 1;
    return true;
}

static struct bytes account_of(struct bytes arn)
{
    size_t start = 0;
    for (unsigned i = 0; i < 4; i++) {
        size_t colon = bytes_find(arn, BYTES_LIT(":"), start);
        if (colon == SIZE_MAX)
            return BYTES_EMPTY;
        start = colon + 1;
    }
    size_t end = bytes_find(arn, BYTES_LIT(":"), start);
    return end == SIZE_MAX ? BYTES_EMPTY : bytes_of(arn.ptr + start, end - start);
}

/* Another account's target is as one that is not there. */
const char *control_target(struct control_request *w)
{
    const char *target;
    if (!control_text(w, "Target", &target))
        return NULL;
    struct bytes account = account_of(bytes_str(target));
    if (!account.len) {
        control_fail(w, 400, "ValidationException", "Target must be an ARN.");
        return NULL;
    }
    const char *name = (const char *)account.ptr + account.len + 1;
    const char *resource = arena_printf(w->call->arena, "events/%s", name);
    if (!resource) {
        control_fail_err(w, KIST_E_NOMEM);
        return NULL;
    }
    if (!control_allowed(w, resource))
        return NULL;
    if (bytes_equal(account, w->call->who->account))
        return target;
    control_events_fail(w, KIST_E_NOT_FOUND, target);
    return NULL;
}

/* ---- lists ---- */

static void add_time(json_t *to, const char *name, int64_t ms)
{
    char text[TIME_ISO_LEN];
    if (ms <= 0)
        return;
    time_iso(ms, text);
    json_object_set_new(to, name, json_string(text));
}

struct queues_page {
    struct control_request *w;
    const char *after;
    json_t *list;
    size_t max;
    bool more;
};

static json_t *queue_json(const struct events_target *t)
{
    json_t *q = json_pack("{s:s, s:I, s:I, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I}",
                          "Target", t->target, "Waiting", (json_int_t)t->waiting, "Parked",
                          (json_int_t)t->parked, "InFlight", (json_int_t)t->in_flight, "Paused",
                          t->paused, "Absent", t->is_absent, "Delivered",
                          (json_int_t)t->delivered, "Failed", (json_int_t)t->failed, "Throttled",
                          (json_int_t)t->throttled, "Refused", (json_int_t)t->refused, "Retried",
                          (json_int_t)t->retried, "DeadLetters", (json_int_t)t->dead_letters);
    if (q)
        add_time(q, "Oldest", t->oldest_ms);
    return q;
}

static const char *target_at(const json_t *list, size_t i)
{
    return json_string_value(json_object_get(json_array_get(list, i), "Target"));
}

/* Keeps the first ones behind `after` in the order of their names. */
static bool add_queue(void *ctx, const struct events_target *t)
{
    struct queues_page *p = ctx;
    struct bytes mine = p->w->call->who->account;
    if (!bytes_equal(account_of(bytes_str(t->target)), mine) || strcmp(t->target, p->after) <= 0)
        return true;
    size_t at = json_array_size(p->list);
    while (at > 0 && strcmp(target_at(p->list, at - 1), t->target) > 0)
        at--;
    if (at == p->max) {
        p->more = true;
        return true;
    }
    json_array_insert_new(p->list, at, queue_json(t));
    if (json_array_size(p->list) > p->max) {
        json_array_remove(p->list, p->max);
        p->more = true;
    }
    return true;
}

static void list_queues(struct control_request *w)
{
    struct control_page page;
    if (!control_allowed(w, "events/*") || !control_page(w, &page))
        return;
    struct queues_page p = { .w = w, .after = page.after, .list = json_array(), .max = page.max };
    enum kist_err err =
        p.list ? events_each_target(w->config->events, add_queue, &p) : KIST_E_NOMEM;
    if (err != KIST_OK) {
        json_decref(p.list);
        control_fail_err(w, err);
        return;
    }
    json_t *out = json_pack("{s:O}", "Queues", p.list);
    if (p.more && json_array_size(p.list))
        json_object_set_new(out, "NextToken",
                            json_string(target_at(p.list, json_array_size(p.list) - 1)));
    json_decref(p.list);
    control_reply(w, out);
}

/* ---- events ---- */

static void handle_of(struct bytes row, char out[2 * HANDLE_BYTES + 1])
{
    hex_encode(bytes_of(row.ptr + ROW_EVENT_LEN - HANDLE_BYTES, HANDLE_BYTES), out);
}

/* False: it is none. */
static bool row_of(const char *target, const char *handle, uint8_t out[ROW_EVENT_LEN])
{
    struct row_key row;
    row_event(&row, row_queue_id(bytes_str(target)), 0, 0, 0);
    memcpy(out, row.data, ROW_EVENT_LEN);
    return hex_decode(bytes_str(handle), out + ROW_EVENT_LEN - HANDLE_BYTES, HANDLE_BYTES) ==
           KIST_OK;
}

static json_t *text_json(struct control_request *w, struct bytes text)
{
    json_t *out = json_stringn((const char *)text.ptr, text.len);
    if (out)
        return out;
    struct buf escaped; /* not UTF-8: percent-encoded */
    buf_init(&escaped, 8192);
    if (uri_encode(&escaped, text, true) == KIST_OK)
        out = json_stringn((const char *)escaped.ptr, escaped.len);
    buf_release(&escaped);
    (void)w;
    return out ? out : json_string("");
}

static json_t *event_json(struct control_request *w, const struct event_item *item)
{
    const Kist__Event *event = item->event;
    const char *name = event_name((enum event_kind)event->kind);
    char handle[2 * HANDLE_BYTES + 1];
    handle_of(item->row, handle);
    bool parked = item->due_ms == ROW_DUE_PARKED;
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:I, s:s}", "EventId", item->id, "Handle",
                  handle, "Target", event->target, "Event",
                  name                        ? name
                  : event->kind == EVENT_TEST ? "TestEvent"
                                              : "Invocation",
                  "Bucket", event->bucket, "Key", text_json(w, schema_bytes(event->key)), "Rule",
                  event->rule, "Attempts", (json_int_t)event->attempts, "State",
                  parked ? "parked" : "waiting");
    if (!out)
        return NULL;
    json_object_set_new(out, "Error", text_json(w, bytes_str(event->error)));
    add_time(out, "Time", event->time_ms);
    if (!parked)
        add_time(out, "Due", item->due_ms ? item->due_ms : event->not_before_ms);
    return out;
}

struct events_page {
    struct control_request *w;
    json_t *list;
    size_t max;
    char last[2 * HANDLE_BYTES + 1];
    bool more;
};

static bool add_event(void *ctx, const struct event_item *item)
{
    struct events_page *p = ctx;
    if (json_array_size(p->list) == p->max) {
        p->more = true;
        return false;
    }
    json_array_append_new(p->list, event_json(p->w, item));
    handle_of(item->row, p->last);
    return true;
}

/* False after an error reply. */
static bool state_of(struct control_request *w, bool *parked)
{
    const char *state;
    if (!control_text(w, "State", &state))
        return false;
    *parked = strcmp(state, "parked") == 0;
    if (!state[0] || *parked || strcmp(state, "waiting") == 0)
        return true;
    control_fail(w, 400, "ValidationException", "State is waiting or parked.");
    return false;
}

static void list_events(struct control_request *w)
{
    struct events_page p = { .w = w };
    struct control_page page;
    const char *target;
    uint8_t after[ROW_EVENT_LEN];
    bool parked;
    if (!state_of(w, &parked) || !control_page(w, &page) || !(target = control_target(w)))
        return;
    if (page.after[0] && !row_of(target, page.after, after)) {
        control_fail(w, 400, "ValidationException", "NextToken is not one of ours.");
        return;
    }
    p.max = page.max;
    p.list = json_array();
    struct bytes name = bytes_str(target),
                 start = bytes_of(after, page.after[0] ? sizeof(after) : 0);
    int64_t until_ms = parked ? ROW_DUE_PARKED : ROW_DUE_PARKED - 1;
    enum kist_err err =
        parked && !start.len
            ? store_list_later_events(store_of(w), name, ROW_DUE_PARKED - 1, until_ms, add_event,
                                      &p)
            : store_list_events(store_of(w), name, start, until_ms, add_event, &p);
    if (err != KIST_OK) {
        json_decref(p.list);
        control_events_fail(w, err, target);
        return;
    }
    json_t *out = json_pack("{s:o}", "Events", p.list);
    if (p.more)
        json_object_set_new(out, "NextToken", json_string(p.last));
    control_reply(w, out);
}

/* An event that moved meanwhile is found where it may be now: it keeps index and counter. */
static enum kist_err find(struct control_request *w, const char *target, const char *handle,
                          struct event_item *out)
{
    uint8_t row[ROW_EVENT_LEN];
    struct row_event_parts parts;
    struct row_key moved;
    if (!row_of(target, handle, row) || !row_event_parse(bytes_of(row, sizeof(row)), &parts))
        return KIST_E_INVALID;
    struct arena *arena = w->call->arena;
    enum kist_err err = store_event(store_of(w), bytes_of(row, sizeof(row)), arena, out);
    for (unsigned i = 0; i < 2 && err == KIST_E_NOT_FOUND; i++) {
        row_event(&moved, parts.queue, i ? 0 : ROW_DUE_PARKED, parts.index, parts.counter);
        err = store_event(store_of(w), row_bytes(&moved), arena, out);
    }
    return err;
}

static void get_event(struct control_request *w)
{
    struct event_item item;
    const char *target, *handle;
    if (!control_text(w, "Handle", &handle) || !(target = control_target(w)))
        return;
    enum kist_err err = find(w, target, handle, &item);
    if (err != KIST_OK) {
        control_events_fail(w, err, handle);
        return;
    }
    struct event_form form = { w->config->region, w->call->now_ms };
    struct buf text;
    json_t *out = event_json(w, &item);
    buf_init(&text, (size_t)4 << 20);
    if (out && event_render_s3(&form, item.event, item.id, &text) == KIST_OK)
        json_object_set_new(out, "Document", text_json(w, buf_bytes(&text)));
    buf_release(&text);
    control_reply(w, out);
}

/* ---- redriving and dropping ---- */

/* A request's state. */
struct sweep {
    const char *target;
    bool drop, parked;
    uint64_t changed;
};

static struct sweep *sweep_of(const struct control_request *w)
{
    return w->state;
}

struct change {
    struct control_request *w;
    struct arena arena;
    Kist__SettledEvent *settled[STEP_EVENTS];
    size_t count;
    bool failed;
};

/* Again from the start: no attempt counts, and its age does from now on. */
static bool change_event(void *ctx, const struct event_item *item)
{
    struct change *c = ctx;
    if (c->count == STEP_EVENTS)
        return false;
    Kist__SettledEvent *s = arena_alloc(&c->arena, sizeof(*s));
    struct bytes row = arena_copy(&c->arena, item->row);
    c->failed = !s || !row.ptr;
    if (c->failed)
        return false;
    kist__settled_event__init(s);
    s->row = schema_data(row);
    s->how = sweep_of(c->w)->drop ? KIST__SETTLEMENT__DONE : KIST__SETTLEMENT__LATER;
    if (!sweep_of(c->w)->drop)
        s->due_ms = s->redriven_ms = c->w->call->now_ms;
    c->settled[c->count++] = s;
    return true;
}

static void change_step(struct control_request *w);

static void changed(struct control_request *w)
{
    bool all = !json_object_get(w->in, "Handles");
    if (w->op.err != KIST_OK) {
        control_fail_err(w, w->op.err);
        return;
    }
    if (all && sweep_of(w)->changed < STEPS_EVENTS_MAX) {
        change_step(w);
        return;
    }
    events_reread(w->config->events);
    control_reply(w, json_pack("{s:I, s:b}", sweep_of(w)->drop ? "Dropped" : "Redriven",
                               (json_int_t)sweep_of(w)->changed, "More", all));
}

static enum kist_err named_events(struct control_request *w, struct change *c)
{
    const json_t *handles = json_object_get(w->in, "Handles");
    if (json_array_size(handles) == 0 || json_array_size(handles) > STEP_EVENTS)
        return KIST_E_INVALID;
    for (size_t i = 0; i < json_array_size(handles); i++) {
        struct event_item item;
        const char *handle = json_string_value(json_array_get(handles, i));
        TRY(find(w, sweep_of(w)->target, handle ? handle : "", &item));
        (void)change_event(c, &item);
    }
    return KIST_OK;
}

static void change_step(struct control_request *w)
{
    struct change c = { .w = w };
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents change = KIST__CHANGE_EVENTS__INIT;
    struct bytes target = bytes_str(sweep_of(w)->target);
    enum kist_err err;
    arena_init(&c.arena, (size_t)1 << 20);
    if (json_object_get(w->in, "Handles"))
        err = named_events(w, &c);
    else if (sweep_of(w)->parked)
        err = store_list_later_events(store_of(w), target, ROW_DUE_PARKED - 1, ROW_DUE_PARKED,
                                      change_event, &c);
    else
        err = store_list_events(store_of(w), target, BYTES_EMPTY, ROW_DUE_PARKED - 1,
                                change_event, &c);
    if (err == KIST_OK && c.failed)
        err = KIST_E_NOMEM;
    if (err != KIST_OK) {
        control_events_fail(w, err, sweep_of(w)->target);
    } else if (c.count == 0) {
        events_reread(w->config->events);
        control_reply(w, json_pack("{s:I, s:b}", sweep_of(w)->drop ? "Dropped" : "Redriven",
                                   (json_int_t)sweep_of(w)->changed, "More", 0));
    } else {
        sweep_of(w)->changed += c.count;
        change.n_settled = c.count;
        change.settled = c.settled;
        change.now_ms = w->call->now_ms;
        command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
        command.change_events = &change;
        control_commit(w, &command, changed);
    }
    arena_release(&c.arena);
}

static void sweep(struct control_request *w, bool drop)
{
    struct sweep *s = arena_zalloc(w->call->arena, sizeof(*s));
    if (!s) {
        control_fail_err(w, KIST_E_NOMEM);
        return;
    }
    w->state = s;
    s->drop = drop;
    s->parked = !drop;
    if (drop && !state_of(w, &s->parked))
        return;
    s->target = control_target(w);
    if (s->target)
        change_step(w);
}

static void redrive_events(struct control_request *w)
{
    sweep(w, false);
}

static void drop_events(struct control_request *w)
{
    sweep(w, true);
}

/* ---- pauses ---- */

static void paused(struct control_request *w)
{
    if (w->op.err != KIST_OK) {
        control_fail_err(w, w->op.err);
        return;
    }
    events_reread(w->config->events);
    control_reply(w, json_object());
}

static void set_paused(struct control_request *w, bool pause)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PauseEvents change = KIST__PAUSE_EVENTS__INIT;
    const char *target = control_target(w);
    if (!target)
        return;
    change.target = (char *)(uintptr_t)target;
    change.paused = pause;
    command.of_case = KIST__COMMAND__OF_PAUSE_EVENTS;
    command.pause_events = &change;
    control_commit(w, &command, paused);
}

static void pause_target(struct control_request *w)
{
    set_paused(w, true);
}

static void resume_target(struct control_request *w)
{
    set_paused(w, false);
}

const struct control_call event_calls[] = {
    { "ListQueues", "kist:ListQueues", list_queues },
    { "ListEvents", "kist:ListEvents", list_events },
    { "GetEvent", "kist:GetEvent", get_event },
    { "RedriveEvents", "kist:RedriveEvents", redrive_events },
    { "DropEvents", "kist:DropEvents", drop_events },
    { "PauseTarget", "kist:PauseTarget", pause_target },
    { "ResumeTarget", "kist:ResumeTarget", resume_target },
    { NULL, NULL, NULL },
};
