/* A role for who bears another issuer's token: no key, no signature. Until the token is proven,
 * nobody asks; what is looked up before is the provider, and what is told about it is what its
 * issuer could tell.
 * https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html */
#include "auth/oidc.h"
#include "server/s3/oidc_provider.h"
#include "server/s3/sts.h"

/* AWS's plain text limit of session policies, of which PackedPolicySize is a percentage. */
#define SESSION_POLICY_MAX 2048

struct web {
    const struct iam_call *call;
    struct bytes role_arn, session_name;
    struct sts_role role;
    struct jwt token;
    Kist__IamEntity *row; /* the provider's */
    struct oidc_provider provider;
    char *provider_arn;
    struct oidc_job job;
    bool fetched;
    bool turned_away; /* too many wait for keys */
};

static void invalid(struct s3_request *r, const char *why)
{
    iam_fail(r, 400, "InvalidIdentityToken", why);
}

static void denied(struct s3_request *r)
{
    iam_fail(r, 403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity");
}

/* ---- the role's trust ---- */

struct question {
    struct s3_request *r;
    const struct web *web;
    struct bytes one;
};

static bool claim(const struct web *w, struct bytes name, struct policy_values *out,
                  struct bytes *one)
{
    if (bytes_equal_nocase(name, BYTES_LIT("amr"))) {
        *out = (struct policy_values){ w->token.methods, w->token.method_count };
        return w->token.method_count > 0;
    }
    if (bytes_equal_nocase(name, BYTES_LIT("sub")))
        *one = w->token.subject;
    else if (bytes_equal_nocase(name, BYTES_LIT("aud")))
        *one = w->token.audience;
    else
        return false;
    *out = (struct policy_values){ one, 1 };
    return true;
}

static bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    struct question *q = ctx;
    struct bytes name = oidc_url_name(q->web->provider.issuer);
    if (key.len > name.len && key.ptr[name.len] == ':' &&
        bytes_equal_nocase(bytes_of(key.ptr, name.len), name))
        return claim(q->web, bytes_of(key.ptr + name.len + 1, key.len - name.len - 1), out,
                     &q->one);
    if (bytes_equal_nocase(key, BYTES_LIT("sts:RoleSessionName")))
        q->one = q->web->session_name;
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:FederatedProvider")))
        q->one = bytes_str(q->web->provider_arn);
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:SourceIp")))
        q->one = bytes_str(q->r->http->peer);
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:SecureTransport")))
        q->one = q->r->http->tls ? BYTES_LIT("true") : BYTES_LIT("false");
    else
        return false;
    *out = (struct policy_values){ &q->one, 1 };
    return true;
}

static bool trusts(struct s3_request *r, const struct web *w)
{
    struct policy *trust = NULL;
    const char *reason;
    struct question q = { .r = r, .web = w };
    struct policy_request request = {
        .principal = { .anonymous = true, .federated = bytes_str(w->provider_arn) },
        .action = BYTES_LIT("sts:AssumeRoleWithWebIdentity"),
        .resource = bytes_str(w->role.arn),
        .context = context,
        .ctx = &q,
    };
    return policy_parse(bytes_str(w->role.row->document), POLICY_TRUST, BYTES_EMPTY, r->arena,
                        &trust, &reason) == KIST_OK &&
           policy_evaluate(trust, &request) == POLICY_ALLOW;
}

/* ---- the session ---- */

static void give(struct s3_request *r, struct web *web)
{
    Kist__Session session;
    uint64_t seconds;
    struct bytes policy = s3_param(r, "Policy");
    if (sts_find_role(r, web->role_arn, &web->role) != KIST_OK || !trusts(r, web)) {
        denied(r);
        return;
    }
    if (!sts_duration(r, 900, web->role.row->max_session_s, 3600, &seconds) ||
        !sts_begin_session(r, &web->role, web->session_name, &session))
        return;
    session.web_provider = s3_str(r, oidc_url_name(web->provider.issuer));
    session.web_subject = s3_str(r, web->token.subject);
    session.web_audience = s3_str(r, web->token.audience);
    struct iam_work *w = iam_begin(r, web->call);
    if (!w || !sts_give_credentials(r, &w->x, &session, seconds))
        return;
    sts_xml_role_user(r, &w->x, &web->role, &session);
    if (policy.len)
        s3_xml_number(&w->x, "PackedPolicySize", (policy.len * 100 - 1) / SESSION_POLICY_MAX + 1);
    s3_xml_text(&w->x, "Provider", web->provider.issuer);
    s3_xml_text(&w->x, "Audience", web->token.audience);
    s3_xml_text(&w->x, "SubjectFromWebIdentityToken", web->token.subject);
    iam_finish(r, w);
}

/* ---- the token ---- */

