/* Access control lists: rows change, what they mean is decided above. */
#include "storage/index/apply_internal.h"

static enum kist_err put_of_bucket(struct apply *a, const Kist__PutAcl *c, Kist__Bucket *bucket)
{
    struct row_key row;
    if (c->set_ownership && c->ownership >= OWNERSHIP_COUNT)
        return KIST_E_NEWER_FORMAT;
    if (c->set_ownership)
        bucket->ownership = c->ownership;
    else
        bucket->acl = c->acl;
    row_bucket(&row, bytes_str(c->bucket));
    return apply_set(a, &row, bucket);
}

enum kist_err apply_put_acl(struct apply *a, const Kist__PutAcl *c)
{
    Kist__Bucket *bucket;
    Kist__Object *object = NULL;
    struct row_key row;
    if (c->acl && c->acl->n_grants > ACL_GRANTS_MAX)
        return KIST_E_INVALID;
    TRY(apply_bucket(a, c->bucket, &bucket));
    if (c->key.len == 0)
        return put_of_bucket(a, c, bucket);
    TRY(apply_find(a, bucket, c->key, c->version, &row, &object));
    object->acl = c->acl;
    TRY(apply_emit(a, bucket, schema_bytes(c->key), EVENT_ACL_PUT, object));
    a->result->versioned = bucket->versioning != VERSIONING_NEVER;
    a->result->version = object->version;
    return apply_set(a, &row, object);
}
