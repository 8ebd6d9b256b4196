/* What is to be told to somebody by the clock.
 *
 *   Schedule record --> ScheduleTurn record (its name begins with the time that is due next)
 *   clock: the first turn is due --> ChangeEvents: an event for the target, the next turn
 *
 * Event and next turn are one step: no time is invoked twice, and none is lost. A schedule that
 * is changed or removed leaves its turn behind; when that is due, its revision says that it
 * stands for nothing. Nothing is kept in memory but the time of the first turn.
 */
#ifndef KIST_SERVER_EVENTS_SCHEDULE_H
#define KIST_SERVER_EVENTS_SCHEDULE_H

#include "server/http/api.h"
#include "storage/object/store.h"

/* Kist__Schedule.missed: times that passed while no server ran. */
enum schedule_missed {
    SCHEDULE_MISSED_ONCE, /* the last of them is invoked */
    SCHEDULE_MISSED_SKIP, /* later than a minute: not at all; an at() is invoked all the same */
    SCHEDULE_MISSED_ALL
};

struct events;
struct schedules;

struct schedules_config {
    struct store *store;
    const char *region;
    struct events *events; /* who knows what targets there are */
};
enum kist_err schedules_open(const struct schedules_config *config,
                             struct schedules **out) MUST_CHECK;
void schedules_close(struct schedules *s); /* NULL is allowed */

/* Amazon EventBridge Scheduler's API: schedules and groups.
 * https://docs.aws.amazon.com/scheduler/latest/APIReference/ */
const struct api_service *schedules_service(struct schedules *s);

#endif
