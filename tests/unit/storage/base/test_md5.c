/* MD5 in lanes, against RFC 1321's vectors and OpenSSL. */
#include <string.h>

#include "storage/base/digest.h"
#include "storage/base/md5.h"
#include "tests/lib/suite.h"

static void value_of(const char *text, char hex[33])
{
    uint8_t block[MD5_BLOCK_BYTES + MD5_PAD_MAX], out[16];
    struct md5 m, *stream = &m;
    const uint8_t *data = block;
    size_t len = strlen(text);
    memcpy(block, text, len);
    md5_init(&m);
    md5_blocks(&stream, &data, 1, md5_pad(block, len, len) / MD5_BLOCK_BYTES);
    md5_value(&m, out);
    for (size_t i = 0; i < sizeof(out); i++)
        snprintf(hex + 2 * i, 3, "%02x", out[i]);
}

START_TEST(vectors_of_the_rfc)
{
    static const char *const cases[][2] = {
        { "", "d41d8cd98f00b204e9800998ecf8427e" },
        { "abc", "900150983cd24fb0d6963f7d28e17f72" },
        { "abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b" },
        { "1234567890123456789012345678901234567890123456789012345678901234567890123456789"
          "0",
          "57edf4a22be3c955ac49da2e2107b67a" },
    };
    char hex[33];
    value_of(cases[_i][0], hex);
    ck_assert_str_eq(hex, cases[_i][1]);
}
END_TEST

/* Every number of lanes, each with bytes of its own, and every length around a block's end. */
START_TEST(lanes_do_not_mix)
{
    enum { BLOCKS = 3, ROOM = (BLOCKS + 2) * 64 };
    size_t count = (size_t)_i;
    static uint8_t data[MD5_LANES][ROOM];
    struct md5 m[MD5_LANES], *streams[MD5_LANES];
    const uint8_t *from[MD5_LANES];
    for (size_t tail = 0; tail < 64; tail++) {
        size_t len = (BLOCKS - 1) * 64 + tail, padded = 0;
        uint8_t expected[MD5_LANES][16], found[16];
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < len; k++)
                data[i][k] = (uint8_t)rand();
            digest_once(DIGEST_MD5, bytes_of(data[i], len), expected[i]);
            padded = md5_pad(data[i], len, len);
            md5_init(&m[i]);
            streams[i] = &m[i];
            from[i] = data[i];
        }
        md5_blocks(streams, from, count, padded / MD5_BLOCK_BYTES);
        for (size_t i = 0; i < count; i++) {
            md5_value(&m[i], found);
            ck_assert_mem_eq(found, expected[i], 16);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("md5");
    TCase *tc = tcase_create("md5");
    tcase_add_loop_test(tc, vectors_of_the_rfc, 0, 4);
    tcase_add_loop_test(tc, lanes_do_not_mix, 1, MD5_LANES + 1);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
