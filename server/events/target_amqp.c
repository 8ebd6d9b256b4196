/* The kind "amqp": AMQP 0-9-1 with publisher confirms: delivered when the broker's ack comes.
 *
 * amqp://[user:password@]host[:port][/vhost], amqps://... . Messages are persistent and
 * mandatory: one that no queue gets comes back as a basic.return, before its ack, and is a
 * failure. https://www.rabbitmq.com/docs/confirms
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/events/target_internal.h"

#define DEFAULT_PORT 5672
#define DEFAULT_PORT_TLS 5671
#define DEFAULT_QUEUE "kist-events"
#define CHANNEL 1
#define FRAME_MAX (128 << 10)
#define PERSISTENT 2
#define TABLE_MAX (TARGET_ATTRIBUTES_MAX + 1)

struct amqp {
    amqp_connection_state_t c;
    uint64_t sent; /* what the next delivery tag follows */
};

static const char *check(const Kist__EventTarget *target, const struct target_url *url)
{
    const char *exchange = target_option(target, "exchange");
    const char *key = target_option(target, "routing-key");
    (void)url;
    if ((exchange && strlen(exchange) > 255) || (key && strlen(key) > 255))
        return "options exchange and routing-key have at most 255 bytes";
    return NULL;
}

static bool is_tls(const struct target_link *link)
{
    return strcmp(link->url.scheme, "amqps") == 0;
}

static amqp_bytes_t text(const char *s)
{
    return amqp_cstring_bytes(s);
}

/* ---- connecting ---- */

static void close_amqp(void *conn)
{
    struct amqp *a = conn;
    (void)amqp_destroy_connection(a->c); /* closes the socket, and says no farewell */
    free(a);
}

static bool open_plain(struct amqp *a, const struct target_link *link, char *why,
                       enum event_outcome *outcome)
{
    int fd = -1;
    *outcome = target_dial(link, DEFAULT_PORT, &fd, why);
    if (*outcome != EVENT_DELIVERED)
        return false;
    amqp_socket_t *socket = amqp_tcp_socket_new(a->c);
    if (socket)
        amqp_tcp_socket_set_sockfd(socket, fd);
    else
        close(fd);
    return socket != NULL;
}

/* The certificate must be for the host's name: an address that the name was moved to after it
 * was looked at does not have one. */
static bool open_tls(struct amqp *a, const struct target_link *link, char *why,
                     enum event_outcome *outcome)
{
    struct timeval limit = { .tv_sec = TARGET_CONNECT_MS / 1000 };
    unsigned port = link->url.port ? link->url.port : DEFAULT_PORT_TLS;
    char ip[64];
    *outcome = target_resolve(link, DEFAULT_PORT_TLS, ip, why);
    if (*outcome != EVENT_DELIVERED)
        return false;
    amqp_socket_t *socket = amqp_ssl_socket_new(a->c);
    SSL_CTX *tls = socket ? amqp_ssl_socket_get_context(socket) : NULL;
    *outcome = EVENT_ABSENT;
    if (!tls || SSL_CTX_set_default_verify_paths(tls) != 1)
        return false;
    amqp_ssl_socket_set_verify_peer(socket, 1);
    amqp_ssl_socket_set_verify_hostname(socket, 1);
    int rc = amqp_socket_open_noblock(socket, link->url.host, (int)port, &limit);
    if (rc != AMQP_STATUS_OK)
        snprintf(why, TARGET_WHY_MAX, "amqp: %s", amqp_error_string2(rc));
    return rc == AMQP_STATUS_OK && target_bound_writes(link, amqp_get_sockfd(a->c));
}

static bool is_good(amqp_rpc_reply_t reply, const char *step, char *why)
{
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return true;
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        snprintf(why, TARGET_WHY_MAX, "amqp: %s: %s", step,
                 amqp_error_string2(reply.library_error));
    else
        snprintf(why, TARGET_WHY_MAX, "amqp: %s: the broker refuses", step);
    return false;
}

