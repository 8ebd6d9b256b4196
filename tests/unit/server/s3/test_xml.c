/* XML in: trees of plain documents, and nothing else. XML out: what must be escaped. */
#include "server/s3/internal.h"
#include "tests/lib/suite.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, (size_t)16 << 20);
}

static void teardown(void)
{
    arena_release(&arena);
}

static struct s3_xml_node *parse(const char *text)
{
    struct s3_xml_node *root = NULL;
    return s3_xml_parse(bytes_str(text), &arena, &root) == KIST_OK ? root : NULL;
}

START_TEST(test_tree)
{
    const struct s3_xml_node *root = parse(
        "<?xml version=\"1.0\"?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n"
        "  <Object><Key>a &amp; &lt;b&gt; &#x41;</Key></Object>\n"
        "  <x:Object xmlns:x='urn:x' a='b'><Key/><Key>2</Key></x:Object>\n"
        "  <Quiet><![CDATA[<true>]]></Quiet>\n</Delete>\n");
    ck_assert_ptr_nonnull(root);
    ck_assert_str_eq(root->name, "Delete");
    const struct s3_xml_node *first = s3_xml_child(root, "Object");
    ck_assert(bytes_equal(s3_xml_child_text(first, "Key"), BYTES_LIT("a & <b> A")));
    ck_assert_str_eq(first->next->name, "Object"); /* the local name counts */
    ck_assert_uint_eq(s3_xml_child_text(first->next, "Key").len, 0);
    ck_assert_ptr_nonnull(s3_xml_child_text(first->next, "Key").ptr);
    ck_assert(bytes_equal(first->next->child->next->text, BYTES_LIT("2")));
    ck_assert(bytes_equal(s3_xml_child_text(root, "Quiet"), BYTES_LIT("<true>")));
    ck_assert_ptr_null(s3_xml_child(root, "None"));
    ck_assert_ptr_null(s3_xml_child(NULL, "None"));
    ck_assert_ptr_null(s3_xml_child_text(root, "None").ptr);
}
END_TEST

START_TEST(test_refused)
{
    static const char *const bad[] = {
        "",
        " ",
        "text",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a>&undefined;</a>",
        "<a b=c/>",
        "<a>\x01</a>",
        "<a>\xff</a>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
        "<a/>trailing",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!parse(bad[i]), "%zu: %s", i, bad[i]);
    struct s3_xml_node *root;
    ck_assert_int_eq(s3_xml_parse(bytes_of("<a>\0</a>", 8), &arena, &root), KIST_E_INVALID);
}
END_TEST

static struct s3_xml_node *nested(size_t depth)
{
    struct buf b;
    buf_init(&b, 10000);
    for (size_t i = 0; i < depth; i++)
        ck_assert_int_eq(buf_append_str(&b, "<a>"), KIST_OK);
    for (size_t i = 0; i < depth; i++)
        ck_assert_int_eq(buf_append_str(&b, "</a>"), KIST_OK);
    ck_assert_int_eq(buf_append(&b, "", 1), KIST_OK);
    struct s3_xml_node *root = parse((const char *)b.ptr);
    buf_release(&b);
    return root;
}

START_TEST(test_depth)
{
    ck_assert_ptr_nonnull(nested(16));
    ck_assert_ptr_null(nested(17));
    ck_assert_ptr_null(nested(500));
}
END_TEST

START_TEST(test_out)
{
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, NULL);
    s3_xml_open(&x, "R");
    s3_xml_text(&x, "T", BYTES_LIT("a&b<c>\"d\" \x01"));
    s3_xml_number(&x, "N", UINT64_MAX);
    s3_xml_bool(&x, "B", true);
    s3_xml_time(&x, "D", 0);
    s3_xml_close(&x, "R");
    ck_assert(!x.failed);
    ck_assert_int_eq(buf_append(&x.out, "", 1), KIST_OK);
    ck_assert_str_eq((const char *)x.out.ptr,
                     "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R>"
                     "<T>a&amp;b&lt;c&gt;&quot;d&quot; &#x1;</T>"
                     "<N>18446744073709551615</N><B>true</B><D>1970-01-01T00:00:00.000Z</D></R>");
    buf_release(&x.out);
}
END_TEST

/* encoding-type=url is for keys alone. */
START_TEST(test_out_encoded)
{
    struct s3_xml x = { .url = true };
    s3_xml_begin(&x, NULL);
    buf_clear(&x.out);
    s3_xml_key(&x, "Key", BYTES_LIT("a/b c\x01"));
    s3_xml_text(&x, "T", BYTES_LIT("a b"));
    ck_assert_int_eq(buf_append(&x.out, "", 1), KIST_OK);
    ck_assert_str_eq((const char *)x.out.ptr, "<Key>a/b+c%01</Key><T>a b</T>");
    buf_release(&x.out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("xml");
    TCase *tcase = tcase_create("xml");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_tree);
    tcase_add_test(tcase, test_refused);
    tcase_add_test(tcase, test_depth);
    tcase_add_test(tcase, test_out);
    tcase_add_test(tcase, test_out_encoded);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
