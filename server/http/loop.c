/* MHD's life and its callbacks.
 *
 * MHD's calls for one request, and what they mean here:
 *
 *   line      the request line is parsed: an exchange is made, the raw target kept
 *   first     the header is whole: admit(). A reply now makes MHD close the connection, so
 *             a request without a body only passes; one with a body begins here, because a
 *             reply before the body suppresses 100 Continue
 *   piece     body bytes: to the sink
 *   final     the body is whole: requests without one begin here; replies are queued here
 *   completed the reply was sent or the connection lost
 *
 * A suspended connection gets the call again in which it was suspended.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "server/http/internal.h"

/* MHD clears the whole pool for every request, so that each idle connection that has made one
 * holds it all: 10,000 of them 330 MB, with 64 KiB 650 MB. 32 KiB is no slower on small GETs
 * (medians of noisy runs: 169,000 a second against 153,000 with 64 KiB) nor on uploads (3.0
 * against 2.4 GB/s on loopback). The largest target and header need 16 KiB. */
#define CONNECTION_MEMORY_BYTES ((size_t)32 << 10)

struct conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* What MHD is given as the peer's address, and shows again when it takes the connection up. */
struct given {
    sa_family_t family; /* AF_UNSPEC: no real address */
    uint64_t number;    /* of its loop */
    char peer[64];
};
_Static_assert(sizeof(struct given) <= sizeof(struct sockaddr_storage),
               "an address is no longer");

static struct loop *loop_of(struct http_server *server, struct MHD_Connection *mhd)
{
    const struct MHD_Daemon *daemon =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_DAEMON)->daemon;
    struct loop *loop = server->loops;
    while (loop->daemon != daemon)
        loop++;
    return loop;
}

static void count_gone(struct http_server *server, struct loop *loop, unsigned count)
{
    atomic_fetch_sub_explicit(&loop->connections, count, memory_order_relaxed);
    atomic_fetch_sub_explicit(&server->open, count, memory_order_relaxed);
}

/* Their connections are closed, and nobody else says so. */
static void tell_gone(struct adopted *list)
{
    while (list) {
        struct adopted *a = list;
        list = a->next;
        a->on_gone(a->tag);
        free(a);
    }
}

/* The loop takes up the connection with that number; those before it that it did not take up are
 * gone. The caller frees what it returns; NULL: it was not adopted. */
static struct adopted *take_up(struct http_server *server, struct loop *loop, uint64_t number)
{
    struct adopted *lost = NULL, **lost_end = &lost, *own = NULL;
    pthread_mutex_lock(&loop->lock);
    unsigned lost_count = (unsigned)(number - loop->taken - 1);
    loop->taken = number;
    while (loop->adopted && loop->adopted->number < number) {
        *lost_end = loop->adopted;
        loop->adopted = loop->adopted->next;
        lost_end = &(*lost_end)->next;
    }
    if (loop->adopted && loop->adopted->number == number) {
        own = loop->adopted;
        loop->adopted = own->next;
    }
    if (!loop->adopted)
        loop->adopted_end = &loop->adopted;
    pthread_mutex_unlock(&loop->lock);
    *lost_end = NULL;
    tell_gone(lost);
    if (lost_count)
        count_gone(server, loop, lost_count);
    return own;
}

static void on_connection_start(struct http_server *server, struct MHD_Connection *mhd,
                                void **context)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    struct given given; /* MHD's copy need not be aligned */
    memcpy(&given, MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
           sizeof(given));
    struct adopted *adopted = take_up(server, loop_of(server, mhd), given.number);
    atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->connections_active, 1, memory_order_relaxed);
    *context = conn;
    if (!conn) { /* its first request line finds no context and is refused */
        if (adopted)
            adopted->next = NULL;
        tell_gone(adopted);
        return;
    }
    conn->server = server;
    conn->mhd = mhd;
    conn->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    memcpy(conn->peer, given.peer, sizeof(conn->peer));
    if (adopted) {
        conn->tag = adopted->tag;
        conn->on_gone = adopted->on_gone;
        free(adopted);
    }
    deadlines_add(server->deadlines, conn);
    if (!server->tls)
        halfclose_add(server->halfclose, conn);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        on_connection_start(server, mhd, context);
        return;
    }
    struct conn *conn = *context;
    atomic_fetch_sub_explicit(&server->connections_active, 1, memory_order_relaxed);
    count_gone(server, loop_of(server, mhd), 1);
    if (!conn)
        return;
    deadlines_remove(server->deadlines, conn);
    if (!server->tls)
        halfclose_remove(server->halfclose, conn);
    /* MHD is about to close its descriptor; ours keeps the socket. */
    int unread = 0;
    bool linger = conn->linger || (ioctl(conn->fd, FIONREAD, &unread) == 0 && unread > 0);
    int fd = linger ? fcntl(conn->fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd >= 0)
        lingerer_take(server->lingerer, fd);
    tls_certs_unref(conn->certs);
    if (conn->on_gone)
        conn->on_gone(conn->tag);
    free(conn);
    *context = NULL;
}

