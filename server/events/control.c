#include "server/events/control.h"

#include <stdlib.h>

#include "server/events/control_internal.h"
#include "storage/base/codec.h"
#include "storage/index/rows.h"

#define BODY_MAX ((size_t)256 << 10)
#define STEP_EVENTS 256
#define STEPS_EVENTS_MAX 10000
#define TYPE "application/x-amz-json-1.1"
/* What of an event's row is not its target's: when it is due, index, counter. */
#define HANDLE_BYTES (ROW_EVENT_LEN - 10)

static struct store *store_of(const struct control *w)
{
    return w->c->config.store;
}

/* ---- replies ---- */

static void reply_text(struct control *w, unsigned status, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct bytes body = text ? arena_copy(w->call->arena, bytes_str(text)) : BYTES_LIT("{}");
    free(text);
    json_decref(json);
    exchange_clear_headers(w->call->x);
    (void)!exchange_add_header(w->call->x, "Content-Type", BYTES_LIT(TYPE));
    exchange_reply_bytes(w->call->x, status, body);
}

void control_reply(struct control *w, json_t *out)
{
    reply_text(w, 200, out);
}

void control_fail(struct control *w, unsigned status, const char *type, const char *message)
{
    reply_text(w, status, json_pack("{s:s, s:s}", "__type", type, "message", message));
}

void control_fail_err(struct control *w, enum kist_err err, const char *what)
{
    const char *message = arena_printf(w->call->arena, "%s: %s", what, kist_err_text(err));
    if (!message)
        message = "out of memory";
    if (err == KIST_E_NOT_FOUND || err == KIST_E_NO_BUCKET)
        control_fail(w, 400, "ResourceNotFoundException", message);
    else if (err == KIST_E_INVALID)
        control_fail(w, 400, "ValidationException", message);
    else if (err == KIST_E_CONFLICT)
        control_fail(w, 400, "ConflictException", message);
    else if (err == KIST_E_BUSY || err == KIST_E_SHUTDOWN || err == KIST_E_NOSPC)
        control_fail(w, 503, "ServiceUnavailableException", message);
    else
        control_fail(w, 500, "InternalFailure", message);
}

static struct bytes refuse(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message)
{
    (void)ctx, (void)status;
    json_t *json = json_pack("{s:s, s:s}", "__type", code, "message", message);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct bytes body = text ? arena_copy(exchange_arena(x), bytes_str(text)) : BYTES_LIT("{}");
    free(text);
    json_decref(json);
    (void)!exchange_add_header(x, "Content-Type", BYTES_LIT(TYPE));
    return body;
}

/* ---- what is asked ---- */

const char *control_text(struct control *w, const char *name)
{
    const char *text = json_string_value(json_object_get(w->in, name));
    return text ? text : "";
}

