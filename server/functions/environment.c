/* An environment from its start to its burial; see run.h for its states. */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "server/functions/run.h"
#include "storage/base/codec.h"
#include "storage/base/trace.h"

#define OUTPUT_READS 16 /* at once, of 4 KiB: other environments want to be heard, too */
#define LISTEN_BACKLOG 128
#define ARENA_MAX ((size_t)1 << 20)

/* ---- life ---- */

void env_ref(struct fn_env *e)
{
    atomic_fetch_add(&e->refs, 1);
}

void env_unref(struct fn_env *e)
{
    if (atomic_fetch_sub(&e->refs, 1) != 1)
        return;
    fleet_unref(e->fleet);
    pthread_mutex_destroy(&e->lock);
    buf_release(&e->lineage);
    free(e);
}

static void enter_live(struct pool *p, struct fn_env *e)
{
    pthread_mutex_lock(&p->live_lock);
    e->live_next = p->live;
    if (p->live)
        p->live->live_prev = e;
    p->live = e;
    p->live_count++;
    pthread_mutex_unlock(&p->live_lock);
}

static void leave_live(struct pool *p, struct fn_env *e)
{
    pthread_mutex_lock(&p->live_lock);
    *(e->live_prev ? &e->live_prev->live_next : &p->live) = e->live_next;
    if (e->live_next)
        e->live_next->live_prev = e->live_prev;
    if (--p->live_count == 0)
        pthread_cond_broadcast(&p->live_none);
    pthread_mutex_unlock(&p->live_lock);
}

void env_keep_lineage(struct fn_env *e, const struct fn_run *run)
{
    buf_clear(&e->lineage);
    if (schema_pack(&run->lineage, &e->lineage) != KIST_OK)
        buf_clear(&e->lineage);
}

struct fn_env *env_new(struct functions *f, struct fleet *fleet, struct fn_run *run)
{
    struct pool *p = f->pool;
    struct fn_env *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    pthread_mutex_init(&e->lock, NULL);
    buf_init(&e->lineage, 64 << 10);
    e->f = f;
    e->fleet = fleet;
    e->loop = p->loops[atomic_fetch_add(&p->next_loop, 1) % p->loop_count];
    e->run = run;
    e->started_ns = mono_ns();
    e->slot_ns = e->started_ns;
    e->own_ports[0] = e->own_ports[1] = -1;
    e->listen = (struct fn_watch){ WATCH_LISTEN, -1 };
    e->store = (struct fn_watch){ WATCH_STORE, -1 };
    e->output = (struct fn_watch){ WATCH_OUTPUT, -1 };
    e->exit = (struct fn_watch){ WATCH_EXIT, -1 };
    e->timer = (struct fn_watch){ WATCH_TIMER, -1 };
    env_keep_lineage(e, run); /* what its program does before it asks for work is done for run */
    atomic_init(&e->refs, 1);
    enter_live(p, e);
    return e;
}

static void release_code(struct fn_env *e)
{
    for (size_t i = 0; i < ARRAY_LEN(e->code); i++) {
        code_release(e->f->code, e->code[i]);
        e->code[i] = NULL;
    }
}

static void bury_job(struct job *job)
{
    struct fn_env *e = CONTAINER_OF(job, struct fn_env, job);
    sandbox_free(e->box);
    for (size_t i = 0; i < ARRAY_LEN(e->own_ports); i++)
        if (e->own_ports[i] >= 0)
            close(e->own_ports[i]);
    release_code(e);
    leave_live(e->f->pool, e);
    env_unref(e);
}

void env_bury(struct fn_env *e)
{
    e->job.run = bury_job;
    worker_submit(e->f->pool->workers, &e->job);
}

/* ---- start ---- */

static enum kist_err acquire_code(struct fn_env *e, const char **layer_dirs, struct arena *arena,
                                  const char **why)
{
    const Kist__Function *function = e->fleet->found.function;
    size_t n = 0;
    if (function->code_sha256.len != 32 || function->n_layers > SANDBOX_LAYERS_MAX)
        return KIST_E_INVALID;
    TRY(code_acquire(e->f->code, function->code_sha256.data, function->code_key, &e->code[0],
                     why));
    for (size_t i = 0; i < function->n_layers; i++) {
        Kist__FunctionLayer *layer;
        *why = "a layer of the function is no longer there";
        TRY(registry_layer(e->f, bytes_str(function->layers[i]), arena, &layer));
        if (layer->code_sha256.len != 32)
            return KIST_E_INVALID;
        TRY(code_acquire(e->f->code, layer->code_sha256.data, layer->code_key, &e->code[1 + i],
                         why));
        layer_dirs[n++] = code_dir(e->code[1 + i]);
    }
    layer_dirs[n] = NULL;
    return KIST_OK;
}

