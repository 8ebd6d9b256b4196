/* Rows and commands as lines of JSON. */
#include "storage/index/apply.h"
#include "storage/index/dump.h"
#include "storage/index/rows.h"
#include "storage/schema/schema.h"
#include "tests/lib/suite.h"

static struct buf out, packed;

static void setup(void)
{
    buf_init(&out, 1 << 16);
    buf_init(&packed, 1 << 16);
}

static void teardown(void)
{
    buf_release(&out);
    buf_release(&packed);
}

static void check(const char *wanted)
{
    ck_assert_int_eq(buf_append(&out, "", 1), KIST_OK);
    ck_assert_str_eq((const char *)out.ptr, wanted);
    buf_clear(&out);
}

static void check_row(const struct row_key *key, const void *message, const char *wanted)
{
    buf_clear(&packed);
    if (message)
        ck_assert_int_eq(schema_pack(message, &packed), KIST_OK);
    ck_assert_int_eq(dump_row(&out, row_bytes(key), buf_bytes(&packed)), KIST_OK);
    check(wanted);
}

START_TEST(test_objects)
{
    struct row_key key;
    Kist__Object o = KIST__OBJECT__INIT;
    Kist__NullVersion n = KIST__NULL_VERSION__INIT;
    Kist__Upload u = KIST__UPLOAD__INIT;
    o.size = 3;
    row_object(&key, 7, BYTES_LIT("a/b"));
    check_row(&key, &o,
              "{\"row\":\"object\",\"bucket\":7,\"key\":\"a/b\",\"value\":{\"size\":3}}");
    row_version(&key, 7, BYTES_LIT("k"), 99);
    check_row(&key, &o,
              "{\"row\":\"version\",\"bucket\":7,\"key\":\"k\",\"data\":99,"
              "\"value\":{\"size\":3}}");
    row_null(&key, 7, BYTES_LIT("k"));
    n.data_id = 4;
    check_row(&key, &n,
              "{\"row\":\"null_version\",\"bucket\":7,\"key\":\"k\",\"value\":{\"data_id\":4}}");
    row_upload(&key, 7, BYTES_LIT("k"), 12);
    check_row(&key, &u,
              "{\"row\":\"upload\",\"bucket\":7,\"key\":\"k\",\"upload\":12,\"value\":{}}");
}
END_TEST

START_TEST(test_other_tables)
{
    struct row_key key;
    Kist__IamEntity e = KIST__IAM_ENTITY__INIT;
    Kist__Account a = KIST__ACCOUNT__INIT;
    Kist__Usage u = KIST__USAGE__INIT;
    Kist__Due d = KIST__DUE__INIT;
    row_iam(&key, BYTES_EMPTY, IAM_USER, BYTES_LIT("ann"));
    check_row(&key, &e, "{\"row\":\"iam\",\"kind\":1,\"name\":\"ann\",\"value\":{}}");
    row_iam(&key, BYTES_LIT("123456789012"), IAM_USER, BYTES_LIT("ann"));
    check_row(&key, &e,
              "{\"row\":\"iam\",\"kind\":129,\"account\":\"123456789012\",\"name\":\"ann\","
              "\"value\":{}}");
    row_account(&key, BYTES_LIT("123456789012"));
    check_row(&key, &a, "{\"row\":\"account\",\"id\":\"123456789012\",\"value\":{}}");
    row_account_by(&key, ACCOUNT_FIRST, BYTES_EMPTY);
    check_row(&key, &a, "{\"row\":\"first_account\",\"value\":{}}");
    row_usage_day(&key, 20000, BYTES_EMPTY, BYTES_LIT("anonymous"), 5);
    u.requests = 2;
    check_row(&key, &u,
              "{\"row\":\"usage_of_day\",\"day\":20000,\"account\":\"\",\"who\":\"anonymous\","
              "\"bucket\":5,\"value\":{\"requests\":2}}");
    row_due(&key, 1000, 2, BYTES_LIT("k"), 3, 1);
    check_row(&key, &d,
              "{\"row\":\"due\",\"time_ms\":1000,\"bucket\":2,\"key\":\"k\",\"id\":3,\"kind\":1,"
              "\"value\":{}}");
    row_token_age(&key, 1000, 2, BYTES_LIT("t"));
    check_row(&key, NULL,
              "{\"row\":\"token_age\",\"time_ms\":1000,\"bucket\":2,\"token\":\"t\"}");
}
END_TEST

/* Whatever the bytes are, a line comes, and what an unknown table holds is not shown. */
START_TEST(test_damage)
{
    ck_assert_int_eq(dump_row(&out, BYTES_LIT("?x"), BYTES_LIT("secret")), KIST_OK);
    check("{\"row\":\"(unknown)\",\"key\":\"?x\",\"bytes\":6}");
    ck_assert_int_eq(dump_row(&out, BYTES_LIT("O123"), BYTES_EMPTY), KIST_OK);
    check("{\"row\":\"object\",\"damaged\":\"key\",\"value\":{}}");
    ck_assert_int_eq(dump_row(&out, BYTES_LIT("Bname"), BYTES_LIT("\xff\xff")), KIST_OK);
    check("{\"row\":\"bucket\",\"name\":\"name\",\"damaged\":\"value\",\"bytes\":2}");
    ck_assert_int_eq(dump_row(&out, BYTES_EMPTY, BYTES_EMPTY), KIST_OK);
    check("{\"row\":\"(unknown)\",\"key\":\"\",\"bytes\":0}");
    ck_assert_int_eq(dump_command(&out, 3, BYTES_LIT("\xff"), 0), KIST_OK);
    check("{\"log\":3,\"damaged\":\"command\",\"bytes\":1}");
}
END_TEST

START_TEST(test_command)
{
    Kist__Command c = KIST__COMMAND__INIT;
    Kist__DeleteBucket d = KIST__DELETE_BUCKET__INIT;
    char name[] = "b";
    d.name = name;
    c.of_case = KIST__COMMAND__OF_DELETE_BUCKET;
    c.delete_bucket = &d;
    ck_assert_int_eq(schema_pack(&c, &packed), KIST_OK);
    ck_assert_int_eq(dump_command(&out, 17, buf_bytes(&packed), 5), KIST_OK);
    check("{\"log\":17,\"body\":5,\"command\":{\"delete_bucket\":{\"name\":\"b\"}}}");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dump");
    TCase *tcase = tcase_create("dump");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_objects);
    tcase_add_test(tcase, test_other_tables);
    tcase_add_test(tcase, test_damage);
    tcase_add_test(tcase, test_command);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
