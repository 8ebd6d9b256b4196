#include <pthread.h>

#include "storage/object/walk.h"

/* ---- one account ---- */

static enum kist_err by_id(struct kv_read *read, struct bytes id, struct arena *arena,
                           Kist__Account **out)
{
    struct row_key row;
    if (id.len != ACCOUNT_ID_LEN)
        return KIST_E_NOT_FOUND;
    row_account(&row, id);
    return lookup(read, &row, &kist__account__descriptor, arena, out);
}

enum kist_err store_account(struct store *s, struct bytes id, struct arena *arena,
                            Kist__Account **out)
{
    struct kv_read read;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = by_id(&read, id, arena, out);
    kv_read_end(&read);
    return err;
}

static enum kist_err by_pointer(struct store *s, enum account_by by, struct bytes value,
                                struct arena *arena, Kist__Account **out)
{
    struct kv_read read;
    struct row_key row;
    Kist__Account *pointer;
    if (value.len > IAM_NAME_MAX)
        return KIST_E_NOT_FOUND;
    row_account_by(&row, by, value);
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = lookup(&read, &row, &kist__account__descriptor, arena, &pointer);
    if (err == KIST_OK)
        err = by_id(&read, bytes_str(pointer->id), arena, out);
    kv_read_end(&read);
    return err;
}

enum kist_err store_account_named(struct store *s, struct bytes name, struct arena *arena,
                                  Kist__Account **out)
{
    return by_pointer(s, ACCOUNT_BY_NAME, name, arena, out);
}

enum kist_err store_account_canonical(struct store *s, struct bytes canonical,
                                      struct arena *arena, Kist__Account **out)
{
    return by_pointer(s, ACCOUNT_BY_CANONICAL, canonical, arena, out);
}

enum kist_err store_account_first(struct store *s, struct arena *arena, Kist__Account **out)
{
    return by_pointer(s, ACCOUNT_FIRST, BYTES_EMPTY, arena, out);
}

/* ---- lists ---- */

struct account_list {
    bool (*each)(void *ctx, const Kist__Account *account);
    void *ctx;
};

static enum kist_err on_account(void *ctx, struct walk *w, bool *more)
{
    struct account_list *l = ctx;
    Kist__Account *account;
    if (w->row.len != 1 + ACCOUNT_ID_LEN || w->row.ptr[1] > '9') { /* pointers follow */
        *more = false;
        return KIST_OK;
    }
    TRY(schema_unpack(&kist__account__descriptor, w->value, &w->rows, &account));
    *more = l->each(l->ctx, account);
    return KIST_OK;
}

enum kist_err store_list_accounts(struct store *s,
                                  bool (*each)(void *ctx, const Kist__Account *account),
                                  void *ctx)
{
    struct account_list l = { each, ctx };
    struct row_key base;
    row_start(&base, ROW_ACCOUNT);
    return walk_rows(s, &base, &base, on_account, &l);
}

struct bucket_list {
    bool (*each)(void *ctx, const Kist__Bucket *bucket);
    void *ctx;
    size_t head; /* of a row's key, before the bucket's name */
};

static enum kist_err on_own_bucket(void *ctx, struct walk *w, bool *more)
{
    struct bucket_list *l = ctx;
    Kist__Bucket *bucket = NULL;
    struct bytes name = bytes_of(w->row.ptr + l->head, w->row.len - l->head);
    enum kist_err err = lookup_bucket(&w->read, name, &w->rows, &bucket);
    if (err == KIST_OK)
        *more = l->each(l->ctx, bucket);
    return err == KIST_E_NO_BUCKET ? KIST_OK : err;
}

/* The first account has no rows of its own: its buckets are those that are nobody else's. */
struct first_filter {
    struct store *s;
    bool (*each)(void *ctx, const Kist__Bucket *bucket);
    void *ctx;
    struct bytes own;
    char last[CANONICAL_ID_LEN + 1]; /* owner that was looked up last */
    bool last_is_tenant;
    enum kist_err err;
};

static bool is_tenant(struct first_filter *f, const char *owner)
{
    struct arena arena;
    Kist__Account *account = NULL;
    if (strcmp(owner, f->last) == 0)
        return f->last_is_tenant;
    arena_init(&arena, 64 << 10);
    enum kist_err err = store_account_canonical(f->s, bytes_str(owner), &arena, &account);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        f->err = err;
    f->last_is_tenant = err == KIST_OK && !account->first;
    arena_release(&arena);
    if (strlen(owner) < sizeof(f->last))
        memcpy(f->last, owner, strlen(owner) + 1);
    return f->last_is_tenant;
}

static bool filter_first(void *ctx, const Kist__Bucket *bucket)
{
    struct first_filter *f = ctx;
    bool own = bytes_equal(bytes_str(bucket->owner), f->own) || !is_tenant(f, bucket->owner);
    return f->err == KIST_OK && (!own || f->each(f->ctx, bucket));
}

enum kist_err store_list_own_buckets(struct store *s, struct bytes canonical, struct bytes prefix,
                                     struct bytes after,
                                     bool (*each)(void *ctx, const Kist__Bucket *bucket),
                                     void *ctx)
{
    struct first_filter f = { .s = s, .each = each, .ctx = ctx, .own = canonical };
    struct row_key base, start;
    char owner[CANONICAL_ID_LEN + 1] = "";
    if (prefix.len > 255 || after.len > 255 || canonical.len > CANONICAL_ID_LEN)
        return KIST_OK;
    memcpy(owner, canonical.ptr, canonical.len);
    if (!is_tenant(&f, owner)) {
        TRY(f.err);
        TRY(store_list_buckets(s, prefix, after, filter_first, &f));
        return f.err;
    }
    struct bucket_list l = { each, ctx, 2 + canonical.len };
    row_account_bucket(&base, canonical, prefix);
    row_account_bucket(&start, canonical, bytes_compare(after, prefix) > 0 ? after : prefix);
    if (after.len && bytes_compare(after, prefix) >= 0)
        row_add(&start, bytes_of("", 1));
    return walk_rows(s, &start, &base, on_own_bucket, &l);
}

/* ---- waiting ---- */

struct waiting {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

static void commit_done(struct store_op *op)
{
    struct waiting *w = op->user;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

enum kist_err store_commit(struct store *s, const Kist__Command *command)
{
    struct waiting w = { .done = false };
    struct store_op op;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.wake, NULL);
    store_op_init(&op, commit_done, &w);
    store_submit(s, &op, command);
    if (s->config.manual)
        while (!w.done && store_step(s))
            ;
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.wake, &w.lock);
    pthread_mutex_unlock(&w.lock);
    enum kist_err err = op.err;
    store_op_release(&op);
    pthread_cond_destroy(&w.wake);
    pthread_mutex_destroy(&w.lock);
    return err;
}
