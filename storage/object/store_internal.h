/* The parts of a store.
 *
 *   writer --bytes--> packs          ops --command--> log --apply--> kv (overlay, LMDB)
 *   reader <--bytes-- packs          checkpoint: packs synced, overlay flushed, log recycled
 *                                    reclaim: garbage rows -> Release -> freed rows -> punch
 *
 * Lock order: pins.gate, kv's write lock, packs' locks. None is held across a sync but the
 * packs' own.
 */
#ifndef KIST_STORAGE_OBJECT_STORE_INTERNAL_H
#define KIST_STORAGE_OBJECT_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/base/md5.h"
#include "storage/base/sha256.h"
#include "storage/base/worker.h"
#include "storage/chunk/pack.h"
#include "storage/index/rows.h"
#include "storage/object/store.h"

/* Bodies up to this ride in the log and own their extent: a chunk row each would cost more than
 * equal small bodies could save, and random keys are what LMDB is slowest at. */
#define SMALL_BODY_MAX ((size_t)64 << 10)

/* ---- budget.c: memory for buffered bodies ---- */
struct budget_waiter {
    void (*wake)(void *user);
    void *user;
    struct budget_waiter *next;
};
struct budget {
    pthread_mutex_t lock;
    size_t used_bytes, max_bytes;
    struct budget_waiter *first, **last;
};
void budget_init(struct budget *b, size_t max_bytes);
void budget_release(struct budget *b);
/* KIST_E_BUSY: wake(user) follows. KIST_E_NOMEM. */
enum kist_err budget_take(struct budget *b, size_t bytes, void (*wake)(void *),
                          void *user) MUST_CHECK;
/* For what only makes things faster: while no more than a share-th of the budget is used, so that
 * the rest is left to those who must wait for it. */
bool budget_try(struct budget *b, size_t bytes, size_t share) MUST_CHECK;
void budget_give(struct budget *b, size_t bytes);

/* ---- hasher.c: MD5 and SHA-256 of several bodies at once, on a thread of its own ---- */
struct hasher;
/* threaded: false hashes at once, where it is asked to. */
enum kist_err hasher_open(bool threaded, struct hasher **out) MUST_CHECK;
/* Does what is queued; after it nothing may be submitted. NULL is allowed. */
void hasher_stop(struct hasher *h);
/* All lines are closed. NULL is allowed. */
void hasher_free(struct hasher *h);
/* A body's bytes, job by job. A job's length is a multiple of 64 unless it ends the body. */
struct hash_job {
    const uint8_t *data;
    size_t len;
    bool of_chunk;       /* SHA-256, too: only where sha256_is_here() */
    uint8_t *chunk_hash; /* not NULL: the chunk ends here, and its SHA-256 goes there */
    bool ends;           /* the MD5 is whole after it */
    void (*done)(struct hash_job *job); /* on the hasher's thread */
    struct hash_job *next;
};
struct hash_line {
    struct hasher *hasher;
    struct md5 md5;
    struct sha256 chunk;
    uint64_t bytes, chunk_bytes; /* hashed so far */
    const uint8_t *at;
    size_t left_blocks;
    /* the hasher's lock */
    struct hash_job *first, **last;
    bool queued, urgent, urgent_to_end;
    struct hash_line *next;
};
void hash_line_open(struct hasher *h, struct hash_line *l);
void hash_line_close(struct hash_line *l); /* without jobs */
void hash_submit(struct hash_line *l, struct hash_job *j);
/* Somebody waits: the job that is next in the queue goes without company; to_end: all do, those
 * to come as well. */
void hash_hurry(struct hash_line *l, bool to_end);

/* ---- aside.c: hashes and writes a large body beside its event loop ---- */
struct aside;
/* stores: what comes goes to a pack, too. NULL when memory is short. */
struct aside *aside_open(struct store *s, uint64_t length, bool stores);
/* At any time; closed(user) follows, or was called. */
void aside_close(struct aside *a, void (*closed)(void *user), void *user);
/* Makes room for so many bytes, at most PACK_BLOCK_BYTES. False: wake(user) follows, then ask
 * again. */
