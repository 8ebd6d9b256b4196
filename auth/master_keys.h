/* The keys above all data keys: 32 bytes each, known by an id that is derived from the key.
 *
 * They come from the environment, from a file of the operator's, or from DIR/master-key, which
 * is made on first use. One base64 key a line; the last one wraps what is new, the others open
 * what is older. Rotation is a line more. Never logged.
 */
#ifndef KIST_AUTH_MASTER_KEYS_H
#define KIST_AUTH_MASTER_KEYS_H

#include "storage/base/seal.h"

#define MASTER_ID_LEN 16

struct master_key {
    char id[MASTER_ID_LEN + 1]; /* hex */
    uint8_t key[SEAL_KEY_BYTES];
};

struct master_keys;
struct master_keys_source {
    const char *dir;   /* the data directory */
    const char *file;  /* NULL: DIR/master-key */
    const char *given; /* keys themselves, parted by blanks or commas; NULL: read the file */
};
/* KIST_E_INVALID: not keys. KIST_E_NOT_FOUND: the operator's file is not there. */
enum kist_err master_keys_open(const struct master_keys_source *source, struct env *env,
                               struct master_keys **out) MUST_CHECK;
void master_keys_close(struct master_keys *keys); /* NULL is allowed */
/* Reads the file again; keys that were known stay known. Beside readers, not beside itself. */
enum kist_err master_keys_reload(struct master_keys *keys) MUST_CHECK;
/* Appends a new key to DIR/master-key (or file). */
enum kist_err master_keys_rotate(const struct master_keys_source *source, struct env *env,
                                 char id[MASTER_ID_LEN + 1]) MUST_CHECK;

const struct master_key *master_keys_current(const struct master_keys *keys);
/* NULL: unknown. */
const struct master_key *master_keys_find(const struct master_keys *keys, const char *id);

/* Keys for different uses are derived, so that none is good for another. */
#define MASTER_USE_S3 "kist sse-s3 1" /* wraps the data keys of SSE-S3 */
void master_key_derive(const uint8_t key[SEAL_KEY_BYTES], const char *use, struct bytes context,
                       uint8_t out[SEAL_KEY_BYTES]);

#endif
