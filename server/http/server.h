/* A listening HTTP server: libmicrohttpd epoll loops, deadlines, TLS. */
#ifndef KIST_SERVER_HTTP_SERVER_H
#define KIST_SERVER_HTTP_SERVER_H

#include "server/http/exchange.h"

struct http_server;

struct http_config {
    const char *listen;        /* ADDR:PORT, [V6]:PORT; port 0 picks one; NULL: adopts only */
    unsigned loops;            /* epoll threads; 0: as many as cores */
    unsigned connections_max;  /* more are closed at once; 0: 10,000 */
    unsigned header_timeout_s; /* from the first byte to the whole header, default 20 */
    unsigned idle_timeout_s;   /* between requests, default 60 */
    unsigned body_timeout_s;   /* window in which a body must move body_rate_min, default 30 */
    unsigned body_rate_min;    /* bytes per second over that window, default 1024 */
    const char *tls_cert_file; /* PEM chain; NULL: plain HTTP */
    const char *tls_key_file;
};

/* On failure *reason (static or thread-local text) says why, in one line. */
enum kist_err http_server_start(const struct http_config *config,
                                const struct http_handler *handler, struct http_server **out,
                                const char **reason) MUST_CHECK;
/* "127.0.0.1:9000", with the real port. */
const char *http_server_address(const struct http_server *server);
/* A connection that somebody else accepted becomes one of this server's; its requests bear the
 * tag (never NULL) and peer as their client's address. fd is taken over, also on failure. The tag
 * must outlive the connection: the server says when that is over by on_gone(tag), once. */
enum kist_err http_server_adopt(struct http_server *server, int fd, void *tag, const char *peer,
                                void (*on_gone)(void *tag)) MUST_CHECK;
/* Loads the certificate files again; the old ones stay on failure. */
enum kist_err http_server_reload_tls(struct http_server *server) MUST_CHECK;
/* Stops accepting, lets running exchanges end for at most grace_ms, then closes. */
void http_server_stop(struct http_server *server, unsigned grace_ms);

/* A smaller send buffer where the peer is on this machine: for either end of a connection. */
struct sockaddr;
void http_shorten_loopback(int fd, const struct sockaddr *peer);

struct http_stats {
    uint64_t connections, connections_active, requests, refused, bytes_in, bytes_out;
};
void http_server_stats(const struct http_server *server, struct http_stats *out);

#endif
