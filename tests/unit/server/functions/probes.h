/* What functions try in a sandbox: each ends with 0 when it went as it should. */
#ifndef KIST_TESTS_UNIT_SERVER_FUNCTIONS_PROBES_H
#define KIST_TESTS_UNIT_SERVER_FUNCTIONS_PROBES_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "server/functions/sandbox.h"

#define MIB (UINT64_C(1) << 20)

#define MUST(condition)                                                                          \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            printf("line %d: %s (errno %d: %s)\n", __LINE__, #condition, errno,                  \
                   strerror(errno));                                                             \
            return 1;                                                                            \
        }                                                                                        \
    } while (0)
#define REFUSED(call, error) MUST((call) == -1 && errno == (error))

static int sleep_forever(void)
{
    while (pause() == -1)
        continue;
    return 0;
}

static int probe_ok(char **args)
{
    (void)args;
    printf("hello from %d\n", (int)getpid());
    return 0;
}

static int probe_exit(char **args)
{
    return (int)strtol(args[0], NULL, 10);
}

static int probe_crash(char **args)
{
    (void)args;
    raise(SIGUSR1); /* one that no sanitizer catches */
    return 0;
}

static int probe_forever(char **args)
{
    (void)args;
    printf("started\n");
    fflush(stdout);
    return sleep_forever();
}

/* args: paths of the server that must not be there. */
static int probe_files(char **args)
{
    static const char *const absent[] = { "/root",    "/home",       "/work",          "/run",
                                          "/sys",     "/boot",       "/srv",           "/mnt",
                                          "/var/lib", "/etc/shadow", "/etc/machine-id" };
    for (; *args; args++)
        MUST(access(*args, F_OK) == -1 && errno == ENOENT);
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        MUST(access(absent[i], F_OK) == -1 && errno == ENOENT);
    DIR *old = opendir("/.old");
    if (old) {
        const struct dirent *e;
        while ((e = readdir(old)))
            MUST(e->d_name[0] == '.');
        closedir(old);
    }
    MUST(access("/usr/bin/env", X_OK) == 0);
    return 0;
}

static int probe_read_only(char **args)
{
    static const char *const paths[] = { "/var/task/new", "/opt/new", "/usr/new", "/new",
                                         "/etc/new",      "/dev/new", "/var/new" };
    (void)args;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        int fd = open(paths[i], O_WRONLY | O_CREAT, 0644);
        MUST(fd < 0 && (errno == EROFS || errno == EACCES));
    }
    MUST(chmod("/var/task/bootstrap", 0777) == -1);
    MUST(unlink("/var/task/bootstrap") == -1);
    int fd = open("/tmp/new", O_RDWR | O_CREAT | O_EXCL, 0600);
    MUST(fd >= 0 && write(fd, "x", 1) == 1);
    MUST(mkdir("/tmp/a", 0700) == 0 && mkdir("/tmp/b", 0700) == 0);
    MUST(rename("/tmp/new", "/tmp/a/new") == 0 && rename("/tmp/a/new", "/tmp/b/new") == 0);
    MUST(truncate("/tmp/b/new", 0) == 0);
    return 0;
}

