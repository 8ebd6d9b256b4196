#include "server/s3/sts.h"

#include "auth/users.h"

#define FORM_MAX ((size_t)256 << 10)
/* A token, a policy, and all of it percent-encoded. */
#define UNSIGNED_FORM_MAX ((size_t)64 << 10)
#define POLICY_DOCUMENT_MAX 10240

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

static bool is_sts(const struct s3_request *r)
{
    return bytes_find(r->who.scope, BYTES_LIT("/sts/"), 0) != SIZE_MAX;
}

static const char *namespace_of(const struct s3_request *r)
{
    return is_sts(r) ? "https://sts.amazonaws.com/doc/2011-06-15/"
                     : "https://iam.amazonaws.com/doc/2010-05-08/";
}

/* ---- replies ---- */

void iam_fail(struct s3_request *r, unsigned status, const char *code, const char *message)
{
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, NULL);
    x.failed = buf_printf(&x.out, "<ErrorResponse xmlns=\"%s\">", namespace_of(r)) != KIST_OK;
    s3_xml_open(&x, "Error");
    s3_xml_str(&x, "Type", status < 500 ? "Sender" : "Receiver");
    s3_xml_str(&x, "Code", code);
    s3_xml_str(&x, "Message", message);
    s3_xml_close(&x, "Error");
    s3_xml_str(&x, "RequestId", exchange_id(r->x));
    s3_xml_close(&x, "ErrorResponse");
    struct bytes body = arena_copy(r->arena, buf_bytes(&x.out));
    buf_release(&x.out);
    s3_add_header_str(r, "Content-Type", "text/xml");
    exchange_reply_bytes(r->x, status, body);
}

void iam_fail_err(struct s3_request *r, enum kist_err err)
{
    switch (err) {
    case KIST_E_CONFLICT:
        iam_fail(r, 409, "ConcurrentModification",
                 "The request was rejected because multiple requests to change this object were "
                 "submitted simultaneously. Wait a few minutes and submit your request again.");
        break;
    case KIST_E_BUCKET_NOT_EMPTY:
        iam_fail(r, 409, "DeleteConflict",
                 "Cannot delete an account that owns buckets, users, groups, roles or policies.");
        break;
    case KIST_E_BUCKET_STATE:
        iam_fail(r, 409, "DeleteConflict", "Cannot delete the first account.");
        break;
    case KIST_E_NOMEM:
    case KIST_E_BUSY:
        iam_fail(r, 400, "Throttling", "Rate exceeded");
        break;
    case KIST_E_TOO_LARGE:
        iam_fail(r, 409, "LimitExceeded", "The entity is larger than is allowed.");
        break;
    default:
        iam_fail(r, 500, "ServiceFailure", kist_err_text(err));
        break;
    }
}

/* ---- parameters ---- */

static bool name_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("_+=,.@-", c));
}

bool iam_name(struct s3_request *r, const char *param, struct bytes *out)
{
    struct bytes name = s3_param(r, param);
    bool ok = name.len > 0 && name.len <= IAM_NAME_MAX;
    for (size_t i = 0; ok && i < name.len; i++)
        ok = name_char(name.ptr[i]);
    if (!ok)
        iam_fail(r, 400, "ValidationError",
                 arena_printf(r->arena,
                              "The specified value for %s is invalid. It must contain only "
                              "alphanumeric characters and/or the following: +=,.@_-",
                              param));
    *out = name;
    return ok;
}

char *iam_document(struct s3_request *r, const char *param, enum policy_kind kind)
{
    struct bytes text = s3_param(r, param);
    struct policy *parsed = NULL;
    const char *reason = "Policy exceeds the maximum allowed document size.";
    if (text.len > 0 && text.len <= POLICY_DOCUMENT_MAX && bytes_is_utf8(text) &&
        policy_parse(text, kind, BYTES_EMPTY, r->arena, &parsed, &reason) == KIST_OK)
        return s3_str(r, text);
    iam_fail(r, 400, "MalformedPolicyDocument", reason);
    return NULL;
}

const char *iam_param_of(enum iam_kind kind)
{
    static const char *const names[] = { [IAM_USER] = "UserName",
                                         [IAM_GROUP] = "GroupName",
                                         [IAM_ROLE] = "RoleName",
                                         [IAM_POLICY] = "PolicyName",
                                         [IAM_KEY] = "AccessKeyId" };
    return names[kind];
}

