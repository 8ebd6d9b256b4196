/* Brokers that mean harm: they begin as they should, and then go on without end, or stop in the
 * middle. Whoever waits for them stops when the target's time is over. */
#include <endian.h>
#include <netdb.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "targets_fixture.h"

#include "storage/base/env.h"

#define SECOND_NS 1000000000ULL
#define LARGE ((size_t)7 << 20)

static const char *_Atomic script; /* what this one does */
static atomic_size_t sent;

/* ---- a name server that does not answer ---- */

/* Of this program and of its libraries. No test needs another name. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)hints;
    if (node && strcmp(node, "slow.test") == 0) {
        sleep(15);
        return EAI_AGAIN;
    }
    static _Thread_local struct sockaddr_in in;
    static _Thread_local struct addrinfo one;
    memset(&in, 0, sizeof(in));
    in.sin_family = AF_INET;
    in.sin_port = htons((uint16_t)strtoul(service ? service : "0", NULL, 10));
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one = (struct addrinfo){ .ai_family = AF_INET,
                             .ai_socktype = SOCK_STREAM,
                             .ai_addrlen = sizeof(in),
                             .ai_addr = (struct sockaddr *)&in };
    *out = &one;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

/* ---- one that listens ---- */

static bool put(int fd, const void *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    if (n > 0)
        atomic_fetch_add(&sent, (size_t)n);
    return n == (ssize_t)len;
}

static bool take(int fd, void *data, size_t len)
{
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

/* Without end: a reply that is one string, or a list of small ones. */
static void redis(int fd)
{
    static _Thread_local char block[1 << 16];
    char command[4096];
    if (recv(fd, command, sizeof(command), 0) <= 0)
        return;
    if (strcmp(script, "login") == 0) {
        static const char no[] =
            "-ERR unknown command 'AUTH', with args beginning with: 'geheim'\r\n";
        (void)!put(fd, no, sizeof(no) - 1);
        return;
    }
    bool list = strcmp(script, "list") == 0;
    const char *begin = list ? "*100000000\r\n" : "$2000000000\r\n";
    for (size_t i = 0; i < sizeof(block); i += 4)
        memcpy(block + i, list ? ":1\r\n" : "aaaa", 4);
    bool ok = put(fd, begin, strlen(begin));
    while (ok)
        ok = put(fd, block, sizeof(block));
}

/* Says hello, and reads no more. */
static void nats(int fd)
{
    static const char hello[] = "INFO {\"server_id\":\"x\",\"version\":\"2.9.0\",\"proto\":1,"
                                "\"headers\":true,\"max_payload\":67108864}\r\n";
    char text[8192] = "";
    size_t len = 0;
    (void)!put(fd, hello, sizeof(hello) - 1);
    while (!strstr(text, "PING\r\n") && len + 1 < sizeof(text)) {
        ssize_t n = recv(fd, text + len, 1, 0);
        if (n <= 0)
            return;
        len += (size_t)n;
        text[len] = '\0';
    }
    (void)!put(fd, "PONG\r\n", 6);
    sleep(60);
}

static void amqp_frame(int fd, uint8_t type, uint16_t channel, const void *payload, uint32_t len)
{
    uint8_t head[7] = { type };
    channel = htobe16(channel);
    memcpy(head + 1, &channel, 2);
    uint32_t size = htobe32(len);
    memcpy(head + 3, &size, 4);
    (void)!(put(fd, head, 7) && put(fd, payload, len) && put(fd, "\xce", 1));
}
#define METHOD(fd, channel, text) amqp_frame(fd, 1, channel, text, sizeof(text) - 1)

/* Gives the message back, as nobody's; the rest of it follows, or does not. */
static void amqp_return(int fd)
{
    METHOD(fd, 1, "\0\x3c\0\x32\x01\x38\x08NO_ROUTE\0\0");
    if (strcmp(script, "half") == 0) {
        sleep(60);
        return;
    }
    amqp_frame(fd, 2, 1, "\0\x3c\0\0\0\0\0\0\0\0\0\4\0\x80\x24" EVENT_ID, 15 + 36);
    amqp_frame(fd, 3, 1, "body", 4);
    METHOD(fd, 1, "\0\x3c\0\x50\0\0\0\0\0\0\0\1\0");
    sleep(60);
}

static void amqp(int fd)
{
    static _Thread_local uint8_t payload[1 << 20];
    uint8_t head[8];
    if (!take(fd, head, 8))
        return;
    METHOD(fd, 0, "\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\5PLAIN\0\0\0\5en_US");
    while (take(fd, head, 7)) {
        uint32_t len;
        memcpy(&len, head + 3, 4);
        len = be32toh(len);
        if (len + 1 > sizeof(payload) || !take(fd, payload, len + 1))
            return;
        unsigned method = head[0] == 1 ? (unsigned)payload[1] << 8 | payload[3] : 0;
        if (method == 0x0a0b)
            METHOD(fd, 0, "\0\x0a\0\x1e\0\0\0\2\0\0\0\0");
        else if (method == 0x0a28)
            METHOD(fd, 0, "\0\x0a\0\x29\0");
        else if (method == 0x140a)
            METHOD(fd, 1, "\0\x14\0\x0b\0\0\0\0");
        else if (method == 0x550a)
            METHOD(fd, 1, "\0\x55\0\x0b");
        else if (head[0] == 3)
            amqp_return(fd);
    }
}

static void (*_Atomic listener)(int fd);

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    listener(fd);
    close(fd);
    return NULL;
}

