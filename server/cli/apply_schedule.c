/* Schedules of an application: all in a group that bears its name. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/apply_internal.h"
#include "storage/base/codec.h"

static const char *group_of(const struct app *a)
{
    return a->app ? a->app : "default";
}

static const char *path_of(struct app *a, const char *name, bool with_group)
{
    const char *path =
        arena_printf(&a->fn.arena, "/schedules/%s%s%s", name, with_group ? "?groupName=" : "",
                     with_group ? group_of(a) : "");
    return path ? path : "/";
}

/* The same JSON, always written in the same way. */
static json_t *canonical(json_t *value)
{
    char *text =
        value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
    json_t *out = text ? json_string(text) : json_null();
    free(text);
    json_decref(value);
    return out;
}

static bool read_words(struct app *a, struct app_thing *t, const char **zone, const char **missed)
{
    const char *when = NULL, *text = "";
    const struct yml *input = yml_get(t->node, "input"), *run = yml_get(t->node, "run");
    if (!yml_text(&a->yml, t->node, "when", &when) || !yml_text(&a->yml, t->node, "zone", zone) ||
        !yml_text(&a->yml, t->node, "missed", missed) ||
        !yml_text(&a->yml, t->node, "description", &text))
        return false;
    if (!when || !run)
        return yml_fail(&a->yml, t->node->line, "schedule %s: say what to run, and when",
                        t->name);
    if (!strstr("|once|skip|all|", *missed) || strchr(*missed, '|') || strlen(*missed) < 3)
        return yml_fail(&a->yml, yml_get(t->node, "missed")->line,
                        "missed must be once, skip or all");
    json_object_set_new(t->want, "when", json_string(when));
    json_object_set_new(t->want, "zone", json_string(*zone));
    json_object_set_new(t->want, "description", json_string(text));
    json_object_set_new(t->want, "input", input ? canonical(yml_json(input)) : json_null());
    return true;
}

static char *upper(struct app *a, const char *word)
{
    char *out = arena_strdup(&a->arena, word);
    for (char *c = out; c && *c; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    return out;
}

static bool read_schedule(struct app *a, struct app_thing *t)
{
    const char *zone = "UTC", *missed = "once";
    bool enabled = true;
    uint64_t retries = 185, age_s = 86400;
    if (!yml_only(&a->yml, t->node,
                  "|run|when|zone|input|enabled|missed|description|retries|max-age|"
                  "dead-letter|") ||
        !read_words(a, t, &zone, &missed) || !yml_flag(&a->yml, t->node, "enabled", &enabled) ||
        !yml_number(&a->yml, t->node, "retries", 0, 185, &retries) ||
        !yml_number(&a->yml, t->node, "max-age", 60, 86400, &age_s))
        return false;
    json_object_set_new(t->want, "enabled", json_boolean(enabled));
    json_object_set_new(t->want, "missed", json_string(upper(a, missed)));
    json_object_set_new(t->want, "retries", json_integer((json_int_t)retries));
    json_object_set_new(t->want, "max-age", json_integer((json_int_t)age_s));
    return true;
}

static json_t *have_of(const json_t *s)
{
    json_t *target = json_object_get(s, "Target"),
           *policy = json_object_get(target, "RetryPolicy");
    const char *input = json_text(target, "Input");
    const char *letter = json_text(json_object_get(target, "DeadLetterConfig"), "Arn");
    json_t *value = *input ? json_loads(input, JSON_DECODE_ANY, NULL) : NULL;
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:s, s:b, s:s, s:O?, s:O?, s:o}", "when",
        json_text(s, "ScheduleExpression"), "zone", json_text(s, "ScheduleExpressionTimezone"),
        "description", json_text(s, "Description"), "input", canonical(value), "run",
        json_text(target, "Arn"), "enabled", strcmp(json_text(s, "State"), "ENABLED") == 0,
        "missed", json_text(s, "KistMissedRuns"), "retries",
        json_object_get(policy, "MaximumRetryAttempts"), "max-age",
        json_object_get(policy, "MaximumEventAgeInSeconds"), "dead-letter",
        *letter ? json_string(letter) : json_null());
}

