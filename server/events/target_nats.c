/* The kind "nats": to a subject that a JetStream stream captures (the default), delivered when
 * the stream says that it stored the event; or, with jetstream=false, to whoever listens,
 * delivered when the server has read it.
 *
 * nats://[user:password@|token@]host[:port], tls://... . A stream's acknowledgement comes as a
 * message to the reply subject: one inbox of this connection, and a number behind it. The event's
 * id goes along as Nats-Msg-Id, by which the stream drops what was sent twice.
 */
#include <jansson.h>
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/events/target_internal.h"

#define DEFAULT_PORT 4222
#define DEFAULT_SUBJECT "kist.events"

struct nats {
    natsConnection *connection;
    natsInbox *inbox;
    natsSubscription *acks; /* NULL: without JetStream */
    uint64_t sent;
};

static const char *check(const Kist__EventTarget *target, const struct target_url *url)
{
    const char *subject = target_option(target, "subject");
    const char *stream = target_option(target, "jetstream");
    (void)url;
    if (subject && (strpbrk(subject, " *>") || *subject == '.' ||
                    subject[strlen(subject) - 1] == '.' || strstr(subject, "..")))
        return "option subject must be a subject without wildcards";
    if (stream && strcmp(stream, "true") != 0 && strcmp(stream, "false") != 0)
        return "option jetstream must be true or false";
    return NULL;
}

static bool wants_stream(const struct target_link *link)
{
    const char *stream = target_option(link->target, "jetstream");
    return !stream || strcmp(stream, "true") == 0;
}

/* The library would connect again by itself, to where the server tells it: that is ours to do. */
static natsStatus set_options(natsOptions *o, const struct target_link *link, const char *address)
{
    const struct target_url *url = &link->url;
    natsStatus s = natsOptions_SetURL(o, address);
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(o, false);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(o, TARGET_CONNECT_MS);
    /* A server that stops reading would hold its thread, and all that waits for that, for ever.
     */
    if (s == NATS_OK)
        s = natsOptions_SetWriteDeadline(o, target_timeout_ms(link->target));
    if (s == NATS_OK)
        s = natsOptions_SetName(o, "kist");
    if (s == NATS_OK && *url->password)
        s = natsOptions_SetUserInfo(o, url->user, url->password);
    else if (s == NATS_OK && *url->user)
        s = natsOptions_SetToken(o, url->user);
    if (s == NATS_OK && strcmp(url->scheme, "tls") == 0) {
        s = natsOptions_SetSecure(o, true);
        if (s == NATS_OK)
            s = natsOptions_SetExpectedHostname(o, url->host);
    }
    return s;
}

static void close_nats(void *conn)
{
    struct nats *n = conn;
    natsSubscription_Destroy(n->acks);
    natsInbox_Destroy(n->inbox);
    natsConnection_Destroy(n->connection);
    free(n);
}

static natsStatus connect_to(struct nats *n, const struct target_link *link, const char *ip)
{
    char address[128], subject[128];
    natsOptions *options = NULL;
    snprintf(address, sizeof(address), strchr(ip, ':') ? "nats://[%s]:%u" : "nats://%s:%u", ip,
             link->url.port ? link->url.port : DEFAULT_PORT);
    natsStatus s = natsOptions_Create(&options);
    if (s == NATS_OK)
        s = set_options(options, link, address);
    if (s == NATS_OK)
        s = natsConnection_Connect(&n->connection, options);
    natsOptions_Destroy(options);
    if (s != NATS_OK || !wants_stream(link))
        return s;
    s = natsInbox_Create(&n->inbox);
    if (s != NATS_OK)
        return s;
    snprintf(subject, sizeof(subject), "%s.*", n->inbox);
    return natsConnection_SubscribeSync(&n->acks, n->connection, subject);
}

static enum event_outcome open_nats(struct target_link *link, void **out, char *why)
{
    char ip[64];
    enum event_outcome outcome = target_resolve(link, DEFAULT_PORT, ip, why);
    if (outcome != EVENT_DELIVERED)
        return outcome;
    struct nats *n = calloc(1, sizeof(*n));
    if (!n) {
        snprintf(why, TARGET_WHY_MAX, "out of memory");
        return EVENT_THROTTLED;
    }
    natsStatus s = connect_to(n, link, ip);
    if (s == NATS_OK) {
        *out = n;
        return EVENT_DELIVERED;
    }
    snprintf(why, TARGET_WHY_MAX, "nats: %s", natsStatus_GetText(s));
    close_nats(n);
    return EVENT_ABSENT;
}

/* ---- sending ---- */

static natsStatus set_headers(natsMsg *msg, const struct target_message *m)
{
    const char *trace = target_traceparent(m->delivery->event);
    natsStatus s = natsMsgHeader_Set(msg, "Nats-Msg-Id", m->delivery->id);
    if (s == NATS_OK)
        s = natsMsgHeader_Set(msg, "Content-Type", m->content_type);
    if (s == NATS_OK && trace)
        s = natsMsgHeader_Set(msg, "traceparent", trace);
    for (size_t i = 0; s == NATS_OK && i < m->attribute_count; i++) {
        char name[64];
        snprintf(name, sizeof(name), "ce-%s", m->attributes[i].name);
        s = natsMsgHeader_Set(msg, name, m->attributes[i].value);
    }
    return s;
}

