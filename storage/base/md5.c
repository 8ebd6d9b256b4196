/* One body for every instruction set: GCC's and clang's vector types become what the target
 * function may use. */
#include "storage/base/md5.h"

#include <endian.h>
#include <string.h>

typedef uint32_t lanes __attribute__((vector_size(4 * MD5_LANES)));

/* RFC 1321 section 3.4: floor(2^32 * abs(sin(i + 1))). */
static const uint32_t sines[64] = {
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
static const uint8_t turns[4][4] = {
    { 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 }
};

/* Constant after unrolling: one expression a step, in which b, the last step's result, comes as
 * late as it can. */
#define MIX(i, sum, b, c, d)                                                                     \
    ((i) < 16   ? (sum) + ((d) ^ ((b) & ((c) ^ (d))))                                            \
     : (i) < 32 ? ((sum) + ((c) & ~(d))) + ((b) & (d))                                           \
     : (i) < 48 ? (sum) + ((b) ^ ((c) ^ (d)))                                                    \
                : (sum) + ((c) ^ ((b) | ~(d))))
#define WORD(i) ((i) < 16 ? (i) : (i) < 32 ? 5 * (i) + 1 : (i) < 48 ? 3 * (i) + 5 : 7 * (i))

/* (Little-endian machines only, as everywhere.) Words 0 to 7 from `at` on of every lane's bytes,
 * one vector each. */
static inline __attribute__((always_inline)) void load_words(const uint8_t *const data[MD5_LANES],
                                                             size_t at, lanes word[8])
{
    lanes row[8], pair[8], four[8];
    for (size_t lane = 0; lane < MD5_LANES; lane++)
        memcpy(&row[lane], data[lane] + at, sizeof(lanes));
    for (size_t i = 0; i < 8; i += 2) {
        pair[i] = __builtin_shufflevector(row[i], row[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pair[i + 1] = __builtin_shufflevector(row[i], row[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (size_t i = 0; i < 8; i += 4)
        for (size_t k = 0; k < 2; k++) {
            lanes x = pair[i + k], y = pair[i + k + 2];
            four[i + 2 * k] = __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13);
            four[i + 2 * k + 1] = __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (size_t i = 0; i < 4; i++) {
        word[i] = __builtin_shufflevector(four[i], four[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        word[i + 4] = __builtin_shufflevector(four[i], four[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

static inline __attribute__((always_inline)) void run_lanes(lanes state[4],
                                                            const uint8_t *const data[MD5_LANES],
                                                            size_t blocks)
{
    for (size_t block = 0; block < blocks; block++) {
        lanes a = state[0], b = state[1], c = state[2], d = state[3], word[16];
        load_words(data, block * MD5_BLOCK_BYTES, word);
        load_words(data, block * MD5_BLOCK_BYTES + sizeof(lanes), word + 8);
#pragma GCC unroll 64
        for (unsigned i = 0; i < 64; i++) {
            lanes sum = MIX(i, a + word[WORD(i) % 16] + sines[i], b, c, d);
            uint8_t turn = turns[i / 16][i % 4];
            a = d;
            d = c;
            c = b;
            b += (sum << turn) | (sum >> (32 - turn));
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
    }
}

static void run_plain(lanes state[4], const uint8_t *const data[MD5_LANES], size_t blocks)
{
    run_lanes(state, data, blocks);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void run_avx2(lanes state[4],
                                                     const uint8_t *const data[MD5_LANES],
                                                     size_t blocks)
{
    run_lanes(state, data, blocks);
}

__attribute__((target("avx512f,avx512vl"))) static void run_avx512(
    lanes state[4], const uint8_t *const data[MD5_LANES], size_t blocks)
{
    run_lanes(state, data, blocks);
}
#endif

static void run(lanes state[4], const uint8_t *const data[MD5_LANES], size_t blocks)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512vl"))
        run_avx512(state, data, blocks);
    else if (__builtin_cpu_supports("avx2"))
        run_avx2(state, data, blocks);
    else
#endif
        run_plain(state, data, blocks);
}

void md5_init(struct md5 *m)
{
    *m = (struct md5){ { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 } };
}

/* Lanes without a stream of their own repeat the first one's. */
void md5_blocks(struct md5 *const streams[], const uint8_t *const data[], size_t count,
                size_t blocks)
{
    const uint8_t *from[MD5_LANES];
    lanes state[4];
    for (size_t lane = 0; lane < MD5_LANES; lane++) {
        size_t of = lane < count ? lane : 0;
        from[lane] = data[of];
        for (size_t i = 0; i < 4; i++)
            state[i][lane] = streams[of]->state[i];
    }
    run(state, from, blocks);
    for (size_t lane = 0; lane < count; lane++)
        for (size_t i = 0; i < 4; i++)
            streams[lane]->state[i] = state[i][lane];
}

size_t md5_pad(uint8_t *data, size_t len, uint64_t total_bytes)
{
    size_t padded = (len + 1 + sizeof(uint64_t) + MD5_BLOCK_BYTES - 1) & ~(MD5_BLOCK_BYTES - 1);
    uint64_t bits = htole64(total_bytes * 8);
    memset(data + len, 0, padded - len);
    data[len] = 0x80;
    memcpy(data + padded - sizeof(bits), &bits, sizeof(bits));
    return padded;
}

void md5_value(const struct md5 *m, uint8_t out[16])
{
    for (size_t i = 0; i < 4; i++) {
        uint32_t v = htole32(m->state[i]);
        memcpy(out + 4 * i, &v, sizeof(v));
    }
}
