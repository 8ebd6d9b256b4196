/* Sandboxes on the real machine: what a function can reach, and what it cannot.
 *
 * This program is also the function: copied to /var/task/bootstrap and started with the name of a
 * probe, it tries something and ends with 0 when that went as it should. Where the machine
 * refuses a protection, the tests of it say so and pass.
 */
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/wait.h>

#include "server/functions/sandbox_internal.h"
#include "storage/base/cleanup.h"
#include "storage/base/env.h"
#include "tests/lib/suite.h"
#include "tests/unit/server/functions/probes.h"

/* Without a memory cgroup, RLIMIT_DATA leaves no room for the sanitizers' shadow memory; without
 * a /proc, they complain on the function's output. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif
#define USUAL_BYTES (SANITIZED ? 0 : 128 * MIB)

static char base[PATH_MAX];
static struct sandbox_config config; /* of the case that runs */
static struct sandbox_host *host;

static const char *in_base(const char *name)
{
    static _Thread_local char path[PATH_MAX + 64];
    snprintf(path, sizeof(path), "%s/%s", base, name);
    return path;
}

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(in_base(name), "w");
    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    ck_assert_int_eq(chmod(in_base(name), 0644), 0);
}

static void make_dir(const char *name)
{
    ck_assert_int_eq(mkdir(in_base(name), 0755), 0);
}

