/* kist apply: an application as one file. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/cli/apply_internal.h"
#include "server/cli/tools.h"
#include "storage/base/cleanup.h"

#define ARENA_MAX ((size_t)256 << 20)
#define THINGS_MAX 1024
#define APP_MAX 64
#define APP_LETTERS "-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ"

static const char usage_text[] =
    "usage: kist apply FILE.yaml [--dry-run] [--yes] [--prune] [options]\n"
    "       kist apply FILE.yaml --unlock [options]\n"
    "\n"
    "Makes buckets, targets, functions with their triggers, schedules and websites as the file\n"
    "says, after it has shown what it would do. Where all is as the file says, it does nothing.\n"
    "\n"
    "  --dry-run         only show it\n"
    "  --yes             do not ask\n"
    "  --prune           remove what an earlier apply of a file with the same \"app: NAME\" "
    "made\n"
    "                    and this one no longer has; a bucket only when it is empty\n"
    "  --unlock          only take away the lock of a run that has ended without doing so\n"
    "\n" CLIENT_OPTIONS_HELP "\n"
    "The file, of which each part may be left out:\n"
    "  app: gallery\n"
    "  lock: s3://ops/gallery.lock     # one apply at a time; the bucket is there already\n"
    "  buckets:\n"
    "    photos: { versioning: true, public: false }\n"
    "  targets:\n"
    "    audit: { url: \"https://hooks.example/x\", secret: \"${AUDIT_SECRET}\", ordered: true "
    "}\n"
    "  functions:\n"
    "    thumb:\n"
    "      code: ./thumb               # a file or a directory, beside this file\n"
    "      memory: 256\n"
    "      env: { SIZE: \"200\" }\n"
    "      on: [ \"s3://photos/*.jpg\" ]\n"
    "      allow: [ \"read s3://photos\", \"write s3://small\" ]\n"
    "      url: { auth: none, cors: [ \"https://app.example\" ] }\n"
    "      retries: 1\n"
    "      on-failure: audit           # a target, a function, an ARN or s3://bucket/prefix\n"
    "  schedules:\n"
    "    nightly: { run: thumb, when: \"cron(0 3 * * ? *)\", zone: Europe/Berlin }\n"
    "  sites:\n"
    "    www: { dir: ./public, index: index.html }\n"
    "${NAME} is the environment's variable. The manual has all that may be said.\n";

static const struct app_kind *const kinds[] = { &app_bucket, &app_target, &app_function,
                                                &app_schedule, &app_site };

/* ---- things ---- */

struct app_thing *app_find(const struct app *a, const struct app_kind *kind, const char *name)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].kind == kind && strcmp(a->list[i].name, name) == 0)
            return &a->list[i];
    return NULL;
}

struct app_thing *app_add(struct app *a, const struct app_kind *kind, const char *name,
                          const struct yml *node)
{
    if (a->count == a->room) {
        size_t room = a->room ? a->room * 2 : 32;
        struct app_thing *list =
            a->count < THINGS_MAX ? realloc(a->list, room * sizeof(*list)) : NULL;
        if (!list) {
            fprintf(stderr, "kist: %s: %s\n", a->file,
                    a->count < THINGS_MAX ? "out of memory" : "it has too many things");
            return NULL;
        }
        a->list = list;
        a->room = room;
    }
    struct app_thing *t = &a->list[a->count++];
    *t = (struct app_thing){ .kind = kind, .name = name, .node = node, .want = json_object() };
    return t;
}

bool app_add_leftover(struct app *a, const struct app_kind *kind, const char *name)
{
    if (app_find(a, kind, name))
        return true;
    const char *own = arena_strdup(&a->arena, name);
    struct app_thing *t = own ? app_add(a, kind, own, NULL) : NULL;
    if (t)
        t->step = APP_REMOVE;
    return t != NULL;
}

const char *app_path(struct app *a, const char *path)
{
    return *path == '/' ? path : arena_printf(&a->arena, "%s%s", a->folder, path);
}

/* ---- the file ---- */

static const char *variable(const char *name)
{
    return getenv(name);
}

static bool read_text(const char *path, struct buf *out)
{
    char piece[8192];
    CLEANUP_FCLOSE FILE *f = fopen(path, "re");
    size_t n;
    bool fits = true;
    while (f && fits && (n = fread(piece, 1, sizeof(piece), f)) > 0)
        fits = buf_append(out, piece, n) == KIST_OK;
    bool ok = f && fits && !ferror(f);
    if (!ok)
        fprintf(stderr, "kist: %s: %s\n", path,
                fits ? strerror(errno) : "it is larger than a mebibyte");
    return ok;
}

static bool name_fits(const char *name, const char *letters, size_t max)
{
    size_t len = 0;
    for (; name[len]; len++) {
        char c = name[len];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !strchr(letters, c))
            return false;
    }
    return len > 0 && len <= max;
}

static bool read_section(struct app *a, const struct app_kind *kind)
{
    const struct yml *section = yml_get(a->yml.root, kind->section);
    bool empty = section && section->kind == YML_TEXT && section->plain && !*section->text;
    if (!section || empty)
        return true;
    if (section->kind != YML_MAP)
        return yml_fail(&a->yml, section->line, "%s: names, each with what it is, are wanted",
                        kind->section);
    for (const struct yml *m = section->first; m; m = m->next) {
        if (!name_fits(m->key, kind->letters, kind->name_max))
            return yml_fail(&a->yml, m->line, "%.80s cannot be the name of a %s", m->key,
                            kind->word);
        struct app_thing *t = app_add(a, kind, m->key, m);
        if (!t || !kind->read(a, t))
            return false;
    }
    return true;
}

