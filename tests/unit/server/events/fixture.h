/* A real store in a directory of its own, the dispatcher on it, and a sink that answers as the
 * test says.
 */
#ifndef KIST_TESTS_EVENTS_FIXTURE_H
#define KIST_TESTS_EVENTS_FIXTURE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "server/events/events.h"
#include "tests/lib/commands.h"
#include "tests/lib/suite.h"

#define UNUSED_OK __attribute__((unused))
#define SEEN_MAX 20000
#define QUEUE_ARN "arn:aws:sqs:r:000000000001:"
#define FUNCTION_ARN "arn:aws:lambda:r:000000000001:function:"
#define PATIENCE_S 60

struct seen {
    char target[80], key[40], id[37];
    unsigned attempt;
    enum event_outcome outcome;
};

struct fixture {
    char dir[32];
    struct env env; /* the real one, its wall clock so much ahead */
    _Atomic int64_t clock_ahead_ms;
    struct store *store;
    struct events *events;
    struct event_sink sinks[2];
    const struct event_sink *sink_list[2];

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct seen seen[SEEN_MAX];
    size_t seen_count, in_flight, in_flight_max;
    char payload[8192]; /* of the last invocation */
    /* Under the lock. Default: delivered. */
    enum event_outcome (*answer)(const Kist__Event *event, unsigned attempt);
    bool (*hold)(const Kist__Event *event); /* true: answered by release_held() */
    struct event_delivery *held[SEEN_MAX];
    size_t held_count;
    struct event_policy policy;
    bool (*exists)(struct bytes arn);
    int64_t age_ms; /* of what is put: its request was so long ago */
};

static struct fixture fix;

static UNUSED_OK char target_a[] = QUEUE_ARN "a", target_b[] = QUEUE_ARN "b";
static UNUSED_OK char function_f[] = FUNCTION_ARN "f";

/* ---- the sink ---- */

static void finish(struct event_delivery *d, enum event_outcome outcome)
{
    static char name[] = "step", trace[] = "0123456789abcdef0123456789abcdef",
                id[] = "0123456789abcdef";
    Kist__Span span = KIST__SPAN__INIT;
    span.trace = trace;
    span.span = id;
    span.name = name;
    span.kind = SPAN_INVOCATION;
    span.begin_ms = span.end_ms = env_real()->now_ms(env_real());
    bool ok = outcome == EVENT_DELIVERED;
    d->done(d, outcome, ok ? NULL : "the test says so",
            ok ? BYTES_LIT("{\"answer\":42}") : BYTES_EMPTY, ok ? &span : NULL);
}

static void sink_deliver(void *ctx, struct event_delivery *d)
{
    (void)ctx;
    pthread_mutex_lock(&fix.lock);
    bool hold = fix.hold && fix.hold(d->event);
    enum event_outcome outcome =
        !hold && fix.answer ? fix.answer(d->event, d->attempt) : EVENT_DELIVERED;
    ck_assert_uint_lt(fix.seen_count, SEEN_MAX);
    struct seen *s = &fix.seen[fix.seen_count++];
    *s = (struct seen){ .attempt = d->attempt, .outcome = outcome };
    snprintf(s->target, sizeof(s->target), "%s", d->event->target);
    snprintf(s->key, sizeof(s->key), "%.*s", (int)d->event->key.len,
             (const char *)d->event->key.data);
    snprintf(s->id, sizeof(s->id), "%s", d->id);
    if (d->event->payload.len)
        snprintf(fix.payload, sizeof(fix.payload), "%.*s", (int)d->event->payload.len,
                 (const char *)d->event->payload.data);
    if (hold) {
        fix.held[fix.held_count++] = d;
        if (++fix.in_flight > fix.in_flight_max)
            fix.in_flight_max = fix.in_flight;
    }
    pthread_cond_broadcast(&fix.changed);
    pthread_mutex_unlock(&fix.lock);
    if (!hold)
        finish(d, outcome);
}

static enum kist_err sink_describe(void *ctx, struct bytes arn, struct arena *arena,
                                   struct event_policy *out)
{
    (void)ctx, (void)arena;
    pthread_mutex_lock(&fix.lock);
    bool there = !fix.exists || fix.exists(arn);
    if (there)
        *out = fix.policy;
    pthread_mutex_unlock(&fix.lock);
    return there ? KIST_OK : KIST_E_NOT_FOUND;
}

