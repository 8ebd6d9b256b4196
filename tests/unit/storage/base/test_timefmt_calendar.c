/* Dates against libc's calendar. */
#include <time.h>

#include "storage/base/codec.h"
#include "tests/lib/suite.h"

static void texts_of(time_t t, char http[TIME_HTTP_LEN], char amz[TIME_AMZ_LEN])
{
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(http, TIME_HTTP_LEN, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    strftime(amz, TIME_AMZ_LEN, "%Y%m%dT%H%M%SZ", &tm);
}

/* Every day for 600 years, at another second each. */
START_TEST(days)
{
    char expected[2][TIME_HTTP_LEN], found[2][TIME_HTTP_LEN];
    for (time_t day = -25567, end = 193585; day < end; day++) {
        time_t t = day * 86400 + rand() % 86400;
        int64_t http_ms = 0, amz_ms = 0;
        texts_of(t, expected[0], expected[1]);
        time_http(t * 1000, found[0]);
        time_amz(t * 1000 + 999, found[1]);
        ck_assert_str_eq(found[0], expected[0]);
        ck_assert_str_eq(found[1], expected[1]);
        ck_assert_int_eq(time_parse_http(bytes_str(found[0]), &http_ms), KIST_OK);
        ck_assert_int_eq(time_parse_amz(bytes_str(found[1]), &amz_ms), KIST_OK);
        ck_assert_int_eq(http_ms, t * 1000);
        ck_assert_int_eq(amz_ms, t * 1000);
    }
}
END_TEST

START_TEST(fractions_and_bounds)
{
    char text[TIME_ISO_LEN];
    time_iso(1700000000123, text);
    ck_assert_str_eq(text, "2023-11-14T22:13:20.123Z");
    time_iso(-1, text);
    ck_assert_str_eq(text, "1969-12-31T23:59:59.999Z");
    time_iso(INT64_MAX, text);
    ck_assert_int_eq(strncmp(text, "9999-12-31T", 11), 0);
    time_iso(INT64_MIN, text);
    ck_assert_int_eq(strncmp(text, "0000-01-01T", 11), 0);
}
END_TEST

START_TEST(not_dates)
{
    static const char *const texts[] = { "20230229T000000Z", "21000229T000000Z",
                                         "20230431T000000Z", "20231301T000000Z",
                                         "20230100T000000Z", "20230101T240000Z",
                                         "20230101T006000Z", "20230101T235960Z",
                                         "20230101T000000",  "20230101T000000ZZ" };
    int64_t ms;
    ck_assert_int_ne(time_parse_amz(bytes_str(texts[_i]), &ms), KIST_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timefmt");
    TCase *tc = tcase_create("timefmt");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, days);
    tcase_add_test(tc, fractions_and_bounds);
    tcase_add_loop_test(tc, not_dates, 0, 10);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