bool aside_ready(struct aside *a, size_t bytes, void (*wake)(void *user), void *user) MUST_CHECK;
/* Only what aside_ready() has made room for; where it stores, at most to the block's end. */
enum kist_err aside_write(struct aside *a, struct bytes piece) MUST_CHECK;
/* The block is whole, or the body's last: where it goes. */
struct aside_place {
    uint32_t pack;
    uint64_t offset;
    bool hash;           /* its chunk's SHA-256 is wanted */
    uint8_t *chunk_hash; /* see struct hash_job */
};
void aside_submit(struct aside *a, const struct aside_place *place);
/* After the last byte: true when all is hashed and written, false as above. */
bool aside_end(struct aside *a, void (*wake)(void *user), void *user) MUST_CHECK;
/* What went wrong so far. */
enum kist_err aside_error(struct aside *a) MUST_CHECK;
bool aside_stores(const struct aside *a);
void aside_md5(const struct aside *a, uint8_t out[16]);

/* ---- pins.c: data that readers still want ---- */
#define PIN_SHARDS 64
struct pin;
struct pins {
    /* Readers look a row up and pin its data inside a read lock; the reclaimer passes through
     * the write lock before it asks, so that whoever saw the row has pinned by then. */
    pthread_rwlock_t gate;
    struct pin_shard {
        pthread_mutex_t lock;
        struct pin *first;
    } shards[PIN_SHARDS];
};
void pins_init(struct pins *p);
void pins_release(struct pins *p);
/* What identifies data, whichever row refers to it; 0 for none. Collisions only delay. */
uint64_t pin_identity(const Kist__Data *data);
enum kist_err pin_take(struct pins *p, uint64_t identity) MUST_CHECK;
/* True when the reclaimer has asked for it meanwhile and can now have it. */
bool pin_drop(struct pins *p, uint64_t identity);
bool pin_held(struct pins *p, uint64_t identity);

/* ---- store ---- */
struct upkeep {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the thread: something to do, or stop; monotonic clock */
    pthread_cond_t room; /* the log's thread: the overlay was flushed */
    pthread_t thread;
    bool started, stop;
    bool dirty;  /* the overlay holds something */
    bool urgent; /* it is half full: do not wait for the second */
    /* the reclaimer's: garbage since it last began, about */
    size_t garbage_rows;
    uint64_t garbage_bytes, garbage_bytes_max; /* more is not waited for */
    enum kist_err flush_error;                 /* of the last checkpoint */
};

struct store {
    struct store_config config;
    struct env *env;
    int lock_fd;
    char *dir, *log_dir, *index_dir, *pack_dir;
    struct pack_store *packs;
    struct kv *kv;
    struct apply *apply;
    struct log *log;
    struct worker_pool *workers;
    struct hasher *hasher;
    struct budget budget;
    struct pins pins;
    struct upkeep checkpoint;
    struct upkeep reclaim;
    struct upkeep scrub;
    struct upkeep expire;
    _Atomic bool stopping;
    _Atomic uint64_t free_bytes;    /* as last measured, less what was taken since */
    _Atomic uint64_t filling_bytes; /* of chunks that are being filled */
    _Atomic uint64_t reads_damaged, scrubbed_bytes, reclaimed_bytes;
    struct {
        uint32_t pack;
        uint64_t end;
    } resumed[PACK_LANES]; /* where the lanes stood at open */
    struct {
        pthread_mutex_t lock;
        void (*wake)(void *ctx, uint64_t queue);
        void *ctx;
    } watcher;
    uint32_t held_pack; /* log's thread: held between place and batch end; 0 none */
    uint64_t held_offset;
};

/* upkeep.c: a background thread's life. init before start; stop joins; release last. */
void upkeep_init(struct upkeep *u);
enum kist_err upkeep_start(struct upkeep *u, const char *name, void *(*run)(void *),
                           struct store *s) MUST_CHECK;
