/* Patterns and conditions of policies, by tables.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
 */
#include "tests/unit/auth/policy_fixture.h"

/* ---- patterns ---- */

static const struct {
    const char *pattern, *text;
    bool match;
} patterns[] = {
    { "", "", true },
    { "", "a", false },
    { "a", "", false },
    { "*", "", true },
    { "*", "anything/at:all", true },
    { "?", "", false },
    { "?", "a", true },
    { "?", "ab", false },
    { "a*", "a", true },
    { "a*", "abc", true },
    { "a*", "ba", false },
    { "*a", "ba", true },
    { "*a", "ab", false },
    { "*a", "aaa", true },
    { "a*b", "ab", true },
    { "a*b", "axxb", true },
    { "a*b", "axxbx", false },
    { "a*b*c", "a1b2c", true },
    { "a*b*c", "abc", true },
    { "a*b*c", "acb", false },
    { "a*b*c", "abcbc", true },
    { "**", "x", true },
    { "*?*", "", false },
    { "*?*", "x", true },
    { "a?c", "abc", true },
    { "a?c", "ac", false },
    { "a?c", "abbc", false },
    { "*.jpg", "photos/cat.jpg", true },
    { "*.jpg", "photos/cat.jpeg", false },
    { "photos/*/raw/*", "photos/a/raw/b", true },
    { "photos/*/raw/*", "photos/a/b/raw/", true },
    { "photos/*/raw/*", "photos/raw/b", false },
    { "*ab*ab*ab", "abababab", true },
    { "*ab*ab*abc", "abababab", false },
    { "a\\*", "a\\x", true },
    { "[a]", "a", false },
    { "A", "a", false },
    { "${aws:username}", "ann", true },
    { "${aws:username}", "bob", false },
    { "home/${aws:username}/*", "home/ann/x", true },
    { "home/${aws:username}/*", "home/bob/x", false },
    { "home/${aws:username}/*", "home/ann", false },
    { "${*}", "*", true },
    { "${*}", "a", false },
    { "${?}", "?", true },
    { "${?}", "a", false },
    { "${$}", "$", true },
    { "a${*}b", "a*b", true },
    { "a${*}b", "axb", false },
    { "${evil:star}", "*", true }, /* the value is "*", which is no wildcard there */
    { "${evil:star}", "x", false },
    { "x${evil:star}y", "xanyy", false },
    { "${evil:ask}", "?", true },
    { "${evil:ask}", "x", false },
    { "${evil:nested}", "${aws:username}", true },
    { "${evil:nested}", "ann", false },
    { "${no:key}", "x", false },
    { "${no:key, 'fallback'}", "fallback", true },
    { "${no:key, 'fallback'}", "other", false },
    { "${no:key,'*'}", "x", false },
    { "${aws:username, 'fallback'}", "ann", true },
    { "${AWS:UserName}", "ann", true },
    { "${unclosed", "${unclosed", true },
    { "$x", "$x", true },
};

START_TEST(test_pattern)
{
    struct keys keys = {
        .text = "aws:username=ann\nevil:star=*\nevil:ask=?\nevil:nested=${aws:username}"
    };
    struct policy_request r = request_of("s3:GetObject", "x", &keys);
    enum match m = pattern_match(bytes_str(patterns[_i].pattern), bytes_str(patterns[_i].text),
                                 false, true, true, &r);
    ck_assert_msg((m == MATCH_YES) == patterns[_i].match, "\"%s\" and \"%s\"",
                  patterns[_i].pattern, patterns[_i].text);
}
END_TEST

/* ---- conditions: one operator, the policy's values, the request's, and what holds ---- */

