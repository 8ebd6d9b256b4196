/* What functions print, into objects of the store.
 *
 *     logs_add() --> a batch per function --(each second, or 64 KiB)--> an object
 *
 * An object logs/ACCOUNT/NAME/YYYY-MM-DD/FIRST-LAST holds lines "CURSOR REQUEST VERSION TEXT".
 * Cursors are microseconds since 1970, each used once; FIRST and LAST are those of its lines, so
 * that names lie in the order of time. A crash of the server loses the last second. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server/functions/logs_internal.h"
#include "storage/base/trace.h"

#define FLUSH_BYTES ((size_t)64 << 10)
#define BATCH_MAX ((size_t)1 << 20) /* of one function; what is more is counted, not kept */
#define TOTAL_MAX ((uint_fast64_t)32 << 20) /* of all */
#define STREAMS_MAX 10000

static uint64_t next_cursor(struct logs *logs)
{
    struct env *env = store_env(logs->f->store);
    uint_fast64_t now = (uint_fast64_t)env->now_ms(env) * 1000;
    uint_fast64_t last = atomic_load(&logs->cursor);
    uint_fast64_t next;
    do
        next = now > last ? now : last + 1;
    while (!atomic_compare_exchange_weak(&logs->cursor, &last, next));
    return next;
}

/* ---- streams ---- */

static struct log_stream **place_of(struct logs *logs, struct bytes account, struct bytes name)
{
    uint32_t hash = crc32c_update(crc32c_update(0, account.ptr, account.len), name.ptr, name.len);
    struct log_stream **at = &logs->table[hash % LOG_TABLE];
    while (*at && !(bytes_equal(name, bytes_str((*at)->name)) &&
                    bytes_equal(account, bytes_str((*at)->account))))
        at = &(*at)->next;
    return at;
}

static void stream_free(struct log_stream *s)
{
    buf_release(&s->open.lines);
    buf_release(&s->writing.lines);
    pthread_mutex_destroy(&s->lock);
    free(s->account);
    free(s->name);
    free(s);
}

static struct log_stream *stream_new(struct logs *logs, struct bytes account, struct bytes name)
{
    struct log_stream *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    buf_init(&s->open.lines, BATCH_MAX);
    buf_init(&s->writing.lines, BATCH_MAX);
    s->logs = logs;
    s->account = strndup((const char *)account.ptr, account.len);
    s->name = strndup((const char *)name.ptr, name.len);
    if (s->account && s->name)
        return s;
    stream_free(s);
    return NULL;
}

struct log_stream *logs_stream(struct logs *logs, struct bytes account, struct bytes name)
{
    pthread_mutex_lock(&logs->lock);
    struct log_stream **at = place_of(logs, account, name), *s = *at;
    if (!s && (s = *at = stream_new(logs, account, name)))
        logs->streams++;
    if (s)
        s->refs++;
    pthread_mutex_unlock(&logs->lock);
    return s;
}

void logs_unref(struct log_stream *s)
{
    if (!s)
        return;
    struct logs *logs = s->logs;
    pthread_mutex_lock(&logs->lock);
    /* One that is not used is kept: who follows it wants to know its last cursor. */
    if (--s->refs == 0 && logs->streams > STREAMS_MAX && !s->dirty) {
        *place_of(logs, bytes_str(s->account), bytes_str(s->name)) = s->next;
        logs->streams--;
        stream_free(s);
    }
    pthread_mutex_unlock(&logs->lock);
}

/* ---- adding ---- */

/* Into the list of those that have something to be written. */
static void mark_dirty(struct log_stream *s, bool hurry)
{
    struct logs *logs = s->logs;
    pthread_mutex_lock(&logs->lock);
    if (!s->dirty) {
        s->dirty = true;
        s->dirty_next = logs->dirty;
        logs->dirty = s;
        s->refs++;
    }
    if (hurry) {
        logs->hurry = true;
        pthread_cond_signal(&logs->wake);
    }
    pthread_mutex_unlock(&logs->lock);
}

