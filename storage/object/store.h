/* The object layer: what the S3 operations call. It knows buckets, keys, objects, uploads and
 * parts; it knows neither HTTP nor XML.
 *
 * Reads are synchronous and touch memory-mapped pages and the page cache only; object bytes
 * that are not cached are announced by KIST_E_BUSY and fetched by a worker. Changes are
 * asynchronous: they fill a `struct store_op` and call its done() from another thread when the
 * change is durable and visible, or refused. Strings in rows (Kist__Object and so on) are those
 * of storage/schema/kist.proto.
 */
#ifndef KIST_STORAGE_OBJECT_STORE_H
#define KIST_STORAGE_OBJECT_STORE_H

#include "storage/base/digest.h"
#include "storage/base/env.h"
#include "storage/base/seal.h"
#include "storage/index/apply.h"
#include "storage/log/log.h"
#include "storage/schema/schema.h"

struct store;

struct store_config {
    const char *dir;             /* made when missing, mode 0700 */
    struct env *env;             /* NULL: env_real() */
    bool sync;                   /* false: for measurement only */
    bool manual;                 /* no threads: store_step() (simulator) */
    size_t log_segment_bytes;    /* 0: default */
    size_t memory_bytes;         /* ceiling for buffered bodies, default 64 MiB */
    uint64_t reserve_bytes;      /* refuse new data when the disk has less free */
    int64_t lifecycle_offset_ms; /* tests: lifecycle acts as if it were so much later */
    unsigned scrub_days;         /* a full scrub takes this long; 0: no background scrub */
};
#define STORE_CONFIG_DEFAULT                                                                     \
    ((struct store_config){                                                                      \
        .sync = true, .memory_bytes = 64U << 20, .reserve_bytes = 64U << 20, .scrub_days = 30 })

/* KIST_E_LOCKED, KIST_E_NEWER_FORMAT, KIST_E_CORRUPT, KIST_E_NOSPC, KIST_E_IO. */
enum kist_err store_open(const struct store_config *config, struct store **out) MUST_CHECK;
/* Commits what is queued, flushes the index, and closes. NULL is allowed. */
void store_close(struct store *s);
struct env *store_env(struct store *s);

/* ---- changes ---- */

struct store_op {
    /* From a storage thread, after which the store no longer touches the op. */
    void (*done)(struct store_op *op);
    void *user;
    enum kist_err err; /* set before done() */
    struct apply_result result;
    /* the store's: */
    struct store *store;
    struct log_request request;
    struct buf command;
    struct object_writer *writer;
};
/* Zeroes and sets; must come first, and store_op_release() after done(). */
void store_op_init(struct store_op *op, void (*done)(struct store_op *op), void *user);
void store_op_release(struct store_op *op);

/* Encodes the command into the op and submits it. The command may live on the stack. Bucket
 * commands, DeleteObjects, CopyObject, RenameObject, tags, CreateUpload, CompleteUpload,
 * AbortUpload. */
void store_submit(struct store *s, struct store_op *op, const Kist__Command *command);

/* Where an object's bytes go while they arrive. One per upload; not thread-safe. */
struct object_writer;
/* length: exact, or UINT64_MAX when unknown. digests: DIGEST_BIT()s to compute over the body
 * (MD5 is always there). KIST_E_BUSY: memory is exhausted; wake(user) will be called, once,
 * when trying again makes sense. KIST_E_NOSPC. */
enum kist_err object_writer_open(struct store *s, uint64_t length, unsigned digests,
                                 void (*wake)(void *user), void *user,
                                 struct object_writer **out) MUST_CHECK;
/* Has the bytes encrypted under this key, which nothing else was or will be encrypted under.
 * Before the first write. hide_etag: the ETag is not the MD5. */
enum kist_err object_writer_seal(struct object_writer *w, const uint8_t key[SEAL_KEY_BYTES],
                                 bool hide_etag) MUST_CHECK;
/* Has a large body hashed and written beside the caller where that gains something. After
 * object_writer_seal(); from then on each write needs object_writer_ready() first, and the last
 * one object_writer_end(). */
void object_writer_go_aside(struct object_writer *w);
/* True: a write of so many bytes (at most 128 KiB) can be taken now. False: wake(user) follows,
 * once, then ask again. */
bool object_writer_ready(struct object_writer *w, size_t bytes, void (*wake)(void *user),
                         void *user) MUST_CHECK;