static const struct {
    const char *op, *policy;
    const char *request; /* NULL: the request has no such key */
    bool holds;
} conditions[] = {
    { "StringEquals", "\"a\"", "a", true },
    { "StringEquals", "\"a\"", "A", false },
    { "StringEquals", "\"a\"", "ab", false },
    { "StringEquals", "\"a*\"", "ab", false },
    { "StringEquals", "\"a*\"", "a*", true },
    { "StringEquals", "[\"a\",\"b\"]", "b", true },
    { "StringEquals", "[\"a\",\"b\"]", "c", false },
    { "StringEquals", "\"a\"", NULL, false },
    { "StringEqualsIfExists", "\"a\"", NULL, true },
    { "StringEqualsIfExists", "\"a\"", "b", false },
    { "StringEqualsIfExists", "\"a\"", "a", true },
    { "StringNotEquals", "\"a\"", "a", false },
    { "StringNotEquals", "\"a\"", "b", true },
    { "StringNotEquals", "[\"a\",\"b\"]", "b", false },
    { "StringNotEquals", "[\"a\",\"b\"]", "c", true },
    { "StringNotEquals", "\"a\"", NULL, true },
    { "StringNotEqualsIfExists", "\"a\"", NULL, true },
    { "StringNotEqualsIfExists", "\"a\"", "a", false },
    { "StringEqualsIgnoreCase", "\"aB\"", "Ab", true },
    { "StringEqualsIgnoreCase", "\"aB\"", "x", false },
    { "StringEqualsIgnoreCase", "\"aB\"", NULL, false },
    { "StringNotEqualsIgnoreCase", "\"aB\"", "AB", false },
    { "StringNotEqualsIgnoreCase", "\"aB\"", "x", true },
    { "StringNotEqualsIgnoreCase", "\"aB\"", NULL, true },
    { "StringLike", "\"a*\"", "abc", true },
    { "StringLike", "\"a*\"", "bac", false },
    { "StringLike", "\"a?c\"", "abc", true },
    { "StringLike", "\"a?c\"", "ac", false },
    { "StringLike", "[\"x*\",\"*c\"]", "abc", true },
    { "StringLike", "\"*\"", NULL, false },
    { "StringLikeIfExists", "\"a*\"", NULL, true },
    { "StringNotLike", "\"a*\"", "abc", false },
    { "StringNotLike", "\"a*\"", "b", true },
    { "StringNotLike", "[\"a*\",\"b*\"]", "b", false },
    { "StringNotLike", "\"a*\"", NULL, true },
    { "StringEquals", "\"${aws:username}\"", "ann", true },
    { "StringEquals", "\"${aws:username}\"", "bob", false },
    { "StringEquals", "\"${no:key}\"", "bob", false },
    { "StringNotEquals", "\"${no:key}\"", "bob", false },
    { "StringLike", "\"${evil:star}\"", "bob", false },
    { "StringLike", "\"${aws:username}*\"", "anna", true },
    { "StringEquals", "\"\"", "x", false },
    { "StringEquals", "5", "5", true },
    { "StringEquals", "true", "true", true },
    { "NumericEquals", "\"10\"", "10", true },
    { "NumericEquals", "\"10\"", "10.0", true },
    { "NumericEquals", "10", "10", true },
    { "NumericEquals", "\"10\"", "11", false },
    { "NumericEquals", "\"10\"", "ten", false },
    { "NumericEquals", "\"ten\"", "10", false },
    { "NumericEquals", "\"10\"", NULL, false },
    { "NumericEquals", "\"10\"", "", false },
    { "NumericNotEquals", "\"10\"", "11", true },
    { "NumericNotEquals", "\"10\"", "10", false },
    { "NumericNotEquals", "\"10\"", NULL, true },
    { "NumericLessThan", "\"10\"", "9", true },
    { "NumericLessThan", "\"10\"", "10", false },
    { "NumericLessThan", "\"10\"", "-1", true },
    { "NumericLessThanEquals", "\"10\"", "10", true },
    { "NumericLessThanEquals", "\"10\"", "11", false },
    { "NumericGreaterThan", "\"10\"", "11", true },
    { "NumericGreaterThan", "\"10\"", "10", false },
    { "NumericGreaterThanEquals", "\"10\"", "10", true },
    { "NumericGreaterThanEquals", "\"10\"", "9.99", false },
    { "NumericLessThanIfExists", "\"10\"", NULL, true },
    { "NumericLessThanIfExists", "\"10\"", "12", false },
    { "NumericLessThan", "[\"5\",\"20\"]", "10", true },
    { "NumericLessThan", "\"10\"", "1e1x", false },
    { "DateEquals", "\"2030-01-01T00:00:00Z\"", "2030-01-01T00:00:00Z", true },
    { "DateEquals", "\"2030-01-01T00:00:00Z\"", "2030-01-01T00:00:01Z", false },
    { "DateEquals", "\"1893456000\"", "2030-01-01T00:00:00Z", true },
    { "DateNotEquals", "\"2030-01-01T00:00:00Z\"", "2030-01-01T00:00:01Z", true },
    { "DateNotEquals", "\"2030-01-01T00:00:00Z\"", "2030-01-01T00:00:00Z", false },
    { "DateLessThan", "\"2030-01-01T00:00:00Z\"", "2029-12-31T23:59:59Z", true },
    { "DateLessThan", "\"2030-01-01T00:00:00Z\"", "2030-01-01T00:00:00Z", false },
    { "DateLessThanEquals", "\"2030-01-01T00:00:00Z\"", "2030-01-01T00:00:00Z", true },
    { "DateLessThanEquals", "\"2030-01-01T00:00:00Z\"", "2031-01-01T00:00:00Z", false },
    { "DateGreaterThan", "\"2030-01-01T00:00:00Z\"", "2031-01-01T00:00:00Z", true },
    { "DateGreaterThan", "\"2030-01-01T00:00:00Z\"", "2030-01-01T00:00:00Z", false },
    { "DateGreaterThanEquals", "\"2030-01-01T00:00:00Z\"", "2030-01-01T00:00:00Z", true },
    { "DateGreaterThanEquals", "\"2030-01-01T00:00:00Z\"", "2029-01-01T00:00:00Z", false },
    { "DateGreaterThan", "\"2030-01-01T00:00:00Z\"", NULL, false },
    { "DateGreaterThanIfExists", "\"2030-01-01T00:00:00Z\"", NULL, true },
    { "DateLessThan", "\"no date\"", "2029-12-31T23:59:59Z", false },
    { "Bool", "\"true\"", "true", true },
    { "Bool", "\"true\"", "false", false },
    { "Bool", "\"false\"", "false", true },
    { "Bool", "true", "true", true },
    { "Bool", "false", "true", false },
    { "Bool", "\"TRUE\"", "true", true },
    { "Bool", "\"true\"", NULL, false },
    { "BoolIfExists", "\"true\"", NULL, true },
    { "BoolIfExists", "\"true\"", "false", false },
    { "BinaryEquals", "\"QmluYXJ5\"", "QmluYXJ5", true },
    { "BinaryEquals", "\"QmluYXJ5\"", "qmluYXJ5", false },
    { "IpAddress", "\"203.0.113.0/24\"", "203.0.113.7", true },
    { "IpAddress", "\"203.0.113.0/24\"", "203.0.114.7", false },
    { "IpAddress", "\"203.0.113.7\"", "203.0.113.7", true },
    { "IpAddress", "\"203.0.113.7\"", "203.0.113.8", false },
    { "IpAddress", "\"203.0.113.0/25\"", "203.0.113.127", true },
    { "IpAddress", "\"203.0.113.0/25\"", "203.0.113.128", false },
    { "IpAddress", "\"203.0.113.8/29\"", "203.0.113.15", true },
    { "IpAddress", "\"203.0.113.8/29\"", "203.0.113.16", false },
    { "IpAddress", "\"0.0.0.0/0\"", "198.51.100.1", true },
    { "IpAddress", "\"0.0.0.0/0\"", "2001:db8::1", false },
    { "IpAddress", "\"2001:db8::/32\"", "2001:db8:1::1", true },
    { "IpAddress", "\"2001:db8::/32\"", "2001:db9::1", false },
    { "IpAddress", "\"2001:db8::/33\"", "2001:db8:8000::1", false },
    { "IpAddress", "\"203.0.113.0/24\"", "::ffff:203.0.113.9", true },
    { "IpAddress", "\"203.0.113.0/33\"", "203.0.113.7", false },
    { "IpAddress", "\"203.0.113.0/\"", "203.0.113.7", false },
    { "IpAddress", "\"garbage\"", "203.0.113.7", false },
    { "IpAddress", "\"203.0.113.0/24\"", "garbage", false },
    { "IpAddress", "[\"10.0.0.0/8\",\"203.0.113.0/24\"]", "203.0.113.7", true },
    { "IpAddress", "\"203.0.113.0/24\"", NULL, false },
    { "IpAddressIfExists", "\"203.0.113.0/24\"", NULL, true },
    { "NotIpAddress", "\"203.0.113.0/24\"", "203.0.113.7", false },
    { "NotIpAddress", "\"203.0.113.0/24\"", "198.51.100.1", true },
    { "NotIpAddress", "[\"10.0.0.0/8\",\"203.0.113.0/24\"]", "10.1.2.3", false },
    { "NotIpAddress", "\"203.0.113.0/24\"", NULL, true },
    { "ArnEquals", "\"arn:aws:iam::123456789012:user/ann\"", USER, true },
    { "ArnEquals", "\"arn:aws:iam::123456789012:user/*\"", USER, true },
    { "ArnLike", "\"arn:aws:iam::*:user/ann\"", USER, true },
    { "ArnLike", "\"arn:aws:iam::*:user/bob\"", USER, false },
    { "ArnLike", "\"arn:*\"", USER, true }, /* fewer parts than six: one pattern */
    { "ArnLike", "\"arn:aws:*:*:*:*\"", USER, true },
    { "ArnLike", "\"arn:aws:s3:*:*:*\"", USER, false },
    { "ArnLike", "\"arn:aws:iam::123456789012:user/${aws:username}\"", USER, true },
    { "ArnEquals", "\"x\"", NULL, false },
    { "ArnNotEquals", "\"arn:aws:iam::123456789012:user/ann\"", USER, false },
    { "ArnNotLike", "\"arn:aws:iam::*:user/bob\"", USER, true },
    { "ArnNotLike", "\"arn:aws:iam::*:user/a*\"", USER, false },
    { "ArnNotEquals", "\"x\"", NULL, true },
    { "Null", "\"true\"", NULL, true },
    { "Null", "\"true\"", "x", false },
    { "Null", "\"false\"", "x", true },
    { "Null", "\"false\"", NULL, false },
    { "Null", "true", NULL, true },
    { "ForAnyValue:StringEquals", "[\"a\",\"b\"]", "x|b", true },
    { "ForAnyValue:StringEquals", "[\"a\",\"b\"]", "x|y", false },
    { "ForAnyValue:StringEquals", "\"a\"", NULL, false },
    { "ForAnyValue:StringEqualsIfExists", "\"a\"", NULL, false },
    { "ForAnyValue:StringLike", "\"a*\"", "x|ab", true },
    { "ForAnyValue:StringNotEquals", "\"a\"", "a|b", true },
    { "ForAnyValue:StringNotEquals", "\"a\"", "a|a", false },
    { "ForAllValues:StringEquals", "[\"a\",\"b\"]", "a|b", true },
    { "ForAllValues:StringEquals", "[\"a\",\"b\"]", "a|c", false },
    { "ForAllValues:StringEquals", "\"a\"", NULL, true },
    { "ForAllValues:StringEquals", "\"a\"", "", true },
    { "ForAllValues:StringLike", "\"a*\"", "a|ab", true },
    { "ForAllValues:StringLike", "\"a*\"", "a|b", false },
    { "ForAllValues:StringNotEquals", "\"a\"", "b|c", true },
    { "ForAllValues:StringNotEquals", "\"a\"", "a|c", false },
    { "ForAllValues:NumericLessThan", "\"10\"", "1|2", true },
    { "ForAllValues:NumericLessThan", "\"10\"", "1|20", false },
    { "ForAnyValue:IpAddress", "\"10.0.0.0/8\"", "1.1.1.1|10.0.0.1", true },
};

START_TEST(test_condition)
{
    char json[512], text[512];
    snprintf(
        json, sizeof(json),
        "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"s3:*\","
        "\"Resource\":\"*\",\"Condition\":{\"%s\":{\"my:Key\":%s}}}}",
        conditions[_i].op, conditions[_i].policy);
    snprintf(text, sizeof(text), "aws:username=ann\nevil:star=*%s%s",
             conditions[_i].request ? "\nMY:key=" : "",
             conditions[_i].request ? conditions[_i].request : "");
    struct keys keys = { .text = text };
    struct policy_request r = request_of("s3:GetObject", "arn:aws:s3:::b/k", &keys);
    bool allowed = policy_evaluate(parse(json, POLICY_IDENTITY), &r) == POLICY_ALLOW;
    ck_assert_msg(allowed == conditions[_i].holds, "%s: %s, request %s", conditions[_i].op,
                  conditions[_i].policy, conditions[_i].request ? conditions[_i].request : "-");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_condition");
    TCase *t = tcase_create("tables");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_pattern, 0, ARRAY_LEN(patterns));
    tcase_add_loop_test(t, test_condition, 0, ARRAY_LEN(conditions));
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
