/* How functions run: environments, who waits for them, and what one invocation carries.
 *
 *     pool --> shard --> family (a function's name) --> fleet (one version as it is now)
 *                                                          |  idle environments, waiting runs
 *                                                          '--> environment --> sandbox
 *
 *     STARTING --> INIT --> BUSY --> ANSWERED --> IDLE --> BUSY ...       any --> DEAD
 *     a worker     "next"   a run    response     "next"
 *     spawns       comes             came         comes
 *
 * An environment belongs to one loop, a thread that accepts its connections and watches its
 * process. Whoever invokes takes an idle environment out of its fleet and writes the answer to
 * the "next" that waits there itself: no thread is woken for that.
 *
 * Locks, in this order: fn_env.lock, shard.lock, pool.wait_lock or pool.live_lock. None is held
 * when done() of an invocation is called.
 */
#ifndef KIST_SERVER_FUNCTIONS_RUN_H
#define KIST_SERVER_FUNCTIONS_RUN_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/functions/internal.h"
#include "server/functions/sandbox.h"
#include "server/functions/wire.h"
#include "storage/base/worker.h"

#define RUNTIME_PORT 9001
#define STORE_PORT 9000
#define INIT_TIMEOUT_NS (10 * UINT64_C(1000000000)) /* Lambda's */
#define RETURN_NS (20 * UINT64_C(1000000)) /* from an answer to asking again, for a usual one */
#define FREEZE_AFTER_NS (100 * UINT64_C(1000000))
#define SHARDS 64
#define LOOPS_MAX 4
#define FLEET_WAITING_MAX 256     /* events that wait for an environment */
#define CONNECTIONS_MAX 16        /* of one environment, to the Runtime API */
#define STORE_CONNECTIONS_MAX 256 /* of one, to the store */
#define STREAM_MAX (20U << 20)    /* answers that are streamed: Lambda's first limit */
#define TRACE_HEADER_MAX 80
#define ACCESS_KEY_LEN 20

struct fn_loop;
struct fn_env;
struct fn_conn;
struct log_stream;
struct fn_metric;

/* ---- one invocation ---- */

struct fn_run {
    struct fn_run *next; /* of those that wait */
    struct functions *f;
    struct fn_invocation *call;
    struct arena arena;
    struct function_id id; /* of the version that runs: in the arena */
    struct function_found found;
    const char *arn; /* that was invoked */
    struct log_stream *log;
    struct fn_metric *metric;
    struct fleet *fleet; /* a reference, once it is in the pool */
    bool event;          /* may wait */
    bool soon;           /* waits, counted in its fleet's soon */
    bool impatient;      /* has waited for an environment that did not come back */
    /* The trace. */
    char trace[33], parent[17], span[17];
    bool sampled;
    Kist__Lineage lineage; /* of what it writes */
    int64_t asked_ms, begun_ms, deadline_ms;
    uint64_t asked_ns, begun_ns; /* begun_ns 0: no process has it yet */
    uint64_t init_us;            /* 0: the environment was there */
    uint64_t memory_peak;
    bool cold;
    char *tail; /* FN_TAIL_MAX, a ring; NULL: nobody wants it */
    size_t tail_len;
    /* A streamed answer. env is set before the first piece() and then stays. */
    struct fn_env *env;
    struct fn_conn *from; /* under env->lock; NULL: it comes no more */
};

/* invoke.c: ends it: END and REPORT, metrics, done(), and frees it. No lock is held. */
void run_finish(struct fn_run *run, struct fn_result *result);
/* The same with an error's JSON made here. message may hold what JSON must escape. */
void run_fail(struct fn_run *run, const char *type, const char *message);
void run_end_with(struct fn_run *run, enum fn_end end, const char *why);
/* What the process prints, or what is said of it: into the log and the tail. */
void run_log(struct fn_run *run, struct bytes line);
/* A process begins with it: START. Sets begun and the deadline. */
void run_begin(struct fn_run *run);

