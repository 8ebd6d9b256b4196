/* Function URLs: whoever may, invokes a function by plain HTTP.
 * https://docs.aws.amazon.com/lambda/latest/dg/lambda-urls.html */
#include "server/functions/url.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/functions/control.h"
#include "server/functions/stream.h"
#include "storage/base/codec.h"

/* With base64 it still is a payload that Lambda takes. */
#define BODY_MAX ((size_t)4 << 20)
#define PRELUDE_MAX ((size_t)64 << 10) /* of a streamed answer */

struct visit {
    struct functions *f;
    struct api_call *call;
    Kist__FunctionUrl *url;
    struct function_id id;
    char request_id[37];
    struct fn_invocation invocation;
    struct buf payload;
    enum fn_end end;
    uint8_t *answer; /* a copy: the result does not outlive done() */
    size_t answer_len;
    bool integration;         /* it has FN_INTEGRATION_TYPE */
    struct fn_stream *stream; /* InvokeMode RESPONSE_STREAM; NULL: BUFFERED */
    json_t *cors;             /* NULL: none */
};

/* ---- replies ---- */

static void add(struct visit *v, const char *name, struct bytes value)
{
    (void)!exchange_add_header(v->call->x, name, value);
}

static void fail(struct visit *v, unsigned status, const char *message)
{
    char *body = arena_printf(v->call->arena, "{\"Message\":\"%s\"}", message);
    add(v, "Content-Type", BYTES_LIT("application/json"));
    exchange_reply_bytes(v->call->x, status, bytes_str(body ? body : "{}"));
}

static struct bytes refuse(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message)
{
    (void)ctx, (void)status, (void)code;
    char *body = arena_printf(exchange_arena(x), "{\"Message\":\"%s\"}", message);
    (void)!exchange_add_header(x, "Content-Type", BYTES_LIT("application/json"));
    return bytes_str(body ? body : "{}");
}

/* ---- CORS ---- */

static bool fits(const json_t *list, struct bytes value)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        const char *text = json_string_value(one);
        if (text && (strcmp(text, "*") == 0 || bytes_equal_nocase(bytes_str(text), value)))
            return true;
    }
    return false;
}

static void add_list(struct visit *v, const char *header, const json_t *list)
{
    struct buf all;
    size_t i;
    json_t *one;
    bool ok = json_array_size(list) > 0;
    buf_init(&all, 8192);
    json_array_foreach(list, i, one)
    {
        ok = ok && buf_printf(&all, "%s%s", i ? "," : "",
                              json_string_value(one) ? json_string_value(one) : "") == KIST_OK;
    }
    if (ok)
        add(v, header, buf_bytes(&all));
    buf_release(&all);
}

/* True: the origin is welcome. */
static bool cors_headers(struct visit *v)
{
    struct bytes origin = exchange_header(v->call->x, "origin");
    if (!v->cors || !origin.len || !fits(json_object_get(v->cors, "AllowOrigins"), origin))
        return false;
    add(v, "Access-Control-Allow-Origin", origin);
    add(v, "Vary", BYTES_LIT("Origin"));
    if (json_is_true(json_object_get(v->cors, "AllowCredentials")))
        add(v, "Access-Control-Allow-Credentials", BYTES_LIT("true"));
    add_list(v, "Access-Control-Expose-Headers", json_object_get(v->cors, "ExposeHeaders"));
    return true;
}

/* A browser's question before the request, which the function never sees. */
static bool preflight(struct visit *v)
{
    struct bytes method = exchange_header(v->call->x, "access-control-request-method");
    const json_t *age = json_object_get(v->cors, "MaxAge");
    if (!v->cors || v->call->http->method != HTTP_OPTIONS || !method.len)
        return false;
    if (cors_headers(v) && fits(json_object_get(v->cors, "AllowMethods"), method)) {
        add(v, "Access-Control-Allow-Methods", method);
        struct bytes asked = exchange_header(v->call->x, "access-control-request-headers");
        const json_t *headers = json_object_get(v->cors, "AllowHeaders");
        if (asked.len && fits(headers, BYTES_LIT("*")))
            add(v, "Access-Control-Allow-Headers", asked);
        else
            add_list(v, "Access-Control-Allow-Headers", headers);
        if (json_is_integer(age))
            add(v, "Access-Control-Max-Age",
                bytes_str(
                    arena_printf(v->call->arena, "%lld", (long long)json_integer_value(age))));
    }
    exchange_reply_bytes(v->call->x, 200, BYTES_EMPTY);
    return true;
}

