#include "storage/base/seal.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "storage/base/digest.h"

#define NONCE_BYTES 12
#define SALT_BYTES 16

struct sealer {
    EVP_CIPHER_CTX *ctx;
    uint8_t key[SEAL_KEY_BYTES];
};

static void nonce_of(uint64_t block, uint8_t nonce[NONCE_BYTES])
{
    memset(nonce, 0, NONCE_BYTES);
    for (unsigned i = 0; i < 8; i++)
        nonce[NONCE_BYTES - 1 - i] = (uint8_t)(block >> (8 * i));
}

enum kist_err sealer_open(const uint8_t key[SEAL_KEY_BYTES], struct sealer **out)
{
    struct sealer *s = calloc(1, sizeof(*s));
    if (!s)
        return KIST_E_NOMEM;
    memcpy(s->key, key, SEAL_KEY_BYTES);
    s->ctx = EVP_CIPHER_CTX_new();
    if (!s->ctx || EVP_CipherInit_ex(s->ctx, EVP_aes_256_gcm(), NULL, s->key, NULL, 1) != 1) {
        sealer_close(s);
        return KIST_E_NOMEM;
    }
    *out = s;
    return KIST_OK;
}

void sealer_close(struct sealer *s)
{
    if (!s)
        return;
    EVP_CIPHER_CTX_free(s->ctx);
    OPENSSL_cleanse(s->key, sizeof(s->key));
    free(s);
}

enum kist_err sealer_begin(struct sealer *s, uint64_t block)
{
    uint8_t nonce[NONCE_BYTES];
    nonce_of(block, nonce);
    return EVP_CipherInit_ex(s->ctx, NULL, NULL, NULL, nonce, 1) == 1 ? KIST_OK : KIST_E_NOMEM;
}

enum kist_err sealer_update(struct sealer *s, struct bytes in, uint8_t *out)
{
    int n = 0;
    assert(in.len <= INT32_MAX);
    return EVP_CipherUpdate(s->ctx, out, &n, in.ptr, (int)in.len) == 1 ? KIST_OK : KIST_E_NOMEM;
}

enum kist_err sealer_end(struct sealer *s, uint8_t tag[SEAL_TAG_BYTES])
{
    uint8_t none[SEAL_TAG_BYTES];
    int n = 0;
    bool ok = EVP_CipherFinal_ex(s->ctx, none, &n) == 1 &&
              EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_GCM_GET_TAG, SEAL_TAG_BYTES, tag) == 1;
    return ok ? KIST_OK : KIST_E_NOMEM;
}

enum kist_err sealer_open_block(struct sealer *s, uint64_t block, struct bytes sealed,
                                uint8_t *out)
{
    uint8_t nonce[NONCE_BYTES], tag[SEAL_TAG_BYTES];
    int n = 0;
    if (sealed.len < SEAL_TAG_BYTES || sealed.len > INT32_MAX)
        return KIST_E_CORRUPT;
    size_t len = sealed.len - SEAL_TAG_BYTES;
    nonce_of(block, nonce);
    memcpy(tag, sealed.ptr + len, SEAL_TAG_BYTES);
    bool ok = EVP_CipherInit_ex(s->ctx, NULL, NULL, NULL, nonce, 0) == 1 &&
              EVP_CipherUpdate(s->ctx, out, &n, sealed.ptr, (int)len) == 1 &&
              EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_GCM_SET_TAG, SEAL_TAG_BYTES, tag) == 1 &&
              EVP_CipherFinal_ex(s->ctx, out + n, &n) == 1;
    return ok ? KIST_OK : KIST_E_CORRUPT;
}

/* ---- wrapping: one block under a key derived for it ---- */

static enum kist_err derived(const uint8_t wrapping_key[SEAL_KEY_BYTES], const uint8_t *salt,
                             struct sealer **out)
{
    static const char label[] = "kist data key 1:";
    uint8_t text[sizeof(label) - 1 + SALT_BYTES], key[SEAL_KEY_BYTES];
    memcpy(text, label, sizeof(label) - 1);
    memcpy(text + sizeof(label) - 1, salt, SALT_BYTES);
    hmac_sha256(bytes_of(wrapping_key, SEAL_KEY_BYTES), bytes_of(text, sizeof(text)), key);
    enum kist_err err = sealer_open(key, out);
    OPENSSL_cleanse(key, sizeof(key));
    return err;
}

enum kist_err seal_wrap(struct env *env, const uint8_t wrapping_key[SEAL_KEY_BYTES],
                        const uint8_t key[SEAL_KEY_BYTES], uint8_t wrapped[SEAL_WRAPPED_BYTES])
{
    struct sealer *s = NULL;
    env->random(env, wrapped, SALT_BYTES);
    TRY(derived(wrapping_key, wrapped, &s));
    enum kist_err err = sealer_begin(s, 0);
    if (err == KIST_OK)
        err = sealer_update(s, bytes_of(key, SEAL_KEY_BYTES), wrapped + SALT_BYTES);
    if (err == KIST_OK)
        err = sealer_end(s, wrapped + SALT_BYTES + SEAL_KEY_BYTES);
    sealer_close(s);
    return err;
}

enum kist_err seal_new_key(struct env *env, const uint8_t wrapping_key[SEAL_KEY_BYTES],
                           uint8_t key[SEAL_KEY_BYTES], uint8_t wrapped[SEAL_WRAPPED_BYTES])
{
    env->random(env, key, SEAL_KEY_BYTES);
    return seal_wrap(env, wrapping_key, key, wrapped);
}

enum kist_err seal_unwrap(const uint8_t wrapping_key[SEAL_KEY_BYTES], struct bytes wrapped,
                          uint8_t key[SEAL_KEY_BYTES])
{
    struct sealer *s = NULL;
    if (wrapped.len != SEAL_WRAPPED_BYTES)
        return KIST_E_DENIED;
    TRY(derived(wrapping_key, wrapped.ptr, &s));
    enum kist_err err = sealer_open_block(
        s, 0, bytes_of(wrapped.ptr + SALT_BYTES, SEAL_WRAPPED_BYTES - SALT_BYTES), key);
    sealer_close(s);
    return err == KIST_E_CORRUPT ? KIST_E_DENIED : err;
}

/* ---- lengths ---- */

uint64_t sealed_length(uint64_t plain, uint32_t block_bytes)
{
    uint32_t payload = block_bytes - SEAL_TAG_BYTES;
    return plain + (plain / payload + (plain % payload != 0)) * SEAL_TAG_BYTES;
}

uint64_t plain_length(uint64_t sealed, uint32_t block_bytes)
{
    uint64_t blocks = sealed / block_bytes + (sealed % block_bytes != 0);
    return sealed - blocks * SEAL_TAG_BYTES;
}
