/* Dates as S3 reads and writes them. */
#include "storage/base/codec.h"

static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

static struct tm broken_down(int64_t ms)
{
    struct tm tm;
    time_t t = (time_t)(ms / 1000 - (ms % 1000 < 0));
    gmtime_r(&t, &tm);
    tm.tm_year = tm.tm_year < -1900 ? -1900 : tm.tm_year > 8099 ? 8099 : tm.tm_year;
    return tm;
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

static char *put_clock(char *out, const struct tm *t, const char *separator)
{
    out = put_text(put_digits(out, t->tm_hour, 2), separator);
    out = put_text(put_digits(out, t->tm_min, 2), separator);
    return put_digits(out, t->tm_sec, 2);
}

static char *put_day(char *out, const struct tm *t, const char *separator)
{
    out = put_text(put_digits(out, t->tm_year + 1900, 4), separator);
    out = put_text(put_digits(out, t->tm_mon + 1, 2), separator);
    return put_digits(out, t->tm_mday, 2);
}

void time_iso(int64_t ms, char out[TIME_ISO_LEN])
{
    struct tm t = broken_down(ms);
    out = put_text(put_day(out, &t, "-"), "T");
    out = put_text(put_clock(out, &t, ":"), ".");
    out = put_digits(out, (int)((ms % 1000 + 1000) % 1000), 3);
    *put_text(out, "Z") = '\0';
}

void time_http(int64_t ms, char out[TIME_HTTP_LEN])
{
    static const char *const days[] = { "Sun, ", "Mon, ", "Tue, ", "Wed, ",
                                        "Thu, ", "Fri, ", "Sat, " };
    struct tm t = broken_down(ms);
    out = put_digits(put_text(out, days[t.tm_wday % 7]), t.tm_mday, 2);
    out = put_text(put_text(put_text(out, " "), months[t.tm_mon % 12]), " ");
    out = put_text(put_digits(out, t.tm_year + 1900, 4), " ");
    *put_text(put_clock(out, &t, ":"), " GMT") = '\0';
}

void time_amz(int64_t ms, char out[TIME_AMZ_LEN])
{
    struct tm t = broken_down(ms);
    out = put_text(put_day(out, &t, ""), "T");
    *put_text(put_clock(out, &t, ""), "Z") = '\0';
}

/* ---- parsing: a pattern of literals, digits, and words ---- */

struct date {
    int year, month, day, hour, minute, second, millis;
};

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
    struct tm tm = { .tm_year = d->year - 1900,
                     .tm_mon = d->month - 1,
                     .tm_mday = d->day,
                     .tm_hour = d->hour,
                     .tm_min = d->minute,
                     .tm_sec = d->second };
    time_t t = timegm(&tm);
    if (tm.tm_mday != d->day)
        return KIST_E_INVALID; /* the 30th of February */
    *ms = (int64_t)t * 1000 + d->millis;
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
