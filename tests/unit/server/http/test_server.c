/* The server's life: listening, deadlines, limits, stopping, TLS. */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "tests/unit/server/http/fixture.h"

#define HELLO "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"

static void start_impatient(void)
{
    struct http_config config = test_config();
    config.header_timeout_s = 1;
    config.idle_timeout_s = 2;
    config.body_timeout_s = 1;
    config.body_rate_min = 1000;
    fixture_start(&config);
}

static void start_default(void)
{
    struct http_config config = test_config();
    fixture_start(&config);
}

/* Milliseconds until the server closes, sending `drip` every 100 ms; at most 6 s. */
static unsigned life_ms(int fd, const char *drip)
{
    uint64_t start = mono_ns();
    while (mono_ns() - start < 6000000000U) {
        if (closes_within(fd, 100))
            break;
        send_text(fd, drip);
    }
    return (unsigned)((mono_ns() - start) / 1000000);
}

static void check_life(const char *begin, const char *drip, unsigned min_ms, unsigned max_ms)
{
    int fd = dial();
    send_text(fd, begin);
    unsigned ms = life_ms(fd, drip);
    ck_assert_msg(ms >= min_ms && ms <= max_ms, "%s: %u ms", begin, ms);
    close(fd);
}

START_TEST(slow_clients)
{
    static const struct {
        const char *begin, *drip;
        unsigned min_ms, max_ms;
    } cases[] = {
        { "", "", 1800, 3500 },                                      /* idle */
        { HELLO, "", 1800, 3500 },                                   /* idle after a request */
        { "GET /hel", "l", 900, 2500 },                              /* in the request line */
        { "GET /hello HTTP/1.1\r\nHost: a\r\nX: ", "b", 900, 2500 }, /* in the header */
        { HELLO "GET /hello HTTP/1.1\r\nX: ", "b", 900, 2800 },      /* in the second one */
        { "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n", "b", 900, 2800 },
        { "PUT /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n", "b", 900, 2800 },
        /* 20,000 bytes a second are fast enough for more than the six seconds. */
    };
    check_life(cases[_i].begin, cases[_i].drip, cases[_i].min_ms, cases[_i].max_ms);
}
END_TEST
#define SLOW_CASES 7

START_TEST(fast_enough_clients)
{
    char drip[2001];
    memset(drip, 'x', sizeof(drip));
    drip[2000] = 0;
    check_life("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n", drip, 5500,
               9000);
}
END_TEST

START_TEST(our_own_slowness_is_not_held_against_clients)
{
    fixture_hold(true);
    int a = dial(), b = dial();
    send_text(a, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    send_text(b, "PUT /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    usleep(3500000);
    fixture_hold(false);
    struct answer answer = get_answer(a, false);
    ck_assert_uint_eq(answer.status, 200);
    free(answer.body);
    answer = get_answer(b, false);
    ck_assert_uint_eq(answer.status, 200);
    free(answer.body);
    close(a);
    close(b);
}
END_TEST

START_TEST(slow_readers)
{
    int fd = dial();
    send_text(fd, "GET /reader/100000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    usleep(4000000);
    char c[65536];
    uint64_t got = 0;
    ssize_t n;
    while ((n = recv(fd, c, sizeof(c), 0)) > 0)
        got += (uint64_t)n;
    ck_assert(got < 100000000);
    close(fd);
}
END_TEST

START_TEST(listen_errors)
{
    const struct http_handler handler = { NULL, test_begin, test_end, test_refuse };
    struct http_config config = test_config();
    struct http_server *other = NULL;
    const char *reason = NULL;
    config.listen = http_server_address(fix.server);
    ck_assert_int_eq(http_server_start(&config, &handler, &other, &reason), KIST_E_IO);
    ck_assert_ptr_nonnull(strstr(reason, "in use"));
    static const char *const wrong[] = { "",           "9000",
                                         "127.0.0.1:", "127.0.0.1:x",
                                         "::1:9000",   "127.0.0.1:65536" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        config.listen = wrong[i];
        ck_assert_int_eq(http_server_start(&config, &handler, &other, &reason), KIST_E_INVALID);
    }
    ck_assert_ptr_null(other);
}
END_TEST

START_TEST(too_many_connections)
{
    struct http_config config = test_config();
    config.connections_max = 5;
    fixture_start(&config);
    int fds[8];
    unsigned open = 0;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = dial();
        send_text(fds[i], HELLO);
        struct answer a = get_answer(fds[i], false);
        open += !a.closed;
        free(a.body);
    }
    ck_assert_uint_eq(open, 5);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    fixture_stop();
}
END_TEST

static void start_one_loop(unsigned connections_max)
{
    struct http_config config = test_config();
    config.loops = 1;
    config.connections_max = connections_max;
    fixture_start(&config);
}

/* Those that the loop has not taken up yet count, too. */
START_TEST(too_many_connections_at_once)
{
    int fds[13];
    unsigned closed = 0;
    start_one_loop(5);
    fds[0] = dial();
    send_text(fds[0], "GET /block HTTP/1.1\r\nHost: a\r\n\r\n");
    while (atomic_load(&fix.begun) < 1)
        usleep(1000);
    for (size_t i = 1; i < ARRAY_LEN(fds); i++)
        fds[i] = dial();
    for (size_t i = 5; i < ARRAY_LEN(fds); i++)
        closed += closes_within(fds[i], 5000);
    sem_post(&fix.go);
    ck_assert_uint_eq(closed, 8);
    for (size_t i = 0; i < 5; i++) {
        if (i > 0)
            send_text(fds[i], HELLO);
        struct answer a = get_answer(fds[i], false);
        ck_assert_uint_eq(a.status, 200);
        free(a.body);
    }
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    fixture_stop();
}
END_TEST

static void count_gone(void *tag)
{
    atomic_fetch_add((_Atomic int *)tag, 1);
}

/* Whoever gave a connection away hears once that it is gone, also of one that was stopped before
 * its loop took it up. */
START_TEST(adopted_ones_are_told_of)
{
    for (int round = 0; round < 20; round++) {
        int pair[2], ours[300], given = 0;
        _Atomic int gone = 0;
        start_one_loop(200);
        for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
            ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
            ours[i] = pair[0];
            given +=
                http_server_adopt(fix.server, pair[1], &gone, "127.0.0.1", count_gone) == KIST_OK;
        }
        ck_assert_int_eq(given, 200);
        fixture_stop();
        ck_assert_int_eq(gone, ARRAY_LEN(ours));
        for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
            ck_assert(closes_within(ours[i], 5000));
            close(ours[i]);
        }
    }
}
END_TEST

