#include "auth/oidc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "auth/oidc_fetch.h"
#include "storage/base/trace.h"

#define PROVIDERS_MAX 64
/* A peer's rate is RATE_PER_S, after a burst of BURST. */
#define PEERS 256
#define RATE_PER_S 50
#define BURST 200
#define THREADS 2
#define WAITING_MAX 64U
/* A key that its issuer takes back is believed no longer than this. */
#define KEYS_LIVE_MS ((int64_t)15 * 60 * 1000)
#define FAILURE_LIVES_MS ((int64_t)5 * 1000)
#define REFRESH_EVERY_MS ((int64_t)30 * 1000)
/* Clocks of issuers that run ahead. */
#define SKEW_MS ((int64_t)60 * 1000)

struct entry {
    size_t id_len; /* 0: free */
    uint8_t id[OIDC_ID_MAX];
    uint64_t changed;
    struct jwks *keys; /* NULL: the fetch failed, or is yet to end */
    uint64_t fetched_ms, failed_ms, refreshed_ms, used_ms; /* monotonic; 0: never */
};

struct oidc {
    struct env *env;
    _Atomic uint64_t paid_ns[PEERS]; /* by hash of the peer: until when its tokens are paid for */
    struct worker_pool *workers;
    atomic_uint waiting;
    pthread_mutex_t lock; /* of all below; never held while a fetch runs */
    char avoid[96];
    struct entry entries[PROVIDERS_MAX];
};

/* ---- URLs ---- */

static const struct bytes https = { (const uint8_t *)"https://", 8 };
static const struct bytes http = { (const uint8_t *)"http://", 7 };

static bool host_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-.[]:", c));
}

static bool path_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~/:@+,=!$&'()*;%", c));
}

bool oidc_url_is_loopback(struct bytes url)
{
    struct bytes name = oidc_url_name(url);
    static const char *const hosts[] = { "127.0.0.1", "[::1]", "localhost" };
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct bytes host = bytes_str(hosts[i]);
        if (bytes_starts_with(name, host) &&
            (name.len == host.len || name.ptr[host.len] == ':' || name.ptr[host.len] == '/'))
            return true;
    }
    return false;
}

bool oidc_url_is_valid(struct bytes url)
{
    struct bytes name = oidc_url_name(url);
    size_t at = 0;
    if (url.len > OIDC_URL_MAX || name.len == 0)
        return false;
    while (at < name.len && host_char(name.ptr[at]))
        at++;
    if (at == 0 || (at < name.len && name.ptr[at] != '/'))
        return false;
    while (at < name.len && path_char(name.ptr[at]))
        at++;
    return at == name.len && (bytes_starts_with(url, https) || oidc_url_is_loopback(url));
}

struct bytes oidc_url_name(struct bytes url)
{
    size_t skip = bytes_starts_with(url, https)  ? https.len
                  : bytes_starts_with(url, http) ? http.len
                                                 : url.len;
    return bytes_of(url.ptr + skip, url.len - skip);
}

/* ---- rates ---- */

bool oidc_admit(struct oidc *o, struct bytes peer)
{
    const uint64_t each_ns = 1000000000U / RATE_PER_S, burst_ns = BURST * each_ns;
    uint64_t hash = 1469598103934665603U, now = mono_ns();
    for (size_t i = 0; i < peer.len; i++)
        hash = (hash ^ peer.ptr[i]) * 1099511628211U;
    _Atomic uint64_t *paid = &o->paid_ns[hash % PEERS];
    uint64_t was = atomic_load(paid), next;
    do {
        next = (was > now ? was : now) + each_ns;
        if (next > now + burst_ns)
            return false;
    } while (!atomic_compare_exchange_weak(paid, &was, next));
    return true;
}

/* ---- entries ---- */

static uint64_t clock_ms(void)
{
    return mono_ns() / 1000000 + 1; /* 0 means never */
}

static bool within(uint64_t then_ms, int64_t span_ms)
{
    return then_ms && clock_ms() - then_ms < (uint64_t)span_ms;
}

static bool is_of(const struct entry *e, const struct oidc_provider *p)
{
    return bytes_equal(bytes_of(e->id, e->id_len), p->id) && e->changed == p->changed;
}

static struct entry *find(struct oidc *o, const struct oidc_provider *p)
{
    for (size_t i = 0; i < PROVIDERS_MAX; i++)
        if (is_of(&o->entries[i], p)) {
            o->entries[i].used_ms = clock_ms();
            return &o->entries[i];
        }
    return NULL;
}

/* Its entry; a new one takes the place of the provider's former state, or of who was not asked
 * about for longest. */
static struct entry *claim(struct oidc *o, const struct oidc_provider *p)
{
    struct entry *e = find(o, p);
    if (e)
        return e;
    e = &o->entries[0];
    for (size_t i = 0; i < PROVIDERS_MAX; i++) {
        struct entry *other = &o->entries[i];
        if (bytes_equal(bytes_of(other->id, other->id_len), p->id)) {
            e = other;
            break;
        }
        if (other->used_ms < e->used_ms)
            e = other;
    }
    jwks_unref(e->keys);
    *e = (struct entry){ .id_len = p->id.len, .changed = p->changed, .used_ms = clock_ms() };
    memcpy(e->id, p->id.ptr, p->id.len);
    return e;
}

/* ---- checking ---- */

