/* Where targets' connections may go, and what a target may look like. */
#include "server/events/target_internal.h"
#include "tests/lib/suite.h"

static struct target_guard guard;
static struct arena arena;

static void setup(void)
{
    target_guard_init(&guard);
    arena_init(&arena, 1 << 20);
}

static void teardown(void)
{
    target_guard_release(&guard);
    arena_release(&arena);
}

START_TEST(public_addresses)
{
    static const char *const open[] = {
        "1.1.1.1",         "9.255.255.255",   "11.0.0.0",        "100.63.255.255",
        "100.128.0.0",     "126.255.255.255", "128.0.0.0",       "169.253.255.255",
        "169.255.0.0",     "172.15.255.255",  "172.32.0.0",      "192.0.1.0",
        "192.167.255.255", "192.169.0.0",     "198.17.255.255",  "198.20.0.0",
        "198.51.99.255",   "203.0.112.0",     "223.255.255.255", "2600::1",
        "2001:200::1",     "2a00:1450::1",    "::ffff:1.1.1.1",  "64:ff9b::1.1.1.1",
        "2002:101:101::1",
    };
    static const char *const closed[] = {
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "::7f00:1",
        "",
        "localhost",
        "1.1.1",
    };
    for (size_t i = 0; i < ARRAY_LEN(open); i++)
        ck_assert_msg(target_guard_allows_text(&guard, open[i], 80, false), "%s", open[i]);
    for (size_t i = 0; i < ARRAY_LEN(closed); i++)
        ck_assert_msg(!target_guard_allows_text(&guard, closed[i], 80, false), "%s", closed[i]);
    ck_assert(target_guard_allows_text(&guard, "127.0.0.1", 80, true));
    ck_assert(target_guard_allows_text(&guard, "fd12::1", 80, true));
}
END_TEST

static bool may(const char *ip, unsigned port, bool private_network)
{
    return target_guard_allows_text(&guard, ip, port, private_network);
}

START_TEST(own_listeners)
{
    ck_assert_int_eq(target_guard_add(&guard, "1.2.3.4:9000", false), KIST_OK);
    ck_assert(!may("1.2.3.4", 9000, false));
    ck_assert(may("1.2.3.4", 9000, true));
    ck_assert(may("1.2.3.4", 9001, false));
    ck_assert(may("1.2.3.5", 9000, false));

    ck_assert_int_eq(target_guard_add(&guard, "127.0.0.1:9001", true), KIST_OK);
    ck_assert(!may("127.0.0.1", 9001, true));
    ck_assert(!may("0.0.0.0", 9001, true));
    ck_assert(!may("::", 9001, true));
    ck_assert(!may("::ffff:127.0.0.1", 9001, true));
    ck_assert(may("127.0.0.2", 9001, true));
    ck_assert(may("10.0.0.1", 9001, true));

    ck_assert_int_eq(target_guard_add(&guard, "[::]:9002", true), KIST_OK);
    ck_assert(!may("127.0.0.1", 9002, true));
    ck_assert(!may("127.9.9.9", 9002, true));
    ck_assert(!may("::1", 9002, true));
    ck_assert(!may("0.0.0.0", 9002, true));
    ck_assert(may("10.255.255.254", 9002, true)); /* of no interface here */

    ck_assert_int_eq(target_guard_add(&guard, "[::1]:9003", true), KIST_OK);
    ck_assert(!may("::1", 9003, true));
    ck_assert(may("::1", 9004, true));
}
END_TEST

START_TEST(listeners_that_are_none)
{
    static const char *const wrong[] = { "",           "1.2.3.4",       "1.2.3.4:",
                                         "host:80",    "1.2.3.4:65536", "[::1:80",
                                         "1.2.3.4:8x", "[1.2.3.4.5]:80" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        ck_assert_int_eq(target_guard_add(&guard, wrong[i], true), KIST_E_INVALID);
    for (size_t i = 0; i < TARGET_AVOID_MAX; i++)
        ck_assert_int_eq(target_guard_add(&guard, "*:1", true), KIST_OK);
    ck_assert_int_eq(target_guard_add(&guard, "*:1", true), KIST_E_TOO_LARGE);
}
END_TEST

START_TEST(urls)
{
    struct target_url u;
    ck_assert_int_eq(target_url_parse("redis://u%40:p%3Aw@[fd00::1]:7/3", &arena, &u), KIST_OK);
    ck_assert_str_eq(u.scheme, "redis");
    ck_assert_str_eq(u.user, "u@");
    ck_assert_str_eq(u.password, "p:w");
    ck_assert_str_eq(u.host, "fd00::1");
    ck_assert_uint_eq(u.port, 7);
    ck_assert_str_eq(u.path, "/3");
    ck_assert_str_eq(u.shown, "redis://u%40:***@[fd00::1]:7/3");
    ck_assert_int_eq(target_url_parse("kafka://host", &arena, &u), KIST_OK);
    ck_assert_uint_eq(u.port, 0);
    ck_assert_str_eq(u.password, "");
    static const char *const wrong[] = { "",
                                         "host",
                                         "http://",
                                         "http://a b/",
                                         "http://h:99999/",
                                         "http://h\n/",
                                         "http://\xc3\xa4/",
                                         "://h",
                                         "http://u:p%00w@h/" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        ck_assert_msg(target_url_parse(wrong[i], &arena, &u) != KIST_OK, "%s", wrong[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("target_guard");
    TCase *tc = tcase_create("guard");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, public_addresses);
    tcase_add_test(tc, own_listeners);
    tcase_add_test(tc, listeners_that_are_none);
    tcase_add_test(tc, urls);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
