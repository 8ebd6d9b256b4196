/* The API of schedules. A request is read into a Schedule, judged, and written with its next turn
 * in one step. */
#include <stdlib.h>

#include "server/events/schedule_internal.h"
#include "storage/base/codec.h"

#define BODY_MAX ((size_t)512 << 10)
#define PAGE_MAX 100
#define NAME_MAX_LEN 64

/* ---- replies ---- */

void schedule_reply(struct schedule_work *w, unsigned status, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct bytes body = text ? arena_copy(w->call->arena, bytes_str(text)) : BYTES_LIT("{}");
    free(text);
    json_decref(json);
    (void)!exchange_add_header(w->call->x, "Content-Type", BYTES_LIT("application/json"));
    exchange_reply_bytes(w->call->x, status, body);
}

void schedule_fail(struct schedule_work *w, unsigned status, const char *type,
                   const char *message)
{
    exchange_clear_headers(w->call->x);
    (void)!exchange_add_header(w->call->x, "x-amzn-ErrorType", bytes_str(type));
    message = arena_utf8(w->call->arena, message);
    schedule_reply(w, status, json_pack("{s:s}", "Message", message ? message : ""));
}

void schedule_fail_err(struct schedule_work *w, enum kist_err err)
{
    if (err == KIST_E_CONFLICT)
        schedule_fail(w, 409, "ConflictException",
                      "The schedule was changed, or exists already.");
    else if (err == KIST_E_NOT_FOUND)
        schedule_fail(w, 404, "ResourceNotFoundException",
                      arena_printf(w->call->arena, "Schedule %.*s does not exist.",
                                   (int)w->name.len, (const char *)w->name.ptr));
    else
        schedule_fail(w, err == KIST_E_BUSY || err == KIST_E_SHUTDOWN ? 503 : 500,
                      "InternalServerException", kist_err_text(err));
}

static struct bytes refuse(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message)
{
    char *text = arena_printf(exchange_arena(x), "{\"Message\":\"%s\"}", message);
    (void)ctx, (void)status;
    (void)!exchange_add_header(x, "Content-Type", BYTES_LIT("application/json"));
    (void)!exchange_add_header(x, "x-amzn-ErrorType", bytes_str(code));
    return bytes_str(text ? text : "{}");
}

/* ---- what a request says ---- */

char *schedule_copy(struct schedule_work *w, struct bytes b)
{
    char *text = b.len ? arena_strndup(w->call->arena, b.ptr, b.len) : NULL;
    return text ? text : (char *)"";
}

static struct bytes decoded(struct schedule_work *w, struct bytes raw)
{
    struct bytes out;
    return uri_decode_copy(w->call->arena, raw, false, &out) == KIST_OK ? out : BYTES_EMPTY;
}

static struct bytes param(struct schedule_work *w, const char *name)
{
    struct bytes query = w->call->http->query, wanted = bytes_str(name);
    for (size_t at = 0; at < query.len;) {
        size_t end = bytes_find(query, BYTES_LIT("&"), at);
        end = end == SIZE_MAX ? query.len : end;
        struct bytes part = bytes_of(query.ptr + at, end - at);
        size_t eq = bytes_find(part, BYTES_LIT("="), 0);
        if (eq != SIZE_MAX && bytes_equal(bytes_of(part.ptr, eq), wanted))
            return decoded(w, bytes_of(part.ptr + eq + 1, part.len - eq - 1));
        at = end + 1;
    }
    return BYTES_EMPTY;
}

