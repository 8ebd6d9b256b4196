/* Events on their way from the outbox to their targets.
 *
 *   Event rows --> dispatcher --> queue of a target --> sink.deliver() --> done(outcome)
 *                      ^                                                      |
 *                      '--- ChangeEvents (gone | later | dead letter | parked) <'
 *
 * At least once: a row goes when its target has said so and the log has it. The dispatcher keeps
 * nothing that it could not read again, so it may die at any time. Each target has its own window
 * of deliveries that are under way; a slow, dead or full one fills its window and waits, and the
 * others do not notice. What waits, waits in the store: memory is bounded by windows.
 *
 * Two kinds of failure: what says something about the event (it failed: an attempt is counted,
 * the event goes to a later time), and what says something about the target (it is not there: no
 * attempt is counted, the whole queue waits and one event tries again with a growing pause).
 */
#ifndef KIST_SERVER_EVENTS_EVENTS_H
#define KIST_SERVER_EVENTS_EVENTS_H

#include "storage/object/store.h"

enum event_outcome {
    EVENT_DELIVERED,
    EVENT_FAILED,    /* this event: an attempt is counted */
    EVENT_THROTTLED, /* the target has no room: again later, no attempt is counted */
    EVENT_ABSENT,    /* the target cannot be reached: the queue waits */
    EVENT_REFUSED    /* it will never work: dead letter at once */
};

/* One event under way. It, and all that it points to, lives until done(). */
struct event_delivery {
    const Kist__Event *event;
    const char *id;   /* UUID, the same at every attempt */
    unsigned attempt; /* from 1 */
    /* From any thread, exactly once. why: for people, copied; NULL with EVENT_DELIVERED.
     * response: what a function answered, for a destination; may be empty. spans: of the trace,
     * may be NULL; copied. */
    void (*done)(struct event_delivery *d, enum event_outcome outcome, const char *why,
                 struct bytes response, const Kist__Span *span);
    void *sink_state; /* the sink's */
};

/* What a target says of itself. Strings live in the arena given. */
struct event_policy {
    unsigned concurrency;                 /* deliveries at once; 0: the default, 64 */
    int retries;                          /* attempts after the first; -1: without end */
    uint32_t age_max_s;                   /* then it is a dead letter */
    uint32_t retry_base_ms, retry_max_ms; /* pause after the first failure, doubled each time */
    const char *dead_letter;              /* ARN of a target, or s3://bucket/prefix; NULL: park */
    const char *on_success;               /* destinations of functions: the same; NULL: none */
    bool ordered; /* rules that are made for it order the events of a key */
};

/* Who delivers to a kind of target. All functions may be called from any thread. */
struct event_sink {
    void *ctx;
    const char *service; /* of ARNs: "lambda", "sqs", "sns", "events" */
    /* The target as it is now. KIST_E_NOT_FOUND: there is none (any more). */
    enum kist_err (*describe)(void *ctx, struct bytes arn, struct arena *arena,
                              struct event_policy *out) MUST_CHECK;
    /* Never blocks. done() may be called before it returns. */
    void (*deliver)(void *ctx, struct event_delivery *d);
    /* May the S3 service send this bucket's events to it? For PutBucketNotification. Without a
     * bucket: may the account itself, by a schedule? */
    bool (*accepts)(void *ctx, struct bytes arn, struct bytes bucket, struct bytes account);
};
#define EVENT_SINKS_MAX 8

struct events_config {
    struct store *store;
    const char *region;
    const struct event_sink *const *sinks; /* must outlive the dispatcher */
    size_t sink_count;
    unsigned window_total; /* deliveries under way, of all targets; 0: 1,024 */
};

struct events;
enum kist_err events_open(const struct events_config *config, struct events **out) MUST_CHECK;
/* Waits for deliveries under way, at most grace_ms; what is not done is delivered again at the
 * next start. NULL is allowed. */
void events_close(struct events *e, unsigned grace_ms);

/* For PutBucketNotificationConfiguration and kist event targets: KIST_E_NOT_FOUND, KIST_E_DENIED.
 */
enum kist_err events_check_target(struct events *e, struct bytes arn, struct bytes bucket,
                                  struct bytes account) MUST_CHECK;
/* Looks at a target's settings again (it was changed, or made). */
void events_target_changed(struct events *e, struct bytes arn);

struct events_stats {
    uint64_t delivered, failed, throttled, absent, refused, retried, dead_letters, parked;
    uint64_t in_flight;
    int64_t oldest_ms; /* when the oldest event that waits was made; 0: none waits */
};
void events_stats(struct events *e, struct events_stats *out);
/* The same without oldest_ms, which is read from the store. */
void events_counts(struct events *e, struct events_stats *out);
/* All of it for a metrics page, in Prometheus' text format. events: struct events. */
enum kist_err events_metrics(void *events, struct buf *out) MUST_CHECK;

/* One target's, for metrics and lists. Strings live until each() returns. */
struct events_target {
    const char *target;
    uint64_t waiting, parked; /* in the store; those under way are among them */
    uint64_t in_flight;
    uint64_t delivered, failed, throttled, absent, refused, retried, dead_letters; /* so far */
    int64_t oldest_ms;                                                             /* as above */
    bool paused, is_absent;
};
/* Targets for which anything waits, which are paused, or were told something, in no order; each()
 * returns false to stop. */
enum kist_err events_each_target(struct events *e,
                                 bool (*each)(void *ctx, const struct events_target *target),
                                 void *ctx) MUST_CHECK;
/* Rows were changed by others than the dispatcher: it reads from the start. */
void events_reread(struct events *e);
/* A record of a replay was written by others. */
void events_replays_changed(struct events *e);

/* ---- names.c ---- */
/* "ObjectCreated:Put"; NULL for kinds that S3 does not know. */
const char *event_name(enum event_kind kind);
/* From a configuration's "s3:ObjectCreated:*" or "s3:ObjectCreated:Put" to bits of kinds; 0: no
 * such event. */
uint64_t event_kinds(struct bytes name);

/* ---- render.c: documents that targets get ---- */
struct event_form {
    const char *region;
    int64_t now_ms;
};
/* {"Records":[...]}, record version 2.1 (2.3 for tagging, ACL and lifecycle events).
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html */
enum kist_err event_render_s3(const struct event_form *form, const Kist__Event *event,
                              const char *id, struct buf *out) MUST_CHECK;
/* Amazon EventBridge's form.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html */
enum kist_err event_render_bridge(const struct event_form *form, const Kist__Event *event,
                                  const char *id, struct buf *out) MUST_CHECK;
/* CloudEvents 1.0, structured JSON, with the S3 record as data.
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md */
enum kist_err event_render_cloud(const struct event_form *form, const Kist__Event *event,
                                 const char *id, struct buf *out) MUST_CHECK;

#endif