static bool greet(struct amqp *a, const struct target_link *link, char *why)
{
    const struct target_url *url = &link->url;
    const struct timeval limit = { .tv_sec = TARGET_CONNECT_MS / 1000 };
    const char *vhost = strlen(url->path) > 1 ? url->path + 1 : "/";
    if (amqp_set_handshake_timeout(a->c, &limit) != AMQP_STATUS_OK ||
        amqp_set_rpc_timeout(a->c, &limit) != AMQP_STATUS_OK)
        return false;
    if (!is_good(amqp_login(a->c, vhost, 0, FRAME_MAX, 0, AMQP_SASL_METHOD_PLAIN,
                            *url->user ? url->user : "guest",
                            *url->user ? url->password : "guest"),
                 "login", why))
        return false;
    (void)amqp_channel_open(a->c, CHANNEL);
    if (!is_good(amqp_get_rpc_reply(a->c), "channel", why))
        return false;
    (void)amqp_confirm_select(a->c, CHANNEL);
    return is_good(amqp_get_rpc_reply(a->c), "confirms", why);
}

static enum event_outcome open_amqp(struct target_link *link, void **out, char *why)
{
    struct amqp *a = calloc(1, sizeof(*a));
    enum event_outcome outcome = EVENT_THROTTLED;
    snprintf(why, TARGET_WHY_MAX, "out of memory");
    if (a)
        a->c = amqp_new_connection();
    if (!a || !a->c) {
        free(a);
        return outcome;
    }
    bool ok =
        is_tls(link) ? open_tls(a, link, why, &outcome) : open_plain(a, link, why, &outcome);
    if (ok) {
        outcome = greet(a, link, why) ? EVENT_DELIVERED : EVENT_ABSENT;
    }
    if (outcome == EVENT_DELIVERED && ok)
        *out = a;
    else
        close_amqp(a);
    return ok || outcome != EVENT_DELIVERED ? outcome : EVENT_THROTTLED;
}

/* ---- sending ---- */

static void add_entry(amqp_table_t *table, const char *name, const char *value)
{
    amqp_table_entry_t *e = &table->entries[table->num_entries++];
    e->key = text(name);
    e->value.kind = AMQP_FIELD_KIND_UTF8;
    e->value.value.bytes = text(value);
}

/* CloudEvents' attributes are application properties: AMQP binding, section 3.1.3.1. */
static bool publish(struct amqp *a, const struct target_link *link, struct target_message *m)
{
    const char *exchange = target_option(link->target, "exchange");
    const char *key = target_option(link->target, "routing-key");
    const char *trace = target_traceparent(m->delivery->event);
    amqp_table_entry_t entries[TABLE_MAX];
    amqp_basic_properties_t p = { ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG |
                                            AMQP_BASIC_DELIVERY_MODE_FLAG |
                                            AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_HEADERS_FLAG,
                                  .content_type = text(m->content_type),
                                  .delivery_mode = PERSISTENT,
                                  .message_id = text(m->delivery->id),
                                  .headers = { .entries = entries } };
    amqp_bytes_t body = { m->body.len, m->body.ptr };
    if (trace)
        add_entry(&p.headers, "traceparent", trace);
    for (size_t i = 0; i < m->attribute_count; i++) {
        const char *name = arena_printf(&m->arena, "cloudEvents:%s", m->attributes[i].name);
        if (name)
            add_entry(&p.headers, name, m->attributes[i].value);
    }
    m->tag = ++a->sent;
    return amqp_basic_publish(a->c, CHANNEL, text(exchange ? exchange : ""),
                              text(key ? key : DEFAULT_QUEUE), true, false, &p,
                              body) == AMQP_STATUS_OK;
}

struct batch {
    struct target_message *list, *at;
    size_t waiting;
    bool broken;
};

static void settle(struct target_message *m, bool taken)
{
    if (m->outcome != EVENT_ABSENT)
        return; /* it came back before */
    if (taken)
        target_message_set(m, EVENT_DELIVERED, "%s", "");
    else
        target_message_set(m, EVENT_FAILED, "amqp: the broker could not take it");
}

