/* Payloads are JSON or they are not: RFC 8259, by table. */
#include "server/functions/control.h"
#include "tests/lib/suite.h"

static const struct {
    const char *text;
    bool json;
} texts[] = {
    { "{}", true },
    { "[]", true },
    { "null", true },
    { " true ", true },
    { "\t\r\n0", true },
    { "-0.5e+10", true },
    { "123456789012345678901234567890", true },
    { "1e999", true },
    { "\"\"", true },
    { "\"\\u0000\\n\\\"\\\\ \\ud800\"", true },
    { "\"\xc3\xa9\"", true },
    { "[[[1],{}],{\"a\":[{}]}]", true },
    { "{\"a\":1,\"a\":2}", true },
    { "[1 , 2]", true },
    { "", false },
    { " ", false },
    { "nul", false },
    { "nullx", false },
    { "{", false },
    { "{]", false },
    { "[}", false },
    { "[1,]", false },
    { "[,1]", false },
    { "{\"a\":1,}", false },
    { "{,}", false },
    { "{a:1}", false },
    { "{\"a\" 1}", false },
    { "{\"a\":}", false },
    { "{} {}", false },
    { "1 2", false },
    { "01", false },
    { "+1", false },
    { ".5", false },
    { "1.", false },
    { "1e", false },
    { "-", false },
    { "\"\n\"", false },
    { "\"\\x\"", false },
    { "\"\\u12\"", false },
    { "\"open", false },
    { "\"\xff\"", false },
    { "]", false },
    { "'a'", false },
};

START_TEST(test_text)
{
    ck_assert_msg(fn_is_json(bytes_str(texts[_i].text)) == texts[_i].json, "%s", texts[_i].text);
}
END_TEST

START_TEST(test_depth)
{
    char text[2001];
    memset(text, '[', 1000);
    memset(text + 1000, ']', 1000);
    ck_assert(fn_is_json(bytes_of(text + 488, 1024)));
    ck_assert(!fn_is_json(bytes_of(text + 487, 1026)));
    ck_assert(!fn_is_json(bytes_of(text, 1000)));
}
END_TEST

START_TEST(test_nul_is_no_blank)
{
    ck_assert(!fn_is_json(bytes_of("1\0", 2)));
    ck_assert(!fn_is_json(bytes_of("\"\\\0\"", 4)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("payload");
    TCase *t = tcase_create("json");
    tcase_add_loop_test(t, test_text, 0, ARRAY_LEN(texts));
    tcase_add_test(t, test_depth);
    tcase_add_test(t, test_nul_is_no_blank);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
