/* Dates against libc's calendar. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/base/codec.h"

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
/* Dates, out and in. */
#include <check.h>

#include "storage/base/codec.h"

#define NOV_23 ((int64_t)1795463460000) /* 2026-11-23T19:51:00Z */

START_TEST(test_out)
{
    char iso[TIME_ISO_LEN], http[TIME_HTTP_LEN], amz[TIME_AMZ_LEN];
    time_iso(NOV_23 + 7, iso);
    time_http(NOV_23 + 7, http);
    time_amz(NOV_23 + 999, amz);
    ck_assert_str_eq(iso, "2026-11-23T19:51:00.007Z");
    ck_assert_str_eq(http, "Mon, 23 Nov 2026 19:51:00 GMT");
    ck_assert_str_eq(amz, "20261123T195100Z");
    time_iso(0, iso);
    ck_assert_str_eq(iso, "1970-01-01T00:00:00.000Z");
    time_iso(-1, iso);
    ck_assert_str_eq(iso, "1969-12-31T23:59:59.999Z");
    time_http(951782400000, http); /* a leap day */
    ck_assert_str_eq(http, "Tue, 29 Feb 2000 00:00:00 GMT");
}
END_TEST

/* RFC 9110 section 5.6.7: three forms of one date. */
START_TEST(test_http)
{
    static const char *const forms[] = { "Sun, 06 Nov 1994 08:49:37 GMT",
                                         "Sunday, 06-Nov-94 08:49:37 GMT",
                                         "Sun Nov  6 08:49:37 1994" };
    static const char *const bad[] = { "",
                                       "Sun, 06 Nov 1994 08:49:37",
                                       "Sun, 06 Nov 1994 08:49:37 GMT ",
                                       "Sun, 6 Nov 1994 08:49:37 GMT",
                                       "Sun, 06 nov 1994 08:49:37 GMT",
                                       "Sun, 31 Feb 1994 08:49:37 GMT",
                                       "Sun, 06 Nov 1994 24:00:00 GMT",
                                       "Sun, 00 Nov 1994 08:49:37 GMT",
                                       "784111777" };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        int64_t ms = 0;
        ck_assert_int_eq(time_parse_http(bytes_str(forms[i]), &ms), KIST_OK);
        ck_assert_int_eq(ms, 784111777000);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ms = 5;
        ck_assert_msg(time_parse_http(bytes_str(bad[i]), &ms) == KIST_E_INVALID, "%s", bad[i]);
        ck_assert_int_eq(ms, 5);
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
START_TEST(test_amz)
{
    int64_t ms;
    ck_assert_int_eq(time_parse_amz(BYTES_LIT("20261123T195100Z"), &ms), KIST_OK);
    ck_assert_int_eq(ms, NOV_23);
    ck_assert_int_eq(time_parse_amz(BYTES_LIT("20261123T195100"), &ms), KIST_E_INVALID);
    ck_assert_int_eq(time_parse_amz(BYTES_LIT("20261323T195100Z"), &ms), KIST_E_INVALID);
    ck_assert_int_eq(time_parse_amz(BYTES_LIT("2026-11-23T19:51:00Z"), &ms), KIST_E_INVALID);
}
END_TEST

START_TEST(test_iso)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = { { "2026-11-23T19:51:00Z", NOV_23 },
                 { "2026-11-23T19:51:00.5Z", NOV_23 + 500 },
                 { "2026-11-23T19:51:00.123456Z", NOV_23 + 123 },
                 { "1969-12-31T23:59:59.999Z", -1 } };
    static const char *const bad[] = { "2026-11-23", "2026-11-23T19:51:00",
                                       "2026-11-23T19:51:00+01:00", "2026-11-23 19:51:00Z",
                                       "2026-02-29T00:00:00Z" };
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ck_assert_int_eq(time_parse_iso(bytes_str(good[i].text), &ms), KIST_OK);
        ck_assert_int_eq(ms, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(time_parse_iso(bytes_str(bad[i]), &ms) == KIST_E_INVALID, "%s", bad[i]);
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
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    TCase *tcase = tcase_create("timefmt");
    tcase_add_test(tcase, test_out);
    tcase_add_test(tcase, test_http);
    tcase_add_test(tcase, test_amz);
    tcase_add_test(tcase, test_iso);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
