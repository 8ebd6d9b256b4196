/* `kist fn`: functions in few words. */
#ifndef KIST_SERVER_CLI_FN_INTERNAL_H
#define KIST_SERVER_CLI_FN_INTERNAL_H

#include <jansson.h>

#include "server/cli/client.h"

#define FN_TRIGGERS_MAX 16
#define FN_VARIABLES_MAX 128
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

/* ---- fn_deploy.c ---- */
struct fn_deploy {
    const char *name, *path;
    const char *triggers[FN_TRIGGERS_MAX]; /* s3://bucket/prefix*suffix */
    size_t trigger_count;
    const char *variables[FN_VARIABLES_MAX]; /* K=V */
    size_t variable_count;
    const char *runtime, *handler, *role, *description; /* NULL: not said */
    unsigned memory_mb, timeout_s;                      /* 0: not said */
};
int fn_deploy(struct fn_cli *f, const struct fn_deploy *how);
/* What deploy made beside the function: triggers and the role. */
bool fn_undo_triggers(struct fn_cli *f, const char *name);
bool fn_undo_role(struct fn_cli *f, const char *name);

#endif
