#include "storage/base/sha256.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

void sha256_init(struct sha256 *s)
{
    *s = (struct sha256){ { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                            0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

#ifdef __x86_64__
#include "storage/base/sha256_pair.h"

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

__attribute__((target("sha,sse4.1"))) static void run_pair(
    struct sha256 *const streams[SHA256_PAIR], const uint8_t *const data[SHA256_PAIR],
    size_t blocks)
{
    struct sha256_pair p;
    struct sha256_work w;
    sha256_pair_in(streams, &p);
    for (size_t block = 0; block < blocks; block++) {
        sha256_work_begin(&w, &p, data, block * SHA256_BLOCK_BYTES);
#pragma GCC unroll 16
        for (unsigned i = 0; i < 16; i++)
            sha256_work_step(&w, i);
        sha256_work_end(&w, &p);
    }
    sha256_pair_out(streams, &p);
}

#else

#define SHA256_PAIR 2

bool sha256_is_here(void)
{
    return false;
}

static void run_pair(struct sha256 *const streams[SHA256_PAIR],
                     const uint8_t *const data[SHA256_PAIR], size_t blocks)
{
    (void)streams, (void)data, (void)blocks;
    assert(!"without sha256_is_here()");
}

#endif

/* A stream without a partner runs beside a copy of itself. */
void sha256_blocks(struct sha256 *const streams[], const uint8_t *const data[], size_t count,
                   size_t blocks)
{
    for (size_t i = 0; i < count; i += SHA256_PAIR) {
        bool alone = i + 1 == count;
        struct sha256 copy = *streams[i];
        struct sha256 *pair[SHA256_PAIR] = { streams[i], alone ? &copy : streams[i + 1] };
        const uint8_t *from[SHA256_PAIR] = { data[i], alone ? data[i] : data[i + 1] };
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
