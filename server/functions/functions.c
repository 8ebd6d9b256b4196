/* Functions as one thing: opened, started, stopped. */
#include "server/functions/functions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "server/functions/run.h"
#include "storage/base/trace.h"

static enum kist_err make_dir(struct functions *f)
{
    size_t len = strlen(f->config.data_dir) + sizeof("/functions");
    f->dir = malloc(len);
    if (!f->dir)
        return KIST_E_NOMEM;
    snprintf(f->dir, len, "%s/functions", f->config.data_dir);
    if ((mkdir(f->dir, 0755) != 0 && errno != EEXIST) || chmod(f->dir, 0755) != 0)
        return kist_err_from_errno(errno);
    return KIST_OK;
}

/* S3 has no way to it: no bucket of its can have such a name. */
static enum kist_err make_bucket(struct store *store)
{
    static char name[] = FUNCTIONS_BUCKET, owner[] = FUNCTIONS_OWNER;
    struct arena arena;
    Kist__Bucket *there;
    arena_init(&arena, 64 << 10);
    enum kist_err err = store_bucket(store, BYTES_LIT(FUNCTIONS_BUCKET), &arena, &there);
    arena_release(&arena);
    if (err != KIST_E_NO_BUCKET)
        return err;
    Kist__Bucket bucket = KIST__BUCKET__INIT;
    Kist__CreateBucket create = KIST__CREATE_BUCKET__INIT;
    Kist__Command command = KIST__COMMAND__INIT;
    bucket.name = name;
    bucket.owner = owner;
    bucket.created_ms = store_env(store)->now_ms(store_env(store));
    create.bucket = &bucket;
    command.of_case = KIST__COMMAND__OF_CREATE_BUCKET;
    command.create_bucket = &create;
    return store_commit(store, &command);
}

/* Any user of the machine may pass through to it. */
static bool is_reachable(const char *dir)
{
    struct stat st;
    char *path = realpath(dir, NULL);
    bool open = path != NULL;
    for (char *end = path; open && end; end = strchr(end + 1, '/')) {
        char kept = *end;
        *end = '\0';
        open = stat(*path ? path : "/", &st) == 0 && (st.st_mode & S_IXOTH);
        *end = kept;
    }
    open = open && stat(path, &st) == 0 && (st.st_mode & S_IXOTH);
    free(path);
    return open;
}

/* Without a root of its own a function reads its code at its place: a user id of its own is of no
 * use where that user cannot get there. */
static enum kist_err open_host(struct functions *f)
{
    struct sandbox_config sandbox = { .zygote_exe = f->config.zygote_exe,
                                      .without = f->config.without };
    TRY(sandbox_host_open(&sandbox, &f->host));
    unsigned has = sandbox_features(f->host);
    if ((has & SANDBOX_MOUNT_NS) || !(has & SANDBOX_OWN_UID) || is_reachable(f->dir))
        return KIST_OK;
    sandbox_host_close(f->host);
    f->host = NULL;
    sandbox.without |= SANDBOX_OWN_UID;
    return sandbox_host_open(&sandbox, &f->host);
}

/* Functions can be made and kept although none runs: *why says what is missing. */
static enum kist_err open_pool(struct functions *f)
{
    if (f->config.off) {
        f->host_why = "functions are switched off";
        return KIST_OK;
    }
    enum kist_err err = open_host(f);
    if (err != KIST_OK) {
        f->host_why = "sandboxes cannot be started on this machine";
        TRACE(TRACE_WARN, "functions", "%s: %s", f->host_why, kist_err_text(err));
        f->host = NULL;
        return KIST_OK;
    }
    if (!sandbox_protects(f->host) && !f->config.trust) {
        f->host_why = "this machine cannot protect the server from functions";
        return KIST_OK;
    }
    TRY(code_open(f, &f->code));
    TRY(runtimes_write(f));
    TRY(logs_open(f, &f->logs));
    return pool_open(f, &f->pool);
}

enum kist_err functions_open(const struct functions_config *config, struct functions **out)
{
    struct functions *f = calloc(1, sizeof(*f));
    if (!f)
        return KIST_E_NOMEM;
    f->config = *config;
    f->store = config->store;
    f->users = config->users;
    functions_service_init(f);
    functions_urls_init(f);
    sink_init(f);
    enum kist_err err = make_dir(f);
    if (err == KIST_OK)
        err = make_bucket(f->store);
    if (err == KIST_OK)
        err = metrics_open(&f->metrics);
    if (err == KIST_OK)
        err = registry_open(f, &f->registry);
    if (err == KIST_OK)
        err = open_pool(f);
    if (err == KIST_OK && f->pool && config->usage_interval_s)
        err = fn_usage_open(f, &f->usage);
    if (err != KIST_OK) {
        functions_close(f);
        return err;
    }
    if (f->pool)
        pool_count_reserved(f->pool);
    code_sweep(f);
    *out = f;
    return KIST_OK;
}

void functions_start(struct functions *f, struct http_server *s3)
{
    f->s3 = s3;
    atomic_store(&f->started, true);
}

void functions_stop(struct functions *f)
{
    if (f && f->registry)
        registry_stop(f->registry);
    if (f)
        atomic_store(&f->stopping, true);
    if (f && f->pool)
        pool_stop(f->pool);
}

void functions_close(struct functions *f)
{
    if (!f)
        return;
    functions_stop(f);
    pool_close(f->pool);
    fn_usage_close(f->usage);
    logs_close(f->logs);
    code_close(f->code);
    sandbox_host_close(f->host);
    registry_close(f->registry);
    metrics_close(f->metrics);
    free(f->dir);
    free(f);
}

void functions_describe(struct functions *f, struct buf *out)
{
    enum kist_err err =
        f->host && f->pool ? sandbox_describe(f->host, out) : buf_append_str(out, f->host_why);
    if (err != KIST_OK)
        buf_clear(out);
}

const struct api_service *functions_service(struct functions *f)
{
    return &f->service;
}

const struct api_service *functions_urls(struct functions *f)
{
    return &f->urls;
}

const struct api_service *functions_sites(struct functions *f)
{
    return &f->sites;
}

const struct event_sink *functions_sink(struct functions *f)
{
    return &f->sink;
}

const Kist__Lineage *functions_lineage_of(void *ctx, void *tag, const struct auth_identity *who,
                                          struct arena *arena)
{
    struct functions *f = ctx;
    const Kist__Lineage *now = tag ? env_lineage(tag, arena) : NULL;
    if (!now && f->pool && who && who->session_key.len) {
        struct fn_env *e = pool_env_of_key(f->pool, who->session_key);
        now = e ? env_lineage(e, arena) : NULL;
        if (e)
            env_unref(e);
    }
    return now || !who ? now : who->lineage;
}
