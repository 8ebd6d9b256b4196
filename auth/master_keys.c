#include "auth/master_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/cleanup.h"
#include "storage/base/codec.h"
#include "storage/base/digest.h"

/* A rotation a month for twenty years. */
#define KEYS_MAX 256
#define FILE_MAX ((size_t)64 << 10)

struct master_keys {
    struct master_keys_source source;
    char *path;
    atomic_size_t count; /* readers see keys below it, which never change */
    atomic_size_t current;
    struct master_key keys[KEYS_MAX];
};

static void identify(struct master_key *k)
{
    uint8_t hash[32];
    hmac_sha256(bytes_of(k->key, SEAL_KEY_BYTES), BYTES_LIT("kist master key id 1"), hash);
    hex_encode(bytes_of(hash, MASTER_ID_LEN / 2), k->id);
}

static enum kist_err add(struct master_keys *keys, struct bytes text)
{
    size_t count = atomic_load(&keys->count), len = 0;
    uint8_t raw[SEAL_KEY_BYTES + 1];
    struct master_key *k = &keys->keys[count];
    if (count == KEYS_MAX)
        return KIST_E_TOO_LARGE;
    if (base64_decode(text, raw, sizeof(raw), &len) != KIST_OK || len != SEAL_KEY_BYTES)
        return KIST_E_INVALID;
    memcpy(k->key, raw, SEAL_KEY_BYTES);
    OPENSSL_cleanse(raw, sizeof(raw));
    identify(k);
    for (size_t i = 0; i < count; i++)
        if (memcmp(keys->keys[i].id, k->id, sizeof(k->id)) == 0) {
            atomic_store(&keys->current, i);
            return KIST_OK;
        }
    atomic_store(&keys->count, count + 1);
    atomic_store(&keys->current, count);
    return KIST_OK;
}

static enum kist_err add_all(struct master_keys *keys, const char *text)
{
    static const char between[] = " \t\r\n,";
    for (const char *at = text + strspn(text, between); *at; at += strspn(at, between)) {
        size_t len = strcspn(at, between);
        if (*at == '#')
            len = strcspn(at, "\n");
        else
            TRY(add(keys, bytes_of(at, len)));
        at += len;
    }
    return atomic_load(&keys->count) ? KIST_OK : KIST_E_INVALID;
}

static enum kist_err read_file(struct master_keys *keys)
{
    char text[FILE_MAX];
    CLEANUP_FCLOSE FILE *f = fopen(keys->path, "re");
    if (!f)
        return errno == ENOENT ? KIST_E_NOT_FOUND : kist_err_from_errno(errno);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    enum kist_err err = n == sizeof(text) - 1 ? KIST_E_TOO_LARGE : add_all(keys, text);
    OPENSSL_cleanse(text, sizeof(text));
    return err;
}

/* The line is on the disk before the key is used. */
static enum kist_err append_key(const char *dir, const char *path, struct env *env,
                                struct master_key *out)
{
    char line[64];
    env->random(env, out->key, SEAL_KEY_BYTES);
    identify(out);
    base64_encode(bytes_of(out->key, SEAL_KEY_BYTES), line);
    size_t len = strlen(line);
    line[len++] = '\n';
    CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return kist_err_from_errno(errno);
    off_t end = lseek(fd, 0, SEEK_END);
    enum kist_err err =
        end < 0 ? kist_err_from_errno(errno) : file_pwrite(fd, line, len, (uint64_t)end);
    OPENSSL_cleanse(line, sizeof(line));
    TRY(err);
    TRY(file_datasync(fd));
    return dir_sync(dir);
}

static char *path_of(const struct master_keys_source *source)
{
    char *path = NULL;
    if (source->file)
        return strdup(source->file);
    return asprintf(&path, "%s/master-key", source->dir) < 0 ? NULL : path;
}

static enum kist_err load(struct master_keys *keys, struct env *env)
{
    struct master_key made;
    if (keys->source.given)
        return add_all(keys, keys->source.given);
    enum kist_err err = read_file(keys);
    if (err != KIST_E_NOT_FOUND || keys->source.file)
        return err;
    TRY(append_key(keys->source.dir, keys->path, env, &made));
    OPENSSL_cleanse(&made, sizeof(made));
    return read_file(keys);
}

enum kist_err master_keys_open(const struct master_keys_source *source, struct env *env,
                               struct master_keys **out)
{
    struct master_keys *keys = calloc(1, sizeof(*keys));
    if (!keys)
        return KIST_E_NOMEM;
    keys->source = *source;
    keys->path = path_of(source);
    enum kist_err err = keys->path ? load(keys, env) : KIST_E_NOMEM;
    if (err != KIST_OK) {
        master_keys_close(keys);
        return err;
    }
    *out = keys;
    return KIST_OK;
}

void master_keys_close(struct master_keys *keys)
{
    if (!keys)
        return;
    free(keys->path);
    OPENSSL_cleanse(keys, sizeof(*keys));
    free(keys);
}

enum kist_err master_keys_reload(struct master_keys *keys)
{
    return keys->source.given ? KIST_OK : read_file(keys);
}

enum kist_err master_keys_rotate(const struct master_keys_source *source, struct env *env,
                                 char id[MASTER_ID_LEN + 1])
{
    struct master_key made;
    CLEANUP_FREE char *path = path_of(source);
    if (!path)
        return KIST_E_NOMEM;
    TRY(append_key(source->dir, path, env, &made));
    memcpy(id, made.id, sizeof(made.id));
    OPENSSL_cleanse(&made, sizeof(made));
    return KIST_OK;
}

const struct master_key *master_keys_current(const struct master_keys *keys)
{
    return &keys->keys[atomic_load(&keys->current)];
}

const struct master_key *master_keys_find(const struct master_keys *keys, const char *id)
{
    size_t count = atomic_load(&keys->count);
    for (size_t i = count; i-- > 0;)
        if (strcmp(keys->keys[i].id, id) == 0)
            return &keys->keys[i];
    return NULL;
}

void master_key_derive(const uint8_t key[SEAL_KEY_BYTES], const char *use, struct bytes context,
                       uint8_t out[SEAL_KEY_BYTES])
{
    uint8_t purpose[32];
    hmac_sha256(bytes_of(key, SEAL_KEY_BYTES), bytes_str(use), purpose);
    hmac_sha256(bytes_of(purpose, sizeof(purpose)), context, out);
    OPENSSL_cleanse(purpose, sizeof(purpose));
}