/* True: the digests are whole. False: as above. */
bool object_writer_end(struct object_writer *w, void (*wake)(void *user), void *user) MUST_CHECK;
/* Takes all of the piece, or fails. */
enum kist_err object_writer_write(struct object_writer *w, struct bytes piece) MUST_CHECK;
uint64_t object_writer_size(const struct object_writer *w);
/* After the last write: a digest of the whole body; each kind any number of times. */
void object_writer_digest(struct object_writer *w, enum digest_kind kind, uint8_t *out);
/* Drops the bytes. Not after store_put*(), which takes the writer over. NULL is allowed. */
void object_writer_abort(struct object_writer *w);

/* Makes the writer's bytes durable and commits the command (PutObject, PutPart or AppendObject)
 * that refers to them: data, chunks, size, etag and body_crc of its object or part are filled in
 * here. The writer is the op's from now on, freed before done(). */
void store_put(struct store *s, struct store_op *op, Kist__Command *command,
               struct object_writer *w);

/* What the server itself writes: a body in memory, as an object. Blocks until it is durable. */
struct whole_object {
    const char *bucket, *key;
    struct bytes body;
    Kist__Object *object;    /* headers, ACL, seal; mtime_ms 0: now. NULL: none of them */
    const uint8_t *seal_key; /* SEAL_KEY_BYTES that object->seal is of; NULL: plain */
};
enum kist_err store_put_whole(struct store *s, const struct whole_object *o) MUST_CHECK;

/* ---- reads ---- */

/* Rows are unpacked into the arena. */
enum kist_err store_bucket(struct store *s, struct bytes name, struct arena *arena,
                           Kist__Bucket **out) MUST_CHECK;
enum kist_err store_bucket_stats(struct store *s, uint64_t bucket_id, struct arena *arena,
                                 Kist__BucketStats **out) MUST_CHECK;
/* Requests to a bucket, and their transfer. */
enum kist_err store_bucket_usage(struct store *s, uint64_t bucket_id, struct arena *arena,
                                 Kist__Usage **out) MUST_CHECK;
/* The same by who asked: in the order of accounts (12 digits; empty: nobody who was known) and
 * principals ("root", "user/NAME", "role/NAME", "anonymous"), behind (after, after_who). */
struct usage_row {
    struct bytes account, who;
    uint64_t bucket_id; /* of a day's row: 0 for none */
    uint32_t day;       /* since 1970 */
    const Kist__Usage *usage;
};
enum kist_err store_list_usage(struct store *s, struct bytes after, struct bytes after_who,
                               bool (*each)(void *ctx, const struct usage_row *row),
                               void *ctx) MUST_CHECK;
/* Invocations of functions, and what they would be billed: by account and name (row->who), behind
 * (after, after_name). */
enum kist_err store_list_function_usage(struct store *s, struct bytes after,
                                        struct bytes after_name,
                                        bool (*each)(void *ctx, const struct usage_row *row),
                                        void *ctx) MUST_CHECK;
/* By day, account, principal (or "function/NAME") and bucket, from the first day on. */
enum kist_err store_list_usage_days(struct store *s, uint32_t first_day,
                                    bool (*each)(void *ctx, const struct usage_row *row),
                                    void *ctx) MUST_CHECK;
/* Buckets in name order with name > after and this prefix; each() returns false to stop. The
 * server's own, whose names begin with a dot, are left out. */
enum kist_err store_list_buckets(struct store *s, struct bytes prefix, struct bytes after,
                                 bool (*each)(void *ctx, const Kist__Bucket *bucket),
                                 void *ctx) MUST_CHECK;

/* A PutBucket* document as it came; *out has ptr NULL when the bucket has none. */
enum kist_err store_bucket_config(struct store *s, const Kist__Bucket *bucket,
                                  enum bucket_config kind, struct arena *arena,
                                  struct bytes *out) MUST_CHECK;

/* By id, name or canonical id, or the first one. KIST_E_NOT_FOUND. */
enum kist_err store_account(struct store *s, struct bytes id, struct arena *arena,
                            Kist__Account **out) MUST_CHECK;
enum kist_err store_account_named(struct store *s, struct bytes name, struct arena *arena,
                                  Kist__Account **out) MUST_CHECK;
enum kist_err store_account_canonical(struct store *s, struct bytes canonical,
                                      struct arena *arena, Kist__Account **out) MUST_CHECK;
