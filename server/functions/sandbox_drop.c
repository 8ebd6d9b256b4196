/* From the init's privileges to none: the last steps of the function's process before execve(),
 * in the order in which each still has what it needs. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/functions/sandbox_internal.h"

#define FILES_MAX 1024 /* Lambda's */
/* Without a memory cgroup: what a process may map for writing beyond its memory limit, for
 * runtimes that reserve more than they use (thread stacks). */
#define RESERVED_BYTES (UINT64_C(1) << 30)

int sandbox_drop_uid(uint32_t uid)
{
    if (syscall(SYS_setgroups, 0, NULL) != 0 || syscall(SYS_setresgid, uid, uid, uid) != 0 ||
        syscall(SYS_setresuid, uid, uid, uid) != 0)
        return errno;
    return 0;
}

bool sandbox_has_caps(uint32_t caps)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct now[2] = { { 0 }, { 0 } };
    return syscall(SYS_capget, &header, now) == 0 && (now[0].permitted & caps) == caps;
}

int sandbox_drop_caps(uint32_t but)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct few[2] = { { .effective = but, .permitted = but }, { 0 } };
    for (unsigned long cap = 0; cap < 64; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* those that there are, if allowed */
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, few) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return errno;
    return 0;
}

int sandbox_write_file(int dir, const char *path, const char *text)
{
    int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    size_t len = strlen(text);
    int err = write(fd, text, len) == (ssize_t)len ? 0 : errno;
    close(fd);
    return err;
}

int sandbox_map_user(int proc_fd, unsigned inside_uid, unsigned uid, unsigned inside_gid,
                     unsigned gid)
{
    char map[64];
    int err = sandbox_write_file(proc_fd, "self/setgroups", "deny");
    if (err && err != ENOENT)
        return err;
    snprintf(map, sizeof(map), "%u %u 1", inside_uid, uid);
    err = sandbox_write_file(proc_fd, "self/uid_map", map);
    if (err)
        return err;
    snprintf(map, sizeof(map), "%u %u 1", inside_gid, gid);
    return sandbox_write_file(proc_fd, "self/gid_map", map);
}

int sandbox_seccomp(const struct sandbox_hello *hello)
{
    struct sock_fprog program = {
        .len = (unsigned short)hello->filter_len,
        .filter = (struct sock_filter *)(uintptr_t)hello->filter,
    };
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 ? 0 : errno;
}

static int limit(__rlimit_resource_t what, uint64_t value)
{
    struct rlimit now;
    if (getrlimit(what, &now) != 0)
        return errno;
    if (value > now.rlim_max)
        value = now.rlim_max;
    struct rlimit wanted = { value, value };
    return setrlimit(what, &wanted) == 0 ? 0 : errno;
}

static int set_limits(const struct sandbox_request *request)
{
    int err = limit(RLIMIT_NOFILE, FILES_MAX);
    if (err == 0)
        err = limit(RLIMIT_CORE, 0);
    /* Otherwise /tmp has a size, and says ENOSPC instead of sending SIGXFSZ. */
    if (err == 0 && !(request->features & SANDBOX_MOUNT_NS))
        err = limit(RLIMIT_FSIZE, request->tmp_bytes);
    if (err == 0)
        err = limit(RLIMIT_MEMLOCK, 64 * 1024);
    if (err == 0)
        err = limit(RLIMIT_MSGQUEUE, 0);
    if (err == 0)
        err = limit(RLIMIT_NICE, 0);
    if (err == 0)
        err = limit(RLIMIT_RTPRIO, 0);
    if (err == 0 && request->memory_bytes && !(request->features & SANDBOX_CGROUP_MEMORY))
        err = limit(RLIMIT_DATA, request->memory_bytes + RESERVED_BYTES);
    return err;
}

static int set_streams(int output)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0)
        return errno;
    if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        return errno;
    /* Whatever else is open goes with execve(). */
    if (syscall(SYS_close_range, 3U, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */) != 0)
        for (int fd = 3; fd < FILES_MAX; fd++)
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return 0;
}

/* Ids, namespace, capabilities. */
static int drop_privileges(const struct sandbox_plan *plan)
{
    const struct sandbox_request *request = plan->request;
    int err = 0;
    if (request->features & SANDBOX_OWN_UID)
        err = sandbox_drop_uid(request->uid);
    /* A change of ids makes /proc/self root's. */
    if (err == 0 && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
        err = errno;
    if (err == 0 && request->features & SANDBOX_USER_NS &&
        !(request->features & SANDBOX_BUBBLEWRAP)) {
        unsigned uid = geteuid(), gid = getegid();
        err = unshare(CLONE_NEWUSER) == 0 ? 0 : errno;
        if (err == 0)
            err = sandbox_map_user(plan->proc_fd, SANDBOX_UID, uid, SANDBOX_GID, gid);
    }
    /* After the namespace, whose own count of processes this limits. */
    if (err == 0 && !(request->features & SANDBOX_CGROUP_PIDS))
        err = limit(RLIMIT_NPROC, request->pids_max);
    return err ? err : sandbox_drop_caps(0);
}

static void reset_signals(void)
{
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int sandbox_become(const struct sandbox_plan *plan, int go, bool *bad)
{
    const struct sandbox_request *request = plan->request;
    bool own_root = request->features & SANDBOX_MOUNT_NS;
    for (size_t i = 0; i < request->cgroups_count; i++)
        if (write(plan->fds[SANDBOX_FD_CGROUPS + i], "0", 1) != 1)
            return errno;
    if (setsid() < 0)
        return errno;
    int err = set_streams(plan->fds[SANDBOX_FD_OUTPUT]);
    if (err == 0)
        err = set_limits(request);
    if (err == 0)
        err = drop_privileges(plan);
    if (err == 0 && request->features & SANDBOX_LANDLOCK)
        err = sandbox_landlock(plan);
    if (err)
        return err;
    umask(022);
    reset_signals();
    if (chdir(own_root ? "/var/task" : plan->task) != 0) {
        *bad = true;
        return errno;
    }
    if (request->features & SANDBOX_SECCOMP) {
        err = sandbox_seccomp(plan->hello);
        if (err)
            return err;
    }
    char word;
    if (read(go, &word, 1) != 1)
        return ECANCELED;
    *bad = true;
    execve(plan->argv[0], plan->argv, plan->envp);
    return errno;
}
