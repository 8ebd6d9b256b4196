/* Dates, out and in. */
#include "storage/base/codec.h"
#include "tests/lib/suite.h"

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
    TCase *tcase = tcase_create("timefmt");
    tcase_add_test(tcase, test_out);
    tcase_add_test(tcase, test_http);
    tcase_add_test(tcase, test_amz);
    tcase_add_test(tcase, test_iso);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
