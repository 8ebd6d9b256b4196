/* Functions of an application: shared by what reads the file (apply_function.c) and what asks the
 * server (apply_function_look.c). */
#ifndef KIST_SERVER_CLI_APPLY_FUNCTION_H
#define KIST_SERVER_CLI_APPLY_FUNCTION_H

#include "server/cli/apply_internal.h"

#define URL_ORIGINS_MAX 32
#define OWN_ROLE "own" /* kist-fn-NAME, in what is wanted and what there is */

struct function {
    struct fn_deploy deploy;
    struct fn_trigger triggers[FN_TRIGGERS_MAX];
};

/* ---- apply_function_look.c ---- */
bool function_look(struct app *a, struct app_thing *t);
bool function_leftovers(struct app *a);
/* Everybody may call its URL, or no longer. */
bool function_may_be_called(struct app *a, const char *name, bool open);

#endif
