/* `kist usage`: what each bucket, account and principal of a data directory holds and has asked
 * for, as the statistics have it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/options.h"
#include "server/cli/tools.h"
#include "storage/base/codec.h"
#include "storage/object/store.h"

#define DAY_MS ((int64_t)86400000)
#define FUNCTION "function/" /* before the name of one, in rows of one day */

struct sums {
    uint64_t buckets, requests, bytes_in, bytes_out;
    int64_t objects, versions, bytes, uploads, part_bytes;
};

struct usage {
    struct store *store;
    struct sums account; /* the one that is being shown */
    struct bytes account_id;
    bool failed;
    bool functions; /* have been shown */
};

static void show(const char *name, const struct sums *s)
{
    printf("%-40s %12" PRId64 " %12" PRId64 " %16" PRId64 " %8" PRId64 " %16" PRId64 " %12" PRIu64
           " %16" PRIu64 " %16" PRIu64 "\n",
           name, s->objects, s->versions, s->bytes, s->uploads, s->part_bytes, s->requests,
           s->bytes_in, s->bytes_out);
}

static void heading(const char *what)
{
    printf("%-40s %12s %12s %16s %8s %16s %12s %16s %16s\n", what, "objects", "versions", "bytes",
           "uploads", "part-bytes", "requests", "bytes-in", "bytes-out");
}

static enum kist_err sums_of(struct store *store, const Kist__Bucket *bucket, struct sums *out)
{
    struct arena arena;
    Kist__BucketStats *s = NULL;
    Kist__Usage *u = NULL;
    arena_init(&arena, 64 << 10);
    enum kist_err err = store_bucket_stats(store, bucket->id, &arena, &s);
    if (err == KIST_OK)
        err = store_bucket_usage(store, bucket->id, &arena, &u);
    if (err == KIST_OK)
        *out = (struct sums){ .buckets = 1,
                              .requests = u->requests,
                              .bytes_in = u->bytes_in,
                              .bytes_out = u->bytes_out,
                              .objects = s->objects,
                              .versions = s->versions,
                              .bytes = s->bytes,
                              .uploads = s->uploads,
                              .part_bytes = s->part_bytes };
    arena_release(&arena);
    return err;
}

static void add(struct sums *to, const struct sums *s)
{
    to->buckets += s->buckets;
    to->requests += s->requests;
    to->bytes_in += s->bytes_in;
    to->bytes_out += s->bytes_out;
    to->objects += s->objects;
    to->versions += s->versions;
    to->bytes += s->bytes;
    to->uploads += s->uploads;
    to->part_bytes += s->part_bytes;
}

static bool on_bucket(void *ctx, const Kist__Bucket *bucket)
{
    struct usage *u = ctx;
    struct sums sums;
    u->failed = sums_of(u->store, bucket, &sums) != KIST_OK;
    if (u->failed)
        return false;
    show(bucket->name, &sums);
    add(&u->account, &sums);
    return true;
}

static bool on_own_bucket(void *ctx, const Kist__Bucket *bucket)
{
    struct usage *u = ctx;
    struct sums sums;
    u->failed = sums_of(u->store, bucket, &sums) != KIST_OK;
    if (!u->failed)
        add(&u->account, &sums);
    return !u->failed;
}

/* What its buckets hold, and who of any account asked for them. */
static bool on_account(void *ctx, const Kist__Account *account)
{
    struct usage *u = ctx;
    u->account = (struct sums){ 0 };
    enum kist_err err = store_list_own_buckets(u->store, bytes_str(account->canonical),
                                               BYTES_EMPTY, BYTES_EMPTY, on_own_bucket, u);
    char name[128];
    snprintf(name, sizeof(name), "%s %s", account->id, account->name);
    show(name, &u->account);
    u->failed = u->failed || err != KIST_OK;
    return !u->failed;
}

static void show_requests(const struct usage_row *row)
{
    printf("%-12.*s %-27.*s %12" PRIu64 " %16" PRIu64 " %16" PRIu64,
           row->account.len ? (int)row->account.len : 1,
           row->account.len ? (const char *)row->account.ptr : "-", (int)row->who.len,
           (const char *)row->who.ptr, row->usage->requests, row->usage->bytes_in,
           row->usage->bytes_out);
}

static bool on_principal(void *ctx, const struct usage_row *row)
{
    (void)ctx;
    show_requests(row);
    printf("\n");
    return true;
}