/* ---- the answer ---- */

/* The function's own CORS headers would come twice, and how its answer gets to the client is not
 * for it to say (RFC 9110 section 7.6.1). */
static bool is_ours(const struct visit *v, const char *name)
{
    static const char *const hop[] = { "content-length", "connection",        "keep-alive", "te",
                                       "trailer",        "transfer-encoding", "upgrade" };
    for (size_t i = 0; i < ARRAY_LEN(hop); i++)
        if (strcasecmp(name, hop[i]) == 0)
            return true;
    return v->cors && strncasecmp(name, "access-control-", 15) == 0;
}

static void add_reply_headers(struct visit *v, const struct url_reply *reply)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (!is_ours(v, reply->headers[i].name))
            add(v, reply->headers[i].name, reply->headers[i].value);
}

/* True after a reply. */
static bool failed(struct visit *v, enum fn_end how)
{
    if (how == FN_OK)
        return false;
    if (how == FN_THROTTLED) {
        add(v, "Retry-After", BYTES_LIT("1"));
        fail(v, 429, "Too Many Requests");
    } else {
        fail(v, 502, "Internal Server Error");
    }
    return true;
}

static void answer(struct exchange *x)
{
    struct visit *v = api_call_of(x)->state;
    struct bytes payload = bytes_of(v->answer, v->answer_len);
    struct url_reply reply;
    add(v, "x-amzn-RequestId", bytes_str(v->request_id));
    cors_headers(v);
    if (failed(v, v->end))
        return;
    if (!v->answer || !(v->integration ? url_prelude_parse(payload, v->call->arena, &reply)
                                       : url_reply_parse(payload, v->call->arena, &reply))) {
        fail(v, 502, "Internal Server Error");
        return;
    }
    add_reply_headers(v, &reply);
    exchange_reply_bytes(x, reply.status, reply.body);
}

/* From any thread. */
static void done(struct fn_invocation *i, const struct fn_result *result)
{
    struct visit *v = i->user;
    v->end = result->end;
    v->integration = bytes_equal_nocase(result->content_type, BYTES_LIT(FN_INTEGRATION_TYPE));
    v->answer = malloc(result->payload.len + 1);
    v->answer_len = result->payload.len;
    if (v->answer && result->payload.len)
        memcpy(v->answer, result->payload.ptr, result->payload.len);
    exchange_wake(v->call->x, answer);
}

/* ---- RESPONSE_STREAM ---- */

static enum kist_err stream_piece(struct fn_stream *s, struct bytes piece)
{
    TRY(buf_append_bytes(&s->queue, piece));
    bool endless = s->integration && !s->begun && s->queue.len > PRELUDE_MAX + piece.len;
    return endless ? KIST_E_TOO_LARGE : KIST_OK;
}

/* The head of the reply is there; a body without one may go at once. */
static bool stream_ready(struct fn_stream *s)
{
    size_t from = s->looked;
    s->looked = s->queue.len > 7 ? s->queue.len - 7 : 0; /* the zeros may come in two pieces */
    return !s->integration || url_prelude_len(buf_bytes(&s->queue), from) != SIZE_MAX;
}

/* What fails in the middle of its body is cut. */
static enum kist_err stream_end(struct fn_stream *s, const struct fn_result *r)
{
    if (r->end != FN_OK)
        return s->begun ? KIST_E_INVALID : KIST_OK;
    return buf_append_bytes(&s->queue, r->payload);
}

/* s->lock is held. The reply as it begins, from what is in the queue; false: it is none. */
static bool stream_head(struct visit *v, struct url_reply *reply, bool *whole)
{
    struct fn_stream *s = v->stream;
    struct bytes there = buf_bytes(&s->queue);
    *reply = (struct url_reply){ .status = 200 };
    *whole = s->done && !s->streamed; /* in the form of any function's answer */
    if (s->broken)
        return false;
    if (*whole)
        return url_reply_parse(there, v->call->arena, reply);
    if (!s->integration) {
        add(v, "Content-Type",
            s->type[0] ? bytes_str(s->type) : BYTES_LIT("application/octet-stream"));
        return true;
    }
    if (!url_prelude_parse(there, v->call->arena, reply))
        return false;
    s->taken = url_prelude_len(there, 0);
    return true;
}