static void refuse(struct s3_request *r, const struct web *w, enum kist_err err)
{
    char now[TIME_ISO_LEN], then[TIME_ISO_LEN];
    switch (err) {
    case KIST_E_TOKEN_EXPIRED:
        time_iso(s3_now(r), now);
        time_iso(w->token.expires_ms, then);
        iam_fail(r, 400, "ExpiredTokenException",
                 arena_printf(r->arena,
                              "Token expired: current date/time %s must be before the expiration "
                              "date/time %s",
                              now, then));
        break;
    case KIST_E_DENIED:
        iam_fail(r, 403, "IDPRejectedClaim", "The token is not valid yet");
        break;
    case KIST_E_IO:
        iam_fail(r, 400, "IDPCommunicationError",
                 "The identity provider could not be asked for its keys");
        break;
    case KIST_E_BUSY: /* asked already, and it has none */
    case KIST_E_NOT_FOUND:
        invalid(r, "Couldn't retrieve verification key from your identity provider, please "
                   "reference AssumeRoleWithWebIdentity documentation for requirements");
        break;
    case KIST_E_SIGNATURE:
        invalid(r, "The ID Token provided has an invalid signature");
        break;
    default:
        iam_fail_err(r, err);
        break;
    }
}

static void judge(struct s3_request *r, struct web *w);

static void resume(struct exchange *x)
{
    struct s3_request *r = exchange_user(x);
    struct web *w = r->state;
    if (w->turned_away)
        iam_fail_err(r, KIST_E_BUSY);
    else
        judge(r, w);
}

static void keys_came(struct oidc_job *job)
{
    struct s3_request *r = job->user;
    exchange_wake(r->x, resume);
}

static void wait_for_keys(struct s3_request *r, struct web *w)
{
    w->fetched = true;
    w->job = (struct oidc_job){ .provider = &w->provider, .done = keys_came, .user = r };
    exchange_wait(r->x);
    if (oidc_fetch(r->service->config.oidc, &w->job) != KIST_OK) {
        w->turned_away = true;
        exchange_wake(r->x, resume);
    }
}

static void judge(struct s3_request *r, struct web *w)
{
    enum kist_err err = oidc_check(r->service->config.oidc, &w->provider, &w->token);
    if (err == KIST_E_BUSY && !w->fetched)
        wait_for_keys(r, w);
    else if (err != KIST_OK)
        refuse(r, w, err);
    else if (!iam_list_has(w->row->n_audiences, w->row->audiences, s3_str(r, w->token.audience)))
        invalid(r, "Incorrect token audience");
    else
        give(r, w);
}

/* The provider in the role's account that the token says it is from. False after an error reply.
 */
static bool find_provider(struct s3_request *r, struct web *w)
{
    char name[OIDC_ROW_NAME_LEN + 1];
    oidc_row_name(oidc_url_name(w->token.issuer), name);
    enum kist_err err = KIST_E_NOT_FOUND;
    if (sts_role_name(r, w->role_arn, &w->role))
        err = store_iam(r->service->config.store, w->role.tenant, IAM_OIDC_PROVIDER,
                        bytes_str(name), r->arena, &w->row);
    if (err == KIST_E_NOT_FOUND ||
        (err == KIST_OK && !bytes_equal(bytes_str(w->row->issuer), w->token.issuer))) {
        invalid(r,
                arena_printf(r->arena, "No OpenIDConnect provider found in your account for %s",
                             s3_str(r, w->token.issuer)));
        return false;
    }
    char *id = arena_printf(r->arena, "%.*s/%s", (int)w->role.tenant.len,
                            w->role.tenant.len ? (const char *)w->role.tenant.ptr : "", name);
    w->provider_arn =
        err == KIST_OK ? oidc_provider_arn(r->arena, w->role.account, w->row) : NULL;
    if (err != KIST_OK || !id || !w->provider_arn) {
        iam_fail_err(r, err != KIST_OK ? err : KIST_E_NOMEM);
        return false;
    }
    w->provider = (struct oidc_provider){ .id = bytes_str(id),
                                          .changed = w->row->changed,
                                          .issuer = bytes_str(w->row->issuer),
                                          .thumbprint_count = w->row->n_thumbprints,
                                          .thumbprints = w->row->thumbprints };
    return true;
}

void sts_assume_role_with_web_identity(struct s3_request *r, const struct iam_call *call)
{
    struct bytes token = s3_param(r, "WebIdentityToken");
    struct web *w = arena_zalloc(r->arena, sizeof(*w));
    const char *problem;
    if (!w || !oidc_admit(r->service->config.oidc, bytes_str(r->http->peer))) {
        iam_fail_err(r, KIST_E_BUSY);
        return;
    }
    w->call = call;
    w->role_arn = s3_param(r, "RoleArn");
    r->state = w;
    if (!iam_name(r, "RoleSessionName", &w->session_name))
        return;
    if (token.len < JWT_LEN_MIN || token.len > JWT_LEN_MAX) {
        iam_fail(r, 400, "ValidationError",
                 "The value of WebIdentityToken must have a length of 4 to 20000.");
        return;
    }
    enum kist_err err = jwt_parse(token, r->arena, &w->token, &problem);
    if (err == KIST_E_TOKEN)
        invalid(r, problem);
    else if (err != KIST_OK)
        iam_fail_err(r, err);
    else if (find_provider(r, w))
        judge(r, w);
}
