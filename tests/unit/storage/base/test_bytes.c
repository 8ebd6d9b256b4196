/* Slices and buffers. */
#include "storage/base/bytes.h"
#include "tests/lib/suite.h"

START_TEST(test_order)
{
    ck_assert_int_lt(bytes_compare(BYTES_LIT("a"), BYTES_LIT("ab")), 0);
    ck_assert_int_gt(bytes_compare(BYTES_LIT("b"), BYTES_LIT("ab")), 0);
    ck_assert_int_gt(bytes_compare(BYTES_LIT("\xff"), BYTES_LIT("a")), 0); /* unsigned */
    ck_assert_int_eq(bytes_compare(BYTES_LIT("ab"), BYTES_LIT("ab")), 0);
    ck_assert_int_lt(bytes_compare(BYTES_EMPTY, BYTES_LIT("\0")), 0);
    ck_assert_int_eq(bytes_compare(BYTES_EMPTY, BYTES_EMPTY), 0);
}
END_TEST

START_TEST(test_equality)
{
    ck_assert(bytes_equal(BYTES_EMPTY, BYTES_LIT("")));
    ck_assert(bytes_equal(bytes_str(NULL), BYTES_EMPTY));
    ck_assert(!bytes_equal(BYTES_LIT("a"), BYTES_LIT("b")));
    ck_assert(!bytes_equal(BYTES_LIT("a"), BYTES_LIT("aa")));
    ck_assert(bytes_equal_nocase(BYTES_LIT("Content-LENGTH"), BYTES_LIT("content-length")));
    ck_assert(!bytes_equal_nocase(BYTES_LIT("["), BYTES_LIT("{"))); /* letters only */
    ck_assert(!bytes_equal_nocase(BYTES_LIT("a"), BYTES_LIT("ab")));
    ck_assert(bytes_equal_secret(BYTES_LIT("key"), BYTES_LIT("key")));
    ck_assert(!bytes_equal_secret(BYTES_LIT("key"), BYTES_LIT("kez")));
    ck_assert(!bytes_equal_secret(BYTES_LIT("key"), BYTES_LIT("keys")));
    ck_assert(bytes_starts_with(BYTES_LIT("abc"), BYTES_LIT("ab")));
    ck_assert(bytes_starts_with(BYTES_LIT("abc"), BYTES_EMPTY));
    ck_assert(!bytes_starts_with(BYTES_LIT("a"), BYTES_LIT("ab")));
}
END_TEST

START_TEST(test_find)
{
    struct bytes s = BYTES_LIT("abcabc");
    ck_assert_uint_eq(bytes_find(s, BYTES_LIT("ca"), 0), 2);
    ck_assert_uint_eq(bytes_find(s, BYTES_LIT("abc"), 1), 3);
    ck_assert_uint_eq(bytes_find(s, BYTES_LIT("abc"), 4), SIZE_MAX);
    ck_assert_uint_eq(bytes_find(s, BYTES_LIT("d"), 0), SIZE_MAX);
    ck_assert_uint_eq(bytes_find(s, BYTES_EMPTY, 0), SIZE_MAX);
    ck_assert_uint_eq(bytes_find(s, BYTES_LIT("a"), 100), SIZE_MAX);
    ck_assert_uint_eq(bytes_find(BYTES_LIT("a\0b"), bytes_of("", 1), 0), 1);
}
END_TEST

START_TEST(test_trim)
{
    ck_assert(bytes_equal(bytes_trim(BYTES_LIT(" \t a b\t"), " \t"), BYTES_LIT("a b")));
    ck_assert(bytes_equal(bytes_trim(BYTES_LIT("\ta "), " "), BYTES_LIT("\ta")));
    ck_assert(bytes_equal(bytes_trim(BYTES_LIT("\0 "), " "), bytes_of("", 1)));
    ck_assert_uint_eq(bytes_trim(BYTES_LIT("  "), " ").len, 0);
    ck_assert_uint_eq(bytes_trim(BYTES_EMPTY, " ").len, 0);
}
END_TEST

