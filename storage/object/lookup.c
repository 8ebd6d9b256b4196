#include "storage/index/versions.h"
#include "storage/object/store_internal.h"

enum kist_err lookup(struct kv_read *read, const struct row_key *key,
                     const ProtobufCMessageDescriptor *type, struct arena *arena, void *out)
{
    struct bytes value;
    TRY(kv_get(read, row_bytes(key), &value));
    return schema_unpack(type, value, arena, out);
}

enum kist_err lookup_bucket(struct kv_read *read, struct bytes name, struct arena *arena,
                            Kist__Bucket **out)
{
    struct row_key key;
    if (name.len == 0 || name.len > 255)
        return KIST_E_NO_BUCKET;
    row_bucket(&key, name);
    enum kist_err err = lookup(read, &key, &kist__bucket__descriptor, arena, out);
    return err == KIST_E_NOT_FOUND ? KIST_E_NO_BUCKET : err;
}

enum kist_err lookup_object(struct kv_read *read, const struct object_id *id, struct arena *arena,
                            Kist__Object **out)
{
    Kist__Bucket *b;
    struct row_key row;
    TRY(lookup_bucket(read, id->bucket, arena, &b));
    if (id->key.len == 0 || id->key.len > 1024)
        return KIST_E_NO_KEY;
    enum kist_err err = version_find(read, arena, b->id, id->key, id->version, &row, out);
    if (err == KIST_E_NOT_FOUND && id->version == VERSION_CURRENT &&
        b->versioning != VERSIONING_NEVER)
        err = version_newest(read, arena, b->id, id->key, &row, out);
    if (err == KIST_OK && (*out)->delete_marker)
        return KIST_E_DELETE_MARKER;
    if (err != KIST_E_NOT_FOUND)
        return err;
    return id->version == VERSION_CURRENT ? KIST_E_NO_KEY : KIST_E_NO_VERSION;
}

enum kist_err store_bucket(struct store *s, struct bytes name, struct arena *arena,
                           Kist__Bucket **out)
{
    struct kv_read read;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup_bucket(&read, name, arena, out);
    kv_read_end(&read);
    return err;
}

enum kist_err store_bucket_stats(struct store *s, uint64_t bucket_id, struct arena *arena,
                                 Kist__BucketStats **out)
{
    struct kv_read read;
    struct row_key key;
    row_stats(&key, bucket_id);
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup(&read, &key, &kist__bucket_stats__descriptor, arena, out);
    kv_read_end(&read);
    if (err != KIST_E_NOT_FOUND)
        return err;
    Kist__BucketStats *none = arena_alloc(arena, sizeof(*none));
    if (!none)
        return KIST_E_NOMEM;
    kist__bucket_stats__init(none);
    *out = none;
    return KIST_OK;
}

enum kist_err store_bucket_config(struct store *s, const Kist__Bucket *bucket,
                                  enum bucket_config kind, struct arena *arena, struct bytes *out)
{
    struct kv_read read;
    struct row_key row;
    Kist__BucketConfig *config = NULL;
    if (!(bucket->configs >> kind & 1)) {
        *out = BYTES_EMPTY;
        return KIST_OK;
    }
    row_config(&row, bucket->id, kind);
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup(&read, &row, &kist__bucket_config__descriptor, arena, &config);
    kv_read_end(&read);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND) /* removed meanwhile */
        return err;
    *out = config ? schema_bytes(config->document) : BYTES_EMPTY;
    return KIST_OK;
}

enum kist_err store_head(struct store *s, const struct object_id *id, struct arena *arena,
                         Kist__Object **out)
{
    struct kv_read read;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup_object(&read, id, arena, out);
    kv_read_end(&read);
    return err;
}

enum kist_err store_upload(struct store *s, struct bytes bucket, struct bytes key, uint64_t id,
                           struct bytes nonce, struct arena *arena, Kist__Upload **out)
{
    struct kv_read read;
    struct row_key row;
    Kist__Bucket *b;
    Kist__Upload *upload = NULL;
    if (key.len == 0 || key.len > 1024)
        return KIST_E_NO_UPLOAD;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup_bucket(&read, bucket, arena, &b);
    if (err == KIST_OK) {
        row_upload(&row, b->id, key, id);
        err = lookup(&read, &row, &kist__upload__descriptor, arena, &upload);
        err = err == KIST_E_NOT_FOUND ? KIST_E_NO_UPLOAD : err;
    }
    kv_read_end(&read);
    if (err != KIST_OK)
        return err;
    if (!bytes_equal_secret(schema_bytes(upload->nonce), nonce))
        return KIST_E_NO_UPLOAD;
    *out = upload;
    return KIST_OK;
}
