#include "storage/object/walk.h"

enum kist_err store_bucket_usage(struct store *s, uint64_t bucket_id, struct arena *arena,
                                 Kist__Usage **out)
{
    struct kv_read read;
    struct row_key key;
    row_usage_bucket(&key, bucket_id);
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup(&read, &key, &kist__usage__descriptor, arena, out);
    kv_read_end(&read);
    if (err != KIST_E_NOT_FOUND)
        return err;
    Kist__Usage *none = arena_alloc(arena, sizeof(*none));
    if (!none)
        return KIST_E_NOMEM;
    kist__usage__init(none);
    *out = none;
    return KIST_OK;
}

struct usage_list {
    bool (*each)(void *ctx, const struct usage_row *row);
    void *ctx;
};

/* What is before the next NUL, which is stepped over; all of it where there is none. */
static struct bytes take_text(struct bytes *key)
{
    size_t len = bytes_find(*key, bytes_of("", 1), 0);
    size_t skip = len == SIZE_MAX ? key->len : len + 1;
    struct bytes text = bytes_of(key->ptr, len == SIZE_MAX ? key->len : len);
    *key = bytes_of(key->ptr + skip, key->len - skip);
    return text;
}

static enum kist_err on_usage(void *ctx, struct walk *w, bool *more)
{
    struct usage_list *l = ctx;
    struct usage_row row = { .day = 0 };
    Kist__Usage *usage = NULL;
    bool daily = w->row.ptr[1] == USAGE_BY_DAY;
    struct bytes key = bytes_of(w->row.ptr + 2, w->row.len - 2);
    if (daily && key.len < 4)
        return KIST_E_CORRUPT;
    if (daily) {
        row.day = row_read_u32(key.ptr);
        key = bytes_of(key.ptr + 4, key.len - 4);
    }
    row.account = take_text(&key);
    row.who = take_text(&key);
    if (daily && key.len != 8)
        return KIST_E_CORRUPT;
    row.bucket_id = daily ? row_read_u64(key.ptr) : 0;
    TRY(schema_unpack(&kist__usage__descriptor, w->value, &w->rows, &usage));
    row.usage = usage;
    *more = l->each(l->ctx, &row);
    return KIST_OK;
}

static enum kist_err list(struct store *s, enum usage_by by, struct bytes after,
                          struct bytes after_who, struct usage_list *l)
{
    struct row_key base, start;
    row_usage(&base, by);
    start = base;
    if (after.len + after_who.len > 512)
        return KIST_E_INVALID;
    if (after.len || after_who.len) {
        if (by == USAGE_BY_FUNCTION)
            row_usage_function(&start, after, after_who);
        else
            row_usage_principal(&start, after, after_who);
        row_add(&start, bytes_of("", 1));
    }
    return walk_rows(s, &start, &base, on_usage, l);
}

enum kist_err store_list_usage(struct store *s, struct bytes after, struct bytes after_who,
                               bool (*each)(void *ctx, const struct usage_row *row), void *ctx)
{
    return list(s, USAGE_BY_PRINCIPAL, after, after_who, &(struct usage_list){ each, ctx });
}

enum kist_err store_list_function_usage(struct store *s, struct bytes after,
                                        struct bytes after_name,
                                        bool (*each)(void *ctx, const struct usage_row *row),
                                        void *ctx)
{
    return list(s, USAGE_BY_FUNCTION, after, after_name, &(struct usage_list){ each, ctx });
}

enum kist_err store_list_usage_days(struct store *s, uint32_t first_day,
                                    bool (*each)(void *ctx, const struct usage_row *row),
                                    void *ctx)
{
    struct usage_list l = { each, ctx };
    struct row_key base, start;
    row_usage(&base, USAGE_BY_DAY);
    start = base;
    row_add_u32(&start, first_day);
    return walk_rows(s, &start, &base, on_usage, &l);
}