enum kist_err store_account_first(struct store *s, struct arena *arena,
                                  Kist__Account **out) MUST_CHECK;
/* In the order of their ids. */
enum kist_err store_list_accounts(struct store *s,
                                  bool (*each)(void *ctx, const Kist__Account *account),
                                  void *ctx) MUST_CHECK;
/* As store_list_buckets(), of one account. An owner's id that no account has is the first's. */
enum kist_err store_list_own_buckets(struct store *s, struct bytes canonical, struct bytes prefix,
                                     struct bytes after,
                                     bool (*each)(void *ctx, const Kist__Bucket *bucket),
                                     void *ctx) MUST_CHECK;
/* Submits and waits, for callers without a loop: start-up and tools. */
enum kist_err store_commit(struct store *s, const Kist__Command *command) MUST_CHECK;

/* A user, group, role, policy or access key. KIST_E_NOT_FOUND. account: 12 digits, or empty for
 * the first account; access keys are known without. */
enum kist_err store_iam(struct store *s, struct bytes account, enum iam_kind kind,
                        struct bytes name, struct arena *arena, Kist__IamEntity **out) MUST_CHECK;
/* When any of them changed last: what was derived from them is good as long as this stays. */
enum kist_err store_iam_stamp(struct store *s, uint64_t *out) MUST_CHECK;
/* In name order, behind `after`; each() returns false to stop. Entities live until it returns. */
enum kist_err store_list_iam(struct store *s, struct bytes account, enum iam_kind kind,
                             struct bytes after,
                             bool (*each)(void *ctx, const Kist__IamEntity *entity),
                             void *ctx) MUST_CHECK;

/* A record of an account (12 digits, or empty for the first). KIST_E_NOT_FOUND. */
enum kist_err store_record(struct store *s, enum record_kind kind, struct bytes account,
                           struct bytes name, struct arena *arena, Kist__Record **out) MUST_CHECK;
/* In name order, with that prefix and behind `after` (empty: from the start); each() returns
 * false to stop. Records live until it returns. */
enum kist_err store_list_records(struct store *s, enum record_kind kind, struct bytes account,
                                 struct bytes prefix, struct bytes after,
                                 bool (*each)(void *ctx, struct bytes name,
                                              const Kist__Record *record),
                                 void *ctx) MUST_CHECK;

/* ---- events: what storage/index/apply_event.c wrote ---- */

/* One that waits. Its row names it in ChangeEvents. */
struct event_item {
    struct bytes row;
    int64_t due_ms; /* 0: from the start; ROW_DUE_PARKED: parked */
    const Kist__Event *event;
    struct bytes packed; /* the event's bytes, for who keeps it */
    char id[37];         /* a UUID, the same at every attempt */
};
/* The event of a row. KIST_E_NOT_FOUND: it went, or moved. The item's strings are in the arena.
 */
enum kist_err store_event(struct store *s, struct bytes row, struct arena *arena,
                          struct event_item *out) MUST_CHECK;
/* Of one target, by due time, then in the order of the changes: those behind the row `after`
 * (empty: from the start) that are due by until_ms. each() returns false to stop; items live
 * until it returns. */
enum kist_err store_list_events(struct store *s, struct bytes target, struct bytes after,
                                int64_t until_ms,
                                bool (*each)(void *ctx, const struct event_item *item),
                                void *ctx) MUST_CHECK;
/* The same, of those due behind from_ms alone: retries, parked ones. */
enum kist_err store_list_later_events(struct store *s, struct bytes target, int64_t from_ms,
                                      int64_t until_ms,
                                      bool (*each)(void *ctx, const struct event_item *item),
                                      void *ctx) MUST_CHECK;
/* All targets for which there is anything, or which are paused. */
enum kist_err store_list_queues(struct store *s,
                                bool (*each)(void *ctx, const Kist__EventQueue *queue),
                                void *ctx) MUST_CHECK;
/* KIST_E_NOT_FOUND: nothing is there for that target. */
enum kist_err store_queue(struct store *s, struct bytes target, struct arena *arena,
                          Kist__EventQueue **out) MUST_CHECK;
/* wake(ctx, queue) is called from storage's threads after each change that made events, which can
 * be read by then; it must not block. queue: row_queue_id() of their target; 0: there are
 * several, or a queue goes on. One watcher; NULL ends it, after which wake() is not running any
 * more. */
