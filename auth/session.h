/* Temporary credentials without a table: all that a session is travels in its token, sealed with
 * AES-256-GCM under a key that only this store has.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp.html */
#ifndef KIST_AUTH_SESSION_H
#define KIST_AUTH_SESSION_H

#include "storage/base/env.h"
#include "storage/schema/schema.h"

#define SESSION_KEY_LEN 32
#define SESSION_TOKEN_MAX 4096

struct session_sealer {
    uint8_t key[SESSION_KEY_LEN];
};

/* The key is derived from the root's secret: who changes that ends all sessions. */
void session_sealer_init(struct session_sealer *sealer, struct bytes root_secret);
/* The token in base64, in the arena. KIST_E_TOO_LARGE, KIST_E_NOMEM. */
enum kist_err session_seal(const struct session_sealer *sealer, struct env *env,
                           const Kist__Session *session, struct arena *arena,
                           struct bytes *token) MUST_CHECK;
/* KIST_E_TOKEN for anything that was not sealed here. Does not look at the clock. */
enum kist_err session_open(const struct session_sealer *sealer, struct bytes token,
                           struct arena *arena, Kist__Session **out) MUST_CHECK;

#endif
