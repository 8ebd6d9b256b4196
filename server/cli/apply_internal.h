/* `kist apply`: from a file to what a server has.
 *
 *     read     the file alone: what is wanted of each thing        (all of them, or nothing is
 * asked) look     the server: what it has                             (reads only) plan     the
 * difference, shown, and agreed to make     create or change, thing by thing; then remove
 *
 * What is wanted and what there is are flat objects of JSON with the file's words as names; where
 * a member differs, the thing changes. */
#ifndef KIST_SERVER_CLI_APPLY_INTERNAL_H
#define KIST_SERVER_CLI_APPLY_INTERNAL_H

#include "server/cli/client_json.h"
#include "server/cli/fn_internal.h"
#include "server/cli/site_internal.h"
#include "server/cli/yml.h"

#define APP_TAG FN_APP_TAG
#define APP_SITE_TAG "kist:site" /* of buckets that a site of the application is all of */

enum app_step { APP_SAME, APP_CREATE, APP_CHANGE, APP_REMOVE };

struct app;
struct app_thing {
    const struct app_kind *kind;
    const char *name;
    const struct yml *node; /* in the file; NULL: it goes */
    json_t *want, *have;    /* have NULL: there is none */
    void *more;             /* of its kind, in the arena */
    json_t *request;        /* of its kind */
    bool pending;           /* it names a thing that is to be made before it */
    enum app_step step;
    bool done;
};

struct app_kind {
    const char *section, *word; /* "buckets", "bucket" */
    const char *letters;        /* of names, beside lower-case letters and digits */
    size_t name_max;
    /* Each false after a message, or after yml_fail(). */
    bool (*read)(struct app *a, struct app_thing *t);
    bool (*look)(struct app *a, struct app_thing *t);
    bool (*make)(struct app *a, struct app_thing *t);
    bool (*drop)(struct app *a, struct app_thing *t);
    /* Adds what an earlier apply made and the file no longer has; NULL: there can be none. */
    bool (*leftovers)(struct app *a);
};
extern const struct app_kind app_bucket, app_target, app_function, app_schedule, app_site;

struct app {
    struct client *client;
    struct arena arena;
    struct fn_cli fn; /* the same client; an arena of its own */
    struct yml_file yml;
    const char *file, *folder; /* paths in the file begin there; "" or with a slash at its end */
    const char *app;           /* NULL: the file names none */
    struct {
        const char *place,
            *path;       /* "s3://bucket/key"; as a request has it; NULL: the file has none */
        const char *own; /* what the object says while it is ours */
    } lock;
    struct app_thing *list;
    size_t count, room;
};

/* ---- apply.c ---- */
/* NULL after a message. */
struct app_thing *app_add(struct app *a, const struct app_kind *kind, const char *name,
                          const struct yml *node);
struct app_thing *app_find(const struct app *a, const struct app_kind *kind, const char *name);
/* A thing that goes, unless the file has one of that name. */
bool app_add_leftover(struct app *a, const struct app_kind *kind, const char *name);
/* A path of the file's as the process needs it; NULL on out of memory. */
const char *app_path(struct app *a, const char *path);
/* Whether a member is to change; true for all of a new thing that are wanted. */
bool app_differs(const struct app_thing *t, const char *name);

/* ---- apply_plan.c ---- */
void app_compare(struct app_thing *t);
/* Shows what would be done; how many steps that is. */
size_t app_show(const struct app *a);
bool app_carry_out(struct app *a);

/* ---- apply_lock.c: each false after a message; without a lock in the file they do nothing ----
 */
bool app_lock_read(struct app *a);
bool app_lock_take(struct app *a);
bool app_lock_is_held(struct app *a);
/* Where it is ours. */
bool app_lock_release(struct app *a);
/* Whosever it is. */
bool app_lock_break(struct app *a);
/* From now on SIGINT, SIGTERM and SIGHUP let the step that is under way come to its end; a second
 * one ends the process. */
void app_watch_signals(void);
/* Until standard input has something; false: a signal came first. */
bool app_await_input(void);
/* The signal that came, or 0. */
int app_told_to_end(void);

/* ---- apply_names.c ---- */
/* The ARN of a function or target by its name; an ARN and s3://... stay. *arn NULL and
 * t->pending: the file makes it first. */
bool app_resolve(struct app *a, struct app_thing *t, const struct yml *at, const char **arn);
/* Sets member `key` of t->want to what the file's member of that name stands for. */
bool app_want_arn(struct app *a, struct app_thing *t, const char *key);

/* ---- apply_bucket.c ---- */
/* A bucket that is made is marked as the application's; this one as one of its sites, too. */
bool app_make_site_bucket(struct app *a, const char *bucket);
/* Only an empty one. */
bool app_delete_bucket(struct app *a, const char *bucket);
/* Whether there is such a bucket, or will be. False after a message. */
bool app_bucket_known(struct app *a, const char *bucket, bool *known);

#endif
