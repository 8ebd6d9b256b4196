/* Kafka through the sink, against librdkafka's mock cluster, which speaks the protocol over real
 * connections. */
#ifndef HAVE_kafka
#include <stdio.h>

int main(void)
{
    printf("skipped: librdkafka is not installed\n");
    return 0;
}
#else
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "targets_fixture.h"

#define PRODUCE 0 /* the request's number, in Kafka's protocol */
#define EVENTS 50

static rd_kafka_t *owner;
static rd_kafka_mock_cluster_t *cluster;
static char url[64];
static Kist__Pair pair;
static Kist__Pair *pairs[1] = { &pair };

static void setup_all(void)
{
    char error[128];
    setup();
    owner = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), error, sizeof(error));
    ck_assert_ptr_nonnull(owner);
    cluster = rd_kafka_mock_cluster_new(owner, 1);
    ck_assert_ptr_nonnull(cluster);
    ck_assert_int_eq(rd_kafka_mock_topic_create(cluster, "made", 4, 1), 0);
    snprintf(url, sizeof(url), "kafka://%s/made", rd_kafka_mock_cluster_bootstraps(cluster));
}

static void teardown_all(void)
{
    teardown();
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(owner);
}

static void put_kafka(bool private_network, const char *timeout)
{
    Kist__EventTarget t = KIST__EVENT_TARGET__INIT;
    t.kind = mut("kafka");
    t.url = url;
    t.form = mut("cloudevents-binary");
    t.private_network = private_network;
    kist__pair__init(&pair);
    pair.name = mut("timeout");
    pair.value = mut(timeout);
    t.n_options = 1;
    t.options = pairs;
    put_target("", "kafka", &t);
}

static rd_kafka_t *consumer_new(void)
{
    char error[128];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *const how[][2] = { { "bootstrap.servers",
                                     rd_kafka_mock_cluster_bootstraps(cluster) },
                                   { "group.id", "tests" },
                                   { "auto.offset.reset", "earliest" } };
    for (size_t i = 0; i < ARRAY_LEN(how); i++)
        ck_assert_int_eq(rd_kafka_conf_set(conf, how[i][0], how[i][1], error, sizeof(error)),
                         RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(4);
    ck_assert_ptr_nonnull(rk);
    for (int32_t i = 0; i < 4; i++)
        rd_kafka_topic_partition_list_add(topics, "made", i)->offset = 0;
    ck_assert_int_eq(rd_kafka_assign(rk, topics), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(topics);
    rd_kafka_poll_set_consumer(rk);
    return rk;
}

static void check_record(const rd_kafka_message_t *m)
{
    rd_kafka_headers_t *headers = NULL;
    const void *value = NULL;
    size_t len = 0;
    ck_assert_int_eq(rd_kafka_message_headers(m, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    ck_assert_int_eq(rd_kafka_header_get_last(headers, "ce_id", &value, &len),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    ck_assert_str_eq(value, EVENT_ID);
    ck_assert(bytes_equal(bytes_of(m->key, m->key_len), BYTES_LIT("bucket/photos/a b.jpg")));
    ck_assert_uint_ne(bytes_find(bytes_of(m->payload, m->len), BYTES_LIT("\"s3\":{"), 0),
                      SIZE_MAX);
}

START_TEST(delivered_means_stored)
{
    static struct parcel parcels[EVENTS];
    put_kafka(true, "30");
    for (size_t i = 0; i < EVENTS; i++) {
        parcel_init(&parcels[i], ARN("kafka"));
        send_parcel(&parcels[i], 0);
    }
    for (size_t i = 0; i < EVENTS; i++) {
        await_parcel(&parcels[i]);
        ck_assert_msg(parcels[i].outcome == EVENT_DELIVERED, "%s", parcels[i].why);
    }
    rd_kafka_t *consumer = consumer_new();
    for (size_t found = 0; found < EVENTS;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, 1000);
        if (m && m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            check_record(m);
            found++;
        }
        if (m)
            rd_kafka_message_destroy(m);
    }
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
}
END_TEST

START_TEST(refusals)
{
    char why[256];
    put_kafka(true, "30");
    rd_kafka_mock_push_request_errors(cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE);
    ck_assert_int_eq(deliver_to(ARN("kafka"), why), EVENT_FAILED);
    ck_assert_msg(strstr(why, "size") != NULL, "%s", why);
    ck_assert_int_eq(deliver_to(ARN("kafka"), why), EVENT_DELIVERED);
}
END_TEST

START_TEST(nobody_there)
{
    char why[256];
    put_kafka(true, "5");
    rd_kafka_mock_broker_set_down(cluster, 1);
    ck_assert_int_eq(deliver_to(ARN("kafka"), why), EVENT_ABSENT);
    rd_kafka_mock_broker_set_up(cluster, 1);
    ck_assert_int_eq(deliver_to(ARN("kafka"), why), EVENT_DELIVERED);
}
END_TEST

START_TEST(private_addresses)
{
    char why[256];
    put_kafka(false, "5");
    ck_assert_int_eq(deliver_to(ARN("kafka"), why), EVENT_REFUSED);
    ck_assert_msg(strstr(why, "not allowed") != NULL, "%s", why);
}
END_TEST

/* With a message that cannot be sent: it comes back, once. */
START_TEST(stopping)
{
    struct parcel p;
    put_kafka(true, "60");
    rd_kafka_mock_push_request_errors(
        cluster, PRODUCE, 5, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    parcel_init(&p, ARN("kafka"));
    send_parcel(&p, 0);
    targets_stop(targets);
    await_parcel(&p);
    ck_assert_int_ne(p.outcome, EVENT_FAILED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("target_kafka");
    TCase *tc = tcase_create("kafka");
    tcase_add_checked_fixture(tc, setup_all, teardown_all);
    tcase_set_timeout(tc, 180);
    tcase_add_test(tc, delivered_means_stored);
    tcase_add_test(tc, refusals);
    tcase_add_test(tc, nobody_there);
    tcase_add_test(tc, private_addresses);
    tcase_add_test(tc, stopping);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
#endif