/* The target as received. MHD would now parse the query's arguments into its pool, and
 * forget that it failed when they do not fit (the connection then spins for ever): the query
 * is cut off in its buffer, which is writable memory of this connection. */
static void *on_line(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    (void)cls;
    struct conn *conn = conn_of(mhd);
    struct exchange *x = conn ? exchange_new(conn, mhd) : NULL;
    char *line = (char *)(uintptr_t)uri;
    char *mark = line ? strchr(line, '?') : NULL;
    if (x)
        conn->exchange = x;
    if (x && line) {
        struct bytes target = bytes_str(line);
        x->line_target = line;
        x->target_too_long = target.len > HTTP_TARGET_MAX_BYTES;
        if (!x->target_too_long)
            x->request.target = arena_copy(&x->arena, target);
        conn_set_flag(conn, CONN_LINE_SEEN, true);
    }
    if (mark)
        mark[1] = 0;
    return x;
}

static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void)cls;
    (void)mhd;
    return strlen(text);
}

static void begin(struct exchange *x)
{
    struct http_server *server = x->server;
    exchange_set_stage(x, STAGE_BEGUN);
    x->begun = true;
    atomic_fetch_add_explicit(&server->requests, 1, memory_order_relaxed);
    server->handler.begin(server->handler.ctx, x);
}

/* The first call. Counting comes before the look at `stopping`, so that http_server_stop(),
 * which does it the other way round, never misses an exchange. */
static void start(struct exchange *x, const char *method, const char *version)
{
    struct http_server *server = x->server;
    const char *code = NULL, *message = NULL;
    x->counted = true;
    atomic_fetch_add(&server->active, 1);
    if (atomic_load(&server->stopping)) {
        exchange_set_stage(x, STAGE_CUT);
        return;
    }
    conn_set_phase(x->conn, CONN_BUSY);
    unsigned status = admit(x, method, version, &code, &message);
    if (status == 0) {
        if (x->has_body)
            begin(x);
        else
            exchange_set_stage(x, STAGE_ADMITTED);
        return;
    }
    atomic_fetch_add_explicit(&server->refused, 1, memory_order_relaxed);
    exchange_reply_bytes(x, status,
                         server->handler.refuse(server->handler.ctx, x, status, code, message));
}

/* Offers body bytes. Where the sink has taken all and waits, one byte is held back, because
 * MHD calls again after a resume only while it has bytes to offer. */
static void offer(struct exchange *x, const char *piece, size_t *left)
{
    struct bytes rest = bytes_of(piece, *left);
    rest = bytes_of(rest.ptr + x->held, rest.len - x->held);
    x->held = 0;
    while (rest.len > 0 && x->stage == STAGE_BODY && exchange_run(x) && x->stage == STAGE_BODY) {
        size_t taken = 0;
        x->sink.write(x, x->sink.ctx, rest, &taken);
        assert(taken <= rest.len);
        assert(taken == rest.len || x->stage != STAGE_BODY || x->parked ||
               atomic_load(&x->wait) == WAIT_WOKEN);
        rest = bytes_of(rest.ptr + taken, rest.len - taken);
        x->body_seen += taken;
        atomic_fetch_add_explicit(&x->server->bytes_in, taken, memory_order_relaxed);
    }
    if (exchange_run(x) || rest.len > 0) {
        *left = rest.len;
        return;
    }
    x->held = 1;
    *left = 1;
}

