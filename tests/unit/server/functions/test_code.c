/* The cache of unpacked code over a real store, with room for next to nothing, so that each
 * release drops what it can. */
#include "tests/unit/server/functions/runtime_fixture.h"

static char key[] = "code/" ACCOUNT "/cache/0", path[PATH_MAX];
static uint8_t sha256[32];

static const char *in_functions(const char *name)
{
    snprintf(path, sizeof(path), "%s/functions/%s", dir, name);
    return path;
}

static void begin_cache(void)
{
    struct bytes zip = text_zip("main.py", "pass");
    code_bytes = 1;
    open_all(2, 0);
    digest_once(DIGEST_SHA256, zip, sha256);
    put_code(key, zip);
}

static struct code_entry *acquire(void)
{
    struct code_entry *e = NULL;
    const char *why = NULL;
    ck_assert_str_eq(kist_err_text(code_acquire(f->code, sha256, key, &e, &why)),
                     kist_err_text(KIST_OK));
    char name[PATH_MAX];
    snprintf(name, sizeof(name), "%s/main.py", code_dir(e));
    ck_assert_int_eq(access(name, R_OK), 0);
    return e;
}

START_TEST(dropped)
{
    char place[PATH_MAX];
    struct code_entry *e = acquire();
    snprintf(place, sizeof(place), "%s", code_dir(e));
    code_release(f->code, e);
    ck_assert_int_ne(access(place, F_OK), 0);
    code_release(f->code, acquire());
    ck_assert_int_ne(access(place, F_OK), 0);
}
END_TEST

/* What cannot be moved aside is used again as it is, and dropped when it can be. */
START_TEST(cannot_be_moved)
{
    char place[PATH_MAX];
    struct code_entry *e = acquire();
    snprintf(place, sizeof(place), "%s", code_dir(e));
    ck_assert_int_eq(rmdir(in_functions("tmp")), 0);
    code_release(f->code, e);
    ck_assert_int_eq(access(place, F_OK), 0);
    e = acquire();
    ck_assert_int_eq(mkdir(in_functions("tmp"), 0755), 0);
    code_release(f->code, e);
    ck_assert_int_ne(access(place, F_OK), 0);
    code_release(f->code, acquire());
}
END_TEST

/* What lies in code's place is nobody's. */
START_TEST(in_the_way)
{
    char place[PATH_MAX], old[PATH_MAX + 16];
    struct code_entry *e = acquire();
    snprintf(place, sizeof(place), "%s", code_dir(e));
    snprintf(old, sizeof(old), "%s/old", place);
    code_release(f->code, e);
    ck_assert_int_eq(mkdir(place, 0755), 0);
    ck_assert_int_eq(mkdir(old, 0755), 0);
    e = acquire();
    ck_assert_int_ne(access(old, F_OK), 0);
    code_release(f->code, e);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("code");
    TCase *t = tcase_create("code");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, begin_cache, teardown);
    tcase_add_test(t, dropped);
    tcase_add_test(t, cannot_be_moved);
    tcase_add_test(t, in_the_way);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    return run_runtime_suite(argc, argv, suite);
}
