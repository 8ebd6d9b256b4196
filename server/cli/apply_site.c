/* Websites of an application: their bucket bears their name. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/apply_internal.h"

#define ROUTES_MAX 50
#define ARENA_MAX ((size_t)1 << 30)

/* "functions: { api/: name }" */
static bool read_routes(struct app *a, struct app_thing *t, struct site_deploy *how)
{
    const struct yml *map = yml_get(t->node, "functions");
    how->routed = true;
    if (!map)
        return true;
    if (map->kind != YML_MAP || map->count > ROUTES_MAX)
        return yml_fail(&a->yml, map->line, "functions: at most %d in the form \"path/: name\"",
                        ROUTES_MAX);
    struct site_route *list = arena_alloc(&a->arena, (map->count + 1) * sizeof(*list));
    for (const struct yml *m = map->first; list && m; m = m->next) {
        if (m->kind != YML_TEXT || !*m->text || !*m->key || *m->key == '/')
            return yml_fail(&a->yml, m->line,
                            "%.64s: a path without a slash before it, and a "
                            "function's name, are wanted",
                            m->key);
        list[how->route_count++] = (struct site_route){ .prefix = m->key, .function = m->text };
    }
    how->routes = list;
    return list || yml_fail(&a->yml, map->line, "out of memory");
}

static bool read_site(struct app *a, struct app_thing *t)
{
    struct site_deploy *how = arena_zalloc(&a->arena, sizeof(*how));
    const char *dir = NULL;
    uint64_t keep = SITE_KEEP_DEFAULT;
    if (!how)
        return yml_fail(&a->yml, t->node->line, "out of memory");
    how->cache_control = SITE_CACHE_DEFAULT;
    if (!yml_only(&a->yml, t->node, "|dir|index|error|cache-control|keep|functions|") ||
        !yml_text(&a->yml, t->node, "dir", &dir) ||
        !yml_text(&a->yml, t->node, "index", &how->index) ||
        !yml_text(&a->yml, t->node, "error", &how->error) ||
        !yml_text(&a->yml, t->node, "cache-control", &how->cache_control) ||
        !yml_number(&a->yml, t->node, "keep", 1, SITE_KEEP_MAX, &keep) || !read_routes(a, t, how))
        return false;
    if (!dir)
        return yml_fail(&a->yml, t->node->line, "site %s: say which dir", t->name);
    how->dir = app_path(a, dir);
    how->keep = (unsigned)keep;
    t->more = how;
    return how->dir || yml_fail(&a->yml, t->node->line, "out of memory");
}

static struct site site_of(struct app *a, const struct app_thing *t)
{
    struct site s = { .client = a->client, .bucket = t->name };
    arena_init(&s.arena, ARENA_MAX);
    return s;
}

static bool look(struct app *a, struct app_thing *t)
{
    struct site s = site_of(a, t);
    struct site_plan p;
    bool ok = site_compare(&s, t->more, &p);
    arena_release(&s.arena);
    if (!ok)
        return false;
    bool files = p.no_release || p.added || p.changed || p.removed || p.other;
    json_object_set_new(t->want, "files", json_boolean(files));
    json_object_set_new(t->want, "settings", json_boolean(p.settings));
    json_object_set_new(t->want, "bucket", json_boolean(p.no_bucket));
    if (!p.no_bucket && !p.no_release)
        t->have =
            json_pack("{s:b, s:b, s:b}", "files", false, "settings", false, "bucket", false);
    return true;
}

static bool make(struct app *a, struct app_thing *t)
{
    struct site s = site_of(a, t);
    bool no_bucket = json_is_true(json_object_get(t->want, "bucket"));
    bool ok = (!no_bucket || app_make_bucket(a, t->name)) && site_deploy(&s, t->more) == 0;
    arena_release(&s.arena);
    return ok;
}

const struct app_kind app_site = { .section = "sites",
                                   .word = "site",
                                   .letters = "-.",
                                   .name_max = 63,
                                   .read = read_site,
                                   .look = look,
                                   .make = make };
