/* The index of what is due, and what happens then.
 *
 * Every object, version, lone delete marker and upload of a bucket with rules has at most one D
 * row, at the earliest time that a rule acts on it. Rules change and rows stay behind: a D row is
 * a reminder, never a reason. When its time has come the rules are asked again.
 */
#include "storage/index/apply_internal.h"

#define DAY_MS ((int64_t)86400000)

static enum kist_err load_rules(struct apply *a, const Kist__Bucket *bucket)
{
    struct row_key key;
    struct bytes value;
    Kist__BucketConfig *config = NULL;
    arena_clear(&a->rules_arena);
    a->rules = NULL;
    a->rules_bucket = 0;
    row_config(&key, bucket->id, CONFIG_LIFECYCLE);
    enum kist_err err = kv_get(&a->read, row_bytes(&key), &value);
    if (err == KIST_OK)
        err = schema_unpack(&kist__bucket_config__descriptor, value, &a->rules_arena, &config);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    a->rules = config ? config->lifecycle : NULL;
    a->rules_bucket = bucket->id;
    a->rules_stamp = bucket->configs_changed;
    return KIST_OK;
}

/* *out NULL: the bucket has no rules. */
static enum kist_err rules_of(struct apply *a, const Kist__Bucket *bucket, Kist__Lifecycle **out)
{
    *out = NULL;
    if (!(bucket->configs >> CONFIG_LIFECYCLE & 1))
        return KIST_OK;
    if (a->rules_bucket != bucket->id || a->rules_stamp != bucket->configs_changed)
        TRY(load_rules(a, bucket));
    *out = a->rules;
    return KIST_OK;
}

static struct lifecycle_subject subject_of(struct bytes key, enum lifecycle_kind kind,
                                           const Kist__Object *o)
{
    struct lifecycle_subject s = { .kind = kind,
                                   .key = key,
                                   .size = o->size,
                                   .n_tags = o->n_tags,
                                   .tags = o->tags,
                                   .since_ms = o->mtime_ms };
    if (kind == LIFECYCLE_NONCURRENT && o->noncurrent_ms)
        s.since_ms = o->noncurrent_ms;
    return s;
}

static enum kist_err put_due(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                             uint64_t id, enum lifecycle_kind kind, int64_t due_ms)
{
    struct row_key row;
    Kist__Due due = KIST__DUE__INIT;
    if (due_ms == LIFECYCLE_NEVER)
        return KIST_OK;
    a->result->made_due = true;
    due.bucket = bucket->name;
    row_due(&row, due_ms, bucket->id, key, id, (uint8_t)kind);
    return apply_set(a, &row, &due);
}

static void drop_due(struct apply *a, const Kist__Bucket *bucket, struct bytes key, uint64_t id,
                     enum lifecycle_kind kind, int64_t due_ms)
{
    struct row_key row;
    if (due_ms == LIFECYCLE_NEVER)
        return;
    row_due(&row, due_ms, bucket->id, key, id, (uint8_t)kind);
    apply_drop(a, &row);
}

/* ---- noncurrent versions that rules keep by number ---- */

/* A key's V rows, newest first; the marker at the top of a deleted key is not noncurrent. */
struct history {
    struct kv_cursor *cursor;
    struct row_key prefix;
    struct bytes row, value;
    bool skip_first;
};

static enum kist_err history_next(struct history *h, bool first)
{
    enum kist_err err = first
                            ? kv_cursor_seek(h->cursor, row_bytes(&h->prefix), &h->row, &h->value)
                            : kv_cursor_next(h->cursor, &h->row, &h->value);
    if (err == KIST_OK && !bytes_starts_with(h->row, row_bytes(&h->prefix)))
        err = KIST_E_NOT_FOUND;
    return err;
}

static enum kist_err history_open(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                  struct history *h)
{
    struct row_key object;
    struct bytes value;
    row_object(&object, bucket->id, key);
    row_versions(&h->prefix, bucket->id, key);
    enum kist_err err = kv_get(&a->read, row_bytes(&object), &value);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    bool top_is_version = err == KIST_E_NOT_FOUND;
    TRY(kv_cursor_open(&a->read, &h->cursor));
    err = history_next(h, true);
    if (err == KIST_OK && top_is_version)
        err = history_next(h, false);
    if (err != KIST_OK)
        kv_cursor_close(h->cursor);
    return err;
}

