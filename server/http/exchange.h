/* One HTTP request and its reply. The only interface that the layers above see; libmicrohttpd
 * stays inside server/http.
 *
 *   header whole --> handler.begin --> exchange_read_body() --> sink.write ... sink.finish
 *                        |                                                          |
 *                        '--> exchange_reply_*() <-- exchange_wake(then) <-- exchange_wait()
 *
 * All callbacks of one exchange run on one loop thread at a time; nothing in them may block.
 * To wait (for the log, a worker, memory), a callback calls exchange_wait() and returns; the
 * connection is suspended. Later any thread calls exchange_wake(x, then), once, and then(x)
 * runs on the loop's thread. exchange_wake() may come before exchange_wait() has returned.
 * When the request has come to an end meanwhile, then(x) is not called: handler.end comes
 * instead, and must also free what then(x) would have taken. A client that has sent its last byte
 * is no such end: it may still read. handler.end is called exactly once per begun exchange, after
 * the reply was sent or the connection was lost, and never while the exchange waits.
 */
#ifndef KIST_SERVER_HTTP_EXCHANGE_H
#define KIST_SERVER_HTTP_EXCHANGE_H

#include "storage/base/bytes.h"

struct exchange;

struct http_header {
    struct bytes name; /* lower case */
    struct bytes value;
};

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_PUT,
    HTTP_POST,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_OTHER
};

#define HTTP_LENGTH_UNKNOWN UINT64_MAX

struct http_request {
    enum http_method method;
    struct bytes method_name;
    struct bytes target; /* exactly as received */
    struct bytes path;   /* of the target, before '?', undecoded */
    struct bytes query;  /* after '?', undecoded; ptr is NULL without a '?' */
    const struct http_header *headers;
    size_t header_count;
    struct bytes host;       /* the Host header with its port taken off */
    uint64_t content_length; /* HTTP_LENGTH_UNKNOWN for chunked transfer; 0 without a body */
    bool tls;
    const char *tls_version; /* "1.2"; NULL without TLS */
    char peer[64];           /* the client's address, without port */
    void *tag;               /* http_server_adopt()'s; NULL: a connection of the server's own */
};

struct http_handler {
    void *ctx;
    void (*begin)(void *ctx, struct exchange *x);
    void (*end)(void *ctx, struct exchange *x);
    /* A request that HTTP itself refuses (smuggling, too large, malformed): makes the body of
     * the error reply in the exchange's arena. code is an S3 code such as "InvalidRequest". It
     * may add headers. Neither begin nor end is called; parts of the request may be empty. */
    struct bytes (*refuse)(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message);
};

struct body_sink {
    /* Takes up to piece.len bytes and says how many. Taking fewer is allowed only together with
     * exchange_wait(): the rest is offered again after the wake. After an error the sink has
     * called (or will, after a wake) exchange_reply_*(), and gets no more. */
    void (*write)(struct exchange *x, void *ctx, struct bytes piece, size_t *taken);
    /* The body ended as announced. A body cut short never gets here: handler.end comes. */
    void (*finish)(struct exchange *x, void *ctx);
    void *ctx;
};

#define BODY_END (-2)
struct body_reader {
    /* Fills buf from position pos. > 0: bytes; 0: would block, exchange_wait() was called and
     * the wake is on its way; -1: damage, cut the connection; BODY_END: the end of a body whose
     * length was not known. */
    ptrdiff_t (*read)(struct exchange *x, void *ctx, uint64_t pos, uint8_t *buf, size_t max);
    void *ctx;
    size_t block_bytes; /* preferred size of buf */
};

const struct http_request *exchange_request(const struct exchange *x);
/* The first header of that lower-case name; ptr NULL when absent. */
struct bytes exchange_header(const struct exchange *x, const char *name);
/* Lives as long as the exchange; bounded. */
struct arena *exchange_arena(struct exchange *x);
/* The handler's own state. */
void exchange_set_user(struct exchange *x, void *user);
void *exchange_user(const struct exchange *x);
/* The same for a service that the handler hands an exchange to (server/http/api.h). */
void exchange_set_guest(struct exchange *x, void *guest);
void *exchange_guest(const struct exchange *x);
/* 16 upper-case hex digits, unique; also sent as x-amz-request-id. */
const char *exchange_id(const struct exchange *x);

/* Asks for the body (sends 100 Continue where the client expects it). Not after a reply. */
void exchange_read_body(struct exchange *x, const struct body_sink *sink);

void exchange_wait(struct exchange *x);
void exchange_wake(struct exchange *x, void (*then)(struct exchange *x));

/* Copies into the arena. Control characters in values are refused (KIST_E_INVALID). */
enum kist_err exchange_add_header(struct exchange *x, const char *name,
                                  struct bytes value) MUST_CHECK;
/* Forgets reply headers added so far (an error replaces a success). */
void exchange_clear_headers(struct exchange *x);

/* Exactly one of these ends the exchange's request phase; body bytes live in the arena or
 * longer. For HEAD no body is sent, but Content-Length says body.len or length. A reply before
 * the body was read closes the connection after it, unless little of the body is left. Date,
 * Server, x-amz-request-id and x-amz-id-2 are added here. A reader's length may be
 * HTTP_LENGTH_UNKNOWN: the body is sent in chunks. 204 and 304 carry no body; 304 says
 * the Content-Length that 200 would have (RFC 9110 section 8.6), so give that length: MHD
 * cannot leave it out. */
void exchange_reply_bytes(struct exchange *x, unsigned status, struct bytes body);
void exchange_reply_reader(struct exchange *x, unsigned status, uint64_t length,
                           const struct body_reader *reader);
/* Cut the connection without a reply. */
void exchange_abort(struct exchange *x);
/* For access logs and metrics, in handler.end: 0 when no reply was made. */
unsigned exchange_status(const struct exchange *x);
struct exchange_facts {
    uint64_t bytes_received;       /* of the request's body */
    uint64_t bytes_sent;           /* of the reply's body */
    uint64_t begun_ns, replied_ns; /* mono_ns(); replied_ns 0 when no reply was made */
    const char *host_id;           /* what x-amz-id-2 says */
};
void exchange_facts(const struct exchange *x, struct exchange_facts *out);

#endif
