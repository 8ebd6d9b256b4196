/* Namespaces by bubblewrap (bwrap(1)), for systems that let no other program of an ordinary user
 * make them. It executes this program anew as the sandbox's first process, in surroundings that
 * are finished: what remains to that init is to listen, to drop what is left, and to watch. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/functions/sandbox_internal.h"

#define ARGS_MAX 160
#define INIT_PATH "/.kist"
#define TEXTS_MAX 8

/* The file in descriptor 3. */
struct letter {
    struct sandbox_hello hello;
    struct sandbox_request request;
};

struct command {
    const char *argv[ARGS_MAX];
    size_t len;
    char texts[TEXTS_MAX][32]; /* numbers among the arguments */
    size_t texts_len;
};

static void add(struct command *c, const char *a, const char *b, const char *d)
{
    const char *const words[] = { a, b, d };
    for (size_t i = 0; i < ARRAY_LEN(words) && words[i]; i++)
        if (c->len + 1 < ARRAY_LEN(c->argv))
            c->argv[c->len++] = words[i];
}

static const char *number(struct command *c, unsigned long long value)
{
    char *text = c->texts[c->texts_len++ % TEXTS_MAX];
    snprintf(text, sizeof(c->texts[0]), "%llu", value);
    return text;
}

/* Links stay links, as in sandbox_root.c. */
static void add_system(struct command *c, const char *path)
{
    static char targets[16][256];
    static size_t used;
    struct stat st;
    if (lstat(path, &st) != 0)
        return;
    if (!S_ISLNK(st.st_mode)) {
        add(c, "--ro-bind", path, path);
        return;
    }
    char *target = targets[used++ % ARRAY_LEN(targets)];
    ssize_t n = readlink(path, target, sizeof(targets[0]) - 1);
    if (n > 0) {
        target[n] = '\0';
        add(c, "--symlink", target, path);
    }
}

static void add_base(struct command *c, bool network)
{
    add(c, "bwrap", "--unshare-user", "--unshare-pid");
    add(c, "--unshare-ipc", "--unshare-uts", network ? NULL : "--unshare-net");
    add(c, "--as-pid-1", NULL, NULL);
    add(c, "--hostname", "sandbox", NULL);
    add(c, "--uid", number(c, SANDBOX_UID), NULL);
    add(c, "--gid", number(c, SANDBOX_GID), NULL);
    add(c, "--proc", "/proc", NULL);
    add(c, "--remount-ro", "/proc", NULL);
    add(c, "--dev", "/dev", NULL);
    for (size_t i = 0; sandbox_system_shown[i]; i++)
        add_system(c, sandbox_system_shown[i]);
    for (size_t i = 0; sandbox_etc_shown[i]; i++)
        add(c, "--ro-bind-try", sandbox_etc_shown[i], sandbox_etc_shown[i]);
}

bool sandbox_bwrap_works(void)
{
    static struct command c;
    add_base(&c, false);
    add(&c, "/usr/bin/true", NULL, NULL);
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (null >= 0)
            (void)dup2(null, 2); /* its complaints */
        execvp("bwrap", (char **)(uintptr_t)c.argv);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* A file in memory, at its beginning. Stays open over execve(). */
static int memory_file(const void *data, size_t len)
{
    int fd = memfd_create("kist", 0);
    if (fd < 0)
        return -1;
    const uint8_t *p = data;
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, p + done, len - done);
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
}

/* The letter to descriptor 3, the request's to those after it; all others close by themselves. */
static int place_fds(const struct sandbox_plan *plan, size_t count)
{
    static struct letter letter;
    int high[SANDBOX_FD_CGROUPS + SANDBOX_CGROUPS_MAX + 1];
    letter.hello = *plan->hello;
    letter.request = *plan->request;
    int file = memory_file(&letter, sizeof(letter));
    high[0] = file < 0 ? -1 : fcntl(file, F_DUPFD_CLOEXEC, 64);
    for (size_t i = 0; i < count; i++)
        high[i + 1] = fcntl(plan->fds[i], F_DUPFD_CLOEXEC, 64);
    if (file >= 0)
        close(file);
    for (size_t i = 0; i <= count; i++)
        if (high[i] < 0 || dup2(high[i], SANDBOX_ZYGOTE_FD + (int)i) < 0)
            return errno;
    return 0;
}

int sandbox_bwrap_exec(const struct sandbox_plan *plan)
{
    static struct command c;
    static char exe[4096];
    const struct sandbox_request *request = plan->request;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    if (n <= 0)
        return ENOENT;
    if (request->layers_count > 1)
        return ENOTSUP; /* it cannot overlay */
    add_base(&c, request->network);
    /* Above the descriptors that have a place. */
    int err = 0;
    for (size_t i = 0; err == 0 && sandbox_etc_made[i].path; i++) {
        const char *text = sandbox_etc_made[i].text;
        int fd = memory_file(text, strlen(text));
        int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD, 32);
        if (high < 0)
            return errno;
        close(fd);
        add(&c, "--ro-bind-data", number(&c, (unsigned long long)high), sandbox_etc_made[i].path);
    }
    if (request->network)
        add(&c, "--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf");
    add(&c, "--perms", "1777", NULL);
    add(&c, "--size", number(&c, request->tmp_bytes), NULL);
    add(&c, "--tmpfs", "/tmp", NULL);
    add(&c, "--ro-bind", plan->task, "/var/task");
    add(&c, "--ro-bind", exe, INIT_PATH);
    if (plan->runtime[0])
        add(&c, "--ro-bind", plan->runtime, "/var/runtime");
    else
        add(&c, "--dir", "/var/runtime", NULL);
    if (request->layers_count)
        add(&c, "--ro-bind", plan->layers[0], "/opt");
    else
        add(&c, "--dir", "/opt", NULL);
    add(&c, "--remount-ro", "/", NULL);
    add(&c, INIT_PATH, SANDBOX_ZYGOTE_COMMAND, NULL);
    err = place_fds(plan, SANDBOX_FD_CGROUPS + request->cgroups_count);
    if (err)
        return err;
    (void)signal(SIGCHLD, SIG_DFL);
    execvp("bwrap", (char **)(uintptr_t)c.argv);
    return errno;
}

bool sandbox_bwrap_adopt(struct sandbox_hello *hello, struct sandbox_request *request,
                         struct sandbox_plan *plan)
{
    static struct letter letter;
    struct stat st;
    if (getpid() != 1 || fstat(SANDBOX_ZYGOTE_FD, &st) != 0 || !S_ISREG(st.st_mode) ||
        pread(SANDBOX_ZYGOTE_FD, &letter, sizeof(letter), 0) != (ssize_t)sizeof(letter))
        return false;
    *hello = letter.hello;
    *request = letter.request;
    explicit_bzero(&letter, sizeof(letter));
    size_t count = SANDBOX_FD_CGROUPS + (size_t)request->cgroups_count;
    for (size_t i = 0; i < count && i < ARRAY_LEN(plan->fds); i++) {
        plan->fds[i] = SANDBOX_ZYGOTE_FD + 1 + (int)i;
        (void)fcntl(plan->fds[i], F_SETFD, FD_CLOEXEC);
    }
    close(SANDBOX_ZYGOTE_FD);
    return true;
}
