/* Listings: cursor walks whose cost is what they return.
 *
 * A delimiter's common prefix is delivered once and then skipped with one seek behind all its
 * keys; a continuation starts with one seek.
 */
#include "storage/object/walk.h"

enum kist_err store_list(struct store *s, struct bytes bucket, const struct list_query *query,
                         struct arena *arena, struct list_page *page)
{
    struct walk w = { .prefix = query->prefix, .delimiter = query->delimiter };
    if (query->prefix.len > 1024 || query->after.len > 1024)
        return KIST_E_INVALID;
    TRY(walk_open(s, &w, ROW_OBJECT, bucket, arena));
    struct row_key start = w.base;
    row_add(&start, query->after);
    row_add(&start, bytes_of("\0\0", 2)); /* behind the key's own row */
    enum kist_err err = walk_begin(&w, query->after, &start);
    size_t count = 0;
    bool more = true;
    page->truncated = false;
    page->last = BYTES_EMPTY;
    while (err == KIST_OK && more) {
        if (count == query->max) {
            page->truncated = true;
            break;
        }
        struct bytes key = row_s3_key(w.row);
        struct bytes common = walk_common_prefix(key, w.prefix, w.delimiter);
        Kist__Object *object = NULL;
        struct bytes item = arena_copy(arena, common.len ? common : key);
        arena_clear(&w.rows);
        if (!item.ptr)
            err = KIST_E_NOMEM;
        else if (!common.len)
            err = schema_unpack(&kist__object__descriptor, w.value, &w.rows, &object);
        if (err != KIST_OK)
            break;
        more = page->each(page->ctx, item, object);
        page->last = item;
        count++;
        err = common.len ? walk_skip_prefix(&w, item) : walk_next(&w);
    }
    walk_close(&w);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

enum kist_err store_list_uploads(struct store *s, struct bytes bucket,
                                 const struct upload_query *query, struct arena *arena,
                                 struct upload_page *page)
{
    struct walk w = { .prefix = query->prefix, .delimiter = query->delimiter };
    if (query->prefix.len > 1024 || query->after_key.len > 1024)
        return KIST_E_INVALID;
    TRY(walk_open(s, &w, ROW_UPLOAD, bucket, arena));
    struct row_key start = w.base;
    row_add(&start, query->after_key);
    row_add(&start, bytes_of("", 1));
    row_add_u64(&start, query->after_id);
    row_add(&start, bytes_of("", 1));
    enum kist_err err = walk_begin(&w, query->after_key, &start);
    size_t count = 0;
    bool more = true;
    page->truncated = false;
    page->last_key = BYTES_EMPTY;
    page->last_id = UINT64_MAX;
    while (err == KIST_OK && more) {
        if (count == query->max) {
            page->truncated = true;
            break;
        }
        struct bytes common = walk_common_prefix(row_s3_key(w.row), w.prefix, w.delimiter);
        struct bytes item = arena_copy(arena, common.len ? common : row_s3_key(w.row));
        Kist__Upload *upload = NULL;
        arena_clear(&w.rows);
        if (!item.ptr)
            err = KIST_E_NOMEM;
        else if (!common.len)
            err = schema_unpack(&kist__upload__descriptor, w.value, &w.rows, &upload);
        if (err != KIST_OK)
            break;
        more = page->each(page->ctx, item, upload);
        page->last_key = item;
        page->last_id = upload ? upload->id : UINT64_MAX;
        count++;
        err = common.len ? walk_skip_prefix(&w, item) : walk_next(&w);
    }
    walk_close(&w);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

enum kist_err store_list_parts(struct store *s, uint64_t upload_id, uint32_t after, size_t max,
                               bool (*each)(void *ctx, uint32_t number, const Kist__Part *part),
                               void *ctx, bool *truncated)
{
    struct walk w;
    struct row_key start;
    size_t count = 0;
    bool more = true, cut = false;
    arena_init(&w.rows, WALK_ROW_MAX);
    row_part(&start, upload_id, after + 1);
    TRY(kv_read_begin(s->kv, &w.read));
    enum kist_err err = kv_cursor_open(&w.read, &w.cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(w.cursor, row_bytes(&start), &w.row, &w.value);
    while (err == KIST_OK && more && bytes_starts_with(w.row, bytes_of(start.data, 9))) {
        if (count++ == max) {
            cut = true;
            break;
        }
        Kist__Part *part = NULL;
        arena_clear(&w.rows);
        err = schema_unpack(&kist__part__descriptor, w.value, &w.rows, &part);
        if (err == KIST_OK) {
            more = each(ctx, row_read_u32(w.row.ptr + 9), part);
            err = kv_cursor_next(w.cursor, &w.row, &w.value);
        }
    }
    walk_close(&w);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    *truncated = cut;
    return KIST_OK;
}

enum kist_err store_list_buckets(struct store *s, struct bytes prefix, struct bytes after,
                                 bool (*each)(void *ctx, const Kist__Bucket *bucket), void *ctx)
{
    struct walk w;
    struct row_key start, base;
    bool more = true;
    if (prefix.len > 255 || after.len > 255)
        return KIST_OK;
    arena_init(&w.rows, WALK_ROW_MAX);
    row_bucket(&base, prefix);
    row_bucket(&start, bytes_compare(after, prefix) > 0 ? after : prefix);
    if (after.len && bytes_compare(after, prefix) >= 0)
        row_add(&start, bytes_of("", 1));
    TRY(kv_read_begin(s->kv, &w.read));
    enum kist_err err = kv_cursor_open(&w.read, &w.cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(w.cursor, row_bytes(&start), &w.row, &w.value);
    while (err == KIST_OK && more && bytes_starts_with(w.row, row_bytes(&base))) {
        Kist__Bucket *bucket = NULL;
        arena_clear(&w.rows);
        err = schema_unpack(&kist__bucket__descriptor, w.value, &w.rows, &bucket);
        bool hidden = err == KIST_OK && bucket->name[0] == '.';
        if (err == KIST_OK) {
            more = hidden || each(ctx, bucket);
            err = kv_cursor_next(w.cursor, &w.row, &w.value);
        }
    }
    walk_close(&w);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}