void store_watch_events(struct store *s, void (*wake)(void *ctx, uint64_t queue), void *ctx);
/* The spans of a trace (32 hex digits), oldest first. */
enum kist_err store_list_spans(struct store *s, struct bytes trace,
                               bool (*each)(void *ctx, const Kist__Span *span),
                               void *ctx) MUST_CHECK;

/* Which object: of a key's versions VERSION_CURRENT, VERSION_NULL, or an id. */
struct object_id {
    struct bytes bucket, key;
    uint64_t version;
};
/* KIST_E_NO_BUCKET, KIST_E_NO_KEY, KIST_E_NO_VERSION; KIST_E_DELETE_MARKER, and then *out is the
 * marker all the same. */
enum kist_err store_head(struct store *s, const struct object_id *id, struct arena *arena,
                         Kist__Object **out) MUST_CHECK;

/* An open object: its bytes stay readable until closed, whatever happens to the key. The arena
 * must outlive it. */
struct object_reader;
/* Errors of store_head(); *marker (may be NULL) is the one that was met. */
enum kist_err object_reader_open(struct store *s, const struct object_id *id, struct arena *arena,
                                 struct object_reader **out, Kist__Object **marker) MUST_CHECK;
void object_reader_close(struct object_reader *r);
const Kist__Object *object_reader_object(const struct object_reader *r);
/* Of an object with a seal: the key that its data key is wrapped under, before the first read.
 * KIST_E_DENIED: another key. */
enum kist_err object_reader_unseal(struct object_reader *r,
                                   const uint8_t wrapping_key[SEAL_KEY_BYTES]) MUST_CHECK;
/* Reads up to max verified bytes at pos (short at block and chunk ends). With may_block false,
 * KIST_E_BUSY means the bytes are not in the page cache: call object_reader_fetch().
 * KIST_E_CORRUPT: damage; *got is untouched, and what is in buf then is not to be used. */
enum kist_err object_reader_read(struct object_reader *r, uint64_t pos, uint8_t *buf, size_t max,
                                 bool may_block, size_t *got) MUST_CHECK;
/* Brings the block at pos into the page cache on a worker, then calls wake(user). */
void object_reader_fetch(struct object_reader *r, uint64_t pos, void (*wake)(void *user),
                         void *user);
/* The part with that number (1 for an object that was not multipart): its range. With number 0,
 * *part is the first part with a number above *after. KIST_E_INVALID_PART when there is none. */
struct part_info {
    uint32_t number;
    uint64_t start;
    uint64_t size;
    const Kist__Checksum *checksum; /* NULL: none */
};
enum kist_err object_reader_part(struct object_reader *r, uint32_t number,
                                 struct part_info *part) MUST_CHECK;
/* The first part with a number above `after`. */
enum kist_err object_reader_next_part(struct object_reader *r, uint32_t after,
                                      struct part_info *part) MUST_CHECK;

/* One page of a listing in key order. */
struct list_query {
    struct bytes prefix;
    struct bytes delimiter; /* empty: none */
    struct bytes after;     /* keys (and common prefixes) greater than this; ptr NULL: from the
                               start. When it ends a common prefix, all below it is skipped. */
    size_t max;
};
struct list_page {
    /* Either an object or (object NULL) a common prefix. Both live until each() returns. */
    bool (*each)(void *ctx, struct bytes key, const Kist__Object *object);
    void *ctx;
    /* out: */
    bool truncated;
    struct bytes last; /* last key or common prefix delivered, in the arena */
};
enum kist_err store_list(struct store *s, struct bytes bucket, const struct list_query *query,
                         struct arena *arena, struct list_page *page) MUST_CHECK;

/* All versions: by key, then newest first; delete markers are versions. Continues behind
 * (after_key, after_version), where VERSION_CURRENT means behind all of after_key. With a
 * delimiter, common prefixes are delivered with object NULL. */
struct version_query {
    struct bytes prefix;
    struct bytes delimiter;
    struct bytes after_key;
    uint64_t after_version;
    size_t max;
};
struct version_page {
    bool (*each)(void *ctx, struct bytes key, const Kist__Object *object, bool latest);
    void *ctx;
    bool truncated;
    struct bytes last_key;
    uint64_t last_version; /* as VERSION_*; VERSION_CURRENT behind a common prefix */
};
enum kist_err store_list_versions(struct store *s, struct bytes bucket,
                                  const struct version_query *query, struct arena *arena,
                                  struct version_page *page) MUST_CHECK;