static natsStatus publish(struct nats *n, const struct target_link *link,
                          struct target_message *m)
{
    const char *subject = target_option(link->target, "subject");
    char reply[128];
    natsMsg *msg = NULL;
    m->tag = ++n->sent;
    snprintf(reply, sizeof(reply), "%s.%llu", n->inbox ? n->inbox : "",
             (unsigned long long)m->tag);
    natsStatus s =
        natsMsg_Create(&msg, subject ? subject : DEFAULT_SUBJECT, n->inbox ? reply : NULL,
                       m->body.len ? (const char *)m->body.ptr : "", (int)m->body.len);
    if (s == NATS_OK && natsConnection_HasHeaderSupport(n->connection) == NATS_OK)
        s = set_headers(msg, m);
    if (s == NATS_OK)
        s = natsConnection_PublishMsg(n->connection, msg);
    natsMsg_Destroy(msg);
    return s;
}

/* What the stream says: {"stream", "seq"} or {"error": {"description"}}. */
static void judge(struct target_message *m, natsMsg *ack)
{
    json_t *root = json_loadb(natsMsg_GetData(ack), (size_t)natsMsg_GetDataLength(ack), 0, NULL);
    const json_t *error = json_object_get(root, "error");
    const char *text = json_string_value(json_object_get(error, "description"));
    if (natsMsg_IsNoResponders(ack))
        target_message_set(
            m, EVENT_FAILED,
            "nats: no stream has the subject; option jetstream=false does without");
    else if (error)
        target_message_set(m, EVENT_FAILED, "nats: %.150s",
                           text ? text : "the stream refused it");
    else if (json_object_get(root, "stream"))
        target_message_set(m, EVENT_DELIVERED, "%s", "");
    else
        target_message_set(m, EVENT_FAILED, "nats: what answers is no stream");
    json_decref(root);
}

/* Which message found no stream is not told: all of them have one subject, so it is one as good
 * as the other. */
static void judge_no_stream(struct target_message *list)
{
    while (list && list->outcome != EVENT_ABSENT)
        list = list->next;
    if (list)
        target_message_set(
            list, EVENT_FAILED,
            "nats: no stream has the subject; option jetstream=false does without");
}

static bool await_acks(struct nats *n, const struct target_link *link,
                       struct target_message *list, size_t waiting)
{
    uint64_t deadline = target_deadline(link);
    struct target_message *at = NULL;
    unsigned slice = 0;
    while (waiting && (slice = target_slice_ms(link, deadline)) > 0) {
        natsMsg *ack = NULL;
        natsStatus s = natsSubscription_NextMsg(&ack, n->acks, slice);
        if (s == NATS_TIMEOUT)
            continue;
        if (s == NATS_NO_RESPONDERS) {
            judge_no_stream(list);
            waiting--;
            continue;
        }
        if (s != NATS_OK)
            return false;
        const char *dot = strrchr(natsMsg_GetSubject(ack), '.');
        struct target_message *m = target_find(list, &at, dot ? strtoull(dot + 1, NULL, 10) : 0);
        if (m && m->outcome == EVENT_ABSENT) {
            judge(m, ack);
            waiting--;
        }
        natsMsg_Destroy(ack);
    }
    return waiting == 0;
}

/* PONG comes after the server has read all before PING, and said what it does not take. */
static bool await_pong(const struct nats *n, const struct target_link *link,
                       struct target_message *list)
{
    const char *text = NULL;
    if (natsConnection_FlushTimeout(n->connection, target_timeout_ms(link->target)) != NATS_OK)
        return false;
    natsStatus s = natsConnection_GetLastError(n->connection, &text);
    for (struct target_message *m = list; m; m = m->next)
        if (m->outcome == EVENT_ABSENT && s == NATS_OK)
            target_message_set(m, EVENT_DELIVERED, "%s", "");
        else if (m->outcome == EVENT_ABSENT)
            target_message_set(m, EVENT_FAILED, "nats: %.150s", text ? text : "refused");
    return s == NATS_OK;
}

static bool send_nats(struct target_link *link, void *conn, struct target_message *list)
{
    struct nats *n = conn;
    size_t waiting = 0;
    for (struct target_message *m = list; m; m = m->next) {
        natsStatus s = publish(n, link, m);
        if (s == NATS_OK)
            waiting++;
        else if (s == NATS_MAX_PAYLOAD)
            target_message_set(m, EVENT_FAILED, "nats: larger than the server takes");
        else
            return false;
    }
    return n->acks ? await_acks(n, link, list, waiting) : await_pong(n, link, list);
}

const struct target_driver target_nats = { .kind = "nats",
                                           .schemes = "|nats|tls|",
                                           .options = "|timeout|subject|jetstream|",
                                           .binary = true,
                                           .concurrency = 256,
                                           .check = check,
                                           .open = open_nats,
                                           .send = send_nats,
                                           .close = close_nats };