static void on_confirm(struct batch *b, uint64_t tag, bool multiple, bool taken)
{
    if (multiple) {
        for (struct target_message *m = b->list; m && m->tag <= tag; m = m->next) {
            if (!m->tag)
                continue;
            settle(m, taken);
            m->tag = 0;
            b->waiting--;
        }
        return;
    }
    struct target_message *m = target_find(b->list, &b->at, tag);
    if (!m)
        return;
    settle(m, taken);
    m->tag = 0;
    b->waiting--;
}

/* The header of a message that came back, behind the basic.return and before its body, which is
 * of no interest: it is known by its id. */
static void on_returned(struct batch *b, const amqp_basic_properties_t *p)
{
    amqp_bytes_t id = p->message_id;
    for (struct target_message *m = b->list; m; m = m->next)
        if (p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG && m->tag &&
            bytes_equal(bytes_of(id.bytes, id.len), bytes_str(m->delivery->id)))
            target_message_set(m, EVENT_FAILED, "amqp: no queue gets it");
}

/* The broker gives up on the channel: no such exchange, no right to publish there. */
static void on_close(struct batch *b, amqp_bytes_t why)
{
    for (struct target_message *m = b->list; m; m = m->next)
        if (m->outcome == EVENT_ABSENT)
            target_message_set(m, EVENT_FAILED, "amqp: %.*s",
                               (int)(why.len < 150 ? why.len : 150), (const char *)why.bytes);
    b->broken = true;
}

/* One at a time: the library's own way of reading a message waits without end for all of it, and
 * makes room for as much as the broker says that there will be. */
static bool on_frame(struct batch *b, const amqp_frame_t *frame)
{
    if (frame->frame_type == AMQP_FRAME_HEADER &&
        frame->payload.properties.class_id == AMQP_BASIC_CLASS)
        on_returned(b, frame->payload.properties.decoded);
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return true;
    const void *what = frame->payload.method.decoded;
    switch (frame->payload.method.id) {
    case AMQP_BASIC_ACK_METHOD: {
        const amqp_basic_ack_t *ack = what;
        on_confirm(b, ack->delivery_tag, ack->multiple, true);
        return true;
    }
    case AMQP_BASIC_NACK_METHOD: {
        const amqp_basic_nack_t *nack = what;
        on_confirm(b, nack->delivery_tag, nack->multiple, false);
        return true;
    }
    case AMQP_CHANNEL_CLOSE_METHOD:
        on_close(b, ((const amqp_channel_close_t *)what)->reply_text);
        return false;
    case AMQP_CONNECTION_CLOSE_METHOD:
        return false;
    default:
        return true;
    }
}

static bool send_amqp(struct target_link *link, void *conn, struct target_message *list)
{
    struct amqp *a = conn;
    struct batch b = { .list = list };
    uint64_t deadline = target_deadline(link);
    unsigned slice = 0;
    for (struct target_message *m = list; m; m = m->next) {
        /* A broker without room stops reading: it is waited for here, not in the library. */
        if (target_wait(link, amqp_get_sockfd(a->c), POLLOUT, deadline) != KIST_OK ||
            !publish(a, link, m))
            return false;
        b.waiting++;
    }
    while (b.waiting && (slice = target_slice_ms(link, deadline)) > 0) {
        struct timeval limit = { .tv_sec = slice / 1000, .tv_usec = slice % 1000 * 1000 };
        amqp_frame_t frame;
        amqp_maybe_release_buffers(a->c);
        int rc = amqp_simple_wait_frame_noblock(a->c, &frame, &limit);
        if (rc == AMQP_STATUS_TIMEOUT)
            continue;
        if (rc != AMQP_STATUS_OK || !on_frame(&b, &frame))
            return false;
    }
    return b.waiting == 0;
}

const struct target_driver target_amqp = { .kind = "amqp",
                                           .schemes = "|amqp|amqps|",
                                           .options = "|timeout|exchange|routing-key|",
                                           .binary = true,
                                           .concurrency = 256,
                                           .check = check,
                                           .open = open_amqp,
                                           .send = send_amqp,
                                           .close = close_amqp };
