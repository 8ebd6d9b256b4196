/* Chunks, extents and garbage.
 *
 * An extent is in exactly one of three states: reserved (in memory only, by an upload in
 * flight), live (an E row, referred to by one object, part or chunk row), or freed (an F row,
 * until its bytes are punched out). Dereferenced data first becomes a garbage row, so that
 * deleting a 5 TiB object is one row; Release commands work it off in bounded steps. A chunk
 * whose references reach zero goes in the same command: a later put of equal content finds no
 * row and brings its own extent, so that reclaim and re-reference cannot cross.
 */
#include "storage/index/apply_internal.h"

/* More chunks than this live in a part row below a manifest, so that object rows stay small and
 * listings dense. */
#define INLINE_CHUNKS_MAX 8

static void extent_key(struct row_key *key, enum row_table table, const Kist__Extent *e)
{
    row_extent(key, table, e->pack, e->offset);
}

/* Its E row stays until it is punched: then those of neighbours go together. */
static enum kist_err extent_free(struct apply *a, const Kist__Extent *e)
{
    struct row_key key;
    Kist__Extent freed = KIST__EXTENT__INIT;
    freed.pack = e->pack;
    freed.offset = e->offset;
    freed.length = e->length;
    extent_key(&key, ROW_FREED, e);
    a->result->made_garbage = true;
    a->result->garbage_bytes += e->length;
    return apply_set(a, &key, &freed);
}

static enum kist_err extent_own_chunk(struct apply *a, const Kist__Extent *e,
                                      ProtobufCBinaryData hash)
{
    struct row_key key;
    Kist__ExtentOwner owner = KIST__EXTENT_OWNER__INIT;
    owner.length = e->length;
    owner.chunk = hash;
    extent_key(&key, ROW_EXTENT, e);
    return apply_set(a, &key, &owner);
}

static enum kist_err chunk_get(struct apply *a, ProtobufCBinaryData hash, struct row_key *key,
                               Kist__Chunk **out)
{
    if (hash.len != 32)
        return KIST_E_CORRUPT;
    row_chunk(key, schema_bytes(hash));
    return apply_get(a, key, &kist__chunk__descriptor, out);
}

/* Stores the chunk or refers to its equal; the spare extent is freed. */
static enum kist_err chunk_adopt(struct apply *a, const Kist__NewChunk *c)
{
    struct row_key key;
    Kist__Chunk fresh = KIST__CHUNK__INIT;
    Kist__Chunk *chunk = NULL;
    if (!c->ref || !c->extent)
        return KIST_E_CORRUPT;
    enum kist_err err = chunk_get(a, c->ref->hash, &key, &chunk);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    if (err == KIST_OK && !chunk->damaged) {
        TRY(extent_free(a, c->extent));
        chunk->references++;
        return apply_set(a, &key, chunk);
    }
    if (err == KIST_OK) {
        TRY(extent_free(a, chunk->extent)); /* the new bytes heal the damaged chunk */
        chunk->damaged = false;
    } else {
        chunk = &fresh;
    }
    chunk->references++;
    chunk->extent = c->extent;
    TRY(extent_own_chunk(a, c->extent, c->ref->hash));
    return apply_set(a, &key, chunk);
}

static enum kist_err body_adopt(struct apply *a, uint64_t data_id, uint32_t crc, Kist__Data *data)
{
    const struct apply_input *in = a->input;
    Kist__Extent *e = arena_alloc(&a->arena, sizeof(*e));
    uint32_t *crcs = arena_alloc(&a->arena, sizeof(*crcs));
    if (!e || !crcs)
        return KIST_E_NOMEM;
    kist__extent__init(e);
    *crcs = crc;
    e->pack = in->pack;
    e->offset = in->offset;
    e->length = in->body_length;
    e->n_crcs = 1;
    e->crcs = crcs;
    data->extent = e;
    struct row_key key;
    Kist__ExtentOwner owner = KIST__EXTENT_OWNER__INIT;
    owner.length = e->length;
    owner.data_id = data_id;
    owner.crc = crc;
    extent_key(&key, ROW_EXTENT, e);
    return apply_set(a, &key, &owner);
}

/* Object rows must stay small: many chunks go to a row of their own below a manifest. */
static enum kist_err manifest_make(struct apply *a, uint64_t data_id, const Kist__Object *object,
                                   Kist__Data *data)
{
    struct row_key key;
    Kist__Part part = KIST__PART__INIT;
    Kist__Data chunks = *data;
    part.data = &chunks;
    part.size = object->size;
    part.sealed = object->seal != NULL;
    row_part(&key, data_id, 1);
    TRY(apply_set(a, &key, &part));
    data->n_chunks = 0;
    data->chunks = NULL;
    data->manifest = data_id;
    return KIST_OK;
}

