/* Open pack files: a table by number, and an LRU of those that nobody uses. */
#include "storage/chunk/pack_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/base/cleanup.h"

char *pack_path(const struct pack_store *s, uint32_t id)
{
    char *path = NULL;
    return asprintf(&path, "%s/%08x.pack", s->dir, id) < 0 ? NULL : path;
}

static struct pack **slot_of(struct pack_store *s, uint32_t id)
{
    struct pack **slot = &s->table[id & (PACK_TABLE_SIZE - 1)];
    while (*slot && (*slot)->id != id)
        slot = &(*slot)->chain;
    return slot;
}

static void lru_unlink(struct pack_store *s, struct pack *p)
{
    *(p->older ? &p->older->newer : &s->lru_old) = p->newer;
    *(p->newer ? &p->newer->older : &s->lru_new) = p->older;
    p->older = p->newer = NULL;
}

static void lru_push(struct pack_store *s, struct pack *p)
{
    p->older = s->lru_new;
    *(s->lru_new ? &s->lru_new->newer : &s->lru_old) = p;
    s->lru_new = p;
}

static void pack_free(struct pack_store *s, struct pack *p)
{
    *slot_of(s, p->id) = p->chain;
    s->open_files--;
    close(p->fd);
    if (p->direct_fd >= 0)
        close(p->direct_fd);
    pthread_mutex_destroy(&p->sync_lock);
    free(p);
}

/* A file with writes not yet synced stays open, so that its sync error is not lost. */
static bool evictable(const struct pack *p)
{
    return !p->body_dirty && (p->written == p->synced || p->failed);
}

static void evict(struct pack_store *s)
{
    struct pack *p = s->lru_old;
    while (p && s->open_files > PACK_FILES_MAX) {
        struct pack *newer = p->newer;
        if (evictable(p)) {
            lru_unlink(s, p);
            pack_free(s, p);
        }
        p = newer;
    }
}

static enum kist_err pack_open_file(struct pack_store *s, uint32_t id, bool create,
                                    struct pack **out)
{
    CLEANUP_FREE char *path = pack_path(s, id);
    CLEANUP_FREE struct pack *p = calloc(1, sizeof(*p));
    if (!path || !p)
        return KIST_E_NOMEM;
    p->id = id;
    p->direct_fd = -1;
    p->fd = open(path, O_RDWR | O_CLOEXEC);
    p->name_synced = p->fd >= 0;
    if (p->fd < 0 && errno == ENOENT && create)
        p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->fd < 0)
        return errno == ENOENT ? KIST_E_CORRUPT : kist_err_from_errno(errno);
    pthread_mutex_init(&p->sync_lock, NULL);
    *out = TAKE_PTR(p);
    return KIST_OK;
}

enum kist_err pack_get(struct pack_store *s, uint32_t id, bool create, struct pack **out)
{
    enum kist_err err = KIST_OK;
    pthread_mutex_lock(&s->files_lock);
    struct pack **slot = slot_of(s, id);
    if (!*slot) {
        struct pack *p = NULL;
        err = pack_open_file(s, id, create, &p);
        if (err == KIST_OK) {
            assert(p);
            *slot = p;
            s->open_files++;
            lru_push(s, p);
            p->users = 1;
            lru_unlink(s, p);
            *out = p;
            evict(s);
        }
    } else {
        if ((*slot)->users++ == 0)
            lru_unlink(s, *slot);
        *out = *slot;
    }
    pthread_mutex_unlock(&s->files_lock);
    return err;
}

void pack_put(struct pack_store *s, struct pack *p)
{
    pthread_mutex_lock(&s->files_lock);
    assert(p->users > 0);
    if (--p->users == 0) {
        lru_push(s, p);
        evict(s);
    }
    pthread_mutex_unlock(&s->files_lock);
}

int pack_direct_fd(struct pack_store *s, struct pack *p)
{
    if (p->direct_fd >= 0 || s->no_direct)
        return p->direct_fd;
    CLEANUP_FREE char *path = pack_path(s, p->id);
    pthread_mutex_lock(&s->files_lock);
    if (p->direct_fd < 0 && path) {
        p->direct_fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
        s->no_direct = p->direct_fd < 0 && errno == EINVAL;
    }
    pthread_mutex_unlock(&s->files_lock);
    return p->direct_fd;
}

enum kist_err pack_hold(struct pack_store *s, uint32_t pack)
{
    struct pack *p;
    TRY(pack_get(s, pack, true, &p));
    pthread_mutex_lock(&s->files_lock);
    p->holds++;
    pthread_mutex_unlock(&s->files_lock);
    return KIST_OK;
}

void pack_unhold(struct pack_store *s, uint32_t pack)
{
    pthread_mutex_lock(&s->files_lock);
    struct pack *p = *slot_of(s, pack);
    assert(p && p->holds > 0);
    p->holds--;
    pthread_mutex_unlock(&s->files_lock);
    pack_put(s, p);
}

enum kist_err pack_files_held(struct pack_store *s, struct buf *out)
{
    enum kist_err err = KIST_OK;
    pthread_mutex_lock(&s->files_lock);
    for (size_t i = 0; i < PACK_TABLE_SIZE; i++)
        for (struct pack *p = s->table[i]; p && err == KIST_OK; p = p->chain)
            if (p->holds)
                err = buf_append(out, &p->id, sizeof(p->id));
    pthread_mutex_unlock(&s->files_lock);
    return err;
}

bool pack_forget(struct pack_store *s, uint32_t id)
{
    bool free_now = true;
    pthread_mutex_lock(&s->files_lock);
    struct pack *p = *slot_of(s, id);
    if (p && (p->users || p->body_dirty)) {
        free_now = false;
    } else if (p) {
        lru_unlink(s, p);
        pack_free(s, p);
    }
    pthread_mutex_unlock(&s->files_lock);
    return free_now;
}

void pack_files_close(struct pack_store *s)
{
    while (s->lru_old) {
        struct pack *p = s->lru_old;
        lru_unlink(s, p);
        pack_free(s, p);
    }
    assert(s->open_files == 0);
}
