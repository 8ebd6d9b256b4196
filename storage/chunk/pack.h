/* Pack files: where object bytes are.
 *
 * A pack is an append-only file of up to PACK_BYTES_MAX bytes that holds many extents: small
 * objects' bodies (lane 0, written by the commit log) and the chunks of large ones (the other
 * lanes, written as they stream in). There is no file per object or chunk: an extent needs no
 * rename, no directory sync and no name before its hash is known, and the uploads of one
 * moment share their syncs.
 *
 *   dir/00000001.pack ...   the bytes
 *   dir/lanes               text: the packs that may hold reserved bytes, and the next number
 *
 * Space that was ever referred to is not used again: reservations only append, dead extents are
 * punched out, and a pack without live extents is unlinked. What a crash leaves reserved but
 * unreferenced lies in a pack that the lanes file names: one that a lane appends to, or one
 * that an upload in flight held when a lane moved on. The sweep (storage/object) looks there,
 * and nowhere else.
 *
 * Thread-safe. Functions block on disk I/O except where they say otherwise.
 */
#ifndef KIST_STORAGE_CHUNK_PACK_H
#define KIST_STORAGE_CHUNK_PACK_H

#include "storage/base/bytes.h"

/* The unit of verification: one CRC-32C each. */
#define PACK_BLOCK_BYTES ((uint32_t)256 << 10)
/* The unit of content addressing. Measured: hashing and syncing gain nothing above 4 MiB. */
#define CHUNK_BYTES ((uint32_t)4 << 20)
/* Written at once. */
#define PACK_BLOCKS_MAX 4U
#define PACK_BYTES_MAX ((uint64_t)512 << 20)
/* Reservations begin at multiples of this, so that punching one never touches another. */
#define PACK_ALIGN ((uint64_t)4096)

#define PACK_LANE_LOG 0
#define PACK_LANES 5

struct pack_store;

struct pack_config {
    const char *dir; /* exists */
    bool sync;
};
enum kist_err pack_store_open(const struct pack_config *config,
                              struct pack_store **out) MUST_CHECK;
void pack_store_close(struct pack_store *s);

/* The pack that a lane appended to when the store was last open; 0: none. */
uint32_t pack_lane_pack(struct pack_store *s, unsigned lane);
/* Goes on appending to it from `end`: nothing at or above is referenced, and is cut off. Before
 * any reserve. */
enum kist_err pack_lane_resume(struct pack_store *s, unsigned lane, uint64_t end) MUST_CHECK;
/* Where the lane will append next: everything below may be swept. */
uint64_t pack_lane_end(struct pack_store *s, unsigned lane);

/* The packs that may hold bytes which nothing refers to: named by the lanes file, or written to
 * by pack_store_body before pack_replay_done(). Count, then the i-th. */
void pack_replay_done(struct pack_store *s);
size_t pack_sweep_count(struct pack_store *s);
uint32_t pack_sweep_at(struct pack_store *s, size_t i);

/* While held, a pack is not removed, and stays in the lanes file: see pack_reserve(). */
void pack_unhold(struct pack_store *s, uint32_t pack);

/* Finds room for bytes (at most PACK_BYTES_MAX) in one piece, in a pack that the caller then
 * holds. Only I/O when a pack is begun. */
enum kist_err pack_reserve(struct pack_store *s, unsigned lane, uint64_t bytes, uint32_t *pack,
                           uint64_t *offset) MUST_CHECK;
/* The lane's last reservation, which came to nothing: the next one takes its place. Nobody else
 * may have reserved there since. */
void pack_unreserve(struct pack_store *s, unsigned lane, uint32_t pack, uint64_t offset);
/* A lane for the next upload: spreads uploads over the streaming lanes. */
unsigned pack_next_lane(struct pack_store *s);

/* To the page cache. */
enum kist_err pack_write(struct pack_store *s, uint32_t pack, uint64_t offset,
                         struct bytes data) MUST_CHECK;
/* To the disk where the file system knows how, past the page cache, so that large bodies cost no
 * copy and push out nothing that is read; else as pack_write(). Blocks of PACK_BLOCK_BYTES, the
 * last may be shorter, one behind the other from the offset, at most PACK_BLOCKS_MAX: larger
 * writes cost less. The offset and the blocks' addresses are multiples of PACK_ALIGN, and there
 * is room in the last block, which is filled with zeros, up to the next one. Nobody else writes
 * to these pages. Durable after pack_sync(), too. */
enum kist_err pack_write_blocks(struct pack_store *s, uint32_t pack, uint64_t offset,
                                uint8_t *const *data, size_t bytes) MUST_CHECK;
/* Asks the disk to begin writing; only a hint. */
void pack_write_hint(struct pack_store *s, uint32_t pack, uint64_t offset, uint64_t length);
/* Everything written to the pack before the call is durable after it, its name too. Concurrent
 * calls share one sync. A failed sync fails the pack for good. */
enum kist_err pack_sync(struct pack_store *s, uint32_t pack) MUST_CHECK;
/* Every pack written to through pack_store_body since the last call: for checkpoints. */
enum kist_err pack_sync_bodies(struct pack_store *s) MUST_CHECK;
/* pack_write, making the pack (at replay) when it is not there, and noting it for
 * pack_sync_bodies. */
enum kist_err pack_store_body(struct pack_store *s, uint32_t pack, uint64_t offset,
                              struct bytes data) MUST_CHECK;

/* cached_only: KIST_E_BUSY instead of waiting for the disk. KIST_E_CORRUPT when the pack ends
 * before. */
enum kist_err pack_read(struct pack_store *s, uint32_t pack, uint64_t offset, void *buf,
                        size_t len, bool cached_only) MUST_CHECK;

/* Gives the bytes back to the file system; whole pages only. */
enum kist_err pack_punch(struct pack_store *s, uint32_t pack, uint64_t offset,
                         uint64_t length) MUST_CHECK;
/* Removes the file unless a lane appends to it or somebody holds it. */
enum kist_err pack_remove(struct pack_store *s, uint32_t pack) MUST_CHECK;
bool pack_is_open_lane(struct pack_store *s, uint32_t pack);

/* Calls each() for every pack file, in no order, until it returns an error. */
enum kist_err pack_each(struct pack_store *s,
                        enum kist_err (*each)(void *ctx, uint32_t pack, uint64_t file_bytes),
                        void *ctx) MUST_CHECK;

#endif
