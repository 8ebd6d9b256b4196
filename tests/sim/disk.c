/* The journal: what changed below the root, in the order in which it changed. */
#include "tests/sim/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/base/cleanup.h"
#include "tests/sim/disk_internal.h"

#define SCAN_PIECE_BYTES (1U << 20)

struct disk_journal disk_journal;
/* Recursive, because the simulator closes its own descriptors through the calls it stands for. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static atomic_bool active;
/* The root as it was named, and as the kernel names it: callers may use either. */
static char roots[2][DISK_PATH_MAX];

bool disk_active(void)
{
    return atomic_load_explicit(&active, memory_order_acquire);
}

void disk_lock(void)
{
    pthread_mutex_lock(&lock);
}

void disk_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

void *disk_grow(void *old, size_t count, size_t size)
{
    void *p = reallocarray(old, count, size);
    if (!p) {
        fputs("disk simulator: out of memory\n", stderr);
        abort();
    }
    return p;
}

/* --- names --- */

static int compare_names(const void *a, const void *b)
{
    const struct disk_name *x = a;
    const struct disk_name *y = b;
    if (x->dir != y->dir)
        return x->dir < y->dir ? -1 : 1;
    return strcmp(x->text, y->text);
}

static struct disk_name *find_name(const struct disk_place *place)
{
    struct disk_name key = { .dir = place->dir, .text = (char *)(uintptr_t)place->text };
    struct disk_name **found = tfind(&key, &disk_journal.by_text, compare_names);
    return found ? *found : NULL;
}

/* The name's row, made on first use. */
static struct disk_name *name_of(const struct disk_place *place)
{
    struct disk_journal *j = &disk_journal;
    struct disk_name *name = find_name(place);
    if (name)
        return name;
    if (j->name_count == j->name_cap) {
        j->name_cap = j->name_cap ? j->name_cap * 2 : 256;
        j->names = disk_grow(j->names, j->name_cap, sizeof(struct disk_name *));
    }
    name = disk_grow(NULL, 1, sizeof *name);
    char *text = strdup(place->text);
    *name = (struct disk_name){ j->name_count, place->dir, text, DISK_NONE, DISK_NONE };
    if (!text || !tsearch(name, &j->by_text, compare_names))
        abort();
    j->names[j->name_count++] = name;
    return name;
}

uint32_t disk_node_at(const struct disk_place *place)
{
    if (!place->text)
        return 0;
    const struct disk_name *name = find_name(place);
    return name ? name->node : DISK_NONE;
}

static uint32_t add_node(bool is_dir)
{
    struct disk_journal *j = &disk_journal;
    if (j->node_count == j->node_cap) {
        j->node_cap = j->node_cap ? j->node_cap * 2 : 256;
        j->is_dir = disk_grow(j->is_dir, j->node_cap, sizeof(bool));
    }
    j->is_dir[j->node_count] = is_dir;
    return j->node_count++;
}

/* --- paths --- */

/* Puts an absolute path for (dirfd, path) into out; false when there is none. */
static bool absolute_path(int dirfd, const char *path, char out[DISK_PATH_MAX])
{
    char base[DISK_PATH_MAX / 2] = "";
    if (path[0] != '/' && dirfd == AT_FDCWD) {
        if (!getcwd(base, sizeof base))
            return false;
    } else if (path[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n <= 0 || base[0] != '/')
            return false;
        base[n] = '\0';
    }
    int n = snprintf(out, DISK_PATH_MAX, "%s/%s", base, path);
    return n > 0 && n < DISK_PATH_MAX;
}

/* Removes empty and "." parts and resolves ".." in place. */
static void normalise(char *path)
{
    char *out = path;
    const char *in = path;
    while (*in) {
        while (*in == '/')
            in++;
        size_t len = strcspn(in, "/");
        if (len == 2 && in[0] == '.' && in[1] == '.') {
            while (out > path && *--out != '/')
                continue;
        } else if (len > 0 && !(len == 1 && in[0] == '.')) {
            *out++ = '/';
            memmove(out, in, len);
            out += len;
        }
        in += len;
    }
    *out = '\0';
}

/* The part of an absolute path below the root, or NULL. */
static char *below_root(char *path)
{
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(roots[i]);
        if (strncmp(path, roots[i], len) == 0 && (path[len] == '/' || path[len] == '\0'))
            return path + len;
    }
    return NULL;
}

