/* Brokers that are none: whoever listens there says nothing, nonsense, or hangs up. Each ends,
 * and none delays another. */
#include <sys/socket.h>
#include <unistd.h>

#include "targets_fixture.h"

enum manner { SILENT, NONSENSE, HANG_UP };
static enum manner manner;

static const struct {
    const char *kind, *scheme;
} kinds[] = {
#ifdef HAVE_redis
    { "redis", "redis" },   { "redis", "rediss" },
#endif
#ifdef HAVE_nats
    { "nats", "nats" },     { "nats", "tls" },
#endif
#ifdef HAVE_mqtt
    { "mqtt", "mqtt" },     { "mqtt", "mqtts" },
#endif
#ifdef HAVE_amqp
    { "amqp", "amqp" },     { "amqp", "amqps" },
#endif
#ifdef HAVE_kafka
    { "kafka", "kafka" },
#endif
    { "webhook", "https" },
};
#define KINDS ARRAY_LEN(kinds)

static void *answer(void *arg)
{
    int fd = (int)(intptr_t)arg;
    uint8_t bytes[4096];
    uint32_t state = 1;
    if (manner == NONSENSE) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)((state = state * 1103515245 + 12345) >> 16);
        (void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
    }
    while (manner != HANG_UP && recv(fd, bytes, sizeof(bytes), 0) > 0)
        ;
    close(fd);
    return NULL;
}

static void setup_all(void)
{
    setup();
    listen_with(answer);
}

static void send_to_all(struct parcel parcels[KINDS], bool private_network)
{
    static char arns[KINDS][96];
    for (size_t i = 0; i < KINDS; i++) {
        Kist__EventTarget t = KIST__EVENT_TARGET__INIT;
        Kist__Pair timeout = KIST__PAIR__INIT, *options = &timeout;
        char url[64], name[32];
        snprintf(url, sizeof(url), "%s://127.0.0.1:%u", kinds[i].scheme, port);
        snprintf(name, sizeof(name), "t%zu", i);
        snprintf(arns[i], sizeof(arns[i]), "%s%s", ARN(""), name);
        t.kind = mut(kinds[i].kind);
        t.url = url;
        t.private_network = private_network;
        timeout.name = mut("timeout");
        timeout.value = mut("2");
        t.n_options = 1;
        t.options = &options;
        put_target("", name, &t);
        parcel_init(&parcels[i], arns[i]);
        send_parcel(&parcels[i], 0);
    }
}

static void expect(enum manner how, bool private_network, enum event_outcome outcome)
{
    static struct parcel parcels[KINDS];
    manner = how;
    send_to_all(parcels, private_network);
    for (size_t i = 0; i < KINDS; i++) {
        await_parcel(&parcels[i]);
        ck_assert_msg(parcels[i].outcome == outcome, "%s: %d, %s", kinds[i].scheme,
                      parcels[i].outcome, parcels[i].why);
    }
}

START_TEST(silence)
{
    expect(SILENT, true, EVENT_ABSENT);
}
END_TEST

START_TEST(nonsense)
{
    expect(NONSENSE, true, EVENT_ABSENT);
}
END_TEST

START_TEST(hanging_up)
{
    expect(HANG_UP, true, EVENT_ABSENT);
}
END_TEST

START_TEST(private_addresses)
{
    expect(SILENT, false, EVENT_REFUSED);
}
END_TEST

/* While all wait for an answer that does not come. */
START_TEST(stopping)
{
    static struct parcel parcels[KINDS];
    manner = SILENT;
    send_to_all(parcels, true);
    targets_stop(targets);
    for (size_t i = 0; i < KINDS; i++) {
        await_parcel(&parcels[i]);
        ck_assert_int_eq(parcels[i].outcome, EVENT_ABSENT);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("target_brokers");
    TCase *tc = tcase_create("no brokers");
    tcase_add_checked_fixture(tc, setup_all, teardown);
    tcase_set_timeout(tc, 180);
    tcase_add_test(tc, silence);
    tcase_add_test(tc, nonsense);
    tcase_add_test(tc, hanging_up);
    tcase_add_test(tc, private_addresses);
    tcase_add_test(tc, stopping);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
