/* The plan of `kist apply`: what differs, how it is shown, and its carrying out. */
#include <stdio.h>

#include "server/cli/apply_internal.h"

/* What is not there is as null. */
static const json_t *member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return value ? value : json_null();
}

bool app_differs(const struct app_thing *t, const char *name)
{
    const json_t *want = json_object_get(t->want, name);
    return want && !json_equal(want, member(t->have, name));
}

void app_compare(struct app_thing *t)
{
    const char *name;
    json_t *value;
    t->step = t->have ? APP_SAME : APP_CREATE;
    json_object_foreach(t->want, name, value)
    {
        if (t->have && app_differs(t, name))
            t->step = APP_CHANGE;
    }
}

static void show_members(const struct app_thing *t)
{
    const char *name, *between = ": ";
    json_t *value;
    json_object_foreach(t->want, name, value)
    {
        if (app_differs(t, name)) {
            printf("%s%s", between, name);
            between = ", ";
        }
    }
}

size_t app_show(const struct app *a)
{
    static const char *const words[] = { "unchanged", "create", "change", "remove" };
    size_t counts[4] = { 0 };
    for (size_t i = 0; i < a->count; i++) {
        const struct app_thing *t = &a->list[i];
        printf("%-9s %s %s", words[t->step], t->kind->word, t->name);
        if (t->step == APP_CHANGE)
            show_members(t);
        printf("\n");
        counts[t->step]++;
    }
    size_t steps = a->count - counts[APP_SAME];
    if (steps)
        printf("%zu to create, %zu to change, %zu to remove, %zu unchanged\n", counts[APP_CREATE],
               counts[APP_CHANGE], counts[APP_REMOVE], counts[APP_SAME]);
    else
        printf("nothing to do\n");
    fflush(stdout);
    return steps;
}

/* ---- carrying it out ---- */

/* What it names was made meanwhile, or the plan has been looked at for long: once more. */
static bool make(struct app *a, struct app_thing *t)
{
    t->pending = false;
    json_decref(t->have);
    t->have = NULL;
    if (!t->kind->look(a, t))
        return false;
    if (t->pending)
        return yml_fail(&a->yml, t->node->line,
                        "%s %s names something that is made only after it: put that before it",
                        t->kind->word, t->name);
    app_compare(t);
    return t->step == APP_SAME || t->kind->make(a, t);
}

static bool step(struct app *a, struct app_thing *t)
{
    static const char *const words[] = { "", "create", "change", "remove" };
    if (t->step == APP_SAME)
        return true;
    printf("%s %s %s\n", words[t->step], t->kind->word, t->name);
    fflush(stdout);
    t->done = t->step == APP_REMOVE ? t->kind->drop(a, t) : make(a, t);
    arena_clear(&a->fn.arena);
    return t->done;
}

static void tell_rest(const struct app *a, const struct app_thing *failed)
{
    size_t done = 0;
    for (size_t i = 0; i < a->count; i++)
        done += a->list[i].done;
    fprintf(stderr, "kist: %s: stopped at %s %s; done: %zu; not done:", a->file,
            failed->kind->word, failed->name, done);
    for (size_t i = 0; i < a->count; i++)
        if (!a->list[i].done && a->list[i].step != APP_SAME)
            fprintf(stderr, " %s %s,", a->list[i].kind->word, a->list[i].name);
    fprintf(stderr, " which another run goes on with\n");
}

bool app_carry_out(struct app *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (!step(a, &a->list[i])) {
            tell_rest(a, &a->list[i]);
            return false;
        }
    printf("done\n");
    return true;
}
