/* A sandbox's files.
 *
 * The zygote makes a root once, in a mount namespace of its own: a small tmpfs with what all
 * sandboxes share, read-only, and the machine's root at /.old. Each sandbox gets a copy of that
 * namespace, adds its code, its layers and its /tmp, and lets go of /.old.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/functions/sandbox_internal.h"

#define PATH_BYTES 4352
#define OLD SANDBOX_OLD_ROOT

/* Makes what is mounted at path read-only, with all below. mount_setattr() came with Linux 5.12;
 * before, flags that a namespace may not remove must be repeated. */
static int make_read_only(const char *path)
{
    struct mount_attr attr = { .attr_set =
                                   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
    if (syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &attr, sizeof(attr)) == 0)
        return 0;
    if (errno != ENOSYS)
        return errno;
    struct statfs fs;
    if (statfs(path, &fs) != 0)
        return errno;
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
    flags |= (unsigned long)fs.f_flags & (MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME);
    return mount(NULL, path, NULL, flags, NULL) == 0 ? 0 : errno;
}

static int bind_read_only(const char *from, const char *to)
{
    if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) != 0)
        return errno;
    return make_read_only(to);
}

static int make_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno;
    size_t len = strlen(text);
    int err = write(fd, text, len) == (ssize_t)len ? 0 : EIO;
    close(fd);
    return err;
}

/* Shows one of the machine's files or directories, or the symbolic link that it is, at the same
 * path; what the machine does not have is not an error. */
static int show(const char *path)
{
    char old[PATH_BYTES], target[PATH_BYTES];
    snprintf(old, sizeof(old), OLD "%s", path);
    struct stat st;
    if (lstat(old, &st) != 0)
        return errno == ENOENT ? 0 : errno;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(old, target, sizeof(target) - 1);
        if (n < 0)
            return errno;
        target[n] = '\0';
        return symlink(target, path) == 0 ? 0 : errno;
    }
    if (S_ISDIR(st.st_mode) && mkdir(path, 0755) != 0)
        return errno;
    if (!S_ISDIR(st.st_mode)) {
        int err = make_file(path, "");
        if (err)
            return err;
    }
    return bind_read_only(old, path);
}

/* Devices are the machine's own nodes: a namespace of an ordinary user may not make any. */
static int make_devices(void)
{
    static const char *const nodes[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
                                         "/dev/urandom" };
    char old[PATH_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        snprintf(old, sizeof(old), OLD "%s", nodes[i]);
        int err = make_file(nodes[i], "");
        if (err)
            return err;
        if (mount(old, nodes[i], NULL, MS_BIND, NULL) != 0)
            return errno;
    }
    if (symlink("/proc/self/fd", "/dev/fd") != 0 || symlink("fd/0", "/dev/stdin") != 0 ||
        symlink("fd/1", "/dev/stdout") != 0 || symlink("fd/2", "/dev/stderr") != 0)
        return errno;
    return 0;
}

const char *const sandbox_system_shown[] = { "/usr",    "/lib", "/lib32", "/lib64",
                                             "/libx32", "/bin", "/sbin",  NULL };
const char *const sandbox_etc_shown[] = {
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/pki",
    "/etc/mime.types",
    NULL,
};
const struct sandbox_made sandbox_etc_made[] = {
    { "/etc/passwd", "root:x:0:0:root:/:/bin/sh\n"
                     "sandbox:x:993:990::/tmp:/bin/sh\n"
                     "nobody:x:65534:65534:nobody:/:/bin/false\n" },
    { "/etc/group", "root:x:0:\nsandbox:x:990:\nnogroup:x:65534:\n" },
    { "/etc/hosts", "127.0.0.1 localhost sandbox.localdomain sandbox\n::1 localhost\n" },
    { "/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n" },
    { NULL, NULL },
};

static int show_all(const char *const *paths)
{
    int err = 0;
    for (size_t i = 0; err == 0 && paths[i]; i++)
        err = show(paths[i]);
    return err;
}

