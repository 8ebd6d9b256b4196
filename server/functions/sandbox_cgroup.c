/* Control groups: docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/. */
#include "server/functions/sandbox_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/base/cleanup.h"
#include "storage/base/trace.h"

#define FILE_PATH_MAX (CGROUP_PATH_MAX + 64)
#define PREFIX "kist-"
#define WAIT_MS 10
#define ROUNDS 100

/* A sandbox's groups that could not be removed. */
struct cgroup_left {
    struct cgroup_left *next;
    uint64_t id;
};

static const struct {
    const char *name;
    unsigned feature;
} kinds[CGROUP_KINDS] = { [CGROUP_MEMORY] = { "memory", SANDBOX_CGROUP_MEMORY },
                          [CGROUP_PIDS] = { "pids", SANDBOX_CGROUP_PIDS },
                          [CGROUP_FREEZER] = { "freezer", SANDBOX_CGROUP_FREEZER } };

static int write_file(const char *dir, const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return ENAMETOOLONG;
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    size_t len = strlen(text);
    return write(fd, text, len) == (ssize_t)len ? 0 : errno;
}

/* The whole of a small file as a string; false when it cannot be read. */
static bool read_file(const char *dir, const char *name, char *text, size_t size)
{
    char path[FILE_PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return false;
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t len = 0;
    while (len + 1 < size) {
        ssize_t n = read(fd, text + len, size - 1 - len);
        if (n < 0)
            return false;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    return true;
}

/* Whether `word` is among the words of a list, whose separators are given. */
static bool has_word(const char *list, const char *word, const char *separators)
{
    size_t len = strlen(word);
    while (*list) {
        size_t n = strcspn(list, separators);
        if (n == len && memcmp(list, word, len) == 0)
            return true;
        list += n;
        list += strspn(list, separators);
    }
    return false;
}

/* This process's path in a hierarchy, from /proc/self/cgroup: "ID:CONTROLLERS:PATH"; version 2's
 * line has no controllers. */
static bool own_path(const char *controller, char *out, size_t size)
{
    CLEANUP_FCLOSE FILE *f = fopen("/proc/self/cgroup", "re");
    char line[CGROUP_PATH_MAX + 128];
    while (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *list++ = *path++ = '\0';
        if (controller ? has_word(list, controller, ",") : *list == '\0')
            return snprintf(out, size, "%s", path) < (int)size;
    }
    return false;
}

/* Where a hierarchy is mounted, and which of its directories is: proc_pid_mountinfo(5). */
static bool find_mount(const char *controller, char *root, char *point, size_t size)
{
    CLEANUP_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[4096];
    while (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        char *tail = strstr(line, " - "), *save = NULL;
        if (!tail)
            continue;
        *tail = '\0';
        const char *type = strtok_r(tail + 3, " ", &save);
        (void)strtok_r(NULL, " ", &save);
        const char *options = strtok_r(NULL, " ", &save);
        if (!type || !options || strcmp(type, controller ? "cgroup" : "cgroup2") != 0 ||
            (controller && !has_word(options, controller, ",")))
            continue;
        const char *fields[5];
        save = NULL;
        for (size_t i = 0; i < ARRAY_LEN(fields); i++)
            fields[i] = strtok_r(i ? NULL : line, " ", &save);
        if (fields[4])
            return snprintf(root, size, "%s", fields[3]) < (int)size &&
                   snprintf(point, size, "%s", fields[4]) < (int)size;
    }
    return false;
}

/* The directory of this process's group; NULL is version 2's controller. */
static bool own_dir(const char *controller, char *out)
{
    char path[CGROUP_PATH_MAX], root[CGROUP_PATH_MAX], point[CGROUP_PATH_MAX];
    if (!own_path(controller, path, sizeof(path)) ||
        !find_mount(controller, root, point, sizeof(root)))
        return false;
    size_t skip = strcmp(root, "/") == 0 ? 0 : strlen(root);
    const char *below = strncmp(path, root, skip) == 0 ? path + skip : "";
    if (strcmp(below, "/") == 0)
        below = "";
    return snprintf(out, CGROUP_PATH_MAX, "%s%s", point, below) < CGROUP_PATH_MAX;
}

/* A process's start in clock ticks since boot: the 22nd field of /proc/PID/stat. 0: none such. */
static unsigned long long start_of(long pid)
{
    char dir[32], text[1024];
    snprintf(dir, sizeof(dir), "/proc/%ld", pid);
    if (!read_file(dir, "stat", text, sizeof(text)))
        return 0;
    const char *p = strrchr(text, ')'); /* the name may hold anything */
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoull(p, NULL, 10) : 0;
}

static unsigned long long pid_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

static void kill_group(const char *dir, bool v2)
{
    char text[4096];
    if (v2) {
        (void)write_file(dir, "cgroup.kill", "1");
        (void)write_file(dir, "cgroup.freeze", "0");
    }
    if (!read_file(dir, "cgroup.procs", text, sizeof(text)))
        return;
    char *end = text;
    for (char *p = text; *p; p = end) {
        long pid = strtol(p, &end, 10);
        if (end == p)
            break;
        if (pid > 1 && pid != getpid())
            (void)kill((pid_t)pid, SIGKILL);
        end += *end == '\n';
    }
    if (!v2)
        (void)write_file(dir, "freezer.state", "THAWED");
}

/* Until it may be empty. Version 2 says so (cgroup.events); version 1 has no event for that. */
static void wait_for_end(const char *dir, bool v2)
{
    char path[FILE_PATH_MAX + 16], text[256];
    snprintf(path, sizeof(path), "%s/cgroup.events", dir);
    CLEANUP_CLOSE int fd = v2 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    /* What has been read is what poll() compares with. */
    if (fd >= 0 && read(fd, text, sizeof(text)) > 0) {
        struct pollfd p = { .fd = fd, .events = POLLPRI };
        (void)poll(&p, 1, WAIT_MS);
    } else {
        (void)poll(NULL, 0, WAIT_MS);
    }
}

/* A process that has just died may be there for an instant yet, when no file of the group names
 * it any more: only rmdir() knows. False after a second. */
static bool remove_dir(const char *dir, bool v2)
{
    for (int round = 0; round < ROUNDS; round++) {
        if (rmdir(dir) == 0 || errno != EBUSY)
            return true;
        kill_group(dir, v2);
        wait_for_end(dir, v2);
    }
    return false;
}

/* Removes a group with its children, one level deep. */
static void remove_group(const char *dir, bool v2)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    const struct dirent *e;
    char child[FILE_PATH_MAX];
    while ((e = readdir(d))) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.' ||
            snprintf(child, sizeof(child), "%s/%s", dir, e->d_name) >= (int)sizeof(child))
            continue;
        (void)remove_dir(child, v2);
    }
    closedir(d);
    (void)rmdir(dir);
}

