/* The zygote: a small process with one thread from which sandboxes are cloned.
 *
 * The server has many threads and much memory: a fork() of it would copy page tables for
 * milliseconds, and its child could call next to nothing. This process is the program executed
 * anew. It finds out by trying what the machine allows, once; makes the root that all sandboxes
 * share; and then clones one init per request. It ends when the server's end of its socket
 * closes.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/functions/sandbox_internal.h"
#include "storage/base/cleanup.h"

/* User ids for functions: far above those that systems hand out; otherwise, in a container with
 * 65,536 ids, those that systemd gives to services for their lifetime. */
static const struct {
    uint32_t first, count;
} uid_ranges[] = { { 1802043392, 65536 }, { 61184, 4336 } };

struct zygote {
    struct sandbox_hello hello;
    struct sandbox_abilities abilities;
    struct sandbox_request request;
    struct sandbox_plan plan;
    int proc_fd;
    bool real_root;
};
static struct zygote zygote;

/* Tries something in a process of its own, made with flags of clone(). */
static bool works(unsigned long flags, int (*try)(void))
{
    pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(try && try() != 0);
    int status = 1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool wants(unsigned feature)
{
    return !(zygote.hello.without & feature);
}

static void has(unsigned feature, bool works_here)
{
    if (works_here)
        zygote.abilities.features |= feature;
}

/* Maps root and the ids for functions of process `pid`, which has just made its namespace: only
 * the namespace above may, with CAP_SETUID and CAP_SETGID. */
static int map_range(pid_t pid)
{
    static const char *const files[] = { "uid_map", "gid_map" };
    char path[64], map[128];
    snprintf(map, sizeof(map), "0 0 1\n%u %u %u\n", zygote.abilities.uid_first,
             zygote.abilities.uid_first, zygote.abilities.uid_count);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(path, sizeof(path), "%d/%s", (int)pid, files[i]);
        int err = sandbox_write_file(zygote.proc_fd, path, map);
        if (err)
            return err;
    }
    return 0;
}

/* Root that may not make other namespaces directly makes a user namespace that keeps the ids for
 * functions. A child that stays outside writes the maps. */
static int enter_user_with_range(void)
{
    int fds[2], status = 1;
    char go;
    pid_t self = getpid();
    if (pipe2(fds, O_CLOEXEC) != 0)
        return errno;
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[1]);
        _exit(read(fds[0], &go, 1) != 1 || map_range(self) != 0);
    }
    close(fds[0]);
    int err = pid < 0 || unshare(CLONE_NEWUSER) != 0 ? errno : 0;
    if (err == 0 && write(fds[1], "", 1) != 1)
        err = errno;
    close(fds[1]);
    if (pid > 0 && waitpid(pid, &status, 0) != pid)
        status = 1;
    return err ? err : status ? EPERM : 0;
}

/* An ordinary user becomes root of a namespace that has no other user. */
static int enter_user(void)
{
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER) != 0)
        return errno;
    return sandbox_map_user(zygote.proc_fd, 0, uid, 0, gid);
}

static int enter_root(void)
{
    return unshare(CLONE_NEWNS) == 0 ? sandbox_root_make() : errno;
}

static int try_uid(void)
{
    return sandbox_drop_uid(zygote.abilities.uid_first);
}

/* As sandbox_become() does it. */
static int try_user(void)
{
    if (zygote.abilities.features & SANDBOX_OWN_UID && try_uid() != 0)
        return 1;
    unsigned uid = geteuid(), gid = getegid();
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 || unshare(CLONE_NEWUSER) != 0)
        return 1;
    return sandbox_map_user(zygote.proc_fd, SANDBOX_UID, uid, SANDBOX_GID, gid);
}

static int try_seccomp(void)
{
    int err = sandbox_drop_caps(0);
    return err ? err : sandbox_seccomp(&zygote.hello);
}

/* Whether /proc/self/uid_map has all ids from first on. */
static bool ids_exist(uint32_t first, uint32_t count)
{
    CLEANUP_FCLOSE FILE *f = fopen("/proc/self/uid_map", "re");
    char line[128];
    while (f && fgets(line, sizeof(line), f)) {
        char *p = line;
        unsigned long long inside = strtoull(p, &p, 10);
        (void)strtoull(p, &p, 10);
        unsigned long long size = strtoull(p, &p, 10);
        if (inside <= first && first + (uint64_t)count <= inside + size)
            return true;
    }
    return false;
}

static void find_uids(void)
{
    struct sandbox_abilities *a = &zygote.abilities;
    for (size_t i = 0; a->uid_count == 0 && i < ARRAY_LEN(uid_ranges); i++)
        if (ids_exist(uid_ranges[i].first, uid_ranges[i].count)) {
            a->uid_first = uid_ranges[i].first;
            a->uid_count = uid_ranges[i].count;
        }
    has(SANDBOX_OWN_UID, a->uid_count && works(0, try_uid));
}

