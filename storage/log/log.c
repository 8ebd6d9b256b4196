/* The log's life and its one thread; format.h draws the file, log.h the way of a request. */
#include "storage/log/log.h"

#include <assert.h>
#include <stdlib.h>

#include "storage/base/env.h"
#include "storage/base/trace.h"
#include "storage/log/internal.h"

/* ---- the queue ---- */

void log_submit(struct log *log, struct log_request *request)
{
    size_t size = request->command.len + request->body.len;
    enum kist_err refusal = KIST_OK;
    request->next = NULL;
    if (size > log->buffer_bytes - BATCH_HEADER_BYTES - COMMAND_HEADER_BYTES)
        refusal = KIST_E_TOO_LARGE;
    pthread_mutex_lock(&log->lock);
    if (log->closing)
        refusal = KIST_E_SHUTDOWN;
    bool wake = false;
    if (refusal == KIST_OK) {
        *log->last = request;
        log->last = &request->next;
        wake = log->sleeping;
        log->sleeping = false;
    }
    pthread_mutex_unlock(&log->lock);
    if (refusal != KIST_OK)
        request->done(request, refusal);
    else if (wake)
        pthread_cond_signal(&log->wake);
}

static struct log_request *take_queue(struct log *log, bool wait)
{
    pthread_mutex_lock(&log->lock);
    while (wait && !log->first && !log->closing) {
        log->sleeping = true;
        pthread_cond_wait(&log->wake, &log->lock);
    }
    log->sleeping = false;
    struct log_request *queue = log->first;
    log->first = NULL;
    log->last = &log->first;
    pthread_mutex_unlock(&log->lock);
    return queue;
}

/* ---- one batch ---- */

struct batch {
    struct log_request *requests; /* count of them, linked */
    struct log_request *rest;     /* what did not fit */
    struct batch_header header;
};

static void gather(struct log *log, struct log_request *queue, struct batch *b)
{
    size_t commands = BATCH_HEADER_BYTES, bodies = 0;
    *b = (struct batch){ .requests = queue };
    struct log_request *r = queue;
    for (; r; r = r->next) {
        size_t more = COMMAND_HEADER_BYTES + r->command.len;
        if (commands + more + bodies + r->body.len > log->buffer_bytes)
            break;
        commands += more;
        bodies += r->body.len;
        b->header.commands++;
    }
    b->rest = r;
    b->header.bodies_at = (uint32_t)commands;
    b->header.bodies_bytes = (uint32_t)bodies;
    b->header.total_bytes = (uint32_t)(commands + bodies);
    b->header.first_index = log->last_index + 1;
}

static void encode(struct log *log, const struct batch *b)
{
    uint8_t *command = log->buffer + BATCH_HEADER_BYTES;
    uint8_t *body = log->buffer + b->header.bodies_at;
    for (struct log_request *r = b->requests; r != b->rest; r = r->next) {
        put_u32(command, (uint32_t)r->command.len);
        put_u32(command + 4, (uint32_t)r->body.len);
        memcpy(command + COMMAND_HEADER_BYTES, r->command.ptr, r->command.len);
        command += COMMAND_HEADER_BYTES + r->command.len;
        if (r->body.len)
            memcpy(body, r->body.ptr, r->body.len);
        body += r->body.len;
    }
    batch_seal(log->buffer, &b->header);
}

/* Room in pack and segment: nothing is written yet, so that no space is a clean refusal. */
static enum kist_err make_room(struct log *log, struct batch *b)
{
    struct segments *s = &log->segments;
    if (log->failed)
        return KIST_E_IO;
    if (log->ops.admit)
        TRY(log->ops.admit(log->ops.ctx));
    if (b->header.bodies_bytes)
        TRY(log->ops.place(log->ops.ctx, b->header.bodies_bytes, &b->header.pack,
                           &b->header.pack_offset));
    if (s->active->end + b->header.total_bytes > s->bytes)
        TRY(segments_advance(s));
    b->header.generation = s->active->generation;
    b->header.nonce = s->active->nonce;
    return KIST_OK;
}

