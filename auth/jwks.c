/* Keys of an issuer, and what they say about a token. */
#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "auth/jwt.h"
#include "storage/base/codec.h"

/* Below it RSA is too weak (RFC 7518 section 3.3), above it too slow for who is not yet known. */
#define RSA_BITS_MIN 2048
#define RSA_BYTES_MAX 1024
#define P256_BYTES 32

struct jwk {
    enum jwt_algorithm algorithm;
    char *kid; /* "": none */
    EVP_PKEY *key;
};

struct jwks {
    atomic_uint references;
    size_t count;
    struct jwk keys[JWKS_KEYS_MAX];
};

/* ---- keys ---- */

/* A member in base64url; false: absent, wrong or too long. */
static bool octets(const json_t *jwk, const char *name, uint8_t *out, size_t cap, size_t *len)
{
    const json_t *value = json_object_get(jwk, name);
    return json_is_string(value) &&
           base64url_decode(bytes_of(json_string_value(value), json_string_length(value)), out,
                            cap, len) == KIST_OK &&
           *len > 0;
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (!params || !c || EVP_PKEY_fromdata_init(c) != 1 ||
        EVP_PKEY_fromdata(c, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(c);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(const json_t *jwk)
{
    uint8_t n[RSA_BYTES_MAX], e[8];
    size_t n_len = 0, e_len = 0;
    EVP_PKEY *key = NULL;
    if (!octets(jwk, "n", n, sizeof(n), &n_len) || !octets(jwk, "e", e, sizeof(e), &e_len))
        return NULL;
    BIGNUM *modulus = BN_bin2bn(n, (int)n_len, NULL), *exponent = BN_bin2bn(e, (int)e_len, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (modulus && exponent && builder && BN_num_bits(modulus) >= RSA_BITS_MIN &&
        BN_is_odd(modulus) && BN_is_odd(exponent) && !BN_is_one(exponent) &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent) == 1)
        key = make_key("RSA", builder);
    OSSL_PARAM_BLD_free(builder);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

/* The point must lie on the curve: EVP_PKEY_fromdata() looks. */
static EVP_PKEY *p256_key(const json_t *jwk)
{
    uint8_t point[1 + 2 * P256_BYTES] = { 4 }; /* uncompressed */
    size_t x = 0, y = 0;
    EVP_PKEY *key = NULL;
    const char *curve = json_string_value(json_object_get(jwk, "crv"));
    if (!curve || strcmp(curve, "P-256") != 0 || !octets(jwk, "x", point + 1, P256_BYTES, &x) ||
        !octets(jwk, "y", point + 1 + P256_BYTES, P256_BYTES, &y) || x != P256_BYTES ||
        y != P256_BYTES)
        return NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (builder &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) ==
            1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point,
                                         sizeof(point)) == 1)
        key = make_key("EC", builder);
    OSSL_PARAM_BLD_free(builder);
    return key;
}

static bool member_allows(const json_t *jwk, const char *name, const char *only)
{
    const json_t *value = json_object_get(jwk, name);
    return !value || (json_is_string(value) && strcmp(json_string_value(value), only) == 0);
}

/* False: a key of another kind or use, or a broken one. */
static bool read_key(const json_t *jwk, struct jwk *out)
{
    const char *type = json_string_value(json_object_get(jwk, "kty"));
    const char *kid = json_string_value(json_object_get(jwk, "kid"));
    if (!type || !member_allows(jwk, "use", "sig"))
        return false;
    if (strcmp(type, "RSA") == 0 && member_allows(jwk, "alg", "RS256"))
        *out = (struct jwk){ JWT_RS256, NULL, rsa_key(jwk) };
    else if (strcmp(type, "EC") == 0 && member_allows(jwk, "alg", "ES256"))
        *out = (struct jwk){ JWT_ES256, NULL, p256_key(jwk) };
    else
        return false;
    out->kid = out->key ? strdup(kid ? kid : "") : NULL;
    if (out->kid)
        return true;
    EVP_PKEY_free(out->key);
    return false;
}

/* ---- sets ---- */

enum kist_err jwks_parse(struct bytes json, struct jwks **out)
{
    json_error_t error;
    if (json.len > JWKS_LEN_MAX)
        return KIST_E_INVALID;
    json_t *root = json_loadb((const char *)json.ptr, json.len, JSON_REJECT_DUPLICATES, &error);
    const json_t *keys = json_object_get(root, "keys");
    struct jwks *set = json_is_array(keys) ? calloc(1, sizeof(*set)) : NULL;
    for (size_t i = 0; set && i < json_array_size(keys) && set->count < JWKS_KEYS_MAX; i++)
        if (read_key(json_array_get(keys, i), &set->keys[set->count]))
            set->count++;
    json_decref(root);
    if (!set)
        return KIST_E_INVALID;
    set->references = 1;
    *out = set;
    return KIST_OK;
}

struct jwks *jwks_ref(struct jwks *set)
{
    atomic_fetch_add(&set->references, 1);
    return set;
}

void jwks_unref(struct jwks *set)
{
    if (!set || atomic_fetch_sub(&set->references, 1) != 1)
        return;
    for (size_t i = 0; i < set->count; i++) {
        EVP_PKEY_free(set->keys[i].key);
        free(set->keys[i].kid);
    }
    free(set);
}

size_t jwks_count(const struct jwks *set)
{
    return set->count;
}

/* By its id; a token without one can only mean the one key that there is. */
static const struct jwk *find(const struct jwks *set, const struct jwt *token)
{
    const struct jwk *found = NULL;
    for (size_t i = 0; i < set->count; i++) {
        const struct jwk *k = &set->keys[i];
        if (k->algorithm != token->algorithm ||
            (token->kid.len && !bytes_equal(bytes_str(k->kid), token->kid)))
            continue;
        if (found)
            return NULL; /* which of them? */
        found = k;
    }
    return found;
}

/* ---- signatures ---- */

/* RFC 7518 section 3.4: r and s side by side; OpenSSL wants DER. Length, or -1. */
static int ecdsa_der(struct bytes raw, unsigned char **der)
{
    int len = -1;
    if (raw.len != (size_t)2 * P256_BYTES)
        return -1;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw.ptr, P256_BYTES, NULL);
    BIGNUM *s = BN_bin2bn(raw.ptr + P256_BYTES, P256_BYTES, NULL);
    if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* the pair's now */
        len = i2d_ECDSA_SIG(pair, der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return len;
}

static bool signature_holds(EVP_PKEY *key, struct bytes signature, struct bytes text)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestVerifyInit(c, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(c, signature.ptr, signature.len, text.ptr, text.len) == 1;
    EVP_MD_CTX_free(c);
    return ok;
}

enum kist_err jwt_verify(const struct jwt *token, const struct jwks *set)
{
    const struct jwk *k = find(set, token);
    unsigned char *der = NULL;
    struct bytes signature = token->signature;
    bool ok = true;
    if (!k)
        return KIST_E_NOT_FOUND;
    if (k->algorithm == JWT_ES256) {
        int len = ecdsa_der(signature, &der);
        ok = len > 0;
        signature = bytes_of(der, ok ? (size_t)len : 0);
    }
    ok = ok && signature_holds(k->key, signature, token->signed_by);
    OPENSSL_free(der);
    return ok ? KIST_OK : KIST_E_SIGNATURE;
}
