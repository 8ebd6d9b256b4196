/* Functions, versions, aliases, URLs and layers as records of the store.
 *
 *   RECORD_FUNCTION          NAME                 $LATEST
 *   RECORD_FUNCTION_VERSION  NAME/0000000012      what was published
 *   RECORD_FUNCTION_ALIAS    NAME/ALIAS
 *   RECORD_FUNCTION_URL      ID                   in the first account's place
 *   RECORD_LAYER_VERSION     NAME                 the last number: they are never used again
 *                            NAME/0000000012
 *
 * The rows of all accounts bear their 12 digits, the first one's too. Nothing is cached here: a
 * row is read from memory-mapped pages and unpacked in some microseconds, and is never stale.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server/functions/control.h"
#include "storage/base/codec.h"

struct registry {
    struct functions *f;
    struct worker_pool *workers; /* for code: may block */
    pthread_t clock;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct fn_alarm *alarms;
    bool stopping;
};

#define REGISTRY_WORKERS 2

/* ---- alarms: some requests wait, but not for ever ---- */

/* Rings what is due, under the lock; when the next one is, 0: none is set. */
static uint64_t ring_due(struct registry *r)
{
    uint64_t now = mono_ns(), next = 0;
    for (struct fn_alarm **at = &r->alarms; *at;) {
        struct fn_alarm *alarm = *at;
        if (alarm->due_ns <= now || r->stopping) {
            *at = alarm->next;
            alarm->set = false;
            alarm->ring(alarm->ctx);
            continue;
        }
        if (next == 0 || alarm->due_ns < next)
            next = alarm->due_ns;
        at = &alarm->next;
    }
    return next;
}

