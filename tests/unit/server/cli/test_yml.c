/* YAML as `kist apply` reads it: the tree with its lines, variables, bounds, and what is refused.
 */
#include "server/cli/yml.h"
#include "tests/lib/suite.h"

static struct arena arena;
static struct yml_file file;

static void set_up(void)
{
    arena_init(&arena, 16 << 20);
}

static void tear_down(void)
{
    arena_release(&arena);
}

static const char *variable(const char *name)
{
    return strcmp(name, "ONE") == 0     ? "1"
           : strcmp(name, "EVIL") == 0  ? "x\nadmin: true # ${ONE}"
           : strcmp(name, "EMPTY") == 0 ? ""
                                        : NULL;
}

static bool parse_bytes(struct bytes text)
{
    file = (struct yml_file){ .arena = &arena };
    return yml_parse(&file, text, variable);
}

static bool parse(const char *text)
{
    return parse_bytes(bytes_str(text));
}

static void refused(const char *text, unsigned line, const char *why)
{
    ck_assert_msg(!parse(text), "%s", text);
    ck_assert_msg(file.line == line, "%s: line %u", text, file.line);
    ck_assert_msg(strstr(file.why, why) != NULL, "%s: %s", text, file.why);
}

START_TEST(test_tree)
{
    ck_assert(parse("# a comment\na:\n  b: [ x, \"y z\", { c: 7 } ]\n  d: |\n    two\n    lines\n"
                    "e:\n"));
    const struct yml *a = yml_get(file.root, "a"), *b = yml_get(a, "b"), *item = b->first;
    ck_assert_uint_eq(file.root->count, 2);
    ck_assert_uint_eq(a->line, 2);
    ck_assert_uint_eq(b->line, 3);
    ck_assert_int_eq(b->kind, YML_LIST);
    ck_assert_uint_eq(b->count, 3);
    ck_assert_str_eq(item->text, "x");
    ck_assert(item->plain);
    ck_assert_str_eq(item->next->text, "y z");
    ck_assert(!item->next->plain);
    ck_assert_str_eq(yml_get(item->next->next, "c")->text, "7");
    ck_assert_str_eq(yml_get(a, "d")->text, "two\nlines\n");
    ck_assert_uint_eq(yml_get(a, "d")->line, 4);
    ck_assert_str_eq(yml_get(file.root, "e")->text, "");
    ck_assert_ptr_null(yml_get(file.root, "f"));
    ck_assert_ptr_null(yml_get(b, "c")); /* a list has no members */
}
END_TEST

START_TEST(test_variables)
{
    ck_assert(parse("a: ${ONE}\nb: \"x${ONE}y${ONE}\"\nc: $${ONE} $5 $\nd: ${EVIL}\n"
                    "e: ${EMPTY}\n\"${ONE}\": key\n"));
    ck_assert_str_eq(yml_get(file.root, "a")->text, "1");
    ck_assert(!yml_get(file.root, "a")->plain);
    ck_assert_str_eq(yml_get(file.root, "b")->text, "x1y1");
    ck_assert_str_eq(yml_get(file.root, "c")->text, "${ONE} $5 $");
    /* What a variable holds is text, whatever it looks like. */
    ck_assert_str_eq(yml_get(file.root, "d")->text, "x\nadmin: true # ${ONE}");
    ck_assert_ptr_null(yml_get(file.root, "admin"));
    ck_assert_str_eq(yml_get(file.root, "e")->text, "");
    ck_assert_ptr_nonnull(yml_get(file.root, "${ONE}")); /* keys are as they stand */
    refused("a: 1\nb: ${NONE}\n", 2, "no variable NONE");
    refused("a: 1\n\nb: x${\n", 3, "a variable is ${NAME}");
    refused("a: ${ONE\n", 1, "a variable is ${NAME}");
    refused("a: ${}\n", 1, "a variable is ${NAME}");
    refused("a: ${O-E}\n", 1, "a variable is ${NAME}");
}
END_TEST

