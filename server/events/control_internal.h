/* What control_events.c and control_replay.c share. */
#ifndef KIST_SERVER_EVENTS_CONTROL_INTERNAL_H
#define KIST_SERVER_EVENTS_CONTROL_INTERNAL_H

#include "server/events/control.h"

#define CONTROL_PAGE_DEFAULT 100
#define CONTROL_PAGE_MAX 1000

struct control_page {
    const char *after; /* NextToken; "": from the start */
    size_t max;
};
/* False after an error reply. */
bool control_page(struct control_request *w, struct control_page *out) MUST_CHECK;
/* The target that is named, if the caller may do this to it; NULL after an error reply. */
const char *control_target(struct control_request *w) MUST_CHECK;
void control_events_fail(struct control_request *w, enum kist_err err, const char *what);

#endif
