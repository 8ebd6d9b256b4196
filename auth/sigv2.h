/* Private to auth: AWS Signature Version 2 of S3, for old tools. auth_verify() calls it.
 *
 *     Authorization: AWS AKIAIOSFODNN7EXAMPLE:<base64 of HMAC-SHA1>
 *     ?AWSAccessKeyId=AKIA...&Expires=1175139620&Signature=<the same>
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
 */
#ifndef KIST_AUTH_SIGV2_H
#define KIST_AUTH_SIGV2_H

#include "auth/sigv4_parse.h"

/* Fills *out as auth_verify() says; the body is not signed, but its Content-MD5 is. */
enum kist_err sigv2_verify(const struct auth_request *request, enum sigv4_mechanism mechanism,
                           struct auth_keyring *ring, struct sigv4_fault *fault,
                           struct auth_result *out) MUST_CHECK;

#endif
