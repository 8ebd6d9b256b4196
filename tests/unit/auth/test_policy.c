/* Policies, by tables: each row is one case whose result AWS's documentation gives.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html */
#include "tests/lib/suite.h"
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

/* ---- statements of a bucket's policy: who, what, on what ---- */

static const struct {
    const char *statement; /* beside the effect */
    const char *action, *resource;
    bool anonymous, fits;
} statements[] = {
#define ALL "\"Action\":\"s3:*\",\"Resource\":[\"arn:aws:s3:::b\",\"arn:aws:s3:::b/*\"]"
#define TO_ALL "\"Principal\":\"*\","
#define GET "s3:GetObject", "arn:aws:s3:::b/k"
    { "\"Principal\":\"*\"," ALL, GET, false, true },
    { "\"Principal\":\"*\"," ALL, GET, true, true },
    { "\"Principal\":{\"AWS\":\"*\"}," ALL, GET, true, true },
    { "\"Principal\":{\"AWS\":\"" ACCOUNT "\"}," ALL, GET, false, true },
    { "\"Principal\":{\"AWS\":\"" ACCOUNT "\"}," ALL, GET, true, false },
    { "\"Principal\":{\"AWS\":\"arn:aws:iam::" ACCOUNT ":root\"}," ALL, GET, false, true },
    { "\"Principal\":{\"AWS\":\"arn:aws:iam::999999999999:root\"}," ALL, GET, false, false },
    { "\"Principal\":{\"AWS\":\"" USER "\"}," ALL, GET, false, true },
    { "\"Principal\":{\"AWS\":\"" USER "x\"}," ALL, GET, false, false },
    { "\"Principal\":{\"AWS\":[\"999999999999\",\"" USER "\"]}," ALL, GET, false, true },
    { "\"Principal\":{\"CanonicalUser\":\"" CANONICAL "\"}," ALL, GET, false, true },
    { "\"Principal\":{\"CanonicalUser\":\"" CANONICAL "\"}," ALL, GET, true, false },
    { "\"Principal\":{\"Service\":\"logging.s3.amazonaws.com\"}," ALL, GET, false, false },
    { "\"Principal\":{\"Service\":\"x\",\"AWS\":\"" ACCOUNT "\"}," ALL, GET, false, true },
    { "\"NotPrincipal\":{\"AWS\":\"" USER "\"}," ALL, GET, false, false },
    { "\"NotPrincipal\":{\"AWS\":\"" USER "\"}," ALL, GET, true, true },
    { "\"NotPrincipal\":{\"AWS\":\"999999999999\"}," ALL, GET, false, true },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::b/*\"", GET, true, true },
    { TO_ALL "\"Action\":\"S3:getobject\",\"Resource\":\"arn:aws:s3:::b/*\"", GET, true, true },
    { TO_ALL "\"Action\":\"s3:Get*\",\"Resource\":\"arn:aws:s3:::b/*\"", GET, true, true },
    { TO_ALL "\"Action\":\"s3:Put*\",\"Resource\":\"arn:aws:s3:::b/*\"", GET, true, false },
    { TO_ALL "\"Action\":\"*\",\"Resource\":\"arn:aws:s3:::b/*\"", GET, true, true },
    { TO_ALL "\"Action\":[\"s3:PutObject\",\"s3:GetObject\"],\"Resource\":\"arn:aws:s3:::b/*\"",
      GET, true, true },
    { TO_ALL "\"Action\":\"s3:Get?bject\",\"Resource\":\"arn:aws:s3:::b/*\"", GET, true, true },
    { TO_ALL "\"NotAction\":\"s3:PutObject\",\"Resource\":\"arn:aws:s3:::b/*\"", GET, true,
      true },
    { TO_ALL "\"NotAction\":\"s3:Get*\",\"Resource\":\"arn:aws:s3:::b/*\"", GET, true, false },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::b/k\"", GET, true, true },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::b/K\"", GET, true, false },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::b/k?\"", GET, true, false },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::b*\"", GET, true, true },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"Resource\":[\"arn:aws:s3:::b/x\","
             "\"arn:aws:s3:::b/k\"]",
      GET, true, true },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"NotResource\":\"arn:aws:s3:::b/x*\"", GET, true,
      true },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"NotResource\":\"arn:aws:s3:::b/*\"", GET, true,
      false },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::b/${aws:username}\"", GET,
      true, false },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::b/${my:key}\"", GET, true,
      true },
    { TO_ALL "\"Action\":\"s3:GetObject\",\"NotResource\":\"arn:aws:s3:::b/${no:key}\"", GET,
      true, false },
    { TO_ALL "\"Action\":\"s3:ListBucket\",\"Resource\":\"arn:aws:s3:::b\"", "s3:ListBucket",
      "arn:aws:s3:::b", true, true },
    { TO_ALL "\"Action\":\"s3:ListBucket\",\"Resource\":\"arn:aws:s3:::b\"", GET, true, false },
    { TO_ALL "\"Action\":[\"s3:ListBucket\",\"s3:GetObject\"],\"Resource\":\"arn:aws:s3:::b\"",
      GET, true, false },
    { TO_ALL "\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b\"", GET, true, false },
    { TO_ALL ALL ",\"Condition\":{\"StringEquals\":{\"my:key\":\"k\"}}", GET, true, true },
    { TO_ALL ALL ",\"Condition\":{\"StringEquals\":{\"my:key\":\"x\"}}", GET, true, false },
    { TO_ALL ALL ",\"Condition\":{\"StringEquals\":{\"my:key\":\"k\",\"my:two\":\"2\"}}", GET,
      true, true },
    { TO_ALL ALL ",\"Condition\":{\"StringEquals\":{\"my:key\":\"k\",\"my:two\":\"3\"}}", GET,
      true, false },
    { TO_ALL ALL ",\"Condition\":{\"StringEquals\":{\"my:key\":\"k\"},"
                 "\"NumericLessThan\":{\"my:two\":\"3\"}}",
      GET, true, true },
    { TO_ALL ALL ",\"Condition\":{\"StringEquals\":{\"my:key\":\"k\"},"
                 "\"NumericLessThan\":{\"my:two\":\"2\"}}",
      GET, true, false },
    { TO_ALL ALL ",\"Condition\":{}", GET, true, true },
    { TO_ALL ALL ",\"Sid\":\"named\"", GET, true, true },
};

START_TEST(test_statement)
{
    static const char *const effects[] = { "Allow", "Deny" };
    struct keys keys = { .text = "my:key=k\nmy:two=2" };
    struct policy_request r = request_of(statements[_i].action, statements[_i].resource, &keys);
    if (statements[_i].anonymous)
        r.principal = (struct policy_principal){ .anonymous = true };
    for (size_t i = 0; i < 2; i++) {
        char json[1024];
        snprintf(json, sizeof(json),
                 "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"%s\",%s}]}",
                 effects[i], statements[_i].statement);
        enum policy_verdict verdict = policy_evaluate(parse(json, POLICY_RESOURCE), &r);
        enum policy_verdict wanted = i ? POLICY_DENY : POLICY_ALLOW;
        ck_assert_msg(verdict == (statements[_i].fits ? wanted : POLICY_SILENT), "%s", json);
    }
}
END_TEST

/* ---- decisions: several policies and the accounts ---- */

enum says { NONE, SILENT, ALLOW, DENY };
static const struct {
    enum says bucket, identity, second, session;
    bool root, same, anonymous, restricted, allowed;
} decisions[] = {
    /* bucket, identity, second, session, root, same account, anonymous, restricted */
    { NONE, NONE, NONE, NONE, true, true, false, false, true },
    { DENY, NONE, NONE, NONE, true, true, false, false, false },
    { SILENT, NONE, NONE, NONE, true, true, false, false, true },
    { ALLOW, NONE, NONE, NONE, true, true, false, false, true },
    { NONE, NONE, NONE, NONE, false, true, false, false, false },
    { NONE, ALLOW, NONE, NONE, false, true, false, false, true },
    { NONE, SILENT, NONE, NONE, false, true, false, false, false },
    { NONE, DENY, NONE, NONE, false, true, false, false, false },
    { NONE, ALLOW, DENY, NONE, false, true, false, false, false },
    { NONE, DENY, ALLOW, NONE, false, true, false, false, false },
    { NONE, SILENT, ALLOW, NONE, false, true, false, false, true },
    { ALLOW, NONE, NONE, NONE, false, true, false, false, true },
    { ALLOW, DENY, NONE, NONE, false, true, false, false, false },
    { ALLOW, SILENT, NONE, NONE, false, true, false, false, true },
    { DENY, ALLOW, NONE, NONE, false, true, false, false, false },
    { NONE, ALLOW, NONE, ALLOW, false, true, false, false, true },
    { NONE, ALLOW, NONE, SILENT, false, true, false, false, false },
    { NONE, ALLOW, NONE, DENY, false, true, false, false, false },
    { NONE, SILENT, NONE, ALLOW, false, true, false, false, false },
    { ALLOW, SILENT, NONE, ALLOW, false, true, false, false, true },
    { NONE, NONE, NONE, SILENT, true, true, false, false, false },
    { NONE, NONE, NONE, NONE, true, false, false, false, false },
    { NONE, ALLOW, NONE, NONE, false, false, false, false, false },
    { ALLOW, NONE, NONE, NONE, false, false, false, false, false },
    { ALLOW, ALLOW, NONE, NONE, false, false, false, false, true },
    { ALLOW, NONE, NONE, NONE, true, false, false, false, true },
    { ALLOW, DENY, NONE, NONE, false, false, false, false, false },
    { DENY, ALLOW, NONE, NONE, false, false, false, false, false },
    { SILENT, ALLOW, NONE, NONE, false, false, false, false, false },
    { ALLOW, ALLOW, NONE, SILENT, false, false, false, false, false },
    { ALLOW, ALLOW, NONE, NONE, false, false, false, true, false },
    { NONE, NONE, NONE, NONE, false, false, true, false, false },
    { ALLOW, NONE, NONE, NONE, false, false, true, false, true },
    { DENY, NONE, NONE, NONE, false, false, true, false, false },
    { SILENT, NONE, NONE, NONE, false, false, true, false, false },
    { ALLOW, NONE, NONE, NONE, false, false, true, true, false },
    { ALLOW, NONE, NONE, NONE, true, true, false, true, true },
};

static struct policy *saying(enum says what, enum policy_kind kind)
{
    static const char *const effects[] = { NULL, "Allow", "Allow", "Deny" };
    char json[512];
    if (what == NONE)
        return NULL;
    snprintf(json, sizeof(json),
             "{\"Statement\":{\"Effect\":\"%s\",%s\"Action\":\"%s\","
             "\"Resource\":\"arn:aws:s3:::b/*\"}}",
             effects[what], kind == POLICY_RESOURCE ? "\"Principal\":\"*\"," : "",
             what == SILENT ? "s3:PutObject" : "s3:GetObject");
    return parse(json, kind);
}

START_TEST(test_decision)
{
    struct keys keys = { .text = NULL };
    struct policy_request r = request_of("s3:GetObject", "arn:aws:s3:::b/k", &keys);
    r.principal.anonymous = decisions[_i].anonymous;
    const struct policy *own[2] = { saying(decisions[_i].identity, POLICY_IDENTITY),
                                    saying(decisions[_i].second, POLICY_IDENTITY) };
    struct access_question q = {
        .request = &r,
        .bucket = saying(decisions[_i].bucket, POLICY_RESOURCE),
        .identity = own,
        .identity_count = 2,
        .session = saying(decisions[_i].session, POLICY_IDENTITY),
        .is_account_root = decisions[_i].root,
        .same_account = decisions[_i].same,
        .restrict_public = decisions[_i].restricted,
    };
    ck_assert_int_eq(access_is_allowed(&q), decisions[_i].allowed);
}
END_TEST

/* Access control lists beside the policies. */
static const struct {
    enum says bucket, identity;
    bool root, same, anonymous, group, account, foreign, allowed;
} lists[] = {
    /* bucket, identity, root, same account, anonymous, group, account, foreign object */
    { NONE, NONE, false, false, true, true, false, false, true }, /* public */
    { NONE, NONE, false, false, true, false, false, false, false },
    { DENY, NONE, false, false, true, true, false, false, false }, /* a denial wins */
    { NONE, NONE, false, true, false, true, false, false, true },  /* ... to his own users, too */
    { NONE, NONE, false, true, false, false, true, false,
      false }, /* the account, not each user */
    { NONE, DENY, false, true, false, true, true, false, false },
    { NONE, NONE, true, false, false, false, true, false, true }, /* another account's root */
    { NONE, NONE, true, false, false, false, false, false, false },
    { NONE, ALLOW, false, false, false, false, true, false,
      true }, /* its user: both must allow */
    { NONE, NONE, false, false, false, false, true, false, false },
    { NONE, NONE, false, false, false, true, false, false, false },
    { DENY, NONE, true, false, false, true, true, false, false },
    { NONE, NONE, true, true, false, false, false, true, false },  /* the bucket's owner */
    { NONE, NONE, true, true, false, false, true, true, true },    /* ... when granted */
    { ALLOW, NONE, true, true, false, false, false, true, false }, /* his policy opens nothing */
    { ALLOW, NONE, false, false, true, false, false, true, false },
    { ALLOW, ALLOW, false, false, false, false, false, true, false },
    { DENY, NONE, true, false, false, false, true, true, false }, /* ... but closes it */
    { NONE, NONE, false, false, true, true, false, true, true },
};

START_TEST(test_list)
{
    struct keys keys = { .text = NULL };
    struct policy_request r = request_of("s3:GetObject", "arn:aws:s3:::b/k", &keys);
    r.principal.anonymous = lists[_i].anonymous;
    const struct policy *own[1] = { saying(lists[_i].identity, POLICY_IDENTITY) };
    struct access_question q = {
        .request = &r,
        .bucket = saying(lists[_i].bucket, POLICY_RESOURCE),
        .identity = own,
        .identity_count = 1,
        .is_account_root = lists[_i].root,
        .same_account = lists[_i].same,
        .acl_group = lists[_i].group,
        .acl_account = lists[_i].account,
        .foreign_object = lists[_i].foreign,
    };
    ck_assert_int_eq(access_is_allowed(&q), lists[_i].allowed);
}
END_TEST

START_TEST(test_denial_wins_in_any_order)
{
    static const char format[] =
        "{\"Statement\":[{\"Effect\":\"%s\",\"Action\":\"s3:*\",\"Resource\":\"*\"},"
        "{\"Effect\":\"%s\",\"Action\":\"s3:GetObject\",\"Resource\":\"*\"}]}";
    struct keys keys = { .text = NULL };
    struct policy_request r = request_of("s3:GetObject", "arn:aws:s3:::b/k", &keys);
    char json[512];
    snprintf(json, sizeof(json), format, "Allow", "Deny");
    ck_assert_int_eq(policy_evaluate(parse(json, POLICY_IDENTITY), &r), POLICY_DENY);
    snprintf(json, sizeof(json), format, "Deny", "Allow");
    ck_assert_int_eq(policy_evaluate(parse(json, POLICY_IDENTITY), &r), POLICY_DENY);
}
END_TEST

/* What was added counts as if it stood there; an empty one allows nothing. */
START_TEST(test_added)
{
    struct keys keys = { .text = NULL };
    struct policy_request r = request_of("s3:GetObject", "arn:aws:s3:::b/k", &keys);
    struct policy *all = policy_empty(&arena);
    ck_assert_int_eq(policy_evaluate(all, &r), POLICY_SILENT);
    policy_add(all, parse("{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\","
                          "\"Resource\":\"*\"}}",
                          POLICY_IDENTITY));
    policy_add(all, parse("{\"Statement\":{\"Effect\":\"Deny\",\"Action\":\"s3:GetObject\","
                          "\"Resource\":\"arn:aws:s3:::b/no\"}}",
                          POLICY_IDENTITY));
    ck_assert_int_eq(policy_evaluate(all, &r), POLICY_ALLOW);
    r.resource = BYTES_LIT("arn:aws:s3:::b/no");
    ck_assert_int_eq(policy_evaluate(all, &r), POLICY_DENY);
}
END_TEST

/* Without Version 2012-10-17 a variable is plain text. */
START_TEST(test_old_version_has_no_variables)
{
    struct keys keys = { .text = "aws:username=ann" };
    struct policy *p = parse("{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"s3:*\","
                             "\"Resource\":\"arn:aws:s3:::b/${aws:username}\"}}",
                             POLICY_IDENTITY);
    struct policy_request r = request_of("s3:GetObject", "arn:aws:s3:::b/ann", &keys);
    ck_assert_int_eq(policy_evaluate(p, &r), POLICY_SILENT);
    r.resource = BYTES_LIT("arn:aws:s3:::b/${aws:username}");
    ck_assert_int_eq(policy_evaluate(p, &r), POLICY_ALLOW);
}
END_TEST

/* ---- documents that are none ---- */

#define ST(members) "{\"Version\":\"2012-10-17\",\"Statement\":[{" members "}]}"
#define OK_TAIL                                                                                  \
    "\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::b/*\""

static const char *const invalid[] = {
    "",
    "x",
    "[]",
    "\"policy\"",
    "{",
    "{}",
    "{\"Statement\":[]}",
    "{\"Statement\":\"x\"}",
    "{\"Statement\":[1]}",
    "{\"Version\":\"2013-01-01\",\"Statement\":[{\"Effect\":\"Allow\"," OK_TAIL "}]}",
    "{\"Version\":2012,\"Statement\":[{\"Effect\":\"Allow\"," OK_TAIL "}]}",
    "{\"Vresion\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\"," OK_TAIL "}]}",
    ST(OK_TAIL),
    ST("\"Effect\":\"allow\"," OK_TAIL),
    ST("\"Effect\":\"Maybe\"," OK_TAIL),
    ST("\"Effect\":1," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Effect\":\"Deny\"," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Extra\":1," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Sid\":1," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b/*\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Resource\":\"arn:aws:s3:::b/*\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:*\""),
    ST("\"Effect\":\"Allow\",\"NotPrincipal\":{\"AWS\":\"*\"}," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"NotAction\":\"s3:*\"," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"NotResource\":\"arn:aws:s3:::b/x\"," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Principal\":\"ann\",\"Action\":\"s3:*\","
       "\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":{},\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::"
       "b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":[]},\"Action\":\"s3:*\","
       "\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"ann\"},\"Action\":\"s3:*\","
       "\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"12345\"},\"Action\":\"s3:*\","
       "\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::123456789012:user/*\"},"
       "\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:s3:::b\"},\"Action\":\"s3:*\","
       "\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":{\"Who\":\"x\"},\"Action\":\"s3:*\","
       "\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":[],\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":1,\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObjetc\","
       "\"Resource\":\"arn:aws:s3:::b/*\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"ec2:Run\","
       "\"Resource\":\"arn:aws:s3:::b/*\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\","
       "\"Resource\":\"arn:aws:s3:::other/*\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\","
       "\"Resource\":\"arn:aws:s3:::bb/*\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"*\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"b/"
       "*\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":[]"),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:GetObject\","
       "\"Resource\":\"arn:aws:s3:::b\""),
    ST("\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:ListBucket\","
       "\"Resource\":\"arn:aws:s3:::b/*\""),
    ST("\"Effect\":\"Allow\",\"Condition\":1," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Condition\":{\"Equals\":{\"aws:a\":\"1\"}}," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Condition\":{\"StringEquals\":1}," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Condition\":{\"StringEquals\":{\"nocolon\":\"1\"}}," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Condition\":{\"StringEquals\":{\"aws:a\":{}}}," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Condition\":{\"StringEquals\":{\"aws:a\":null}}," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Condition\":{\"NullIfExists\":{\"aws:a\":\"true\"}}," OK_TAIL),
    ST("\"Effect\":\"Allow\",\"Condition\":{\"ForSomeValues:StringEquals\":{\"aws:a\":\"1\"}}"
       "," OK_TAIL),
};

START_TEST(test_invalid)
{
    struct policy *p = NULL;
    const char *reason = NULL;
    ck_assert_msg(policy_parse(bytes_str(invalid[_i]), POLICY_RESOURCE, BYTES_LIT("b"), &arena,
                               &p, &reason) == KIST_E_INVALID,
                  "%s", invalid[_i]);
    ck_assert_ptr_nonnull(reason);
    ck_assert_ptr_null(p);
}
END_TEST

START_TEST(test_too_large)
{
    struct policy *p = NULL;
    const char *reason = NULL;
    char *big = malloc(POLICY_BYTES_MAX + 2);
    ck_assert_ptr_nonnull(big);
    memset(big, ' ', POLICY_BYTES_MAX + 1);
    ck_assert_int_eq(policy_parse(bytes_of(big, POLICY_BYTES_MAX + 1), POLICY_RESOURCE,
                                  BYTES_LIT("b"), &arena, &p, &reason),
                     KIST_E_INVALID);
    /* Deeper than any stack should have to be. */
    memset(big, '[', POLICY_BYTES_MAX);
    ck_assert_int_eq(policy_parse(bytes_of(big, POLICY_BYTES_MAX), POLICY_RESOURCE,
                                  BYTES_LIT("b"), &arena, &p, &reason),
                     KIST_E_INVALID);
    free(big);
}
END_TEST

/* ---- public ---- */

static const struct {
    const char *statement;
    bool public;
} publics[] = {
    { "\"Effect\":\"Allow\"," OK_TAIL, true },
    { "\"Effect\":\"Deny\"," OK_TAIL, false },
    { "\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"*\"},\"Action\":\"s3:GetObject\","
      "\"Resource\":\"arn:aws:s3:::b/*\"",
      true },
    { "\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"" ACCOUNT "\"},\"Action\":\"s3:GetObject\","
      "\"Resource\":\"arn:aws:s3:::b/*\"",
      false },
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/"
      "8\"}}," OK_TAIL,
      false },
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"0.0.0.0/"
      "0\"}}," OK_TAIL,
      true },
    { "\"Effect\":\"Allow\",\"Condition\":{\"StringEquals\":{\"aws:SourceVpc\":\"vpc-1\"}}"
      "," OK_TAIL,
      false },
    { "\"Effect\":\"Allow\",\"Condition\":{\"StringLike\":{\"aws:SourceVpc\":\"vpc-*\"}}"
      "," OK_TAIL,
      true },
    { "\"Effect\":\"Allow\",\"Condition\":{\"StringNotEquals\":{\"aws:SourceVpc\":\"vpc-1\"}}"
      "," OK_TAIL,
      true },
    { "\"Effect\":\"Allow\",\"Condition\":{\"StringEquals\":{\"aws:Referer\":\"me\"}}," OK_TAIL,
      true },
};

START_TEST(test_public)
{
    char json[1024];
    snprintf(json, sizeof(json), "{\"Version\":\"2012-10-17\",\"Statement\":[{%s}]}",
             publics[_i].statement);
    ck_assert_msg(policy_is_public(parse(json, POLICY_RESOURCE)) == publics[_i].public, "%s",
                  json);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *t = tcase_create("tables");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_pattern, 0, ARRAY_LEN(patterns));
    tcase_add_loop_test(t, test_condition, 0, ARRAY_LEN(conditions));
    tcase_add_loop_test(t, test_statement, 0, ARRAY_LEN(statements));
    tcase_add_loop_test(t, test_decision, 0, ARRAY_LEN(decisions));
    tcase_add_loop_test(t, test_list, 0, ARRAY_LEN(lists));
    tcase_add_loop_test(t, test_invalid, 0, ARRAY_LEN(invalid));
    tcase_add_loop_test(t, test_public, 0, ARRAY_LEN(publics));
    tcase_add_test(t, test_denial_wins_in_any_order);
    tcase_add_test(t, test_added);
    tcase_add_test(t, test_old_version_has_no_variables);
    tcase_add_test(t, test_too_large);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