size_t control_page(struct control *w)
{
    const json_t *max = json_object_get(w->in, "MaxResults");
    json_int_t n = json_integer_value(max);
    return !json_is_integer(max) ? PAGE_DEFAULT : n < 1 ? 1 : n > PAGE_MAX ? PAGE_MAX : (size_t)n;
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

bool control_allowed(struct control *w, const char *action, const char *resource,
                     struct bytes account)
{
    struct arena *arena = w->call->arena;
    const struct auth_identity *who = w->call->who;
    const char *arn = arena_printf(arena, "arn:aws:kist:%s:%.*s:events/%s", w->c->config.region,
                                   (int)account.len, (const char *)account.ptr, resource);
    const char *full = arena_printf(arena, "kist:%s", action);
    if (arn && full && who->account.len &&
        w->call->allowed(w->call, full, bytes_str(arn), account, NULL))
        return true;
    const char *message = arena_printf(
        arena, "User: %.*s is not authorized to perform: %s on resource: %s", (int)who->arn.len,
        (const char *)who->arn.ptr, full ? full : "", arn ? arn : "");
    control_fail(w, 400, "AccessDeniedException", message ? message : "");
    return false;
}

const char *control_target(struct control *w, const char *action)
{
    struct bytes target = bytes_str(control_text(w, "Target")), account = account_of(target);
    if (!account.len) {
        control_fail(w, 400, "ValidationException", "Target must be an ARN.");
        return NULL;
    }
    const char *name = (const char *)account.ptr + account.len + 1;
    return control_allowed(w, action, name, account) ? (const char *)target.ptr : NULL;
}

enum kist_err control_bucket_account(struct control *w, const Kist__Bucket *bucket,
                                     const char **out)
{
    Kist__Account *account = NULL;
    enum kist_err err =
        store_account_canonical(store_of(w), bytes_str(bucket->owner), w->call->arena, &account);
    if (err == KIST_E_NOT_FOUND)
        err = store_account_first(store_of(w), w->call->arena, &account);
    TRY(err);
    *out = account->id;
    return KIST_OK;
}

/* ---- changes ---- */

static void resume(struct exchange *x)
{
    struct control *w = api_call_of(x)->state;
    if (w->op.err == KIST_OK)
        w->then(w);
    else
        control_fail_err(w, w->op.err, "not changed");
}

static void committed(struct store_op *op)
{
    struct control *w = op->user;
    exchange_wake(w->call->x, resume);
}

void control_commit(struct control *w, const Kist__Command *command,
                    void (*then)(struct control *w))
{
    if (w->op_used)
        store_op_release(&w->op);
    store_op_init(&w->op, committed, w);
    w->op_used = true;
    w->then = then;
    exchange_wait(w->call->x);
    store_submit(store_of(w), &w->op, command);
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
    struct control *w;
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

static void list_queues(struct control *w)
{
    struct queues_page p = { .w = w,
                             .after = control_text(w, "NextToken"),
                             .list = json_array(),
                             .max = control_page(w) };
    if (!control_allowed(w, "ListQueues", "*", w->call->who->account)) {
        json_decref(p.list);
        return;
    }
    enum kist_err err =
        p.list ? events_each_target(w->c->config.events, add_queue, &p) : KIST_E_NOMEM;
    if (err != KIST_OK) {
        json_decref(p.list);
        control_fail_err(w, err, "queues");
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

static json_t *text_json(struct control *w, struct bytes text)
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

static json_t *event_json(struct control *w, const struct event_item *item)
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
    struct control *w;
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
static bool state_of(struct control *w, bool *parked)
{
    const char *state = control_text(w, "State");
    *parked = strcmp(state, "parked") == 0;
    if (!state[0] || *parked || strcmp(state, "waiting") == 0)
        return true;
    control_fail(w, 400, "ValidationException", "State is waiting or parked.");
    return false;
}

static void list_events(struct control *w)
{
    struct events_page p = { .w = w, .max = control_page(w) };
    const char *token = control_text(w, "NextToken"), *target;
    uint8_t after[ROW_EVENT_LEN];
    bool parked;
    if (!state_of(w, &parked) || !(target = control_target(w, "ListEvents")))
        return;
    if (token[0] && !row_of(target, token, after)) {
        control_fail(w, 400, "ValidationException", "NextToken is not one of ours.");
        return;
    }
    p.list = json_array();
    int64_t until_ms = parked ? ROW_DUE_PARKED : ROW_DUE_PARKED - 1;
    struct bytes start = bytes_of(after, token[0] ? sizeof(after) : 0);
    enum kist_err err =
        parked && !token[0]
            ? store_list_later_events(store_of(w), bytes_str(target), ROW_DUE_PARKED - 1,
                                      until_ms, add_event, &p)
            : store_list_events(store_of(w), bytes_str(target), start, until_ms, add_event, &p);
    if (err != KIST_OK) {
        json_decref(p.list);
        control_fail_err(w, err, target);
        return;
    }
    json_t *out = json_pack("{s:o}", "Events", p.list);
    if (p.more)
        json_object_set_new(out, "NextToken", json_string(p.last));
    control_reply(w, out);
}

/* An event that moved meanwhile is found where it may be now: it keeps index and counter. */
static enum kist_err find(struct control *w, const char *target, const char *handle,
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

static void get_event(struct control *w)
{
    struct event_item item;
    const char *target = control_target(w, "GetEvent");
    if (!target)
        return;
    enum kist_err err = find(w, target, control_text(w, "Handle"), &item);
    if (err != KIST_OK) {
        control_fail_err(w, err, control_text(w, "Handle"));
        return;
    }
    struct event_form form = { w->c->config.region, w->call->now_ms };
    struct buf text;
    json_t *out = event_json(w, &item);
    buf_init(&text, (size_t)4 << 20);
    if (out && event_render_s3(&form, item.event, item.id, &text) == KIST_OK)
        json_object_set_new(out, "Document", text_json(w, buf_bytes(&text)));
    buf_release(&text);
    control_reply(w, out);
}

/* ---- redriving and dropping ---- */

struct change {
    struct control *w;
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
    s->how = c->w->drop ? KIST__SETTLEMENT__DONE : KIST__SETTLEMENT__LATER;
    if (!c->w->drop)
        s->due_ms = s->redriven_ms = c->w->call->now_ms;
    c->settled[c->count++] = s;
    return true;
}

static void change_step(struct control *w);

static void changed(struct control *w)
{
    bool all = !json_object_get(w->in, "Handles");
    if (all && w->changed < STEPS_EVENTS_MAX) {
        change_step(w);
        return;
    }
    events_reread(w->c->config.events);
    control_reply(w, json_pack("{s:I, s:b}", w->drop ? "Dropped" : "Redriven",
                               (json_int_t)w->changed, "More", all));
}

static enum kist_err named_events(struct control *w, struct change *c)
{
    const json_t *handles = json_object_get(w->in, "Handles");
    if (json_array_size(handles) == 0 || json_array_size(handles) > STEP_EVENTS)
        return KIST_E_INVALID;
    for (size_t i = 0; i < json_array_size(handles); i++) {
        struct event_item item;
        const char *handle = json_string_value(json_array_get(handles, i));
        TRY(find(w, w->target, handle ? handle : "", &item));
        (void)change_event(c, &item);
    }
    return KIST_OK;
}

static void change_step(struct control *w)
{
    struct change c = { .w = w };
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents change = KIST__CHANGE_EVENTS__INIT;
    struct bytes target = bytes_str(w->target);
    enum kist_err err;
    arena_init(&c.arena, (size_t)1 << 20);
    if (json_object_get(w->in, "Handles"))
        err = named_events(w, &c);
    else if (w->parked_only)
        err = store_list_later_events(store_of(w), target, ROW_DUE_PARKED - 1, ROW_DUE_PARKED,
                                      change_event, &c);
    else
        err = store_list_events(store_of(w), target, BYTES_EMPTY, ROW_DUE_PARKED - 1,
                                change_event, &c);
    if (err == KIST_OK && c.failed)
        err = KIST_E_NOMEM;
    if (err != KIST_OK) {
        control_fail_err(w, err, w->target);
    } else if (c.count == 0) {
        events_reread(w->c->config.events);
        control_reply(w, json_pack("{s:I, s:b}", w->drop ? "Dropped" : "Redriven",
                                   (json_int_t)w->changed, "More", 0));
    } else {
        w->changed += c.count;
        change.n_settled = c.count;
        change.settled = c.settled;
        change.now_ms = w->call->now_ms;
        command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
        command.change_events = &change;
        control_commit(w, &command, changed);
    }
    arena_release(&c.arena);
}

static void redrive_events(struct control *w)
{
    w->parked_only = true;
    w->target = control_target(w, "RedriveEvents");
    if (w->target)
        change_step(w);
}

static void drop_events(struct control *w)
{
    w->drop = true;
    if (!state_of(w, &w->parked_only))
        return;
    w->target = control_target(w, "DropEvents");
    if (w->target)
        change_step(w);
}

/* ---- pauses ---- */

static void paused(struct control *w)
{
    events_reread(w->c->config.events);
    control_reply(w, json_object());
}

static void set_paused(struct control *w, const char *action, bool pause)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PauseEvents change = KIST__PAUSE_EVENTS__INIT;
    const char *target = control_target(w, action);
    if (!target)
        return;
    change.target = (char *)(uintptr_t)target;
    change.paused = pause;
    command.of_case = KIST__COMMAND__OF_PAUSE_EVENTS;
    command.pause_events = &change;
    control_commit(w, &command, paused);
}

static void pause_target(struct control *w)
{
    set_paused(w, "PauseTarget", true);
}

static void resume_target(struct control *w)
{
    set_paused(w, "ResumeTarget", false);
}

/* ---- the service ---- */

static const struct {
    const char *name;
    void (*run)(struct control *w);
} actions[] = {
    { "ListQueues", list_queues },
    { "ListEvents", list_events },
    { "GetEvent", get_event },
    { "RedriveEvents", redrive_events },
    { "DropEvents", drop_events },
    { "PauseTarget", pause_target },
    { "ResumeTarget", resume_target },
    { "ReplayEvents", control_replay_events },
    { "GetReplay", control_get_replay },
    { "StopReplay", control_stop_replay },
    { "ListReplays", control_list_replays },
};

static void call(void *ctx, struct api_call *c)
{
    struct control *w = arena_zalloc(c->arena, sizeof(*w));
    struct bytes target = exchange_header(c->x, "x-amz-target");
    if (!w) {
        exchange_abort(c->x);
        return;
    }
    w->c = ctx;
    w->call = c;
    c->state = w;
    if (c->body.len)
        w->in = json_loadb((const char *)c->body.ptr, c->body.len, 0, NULL);
    if (c->body.len && !json_is_object(w->in)) {
        control_fail(w, 400, "SerializationException", "The body is not a JSON object.");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        size_t len = strlen(actions[i].name);
        if (target.len == 5 + len && memcmp(target.ptr, "Kist.", 5) == 0 &&
            memcmp(target.ptr + 5, actions[i].name, len) == 0) {
            actions[i].run(w);
            return;
        }
    }
    control_fail(w, 400, "UnknownOperationException", "No such operation.");
}

static void end(void *ctx, struct api_call *c)
{
    struct control *w = c->state;
    (void)ctx;
    if (!w)
        return;
    if (w->op_used)
        store_op_release(&w->op);
    json_decref(w->in);
}

enum kist_err events_control_open(const struct events_control_config *config,
                                  struct events_control **out)
{
    struct events_control *c = calloc(1, sizeof(*c));
    if (!c)
        return KIST_E_NOMEM;
    c->config = *config;
    c->service = (struct api_service){
        .ctx = c, .name = "kist", .body_max = BODY_MAX, .call = call, .end = end, .refuse = refuse
    };
    *out = c;
    return KIST_OK;
}

void events_control_close(struct events_control *c)
{
    free(c);
}

const struct api_service *events_control_service(struct events_control *c)
{
    return &c->service;
}
