#include "tests/sim/locks.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/disk.h"

/* Later than any clock of a run, the wall's included. */
#define FOR_EVER ((int64_t)4102444800000) /* 2100 */

const uint8_t sim_wrapping_key[SEAL_KEY_BYTES] = "the key above all simulated keys";

static char bucket_name[] = "sim";

static void on_done(struct store_op *op)
{
    *(bool *)op->user = true;
}

static enum kist_err submit(struct store *s, const Kist__Command *command,
                            struct delete_result *deletes)
{
    bool done = false;
    struct store_op op;
    store_op_init(&op, on_done, &done);
    op.result.deletes = deletes;
    store_submit(s, &op, command);
    while (!done && store_step(s))
        continue;
    enum kist_err err = done ? op.err : KIST_E_IO;
    store_op_release(&op);
    return err;
}

bool locks_enable(struct store *s)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutBucketConfig request = KIST__PUT_BUCKET_CONFIG__INIT;
    Kist__PutVersioning suspend = KIST__PUT_VERSIONING__INIT;
    request.name = bucket_name;
    request.kind = CONFIG_OBJECT_LOCK;
    request.document = schema_data(BYTES_LIT("locks"));
    command.of_case = KIST__COMMAND__OF_PUT_BUCKET_CONFIG;
    command.put_bucket_config = &request;
    if (submit(s, &command, NULL) != KIST_OK)
        return false;
    suspend.name = bucket_name;
    suspend.versioning = VERSIONING_SUSPENDED;
    command.of_case = KIST__COMMAND__OF_PUT_VERSIONING;
    command.put_versioning = &suspend;
    return submit(s, &command, NULL) == KIST_E_BUCKET_STATE;
}

/* ---- changes ---- */

static enum kist_err put_lock(struct store *s, const struct lock *l, int64_t now_ms,
                              int64_t until_ms, bool hold)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObjectLock request = KIST__PUT_OBJECT_LOCK__INIT;
    request.bucket = bucket_name;
    request.key = schema_data(bytes_str(l->key));
    request.version = l->version;
    request.now_ms = now_ms;
    request.set_legal_hold = l->kind == LOCK_HOLD;
    request.legal_hold = hold;
    request.set_retention = !request.set_legal_hold;
    request.lock_mode = l->kind == LOCK_TO_GOVERNANCE ? LOCK_GOVERNANCE : LOCK_COMPLIANCE;
    request.retain_until_ms = until_ms;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT_LOCK;
    command.put_object_lock = &request;
    return submit(s, &command, NULL);
}

static enum kist_err delete_version(struct store *s, const struct lock *l, int64_t now_ms,
                                    bool bypass)
{
    struct delete_result result = { .err = KIST_OK };
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteObjects request = KIST__DELETE_OBJECTS__INIT;
    Kist__DeleteKey one = KIST__DELETE_KEY__INIT, *keys[] = { &one };
    one.key = schema_data(bytes_str(l->key));
    one.version = l->version;
    request.bucket = bucket_name;
    request.now_ms = now_ms;
    request.bypass_governance = bypass;
    request.n_keys = 1;
    request.keys = keys;
    command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
    command.delete_objects = &request;
    enum kist_err err = submit(s, &command, &result);
    return err == KIST_OK ? result.err : err;
}

/* ---- looking ---- */

/* Size and CRC of what a version holds. */
static enum kist_err read_version(struct store *s, const struct lock *l, struct arena *arena,
                                  uint64_t *size, uint32_t *crc)
{
    struct object_id id = { bytes_str(bucket_name), bytes_str(l->key), l->version };
    struct object_reader *r = NULL;
    uint8_t *piece = arena_alloc(arena, 65536);
    size_t got = 0;
    if (!piece)
        return KIST_E_NOMEM;
    TRY(object_reader_open(s, &id, arena, &r, NULL));
    enum kist_err err = KIST_OK;
    *size = object_reader_object(r)->size;
    *crc = 0;
    if (object_reader_object(r)->seal)
        err = object_reader_unseal(r, sim_wrapping_key);
    for (uint64_t at = 0; at < *size && err == KIST_OK; at += got) {
        err = object_reader_read(r, at, piece, 65536, true, &got);
        *crc = crc32c_update(*crc, piece, got);
    }
    object_reader_close(r);
    return err;
}

static bool shows_lock(const struct lock *l, const Kist__Object *o)
{
    if (l->kind == LOCK_HOLD)
        return o->legal_hold;
    return o->retain_until_ms == FOR_EVER &&
           o->lock_mode == (l->kind == LOCK_TO_GOVERNANCE ? LOCK_GOVERNANCE : LOCK_COMPLIANCE);
}

static bool is_whole(struct store *s, const struct lock *l)
{
    struct arena arena;
    struct object_id id = { bytes_str(bucket_name), bytes_str(l->key), l->version };
    Kist__Object *o = NULL;
    uint64_t size = 0;
    uint32_t crc = 0;
    arena_init(&arena, (size_t)4 << 20);
    enum kist_err err = store_head(s, &id, &arena, &o);
    bool ok = err == KIST_OK && shows_lock(l, o);
    if (ok)
        err = read_version(s, l, &arena, &size, &crc);
    ok = ok && err == KIST_OK && size == l->size && crc == l->crc;
    if (!ok)
        printf("    locked %s, version %llx: %s\n", l->key, (unsigned long long)l->version,
               err == KIST_OK ? "not as it was" : kist_err_text(err));
    arena_release(&arena);
    return ok;
}

