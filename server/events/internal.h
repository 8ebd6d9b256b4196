/* The dispatcher's parts. One thread owns all of it; what other threads leave for it (ended
 * deliveries, ended commands, news of the store) lies in the mailbox, under the lock.
 *
 *   rows --queue.c--> item --dispatch.c--> sink ... done() --> mailbox --settle.c--> ChangeEvents
 *            |                                                    |
 *            '-- ordered.c: one item of a key at a time           '-- letter.c: dead letters
 *
 * An item is a row that the dispatcher knows: it is under way, or being settled, or waits for an
 * absent target. Rows that are known are not read a second time; all else stays in the store.
 */
#ifndef KIST_SERVER_EVENTS_INTERNAL_H
#define KIST_SERVER_EVENTS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/events/events.h"
#include "storage/base/worker.h" /* CONTAINER_OF */
#include "storage/index/rows.h"

#define CONCURRENCY_DEFAULT 64
#define WINDOW_DEFAULT 1024
/* A queue may have so many under way even where others fill the whole window. */
#define WINDOW_OWN 16
/* Events in memory, of all queues; a queue's first is let in all the same. */
#define ITEM_BYTES_TOTAL_MAX ((size_t)64 << 20)
#define ITEM_BYTES_MAX ((size_t)12 << 20)
#define AGE_DEFAULT_S 86400
/* "Lambda stops [...] after approximately 16 invocations in the same chain"
 * https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html */
#define LINEAGE_DEPTH_MAX 16
/* The longest pause before an event is tried again, jitter included. */
#define PAUSE_MAX_MS ((int64_t)450000)

struct queue;
struct chain;
struct item;

enum item_how { ITEM_GONE, ITEM_LATER, ITEM_PARKED };

struct item {
    struct event_delivery d;
    struct events *e;
    struct queue *queue;
    struct chain *chain; /* of an ordered event */
    struct item *next, *hash_next;
    struct arena arena; /* of all below; empty while it waits for an absent target */
    Kist__Event *event;
    size_t bytes;
    uint8_t row[ROW_EVENT_LEN];
    char id[37];
    /* What done() said. */
    enum event_outcome outcome;
    const char *why; /* never NULL */
    struct bytes response;
    Kist__Span *span;
    /* What becomes of the row. */
    enum item_how how;
    int64_t due_ms;
    uint32_t attempts, throttles;
    Kist__Event *added;
    bool success; /* its letter says that all went well */
    bool out;     /* the sink has it */
};

struct item_list {
    struct item *first, **end;
    size_t count;
};
void item_list_init(struct item_list *l);
void item_list_add(struct item_list *l, struct item *item);
void item_list_add_first(struct item_list *l, struct item *item);
struct item *item_list_take(struct item_list *l); /* NULL: empty */
void item_list_move(struct item_list *to, struct item_list *from);

/* Where an ordered event's row is: it is due at 0 always. */
struct event_ref {
    uint64_t index;
    uint32_t counter;
};

/* Events of one bucket and key that must follow one another. refs[0] is under way, or next. */
struct chain {
    uint64_t hash; /* of bucket and key; those that share one are ordered, too */
    struct chain *hash_next, *next;
    struct event_ref *refs; /* ascending */
    size_t count, cap;
    bool out;
    int64_t due_ms; /* of the first one */
    /* There are more, from this one on: too many to be kept here. */
    bool more;
    struct event_ref more_from;
};
#define CHAIN_BUCKETS 256
#define CHAINS_MAX 1024
#define CHAIN_REFS_MAX 32

struct chains {
    struct chain *bucket[CHAIN_BUCKETS];
    size_t count;
    struct chain *ready, **ready_end;
    struct chain *delayed;
    int64_t delayed_ms; /* when the first of them is due */
};

struct queue_counts {
    _Atomic uint64_t delivered, failed, throttled, absent, refused, retried, dead_letters, parked;
};

struct queue {
    struct events *e;
    struct queue *next, *hash_next;
    char *target;
    const struct event_sink *sink; /* NULL: nobody delivers there */
    bool is_function;
    bool listed, paused;
    struct arena policy_arena;
    struct event_policy policy;
    bool described, gone;
    uint64_t id; /* row_queue_id() */
    bool deaf;   /* news of it wake nobody: it is among the events' `deaf` */
    /* Reading. */
    struct bytes cursor; /* into cursor_row: new events up to here are known */
    uint8_t cursor_row[ROW_EVENT_LEN];
    struct bytes sweep; /* the same, of a pass over later ones */
    uint8_t sweep_row[ROW_EVENT_LEN];
    bool new_maybe, later_maybe, later_turn;
    int64_t later_ms; /* when the next later one is due */
    struct item_list back;
    struct chains *chains; /* made with the first ordered event */
    /* Waiting, by mono_ns(). */
    uint64_t again_ns; /* something of ours failed */
    uint64_t absent_ns;
    int64_t absent_pause_ms;
    uint64_t calm_ns; /* no room there */
    unsigned throttles;
    unsigned window;
    /* Under way, and known in all. */
    size_t in_flight, items;
    struct queue_counts counts;
    _Atomic bool absent_now;
    bool named; /* under the lock */
    _Atomic uint64_t in_flight_now;
};

/* What came back to the dispatcher's thread from the store: an op, or a wake. */
struct note {
    void (*run)(struct note *n);
    struct note *next;
    struct events *e;
};

#define ITEM_BUCKETS 4096
#define QUEUE_BUCKETS 256
/* Queues whose news wake nobody, by id: no more of them are remembered, the others are woken for
 * nothing. */
#define DEAF_MAX 64
/* Queues of targets that are gone are forgotten when there are more. */
#define QUEUES_KEPT 4096

struct events {
    struct events_config config;
    struct env *env;
    pthread_t thread;
    bool started;

