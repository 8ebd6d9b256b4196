/* SHA-256 in pairs, against FIPS 180-4's example and OpenSSL. */
#include <string.h>

#include "storage/base/codec.h"
#include "storage/base/digest.h"
#include "storage/base/sha256.h"
#include "tests/lib/suite.h"

#define STREAMS 5

START_TEST(example_of_the_standard)
{
    struct sha256 s;
    uint8_t out[32];
    char hex[65];
    sha256_init(&s);
    sha256_final(&s, (const uint8_t *)"abc", 3, 3, out);
    hex_encode(bytes_of(out, sizeof(out)), hex);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

/* Odd and even numbers of streams, each with bytes of its own, every length of the tail. */
START_TEST(streams_do_not_mix)
{
    enum { BLOCKS = 3, ROOM = (BLOCKS + 1) * 64 };
    size_t count = (size_t)_i;
    static uint8_t data[STREAMS][ROOM];
    struct sha256 states[STREAMS], *streams[STREAMS];
    const uint8_t *from[STREAMS];
    for (size_t tail = 0; tail < 64; tail++) {
        size_t len = BLOCKS * 64 + tail;
        uint8_t expected[32], found[32];
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < len; k++)
                data[i][k] = (uint8_t)rand();
            sha256_init(&states[i]);
            streams[i] = &states[i];
            from[i] = data[i];
        }
        sha256_blocks(streams, from, count, 1);
        for (size_t i = 0; i < count; i++)
            from[i] += 64;
        sha256_blocks(streams, from, count, BLOCKS - 1);
        for (size_t i = 0; i < count; i++) {
            digest_once(DIGEST_SHA256, bytes_of(data[i], len), expected);
            sha256_final(&states[i], data[i] + BLOCKS * 64, tail, len, found);
            ck_assert_mem_eq(found, expected, 32);
        }
    }
}
END_TEST

int main(void)
{
    if (!sha256_is_here()) {
        printf("skipped: this processor has no SHA instructions\n");
        return EXIT_SUCCESS;
    }
    Suite *suite = suite_create("sha256");
    TCase *tc = tcase_create("sha256");
    tcase_add_test(tc, example_of_the_standard);
    tcase_add_loop_test(tc, streams_do_not_mix, 1, STREAMS + 1);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