/* Follows the parts of `rest` ("/a/b/c") from the root; cuts it up, so that the last stays. */
static bool walk(char *rest, struct disk_place *out)
{
    struct disk_place place = { 0, NULL };
    char *save = NULL;
    for (char *part = strtok_r(rest, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        uint32_t dir = disk_node_at(&place);
        if (dir == DISK_NONE || !disk_journal.is_dir[dir])
            return false;
        place = (struct disk_place){ dir, part };
    }
    *out = place;
    return true;
}

bool disk_locate(int dirfd, const char *path, char buffer[DISK_PATH_MAX], struct disk_place *out)
{
    if (!absolute_path(dirfd, path, buffer))
        return false;
    normalise(buffer);
    char *rest = below_root(buffer);
    return rest && walk(rest, out);
}

uint32_t disk_node_of_path(const char *path)
{
    char buffer[DISK_PATH_MAX];
    struct disk_place place;
    return disk_locate(AT_FDCWD, path, buffer, &place) ? disk_node_at(&place) : DISK_NONE;
}

/* --- entries --- */

static struct disk_op *append(enum disk_op_kind kind, uint32_t node)
{
    struct disk_journal *j = &disk_journal;
    if (j->count == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 1024;
        j->ops = disk_grow(j->ops, j->cap, sizeof(struct disk_op));
    }
    struct disk_op *op = &j->ops[j->count++];
    *op = (struct disk_op){ .kind = kind,
                            .node = node,
                            .names = { DISK_NONE, DISK_NONE },
                            .rests_on = { DISK_NONE, DISK_NONE } };
    return op;
}

/* The entry gives the name a new meaning. */
static void use_name(struct disk_op *op, size_t slot, const struct disk_place *place,
                     uint32_t node)
{
    struct disk_name *name = name_of(place);
    op->names[slot] = name->id;
    op->rests_on[slot] = name->last_op;
    name->last_op = (uint32_t)(op - disk_journal.ops);
    name->node = node;
}

uint32_t disk_note_make(const struct disk_place *place, bool is_dir)
{
    uint32_t node = add_node(is_dir);
    use_name(append(DISK_MAKE, node), 0, place, node);
    return node;
}

void disk_note_remove(const struct disk_place *place)
{
    uint32_t node = disk_node_at(place);
    if (node != DISK_NONE)
        use_name(append(DISK_REMOVE, node), 0, place, DISK_NONE);
}

void disk_note_rename(const struct disk_place *from, const struct disk_place *to)
{
    uint32_t node = disk_node_at(from);
    if (node == DISK_NONE || node == disk_node_at(to))
        return;
    struct disk_op *op = append(DISK_RENAME, node);
    use_name(op, 0, from, DISK_NONE);
    use_name(op, 1, to, node);
}

void disk_note_write(uint32_t node, uint64_t offset, const struct iovec *parts, size_t len,
                     bool synced)
{
    uint8_t *data = disk_grow(NULL, len, 1);
    for (size_t done = 0; done < len; parts++) {
        size_t n = parts->iov_len < len - done ? parts->iov_len : len - done;
        if (n > 0)
            memcpy(data + done, parts->iov_base, n);
        done += n;
    }
    struct disk_op *op = append(DISK_WRITE, node);
    op->offset = offset;
    op->len = len;
    op->data = data;
    op->synced = synced;
}

void disk_note(enum disk_op_kind kind, uint32_t node, uint64_t offset, uint64_t len)
{
    struct disk_op *op = append(kind, node);
    op->offset = offset;
    op->len = len;
}

void disk_note_sync(uint32_t node, size_t upto)
{
    append(DISK_SYNC, node)->upto = upto;
}

/* --- start and end --- */

/* Notes the bytes of a file that was there before, without its holes. */
static enum kist_err scan_file(int fd, uint32_t node)
{
    CLEANUP_FREE uint8_t *piece = disk_grow(NULL, SCAN_PIECE_BYTES, 1);
    off_t size = lseek(fd, 0, SEEK_END);
    off_t at = lseek(fd, 0, SEEK_DATA);
    while (at >= 0 && at < size) {
        off_t end = lseek(fd, at, SEEK_HOLE);
        if (end - at > (off_t)SCAN_PIECE_BYTES)
            end = at + (off_t)SCAN_PIECE_BYTES;
        ssize_t n = pread(fd, piece, (size_t)(end - at), at);
        if (n <= 0)
            return KIST_E_IO;
        struct iovec part = { piece, (size_t)n };
        disk_note_write(node, (uint64_t)at, &part, (size_t)n, true);
        at = lseek(fd, at + n, SEEK_DATA);
    }
    disk_note(DISK_SIZE, node, (uint64_t)size, 0);
    return KIST_OK;
}

static void cleanup_closedir(DIR **d)
{
    if (*d)
        closedir(*d);
}

static enum kist_err scan_dir(const char *path, uint32_t dir)
{
    CLEANUP(cleanup_closedir) DIR *d = opendir(path);
    if (!d)
        return KIST_E_IO;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        CLEANUP_CLOSE int fd =
            disk_libc()->openat(dirfd(d), e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) != 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
            return KIST_E_IO;
        struct disk_place place = { dir, e->d_name };
        uint32_t node = disk_note_make(&place, S_ISDIR(st.st_mode));
        if (S_ISREG(st.st_mode)) {
            TRY(scan_file(fd, node));
        } else {
            char child[DISK_PATH_MAX];
            int n = snprintf(child, sizeof child, "%s/%s", path, e->d_name);
            if (n < 0 || (size_t)n >= sizeof child)
                return KIST_E_IO;
            TRY(scan_dir(child, node));
        }
    }
    return KIST_OK;
}

