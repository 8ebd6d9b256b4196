/* Half-closed connections: the client has sent its last byte, says so (FIN), and still reads.
 *
 * MHD's epoll is edge-triggered, and a read that does not fill the buffer means to it that the
 * socket is empty. When a request and the FIN behind it make one edge, that edge is used up by
 * the request: MHD never learns of the end, and the connection lasts until a deadline cuts it.
 *
 * So every connection is also watched here for its peer's end, and MHD gets another edge: on a
 * socket whose peer has ended, shutdown(SHUT_RD) changes nothing (what came before the end can
 * still be read), but the kernel wakes whoever polls it. This edge too may meet one that MHD has
 * not yet looked at, and be lost in it; hence the mark, upon which the loop makes an edge of its
 * own whenever MHD has read from such a connection.
 *
 * A look at the socket after every reply would do without a thread, but is a system call for
 * each request. The watch costs one for each connection's start and end. Most clients close when
 * they are done, MHD sees that by itself, and a moment's patience here finds nothing left to do.
 *
 * TLS needs none of this: there MHD reads until the socket has nothing more.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/http/internal.h"

#define PATIENCE_NS 10000000

struct halfclose {
    int epoll_fd, event_fd;
    pthread_t thread;
    pthread_mutex_t lock; /* held while events are taken and used: their connections live */
    bool stopping;
};

static void poke(const struct conn *conn)
{
    shutdown(conn->fd, SHUT_RD);
}

static void poke_ended(struct halfclose *h)
{
    struct epoll_event events[64];
    int n = epoll_wait(h->epoll_fd, events, ARRAY_LEN(events), 0);
    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;
        if (!conn)
            continue; /* stopping */
        atomic_store_explicit(&conn->half_closed, true, memory_order_relaxed);
        poke(conn);
    }
}

static void *run(void *arg)
{
    struct halfclose *h = arg;
    struct pollfd ended = { .fd = h->epoll_fd, .events = POLLIN };
    const struct timespec patience = { .tv_nsec = PATIENCE_NS };
    bool stopping = false;
    while (!stopping) {
        poll(&ended, 1, -1);
        nanosleep(&patience, NULL);
        pthread_mutex_lock(&h->lock);
        poke_ended(h);
        stopping = h->stopping;
        pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

/* One event for each connection: a poke is one, too. */
static bool watch(struct halfclose *h, int fd, uint32_t events, void *ptr)
{
    struct epoll_event event = { .events = events | EPOLLONESHOT, .data.ptr = ptr };
    return epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void halfclose_add(struct halfclose *h, struct conn *conn)
{
    /* Where the kernel has no memory for it, the deadlines still hold. */
    (void)watch(h, conn->fd, EPOLLRDHUP, conn);
}

void halfclose_remove(struct halfclose *h, struct conn *conn)
{
    pthread_mutex_lock(&h->lock);
    epoll_ctl(h->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    pthread_mutex_unlock(&h->lock);
}

/* When the mark is not yet seen here, then the poke that follows the mark comes later than what
 * MHD has read, and is enough. */
void halfclose_after_read(struct conn *conn)
{
    if (atomic_load_explicit(&conn->half_closed, memory_order_relaxed))
        poke(conn);
}

static void close_fds(struct halfclose *h)
{
    if (h->epoll_fd >= 0)
        close(h->epoll_fd);
    if (h->event_fd >= 0)
        close(h->event_fd);
}

enum kist_err halfclose_open(struct halfclose **out)
{
    struct halfclose *h = calloc(1, sizeof(*h));
    if (!h)
        return KIST_E_NOMEM;
    pthread_mutex_init(&h->lock, NULL);
    h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    h->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->epoll_fd < 0 || h->event_fd < 0 || !watch(h, h->event_fd, EPOLLIN, NULL) ||
        pthread_create(&h->thread, NULL, run, h) != 0) {
        close_fds(h);
        pthread_mutex_destroy(&h->lock);
        free(h);
        return KIST_E_IO;
    }
    pthread_setname_np(h->thread, "http-halfclose");
    *out = h;
    return KIST_OK;
}

void halfclose_close(struct halfclose *h)
{
    uint64_t one = 1;
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_mutex_unlock(&h->lock);
    ssize_t n = write(h->event_fd, &one, sizeof(one));
    (void)n;
    pthread_join(h->thread, NULL);
    close_fds(h);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
