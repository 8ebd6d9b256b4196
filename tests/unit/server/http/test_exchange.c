/* Exchanges end to end: bodies, waiting and waking, readers, early replies, keep-alive. */
#include "tests/unit/server/http/fixture.h"

static void setup(void)
{
    struct http_config config = test_config();
    fixture_start(&config);
}

static void check_ask(const char *request, unsigned status, const char *body)
{
    struct answer a = ask(request);
    ck_assert_msg(a.status == status, "%s -> %u\n%s", request, a.status, a.head);
    ck_assert_str_eq(a.body, body);
    free(a.body);
}

START_TEST(small_replies)
{
    check_ask("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello");
    check_ask("GET /hello?a=b&c HTTP/1.0\r\n\r\n", 200, "hello");
    check_ask("GET http://h:1/hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello");
    check_ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello");
    check_ask("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 200, "");
    check_ask("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, "abc");
    check_ask("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello");
    check_ask("GET /early HTTP/1.1\r\nHost: a\r\n\r\n", 200, "hello");
    check_ask("PUT /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, "hello");
    check_ask("GET /status/404 HTTP/1.1\r\nHost: a\r\n\r\n", 404, "body");
}
END_TEST

START_TEST(chunked_bodies)
{
    static const char head[] = "PUT %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
                               "3\r\nabc\r\n4;x=y\r\ndefg\r\n1\r\nh\r\n0\r\nTrailer: x\r\n\r\n";
    static const char *const paths[] = { "/echo", "/pieces" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char request[512];
        snprintf(request, sizeof(request), head, paths[i]);
        check_ask(request, 200, "abcdefgh");
    }
    check_ask("PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200,
              "");
}
END_TEST

START_TEST(reply_headers)
{
    struct answer a = ask("GET /headers HTTP/1.1\r\nHost: a\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(a.head, "\r\nx-one: 1\r\n"));
    ck_assert_ptr_nonnull(strstr(a.head, "\r\nx-empty: "));
    ck_assert_ptr_nonnull(strstr(a.head, "\r\nServer: kist\r\n"));
    ck_assert_ptr_nonnull(strstr(a.head, "\r\nx-amz-request-id: "));
    ck_assert_ptr_nonnull(strstr(a.head, "\r\nx-amz-id-2: "));
    ck_assert_ptr_nonnull(strstr(a.head, "\r\nDate: "));
    ck_assert_ptr_null(strstr(a.head, "Connection:"));
    ck_assert_ptr_null(strstr(a.head, "x-bad"));
    free(a.body);
}
END_TEST

START_TEST(bodyless_replies_keep_the_connection)
{
    static const struct {
        const char *request;
        unsigned status;
        const char *length;
    } cases[] = {
        { "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200, "Content-Length: 5\r\n" },
        { "HEAD /reader/123456 HTTP/1.1\r\nHost: a\r\n\r\n", 200, "Content-Length: 123456\r\n" },
        { "GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n", 204, NULL },
        { "GET /status/304 HTTP/1.1\r\nHost: a\r\n\r\n", 304, "Content-Length: 4\r\n" },
    };
    int fd = dial();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        send_text(fd, cases[i].request);
        struct answer a = get_answer(fd, true);
        ck_assert_uint_eq(a.status, cases[i].status);
        const char *length = strstr(a.head, "Content-Length");
        ck_assert(cases[i].length ? length && strstr(a.head, cases[i].length) : !length);
        free(a.body);
    }
    close(fd);
}
END_TEST

START_TEST(pipelining)
{
    int fd = dial();
    for (int i = 0; i < 50; i++)
        send_text(fd, i % 2 ? "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
                            : "PUT /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    for (int i = 0; i < 50; i++) {
        struct answer a = get_answer(fd, false);
        ck_assert_uint_eq(a.status, 200);
        ck_assert_str_eq(a.body, i % 2 ? "hello" : "body");
        free(a.body);
    }
    close(fd);
}
END_TEST

static void exchange_big(const char *path, size_t len, bool chunked)
{
    char head[256];
    char *body = malloc(len);
    for (size_t i = 0; i < len; i++)
        body[i] = (char)pattern_at(i);
    int fd = dial();
    if (chunked)
        snprintf(head, sizeof(head),
                 "PUT %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", path);
    else
        snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                 path, len);
    send_text(fd, head);
    for (size_t at = 0, step = 7777; at < len; at += step) {
        size_t n = len - at < step ? len - at : step;
        char size[32];
        snprintf(size, sizeof(size), "%zx\r\n", n);
        if (chunked)
            send_text(fd, size);
        ck_assert_uint_eq(send_all(fd, body + at, n), n);
        if (chunked)
            send_text(fd, "\r\n");
    }
    if (chunked)
        send_text(fd, "0\r\n\r\n");
    struct answer a = get_answer(fd, false);
    ck_assert_uint_eq(a.status, 200);
    ck_assert_uint_eq(a.body_len, len);
    ck_assert_int_eq(memcmp(a.body, body, len), 0);
    free(a.body);
    free(body);
    close(fd);
}

START_TEST(big_bodies)
{
    exchange_big("/echo", 3000000, false);
    exchange_big("/echo", 3000000, true);
    exchange_big("/pieces", 300000, false);
    exchange_big("/pieces", 300000, true);
}
END_TEST

START_TEST(readers_that_wait)
{
    const size_t len = 1234567;
    struct answer a = ask("GET /reader/1234567 HTTP/1.1\r\nHost: a\r\n\r\n");
    ck_assert_uint_eq(a.status, 200);
    ck_assert_uint_eq(a.body_len, len);
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)a.body[i] != pattern_at(i))
            ck_abort_msg("byte %zu", i);
    free(a.body);
}
END_TEST

START_TEST(expect_continue)
{
    static const char *const spellings[] = { "100-continue", "100-Continue" };
    for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
        char head[256];
        int fd = dial();
        snprintf(head, sizeof(head),
                 "PUT /echo HTTP/1.1\r\nHost: a\r\nExpect: %s\r\nContent-Length: 3\r\n\r\n",
                 spellings[i]);
        send_text(fd, head);
        struct answer a = get_answer(fd, true);
        ck_assert_uint_eq(a.status, 100);
        free(a.body);
        send_text(fd, "abc");
        a = get_answer(fd, false);
        ck_assert_uint_eq(a.status, 200);
        ck_assert_str_eq(a.body, "abc");
        free(a.body);
        close(fd);
    }
    check_ask("PUT /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
              "Content-Length: 3\r\n\r\n",
              403, "refused");
}
END_TEST