/* ---- environments ---- */

enum fn_watch_kind {
    WATCH_WAKE,
    WATCH_LISTEN,
    WATCH_STORE,
    WATCH_OUTPUT,
    WATCH_EXIT,
    WATCH_TIMER,
    WATCH_CONN
};
/* What an epoll event points to; fd -1: no longer watched. */
struct fn_watch {
    enum fn_watch_kind kind;
    int fd;
};

enum env_state { ENV_STARTING, ENV_INIT, ENV_BUSY, ENV_ANSWERED, ENV_IDLE, ENV_DEAD };

struct fn_env {
    struct functions *f;
    struct fleet *fleet; /* a reference */
    struct fn_loop *loop;
    atomic_uint refs, store_conns;
    struct job job;
    struct code_entry *code[1 + SANDBOX_LAYERS_MAX];
    struct sandbox *box;
    struct fn_watch listen, store, output, exit, timer;
    int own_ports[2]; /* of listen and store, where the sandbox has no network; otherwise -1 */
    struct fn_env *live_prev, *live_next; /* under pool.live_lock */
    bool told_to_end;
    char access_key[ACCESS_KEY_LEN + 1]; /* of its credentials; empty: none. The same lock */

    /* Under the shard's lock. */
    struct fn_env *idle_prev, *idle_next; /* newest first */
    bool idle, slot;
    bool returns; /* has answered: counted in the fleet as one that will ask again */
    bool slot_shared;
    uint64_t memory_held; /* bytes counted in the pool */

    pthread_mutex_t lock; /* of what follows */
    enum env_state state;
    struct fn_run *run;
    struct fn_conn *waiting; /* has asked for work */
    bool frozen;
    bool given;         /* BUSY: the process has the run */
    bool init_reported; /* the runtime has said why it cannot begin */
    uint64_t started_ns, ready_ns, idle_ns, slot_ns;
    uint64_t return_ns;  /* ANSWERED: it is late then */
    uint64_t due_ns;     /* INIT, BUSY, ANSWERED: it is ended then */
    uint64_t armed_ns;   /* the timer; 0: off */
    struct buf lineage;  /* packed, of the run that was given last, or that it is started for */
    char request_id[64]; /* of that run */
    /* The loop's alone. */
    struct fn_conn *conns;
    unsigned conn_count;
    struct fn_env *dead_next;
    size_t line_len;
    char line[4096];   /* printed, its end has not come yet */
    bool line_goes_on; /* its beginning is in the log already, or was not wanted there: */
    bool line_hidden;
};

/* environment.c */
/* Begins with run, which waits for it; a slot and memory are the environment's already. */
struct fn_env *env_new(struct functions *f, struct fleet *fleet, struct fn_run *run);
void env_start(struct fn_env *e);
void env_ref(struct fn_env *e);
void env_unref(struct fn_env *e);
/* False: it has ended meanwhile, and the run is still the caller's. */
bool env_give(struct fn_env *e, struct fn_run *run) MUST_CHECK;
/* Ends its processes; a run that it has ends with that. No lock is held. */
void env_kill(struct fn_env *e);
/* e->lock is held. */
void env_arm(struct fn_env *e, uint64_t at_ns);
/* e->lock is held: from now on, what it does is done for run. */
void env_keep_lineage(struct fn_env *e, const struct fn_run *run);
/* What its invocation is doing, or did last; NULL: nothing, or no memory. */
Kist__Lineage *env_lineage(struct fn_env *e, struct arena *arena);
/* Loop's side. */
void env_accept_store(struct fn_env *e);
void env_timer(struct fn_env *e);
/* What has been printed so far belongs to that run; NULL: to the one that it has, if any. */
void env_output(struct fn_env *e, struct fn_run *run);
void env_exited(struct fn_env *e);

