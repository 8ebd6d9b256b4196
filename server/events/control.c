#include "server/events/control.h"

#include <stdlib.h>

#define BODY_MAX ((size_t)64 << 10)
#define TARGET_PREFIX "Kist."
#define JSON_TYPE "application/x-amz-json-1.1"

struct control {
    struct control_config config;
    struct api_service service;
};

static const struct control_call *const tables[] = { target_calls, trace_calls, event_calls,
                                                     replay_calls };

/* ---- replies ---- */

static void set_type(struct exchange *x)
{
    /* Without it the body says the same. */
    (void)!exchange_add_header(x, "Content-Type", BYTES_LIT(JSON_TYPE));
}

static struct bytes dump(json_t *json, struct arena *arena)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct bytes out = text ? arena_copy(arena, bytes_str(text)) : BYTES_EMPTY;
    free(text);
    json_decref(json);
    return out;
}

static struct bytes error_body(struct arena *arena, const char *type, const char *message)
{
    return dump(json_pack("{s:s, s:s}", "__type", type, "message", message), arena);
}

void control_reply(struct control_request *r, json_t *json)
{
    struct bytes body = dump(json, r->call->arena);
    set_type(r->call->x);
    exchange_reply_bytes(r->call->x, body.len ? 200 : 500, body);
}

void control_fail(struct control_request *r, unsigned status, const char *type,
                  const char *message)
{
    message = arena_utf8(r->call->arena, message ? message : "");
    struct bytes body = error_body(r->call->arena, type, message ? message : "");
    set_type(r->call->x);
    exchange_reply_bytes(r->call->x, status, body);
}

void control_fail_err(struct control_request *r, enum kist_err err)
{
    if (err == KIST_E_CONFLICT)
        control_fail(r, 400, "ConflictException", "It was changed by somebody else meanwhile.");
    else if (err == KIST_E_SHUTDOWN || err == KIST_E_NOSPC || err == KIST_E_BUSY)
        control_fail(r, 503, "ServiceUnavailableException", kist_err_text(err));
    else
        control_fail(r, 500, "InternalFailure", kist_err_text(err));
}

bool control_allowed(struct control_request *r, const char *resource)
{
    const struct auth_identity *who = r->call->who;
    const char *action = r->what->action;
    const char *arn =
        arena_printf(r->call->arena, "arn:aws:kist:%s:%.*s:%s", r->config->region,
                     (int)who->account.len, (const char *)who->account.ptr, resource);
    if (arn && r->call->allowed(r->call, action, bytes_str(arn), who->account, NULL))
        return true;
    control_fail(r, 403, "AccessDeniedException",
                 arena_printf(r->call->arena,
                              "User: %.*s is not authorized to perform: %s on resource: %s",
                              (int)who->arn.len, (const char *)who->arn.ptr, action,
                              arn ? arn : "*"));
    return false;
}

/* ---- members ---- */

static bool wrong(struct control_request *r, const char *name, const char *what)
{
    control_fail(r, 400, "ValidationException",
                 arena_printf(r->call->arena, "%s must be %s.", name, what));
    return false;
}

bool control_text(struct control_request *r, const char *name, const char **out)
{
    const json_t *value = json_object_get(r->in, name);
    const char *text = json_string_value(value);
    if (!value) {
        *out = "";
        return true;
    }
    if (!text || strlen(text) != json_string_length(value))
        return wrong(r, name, "a string");
    *out = text; /* lives with r->in, as the request does */
    return true;
}

bool control_number(struct control_request *r, const char *name, uint64_t max, uint64_t *out)
{
    const json_t *value = json_object_get(r->in, name);
    json_int_t n = json_integer_value(value);
    if (!value)
        return true;
    if (!json_is_integer(value) || n < 0 || (uint64_t)n > max)
        return wrong(
            r, name,
            arena_printf(r->call->arena, "a whole number up to %llu", (unsigned long long)max));
    *out = (uint64_t)n;
    return true;
}

