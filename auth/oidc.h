/* OpenID Connect providers: fetching their keys, keeping them, and judging tokens by them.
 *
 *   oidc_check(token) -- keys are here --> a verdict
 *        |  KIST_E_BUSY: they are not
 *        '--> oidc_fetch(job) -- worker thread: discovery document, key set --> job.done
 *                                                                      oidc_check() once more
 *
 * oidc_check() never waits. Fetches go to what a provider's row names and to nothing that a
 * token names: HTTPS, but for an issuer on the loopback interface; no redirects; bounded in
 * size and time. Failures are remembered for some seconds, and a key that nobody knows makes a
 * set be fetched again at most twice a minute: senders of bad tokens cannot make us knock.
 * https://openid.net/specs/openid-connect-discovery-1_0.html */
#ifndef KIST_AUTH_OIDC_H
#define KIST_AUTH_OIDC_H

#include "auth/jwt.h"
#include "storage/base/env.h"
#include "storage/base/worker.h"

/* https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html */
#define OIDC_URL_MAX 255
#define OIDC_AUDIENCES_MAX 100
#define OIDC_THUMBPRINTS_MAX 5
#define OIDC_THUMBPRINT_LEN 40

/* What a stored provider says. Everything is borrowed. */
struct oidc_provider {
    struct bytes id;  /* of the row, unique in the store: at most OIDC_ID_MAX bytes */
    uint64_t changed; /* of the row: keys that were fetched for another state do not count */
    struct bytes issuer;
    size_t thumbprint_count;
    char **thumbprints;
};
#define OIDC_ID_MAX 160

/* An issuer's URL as it may be stored: https://host[:port][/path], or http:// and a loopback
 * address. No user, no query, no fragment. */
bool oidc_url_is_valid(struct bytes url);
/* HOST/PATH: the URL without its scheme, as ARNs and condition keys have it. */
struct bytes oidc_url_name(struct bytes url);
/* The issuer is on this machine: it may do without TLS. */
bool oidc_url_is_loopback(struct bytes url);

struct oidc;
enum kist_err oidc_open(struct env *env, struct oidc **out) MUST_CHECK;
/* After the last job is done. NULL is allowed. */
void oidc_close(struct oidc *o);
/* "address:port" that is never to be connected to: our own admin pages. */
void oidc_avoid(struct oidc *o, const char *address);

/* Verifying costs, and who asks has shown nothing yet: each peer has its rate. False: too many.
 */
bool oidc_admit(struct oidc *o, struct bytes peer);
/* The token's signature and dates, by the keys that are here. KIST_E_BUSY: fetch, then ask once
 * more; KIST_E_NOT_FOUND: the issuer has no such key; KIST_E_IO: it could not be asked just now;
 * KIST_E_SIGNATURE; KIST_E_TOKEN_EXPIRED; KIST_E_DENIED: the token is not valid yet. */
enum kist_err oidc_check(struct oidc *o, const struct oidc_provider *provider,
                         const struct jwt *token) MUST_CHECK;

struct oidc_job {
    struct job job; /* private */
    struct oidc *oidc;
    const struct oidc_provider *provider; /* lives until done() is called */
    void (*done)(struct oidc_job *job);   /* on the worker's thread; may free the job */
    void *user;
};
/* KIST_E_BUSY: too many wait already. Otherwise done() is called, once. */
enum kist_err oidc_fetch(struct oidc *o, struct oidc_job *job) MUST_CHECK;

#endif
