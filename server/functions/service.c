/* Lambda's control API as an api_service.
 *
 *   call() --> route --> body as JSON (a large one on a worker) --> function's name --> allowed?
 *     --> handler --> fn_commit() / fn_work() --> then() --> fn_reply()
 *                        '--> somebody else was quicker: the handler again
 *
 * https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html
 */
#include <stdlib.h>

#include "server/functions/control.h"
#include "storage/base/trace.h"

#define TRIES_MAX 16
/* More than this is parsed on a worker. */
#define BODY_LARGE ((size_t)64 << 10)

static const struct fn_route routes[] = {
#define R(method, path, operation, target, body, status, handler)                                \
    { #method,        path,           #operation, "lambda:" #operation,                          \
      FN_ON_##target, FN_BODY_##body, status,     handler },
#include "server/functions/routes.def"
#undef R
};

/* ---- changes ---- */

bool fn_change(struct fn_call *c, enum record_kind kind, struct bytes account, const char *name,
               uint64_t expected, const void *message)
{
    Kist__RecordChange *change = arena_alloc(c->arena, sizeof(*change));
    if (c->change_count == c->change_room) {
        size_t room = c->change_room ? 2 * c->change_room : FN_CHANGES_STEP;
        Kist__RecordChange **list = arena_alloc(c->arena, room * sizeof(Kist__RecordChange *));
        if (list && c->change_count)
            memcpy(list, c->changes, c->change_count * sizeof(Kist__RecordChange *));
        c->changes = list;
        c->change_room = room;
    }
    if (!change || !c->changes || !name) {
        fn_fail_err(c, KIST_E_NOMEM);
        return false;
    }
    kist__record_change__init(change);
    change->kind = kind;
    change->account = fn_str(c, account);
    change->name = (char *)name;
    change->expected = expected;
    change->any = expected == FN_CHANGED_ANY;
    c->changes[c->change_count++] = change;
    if (!message)
        return true;
    struct buf packed;
    buf_init(&packed, 4U << 20);
    change->record = arena_alloc(c->arena, sizeof(*change->record));
    enum kist_err err = change->record ? schema_pack(message, &packed) : KIST_E_NOMEM;
    if (err == KIST_OK) {
        kist__record__init(change->record);
        change->record->created_ms = c->call->now_ms;
        struct bytes body = arena_copy(c->arena, buf_bytes(&packed));
        change->record->body = schema_data(body);
        err = body.ptr ? KIST_OK : KIST_E_NOMEM;
    }
    buf_release(&packed);
    if (err != KIST_OK)
        fn_fail_err(c, err);
    return err == KIST_OK;
}

static struct fn_call *call_of(struct exchange *x)
{
    return api_call_of(x)->state;
}

static void committed(struct exchange *x)
{
    struct fn_call *c = call_of(x);
    if (c->op.err == KIST_E_CONFLICT && ++c->tries < TRIES_MAX && !c->code.stored) {
        store_op_release(&c->op);
        c->op_used = false;
        c->change_count = 0;
        c->trash_count = 0;
        c->route->handle(c);
        return;
    }
    if (c->op.err != KIST_OK)
        fn_fail_err(c, c->op.err);
    else
        c->then(c);
}

void functions_watch(struct functions *f, struct events *events)
{
    f->events = events;
}

static void op_done(struct store_op *op)
{
    struct fn_call *c = op->user;
    c->committed = op->err == KIST_OK;
    if (c->committed && c->id.name.len && c->route->body != FN_BODY_RAW) {
        functions_changed(c->f, c->id.account, c->id.name);
        if (c->f->events)
            events_target_changed(c->f->events, c->id.name);
    }
    exchange_wake(c->x, committed);
}

void fn_commit_command(struct fn_call *c, const Kist__Command *command,
                       void (*then)(struct fn_call *c))
{
    if (c->op_used)
        store_op_release(&c->op);
    store_op_init(&c->op, op_done, c);
    c->op_used = true;
    c->then = then;
    exchange_wait(c->x);
    store_submit(c->f->store, &c->op, command);
}

void fn_commit(struct fn_call *c, void (*then)(struct fn_call *c))
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords put = KIST__PUT_RECORDS__INIT;
    if (c->change_count == 0) {
        then(c);
        return;
    }
    put.n_changes = c->change_count;
    put.changes = c->changes;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &put;
    fn_commit_command(c, &command, then);
}

bool fn_throw_away(struct fn_call *c, const char *code_key)
{
    char **longer = arena_alloc(c->arena, (c->trash_count + 1) * sizeof(*longer));
    char *key = longer ? arena_strdup(c->arena, code_key) : NULL;
    if (!key) {
        fn_fail_err(c, KIST_E_NOMEM);
        return false;
    }
    if (c->trash_count)
        memcpy(longer, c->trash, c->trash_count * sizeof(*longer));
    longer[c->trash_count++] = key;
    c->trash = longer;
    return true;
}