static enum kist_err append(struct log_stream *s, uint64_t cursor, const char *request_id,
                            const char *version, struct bytes text)
{
    struct buf *b = &s->open.lines;
    TRY(buf_reserve(b, text.len + 160));
    TRY(buf_printf(b, "%016llx %.64s %.32s ", (unsigned long long)cursor,
                   request_id[0] ? request_id : "-", version[0] ? version : "-"));
    TRY(buf_append_bytes(b, text));
    return buf_append_str(b, "\n");
}

void logs_add(struct log_stream *s, const char *request_id, const char *version,
              struct bytes text)
{
    struct logs *logs = s->logs;
    pthread_mutex_lock(&s->lock);
    size_t before = s->open.lines.len;
    uint64_t cursor = next_cursor(logs);
    bool room = atomic_load(&logs->bytes) < TOTAL_MAX;
    if (room && append(s, cursor, request_id, version, text) == KIST_OK) {
        s->open.first = before ? s->open.first : cursor;
        s->open.last = s->last = cursor;
        atomic_fetch_add(&logs->bytes, s->open.lines.len - before);
    } else {
        s->open.lines.len = before;
        s->dropped++;
    }
    bool hurry = before < FLUSH_BYTES && s->open.lines.len >= FLUSH_BYTES;
    for (struct fn_log_watch *w = s->watches; w; w = w->next)
        if (!w->fired) {
            w->fired = true;
            w->wake(w->ctx);
        }
    pthread_mutex_unlock(&s->lock);
    if (before == 0 || hurry)
        mark_dirty(s, hurry);
}

enum kist_err functions_logs_watch(struct functions *f, struct bytes account, struct bytes name,
                                   uint64_t cursor, void (*wake)(void *ctx), void *ctx,
                                   struct fn_log_watch **out)
{
    if (!f->logs)
        return KIST_E_UNSUPPORTED;
    struct log_stream *s = logs_stream(f->logs, account, name);
    struct fn_log_watch *w = s ? calloc(1, sizeof(*w)) : NULL;
    if (!w) {
        logs_unref(s);
        return KIST_E_NOMEM;
    }
    w->stream = s;
    w->wake = wake;
    w->ctx = ctx;
    *out = w;
    pthread_mutex_lock(&s->lock);
    w->next = s->watches;
    s->watches = w;
    if (s->last > cursor) {
        w->fired = true;
        wake(ctx);
    }
    pthread_mutex_unlock(&s->lock);
    return KIST_OK;
}

void functions_logs_unwatch(struct functions *f, struct fn_log_watch *watch)
{
    (void)f;
    if (!watch)
        return;
    struct log_stream *s = watch->stream;
    pthread_mutex_lock(&s->lock);
    struct fn_log_watch **at = &s->watches;
    while (*at && *at != watch)
        at = &(*at)->next;
    if (*at)
        *at = watch->next;
    pthread_mutex_unlock(&s->lock);
    logs_unref(s);
    free(watch);
}

/* ---- writing ---- */

static enum kist_err put(struct logs *logs, const char *key, struct bytes body)
{
    struct whole_object o = { .bucket = FUNCTIONS_BUCKET, .key = key, .body = body };
    return store_put_whole(logs->f->store, &o);
}

void log_key(char out[LOG_KEY_MAX], const char *account, const char *name, uint64_t first,
             uint64_t last)
{
    char day[TIME_ISO_LEN];
    time_iso((int64_t)(first / 1000), day);
    snprintf(out, LOG_KEY_MAX, "logs/%s/%s/%.10s/%016llx-%016llx", account, name, day,
             (unsigned long long)first, (unsigned long long)last);
}

