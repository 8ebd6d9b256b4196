/* Scrub: reads every live extent and compares it with its hash.
 *
 * Walks the extent rows, which is the order of the disk. In the background it is paced so that
 * one round takes scrub_days; it keeps its place in memory only, since a restart may begin
 * anywhere: over the rounds every extent gets its turn.
 */
#include "storage/object/store_internal.h"

#include <stdlib.h>
#include <time.h>

#include "storage/base/trace.h"

#define STEP_ROWS 64

struct scrub_row {
    uint32_t pack, length, crc;
    uint64_t offset;
    bool chunk;
    uint8_t hash[32];
};

struct scrub_step {
    struct row_key after;
    struct scrub_row rows[STEP_ROWS];
    size_t count;
};

static enum kist_err take_row(struct scrub_step *step, struct bytes key, struct bytes value,
                              struct arena *arena)
{
    Kist__ExtentOwner *owner = NULL;
    arena_clear(arena);
    TRY(schema_unpack(&kist__extent_owner__descriptor, value, arena, &owner));
    struct scrub_row *row = &step->rows[step->count++];
    row->pack = row_read_u32(key.ptr + 1);
    row->offset = row_read_u64(key.ptr + 5);
    row->length = owner->length;
    row->crc = owner->crc;
    row->chunk = owner->chunk.len == sizeof(row->hash);
    if (row->chunk)
        memcpy(row->hash, owner->chunk.data, sizeof(row->hash));
    return KIST_OK;
}