bool control_flag(struct control_request *r, const char *name, bool *out)
{
    const json_t *value = json_object_get(r->in, name);
    if (!value)
        return true;
    if (!json_is_boolean(value))
        return wrong(r, name, "true or false");
    *out = json_is_true(value);
    return true;
}

bool control_only(struct control_request *r, const char *names)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(r->in, name, value)
    {
        const char *wanted = arena_printf(r->call->arena, "|%.64s|", name);
        if (wanted && strstr(names, wanted))
            continue;
        control_fail(r, 400, "ValidationException",
                     arena_printf(r->call->arena, "There is no member %.64s.", name));
        return false;
    }
    return true;
}

/* ---- waiting ---- */

static void resume(struct exchange *x)
{
    struct control_request *r = api_call_of(x)->state;
    r->then(r);
}

void control_wait(struct control_request *r, void (*then)(struct control_request *r))
{
    r->then = then;
    exchange_wait(r->call->x);
}

void control_wake(struct control_request *r)
{
    exchange_wake(r->call->x, resume);
}

static void op_done(struct store_op *op)
{
    control_wake(op->user);
}

void control_commit(struct control_request *r, const Kist__Command *command,
                    void (*then)(struct control_request *r))
{
    if (r->op_used)
        store_op_release(&r->op);
    store_op_init(&r->op, op_done, r);
    r->op_used = true;
    control_wait(r, then);
    store_submit(r->config->store, &r->op, command);
}

/* ---- the service ---- */

static const struct control_call *find_call(struct bytes target)
{
    struct bytes prefix = BYTES_LIT(TARGET_PREFIX);
    if (!bytes_starts_with(target, prefix))
        return NULL;
    target = bytes_of(target.ptr + prefix.len, target.len - prefix.len);
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct control_call *c = tables[t]; c->name; c++)
            if (bytes_equal(bytes_str(c->name), target))
                return c;
    return NULL;
}

static void serve_call(void *ctx, struct api_call *call)
{
    const struct control *c = ctx;
    struct control_request *r = arena_zalloc(call->arena, sizeof(*r));
    if (!r) {
        exchange_reply_bytes(call->x, 500, BYTES_EMPTY);
        return;
    }
    r->config = &c->config;
    r->call = call;
    call->state = r;
    r->what = find_call(exchange_header(call->x, "x-amz-target"));
    r->in = call->body.len ? json_loadb((const char *)call->body.ptr, call->body.len,
                                        JSON_REJECT_DUPLICATES, NULL)
                           : json_object();
    if (!call->who->id.len)
        control_fail(r, 403, "MissingAuthenticationTokenException", "The request is not signed.");
    else if (!r->what)
        control_fail(r, 400, "UnknownOperationException", "The operation is not supported.");
    else if (!json_is_object(r->in))
        control_fail(r, 400, "SerializationException", "The request is not a JSON object.");
    else
        r->what->handle(r);
}

static void end_call(void *ctx, struct api_call *call)
{
    struct control_request *r = call->state;
    (void)ctx;
    if (!r)
        return;
    json_decref(r->in);
    if (r->op_used)
        store_op_release(&r->op);
}

static struct bytes refuse(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message)
{
    (void)ctx, (void)status;
    set_type(x);
    return error_body(exchange_arena(x), code, message);
}

enum kist_err control_open(const struct control_config *config, struct control **out)
{
    struct control *c = calloc(1, sizeof(*c));
    if (!c)
        return KIST_E_NOMEM;
    c->config = *config;
    c->service = (struct api_service){ .ctx = c,
                                       .name = "kist",
                                       .body_max = BODY_MAX,
                                       .call = serve_call,
                                       .end = end_call,
                                       .refuse = refuse };
    *out = c;
    return KIST_OK;
}

void control_close(struct control *c)
{
    free(c);
}

const struct api_service *control_service(const struct control *c)
{
    return &c->service;
}
