/* Deadlines. MHD's own timeout counts inactivity only, so that a byte a second lives for ever.
 *
 * Every connection is looked at once per period, by one thread, from a list in order of time
 * (all have the same period, so appending keeps the order). What the client has really sent
 * and read comes from TCP_INFO: the loops keep no clocks, they only publish the phase.
 *
 *   AWAIT  no byte yet: idle_timeout; bytes seen: header_timeout for the whole header
 *   BODY   at least body_rate_min bytes a second over each window of body_timeout
 *   REPLY  the same for what the client has acknowledged
 *   BUSY, or suspended by us: no clock runs
 *
 * A connection is cut by shutdown(2); MHD then sees its end and calls back as always. The
 * socket cannot have been reused: deadlines_remove() comes before MHD closes it.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "server/http/internal.h"
#include "storage/base/env.h"

#define SECOND_NS 1000000000U
#define PERIOD_MIN_NS (SECOND_NS / 10)
#define PERIOD_MAX_NS (5 * (uint64_t)SECOND_NS)

struct deadlines {
    uint64_t period_ns, header_ns, idle_ns, body_ns;
    uint64_t window_bytes;
    pthread_t thread;
    pthread_mutex_t lock; /* the rest */
    pthread_cond_t changed;
    struct conn *head, *tail;
    bool stopping;
};

/* The loop thread is the only writer of conn.state. */
void conn_set_phase(struct conn *conn, enum conn_phase phase)
{
    unsigned old = atomic_load_explicit(&conn->state, memory_order_relaxed);
    unsigned epoch = (old & ~(CONN_EPOCH_ONE - 1)) + CONN_EPOCH_ONE;
    atomic_store_explicit(&conn->state, epoch | (unsigned)phase, memory_order_relaxed);
}

void conn_set_flag(struct conn *conn, unsigned flag, bool on)
{
    unsigned old = atomic_load_explicit(&conn->state, memory_order_relaxed);
    atomic_store_explicit(&conn->state, on ? old | flag : old & ~flag, memory_order_relaxed);
}

static void unlink_conn(struct deadlines *d, struct conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        d->head = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        d->tail = c->prev;
    c->prev = c->next = NULL;
}

static void append_conn(struct deadlines *d, struct conn *c, uint64_t now)
{
    c->due_ns = now + d->period_ns;
    c->prev = d->tail;
    if (d->tail)
        d->tail->next = c;
    else
        d->head = c;
    d->tail = c;
}

/* What the peer has done so far: bytes it sent, or bytes of ours that it acknowledged. */
static uint64_t progress_of(const struct conn *c, unsigned phase)
{
    struct tcp_info info = { 0 };
    socklen_t len = sizeof(info);
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
        return 0;
    return phase == CONN_REPLY ? info.tcpi_bytes_acked : info.tcpi_bytes_received;
}

static void mark(struct conn *c, uint64_t now, uint64_t bytes)
{
    c->mark_ns = now;
    c->mark_bytes = bytes;
}

static bool is_header_late(const struct deadlines *d, struct conn *c, unsigned state,
                           uint64_t now)
{
    uint64_t elapsed = now - c->mark_ns;
    if (!c->header_begun &&
        ((state & CONN_LINE_SEEN) || progress_of(c, CONN_AWAIT) != c->mark_bytes)) {
        /* It began after the last look: count from there, the client's favour is a period. */
        c->header_begun = true;
        mark(c, now, 0);
        elapsed = 0;
    }
    return elapsed >= (c->header_begun ? d->header_ns : d->idle_ns);
}

static bool is_body_late(const struct deadlines *d, struct conn *c, unsigned phase, uint64_t now)
{
    if (now - c->mark_ns < d->body_ns)
        return false;
    uint64_t bytes = progress_of(c, phase);
    if (bytes - c->mark_bytes < d->window_bytes)
        return true;
    mark(c, now, bytes);
    return false;
}

