/* Webhooks: one thread, one curl multi handle, hundreds of requests at once.
 *
 *   target_http_send() --> inbox --> curl --> answer --> outcome
 *
 * An answer of 2xx is a delivery. 429, and 503 with a Retry-After, say that there is no room just
 * now; 410 that nobody is there for good. All other answers, redirects among them, are failures
 * of this event, as is an answer that does not end in time: a receiver that refuses today (401,
 * 404) may be mended tomorrow, and the target's limits say how long to hope. Where no connection
 * comes about, it is the target that is missing, not the event that fails.
 *
 * Connections are kept and shared by all targets; hence each request asks again whether it may
 * go where its connection leads.
 */
#include <curl/curl.h>
#include <stdlib.h>

#include "server/events/target_internal.h"
#include "storage/base/codec.h"
#include "storage/base/trace.h"

#define ANSWER_MAX ((size_t)64 << 10) /* read; what comes after it is nobody's */
#define ANSWER_HEADER_MAX ((size_t)64 << 10)
#define UNDER_WAY_MAX 4096
#define IDLE_CONNECTIONS 256L
#define SPARE_MAX 64

struct transfer {
    struct transfer *next, **at; /* of those under way */
    struct target_http *http;
    struct target_message *message;
    CURL *easy;
    struct curl_slist *headers;
    size_t header_bytes, body_bytes;
    bool forbidden, whole, header_too_large;
};

struct target_http {
    struct targets *targets;
    CURLM *multi;
    pthread_t thread;
    pthread_mutex_t lock;
    struct target_message *first, **last; /* inbox; under lock, as these: */
    size_t count;                         /* in the inbox and under way */
    bool stop;
    /* The thread's own: */
    struct transfer *under_way;
    CURL *spare[SPARE_MAX];
    size_t spare_count;
};

/* ---- what curl asks ---- */

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *t = ctx;
    (void)purpose;
    if (!target_guard_allows(&t->http->targets->guard, &address->addr,
                             t->message->link->target->private_network)) {
        t->forbidden = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* Of connections that were there, too. */
static int may_send(void *ctx, char *peer, char *local, int port, int local_port)
{
    struct transfer *t = ctx;
    (void)local, (void)local_port;
    if (target_guard_allows_text(&t->http->targets->guard, peer, (unsigned)port,
                                 t->message->link->target->private_network))
        return CURL_PREREQFUNC_OK;
    t->forbidden = true;
    return CURL_PREREQFUNC_ABORT;
}

static size_t take_header(char *data, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    (void)data;
    t->header_bytes += size * count;
    t->header_too_large = t->header_bytes > ANSWER_HEADER_MAX;
    return t->header_too_large ? 0 : size * count;
}

/* Looked at by nobody; a long one is cut off with its connection. */
static size_t take_body(char *data, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    (void)data;
    t->body_bytes += size * count;
    t->whole = t->body_bytes > ANSWER_MAX;
    return t->whole ? 0 : size * count;
}

/* ---- the request ---- */

static bool add_header(struct transfer *t, const char *name, const char *value)
{
    char *line = arena_printf(&t->message->arena, "%s: %s", name, value);
    struct curl_slist *more = line ? curl_slist_append(t->headers, line) : NULL;
    if (more)
        t->headers = more;
    return more != NULL;
}

/* v1 is HMAC-SHA-256 over the time, a full stop, and the body. */
static bool add_signature(struct transfer *t, const char *secret, int64_t now_s)
{
    struct target_message *m = t->message;
    uint8_t mac[32];
    char hex[65], value[128], head[32];
    struct buf signed_text;
    int len = snprintf(head, sizeof(head), "%lld.", (long long)now_s);
    buf_init(&signed_text, TARGET_BODY_MAX + sizeof(head));
    bool ok = buf_reserve(&signed_text, (size_t)len + m->body.len) == KIST_OK &&
              buf_append(&signed_text, head, (size_t)len) == KIST_OK &&
              buf_append_bytes(&signed_text, buf_bytes(&m->body)) == KIST_OK;
    if (ok)
        hmac_sha256(bytes_str(secret), buf_bytes(&signed_text), mac);
    buf_release(&signed_text);
    if (!ok)
        return false;
    hex_encode(bytes_of(mac, sizeof(mac)), hex);
    snprintf(value, sizeof(value), "t=%lld,v1=%s", (long long)now_s, hex);
    return add_header(t, "X-Kist-Signature", value);
}

static bool add_headers(struct transfer *t)
{
    struct target_message *m = t->message;
    struct env *env = store_env(t->http->targets->config.store);
    const char *trace = target_traceparent(m->delivery->event);
    const char *secret = m->link->target->secret;
    const char *authorization = target_option(m->link->target, "authorization");
    char attempt[16], name[64];
    snprintf(attempt, sizeof(attempt), "%u", m->delivery->attempt);
    bool ok = add_header(t, "Content-Type", m->content_type) &&
              add_header(t, "X-Kist-Event-Id", m->delivery->id) &&
              add_header(t, "X-Kist-Attempt", attempt) && add_header(t, "Expect", "") &&
              (!authorization || add_header(t, "Authorization", authorization)) &&
              (!trace || add_header(t, "traceparent", trace)) &&
              (!*secret || add_signature(t, secret, env->now_ms(env) / 1000));
    for (size_t i = 0; ok && i < m->attribute_count; i++) {
        snprintf(name, sizeof(name), "ce-%s", m->attributes[i].name);
        ok = add_header(t, name, m->attributes[i].value);
    }
    return ok;
}

static bool set_limits(CURL *c, const struct target_message *m)
{
    return curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           /* Else curl waits, on the thread of all webhooks, for a name server that is too late.
            */
           curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)TARGET_CONNECT_MS) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)target_timeout_ms(m->link->target)) ==
               CURLE_OK;
}