static void setup(void)
{
    char command[2 * PATH_MAX + 64];
    snprintf(base, sizeof(base), "/tmp/kist-test-sandbox-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    ck_assert_int_eq(chmod(base, 0755), 0);
    make_dir("task");
    make_dir("one");
    make_dir("two");
    make_dir("one/both");
    make_dir("two/both");
    write_text("secret", "secret");
    write_text("one/both/a", "one");
    write_text("two/both/a", "two");
    write_text("one/both/b", "one");
    snprintf(command, sizeof(command), "cp /proc/%d/exe %s/task/bootstrap", (int)getpid(), base);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_eq(sandbox_host_open(&config, &host), KIST_OK);
}

static void teardown(void)
{
    sandbox_host_close(host);
    remove_dir(base);
}

/* Whether the machine has it; otherwise says that the rest of a test is left out. */
static bool have(unsigned features, const char *what)
{
    if ((sandbox_features(host) & features) == features)
        return true;
    if (!(config.without & features))
        fprintf(stderr, "SKIPPED: this machine has no %s for sandboxes\n", what);
    return false;
}

/* Where the program is as seen inside. */
static const char *program(void)
{
    static _Thread_local char path[PATH_MAX + 64];
    if (sandbox_features(host) & SANDBOX_MOUNT_NS)
        return "/var/task/bootstrap";
    snprintf(path, sizeof(path), "%s", in_base("task/bootstrap"));
    return path;
}

static struct sandbox *start_with(struct sandbox_spec spec, const char *const *args)
{
    static const char *const environment[] = { "A=1", NULL };
    char task[PATH_MAX + 64];
    const char *argv[16] = { program(), "probe" };
    for (size_t i = 0; args[i]; i++)
        argv[i + 2] = args[i];
    snprintf(task, sizeof(task), "%s", in_base("task"));
    if (!spec.task_dir)
        spec.task_dir = task;
    spec.argv = argv;
    spec.envp = environment;
    struct sandbox *box = NULL;
    ck_assert_str_eq(kist_err_text(sandbox_spawn(host, &spec, &box)), kist_err_text(KIST_OK));
    return box;
}
#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define SPEC(...) ((struct sandbox_spec){ __VA_ARGS__ })

/* Reads what comes until the end of the output, or until `until` has come. */
static void read_output(const struct sandbox *box, char *text, size_t size, const char *until)
{
    size_t len = 0;
    text[0] = '\0';
    while (len + 1 < size && !(until && strstr(text, until))) {
        struct pollfd p = { .fd = sandbox_output(box), .events = POLLIN };
        ck_assert_int_eq(poll(&p, 1, 20000), 1);
        ssize_t n = read(p.fd, text + len, size - 1 - len);
        ck_assert_int_ge(n, 0);
        if (n == 0)
            break;
        len += (size_t)n;
        text[len] = '\0';
    }
}

static struct sandbox_exit finish(struct sandbox *box)
{
    struct sandbox_exit end;
    ck_assert_int_eq(sandbox_reap(box, &end), KIST_OK);
    sandbox_free(box);
    return end;
}

/* A probe that must end with 0. */
static void check_probe(struct sandbox_spec spec, const char *const *args)
{
    char text[4096];
    struct sandbox *box = start_with(spec, args);
    read_output(box, text, sizeof(text), NULL);
    struct sandbox_exit end = finish(box);
    ck_assert_msg(end.status == 0, "probe %s: status %d, signal %d: %s", args[0], end.status,
                  end.signal, text);
}

START_TEST(says_what_it_has)
{
    struct buf line;
    buf_init(&line, 4096);
    ck_assert_int_eq(sandbox_describe(host, &line), KIST_OK);
    fprintf(stderr, "sandbox: %.*s\n", (int)line.len, (const char *)line.ptr);
    ck_assert_ptr_nonnull(memmem(line.ptr, line.len, "no_new_privs", 12));
    buf_release(&line);
    if (config.without == 0)
        (void)have(SANDBOX_MOUNT_NS | SANDBOX_PID_NS, "mount and pid namespaces");
}
END_TEST

START_TEST(starts_and_reports)
{
    char text[256];
    struct sandbox *box = start_with(SPEC(0), ARGS("ok"));
    read_output(box, text, sizeof(text), NULL);
    ck_assert_msg(strncmp(text, "hello from ", 11) == 0, "%s", text);
    struct sandbox_exit end = finish(box);
    ck_assert(end.status == 0 && end.signal == 0 && !end.oom_killed);
    ck_assert_uint_gt(end.memory_max_bytes, 0);
    end = finish(start_with(SPEC(0), ARGS("exit", "42")));
    ck_assert(end.status == 42 && end.signal == 0);
    end = finish(start_with(SPEC(0), ARGS("crash")));
    ck_assert(end.status == -1 && end.signal == SIGUSR1);
}
END_TEST

START_TEST(refuses_bad_specs)
{
    struct sandbox *box = NULL;
    char task[PATH_MAX + 64];
    snprintf(task, sizeof(task), "%s", in_base("task"));
    const char *const none[] = { NULL }, *const absent[] = { "/var/task/absent", NULL };
    struct sandbox_spec spec = { .task_dir = task, .argv = absent, .envp = none };
    ck_assert_int_eq(sandbox_spawn(host, &spec, &box), KIST_E_INVALID);
    spec.argv = none;
    ck_assert_int_eq(sandbox_spawn(host, &spec, &box), KIST_E_INVALID);
    const char *const good[] = { program(), NULL };
    spec.argv = good;
    spec.task_dir = "/absent";
    ck_assert_int_eq(sandbox_spawn(host, &spec, &box), KIST_E_INVALID);
    spec.task_dir = task;
    char *large = malloc(200000);
    ck_assert_ptr_nonnull(large);
    memset(large, 'x', 199999);
    large[199999] = '\0';
    const char *const environment[] = { large, NULL };
    spec.envp = environment;
    ck_assert_int_eq(sandbox_spawn(host, &spec, &box), KIST_E_TOO_LARGE);
    free(large);
    ck_assert_ptr_null(box);
    check_probe(SPEC(0), ARGS("ok"));
}
END_TEST

START_TEST(files)
{
    if (!have(SANDBOX_MOUNT_NS, "mount namespaces"))
        return;
    char secret[PATH_MAX + 64];
    snprintf(secret, sizeof(secret), "%s", in_base("secret"));
    check_probe(SPEC(0), ARGS("files", secret, base));
    check_probe(SPEC(0), ARGS("read_only"));
    check_probe(SPEC(0), ARGS("read_only")); /* nothing of the other's /tmp */
}
END_TEST

START_TEST(layers)
{
    if (!have(SANDBOX_MOUNT_NS, "mount namespaces"))
        return;
    char one[PATH_MAX + 64], two[PATH_MAX + 64];
    snprintf(one, sizeof(one), "%s", in_base("one"));
    snprintf(two, sizeof(two), "%s", in_base("two"));
    const char *const first[] = { one, NULL }, *const both[] = { one, two, NULL };
    check_probe(SPEC(.layer_dirs = first), ARGS("layers", "/opt/both/a", "one"));
    if (sandbox_features(host) & SANDBOX_BUBBLEWRAP)
        return; /* it cannot overlay */
    check_probe(
        SPEC(.layer_dirs = both, .runtime_dir = two),
        ARGS("layers", "/opt/both/a", "two", "/opt/both/b", "one", "/var/runtime/both/a", "two"));
}
END_TEST

START_TEST(privileges)
{
    if (config.prefer_bubblewrap)
        (void)have(SANDBOX_BUBBLEWRAP, "bubblewrap");
    if (config.prefer_bubblewrap)
        (void)have(SANDBOX_BUBBLEWRAP, "bubblewrap");
    if (have(SANDBOX_USER_NS | SANDBOX_PROC, "user namespaces"))
        check_probe(SPEC(0), ARGS("identity"));
    if (have(SANDBOX_PROC, "pid namespaces"))
        check_probe(SPEC(0), ARGS("processes"));
    if (have(SANDBOX_SECCOMP, "seccomp"))
        check_probe(SPEC(0), ARGS("calls"));
    if ((sandbox_features(host) & (SANDBOX_PID_NS | SANDBOX_OWN_UID)) == SANDBOX_OWN_UID)
        check_probe(SPEC(0), ARGS("init"));
    check_probe(SPEC(0), ARGS("limits"));
}
END_TEST

static int listen_here(uint16_t *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0 && listen(fd, 1) == 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

START_TEST(network)
{
    uint16_t port;
    char text[16];
    CLEANUP_CLOSE int fd = listen_here(&port);
    snprintf(text, sizeof(text), "%u", port);
    if (have(SANDBOX_NET_NS, "network namespaces"))
        check_probe(SPEC(0), ARGS("network", text));
    /* With leave, the machine's listener is there. */
    struct sandbox *box = start_with(SPEC(.network = true), ARGS("connect", text));
    CLEANUP_CLOSE int client = accept(fd, NULL, NULL);
    char ping[4];
    ck_assert(read(client, ping, 4) == 4 && write(client, "pong", 4) == 4);
    ck_assert_int_eq(finish(box).status, 0);
}
END_TEST

START_TEST(listeners)
{
    static const uint16_t ports[] = { 9001, 9000 };
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        char text[16];
        snprintf(text, sizeof(text), "%u", ports[i]);
        struct sandbox *box = start_with(SPEC(.ports = ports, .ports_count = ARRAY_LEN(ports)),
                                         ARGS("connect", text));
        if (!have(SANDBOX_NET_NS, "network namespaces")) {
            ck_assert_uint_ne(sandbox_port(box, i)->port, 0);
            sandbox_free(box);
            continue;
        }
        ck_assert_uint_eq(sandbox_port(box, i)->port, ports[i]);
        ck_assert_ptr_null(sandbox_port(box, ARRAY_LEN(ports)));
        struct pollfd p = { .fd = sandbox_port(box, i)->fd, .events = POLLIN };
        ck_assert_int_eq(poll(&p, 1, 20000), 1);
        CLEANUP_CLOSE int client = accept(p.fd, NULL, NULL);
        char ping[4];
        ck_assert(read(client, ping, 4) == 4 && memcmp(ping, "ping", 4) == 0);
        ck_assert_int_eq(write(client, "pong", 4), 4);
        ck_assert_int_eq(finish(box).status, 0);
    }
}
END_TEST

/* Of a socket, both ways to find it out. Those whose owner has gone are nobody's. */
START_TEST(owners)
{
    struct sockaddr_in ours, its;
    struct sockaddr_in6 mapped = { .sin6_family = AF_INET6 };
    socklen_t len = sizeof(ours), its_len = sizeof(its);
    uint16_t port;
    uint32_t uid = UINT32_MAX;
    CLEANUP_CLOSE int listener = listen_here(&port);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&ours, &len), 0);
    mapped.sin6_port = ours.sin_port;
    ck_assert_int_eq(inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr), 1);
    for (int six = 0; six < 2; six++) {
        uid_t wanted = geteuid() == 0 ? 4711 : geteuid();
        setfsuid(wanted);
        CLEANUP_CLOSE int client = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
        setfsuid(geteuid());
        ck_assert_int_eq(connect(client,
                                 six ? (struct sockaddr *)&mapped : (struct sockaddr *)&ours,
                                 six ? sizeof(mapped) : sizeof(ours)),
                         0);
        CLEANUP_CLOSE int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&its, &its_len), 0);
        enum kist_err err = sandbox_owner_by_diag(&its, &ours, &uid);
        if (err == KIST_OK)
            ck_assert_uint_eq(uid, wanted);
        else
            fprintf(stderr, "SKIPPED: this machine has no sock_diag: %s\n", kist_err_text(err));
        uid = UINT32_MAX;
        ck_assert_int_eq(sandbox_owner_by_table(&its, &ours, &uid), KIST_OK);
        ck_assert_uint_eq(uid, wanted);
        /* A listener on the port that is asked for is not meant. */
        ck_assert_int_ne(sandbox_owner_by_diag(&ours, &ours, &uid), KIST_OK);
        ck_assert_int_ne(sandbox_owner_by_table(&ours, &ours, &uid), KIST_OK);
    }
}
END_TEST

