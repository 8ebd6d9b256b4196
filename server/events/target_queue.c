/* A broker's own thread: while a batch waits for the broker's word, the next gathers.
 *
 * The thread is there while there is work and for a while after, with its connection; a broker
 * that has nothing to do costs neither. Only what the broker has acknowledged is delivered.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "server/events/target_internal.h"
#include "storage/base/cleanup.h"

#define BATCH_MAX 256
#define IDLE_S 20
#define SLICE_MS 250

/* ---- waiting ---- */

enum kist_err target_wait(const struct target_link *link, int fd, short events,
                          uint64_t deadline_ns)
{
    struct pollfd fds[2] = { { .fd = link->targets->stop_fd, .events = POLLIN },
                             { .fd = fd, .events = events } };
    for (;;) {
        uint64_t now = mono_ns();
        if (now >= deadline_ns)
            return KIST_E_BUSY;
        struct timespec left = { .tv_sec = (time_t)((deadline_ns - now) / 1000000000),
                                 .tv_nsec = (long)((deadline_ns - now) % 1000000000) };
        int n = ppoll(fds, 2, &left, NULL);
        if (n < 0 && errno != EINTR)
            return KIST_E_IO;
        if (n > 0 && fds[0].revents)
            return KIST_E_SHUTDOWN;
        if (n > 0 && fds[1].revents)
            return KIST_OK;
    }
}

unsigned target_slice_ms(const struct target_link *link, uint64_t deadline_ns)
{
    uint64_t now = mono_ns();
    if (now >= deadline_ns || atomic_load(&link->targets->stopped))
        return 0;
    uint64_t left_ms = (deadline_ns - now) / 1000000 + 1;
    return left_ms < SLICE_MS ? (unsigned)left_ms : SLICE_MS;
}

uint64_t target_deadline(const struct target_link *link)
{
    return mono_ns() + (uint64_t)target_timeout_ms(link->target) * 1000000;
}

struct target_message *target_find(struct target_message *list, struct target_message **at,
                                   uint64_t tag)
{
    for (struct target_message *m = *at; m; m = m->next)
        if (m->tag == tag)
            return *at = m;
    for (struct target_message *m = list; m && m != *at; m = m->next)
        if (m->tag == tag)
            return *at = m;
    return NULL;
}

/* ---- connecting ---- */

static enum event_outcome resolve(const struct target_link *link, unsigned default_port,
                                  struct addrinfo **out, char why[TARGET_WHY_MAX])
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    char port[8];
    snprintf(port, sizeof(port), "%u", (link->url.port ? link->url.port : default_port) & 0xffff);
    int rc = getaddrinfo(link->url.host, port, &hints, out);
    if (rc == 0)
        return EVENT_DELIVERED;
    snprintf(why, TARGET_WHY_MAX, "%.100s: %s", link->url.host, gai_strerror(rc));
    return EVENT_ABSENT;
}

static bool is_allowed(const struct target_link *link, const struct addrinfo *ai,
                       char why[TARGET_WHY_MAX])
{
    bool ok =
        target_guard_allows(&link->targets->guard, ai->ai_addr, link->target->private_network);
    if (!ok)
        snprintf(why, TARGET_WHY_MAX,
                 "the target's address is not allowed: it is private, or this node's");
    return ok;
}

bool target_bound_writes(const struct target_link *link, int fd)
{
    unsigned stuck_ms = target_timeout_ms(link->target);
    return setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stuck_ms, sizeof(stuck_ms)) == 0;
}

static int dial_one(const struct target_link *link, const struct addrinfo *ai,
                    uint64_t deadline_ns, char why[TARGET_WHY_MAX])
{
    int error = 0;
    socklen_t len = sizeof(error);
    CLEANUP_CLOSE int fd =
        socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
    if (fd < 0 || (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0 && errno != EINPROGRESS))
        error = errno;
    else if (target_wait(link, fd, POLLOUT, deadline_ns) != KIST_OK)
        error = ETIMEDOUT;
    else
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error == 0 && target_bound_writes(link, fd))
        return TAKE_FD(fd);
    char text[100];
    snprintf(why, TARGET_WHY_MAX, "connecting: %s", strerror_r(error, text, sizeof(text)));
    return -1;
}

enum event_outcome target_dial(const struct target_link *link, unsigned default_port, int *fd,
                               char why[TARGET_WHY_MAX])
{
    struct addrinfo *list = NULL;
    uint64_t deadline = mono_ns() + (uint64_t)TARGET_CONNECT_MS * 1000000;
    enum event_outcome outcome = resolve(link, default_port, &list, why);
    if (outcome != EVENT_DELIVERED)
        return outcome;
    outcome = EVENT_REFUSED;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        if (!is_allowed(link, ai, why))
            continue;
        outcome = EVENT_ABSENT;
        int made = dial_one(link, ai, deadline, why);
        if (made < 0)
            continue;
        *fd = made;
        outcome = EVENT_DELIVERED;
        break;
    }
    freeaddrinfo(list);
    return outcome;
}

