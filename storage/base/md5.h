/* MD5 (RFC 1321) of several streams side by side.
 *
 * MD5 is one chain of dependent steps: a core computes one stream at a third of what its vector
 * units could do. Eight streams in the lanes of one vector take about the time of one. */
#ifndef KIST_STORAGE_BASE_MD5_H
#define KIST_STORAGE_BASE_MD5_H

#include <stddef.h>
#include <stdint.h>

#define MD5_LANES 8
#define MD5_BLOCK_BYTES ((size_t)64)
/* What md5_pad() may add. */
#define MD5_PAD_MAX (2 * MD5_BLOCK_BYTES)

struct md5 {
    uint32_t state[4];
};

void md5_init(struct md5 *m);
/* Takes `blocks` blocks of 64 bytes from each of `count` streams (1 to MD5_LANES). */
void md5_blocks(struct md5 *const streams[], const uint8_t *const data[], size_t count,
                size_t blocks);
/* Pads the end of a message: data[0..len) are its last bytes of total_bytes, in whole blocks
 * but for the last. Returns the padded length, a multiple of 64; data has MD5_PAD_MAX of room. */
size_t md5_pad(uint8_t *data, size_t len, uint64_t total_bytes);
/* After the padded end. */
void md5_value(const struct md5 *m, uint8_t out[16]);

#endif
