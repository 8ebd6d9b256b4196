/* Versions: how objects become noncurrent, how deletes leave markers, and how a version that is
 * removed lets the one below it come back.
 */
#include "storage/index/apply_internal.h"

enum kist_err apply_push_version(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                 Kist__Object *object, int64_t now_ms)
{
    struct row_key row;
    if (!object->delete_marker) {
        TRY(apply_unschedule(a, bucket, key, LIFECYCLE_CURRENT, object));
        object->noncurrent_ms = now_ms;
    }
    if (object->version == 0) {
        Kist__NullVersion null = KIST__NULL_VERSION__INIT;
        null.data_id = object->data_id;
        row_null(&row, bucket->id, key);
        TRY(apply_set(a, &row, &null));
    }
    row_version(&row, bucket->id, key, object->data_id);
    TRY(apply_set(a, &row, object));
    if (object->delete_marker)
        return apply_schedule_lone_marker(a, bucket, key);
    return apply_schedule(a, bucket, key, LIFECYCLE_NONCURRENT, object);
}

/* Removes a V row and what points at it. */
static void drop_version(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                         const Kist__Object *object)
{
    struct row_key row;
    row_version(&row, bucket->id, key, object->data_id);
    apply_drop(a, &row);
    if (object->version == 0) {
        row_null(&row, bucket->id, key);
        apply_drop(a, &row);
    }
}

enum kist_err apply_drop_null(struct apply *a, const Kist__Bucket *bucket, struct bytes key)
{
    struct row_key row;
    Kist__NullVersion *null = NULL;
    Kist__Object *object = NULL;
    row_null(&row, bucket->id, key);
    enum kist_err err = apply_get(a, &row, &kist__null_version__descriptor, &null);
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK;
    TRY(err);
    row_version(&row, bucket->id, key, null->data_id);
    TRY(apply_get(a, &row, &kist__object__descriptor, &object));
    TRY(apply_unschedule(a, bucket, key, LIFECYCLE_NONCURRENT, object));
    drop_version(a, bucket, key, object);
    TRY(apply_discard(a, object->data, object->size));
    return apply_count(a, bucket->id,
                       (struct stats_change){ .bytes = -(int64_t)object->size, .versions = -1 });
}

/* When the newest V row holds an object, it becomes the current one. */
static enum kist_err promote(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                             bool *promoted)
{
    struct row_key row;
    Kist__Object *newest = NULL;
    *promoted = false;
    enum kist_err err = version_newest(&a->read, &a->arena, bucket->id, key, &row, &newest);
    if (err == KIST_E_NOT_FOUND || (err == KIST_OK && newest->delete_marker))
        return KIST_OK;
    TRY(err);
    TRY(apply_unschedule(a, bucket, key, LIFECYCLE_NONCURRENT, newest));
    newest->noncurrent_ms = 0;
    row_object(&row, bucket->id, key);
    TRY(apply_set(a, &row, newest));
    TRY(apply_schedule(a, bucket, key, LIFECYCLE_CURRENT, newest));
    drop_version(a, bucket, key, newest);
    *promoted = true;
    return KIST_OK;
}

/* Without a version, in a bucket that keeps them: a delete marker becomes the newest one. */
static enum kist_err mark_deleted(struct apply *a, const Kist__Bucket *bucket,
                                  const Kist__DeleteKey *c, int64_t now_ms, Kist__Object *current,
                                  struct delete_result *out)
{
    Kist__Object marker = KIST__OBJECT__INIT;
    struct bytes key = schema_bytes(c->key);
    struct stats_change change = { .versions = 1, .objects = current ? -1 : 0 };
    struct row_key row;
    bool keeps = current && version_is_kept(bucket, current);
    marker.data_id = a->input->index;
    marker.version = bucket->versioning == VERSIONING_ENABLED ? marker.data_id : 0;
    marker.delete_marker = true;
    marker.mtime_ms = now_ms;
    if (keeps) {
        TRY(apply_push_version(a, bucket, key, current, now_ms));
        change.versions++;
    } else if (current) {
        TRY(apply_unschedule(a, bucket, key, LIFECYCLE_CURRENT, current));
    } else {
        TRY(apply_supersede_marker(a, bucket, key, now_ms));
    }
    if (bucket->versioning == VERSIONING_SUSPENDED)
        TRY(apply_drop_null(a, bucket, key));
    /* The same key twice in one command: the marker is there already. */
    Kist__Object *twin = NULL;
    row_version(&row, bucket->id, key, marker.data_id);
    enum kist_err err = apply_get(a, &row, &kist__object__descriptor, &twin);
    if (err == KIST_OK)
        change.versions--;
    else if (err != KIST_E_NOT_FOUND)
        return err;
    TRY(apply_push_version(a, bucket, key, &marker, now_ms));
    if (current) {
        row_object(&row, bucket->id, key);
        apply_drop(a, &row);
        if (!keeps) {
            change.bytes -= (int64_t)current->size;
            TRY(apply_discard(a, current->data, current->size));
        }
    }
    TRY(apply_schedule_lone_marker(a, bucket, key));
    TRY(apply_emit(a, bucket, key, a->expiring ? EVENT_EXPIRED_MARKER : EVENT_REMOVED_MARKER,
                   &marker));
    out->delete_marker = true;
    out->version = marker.version;
    return apply_count(a, bucket->id, change);
}

