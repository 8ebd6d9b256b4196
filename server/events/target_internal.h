/* Inside of targets.
 *
 *   deliver() --> find_link() --> message: event as it is sent --+--> target_http: one thread,
 * curl
 *                                                                '--> target_queue: one thread
 * for a broker that has work A link is a target's settings at work: made at the first event,
 * replaced when the record changes. It is counted: the table holds it, each message does, and its
 * thread does.
 */
#ifndef KIST_SERVER_EVENTS_TARGET_INTERNAL_H
#define KIST_SERVER_EVENTS_TARGET_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "server/events/targets.h"

#define TARGET_NAME_MAX 80 /* a queue's name, in SQS */
#define TARGET_URL_MAX 2048
/* An option of every kind, for whoever sets targets up: whose it is. */
#define TARGET_APP "app"
#define TARGET_OPTIONS_MAX 32
#define TARGET_OPTION_MAX 1024
#define TARGET_SECRET_MAX 256
#define TARGET_WHY_MAX 200
#define TARGET_BODY_MAX ((size_t)8 << 20)
#define TARGET_ATTRIBUTES_MAX 16
#define TARGET_CONCURRENCY_MAX 1000
#define TARGET_CONNECT_MS 5000
#define TARGET_TIMEOUT_S 30 /* unless the option says otherwise */
#define TARGET_TIMEOUT_MAX_S 60
#define TARGET_AGE_S 86400U /* unless the target says otherwise */

enum target_form { TARGET_FORM_S3, TARGET_FORM_CLOUD, TARGET_FORM_BINARY, TARGET_FORM_BRIDGE };

struct target_link;

/* One event as it is sent. */
struct target_message {
    struct target_message *next;
    struct target_link *link;
    struct event_delivery *delivery;
    struct arena arena;
    struct buf body;
    const char *content_type;
    /* CloudEvents' attributes in binary form, without a binding's prefix. */
    struct target_attribute {
        const char *name, *value;
    } attributes[TARGET_ATTRIBUTES_MAX];
    size_t attribute_count;
    uint64_t tag; /* the driver's: what the broker's acknowledgement names it by */
    /* What a driver says of it: */
    enum event_outcome outcome;
    char why[TARGET_WHY_MAX];
};
/* Tells the dispatcher, and frees it. */
void target_message_end(struct target_message *m);
/* A random UUID. */
void target_new_id(struct store *store, char out[37]);
void target_message_set(struct target_message *m, enum event_outcome outcome, const char *format,
                        ...) __attribute__((format(printf, 3, 4)));

/* ---- URLs ---- */

struct target_url {
    const char *scheme, *user, *password, *host, *path, *query; /* decoded; never NULL */
    unsigned port;                                              /* 0: none is named */
    const char *shown;                                          /* the URL without its password */
};
/* Into the arena. KIST_E_INVALID. */
enum kist_err target_url_parse(const char *url, struct arena *arena,
                               struct target_url *out) MUST_CHECK;

/* ---- kinds of targets ---- */

struct target_driver {
    const char *kind;
    const char *schemes; /* of URLs, "|http|https|" */
    const char *options; /* that it knows, "|timeout|" */
    bool binary;         /* it can carry CloudEvents' attributes beside the body */
    unsigned concurrency;
    /* What is wrong with the target, for whoever sets it up; NULL: nothing. */
    const char *(*check)(const Kist__EventTarget *target, const struct target_url *url);
    /* The rest is of brokers alone, and called on the link's own thread, which may wait there,
     * with target_wait() or for bounded times.
     * Connects. EVENT_DELIVERED: it did. Otherwise why says why not. */
    enum event_outcome (*open)(struct target_link *link, void **out, char why[TARGET_WHY_MAX]);
    /* Sends all of the list and waits for the broker to have them; each message's outcome says
     * what came of it (EVENT_ABSENT at first). False: the connection is of no more use. */
    bool (*send)(struct target_link *link, void *conn, struct target_message *list);
    void (*close)(void *conn);
};
extern const struct target_driver target_webhook;
#ifdef HAVE_redis
extern const struct target_driver target_redis;
#endif
#ifdef HAVE_nats
extern const struct target_driver target_nats;
#endif
#ifdef HAVE_mqtt
extern const struct target_driver target_mqtt;
#endif
#ifdef HAVE_amqp
extern const struct target_driver target_amqp;
#endif
#ifdef HAVE_kafka
extern const struct target_driver target_kafka;
#endif
/* By kind or by URL scheme; NULL: none of that name. missing: kist knows it, but was built
 * without. */
const struct target_driver *target_driver_of(const char *kind, bool *missing);
const struct target_driver *target_driver_of_scheme(const char *scheme, bool *missing);

/* ---- settings ---- */