/* A reference to keys that are fresh. */
static enum kist_err keys_of(struct oidc *o, const struct oidc_provider *p, struct jwks **out)
{
    enum kist_err err = KIST_E_BUSY;
    pthread_mutex_lock(&o->lock);
    struct entry *e = find(o, p);
    if (e && e->keys && within(e->fetched_ms, KEYS_LIVE_MS)) {
        *out = jwks_ref(e->keys);
        err = KIST_OK;
    } else if (e && within(e->failed_ms, FAILURE_LIVES_MS)) {
        err = KIST_E_IO;
    }
    pthread_mutex_unlock(&o->lock);
    return err;
}

/* An unknown key is asked for, unless somebody just did. */
static enum kist_err may_refresh(struct oidc *o, const struct oidc_provider *p)
{
    pthread_mutex_lock(&o->lock);
    const struct entry *e = find(o, p);
    bool lately = e && (within(e->refreshed_ms, REFRESH_EVERY_MS) ||
                        within(e->failed_ms, FAILURE_LIVES_MS));
    pthread_mutex_unlock(&o->lock);
    return lately ? KIST_E_NOT_FOUND : KIST_E_BUSY;
}

enum kist_err oidc_check(struct oidc *o, const struct oidc_provider *provider,
                         const struct jwt *token)
{
    struct jwks *keys = NULL;
    int64_t now = o->env->now_ms(o->env);
    if (provider->id.len == 0 || provider->id.len > OIDC_ID_MAX)
        return KIST_E_INVALID;
    TRY(keys_of(o, provider, &keys));
    enum kist_err err = jwt_verify(token, keys);
    jwks_unref(keys);
    if (err == KIST_E_NOT_FOUND)
        return may_refresh(o, provider);
    TRY(err);
    /* Only of a token that is genuine: to others, nothing is told. */
    if (token->expires_ms <= now)
        return KIST_E_TOKEN_EXPIRED;
    if (token->not_before_ms > now + SKEW_MS || token->issued_ms > now + SKEW_MS)
        return KIST_E_DENIED;
    return KIST_OK;
}

/* ---- fetching ---- */

/* False: who came before has fetched them meanwhile. */
static bool begin_fetch(struct oidc *o, const struct oidc_provider *p, char avoid[96])
{
    pthread_mutex_lock(&o->lock);
    struct entry *e = claim(o, p);
    bool fresh = e->keys && within(e->fetched_ms, KEYS_LIVE_MS);
    bool wanted = !within(e->failed_ms, FAILURE_LIVES_MS) &&
                  !(fresh && within(e->refreshed_ms, REFRESH_EVERY_MS));
    if (wanted && fresh)
        e->refreshed_ms = clock_ms();
    memcpy(avoid, o->avoid, sizeof(o->avoid));
    pthread_mutex_unlock(&o->lock);
    return wanted;
}

static void end_fetch(struct oidc *o, const struct oidc_provider *p, struct jwks *keys)
{
    pthread_mutex_lock(&o->lock);
    struct entry *e = claim(o, p);
    if (keys) {
        jwks_unref(e->keys);
        e->keys = keys;
        e->fetched_ms = clock_ms();
        e->failed_ms = 0;
    } else {
        e->failed_ms = clock_ms();
    }
    pthread_mutex_unlock(&o->lock);
}

static void run(struct job *base)
{
    struct oidc_job *job = CONTAINER_OF(base, struct oidc_job, job);
    struct oidc *o = job->oidc;
    struct jwks *keys = NULL;
    char avoid[96];
    if (begin_fetch(o, job->provider, avoid)) {
        if (oidc_fetch_keys(job->provider, avoid, &keys) != KIST_OK)
            TRACE(TRACE_WARN, "oidc", "no keys from %.*s", (int)job->provider->issuer.len,
                  (const char *)job->provider->issuer.ptr);
        end_fetch(o, job->provider, keys);
    }
    atomic_fetch_sub(&o->waiting, 1);
    job->done(job);
}

enum kist_err oidc_fetch(struct oidc *o, struct oidc_job *job)
{
    if (atomic_fetch_add(&o->waiting, 1) >= WAITING_MAX) {
        atomic_fetch_sub(&o->waiting, 1);
        return KIST_E_BUSY;
    }
    job->job.run = run;
    job->oidc = o;
    worker_submit(o->workers, &job->job);
    return KIST_OK;
}

/* ---- life ---- */

enum kist_err oidc_open(struct env *env, struct oidc **out)
{
    struct oidc *o = calloc(1, sizeof(*o));
    if (!o)
        return KIST_E_NOMEM;
    o->env = env;
    pthread_mutex_init(&o->lock, NULL);
    enum kist_err err = oidc_fetch_init();
    if (err == KIST_OK)
        err = worker_pool_open("oidc", THREADS, &o->workers);
    if (err != KIST_OK) {
        oidc_close(o);
        return err;
    }
    *out = o;
    return KIST_OK;
}

void oidc_close(struct oidc *o)
{
    if (!o)
        return;
    worker_pool_close(o->workers);
    for (size_t i = 0; i < PROVIDERS_MAX; i++)
        jwks_unref(o->entries[i].keys);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

void oidc_avoid(struct oidc *o, const char *address)
{
    pthread_mutex_lock(&o->lock);
    size_t len = strnlen(address, sizeof(o->avoid) - 1);
    memcpy(o->avoid, address, len);
    o->avoid[len] = '\0';
    pthread_mutex_unlock(&o->lock);
}
