/* SHA-256 of two streams in turns, by the processor's instructions (Intel SDM, SHA extensions):
 * the parts of one block's work. For sha256.c and hash_both.c, on x86-64. */
#ifndef KIST_STORAGE_BASE_SHA256_PAIR_H
#define KIST_STORAGE_BASE_SHA256_PAIR_H

#include <immintrin.h>

#include "storage/base/sha256.h"

#define SHA256_PAIR 2
#define SHA256_INLINE __attribute__((always_inline, target("sha,sse4.1"))) static inline

/* FIPS 180-4 section 4.2.2. */
static const uint32_t sha256_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
    0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
    0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
    0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
    0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
    0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
    0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
};

struct sha256_pair {
    __m128i abef[SHA256_PAIR], cdgh[SHA256_PAIR];
};

/* A block under way: four of its 64 rounds are one step. */
struct sha256_work {
    struct sha256_pair now, before;
    __m128i word[SHA256_PAIR][4];
};

/* The instructions want A, B, E, F in one register and C, D, G, H in the other, A highest. */
SHA256_INLINE void sha256_pair_in(struct sha256 *const streams[SHA256_PAIR],
                                  struct sha256_pair *p)
{
    for (size_t lane = 0; lane < SHA256_PAIR; lane++) {
        const uint32_t *s = streams[lane]->state;
        p->abef[lane] = _mm_set_epi32((int)s[0], (int)s[1], (int)s[4], (int)s[5]);
        p->cdgh[lane] = _mm_set_epi32((int)s[2], (int)s[3], (int)s[6], (int)s[7]);
    }
}

SHA256_INLINE void sha256_pair_out(struct sha256 *const streams[SHA256_PAIR],
                                   const struct sha256_pair *p)
{
    for (size_t lane = 0; lane < SHA256_PAIR; lane++) {
        uint32_t *s = streams[lane]->state;
        __m128i abef = p->abef[lane], cdgh = p->cdgh[lane];
        s[0] = (uint32_t)_mm_extract_epi32(abef, 3);
        s[1] = (uint32_t)_mm_extract_epi32(abef, 2);
        s[2] = (uint32_t)_mm_extract_epi32(cdgh, 3);
        s[3] = (uint32_t)_mm_extract_epi32(cdgh, 2);
        s[4] = (uint32_t)_mm_extract_epi32(abef, 1);
        s[5] = (uint32_t)_mm_extract_epi32(abef, 0);
        s[6] = (uint32_t)_mm_extract_epi32(cdgh, 1);
        s[7] = (uint32_t)_mm_extract_epi32(cdgh, 0);
    }
}

SHA256_INLINE void sha256_work_begin(struct sha256_work *w, const struct sha256_pair *p,
                                     const uint8_t *const data[SHA256_PAIR], size_t at)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    w->now = w->before = *p;
    for (size_t lane = 0; lane < SHA256_PAIR; lane++)
        for (size_t i = 0; i < 4; i++) {
            const void *from = data[lane] + at + 16 * i;
            w->word[lane][i] = _mm_shuffle_epi8(_mm_loadu_si128(from), swap);
        }
}

/* i: 0 to 15 */
SHA256_INLINE void sha256_work_step(struct sha256_work *w, unsigned i)
{
    const __m128i k = _mm_load_si128((const void *)&sha256_constants[4 * i]);
#pragma GCC unroll 2
    for (size_t lane = 0; lane < SHA256_PAIR; lane++) {
        __m128i *v = w->word[lane], words = v[i % 4];
        __m128i *abef = &w->now.abef[lane], *cdgh = &w->now.cdgh[lane];
        __m128i sum = _mm_add_epi32(words, k);
        *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
        *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(sum, 0x0e));
        if (i >= 12)
            continue;
        __m128i next = _mm_sha256msg1_epu32(words, v[(i + 1) % 4]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(v[(i + 3) % 4], v[(i + 2) % 4], 4));
        v[i % 4] = _mm_sha256msg2_epu32(next, v[(i + 3) % 4]);
    }
}

SHA256_INLINE void sha256_work_end(const struct sha256_work *w, struct sha256_pair *p)
{
    for (size_t lane = 0; lane < SHA256_PAIR; lane++) {
        p->abef[lane] = _mm_add_epi32(w->now.abef[lane], w->before.abef[lane]);
        p->cdgh[lane] = _mm_add_epi32(w->now.cdgh[lane], w->before.cdgh[lane]);
    }
}

#endif
