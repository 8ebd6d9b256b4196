/* MD5 and SHA-256 of the same bytes, of several streams at once. */
#ifndef KIST_STORAGE_BASE_HASH_BOTH_H
#define KIST_STORAGE_BASE_HASH_BOTH_H

#include "storage/base/md5.h"
#include "storage/base/sha256.h"

/* One to MD5_LANES streams that want an MD5, and up to MD5_LANES that want a SHA-256: as many
 * only where sha256_is_here(). */
struct hash_both {
    struct md5 *md5[MD5_LANES];
    const uint8_t *md5_from[MD5_LANES];
    size_t md5_count;
    struct sha256 *sha[MD5_LANES];
    const uint8_t *sha_from[MD5_LANES];
    size_t sha_count;
};

/* Takes `blocks` blocks of 64 bytes from each. */
void hash_both_blocks(const struct hash_both *h, size_t blocks);

#endif
