#include "storage/index/apply_internal.h"

#include <stdio.h>

#include "storage/base/codec.h"

/* The ETag as clients see it, without quotes: hex, and "-parts" for multipart. */
static void etag_text(const Kist__Object *o, char out[48])
{
    hex_encode(schema_bytes(o->etag), out);
    if (o->part_count)
        snprintf(out + 2 * o->etag.len, 48 - 2 * o->etag.len, "-%u", o->part_count);
}

static bool etag_in(const Kist__Object *o, size_t count, char **etags)
{
    char text[48];
    etag_text(o, text);
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, etags[i]) == 0 || strcmp("*", etags[i]) == 0)
            return true;
    return false;
}

/* Conditional writes:
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html If-Match on a
 * missing key is 404, every other failed condition 412. */
static enum kist_err check(const Kist__Condition *c, const Kist__Object *o)
{
    if (!c)
        return KIST_OK;
    if (c->must_not_exist && o)
        return KIST_E_PRECONDITION;
    bool needs = c->must_exist || c->n_etags || c->mtime_ms || c->size;
    if (needs && !o)
        return KIST_E_NO_KEY;
    if (!o)
        return KIST_OK;
    if (c->n_etags && !etag_in(o, c->n_etags, c->etags))
        return KIST_E_PRECONDITION;
    if (c->n_not_etags && etag_in(o, c->n_not_etags, c->not_etags))
        return KIST_E_PRECONDITION;
    if (c->mtime_ms && o->mtime_ms / 1000 != c->mtime_ms / 1000)
        return KIST_E_PRECONDITION;
    if (c->modified_since_ms && o->mtime_ms / 1000 <= c->modified_since_ms / 1000)
        return KIST_E_PRECONDITION;
    if (c->unmodified_since_ms && o->mtime_ms / 1000 > c->unmodified_since_ms / 1000)
        return KIST_E_PRECONDITION;
    if (c->size && o->size != (uint64_t)(c->size - 1))
        return KIST_E_PRECONDITION;
    return KIST_OK;
}

/* *current is NULL when the key holds nothing. */
enum kist_err apply_check(struct apply *a, const Kist__Bucket *bucket, ProtobufCBinaryData key,
                          const Kist__Condition *condition, Kist__Object **current)
{
    struct row_key row;
    if (key.len == 0 || key.len > 1024)
        return KIST_E_INVALID;
    row_object(&row, bucket->id, schema_bytes(key));
    Kist__Object *found = NULL;
    enum kist_err err = apply_get(a, &row, &kist__object__descriptor, &found);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    TRY(check(condition, found));
    *current = found;
    return KIST_OK;
}

static void describe(struct apply_result *r, const Kist__Object *o)
{
    r->data_id = o->data_id;
    r->version = o->version;
    r->size = o->size;
    r->mtime_ms = o->mtime_ms;
    r->part_count = o->part_count;
    if (o->etag.len == sizeof(r->etag))
        memcpy(r->etag, o->etag.data, sizeof(r->etag));
    if (o->checksum && o->checksum->value.len <= sizeof(r->checksum)) {
        r->checksum_algorithm = o->checksum->algorithm + 1;
        r->checksum_composite = o->checksum->composite;
        memcpy(r->checksum, o->checksum->value.data, o->checksum->value.len);
    }
}

