/* What the files of server/http share. libmicrohttpd ("MHD") is seen here and nowhere else.
 *
 *   server.c    start and stop              loop.c      MHD's callbacks
 *   listen.c    the listening socket        accept.c    its thread
 *   admit.c     refuses what MHD lets in    exchange.c  stages, waiting and waking
 *   reply.c     replies through MHD         early.c     replies in the middle of a body
 *   refusals.c  what MHD itself refuses     linger.c    reads on after an early reply
 *   deadline.c  cuts slow connections
 *   halfclose.c clients that have sent all  target.c    target and Host, no state
 *   tls.c       certificates (GnuTLS)
 *
 * Threads. Each MHD loop thread owns its connections and their exchanges. Others touch them
 * only so: exchange_wake() (any thread) through `wait` and `then`; the deadline thread reads
 * `conn.state` and, under the deadlines' lock, uses `conn.fd`, which lives until
 * deadlines_remove(); so does halfclose.c's thread, until halfclose_remove(). Lock order: none is
 * ever held while another is taken, but `wakers`, which comes first, and a loop's while MHD takes
 * its own, under which it calls nothing of ours.
 */
#ifndef KIST_SERVER_HTTP_INTERNAL_H
#define KIST_SERVER_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "server/http/server.h"

#define HTTP_TARGET_MAX_BYTES 8192U
#define HTTP_HEADERS_MAX_BYTES 8192U
/* A 1,000-key listing with every key 1,024 bytes of %XX takes 4 MiB; requests stay far below. */
#define HTTP_ARENA_MAX_BYTES (16U << 20)

/* deadline.c: what a connection is about, as the deadline thread sees it. */
enum conn_phase {
    CONN_AWAIT, /* between requests, or inside a header */
    CONN_BUSY,  /* our turn: no clock runs */
    CONN_BODY,  /* the client must send */
    CONN_REPLY  /* the client must read */
};
#define CONN_PHASE_MASK 3U
#define CONN_WAITING 4U /* suspended by us: no clock runs */
#define CONN_LINE_SEEN 8U
#define CONN_EPOCH_ONE 16U /* counts phase changes, so that none is missed */

struct deadlines;
struct halfclose;
struct lingerer;
struct tls_store;
struct tls_certs;

struct conn {
    struct http_server *server;
    struct MHD_Connection *mhd;
    int fd;
    void *tag; /* of a connection that was adopted */
    void (*on_gone)(void *tag);
    bool linger;              /* unread input may be left: read on after our end is closed */
    _Atomic bool half_closed; /* the peer has sent its last byte */
    char peer[64];
    struct tls_certs *certs;   /* used by this connection's session */
    struct exchange *exchange; /* since its request line; the loop's */
    _Atomic unsigned state;    /* enum conn_phase and flags; written by the loop only */
    /* The deadline thread's, under its lock. */
    struct conn *prev, *next;
    uint64_t due_ns;     /* next look */
    uint64_t looked_ns;  /* last look */
    uint64_t mark_ns;    /* start of the window */
    uint64_t mark_bytes; /* the peer's progress at that time */
    unsigned mark_state;
    bool header_begun;
};

enum exchange_stage {
    STAGE_NEW,      /* request line parsed */
    STAGE_ADMITTED, /* header good, no body: MHD's final call is still to come */
    STAGE_BEGUN,    /* the handler has it */
    STAGE_BODY,     /* the sink gets the body */
    STAGE_FINISHED, /* the sink has it all */
    STAGE_REPLIED,  /* a reply was chosen */
    STAGE_SENDING,  /* MHD has the reply */
    STAGE_CUT,      /* connection to be cut */
    STAGE_ENDED,
    STAGE_COUNT
};

/* RUNNING -> PARKED -> WOKEN -> RUNNING, or, with an early wake, RUNNING -> WOKEN -> RUNNING. */
enum exchange_wait_state { WAIT_RUNNING, WAIT_PARKED, WAIT_WOKEN, WAIT_STATE_COUNT };

struct reply_header {
    const char *name;
    const char *value;
    struct reply_header *next;
};

struct exchange {
    struct conn *conn;
    struct MHD_Connection *mhd;
    struct http_server *server;
    struct http_request request;
    struct arena arena;
    void *user, *guest;
    enum exchange_stage stage;
    bool begun;      /* handler.end is owed */
    bool counted;    /* in server->active */
    bool has_body;   /* the header announces one */
    bool past_first; /* MHD's first handler call is behind us: it accepts the body */
    bool parked;     /* MHD_suspend_connection() was called and MHD has not yet resumed */
    uint8_t held;    /* bytes taken by the sink, yet left with MHD so that it calls again */
    uint64_t body_seen;
    uint64_t bytes_sent, begun_ns, replied_ns; /* for access logs */
    struct body_sink sink;
    _Atomic int wait; /* enum exchange_wait_state */
    void (*then)(struct exchange *x);
    unsigned status;
    bool reply_is_reader;
    struct bytes reply_body;
    uint64_t reply_length;
    struct body_reader reader;
    struct reply_header *reply_headers;
    struct reply_header **reply_headers_end;
    char *line_target; /* in MHD's read buffer */
    bool target_too_long;
    char id[17];
    struct exchange *next_free;
};

/* A connection that http_server_adopt() was given, until its loop takes it up. */
struct adopted {
    struct adopted *next;
    uint64_t number;
    void *tag;
    void (*on_gone)(void *tag);
};

/* One thread of MHD's with an epoll set of its own. MHD queues what it is given for the thread,
 * which takes it up in that order. It says nothing of what it then has no memory for, nor of what
 * it still has when it is stopped: hence the numbers, and the list of those who are to be told.
 */
