/* Sealed blocks: NIST's vector, tampering, lengths. */
#include <string.h>

#include "storage/base/codec.h"
#include "storage/base/seal.h"
#include "tests/lib/suite.h"

static const uint8_t key[SEAL_KEY_BYTES] = { 1, 2, 3 };

static void seal(uint64_t block, struct bytes in, uint8_t *out)
{
    struct sealer *s = NULL;
    ck_assert_int_eq(sealer_open(key, &s), KIST_OK);
    ck_assert_int_eq(sealer_begin(s, block), KIST_OK);
    for (size_t at = 0; at < in.len; at += 7) {
        size_t n = in.len - at < 7 ? in.len - at : 7;
        ck_assert_int_eq(sealer_update(s, bytes_of(in.ptr + at, n), out + at), KIST_OK);
    }
    ck_assert_int_eq(sealer_end(s, out + in.len), KIST_OK);
    sealer_close(s);
}

/* Test case 14 of the GCM specification (McGrew, Viega): zero key, zero nonce, one zero block. */
START_TEST(vector)
{
    static const uint8_t zero[SEAL_KEY_BYTES];
    uint8_t out[32];
    char hex[65];
    struct sealer *s = NULL;
    ck_assert_int_eq(sealer_open(zero, &s), KIST_OK);
    ck_assert_int_eq(sealer_begin(s, 0), KIST_OK);
    ck_assert_int_eq(sealer_update(s, bytes_of(zero, 16), out), KIST_OK);
    ck_assert_int_eq(sealer_end(s, out + 16), KIST_OK);
    sealer_close(s);
    hex_encode(bytes_of(out, sizeof(out)), hex);
    ck_assert_str_eq(hex, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
}
END_TEST

START_TEST(opens_what_was_sealed)
{
    uint8_t plain[300], sealed[300 + SEAL_TAG_BYTES], opened[300];
    struct sealer *s = NULL;
    size_t len = (size_t)_i;
    memset(plain, 'p', sizeof(plain));
    seal(5, bytes_of(plain, len), sealed);
    ck_assert_int_eq(sealer_open(key, &s), KIST_OK);
    struct bytes all = bytes_of(sealed, len + SEAL_TAG_BYTES);
    ck_assert_int_eq(sealer_open_block(s, 5, all, opened), KIST_OK);
    ck_assert_mem_eq(opened, plain, len);
    ck_assert_int_eq(sealer_open_block(s, 6, all, opened), KIST_E_CORRUPT);
    for (size_t i = 0; i < all.len; i++) {
        sealed[i] ^= 1;
        ck_assert_int_eq(sealer_open_block(s, 5, all, opened), KIST_E_CORRUPT);
        sealed[i] ^= 1;
    }
    ck_assert_int_eq(sealer_open_block(s, 5, bytes_of(sealed, all.len - 1), opened),
                     KIST_E_CORRUPT);
    ck_assert_int_eq(sealer_open_block(s, 5, bytes_of(sealed, 3), opened), KIST_E_CORRUPT);
    ck_assert_int_eq(sealer_open_block(s, 5, all, sealed), KIST_OK); /* in place */
    ck_assert_mem_eq(sealed, plain, len);
    sealer_close(s);
}
END_TEST

START_TEST(wrapping)
{
    uint8_t made[SEAL_KEY_BYTES], found[SEAL_KEY_BYTES], other[SEAL_KEY_BYTES] = { 9 };
    uint8_t wrapped[SEAL_WRAPPED_BYTES], again[SEAL_WRAPPED_BYTES];
    ck_assert_int_eq(seal_new_key(env_real(), key, made, wrapped), KIST_OK);
    ck_assert_int_eq(seal_wrap(env_real(), key, made, again), KIST_OK);
    ck_assert_mem_ne(wrapped, again, sizeof(wrapped));
    struct bytes all = bytes_of(wrapped, sizeof(wrapped));
    ck_assert_int_eq(seal_unwrap(key, all, found), KIST_OK);
    ck_assert_mem_eq(found, made, sizeof(made));
    ck_assert_int_eq(seal_unwrap(other, all, found), KIST_E_DENIED);
    ck_assert_int_eq(seal_unwrap(key, bytes_of(wrapped, 10), found), KIST_E_DENIED);
    for (size_t i = 0; i < sizeof(wrapped); i++) {
        wrapped[i] ^= 0x80;
        ck_assert_int_eq(seal_unwrap(key, all, found), KIST_E_DENIED);
        wrapped[i] ^= 0x80;
    }
}
END_TEST

START_TEST(lengths)
{
    for (uint64_t n = 0; n < 500; n++) {
        uint64_t stored = sealed_length(n, 64);
        ck_assert_uint_eq(stored, n + (n + 47) / 48 * SEAL_TAG_BYTES);
        ck_assert_uint_eq(plain_length(stored, 64), n);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("seal");
    TCase *c = tcase_create("seal");
    tcase_add_test(c, vector);
    tcase_add_loop_test(c, opens_what_was_sealed, 0, 40);
    tcase_add_test(c, wrapping);
    tcase_add_test(c, lengths);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