/* Uploads in progress, by key, then age. After (after_key, after_id). With a delimiter, common
 * prefixes are delivered with upload NULL. */
struct upload_query {
    struct bytes prefix;
    struct bytes delimiter;
    struct bytes after_key;
    uint64_t after_id; /* UINT64_MAX: after every upload of after_key */
    size_t max;
};
struct upload_page {
    bool (*each)(void *ctx, struct bytes key, const Kist__Upload *upload);
    void *ctx;
    bool truncated;
    struct bytes last_key;
    uint64_t last_id;
};
enum kist_err store_list_uploads(struct store *s, struct bytes bucket,
                                 const struct upload_query *query, struct arena *arena,
                                 struct upload_page *page) MUST_CHECK;
/* KIST_E_NO_UPLOAD unless id and nonce (8 bytes) match. */
enum kist_err store_upload(struct store *s, struct bytes bucket, struct bytes key, uint64_t id,
                           struct bytes nonce, struct arena *arena,
                           Kist__Upload **out) MUST_CHECK;
/* Parts with number > after, at most max. */
enum kist_err store_list_parts(struct store *s, uint64_t upload_id, uint32_t after, size_t max,
                               bool (*each)(void *ctx, uint32_t number, const Kist__Part *part),
                               void *ctx, bool *truncated) MUST_CHECK;

/* Copies a range of an open object's bytes into a writer on a worker thread (reading, hashing
 * and writing block), then calls done(user, err). Used by UploadPartCopy, and by CopyObject
 * when the bytes cannot be shared. */
void store_copy_bytes(struct store *s, struct object_reader *from, uint64_t start,
                      uint64_t length, struct object_writer *to,
                      void (*done)(void *user, enum kist_err err), void *user);
/* True when CopyObject (the command) can share this object's data; otherwise its bytes are
 * copied: store_copy_bytes(), then store_put() of a PutObject. */
bool store_can_share(const Kist__Object *object);

/* Runs a job on the store's worker threads: for callers with blocking work of their own. */
struct job;
void store_run(struct store *s, struct job *job);

/* ---- upkeep ---- */

struct store_stats {
    struct log_stats log;
    struct kv_stats kv;
    uint64_t buckets, packs, pack_bytes, free_bytes, memory_used_bytes;
    uint64_t reads_damaged, scrubbed_bytes, reclaimed_bytes;
    bool accepting_writes;
};
void store_stats(struct store *s, struct store_stats *out);
/* Reads every live extent and checks it against its hash. damaged counts extents; chunks found
 * bad are marked, so that the next upload of equal content heals them. progress() returns false
 * to stop early; it is called for every extent. */
struct scrub_report {
    uint64_t extents, bytes, damaged, bytes_total;
};
enum kist_err store_scrub(struct store *s,
                          bool (*progress)(void *ctx, const struct scrub_report *report),
                          void *ctx, struct scrub_report *out) MUST_CHECK;

/* Checks every cross-reference of the index and what the packs hold: objects and parts against
 * chunks and extents, reference counts, statistics, queues against their events, space that
 * nothing refers to. Each finding is told to report(). For a store that nobody uses. */
struct fsck_report {
    uint64_t objects, versions, uploads, parts, chunks, extents, garbage, freed, events;
    uint64_t live_bytes, pack_bytes, problems;
};
enum kist_err store_fsck(struct store *s, void (*report)(void *ctx, const char *finding),
                         void *ctx, struct fsck_report *out) MUST_CHECK;

/* The rows of the index, then the commands in the log, each as one line of JSON without its end;
 * secrets are hidden. Of a directory that nobody has open (KIST_E_LOCKED), which it leaves as it
 * is. each() returns false to stop. KIST_E_NOT_FOUND: no data directory. */
enum kist_err store_dump(const char *dir, bool (*each)(void *ctx, struct bytes line),
                         void *ctx) MUST_CHECK;

/* Manual mode: one step of the log, and (when asked) a checkpoint and a reclaim round. */
bool store_step(struct store *s);
enum kist_err store_checkpoint(struct store *s) MUST_CHECK;
enum kist_err store_reclaim(struct store *s) MUST_CHECK;
enum kist_err store_expire(struct store *s) MUST_CHECK;

#endif
