/* Who may sign: access keys, their secrets and the identities behind them.
 *
 * A `struct credential_store` is embedded as the first member of an implementation, which fills
 * `find`: the root key here, accounts and users in auth/users.h.
 */
#ifndef KIST_AUTH_CREDENTIALS_H
#define KIST_AUTH_CREDENTIALS_H

#include "storage/base/bytes.h"

/* Limits of what is looked up at all; longer ids are unknown by definition. */
#define AUTH_ACCESS_KEY_MAX 128
#define AUTH_SECRET_MAX 128

/* Who a request acts for. Lives in the arena given to find(), or longer. */
struct policy;
struct Kist__Lineage;

struct auth_identity {
    bool is_root;
    struct bytes id;           /* the owner id that S3 shows: 64 lower-case hex digits */
    struct bytes display_name; /* "root" */
    struct bytes account;      /* 12 digits */
    struct bytes tenant;       /* as storage names the account: empty for the first */
    struct bytes arn;          /* "arn:aws:iam::123456789012:root" */
    struct bytes role;         /* of a role's session: the role's own ARN */
    /* Of a web identity's session: its provider's ARN, and what its token said. */
    struct bytes federated, web_subject, web_audience;
    struct bytes type;      /* aws:PrincipalType: "Account", "User", "AssumedRole" */
    struct bytes user_name; /* empty but for users */
    struct bytes user_id;   /* aws:userid */
    /* What bears on him beside a resource's policy; session NULL: no bounds. */
    const struct policy *const *policies;
    size_t policy_count;
    const struct policy *session;
    /* Of a function's credentials: the invocation that they were made for; NULL: nobody's. */
    const struct Kist__Lineage *lineage;
    struct bytes session_key; /* with that: the credentials' access key id */
};

/* Condition keys of a web identity's session: HOST/PATH:sub, HOST/PATH:aud and
 * aws:FederatedProvider. False: it has no such key. */
bool auth_web_key(const struct auth_identity *who, struct bytes key, struct bytes *out);

struct credential_hold;

struct credential {
    struct bytes secret;
    const struct auth_identity *identity;
    struct credential_hold *hold; /* keeps both alive; NULL: they live as long as the store */
};
void credential_drop(struct credential_hold *hold); /* NULL is allowed */

struct credential_store {
    /* Thread-safe. token: of a session, or empty. KIST_E_NO_SUCH_ACCESS_KEY when the id is
     * unknown, KIST_E_TOKEN, KIST_E_TOKEN_EXPIRED. The result's slices live in the arena or as
     * long as out->hold. */
    enum kist_err (*find)(struct credential_store *store, struct bytes access_key_id,
                          struct bytes token, struct arena *arena,
                          struct credential *out) MUST_CHECK;
};

/* The one root key. Plain data: copies what it is given, needs no release. */
struct auth_root_store {
    struct credential_store base;
    char access_key[AUTH_ACCESS_KEY_MAX + 1];
    char secret[AUTH_SECRET_MAX + 1];
    size_t access_key_len;
    size_t secret_len;
    char owner_id[65];
    char arn[sizeof("arn:aws:iam::123456789012:root")];
    char account[13];
    struct auth_identity identity;
};

/* The account's ids as they were stored first: they stay when the key changes. Before the store
 * is used. */
void auth_root_store_adopt(struct auth_root_store *store, struct bytes canonical,
                           struct bytes account);
/* What an access key and its secret may consist of. */
bool auth_key_is_valid(struct bytes access_key, struct bytes secret);

/* KIST_E_INVALID when either is empty or too long, or when the access key holds a byte other
 * than printable ASCII without '/' and ','. The struct must not move afterwards. */
enum kist_err auth_root_store_init(struct auth_root_store *store, struct bytes access_key,
                                   struct bytes secret) MUST_CHECK;

#endif
