/* Where targets' connections may go. Whoever may set up a target can make this machine connect;
 * so addresses that only this machine's network reaches are for targets that were allowed them,
 * and the admin page is for nobody. The check is made on the resolved address, whatever a name
 * said before. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include "server/events/target_internal.h"

struct address {
    uint8_t ip[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint16_t port;
};

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool address_of(const struct sockaddr *from, struct address *out)
{
    if (from->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof(in));
        memcpy(out->ip, mapped, sizeof(mapped));
        memcpy(out->ip + 12, &in.sin_addr, 4);
        out->port = ntohs(in.sin_port);
        return true;
    }
    if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, from, sizeof(in));
        memcpy(out->ip, &in.sin6_addr, 16);
        out->port = ntohs(in.sin6_port);
        return true;
    }
    return false;
}

static bool ip_of(const char *text, uint8_t out[16])
{
    memcpy(out, mapped, sizeof(mapped));
    return inet_pton(AF_INET, text, out + 12) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

static bool in_range(const uint8_t *ip, const uint8_t *net, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    uint8_t mask = (uint8_t)(0xff00 >> rest);
    return memcmp(ip, net, whole) == 0 && (rest == 0 || ((ip[whole] ^ net[whole]) & mask) == 0);
}

/* https://www.iana.org/assignments/iana-ipv4-special-registry: what is not globally reachable,
 * and groups. */
static bool is_public_v4(const uint8_t ip[4])
{
    static const struct {
        uint8_t net[4];
        unsigned bits;
    } closed[] = {
        { { 0 }, 8 },
        { { 10 }, 8 },
        { { 100, 64 }, 10 },
        { { 127 }, 8 },
        { { 169, 254 }, 16 },
        { { 172, 16 }, 12 },
        { { 192, 0, 0 }, 24 },
        { { 192, 0, 2 }, 24 },
        { { 192, 168 }, 16 },
        { { 198, 18 }, 15 },
        { { 198, 51, 100 }, 24 },
        { { 203, 0, 113 }, 24 },
        { { 224 }, 3 },
    };
    for (size_t i = 0; i < ARRAY_LEN(closed); i++)
        if (in_range(ip, closed[i].net, closed[i].bits))
            return false;
    return true;
}

/* Of IPv6 only 2000::/3 is given out, less documentation, Teredo and other special blocks; the
 * translated forms of IPv4 are what they stand for.
 * https://www.iana.org/assignments/iana-ipv6-special-registry */
static bool is_public(const uint8_t ip[16])
{
    static const uint8_t nat64[12] = { 0, 0x64, 0xff, 0x9b };
    static const uint8_t global[1] = { 0x20 }, special[3] = { 0x20, 0x01, 0x00 };
    static const uint8_t documents[4] = { 0x20, 0x01, 0x0d, 0xb8 }, six_to_four[2] = { 0x20, 2 };
    static const uint8_t documents_too[3] = { 0x3f, 0xff, 0 };
    if (memcmp(ip, mapped, sizeof(mapped)) == 0 || memcmp(ip, nat64, sizeof(nat64)) == 0)
        return is_public_v4(ip + 12);
    if (in_range(ip, six_to_four, 16))
        return is_public_v4(ip + 2);
    return in_range(ip, global, 3) && !in_range(ip, special, 23) &&
           !in_range(ip, documents, 32) && !in_range(ip, documents_too, 20);
}

static bool is_unspecified(const uint8_t ip[16])
{
    static const uint8_t zero[16];
    return memcmp(ip, zero, 16) == 0 ||
           (memcmp(ip, mapped, 12) == 0 && memcmp(ip + 12, zero, 4) == 0);
}

static bool is_loopback(const uint8_t ip[16])
{
    static const uint8_t one[16] = { [15] = 1 };
    return (memcmp(ip, mapped, 12) == 0 && ip[12] == 127) || memcmp(ip, one, 16) == 0;
}

/* At one of this machine's interfaces; when they cannot be listed, it may be. */
static bool is_this_machine(const uint8_t ip[16])
{
    struct ifaddrs *all = NULL;
    struct address a;
    if (is_loopback(ip) || is_unspecified(ip) || getifaddrs(&all) != 0)
        return true;
    bool found = false;
    for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next)
        found = i->ifa_addr && address_of(i->ifa_addr, &a) && memcmp(a.ip, ip, 16) == 0;
    freeifaddrs(all);
    return found;
}

/* To connect to the unspecified address is to connect to this machine. */
static bool meets(const struct target_avoided *avoided, const struct address *peer)
{
    if (avoided->port != peer->port)
        return false;
    if (memcmp(avoided->ip, peer->ip, 16) == 0)
        return true;
    return avoided->everywhere ? is_this_machine(peer->ip)
                               : is_unspecified(peer->ip) && is_this_machine(avoided->ip);
}

static bool allows(struct target_guard *g, const struct address *peer, bool private_network)
{
    bool ok = private_network || is_public(peer->ip);
    pthread_rwlock_rdlock(&g->lock);
    for (size_t i = 0; ok && i < g->count; i++)
        ok = (!g->list[i].admin && private_network) || !meets(&g->list[i], peer);
    pthread_rwlock_unlock(&g->lock);
    return ok;
}

void target_guard_init(struct target_guard *g)
{
    g->count = 0;
    pthread_rwlock_init(&g->lock, NULL);
}

void target_guard_release(struct target_guard *g)
{
    pthread_rwlock_destroy(&g->lock);
}

bool target_guard_allows(struct target_guard *g, const struct sockaddr *peer,
                         bool private_network)
{
    struct address a;
    return address_of(peer, &a) && allows(g, &a, private_network);
}

bool target_guard_allows_text(struct target_guard *g, const char *ip, unsigned port,
                              bool private_network)
{
    struct address a = { .port = (uint16_t)port };
    return ip && port <= UINT16_MAX && ip_of(ip, a.ip) && allows(g, &a, private_network);
}

enum kist_err target_guard_add(struct target_guard *g, const char *address, bool admin)
{
    struct target_avoided a = { .admin = admin };
    char host[64];
    uint64_t port = 0;
    const char *colon = strrchr(address, ':'), *start = address;
    if (!colon || bytes_to_u64(bytes_str(colon + 1), UINT16_MAX, &port) != KIST_OK)
        return KIST_E_INVALID;
    size_t len = (size_t)(colon - address);
    if (len >= 2 && start[0] == '[' && colon[-1] == ']') {
        start++;
        len -= 2;
    }
    if (len >= sizeof(host))
        return KIST_E_INVALID;
    memcpy(host, start, len);
    host[len] = 0;
    a.everywhere = len == 0 || strcmp(host, "*") == 0;
    if (!a.everywhere && !ip_of(host, a.ip))
        return KIST_E_INVALID;
    a.everywhere = a.everywhere || is_unspecified(a.ip);
    a.port = (uint16_t)port;
    pthread_rwlock_wrlock(&g->lock);
    bool room = g->count < TARGET_AVOID_MAX;
    if (room)
        g->list[g->count++] = a;
    pthread_rwlock_unlock(&g->lock);
    return room ? KIST_OK : KIST_E_TOO_LARGE;
}
