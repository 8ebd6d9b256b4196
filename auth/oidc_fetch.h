/* One issuer's key set, by HTTP. Blocks. */
#ifndef KIST_AUTH_OIDC_FETCH_H
#define KIST_AUTH_OIDC_FETCH_H

#include "auth/oidc.h"

/* avoid: "address:port", or "". KIST_E_IO: it did not answer as it should. */
enum kist_err oidc_fetch_keys(const struct oidc_provider *provider, const char *avoid,
                              struct jwks **out) MUST_CHECK;
/* Once a process, before the first fetch. */
enum kist_err oidc_fetch_init(void) MUST_CHECK;

#endif
