/* Appending.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-buckets-objects-append.html
 *
 *   before:  object -> data (an extent, chunks, or a manifest of parts)
 *   after:   object -> manifest -> part 1: the same data, untouched
 *                               -> part 2: what was appended, part 3 ...
 *
 * So every append costs the same, however long the object is. Such a manifest belongs to one
 * object alone: a copy gets the bytes as one piece, and starts to count its parts anew.
 */
#include "storage/index/apply_internal.h"

#include "storage/base/digest.h"

#define PARTS_MAX 10000
#define OBJECT_BYTES_MAX ((uint64_t)5 << 40)

static bool same_text(const char *x, const char *y)
{
    return strcmp(x ? x : "", y ? y : "") == 0;
}

/* Both are opened by the same key: the request was judged by what the object was then. */
static bool seals_agree(const Kist__Seal *x, const Kist__Seal *y)
{
    if (!x || !y)
        return x == y;
    return x->kind == y->kind && same_text(x->key, y->key) && same_text(x->master, y->master) &&
           same_text(x->context, y->context) &&
           bytes_equal(schema_bytes(x->wrapped_key), schema_bytes(y->wrapped_key));
}

/* How many parts count towards the limit before the first append. */
static uint32_t parts_of(const Kist__Object *o)
{
    if (o->append_parts)
        return o->append_parts;
    if (o->part_count)
        return o->part_count;
    return o->size ? 1 : 0;
}

static enum kist_err judge(struct apply *a, const Kist__AppendObject *c, Kist__Bucket **bucket,
                           Kist__Object **current)
{
    TRY(apply_bucket(a, c->bucket, bucket));
    if ((*bucket)->versioning != VERSIONING_NEVER)
        return KIST_E_BUCKET_STATE;
    TRY(apply_check(a, *bucket, c->key, c->condition, current));
    const Kist__Object *o = *current;
    TRY(apply_quota(a, *bucket, o, (o ? o->size : 0) + c->part->size, 0));
    if (c->offset != (o ? o->size : 0))
        return KIST_E_WRITE_OFFSET;
    if (!o)
        return KIST_OK;
    if (o->lock_mode != LOCK_NONE || o->legal_hold)
        return KIST_E_OBJECT_LOCKED;
    if (!seals_agree(o->seal, c->object->seal))
        return KIST_E_CONFLICT;
    if (parts_of(o) >= PARTS_MAX)
        return KIST_E_TOO_MANY_PARTS;
    return c->part->size > OBJECT_BYTES_MAX - o->size ? KIST_E_TOO_LARGE : KIST_OK;
}

/* A full CRC goes on from the one that was; any other checksum does not. */
static enum kist_err carry_checksum(struct apply *a, const Kist__AppendObject *c, Kist__Object *o)
{
    const Kist__Checksum *had = o->checksum, *new = c->crc;
    o->checksum = NULL;
    if (!had || !new || had->composite || new->composite || had->algorithm != new->algorithm ||
        had->algorithm < DIGEST_CRC32 || had->algorithm >= DIGEST_KIND_COUNT)
        return KIST_OK;
    enum digest_kind kind = (enum digest_kind)had->algorithm;
    size_t len = digest_len(kind);
    if (had->value.len != len || new->value.len != len)
        return KIST_OK;
    Kist__Checksum *sum = arena_alloc(&a->arena, sizeof(*sum));
    uint8_t *value = arena_alloc(&a->arena, len);
    if (!sum || !value)
        return KIST_E_NOMEM;
    uint64_t x = 0, y = 0;
    for (size_t i = 0; i < len; i++) {
        x = x << 8 | had->value.data[i];
        y = y << 8 | new->value.data[i];
    }
    x = crc_combine(kind, x, y, c->part->size);
    for (size_t i = 0; i < len; i++)
        value[i] = (uint8_t)(x >> (8 * (len - 1 - i)));
    kist__checksum__init(sum);
    sum->algorithm = had->algorithm;
    sum->value = (ProtobufCBinaryData){ .len = len, .data = value };
    o->checksum = sum;
    return KIST_OK;
}

