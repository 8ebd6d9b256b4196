/* What a server has of a function, in the words of an application's file. */
#include <stdio.h>

#include "server/cli/apply_function.h"
#include "storage/base/codec.h"

#define URL_STATEMENT "kist-url"

/* A part of the function; *out NULL: it has none. False after a message. */
static bool get_part(struct app *a, const char *path, json_t **out)
{
    unsigned status = 0;
    bool ok = fn_ask(&a->fn, "GET", path, NULL, out, &status);
    if (!ok && status && status != 404)
        fprintf(stderr, "kist: %s: %s\n", path, json_text(*out, "Message"));
    if (!ok) {
        json_decref(*out);
        *out = NULL;
    }
    return ok || status == 404;
}

static const char *path_of(struct app *a, const char *format, const char *name)
{
    /* Names are of letters that need no encoding. */
    const char *path = arena_printf(&a->fn.arena, "%s/functions/%s/", format, name);
    return path ? path : "/";
}

/* ---- its parts ---- */

static void add_configuration(const json_t *c, const char *name, json_t *have)
{
    json_t *variables = json_object_get(json_object_get(c, "Environment"), "Variables");
    const char *role = json_text(c, "Role");
    static const char *const texts[][2] = { { "code", "CodeSha256" },
                                            { "runtime", "Runtime" },
                                            { "handler", "Handler" },
                                            { "description", "Description" } };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        json_object_set_new(have, texts[i][0], json_string(json_text(c, texts[i][1])));
    json_object_set(have, "memory", json_object_get(c, "MemorySize"));
    json_object_set(have, "timeout", json_object_get(c, "Timeout"));
    json_object_set_new(have, "env", variables ? json_incref(variables) : json_object());
    json_object_set_new(have, "role", json_string(fn_role_is_own(role, name) ? OWN_ROLE : role));
}

static bool add_role(struct app *a, const char *name, json_t *have)
{
    json_t *policy = NULL;
    if (strcmp(json_text(have, "role"), OWN_ROLE) == 0 && !fn_role_look(&a->fn, name, &policy))
        return false;
    json_object_set_new(have, "allow", policy ? policy : json_null());
    return true;
}

static bool add_triggers(struct app *a, const char *name, json_t *have)
{
    json_t *list = fn_triggers(&a->fn, name), *sorted = json_array(), *item;
    size_t i;
    json_array_foreach(list, i, item)
    {
        size_t at = 0;
        while (at < json_array_size(sorted) &&
               strcmp(json_string_value(json_array_get(sorted, at)), json_string_value(item)) < 0)
            at++;
        json_array_insert(sorted, at, item);
    }
    json_object_set_new(have, "on", sorted);
    json_decref(list);
    return list != NULL;
}

static bool add_url(struct app *a, const char *name, json_t *have)
{
    json_t *url = NULL;
    const char *path = path_of(a, "/2021-10-31", name);
    path = arena_printf(&a->fn.arena, "%surl", path);
    if (!path || !get_part(a, path, &url))
        return false;
    json_t *origins = json_object_get(json_object_get(url, "Cors"), "AllowOrigins");
    json_object_set_new(have, "url",
                        url ? json_pack("{s:s, s:s, s:o}", "AuthType", json_text(url, "AuthType"),
                                        "InvokeMode", json_text(url, "InvokeMode"), "origins",
                                        origins ? json_incref(origins) : json_array())
                            : json_null());
    json_decref(url);
    return true;
}

static json_t *destination(const json_t *config, const char *which)
{
    const char *arn = json_text(
        json_object_get(json_object_get(config, "DestinationConfig"), which), "Destination");
    return *arn ? json_string(arn) : json_null();
}

static bool add_invoking(struct app *a, const char *name, json_t *have)
{
    json_t *config = NULL;
    const char *path = path_of(a, "/2019-09-25", name);
    path = arena_printf(&a->fn.arena, "%sevent-invoke-config", path);
    if (!path || !get_part(a, path, &config))
        return false;
    json_t *retries = json_object_get(config, "MaximumRetryAttempts");
    json_t *age = json_object_get(config, "MaximumEventAgeInSeconds");
    json_object_set_new(have, "retries", retries ? json_incref(retries) : json_null());
    json_object_set_new(have, "max-age", age ? json_incref(age) : json_null());
    json_object_set_new(have, "on-failure", destination(config, "OnFailure"));
    json_object_set_new(have, "on-success", destination(config, "OnSuccess"));
    json_decref(config);
    return true;
}

