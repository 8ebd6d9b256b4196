#include "storage/chunk/pack_internal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "storage/base/cleanup.h"
#include "storage/base/env.h"

/* What is dirty at once is bounded by the number of packs a checkpoint interval can fill. */
#define DIRTY_MAX ((size_t)1 << 20)

static enum kist_err note_pack(void *ctx, uint32_t pack, uint64_t file_bytes)
{
    struct pack_store *s = ctx;
    (void)file_bytes;
    if (pack >= s->next_pack)
        s->next_pack = pack + 1;
    return KIST_OK;
}

enum kist_err pack_store_open(const struct pack_config *config, struct pack_store **out)
{
    struct pack_store *s = calloc(1, sizeof(*s));
    if (!s)
        return KIST_E_NOMEM;
    s->sync = config->sync;
    s->dir = strdup(config->dir);
    pthread_mutex_init(&s->files_lock, NULL);
    pthread_mutex_init(&s->lanes_lock, NULL);
    for (unsigned i = 0; i < PACK_LANES; i++)
        pthread_mutex_init(&s->lanes[i].lock, NULL);
    buf_init(&s->dirty, DIRTY_MAX);
    buf_init(&s->sweep, SIZE_MAX);
    enum kist_err err = s->dir ? pack_lanes_load(s) : KIST_E_NOMEM;
    if (err == KIST_OK)
        err = pack_each(s, note_pack, s);
    if (err == KIST_OK && s->sync)
        err = dir_sync(s->dir); /* names that an earlier process made but did not sync */
    if (err != KIST_OK) {
        pack_store_close(s);
        return err;
    }
    *out = s;
    return KIST_OK;
}

void pack_store_close(struct pack_store *s)
{
    if (!s)
        return;
    pack_files_close(s);
    for (unsigned i = 0; i < PACK_LANES; i++)
        pthread_mutex_destroy(&s->lanes[i].lock);
    pthread_mutex_destroy(&s->lanes_lock);
    pthread_mutex_destroy(&s->files_lock);
    buf_release(&s->dirty);
    buf_release(&s->sweep);
    free(s->dir);
    free(s);
}

enum kist_err pack_write(struct pack_store *s, uint32_t pack, uint64_t offset, struct bytes data)
{
    struct pack *p;
    TRY(pack_get(s, pack, false, &p));
    enum kist_err err = file_pwrite(p->fd, data.ptr, data.len, offset);
    p->written++;
    pack_put(s, p);
    return err;
}

static void blocks_parts(struct iovec *parts, uint8_t *const *data, size_t count, size_t last)
{
    for (size_t i = 0; i < count; i++)
        parts[i] = (struct iovec){ data[i], i + 1 < count ? PACK_BLOCK_BYTES : last };
}

/* The kernel drops cached pages of what it writes directly, before and after: readers see one or
 * the other. EINVAL: it wants another alignment than ours. */
enum kist_err pack_write_blocks(struct pack_store *s, uint32_t pack, uint64_t offset,
                                uint8_t *const *data, size_t bytes)
{
    struct pack *p;
    struct iovec parts[PACK_BLOCKS_MAX];
    size_t count = (bytes + PACK_BLOCK_BYTES - 1) / PACK_BLOCK_BYTES;
    size_t last = bytes - (count - 1) * PACK_BLOCK_BYTES;
    size_t padded = (last + PACK_ALIGN - 1) & ~(size_t)(PACK_ALIGN - 1);
    assert(count > 0 && count <= PACK_BLOCKS_MAX);
    TRY(pack_get(s, pack, false, &p));
    int fd = pack_direct_fd(s, p);
    enum kist_err err = KIST_OK;
    bool refused = fd < 0;
    if (!refused) {
        memset(data[count - 1] + last, 0, padded - last);
        blocks_parts(parts, data, count, padded);
        err = file_pwritev(fd, parts, count, offset);
        refused = err != KIST_OK && errno == EINVAL;
        s->no_direct = s->no_direct || refused;
    }
    if (refused) {
        blocks_parts(parts, data, count, last);
        err = file_pwritev(p->fd, parts, count, offset);
    }
    p->written++;
    pack_put(s, p);
    return err;
}

