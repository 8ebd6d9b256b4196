/* The reclaimer: garbage rows become freed extents, freed extents become holes.
 *
 *   G row, not pinned --Release--> chunk references drop, F row
 *   F rows, by place --Freed before--> their E rows go --punch--> --Freed after--> gone
 *
 * Everything is a command or can be repeated, so that a crash anywhere only repeats work: an F
 * row's bytes are never reused, and punching twice does nothing.
 *
 * Dead extents lie anywhere among the live ones, and a row of the E table changed here and there
 * costs LMDB a page each. While there is much to do both steps wait for company, therefore: G
 * rows until many become F rows at once, in a table that stays small; F rows until there are so
 * many that neighbours share pages of the E table. Those are taken in the order of their places,
 * round and round, as many as come in. What is dead meanwhile is bounded by its share of the
 * packs and of the free space. When a second brought little, nothing waits.
 */
#include "storage/object/store_internal.h"

#include <stdlib.h>

#include "storage/base/trace.h"

#define ROUND_ROWS 512
#define RELEASE_CHUNKS_MAX 4096
#define GARBAGE_ROWS_MAX ((size_t)64 << 10) /* then they become F rows */
#define FREED_ROWS_MAX ((size_t)512 << 10)  /* that wait to be punched */
#define QUIET_ROWS 2048                     /* fewer in a second gain nothing by waiting */
#define DEAD_BYTES_LEAST ((uint64_t)64 << 20)

/* A round's rows, copied out of a short index read. */
struct round {
    struct arena arena;
    Kist__Command command;
    ProtobufCBinaryData keys[ROUND_ROWS];
    uint64_t pins[ROUND_ROWS], base_pins[ROUND_ROWS], sizes[ROUND_ROWS];
    Kist__Extent *extents[ROUND_ROWS];
    size_t count, skipped; /* skipped: damaged rows that were met */
    uint64_t bytes;        /* of their objects or extents */
};

/* What waits in the F table, about, and where the next round of it begins. */
struct backlog {
    size_t rows;
    uint64_t bytes, bytes_max;
    struct row_key at;
    size_t told_garbage, told_freed; /* damaged rows of the last passes */
};

