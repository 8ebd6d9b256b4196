/* One epoll loop drives all connections; no thread of the generator ever waits for one. */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <netinet/tcp.h>

#include "server/cli/bench_internal.h"
#include "server/http/server.h"
#include "storage/base/env.h"

#define RANDOM_BYTES ((size_t)1 << 20) /* bodies begin anywhere in so many, all different */
#define READ_BYTES ((size_t)512 << 10)
#define HEAD_MAX 8192

struct connection {
    int fd;
    enum bench_op op;
    uint64_t started;
    char head[HEAD_MAX];
    size_t head_len, sent;
    const uint8_t *body;
    size_t body_len;
    /* reply */
    char reply[HEAD_MAX];
    size_t reply_len;
    bool in_body, close;
    unsigned status;
    uint64_t left; /* of the reply's body */
    bool waits_for_write;
};

struct run {
    const struct bench_phase *phase;
    const struct bench_options *o;
    struct bench_result *out;
    struct signer_cache signer;
    struct sockaddr_storage address;
    socklen_t address_len;
    uint8_t *random;
    uint8_t *discard;
    uint64_t state, started_requests, active, deadline, next_key, next_part;
    int epoll;
};

static uint64_t next_random(struct run *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state;
}

/* ---- requests ---- */

static enum bench_op choose(struct run *r)
{
    unsigned at = (unsigned)(next_random(r) >> 20) % 100;
    for (unsigned op = 0; op + 1 < BENCH_OPS; op++) {
        if (at < r->phase->mix[op])
            return (enum bench_op)op;
        at -= r->phase->mix[op];
    }
    return BENCH_PART;
}

static void target(struct run *r, struct connection *c, char *path, size_t size, char *query,
                   size_t query_size)
{
    const struct bench_options *o = r->o;
    uint64_t key = r->phase->each_key_once || o->sequential ? r->next_key++ % o->keys
                                                            : (next_random(r) >> 16) % o->keys;
    query[0] = '\0';
    if (o->no_auth)
        snprintf(path, size, "%s%" PRIu64, o->path_prefix, key);
    else if (c->op == BENCH_LIST)
        snprintf(path, size, "/%s", o->bucket);
    else if (c->op == BENCH_PART)
        snprintf(path, size, "/%s/%smultipart", o->bucket, o->key_prefix);
    else
        snprintf(path, size, "/%s/%s%" PRIu64, o->bucket, o->key_prefix, key);
    if (c->op == BENCH_LIST)
        snprintf(query, query_size, "list-type=2&max-keys=%" PRIu64 "&prefix=%s", o->max_keys,
                 o->list_prefix);
    if (c->op == BENCH_PART)
        snprintf(query, query_size, "partNumber=%" PRIu64 "&uploadId=%s",
                 1 + r->next_part++ % 10000, r->phase->upload_id);
}

static void build(struct run *r, struct connection *c)
{
    static const char *const methods[] = { "PUT", "GET", "HEAD", "GET", "DELETE", "PUT" };
    char path[1200], query[512];
    c->op = choose(r);
    target(r, c, path, sizeof(path), query, sizeof(query));
    bool body = c->op == BENCH_PUT || c->op == BENCH_PART;
    c->body_len = body ? (size_t)r->o->size : 0;
    c->body = r->random + next_random(r) % RANDOM_BYTES;
    c->head_len =
        sign_head(&r->signer, methods[c->op], path, query, c->body_len, c->head, sizeof(c->head));
    c->sent = c->reply_len = 0;
    c->in_body = c->close = false;
    c->started = mono_ns();
    r->started_requests++;
}

static bool wants_more(const struct run *r)
{
    if (r->phase->requests && r->started_requests >= r->phase->requests)
        return false;
    return !r->deadline || mono_ns() < r->deadline;
}

static void watch(struct run *r, struct connection *c, bool write)
{
    struct epoll_event e = { .events = write ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c };
    if (write != c->waits_for_write)
        epoll_ctl(r->epoll, EPOLL_CTL_MOD, c->fd, &e);
    c->waits_for_write = write;
}

