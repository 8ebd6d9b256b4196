/* fsck: walks every table once and checks it against what the others say.
 *
 * References are counted in memory: 16 bytes for each chunk and manifest, keyed by 64 bits of
 * their hash or id. The store is quiet meanwhile, so that one index read serves for all.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/object/store_internal.h"

/* ---- counts: a hash table that doubles ---- */

struct counts {
    struct count {
        uint64_t key, n;
    } * slots;
    size_t size, used;
};

static struct count *count_slot(struct counts *c, uint64_t key)
{
    size_t i = (key * 0x9E3779B97F4A7C15U) & (c->size - 1);
    while (c->slots[i].n && c->slots[i].key != key)
        i = (i + 1) & (c->size - 1);
    return &c->slots[i];
}

static enum kist_err count_add(struct counts *c, uint64_t key)
{
    if (2 * c->used >= c->size) {
        struct counts bigger = { .size = c->size ? 2 * c->size : 1024 };
        bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
        if (!bigger.slots)
            return KIST_E_NOMEM;
        for (size_t i = 0; i < c->size; i++)
            if (c->slots[i].n)
                *count_slot(&bigger, c->slots[i].key) = c->slots[i];
        bigger.used = c->used;
        free(c->slots);
        *c = bigger;
    }
    struct count *slot = count_slot(c, key);
    c->used += slot->n == 0;
    slot->key = key;
    slot->n++;
    return KIST_OK;
}

static uint64_t count_of(struct counts *c, uint64_t key)
{
    return c->size ? count_slot(c, key)->n : 0;
}

/* ---- the walk ---- */

struct fsck {
    struct store *store;
    struct kv_read read;
    struct arena arena;
    void (*report)(void *ctx, const char *finding);
    void *ctx;
    struct fsck_report out;
    struct counts chunks, manifests;
    uint64_t small_extents;  /* that rows refer to */
    uint64_t small_owned;    /* E rows of that kind */
    Kist__BucketStats found; /* of the bucket whose objects pass */
    uint64_t rows;           /* of a table, in all */
    struct queue_found {
        uint64_t id, waiting, parked;
    } queue; /* whose events pass */
    /* per pack while its extents pass */
    uint32_t pack;
    uint64_t pack_end;
};

static void __attribute__((format(printf, 2, 3))) problem(struct fsck *f, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    f->out.problems++;
    f->report(f->ctx, text);
}

static bool is_freed(struct fsck *f, uint32_t pack, uint64_t offset)
{
    struct row_key key;
    struct bytes ignored;
    row_extent(&key, ROW_FREED, pack, offset);
    return kv_get(&f->read, row_bytes(&key), &ignored) == KIST_OK;
}

static void check_extent(struct fsck *f, const Kist__Extent *e, const char *what)
{
    struct row_key key;
    Kist__ExtentOwner *owner;
    row_extent(&key, ROW_EXTENT, e->pack, e->offset);
    enum kist_err err =
        lookup(&f->read, &key, &kist__extent_owner__descriptor, &f->arena, &owner);
    if (err != KIST_OK)
        problem(f, "%s: no extent row at %08x:%" PRIu64, what, e->pack, e->offset);
    else if (owner->length != e->length)
        problem(f, "%s: extent at %08x:%" PRIu64 " has another length", what, e->pack, e->offset);
    else if (is_freed(f, e->pack, e->offset))
        problem(f, "%s: extent at %08x:%" PRIu64 " is freed", what, e->pack, e->offset);
}

