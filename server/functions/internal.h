/* Between the files of functions.
 *
 *     api_*.c -----> registry.c ----> records and zips in the store
 *        |               ^
 *        v               | registry_find()
 *     invoke.c --> pool.c ----> environment: sandbox.c, its code (code.c)
 *        ^               |          |
 *     sink.c             '--> runtime.c <--- the process asks for work, answers
 *                                   |
 *                                logs.c ---> objects of the store
 *
 * The registry's side (registry.c, api_*.c) makes functions and changes them; the pool's side
 * (the others) runs them. Who changes a function calls functions_changed() when the change is
 * durable; the pool looks at the record at each invocation anyway.
 */
#ifndef KIST_SERVER_FUNCTIONS_INTERNAL_H
#define KIST_SERVER_FUNCTIONS_INTERNAL_H

#include <stdatomic.h>

#include "server/functions/functions.h"

/* Where zips and logs are: a bucket of the store that no S3 name can reach, whose owner is no
 * account. Made by functions_open(). Keys: code/<account>/<name>/<sha256>, layers/...,
 * logs/<account>/<name>/<date>/... */
#define FUNCTIONS_BUCKET ".kist-functions"
#define FUNCTIONS_OWNER "kist-functions"

/* A chain of functions, each woken by what the one before it did, ends here: one that writes to
 * its own trigger, or invokes itself, stops. */
#define FN_DEPTH_MAX 16

/* Lambda's limits. */
#define FN_SYNC_MAX (6U << 20)     /* payload and answer of a call that waits */
#define FN_ASYNC_MAX (1U << 20)    /* payload of an event */
#define FN_CODE_MAX (250ULL << 20) /* unpacked */
#define FN_CODE_ENTRIES_MAX 100000
#define FN_TAIL_MAX 4096
#define FN_LATEST "$LATEST"

struct registry;
struct code_cache;
struct pool;
struct logs;
struct fn_metrics;
struct fn_usage;
struct sandbox_host;

struct functions {
    struct functions_config config; /* its strings live as long as this */
    struct store *store;
    struct auth_user_store *users;
    char *dir; /* DIR/functions */

    struct registry *registry; /* the registry side's */
    struct api_service service, urls, sites;

    struct sandbox_host *host; /* NULL: config.off, or none works: host_why */
    const char *host_why;
    struct code_cache *code;
    struct pool *pool;
    struct logs *logs;
    struct fn_metrics *metrics;
    struct fn_usage *usage; /* NULL: nothing is recorded */
    struct event_sink sink;
    struct http_server *s3; /* from functions_start() on */
    /* Events are taken only between the two: what a start or a stop does to an invocation is no
     * failure of its function. */
    atomic_bool started, stopping;
    struct events *events; /* NULL: nobody is told of changes */
};

/* ---- names: names.c ---- */

/* A function by name. Borrowed from what was parsed. */
struct function_id {
    struct bytes account; /* 12 digits */
    struct bytes name;
    struct bytes qualifier; /* version, alias; empty: none was given */
};
/* arn:aws:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER]. KIST_E_INVALID. */
enum kist_err function_id_parse(struct bytes arn, struct function_id *out) MUST_CHECK;
/* The ARN in the arena; an empty qualifier is left out. NULL: no memory. */
char *function_arn(const struct functions *f, const struct function_id *id, struct arena *arena);

/* ---- the registry's side: registry.c ---- */

enum kist_err registry_open(struct functions *f, struct registry **out) MUST_CHECK;
void registry_close(struct registry *r); /* NULL is allowed */
/* Requests that wait are answered: the HTTP server is about to stop. */
void registry_stop(struct registry *r);
/* Fill f->service, f->urls. */
void functions_service_init(struct functions *f);
void functions_urls_init(struct functions *f);

/* Removes zips that a crash left behind, in the background. code_sweep.c */
void code_sweep(struct functions *f);

struct function_found {
    Kist__Function *function; /* what runs: the version, or $LATEST */
    Kist__Function *latest;   /* for what belongs to the name: reserved, log_*, policies ... */
    const char *alias;        /* that was named; NULL: none */
};
/* Follows aliases (and draws by their weights). From any thread, at each invocation: cheap. All
 * lives in the arena. KIST_E_NOT_FOUND. */
enum kist_err registry_find(struct functions *f, const struct function_id *id,
                            struct arena *arena, struct function_found *out) MUST_CHECK;
/* How events of a qualifier are retried; NULL: as Lambda does it. */
Kist__FunctionInvoke *fn_invoke_of(const Kist__Function *latest, struct bytes qualifier);
/* The function's policy lets a service ("s3.amazonaws.com") invoke it, for that source. */
bool functions_service_allowed(struct functions *f, const struct function_id *id,
                               const char *service, struct bytes source_arn,
                               struct bytes source_account);
/* A layer's version by ARN. KIST_E_NOT_FOUND. */
enum kist_err registry_layer(struct functions *f, struct bytes arn, struct arena *arena,
                             Kist__FunctionLayer **out) MUST_CHECK;
/* Every function's $LATEST, of all accounts; each() returns false to stop. For the upkeep of
 * logs, and of the cache of code. */
enum kist_err registry_each(struct functions *f,
                            bool (*each)(void *ctx, const Kist__Function *latest),
                            void *ctx) MUST_CHECK;

/* ---- the pool's side ---- */

/* A function of this name was changed, or is gone: environments of what is no more are ended
 * when they have nothing to do. From any thread; never blocks. */
void functions_changed(struct functions *f, struct bytes account, struct bytes name);

/* Whether functions of this runtime run here. False: *why (static text) says what is missing,
 * *known whether Lambda knows such a runtime at all. */
bool runtime_check(struct functions *f, const char *name, bool *known, const char **why);

/* Looks at a zip without unpacking it: KIST_E_INVALID (no zip, or with what is not allowed),
 * KIST_E_TOO_LARGE; *why (static text) says what is wrong, *unpacked how large it would be. */
enum kist_err code_check(struct bytes zip, uint64_t *unpacked, const char **why) MUST_CHECK;

/* ---- logs: logs.c ---- */

struct fn_log_line {
    int64_t time_ms;
    const char *request_id; /* "": outside of invocations */
    const char *version;
    struct bytes text; /* without its end */
    uint64_t cursor;   /* of this line: reading goes on behind it */
};
struct fn_log_query {
    struct bytes account, name;
    int64_t since_ms, until_ms; /* until_ms 0: no end */
    uint64_t cursor;            /* lines behind it only; 0: from the start */
    size_t max;                 /* lines; 0: 10,000 */
};
/* In the order of time; each() returns false to stop; lines live until it returns. Blocks while
 * it reads objects: not on a loop's thread. */
enum kist_err functions_logs_read(struct functions *f, const struct fn_log_query *query,
                                  bool (*each)(void *ctx, const struct fn_log_line *line),
                                  void *ctx) MUST_CHECK;
/* wake(ctx) comes once, from any thread, when there are lines behind the cursor (perhaps at
 * once). Ends with functions_logs_unwatch(), after which wake() is not running any more. */
struct fn_log_watch;
enum kist_err functions_logs_watch(struct functions *f, struct bytes account, struct bytes name,
                                   uint64_t cursor, void (*wake)(void *ctx), void *ctx,
                                   struct fn_log_watch **out) MUST_CHECK;
void functions_logs_unwatch(struct functions *f, struct fn_log_watch *watch);
/* All of a function's logs go (it was removed). In the background. */
void functions_logs_remove(struct functions *f, struct bytes account, struct bytes name);

#endif
