/* Dates as S3 reads and writes them. */
#include "storage/base/codec.h"

static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

#define DAY_S 86400

struct date {
    int year, month, day, hour, minute, second, millis;
    int weekday; /* 0: Sunday */
};

/* Days since 1970-01-01 in the proleptic Gregorian calendar, and back. Years begin in March, so
 * that the day which comes and goes is the last: 306 days lie between March and January, 719,468
 * between 0000-03-01 and 1970-01-01, 146,097 in 400 years. libc's functions take a lock that all
 * threads share. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of_days(int64_t days, struct date *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int of_era = (int)(days - era * 146097);
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (5 * of_year + 2) / 153;
    d->day = of_year - (153 * month + 2) / 5 + 1;
    d->month = month < 10 ? month + 3 : month - 9;
    d->year = (int)(year + era * 400) + (d->month <= 2);
}

/* Outside of years 0 to 9999, the nearest of them. */
static struct date broken_down(int64_t ms)
{
    int64_t seconds = ms / 1000 - (ms % 1000 < 0);
    int64_t days = seconds / DAY_S - (seconds % DAY_S < 0);
    int of_day = (int)(seconds - days * DAY_S);
    int64_t first = days_of(0, 1, 1), last = days_of(9999, 12, 31);
    struct date d = { .hour = of_day / 3600,
                      .minute = of_day / 60 % 60,
                      .second = of_day % 60,
                      .millis = (int)((ms % 1000 + 1000) % 1000) };
    days = days < first ? first : days > last ? last : days;
    date_of_days(days, &d);
    d.weekday = (int)(((days + 4) % 7 + 7) % 7);
    return d;
}

/* The last `width` digits; returns where to go on. */
static char *put_digits(char *out, int v, int width)
{
    for (int i = width - 1; i >= 0; i--, v /= 10)
        out[i] = (char)('0' + v % 10);
    return out + width;
}

static char *put_text(char *out, const char *text)
{
    while (*text)
        *out++ = *text++;
    return out;
}

static char *put_clock(char *out, const struct date *d, const char *separator)
{
    out = put_text(put_digits(out, d->hour, 2), separator);
    out = put_text(put_digits(out, d->minute, 2), separator);
    return put_digits(out, d->second, 2);
}

static char *put_day(char *out, const struct date *d, const char *separator)
{
    out = put_text(put_digits(out, d->year, 4), separator);
    out = put_text(put_digits(out, d->month, 2), separator);
    return put_digits(out, d->day, 2);
}

void time_iso(int64_t ms, char out[TIME_ISO_LEN])
{
    struct date d = broken_down(ms);
    out = put_text(put_day(out, &d, "-"), "T");
    out = put_text(put_clock(out, &d, ":"), ".");
    *put_text(put_digits(out, d.millis, 3), "Z") = '\0';
}

void time_http(int64_t ms, char out[TIME_HTTP_LEN])
{
    static const char *const days[] = { "Sun, ", "Mon, ", "Tue, ", "Wed, ",
                                        "Thu, ", "Fri, ", "Sat, " };
    struct date d = broken_down(ms);
    out = put_digits(put_text(out, days[d.weekday]), d.day, 2);
    out = put_text(put_text(put_text(out, " "), months[d.month - 1]), " ");
    out = put_text(put_digits(out, d.year, 4), " ");
    *put_text(put_clock(out, &d, ":"), " GMT") = '\0';
}

void time_amz(int64_t ms, char out[TIME_AMZ_LEN])
{
    struct date d = broken_down(ms);
    out = put_text(put_day(out, &d, ""), "T");
    *put_text(put_clock(out, &d, ""), "Z") = '\0';
}

/* ---- parsing: a pattern of literals, digits, and words ---- */

static bool digits(struct bytes s, size_t *at, size_t count, int *out)
{
    int v = 0;
    if (s.len - *at < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint8_t c = s.ptr[*at + i];
        if (c < '0' || c > '9')
            return false;
        v = v * 10 + (c - '0');
    }
    *at += count;
    *out = v;
    return true;
}

