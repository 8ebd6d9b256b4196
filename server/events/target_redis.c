/* The kind "redis": an entry of a stream (XADD, the default), an element of a list (RPUSH), or a
 * message (PUBLISH, which Redis gives to whoever listens just then and keeps for nobody).
 *
 * redis://[user:password@]host[:port][/database]. A batch is one pipeline: all commands are
 * written, then as many replies are read. The connection is dialled here, so that it goes where
 * it may; hiredis speaks over it.
 */
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "server/events/target_internal.h"

#define DEFAULT_PORT 6379
#define DEFAULT_KEY "kist:events"
/* Of what has come and is no whole reply yet; of a batch, each of whose replies is a line or two.
 */
#define UNREAD_MAX ((size_t)256 << 10)

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

/* False: the connection has ended, or what comes has no end. */
static bool receive(redisContext *c)
{
    return redisBufferRead(c) == REDIS_OK && c->reader->len - c->reader->pos <= UNREAD_MAX;
}

/* No command of ours is answered by a list, which could be of any length. */
static bool begins_well(const redisReader *r)
{
    return r->ridx >= 0 || r->pos == r->len || memchr("+-:$", r->buf[r->pos], 4);
}

/* Writes what is queued; reads meanwhile, so that neither side waits for the other. */
static bool flush(const struct target_link *link, redisContext *c, uint64_t deadline_ns)
{
    int done = 0;
    for (;;) {
        if (redisBufferWrite(c, &done) != REDIS_OK)
            return false;
        if (done)
            return true;
        if (target_wait(link, c->fd, POLLIN | POLLOUT, deadline_ns) != KIST_OK || !receive(c))
            return false;
    }
}

/* NULL: none came. The caller frees it. */
static redisReply *next_reply(const struct target_link *link, redisContext *c,
                              uint64_t deadline_ns)
{
    void *reply = NULL;
    for (;;) {
        if (!begins_well(c->reader) || redisGetReplyFromReader(c, &reply) != REDIS_OK)
            return NULL;
        if (reply)
            return reply;
        if (target_wait(link, c->fd, POLLIN, deadline_ns) != KIST_OK || !receive(c))
            return NULL;
    }
}

static void add(redisContext *c, size_t count, const char *const *words, const size_t *lengths)
{
    /* Fails on out of memory alone, and then the context says so at the next read. */
    (void)redisAppendCommandArgv(c, (int)count, (const char **)(uintptr_t)words, lengths);
}

static void add_words(redisContext *c, size_t count, const char *const *words)
{
    add(c, count, words, NULL);
}

/* AUTH and SELECT, where the URL asks for them. */
static enum event_outcome greet(const struct target_link *link, redisContext *c, char *why)
{
    const struct target_url *url = &link->url;
    uint64_t deadline = mono_ns() + (uint64_t)TARGET_CONNECT_MS * 1000000;
    size_t expected = 0;
    if (*url->password && *url->user)
        add_words(c, 3, (const char *const[]){ "AUTH", url->user, url->password });
    else if (*url->password)
        add_words(c, 2, (const char *const[]){ "AUTH", url->password });
    expected += *url->password != 0;
    if (strlen(url->path) > 1) {
        add_words(c, 2, (const char *const[]){ "SELECT", url->path + 1 });
        expected++;
    }
    bool ok = flush(link, c, deadline);
    for (; ok && expected; expected--) {
        redisReply *reply = next_reply(link, c, deadline);
        ok = reply && reply->type != REDIS_REPLY_ERROR;
        /* A server that does not know AUTH repeats what it was given, the password too. */
        if (reply && !ok)
            snprintf(why, TARGET_WHY_MAX, "redis: %.150s",
                     *url->password && strstr(reply->str, url->password) ? "the login is refused"
                                                                         : reply->str);
        freeReplyObject(reply);
    }
    if (!ok && !*why)
        snprintf(why, TARGET_WHY_MAX, "redis does not answer: %.120s", c->errstr);
    return ok ? EVENT_DELIVERED : EVENT_ABSENT;
}

static enum event_outcome open_redis(struct target_link *link, void **out, char *why)
{
    int fd = -1;
    enum event_outcome outcome = target_dial(link, DEFAULT_PORT, &fd, why);
    if (outcome != EVENT_DELIVERED)
        return outcome;
    redisContext *c = redisConnectFd(fd);
    if (!c || c->err) {
        redisFree(c);
        close(fd);
        snprintf(why, TARGET_WHY_MAX, "out of memory");
        return EVENT_THROTTLED;
    }
    c->flags &= ~REDIS_BLOCK; /* as the socket is */
    *why = 0;
    outcome = greet(link, c, why);
    if (outcome == EVENT_DELIVERED)
        *out = c;
    else
        redisFree(c);
    return outcome;
}

static void add_event(const struct target_link *link, redisContext *c,
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
    add(c, n + 1, words, lengths);
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
    redisContext *c = conn;
    uint64_t deadline = target_deadline(link);
    for (const struct target_message *m = list; m; m = m->next)
        add_event(link, c, m);
    if (!flush(link, c, deadline))
        return false;
    for (struct target_message *m = list; m; m = m->next) {
        redisReply *reply = next_reply(link, c, deadline);
        if (!reply)
            return false;
        judge(m, reply);
        freeReplyObject(reply);
    }
    return true;
}

static void close_redis(void *conn)
{
    redisFree(conn);
}

const struct target_driver target_redis = { .kind = "redis",
                                            .schemes = "|redis|",
                                            .options = "|timeout|mode|key|maxlen|",
                                            .concurrency = 256,
                                            .check = check,
                                            .open = open_redis,
                                            .send = send_redis,
                                            .close = close_redis };
