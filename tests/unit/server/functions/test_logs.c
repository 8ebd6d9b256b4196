/* What functions print: read back, waited for, kept as long as it is wanted. */
#include "server/functions/logs_internal.h"
#include "tests/unit/server/functions/runtime_fixture.h"

struct seen_lines {
    char text[32768];
    size_t len;
    uint64_t cursor;
};

static bool add_line(void *ctx, const struct fn_log_line *line)
{
    struct seen_lines *s = ctx;
    ck_assert(line->cursor > s->cursor);
    s->cursor = line->cursor;
    int n = snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s|%.*s\n", line->request_id,
                     (int)line->text.len, (const char *)line->text.ptr);
    s->len += (size_t)n;
    return true;
}

static void wake(void *ctx)
{
    sem_post(ctx);
}

START_TEST(test_level_of)
{
    static const struct {
        const char *line;
        enum fn_level level;
    } lines[] = {
        { "{\"level\":\"debug\"}", LEVEL_DEBUG },
        { " { \"a\" : [ {\"level\":\"x\"} ], \"level\" : \"ERROR\" }", LEVEL_ERROR },
        { "{\"a\":\"\\\"level\\\":\",\"level\":\"trace\",\"b\":\"cut", LEVEL_TRACE },
        { "{\"level\":\"CRITICAL\"}", LEVEL_FATAL },
        { "{\"level\":\"Warning\"}", LEVEL_WARN },
        /* Lambda takes for INFO what is missing or no level. */
        { "{\"level\":\"loud\"}", LEVEL_INFO },
        { "{\"level\":50}", LEVEL_INFO },
        { "{\"level\":\"err", LEVEL_INFO },
        { "{\"level\"", LEVEL_INFO },
        { "{\"a\":\"level\",\"b\":1}", LEVEL_INFO },
        { "{\"a\":{\"level\":\"error\"}}", LEVEL_INFO },
        { "{}{\"level\":\"error\"}", LEVEL_INFO },
        { "[\"level\",\"error\"]", LEVEL_INFO },
        { "{\"a\\", LEVEL_INFO },
        { "level: error", LEVEL_INFO },
        { "", LEVEL_INFO },
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        ck_assert_msg(fn_level_of(bytes_str(lines[i].line)) == lines[i].level, "%s",
                      lines[i].line);
}
END_TEST

/* All that is in a function's log. */
static void read_all(const char *name, struct seen_lines *seen)
{
    struct fn_log_query query = { .account = BYTES_LIT(ACCOUNT), .name = bytes_str(name) };
    *seen = (struct seen_lines){ .len = 0 };
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, seen), KIST_OK);
}

START_TEST(test_levels)
{
    struct call c;
    struct seen_lines seen;
    struct settings s = { .name = "levels", .zip = c_zip(), .log_format = "JSON" };
    s.log_level = "WARN";
    s.system_log_level = "WARN";
    put_function(&s);
    invoke(&c, "levels", "\"levels\"");
    ck_assert_int_eq(c.end, FN_OK);
    ck_assert_ptr_nonnull(strstr(c.tail, "4\"}\n"));
    read_all("levels", &seen);
    expect(seen.text, "|{\"n\":2,\"level\":\"WARN\"}\n");
    expect(seen.text, "|{\"n\":4,\"level\":\"error\"");
    /* And the end of the line, which is cut in two. */
    expect(seen.text, "4\"}\n");
    ck_assert_ptr_null(strstr(seen.text, "\"n\":1"));
    ck_assert_ptr_null(strstr(seen.text, "\"n\":3"));
    ck_assert_ptr_null(strstr(seen.text, "3\"}\n"));
    ck_assert_ptr_null(strstr(seen.text, "plain"));
    ck_assert_ptr_null(strstr(seen.text, "platform."));
    /* What goes wrong is worth a warning. */
    invoke(&c, "levels", "\"exit\"");
    read_all("levels", &seen);
    expect(seen.text, "\"type\":\"platform.report\"");
    expect(seen.text, "\"type\":\"platform.runtimeDone\"");
    expect(seen.text, "Runtime exited with error: exit status 3");
    ck_assert_ptr_null(strstr(seen.text, "platform.start"));
    s.log_level = "TRACE";
    s.system_log_level = "DEBUG";
    s.revision = 1;
    s.name = "loud";
    put_function(&s);
    invoke(&c, "loud", "\"print\"");
    read_all("loud", &seen);
    for (const char *const *type =
             (const char *const[]){ "initStart", "start", "runtimeDone", "report", NULL };
         *type; type++)
        expect(seen.text, *type);
    expect(seen.text, "\"runtimeVersion\":\"provided:al2023.v1\"");
    expect(seen.text, "|a line\n");
}
END_TEST

