#include "storage/object/store_internal.h"

static enum kist_err get(struct store *s, struct bytes account, uint8_t kind, struct bytes name,
                         struct arena *arena, Kist__IamEntity **out)
{
    struct kv_read read;
    struct row_key row;
    if (name.len == 0 || name.len > IAM_NAME_MAX ||
        (account.len && account.len != ACCOUNT_ID_LEN))
        return KIST_E_NOT_FOUND;
    row_iam(&row, account, kind, name);
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup(&read, &row, &kist__iam_entity__descriptor, arena, out);
    kv_read_end(&read);
    return err;
}

enum kist_err store_iam(struct store *s, struct bytes account, enum iam_kind kind,
                        struct bytes name, struct arena *arena, Kist__IamEntity **out)
{
    return get(s, kind == IAM_KEY ? BYTES_EMPTY : account, (uint8_t)kind, name, arena, out);
}

enum kist_err store_iam_stamp(struct store *s, uint64_t *out)
{
    struct arena arena;
    Kist__IamEntity *stamp = NULL;
    arena_init(&arena, 4 << 10);
    enum kist_err err = get(s, BYTES_EMPTY, 0, BYTES_LIT("changed"), &arena, &stamp);
    if (err == KIST_OK || err == KIST_E_NOT_FOUND)
        *out = stamp ? stamp->changed : 0;
    arena_release(&arena);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

enum kist_err store_list_iam(struct store *s, struct bytes account, enum iam_kind kind,
                             struct bytes after,
                             bool (*each)(void *ctx, const Kist__IamEntity *entity), void *ctx)
{
    struct kv_read read;
    struct kv_cursor *cursor = NULL;
    struct row_key base, start;
    struct arena arena;
    struct bytes key, value;
    bool more = true;
    if (after.len > IAM_NAME_MAX || (account.len && account.len != ACCOUNT_ID_LEN))
        return KIST_OK;
    row_iam(&base, account, (uint8_t)kind, BYTES_EMPTY);
    row_iam(&start, account, (uint8_t)kind, after);
    if (after.len)
        row_add(&start, bytes_of("", 1));
    arena_init(&arena, (size_t)4 << 20);
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = kv_cursor_open(&read, &cursor);
    if (err == KIST_OK)
        err = kv_cursor_seek(cursor, row_bytes(&start), &key, &value);
    while (err == KIST_OK && more && bytes_starts_with(key, row_bytes(&base))) {
        Kist__IamEntity *entity = NULL;
        arena_clear(&arena);
        err = schema_unpack(&kist__iam_entity__descriptor, value, &arena, &entity);
        if (err == KIST_OK) {
            more = each(ctx, entity);
            err = kv_cursor_next(cursor, &key, &value);
        }
    }
    kv_cursor_close(cursor);
    kv_read_end(&read);
    arena_release(&arena);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}