/* What servers left that are no more: "kist-PIDNAMESPACE-PID-START". Those of another pid
 * namespace cannot be judged from here. */
static void sweep(const char *parent, bool v2)
{
    DIR *d = opendir(parent);
    if (!d)
        return;
    const struct dirent *e;
    char path[FILE_PATH_MAX + 256];
    while ((e = readdir(d))) {
        if (strncmp(e->d_name, PREFIX, sizeof(PREFIX) - 1) != 0)
            continue;
        char *p = (char *)(uintptr_t)e->d_name + sizeof(PREFIX) - 1;
        unsigned long long space = strtoull(p, &p, 10);
        long pid = *p == '-' ? strtol(p + 1, &p, 10) : 0;
        unsigned long long start = *p == '-' ? strtoull(p + 1, &p, 10) : 0;
        if (pid <= 0 || start == 0 || space != pid_namespace() || start_of(pid) == start)
            continue;
        snprintf(path, sizeof(path), "%s/%s", parent, e->d_name);
        remove_group(path, v2);
    }
    closedir(d);
}

/* This server's group below its own, in one hierarchy. */
static bool make_parent(const char *own, bool v2, char *out)
{
    static _Atomic unsigned hosts;
    sweep(own, v2);
    if (snprintf(out, CGROUP_PATH_MAX, "%s/" PREFIX "%llu-%d-%llu-%u", own, pid_namespace(),
                 (int)getpid(), start_of(getpid()), hosts++) < CGROUP_PATH_MAX &&
        mkdir(out, 0755) == 0)
        return true;
    out[0] = '\0';
    return false;
}

static void open_v1(struct cgroup_host *host, unsigned without)
{
    char own[CGROUP_PATH_MAX];
    for (size_t i = 0; i < CGROUP_KINDS; i++)
        if (!host->dirs[i][0] && !(without & kinds[i].feature) && own_dir(kinds[i].name, own))
            (void)make_parent(own, false, host->dirs[i]);
}

/* Lets controllers through to the groups below. Version 2 wants processes in leaves alone: where
 * that is what hinders, the server moves to a leaf of its own (as systemd's Delegate=yes means
 * it). With others in the group that does not help, and the kernel refuses still. */
