/* What the clock (schedule.c) and the API (schedule_api.c, schedule_document.c,
 * schedule_groups.c) of schedules share. */
#ifndef KIST_SERVER_EVENTS_SCHEDULE_INTERNAL_H
#define KIST_SERVER_EVENTS_SCHEDULE_INTERNAL_H

#include <jansson.h>
#include <pthread.h>

#include "server/events/cron.h"
#include "server/events/events.h"
#include "server/events/schedule.h"

#define SCHEDULE_INPUT_MAX ((size_t)256 << 10)

struct schedules {
    struct schedules_config config;
    struct api_service service;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool started, stop, dirty;
};

/* A turn's change of records, with all that it points to. */
struct schedule_turn {
    Kist__RecordChange change;
    Kist__Record record;
    Kist__ScheduleTurn turn;
    struct buf body;
};
/* The turn of a schedule at its next time after after_ms; KIST_E_NOT_FOUND: there is none. In the
 * arena, but for the buffer, which is to be released whatever comes of it. */
enum kist_err schedule_turn_after(const Kist__Schedule *schedule, const char *account,
                                  int64_t after_ms, struct arena *arena,
                                  struct schedule_turn *out) MUST_CHECK;
void schedule_turn_release(struct schedule_turn *t);
/* The time that a schedule's first turn is after. */
int64_t schedule_begin(const Kist__Schedule *schedule, int64_t now_ms);
/* ---- one request ---- */

struct schedule_work {
    struct schedules *s;
    struct api_call *call;
    struct store_op op;
    bool op_used;
    void (*then)(struct schedule_work *w);
    Kist__Schedule schedule;
    struct schedule_turn turn, gone;
    struct buf body;
    struct bytes name, group; /* of the path and the query */
    uint64_t expected;
    int64_t now_ms;
};

/* Takes json over; NULL: {}. */
void schedule_reply(struct schedule_work *w, unsigned status, json_t *json);
void schedule_fail(struct schedule_work *w, unsigned status, const char *type,
                   const char *message);
void schedule_fail_err(struct schedule_work *w, enum kist_err err);
/* NUL-terminated, in the arena; "" on out of memory. */
char *schedule_copy(struct schedule_work *w, struct bytes b);
/* kind: "schedule", "schedule-group"; an empty name is left out. */
char *schedule_arn(struct schedule_work *w, const char *kind, struct bytes group,
                   struct bytes name);
/* False after an error reply. */
bool schedule_allowed(struct schedule_work *w, const char *action, const char *arn);
/* then() once the changes are durable; otherwise an error is replied. */
void schedule_commit(struct schedule_work *w, Kist__RecordChange **changes, size_t count,
                     void (*then)(struct schedule_work *w));
void schedule_removed(struct schedule_work *w); /* replies {} */
bool schedule_group_exists(struct schedule_work *w);

/* schedule_document.c: into *to, which lives in the request's arena; NULL, or what is wrong. */
const char *schedule_read(struct schedule_work *w, const json_t *root, Kist__Schedule *to);
/* whole: as GetSchedule says it; otherwise as a listing does. NULL: no memory. */
json_t *schedule_describe(struct schedule_work *w, const Kist__Schedule *o, bool whole);

/* schedule_groups.c: of w->group */
void schedule_create_group(struct schedule_work *w);
void schedule_get_group(struct schedule_work *w);
void schedule_delete_group(struct schedule_work *w);

/* schedule_api.c: fills s->service. */
void schedule_api_init(struct schedules *s);
/* A schedule came: look again at what is due first. */
void schedules_note(struct schedules *s);

#endif
