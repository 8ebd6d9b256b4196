/* Digest sets over OpenSSL's EVP and our CRCs. */
#include "storage/base/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>

#define CACHED_MAX 32

static EVP_MD *fetched[3]; /* MD5, SHA1, SHA256: fetching costs more than hashing a small body */
static pthread_key_t cache_key;

/* Contexts that a thread has released: allocation and initialisation cost more than their use. */
struct cache {
    EVP_MD_CTX *ctx[CACHED_MAX];
    size_t count;
};

static void cache_free(void *arg)
{
    struct cache *c = arg;
    while (c->count)
        EVP_MD_CTX_free(c->ctx[--c->count]);
    free(c);
}

static void setup(void)
{
    fetched[DIGEST_MD5] = EVP_MD_fetch(NULL, "MD5", NULL);
    fetched[DIGEST_SHA1] = EVP_MD_fetch(NULL, "SHA1", NULL);
    fetched[DIGEST_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (pthread_key_create(&cache_key, cache_free) != 0)
        abort();
}

static void setup_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, setup);
}

static struct cache *cache_of_thread(void)
{
    struct cache *c = pthread_getspecific(cache_key);
    if (!c) {
        c = calloc(1, sizeof(*c));
        if (c && pthread_setspecific(cache_key, c) != 0) {
            free(c);
            c = NULL;
        }
    }
    return c;
}

static EVP_MD_CTX *ctx_take(void)
{
    struct cache *c = cache_of_thread();
    return c && c->count ? c->ctx[--c->count] : EVP_MD_CTX_new();
}

static void ctx_give(EVP_MD_CTX *ctx)
{
    struct cache *c = ctx ? cache_of_thread() : NULL;
    if (c && c->count < CACHED_MAX)
        c->ctx[c->count++] = ctx;
    else
        EVP_MD_CTX_free(ctx);
}

static bool is_hash(enum digest_kind kind)
{
    return kind <= DIGEST_SHA256;
}

size_t digest_len(enum digest_kind kind)
{
    static const size_t lens[] = { 16, 20, 32, 4, 4, 8 };
    return lens[kind];
}

enum kist_err digest_set_init(struct digest_set *set, unsigned kinds)
{
    struct digest_set s = { .kinds = kinds };
    setup_once();
    for (unsigned k = 0; k <= DIGEST_SHA256; k++) {
        if (!(kinds & DIGEST_BIT(k)))
            continue;
        EVP_MD_CTX *ctx = ctx_take();
        s.ctx[k] = ctx;
        if (!ctx || EVP_DigestInit_ex2(ctx, fetched[k], NULL) != 1) {
            digest_set_release(&s);
            return KIST_E_NOMEM;
        }
    }
    *set = s;
    return KIST_OK;
}

void digest_set_release(struct digest_set *set)
{
    for (unsigned k = 0; k <= DIGEST_SHA256; k++)
        if (set->ctx[k])
            ctx_give(set->ctx[k]);
    *set = (struct digest_set){ 0 };
}

void digest_set_update(struct digest_set *set, const void *data, size_t len)
{
    for (unsigned k = 0; k <= DIGEST_SHA256; k++)
        if (set->ctx[k])
            EVP_DigestUpdate(set->ctx[k], data, len);
    if (set->kinds & DIGEST_BIT(DIGEST_CRC32))
        set->crc[DIGEST_CRC32] = crc32_update((uint32_t)set->crc[DIGEST_CRC32], data, len);
    if (set->kinds & DIGEST_BIT(DIGEST_CRC32C))
        set->crc[DIGEST_CRC32C] = crc32c_update((uint32_t)set->crc[DIGEST_CRC32C], data, len);
    if (set->kinds & DIGEST_BIT(DIGEST_CRC64NVME))
        set->crc[DIGEST_CRC64NVME] = crc64nvme_update(set->crc[DIGEST_CRC64NVME], data, len);
}

void digest_set_final(struct digest_set *set, enum digest_kind kind, uint8_t *out)
{
    size_t len = digest_len(kind);
    if (is_hash(kind)) {
        EVP_DigestFinal_ex(set->ctx[kind], out, NULL);
        return;
    }
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(set->crc[kind] >> (8 * (len - 1 - i)));
}

