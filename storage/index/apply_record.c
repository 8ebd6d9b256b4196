/* Records: documents of the services beside S3 (functions, targets, schedules), written under a
 * check that nobody else did meanwhile. What is in them is decided above. */
#include "storage/index/apply_internal.h"

static enum kist_err check(struct apply *a, const Kist__RecordChange *c, struct row_key *row)
{
    Kist__Record *now = NULL;
    struct bytes name = bytes_str(c->name), account = bytes_str(c->account);
    if (name.len == 0 || name.len > RECORD_NAME_MAX || c->kind == 0 ||
        (account.len && account.len != ACCOUNT_ID_LEN))
        return KIST_E_INVALID;
    if (c->kind >= RECORD_KIND_END)
        return KIST_E_NEWER_FORMAT;
    row_record(row, (uint8_t)c->kind, account, name);
    if (c->any)
        return KIST_OK;
    enum kist_err err = apply_get(a, row, &kist__record__descriptor, &now);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    return (now ? now->changed : 0) == c->expected ? KIST_OK : KIST_E_CONFLICT;
}

enum kist_err apply_records(struct apply *a, size_t count, Kist__RecordChange **changes)
{
    struct row_key row;
    for (size_t i = 0; i < count; i++)
        TRY(check(a, changes[i], &row));
    for (size_t i = 0; i < count; i++) {
        Kist__RecordChange *change = changes[i];
        row_record(&row, (uint8_t)change->kind, bytes_str(change->account),
                   bytes_str(change->name));
        if (change->record) {
            change->record->changed = a->input->index;
            TRY(apply_set(a, &row, change->record));
        } else {
            apply_drop(a, &row);
        }
    }
    return KIST_OK;
}

enum kist_err apply_put_records(struct apply *a, const Kist__PutRecords *c)
{
    return apply_records(a, c->n_changes, c->changes);
}
