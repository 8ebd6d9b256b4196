/* What the commands make of names and of answers. */
#include "server/cli/site_internal.h"
#include "tests/lib/suite.h"

#define LASTING "public, max-age=31536000, immutable"

START_TEST(test_cache)
{
    static const struct {
        const char *key, *cache;
    } cases[] = {
        { "index.html", "no-cache" },
        { "a/page.3f9a1c2b.htm", "no-cache" }, /* a page is a page, whatever its name */
        { "app.3f9a1c2b.js", LASTING },
        { "assets/app-3f9a1c2bd4.min.js", LASTING },
        { "img/logo.0a1b2c3d4e5f.png", LASTING },
        { "index-B4cD9xYz.js", LASTING },
        { "chunk-QW2ER4TY.css", LASTING },
        { "font_B4cD9xYz.woff2", LASTING },
        /* Words, dates, numbers and models are not hashes. */
        { "style.css", "other" },
        { "photo-20240101.jpg", "other" },
        { "jquery-3.7.1.min.js", "other" },
        { "phone-iPhone12.jpg", "other" },
        { "feedback-form.js", "other" },
        { "deadbeef.js", "other" },
        { "3f9a1c2b/app.js", "other" },
        { "app.3f9a1c2", "other" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_msg(strcmp(site_cache(cases[i].key, "other"), cases[i].cache) == 0, "%s: %s",
                      cases[i].key, site_cache(cases[i].key, "other"));
}
END_TEST

START_TEST(test_types)
{
    ck_assert_str_eq(site_type("a.HTML"), "text/html; charset=utf-8");
    ck_assert_str_eq(site_type("a.b/c.mjs"), "text/javascript; charset=utf-8");
    ck_assert_str_eq(site_type("x.woff2"), "font/woff2");
    ck_assert_str_eq(site_type("dir.png/readme"), "application/octet-stream");
    ck_assert_str_eq(site_type("png"), "application/octet-stream");
    ck_assert_str_eq(site_type(""), "application/octet-stream");
}
END_TEST

START_TEST(test_elements)
{
    struct bytes xml = BYTES_LIT("<L><K>a</K><K>b&amp;amp;&lt;</K><Open></L>"), value;
    struct arena arena;
    size_t at = 0;
    arena_init(&arena, 1 << 16);
    ck_assert(client_element(xml, "K", &at, xml.len, &value));
    ck_assert_str_eq(client_text(&arena, value), "a");
    ck_assert(client_element(xml, "K", &at, xml.len, &value));
    ck_assert_str_eq(client_text(&arena, value), "b&amp;<"); /* once, not twice */
    ck_assert(!client_element(xml, "K", &at, xml.len, &value));
    at = 0;
    ck_assert(!client_element(xml, "Open", &at, xml.len, &value));
    ck_assert(!client_element(BYTES_EMPTY, "K", &at, 0, &value));
    at = 0;
    ck_assert(!client_element(xml, "K", &at, 2, &value)); /* it begins behind the end */
    arena_release(&arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client");
    TCase *tc = tcase_create("client");
    tcase_add_test(tc, test_cache);
    tcase_add_test(tc, test_types);
    tcase_add_test(tc, test_elements);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
