/* A real server on a free port with a small handler, and raw sockets to talk to it.
 *
 *   /hello            200 "hello"            /echo       200 with the request's body
 *   /wait /early      as /hello, after a wake from another thread (early: before the wait)
 *   /pieces           as /echo, waiting after every 1,000 bytes, or after whole pieces
 *   /refuse           403 before the body    /mid        403 after the first byte of the body
 *   /reader/N         N patterned bytes from a reader that waits before every block
 *   /status/S         S with body "body"     /abort      cut
 *   /headers          200 with reply headers, one empty
 *   /thread           200 with the id of the thread that runs the connection
 *   /block            as /hello, when the test says so: its loop does nothing else meanwhile
 */
#ifndef KIST_TESTS_HTTP_FIXTURE_H
#define KIST_TESTS_HTTP_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/http/server.h"
#include "storage/base/env.h"
#include "tests/lib/suite.h"

#define UNUSED_OK __attribute__((unused))
#define WAKERS 3

struct wake_job {
    struct exchange *x;
    void (*then)(struct exchange *x);
    struct wake_job *next;
};

struct fixture {
    struct http_server *server;
    pthread_t threads[WAKERS];
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct wake_job *jobs;
    bool stopping;
    bool hold; /* wakers do nothing while set */
    _Atomic int begun, ended;
    sem_t go; /* /block waits for it, and with it its loop */
};

static struct fixture fix;

struct test_user {
    char *body;
    size_t len, cap;
    uint64_t read_ready; /* the reader may go on at this position */
    uint64_t read_pos;
    bool rested;
};

static void *waker(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&fix.lock);
    while (!fix.stopping || fix.jobs) {
        struct wake_job *job = fix.hold ? NULL : fix.jobs;
        if (!job) {
            pthread_cond_wait(&fix.some, &fix.lock);
            continue;
        }
        fix.jobs = job->next;
        pthread_mutex_unlock(&fix.lock);
        exchange_wake(job->x, job->then);
        free(job);
        pthread_mutex_lock(&fix.lock);
    }
    pthread_mutex_unlock(&fix.lock);
    return NULL;
}

static void wake_later(struct exchange *x, void (*then)(struct exchange *x))
{
    struct wake_job *job = calloc(1, sizeof(*job));
    job->x = x;
    job->then = then;
    pthread_mutex_lock(&fix.lock);
    job->next = fix.jobs;
    fix.jobs = job;
    pthread_cond_signal(&fix.some);
    pthread_mutex_unlock(&fix.lock);
}

static void reply_hello(struct exchange *x)
{
    exchange_reply_bytes(x, 200, BYTES_LIT("hello"));
}

static void nothing(struct exchange *x)
{
    (void)x;
}

static void collect(struct test_user *u, struct bytes piece, size_t n)
{
    if (u->len + n > u->cap) {
        u->cap = (u->len + n) * 2;
        u->body = realloc(u->body, u->cap);
    }
    memcpy(u->body + u->len, piece.ptr, n);
    u->len += n;
}

static void echo_write(struct exchange *x, void *ctx, struct bytes piece, size_t *taken)
{
    (void)ctx;
    collect(exchange_user(x), piece, piece.len);
    *taken = piece.len;
}

/* Takes little and waits; or takes all and waits. */
static void pieces_write(struct exchange *x, void *ctx, struct bytes piece, size_t *taken)
{
    (void)ctx;
    size_t n = piece.len > 1000 ? 1000 : piece.len;
    collect(exchange_user(x), piece, n);
    *taken = n;
    wake_later(x, nothing);
    exchange_wait(x);
}

static void echo_finish(struct exchange *x, void *ctx)
{
    (void)ctx;
    struct test_user *u = exchange_user(x);
    exchange_reply_bytes(x, 200, bytes_of(u->body, u->len));
}

static void mid_write(struct exchange *x, void *ctx, struct bytes piece, size_t *taken)
{
    (void)ctx;
    *taken = piece.len;
    exchange_reply_bytes(x, 403, BYTES_LIT("no more"));
}

