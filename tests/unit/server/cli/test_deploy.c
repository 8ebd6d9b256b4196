/* What deployments make of words: permissions as policies, triggers, routes of a website. */
#include "server/cli/fn_internal.h"
#include "server/cli/site_internal.h"
#include "tests/lib/suite.h"

static struct arena arena;

static void set_up(void)
{
    arena_init(&arena, 1 << 20);
}

static void tear_down(void)
{
    arena_release(&arena);
}

START_TEST(test_permissions)
{
    static const char *const bad[] = { "",
                                       "read",
                                       "read ",
                                       "read s3://",
                                       "read s3:///key",
                                       "admin s3://b",
                                       "reads3://b",
                                       "READ s3://b",
                                       "read b",
                                       "read s3://*",
                                       "read s3://b/a*",
                                       "write s3://b/a?",
                                       "write s3://b/${aws:username}" };
    struct fn_permission p;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!fn_permission_parse(&arena, bad[i], &p), "%s", bad[i]);
    ck_assert(fn_permission_parse(&arena, "read s3://b", &p));
    ck_assert(!p.writes);
    ck_assert_str_eq(p.bucket, "b");
    ck_assert_str_eq(p.prefix, "");
    ck_assert(fn_permission_parse(&arena, "write  s3://bucket/a/b c/", &p));
    ck_assert(p.writes);
    ck_assert_str_eq(p.bucket, "bucket");
    ck_assert_str_eq(p.prefix, "a/b c/");
}
END_TEST

/* Each statement as "first action resource condition". */
static const char *policy_text(const struct fn_permission *list, size_t count)
{
    json_t *policy = fn_role_policy(list, count), *s;
    struct buf out;
    size_t i;
    buf_init(&out, 4096);
    json_array_foreach(json_object_get(policy, "Statement"), i, s)
    {
        const json_t *like = json_object_get(json_object_get(s, "Condition"), "StringLike");
        ck_assert_str_eq(fn_text(s, "Effect"), "Allow");
        ck_assert_int_eq(
            buf_printf(&out, "%s %s %s\n",
                       json_string_value(json_array_get(json_object_get(s, "Action"), 0)),
                       fn_text(s, "Resource"), fn_text(like, "s3:prefix")),
            KIST_OK);
    }
    const char *text = arena_strndup(&arena, out.len ? (char *)out.ptr : "", out.len);
    buf_release(&out);
    json_decref(policy);
    return text;
}

START_TEST(test_policy)
{
    const struct fn_permission list[] = { { "b", "", false },
                                          { "b", "in/", false },
                                          { "c", "out/", true } };
    ck_assert_str_eq(policy_text(list, 1), "s3:ListBucket arn:aws:s3:::b \n"
                                           "s3:GetObject arn:aws:s3:::b/* \n");
    ck_assert_str_eq(policy_text(list + 1, 2), "s3:ListBucket arn:aws:s3:::b in/*\n"
                                               "s3:GetObject arn:aws:s3:::b/in/* \n"
                                               "s3:PutObject arn:aws:s3:::c/out/* \n");
    ck_assert(fn_role_is_own("arn:aws:iam::1:role/kist-fn-x", "x"));
    ck_assert(!fn_role_is_own("arn:aws:iam::1:role/kist-fn-xx", "x"));
    ck_assert(!fn_role_is_own("arn:aws:iam::1:role/a/kist-fn-x", "x"));
    ck_assert(!fn_role_is_own("", "x"));
}
END_TEST

START_TEST(test_triggers)
{
    static const char *const bad[] = { "", "s3://", "s3:///a", "http://b/a", "s3://b/a*b*" };
    struct fn_trigger list[3];
    struct fn_permission out[6];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!fn_trigger_parse(&arena, bad[i], &list[0]), "%s", bad[i]);
    ck_assert(fn_trigger_parse(&arena, "s3://b/in/*.jpg", &list[0]));
    ck_assert_str_eq(list[0].bucket, "b");
    ck_assert_str_eq(list[0].prefix, "in/");
    ck_assert_str_eq(list[0].suffix, ".jpg");
    ck_assert(fn_trigger_parse(&arena, "s3://b", &list[1]));
    ck_assert_str_eq(list[1].prefix, "");
    ck_assert(fn_trigger_parse(&arena, "s3://c/x", &list[2]));
    ck_assert_str_eq(list[2].prefix, "x");
    ck_assert_str_eq(list[2].suffix, "");
    ck_assert_uint_eq(fn_default_permissions(list, 3, out), 4); /* a bucket counts once */
    ck_assert(!out[0].writes && out[1].writes);
    ck_assert_str_eq(out[2].bucket, "c");
}
END_TEST

static const char *routed(const char *document, const struct site_route *list, size_t count,
                          bool said)
{
    struct site_deploy how = { .routed = said, .routes = list, .route_count = count };
    struct buf b;
    buf_init(&b, 1 << 16);
    ck_assert_int_eq(buf_append_str(&b, document), KIST_OK);
    ck_assert(site_route(&b, &how));
    const char *out = arena_strndup(&arena, b.ptr, b.len);
    buf_release(&b);
    return out;
}

#define INDEX "<IndexDocument><Suffix>i</Suffix></IndexDocument>"
#define RULE(prefix, to)                                                                         \
    "<RoutingRule><Condition><KeyPrefixEquals>" prefix "</KeyPrefixEquals></Condition>" to       \
    "</RoutingRule>"
#define SITE(rules) "<WebsiteConfiguration>" INDEX rules "</WebsiteConfiguration>"

START_TEST(test_routes)
{
    static const char plain[] = SITE("");
    static const char one[] =
        SITE("<RoutingRules>" RULE("api/", "<Function>f</Function>") "</RoutingRules>");
    static const char other[] = RULE("old/", "<Redirect><HostName>h</HostName></Redirect>");
    static const char both[] =
        SITE("<RoutingRules>" RULE("old/", "<Redirect><HostName>h</HostName></Redirect>")
                 RULE("api/", "<Function>f</Function>") "</RoutingRules>");
    const struct site_route f[] = { { "api/", "f" }, { "a&b<", "g" } };
    ck_assert_str_eq(routed(plain, f, 1, true), one);
    ck_assert_str_eq(routed(one, f, 1, true), one);
    ck_assert_str_eq(routed(one, NULL, 0, false), one); /* nothing was said */
    ck_assert_str_eq(routed(one, NULL, 0, true), plain);
    ck_assert_str_eq(routed(both, f, 1, true), both); /* as wanted: not a byte changes */
    ck_assert_str_eq(routed(both, NULL, 0, true),
                     arena_printf(&arena, SITE("<RoutingRules>%s</RoutingRules>"), other));
    const char *two = routed(both, f, 2, true);
    ck_assert_ptr_nonnull(strstr(two, other));
    ck_assert_ptr_nonnull(strstr(two, "a&#38;b&#60;"));
    ck_assert_str_eq(routed(two, f, 2, true), two);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("deploy");
    TCase *tc = tcase_create("deploy");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, test_permissions);
    tcase_add_test(tc, test_policy);
    tcase_add_test(tc, test_triggers);
    tcase_add_test(tc, test_routes);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