void pack_write_hint(struct pack_store *s, uint32_t pack, uint64_t offset, uint64_t length)
{
    struct pack *p;
    if (!s->sync || pack_get(s, pack, false, &p) != KIST_OK)
        return;
    (void)sync_file_range(p->fd, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
    pack_put(s, p);
}

static enum kist_err sync_locked(struct pack_store *s, struct pack *p)
{
    uint64_t target = p->written;
    if (p->failed)
        return KIST_E_IO;
    if (s->sync && !p->name_synced) {
        TRY(dir_sync(s->dir));
        p->name_synced = true;
    }
    if (p->synced >= target)
        return KIST_OK;
    enum kist_err err = s->sync ? file_datasync(p->fd) : KIST_OK;
    if (err == KIST_OK)
        p->synced = target;
    else
        p->failed = true; /* the kernel has dropped the pages: a retry would lie */
    return err;
}

/* Whoever waits for the lock finds his writes synced by the holder, or syncs for those behind. */
static enum kist_err sync_shared(struct pack_store *s, struct pack *p)
{
    uint64_t mine = p->written;
    pthread_mutex_lock(&p->sync_lock);
    bool done = p->synced >= mine && (p->name_synced || !s->sync) && !p->failed;
    enum kist_err err = done ? KIST_OK : sync_locked(s, p);
    pthread_mutex_unlock(&p->sync_lock);
    return err;
}

enum kist_err pack_sync(struct pack_store *s, uint32_t pack)
{
    struct pack *p;
    TRY(pack_get(s, pack, false, &p));
    enum kist_err err = sync_shared(s, p);
    pack_put(s, p);
    return err;
}

static enum kist_err note_dirty(struct pack_store *s, struct pack *p)
{
    enum kist_err err = KIST_OK;
    pthread_mutex_lock(&s->files_lock);
    if (!p->body_dirty) {
        err = buf_append(&s->dirty, &p->id, sizeof(p->id));
        p->body_dirty = err == KIST_OK;
        if (!s->replayed && err == KIST_OK)
            err = buf_append(&s->sweep, &p->id, sizeof(p->id));
    }
    pthread_mutex_unlock(&s->files_lock);
    return err;
}

enum kist_err pack_store_body(struct pack_store *s, uint32_t pack, uint64_t offset,
                              struct bytes data)
{
    struct pack *p;
    TRY(pack_get(s, pack, true, &p));
    enum kist_err err = note_dirty(s, p);
    if (err == KIST_OK)
        err = file_pwrite(p->fd, data.ptr, data.len, offset);
    p->written++;
    pack_put(s, p);
    return err;
}

/* Takes one noted pack; false when there is none. */
static bool take_dirty(struct pack_store *s, uint32_t *pack)
{
    bool any = false;
    pthread_mutex_lock(&s->files_lock);
    if (s->dirty.len) {
        s->dirty.len -= sizeof(*pack);
        memcpy(pack, s->dirty.ptr + s->dirty.len, sizeof(*pack));
        any = true;
    }
    pthread_mutex_unlock(&s->files_lock);
    return any;
}

enum kist_err pack_sync_bodies(struct pack_store *s)
{
    uint32_t id;
    while (take_dirty(s, &id)) {
        struct pack *p;
        TRY(pack_get(s, id, false, &p));
        pthread_mutex_lock(&s->files_lock);
        p->body_dirty = false;
        pthread_mutex_unlock(&s->files_lock);
        enum kist_err err = sync_shared(s, p);
        if (err != KIST_OK)
            (void)!note_dirty(s, p); /* the log must not be recycled over it, now or later */
        pack_put(s, p);
        TRY(err);
    }
    return KIST_OK;
}

static enum kist_err read_cached(int fd, uint8_t *buf, size_t len, uint64_t offset)
{
    struct iovec v = { .iov_base = buf, .iov_len = len };
    ssize_t n = preadv2(fd, &v, 1, (off_t)offset, RWF_NOWAIT);
    if (n == (ssize_t)len)
        return KIST_OK;
    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != EOPNOTSUPP)
        return kist_err_from_errno(errno);
    return KIST_E_BUSY;
}

enum kist_err pack_read(struct pack_store *s, uint32_t pack, uint64_t offset, void *buf,
                        size_t len, bool cached_only)
{
    struct pack *p;
    TRY(pack_get(s, pack, false, &p));
    enum kist_err err =
        cached_only ? read_cached(p->fd, buf, len, offset) : file_pread(p->fd, buf, len, offset);
    pack_put(s, p);
    return err == KIST_E_TRUNCATED ? KIST_E_CORRUPT : err;
}

enum kist_err pack_punch(struct pack_store *s, uint32_t pack, uint64_t offset, uint64_t length)
{
    struct pack *p;
    uint64_t start = (offset + PACK_ALIGN - 1) & ~(PACK_ALIGN - 1);
    uint64_t end = (offset + length) & ~(PACK_ALIGN - 1);
    if (end <= start)
        return KIST_OK;
    TRY(pack_get(s, pack, false, &p));
    int rc = fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
                       (off_t)(end - start));
    enum kist_err err = rc == 0 || errno == EOPNOTSUPP ? KIST_OK : kist_err_from_errno(errno);
    pack_put(s, p);
    return err;
}

enum kist_err pack_remove(struct pack_store *s, uint32_t pack)
{
    if (pack_is_open_lane(s, pack))
        return KIST_OK;
    CLEANUP_FREE char *path = pack_path(s, pack);
    if (!path)
        return KIST_E_NOMEM;
    if (!pack_forget(s, pack))
        return KIST_OK;
    if (unlink(path) != 0 && errno != ENOENT)
        return kist_err_from_errno(errno);
    return KIST_OK;
}

enum kist_err pack_each(struct pack_store *s,
                        enum kist_err (*each)(void *ctx, uint32_t pack, uint64_t file_bytes),
                        void *ctx)
{
    DIR *d = opendir(s->dir);
    if (!d)
        return kist_err_from_errno(errno);
    enum kist_err err = KIST_OK;
    for (struct dirent *e = readdir(d); e && err == KIST_OK; e = readdir(d)) {
        unsigned id;
        char tail[8];
        struct stat st;
        if (sscanf(e->d_name, "%8x%7s", &id, tail) != 2 || strcmp(tail, ".pack") != 0)
            continue;
        if (fstatat(dirfd(d), e->d_name, &st, 0) == 0)
            err = each(ctx, id, (uint64_t)st.st_blocks * 512);
    }
    closedir(d);
    return err;
}
