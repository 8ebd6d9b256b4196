/* Cron fields are searched as a person would: the next month that fits, in it the next day, then
 * hour and minute, all on the wall clock; ICU says which instant that is in the zone. */
#include "server/events/cron.h"

#include <stdio.h>
#include <stdlib.h>
#include <unicode/ucal.h>
#include <unicode/ustring.h>

#define SEARCH_MONTHS ((CRON_YEAR_MAX - CRON_YEAR_MIN + 1) * 12)

/* ---- small parsers ---- */

struct field {
    unsigned min, max;
    const char *const *names; /* of the values from name_min on; NULL: none */
    unsigned name_count, name_min;
};

static const char *const month_names[] = { "JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                           "JUL", "AUG", "SEP", "OCT", "NOV", "DEC" };
static const char *const day_names[] = { "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT" };

static const struct field minute_field = { 0, 59, NULL, 0, 0 };
static const struct field hour_field = { 0, 23, NULL, 0, 0 };
static const struct field day_field = { 1, 31, NULL, 0, 0 };
static const struct field month_field = { 1, 12, month_names, 12, 1 };
static const struct field weekday_field = { 1, 7, day_names, 7, 1 };
static const struct field year_field = { CRON_YEAR_MIN, CRON_YEAR_MAX, NULL, 0, 0 };

static bool value_of(struct bytes text, const struct field *f, unsigned *out)
{
    uint64_t n;
    for (unsigned i = 0; i < f->name_count; i++)
        if (bytes_equal_nocase(text, bytes_str(f->names[i]))) {
            *out = f->name_min + i;
            return true;
        }
    if (bytes_to_u64(text, f->max, &n) != KIST_OK || n < f->min)
        return false;
    *out = (unsigned)n;
    return true;
}

/* Takes what stands before the mark off *rest; all of it when there is no mark. */
static struct bytes take(struct bytes *rest, char mark)
{
    const uint8_t *at = rest->len ? memchr(rest->ptr, mark, rest->len) : NULL;
    struct bytes part = bytes_of(rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len);
    size_t skip = part.len + (at ? 1 : 0);
    *rest = bytes_of(rest->ptr + skip, rest->len - skip);
    return part;
}

static bool has(struct bytes text, char c)
{
    return text.len && memchr(text.ptr, c, text.len) != NULL;
}

/* "5", "1-5", "*", "0/15", "10-30/5": sets bits of values less min. */
static bool parse_part(struct bytes part, const struct field *f, uint8_t *bits)
{
    struct bytes rest = part, range = take(&rest, '/');
    uint64_t step = 1;
    bool stepped = has(part, '/');
    unsigned from, to;
    if (stepped && (bytes_to_u64(rest, f->max, &step) != KIST_OK || step == 0))
        return false;
    if (bytes_equal(range, BYTES_LIT("*"))) {
        from = f->min;
        to = f->max;
    } else {
        struct bytes end = range, begin = take(&end, '-');
        if (!value_of(begin, f, &from))
            return false;
        to = stepped ? f->max : from;
        if (has(range, '-') && (!value_of(end, f, &to) || to < from))
            return false;
    }
    for (uint64_t v = from; v <= to; v += step)
        bits[(v - f->min) / 8] |= (uint8_t)(1 << (v - f->min) % 8);
    return true;
}

static bool parse_list(struct bytes text, const struct field *f, uint8_t *bits)
{
    if (!text.len)
        return false;
    do {
        if (!parse_part(take(&text, ','), f, bits))
            return false;
    } while (text.len);
    return true;
}

/* Bits of values, at most 64 of them. */
static bool parse_mask(struct bytes text, const struct field *f, uint64_t *mask)
{
    uint8_t bits[8] = { 0 };
    if (text.len && text.ptr[text.len - 1] == ',')
        return false;
    if (!parse_list(text, f, bits))
        return false;
    *mask = 0;
    for (unsigned i = 0; i < 64; i++)
        if (bits[i / 8] >> (i % 8) & 1 && i + f->min < 64)
            *mask |= (uint64_t)1 << (i + f->min);
    return true;
}

static bool ends_with(struct bytes text, char c)
{
    return text.len > 0 && (text.ptr[text.len - 1] | 0x20) == (c | 0x20);
}

static bool parse_days(struct bytes text, struct cron *c)
{
    uint64_t mask;
    unsigned day;
    struct bytes head = bytes_of(text.ptr, text.len ? text.len - 1 : 0);
    if (bytes_equal(text, BYTES_LIT("?")) || bytes_equal(text, BYTES_LIT("*"))) {
        c->any_day = true;
    } else if (bytes_equal_nocase(text, BYTES_LIT("L"))) {
        c->last_day = true;
    } else if (bytes_equal_nocase(text, BYTES_LIT("LW"))) {
        c->last_workday = true;
    } else if (ends_with(text, 'W')) {
        if (!value_of(head, &day_field, &day))
            return false;
        c->near_day = (uint8_t)day;
    } else {
        if (!parse_mask(text, &day_field, &mask))
            return false;
        c->days = (uint32_t)mask;
    }
    return true;
}

static bool parse_weekdays(struct bytes text, struct cron *c)
{
    uint64_t mask;
    unsigned day, nth;
    static const struct field nths = { 1, 5, NULL, 0, 0 };
    struct bytes head = bytes_of(text.ptr, text.len ? text.len - 1 : 0);
    if (bytes_equal(text, BYTES_LIT("?")) || bytes_equal(text, BYTES_LIT("*"))) {
        c->any_weekday = true;
    } else if (bytes_equal_nocase(text, BYTES_LIT("L"))) {
        c->weekdays = 1U << 7;
    } else if (ends_with(text, 'L')) {
        if (!value_of(head, &weekday_field, &day))
            return false;
        c->last_weekday = (uint8_t)day;
    } else if (has(text, '#')) {
        struct bytes rest = text, name = take(&rest, '#');
        if (!value_of(name, &weekday_field, &day) || !value_of(rest, &nths, &nth))
            return false;
        c->nth_weekday = (uint8_t)day;
        c->nth = (uint8_t)nth;
    } else {
        if (!parse_mask(text, &weekday_field, &mask))
            return false;
        c->weekdays = (uint32_t)mask;
    }
    return true;
}

/* Six fields between blanks. One of the two kinds of days must be '?'. */
static enum kist_err parse_fields(struct bytes text, struct cron *c)
{
    struct bytes fields[6];
    uint64_t hours, months;
    size_t count = 0;
    while (text.len) {
        struct bytes one = take(&text, ' ');
        if (!one.len)
            continue;
        if (count == ARRAY_LEN(fields))
            return KIST_E_INVALID;
        fields[count++] = one;
    }
    if (count != ARRAY_LEN(fields))
        return KIST_E_INVALID;
    bool asked = bytes_equal(fields[2], BYTES_LIT("?")) || bytes_equal(fields[4], BYTES_LIT("?"));
    if (!asked || !parse_mask(fields[0], &minute_field, &c->minutes) ||
        !parse_mask(fields[1], &hour_field, &hours) || !parse_days(fields[2], c) ||
        !parse_mask(fields[3], &month_field, &months) || !parse_weekdays(fields[4], c) ||
        !parse_list(fields[5], &year_field, c->years))
        return KIST_E_INVALID;
    c->hours = (uint32_t)hours;
    c->months = (uint32_t)months;
    c->kind = CRON_FIELDS;
    return KIST_OK;
}

static enum kist_err parse_rate(struct bytes text, struct cron *c)
{
    static const struct {
        const char *one, *many;
        int64_t ms;
    } units[] = { { "minute", "minutes", 60000 },
                  { "hour", "hours", 3600000 },
                  { "day", "days", 86400000 },
                  { "second", "seconds", 1000 } };
    struct bytes unit = text, number = take(&unit, ' ');
    uint64_t n;
    if (bytes_to_u64(number, 100000000, &n) != KIST_OK || n == 0)
        return KIST_E_INVALID;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (bytes_equal(unit, bytes_str(units[i].one)) ||
            bytes_equal(unit, bytes_str(units[i].many))) {
            c->kind = CRON_RATE;
            c->rate_ms = (int64_t)n * units[i].ms;
            return KIST_OK;
        }
    return KIST_E_INVALID;
}

/* ---- zones ---- */

struct wall {
    int year, month, day, hour, minute, second; /* month 1..12, day 1..31 */
};

static UCalendar *open_zone(const char *zone)
{
    UErrorCode status = U_ZERO_ERROR;
    UChar name[CRON_ZONE_MAX + 1];
    u_uastrncpy(name, zone, CRON_ZONE_MAX + 1);
    UCalendar *calendar = ucal_open(name, -1, "en", UCAL_GREGORIAN, &status);
    if (U_FAILURE(status))
        return NULL;
    ucal_setAttribute(calendar, UCAL_REPEATED_WALL_TIME, UCAL_WALLTIME_FIRST);
    ucal_setAttribute(calendar, UCAL_SKIPPED_WALL_TIME, UCAL_WALLTIME_LAST);
    return calendar;
}

static bool zone_exists(const char *zone)
{
    UErrorCode status = U_ZERO_ERROR;
    UChar name[CRON_ZONE_MAX + 1], canonical[128];
    UBool is_system = 0;
    u_uastrncpy(name, zone, CRON_ZONE_MAX + 1);
    ucal_getCanonicalTimeZoneID(name, -1, canonical, 128, &is_system, &status);
    return U_SUCCESS(status) && is_system;
}

static bool read_wall(UCalendar *calendar, int64_t ms, struct wall *w)
{
    UErrorCode status = U_ZERO_ERROR;
    ucal_setMillis(calendar, (double)ms, &status);
    *w = (struct wall){
        ucal_get(calendar, UCAL_YEAR, &status),   ucal_get(calendar, UCAL_MONTH, &status) + 1,
        ucal_get(calendar, UCAL_DATE, &status),   ucal_get(calendar, UCAL_HOUR_OF_DAY, &status),
        ucal_get(calendar, UCAL_MINUTE, &status), ucal_get(calendar, UCAL_SECOND, &status)
    };
    return U_SUCCESS(status);
}

/* False when the zone's clocks skip that time. */
static bool instant_of(UCalendar *calendar, const struct wall *w, int64_t *ms)
{
    UErrorCode status = U_ZERO_ERROR;
    struct wall back;
    ucal_clear(calendar);
    ucal_setDateTime(calendar, w->year, w->month - 1, w->day, w->hour, w->minute, w->second,
                     &status);
    double millis = ucal_getMillis(calendar, &status);
    if (U_FAILURE(status))
        return false;
    *ms = (int64_t)millis;
    return read_wall(calendar, *ms, &back) && back.hour == w->hour && back.minute == w->minute &&
           back.day == w->day;
}

static enum kist_err parse_at(struct bytes text, struct cron *c)
{
    char copy[20];
    struct wall w;
    char end;
    if (text.len != 19)
        return KIST_E_INVALID;
    memcpy(copy, text.ptr, 19);
    copy[19] = '\0';
    for (size_t i = 0; i < 19; i++)
        if ((copy[i] < '0' || copy[i] > '9') && !memchr("-T:", copy[i], 3))
            return KIST_E_INVALID;
    if (sscanf(copy, "%4d-%2d-%2dT%2d:%2d:%2d%c", &w.year, &w.month, &w.day, &w.hour, &w.minute,
               &w.second, &end) != 6 ||
        w.year < CRON_YEAR_MIN || w.month < 1 || w.month > 12 || w.day < 1 || w.day > 31 ||
        w.hour > 23 || w.minute > 59 || w.second > 59)
        return KIST_E_INVALID;
    UCalendar *calendar = open_zone(c->zone);
    bool ok = calendar && instant_of(calendar, &w, &c->at_ms);
    if (calendar)
        ucal_close(calendar);
    c->kind = CRON_AT;
    return ok ? KIST_OK : KIST_E_INVALID;
}

enum kist_err cron_parse(struct bytes expression, struct bytes zone, struct cron *out)
{
    static const struct {
        struct bytes head;
        enum kist_err (*parse)(struct bytes inner, struct cron *c);
    } kinds[] = { { { (const uint8_t *)"rate(", 5 }, parse_rate },
                  { { (const uint8_t *)"cron(", 5 }, parse_fields },
                  { { (const uint8_t *)"at(", 3 }, parse_at } };
    memset(out, 0, sizeof(*out));
    if (zone.len > CRON_ZONE_MAX || has(zone, '\0'))
        return KIST_E_INVALID;
    if (!zone.len)
        zone = BYTES_LIT("UTC");
    memcpy(out->zone, zone.ptr, zone.len);
    if (!zone_exists(out->zone) || !ends_with(expression, ')'))
        return KIST_E_INVALID;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t skip = kinds[i].head.len;
        if (bytes_starts_with(expression, kinds[i].head))
            return kinds[i].parse(bytes_of(expression.ptr + skip, expression.len - skip - 1),
                                  out);
    }
    return KIST_E_INVALID;
}