struct loop {
    struct MHD_Daemon *daemon;
    _Atomic unsigned connections; /* given to it and not yet gone */
    pthread_mutex_t lock;         /* the rest */
    uint64_t given, taken;        /* the last ones' numbers */
    struct adopted *adopted, **adopted_end;
};

struct http_server {
    struct http_handler handler;
    struct loop *loops;
    unsigned loop_count;
    int listen_fd;
    pthread_t acceptor; /* while listen_fd is set */
    char address[96];
    unsigned connections_max;
    bool tls;
    uint64_t id_seed;
    char host_id[80];
    struct deadlines *deadlines;
    struct halfclose *halfclose;
    struct lingerer *lingerer;
    struct tls_store *tls_store;
    atomic_bool stopping;
    _Atomic uint64_t ids, active;
    _Atomic unsigned open; /* connections given to loops and not yet gone */
    _Atomic uint64_t connections, connections_active, requests, refused, bytes_in, bytes_out;
    pthread_mutex_t drain_lock; /* with drained: active has become 0 while stopping */
    pthread_cond_t drained;
    /* Read-held by exchange_wake() while it still touches a daemon. */
    pthread_rwlock_t wakers;
};

/* loop.c: NULL for a connection that there was no memory for. */
struct conn *conn_of(struct MHD_Connection *mhd);
/* Starts so many loops. loops_stop() is owed even after a failure. */
bool loops_start(struct http_server *server, unsigned count);
void loops_stop(struct http_server *server);
/* Gives a connection to a loop, unless there are too many. peer: the client's address as text.
 * adopted: of http_server_adopt(), else NULL. Takes fd over, and adopted; false: fd is closed,
 * adopted is still the caller's. Any thread. */
bool loops_give(struct http_server *server, int fd, const char *peer, struct adopted *adopted);

/* exchange.c */
struct exchange *exchange_new(struct conn *conn, struct MHD_Connection *mhd);
/* Calls handler.end where owed and recycles. */
void exchange_end(struct exchange *x);
void exchange_set_stage(struct exchange *x, enum exchange_stage to);
/* Runs what was woken. False: the exchange is parked, MHD must come back later. */
bool exchange_run(struct exchange *x);

/* admit.c. On refusal *code and *message are set. 0: admitted, else the HTTP status. */
unsigned admit(struct exchange *x, const char *method, const char *version, const char **code,
               const char **message);

/* reply.c */
enum MHD_Result reply_queue(struct exchange *x);
void reply_fixed_headers(struct exchange *x, void *ctx,
                         void (*each)(void *ctx, const char *name, const char *value));
/* early.c: MHD takes no reply in the middle of a body; this writes one past it. */
enum MHD_Result reply_mid_body(struct exchange *x, size_t *left);
/* Writes x->reply_body under its status; the caller has MHD close. */
void early_write(struct exchange *x);
/* refusals.c: MHD_queue_response(), which has another meaning in this program. */
enum MHD_Result refusals_queue_reply(struct MHD_Connection *mhd, unsigned status,
                                     struct MHD_Response *response);

/* deadline.c */
enum kist_err deadlines_open(const struct http_config *config, struct deadlines **out) MUST_CHECK;
void deadlines_close(struct deadlines *d);
void deadlines_add(struct deadlines *d, struct conn *conn);
void deadlines_remove(struct deadlines *d, struct conn *conn);
/* Shuts the sockets of all connections, or only of those between requests. */
void deadlines_shut(struct deadlines *d, bool only_idle);
void conn_set_phase(struct conn *conn, enum conn_phase phase);
void conn_set_flag(struct conn *conn, unsigned flag, bool on);

/* halfclose.c */
enum kist_err halfclose_open(struct halfclose **out) MUST_CHECK;
void halfclose_close(struct halfclose *h);
void halfclose_add(struct halfclose *h, struct conn *conn);
void halfclose_remove(struct halfclose *h, struct conn *conn);
/* The loop's, in every call that MHD makes after it has read. */
void halfclose_after_read(struct conn *conn);

/* linger.c */
enum kist_err lingerer_open(struct lingerer **out) MUST_CHECK;
void lingerer_close(struct lingerer *l);
/* Takes over fd, whose sending side the peer has seen or will see closed. */
void lingerer_take(struct lingerer *l, int fd);

/* listen.c */
enum kist_err listen_open(const char *listen_text, int *fd, char *address, size_t address_size,
                          const char **reason) MUST_CHECK;
void peer_text(const struct sockaddr *addr, char *out, size_t size);
void raise_file_limit(unsigned connections_max);

/* accept.c: a thread that gives what comes to server->listen_fd to the loops. */
enum kist_err acceptor_start(struct http_server *server) MUST_CHECK;
void acceptor_stop(struct http_server *server);

/* tls.c */
enum kist_err tls_store_open(const char *cert_file, const char *key_file, struct tls_store **out,
                             const char **reason) MUST_CHECK;
void tls_store_close(struct tls_store *s);
enum kist_err tls_store_reload(struct tls_store *s) MUST_CHECK;
void tls_certs_unref(struct tls_certs *c);
/* MHD_OPTION_HTTPS_CERT_CALLBACK2's argument, without GnuTLS types. */
void *tls_cert_callback(void);
const char *tls_priorities(void);
/* "1.2"; NULL when the session cannot tell. */
const char *tls_version(struct MHD_Connection *mhd);
/* Bytes written or -1. */
ptrdiff_t tls_write(struct MHD_Connection *mhd, const void *data, size_t len);

#endif
