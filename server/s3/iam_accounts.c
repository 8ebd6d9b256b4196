/* Accounts over the wire: no AWS API has this, so these calls are kist's own, in the form of
 * IAM's. Only the first account's root, and users of his that a policy allows kist:*, may make
 * them: what they can do to other accounts is to let somebody in. */
#include "auth/accounts.h"
#include "server/s3/iam.h"

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

/* False after an error reply. */
static bool may(struct s3_request *r, const struct iam_call *call)
{
    const struct auth_identity *who = r->who.identity;
    char *arn =
        arena_printf(r->arena, "arn:aws:iam::%.12s:account/%s", (const char *)who->account.ptr,
                     s3_str(r, s3_param(r, "AccountName")));
    if (who->tenant.len) {
        iam_fail(r, 403, "AccessDenied", "Accounts are managed by the first account alone.");
        return false;
    }
    return arn && iam_allowed(r, arena_printf(r->arena, "kist:%s", call->action), arn);
}

static void describe(struct s3_xml *x, const Kist__Account *a)
{
    s3_xml_str(x, "AccountId", a->id);
    s3_xml_str(x, "CanonicalId", a->canonical);
    s3_xml_str(x, "AccountName", a->name);
    s3_xml_time(x, "CreateDate", a->created_ms);
    for (size_t i = 0; i < a->n_keys; i++)
        s3_xml_str(x, "AccessKeyId", a->keys[i]);
}

static void refuse(struct s3_request *r, enum kist_err err)
{
    if (err == KIST_E_INVALID)
        iam_fail(r, 400, "ValidationError",
                 "The account's name or its key is invalid: a name has letters, digits and "
                 "+=,.@_-; a key has both parts, or is made here.");
    else if (err == KIST_E_NOT_FOUND)
        iam_fail(r, 404, "NoSuchEntity", "The access key cannot be found.");
    else if (err == KIST_E_TOO_LARGE)
        iam_fail(r, 409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerAccount: 2");
    else if (err == KIST_E_BUCKET_STATE)
        iam_fail(r, 409, "InvalidInput",
                 "The first account's key is the root key: change it in the data directory or "
                 "the environment, and start again.");
    else
        iam_fail_err(r, err);
}

/* NULL after an error reply. */
static Kist__Account *named(struct s3_request *r)
{
    Kist__Account *account = NULL;
    struct bytes name = s3_param(r, "AccountName");
    enum kist_err err = store_account_named(store_of(r), name, r->arena, &account);
    if (err == KIST_E_NOT_FOUND)
        iam_fail(
            r, 404, "NoSuchEntity",
            arena_printf(r->arena, "The account with name %s cannot be found.", s3_str(r, name)));
    else if (err != KIST_OK)
        iam_fail_err(r, err);
    return account;
}

/* A key that is chosen must not be anybody's yet, the root's included. */
static bool wanted_key(struct s3_request *r, struct account_key *out)
{
    struct credential_store *keys = auth_keyring_store(r->service->config.keyring);
    struct credential taken = { .hold = NULL };
    *out = (struct account_key){ s3_param(r, "AccessKeyId"), s3_param(r, "SecretAccessKey") };
    if (!out->access_key.len || keys->find(keys, out->access_key, BYTES_EMPTY, r->arena,
                                           &taken) == KIST_E_NO_SUCH_ACCESS_KEY)
        return true;
    credential_drop(taken.hold);
    iam_fail(r, 409, "EntityAlreadyExists", "The access key exists already.");
    return false;
}

static void commit(struct s3_request *r, const struct iam_call *call,
                   const struct account_change *c)
{
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    s3_xml_open(&w->x, "Account");
    describe(&w->x, &c->account);
    s3_xml_close(&w->x, "Account");
    if (c->access_key) {
        s3_xml_open(&w->x, "AccessKey");
        s3_xml_str(&w->x, "AccessKeyId", c->access_key);
        s3_xml_str(&w->x, "SecretAccessKey", c->secret);
        s3_xml_close(&w->x, "AccessKey");
    }
    iam_finish_command(r, &c->command);
}

static void create(struct s3_request *r, const struct iam_call *call)
{
    struct account_change c;
    struct account_key key;
    Kist__Account *existing = NULL;
    struct bytes name = s3_param(r, "AccountName");
    if (!may(r, call) || !wanted_key(r, &key))
        return;
    if (store_account_named(store_of(r), name, r->arena, &existing) == KIST_OK) {
        iam_fail(r, 409, "EntityAlreadyExists", "An account with this name exists already.");
        return;
    }
    enum kist_err err = account_make(store_env(store_of(r)), name, &key, r->arena, &c);
    if (err == KIST_OK)
        commit(r, call, &c);
    else
        refuse(r, err);
}

static void create_key(struct s3_request *r, const struct iam_call *call)
{
    struct account_change c;
    struct account_key key;
    if (!may(r, call) || !wanted_key(r, &key))
        return;
    const Kist__Account *account = named(r);
    if (!account)
        return;
    enum kist_err err =
        strcmp(call->action, "RotateAccountKey") == 0
            ? account_rotate_key(store_of(r), account, &key, r->arena, &c)
            : account_add_key(store_env(store_of(r)), account, &key, r->arena, &c);
    if (err == KIST_OK)
        commit(r, call, &c);
    else
        refuse(r, err);
}

static void delete_key(struct s3_request *r, const struct iam_call *call)
{
    struct account_change c;
    const Kist__Account *account = may(r, call) ? named(r) : NULL;
    if (!account)
        return;
    enum kist_err err =
        account_remove_key(store_of(r), account, s3_param(r, "AccessKeyId"), r->arena, &c);
    if (err == KIST_OK)
        commit(r, call, &c);
    else
        refuse(r, err);
}

static void delete_account(struct s3_request *r, const struct iam_call *call)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteAccount c = KIST__DELETE_ACCOUNT__INIT;
    const Kist__Account *account = may(r, call) ? named(r) : NULL;
    if (!account || !iam_begin(r, call))
        return;
    command.of_case = KIST__COMMAND__OF_DELETE_ACCOUNT;
    command.delete_account = &c;
    c.id = account->id;
    iam_finish_command(r, &command);
}

static bool add_account(void *ctx, const Kist__Account *account)
{
    struct s3_xml *x = ctx;
    s3_xml_open(x, "member");
    describe(x, account);
    s3_xml_close(x, "member");
    return !x->failed;
}

static void list(struct s3_request *r, const struct iam_call *call)
{
    struct iam_work *w = may(r, call) ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, "Accounts");
    if (store_list_accounts(store_of(r), add_account, &w->x) != KIST_OK)
        w->x.failed = true;
    s3_xml_close(&w->x, "Accounts");
    iam_finish(r, w);
}

const struct iam_call iam_account_calls[] = {
    { "CreateAccount", create, IAM_KEY },
    { "ListAccounts", list, IAM_KEY },
    { "DeleteAccount", delete_account, IAM_KEY },
    { "CreateAccountKey", create_key, IAM_KEY },
    { "RotateAccountKey", create_key, IAM_KEY },
    { "DeleteAccountKey", delete_key, IAM_KEY },
    { NULL, NULL, IAM_KEY },
};