enum kist_err apply_replace(struct apply *a, const Kist__Bucket *bucket, ProtobufCBinaryData key,
                            Kist__Object *current, Kist__Object *object)
{
    struct row_key row;
    struct stats_change change = { .bytes = (int64_t)object->size, .objects = current ? 0 : 1 };
    bool keeps = current && version_is_kept(bucket, current);
    row_object(&row, bucket->id, schema_bytes(key));
    object->data_id = a->input->index;
    object->version = bucket->versioning == VERSIONING_ENABLED ? object->data_id : 0;
    object->lineage = a->cause ? a->cause->lineage : NULL;
    if (!a->time_ms)
        a->time_ms = object->mtime_ms;
    if (keeps) {
        TRY(apply_push_version(a, bucket, schema_bytes(key), current, object->mtime_ms));
        change.versions++;
    } else if (current) {
        TRY(apply_unschedule(a, bucket, schema_bytes(key), LIFECYCLE_CURRENT, current));
    } else if (bucket->versioning != VERSIONING_NEVER) {
        TRY(apply_supersede_marker(a, bucket, schema_bytes(key), object->mtime_ms));
    }
    if (bucket->versioning == VERSIONING_SUSPENDED)
        TRY(apply_drop_null(a, bucket, schema_bytes(key)));
    TRY(apply_set(a, &row, object));
    TRY(apply_schedule(a, bucket, schema_bytes(key), LIFECYCLE_CURRENT, object));
    if (current && !keeps) {
        change.bytes -= (int64_t)current->size;
        TRY(apply_discard(a, current->data, current->size));
    }
    describe(a->result, object);
    a->result->versioned = bucket->versioning != VERSIONING_NEVER;
    TRY(apply_emit(a, bucket, schema_bytes(key), a->creates, object));
    TRY(apply_trace_object(a, bucket, schema_bytes(key), object));
    return apply_count(a, bucket->id, change);
}

enum kist_err apply_put_object(struct apply *a, Kist__PutObject *c)
{
    Kist__Bucket *bucket = NULL;
    Kist__Object *current = NULL;
    if (!c->object)
        return KIST_E_CORRUPT;
    TRY(apply_bucket(a, c->bucket, &bucket));
    TRY(apply_check(a, bucket, c->key, c->condition, &current));
    TRY(apply_quota(a, bucket, current, c->object->size, 0));
    TRY(apply_adopt(a, c->n_chunks, c->chunks, a->input->index, c->body_crc, c->object,
                    &c->object->data));
    return apply_replace(a, bucket, c->key, current, c->object);
}

/* One verdict per key: a failed condition of one does not hold back the others. Rows may be
 * large: each key begins with all of the memory. */
enum kist_err apply_delete_objects(struct apply *a, const Kist__DeleteObjects *c)
{
    Kist__Bucket *bucket;
    TRY(apply_bucket(a, c->bucket, &bucket));
    struct arena_mark mark = arena_mark(&a->arena);
    for (size_t i = 0; i < c->n_keys; i++, arena_rewind(&a->arena, mark)) {
        struct delete_result one = { .versioned = bucket->versioning != VERSIONING_NEVER };
        size_t before = kv_mark(a->kv);
        one.err = apply_delete_key(a, bucket, c->keys[i], c, &one);
        if (one.err == KIST_E_CORRUPT || one.err == KIST_E_IO)
            return one.err;
        if (one.err != KIST_OK)
            kv_undo(a->kv, before);
        if (a->result->deletes)
            a->result->deletes[i] = one;
    }
    return KIST_OK;
}

enum kist_err apply_find(struct apply *a, const Kist__Bucket *bucket, ProtobufCBinaryData key,
                         uint64_t version, struct row_key *row, Kist__Object **out)
{
    Kist__Object *found = NULL;
    if (key.len == 0 || key.len > 1024)
        return KIST_E_INVALID;
    enum kist_err err =
        version_find(&a->read, &a->arena, bucket->id, schema_bytes(key), version, row, &found);
    if (err == KIST_E_NOT_FOUND)
        return version == VERSION_CURRENT ? KIST_E_NO_KEY : KIST_E_NO_VERSION;
    if (err == KIST_OK && found->delete_marker)
        return KIST_E_DELETE_MARKER;
    if (err == KIST_OK)
        *out = found;
    return err;
}

