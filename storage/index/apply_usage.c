/* Requests and transfer, and what functions ran, added up. The server counts in memory and sends
 * what came together. */
#include <stdio.h>

#include "storage/index/apply_internal.h"

/* Rows of days long past that one command removes: more than it adds, so that they end. */
#define DROPS_MAX 2048
#define WHO_MAX 256

static enum kist_err add(struct apply *a, const struct row_key *key, const Kist__Usage *delta,
                         char *bucket)
{
    Kist__Usage fresh = KIST__USAGE__INIT, *sum = &fresh;
    enum kist_err err = apply_get(a, key, &kist__usage__descriptor, &sum);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    sum->requests += delta->requests;
    sum->bytes_in += delta->bytes_in;
    sum->bytes_out += delta->bytes_out;
    sum->invocations += delta->invocations;
    sum->billed_mb_ms += delta->billed_mb_ms;
    sum->bucket = bucket;
    return apply_set(a, key, sum);
}

/* A bucket that has gone meanwhile leaves no row of its own behind. */
static enum kist_err bucket_is_there(struct apply *a, const Kist__UsageDelta *d, bool *there)
{
    Kist__Bucket *bucket = NULL;
    enum kist_err err = apply_bucket(a, d->usage->bucket, &bucket);
    if (err != KIST_OK && err != KIST_E_NO_BUCKET)
        return err;
    *there = err == KIST_OK && bucket->id == d->bucket_id;
    return KIST_OK;
}

static bool is_valid(const Kist__UsageDelta *d)
{
    size_t account = strlen(d->account), who = strlen(d->who);
    return d->usage && who > 0 && who <= WHO_MAX && (!account || account == ACCOUNT_ID_LEN) &&
           !(d->function && d->bucket_id);
}

static enum kist_err add_function(struct apply *a, const Kist__UsageDelta *d)
{
    static char none[] = "";
    static const char prefix[] = "function/";
    struct bytes account = bytes_str(d->account);
    char who[sizeof(prefix) + WHO_MAX];
    struct row_key key;
    row_usage_function(&key, account, bytes_str(d->who));
    TRY(add(a, &key, d->usage, none));
    snprintf(who, sizeof(who), "%s%s", prefix, d->who);
    row_usage_day(&key, d->day, account, bytes_str(who), 0);
    return add(a, &key, d->usage, none);
}

static enum kist_err add_delta(struct apply *a, Kist__UsageDelta *d)
{
    static char none[] = "";
    struct bytes account = bytes_str(d->account), who = bytes_str(d->who);
    struct row_key key;
    bool there = false;
    if (d->function)
        return add_function(a, d);
    if (d->bucket_id)
        TRY(bucket_is_there(a, d, &there));
    if (there) {
        row_usage_bucket(&key, d->bucket_id);
        TRY(add(a, &key, d->usage, none));
    }
    row_usage_principal(&key, account, who);
    TRY(add(a, &key, d->usage, none));
    row_usage_day(&key, d->day, account, who, d->bucket_id);
    return add(a, &key, d->usage, d->usage->bucket);
}

static enum kist_err drop_old_days(struct apply *a, uint32_t first_day)
{
    struct row_key prefix, row;
    struct bytes key, value;
    struct kv_cursor *cursor;
    row_usage(&prefix, USAGE_BY_DAY);
    TRY(kv_cursor_open(&a->read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&prefix), &key, &value);
    for (unsigned n = 0;
         err == KIST_OK && n < DROPS_MAX && bytes_starts_with(key, row_bytes(&prefix)) &&
         row_read_u32(key.ptr + prefix.len) < first_day;
         n++) {
        row.len = 0;
        row_add(&row, key);
        apply_drop(a, &row);
        err = kv_cursor_next(cursor, &key, &value);
    }
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

enum kist_err apply_add_usage(struct apply *a, const Kist__AddUsage *c)
{
    for (size_t i = 0; i < c->n_deltas; i++)
        if (!is_valid(c->deltas[i]))
            return KIST_E_INVALID;
    for (size_t i = 0; i < c->n_deltas; i++)
        TRY(add_delta(a, c->deltas[i]));
    return drop_old_days(a, c->first_day);
}
