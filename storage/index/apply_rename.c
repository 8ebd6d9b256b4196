/* RenameObject: an object's row moves to another key of its bucket; nothing else of it changes.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_RenameObject.html
 *
 * A client's token makes a retry succeed that finds its rename done. Tokens are kept for some
 * minutes; each rename with a token removes a few that are older.
 */
#include "storage/index/apply_internal.h"

#define TOKEN_MAX 64
#define TOKEN_LIFE_MS ((int64_t)15 * 60 * 1000)
/* More than one, so that the tokens never grow over those of the last minutes. */
#define TOKENS_DROPPED 4

static enum kist_err token_seen(struct apply *a, const Kist__Bucket *bucket,
                                const Kist__RenameObject *c, bool *done)
{
    struct row_key row;
    Kist__RenameToken *token = NULL;
    *done = false;
    if (!c->token[0])
        return KIST_OK;
    if (strlen(c->token) > TOKEN_MAX)
        return KIST_E_INVALID;
    row_token(&row, bucket->id, bytes_str(c->token));
    enum kist_err err = apply_get(a, &row, &kist__rename_token__descriptor, &token);
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK;
    TRY(err);
    if (c->now_ms - token->done_ms > TOKEN_LIFE_MS)
        return KIST_OK;
    *done = bytes_equal(schema_bytes(token->request), schema_bytes(c->request));
    return *done ? KIST_OK : KIST_E_TOKEN_REUSED;
}

/* An age row's token may have been used again since: its other row says when. */
static enum kist_err drop_token(struct apply *a, struct bytes age, int64_t time_ms)
{
    struct row_key row = { .len = 0 }, by_name;
    Kist__RenameToken *token = NULL;
    row_add(&row, age);
    row_token(&by_name, row_read_u64(age.ptr + 10), bytes_of(age.ptr + 18, age.len - 18));
    enum kist_err err = apply_get(a, &by_name, &kist__rename_token__descriptor, &token);
    if (err == KIST_OK && token->done_ms == time_ms)
        apply_drop(a, &by_name);
    apply_drop(a, &row);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err drop_old_tokens(struct apply *a, int64_t now_ms)
{
    struct row_key prefix;
    struct kv_cursor *cursor;
    struct bytes key, value;
    row_start(&prefix, ROW_TOKEN);
    row_add(&prefix, BYTES_LIT("t"));
    TRY(kv_cursor_open(&a->read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&prefix), &key, &value);
    for (unsigned i = 0; i < TOKENS_DROPPED && err == KIST_OK; i++) {
        if (!bytes_starts_with(key, row_bytes(&prefix)) || key.len < 18)
            break;
        int64_t time_ms = (int64_t)row_read_u64(key.ptr + 2);
        if (now_ms - time_ms <= TOKEN_LIFE_MS)
            break;
        err = drop_token(a, key, time_ms);
        if (err == KIST_OK)
            err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err keep_token(struct apply *a, const Kist__Bucket *bucket,
                                const Kist__RenameObject *c)
{
    struct row_key row;
    Kist__RenameToken token = KIST__RENAME_TOKEN__INIT;
    if (!c->token[0])
        return KIST_OK;
    TRY(drop_old_tokens(a, c->now_ms));
    token.request = c->request;
    token.done_ms = c->now_ms;
    row_token(&row, bucket->id, bytes_str(c->token));
    TRY(apply_set(a, &row, &token));
    row_token_age(&row, c->now_ms, bucket->id, bytes_str(c->token));
    kv_put(a->kv, row_bytes(&row), BYTES_EMPTY);
    return KIST_OK;
}

static bool is_protected(const Kist__Object *o)
{
    return o && (o->lock_mode != LOCK_NONE || o->legal_hold);
}

static enum kist_err move(struct apply *a, const Kist__Bucket *bucket,
                          const Kist__RenameObject *c, Kist__Object *source, Kist__Object *target)
{
    struct row_key row;
    struct stats_change change = { 0 };
    if (target) {
        change = (struct stats_change){ .objects = -1, .bytes = -(int64_t)target->size };
        TRY(apply_unschedule(a, bucket, schema_bytes(c->key), LIFECYCLE_CURRENT, target));
    }
    TRY(apply_unschedule(a, bucket, schema_bytes(c->source_key), LIFECYCLE_CURRENT, source));
    row_object(&row, bucket->id, schema_bytes(c->key));
    TRY(apply_set(a, &row, source));
    TRY(apply_schedule(a, bucket, schema_bytes(c->key), LIFECYCLE_CURRENT, source));
    row_object(&row, bucket->id, schema_bytes(c->source_key));
    apply_drop(a, &row);
    if (target)
        TRY(apply_discard(a, target->data, target->size));
    /* Amazon's directory buckets tell nobody; who watches a bucket here sees both ends. */
    TRY(apply_emit(a, bucket, schema_bytes(c->source_key), EVENT_REMOVED_DELETE, source));
    TRY(apply_emit(a, bucket, schema_bytes(c->key), EVENT_CREATED_COPY, source));
    return target ? apply_count(a, bucket->id, change) : KIST_OK;
}

enum kist_err apply_rename_object(struct apply *a, const Kist__RenameObject *c)
{
    Kist__Bucket *bucket;
    Kist__Object *source = NULL, *target = NULL;
    bool done;
    TRY(apply_bucket(a, c->bucket, &bucket));
    if (bucket->versioning != VERSIONING_NEVER)
        return KIST_E_BUCKET_STATE;
    TRY(token_seen(a, bucket, c, &done));
    if (done)
        return KIST_OK;
    if (bytes_equal(schema_bytes(c->source_key), schema_bytes(c->key)))
        return KIST_E_INVALID;
    TRY(apply_check(a, bucket, c->source_key, c->source_condition, &source));
    if (!source)
        return KIST_E_NO_KEY;
    TRY(apply_check(a, bucket, c->key, c->condition, &target));
    if (is_protected(source) || is_protected(target))
        return KIST_E_OBJECT_LOCKED;
    TRY(move(a, bucket, c, source, target));
    return keep_token(a, bucket, c);
}
