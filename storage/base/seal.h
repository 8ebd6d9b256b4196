/* Encryption of data at rest: AES-256-GCM (NIST SP 800-38D), block by block, so that any block
 * can be opened, and is authenticated, alone.
 *
 * Every body has a random data key of its own, under which the number of a block is its nonce;
 * the data key is kept wrapped under a key that is not with the data. A sealed block is as long
 * as any other block on disk: its plaintext is shorter by the tag.
 */
#ifndef KIST_STORAGE_BASE_SEAL_H
#define KIST_STORAGE_BASE_SEAL_H

#include "storage/base/env.h"

#define SEAL_KEY_BYTES 32
#define SEAL_TAG_BYTES 16
/* Salt, sealed data key, tag. */
#define SEAL_WRAPPED_BYTES (16 + SEAL_KEY_BYTES + SEAL_TAG_BYTES)

/* Makes a data key and wraps it. Each wrapping derives a key from the salt (HMAC-SHA-256), so
 * that no number of them wears the wrapping key out. KIST_E_NOMEM. */
enum kist_err seal_new_key(struct env *env, const uint8_t wrapping_key[SEAL_KEY_BYTES],
                           uint8_t key[SEAL_KEY_BYTES],
                           uint8_t wrapped[SEAL_WRAPPED_BYTES]) MUST_CHECK;
/* The same for a key that is there. */
enum kist_err seal_wrap(struct env *env, const uint8_t wrapping_key[SEAL_KEY_BYTES],
                        const uint8_t key[SEAL_KEY_BYTES],
                        uint8_t wrapped[SEAL_WRAPPED_BYTES]) MUST_CHECK;
/* KIST_E_DENIED: it is not wrapped under this key. */
enum kist_err seal_unwrap(const uint8_t wrapping_key[SEAL_KEY_BYTES], struct bytes wrapped,
                          uint8_t key[SEAL_KEY_BYTES]) MUST_CHECK;

/* Not thread-safe. Wiped when closed; NULL is allowed there. */
struct sealer;
enum kist_err sealer_open(const uint8_t key[SEAL_KEY_BYTES], struct sealer **out) MUST_CHECK;
void sealer_close(struct sealer *s);
/* Seals one block in pieces: begin, update any number of times, end. A block's number is used
 * once under a key. out has room for in.len, and may be in. */
enum kist_err sealer_begin(struct sealer *s, uint64_t block) MUST_CHECK;
enum kist_err sealer_update(struct sealer *s, struct bytes in, uint8_t *out) MUST_CHECK;
enum kist_err sealer_end(struct sealer *s, uint8_t tag[SEAL_TAG_BYTES]) MUST_CHECK;
/* Opens a whole block with its tag behind it; out may be in. KIST_E_CORRUPT: it is not what was
 * sealed, and out holds nothing of use. */
enum kist_err sealer_open_block(struct sealer *s, uint64_t block, struct bytes sealed,
                                uint8_t *out) MUST_CHECK;

/* Bytes on disk of a plaintext, and back, in blocks of block_bytes (the last one shorter). */
uint64_t sealed_length(uint64_t plain, uint32_t block_bytes);
uint64_t plain_length(uint64_t sealed, uint32_t block_bytes);

#endif
