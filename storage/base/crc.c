/* CRCs: CRC-32 and CRC-32C by ISA-L, CRC-64/NVME by carry-less multiplication of our own
 * (ISA-L 2.30 lacks that polynomial), and the combination of any two. */
#include <isa-l.h>
#include <pthread.h>

#include "storage/base/digest.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define POLY_CRC32 UINT64_C(0xEDB88320)
#define POLY_CRC32C UINT64_C(0x82F63B78)
#define POLY_CRC64NVME UINT64_C(0x9A6C9329AC4BC9B5)

static unsigned char *no_const(const void *p)
{
    union {
        const void *in;
        unsigned char *out;
    } cast = { .in = p };
    return cast.out; /* ISA-L's prototype lacks the const; the data is not written */
}

uint32_t crc32c_update(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    crc = ~crc;
    while (len) {
        int n = len > INT32_MAX ? INT32_MAX : (int)len;
        crc = crc32_iscsi(no_const(p), n, crc);
        p += n;
        len -= (size_t)n;
    }
    return ~crc;
}

uint32_t crc32_update(uint32_t crc, const void *data, size_t len)
{
    return crc32_gzip_refl(crc, data, len);
}

/* ---- arithmetic modulo the polynomial, reflected: bit 63 is x^0 ---- */

static uint64_t multiply(uint64_t a, uint64_t b, uint64_t poly)
{
    uint64_t product = 0;
    for (int i = 0; i < 64; i++) {
        if (a >> 63)
            product ^= b;
        a <<= 1;
        b = b >> 1 ^ (b & 1 ? poly : 0);
    }
    return product;
}

/* x^n modulo the polynomial of 64 bits. */
static uint64_t power(uint64_t n, uint64_t poly)
{
    uint64_t result = UINT64_C(1) << 63, square = UINT64_C(1) << 62;
    for (; n; n >>= 1) {
        if (n & 1)
            result = multiply(result, square, poly);
        square = multiply(square, square, poly);
    }
    return result;
}

/* ---- CRC-64/NVME ---- */

static struct {
    uint64_t table[8][256];
    uint64_t fold_low, fold_high; /* over 16 bytes */
    uint64_t wide_low, wide_high; /* over 64 bytes */
    bool clmul;
} nvme;

static void nvme_setup(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t v = i;
        for (int bit = 0; bit < 8; bit++)
            v = v >> 1 ^ (v & 1 ? POLY_CRC64NVME : 0);
        nvme.table[0][i] = v;
    }
    for (unsigned i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            nvme.table[k][i] =
                nvme.table[k - 1][i] >> 8 ^ nvme.table[0][nvme.table[k - 1][i] & 255];
    /* The product of two reflected values comes out one bit low: hence the minus one. */
    nvme.fold_low = power(128 + 64 - 1, POLY_CRC64NVME);
    nvme.fold_high = power(128 - 1, POLY_CRC64NVME);
    nvme.wide_low = power(512 + 64 - 1, POLY_CRC64NVME);
    nvme.wide_high = power(512 - 1, POLY_CRC64NVME);
#if defined(__x86_64__)
    nvme.clmul = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

static uint64_t nvme_table(uint64_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        crc ^= v;
        uint64_t next = 0;
        for (int k = 0; k < 8; k++)
            next ^= nvme.table[7 - k][crc >> (8 * k) & 255];
        crc = next;
    }
    for (; len; p++, len--)
        crc = crc >> 8 ^ nvme.table[0][(crc ^ *p) & 255];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("pclmul,sse4.1"))) static __m128i fold(__m128i x, __m128i by, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(x, by, 0x00);
    __m128i high = _mm_clmulepi64_si128(x, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

__attribute__((target("pclmul,sse4.1"))) static __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* Folds all whole 16-byte blocks into one, whose CRC (by table) is the CRC of all. len >= 64. */
__attribute__((target("pclmul,sse4.1"))) static uint64_t nvme_clmul(uint64_t crc,
                                                                    const uint8_t *p, size_t len)
{
    __m128i wide = _mm_set_epi64x((int64_t)nvme.wide_high, (int64_t)nvme.wide_low);
    __m128i narrow = _mm_set_epi64x((int64_t)nvme.fold_high, (int64_t)nvme.fold_low);
    __m128i x[4];
    for (int i = 0; i < 4; i++)
        x[i] = load(p + 16 * i);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi64_si128((int64_t)crc));
    for (p += 64, len -= 64; len >= 64; p += 64, len -= 64)
        for (int i = 0; i < 4; i++)
            x[i] = fold(x[i], wide, load(p + 16 * i));
    __m128i one = x[0];
    for (int i = 1; i < 4; i++)
        one = fold(one, narrow, x[i]);
    for (; len >= 16; p += 16, len -= 16)
        one = fold(one, narrow, load(p));
    uint8_t rest[16];
    _mm_storeu_si128((__m128i *)(void *)rest, one);
    return nvme_table(nvme_table(0, rest, sizeof(rest)), p, len);
}
#endif

uint64_t crc64nvme_update(uint64_t crc, const void *data, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, nvme_setup);
#if defined(__x86_64__)
    if (nvme.clmul && len >= 64)
        return ~nvme_clmul(~crc, data, len);
#endif
    return ~nvme_table(~crc, data, len);
}

/* A 32-bit CRC is treated as the high half of a 64-bit one: reflected, its polynomial and values
 * only move up. */
uint64_t crc_combine(enum digest_kind kind, uint64_t crc_a, uint64_t crc_b, uint64_t len_b)
{
    if (kind == DIGEST_CRC64NVME)
        return multiply(power(len_b * 8, POLY_CRC64NVME), crc_a, POLY_CRC64NVME) ^ crc_b;
    uint64_t poly = kind == DIGEST_CRC32 ? POLY_CRC32 : POLY_CRC32C;
    uint64_t square = UINT64_C(1) << 30, factor = UINT64_C(1) << 31;
    for (uint64_t n = len_b * 8; n; n >>= 1) {
        uint64_t product = 0, a = factor, b = square, sq = 0, c = square;
        for (int i = 31; i >= 0; i--) {
            product ^= a >> i & 1 ? b : 0;
            sq ^= square >> i & 1 ? c : 0;
            b = b >> 1 ^ (b & 1 ? poly : 0);
            c = c >> 1 ^ (c & 1 ? poly : 0);
        }
        if (n & 1)
            factor = product;
        square = sq;
    }
    uint64_t moved = 0, b = crc_a;
    for (int i = 31; i >= 0; i--) {
        moved ^= factor >> i & 1 ? b : 0;
        b = b >> 1 ^ (b & 1 ? poly : 0);
    }
    return moved ^ crc_b;
}
