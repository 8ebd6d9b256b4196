/* Targets of events that are not functions: webhooks and brokers.
 *
 * The ARN of a queue, a topic or an event bus names a record (Kist__EventTarget) of the ARN's
 * account by its last part: arn:aws:sqs:us-east-1:123456789012:NAME. What is behind it is the
 * record's to say, and may change from one event to the next.
 */
#ifndef KIST_SERVER_EVENTS_TARGETS_H
#define KIST_SERVER_EVENTS_TARGETS_H

#include "server/events/events.h"

struct targets_config {
    struct store *store; /* its first account is there already */
    const char *region;
};

struct targets;
enum kist_err targets_open(const struct targets_config *config, struct targets **out) MUST_CHECK;
/* An address of this node's own ("127.0.0.1:9001", "[::]:9000", as http_server_address() says
 * it), before the first delivery. admin: no target is ever there; otherwise none that was not
 * told to stay in private networks. KIST_E_INVALID, KIST_E_TOO_LARGE. */
enum kist_err targets_avoid(struct targets *t, const char *address, bool admin) MUST_CHECK;
/* Ends what is under way: each such delivery is EVENT_ABSENT, as all that come later are. Waits
 * until done() of all of them has returned. */
void targets_stop(struct targets *t);
/* Stops, if that was not done, and frees. NULL is allowed. */
void targets_close(struct targets *t);

/* As sinks of the dispatcher; they live as long as t. */
#define TARGET_SINKS 3
const struct event_sink *targets_sink(const struct targets *t, size_t i);

#endif
