/* The commit log: the one door for every metadata change.
 *
 *   requests --> [queue] --> batch --> store bodies --> write + fdatasync --> apply --> done()
 *                              ^                                                |
 *                              '---- the next batch gathers meanwhile <---------'
 *
 * A request is a command (opaque here) and, for a small object, its body. One thread takes all
 * waiting requests as a batch, hands the bodies to the pack they are placed in (page cache only:
 * the log is their durability until the next checkpoint), writes the batch to a pre-written
 * segment file, syncs once, applies the commands in order and calls done() on each. No timer: a
 * lone request is written at once.
 *
 * Invariants
 * - Indexes count commands from 1, without gaps.
 * - done(KIST_OK or the state machine's verdict) is called only after the batch is durable.
 * - A batch is valid only whole: one CRC-32C covers it, and it names its segment's generation,
 *   so that what an earlier life of a recycled segment left behind is never taken for new.
 * - At start, commands after the checkpoint are applied again, in order, with their bodies
 *   stored again at the same place. What follows the last valid batch was never acknowledged.
 *   A valid later batch behind an invalid one is damage, not a torn tail: KIST_E_CORRUPT.
 * - A failed write or sync of a segment stops all further commits (KIST_E_IO): what the disk
 *   holds is unknown then. No space for a body, a new segment or the batch in it only fails the
 *   requests of that batch (KIST_E_NOSPC), of which nothing is left; the next one tries again.
 */
#ifndef KIST_STORAGE_LOG_LOG_H
#define KIST_STORAGE_LOG_LOG_H

#include "storage/base/bytes.h"

struct env;
struct log;

struct log_request {
    struct bytes command; /* borrowed until done() */
    struct bytes body;    /* borrowed until done(); may be empty */
    void *result;         /* given to apply() */
    /* On the log's thread; must not block. May free the request. */
    void (*done)(struct log_request *request, enum kist_err err);
    struct log_request *next; /* the log's */
};

struct log_entry {
    uint64_t index;
    struct bytes command;
    struct bytes body;
    uint32_t pack; /* where the body lives; meaningless for an empty body */
    uint64_t offset;
};

struct log_ops {
    void *ctx;
    /* Before each batch, when the one before it was applied or came to nothing: its error refuses
     * all requests of the batch. NULL: none is. */
    enum kist_err (*admit)(void *ctx);
    /* Finds room for `bytes` contiguous body bytes of one batch. */
    enum kist_err (*place)(void *ctx, size_t bytes, uint32_t *pack, uint64_t *offset);
    /* Writes bodies, contiguous, to where they were placed; durability is not wanted here.
     * Also called at replay. */
    enum kist_err (*store)(void *ctx, uint32_t pack, uint64_t offset, struct bytes bodies);
    /* The state machine. The returned verdict goes to done(). result is NULL at replay. */
    enum kist_err (*apply)(void *ctx, const struct log_entry *entry, void *result);
    /* Around the applies of one batch; batch_end may block to hold writers back. */
    void (*batch_begin)(void *ctx);
    void (*batch_end)(void *ctx, uint64_t last_index);
};

struct log_config {
    const char *dir;        /* exists; segments are dir/segment-<generation, 16 hex digits> */
    size_t segment_bytes;   /* default 64 MiB; a batch never spans two */
    size_t batch_bytes_max; /* default 4 MiB; also the largest command + body */
    bool sync;              /* false: measurement only */
    bool manual;            /* no thread: log_step() does the work (simulator) */
    struct env *env;        /* NULL: env_real() */
};
#define LOG_CONFIG_DEFAULT                                                                       \
    ((struct log_config){ .segment_bytes = 64U << 20, .batch_bytes_max = 4U << 20, .sync = true })

/* Opens or creates, replays every command after applied_index, and is then ready.
 * KIST_E_NEWER_FORMAT for segments of a later revision. */
enum kist_err log_open(const struct log_config *config, const struct log_ops *ops,
                       uint64_t applied_index, struct log **out) MUST_CHECK;
/* Commits what is queued, then stops. Later submissions get KIST_E_SHUTDOWN. NULL is allowed. */
void log_close(struct log *log);

/* From any thread; never blocks on I/O. done() is always called, once. */
void log_submit(struct log *log, struct log_request *request);
/* Submits and waits: for workers and tools, never for an event loop. */
enum kist_err log_commit(struct log *log, struct bytes command, struct bytes body,
                         void *result) MUST_CHECK;
/* manual: takes one batch through; false when nothing was queued. */
bool log_step(struct log *log);

/* Everything up to index is durable in the index: segments below it may be recycled. From any
 * thread. */
void log_checkpointed(struct log *log, uint64_t index);
/* Index of the last applied command. */
uint64_t log_last_index(const struct log *log);

struct log_stats {
    uint64_t batches, commands, bytes, sync_ns, segments;
    bool failed; /* stopped for good after an I/O error */
};
void log_stats(const struct log *log, struct log_stats *out);

/* Reads segments without opening the log: `kist dump`, `kist fsck`, fuzzers. */
enum kist_err log_scan(const char *dir, uint64_t after_index,
                       enum kist_err (*each)(void *ctx, const struct log_entry *entry),
                       void *ctx) MUST_CHECK;

#endif