/* ---- work that may block ---- */

static void worked(struct exchange *x)
{
    struct fn_call *c = call_of(x);
    c->then(c);
}

static void work_run(struct job *job)
{
    struct fn_call *c = CONTAINER_OF(job, struct fn_call, job);
    c->work(c);
    exchange_wake(c->x, worked);
}

void fn_work(struct fn_call *c, void (*work)(struct fn_call *c), void (*then)(struct fn_call *c))
{
    c->work = work;
    c->then = then;
    c->job.run = work_run;
    exchange_wait(c->x);
    registry_run(c->f->registry, &c->job);
}

/* ---- dispatch ---- */

/* Segments of the path against those of a pattern; "{}" fits any that is not empty. */
static bool path_fits(const char *pattern, struct bytes path, struct bytes *args, size_t *count)
{
    size_t at = 0;
    *count = 0;
    if (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--;
    while (*pattern) {
        if (pattern[0] != '{') {
            if (at == path.len || path.ptr[at++] != (uint8_t)*pattern++)
                return false;
            continue;
        }
        size_t slash = bytes_find(path, BYTES_LIT("/"), at);
        size_t end = slash == SIZE_MAX ? path.len : slash;
        if (end == at)
            return false;
        args[(*count)++] = bytes_of(path.ptr + at, end - at);
        at = end;
        pattern += 2;
    }
    return at == path.len;
}

static const struct fn_route *find_route(struct fn_call *c, bool *path_known)
{
    const struct http_request *http = c->call->http;
    *path_known = false;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (!path_fits(routes[i].path, http->path, c->args, &c->arg_count))
            continue;
        *path_known = true;
        if (bytes_equal(http->method_name, bytes_str(routes[i].method)))
            return &routes[i];
    }
    return NULL;
}

/* NAME, NAME:Q, ACCOUNT:function:NAME[:Q], function:NAME, or the whole ARN. */
static bool parse_name(struct fn_call *c, struct bytes text, struct function_id *out)
{
    struct function_id id = { .account = fn_account(c) };
    static const struct bytes arn = { (const uint8_t *)"arn:", 4 };
    if (bytes_starts_with(text, arn)) {
        if (function_id_parse(text, &id) != KIST_OK)
            return false;
    } else {
        struct bytes parts[5];
        size_t count = 0, at = 0;
        for (; count < 5 && at <= text.len; count++) {
            size_t colon = bytes_find(text, BYTES_LIT(":"), at);
            size_t end = colon == SIZE_MAX ? text.len : colon;
            parts[count] = bytes_of(text.ptr + at, end - at);
            at = end + 1;
        }
        size_t first = 0;
        if (count >= 3 && parts[0].len == ACCOUNT_ID_LEN &&
            bytes_equal(parts[1], BYTES_LIT("function"))) {
            id.account = parts[0];
            first = 2;
        }
        if (count < first + 1 || count > first + 2 || at <= text.len)
            return false;
        id.name = parts[first];
        if (count == first + 2) {
            id.qualifier = parts[first + 1];
            if (!id.qualifier.len)
                return false;
        }
    }
    if (!fn_name_valid(id.name, FN_NAME_MAX) || id.account.len != ACCOUNT_ID_LEN)
        return false;
    *out = id;
    return true;
}

bool fn_qualifier_valid(struct bytes q)
{
    return bytes_equal(q, BYTES_LIT(FN_LATEST)) || fn_name_valid(q, 128);
}

bool fn_name_function(struct fn_call *c)
{
    struct bytes text = c->args[0], q = fn_param(c, "Qualifier");
    if (!parse_name(c, text, &c->id)) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.*s' at 'functionName' failed to satisfy "
                 "constraint: Member must satisfy regular expression pattern: "
                 "(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?"
                 "(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?",
                 (int)(text.len < 170 ? text.len : 170), (const char *)text.ptr);
        return false;
    }
    if (q.len && c->id.qualifier.len && !bytes_equal(q, c->id.qualifier)) {
        fn_invalid(c, "The derived qualifier from the function name does not match the specified "
                      "qualifier.");
        return false;
    }
    if (q.len)
        c->id.qualifier = q;
    c->id.name = bytes_str(fn_str(c, c->id.name));
    if (c->id.qualifier.len && !fn_qualifier_valid(c->id.qualifier)) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.*s' at 'qualifier' failed to satisfy "
                 "constraint: Member must satisfy regular expression pattern: "
                 "(|[a-zA-Z0-9$_-]+)",
                 (int)(q.len < 128 ? q.len : 128), (const char *)q.ptr);
        return false;
    }
    return true;
}

