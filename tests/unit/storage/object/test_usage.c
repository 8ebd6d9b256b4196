/* Requests, transfer and invocations, as apply() adds them up. */
#include "tests/unit/storage/object/store_fixture.h"

#define ACCOUNT "000000000001"

static uint64_t make_bucket(const char *name)
{
    Kist__Bucket *made = NULL;
    ck_assert_int_eq(create_bucket(name, ""), KIST_OK);
    ck_assert_int_eq(store_bucket(store, bytes_str(name), &arena, &made), KIST_OK);
    return made->id;
}

struct delta {
    const char *account, *who, *bucket;
    uint64_t bucket_id;
    uint32_t day;
    uint64_t requests, in, out;
};

static enum kist_err add(const struct delta *d, uint32_t first_day)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AddUsage c = KIST__ADD_USAGE__INIT;
    Kist__UsageDelta delta = KIST__USAGE_DELTA__INIT, *list[1] = { &delta };
    Kist__Usage usage = KIST__USAGE__INIT;
    command.of_case = KIST__COMMAND__OF_ADD_USAGE;
    command.add_usage = &c;
    c.first_day = first_day;
    c.n_deltas = 1;
    c.deltas = list;
    delta.usage = &usage;
    delta.account = mut(d->account);
    delta.who = mut(d->who);
    delta.bucket_id = d->bucket_id;
    delta.day = d->day;
    usage.bucket = mut(d->bucket);
    usage.requests = d->requests;
    usage.bytes_in = d->in;
    usage.bytes_out = d->out;
    return store_commit(store, &command);
}

static bool add_line(void *ctx, const struct usage_row *row)
{
    char *lines = ctx;
    size_t len = strlen(lines);
    snprintf(lines + len, 500 - len, "%u %.*s %.*s %s %llu %llu %llu\n", row->day,
             (int)row->account.len, (const char *)row->account.ptr, (int)row->who.len,
             (const char *)row->who.ptr, row->usage->bucket,
             (unsigned long long)row->usage->requests, (unsigned long long)row->usage->bytes_in,
             (unsigned long long)row->usage->bytes_out);
    return true;
}

static void check_principals(const char *after, const char *after_who, const char *wanted)
{
    char lines[500] = "";
    ck_assert_int_eq(
        store_list_usage(store, bytes_str(after), bytes_str(after_who), add_line, lines),
        KIST_OK);
    ck_assert_str_eq(lines, wanted);
}

static void check_days(uint32_t first, const char *wanted)
{
    char lines[500] = "";
    ck_assert_int_eq(store_list_usage_days(store, first, add_line, lines), KIST_OK);
    ck_assert_str_eq(lines, wanted);
}

static uint64_t bucket_requests(uint64_t id)
{
    Kist__Usage *usage = NULL;
    ck_assert_int_eq(store_bucket_usage(store, id, &arena, &usage), KIST_OK);
    return usage->requests;
}

START_TEST(test_adds_up)
{
    uint64_t id = make_bucket("b");
    struct delta ann = { ACCOUNT, "user/ann", "b", id, 100, 2, 30, 400 };
    struct delta nobody = { "", "anonymous", "", 0, 100, 1, 0, 0 };
    ck_assert_int_eq(add(&ann, 0), KIST_OK);
    ck_assert_int_eq(add(&nobody, 0), KIST_OK);
    ann.day = 101;
    ck_assert_int_eq(add(&ann, 0), KIST_OK);
    ck_assert_int_eq(add(&ann, 0), KIST_OK);
    ck_assert_uint_eq(bucket_requests(id), 6);
    check_principals("", "",
                     "0  anonymous  1 0 0\n"
                     "0 " ACCOUNT " user/ann  6 90 1200\n");
    check_principals("", "anonymous", "0 " ACCOUNT " user/ann  6 90 1200\n");
    check_principals(ACCOUNT, "user/ann", "");
    check_days(0, "100  anonymous  1 0 0\n"
                  "100 " ACCOUNT " user/ann b 2 30 400\n"
                  "101 " ACCOUNT " user/ann b 4 60 800\n");
    check_days(101, "101 " ACCOUNT " user/ann b 4 60 800\n");
}
END_TEST

START_TEST(test_old_days_go)
{
    struct delta d = { ACCOUNT, "root", "", 0, 100, 1, 0, 0 };
    ck_assert_int_eq(add(&d, 0), KIST_OK);
    d.day = 300;
    ck_assert_int_eq(add(&d, 0), KIST_OK);
    d.day = 501;
    ck_assert_int_eq(add(&d, 101), KIST_OK);
    check_days(0, "300 " ACCOUNT " root  1 0 0\n"
                  "501 " ACCOUNT " root  1 0 0\n");
    check_principals("", "", "0 " ACCOUNT " root  3 0 0\n");
}
END_TEST