/* A table of its own, where there is anything to show. */
static void function_heading(struct usage *u, const char *before)
{
    if (!u->functions)
        printf("\n%s%-12s %-64s %12s %20s\n", before, "account", "function", "invocations",
               "billed-mb-ms");
    u->functions = true;
}

static void show_function(const struct usage_row *row, struct bytes name)
{
    printf("%-12.*s %-64.*s %12" PRIu64 " %20" PRIu64 "\n",
           row->account.len ? (int)row->account.len : 1,
           row->account.len ? (const char *)row->account.ptr : "-", (int)name.len,
           (const char *)name.ptr, row->usage->invocations, row->usage->billed_mb_ms);
}

static bool on_function(void *ctx, const struct usage_row *row)
{
    function_heading(ctx, "");
    show_function(row, row->who);
    return true;
}

static void show_day(const struct usage_row *row)
{
    char day[TIME_ISO_LEN];
    time_iso((int64_t)row->day * DAY_MS, day);
    printf("%.10s ", day);
}

static bool is_function(const struct usage_row *row)
{
    return bytes_starts_with(row->who, BYTES_LIT(FUNCTION));
}

static bool on_day(void *ctx, const struct usage_row *row)
{
    (void)ctx;
    if (is_function(row))
        return true;
    show_day(row);
    show_requests(row);
    printf(" %s\n", row->usage->bucket[0] ? row->usage->bucket : "-");
    return true;
}

static bool on_function_day(void *ctx, const struct usage_row *row)
{
    size_t skip = sizeof(FUNCTION) - 1;
    if (!is_function(row))
        return true;
    function_heading(ctx, "day        ");
    show_day(row);
    show_function(row, bytes_of(row->who.ptr + skip, row->who.len - skip));
    return true;
}

static enum kist_err show_all(struct usage *u)
{
    heading("bucket");
    TRY(store_list_buckets(u->store, BYTES_EMPTY, BYTES_EMPTY, on_bucket, u));
    printf("%" PRIu64 " buckets, %" PRId64 " objects, %" PRId64 " versions, %" PRId64
           " bytes\n\n",
           u->account.buckets, u->account.objects, u->account.versions, u->account.bytes);
    heading("account (of its buckets)");
    TRY(store_list_accounts(u->store, on_account, u));
    printf("\n%-12s %-27s %12s %16s %16s\n", "account", "who asked", "requests", "bytes-in",
           "bytes-out");
    TRY(store_list_usage(u->store, BYTES_EMPTY, BYTES_EMPTY, on_principal, u));
    return store_list_function_usage(u->store, BYTES_EMPTY, BYTES_EMPTY, on_function, u);
}

static enum kist_err show_days(struct usage *u, uint64_t days)
{
    struct env *env = store_env(u->store);
    uint64_t today = (uint64_t)(env->now_ms(env) / DAY_MS);
    uint64_t first = days > today ? 0 : today + 1 - days;
    printf("%-10s %-12s %-27s %12s %16s %16s %s\n", "day", "account", "who asked", "requests",
           "bytes-in", "bytes-out", "bucket");
    TRY(store_list_usage_days(u->store, (uint32_t)first, on_day, u));
    return store_list_usage_days(u->store, (uint32_t)first, on_function_day, u);
}

static void __attribute__((noreturn)) help(void)
{
    printf("usage: kist usage [--data DIR] [--days N]\n"
           "Prints what each bucket and account holds, requests and transfer of each bucket,\n"
           "account, user and role, and invocations of each function with what they would be\n"
           "billed: its memory in MB times the milliseconds. With --days, those of the last N\n"
           "days, by day, user and bucket.\n");
    exit(0);
}

int cli_usage(int argc, char **argv)
{
    struct usage u = { .failed = false };
    const char *dir = default_data_dir();
    uint64_t days = 0;
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i]))
            help();
        else if (strcmp(argv[i], "--data") == 0 && i + 1 < argc)
            dir = argv[++i];
        else if (strcmp(argv[i], "--days") != 0 || i + 1 == argc ||
                 bytes_to_u64(bytes_str(argv[++i]), 1000000, &days) != KIST_OK || !days)
            cli_mistake("usage", argv[i], CLI_NO_OPTION);
    }
    u.store = cli_open_store(dir);
    enum kist_err err = days ? show_days(&u, days) : show_all(&u);
    store_close(u.store);
    if (err != KIST_OK || u.failed)
        fprintf(stderr, "kist: usage: %s\n",
                err != KIST_OK ? kist_err_text(err) : "not all of it could be read");
    return err == KIST_OK && !u.failed ? 0 : 1;
}