/* The first held one is answered; false: there is none. */
static UNUSED_OK bool release_held(enum event_outcome outcome)
{
    pthread_mutex_lock(&fix.lock);
    struct event_delivery *d = fix.held_count ? fix.held[0] : NULL;
    if (d) {
        memmove(fix.held, fix.held + 1, --fix.held_count * sizeof(*fix.held));
        fix.in_flight--;
    }
    pthread_mutex_unlock(&fix.lock);
    if (d)
        finish(d, outcome);
    return d != NULL;
}

/* ---- waiting: for facts, with a limit that only a failure meets ---- */

static struct timespec patience(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += PATIENCE_S;
    return t;
}

/* One of fix's counters, until it is as high. */
static void wait_counter(const size_t *counter, size_t count)
{
    struct timespec until = patience();
    int rc = 0;
    pthread_mutex_lock(&fix.lock);
    while (*counter < count && rc == 0)
        rc = pthread_cond_timedwait(&fix.changed, &fix.lock, &until);
    size_t reached = *counter;
    pthread_mutex_unlock(&fix.lock);
    ck_assert_uint_ge(reached, count);
}

static UNUSED_OK void wait_seen(size_t count)
{
    wait_counter(&fix.seen_count, count);
}

/* Until so many are held. */
static UNUSED_OK void wait_held(size_t count)
{
    wait_counter(&fix.held_count, count);
}

static bool sum_queue(void *ctx, const Kist__EventQueue *q)
{
    uint64_t *sums = ctx;
    sums[0] += q->waiting;
    sums[1] += q->parked;
    return true;
}

static UNUSED_OK void wait_queues(uint64_t waiting, uint64_t parked)
{
    uint64_t sums[2] = { 0 };
    for (unsigned i = 0; i < PATIENCE_S * 1000; i++) {
        struct timespec pause = { 0, 1000000 };
        sums[0] = sums[1] = 0;
        ck_assert_int_eq(store_list_queues(fix.store, sum_queue, sums), KIST_OK);
        if (sums[0] == waiting && sums[1] == parked)
            return;
        nanosleep(&pause, NULL);
    }
    ck_abort_msg("queues: %llu wait, %llu are parked", (unsigned long long)sums[0],
                 (unsigned long long)sums[1]);
}

/* ---- the store ---- */

static int64_t fixture_now_ms(struct env *env)
{
    (void)env;
    return env_real()->now_ms(env_real()) + fix.clock_ahead_ms;
}

static void start_store(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    config.dir = fix.dir;
    fix.env = (struct env){ .now_ms = fixture_now_ms, .random = env_real()->random };
    config.env = &fix.env;
    ck_assert_int_eq(store_open(&config, &fix.store), KIST_OK);
}

static void start_events(unsigned window_total)
{
    struct events_config config = { .store = fix.store,
                                    .region = "r",
                                    .sinks = fix.sink_list,
                                    .sink_count = 2,
                                    .window_total = window_total };
    ck_assert_int_eq(events_open(&config, &fix.events), KIST_OK);
}

static UNUSED_OK void stop_events(unsigned grace_ms)
{
    events_close(fix.events, grace_ms);
    fix.events = NULL;
}

static void create_bucket(const char *name)
{
    ck_assert_int_eq(commit_bucket(fix.store, name, CANONICAL_OF("aaaa"), "r"), KIST_OK);
}

/* The account that owns the bucket, whose targets are in its name. */
static void create_account(void)
{
    ck_assert_int_eq(
        commit_account(fix.store, "000000000001", CANONICAL_OF("aaaa"), "first", true, 0),
        KIST_OK);
}

/* Rules as NotificationRules, of the bucket "b". */
static void set_rules(Kist__NotificationRule **rules, size_t count)
{
    static char bucket[] = "b";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutBucketConfig put = KIST__PUT_BUCKET_CONFIG__INIT;
    Kist__Notification notification = KIST__NOTIFICATION__INIT;
    notification.n_rules = count;
    notification.rules = rules;
    put.name = bucket;
    put.kind = CONFIG_NOTIFICATION;
    put.document = schema_data(BYTES_LIT("<NotificationConfiguration/>"));
    put.notification = &notification;
    command.of_case = KIST__COMMAND__OF_PUT_BUCKET_CONFIG;
    command.put_bucket_config = &put;
    ck_assert_int_eq(store_commit(fix.store, &command), KIST_OK);
}

static Kist__NotificationRule rule(const char *target, const char *prefix)
{
    static char id[] = "rule";
    Kist__NotificationRule r = KIST__NOTIFICATION_RULE__INIT;
    r.id = id;
    r.kinds = UINT64_MAX;
    r.prefix = schema_data(bytes_str(prefix));
    r.target = mut(target);
    return r;
}

