/* Digests and CRCs: published values, pieces against the whole, combining. */
#include "storage/base/codec.h"
#include "storage/base/digest.h"
#include "tests/lib/suite.h"

static void check_once(enum digest_kind kind, struct bytes in, const char *wanted)
{
    uint8_t out[DIGEST_MAX_LEN];
    char hex[2 * DIGEST_MAX_LEN + 1];
    digest_once(kind, in, out);
    hex_encode(bytes_of(out, digest_len(kind)), hex);
    ck_assert_str_eq(hex, wanted);
}

/* "123456789" is what catalogues of CRCs check with. */
START_TEST(test_vectors)
{
    struct bytes nine = BYTES_LIT("123456789");
    check_once(DIGEST_MD5, BYTES_LIT("abc"), "900150983cd24fb0d6963f7d28e17f72");
    check_once(DIGEST_SHA1, BYTES_LIT("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    check_once(DIGEST_SHA256, BYTES_LIT("abc"),
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_once(DIGEST_CRC32, nine, "cbf43926");
    check_once(DIGEST_CRC32C, nine, "e3069283");
    check_once(DIGEST_CRC64NVME, nine, "ae8b14860a799888");
    check_once(DIGEST_MD5, BYTES_EMPTY, "d41d8cd98f00b204e9800998ecf8427e");
    check_once(DIGEST_CRC64NVME, BYTES_EMPTY, "0000000000000000");
}
END_TEST

#define DATA_LEN 100000

static uint8_t *some_data(void)
{
    uint8_t *data = malloc(DATA_LEN);
    uint32_t r = 1;
    ck_assert_ptr_nonnull(data);
    for (size_t i = 0; i < DATA_LEN; i++) {
        r = r * 1664525 + 1013904223;
        data[i] = (uint8_t)(r >> 24);
    }
    return data;
}

/* Every kind in one stream, cut in pieces of every small length. */
START_TEST(test_pieces)
{
    uint8_t *data = some_data();
    struct digest_set set;
    uint8_t whole[DIGEST_MAX_LEN], pieces[DIGEST_MAX_LEN];
    ck_assert_int_eq(digest_set_init(&set, (1U << DIGEST_KIND_COUNT) - 1), KIST_OK);
    for (size_t at = 0, n = 0; at < DATA_LEN; at += n) {
        n = at % 257 + 1;
        n = n > DATA_LEN - at ? DATA_LEN - at : n;
        digest_set_update(&set, data + at, n);
    }
    for (int kind = 0; kind < DIGEST_KIND_COUNT; kind++) {
        digest_set_final(&set, (enum digest_kind)kind, pieces);
        digest_once((enum digest_kind)kind, bytes_of(data, DATA_LEN), whole);
        ck_assert_mem_eq(pieces, whole, digest_len((enum digest_kind)kind));
    }
    digest_set_release(&set);
    free(data);
}
END_TEST

START_TEST(test_peek_and_restart)
{
    struct digest_set set;
    uint8_t got[DIGEST_MAX_LEN], wanted[DIGEST_MAX_LEN];
    ck_assert_int_eq(digest_set_init(&set, DIGEST_BIT(DIGEST_SHA256) | DIGEST_BIT(DIGEST_MD5)),
                     KIST_OK);
    digest_set_update(&set, "abc", 3);
    ck_assert(digest_set_peek(&set, DIGEST_MD5, got));
    digest_once(DIGEST_MD5, BYTES_LIT("abc"), wanted);
    ck_assert_mem_eq(got, wanted, 16);
    digest_set_restart(&set, DIGEST_SHA256);
    digest_set_update(&set, "def", 3);
    digest_set_final(&set, DIGEST_MD5, got); /* went on */
    digest_once(DIGEST_MD5, BYTES_LIT("abcdef"), wanted);
    ck_assert_mem_eq(got, wanted, 16);
    digest_set_final(&set, DIGEST_SHA256, got); /* began anew */
    digest_once(DIGEST_SHA256, BYTES_LIT("def"), wanted);
    ck_assert_mem_eq(got, wanted, 32);
    digest_set_release(&set);
}
END_TEST

static uint64_t crc_of(enum digest_kind kind, const uint8_t *data, size_t len)
{
    if (kind == DIGEST_CRC32)
        return crc32_update(0, data, len);
    return kind == DIGEST_CRC32C ? crc32c_update(0, data, len) : crc64nvme_update(0, data, len);
}

START_TEST(test_combine)
{
    static const enum digest_kind kinds[] = { DIGEST_CRC32, DIGEST_CRC32C, DIGEST_CRC64NVME };
    static const size_t cuts[] = { 0, 1, 7, 4096, 50000, DATA_LEN };
    uint8_t *data = some_data();
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
        for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
            uint64_t a = crc_of(kinds[k], data, cuts[c]);
            uint64_t b = crc_of(kinds[k], data + cuts[c], DATA_LEN - cuts[c]);
            ck_assert_uint_eq(crc_combine(kinds[k], a, b, DATA_LEN - cuts[c]),
                              crc_of(kinds[k], data, DATA_LEN));
        }
    free(data);
}
END_TEST

/* The fast way takes blocks, the rest goes byte by byte: all lengths and alignments agree. */
START_TEST(test_crc_lengths)
{
    uint8_t *data = some_data();
    for (size_t start = 0; start < 17; start++)
        for (size_t len = 0; len < 300; len++) {
            uint64_t bytewise = 0;
            uint32_t bytewise_c = 0;
            for (size_t i = 0; i < len; i++) {
                bytewise = crc64nvme_update(bytewise, data + start + i, 1);
                bytewise_c = crc32c_update(bytewise_c, data + start + i, 1);
            }
            ck_assert_uint_eq(crc64nvme_update(0, data + start, len), bytewise);
            ck_assert_uint_eq(crc32c_update(0, data + start, len), bytewise_c);
        }
    free(data);
}
END_TEST

/* RFC 4231 test case 2, RFC 2202 test case 2. */
START_TEST(test_hmac)
{
    uint8_t out[32];
    char hex[65];
    struct bytes key = BYTES_LIT("Jefe"), data = BYTES_LIT("what do ya want for nothing?");
    hmac_sha256(key, data, out);
    hex_encode(bytes_of(out, 32), hex);
    ck_assert_str_eq(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    hmac_sha1(key, data, out);
    hex_encode(bytes_of(out, 20), hex);
    ck_assert_str_eq(hex, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    struct hmac_key *prepared = hmac_key_new(key);
    ck_assert_ptr_nonnull(prepared);
    for (int i = 0; i < 2; i++) {
        hmac_key_sign(prepared, data, out);
        hex_encode(bytes_of(out, 32), hex);
        ck_assert_str_eq(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
    hmac_key_free(prepared);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("digest");
    TCase *tcase = tcase_create("digest");
    tcase_add_test(tcase, test_vectors);
    tcase_add_test(tcase, test_pieces);
    tcase_add_test(tcase, test_peek_and_restart);
    tcase_add_test(tcase, test_combine);
    tcase_add_test(tcase, test_crc_lengths);
    tcase_add_test(tcase, test_hmac);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