/* The whole 10 MiB is sent before the reply is read, as simple clients do. */
static void send_big_and_be_refused(const char *path, const char *body)
{
    enum { LEN = 10 << 20 };
    char head[128];
    char *data = calloc(1, LEN);
    int fd = dial();
    snprintf(head, sizeof(head), "PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", path,
             LEN);
    send_text(fd, head);
    send_all(fd, data, LEN);
    struct answer a = get_answer(fd, false);
    ck_assert_uint_eq(a.status, 403);
    ck_assert_str_eq(a.body, body);
    ck_assert_ptr_nonnull(strstr(a.head, "Connection: close"));
    ck_assert(closes_within(fd, 1000));
    free(a.body);
    free(data);
    close(fd);
}

START_TEST(early_replies_reach_the_client)
{
    for (int i = 0; i < 5; i++) {
        send_big_and_be_refused("/refuse", "refused");
        send_big_and_be_refused("/mid", "no more");
    }
}
END_TEST

START_TEST(small_rest_is_dropped)
{
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        send_text(fd, "PUT /mid HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nab");
        usleep(20000);
        send_text(fd, "cdef");
        struct answer a = get_answer(fd, false);
        ck_assert_uint_eq(a.status, 403);
        ck_assert_str_eq(a.body, "no more");
        free(a.body);
    }
    close(fd);
}
END_TEST

START_TEST(aborts)
{
    struct answer a = ask("GET /abort HTTP/1.1\r\nHost: a\r\n\r\n");
    ck_assert(a.closed);
    a = ask("PUT /abort HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    ck_assert(a.closed);
    /* The client goes away in the middle of a body, and while we wait. */
    int fd = dial();
    send_text(fd, "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
    close(fd);
    fixture_hold(true);
    fd = dial();
    send_text(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    while (atomic_load(&fix.begun) < 4)
        usleep(1000);
    close(fd);
    fixture_hold(false);
}
END_TEST

static void *client(void *arg)
{
    int fd = dial();
    for (int i = 0; i < 200; i++) {
        send_text(fd, (i + (int)(intptr_t)arg) % 3 ? "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"
                                                   : "GET /reader/30000 HTTP/1.1\r\n"
                                                     "Host: a\r\n\r\n");
        struct answer a = get_answer(fd, false);
        ck_assert_uint_eq(a.status, 200);
        free(a.body);
    }
    close(fd);
    return NULL;
}

START_TEST(many_wait_in_parallel)
{
    pthread_t threads[16];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_create(&threads[i], NULL, client, (void *)(intptr_t)i);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    struct http_stats stats;
    http_server_stats(fix.server, &stats);
    ck_assert_uint_eq(stats.requests, 16 * 200);
    ck_assert_uint_ge(stats.connections, 16);
}
END_TEST

static struct Suite *suite(void)
{
    Suite *s = suite_create("exchange");
    TCase *c = tcase_create("exchange");
    tcase_add_checked_fixture(c, setup, fixture_stop);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, small_replies);
    tcase_add_test(c, chunked_bodies);
    tcase_add_test(c, reply_headers);
    tcase_add_test(c, bodyless_replies_keep_the_connection);
    tcase_add_test(c, pipelining);
    tcase_add_test(c, big_bodies);
    tcase_add_test(c, readers_that_wait);
    tcase_add_test(c, expect_continue);
    tcase_add_test(c, early_replies_reach_the_client);
    tcase_add_test(c, small_rest_is_dropped);
    tcase_add_test(c, aborts);
    tcase_add_test(c, many_wait_in_parallel);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
