/* Diagnostics. ("log" is the commit log in this program.) Never pass secrets. */
#ifndef KIST_STORAGE_BASE_TRACE_H
#define KIST_STORAGE_BASE_TRACE_H

#include <stdbool.h>

enum trace_level { TRACE_ERROR, TRACE_WARN, TRACE_INFO, TRACE_DEBUG };

/* json: one JSON object per line on stderr; otherwise text for people.
 * modules: comma-separated modules whose TRACE_DEBUG is shown, or NULL. */
void trace_setup(bool json, enum trace_level level, const char *modules);
void trace_emit(enum trace_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool trace_wants(enum trace_level level, const char *module);

#define TRACE(level, module, ...)                                                                \
    do {                                                                                         \
        if (trace_wants(level, module))                                                          \
            trace_emit(level, module, __VA_ARGS__);                                              \
    } while (0)

#endif