    /* The mailbox. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct item_list finished;
    struct note *notes, **notes_end;
    bool noted, targets_changed, rewind, replays_changed, stopping, stop_seen;
    uint64_t deaf[DEAF_MAX]; /* at id % DEAF_MAX */
    int64_t grace_ms;
    bool closed;    /* the thread has ended */
    size_t orphans; /* deliveries whose done() comes after that */
    /* Written by the thread under the lock, read by anybody under it. */
    struct queue *queues, *queue_table[QUEUE_BUCKETS];
    size_t queue_count;

    /* The thread's. */
    struct item *table[ITEM_BUCKETS];
    size_t items, item_bytes, out;
    struct item_list settled; /* to be written */
    size_t ops;               /* commands and writes under way */
    size_t settle_ops;
    uint64_t settle_ns;    /* not before: the log failed */
    uint64_t discover_ns;  /* not before */
    bool discover;         /* queues are to be looked through */
    int64_t age_offset_ms; /* from mono_ns() to the clock of ages */
    struct replay *replays;
    uint64_t replays_ns; /* when they are to be looked for again; UINT64_MAX: not by the clock */
    struct queue_counts counts;
    _Atomic uint64_t in_flight_now;
};

/* The wall clock, by which times are stored. It may be set at any time, back too. */
int64_t events_now(const struct events *e);
/* The same for ages, and it runs no faster than time passes: when the wall clock is set forward,
 * what waits does not grow too old at once. After a start it is the wall clock again, because
 * nothing else lasts. */
int64_t events_age_now(struct events *e);
/* A pause, by mono_ns(). */
uint64_t events_after(int64_t pause_ms);
/* A stored time has come. One that is further away than any pause was stored while the clock was
 * ahead, and nobody knows by how much: it has come, too. INT64_MAX: never. */
static inline bool has_come(int64_t due_ms, int64_t now_ms)
{
    return due_ms <= now_ms || (due_ms != INT64_MAX && due_ms - now_ms > PAUSE_MAX_MS);
}
/* From any thread: run() on the dispatcher's. */
void events_post(struct events *e, struct note *n);

/* ---- items.c ---- */
/* NULL: out of memory. */
struct item *item_new(struct queue *q, struct bytes row);
/* Loads the event. KIST_E_NOT_FOUND, KIST_E_NOMEM ... */
enum kist_err item_load(struct item *item, struct bytes packed, const char *id) MUST_CHECK;
void item_unload(struct item *item);
bool item_known(const struct events *e, struct bytes row);
void item_free(struct item *item);
/* A copy in the item's arena, never NULL. */
const char *item_text(struct item *item, const char *text);

/* ---- queue.c ---- */
struct queue *queue_find(struct events *e, struct bytes target);
/* Takes note of what the store has for whom. */
void queues_discover(struct events *e);
/* Delivers some events; false: there is nothing to do for now. */
bool queue_turn(struct queue *q);
/* When it is to be asked next, if nothing else happens; UINT64_MAX: never. */
uint64_t queue_next_ns(struct queue *q, int64_t now_ms, uint64_t now_ns);
void queue_free(struct queue *q);
/* Its target is not there, or it is paused: until it listens again, what the store gets for it is
 * no news. A client that puts must not pay for waking a thread that can do nothing with it. */
void queue_deafen(struct queue *q);
/* From now on it hears, and what it has not heard of may be there. */
void queue_listen(struct queue *q);
const struct event_sink *events_sink_of(const struct events *e, struct bytes arn);
struct bytes arn_part(struct bytes arn, unsigned part); /* 0: "arn" */
uint32_t queue_age_max_s(const struct queue *q, const Kist__Event *event);

/* ---- ordered.c ---- */
/* Enters an ordered event's row. False: there is no room for it. */
bool chains_offer(struct queue *q, const struct event_item *row);
/* Items of keys that are free, at most `want`, into the list. */
void chains_take(struct queue *q, int64_t now_ms, size_t want, struct item_list *out);
/* Its row is settled: what follows it may go. */
void chain_settled(struct item *item);
/* It was not delivered, and is next again. */
void chain_back(struct item *item);
void chains_free(struct queue *q);

/* ---- settle.c ---- */
/* A delivery has ended. */
void settle_outcome(struct item *item);
/* It is not to be delivered at all. condition: as in a dead letter. */
void settle_refuse(struct item *item, const char *condition, const char *why);
void settle_letter_done(struct item *item, enum kist_err err);
/* Writes what there is to write. */
void settle_flush(struct events *e);

/* ---- letter.c ---- */
/* What a destination gets to read about the item, in its arena. */
enum kist_err letter_render(struct item *item, const char *condition,
                            struct bytes *out) MUST_CHECK;
/* Writes it below s3://bucket/prefix; settle_letter_done() follows, maybe at once. by_rule: the
 * bucket's owner asked for it, not the target's. */
void letter_write(struct item *item, const char *destination, struct bytes body, bool by_rule);
/* An event that carries it to another target. KIST_E_DENIED: that is somebody else's. */
enum kist_err letter_event(struct item *item, const char *target, struct bytes body,
                           Kist__Event **out) MUST_CHECK;
uint32_t event_depth(const Kist__Event *event);

/* ---- replay.c ---- */
/* Takes note of replays that are not done. */
void replays_load(struct events *e);
/* False: none had anything to do. */
bool replays_turn(struct events *e);
uint64_t replays_next_ns(const struct events *e); /* UINT64_MAX: never */
void replays_free(struct events *e);

/* ---- dispatch.c ---- */
/* Of what a function answered, so much is kept for a destination. */
#define EVENT_RESPONSE_MAX ((size_t)256 << 10)
/* When nobody knows it any more. */
void events_destroy(struct events *e);

#endif
