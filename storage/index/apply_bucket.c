#include "storage/index/apply_internal.h"

enum kist_err apply_create_bucket(struct apply *a, Kist__CreateBucket *c)
{
    Kist__Bucket *wanted = c->bucket;
    Kist__Bucket *existing;
    if (!wanted)
        return KIST_E_CORRUPT;
    enum kist_err err = apply_bucket(a, wanted->name, &existing);
    if (err == KIST_OK) {
        bool same = false;
        TRY(apply_same_owner(a, existing->owner, wanted->owner, &same));
        return same ? KIST_E_BUCKET_OWNED : KIST_E_BUCKET_EXISTS;
    }
    if (err != KIST_E_NO_BUCKET)
        return err;
    struct row_key key;
    row_bucket(&key, bytes_str(wanted->name));
    wanted->id = a->input->index;
    TRY(apply_set(a, &key, wanted));
    return apply_own_bucket(a, wanted, true);
}

/* AWS deletes a bucket only when it holds no objects; incomplete multipart uploads do not keep
 * it. They are aborted with it: one row each, their parts go by way of the garbage queue. */
static enum kist_err drop_uploads(struct apply *a, uint64_t bucket_id)
{
    struct row_key prefix;
    row_start(&prefix, ROW_UPLOAD);
    row_add_u64(&prefix, bucket_id);
    struct kv_cursor *cursor;
    TRY(kv_cursor_open(&a->read, &cursor));
    struct bytes key, value;
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&prefix), &key, &value);
    while (err == KIST_OK && bytes_starts_with(key, row_bytes(&prefix))) {
        uint64_t id = row_read_u64(key.ptr + key.len - 8);
        Kist__Data data = KIST__DATA__INIT;
        data.manifest = id;
        struct row_key row = { .len = 0 };
        row_add(&row, key);
        err = apply_discard(a, &data, 0);
        if (err != KIST_OK)
            break;
        apply_drop(a, &row);
        err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

enum kist_err apply_delete_bucket(struct apply *a, const Kist__DeleteBucket *c)
{
    Kist__Bucket *bucket;
    bool any = false;
    struct row_key key;
    TRY(apply_bucket(a, c->name, &bucket));
    row_start(&key, ROW_OBJECT);
    row_add_u64(&key, bucket->id);
    TRY(apply_holds_any(a, &key, &any));
    key.data[0] = ROW_VERSION;
    if (!any)
        TRY(apply_holds_any(a, &key, &any));
    if (any)
        return KIST_E_BUCKET_NOT_EMPTY;
    TRY(drop_uploads(a, bucket->id));
    TRY(apply_own_bucket(a, bucket, false));
    for (uint32_t kind = 0; kind < CONFIG_COUNT; kind++) {
        if (!(bucket->configs >> kind & 1))
            continue;
        row_config(&key, bucket->id, kind);
        apply_drop(a, &key);
    }
    row_bucket(&key, bytes_str(c->name));
    apply_drop(a, &key);
    row_stats(&key, bucket->id);
    apply_drop(a, &key);
    row_usage_bucket(&key, bucket->id);
    apply_drop(a, &key);
    return KIST_OK;
}

enum kist_err apply_put_bucket_tags(struct apply *a, const Kist__PutBucketTags *c)
{
    Kist__Bucket *bucket;
    TRY(apply_bucket(a, c->name, &bucket));
    bucket->n_tags = c->n_tags;
    bucket->tags = c->tags;
    struct row_key key;
    row_bucket(&key, bytes_str(c->name));
    return apply_set(a, &key, bucket);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html */
enum kist_err apply_put_versioning(struct apply *a, const Kist__PutVersioning *c)
{
    Kist__Bucket *bucket;
    struct row_key key;
    TRY(apply_bucket(a, c->name, &bucket));
    if (c->versioning != VERSIONING_ENABLED && c->versioning != VERSIONING_SUSPENDED)
        return KIST_E_INVALID;
    if (bucket->object_lock && c->versioning != VERSIONING_ENABLED)
        return KIST_E_BUCKET_STATE;
    bucket->versioning = c->versioning;
    row_bucket(&key, bytes_str(c->name));
    return apply_set(a, &key, bucket);
}

static enum kist_err check_quota(struct apply *a, const Kist__Bucket *bucket, int64_t bytes,
                                 int64_t objects)
{
    struct row_key key;
    Kist__BucketStats none = KIST__BUCKET_STATS__INIT, *stats = &none;
    if (!bucket->quota_bytes && !bucket->quota_objects)
        return KIST_OK;
    row_stats(&key, bucket->id);
    enum kist_err err = apply_get(a, &key, &kist__bucket_stats__descriptor, &stats);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    if (bytes > 0 && bucket->quota_bytes &&
        (uint64_t)(stats->bytes + stats->part_bytes + bytes) > bucket->quota_bytes - 1)
        return KIST_E_QUOTA;
    if (objects > 0 && bucket->quota_objects &&
        (uint64_t)(stats->objects + stats->versions + objects) > bucket->quota_objects - 1)
        return KIST_E_QUOTA;
    return KIST_OK;
}

enum kist_err apply_quota(struct apply *a, const Kist__Bucket *bucket,
                          const Kist__Object *current, uint64_t size, uint64_t part_bytes)
{
    bool goes = current && !version_is_kept(bucket, current);
    int64_t gone = (int64_t)part_bytes + (goes ? (int64_t)current->size : 0);
    return check_quota(a, bucket, (int64_t)size - gone, goes ? 0 : 1);
}

enum kist_err apply_part_quota(struct apply *a, const Kist__Bucket *bucket, int64_t bytes)
{
    return check_quota(a, bucket, bytes, 0);
}

enum kist_err apply_put_bucket_config(struct apply *a, const Kist__PutBucketConfig *c)
{
    Kist__Bucket *bucket;
    struct row_key key;
    TRY(apply_bucket(a, c->name, &bucket));
    if (c->kind >= CONFIG_COUNT)
        return KIST_E_NEWER_FORMAT;
    uint64_t bit = (uint64_t)1 << c->kind;
    if (c->kind == CONFIG_OBJECT_LOCK) {
        if (bucket->versioning != VERSIONING_ENABLED)
            return KIST_E_BUCKET_STATE;
        bucket->object_lock = true;
    }
    if (c->kind == CONFIG_QUOTA) {
        bucket->quota_bytes = c->quota_bytes;
        bucket->quota_objects = c->quota_objects;
    }
    bucket->configs_changed = a->input->index;
    row_config(&key, bucket->id, c->kind);
    if (c->document.len) {
        Kist__BucketConfig config = KIST__BUCKET_CONFIG__INIT;
        config.document = c->document;
        config.lifecycle = c->lifecycle;
        config.notification = c->notification;
        TRY(apply_set(a, &key, &config));
        bucket->configs |= bit;
    } else {
        if (bucket->configs & bit)
            apply_drop(a, &key);
        bucket->configs &= ~bit;
    }
    row_bucket(&key, bytes_str(c->name));
    TRY(apply_set(a, &key, bucket));
    return c->kind == CONFIG_LIFECYCLE ? apply_begin_backfill(a, bucket) : KIST_OK;
}
