/* Checkpoints: the overlay goes to LMDB, and the log is recycled.
 *
 *   freeze (index N) -> sync the packs that hold bodies up to N -> LMDB transaction with N
 *   -> log may recycle segments up to N
 *
 * About once a second while there are changes, at once when the overlay is half full. When
 * LMDB cannot take it (a full disk), the frozen overlay stays and is tried again; at the ceiling
 * changes are refused until it succeeds, and new data is refused by then.
 */
#include "storage/object/store_internal.h"

#include <time.h>

#include "storage/base/trace.h"

#define OVERLAY_BYTES_MAX ((size_t)64 << 20)
#define INTERVAL_S 1

enum kist_err store_checkpoint(struct store *s)
{
    uint64_t index = 0;
    if (!kv_has_frozen(s->kv)) {
        index = kv_freeze(s->kv);
        if (index == 0)
            return KIST_OK;
    }
    TRY(pack_sync_bodies(s->packs));
    TRY(kv_flush(s->kv));
    if (s->log) /* not while it is being replayed */
        log_checkpointed(s->log, kv_durable_index(s->kv));
    store_measure_free(s);
    return KIST_OK;
}

static void deadline_after(struct timespec *t, long seconds)
{
    clock_gettime(CLOCK_MONOTONIC, t);
    t->tv_sec += seconds;
}

/* Under the lock: waits for changes, then for the interval or urgency. False: stop. */
static bool wait_for_work(struct upkeep *u)
{
    struct timespec until;
    while (!u->dirty && !u->stop)
        pthread_cond_wait(&u->wake, &u->lock);
    deadline_after(&until, INTERVAL_S);
    while (!u->urgent && !u->stop)
        if (pthread_cond_timedwait(&u->wake, &u->lock, &until) != 0)
            break;
    return !u->stop;
}

static void *checkpoint_main(void *arg)
{
    struct store *s = arg;
    struct upkeep *u = &s->checkpoint;
    pthread_mutex_lock(&u->lock);
    while (wait_for_work(u)) {
        u->dirty = u->urgent = false;
        pthread_mutex_unlock(&u->lock);
        enum kist_err err = store_checkpoint(s);
        pthread_mutex_lock(&u->lock);
        if (err != KIST_OK && err != u->flush_error)
            TRACE(TRACE_ERROR, "index", "checkpoint failed: %s", kist_err_text(err));
        u->flush_error = err;
        u->dirty = u->dirty || err != KIST_OK; /* again, in a second */
        pthread_cond_broadcast(&u->room);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

enum kist_err checkpoint_start(struct store *s)
{
    if (s->config.manual)
        return KIST_OK;
    s->checkpoint.dirty = true; /* what was replayed */
    return upkeep_start(&s->checkpoint, "checkpoint", checkpoint_main, s);
}

/* Not needed for safety: it makes the next start short. A first call may only flush what an
 * earlier failure had frozen. */
void checkpoint_last(struct store *s)
{
    if (s->log && s->kv && store_checkpoint(s) == KIST_OK)
        (void)!store_checkpoint(s);
}

void checkpoint_note(struct store *s)
{
    struct upkeep *u = &s->checkpoint;
    size_t bytes = kv_active_bytes(s->kv);
    bool urgent = bytes > OVERLAY_BYTES_MAX / 2;
    if (!u->started) {
        if (urgent) /* replay, or the simulator: no thread to leave it to */
            (void)!store_checkpoint(s);
        return;
    }
    pthread_mutex_lock(&u->lock);
    if (!u->dirty || (urgent && !u->urgent)) {
        u->dirty = true;
        u->urgent = urgent;
        pthread_cond_signal(&u->wake);
    }
    while (bytes > OVERLAY_BYTES_MAX && !u->stop && u->flush_error == KIST_OK) {
        pthread_cond_wait(&u->room, &u->lock);
        bytes = kv_active_bytes(s->kv);
    }
    pthread_mutex_unlock(&u->lock);
}

enum kist_err checkpoint_admit(struct store *s)
{
    struct upkeep *u = &s->checkpoint;
    if (!u->started || kv_active_bytes(s->kv) <= OVERLAY_BYTES_MAX)
        return KIST_OK;
    pthread_mutex_lock(&u->lock);
    enum kist_err err = u->flush_error;
    pthread_mutex_unlock(&u->lock);
    return err;
}
