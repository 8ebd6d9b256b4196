/* Zips of strangers. */
#include "tests/unit/server/functions/runtime_fixture.h"

/* ---- zips ---- */

static enum kist_err check_zip(struct file file, const char **why)
{
    static char out[1 << 20];
    uint64_t unpacked;
    *why = "";
    return code_check(bytes_of(out, zip(&file, 1, out, sizeof(out))), &unpacked, why);
}

START_TEST(test_zips)
{
    const char *why;
    uint64_t unpacked;
    ck_assert_int_eq(check_zip((struct file){ "a/b.py", "x", 1, 0644, NULL }, &why), KIST_OK);
    ck_assert_int_eq(check_zip((struct file){ "l", NULL, 0, 0777, "a/../b" }, &why), KIST_OK);
    static const struct file bad[] = {
        { "../b.py", "x", 1, 0644, NULL },     { "a/../../b.py", "x", 1, 0644, NULL },
        { "/etc/passwd", "x", 1, 0644, NULL }, { "l", NULL, 0, 0777, "/etc/passwd" },
        { "a/l", NULL, 0, 0777, "../../etc" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ck_assert_msg(check_zip(bad[i], &why) == KIST_E_INVALID, "%s", bad[i].name);
        expect(why, "leads out of it");
    }
    ck_assert_int_eq(code_check(BYTES_LIT("PK no zip"), &unpacked, &why), KIST_E_INVALID);
    expect(why, "Could not unzip uploaded file");
    ck_assert_int_eq(code_check(BYTES_EMPTY, &unpacked, &why), KIST_E_INVALID);
}
END_TEST

/* A link, and then a file through it: the file's way does not follow the link. */
START_TEST(test_zip_through_link)
{
    static char out[65536];
    char where[64], path[128];
    const char *why = "";
    uint64_t unpacked;
    struct stat st;
    struct file files[] = { { "sub/real.py", "x", 1, 0755, NULL },
                            { "link", NULL, 0, 0777, "sub" },
                            { "link/evil.py", "x", 1, 0644, NULL } };
    snprintf(where, sizeof(where), "%s/unzip", dir);
    ck_assert_int_eq(mkdir(where, 0755), 0);
    struct bytes good = bytes_of(out, zip(files, 2, out, sizeof(out)));
    ck_assert_int_eq(unzip(good, where, &unpacked, &why), KIST_OK);
    snprintf(path, sizeof(path), "%s/sub/real.py", where);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0755);
    snprintf(where, sizeof(where), "%s/unzip2", dir);
    ck_assert_int_eq(mkdir(where, 0755), 0);
    struct bytes evil = bytes_of(out, zip(files, 3, out, sizeof(out)));
    ck_assert_int_eq(unzip(evil, where, &unpacked, &why), KIST_E_INVALID);
}
END_TEST

START_TEST(test_zip_bomb)
{
    static char out[1 << 20];
    size_t len = (size_t)FN_CODE_MAX + 1;
    const char *why = "";
    uint64_t unpacked;
    char *zeros = calloc(1, len);
    ck_assert_ptr_nonnull(zeros);
    struct file file = { "bomb", zeros, len, 0644, NULL };
    struct bytes bomb = bytes_of(out, zip(&file, 1, out, sizeof(out)));
    free(zeros);
    ck_assert_int_eq(code_check(bomb, &unpacked, &why), KIST_E_TOO_LARGE);
    expect(why, "262144000");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("unzip");
    TCase *t = tcase_create("zips");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_zips);
    tcase_add_test(t, test_zip_through_link);
    tcase_add_test(t, test_zip_bomb);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    return run_runtime_suite(argc, argv, suite);
}