static bool month_name(struct bytes s, size_t *at, int *out)
{
    for (int i = 0; i < 12 && s.len - *at >= 3; i++)
        if (memcmp(s.ptr + *at, months[i], 3) == 0) {
            *at += 3;
            *out = i + 1;
            return true;
        }
    return false;
}

/* Y four digits, y two, O month, N month's name, D day, e blank-padded day, h m s; w a weekday
 * of any length; anything else stands for itself. */
static bool match(struct bytes s, const char *pattern, struct date *d, size_t *at)
{
    for (; *pattern; pattern++) {
        bool ok = *at <= s.len;
        switch (ok ? *pattern : '\0') {
        case 'Y':
            ok = digits(s, at, 4, &d->year);
            break;
        case 'y':
            ok = digits(s, at, 2, &d->year);
            d->year += d->year < 70 ? 2000 : 1900;
            break;
        case 'O':
            ok = digits(s, at, 2, &d->month);
            break;
        case 'N':
            ok = month_name(s, at, &d->month);
            break;
        case 'e':
            if (*at < s.len && s.ptr[*at] == ' ') {
                ++*at;
                ok = digits(s, at, 1, &d->day);
                break;
            }
            /* fall through */
        case 'D':
            ok = digits(s, at, 2, &d->day);
            break;
        case 'h':
            ok = digits(s, at, 2, &d->hour);
            break;
        case 'm':
            ok = digits(s, at, 2, &d->minute);
            break;
        case 's':
            ok = digits(s, at, 2, &d->second);
            break;
        case 'w':
            while (*at < s.len && s.ptr[*at] >= 'A')
                ++*at;
            break;
        default:
            ok = *at < s.len && s.ptr[*at] == (uint8_t)*pattern;
            ++*at;
        }
        if (!ok)
            return false;
    }
    return true;
}

static enum kist_err to_ms(const struct date *d, int64_t *ms)
{
    if (d->month < 1 || d->month > 12 || d->day < 1 || d->day > 31 || d->hour > 23 ||
        d->minute > 59 || d->second > 60)
        return KIST_E_INVALID;
    int64_t days = days_of(d->year, d->month, d->day);
    int64_t of_day = d->hour * 3600 + d->minute * 60 + d->second;
    struct date back;
    date_of_days(days + of_day / DAY_S, &back);
    if (back.day != d->day)
        return KIST_E_INVALID; /* the 30th of February; a leap second at the day's end */
    *ms = (days * DAY_S + of_day) * 1000 + d->millis;
    return KIST_OK;
}

static enum kist_err parse(struct bytes s, const char *pattern, int64_t *ms)
{
    struct date d = { 0 };
    size_t at = 0;
    if (!match(s, pattern, &d, &at) || at != s.len)
        return KIST_E_INVALID;
    return to_ms(&d, ms);
}

enum kist_err time_parse_http(struct bytes s, int64_t *ms)
{
    static const char *const forms[] = { "w, D N Y h:m:s GMT", "w, D-N-y h:m:s GMT",
                                         "w N e h:m:s Y" };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (parse(s, forms[i], ms) == KIST_OK)
            return KIST_OK;
    return KIST_E_INVALID;
}

enum kist_err time_parse_amz(struct bytes s, int64_t *ms)
{
    return parse(s, "YODThmsZ", ms);
}

enum kist_err time_parse_iso(struct bytes s, int64_t *ms)
{
    struct date d = { 0 };
    size_t at = 0;
    if (!match(s, "Y-O-DTh:m:s", &d, &at))
        return KIST_E_INVALID;
    if (at < s.len && s.ptr[at] == '.') {
        int scale = 100;
        for (at++; at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9'; at++, scale /= 10)
            d.millis += (s.ptr[at] - '0') * scale;
    }
    if (at + 1 != s.len || s.ptr[at] != 'Z')
        return KIST_E_INVALID;
    return to_ms(&d, ms);
}
