/* The service "kist": events and their targets, which AWS's services have no calls for.
 *
 * JSON 1.1 as AWS's own services speak it: POST / with X-Amz-Target: Kist.NAME, signed for the
 * service "kist". Errors are {"__type", "message"}.
 */
#ifndef KIST_SERVER_EVENTS_CONTROL_H
#define KIST_SERVER_EVENTS_CONTROL_H

#include <jansson.h>

#include "server/events/targets.h"
#include "server/http/api.h"

struct control_config {
    struct store *store;
    const char *region;
    struct targets *targets;
    struct events *events;
};

struct control;
enum kist_err control_open(const struct control_config *config, struct control **out) MUST_CHECK;
void control_close(struct control *c); /* NULL is allowed */
const struct api_service *control_service(const struct control *c);

/* ---- for handlers ---- */

/* One request; lives as long as its exchange. */
struct control_request {
    const struct control_config *config;
    struct api_call *call;
    const struct control_call *what;
    json_t *in; /* an object */
    struct store_op op;
    bool op_used;
    void (*then)(struct control_request *r);
    void *state; /* in the call's arena */
};

struct control_call {
    const char *name;   /* "PutTarget"; NULL ends a table */
    const char *action; /* "kist:PutTarget" */
    /* Ends in one control_reply() or control_fail(), at once or after a wait. */
    void (*handle)(struct control_request *r);
};
extern const struct control_call target_calls[], trace_calls[], event_calls[], replay_calls[];

/* Takes json over; NULL is out of memory. */
void control_reply(struct control_request *r, json_t *json);
void control_fail(struct control_request *r, unsigned status, const char *type,
                  const char *message);
void control_fail_err(struct control_request *r, enum kist_err err);
/* The caller may do it to arn:aws:kist:REGION:ACCOUNT:RESOURCE of his own account; false after
 * an error reply. */
bool control_allowed(struct control_request *r, const char *resource) MUST_CHECK;
/* A member as text in the arena: "" when it is not there. False, after an error reply, when it
 * is something else or holds a NUL. */
bool control_text(struct control_request *r, const char *name, const char **out) MUST_CHECK;
/* The same of whole numbers up to max; *out stays when it is not there. */
bool control_number(struct control_request *r, const char *name, uint64_t max,
                    uint64_t *out) MUST_CHECK;
bool control_flag(struct control_request *r, const char *name, bool *out) MUST_CHECK;
/* False, after an error reply, when the request has a member that is none of these ("|A|B|"). */
bool control_only(struct control_request *r, const char *names) MUST_CHECK;
/* Commits, then calls then() with r->op.err and r->op.result. */
void control_commit(struct control_request *r, const Kist__Command *command,
                    void (*then)(struct control_request *r));
/* Waits: then() is called on the loop's thread once another has called control_wake(). */
void control_wait(struct control_request *r, void (*then)(struct control_request *r));
void control_wake(struct control_request *r);

#endif
