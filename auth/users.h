/* Who an access key belongs to: the root, a stored user, or a session.
 *
 * What a key gives (secret, identity, parsed policies) is derived from several rows, and kept
 * until any of them changes. Lookups of one key share it by reference. */
#ifndef KIST_AUTH_USERS_H
#define KIST_AUTH_USERS_H

#include "auth/credentials.h"
#include "auth/session.h"
#include "storage/object/store.h"

struct auth_user_store;

/* Root and store must outlive it. NULL: out of memory. */
struct auth_user_store *auth_user_store_new(struct auth_root_store *root, struct store *store);
void auth_user_store_free(struct auth_user_store *users); /* NULL is allowed */
struct credential_store *auth_user_store_base(struct auth_user_store *users);

/* What the IAM and STS operations need of it. */
const struct auth_identity *auth_user_store_root(const struct auth_user_store *users);
const struct session_sealer *auth_user_store_sealer(const struct auth_user_store *users);
/* Who owns a bucket or an object. KIST_E_NOT_FOUND for an id that no account has, with *out the
 * first account: its id followed the root key before accounts were stored, and buckets from then
 * are its own. */
struct auth_owner {
    struct bytes id, display_name, account;
};
enum kist_err auth_owner_find(const struct auth_user_store *users, struct bytes canonical,
                              struct arena *arena, struct auth_owner *out) MUST_CHECK;
/* arn:aws:iam::account:kind/path/name, in the arena. */
char *auth_iam_arn(struct bytes account, enum iam_kind kind, const Kist__IamEntity *entity,
                   struct arena *arena);

#endif