/* Root of a namespace is as good for what follows. */
static void find_root(void)
{
    if (zygote.abilities.features & SANDBOX_OWN_UID && works(0, enter_user_with_range)) {
        if (enter_user_with_range() != 0)
            exit(1);
    } else if (works(0, enter_user)) {
        if (enter_user() != 0)
            exit(1);
        /* There is but one user in this namespace. */
        zygote.abilities.features &= ~(uint32_t)SANDBOX_OWN_UID;
    }
}

/* As find_root() and what comes after it, in a process that ends afterwards. */
static int try_native(void)
{
    if (zygote.real_root)
        return enter_root();
    int err =
        zygote.abilities.features & SANDBOX_OWN_UID ? enter_user_with_range() : enter_user();
    return err ? err : enter_root();
}

/* Whether bubblewrap makes the namespaces; its rules for who may can be others than ours. */
static bool choose_bwrap(void)
{
    static const unsigned all = SANDBOX_USER_NS | SANDBOX_MOUNT_NS | SANDBOX_PID_NS |
                                SANDBOX_NET_NS | SANDBOX_IPC_NS | SANDBOX_UTS_NS | SANDBOX_PROC |
                                SANDBOX_BUBBLEWRAP;
    if (zygote.hello.without & all || (!zygote.hello.prefer_bubblewrap && works(0, try_native)) ||
        !sandbox_bwrap_works())
        return false;
    zygote.abilities.features = all;
    zygote.abilities.uid_count = 0;
    return true;
}

/* In the order in which one needs the other. */
static void find_spaces(void)
{
    static const struct {
        unsigned feature;
        unsigned long flag;
    } spaces[] = { { SANDBOX_PID_NS, CLONE_NEWPID },
                   { SANDBOX_IPC_NS, CLONE_NEWIPC },
                   { SANDBOX_UTS_NS, CLONE_NEWUTS } };
    if (!zygote.real_root && wants(SANDBOX_USER_NS))
        find_root();
    if (wants(SANDBOX_MOUNT_NS) && works(0, enter_root)) {
        if (enter_root() != 0)
            exit(1);
        has(SANDBOX_MOUNT_NS, true);
    }
    for (size_t i = 0; i < ARRAY_LEN(spaces); i++)
        if (wants(spaces[i].feature))
            has(spaces[i].feature, works(spaces[i].flag, NULL));
    if (wants(SANDBOX_NET_NS))
        has(SANDBOX_NET_NS, works(CLONE_NEWNET, sandbox_net_up));
    unsigned both = SANDBOX_MOUNT_NS | SANDBOX_PID_NS;
    if (wants(SANDBOX_PROC) && (zygote.abilities.features & both) == both)
        has(SANDBOX_PROC, works(CLONE_NEWNS | CLONE_NEWPID, sandbox_proc_mount));
    if (wants(SANDBOX_USER_NS))
        has(SANDBOX_USER_NS, works(0, try_user));
}

static void find_abilities(void)
{
    zygote.real_root = geteuid() == 0 && works(CLONE_NEWNS, NULL);
    if (geteuid() == 0 && wants(SANDBOX_OWN_UID))
        find_uids();
    if (!choose_bwrap())
        find_spaces();
    if (wants(SANDBOX_SECCOMP) && zygote.hello.filter_len)
        has(SANDBOX_SECCOMP, works(0, try_seccomp));
    if (wants(SANDBOX_LANDLOCK))
        has(SANDBOX_LANDLOCK, sandbox_landlock_works());
}

/* The next string of a request, or NULL when it has no more. */
static char *next_string(struct sandbox_request *request, size_t *at)
{
    if (*at >= request->strings_len)
        return NULL;
    char *s = request->strings + *at;
    *at += strnlen(s, request->strings_len - *at) + 1;
    return *at <= request->strings_len ? s : NULL;
}

/* Takes the request apart. The server made it: a mistake is ours. */
static int make_plan(struct sandbox_request *request, struct sandbox_plan *plan)
{
    size_t at = 0;
    if (request->layers_count > SANDBOX_LAYERS_MAX || request->args_count >= SANDBOX_ARGS_MAX ||
        request->env_count >= SANDBOX_ARGS_MAX - 2 || request->args_count == 0)
        return EINVAL;
    plan->request = request;
    plan->hello = &zygote.hello;
    plan->proc_fd = zygote.proc_fd;
    plan->task = next_string(request, &at);
    plan->runtime = next_string(request, &at);
    bool complete = plan->task && plan->runtime;
    for (size_t i = 0; i < request->layers_count; i++)
        complete = complete && (plan->layers[i] = next_string(request, &at));
    for (size_t i = 0; i < request->args_count; i++)
        complete = complete && (plan->argv[i] = next_string(request, &at));
    for (size_t i = 0; i < request->env_count; i++)
        complete = complete && (plan->envp[i] = next_string(request, &at));
    plan->argv[request->args_count] = NULL;
    plan->envp[request->env_count] = plan->envp[request->env_count + 1] = NULL;
    return complete ? 0 : EINVAL;
}