START_TEST(bounds)
{
    /* The machine's root is above RLIMIT_NPROC. */
    if (geteuid() != 0 || sandbox_features(host) & SANDBOX_OWN_UID ||
        have(SANDBOX_CGROUP_PIDS, "limit for root's processes without cgroups"))
        check_probe(SPEC(.pids_max = 50), ARGS("fork_bomb", "60"));
    if (have(SANDBOX_MOUNT_NS, "mount namespaces"))
        check_probe(SPEC(.tmp_bytes = 4 * MIB), ARGS("tmp_full", "5"));
}
END_TEST

START_TEST(memory)
{
    if (!(sandbox_features(host) & SANDBOX_CGROUP_MEMORY) &&
        !have(SANDBOX_PROC, "memory cgroup and no /proc of its own"))
        return;
    if (SANITIZED && !(sandbox_features(host) & SANDBOX_CGROUP_MEMORY))
        return;
    char text[64];
    /* Beyond the kernel's limit (with a small /tmp), and beyond the watched one alone. */
    static const uint64_t tmp[] = { 1 * MIB, 512 * MIB };
    for (size_t i = 0; i < ARRAY_LEN(tmp); i++) {
        struct sandbox *box = start_with(SPEC(.memory_bytes = 64 * MIB, .tmp_bytes = tmp[i]),
                                         ARGS("memory", "200"));
        if (i == 1 && !(sandbox_features(host) & SANDBOX_PROC)) {
            sandbox_free(box);
            continue;
        }
        struct sandbox_exit end = finish(box);
        ck_assert_int_eq(end.signal, SIGKILL);
        ck_assert(end.oom_killed);
    }
    struct sandbox *box = start_with(SPEC(.memory_bytes = 64 * MIB), ARGS("memory", "20"));
    read_output(box, text, sizeof(text), "used");
    if (sandbox_features(host) & SANDBOX_CGROUP_MEMORY)
        ck_assert_uint_ge(sandbox_memory_peak(box), 20 * MIB);
    sandbox_kill(box);
    struct sandbox_exit end = finish(box);
    ck_assert(end.signal == SIGKILL && !end.oom_killed);
}
END_TEST

