/* The plan of `kist apply`: what differs, how it is shown, and its carrying out. */
#include <stdio.h>

#include "server/cli/apply_internal.h"

/* What is not there is as null. */
static const json_t *member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return value ? value : json_null();
}

bool apply_differs(const struct apply_thing *t, const char *name)
{
    const json_t *want = json_object_get(t->want, name);
    return want && !json_equal(want, member(t->have, name));
}

void apply_compare(struct apply_thing *t)
{
    const char *name;
    json_t *value;
    t->step = t->have ? APPLY_SAME : APPLY_CREATE;
    json_object_foreach(t->want, name, value)
    {
        if (t->have && apply_differs(t, name))
            t->step = APPLY_CHANGE;
    }
}

static void show_members(const struct apply_thing *t)
{
    const char *name, *between = ": ";
    json_t *value;
    json_object_foreach(t->want, name, value)
    {
        if (apply_differs(t, name)) {
            printf("%s%s", between, name);
            between = ", ";
        }
    }
}

size_t apply_show(const struct apply *a)
{
    static const char *const words[] = { "unchanged", "create", "change", "remove" };
    size_t counts[4] = { 0 };
    for (size_t i = 0; i < a->count; i++) {
        const struct apply_thing *t = &a->list[i];
        printf("%-9s %s %s", words[t->step], t->kind->word, t->name);
        if (t->step == APPLY_CHANGE)
            show_members(t);
        printf("\n");
        counts[t->step]++;
    }
    size_t steps = a->count - counts[APPLY_SAME];
    if (steps)
        printf("%zu to create, %zu to change, %zu to remove, %zu unchanged\n",
               counts[APPLY_CREATE], counts[APPLY_CHANGE], counts[APPLY_REMOVE],
               counts[APPLY_SAME]);
    else
        printf("nothing to do\n");
    fflush(stdout);
    return steps;
}

/* ---- carrying it out ---- */

/* What it names was made meanwhile, or the plan has been looked at for long: once more. */
static bool make(struct apply *a, struct apply_thing *t)
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
    apply_compare(t);
    return t->step == APPLY_SAME || t->kind->make(a, t);
}

static bool step(struct apply *a, struct apply_thing *t)
{
    static const char *const words[] = { "", "create", "change", "remove" };
    if (t->step == APPLY_SAME)
        return true;
    printf("%s %s %s\n", words[t->step], t->kind->word, t->name);
    fflush(stdout);
    t->done = t->step == APPLY_REMOVE ? t->kind->drop(a, t) : make(a, t);
    arena_clear(&a->fn.arena);
    return t->done;
}

static void tell_rest(const struct apply *a, const struct apply_thing *failed)
{
    size_t done = 0;
    for (size_t i = 0; i < a->count; i++)
        done += a->list[i].done;
    fprintf(stderr, "kist: %s: stopped at %s %s; done: %zu; not done:", a->file,
            failed->kind->word, failed->name, done);
    for (size_t i = 0; i < a->count; i++)
        if (!a->list[i].done && a->list[i].step != APPLY_SAME)
            fprintf(stderr, " %s %s,", a->list[i].kind->word, a->list[i].name);
    fprintf(stderr, " which another run goes on with\n");
}

bool apply_carry_out(struct apply *a)
{
    for (size_t i = 0; i < a->count; i++)
        if (!step(a, &a->list[i])) {
            tell_rest(a, &a->list[i]);
            return false;
        }
    printf("done\n");
    return true;
}