static bool read_file(struct app *a, struct bytes text)
{
    if (!yml_parse(&a->yml, text, variable) ||
        !yml_only(&a->yml, a->yml.root, "|app|lock|buckets|targets|functions|schedules|sites|") ||
        !app_lock_read(a) || !yml_text(&a->yml, a->yml.root, "app", &a->app))
        return false;
    if (a->app && !name_fits(a->app, APP_LETTERS, APP_MAX))
        return yml_fail(&a->yml, yml_get(a->yml.root, "app")->line,
                        "app: 1 to %d letters, digits, '-', '_' and '.'", APP_MAX);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!read_section(a, kinds[i]))
            return false;
    return true;
}

/* ---- the whole ---- */

struct arguments {
    struct client_options client;
    const char *file;
    bool dry_run, yes, prune, unlock;
};

static bool look_at_all(struct app *a, bool prune)
{
    size_t in_file = a->count;
    for (size_t i = 0; i < in_file; i++) {
        if (app_told_to_end() || !a->list[i].kind->look(a, &a->list[i]))
            return false;
        app_compare(&a->list[i]);
        arena_clear(&a->fn.arena);
    }
    /* What stands on something else goes before it. */
    for (size_t i = ARRAY_LEN(kinds); prune && i-- > 0;)
        if (kinds[i]->leftovers && !kinds[i]->leftovers(a))
            return false;
    return true;
}

static bool agreed(void)
{
    char line[16] = "";
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "kist: apply: nobody to ask: say --yes\n");
        return false;
    }
    printf("go on? [y/N] ");
    fflush(stdout);
    return app_await_input() && fgets(line, sizeof(line), stdin) &&
           (*line == 'y' || *line == 'Y');
}

/* From the look to the last step. */
static bool apply(struct app *a, const struct arguments *args)
{
    return look_at_all(a, args->prune) &&
           (app_show(a) == 0 || args->dry_run ||
            ((args->yes || agreed()) && !app_told_to_end() && app_carry_out(a)));
}

static int run(struct app *a, const struct arguments *args)
{
    if (args->prune && !a->app) {
        fprintf(stderr, "kist: %s: --prune needs \"app: NAME\" in the file\n", a->file);
        return 2;
    }
    if (args->unlock && !a->lock.path) {
        fprintf(stderr, "kist: %s: --unlock needs \"lock: s3://BUCKET/KEY\" in the file\n",
                a->file);
        return 2;
    }
    int rc = client_open(&args->client, NULL, &a->client);
    a->fn.client = a->client;
    if (rc != 0)
        return rc;
    if (args->unlock)
        return app_lock_break(a) ? 0 : 1;
    app_watch_signals();
    if (!args->dry_run && !app_lock_take(a))
        return 1;
    bool ok = apply(a, args);
    ok = app_lock_release(a) && ok;
    return ok ? 0 : 1;
}

static int apply_file(struct app *a, const struct arguments *args)
{
    struct buf text;
    const char *slash = strrchr(args->file, '/');
    buf_init(&text, YML_BYTES_MAX);
    a->file = args->file;
    a->folder =
        slash ? arena_strndup(&a->arena, args->file, (size_t)(slash - args->file) + 1) : "";
    a->yml.arena = &a->arena;
    int rc = a->folder && read_text(args->file, &text) ? 0 : 1;
    if (rc == 0 && !read_file(a, buf_bytes(&text)))
        rc = 2;
    if (rc == 0)
        rc = run(a, args);
    if (a->yml.line)
        fprintf(stderr, "kist: %s:%u: %s\n", a->file, a->yml.line, a->yml.why);
    buf_release(&text);
    return rc;
}

static void parse(int argc, char **argv, struct arguments *a)
{
    for (int i = 0; i < argc; i++) {
        bool *flag = strcmp(argv[i], "--dry-run") == 0  ? &a->dry_run
                     : strcmp(argv[i], "--yes") == 0    ? &a->yes
                     : strcmp(argv[i], "--prune") == 0  ? &a->prune
                     : strcmp(argv[i], "--unlock") == 0 ? &a->unlock
                                                        : NULL;
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            exit(0);
        }
        if (flag) {
            *flag = true;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc || !client_take_option(&a->client, argv[i], argv[i + 1]))
                cli_mistake("apply", argv[i], CLI_NO_OPTION);
            i++;
        } else if (a->file) {
            cli_mistake("apply", argv[i], "one file at a time");
        } else {
            a->file = argv[i];
        }
    }
    if (!a->file)
        cli_mistake("apply", NULL, "which file?");
}

int cli_apply(int argc, char **argv)
{
    struct arguments args = { .file = NULL };
    struct app a = { .client = NULL };
    parse(argc, argv, &args);
    arena_init(&a.arena, ARENA_MAX);
    arena_init(&a.fn.arena, ARENA_MAX);
    int rc = apply_file(&a, &args);
    for (size_t i = 0; i < a.count; i++) {
        json_decref(a.list[i].want);
        json_decref(a.list[i].have);
        json_decref(a.list[i].request);
    }
    free(a.list);
    client_close(a.client);
    arena_release(&a.fn.arena);
    arena_release(&a.arena);
    if (app_told_to_end()) { /* as who sent it expects */
        (void)fflush(stdout);
        (void)signal(app_told_to_end(), SIG_DFL);
        (void)raise(app_told_to_end());
    }
    return rc;
}