static bool is_locked_at(const struct lock *l, size_t at)
{
    return l->acknowledged <= at && at < l->lifted;
}

bool locks_hold(struct store *s, const struct locks *l, size_t at)
{
    bool ok = true;
    for (size_t i = 0; i < l->count; i++)
        if (is_locked_at(&l->list[i], at))
            ok = is_whole(s, &l->list[i]) && ok;
    return ok;
}

static bool refuses(struct store *s, struct locks *l, const struct lock *one, int64_t now_ms,
                    bool bypass)
{
    enum kist_err err = delete_version(s, one, now_ms, bypass);
    l->refused++;
    if (err != KIST_E_OBJECT_LOCKED)
        printf("    locked %s: a deletion was answered with: %s\n", one->key, kist_err_text(err));
    return err == KIST_E_OBJECT_LOCKED;
}

bool locks_refuse(struct store *s, struct locks *l, size_t at, int64_t now_ms)
{
    bool ok = true;
    for (size_t i = 0; i < l->count; i++) {
        const struct lock *one = &l->list[i];
        if (is_locked_at(one, at))
            ok = refuses(s, l, one, now_ms, one->kind != LOCK_TO_GOVERNANCE) && ok;
    }
    return ok;
}

/* ---- steps ---- */

static bool has_lock(const struct locks *l, const struct lock *one)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->list[i].lifted == SIZE_MAX && l->list[i].version == one->version)
            return true;
    return false;
}

/* Nothing to lock is fine. */
static bool lock_current(struct store *s, struct locks *l, uint64_t random, const char *key,
                         int64_t now_ms)
{
    struct arena arena;
    struct lock *one = &l->list[l->count];
    struct object_id id = { bytes_str(bucket_name), bytes_str(key), VERSION_CURRENT };
    Kist__Object *o = NULL;
    if (l->count == LOCKS_MAX)
        return true;
    arena_init(&arena, (size_t)4 << 20);
    *one = (struct lock){ .lifted = SIZE_MAX };
    snprintf(one->key, sizeof(one->key), "%s", key);
    one->kind = random % 3 == 0   ? LOCK_HOLD
                : random % 3 == 1 ? LOCK_TO_GOVERNANCE
                                  : LOCK_TO_COMPLIANCE;
    enum kist_err err = store_head(s, &id, &arena, &o);
    if (err == KIST_OK) {
        one->version = o->version;
        err = read_version(s, one, &arena, &one->size, &one->crc);
        if (err == KIST_OK && !has_lock(l, one)) {
            err = put_lock(s, one, now_ms, FOR_EVER, true);
            one->acknowledged = disk_mark();
            l->count++;
        }
    }
    arena_release(&arena);
    return err == KIST_OK || err == KIST_E_NO_KEY || err == KIST_E_DELETE_MARKER;
}

static bool is_current(struct store *s, const struct lock *one)
{
    struct arena arena;
    struct object_id id = { bytes_str(bucket_name), bytes_str(one->key), VERSION_CURRENT };
    Kist__Object *o = NULL;
    arena_init(&arena, (size_t)1 << 20);
    bool current = store_head(s, &id, &arena, &o) == KIST_OK && o->version == one->version;
    arena_release(&arena);
    return current;
}

/* A hold is lifted; who may pass governance by does; the current version stays, for the
 * workload's own book-keeping. */
static bool lift(struct store *s, struct lock *one, int64_t now_ms)
{
    if (one->kind == LOCK_TO_COMPLIANCE || is_current(s, one))
        return true;
    one->lifted = disk_mark();
    return (one->kind == LOCK_HOLD ? put_lock(s, one, now_ms, 0, false)
                                   : delete_version(s, one, now_ms, true)) == KIST_OK;
}

/* Compliance cannot be shortened by anybody, nor governance without the permission. */
static bool shorten(struct store *s, const struct lock *one, int64_t now_ms)
{
    enum kist_err err = one->kind == LOCK_HOLD ? KIST_E_OBJECT_LOCKED
                                               : put_lock(s, one, now_ms, now_ms + 1, false);
    if (err != KIST_E_OBJECT_LOCKED)
        printf("    locked %s: it was shortened: %s\n", one->key, kist_err_text(err));
    return err == KIST_E_OBJECT_LOCKED;
}

bool locks_step(struct store *s, struct locks *l, uint64_t random, const char *key,
                int64_t now_ms)
{
    struct lock *one = l->count ? &l->list[random / 16 % l->count] : NULL;
    if (!one || one->lifted != SIZE_MAX || random % 16 < 6)
        return lock_current(s, l, random / 16, key, now_ms);
    if (random % 16 < 9)
        return lift(s, one, now_ms);
    if (random % 16 < 12)
        return shorten(s, one, now_ms) && is_whole(s, one);
    return refuses(s, l, one, now_ms, one->kind != LOCK_TO_GOVERNANCE) && is_whole(s, one);
}