/* args: layers' files and what they hold. */
static int probe_layers(char **args)
{
    for (; args[0]; args += 2) {
        char text[64] = "";
        int fd = open(args[0], O_RDONLY);
        MUST(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
        MUST(strcmp(text, args[1]) == 0);
        close(fd);
    }
    return 0;
}

static int probe_identity(char **args)
{
    (void)args;
    MUST(getuid() == SANDBOX_UID && geteuid() == SANDBOX_UID && getgid() == SANDBOX_GID);
    MUST(setuid(0) == -1 && setgid(0) == -1);
    MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    MUST(f);
    while (fgets(line, sizeof(line), f))
        /* CapBnd is no power where no_new_privs is set, and bubblewrap leaves it. */
        if (strncmp(line, "Cap", 3) == 0 && strncmp(line, "CapBnd", 6) != 0)
            MUST(strtoull(strchr(line, ':') + 1, NULL, 16) == 0);
    fclose(f);
    return 0;
}

static int probe_processes(char **args)
{
    (void)args;
    DIR *d = opendir("/proc");
    MUST(d);
    const struct dirent *e;
    int count = 0;
    while ((e = readdir(d)))
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
            count++;
    closedir(d);
    MUST(count == 2); /* the init and this */
    MUST(getppid() == 1);
    MUST(kill(1, SIGKILL) != 0 || usleep(10000) == 0); /* it survives */
    MUST(open("/proc/1/mem", O_RDONLY) < 0);
    char link[64];
    for (int fd = 0; fd < 64; fd++) {
        snprintf(link, sizeof(link), "/proc/1/fd/%d", fd);
        MUST(open(link, O_RDONLY) < 0);
    }
    MUST(open("/proc/sys/kernel/core_pattern", O_WRONLY) < 0);
    MUST(open("/proc/sysrq-trigger", O_WRONLY) < 0);
    for (int fd = 3; fd < 1024; fd++)
        MUST(fcntl(fd, F_GETFD) == -1);
    return 0;
}

/* Where the init is no process 1 of a namespace. */
static int probe_init(char **args)
{
    struct rlimit none = { 0, 0 };
    pid_t init = getppid();
    (void)args;
    REFUSED(kill(init, SIGSTOP), EPERM);
    REFUSED(kill(init, SIGKILL), EPERM);
    REFUSED(kill(-getpgid(init), SIGKILL), EPERM);
    REFUSED(prlimit(init, RLIMIT_CPU, &none, NULL), EPERM);
    return 0;
}

static int probe_calls(char **args)
{
    (void)args;
    REFUSED(mount("x", "/tmp", "tmpfs", 0, NULL), EPERM);
    REFUSED(umount2("/tmp", MNT_DETACH), EPERM);
    REFUSED(unshare(CLONE_NEWUSER), EPERM);
    REFUSED(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL), EPERM);
    REFUSED(syscall(SYS_clone3, NULL, 0), ENOSYS);
    REFUSED(ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM);
    REFUSED(syscall(SYS_bpf, 0, NULL, 0), EPERM);
    REFUSED(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0), EPERM);
    REFUSED(syscall(SYS_add_key, "user", "x", "y", 1, -1), EPERM);
    REFUSED(syscall(425 /* io_uring_setup */, 1, NULL), EPERM);
    REFUSED(syscall(SYS_userfaultfd, 0), EPERM);
    REFUSED(sethostname("x", 1), EPERM);
    REFUSED(chroot("/tmp"), EPERM);
    REFUSED(socket(AF_PACKET, SOCK_RAW, 0), EPERM);
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0), EPERM);
    REFUSED(socket(40 /* AF_VSOCK */, SOCK_STREAM, 0), EPERM);
    REFUSED(syscall(SYS_personality, 0x0040000 /* ADDR_NO_RANDOMIZE */), EPERM);
    struct iovec io = { &io, sizeof(io) };
    REFUSED(process_vm_readv(1, &io, 1, &io, 1, 0), EPERM);
    MUST(socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && socket(AF_INET6, SOCK_STREAM, 0) >= 0);
    return 0;
}

static int probe_limits(char **args)
{
    static const __rlimit_resource_t which[] = { RLIMIT_NOFILE, RLIMIT_CORE, RLIMIT_MEMLOCK };
    (void)args;
    for (size_t i = 0; i < ARRAY_LEN(which); i++) {
        struct rlimit r;
        MUST(getrlimit(which[i], &r) == 0 && r.rlim_cur == r.rlim_max);
        r.rlim_max++;
        REFUSED(setrlimit(which[i], &r), EPERM);
    }
    int fds = 0;
    while (fds < 2000 && dup(0) >= 0)
        fds++;
    MUST(fds < 1024 && errno == EMFILE);
    return 0;
}

/* args: a port that the machine listens on. */
static int probe_network(char **args)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(args[0], NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(fd >= 0);
    REFUSED(connect(fd, (struct sockaddr *)&a, sizeof(a)), ECONNREFUSED);
    a.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1, for documentation (RFC 5737) */
    REFUSED(connect(fd, (struct sockaddr *)&a, sizeof(a)), ENETUNREACH);
    return 0;
}

