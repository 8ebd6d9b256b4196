/* Multipart uploads.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
 *
 * Part rows are keyed by the upload's id; completion turns the very same rows into the object's
 * manifest by writing each part's start offset, so that it costs O(parts) and moves no data.
 */
#include "storage/index/apply_internal.h"

#include "storage/base/digest.h"

#define PART_SIZE_MIN ((uint64_t)5 << 20)
#define PART_NUMBER_MAX 10000

enum kist_err apply_create_upload(struct apply *a, Kist__CreateUpload *c)
{
    Kist__Bucket *bucket;
    struct row_key key;
    if (!c->upload || c->upload->key.len == 0 || c->upload->key.len > 1024)
        return KIST_E_CORRUPT;
    TRY(apply_bucket(a, c->upload->bucket, &bucket));
    c->upload->id = a->input->index;
    row_upload(&key, bucket->id, schema_bytes(c->upload->key), c->upload->id);
    TRY(apply_set(a, &key, c->upload));
    TRY(apply_schedule_upload(a, bucket, c->upload));
    return apply_count(a, bucket->id, (struct stats_change){ .uploads = 1 });
}

static enum kist_err upload_get(struct apply *a, const char *bucket_name, ProtobufCBinaryData key,
                                uint64_t id, ProtobufCBinaryData nonce, struct row_key *row,
                                Kist__Bucket **bucket, Kist__Upload **out)
{
    Kist__Upload *upload;
    TRY(apply_bucket(a, bucket_name, bucket));
    if (key.len == 0 || key.len > 1024)
        return KIST_E_NO_UPLOAD;
    row_upload(row, (*bucket)->id, schema_bytes(key), id);
    enum kist_err err = apply_get(a, row, &kist__upload__descriptor, &upload);
    if (err == KIST_E_NOT_FOUND)
        return KIST_E_NO_UPLOAD;
    if (err != KIST_OK)
        return err;
    if (!bytes_equal_secret(schema_bytes(nonce), schema_bytes(upload->nonce)))
        return KIST_E_NO_UPLOAD;
    *out = upload;
    return KIST_OK;
}

/* What the part takes the place of, and how many bytes more the bucket then holds. Commands from
 * before parts were counted were accepted without, and are again. */
static enum kist_err part_change(struct apply *a, const Kist__PutPart *c,
                                 const Kist__Bucket *bucket, Kist__Part **old, int64_t *bytes)
{
    struct row_key row;
    row_part(&row, c->upload_id, c->number);
    enum kist_err err = apply_get(a, &row, &kist__part__descriptor, old);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    *bytes = c->part->counted ? (int64_t)c->part->size : 0;
    if (*old && (*old)->counted)
        *bytes -= (int64_t)(*old)->size;
    return *bytes > 0 ? apply_part_quota(a, bucket, *bytes) : KIST_OK;
}

/* In the upload as well, so that its end need not look at the parts. */
static enum kist_err count_part(struct apply *a, const Kist__Bucket *bucket, Kist__Upload *upload,
                                const struct row_key *upload_row, int64_t bytes)
{
    upload->part_bytes += (uint64_t)bytes;
    TRY(apply_set(a, upload_row, upload));
    return apply_count(a, bucket->id, (struct stats_change){ .part_bytes = bytes });
}

enum kist_err apply_put_part(struct apply *a, Kist__PutPart *c)
{
    Kist__Bucket *bucket;
    Kist__Upload *upload;
    Kist__Part *old = NULL;
    struct row_key upload_row, row;
    int64_t bytes = 0;
    if (!c->part || c->number < 1 || c->number > PART_NUMBER_MAX)
        return KIST_E_CORRUPT;
    TRY(upload_get(a, c->bucket, c->key, c->upload_id, c->nonce, &upload_row, &bucket, &upload));
    TRY(part_change(a, c, bucket, &old, &bytes));
    TRY(apply_adopt(a, c->n_chunks, c->chunks, 0, c->body_crc, NULL, &c->part->data));
    row_part(&row, c->upload_id, c->number);
    TRY(apply_set(a, &row, c->part));
    TRY(count_part(a, bucket, upload, &upload_row, bytes));
    if (old)
        TRY(apply_discard(a, old->data, old->size));
    a->result->size = c->part->size;
    a->result->mtime_ms = c->part->mtime_ms;
    if (c->part->etag.len == 16)
        memcpy(a->result->etag, c->part->etag.data, 16);
    return KIST_OK;
}

/* Of a part that is listed: what completion needs of it twice. Its row may be large, and those of
 * a large object together larger than all memory that a command may take. */
struct listed {
    uint64_t size, start;
    uint8_t etag[16];
    size_t etag_len;
    uint32_t algorithm; /* + 1; 0: no checksum */
    uint8_t checksum[DIGEST_MAX_LEN];
    size_t checksum_len;
};

/* What completion gathers while it walks the parts. */
struct completion {
    const Kist__CompleteUpload *command;
    const Kist__Upload *upload;
    struct listed *parts; /* as listed */
    uint64_t size;
    struct buf etags;     /* binary MD5s, in order */
    struct buf checksums; /* binary part checksums, in order */
    bool checksums_complete;
    uint64_t crc; /* of the whole object, combined */
};