/* ---- the search ---- */

static int days_in(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* 1 Sunday .. 7 Saturday (Sakamoto's method). */
static int weekday_of(int year, int month, int day)
{
    static const int shift[] = { 0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4 };
    year -= month < 3;
    return (year + year / 4 - year / 100 + year / 400 + shift[month - 1] + day) % 7 + 1;
}

/* The workday nearest to a day, within its month. */
static int nearest_workday(int year, int month, int day)
{
    int last = days_in(year, month);
    day = day > last ? last : day;
    int weekday = weekday_of(year, month, day);
    if (weekday == 7)
        return day > 1 ? day - 1 : day + 2;
    if (weekday == 1)
        return day < last ? day + 1 : day - 2;
    return day;
}

static int last_workday(int year, int month)
{
    int day = days_in(year, month);
    while (weekday_of(year, month, day) == 1 || weekday_of(year, month, day) == 7)
        day--;
    return day;
}

static bool day_fits(const struct cron *c, int year, int month, int day)
{
    int weekday = weekday_of(year, month, day), last = days_in(year, month);
    if (c->last_day)
        return day == last;
    if (c->last_workday)
        return day == last_workday(year, month);
    if (c->near_day)
        return c->near_day <= last && day == nearest_workday(year, month, c->near_day);
    if (c->days)
        return c->days >> day & 1;
    if (c->last_weekday)
        return weekday == c->last_weekday && day + 7 > last;
    if (c->nth)
        return weekday == c->nth_weekday && (day - 1) / 7 + 1 == c->nth;
    if (c->weekdays)
        return c->weekdays >> weekday & 1;
    return true;
}

static bool month_fits(const struct cron *c, int year, int month)
{
    int at = year - CRON_YEAR_MIN;
    return at >= 0 && year <= CRON_YEAR_MAX && (c->years[at / 8] >> (at % 8) & 1) &&
           (c->months >> month & 1);
}

/* The first minute of that day, from `from` on, that fits and exists. */
static bool search_day(const struct cron *c, UCalendar *calendar, const struct wall *day,
                       int from, int64_t after_ms, int64_t *found)
{
    for (int at = from; at < 24 * 60; at++) {
        if (!(c->hours >> (at / 60) & 1)) {
            at += 59 - at % 60;
            continue;
        }
        struct wall w = { day->year, day->month, day->day, at / 60, at % 60, 0 };
        if ((c->minutes >> (at % 60) & 1) && instant_of(calendar, &w, found) && *found > after_ms)
            return true;
    }
    return false;
}

static int64_t search(const struct cron *c, UCalendar *calendar, int64_t after_ms)
{
    struct wall w;
    int64_t found;
    if (!read_wall(calendar, after_ms, &w))
        return INT64_MAX;
    int from = w.hour * 60 + w.minute;
    for (int months = 0; months < SEARCH_MONTHS && w.year <= CRON_YEAR_MAX; months++) {
        int last = month_fits(c, w.year, w.month) ? days_in(w.year, w.month) : 0;
        for (; w.day <= last; w.day++, from = 0)
            if (day_fits(c, w.year, w.month, w.day) &&
                search_day(c, calendar, &w, from, after_ms, &found))
                return found;
        from = 0;
        w.day = 1;
        w.year += w.month == 12;
        w.month = w.month % 12 + 1;
    }
    return INT64_MAX;
}

int64_t cron_next(const struct cron *c, int64_t base_ms, int64_t after_ms)
{
    if (c->kind == CRON_AT)
        return c->at_ms > after_ms ? c->at_ms : INT64_MAX;
    if (c->kind == CRON_RATE) {
        int64_t steps = after_ms < base_ms ? 0 : (after_ms - base_ms) / c->rate_ms + 1;
        return base_ms + steps * c->rate_ms;
    }
    UCalendar *calendar = open_zone(c->zone);
    if (!calendar)
        return INT64_MAX;
    int64_t next = search(c, calendar, after_ms);
    ucal_close(calendar);
    return next;
}