/* A delete marker at the top of its key is the current version, though it has a V row. */
static enum kist_err is_noncurrent(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                   const Kist__Object *o, bool *out)
{
    struct row_key row;
    struct bytes value;
    Kist__Object *newest = NULL;
    *out = true;
    if (!o->delete_marker)
        return KIST_OK;
    row_object(&row, bucket->id, key);
    enum kist_err err = kv_get(&a->read, row_bytes(&row), &value);
    if (err != KIST_E_NOT_FOUND)
        return err;
    TRY(version_newest(&a->read, &a->arena, bucket->id, key, &row, &newest));
    *out = newest->data_id != o->data_id;
    return KIST_OK;
}

/* How many noncurrent versions are newer than this one; stops counting at the most that any rule
 * keeps. */
static enum kist_err count_newer(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                 uint64_t data_id, uint32_t *out)
{
    struct history h;
    uint32_t newer = 0;
    enum kist_err err = history_open(a, bucket, key, &h);
    if (err == KIST_E_NOT_FOUND) {
        *out = 0;
        return KIST_OK;
    }
    TRY(err);
    while (err == KIST_OK && newer < LIFECYCLE_KEEP_MAX &&
           row_read_u64(h.row.ptr + h.row.len - 8) != ~data_id) {
        newer++;
        err = history_next(&h, false);
    }
    kv_cursor_close(h.cursor);
    *out = newer;
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* The version that has just as many newer ones as a rule keeps is due from now on. */
static enum kist_err schedule_kept(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                   const Kist__Lifecycle *rules)
{
    struct history h;
    uint32_t most = 0, newer = 0;
    for (size_t i = 0; i < rules->n_rules; i++)
        if (rules->rules[i]->noncurrent_keep > most)
            most = rules->rules[i]->noncurrent_keep;
    if (most == 0)
        return KIST_OK;
    enum kist_err err = history_open(a, bucket, key, &h);
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK;
    TRY(err);
    struct arena_mark mark = arena_mark(&a->arena);
    for (; err == KIST_OK && newer <= most; arena_rewind(&a->arena, mark)) {
        Kist__Object *o = NULL;
        err = schema_unpack(&kist__object__descriptor, h.value, &a->arena, &o);
        if (err != KIST_OK)
            break;
        struct lifecycle_subject s = subject_of(key, LIFECYCLE_NONCURRENT, o);
        s.newer = newer++;
        err = put_due(a, bucket, key, o->data_id, s.kind, lifecycle_due(rules, &s, NULL));
        if (err == KIST_OK)
            err = history_next(&h, false);
    }
    kv_cursor_close(h.cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* ---- what happens to keys ---- */

enum kist_err apply_schedule(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                             enum lifecycle_kind kind, const Kist__Object *object)
{
    Kist__Lifecycle *rules;
    TRY(rules_of(a, bucket, &rules));
    if (!rules)
        return KIST_OK;
    if (kind == LIFECYCLE_NONCURRENT)
        TRY(schedule_kept(a, bucket, key, rules));
    struct lifecycle_subject s = subject_of(key, kind, object);
    if (kind == LIFECYCLE_NONCURRENT)
        TRY(count_newer(a, bucket, key, object->data_id, &s.newer));
    return put_due(a, bucket, key, object->data_id, kind, lifecycle_due(rules, &s, NULL));
}

enum kist_err apply_unschedule(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                               enum lifecycle_kind kind, const Kist__Object *object)
{
    Kist__Lifecycle *rules;
    TRY(rules_of(a, bucket, &rules));
    if (!rules)
        return KIST_OK;
    struct lifecycle_subject s = subject_of(key, kind, object);
    s.newer = LIFECYCLE_KEEP_MAX;
    drop_due(a, bucket, key, object->data_id, kind, lifecycle_due(rules, &s, NULL));
    return KIST_OK;
}

static struct lifecycle_subject upload_subject(const Kist__Upload *u)
{
    return (struct lifecycle_subject){ .kind = LIFECYCLE_UPLOAD,
                                       .key = schema_bytes(u->key),
                                       .since_ms = u->created_ms };
}

enum kist_err apply_schedule_upload(struct apply *a, const Kist__Bucket *bucket,
                                    const Kist__Upload *upload)
{
    Kist__Lifecycle *rules;
    TRY(rules_of(a, bucket, &rules));
    if (!rules)
        return KIST_OK;
    struct lifecycle_subject s = upload_subject(upload);
    return put_due(a, bucket, s.key, upload->id, s.kind, lifecycle_due(rules, &s, NULL));
}

enum kist_err apply_unschedule_upload(struct apply *a, const Kist__Bucket *bucket,
                                      const Kist__Upload *upload)
{
    Kist__Lifecycle *rules;
    TRY(rules_of(a, bucket, &rules));
    if (!rules)
        return KIST_OK;
    struct lifecycle_subject s = upload_subject(upload);
    drop_due(a, bucket, s.key, upload->id, s.kind, lifecycle_due(rules, &s, NULL));
    return KIST_OK;
}

enum kist_err apply_supersede_marker(struct apply *a, const Kist__Bucket *bucket,
                                     struct bytes key, int64_t now_ms)
{
    Kist__Lifecycle *rules;
    Kist__Object *marker = NULL;
    struct row_key row;
    TRY(rules_of(a, bucket, &rules));
    if (!rules)
        return KIST_OK;
    enum kist_err err = version_newest(&a->read, &a->arena, bucket->id, key, &row, &marker);
    if (err == KIST_E_NOT_FOUND || (err == KIST_OK && !marker->delete_marker))
        return KIST_OK;
    TRY(err);
    TRY(apply_unschedule(a, bucket, key, LIFECYCLE_MARKER, marker));
    marker->noncurrent_ms = now_ms;
    TRY(apply_set(a, &row, marker));
    struct lifecycle_subject s = subject_of(key, LIFECYCLE_NONCURRENT, marker);
    return put_due(a, bucket, key, marker->data_id, s.kind, lifecycle_due(rules, &s, NULL));
}

/* *marker NULL: there is more, or nothing. */
static enum kist_err lone_marker(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                 Kist__Object **marker)
{
    struct row_key row;
    struct history h;
    struct bytes value;
    *marker = NULL;
    row_object(&row, bucket->id, key);
    enum kist_err err = kv_get(&a->read, row_bytes(&row), &value);
    if (err != KIST_E_NOT_FOUND)
        return err;
    err = history_open(a, bucket, key, &h);
    if (err == KIST_OK)
        kv_cursor_close(h.cursor);
    if (err != KIST_E_NOT_FOUND)
        return err;
    Kist__Object *newest = NULL;
    err = version_newest(&a->read, &a->arena, bucket->id, key, &row, &newest);
    if (err == KIST_OK && newest->delete_marker)
        *marker = newest;
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

enum kist_err apply_schedule_lone_marker(struct apply *a, const Kist__Bucket *bucket,
                                         struct bytes key)
{
    Kist__Lifecycle *rules;
    Kist__Object *marker;
    TRY(rules_of(a, bucket, &rules));
    if (!rules)
        return KIST_OK;
    TRY(lone_marker(a, bucket, key, &marker));
    return marker ? apply_schedule(a, bucket, key, LIFECYCLE_MARKER, marker) : KIST_OK;
}

/* ---- new rules ---- */

enum kist_err apply_begin_backfill(struct apply *a, const Kist__Bucket *bucket)
{
    struct row_key key;
    Kist__Backfill row = KIST__BACKFILL__INIT;
    row_backfill(&key, bucket->id);
    if (!(bucket->configs >> CONFIG_LIFECYCLE & 1)) {
        apply_drop(a, &key);
        return KIST_OK;
    }
    a->result->made_due = true;
    row.bucket = bucket->name;
    return apply_set(a, &key, &row);
}

static enum kist_err backfill_row(struct apply *a, const Kist__Bucket *bucket, struct bytes row,
                                  struct bytes value)
{
    Kist__Object *o = NULL;
    Kist__Upload *u = NULL;
    struct bytes key = row_s3_key(row);
    if (row.ptr[0] == ROW_UPLOAD) {
        TRY(schema_unpack(&kist__upload__descriptor, value, &a->arena, &u));
        return apply_schedule_upload(a, bucket, u);
    }
    TRY(schema_unpack(&kist__object__descriptor, value, &a->arena, &o));
    if (row.ptr[0] == ROW_OBJECT)
        return apply_schedule(a, bucket, key, LIFECYCLE_CURRENT, o);
    bool noncurrent;
    TRY(is_noncurrent(a, bucket, key, o, &noncurrent));
    return noncurrent ? apply_schedule(a, bucket, key, LIFECYCLE_NONCURRENT, o)
                      : apply_schedule_lone_marker(a, bucket, key);
}

/* Rows of one table behind `after`, at most *left of them; the last one's key goes to *last. */
static enum kist_err backfill_table(struct apply *a, const Kist__Bucket *bucket,
                                    enum row_table table, struct bytes after, uint32_t *left,
                                    struct row_key *last)
{
    struct row_key start;
    struct kv_cursor *cursor;
    struct bytes row, value;
    row_start(&start, table);
    row_add_u64(&start, bucket->id);
    size_t prefix = start.len;
    if (after.len && after.ptr[0] == table) {
        start.len = 0;
        row_add(&start, after);
        row_add(&start, bytes_of("", 1));
    }
    TRY(kv_cursor_open(&a->read, &cursor));
    struct arena_mark mark = arena_mark(&a->arena);
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&start), &row, &value);
    while (err == KIST_OK && *left && bytes_starts_with(row, bytes_of(start.data, prefix))) {
        arena_rewind(&a->arena, mark);
        last->len = 0;
        row_add(last, row);
        size_t before = kv_mark(a->kv);
        if (backfill_row(a, bucket, row, value) != KIST_OK) {
            kv_undo(a->kv, before);
            a->result->skipped++;
        }
        --*left;
        err = kv_cursor_next(cursor, &row, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

enum kist_err apply_backfill_step(struct apply *a, const Kist__BackfillStep *c)
{
    static const enum row_table tables[] = { ROW_OBJECT, ROW_UPLOAD, ROW_VERSION };
    struct row_key key, last = { .len = 0 };
    Kist__Backfill *todo = NULL;
    Kist__Bucket *bucket;
    uint32_t left = c->rows_max;
    row_backfill(&key, c->bucket_id);
    enum kist_err err = apply_get(a, &key, &kist__backfill__descriptor, &todo);
    if (err == KIST_E_CORRUPT) { /* of which bucket nobody can say */
        a->result->skipped++;
        apply_drop(a, &key);
        return KIST_OK;
    }
    TRY(err);
    err = apply_bucket(a, todo->bucket, &bucket);
    if (err == KIST_E_NO_BUCKET || (err == KIST_OK && bucket->id != c->bucket_id)) {
        apply_drop(a, &key);
        return KIST_OK;
    }
    TRY(err);
    struct bytes after = schema_bytes(todo->after);
    for (size_t i = 0; i < ARRAY_LEN(tables) && left; i++)
        if (!after.len || tables[i] >= after.ptr[0])
            TRY(backfill_table(a, bucket, tables[i], after, &left, &last));
    if (left) {
        apply_drop(a, &key);
        return KIST_OK;
    }
    todo->after = schema_data(row_bytes(&last));
    return apply_set(a, &key, todo);
}

/* ---- what is due ---- */

struct due {
    int64_t ms;
    uint64_t bucket_id, id;
    struct bytes key;
    enum lifecycle_kind kind;
};

static bool read_due(struct bytes row, struct due *out)
{
    if (row.len < 1 + 8 + 8 + 1 + 8 + 1 || row.ptr[0] != ROW_DUE)
        return false;
    out->ms = (int64_t)row_read_u64(row.ptr + 1);
    out->bucket_id = row_read_u64(row.ptr + 9);
    out->key = bytes_of(row.ptr + 17, row.len - 17 - 10);
    out->id = row_read_u64(row.ptr + row.len - 9);
    out->kind = (enum lifecycle_kind)row.ptr[row.len - 1];
    return true;
}

static enum kist_err expire_upload(struct apply *a, const Kist__Bucket *bucket,
                                   const Kist__Lifecycle *rules, const struct due *d,
                                   int64_t now_ms)
{
    struct row_key row;
    Kist__Upload *u = NULL;
    row_upload(&row, bucket->id, d->key, d->id);
    enum kist_err err = apply_get(a, &row, &kist__upload__descriptor, &u);
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK;
    TRY(err);
    struct lifecycle_subject s = upload_subject(u);
    int64_t due = lifecycle_due(rules, &s, NULL);
    if (due > now_ms)
        return put_due(a, bucket, d->key, d->id, d->kind, due);
    Kist__AbortUpload abort = KIST__ABORT_UPLOAD__INIT;
    abort.bucket = bucket->name;
    abort.key = u->key;
    abort.upload_id = u->id;
    abort.nonce = u->nonce;
    return apply_abort_upload(a, &abort);
}

/* The object that a row reminds of, as it is now; *out NULL: it is gone, or something else. */
static enum kist_err find_subject(struct apply *a, const Kist__Bucket *bucket,
                                  const struct due *d, Kist__Object **out)
{
    struct row_key row;
    Kist__Object *o = NULL;
    *out = NULL;
    if (d->kind == LIFECYCLE_MARKER) {
        TRY(lone_marker(a, bucket, d->key, &o));
        *out = o && o->data_id == d->id ? o : NULL;
        return KIST_OK;
    }
    if (d->kind == LIFECYCLE_CURRENT)
        row_object(&row, bucket->id, d->key);
    else
        row_version(&row, bucket->id, d->key, d->id);
    enum kist_err err = apply_get(a, &row, &kist__object__descriptor, &o);
    if (err == KIST_E_NOT_FOUND || (err == KIST_OK && o->data_id != d->id))
        return KIST_OK;
    TRY(err);
    bool fits = true;
    if (d->kind == LIFECYCLE_NONCURRENT)
        TRY(is_noncurrent(a, bucket, d->key, o, &fits));
    *out = fits ? o : NULL;
    return KIST_OK;
}

static enum kist_err expire_object(struct apply *a, const Kist__Bucket *bucket,
                                   const Kist__Lifecycle *rules, const struct due *d,
                                   int64_t now_ms)
{
    Kist__Object *o;
    TRY(find_subject(a, bucket, d, &o));
    if (!o)
        return KIST_OK;
    struct lifecycle_subject s = subject_of(d->key, d->kind, o);
    if (d->kind == LIFECYCLE_NONCURRENT)
        TRY(count_newer(a, bucket, d->key, d->id, &s.newer));
    int64_t due = lifecycle_due(rules, &s, NULL);
    bool keeps_data = d->kind == LIFECYCLE_CURRENT && bucket->versioning != VERSIONING_NEVER;
    if (due <= now_ms && !keeps_data && version_is_locked(o, now_ms, false))
        due =
            o->legal_hold || o->retain_until_ms <= now_ms ? now_ms + DAY_MS : o->retain_until_ms;
    if (due > now_ms)
        return put_due(a, bucket, d->key, d->id, d->kind, due);
    Kist__DeleteKey key = KIST__DELETE_KEY__INIT;
    Kist__DeleteObjects all = KIST__DELETE_OBJECTS__INIT;
    struct delete_result result = { .err = KIST_OK };
    all.now_ms = now_ms;
    key.key = schema_data(d->key);
    if (d->kind != LIFECYCLE_CURRENT)
        key.version = o->version ? o->version : VERSION_NULL;
    enum kist_err err = apply_delete_key(a, bucket, &key, &all, &result);
    return err == KIST_E_NO_KEY ? KIST_OK : err;
}

static enum kist_err expire_row(struct apply *a, const struct row_key *row, int64_t now_ms)
{
    struct due d;
    Kist__Due *due = NULL;
    Kist__Bucket *bucket = NULL;
    Kist__Lifecycle *rules = NULL;
    enum kist_err err = apply_get(a, row, &kist__due__descriptor, &due);
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK;
    TRY(err);
    if (!read_due(row_bytes(row), &d))
        return KIST_E_CORRUPT;
    apply_drop(a, row);
    err = apply_bucket(a, due->bucket, &bucket);
    if (err == KIST_E_NO_BUCKET || (err == KIST_OK && bucket->id != d.bucket_id))
        return KIST_OK;
    TRY(err);
    TRY(rules_of(a, bucket, &rules));
    if (!rules)
        return KIST_OK;
    return d.kind == LIFECYCLE_UPLOAD ? expire_upload(a, bucket, rules, &d, now_ms)
                                      : expire_object(a, bucket, rules, &d, now_ms);
}

/* What cannot be done must not stop what is due behind it: it comes again in a day, unless the
 * reminder itself is what is damaged. */
static enum kist_err postpone(struct apply *a, const struct row_key *row, int64_t now_ms)
{
    struct due d;
    struct row_key later;
    Kist__Due *due = NULL;
    a->result->skipped++;
    enum kist_err err = apply_get(a, row, &kist__due__descriptor, &due);
    apply_drop(a, row);
    if (err != KIST_OK || !read_due(row_bytes(row), &d))
        return KIST_OK;
    row_due(&later, now_ms + DAY_MS, d.bucket_id, d.key, d.id, (uint8_t)d.kind);
    a->result->made_due = true;
    return apply_set(a, &later, due);
}

enum kist_err apply_expire(struct apply *a, const Kist__Expire *c)
{
    struct arena_mark mark = arena_mark(&a->arena);
    for (size_t i = 0; i < c->n_due_keys; i++, arena_rewind(&a->arena, mark)) {
        struct row_key row = { .len = 0 };
        struct bytes key = schema_bytes(c->due_keys[i]);
        if (key.len == 0 || key.len > sizeof(row.data) || key.ptr[0] != ROW_DUE)
            return KIST_E_INVALID;
        row_add(&row, key);
        size_t before = kv_mark(a->kv);
        if (expire_row(a, &row, c->now_ms) == KIST_OK)
            continue;
        kv_undo(a->kv, before);
        arena_rewind(&a->arena, mark);
        TRY(postpone(a, &row, c->now_ms));
    }
    return KIST_OK;
}
