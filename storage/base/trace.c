#include "storage/base/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/codec.h"
#include "storage/base/env.h"

/* Set once at start, before threads. */
static struct {
    bool json;
    enum trace_level level;
    const char *modules;
} setup = { .level = TRACE_INFO };

void trace_setup(bool json, enum trace_level level, const char *modules)
{
    setup.json = json;
    setup.level = level;
    setup.modules = modules;
}

bool trace_wants(enum trace_level level, const char *module)
{
    if (level <= setup.level)
        return true;
    size_t len = strlen(module);
    for (const char *m = setup.modules; m && *m; m += strcspn(m, ","), m += *m == ',')
        if (strncmp(m, module, len) == 0 && (m[len] == ',' || m[len] == '\0'))
            return true;
    return false;
}

/* JSON's escapes, and nothing that could break a line of text. */
static void clean(char *s, bool json)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || (json && (*s == '"' || *s == '\\')))
            *s = json && *s == '"' ? '\'' : ' ';
}

/* One write, so that lines of threads do not mix. */
void trace_emit(enum trace_level level, const char *module, const char *format, ...)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    char text[1024], line[1200], when[TIME_ISO_LEN];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    clean(text, setup.json);
    time_iso(env_real()->now_ms(env_real()), when);
    int n = snprintf(
        line, sizeof(line),
        setup.json ? "{\"time\":\"%s\",\"level\":\"%s\",\"module\":\"%s\",\"message\":\"%s\"}\n"
                   : "%s %-5s %-6s %s\n",
        when, names[level], module, text);
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* nobody left to tell */
}
