/* A store with an account, targets over it, deliveries that can be waited for, and a listener. */
#ifndef KIST_TESTS_UNIT_SERVER_EVENTS_TARGETS_FIXTURE_H
#define KIST_TESTS_UNIT_SERVER_EVENTS_TARGETS_FIXTURE_H

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "server/events/targets.h"
#include "tests/lib/commands.h"
#include "tests/lib/suite.h"

#define ACCOUNT "000000000001"
#define OTHER_ACCOUNT "000000000002"
#define ARN(name) "arn:aws:sqs:us-east-1:" ACCOUNT ":" name
#define EVENT_ID "11111111-2222-4333-8444-555555555555"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static char dir[] = "/tmp/kist-unit-XXXXXX";
static struct store *store;
static struct targets *targets;

static void setup(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    config.dir = dir;
    config.sync = false;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
    ck_assert_int_eq(commit_account(store, ACCOUNT, CANONICAL_OF("1111"), "root", true, 0),
                     KIST_OK);
    ck_assert_int_eq(
        commit_account(store, OTHER_ACCOUNT, CANONICAL_OF("2222"), "other", false, 0), KIST_OK);
    struct targets_config how = { store, "us-east-1" };
    ck_assert_int_eq(targets_open(&how, &targets), KIST_OK);
}

static void teardown(void)
{
    targets_close(targets);
    store_close(store);
    remove_dir(dir);
}

/* account: empty for the first. target NULL: it goes. */
static void put_target(const char *account, const char *name, Kist__EventTarget *target)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords put = KIST__PUT_RECORDS__INIT;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *list = &change;
    Kist__Record record = KIST__RECORD__INIT;
    struct buf body;
    buf_init(&body, 1 << 16);
    if (target) {
        target->name = mut(name);
        ck_assert_int_eq(schema_pack(target, &body), KIST_OK);
        record.body = schema_data(buf_bytes(&body));
    }
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &put;
    put.n_changes = 1;
    put.changes = &list;
    change.kind = RECORD_EVENT_TARGET;
    change.account = mut(account);
    change.name = mut(name);
    change.any = true;
    change.record = target ? &record : NULL;
    ck_assert_int_eq(store_commit(store, &command), KIST_OK);
    buf_release(&body);
}

/* ---- deliveries ---- */

struct parcel {
    struct event_delivery d;
    Kist__Event event;
    Kist__Cause cause;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned ended;
    enum event_outcome outcome;
    char why[256];
};

static void on_done(struct event_delivery *d, enum event_outcome outcome, const char *why,
                    struct bytes response, const Kist__Span *span)
{
    struct parcel *p = (struct parcel *)(void *)d;
    ck_assert(response.len == 0 && !span);
    ck_assert((why != NULL) == (outcome != EVENT_DELIVERED));
    pthread_mutex_lock(&p->lock);
    p->outcome = outcome;
    snprintf(p->why, sizeof(p->why), "%s", why ? why : "");
    p->ended++;
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->lock);
}

static void parcel_init(struct parcel *p, const char *arn)
{
    memset(p, 0, sizeof(*p));
    kist__event__init(&p->event);
    kist__cause__init(&p->cause);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->cond, NULL);
    p->event.kind = EVENT_CREATED_PUT;
    p->event.target = mut(arn);
    p->event.bucket = mut("bucket");
    p->event.key = schema_data(BYTES_LIT("photos/a b.jpg"));
    p->event.size = 3;
    p->event.time_ms = 1700000000000;
    p->event.cause = &p->cause;
    p->cause.trace = mut(TRACE);
    p->cause.request_id = mut("0123456789ABCDEF");
    p->d = (struct event_delivery){ &p->event, EVENT_ID, 1, on_done, NULL };
}

static void send_parcel(struct parcel *p, size_t sink)
{
    const struct event_sink *s = targets_sink(targets, sink);
    s->deliver(s->ctx, &p->d);
}

static void await_parcel(struct parcel *p)
{
    pthread_mutex_lock(&p->lock);
    while (!p->ended)
        pthread_cond_wait(&p->cond, &p->lock);
    pthread_mutex_unlock(&p->lock);
    ck_assert_uint_eq(p->ended, 1);
}

/* One event to one target, through to its end. */
__attribute__((unused)) static enum event_outcome deliver_to(const char *arn, char why[256])
{
    struct parcel p;
    parcel_init(&p, arn);
    send_parcel(&p, 0);
    await_parcel(&p);
    if (why)
        snprintf(why, 256, "%s", p.why);
    return p.outcome;
}

/* ---- who listens ---- */

__attribute__((unused)) static unsigned port; /* on 127.0.0.1 */
static void *(*serve_connection)(void *fd);

static void *accept_all(void *arg)
{
    int listener = (int)(intptr_t)arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;
        if (fd < 0)
            return NULL;
        ck_assert_int_eq(pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd),
                         0);
        pthread_detach(thread);
    }
}

/* Each connection gets a thread of its own, which closes it. */
__attribute__((unused)) static void listen_with(void *(*serve)(void *fd))
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t len = sizeof(address);
    pthread_t thread;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    serve_connection = serve;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(listener, 1000), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    port = ntohs(address.sin_port);
    ck_assert_int_eq(pthread_create(&thread, NULL, accept_all, (void *)(intptr_t)listener), 0);
    pthread_detach(thread);
}

#endif
