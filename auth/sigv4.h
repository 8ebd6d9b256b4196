/* AWS Signature Version 4, the server's side: is this request signed by a key that we know?
 * Version 2 (auth/sigv2.h) passes the same door.
 *
 * Accepts the Authorization header and presigned queries. The canonical request is built over
 * the raw target as received: every path segment and query part is percent-decoded and encoded
 * again the way AWS does, so that it does not matter which harmless characters a client escaped,
 * while "..", "//" and the rest of S3's odd keys stay what they are. The rules are those of
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
 *
 *     struct auth_result who;
 *     enum kist_err err = auth_verify(&request, ring, arena, &who);
 *     if (err == KIST_E_DENIED && who.anonymous) ...
 */
#ifndef KIST_AUTH_SIGV4_H
#define KIST_AUTH_SIGV4_H

#include "auth/keyring.h"
#include "auth/request.h"

/* Thread-safe. Fills *out: the identity part after KIST_OK, the failure part otherwise. Errors:
 *   KIST_E_DENIED              no signature (out->anonymous), or an x-amz-* header is not signed
 *   KIST_E_INVALID             an authorization scheme that is not one of the two, or two
 *                              mechanisms at once
 *   KIST_E_AUTH_MALFORMED      the Authorization header: syntax, region, service, date
 *   KIST_E_AUTH_QUERY          the same in a presigned query
 *   KIST_E_AUTH_MISSING_DATE   neither x-amz-date nor date
 *   KIST_E_BAD_SHA256_HEADER   x-amz-content-sha256 is neither a hash nor a known word
 *   KIST_E_NO_SUCH_ACCESS_KEY, KIST_E_SIGNATURE, KIST_E_CLOCK_SKEW, KIST_E_EXPIRED
 *   KIST_E_TOO_LARGE, KIST_E_NOMEM
 */
enum kist_err auth_verify(const struct auth_request *request, struct auth_keyring *ring,
                          struct arena *arena, struct auth_result *out) MUST_CHECK;

/* Completes AUTH_PAYLOAD_SIGNED_DEFERRED with the hash of the whole body. KIST_E_SIGNATURE sets
 * canonical_request and string_to_sign as they really are. The arena must be the one of before.
 */
enum kist_err auth_verify_deferred(struct auth_result *result, struct arena *arena,
                                   const uint8_t sha256[32]) MUST_CHECK;

/* True when the request bears any signature: cheap, for routing browsers and anonymous ones. */
bool auth_is_signed(const struct auth_request *request);

#endif
