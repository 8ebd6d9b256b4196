/* What the clock (schedule.c) and the API (schedule_api.c) of schedules share. */
#ifndef KIST_SERVER_EVENTS_SCHEDULE_INTERNAL_H
#define KIST_SERVER_EVENTS_SCHEDULE_INTERNAL_H

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
/* The turn of a schedule at its next time after after_ms; false: there is none. In the arena, but
 * for the buffer. */
bool schedule_turn_after(const Kist__Schedule *schedule, const char *account, int64_t after_ms,
                         struct arena *arena, struct schedule_turn *out);
void schedule_turn_release(struct schedule_turn *t);
/* The time that a schedule's first turn is after. */
int64_t schedule_begin(const Kist__Schedule *schedule, int64_t now_ms);
/* schedule_api.c: fills s->service. */
void schedule_api_init(struct schedules *s);
/* A schedule came: look again at what is due first. */
void schedules_note(struct schedules *s);

#endif
