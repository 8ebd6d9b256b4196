#include "storage/index/versions.h"

#include <inttypes.h>
#include <stdio.h>

#include "storage/base/codec.h"

/* ---- ids as clients see them ---- */

/* The id's second half is a mix of the first: a made-up id is told from a removed version, and
 * ids of neighbours do not look alike. Not a secret. */
static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 31) * 0x9E3779B97F4A7C15U;
    v = (v ^ v >> 27) * 0xBF58476D1CE4E5B9U;
    return v ^ v >> 33;
}

void version_text(uint64_t version, char out[VERSION_TEXT_LEN + 1])
{
    uint64_t check = mix(version);
    if (version == 0)
        snprintf(out, VERSION_TEXT_LEN + 1, "null");
    else
        snprintf(out, VERSION_TEXT_LEN + 1, "%016" PRIx64 "%016" PRIx64, check, version ^ check);
}

bool version_parse(struct bytes text, uint64_t *out)
{
    uint8_t raw[VERSION_TEXT_LEN / 2];
    if (bytes_equal(text, BYTES_LIT("null"))) {
        *out = VERSION_NULL;
        return true;
    }
    if (text.len != VERSION_TEXT_LEN || hex_decode(text, raw, sizeof(raw)) != KIST_OK)
        return false;
    uint64_t check = row_read_u64(raw), version = row_read_u64(raw + 8) ^ check;
    if (version == VERSION_CURRENT || version == VERSION_NULL || check != mix(version))
        return false;
    *out = version;
    return true;
}

/* ---- where they are ---- */

static enum kist_err get(struct kv_read *read, struct arena *arena, const struct row_key *row,
                         const ProtobufCMessageDescriptor *type, void *out)
{
    struct bytes value;
    TRY(kv_get(read, row_bytes(row), &value));
    return schema_unpack(type, value, arena, out);
}

enum kist_err version_find(struct kv_read *read, struct arena *arena, uint64_t bucket_id,
                           struct bytes key, uint64_t version, struct row_key *row,
                           Kist__Object **out)
{
    Kist__Object *o = NULL;
    uint64_t wanted = version == VERSION_NULL ? 0 : version, data_id = version;
    row_object(row, bucket_id, key);
    enum kist_err err = get(read, arena, row, &kist__object__descriptor, &o);
    if (err == KIST_OK && version != VERSION_CURRENT && o->version != wanted)
        err = KIST_E_NOT_FOUND;
    if (err == KIST_E_NOT_FOUND && version != VERSION_CURRENT) {
        if (version == VERSION_NULL) {
            Kist__NullVersion *null = NULL;
            row_null(row, bucket_id, key);
            TRY(get(read, arena, row, &kist__null_version__descriptor, &null));
            data_id = null->data_id;
        }
        row_version(row, bucket_id, key, data_id);
        err = get(read, arena, row, &kist__object__descriptor, &o);
        if (err == KIST_OK && o->version != wanted) /* the null version has a data id, too */
            err = KIST_E_NOT_FOUND;
    }
    if (err == KIST_OK)
        *out = o;
    return err;
}

enum kist_err version_newest(struct kv_read *read, struct arena *arena, uint64_t bucket_id,
                             struct bytes key, struct row_key *row, Kist__Object **out)
{
    struct row_key prefix;
    struct kv_cursor *cursor;
    struct bytes found, value;
    row_versions(&prefix, bucket_id, key);
    TRY(kv_cursor_open(read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&prefix), &found, &value);
    if (err == KIST_OK && !bytes_starts_with(found, row_bytes(&prefix)))
        err = KIST_E_NOT_FOUND;
    if (err == KIST_OK)
        err = schema_unpack(&kist__object__descriptor, value, arena, out);
    if (err == KIST_OK) {
        row->len = 0;
        row_add(row, found);
    }
    kv_cursor_close(cursor);
    return err;
}

bool version_is_kept(const Kist__Bucket *bucket, const Kist__Object *current)
{
    if (bucket->versioning == VERSIONING_SUSPENDED)
        return current->version != 0;
    return bucket->versioning == VERSIONING_ENABLED;
}

bool version_is_locked(const Kist__Object *o, int64_t now_ms, bool bypass_governance)
{
    if (o->legal_hold)
        return true;
    if (o->retain_until_ms <= now_ms)
        return false;
    return o->lock_mode == LOCK_COMPLIANCE ||
           (o->lock_mode == LOCK_GOVERNANCE && !bypass_governance);
}
