/* The kind "redis": an entry of a stream (XADD, the default), an element of a list (RPUSH), or a
 * message (PUBLISH, which Redis gives to whoever listens just then and keeps for nobody).
 *
 * redis://[user:password@]host[:port][/database], rediss://... . A batch is one pipeline: all
 * commands are written, then as many replies are read. The connection is dialled here, so that it
 * goes where it may, and TLS is OpenSSL's: not every hiredis has it. hiredis writes and reads the
 * protocol.
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/events/target_internal.h"

#define DEFAULT_PORT 6379
#define DEFAULT_KEY "kist:events"
/* Of what has come and is no whole reply yet; of a batch, each of whose replies is a line or two.
 */
#define UNREAD_MAX ((size_t)256 << 10)
/* Commands that are queued before they are written. */
#define QUEUED_MAX ((size_t)1 << 20)

static const char *check(const Kist__EventTarget *target, const struct target_url *url)
{
    const char *mode = target_option(target, "mode"), *maxlen = target_option(target, "maxlen");
    uint64_t n = 0;
    if (mode && strcmp(mode, "stream") != 0 && strcmp(mode, "list") != 0 &&
        strcmp(mode, "publish") != 0)
        return "option mode must be stream, list or publish";
    if (maxlen && (bytes_to_u64(bytes_str(maxlen), INT64_MAX, &n) != KIST_OK || n == 0 ||
                   (mode && strcmp(mode, "stream") != 0)))
        return "option maxlen is a number of entries, of a stream";
    if (strlen(url->path) > 1 &&
        bytes_to_u64(bytes_str(url->path + 1), UINT32_MAX, &n) != KIST_OK)
        return "the path of a redis URL is the number of a database";
    return NULL;
}

/* ---- bytes in and out ---- */

struct redis {
    int fd;
    SSL *tls; /* NULL: without */
    redisReader *reader;
    struct buf out; /* commands; the first `written` bytes of them are gone */
    size_t written;
    short wants; /* poll(2) events without which nothing more can be written */
};

/* What a call of OpenSSL's waits for; 0: the connection has failed. */
static short tls_wants(const SSL *tls, int result)
{
    switch (SSL_get_error(tls, result)) {
    case SSL_ERROR_WANT_READ:
        return POLLIN;
    case SSL_ERROR_WANT_WRITE:
        return POLLIN | POLLOUT;
    default:
        return 0;
    }
}

/* Reads what is there. False: the connection has ended, or what comes has no end. */
static bool receive(struct redis *r)
{
    char piece[16 << 10]; /* a record of TLS: none of it is left behind, unseen by poll(2) */
    ssize_t n;
    if (r->tls) {
        ERR_clear_error();
        n = SSL_read(r->tls, piece, sizeof(piece));
        if (n <= 0)
            return tls_wants(r->tls, (int)n) != 0;
    } else {
        n = recv(r->fd, piece, sizeof(piece), 0);
        if (n <= 0)
            return n < 0 && (errno == EAGAIN || errno == EINTR);
    }
    return redisReaderFeed(r->reader, piece, (size_t)n) == REDIS_OK &&
           r->reader->len - r->reader->pos <= UNREAD_MAX;
}