static enum kist_err add_function(const char *name, uint32_t day, uint64_t bucket_id)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AddUsage c = KIST__ADD_USAGE__INIT;
    Kist__UsageDelta delta = KIST__USAGE_DELTA__INIT, *list[1] = { &delta };
    Kist__Usage usage = KIST__USAGE__INIT;
    command.of_case = KIST__COMMAND__OF_ADD_USAGE;
    command.add_usage = &c;
    c.n_deltas = 1;
    c.deltas = list;
    delta.usage = &usage;
    delta.function = true;
    delta.account = mut(ACCOUNT);
    delta.who = mut(name);
    delta.bucket_id = bucket_id;
    delta.day = day;
    usage.invocations = 2;
    usage.billed_mb_ms = 128 * 7;
    return store_commit(store, &command);
}

static bool add_function_line(void *ctx, const struct usage_row *row)
{
    char *lines = ctx;
    size_t len = strlen(lines);
    snprintf(lines + len, 500 - len, "%u %.*s %.*s %llu %llu\n", row->day, (int)row->account.len,
             (const char *)row->account.ptr, (int)row->who.len, (const char *)row->who.ptr,
             (unsigned long long)row->usage->invocations,
             (unsigned long long)row->usage->billed_mb_ms);
    return true;
}

static void check_functions(const char *after, const char *wanted)
{
    char lines[500] = "";
    struct bytes account = after[0] ? BYTES_LIT(ACCOUNT) : BYTES_EMPTY;
    ck_assert_int_eq(
        store_list_function_usage(store, account, bytes_str(after), add_function_line, lines),
        KIST_OK);
    ck_assert_str_eq(lines, wanted);
}

/* They are listed by themselves: principals are not functions. */
START_TEST(test_functions)
{
    char lines[500] = "";
    struct delta root = { ACCOUNT, "root", "", 0, 100, 1, 0, 0 };
    ck_assert_int_eq(add(&root, 0), KIST_OK);
    ck_assert_int_eq(add_function("f", 100, 0), KIST_OK);
    ck_assert_int_eq(add_function("f", 101, 0), KIST_OK);
    ck_assert_int_eq(add_function("g", 101, 0), KIST_OK);
    ck_assert_int_eq(add_function("g", 101, 7), KIST_E_INVALID);
    check_functions("", "0 " ACCOUNT " f 4 1792\n"
                        "0 " ACCOUNT " g 2 896\n");
    check_functions("f", "0 " ACCOUNT " g 2 896\n");
    check_principals("", "", "0 " ACCOUNT " root  1 0 0\n");
    ck_assert_int_eq(store_list_usage_days(store, 0, add_function_line, lines), KIST_OK);
    ck_assert_str_eq(lines, "100 " ACCOUNT " function/f 2 896\n"
                            "100 " ACCOUNT " root 0 0\n"
                            "101 " ACCOUNT " function/f 2 896\n"
                            "101 " ACCOUNT " function/g 2 896\n");
}
END_TEST

/* What was counted while the bucket was there may arrive when it has gone, or has a successor. */
START_TEST(test_a_bucket_that_went)
{
    uint64_t id = make_bucket("b");
    struct delta d = { ACCOUNT, "root", "b", id, 100, 1, 0, 0 };
    ck_assert_int_eq(add(&d, 0), KIST_OK);
    ck_assert_int_eq(delete_bucket("b"), KIST_OK);
    ck_assert_uint_eq(bucket_requests(id), 0);
    uint64_t next = make_bucket("b");
    ck_assert_int_eq(add(&d, 0), KIST_OK);
    ck_assert_uint_eq(bucket_requests(id), 0);
    ck_assert_uint_eq(bucket_requests(next), 0);
    check_days(0, "100 " ACCOUNT " root b 2 0 0\n");
}
END_TEST

START_TEST(test_refused)
{
    struct delta d = { ACCOUNT, "", "", 0, 100, 1, 0, 0 };
    ck_assert_int_eq(add(&d, 0), KIST_E_INVALID);
    d.who = "root";
    d.account = "1";
    ck_assert_int_eq(add(&d, 0), KIST_E_INVALID);
    check_principals("", "", "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("usage");
    TCase *tcase = tcase_create("usage");
    tcase_add_checked_fixture(tcase, start_store, stop_store);
    tcase_add_test(tcase, test_adds_up);
    tcase_add_test(tcase, test_old_days_go);
    tcase_add_test(tcase, test_functions);
    tcase_add_test(tcase, test_a_bucket_that_went);
    tcase_add_test(tcase, test_refused);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