/* runtimes.c: what is started for a function. Lives in the arena. */
struct fn_launch {
    const char **argv, **envp;
    const char *task_dir, *runtime_dir, **layer_dirs;
};
enum kist_err launch_make(struct fn_env *e, const char *task_dir, const char **layer_dirs,
                          const uint16_t ports[2], struct arena *arena, struct fn_launch *out,
                          const char **why) MUST_CHECK;
/* INIT_START: an environment begins. */
void runtime_log_start(struct fn_env *e);
/* Writes the bootstraps to DIR/functions/runtime. */
enum kist_err runtimes_write(struct functions *f) MUST_CHECK;
/* credentials.c: AWS_ACCESS_KEY_ID and so on; all NULL without a role. */
struct fn_credentials {
    const char *access_key, *secret, *token;
};
/* depth: of the chain, for when the environment has ended that has them. */
enum kist_err credentials_make(struct functions *f, const Kist__Function *function,
                               unsigned depth, struct arena *arena,
                               struct fn_credentials *out) MUST_CHECK;
#define CREDENTIALS_LIFE_MS ((int64_t)12 * 3600 * 1000)

/* ---- runtime.c: the Runtime API ---- */

struct fn_conn {
    struct fn_watch watch;
    struct fn_env *env;
    struct fn_conn *next, *dead_next;
    _Atomic enum { CONN_HEAD, CONN_BODY, CONN_NEXT } state;
    /* What is to be sent: under env->lock. The payload is the run's. */
    struct buf out;
    size_t out_at;
    struct bytes payload;
    atomic_bool polls_out, close_after;
    int holds; /* of piece(), less functions_more(): > 0, nothing is read. Under env->lock */
    /* The loop's alone. */
    size_t in_len;
    uint8_t in[WIRE_HEAD_MAX];
    struct wire_head head;
    char target[256], error_type[128], content_type[128];
    bool streams;
    struct buf body;
    uint64_t body_left, body_seen;
    bool discard;          /* of a body that nobody wants */
    struct fn_run *pieces; /* whose caller gets the body as it comes */
    struct wire_chunks chunks;
};
/* Connections that wait at e->listen. */
void runtime_accept(struct fn_env *e);
void runtime_readable(struct fn_conn *c);
/* What has been sent made room: requests that came meanwhile. False: to be closed. */
bool runtime_resume(struct fn_conn *c) MUST_CHECK;
/* e->lock is held: sends what waits; false: the connection is broken. With c->polls_out the rest
 * goes when there is room, and the loop closes what is to be closed after that. */
bool runtime_flush(struct fn_conn *c) MUST_CHECK;
/* e->lock is held: answers the "next" of e->waiting with e->run. */
void runtime_send_run(struct fn_env *e);
void runtime_close(struct fn_conn *c);
/* e->lock is held: the run ends, whose pieces the connection may have. */
void runtime_drop_pieces(struct fn_conn *c);

/* ---- loop.c ---- */
enum kist_err loop_open(struct fn_loop **out) MUST_CHECK;
void loop_close(struct fn_loop *loop);
bool loop_watch(struct fn_loop *loop, struct fn_watch *watch, uint32_t events) MUST_CHECK;
void loop_change(struct fn_loop *loop, struct fn_watch *watch, uint32_t events);
void loop_forget(struct fn_loop *loop, struct fn_watch *watch);
/* From the loop's thread: freed, or buried, when no event can point to it any more. */
void loop_bury_conn(struct fn_loop *loop, struct fn_conn *c);
void loop_bury_env(struct fn_loop *loop, struct fn_env *e);
/* environment.c: off the loop. */
void env_bury(struct fn_env *e);

/* ---- pool.c ---- */