static bool look(struct app *a, struct app_thing *t)
{
    json_t *out = NULL;
    unsigned status = 0;
    if (!app_want_arn(a, t, "run") || !app_want_arn(a, t, "dead-letter"))
        return false;
    bool ok = client_rest(a->client, "scheduler", "GET", path_of(a, t->name, true), NULL, &out,
                          &status);
    if (ok)
        t->have = have_of(out);
    else if (status && status != 404)
        fprintf(stderr, "kist: %s: %s\n", t->name, json_text(out, "Message"));
    json_decref(out);
    return ok || status == 404;
}

static bool make_group(struct app *a)
{
    json_t *out = NULL;
    unsigned status = 0;
    const char *path = arena_printf(&a->fn.arena, "/schedule-groups/%s", group_of(a));
    if (!a->app)
        return true;
    bool ok =
        path && client_rest(a->client, "scheduler", "POST", path, json_object(), &out, &status);
    if (!ok && status != 409)
        fprintf(stderr, "kist: schedule group %s: %s\n", a->app, json_text(out, "Message"));
    json_decref(out);
    return ok || status == 409;
}

static bool make(struct app *a, struct app_thing *t)
{
    const json_t *w = t->want;
    json_t *target =
        json_pack("{s:O, s:{s:O, s:O}}", "Arn", json_object_get(w, "run"), "RetryPolicy",
                  "MaximumRetryAttempts", json_object_get(w, "retries"),
                  "MaximumEventAgeInSeconds", json_object_get(w, "max-age"));
    if (json_is_string(json_object_get(w, "input")))
        json_object_set(target, "Input", json_object_get(w, "input"));
    if (json_is_string(json_object_get(w, "dead-letter")))
        json_object_set_new(target, "DeadLetterConfig",
                            json_pack("{s:O}", "Arn", json_object_get(w, "dead-letter")));
    json_t *in = json_pack(
        "{s:s, s:O, s:O, s:O, s:s, s:O, s:{s:s}, s:o}", "GroupName", group_of(a),
        "ScheduleExpression", json_object_get(w, "when"), "ScheduleExpressionTimezone",
        json_object_get(w, "zone"), "Description", json_object_get(w, "description"), "State",
        json_is_true(json_object_get(w, "enabled")) ? "ENABLED" : "DISABLED", "KistMissedRuns",
        json_object_get(w, "missed"), "FlexibleTimeWindow", "Mode", "OFF", "Target", target);
    if (!t->have && !make_group(a)) {
        json_decref(in);
        return false;
    }
    return client_rest(a->client, "scheduler", t->have ? "PUT" : "POST",
                       path_of(a, t->name, false), in, NULL, NULL);
}

static bool drop(struct app *a, struct app_thing *t)
{
    return client_rest(a->client, "scheduler", "DELETE", path_of(a, t->name, true), NULL, NULL,
                       NULL);
}

static bool next_page(struct app *a, const char *token, json_t **out)
{
    struct buf query;
    buf_init(&query, 8192);
    bool ok = buf_printf(&query, "/schedules?ScheduleGroup=%s", group_of(a)) == KIST_OK;
    if (*token)
        ok = ok && buf_append_str(&query, "&NextToken=") == KIST_OK &&
             uri_encode(&query, bytes_str(token), false) == KIST_OK;
    const char *path = ok ? arena_strndup(&a->fn.arena, query.ptr, query.len) : NULL;
    buf_release(&query);
    return path && client_rest(a->client, "scheduler", "GET", path, NULL, out, NULL);
}

static bool leftovers(struct app *a)
{
    const char *token = "";
    bool ok = true, more = true;
    while (ok && more) {
        json_t *page = NULL, *s;
        size_t i;
        ok = next_page(a, token, &page);
        json_array_foreach(json_object_get(page, "Schedules"), i, s)
        {
            ok = ok && app_add_leftover(a, &app_schedule, json_text(s, "Name"));
        }
        token = arena_strdup(&a->arena, json_text(page, "NextToken"));
        more = token && *token;
        json_decref(page);
    }
    return ok;
}

const struct app_kind app_schedule = { .section = "schedules",
                                       .word = "schedule",
                                       .letters = "-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                                       .name_max = 64,
                                       .read = read_schedule,
                                       .look = look,
                                       .make = make,
                                       .drop = drop,
                                       .leftovers = leftovers };
