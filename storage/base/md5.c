#include "storage/base/md5_lanes.h"

#include <endian.h>

static inline __attribute__((always_inline)) void run_lanes(md5_lanes state[4],
                                                            const uint8_t *const data[MD5_LANES],
                                                            size_t blocks, bool wide)
{
    for (size_t block = 0; block < blocks; block++) {
        md5_lanes v[4] = { state[0], state[1], state[2], state[3] }, word[16];
        md5_load(data, block * MD5_BLOCK_BYTES, word);
        md5_load(data, block * MD5_BLOCK_BYTES + sizeof(md5_lanes), word + 8);
#pragma GCC unroll 64
        for (unsigned i = 0; i < 64; i++)
            md5_step(i, v, word, wide);
        for (size_t i = 0; i < 4; i++)
            state[i] += v[i];
    }
}

static void run_plain(md5_lanes state[4], const uint8_t *const data[MD5_LANES], size_t blocks)
{
    run_lanes(state, data, blocks, false);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void run_avx2(md5_lanes state[4],
                                                     const uint8_t *const data[MD5_LANES],
                                                     size_t blocks)
{
    run_lanes(state, data, blocks, true);
}

__attribute__((target("avx512f,avx512vl"))) static void run_avx512(
    md5_lanes state[4], const uint8_t *const data[MD5_LANES], size_t blocks)
{
    run_lanes(state, data, blocks, true);
}
#endif

static void run(md5_lanes state[4], const uint8_t *const data[MD5_LANES], size_t blocks)
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

void md5_blocks(struct md5 *const streams[], const uint8_t *const data[], size_t count,
                size_t blocks)
{
    const uint8_t *from[MD5_LANES];
    md5_lanes state[4];
    md5_lanes_in(streams, data, count, state, from);
    run(state, from, blocks);
    md5_lanes_out(streams, count, state);
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