static enum kist_err emit_removal(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                  const Kist__Object *object)
{
    return apply_emit(a, bucket, key, a->expiring ? EVENT_EXPIRED_DELETE : EVENT_REMOVED_DELETE,
                      object);
}

static enum kist_err delete_plain(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                  const Kist__Object *current)
{
    struct row_key row;
    if (!current)
        return KIST_E_NO_KEY;
    TRY(apply_unschedule(a, bucket, key, LIFECYCLE_CURRENT, current));
    row_object(&row, bucket->id, key);
    apply_drop(a, &row);
    TRY(apply_discard(a, current->data, current->size));
    TRY(emit_removal(a, bucket, key, current));
    return apply_count(a, bucket->id,
                       (struct stats_change){ .objects = -1, .bytes = -(int64_t)current->size });
}

static enum kist_err delete_version(struct apply *a, const Kist__Bucket *bucket,
                                    const Kist__DeleteKey *c, const Kist__DeleteObjects *all,
                                    struct delete_result *out)
{
    struct bytes key = schema_bytes(c->key);
    struct row_key row, object_row;
    Kist__Object *o = NULL, *current = NULL;
    bool promoted = false;
    enum kist_err err = version_find(&a->read, &a->arena, bucket->id, key, c->version, &row, &o);
    out->version = c->version == VERSION_NULL ? 0 : c->version;
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK; /* deleting what is not there succeeds */
    TRY(err);
    if (version_is_locked(o, all->now_ms, all->bypass_governance))
        return KIST_E_OBJECT_LOCKED;
    out->delete_marker = o->delete_marker;
    struct stats_change change = { .bytes = -(int64_t)o->size };
    row_object(&object_row, bucket->id, key);
    bool is_current = row.data[0] == ROW_OBJECT;
    TRY(apply_unschedule(a, bucket, key,
                         is_current         ? LIFECYCLE_CURRENT
                         : o->delete_marker ? LIFECYCLE_MARKER
                                            : LIFECYCLE_NONCURRENT,
                         o));
    if (is_current) {
        TRY(promote(a, bucket, key, &promoted));
        change.versions = promoted ? -1 : 0;
        change.objects = promoted ? 0 : -1;
        if (!promoted)
            apply_drop(a, &row);
    } else {
        drop_version(a, bucket, key, o);
        change.versions = -1;
        err = apply_get(a, &object_row, &kist__object__descriptor, &current);
        if (err == KIST_E_NOT_FOUND) {
            TRY(promote(a, bucket, key, &promoted));
            change.versions -= promoted ? 1 : 0;
            change.objects += promoted ? 1 : 0;
        } else if (err != KIST_OK) {
            return err;
        }
    }
    TRY(apply_schedule_lone_marker(a, bucket, key));
    TRY(apply_discard(a, o->data, o->size));
    TRY(emit_removal(a, bucket, key, o));
    return apply_count(a, bucket->id, change);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html */
enum kist_err apply_delete_key(struct apply *a, const Kist__Bucket *bucket,
                               const Kist__DeleteKey *c, const Kist__DeleteObjects *all,
                               struct delete_result *out)
{
    Kist__Object *current = NULL;
    TRY(apply_check(a, bucket, c->key, c->condition, &current));
    if (c->version != VERSION_CURRENT)
        return delete_version(a, bucket, c, all, out);
    if (bucket->versioning != VERSIONING_NEVER)
        return mark_deleted(a, bucket, c, all->now_ms, current, out);
    return delete_plain(a, bucket, schema_bytes(c->key), current);
}