/* An extent whose row is damaged is told of; the others have their turn. */
static enum kist_err gather(struct store *s, struct scrub_step *step, struct scrub_report *report)
{
    struct kv_read read;
    struct kv_cursor *cursor = NULL;
    struct bytes key, value;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    step->count = 0;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = kv_cursor_open(&read, &cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(cursor, row_bytes(&step->after), &key, &value);
    while (err == KIST_OK && key.ptr[0] == ROW_EXTENT && step->count < STEP_ROWS) {
        err = take_row(step, key, value, &arena);
        if (err == KIST_E_CORRUPT) {
            TRACE(TRACE_ERROR, "scrub", "damaged row of the extent in pack %08x at %llu",
                  row_read_u32(key.ptr + 1), (unsigned long long)row_read_u64(key.ptr + 5));
            report->damaged++;
            err = KIST_OK;
        }
        step->after.len = 0;
        row_add(&step->after, key);
        row_add(&step->after, bytes_of("", 1));
        if (err == KIST_OK)
            err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    kv_read_end(&read);
    arena_release(&arena);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* In pieces, so that a scrub's memory is one block. */
static enum kist_err check_bytes(struct store *s, const struct scrub_row *row, uint8_t *buf)
{
    struct digest_set hash = { 0 };
    uint32_t crc = 0;
    uint8_t found[32];
    enum kist_err err = digest_set_init(&hash, DIGEST_BIT(DIGEST_SHA256));
    for (uint32_t at = 0; at < row->length && err == KIST_OK; at += PACK_BLOCK_BYTES) {
        uint32_t rest = row->length - at;
        uint32_t n = rest < PACK_BLOCK_BYTES ? rest : PACK_BLOCK_BYTES;
        err = pack_read(s->packs, row->pack, row->offset + at, buf, n, false);
        if (err == KIST_OK && row->chunk)
            digest_set_update(&hash, buf, n);
        else if (err == KIST_OK)
            crc = crc32c_update(crc, buf, n);
    }
    if (err == KIST_OK && row->chunk) {
        digest_set_final(&hash, DIGEST_SHA256, found);
        err = memcmp(found, row->hash, sizeof(found)) == 0 ? KIST_OK : KIST_E_CORRUPT;
    } else if (err == KIST_OK) {
        err = crc == row->crc ? KIST_OK : KIST_E_CORRUPT;
    }
    digest_set_release(&hash);
    return err;
}

/* Freed while we read it: not damage. */
static bool still_live(struct store *s, const struct scrub_row *row)
{
    struct kv_read read;
    struct row_key key;
    struct bytes value;
    if (kv_read_begin(s->kv, &read) != KIST_OK)
        return true;
    row_extent(&key, ROW_EXTENT, row->pack, row->offset);
    bool live = kv_get(&read, row_bytes(&key), &value) == KIST_OK;
    row_extent(&key, ROW_FREED, row->pack, row->offset);
    live = live && kv_get(&read, row_bytes(&key), &value) != KIST_OK;
    kv_read_end(&read);
    return live;
}

static void mark_damaged(struct store *s, struct scrub_row *row)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__MarkChunk mark = KIST__MARK_CHUNK__INIT;
    struct apply_result result = { 0 };
    struct buf packed;
    TRACE(TRACE_ERROR, "scrub", "damaged extent in pack %08x at %llu", row->pack,
          (unsigned long long)row->offset);
    s->reads_damaged++;
    if (!row->chunk)
        return;
    mark.hash = (ProtobufCBinaryData){ .len = sizeof(row->hash), .data = row->hash };
    mark.damaged = true;
    mark.pack = row->pack;
    mark.offset = row->offset;
    command.of_case = KIST__COMMAND__OF_MARK_CHUNK;
    command.mark_chunk = &mark;
    buf_init(&packed, 4096);
    if (schema_pack(&command, &packed) == KIST_OK)
        (void)!log_commit(s->log, buf_bytes(&packed), BYTES_EMPTY, &result);
    buf_release(&packed);
}

static enum kist_err check_row(struct store *s, struct scrub_row *row, uint8_t *buf,
                               struct scrub_report *report)
{
    enum kist_err err = check_bytes(s, row, buf);
    report->extents++;
    report->bytes += row->length;
    s->scrubbed_bytes += row->length;
    if (err == KIST_E_CORRUPT || err == KIST_E_IO) {
        if (still_live(s, row)) {
            report->damaged++;
            mark_damaged(s, row);
        }
        err = KIST_OK;
    }
    return err;
}

static enum kist_err add_pack(void *ctx, uint32_t pack, uint64_t file_bytes)
{
    struct scrub_report *report = ctx;
    (void)pack;
    report->bytes_total += file_bytes;
    return KIST_OK;
}

enum kist_err store_scrub(struct store *s,
                          bool (*progress)(void *ctx, const struct scrub_report *report),
                          void *ctx, struct scrub_report *out)
{
    struct scrub_report report = { 0 };
    struct scrub_step *step = calloc(1, sizeof(*step));
    uint8_t *buf = malloc(PACK_BLOCK_BYTES);
    enum kist_err err = step && buf ? pack_each(s->packs, add_pack, &report) : KIST_E_NOMEM;
    bool more = err == KIST_OK;
    if (more)
        row_start(&step->after, ROW_EXTENT);
    while (more && err == KIST_OK) {
        err = gather(s, step, &report);
        more = step->count > 0;
        for (size_t i = 0; i < step->count && err == KIST_OK && more; i++) {
            err = check_row(s, &step->rows[i], buf, &report);
            more = progress(ctx, &report);
        }
    }
    free(step);
    free(buf);
    *out = report;
    return err;
}

/* ---- in the background ---- */

struct pace {
    struct store *store;
    struct timespec start;
    double bytes_per_s;
};

static bool wait_until(struct store *s, const struct timespec *t)
{
    struct upkeep *u = &s->scrub;
    pthread_mutex_lock(&u->lock);
    while (!u->stop && pthread_cond_timedwait(&u->wake, &u->lock, t) == 0)
        continue;
    bool go_on = !u->stop;
    pthread_mutex_unlock(&u->lock);
    return go_on;
}

static bool keep_pace(void *ctx, const struct scrub_report *report)
{
    struct pace *p = ctx;
    double due_s = (double)report->bytes / p->bytes_per_s;
    struct timespec t = p->start;
    t.tv_sec += (time_t)due_s;
    return wait_until(p->store, &t);
}

static void *scrub_main(void *arg)
{
    struct store *s = arg;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += 3600; /* a fresh start has better things to do */
    while (wait_until(s, &t)) {
        struct pace pace = { .store = s };
        struct scrub_report report = { 0 };
        double seconds = (double)s->config.scrub_days * 86400.0;
        (void)!pack_each(s->packs, add_pack, &report);
        clock_gettime(CLOCK_MONOTONIC, &pace.start);
        pace.bytes_per_s = (double)report.bytes_total / seconds;
        if (pace.bytes_per_s < 65536.0)
            pace.bytes_per_s = 65536.0;
        enum kist_err err = store_scrub(s, keep_pace, &pace, &report);
        TRACE(err == KIST_OK && !report.damaged ? TRACE_INFO : TRACE_ERROR, "scrub",
              "%llu extents, %llu bytes, %llu damaged: %s", (unsigned long long)report.extents,
              (unsigned long long)report.bytes, (unsigned long long)report.damaged,
              kist_err_text(err));
        t = pace.start;
        t.tv_sec += (time_t)seconds;
    }
    return NULL;
}

enum kist_err scrub_start(struct store *s)
{
    if (s->config.manual || !s->config.scrub_days)
        return KIST_OK;
    return upkeep_start(&s->scrub, "scrub", scrub_main, s);
}
