/* A schedule as the API's JSON: read, and described.
 * https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html */
#include "server/events/schedule_internal.h"
#include "storage/base/codec.h"

/* By enum schedule_missed. */
static const char *const missed_runs[] = { "ONCE", "SKIP", "ALL" };

/* ---- reading ---- */

static char *text_of(struct schedule_work *w, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? schedule_copy(w, bytes_str(text)) : (char *)"";
}

static int64_t date_of(const json_t *root, const char *name)
{
    return (int64_t)(json_number_value(json_object_get(root, name)) * 1000);
}

static bool read_target(struct schedule_work *w, const json_t *target, Kist__Schedule *to)
{
    const json_t *policy = json_object_get(target, "RetryPolicy");
    const json_t *retries = json_object_get(policy, "MaximumRetryAttempts");
    const char *input = json_string_value(json_object_get(target, "Input"));
    to->target = text_of(w, target, "Arn");
    to->role = text_of(w, target, "RoleArn");
    to->dead_letter = text_of(w, json_object_get(target, "DeadLetterConfig"), "Arn");
    to->age_max_s =
        (uint32_t)json_integer_value(json_object_get(policy, "MaximumEventAgeInSeconds"));
    if (json_is_integer(retries) &&
        (json_integer_value(retries) < 0 || json_integer_value(retries) > 185))
        return false;
    to->retries = json_is_integer(retries) ? (int32_t)json_integer_value(retries) + 1 : 0;
    if (input)
        to->input = schema_data(bytes_str(schedule_copy(w, bytes_str(input))));
    return to->target[0] && to->input.len <= SCHEDULE_INPUT_MAX &&
           (!to->age_max_s || (to->age_max_s >= 60 && to->age_max_s <= 86400));
}

static bool read_missed(const char *text, uint32_t *out)
{
    *out = SCHEDULE_MISSED_ONCE;
    for (uint32_t i = 0; i < ARRAY_LEN(missed_runs); i++)
        if (strcmp(text, missed_runs[i]) == 0)
            *out = i;
    return !text[0] || strcmp(text, missed_runs[*out]) == 0;
}

static char *new_revision(struct schedule_work *w)
{
    uint8_t random[16];
    char hex[33];
    struct env *env = store_env(w->s->config.store);
    env->random(env, random, sizeof(random));
    hex_encode(bytes_of(random, sizeof(random)), hex);
    return schedule_copy(w, bytes_str(hex));
}

const char *schedule_read(struct schedule_work *w, const json_t *root, Kist__Schedule *to)
{
    struct cron cron;
    const json_t *window = json_object_get(root, "FlexibleTimeWindow");
    const char *mode = json_string_value(json_object_get(window, "Mode"));
    char *state = text_of(w, root, "State"), *after = text_of(w, root, "ActionAfterCompletion");
    kist__schedule__init(to);
    to->name = schedule_copy(w, w->name);
    to->group = schedule_copy(w, w->group);
    to->expression = text_of(w, root, "ScheduleExpression");
    to->time_zone = text_of(w, root, "ScheduleExpressionTimezone");
    to->description = text_of(w, root, "Description");
    to->start_ms = date_of(root, "StartDate");
    to->end_ms = date_of(root, "EndDate");
    to->disabled = strcmp(state, "DISABLED") == 0;
    to->delete_after = strcmp(after, "DELETE") == 0;
    to->revision = new_revision(w);
    to->modified_ms = w->now_ms;
    if (cron_parse(bytes_str(to->expression), bytes_str(to->time_zone), &cron) != KIST_OK)
        return "Invalid Schedule Expression, or time zone.";
    if (!mode || (strcmp(mode, "OFF") != 0 && strcmp(mode, "FLEXIBLE") != 0))
        return "FlexibleTimeWindow with a Mode of OFF or FLEXIBLE is required.";
    to->window_minutes =
        (uint32_t)json_integer_value(json_object_get(window, "MaximumWindowInMinutes"));
    if ((strcmp(mode, "FLEXIBLE") == 0) != (to->window_minutes > 0) || to->window_minutes > 1440)
        return "MaximumWindowInMinutes must be 1 to 1440 with Mode FLEXIBLE, and absent "
               "otherwise.";
    if ((state[0] && !to->disabled && strcmp(state, "ENABLED") != 0) ||
        (after[0] && !to->delete_after && strcmp(after, "NONE") != 0) ||
        !read_missed(text_of(w, root, "KistMissedRuns"), &to->missed))
        return "State, ActionAfterCompletion or KistMissedRuns is none of its values.";
    if (to->start_ms < 0 || to->end_ms < 0 || (to->end_ms && to->end_ms <= to->start_ms) ||
        strlen(to->description) > 512)
        return "StartDate, EndDate or Description is out of bounds.";
    if (!read_target(w, json_object_get(root, "Target"), to))
        return "Target is missing or out of bounds.";
    return NULL;
}

/* ---- describing ---- */

json_t *schedule_describe(struct schedule_work *w, const Kist__Schedule *o, bool whole)
{
    struct bytes group = bytes_str(o->group), name = bytes_str(o->name);
    json_t *target = json_pack("{s:s}", "Arn", o->target);
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:o}", "Arn",
                             schedule_arn(w, "schedule", group, name), "Name", o->name,
                             "GroupName", o->group, "State", o->disabled ? "DISABLED" : "ENABLED",
                             "CreationDate", (double)o->created_ms / 1000, "LastModificationDate",
                             (double)o->modified_ms / 1000, "Target", target);
    if (!json || !whole)
        return json;
    json_object_set_new(json, "ScheduleExpression", json_string(o->expression));
    json_object_set_new(json, "ScheduleExpressionTimezone",
                        json_string(o->time_zone[0] ? o->time_zone : "UTC"));
    json_object_set_new(json, "ActionAfterCompletion",
                        json_string(o->delete_after ? "DELETE" : "NONE"));
    json_object_set_new(json, "KistMissedRuns",
                        json_string(missed_runs[o->missed % ARRAY_LEN(missed_runs)]));
    json_object_set_new(json, "FlexibleTimeWindow",
                        o->window_minutes
                            ? json_pack("{s:s, s:i}", "Mode", "FLEXIBLE",
                                        "MaximumWindowInMinutes", (int)o->window_minutes)
                            : json_pack("{s:s}", "Mode", "OFF"));
    if (o->description[0])
        json_object_set_new(json, "Description", json_string(o->description));
    if (o->start_ms)
        json_object_set_new(json, "StartDate", json_real((double)o->start_ms / 1000));
    if (o->end_ms)
        json_object_set_new(json, "EndDate", json_real((double)o->end_ms / 1000));
    if (o->role[0])
        json_object_set_new(target, "RoleArn", json_string(o->role));
    if (o->input.len)
        json_object_set_new(target, "Input",
                            json_stringn((const char *)o->input.data, o->input.len));
    if (o->dead_letter[0])
        json_object_set_new(target, "DeadLetterConfig",
                            json_pack("{s:s}", "Arn", o->dead_letter));
    json_object_set_new(target, "RetryPolicy",
                        json_pack("{s:i, s:i}", "MaximumEventAgeInSeconds",
                                  o->age_max_s ? (int)o->age_max_s : 86400,
                                  "MaximumRetryAttempts", o->retries ? o->retries - 1 : 185));
    return json;
}
