/* The server's side of sandboxes: the host with its zygote, and each sandbox's life. */
#include "server/functions/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/functions/sandbox_cgroup.h"
#include "server/functions/sandbox_internal.h"
#include "storage/base/cleanup.h"
#include "storage/base/trace.h"

/* Longer than any start takes; what takes longer is broken. */
#define ANSWER_SECONDS 20
#define TMP_BYTES_DEFAULT (UINT64_C(512) << 20)
#define PIDS_DEFAULT 1024
/* Features that are the server's work. */
#define SANDBOX_CGROUPS                                                                          \
    ((unsigned)SANDBOX_CGROUP_MEMORY | SANDBOX_CGROUP_PIDS | SANDBOX_CGROUP_FREEZER |            \
     SANDBOX_CGROUP_V2)

struct sandbox_host {
    char *exe;
    unsigned without;
    bool prefer_bubblewrap;
    pthread_mutex_t lock; /* of the next two: a zygote that has died is started again */
    pid_t zygote;
    int socket;
    unsigned features; /* constant once open, as what follows */
    uint32_t uid_first, uid_count;
    _Atomic uint64_t next_id;
    struct cgroup_host cgroups;
};

struct sandbox {
    unsigned features;
    uint32_t uid; /* of its function, as the machine knows it */
    int control, pidfd, output;
    struct cgroup cgroup;
    struct sandbox_port ports[SANDBOX_PORTS_MAX];
    size_t ports_count;
    struct sandbox_shared *shared;
    struct sandbox_report last; /* the init's report of the end, once kind is SANDBOX_ENDED */
    bool reaped;
    struct sandbox_exit end; /* once reaped */
};

static enum kist_err from_errno(int error)
{
    return error ? kist_err_from_errno(error) : KIST_OK;
}

static int set_timeout(int fd)
{
    struct timeval t = { .tv_sec = ANSWER_SECONDS };
    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) == 0 ? 0 : errno;
}

/* Executes this program anew as zygote, with its end of the socket as descriptor 3. */
static enum kist_err start_zygote(const char *exe, int socket, pid_t *out)
{
    char command[] = SANDBOX_ZYGOTE_COMMAND, name[] = "kist", locale[] = "LC_ALL=C";
    char *argv[] = { name, command, NULL }, *envp[] = { locale, NULL };
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return KIST_E_NOMEM;
    int err = posix_spawn_file_actions_adddup2(&actions, socket, SANDBOX_ZYGOTE_FD);
    if (err == 0)
        err = posix_spawn(out, exe, &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    return from_errno(err);
}

/* Tells the zygote what to know and hears what it can. */
static enum kist_err greet(const struct sandbox_host *host, struct sandbox_abilities *out)
{
    CLEANUP_FREE struct sandbox_hello *hello = calloc(1, sizeof(*hello));
    if (!hello)
        return KIST_E_NOMEM;
    hello->without = host->without;
    hello->prefer_bubblewrap = host->prefer_bubblewrap;
    if (!(host->without & SANDBOX_SECCOMP) && sandbox_filter(hello) != KIST_OK)
        hello->filter_len = 0;
    TRY(from_errno(sandbox_send(host->socket, hello, sizeof(*hello), NULL, 0)));
    size_t len, none = 0;
    TRY(from_errno(sandbox_receive(host->socket, out, sizeof(*out), &len, NULL, &none)));
    return len == sizeof(*out) ? KIST_OK : KIST_E_IO;
}

static void zygote_close(struct sandbox_host *host)
{
    if (host->socket >= 0)
        close(host->socket);
    if (host->zygote > 0)
        while (waitpid(host->zygote, NULL, 0) < 0 && errno == EINTR)
            continue;
    host->socket = host->zygote = -1;
}

static enum kist_err zygote_open(struct sandbox_host *host, struct sandbox_abilities *out)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return kist_err_from_errno(errno);
    host->socket = pair[0];
    CLEANUP_CLOSE int theirs = pair[1];
    TRY(from_errno(set_timeout(host->socket)));
    TRY(start_zygote(host->exe, theirs, &host->zygote));
    close(TAKE_FD(theirs));
    return greet(host, out);
}

