/* The first process of a sandbox: finishes its surroundings, starts the function's process, and
 * from then on reaps, watches and obeys, without a privilege.
 *
 * It is the function's parent for three reasons: whoever is process 1 ignores most signals and
 * must reap orphans, which no runtime expects; the exit status and the use of the processor come
 * from wait4(); and everything ends when this process sees the server's end.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/functions/sandbox_internal.h"

/* How often resident sizes are added up. */
#define WATCH_MS 100
#define LISTEN_BACKLOG 128

struct init {
    const struct sandbox_plan *plan;
    int control, signals;
    pid_t function;
    struct sandbox_shared *shared;
    DIR *proc; /* NULL: not its own, nothing to watch */
    long page_bytes;
    bool stopped, oom;
};

/* The loopback interface of a new network namespace is down. */
int sandbox_net_up(void)
{
    struct ifreq request = { .ifr_name = "lo" };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int err = 0;
    if (ioctl(fd, SIOCGIFFLAGS, &request) != 0)
        err = errno;
    request.ifr_flags |= IFF_UP;
    if (err == 0 && ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        err = errno;
    close(fd);
    return err;
}

/* On the wished port in the sandbox's own network, on any free one in the machine's. */
static int listen_on(bool own_net, uint16_t *port, int *out)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons(own_net ? *port : 0) };
    struct sockaddr *any = (struct sockaddr *)&address;
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    if (bind(fd, any, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
        getsockname(fd, any, &len) != 0) {
        int err = errno;
        close(fd);
        return err;
    }
    *port = ntohs(address.sin_port);
    *out = fd;
    return 0;
}

/* Processes of this sandbox where it has no pid namespace: all that descend from this process,
 * because it is their subreaper. */
static void signal_descendants(int proc_fd, pid_t of, int signal, int depth)
{
    char path[64], list[8192];
    snprintf(path, sizeof(path), "%d/task/%d/children", of, of);
    int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, list, sizeof(list) - 1);
    close(fd);
    if (n <= 0)
        return;
    list[n] = '\0';
    char *end = list;
    for (const char *p = list; *p; p = end) {
        long pid = strtol(p, &end, 10);
        if (end == p || *end == '\0')
            break; /* the last one may be cut off; the caller comes again */
        (void)kill((pid_t)pid, signal);
        if (depth > 0)
            signal_descendants(proc_fd, (pid_t)pid, signal, depth - 1);
        while (*end == ' ')
            end++;
    }
}

static void signal_all(const struct init *init, int signal)
{
    if (init->plan->request->features & SANDBOX_PID_NS)
        (void)kill(-1, signal); /* all of the namespace but this process */
    else
        signal_descendants(init->plan->proc_fd, getpid(), signal, 8);
}

/* A directory that its owner closed is opened: nobody else is there any more. Only then is its
 * mode changed: by name, which may be a link that the function made, and an init with privileges,
 * which never needs to, would follow it. */
static int open_child(int dir, const char *name)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int child = openat(dir, name, flags);
    if (child < 0 && errno == EACCES && fchmodat(dir, name, 0700, 0) == 0)
        child = openat(dir, name, flags);
    return child;
}

/* What lies too deep comes to the top first. True: it is there now. */
static bool remove_files(int top, int dir, int depth)
{
    static unsigned moves;
    char name[32];
    bool moved = false;
    DIR *d = fdopendir(dir);
    if (!d) {
        close(dir);
        return false;
    }
    const struct dirent *e;
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            unlinkat(dirfd(d), e->d_name, 0) == 0)
            continue;
        if (depth == 0) {
            snprintf(name, sizeof(name), ".kist-%u", moves++);
            moved = renameat(dirfd(d), e->d_name, top, name) == 0 || moved;
            continue;
        }
        int child = open_child(dirfd(d), e->d_name);
        if (child >= 0)
            moved = remove_files(top, child, depth - 1) || moved;
        (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    }
    closedir(d);
    return moved;
}

static void remove_tmp(const char *path)
{
    int top = open_child(AT_FDCWD, path), dir = -1;
    do
        dir = top >= 0 ? openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    while (dir >= 0 && remove_files(top, dir, 64));
    if (top >= 0)
        close(top);
    (void)rmdir(path);
}

/* A namespace's processes die with this one, and its /tmp with them; without, this one waits for
 * them, and removes what they leave. */
static _Noreturn void end(struct init *init)
{
    unsigned features = init->plan->request->features;
    if ((features & SANDBOX_ENDS_ITSELF) != SANDBOX_ENDS_ITSELF) {
        for (;;) {
            signal_all(init, SIGKILL);
            if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
                break;
        }
    }
    if (!(features & SANDBOX_MOUNT_NS) && init->plan->tmp)
        remove_tmp(init->plan->tmp);
    _exit(0);
}

static _Noreturn void fail(struct init *init, int error, bool bad)
{
    struct sandbox_report report = { .kind = SANDBOX_FAILED, .error = error, .bad = bad };
    (void)sandbox_send(init->control, &report, sizeof(report), NULL, 0);
    end(init);
}

