/* The front for services that share S3's port: it finds out which requests are theirs, checks
 * who sends them, reads the body, and hands over. See server/http/api.h. */
#include "server/s3/internal.h"

/* Bodies up to this are no matter; of larger ones (code, mostly) so much may be under way. */
#define SMALL_BODY ((uint64_t)1 << 20)
#define BODIES_MAX ((uint64_t)192 << 20)

struct guest {
    struct api_call call; /* first: the service knows no more */
    uint64_t held;        /* of the service's guest_bytes */
    struct s3_request *r;
    const struct api_service *service;
};

/* "lambda" of AKIA.../20260131/us-east-1/lambda/aws4_request, in a header, or in a query where
 * slashes may be escaped; empty: none is named. */
static struct bytes signed_for(const struct s3_request *r)
{
    struct bytes claim = exchange_header(r->x, "authorization");
    size_t end = SIZE_MAX, slash = 1;
    if (claim.len) {
        end = bytes_find(claim, BYTES_LIT("/aws4_request"), 0);
    } else if (r->http->query.len) {
        claim = r->http->query;
        end = bytes_find(claim, BYTES_LIT("%2Faws4_request"), 0);
        if (end == SIZE_MAX)
            end = bytes_find(claim, BYTES_LIT("/aws4_request"), 0);
        else
            slash = 3;
    }
    if (end == SIZE_MAX)
        return BYTES_EMPTY;
    size_t start = end;
    while (start > 0 && claim.ptr[start - 1] != '/' &&
           (slash == 1 || start < 3 || memcmp(claim.ptr + start - 3, "%2F", 3) != 0))
        start--;
    return bytes_of(claim.ptr + start, end - start);
}

const struct api_service *s3_guest_service(const struct s3_request *r)
{
    const struct s3_config *c = &r->service->config;
    struct bytes name = signed_for(r);
    bool ours = bytes_equal(name, BYTES_LIT("s3"));
    for (size_t i = 0; i < c->service_count; i++)
        if (c->services[i]->host && c->services[i]->host(c->services[i]->ctx, r->host))
            return c->services[i];
    for (size_t i = 0; name.len && !ours && i < c->service_count; i++)
        if (!c->services[i]->host && bytes_equal(name, bytes_str(c->services[i]->name)))
            return c->services[i];
    return NULL;
}

void s3_guest_refuse(struct s3_request *r, unsigned status, const char *code, const char *message)
{
    const struct api_service *service = r->guest->service;
    if (strcmp(code, "MaxMessageLengthExceeded") == 0) { /* S3's own word for it */
        status = 413;
        code = "RequestEntityTooLarge";
    }
    exchange_clear_headers(r->x);
    if (status == 503 || status == 429)
        (void)!exchange_add_header(r->x, "Retry-After", BYTES_LIT("1"));
    exchange_reply_bytes(r->x, status,
                         service->refuse(service->ctx, r->x, status, code, message));
}

/* ---- may they? ---- */

struct question {
    struct s3_request *r;
    struct bytes one;
};

static bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    struct question *q = ctx;
    struct api_call *call = q->r->guest ? &q->r->guest->call : NULL;
    q->one = BYTES_EMPTY;
    bool own = call && call->condition && call->condition(call, key, &q->one);
    if (!own && !s3_aws_key(q->r, key, &q->one))
        return false;
    *out = (struct policy_values){ &q->one, 1 };
    return q->one.len > 0;
}

static bool allowed(struct api_call *call, const char *action, struct bytes resource,
                    struct bytes account, const struct policy *resource_policy)
{
    const struct auth_identity *who = call->who;
    struct question asked = { .r = ((struct guest *)(void *)call)->r };
    struct policy_request request = { .principal = { .anonymous = !who->id.len,
                                                     .account = who->account,
                                                     .arn = who->arn,
                                                     .role = who->role,
                                                     .canonical = who->id },
                                      .action = bytes_str(action),
                                      .resource = resource,
                                      .context = context,
                                      .ctx = &asked };
    struct access_question question = { .request = &request,
                                        .bucket = resource_policy,
                                        .identity = who->policies,
                                        .identity_count = who->policy_count,
                                        .session = who->session,
                                        .is_account_root = who->is_root,
                                        .same_account = who->account.len > 0 &&
                                                        bytes_equal(who->account, account) };
    return access_is_allowed(&question);
}

/* ---- handing over ---- */

static void hand_over(struct s3_request *r)
{
    struct guest *g = r->guest;
    if (r->body)
        g->call.body = buf_bytes(&r->body->xml);
    g->call.who = r->who.identity;
    g->call.presigned = r->who.presigned;
    g->service->call(g->service->ctx, &g->call);
}

bool s3_guest_begin(struct s3_request *r, const struct api_service *service)
{
    struct guest *g = arena_zalloc(r->arena, sizeof(*g));
    if (!g) {
        exchange_abort(r->x);
        return false;
    }
    g->r = r;
    g->service = service;
    g->call.x = r->x;
    g->call.http = r->http;
    g->call.arena = r->arena;
    g->call.host = r->host;
    g->call.now_ms = s3_now(r);
    g->call.allowed = allowed;
    g->call.unsigned_allowed = service->host && service->host(service->ctx, r->host);
    r->guest = g;
    exchange_set_guest(r->x, &g->call);
    return true;
}

bool s3_guest_begin_for(struct s3_request *r, const struct api_service *service,
                        struct bytes resource)
{
    if (!s3_guest_begin(r, service))
        return false;
    r->guest->call.resource = resource;
    r->guest->call.unsigned_allowed = true;
    return true;
}

struct bytes s3_guest_name(const struct s3_request *r)
{
    return bytes_str(r->guest->service->name);
}

bool s3_guest_unsigned(const struct s3_request *r)
{
    return r->guest->call.unsigned_allowed;
}

/* Bodies are read whole: what all of them may take has a ceiling. */
static bool may_read(struct s3_request *r)
{
    struct guest *g = r->guest;
    uint64_t size = r->http->content_length;
    if (size == HTTP_LENGTH_UNKNOWN || size > g->service->body_max)
        size = g->service->body_max;
    if (size <= SMALL_BODY)
        return true;
    if (atomic_fetch_add(&r->service->guest_bytes, size) + size <= BODIES_MAX) {
        g->held = size;
        r->body_is_counted = true;
        return true;
    }
    atomic_fetch_sub(&r->service->guest_bytes, size);
    s3_guest_refuse(r, 503, "ServiceUnavailable", "Too many large requests at once.");
    return false;
}

void s3_guest_call(struct s3_request *r)
{
    if (r->http->content_length == 0)
        hand_over(r);
    else if (may_read(r))
        s3_read_xml(r, r->guest->service->body_max, hand_over);
}

void s3_guest_end(struct s3_request *r)
{
    struct guest *g = r->guest;
    if (g && g->service->end)
        g->service->end(g->service->ctx, &g->call);
    if (g)
        atomic_fetch_sub(&r->service->guest_bytes, g->held);
}
