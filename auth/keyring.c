/* The cache of derived signing keys: 64 sets of 4, a lock each.
 *
 * An entry's name is everything that it was derived from, the secret included; a key whose secret
 * has changed is therefore simply another entry, and the old one falls out in its turn.
 */
#include "auth/keyring.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "storage/base/codec.h"

#define SETS 64
#define WAYS 4
#define NAME_MAX_BYTES 512

struct signing_key {
    atomic_uint refs;
    struct hmac_key *hmac;
    uint8_t raw[AUTH_KEY_LEN];
    size_t name_len;
    uint8_t name[];
};

struct key_set {
    pthread_mutex_t lock; /* protects all below; held for lookups and swaps only */
    unsigned victim;
    struct signing_key *ways[WAYS];
};

struct auth_keyring {
    struct credential_store *store;
    struct key_set sets[SETS];
};

struct auth_keyring *auth_keyring_new(struct credential_store *store)
{
    struct auth_keyring *ring = calloc(1, sizeof *ring);
    if (!ring)
        return NULL;
    ring->store = store;
    for (size_t i = 0; i < SETS; i++)
        pthread_mutex_init(&ring->sets[i].lock, NULL);
    return ring;
}

void auth_keyring_free(struct auth_keyring *ring)
{
    if (!ring)
        return;
    for (size_t i = 0; i < SETS; i++) {
        for (size_t way = 0; way < WAYS; way++)
            signing_key_unref(ring->sets[i].ways[way]);
        pthread_mutex_destroy(&ring->sets[i].lock);
    }
    free(ring);
}

struct credential_store *auth_keyring_store(struct auth_keyring *ring)
{
    return ring->store;
}

void sigv4_derive_key(struct bytes secret, const struct signing_scope *scope, uint8_t out[32])
{
    uint8_t first[4 + AUTH_SECRET_MAX];
    assert(secret.len <= AUTH_SECRET_MAX);
    memcpy(first, "AWS4", 4);
    if (secret.len > 0)
        memcpy(first + 4, secret.ptr, secret.len);
    hmac_sha256(bytes_of(first, 4 + secret.len), scope->date, out);
    hmac_sha256(bytes_of(out, 32), scope->region, out);
    hmac_sha256(bytes_of(out, 32), scope->service, out);
    hmac_sha256(bytes_of(out, 32), BYTES_LIT("aws4_request"), out);
    explicit_bzero(first, sizeof first);
}

static uint8_t *put_field(uint8_t *to, struct bytes s)
{
    *to++ = (uint8_t)(s.len >> 8);
    *to++ = (uint8_t)s.len;
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    return to + s.len;
}

/* FNV-1a; what it spreads was checked against our own keys and region before, so no stranger
 * chooses it. */
static size_t set_of(struct bytes name)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ name.ptr[i]) * 0x100000001b3U;
    return (size_t)((hash ^ hash >> 32) % SETS);
}

static struct signing_key *key_make(struct bytes name, struct bytes secret,
                                    const struct signing_scope *scope)
{
    struct signing_key *key = malloc(sizeof *key + name.len);
    if (!key)
        return NULL;
    atomic_init(&key->refs, 1);
    key->name_len = name.len;
    memcpy(key->name, name.ptr, name.len);
    sigv4_derive_key(secret, scope, key->raw);
    key->hmac = hmac_key_new(bytes_of(key->raw, sizeof key->raw));
    if (!key->hmac) {
        free(key);
        return NULL;
    }
    return key;
}

static struct signing_key *key_ref(struct signing_key *key)
{
    atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
    return key;
}

void signing_key_unref(struct signing_key *key)
{
    if (!key || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) != 1)
        return;
    hmac_key_free(key->hmac);
    explicit_bzero(key, sizeof *key + key->name_len);
    free(key);
}

static struct signing_key *set_find(struct key_set *set, struct bytes name)
{
    struct signing_key *found = NULL;
    pthread_mutex_lock(&set->lock);
    for (size_t way = 0; way < WAYS && !found; way++) {
        struct signing_key *key = set->ways[way];
        if (key && bytes_equal_secret(bytes_of(key->name, key->name_len), name))
            found = key_ref(key);
    }
    pthread_mutex_unlock(&set->lock);
    return found;
}

/* Two threads may add the same key; the double one is harmless and falls out in its turn. */
static void set_add(struct key_set *set, struct signing_key *key)
{
    pthread_mutex_lock(&set->lock);
    struct signing_key *old = set->ways[set->victim];
    set->ways[set->victim] = key_ref(key);
    set->victim = (set->victim + 1) % WAYS;
    pthread_mutex_unlock(&set->lock);
    signing_key_unref(old);
}

enum kist_err auth_keyring_get(struct auth_keyring *ring, struct bytes access_key_id,
                               struct bytes secret, const struct signing_scope *scope,
                               struct signing_key **out)
{
    uint8_t name[NAME_MAX_BYTES];
    size_t len = 10 + access_key_id.len + secret.len + scope->date.len + scope->region.len +
                 scope->service.len;
    if (secret.len > AUTH_SECRET_MAX || len > sizeof name)
        return KIST_E_TOO_LARGE;
    uint8_t *to = put_field(name, access_key_id);
    to = put_field(to, scope->date);
    to = put_field(to, scope->region);
    to = put_field(to, scope->service);
    struct key_set *set = &ring->sets[set_of(bytes_of(name, (size_t)(to - name)))];
    put_field(to, secret);
    struct signing_key *key = set_find(set, bytes_of(name, len));
    if (!key) {
        key = key_make(bytes_of(name, len), secret, scope);
        if (key)
            set_add(set, key);
    }
    explicit_bzero(name, len);
    if (!key)
        return KIST_E_NOMEM;
    *out = key;
    return KIST_OK;
}

void signing_key_sign(const struct signing_key *key, struct bytes data, char out_hex[65])
{
    uint8_t mac[32];
    hmac_key_sign(key->hmac, data, mac);
    hex_encode(bytes_of(mac, sizeof mac), out_hex);
}

const uint8_t *signing_key_raw(const struct signing_key *key)
{
    return key->raw;
}
