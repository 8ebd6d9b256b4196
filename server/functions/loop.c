/* Loops: threads that wait for environments' connections, output and ends. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/functions/run.h"

#define EVENTS_MAX 64

struct fn_loop {
    int epoll;
    struct fn_watch wake;
    pthread_t thread;
    atomic_bool stopping;
    struct fn_conn *dead_conns;
    struct fn_env *dead_envs;
};

bool loop_watch(struct fn_loop *loop, struct fn_watch *watch, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = watch };
    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &e) == 0;
}

void loop_change(struct fn_loop *loop, struct fn_watch *watch, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = watch };
    (void)epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &e);
}

void loop_forget(struct fn_loop *loop, struct fn_watch *watch)
{
    if (watch->fd < 0)
        return;
    (void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fd = -1;
}

void loop_bury_conn(struct fn_loop *loop, struct fn_conn *c)
{
    c->dead_next = loop->dead_conns;
    loop->dead_conns = c;
}

void loop_bury_env(struct fn_loop *loop, struct fn_env *e)
{
    e->dead_next = loop->dead_envs;
    loop->dead_envs = e;
}

static void bury(struct fn_loop *loop)
{
    while (loop->dead_conns) {
        struct fn_conn *c = loop->dead_conns;
        loop->dead_conns = c->dead_next;
        buf_release(&c->out);
        buf_release(&c->body);
        free(c);
    }
    while (loop->dead_envs) {
        struct fn_env *e = loop->dead_envs;
        loop->dead_envs = e->dead_next;
        env_bury(e);
    }
}

static void conn_event(struct fn_conn *c, uint32_t events)
{
    bool sound = true;
    if (events & EPOLLOUT) {
        pthread_mutex_lock(&c->env->lock);
        sound = runtime_flush(c);
        bool sent = !c->polls_out;
        pthread_mutex_unlock(&c->env->lock);
        if (sound && sent)
            sound = !c->close_after && runtime_resume(c);
    }
    if (events & (EPOLLHUP | EPOLLERR)) { /* they come even when nothing is to be read now */
        pthread_mutex_lock(&c->env->lock);
        sound = sound && c->holds <= 0;
        pthread_mutex_unlock(&c->env->lock);
    }
    if (!sound)
        runtime_close(c);
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        runtime_readable(c);
}

static void dispatch(struct fn_watch *w, uint32_t events)
{
    if (w->fd < 0)
        return;
    switch (w->kind) {
    case WATCH_WAKE:
        break;
    case WATCH_LISTEN:
        runtime_accept(CONTAINER_OF(w, struct fn_env, listen));
        break;
    case WATCH_STORE:
        env_accept_store(CONTAINER_OF(w, struct fn_env, store));
        break;
    case WATCH_OUTPUT:
        env_output(CONTAINER_OF(w, struct fn_env, output), NULL);
        break;
    case WATCH_EXIT:
        env_exited(CONTAINER_OF(w, struct fn_env, exit));
        break;
    case WATCH_TIMER:
        env_timer(CONTAINER_OF(w, struct fn_env, timer));
        break;
    case WATCH_CONN:
        conn_event(CONTAINER_OF(w, struct fn_conn, watch), events);
        break;
    }
}

static void *loop_main(void *ctx)
{
    struct fn_loop *loop = ctx;
    struct epoll_event events[EVENTS_MAX];
    (void)pthread_setname_np(pthread_self(), "fn-loop");
    while (!atomic_load(&loop->stopping)) {
        int n = epoll_wait(loop->epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++)
            dispatch(events[i].data.ptr, events[i].events);
        bury(loop);
    }
    return NULL;
}

enum kist_err loop_open(struct fn_loop **out)
{
    struct fn_loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return KIST_E_NOMEM;
    loop->wake.kind = WATCH_WAKE;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll < 0 || loop->wake.fd < 0 || !loop_watch(loop, &loop->wake, EPOLLIN) ||
        pthread_create(&loop->thread, NULL, loop_main, loop) != 0) {
        if (loop->epoll >= 0)
            close(loop->epoll);
        if (loop->wake.fd >= 0)
            close(loop->wake.fd);
        free(loop);
        return KIST_E_IO;
    }
    *out = loop;
    return KIST_OK;
}

void loop_close(struct fn_loop *loop)
{
    uint64_t one = 1;
    if (!loop)
        return;
    atomic_store(&loop->stopping, true);
    while (write(loop->wake.fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
    pthread_join(loop->thread, NULL);
    bury(loop);
    close(loop->epoll);
    close(loop->wake.fd);
    free(loop);
}
