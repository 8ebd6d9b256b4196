/* `kist account`: on a data directory that no server uses, or through a running server. */
#ifndef KIST_SERVER_CLI_ACCOUNT_INTERNAL_H
#define KIST_SERVER_CLI_ACCOUNT_INTERNAL_H

#include "auth/accounts.h"

struct account_call {
    const char *data, *endpoint; /* endpoint NULL: the directory itself */
    const char *ca_file;         /* NULL: AWS_CA_BUNDLE, or the system's */
    const char *verb;            /* "create", "ls", "rm", "key create", "key rotate", "key rm" */
    const char *name, *key_id;
    struct account_key key; /* chosen, or empty */
};

/* Both print the result, and return the exit status. */
int account_local(const struct account_call *call);
int account_remote(const struct account_call *call);

#endif
