#include "auth/users.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "auth/policy.h"

#define SETS 64
#define WAYS 4
/* Policies of a user and his groups, parsed. */
#define HELD_ARENA_MAX ((size_t)4 << 20)
#define POLICIES_MAX 256

/* Everything that one key gives. */
struct credential_hold {
    atomic_uint references;
    uint64_t stamp; /* of the rows it was made from */
    struct arena arena;
    struct bytes access_key_id, token, secret;
    int64_t expires_ms; /* of a session */
    struct auth_identity identity;
    const struct policy *policies[POLICIES_MAX];
};

struct auth_user_store {
    struct credential_store base;
    struct auth_root_store *root;
    struct store *store;
    struct session_sealer sealer;
    struct cache_set {
        pthread_mutex_t lock;
        unsigned next;
        struct credential_hold *ways[WAYS];
    } sets[SETS];
};

static void hold_drop(struct credential_hold *h)
{
    if (!h || atomic_fetch_sub(&h->references, 1) != 1)
        return;
    arena_release(&h->arena);
    free(h);
}

void credential_drop(struct credential_hold *hold)
{
    hold_drop(hold);
}

/* ---- deriving ---- */

static enum kist_err add_policy(struct credential_hold *h, const char *document)
{
    struct policy *parsed = NULL;
    const char *reason;
    if (h->identity.policy_count == POLICIES_MAX)
        return KIST_E_TOO_LARGE;
    TRY(policy_parse(bytes_str(document), POLICY_IDENTITY, BYTES_EMPTY, &h->arena, &parsed,
                     &reason));
    h->policies[h->identity.policy_count++] = parsed;
    return KIST_OK;
}

/* The rows of the identity's account. */
static enum kist_err get(struct auth_user_store *u, struct credential_hold *h, enum iam_kind kind,
                         const char *name, Kist__IamEntity **out)
{
    return store_iam(u->store, h->identity.tenant, kind, bytes_str(name), &h->arena, out);
}

static enum kist_err add_entity(struct auth_user_store *u, struct credential_hold *h,
                                const Kist__IamEntity *entity)
{
    for (size_t i = 0; i < entity->n_policies; i++)
        TRY(add_policy(h, entity->policies[i]->value));
    for (size_t i = 0; i < entity->n_attached; i++) {
        Kist__IamEntity *managed = NULL;
        TRY(get(u, h, IAM_POLICY, entity->attached[i], &managed));
        TRY(add_policy(h, managed->document));
    }
    return KIST_OK;
}

char *auth_iam_arn(struct bytes account, enum iam_kind kind, const Kist__IamEntity *entity,
                   struct arena *arena)
{
    static const char *const kinds[] = {
        [IAM_USER] = "user", [IAM_GROUP] = "group", [IAM_ROLE] = "role", [IAM_POLICY] = "policy"
    };
    return arena_printf(arena, "arn:aws:iam::%.12s:%s%s%s", (const char *)account.ptr,
                        kinds[kind], entity->path[0] ? entity->path : "/", entity->name);
}

/* The principal that a key acts for, with all that applies to him. */
static enum kist_err become(struct auth_user_store *u, struct credential_hold *h,
                            enum iam_kind kind, const char *name)
{
    Kist__IamEntity *entity = NULL;
    TRY(get(u, h, kind, name, &entity));
    TRY(add_entity(u, h, entity));
    for (size_t i = 0; i < entity->n_groups; i++) {
        Kist__IamEntity *group = NULL;
        TRY(get(u, h, IAM_GROUP, entity->groups[i], &group));
        TRY(add_entity(u, h, group));
    }
    char *arn = auth_iam_arn(h->identity.account, kind, entity, &h->arena);
    if (!arn)
        return KIST_E_NOMEM;
    h->identity.is_root = false;
    h->identity.arn = bytes_str(arn);
    h->identity.user_name = kind == IAM_USER ? bytes_str(entity->name) : BYTES_EMPTY;
    h->identity.user_id = bytes_str(entity->id);
    h->identity.type = kind == IAM_USER ? BYTES_LIT("User") : BYTES_LIT("AssumedRole");
    return KIST_OK;
}

/* The account's root; empty: the first one's, which derive() has begun with. */
static enum kist_err use_account(struct auth_user_store *u, struct credential_hold *h,
                                 const char *id)
{
    Kist__Account *account = NULL;
    if (!id[0])
        return KIST_OK;
    TRY(store_account(u->store, bytes_str(id), &h->arena, &account));
    char *arn = arena_printf(&h->arena, "arn:aws:iam::%s:root", account->id);
    if (!arn)
        return KIST_E_NOMEM;
    h->identity.id = bytes_str(account->canonical);
    h->identity.display_name = bytes_str(account->name);
    h->identity.account = bytes_str(account->id);
    h->identity.tenant = account->first ? BYTES_EMPTY : h->identity.account;
    h->identity.user_id = h->identity.account;
    h->identity.arn = bytes_str(arn);
    return KIST_OK;
}