static bool name_fits(struct bytes name)
{
    if (name.len == 0 || name.len > NAME_MAX_LEN)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alnum && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

char *schedule_arn(struct schedule_work *w, const char *kind, struct bytes group,
                   struct bytes name)
{
    const struct auth_identity *who = w->call->who;
    return arena_printf(w->call->arena, "arn:aws:scheduler:%s:%s:%s/%s%s%s", w->s->config.region,
                        schedule_copy(w, who->account), kind, schedule_copy(w, group),
                        name.len ? "/" : "", schedule_copy(w, name));
}

/* False after an error reply. */
bool schedule_allowed(struct schedule_work *w, const char *action, const char *arn)
{
    const struct auth_identity *who = w->call->who;
    if (who->account.len && w->call->allowed(w->call, action, bytes_str(arn), who->account, NULL))
        return true;
    schedule_fail(w, 403, "AccessDeniedException",
                  arena_printf(w->call->arena,
                               "User: %.*s is not authorized to perform: %s on resource: %s",
                               (int)who->arn.len, (const char *)who->arn.ptr, action, arn));
    return false;
}

/* ---- writing ---- */

static void resume(struct exchange *x)
{
    struct schedule_work *w = api_call_of(x)->state;
    if (w->op.err == KIST_OK)
        w->then(w);
    else
        schedule_fail_err(w, w->op.err);
}

static void committed(struct store_op *op)
{
    struct schedule_work *w = op->user;
    exchange_wake(w->call->x, resume);
}

void schedule_commit(struct schedule_work *w, Kist__RecordChange **changes, size_t count,
                     void (*then)(struct schedule_work *w))
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords put = KIST__PUT_RECORDS__INIT;
    put.n_changes = count;
    put.changes = changes;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &put;
    if (w->op_used)
        store_op_release(&w->op);
    store_op_init(&w->op, committed, w);
    w->op_used = true;
    w->then = then;
    exchange_wait(w->call->x);
    store_submit(w->s->config.store, &w->op, &command);
}

static void written(struct schedule_work *w)
{
    schedules_note(w->s);
    schedule_reply(
        w, 200,
        json_pack("{s:s}", "ScheduleArn", schedule_arn(w, "schedule", w->group, w->name)));
}

static char *full_name(struct schedule_work *w)
{
    char *name =
        arena_printf(w->call->arena, "%.*s/%.*s", (int)w->group.len, (const char *)w->group.ptr,
                     (int)w->name.len, (const char *)w->name.ptr);
    return name ? name : (char *)"";
}

/* The turn that a schedule has, goes. One that the clock writes just now is of no revision that
 * there is then, and goes when it is due. */
static size_t drop_turn(struct schedule_work *w, const Kist__Schedule *schedule,
                        Kist__RecordChange **list)
{
    enum kist_err err =
        schedule_turn_after(schedule, schedule_copy(w, w->call->who->tenant),
                            schedule_begin(schedule, w->now_ms), w->call->arena, &w->gone);
    w->gone.change.record = NULL;
    list[0] = &w->gone.change;
    return err == KIST_OK ? 1 : 0;
}

/* old: as it was; NULL: it was not there. */
static void write_schedule(struct schedule_work *w, const Kist__Schedule *old)
{
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *changes[3] = { &change };
    Kist__Record record = KIST__RECORD__INIT;
    char *account = schedule_copy(w, w->call->who->tenant);
    buf_init(&w->body, SCHEDULE_INPUT_MAX + 65536);
    if (schema_pack(&w->schedule, &w->body) != KIST_OK) {
        schedule_fail(w, 400, "ValidationException", "The schedule is too large.");
        return;
    }
    change.kind = RECORD_SCHEDULE;
    change.account = account;
    change.name = full_name(w);
    change.expected = w->expected;
    change.record = &record;
    record.created_ms = w->schedule.created_ms;
    record.body = schema_data(buf_bytes(&w->body));
    enum kist_err err = schedule_turn_after(
        &w->schedule, account, schedule_begin(&w->schedule, w->now_ms), w->call->arena, &w->turn);
    size_t count = 1;
    if (err == KIST_OK)
        changes[count++] = &w->turn.change;
    if (old)
        count += drop_turn(w, old, changes + count);
    if (err == KIST_OK || err == KIST_E_NOT_FOUND)
        schedule_commit(w, changes, count, written);
    else
        schedule_fail_err(w, err);
}

