/* The kind "mqtt": MQTT 3.1.1, quality of service 1: delivered when the broker's PUBACK comes.
 *
 * mqtt://[user:password@]host[:port], mqtts://... . The library is driven from here: it reads and
 * writes when poll(2) says that it can, so that everything ends when it should.
 */
#include <mosquitto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/events/target_internal.h"

#define DEFAULT_PORT 1883
#define DEFAULT_PORT_TLS 8883
#define DEFAULT_TOPIC "kist/events"
#define KEEPALIVE_S 60 /* longer than an idle connection is kept */

struct mqtt {
    struct mosquitto *m;
    int answer; /* to CONNECT; -1: none yet */
    /* Of the batch under way: */
    struct target_message *list, *at;
    size_t waiting;
};

static const char *check(const Kist__EventTarget *target, const struct target_url *url)
{
    const char *topic = target_option(target, "topic");
    (void)url;
    if (topic && mosquitto_pub_topic_check(topic) != MOSQ_ERR_SUCCESS)
        return "option topic must be a topic without wildcards";
    return NULL;
}

static bool is_tls(const struct target_link *link)
{
    return strcmp(link->url.scheme, "mqtts") == 0;
}

/* ---- what the library tells ---- */

static void on_connect(struct mosquitto *mosq, void *ctx, int answer)
{
    struct mqtt *q = ctx;
    (void)mosq;
    q->answer = answer;
}

static void on_publish(struct mosquitto *mosq, void *ctx, int mid)
{
    struct mqtt *q = ctx;
    (void)mosq;
    struct target_message *m = target_find(q->list, &q->at, (uint64_t)mid);
    if (!m || m->outcome == EVENT_DELIVERED)
        return;
    target_message_set(m, EVENT_DELIVERED, "%s", "");
    q->waiting--;
}

/* One turn: waits until something can be read or written, and does so. */
static int turn(const struct target_link *link, struct mqtt *q, uint64_t deadline_ns)
{
    int fd = mosquitto_socket(q->m);
    bool writes = mosquitto_want_write(q->m);
    if (fd < 0)
        return MOSQ_ERR_NO_CONN;
    if (target_wait(link, fd, (short)(POLLIN | (writes ? POLLOUT : 0)), deadline_ns) != KIST_OK)
        return MOSQ_ERR_NO_CONN;
    int rc = mosquitto_loop_read(q->m, 1);
    if (rc == MOSQ_ERR_SUCCESS && writes)
        rc = mosquitto_loop_write(q->m, 1);
    return rc == MOSQ_ERR_SUCCESS ? mosquitto_loop_misc(q->m) : rc;
}

/* ---- connecting ---- */

static void close_mqtt(void *conn)
{
    struct mqtt *q = conn;
    if (q->m && mosquitto_socket(q->m) >= 0)
        (void)mosquitto_disconnect(q->m);
    mosquitto_destroy(q->m);
    free(q);
}

static int set_up(struct mqtt *q, const struct target_link *link)
{
    const struct target_url *url = &link->url;
    int rc = MOSQ_ERR_SUCCESS;
    q->answer = -1;
    q->m = mosquitto_new(target_option(link->target, "client-id"), true, q);
    if (!q->m)
        return MOSQ_ERR_NOMEM;
    mosquitto_connect_callback_set(q->m, on_connect);
    mosquitto_publish_callback_set(q->m, on_publish);
    if (*url->user)
        rc = mosquitto_username_pw_set(q->m, url->user, *url->password ? url->password : NULL);
    if (rc == MOSQ_ERR_SUCCESS && is_tls(link))
        rc = mosquitto_int_option(q->m, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
    return rc;
}

static enum event_outcome greet(const struct target_link *link, struct mqtt *q, const char *host,
                                char *why)
{
    uint64_t deadline = mono_ns() + (uint64_t)TARGET_CONNECT_MS * 1000000;
    unsigned port = link->url.port ? link->url.port
                    : is_tls(link) ? DEFAULT_PORT_TLS
                                   : DEFAULT_PORT;
    int rc = mosquitto_connect(q->m, host, (int)port, KEEPALIVE_S);
    while (rc == MOSQ_ERR_SUCCESS && q->answer < 0)
        rc = turn(link, q, deadline);
    if (q->answer == 0)
        return EVENT_DELIVERED;
    snprintf(why, TARGET_WHY_MAX, "mqtt: %s",
             q->answer > 0 ? mosquitto_connack_string(q->answer) : mosquitto_strerror(rc));
    return EVENT_ABSENT;
}

static void begin(void)
{
    (void)mosquitto_lib_init();
}

/* With TLS the broker shows a certificate for the host's name, which an address that the name
 * was moved to meanwhile does not have. */
static enum event_outcome open_mqtt(struct target_link *link, void **out, char *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    unsigned port = is_tls(link) ? DEFAULT_PORT_TLS : DEFAULT_PORT;
    char ip[64];
    int fd = -1;
    pthread_once(&once, begin);
    enum event_outcome outcome = target_resolve(link, port, ip, why);
    /* The library connects without a limit in time: first it is seen that somebody is there. */
    if (outcome == EVENT_DELIVERED)
        outcome = target_dial(link, port, &fd, why);
    if (outcome != EVENT_DELIVERED)
        return outcome;
    close(fd);
    struct mqtt *q = calloc(1, sizeof(*q));
    if (!q || set_up(q, link) != MOSQ_ERR_SUCCESS) {
        snprintf(why, TARGET_WHY_MAX, "out of memory");
        outcome = EVENT_THROTTLED;
    } else {
        outcome = greet(link, q, is_tls(link) ? link->url.host : ip, why);
    }
    if (outcome == EVENT_DELIVERED)
        *out = q;
    else if (q)
        close_mqtt(q);
    return outcome;
}

static bool send_mqtt(struct target_link *link, void *conn, struct target_message *list)
{
    struct mqtt *q = conn;
    const char *topic = target_option(link->target, "topic");
    uint64_t deadline = target_deadline(link);
    int rc = MOSQ_ERR_SUCCESS;
    q->list = list;
    q->at = NULL;
    q->waiting = 0;
    for (struct target_message *m = list; m && rc == MOSQ_ERR_SUCCESS; m = m->next) {
        int mid = 0;
        rc = mosquitto_publish(q->m, &mid, topic ? topic : DEFAULT_TOPIC, (int)m->body.len,
                               m->body.ptr, 1, false);
        m->tag = (uint64_t)mid;
        q->waiting++;
        if (rc == MOSQ_ERR_PAYLOAD_SIZE || rc == MOSQ_ERR_OVERSIZE_PACKET) {
            target_message_set(m, EVENT_FAILED, "mqtt: larger than the broker takes");
            q->waiting--;
            rc = MOSQ_ERR_SUCCESS;
        }
    }
    while (rc == MOSQ_ERR_SUCCESS && q->waiting)
        rc = turn(link, q, deadline);
    bool all = q->waiting == 0;
    q->list = q->at = NULL;
    return all && rc == MOSQ_ERR_SUCCESS;
}

const struct target_driver target_mqtt = { .kind = "mqtt",
                                           .schemes = "|mqtt|mqtts|",
                                           .options = "|timeout|topic|client-id|",
                                           .concurrency = 256,
                                           .check = check,
                                           .open = open_mqtt,
                                           .send = send_mqtt,
                                           .close = close_mqtt };
