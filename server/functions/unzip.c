/* Zips of strangers, unpacked with libarchive.
 *
 * libarchive reads the format; what is made on the disk is made here, relative to the directory
 * and without following links, so that no name and no link can lead out of it. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/functions/run.h"
#include "storage/base/cleanup.h"

#define PATH_MAX_BYTES 4096
#define DEPTH_MAX 64

static const char not_a_zip[] = "Could not unzip uploaded file. Please check your file, then try "
                                "to upload again.";
static const char too_large[] = "Unzipped size must be smaller than 262144000 bytes";

struct unzipping {
    int dir; /* -1: only looks */
    uint64_t bytes;
    size_t entries;
    const char *why;
};

static enum kist_err bad(struct unzipping *u, const char *why)
{
    u->why = why;
    return KIST_E_INVALID;
}

/* Relative, and nowhere upwards; "." and "//" do not matter. */
static bool path_is_safe(const char *path)
{
    size_t len = strlen(path), depth = 0;
    if (len == 0 || len >= PATH_MAX_BYTES || path[0] == '/' || strchr(path, '\\'))
        return false;
    for (const char *at = path; *at;) {
        size_t part = strcspn(at, "/");
        if (part > 255 || (part == 2 && at[0] == '.' && at[1] == '.') || ++depth > DEPTH_MAX)
            return false;
        at += part;
        at += strspn(at, "/");
    }
    return true;
}

/* A link's target, seen from where the link lies, stays below the top. */
static bool link_is_safe(const char *path, const char *target)
{
    long depth = 0;
    if (target[0] == '/' || !target[0] || strlen(target) >= PATH_MAX_BYTES)
        return false;
    for (const char *at = path; (at = strchr(at, '/')); at += strspn(at, "/"))
        depth++;
    for (const char *at = target; *at;) {
        size_t part = strcspn(at, "/");
        if (part == 2 && at[0] == '.' && at[1] == '.')
            depth--;
        else if (part && !(part == 1 && at[0] == '.'))
            depth++;
        if (depth < 0)
            return false;
        at += part;
        at += strspn(at, "/");
    }
    return true;
}

/* For any user to read, whatever our umask; or it is there. */
static bool make_dir(int parent, const char *name)
{
    if (mkdirat(parent, name, 0755) == 0)
        return fchmodat(parent, name, 0755, 0) == 0;
    return errno == EEXIST;
}

/* The directory that holds the last part of the path, made if need be; *name is that part. No
 * step follows a link. */
