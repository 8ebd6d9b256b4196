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

enum outcome { DONE, FAILED, WAITS };

/* What it names may have been made meanwhile, and the plan looked at for long: once more. */
static enum outcome make(struct app *a, struct app_thing *t)
{
    enum app_step planned = t->step;
    t->pending = false;
    json_decref(t->have);
    t->have = NULL;
    if (!t->kind->look(a, t))
        return FAILED;
    if (t->pending)
        return WAITS;
    app_compare(t);
    printf("%s %s %s\n", planned == APP_CREATE ? "create" : "change", t->kind->word, t->name);
    fflush(stdout);
    return t->step == APP_SAME || t->kind->make(a, t) ? DONE : FAILED;
}

static enum outcome drop(struct app *a, struct app_thing *t)
{
    printf("remove %s %s\n", t->kind->word, t->name);
    fflush(stdout);
    return t->kind->drop(a, t) ? DONE : FAILED;
}

static enum outcome step(struct app *a, struct app_thing *t)
{
    enum outcome o = t->step == APP_REMOVE ? drop(a, t) : make(a, t);
    t->done = o == DONE;
    arena_clear(&a->fn.arena);
    return o;
}

static bool is_open(const struct app_thing *t)
{
    return !t->done && t->step != APP_SAME;
}

/* Neither told to end nor robbed of the lock. */
static bool may_go_on(struct app *a)
{
    return !app_told_to_end() && app_lock_is_held(a);
}

static void tell_rest(const struct app *a, const struct app_thing *failed)
{
    size_t done = 0;
    for (size_t i = 0; i < a->count; i++)
        done += a->list[i].done;
    fprintf(stderr, "kist: %s: stopped at %s %s; done: %zu; not done:", a->file,
            failed->kind->word, failed->name, done);
    for (size_t i = 0; i < a->count; i++)
        if (is_open(&a->list[i]))
            fprintf(stderr, " %s %s,", a->list[i].kind->word, a->list[i].name);
    fprintf(stderr, " which another run goes on with\n");
}

bool app_carry_out(struct app *a)
{
    struct app_thing *waits = NULL;
    /* What names a thing that is made later waits for another round. */
    for (bool progress = true; progress;) {
        progress = false;
        waits = NULL;
        for (size_t i = 0; i < a->count; i++) {
            struct app_thing *t = &a->list[i];
            if (!is_open(t))
                continue;
            enum outcome o = may_go_on(a) ? step(a, t) : FAILED;
            if (o == FAILED) {
                tell_rest(a, t);
                return false;
            }
            progress = progress || o == DONE;
            waits = o == WAITS ? t : waits;
        }
    }
    if (waits) {
        yml_fail(&a->yml, waits->node->line, "%s %s waits for what waits for it: name an ARN",
                 waits->kind->word, waits->name);
        tell_rest(a, waits);
        return false;
    }
    printf("done\n");
    return true;
}
