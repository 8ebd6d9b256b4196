/* libc's file calls as the simulator exports them. Each does the real call and notes what it
 * changed, both under the journal's lock, so that the journal's order is the order of the calls.
 *
 * The prototypes are libc's; the variants with 64 are the same calls on the machines that we
 * build for, and liblmdb or a library may be linked with either.
 */
#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sim/disk_internal.h"

/* libc's headers name their parameters in their own way. */
/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

static_assert(sizeof(off_t) == sizeof(off64_t), "the 64 variants are the same calls");

static struct disk_libc libc_calls;
static pthread_once_t libc_once = PTHREAD_ONCE_INIT;

#define LOAD(name) libc_calls.name = (__typeof__(libc_calls.name))dlsym(RTLD_NEXT, #name)

static void load(void)
{
    LOAD(open);
    LOAD(openat);
    LOAD(close);
    LOAD(write);
    LOAD(pwrite);
    LOAD(writev);
    LOAD(pwritev);
    LOAD(ftruncate);
    LOAD(truncate);
    LOAD(fallocate);
    LOAD(posix_fallocate);
    LOAD(fsync);
    LOAD(fdatasync);
    LOAD(renameat2);
    LOAD(unlinkat);
    LOAD(mkdirat);
    LOAD(fclose);
    LOAD(closedir);
}

const struct disk_libc *disk_libc(void)
{
    pthread_once(&libc_once, load);
    return &libc_calls;
}

/* --- descriptors --- */

/* What a descriptor stands for, found out when it is first used: 0 unknown, 1 nothing below the
 * root, else node + 2. */
enum { FD_UNKNOWN = 0, FD_FOREIGN = 1, FD_NODE = 2 };
static uint32_t *fds;
static size_t fd_cap;

void disk_forget_descriptors(void)
{
    for (size_t i = 0; i < fd_cap; i++)
        fds[i] = FD_UNKNOWN;
}

static uint32_t *fd_slot(int fd)
{
    size_t index = (size_t)fd;
    if (index >= fd_cap) {
        size_t cap = index * 2 + 64;
        fds = disk_grow(fds, cap, sizeof(uint32_t));
        for (size_t i = fd_cap; i < cap; i++)
            fds[i] = FD_UNKNOWN;
        fd_cap = cap;
    }
    return &fds[index];
}

/* The node of an open descriptor, or DISK_NONE. */
static uint32_t fd_node(int fd)
{
    if (fd < 0)
        return DISK_NONE;
    uint32_t *slot = fd_slot(fd);
    if (*slot == FD_UNKNOWN) {
        char link[64];
        char path[DISK_PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n < 0)
            return DISK_NONE;
        path[n] = '\0';
        uint32_t node = path[0] == '/' ? disk_node_of_path(path) : DISK_NONE;
        *slot = node == DISK_NONE ? FD_FOREIGN : node + FD_NODE;
    }
    return *slot == FD_FOREIGN ? DISK_NONE : *slot - FD_NODE;
}

static void fd_forget(int fd)
{
    if (fd < 0 || !disk_active())
        return;
    disk_lock();
    if ((size_t)fd < fd_cap)
        fds[fd] = FD_UNKNOWN;
    disk_unlock();
}

static int open_noted(int dirfd, const char *path, int flags, mode_t mode)
{
    char buffer[DISK_PATH_MAX];
    struct disk_place place;
    disk_lock();
    bool below = disk_locate(dirfd, path, buffer, &place);
    if (!below)
        disk_unlock(); /* It may wait long: a FIFO, a device. */
    int fd = disk_libc()->openat(dirfd, path, flags, mode);
    if (!below) {
        fd_forget(fd);
        return fd;
    }
    if (fd >= 0) {
        uint32_t node = disk_node_at(&place);
        if (node == DISK_NONE)
            node = disk_note_make(&place, false);
        else if (flags & O_TRUNC)
            disk_note(DISK_SIZE, node, 0, 0);
        *fd_slot(fd) = node + FD_NODE;
    }
    disk_unlock();
    return fd;
}

static mode_t mode_argument(int flags, va_list *args)
{
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(*args, unsigned) : 0;
}

