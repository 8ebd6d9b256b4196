/* Runtimes: which program is started for a function, and what its environment says.
 * https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
 * https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/functions/run.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"

#define ENV_MAX 512

/* The bootstraps are files of the source, so that their own tools know them. */
#define EMBED(symbol, file)                                                                      \
    __asm__(".section .rodata\n.balign 16\n" #symbol ":\n.incbin \"" file "\"\n" #symbol         \
            "_end:\n.byte 0\n.previous\n");                                                      \
    extern const char symbol[], symbol##_end[]
EMBED(bootstrap_py, "server/functions/bootstrap.py");
EMBED(bootstrap_mjs, "server/functions/bootstrap.mjs");

enum runtime_kind { RUNTIME_NONE, RUNTIME_PROVIDED, RUNTIME_PYTHON, RUNTIME_NODE };

static bool digits(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return len >= 1 && len <= 2;
}

static enum runtime_kind kind_of(const char *name)
{
    size_t len = strlen(name);
    if (strcmp(name, "provided") == 0 || strcmp(name, "provided.al2") == 0 ||
        strcmp(name, "provided.al2023") == 0)
        return RUNTIME_PROVIDED;
    if (len > 8 && strncmp(name, "python3.", 8) == 0 && digits(name + 8, len - 8))
        return RUNTIME_PYTHON;
    if (len > 8 && strncmp(name, "nodejs", 6) == 0 && strcmp(name + len - 2, ".x") == 0 &&
        digits(name + 6, len - 8))
        return RUNTIME_NODE;
    return RUNTIME_NONE;
}

/* The version asked for, or else the machine's own. NULL: there is none. */
static const char *interpreter(enum runtime_kind kind, const char *name, char path[64])
{
    static const char *const node[] = { "/usr/bin/node", "/usr/bin/nodejs",
                                        "/usr/local/bin/node" };
    if (kind == RUNTIME_PYTHON) {
        snprintf(path, 64, "/usr/bin/%.12s", name);
        if (access(path, X_OK) == 0)
            return path;
        return access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(node); i++)
        if (access(node[i], X_OK) == 0)
            return node[i];
    return NULL;
}

bool runtime_check(struct functions *f, const char *name, bool *known, const char **why)
{
    static const char *const others[] = { "java", "dotnet", "ruby", "go1.x", "nodejs", "python" };
    enum runtime_kind kind = kind_of(name);
    char path[64];
    *known = kind != RUNTIME_NONE;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        *known = *known || strncmp(name, others[i], strlen(others[i])) == 0;
    if (kind == RUNTIME_NONE)
        *why = "only provided, python3.x and nodejsNN.x runtimes are there";
    else if (!f->pool)
        *why = f->host_why;
    else if (kind == RUNTIME_PYTHON && !interpreter(kind, name, path))
        *why = "no python3 is installed on this machine";
    else if (kind == RUNTIME_NODE && !interpreter(kind, name, path))
        *why = "no node is installed on this machine";
    else
        return true;
    return false;
}

/* ---- files ---- */

static enum kist_err write_file(const char *dir, const char *name, const char *from,
                                const char *to)
{
    char path[4096];
    CLEANUP_CLOSE int fd = -1;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    (void)unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 || fchmod(fd, 0644) != 0)
        return kist_err_from_errno(errno);
    return file_pwrite(fd, from, (size_t)(to - from), 0);
}

static enum kist_err runtime_dir(const struct functions *f, char path[4096])
{
    int n = snprintf(path, 4096, "%s/runtime", f->dir);
    return n > 0 && n < 4096 ? KIST_OK : KIST_E_TOO_LARGE;
}

enum kist_err runtimes_write(struct functions *f)
{
    char path[4096];
    TRY(runtime_dir(f, path));
    if ((mkdir(path, 0755) != 0 && errno != EEXIST) || chmod(path, 0755) != 0)
        return kist_err_from_errno(errno);
    TRY(write_file(path, "bootstrap.py", bootstrap_py, bootstrap_py_end));
    return write_file(path, "bootstrap.mjs", bootstrap_mjs, bootstrap_mjs_end);
}

/* ---- versions ---- */

/* "python3.11" is python:3.11.v1. The ARN's end is the hash of what we add to the interpreter. */
static void runtime_version(const struct functions *f, const char *name, char version[64],
                            char arn[192])
{
    enum runtime_kind kind = kind_of(name);
    size_t family = strcspn(name, ".0123456789"), number = strspn(name + family, ".");
    size_t len = strlen(name) - family - number - (kind == RUNTIME_NODE ? 2 : 0);
    struct bytes text = bytes_str(name);
    uint8_t hash[32];
    char hex[65];
    if (kind == RUNTIME_PYTHON)
        text = bytes_of(bootstrap_py, (size_t)(bootstrap_py_end - bootstrap_py));
    if (kind == RUNTIME_NODE)
        text = bytes_of(bootstrap_mjs, (size_t)(bootstrap_mjs_end - bootstrap_mjs));
    digest_once(DIGEST_SHA256, text, hash);
    hex_encode(bytes_of(hash, sizeof(hash)), hex);
    snprintf(version, 64, "%.*s:%.*s%sv1", (int)family, name, (int)len, name + family + number,
             len ? "." : "");
    snprintf(arn, 192, "arn:aws:lambda:%.64s::runtime:%s", f->config.region, hex);
}