void upkeep_stop(struct upkeep *u);
void upkeep_release(struct upkeep *u);

/* Unless new data must be refused: KIST_E_NOSPC. */
enum kist_err store_admit(struct store *s, uint64_t bytes) MUST_CHECK;
/* The same, and counts them as taken until the next measurement: what is about to be written.
 * Bodies were admitted when they began; since then others have grown, and of some nobody knew the
 * length. */
enum kist_err store_take_space(struct store *s, uint64_t bytes) MUST_CHECK;
void store_measure_free(struct store *s);

/* checkpoint.c */
enum kist_err checkpoint_start(struct store *s) MUST_CHECK;
void checkpoint_last(struct store *s);
/* From the log's thread after each batch: tells the thread, and holds writers back at the
 * overlay's ceiling. */
void checkpoint_note(struct store *s);
/* From there before each batch: at the ceiling nothing is taken while checkpoints fail, which is
 * what they fail with. */
enum kist_err checkpoint_admit(struct store *s) MUST_CHECK;

/* reclaim.c */
enum kist_err reclaim_start(struct store *s) MUST_CHECK;
/* A command made garbage of so many bytes, or what had to wait for readers need not any more. */
void reclaim_note(struct store *s, uint64_t bytes);
/* sweep.c: packs after a crash */
enum kist_err sweep_resume_lanes(struct store *s) MUST_CHECK;
enum kist_err sweep_packs(struct store *s) MUST_CHECK;
/* Punches [start, end) widened to whole pages where the neighbours are dead, too. */
enum kist_err sweep_punch(struct store *s, uint32_t pack, uint64_t start,
                          uint64_t end) MUST_CHECK;
/* Removes the pack file when nothing lives in it; offset: where to look first. */
enum kist_err sweep_remove_empty(struct store *s, uint32_t pack, uint64_t offset) MUST_CHECK;

/* expire.c: lifecycle */
enum kist_err expire_start(struct store *s) MUST_CHECK;
void expire_note(struct store *s);

/* events.c */
void events_note(struct store *s, uint64_t queue);

/* scrub.c */
enum kist_err scrub_start(struct store *s) MUST_CHECK;

/* lookup.c */
enum kist_err lookup(struct kv_read *read, const struct row_key *key,
                     const ProtobufCMessageDescriptor *type, struct arena *arena,
                     void *out) MUST_CHECK;
enum kist_err lookup_bucket(struct kv_read *read, struct bytes name, struct arena *arena,
                            Kist__Bucket **out) MUST_CHECK;
enum kist_err lookup_object(struct kv_read *read, const struct object_id *id, struct arena *arena,
                            Kist__Object **out) MUST_CHECK;

/* writer.c: for put.c */
struct writer_chunk {
    uint8_t hash[32];
    uint32_t length, pack;
    uint64_t offset;
    uint32_t crcs[CHUNK_BYTES / PACK_BLOCK_BYTES];
};
/* After the last byte: ends the last block and chunk. */
enum kist_err writer_end(struct object_writer *w) MUST_CHECK;
void writer_etag(struct object_writer *w, uint8_t out[16]);
struct bytes writer_small_body(const struct object_writer *w);
size_t writer_chunks(const struct object_writer *w, const struct writer_chunk **out);
enum kist_err writer_sync(struct object_writer *w) MUST_CHECK;
/* Frees the writer; with keep, its extents belong to the index now. */
void writer_free(struct object_writer *w, bool keep);

/* verify.c: reads blocks of an extent and checks them */
/* Reads the block that holds `at` (an offset inside the extent) into buf, which has room for
 * PACK_BLOCK_BYTES, and verifies it. KIST_E_BUSY as pack_read. */
enum kist_err extent_read_block(struct store *s, const Kist__Extent *extent, uint32_t at,
                                uint8_t *buf, bool cached_only, uint32_t *block_bytes) MUST_CHECK;

#endif
