/* Functions of an application. The file says all of one: what it leaves out is as by default. */
#include <stdio.h>

#include "server/cli/apply_function.h"

#define KNOWN                                                                                    \
    "|code|runtime|handler|memory|timeout|env|allow|role|on|url|retries|max-age|on-failure|"     \
    "on-success|concurrency|description|"

/* ---- reading ---- */

/* The texts of a list into out; a single text is a list of one. */
static bool read_list(struct app *a, const struct yml *map, const char *key, const char **out,
                      size_t max, size_t *count)
{
    const struct yml *m = yml_get(map, key);
    if (!m)
        return true;
    if (m->kind == YML_MAP)
        return yml_fail(&a->yml, m->line, "%s must be a list", key);
    for (const struct yml *i = m->kind == YML_LIST ? m->first : m; i;
         i = m->kind == YML_LIST ? i->next : NULL) {
        if (i->kind != YML_TEXT)
            return yml_fail(&a->yml, i->line, "%s must be a list of texts", key);
        if (*count == max)
            return yml_fail(&a->yml, i->line, "%s: at most %zu are taken", key, max);
        out[(*count)++] = i->text;
    }
    return true;
}

static bool read_variables(struct app *a, struct app_thing *t, struct fn_deploy *d)
{
    const struct yml *env = yml_get(t->node, "env");
    json_t *out = json_object();
    json_object_set_new(t->want, "env", out);
    if (env && env->kind != YML_MAP)
        return yml_fail(&a->yml, env->line,
                        "env: members in the form \"NAME: value\" are wanted");
    for (const struct yml *v = env ? env->first : NULL; v; v = v->next) {
        char *both = arena_printf(&a->arena, "%s=%s", v->key, v->text);
        if (v->kind != YML_TEXT || strchr(v->key, '='))
            return yml_fail(&a->yml, v->line, "variable %.64s must have a text as its value",
                            v->key);
        if (!both || d->variable_count == FN_VARIABLES_MAX)
            return yml_fail(&a->yml, v->line, "env: at most %d are taken", FN_VARIABLES_MAX);
        d->variables[d->variable_count++] = both;
        json_object_set_new(out, v->key, json_string(v->text));
    }
    return true;
}

/* In order, so that the same ones are equal. */
static void insert(json_t *list, const char *text)
{
    size_t at = 0;
    while (at < json_array_size(list) &&
           strcmp(json_string_value(json_array_get(list, at)), text) < 0)
        at++;
    json_array_insert_new(list, at, json_string(text));
}

static bool read_triggers(struct app *a, struct app_thing *t, struct function *f)
{
    struct fn_deploy *d = &f->deploy;
    const struct yml *on = yml_get(t->node, "on");
    json_t *out = json_array();
    json_object_set_new(t->want, "on", out);
    if (!read_list(a, t->node, "on", d->triggers, FN_TRIGGERS_MAX, &d->trigger_count))
        return false;
    for (size_t i = 0; i < d->trigger_count; i++) {
        struct fn_trigger *to = &f->triggers[i];
        if (!fn_trigger_parse(&a->arena, d->triggers[i], to))
            return yml_fail(&a->yml, on->line, "%.128s: a trigger is s3://BUCKET/PREFIX*SUFFIX",
                            d->triggers[i]);
        const char *whole =
            arena_printf(&a->arena, "s3://%s/%s*%s", to->bucket, to->prefix, to->suffix);
        if (!whole)
            return yml_fail(&a->yml, on->line, "out of memory");
        insert(out, whole);
    }
    return true;
}

static bool read_role(struct app *a, struct app_thing *t, struct function *f)
{
    struct fn_permission permissions[FN_PERMISSIONS_MAX];
    struct fn_deploy *d = &f->deploy;
    const struct yml *allow = yml_get(t->node, "allow");
    if (!yml_text(&a->yml, t->node, "role", &d->role) ||
        !read_list(a, t->node, "allow", d->allow, FN_PERMISSIONS_MAX, &d->allow_count))
        return false;
    if (d->role && allow)
        return yml_fail(&a->yml, allow->line, "a function has a role or allow, not both");
    size_t count = d->allow_count;
    for (size_t i = 0; i < count; i++)
        if (!fn_permission_parse(&a->arena, d->allow[i], &permissions[i]))
            return yml_fail(&a->yml, allow ? allow->line : t->node->line,
                            "%.128s: it is \"read s3://BUCKET/PREFIX\" or \"write ...\"",
                            d->allow[i]);
    if (!count && !d->role)
        count = fn_default_permissions(f->triggers, d->trigger_count, permissions);
    json_object_set_new(t->want, "role", json_string(d->role ? d->role : count ? OWN_ROLE : ""));
    json_object_set_new(t->want, "allow",
                        count ? fn_role_policy(permissions, count) : json_null());
    return true;
}