static enum kist_err keep_listed(const Kist__Part *part, struct listed *out)
{
    const Kist__Checksum *c = part->checksum;
    *out = (struct listed){ .size = part->size, .etag_len = part->etag.len };
    if (part->etag.len > sizeof(out->etag) || (c && c->value.len > sizeof(out->checksum)))
        return KIST_E_CORRUPT;
    if (part->etag.len)
        memcpy(out->etag, part->etag.data, part->etag.len);
    if (!c)
        return KIST_OK;
    out->algorithm = c->algorithm + 1;
    out->checksum_len = c->value.len;
    if (c->value.len)
        memcpy(out->checksum, c->value.data, c->value.len);
    return KIST_OK;
}

static enum kist_err check_part(struct apply *a, struct completion *p, size_t i)
{
    const Kist__CompletePart *wanted = p->command->parts[i];
    struct listed *have = &p->parts[i];
    struct row_key row;
    Kist__Part *part;
    struct arena_mark mark = arena_mark(&a->arena);
    row_part(&row, p->command->upload_id, wanted->number);
    enum kist_err err = apply_get(a, &row, &kist__part__descriptor, &part);
    if (err == KIST_OK)
        err = keep_listed(part, have);
    arena_rewind(&a->arena, mark);
    if (err == KIST_E_NOT_FOUND)
        return KIST_E_INVALID_PART;
    if (err != KIST_OK)
        return err;
    if (!bytes_equal(schema_bytes(wanted->etag), bytes_of(have->etag, have->etag_len)))
        return KIST_E_INVALID_PART;
    if (wanted->checksum && (have->algorithm != wanted->checksum->algorithm + 1 ||
                             !bytes_equal(bytes_of(have->checksum, have->checksum_len),
                                          schema_bytes(wanted->checksum->value))))
        return KIST_E_INVALID_PART;
    return KIST_OK;
}

/* Order first, then that the parts are there, then their sizes: as AWS answers. */
static enum kist_err check_parts(struct apply *a, struct completion *p)
{
    const Kist__CompleteUpload *c = p->command;
    for (size_t i = 1; i < c->n_parts; i++)
        if (c->parts[i]->number <= c->parts[i - 1]->number)
            return KIST_E_PART_ORDER;
    for (size_t i = 0; i < c->n_parts; i++)
        TRY(check_part(a, p, i));
    for (size_t i = 0; i + 1 < c->n_parts; i++)
        if (p->parts[i].size < PART_SIZE_MIN)
            return KIST_E_PART_TOO_SMALL;
    return KIST_OK;
}

static uint64_t crc_value(const struct listed *part)
{
    uint64_t v = 0;
    for (size_t i = 0; i < part->checksum_len && i < 8; i++)
        v = v << 8 | part->checksum[i];
    return v;
}

static enum kist_err gather_part(struct completion *p, struct listed *part)
{
    part->start = p->size;
    TRY(buf_append(&p->etags, part->etag, part->etag_len));
    if (!part->algorithm || part->algorithm != p->upload->checksum_algorithm) {
        p->checksums_complete = false;
    } else {
        TRY(buf_append(&p->checksums, part->checksum, part->checksum_len));
        if (!p->upload->checksum_composite)
            p->crc = crc_combine((enum digest_kind)(part->algorithm - 1), p->crc, crc_value(part),
                                 part->size);
    }
    p->size += part->size;
    return KIST_OK;
}

/* The object's checksum: of the parts' checksums, or (full object) combined from their CRCs.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html */
static enum kist_err object_checksum(struct apply *a, struct completion *p, Kist__Checksum **out)
{
    *out = NULL;
    if (!p->upload->checksum_algorithm || !p->checksums_complete)
        return KIST_OK;
    Kist__Checksum *c = arena_alloc(&a->arena, sizeof(*c));
    uint8_t *value = arena_zalloc(&a->arena, DIGEST_MAX_LEN);
    if (!c || !value)
        return KIST_E_NOMEM;
    kist__checksum__init(c);
    enum digest_kind kind = (enum digest_kind)(p->upload->checksum_algorithm - 1);
    size_t len = digest_len(kind);
    c->algorithm = (uint32_t)kind;
    c->composite = p->upload->checksum_composite;
    c->value = (ProtobufCBinaryData){ .len = len, .data = value };
    if (c->composite)
        digest_once(kind, buf_bytes(&p->checksums), value);
    else
        for (size_t i = 0; i < len; i++)
            value[i] = (uint8_t)(p->crc >> (8 * (len - 1 - i)));
    const Kist__Checksum *claimed = p->command->checksum;
    if (claimed && (claimed->algorithm != c->algorithm ||
                    !bytes_equal(schema_bytes(claimed->value), schema_bytes(c->value))))
        return KIST_E_BAD_CHECKSUM;
    *out = c;
    return KIST_OK;
}

