/* Event targets of an application. Secrets never come out of the server: it says itself what a
 * PutTarget would change. */
#include "server/cli/apply_internal.h"

/* The file's words, and the API's. */
static const struct {
    const char *word, *member;
} members[] = {
    { "url", "Url" },
    { "kind", "Kind" },
    { "form", "Form" },
    { "secret", "Secret" },
    { "dead-letter", "DeadLetter" },
    { "retries", "Retries" },
    { "max-age", "MaxAgeSeconds" },
    { "concurrency", "Concurrency" },
    { "ordered", "Ordered" },
    { "private", "PrivateNetwork" },
    { "options", "Options" },
};

static const char *word_of(const char *member)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (strcmp(members[i].member, member) == 0)
            return members[i].word;
    return member;
}

static bool add_text(struct app *a, const struct yml *map, const char *key, const char *member,
                     json_t *in)
{
    const char *text = NULL;
    if (!yml_text(&a->yml, map, key, &text))
        return false;
    if (text)
        json_object_set_new(in, member, json_string(text));
    return true;
}

static bool add_number(struct app *a, const struct yml *map, const char *key, const char *member,
                       json_t *in)
{
    uint64_t n = 0;
    if (!yml_number(&a->yml, map, key, 0, 100000000, &n))
        return false;
    if (yml_get(map, key))
        json_object_set_new(in, member, json_integer((json_int_t)n));
    return true;
}

static bool add_flag(struct app *a, const struct yml *map, const char *key, const char *member,
                     json_t *in)
{
    bool flag = false;
    if (!yml_flag(&a->yml, map, key, &flag))
        return false;
    json_object_set_new(in, member, json_boolean(flag));
    return true;
}

static bool add_options(struct app *a, const struct yml *map, json_t *in)
{
    const struct yml *options = yml_get(map, "options");
    json_t *out = json_object();
    json_object_set_new(in, "Options", out);
    if (options && options->kind != YML_MAP)
        return yml_fail(&a->yml, options->line,
                        "options are members in the form \"name: value\"");
    for (const struct yml *o = options ? options->first : NULL; o; o = o->next) {
        if (o->kind != YML_TEXT || strcmp(o->key, "app") == 0)
            return yml_fail(&a->yml, o->line, "option %.64s must be a text, and none of ours",
                            o->key);
        json_object_set_new(out, o->key, json_string(o->text));
    }
    return true;
}

/* Into t->request what PutTarget takes, but for the dead letter. */
static bool read_target(struct app *a, struct app_thing *t)
{
    static const char known[] =
        "|url|form|secret|dead-letter|retries|max-age|concurrency|ordered|"
        "private|options|";
    const struct yml *map = t->node;
    json_t *in = t->want;
    if (!yml_only(&a->yml, map, known) || !add_text(a, map, "url", "Url", in) ||
        !add_text(a, map, "form", "Form", in) || !add_text(a, map, "secret", "Secret", in) ||
        !add_number(a, map, "retries", "Retries", in) ||
        !add_number(a, map, "max-age", "MaxAgeSeconds", in) ||
        !add_number(a, map, "concurrency", "Concurrency", in) ||
        !add_flag(a, map, "ordered", "Ordered", in) ||
        !add_flag(a, map, "private", "PrivateNetwork", in) || !add_options(a, map, in))
        return false;
    if (!yml_get(map, "url"))
        return yml_fail(&a->yml, map->line, "target %s: say its url", t->name);
    json_object_set_new(in, "Name", json_string(t->name));
    t->request = in;
    t->want = json_object();
    return true;
}

/* A new one is the application's; one that was there stays whose it is. */
static bool set_owner(struct app *a, const struct app_thing *t, json_t *in)
{
    bool absent = false;
    json_t *out =
        client_json_unless(a->client, t->name, "GetTarget", json_pack("{s:s}", "Name", t->name),
                           "ResourceNotFoundException", &absent);
    const json_t *options = json_object_get(json_object_get(out, "Target"), "Options");
    const char *owner = absent && a->app ? a->app : json_text(options, "app");
    if (*owner)
        json_object_set_new(json_object_get(in, "Options"), "app", json_string(owner));
    json_decref(out);
    return out || absent;
}

/* A copy of what PutTarget takes; NULL after a message. */
static json_t *request_of(struct app *a, struct app_thing *t)
{
    const struct yml *letter = yml_get(t->node, "dead-letter");
    const char *arn = NULL;
    json_t *in = json_deep_copy(t->request);
    bool ok = in && set_owner(a, t, in) && (!letter || app_resolve(a, t, letter, &arn));
    if (ok && arn)
        json_object_set_new(in, "DeadLetter", json_string(arn));
    if (!ok) {
        json_decref(in);
        in = NULL;
    }
    return in;
}

static bool look(struct app *a, struct app_thing *t)
{
    json_t *in = request_of(a, t), *change;
    bool absent = false;
    size_t i;
    if (!in)
        return false;
    json_object_set_new(in, "DryRun", json_true());
    json_t *out = client_json_unless(a->client, t->name, "PutTarget", in,
                                     "ResourceNotFoundException", &absent);
    json_object_clear(t->want);
    if (out)
        t->have = json_object();
    json_array_foreach(json_object_get(out, "Changes"), i, change)
    {
        json_object_set_new(t->want, word_of(json_string_value(change)), json_true());
    }
    json_decref(out);
    return out || absent;
}

static bool make(struct app *a, struct app_thing *t)
{
    json_t *in = request_of(a, t);
    json_t *out = in ? client_json(a->client, t->name, "PutTarget", in) : NULL;
    json_decref(out);
    return out != NULL;
}

static bool drop(struct app *a, struct app_thing *t)
{
    json_t *out =
        client_json(a->client, t->name, "DeleteTarget", json_pack("{s:s}", "Name", t->name));
    json_decref(out);
    return out != NULL;
}

static bool leftovers(struct app *a)
{
    json_t *next = NULL, *page, *target;
    bool ok = true, more = true;
    size_t i;
    while (ok && more) {
        json_t *in = json_object();
        if (next)
            json_object_set_new(in, "NextToken", next);
        page = client_json(a->client, "apply", "ListTargets", in);
        ok = page != NULL;
        json_array_foreach(json_object_get(page, "Targets"), i, target)
        {
            const char *owner = json_text(json_object_get(target, "Options"), "app");
            if (ok && strcmp(owner, a->app) == 0)
                ok = app_add_leftover(a, &app_target, json_text(target, "Name"));
        }
        next = json_incref(json_object_get(page, "NextToken"));
        more = next != NULL;
        json_decref(page);
    }
    json_decref(next);
    return ok;
}

const struct app_kind app_target = { .section = "targets",
                                     .word = "target",
                                     .letters = "-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                                     .name_max = 80,
                                     .read = read_target,
                                     .look = look,
                                     .make = make,
                                     .drop = drop,
                                     .leftovers = leftovers };
