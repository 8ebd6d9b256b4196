/* The same through a running server: one signed form, one short reply. Plain HTTP only; the
 * README shows the same request by curl for a server that speaks HTTPS. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "auth/keyring.h"
#include "server/cli/account_internal.h"
#include "server/cli/rootkey.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"

#define REPLY_MAX ((size_t)16 << 20)
#define TIMEOUT_S 30

struct target {
    char host[256], port[8];
};

static bool parse_endpoint(const char *url, struct target *out)
{
    static const char http[] = "http://";
    if (strncmp(url, http, sizeof(http) - 1) != 0)
        return false;
    const char *host = url + sizeof(http) - 1;
    size_t len = strcspn(host, "/");
    const char *colon = memrchr(host, ':', len);
    bool v6 = host[0] == '[';
    if (v6 && (!colon || colon[-1] != ']'))
        colon = NULL;
    size_t host_len = colon ? (size_t)(colon - host) : len;
    if (host_len == 0 || host_len >= sizeof(out->host) || (host[len] && host[len + 1]))
        return false;
    snprintf(out->host, sizeof(out->host), "%.*s", (int)host_len, host);
    snprintf(out->port, sizeof(out->port), "%.*s", colon ? (int)(len - host_len - 1) : 2,
             colon ? colon + 1 : "80");
    return true;
}

static int dial(const struct target *t)
{
    char host[256];
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    struct timeval limit = { .tv_sec = TIMEOUT_S };
    bool v6 = t->host[0] == '[';
    snprintf(host, sizeof(host), "%.*s", (int)(strlen(t->host) - (v6 ? 2 : 0)), t->host + v6);
    if (getaddrinfo(host, t->port, &hints, &list) != 0)
        return -1;
    int fd = -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    }
    return fd;
}

/* ---- the request ---- */

static enum kist_err field(struct buf *form, const char *name, struct bytes value)
{
    if (!value.len)
        return KIST_OK;
    TRY(buf_printf(form, "&%s=", name));
    return uri_encode(form, value, false);
}

static enum kist_err make_form(const struct account_call *call, struct buf *form)
{
    static const char *const actions[][2] = {
        { "create", "CreateAccount" },
        { "ls", "ListAccounts" },
        { "rm", "DeleteAccount" },
        { "key create", "CreateAccountKey" },
        { "key rotate", "RotateAccountKey" },
        { "key rm", "DeleteAccountKey" },
    };
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (strcmp(call->verb, actions[i][0]) == 0)
            TRY(buf_printf(form, "Action=%s&Version=2010-05-08", actions[i][1]));
    TRY(field(form, "AccountName", call->name ? bytes_str(call->name) : BYTES_EMPTY));
    if (call->key_id)
        return field(form, "AccessKeyId", bytes_str(call->key_id));
    TRY(field(form, "AccessKeyId", call->key.access_key));
    return field(form, "SecretAccessKey", call->key.secret);
}

static void hash_hex(struct bytes data, char out[65])
{
    uint8_t digest[32];
    digest_once(DIGEST_SHA256, data, digest);
    hex_encode(bytes_of(digest, sizeof(digest)), out);
}

/* https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html */
static enum kist_err make_request(const struct target *t, const struct root_key *key,
                                  struct bytes form, struct buf *out)
{
    char text[2048], hash[65], payload[65], date[17], signature[65];
    uint8_t derived[32], mac[32];
    time_amz(env_real()->now_ms(env_real()), date);
    hash_hex(form, payload);
    int n = snprintf(text, sizeof(text),
                     "POST\n/\n\nhost:%s:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n"
                     "host;x-amz-content-sha256;x-amz-date\n%s",
                     t->host, t->port, payload, date, payload);
    hash_hex(bytes_of(text, (size_t)n), hash);
    n = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%.8s/us-east-1/iam/aws4_request\n%s",
                 date, date, hash);
    struct signing_scope scope = { bytes_of(date, 8), BYTES_LIT("us-east-1"), BYTES_LIT("iam") };
    sigv4_derive_key(bytes_str(key->secret_key), &scope, derived);
    hmac_sha256(bytes_of(derived, sizeof(derived)), bytes_of(text, (size_t)n), mac);
    explicit_bzero(derived, sizeof(derived));
    hex_encode(bytes_of(mac, sizeof(mac)), signature);
    TRY(buf_printf(out,
                   "POST / HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n"
                   "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n"
                   "x-amz-content-sha256: %s\r\nx-amz-date: %s\r\n"
                   "Authorization: AWS4-HMAC-SHA256 "
                   "Credential=%s/%.8s/us-east-1/iam/aws4_request, "
                   "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=%s\r\n\r\n",
                   t->host, t->port, form.len, payload, date, key->access_key, date, signature));
    return buf_append_bytes(out, form);
}