static enum kist_err check_data(struct fsck *f, const Kist__Data *d, uint64_t size, bool sealed,
                                const char *what)
{
    uint64_t bytes = 0, expected = sealed ? sealed_length(size, PACK_BLOCK_BYTES) : size;
    if (!d) {
        if (size)
            problem(f, "%s: %" PRIu64 " bytes, but no data", what, size);
        return KIST_OK;
    }
    if (d->extent) {
        check_extent(f, d->extent, what);
        f->small_extents++;
        bytes = d->extent->length;
    }
    for (size_t i = 0; i < d->n_chunks; i++) {
        if (d->chunks[i]->hash.len != 32) {
            problem(f, "%s: a chunk reference without a hash", what);
            continue;
        }
        TRY(count_add(&f->chunks, row_read_u64(d->chunks[i]->hash.data)));
        bytes += d->chunks[i]->length;
    }
    if (d->manifest)
        return count_add(&f->manifests, d->manifest);
    if (size != UINT64_MAX && bytes != expected)
        problem(f, "%s: size %" PRIu64 ", but data of %" PRIu64, what, expected, bytes);
    return KIST_OK;
}

static enum kist_err walk(struct fsck *f, struct bytes prefix,
                          enum kist_err (*each)(struct fsck *, struct bytes, struct bytes))
{
    struct kv_cursor *cursor;
    struct bytes key, value;
    TRY(kv_cursor_open(&f->read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, prefix, &key, &value);
    while (err == KIST_OK && bytes_starts_with(key, prefix)) {
        arena_clear(&f->arena);
        err = each(f, key, value);
        if (err == KIST_OK)
            err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err walk_table(struct fsck *f, enum row_table table,
                                enum kist_err (*each)(struct fsck *, struct bytes, struct bytes))
{
    uint8_t prefix = (uint8_t)table;
    return walk(f, bytes_of(&prefix, 1), each);
}

/* ---- buckets: their objects and versions ---- */

/* The last part ends where the object does. */
static enum kist_err check_appended(struct fsck *f, const Kist__Object *o)
{
    struct row_key row;
    Kist__Part *last = NULL;
    row_part(&row, o->data ? o->data->manifest : 0, o->part_count);
    enum kist_err err = lookup(&f->read, &row, &kist__part__descriptor, &f->arena, &last);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    if (err != KIST_OK || last->start + last->size != o->size)
        problem(f, "object %" PRIu64 ": its last part does not end it", o->data_id);
    return KIST_OK;
}

static enum kist_err on_object(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__Object *o;
    TRY(schema_unpack(&kist__object__descriptor, value, &f->arena, &o));
    f->found.bytes += (int64_t)o->size;
    if (key.ptr[0] == ROW_OBJECT) {
        f->found.objects++;
        f->out.objects++;
        if (o->delete_marker)
            problem(f, "a delete marker is a current object");
    } else {
        f->found.versions++;
        f->out.versions++;
        if (row_read_u64(key.ptr + key.len - 8) != ~o->data_id)
            problem(f, "version %" PRIu64 " is in another's row", o->data_id);
    }
    if (o->append_parts)
        TRY(check_appended(f, o));
    return check_data(f, o->data, o->size, o->seal != NULL, "object");
}

/* Every N row points at a V row that is a null version. */
static enum kist_err on_null(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__NullVersion *null;
    Kist__Object *o = NULL;
    struct row_key row = { .len = 0 };
    TRY(schema_unpack(&kist__null_version__descriptor, value, &f->arena, &null));
    row_add(&row, key);
    row.data[0] = ROW_VERSION;
    row_add_u64(&row, ~null->data_id);
    enum kist_err err = lookup(&f->read, &row, &kist__object__descriptor, &f->arena, &o);
    if (err != KIST_OK || o->version != 0)
        problem(f, "null version %" PRIu64 " is not there", null->data_id);
    return KIST_OK;
}

/* What an upload's parts count for its bucket, they count for itself. */
static enum kist_err on_own_upload(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__Upload *u;
    (void)key;
    TRY(schema_unpack(&kist__upload__descriptor, value, &f->arena, &u));
    f->found.part_bytes += (int64_t)u->part_bytes;
    return KIST_OK;
}

static enum kist_err on_bucket(struct fsck *f, struct bytes key, struct bytes value)
{
    static const enum row_table tables[] = { ROW_OBJECT, ROW_VERSION };
    Kist__Bucket *bucket;
    struct row_key row;
    (void)key;
    TRY(schema_unpack(&kist__bucket__descriptor, value, &f->arena, &bucket));
    uint64_t id = bucket->id;
    f->found = (Kist__BucketStats)KIST__BUCKET_STATS__INIT;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        row_start(&row, tables[i]);
        row_add_u64(&row, id);
        TRY(walk(f, row_bytes(&row), on_object));
    }
    row_start(&row, ROW_UPLOAD);
    row_add_u64(&row, id);
    TRY(walk(f, row_bytes(&row), on_own_upload));
    Kist__BucketStats none = KIST__BUCKET_STATS__INIT, *stats = &none;
    row_stats(&row, id);
    enum kist_err err =
        lookup(&f->read, &row, &kist__bucket_stats__descriptor, &f->arena, &stats);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    if (stats->objects != f->found.objects || stats->bytes != f->found.bytes ||
        stats->versions != f->found.versions || stats->part_bytes != f->found.part_bytes)
        problem(f, "bucket %" PRIu64 ": statistics are wrong", id);
    return KIST_OK;
}

/* Rows of buckets that are not there. */
static enum kist_err on_any(struct fsck *f, struct bytes key, struct bytes value)
{
    (void)key;
    (void)value;
    f->rows++;
    return KIST_OK;
}

static enum kist_err check_buckets(struct fsck *f)
{
    TRY(walk_table(f, ROW_BUCKET, on_bucket));
    TRY(walk_table(f, ROW_OBJECT, on_any));
    TRY(walk_table(f, ROW_VERSION, on_any));
    if (f->rows != f->out.objects + f->out.versions)
        problem(f, "%" PRIu64 " objects belong to no bucket",
                f->rows - f->out.objects - f->out.versions);
    return walk_table(f, ROW_NULL, on_null);
}

/* ---- the other tables ---- */

static enum kist_err on_upload(struct fsck *f, struct bytes key, struct bytes value)
{
    (void)value;
    f->out.uploads++;
    return count_add(&f->manifests, row_read_u64(key.ptr + key.len - 8));
}

static enum kist_err on_garbage(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__Garbage *g;
    (void)key;
    TRY(schema_unpack(&kist__garbage__descriptor, value, &f->arena, &g));
    f->out.garbage++;
    return check_data(f, g->data, UINT64_MAX, false, "garbage");
}

static enum kist_err on_part(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__Part *p;
    uint64_t manifest = row_read_u64(key.ptr + 1);
    TRY(schema_unpack(&kist__part__descriptor, value, &f->arena, &p));
    f->out.parts++;
    if (!count_of(&f->manifests, manifest))
        problem(f, "part %u of %" PRIu64 " belongs to nothing", row_read_u32(key.ptr + 9),
                manifest);
    if (p->data && p->data->manifest) {
        if (row_read_u32(key.ptr + 9) != 1 || p->start)
            problem(f, "part %u of %" PRIu64 " is a manifest", row_read_u32(key.ptr + 9),
                    manifest);
        return KIST_OK; /* counted: on_nested() */
    }
    return check_data(f, p->data, p->size, p->sealed, "part");
}

/* Manifests below manifests are counted before any part row is judged. */
static enum kist_err on_nested(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__Part *p;
    if (row_read_u32(key.ptr + 9) != 1)
        return KIST_OK;
    TRY(schema_unpack(&kist__part__descriptor, value, &f->arena, &p));
    return p->data && p->data->manifest ? count_add(&f->manifests, p->data->manifest) : KIST_OK;
}

static enum kist_err on_manifest(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__ManifestRefs *m;
    uint64_t id = row_read_u64(key.ptr + 1);
    TRY(schema_unpack(&kist__manifest_refs__descriptor, value, &f->arena, &m));
    if (m->references != count_of(&f->manifests, id))
        problem(f, "manifest %" PRIu64 ": %u references, %" PRIu64 " counted", id, m->references,
                count_of(&f->manifests, id));
    return KIST_OK;
}

static enum kist_err on_chunk(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__Chunk *c;
    uint64_t id = row_read_u64(key.ptr + 1);
    TRY(schema_unpack(&kist__chunk__descriptor, value, &f->arena, &c));
    f->out.chunks++;
    if (c->references != count_of(&f->chunks, id))
        problem(f, "chunk %016" PRIx64 ": %" PRIu64 " references, %" PRIu64 " counted", id,
                c->references, count_of(&f->chunks, id));
    if (c->damaged)
        problem(f, "chunk %016" PRIx64 " is damaged", id);
    if (c->extent)
        check_extent(f, c->extent, "chunk");
    else
        problem(f, "chunk %016" PRIx64 " is nowhere", id);
    return KIST_OK;
}

static enum kist_err on_extent(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__ExtentOwner *e;
    struct row_key chunk_key;
    Kist__Chunk *chunk;
    uint32_t pack = row_read_u32(key.ptr + 1);
    uint64_t offset = row_read_u64(key.ptr + 5);
    TRY(schema_unpack(&kist__extent_owner__descriptor, value, &f->arena, &e));
    if (pack == f->pack && offset < f->pack_end)
        problem(f, "extents overlap at %08x:%" PRIu64, pack, offset);
    f->pack = pack;
    f->pack_end = offset + e->length;
    if (is_freed(f, pack, offset))
        return KIST_OK; /* not punched yet */
    f->out.extents++;
    f->out.live_bytes += e->length;
    if (e->chunk.len != 32) {
        f->small_owned++;
        return KIST_OK;
    }
    row_chunk(&chunk_key, schema_bytes(e->chunk));
    enum kist_err err = lookup(&f->read, &chunk_key, &kist__chunk__descriptor, &f->arena, &chunk);
    if (err != KIST_OK || !chunk->extent || chunk->extent->pack != pack ||
        chunk->extent->offset != offset)
        problem(f, "extent at %08x:%" PRIu64 " has no chunk", pack, offset);
    return KIST_OK;
}

static enum kist_err on_freed(struct fsck *f, struct bytes key, struct bytes value)
{
    struct row_key owned;
    Kist__ExtentOwner *owner;
    Kist__Extent *freed;
    f->out.freed++;
    TRY(schema_unpack(&kist__extent__descriptor, value, &f->arena, &freed));
    row_extent(&owned, ROW_EXTENT, row_read_u32(key.ptr + 1), row_read_u64(key.ptr + 5));
    if (lookup(&f->read, &owned, &kist__extent_owner__descriptor, &f->arena, &owner) == KIST_OK &&
        owner->length != freed->length)
        problem(f, "a freed extent has another length");
    return KIST_OK;
}

/* ---- events: queues count what waits in them ---- */

static enum kist_err on_event(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__Event *event;
    struct row_event_parts parts;
    TRY(schema_unpack(&kist__event__descriptor, value, &f->arena, &event));
    f->out.events++;
    if (!row_event_parse(key, &parts)) {
        problem(f, "an event's row has a key that is none");
        return KIST_OK;
    }
    if (parts.due_ms == ROW_DUE_PARKED)
        f->queue.parked++;
    else
        f->queue.waiting++;
    if (row_queue_id(bytes_str(event->target)) != f->queue.id)
        problem(f, "an event for %s is in another queue", event->target);
    return KIST_OK;
}

static enum kist_err on_queue(struct fsck *f, struct bytes key, struct bytes value)
{
    Kist__EventQueue *queue;
    struct row_key row;
    TRY(schema_unpack(&kist__event_queue__descriptor, value, &f->arena, &queue));
    uint64_t waiting = queue->waiting, parked = queue->parked;
    f->queue = (struct queue_found){ .id = row_queue_id(bytes_str(queue->target)) };
    row_queue(&row, f->queue.id);
    if (!bytes_equal(key, row_bytes(&row)))
        problem(f, "the queue of %s is in another's row", queue->target);
    if (!waiting && !parked && !queue->paused)
        problem(f, "the queue of %s holds nothing", queue->target);
    row_event(&row, f->queue.id, 0, 0, 0);
    row.len = 2 + sizeof(uint64_t);
    TRY(walk(f, row_bytes(&row), on_event));
    if (f->queue.waiting != waiting || f->queue.parked != parked)
        problem(f,
                "queue %016" PRIx64 ": %" PRIu64 " wait and %" PRIu64 " are parked, %" PRIu64
                " and %" PRIu64 " counted",
                f->queue.id, waiting, parked, f->queue.waiting, f->queue.parked);
    return KIST_OK;
}

static enum kist_err check_events(struct fsck *f)
{
    struct row_key row;
    row_queue(&row, 0);
    row.len = 2;
    TRY(walk(f, row_bytes(&row), on_queue));
    row_event(&row, 0, 0, 0, 0);
    row.len = 2;
    f->rows = 0;
    TRY(walk(f, row_bytes(&row), on_any));
    if (f->rows != f->out.events)
        problem(f, "%" PRIu64 " events belong to no queue", f->rows - f->out.events);
    return KIST_OK;
}

/* ---- packs: bytes on disk that no extent covers ---- */

/* Allocation is by pages, and a file system's own blocks count, too. */
#define PACK_SLACK ((uint64_t)256 << 10)

static enum kist_err live_pages(struct fsck *f, uint32_t pack, uint64_t *bytes)
{
    struct row_key start;
    struct kv_cursor *cursor;
    struct bytes key, value;
    uint64_t end = 0;
    *bytes = 0;
    row_extent(&start, ROW_EXTENT, pack, 0);
    TRY(kv_cursor_open(&f->read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&start), &key, &value);
    while (err == KIST_OK && bytes_starts_with(key, bytes_of(start.data, 5))) {
        Kist__ExtentOwner *e;
        arena_clear(&f->arena);
        err = schema_unpack(&kist__extent_owner__descriptor, value, &f->arena, &e);
        if (err != KIST_OK)
            break;
        uint64_t first = row_read_u64(key.ptr + 5) & ~(PACK_ALIGN - 1);
        uint64_t last =
            (row_read_u64(key.ptr + 5) + e->length + PACK_ALIGN - 1) & ~(PACK_ALIGN - 1);
        first = first < end ? end : first;
        *bytes += last > first ? last - first : 0;
        end = last > end ? last : end;
        err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err on_pack(void *ctx, uint32_t pack, uint64_t file_bytes)
{
    struct fsck *f = ctx;
    uint64_t live;
    TRY(live_pages(f, pack, &live));
    f->out.pack_bytes += file_bytes;
    if (file_bytes > live + live / 64 + PACK_SLACK)
        problem(f, "pack %08x holds %" PRIu64 " bytes that nothing refers to", pack,
                file_bytes - live);
    return KIST_OK;
}

static enum kist_err check_all(struct fsck *f)
{
    TRY(check_buckets(f));
    TRY(walk_table(f, ROW_UPLOAD, on_upload));
    TRY(walk_table(f, ROW_GARBAGE, on_garbage));
    TRY(walk_table(f, ROW_PART, on_nested));
    TRY(walk_table(f, ROW_PART, on_part));
    TRY(walk_table(f, ROW_MANIFEST, on_manifest));
    TRY(walk_table(f, ROW_CHUNK, on_chunk));
    TRY(walk_table(f, ROW_EXTENT, on_extent));
    TRY(walk_table(f, ROW_FREED, on_freed));
    TRY(check_events(f));
    if (f->small_extents != f->small_owned)
        problem(f, "%" PRIu64 " small extents are live, %" PRIu64 " are referred to",
                f->small_owned, f->small_extents);
    return pack_each(f->store->packs, on_pack, f);
}

enum kist_err store_fsck(struct store *s, void (*report)(void *ctx, const char *finding),
                         void *ctx, struct fsck_report *out)
{
    struct fsck f = { .store = s, .report = report, .ctx = ctx };
    TRY(kv_read_begin(s->kv, &f.read));
    arena_init(&f.arena, (size_t)64 << 20);
    enum kist_err err = check_all(&f);
    kv_read_end(&f.read);
    arena_release(&f.arena);
    free(f.chunks.slots);
    free(f.manifests.slots);
    *out = f.out;
    return err;
}
