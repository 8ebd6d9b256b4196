/* What handlers do with one call of Lambda's API: what they read of it, and what they reply. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/functions/control.h"
#include "storage/base/codec.h"
#include "storage/base/trace.h"

/* ---- replies ---- */

void fn_add_header(struct fn_call *c, const char *name, const char *value)
{
    if (exchange_add_header(c->x, name, bytes_str(value)) != KIST_OK)
        TRACE(TRACE_ERROR, "functions", "no room for the header %s", name);
}

struct bytes fn_error_body(struct arena *arena, unsigned status, const char *message)
{
    message = arena_utf8(arena, message);
    if (!message)
        return BYTES_EMPTY;
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
    fn_add_header(c, "Content-Type", "application/json");
    fn_add_header(c, "x-amzn-ErrorType", code);
    if (status == 429)
        fn_add_header(c, "Retry-After", "1");
    c->replied = true;
    exchange_reply_bytes(c->x, status, fn_error_body(c->arena, status, message ? message : ""));
}

__attribute__((format(printf, 4, 0))) static void fail_v(struct fn_call *c, unsigned status,
                                                         const char *code, const char *format,
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
    fn_add_header(c, "Content-Type", "application/json");
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

struct bytes fn_decode(struct fn_call *c, struct bytes raw, bool plus)
{
    struct bytes out;
    if (uri_decode_copy(c->arena, raw, plus, &out) != KIST_OK || memchr(out.ptr, 0, out.len) ||
        !bytes_is_utf8(out))
        return BYTES_EMPTY;
    return out;
}

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
        if (bytes_equal(fn_decode(c, key, true), bytes_str(name)) && n-- == 0)
            return fn_decode(c, value, true);
    }
    return BYTES_EMPTY;
}

struct bytes fn_param(struct fn_call *c, const char *name)
{
    return fn_param_at(c, name, 0);
}

const Kist__Lineage *fn_lineage(struct functions *f, const struct api_call *call)
{
    return functions_lineage_of(f, call->http->tag, call->who, call->arena);
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
