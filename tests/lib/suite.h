/* What every test in C needs beside check itself: a main() in one line, and directories that go
 * away. */
#ifndef KIST_TESTS_LIB_SUITE_H
#define KIST_TESTS_LIB_SUITE_H

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* The zygote of sandboxes clones itself in ways that ThreadSanitizer does not survive. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER true
#endif
#endif
#ifndef THREAD_SANITIZER
#define THREAD_SANITIZER false
#endif

/* The exit status of a main(). CK_VERBOSITY says how much is told, CK_RUN_CASE what runs. */
static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* With all that is in it. */
static inline void remove_dir(const char *dir)
{
    char command[128];
    int len = snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ck_assert_int_lt(len, (int)sizeof(command));
    ck_assert_int_eq(system(command), 0);
}

#endif
