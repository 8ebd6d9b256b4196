/* Invoke: the caller waits, or the call becomes an event, or nothing happens but the questions.
 * https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html */
#include <stdlib.h>

#include "server/functions/control.h"
#include "storage/base/codec.h"

#define CONTEXT_MAX 3583 /* bytes of X-Amz-Client-Context, in base64 */

struct invoke {
    struct fn_invocation call;
    struct fn_call *c;
    enum fn_end end;
    uint8_t *payload, *tail; /* copies: the result does not outlive done() */
    size_t payload_len, tail_len;
    char version[32];
    const char *why;
    bool no_memory;
};

void fn_invoke_end(struct fn_call *c)
{
    struct invoke *i = c->invoke;
    if (!i)
        return;
    free(i->payload);
    free(i->tail);
    free(i);
}

/* ---- the answer ---- */

static void add(struct fn_call *c, const char *name, const char *value)
{
    (void)!exchange_add_header(c->x, name, bytes_str(value));
}

static void reply_result(struct fn_call *c, const struct invoke *i)
{
    add(c, "Content-Type", "application/json");
    add(c, "X-Amz-Executed-Version", i->version);
    if (i->end == FN_ERROR) /* Lambda has not said "Handled" for years, whoever reports it */
        add(c, "X-Amz-Function-Error", "Unhandled");
    if (i->tail)
        add(c, "X-Amz-Log-Result", fn_base64(c, bytes_of(i->tail, i->tail_len)));
    c->replied = true;
    exchange_reply_bytes(c->x, 200, bytes_of(i->payload, i->payload_len));
}

static void answer(struct fn_call *c)
{
    const struct invoke *i = c->invoke;
    switch (i->end) {
    case FN_OK:
    case FN_ERROR:
        if (i->no_memory)
            fn_fail_err(c, KIST_E_NOMEM);
        else
            reply_result(c, i);
        break;
    case FN_THROTTLED:
        fn_fail(c, 429, "TooManyRequestsException", i->why ? i->why : "Rate Exceeded.");
        break;
    case FN_MISSING:
        fn_missing(c);
        break;
    case FN_BROKEN:
        fn_fail(c, 502, "EC2UnexpectedException", i->why ? i->why : "It cannot be started.");
        break;
    }
}

static void woken(struct exchange *x)
{
    answer(api_call_of(x)->state);
}

static uint8_t *copy(struct bytes b, size_t *len, bool *failed)
{
    uint8_t *p = malloc(b.len + 1);
    if (p && b.len)
        memcpy(p, b.ptr, b.len);
    *failed = *failed || !p;
    *len = b.len;
    return p;
}

/* From any thread. */
static void done(struct fn_invocation *call, const struct fn_result *result)
{
    struct invoke *i = CONTAINER_OF(call, struct invoke, call);
    i->end = result->end;
    i->why = result->why ? arena_strdup(i->c->arena, result->why) : NULL;
    i->payload = copy(result->payload, &i->payload_len, &i->no_memory);
    if (call->log_tail)
        i->tail = copy(result->log_tail, &i->tail_len, &i->no_memory);
    snprintf(i->version, sizeof(i->version), "%s", result->version ? result->version : FN_LATEST);
    exchange_wake(i->c->x, woken);
}

/* ---- the question ---- */

/* The function's policy may let others in. False after an error reply. */
static bool may_invoke(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    struct policy *policy = NULL;
    struct arena *arena = c->arena;
    enum kist_err err =
        registry_get(c->f, c->id.account, c->id.name, BYTES_EMPTY, arena, &latest, NULL);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND) {
        fn_fail_err(c, err);
        return false;
    }
    if (latest && !fn_policy_parsed(latest, c->id.qualifier, arena, &policy)) {
        fn_fail_err(c, KIST_E_CORRUPT);
        return false;
    }
    return fn_allowed(c, c->route->action, fn_arn(c, c->id.name, c->id.qualifier), c->id.account,
                      policy);
}

static bool client_context(struct fn_call *c, struct bytes *out)
{
    struct bytes header = exchange_header(c->x, "x-amz-client-context");
    uint8_t *text = arena_alloc(c->arena, header.len + 1);
    size_t len = 0;
    if (!header.len)
        return true;
    if (!text || header.len > CONTEXT_MAX ||
        base64_decode(header, text, header.len, &len) != KIST_OK ||
        !fn_is_json(bytes_of(text, len))) {
        fn_fail(c, 400, "InvalidRequestContentException",
                "Client context must be a valid Base64-encoded JSON object.");
        return false;
    }
    *out = bytes_of(text, len);
    return true;
}

static struct bytes payload_of(const struct fn_call *c)
{
    return c->call->body.len ? c->call->body : BYTES_LIT("{}");
}

/* False after an error reply. */
static bool payload_fits(struct fn_call *c, const char *type, size_t max)
{
    struct bytes payload = payload_of(c);
    if (payload.len > max) {
        fn_failf(c, 413, "RequestTooLargeException",
                 "%zu byte payload is too large for the %s invocation type (limit %zu bytes)",
                 payload.len, type, max);
        return false;
    }
    if (fn_is_json(payload))
        return true;
    fn_fail(c, 400, "InvalidRequestContentException",
            "Could not parse request body into json: the payload is no JSON.");
    return false;
}

