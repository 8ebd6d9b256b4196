/* Which lines a function's LoggingConfig wants. Levels are there in the JSON format alone.
 * https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html */
#include <strings.h>

#include "server/functions/run.h"

/* INFO for what is no level, as Lambda does it; Python's names are known as well. */
static enum fn_level level_named(struct bytes name)
{
    static const struct {
        const char *name;
        enum fn_level level;
    } levels[] = { { "TRACE", LEVEL_TRACE }, { "DEBUG", LEVEL_DEBUG },   { "INFO", LEVEL_INFO },
                   { "WARN", LEVEL_WARN },   { "WARNING", LEVEL_WARN },  { "ERROR", LEVEL_ERROR },
                   { "FATAL", LEVEL_FATAL }, { "CRITICAL", LEVEL_FATAL } };
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (bytes_equal_nocase(name, bytes_str(levels[i].name)))
            return levels[i].level;
    return LEVEL_INFO;
}

static size_t skip_space(struct bytes line, size_t at)
{
    while (at < line.len && strchr(" \t\r\n", line.ptr[at]))
        at++;
    return at;
}

/* From the quote on: what is between it and the next, escapes as they are. False: it has no end.
 */
static bool take_string(struct bytes line, size_t *at, struct bytes *out)
{
    size_t from = *at + 1, to = from;
    while (to < line.len && line.ptr[to] != '"')
        to += line.ptr[to] == '\\' ? 2 : 1;
    if (to >= line.len)
        return false;
    *out = bytes_of(line.ptr + from, to - from);
    *at = to + 1;
    return true;
}

/* No parser, because a long line is cut: its level is known when it stands before the cut. */
enum fn_level fn_level_of(struct bytes line)
{
    size_t at = skip_space(line, 0), depth = 0;
    if (at == line.len || line.ptr[at] != '{')
        return LEVEL_INFO;
    while (at < line.len) {
        uint8_t c = line.ptr[at];
        struct bytes text, value;
        if (c == '{' || c == '[')
            depth++;
        if ((c == '}' || c == ']') && --depth == 0)
            break;
        if (c != '"') {
            at++;
            continue;
        }
        if (!take_string(line, &at, &text))
            break;
        size_t colon = skip_space(line, at);
        if (depth != 1 || colon == line.len || line.ptr[colon] != ':' ||
            !bytes_equal(text, BYTES_LIT("level")))
            continue;
        at = skip_space(line, colon + 1);
        if (at < line.len && line.ptr[at] == '"' && take_string(line, &at, &value))
            return level_named(value);
        break;
    }
    return LEVEL_INFO;
}

bool fn_logs_json(const Kist__Function *latest)
{
    return strcmp(latest->log_format, "JSON") == 0;
}

bool fn_wants_line(const Kist__Function *latest, struct bytes line)
{
    if (!fn_logs_json(latest))
        return true;
    enum fn_level least = level_named(bytes_str(latest->log_level));
    return least == LEVEL_TRACE || fn_level_of(line) >= least;
}

bool fn_wants_event(const Kist__Function *latest, enum fn_level level)
{
    return !fn_logs_json(latest) || level >= level_named(bytes_str(latest->system_log_level));
}
