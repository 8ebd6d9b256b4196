/* What requests say, without a request: ranges, versions, names, copy sources, conditions. */
#include "server/s3/internal.h"
#include "tests/lib/suite.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, 1 << 20);
}

static void teardown(void)
{
    arena_release(&arena);
}

/* ---- Range ---- */

START_TEST(test_ranges)
{
    static const struct {
        const char *header;
        uint64_t size;
        enum s3_range_kind kind;
        uint64_t first, length;
    } cases[] = {
        { "bytes=0-0", 10, S3_RANGE_OK, 0, 1 },
        { "bytes=0-", 10, S3_RANGE_OK, 0, 10 },
        { "bytes=9-", 10, S3_RANGE_OK, 9, 1 },
        { "bytes=2-100", 10, S3_RANGE_OK, 2, 8 },
        { "bytes=-3", 10, S3_RANGE_OK, 7, 3 },
        { "bytes=-100", 10, S3_RANGE_OK, 0, 10 },
        { "bytes=0-18446744073709551615", 10, S3_RANGE_OK, 0, 10 },
        { "bytes=10-", 10, S3_RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=-0", 10, S3_RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=0-", 0, S3_RANGE_UNSATISFIABLE, 0, 0 },
        { "bytes=-1", 0, S3_RANGE_UNSATISFIABLE, 0, 0 },
        /* As if there were none: */
        { "bytes=5-4", 10, S3_RANGE_NONE, 0, 0 },
        { "bytes=0-1,3-4", 10, S3_RANGE_NONE, 0, 0 },
        { "bytes=", 10, S3_RANGE_NONE, 0, 0 },
        { "bytes=-", 10, S3_RANGE_NONE, 0, 0 },
        { "bytes=a-b", 10, S3_RANGE_NONE, 0, 0 },
        { "bytes=--1", 10, S3_RANGE_NONE, 0, 0 },
        { "items=0-1", 10, S3_RANGE_NONE, 0, 0 },
        { "", 10, S3_RANGE_NONE, 0, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct s3_range r = { 77, 77 };
        ck_assert_msg(s3_range_parse(bytes_str(cases[i].header), cases[i].size, &r) ==
                          cases[i].kind,
                      "%s of %llu", cases[i].header, (unsigned long long)cases[i].size);
        if (cases[i].kind != S3_RANGE_OK)
            continue;
        ck_assert_uint_eq(r.first, cases[i].first);
        ck_assert_uint_eq(r.length, cases[i].length);
    }
}
END_TEST

/* ---- version ids ---- */

START_TEST(test_versions)
{
    static const uint64_t ids[] = { 1, 2, 3, 1000000, (uint64_t)1 << 40, UINT64_MAX - 2 };
    uint64_t got = 0;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct bytes text = s3_version_text(&arena, ids[i]);
        ck_assert_uint_eq(text.len, 32);
        ck_assert(s3_version_parse(text, &got));
        ck_assert_uint_eq(got, ids[i]);
        char *other = arena_strndup(&arena, text.ptr, text.len);
        for (size_t at = 0; at < 32; at++) { /* none of its neighbours was ever an id */
            char was = other[at];
            other[at] = was == '0' ? '1' : '0';
            ck_assert(!s3_version_parse(bytes_str(other), &got));
            other[at] = was;
        }
    }
    ck_assert(bytes_equal(s3_version_text(&arena, 0), BYTES_LIT("null")));
    ck_assert(s3_version_parse(BYTES_LIT("null"), &got));
    ck_assert_uint_eq(got, VERSION_NULL);
    static const char *const bad[] = { "", "Null", "0", "00000000000000000000000000000000",
                                       "zz000000000000000000000000000000" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!s3_version_parse(bytes_str(bad[i]), &got), "%s", bad[i]);
}
END_TEST

/* ---- names ---- */

