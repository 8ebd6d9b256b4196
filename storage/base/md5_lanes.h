/* One body of MD5 for every instruction set: GCC's and clang's vector types become what the
 * target function may use. For md5.c and hash_both.c. */
#ifndef KIST_STORAGE_BASE_MD5_LANES_H
#define KIST_STORAGE_BASE_MD5_LANES_H

#include <stdbool.h>
#include <string.h>

#include "storage/base/md5.h"

typedef uint32_t md5_lanes __attribute__((vector_size(4 * MD5_LANES)));

/* RFC 1321 section 3.4: floor(2^32 * abs(sin(i + 1))). */
static const uint32_t md5_sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
    0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
    0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
    0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
    0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
    0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
    0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
    0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
    0xeb86d391,
};
static const uint8_t md5_turns[4][4] = {
    { 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 }
};

/* Constant after unrolling: what of a step's sum the last step's result, b, has no part in; and
 * what comes to it. */
#define MD5_EARLY(i, sum, c, d) ((i) >= 16 && (i) < 32 ? (sum) + ((c) & ~(d)) : (sum))
#define MD5_MIX(i, b, c, d)                                                                      \
    ((i) < 16   ? (d) ^ ((b) & ((c) ^ (d)))                                                      \
     : (i) < 32 ? (b) & (d)                                                                      \
     : (i) < 48 ? (b) ^ ((c) ^ (d))                                                              \
                : (c) ^ ((b) | ~(d)))
#define MD5_WORD(i) ((i) < 16 ? (i) : (i) < 32 ? 5 * (i) + 1 : (i) < 48 ? 3 * (i) + 5 : 7 * (i))

/* (Little-endian machines only, as everywhere.) Words 0 to 7 from `at` on of every lane's bytes,
 * one vector each. */
static inline __attribute__((always_inline)) void md5_load(const uint8_t *const data[MD5_LANES],
                                                           size_t at, md5_lanes word[8])
{
    md5_lanes row[8], pair[8], four[8];
#pragma GCC unroll 8
    for (size_t lane = 0; lane < MD5_LANES; lane++)
        memcpy(&row[lane], data[lane] + at, sizeof(md5_lanes));
#pragma GCC unroll 4
    for (size_t i = 0; i < 8; i += 2) {
        pair[i] = __builtin_shufflevector(row[i], row[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pair[i + 1] = __builtin_shufflevector(row[i], row[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < 8; i += 4)
#pragma GCC unroll 2
        for (size_t k = 0; k < 2; k++) {
            md5_lanes x = pair[i + k], y = pair[i + k + 2];
            four[i + 2 * k] = __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13);
            four[i + 2 * k + 1] = __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15);
        }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        word[i] = __builtin_shufflevector(four[i], four[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        word[i + 4] = __builtin_shufflevector(four[i], four[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* Step i of a block's 64. wide: the lanes are one register. gcc would add in an order of its own,
 * in which one more addition waits for b. */
static inline __attribute__((always_inline)) void md5_step(unsigned i, md5_lanes state[4],
                                                           const md5_lanes word[16], bool wide)
{
    md5_lanes b = state[1], c = state[2], d = state[3];
    md5_lanes sum = MD5_EARLY(i, state[0] + word[MD5_WORD(i) % 16] + md5_sines[i], c, d);
    uint8_t turn = md5_turns[i / 16][i % 4];
    (void)wide;
#if defined(__x86_64__) && !defined(__clang__)
    if (wide)
        __asm__("" : "+x"(sum));
#endif
    sum += MD5_MIX(i, b, c, d);
    state[0] = d;
    state[3] = c;
    state[2] = b;
    state[1] = b + ((sum << turn) | (sum >> (32 - turn)));
}

/* Lanes without a stream of their own repeat the first one's. */
static inline void md5_lanes_in(struct md5 *const streams[], const uint8_t *const data[],
                                size_t count, md5_lanes state[4], const uint8_t *from[MD5_LANES])
{
    for (size_t lane = 0; lane < MD5_LANES; lane++) {
        size_t of = lane < count ? lane : 0;
        from[lane] = data[of];
        for (size_t i = 0; i < 4; i++)
            state[i][lane] = streams[of]->state[i];
    }
}

static inline void md5_lanes_out(struct md5 *const streams[], size_t count,
                                 const md5_lanes state[4])
{
    for (size_t lane = 0; lane < count; lane++)
        for (size_t i = 0; i < 4; i++)
            streams[lane]->state[i] = state[i][lane];
}

#endif