static uint64_t micros(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

/* Collects all dead children; ends when the function is among them. */
static void reap(struct init *init)
{
    struct signalfd_siginfo info;
    (void)!read(init->signals, &info, sizeof(info));
    for (;;) {
        int status;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, WNOHANG, &usage);
        if (pid <= 0)
            return;
        if (pid != init->function)
            continue;
        struct sandbox_report report = {
            .kind = SANDBOX_ENDED,
            .wait_status = status,
            .oom = init->oom,
            .cpu_us = micros(usage.ru_utime) + micros(usage.ru_stime),
            .rss_max_bytes = (uint64_t)usage.ru_maxrss * 1024,
        };
        (void)sandbox_send(init->control, &report, sizeof(report), NULL, 0);
        end(init);
    }
}

/* Memory of one process that belongs to no file, in bytes: resident less shared pages of
 * /proc/PID/statm (proc(5)). */
static uint64_t anonymous_bytes(const struct init *init, const char *pid)
{
    char path[300], text[128];
    snprintf(path, sizeof(path), "%s/statm", pid);
    int fd = openat(dirfd(init->proc), path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    char *p = text;
    (void)strtoull(p, &p, 10);
    uint64_t resident = strtoull(p, &p, 10), shared = strtoull(p, &p, 10);
    return resident > shared ? (resident - shared) * (uint64_t)init->page_bytes : 0;
}

static void watch(struct init *init)
{
    const struct sandbox_request *request = init->plan->request;
    uint64_t sum = 0, limit = request->memory_bytes;
    unsigned count = 0;
    const struct dirent *e;
    rewinddir(init->proc);
    while ((e = readdir(init->proc)))
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && strcmp(e->d_name, "1") != 0) {
            sum += anonymous_bytes(init, e->d_name);
            count++;
        }
    if (sum > atomic_load_explicit(&init->shared->memory_peak_bytes, memory_order_relaxed))
        atomic_store_explicit(&init->shared->memory_peak_bytes, sum, memory_order_relaxed);
    init->oom = init->oom || (limit && sum > limit);
    /* RLIMIT_NPROC does not hold for the machine's root. */
    if (init->oom || count > request->pids_max)
        signal_all(init, SIGKILL);
}

