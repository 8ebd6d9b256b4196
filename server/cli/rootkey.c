#include "server/cli/rootkey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/cleanup.h"
#include "storage/base/codec.h"

static enum kist_err from_text(const char *access_key, const char *secret_key,
                               struct root_key *out)
{
    size_t a = strlen(access_key), s = strlen(secret_key);
    if (a == 0 || s == 0 || a >= sizeof(out->access_key) || s >= sizeof(out->secret_key))
        return KIST_E_INVALID;
    memcpy(out->access_key, access_key, a + 1);
    memcpy(out->secret_key, secret_key, s + 1);
    out->made = false;
    return KIST_OK;
}

/* The shape of AWS's keys: tools that check it are content. */
static void make_key(struct env *env, struct root_key *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint8_t random[46];
    env->random(env, random, sizeof(random));
    memcpy(out->access_key, "AKIA", 4);
    for (size_t i = 0; i < 16; i++)
        out->access_key[4 + i] = letters[random[i] & 31];
    out->access_key[20] = '\0';
    base64_encode(bytes_of(random + 16, 30), out->secret_key);
    out->made = true;
}

static enum kist_err save(const char *dir, const char *path, const struct root_key *key)
{
    char text[300];
    CLEANUP_FREE char *fresh = NULL;
    if (asprintf(&fresh, "%s.new", path) < 0)
        return KIST_E_NOMEM;
    int n = snprintf(text, sizeof(text), "%s\n%s\n", key->access_key, key->secret_key);
    CLEANUP_CLOSE int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return kist_err_from_errno(errno);
    TRY(file_pwrite(fd, text, (size_t)n, 0));
    TRY(file_datasync(fd));
    if (rename(fresh, path) != 0)
        return kist_err_from_errno(errno);
    return dir_sync(dir);
}

enum kist_err root_key_find(const char *dir, const char *access_key, const char *secret_key,
                            struct root_key *out)
{
    char access[130], secret[130];
    CLEANUP_FREE char *path = NULL;
    if (access_key && secret_key)
        return from_text(access_key, secret_key, out);
    if (access_key || secret_key)
        return KIST_E_INVALID;
    if (asprintf(&path, "%s/root-key", dir) < 0)
        return KIST_E_NOMEM;
    CLEANUP_FCLOSE FILE *f = fopen(path, "re");
    if (f)
        return fscanf(f, "%129s %129s", access, secret) == 2 ? from_text(access, secret, out)
                                                             : KIST_E_INVALID;
    return errno == ENOENT ? KIST_E_NOT_FOUND : kist_err_from_errno(errno);
}

enum kist_err root_key_load(const char *dir, const char *access_key, const char *secret_key,
                            struct env *env, struct root_key *out)
{
    CLEANUP_FREE char *path = NULL;
    enum kist_err err = root_key_find(dir, access_key, secret_key, out);
    if (err != KIST_E_NOT_FOUND)
        return err;
    if (asprintf(&path, "%s/root-key", dir) < 0)
        return KIST_E_NOMEM;
    make_key(env, out);
    return save(dir, path, out);
}
