/* What a signature check reads and what it finds out.
 *
 * auth knows no HTTP library: the caller fills a `struct auth_request` with slices of the
 * request exactly as it was received. Everything is borrowed; the result's slices live in the
 * request's memory or in the arena given to auth_verify(), so both must outlive the result.
 */
#ifndef KIST_AUTH_REQUEST_H
#define KIST_AUTH_REQUEST_H

#include "auth/keyring.h"
#include "storage/base/bytes.h"

/* The same shape as a header of any HTTP layer: a name in any case, a value without CR or LF. */
struct auth_header {
    struct bytes name;
    struct bytes value;
};

struct auth_request {
    struct bytes method;    /* "GET" */
    struct bytes raw_path;  /* before '?', undecoded */
    struct bytes raw_query; /* after '?', undecoded, empty without one */
    const struct auth_header *headers;
    size_t header_count;
    bool has_body; /* a body of more than 0 bytes, or of unknown length, follows */
    bool tls;
    int64_t now_ms;
    struct bytes region;      /* ours: "us-east-1" */
    struct bytes service;     /* ours: "s3" */
    struct bytes host_bucket; /* virtual-host style; empty: the path names it */
};

/* What the signature says about the body.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html */
enum auth_payload {
    /* The body's SHA-256 must be payload_sha256; the caller checks it (KIST_E_SHA256_MISMATCH).
     */
    AUTH_PAYLOAD_SIGNED_SHA256,
    AUTH_PAYLOAD_UNSIGNED,
    /* aws-chunked bodies: hand the result to chunked_init(). */
    AUTH_PAYLOAD_STREAMING_SIGNED,
    AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER,
    AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER,
    /* No x-amz-content-sha256 (curl --aws-sigv4) and a body: nothing is proven yet. Read the
     * body, then call auth_verify_deferred() with its SHA-256; change nothing before. */
    AUTH_PAYLOAD_SIGNED_DEFERRED
};

/* Ways to write the same target that clients are known to sign (auth/canonical.h). */
#define AUTH_FORM_COUNT 3

#define AUTH_SIGNATURE_HEX 64

struct auth_result {
    struct bytes access_key_id; /* after a failure: as claimed, or empty */

    /* After KIST_OK: */
    const struct auth_identity *identity;
    struct credential_hold *hold; /* also after a failure: for credential_drop() */
    enum auth_payload payload;
    uint8_t payload_sha256[32]; /* AUTH_PAYLOAD_SIGNED_SHA256 */
    bool presigned;             /* by query; otherwise by header */
    bool version_2;             /* HMAC-SHA1 */
    int64_t signed_ms;          /* by its own word; 0: it does not say when */
    /* What chunk signatures build on. The key is the derived one, good for one day, region and
     * service; it is only set for STREAMING_SIGNED* and SIGNED_DEFERRED. Never show it. */
    uint8_t signing_key[AUTH_KEY_LEN];
    char seed_signature[AUTH_SIGNATURE_HEX + 1]; /* lower-case hex */
    struct bytes scope;                          /* "20130524/us-east-1/s3/aws4_request" */
    struct bytes amz_date;                       /* "20130524T000000Z" */

    /* After a failure: */
    bool anonymous;     /* with KIST_E_DENIED: the request bears no signature at all */
    const char *reason; /* AWS's wording for the error's Message, or NULL: the default one */
    int64_t expires_ms; /* KIST_E_EXPIRED: when it ended */
    int64_t request_ms; /* KIST_E_CLOCK_SKEW: the request's time */

    /* With KIST_E_SIGNATURE, for the error's body as AWS shows it. They hold no secret, but they
     * do hold the client's bytes: escape them. */
    struct bytes canonical_request;
    struct bytes string_to_sign;
    struct bytes signature_provided;

    /* auth_verify_deferred()'s: canonical requests that lack their last line. */
    struct bytes deferred[AUTH_FORM_COUNT];
    size_t deferred_count;
};

#endif
