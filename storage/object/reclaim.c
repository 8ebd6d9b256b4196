/* The reclaimer: garbage rows become freed extents, freed extents become holes.
 *
 *   G row, not pinned --Release--> chunk references drop, F rows --punch--> Freed --> gone
 *
 * Everything is a command or can be repeated, so that a crash anywhere only repeats work: an F
 * row's bytes are never reused, and punching twice does nothing.
 *
 * Garbage waits for company: until there is a round of it, or a checkpoint has passed, which
 * takes away the tombstones that every look for the first row has to walk over.
 */
#include "storage/object/store_internal.h"

#include <stdlib.h>

#include "storage/base/trace.h"

#define ROUND_ROWS 512
#define RELEASE_CHUNKS_MAX 4096

/* A round's rows, copied out of a short index read. */
struct round {
    struct arena arena;
    Kist__Command command;
    ProtobufCBinaryData keys[ROUND_ROWS];
    uint64_t pins[ROUND_ROWS], base_pins[ROUND_ROWS];
    Kist__Extent *extents[ROUND_ROWS];
    size_t count;
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

static enum kist_err commit(struct store *s, struct round *r)
{
    struct buf packed;
    struct apply_result result = { 0 };
    buf_init(&packed, 1 << 20);
    enum kist_err err = schema_pack(&r->command, &packed);
    if (err == KIST_OK)
        err = log_commit(s->log, buf_bytes(&packed), BYTES_EMPTY, &result);
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
    r->keys[r->count++] = schema_data(copy);
    return KIST_OK;
}

static enum kist_err take_freed(struct kv_read *read, struct round *r, struct bytes key,
                                struct bytes value)
{
    (void)read;
    (void)key;
    TRY(schema_unpack(&kist__extent__descriptor, value, &r->arena, &r->extents[r->count]));
    r->count++;
    return KIST_OK;
}

/* Walks rows of a table behind `*after`, which moves along; fills the round. */
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
        err = take(&read, r, key, value);
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
        if (!is_pinned(s, r->pins[i]) && !is_pinned(s, r->base_pins[i]))
            r->keys[kept++] = r->keys[i];
    r->count = kept;
}

/* One pass over the garbage; *progress when something was released. */
static enum kist_err release_pass(struct store *s, struct round *r, bool *progress)
{
    struct row_key after;
    row_start(&after, ROW_GARBAGE);
    for (;;) {
        Kist__Release release = KIST__RELEASE__INIT;
        round_begin(r);
        TRY(gather(s, ROW_GARBAGE, &after, r, take_garbage));
        if (r->count == 0 || s->stopping)
            return KIST_OK;
        drop_pinned(s, r);
        if (r->count == 0)
            continue;
        release.n_garbage_keys = r->count;
        release.garbage_keys = r->keys;
        release.chunks_max = RELEASE_CHUNKS_MAX;
        r->command.of_case = KIST__COMMAND__OF_RELEASE;
        r->command.release = &release;
        TRY(commit(s, r));
        *progress = true;
    }
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
        if (i == 0 || r->extents[i]->pack != r->extents[i - 1]->pack)
            TRY(sweep_remove_empty(s, r->extents[i]->pack));
    return KIST_OK;
}

/* One pass, as above: what an upload frees behind us meanwhile was noted. */
static enum kist_err punch_freed(struct store *s, struct round *r)
{
    struct row_key after;
    row_start(&after, ROW_FREED);
    for (;;) {
        Kist__Freed freed = KIST__FREED__INIT;
        round_begin(r);
        TRY(gather(s, ROW_FREED, &after, r, take_freed));
        if (r->count == 0 || s->stopping)
            return KIST_OK;
        TRY(punch_runs(s, r));
        freed.n_extents = r->count;
        freed.extents = r->extents;
        r->command.of_case = KIST__COMMAND__OF_FREED;
        r->command.freed = &freed;
        TRY(commit(s, r));
        TRY(remove_empty(s, r));
    }
}

enum kist_err store_reclaim(struct store *s)
{
    struct round *r = calloc(1, sizeof(*r));
    if (!r)
        return KIST_E_NOMEM;
    arena_init(&r->arena, 64 << 20);
    enum kist_err err = KIST_OK;
    bool progress = true;
    while (progress && err == KIST_OK && !s->stopping) {
        progress = false;
        err = release_pass(s, r, &progress);
        if (err == KIST_OK)
            err = punch_freed(s, r);
    }
    arena_release(&r->arena);
    free(r);
    return err;
}

/* ---- the thread ---- */

static void *reclaim_main(void *arg)
{
    struct store *s = arg;
    struct upkeep *u = &s->reclaim;
    enum kist_err err = sweep_packs(s);
    if (err != KIST_OK)
        TRACE(TRACE_WARN, "reclaim", "sweep failed: %s", kist_err_text(err));
    pthread_mutex_lock(&u->lock);
    u->garbage = true; /* what the last process left */
    while (!u->stop) {
        if (!u->garbage) {
            pthread_cond_wait(&u->wake, &u->lock);
            continue;
        }
        u->garbage = false;
        u->garbage_rows = 0;
        pthread_mutex_unlock(&u->lock);
        err = store_reclaim(s);
        if (err != KIST_OK && err != KIST_E_SHUTDOWN)
            TRACE(TRACE_WARN, "reclaim", "reclaim failed: %s", kist_err_text(err));
        pthread_mutex_lock(&u->lock);
    }
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

enum kist_err reclaim_start(struct store *s)
{
    if (s->config.manual)
        return sweep_packs(s);
    return upkeep_start(&s->reclaim, "reclaim", reclaim_main, s);
}

static void wake(struct upkeep *u, size_t more, size_t least)
{
    if (!u->started)
        return;
    pthread_mutex_lock(&u->lock);
    u->garbage_rows += more;
    if (u->garbage_rows >= least) {
        u->garbage = true;
        pthread_cond_signal(&u->wake);
    }
    pthread_mutex_unlock(&u->lock);
}

void reclaim_note(struct store *s)
{
    wake(&s->reclaim, 1, ROUND_ROWS);
}

void reclaim_checkpointed(struct store *s)
{
    wake(&s->reclaim, 0, 1);
}

void reclaim_now(struct store *s)
{
    wake(&s->reclaim, 1, 1);
}