struct fleet {
    struct fleet *next; /* of the family */
    struct family *family;
    struct arena arena;
    struct function_id id;
    struct function_found found;
    struct log_stream *log;
    /* Under the shard's lock. */
    unsigned refs;
    bool stale; /* changed since: no new runs */
    struct fn_env *idle_first, *idle_last;
    struct fn_run *waiting, **waiting_end;
    unsigned waiting_count;
    unsigned returning; /* environments that have answered and not asked again yet */
    unsigned soon;      /* calls that wait for those */
    /* Under pool.wait_lock. */
    atomic_bool listed; /* read without it, as a hint */
    struct fleet *wait_next;
};
/* All that has a function's name: reserved concurrency is the name's. */
struct family {
    struct family *next;
    struct shard *shard;
    char *account, *name;
    struct fleet *fleets;
    unsigned running;
    uint32_t reserved; /* + 1; 0: none */
};
struct shard {
    pthread_mutex_t lock;
    struct family *families;
};
struct pool {
    struct functions *f;
    unsigned concurrency, spare; /* events leave that many slots alone */
    uint64_t memory_max, idle_ns;
    struct worker_pool *workers;
    struct worker_pool *counter; /* one thread: a job is queued again while it runs */
    struct fn_loop *loops[LOOPS_MAX];
    unsigned loop_count;
    struct shard shards[SHARDS];
    atomic_uint next_loop, running, running_shared, reserved;
    atomic_uint returning; /* environments that have answered just now */
    atomic_uint_fast64_t memory;
    atomic_bool stopping, counting;
    struct job count_job;      /* of what is reserved */
    pthread_mutex_t wait_lock; /* fleets whose runs wait, in turn */
    struct fleet *wait_first, **wait_end;
    atomic_uint wait_count;
    pthread_mutex_t live_lock;
    pthread_cond_t live_none;
    struct fn_env *live; /* whose processes may be there */
    unsigned live_count;
};
enum kist_err pool_open(struct functions *f, struct pool **out) MUST_CHECK;
/* Ends all environments and waits for their ends. */
void pool_stop(struct pool *p);
void pool_close(struct pool *p);
/* These credentials are the environment's. */
void pool_keep_key(struct fn_env *e, const char *access_key);
/* The environment, with a reference; NULL: it is no more. */
struct fn_env *pool_env_of_key(struct pool *p, struct bytes access_key);
/* Gives the run to an environment, has one made, lets it wait, or ends it as throttled. */
void pool_run(struct pool *p, struct fn_run *run);
/* An environment asks for work, e->lock is held: a run, or NULL and then it is idle; *retire: it
 * is to be ended. */
struct fn_run *pool_next(struct fn_env *e, bool *retire);
/* It has answered, e->lock is held: a call that comes now waits for it a little. */
void pool_returns(struct fn_env *e);
/* It does not come back soon, e->lock is not held: who waited for that does so no more. */
void pool_lingers(struct fn_env *e);
/* It does nothing for a run any more, though its process may still be there. e->lock is held;
 * pool_pump() must follow when it is not. */
void pool_release_slot(struct fn_env *e);
/* It is dead: e->lock is not held. Gives back slot and memory. */
void pool_gone(struct fn_env *e);
void fleet_unref(struct fleet *fleet);
/* Adds up anew what functions have reserved, on a worker. */
void pool_count_reserved(struct pool *p);
/* The first run that waits; the shard's lock is held. NULL: none. */
struct fn_run *pool_dequeue(struct fleet *fleet);
/* The next fleet whose runs wait, with its reference; it is no longer listed. NULL: none. */
struct fleet *pool_wait_take(struct pool *p);
/* Those who wait get what has become free. */
void pool_pump(struct pool *p);

/* ---- pool_room.c: what the pool gives out ---- */
/* These with the shard's lock held. *shared: the slot is none of those that the family has
 * reserved; false: there is none. */
bool pool_slot_take(struct pool *p, struct family *family, bool event, bool *shared) MUST_CHECK;
/* Whether there would be one. Who stands in line because there was none asks this afterwards:
 * slots of other shards come back without its lock, and wake those that stand in line by then. */
