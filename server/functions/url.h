/* HTTP requests as the events of function URLs, and functions' answers as HTTP replies.
 * https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html (payload format 2.0) */
#ifndef KIST_SERVER_FUNCTIONS_URL_H
#define KIST_SERVER_FUNCTIONS_URL_H

#include <jansson.h>

#include "server/functions/internal.h"

/* The event of a request; NULL: out of memory, or a header that is no UTF-8. */
json_t *url_event(const struct functions *f, struct api_call *call, const Kist__FunctionUrl *url,
                  const char *request_id);

/* A reply, read from what a function returned. Slices live in the arena. */
struct url_reply {
    unsigned status;
    struct bytes body;
    struct url_header {
        const char *name;
        struct bytes value;
    } * headers;
    size_t header_count;
};
/* False: the function's answer is no reply. */
bool url_reply_parse(struct bytes payload, struct arena *arena, struct url_reply *out);
/* The same of an answer with FN_INTEGRATION_TYPE: status, headers and cookies in JSON, eight
 * zeros, the body (or what has come of it). */
bool url_prelude_parse(struct bytes answer, struct arena *arena, struct url_reply *out);
/* How much of an answer is such a head, with the zeros; SIZE_MAX: it is not whole yet. */
size_t url_prelude_len(struct bytes answer, size_t from);

#endif
