/* Start-up: which commands does the disk hold beyond the index? */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "storage/base/cleanup.h"
#include "storage/base/env.h"
#include "storage/log/internal.h"

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

enum kist_err log_list_segments(const char *dir, struct buf *out)
{
    DIR *d = opendir(dir);
    if (!d)
        return kist_err_from_errno(errno);
    enum kist_err err = KIST_OK;
    for (struct dirent *e = readdir(d); e && err == KIST_OK; e = readdir(d)) {
        unsigned long long generation;
        char end;
        if (sscanf(e->d_name, "segment-%16llx%c", &generation, &end) == 1) {
            uint64_t g = generation;
            err = buf_append(out, &g, sizeof(g));
        }
    }
    closedir(d);
    if (err == KIST_OK && out->len)
        qsort(out->ptr, out->len / sizeof(uint64_t), sizeof(uint64_t), by_value);
    return err;
}

/* A segment that is read. */
struct reading {
    int fd;
    uint64_t generation, nonce, size;
};

/* The whole, valid batch at a place, malloc'ed. KIST_E_NOT_FOUND: there is none. Without the
 * segment's nonce it is none of ours, but a body from a file's earlier life, or of a batch that
 * was refused for want of space. */
static enum kist_err read_batch(const struct reading *r, uint64_t at, struct batch_header *h,
                                uint8_t **out)
{
    uint8_t head[BATCH_HEADER_BYTES];
    uint64_t left = r->size - at;
    TRY(file_pread(r->fd, head, sizeof(head), at));
    enum kist_err err =
        batch_peek(head, left > UINT32_MAX ? UINT32_MAX : (size_t)left, r->generation, h);
    if (err != KIST_OK)
        return err == KIST_E_CORRUPT ? KIST_E_NOT_FOUND : err;
    CLEANUP_FREE uint8_t *batch = malloc(h->total_bytes);
    if (!batch)
        return KIST_E_NOMEM;
    TRY(file_pread(r->fd, batch, h->total_bytes, at));
    if (batch_check(batch, h) != KIST_OK || h->nonce != r->nonce)
        return KIST_E_NOT_FOUND;
    *out = TAKE_PTR(batch);
    return KIST_OK;
}

/* The next valid batch of this segment within the length of one, from *at on. KIST_E_NOT_FOUND.
 */
static enum kist_err find_batch(const struct reading *r, uint64_t *at, struct batch_header *h)
{
    uint64_t end = r->size - *at > BATCH_BYTES_MAX ? *at + BATCH_BYTES_MAX : r->size;
    CLEANUP_FREE uint8_t *window = malloc((size_t)(end - *at));
    if (!window)
        return KIST_E_NOMEM;
    TRY(file_pread(r->fd, window, (size_t)(end - *at), *at));
    for (uint64_t next = *at; next + BATCH_HEADER_BYTES <= end; next += BATCH_ALIGN) {
        CLEANUP_FREE uint8_t *batch = NULL;
        if (batch_peek(window + (next - *at), BATCH_HEADER_BYTES, r->generation, h) ==
            KIST_E_NOT_FOUND)
            continue;
        enum kist_err err = read_batch(r, next, h, &batch);
        if (err == KIST_E_NOT_FOUND)
            continue;
        *at = next;
        return err;
    }
    return KIST_E_NOT_FOUND;
}

static uint64_t batch_end(uint64_t at, const struct batch_header *h)
{
    return at + (h->total_bytes + BATCH_ALIGN - 1) / BATCH_ALIGN * BATCH_ALIGN;
}

/* No batch is valid at `at`: is that the end, torn or not? What follows is never replayed: were
 * it needed, KIST_E_CORRUPT. */
static enum kist_err check_end(const struct reading *r, uint64_t at, uint64_t applied)
{
    if (!r->nonce)
        return KIST_OK;
    for (at += BATCH_ALIGN; at < r->size;) {
        struct batch_header h;
        enum kist_err err = find_batch(r, &at, &h);
        if (err == KIST_E_NOT_FOUND)
            return KIST_OK;
        TRY(err);
        if (h.first_index + h.commands - 1 > applied)
            return KIST_E_CORRUPT;
        at = batch_end(at, &h);
    }
    return KIST_OK;
}

/* Walks the valid batches of one segment. KIST_E_CORRUPT: one in the middle is damaged, and
 * commands after `applied` stand behind it. */