/* Who opened an object before it was first appended to has pinned what is part 1 now. */
static enum kist_err base_pin(struct kv_read *read, struct round *r, const Kist__Data *data,
                              uint64_t *out)
{
    struct row_key key;
    Kist__Part *part = NULL;
    *out = 0;
    if (!data || !data->manifest)
        return KIST_OK;
    row_part(&key, data->manifest, 1);
    enum kist_err err = lookup(read, &key, &kist__part__descriptor, &r->arena, &part);
    if (err == KIST_OK)
        *out = pin_identity(part->data);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* result: zeroed. */
static enum kist_err commit(struct store *s, struct round *r, struct apply_result *result)
{
    struct buf packed;
    buf_init(&packed, 1 << 20);
    enum kist_err err = schema_pack(&r->command, &packed);
    if (err == KIST_OK)
        err = log_commit(s->log, buf_bytes(&packed), BYTES_EMPTY, result);
    buf_release(&packed);
    return err;
}

static enum kist_err take_garbage(struct kv_read *read, struct round *r, struct bytes key,
                                  struct bytes value)
{
    Kist__Garbage *garbage = NULL;
    TRY(schema_unpack(&kist__garbage__descriptor, value, &r->arena, &garbage));
    struct bytes copy = arena_copy(&r->arena, key);
    if (!copy.ptr)
        return KIST_E_NOMEM;
    TRY(base_pin(read, r, garbage->data, &r->base_pins[r->count]));
    r->pins[r->count] = pin_identity(garbage->data);
    r->sizes[r->count] = garbage->bytes;
    r->keys[r->count++] = schema_data(copy);
    return KIST_OK;
}

static enum kist_err take_freed(struct kv_read *read, struct round *r, struct bytes key,
                                struct bytes value)
{
    (void)read;
    (void)key;
    TRY(schema_unpack(&kist__extent__descriptor, value, &r->arena, &r->extents[r->count]));
    r->bytes += r->extents[r->count++]->length;
    return KIST_OK;
}

/* Walks rows of a table behind `*after`, which moves along; fills the round. What is damaged
 * holds back nothing behind it. */
static enum kist_err gather(struct store *s, enum row_table table, struct row_key *after,
                            struct round *r,
                            enum kist_err (*take)(struct kv_read *, struct round *, struct bytes,
                                                  struct bytes))
{
    struct kv_read read;
    struct kv_cursor *cursor = NULL;
    struct bytes key, value;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = kv_cursor_open(&read, &cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(cursor, row_bytes(after), &key, &value);
    while (err == KIST_OK && key.ptr[0] == table && r->count < ROUND_ROWS) {
        size_t before = r->count;
        err = take(&read, r, key, value);
        if (err == KIST_E_CORRUPT) {
            r->count = before;
            r->skipped++;
            err = KIST_OK;
        }
        after->len = 0;
        row_add(after, key);
        row_add(after, bytes_of("", 1));
        if (err == KIST_OK)
            err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    kv_read_end(&read);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* Whoever read an object's row before it went has pinned its data once this returns. */
static void pass_gate(struct store *s)
{
    pthread_rwlock_wrlock(&s->pins.gate);
    pthread_rwlock_unlock(&s->pins.gate);
}

static void round_begin(struct round *r)
{
    arena_clear(&r->arena);
    r->count = 0;
    r->skipped = 0;
    r->bytes = 0;
    kist__command__init(&r->command);
}

static bool is_pinned(struct store *s, uint64_t identity)
{
    return identity && pin_held(&s->pins, identity);
}

/* Rows were gathered before the gate, pins are asked for behind it: see struct pins. */
static void drop_pinned(struct store *s, struct round *r)
{
    size_t kept = 0;
    pass_gate(s);
    for (size_t i = 0; i < r->count; i++)
        if (!is_pinned(s, r->pins[i]) && !is_pinned(s, r->base_pins[i])) {
            r->bytes += r->sizes[i];
            r->keys[kept++] = r->keys[i];
        }
    r->count = kept;
}

/* Once, not at every pass: the rows stay where they are. */
static void tell_skipped(const char *table, size_t rows, size_t *told)
{
    if (rows && rows != *told)
        TRACE(TRACE_ERROR, "reclaim", "%zu damaged rows of %s were passed over", rows, table);
    *told = rows;
}

/* One pass over the garbage; adds to the backlog what was released. Ends with a round that is
 * not full: it would else run after what comes, with a few rows each time. */
static enum kist_err release_pass(struct store *s, struct round *r, struct backlog *b)
{
    struct row_key after;
    bool more = true;
    size_t skipped = 0;
    row_start(&after, ROW_GARBAGE);
    while (more) {
        Kist__Release release = KIST__RELEASE__INIT;
        struct apply_result result = { 0 };
        round_begin(r);
        TRY(gather(s, ROW_GARBAGE, &after, r, take_garbage));
        more = r->count == ROUND_ROWS;
        skipped += r->skipped;
        if (s->stopping)
            return KIST_OK;
        drop_pinned(s, r);
        if (r->count == 0)
            continue;
        release.n_garbage_keys = r->count;
        release.garbage_keys = r->keys;
        release.chunks_max = RELEASE_CHUNKS_MAX;
        r->command.of_case = KIST__COMMAND__OF_RELEASE;
        r->command.release = &release;
        TRY(commit(s, r, &result));
        skipped += result.skipped;
        b->rows += r->count - result.skipped;
        b->bytes += r->bytes;
    }
    tell_skipped("garbage", skipped, &b->told_garbage);
    return KIST_OK;
}

/* Dead extents that touch are punched as one, so that pages they share go, too. They must touch:
 * a live one may lie in any gap. */
static enum kist_err punch_runs(struct store *s, struct round *r)
{
    for (size_t i = 0; i < r->count;) {
        uint32_t pack = r->extents[i]->pack;
        uint64_t start = r->extents[i]->offset, end = start;
        for (; i < r->count && r->extents[i]->pack == pack && r->extents[i]->offset == end; i++) {
            end = r->extents[i]->offset + r->extents[i]->length;
            s->reclaimed_bytes += r->extents[i]->length;
        }
        enum kist_err err = sweep_punch(s, pack, start, end);
        if (err != KIST_OK && err != KIST_E_CORRUPT) /* the pack is gone already */
            return err;
    }
    return KIST_OK;
}

static enum kist_err remove_empty(struct store *s, struct round *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (i + 1 == r->count || r->extents[i]->pack != r->extents[i + 1]->pack)
            TRY(sweep_remove_empty(s, r->extents[i]->pack, r->extents[i]->offset));
    return KIST_OK;
}

static enum kist_err commit_freed(struct store *s, struct round *r, enum freed_stage stage)
{
    Kist__Freed freed = KIST__FREED__INIT;
    struct apply_result result = { 0 };
    freed.n_extents = r->count;
    freed.extents = r->extents;
    freed.stage = stage;
    r->command.of_case = KIST__COMMAND__OF_FREED;
    r->command.freed = &freed;
    return commit(s, r, &result);
}

/* The first extents from b->at on, which moves along; r->count says how many. */
static enum kist_err punch_round(struct store *s, struct round *r, struct backlog *b)
{
    round_begin(r);
    TRY(gather(s, ROW_FREED, &b->at, r, take_freed));
    if (r->count == 0)
        return KIST_OK;
    TRY(commit_freed(s, r, FREED_BEFORE));
    TRY(punch_runs(s, r));
    TRY(commit_freed(s, r, FREED_AFTER));
    b->rows -= r->count < b->rows ? r->count : b->rows;
    b->bytes -= r->bytes < b->bytes ? r->bytes : b->bytes;
    return remove_empty(s, r);
}

/* One pass, as above: what an upload frees behind us meanwhile was noted. */
static enum kist_err punch_all(struct store *s, struct round *r, struct backlog *b)
{
    size_t skipped = 0;
    row_start(&b->at, ROW_FREED);
    do {
        TRY(punch_round(s, r, b));
        skipped += r->skipped;
    } while (r->count && !s->stopping);
    row_start(&b->at, ROW_FREED);
    tell_skipped("freed extents", skipped, &b->told_freed);
    return KIST_OK;
}

static bool backlog_is_full(const struct backlog *b)
{
    return b->rows > FREED_ROWS_MAX || b->bytes > b->bytes_max;
}

/* What is more than may wait. The counts are guesses: a table without rows says so. */
static enum kist_err punch_excess(struct store *s, struct round *r, struct backlog *b)
{
    for (unsigned ends = 0; backlog_is_full(b) && !s->stopping;) {
        TRY(punch_round(s, r, b));
        ends = r->count ? 0 : ends + 1;
        if (ends == 2)
            b->rows = b->bytes = 0;
        if (r->count < ROUND_ROWS)
            row_start(&b->at, ROW_FREED);
    }
    return KIST_OK;
}

static size_t rows_noted(struct store *s)
{
    pthread_mutex_lock(&s->reclaim.lock);
    size_t rows = s->reclaim.garbage_rows;
    pthread_mutex_unlock(&s->reclaim.lock);
    return rows;
}

/* All there is, unless much comes again meanwhile. */
static enum kist_err drain(struct store *s, struct round *r, struct backlog *b)
{
    bool more = true;
    while (more && !s->stopping) {
        b->rows = b->bytes = 0;
        TRY(release_pass(s, r, b));
        more = b->rows > 0;
        TRY(punch_all(s, r, b));
        b->rows = more; /* what a command's limit left may be there */
        more = more && rows_noted(s) < QUIET_ROWS;
    }
    return KIST_OK;
}

/* As much as came in, and more while it is of large objects: a command releases only so many of
 * their chunks. */
static enum kist_err keep_up(struct store *s, struct round *r, struct backlog *b)
{
    uint64_t before;
    do {
        before = b->bytes;
        TRY(release_pass(s, r, b));
        before = b->bytes - before;
        TRY(punch_excess(s, r, b));
    } while (before > b->bytes_max && !s->stopping);
    return KIST_OK;
}

static struct round *round_new(void)
{
    struct round *r = calloc(1, sizeof(*r));
    if (r)
        arena_init(&r->arena, 64 << 20);
    return r;
}

static void round_free(struct round *r)
{
    if (!r)
        return;
    arena_release(&r->arena);
    free(r);
}

enum kist_err store_reclaim(struct store *s)
{
    struct backlog b = { 0 };
    struct round *r = round_new();
    enum kist_err err = r ? drain(s, r, &b) : KIST_E_NOMEM;
    round_free(r);
    return err;
}

/* ---- the thread ---- */

static enum kist_err add_pack(void *ctx, uint32_t pack, uint64_t file_bytes)
{
    uint64_t *sum = ctx;
    (void)pack;
    *sum += file_bytes;
    return KIST_OK;
}

/* How much may be dead: an eighth of the packs, and little of what is free. */
static uint64_t dead_bytes_max(struct store *s)
{
    uint64_t packs = 0, free_bytes = s->free_bytes / 32;
    (void)!pack_each(s->packs, add_pack, &packs);
    packs = packs / 8 > DEAD_BYTES_LEAST ? packs / 8 : DEAD_BYTES_LEAST;
    return packs < free_bytes ? packs : free_bytes;
}

static bool is_enough(const struct upkeep *u)
{
    return u->stop || u->garbage_rows >= GARBAGE_ROWS_MAX ||
           u->garbage_bytes > u->garbage_bytes_max;
}

/* Under the lock: until there is enough garbage, or (*quiet) some, and little more in a second.
 * False: stop. */
static bool wait_for_garbage(struct upkeep *u, const struct backlog *b, bool *quiet)
{
    *quiet = false;
    while (!is_enough(u) && !*quiet) {
        struct timespec until;
        size_t before = u->garbage_rows;
        if (!before && !b->rows) {
            pthread_cond_wait(&u->wake, &u->lock);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        while (!is_enough(u) && pthread_cond_timedwait(&u->wake, &u->lock, &until) == 0)
            continue;
        *quiet = !is_enough(u) && u->garbage_rows - before < QUIET_ROWS;
    }
    return !u->stop;
}

static void reclaim_until_stopped(struct store *s, struct round *r)
{
    struct upkeep *u = &s->reclaim;
    struct backlog b = { .rows = 1 }; /* what the last process left */
    enum kist_err last = KIST_OK;
    bool quiet;
    row_start(&b.at, ROW_FREED);
    pthread_mutex_lock(&u->lock);
    while (wait_for_garbage(u, &b, &quiet)) {
        u->garbage_rows = u->garbage_bytes = 0;
        pthread_mutex_unlock(&u->lock);
        b.bytes_max = dead_bytes_max(s);
        enum kist_err err = quiet ? drain(s, r, &b) : keep_up(s, r, &b);
        if (err != KIST_OK && err != KIST_E_SHUTDOWN && err != last)
            TRACE(TRACE_WARN, "reclaim", "reclaim failed: %s", kist_err_text(err));
        last = err;
        if (err == KIST_E_NOSPC) /* in a second, whether or not there is more by then */
            b.rows++;
        pthread_mutex_lock(&u->lock);
        u->garbage_bytes_max = b.bytes_max / 4;
    }
    pthread_mutex_unlock(&u->lock);
}

static void *reclaim_main(void *arg)
{
    struct store *s = arg;
    struct round *r = round_new();
    enum kist_err err = r ? sweep_packs(s) : KIST_E_NOMEM;
    if (err != KIST_OK)
        TRACE(TRACE_WARN, "reclaim", "sweep failed: %s", kist_err_text(err));
    if (r)
        reclaim_until_stopped(s, r);
    round_free(r);
    return NULL;
}

enum kist_err reclaim_start(struct store *s)
{
    if (s->config.manual)
        return sweep_packs(s);
    s->reclaim.garbage_bytes_max = DEAD_BYTES_LEAST / 4;
    return upkeep_start(&s->reclaim, "reclaim", reclaim_main, s);
}

void reclaim_note(struct store *s, uint64_t bytes)
{
    struct upkeep *u = &s->reclaim;
    if (!u->started)
        return;
    pthread_mutex_lock(&u->lock);
    u->garbage_bytes += bytes;
    if (u->garbage_rows++ == 0 || is_enough(u))
        pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->lock);
}