static enum kist_err from_key(struct auth_user_store *u, struct credential_hold *h)
{
    Kist__IamEntity *key = NULL;
    TRY(store_iam(u->store, BYTES_EMPTY, IAM_KEY, h->access_key_id, &h->arena, &key));
    if (key->inactive)
        return KIST_E_NOT_FOUND;
    h->secret = bytes_str(key->secret);
    TRY(use_account(u, h, key->account));
    return key->owner[0] ? become(u, h, IAM_USER, key->owner) : KIST_OK;
}

/* A role that was taken by another issuer's token remembers it. */
static enum kist_err use_web_identity(struct credential_hold *h, const Kist__Session *s)
{
    if (!s->web_provider[0])
        return KIST_OK;
    char *federated = arena_printf(&h->arena, "arn:aws:iam::%.12s:oidc-provider/%s",
                                   (const char *)h->identity.account.ptr, s->web_provider);
    if (!federated)
        return KIST_E_NOMEM;
    h->identity.federated = bytes_str(federated);
    h->identity.web_subject = bytes_str(s->web_subject);
    h->identity.web_audience = bytes_str(s->web_audience);
    return KIST_OK;
}

static enum kist_err add_bound(struct credential_hold *h, struct policy *bound,
                               const char *document)
{
    struct policy *parsed = NULL;
    const char *reason;
    TRY(policy_parse(bytes_str(document), POLICY_IDENTITY, BYTES_EMPTY, &h->arena, &parsed,
                     &reason));
    policy_add(bound, parsed);
    return KIST_OK;
}

/* What a session's own policies allow together bounds what it is allowed. Managed ones that have
 * gone since allow nothing. */
static enum kist_err bound_session(struct auth_user_store *u, struct credential_hold *h,
                                   const Kist__Session *s)
{
    if (!s->policy[0] && !s->n_policies)
        return KIST_OK;
    struct policy *bound = policy_empty(&h->arena);
    if (!bound)
        return KIST_E_NOMEM;
    if (s->policy[0])
        TRY(add_bound(h, bound, s->policy));
    for (size_t i = 0; i < s->n_policies; i++) {
        Kist__IamEntity *managed = NULL;
        enum kist_err err = get(u, h, IAM_POLICY, s->policies[i], &managed);
        if (err == KIST_OK)
            err = add_bound(h, bound, managed->document);
        if (err != KIST_OK && err != KIST_E_NOT_FOUND)
            return err;
    }
    h->identity.session = bound;
    return KIST_OK;
}

static enum kist_err from_session(struct auth_user_store *u, struct credential_hold *h)
{
    Kist__Session *s = NULL;
    TRY(session_open(&u->sealer, h->token, &h->arena, &s));
    if (!bytes_equal(bytes_str(s->access_key), h->access_key_id))
        return KIST_E_TOKEN;
    h->secret = bytes_str(s->secret);
    h->expires_ms = s->expires_ms;
    h->identity.lineage = s->lineage;
    if (s->lineage)
        h->identity.session_key = h->access_key_id;
    enum kist_err err = use_account(u, h, s->account);
    if (err == KIST_OK && s->kind)
        err = become(u, h, (enum iam_kind)s->kind, s->name);
    if (err != KIST_OK)
        return err == KIST_E_NOT_FOUND ? KIST_E_TOKEN : err;
    if (s->kind == IAM_ROLE) {
        char *arn = arena_printf(&h->arena, "arn:aws:sts::%.12s:assumed-role/%s/%s",
                                 (const char *)h->identity.account.ptr, s->name, s->session_name);
        char *id = arena_printf(&h->arena, "%.*s:%s", (int)h->identity.user_id.len,
                                (const char *)h->identity.user_id.ptr, s->session_name);
        if (!arn || !id)
            return KIST_E_NOMEM;
        TRY(use_web_identity(h, s));
        h->identity.role = h->identity.arn;
        h->identity.arn = bytes_str(arn);
        h->identity.user_id = bytes_str(id);
    }
    return bound_session(u, h, s);
}

static enum kist_err derive(struct auth_user_store *u, struct bytes access_key_id,
                            struct bytes token, uint64_t stamp, struct credential_hold **out)
{
    struct credential_hold *h = calloc(1, sizeof(*h));
    if (!h)
        return KIST_E_NOMEM;
    arena_init(&h->arena, HELD_ARENA_MAX);
    h->references = 1;
    h->stamp = stamp;
    h->identity = u->root->identity; /* account, canonical id */
    h->identity.policies = h->policies;
    h->access_key_id = arena_copy(&h->arena, access_key_id);
    h->token = token.len ? arena_copy(&h->arena, token) : BYTES_EMPTY;
    enum kist_err err = KIST_E_NOMEM;
    if (h->access_key_id.ptr && (!token.len || h->token.ptr))
        err = token.len ? from_session(u, h) : from_key(u, h);
    if (err != KIST_OK) {
        hold_drop(h);
        return err == KIST_E_NOT_FOUND ? KIST_E_NO_SUCH_ACCESS_KEY : err;
    }
    *out = h;
    return KIST_OK;
}