START_TEST(test_utf8)
{
    static const char *const good[] = { "",
                                        "a",
                                        "\xc3\xa4",
                                        "\xe2\x82\xac",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xf0\x9f\x98\x80",
                                        "\xf4\x8f\xbf\xbf" };
    static const char *const bad[] = { "\x80", /* a continuation alone */
                                       "\xc3", /* cut short */
                                       "\xe2\x82",
                                       "\xf0\x9f\x98",
                                       "\xc3(",
                                       "\xc0\x80",
                                       "\xc1\xbf", /* overlong */
                                       "\xe0\x9f\xbf",
                                       "\xf0\x8f\xbf\xbf",
                                       "\xed\xa0\x80",     /* a surrogate */
                                       "\xf4\x90\x80\x80", /* above U+10FFFF */
                                       "\xf5\x80\x80\x80",
                                       "\xff" };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(bytes_is_utf8(bytes_str(good[i])), "good %zu", i);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!bytes_is_utf8(bytes_str(bad[i])), "bad %zu", i);
    struct arena arena;
    arena_init(&arena, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_str_eq(arena_utf8(&arena, good[i]), good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(bytes_is_utf8(bytes_str(arena_utf8(&arena, bad[i]))), "bad %zu", i);
    ck_assert_str_eq(arena_utf8(&arena, "\xc3\xa4 \xe2\x82 \xc3("), "\xc3\xa4 ?? ?(");
    arena_release(&arena);
}
END_TEST

START_TEST(test_numbers)
{
    uint64_t v = 7;
    ck_assert_int_eq(bytes_to_u64(BYTES_LIT("18446744073709551615"), UINT64_MAX, &v), KIST_OK);
    ck_assert_uint_eq(v, UINT64_MAX);
    v = 7;
    static const char *const bad[] = { "",
                                       " 1",
                                       "1 ",
                                       "+1",
                                       "-1",
                                       "0x1",
                                       "1e3",
                                       "18446744073709551616",
                                       "99999999999999999999999" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_int_eq(bytes_to_u64(bytes_str(bad[i]), UINT64_MAX, &v), KIST_E_INVALID);
    ck_assert_int_eq(bytes_to_u64(BYTES_LIT("101"), 100, &v), KIST_E_INVALID);
    ck_assert_uint_eq(v, 7); /* untouched by failures */
    ck_assert_int_eq(bytes_to_u64(BYTES_LIT("0100"), 100, &v), KIST_OK);
    ck_assert_uint_eq(v, 100);
}
END_TEST

START_TEST(test_buffer)
{
    struct buf b;
    buf_init(&b, 10);
    ck_assert_int_eq(buf_append_str(&b, "12345"), KIST_OK);
    ck_assert_int_eq(buf_append_str(&b, "678901"), KIST_E_TOO_LARGE);
    ck_assert(bytes_equal(buf_bytes(&b), BYTES_LIT("12345"))); /* nothing of it */
    ck_assert_int_eq(buf_printf(&b, "%d", 67890), KIST_OK);
    ck_assert_int_eq(buf_printf(&b, "x"), KIST_E_TOO_LARGE);
    ck_assert_int_eq(buf_append(&b, NULL, 0), KIST_OK);
    ck_assert_int_eq(buf_reserve(&b, SIZE_MAX), KIST_E_TOO_LARGE);
    ck_assert(bytes_equal(buf_bytes(&b), BYTES_LIT("1234567890")));
    ck_assert_uint_le(b.cap, 10);
    buf_clear(&b);
    ck_assert_int_eq(buf_append_bytes(&b, BYTES_LIT("abc")), KIST_OK);
    ck_assert_uint_eq(b.len, 3);
    buf_release(&b);
    ck_assert_ptr_null(b.ptr);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bytes");
    TCase *tcase = tcase_create("bytes");
    tcase_add_test(tcase, test_order);
    tcase_add_test(tcase, test_equality);
    tcase_add_test(tcase, test_find);
    tcase_add_test(tcase, test_trim);
    tcase_add_test(tcase, test_utf8);
    tcase_add_test(tcase, test_numbers);
    tcase_add_test(tcase, test_buffer);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