static bool read_code(struct app *a, struct app_thing *t, struct fn_deploy *d)
{
    const struct yml *code = yml_get(t->node, "code");
    struct fn_package p;
    char hash[FN_HASH_LEN];
    if (!code || code->kind != YML_TEXT)
        return yml_fail(&a->yml, t->node->line, "function %s: say where its code is", t->name);
    d->path = app_path(a, code->text);
    bool ok = d->path && fn_zip(d->path, &p);
    if (!ok)
        return yml_fail(&a->yml, code->line, "function %s: its code cannot be read", t->name);
    fn_code_hash(&p, hash);
    json_object_set_new(t->want, "code", json_string(hash));
    if (!d->runtime && p.runtime[0])
        d->runtime = arena_strdup(&a->arena, p.runtime);
    if (!d->handler && p.handler[0])
        d->handler = arena_strdup(&a->arena, p.handler);
    fn_package_release(&p);
    if (!d->runtime || !d->handler)
        return yml_fail(&a->yml, t->node->line,
                        "function %s: say runtime and handler: they cannot be guessed", t->name);
    json_object_set_new(t->want, "runtime", json_string(d->runtime));
    json_object_set_new(t->want, "handler", json_string(d->handler));
    return true;
}

static bool read_url(struct app *a, struct app_thing *t)
{
    const struct yml *url = yml_get(t->node, "url");
    const char *auth = NULL, *origins[URL_ORIGINS_MAX];
    bool streams = false;
    size_t count = 0;
    if (!url) {
        json_object_set_new(t->want, "url", json_null());
        return true;
    }
    if (!yml_only(&a->yml, url, "|auth|cors|stream|") || !yml_text(&a->yml, url, "auth", &auth) ||
        !yml_flag(&a->yml, url, "stream", &streams) ||
        !read_list(a, url, "cors", origins, URL_ORIGINS_MAX, &count))
        return false;
    bool open = auth && strcmp(auth, "none") == 0;
    if (!open && (!auth || strcmp(auth, "iam") != 0))
        return yml_fail(&a->yml, url->line,
                        "url: auth must be none (everybody may call it) or "
                        "iam");
    json_t *cors = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(cors, json_string(origins[i]));
    json_object_set_new(t->want, "url",
                        json_pack("{s:s, s:s, s:o}", "AuthType", open ? "NONE" : "AWS_IAM",
                                  "InvokeMode", streams ? "RESPONSE_STREAM" : "BUFFERED",
                                  "origins", cors));
    return true;
}

static bool want_number(struct app *a, struct app_thing *t, const char *key, uint64_t min,
                        uint64_t max)
{
    uint64_t n = 0;
    if (!yml_number(&a->yml, t->node, key, min, max, &n))
        return false;
    json_object_set_new(t->want, key,
                        yml_get(t->node, key) ? json_integer((json_int_t)n) : json_null());
    return true;
}

static bool read_settings(struct app *a, struct app_thing *t, struct fn_deploy *d)
{
    uint64_t memory_mb = 128, timeout_s = 3;
    d->description = "";
    if (!yml_text(&a->yml, t->node, "runtime", &d->runtime) ||
        !yml_text(&a->yml, t->node, "handler", &d->handler) ||
        !yml_text(&a->yml, t->node, "description", &d->description) ||
        !yml_number(&a->yml, t->node, "memory", 128, 10240, &memory_mb) ||
        !yml_number(&a->yml, t->node, "timeout", 1, 900, &timeout_s))
        return false;
    d->memory_mb = (unsigned)memory_mb;
    d->timeout_s = (unsigned)timeout_s;
    json_object_set_new(t->want, "memory", json_integer((json_int_t)memory_mb));
    json_object_set_new(t->want, "timeout", json_integer((json_int_t)timeout_s));
    json_object_set_new(t->want, "description", json_string(d->description));
    return want_number(a, t, "retries", 0, 2) && want_number(a, t, "max-age", 60, 21600) &&
           want_number(a, t, "concurrency", 0, 1000000);
}

static bool read_function(struct app *a, struct app_thing *t)
{
    struct function *f = arena_zalloc(&a->arena, sizeof(*f));
    if (!f)
        return yml_fail(&a->yml, t->node->line, "out of memory");
    f->deploy.name = t->name;
    f->deploy.app = a->app;
    f->deploy.whole = true;
    t->more = f;
    return yml_only(&a->yml, t->node, KNOWN) && read_settings(a, t, &f->deploy) &&
           read_code(a, t, &f->deploy) && read_variables(a, t, &f->deploy) &&
           read_triggers(a, t, f) && read_role(a, t, f) && read_url(a, t);
}

