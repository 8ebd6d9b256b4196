/* The store's life: directories, lock, format, recovery; and the wiring of log, index, packs.
 *
 *   dir/lock        held with flock while open
 *   dir/format      text: "kist-data 1"
 *   dir/log/        commit log segments
 *   dir/index/      LMDB
 *   dir/packs/      object bytes
 */
#include "storage/object/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "storage/base/cleanup.h"

/* 2: an extent that is freed keeps its E row until it is punched. */
#define DATA_REVISION 2
#define WORKERS 4

/* ---- what the log asks of us ---- */

/* Of a batch that was refused before it was in the log. */
static void give_place_back(struct store *s)
{
    if (!s->held_pack)
        return;
    pack_unreserve(s->packs, PACK_LANE_LOG, s->held_pack, s->held_offset);
    pack_unhold(s->packs, s->held_pack);
    s->held_pack = 0;
}

static enum kist_err on_admit(void *ctx)
{
    struct store *s = ctx;
    give_place_back(s);
    return checkpoint_admit(s);
}

static enum kist_err on_place(void *ctx, size_t bytes, uint32_t *pack, uint64_t *offset)
{
    struct store *s = ctx;
    TRY(store_take_space(s, bytes));
    TRY(pack_reserve(s->packs, PACK_LANE_LOG, bytes, pack, offset));
    s->held_pack = *pack;
    s->held_offset = *offset;
    return KIST_OK;
}

static enum kist_err on_store(void *ctx, uint32_t pack, uint64_t offset, struct bytes bodies)
{
    struct store *s = ctx;
    return pack_store_body(s->packs, pack, offset, bodies);
}

static enum kist_err on_apply(void *ctx, const struct log_entry *entry, void *result)
{
    struct store *s = ctx;
    struct apply_input input = { .index = entry->index,
                                 .command = entry->command,
                                 .body_length = (uint32_t)entry->body.len,
                                 .pack = entry->pack,
                                 .offset = entry->offset };
    return apply_command(s->apply, &input, result);
}

static void on_batch_begin(void *ctx)
{
    struct store *s = ctx;
    kv_write_lock(s->kv);
}

static void on_batch_end(void *ctx, uint64_t last_index)
{
    struct store *s = ctx;
    (void)last_index;
    kv_write_unlock(s->kv);
    if (s->held_pack)
        pack_unhold(s->packs, s->held_pack);
    s->held_pack = 0;
    checkpoint_note(s);
}

/* ---- opening ---- */

static enum kist_err make_dir(const char *path)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ? KIST_OK : kist_err_from_errno(errno);
}

static enum kist_err open_dirs(struct store *s)
{
    if (asprintf(&s->log_dir, "%s/log", s->dir) < 0 ||
        asprintf(&s->index_dir, "%s/index", s->dir) < 0 ||
        asprintf(&s->pack_dir, "%s/packs", s->dir) < 0)
        return KIST_E_NOMEM;
    TRY(make_dir(s->log_dir));
    TRY(make_dir(s->index_dir));
    TRY(make_dir(s->pack_dir));
    return s->config.sync ? dir_sync(s->dir) : KIST_OK;
}

static enum kist_err take_lock(struct store *s)
{
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s/lock", s->dir) < 0)
        return KIST_E_NOMEM;
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return kist_err_from_errno(errno);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? KIST_E_LOCKED : kist_err_from_errno(errno);
    return KIST_OK;
}

static enum kist_err write_format(const char *path)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "kist-data %d\n", DATA_REVISION);
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return kist_err_from_errno(errno);
    TRY(file_pwrite(fd, text, (size_t)n, 0));
    return file_datasync(fd);
}

/* An empty or torn file is a first start that was cut short. */
static enum kist_err check_format(struct store *s)
{
    CLEANUP_FREE char *path = NULL;
    int revision = 0;
    char end = 0;
    if (asprintf(&path, "%s/format", s->dir) < 0)
        return KIST_E_NOMEM;
    CLEANUP_FCLOSE FILE *f = fopen(path, "re");
    if (!f && errno != ENOENT)
        return kist_err_from_errno(errno);
    if (!f || fscanf(f, "kist-data %d%c", &revision, &end) != 2)
        return write_format(path);
    if (revision > DATA_REVISION)
        return KIST_E_NEWER_FORMAT;
    /* From here on an older program must not open it: not before anything new is written. */
    return revision < DATA_REVISION ? write_format(path) : KIST_OK;
}

static enum kist_err open_log(struct store *s)
{
    struct log_ops ops = { .ctx = s,
                           .admit = on_admit,
                           .place = on_place,
                           .store = on_store,
                           .apply = on_apply,
                           .batch_begin = on_batch_begin,
                           .batch_end = on_batch_end };
    struct log_config config = LOG_CONFIG_DEFAULT;
    config.dir = s->log_dir;
    config.sync = s->config.sync;
    config.manual = s->config.manual;
    config.env = s->env;
    if (s->config.log_segment_bytes)
        config.segment_bytes = s->config.log_segment_bytes;
    if (config.segment_bytes < 2 * config.batch_bytes_max)
        config.batch_bytes_max = config.segment_bytes / 2;
    return log_open(&config, &ops, kv_durable_index(s->kv), &s->log);
}

