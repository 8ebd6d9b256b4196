/* Target and Host splitting, by table. */
#include "server/http/target.h"
#include "tests/lib/suite.h"

struct target_case {
    const char *target;
    const char *path; /* NULL: refused */
    const char *query;
    const char *authority;
};

static const struct target_case targets[] = {
    { "/", "/", NULL, NULL },
    { "/a/b", "/a/b", NULL, NULL },
    { "//a/../b", "//a/../b", NULL, NULL },
    { "/a?", "/a", "", NULL },
    { "/a?b=c&d", "/a", "b=c&d", NULL },
    { "/a?b?c", "/a", "b?c", NULL },
    { "/%2e%2F?%3f", "/%2e%2F", "%3f", NULL },
    { "/\xc3\xa9", "/\xc3\xa9", NULL, NULL },
    { "/a#b", "/a#b", NULL, NULL },
    { "*", "*", NULL, NULL },
    { "http://h/a?b", "/a", "b", "h" },
    { "HTTPS://h:1", "/", NULL, "h:1" },
    { "http://h?b", "/", "b", "h" },
    { "http:///a", NULL, NULL, NULL },
    { "http://", NULL, NULL, NULL },
    { "ftp://h/a", NULL, NULL, NULL },
    { "", NULL, NULL, NULL },
    { "a", NULL, NULL, NULL },
    { "*a", NULL, NULL, NULL },
    { "h:80", NULL, NULL, NULL },
    { "/a b", NULL, NULL, NULL },
    { "/a\tb", NULL, NULL, NULL },
    { "/a\x7f", NULL, NULL, NULL },
    { "?a", NULL, NULL, NULL },
};

static void check_slice(struct bytes slice, const char *wanted)
{
    ck_assert_int_eq(slice.ptr == NULL, wanted == NULL);
    if (wanted)
        ck_assert_msg(bytes_equal(slice, bytes_str(wanted)), "%.*s is not %s", (int)slice.len,
                      (const char *)slice.ptr, wanted);
}

START_TEST(split_target)
{
    const struct target_case *c = &targets[_i];
    struct target_parts parts;
    enum kist_err err = target_split(bytes_str(c->target), &parts);
    ck_assert_int_eq(err, c->path ? KIST_OK : KIST_E_INVALID);
    if (err != KIST_OK)
        return;
    check_slice(parts.path, c->path);
    check_slice(parts.query, c->query);
    check_slice(parts.authority, c->authority);
}
END_TEST

static const struct {
    const char *value;
    const char *host; /* NULL: refused */
} hosts[] = {
    { "a", "a" },         { "b.s3.example.com:9000", "b.s3.example.com" },
    { "a:", "a" },        { "127.0.0.1:65535", "127.0.0.1" },
    { "[::1]", "[::1]" }, { "[fe80::1]:9000", "[fe80::1]" },
    { "a_b", "a_b" },     { "", "" },
    { ":80", "" },        { "a:b", NULL },
    { "a:123456", NULL }, { "a:1:2", NULL },
    { "a/b", NULL },      { "u@a", NULL },
    { "a b", NULL },      { "[::1", NULL },
    { "[]", NULL },       { "[::1]a", NULL },
    { "[g]", NULL },      { "a\"b", NULL },
};

START_TEST(split_host)
{
    struct bytes host;
    enum kist_err err = host_split(bytes_str(hosts[_i].value), &host);
    ck_assert_int_eq(err, hosts[_i].host ? KIST_OK : KIST_E_INVALID);
    if (err == KIST_OK)
        ck_assert(bytes_equal(host, bytes_str(hosts[_i].host)));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("target");
    TCase *c = tcase_create("target");
    tcase_add_loop_test(c, split_target, 0, (int)ARRAY_LEN(targets));
    tcase_add_loop_test(c, split_host, 0, (int)ARRAY_LEN(hosts));
    suite_add_tcase(s, c);
    return run_suite(s);
}