/* ---- making ---- */

static bool set_url(struct app *a, struct app_thing *t)
{
    const json_t *url = json_object_get(t->want, "url");
    bool had = json_is_object(json_object_get(t->have, "url"));
    bool open = strcmp(json_text(url, "AuthType"), "NONE") == 0;
    json_t *origins = json_object_get(url, "origins");
    const char *path = arena_printf(&a->fn.arena, "/2021-10-31/functions/%s/url", t->name);
    if (!path)
        return false;
    if (!json_is_object(url))
        return function_may_be_called(a, t->name, false) &&
               fn_ask(&a->fn, "DELETE", path, NULL, NULL, NULL);
    json_t *cors = json_array_size(origins)
                       ? json_pack("{s:O, s:[s], s:[s]}", "AllowOrigins", origins, "AllowMethods",
                                   "*", "AllowHeaders", "*")
                       : json_object();
    json_t *in = json_pack("{s:s, s:s, s:o}", "AuthType", json_text(url, "AuthType"),
                           "InvokeMode", json_text(url, "InvokeMode"), "Cors", cors),
           *out = NULL;
    bool ok = fn_ask(&a->fn, had ? "PUT" : "POST", path, in, &out, NULL) &&
              function_may_be_called(a, t->name, open);
    if (ok)
        printf("url: %s\n", json_text(out, "FunctionUrl"));
    json_decref(out);
    return ok;
}

static bool set_invoking(struct app *a, struct app_thing *t)
{
    json_t *failure = json_object_get(t->want, "on-failure");
    json_t *success = json_object_get(t->want, "on-success");
    json_t *retries = json_object_get(t->want, "retries");
    json_t *age = json_object_get(t->want, "max-age"), *in = json_object(), *to = json_object();
    const char *path =
        arena_printf(&a->fn.arena, "/2019-09-25/functions/%s/event-invoke-config", t->name);
    if (json_is_integer(retries))
        json_object_set(in, "MaximumRetryAttempts", retries);
    if (json_is_integer(age))
        json_object_set(in, "MaximumEventAgeInSeconds", age);
    if (json_is_string(failure))
        json_object_set_new(to, "OnFailure", json_pack("{s:O}", "Destination", failure));
    if (json_is_string(success))
        json_object_set_new(to, "OnSuccess", json_pack("{s:O}", "Destination", success));
    bool none = json_object_size(in) == 0 && json_object_size(to) == 0;
    json_object_set_new(in, "DestinationConfig", to);
    if (path && !none)
        return fn_ask(&a->fn, "PUT", path, in, NULL, NULL);
    json_decref(in);
    return path && fn_ask(&a->fn, "DELETE", path, NULL, NULL, NULL);
}

static bool set_concurrency(struct app *a, struct app_thing *t)
{
    json_t *n = json_object_get(t->want, "concurrency");
    const char *path =
        arena_printf(&a->fn.arena, "/2017-10-31/functions/%s/concurrency", t->name);
    return path &&
           (json_is_integer(n)
                ? fn_ask(&a->fn, "PUT", path,
                         json_pack("{s:O}", "ReservedConcurrentExecutions", n), NULL, NULL)
                : fn_ask(&a->fn, "DELETE", path, NULL, NULL, NULL));
}

static bool differs_in(const struct app_thing *t, const char *const *names)
{
    for (; *names; names++)
        if (app_differs(t, *names))
            return true;
    return false;
}

static bool make(struct app *a, struct app_thing *t)
{
    static const char *const deployed[] = { "code",    "runtime", "handler",     "memory",
                                            "timeout", "env",     "description", "role",
                                            "allow",   "on",      NULL };
    static const char *const invoking[] = { "retries", "max-age", "on-failure", "on-success",
                                            NULL };
    struct function *f = t->more;
    return ((t->have && !differs_in(t, deployed)) || fn_deploy(&a->fn, &f->deploy) == 0) &&
           (!differs_in(t, invoking) || set_invoking(a, t)) &&
           (!app_differs(t, "concurrency") || set_concurrency(a, t)) &&
           (!app_differs(t, "url") || set_url(a, t));
}

static bool drop(struct app *a, struct app_thing *t)
{
    return fn_drop(&a->fn, t->name);
}

const struct app_kind app_function = { .section = "functions",
                                       .word = "function",
                                       .letters = "-_ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                                       .name_max = 64,
                                       .read = read_function,
                                       .look = function_look,
                                       .make = make,
                                       .drop = drop,
                                       .leftovers = function_leftovers };