static enum kist_err walk_segment(const char *dir, uint64_t generation, uint64_t applied,
                                  enum kist_err (*each)(void *ctx, uint8_t *batch,
                                                        const struct batch_header *h),
                                  void *ctx)
{
    CLEANUP_FREE char *path = log_segment_path(dir, generation);
    CLEANUP_CLOSE int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat st;
    uint8_t head[SEGMENT_SEAL_BYTES];
    uint64_t found, nonce;
    if (!path)
        return KIST_E_NOMEM;
    if (fd < 0 || fstat(fd, &st) != 0)
        return kist_err_from_errno(errno);
    if (st.st_size < SEGMENT_HEADER_BYTES || file_pread(fd, head, sizeof(head), 0) != KIST_OK)
        return KIST_OK;
    enum kist_err err = segment_peek(head, &found, &nonce);
    if (err == KIST_E_NOT_FOUND || (err == KIST_OK && found != generation))
        return KIST_OK; /* a spare, or one whose first batch was never acknowledged */
    TRY(err);
    struct reading r = { fd, generation, nonce, (uint64_t)st.st_size };
    uint64_t at = SEGMENT_HEADER_BYTES;
    while (at < r.size && r.size - at >= BATCH_HEADER_BYTES) {
        struct batch_header h;
        CLEANUP_FREE uint8_t *batch = NULL;
        err = read_batch(&r, at, &h, &batch);
        if (err == KIST_E_NOT_FOUND)
            return check_end(&r, at, applied);
        TRY(err);
        TRY(each(ctx, batch, &h));
        at = batch_end(at, &h);
    }
    return KIST_OK;
}

struct replay {
    struct log *log;
    uint64_t applied; /* in the index, or replayed */
    uint64_t segment_last;
};

static enum kist_err replay_entry(void *ctx, const struct log_entry *entry)
{
    struct replay *r = ctx;
    struct log *log = r->log;
    if (entry->index <= r->applied)
        return KIST_OK;
    /* The verdict was given when it was first applied. */
    (void)!log->ops.apply(log->ops.ctx, entry, NULL);
    r->applied = entry->index;
    return KIST_OK;
}

/* A gap means that a batch in the middle is damaged: later ones were acknowledged after it. */
static enum kist_err replay_batch(void *ctx, uint8_t *batch, const struct batch_header *h)
{
    struct replay *r = ctx;
    struct log *log = r->log;
    uint64_t last = h->first_index + h->commands - 1;
    r->segment_last = last;
    if (last <= r->applied)
        return KIST_OK;
    if (h->first_index > r->applied + 1)
        return KIST_E_CORRUPT;
    if (h->bodies_bytes)
        TRY(log->ops.store(log->ops.ctx, h->pack, h->pack_offset,
                           bytes_of(batch + h->bodies_at, h->bodies_bytes)));
    if (log->ops.batch_begin)
        log->ops.batch_begin(log->ops.ctx);
    enum kist_err err = batch_each(batch, h, replay_entry, r);
    if (log->ops.batch_end)
        log->ops.batch_end(log->ops.ctx, last);
    return err;
}

enum kist_err log_replay(struct log *log, uint64_t applied_index, uint64_t *next_generation)
{
    struct buf list;
    struct replay r = { .log = log, .applied = applied_index };
    uint64_t generation = 0;
    buf_init(&list, SIZE_MAX);
    enum kist_err err = log_list_segments(log->config.dir, &list);
    for (size_t at = 0; at < list.len && err == KIST_OK; at += sizeof(generation)) {
        memcpy(&generation, list.ptr + at, sizeof(generation));
        r.segment_last = 0;
        err = walk_segment(log->config.dir, generation, r.applied, replay_batch, &r);
        if (err == KIST_OK)
            err = segments_keep(&log->segments, generation, r.segment_last);
    }
    buf_release(&list);
    TRY(err);
    log->last_index = r.applied;
    *next_generation = generation + 1;
    return KIST_OK;
}

struct scan {
    uint64_t after;
    enum kist_err (*each)(void *ctx, const struct log_entry *entry);
    void *ctx;
};

static enum kist_err scan_entry(void *ctx, const struct log_entry *entry)
{
    struct scan *s = ctx;
    return entry->index > s->after ? s->each(s->ctx, entry) : KIST_OK;
}

static enum kist_err scan_batch(void *ctx, uint8_t *batch, const struct batch_header *h)
{
    return batch_each(batch, h, scan_entry, ctx);
}

enum kist_err log_scan(const char *dir, uint64_t after_index,
                       enum kist_err (*each)(void *ctx, const struct log_entry *entry), void *ctx)
{
    struct buf list;
    struct scan s = { after_index, each, ctx };
    buf_init(&list, SIZE_MAX);
    enum kist_err err = log_list_segments(dir, &list);
    for (size_t at = 0; at < list.len && err == KIST_OK; at += sizeof(uint64_t)) {
        uint64_t generation;
        memcpy(&generation, list.ptr + at, sizeof(generation));
        err = walk_segment(dir, generation, UINT64_MAX, scan_batch, &s);
    }
    buf_release(&list);
    return err;
}
