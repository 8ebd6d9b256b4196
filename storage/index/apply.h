/* The state machine: a command goes in, rows change, a verdict and a result come out.
 *
 * apply() is deterministic: it reads the command and the rows, no clock, no random source, no
 * file. All conditions are evaluated here, on the log's thread, so that they are linearizable.
 */
#ifndef KIST_STORAGE_INDEX_APPLY_H
#define KIST_STORAGE_INDEX_APPLY_H

#include "storage/index/kv.h"

/* Filled in by apply() for whoever waits; fixed size but for key_verdicts. */
struct apply_result {
    uint64_t index;   /* of the command: new data ids, bucket ids and upload ids are this */
    uint64_t data_id; /* of the object written */
    uint64_t size;
    int64_t mtime_ms;
    uint8_t etag[16];
    uint32_t part_count;
    uint32_t checksum_algorithm; /* enum digest_kind + 1; 0: none */
    bool checksum_composite;
    uint8_t checksum[32];
    /* DeleteObjects: one verdict per key, given by the caller; may be NULL. */
    enum kist_err *key_verdicts;
    /* The command freed data: the reclaimer has work. */
    bool made_garbage;
};

/* A log command, with the place of its riding body. */
struct apply_input {
    uint64_t index;
    struct bytes command;
    uint32_t body_length;
    uint32_t pack;
    uint64_t offset;
};

struct apply;
enum kist_err apply_open(struct kv *kv, struct apply **out) MUST_CHECK;
void apply_close(struct apply *a);
/* Under kv_write_lock(). KIST_E_CORRUPT for a command that does not parse,
 * KIST_E_NEWER_FORMAT for one that this program does not know; otherwise the verdict. */
enum kist_err apply_command(struct apply *a, const struct apply_input *input,
                            struct apply_result *result) MUST_CHECK;

#endif