/* What the exchange's stage asks for, until it waits or MHD has its answer. */
static enum MHD_Result answer(struct exchange *x, bool mid_body, size_t *left)
{
    while (exchange_run(x)) {
        switch (x->stage) {
        case STAGE_CUT:
            return MHD_NO;
        case STAGE_SENDING:
            return MHD_YES;
        case STAGE_REPLIED:
            return mid_body ? reply_mid_body(x, left) : reply_queue(x);
        case STAGE_BODY:
            if (mid_body)
                return MHD_YES;
            if (!x->past_first) {
                x->past_first = true;
                conn_set_phase(x->conn, CONN_BODY);
                return MHD_YES;
            }
            exchange_set_stage(x, STAGE_FINISHED);
            conn_set_phase(x->conn, CONN_BUSY);
            x->sink.finish(x, x->sink.ctx);
            break;
        default:
            /* A handler that neither waits nor replies would hang its client. */
            assert(x->parked || atomic_load(&x->wait) == WAIT_WOKEN);
        }
    }
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *piece,
                                  size_t *left, void **context)
{
    struct exchange *x = *context;
    (void)cls;
    (void)mhd;
    (void)url;
    if (!x)
        return MHD_NO;
    halfclose_after_read(x->conn);
    if (x->stage == STAGE_NEW) {
        start(x, method, version);
        if (x->stage != STAGE_ADMITTED)
            return answer(x, false, left);
        x->past_first = true;
        return MHD_YES;
    }
    if (!exchange_run(x))
        return MHD_YES;
    if (x->stage == STAGE_ADMITTED)
        begin(x);
    bool mid_body = piece && *left > 0;
    if (mid_body)
        offer(x, piece, left);
    return answer(x, mid_body, left);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;
    (void)cls;
    (void)mhd;
    (void)code;
    if (!x)
        return;
    *context = NULL;
    x->conn->exchange = NULL;
    conn_set_phase(x->conn, CONN_AWAIT);
    halfclose_after_read(x->conn);
    exchange_end(x);
}

static struct MHD_Daemon *start_daemon(struct http_server *server)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
                     MHD_USE_NO_LISTEN_SOCKET;
    if (server->tls)
        flags |= MHD_USE_TLS;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, server, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        server, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_URI_LOG_CALLBACK,
        on_line, server, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, server,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        UINT32_MAX / 2, MHD_OPTION_CONNECTION_TIMEOUT, 0U,
        server->tls ? MHD_OPTION_HTTPS_CERT_CALLBACK2 : MHD_OPTION_END, tls_cert_callback(),
        MHD_OPTION_HTTPS_PRIORITIES, tls_priorities(), MHD_OPTION_END);
}

bool loops_start(struct http_server *server, unsigned count)
{
    server->loops = calloc(count, sizeof(*server->loops));
    if (!server->loops)
        return false;
    for (; server->loop_count < count; server->loop_count++) {
        struct loop *loop = &server->loops[server->loop_count];
        loop->daemon = start_daemon(server);
        if (!loop->daemon)
            return false;
        loop->adopted_end = &loop->adopted;
        pthread_mutex_init(&loop->lock, NULL);
    }
    return true;
}

void loops_stop(struct http_server *server)
{
    for (unsigned i = 0; i < server->loop_count; i++) {
        struct loop *loop = &server->loops[i];
        MHD_stop_daemon(loop->daemon);
        tell_gone(loop->adopted);
        pthread_mutex_destroy(&loop->lock);
    }
    free(server->loops);
}

/* The one with the fewest connections. Counted as they are given, not as the loop's thread takes
 * them up: a client opens several at once. */
static struct loop *pick_loop(struct http_server *server)
{
    struct loop *found = server->loops;
    for (unsigned i = 1; i < server->loop_count; i++)
        if (atomic_load_explicit(&server->loops[i].connections, memory_order_relaxed) <
            atomic_load_explicit(&found->connections, memory_order_relaxed))
            found = &server->loops[i];
    atomic_fetch_add_explicit(&found->connections, 1, memory_order_relaxed);
    return found;
}

/* Numbers are given in the order of MHD's queue. */
static bool add_connection(struct loop *loop, int fd, const char *peer, struct adopted *adopted)
{
    union {
        struct given given;
        struct sockaddr addr;
    } u = { .given = { .family = AF_UNSPEC } };
    memcpy(u.given.peer, peer, strnlen(peer, sizeof(u.given.peer) - 1));
    pthread_mutex_lock(&loop->lock);
    u.given.number = loop->given + 1;
    bool ok = MHD_add_connection(loop->daemon, fd, &u.addr, sizeof(u)) == MHD_YES;
    loop->given += ok;
    if (ok && adopted) {
        adopted->number = u.given.number;
        adopted->next = NULL;
        *loop->adopted_end = adopted;
        loop->adopted_end = &adopted->next;
    }
    pthread_mutex_unlock(&loop->lock);
    return ok;
}

bool loops_give(struct http_server *server, int fd, const char *peer, struct adopted *adopted)
{
    if (atomic_fetch_add_explicit(&server->open, 1, memory_order_relaxed) >=
        server->connections_max) {
        atomic_fetch_sub_explicit(&server->open, 1, memory_order_relaxed);
        close(fd);
        return false;
    }
    struct loop *loop = pick_loop(server);
    if (add_connection(loop, fd, peer, adopted))
        return true;
    count_gone(server, loop, 1);
    return false;
}