START_TEST(kill_ends_all)
{
    char text[64], tmp[64] = "";
    struct sandbox *box = start_with(SPEC(0), ARGS("descendants"));
    read_output(box, text, sizeof(text), "\n");
    (void)sscanf(text, "started %63s", tmp);
    bool shared = !(sandbox_features(host) & SANDBOX_MOUNT_NS);
    ck_assert(shared == (access(tmp[0] ? tmp : "/nothing", F_OK) == 0));
    struct pollfd p = { .fd = sandbox_pidfd(box), .events = POLLIN };
    ck_assert_int_eq(poll(&p, 1, 0), 0);
    sandbox_kill(box);
    sandbox_kill(box);
    ck_assert_int_eq(poll(&p, 1, 20000), 1);
    /* Nobody holds the pipe any more. */
    read_output(box, text, sizeof(text), NULL);
    struct sandbox_exit end = finish(box);
    ck_assert(end.status == -1 && end.signal == SIGKILL);
    ck_assert(!tmp[0] || access(tmp, F_OK) != 0);
}
END_TEST

START_TEST(kill_follows_no_link)
{
    char text[80], tmp[64] = "", away[80];
    struct stat before, after;
    ck_assert_int_eq(stat(base, &before), 0);
    struct sandbox *box = start_with(SPEC(0), ARGS("swap", base));
    read_output(box, text, sizeof(text), "\n");
    (void)sscanf(text, "started %63s", tmp);
    sandbox_kill(box);
    (void)finish(box);
    ck_assert_int_eq(stat(base, &after), 0);
    ck_assert_uint_eq(after.st_mode, before.st_mode);
    if (tmp[0]) {
        snprintf(away, sizeof(away), "%s.away", tmp);
        ck_assert_int_eq(unlink(tmp), 0);
        remove_dir(away);
    }
}
END_TEST