static int open_parent(int top, const char *path, char name[256])
{
    int dir = dup(top);
    for (const char *at = path; dir >= 0;) {
        size_t part = strcspn(at, "/");
        char one[256];
        memcpy(one, at, part);
        one[part] = '\0';
        at += part;
        at += strspn(at, "/");
        if (!*at) {
            memcpy(name, one, part + 1);
            return dir;
        }
        if (strcmp(one, ".") == 0)
            continue;
        if (!make_dir(dir, one)) {
            close(dir);
            return -1;
        }
        int next = openat(dir, one, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(dir);
        dir = next;
    }
    return dir;
}

static enum kist_err count(struct unzipping *u, uint64_t bytes)
{
    u->bytes += bytes;
    if (u->bytes <= FN_CODE_MAX)
        return KIST_OK;
    u->why = too_large;
    return KIST_E_TOO_LARGE;
}

/* The entry's bytes; what it says of its size does not count. fd -1: only counted. */
static enum kist_err take_data(struct unzipping *u, struct archive *a, int fd)
{
    const void *block;
    size_t len;
    la_int64_t offset;
    int rc;
    while ((rc = archive_read_data_block(a, &block, &len, &offset)) == ARCHIVE_OK) {
        TRY(count(u, len));
        if (offset < 0 || (uint64_t)offset + len > FN_CODE_MAX)
            return bad(u, too_large);
        if (fd >= 0)
            TRY(file_pwrite(fd, block, len, (uint64_t)offset));
    }
    return rc == ARCHIVE_EOF ? KIST_OK : bad(u, not_a_zip);
}

static enum kist_err make_file(struct unzipping *u, struct archive *a, int dir, const char *name,
                               mode_t mode)
{
    CLEANUP_CLOSE int fd = -1;
    if (unlinkat(dir, name, 0) != 0 && errno != ENOENT)
        return bad(u, "The zip has a file where it has a directory.");
    fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return kist_err_from_errno(errno);
    TRY(take_data(u, a, fd));
    return fchmod(fd, mode) == 0 ? KIST_OK : KIST_E_IO;
}

static enum kist_err make_entry(struct unzipping *u, struct archive *a,
                                struct archive_entry *entry, const char *path)
{
    char name[256];
    mode_t type = archive_entry_filetype(entry);
    CLEANUP_CLOSE int dir = open_parent(u->dir, path, name);
    if (dir < 0)
        return errno == ENOSPC || errno == EMFILE ? kist_err_from_errno(errno)
                                                  : bad(u, "The zip has a path through a file "
                                                           "or a link.");
    if (type == AE_IFDIR) {
        bool made = strcmp(name, ".") == 0 || make_dir(dir, name);
        return made ? KIST_OK : kist_err_from_errno(errno);
    }
    if (type == AE_IFLNK) {
        (void)unlinkat(dir, name, 0);
        bool made = symlinkat(archive_entry_symlink(entry), dir, name) == 0;
        return made ? KIST_OK : bad(u, "The zip has a name twice.");
    }
    /* As in the zip, but readable by the user that a function is, and by nobody writable. */
    mode_t mode = (archive_entry_perm(entry) & 0755) | 0644;
    if (mode & 0111)
        mode |= 0111;
    return make_file(u, a, dir, name, mode);
}

static enum kist_err take_entry(struct unzipping *u, struct archive *a,
                                struct archive_entry *entry)
{
    const char *path = archive_entry_pathname(entry);
    mode_t type = archive_entry_filetype(entry);
    if (++u->entries > FN_CODE_ENTRIES_MAX)
        return bad(u, "The zip has more than 100000 entries.");
    if (archive_entry_is_encrypted(entry))
        return bad(u, "The zip is encrypted.");
    if (!path || !path_is_safe(path))
        return bad(u, "The zip has a path that leads out of it.");
    if (archive_entry_hardlink(entry) ||
        (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK))
        return bad(u, "The zip has an entry that is no file.");
    if (type == AE_IFLNK &&
        (!archive_entry_symlink(entry) || !link_is_safe(path, archive_entry_symlink(entry))))
        return bad(u, "The zip has a link that leads out of it.");
    if (u->dir >= 0)
        return make_entry(u, a, entry, path);
    return type == AE_IFREG ? take_data(u, a, -1) : KIST_OK;
}

/* By the directory at its end, where modes and links are. */
static enum kist_err take_all(struct unzipping *u, struct bytes zip)
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry;
    int rc;
    if (!a)
        return KIST_E_NOMEM;
    enum kist_err err = KIST_OK;
    if (!zip.len || archive_read_support_format_zip_seekable(a) != ARCHIVE_OK ||
        archive_read_open_memory(a, zip.ptr, zip.len) != ARCHIVE_OK)
        err = bad(u, not_a_zip);
    while (err == KIST_OK) {
        rc = archive_read_next_header(a, &entry);
        if (rc == ARCHIVE_EOF)
            break;
        err =
            rc == ARCHIVE_OK || rc == ARCHIVE_WARN ? take_entry(u, a, entry) : bad(u, not_a_zip);
    }
    if (err == KIST_OK && u->entries == 0)
        err = bad(u, not_a_zip);
    (void)archive_read_free(a);
    return err;
}

enum kist_err unzip(struct bytes zip, const char *dir, uint64_t *unpacked, const char **why)
{
    struct unzipping u = { .dir = -1, .why = not_a_zip };
    if (dir) {
        u.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (u.dir < 0)
            return kist_err_from_errno(errno);
    }
    enum kist_err err = take_all(&u, zip);
    if (u.dir >= 0)
        close(u.dir);
    *unpacked = u.bytes;
    if (err == KIST_E_INVALID || err == KIST_E_TOO_LARGE)
        *why = u.why;
    return err;
}

enum kist_err code_check(struct bytes zip, uint64_t *unpacked, const char **why)
{
    return unzip(zip, NULL, unpacked, why);
}
