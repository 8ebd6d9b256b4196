/* The request target (RFC 9112 section 3.2) and the Host header (RFC 9110 section 7.2).
 *
 * Nothing is decoded here: signatures are made over the raw bytes. All results are slices of
 * the input.
 */
#ifndef KIST_SERVER_HTTP_TARGET_H
#define KIST_SERVER_HTTP_TARGET_H

#include "storage/base/bytes.h"

struct target_parts {
    struct bytes path;      /* before '?'; "*" in asterisk form */
    struct bytes query;     /* after '?'; ptr is NULL without a '?' */
    struct bytes authority; /* of an absolute-form target, else ptr is NULL */
};

/* Origin form, absolute form (http and https), asterisk form. KIST_E_INVALID for anything else:
 * authority form, blanks, control characters, DEL. Bytes above 0x7F are let through. */
enum kist_err target_split(struct bytes target, struct target_parts *out) MUST_CHECK;

/* Takes the port off "host", "host:port", "[v6]" or "[v6]:port". The brackets stay. An empty
 * host is legal (RFC 9110 allows it where the target has no authority). */
enum kist_err host_split(struct bytes value, struct bytes *host) MUST_CHECK;

#endif