/* What there is becomes part 1 of a manifest; the object's own row stays small. */
static enum kist_err begin_manifest(struct apply *a, Kist__Object *o)
{
    struct row_key row;
    Kist__Part base = KIST__PART__INIT;
    Kist__Data *data = arena_alloc(&a->arena, sizeof(*data));
    if (!data)
        return KIST_E_NOMEM;
    base.size = o->size;
    base.etag = o->etag;
    base.mtime_ms = o->mtime_ms;
    base.checksum = o->checksum && !o->checksum->composite ? o->checksum : NULL;
    base.data = o->data;
    base.sealed = o->seal != NULL;
    kist__data__init(data);
    data->manifest = a->input->index;
    o->append_parts = parts_of(o);
    o->part_count = o->size ? 1 : 0;
    o->data = data;
    row_part(&row, data->manifest, 1);
    return base.size ? apply_set(a, &row, &base) : apply_discard(a, base.data, 0);
}

/* Neither is an MD5 of the whole, which nobody has: as of multipart objects. */
static enum kist_err chain_etag(struct apply *a, const Kist__Part *part, Kist__Object *o)
{
    uint8_t both[32] = { 0 };
    uint8_t *etag = arena_alloc(&a->arena, 16);
    if (!etag)
        return KIST_E_NOMEM;
    if (o->etag.len != 16 || part->etag.len != 16)
        return KIST_E_CORRUPT;
    memcpy(both, o->etag.data, 16);
    memcpy(both + 16, part->etag.data, 16);
    digest_once(DIGEST_MD5, bytes_of(both, sizeof(both)), etag);
    o->etag = (ProtobufCBinaryData){ .len = 16, .data = etag };
    return KIST_OK;
}

static enum kist_err extend(struct apply *a, const Kist__Bucket *bucket, Kist__AppendObject *c,
                            const Kist__Object *current)
{
    struct row_key row;
    Kist__Object old = *current, o = *current;
    TRY(apply_adopt(a, c->n_chunks, c->chunks, 0, c->body_crc, NULL, &c->part->data));
    if (c->part->size) {
        if (!o.append_parts)
            TRY(begin_manifest(a, &o));
        TRY(chain_etag(a, c->part, &o));
        TRY(carry_checksum(a, c, &o));
        c->part->start = o.size;
        o.append_parts++;
        o.part_count++;
        row_part(&row, o.data->manifest, o.part_count);
        TRY(apply_set(a, &row, c->part));
        o.size += c->part->size;
    }
    o.mtime_ms = c->mtime_ms;
    old.data = NULL; /* stays referenced, by the new row */
    return apply_replace(a, bucket, c->key, &old, &o);
}

static enum kist_err create(struct apply *a, const Kist__Bucket *bucket, Kist__AppendObject *c)
{
    Kist__Object *o = c->object;
    o->size = c->part->size;
    o->etag = c->part->etag;
    o->mtime_ms = c->mtime_ms;
    o->checksum = c->part->checksum;
    if (o->seal) /* what these bytes are encrypted under, should they have been meant for more */
        o->seal->wrapped_key = c->part->wrapped_key;
    TRY(apply_adopt(a, c->n_chunks, c->chunks, a->input->index, c->body_crc, o, &o->data));
    return apply_replace(a, bucket, c->key, NULL, o);
}

enum kist_err apply_append_object(struct apply *a, Kist__AppendObject *c)
{
    Kist__Bucket *bucket = NULL;
    Kist__Object *current = NULL;
    if (!c->object || !c->part)
        return KIST_E_CORRUPT;
    TRY(judge(a, c, &bucket, &current));
    return current ? extend(a, bucket, c, current) : create(a, bucket, c);
}
