/* When a schedule is due: rate, cron and at expressions.
 * https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html */
#ifndef KIST_SERVER_EVENTS_CRON_H
#define KIST_SERVER_EVENTS_CRON_H

#include "storage/base/bytes.h"

#define CRON_ZONE_MAX 50
#define CRON_YEAR_MIN 1970
#define CRON_YEAR_MAX 2199

enum cron_kind { CRON_AT, CRON_RATE, CRON_FIELDS };

/* An expression, parsed. Plain data. */
struct cron {
    enum cron_kind kind;
    char zone[CRON_ZONE_MAX + 1]; /* of the tz database; "UTC" */
    int64_t at_ms;                /* CRON_AT */
    int64_t rate_ms;              /* CRON_RATE */
    /* CRON_FIELDS: bit v: value v is wanted. */
    uint64_t minutes;
    uint32_t hours, days, months, weekdays; /* weekdays: bit 1 Sunday .. 7 Saturday */
    uint8_t years[(CRON_YEAR_MAX - CRON_YEAR_MIN + 8) / 8];
    bool any_day, any_weekday; /* '?' or '*' */
    bool last_day, last_workday;
    uint8_t near_day;         /* nW: the workday nearest to day n; 0: none */
    uint8_t last_weekday;     /* nL: the last such weekday of the month; 0: none */
    uint8_t nth_weekday, nth; /* n#k */
};

/* KIST_E_INVALID: not an expression, or no zone of that name. zone: empty for UTC. */
enum kist_err cron_parse(struct bytes expression, struct bytes zone, struct cron *out) MUST_CHECK;
/* The first time after after_ms; INT64_MAX: none. base_ms: what rates are counted from. A wall
 * time that a change of clocks skips is not due; one that comes twice is due once, at first. */
int64_t cron_next(const struct cron *c, int64_t base_ms, int64_t after_ms);

#endif