/* Only the writer's thread comes here: s->writing is its own, but for readers. */
static void write_out(struct log_stream *s)
{
    struct logs *logs = s->logs;
    char key[LOG_KEY_MAX], lost[96];
    pthread_mutex_lock(&s->lock);
    if (s->dropped) {
        snprintf(lost, sizeof(lost), "kist: %llu lines are missing here: too many at once",
                 (unsigned long long)s->dropped);
        size_t before = s->open.lines.len;
        uint64_t cursor = next_cursor(logs);
        if (append(s, cursor, "", "", bytes_str(lost)) == KIST_OK) {
            s->open.first = before ? s->open.first : cursor;
            s->open.last = s->last = cursor;
            atomic_fetch_add(&logs->bytes, s->open.lines.len - before);
            s->dropped = 0;
        } else {
            s->open.lines.len = before;
        }
    }
    struct log_batch full = s->open;
    s->open = s->writing;
    s->writing = full;
    buf_clear(&s->open.lines);
    pthread_mutex_unlock(&s->lock);
    if (!full.lines.len)
        return;
    log_key(key, s->account, s->name, full.first, full.last);
    enum kist_err err = put(logs, key, buf_bytes(&full.lines));
    if (err != KIST_OK)
        TRACE(TRACE_WARN, "functions", "logs of %s are lost: %s", s->name, kist_err_text(err));
    pthread_mutex_lock(&s->lock);
    atomic_fetch_sub(&logs->bytes, s->writing.lines.len);
    buf_clear(&s->writing.lines);
    /* A function that is quiet keeps no memory. */
    if (s->writing.lines.cap > FLUSH_BYTES || !s->open.lines.len)
        buf_release(&s->writing.lines);
    pthread_mutex_unlock(&s->lock);
}

/* logs->lock is held. */
static void write_dirty(struct logs *logs)
{
    struct log_stream *s = logs->dirty;
    logs->dirty = NULL;
    while (s) {
        struct log_stream *next = s->dirty_next;
        s->dirty = false;
        pthread_mutex_unlock(&logs->lock);
        write_out(s);
        logs_unref(s);
        pthread_mutex_lock(&logs->lock);
        s = next;
    }
}

static void *writer_main(void *ctx)
{
    struct logs *logs = ctx;
    uint64_t upkeep_ns = mono_ns();
    (void)pthread_setname_np(pthread_self(), "fn-logs");
    pthread_mutex_lock(&logs->lock);
    while (!logs->stopping) {
        struct timespec until;
        mono_after(1000, &until);
        int timed_out = 0;
        while (!logs->stopping && !logs->hurry && !timed_out)
            timed_out = pthread_cond_timedwait(&logs->wake, &logs->lock, &until);
        logs->hurry = false;
        write_dirty(logs);
        struct log_removal *gone = logs->removals;
        logs->removals = NULL;
        pthread_mutex_unlock(&logs->lock);
        logs_remove_all(logs, gone);
        if (mono_ns() >= upkeep_ns) {
            logs_retain(logs);
            upkeep_ns = mono_ns() + LOG_UPKEEP_NS;
        }
        pthread_mutex_lock(&logs->lock);
    }
    write_dirty(logs);
    pthread_mutex_unlock(&logs->lock);
    return NULL;
}

enum kist_err logs_open(struct functions *f, struct logs **out)
{
    struct logs *logs = calloc(1, sizeof(*logs));
    if (!logs)
        return KIST_E_NOMEM;
    logs->f = f;
    pthread_mutex_init(&logs->lock, NULL);
    mono_cond_init(&logs->wake);
    if (pthread_create(&logs->thread, NULL, writer_main, logs) != 0) {
        pthread_mutex_destroy(&logs->lock);
        pthread_cond_destroy(&logs->wake);
        free(logs);
        return KIST_E_NOMEM;
    }
    *out = logs;
    return KIST_OK;
}

void logs_close(struct logs *logs)
{
    if (!logs)
        return;
    pthread_mutex_lock(&logs->lock);
    logs->stopping = true;
    pthread_cond_signal(&logs->wake);
    pthread_mutex_unlock(&logs->lock);
    pthread_join(logs->thread, NULL);
    while (logs->removals) {
        struct log_removal *r = logs->removals;
        logs->removals = r->next;
        free(r);
    }
    for (size_t i = 0; i < LOG_TABLE; i++)
        while (logs->table[i]) {
            struct log_stream *s = logs->table[i];
            logs->table[i] = s->next;
            stream_free(s);
        }
    pthread_mutex_destroy(&logs->lock);
    pthread_cond_destroy(&logs->wake);
    free(logs);
}