static bool set_up(CURL *c, struct transfer *t)
{
    struct target_message *m = t->message;
    return add_headers(t) && set_limits(c, m) &&
           curl_easy_setopt(c, CURLOPT_PRIVATE, t) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_URL, m->link->target->url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_USERAGENT, "kist") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)m->body.len) ==
               CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDS, m->body.len ? (char *)m->body.ptr : "") ==
               CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, may_send) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PREREQDATA, t) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HEADERDATA, t) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, t) == CURLE_OK;
}

/* ---- the answer ---- */

static void judge_status(struct target_message *m, CURL *c)
{
    long status = 0;
    curl_off_t wait_s = 0;
    (void)!curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    (void)!curl_easy_getinfo(c, CURLINFO_RETRY_AFTER, &wait_s);
    if (status >= 200 && status < 300)
        target_message_set(m, EVENT_DELIVERED, "%s", "");
    else if (status == 429 || (status == 503 && wait_s > 0))
        target_message_set(m, EVENT_THROTTLED, "the webhook answered %ld: no room", status);
    else if (status == 410)
        target_message_set(m, EVENT_REFUSED, "the webhook answered 410: gone for good");
    else if (status >= 300 && status < 400)
        target_message_set(m, EVENT_FAILED,
                           "the webhook answered %ld: redirects are not followed", status);
    else
        target_message_set(m, EVENT_FAILED, "the webhook answered %ld", status);
}

static enum event_outcome outcome_of(CURLcode rc, CURL *c)
{
    curl_off_t began_us = 0;
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return EVENT_ABSENT;
    case CURLE_OPERATION_TIMEDOUT: /* after the connection stood, the event was under way */
        (void)!curl_easy_getinfo(c, CURLINFO_PRETRANSFER_TIME_T, &began_us);
        return began_us > 0 ? EVENT_FAILED : EVENT_ABSENT;
    case CURLE_OUT_OF_MEMORY:
        return EVENT_THROTTLED;
    default:
        return EVENT_FAILED;
    }
}

static void judge(struct transfer *t, CURLcode rc)
{
    struct target_message *m = t->message;
    if (rc == CURLE_OK || t->whole)
        judge_status(m, t->easy);
    else if (t->forbidden)
        target_message_set(m, EVENT_REFUSED,
                           "the target's address is not allowed: it is private, or this node's");
    else if (t->header_too_large)
        target_message_set(m, EVENT_FAILED, "the webhook's answer has too large a header");
    else
        target_message_set(m, outcome_of(rc, t->easy), "%s", curl_easy_strerror(rc));
}

/* ---- the thread ---- */

static void recycle(struct target_http *h, CURL *easy)
{
    if (easy && h->spare_count < SPARE_MAX) {
        curl_easy_reset(easy);
        h->spare[h->spare_count++] = easy;
    } else {
        curl_easy_cleanup(easy);
    }
}

static void end(struct transfer *t)
{
    struct target_http *h = t->http;
    *t->at = t->next;
    if (t->next)
        t->next->at = t->at;
    recycle(h, t->easy);
    curl_slist_free_all(t->headers);
    target_message_end(t->message);
    free(t);
    pthread_mutex_lock(&h->lock);
    h->count--;
    pthread_mutex_unlock(&h->lock);
}