static enum kist_err start(const char *root)
{
    if (disk_journal.node_count > 0)
        return KIST_E_BUSY;
    char real[PATH_MAX];
    if (strlen(root) >= DISK_PATH_MAX / 4 || !realpath(root, real) || strlen(real) < 2 ||
        !absolute_path(AT_FDCWD, root, roots[0]))
        return KIST_E_IO;
    normalise(roots[0]);
    snprintf(roots[1], sizeof roots[1], "%s", real);
    disk_forget_descriptors();
    add_node(true);
    TRY(scan_dir(real, 0));
    disk_journal.base = disk_journal.count;
    atomic_store_explicit(&active, true, memory_order_release);
    return KIST_OK;
}

enum kist_err disk_start(const char *root)
{
    disk_lock();
    enum kist_err err = start(root);
    disk_unlock();
    if (err != KIST_OK && err != KIST_E_BUSY)
        disk_free();
    return err;
}

void disk_stop(void)
{
    disk_lock();
    atomic_store_explicit(&active, false, memory_order_release);
    disk_unlock();
}

static void free_name(void *name)
{
    (void)name; /* disk_free() frees the rows, after the tree. */
}

void disk_free(void)
{
    disk_stop();
    disk_lock();
    struct disk_journal *j = &disk_journal;
    for (size_t i = 0; i < j->count; i++)
        free(j->ops[i].data);
    tdestroy(j->by_text, free_name);
    for (uint32_t i = 0; i < j->name_count; i++) {
        free(j->names[i]->text);
        free(j->names[i]);
    }
    free(j->ops);
    free(j->names);
    free(j->is_dir);
    *j = (struct disk_journal){ 0 };
    disk_unlock();
}

size_t disk_mark(void)
{
    disk_lock();
    size_t position = disk_journal.count - disk_journal.base;
    disk_unlock();
    return position;
}

static void print_op(size_t position, const struct disk_op *op)
{
    static const char *const words[] = { "write", "size", "alloc",  "punch",
                                         "sync",  "make", "remove", "rename" };
    printf("%6zu %-6s node %" PRIu32, position, words[op->kind], op->node);
    for (size_t i = 0; i < 2 && op->names[i] != DISK_NONE; i++) {
        const struct disk_name *name = disk_journal.names[op->names[i]];
        printf(" %s%" PRIu32 "/%s", i ? "to " : "", name->dir, name->text);
    }
    if (op->kind <= DISK_PUNCH)
        printf(" at %" PRIu64 " len %" PRIu64 "%s", op->offset, op->len,
               op->synced ? " synced" : "");
    if (op->kind == DISK_SYNC)
        printf(" upto %zu", op->upto - disk_journal.base);
    putchar('\n');
}

void disk_print(size_t position)
{
    disk_lock();
    for (size_t i = 0; i < position && disk_journal.base + i < disk_journal.count; i++)
        print_op(i, &disk_journal.ops[disk_journal.base + i]);
    disk_unlock();
}