static bool pass_controllers(const char *own, const char *controllers)
{
    char leaf[CGROUP_PATH_MAX];
    int err = write_file(own, "cgroup.subtree_control", controllers);
    if (err != EBUSY)
        return err == 0;
    if (snprintf(leaf, sizeof(leaf), "%s/server", own) >= (int)sizeof(leaf) ||
        (mkdir(leaf, 0755) != 0 && errno != EEXIST))
        return false;
    if (write_file(leaf, "cgroup.procs", "0") == 0 &&
        write_file(own, "cgroup.subtree_control", controllers) == 0)
        return true;
    (void)write_file(own, "cgroup.procs", "0");
    (void)rmdir(leaf);
    return false;
}

/* Freezing needs no controller in version 2; on machines with both versions, the other two are
 * often version 1's. */
static void open_v2(struct cgroup_host *host, unsigned without)
{
    char own[CGROUP_PATH_MAX], parent[CGROUP_PATH_MAX], text[256];
    if (!own_dir(NULL, own) || !read_file(own, "cgroup.controllers", text, sizeof(text)))
        return;
    bool both = has_word(text, "memory", " \n") && has_word(text, "pids", " \n") &&
                pass_controllers(own, "+memory +pids");
    if (!make_parent(own, true, parent))
        return;
    both = both && write_file(parent, "cgroup.subtree_control", "+memory +pids") == 0;
    for (size_t i = 0; i < CGROUP_KINDS; i++)
        if (!(without & kinds[i].feature) && (both || i == CGROUP_FREEZER)) {
            memcpy(host->dirs[i], parent, sizeof(parent));
            host->v2[i] = true;
        }
    if (!host->v2[CGROUP_FREEZER] && !host->v2[CGROUP_MEMORY] && !host->v2[CGROUP_PIDS])
        (void)rmdir(parent);
}

void cgroup_host_open(struct cgroup_host *host, unsigned without)
{
    unsigned all = SANDBOX_CGROUP_MEMORY | SANDBOX_CGROUP_PIDS | SANDBOX_CGROUP_FREEZER;
    *host = (struct cgroup_host){ .dirs = { "" } };
    pthread_mutex_init(&host->lock, NULL);
    if ((without & all) == all)
        return;
    if (!(without & SANDBOX_CGROUP_V2))
        open_v2(host, without);
    open_v1(host, without);
}

void cgroup_host_close(struct cgroup_host *host)
{
    while (host->left) {
        struct cgroup_left *left = host->left;
        host->left = left->next;
        free(left);
    }
    pthread_mutex_destroy(&host->lock);
    for (size_t i = 0; i < CGROUP_KINDS; i++)
        if (host->dirs[i][0])
            remove_group(host->dirs[i], host->v2[i]);
}

unsigned cgroup_features(const struct cgroup_host *host, bool v2)
{
    unsigned features = 0;
    for (size_t i = 0; i < CGROUP_KINDS; i++)
        if (host->dirs[i][0] && host->v2[i] == v2)
            features |= kinds[i].feature;
    return features;
}

static void group_dir(const struct cgroup *group, enum cgroup_kind kind, char *out)
{
    snprintf(out, FILE_PATH_MAX, "%s/f%llu", group->host->dirs[kind],
             (unsigned long long)group->id);
}

static int limit(const struct cgroup *group, enum cgroup_kind kind, const char *name_v1,
                 const char *name_v2, uint64_t value)
{
    char dir[FILE_PATH_MAX], text[32];
    if (!group->host->dirs[kind][0])
        return 0;
    group_dir(group, kind, dir);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    return write_file(dir, group->host->v2[kind] ? name_v2 : name_v1, text);
}

static int make_one(struct cgroup *group, enum cgroup_kind kind)
{
    char dir[FILE_PATH_MAX], path[FILE_PATH_MAX + 16];
    group_dir(group, kind, dir);
    if (mkdir(dir, 0755) != 0)
        return group->host->v2[kind] && errno == EEXIST ? 0 : errno;
    snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    group->enter[group->enter_count++] = fd;
    return 0;
}

