/* Policies as documents: which are none, and which are public.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html */
#include "tests/unit/auth/policy_fixture.h"

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
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/"
      "9\",\"0.0.0.0/1\"]}}," OK_TAIL,
      true },
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/"
      "9\",\"128.0.0.0/7\"]}}," OK_TAIL,
      true },
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/"
      "9\",\"11.0.0.0/8\"]}}," OK_TAIL,
      false },
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/"
      "9\",\"10.1.2.3\"]}}," OK_TAIL,
      false },
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/"
      "9\",\"2001::/31\"]}}," OK_TAIL,
      true },
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/"
      "9\",\"2001:db8::/32\"]}}," OK_TAIL,
      false },
    { "\"Effect\":\"Allow\",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/9\",\"::/"
      "0\"]}}," OK_TAIL,
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

/* ---- condition keys ---- */

static const struct {
    const char *key;
    bool unknown;
} keys[] = {
    { "s3:prefix", false },
    { "S3:PREFIX", false },
    { "s3:locationconstraint", false },
    { "s3:versionid", false },
    { "s3:TlsVersion", false },
    { "s3:DataAccessPointArn", false },
    { "s3:ExistingObjectTag/a/b", false },
    { "s3:RequestObjectTagKeys", false },
    { "s3:x-amz-server-side-encryption-aws-kms-key-id", false },
    { "aws:SourceVpce", false },
    { "AWS:sourceip", false },
    { "aws:PrincipalTag/team", false },
    { "aws:FederatedProvider", false },
    { "id.example.org/realm:sub", false },
    { "lambda:SourceFunctionArn", false },
    { "s3:prefixes", true },
    { "s3:pre", true },
    { "s3:", true },
    { "s3:ExistingObjectTag", true },
    { "s3:ExistingObjectTag/", true },
    { "s3:prefix/", true },
    { "s3:x-amz-magic", true },
    { "s3:SourceIp", true },
    { "aws:SourceIP4", true },
    { "aws:PrincipalTag/", true },
    { "aws:prefix", true },
};

START_TEST(test_key)
{
    char json[512];
    snprintf(
        json, sizeof(json),
        "{\"Statement\":[{\"Effect\":\"Allow\"," OK_TAIL "},{\"Effect\":\"Deny\",\"Condition\":"
        "{\"StringEquals\":{\"aws:userid\":\"x\"},\"Null\":{\"%s\":\"true\"}}," OK_TAIL "}]}",
        keys[_i].key);
    ck_assert_msg(policy_has_unknown_key(parse(json, POLICY_RESOURCE)) == keys[_i].unknown, "%s",
                  keys[_i].key);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_document");
    TCase *t = tcase_create("tables");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_invalid, 0, ARRAY_LEN(invalid));
    tcase_add_loop_test(t, test_public, 0, ARRAY_LEN(publics));
    tcase_add_loop_test(t, test_key, 0, ARRAY_LEN(keys));
    tcase_add_test(t, test_too_large);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