Kist__IamEntity *iam_get(struct s3_request *r, enum iam_kind kind, struct bytes name)
{
    Kist__IamEntity *e = NULL;
    enum kist_err err = store_iam(store_of(r), r->who.identity->tenant, kind, name, r->arena, &e);
    if (err == KIST_E_NOT_FOUND)
        iam_fail(r, 404, "NoSuchEntity",
                 arena_printf(r->arena, "The %.*s with name %s cannot be found.",
                              (int)strcspn(iam_param_of(kind), "NI"), iam_param_of(kind),
                              s3_str(r, name)));
    else if (err != KIST_OK)
        iam_fail_err(r, err);
    return e;
}

/* ---- authorization ---- */

static bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    static _Thread_local struct bytes value;
    *out = (struct policy_values){ &value, 1 };
    return s3_aws_key(ctx, key, &value);
}

static bool decide(struct s3_request *r, const char *action, const char *arn, bool named)
{
    const struct auth_identity *who = r->who.identity;
    struct policy_request request = { .principal = { .account = who->account,
                                                     .arn = who->arn,
                                                     .role = who->role,
                                                     .canonical = who->id },
                                      .action = bytes_str(action),
                                      .resource = bytes_str(arn),
                                      .context = context,
                                      .ctx = r };
    struct access_question q = { .request = &request,
                                 .identity = who->policies,
                                 .identity_count = who->policy_count,
                                 .session = who->session,
                                 .is_account_root = who->is_root,
                                 .same_account = true,
                                 .acl_group = named };
    return access_is_allowed(&q);
}

bool iam_is_allowed(struct s3_request *r, const char *action, const char *arn)
{
    return decide(r, action, arn, false);
}

bool iam_allowed(struct s3_request *r, const char *action, const char *arn)
{
    return iam_allowed_or_named(r, action, arn, false);
}

bool iam_allowed_or_named(struct s3_request *r, const char *action, const char *arn, bool named)
{
    const struct auth_identity *who = r->who.identity;
    if (decide(r, action, arn, named))
        return true;
    iam_fail(r, 403, "AccessDenied",
             arena_printf(r->arena, "User: %s is not authorized to perform: %s on resource: %s",
                          s3_str(r, who->arn), action, arn));
    return false;
}

Kist__IamEntity *iam_entity(struct s3_request *r, const struct iam_call *call)
{
    struct bytes name;
    Kist__IamEntity unknown = KIST__IAM_ENTITY__INIT;
    const char *param = iam_param_of(call->kind);
    /* Without a name, a user means himself. */
    bool self =
        call->kind == IAM_USER && !s3_has_param(r, param) && r->who.identity->user_name.len;
    name = r->who.identity->user_name;
    if (!self && !iam_name(r, param, &name))
        return NULL;
    unknown.name = s3_str(r, name);
    char *action = arena_printf(r->arena, "iam:%s", call->action);
    /* Asked before it is looked up: who may not must not learn what exists. */
    if (!iam_allowed(r, action,
                     auth_iam_arn(r->who.identity->account, call->kind, &unknown, r->arena)))
        return NULL;
    return iam_get(r, call->kind, name);
}

/* ---- work ---- */

struct iam_work *iam_begin(struct s3_request *r, const struct iam_call *call)
{
    struct iam_work *w = arena_zalloc(r->arena, sizeof(*w));
    if (!w) {
        iam_fail_err(r, KIST_E_NOMEM);
        return NULL;
    }
    w->call = call;
    s3_xml_begin(&w->x, NULL);
    w->x.failed = buf_printf(&w->x.out, "<%sResponse xmlns=\"%s\"><%sResult>", call->action,
                             namespace_of(r), call->action) != KIST_OK;
    r->state = w;
    return w;
}

void iam_change(struct s3_request *r, struct iam_work *w, enum iam_kind kind,
                Kist__IamEntity *entity, bool remove)
{
    Kist__IamChange *c = &w->changes[w->count];
    kist__iam_change__init(c);
    c->kind = kind;
    c->name = entity->name;
    c->expected = entity->changed;
    c->entity = remove ? NULL : entity;
    if (kind == IAM_KEY)
        entity->account = s3_str(r, r->who.identity->tenant);
    else
        c->account = s3_str(r, r->who.identity->tenant);
    w->list[w->count++] = c;
}

static void answer(struct s3_request *r)
{
    struct iam_work *w = r->state;
    struct s3_xml *x = &w->x;
    const char *action = w->call->action;
    if (buf_printf(&x->out,
                   "</%sResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata>"
                   "</%sResponse>",
                   action, exchange_id(r->x), action) != KIST_OK)
        x->failed = true;
    struct bytes body = arena_copy(r->arena, buf_bytes(&x->out));
    bool failed = x->failed || !body.ptr;
    buf_release(&x->out);
    if (failed) {
        iam_fail_err(r, KIST_E_NOMEM);
        return;
    }
    s3_add_header_str(r, "Content-Type", "text/xml");
    exchange_reply_bytes(r->x, 200, body);
}

