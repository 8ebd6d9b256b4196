/* Bytes on their way out: an open object, pinned, read block by verified block.
 *
 *   position -> part (binary search over part rows) -> chunk (division) -> extent -> block
 *
 * Of an object that was appended to, part 1 may be a manifest, too: the search goes on in there,
 * where positions are the same.
 *
 * Part rows and chunk rows are looked up as reading gets there, each in a short index read.
 * Positions are the plaintext's: of a sealed body, blocks and chunks hold less than they take.
 */
#include "storage/object/store_internal.h"

#include <openssl/crypto.h>
#include <stdlib.h>

/* One part row of 1,280 chunks unpacks to about 200 KiB. */
#define PART_ARENA_MAX ((size_t)4 << 20)

struct object_reader {
    struct store *store;
    struct arena *arena; /* the caller's */
    Kist__Object *object;
    uint64_t pin;
    /* the part that reading is in; part is NULL before the first */
    struct arena part_arena;
    Kist__Part *part;
    uint32_t part_number;
    uint64_t part_manifest; /* that its row is below */
    /* the chunk that reading is in */
    struct arena chunk_arena;
    const Kist__Extent *extent;
    uint64_t extent_start, extent_end; /* in the object */
    uint64_t extent_block;             /* number of its first block in its body */
    /* sealed */
    struct sealer *opener;  /* of the part that reading is in; NULL: locked, or not sealed */
    struct sealer *own;     /* of the object's own data key */
    struct sealer *of_part; /* of part_key's data key */
    uint8_t wrapping_key[SEAL_KEY_BYTES];
};

static bool is_sealed(const struct object_reader *r)
{
    return r->object->seal != NULL;
}

/* Plaintext bytes of a whole block or chunk. */
static uint32_t block_payload(const struct object_reader *r)
{
    return PACK_BLOCK_BYTES - (is_sealed(r) ? SEAL_TAG_BYTES : 0);
}

static uint32_t chunk_payload(const struct object_reader *r)
{
    return CHUNK_BYTES / PACK_BLOCK_BYTES * block_payload(r);
}

static uint64_t payload_of(const struct object_reader *r, uint64_t stored)
{
    return is_sealed(r) ? plain_length(stored, PACK_BLOCK_BYTES) : stored;
}

static enum kist_err open_pinned(struct store *s, const struct object_id *id, struct arena *arena,
                                 Kist__Object **object, uint64_t *pin)
{
    Kist__Object *found = NULL;
    pthread_rwlock_rdlock(&s->pins.gate);
    enum kist_err err = store_head(s, id, arena, &found);
    uint64_t identity = err == KIST_OK ? pin_identity(found->data) : 0;
    if (identity)
        err = pin_take(&s->pins, identity);
    pthread_rwlock_unlock(&s->pins.gate);
    if (found) /* or the delete marker that was met */
        *object = found;
    if (err != KIST_OK)
        return err;
    *pin = identity;
    return KIST_OK;
}

enum kist_err object_reader_open(struct store *s, const struct object_id *id, struct arena *arena,
                                 struct object_reader **out, Kist__Object **marker)
{
    struct object_reader *r = arena_zalloc(arena, sizeof(*r));
    if (!r)
        return KIST_E_NOMEM;
    r->store = s;
    r->arena = arena;
    enum kist_err err = open_pinned(s, id, arena, &r->object, &r->pin);
    if (err == KIST_E_DELETE_MARKER && marker)
        *marker = r->object;
    TRY(err);
    arena_init(&r->part_arena, PART_ARENA_MAX);
    arena_init(&r->chunk_arena, PART_ARENA_MAX);
    *out = r;
    return KIST_OK;
}

void object_reader_close(struct object_reader *r)
{
    if (!r)
        return;
    if (r->pin && pin_drop(&r->store->pins, r->pin))
        reclaim_note(r->store, 0);
    sealer_close(r->own);
    sealer_close(r->of_part);
    OPENSSL_cleanse(r->wrapping_key, sizeof(r->wrapping_key));
    arena_release(&r->part_arena);
    arena_release(&r->chunk_arena);
}

static enum kist_err open_sealer(const struct object_reader *r, ProtobufCBinaryData wrapped,
                                 struct sealer **out)
{
    uint8_t key[SEAL_KEY_BYTES];
    TRY(seal_unwrap(r->wrapping_key, schema_bytes(wrapped), key));
    enum kist_err err = sealer_open(key, out);
    OPENSSL_cleanse(key, sizeof(key));
    return err;
}

enum kist_err object_reader_unseal(struct object_reader *r,
                                   const uint8_t wrapping_key[SEAL_KEY_BYTES])
{
    if (!is_sealed(r))
        return KIST_E_INVALID;
    memcpy(r->wrapping_key, wrapping_key, SEAL_KEY_BYTES);
    TRY(open_sealer(r, r->object->seal->wrapped_key, &r->own));
    r->opener = r->own;
    return KIST_OK;
}

const Kist__Object *object_reader_object(const struct object_reader *r)
{
    return r->object;
}

/* ---- parts ---- */

