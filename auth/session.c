#include "auth/session.h"

#include <openssl/evp.h>

#include "storage/base/codec.h"
#include "storage/base/digest.h"

/* version, nonce, sealed record, tag */
#define VERSION 1
#define NONCE_LEN 12
#define TAG_LEN 16
#define FRAME_LEN (1 + NONCE_LEN + TAG_LEN)

void session_sealer_init(struct session_sealer *sealer, struct bytes root_secret)
{
    hmac_sha256(root_secret, BYTES_LIT("kist session tokens 1"), sealer->key);
}

/* Seals or opens len bytes at `data` in place; the version is authenticated with them. */
static bool crypt_in_place(const struct session_sealer *sealer, bool seal, const uint8_t *nonce,
                           uint8_t *data, int len, uint8_t *tag)
{
    uint8_t version = VERSION;
    int n = 0;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    bool ok = c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, sealer->key, nonce, seal) == 1 &&
              EVP_CipherUpdate(c, NULL, &n, &version, 1) == 1 &&
              EVP_CipherUpdate(c, data, &n, data, len) == 1;
    if (ok && !seal)
        ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) == 1;
    ok = ok && EVP_CipherFinal_ex(c, data + n, &n) == 1;
    if (ok && seal)
        ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_LEN, tag) == 1;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

enum kist_err session_seal(const struct session_sealer *sealer, struct env *env,
                           const Kist__Session *session, struct arena *arena, struct bytes *token)
{
    struct buf packed;
    buf_init(&packed, SESSION_TOKEN_MAX * 3 / 4 - FRAME_LEN - TAG_LEN);
    enum kist_err err = schema_pack(session, &packed);
    size_t len = FRAME_LEN + packed.len;
    uint8_t *frame = err == KIST_OK ? arena_alloc(arena, len) : NULL;
    char *text = frame ? arena_alloc(arena, (len + 2) / 3 * 4 + 1) : NULL;
    if (err == KIST_OK && !text)
        err = KIST_E_NOMEM;
    if (err == KIST_OK) {
        uint8_t *nonce = frame + 1, *data = nonce + NONCE_LEN;
        frame[0] = VERSION;
        env->random(env, nonce, NONCE_LEN);
        memcpy(data, packed.ptr, packed.len);
        if (!crypt_in_place(sealer, true, nonce, data, (int)packed.len, data + packed.len))
            err = KIST_E_NOMEM;
    }
    buf_release(&packed);
    if (err != KIST_OK)
        return err;
    base64_encode(bytes_of(frame, len), text);
    *token = bytes_str(text);
    return KIST_OK;
}

enum kist_err session_open(const struct session_sealer *sealer, struct bytes token,
                           struct arena *arena, Kist__Session **out)
{
    size_t len = 0;
    if (token.len == 0 || token.len > SESSION_TOKEN_MAX)
        return KIST_E_TOKEN;
    uint8_t *frame = arena_alloc(arena, token.len);
    if (!frame)
        return KIST_E_NOMEM;
    if (base64_decode(token, frame, token.len, &len) != KIST_OK || len <= FRAME_LEN ||
        frame[0] != VERSION)
        return KIST_E_TOKEN;
    uint8_t *nonce = frame + 1, *data = nonce + NONCE_LEN;
    size_t sealed = len - FRAME_LEN;
    if (!crypt_in_place(sealer, false, nonce, data, (int)sealed, data + sealed))
        return KIST_E_TOKEN;
    enum kist_err err =
        schema_unpack(&kist__session__descriptor, bytes_of(data, sealed), arena, out);
    return err == KIST_E_NOMEM ? err : err == KIST_OK ? KIST_OK : KIST_E_TOKEN;
}