static unsigned long clone_flags(unsigned features)
{
    unsigned long flags = SIGCHLD | CLONE_PIDFD;
    if (features & SANDBOX_BUBBLEWRAP)
        return flags;
    flags |= features & SANDBOX_MOUNT_NS ? CLONE_NEWNS : 0;
    flags |= features & SANDBOX_PID_NS ? CLONE_NEWPID : 0;
    flags |= features & SANDBOX_NET_NS ? CLONE_NEWNET : 0;
    flags |= features & SANDBOX_IPC_NS ? CLONE_NEWIPC : 0;
    flags |= features & SANDBOX_UTS_NS ? CLONE_NEWUTS : 0;
    return flags;
}

static _Noreturn void run_init(struct sandbox_plan *plan)
{
    if (!(plan->request->features & SANDBOX_BUBBLEWRAP))
        sandbox_init(plan);
    struct sandbox_report report = { .kind = SANDBOX_FAILED };
    report.error = sandbox_bwrap_exec(plan);
    (void)sandbox_send(plan->fds[SANDBOX_FD_CONTROL], &report, sizeof(report), NULL, 0);
    _exit(1);
}

/* One sandbox. Its control socket hears of success and failure. */
static void start(size_t fds_count)
{
    struct sandbox_plan *plan = &zygote.plan;
    struct sandbox_report report = { .kind = SANDBOX_FAILED };
    int control = plan->fds[SANDBOX_FD_CONTROL], pidfd = -1;
    report.error = make_plan(&zygote.request, plan);
    if (fds_count != SANDBOX_FD_CGROUPS + (size_t)zygote.request.cgroups_count)
        report.error = EINVAL;
    if (report.error == 0) {
        /* The third argument receives the pidfd on every architecture of Debian's. */
        long pid =
            syscall(SYS_clone, clone_flags(zygote.request.features), NULL, &pidfd, NULL, NULL);
        if (pid == 0) {
            close(SANDBOX_ZYGOTE_FD);
            run_init(plan);
        }
        report.error = pid < 0 ? errno : 0;
        /* An environment holds secrets, which the next sandbox's init must not inherit. */
        explicit_bzero(zygote.request.strings, zygote.request.strings_len);
        report.kind = pid < 0 ? SANDBOX_FAILED : SANDBOX_STARTED;
    }
    (void)sandbox_send(control, &report, sizeof(report), &pidfd, pidfd >= 0 ? 1 : 0);
    if (pidfd >= 0)
        close(pidfd);
}

static int serve(void)
{
    for (;;) {
        size_t len, fds_count = ARRAY_LEN(zygote.plan.fds);
        int err = sandbox_receive(SANDBOX_ZYGOTE_FD, &zygote.request, sizeof(zygote.request),
                                  &len, zygote.plan.fds, &fds_count);
        if (err == 0 && len == 0)
            return 0;
        if (err && err != EMSGSIZE)
            return 1;
        if (err == 0 && fds_count > SANDBOX_FD_CONTROL &&
            len == offsetof(struct sandbox_request, strings) + zygote.request.strings_len)
            start(fds_count);
        for (size_t i = 0; i < fds_count; i++)
            close(zygote.plan.fds[i]);
    }
}

int sandbox_zygote_main(void)
{
    static const int deaf_to[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    size_t len, none = 0;
    if (sandbox_bwrap_adopt(&zygote.hello, &zygote.request, &zygote.plan)) {
        zygote.proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (make_plan(&zygote.request, &zygote.plan) != 0)
            return 1;
        sandbox_init(&zygote.plan);
    }
    (void)syscall(SYS_close_range, SANDBOX_ZYGOTE_FD + 1U, ~0U, 0U);
    (void)fcntl(SANDBOX_ZYGOTE_FD, F_SETFD, FD_CLOEXEC);
    (void)prctl(PR_SET_NAME, "kist-zygote", 0, 0, 0);
    /* Ctrl-C and service managers' signals are the server's, which decides when functions end. */
    (void)setsid();
    for (size_t i = 0; i < ARRAY_LEN(deaf_to); i++)
        (void)signal(deaf_to[i], SIG_IGN);
    umask(022);
    if (sandbox_receive(SANDBOX_ZYGOTE_FD, &zygote.hello, sizeof(zygote.hello), &len, NULL,
                        &none) != 0 ||
        len != sizeof(zygote.hello)) {
        fprintf(stderr, "kist: " SANDBOX_ZYGOTE_COMMAND " is started by kist serve\n");
        return 2;
    }
    zygote.proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    find_abilities();
    if (sandbox_send(SANDBOX_ZYGOTE_FD, &zygote.abilities, sizeof(zygote.abilities), NULL, 0) !=
        0)
        return 1;
    (void)signal(SIGCHLD,
                 SIG_IGN); /* inits are reaped by nobody; their pidfds tell of their end */
    _exit(
        serve()); /* there is nothing to write out, and /proc is no longer where libraries look */
}
