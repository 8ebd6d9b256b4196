/* The listening socket. Made here, not by MHD, so that errors have their exact reason. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "server/http/internal.h"
#include "storage/base/cleanup.h"

#define LISTEN_BACKLOG 1024
/* Files, sockets, LMDB, lingering sockets beside the connections. */
#define OTHER_FILES 4096U

static _Thread_local char reason_text[256];

/* "ADDR:PORT", "[V6]:PORT"; an empty address or * means all. The parts are copied. */
static bool split_listen(const char *text, char *host, size_t host_size, char *port,
                         size_t port_size)
{
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    const char *start = text;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && start[0] == '[' && colon[-1] == ']') {
        start++;
        len -= 2;
    } else if (memchr(start, ':', len)) {
        return false;
    }
    if (len == 1 && *start == '*')
        len = 0;
    if (len >= host_size || strlen(colon + 1) >= port_size ||
        strtoul(colon + 1, NULL, 10) > 65535)
        return false;
    memcpy(host, start, len);
    host[len] = 0;
    snprintf(port, port_size, "%s", colon + 1);
    return true;
}

static int bind_one(const struct addrinfo *ai)
{
    CLEANUP_CLOSE int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    const int on = 1;
    if (fd < 0)
        return -1;
    /* Accepted sockets inherit TCP_NODELAY, tcp(7). */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        return -1;
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0)
        return -1;
    return TAKE_FD(fd);
}

static void address_text(int fd, char *out, size_t size)
{
    struct sockaddr_storage addr = { 0 };
    socklen_t len = sizeof(addr);
    char host[64] = "", port[8] = "";
    if (getsockname(fd, (struct sockaddr *)&addr, &len) == 0)
        getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, size, addr.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

enum kist_err listen_open(const char *listen_text, int *fd, char *address, size_t address_size,
                          const char **reason)
{
    char host[128], port[8];
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    *reason = reason_text;
    if (!split_listen(listen_text, host, sizeof(host), port, sizeof(port))) {
        snprintf(reason_text, sizeof(reason_text), "%s is not ADDRESS:PORT", listen_text);
        return KIST_E_INVALID;
    }
    int bad = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (bad) {
        snprintf(reason_text, sizeof(reason_text), "cannot listen on %s: %s", listen_text,
                 gai_strerror(bad));
        return KIST_E_INVALID;
    }
    int found = -1;
    for (const struct addrinfo *ai = list; ai && found < 0; ai = ai->ai_next)
        found = bind_one(ai);
    int why = errno;
    freeaddrinfo(list);
    if (found < 0) {
        char text[96];
        snprintf(reason_text, sizeof(reason_text), "cannot listen on %s: %s", listen_text,
                 why == EADDRINUSE ? "the address is in use by another process"
                                   : strerror_r(why, text, sizeof(text)));
        return KIST_E_IO;
    }
    address_text(found, address, address_size);
    *fd = found;
    return KIST_OK;
}

void peer_text(const struct sockaddr *addr, char *out, size_t size)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)addr;
    snprintf(out, size, "unknown");
    if (addr->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, out, (socklen_t)size);
    else if (addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &in6->sin6_addr, out, (socklen_t)size);
    else if (addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &in4->sin_addr, out, (socklen_t)size);
}

/* A window of 256 KiB is more than loopback's round trip asks for; and what is sent is still in
 * the processor's cache when it is read. Left alone, the kernel grows the buffer to megabytes: a
 * large GET then costs 0.45 s of processor time per GB, both sides together, instead of 0.27; of
 * a large PUT, the server's part is 95 ms for 64 MiB instead of 81. */
#define LOOPBACK_BUFFER_BYTES (256 << 10)

static bool is_loopback(const struct sockaddr *addr)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)addr;
    if (addr->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == 127);
    return addr->sa_family == AF_INET && ntohl(in4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

void http_shorten_loopback(int fd, const struct sockaddr *peer)
{
    const int bytes = LOOPBACK_BUFFER_BYTES;
    if (is_loopback(peer))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

void raise_file_limit(unsigned connections_max)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections_max + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
}