static void setup_all(void)
{
    setup();
    listen_with(serve);
}

/* ---- what comes of it ---- */

struct outcome {
    enum event_outcome outcome;
    char why[256];
    uint64_t took_ns;
};

/* An event of so many bytes to that kind of target, which has two seconds. */
static struct outcome deliver(const char *kind, const char *where, size_t bytes)
{
    static struct parcel p;
    static char *body;
    Kist__EventTarget t = KIST__EVENT_TARGET__INIT;
    Kist__Pair timeout = KIST__PAIR__INIT, *options = &timeout;
    char text[128];
    snprintf(text, sizeof(text), "%s://%s:%u/", kind, where, port);
    if (strcmp(kind, "http") == 0)
        kind = "webhook";
    t.kind = mut(kind);
    t.url = text;
    t.private_network = true;
    timeout.name = mut("timeout");
    timeout.value = mut("2");
    t.n_options = 1;
    t.options = &options;
    put_target("", "harm", &t);
    parcel_init(&p, ARN("harm"));
    if (bytes) {
        body = malloc(bytes);
        ck_assert_ptr_nonnull(body);
        memset(body, '1', bytes);
        p.event.kind = EVENT_INVOCATION;
        p.event.payload = schema_data(bytes_of(body, bytes));
    }
    struct outcome o = { .took_ns = mono_ns() };
    send_parcel(&p, 0);
    await_parcel(&p);
    o.took_ns = mono_ns() - o.took_ns;
    o.outcome = p.outcome;
    snprintf(o.why, sizeof(o.why), "%s", p.why);
    free(body);
    body = NULL;
    return o;
}

#define ENDS_IN_TIME(o) ck_assert_msg((o).took_ns < 10 * SECOND_NS, "%s", (o).why)

#ifdef HAVE_redis
START_TEST(redis_without_end)
{
    static const char *const scripts[] = { "string", "list" };
    listener = redis;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        script = scripts[i];
        atomic_store(&sent, 0);
        struct outcome o = deliver("redis", "127.0.0.1", 0);
        ck_assert_int_eq(o.outcome, EVENT_ABSENT);
        ck_assert_uint_lt(atomic_load(&sent), (size_t)32 << 20); /* sockets hold some of it */
    }
}
END_TEST

START_TEST(redis_password_is_not_repeated)
{
    listener = redis;
    script = "login";
    struct outcome o = deliver("redis", ":geheim@127.0.0.1", 0);
    ck_assert_int_eq(o.outcome, EVENT_ABSENT);
    ck_assert_msg(strstr(o.why, "login") && !strstr(o.why, "geheim"), "%s", o.why);
}
END_TEST
#endif

#ifdef HAVE_nats
START_TEST(nats_that_reads_no_more)
{
    listener = nats;
    struct outcome o = deliver("nats", "127.0.0.1", LARGE);
    ck_assert_int_eq(o.outcome, EVENT_ABSENT);
    ENDS_IN_TIME(o);
}
END_TEST
#endif

#ifdef HAVE_amqp
START_TEST(amqp_that_returns_half)
{
    listener = amqp;
    script = "half";
    struct outcome o = deliver("amqp", "127.0.0.1", 0);
    ck_assert_int_eq(o.outcome, EVENT_ABSENT);
    ENDS_IN_TIME(o);
    script = "whole";
    o = deliver("amqp", "127.0.0.1", 0);
    ck_assert_int_eq(o.outcome, EVENT_FAILED);
    ck_assert_msg(strstr(o.why, "no queue"), "%s", o.why);
}
END_TEST
#endif

START_TEST(name_server_that_does_not_answer)
{
    struct outcome o = deliver("http", "slow.test", 0);
    ck_assert_int_eq(o.outcome, EVENT_ABSENT);
    ENDS_IN_TIME(o);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("target_harm");
    TCase *tc = tcase_create("harm");
    tcase_add_checked_fixture(tc, setup_all, teardown);
    tcase_set_timeout(tc, 60);
#ifdef HAVE_redis
    tcase_add_test(tc, redis_without_end);
    tcase_add_test(tc, redis_password_is_not_repeated);
#endif
#ifdef HAVE_nats
    tcase_add_test(tc, nats_that_reads_no_more);
#endif
#ifdef HAVE_amqp
    tcase_add_test(tc, amqp_that_returns_half);
#endif
    tcase_add_test(tc, name_server_that_does_not_answer);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
