/* Lingering close.
 *
 * A socket closed with unread input sends a reset, and the reset makes the client's kernel
 * throw away the reply that it already had. So after an early reply the receiving side stays
 * open for a bounded time and amount, and what comes is dropped in the kernel.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/http/internal.h"
#include "storage/base/env.h"

#define LINGER_MAX_NS 2000000000U
#define LINGER_MAX_BYTES (32U << 20)
#define LINGER_MAX_SOCKETS 1024U

struct lingering {
    int fd;
    uint64_t due_ns;
    uint64_t seen_bytes;
    struct lingering *prev, *next;
};

struct lingerer {
    int epoll_fd, event_fd;
    pthread_t thread;
    pthread_mutex_t lock; /* the rest; all have the same patience, so the list is in order */
    struct lingering *head, *tail;
    size_t count;
    bool stopping;
};

static void drop(struct lingerer *l, struct lingering *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        l->head = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        l->tail = s->prev;
    l->count--;
    /* MHD may not have closed its descriptor yet, and until then closing ours alone would
     * leave the socket in the epoll set, with a dangling pointer. */
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    close(s->fd);
    free(s);
}

/* False when the socket is done with. */
static bool discard(struct lingering *s)
{
    for (;;) {
        /* tcp(7): MSG_TRUNC drops the bytes without copying them. */
        ssize_t n = recv(s->fd, NULL, 1U << 20, MSG_TRUNC | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        s->seen_bytes += (uint64_t)n;
        if (n == 0 || s->seen_bytes > LINGER_MAX_BYTES)
            return false;
    }
}

static int next_timeout_ms(struct lingerer *l)
{
    if (!l->head)
        return -1;
    uint64_t now = mono_ns();
    return l->head->due_ns <= now ? 0 : (int)((l->head->due_ns - now) / 1000000) + 1;
}

static void drop_overdue(struct lingerer *l)
{
    uint64_t now = mono_ns();
    while (l->head && (l->stopping || l->head->due_ns <= now))
        drop(l, l->head);
}

static void handle(struct lingerer *l, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct lingering *s = events[i].data.ptr;
        uint64_t ignored;
        if (!s) {
            ssize_t n = read(l->event_fd, &ignored, sizeof(ignored));
            (void)n;
        } else if (!discard(s)) {
            drop(l, s);
        }
    }
}

static void *run(void *arg)
{
    struct lingerer *l = arg;
    struct epoll_event events[64];
    pthread_mutex_lock(&l->lock);
    while (!l->stopping) {
        int timeout = next_timeout_ms(l);
        pthread_mutex_unlock(&l->lock);
        int n = epoll_wait(l->epoll_fd, events, ARRAY_LEN(events), timeout);
        pthread_mutex_lock(&l->lock);
        handle(l, events, n);
        drop_overdue(l);
    }
    drop_overdue(l);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static void nudge(struct lingerer *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->event_fd, &one, sizeof(one));
    (void)n;
}

static bool watch(struct lingerer *l, int fd, void *ptr)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = ptr };
    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void lingerer_take(struct lingerer *l, int fd)
{
    struct lingering *s = calloc(1, sizeof(*s));
    shutdown(fd, SHUT_WR);
    pthread_mutex_lock(&l->lock);
    if (!s || l->stopping || l->count >= LINGER_MAX_SOCKETS || !watch(l, fd, s)) {
        pthread_mutex_unlock(&l->lock);
        free(s);
        close(fd);
        return;
    }
    s->fd = fd;
    s->due_ns = mono_ns() + LINGER_MAX_NS;
    s->prev = l->tail;
    if (l->tail)
        l->tail->next = s;
    else
        l->head = s;
    l->tail = s;
    l->count++;
    pthread_mutex_unlock(&l->lock);
    nudge(l);
}

static void close_fds(struct lingerer *l)
{
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    if (l->event_fd >= 0)
        close(l->event_fd);
}

enum kist_err lingerer_open(struct lingerer **out)
{
    struct lingerer *l = calloc(1, sizeof(*l));
    if (!l)
        return KIST_E_NOMEM;
    pthread_mutex_init(&l->lock, NULL);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll_fd < 0 || l->event_fd < 0 || !watch(l, l->event_fd, NULL) ||
        pthread_create(&l->thread, NULL, run, l) != 0) {
        close_fds(l);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return KIST_E_IO;
    }
    pthread_setname_np(l->thread, "http-linger");
    *out = l;
    return KIST_OK;
}

void lingerer_close(struct lingerer *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_mutex_unlock(&l->lock);
    nudge(l);
    pthread_join(l->thread, NULL);
    close_fds(l);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
