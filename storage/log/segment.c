/* Segment files. A spare is written full of zeros and synced before it is needed, so that a
 * batch's fdatasync changes no metadata. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/base/cleanup.h"
#include "storage/base/env.h"
#include "storage/log/internal.h"

#define ZEROS ((size_t)1 << 20)

char *log_segment_path(const char *dir, uint64_t generation)
{
    char *path = NULL;
    return asprintf(&path, "%s/segment-%016llx", dir, (unsigned long long)generation) < 0 ? NULL
                                                                                          : path;
}

static enum kist_err fill_zero(int fd, size_t bytes, bool sync)
{
    CLEANUP_FREE void *zeros = calloc(1, ZEROS);
    if (!zeros)
        return KIST_E_NOMEM;
    for (size_t at = 0; at < bytes; at += ZEROS)
        TRY(file_pwrite(fd, zeros, bytes - at < ZEROS ? bytes - at : ZEROS, at));
    if (sync && fsync(fd) != 0)
        return kist_err_from_errno(errno);
    return KIST_OK;
}

/* The name is given, and made durable, when the segment becomes active. */
static enum kist_err make_file(struct segments *s, uint64_t generation, struct segment **out)
{
    CLEANUP_FREE char *path = log_segment_path(s->dir, generation);
    struct segment *seg = calloc(1, sizeof(*seg));
    if (!path || !seg) {
        free(seg);
        return KIST_E_NOMEM;
    }
    seg->generation = generation;
    seg->end = SEGMENT_HEADER_BYTES;
    seg->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    enum kist_err err =
        seg->fd < 0 ? kist_err_from_errno(errno) : fill_zero(seg->fd, s->bytes, s->sync);
    if (err == KIST_OK && s->sync)
        err = dir_sync(s->dir);
    if (err != KIST_OK) {
        if (seg->fd >= 0) {
            unlink(path);
            close(seg->fd);
        }
        free(seg);
        return err;
    }
    *out = seg;
    return KIST_OK;
}

static void segment_free(struct segments *s, struct segment *seg, bool remove)
{
    CLEANUP_FREE char *path = remove ? log_segment_path(s->dir, seg->generation) : NULL;
    if (path)
        unlink(path);
    if (seg->fd >= 0)
        close(seg->fd);
    free(seg);
}

static void *maker_main(void *arg)
{
    struct segments *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (s->spares) {
            pthread_cond_wait(&s->wake, &s->lock);
            continue;
        }
        uint64_t generation = s->next_generation++;
        struct segment *seg = NULL;
        pthread_mutex_unlock(&s->lock);
        enum kist_err err = make_file(s, generation, &seg);
        pthread_mutex_lock(&s->lock);
        if (err == KIST_OK) {
            seg->next = s->spares;
            s->spares = seg;
            s->spare_count++;
        } else if (!s->stop) {
            pthread_cond_wait(&s->wake, &s->lock); /* until a segment is really needed */
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

enum kist_err segments_open(struct segments *s, const struct log_config *config,
                            uint64_t next_generation)
{
    s->dir = config->dir;
    s->bytes = config->segment_bytes;
    s->sync = config->sync;
    s->manual = config->manual;
    s->env = config->env ? config->env : env_real();
    s->next_generation = next_generation;
    TRY(segments_advance(s));
    if (!s->manual) {
        if (pthread_create(&s->maker, NULL, maker_main, s) != 0)
            return KIST_E_NOMEM;
        s->maker_started = true;
    }
    return KIST_OK;
}

void segments_close(struct segments *s)
{
    if (s->maker_started) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->maker, NULL);
    }
    while (s->spares) {
        struct segment *next = s->spares->next;
        segment_free(s, s->spares, true);
        s->spares = next;
    }
    while (s->oldest) {
        struct segment *next = s->oldest->next;
        segment_free(s, s->oldest, false);
        s->oldest = next;
    }
}

/* A recycled file gets a new generation, and with it a new name: batches of its earlier life
 * carry another generation, and its old header goes before the first new batch can be read. */
static enum kist_err rename_spare(struct segments *s, struct segment *seg, uint64_t generation)
{
    CLEANUP_FREE char *from = log_segment_path(s->dir, seg->generation);
    CLEANUP_FREE char *to = log_segment_path(s->dir, generation);
    if (!from || !to)
        return KIST_E_NOMEM;
    if (rename(from, to) != 0)
        return kist_err_from_errno(errno);
    seg->generation = generation;
    return s->sync ? dir_sync(s->dir) : KIST_OK;
}

static enum kist_err take_spare(struct segments *s, struct segment **out)
{
    pthread_mutex_lock(&s->lock);
    struct segment *seg = s->spares;
    uint64_t generation = s->next_generation++;
    if (seg) {
        s->spares = seg->next;
        s->spare_count--;
    }
    pthread_mutex_unlock(&s->lock);
    if (!seg)
        return make_file(s, generation, out);
    seg->next = NULL;
    enum kist_err err = rename_spare(s, seg, generation);
    if (err != KIST_OK) {
        segment_free(s, seg, true);
        return err;
    }
    *out = seg;
    return KIST_OK;
}

enum kist_err segments_advance(struct segments *s)
{
    uint8_t header[SEGMENT_SEAL_BYTES];
    struct segment *seg = NULL;
    TRY(take_spare(s, &seg));
    s->env->random(s->env, &seg->nonce, sizeof(seg->nonce));
    segment_seal(header, seg->generation, seg->nonce);
    enum kist_err err = file_pwrite(seg->fd, header, sizeof(header), 0);
    if (err != KIST_OK) {
        segment_free(s, seg, true);
        return err;
    }
    seg->end = SEGMENT_HEADER_BYTES;
    seg->last_index = 0;
    pthread_mutex_lock(&s->lock);
    *(s->active ? &s->active->next : &s->oldest) = seg;
    s->active = seg;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return KIST_OK;
}

enum kist_err segments_keep(struct segments *s, uint64_t generation, uint64_t last_index)
{
    CLEANUP_FREE char *path = log_segment_path(s->dir, generation);
    struct segment *seg = calloc(1, sizeof(*seg));
    if (!path || !seg) {
        free(seg);
        return KIST_E_NOMEM;
    }
    seg->generation = generation;
    seg->last_index = last_index;
    seg->fd = open(path, O_RDWR | O_CLOEXEC);
    if (seg->fd < 0) {
        free(seg);
        return kist_err_from_errno(errno);
    }
    *(s->active ? &s->active->next : &s->oldest) = seg;
    s->active = seg;
    return KIST_OK;
}

/* A segment of another size (another configuration) is not used again. */
static bool reusable(struct segments *s, const struct segment *seg)
{
    off_t size = lseek(seg->fd, 0, SEEK_END);
    return s->spare_count < SPARES_MAX && size == (off_t)s->bytes;
}

void segments_checkpointed(struct segments *s, uint64_t index)
{
    struct segment *drop = NULL;
    pthread_mutex_lock(&s->lock);
    while (s->oldest && s->oldest != s->active && s->oldest->last_index <= index) {
        struct segment *seg = s->oldest;
        s->oldest = seg->next;
        bool again = reusable(s, seg);
        struct segment **list = again ? &s->spares : &drop;
        seg->next = *list;
        *list = seg;
        s->spare_count += again;
    }
    pthread_mutex_unlock(&s->lock);
    while (drop) {
        struct segment *next = drop->next;
        segment_free(s, drop, true);
        drop = next;
    }
}
