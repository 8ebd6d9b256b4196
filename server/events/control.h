/* Events by hand: what waits and why, again, away, a pause, a replay. An API in the form of AWS's
 * JSON 1.1 services, signed for the service "kist": X-Amz-Target: Kist.ListQueues.
 *
 *   ListQueues    { NextToken, MaxResults }
 *   ListEvents    { Target, State: waiting | parked, NextToken, MaxResults }
 *   GetEvent      { Target, Handle }
 *   RedriveEvents { Target, Handles }      parked ones (all without Handles), from the start
 *   DropEvents    { Target, Handles, State }
 *   PauseTarget, ResumeTarget { Target }
 *   ReplayEvents  { Bucket, Prefix, Target }
 *   GetReplay, StopReplay { ReplayId }
 *   ListReplays   { NextToken, MaxResults }
 *
 * RedriveEvents and DropEvents take so many at a time, and say More: true when there are others.
 * Permissions are kist:ListEvents and so on, on arn:aws:kist:REGION:ACCOUNT:events/TARGET, where
 * TARGET is the target's ARN behind its account.
 */
#ifndef KIST_SERVER_EVENTS_CONTROL_H
#define KIST_SERVER_EVENTS_CONTROL_H

#include "server/events/events.h"
#include "server/http/api.h"

struct events_control;
struct events_control_config {
    struct store *store;
    struct events *events;
    const char *region;
};
enum kist_err events_control_open(const struct events_control_config *config,
                                  struct events_control **out) MUST_CHECK;
void events_control_close(struct events_control *c); /* NULL is allowed */
const struct api_service *events_control_service(struct events_control *c);

#endif