/* Rows that the client did not list go; listed ones learn their place in the object. */
static enum kist_err settle_parts(struct apply *a, struct completion *p)
{
    struct row_key prefix, row;
    row_start(&prefix, ROW_PART);
    row_add_u64(&prefix, p->command->upload_id);
    struct kv_cursor *cursor;
    TRY(kv_cursor_open(&a->read, &cursor));
    struct bytes key, value;
    size_t i = 0;
    struct arena_mark mark = arena_mark(&a->arena);
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&prefix), &key, &value);
    while (err == KIST_OK && bytes_starts_with(key, row_bytes(&prefix))) {
        Kist__Part *part;
        uint32_t number = row_read_u32(key.ptr + key.len - 4);
        row_part(&row, p->command->upload_id, number);
        err = schema_unpack(&kist__part__descriptor, value, &a->arena, &part);
        if (err != KIST_OK)
            break;
        if (i < p->command->n_parts && p->command->parts[i]->number == number) {
            part->start = p->parts[i++].start;
            part->counted = false;
            err = apply_set(a, &row, part);
        } else {
            err = apply_discard(a, part->data, part->size);
            apply_drop(a, &row);
        }
        arena_rewind(&a->arena, mark);
        if (err == KIST_OK)
            err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static void object_from_upload(Kist__Object *o, const struct completion *p, uint8_t *etag,
                               Kist__Data *data)
{
    const Kist__Upload *u = p->upload;
    o->size = p->size;
    o->mtime_ms = p->command->mtime_ms;
    o->etag = (ProtobufCBinaryData){ .len = 16, .data = etag };
    o->part_count = (uint32_t)p->command->n_parts;
    o->n_headers = u->n_headers;
    o->headers = u->headers;
    o->n_metadata = u->n_metadata;
    o->metadata = u->metadata;
    o->n_tags = u->n_tags;
    o->tags = u->tags;
    o->storage_class = u->storage_class;
    o->lock_mode = u->lock_mode;
    o->retain_until_ms = u->retain_until_ms;
    o->legal_hold = u->legal_hold;
    o->seal = u->seal;
    o->acl = u->acl;
    data->manifest = p->command->upload_id;
    o->data = data;
}

static enum kist_err end_upload(struct apply *a, const Kist__Bucket *bucket,
                                const Kist__Upload *upload, const struct row_key *row)
{
    struct stats_change change = { .uploads = -1, .part_bytes = -(int64_t)upload->part_bytes };
    TRY(apply_unschedule_upload(a, bucket, upload));
    apply_drop(a, row);
    return apply_count(a, bucket->id, change);
}

static enum kist_err complete(struct apply *a, struct completion *p, const Kist__Bucket *bucket,
                              const struct row_key *upload_row)
{
    const Kist__CompleteUpload *c = p->command;
    p->parts = arena_alloc(&a->arena, c->n_parts * sizeof(*p->parts) + 1);
    if (!p->parts)
        return KIST_E_NOMEM;
    TRY(check_parts(a, p));
    for (size_t i = 0; i < c->n_parts; i++)
        TRY(gather_part(p, &p->parts[i]));
    if (c->object_size && p->size != (uint64_t)(c->object_size - 1))
        return KIST_E_INVALID;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Data data = KIST__DATA__INIT;
    Kist__Object *current = NULL;
    uint8_t etag[16];
    digest_once(DIGEST_MD5, buf_bytes(&p->etags), etag);
    object_from_upload(&object, p, etag, &data);
    TRY(object_checksum(a, p, &object.checksum));
    TRY(apply_check(a, bucket, c->key, c->condition, &current));
    TRY(apply_quota(a, bucket, current, object.size, p->upload->part_bytes));
    TRY(settle_parts(a, p));
    TRY(apply_replace(a, bucket, c->key, current, &object));
    return end_upload(a, bucket, p->upload, upload_row);
}

enum kist_err apply_complete_upload(struct apply *a, const Kist__CompleteUpload *c)
{
    Kist__Bucket *bucket;
    Kist__Upload *upload;
    struct row_key row;
    TRY(upload_get(a, c->bucket, c->key, c->upload_id, c->nonce, &row, &bucket, &upload));
    if (c->n_parts == 0 || c->n_parts > PART_NUMBER_MAX)
        return KIST_E_INVALID_PART;
    struct completion p = { .command = c, .upload = upload, .checksums_complete = true };
    buf_init(&p.etags, 16 * PART_NUMBER_MAX);
    buf_init(&p.checksums, DIGEST_MAX_LEN * PART_NUMBER_MAX);
    enum kist_err err = complete(a, &p, bucket, &row);
    buf_release(&p.etags);
    buf_release(&p.checksums);
    return err;
}

enum kist_err apply_abort_upload(struct apply *a, const Kist__AbortUpload *c)
{
    Kist__Bucket *bucket;
    Kist__Upload *upload;
    struct row_key row;
    TRY(upload_get(a, c->bucket, c->key, c->upload_id, c->nonce, &row, &bucket, &upload));
    Kist__Data data = KIST__DATA__INIT;
    data.manifest = c->upload_id;
    TRY(apply_discard(a, &data, 0));
    return end_upload(a, bucket, upload, &row);
}