static uint8_t pattern_at(uint64_t pos)
{
    return (uint8_t)(pos * 31 + (pos >> 13));
}

static void read_again(struct exchange *x)
{
    struct test_user *u = exchange_user(x);
    u->read_ready = u->read_pos + 1;
}

static ptrdiff_t pattern_read(struct exchange *x, void *ctx, uint64_t pos, uint8_t *buf,
                              size_t max)
{
    (void)ctx;
    struct test_user *u = exchange_user(x);
    if (pos >= u->read_ready) {
        u->read_pos = pos;
        wake_later(x, read_again);
        exchange_wait(x);
        return 0;
    }
    for (size_t i = 0; i < max; i++)
        buf[i] = pattern_at(pos + i);
    return (ptrdiff_t)max;
}

static void test_routes(struct exchange *x, const char *path)
{
    struct body_sink echo = { echo_write, echo_finish, NULL };
    struct body_sink pieces = { pieces_write, echo_finish, NULL };
    struct body_sink mid = { mid_write, echo_finish, NULL };
    struct body_reader reader = { pattern_read, NULL, 10000 };
    if (strcmp(path, "/echo") == 0)
        exchange_read_body(x, &echo);
    else if (strcmp(path, "/pieces") == 0)
        exchange_read_body(x, &pieces);
    else if (strcmp(path, "/mid") == 0)
        exchange_read_body(x, &mid);
    else if (strncmp(path, "/reader/", 8) == 0)
        exchange_reply_reader(x, 200, strtoull(path + 8, NULL, 10), &reader);
    else if (strncmp(path, "/status/", 8) == 0)
        exchange_reply_bytes(x, (unsigned)strtoul(path + 8, NULL, 10), BYTES_LIT("body"));
    else if (strcmp(path, "/thread") == 0)
        exchange_reply_bytes(x, 200, bytes_str(arena_printf(exchange_arena(x), "%d", gettid())));
    else if (strcmp(path, "/refuse") == 0)
        exchange_reply_bytes(x, 403, BYTES_LIT("refused"));
    else if (strcmp(path, "/abort") == 0)
        exchange_abort(x);
    else if (strcmp(path, "/block") == 0) {
        while (sem_wait(&fix.go) != 0)
            continue;
        reply_hello(x);
    } else
        reply_hello(x);
}

static void test_begin(void *ctx, struct exchange *x)
{
    (void)ctx;
    const struct http_request *r = exchange_request(x);
    char path[512];
    size_t n = r->path.len < sizeof(path) - 1 ? r->path.len : sizeof(path) - 1;
    memcpy(path, r->path.ptr, n);
    path[n] = 0;
    atomic_fetch_add(&fix.begun, 1);
    exchange_set_user(x, calloc(1, sizeof(struct test_user)));
    if (strcmp(path, "/wait") == 0) {
        wake_later(x, reply_hello);
        exchange_wait(x);
    } else if (strcmp(path, "/early") == 0) {
        exchange_wake(x, reply_hello);
        exchange_wait(x);
    } else if (strcmp(path, "/headers") == 0) {
        ck_assert_int_eq(exchange_add_header(x, "x-one", BYTES_LIT("1")), KIST_OK);
        ck_assert_int_eq(exchange_add_header(x, "x-empty", BYTES_EMPTY), KIST_OK);
        ck_assert_int_eq(exchange_add_header(x, "x-bad", BYTES_LIT("a\r\nb: c")), KIST_E_INVALID);
        ck_assert_int_eq(exchange_add_header(x, "Content-Length", BYTES_LIT("1")),
                         KIST_E_INVALID);
        reply_hello(x);
    } else {
        test_routes(x, path);
    }
}

static void test_end(void *ctx, struct exchange *x)
{
    (void)ctx;
    struct test_user *u = exchange_user(x);
    free(u->body);
    free(u);
    atomic_fetch_add(&fix.ended, 1);
}

static struct bytes test_refuse(void *ctx, struct exchange *x, unsigned status, const char *code,
                                const char *message)
{
    (void)ctx;
    (void)message;
    char *text = arena_printf(exchange_arena(x), "%u %s", status, code);
    return bytes_str(text);
}

