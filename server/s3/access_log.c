#include "server/s3/access_log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/trace.h"

#define SHARDS 16
#define SHARD_BYTES_MAX ((size_t)1 << 20)
#define SHARD_BUFFERS_MAX 256
#define DAY_MS ((int64_t)86400000)

struct access_buffer {
    struct access_buffer *next;
    struct arena arena; /* the target's bytes */
    struct access_target target;
    struct buf lines;
};

struct access_shard {
    pthread_mutex_t lock;
    struct access_buffer *first;
    size_t bytes, buffers;
    uint64_t dropped;
};

struct access_log {
    struct s3_service *service;
    unsigned interval_s;
    struct access_shard shards[SHARDS];
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool full, stopping;
};

/* ---- adding ---- */

static struct access_shard *shard_of(struct access_log *log, const struct access_target *t)
{
    uint32_t hash = crc32c_update(0, t->source.ptr, t->source.len);
    return &log->shards[hash % SHARDS];
}

static bool same_target(const struct access_target *x, const struct access_target *y)
{
    return x->format == y->format && x->day == y->day && bytes_equal(x->source, y->source) &&
           bytes_equal(x->bucket, y->bucket) && bytes_equal(x->prefix, y->prefix) &&
           bytes_equal(x->acl, y->acl) && bytes_equal(x->owner, y->owner) &&
           bytes_equal(x->account, y->account);
}

static void buffer_free(struct access_buffer *b)
{
    buf_release(&b->lines);
    arena_release(&b->arena);
    free(b);
}

static bool copy_bytes(struct arena *arena, struct bytes *b)
{
    *b = arena_copy(arena, *b);
    return b->ptr || !b->len;
}

static struct access_buffer *buffer_new(const struct access_target *target)
{
    struct access_buffer *b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    arena_init(&b->arena, 16 << 10);
    buf_init(&b->lines, SHARD_BYTES_MAX);
    b->target = *target;
    struct access_target *t = &b->target;
    if (copy_bytes(&b->arena, &t->owner) && copy_bytes(&b->arena, &t->account) &&
        copy_bytes(&b->arena, &t->source) && copy_bytes(&b->arena, &t->bucket) &&
        copy_bytes(&b->arena, &t->prefix) && copy_bytes(&b->arena, &t->acl))
        return b;
    buffer_free(b);
    return NULL;
}

static struct access_buffer *buffer_for(struct access_shard *shard,
                                        const struct access_target *target)
{
    struct access_buffer *b = shard->first;
    while (b && !same_target(&b->target, target))
        b = b->next;
    if (b || shard->buffers == SHARD_BUFFERS_MAX)
        return b;
    b = buffer_new(target);
    if (!b)
        return NULL;
    b->next = shard->first;
    shard->first = b;
    shard->buffers++;
    return b;
}

static void hurry(struct access_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->full = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
}

void access_log_add(struct access_log *log, const struct access_target *target, struct bytes line)
{
    struct access_shard *shard = shard_of(log, target);
    pthread_mutex_lock(&shard->lock);
    size_t before = shard->bytes;
    struct access_buffer *b =
        before + line.len <= SHARD_BYTES_MAX ? buffer_for(shard, target) : NULL;
    if (b && buf_append_bytes(&b->lines, line) == KIST_OK)
        shard->bytes += line.len;
    else
        shard->dropped++;
    bool half = before <= SHARD_BYTES_MAX / 2 && shard->bytes > SHARD_BYTES_MAX / 2;
    pthread_mutex_unlock(&shard->lock);
    if (half)
        hurry(log);
}

/* ---- delivery ---- */

/* TargetPrefixYYYY-mm-DD-HH-MM-SS-UniqueString, or the same below account/region/bucket/date.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerLogs.html#server-log-keyname-format
 */
