/* Lifecycle at work: waits for the first D row's time, then lets apply() act on what is due.
 *
 * The wait ends early when a row is written that may be due sooner. What it costs is what is due,
 * not what is stored: one seek, then the due rows themselves.
 */
#include <stdlib.h>
#include <time.h>

#include "storage/base/trace.h"
#include "storage/object/store_internal.h"

#define ROUND_ROWS 256
#define BACKFILL_ROWS 512
/* The wall clock may be set: it is looked at now and then. */
#define WAIT_MAX_MS 60000

struct expiry {
    struct arena arena;
    ProtobufCBinaryData keys[ROUND_ROWS];
    size_t count;
    int64_t next_ms; /* of the first row that is not due; INT64_MAX: none */
};

static int64_t now_ms(struct store *s)
{
    return s->env->now_ms(s->env) + s->config.lifecycle_offset_ms;
}

static enum kist_err commit(struct store *s, const Kist__Command *command)
{
    struct buf packed;
    struct apply_result result = { 0 };
    buf_init(&packed, 1 << 20);
    enum kist_err err = schema_pack(command, &packed);
    if (err == KIST_OK)
        err = log_commit(s->log, buf_bytes(&packed), BYTES_EMPTY, &result);
    buf_release(&packed);
    if (result.skipped)
        TRACE(TRACE_ERROR, "expire", "%u damaged rows were passed over", result.skipped);
    if (result.made_garbage)
        reclaim_note(s, result.garbage_bytes);
    if (result.made_event)
        events_note(s, result.event_queue);
    return err;
}

/* The first row of a table behind its letter; KIST_E_NOT_FOUND. */
static enum kist_err first_row(struct kv_read *read, enum row_table table,
                               struct kv_cursor **cursor, struct bytes *key, struct bytes *value)
{
    struct row_key start;
    row_start(&start, table);
    TRY(kv_cursor_open(read, cursor));
    enum kist_err err = kv_cursor_seek(*cursor, row_bytes(&start), key, value);
    if (err == KIST_OK && key->ptr[0] != table)
        err = KIST_E_NOT_FOUND;
    return err;
}

static enum kist_err gather(struct store *s, struct expiry *e, int64_t until_ms)
{
    struct kv_read read;
    struct kv_cursor *cursor = NULL;
    struct bytes key, value;
    arena_clear(&e->arena);
    e->count = 0;
    e->next_ms = INT64_MAX;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = first_row(&read, ROW_DUE, &cursor, &key, &value);
    while (err == KIST_OK && key.ptr[0] == ROW_DUE) {
        int64_t due = (int64_t)row_read_u64(key.ptr + 1);
        if (due > until_ms || e->count == ROUND_ROWS) {
            e->next_ms = due;
            break;
        }
        struct bytes copy = arena_copy(&e->arena, key);
        if (!copy.ptr) {
            err = KIST_E_NOMEM;
            break;
        }
        e->keys[e->count++] = schema_data(copy);
        err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    kv_read_end(&read);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err expire_round(struct store *s, struct expiry *e)
{
    int64_t now = now_ms(s);
    for (;;) { /* until nothing is due: what was done may have made more so */
        Kist__Command command = KIST__COMMAND__INIT;
        Kist__Expire expire = KIST__EXPIRE__INIT;
        TRY(gather(s, e, now));
        if (e->count == 0 || s->stopping)
            return KIST_OK;
        expire.n_due_keys = e->count;
        expire.due_keys = e->keys;
        expire.now_ms = now;
        command.of_case = KIST__COMMAND__OF_EXPIRE;
        command.expire = &expire;
        TRY(commit(s, &command));
    }
}

static enum kist_err backfill_bucket(struct store *s, uint64_t *bucket_id)
{
    struct kv_read read;
    struct kv_cursor *cursor = NULL;
    struct bytes key, value;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = first_row(&read, ROW_BACKFILL, &cursor, &key, &value);
    if (err == KIST_OK)
        *bucket_id = row_read_u64(key.ptr + 1);
    kv_cursor_close(cursor);
    kv_read_end(&read);
    return err;
}

static enum kist_err backfill(struct store *s)
{
    uint64_t bucket_id;
    enum kist_err err = KIST_OK;
    while (err == KIST_OK && !s->stopping) {
        Kist__Command command = KIST__COMMAND__INIT;
        Kist__BackfillStep step = KIST__BACKFILL_STEP__INIT;
        err = backfill_bucket(s, &bucket_id);
        if (err != KIST_OK)
            break;
        step.bucket_id = bucket_id;
        step.rows_max = BACKFILL_ROWS;
        command.of_case = KIST__COMMAND__OF_BACKFILL_STEP;
        command.backfill_step = &step;
        err = commit(s, &command);
    }
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* Does all that is due; *next_ms is when to look again. */
static enum kist_err expire_all(struct store *s, int64_t *next_ms)
{
    struct expiry *e = calloc(1, sizeof(*e));
    if (!e)
        return KIST_E_NOMEM;
    arena_init(&e->arena, (size_t)4 << 20);
    e->next_ms = INT64_MAX;
    enum kist_err err = backfill(s), expired = expire_round(s, e);
    if (err == KIST_OK)
        err = expired;
    *next_ms = e->next_ms;
    arena_release(&e->arena);
    free(e);
    return err;
}

enum kist_err store_expire(struct store *s)
{
    int64_t next_ms;
    return expire_all(s, &next_ms);
}

/* ---- the thread ---- */

static void *expire_main(void *arg)
{
    struct store *s = arg;
    struct upkeep *u = &s->expire;
    int64_t next_ms = INT64_MAX;
    pthread_mutex_lock(&u->lock);
    u->dirty = true;
    while (!u->stop) {
        int64_t wait = next_ms == INT64_MAX ? WAIT_MAX_MS : next_ms - now_ms(s) + 1;
        wait = wait > WAIT_MAX_MS ? WAIT_MAX_MS : wait;
        struct timespec until;
        mono_after(wait > 0 ? wait : 0, &until);
        if (!u->dirty && wait > 0 && pthread_cond_timedwait(&u->wake, &u->lock, &until) == 0)
            continue;
        u->dirty = false;
        pthread_mutex_unlock(&u->lock);
        enum kist_err err = expire_all(s, &next_ms);
        if (err != KIST_OK && err != KIST_E_SHUTDOWN) {
            TRACE(TRACE_WARN, "expire", "lifecycle: %s", kist_err_text(err));
            next_ms = INT64_MAX;
        }
        pthread_mutex_lock(&u->lock);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

enum kist_err expire_start(struct store *s)
{
    return s->config.manual ? KIST_OK : upkeep_start(&s->expire, "expire", expire_main, s);
}

void expire_note(struct store *s)
{
    struct upkeep *u = &s->expire;
    if (!u->started)
        return;
    pthread_mutex_lock(&u->lock);
    u->dirty = true;
    pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->lock);
}
