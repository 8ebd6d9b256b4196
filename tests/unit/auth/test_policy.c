/* What policies decide, by tables: each row is one case whose result AWS's documentation gives.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html */
#include "tests/unit/auth/policy_fixture.h"

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

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *t = tcase_create("tables");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_statement, 0, ARRAY_LEN(statements));
    tcase_add_loop_test(t, test_decision, 0, ARRAY_LEN(decisions));
    tcase_add_loop_test(t, test_list, 0, ARRAY_LEN(lists));
    tcase_add_test(t, test_denial_wins_in_any_order);
    tcase_add_test(t, test_added);
    tcase_add_test(t, test_old_version_has_no_variables);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