void digest_set_restart(struct digest_set *set, enum digest_kind kind)
{
    set->crc[kind] = 0;
    if (is_hash(kind))
        EVP_DigestInit_ex2(set->ctx[kind], NULL, NULL);
}

void digest_set_drop(struct digest_set *set, enum digest_kind kind)
{
    if (set->ctx[kind])
        ctx_give(set->ctx[kind]);
    set->ctx[kind] = NULL;
    set->kinds &= ~DIGEST_BIT(kind);
}

bool digest_set_peek(const struct digest_set *set, enum digest_kind kind, uint8_t *out)
{
    EVP_MD_CTX *copy = ctx_take();
    bool ok = copy && EVP_MD_CTX_copy_ex(copy, set->ctx[kind]) == 1 &&
              EVP_DigestFinal_ex(copy, out, NULL) == 1;
    ctx_give(copy);
    return ok;
}

void digest_once(enum digest_kind kind, struct bytes in, uint8_t *out)
{
    struct digest_set set;
    if (digest_set_init(&set, DIGEST_BIT(kind)) != KIST_OK)
        abort(); /* a few hundred bytes: the machine has none left */
    digest_set_update(&set, in.ptr, in.len);
    digest_set_final(&set, kind, out);
    digest_set_release(&set);
}

/* ---- HMAC ---- */

struct hmac_key {
    EVP_MD_CTX *inner, *outer;
};

static bool absorb_pad(EVP_MD_CTX *ctx, const uint8_t block[64], uint8_t with)
{
    uint8_t pad[64];
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] = block[i] ^ with;
    return EVP_DigestInit_ex2(ctx, fetched[DIGEST_SHA256], NULL) == 1 &&
           EVP_DigestUpdate(ctx, pad, sizeof(pad)) == 1;
}

struct hmac_key *hmac_key_new(struct bytes key)
{
    uint8_t block[64] = { 0 };
    setup_once();
    if (key.len > sizeof(block))
        digest_once(DIGEST_SHA256, key, block);
    else if (key.len)
        memcpy(block, key.ptr, key.len);
    struct hmac_key *k = calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    k->inner = EVP_MD_CTX_new();
    k->outer = EVP_MD_CTX_new();
    bool ok = k->inner && k->outer && absorb_pad(k->inner, block, 0x36) &&
              absorb_pad(k->outer, block, 0x5c);
    OPENSSL_cleanse(block, sizeof(block));
    if (!ok) {
        hmac_key_free(k);
        return NULL;
    }
    return k;
}

void hmac_key_free(struct hmac_key *k)
{
    if (!k)
        return;
    EVP_MD_CTX_free(k->inner);
    EVP_MD_CTX_free(k->outer);
    free(k);
}

void hmac_key_sign(const struct hmac_key *k, struct bytes data, uint8_t out[32])
{
    uint8_t inner[32];
    EVP_MD_CTX *ctx = ctx_take();
    bool ok = ctx && EVP_MD_CTX_copy_ex(ctx, k->inner) == 1 &&
              EVP_DigestUpdate(ctx, data.ptr, data.len) == 1 &&
              EVP_DigestFinal_ex(ctx, inner, NULL) == 1 &&
              EVP_MD_CTX_copy_ex(ctx, k->outer) == 1 &&
              EVP_DigestUpdate(ctx, inner, sizeof(inner)) == 1 &&
              EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    if (!ok)
        abort(); /* no signature may ever come out as stale memory */
    ctx_give(ctx);
}

void hmac_sha1(struct bytes key, struct bytes data, uint8_t out[20])
{
    static const uint8_t nothing[1];
    if (!HMAC(EVP_sha1(), key.len ? key.ptr : nothing, (int)key.len,
              data.len ? data.ptr : nothing, data.len, out, NULL))
        abort();
}

void hmac_sha256(struct bytes key, struct bytes data, uint8_t out[32])
{
    struct hmac_key *k = hmac_key_new(key);
    if (!k)
        abort();
    hmac_key_sign(k, data, out);
    hmac_key_free(k);
}