static void dispatch(struct fn_call *c)
{
    const struct fn_route *route = c->route;
    if (route->body == FN_BODY_JSON && c->call->body.len > 0 && !json_is_object(c->in)) {
        fn_fail(c, 400, "InvalidRequestContentException",
                "Could not parse request body into json: it is no JSON object.");
        return;
    }
    if (route->target == FN_ON_FUNCTION || route->target == FN_ON_RESOURCE) {
        if (!fn_name_function(c))
            return;
    }
    if (route->target == FN_ON_FUNCTION &&
        !fn_allowed(c, route->action, fn_arn(c, c->id.name, c->id.qualifier), c->id.account,
                    NULL))
        return;
    if (route->target == FN_ON_ALL && !fn_allowed(c, route->action, "*", fn_account(c), NULL))
        return;
    route->handle(c);
}

static void parse_body(struct fn_call *c)
{
    json_error_t error;
    struct bytes body = c->call->body;
    if (c->route->body == FN_BODY_JSON && body.len)
        c->in = json_loadb((const char *)body.ptr, body.len, JSON_REJECT_DUPLICATES, &error);
}

static void call(void *ctx, struct api_call *api)
{
    struct fn_call *c = arena_zalloc(api->arena, sizeof(*c));
    bool path_known = false;
    if (!c) {
        exchange_abort(api->x);
        return;
    }
    c->f = ctx;
    c->call = api;
    c->x = api->x;
    c->arena = api->arena;
    api->state = c;
    c->request_id = fn_new_uuid(c);
    fn_add_header(c, "x-amzn-RequestId", c->request_id);
    if (!api->who->id.len) {
        fn_fail(c, 403, "MissingAuthenticationTokenException", "Missing Authentication Token");
        return;
    }
    c->route = find_route(c, &path_known);
    for (size_t i = 0; i < c->arg_count; i++)
        c->args[i] = fn_decode(c, c->args[i], false);
    if (!c->route) {
        fn_failf(c, path_known ? 405 : 501,
                 path_known ? "MethodNotAllowedException" : "NotImplementedException",
                 "This operation of Lambda's API is not there: %.*s %.*s",
                 (int)api->http->method_name.len, (const char *)api->http->method_name.ptr,
                 (int)(api->http->path.len < 200 ? api->http->path.len : 200),
                 (const char *)api->http->path.ptr);
        return;
    }
    if (c->route->body == FN_BODY_JSON && api->body.len > BODY_LARGE) {
        fn_work(c, parse_body, dispatch);
        return;
    }
    parse_body(c);
    dispatch(c);
}

static void end(void *ctx, struct api_call *api)
{
    struct fn_call *c = api->state;
    (void)ctx;
    if (!c)
        return;
    /* A commit that failed for the machine's sake may be there after all: code stays then. */
    bool refused = !c->op_used || c->op.err == KIST_E_CONFLICT || c->op.err == KIST_E_INVALID ||
                   c->op.err == KIST_E_TOO_LARGE;
    if (c->committed)
        fn_code_drop(c->f, c->trash, c->trash_count);
    else if (c->code.stored && refused)
        fn_code_drop(c->f, &c->code.stored, 1);
    if (c->op_used)
        store_op_release(&c->op);
    fn_invoke_end(c);
    fn_logs_end(c);
    fn_download_end(c);
    fn_stream_end(c);
    json_decref(c->in);
}

/* S3's codes as Lambda would say them. */
static const struct {
    const char *s3, *lambda;
} refusals[] = {
    { "AccessDenied", "AccessDeniedException" },
    { "SignatureDoesNotMatch", "InvalidSignatureException" },
    { "InvalidAccessKeyId", "UnrecognizedClientException" },
    { "InvalidToken", "UnrecognizedClientException" },
    { "ExpiredToken", "ExpiredTokenException" },
    { "RequestTimeTooSkewed", "InvalidSignatureException" },
    { "EntityTooLarge", "RequestEntityTooLargeException" },
    { "RequestEntityTooLarge", "RequestEntityTooLargeException" },
    { "SlowDown", "TooManyRequestsException" },
    { "InternalError", "ServiceException" },
};

static struct bytes refuse(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message)
{
    const char *type = code;
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        if (strcmp(code, refusals[i].s3) == 0)
            type = refusals[i].lambda;
    if (exchange_add_header(x, "x-amzn-ErrorType", bytes_str(type)) != KIST_OK ||
        exchange_add_header(x, "Content-Type", BYTES_LIT("application/json")) != KIST_OK)
        TRACE(TRACE_ERROR, "functions", "no room for the headers of an error");
    return fn_error_body(exchange_arena(x), status, message);
}

void functions_service_init(struct functions *f)
{
    f->service = (struct api_service){ .ctx = f,
                                       .name = "lambda",
                                       .body_max = FN_BODY_MAX,
                                       .call = call,
                                       .end = end,
                                       .refuse = refuse };
}