static enum kist_err fail(struct log *log, enum kist_err err)
{
    log->failed = true;
    TRACE(TRACE_ERROR, "log", "commit failed, no more changes are taken: %s", kist_err_text(err));
    return KIST_E_IO;
}

/* What could not be written may be there all the same: zeros, in a file made of zeros. */
static bool is_there(const struct segment *seg, const uint8_t *batch, size_t bytes)
{
    uint8_t found[4096];
    for (size_t at = 0; at < bytes; at += sizeof(found)) {
        size_t n = bytes - at < sizeof(found) ? bytes - at : sizeof(found);
        if (file_pread(seg->fd, found, n, seg->end + at) != KIST_OK ||
            memcmp(found, batch + at, n) != 0)
            return false;
    }
    return true;
}

/* The bodies first: whatever keeps them from their pack, the log knows nothing of them yet. A
 * batch for which the segment has no room (its file system writes every block anew) is not whole
 * there, and the next one is written over it: that too is a clean refusal. What happened in any
 * other failure, and in that of a sync, nobody knows. */
static enum kist_err persist(struct log *log, const struct batch *b)
{
    struct segment *seg = log->segments.active;
    uint64_t last = b->header.first_index + b->header.commands - 1;
    if (b->header.bodies_bytes)
        TRY(log->ops.store(log->ops.ctx, b->header.pack, b->header.pack_offset,
                           bytes_of(log->buffer + b->header.bodies_at, b->header.bodies_bytes)));
    enum kist_err err = file_pwrite(seg->fd, log->buffer, b->header.total_bytes, seg->end);
    if (err == KIST_E_NOSPC && !is_there(seg, log->buffer, b->header.total_bytes))
        return err;
    if (err != KIST_OK && err != KIST_E_NOSPC)
        return fail(log, err);
    uint64_t start = mono_ns();
    if (log->config.sync)
        err = file_datasync(seg->fd);
    if (err != KIST_OK)
        return fail(log, err);
    log->sync_ns += mono_ns() - start;
    seg->end += (b->header.total_bytes + BATCH_ALIGN - 1) / BATCH_ALIGN * BATCH_ALIGN;
    seg->last_index = last;
    log->batches++;
    log->commands += b->header.commands;
    log->bytes += b->header.total_bytes;
    return KIST_OK;
}

static void fail_batch(const struct batch *b, enum kist_err err)
{
    for (struct log_request *r = b->requests; r != b->rest;) {
        struct log_request *next = r->next;
        r->done(r, err);
        r = next;
    }
}

/* Verdicts wait in `next`-order beside the requests until the batch has ended: done() must not
 * run under the state machine's lock. */
static void apply_batch(struct log *log, const struct batch *b, enum kist_err *verdicts)
{
    uint64_t index = b->header.first_index, offset = b->header.pack_offset;
    size_t i = 0;
    if (log->ops.batch_begin)
        log->ops.batch_begin(log->ops.ctx);
    for (struct log_request *r = b->requests; r != b->rest; r = r->next) {
        struct log_entry entry = { .index = index++,
                                   .command = r->command,
                                   .body = r->body,
                                   .pack = b->header.pack,
                                   .offset = offset };
        offset += r->body.len;
        verdicts[i++] = log->ops.apply(log->ops.ctx, &entry, r->result);
    }
    log->last_index = index - 1;
    if (log->ops.batch_end)
        log->ops.batch_end(log->ops.ctx, index - 1);
}

static void commit(struct log *log, struct batch *b)
{
    enum kist_err err = make_room(log, b);
    enum kist_err *verdicts = malloc(b->header.commands * sizeof(*verdicts));
    if (err == KIST_OK && !verdicts)
        err = KIST_E_NOMEM;
    if (err == KIST_OK) {
        encode(log, b);
        err = persist(log, b);
    }
    if (err != KIST_OK) {
        fail_batch(b, err);
    } else {
        apply_batch(log, b, verdicts);
        size_t i = 0;
        for (struct log_request *r = b->requests; r != b->rest;) {
            struct log_request *next = r->next;
            r->done(r, verdicts[i++]);
            r = next;
        }
    }
    free(verdicts);
}