static void stream_begin(struct exchange *x)
{
    struct visit *v = api_call_of(x)->state;
    struct fn_stream *s = v->stream;
    struct url_reply reply;
    bool whole;
    add(v, "x-amzn-RequestId", bytes_str(v->request_id));
    cors_headers(v);
    pthread_mutex_lock(&s->lock);
    enum fn_end how = s->done ? s->end : FN_OK;
    bool sound = how != FN_OK || stream_head(v, &reply, &whole);
    pthread_mutex_unlock(&s->lock);
    if (failed(v, how))
        return;
    if (!sound) {
        fail(v, 502, "Internal Server Error");
        return;
    }
    add_reply_headers(v, &reply);
    if (whole)
        exchange_reply_bytes(x, reply.status, reply.body);
    else
        fn_stream_send(s, x, reply.status);
}

static void stream(struct visit *v)
{
    static const struct fn_stream_form form = {
        .piece = stream_piece, .end = stream_end, .ready = stream_ready, .begin = stream_begin
    };
    v->stream = fn_stream_new(v->call->x, &v->invocation, &form);
    if (v->stream)
        fn_stream_run(v->f, v->stream);
    else
        fail(v, 503, "Service Unavailable");
}

/* ---- the invocation ---- */

static void new_request_id(struct visit *v)
{
    uint8_t random[16];
    char hex[33];
    struct env *env = store_env(v->f->store);
    env->random(env, random, sizeof(random));
    random[6] = (uint8_t)((random[6] & 0x0f) | 0x40); /* RFC 9562 section 5.4 */
    random[8] = (uint8_t)((random[8] & 0x3f) | 0x80);
    hex_encode(bytes_of(random, sizeof(random)), hex);
    snprintf(v->request_id, sizeof(v->request_id), "%.8s-%.4s-%.4s-%.4s-%s", hex, hex + 8,
             hex + 12, hex + 16, hex + 20);
}

static void invoke(struct visit *v)
{
    struct bytes trace = exchange_header(v->call->x, "traceparent");
    const Kist__Lineage *lineage = fn_lineage(v->f, v->call);
    if (lineage && lineage->depth >= FN_DEPTH_MAX) {
        fail(v, 508, "Loop Detected");
        return;
    }
    json_t *event = url_event(v->f, v->call, v->url, v->request_id);
    bool made = event != NULL;
    char *text = made ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    buf_init(&v->payload, FN_SYNC_MAX);
    bool fit = text && buf_append_str(&v->payload, text) == KIST_OK;
    free(text);
    if (!fit) {
        fail(v, made ? 413 : 400, made ? "Request Entity Too Large" : "Bad Request");
        return;
    }
    v->invocation = (struct fn_invocation){
        .arn = bytes_str(function_arn(v->f, &v->id, v->call->arena)),
        .payload = buf_bytes(&v->payload),
        .request_id = v->request_id,
        .trace = trace.len ? arena_strndup(v->call->arena, trace.ptr, trace.len) : NULL,
        .lineage = lineage,
        .done = done,
        .user = v
    };
    if (v->url->streams) {
        stream(v);
        return;
    }
    exchange_wait(v->call->x);
    functions_invoke(v->f, &v->invocation);
}

/* ---- who may ---- */

static bool condition(struct api_call *call, struct bytes key, struct bytes *value)
{
    const struct visit *v = call->state;
    if (!bytes_equal_nocase(key, BYTES_LIT("lambda:FunctionUrlAuthType")))
        return false;
    *value = bytes_str(v->url->iam ? "AWS_IAM" : "NONE");
    return true;
}

