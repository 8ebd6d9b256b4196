/* The log's disk format, revision 1. Integers are little-endian.
 *
 *   segment file  segment-<generation, 16 hex digits>
 *     0      segment header: magic "KISTSEG1", revision u32, crc32c u32 of the 24 bytes around
 *            it, generation u64, nonce u64
 *     4096   batches, each beginning at a multiple of 512
 *
 *   batch header, 64 bytes
 *     0  magic "KBAT"   4 revision u16   6 reserved u16   8 generation u64
 *     16 first index u64                 24 commands u32  28 total length u32
 *     32 bodies offset u32 (from the batch)               36 bodies length u32
 *     40 pack u32       44 crc32c u32 of the whole batch with this field 0
 *     48 pack offset u64                 56 the segment's nonce u64 (0 in old ones)
 *   then per command: command length u32, body length u32, command bytes
 *   then all bodies, contiguous: one write takes them to the pack
 *
 * What an earlier life of a recycled file left behind never validates: batches carry the
 * segment's generation, which is new for every life, and each open begins a new segment. So a
 * torn batch that was never acknowledged stays alone at the end of its generation: nothing is
 * written behind it, and whatever follows in the file has another generation. A valid batch
 * that does follow means that the one before it was acknowledged and is damaged. Bodies are
 * their senders' choice, and may look like batches: what bears the nonce, a random number that
 * nobody is told, is none of theirs.
 */
#ifndef KIST_STORAGE_LOG_FORMAT_H
#define KIST_STORAGE_LOG_FORMAT_H

#include "storage/log/log.h"

#define LOG_REVISION 1
#define SEGMENT_HEADER_BYTES 4096
#define BATCH_ALIGN 512
#define BATCH_HEADER_BYTES 64
#define COMMAND_HEADER_BYTES 8
/* Of all logs, whatever their configuration. */
#define BATCH_BYTES_MAX ((size_t)4 << 20)

struct batch_header {
    uint64_t generation, first_index, pack_offset, nonce;
    uint32_t commands, total_bytes, bodies_at, bodies_bytes, pack;
};

/* Writes header and checksum over a batch that is otherwise complete in buf. */
void batch_seal(uint8_t *buf, const struct batch_header *h);
/* Reads a header alone: KIST_E_NOT_FOUND when there is none of this generation,
 * KIST_E_NEWER_FORMAT, KIST_E_CORRUPT when its lengths do not fit into max bytes. */
enum kist_err batch_peek(const uint8_t *buf, size_t max, uint64_t generation,
                         struct batch_header *out) MUST_CHECK;
/* Verifies the whole batch: KIST_E_CORRUPT. */
enum kist_err batch_check(uint8_t *buf, const struct batch_header *h) MUST_CHECK;
/* Walks the commands of a checked batch. */
enum kist_err batch_each(const uint8_t *buf, const struct batch_header *h,
                         enum kist_err (*each)(void *ctx, const struct log_entry *entry),
                         void *ctx) MUST_CHECK;

#define SEGMENT_SEAL_BYTES 32
void segment_seal(uint8_t buf[SEGMENT_SEAL_BYTES], uint64_t generation, uint64_t nonce);
/* KIST_E_NOT_FOUND: not a whole header; KIST_E_NEWER_FORMAT. */
enum kist_err segment_peek(const uint8_t buf[SEGMENT_SEAL_BYTES], uint64_t *generation,
                           uint64_t *nonce) MUST_CHECK;

void put_u32(uint8_t *p, uint32_t v);
void put_u64(uint8_t *p, uint64_t v);

#endif
