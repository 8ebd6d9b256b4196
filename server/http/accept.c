/* Accepts connections, and gives each to the loop that has the fewest.
 *
 * Loops that accept for themselves take what they find: of a client's four connections all four
 * may be one loop's, and the other cores look on while it works. A thread of its own costs a
 * switch for each new connection.
 */
#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include "server/http/internal.h"

/* No descriptor or memory is free, and nobody tells when one will be. */
#define SHORTAGE_PAUSE_NS 10000000

static void *run(void *arg)
{
    struct http_server *server = arg;
    const struct timespec pause = { .tv_nsec = SHORTAGE_PAUSE_NS };
    while (!atomic_load(&server->stopping)) {
        struct sockaddr_storage addr = { 0 };
        struct sockaddr *peer = (struct sockaddr *)&addr;
        socklen_t len = sizeof(addr);
        char text[64];
        int fd = accept4(server->listen_fd, peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            peer_text(peer, text, sizeof(text));
            http_shorten_loopback(fd, peer);
            (void)loops_give(server, fd, text, NULL);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

enum kist_err acceptor_start(struct http_server *server)
{
    if (pthread_create(&server->acceptor, NULL, run, server) != 0)
        return KIST_E_NOMEM;
    pthread_setname_np(server->acceptor, "http-accept");
    return KIST_OK;
}

/* shutdown() of a listening socket ends the accept() that waits for it, and all later ones. */
void acceptor_stop(struct http_server *server)
{
    shutdown(server->listen_fd, SHUT_RDWR);
    pthread_join(server->acceptor, NULL);
}
