/* Results of kist's own functions.
 *
 * One enumeration for storage and auth; server/s3 turns it into S3 error codes in exactly one
 * function (s3_error_from). A function returning `enum kist_err` leaves its outputs untouched on
 * failure and never prints.
 */
#ifndef KIST_STORAGE_BASE_ERR_H
#define KIST_STORAGE_BASE_ERR_H

#define KIST_ERR_LIST(X)                                                                         \
    X(KIST_OK, "success")                                                                        \
    /* The machine */                                                                            \
    X(KIST_E_NOMEM, "out of memory")                                                             \
    X(KIST_E_IO, "input/output error")                                                           \
    X(KIST_E_NOSPC, "no space left for data")                                                    \
    X(KIST_E_CORRUPT, "stored data is damaged")                                                  \
    X(KIST_E_NEWER_FORMAT, "the data directory was written by a newer kist")                     \
    X(KIST_E_LOCKED, "the data directory is in use by another process")                          \
    X(KIST_E_SHUTDOWN, "shutting down")                                                          \
    /* The caller */                                                                             \
    X(KIST_E_INVALID, "invalid input")                                                           \
    X(KIST_E_TOO_LARGE, "a limit was exceeded")                                                  \
    X(KIST_E_NOT_FOUND, "no such row")                                                           \
    X(KIST_E_TRUNCATED, "the input ends too early")                                              \
    X(KIST_E_BUSY, "a bounded resource is exhausted for the moment")                             \
    /* What the state machine decided */                                                         \
    X(KIST_E_NO_BUCKET, "no such bucket")                                                        \
    X(KIST_E_BUCKET_EXISTS, "the bucket belongs to somebody else")                               \
    X(KIST_E_BUCKET_OWNED, "the bucket is already yours")                                        \
    X(KIST_E_BUCKET_NOT_EMPTY, "the bucket holds objects")                                       \
    X(KIST_E_NO_KEY, "no such object")                                                           \
    X(KIST_E_NO_VERSION, "no such version")                                                      \
    X(KIST_E_DELETE_MARKER, "the version is a delete marker")                                    \
    X(KIST_E_OBJECT_LOCKED, "the version is protected by an object lock")                        \
    X(KIST_E_BUCKET_STATE, "the bucket's state does not allow this")                             \
    X(KIST_E_NO_UPLOAD, "no such multipart upload")                                              \
    X(KIST_E_NO_TAGS, "the bucket has no tags")                                                  \
    X(KIST_E_PRECONDITION, "a precondition failed")                                              \
    X(KIST_E_CONFLICT, "a conflicting change happened meanwhile")                                \
    X(KIST_E_INVALID_PART, "a part is missing or has another ETag")                              \
    X(KIST_E_PART_ORDER, "parts are not in ascending order")                                     \
    X(KIST_E_PART_TOO_SMALL, "a part but the last is below 5 MiB")                               \
    X(KIST_E_BAD_CHECKSUM, "a checksum does not match")                                          \
    X(KIST_E_QUOTA, "the bucket's quota is used up")                                             \
    X(KIST_E_WRITE_OFFSET, "the write offset is not the object's size")                          \
    X(KIST_E_TOO_MANY_PARTS, "the object has as many parts as it can have")                      \
    X(KIST_E_TOKEN_REUSED, "a client's token came with another request")                         \
    /* auth */                                                                                   \
    X(KIST_E_DENIED, "access denied")                                                            \
    X(KIST_E_NO_SUCH_ACCESS_KEY, "unknown access key id")                                        \
    X(KIST_E_SIGNATURE, "the signature does not match")                                          \
    X(KIST_E_CLOCK_SKEW, "the request's time is too far from ours")                              \
    X(KIST_E_EXPIRED, "the presigned request has expired")                                       \
    X(KIST_E_TOKEN, "the session token is not ours")                                             \
    X(KIST_E_TOKEN_EXPIRED, "the session has expired")                                           \
    X(KIST_E_AUTH_MALFORMED, "malformed authorization")                                          \
    X(KIST_E_AUTH_QUERY, "malformed authorization query parameters")                             \
    X(KIST_E_AUTH_MISSING_DATE, "a date is required")                                            \
    X(KIST_E_SHA256_MISMATCH, "x-amz-content-sha256 does not match the body")                    \
    X(KIST_E_BAD_SHA256_HEADER, "invalid x-amz-content-sha256")                                  \
    X(KIST_E_CHUNK_SIGNATURE, "a body chunk's signature does not match")                         \
    X(KIST_E_CHUNK_FRAMING, "broken aws-chunked framing")                                        \
    X(KIST_E_TRAILER, "a malformed or unexpected trailer")                                       \
    X(KIST_E_UNSUPPORTED, "not supported")

#define KIST_ERR_ENUM_(name, text) name,
enum kist_err { KIST_ERR_LIST(KIST_ERR_ENUM_) KIST_ERR_COUNT };
#undef KIST_ERR_ENUM_

/* A one-line English text for an error, never NULL. */
const char *kist_err_text(enum kist_err err);

/* Maps errno to the enumeration: ENOSPC and EDQUOT to KIST_E_NOSPC, ENOMEM to KIST_E_NOMEM,
 * anything else to KIST_E_IO. */
enum kist_err kist_err_from_errno(int error_number);

#define MUST_CHECK __attribute__((warn_unused_result))

/* The only macro with control flow: returns the callee's error to the caller. */
#define TRY(call)                                                                                \
    do {                                                                                         \
        enum kist_err try_err_ = (call);                                                         \
        if (try_err_ != KIST_OK)                                                                 \
            return try_err_;                                                                     \
    } while (0)

#endif