/* False: the connection is lost. */
static bool send_some(struct run *r, struct connection *c)
{
    while (c->sent < c->head_len + c->body_len) {
        struct iovec v[2];
        int n = 0;
        if (c->sent < c->head_len)
            v[n++] = (struct iovec){ c->head + c->sent, c->head_len - c->sent };
        size_t at = c->sent > c->head_len ? c->sent - c->head_len : 0;
        if (c->body_len > at)
            v[n++] = (struct iovec){ r->random + (c->body - r->random) + at, c->body_len - at };
        struct msghdr m = { .msg_iov = v, .msg_iovlen = (size_t)n };
        ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            watch(r, c, true);
            return true;
        }
        if (sent <= 0)
            return false;
        c->sent += (size_t)sent;
        r->out->bytes_out += (uint64_t)sent;
    }
    watch(r, c, false);
    return true;
}

/* ---- connections ---- */

static bool connect_to(struct run *r, struct connection *c)
{
    int one = 1;
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
    c->fd = socket(r->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    const struct sockaddr *address = (const struct sockaddr *)(const void *)&r->address;
    if (connect(c->fd, address, r->address_len) != 0) {
        close(c->fd);
        c->fd = -1;
        return false;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    http_shorten_loopback(c->fd, address);
    c->waits_for_write = false;
    return epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0;
}

static void retire(struct run *r, struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    r->active--;
}

static void next_request(struct run *r, struct connection *c)
{
    if (!wants_more(r)) {
        retire(r, c);
        return;
    }
    build(r, c);
    if (!send_some(r, c)) {
        r->out->errors++;
        retire(r, c);
    }
}

static void finish(struct run *r, struct connection *c)
{
    r->out->requests++;
    r->out->by_status[c->status % 600]++;
    if (c->status < 200 || c->status > 299)
        r->out->errors++;
    histogram_add(&r->out->latency, mono_ns() - c->started);
    if (c->close) {
        close(c->fd);
        if (!connect_to(r, c)) {
            r->active--;
            return;
        }
    }
    next_request(r, c);
}

static void lost(struct run *r, struct connection *c)
{
    r->out->errors++;
    r->out->by_status[0]++;
    close(c->fd);
    if (connect_to(r, c))
        next_request(r, c);
    else
        r->active--;
}

/* ---- replies ---- */

static const char *find_header(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);
    return at ? at + strlen(name) : NULL;
}

/* The head is whole: what follows it? */
static void read_head(struct connection *c, size_t head_bytes)
{
    const char *length, *connection;
    c->reply[head_bytes - 1] = '\0';
    c->status = (unsigned)strtoul(c->reply + 9, NULL, 10);
    length = find_header(c->reply, "\r\nContent-Length:");
    connection = find_header(c->reply, "\r\nConnection: close");
    c->close = connection != NULL;
    c->left = length ? strtoull(length, NULL, 10) : 0;
    if (c->op == BENCH_HEAD || c->status == 204 || c->status == 304)
        c->left = 0;
    size_t rest = c->reply_len - head_bytes;
    c->left -= rest < c->left ? rest : c->left;
    c->in_body = true;
}

static bool read_some(struct run *r, struct connection *c)
{
    uint8_t *to = c->in_body ? r->discard : (uint8_t *)c->reply + c->reply_len;
    size_t room = c->in_body ? READ_BYTES : sizeof(c->reply) - 1 - c->reply_len;
    ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n <= 0)
        return false;
    r->out->bytes_in += (uint64_t)n;
    if (c->in_body) {
        c->left -= (uint64_t)n < c->left ? (uint64_t)n : c->left;
    } else {
        c->reply_len += (size_t)n;
        c->reply[c->reply_len] = '\0';
        char *end = memmem(c->reply, c->reply_len, "\r\n\r\n", 4);
        if (!end)
            return c->reply_len + 1 < sizeof(c->reply);
        read_head(c, (size_t)(end - c->reply) + 4);
    }
    if (c->left == 0)
        finish(r, c);
    return true;
}

/* ---- the loop ---- */