/* *record NULL: there is none. */
static enum kist_err existing(struct schedule_work *w, Kist__Record **record,
                              Kist__Schedule **schedule)
{
    *record = NULL;
    enum kist_err err = store_record(w->s->config.store, RECORD_SCHEDULE, w->call->who->tenant,
                                     bytes_str(full_name(w)), w->call->arena, record);
    if (err != KIST_OK)
        return err;
    return schema_unpack(&kist__schedule__descriptor, schema_bytes((*record)->body),
                         w->call->arena, schedule);
}

bool schedule_group_exists(struct schedule_work *w)
{
    Kist__Record *record;
    return bytes_equal(w->group, BYTES_LIT("default")) ||
           store_record(w->s->config.store, RECORD_SCHEDULE_GROUP, w->call->who->tenant, w->group,
                        w->call->arena, &record) == KIST_OK;
}

/* Who makes a schedule could do himself what it does: Amazon asks the schedule's role instead,
 * and its maker whether he may pass that on. False after an error reply. */
static bool may_use_target(struct schedule_work *w, const char *target)
{
    static const struct {
        const char *service, *action;
    } uses[] = { { "lambda", "lambda:InvokeFunction" },
                 { "sqs", "sqs:SendMessage" },
                 { "sns", "sns:Publish" },
                 { "events", "events:PutEvents" } };
    const char *parts[5] = { target }; /* arn:aws:SERVICE:REGION:ACCOUNT */
    for (size_t i = 1; i < ARRAY_LEN(parts); i++) {
        const char *colon = parts[i - 1] ? strchr(parts[i - 1], ':') : NULL;
        parts[i] = colon ? colon + 1 : NULL;
    }
    size_t len = parts[4] ? strcspn(parts[4], ":") : 0;
    bool own = len && bytes_equal(bytes_of(parts[4], len), w->call->who->account);
    for (size_t i = 0; own && i < ARRAY_LEN(uses); i++)
        if (strncmp(parts[2], uses[i].service, strcspn(parts[2], ":")) == 0 &&
            strlen(uses[i].service) == strcspn(parts[2], ":"))
            return schedule_allowed(w, uses[i].action, target);
    schedule_fail(w, 400, "ValidationException",
                  "The target is neither a function nor a queue, topic or bus of this account.");
    return false;
}

static void put_schedule(struct schedule_work *w, json_t *root, bool update)
{
    Kist__Record *record = NULL;
    Kist__Schedule *old = NULL;
    enum kist_err err = existing(w, &record, &old);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND) {
        schedule_fail_err(w, err);
        return;
    }
    if (update != (record != NULL)) {
        schedule_fail_err(w, update ? KIST_E_NOT_FOUND : KIST_E_CONFLICT);
        return;
    }
    const char *wrong = schedule_read(w, root, &w->schedule);
    if (!wrong && !schedule_group_exists(w)) {
        schedule_fail(w, 404, "ResourceNotFoundException", "Schedule group does not exist.");
        return;
    }
    if (!wrong && w->s->config.events &&
        events_check_target(w->s->config.events, bytes_str(w->schedule.target), BYTES_EMPTY,
                            w->call->who->account) != KIST_OK)
        wrong = "The target does not exist.";
    if (wrong) {
        schedule_fail(w, 400, "ValidationException", wrong);
        return;
    }
    if (!may_use_target(w, w->schedule.target))
        return;
    w->schedule.created_ms = old ? old->created_ms : w->now_ms;
    w->expected = record ? record->changed : 0;
    write_schedule(w, old);
}

static void put(struct schedule_work *w, bool update)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)w->call->body.ptr, w->call->body.len,
                              JSON_REJECT_DUPLICATES, &error);
    const char *group = json_string_value(json_object_get(root, "GroupName"));
    w->group = group ? bytes_str(schedule_copy(w, bytes_str(group))) : BYTES_LIT("default");
    if (!json_is_object(root) || !name_fits(w->name) || !name_fits(w->group))
        schedule_fail(w, 400, "ValidationException",
                      "The body is not an object, or a name does not fit.");
    else if (schedule_allowed(w, update ? "scheduler:UpdateSchedule" : "scheduler:CreateSchedule",
                              schedule_arn(w, "schedule", w->group, w->name)))
        put_schedule(w, root, update);
    json_decref(root);
}

