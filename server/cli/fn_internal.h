/* `kist fn`: functions in few words. */
#ifndef KIST_SERVER_CLI_FN_INTERNAL_H
#define KIST_SERVER_CLI_FN_INTERNAL_H

#include <jansson.h>

#include "server/cli/client.h"

#define FN_TRIGGERS_MAX 16
#define FN_VARIABLES_MAX 128
#define FN_PERMISSIONS_MAX 64
#define FN_ID_PREFIX "kist-fn-"
#define FN_APP_TAG "kist:app"
#define FN_HASH_LEN 45 /* SHA-256 in base64, and its end */
#define FN_PATH "/2015-03-31/functions"

struct fn_cli {
    struct client *client;
    struct arena arena;
};

/* One call of Lambda's API. `in` is taken over; NULL: no body. *status (may be NULL): of the
 * answer; with it a refusal is no message, and *out its body. False: it did not succeed. *out
 * (may be NULL) is the caller's. */
bool fn_ask(struct fn_cli *f, const char *method, const char *path, json_t *in, json_t **out,
            unsigned *status);
/* "/2015-03-31/functions/NAME" and what follows; NAME is encoded. */
const char *fn_path(struct fn_cli *f, const char *name, const char *tail);
const char *fn_text(const json_t *object, const char *name);

/* ---- fn_zip.c ---- */
struct fn_package {
    struct buf zip;
    char runtime[32], handler[128]; /* empty: cannot be guessed */
};
/* A file, a directory or a ready zip. Says what is wrong; false then. */
bool fn_zip(const char *path, struct fn_package *out);
void fn_package_release(struct fn_package *p);

/* ---- fn_role.c ---- */
/* What a role may do below a prefix: read and list, or write and delete. */
struct fn_permission {
    const char *bucket, *prefix;
    bool writes;
};
/* "read s3://bucket/prefix", "write s3://bucket". False: it is none. */
bool fn_permission_parse(struct arena *arena, const char *text, struct fn_permission *out);
/* The policy that says so; the caller's. */
json_t *fn_role_policy(const struct fn_permission *list, size_t count);
/* Makes kist-fn-NAME, or gives it these permissions in place of those it had. Its ARN; NULL after
 * a message. */
const char *fn_role_make(struct fn_cli *f, const char *name, const struct fn_permission *list,
                         size_t count);
/* What it has: the caller's; NULL: nothing. False after a message. */
bool fn_role_look(struct fn_cli *f, const char *name, json_t **policy);
bool fn_undo_role(struct fn_cli *f, const char *name);
/* Whether the ARN is of the role that is made for the function. */
bool fn_role_is_own(const char *arn, const char *name);

/* ---- fn_trigger.c ---- */
/* s3://bucket/prefix*suffix, taken apart. */
struct fn_trigger {
    const char *bucket, *prefix, *suffix;
};
bool fn_trigger_parse(struct arena *arena, const char *text, struct fn_trigger *out);
/* In the buckets of the list, these are the function's triggers afterwards. */
bool fn_set_triggers(struct fn_cli *f, const char *name, const char *arn,
                     const struct fn_trigger *list, size_t count);
/* In all other buckets it has none afterwards. */
bool fn_drop_triggers(struct fn_cli *f, const char *name, const struct fn_trigger *keep,
                      size_t count);
/* Those it has, as texts with a star: the caller's; NULL after a message. */
json_t *fn_triggers(struct fn_cli *f, const char *name);

/* ---- fn_deploy.c ---- */
struct fn_deploy {
    const char *name, *path;
    const char *triggers[FN_TRIGGERS_MAX]; /* s3://bucket/prefix*suffix */
    size_t trigger_count;
    const char *allow[FN_PERMISSIONS_MAX];   /* "read s3://bucket/prefix" */
    size_t allow_count;                      /* 0: the triggers' buckets, read and write */
    const char *variables[FN_VARIABLES_MAX]; /* K=V */
    size_t variable_count;
    const char *runtime, *handler, *role, *description; /* NULL: not said */
    unsigned memory_mb, timeout_s;                      /* 0: not said */
    bool whole;      /* this is all of it: variables, triggers and a role not said go */
    const char *app; /* the tag kist:app of a new one; NULL: none */
};
/* The exit status. */
int fn_deploy(struct fn_cli *f, const struct fn_deploy *how);
/* With what deploy made beside it: triggers and the role. */
bool fn_drop(struct fn_cli *f, const char *name);
void fn_code_hash(const struct fn_package *p, char out[FN_HASH_LEN]);
/* What the role may do when nothing was said; out has room for two for each trigger. */
size_t fn_default_permissions(const struct fn_trigger *list, size_t count,
                              struct fn_permission *out);

#endif
