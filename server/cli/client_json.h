/* Calls of services that speak JSON: kist's own ("kist": targets, events, traces), and others. */
#ifndef KIST_SERVER_CLI_CLIENT_JSON_H
#define KIST_SERVER_CLI_CLIENT_JSON_H

#include <jansson.h>

#include "server/cli/client.h"

/* One call of Kist.ACTION. Takes `in` over; NULL after a message that begins with the tool's
 * name. */
json_t *client_json(struct client *c, const char *tool, const char *action, json_t *in);
/* The same; but an error of type `fine` is no message and sets *absent. */
json_t *client_json_unless(struct client *c, const char *tool, const char *action, json_t *in,
                           const char *fine, bool *absent);
/* One call of an API in REST and JSON ("lambda", "scheduler"). `in` is taken over; NULL: no body.
 * *status (may be NULL): of the answer, 0 without one; with it a refusal is no message, and *out
 * its body. False: it did not succeed. *out (may be NULL) is the caller's. */
bool client_rest(struct client *c, const char *service, const char *method, const char *path,
                 json_t *in, json_t **out, unsigned *status);
/* A member as text; "" when it is none. */
const char *json_text(const json_t *object, const char *name);

#endif
