/* The kind "kafka": a topic's record, acknowledged by all replicas that are in step.
 *
 * kafka://[user:password@]host[:port][/topic]; option brokers names more hosts. The record's key
 * is the object's bucket and key, so that what happens to one object stays in one partition.
 * Brokers name one another: each connection is looked at where it is made.
 */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "server/events/target_internal.h"
#include "storage/base/trace.h"

#define DEFAULT_PORT 9092
#define DEFAULT_TOPIC "kist-events"

struct kafka {
    rd_kafka_t *rk;
    const struct target_link *link;
    size_t waiting; /* messages whose report did not come */
    atomic_bool forbidden, all_down;
};

static const char *check(const Kist__EventTarget *target, const struct target_url *url)
{
    const char *sasl = target_option(target, "sasl"), *tls = target_option(target, "tls");
    const char *brokers = target_option(target, "brokers");
    if (sasl && strcmp(sasl, "PLAIN") != 0 && strcmp(sasl, "SCRAM-SHA-256") != 0 &&
        strcmp(sasl, "SCRAM-SHA-512") != 0)
        return "option sasl must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512";
    if (tls && strcmp(tls, "true") != 0 && strcmp(tls, "false") != 0)
        return "option tls must be true or false";
    if (brokers && strspn(brokers, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789.-:[],") != strlen(brokers))
        return "option brokers must be HOST:PORT,HOST:PORT...";
    return strchr(url->path + (*url->path == '/'), '/') ? "a topic's name has no /" : NULL;
}

/* ---- what the library tells, from its threads ---- */

static int connect_allowed(int fd, const struct sockaddr *address, int len, const char *id,
                           void *ctx)
{
    struct kafka *k = ctx;
    (void)id;
    if (!target_guard_allows(&k->link->targets->guard, address,
                             k->link->target->private_network)) {
        atomic_store(&k->forbidden, true);
        return EACCES;
    }
    return connect(fd, address, (socklen_t)len) == 0 || errno == EINPROGRESS ? 0 : errno;
}

static void on_error(rd_kafka_t *rk, int err, const char *reason, void *ctx)
{
    struct kafka *k = ctx;
    (void)rk, (void)reason;
    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        atomic_store(&k->all_down, true);
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk, (void)level;
    TRACE(TRACE_DEBUG, "kafka", "%s: %s", facility, text);
}

/* Where the broker was not reached, or had no time, nothing is said about the event. */
static enum event_outcome outcome_of(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return EVENT_DELIVERED;
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return EVENT_ABSENT;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
        return EVENT_THROTTLED;
    default:
        return EVENT_FAILED;
    }
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *report, void *ctx)
{
    struct kafka *k = ctx;
    struct target_message *m = report->_private;
    (void)rk;
    enum event_outcome outcome = outcome_of(report->err);
    if (outcome == EVENT_ABSENT && atomic_load(&k->forbidden))
        target_message_set(m, EVENT_REFUSED,
                           "the target's address is not allowed: it is private, or this node's");
    else
        target_message_set(m, outcome, "kafka: %s", rd_kafka_err2str(report->err));
    k->waiting--;
}

/* ---- connecting ---- */

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char error[128];
    return rd_kafka_conf_set(conf, name, value, error, sizeof(error)) == RD_KAFKA_CONF_OK;
}

static bool set_login(rd_kafka_conf_t *conf, const struct target_link *link)
{
    const char *sasl = target_option(link->target, "sasl");
    const char *tls = target_option(link->target, "tls");
    bool secret = tls && strcmp(tls, "true") == 0, login = *link->url.user != 0;
    const char *protocol =
        login ? (secret ? "SASL_SSL" : "SASL_PLAINTEXT") : (secret ? "SSL" : "PLAINTEXT");
    return set(conf, "security.protocol", protocol) &&
           (!login || (set(conf, "sasl.mechanism", sasl ? sasl : "PLAIN") &&
                       set(conf, "sasl.username", link->url.user) &&
                       set(conf, "sasl.password", link->url.password)));
}

static bool set_up(rd_kafka_conf_t *conf, struct kafka *k)
{
    const struct target_link *link = k->link;
    const char *more = target_option(link->target, "brokers");
    char brokers[TARGET_URL_MAX + TARGET_OPTION_MAX], timeout[16];
    bool v6 = strchr(link->url.host, ':') != NULL;
    snprintf(brokers, sizeof(brokers), v6 ? "[%s]:%u%s%s" : "%s:%u%s%s", link->url.host,
             link->url.port ? link->url.port : DEFAULT_PORT, more ? "," : "", more ? more : "");
    snprintf(timeout, sizeof(timeout), "%u", target_timeout_ms(link->target));
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_connect_cb(conf, connect_allowed);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    return set(conf, "bootstrap.servers", brokers) && set(conf, "client.id", "kist") &&
           set(conf, "acks", "all") && set(conf, "linger.ms", "1") &&
           set(conf, "message.timeout.ms", timeout) &&
           set(conf, "message.max.bytes", "16000000") && set_login(conf, link);
}