static bool is_late(const struct deadlines *d, struct conn *c, uint64_t now)
{
    unsigned state = atomic_load_explicit(&c->state, memory_order_relaxed);
    unsigned phase = state & CONN_PHASE_MASK;
    unsigned changed = (state ^ c->mark_state) & ~(CONN_WAITING | CONN_LINE_SEEN);
    uint64_t since_look = now - c->looked_ns;
    c->looked_ns = now;
    c->mark_state = state;
    if (changed) {
        mark(c, now, phase == CONN_BUSY ? 0 : progress_of(c, phase));
        c->header_begun = false;
        return false;
    }
    if (state & CONN_WAITING)
        c->mark_ns += since_look;
    if (phase == CONN_BUSY || (state & CONN_WAITING))
        return false;
    return phase == CONN_AWAIT ? is_header_late(d, c, state, now)
                               : is_body_late(d, c, phase, now);
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){ .tv_sec = (time_t)(ns / SECOND_NS),
                              .tv_nsec = (long)(ns % SECOND_NS) };
}

/* The lock is let go after each one, so that loops never wait for a long round. */
static void look_at_due(struct deadlines *d)
{
    uint64_t now = mono_ns();
    while (d->head && d->head->due_ns <= now && !d->stopping) {
        struct conn *c = d->head;
        unlink_conn(d, c);
        append_conn(d, c, now);
        if (is_late(d, c, now))
            shutdown(c->fd, SHUT_RDWR);
        pthread_mutex_unlock(&d->lock);
        pthread_mutex_lock(&d->lock);
    }
}

static void *run(void *arg)
{
    struct deadlines *d = arg;
    pthread_mutex_lock(&d->lock);
    while (!d->stopping) {
        if (!d->head) {
            pthread_cond_wait(&d->changed, &d->lock);
            continue;
        }
        /* Rounds of a fraction of the period, not one wake-up for each connection. */
        struct timespec until = timespec_of(d->head->due_ns + d->period_ns / 8);
        pthread_cond_timedwait(&d->changed, &d->lock, &until);
        look_at_due(d);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t seconds(unsigned s, unsigned otherwise)
{
    return (uint64_t)(s ? s : otherwise) * SECOND_NS;
}

static void configure(struct deadlines *d, const struct http_config *config)
{
    unsigned rate = config->body_rate_min ? config->body_rate_min : 1024;
    d->header_ns = seconds(config->header_timeout_s, 20);
    d->idle_ns = seconds(config->idle_timeout_s, 60);
    d->body_ns = seconds(config->body_timeout_s, 30);
    d->window_bytes = d->body_ns / SECOND_NS * rate;
    d->period_ns = smaller(smaller(d->header_ns, d->idle_ns), d->body_ns) / 5;
    if (d->period_ns < PERIOD_MIN_NS)
        d->period_ns = PERIOD_MIN_NS;
    d->period_ns = smaller(d->period_ns, PERIOD_MAX_NS);
}

enum kist_err deadlines_open(const struct http_config *config, struct deadlines **out)
{
    struct deadlines *d = calloc(1, sizeof(*d));
    if (!d)
        return KIST_E_NOMEM;
    configure(d, config);
    pthread_mutex_init(&d->lock, NULL);
    mono_cond_init(&d->changed);
    if (pthread_create(&d->thread, NULL, run, d) != 0) {
        pthread_cond_destroy(&d->changed);
        pthread_mutex_destroy(&d->lock);
        free(d);
        return KIST_E_NOMEM;
    }
    pthread_setname_np(d->thread, "http-deadline");
    *out = d;
    return KIST_OK;
}

void deadlines_close(struct deadlines *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void deadlines_add(struct deadlines *d, struct conn *conn)
{
    uint64_t now = mono_ns();
    pthread_mutex_lock(&d->lock);
    bool first = !d->head;
    conn->looked_ns = now;
    conn->mark_state = atomic_load_explicit(&conn->state, memory_order_relaxed);
    mark(conn, now, 0);
    append_conn(d, conn, now);
    if (first)
        pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void deadlines_remove(struct deadlines *d, struct conn *conn)
{
    pthread_mutex_lock(&d->lock);
    unlink_conn(d, conn);
    pthread_mutex_unlock(&d->lock);
}

void deadlines_shut(struct deadlines *d, bool only_idle)
{
    pthread_mutex_lock(&d->lock);
    for (struct conn *c = d->head; c; c = c->next) {
        unsigned state = atomic_load_explicit(&c->state, memory_order_relaxed);
        if (!only_idle || (state & CONN_PHASE_MASK) == CONN_AWAIT)
            shutdown(c->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&d->lock);
}