START_TEST(test_bucket_names)
{
    static const char *const good[] = { "abc", "a-b", "a.b", "0a1", "my.bucket-1", "1.2.3.x" };
    static const char *const bad[] = {
        "",
        "ab",
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "a.-b",
        "a-.b",
        "a b",
        "192.168.1.1",
        "xn--abc",
        "a/b",
        "a\xc3\xa4",
        "sthree-x",
        "b-s3alias",
        "b--ol-s3",
        "b.mrap",
        "b--x-s3",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(s3_bucket_name_valid(bytes_str(good[i])), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!s3_bucket_name_valid(bytes_str(bad[i])), "%s", bad[i]);
}
END_TEST

static void check_source(const char *header, const char *bucket, const char *key,
                         uint64_t version)
{
    struct object_id id;
    ck_assert_int_eq(s3_parse_copy_source(bytes_str(header), &arena, &id), S3_COPY_SOURCE_OK);
    ck_assert(bytes_equal(id.bucket, bytes_str(bucket)));
    ck_assert(bytes_equal(id.key, bytes_str(key)));
    ck_assert_uint_eq(id.version, version);
}

START_TEST(test_copy_sources)
{
    struct object_id id;
    char header[100];
    check_source("b/k", "b", "k", VERSION_CURRENT);
    check_source("/b/a/b%20c+d", "b", "a/b c+d", VERSION_CURRENT);
    check_source("b%2Fk", "b", "k", VERSION_CURRENT);
    check_source("b/k?versionId=null", "b", "k", VERSION_NULL);
    check_source("b/k%3FversionId=x", "b", "k?versionId=x", VERSION_CURRENT);
    snprintf(header, sizeof(header), "b/k?versionId=%s",
             (const char *)s3_version_text(&arena, 5).ptr);
    check_source(header, "b", "k", 5);
    static const char *const bad[] = {
        "", "/", "b", "b/", "/k", "//k", "b/%zz", "b/%00", "b/%ff"
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(s3_parse_copy_source(bytes_str(bad[i]), &arena, &id) == S3_COPY_SOURCE_BAD,
                      "%s", bad[i]);
    ck_assert_int_eq(s3_parse_copy_source(BYTES_LIT("b/k?versionId=x"), &arena, &id),
                     S3_COPY_SOURCE_BAD_VERSION);
}
END_TEST

/* ---- conditions: RFC 9110 section 13 ---- */

#define ETAG "\"000102030405060708090a0b0c0d0e0f\""
#define OTHER "\"ffffffffffffffffffffffffffffffff\""
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define THEN "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

/* What one header (and maybe another) makes of a read. A form's fields stand for headers. */
static enum s3_error check(const char *name, const char *value, const char *name2,
                           const char *value2, bool *not_modified)
{
    static const uint8_t md5[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    Kist__Object o = KIST__OBJECT__INIT;
    struct s3_param params[] = { { bytes_str(name), bytes_str(value) },
                                 { bytes_str(name2), bytes_str(value2) } };
    struct s3_request r = {
        .arena = &arena, .is_form = true, .params = params, .param_count = name2[0] ? 2 : 1
    };
    o.etag = schema_data(bytes_of(md5, sizeof(md5)));
    o.mtime_ms = 784111777999; /* THEN, and almost a second */
    return s3_check_read(&r, &o, "", not_modified);
}

START_TEST(test_conditions)
{
    static const struct {
        const char *name, *value, *name2, *value2;
        int wanted; /* 200, 304, 412 */
    } cases[] = {
        { "if-match", ETAG, "", "", 200 },
        { "if-match", "000102030405060708090a0b0c0d0e0f", "", "", 200 },
        { "if-match", "W/" ETAG, "", "", 200 },
        { "if-match", OTHER " , " ETAG, "", "", 200 },
        { "if-match", "*", "", "", 200 },
        { "if-match", OTHER, "", "", 412 },
        { "if-none-match", ETAG, "", "", 304 },
        { "if-none-match", "*", "", "", 304 },
        { "if-none-match", OTHER, "", "", 200 },
        { "if-modified-since", BEFORE, "", "", 200 },
        { "if-modified-since", THEN, "", "", 304 },
        { "if-modified-since", AFTER, "", "", 304 },
        { "if-modified-since", "yesterday", "", "", 200 },
        { "if-unmodified-since", BEFORE, "", "", 412 },
        { "if-unmodified-since", THEN, "", "", 200 },
        { "if-unmodified-since", "yesterday", "", "", 200 },
        /* Tags win over dates. */
        { "if-match", ETAG, "if-unmodified-since", BEFORE, 200 },
        { "if-none-match", OTHER, "if-modified-since", AFTER, 200 },
        { "if-match", OTHER, "if-none-match", ETAG, 412 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool not_modified = false;
        enum s3_error error =
            check(cases[i].name, cases[i].value, cases[i].name2, cases[i].value2, &not_modified);
        int got = error == S3_PRECONDITION_FAILED ? 412 : not_modified ? 304 : 200;
        ck_assert_msg(got == cases[i].wanted, "%zu: %s %s %s: %d", i, cases[i].name,
                      cases[i].value, cases[i].name2, got);
    }
}
END_TEST

START_TEST(test_etags)
{
    ck_assert(bytes_equal(s3_etag(&arena, bytes_of("\x0a\xff", 2), 0), BYTES_LIT("\"0aff\"")));
    ck_assert(bytes_equal(s3_etag(&arena, bytes_of("\x0a\xff", 2), 3), BYTES_LIT("\"0aff-3\"")));
}
END_TEST

/* ---- errors ---- */

/* Each has a code, a status that fits, and a way from the storage's errors. */
START_TEST(test_errors)
{
    for (int e = 0; e < S3_ERROR_COUNT; e++) {
        unsigned status = s3_error_status((enum s3_error)e);
        ck_assert(s3_error_code((enum s3_error)e)[0] != '\0');
        ck_assert_msg(status >= 300 && status < 600, "%s", s3_error_code((enum s3_error)e));
    }
    static const struct {
        enum kist_err err;
        const char *code;
    } pairs[] = { { KIST_E_NO_KEY, "NoSuchKey" },
                  { KIST_E_NO_BUCKET, "NoSuchBucket" },
                  { KIST_E_PRECONDITION, "PreconditionFailed" },
                  { KIST_E_DENIED, "AccessDenied" },
                  { KIST_E_QUOTA, "QuotaExceeded" },
                  { KIST_E_CORRUPT, "InternalError" } };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        ck_assert_str_eq(s3_error_code(s3_error_from(pairs[i].err)), pairs[i].code);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("request");
    TCase *tcase = tcase_create("request");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_ranges);
    tcase_add_test(tcase, test_versions);
    tcase_add_test(tcase, test_bucket_names);
    tcase_add_test(tcase, test_copy_sources);
    tcase_add_test(tcase, test_conditions);
    tcase_add_test(tcase, test_etags);
    tcase_add_test(tcase, test_errors);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
