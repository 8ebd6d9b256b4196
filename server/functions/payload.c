/* Is it JSON (RFC 8259)? Payloads are handed on as they came, so nothing is built of them;
 * numbers may be of any size and strings may hold any escape. */
#include "server/functions/control.h"

#define DEPTH_MAX 512

struct scan {
    const uint8_t *at, *end;
};

static void blanks(struct scan *s)
{
    while (s->at < s->end &&
           (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool take(struct scan *s, uint8_t c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool string(struct scan *s)
{
    if (!take(s, '"'))
        return false;
    while (s->at < s->end && *s->at != '"') {
        uint8_t c = *s->at++;
        if (c < 0x20)
            return false;
        if (c != '\\')
            continue;
        if (s->at == s->end || !strchr("\"\\/bfnrtu", *s->at) || !*s->at)
            return false;
        if (*s->at++ != 'u')
            continue;
        for (int i = 0; i < 4; i++, s->at++)
            if (s->at == s->end || !is_hex(*s->at))
                return false;
    }
    return take(s, '"');
}

static size_t digits(struct scan *s)
{
    const uint8_t *from = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return (size_t)(s->at - from);
}

static bool number(struct scan *s)
{
    take(s, '-');
    if (!take(s, '0') && !digits(s))
        return false;
    if (take(s, '.') && !digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            take(s, '-');
        return digits(s) > 0;
    }
    return true;
}

static bool word(struct scan *s, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, text, len) != 0)
        return false;
    s->at += len;
    return true;
}

/* What is neither an object nor an array. */
static bool scalar(struct scan *s)
{
    if (s->at == s->end)
        return false;
    switch (*s->at) {
    case '"':
        return string(s);
    case 't':
        return word(s, "true");
    case 'f':
        return word(s, "false");
    case 'n':
        return word(s, "null");
    default:
        return number(s);
    }
}

static bool member_name(struct scan *s)
{
    blanks(s);
    if (!string(s))
        return false;
    blanks(s);
    return take(s, ':');
}

/* Behind a value: the ends of what it was the last of, or a comma. *depth 0: all is told. */
static bool after_value(struct scan *s, const char *open, size_t *depth)
{
    while (*depth > 0) {
        char kind = open[*depth - 1];
        blanks(s);
        if (take(s, ','))
            return kind == '[' || member_name(s);
        if (!take(s, kind == '[' ? ']' : '}'))
            return false;
        (*depth)--;
    }
    return true;
}

bool fn_is_json(struct bytes text)
{
    struct scan s = { text.ptr, text.ptr + text.len };
    char open[DEPTH_MAX];
    size_t depth = 0;
    if (!text.len || !bytes_is_utf8(text))
        return false;
    do {
        blanks(&s);
        bool array = take(&s, '[');
        if (array || take(&s, '{')) {
            if (depth == DEPTH_MAX)
                return false;
            open[depth++] = array ? '[' : '{';
            blanks(&s);
            bool empty = s.at < s.end && *s.at == (array ? ']' : '}');
            if (!empty && !array && !member_name(&s))
                return false;
            if (!empty)
                continue;
        } else if (!scalar(&s)) {
            return false;
        }
        if (!after_value(&s, open, &depth))
            return false;
    } while (depth > 0);
    blanks(&s);
    return s.at == s.end;
}
