/* Policies of functions, and services as principals.
 * https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html */
#include "tests/unit/auth/policy_fixture.h"

#define ON_FUNCTION                                                                              \
    "\"Action\":\"lambda:InvokeFunction\",\"Resource\":\"arn:aws:lambda:r:1:function:f\""

static const struct {
    const char *statement, *service, *keys;
    enum policy_verdict verdict;
} services[] = {
    { "\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"}," ON_FUNCTION,
      "s3.amazonaws.com", "", POLICY_ALLOW },
    { "\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"}," ON_FUNCTION,
      "sns.amazonaws.com", "", POLICY_SILENT },
    { "\"Effect\":\"Allow\",\"Principal\":\"*\"," ON_FUNCTION, "s3.amazonaws.com", "",
      POLICY_ALLOW },
    { "\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"" ACCOUNT "\"}," ON_FUNCTION,
      "s3.amazonaws.com", "", POLICY_SILENT },
    { "\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"},\"Condition\":{"
      "\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::b\"}}," ON_FUNCTION,
      "s3.amazonaws.com", "aws:SourceArn=arn:aws:s3:::b", POLICY_ALLOW },
    { "\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"},\"Condition\":{"
      "\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::b\"}}," ON_FUNCTION,
      "s3.amazonaws.com", "aws:SourceArn=arn:aws:s3:::c", POLICY_SILENT },
    { "\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"},\"Condition\":{"
      "\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:s3:::b\"}}," ON_FUNCTION,
      "s3.amazonaws.com", "", POLICY_SILENT },
    { "\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"s3.amazonaws.com\"}," ON_FUNCTION, "",
      "", POLICY_SILENT },
};

START_TEST(test_service)
{
    char json[1024];
    struct keys keys = { .text = services[_i].keys };
    struct policy_request r =
        request_of("lambda:InvokeFunction", "arn:aws:lambda:r:1:function:f", &keys);
    snprintf(json, sizeof(json), "{\"Version\":\"2012-10-17\",\"Statement\":[{%s}]}",
             services[_i].statement);
    if (services[_i].service[0])
        r.principal = (struct policy_principal){ .service = bytes_str(services[_i].service) };
    ck_assert_int_eq(policy_evaluate(parse(json, POLICY_FUNCTION), &r), services[_i].verdict);
}
END_TEST

/* What a bucket's policy must not say, a function's may; but not without a principal. */
START_TEST(test_function_policy)
{
    struct policy *p = NULL;
    const char *reason = NULL;
    const char *of_function =
        "{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\"," ON_FUNCTION "}}";
    const char *nobody = "{\"Statement\":{\"Effect\":\"Allow\"," ON_FUNCTION "}}";
    parse(of_function, POLICY_FUNCTION);
    ck_assert_int_eq(policy_parse(bytes_str(of_function), POLICY_RESOURCE, BYTES_LIT("b"), &arena,
                                  &p, &reason),
                     KIST_E_INVALID);
    ck_assert_int_eq(
        policy_parse(bytes_str(nobody), POLICY_FUNCTION, BYTES_EMPTY, &arena, &p, &reason),
        KIST_E_INVALID);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy_function");
    TCase *t = tcase_create("tables");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_service, 0, ARRAY_LEN(services));
    tcase_add_test(t, test_function_policy);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