/* Reads all dots that are there. */
static size_t drain(const struct sandbox *box)
{
    char text[4096];
    size_t sum = 0;
    ssize_t n;
    while ((n = read(sandbox_output(box), text, sizeof(text))) > 0)
        sum += (size_t)n;
    return sum;
}

START_TEST(freeze_and_thaw)
{
    char text[2];
    struct sandbox *box = start_with(SPEC(0), ARGS("spin"));
    for (int round = 0; round < 3; round++) {
        read_output(box, text, sizeof(text), NULL);
        ck_assert_int_eq(sandbox_freeze(box), KIST_OK);
        (void)drain(box);
        usleep(100000); /* time in which it would have written */
        (void)drain(box);
        usleep(200000);
        ck_assert_uint_eq(drain(box), 0);
        ck_assert_int_eq(sandbox_thaw(box), KIST_OK);
    }
    read_output(box, text, sizeof(text), NULL);
    ck_assert_int_eq(sandbox_freeze(box), KIST_OK);
    sandbox_kill(box);
    ck_assert_int_eq(finish(box).signal, SIGKILL);
}
END_TEST

static void *spawn_many(void *arg)
{
    for (int i = 0; i < 10; i++)
        check_probe(SPEC(.memory_bytes = USUAL_BYTES), ARGS("ok"));
    return arg;
}

START_TEST(concurrent)
{
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, spawn_many, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
}
END_TEST

/* The zygote is this process's only child that is called so. */
static pid_t find_zygote(void)
{
    char path[64], list[4096] = "", name[32];
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)gettid());
    CLEANUP_FCLOSE FILE *f = fopen(path, "r");
    ck_assert(f && fgets(list, sizeof(list), f));
    char *end = list;
    for (long pid; (pid = strtol(end, &end, 10)) > 0;) {
        snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
        CLEANUP_FCLOSE FILE *comm = fopen(path, "r");
        if (comm && fgets(name, sizeof(name), comm) && strcmp(name, "kist-zygote\n") == 0)
            return (pid_t)pid;
    }
    ck_abort_msg("no zygote");
    return -1;
}

START_TEST(zygote_comes_back)
{
    char text[64];
    struct sandbox *box = start_with(SPEC(0), ARGS("forever"));
    read_output(box, text, sizeof(text), "started");
    pid_t zygote = find_zygote();
    ck_assert_int_eq(kill(zygote, SIGKILL), 0);
    siginfo_t info;
    ck_assert_int_eq(waitid(P_PID, (id_t)zygote, &info, WEXITED | WNOWAIT), 0);
    check_probe(SPEC(0), ARGS("ok"));
    /* Sandboxes do not need it any more. */
    struct pollfd p = { .fd = sandbox_pidfd(box), .events = POLLIN };
    ck_assert_int_eq(poll(&p, 1, 0), 0);
    sandbox_kill(box);
    ck_assert_int_eq(finish(box).signal, SIGKILL);
}
END_TEST