static void op_done(struct store_op *op)
{
    sem_post(op->user);
}

/* depth: of the function chain that writes it. */
static UNUSED_OK void put_object_of(const char *bucket, const char *key, uint32_t depth)
{
    struct object_writer *w = NULL;
    struct store_op op;
    sem_t sem;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Cause cause = KIST__CAUSE__INIT;
    Kist__Lineage lineage = KIST__LINEAGE__INIT;
    sem_init(&sem, 0, 0);
    ck_assert_int_eq(object_writer_open(fix.store, 4, 0, NULL, NULL, &w), KIST_OK);
    ck_assert_int_eq(object_writer_write(w, BYTES_LIT("body")), KIST_OK);
    request.bucket = mut(bucket);
    request.key = schema_data(bytes_str(key));
    request.object = &object;
    object.mtime_ms = 1;
    cause.time_ms = store_env(fix.store)->now_ms(store_env(fix.store)) - fix.age_ms;
    lineage.depth = depth;
    cause.lineage = depth ? &lineage : NULL;
    command.cause = &cause;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    store_op_init(&op, op_done, &sem);
    store_put(fix.store, &op, &command, w);
    while (sem_wait(&sem) != 0)
        continue;
    ck_assert_int_eq(op.err, KIST_OK);
    store_op_release(&op);
    sem_destroy(&sem);
}

static UNUSED_OK void put_object(const char *key)
{
    put_object_of("b", key, 0);
}

/* All of an object; the key of the first with that prefix, when key ends with '/'. */
static UNUSED_OK bool read_object(const char *bucket, const char *key, char *out, size_t max)
{
    struct arena arena;
    struct object_reader *r = NULL;
    struct object_id id = { bytes_str(bucket), bytes_str(key), VERSION_CURRENT };
    size_t len = 0, got = 0;
    arena_init(&arena, 1 << 20);
    bool there = object_reader_open(fix.store, &id, &arena, &r, NULL) == KIST_OK;
    while (there && len < object_reader_object(r)->size) {
        ck_assert_int_eq(
            object_reader_read(r, len, (uint8_t *)out + len, max - 1 - len, true, &got), KIST_OK);
        len += got;
    }
    out[len] = 0;
    if (there)
        object_reader_close(r);
    arena_release(&arena);
    return there;
}

/* ---- what most tests do ---- */

static UNUSED_OK void set_one_rule(char *target)
{
    Kist__NotificationRule r = rule(target, ""), *rules[] = { &r };
    set_rules(rules, 1);
}

static UNUSED_OK void put_many(const char *prefix, size_t count)
{
    char key[40];
    for (size_t i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "%s%05zu", prefix, i);
        put_object(key);
    }
}

static UNUSED_OK void set_ordered_rule(void)
{
    Kist__NotificationRule r = rule(target_a, ""), *rules[] = { &r };
    r.ordered = true;
    set_rules(rules, 1);
}

static UNUSED_OK enum event_outcome always_fails(const Kist__Event *event, unsigned attempt)
{
    (void)event, (void)attempt;
    return EVENT_FAILED;
}

static UNUSED_OK enum event_outcome refuses(const Kist__Event *event, unsigned attempt)
{
    (void)event, (void)attempt;
    return EVENT_REFUSED;
}

/* ctx: 256 characters. */
static UNUSED_OK bool copy_error(void *ctx, const struct event_item *item)
{
    snprintf(ctx, 256, "%s", item->event->error);
    return true;
}

static void setup(void)
{
    memset(&fix, 0, sizeof(fix));
    pthread_mutex_init(&fix.lock, NULL);
    pthread_cond_init(&fix.changed, NULL);
    snprintf(fix.dir, sizeof(fix.dir), "/tmp/kist-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fix.dir));
    fix.policy = (struct event_policy){
        .retries = 2, .age_max_s = 3600, .retry_base_ms = 5, .retry_max_ms = 20
    };
    fix.sinks[0] = (struct event_sink){ .service = "sqs",
                                        .describe = sink_describe,
                                        .deliver = sink_deliver };
    fix.sinks[1] = fix.sinks[0];
    fix.sinks[1].service = "lambda";
    fix.sink_list[0] = &fix.sinks[0];
    fix.sink_list[1] = &fix.sinks[1];
    start_store();
    create_account();
    create_bucket("b");
}

static void teardown(void)
{
    while (release_held(EVENT_DELIVERED))
        continue;
    events_close(fix.events, 60000);
    store_close(fix.store);
    remove_dir(fix.dir);
}

#endif
