/* Users, groups, roles, policies, access keys: read, changed and written back under a check that
 * nobody else did meanwhile. What the changes mean is decided above. */
#include "storage/index/apply_internal.h"

static enum kist_err check(struct apply *a, const Kist__IamChange *c, struct row_key *row)
{
    Kist__IamEntity *now = NULL;
    struct bytes name = bytes_str(c->name), account = bytes_str(c->account);
    if (name.len == 0 || name.len > IAM_NAME_MAX || c->kind < IAM_USER ||
        c->kind >= IAM_KIND_END || (account.len && account.len != ACCOUNT_ID_LEN))
        return KIST_E_INVALID;
    row_iam(row, account, (uint8_t)c->kind, name);
    enum kist_err err = apply_get(a, row, &kist__iam_entity__descriptor, &now);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    return (now ? now->changed : 0) == c->expected ? KIST_OK : KIST_E_CONFLICT;
}

enum kist_err apply_iam_check(struct apply *a, size_t count, Kist__IamChange **changes)
{
    struct row_key row;
    for (size_t i = 0; i < count; i++)
        TRY(check(a, changes[i], &row));
    return KIST_OK;
}

enum kist_err apply_iam_changes(struct apply *a, size_t count, Kist__IamChange **changes)
{
    struct row_key row;
    Kist__IamEntity stamp = KIST__IAM_ENTITY__INIT;
    for (size_t i = 0; i < count; i++) {
        Kist__IamEntity *entity = changes[i]->entity;
        row_iam(&row, bytes_str(changes[i]->account), (uint8_t)changes[i]->kind,
                bytes_str(changes[i]->name));
        if (entity) {
            entity->changed = a->input->index;
            TRY(apply_set(a, &row, entity));
        } else {
            apply_drop(a, &row);
        }
    }
    stamp.changed = a->input->index;
    row_iam(&row, BYTES_EMPTY, 0, BYTES_LIT("changed"));
    return apply_set(a, &row, &stamp);
}

/* An account may have gone while its last request was on its way. */
static enum kist_err check_accounts(struct apply *a, const Kist__PutIam *c)
{
    struct row_key row;
    Kist__Account *account;
    for (size_t i = 0; i < c->n_changes; i++) {
        if (!c->changes[i]->account[0])
            continue;
        row_account(&row, bytes_str(c->changes[i]->account));
        enum kist_err err = apply_get(a, &row, &kist__account__descriptor, &account);
        if (err != KIST_OK)
            return err == KIST_E_NOT_FOUND ? KIST_E_CONFLICT : err;
    }
    return KIST_OK;
}

enum kist_err apply_put_iam(struct apply *a, const Kist__PutIam *c)
{
    TRY(check_accounts(a, c));
    TRY(apply_iam_check(a, c->n_changes, c->changes));
    return apply_iam_changes(a, c->n_changes, c->changes);
}