/* What all sandboxes share. */
static int fill_root(void)
{
    static const char *const directories[] = { "/etc",  "/etc/ssl",  "/dev",
                                               "/proc", "/tmp",      "/opt",
                                               "/var",  "/var/task", "/var/runtime" };
    int err = 0;
    for (size_t i = 0; err == 0 && i < ARRAY_LEN(directories); i++)
        err = mkdir(directories[i], 0755) == 0 ? 0 : errno;
    if (err == 0)
        err = show_all(sandbox_system_shown);
    if (err == 0)
        err = show_all(sandbox_etc_shown);
    if (err == 0)
        err = make_devices();
    for (size_t i = 0; err == 0 && sandbox_etc_made[i].path; i++)
        err = make_file(sandbox_etc_made[i].path, sandbox_etc_made[i].text);
    /* To be covered by the machine's, for functions that may use its network. */
    return err ? err : make_file("/etc/resolv.conf", "");
}

int sandbox_root_make(void)
{
    /* Nothing that is mounted here shows outside; what is mounted outside later shows here, so
     * that a data directory may be mounted after the start. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0)
        return errno;
    umask(022);
    if (mount("kist", "/tmp", "tmpfs", MS_NOSUID, "mode=0755,size=1m") != 0 || chdir("/tmp") != 0)
        return errno;
    if (mkdir("." OLD, 0700) != 0 || syscall(SYS_pivot_root, ".", "." OLD) != 0 ||
        chdir("/") != 0)
        return errno;
    int err = fill_root();
    if (err)
        return err;
    return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL) == 0
               ? 0
               : errno;
}

/* Read-only, because /proc/sys and the like ask for the machine's root alone, not for its
 * capabilities, and that is who a function is where root makes user namespaces without leave to
 * change its user. */
int sandbox_proc_mount(void)
{
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
    return mount("proc", "/proc", "proc", flags, NULL) == 0 ? 0 : errno;
}

static int bind_given(const char *from, const char *to)
{
    char old[PATH_BYTES];
    if (snprintf(old, sizeof(old), OLD "%s", from) >= (int)sizeof(old))
        return ENAMETOOLONG;
    return bind_read_only(old, to);
}

/* Overlayfs takes the uppermost first, separated by colons, with backslashes before special
 * characters. */
static int overlay_layers(const struct sandbox_plan *plan)
{
    static char options[SANDBOX_LAYERS_MAX * PATH_BYTES];
    size_t len = (size_t)snprintf(options, sizeof(options), "lowerdir=");
    for (size_t i = plan->request->layers_count; i-- > 0;) {
        const char *parts[] = { OLD, plan->layers[i] };
        for (size_t p = 0; p < ARRAY_LEN(parts); p++)
            for (const char *c = parts[p]; *c; c++) {
                if (len + 4 > sizeof(options))
                    return ENAMETOOLONG;
                if (*c == ':' || *c == '\\' || *c == ',')
                    options[len++] = '\\';
                options[len++] = *c;
            }
        options[len++] = i ? ':' : '\0';
    }
    unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV;
    return mount("layers", "/opt", "overlay", flags, options) == 0 ? 0 : errno;
}

/* The machine's name servers, for functions that may use its network. The file is often a link
 * out of /etc: it is resolved within the machine's root. */
static int show_resolver(void)
{
    static const char copy[] = "/tmp/.resolv.conf";
    char text[8192];
    int root = open(OLD, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return errno;
    struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
    int fd = (int)syscall(SYS_openat2, root, "etc/resolv.conf", &how, sizeof(how));
    close(root);
    if (fd < 0)
        return 0; /* a machine without */
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    int err = make_file(copy, text);
    if (err == 0)
        err = bind_read_only(copy, "/etc/resolv.conf");
    unlink(copy);
    return err;
}

int sandbox_root_finish(const struct sandbox_plan *plan)
{
    const struct sandbox_request *request = plan->request;
    char options[128];
    unsigned long long size = request->tmp_bytes, inodes = size / 4096 + 64;
    snprintf(options, sizeof(options), "mode=1777,size=%llu,nr_inodes=%llu", size, inodes);
    if (mount("tmp", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
        return errno;
    int err = bind_given(plan->task, "/var/task");
    if (err == 0 && plan->runtime[0])
        err = bind_given(plan->runtime, "/var/runtime");
    if (err == 0 && request->layers_count == 1)
        err = bind_given(plan->layers[0], "/opt");
    if (err == 0 && request->layers_count > 1)
        err = overlay_layers(plan);
    if (err == 0 && request->network)
        err = show_resolver();
    if (err)
        return err;
    return umount2(OLD, MNT_DETACH) == 0 ? 0 : errno;
}
