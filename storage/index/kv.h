/* An ordered map of bytes to bytes: LMDB behind an in-memory overlay.
 *
 *   writer (the log's thread) -> active overlay --freeze--> frozen overlay --flush--> LMDB
 *   readers                   -> merge of active, frozen and LMDB, newest first
 *
 * A put is visible to the next read at once; it reaches LMDB in a large transaction later. Keys
 * are up to KV_KEY_MAX bytes in memcmp order; LMDB's limit of 511 bytes is hidden below (a trie
 * of 480-byte segments, see trie.h), and so is the existence of two places.
 *
 * One writer at a time (kv_write_lock), any number of readers, none of which ever waits for
 * the writer. A reader sees the commands that were in when it began, each of them whole, and
 * nothing of what comes later.
 */
#ifndef KIST_STORAGE_INDEX_KV_H
#define KIST_STORAGE_INDEX_KV_H

#include "storage/base/bytes.h"

#define KV_KEY_MAX 1100

struct kv;

struct kv_config {
    const char *dir;      /* exists; LMDB's data.mdb is made in it */
    size_t map_bytes;     /* default 1 TiB, sparse; less where it does not fit */
    unsigned readers_max; /* LMDB reader slots, default 512 */
    bool sync;
    bool read_only; /* fsck, dump */
};
#define KV_CONFIG_DEFAULT                                                                        \
    ((struct kv_config){ .map_bytes = (size_t)1 << 40, .readers_max = 512, .sync = true })

/* Clears stale readers. */
enum kist_err kv_open(const struct kv_config *config, struct kv **out) MUST_CHECK;
void kv_close(struct kv *kv); /* does not flush; NULL is allowed */

/* The command index that LMDB durably holds. */
uint64_t kv_durable_index(const struct kv *kv);

/* --- writer: between kv_write_lock() and kv_write_unlock() --- */
void kv_write_lock(struct kv *kv);
void kv_write_unlock(struct kv *kv);
/* Copies key (1 to KV_KEY_MAX bytes, not beginning with 00 or FF: those are the map's own) and
 * value. Out of memory aborts the process: the log holds the command, and the next start
 * applies it. */
void kv_put(struct kv *kv, struct bytes key, struct bytes value);
void kv_delete(struct kv *kv, struct bytes key);
/* Takes back all puts and deletes since the mark, which is of the same command. */
size_t kv_mark(struct kv *kv);
void kv_undo(struct kv *kv, size_t mark);
/* All rows of every command up to index are in: readers that begin from now on see them. */
void kv_set_index(struct kv *kv, uint64_t index);
/* Bytes in the active overlay. */
size_t kv_active_bytes(const struct kv *kv);

/* --- checkpoint: one thread --- */
/* Makes the active overlay the frozen one; takes the write lock itself. Returns the command
 * index it reaches; 0 when there is nothing to flush. There must be no frozen one. */
uint64_t kv_freeze(struct kv *kv);
/* Writes the frozen overlay and its index to LMDB in one durable transaction and drops it. On
 * failure (KIST_E_NOSPC, KIST_E_IO) the frozen overlay stays, and may be flushed again. */
enum kist_err kv_flush(struct kv *kv) MUST_CHECK;
bool kv_has_frozen(struct kv *kv);

/* --- readers --- */
/* Pins the overlays and an LMDB snapshot. Keep it short: never across network I/O. LMDB
 * transactions come from a pool; readers_max of them at once, then KIST_E_BUSY. */
struct kv_read {
    struct kv *kv;
    void *view;
    void *txn;
    uint64_t upto; /* the last command that it sees */
};
enum kist_err kv_read_begin(struct kv *kv, struct kv_read *read) MUST_CHECK;
void kv_read_end(struct kv_read *read);
/* Writer: lets it see what was put since kv_set_index(), too. */
void kv_read_own(struct kv_read *read);

/* The value lives until kv_read_end. KIST_E_NOT_FOUND. */
enum kist_err kv_get(struct kv_read *read, struct bytes key, struct bytes *value) MUST_CHECK;

/* A forward cursor. Key and value live until the next call on the cursor or kv_read_end. */
struct kv_cursor;
enum kist_err kv_cursor_open(struct kv_read *read, struct kv_cursor **out) MUST_CHECK;
void kv_cursor_close(struct kv_cursor *cursor);
/* To the first row with key >= `key`; an empty key finds the first of all. KIST_E_NOT_FOUND at
 * the end. */
enum kist_err kv_cursor_seek(struct kv_cursor *cursor, struct bytes key, struct bytes *found,
                             struct bytes *value) MUST_CHECK;
enum kist_err kv_cursor_next(struct kv_cursor *cursor, struct bytes *found,
                             struct bytes *value) MUST_CHECK;
/* The last row with key < `key` (not counting rows below `floor`), in a table whose keys are
 * short (trie.h); KIST_E_NOT_FOUND. Value lives until kv_read_end; the key is copied into
 * found_buf (KV_KEY_MAX bytes). */
enum kist_err kv_find_before(struct kv_read *read, struct bytes key, struct bytes floor,
                             uint8_t *found_buf, struct bytes *found,
                             struct bytes *value) MUST_CHECK;

struct kv_stats {
    uint64_t active_bytes, frozen_bytes, flushes, flushed_rows, map_used_bytes;
};
void kv_stats(struct kv *kv, struct kv_stats *out);

#endif
