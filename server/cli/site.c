#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/site_internal.h"
#include "server/cli/tools.h"

#define ARENA_MAX ((size_t)1 << 30)

static const char usage_text[] =
    "usage: kist site deploy DIR s3://BUCKET [options]\n"
    "       kist site ls s3://BUCKET\n"
    "       kist site rollback s3://BUCKET [RELEASE]\n"
    "\n"
    "Publishes a directory as a static website: what changed is uploaded, then the whole site\n"
    "is switched to the new release at once. The bucket, its website configuration and a policy\n"
    "that opens the releases to everybody are made when they lack.\n"
    "\n"
    "  --index NAME      the page of a directory (index.html)\n"
    "  --error NAME      the page for what is missing (404.html, when there is one)\n"
    "  --cache-control T for files that are neither HTML (no-cache) nor named by a hash\n"
    "                    (immutable) (public, max-age=0, must-revalidate)\n"
    "  --keep N          releases to keep, with the live one (5)\n"
    "  --dry-run         only show what would change\n" CLIENT_OPTIONS_HELP "\n"
    "rollback without a RELEASE takes the one before the live one. ls shows a release a line:\n"
    "its name, files, bytes, and \"live\" behind the one that is.\n";

static int __attribute__((noreturn)) mistake(const char *what)
{
    cli_mistake("site", NULL, what);
}

/* ---- ls ---- */

static bool show_release(struct site *s, const char *release, bool live)
{
    struct site_files files;
    bool found = false;
    site_files_init(&files);
    bool ok = site_manifest_get(s, release, &files, &found);
    if (ok && found)
        printf("%s %zu %" PRIu64 "%s\n", release, files.count, files.bytes, live ? " live" : "");
    site_files_release(&files);
    return ok;
}

static int list(struct site *s)
{
    char live[SITE_RELEASE_MAX + 1];
    struct site_names names;
    bool no_bucket;
    if (!site_live(s, live, &no_bucket))
        return 1;
    bool ok = site_list(s, SITE_MANIFESTS, "", 0, &names);
    for (size_t i = 0; ok && i < names.count; i++)
        if (names.bytes[i] > 0 && site_is_release(names.list[i]))
            ok = show_release(s, names.list[i], strcmp(names.list[i], live) == 0);
    site_names_release(&names);
    return ok ? 0 : 1;
}

/* ---- rollback ---- */

/* The newest complete release before the live one; NULL: none. */
static const char *before(const struct site_names *names, const char *live)
{
    const char *found = NULL;
    for (size_t i = 0; i < names->count && strcmp(names->list[i], live) != 0; i++)
        if (names->bytes[i] > 0 && site_is_release(names->list[i]))
            found = names->list[i];
    return found;
}

static bool is_complete(struct site *s, const char *release)
{
    struct site_files files;
    bool found = false;
    site_files_init(&files);
    bool ok = site_manifest_get(s, release, &files, &found);
    site_files_release(&files);
    return ok && found;
}

/* A deployment may be removing this very release: it takes the manifest away first, then looks
 * at the pointer; here the pointer is set first, then the manifest looked for. */
static int roll_to(struct site *s, const char *release, const char *live)
{
    if (!site_is_release(release) || !is_complete(s, release)) {
        fprintf(stderr, "kist: %s: there is no such release\n", release);
        return 1;
    }
    if (!site_publish(s, release))
        return 1;
    if (!site_is_release(release) || !is_complete(s, release)) {
        fprintf(stderr, "kist: %s: it was removed meanwhile\n", release);
        (void)site_publish(s, live);
        return 1;
    }
    printf("release %s\n", release);
    return 0;
}

static int rollback(struct site *s, const char *release)
{
    char live[SITE_RELEASE_MAX + 1];
    struct site_names names;
    bool no_bucket;
    int rc = 1;
    if (!site_live(s, live, &no_bucket))
        return 1;
    if (!live[0]) {
        fprintf(stderr, "kist: %s: nothing was deployed there\n", s->bucket);
        return 1;
    }
    if (release)
        return roll_to(s, release, live);
    if (site_list(s, SITE_MANIFESTS, "", 0, &names)) {
        release = before(&names, live);
        if (release)
            rc = roll_to(s, release, live);
        else
            fprintf(stderr, "kist: %s: no release is older than the live one\n", s->bucket);
    }
    site_names_release(&names);
    return rc;
}

/* ---- arguments ---- */

struct arguments {
    struct client_options client;
    struct site_deploy deploy;
    const char *words[3];
    size_t count;
};

static bool take_option(struct arguments *a, const char *name, const char *value)
{
    uint64_t keep = 0;
    if (strcmp(name, "--index") == 0)
        a->deploy.index = value;
    else if (strcmp(name, "--error") == 0)
        a->deploy.error = value;
    else if (strcmp(name, "--cache-control") == 0 && *value)
        a->deploy.cache_control = value;
    else if (strcmp(name, "--keep") == 0 &&
             bytes_to_u64(bytes_str(value), SITE_KEEP_MAX, &keep) == KIST_OK && keep > 0)
        a->deploy.keep = (unsigned)keep;
    else
        return client_take_option(&a->client, name, value);
    return true;
}

static void parse(int argc, char **argv, struct arguments *a)
{
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            exit(0);
        }
        if (strcmp(argv[i], "--dry-run") == 0) {
            a->deploy.dry_run = true;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc || !take_option(a, argv[i], argv[i + 1]))
                cli_mistake("site", argv[i], CLI_NO_OPTION);
            i++;
        } else if (a->count == ARRAY_LEN(a->words)) {
            cli_mistake("site", argv[i], "too many words");
        } else {
            a->words[a->count++] = argv[i];
        }
    }
}

/* "s3://bucket", with or without a slash behind it. */
static char *bucket_of(struct arena *arena, const char *url)
{
    static const char scheme[] = "s3://";
    const char *name = url + sizeof(scheme) - 1;
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0)
        return NULL;
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-");
    bool whole = name[len] == '\0' || strcmp(name + len, "/") == 0;
    return len > 0 && whole ? arena_strndup(arena, name, len) : NULL;
}

int cli_site(int argc, char **argv)
{
    struct arguments a = { .deploy = { .keep = SITE_KEEP_DEFAULT,
                                       .cache_control = SITE_CACHE_DEFAULT } };
    struct site s = { 0 };
    parse(argc, argv, &a);
    const char *verb = a.count ? a.words[0] : "";
    bool deploy = strcmp(verb, "deploy") == 0, rolls = strcmp(verb, "rollback") == 0;
    if (!deploy && !rolls && strcmp(verb, "ls") != 0)
        mistake("which? deploy, ls or rollback");
    if (deploy ? a.count != 3 : a.count != 2 && !(rolls && a.count == 3))
        mistake("wrong number of words");
    arena_init(&s.arena, ARENA_MAX);
    s.bucket = bucket_of(&s.arena, a.words[deploy ? 2 : 1]);
    a.deploy.dir = a.words[1];
    int rc = 2;
    if (!s.bucket)
        fprintf(stderr, "kist: %s: a bucket is s3://NAME\n", a.words[deploy ? 2 : 1]);
    else
        rc = client_open(&a.client, NULL, &s.client);
    if (s.bucket && rc == 0)
        rc = deploy  ? site_deploy(&s, &a.deploy)
             : rolls ? rollback(&s, a.count == 3 ? a.words[2] : NULL)
                     : list(&s);
    client_close(s.client);
    arena_release(&s.arena);
    return rc;
}