/* ---- the cache ---- */

static struct cache_set *set_of(struct auth_user_store *u, struct bytes id)
{
    uint64_t hash = 1469598103934665603U;
    for (size_t i = 0; i < id.len; i++)
        hash = (hash ^ id.ptr[i]) * 1099511628211U;
    return &u->sets[hash % SETS];
}

static struct credential_hold *cached(struct cache_set *set, struct bytes id, struct bytes token,
                                      uint64_t stamp)
{
    struct credential_hold *found = NULL;
    pthread_mutex_lock(&set->lock);
    for (size_t i = 0; i < WAYS && !found; i++) {
        struct credential_hold *h = set->ways[i];
        if (h && h->stamp == stamp && bytes_equal(h->access_key_id, id) &&
            bytes_equal_secret(h->token, token))
            found = h;
    }
    if (found)
        atomic_fetch_add(&found->references, 1);
    pthread_mutex_unlock(&set->lock);
    return found;
}

static void keep(struct cache_set *set, struct credential_hold *h)
{
    size_t way = WAYS;
    atomic_fetch_add(&h->references, 1);
    pthread_mutex_lock(&set->lock);
    for (size_t i = 0; i < WAYS; i++)
        if (!set->ways[i] || bytes_equal(set->ways[i]->access_key_id, h->access_key_id))
            way = i;
    if (way == WAYS)
        way = set->next++ % WAYS;
    struct credential_hold *old = set->ways[way];
    set->ways[way] = h;
    pthread_mutex_unlock(&set->lock);
    hold_drop(old);
}

static enum kist_err find(struct credential_store *base, struct bytes access_key_id,
                          struct bytes token, struct arena *arena, struct credential *out)
{
    struct auth_user_store *u = (struct auth_user_store *)base;
    struct credential_hold *h = NULL;
    uint64_t stamp = 0;
    if (!token.len) {
        enum kist_err err = u->root->base.find(&u->root->base, access_key_id, token, arena, out);
        if (err != KIST_E_NO_SUCH_ACCESS_KEY)
            return err;
    }
    struct cache_set *set = set_of(u, access_key_id);
    TRY(store_iam_stamp(u->store, &stamp));
    h = cached(set, access_key_id, token, stamp);
    if (!h) {
        TRY(derive(u, access_key_id, token, stamp, &h));
        keep(set, h);
    }
    struct env *env = store_env(u->store);
    if (token.len && h->expires_ms <= env->now_ms(env)) {
        hold_drop(h);
        return KIST_E_TOKEN_EXPIRED;
    }
    out->secret = h->secret;
    out->identity = &h->identity;
    out->hold = h;
    return KIST_OK;
}

struct auth_user_store *auth_user_store_new(struct auth_root_store *root, struct store *store)
{
    struct auth_user_store *u = calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->base.find = find;
    u->root = root;
    u->store = store;
    session_sealer_init(&u->sealer, bytes_of(root->secret, root->secret_len));
    for (size_t i = 0; i < SETS; i++)
        pthread_mutex_init(&u->sets[i].lock, NULL);
    return u;
}

void auth_user_store_free(struct auth_user_store *u)
{
    if (!u)
        return;
    for (size_t i = 0; i < SETS; i++) {
        for (size_t k = 0; k < WAYS; k++)
            hold_drop(u->sets[i].ways[k]);
        pthread_mutex_destroy(&u->sets[i].lock);
    }
    free(u);
}

struct credential_store *auth_user_store_base(struct auth_user_store *u)
{
    return &u->base;
}

const struct auth_identity *auth_user_store_root(const struct auth_user_store *u)
{
    return &u->root->identity;
}

enum kist_err auth_owner_find(const struct auth_user_store *u, struct bytes canonical,
                              struct arena *arena, struct auth_owner *out)
{
    const struct auth_identity *first = &u->root->identity;
    Kist__Account *account = NULL;
    *out = (struct auth_owner){ first->id, first->display_name, first->account };
    if (bytes_equal(canonical, first->id))
        return KIST_OK;
    enum kist_err err = store_account_canonical(u->store, canonical, arena, &account);
    if (err != KIST_OK)
        return err;
    *out = (struct auth_owner){ bytes_str(account->canonical), bytes_str(account->name),
                                bytes_str(account->id) };
    return KIST_OK;
}

const struct session_sealer *auth_user_store_sealer(const struct auth_user_store *u)
{
    return &u->sealer;
}
