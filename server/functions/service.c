/* Lambda's control API as an api_service.
 *
 *   call() --> route --> body as JSON (a large one on a worker) --> function's name --> allowed?
 *     --> handler --> fn_commit() / fn_work() --> then() --> fn_reply()
 *                        '--> somebody else was quicker: the handler again
 *
 * https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/functions/control.h"
#include "storage/base/codec.h"
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

/* ---- replies ---- */

static void add_header(struct fn_call *c, const char *name, const char *value)
{
    if (exchange_add_header(c->x, name, bytes_str(value)) != KIST_OK)
        TRACE(TRACE_ERROR, "functions", "no room for the header %s", name);
}

static struct bytes error_body(struct arena *arena, unsigned status, const char *message)
{
    json_t *json = json_pack("{s:s, s:s, s:s}", "Type", status < 500 ? "User" : "Service",
                             "Message", message, "message", message);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct bytes body = text ? arena_copy(arena, bytes_str(text)) : BYTES_EMPTY;
    free(text);
    json_decref(json);
    return body;
}

void fn_fail(struct fn_call *c, unsigned status, const char *code, const char *message)
{
    if (c->replied)
        return;
    add_header(c, "Content-Type", "application/json");
    add_header(c, "x-amzn-ErrorType", code);
    if (status == 429)
        add_header(c, "Retry-After", "1");
    c->replied = true;
    exchange_reply_bytes(c->x, status, error_body(c->arena, status, message ? message : ""));
}

static void fail_v(struct fn_call *c, unsigned status, const char *code, const char *format,
                   va_list args)
{
    char text[1024];
    vsnprintf(text, sizeof(text), format, args);
    fn_fail(c, status, code, text);
}

void fn_failf(struct fn_call *c, unsigned status, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail_v(c, status, code, format, args);
    va_end(args);
}

void fn_invalid(struct fn_call *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail_v(c, 400, "InvalidParameterValueException", format, args);
    va_end(args);
}

void fn_fail_err(struct fn_call *c, enum kist_err err)
{
    switch (err) {
    case KIST_E_NOT_FOUND:
        fn_missing(c);
        break;
    case KIST_E_CONFLICT:
        if (c->route->handle == fn_create) {
            fn_failf(c, 409, "ResourceConflictException", "Function already exist: %s",
                     fn_str(c, c->id.name));
            break;
        }
        fn_failf(c, 409, "ResourceConflictException",
                 "The operation cannot be performed at this time. An update is in progress for "
                 "resource: %s",
                 fn_arn(c, c->id.name, BYTES_EMPTY));
        break;
    case KIST_E_NOMEM:
    case KIST_E_BUSY:
        fn_fail(c, 429, "TooManyRequestsException", "Rate Exceeded.");
        break;
    case KIST_E_NOSPC:
    case KIST_E_QUOTA:
        fn_fail(c, 400, "CodeStorageExceededException", "Code storage limit exceeded.");
        break;
    case KIST_E_TOO_LARGE:
        fn_fail(c, 400, "InvalidParameterValueException", "The function's record is too large.");
        break;
    default:
        fn_fail(c, 500, "ServiceException", kist_err_text(err));
        break;
    }
}

void fn_reply(struct fn_call *c, unsigned status, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct bytes body = text ? arena_copy(c->arena, bytes_str(text)) : BYTES_EMPTY;
    free(text);
    json_decref(json);
    if (!body.ptr) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    add_header(c, "Content-Type", "application/json");
    c->replied = true;
    exchange_reply_bytes(c->x, status, body);
}

void fn_reply_empty(struct fn_call *c, unsigned status)
{
    c->replied = true;
    exchange_reply_bytes(c->x, status, BYTES_EMPTY);
}

void fn_missing(struct fn_call *c)
{
    fn_failf(c, 404, "ResourceNotFoundException", "Function not found: %s",
             fn_arn(c, c->id.name, c->id.qualifier));
}

/* ---- small things ---- */

char *fn_str(struct fn_call *c, struct bytes b)
{
    static char nothing[1];
    char *s = arena_strndup(c->arena, b.ptr ? (const void *)b.ptr : "", b.len);
    return s ? s : nothing;
}

struct bytes fn_account(const struct fn_call *c)
{
    return c->call->who->account;
}

char *fn_arn(struct fn_call *c, struct bytes name, struct bytes qualifier)
{
    struct function_id id = { c->id.account.len ? c->id.account : fn_account(c), name,
                              qualifier };
    char *arn = function_arn(c->f, &id, c->arena);
    return arn ? arn : fn_str(c, BYTES_EMPTY);
}

