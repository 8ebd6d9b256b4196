#include "storage/base/sha256.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define PAIR 2

void sha256_init(struct sha256 *s)
{
    *s = (struct sha256){ { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                            0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

#ifdef __x86_64__
#include <immintrin.h>

/* FIPS 180-4 section 4.2.2. */
static const uint32_t constants[64] __attribute__((aligned(16))) = {
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

bool sha256_is_here(void)
{
    static int known; /* 0: not asked yet */
    int is_here = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!is_here) {
        unsigned eax = 7, ebx = 0, ecx = 0, edx = 0;
        /* Leaf 7, EBX bit 29 (Intel SDM, CPUID); __builtin_cpu_supports() of gcc 12 lacks it. */
        __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
        is_here = (ebx >> 29 & 1) && __builtin_cpu_supports("sse4.1") ? 1 : -1;
        __atomic_store_n(&known, is_here, __ATOMIC_RELAXED);
    }
    return is_here > 0;
}

#define WITH_SHA __attribute__((target("sha,sse4.1")))

/* The instructions want A, B, E, F in one register and C, D, G, H in the other, A highest. */
WITH_SHA static inline void state_in(const uint32_t s[8], __m128i *abef, __m128i *cdgh)
{
    *abef = _mm_set_epi32((int)s[0], (int)s[1], (int)s[4], (int)s[5]);
    *cdgh = _mm_set_epi32((int)s[2], (int)s[3], (int)s[6], (int)s[7]);
}

WITH_SHA static inline void state_out(uint32_t s[8], __m128i abef, __m128i cdgh)
{
    s[0] = (uint32_t)_mm_extract_epi32(abef, 3);
    s[1] = (uint32_t)_mm_extract_epi32(abef, 2);
    s[2] = (uint32_t)_mm_extract_epi32(cdgh, 3);
    s[3] = (uint32_t)_mm_extract_epi32(cdgh, 2);
    s[4] = (uint32_t)_mm_extract_epi32(abef, 1);
    s[5] = (uint32_t)_mm_extract_epi32(abef, 0);
    s[6] = (uint32_t)_mm_extract_epi32(cdgh, 1);
    s[7] = (uint32_t)_mm_extract_epi32(cdgh, 0);
}

WITH_SHA static void run_pair(struct sha256 *const streams[PAIR], const uint8_t *const data[PAIR],
                              size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[PAIR], cdgh[PAIR], w[PAIR][4];
    for (size_t lane = 0; lane < PAIR; lane++)
        state_in(streams[lane]->state, &abef[lane], &cdgh[lane]);
    for (size_t block = 0; block < blocks; block++) {
        __m128i abef_before[PAIR] = { abef[0], abef[1] },
                cdgh_before[PAIR] = { cdgh[0], cdgh[1] };
        for (size_t lane = 0; lane < PAIR; lane++)
            for (size_t i = 0; i < 4; i++) {
                const uint8_t *from = data[lane] + block * SHA256_BLOCK_BYTES + 16 * i;
                w[lane][i] = _mm_shuffle_epi8(_mm_loadu_si128((const void *)from), swap);
            }
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) {
            const __m128i k = _mm_load_si128((const void *)&constants[4 * i]);
#pragma GCC unroll 2
            for (size_t lane = 0; lane < PAIR; lane++) {
                __m128i *v = w[lane], words = v[i % 4];
                __m128i sum = _mm_add_epi32(words, k);
                cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], sum);
                sum = _mm_shuffle_epi32(sum, 0x0e);
                abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], sum);
                if (i >= 12)
                    continue;
                __m128i next = _mm_sha256msg1_epu32(words, v[(i + 1) % 4]);
                next = _mm_add_epi32(next, _mm_alignr_epi8(v[(i + 3) % 4], v[(i + 2) % 4], 4));
                v[i % 4] = _mm_sha256msg2_epu32(next, v[(i + 3) % 4]);
            }
        }
        for (size_t lane = 0; lane < PAIR; lane++) {
            abef[lane] = _mm_add_epi32(abef[lane], abef_before[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], cdgh_before[lane]);
        }
    }
    for (size_t lane = 0; lane < PAIR; lane++)
        state_out(streams[lane]->state, abef[lane], cdgh[lane]);
}

#else

bool sha256_is_here(void)
{
    return false;
}

static void run_pair(struct sha256 *const streams[PAIR], const uint8_t *const data[PAIR],
                     size_t blocks)
{
    (void)streams, (void)data, (void)blocks;
    assert(!"without sha256_is_here()");
}

#endif

/* A stream without a partner runs beside a copy of itself. */
void sha256_blocks(struct sha256 *const streams[], const uint8_t *const data[], size_t count,
                   size_t blocks)
{
    for (size_t i = 0; i < count; i += PAIR) {
        bool alone = i + 1 == count;
        struct sha256 copy = *streams[i];
        struct sha256 *pair[PAIR] = { streams[i], alone ? &copy : streams[i + 1] };
        const uint8_t *from[PAIR] = { data[i], alone ? data[i] : data[i + 1] };
        run_pair(pair, from, blocks);
    }
}

void sha256_final(struct sha256 *s, const uint8_t *tail, size_t len, uint64_t total_bytes,
                  uint8_t out[32])
{
    uint8_t last[2 * SHA256_BLOCK_BYTES] = { 0 };
    uint64_t bits = htobe64(total_bytes * 8);
    const uint8_t *data = last;
    assert(len < SHA256_BLOCK_BYTES);
    size_t blocks = len + 1 + sizeof(bits) <= SHA256_BLOCK_BYTES ? 1 : 2;
    if (len)
        memcpy(last, tail, len);
    last[len] = 0x80;
    memcpy(last + blocks * SHA256_BLOCK_BYTES - sizeof(bits), &bits, sizeof(bits));
    sha256_blocks(&s, &data, 1, blocks);
    for (size_t i = 0; i < 8; i++) {
        uint32_t v = htobe32(s->state[i]);
        memcpy(out + 4 * i, &v, sizeof(v));
    }
}