enum kist_err cgroup_make(struct cgroup_host *host, uint64_t id, uint64_t memory_bytes,
                          unsigned pids_max, struct cgroup *out)
{
    struct cgroup group = { .host = host, .id = id };
    int err = 0;
    for (size_t i = 0; err == 0 && i < CGROUP_KINDS; i++)
        if (host->dirs[i][0])
            err = make_one(&group, (enum cgroup_kind)i);
    if (err == 0 && memory_bytes)
        err = limit(&group, CGROUP_MEMORY, "memory.limit_in_bytes", "memory.max", memory_bytes);
    if (err == 0)
        err = limit(&group, CGROUP_PIDS, "pids.max", "pids.max", pids_max);
    if (err) {
        cgroup_remove(&group);
        return kist_err_from_errno(err);
    }
    /* No escape into swap, where it is counted. */
    if (memory_bytes)
        (void)limit(&group, CGROUP_MEMORY, "memory.memsw.limit_in_bytes", "memory.swap.max",
                    host->v2[CGROUP_MEMORY] ? 0 : memory_bytes);
    *out = group;
    return KIST_OK;
}

void cgroup_entered(struct cgroup *group)
{
    for (size_t i = 0; i < group->enter_count; i++)
        close(group->enter[i]);
    group->enter_count = 0;
}

enum kist_err cgroup_freeze(const struct cgroup *group, bool frozen)
{
    char dir[FILE_PATH_MAX];
    group_dir(group, CGROUP_FREEZER, dir);
    int err = group->host->v2[CGROUP_FREEZER]
                  ? write_file(dir, "cgroup.freeze", frozen ? "1" : "0")
                  : write_file(dir, "freezer.state", frozen ? "FROZEN" : "THAWED");
    return err ? kist_err_from_errno(err) : KIST_OK;
}

uint64_t cgroup_memory_peak(const struct cgroup *group)
{
    char dir[FILE_PATH_MAX], text[64];
    if (!group->host->dirs[CGROUP_MEMORY][0])
        return 0;
    group_dir(group, CGROUP_MEMORY, dir);
    /* memory.peak came with Linux 5.19 */
    if (!read_file(dir,
                   group->host->v2[CGROUP_MEMORY] ? "memory.peak" : "memory.max_usage_in_bytes",
                   text, sizeof(text)) &&
        !read_file(dir, "memory.current", text, sizeof(text)))
        return 0;
    return strtoull(text, NULL, 10);
}

uint64_t cgroup_oom_kills(const struct cgroup *group)
{
    char dir[FILE_PATH_MAX], text[512];
    if (!group->host->dirs[CGROUP_MEMORY][0])
        return 0;
    group_dir(group, CGROUP_MEMORY, dir);
    if (!read_file(dir, group->host->v2[CGROUP_MEMORY] ? "memory.events" : "memory.oom_control",
                   text, sizeof(text)))
        return 0;
    const char *p = strstr(text, "oom_kill ");
    return p ? strtoull(p + sizeof("oom_kill ") - 1, NULL, 10) : 0;
}

/* Whether nothing is left of it, without waiting. */
static bool is_removed(struct cgroup_host *host, uint64_t id)
{
    struct cgroup group = { .host = host, .id = id };
    char dir[FILE_PATH_MAX];
    bool gone = true;
    for (size_t i = 0; i < CGROUP_KINDS; i++) {
        if (!host->dirs[i][0])
            continue;
        group_dir(&group, (enum cgroup_kind)i, dir);
        gone = (rmdir(dir) == 0 || errno != EBUSY) && gone;
    }
    return gone;
}

/* Those that were left before go with the next that can. */
static void remove_left(struct cgroup_host *host)
{
    pthread_mutex_lock(&host->lock);
    for (struct cgroup_left **at = &host->left; *at;) {
        struct cgroup_left *left = *at;
        if (is_removed(host, left->id)) {
            *at = left->next;
            free(left);
        } else {
            at = &left->next;
        }
    }
    pthread_mutex_unlock(&host->lock);
}

static void leave(struct cgroup_host *host, uint64_t id)
{
    struct cgroup_left *left = malloc(sizeof(*left));
    TRACE(TRACE_WARN, "sandbox", "a control group cannot be removed yet");
    if (!left)
        return; /* the next start's sweep takes it */
    left->id = id;
    pthread_mutex_lock(&host->lock);
    left->next = host->left;
    host->left = left;
    pthread_mutex_unlock(&host->lock);
}

void cgroup_remove(struct cgroup *group)
{
    char dir[FILE_PATH_MAX];
    struct cgroup_host *host = group->host;
    bool gone = true;
    cgroup_entered(group);
    if (!host)
        return;
    for (size_t i = 0; i < CGROUP_KINDS; i++) {
        if (!host->dirs[i][0])
            continue;
        group_dir(group, (enum cgroup_kind)i, dir);
        gone = remove_dir(dir, host->v2[i]) && gone;
    }
    remove_left(host);
    if (!gone)
        leave(host, group->id);
    group->host = NULL;
}