char *fn_new_uuid(struct fn_call *c)
{
    struct env *env = store_env(c->f->store);
    uint8_t b[16];
    char hex[33];
    env->random(env, b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562 section 5.4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    hex_encode(bytes_of(b, sizeof(b)), hex);
    char *uuid = arena_printf(c->arena, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                              hex + 16, hex + 20);
    return uuid ? uuid : fn_str(c, BYTES_EMPTY);
}

static struct bytes decode(struct fn_call *c, struct bytes raw, bool plus)
{
    struct bytes out;
    if (uri_decode_copy(c->arena, raw, plus, &out) != KIST_OK || memchr(out.ptr, 0, out.len) ||
        !bytes_is_utf8(out))
        return BYTES_EMPTY;
    return out;
}

/* The n-th value of that name. */
struct bytes fn_param_at(struct fn_call *c, const char *name, size_t n)
{
    struct bytes query = c->call->http->query;
    for (size_t at = 0; at < query.len;) {
        size_t amp = bytes_find(query, BYTES_LIT("&"), at);
        struct bytes part = bytes_of(query.ptr + at, (amp == SIZE_MAX ? query.len : amp) - at);
        size_t eq = bytes_find(part, BYTES_LIT("="), 0);
        struct bytes key = eq == SIZE_MAX ? part : bytes_of(part.ptr, eq);
        struct bytes value = eq == SIZE_MAX ? bytes_of(part.ptr + part.len, 0)
                                            : bytes_of(part.ptr + eq + 1, part.len - eq - 1);
        at += part.len + 1;
        if (bytes_equal(decode(c, key, true), bytes_str(name)) && n-- == 0)
            return decode(c, value, true);
    }
    return BYTES_EMPTY;
}

struct bytes fn_param(struct fn_call *c, const char *name)
{
    return fn_param_at(c, name, 0);
}

bool fn_allowed(struct fn_call *c, const char *action, const char *resource, struct bytes account,
                const struct policy *resource_policy)
{
    if (c->call->allowed(c->call, action, bytes_str(resource), account, resource_policy))
        return true;
    fn_failf(c, 403, "AccessDeniedException",
             "User: %.*s is not authorized to perform: %s on resource: %s because no "
             "identity-based policy allows the %s action",
             (int)c->call->who->arn.len, (const char *)c->call->who->arn.ptr, action, resource,
             action);
    return false;
}

/* ---- members of the body ---- */

static bool wrong_type(struct fn_call *c, const char *name)
{
    fn_failf(c, 400, "InvalidRequestContentException",
             "Could not parse request body into json: Unexpected type for the member %s", name);
    return false;
}

static const json_t *member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

bool fn_get_str(struct fn_call *c, const json_t *object, const char *name, const char **out)
{
    const json_t *value = member(object, name);
    if (!value)
        return true;
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
        return wrong_type(c, name);
    *out = json_string_value(value);
    return true;
}

bool fn_get_int(struct fn_call *c, const json_t *object, const char *name, int64_t min,
                int64_t max, int64_t *out)
{
    const json_t *value = member(object, name);
    if (!value)
        return true;
    if (!json_is_integer(value))
        return wrong_type(c, name);
    int64_t n = json_integer_value(value);
    if (n < min || n > max) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%lld' at '%s' failed to satisfy "
                 "constraint: Member must have value between %lld and %lld",
                 (long long)n, name, (long long)min, (long long)max);
        return false;
    }
    *out = n;
    return true;
}

bool fn_get_bool(struct fn_call *c, const json_t *object, const char *name, bool *out)
{
    const json_t *value = member(object, name);
    if (value && !json_is_boolean(value))
        return wrong_type(c, name);
    if (value)
        *out = json_is_true(value);
    return true;
}

bool fn_get_object(struct fn_call *c, const json_t *object, const char *name, const json_t **out)
{
    const json_t *value = member(object, name);
    if (value && !json_is_object(value))
        return wrong_type(c, name);
    if (value)
        *out = value;
    return true;
}

bool fn_page(struct fn_call *c, size_t most, struct fn_page *out)
{
    struct bytes max = fn_param(c, "MaxItems"), marker = fn_param(c, "Marker");
    uint64_t n = most;
    uint8_t text[FN_ROW_NAME_MAX];
    size_t len = 0;
    if (max.ptr && (bytes_to_u64(max, 10000, &n) != KIST_OK || n == 0)) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.*s' at 'maxItems' failed to satisfy "
                 "constraint: Member must have value between 1 and 10000",
                 (int)(max.len < 32 ? max.len : 32), (const char *)max.ptr);
        return false;
    }
    if (base64_decode(marker, text, sizeof(text) - 1, &len) != KIST_OK || memchr(text, 0, len)) {
        fn_invalid(c, "Invalid pagination token");
        return false;
    }
    *out = (struct fn_page){ .after = fn_str(c, bytes_of(text, len)),
                             .max = n < most ? (size_t)n : most };
    return true;
}

void fn_page_reply(struct fn_call *c, const struct fn_page *page, json_t *out)
{
    if (out && page->next)
        json_object_set_new(out, "NextMarker", json_string(fn_base64(c, bytes_str(page->next))));
    fn_reply(c, 200, out);
}

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
    add_header(c, "x-amzn-RequestId", c->request_id);
    if (!api->who->id.len) {
        fn_fail(c, 403, "MissingAuthenticationTokenException", "Missing Authentication Token");
        return;
    }
    c->route = find_route(c, &path_known);
    for (size_t i = 0; i < c->arg_count; i++)
        c->args[i] = decode(c, c->args[i], false);
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
    return error_body(exchange_arena(x), status, message);
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