static bool exchange(int fd, struct bytes request, struct buf *reply)
{
    char piece[4096];
    for (size_t sent = 0; sent < request.len;) {
        ssize_t n = send(fd, request.ptr + sent, request.len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    for (;;) {
        ssize_t n = recv(fd, piece, sizeof(piece), 0);
        if (n <= 0)
            return n == 0 && reply->len > 0;
        if (buf_append_bytes(reply, bytes_of(piece, (size_t)n)) != KIST_OK)
            return false;
    }
}

/* ---- the reply: kist's own, so that a search for its elements is enough ---- */

/* The next such element's text at or behind *at, which moves behind it. */
static bool element(struct bytes xml, const char *name, size_t *at, size_t end, struct bytes *out)
{
    char open[40], close[40];
    snprintf(open, sizeof(open), "<%s>", name);
    snprintf(close, sizeof(close), "</%s>", name);
    size_t start = bytes_find(xml, bytes_str(open), *at);
    if (start == SIZE_MAX || start >= end)
        return false;
    start += strlen(open);
    size_t stop = bytes_find(xml, bytes_str(close), start);
    if (stop == SIZE_MAX)
        return false;
    *out = bytes_of(xml.ptr + start, stop - start);
    *at = stop;
    return true;
}

static void print_list(struct bytes xml)
{
    static const char *const names[] = { "AccountId", "CanonicalId", "AccountName" };
    struct bytes member, value;
    for (size_t at = 0; element(xml, "member", &at, xml.len, &member);) {
        size_t in = 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (element(member, names[i], &in, member.len, &value))
                printf("%s%.*s", i ? " " : "", (int)value.len, (const char *)value.ptr);
        while (element(member, "AccessKeyId", &in, member.len, &value))
            printf(" %.*s", (int)value.len, (const char *)value.ptr);
        printf("\n");
    }
}

static void print_account(struct bytes xml)
{
    static const char *const names[][2] = {
        { "AccountId", "account-id" },   { "CanonicalId", "canonical-id" },
        { "AccountName", "name" },       { "AccessKey", NULL },
        { "AccessKeyId", "access-key" }, { "SecretAccessKey", "secret-key" }
    };
    struct bytes value;
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t before = at;
        if (!element(xml, names[i][0], &at, xml.len, &value)) {
            if (!names[i][1])
                return; /* no new key */
        } else if (!names[i][1]) {
            at = before; /* what follows lies inside it */
            at = bytes_find(xml, BYTES_LIT("<AccessKey>"), at);
        } else {
            printf("%s %.*s\n", names[i][1], (int)value.len, (const char *)value.ptr);
        }
    }
}

static int show(const struct account_call *call, struct bytes reply)
{
    struct bytes message = BYTES_LIT("not an answer of kist's");
    size_t at = 0;
    if (reply.len > 12 && memcmp(reply.ptr + 9, "200", 3) == 0) {
        if (strcmp(call->verb, "ls") == 0)
            print_list(reply);
        else
            print_account(reply);
        return 0;
    }
    (void)element(reply, "Message", &at, reply.len, &message);
    fprintf(stderr, "kist: %s: %.*s\n", call->name ? call->name : call->verb, (int)message.len,
            (const char *)message.ptr);
    return 1;
}

static int talk(const struct account_call *call, const struct target *t,
                const struct root_key *key, struct buf *form, struct buf *request,
                struct buf *reply)
{
    if (make_form(call, form) != KIST_OK ||
        make_request(t, key, buf_bytes(form), request) != KIST_OK) {
        fprintf(stderr, "kist: the request is too large\n");
        return 1;
    }
    CLEANUP_CLOSE int fd = dial(t);
    if (fd < 0 || !exchange(fd, buf_bytes(request), reply)) {
        fprintf(stderr, "kist: %s: no answer\n", call->endpoint);
        return 1;
    }
    return show(call, buf_bytes(reply));
}

int account_remote(const struct account_call *call)
{
    struct target t;
    struct root_key key;
    struct buf form, request, reply;
    if (!parse_endpoint(call->endpoint, &t)) {
        fprintf(stderr, "kist: %s: an endpoint is http://HOST:PORT\n", call->endpoint);
        return 2;
    }
    enum kist_err err = root_key_find(call->data, getenv("KIST_ROOT_ACCESS_KEY"),
                                      getenv("KIST_ROOT_SECRET_KEY"), &key);
    if (err != KIST_OK) {
        fprintf(stderr, "kist: the root key: %s\n", kist_err_text(err));
        return 1;
    }
    buf_init(&form, 8192);
    buf_init(&request, 16384);
    buf_init(&reply, REPLY_MAX);
    int rc = talk(call, &t, &key, &form, &request, &reply);
    explicit_bzero(&key, sizeof(key));
    buf_release(&form);
    buf_release(&request);
    buf_release(&reply);
    return rc;
}