static bool may(struct visit *v)
{
    struct function_found found = { 0 };
    struct policy *policy = NULL;
    v->id = (struct function_id){ bytes_str(v->url->account), bytes_str(v->url->function),
                                  bytes_str(v->url->qualifier) };
    if (registry_find(v->f, &v->id, v->call->arena, &found) != KIST_OK ||
        !fn_policy_parsed(found.latest, v->id.qualifier, v->call->arena, &policy))
        return false;
    char *arn = function_arn(v->f, &v->id, v->call->arena);
    if (!arn || (v->url->iam && !v->call->who->id.len))
        return false;
    v->call->condition = condition;
    return v->call->allowed(v->call, "lambda:InvokeFunctionUrl", bytes_str(arn), v->id.account,
                            policy);
}

/* ---- the service ---- */

/* "<id>.lambda-url.<region>.<domain>"; empty: another name. */
static struct bytes id_of(const struct functions *f, struct bytes host)
{
    static const struct bytes middle = { (const uint8_t *)".lambda-url.", 12 };
    struct bytes region = bytes_str(f->config.region), domain = bytes_str(f->config.domain);
    size_t at = bytes_find(host, middle, 0);
    if (at == SIZE_MAX || host.len != at + middle.len + region.len + 1 + domain.len)
        return BYTES_EMPTY;
    const uint8_t *tail = host.ptr + at + middle.len;
    if (!bytes_equal(bytes_of(tail, region.len), region) || tail[region.len] != '.' ||
        !bytes_equal_nocase(bytes_of(tail + region.len + 1, domain.len), domain))
        return BYTES_EMPTY;
    return bytes_of(host.ptr, at);
}

static bool is_host(void *ctx, struct bytes host)
{
    return id_of(ctx, host).len > 0;
}

static struct visit *begin(struct functions *f, struct api_call *c)
{
    struct visit *v = arena_zalloc(c->arena, sizeof(*v));
    if (!v) {
        exchange_abort(c->x);
        return NULL;
    }
    v->f = f;
    v->call = c;
    c->state = v;
    new_request_id(v);
    return v;
}

static void call(void *ctx, struct api_call *c)
{
    struct functions *f = ctx;
    struct visit *v = begin(f, c);
    if (!v)
        return;
    if (registry_url(f, id_of(f, c->host), c->arena, &v->url, NULL) != KIST_OK) {
        v->url = NULL;
        fail(v, 403, "Forbidden");
        return;
    }
    if (v->url->cors.len)
        v->cors = json_loadb((const char *)v->url->cors.data, v->url->cors.len, 0, NULL);
    if (preflight(v))
        return;
    if (may(v)) {
        invoke(v);
        return;
    }
    cors_headers(v);
    fail(v, 403, "Forbidden");
}

/* A website's path is as open as a URL without authentication: the function's policy must let
 * everybody in by lambda:InvokeFunctionUrl. */
static void site_call(void *ctx, struct api_call *c)
{
    struct visit *v = begin(ctx, c);
    struct function_id id;
    Kist__FunctionUrl *url = v ? arena_alloc(c->arena, sizeof(*url)) : NULL;
    if (!v)
        return;
    if (!url || function_id_parse(c->resource, &id) != KIST_OK) {
        fail(v, url ? 502 : 503, url ? "Internal Server Error" : "Service Unavailable");
        return;
    }
    kist__function_url__init(url);
    url->account = arena_strndup(c->arena, id.account.ptr, id.account.len);
    url->function = arena_strndup(c->arena, id.name.ptr, id.name.len);
    url->qualifier = id.qualifier.len
                         ? arena_strndup(c->arena, id.qualifier.ptr, id.qualifier.len)
                         : (char *)"";
    url->id = url->function;
    v->url = url;
    if (!url->account || !url->function || !url->qualifier)
        fail(v, 503, "Service Unavailable");
    else if (may(v))
        invoke(v);
    else
        fail(v, 403, "Forbidden");
}

static void end(void *ctx, struct api_call *c)
{
    struct visit *v = c->state;
    (void)ctx;
    if (!v)
        return;
    json_decref(v->cors);
    buf_release(&v->payload);
    free(v->answer);
    fn_stream_drop(v->stream);
}

void functions_urls_init(struct functions *f)
{
    f->urls = (struct api_service){ .ctx = f,
                                    .name = "lambda",
                                    .body_max = BODY_MAX,
                                    .call = call,
                                    .end = end,
                                    .refuse = refuse,
                                    .host = is_host };
    f->sites = f->urls;
    f->sites.call = site_call;
    f->sites.host = NULL;
}