static void reopen(void)
{
    sandbox_host_close(host);
    ck_assert_int_eq(sandbox_host_open(&config, &host), KIST_OK);
}

/* A server of its own with one function that connects to `port` and waits; frozen when wished.
 * Tells `ready` and waits to be killed. */
static _Noreturn void other_server(const char *port, bool frozen, int ready)
{
    char text[16];
    if (sandbox_host_open(&config, &host) != KIST_OK)
        _exit(1);
    struct sandbox *box = start_with(SPEC(.network = true), ARGS("hold", port));
    read_output(box, text, sizeof(text), "held");
    if (frozen && sandbox_freeze(box) != KIST_OK)
        _exit(1);
    (void)!write(ready, "", 1);
    for (;;)
        pause();
}

/* Control groups that bear a process's number. */
static int count_groups(pid_t of)
{
    char command[160];
    int count = -1;
    snprintf(command, sizeof(command),
             "find /sys/fs/cgroup -type d -name 'kist-*-%d-*' 2>/dev/null | wc -l", (int)of);
    FILE *f = popen(command, "r");
    ck_assert(f && fscanf(f, "%d", &count) == 1);
    pclose(f);
    return count;
}

/* A server that is killed leaves no process, and no control group after the next start. */
START_TEST(server_killed)
{
    for (int frozen = 0; frozen < 2; frozen++) {
        uint16_t port;
        char text[16];
        int ready[2];
        CLEANUP_CLOSE int listener = listen_here(&port);
        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        snprintf(text, sizeof(text), "%u", port);
        pid_t server = fork();
        if (server == 0)
            other_server(text, frozen, ready[1]);
        close(ready[1]);
        CLEANUP_CLOSE int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_eq(read(ready[0], text, 1), 1);
        close(ready[0]);
        ck_assert_int_eq(kill(server, SIGKILL), 0);
        ck_assert_int_eq(waitpid(server, NULL, 0), server);
        if (frozen) /* under version 1 frozen processes stay until then */
            reopen();
        struct pollfd p = { .fd = client, .events = POLLIN };
        ck_assert_int_eq(poll(&p, 1, 20000), 1);
        ck_assert_int_le(read(client, text, 1), 0);
        reopen();
        ck_assert_int_eq(count_groups(server), 0);
    }
}
END_TEST

/* Makes or removes "held" in each group of this process's first sandbox; how many there are. */
static int hold(bool make)
{
    char command[256];
    int count = -1;
    snprintf(command, sizeof(command),
             "find /sys/fs/cgroup -type d -path '*/kist-*-%d-*/f0' 2>/dev/null |"
             " while read -r d; do %s \"$d/held\" && echo; done | wc -l",
             (int)getpid(), make ? "mkdir" : "rmdir");
    FILE *f = popen(command, "r");
    ck_assert(f && fscanf(f, "%d", &count) == 1);
    pclose(f);
    return count;
}

/* A group that is busy when its sandbox ends goes with a later one. */
START_TEST(busy_group)
{
    char text[64];
    if (!have(SANDBOX_CGROUP_PIDS, "cgroups"))
        return;
    struct sandbox *box = start_with(SPEC(0), ARGS("forever"));
    read_output(box, text, sizeof(text), "started");
    int held = hold(true);
    ck_assert_int_gt(held, 0);
    sandbox_kill(box);
    (void)finish(box);
    ck_assert_int_eq(hold(false), held);
    check_probe(SPEC(0), ARGS("ok"));
    ck_assert_int_eq(hold(true), 0);
}
END_TEST

