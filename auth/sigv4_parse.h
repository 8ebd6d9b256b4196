/* Private to auth: what the Authorization header or the query of a presigned URL claims. */
#ifndef KIST_AUTH_SIGV4_PARSE_H
#define KIST_AUTH_SIGV4_PARSE_H

#include "auth/request.h"

enum sigv4_mechanism { SIGV4_NONE, SIGV4_HEADER, SIGV4_QUERY, SIGV2_HEADER, SIGV2_QUERY };

struct sigv4_claim {
    enum sigv4_mechanism mechanism;
    struct bytes credential; /* the five next, with slashes */
    struct bytes access_key_id;
    struct bytes date; /* YYYYMMDD */
    struct bytes region;
    struct bytes service;
    struct bytes scope; /* date/region/service/aws4_request */
    struct bytes signed_headers;
    struct bytes signature;
    /* Of the query only: */
    struct bytes amz_date;
    struct bytes content_sha256; /* ptr NULL when absent */
    struct bytes token;          /* X-Amz-Security-Token; ptr NULL when absent */
    uint64_t expires_s;
};

/* Where a failure's reason goes, as AWS words it. */
struct sigv4_fault {
    struct arena *arena;
    const char *reason;
};

/* Header whose name is `name` in any case; *count is how many there are. */
struct bytes request_header(const struct auth_request *request, struct bytes name, size_t *count);

/* Which mechanism the request uses; SIGV4_NONE for anonymous ones. KIST_E_INVALID for schemes
 * that are not ours and for two at once. */
enum kist_err sigv4_mechanism(const struct auth_request *request, struct sigv4_fault *fault,
                              enum sigv4_mechanism *out) MUST_CHECK;

/* Syntax, and our region and service; decoded values live in the arena. KIST_E_AUTH_MALFORMED for
 * the header, KIST_E_AUTH_QUERY for the query, KIST_E_NOMEM. */
enum kist_err sigv4_parse(const struct auth_request *request, enum sigv4_mechanism mechanism,
                          struct sigv4_fault *fault, struct sigv4_claim *out) MUST_CHECK;

/* Printable and short, for a reason. */
const char *sigv4_show(struct arena *arena, struct bytes s);

#endif
