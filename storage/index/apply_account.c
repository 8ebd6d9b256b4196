/* Accounts: the tenants of a store. An account is one row and three that point to it: by its
 * canonical id, by its name, and (for the first) by being the first. */
#include "storage/index/apply_internal.h"

enum kist_err apply_holds_any(struct apply *a, const struct row_key *prefix, bool *any)
{
    struct kv_cursor *cursor;
    struct bytes key, value;
    TRY(kv_cursor_open(&a->read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(prefix), &key, &value);
    bool found = err == KIST_OK && bytes_starts_with(key, row_bytes(prefix));
    kv_cursor_close(cursor);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    *any = found;
    return KIST_OK;
}

/* ---- owners ---- */

/* *out NULL: the id is none that a further account has, so it is the first account's. */
static enum kist_err tenant_of(struct apply *a, const char *canonical, Kist__Account **out)
{
    struct row_key row, first;
    Kist__Account *pointer = NULL, *one = NULL;
    struct bytes id = bytes_str(canonical);
    *out = NULL;
    if (id.len == 0 || id.len > CANONICAL_ID_LEN)
        return KIST_OK;
    row_account_by(&row, ACCOUNT_BY_CANONICAL, id);
    enum kist_err err = apply_get(a, &row, &kist__account__descriptor, &pointer);
    if (err != KIST_OK)
        return err == KIST_E_NOT_FOUND ? KIST_OK : err;
    row_account_by(&first, ACCOUNT_FIRST, BYTES_EMPTY);
    err = apply_get(a, &first, &kist__account__descriptor, &one);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    if (!one || strcmp(one->id, pointer->id) != 0)
        *out = pointer;
    return KIST_OK;
}

enum kist_err apply_same_owner(struct apply *a, const char *x, const char *y, bool *same)
{
    Kist__Account *of_x, *of_y;
    TRY(tenant_of(a, x, &of_x));
    TRY(tenant_of(a, y, &of_y));
    *same = of_x && of_y ? strcmp(of_x->id, of_y->id) == 0 : of_x == of_y;
    return KIST_OK;
}

enum kist_err apply_own_bucket(struct apply *a, const Kist__Bucket *bucket, bool owns)
{
    struct row_key row;
    Kist__Account *tenant;
    TRY(tenant_of(a, bucket->owner, &tenant));
    if (!tenant)
        return KIST_OK;
    row_account_bucket(&row, bytes_str(bucket->owner), bytes_str(bucket->name));
    if (owns)
        return apply_set(a, &row, tenant);
    apply_drop(a, &row);
    return KIST_OK;
}

/* ---- put ---- */

static bool is_sound(const Kist__Account *account)
{
    size_t name = strlen(account->name);
    if (strlen(account->id) != ACCOUNT_ID_LEN || strlen(account->canonical) != CANONICAL_ID_LEN)
        return false;
    for (size_t i = 0; i < ACCOUNT_ID_LEN; i++)
        if (account->id[i] < '0' || account->id[i] > '9')
            return false;
    return name > 0 && name <= IAM_NAME_MAX;
}

struct pointers {
    struct row_key rows[3];
    size_t count;
};

static void pointers_of(const Kist__Account *account, struct pointers *p)
{
    row_account_by(&p->rows[0], ACCOUNT_BY_CANONICAL, bytes_str(account->canonical));
    row_account_by(&p->rows[1], ACCOUNT_BY_NAME, bytes_str(account->name));
    row_account_by(&p->rows[2], ACCOUNT_FIRST, BYTES_EMPTY);
    p->count = account->first ? 3 : 2;
}

/* Nobody else may have the id, the name, or be the first. */
static enum kist_err point(struct apply *a, const Kist__Account *account)
{
    struct pointers p;
    Kist__Account pointer = KIST__ACCOUNT__INIT;
    bool taken = false;
    pointer.id = account->id;
    pointers_of(account, &p);
    for (size_t i = 0; i < p.count; i++) {
        Kist__Account *existing;
        enum kist_err err = apply_get(a, &p.rows[i], &kist__account__descriptor, &existing);
        if (err != KIST_OK && err != KIST_E_NOT_FOUND)
            return err;
        taken = taken || err == KIST_OK;
    }
    if (taken)
        return KIST_E_CONFLICT;
    for (size_t i = 0; i < p.count; i++)
        TRY(apply_set(a, &p.rows[i], &pointer));
    return KIST_OK;
}

enum kist_err apply_put_account(struct apply *a, const Kist__PutAccount *c)
{
    struct row_key row;
    Kist__Account *now = NULL;
    if (!c->account || !is_sound(c->account))
        return KIST_E_INVALID;
    row_account(&row, bytes_str(c->account->id));
    enum kist_err err = apply_get(a, &row, &kist__account__descriptor, &now);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    if ((now ? now->changed : 0) != c->expected)
        return KIST_E_CONFLICT;
    if (now && (strcmp(now->canonical, c->account->canonical) != 0 ||
                strcmp(now->name, c->account->name) != 0 || now->first != c->account->first))
        return KIST_E_INVALID;
    TRY(apply_iam_check(a, c->n_changes, c->changes));
    if (!now)
        TRY(point(a, c->account));
    c->account->changed = a->input->index;
    TRY(apply_set(a, &row, c->account));
    return apply_iam_changes(a, c->n_changes, c->changes);
}

/* ---- delete ---- */

static enum kist_err owns_any(struct apply *a, const Kist__Account *account, bool *any)
{
    static const enum iam_kind kinds[] = { IAM_USER, IAM_GROUP, IAM_ROLE, IAM_POLICY,
                                           IAM_OIDC_PROVIDER };
    static const enum record_kind records[] = { RECORD_FUNCTION, RECORD_LAYER_VERSION,
                                                RECORD_EVENT_TARGET, RECORD_SCHEDULE };
    struct row_key prefix;
    row_account_bucket(&prefix, bytes_str(account->canonical), BYTES_EMPTY);
    TRY(apply_holds_any(a, &prefix, any));
    for (size_t i = 0; i < ARRAY_LEN(kinds) && !*any; i++) {
        row_iam(&prefix, bytes_str(account->id), (uint8_t)kinds[i], BYTES_EMPTY);
        TRY(apply_holds_any(a, &prefix, any));
    }
    for (size_t i = 0; i < ARRAY_LEN(records) && !*any; i++) {
        row_record(&prefix, (uint8_t)records[i], bytes_str(account->id), BYTES_EMPTY);
        TRY(apply_holds_any(a, &prefix, any));
    }
    return KIST_OK;
}

enum kist_err apply_delete_account(struct apply *a, const Kist__DeleteAccount *c)
{
    struct row_key row;
    struct pointers p;
    Kist__Account *account;
    bool any = true;
    if (strlen(c->id) != ACCOUNT_ID_LEN)
        return KIST_E_NOT_FOUND;
    row_account(&row, bytes_str(c->id));
    TRY(apply_get(a, &row, &kist__account__descriptor, &account));
    if (account->first)
        return KIST_E_BUCKET_STATE;
    TRY(owns_any(a, account, &any));
    if (any)
        return KIST_E_BUCKET_NOT_EMPTY;
    apply_drop(a, &row);
    pointers_of(account, &p);
    for (size_t i = 0; i < p.count; i++)
        apply_drop(a, &p.rows[i]);
    for (size_t i = 0; i < account->n_keys; i++) {
        row_iam(&row, BYTES_EMPTY, IAM_KEY, bytes_str(account->keys[i]));
        apply_drop(a, &row);
    }
    return apply_iam_changes(a, 0, NULL); /* what was derived from it is void */
}
