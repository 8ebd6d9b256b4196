/* Accounts: what makes one, and the keys of its root. The first account is the store's own: its
 * key is the root key, which is kept outside of the store.
 *
 * Each function fills a command for the caller to commit; strings live in the arena. */
#ifndef KIST_AUTH_ACCOUNTS_H
#define KIST_AUTH_ACCOUNTS_H

#include "auth/credentials.h"
#include "storage/object/store.h"

#define ACCOUNT_KEYS_MAX 2

/* A new key's parts: given, or both empty to have them made. */
struct account_key {
    struct bytes access_key, secret;
};

struct account_change {
    Kist__Command command;
    Kist__PutAccount put;
    Kist__Account account;
    Kist__IamChange changes[ACCOUNT_KEYS_MAX + 1], *list[ACCOUNT_KEYS_MAX + 1];
    Kist__IamEntity key;
    /* to be shown to whoever asked */
    const char *access_key, *secret;
};

/* Makes the first account on the first start, with the ids that follow from the root key (so
 * that a directory from before accounts keeps them), and gives the root its stored ids. */
enum kist_err auth_accounts_begin(struct store *store, struct auth_root_store *root) MUST_CHECK;

/* Letters, digits and +=,.@_- as in the names of users; "root" is the first account's. */
bool account_name_is_valid(struct bytes name);
/* KIST_E_INVALID: the name or the key. */
enum kist_err account_make(struct env *env, struct bytes name, const struct account_key *key,
                           struct arena *arena, struct account_change *out) MUST_CHECK;
/* One more key for an account as it was read. KIST_E_TOO_LARGE: it has ACCOUNT_KEYS_MAX.
 * KIST_E_BUCKET_STATE: the first account's key is not stored. */
enum kist_err account_add_key(struct env *env, const Kist__Account *account,
                              const struct account_key *key, struct arena *arena,
                              struct account_change *out) MUST_CHECK;
/* Takes one key away. KIST_E_NOT_FOUND. */
enum kist_err account_remove_key(struct store *store, const Kist__Account *account,
                                 struct bytes access_key, struct arena *arena,
                                 struct account_change *out) MUST_CHECK;
/* A new key in place of all others, in one change. */
enum kist_err account_rotate_key(struct store *store, const Kist__Account *account,
                                 const struct account_key *key, struct arena *arena,
                                 struct account_change *out) MUST_CHECK;

#endif
