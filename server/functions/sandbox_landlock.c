/* Landlock (docs.kernel.org/userspace-api/landlock.html): where a function may read and write,
 * once more, by rules that hold even where mounts were got wrong, and that are all there is where
 * mount namespaces are refused. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/functions/sandbox_internal.h"

/* Younger than the headers of Debian 12 (Linux 6.1). */
#define ACCESS_FS_TRUNCATE (1ULL << 14) /* ABI 3 */
#define SCOPE_ABSTRACT_UNIX (1ULL << 0) /* ABI 6 */
#define SCOPE_SIGNAL (1ULL << 1)        /* ABI 6 */
struct ruleset_attr {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

#define READ_FILES                                                                               \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ALL_ABI_2                                                                                \
    (READ_FILES | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                             \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |  \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                              \
     LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)
#define OF_FILES                                                                                 \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
     ACCESS_FS_TRUNCATE)

static long abi(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* Version 1 forbids every rename between directories. */
bool sandbox_landlock_works(void)
{
    return abi() >= 2;
}

/* What is not there needs no rule. */
static int allow(int ruleset, const char *path, uint64_t access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return 0;
    struct stat st;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        access &= OF_FILES;
    struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
    int err = 0;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        err = errno;
    close(fd);
    return err;
}

static int allow_files(int ruleset, const struct sandbox_plan *plan, uint64_t handled)
{
    static const char *const system[] = {
        "/usr",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/bin",
        "/sbin",
        "/etc/ld.so.cache",
        "/etc/alternatives",
        "/etc/ssl/certs",
        "/etc/ssl/openssl.cnf",
        "/etc/passwd",
        "/etc/group",
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/resolv.conf",
        "/etc/localtime",
    };
    static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
                                           "/dev/urandom" };
    const struct sandbox_request *request = plan->request;
    uint64_t writes = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                      (handled & ACCESS_FS_TRUNCATE);
    int err = 0;
    if (request->features & SANDBOX_MOUNT_NS) {
        err = allow(ruleset, "/", READ_FILES);
    } else {
        for (size_t i = 0; err == 0 && i < ARRAY_LEN(system); i++)
            err = allow(ruleset, system[i], READ_FILES);
        for (size_t i = 0; err == 0 && i < request->layers_count; i++)
            err = allow(ruleset, plan->layers[i], READ_FILES);
        if (err == 0)
            err = allow(ruleset, plan->task, READ_FILES);
        if (err == 0 && plan->runtime[0])
            err = allow(ruleset, plan->runtime, READ_FILES);
    }
    for (size_t i = 0; err == 0 && i < ARRAY_LEN(devices); i++)
        err = allow(ruleset, devices[i], writes);
    uint64_t devices_made = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
    if (err == 0)
        err = allow(ruleset, plan->tmp, handled & ~devices_made);
    return err;
}

int sandbox_landlock(const struct sandbox_plan *plan)
{
    long version = abi();
    struct ruleset_attr attr = { .handled_access_fs = ALL_ABI_2 };
    size_t size = sizeof(attr.handled_access_fs);
    if (version >= 3)
        attr.handled_access_fs |= ACCESS_FS_TRUNCATE;
    if (version >= 6) {
        attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
        size = sizeof(attr);
    }
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        return errno;
    int err = allow_files(ruleset, plan, attr.handled_access_fs);
    if (err == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        err = errno;
    close(ruleset);
    return err;
}
