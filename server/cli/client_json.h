/* Calls of kist's own service ("kist": targets, events, traces), which speaks JSON. */
#ifndef KIST_SERVER_CLI_CLIENT_JSON_H
#define KIST_SERVER_CLI_CLIENT_JSON_H

#include <jansson.h>

#include "server/cli/client.h"

/* One call of Kist.ACTION. Takes `in` over; NULL after a message that begins with the tool's
 * name. */
json_t *client_json(struct client *c, const char *tool, const char *action, json_t *in);
/* A member as text; "" when it is none. */
const char *json_text(const json_t *object, const char *name);

#endif