/* Writes as much as goes now. */
static bool write_some(struct redis *r)
{
    const uint8_t *rest = r->out.ptr + r->written;
    size_t left = r->out.len - r->written;
    ssize_t n;
    r->wants = POLLIN | POLLOUT;
    if (r->tls) {
        ERR_clear_error();
        n = SSL_write(r->tls, rest, left < INT_MAX ? (int)left : INT_MAX);
        if (n <= 0) {
            r->wants = tls_wants(r->tls, (int)n);
            return r->wants != 0;
        }
    } else {
        n = send(r->fd, rest, left, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
    }
    r->written += (size_t)n;
    return true;
}

/* Writes what is queued; reads meanwhile, so that neither side waits for the other. */
static bool flush(const struct target_link *link, struct redis *r, uint64_t deadline_ns)
{
    while (r->written < r->out.len) {
        if (!write_some(r))
            return false;
        if (r->written < r->out.len &&
            (target_wait(link, r->fd, r->wants, deadline_ns) != KIST_OK || !receive(r)))
            return false;
    }
    buf_clear(&r->out);
    r->written = 0;
    return true;
}

/* No command of ours is answered by a list, which could be of any length. */
static bool begins_well(const redisReader *r)
{
    return r->ridx >= 0 || r->pos == r->len || memchr("+-:$", r->buf[r->pos], 4);
}

/* NULL: none came. The caller frees it. */
static redisReply *next_reply(const struct target_link *link, struct redis *r,
                              uint64_t deadline_ns)
{
    void *reply = NULL;
    for (;;) {
        if (!begins_well(r->reader) || redisReaderGetReply(r->reader, &reply) != REDIS_OK)
            return NULL;
        if (reply)
            return reply;
        if (target_wait(link, r->fd, POLLIN, deadline_ns) != KIST_OK || !receive(r))
            return NULL;
    }
}

/* Queues a command. lengths: NULL for strings. False: out of memory. */
static bool add(struct redis *r, size_t count, const char *const *words, const size_t *lengths)
{
    char *command = NULL;
    int len =
        redisFormatCommandArgv(&command, (int)count, (const char **)(uintptr_t)words, lengths);
    bool ok = len > 0 && buf_append(&r->out, command, (size_t)len) == KIST_OK;
    redisFreeCommand(command);
    return ok;
}

static bool add_words(struct redis *r, size_t count, const char *const *words)
{
    return add(r, count, words, NULL);
}

/* ---- connecting ---- */

static bool is_tls(const struct target_link *link)
{
    return strcmp(link->url.scheme, "rediss") == 0;
}

/* The certificate must be for the host as the URL has it, and from an authority that the system
 * knows. */
static SSL *tls_new(const struct target_link *link, int fd)
{
    const char *host = link->url.host;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *tls = NULL;
    if (context && SSL_CTX_set_default_verify_paths(context) == 1 &&
        SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1)
        tls = SSL_new(context);
    SSL_CTX_free(context); /* the session holds it */
    if (!tls)
        return NULL;
    SSL_set_verify(tls, SSL_VERIFY_PEER, NULL);
    SSL_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    bool is_ip = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host) == 1;
    if (SSL_set_fd(tls, fd) == 1 &&
        (is_ip || (SSL_set1_host(tls, host) == 1 && SSL_set_tlsext_host_name(tls, host) == 1)))
        return tls;
    SSL_free(tls);
    return NULL;
}

static enum event_outcome shake_hands(const struct target_link *link, struct redis *r, char *why)
{
    uint64_t deadline = mono_ns() + (uint64_t)TARGET_CONNECT_MS * 1000000;
    r->tls = tls_new(link, r->fd);
    if (!r->tls) {
        snprintf(why, TARGET_WHY_MAX, "out of memory");
        return EVENT_THROTTLED;
    }
    for (;;) {
        ERR_clear_error();
        int rc = SSL_connect(r->tls);
        if (rc == 1)
            return EVENT_DELIVERED;
        short wants = tls_wants(r->tls, rc);
        if (wants && target_wait(link, r->fd, wants, deadline) == KIST_OK)
            continue;
        long verdict = SSL_get_verify_result(r->tls);
        const char *reason = ERR_reason_error_string(ERR_peek_error());
        snprintf(why, TARGET_WHY_MAX, "redis: TLS: %.150s",
                 verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                 : reason             ? reason
                                      : "the server does not answer");
        return EVENT_ABSENT;
    }
}

/* AUTH and SELECT, where the URL asks for them. */
static enum event_outcome greet(const struct target_link *link, struct redis *r, char *why)
{
    const struct target_url *url = &link->url;
    uint64_t deadline = mono_ns() + (uint64_t)TARGET_CONNECT_MS * 1000000;
    size_t expected = 0;
    bool ok = true;
    if (*url->password && *url->user)
        ok = add_words(r, 3, (const char *const[]){ "AUTH", url->user, url->password });
    else if (*url->password)
        ok = add_words(r, 2, (const char *const[]){ "AUTH", url->password });
    expected += *url->password != 0;
    if (strlen(url->path) > 1) {
        ok = ok && add_words(r, 2, (const char *const[]){ "SELECT", url->path + 1 });
        expected++;
    }
    ok = ok && flush(link, r, deadline);
    for (; ok && expected; expected--) {
        redisReply *reply = next_reply(link, r, deadline);
        ok = reply && reply->type != REDIS_REPLY_ERROR;
        /* A server that does not know AUTH repeats what it was given, the password too. */
        if (reply && !ok)
            snprintf(why, TARGET_WHY_MAX, "redis: %.150s",
                     *url->password && strstr(reply->str, url->password) ? "the login is refused"
                                                                         : reply->str);
        freeReplyObject(reply);
    }
    if (!ok && !*why)
        snprintf(why, TARGET_WHY_MAX, "redis does not answer: %.120s", r->reader->errstr);
    return ok ? EVENT_DELIVERED : EVENT_ABSENT;
}