static void *release_later(void *arg)
{
    (void)arg;
    usleep(300000);
    fixture_hold(false);
    return NULL;
}

/* Idle connections are closed at once; a running request gets its reply. */
START_TEST(stop_drains)
{
    start_default();
    int idle = dial(), busy = dial();
    send_text(idle, HELLO);
    struct answer a = get_answer(idle, false);
    ck_assert_uint_eq(a.status, 200);
    free(a.body);
    fixture_hold(true);
    send_text(busy, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    while (atomic_load(&fix.begun) < 2)
        usleep(1000);
    pthread_t thread;
    pthread_create(&thread, NULL, release_later, NULL);
    uint64_t start = mono_ns();
    fixture_stop();
    ck_assert_uint_le((mono_ns() - start) / 1000000, 1500);
    pthread_join(thread, NULL);
    a = get_answer(busy, false);
    ck_assert_uint_eq(a.status, 200);
    ck_assert_ptr_nonnull(strstr(a.head, "Connection: close"));
    free(a.body);
    ck_assert(closes_within(idle, 100));
    close(idle);
    close(busy);
}
END_TEST

/* A body that never ends is cut after the grace time. */
START_TEST(stop_cuts)
{
    start_default();
    int fd = dial();
    send_text(fd, "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    while (atomic_load(&fix.begun) < 1)
        usleep(1000);
    uint64_t start = mono_ns();
    fixture_stop();
    uint64_t ms = (mono_ns() - start) / 1000000;
    ck_assert(ms >= 1900 && ms < 4000);
    ck_assert(closes_within(fd, 100));
    close(fd);
}
END_TEST

static void *hammer(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = dial();
        for (;;) {
            send_text(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
            struct answer a = get_answer(fd, false);
            free(a.body);
            if (a.closed || strstr(a.head, "close"))
                break;
        }
        close(fd);
        return NULL;
    }
}

START_TEST(stop_under_load)
{
    for (int round = 0; round < 5; round++) {
        pthread_t threads[8];
        start_default();
        for (size_t i = 0; i < ARRAY_LEN(threads); i++)
            pthread_create(&threads[i], NULL, hammer, NULL);
        while (atomic_load(&fix.begun) < 200)
            usleep(1000);
        fixture_stop();
        for (size_t i = 0; i < ARRAY_LEN(threads); i++)
            pthread_join(threads[i], NULL);
    }
}
END_TEST

static char tls_dir[64];

static void make_cert(const char *name)
{
    char command[512];
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
             "-subj /CN=%s -keyout %s/key.pem -out %s/cert.pem 2>%s/log",
             name, tls_dir, tls_dir, tls_dir);
    ck_assert_int_eq(system(command), 0);
}

struct tls_client {
    int fd;
    gnutls_session_t session;
    gnutls_certificate_credentials_t trust;
    char name[128];
};

static void tls_dial(struct tls_client *c)
{
    c->fd = dial();
    gnutls_certificate_allocate_credentials(&c->trust);
    gnutls_init(&c->session, GNUTLS_CLIENT);
    gnutls_set_default_priority(c->session);
    gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->trust);
    gnutls_transport_set_int(c->session, c->fd);
    int bad = gnutls_handshake(c->session);
    ck_assert_msg(bad == 0, "%s", gnutls_strerror(bad));
    unsigned count = 0;
    const gnutls_datum_t *peers = gnutls_certificate_get_peers(c->session, &count);
    gnutls_x509_crt_t crt;
    size_t size = sizeof(c->name);
    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_import(crt, peers, GNUTLS_X509_FMT_DER);
    gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, c->name, &size);
    gnutls_x509_crt_deinit(crt);
}