/* args: a port to connect to, where "ping" is answered by "pong". */
static int probe_connect(char **args)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(args[0], NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char answer[5] = "";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    MUST(write(fd, "ping", 4) == 4 && read(fd, answer, 4) == 4);
    MUST(strcmp(answer, "pong") == 0);
    return 0;
}

/* args: a port to connect to and stay with. */
static int probe_hold(char **args)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(args[0], NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    printf("held\n");
    fflush(stdout);
    return sleep_forever();
}

/* args: how many processes at most. */
static int probe_fork_bomb(char **args)
{
    long max = strtol(args[0], NULL, 10), made = 0;
    while (made <= max) {
        pid_t pid = fork();
        if (pid == 0)
            return sleep_forever();
        if (pid < 0)
            break;
        made++;
    }
    MUST(made < max && errno == EAGAIN);
    return 0;
}

/* args: MiB to use. */
static int probe_memory(char **args)
{
    size_t size = (size_t)(strtoull(args[0], NULL, 10) * MIB);
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(p != MAP_FAILED);
    memset(p, 1, size);
    printf("used\n");
    fflush(stdout);
    return sleep_forever();
}

static int probe_tmp_full(char **args)
{
    static char block[1 << 16];
    int fd = open("/tmp/big", O_WRONLY | O_CREAT, 0600);
    uint64_t max = strtoull(args[0], NULL, 10) * MIB, sum = 0;
    ssize_t n;
    while ((n = write(fd, block, sizeof(block))) > 0 && sum <= max)
        sum += (uint64_t)n;
    MUST(sum <= max && errno == ENOSPC);
    return 0;
}

/* Leaves children and grandchildren that hold the output open. */
static int probe_descendants(char **args)
{
    (void)args;
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            setsid();
            (void)!fork();
            return sleep_forever();
        }
    }
    const char *tmp = getenv("TMPDIR");
    /* And directories that are closed, or deep. */
    MUST(chdir(tmp ? tmp : "/tmp") == 0 && mkdir("closed", 0700) == 0);
    MUST(mkdir("closed/in", 0700) == 0 && chmod("closed", 0) == 0);
    for (int i = 0; i < 200; i++)
        MUST(mkdir("deep", 0700) == 0 && chdir("deep") == 0);
    printf("started %s\n", tmp ? tmp : "");
    fflush(stdout);
    return sleep_forever();
}

/* A link to args[0] in place of its directory of temporary files, where it has one. */
static int probe_swap(char **args)
{
    const char *tmp = getenv("TMPDIR");
    char away[80];
    snprintf(away, sizeof(away), "%s.away", tmp ? tmp : "");
    bool swapped = tmp && rename(tmp, away) == 0 && symlink(args[0], tmp) == 0;
    printf("started %s\n", swapped ? tmp : "");
    fflush(stdout);
    return sleep_forever();
}

static int probe_spin(char **args)
{
    (void)args;
    for (unsigned i = 0; getppid() > 0; i++)
        if (i % 100000 == 0) {
            printf(".");
            fflush(stdout);
        }
    return 0;
}

static const struct {
    const char *name;
    int (*run)(char **args);
} probes[] = {
    { "ok", probe_ok },
    { "exit", probe_exit },
    { "init", probe_init },
    { "crash", probe_crash },
    { "forever", probe_forever },
    { "files", probe_files },
    { "read_only", probe_read_only },
    { "layers", probe_layers },
    { "identity", probe_identity },
    { "processes", probe_processes },
    { "calls", probe_calls },
    { "limits", probe_limits },
    { "network", probe_network },
    { "connect", probe_connect },
    { "hold", probe_hold },
    { "fork_bomb", probe_fork_bomb },
    { "memory", probe_memory },
    { "tmp_full", probe_tmp_full },
    { "descendants", probe_descendants },
    { "swap", probe_swap },
    { "spin", probe_spin },
};

static int run_probe(char **args)
{
    for (size_t i = 0; i < ARRAY_LEN(probes); i++)
        if (strcmp(args[0], probes[i].name) == 0)
            return probes[i].run(args + 1);
    return 99;
}

/* Without what a sanitizer does at exit: its search for leaks uses ptrace(). */
static _Noreturn int end_probe(int status)
{
    fflush(stdout);
    _exit(status);
}

#endif