/* Without a network of its own a sandbox cannot have our usual ports, and its program is told
 * before it starts which it has: the server listens on any that are free. */
static enum kist_err listen_here(struct fn_env *e, uint16_t ports[2])
{
    for (size_t i = 0; i < ARRAY_LEN(e->own_ports); i++) {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr *any = (struct sockaddr *)&address;
        socklen_t len = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        e->own_ports[i] = fd;
        if (fd < 0 || bind(fd, any, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
            getsockname(fd, any, &len) != 0)
            return kist_err_from_errno(errno);
        ports[i] = ntohs(address.sin_port);
    }
    return KIST_OK;
}

static enum kist_err spawn(struct fn_env *e, struct arena *arena, const char **why)
{
    const Kist__Function *function = e->fleet->found.function;
    const char *layer_dirs[SANDBOX_LAYERS_MAX + 1];
    uint16_t ports[2] = { RUNTIME_PORT, STORE_PORT };
    struct fn_launch launch;
    bool shared = false; /* the machine's network */
    TRY(acquire_code(e, layer_dirs, arena, why));
    if (function->trusted || !(sandbox_features(e->f->host) & SANDBOX_NET_NS)) {
        *why = "the machine has no port left for the function";
        TRY(listen_here(e, ports));
        shared = true;
    }
    TRY(launch_make(e, code_dir(e->code[0]), layer_dirs, ports, arena, &launch, why));
    struct sandbox_spec spec = {
        .task_dir = launch.task_dir,
        .layer_dirs = launch.layer_dirs[0] ? launch.layer_dirs : NULL,
        .runtime_dir = launch.runtime_dir,
        .argv = launch.argv,
        .envp = launch.envp,
        .memory_bytes = (uint64_t)function->memory_mb << 20,
        .tmp_bytes = (uint64_t)function->tmp_mb << 20,
        .ports = ports,
        .ports_count = shared ? 0 : ARRAY_LEN(ports),
        .network = function->trusted,
    };
    *why = "the machine cannot start a process for the function";
    enum kist_err err = sandbox_spawn(e->f->host, &spec, &e->box);
    if (err == KIST_E_INVALID)
        *why = "the function's program cannot be executed";
    return err;
}

/* From here the loop sees it, its end first of all. e->lock is held. *deaf: not even that. */
static bool watch_all(struct fn_env *e, bool *deaf)
{
    e->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    bool shared = e->own_ports[0] >= 0;
    e->listen.fd = shared ? e->own_ports[0] : sandbox_port(e->box, 0)->fd;
    e->store.fd = shared ? e->own_ports[1] : sandbox_port(e->box, 1)->fd;
    e->output.fd = sandbox_output(e->box);
    e->exit.fd = sandbox_pidfd(e->box);
    *deaf = !loop_watch(e->loop, &e->exit, EPOLLIN);
    return !*deaf && e->timer.fd >= 0 && loop_watch(e->loop, &e->timer, EPOLLIN) &&
           loop_watch(e->loop, &e->listen, EPOLLIN) && loop_watch(e->loop, &e->store, EPOLLIN) &&
           loop_watch(e->loop, &e->output, EPOLLIN);
}

static void start_failed(struct fn_env *e, enum kist_err err, const char *why)
{
    pthread_mutex_lock(&e->lock);
    struct fn_run *run = e->run;
    e->run = NULL;
    e->state = ENV_DEAD;
    pthread_mutex_unlock(&e->lock);
    TRACE(TRACE_WARN, "functions", "%s cannot start: %s (%s)", e->fleet->found.function->name,
          why, kist_err_text(err));
    pool_gone(e);
    if (run)
        run_end_with(run, FN_BROKEN, why);
    if (e->timer.fd >= 0)
        close(e->timer.fd);
    bury_job(&e->job);
}

static void start_job(struct job *job)
{
    struct fn_env *e = CONTAINER_OF(job, struct fn_env, job);
    const char *why = "the function's code cannot be read";
    bool deaf;
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    enum kist_err err = spawn(e, &arena, &why);
    arena_release(&arena);
    if (err != KIST_OK) {
        start_failed(e, err, why);
        return;
    }
    runtime_log_start(e); /* nothing that it prints is read before it is watched */
    pthread_mutex_lock(&e->lock);
    e->state = ENV_INIT;
    e->due_ns = mono_ns() + INIT_TIMEOUT_NS;
    bool watched = watch_all(e, &deaf);
    if (watched)
        env_arm(e, e->due_ns);
    if (!watched || atomic_load(&e->f->pool->stopping)) {
        e->state = ENV_DEAD;
        sandbox_kill(e->box); /* the loop sees its end */
    }
    pthread_mutex_unlock(&e->lock);
    if (deaf)
        start_failed(e, KIST_E_IO, "the machine has no file descriptors left");
}

void env_start(struct fn_env *e)
{
    e->job.run = start_job;
    worker_submit(e->f->pool->workers, &e->job);
}

/* ---- work ---- */

void env_arm(struct fn_env *e, uint64_t at_ns)
{
    struct itimerspec when = { .it_value = { .tv_sec = (time_t)(at_ns / 1000000000),
                                             .tv_nsec = (long)(at_ns % 1000000000) } };
    /* A timer that comes too early looks again; most never come at all. */
    if (e->armed_ns && e->armed_ns <= at_ns)
        return;
    e->armed_ns = at_ns;
    (void)timerfd_settime(e->timer.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

bool env_give(struct fn_env *e, struct fn_run *run)
{
    pthread_mutex_lock(&e->lock);
    if (e->state != ENV_IDLE) {
        pthread_mutex_unlock(&e->lock);
        return false;
    }
    if (e->frozen && sandbox_thaw(e->box) != KIST_OK) {
        e->state = ENV_DEAD;
        sandbox_kill(e->box);
        pthread_mutex_unlock(&e->lock);
        return false;
    }
    e->frozen = false;
    e->run = run;
    runtime_send_run(e);
    pthread_mutex_unlock(&e->lock);
    return true;
}

void env_kill(struct fn_env *e)
{
    pthread_mutex_lock(&e->lock);
    if (e->state != ENV_DEAD && e->state != ENV_STARTING) {
        e->state = ENV_DEAD;
        sandbox_kill(e->box);
    }
    pthread_mutex_unlock(&e->lock);
}

static void store_gone(void *tag)
{
    struct fn_env *e = tag;
    atomic_fetch_sub(&e->store_conns, 1);
    env_unref(e);
}

void env_accept_store(struct fn_env *e)
{
    int fd = accept4(e->store.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (!e->f->s3 || atomic_load(&e->store_conns) >= STORE_CONNECTIONS_MAX ||
        !sandbox_owns_peer(e->box, fd)) {
        close(fd);
        return;
    }
    env_ref(e);
    atomic_fetch_add(&e->store_conns, 1);
    /* When that fails, fd is closed and store_gone() has been called. */
    enum kist_err err = http_server_adopt(e->f->s3, fd, e, "127.0.0.1", store_gone);
    if (err != KIST_OK)
        TRACE(TRACE_DEBUG, "functions", "a connection to the store: %s", kist_err_text(err));
}

Kist__Lineage *env_lineage(struct fn_env *e, struct arena *arena)
{
    Kist__Lineage *lineage = NULL;
    pthread_mutex_lock(&e->lock);
    if (e->lineage.len && schema_unpack(&kist__lineage__descriptor, buf_bytes(&e->lineage), arena,
                                        &lineage) != KIST_OK)
        lineage = NULL;
    pthread_mutex_unlock(&e->lock);
    return lineage;
}

/* ---- what it prints ---- */

static void print_line(struct fn_env *e, struct fn_run *run, bool goes_on)
{
    struct bytes line = bytes_of(e->line, e->line_len);
    if (!e->line_goes_on)
        e->line_hidden = !fn_wants_line(run ? run->found.latest : e->fleet->found.latest, line);
    e->line_goes_on = goes_on;
    e->line_len = 0;
    if (e->line_hidden)
        return;
    if (run)
        run_log(run, line);
    else
        logs_add(e->fleet->log, e->request_id, e->fleet->found.function->version, line);
}

static void printed(struct fn_env *e, struct fn_run *run, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n' || e->line_len == sizeof(e->line))
            print_line(e, run, text[i] != '\n');
        if (text[i] != '\n')
            e->line[e->line_len++] = text[i];
    }
}

void env_output(struct fn_env *e, struct fn_run *run)
{
    char text[4096];
    ssize_t n = 0;
    if (e->output.fd < 0)
        return;
    if (!run) {
        pthread_mutex_lock(&e->lock);
        run = e->run; /* only this thread ends it */
        pthread_mutex_unlock(&e->lock);
    }
    for (int i = 0; i < OUTPUT_READS; i++) {
        n = read(e->output.fd, text, sizeof(text));
        if (n <= 0)
            break;
        printed(e, run, text, (size_t)n);
        if ((size_t)n < sizeof(text))
            return;
    }
    if (n == 0)
        loop_forget(e->loop, &e->output);
}

/* ---- ends ---- */

/* e->lock is held. The payload goes with the run. */
static struct fn_run *take_run(struct fn_env *e)
{
    struct fn_run *run = e->run;
    e->run = NULL;
    for (struct fn_conn *c = e->conns; c; c = c->next) {
        c->payload = BYTES_EMPTY;
        runtime_drop_pieces(c);
    }
    if (run && e->box)
        run->memory_peak = sandbox_memory_peak(e->box);
    return run;
}

static void timed_out(struct fn_run *run, bool init)
{
    char message[160], when[TIME_ISO_LEN];
    time_iso(env_real()->now_ms(env_real()), when);
    snprintf(message, sizeof(message), "%s %s Task timed out after %u.00 seconds", when,
             run->call->request_id, init ? 10U : run->found.function->timeout_s);
    metrics_timeout(run->metric);
    run_log(run, bytes_str(message));
    run_fail(run, "Sandbox.Timedout", message);
}

/* e->lock is held. */
static void idle_timer(struct fn_env *e, uint64_t now, bool *end)
{
    uint64_t idle_ns = e->f->pool->idle_ns;
    if (now - e->idle_ns >= idle_ns && pool_take_idle(e)) {
        *end = true;
        e->state = ENV_DEAD;
        sandbox_kill(e->box);
        return;
    }
    if (!e->frozen && now - e->idle_ns >= FREEZE_AFTER_NS)
        e->frozen = sandbox_freeze(e->box) == KIST_OK;
    env_arm(e, e->idle_ns + (e->frozen || now - e->idle_ns >= FREEZE_AFTER_NS ? idle_ns
                                                                              : FREEZE_AFTER_NS));
}

void env_timer(struct fn_env *e)
{
    uint64_t ticks, now = mono_ns();
    struct fn_run *run = NULL;
    bool init = false, end = false, late = false;
    if (read(e->timer.fd, &ticks, sizeof(ticks)) < 0)
        return;
    pthread_mutex_lock(&e->lock);
    e->armed_ns = 0;
    if (e->state == ENV_IDLE) {
        idle_timer(e, now, &end);
    } else if (e->state != ENV_DEAD && now < e->due_ns) {
        late = e->state == ENV_ANSWERED && now >= e->return_ns;
        bool soon = e->state == ENV_ANSWERED && !late && e->return_ns < e->due_ns;
        env_arm(e, soon ? e->return_ns : e->due_ns);
    } else if (e->state != ENV_DEAD) {
        init = e->state == ENV_INIT;
        run = take_run(e);
        e->state = ENV_DEAD;
        sandbox_kill(e->box);
        pool_release_slot(e);
    }
    pthread_mutex_unlock(&e->lock);
    if (late)
        pool_lingers(e);
    if (run) {
        /* What it printed before is part of its story. */
        env_output(e, run);
        timed_out(run, init);
        pool_pump(e->f->pool);
    }
}

static void say_exit(struct fn_run *run, const struct sandbox_exit *end)
{
    char message[160], reason[64] = "without providing a reason";
    if (end->signal) {
        snprintf(reason, sizeof(reason), "with error: signal: %s", strsignal(end->signal));
        for (char *c = strchr(reason, 's'); *c; c++)
            *c = (char)tolower(*c);
    } else if (end->status) {
        snprintf(reason, sizeof(reason), "with error: exit status %d", end->status);
    }
    snprintf(message, sizeof(message), "RequestId: %s Error: Runtime exited %s",
             run->call->request_id, reason);
    run_log(run, bytes_str(message));
    run_fail(run, end->oom_killed ? "Runtime.OutOfMemory" : "Runtime.ExitError", message);
}

void env_exited(struct fn_env *e)
{
    struct sandbox_exit end = { .status = -1 };
    env_output(e, NULL);
    if (e->line_len)
        printed(e, e->run, "\n", 1);
    loop_forget(e->loop, &e->exit);
    if (sandbox_reap(e->box, &end) != KIST_OK)
        TRACE(TRACE_WARN, "functions", "the end of a process is not known");
    pthread_mutex_lock(&e->lock);
    struct fn_run *run = take_run(e);
    e->state = ENV_DEAD;
    pthread_mutex_unlock(&e->lock);
    loop_forget(e->loop, &e->listen);
    loop_forget(e->loop, &e->store);
    loop_forget(e->loop, &e->output);
    while (e->conns)
        runtime_close(e->conns);
    if (e->timer.fd >= 0) {
        int fd = e->timer.fd;
        loop_forget(e->loop, &e->timer);
        close(fd);
    }
    pool_gone(e);
    if (run) {
        if (end.memory_max_bytes > run->memory_peak)
            run->memory_peak = end.memory_max_bytes;
        say_exit(run, &end);
    }
    loop_bury_env(e->loop, e);
}