static enum kist_err host_start(struct sandbox_host *host, const struct sandbox_config *config)
{
    struct sandbox_abilities abilities;
    host->exe = strdup(config->zygote_exe ? config->zygote_exe : "/proc/self/exe");
    host->without = config->without;
    host->prefer_bubblewrap = config->prefer_bubblewrap;
    if (!host->exe)
        return KIST_E_NOMEM;
    /* The server's move into a leaf of version 2 comes before the zygote's birth. */
    cgroup_host_open(&host->cgroups, config->without);
    TRY(zygote_open(host, &abilities));
    unsigned v1 = cgroup_features(&host->cgroups, false);
    unsigned v2 = cgroup_features(&host->cgroups, true);
    host->features = abilities.features | v1 | v2 | (v2 ? SANDBOX_CGROUP_V2 : 0);
    host->uid_first = abilities.uid_first;
    host->uid_count = abilities.uid_count;
    return KIST_OK;
}

enum kist_err sandbox_host_open(const struct sandbox_config *config, struct sandbox_host **out)
{
    struct sandbox_host *host = calloc(1, sizeof(*host));
    if (!host)
        return KIST_E_NOMEM;
    pthread_mutex_init(&host->lock, NULL);
    host->socket = host->zygote = -1;
    enum kist_err err = host_start(host, config);
    if (err != KIST_OK) {
        sandbox_host_close(host);
        return err;
    }
    *out = host;
    return KIST_OK;
}

void sandbox_host_close(struct sandbox_host *host)
{
    if (!host)
        return;
    zygote_close(host);
    cgroup_host_close(&host->cgroups);
    pthread_mutex_destroy(&host->lock);
    free(host->exe);
    free(host);
}

/* Sends to the zygote; one that is gone is started again, once. */
static enum kist_err zygote_send(struct sandbox_host *host, const void *data, size_t len,
                                 const int *fds, size_t fds_count)
{
    pthread_mutex_lock(&host->lock);
    int error = host->socket < 0 ? EPIPE : sandbox_send(host->socket, data, len, fds, fds_count);
    enum kist_err err = from_errno(error);
    if (error == EPIPE || error == ECONNRESET) {
        struct sandbox_abilities again = { 0 };
        zygote_close(host);
        err = zygote_open(host, &again);
        if (err == KIST_OK && host->features & ~(again.features | SANDBOX_CGROUPS))
            err = KIST_E_IO; /* the machine has changed: not with less than was announced */
        if (err == KIST_OK)
            err = from_errno(sandbox_send(host->socket, data, len, fds, fds_count));
        if (err != KIST_OK)
            zygote_close(host);
        TRACE(TRACE_WARN, "sandbox", "the zygote had died; a new one: %s", kist_err_text(err));
    }
    pthread_mutex_unlock(&host->lock);
    return err;
}

unsigned sandbox_features(const struct sandbox_host *host)
{
    return host->features;
}

bool sandbox_protects(const struct sandbox_host *host)
{
    bool files = host->features & (SANDBOX_MOUNT_NS | SANDBOX_LANDLOCK);
    bool processes = host->features & (SANDBOX_PID_NS | SANDBOX_OWN_UID);
    return files && processes;
}

/* One part of the description: the names whose bits are set, between `before` and `after`. */
static enum kist_err describe(struct buf *out, unsigned features, const char *before,
                              const char *after, const unsigned *bits, const char *const *names,
                              size_t count)
{
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (!(features & bits[i]))
            continue;
        if (first)
            TRY(buf_printf(out, "%s%s", out->len ? "; " : "", before));
        TRY(buf_printf(out, "%s%s", first ? "" : ", ", names[i]));
        first = false;
    }
    return first ? KIST_OK : buf_append_str(out, after);
}

enum kist_err sandbox_describe(const struct sandbox_host *host, struct buf *out)
{
    static const unsigned spaces[] = { SANDBOX_USER_NS, SANDBOX_MOUNT_NS, SANDBOX_PID_NS,
                                       SANDBOX_NET_NS,  SANDBOX_IPC_NS,   SANDBOX_UTS_NS };
    static const char *const space_names[] = { "user", "mount", "pid", "net", "ipc", "uts" };
    static const unsigned others[] = { SANDBOX_OWN_UID, SANDBOX_SECCOMP, SANDBOX_LANDLOCK };
    static const char *const other_names[] = { "own user id", "seccomp", "landlock" };
    static const unsigned groups[] = { SANDBOX_CGROUP_MEMORY, SANDBOX_CGROUP_PIDS,
                                       SANDBOX_CGROUP_FREEZER };
    static const char *const group_names[] = { "memory", "pids", "freezer" };
    unsigned f = host->features;
    unsigned v1 = cgroup_features(&host->cgroups, false);
    unsigned v2 = cgroup_features(&host->cgroups, true);
    CLEANUP(buf_release) struct buf line;
    buf_init(&line, 1024);
    const char *spaces_end = f & SANDBOX_BUBBLEWRAP ? " namespaces by bubblewrap" : " namespaces";
    TRY(describe(&line, f, "", spaces_end, spaces, space_names, ARRAY_LEN(spaces)));
    TRY(describe(&line, f, "", "", others, other_names, ARRAY_LEN(others)));
    TRY(describe(&line, v2, "cgroup v2 (", ")", groups, group_names, ARRAY_LEN(groups)));
    TRY(describe(&line, v1, "cgroup v1 (", ")", groups, group_names, ARRAY_LEN(groups)));
    TRY(buf_printf(&line, "%sno_new_privs, rlimits", line.len ? "; " : ""));
    return buf_append_bytes(out, buf_bytes(&line));
}