/* Fills kind and form where they were left to the URL; what is wrong then, or NULL. The text
 * lives in the arena. */
const char *target_check(Kist__EventTarget *target, struct arena *arena);
/* NULL: it is not set. */
const char *target_option(const Kist__EventTarget *target, const char *name);
/* It is not shown again. */
bool target_option_is_secret(const char *name);
unsigned target_timeout_ms(const Kist__EventTarget *target);
bool target_name_is_valid(struct bytes name);

/* ---- where connections may go ---- */

#define TARGET_AVOID_MAX 16
struct target_guard {
    pthread_rwlock_t lock; /* over the list, which grows while servers start */
    size_t count;
    struct target_avoided {
        uint8_t ip[16];
        uint16_t port;
        bool everywhere, admin;
    } list[TARGET_AVOID_MAX];
};
void target_guard_init(struct target_guard *g);
void target_guard_release(struct target_guard *g);
enum kist_err target_guard_add(struct target_guard *g, const char *address,
                               bool admin) MUST_CHECK;
bool target_guard_allows(struct target_guard *g, const struct sockaddr *peer,
                         bool private_network);
/* The same of an address as text. */
bool target_guard_allows_text(struct target_guard *g, const char *ip, unsigned port,
                              bool private_network);

/* ---- links ---- */

struct targets {
    struct targets_config config;
    char *first_account; /* its 12 digits */
    struct target_guard guard;
    struct target_http *http;
    struct target_table *table;
    struct target_sink {
        struct targets *targets;
        struct event_sink sink;
    } sinks[TARGET_SINKS];
    atomic_bool stopped;
    int stop_fd; /* readable once it is stopped */
    pthread_mutex_t lock;
    pthread_cond_t quiet;
    size_t threads;  /* of links; under lock */
    size_t messages; /* under way; under lock */
};

struct target_link {
    struct targets *targets;
    atomic_uint references;
    const struct target_driver *driver;
    const char *account, *name;
    uint64_t changed; /* of the record that it was made from */
    Kist__EventTarget *target;
    struct target_url url;
    enum target_form form; /* by service where the target leaves it open */
    bool bus;              /* the ARN's service is "events" */
    struct arena arena;
    /* Of brokers: */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct target_message *first, **last;
    bool running, retired;
};
struct target_link *target_link_ref(struct target_link *link);
void target_link_unref(struct target_link *link);

/* ---- target_http.c ---- */

struct target_http;
enum kist_err target_http_open(struct targets *t, struct target_http **out) MUST_CHECK;
/* Ends what is under way and what still comes. NULL is allowed, as in what follows. */
void target_http_stop(struct target_http *h);
void target_http_free(struct target_http *h);
void target_http_send(struct target_http *h, struct target_message *m);

/* ---- target_queue.c ---- */

void target_queue_push(struct target_link *link, struct target_message *m);
/* No more will come through the table: its thread ends when it has nothing to do. */
void target_queue_retire(struct target_link *link);
/* That message of the list; NULL: there is none. *at remembers where it was: acknowledgements
 * mostly come in the order of the messages. */
struct target_message *target_find(struct target_message *list, struct target_message **at,
                                   uint64_t tag);
/* For libraries that only wait for times: how long until the deadline or the next look at
 * whether everything ends; 0: one of them has come. */
unsigned target_slice_ms(const struct target_link *link, uint64_t deadline_ns);
/* What the target's own time limit makes of now. */
uint64_t target_deadline(const struct target_link *link);
/* Until fd is ready for these poll(2) events. KIST_E_BUSY: not by the deadline (mono_ns());
 * KIST_E_SHUTDOWN: everything ends. */
enum kist_err target_wait(const struct target_link *link, int fd, short events,
                          uint64_t deadline_ns) MUST_CHECK;
/* A TCP connection to the URL's host, non-blocking, to an address that is allowed.
 * EVENT_DELIVERED: *fd is it. */
enum event_outcome target_dial(const struct target_link *link, unsigned default_port, int *fd,
                               char why[TARGET_WHY_MAX]);
/* Libraries that write until all is written must not do so for ever. */
bool target_bound_writes(const struct target_link *link, int fd);
/* The first of the host's addresses as text, if they are all allowed: for libraries that connect
 * by themselves. */
enum event_outcome target_resolve(const struct target_link *link, unsigned default_port,
                                  char ip[64], char why[TARGET_WHY_MAX]);

/* ---- target_render.c ---- */

/* The event as body, content type and attributes. */
enum kist_err target_render(const struct target_link *link, struct target_message *m) MUST_CHECK;
/* A W3C traceparent as it must be, or NULL.
 * https://www.w3.org/TR/trace-context/#traceparent-header */
const char *target_traceparent(const Kist__Event *event);

#endif
