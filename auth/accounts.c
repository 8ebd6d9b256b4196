#include "auth/accounts.h"

#include <stdio.h>

#include "storage/base/codec.h"

/* ---- parts ---- */

bool account_name_is_valid(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && !(c && strchr("_+=,.@-", c)))
            return false;
    }
    return name.len > 0 && name.len <= IAM_NAME_MAX && !bytes_equal(name, BYTES_LIT("root"));
}

static char *text(struct arena *arena, struct bytes b)
{
    return arena_printf(arena, "%.*s", (int)b.len, (const char *)b.ptr);
}

/* 40 bits of randomness spread over 10^12 numbers would not reach all: 64 bits do. */
static char *new_id(struct env *env, struct arena *arena)
{
    uint64_t number;
    env->random(env, (uint8_t *)&number, sizeof(number));
    return arena_printf(arena, "%012llu", (unsigned long long)(number % 1000000000000ULL));
}

static char *new_canonical(struct env *env, struct arena *arena)
{
    uint8_t random[CANONICAL_ID_LEN / 2];
    char *hex = arena_alloc(arena, CANONICAL_ID_LEN + 1);
    env->random(env, random, sizeof(random));
    if (hex)
        hex_encode(bytes_of(random, sizeof(random)), hex);
    return hex;
}

static void begin(struct account_change *c)
{
    kist__command__init(&c->command);
    kist__put_account__init(&c->put);
    kist__account__init(&c->account);
    c->command.of_case = KIST__COMMAND__OF_PUT_ACCOUNT;
    c->command.put_account = &c->put;
    c->put.account = &c->account;
    c->put.changes = c->list;
    c->put.n_changes = 0;
    c->access_key = c->secret = NULL;
}

static Kist__IamChange *change(struct account_change *c, char *access_key)
{
    Kist__IamChange *one = &c->changes[c->put.n_changes];
    kist__iam_change__init(one);
    one->kind = IAM_KEY;
    one->name = access_key;
    c->list[c->put.n_changes++] = one;
    return one;
}

/* The shape of AWS's keys: tools that check it are content. */
static enum kist_err make_key(struct env *env, struct arena *arena, char **access, char **secret)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint8_t random[46];
    *access = arena_alloc(arena, 21);
    *secret = arena_alloc(arena, 41);
    if (!*access || !*secret)
        return KIST_E_NOMEM;
    env->random(env, random, sizeof(random));
    memcpy(*access, "AKIA", 4);
    for (size_t i = 0; i < 16; i++)
        (*access)[4 + i] = letters[random[i] & 31];
    (*access)[20] = '\0';
    base64_encode(bytes_of(random + 16, 30), *secret);
    explicit_bzero(random, sizeof(random));
    return KIST_OK;
}

static enum kist_err new_key(struct env *env, const struct account_key *wanted,
                             struct arena *arena, struct account_change *c)
{
    char *access, *secret;
    if (!wanted->access_key.len && !wanted->secret.len) {
        TRY(make_key(env, arena, &access, &secret));
    } else {
        if (!auth_key_is_valid(wanted->access_key, wanted->secret))
            return KIST_E_INVALID;
        access = text(arena, wanted->access_key);
        secret = text(arena, wanted->secret);
    }
    char **keys = arena_alloc(arena, (c->account.n_keys + 1) * sizeof(*keys));
    if (!access || !secret || !keys)
        return KIST_E_NOMEM;
    kist__iam_entity__init(&c->key);
    c->key.name = access;
    c->key.secret = secret;
    c->key.account = c->account.id;
    c->key.created_ms = env->now_ms(env);
    change(c, access)->entity = &c->key;
    if (c->account.n_keys)
        memcpy(keys, c->account.keys, c->account.n_keys * sizeof(*keys));
    keys[c->account.n_keys++] = access;
    c->account.keys = keys;
    c->access_key = access;
    c->secret = secret;
    return KIST_OK;
}

/* ---- the first account ---- */

static enum kist_err make_first(struct store *store, const struct auth_identity *root,
                                struct arena *arena)
{
    struct account_change c;
    begin(&c);
    c.account.id = text(arena, root->account);
    c.account.canonical = text(arena, root->id);
    c.account.name = text(arena, root->display_name);
    c.account.created_ms = store_env(store)->now_ms(store_env(store));
    c.account.first = true;
    if (!c.account.id || !c.account.canonical || !c.account.name)
        return KIST_E_NOMEM;
    return store_commit(store, &c.command);
}

enum kist_err auth_accounts_begin(struct store *store, struct auth_root_store *root)
{
    struct arena arena;
    Kist__Account *first = NULL;
    arena_init(&arena, 64 << 10);
    enum kist_err err = store_account_first(store, &arena, &first);
    if (err == KIST_E_NOT_FOUND)
        err = make_first(store, &root->identity, &arena);
    else if (err == KIST_OK)
        auth_root_store_adopt(root, bytes_str(first->canonical), bytes_str(first->id));
    arena_release(&arena);
    return err;
}

/* ---- the others ---- */

enum kist_err account_make(struct env *env, struct bytes name, const struct account_key *key,
                           struct arena *arena, struct account_change *out)
{
    begin(out);
    if (!account_name_is_valid(name))
        return KIST_E_INVALID;
    out->account.name = text(arena, name);
    out->account.id = new_id(env, arena);
    out->account.canonical = new_canonical(env, arena);
    out->account.created_ms = env->now_ms(env);
    if (!out->account.name || !out->account.id || !out->account.canonical)
        return KIST_E_NOMEM;
    return new_key(env, key, arena, out);
}

static enum kist_err begin_from(const Kist__Account *account, struct account_change *out)
{
    begin(out);
    out->account = *account;
    out->put.expected = account->changed;
    return account->first ? KIST_E_BUCKET_STATE : KIST_OK;
}

enum kist_err account_add_key(struct env *env, const Kist__Account *account,
                              const struct account_key *key, struct arena *arena,
                              struct account_change *out)
{
    TRY(begin_from(account, out));
    if (account->n_keys >= ACCOUNT_KEYS_MAX)
        return KIST_E_TOO_LARGE;
    return new_key(env, key, arena, out);
}

static enum kist_err drop_key(struct store *store, struct account_change *c, size_t i,
                              struct arena *arena)
{
    Kist__IamEntity *key = NULL;
    TRY(store_iam(store, BYTES_EMPTY, IAM_KEY, bytes_str(c->account.keys[i]), arena, &key));
    change(c, key->name)->expected = key->changed;
    for (size_t k = i + 1; k < c->account.n_keys; k++)
        c->account.keys[k - 1] = c->account.keys[k];
    c->account.n_keys--;
    return KIST_OK;
}

enum kist_err account_remove_key(struct store *store, const Kist__Account *account,
                                 struct bytes access_key, struct arena *arena,
                                 struct account_change *out)
{
    TRY(begin_from(account, out));
    for (size_t i = 0; i < account->n_keys; i++)
        if (bytes_equal(bytes_str(account->keys[i]), access_key))
            return drop_key(store, out, i, arena);
    return KIST_E_NOT_FOUND;
}

enum kist_err account_rotate_key(struct store *store, const Kist__Account *account,
                                 const struct account_key *key, struct arena *arena,
                                 struct account_change *out)
{
    TRY(begin_from(account, out));
    while (out->account.n_keys)
        TRY(drop_key(store, out, 0, arena));
    return new_key(store_env(store), key, arena, out);
}
