/* What admission refuses, and what MHD refuses by itself, in our words. Also the guard on how MHD
 * 0.9.75 marks line ends in its buffer, on which admit.c rests. */
#include "tests/unit/server/http/fixture.h"

static void setup(void)
{
    struct http_config config = test_config();
    fixture_start(&config);
}

#define GET "GET /hello HTTP/1.1\r\n"
#define PUT "PUT /echo HTTP/1.1\r\nHost: a\r\n"

struct refused_case {
    const char *request;
    const char *body;
    unsigned status;
};

static const struct refused_case cases[] = {
    { PUT "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "400 InvalidRequest", 400 },
    { PUT "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "400 InvalidRequest", 400 },
    { PUT "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400 InvalidRequest", 400 },
    { PUT "Content-Length: 3\r\ncontent-length: 4\r\n\r\nabc", "400 InvalidRequest", 400 },
    { PUT "Content-Length: 9223372036854775808\r\n\r\nabc", "400 InvalidRequest", 400 },
    { PUT "Content-Length: -3\r\n\r\nabc", "400 InvalidRequest", 400 },
    { PUT "Content-Length: +3\r\n\r\nabc", "400 InvalidRequest", 400 },
    { PUT "Content-Length: 3, 3\r\n\r\nabc", "400 InvalidRequest", 400 },
    { PUT "Content-Length: 0x3\r\n\r\nabc", "400 InvalidRequest", 400 },
    { PUT "Content-Length:\r\n\r\nabc", "400 InvalidRequest", 400 },
    { PUT "Content-Length: 99999999999999999999\r\n\r\nabc", "400 EntityTooLarge", 400 },
    { PUT "Transfer-Encoding: gzip\r\n\r\n", "501 NotImplemented", 501 },
    { PUT "Transfer-Encoding: gzip, chunked\r\n\r\n", "501 NotImplemented", 501 },
    { PUT "Transfer-Encoding: chunked \r\n\r\n", "501 NotImplemented", 501 },
    { PUT "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
      "400 InvalidRequest", 400 },
    { "PUT /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 InvalidRequest", 400 },
    /* Line ends */
    { "GET /hello HTTP/1.1\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\n\n", "400 InvalidRequest", 400 },
    { GET "Host: a\nX: b\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "X: b\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nX:\nY: c\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nX: b\rc\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\n\n", "400 InvalidRequest", 400 },
    /* Folding and blanks */
    { GET "Host: a\r\nX: b\r\n c\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nX: b\r\n\tc: d\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nX: b\r\n c\r\n d\r\nY: e\r\n\r\n", "400 InvalidRequest", 400 },
    { GET " Host: a\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host : a\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nContent-Length : 3\r\n\r\nabc", "400 InvalidRequest", 400 },
    { GET "Host: a\r\n: b\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nX(: b\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nX: b\001c\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nX: b\177c\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nX\r\n\r\n", "400 InvalidRequest", 400 },
    /* Host */
    { GET "\r\n", "400 InvalidRequest", 400 },
    { GET "X: y\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a b\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a/b\r\n\r\n", "400 InvalidRequest", 400 },
    { GET "Host: a:b\r\n\r\n", "400 InvalidRequest", 400 },
    /* Request line */
    { "GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { "GET /he llo HTTP/1.1\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { "GET /he\tllo HTTP/1.1\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { "GET hello HTTP/1.1\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { "GE(T /hello HTTP/1.1\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { "GET /hello HTTP/1.1 \r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { "GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", "505 InvalidRequest", 505 },
    { "GET /hello\r\nHost: a\r\n\r\n", "400 InvalidRequest", 400 },
    { PUT "Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc", "417 InvalidRequest", 417 },
};

static void check_refused(const char *request, size_t len, unsigned status, const char *body)
{
    int fd = dial();
    send_all(fd, request, len);
    struct answer a = get_answer(fd, false);
    ck_assert_msg(a.status == status, "%s-> %u %s", request, a.status, a.body ? a.body : "");
    ck_assert_str_eq(a.body, body);
    ck_assert_ptr_nonnull(strstr(a.head, "Connection: close"));
    ck_assert_msg(closes_within(fd, 3000), "stays open: %s", request);
    free(a.body);
    close(fd);
}

START_TEST(refused)
{
    const struct refused_case *c = &cases[_i];
    check_refused(c->request, strlen(c->request), c->status, c->body);
    ck_assert_int_eq(atomic_load(&fix.begun), 0);
}
END_TEST

START_TEST(refused_nul_bytes)
{
    static const struct {
        const char *text;
        size_t len;
    } requests[] = {
#define NUL_CASE(s) { s, sizeof(s) - 1 }
        NUL_CASE(GET "Host: a\r\nX: b\0\0Y: c\r\n\r\n"),
        NUL_CASE(GET "Host: a\r\nX: b\0c\r\n\r\n"),
        NUL_CASE(GET "Host: a\r\nX: b\0\r\n\r\n"),
        NUL_CASE(GET "Host: a\r\nX\0: b\r\n\r\n"),
        NUL_CASE(GET "Host: a\r\n\0X: b\r\n\r\n"),
        NUL_CASE(GET "Host: a\n\0X: b\r\n\r\n"),
        NUL_CASE(GET "Host: a\n\0\0Content-Length\0 3\r\n\r\n"),
        NUL_CASE(GET "X: b\0\0Host: a\r\n\r\n"),
        NUL_CASE("GET /hel\0lo HTTP/1.1\r\nHost: a\r\n\r\n"),
        NUL_CASE("GET /hello?\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
        NUL_CASE("G\0ET /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    };
    int fd = dial();
    send_all(fd, requests[_i].text, requests[_i].len);
    struct answer a = get_answer(fd, false);
    ck_assert_msg(a.closed || a.status == 400, "%d: %u %s", _i, a.status, a.body);
    ck_assert(closes_within(fd, 3000));
    ck_assert_int_eq(atomic_load(&fix.begun), 0);
    free(a.body);
    close(fd);
}
END_TEST
#define NUL_CASES 11

/* "<start>" then `unit` until at least len bytes, then "<end>". */
static char *make_long(const char *start, const char *unit, size_t len, const char *end)
{
    size_t room = len + 1000;
    char *out = malloc(room);
    size_t n = (size_t)snprintf(out, room, "%s", start);
    while (n < len)
        n += (size_t)snprintf(out + n, room - n, "%s", unit);
    snprintf(out + n, room - n, "%s", end);
    return out;
}

START_TEST(too_large)
{
    static const struct {
        const char *start, *unit, *end;
        size_t len;
        unsigned status;
    } longs[] = {
        { "GET /", "a", " HTTP/1.1\r\nHost: a\r\n\r\n", 8150, 200 },
        { "GET /", "a", " HTTP/1.1\r\nHost: a\r\n\r\n", 8300, 414 },
        { "GET /", "a", " HTTP/1.1\r\nHost: a\r\n\r\n", 40000, 414 },
        { "GET /", "a", " HTTP/1.1\r\nHost: a\r\n\r\n", 200000, 414 },
        { "GET /?", "a&", " HTTP/1.1\r\nHost: a\r\n\r\n", 8000, 200 },
        { "GET /?", "a=b&", " HTTP/1.1\r\nHost: a\r\n\r\n", 20000, 414 },
        { GET "Host: a\r\nX: ", "b", "\r\n\r\n", 8000, 200 },
        { GET "Host: a\r\nX: ", "b", "\r\n\r\n", 8300, 431 },
        { GET "Host: a\r\nX: ", "b", "\r\n\r\n", 100000, 431 },
        { GET "Host: a\r\n", "X: b\r\n", "\r\n", 8100, 431 /* MHD's pool is full */ },
        { GET "Host: a\r\n", "X: b\r\n", "\r\n", 50000, 431 },
    };
    char *request = make_long(longs[_i].start, longs[_i].unit, longs[_i].len, longs[_i].end);
    struct answer a = ask(request);
    ck_assert_msg(a.status == longs[_i].status || (longs[_i].len == 8100 && a.status == 200),
                  "%s... %zu -> %u", longs[_i].start, longs[_i].len, a.status);
    free(a.body);
    free(request);
}
END_TEST
#define LONG_CASES 11

START_TEST(largest_admitted)
{
    char *line = make_long("GET /", "a", 8100, " HTTP/1.1\r\nHost: a\r\nX: ");
    char *request = make_long(line, "b", 8100 + 8000, "\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        struct answer a = ask(request);
        ck_assert_uint_eq(a.status, 200);
        free(a.body);
    }
    free(request);
    free(line);
}
END_TEST

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/* MHD parses cookies and, were it let, query arguments into its pool; a full pool must not
 * leave a connection spinning. */
START_TEST(full_pool_does_not_spin)
{
    char *many_cookies = make_long(GET "Host: a\r\nCookie: ", "a=b;", 8000, "\r\n\r\n");
    char *many_arguments = make_long("GET /?", "a&", 16000, " HTTP/1.1\r\nHost: a\r\n\r\n");
    int a = dial(), b = dial();
    send_text(a, many_cookies);
    send_text(b, many_arguments);
    usleep(100000);
    double before = cpu_seconds();
    usleep(300000);
    ck_assert(cpu_seconds() - before < 0.15);
    close(a);
    close(b);
    free(many_cookies);
    free(many_arguments);
}
END_TEST

START_TEST(broken_chunks)
{
    static const char *const bodies[] = { "x\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n",
                                          "-1\r\n", "11111111111111111\r\n", "\r\n" };
    char request[256];
    snprintf(request, sizeof(request), PUT "Transfer-Encoding: chunked\r\n\r\n%s", bodies[_i]);
    int fd = dial();
    send_text(fd, request);
    struct answer a = get_answer(fd, false);
    ck_assert_msg(a.status == 400, "%s: %u", bodies[_i], a.status);
    ck_assert_str_eq(a.body, "400 InvalidRequest");
    ck_assert_ptr_null(strstr(a.body, "HTTP/1.1"));
    ck_assert(closes_within(fd, 3000));
    ck_assert_int_eq(atomic_load(&fix.begun), 1);
    free(a.body);
    close(fd);
}
END_TEST
#define CHUNK_CASES 5

/* The sink waits when MHD comes upon the fault: nothing ends before the wake. */
START_TEST(broken_chunks_while_waiting)
{
    int fd = dial();
    pthread_mutex_lock(&fix.lock);
    fix.hold = true;
    pthread_mutex_unlock(&fix.lock);
    send_text(fd, "PUT /pieces HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\nzz\r\nabc\r\n");
    while (atomic_load(&fix.begun) == 0)
        usleep(1000);
    ck_assert_int_eq(atomic_load(&fix.ended), 0);
    pthread_mutex_lock(&fix.lock);
    fix.hold = false;
    pthread_cond_signal(&fix.some);
    pthread_mutex_unlock(&fix.lock);
    struct answer a = get_answer(fd, false);
    ck_assert_uint_eq(a.status, 400);
    ck_assert_str_eq(a.body, "400 InvalidRequest");
    ck_assert(closes_within(fd, 3000));
    free(a.body);
    close(fd);
}
END_TEST

static struct Suite *suite(void)
{
    Suite *s = suite_create("refuse");
    TCase *c = tcase_create("refuse");
    tcase_add_checked_fixture(c, setup, fixture_stop);
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, refused, 0, (int)ARRAY_LEN(cases));
    tcase_add_loop_test(c, refused_nul_bytes, 0, NUL_CASES);
    tcase_add_loop_test(c, too_large, 0, LONG_CASES);
    tcase_add_loop_test(c, broken_chunks, 0, CHUNK_CASES);
    tcase_add_test(c, broken_chunks_while_waiting);
    tcase_add_test(c, largest_admitted);
    tcase_add_test(c, full_pool_does_not_spin);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