static enum kist_err open_index(struct store *s)
{
    struct kv_config kv = KV_CONFIG_DEFAULT;
    struct pack_config packs = { .dir = s->pack_dir, .sync = s->config.sync };
    kv.dir = s->index_dir;
    kv.sync = s->config.sync;
    TRY(pack_store_open(&packs, &s->packs));
    TRY(kv_open(&kv, &s->kv));
    return apply_open(s->kv, &s->apply);
}

static enum kist_err open_all(struct store *s)
{
    TRY(make_dir(s->dir));
    TRY(take_lock(s));
    TRY(check_format(s));
    TRY(open_dirs(s));
    store_measure_free(s);
    TRY(open_index(s));
    if (!s->config.manual)
        TRY(worker_pool_open("store", WORKERS, &s->workers));
    TRY(hasher_open(!s->config.manual, &s->hasher));
    TRY(open_log(s));
    TRY(sweep_resume_lanes(s));
    TRY(checkpoint_start(s));
    TRY(reclaim_start(s));
    TRY(expire_start(s));
    return scrub_start(s);
}

static void free_store(struct store *s)
{
    upkeep_release(&s->checkpoint);
    upkeep_release(&s->reclaim);
    upkeep_release(&s->scrub);
    upkeep_release(&s->expire);
    pthread_mutex_destroy(&s->watcher.lock);
    pins_release(&s->pins);
    budget_release(&s->budget);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->dir);
    free(s->log_dir);
    free(s->index_dir);
    free(s->pack_dir);
    free(s);
}

enum kist_err store_open(const struct store_config *config, struct store **out)
{
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return KIST_E_NOMEM;
    s->config = *config;
    s->env = config->env ? config->env : env_real();
    s->lock_fd = -1;
    s->dir = strdup(config->dir);
    budget_init(&s->budget, config->memory_bytes);
    pins_init(&s->pins);
    upkeep_init(&s->checkpoint);
    upkeep_init(&s->reclaim);
    upkeep_init(&s->scrub);
    upkeep_init(&s->expire);
    pthread_mutex_init(&s->watcher.lock, NULL);
    enum kist_err err = s->dir ? open_all(s) : KIST_E_NOMEM;
    if (err != KIST_OK) {
        store_close(s);
        return err;
    }
    *out = s;
    return KIST_OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    s->stopping = true;
    upkeep_stop(&s->scrub);
    upkeep_stop(&s->expire);
    upkeep_stop(&s->reclaim);
    hasher_stop(s->hasher); /* it feeds the workers */
    worker_pool_close(s->workers);
    upkeep_stop(&s->checkpoint);
    checkpoint_last(s);
    log_close(s->log);
    apply_close(s->apply);
    kv_close(s->kv);
    if (s->held_pack)
        pack_unhold(s->packs, s->held_pack);
    pack_store_close(s->packs);
    hasher_free(s->hasher);
    free_store(s);
}

struct env *store_env(struct store *s)
{
    return s->env;
}

/* ---- small services ---- */

void store_run(struct store *s, struct job *job)
{
    if (s->workers)
        worker_submit(s->workers, job);
    else
        job->run(job);
}

void store_measure_free(struct store *s)
{
    struct statvfs v;
    if (statvfs(s->dir, &v) == 0)
        s->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
}

static bool has_room(const struct store *s, uint64_t bytes)
{
    uint64_t left = s->free_bytes;
    const uint64_t taken[] = { s->config.reserve_bytes, s->filling_bytes, bytes };
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        if (left < taken[i])
            return false;
        left -= taken[i];
    }
    return true;
}

enum kist_err store_admit(struct store *s, uint64_t bytes)
{
    if (!has_room(s, bytes))
        store_measure_free(s); /* the cached figure says no: ask again before refusing */
    return has_room(s, bytes) ? KIST_OK : KIST_E_NOSPC;
}

enum kist_err store_take_space(struct store *s, uint64_t bytes)
{
    TRY(store_admit(s, bytes));
    uint64_t before = s->free_bytes;
    while (before >= bytes &&
           !atomic_compare_exchange_weak(&s->free_bytes, &before, before - bytes))
        continue;
    return KIST_OK;
}

static enum kist_err count_pack(void *ctx, uint32_t pack, uint64_t file_bytes)
{
    struct store_stats *stats = ctx;
    (void)pack;
    stats->packs++;
    stats->pack_bytes += file_bytes;
    return KIST_OK;
}

static bool count_bucket(void *ctx, const Kist__Bucket *bucket)
{
    struct store_stats *stats = ctx;
    (void)bucket;
    stats->buckets++;
    return true;
}

void store_stats(struct store *s, struct store_stats *out)
{
    *out = (struct store_stats){ 0 };
    log_stats(s->log, &out->log);
    kv_stats(s->kv, &out->kv);
    (void)!pack_each(s->packs, count_pack, out);
    (void)!store_list_buckets(s, BYTES_EMPTY, BYTES_EMPTY, count_bucket, out);
    store_measure_free(s);
    out->free_bytes = s->free_bytes;
    pthread_mutex_lock(&s->budget.lock);
    out->memory_used_bytes = s->budget.used_bytes;
    pthread_mutex_unlock(&s->budget.lock);
    out->reads_damaged = s->reads_damaged;
    out->scrubbed_bytes = s->scrubbed_bytes;
    out->reclaimed_bytes = s->reclaimed_bytes;
    out->accepting_writes = !out->log.failed && out->free_bytes >= s->config.reserve_bytes;
}

bool store_step(struct store *s)
{
    return log_step(s->log);
}
