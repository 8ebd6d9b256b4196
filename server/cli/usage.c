/* `kist usage`: what each bucket holds, as its statistics have it. */
#include <inttypes.h>
#include <stdio.h>

#include "server/cli/tools.h"
#include "storage/object/store.h"

struct usage {
    struct store *store;
    uint64_t buckets;
    int64_t objects, versions, bytes;
    bool failed;
};

static bool on_bucket(void *ctx, const Kist__Bucket *bucket)
{
    struct usage *u = ctx;
    struct arena arena;
    Kist__BucketStats *s = NULL;
    arena_init(&arena, 64 << 10);
    u->failed = store_bucket_stats(u->store, bucket->id, &arena, &s) != KIST_OK;
    if (!u->failed) {
        printf("%-40s %12" PRId64 " %12" PRId64 " %16" PRId64 " %8" PRId64 "\n", bucket->name,
               s->objects, s->versions, s->bytes, s->uploads);
        u->buckets++;
        u->objects += s->objects;
        u->versions += s->versions;
        u->bytes += s->bytes;
    }
    arena_release(&arena);
    return !u->failed;
}

int cli_usage(int argc, char **argv)
{
    struct usage u = { .store = cli_open_store(cli_data_dir(
                           "usage",
                           "Prints objects, older versions, bytes and uploads of each "
                           "bucket.",
                           argc, argv)) };
    printf("%-40s %12s %12s %16s %8s\n", "bucket", "objects", "versions", "bytes", "uploads");
    enum kist_err err = store_list_buckets(u.store, BYTES_EMPTY, BYTES_EMPTY, on_bucket, &u);
    printf("%" PRIu64 " buckets, %" PRId64 " objects, %" PRId64 " versions, %" PRId64 " bytes\n",
           u.buckets, u.objects, u.versions, u.bytes);
    store_close(u.store);
    return err == KIST_OK && !u.failed ? 0 : 1;
}
