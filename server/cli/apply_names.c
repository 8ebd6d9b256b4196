/* What the file's names of functions and targets stand for. */
#include "server/cli/apply_internal.h"

/* *arn stays NULL when there is no such function or target. False after a message. */
static bool function_arn(struct app *a, const char *name, const char **arn)
{
    json_t *out = NULL;
    unsigned status = 0;
    bool ok = fn_ask(&a->fn, "GET", fn_path(&a->fn, name, "/configuration"), NULL, &out, &status);
    if (ok)
        *arn = arena_strdup(&a->arena, json_text(out, "FunctionArn"));
    json_decref(out);
    return ok || status == 404 || status == 400;
}

static bool target_arn(struct app *a, const char *name, const char **arn)
{
    bool absent = false;
    json_t *out =
        client_json_unless(a->client, "apply", "GetTarget", json_pack("{s:s}", "Name", name),
                           "ResourceNotFoundException", &absent);
    if (out)
        *arn = arena_strdup(&a->arena, json_text(json_object_get(out, "Target"), "Arn"));
    json_decref(out);
    return out || absent;
}

static bool is_word(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!((*c | 0x20) >= 'a' && (*c | 0x20) <= 'z') && !(*c >= '0' && *c <= '9') &&
            !strchr("-_.", *c))
            return false;
    return *name && strlen(name) <= 80;
}

bool app_resolve(struct app *a, struct app_thing *t, const struct yml *at, const char **arn)
{
    const char *name = at->text;
    *arn = name;
    if (strncmp(name, "arn:", 4) == 0 || strncmp(name, "s3://", 5) == 0)
        return true;
    *arn = NULL;
    if (at->kind != YML_TEXT || !is_word(name))
        return yml_fail(&a->yml, at->line, "%s is a function's or target's name, or an ARN",
                        at->key);
    bool function = app_find(a, &app_function, name) != NULL;
    bool target = app_find(a, &app_target, name) != NULL;
    if (function && target)
        return yml_fail(&a->yml, at->line, "%s is both a function and a target: give its ARN",
                        name);
    if (!(target || function_arn(a, name, arn)) ||
        !(function || *arn || target_arn(a, name, arn)))
        return false;
    if (*arn)
        return true;
    t->pending = function || target;
    return t->pending ||
           yml_fail(&a->yml, at->line, "there is no function and no target %s", name);
}

bool app_want_arn(struct app *a, struct app_thing *t, const char *key)
{
    const struct yml *m = yml_get(t->node, key);
    const char *arn = NULL;
    if (m && !app_resolve(a, t, m, &arn))
        return false;
    /* What is still to be made is no ARN that anything has yet. */
    json_object_set_new(t->want, key,
                        !m    ? json_null()
                        : arn ? json_string(arn)
                              : json_string(m->text));
    return true;
}