/* Requests. */

static enum kist_err add_string(struct sandbox_request *request, const char *s)
{
    size_t len = strlen(s) + 1;
    if (len > sizeof(request->strings) - request->strings_len)
        return KIST_E_TOO_LARGE;
    memcpy(request->strings + request->strings_len, s, len);
    request->strings_len += (uint32_t)len;
    return KIST_OK;
}

/* Without links, because an init sees the machine's root in another place. */
static enum kist_err add_directory(struct sandbox_request *request, const char *path)
{
    CLEANUP_FREE char *real = realpath(path, NULL);
    if (!real)
        return errno == ENOMEM ? KIST_E_NOMEM : KIST_E_INVALID;
    return add_string(request, real);
}

static enum kist_err add_list(struct sandbox_request *request, const char *const *list,
                              uint32_t *count)
{
    for (*count = 0; list[*count]; ++*count) {
        if (*count >= SANDBOX_ARGS_MAX - 4)
            return KIST_E_TOO_LARGE;
        TRY(add_string(request, list[*count]));
    }
    return KIST_OK;
}

static enum kist_err make_request(struct sandbox_host *host, const struct sandbox_spec *spec,
                                  uint64_t id, struct sandbox_request *request)
{
    request->features = host->features & (spec->network ? ~(unsigned)SANDBOX_NET_NS : ~0U);
    if (host->uid_count > 1) { /* the last one is the inits' */
        request->uid = host->uid_first + (uint32_t)(id % (host->uid_count - 1));
        request->init_uid = host->uid_first + host->uid_count - 1;
    }
    request->memory_bytes = spec->memory_bytes;
    request->tmp_bytes = spec->tmp_bytes ? spec->tmp_bytes : TMP_BYTES_DEFAULT;
    request->pids_max = spec->pids_max ? spec->pids_max : PIDS_DEFAULT;
    request->network = spec->network;
    if (spec->ports_count > SANDBOX_PORTS_MAX || !spec->argv || !spec->argv[0] || !spec->envp)
        return KIST_E_INVALID;
    request->ports_count = (uint16_t)spec->ports_count;
    for (size_t i = 0; i < spec->ports_count; i++)
        request->ports[i] = spec->ports[i];
    TRY(add_directory(request, spec->task_dir));
    TRY(spec->runtime_dir ? add_directory(request, spec->runtime_dir) : add_string(request, ""));
    for (size_t i = 0; spec->layer_dirs && spec->layer_dirs[i]; i++) {
        if (i >= SANDBOX_LAYERS_MAX)
            return KIST_E_INVALID;
        TRY(add_directory(request, spec->layer_dirs[i]));
        request->layers_count++;
    }
    TRY(add_list(request, spec->argv, &request->args_count));
    return add_list(request, spec->envp, &request->env_count);
}

/* A page in memory that both sides map. */
static enum kist_err make_shared(struct sandbox *box, int *out)
{
    CLEANUP_CLOSE int fd = memfd_create("kist-sandbox", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, sizeof(*box->shared)) != 0)
        return kist_err_from_errno(errno);
    void *page = mmap(NULL, sizeof(*box->shared), PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return kist_err_from_errno(errno);
    box->shared = page;
    *out = TAKE_FD(fd);
    return KIST_OK;
}

