#include "server/functions/url.h"

#include <stdio.h>
#include <time.h>

#include "storage/base/codec.h"

#define HEADERS_MAX 100

/* ---- the request ---- */

static json_t *text(struct bytes b)
{
    return json_stringn(b.len ? (const char *)b.ptr : "", b.len);
}

/* A name that came before gets the values with a comma between them. */
static bool add(json_t *object, struct bytes name, struct bytes value)
{
    const json_t *before = json_object_getn(object, (const char *)name.ptr, name.len);
    if (!before)
        return json_object_setn_new(object, (const char *)name.ptr, name.len, text(value)) == 0;
    json_t *both = json_sprintf("%s,%.*s", json_string_value(before), (int)value.len,
                                value.len ? (const char *)value.ptr : "");
    return both && json_object_setn_new(object, (const char *)name.ptr, name.len, both) == 0;
}

static bool add_headers(json_t *event, const struct api_call *call)
{
    json_t *headers = json_object(), *cookies = json_array();
    bool ok = headers && cookies;
    for (size_t i = 0; ok && i < call->http->header_count; i++) {
        const struct http_header *h = &call->http->headers[i];
        if (!bytes_equal(h->name, BYTES_LIT("cookie"))) {
            ok = add(headers, h->name, h->value);
            continue;
        }
        for (size_t at = 0; ok && at < h->value.len;) {
            size_t end = bytes_find(h->value, BYTES_LIT(";"), at);
            end = end == SIZE_MAX ? h->value.len : end;
            while (at < end && h->value.ptr[at] == ' ')
                at++;
            ok = json_array_append_new(cookies, text(bytes_of(h->value.ptr + at, end - at))) == 0;
            at = end + 1;
        }
    }
    ok = ok && json_object_set(event, "headers", headers) == 0;
    if (ok && json_array_size(cookies))
        ok = json_object_set(event, "cookies", cookies) == 0;
    json_decref(headers);
    json_decref(cookies);
    return ok;
}

static bool decode(struct arena *arena, struct bytes raw, struct bytes *out)
{
    return uri_decode_copy(arena, raw, true, out) == KIST_OK;
}

static bool add_query(json_t *event, const struct api_call *call)
{
    struct bytes query = call->http->query, name, value;
    json_t *params = json_object();
    bool ok = params != NULL;
    for (size_t at = 0; ok && at < query.len;) {
        size_t end = bytes_find(query, BYTES_LIT("&"), at);
        end = end == SIZE_MAX ? query.len : end;
        struct bytes part = bytes_of(query.ptr + at, end - at);
        size_t eq = bytes_find(part, BYTES_LIT("="), 0);
        eq = eq == SIZE_MAX ? part.len : eq;
        struct bytes rest = bytes_of(part.ptr + eq, part.len - eq);
        if (rest.len)
            rest = bytes_of(rest.ptr + 1, rest.len - 1);
        at = end + 1;
        if (part.len)
            ok = decode(call->arena, bytes_of(part.ptr, eq), &name) &&
                 decode(call->arena, rest, &value) && add(params, name, value);
    }
    if (ok && json_object_size(params))
        ok = json_object_set(event, "queryStringParameters", params) == 0;
    json_decref(params);
    return ok && json_object_set_new(event, "rawQueryString", text(query)) == 0;
}

static bool add_body(json_t *event, const struct api_call *call)
{
    struct bytes body = call->body;
    if (!body.len)
        return json_object_set_new(event, "isBase64Encoded", json_false()) == 0;
    bool plain = bytes_is_utf8(body) && !memchr(body.ptr, 0, body.len);
    json_t *shown = NULL;
    if (plain) {
        shown = text(body);
    } else {
        char *base64 = arena_alloc(call->arena, (body.len + 2) / 3 * 4 + 1);
        if (base64)
            base64_encode(body, base64);
        shown = base64 ? json_string(base64) : NULL;
    }
    return json_object_set_new(event, "body", shown) == 0 &&
           json_object_set_new(event, "isBase64Encoded", json_boolean(!plain)) == 0;
}

static json_t *authorizer(const struct auth_identity *who)
{
    return json_pack("{s:{s:o, s:o, s:n, s:n, s:o, s:o}}", "iam", "accountId", text(who->account),
                     "callerId", text(who->user_id), "cognitoIdentity", "principalOrgId",
                     "userArn", text(who->arn), "userId", text(who->user_id));
}

static json_t *context(const struct api_call *call, const Kist__FunctionUrl *url,
                       const char *request_id)
{
    char when[40];
    struct tm tm;
    time_t seconds = (time_t)(call->now_ms / 1000);
    struct bytes agent = exchange_header(call->x, "user-agent");
    bool known = call->who->id.len > 0;
    gmtime_r(&seconds, &tm);
    strftime(when, sizeof(when), "%d/%b/%Y:%H:%M:%S +0000", &tm);
    return json_pack(
        "{s:o, s:s, s:n, s:o*, s:o, s:s, s:{s:o, s:o, s:s, s:s, s:o}, s:s, s:s, s:s, s:s, s:I}",
        "accountId", known ? text(call->who->account) : json_string("anonymous"), "apiId",
        url->id, "authentication", "authorizer", known ? authorizer(call->who) : NULL,
        "domainName", text(call->host), "domainPrefix", url->id, "http", "method",
        text(call->http->method_name), "path", text(call->http->path), "protocol", "HTTP/1.1",
        "sourceIp", call->http->peer, "userAgent", text(agent), "requestId", request_id,
        "routeKey", "$default", "stage", "$default", "time", when, "timeEpoch",
        (json_int_t)call->now_ms);
}