/* ---- the whole ---- */

static bool check_buckets(struct app *a, struct app_thing *t)
{
    const struct function *f = t->more;
    for (size_t i = 0; i < f->deploy.trigger_count; i++) {
        const char *bucket = f->triggers[i].bucket;
        bool known = false;
        if (!app_bucket_known(a, bucket, &known))
            return false;
        if (!known)
            return yml_fail(&a->yml, yml_get(t->node, "on")->line, "there is no bucket %s",
                            bucket);
    }
    return true;
}

bool function_look(struct app *a, struct app_thing *t)
{
    json_t *found = NULL;
    if (!check_buckets(a, t) || !app_want_arn(a, t, "on-failure") ||
        !app_want_arn(a, t, "on-success") || !get_part(a, fn_path(&a->fn, t->name, ""), &found))
        return false;
    if (!found)
        return true;
    json_t *have = json_object();
    json_t *concurrency =
        json_object_get(json_object_get(found, "Concurrency"), "ReservedConcurrentExecutions");
    t->have = have;
    add_configuration(json_object_get(found, "Configuration"), t->name, have);
    json_object_set_new(have, "concurrency",
                        concurrency ? json_incref(concurrency) : json_null());
    bool ok = add_role(a, t->name, have) && add_triggers(a, t->name, have) &&
              add_url(a, t->name, have) && add_invoking(a, t->name, have);
    json_decref(found);
    return ok;
}

bool function_may_be_called(struct app *a, const char *name, bool open)
{
    json_t *reply = NULL;
    unsigned status = 0;
    json_t *in = open ? json_pack("{s:s, s:s, s:s, s:s}", "StatementId", URL_STATEMENT, "Action",
                                  "lambda:InvokeFunctionUrl", "Principal", "*",
                                  "FunctionUrlAuthType", "NONE")
                      : NULL;
    bool ok = fn_ask(&a->fn, open ? "POST" : "DELETE",
                     fn_path(&a->fn, name, open ? "/policy" : "/policy/" URL_STATEMENT), in,
                     &reply, &status) ||
              status == (open ? 409 : 404);
    if (!ok)
        fprintf(stderr, "kist: %s: %s\n", name, json_text(reply, "Message"));
    json_decref(reply);
    return ok;
}

/* ---- what is left of earlier ---- */

static bool is_ours(struct app *a, const char *name, bool *ours)
{
    json_t *found = NULL;
    bool ok = get_part(a, fn_path(&a->fn, name, ""), &found);
    *ours = strcmp(json_text(json_object_get(found, "Tags"), APP_TAG), a->app) == 0;
    json_decref(found);
    return ok;
}

static bool take_page(struct app *a, const json_t *page)
{
    json_t *fn;
    bool ok = true, ours = false;
    size_t i;
    json_array_foreach(json_object_get(page, "Functions"), i, fn)
    {
        const char *name = json_text(fn, "FunctionName");
        if (ok && !app_find(a, &app_function, name))
            ok = is_ours(a, name, &ours) && (!ours || app_add_leftover(a, &app_function, name));
    }
    return ok;
}

bool function_leftovers(struct app *a)
{
    const char *marker = "";
    bool ok = true, more = true;
    while (ok && more) {
        json_t *page = NULL;
        struct buf path;
        buf_init(&path, 8192);
        ok = buf_append_str(&path, FN_PATH) == KIST_OK &&
             (!*marker || (buf_append_str(&path, "?Marker=") == KIST_OK &&
                           uri_encode(&path, bytes_str(marker), false) == KIST_OK));
        const char *text = ok ? arena_strndup(&a->arena, path.ptr, path.len) : NULL;
        buf_release(&path);
        ok = text && fn_ask(&a->fn, "GET", text, NULL, &page, NULL) && take_page(a, page);
        marker = arena_strdup(&a->arena, json_text(page, "NextMarker"));
        more = marker && *marker;
        json_decref(page);
    }
    return ok;
}