void runtime_log_start(struct fn_env *e)
{
    const struct function_found *found = &e->fleet->found;
    char version[64], arn[192], line[512], when[TIME_ISO_LEN];
    struct env *env = store_env(e->f->store);
    if (!fn_wants_event(found->latest, LEVEL_INFO))
        return;
    runtime_version(e->f, found->function->runtime, version, arn);
    time_iso(env->now_ms(env), when);
    int len =
        fn_logs_json(found->latest)
            ? snprintf(line, sizeof(line),
                       "{\"time\":\"%s\",\"type\":\"platform.initStart\",\"record\":"
                       "{\"initializationType\":\"on-demand\",\"phase\":\"init\","
                       "\"runtimeVersion\":\"%s\",\"runtimeVersionArn\":\"%s\"}}",
                       when, version, arn)
            : snprintf(line, sizeof(line),
                       "INIT_START Runtime Version: %s\tRuntime Version ARN: %s", version, arn);
    if (len > 0 && (size_t)len < sizeof(line))
        logs_add(e->fleet->log, "", found->function->version, bytes_of(line, (size_t)len));
}

/* ---- environment ---- */

struct env_list {
    struct arena *arena;
    const Kist__Function *function;
    const char **items;
    size_t count;
    bool failed;
};

static void set(struct env_list *l, const char *name, const char *value)
{
    char *item = value ? arena_printf(l->arena, "%s=%s", name, value) : NULL;
    if (!value)
        return;
    if (!item || l->count + 1 >= ENV_MAX)
        l->failed = true;
    else
        l->items[l->count++] = item;
}

/* What a function may say otherwise. */
static void set_default(struct env_list *l, const char *name, const char *value)
{
    for (size_t i = 0; i < l->function->n_environment; i++)
        if (strcmp(l->function->environment[i]->name, name) == 0)
            return;
    set(l, name, value);
}

static char *log_stream_name(const struct fn_env *e, struct arena *arena)
{
    struct env *env = store_env(e->f->store);
    uint8_t random[16];
    char hex[33], day[TIME_ISO_LEN];
    env->random(env, random, sizeof(random));
    hex_encode(bytes_of(random, sizeof(random)), hex);
    time_iso(env->now_ms(env), day);
    return arena_printf(arena, "%.4s/%.2s/%.2s/[%s]%s", day, day + 5, day + 8,
                        e->fleet->found.function->version, hex);
}

struct places {
    const char *task, *runtime, *opt;
};