static int compare_ns(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* From the call to the first byte of its output, and to the end of sandbox_spawn(). */
START_TEST(how_long_a_start_takes)
{
    enum { ROUNDS = 50, P50 = ROUNDS / 2, P90 = ROUNDS * 9 / 10 };
    uint64_t spawned[ROUNDS], first[ROUNDS];
    static const uint16_t ports[] = { 9001, 9000 };
    char text[2];
    for (size_t i = 0; i < ROUNDS; i++) {
        uint64_t start = mono_ns();
        struct sandbox *box = start_with(
            SPEC(.memory_bytes = USUAL_BYTES, .ports = ports, .ports_count = 2), ARGS("ok"));
        spawned[i] = mono_ns() - start;
        read_output(box, text, sizeof(text), NULL);
        first[i] = mono_ns() - start;
        finish(box);
    }
    qsort(spawned, ROUNDS, sizeof(spawned[0]), compare_ns);
    qsort(first, ROUNDS, sizeof(first[0]), compare_ns);
    fprintf(stderr,
            "start: p50 %.2f ms, p90 %.2f ms; to the first output: p50 %.2f ms, p90 %.2f ms\n",
            (double)spawned[P50] / 1e6, (double)spawned[P90] / 1e6, (double)first[P50] / 1e6,
            (double)first[P90] / 1e6);
}
END_TEST

/* The same tests with less and less of what the machine offers. */
static const struct sandbox_config cases[] = {
    { .without = 0 },
    { .prefer_bubblewrap = true },
    { .without = SANDBOX_CGROUP_MEMORY | SANDBOX_CGROUP_PIDS | SANDBOX_CGROUP_FREEZER },
    { .without = SANDBOX_MOUNT_NS }, /* as in a chroot */
    { .without = SANDBOX_USER_NS | SANDBOX_NET_NS | SANDBOX_LANDLOCK | SANDBOX_CGROUP_V2 },
    { .without = SANDBOX_USER_NS | SANDBOX_PID_NS | SANDBOX_NET_NS | SANDBOX_CGROUP_FREEZER },
    { .without = SANDBOX_USER_NS | SANDBOX_MOUNT_NS | SANDBOX_PID_NS | SANDBOX_NET_NS |
                 SANDBOX_IPC_NS | SANDBOX_UTS_NS | SANDBOX_CGROUP_MEMORY | SANDBOX_CGROUP_PIDS |
                 SANDBOX_CGROUP_FREEZER },
    { .without = SANDBOX_USER_NS | SANDBOX_MOUNT_NS | SANDBOX_PID_NS | SANDBOX_NET_NS |
                 SANDBOX_IPC_NS | SANDBOX_UTS_NS | SANDBOX_CGROUP_MEMORY | SANDBOX_CGROUP_PIDS |
                 SANDBOX_CGROUP_FREEZER | SANDBOX_LANDLOCK },
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], SANDBOX_ZYGOTE_COMMAND) == 0)
        return sandbox_zygote_main();
    if (argc > 2 && strcmp(argv[1], "probe") == 0)
        return end_probe(run_probe(argv + 2));
    if (THREAD_SANITIZER) {
        printf("skipped: no sandbox starts under ThreadSanitizer\n");
        return 0;
    }
    int failed = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (SANITIZED && cases[i].without & SANDBOX_PID_NS &&
            !(cases[i].without & SANDBOX_MOUNT_NS))
            continue;
        config = cases[i];
        fprintf(stderr, "without 0x%x%s\n", config.without,
                config.prefer_bubblewrap ? ", with bubblewrap" : "");
        Suite *s = suite_create("sandbox");
        TCase *c = tcase_create("sandbox");
        tcase_set_timeout(c, 120);
        tcase_add_checked_fixture(c, setup, teardown);
        tcase_add_test(c, says_what_it_has);
        tcase_add_test(c, starts_and_reports);
        tcase_add_test(c, refuses_bad_specs);
        tcase_add_test(c, files);
        tcase_add_test(c, layers);
        tcase_add_test(c, privileges);
        tcase_add_test(c, network);
        tcase_add_test(c, listeners);
        tcase_add_test(c, owners);
        tcase_add_test(c, bounds);
        tcase_add_test(c, memory);
        tcase_add_test(c, kill_ends_all);
        tcase_add_test(c, kill_follows_no_link);
        tcase_add_test(c, freeze_and_thaw);
        tcase_add_test(c, concurrent);
        tcase_add_test(c, zygote_comes_back);
        tcase_add_test(c, server_killed);
        tcase_add_test(c, busy_group);
        tcase_add_test(c, how_long_a_start_takes);
        suite_add_tcase(s, c);
        failed += run_suite(s);
    }
    return failed ? 1 : 0;
}
