/* A server's life.
 *
 * Stopping. No thread may be inside a daemon of MHD's and no connection may be suspended when
 * MHD_stop_daemon() is called. So: accept no more; close connections between requests; wait for
 * running exchanges; cut what is left and wait again, now without limit, because every
 * exchange that waits has a wake on its way; pass the lock that wakers hold.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "server/http/internal.h"
#include "storage/base/codec.h"
#include "storage/base/env.h"

#define CONNECTIONS_DEFAULT 10000U

static void make_identity(struct http_server *server)
{
    struct env *env = env_real();
    uint8_t host[56]; /* as long as AWS's */
    env->random(env, &server->id_seed, sizeof(server->id_seed));
    env->random(env, host, sizeof(host));
    base64_encode(bytes_of(host, sizeof(host)), server->host_id);
}

static void init_locks(struct http_server *server)
{
    mono_cond_init(&server->drained);
    pthread_mutex_init(&server->drain_lock, NULL);
    pthread_rwlock_init(&server->wakers, NULL);
}

static void server_free(struct http_server *server)
{
    loops_stop(server);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    deadlines_close(server->deadlines);
    halfclose_close(server->halfclose);
    lingerer_close(server->lingerer);
    tls_store_close(server->tls_store);
    pthread_rwlock_destroy(&server->wakers);
    pthread_mutex_destroy(&server->drain_lock);
    pthread_cond_destroy(&server->drained);
    free(server);
}

static enum kist_err open_parts(struct http_server *server, const struct http_config *config,
                                const char **reason)
{
    unsigned loops = config->loops ? config->loops : (unsigned)get_nprocs();
    if (server->tls)
        TRY(tls_store_open(config->tls_cert_file,
                           config->tls_key_file ? config->tls_key_file : config->tls_cert_file,
                           &server->tls_store, reason));
    if (config->listen)
        TRY(listen_open(config->listen, &server->listen_fd, server->address,
                        sizeof(server->address), reason));
    *reason = "cannot start the HTTP server's threads";
    TRY(deadlines_open(config, &server->deadlines));
    TRY(halfclose_open(&server->halfclose));
    TRY(lingerer_open(&server->lingerer));
    if (!loops_start(server, loops))
        return KIST_E_IO;
    return config->listen ? acceptor_start(server) : KIST_OK;
}

enum kist_err http_server_start(const struct http_config *config,
                                const struct http_handler *handler, struct http_server **out,
                                const char **reason)
{
    struct http_server *server = calloc(1, sizeof(*server));
    const char *why = "out of memory";
    if (!server) {
        *reason = why;
        return KIST_E_NOMEM;
    }
    server->handler = *handler;
    server->listen_fd = -1;
    server->tls = config->tls_cert_file != NULL;
    server->connections_max =
        config->connections_max ? config->connections_max : CONNECTIONS_DEFAULT;
    init_locks(server);
    make_identity(server);
    raise_file_limit(server->connections_max);
    enum kist_err err = open_parts(server, config, &why);
    if (err != KIST_OK) {
        server_free(server);
        *reason = why;
        return err;
    }
    *out = server;
    return KIST_OK;
}

const char *http_server_address(const struct http_server *server)
{
    return server->address;
}

enum kist_err http_server_adopt(struct http_server *server, int fd, void *tag, const char *peer,
                                void (*on_gone)(void *tag))
{
    struct adopted *adopted = calloc(1, sizeof(*adopted));
    if (!adopted) {
        close(fd);
        on_gone(tag);
        return KIST_E_NOMEM;
    }
    adopted->tag = tag;
    adopted->on_gone = on_gone;
    /* Taken like a waker's lock, so that the loops are there for as long as this thread is in
     * one.
     */
    pthread_rwlock_rdlock(&server->wakers);
    bool stopping = atomic_load(&server->stopping);
    bool ok = !stopping && loops_give(server, fd, peer, adopted);
    pthread_rwlock_unlock(&server->wakers);
    if (stopping)
        close(fd); /* otherwise it is closed */
    if (!ok) {
        free(adopted);
        on_gone(tag);
    }
    return ok ? KIST_OK : KIST_E_SHUTDOWN;
}

enum kist_err http_server_reload_tls(struct http_server *server)
{
    return server->tls_store ? tls_store_reload(server->tls_store) : KIST_OK;
}

/* Until no exchange runs, or until the time, if any. */
static void wait_drained(struct http_server *server, const struct timespec *until)
{
    int timed_out = 0;
    pthread_mutex_lock(&server->drain_lock);
    while (atomic_load(&server->active) > 0 && !timed_out) {
        if (until)
            timed_out = pthread_cond_timedwait(&server->drained, &server->drain_lock, until);
        else
            pthread_cond_wait(&server->drained, &server->drain_lock);
    }
    pthread_mutex_unlock(&server->drain_lock);
}

void http_server_stop(struct http_server *server, unsigned grace_ms)
{
    uint64_t end_ns = mono_ns() + (uint64_t)grace_ms * 1000000;
    struct timespec until = { .tv_sec = (time_t)(end_ns / 1000000000),
                              .tv_nsec = (long)(end_ns % 1000000000) };
    atomic_store(&server->stopping, true);
    if (server->listen_fd >= 0)
        acceptor_stop(server);
    deadlines_shut(server->deadlines, true);
    wait_drained(server, &until);
    deadlines_shut(server->deadlines, false);
    wait_drained(server, NULL);
    pthread_rwlock_wrlock(&server->wakers);
    pthread_rwlock_unlock(&server->wakers);
    server_free(server);
}

void http_server_stats(const struct http_server *server, struct http_stats *out)
{
    out->connections = atomic_load_explicit(&server->connections, memory_order_relaxed);
    out->connections_active =
        atomic_load_explicit(&server->connections_active, memory_order_relaxed);
    out->requests = atomic_load_explicit(&server->requests, memory_order_relaxed);
    out->refused = atomic_load_explicit(&server->refused, memory_order_relaxed);
    out->bytes_in = atomic_load_explicit(&server->bytes_in, memory_order_relaxed);
    out->bytes_out = atomic_load_explicit(&server->bytes_out, memory_order_relaxed);
}