#define DEFINE_OPEN(name)                                                                        \
    int name(const char *path, int flags, ...)                                                   \
    {                                                                                            \
        va_list args;                                                                            \
        va_start(args, flags);                                                                   \
        mode_t mode = mode_argument(flags, &args);                                               \
        va_end(args);                                                                            \
        return disk_active() ? open_noted(AT_FDCWD, path, flags, mode)                           \
                             : disk_libc()->open(path, flags, mode);                             \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                                                                      \
    int name(int dirfd, const char *path, int flags, ...)                                        \
    {                                                                                            \
        va_list args;                                                                            \
        va_start(args, flags);                                                                   \
        mode_t mode = mode_argument(flags, &args);                                               \
        va_end(args);                                                                            \
        return disk_active() ? open_noted(dirfd, path, flags, mode)                              \
                             : disk_libc()->openat(dirfd, path, flags, mode);                    \
    }
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int creat(const char *path, mode_t mode)
{
    return open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode)
{
    return creat(path, mode);
}

int close(int fd)
{
    fd_forget(fd);
    return disk_libc()->close(fd);
}

/* These close inside libc, where we do not see it. */
int fclose(FILE *f)
{
    if (f)
        fd_forget(fileno(f));
    return disk_libc()->fclose(f);
}

int closedir(DIR *d)
{
    fd_forget(dirfd(d));
    return disk_libc()->closedir(d);
}

/* --- bytes --- */

/* Where n bytes that were just written begin. offset: as asked for, or -1 for the descriptor's
 * position. O_APPEND overrides both. */
static uint64_t written_at(int fd, int flags, off_t offset, ssize_t n)
{
    struct stat st;
    if (flags & O_APPEND && fstat(fd, &st) == 0)
        return (uint64_t)(st.st_size - n);
    return (uint64_t)(offset >= 0 ? offset : lseek(fd, 0, SEEK_CUR) - n);
}

static ssize_t real_write(int fd, const struct iovec *parts, int count, off_t offset)
{
    return offset < 0 ? disk_libc()->writev(fd, parts, count)
                      : disk_libc()->pwritev(fd, parts, count, offset);
}

static ssize_t write_noted(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (!disk_active())
        return real_write(fd, parts, count, offset);
    disk_lock();
    uint32_t node = fd_node(fd);
    if (node == DISK_NONE) {
        disk_unlock(); /* A pipe or socket may wait. */
        return real_write(fd, parts, count, offset);
    }
    ssize_t n = real_write(fd, parts, count, offset);
    int error = errno;
    if (n > 0) {
        int flags = fcntl(fd, F_GETFL);
        disk_note_write(node, written_at(fd, flags, offset, n), parts, (size_t)n,
                        (flags & O_DSYNC) != 0);
    }
    disk_unlock();
    errno = error;
    return n;
}

ssize_t write(int fd, const void *data, size_t len)
{
    struct iovec part = { (void *)(uintptr_t)data, len };
    return disk_active() ? write_noted(fd, &part, 1, -1) : disk_libc()->write(fd, data, len);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_noted(fd, parts, count, -1);
}

static ssize_t pwrite_noted(int fd, const void *data, size_t len, off_t offset)
{
    struct iovec part = { (void *)(uintptr_t)data, len };
    if (!disk_active() || offset < 0)
        return disk_libc()->pwrite(fd, data, len, offset);
    return write_noted(fd, &part, 1, offset);
}

static ssize_t pwritev_noted(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (offset < 0)
        return disk_libc()->pwritev(fd, parts, count, offset);
    return write_noted(fd, parts, count, offset);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return pwrite_noted(fd, data, len, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return pwrite_noted(fd, data, len, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev_noted(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev_noted(fd, parts, count, offset);
}

/* --- sizes and holes --- */

static int ftruncate_noted(int fd, off_t size)
{
    if (!disk_active())
        return disk_libc()->ftruncate(fd, size);
    disk_lock();
    uint32_t node = fd_node(fd);
    int rc = disk_libc()->ftruncate(fd, size);
    if (rc == 0 && node != DISK_NONE)
        disk_note(DISK_SIZE, node, (uint64_t)size, 0);
    disk_unlock();
    return rc;
}

static int truncate_noted(const char *path, off_t size)
{
    if (!disk_active())
        return disk_libc()->truncate(path, size);
    disk_lock();
    uint32_t node = disk_node_of_path(path);
    int rc = disk_libc()->truncate(path, size);
    if (rc == 0 && node != DISK_NONE)
        disk_note(DISK_SIZE, node, (uint64_t)size, 0);
    disk_unlock();
    return rc;
}

/* Notes what fallocate() did; modes that move bytes are not known here. */
static void note_allocation(uint32_t node, int mode, off_t offset, off_t len)
{
    const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    if (mode & ~known) {
        fprintf(stderr, "disk simulator: fallocate mode %#x is not known\n", (unsigned)mode);
        abort();
    }
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        disk_note(DISK_PUNCH, node, (uint64_t)offset, (uint64_t)len);
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        disk_note(DISK_ALLOC, node, (uint64_t)offset, (uint64_t)len);
}

static int fallocate_noted(int fd, int mode, off_t offset, off_t len)
{
    if (!disk_active())
        return disk_libc()->fallocate(fd, mode, offset, len);
    disk_lock();
    uint32_t node = fd_node(fd);
    int rc = disk_libc()->fallocate(fd, mode, offset, len);
    if (rc == 0 && node != DISK_NONE)
        note_allocation(node, mode, offset, len);
    disk_unlock();
    return rc;
}

static int posix_fallocate_noted(int fd, off_t offset, off_t len)
{
    if (!disk_active())
        return disk_libc()->posix_fallocate(fd, offset, len);
    disk_lock();
    uint32_t node = fd_node(fd);
    int error = disk_libc()->posix_fallocate(fd, offset, len);
    if (error == 0 && node != DISK_NONE)
        note_allocation(node, 0, offset, len);
    disk_unlock();
    return error;
}

int ftruncate(int fd, off_t size)
{
    return ftruncate_noted(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate_noted(fd, size);
}

int truncate(const char *path, off_t size)
{
    return truncate_noted(path, size);
}

int truncate64(const char *path, off64_t size)
{
    return truncate_noted(path, size);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fallocate_noted(fd, mode, offset, len);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return fallocate_noted(fd, mode, offset, len);
}

int posix_fallocate(int fd, off_t offset, off_t len)
{
    return posix_fallocate_noted(fd, offset, len);
}

int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return posix_fallocate_noted(fd, offset, len);
}

/* --- syncs --- */

/* Covers what was written before it began; others may write while it lasts. */
static int sync_noted(int fd, int (*real)(int))
{
    if (!disk_active())
        return real(fd);
    disk_lock();
    uint32_t node = fd_node(fd);
    size_t upto = disk_journal.count;
    disk_unlock();
    if (node == DISK_NONE)
        return real(fd);
    sched_yield();
    disk_lock();
    disk_note_sync(node, upto);
    disk_unlock();
    return 0;
}

int fsync(int fd)
{
    return sync_noted(fd, disk_libc()->fsync);
}

int fdatasync(int fd)
{
    return sync_noted(fd, disk_libc()->fdatasync);
}

/* --- names --- */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if (!disk_active())
        return disk_libc()->renameat2(from_dir, from, to_dir, to, flags);
    char buffers[2][DISK_PATH_MAX];
    struct disk_place places[2];
    disk_lock();
    bool have_from = disk_locate(from_dir, from, buffers[0], &places[0]);
    bool have_to = disk_locate(to_dir, to, buffers[1], &places[1]);
    if (have_from != have_to || (have_from && flags & RENAME_EXCHANGE)) {
        fputs("disk simulator: a rename across the root, or an exchange\n", stderr);
        abort();
    }
    int rc = disk_libc()->renameat2(from_dir, from, to_dir, to, flags);
    if (rc == 0 && have_from)
        disk_note_rename(&places[0], &places[1]);
    disk_unlock();
    return rc;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int dirfd, const char *path, int flags)
{
    if (!disk_active())
        return disk_libc()->unlinkat(dirfd, path, flags);
    char buffer[DISK_PATH_MAX];
    struct disk_place place;
    disk_lock();
    bool below = disk_locate(dirfd, path, buffer, &place);
    int rc = disk_libc()->unlinkat(dirfd, path, flags);
    if (rc == 0 && below)
        disk_note_remove(&place);
    disk_unlock();
    return rc;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    int rc = unlink(path);
    return rc != 0 && errno == EISDIR ? rmdir(path) : rc;
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    if (!disk_active())
        return disk_libc()->mkdirat(dirfd, path, mode);
    char buffer[DISK_PATH_MAX];
    struct disk_place place;
    disk_lock();
    bool below = disk_locate(dirfd, path, buffer, &place);
    int rc = disk_libc()->mkdirat(dirfd, path, mode);
    if (rc == 0 && below)
        disk_note_make(&place, true);
    disk_unlock();
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