enum kist_err apply_adopt(struct apply *a, size_t count, Kist__NewChunk **chunks,
                          uint64_t data_id, uint32_t body_crc, const Kist__Object *object,
                          Kist__Data **out)
{
    if (count == 0 && a->input->body_length == 0) {
        *out = NULL;
        return KIST_OK;
    }
    Kist__Data *data = arena_alloc(&a->arena, sizeof(*data));
    if (!data)
        return KIST_E_NOMEM;
    kist__data__init(data);
    if (count == 0) {
        TRY(body_adopt(a, data_id, body_crc, data));
        *out = data;
        return KIST_OK;
    }
    data->chunks = arena_alloc(&a->arena, count * sizeof(*data->chunks));
    if (!data->chunks)
        return KIST_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        TRY(chunk_adopt(a, chunks[i]));
        data->chunks[i] = chunks[i]->ref;
    }
    data->n_chunks = count;
    if (count > INLINE_CHUNKS_MAX && object)
        TRY(manifest_make(a, data_id, object, data));
    *out = data;
    return KIST_OK;
}

enum kist_err apply_disown(struct apply *a, size_t count, Kist__NewChunk *const *chunks)
{
    for (size_t i = 0; i < count; i++)
        if (chunks[i]->extent)
            TRY(extent_free(a, chunks[i]->extent));
    if (count == 0 && a->input->body_length) {
        Kist__Extent e = KIST__EXTENT__INIT;
        e.pack = a->input->pack;
        e.offset = a->input->offset;
        e.length = a->input->body_length;
        TRY(extent_free(a, &e));
    }
    return KIST_OK;
}

enum kist_err apply_discard(struct apply *a, const Kist__Data *data, uint64_t bytes)
{
    if (!data || (!data->extent && !data->n_chunks && !data->manifest))
        return KIST_OK;
    struct row_key key;
    Kist__Garbage garbage = KIST__GARBAGE__INIT;
    Kist__Data copy = *data;
    garbage.data = &copy;
    garbage.bytes = bytes;
    row_garbage(&key, a->input->index, a->garbage_count++);
    a->result->made_garbage = true;
    a->result->garbage_bytes += bytes;
    return apply_set(a, &key, &garbage);
}

static enum kist_err manifest_share(struct apply *a, uint64_t manifest)
{
    struct row_key key;
    Kist__ManifestRefs fresh = KIST__MANIFEST_REFS__INIT;
    Kist__ManifestRefs *refs = &fresh;
    row_manifest(&key, manifest);
    enum kist_err err = apply_get(a, &key, &kist__manifest_refs__descriptor, &refs);
    if (err == KIST_E_NOT_FOUND)
        refs->references = 1;
    else if (err != KIST_OK)
        return err;
    refs->references++;
    return apply_set(a, &key, refs);
}

enum kist_err apply_share(struct apply *a, const Kist__Data *data)
{
    if (!data)
        return KIST_OK;
    if (data->manifest)
        return manifest_share(a, data->manifest);
    for (size_t i = 0; i < data->n_chunks; i++) {
        struct row_key key;
        Kist__Chunk *chunk;
        TRY(chunk_get(a, data->chunks[i]->hash, &key, &chunk));
        chunk->references++;
        TRY(apply_set(a, &key, chunk));
    }
    return KIST_OK;
}

/* A missing chunk was found by fsck or is damage; releasing what is left must go on. */
static enum kist_err chunk_release(struct apply *a, const Kist__ChunkRef *ref)
{
    struct row_key key;
    Kist__Chunk *chunk;
    enum kist_err err = chunk_get(a, ref->hash, &key, &chunk);
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK;
    if (err != KIST_OK)
        return err;
    if (chunk->references > 1) {
        chunk->references--;
        return apply_set(a, &key, chunk);
    }
    apply_drop(a, &key);
    return extent_free(a, chunk->extent);
}

/* Releases up to *budget chunks from the end of the list; *data keeps the rest. */
static enum kist_err data_release(struct apply *a, Kist__Data *data, uint32_t *budget)
{
    if (data->extent && *budget) {
        TRY(extent_free(a, data->extent));
        data->extent = NULL;
        --*budget;
    }
    for (; data->n_chunks && *budget; data->n_chunks--, --*budget)
        TRY(chunk_release(a, data->chunks[data->n_chunks - 1]));
    return KIST_OK;
}