/* ---- reading ---- */

static void get(struct schedule_work *w)
{
    Kist__Record *record;
    Kist__Schedule *schedule = NULL;
    if (!schedule_allowed(w, "scheduler:GetSchedule",
                          schedule_arn(w, "schedule", w->group, w->name)))
        return;
    enum kist_err err = existing(w, &record, &schedule);
    if (err == KIST_OK)
        schedule_reply(w, 200, schedule_describe(w, schedule, true));
    else
        schedule_fail_err(w, err);
}

void schedule_removed(struct schedule_work *w)
{
    schedule_reply(w, 200, NULL);
}

static void delete_one(struct schedule_work *w)
{
    Kist__Record *record;
    Kist__Schedule *schedule = NULL;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *changes[2] = { &change };
    if (!schedule_allowed(w, "scheduler:DeleteSchedule",
                          schedule_arn(w, "schedule", w->group, w->name)))
        return;
    enum kist_err err = existing(w, &record, &schedule);
    if (err != KIST_OK) {
        schedule_fail_err(w, err);
        return;
    }
    change.kind = RECORD_SCHEDULE;
    change.account = schedule_copy(w, w->call->who->tenant);
    change.name = full_name(w);
    change.expected = record->changed;
    schedule_commit(w, changes, 1 + drop_turn(w, schedule, changes + 1), schedule_removed);
}

struct listing {
    struct schedule_work *w;
    json_t *list;
    size_t max;
    struct bytes prefix, state, last;
    bool more, groups;
};

static bool on_record(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct listing *l = ctx;
    struct bytes body = arena_copy(l->w->call->arena, schema_bytes(record->body));
    Kist__Schedule *o = NULL;
    if (json_array_size(l->list) == l->max) {
        l->more = true;
        return false;
    }
    l->last = arena_copy(l->w->call->arena, name);
    if (l->groups) {
        json_array_append_new(
            l->list, json_pack("{s:s, s:s, s:s, s:f}", "Arn",
                               schedule_arn(l->w, "schedule-group", l->last, BYTES_EMPTY), "Name",
                               schedule_copy(l->w, name), "State", "ACTIVE", "CreationDate",
                               (double)record->created_ms / 1000));
        return true;
    }
    if (!body.ptr ||
        schema_unpack(&kist__schedule__descriptor, body, l->w->call->arena, &o) != KIST_OK)
        return false;
    bool fits =
        bytes_starts_with(bytes_str(o->name), l->prefix) &&
        (!l->state.len || bytes_equal(l->state, BYTES_LIT("DISABLED")) == (o->disabled != 0));
    if (fits)
        json_array_append_new(l->list, schedule_describe(l->w, o, false));
    return true;
}

static void list(struct schedule_work *w, bool groups)
{
    uint64_t max = PAGE_MAX;
    struct bytes asked = param(w, "MaxResults"), group = param(w, "ScheduleGroup");
    struct bytes token = param(w, "NextToken"), prefix = BYTES_EMPTY;
    if (!schedule_allowed(w, groups ? "scheduler:ListScheduleGroups" : "scheduler:ListSchedules",
                          schedule_arn(w, groups ? "schedule-group" : "schedule",
                                       group.len ? group : BYTES_LIT("*"), BYTES_EMPTY)))
        return;
    if (asked.len && (bytes_to_u64(asked, PAGE_MAX, &max) != KIST_OK || max == 0)) {
        schedule_fail(w, 400, "ValidationException", "MaxResults must be 1 to 100.");
        return;
    }
    struct listing l = { .w = w,
                         .list = json_array(),
                         .max = max,
                         .groups = groups,
                         .prefix = param(w, "NamePrefix"),
                         .state = param(w, "State") };
    if (group.len)
        prefix = bytes_str(
            arena_printf(w->call->arena, "%.*s/", (int)group.len, (const char *)group.ptr));
    else if (groups)
        prefix = l.prefix;
    if (groups && !token.len && bytes_starts_with(BYTES_LIT("default"), prefix))
        json_array_append_new(l.list, json_pack("{s:s, s:s, s:s}", "Arn",
                                                schedule_arn(w, "schedule-group",
                                                             BYTES_LIT("default"), BYTES_EMPTY),
                                                "Name", "default", "State", "ACTIVE"));
    enum kist_err err =
        store_list_records(w->s->config.store, groups ? RECORD_SCHEDULE_GROUP : RECORD_SCHEDULE,
                           w->call->who->tenant, prefix, token, on_record, &l);
    if (err != KIST_OK) {
        json_decref(l.list);
        schedule_fail_err(w, err);
        return;
    }
    json_t *out = json_pack("{s:o}", groups ? "ScheduleGroups" : "Schedules", l.list);
    if (l.more)
        json_object_set_new(out, "NextToken", json_stringn((const char *)l.last.ptr, l.last.len));
    schedule_reply(w, 200, out);
}