static void commit_all(struct log *log, struct log_request *queue)
{
    while (queue) {
        struct batch b;
        gather(log, queue, &b);
        queue = b.rest;
        commit(log, &b);
    }
}

static void *log_main(void *arg)
{
    struct log *log = arg;
    for (;;) {
        struct log_request *queue = take_queue(log, true);
        if (!queue)
            return NULL;
        commit_all(log, queue);
    }
}

bool log_step(struct log *log)
{
    struct log_request *queue = take_queue(log, false);
    commit_all(log, queue);
    return queue != NULL;
}

/* ---- life ---- */

enum kist_err log_open(const struct log_config *config, const struct log_ops *ops,
                       uint64_t applied_index, struct log **out)
{
    struct log *log = calloc(1, sizeof(*log));
    uint64_t next_generation = 0;
    if (!log)
        return KIST_E_NOMEM;
    assert(config->batch_bytes_max <= BATCH_BYTES_MAX);
    log->config = *config;
    log->ops = *ops;
    log->last = &log->first;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->wake, NULL);
    pthread_mutex_init(&log->segments.lock, NULL);
    pthread_cond_init(&log->segments.wake, NULL);
    log->dir = strdup(config->dir);
    log->config.dir = log->segments.dir = log->dir;
    log->buffer_bytes = config->batch_bytes_max;
    log->buffer = malloc(log->buffer_bytes);
    enum kist_err err = log->dir && log->buffer ? KIST_OK : KIST_E_NOMEM;
    if (err == KIST_OK)
        err = log_replay(log, applied_index, &next_generation);
    if (err == KIST_OK)
        err = segments_open(&log->segments, &log->config, next_generation);
    if (err == KIST_OK && !config->manual) {
        err = pthread_create(&log->thread, NULL, log_main, log) == 0 ? KIST_OK : KIST_E_NOMEM;
        log->thread_started = err == KIST_OK;
        if (log->thread_started)
            pthread_setname_np(log->thread, "log");
    }
    if (err != KIST_OK) {
        log_close(log);
        return err;
    }
    *out = log;
    return KIST_OK;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
    if (log->thread_started)
        pthread_join(log->thread, NULL);
    commit_all(log, take_queue(log, false));
    segments_close(&log->segments);
    pthread_mutex_destroy(&log->segments.lock);
    pthread_cond_destroy(&log->segments.wake);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->wake);
    free(log->buffer);
    free(log->dir);
    free(log);
}

struct waiter {
    struct log_request request;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool finished;
    enum kist_err err;
};

static void waiter_done(struct log_request *request, enum kist_err err)
{
    struct waiter *w = (struct waiter *)(void *)request; /* its first member */
    pthread_mutex_lock(&w->lock);
    w->err = err;
    w->finished = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

enum kist_err log_commit(struct log *log, struct bytes command, struct bytes body, void *result)
{
    struct waiter w = {
        .request = { .command = command, .body = body, .result = result, .done = waiter_done }
    };
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.done, NULL);
    log_submit(log, &w.request);
    if (log->config.manual)
        (void)log_step(log);
    pthread_mutex_lock(&w.lock);
    while (!w.finished)
        pthread_cond_wait(&w.done, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_mutex_destroy(&w.lock);
    pthread_cond_destroy(&w.done);
    return w.err;
}

void log_checkpointed(struct log *log, uint64_t index)
{
    segments_checkpointed(&log->segments, index);
}

uint64_t log_last_index(const struct log *log)
{
    return log->last_index;
}

void log_stats(const struct log *log, struct log_stats *out)
{
    *out = (struct log_stats){ .batches = log->batches,
                               .commands = log->commands,
                               .bytes = log->bytes,
                               .sync_ns = log->sync_ns,
                               .failed = log->failed };
    for (const struct segment *s = log->segments.oldest; s; s = s->next)
        out->segments++;
}
