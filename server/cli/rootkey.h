/* The root key: from the environment, or made on first start and kept in the data directory. */
#ifndef KIST_SERVER_CLI_ROOTKEY_H
#define KIST_SERVER_CLI_ROOTKEY_H

#include "storage/base/env.h"

struct root_key {
    char access_key[129];
    char secret_key[129];
    bool made; /* just now */
};

/* KIST_E_INVALID: a given key is empty or too long, or the file is damaged. The file is
 * DIR/root-key, mode 0600. */
enum kist_err root_key_load(const char *dir, const char *access_key, const char *secret_key,
                            struct env *env, struct root_key *out) MUST_CHECK;

/* The same, without making one: KIST_E_NOT_FOUND. */
enum kist_err root_key_find(const char *dir, const char *access_key, const char *secret_key,
                            struct root_key *out) MUST_CHECK;

#endif
