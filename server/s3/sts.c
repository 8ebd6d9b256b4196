/* Temporary credentials.
 * https://docs.aws.amazon.com/STS/latest/APIReference/ */
#include "server/s3/sts.h"
#include "auth/users.h"

#define SESSION_POLICIES_MAX 10

static void get_caller_identity(struct s3_request *r, const struct iam_call *call)
{
    const struct auth_identity *who = r->who.identity;
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    s3_xml_text(&w->x, "Arn", who->arn);
    s3_xml_text(&w->x, "UserId", who->user_id);
    s3_xml_text(&w->x, "Account", who->account);
    iam_finish(r, w);
}

bool sts_duration(struct s3_request *r, uint64_t min, uint64_t max, uint64_t fallback,
                  uint64_t *seconds)
{
    struct bytes text = s3_param(r, "DurationSeconds");
    *seconds = fallback;
    if (!text.len || (bytes_to_u64(text, max, seconds) == KIST_OK && *seconds >= min))
        return true;
    iam_fail(r, 400, "ValidationError",
             "The requested DurationSeconds exceeds the MaxSessionDuration or is too short.");
    return false;
}

bool sts_give_credentials(struct s3_request *r, struct s3_xml *x, Kist__Session *session,
                          uint64_t seconds)
{
    struct bytes token;
    struct store *store = r->service->config.store;
    session->access_key = iam_new_id(r, "ASIA");
    session->secret = iam_new_secret(r);
    session->expires_ms = s3_now(r) + (int64_t)seconds * 1000;
    enum kist_err err = session_seal(auth_user_store_sealer(r->service->config.users),
                                     store_env(store), session, r->arena, &token);
    if (err != KIST_OK) {
        buf_release(&x->out);
        iam_fail(r, 400, "PackedPolicyTooLarge",
                 "The session policy exceeds the size that is allowed.");
        return false;
    }
    s3_xml_open(x, "Credentials");
    s3_xml_str(x, "AccessKeyId", session->access_key);
    s3_xml_str(x, "SecretAccessKey", session->secret);
    s3_xml_text(x, "SessionToken", token);
    s3_xml_time(x, "Expiration", session->expires_ms);
    s3_xml_close(x, "Credentials");
    return true;
}

static void get_session_token(struct s3_request *r, const struct iam_call *call)
{
    const struct auth_identity *who = r->who.identity;
    Kist__Session session = KIST__SESSION__INIT;
    uint64_t seconds;
    if (bytes_equal(who->type, BYTES_LIT("AssumedRole")) || who->session) {
        iam_fail(r, 403, "AccessDenied", "Cannot call GetSessionToken with session credentials");
        return;
    }
    if (!sts_duration(r, 900, 129600, 43200, &seconds))
        return;
    session.account = s3_str(r, who->tenant);
    if (who->user_name.len) {
        session.kind = IAM_USER;
        session.name = s3_str(r, who->user_name);
    }
    struct iam_work *w = iam_begin(r, call);
    if (w && sts_give_credentials(r, &w->x, &session, seconds))
        iam_finish(r, w);
}

/* Of a trust policy: beside what all policies may ask for, what the caller says. */
struct question {
    struct s3_request *r;
    struct bytes one;
};

static bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    struct question *q = ctx;
    const char *param = bytes_equal_nocase(key, BYTES_LIT("sts:ExternalId")) ? "ExternalId"
                        : bytes_equal_nocase(key, BYTES_LIT("sts:RoleSessionName"))
                            ? "RoleSessionName"
                            : NULL;
    *out = (struct policy_values){ &q->one, 1 };
    if (!param)
        return s3_aws_key(q->r, key, &q->one);
    q->one = s3_param(q->r, param);
    return q->one.len > 0;
}

bool sts_role_name(struct s3_request *r, struct bytes arn, struct sts_role *out)
{
    static const struct bytes head = { (const uint8_t *)"arn:aws:iam::", 13 };
    Kist__Account *account = NULL;
    if (!bytes_starts_with(arn, head) || arn.len < head.len + ACCOUNT_ID_LEN)
        return false;
    out->account = bytes_of(arn.ptr + head.len, ACCOUNT_ID_LEN);
    for (size_t i = head.len; i < arn.len; i++)
        if (arn.ptr[i] == '/')
            out->name = bytes_of(arn.ptr + i + 1, arn.len - i - 1);
    if (store_account(r->service->config.store, out->account, r->arena, &account) != KIST_OK)
        return false;
    out->tenant = account->first ? BYTES_EMPTY : out->account;
    return true;
}

enum kist_err sts_find_role(struct s3_request *r, struct bytes arn, struct sts_role *role)
{
    role->row = NULL;
    TRY(store_iam(r->service->config.store, role->tenant, IAM_ROLE, role->name, r->arena,
                  &role->row));
    role->arn = auth_iam_arn(role->account, IAM_ROLE, role->row, r->arena);
    return role->arn && bytes_equal(bytes_str(role->arn), arn) ? KIST_OK : KIST_E_NOT_FOUND;
}

/* The trust policy must let the caller in; his own policies must too, unless the trust policy of
 * a role of his own account names him and not the account. Even then they may deny it, and a
 * session's must allow it. */