/* ---- routes ---- */

static void route_group(struct schedule_work *w, enum http_method method)
{
    w->group = w->name;
    w->name = BYTES_EMPTY;
    if (!name_fits(w->group))
        schedule_fail(w, 400, "ValidationException",
                      "A group's name is 1 to 64 of [0-9a-zA-Z-_.].");
    else if (method == HTTP_POST)
        schedule_create_group(w);
    else if (method == HTTP_GET)
        schedule_get_group(w);
    else if (method == HTTP_DELETE)
        schedule_delete_group(w);
    else
        schedule_fail(w, 405, "ValidationException", "Method not allowed.");
}

static void route_schedule(struct schedule_work *w, enum http_method method)
{
    struct bytes group = param(w, "groupName");
    w->group = group.len ? group : BYTES_LIT("default");
    if (method == HTTP_POST || method == HTTP_PUT)
        put(w, method == HTTP_PUT);
    else if (!name_fits(w->name) || !name_fits(w->group))
        schedule_fail(w, 400, "ValidationException", "A name is 1 to 64 of [0-9a-zA-Z-_.].");
    else if (method == HTTP_GET)
        get(w);
    else if (method == HTTP_DELETE)
        delete_one(w);
    else
        schedule_fail(w, 405, "ValidationException", "Method not allowed.");
}

static void call(void *ctx, struct api_call *c)
{
    static const struct bytes schedules = { (const uint8_t *)"/schedules", 10 };
    static const struct bytes groups = { (const uint8_t *)"/schedule-groups", 16 };
    struct schedule_work *w = arena_zalloc(c->arena, sizeof(*w));
    if (!w) {
        exchange_abort(c->x);
        return;
    }
    w->s = ctx;
    w->call = c;
    w->now_ms = c->now_ms;
    c->state = w;
    bool group = bytes_starts_with(c->http->path, groups);
    size_t skip = group ? groups.len : schedules.len;
    struct bytes rest = bytes_of(c->http->path.ptr + skip, 0);
    bool known = group || bytes_starts_with(c->http->path, schedules);
    if (known)
        rest.len = c->http->path.len - skip;
    if (known && rest.len > 1 && rest.ptr[0] == '/') {
        w->name = decoded(w, bytes_of(rest.ptr + 1, rest.len - 1));
        (group ? route_group : route_schedule)(w, c->http->method);
    } else if (known && rest.len <= 1 && c->http->method == HTTP_GET) {
        list(w, group);
    } else {
        schedule_fail(w, 404, "UnknownOperationException", "No such operation, or not built.");
    }
}

static void end(void *ctx, struct api_call *c)
{
    struct schedule_work *w = c->state;
    (void)ctx;
    if (!w)
        return;
    if (w->op_used)
        store_op_release(&w->op);
    schedule_turn_release(&w->turn);
    schedule_turn_release(&w->gone);
    buf_release(&w->body);
}

void schedule_api_init(struct schedules *s)
{
    s->service = (struct api_service){ .ctx = s,
                                       .name = "scheduler",
                                       .body_max = BODY_MAX,
                                       .call = call,
                                       .end = end,
                                       .refuse = refuse };
}