/* Makes what the sandbox gets, and sends it off. */
static enum kist_err send_request(struct sandbox_host *host, struct sandbox *box,
                                  struct sandbox_request *request)
{
    CLEANUP_CLOSE int control = -1, output = -1, shared = -1;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return kist_err_from_errno(errno);
    box->control = pair[0];
    control = pair[1];
    TRY(from_errno(set_timeout(box->control)));
    if (pipe2(pair, O_CLOEXEC) != 0)
        return kist_err_from_errno(errno);
    box->output = pair[0];
    output = pair[1];
    if (fcntl(box->output, F_SETFL, O_NONBLOCK) != 0)
        return kist_err_from_errno(errno);
    TRY(make_shared(box, &shared));
    int fds[SANDBOX_FD_CGROUPS + SANDBOX_CGROUPS_MAX] = { control, output, shared };
    memcpy(fds + SANDBOX_FD_CGROUPS, box->cgroup.enter,
           box->cgroup.enter_count * sizeof(box->cgroup.enter[0]));
    request->cgroups_count = (uint32_t)box->cgroup.enter_count;
    enum kist_err err = zygote_send(
        host, request, offsetof(struct sandbox_request, strings) + request->strings_len, fds,
        SANDBOX_FD_CGROUPS + box->cgroup.enter_count);
    cgroup_entered(&box->cgroup);
    return err;
}

/* Waits for the zygote's word and the init's, in whatever order they come. */
static enum kist_err await_ready(struct sandbox *box, size_t ports)
{
    bool ready = false;
    while (!ready || box->pidfd < 0) {
        struct sandbox_report report;
        int fds[SANDBOX_PORTS_MAX];
        size_t len, count = ARRAY_LEN(fds);
        TRY(from_errno(
            sandbox_receive(box->control, &report, sizeof(report), &len, fds, &count)));
        if (len != sizeof(report))
            return KIST_E_IO; /* it is gone without a word */
        if (report.kind == SANDBOX_STARTED && count == 1) {
            box->pidfd = fds[0];
        } else if (report.kind == SANDBOX_READY && count == ports) {
            for (size_t i = 0; i < count; i++)
                box->ports[i] = (struct sandbox_port){ fds[i], report.ports[i] };
            box->ports_count = count;
            ready = true;
        } else if (report.kind == SANDBOX_ENDED) {
            box->last = report; /* so short a function that the zygote comes last */
        } else {
            for (size_t i = 0; i < count; i++)
                close(fds[i]);
            if (report.kind != SANDBOX_FAILED)
                return KIST_E_IO;
            if (report.bad)
                return KIST_E_INVALID;
            if (report.error == ENOTSUP)
                return KIST_E_UNSUPPORTED;
            TRACE(TRACE_WARN, "sandbox", "a function does not start: %s",
                  strerrordesc_np(report.error));
            return kist_err_from_errno(report.error);
        }
    }
    return KIST_OK;
}

static enum kist_err spawn(struct sandbox_host *host, const struct sandbox_spec *spec,
                           struct sandbox *box)
{
    uint64_t id = host->next_id++;
    CLEANUP_FREE struct sandbox_request *request = calloc(1, sizeof(*request));
    if (!request)
        return KIST_E_NOMEM;
    TRY(make_request(host, spec, id, request));
    box->features = request->features;
    box->uid = request->features & SANDBOX_OWN_UID ? request->uid : (uint32_t)geteuid();
    /* What is in /tmp counts as memory of whoever wrote it. Lambda counts it apart, so the
     * kernel's limit is for both, and the init watches over the processes' own. */
    uint64_t memory = request->memory_bytes ? request->memory_bytes + request->tmp_bytes : 0;
    TRY(cgroup_make(&host->cgroups, id, memory, request->pids_max, &box->cgroup));
    TRY(send_request(host, box, request));
    return await_ready(box, request->ports_count);
}

enum kist_err sandbox_spawn(struct sandbox_host *host, const struct sandbox_spec *spec,
                            struct sandbox **out)
{
    struct sandbox *box = calloc(1, sizeof(*box));
    if (!box)
        return KIST_E_NOMEM;
    box->control = box->pidfd = box->output = -1;
    enum kist_err err = spawn(host, spec, box);
    if (err != KIST_OK) {
        sandbox_free(box);
        return err;
    }
    *out = box;
    return KIST_OK;
}

int sandbox_pidfd(const struct sandbox *box)
{
    return box->pidfd;
}

int sandbox_output(const struct sandbox *box)
{
    return box->output;
}

const struct sandbox_port *sandbox_port(const struct sandbox *box, size_t i)
{
    return i < box->ports_count ? &box->ports[i] : NULL;
}

bool sandbox_has_own_net(const struct sandbox *box)
{
    return box->features & SANDBOX_NET_NS;
}

uint32_t sandbox_uid(const struct sandbox *box)
{
    return box->uid;
}

int sandbox_take_port(struct sandbox *box, size_t i)
{
    return TAKE_FD(box->ports[i].fd);
}

