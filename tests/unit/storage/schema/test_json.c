/* Records as lines of JSON: every kind of field, and what is hidden. */
#include "storage/schema/json.h"
#include "tests/lib/suite.h"

static struct buf out;

static void setup(void)
{
    buf_init(&out, 1 << 16);
}

static void teardown(void)
{
    buf_release(&out);
}

static void check(const char *wanted)
{
    ck_assert_int_eq(buf_append(&out, "", 1), KIST_OK);
    ck_assert_str_eq((const char *)out.ptr, wanted);
    buf_clear(&out);
}

static void check_bytes(struct bytes value, const char *wanted)
{
    ck_assert_int_eq(schema_json_bytes(&out, value), KIST_OK);
    check(wanted);
}

START_TEST(test_bytes)
{
    check_bytes(BYTES_EMPTY, "\"\"");
    check_bytes(BYTES_LIT("a/b\xc3\xa4"), "\"a/b\xc3\xa4\"");
    check_bytes(BYTES_LIT("say \"\\\""), "\"say \\\"\\\\\\\"\"");
    check_bytes(BYTES_LIT("a\nb"), "{\"hex\":\"610a62\"}");
    check_bytes(BYTES_LIT("\xff"), "{\"hex\":\"ff\"}");
    check_bytes(bytes_of("\0", 1), "{\"hex\":\"00\"}");
}
END_TEST

static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

START_TEST(test_scalars_and_defaults)
{
    Kist__Object o = KIST__OBJECT__INIT;
    ck_assert_int_eq(schema_json(&out, &o), KIST_OK);
    check("{}");
    o.size = UINT64_MAX;
    o.mtime_ms = -5;
    o.part_count = 4000000000U;
    o.delete_marker = true;
    o.storage_class = text("STANDARD_IA");
    o.etag = schema_data(BYTES_LIT("\x01\x02"));
    ck_assert_int_eq(schema_json(&out, &o), KIST_OK);
    check("{\"size\":18446744073709551615,\"mtime_ms\":-5,\"etag\":{\"hex\":\"0102\"},"
          "\"part_count\":4000000000,\"storage_class\":\"STANDARD_IA\",\"delete_marker\":true}");
}
END_TEST

START_TEST(test_lists_and_messages)
{
    Kist__Extent e = KIST__EXTENT__INIT;
    uint32_t crcs[] = { 1, 2 };
    Kist__Bucket b = KIST__BUCKET__INIT;
    Kist__Pair one = KIST__PAIR__INIT, two = KIST__PAIR__INIT, *tags[] = { &one, &two };
    e.n_crcs = 2;
    e.crcs = crcs;
    ck_assert_int_eq(schema_json(&out, &e), KIST_OK);
    check("{\"crcs\":[1,2]}");
    one.name = text("n");
    one.value = text("line\nend\"");
    b.n_tags = 2;
    b.tags = tags;
    ck_assert_int_eq(schema_json(&out, &b), KIST_OK);
    check("{\"tags\":[{\"name\":\"n\",\"value\":\"line\\u000aend\\\"\"},{}]}");
}
END_TEST

START_TEST(test_one_of)
{
    Kist__Command c = KIST__COMMAND__INIT;
    Kist__DeleteBucket d = KIST__DELETE_BUCKET__INIT;
    d.name = text("b");
    c.of_case = KIST__COMMAND__OF_DELETE_BUCKET;
    c.delete_bucket = &d;
    ck_assert_int_eq(schema_json(&out, &c), KIST_OK);
    check("{\"delete_bucket\":{\"name\":\"b\"}}");
}
END_TEST

START_TEST(test_secrets)
{
    Kist__IamEntity key = KIST__IAM_ENTITY__INIT;
    Kist__Seal seal = KIST__SEAL__INIT;
    Kist__Upload upload = KIST__UPLOAD__INIT;
    key.name = text("AKIA");
    key.secret = text("very secret");
    ck_assert_int_eq(schema_json(&out, &key), KIST_OK);
    check("{\"name\":\"AKIA\",\"secret\":\"(hidden)\"}");
    seal.kind = 1;
    seal.wrapped_key = schema_data(BYTES_LIT("wrapped"));
    ck_assert_int_eq(schema_json(&out, &seal), KIST_OK);
    check("{\"kind\":1,\"wrapped_key\":\"(hidden)\"}");
    upload.id = 7;
    upload.nonce = schema_data(BYTES_LIT("12345678"));
    ck_assert_int_eq(schema_json(&out, &upload), KIST_OK);
    check("{\"id\":7,\"nonce\":\"(hidden)\"}");
}
END_TEST

START_TEST(test_ceiling)
{
    struct buf small;
    Kist__Bucket b = KIST__BUCKET__INIT;
    b.name = text("0123456789");
    buf_init(&small, 12);
    ck_assert_int_eq(schema_json(&small, &b), KIST_E_TOO_LARGE);
    buf_release(&small);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tcase = tcase_create("json");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_bytes);
    tcase_add_test(tcase, test_scalars_and_defaults);
    tcase_add_test(tcase, test_lists_and_messages);
    tcase_add_test(tcase, test_one_of);
    tcase_add_test(tcase, test_secrets);
    tcase_add_test(tcase, test_ceiling);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