static void set_lambda(struct env_list *l, struct fn_env *e, const struct places *at,
                       enum runtime_kind kind, const char *name)
{
    const Kist__Function *function = l->function;
    struct arena *a = l->arena;
    const char *region = e->f->config.region;
    set(l, "_HANDLER", function->handler);
    set(l, "AWS_REGION", region);
    set(l, "AWS_DEFAULT_REGION", region);
    if (kind != RUNTIME_PROVIDED)
        set(l, "AWS_EXECUTION_ENV", arena_printf(a, "AWS_Lambda_%s", name));
    set(l, "AWS_LAMBDA_FUNCTION_NAME", function->name);
    set(l, "AWS_LAMBDA_FUNCTION_VERSION", function->version);
    set(l, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", arena_printf(a, "%u", function->memory_mb));
    set(l, "AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
    set(l, "AWS_LAMBDA_LOG_GROUP_NAME", arena_printf(a, "/aws/lambda/%s", function->name));
    set(l, "AWS_LAMBDA_LOG_STREAM_NAME", log_stream_name(e, a));
    const Kist__Function *latest = e->fleet->found.latest;
    set(l, "AWS_LAMBDA_LOG_FORMAT", latest->log_format);
    set(l, "AWS_LAMBDA_LOG_LEVEL", latest->log_level[0] ? latest->log_level : NULL);
    set(l, "LAMBDA_TASK_ROOT", at->task);
    set(l, "LAMBDA_RUNTIME_DIR", at->runtime);
    set_default(l, "LANG", "en_US.UTF-8");
    set_default(l, "TZ", ":UTC");
    set_default(l, "PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin");
    set_default(l, "LD_LIBRARY_PATH",
                arena_printf(a, "%s:%s/lib:%s:%s/lib:%s/lib", at->runtime, at->runtime, at->task,
                             at->task, at->opt));
    if (strcmp(at->opt, "/opt") != 0)
        set(l, "KIST_OPT_DIR", at->opt);
    if (kind == RUNTIME_NODE)
        set_default(
            l, "NODE_PATH",
            arena_printf(a, "%s/nodejs/node_modules:%s/node_modules", at->opt, at->runtime));
}

static enum kist_err make_env(struct fn_env *e, const struct places *at, enum runtime_kind kind,
                              const uint16_t ports[2], struct env_list *l)
{
    const Kist__Function *function = l->function;
    struct fn_credentials credentials = { 0 };
    const Kist__Lineage *began = env_lineage(e, l->arena);
    TRY(credentials_make(e->f, function, began ? began->depth : 1, l->arena, &credentials));
    if (credentials.access_key)
        pool_keep_key(e, credentials.access_key);
    set(l, "AWS_LAMBDA_RUNTIME_API", arena_printf(l->arena, "127.0.0.1:%u", ports[0]));
    set_lambda(l, e, at, kind, function->runtime);
    const char *url = arena_printf(l->arena, "http://127.0.0.1:%u", ports[1]);
    set_default(l, "AWS_ENDPOINT_URL", url);
    set_default(l, "AWS_ENDPOINT_URL_S3", url);
    set(l, "AWS_ACCESS_KEY_ID", credentials.access_key);
    set(l, "AWS_SECRET_ACCESS_KEY", credentials.secret);
    set(l, "AWS_SESSION_TOKEN", credentials.token);
    for (size_t i = 0; i < function->n_environment; i++)
        set(l, function->environment[i]->name, function->environment[i]->value);
    l->items[l->count] = NULL;
    return l->failed ? KIST_E_TOO_LARGE : KIST_OK;
}

/* ---- the program ---- */

static bool executable(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    return n > 0 && n < (int)sizeof(path) && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           (st.st_mode & 0111);
}

static enum kist_err program(enum runtime_kind kind, const char *name, const char *task_dir,
                             const char **layers, const struct places *at, struct arena *arena,
                             const char **argv, const char **why)
{
    char path[64];
    size_t n = 0;
    if (kind == RUNTIME_PROVIDED) {
        bool in_task = executable(task_dir, "bootstrap"), in_layer = false;
        for (size_t i = 0; layers[i]; i++)
            in_layer = in_layer || executable(layers[i], "bootstrap");
        *why = "the zip has no executable file bootstrap";
        if (!in_task && !in_layer)
            return KIST_E_INVALID;
        argv[n++] = arena_printf(arena, "%s/bootstrap", in_task ? at->task : at->opt);
    } else {
        const char *found = interpreter(kind, name, path);
        *why = "the runtime's interpreter is no longer installed";
        if (!found)
            return KIST_E_NOT_FOUND;
        argv[n++] = arena_strdup(arena, found);
        if (kind == RUNTIME_PYTHON) {
            argv[n++] = "-IS";
            argv[n++] = arena_printf(arena, "%s/bootstrap.py", at->runtime);
        } else {
            argv[n++] = arena_printf(arena, "%s/bootstrap.mjs", at->runtime);
        }
        if (!argv[n - 1])
            return KIST_E_NOMEM;
    }
    argv[n] = NULL;
    return argv[0] ? KIST_OK : KIST_E_NOMEM;
}

enum kist_err launch_make(struct fn_env *e, const char *task_dir, const char **layer_dirs,
                          const uint16_t ports[2], struct arena *arena, struct fn_launch *out,
                          const char **why)
{
    const Kist__Function *function = e->fleet->found.function;
    enum runtime_kind kind = kind_of(function->runtime);
    struct places at = { "/var/task", "/var/runtime", "/opt" };
    char runtime[4096];
    TRY(runtime_dir(e->f, runtime));
    out->task_dir = task_dir;
    out->layer_dirs = layer_dirs;
    out->runtime_dir = arena_strdup(arena, runtime);
    out->argv = arena_zalloc(arena, 8 * sizeof(*out->argv));
    out->envp = arena_zalloc(arena, ENV_MAX * sizeof(*out->envp));
    if (!out->runtime_dir || !out->argv || !out->envp)
        return KIST_E_NOMEM;
    /* Without a root of its own, a function finds its files where they are. */
    if (!(sandbox_features(e->f->host) & SANDBOX_MOUNT_NS))
        at =
            (struct places){ task_dir, out->runtime_dir, layer_dirs[0] ? layer_dirs[0] : "/opt" };
    TRY(program(kind, function->runtime, task_dir, layer_dirs, &at, arena, out->argv, why));
    struct env_list list = { .arena = arena, .function = function, .items = out->envp };
    *why = "the function's environment variables are too large";
    return make_env(e, &at, kind, ports, &list);
}
