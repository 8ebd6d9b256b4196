#include "storage/object/walk.h"

/* The smallest key above every key with this prefix: the last byte below 0xFF plus one. UTF-8
 * has no 0xFF, so it always exists for non-empty prefixes. False: there is none. */
static bool key_after_prefix(struct row_key *k, size_t keep)
{
    while (k->len > keep && k->data[k->len - 1] == 0xFF)
        k->len--;
    if (k->len == keep)
        return false;
    k->data[k->len - 1]++;
    return true;
}

struct bytes walk_common_prefix(struct bytes key, struct bytes prefix, struct bytes delimiter)
{
    if (delimiter.len == 0)
        return BYTES_EMPTY;
    size_t at = bytes_find(key, delimiter, prefix.len);
    return at == SIZE_MAX ? BYTES_EMPTY : bytes_of(key.ptr, at + delimiter.len);
}

enum kist_err walk_open(struct store *s, struct walk *w, enum row_table table,
                        struct bytes bucket, struct arena *arena)
{
    Kist__Bucket *b = NULL;
    arena_init(&w->rows, WALK_ROW_MAX);
    w->cursor = NULL;
    TRY(kv_read_begin(s->kv, &w->read));
    enum kist_err err = lookup_bucket(&w->read, bucket, arena, &b);
    if (err == KIST_OK)
        err = kv_cursor_open(&w->read, &w->cursor);
    if (err != KIST_OK) {
        kv_read_end(&w->read);
        return err;
    }
    row_start(&w->base, table);
    row_add_u64(&w->base, b->id);
    return KIST_OK;
}

void walk_close(struct walk *w)
{
    kv_cursor_close(w->cursor);
    kv_read_end(&w->read);
    arena_release(&w->rows);
}

/* KIST_E_NOT_FOUND where the bucket or the prefix ends. */
static enum kist_err walk_check(const struct walk *w, enum kist_err err)
{
    if (err != KIST_OK)
        return err;
    if (!bytes_starts_with(w->row, row_bytes(&w->base)))
        return KIST_E_NOT_FOUND;
    return bytes_starts_with(row_s3_key(w->row), w->prefix) ? KIST_OK : KIST_E_NOT_FOUND;
}

enum kist_err walk_seek(struct walk *w, const struct row_key *to)
{
    return walk_check(w, kv_cursor_seek(w->cursor, row_bytes(to), &w->row, &w->value));
}

enum kist_err walk_next(struct walk *w)
{
    return walk_check(w, kv_cursor_next(w->cursor, &w->row, &w->value));
}

enum kist_err walk_skip_prefix(struct walk *w, struct bytes common)
{
    struct row_key to = w->base;
    row_add(&to, common);
    if (!key_after_prefix(&to, w->base.len))
        return KIST_E_NOT_FOUND;
    return walk_seek(w, &to);
}

enum kist_err walk_begin(struct walk *w, struct bytes after, const struct row_key *start)
{
    if (after.ptr && bytes_compare(after, w->prefix) >= 0) {
        struct bytes common = bytes_starts_with(after, w->prefix)
                                  ? walk_common_prefix(after, w->prefix, w->delimiter)
                                  : BYTES_EMPTY;
        if (common.len && common.len == after.len)
            return walk_skip_prefix(w, common);
        return walk_seek(w, start);
    }
    struct row_key to = w->base;
    row_add(&to, w->prefix);
    return walk_seek(w, &to);
}

enum kist_err walk_rows(struct store *s, const struct row_key *start, const struct row_key *base,
                        enum kist_err (*each)(void *ctx, struct walk *w, bool *more), void *ctx)
{
    struct walk w = { .cursor = NULL };
    bool more = true;
    arena_init(&w.rows, WALK_ROW_MAX);
    TRY(kv_read_begin(s->kv, &w.read));
    enum kist_err err = kv_cursor_open(&w.read, &w.cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(w.cursor, row_bytes(start), &w.row, &w.value);
    while (err == KIST_OK && more && bytes_starts_with(w.row, row_bytes(base))) {
        arena_clear(&w.rows);
        err = each(ctx, &w, &more);
        if (err == KIST_OK)
            err = kv_cursor_next(w.cursor, &w.row, &w.value);
    }
    walk_close(&w);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}
