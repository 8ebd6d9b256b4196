/* The cache of unpacked code: DIR/functions/code/<sha256>, shared by all that have the same zip.
 *
 *     object of the store --> unlinked file, mapped --> DIR/functions/tmp/N --rename-->
 * code/<sha>
 *
 * What a name in code/ stands for is whole. Nothing is synced: it can be made again. Unused code
 * goes when all of it is over the budget, what was used longest ago first. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/functions/run.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"
#include "storage/base/trace.h"

#define UNUSED_BYTES ((uint64_t)2 << 30)
#define BLOCK_BYTES ((size_t)256 << 10)
#define ZIP_MAX ((uint64_t)256 << 20)
#define TABLE_SIZE 256

enum code_state { CODE_MAKING, CODE_READY, CODE_FAILED };

struct code_entry {
    struct code_entry *next;
    struct code_entry *unused_prev, *unused_next; /* used last comes last */
    uint8_t sha256[32];
    enum code_state state;
    enum kist_err err; /* CODE_FAILED */
    const char *why;
    unsigned refs;
    uint64_t bytes;
    char dir[];
};

struct code_cache {
    struct functions *f;
    pthread_mutex_t lock;
    pthread_cond_t made;
    struct code_entry *table[TABLE_SIZE];
    struct code_entry *unused_first, *unused_last;
    uint64_t unused_bytes, unused_max, serial;
};

const char *code_dir(const struct code_entry *e)
{
    return e->dir;
}

/* ---- files ---- */

/* All below a directory of which nobody else has anything open. Links are not followed. */
static void remove_tree(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        (void)unlinkat(parent, name, 0);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)
            remove_tree(fd, entry->d_name); /* as deep as unzip() allows */
        else
            (void)unlinkat(fd, entry->d_name, 0);
    }
    closedir(dir);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

static void empty_dir(const char *path)
{
    remove_tree(AT_FDCWD, path);
    (void)mkdir(path, 0755);
}

static enum kist_err spool(struct object_reader *r, int fd)
{
    CLEANUP_FREE uint8_t *block = malloc(BLOCK_BYTES);
    uint64_t size = object_reader_object(r)->size, at = 0;
    if (!block)
        return KIST_E_NOMEM;
    if (size > ZIP_MAX)
        return KIST_E_TOO_LARGE;
    while (at < size) {
        size_t got;
        TRY(object_reader_read(r, at, block, BLOCK_BYTES, true, &got));
        if (got == 0)
            return KIST_E_CORRUPT;
        TRY(file_pwrite(fd, block, got, at));
        at += got;
    }
    return KIST_OK;
}