void sandbox_kill(struct sandbox *box)
{
    /* The init sees the end of its socket, and where there are no namespaces that do it, kills
     * what it has and removes its files. */
    if (box->control >= 0)
        (void)shutdown(box->control, SHUT_WR);
    unsigned how = SANDBOX_ENDS_ITSELF | SANDBOX_BUBBLEWRAP; /* then the pidfd is bubblewrap's */
    if (box->pidfd >= 0 && (box->features & how) == SANDBOX_ENDS_ITSELF)
        (void)syscall(SYS_pidfd_send_signal, box->pidfd, SIGKILL, NULL, 0);
    /* Frozen processes of version 1 die when they thaw. */
    if (box->features & SANDBOX_CGROUP_FREEZER && box->cgroup.host)
        (void)!cgroup_freeze(&box->cgroup, false);
}

/* Tells the init, and where it is the one that acts, waits until it has. */
static enum kist_err command(struct sandbox *box, char what)
{
    char answer;
    if (send(box->control, &what, 1, MSG_NOSIGNAL) != 1)
        return KIST_E_NOT_FOUND; /* it has ended */
    if (box->features & SANDBOX_CGROUP_FREEZER)
        return KIST_OK;
    /* Its report of the end may be there instead: then it stays for sandbox_reap(). */
    ssize_t n = recv(box->control, &answer, 1, MSG_PEEK);
    if (n != 1 || answer != what)
        return KIST_E_NOT_FOUND;
    return recv(box->control, &answer, 1, 0) == 1 ? KIST_OK : KIST_E_NOT_FOUND;
}

enum kist_err sandbox_freeze(struct sandbox *box)
{
    if (box->features & SANDBOX_CGROUP_FREEZER)
        TRY(cgroup_freeze(&box->cgroup, true));
    return command(box, SANDBOX_STOP);
}

enum kist_err sandbox_thaw(struct sandbox *box)
{
    if (box->features & SANDBOX_CGROUP_FREEZER)
        TRY(cgroup_freeze(&box->cgroup, false));
    return command(box, SANDBOX_CONTINUE);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t sandbox_memory_peak(const struct sandbox *box)
{
    uint64_t peak = 0;
    if (box->reaped)
        return box->end.memory_max_bytes;
    if (box->features & SANDBOX_CGROUP_MEMORY)
        peak = cgroup_memory_peak(&box->cgroup);
    return peak ? peak
                : atomic_load_explicit(&box->shared->memory_peak_bytes, memory_order_relaxed);
}

/* The init's last word; none when the sandbox was killed. */
static void read_end(struct sandbox *box)
{
    struct sandbox_report report;
    struct sandbox_exit *end = &box->end;
    uint64_t peak = sandbox_memory_peak(box);
    *end = (struct sandbox_exit){ .status = -1, .signal = SIGKILL, .memory_max_bytes = peak };
    ssize_t n;
    while ((n = recv(box->control, &report, sizeof(report), MSG_DONTWAIT)) > 0)
        if (n == (ssize_t)sizeof(report) && report.kind == SANDBOX_ENDED)
            box->last = report; /* what else there may be is an answer that came too late */
    if (box->last.kind == SANDBOX_ENDED) {
        bool exited = WIFEXITED(box->last.wait_status);
        end->status = exited ? WEXITSTATUS(box->last.wait_status) : -1;
        end->signal = exited ? 0 : WTERMSIG(box->last.wait_status);
        end->oom_killed = box->last.oom;
        end->cpu_us = box->last.cpu_us;
        end->memory_max_bytes = larger(peak, box->last.rss_max_bytes);
    }
    if (box->features & SANDBOX_CGROUP_MEMORY && cgroup_oom_kills(&box->cgroup) > 0)
        end->oom_killed = true;
}

enum kist_err sandbox_reap(struct sandbox *box, struct sandbox_exit *out)
{
    if (!box->reaped) {
        struct pollfd p = { .fd = box->pidfd, .events = POLLIN };
        while (poll(&p, 1, -1) < 0)
            if (errno != EINTR)
                return kist_err_from_errno(errno);
        read_end(box);
        box->reaped = true;
    }
    *out = box->end;
    return KIST_OK;
}

void sandbox_free(struct sandbox *box)
{
    struct sandbox_exit end;
    if (!box)
        return;
    sandbox_kill(box);
    if (box->pidfd >= 0)
        (void)!sandbox_reap(box, &end);
    for (size_t i = 0; i < box->ports_count; i++)
        if (box->ports[i].fd >= 0)
            close(box->ports[i].fd);
    int fds[] = { box->control, box->pidfd, box->output };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (box->shared)
        munmap(box->shared, sizeof(*box->shared));
    cgroup_remove(&box->cgroup);
    free(box);
}
