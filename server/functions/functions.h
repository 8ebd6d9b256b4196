/* Functions: code of the users' own that runs when an event comes, when it is called, or by the
 * clock, in sandboxed processes that speak Lambda's Runtime API.
 *
 *   api_*.c     Lambda's control API: functions, versions, aliases, permissions ...
 *   registry.c  functions as they are stored, and as they are looked up to be run
 *   code.c      zips as objects of the store, unpacked into a cache on the disk
 *   pool.c      environments: made on demand, reused, frozen, ended
 *   runtime.c   the Runtime API that environments speak
 *   invoke.c    one invocation from the caller to the caller
 *   logs.c      START, END, REPORT and what functions print
 *   usage.c     what invocations would be billed, recorded
 *   sink.c      events as invocations
 *   sandbox.c   processes that can do no harm
 */
#ifndef KIST_SERVER_FUNCTIONS_FUNCTIONS_H
#define KIST_SERVER_FUNCTIONS_FUNCTIONS_H

#include "auth/master_keys.h"
#include "auth/users.h"
#include "server/events/events.h"
#include "server/http/api.h"
#include "server/http/server.h"
#include "storage/object/store.h"

struct functions_config {
    struct store *store;
    struct auth_user_store *users;     /* for the credentials of functions' roles */
    const struct master_keys *masters; /* for code in encrypted objects; NULL: none is read */
    const char *data_dir;              /* unpacked code lives in DIR/functions */
    const char *region, *domain;
    unsigned concurrency;       /* environments that run at once; 0: 2 for each core */
    size_t memory_bytes;        /* that environments may hold together; 0: half the machine's */
    uint64_t unused_code_bytes; /* unpacked code that no environment uses; 0: 2 GiB */
    unsigned idle_s;            /* an environment that waits is ended after this; 0: 300 */
    bool trust;                 /* run functions although no sandbox protects */
    const char *zygote_exe;     /* as sandbox_config's; NULL: this program */
    unsigned without;           /* as sandbox_config's */
    bool off;                   /* no functions at all: creating one is refused */
    unsigned usage_interval_s;  /* usage is committed so often; 0: never */
};

struct functions;
enum kist_err functions_open(const struct functions_config *config,
                             struct functions **out) MUST_CHECK;
/* Who keeps functions' settings as targets, and is told when they change. */
void functions_watch(struct functions *f, struct events *events);
/* Once the servers listen: where environments' requests to the store go. */
void functions_start(struct functions *f, struct http_server *s3);
/* Ends all environments. Before the HTTP servers stop. */
void functions_stop(struct functions *f);
void functions_close(struct functions *f); /* NULL is allowed */
/* "user, mount, pid, net namespaces; seccomp; cgroup v2": for the start message. */
void functions_describe(struct functions *f, struct buf *out);

/* The control API (and function URLs' host names): live as long as f. */
const struct api_service *functions_service(struct functions *f);
/* Function URLs: <id>.lambda-url.<region>.<domain>, for the front as well. */
const struct api_service *functions_urls(struct functions *f);
/* Requests of websites that a routing rule gives to a function: the call's resource. */
const struct api_service *functions_sites(struct functions *f);
/* Targets with lambda ARNs. */
const struct event_sink *functions_sink(struct functions *f);

/* ---- invoking, for events, schedules, URLs and the API ---- */

/* Content type of answers that begin with HTTP's metadata. */
#define FN_INTEGRATION_TYPE "application/vnd.awslambda.http-integration-response"

struct fn_result {
    enum fn_end {
        FN_OK,
        FN_ERROR,     /* the function says so, or it ended badly: payload is the error's JSON */
        FN_THROTTLED, /* no concurrency left */
        FN_MISSING,   /* no such function or version */
        FN_BROKEN     /* it cannot be started here: why says so */
    } end;
    struct bytes payload;      /* lives until done() returns */
    struct bytes content_type; /* that the runtime gave the answer; of streams with HTTP metadata
                                  FN_INTEGRATION_TYPE */
    bool streamed;             /* sent in the streaming mode: larger than usual, perhaps */
    bool handled;              /* FN_ERROR: reported by the runtime, not by its end */
    const char *why;           /* FN_THROTTLED, FN_MISSING, FN_BROKEN */
    const char *version;       /* that ran */
    struct bytes log_tail;     /* last 4 KiB, when asked for */
    uint64_t duration_us, billed_ms, memory_max_bytes, init_us;
    const Kist__Span *span; /* of the trace; NULL: of none */
};

struct fn_invocation {
    struct bytes arn;            /* of the function, with version or alias if one is meant */
    struct bytes payload;        /* borrowed until done() */
    const char *request_id;      /* UUID; borrowed until done() */
    const char *trace;           /* W3C traceparent, or NULL: a new trace */
    struct bytes client_context; /* of X-Amz-Client-Context, decoded; or empty */
    bool log_tail;
    const Kist__Lineage *lineage; /* of the event that it is for; NULL: nobody's */
    const Kist__Event *event;     /* that it is for; NULL: none */
    /* May be NULL. An answer that the function streams, as it comes, at most 20 MiB in all; such
     * an answer's payload in done() is empty. Never blocks. False: that is enough for now, the
     * function is to wait (a few pieces more may come all the same) until functions_more(),
     * which must follow once for each false. */
    bool (*piece)(struct fn_invocation *i, struct bytes content_type, struct bytes piece);
    /* From any thread, exactly once. */
    void (*done)(struct fn_invocation *i, const struct fn_result *result);
    void *user;
    /* functions': */
    void *state;
};
/* Never blocks; done() may be called before it returns. */
void functions_invoke(struct functions *f, struct fn_invocation *i);
/* After a piece() that said false, perhaps before it has returned: from any thread, but not once
 * done() has begun to return. */
void functions_more(struct fn_invocation *i);

/* What the invocation is doing that sends a request: over a connection of its environment with
 * this tag (functions_start(); NULL: another connection), or from wherever with its environment's
 * credentials (who may be NULL). Between invocations, what the last one did; when the environment
 * has ended, what its credentials say. NULL: no function's. ctx is the functions. */
const Kist__Lineage *functions_lineage_of(void *ctx, void *tag, const struct auth_identity *who,
                                          struct arena *arena);

/* ---- metrics ---- */

#define FN_DURATION_BUCKETS 16
extern const double fn_duration_bounds[FN_DURATION_BUCKETS]; /* seconds, ascending */
struct fn_histogram {
    uint64_t upto[FN_DURATION_BUCKETS]; /* as Prometheus counts: all that are not longer */
    uint64_t count;
    double sum_s;
};
/* Since the start. */
struct fn_stats {
    const char *account, *name;
    uint64_t invocations; /* that were not throttled */
    uint64_t errors, timeouts, throttles, coldstarts, memory_max_bytes;
    double billed_gb_ms; /* memory size in GB times billed ms */
    struct fn_histogram init, run;
};
/* Of each function that was invoked; each() returns false to stop. */
void functions_stats(struct functions *f, bool (*each)(void *ctx, const struct fn_stats *stats),
                     void *ctx);
struct fn_totals {
    unsigned concurrency, running, environments, waiting_functions;
    uint64_t memory_bytes, memory_max_bytes;
};
void functions_totals(struct functions *f, struct fn_totals *out);
/* All of it in Prometheus' text format; ctx is the functions. */
enum kist_err functions_metrics(void *ctx, struct buf *out) MUST_CHECK;

#endif
