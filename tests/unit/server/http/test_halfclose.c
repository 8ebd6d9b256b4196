/* Clients that shut their sending side behind their last byte: each whole request has its reply,
 * and then the server closes, long before any deadline. The end comes in one segment with the
 * request (MHD then sees one event for both) or a little later, while the exchange may wait. */
#include "tests/unit/server/http/fixture.h"

#define PROMPTLY_MS 1000
#define ROUNDS 10
#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define PUT(path, length) "PUT " path " HTTP/1.1\r\nHost: a\r\nContent-Length: " length "\r\n\r\n"
#define CHUNKED(path) "PUT " path " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define THOUSAND HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED

static int idle_fd;

/* A loop treats its oldest connection better than the others (MHD looks at it in every round): so
 * there is one loop, and an older connection. */
static void setup(void)
{
    struct http_config config = test_config();
    config.loops = 1;
    fixture_start(&config);
    idle_fd = dial();
    send_text(idle_fd, GET("/hello"));
    struct answer a = get_answer(idle_fd, false);
    ck_assert_uint_eq(a.status, 200);
    free(a.body);
}

static void teardown(void)
{
    close(idle_fd);
    fixture_stop();
}

static int dial_and_end(const char *request, bool together)
{
    int fd = dial();
    size_t len = strlen(request);
    ck_assert_int_eq(send(fd, request, len, together ? MSG_MORE : 0), (ssize_t)len);
    if (!together)
        usleep(500);
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    return fd;
}

/* All until the server's end. */
static char *read_to_end(int fd, size_t *len)
{
    size_t cap = 1 << 20;
    char *out = malloc(cap);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    for (*len = 0;;) {
        ck_assert_msg(poll(&p, 1, PROMPTLY_MS) == 1, "left open after %zu bytes", *len);
        ssize_t n = recv(fd, out + *len, cap - 1 - *len, 0);
        ck_assert_int_ge(n, 0);
        *len += (size_t)n;
        out[*len] = 0;
        if (n == 0)
            return out;
    }
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static const struct {
    const char *request;
    size_t replies;
    const char *last; /* the last reply's end */
} whole[] = {
    { GET("/hello"), 1, "hello" },
    { GET("/wait"), 1, "hello" },
    { GET("/early"), 1, "hello" },
    { GET("/status/404"), 1, "body" },
    { GET("/refuse"), 1, "refused" },
    { GET("/reader/5"), 1, NULL },
    { "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n", 1, "\r\n\r\n" },
    { "GET /hello HTTP/1.0\r\n\r\n", 1, "hello" },
    { GET("/hello") GET("/wait") GET("/hello"), 3, "hello" },
    { PUT("/echo", "0"), 1, "\r\n\r\n" },
    { PUT("/echo", "4") "body", 1, "body" },
    { PUT("/wait", "4") "body", 1, "hello" },
    { PUT("/refuse", "4") "body", 1, "refused" },
    { PUT("/mid", "4") "body", 1, "no more" },
    { PUT("/pieces", "4") "body", 1, "body" },
    { PUT("/pieces", "3004") THOUSAND THOUSAND THOUSAND "body", 1, "9body" },
    { PUT("/pieces", "4") "body" PUT("/pieces", "4") "last", 2, "last" },
    { CHUNKED("/echo") "4\r\nbody\r\n0\r\n\r\n", 1, "body" },
    { CHUNKED("/pieces") "4\r\nbody\r\n4\r\nlast\r\n0\r\n\r\n", 1, "bodylast" },
    { CHUNKED("/wait") "4\r\nbody\r\n0\r\n\r\n", 1, "hello" },
    { CHUNKED("/echo") "zz\r\n", 1, "400 InvalidRequest" },
    { "GET /hello HTTP/1.1\r\n\r\n", 1, "400 InvalidRequest" },
    { "GET /hello HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 1, "400 InvalidRequest" },
};

START_TEST(whole_requests)
{
    for (int round = 0; round < ROUNDS; round++) {
        int fd = dial_and_end(whole[_i].request, round % 2);
        size_t len;
        char *got = read_to_end(fd, &len);
        ck_assert_msg(count(got, "HTTP/1.1 ") == whole[_i].replies, "%s: %s", whole[_i].request,
                      got);
        if (whole[_i].last)
            ck_assert_str_eq(got + len - strlen(whole[_i].last), whole[_i].last);
        free(got);
        close(fd);
    }
}
END_TEST

/* Nothing is owed to these but an end. */
static const char *const cut_short[] = {
    "GET /hel",
    "GET /hello HTTP/1.1\r\nHos",
    GET("/hello") "GET /hello HTTP/1.1\r\nHos",
    PUT("/echo", "4") "bod",
    PUT("/pieces", "4") "bod",
    PUT("/pieces", "4000") THOUSAND THOUSAND THOUSAND,
    CHUNKED("/echo") "4\r\nbo",
    CHUNKED("/pieces") "4\r\nbody\r\n0\r\n",
};

START_TEST(requests_cut_short)
{
    for (int round = 0; round < ROUNDS; round++) {
        int fd = dial_and_end(cut_short[_i], round % 2);
        size_t len;
        char *got = read_to_end(fd, &len);
        ck_assert_msg(count(got, "HTTP/1.1 200") == count(cut_short[_i], GET("/hello")), "%s: %s",
                      cut_short[_i], got);
        free(got);
        close(fd);
    }
}
END_TEST

/* The end comes in the middle of a long wait, and of a long reply. */
START_TEST(end_while_waiting)
{
    static const char *const requests[] = { GET("/wait"), PUT("/wait", "4") "body",
                                            PUT("/pieces", "4") "body", GET("/reader/300000") };
    int fds[ARRAY_LEN(requests)];
    fixture_hold(true);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        fds[i] = dial_and_end(requests[i], false);
    usleep(100000);
    fixture_hold(false);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        size_t len;
        char *got = read_to_end(fds[i], &len);
        ck_assert_uint_eq(count(got, "HTTP/1.1 200"), 1);
        ck_assert(i < 3 || len > 300000);
        free(got);
        close(fds[i]);
    }
}
END_TEST

static struct Suite *suite(void)
{
    Suite *s = suite_create("halfclose");
    TCase *c = tcase_create("halfclose");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, whole_requests, 0, (int)ARRAY_LEN(whole));
    tcase_add_loop_test(c, requests_cut_short, 0, (int)ARRAY_LEN(cut_short));
    tcase_add_test(c, end_while_waiting);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
