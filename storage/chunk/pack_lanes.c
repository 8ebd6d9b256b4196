/* Lanes: who appends where. */
#include "storage/chunk/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/base/cleanup.h"
#include "storage/base/env.h"

#define LANES_REVISION 1

enum kist_err pack_lanes_load(struct pack_store *s)
{
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&path, "%s/lanes", s->dir) < 0)
        return KIST_E_NOMEM;
    s->next_pack = 1;
    CLEANUP_FCLOSE FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? KIST_OK : kist_err_from_errno(errno);
    unsigned revision = 0;
    if (fscanf(f, "kist-lanes %u next %" SCNu32, &revision, &s->next_pack) != 2)
        return KIST_E_CORRUPT;
    if (revision > LANES_REVISION)
        return KIST_E_NEWER_FORMAT;
    for (unsigned i = 0; i < PACK_LANES; i++)
        if (fscanf(f, " lane %" SCNu32, &s->lanes[i].pack) != 1)
            return KIST_E_CORRUPT;
    for (unsigned i = 0; i < PACK_LANES; i++)
        if (s->lanes[i].pack)
            TRY(buf_append(&s->sweep, &s->lanes[i].pack, sizeof(uint32_t)));
    uint32_t held;
    while (fscanf(f, " held %" SCNu32, &held) == 1)
        TRY(buf_append(&s->sweep, &held, sizeof(held)));
    return KIST_OK;
}

static enum kist_err lanes_text(struct pack_store *s, struct buf *text)
{
    struct buf held;
    buf_init(&held, SIZE_MAX);
    TRY(buf_printf(text, "kist-lanes %d next %" PRIu32 "\n", LANES_REVISION, s->next_pack));
    for (unsigned i = 0; i < PACK_LANES; i++)
        TRY(buf_printf(text, "lane %" PRIu32 "\n", s->lanes[i].pack));
    enum kist_err err = pack_files_held(s, &held);
    for (size_t at = 0; at < held.len && err == KIST_OK; at += sizeof(uint32_t)) {
        uint32_t id;
        memcpy(&id, held.ptr + at, sizeof(id));
        err = buf_printf(text, "held %" PRIu32 "\n", id);
    }
    buf_release(&held);
    return err;
}

static enum kist_err write_file(struct pack_store *s, const char *path, struct bytes text)
{
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return kist_err_from_errno(errno);
    TRY(file_pwrite(fd, text.ptr, text.len, 0));
    return s->sync ? file_datasync(fd) : KIST_OK;
}

enum kist_err pack_lanes_save(struct pack_store *s)
{
    CLEANUP_FREE char *temporary = NULL;
    CLEANUP_FREE char *path = NULL;
    if (asprintf(&temporary, "%s/lanes.new", s->dir) < 0 ||
        asprintf(&path, "%s/lanes", s->dir) < 0)
        return KIST_E_NOMEM;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    enum kist_err err = lanes_text(s, &text);
    if (err == KIST_OK)
        err = write_file(s, temporary, buf_bytes(&text));
    buf_release(&text);
    TRY(err);
    if (rename(temporary, path) != 0)
        return kist_err_from_errno(errno);
    return s->sync ? dir_sync(s->dir) : KIST_OK;
}

/* The lanes file is durable before the pack takes its first byte, so that a crash never leaves
 * reserved bytes in a pack that the sweep does not know of. From then on there is no way back to
 * the one before, which the file does not name any more: pack_hold() makes the new one, now or
 * when there is room for it. */
static enum kist_err lane_begin_pack(struct pack_store *s, struct pack_lane *lane)
{
    pthread_mutex_lock(&s->lanes_lock);
    uint32_t before = lane->pack;
    lane->pack = s->next_pack++;
    enum kist_err err = pack_lanes_save(s);
    if (err == KIST_OK)
        lane->end = 0;
    else
        lane->pack = before;
    pthread_mutex_unlock(&s->lanes_lock);
    return err;
}

/* Held while it is still the lane's: once the lane has left it, an empty pack may be removed, and
 * the lanes file forgets it. */
enum kist_err pack_reserve(struct pack_store *s, unsigned lane_number, uint64_t bytes,
                           uint32_t *pack, uint64_t *offset)
{
    struct pack_lane *lane = &s->lanes[lane_number];
    uint64_t rounded = (bytes + PACK_ALIGN - 1) & ~(PACK_ALIGN - 1);
    enum kist_err err = KIST_OK;
    pthread_mutex_lock(&lane->lock);
    if (!lane->pack || !lane->resumed || lane->end + rounded > PACK_BYTES_MAX) {
        err = lane_begin_pack(s, lane);
        lane->resumed = lane->resumed || err == KIST_OK;
    }
    if (err == KIST_OK)
        err = pack_hold(s, lane->pack);
    if (err == KIST_OK) {
        *pack = lane->pack;
        *offset = lane->end;
        lane->end += rounded;
    }
    pthread_mutex_unlock(&lane->lock);
    return err;
}

void pack_unreserve(struct pack_store *s, unsigned lane_number, uint32_t pack, uint64_t offset)
{
    struct pack_lane *lane = &s->lanes[lane_number];
    pthread_mutex_lock(&lane->lock);
    if (lane->pack == pack && lane->end > offset)
        lane->end = offset;
    pthread_mutex_unlock(&lane->lock);
}

unsigned pack_next_lane(struct pack_store *s)
{
    return 1 + s->next_lane++ % (PACK_LANES - 1);
}

uint32_t pack_lane_pack(struct pack_store *s, unsigned lane)
{
    return s->lanes[lane].pack;
}

enum kist_err pack_lane_resume(struct pack_store *s, unsigned lane, uint64_t end)
{
    struct pack *p;
    uint64_t aligned = (end + PACK_ALIGN - 1) & ~(PACK_ALIGN - 1);
    TRY(pack_get(s, s->lanes[lane].pack, true, &p));
    enum kist_err err = ftruncate(p->fd, (off_t)end) == 0 ? KIST_OK : kist_err_from_errno(errno);
    p->written++;
    pack_put(s, p);
    TRY(err);
    s->lanes[lane].end = aligned;
    s->lanes[lane].resumed = true;
    return KIST_OK;
}

void pack_replay_done(struct pack_store *s)
{
    s->replayed = true;
}

size_t pack_sweep_count(struct pack_store *s)
{
    return s->sweep.len / sizeof(uint32_t);
}

uint32_t pack_sweep_at(struct pack_store *s, size_t i)
{
    uint32_t id;
    memcpy(&id, s->sweep.ptr + i * sizeof(id), sizeof(id));
    return id;
}

uint64_t pack_lane_end(struct pack_store *s, unsigned lane)
{
    pthread_mutex_lock(&s->lanes[lane].lock);
    uint64_t end = s->lanes[lane].end;
    pthread_mutex_unlock(&s->lanes[lane].lock);
    return end;
}

bool pack_is_open_lane(struct pack_store *s, uint32_t pack)
{
    bool open = false;
    pthread_mutex_lock(&s->lanes_lock);
    for (unsigned i = 0; i < PACK_LANES; i++)
        open = open || s->lanes[i].pack == pack;
    pthread_mutex_unlock(&s->lanes_lock);
    return open;
}
