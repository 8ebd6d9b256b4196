/* Schedule expressions, by tables, with the examples of
 * https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html among them. */
#include "server/events/cron.h"
#include "storage/base/codec.h"
#include "tests/lib/suite.h"

static int64_t instant(const char *text)
{
    int64_t ms = 0;
    ck_assert_int_eq(time_parse_iso(bytes_str(text), &ms), KIST_OK);
    return ms;
}

static const struct {
    const char *expression, *zone, *after, *next; /* next NULL: never */
} cases[] = {
    { "rate(5 minutes)", "", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z" },
    { "rate(5 minutes)", "", "2026-01-01T00:04:59Z", "2026-01-01T00:05:00Z" },
    { "rate(1 hour)", "", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z" },
    { "rate(7 days)", "", "2026-01-03T00:00:00Z", "2026-01-08T00:00:00Z" },
    { "rate(10 seconds)", "", "2026-01-01T00:00:11Z", "2026-01-01T00:00:20Z" },
    { "at(2026-11-20T13:00:00)", "", "2026-01-01T00:00:00Z", "2026-11-20T13:00:00Z" },
    { "at(2026-11-20T13:00:00)", "", "2026-11-20T13:00:00Z", NULL },
    { "at(2026-11-20T13:00:01)", "Europe/Berlin", "2026-01-01T00:00:00Z",
      "2026-11-20T12:00:01Z" },
    { "cron(0 10 * * ? *)", "", "2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z" },
    { "cron(15 12 * * ? *)", "", "2026-01-01T10:00:00Z", "2026-01-01T12:15:00Z" },
    { "cron(0 18 ? * MON-FRI *)", "", "2026-01-02T18:00:00Z", "2026-01-05T18:00:00Z" },
    { "cron(0 8 1 * ? *)", "", "2026-01-01T08:00:00Z", "2026-02-01T08:00:00Z" },
    { "cron(0/15 * * * ? *)", "", "2026-01-01T10:31:12Z", "2026-01-01T10:45:00Z" },
    { "cron(0/5 8-17 ? * MON-FRI *)", "", "2026-01-02T17:55:00Z", "2026-01-05T08:00:00Z" },
    { "cron(0 9 ? * 2#1 *)", "", "2026-01-01T00:00:00Z", "2026-01-05T09:00:00Z" },
    { "cron(0 9 ? * fri#5 *)", "", "2026-01-31T00:00:00Z", "2026-05-29T09:00:00Z" },
    { "cron(15 10 ? * 6L 2026-2028)", "", "2026-01-01T00:00:00Z", "2026-01-30T10:15:00Z" },
    { "cron(15 10 ? * L *)", "", "2026-01-01T00:00:00Z", "2026-01-03T10:15:00Z" },
    { "cron(0 0 L * ? *)", "", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z" },
    { "cron(0 0 LW * ? *)", "", "2026-02-01T00:00:00Z", "2026-02-27T00:00:00Z" },
    { "cron(0 0 15W * ? *)", "", "2026-02-01T00:00:00Z", "2026-02-16T00:00:00Z" },
    { "cron(0 0 1W * ? *)", "", "2026-07-31T12:00:00Z", "2026-08-03T00:00:00Z" },
    { "cron(0 0 29 2 ? *)", "", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z" },
    { "cron(0 0 31 2,4 ? *)", "", "2026-01-01T00:00:00Z", NULL },
    { "cron(0 0 1 JAN ? 2027)", "", "2026-06-01T00:00:00Z", "2027-01-01T00:00:00Z" },
    { "cron(0 0 1 1 ? 2025)", "", "2026-06-01T00:00:00Z", NULL },
    { "cron(0 10 * * ? *)", "America/New_York", "2026-01-01T00:00:00Z", "2026-01-01T15:00:00Z" },
    { "cron(0 10 * * ? *)", "America/New_York", "2026-07-01T00:00:00Z", "2026-07-01T14:00:00Z" },
    /* clocks go forward over 02:30, and back over it */
    { "cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z" },
    { "cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z" },
    { "cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z" },
};

START_TEST(test_next)
{
    struct cron c;
    int64_t base = instant("2026-01-01T00:00:00Z");
    ck_assert_int_eq(cron_parse(bytes_str(cases[_i].expression), bytes_str(cases[_i].zone), &c),
                     KIST_OK);
    int64_t next = cron_next(&c, base, instant(cases[_i].after));
    char text[TIME_ISO_LEN] = "never";
    if (next != INT64_MAX)
        time_iso(next, text);
    int64_t wanted = cases[_i].next ? instant(cases[_i].next) : INT64_MAX;
    ck_assert_msg(next == wanted, "%s after %s: %s", cases[_i].expression, cases[_i].after, text);
}
END_TEST

static const char *const invalid[] = {
    "",
    "rate()",
    "rate(0 minutes)",
    "rate(-1 minutes)",
    "rate(1 fortnight)",
    "rate(5minutes)",
    "rate(99999999999999999999 days)",
    "at(2026-02-30T00:00:00)",
    "at(2026-13-01T00:00:00)",
    "at(2026-01-01 00:00:00)",
    "at(2026-01-01T24:00:00)",
    "at(2026-01-01T00:00:00Z)",
    "cron(0 10 * * *)",
    "cron(0 10 * * ? * *)",
    "cron(60 10 * * ? *)",
    "cron(0 24 * * ? *)",
    "cron(0 10 32 * ? *)",
    "cron(0 10 0 * ? *)",
    "cron(0 10 ? 13 * *)",
    "cron(0 10 1 * 1 *)",
    "cron(0 10 * * * *)",
    "cron(0 10 ? * 8 *)",
    "cron(0 10 ? * 1#6 *)",
    "cron(0 10 ? * FOO *)",
    "cron(5-1 10 * * ? *)",
    "cron(1, 10 * * ? *)",
    "cron(*/0 10 * * ? *)",
    "cron(0 10 * * ? 1969)",
    "cron(0 10 * * ? 2200)",
    "cron(0 10 * * ? *",
    "every day",
};

START_TEST(test_invalid)
{
    struct cron c;
    ck_assert_int_eq(cron_parse(bytes_str(invalid[_i]), BYTES_EMPTY, &c), KIST_E_INVALID);
}
END_TEST

START_TEST(test_zone)
{
    struct cron c;
    struct bytes rate = BYTES_LIT("rate(1 day)");
    ck_assert_int_eq(cron_parse(rate, BYTES_LIT("Mars/Olympus"), &c), KIST_E_INVALID);
    ck_assert_int_eq(cron_parse(rate, BYTES_LIT("../../etc/passwd"), &c), KIST_E_INVALID);
    ck_assert_int_eq(cron_parse(rate, BYTES_LIT("Asia/Kolkata"), &c), KIST_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cron");
    TCase *t = tcase_create("tables");
    tcase_add_loop_test(t, test_next, 0, ARRAY_LEN(cases));
    tcase_add_loop_test(t, test_invalid, 0, ARRAY_LEN(invalid));
    tcase_add_test(t, test_zone);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