static void *run_clock(void *arg)
{
    struct registry *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        uint64_t next = ring_due(r);
        struct timespec until = { (time_t)(next / 1000000000U), (long)(next % 1000000000U) };
        if (r->stopping)
            break;
        if (next)
            pthread_cond_timedwait(&r->wake, &r->lock, &until);
        else
            pthread_cond_wait(&r->wake, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

void registry_alarm_set(struct registry *r, struct fn_alarm *alarm)
{
    pthread_mutex_lock(&r->lock);
    alarm->next = r->alarms;
    alarm->set = true;
    r->alarms = alarm;
    if (r->stopping)
        (void)ring_due(r);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

void registry_alarm_unset(struct registry *r, struct fn_alarm *alarm)
{
    pthread_mutex_lock(&r->lock);
    for (struct fn_alarm **at = &r->alarms; *at && alarm->set; at = &(*at)->next)
        if (*at == alarm) {
            *at = alarm->next;
            break;
        }
    alarm->set = false;
    pthread_mutex_unlock(&r->lock);
}

void registry_stop(struct registry *r)
{
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

/* ---- opening ---- */

enum kist_err registry_open(struct functions *f, struct registry **out)
{
    struct registry *r = calloc(1, sizeof(*r));
    if (!r)
        return KIST_E_NOMEM;
    r->f = f;
    enum kist_err err = worker_pool_open("fn-code", REGISTRY_WORKERS, &r->workers);
    if (err != KIST_OK) {
        free(r);
        return err;
    }
    pthread_mutex_init(&r->lock, NULL);
    mono_cond_init(&r->wake);
    if (pthread_create(&r->clock, NULL, run_clock, r) != 0) {
        worker_pool_close(r->workers);
        free(r);
        return KIST_E_NOMEM;
    }
    *out = r;
    return KIST_OK;
}

void registry_close(struct registry *r)
{
    if (!r)
        return;
    registry_stop(r);
    pthread_join(r->clock, NULL);
    worker_pool_close(r->workers);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    free(r);
}

void registry_run(struct registry *r, struct job *job)
{
    worker_submit(r->workers, job);
}

/* ---- names of rows ---- */

bool registry_is_version(struct bytes q)
{
    if (bytes_equal(q, BYTES_LIT(FN_LATEST)))
        return true;
    for (size_t i = 0; i < q.len; i++)
        if (q.ptr[i] < '0' || q.ptr[i] > '9')
            return false;
    return q.len > 0;
}

char *registry_version_row(struct arena *arena, struct bytes name, struct bytes version)
{
    uint64_t number = 0;
    if (bytes_to_u64(version, UINT32_MAX, &number) != KIST_OK)
        number = UINT32_MAX;
    return arena_printf(arena, "%.*s/%010u", (int)name.len, (const char *)name.ptr,
                        (unsigned)number);
}

char *registry_alias_row(struct arena *arena, struct bytes name, struct bytes alias)
{
    return arena_printf(arena, "%.*s/%.*s", (int)name.len, (const char *)name.ptr, (int)alias.len,
                        (const char *)alias.ptr);
}

void registry_url_id(const Kist__Function *latest, struct bytes qualifier, char out[33])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t hash[DIGEST_MAX_LEN];
    if (bytes_equal(qualifier, BYTES_LIT(FN_LATEST)))
        qualifier = BYTES_EMPTY;
    hmac_sha256(bytes_str(latest->id), qualifier, hash);
    for (size_t i = 0; i < 32; i++)
        out[i] = letters[hash[i] & 31];
    out[32] = '\0';
}

/* ---- reading ---- */

static enum kist_err unpack(const Kist__Record *record, const ProtobufCMessageDescriptor *type,
                            struct arena *arena, void *out)
{
    return schema_unpack(type, schema_bytes(record->body), arena, out);
}

enum kist_err registry_read(struct functions *f, enum record_kind kind, struct bytes account,
                            struct bytes name, const ProtobufCMessageDescriptor *type,
                            struct arena *arena, void *out, uint64_t *changed)
{
    Kist__Record *record = NULL;
    if (name.len == 0 || name.len > RECORD_NAME_MAX)
        return KIST_E_NOT_FOUND;
    TRY(store_record(f->store, kind, account, name, arena, &record));
    TRY(unpack(record, type, arena, out));
    if (changed)
        *changed = record->changed;
    return KIST_OK;
}

enum kist_err registry_get(struct functions *f, struct bytes account, struct bytes name,
                           struct bytes version, struct arena *arena, Kist__Function **out,
                           uint64_t *changed)
{
    bool latest = version.len == 0 || bytes_equal(version, BYTES_LIT(FN_LATEST));
    if (latest)
        return registry_read(f, RECORD_FUNCTION, account, name, &kist__function__descriptor,
                             arena, out, changed);
    char *row = registry_version_row(arena, name, version);
    return row ? registry_read(f, RECORD_FUNCTION_VERSION, account, bytes_str(row),
                               &kist__function__descriptor, arena, out, changed)
               : KIST_E_NOMEM;
}

enum kist_err registry_alias(struct functions *f, struct bytes account, struct bytes name,
                             struct bytes alias, struct arena *arena, Kist__FunctionAlias **out,
                             uint64_t *changed)
{
    char *row = registry_alias_row(arena, name, alias);
    return row ? registry_read(f, RECORD_FUNCTION_ALIAS, account, bytes_str(row),
                               &kist__function_alias__descriptor, arena, out, changed)
               : KIST_E_NOMEM;
}

enum kist_err registry_url(struct functions *f, struct bytes id, struct arena *arena,
                           Kist__FunctionUrl **out, uint64_t *changed)
{
    return registry_read(f, RECORD_FUNCTION_URL, BYTES_EMPTY, id, &kist__function_url__descriptor,
                         arena, out, changed);
}

/* True with the probability that the alias gives its other version. */
static bool draw_other(struct functions *f, const Kist__FunctionAlias *alias)
{
    struct env *env = store_env(f->store);
    uint32_t random = 0;
    if (!alias->other_version[0])
        return false;
    env->random(env, &random, sizeof(random));
    return (double)random < alias->other_weight * 4294967296.0;
}

enum kist_err registry_find(struct functions *f, const struct function_id *id,
                            struct arena *arena, struct function_found *out)
{
    struct function_found found = { 0 };
    Kist__FunctionAlias *alias = NULL;
    struct bytes version = id->qualifier;
    TRY(registry_get(f, id->account, id->name, BYTES_EMPTY, arena, &found.latest, NULL));
    if (version.len && !registry_is_version(version)) {
        TRY(registry_alias(f, id->account, id->name, version, arena, &alias, NULL));
        version = bytes_str(draw_other(f, alias) ? alias->other_version : alias->version);
        found.alias = alias->name;
    }
    if (version.len == 0 || bytes_equal(version, BYTES_LIT(FN_LATEST)))
        found.function = found.latest;
    else
        TRY(registry_get(f, id->account, id->name, version, arena, &found.function, NULL));
    *out = found;
    return KIST_OK;
}

/* arn:aws:lambda:REGION:ACCOUNT:layer:NAME:VERSION */
enum kist_err registry_layer(struct functions *f, struct bytes arn, struct arena *arena,
                             Kist__FunctionLayer **out)
{
    struct bytes parts[8];
    size_t count = 0, at = 0;
    while (count < 8 && at <= arn.len) {
        size_t colon = bytes_find(arn, BYTES_LIT(":"), at);
        size_t end = colon == SIZE_MAX || count == 7 ? arn.len : colon;
        parts[count++] = bytes_of(arn.ptr + at, end - at);
        at = end + 1;
    }
    if (count != 8 || !bytes_equal(parts[5], BYTES_LIT("layer")) || parts[4].len != 12 ||
        !registry_is_version(parts[7]))
        return KIST_E_NOT_FOUND;
    char *row = registry_version_row(arena, parts[6], parts[7]);
    return row ? registry_read(f, RECORD_LAYER_VERSION, parts[4], bytes_str(row),
                               &kist__function_layer__descriptor, arena, out, NULL)
               : KIST_E_NOMEM;
}

/* ---- listing ---- */

#define LIST_ARENA_MAX ((size_t)1 << 20)

struct list {
    struct arena arena; /* cleared for each row */
    enum kist_err err;
    bool (*function)(void *ctx, const Kist__Function *fn);
    bool (*alias)(void *ctx, const Kist__FunctionAlias *alias, uint64_t changed);
    void *ctx;
    bool more;
};

static bool on_function(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct list *l = ctx;
    Kist__Function *fn = NULL;
    (void)name;
    arena_clear(&l->arena);
    l->err = unpack(record, &kist__function__descriptor, &l->arena, &fn);
    l->more = l->err == KIST_OK && l->function(l->ctx, fn);
    return l->more;
}

static bool on_alias(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct list *l = ctx;
    Kist__FunctionAlias *alias = NULL;
    (void)name;
    arena_clear(&l->arena);
    l->err = unpack(record, &kist__function_alias__descriptor, &l->arena, &alias);
    return l->err == KIST_OK && l->alias(l->ctx, alias, record->changed);
}

enum kist_err registry_list(struct functions *f, struct bytes account, struct bytes after,
                            bool (*each)(void *ctx, const Kist__Function *latest), void *ctx)
{
    struct list l = { .function = each, .ctx = ctx, .more = true };
    arena_init(&l.arena, LIST_ARENA_MAX);
    enum kist_err err = store_list_records(f->store, RECORD_FUNCTION, account, BYTES_EMPTY, after,
                                           on_function, &l);
    arena_release(&l.arena);
    return err == KIST_OK ? l.err : err;
}

/* Rows "NAME/..." of versions or aliases. */
static enum kist_err list_below(struct functions *f, enum record_kind kind, struct bytes account,
                                struct bytes name, struct bytes after, struct list *l)
{
    char prefix[FN_ROW_NAME_MAX], from[FN_ROW_NAME_MAX];
    if (name.len + after.len + 16 >= sizeof(prefix))
        return KIST_OK;
    arena_init(&l->arena, LIST_ARENA_MAX);
    int n = snprintf(prefix, sizeof(prefix), "%.*s/", (int)name.len, (const char *)name.ptr);
    int m =
        snprintf(from, sizeof(from), "%s%.*s", prefix, (int)after.len, (const char *)after.ptr);
    enum kist_err err = store_list_records(f->store, kind, account, bytes_of(prefix, (size_t)n),
                                           after.len ? bytes_of(from, (size_t)m) : BYTES_EMPTY,
                                           l->function ? on_function : on_alias, l);
    arena_release(&l->arena);
    return err == KIST_OK ? l->err : err;
}

enum kist_err registry_versions(struct functions *f, struct bytes account, struct bytes name,
                                struct bytes after,
                                bool (*each)(void *ctx, const Kist__Function *version), void *ctx)
{
    struct list l = { .function = each, .ctx = ctx };
    char number[16];
    uint64_t n = 0;
    if (bytes_to_u64(after, UINT32_MAX, &n) != KIST_OK)
        return list_below(f, RECORD_FUNCTION_VERSION, account, name, BYTES_EMPTY, &l);
    snprintf(number, sizeof(number), "%010u", (unsigned)n);
    return list_below(f, RECORD_FUNCTION_VERSION, account, name, bytes_str(number), &l);
}

enum kist_err registry_aliases(
    struct functions *f, struct bytes account, struct bytes name, struct bytes after,
    bool (*each)(void *ctx, const Kist__FunctionAlias *alias, uint64_t changed), void *ctx)
{
    struct list l = { .alias = each, .ctx = ctx };
    return list_below(f, RECORD_FUNCTION_ALIAS, account, name, after, &l);
}

struct each_account {
    struct functions *f;
    bool (*each)(void *ctx, const Kist__Function *latest);
    void *ctx;
    enum kist_err err;
    bool more;
};

static bool of_account(void *ctx, const Kist__Function *latest)
{
    struct each_account *e = ctx;
    e->more = e->each(e->ctx, latest);
    return e->more;
}

static bool on_account(void *ctx, const Kist__Account *account)
{
    struct each_account *e = ctx;
    e->err = registry_list(e->f, bytes_str(account->id), BYTES_EMPTY, of_account, e);
    return e->err == KIST_OK && e->more;
}

enum kist_err registry_each(struct functions *f,
                            bool (*each)(void *ctx, const Kist__Function *latest), void *ctx)
{
    struct each_account e = { .f = f, .each = each, .ctx = ctx, .more = true };
    TRY(store_list_accounts(f->store, on_account, &e));
    return e.err;
}