static char *object_key(const struct access_log *log, const struct access_target *t,
                        int64_t now_ms, struct arena *arena)
{
    struct env *env = store_env(log->service->config.store);
    uint8_t random[8];
    char unique[17], stamp[32], date[16];
    bool by_event = t->format == ACCESS_BY_EVENT;
    time_t when = (time_t)((by_event ? t->day * DAY_MS : now_ms) / 1000);
    struct tm tm;
    gmtime_r(&when, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%d-%H-%M-%S", &tm);
    strftime(date, sizeof(date), "%Y/%m/%d", &tm);
    env->random(env, random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(unique + 2 * i, 3, "%02X", random[i]);
    if (t->format == ACCESS_SIMPLE)
        return arena_printf(arena, "%.*s%s-%s", (int)t->prefix.len, (const char *)t->prefix.ptr,
                            stamp, unique);
    return arena_printf(arena, "%.*s%.*s/%s/%.*s/%s/%s-%s", (int)t->prefix.len,
                        (const char *)t->prefix.ptr, (int)t->account.len,
                        (const char *)t->account.ptr, log->service->config.region,
                        (int)t->source.len, (const char *)t->source.ptr, date, stamp, unique);
}

static enum kist_err put(struct s3_request *r, const char *bucket, const char *key,
                         struct bytes body, Kist__Acl *acl)
{
    static char name[] = "Content-Type", value[] = "text/plain";
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Pair type = KIST__PAIR__INIT, *headers[] = { &type };
    type.name = name;
    type.value = value;
    object.n_headers = 1;
    object.headers = headers;
    object.mtime_ms = s3_now(r);
    object.acl = acl;
    object.seal = s3_seal_record(r);
    struct whole_object o = { .bucket = bucket,
                              .key = key,
                              .body = body,
                              .object = &object,
                              .seal_key = r->seal ? r->seal->key : NULL };
    return store_put_whole(r->service->config.store, &o);
}

/* The target may have gone since, and another's bucket have its name. */
static enum kist_err same_owner(const struct s3_request *r, const Kist__Bucket *bucket,
                                const struct access_target *t)
{
    struct auth_owner owner = { 0 };
    const struct auth_user_store *users = r->service->config.users;
    if (!users || bytes_equal(bytes_str(bucket->owner), t->owner))
        return KIST_OK;
    enum kist_err err = auth_owner_find(users, bytes_str(bucket->owner), r->arena, &owner);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    return bytes_equal(owner.account, t->account) ? KIST_OK : KIST_E_DENIED;
}

/* Through the store, not as a request: nobody is asked, and nothing of it is logged. A bucket
 * with any default encryption gets its logs under the store's own key (SSE-S3). */
static enum kist_err deliver(struct access_log *log, const struct access_buffer *b,
                             struct arena *arena)
{
    struct env *env = store_env(log->service->config.store);
    int64_t now_ms = env->now_ms(env);
    struct s3_request r = { .service = log->service, .arena = arena };
    Kist__Bucket *bucket = NULL;
    Kist__Acl *acl = NULL; /* the bucket's owner alone */
    char *key = object_key(log, &b->target, now_ms, arena);
    if (!key)
        return KIST_E_NOMEM;
    TRY(store_bucket(log->service->config.store, b->target.bucket, arena, &bucket));
    TRY(same_owner(&r, bucket, &b->target));
    if (b->target.acl.len && bucket->ownership != OWNERSHIP_ENFORCED)
        TRY(schema_unpack(&kist__acl__descriptor, b->target.acl, arena, &acl));
    if (bucket->configs >> CONFIG_ENCRYPTION & 1)
        TRY(s3_seal_service(&r));
    enum kist_err err = put(&r, bucket->name, key, buf_bytes(&b->lines), acl);
    s3_seal_wipe(&r);
    return err;
}

static void deliver_or_tell(struct access_log *log, const struct access_buffer *b)
{
    struct arena arena;
    arena_init(&arena, (size_t)1 << 20);
    enum kist_err err = deliver(log, b, &arena);
    if (err != KIST_OK)
        TRACE(TRACE_ERROR, "s3", "access log of %.*s to %.*s: %s", (int)b->target.source.len,
              (const char *)b->target.source.ptr, (int)b->target.bucket.len,
              (const char *)b->target.bucket.ptr, kist_err_text(err));
    arena_release(&arena);
}

static void flush_shard(struct access_log *log, struct access_shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    struct access_buffer *b = shard->first;
    uint64_t dropped = shard->dropped;
    shard->first = NULL;
    shard->bytes = shard->buffers = shard->dropped = 0;
    pthread_mutex_unlock(&shard->lock);
    if (dropped)
        TRACE(TRACE_ERROR, "s3", "access logs: %llu lines dropped", (unsigned long long)dropped);
    while (b) {
        struct access_buffer *next = b->next;
        deliver_or_tell(log, b);
        buffer_free(b);
        b = next;
    }
}

/* ---- the thread ---- */

/* False: stopping. */
static bool wait_for_work(struct access_log *log)
{
    struct timespec until;
    mono_after((int64_t)log->interval_s * 1000, &until);
    pthread_mutex_lock(&log->lock);
    int rc = 0;
    while (!log->full && !log->stopping && rc == 0)
        rc = pthread_cond_timedwait(&log->wake, &log->lock, &until);
    log->full = false;
    bool go_on = !log->stopping;
    pthread_mutex_unlock(&log->lock);
    return go_on;
}

static void *run(void *arg)
{
    struct access_log *log = arg;
    bool go_on = true;
    while (go_on) {
        go_on = wait_for_work(log);
        for (size_t i = 0; i < SHARDS; i++)
            flush_shard(log, &log->shards[i]);
    }
    return NULL;
}

enum kist_err access_log_open(struct s3_service *s, unsigned interval_s, struct access_log **out)
{
    struct access_log *log = calloc(1, sizeof(*log));
    if (!log)
        return KIST_E_NOMEM;
    log->service = s;
    log->interval_s = interval_s ? interval_s : 1;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&log->shards[i].lock, NULL);
    pthread_mutex_init(&log->lock, NULL);
    mono_cond_init(&log->wake);
    if (pthread_create(&log->thread, NULL, run, log) != 0) {
        free(log);
        return KIST_E_NOMEM;
    }
    *out = log;
    return KIST_OK;
}

void access_log_close(struct access_log *log)
{
    if (!log)
        return;
    pthread_mutex_lock(&log->lock);
    log->stopping = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&log->shards[i].lock);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->wake);
    free(log);
}