bool pool_slot_free(const struct pool *p, const struct family *family, bool event);
void pool_slot_back(struct pool *p, struct family *family, bool shared);
/* An environment's, if it has one; nor does it count as one that will ask again. */
void pool_slot_release(struct fn_env *e);
void pool_return_over(struct fn_env *e);
void pool_memory_back(struct fn_env *e);
void pool_idle_push(struct fn_env *e);
void pool_idle_remove(struct fn_env *e);
/* These with no lock held. Memory for one more environment, taken from idle ones if need be. */
bool pool_make_room(struct pool *p, uint64_t bytes) MUST_CHECK;
/* Takes it out of the idle ones; false: somebody else did. */
bool pool_take_idle(struct fn_env *e);

/* ---- log_level.c ---- */
enum fn_level { LEVEL_TRACE, LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR, LEVEL_FATAL };
/* Of a JSON object's member "level"; INFO of everything else. The line may be cut off. */
enum fn_level fn_level_of(struct bytes line);
bool fn_logs_json(const Kist__Function *latest);
/* Whether the function's logs get what it prints, and what is said of it (a platform event). */
bool fn_wants_line(const Kist__Function *latest, struct bytes line);
bool fn_wants_event(const Kist__Function *latest, enum fn_level level);

/* ---- logs.c, metrics.c ---- */
enum kist_err logs_open(struct functions *f, struct logs **out) MUST_CHECK;
void logs_close(struct logs *logs); /* writes what there is; NULL is allowed */
/* A reference to a function's log; NULL: no memory. */
struct log_stream *logs_stream(struct logs *logs, struct bytes account, struct bytes name);
void logs_unref(struct log_stream *stream); /* NULL is allowed */
void logs_add(struct log_stream *stream, const char *request_id, const char *version,
              struct bytes text);

enum kist_err metrics_open(struct fn_metrics **out) MUST_CHECK;
void metrics_close(struct fn_metrics *m);
/* Lives as long as m. Functions for which there is no room are counted as one, which has no
 * name. */
struct fn_metric *metrics_of(struct fn_metrics *m, struct bytes account, struct bytes name);
void metrics_count(struct fn_metric *m, const struct fn_run *run, const struct fn_result *result);
void metrics_timeout(struct fn_metric *m);
/* What was counted of a function on a day and is not recorded yet. */
struct fn_unrecorded {
    struct fn_metric *metric;
    const char *account, *name; /* live as long as the metrics */
    uint32_t day;
    uint64_t invocations, billed_mb_ms;
};
/* Zeroed memory is before the first one. */
struct fn_metrics_at {
    size_t list;
    struct fn_metric *metric;
    unsigned slot;
};
/* Takes the next one that is not zero; false: there are no more. */
bool metrics_take(struct fn_metrics *m, struct fn_metrics_at *at, struct fn_unrecorded *out);
/* It could not be recorded. */
void metrics_put_back(const struct fn_unrecorded *taken);

/* ---- usage.c ---- */
/* Records every config.usage_interval_s, and when it is closed. */
enum kist_err fn_usage_open(struct functions *f, struct fn_usage **out) MUST_CHECK;
void fn_usage_close(struct fn_usage *u); /* NULL is allowed */

/* ---- code.c ---- */
struct code_entry;
enum kist_err code_open(struct functions *f, struct code_cache **out) MUST_CHECK;
void code_close(struct code_cache *c);
/* The code of that hash, unpacked; blocks while it is made. *why as code_check(). */
enum kist_err code_acquire(struct code_cache *c, const uint8_t sha256[32], const char *key,
                           struct code_entry **out, const char **why) MUST_CHECK;
void code_release(struct code_cache *c, struct code_entry *e); /* NULL is allowed */
const char *code_dir(const struct code_entry *e);
/* unzip.c: into an existing directory; dir NULL: only looks. *why (static text) goes with
 * KIST_E_INVALID and KIST_E_TOO_LARGE. */
enum kist_err unzip(struct bytes zip, const char *dir, uint64_t *unpacked,
                    const char **why) MUST_CHECK;

/* sink.c */
void sink_init(struct functions *f);

#endif
