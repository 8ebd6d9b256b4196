/* Secrets at work: a credential store with a cache of derived signing keys.
 *
 * Deriving a SigV4 key costs four HMACs and is the same for a whole day, so it is kept by
 * (access key, secret, date, region, service). The cache has a fixed number of entries in small
 * sets, each behind a lock of its own that is held for a few comparisons; there is no lock over
 * the whole. An entry is used only while the store still gives the secret it was made from, so a
 * changed or revoked key works at once.
 */
#ifndef KIST_AUTH_KEYRING_H
#define KIST_AUTH_KEYRING_H

#include "auth/credentials.h"
#include "storage/base/digest.h"

#define AUTH_KEY_LEN 32

struct auth_keyring;
struct signing_key;

/* What a key was derived for. date is YYYYMMDD. */
struct signing_scope {
    struct bytes date;
    struct bytes region;
    struct bytes service;
};

/* The store must outlive the keyring. NULL on out of memory. */
struct auth_keyring *auth_keyring_new(struct credential_store *store);
void auth_keyring_free(struct auth_keyring *ring); /* NULL is allowed */

struct credential_store *auth_keyring_store(struct auth_keyring *ring);

/* The derived key for a secret; thread-safe. The caller gives it back with signing_key_unref().
 * KIST_E_NOMEM. */
enum kist_err auth_keyring_get(struct auth_keyring *ring, struct bytes access_key_id,
                               struct bytes secret, const struct signing_scope *scope,
                               struct signing_key **out) MUST_CHECK;
void signing_key_unref(struct signing_key *key); /* NULL is allowed */
/* HMAC-SHA-256 with the derived key, as lower-case hex with a NUL. */
void signing_key_sign(const struct signing_key *key, struct bytes data, char out_hex[65]);
const uint8_t *signing_key_raw(const struct signing_key *key); /* 32 bytes */

/* The derivation itself, uncached.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
void sigv4_derive_key(struct bytes secret, const struct signing_scope *scope, uint8_t out[32]);

#endif