json_t *url_event(const struct functions *f, struct api_call *call, const Kist__FunctionUrl *url,
                  const char *request_id)
{
    struct bytes path = BYTES_EMPTY;
    (void)f;
    json_t *event = json_pack("{s:s, s:s}", "version", "2.0", "routeKey", "$default");
    bool ok = event && decode(call->arena, call->http->path, &path) &&
              json_object_set_new(event, "rawPath", text(call->http->path)) == 0 &&
              add_headers(event, call) && add_query(event, call) &&
              json_object_set_new(event, "requestContext", context(call, url, request_id)) == 0 &&
              add_body(event, call);
    if (ok)
        return event;
    json_decref(event);
    return NULL;
}

/* ---- the reply ---- */

static struct bytes keep(struct arena *arena, const json_t *value)
{
    char *made = NULL;
    if (json_is_string(value))
        return arena_copy(arena, bytes_of(json_string_value(value), json_string_length(value)));
    if (json_is_integer(value))
        made = arena_printf(arena, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        made = arena_printf(arena, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        made = arena_printf(arena, "%s", json_is_true(value) ? "true" : "false");
    return made ? bytes_str(made) : BYTES_EMPTY;
}

static bool add_header(struct url_reply *r, struct arena *arena, const char *name,
                       struct bytes value)
{
    if (r->header_count == HEADERS_MAX)
        return false;
    if (!r->headers)
        r->headers = arena_zalloc(arena, HEADERS_MAX * sizeof(*r->headers));
    if (!r->headers || !value.ptr)
        return false;
    r->headers[r->header_count].name = arena_strdup(arena, name);
    r->headers[r->header_count].value = value;
    return r->headers[r->header_count++].name != NULL;
}

static bool read_headers(const json_t *root, const char *usual, struct arena *arena,
                         struct url_reply *out)
{
    const char *name;
    json_t *value;
    size_t i;
    bool typed = false;
    json_object_foreach(json_object_get(root, "headers"), name, value)
    {
        typed = typed || bytes_equal_nocase(bytes_str(name), BYTES_LIT("content-type"));
        if (!add_header(out, arena, name, keep(arena, value)))
            return false;
    }
    json_array_foreach(json_object_get(root, "cookies"), i, value)
    {
        if (!add_header(out, arena, "Set-Cookie", keep(arena, value)))
            return false;
    }
    return typed || add_header(out, arena, "Content-Type", bytes_str(usual));
}

static bool read_status(const json_t *root, struct url_reply *out)
{
    const json_t *status = json_object_get(root, "statusCode");
    json_int_t code = json_is_string(status)
                          ? (json_int_t)strtoll(json_string_value(status), NULL, 10)
                          : json_integer_value(status);
    if (!status)
        return true;
    out->status = (unsigned)code;
    return code >= 200 && code <= 599;
}

static bool read_body(const json_t *root, struct arena *arena, struct url_reply *out)
{
    const json_t *body = json_object_get(root, "body");
    if (!body || json_is_null(body))
        return true;
    out->body = keep(arena, body);
    if (!json_is_true(json_object_get(root, "isBase64Encoded")))
        return out->body.ptr != NULL;
    size_t len = 0;
    uint8_t *bytes = arena_alloc(arena, out->body.len + 1);
    if (!bytes || base64_decode(out->body, bytes, out->body.len, &len) != KIST_OK)
        return false;
    out->body = bytes_of(bytes, len);
    return true;
}

/* What has no statusCode is the body itself, in JSON; a string is sent without its quotes. */
bool url_reply_parse(struct bytes payload, struct arena *arena, struct url_reply *out)
{
    *out = (struct url_reply){ .status = 200 };
    json_t *root = json_loadb((const char *)payload.ptr, payload.len, JSON_DECODE_ANY, NULL);
    bool ok = root != NULL;
    if (ok && json_object_get(root, "statusCode")) {
        ok = read_status(root, out) && read_headers(root, "application/json", arena, out) &&
             read_body(root, arena, out);
    } else if (ok) {
        out->body = json_is_string(root) ? keep(arena, root) : arena_copy(arena, payload);
        ok = out->body.ptr &&
             add_header(out, arena, "Content-Type", BYTES_LIT("application/json"));
    }
    json_decref(root);
    return ok;
}

static const uint8_t zeros[8];

size_t url_prelude_len(struct bytes answer, size_t from)
{
    size_t at = bytes_find(answer, bytes_of(zeros, sizeof(zeros)), from);
    return at == SIZE_MAX ? at : at + sizeof(zeros);
}

bool url_prelude_parse(struct bytes answer, struct arena *arena, struct url_reply *out)
{
    *out = (struct url_reply){ .status = 200 };
    size_t len = url_prelude_len(answer, 0);
    if (len == SIZE_MAX)
        return false;
    json_t *root = json_loadb((const char *)answer.ptr, len - sizeof(zeros), 0, NULL);
    bool ok = json_is_object(root) && read_status(root, out) &&
              read_headers(root, "application/octet-stream", arena, out);
    json_decref(root);
    out->body = bytes_of(answer.ptr + len, answer.len - len);
    return ok;
}
