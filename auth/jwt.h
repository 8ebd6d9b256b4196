/* OpenID Connect's ID tokens: JSON Web Tokens (RFC 7519) in compact form (RFC 7515), signed with
 * RS256 or ES256 (RFC 7518) and nothing else.
 *
 * jwt_parse() believes nothing: what it yields is what the token claims, until jwt_verify() has
 * held it against a key that comes from the issuer and not from the token. An algorithm belongs
 * to a key: a token cannot choose another one for it. */
#ifndef KIST_AUTH_JWT_H
#define KIST_AUTH_JWT_H

#include "storage/base/bytes.h"

/* https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html */
#define JWT_LEN_MIN 4
#define JWT_LEN_MAX 20000

enum jwt_algorithm { JWT_RS256, JWT_ES256, JWT_ALGORITHM_COUNT };

struct jwt {
    enum jwt_algorithm algorithm;
    struct bytes kid;       /* empty: the header names no key */
    struct bytes signed_by; /* header.payload, as it came */
    struct bytes signature;
    struct bytes issuer, subject;
    struct bytes audience;       /* azp where there is one: the party that it was issued to */
    const struct bytes *methods; /* amr */
    size_t method_count;
    int64_t expires_ms, issued_ms, not_before_ms; /* not_before_ms 0: no nbf */
};

/* Everything is kept in the arena. KIST_E_TOKEN: *problem says why, for the caller to read;
 * KIST_E_NOMEM. */
enum kist_err jwt_parse(struct bytes token, struct arena *arena, struct jwt *out,
                        const char **problem) MUST_CHECK;

/* ---- an issuer's keys: a JSON Web Key Set (RFC 7517) ---- */

#define JWKS_LEN_MAX ((size_t)256 << 10)
#define JWKS_KEYS_MAX 64

struct jwks;
/* Keys of other kinds and uses are passed over. KIST_E_INVALID: it is no key set. */
enum kist_err jwks_parse(struct bytes json, struct jwks **out) MUST_CHECK;
struct jwks *jwks_ref(struct jwks *set);
void jwks_unref(struct jwks *set); /* NULL is allowed */
size_t jwks_count(const struct jwks *set);

/* KIST_E_NOT_FOUND: the set has no such key for this algorithm; KIST_E_SIGNATURE. Thread-safe. */
enum kist_err jwt_verify(const struct jwt *token, const struct jwks *set) MUST_CHECK;

#endif