UNUSED_OK static struct http_config test_config(void)
{
    return (struct http_config){ .listen = "127.0.0.1:0", .loops = 2, .connections_max = 1000 };
}

UNUSED_OK static void fixture_start(const struct http_config *config)
{
    const struct http_handler handler = { NULL, test_begin, test_end, test_refuse };
    const char *reason = NULL;
    memset(&fix, 0, sizeof(fix));
    pthread_mutex_init(&fix.lock, NULL);
    pthread_cond_init(&fix.some, NULL);
    sem_init(&fix.go, 0, 0);
    for (int i = 0; i < WAKERS; i++)
        pthread_create(&fix.threads[i], NULL, waker, NULL);
    enum kist_err err = http_server_start(config, &handler, &fix.server, &reason);
    ck_assert_msg(err == KIST_OK, "%s", reason);
}

UNUSED_OK static void fixture_hold(bool hold)
{
    pthread_mutex_lock(&fix.lock);
    fix.hold = hold;
    pthread_cond_broadcast(&fix.some);
    pthread_mutex_unlock(&fix.lock);
}

UNUSED_OK static void fixture_stop(void)
{
    http_server_stop(fix.server, 2000);
    pthread_mutex_lock(&fix.lock);
    fix.stopping = true;
    pthread_cond_broadcast(&fix.some);
    pthread_mutex_unlock(&fix.lock);
    for (int i = 0; i < WAKERS; i++)
        pthread_join(fix.threads[i], NULL);
    ck_assert_int_eq(atomic_load(&fix.begun), atomic_load(&fix.ended));
    pthread_cond_destroy(&fix.some);
    pthread_mutex_destroy(&fix.lock);
}

UNUSED_OK static int dial(void)
{
    const char *address = http_server_address(fix.server);
    struct sockaddr_in to = { .sin_family = AF_INET };
    to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* Stops at the first error: the server may close early. */
UNUSED_OK static size_t send_all(int fd, const void *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = send(fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

UNUSED_OK static void send_text(int fd, const char *text)
{
    send_all(fd, text, strlen(text));
}

struct answer {
    unsigned status;
    char head[8192];
    char *body;
    size_t body_len;
    bool closed;
};

static bool read_byte(int fd, char *out)
{
    return recv(fd, out, 1, 0) == 1;
}

/* One reply with Content-Length (or none); no_body for HEAD and the like. */
UNUSED_OK static struct answer get_answer(int fd, bool no_body)
{
    struct answer a = { 0 };
    size_t n = 0;
    while (n < sizeof(a.head) - 1 && read_byte(fd, &a.head[n])) {
        a.head[++n] = 0;
        if (n >= 4 && memcmp(a.head + n - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    if (n < 12) {
        a.closed = true;
        return a;
    }
    a.status = (unsigned)strtoul(a.head + 9, NULL, 10);
    const char *length = strstr(a.head, "Content-Length: ");
    size_t want = length && !no_body ? strtoul(length + 16, NULL, 10) : 0;
    a.body = malloc(want + 1);
    while (a.body_len < want) {
        ssize_t got = recv(fd, a.body + a.body_len, want - a.body_len, 0);
        if (got <= 0)
            break;
        a.body_len += (size_t)got;
    }
    a.body[a.body_len] = 0;
    return a;
}

/* True when the server closes within ms. */
UNUSED_OK static bool closes_within(int fd, int ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char c[4096];
    for (uint64_t end = mono_ns() + (uint64_t)ms * 1000000; mono_ns() < end;) {
        if (poll(&p, 1, 20) > 0 && recv(fd, c, sizeof(c), 0) <= 0)
            return true;
    }
    return false;
}

UNUSED_OK static struct answer ask(const char *request)
{
    int fd = dial();
    send_text(fd, request);
    struct answer a = get_answer(fd, strncmp(request, "HEAD", 4) == 0);
    close(fd);
    return a;
}

#endif