static void obey(struct init *init)
{
    char command;
    ssize_t n = recv(init->control, &command, 1, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        end(init);
    if (n <= 0)
        return;
    init->stopped = command == SANDBOX_STOP;
    if (init->plan->request->features & SANDBOX_CGROUP_FREEZER)
        return; /* the server has done it; nothing changes until it undoes it */
    int signal = init->stopped ? SIGSTOP : SIGCONT;
    signal_all(init, signal);
    signal_all(init, signal); /* those that were born meanwhile */
    (void)send(init->control, &command, 1, MSG_NOSIGNAL);
}

static _Noreturn void serve(struct init *init)
{
    struct pollfd polls[] = { { .fd = init->control, .events = POLLIN },
                              { .fd = init->signals, .events = POLLIN } };
    for (;;) {
        int timeout = init->proc && !init->stopped ? WATCH_MS : -1;
        int n = poll(polls, ARRAY_LEN(polls), timeout);
        if (n == 0 && init->proc)
            watch(init);
        if (n > 0 && polls[1].revents)
            reap(init);
        if (n > 0 && polls[0].revents)
            obey(init);
    }
}

/* Namespaces' contents: files, network, name. */
static int prepare(const struct sandbox_plan *plan)
{
    unsigned features = plan->request->features;
    int err = 0;
    if (features & SANDBOX_PROC)
        err = sandbox_proc_mount();
    if (err == 0 && features & SANDBOX_NET_NS)
        err = sandbox_net_up();
    if (err == 0 && features & SANDBOX_UTS_NS && sethostname("sandbox", 7) != 0)
        err = errno;
    return err;
}

/* Where there is no mount namespace: a directory for the function's files. */
static int make_tmp(struct sandbox_plan *plan)
{
    static char path[] = "/tmp/kist-function-XXXXXX";
    if (!mkdtemp(path))
        return errno;
    plan->tmp = path;
    if (plan->request->features & SANDBOX_OWN_UID &&
        chown(path, plan->request->uid, plan->request->uid) != 0)
        return errno;
    static char variable[64];
    snprintf(variable, sizeof(variable), "TMPDIR=%s", path);
    size_t i = 0;
    while (plan->envp[i])
        i++;
    plan->envp[i] = variable; /* there is room for one more and the NULL */
    return 0;
}

/* Without a namespace of processes a function could signal an init that is the same user: stop
 * it, so that it does not see its end, or kill it, and run on with nobody who knows. There the
 * init is another user, and keeps what it takes to end the function and to remove its files. */
#define APART_CAPS ((uint32_t)(1U << CAP_KILL | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER))
static bool stands_apart(const struct sandbox_request *request)
{
    return (request->features & (SANDBOX_OWN_UID | SANDBOX_PID_NS)) == SANDBOX_OWN_UID &&
           sandbox_has_caps(APART_CAPS);
}

/* Its own privileges. */
static int renounce(const struct init *init)
{
    const struct sandbox_request *request = init->plan->request;
    bool apart = stands_apart(request);
    int err = apart && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 ? errno : 0;
    if (err == 0 && request->features & SANDBOX_OWN_UID)
        err = sandbox_drop_uid(apart ? request->init_uid : request->uid);
    if (err == 0)
        err = sandbox_drop_caps(apart ? APART_CAPS : 0);
    /* Out of the function's reach although it may have the same user. */
    if (err == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        err = errno;
    if (err == 0 && request->features & SANDBOX_SECCOMP)
        err = sandbox_seccomp(init->plan->hello);
    return err;
}

struct outcome {
    int error;
    bool bad;
};

static _Noreturn void run_function(const struct sandbox_plan *plan, int go, int says)
{
    struct outcome outcome = { 0, false };
    outcome.error = sandbox_become(plan, go, &outcome.bad);
    (void)!write(says, &outcome, sizeof(outcome));
    _exit(127);
}

/* Forks, and renounces before the function's program begins, so that it never meets an init with
 * privileges. Returns when the program has been executed, or with the error. */
static int start_function(struct init *init, bool *bad)
{
    struct outcome outcome;
    int go[2], says[2];
    if (pipe2(go, O_CLOEXEC) != 0 || pipe2(says, O_CLOEXEC) != 0)
        return errno;
    init->function = fork();
    if (init->function < 0)
        return errno;
    if (init->function == 0) {
        close(go[1]);
        run_function(init->plan, go[0], says[1]);
    }
    close(go[0]);
    close(says[1]);
    int err = renounce(init);
    if (err == 0)
        (void)!write(go[1], "", 1); /* if it has failed by now, it says so */
    close(go[1]);
    ssize_t n;
    do
        n = read(says[0], &outcome, sizeof(outcome));
    while (n < 0 && errno == EINTR);
    close(says[0]);
    if (err || n != (ssize_t)sizeof(outcome))
        return err;
    *bad = outcome.bad;
    return outcome.error;
}

/* What must work before anything is started. */
static int init_init(struct init *init, struct sandbox_plan *plan)
{
    sigset_t child;
    init->plan = plan;
    init->control = plan->fds[SANDBOX_FD_CONTROL];
    init->page_bytes = sysconf(_SC_PAGESIZE);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &child, NULL);
    (void)prctl(PR_SET_NAME, "kist-init", 0, 0, 0);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    init->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (init->signals < 0)
        return errno;
    void *page = mmap(NULL, sizeof(*init->shared), PROT_READ | PROT_WRITE, MAP_SHARED,
                      plan->fds[SANDBOX_FD_SHARED], 0);
    if (page == MAP_FAILED)
        return errno;
    init->shared = page;
    return 0;
}

/* Files and listeners; *bad when the spec names a directory that is not there. */
static int furnish(struct sandbox_plan *plan, uint16_t *ports, int *listeners, bool *bad)
{
    const struct sandbox_request *request = plan->request;
    bool bwrap = request->features & SANDBOX_BUBBLEWRAP; /* which has done most of it */
    int err = bwrap ? 0 : prepare(plan);
    for (size_t i = 0; err == 0 && i < request->ports_count; i++) {
        ports[i] = request->ports[i];
        err = listen_on(request->features & SANDBOX_NET_NS, &ports[i], &listeners[i]);
    }
    if (err)
        return err;
    if (!(request->features & SANDBOX_MOUNT_NS))
        return make_tmp(plan);
    plan->tmp = "/tmp";
    if (bwrap)
        return 0;
    err = sandbox_root_finish(plan);
    *bad = err == ENOENT || err == ENOTDIR;
    return err;
}

void sandbox_init(struct sandbox_plan *plan)
{
    static struct init init;
    struct sandbox_request *request = plan->request;
    struct sandbox_report report = { .kind = SANDBOX_READY };
    int listeners[SANDBOX_PORTS_MAX] = { -1, -1, -1, -1 };
    bool bad = false;
    int err = init_init(&init, plan);
    if (err == 0)
        err = furnish(plan, report.ports, listeners, &bad);
    if (err == 0)
        err = start_function(&init, &bad);
    if (err == 0 && request->features & SANDBOX_PROC)
        init.proc = opendir("/proc");
    if (err)
        fail(&init, err, bad);
    if (sandbox_send(init.control, &report, sizeof(report), listeners, request->ports_count) != 0)
        end(&init);
    for (size_t i = 0; i < request->ports_count; i++)
        close(listeners[i]);
    for (size_t i = SANDBOX_FD_OUTPUT; i < SANDBOX_FD_CGROUPS + request->cgroups_count; i++)
        close(plan->fds[i]);
    explicit_bzero(request->strings, request->strings_len); /* the function's secrets */
    serve(&init);
}