static void close_redis(void *conn)
{
    struct redis *r = conn;
    SSL_free(r->tls);
    close(r->fd);
    buf_release(&r->out);
    if (r->reader)
        redisReaderFree(r->reader);
    free(r);
}

static enum event_outcome open_redis(struct target_link *link, void **out, char *why)
{
    int fd = -1;
    enum event_outcome outcome = target_dial(link, DEFAULT_PORT, &fd, why);
    if (outcome != EVENT_DELIVERED)
        return outcome;
    struct redis *r = calloc(1, sizeof(*r));
    if (!r) {
        close(fd);
        snprintf(why, TARGET_WHY_MAX, "out of memory");
        return EVENT_THROTTLED;
    }
    r->fd = fd;
    r->reader = redisReaderCreate();
    buf_init(&r->out, QUEUED_MAX + 2 * TARGET_BODY_MAX);
    *why = 0;
    if (!r->reader) {
        snprintf(why, TARGET_WHY_MAX, "out of memory");
        outcome = EVENT_THROTTLED;
    }
    if (outcome == EVENT_DELIVERED && is_tls(link))
        outcome = shake_hands(link, r, why);
    if (outcome == EVENT_DELIVERED)
        outcome = greet(link, r, why);
    if (outcome == EVENT_DELIVERED)
        *out = r;
    else
        close_redis(r);
    return outcome;
}

/* ---- sending ---- */

static bool add_event(const struct target_link *link, struct redis *r,
                      const struct target_message *m)
{
    const char *mode = target_option(link->target, "mode");
    const char *key = target_option(link->target, "key");
    const char *maxlen = target_option(link->target, "maxlen");
    bool list = mode && strcmp(mode, "list") == 0;
    const char *body = m->body.len ? (const char *)m->body.ptr : "";
    const char *words[10];
    size_t lengths[10], n = 0;
    if (list || (mode && strcmp(mode, "publish") == 0)) {
        words[n++] = list ? "RPUSH" : "PUBLISH";
        words[n++] = key ? key : DEFAULT_KEY;
    } else {
        words[n++] = "XADD";
        words[n++] = key ? key : DEFAULT_KEY;
        if (maxlen) {
            words[n++] = "MAXLEN";
            words[n++] = "~";
            words[n++] = maxlen;
        }
        words[n++] = "*";
        words[n++] = "id";
        words[n++] = m->delivery->id;
        words[n++] = "event";
    }
    for (size_t i = 0; i < n; i++)
        lengths[i] = strlen(words[i]);
    words[n] = body; /* no string: it has no end of its own */
    lengths[n] = m->body.len;
    return add(r, n + 1, words, lengths);
}

/* A server that is full, loading or a replica has no room just now; the rest is the event's. */
static void judge(struct target_message *m, const redisReply *reply)
{
    static const char *const busy[] = { "OOM",         "LOADING",  "READONLY",
                                        "BUSY",        "MISCONF",  "MASTERDOWN",
                                        "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS" };
    if (reply->type != REDIS_REPLY_ERROR) {
        target_message_set(m, EVENT_DELIVERED, "%s", "");
        return;
    }
    enum event_outcome outcome = EVENT_FAILED;
    for (size_t i = 0; i < ARRAY_LEN(busy); i++)
        if (strncmp(reply->str, busy[i], strlen(busy[i])) == 0)
            outcome = EVENT_THROTTLED;
    target_message_set(m, outcome, "redis: %.150s", reply->str);
}

static bool send_redis(struct target_link *link, void *conn, struct target_message *list)
{
    struct redis *r = conn;
    uint64_t deadline = target_deadline(link);
    for (const struct target_message *m = list; m; m = m->next)
        if (!add_event(link, r, m) ||
            ((!m->next || r->out.len >= QUEUED_MAX) && !flush(link, r, deadline)))
            return false;
    for (struct target_message *m = list; m; m = m->next) {
        redisReply *reply = next_reply(link, r, deadline);
        if (!reply)
            return false;
        judge(m, reply);
        freeReplyObject(reply);
    }
    return true;
}

const struct target_driver target_redis = { .kind = "redis",
                                            .schemes = "|redis|rediss|",
                                            .options = "|timeout|mode|key|maxlen|",
                                            .concurrency = 256,
                                            .check = check,
                                            .open = open_redis,
                                            .send = send_redis,
                                            .close = close_redis };