/* Source and target may be the same object: metadata changes, the data stays with the row. */
enum kist_err apply_copy_object(struct apply *a, Kist__CopyObject *c)
{
    Kist__Bucket *from, *to;
    Kist__Object *source = NULL, *current = NULL;
    struct row_key row;
    if (!c->object)
        return KIST_E_CORRUPT;
    TRY(apply_bucket(a, c->source_bucket, &from));
    TRY(apply_find(a, from, c->source_key, c->source_version, &row, &source));
    if (source->data_id != c->source_data_id)
        return KIST_E_CONFLICT;
    TRY(apply_bucket(a, c->bucket, &to));
    TRY(apply_check(a, to, c->key, c->condition, &current));
    TRY(apply_quota(a, to, current, source->size, 0));
    bool same =
        from->id == to->id && bytes_equal(schema_bytes(c->source_key), schema_bytes(c->key));
    c->object->data = source->data;
    c->object->seal = source->seal; /* the data's, so that it can be opened */
    c->object->size = source->size;
    c->object->etag = source->etag;
    c->object->part_count = source->part_count;
    if (same && current && current->data_id == source->data_id && !version_is_kept(to, current)) {
        current->data = NULL; /* stays referenced, by the new row */
        c->object->append_parts = source->append_parts;
        return apply_replace(a, to, c->key, current, c->object);
    }
    if ((source->data && source->data->extent) || source->append_parts)
        return KIST_E_CONFLICT; /* owned by one object alone: its bytes are copied above us */
    TRY(apply_share(a, source->data));
    return apply_replace(a, to, c->key, current, c->object);
}

enum kist_err apply_put_object_tags(struct apply *a, const Kist__PutObjectTags *c)
{
    Kist__Bucket *bucket;
    Kist__Object *object = NULL;
    struct row_key row;
    TRY(apply_bucket(a, c->bucket, &bucket));
    TRY(apply_find(a, bucket, c->key, c->version, &row, &object));
    enum lifecycle_kind kind =
        row.data[0] == ROW_OBJECT ? LIFECYCLE_CURRENT : LIFECYCLE_NONCURRENT;
    TRY(apply_unschedule(a, bucket, schema_bytes(c->key), kind, object));
    object->n_tags = c->n_tags;
    object->tags = c->tags;
    TRY(apply_schedule(a, bucket, schema_bytes(c->key), kind, object));
    TRY(apply_emit(a, bucket, schema_bytes(c->key),
                   c->n_tags ? EVENT_TAGGING_PUT : EVENT_TAGGING_DELETE, object));
    a->result->versioned = bucket->versioning != VERSIONING_NEVER;
    a->result->version = object->version;
    return apply_set(a, &row, object);
}

/* Compliance can only be prolonged; governance be shortened by who may bypass it.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html */
static bool retention_may_change(const Kist__Object *o, const Kist__PutObjectLock *c)
{
    bool weaker = c->lock_mode < o->lock_mode || c->retain_until_ms < o->retain_until_ms;
    if (o->lock_mode == LOCK_NONE || o->retain_until_ms <= c->now_ms || !weaker)
        return true;
    return o->lock_mode == LOCK_GOVERNANCE && c->bypass_governance;
}

enum kist_err apply_put_object_lock(struct apply *a, const Kist__PutObjectLock *c)
{
    Kist__Bucket *bucket;
    Kist__Object *object = NULL;
    struct row_key row;
    TRY(apply_bucket(a, c->bucket, &bucket));
    if (!bucket->object_lock)
        return KIST_E_BUCKET_STATE;
    TRY(apply_find(a, bucket, c->key, c->version, &row, &object));
    if (c->set_retention && !retention_may_change(object, c))
        return KIST_E_OBJECT_LOCKED;
    if (c->set_retention) {
        object->lock_mode = c->lock_mode;
        object->retain_until_ms = c->retain_until_ms;
    }
    if (c->set_legal_hold)
        object->legal_hold = c->legal_hold;
    return apply_set(a, &row, object);
}