static void committed(struct s3_request *r)
{
    struct iam_work *w = r->state;
    if (r->op.err == KIST_OK) {
        answer(r);
        return;
    }
    buf_release(&w->x.out);
    iam_fail_err(r, r->op.err);
}

void iam_finish(struct s3_request *r, struct iam_work *w)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutIam put = KIST__PUT_IAM__INIT;
    if (w->count == 0) {
        answer(r);
        return;
    }
    command.of_case = KIST__COMMAND__OF_PUT_IAM;
    command.put_iam = &put;
    put.n_changes = w->count;
    put.changes = w->list;
    iam_finish_command(r, &command);
}

void iam_finish_command(struct s3_request *r, const Kist__Command *command)
{
    s3_commit_always(r, command, committed);
}

void iam_xml_document(struct s3_xml *x, const char *element, const char *document)
{
    struct buf text;
    buf_init(&text, 64 << 10);
    if (uri_encode(&text, bytes_str(document), false) != KIST_OK)
        x->failed = true;
    s3_xml_text(x, element, buf_bytes(&text));
    buf_release(&text);
}

/* ---- ids, lists ---- */

static char *random_text(struct s3_request *r, const char *prefix, size_t len,
                         const char *alphabet)
{
    struct env *env = store_env(store_of(r));
    size_t head = strlen(prefix), letters = strlen(alphabet);
    uint8_t random[64];
    char *text = arena_alloc(r->arena, len + 1);
    if (!text)
        return s3_str(r, BYTES_EMPTY);
    memcpy(text, prefix, head);
    env->random(env, random, sizeof(random));
    for (size_t i = head; i < len; i++) /* 32 and 64 letters: no letter is likelier */
        text[i] = alphabet[random[i] % letters];
    text[len] = '\0';
    return text;
}

char *iam_new_id(struct s3_request *r, const char *prefix)
{
    return random_text(r, prefix, 20, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
}

char *iam_new_secret(struct s3_request *r)
{
    return random_text(r, "", 40,
                       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
}

bool iam_list_has(size_t n, char **list, const char *value)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], value) == 0)
            return true;
    return false;
}

bool iam_list_add(struct arena *arena, size_t *n, char ***list, char *value)
{
    if (iam_list_has(*n, *list, value))
        return true;
    char **longer = arena_alloc(arena, (*n + 1) * sizeof(*longer));
    if (!longer)
        return false;
    if (*n)
        memcpy(longer, *list, *n * sizeof(*longer));
    longer[(*n)++] = value;
    *list = longer;
    return true;
}

void iam_list_remove(size_t *n, char **list, const char *value)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
        if (strcmp(list[i], value) != 0)
            list[kept++] = list[i];
    *n = kept;
}

/* ---- dispatch ---- */

static const struct iam_call *find(const struct iam_call *calls, struct bytes action)
{
    for (; calls->action; calls++)
        if (bytes_equal(bytes_str(calls->action), action))
            return calls;
    return NULL;
}

static void form_read(struct s3_request *r)
{
    if (s3_parse_form(r, buf_bytes(&r->body->xml)) != S3_ERROR_COUNT) {
        iam_fail(r, 400, "MalformedQueryString", "The query string contains a syntax error.");
        return;
    }
    struct bytes action = s3_param(r, "Action");
    const struct iam_call *call = is_sts(r) ? find(sts_calls, action) : NULL;
    if (!call && !is_sts(r)) {
        call = find(iam_user_calls, action);
        call = call ? call : find(iam_policy_calls, action);
        call = call ? call : find(iam_version_calls, action);
        call = call ? call : find(iam_account_calls, action);
        call = call ? call : find(iam_oidc_calls, action);
    }
    if (!call) {
        iam_fail(r, 400, "InvalidAction",
                 arena_printf(r->arena, "Could not find operation %s", s3_str(r, action)));
        return;
    }
    if (!r->who.identity->id.len && call->handle != sts_assume_role_with_web_identity)
        iam_fail(r, 403, "MissingAuthenticationToken", "Request is missing Authentication Token");
    else
        call->handle(r, call);
}

void s3_iam_unsigned(struct s3_request *r)
{
    r->who.scope = BYTES_LIT("/sts/");
    s3_read_xml(r, UNSIGNED_FORM_MAX, form_read);
}

void s3_iam(struct s3_request *r)
{
    if (!r->service->config.users || !r->who.identity->id.len)
        iam_fail(r, 403, "AccessDenied", "Access denied");
    else
        s3_read_xml(r, FORM_MAX, form_read);
}