/* Works off the part rows below a manifest; *done when none is left. */
static enum kist_err parts_release(struct apply *a, uint64_t manifest, uint32_t *budget,
                                   bool *done)
{
    struct row_key prefix, row;
    row_start(&prefix, ROW_PART);
    row_add_u64(&prefix, manifest);
    struct kv_cursor *cursor;
    TRY(kv_cursor_open(&a->read, &cursor));
    struct bytes key, value;
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&prefix), &key, &value);
    while (err == KIST_OK && *budget && bytes_starts_with(key, row_bytes(&prefix))) {
        Kist__Part *part;
        row.len = 0;
        row_add(&row, key);
        err = schema_unpack(&kist__part__descriptor, value, &a->arena, &part);
        if (err == KIST_OK && part->data)
            err = data_release(a, part->data, budget);
        if (err == KIST_OK && part->data && part->data->manifest) /* appended to: garbage, too */
            err = apply_discard(a, part->data, part->size);
        if (err != KIST_OK)
            break;
        if (part->data && part->data->n_chunks) {
            err = apply_set(a, &row, part);
            break;
        }
        apply_drop(a, &row);
        *budget -= *budget > 0;
        err = kv_cursor_next(cursor, &key, &value);
    }
    *done = err == KIST_E_NOT_FOUND ||
            (err == KIST_OK && !bytes_starts_with(key, row_bytes(&prefix)));
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err manifest_release(struct apply *a, uint64_t manifest, uint32_t *budget,
                                      bool *done)
{
    struct row_key key;
    Kist__ManifestRefs *refs;
    row_manifest(&key, manifest);
    enum kist_err err = apply_get(a, &key, &kist__manifest_refs__descriptor, &refs);
    if (err == KIST_E_NOT_FOUND)
        return parts_release(a, manifest, budget, done);
    if (err != KIST_OK)
        return err;
    *done = true;
    refs->references--;
    if (refs->references > 1)
        return apply_set(a, &key, refs);
    apply_drop(a, &key);
    return KIST_OK;
}

static enum kist_err garbage_release(struct apply *a, struct bytes garbage_key, uint32_t *budget)
{
    struct row_key key = { .len = 0 };
    Kist__Garbage *garbage;
    if (garbage_key.len != 13 || garbage_key.ptr[0] != ROW_GARBAGE)
        return KIST_E_CORRUPT;
    row_add(&key, garbage_key);
    enum kist_err err = apply_get(a, &key, &kist__garbage__descriptor, &garbage);
    if (err != KIST_OK)
        return err == KIST_E_NOT_FOUND ? KIST_OK : err;
    bool done = true;
    if (garbage->data) {
        TRY(data_release(a, garbage->data, budget));
        done = garbage->data->n_chunks == 0 && !garbage->data->extent;
        if (done && garbage->data->manifest)
            TRY(manifest_release(a, garbage->data->manifest, budget, &done));
    }
    if (!done)
        return apply_set(a, &key, garbage);
    apply_drop(a, &key);
    return KIST_OK;
}

/* What is damaged stays where it is, and holds back nothing else. */
enum kist_err apply_release(struct apply *a, const Kist__Release *c)
{
    uint32_t budget = c->chunks_max ? c->chunks_max : 1;
    for (size_t i = 0; i < c->n_garbage_keys && budget; i++) {
        size_t before = kv_mark(a->kv);
        enum kist_err err = garbage_release(a, schema_bytes(c->garbage_keys[i]), &budget);
        if (err == KIST_E_CORRUPT) {
            kv_undo(a->kv, before);
            a->result->skipped++;
            err = KIST_OK;
        }
        TRY(err);
    }
    return KIST_OK;
}

enum kist_err apply_freed(struct apply *a, const Kist__Freed *c)
{
    for (size_t i = 0; i < c->n_extents; i++) {
        struct row_key key;
        extent_key(&key, ROW_EXTENT, c->extents[i]);
        if (c->stage != FREED_AFTER)
            apply_drop(a, &key);
        extent_key(&key, ROW_FREED, c->extents[i]);
        if (c->stage != FREED_BEFORE)
            apply_drop(a, &key);
    }
    return KIST_OK;
}

enum kist_err apply_mark_chunk(struct apply *a, const Kist__MarkChunk *c)
{
    struct row_key key;
    Kist__Chunk *chunk;
    TRY(chunk_get(a, c->hash, &key, &chunk));
    if (c->pack &&
        (!chunk->extent || chunk->extent->pack != c->pack || chunk->extent->offset != c->offset))
        return KIST_OK; /* other bytes have taken the place of those that were looked at */
    chunk->damaged = c->damaged;
    return apply_set(a, &key, chunk);
}
