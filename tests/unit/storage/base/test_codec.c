/* Hexadecimal, base64 (RFC 4648's vectors), percent-encoding. */
#include "storage/base/codec.h"
#include "tests/lib/suite.h"

START_TEST(test_hex)
{
    char text[9];
    uint8_t raw[4] = { 9, 9, 9, 9 };
    hex_encode(bytes_of("\x00\xff\x1a\xb2", 4), text);
    ck_assert_str_eq(text, "00ff1ab2");
    ck_assert_int_eq(hex_decode(BYTES_LIT("00FF1ab2"), raw, 4), KIST_OK);
    ck_assert_mem_eq(raw, "\x00\xff\x1a\xb2", 4);
    ck_assert_int_eq(hex_decode(BYTES_LIT("00ff1ab"), raw, 4), KIST_E_INVALID);
    ck_assert_int_eq(hex_decode(BYTES_LIT("00ff1ab2"), raw, 3), KIST_E_INVALID);
    ck_assert_int_eq(hex_decode(BYTES_LIT("11ff1abg"), raw, 4), KIST_E_INVALID);
    ck_assert_uint_eq(raw[0], 0); /* untouched by failures */
}
END_TEST

static const struct {
    const char *plain, *base64, *url;
} vectors[] = {
    { "", "", "" },
    { "f", "Zg==", "Zg" },
    { "fo", "Zm8=", "Zm8" },
    { "foo", "Zm9v", "Zm9v" },
    { "foob", "Zm9vYg==", "Zm9vYg" },
    { "fooba", "Zm9vYmE=", "Zm9vYmE" },
    { "foobar", "Zm9vYmFy", "Zm9vYmFy" },
    { "\xfb\xff\xbf", "+/+/", "-_-_" },
};

START_TEST(test_base64)
{
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        char text[20];
        uint8_t raw[10];
        size_t len = 99;
        struct bytes plain = bytes_str(vectors[i].plain);
        base64_encode(plain, text);
        ck_assert_str_eq(text, vectors[i].base64);
        ck_assert_uint_eq(strlen(text), BASE64_LEN(plain.len));
        ck_assert_int_eq(base64_decode(bytes_str(text), raw, sizeof(raw), &len), KIST_OK);
        ck_assert(bytes_equal(bytes_of(raw, len), plain));
        ck_assert_int_eq(base64url_decode(bytes_str(vectors[i].url), raw, sizeof(raw), &len),
                         KIST_OK);
        ck_assert(bytes_equal(bytes_of(raw, len), plain));
    }
}
END_TEST

START_TEST(test_bad_base64)
{
    static const char *const bad[] = { "Zg",     "Zg=",   "Zg===",   "=",    "====",
                                       "Z===",   "Zm9v=", "Zh==",    "Zm9=", "Zm 9v",
                                       "Zm9v\n", "Zm-v",  "Zg==Zg==" };
    static const char *const bad_url[] = { "Z", "Zg==", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm v" };
    uint8_t raw[20];
    size_t len;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(base64_decode(bytes_str(bad[i]), raw, sizeof(raw), &len) == KIST_E_INVALID,
                      "%s", bad[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad_url); i++)
        ck_assert_msg(base64url_decode(bytes_str(bad_url[i]), raw, sizeof(raw), &len) ==
                          KIST_E_INVALID,
                      "%s", bad_url[i]);
    ck_assert_int_eq(base64_decode(BYTES_LIT("Zm9vYmFy"), raw, 5, &len), KIST_E_INVALID);
    ck_assert_int_eq(base64_decode(BYTES_LIT("Zm9vYmE="), raw, 5, &len), KIST_OK);
    ck_assert_int_eq(base64url_decode(BYTES_LIT("Zm9vYmFy"), raw, 5, &len), KIST_E_INVALID);
}
END_TEST

static void check_encoded(struct bytes in, bool keep_slash, const char *wanted)
{
    struct buf out;
    buf_init(&out, 100);
    ck_assert_int_eq(uri_encode(&out, in, keep_slash), KIST_OK);
    ck_assert(bytes_equal(buf_bytes(&out), bytes_str(wanted)));
    buf_release(&out);
}

START_TEST(test_uri)
{
    uint8_t out[20];
    size_t len;
    check_encoded(BYTES_LIT("AZaz09-._~"), false, "AZaz09-._~");
    check_encoded(BYTES_LIT("a/b c+d"), true, "a/b%20c%2Bd");
    check_encoded(BYTES_LIT("a/\xc3\xa4*"), false, "a%2F%C3%A4%2A");
    ck_assert_int_eq(uri_decode(BYTES_LIT("a%2fb+c%20"), false, out, &len), KIST_OK);
    ck_assert(bytes_equal(bytes_of(out, len), BYTES_LIT("a/b+c ")));
    ck_assert_int_eq(uri_decode(BYTES_LIT("a+b"), true, out, &len), KIST_OK);
    ck_assert(bytes_equal(bytes_of(out, len), BYTES_LIT("a b")));
    ck_assert_int_eq(uri_decode(BYTES_LIT("%00"), false, out, &len), KIST_OK);
    ck_assert_uint_eq(len, 1);
    static const char *const bad[] = { "%", "a%2", "%2", "%zz", "%2g", "%%41" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(uri_decode(bytes_str(bad[i]), false, out, &len) == KIST_E_INVALID, "%s",
                      bad[i]);
}
END_TEST

START_TEST(test_uri_copy)
{
    struct arena arena;
    struct bytes out = BYTES_LIT("kept");
    arena_init(&arena, 4096);
    ck_assert_int_eq(uri_decode_copy(&arena, BYTES_LIT("%2"), true, &out), KIST_E_INVALID);
    ck_assert(bytes_equal(out, BYTES_LIT("kept")));
    ck_assert_int_eq(uri_decode_copy(&arena, BYTES_LIT("a+b%2F"), true, &out), KIST_OK);
    ck_assert_str_eq((const char *)out.ptr, "a b/");
    ck_assert_uint_eq(out.len, 4);
    arena_release(&arena);
    arena_init(&arena, 0);
    ck_assert_int_eq(uri_decode_copy(&arena, BYTES_LIT("a"), true, &out), KIST_E_NOMEM);
    arena_release(&arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec");
    TCase *tcase = tcase_create("codec");
    tcase_add_test(tcase, test_hex);
    tcase_add_test(tcase, test_base64);
    tcase_add_test(tcase, test_bad_base64);
    tcase_add_test(tcase, test_uri);
    tcase_add_test(tcase, test_uri_copy);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
