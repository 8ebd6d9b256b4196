#include "server/cli/client_json.h"

#include <stdio.h>
#include <stdlib.h>

#define REPLY_MAX ((size_t)32 << 20)

/* The error's type: of AWS's JSON, with or without a name before a #. */
static bool is_error(const struct client_request *q, const char *fine)
{
    json_t *reply = json_loadb((const char *)q->reply.ptr, q->reply.len, 0, NULL);
    const char *type = json_text(reply, "__type"), *mark = strchr(type, '#');
    bool is = strcmp(mark ? mark + 1 : type, fine) == 0;
    json_decref(reply);
    return is;
}

static bool refused(const struct client_request *q, const char *tool, const char *fine)
{
    bool is_fine = fine && is_error(q, fine);
    if (!is_fine)
        client_complain(q, tool);
    return is_fine;
}

json_t *client_json(struct client *c, const char *tool, const char *action, json_t *in)
{
    bool absent;
    return client_json_unless(c, tool, action, in, NULL, &absent);
}

json_t *client_json_unless(struct client *c, const char *tool, const char *action, json_t *in,
                           const char *fine, bool *absent)
{
    char target[64];
    char *body = in ? json_dumps(in, JSON_COMPACT) : NULL;
    json_t *out = NULL;
    struct client_request q = { .service = "kist", .method = "POST", .path = "/", .once = true };
    snprintf(target, sizeof(target), "Kist.%s", action);
    client_header_add(&q, "Content-Type", "application/x-amz-json-1.1");
    client_header_add(&q, "X-Amz-Target", target);
    q.body = bytes_str(body);
    *absent = false;
    if (!body)
        fprintf(stderr, "kist: %s: not UTF-8\n", tool);
    else if (!client_do(c, &q))
        *absent = refused(&q, tool, fine);
    else if (!(out = json_loadb((const char *)q.reply.ptr, q.reply.len, 0, NULL)))
        fprintf(stderr, "kist: %s: not an answer of kist's\n", tool);
    client_request_release(&q);
    free(body);
    json_decref(in);
    return out;
}

bool client_rest(struct client *c, const char *service, const char *method, const char *path,
                 json_t *in, json_t **out, unsigned *status)
{
    struct client_request q = { .service = service,
                                .method = method,
                                .path = path,
                                .once = strcmp(method, "GET") != 0,
                                .reply_max = REPLY_MAX };
    const char *mark = strchr(path, '?');
    char *body = in ? json_dumps(in, JSON_COMPACT) : NULL;
    char *plain = strndup(path, mark ? (size_t)(mark - path) : strlen(path));
    q.path = plain;
    q.query = mark ? mark + 1 : NULL;
    q.body = bytes_str(body);
    bool sent = (!in || body) && plain, ok = sent && client_do(c, &q);
    if (!sent)
        fprintf(stderr, "kist: %s: not UTF-8, or out of memory\n", path);
    else if (!ok && (!status || !q.status))
        client_complain(&q, service);
    json_t *reply = json_loadb((const char *)q.reply.ptr, q.reply.len, 0, NULL);
    if (status)
        *status = q.status;
    if (out && (ok || status))
        *out = reply;
    else
        json_decref(reply);
    client_request_release(&q);
    free(plain);
    free(body);
    json_decref(in);
    return ok;
}

const char *json_text(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value ? value : "";
}