static void begin(struct target_http *h, struct target_message *m)
{
    struct transfer *t = calloc(1, sizeof(*t));
    CURL *easy = h->spare_count ? h->spare[--h->spare_count] : curl_easy_init();
    if (!t || !easy) {
        free(t);
        recycle(h, easy);
        target_message_set(m, EVENT_THROTTLED, "out of memory");
        target_message_end(m);
        pthread_mutex_lock(&h->lock);
        h->count--;
        pthread_mutex_unlock(&h->lock);
        return;
    }
    *t = (struct transfer){ .http = h, .message = m, .easy = easy, .next = h->under_way };
    t->at = &h->under_way;
    if (t->next)
        t->next->at = &t->next;
    h->under_way = t;
    if (!set_up(easy, t) || curl_multi_add_handle(h->multi, easy) != CURLM_OK) {
        target_message_set(m, EVENT_THROTTLED, "out of memory");
        end(t);
    }
}

static void finish_done(struct target_http *h)
{
    const CURLMsg *msg;
    int left = 0;
    while ((msg = curl_multi_info_read(h->multi, &left))) {
        void *private = NULL;
        CURLcode rc = msg->data.result;
        if (msg->msg != CURLMSG_DONE ||
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private) != CURLE_OK)
            continue;
        struct transfer *t = private;
        judge(t, rc);
        (void)!curl_multi_remove_handle(h->multi, t->easy);
        end(t);
    }
}

/* False: it is time to end. */
static bool take_inbox(struct target_http *h, struct target_message **list)
{
    pthread_mutex_lock(&h->lock);
    *list = h->first;
    h->first = NULL;
    h->last = &h->first;
    bool stop = h->stop;
    pthread_mutex_unlock(&h->lock);
    return !stop;
}

static void *http_main(void *arg)
{
    struct target_http *h = arg;
    struct target_message *list = NULL;
    int running = 0;
    for (bool go = true; go;) {
        go = take_inbox(h, &list);
        while (list) {
            struct target_message *m = list;
            list = m->next;
            begin(h, m);
        }
        CURLMcode rc = curl_multi_perform(h->multi, &running);
        finish_done(h);
        if (rc == CURLM_OK && go)
            rc = curl_multi_poll(h->multi, NULL, 0, 60000, NULL);
        if (rc != CURLM_OK)
            TRACE(TRACE_ERROR, "targets", "curl: %s", curl_multi_strerror(rc));
    }
    while (h->under_way) {
        struct transfer *t = h->under_way;
        (void)!curl_multi_remove_handle(h->multi, t->easy);
        target_message_set(t->message, EVENT_ABSENT, "kist was stopped");
        end(t);
    }
    return NULL;
}

void target_http_send(struct target_http *h, struct target_message *m)
{
    pthread_mutex_lock(&h->lock);
    bool stop = h->stop, room = h->count < UNDER_WAY_MAX;
    if (!stop && room) {
        h->count++;
        m->next = NULL;
        *h->last = m;
        h->last = &m->next;
        (void)!curl_multi_wakeup(h->multi);
    }
    pthread_mutex_unlock(&h->lock);
    if (!stop && room)
        return;
    if (stop)
        target_message_set(m, EVENT_ABSENT, "kist was stopped");
    else
        target_message_set(m, EVENT_THROTTLED, "too many webhooks are under way");
    target_message_end(m);
}

enum kist_err target_http_open(struct targets *t, struct target_http **out)
{
    struct target_http *h = calloc(1, sizeof(*h));
    if (!h)
        return KIST_E_NOMEM;
    h->targets = t;
    h->last = &h->first;
    pthread_mutex_init(&h->lock, NULL);
    h->multi = curl_multi_init();
    if (!h->multi ||
        curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS) != CURLM_OK ||
        pthread_create(&h->thread, NULL, http_main, h) != 0) {
        curl_multi_cleanup(h->multi);
        pthread_mutex_destroy(&h->lock);
        free(h);
        return KIST_E_NOMEM;
    }
    pthread_setname_np(h->thread, "webhooks");
    *out = h;
    return KIST_OK;
}

void target_http_stop(struct target_http *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    (void)!curl_multi_wakeup(h->multi);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
}

void target_http_free(struct target_http *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->spare_count; i++)
        curl_easy_cleanup(h->spare[i]);
    curl_multi_cleanup(h->multi);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