/* The zip as a mapped file without a name. */
static enum kist_err fetch(struct code_cache *c, const char *key, struct bytes *zip)
{
    CLEANUP_CLOSE int fd = -1;
    struct arena arena;
    struct object_reader *r = NULL;
    struct object_id id = { BYTES_LIT(FUNCTIONS_BUCKET), bytes_str(key), VERSION_CURRENT };
    arena_init(&arena, 8 << 20);
    fd = open(c->f->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    enum kist_err err = fd < 0 ? kist_err_from_errno(errno) : KIST_OK;
    if (err == KIST_OK)
        err = object_reader_open(c->f->store, &id, &arena, &r, NULL);
    if (err == KIST_OK)
        err = spool(r, fd);
    if (err == KIST_OK) {
        size_t len = (size_t)object_reader_object(r)->size;
        void *at = len ? mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
        if (at == MAP_FAILED)
            err = KIST_E_CORRUPT;
        else
            *zip = bytes_of(at, len);
    }
    object_reader_close(r);
    arena_release(&arena);
    return err;
}

/* What is in its place already is of no entry: something that an earlier server left and that
 * could not be removed at the start. */
static enum kist_err put_in_place(const char *tmp, const char *dir)
{
    if (rename(tmp, dir) == 0)
        return KIST_OK;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
        remove_tree(AT_FDCWD, dir);
    return rename(tmp, dir) == 0 ? KIST_OK : kist_err_from_errno(errno);
}

/* No lock is held: the entry is CODE_MAKING, and so nobody else's. */
static enum kist_err make(struct code_cache *c, struct code_entry *e, const char *key,
                          const char **why)
{
    struct bytes zip = BYTES_EMPTY;
    char tmp[4096];
    pthread_mutex_lock(&c->lock);
    uint64_t serial = c->serial++;
    pthread_mutex_unlock(&c->lock);
    int n = snprintf(tmp, sizeof(tmp), "%s/tmp/%llu", c->f->dir, (unsigned long long)serial);
    if (n < 0 || (size_t)n >= sizeof(tmp))
        return KIST_E_TOO_LARGE;
    TRY(fetch(c, key, &zip));
    uint8_t sha256[32];
    digest_once(DIGEST_SHA256, zip, sha256);
    enum kist_err err = memcmp(sha256, e->sha256, sizeof(sha256)) == 0 ? KIST_OK : KIST_E_CORRUPT;
    if (err == KIST_OK && (mkdir(tmp, 0755) != 0 || chmod(tmp, 0755) != 0))
        err = kist_err_from_errno(errno);
    if (err == KIST_OK)
        err = unzip(zip, tmp, &e->bytes, why);
    if (err == KIST_OK)
        err = put_in_place(tmp, e->dir);
    if (err != KIST_OK)
        remove_tree(AT_FDCWD, tmp);
    munmap((void *)(uintptr_t)zip.ptr, zip.len);
    return err;
}

/* ---- entries; the lock is held ---- */

static struct code_entry **place_of(struct code_cache *c, const uint8_t sha256[32])
{
    struct code_entry **at = &c->table[sha256[0] % TABLE_SIZE];
    while (*at && memcmp((*at)->sha256, sha256, 32) != 0)
        at = &(*at)->next;
    return at;
}

static struct code_entry *entry_new(struct code_cache *c, const uint8_t sha256[32])
{
    char hex[65];
    size_t len = strlen(c->f->dir) + sizeof("/code/") + 64;
    struct code_entry *e = calloc(1, sizeof(*e) + len + 1);
    if (!e)
        return NULL;
    memcpy(e->sha256, sha256, 32);
    hex_encode(bytes_of(sha256, 32), hex);
    snprintf(e->dir, len + 1, "%s/code/%s", c->f->dir, hex);
    return e;
}

static void unused_remove(struct code_cache *c, struct code_entry *e)
{
    *(e->unused_prev ? &e->unused_prev->unused_next : &c->unused_first) = e->unused_next;
    *(e->unused_next ? &e->unused_next->unused_prev : &c->unused_last) = e->unused_prev;
    e->unused_prev = e->unused_next = NULL;
    c->unused_bytes -= e->bytes;
}

static void unused_add(struct code_cache *c, struct code_entry *e)
{
    e->unused_prev = c->unused_last;
    e->unused_next = NULL;
    *(c->unused_last ? &c->unused_last->unused_next : &c->unused_first) = e;
    c->unused_last = e;
    c->unused_bytes += e->bytes;
}

/* Out of the table and aside on the disk: removing it takes longer than a lock is held. False: it
 * is where it was, whole, and an entry still, because its place is not free for another. */
static bool drop(struct code_cache *c, struct code_entry *e, char aside[4096])
{
    snprintf(aside, 4096, "%s/tmp/%llu", c->f->dir, (unsigned long long)c->serial++);
    if (rename(e->dir, aside) != 0) {
        TRACE(TRACE_WARN, "functions", "unused code cannot be moved: %s", strerrordesc_np(errno));
        return false;
    }
    struct code_entry **at = place_of(c, e->sha256);
    *at = e->next;
    unused_remove(c, e);
    free(e);
    return true;
}

enum kist_err code_acquire(struct code_cache *c, const uint8_t sha256[32], const char *key,
                           struct code_entry **out, const char **why)
{
    pthread_mutex_lock(&c->lock);
    struct code_entry **at = place_of(c, sha256), *e = *at;
    if (e && e->state == CODE_READY && e->refs == 0)
        unused_remove(c, e);
    if (!e && (e = *at = entry_new(c, sha256))) {
        e->refs++;
        pthread_mutex_unlock(&c->lock);
        enum kist_err err = make(c, e, key, why);
        pthread_mutex_lock(&c->lock);
        e->err = err;
        e->why = *why;
        e->state = err == KIST_OK ? CODE_READY : CODE_FAILED;
        pthread_cond_broadcast(&c->made);
    } else if (e) {
        e->refs++;
        while (e->state == CODE_MAKING)
            pthread_cond_wait(&c->made, &c->lock);
    }
    enum kist_err err = e ? e->err : KIST_E_NOMEM;
    if (err != KIST_OK && e) {
        *why = e->why;
        if (--e->refs == 0) { /* whoever asks next tries again */
            *place_of(c, sha256) = e->next;
            free(e);
        }
        e = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    if (e)
        *out = e;
    return err;
}

void code_release(struct code_cache *c, struct code_entry *e)
{
    char aside[4096];
    if (!e)
        return;
    pthread_mutex_lock(&c->lock);
    if (--e->refs == 0)
        unused_add(c, e);
    /* The next release tries again what cannot be dropped now. */
    while (c->unused_bytes > c->unused_max && c->unused_first &&
           drop(c, c->unused_first, aside)) {
        pthread_mutex_unlock(&c->lock);
        remove_tree(AT_FDCWD, aside);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- opening ---- */

enum kist_err code_open(struct functions *f, struct code_cache **out)
{
    char path[4096];
    struct code_cache *c = calloc(1, sizeof(*c));
    if (!c)
        return KIST_E_NOMEM;
    c->f = f;
    c->unused_max = f->config.unused_code_bytes ? f->config.unused_code_bytes : UNUSED_BYTES;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->made, NULL);
    /* What an earlier server left is not trusted: who knows how it ended. */
    snprintf(path, sizeof(path), "%s/tmp", f->dir);
    empty_dir(path);
    snprintf(path, sizeof(path), "%s/code", f->dir);
    empty_dir(path);
    if (access(path, W_OK) != 0 || chmod(path, 0755) != 0) {
        code_close(c);
        return KIST_E_IO;
    }
    *out = c;
    return KIST_OK;
}

void code_close(struct code_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        while (c->table[i]) {
            struct code_entry *e = c->table[i];
            c->table[i] = e->next;
            free(e);
        }
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->made);
    free(c);
}
