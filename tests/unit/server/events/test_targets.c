/* Webhooks through the sink, against a server in this process that answers as its path says. */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storage/base/codec.h"
#include "targets_fixture.h"

/* ---- the receiver ---- */

static atomic_uint connections, requests;
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_request[1 << 16]; /* header and body */

/* Requests of /hold are answered together, once so many are there. */
#define HELD 100
static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t held_cond = PTHREAD_COND_INITIALIZER;
static unsigned held;

static void hold(void)
{
    pthread_mutex_lock(&held_lock);
    held++;
    pthread_cond_broadcast(&held_cond);
    while (held < HELD)
        pthread_cond_wait(&held_cond, &held_lock);
    pthread_mutex_unlock(&held_lock);
}

static const struct {
    const char *path, *answer;
} answers[] = {
    { "/ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" },
    { "/204", "HTTP/1.1 204 No Content\r\n\r\n" },
    { "/302", "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n" },
    { "/401", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n" },
    { "/408", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n" },
    { "/410", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n" },
    { "/429", "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n" },
    { "/500", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n" },
    { "/503", "HTTP/1.1 503 Oops\r\nContent-Length: 0\r\n\r\n" },
    { "/busy", "HTTP/1.1 503 Oops\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n" },
    { "/garbage", "SSH-2.0-OpenSSH_9.2p1\r\n\r\n" },
};

static void say(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

/* More than anybody reads. */
static void say_much(int fd, const char *head, const char *piece, size_t times)
{
    say(fd, head, strlen(head));
    for (size_t i = 0; i < times; i++)
        say(fd, piece, strlen(piece));
}

/* Never ends by itself: the peer does. */
static void drip(int fd)
{
    char byte;
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", 43);
    struct timeval beat = { .tv_usec = 20000 };
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &beat, sizeof(beat)), 0);
    while (recv(fd, &byte, 1, 0) != 0)
        say(fd, "x", 1);
}

/* False: the connection is over. */
static bool answer(int fd, const char *request)
{
    char path[64] = "";
    ck_assert_int_eq(sscanf(request, "POST %63s ", path), 1);
    if (strcmp(path, "/drip") == 0)
        drip(fd);
    if (strcmp(path, "/big") == 0)
        say_much(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n",
                 "0123456789abcdef0123456789abcdef", 100000);
    if (strcmp(path, "/header") == 0)
        say_much(fd, "HTTP/1.1 200 OK\r\n", "X-More: 0123456789abcdef0123456789abcdef\r\n",
                 100000);
    if (strcmp(path, "/hold") == 0) {
        hold();
        snprintf(path, sizeof(path), "/ok");
    }
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        if (strcmp(path, answers[i].path) == 0) {
            say(fd, answers[i].answer, strlen(answers[i].answer));
            return strcmp(path, "/garbage") != 0;
        }
    return false;
}

/* One whole request; false at the connection's end. */
static bool read_request(int fd, char *text, size_t size)
{
    size_t len = 0, whole = SIZE_MAX;
    while (len < whole) {
        ssize_t n = recv(fd, text + len, size - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = 0;
        if (text[0] == 0x16) /* a TLS handshake: nobody here speaks it */
            return false;
        const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
        if (end)
            whole = (size_t)(end + 4 - text) + (length ? strtoul(length + 16, NULL, 10) : 0);
        ck_assert_uint_lt(end ? whole : len, size);
    }
    return true;
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char text[1 << 16];
    bool open = true;
    atomic_fetch_add(&connections, 1);
    while (open && read_request(fd, text, sizeof(text))) {
        pthread_mutex_lock(&last_lock);
        memcpy(last_request, text, sizeof(text));
        pthread_mutex_unlock(&last_lock);
        atomic_fetch_add(&requests, 1);
        open = answer(fd, text);
    }
    close(fd);
    return NULL;
}

static void setup_all(void)
{
    setup();
    listen_with(serve);
}

static char url_text[128];
static Kist__EventTarget webhook(const char *path)
{
    Kist__EventTarget t = KIST__EVENT_TARGET__INIT;
    snprintf(url_text, sizeof(url_text), "http://127.0.0.1:%u%s", port, path);
    t.kind = mut("webhook");
    t.url = url_text;
    t.private_network = true;
    return t;
}

static enum event_outcome post_to(const char *path, char why[256])
{
    Kist__EventTarget t = webhook(path);
    put_target("", "hook", &t);
    return deliver_to(ARN("hook"), why);
}

static Kist__Pair option_pair;
static Kist__Pair *options_list[1] = { &option_pair };
static void set_option(Kist__EventTarget *t, const char *name, const char *value)
{
    kist__pair__init(&option_pair);
    option_pair.name = mut(name);
    option_pair.value = mut(value);
    t->n_options = 1;
    t->options = options_list;
}

static const char *last_header(const char *name)
{
    static char value[512];
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "\r\n%s: ", name);
    const char *at = strstr(last_request, wanted), *end = strstr(last_request, "\r\n\r\n");
    if (!at || at > end)
        return NULL;
    at += strlen(wanted);
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

static const char *last_body(void)
{
    return strstr(last_request, "\r\n\r\n") + 4;
}

/* ---- tests ---- */

START_TEST(answers_decide)
{
    static const struct {
        const char *path;
        enum event_outcome outcome;
    } cases[] = {
        { "/ok", EVENT_DELIVERED },   { "/204", EVENT_DELIVERED },  { "/302", EVENT_FAILED },
        { "/401", EVENT_FAILED },     { "/408", EVENT_FAILED },     { "/410", EVENT_REFUSED },
        { "/429", EVENT_THROTTLED },  { "/500", EVENT_FAILED },     { "/503", EVENT_FAILED },
        { "/busy", EVENT_THROTTLED }, { "/garbage", EVENT_FAILED }, { "/hangup", EVENT_FAILED },
        { "/big", EVENT_DELIVERED },  { "/header", EVENT_FAILED },
    };
    char why[256];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned before = requests;
        enum event_outcome outcome = post_to(cases[i].path, why);
        ck_assert_msg(outcome == cases[i].outcome, "%s: %d, %s", cases[i].path, outcome, why);
        /* A redirect was not followed, a failure not tried again behind the dispatcher's back. */
        ck_assert_uint_eq(requests - before, 1);
    }
}
END_TEST

START_TEST(slow_answers_end)
{
    char why[256];
    Kist__EventTarget t = webhook("/drip");
    set_option(&t, "timeout", "1");
    put_target("", "slow", &t);
    ck_assert_int_eq(deliver_to(ARN("slow"), why), EVENT_FAILED);
    ck_assert_msg(strstr(why, "imeout") != NULL, "%s", why);
}
END_TEST

START_TEST(requests_are_as_documented)
{
    Kist__EventTarget t = webhook("/ok");
    char signed_text[1 << 16], hex[65];
    uint8_t mac[32];
    long long when = 0;
    t.secret = mut("a secret");
    put_target("", "signed", &t);
    ck_assert_int_eq(deliver_to(ARN("signed"), NULL), EVENT_DELIVERED);
    ck_assert_str_eq(last_header("Content-Type"), "application/json");
    ck_assert_str_eq(last_header("X-Kist-Event-Id"), EVENT_ID);
    ck_assert_str_eq(last_header("X-Kist-Attempt"), "1");
    ck_assert_str_eq(last_header("traceparent"), TRACE);
    ck_assert_ptr_null(last_header("Expect"));
    ck_assert_ptr_nonnull(strstr(last_body(), "\"Records\":["));
    const char *signature = last_header("X-Kist-Signature");
    ck_assert_ptr_nonnull(signature);
    ck_assert_int_eq(sscanf(signature, "t=%lld,v1=", &when), 1);
    snprintf(signed_text, sizeof(signed_text), "%lld.%s", when, last_body());
    hmac_sha256(BYTES_LIT("a secret"), bytes_str(signed_text), mac);
    hex_encode(bytes_of(mac, 32), hex);
    ck_assert_str_eq(strstr(signature, "v1=") + 3, hex);
}
END_TEST

START_TEST(forms)
{
    Kist__EventTarget t = webhook("/ok");
    t.form = mut("cloudevents");
    put_target("", "form", &t);
    ck_assert_int_eq(deliver_to(ARN("form"), NULL), EVENT_DELIVERED);
    ck_assert_str_eq(last_header("Content-Type"), "application/cloudevents+json");
    ck_assert_ptr_nonnull(strstr(last_body(), "\"specversion\":\"1.0\""));
    ck_assert_ptr_null(last_header("ce-id"));

    t.form = mut("cloudevents-binary");
    put_target("", "form", &t);
    ck_assert_int_eq(deliver_to(ARN("form"), NULL), EVENT_DELIVERED);
    ck_assert_str_eq(last_header("Content-Type"), "application/json");
    ck_assert_str_eq(last_header("ce-specversion"), "1.0");
    ck_assert_str_eq(last_header("ce-id"), EVENT_ID);
    ck_assert_ptr_null(strstr(last_body(), "specversion"));
    ck_assert_ptr_nonnull(strstr(last_body(), "\"s3\":{"));

    t.form = mut("eventbridge");
    put_target("", "form", &t);
    ck_assert_int_eq(deliver_to(ARN("form"), NULL), EVENT_DELIVERED);
    ck_assert_ptr_nonnull(strstr(last_body(), "\"detail-type\":\"Object Created\""));
}
END_TEST

/* What an event bus gets is EventBridge's form; what was made for the target goes as it is. */
START_TEST(buses_and_payloads)
{
    struct parcel p;
    Kist__EventTarget t = webhook("/ok");
    put_target("", "default", &t);
    parcel_init(&p, "arn:aws:events:us-east-1:" ACCOUNT ":event-bus/default");
    send_parcel(&p, 2);
    await_parcel(&p);
    ck_assert_int_eq(p.outcome, EVENT_DELIVERED);
    ck_assert_ptr_nonnull(strstr(last_body(), "\"detail-type\""));

    parcel_init(&p, ARN("default"));
    p.event.kind = EVENT_INVOCATION;
    p.event.payload = schema_data(BYTES_LIT("{\"a\":1}"));
    p.cause.trace = mut("00-evil\r\nX-Evil: 1");
    send_parcel(&p, 0);
    await_parcel(&p);
    ck_assert_int_eq(p.outcome, EVENT_DELIVERED);
    ck_assert_str_eq(last_body(), "{\"a\":1}");
    ck_assert_ptr_null(last_header("traceparent"));
    ck_assert_ptr_null(last_header("X-Evil"));
}
END_TEST

/* All at once, or hold() would wait for ever; then over connections that are there already. */
START_TEST(many_at_once)
{
    static struct parcel parcels[HELD];
    Kist__EventTarget t = webhook("/hold");
    put_target("", "many", &t);
    for (size_t i = 0; i < HELD; i++) {
        parcel_init(&parcels[i], ARN("many"));
        send_parcel(&parcels[i], 0);
    }
    for (size_t i = 0; i < HELD; i++) {
        await_parcel(&parcels[i]);
        ck_assert_int_eq(parcels[i].outcome, EVENT_DELIVERED);
    }
    ck_assert_uint_eq(connections, HELD);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(post_to("/ok", NULL), EVENT_DELIVERED);
    ck_assert_uint_eq(connections, HELD);
}
END_TEST

START_TEST(nobody_there)
{
    char why[256];
    Kist__EventTarget t = webhook("/ok");
    t.url = mut("http://127.0.0.1:1/");
    put_target("", "closed", &t);
    ck_assert_int_eq(deliver_to(ARN("closed"), why), EVENT_ABSENT);
    t.url = mut("http://no-such-host.invalid/");
    put_target("", "unknown", &t);
    ck_assert_int_eq(deliver_to(ARN("unknown"), why), EVENT_ABSENT);
    snprintf(url_text, sizeof(url_text), "https://127.0.0.1:%u/ok", port);
    t.url = url_text;
    put_target("", "tls", &t);
    ck_assert_int_eq(deliver_to(ARN("tls"), why), EVENT_ABSENT);
    ck_assert_int_eq(deliver_to(ARN("none"), why), EVENT_REFUSED);
    ck_assert_str_eq(why, "there is no such target");
}
END_TEST

/* Addresses that only this machine reaches; a connection that another target has opened there
 * does not help. */
START_TEST(private_addresses)
{
    char why[256], own[32];
    unsigned before;
    ck_assert_int_eq(post_to("/ok", why), EVENT_DELIVERED);
    before = requests;
    Kist__EventTarget t = webhook("/ok");
    t.private_network = false;
    put_target("", "hook", &t);
    ck_assert_int_eq(deliver_to(ARN("hook"), why), EVENT_REFUSED);
    ck_assert_msg(strstr(why, "not allowed") != NULL, "%s", why);
    snprintf(url_text, sizeof(url_text), "http://localhost:%u/ok", port);
    put_target("", "hook", &t);
    ck_assert_int_eq(deliver_to(ARN("hook"), why), EVENT_REFUSED);
    ck_assert_uint_eq(requests, before);

    t.private_network = true;
    snprintf(own, sizeof(own), "127.0.0.1:%u", port);
    ck_assert_int_eq(targets_avoid(targets, own, true), KIST_OK);
    snprintf(url_text, sizeof(url_text), "http://127.0.0.1:%u/ok", port);
    put_target("", "hook", &t);
    ck_assert_int_eq(deliver_to(ARN("hook"), why), EVENT_REFUSED);
    snprintf(url_text, sizeof(url_text), "http://0.0.0.0:%u/ok", port);
    put_target("", "hook", &t);
    ck_assert_int_eq(deliver_to(ARN("hook"), why), EVENT_REFUSED);
    snprintf(url_text, sizeof(url_text), "http://[::ffff:127.0.0.1]:%u/ok", port);
    put_target("", "hook", &t);
    ck_assert_int_eq(deliver_to(ARN("hook"), why), EVENT_REFUSED);
    ck_assert_uint_eq(requests, before);
}
END_TEST

START_TEST(policies)
{
    const struct event_sink *s = targets_sink(targets, 1);
    struct event_policy policy;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    Kist__EventTarget t = webhook("/ok");
    put_target("", "plain", &t);
    ck_assert_str_eq(s->service, "sns");
    struct bytes arn = BYTES_LIT("arn:aws:sns:us-east-1:" ACCOUNT ":plain");
    ck_assert_int_eq(s->describe(s->ctx, arn, &arena, &policy), KIST_OK);
    ck_assert_uint_eq(policy.concurrency, 64);
    ck_assert_int_eq(policy.retries, -1);
    ck_assert_uint_eq(policy.age_max_s, 86400);
    ck_assert_uint_eq(policy.retry_base_ms, 1000);
    ck_assert_uint_eq(policy.retry_max_ms, 300000);
    ck_assert_ptr_null(policy.dead_letter);
    t.concurrency = 3;
    t.retries = 6;
    t.age_max_s = 60;
    t.dead_letter = mut("s3://dead/letters/");
    put_target("", "plain", &t);
    ck_assert_int_eq(s->describe(s->ctx, arn, &arena, &policy), KIST_OK);
    ck_assert_uint_eq(policy.concurrency, 3);
    ck_assert_int_eq(policy.retries, 5);
    ck_assert_uint_eq(policy.age_max_s, 60);
    ck_assert_str_eq(policy.dead_letter, "s3://dead/letters/");
    put_target("", "plain", NULL);
    ck_assert_int_eq(s->describe(s->ctx, arn, &arena, &policy), KIST_E_NOT_FOUND);
    arena_release(&arena);
}
END_TEST

START_TEST(whose_targets)
{
    const struct event_sink *s = targets_sink(targets, 0);
    struct bytes first = BYTES_LIT(ACCOUNT), other = BYTES_LIT(OTHER_ACCOUNT);
    struct bytes bucket = BYTES_LIT("bucket"),
                 of_other = BYTES_LIT("arn:aws:sqs:us-east-1:" OTHER_ACCOUNT ":q");
    Kist__EventTarget t = webhook("/ok");
    put_target("", "q", &t);
    ck_assert(s->accepts(s->ctx, BYTES_LIT(ARN("q")), bucket, first));
    ck_assert(s->accepts(s->ctx, BYTES_LIT(ARN("q")), bucket, BYTES_EMPTY));
    ck_assert(!s->accepts(s->ctx, BYTES_LIT(ARN("q")), bucket, other));
    ck_assert(!s->accepts(s->ctx, of_other, bucket, other));
    put_target(OTHER_ACCOUNT, "q", &t);
    ck_assert(s->accepts(s->ctx, of_other, bucket, other));
    ck_assert(!s->accepts(s->ctx, of_other, bucket, first));
    ck_assert(
        !s->accepts(s->ctx, BYTES_LIT("arn:aws:sqs:eu-west-1:" ACCOUNT ":q"), bucket, first));
    ck_assert(
        !s->accepts(s->ctx, BYTES_LIT("arn:aws:sqs:us-east-1:" ACCOUNT ":"), bucket, first));
    ck_assert(!s->accepts(s->ctx, BYTES_LIT("q"), bucket, first));
    ck_assert(!s->accepts(s->ctx, BYTES_EMPTY, bucket, first));
}
END_TEST

/* What hangs is ended, once; what comes later, too. */
START_TEST(stopping)
{
    struct parcel p;
    Kist__EventTarget t = webhook("/drip");
    put_target("", "slow", &t);
    parcel_init(&p, ARN("slow"));
    send_parcel(&p, 0);
    targets_stop(targets);
    await_parcel(&p);
    ck_assert_int_eq(p.outcome, EVENT_ABSENT);
    ck_assert_int_eq(deliver_to(ARN("slow"), NULL), EVENT_ABSENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("targets");
    TCase *tc = tcase_create("webhooks");
    tcase_add_checked_fixture(tc, setup_all, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, answers_decide);
    tcase_add_test(tc, slow_answers_end);
    tcase_add_test(tc, requests_are_as_documented);
    tcase_add_test(tc, forms);
    tcase_add_test(tc, buses_and_payloads);
    tcase_add_test(tc, many_at_once);
    tcase_add_test(tc, nobody_there);
    tcase_add_test(tc, private_addresses);
    tcase_add_test(tc, policies);
    tcase_add_test(tc, whose_targets);
    tcase_add_test(tc, stopping);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