enum event_outcome target_resolve(const struct target_link *link, unsigned default_port,
                                  char ip[64], char why[TARGET_WHY_MAX])
{
    struct addrinfo *list = NULL;
    enum event_outcome outcome = resolve(link, default_port, &list, why);
    if (outcome != EVENT_DELIVERED)
        return outcome;
    for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
        if (!is_allowed(link, ai, why))
            outcome = EVENT_REFUSED;
    if (outcome == EVENT_DELIVERED && list &&
        getnameinfo(list->ai_addr, list->ai_addrlen, ip, 64, NULL, 0, NI_NUMERICHOST) != 0)
        outcome = EVENT_ABSENT;
    freeaddrinfo(list);
    return outcome;
}

/* ---- the thread ---- */

static void end_all(struct target_message *list)
{
    while (list) {
        struct target_message *m = list;
        list = m->next;
        target_message_end(m);
    }
}

static void judge_all(struct target_message *list, enum event_outcome outcome, const char *why)
{
    for (struct target_message *m = list; m; m = m->next)
        target_message_set(m, outcome, "%s", why);
}

/* Up to BATCH_MAX of what waits; NULL: nothing came for a while, or nothing will, and the thread
 * is not running any more as far as others know. */
static struct target_message *take_batch(struct target_link *link)
{
    struct target_message *list = NULL, **last = &list;
    struct timespec until;
    int rc = 0;
    mono_after((int64_t)IDLE_S * 1000, &until);
    pthread_mutex_lock(&link->lock);
    while (!link->first && !link->retired && rc == 0)
        rc = pthread_cond_timedwait(&link->wake, &link->lock, &until);
    for (size_t i = 0; i < BATCH_MAX && link->first; i++) {
        *last = link->first;
        link->first = link->first->next;
        last = &(*last)->next;
    }
    *last = NULL;
    if (!link->first)
        link->last = &link->first;
    if (!list)
        link->running = false;
    pthread_mutex_unlock(&link->lock);
    return list;
}

/* Those that are still to be sent stay in the list; the others have ended. */
static struct target_message *keep_absent(struct target_message *list)
{
    struct target_message *kept = NULL, **last = &kept;
    while (list) {
        struct target_message *m = list;
        list = m->next;
        if (m->outcome == EVENT_ABSENT) {
            *last = m;
            last = &m->next;
        } else {
            target_message_end(m);
        }
    }
    *last = NULL;
    return kept;
}

/* A connection that was there may be dead without having said so: then a new one is tried. */
static void send_batch(struct target_link *link, void **conn, struct target_message *list)
{
    const struct target_driver *d = link->driver;
    char why[TARGET_WHY_MAX] = "";
    bool fresh = false;
    while (list && !fresh) {
        fresh = !*conn;
        enum event_outcome opened = EVENT_DELIVERED;
        if (atomic_load(&link->targets->stopped)) {
            opened = EVENT_ABSENT;
            snprintf(why, sizeof(why), "kist was stopped");
        } else if (fresh) {
            opened = d->open(link, conn, why);
        }
        if (opened != EVENT_DELIVERED) {
            judge_all(list, opened, why);
            break;
        }
        judge_all(list, EVENT_ABSENT, "the connection was lost");
        if (d->send(link, *conn, list))
            break;
        d->close(*conn);
        *conn = NULL;
        list = fresh ? list : keep_absent(list);
    }
    end_all(list);
}

static void *queue_main(void *arg)
{
    struct target_link *link = arg;
    struct targets *t = link->targets;
    struct target_message *list = NULL;
    void *conn = NULL;
    while ((list = take_batch(link)))
        send_batch(link, &conn, list);
    if (conn)
        link->driver->close(conn);
    target_link_unref(link);
    pthread_mutex_lock(&t->lock);
    if (--t->threads == 0)
        pthread_cond_broadcast(&t->quiet);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Under the link's lock. */
static bool start_thread(struct target_link *link)
{
    struct targets *t = link->targets;
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_mutex_lock(&t->lock);
    t->threads++;
    pthread_mutex_unlock(&t->lock);
    target_link_ref(link);
    bool ok = pthread_create(&thread, &attr, queue_main, link) == 0;
    pthread_attr_destroy(&attr);
    if (ok) {
        link->running = true;
        return true;
    }
    atomic_fetch_sub(&link->references, 1); /* the caller has one */
    pthread_mutex_lock(&t->lock);
    t->threads--;
    pthread_mutex_unlock(&t->lock);
    return false;
}

void target_queue_push(struct target_link *link, struct target_message *m)
{
    pthread_mutex_lock(&link->lock);
    bool ok = link->running || start_thread(link);
    if (ok) {
        m->next = NULL;
        *link->last = m;
        link->last = &m->next;
        pthread_cond_signal(&link->wake);
    }
    pthread_mutex_unlock(&link->lock);
    if (ok)
        return;
    target_message_set(m, EVENT_THROTTLED, "no thread can be started");
    target_message_end(m);
}

void target_queue_retire(struct target_link *link)
{
    pthread_mutex_lock(&link->lock);
    link->retired = true;
    pthread_cond_signal(&link->wake);
    pthread_mutex_unlock(&link->lock);
}