START_TEST(test_init_start)
{
    struct call c;
    struct seen_lines seen;
    put_c("begins");
    invoke(&c, "begins", "{}");
    invoke(&c, "begins", "{}");
    read_all("begins", &seen);
    const char *first = strstr(seen.text, "INIT_START Runtime Version: provided:al2023.v1\t"
                                          "Runtime Version ARN: arn:aws:lambda:eu-central-1::"
                                          "runtime:");
    ck_assert_ptr_nonnull(first);
    ck_assert(first < strstr(seen.text, "START RequestId"));
    ck_assert_ptr_null(strstr(first + 1, "INIT_START"));
}
END_TEST

START_TEST(test_logs)
{
    struct call c;
    struct seen_lines seen = { .len = 0 }, again = { .len = 0 };
    struct fn_log_query query = { .account = BYTES_LIT(ACCOUNT), .name = BYTES_LIT("logs") };
    struct fn_log_watch *watch;
    sem_t woken;
    put_c("logs");
    invoke(&c, "logs", "\"print\"");
    expect(c.tail, "\na line\nand another\nEND");
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, &seen), KIST_OK);
    expect(seen.text, "11111111-2222-3333-4444-");
    expect(seen.text, "|a line\n");
    expect(seen.text, "|REPORT RequestId: ");
    /* Behind the last line is nothing until there is more. */
    sem_init(&woken, 0, 0);
    query.cursor = seen.cursor;
    ck_assert_int_eq(
        functions_logs_watch(f, query.account, query.name, seen.cursor, wake, &woken, &watch),
        KIST_OK);
    ck_assert_int_ne(sem_trywait(&woken), 0);
    invoke(&c, "logs", "\"print\"");
    while (sem_wait(&woken) != 0)
        continue;
    functions_logs_unwatch(f, watch);
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, &again), KIST_OK);
    expect(again.text, c.id);
    sem_destroy(&woken);
    /* And all of it from the store, by another server. */
    struct functions_config config = f->config;
    functions_close(f);
    ck_assert_int_eq(functions_open(&config, &f), KIST_OK);
    struct seen_lines stored = { .len = 0 };
    query.cursor = 0;
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, &stored), KIST_OK);
    expect(stored.text, "|a line\n");
    expect(stored.text, c.id);
    ck_assert_uint_ge(stored.len, seen.len + again.len);
}
END_TEST

/* Old logs go when their function says so, and no others. */
START_TEST(test_log_retention)
{
    struct seen_lines seen = { .len = 0 };
    struct fn_log_query query = { .account = BYTES_LIT(ACCOUNT), .name = BYTES_LIT("old") };
    struct settings s = { .name = "old", .zip = c_zip(), .log_days = 3 };
    uint64_t now_us = (uint64_t)env_real()->now_ms(env_real()) * 1000, day_us = 86400000000;
    put_function(&s);
    for (unsigned days = 10; days > 0; days -= days == 10 ? 9 : 1) {
        char key[LOG_KEY_MAX], line[128];
        uint64_t at = now_us - days * day_us;
        log_key(key, ACCOUNT, "old", at, at);
        int len =
            snprintf(line, sizeof(line), "%016llx - - %u days\n", (unsigned long long)at, days);
        put_code(key, bytes_of(line, (size_t)len));
    }
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, &seen), KIST_OK);
    expect(seen.text, "|10 days\n");
    expect(seen.text, "|1 days\n");
    logs_retain(f->logs);
    seen = (struct seen_lines){ .len = 0 };
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, &seen), KIST_OK);
    ck_assert_ptr_null(strstr(seen.text, "10 days"));
    expect(seen.text, "|1 days\n");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("logs");
    TCase *t = tcase_create("logs");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_logs);
    tcase_add_test(t, test_level_of);
    tcase_add_test(t, test_levels);
    tcase_add_test(t, test_init_start);
    tcase_add_test(t, test_log_retention);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    return run_runtime_suite(argc, argv, suite);
}