static bool trusts(struct s3_request *r, const struct sts_role *role)
{
    const struct auth_identity *who = r->who.identity;
    struct policy *trust = NULL;
    const char *reason;
    struct question q = { .r = r };
    struct policy_request request = { .principal = { .account = who->account,
                                                     .arn = who->arn,
                                                     .role = who->role,
                                                     .canonical = who->id },
                                      .action = BYTES_LIT("sts:AssumeRole"),
                                      .resource = bytes_str(role->arn),
                                      .context = context,
                                      .ctx = &q };
    bool allowed = policy_parse(bytes_str(role->row->document), POLICY_TRUST, BYTES_EMPTY,
                                r->arena, &trust, &reason) == KIST_OK &&
                   policy_evaluate(trust, &request) == POLICY_ALLOW;
    if (allowed) {
        request.principal.account = BYTES_LIT("000000000000"); /* by name only */
        bool named = !who->is_root && bytes_equal(role->account, who->account) &&
                     policy_evaluate(trust, &request) == POLICY_ALLOW;
        return iam_allowed_or_named(r, "sts:AssumeRole", role->arn, named);
    }
    iam_fail(r, 403, "AccessDenied",
             arena_printf(r->arena,
                          "User: %s is not authorized to perform: sts:AssumeRole on resource: %s",
                          s3_str(r, who->arn), role->arn));
    return false;
}

/* PolicyArns.member.N.arn: managed policies of the role's account. False after an error reply. */
static bool add_managed(struct s3_request *r, const struct sts_role *role, Kist__Session *out)
{
    for (size_t i = 1;; i++) {
        char *param = arena_printf(r->arena, "PolicyArns.member.%zu.arn", i);
        Kist__IamEntity *p = NULL;
        if (!param || !s3_has_param(r, param))
            return true;
        struct bytes arn = s3_param(r, param);
        if (i > SESSION_POLICIES_MAX) {
            iam_fail(r, 400, "ValidationError",
                     "1 validation error detected: Value at 'policyArns' failed to satisfy "
                     "constraint: Member must have length less than or equal to 10");
            return false;
        }
        enum kist_err err = iam_policy_by_arn(r, role->account, role->tenant, arn, &p);
        if (err == KIST_E_NOT_FOUND) {
            iam_fail(r, 400, "ValidationError",
                     arena_printf(r->arena, "Policy %s does not exist.", s3_str(r, arn)));
            return false;
        }
        if (err != KIST_OK ||
            !iam_list_add(r->arena, &out->n_policies, &out->policies, p->name)) {
            iam_fail_err(r, err == KIST_OK ? KIST_E_NOMEM : err);
            return false;
        }
    }
}

bool sts_begin_session(struct s3_request *r, const struct sts_role *role,
                       struct bytes session_name, Kist__Session *out)
{
    kist__session__init(out);
    out->kind = IAM_ROLE;
    out->account = s3_str(r, role->tenant);
    out->name = role->row->name;
    out->session_name = s3_str(r, session_name);
    if (!add_managed(r, role, out))
        return false;
    if (!s3_param(r, "Policy").len)
        return true;
    out->policy = iam_document(r, "Policy", POLICY_IDENTITY);
    return out->policy != NULL;
}

void sts_xml_role_user(struct s3_request *r, struct s3_xml *x, const struct sts_role *role,
                       const Kist__Session *session)
{
    s3_xml_open(x, "AssumedRoleUser");
    s3_xml_str(x, "AssumedRoleId",
               arena_printf(r->arena, "%s:%s", role->row->id, session->session_name));
    s3_xml_str(x, "Arn",
               arena_printf(r->arena, "arn:aws:sts::%.12s:assumed-role/%s/%s",
                            (const char *)role->account.ptr, session->name,
                            session->session_name));
    s3_xml_close(x, "AssumedRoleUser");
}

static void assume_role(struct s3_request *r, const struct iam_call *call)
{
    struct bytes arn = s3_param(r, "RoleArn"), session_name;
    struct sts_role role = { .name = BYTES_EMPTY };
    Kist__Session session;
    uint64_t seconds;
    if (!iam_name(r, "RoleSessionName", &session_name))
        return;
    if (!sts_role_name(r, arn, &role) || sts_find_role(r, arn, &role) != KIST_OK) {
        iam_fail(r, 403, "AccessDenied", "Not authorized to perform sts:AssumeRole");
        return;
    }
    if (!trusts(r, &role) || !sts_duration(r, 900, role.row->max_session_s, 3600, &seconds) ||
        !sts_begin_session(r, &role, session_name, &session))
        return;
    struct iam_work *w = iam_begin(r, call);
    if (!w || !sts_give_credentials(r, &w->x, &session, seconds))
        return;
    sts_xml_role_user(r, &w->x, &role, &session);
    iam_finish(r, w);
}

const struct iam_call sts_calls[] = {
    { "GetCallerIdentity", get_caller_identity, IAM_USER },
    { "GetSessionToken", get_session_token, IAM_USER },
    { "AssumeRole", assume_role, IAM_ROLE },
    { "AssumeRoleWithWebIdentity", sts_assume_role_with_web_identity, IAM_ROLE },
    { NULL, NULL, IAM_USER },
};