static void close_kafka(void *conn)
{
    struct kafka *k = conn;
    rd_kafka_destroy(k->rk);
    free(k);
}

/* Connects by itself, later; what is wrong shows in the reports. */
static enum event_outcome open_kafka(struct target_link *link, void **out, char *why)
{
    char error[160] = "out of memory";
    struct kafka *k = calloc(1, sizeof(*k));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (k)
        k->link = link;
    bool ok = k && set_up(conf, k);
    if (ok)
        k->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
    if (ok && k->rk) {
        *out = k;
        return EVENT_DELIVERED;
    }
    rd_kafka_conf_destroy(conf);
    free(k);
    snprintf(why, TARGET_WHY_MAX, "kafka: %s", error);
    return EVENT_THROTTLED;
}

/* ---- sending ---- */

static rd_kafka_headers_t *headers_of(const struct target_message *m)
{
    const char *trace = target_traceparent(m->delivery->event);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(4);
    char name[64];
    (void)rd_kafka_header_add(headers, "content-type", -1, m->content_type, -1);
    (void)rd_kafka_header_add(headers, "kist-event-id", -1, m->delivery->id, -1);
    if (trace)
        (void)rd_kafka_header_add(headers, "traceparent", -1, trace, -1);
    for (size_t i = 0; i < m->attribute_count; i++) {
        snprintf(name, sizeof(name), "ce_%s", m->attributes[i].name);
        (void)rd_kafka_header_add(headers, name, -1, m->attributes[i].value, -1);
    }
    return headers;
}

static void produce(struct kafka *k, struct target_message *m)
{
    const Kist__Event *e = m->delivery->event;
    const char *topic = strlen(k->link->url.path) > 1 ? k->link->url.path + 1 : DEFAULT_TOPIC;
    rd_kafka_headers_t *headers = headers_of(m);
    struct buf key;
    buf_init(&key, 4096);
    bool keyed = e->key.len && buf_append_str(&key, e->bucket) == KIST_OK &&
                 buf_append_str(&key, "/") == KIST_OK &&
                 buf_append_bytes(&key, schema_bytes(e->key)) == KIST_OK;
    rd_kafka_resp_err_t err = rd_kafka_producev(
        k->rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(keyed ? key.ptr : NULL, keyed ? key.len : 0),
        RD_KAFKA_V_VALUE(m->body.ptr, m->body.len), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE(m), RD_KAFKA_V_END);
    buf_release(&key);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        k->waiting++;
        return;
    }
    rd_kafka_headers_destroy(headers);
    target_message_set(m, outcome_of(err), "kafka: %s", rd_kafka_err2str(err));
}

/* Every message has its report before this returns, for the report points to it. That all brokers
 * are down is believed after a while: the first of a host's addresses may be one that nobody
 * listens at. */
static bool send_kafka(struct target_link *link, void *conn, struct target_message *list)
{
    struct kafka *k = conn;
    uint64_t deadline = target_deadline(link),
             patience = mono_ns() + TARGET_CONNECT_MS * 1000000ULL;
    atomic_store(&k->all_down, false);
    for (struct target_message *m = list; m; m = m->next)
        produce(k, m);
    while (k->waiting) {
        unsigned slice = target_slice_ms(link, deadline);
        bool nobody = atomic_load(&k->all_down) && mono_ns() > patience;
        if (slice == 0 || nobody || atomic_load(&k->forbidden))
            (void)rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        (void)rd_kafka_poll(k->rk, slice ? (int)slice : 10);
    }
    bool reached = !atomic_load(&k->forbidden);
    for (const struct target_message *m = list; m; m = m->next)
        reached = reached && m->outcome != EVENT_ABSENT;
    return reached;
}

const struct target_driver target_kafka = { .kind = "kafka",
                                            .schemes = "|kafka|",
                                            .options = "|timeout|brokers|sasl|tls|",
                                            .binary = true,
                                            .concurrency = 256,
                                            .check = check,
                                            .open = open_kafka,
                                            .send = send_kafka,
                                            .close = close_kafka };
