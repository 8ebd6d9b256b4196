/* `kist site`: releases of a static website in a bucket.
 *
 *     .kist/site/<release>/<page>     what visitors may get
 *     .kist/manifest/<release>        what the release is made of: it is complete
 *     ?site                           the release that is served: flipped by one command
 *
 * Releases never change once they are complete. A release without a manifest is a deployment
 * that is under way or was interrupted; who clears it away first puts an empty manifest there,
 * under the same condition (it must not exist) as who completes it, so that one of them loses. */
#ifndef KIST_SERVER_CLI_SITE_INTERNAL_H
#define KIST_SERVER_CLI_SITE_INTERNAL_H

#include "server/cli/client.h"

#define SITE_ROOT ".kist/site/"
#define SITE_MANIFESTS ".kist/manifest/"
#define SITE_RELEASE_MAX 64
#define SITE_KEEP_DEFAULT 5
#define SITE_KEEP_MAX 1000
#define SITE_CACHE_DEFAULT "public, max-age=0, must-revalidate"

struct site_file {
    const char *key;  /* below the release */
    const char *path; /* on disk; NULL in a manifest */
    char hash[65];    /* SHA-256 of the contents */
    uint64_t bytes;
    const char *cache; /* Cache-Control */
};
/* Sorted by key. */
struct site_files {
    struct site_file *list;
    size_t count, room;
    uint64_t bytes;
    struct arena arena;
};
void site_files_init(struct site_files *files);
void site_files_release(struct site_files *files);
/* NULL on out of memory. */
struct site_file *site_files_add(struct site_files *files);

/* ---- site_files.c ---- */
/* Reads the directory and hashes what is in it; says what cannot be deployed. cache_control is
 * for what is neither a page nor named by its hash. False after that. */
bool site_scan(const char *dir, const char *cache_control, struct site_files *out);
/* "text/html; charset=utf-8" */
const char *site_type(const char *key);
const char *site_cache(const char *key, const char *otherwise);

/* ---- site_bucket.c: what is in the bucket ---- */
struct site {
    struct client *client;
    const char *bucket;
    struct arena arena; /* of strings that last as long as the command */
};
/* "/bucket/key", encoded; NULL on out of memory. */
char *site_path(struct arena *arena, const char *bucket, const char *prefix, const char *release,
                const char *key);
/* A request to the bucket itself, with a sub-resource, or to the manifest of a release. */
struct client_request site_ask(struct site *s, const char *method, const char *query);
struct client_request site_ask_manifest(struct site *s, const char *method, const char *release);
/* PUTs a document to a sub-resource; false after a message. */
bool site_put(struct site *s, const char *query, struct bytes document);
/* Makes the bucket. */
bool site_make_bucket(struct site *s);
bool site_missing(const struct client_request *q, const char *code);

/* Empty: none. False after a message. */
bool site_live(struct site *s, char release[SITE_RELEASE_MAX + 1], bool *no_bucket);
bool site_publish(struct site *s, const char *release);
/* *found false: there is no such release, or it was abandoned. */
bool site_manifest_get(struct site *s, const char *release, struct site_files *out, bool *found);
/* Completes the release. */
bool site_manifest_put(struct site *s, const char *release, const struct site_files *files);

/* Keys (or, with a delimiter, common prefixes) below a prefix, without it. */
struct site_names {
    char **list;
    uint64_t *bytes;
    size_t count, room;
    struct arena arena;
};
void site_names_release(struct site_names *names);
/* At most max of them (0: all). False after a message. */
bool site_list(struct site *s, const char *prefix, const char *delimiter, size_t max,
               struct site_names *out);
/* Removes a release's pages; how many there were. */
bool site_clear(struct site *s, const char *release, size_t *removed);
/* Whether a release of ours could bear the name: it stands in paths and documents as it is. */
bool site_is_release(const char *name);
bool site_known(const struct site_names *names, const char *name, bool complete);

/* ---- site_deploy.c, site_tidy.c ---- */
/* Requests below the prefix are the function's; by its name. */
struct site_route {
    const char *prefix, *function;
};
struct site_deploy {
    const char *dir, *index, *error, *cache_control; /* index, error NULL: not said */
    bool dry_run;
    unsigned keep;
    bool routed; /* the functions that the site gives paths to become these */
    const struct site_route *routes;
    size_t route_count;
};
int site_deploy(struct site *s, const struct site_deploy *how);
/* What a deployment would do. */
struct site_plan {
    bool no_bucket, no_release, settings;  /* website configuration or policy would change */
    size_t added, changed, removed, other; /* other: with new headers only */
};
/* False after a message. */
bool site_compare(struct site *s, const struct site_deploy *how, struct site_plan *out);
/* Removes what interrupted deployments left, and releases beyond the newest; not the one that
 * was live a moment ago: requests that began then still read from it. */
bool site_tidy(struct site *s, const char *live, const char *previous, unsigned keep);
/* Removes all of them, the live one too. */
bool site_remove_releases(struct site *s);
/* Website configuration and public reading, where they lack. */
bool site_open_to_all(struct site *s, const struct site_deploy *how, bool has_error_page);
/* Whether that would change something, into *differs. False after a message. */
bool site_is_open(struct site *s, const struct site_deploy *how, bool has_error_page,
                  bool *differs);

/* ---- site_routes.c ---- */
/* Puts how's routes into a website configuration; the document stays as it is where they are
 * there already, in this order. False: too large. */
bool site_route(struct buf *document, const struct site_deploy *how);

#endif