static bool has_parts(const struct object_reader *r)
{
    return r->object->data && r->object->data->manifest;
}

/* Parts of a multipart object have data keys of their own. */
static enum kist_err part_unseal(struct object_reader *r)
{
    if (!r->own || !r->part->wrapped_key.len) {
        r->opener = r->own;
        return KIST_OK;
    }
    sealer_close(r->of_part);
    r->of_part = r->opener = NULL;
    TRY(open_sealer(r, r->part->wrapped_key, &r->of_part));
    r->opener = r->of_part;
    return KIST_OK;
}

/* The first part row with a number >= `from`, unpacked into part_arena. */
static enum kist_err part_load(struct object_reader *r, uint64_t manifest, uint32_t from)
{
    struct kv_read read;
    struct row_key key;
    struct kv_cursor *cursor = NULL;
    struct bytes found, value;
    row_part(&key, manifest, from);
    TRY(kv_read_begin(r->store->kv, &read));
    enum kist_err err = kv_cursor_open(&read, &cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(cursor, row_bytes(&key), &found, &value);
    if (err == KIST_OK && (found.len != key.len || memcmp(found.ptr, key.data, 9) != 0))
        err = KIST_E_NOT_FOUND;
    if (err == KIST_OK) {
        Kist__Part *part = NULL;
        arena_clear(&r->part_arena);
        r->part = NULL;
        r->extent = NULL;
        err = schema_unpack(&kist__part__descriptor, value, &r->part_arena, &part);
        if (err == KIST_OK) {
            r->part = part;
            r->part_number = row_read_u32(found.ptr + 9);
            r->part_manifest = manifest;
            err = part_unseal(r);
        }
    }
    kv_cursor_close(cursor);
    kv_read_end(&read);
    return err;
}

static bool part_covers(const struct object_reader *r, uint64_t pos)
{
    return r->part && pos >= r->part->start && pos - r->part->start < r->part->size;
}

static bool part_is_manifest(const struct object_reader *r)
{
    return r->part->data && r->part->data->manifest;
}

/* Part numbers may have gaps (1 to 10,000): search by number, let the rows say where they are. */
static enum kist_err manifest_seek(struct object_reader *r, uint64_t manifest, uint64_t pos)
{
    uint32_t low = 1, high = 10000;
    while (low <= high) {
        uint32_t middle = low + (high - low) / 2;
        enum kist_err err = part_load(r, manifest, middle);
        if (err != KIST_OK && err != KIST_E_NOT_FOUND)
            return err;
        if (err == KIST_OK && part_covers(r, pos))
            return KIST_OK;
        if (err == KIST_OK && r->part->start <= pos)
            low = r->part_number + 1;
        else
            high = middle - 1;
    }
    return KIST_E_CORRUPT;
}

static enum kist_err part_seek(struct object_reader *r, uint64_t pos)
{
    bool found = part_covers(r, pos);
    if (!found && r->part && pos == r->part->start + r->part->size)
        found =
            part_load(r, r->part_manifest, r->part_number + 1) == KIST_OK && part_covers(r, pos);
    if (!found)
        TRY(manifest_seek(r, r->object->data->manifest, pos));
    if (part_is_manifest(r))
        TRY(manifest_seek(r, r->part->data->manifest, pos));
    return part_is_manifest(r) ? KIST_E_CORRUPT : KIST_OK;
}

static void part_describe(const struct object_reader *r, struct part_info *out)
{
    *out = (struct part_info){ .number = r->part_number,
                               .start = r->part->start,
                               .size = r->part->size,
                               .checksum = r->part->checksum };
}

enum kist_err object_reader_next_part(struct object_reader *r, uint32_t after,
                                      struct part_info *part)
{
    if (r->object->part_count == 0 || !has_parts(r))
        return KIST_E_INVALID_PART;
    enum kist_err err = part_load(r, r->object->data->manifest, after + 1);
    if (err != KIST_OK)
        return err == KIST_E_NOT_FOUND ? KIST_E_INVALID_PART : err;
    part_describe(r, part);
    return KIST_OK;
}

enum kist_err object_reader_part(struct object_reader *r, uint32_t number, struct part_info *part)
{
    if (r->object->part_count == 0) {
        if (number != 1)
            return KIST_E_INVALID_PART;
        *part = (struct part_info){ .number = 1,
                                    .size = r->object->size,
                                    .checksum = r->object->checksum };
        return KIST_OK;
    }
    TRY(object_reader_next_part(r, number - 1, part));
    return part->number == number ? KIST_OK : KIST_E_INVALID_PART;
}

/* ---- bytes ---- */

static enum kist_err chunk_load(struct object_reader *r, const Kist__ChunkRef *ref,
                                uint64_t start)
{
    struct kv_read read;
    struct row_key key;
    Kist__Chunk *chunk = NULL;
    if (ref->hash.len != 32)
        return KIST_E_CORRUPT;
    row_chunk(&key, schema_bytes(ref->hash));
    arena_clear(&r->chunk_arena);
    r->extent = NULL;
    TRY(kv_read_begin(r->store->kv, &read));
    enum kist_err err = lookup(&read, &key, &kist__chunk__descriptor, &r->chunk_arena, &chunk);
    kv_read_end(&read);
    if (err != KIST_OK)
        return err == KIST_E_NOT_FOUND ? KIST_E_CORRUPT : err;
    if (!chunk->extent || chunk->extent->length != ref->length)
        return KIST_E_CORRUPT;
    r->extent = chunk->extent;
    r->extent_start = start;
    r->extent_end = start + payload_of(r, ref->length);
    return KIST_OK;
}

static enum kist_err extent_seek(struct object_reader *r, uint64_t pos)
{
    if (r->extent && pos >= r->extent_start && pos < r->extent_end)
        return KIST_OK;
    const Kist__Data *data = r->object->data;
    uint64_t start = 0;
    if (has_parts(r)) {
        TRY(part_seek(r, pos));
        data = r->part->data;
        start = r->part->start;
    }
    if (data && data->extent) {
        r->extent = data->extent;
        r->extent_block = 0;
        r->extent_start = start;
        r->extent_end = start + payload_of(r, data->extent->length);
        return pos < r->extent_end ? KIST_OK : KIST_E_CORRUPT;
    }
    size_t chunk = (size_t)((pos - start) / chunk_payload(r));
    if (!data || chunk >= data->n_chunks)
        return KIST_E_CORRUPT;
    r->extent_block = chunk * (CHUNK_BYTES / PACK_BLOCK_BYTES);
    TRY(chunk_load(r, data->chunks[chunk], start + (uint64_t)chunk * chunk_payload(r)));
    return pos < r->extent_end ? KIST_OK : KIST_E_CORRUPT;
}

/* Parts of blocks pass through a buffer of the thread's own, so that no connection holds one. */
static _Thread_local uint8_t scratch[PACK_BLOCK_BYTES];

static enum kist_err read_sealed(struct object_reader *r, uint64_t pos, uint8_t *buf, size_t max,
                                 bool may_block, size_t *got)
{
    uint32_t at = (uint32_t)(pos - r->extent_start), len;
    uint32_t block = at / block_payload(r), skip = at % block_payload(r);
    if (!r->opener)
        return KIST_E_DENIED;
    TRY(extent_read_block(r->store, r->extent, block * PACK_BLOCK_BYTES, scratch, !may_block,
                          &len));
    if (len < SEAL_TAG_BYTES || skip >= len - SEAL_TAG_BYTES)
        return KIST_E_CORRUPT;
    size_t plain = len - SEAL_TAG_BYTES;
    bool direct = skip == 0 && max >= plain;
    TRY(sealer_open_block(r->opener, r->extent_block + block, bytes_of(scratch, len),
                          direct ? buf : scratch));
    *got = plain - skip < max ? plain - skip : max;
    if (!direct)
        memcpy(buf, scratch + skip, *got);
    return KIST_OK;
}

enum kist_err object_reader_read(struct object_reader *r, uint64_t pos, uint8_t *buf, size_t max,
                                 bool may_block, size_t *got)
{
    if (pos >= r->object->size || max == 0)
        return KIST_E_INVALID;
    TRY(extent_seek(r, pos));
    if (is_sealed(r))
        return read_sealed(r, pos, buf, max, may_block, got);
    uint32_t at = (uint32_t)(pos - r->extent_start);
    uint32_t block_start = at / PACK_BLOCK_BYTES * PACK_BLOCK_BYTES;
    uint32_t rest = r->extent->length - block_start;
    uint32_t block = rest < PACK_BLOCK_BYTES ? rest : PACK_BLOCK_BYTES;
    if (at == block_start && max >= block) {
        TRY(extent_read_block(r->store, r->extent, at, buf, !may_block, &block));
        *got = block;
        return KIST_OK;
    }
    TRY(extent_read_block(r->store, r->extent, at, scratch, !may_block, &block));
    size_t n = block - (at - block_start);
    *got = n < max ? n : max;
    memcpy(buf, scratch + (at - block_start), *got);
    return KIST_OK;
}

struct fetch_job {
    struct job job;
    struct object_reader *reader;
    uint64_t pos;
    void (*wake)(void *user);
    void *user;
};

static void fetch_run(struct job *job)
{
    struct fetch_job *f = CONTAINER_OF(job, struct fetch_job, job);
    struct object_reader *r = f->reader;
    void (*wake)(void *user) = f->wake;
    void *user = f->user;
    /* Whether it worked shows when the caller reads again. */
    uint32_t block = (uint32_t)(f->pos - r->extent_start) / block_payload(r), len;
    (void)!extent_read_block(r->store, r->extent, block * PACK_BLOCK_BYTES, scratch, false, &len);
    free(f);
    wake(user);
}

void object_reader_fetch(struct object_reader *r, uint64_t pos, void (*wake)(void *user),
                         void *user)
{
    struct fetch_job *f = calloc(1, sizeof(*f));
    if (!f || extent_seek(r, pos) != KIST_OK) {
        free(f);
        wake(user);
        return;
    }
    *f = (struct fetch_job){ { fetch_run, NULL }, r, pos, wake, user };
    store_run(r->store, &f->job);
}
