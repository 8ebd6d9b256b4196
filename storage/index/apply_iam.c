/* Users, groups, roles, policies, access keys: read, changed and written back under a check that
 * nobody else did meanwhile. What the changes mean is decided above. */
#include "storage/index/apply_internal.h"

static enum kist_err check(struct apply *a, const Kist__IamChange *c, struct row_key *row)
{
    Kist__IamEntity *now = NULL;
    struct bytes name = bytes_str(c->name);
    if (name.len == 0 || name.len > IAM_NAME_MAX || c->kind < IAM_USER || c->kind > IAM_KEY)
        return KIST_E_INVALID;
    row_iam(row, (uint8_t)c->kind, name);
    enum kist_err err = apply_get(a, row, &kist__iam_entity__descriptor, &now);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    return (now ? now->changed : 0) == c->expected ? KIST_OK : KIST_E_CONFLICT;
}

enum kist_err apply_put_iam(struct apply *a, const Kist__PutIam *c)
{
    struct row_key row;
    Kist__IamEntity stamp = KIST__IAM_ENTITY__INIT;
    for (size_t i = 0; i < c->n_changes; i++)
        TRY(check(a, c->changes[i], &row));
    for (size_t i = 0; i < c->n_changes; i++) {
        Kist__IamEntity *entity = c->changes[i]->entity;
        row_iam(&row, (uint8_t)c->changes[i]->kind, bytes_str(c->changes[i]->name));
        if (entity) {
            entity->changed = a->input->index;
            TRY(apply_set(a, &row, entity));
        } else {
            apply_drop(a, &row);
        }
    }
    stamp.changed = a->input->index;
    row_iam(&row, 0, BYTES_LIT("changed"));
    return apply_set(a, &row, &stamp);
}
