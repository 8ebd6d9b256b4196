/* The front for services that share S3's port: it finds out which requests are theirs, checks
 * who sends them, reads the body, and hands over. See server/http/api.h. */
#include "server/s3/internal.h"

struct guest {
    struct api_call call; /* first: the service knows no more */
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
    exchange_reply_bytes(r->x, status,
                         service->refuse(service->ctx, r->x, status, code, message));
}

/* ---- may they? ---- */

struct question {
    struct s3_request *r;
    struct bytes one;
    char text[TIME_ISO_LEN];
};

static bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    struct question *q = ctx;
    const struct auth_identity *who = q->r->who.identity;
    struct api_call *call = q->r->guest ? &q->r->guest->call : NULL;
    q->one = BYTES_EMPTY;
    if (call && call->condition && call->condition(call, key, &q->one))
        ;
    else if (auth_web_key(who, key, &q->one))
        ;
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:SourceIp")))
        q->one = bytes_str(q->r->http->peer);
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:SecureTransport")))
        q->one = bytes_str(q->r->http->tls ? "true" : "false");
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:UserAgent")))
        q->one = exchange_header(q->r->x, "user-agent");
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:RequestedRegion")))
        q->one = bytes_str(q->r->service->config.region);
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:CurrentTime"))) {
        time_iso(s3_now(q->r), q->text);
        q->one = bytes_str(q->text);
    } else if (bytes_equal_nocase(key, BYTES_LIT("aws:username")))
        q->one = who->user_name;
    else if (who->id.len && bytes_equal_nocase(key, BYTES_LIT("aws:userid")))
        q->one = who->user_id;
    else if (who->id.len && bytes_equal_nocase(key, BYTES_LIT("aws:PrincipalArn")))
        q->one = who->arn;
    else if (who->id.len && bytes_equal_nocase(key, BYTES_LIT("aws:PrincipalAccount")))
        q->one = who->account;
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:PrincipalType")))
        q->one = who->id.len ? who->type : BYTES_LIT("Anonymous");
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

struct bytes s3_guest_name(const struct s3_request *r)
{
    return bytes_str(r->guest->service->name);
}

bool s3_guest_unsigned(const struct s3_request *r)
{
    return r->guest->call.unsigned_allowed;
}

void s3_guest_call(struct s3_request *r)
{
    if (r->http->content_length == 0)
        hand_over(r);
    else
        s3_read_xml(r, r->guest->service->body_max, hand_over);
}

void s3_guest_end(struct s3_request *r)
{
    struct guest *g = r->guest;
    if (g && g->service->end)
        g->service->end(g->service->ctx, &g->call);
}
