#include "server/cli/client_json.h"

#include <stdio.h>
#include <stdlib.h>

json_t *client_json(struct client *c, const char *tool, const char *action, json_t *in)
{
    char target[64];
    char *body = in ? json_dumps(in, JSON_COMPACT) : NULL;
    json_t *out = NULL;
    struct client_request q = { .service = "kist", .method = "POST", .path = "/", .once = true };
    snprintf(target, sizeof(target), "Kist.%s", action);
    client_header_add(&q, "Content-Type", "application/x-amz-json-1.1");
    client_header_add(&q, "X-Amz-Target", target);
    q.body = bytes_str(body);
    if (!body)
        fprintf(stderr, "kist: %s: not UTF-8\n", tool);
    else if (!client_do(c, &q))
        client_complain(&q, tool);
    else if (!(out = json_loadb((const char *)q.reply.ptr, q.reply.len, 0, NULL)))
        fprintf(stderr, "kist: %s: not an answer of kist's\n", tool);
    client_request_release(&q);
    free(body);
    json_decref(in);
    return out;
}

const char *json_text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}