/* What both forms of waiting have in common; done is the caller's. False after an error reply. */
static bool prepare(struct fn_call *c, struct fn_invocation *out)
{
    struct bytes tail = exchange_header(c->x, "x-amz-log-type"), context = BYTES_EMPTY;
    struct bytes trace = exchange_header(c->x, "traceparent");
    if (tail.len && !bytes_equal(tail, BYTES_LIT("Tail")) &&
        !bytes_equal(tail, BYTES_LIT("None"))) {
        fn_invalid(c, "X-Amz-Log-Type must be None or Tail.");
        return false;
    }
    if (!payload_fits(c, "RequestResponse", FN_SYNC_MAX) || !client_context(c, &context))
        return false;
    *out = (struct fn_invocation){ .arn = bytes_str(fn_arn(c, c->id.name, c->id.qualifier)),
                                   .payload = payload_of(c),
                                   .request_id = c->request_id,
                                   .trace = trace.len ? fn_str(c, trace) : NULL,
                                   .client_context = context,
                                   .log_tail = bytes_equal(tail, BYTES_LIT("Tail")),
                                   .lineage = fn_lineage(c->f, c->call) };
    if (!out->lineage || out->lineage->depth < FN_DEPTH_MAX)
        return true;
    fn_fail(
        c, 400, "RecursiveInvocationException",
        "The function is invoked in a recursive loop: functions invoked one another 16 times.");
    return false;
}

static void invoke_now(struct fn_call *c)
{
    struct fn_invocation call;
    struct invoke *i;
    if (!prepare(c, &call))
        return;
    i = calloc(1, sizeof(*i));
    if (!i) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    c->invoke = i;
    i->c = c;
    i->call = call;
    i->call.done = done;
    exchange_wait(c->x);
    functions_invoke(c->f, &i->call);
}

/* ---- as an event ---- */

static void accepted(struct fn_call *c)
{
    fn_reply_empty(c, 202);
}

static char *principal(struct fn_call *c)
{
    return arena_printf(c->arena, "AWS:%s", fn_str(c, c->call->who->user_id));
}

/* The call is in the log before it is answered. */
static void invoke_later(struct fn_call *c)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents change = KIST__CHANGE_EVENTS__INIT;
    Kist__Event event = KIST__EVENT__INIT, *events[] = { &event };
    Kist__Cause cause = KIST__CAUSE__INIT;
    if (!payload_fits(c, "Event", FN_ASYNC_MAX))
        return;
    struct bytes payload = payload_of(c), trace = exchange_header(c->x, "traceparent");
    event.kind = EVENT_INVOCATION;
    event.target = fn_arn(c, c->id.name, c->id.qualifier);
    event.owner = fn_str(c, c->call->who->id);
    event.time_ms = c->call->now_ms;
    event.payload = schema_data(payload);
    event.id = c->request_id;
    event.cause = &cause;
    cause.request_id = c->request_id;
    cause.principal = principal(c);
    cause.source_ip = fn_str(c, bytes_str(c->call->http->peer));
    cause.time_ms = c->call->now_ms;
    cause.trace = fn_str(c, trace);
    cause.lineage = (Kist__Lineage *)(uintptr_t)fn_lineage(c->f, c->call);
    change.n_added = 1;
    change.added = events;
    change.now_ms = c->call->now_ms;
    command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
    command.change_events = &change;
    if (!cause.principal)
        fn_fail_err(c, KIST_E_NOMEM);
    else
        fn_commit_command(c, &command, accepted);
}

/* ---- operations ---- */

void fn_invoke(struct fn_call *c)
{
    struct bytes type = exchange_header(c->x, "x-amz-invocation-type");
    struct function_found found = { 0 };
    if (!may_invoke(c) || !fn_load_qualified(c, &found))
        return;
    if (!type.len || bytes_equal(type, BYTES_LIT("RequestResponse")))
        invoke_now(c);
    else if (bytes_equal(type, BYTES_LIT("Event")))
        invoke_later(c);
    else if (bytes_equal(type, BYTES_LIT("DryRun")))
        fn_reply_empty(c, 204);
    else
        fn_invalid(c, "Invalid invocation type: it must be RequestResponse, Event or DryRun.");
}

void fn_invoke_async(struct fn_call *c)
{
    struct function_found found = { 0 };
    if (may_invoke(c) && fn_load_qualified(c, &found))
        invoke_later(c);
}

void fn_invoke_stream(struct fn_call *c)
{
    struct bytes type = exchange_header(c->x, "x-amz-invocation-type");
    struct function_found found = { 0 };
    struct fn_invocation call;
    if (!may_invoke(c) || !fn_load_qualified(c, &found))
        return;
    if (bytes_equal(type, BYTES_LIT("DryRun")))
        fn_reply_empty(c, 204);
    else if (type.len && !bytes_equal(type, BYTES_LIT("RequestResponse")))
        fn_invalid(c, "Invalid invocation type: it must be RequestResponse or DryRun.");
    else if (prepare(c, &call))
        fn_stream_start(c, &call, found.function->version);
}
