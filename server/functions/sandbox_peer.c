/* Who is at the other end of a connection of the machine's loopback: the user whose process made
 * that socket, as the kernel knows him. It is asked where a sandbox shares the machine's network,
 * so that anybody on the machine can connect to what is the sandbox's alone. */
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/functions/sandbox_internal.h"
#include "storage/base/cleanup.h"

/* sock_diag(7): asks for the one socket with these ends. */
enum kist_err sandbox_owner_by_diag(const struct sockaddr_in *its, const struct sockaddr_in *ours,
                                    uint32_t *uid)
{
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 body;
    } request = { .head = { .nlmsg_len = sizeof(request),
                            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                            .nlmsg_flags = NLM_F_REQUEST },
                  .body = {
                      .sdiag_family = AF_INET,
                      .sdiag_protocol = IPPROTO_TCP,
                      .idiag_states = ~0U,
                      .id = { .idiag_sport = its->sin_port,
                              .idiag_dport = ours->sin_port,
                              .idiag_src = { its->sin_addr.s_addr },
                              .idiag_dst = { ours->sin_addr.s_addr },
                              .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } } } };
    struct {
        struct nlmsghdr head;
        struct inet_diag_msg body;
        char more[1024]; /* attributes, which nobody wants */
    } answer;
    CLEANUP_CLOSE int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return KIST_E_UNSUPPORTED;
    if (send(fd, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
        return KIST_E_UNSUPPORTED;
    ssize_t len = recv(fd, &answer, sizeof(answer), 0);
    if (len < (ssize_t)(sizeof(answer.head) + sizeof(answer.body)) ||
        answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return KIST_E_NOT_FOUND;
    /* One that is not found may be answered with a listener on its port. */
    if (answer.body.id.idiag_sport != its->sin_port ||
        answer.body.id.idiag_dport != ours->sin_port || answer.body.idiag_state == TCP_LISTEN)
        return KIST_E_NOT_FOUND;
    *uid = answer.body.idiag_uid;
    return KIST_OK;
}

/* An address as /proc/net/tcp has it, or mapped as /proc/net/tcp6 has it. */
static bool is_address(const char *text, const struct sockaddr_in *address)
{
    static const char mapped[] = "0000000000000000FFFF0000";
    char hex[9];
    size_t len = strlen(text);
    snprintf(hex, sizeof(hex), "%08X", address->sin_addr.s_addr);
    if (len == 32 && strncmp(text, mapped, 24) == 0)
        text += 24;
    else if (len != 8)
        return false;
    return strcmp(text, hex) == 0;
}

/* proc_pid_net(5); walks all sockets of the machine. */
enum kist_err sandbox_owner_by_table(const struct sockaddr_in *its,
                                     const struct sockaddr_in *ours, uint32_t *uid)
{
    static const char *const tables[] = { "/proc/net/tcp", "/proc/net/tcp6" };
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        CLEANUP_FCLOSE FILE *f = fopen(tables[i], "re");
        char line[512], from[33], to[33];
        unsigned from_port, to_port, owner;
        while (f && fgets(line, sizeof(line), f))
            if (sscanf(line, " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %*x %*x:%*x %*x:%*x %*x %u",
                       from, &from_port, to, &to_port, &owner) == 5 &&
                from_port == ntohs(its->sin_port) && to_port == ntohs(ours->sin_port) &&
                is_address(from, its) && is_address(to, ours)) {
                *uid = owner;
                return KIST_OK;
            }
    }
    return KIST_E_NOT_FOUND;
}

bool sandbox_owns_peer(const struct sandbox *box, int fd)
{
    struct sockaddr_in its = { .sin_family = AF_UNSPEC }, ours = its;
    socklen_t its_len = sizeof(its), ours_len = sizeof(ours);
    uint32_t uid;
    if (sandbox_has_own_net(box))
        return true;
    if (getpeername(fd, (struct sockaddr *)&its, &its_len) != 0 || its.sin_family != AF_INET ||
        getsockname(fd, (struct sockaddr *)&ours, &ours_len) != 0)
        return false;
    enum kist_err err = sandbox_owner_by_diag(&its, &ours, &uid);
    if (err != KIST_OK) /* a kernel may lack the module, or know no such protocol */
        err = sandbox_owner_by_table(&its, &ours, &uid);
    return err == KIST_OK && uid == sandbox_uid(box);
}