START_TEST(test_refused)
{
    refused("", 1, "empty");
    refused("# nothing\n", 1, "empty");
    refused("a: 1\nb: 2\na: 3\n", 3, "a stands there twice, first in line 1");
    refused("x:\n  a: 1\n  \"a\": 3\n", 3, "twice");
    refused("a: &b x\n", 1, "anchors");
    refused("a: &b [ 1 ]\n", 1, "anchors");
    refused("a: 1\nb: &c { d: e }\n", 2, "anchors");
    refused("a: 1\nb: *a\n", 2, "anchors");
    refused("a: !!int 7\n", 1, "tags");
    refused("a: !x { b: c }\n", 1, "tags");
    refused("<<: { a: b }\n", 1, "merging");
    refused("a: b\n---\nc: d\n", 2, "second document");
    refused("? [ a ]\n: b\n", 1, "a key must be a word");
    refused("? { a: b }\n: b\n", 1, "a key must be a word");
    refused("a: b\n\tc: d\n", 2, "no YAML");
    refused("a: [ b\nc: d\n", 2, "no YAML");
    refused("a: \"x\\0y\"\n", 1, "zero byte");
    refused("a: \xff\n", 1, "not UTF-8");
    ck_assert(!parse_bytes(BYTES_EMPTY));
}
END_TEST

static bool nested(size_t depth)
{
    char text[256] = "";
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return parse_bytes(bytes_of(text, depth * 2));
}

START_TEST(test_bounds)
{
    ck_assert(nested(YML_DEPTH_MAX));
    ck_assert(!nested(YML_DEPTH_MAX + 1));
    ck_assert_ptr_nonnull(strstr(file.why, "nested deeper"));
    struct buf text;
    buf_init(&text, YML_BYTES_MAX + 1);
    for (size_t i = 0; i < YML_NODES_MAX; i++)
        ck_assert_int_eq(buf_append_str(&text, "- x\n"), KIST_OK);
    ck_assert(!parse_bytes(buf_bytes(&text))); /* the list is a node too */
    ck_assert_ptr_nonnull(strstr(file.why, "too much"));
    ck_assert(parse_bytes(bytes_of(text.ptr, text.len - 4)));
    while (text.len <= YML_BYTES_MAX)
        ck_assert_int_eq(buf_append_str(&text, "#"), KIST_OK);
    ck_assert(!parse_bytes(buf_bytes(&text)));
    ck_assert_ptr_nonnull(strstr(file.why, "larger"));
    buf_release(&text);
}
END_TEST

START_TEST(test_members)
{
    const char *out = "before";
    uint64_t n = 7;
    bool flag = false;
    ck_assert(parse("text: x\nnumber: 12\nflag: true\nlist: []\nnothing:\n"));
    ck_assert(yml_only(&file, file.root, "|text|number|flag|list|nothing|"));
    ck_assert(yml_only(&file, yml_get(file.root, "nothing"), "|a|"));
    ck_assert(yml_text(&file, file.root, "none", &out));
    ck_assert_str_eq(out, "before");
    ck_assert(yml_text(&file, file.root, "text", &out));
    ck_assert_str_eq(out, "x");
    ck_assert(yml_number(&file, file.root, "number", 12, 12, &n));
    ck_assert_uint_eq(n, 12);
    ck_assert(yml_flag(&file, file.root, "flag", &flag));
    ck_assert(flag);
    ck_assert(!yml_number(&file, file.root, "number", 13, 20, &n));
    ck_assert_uint_eq(file.line, 2);
    file.line = 0;
    ck_assert(!yml_number(&file, file.root, "number", 0, 11, &n));
    file.line = 0;
    ck_assert(!yml_number(&file, file.root, "text", 0, 11, &n));
    ck_assert(!yml_text(&file, file.root, "list", &out));
    ck_assert_uint_eq(file.line, 1); /* the first fault is the one that is told */
    file.line = 0;
    ck_assert(!yml_flag(&file, file.root, "number", &flag));
    file.line = 0;
    ck_assert(!yml_only(&file, file.root, "|text|number|flag|nothing|"));
    ck_assert_uint_eq(file.line, 4);
    file.line = 0;
    ck_assert(!yml_only(&file, yml_get(file.root, "list"), "|a|"));
}
END_TEST

START_TEST(test_json)
{
    ck_assert(
        parse("a: [ 1, -2, 1.5, true, false, null, ~, x, \"1\", \"true\", 1x, 007, \"${ONE}\",\n"
              "     2026-01-01, -x, {} ]\nb: { c: }\n"));
    json_t *json = yml_json(file.root);
    char *text = json_dumps(json, JSON_COMPACT);
    ck_assert_str_eq(text, "{\"a\":[1,-2,1.5,true,false,null,null,\"x\",\"1\",\"true\",\"1x\","
                           "\"007\",\"1\",\"2026-01-01\",\"-x\",{}],\"b\":{\"c\":null}}");
    free(text);
    json_decref(json);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("yml");
    TCase *tc = tcase_create("yml");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, test_tree);
    tcase_add_test(tc, test_variables);
    tcase_add_test(tc, test_refused);
    tcase_add_test(tc, test_bounds);
    tcase_add_test(tc, test_members);
    tcase_add_test(tc, test_json);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
