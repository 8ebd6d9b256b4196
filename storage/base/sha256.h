/* SHA-256 (FIPS 180-4) of several streams, two side by side.
 *
 * The processor's SHA instructions wait for one another along a stream: two streams in turns take
 * little longer than one. Only for processors that have them; others use storage/base/digest.h.
 */
#ifndef KIST_STORAGE_BASE_SHA256_H
#define KIST_STORAGE_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BLOCK_BYTES ((size_t)64)

struct sha256 {
    uint32_t state[8];
};

/* False: call none of the others. */
bool sha256_is_here(void);
void sha256_init(struct sha256 *s);
/* Takes `blocks` blocks of 64 bytes from each of `count` streams, any number. */
void sha256_blocks(struct sha256 *const streams[], const uint8_t *const data[], size_t count,
                   size_t blocks);
/* Ends a message of total_bytes, of which the last `len` (below 64) come here. */
void sha256_final(struct sha256 *s, const uint8_t *tail, size_t len, uint64_t total_bytes,
                  uint8_t out[32]);

#endif