static void show(struct run *r, uint64_t start, uint64_t *last, uint64_t *last_count)
{
    uint64_t now = mono_ns();
    if (!r->phase->progress || now - *last < 1000000000U)
        return;
    double rate = (double)(r->out->requests - *last_count) * 1e9 / (double)(now - *last);
    fprintf(stderr, "\r%4.0f s  %9.0f req/s  p50 %7.0f us  p99 %7.0f us  %" PRIu64 " errors ",
            (double)(now - start) / 1e9, rate,
            (double)histogram_quantile(&r->out->latency, 0.5) / 1e3,
            (double)histogram_quantile(&r->out->latency, 0.99) / 1e3, r->out->errors);
    *last = now;
    *last_count = r->out->requests;
}

static void loop(struct run *r)
{
    struct epoll_event events[64];
    uint64_t start = mono_ns(), last = start, last_count = 0;
    while (r->active) {
        int n = epoll_wait(r->epoll, events, 64, 1000);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            bool ok = true;
            if (events[i].events & EPOLLOUT)
                ok = send_some(r, c);
            if (ok && events[i].events & ~(uint32_t)EPOLLOUT)
                ok = read_some(r, c);
            if (!ok)
                lost(r, c);
        }
        show(r, start, &last, &last_count);
    }
    if (r->phase->progress)
        fprintf(stderr, "\n");
    r->out->elapsed_ns = mono_ns() - start;
}

static bool find_address(struct run *r)
{
    struct addrinfo wanted = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found;
    char port[8];
    snprintf(port, sizeof(port), "%u", r->o->port);
    int rc = getaddrinfo(r->o->host, port, &wanted, &found);
    if (rc != 0) {
        fprintf(stderr, "kist: bench: %s: %s\n", r->o->host, gai_strerror(rc));
        return false;
    }
    memcpy(&r->address, found->ai_addr, found->ai_addrlen);
    r->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

static bool prepare(struct run *r)
{
    const struct bench_options *o = r->o;
    r->random = malloc(RANDOM_BYTES + (size_t)o->size + 1);
    r->discard = malloc(READ_BYTES);
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!r->random || !r->discard || r->epoll < 0)
        return false;
    env_real()->random(env_real(), r->random, RANDOM_BYTES + (size_t)o->size);
    r->state = o->seed * 0x9E3779B97F4A7C15U + 1;
    sign_init(&r->signer, o);
    return find_address(r);
}

bool bench_run(const struct bench_phase *phase, struct bench_result *out)
{
    struct run r = { .phase = phase, .o = phase->options, .out = out };
    memset(out, 0, sizeof(*out));
    struct connection *all = calloc(phase->options->concurrency, sizeof(*all));
    bool ok = all && prepare(&r);
    r.deadline = phase->duration_ns ? mono_ns() + phase->duration_ns : 0;
    for (uint64_t i = 0; ok && i < phase->options->concurrency; i++)
        if (connect_to(&r, &all[i])) {
            r.active++;
            next_request(&r, &all[i]);
        }
    ok = ok && out->errors + r.active > 0;
    if (ok)
        loop(&r);
    sign_release(&r.signer);
    close(r.epoll);
    free(r.random);
    free(r.discard);
    free(all);
    return ok;
}

unsigned bench_once(const struct bench_options *o, const char *method, const char *path,
                    const char *query, char *body, size_t size)
{
    struct run r = { .o = o };
    struct bench_result out;
    struct connection *c = calloc(1, sizeof(*c));
    memset(&out, 0, sizeof(out));
    r.out = &out;
    unsigned status = 0;
    if (c && prepare(&r) && connect_to(&r, c)) {
        size_t len = sign_head(&r.signer, method, path, query, 0, c->head, sizeof(c->head));
        size_t got = 0;
        if (send(c->fd, c->head, len, MSG_NOSIGNAL) == (ssize_t)len) {
            ssize_t n;
            char *end = NULL;
            while (!end && (n = recv(c->fd, c->reply + got, sizeof(c->reply) - 1 - got, 0)) > 0) {
                got += (size_t)n;
                c->reply[got] = '\0';
                end = strstr(c->reply, "\r\n\r\n");
            }
            status = end ? (unsigned)strtoul(c->reply + 9, NULL, 10) : 0;
            if (end && body)
                snprintf(body, size, "%s", end + 4);
        }
        close(c->fd);
    }
    sign_release(&r.signer);
    close(r.epoll);
    free(r.random);
    free(r.discard);
    free(c);
    return status;
}