static void tls_ask(struct tls_client *c, const char *request, const char *wanted)
{
    char text[65536];
    size_t n = 0;
    gnutls_record_send(c->session, request, strlen(request));
    do {
        ssize_t got = gnutls_record_recv(c->session, text + n, sizeof(text) - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        text[n] = 0;
    } while (!strstr(text, wanted));
    text[n] = 0;
    ck_assert_msg(strstr(text, wanted) != NULL, "%s", text);
}

static void tls_hang_up(struct tls_client *c)
{
    gnutls_deinit(c->session);
    gnutls_certificate_free_credentials(c->trust);
    close(c->fd);
}

START_TEST(tls)
{
    char cert[128], key[128], command[256];
    snprintf(tls_dir, sizeof(tls_dir), "/tmp/kist-http-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(tls_dir));
    snprintf(cert, sizeof(cert), "%s/cert.pem", tls_dir);
    snprintf(key, sizeof(key), "%s/key.pem", tls_dir);
    make_cert("one");
    struct http_config config = test_config();
    config.tls_cert_file = cert;
    config.tls_key_file = key;
    fixture_start(&config);
    struct tls_client a = { 0 }, b = { 0 };
    tls_dial(&a);
    ck_assert_str_eq(a.name, "one");
    tls_ask(&a, HELLO, "hello");
    tls_ask(&a, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", "hello");
    tls_ask(&a, "PUT /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "\r\n\r\nabc");
    make_cert("two");
    ck_assert_int_eq(http_server_reload_tls(fix.server), KIST_OK);
    tls_dial(&b);
    ck_assert_str_eq(b.name, "two");
    tls_ask(&a, HELLO, "hello");
    /* A key that does not fit is refused, and the old pair stays. */
    snprintf(command, sizeof(command), "openssl ecparam -genkey -name prime256v1 -out %s", key);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_eq(http_server_reload_tls(fix.server), KIST_E_INVALID);
    tls_ask(&b, "PUT /mid HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nabc", "no more");
    tls_hang_up(&a);
    tls_hang_up(&b);
    fixture_stop();
    remove_dir(tls_dir);
}
END_TEST

#define CONNECTIONS_EACH 8

/* A client opens several at once, and each loop gets its share, those that are left included. */
START_TEST(connections_are_spread_over_the_loops)
{
    int fds[2 * CONNECTIONS_EACH], served[2] = { 0 };
    char first[16] = "";
    for (int i = 0; i < 2 * CONNECTIONS_EACH; i++)
        fds[i] = dial();
    for (int i = 0; i < 2 * CONNECTIONS_EACH; i++) {
        send_text(fds[i], "GET /thread HTTP/1.1\r\nHost: a\r\n\r\n");
        struct answer a = get_answer(fds[i], false);
        ck_assert_uint_eq(a.status, 200);
        if (i == 0)
            snprintf(first, sizeof(first), "%.*s", (int)a.body_len, a.body);
        served[strlen(first) == a.body_len && memcmp(first, a.body, a.body_len) == 0]++;
        free(a.body);
    }
    ck_assert_int_eq(served[0], CONNECTIONS_EACH);
    ck_assert_int_eq(served[1], CONNECTIONS_EACH);
    for (int i = 0; i < 2 * CONNECTIONS_EACH; i++)
        close(fds[i]);
}
END_TEST

static struct Suite *suite(void)
{
    Suite *s = suite_create("server");
    TCase *slow = tcase_create("slow");
    tcase_add_checked_fixture(slow, start_impatient, fixture_stop);
    tcase_set_timeout(slow, 30);
    tcase_add_loop_test(slow, slow_clients, 0, SLOW_CASES);
    tcase_add_test(slow, fast_enough_clients);
    tcase_add_test(slow, our_own_slowness_is_not_held_against_clients);
    tcase_add_test(slow, slow_readers);
    suite_add_tcase(s, slow);
    TCase *life = tcase_create("life");
    tcase_set_timeout(life, 60);
    tcase_add_test(life, too_many_connections);
    tcase_add_test(life, too_many_connections_at_once);
    tcase_add_test(life, adopted_ones_are_told_of);
    tcase_add_test(life, stop_drains);
    tcase_add_test(life, stop_cuts);
    tcase_add_test(life, stop_under_load);
    tcase_add_test(life, tls);
    suite_add_tcase(s, life);
    TCase *errors = tcase_create("listen");
    tcase_add_checked_fixture(errors, start_default, fixture_stop);
    tcase_add_test(errors, listen_errors);
    tcase_add_test(errors, connections_are_spread_over_the_loops);
    suite_add_tcase(s, errors);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
