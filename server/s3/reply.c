/* Replies and errors. */
#include <stdio.h>

#include "server/s3/internal.h"
#include "storage/base/trace.h"

static const struct {
    const char *code;
    unsigned status;
    const char *message;
} errors[] = {
#define X(name, code, status, message) { code, status, message },
#include "server/s3/errors.def"
#undef X
};

const char *s3_error_code(enum s3_error error)
{
    return errors[error].code;
}

unsigned s3_error_status(enum s3_error error)
{
    return errors[error].status;
}

static enum s3_error from_auth(enum kist_err err)
{
    switch (err) {
    case KIST_E_DENIED:
        return S3_ACCESS_DENIED;
    case KIST_E_TOKEN:
        return S3_INVALID_TOKEN;
    case KIST_E_TOKEN_EXPIRED:
        return S3_EXPIRED_TOKEN;
    case KIST_E_NO_SUCH_ACCESS_KEY:
        return S3_INVALID_ACCESS_KEY;
    case KIST_E_SIGNATURE:
    case KIST_E_CHUNK_SIGNATURE:
        return S3_SIGNATURE_MISMATCH;
    case KIST_E_CLOCK_SKEW:
        return S3_REQUEST_TIME_SKEWED;
    case KIST_E_EXPIRED:
        return S3_REQUEST_EXPIRED;
    case KIST_E_AUTH_MALFORMED:
        return S3_AUTH_HEADER_MALFORMED;
    case KIST_E_AUTH_QUERY:
        return S3_AUTH_QUERY_ERROR;
    case KIST_E_AUTH_MISSING_DATE:
        return S3_ACCESS_DENIED;
    case KIST_E_SHA256_MISMATCH:
        return S3_SHA256_MISMATCH;
    case KIST_E_BAD_SHA256_HEADER:
        return S3_INVALID_ARGUMENT;
    case KIST_E_CHUNK_FRAMING:
    case KIST_E_TRUNCATED:
        return S3_INCOMPLETE_BODY;
    case KIST_E_TRAILER:
        return S3_MALFORMED_TRAILER;
    default:
        return S3_ERROR_COUNT;
    }
}

static enum s3_error from_store(enum kist_err err)
{
    switch (err) {
    case KIST_E_NOSPC:
        return S3_STORAGE_FULL;
    case KIST_E_NOMEM:
    case KIST_E_BUSY:
        return S3_SLOW_DOWN;
    case KIST_E_SHUTDOWN:
        return S3_SERVICE_UNAVAILABLE;
    case KIST_E_TOO_LARGE:
        return S3_ENTITY_TOO_LARGE;
    case KIST_E_INVALID:
        return S3_INVALID_REQUEST;
    case KIST_E_UNSUPPORTED:
        return S3_NOT_IMPLEMENTED;
    case KIST_E_NO_BUCKET:
        return S3_NO_SUCH_BUCKET;
    case KIST_E_BUCKET_EXISTS:
        return S3_BUCKET_ALREADY_EXISTS;
    case KIST_E_BUCKET_OWNED:
        return S3_BUCKET_ALREADY_OWNED;
    case KIST_E_BUCKET_NOT_EMPTY:
        return S3_BUCKET_NOT_EMPTY;
    case KIST_E_NO_KEY:
        return S3_NO_SUCH_KEY;
    case KIST_E_NO_VERSION:
        return S3_NO_SUCH_VERSION;
    case KIST_E_DELETE_MARKER:
        return S3_METHOD_NOT_ALLOWED;
    case KIST_E_OBJECT_LOCKED:
        return S3_OBJECT_LOCKED;
    case KIST_E_BUCKET_STATE:
        return S3_INVALID_BUCKET_STATE;
    case KIST_E_NO_UPLOAD:
        return S3_NO_SUCH_UPLOAD;
    case KIST_E_NO_TAGS:
        return S3_NO_SUCH_TAG_SET;
    case KIST_E_PRECONDITION:
        return S3_PRECONDITION_FAILED;
    case KIST_E_CONFLICT:
        return S3_CONDITIONAL_CONFLICT;
    case KIST_E_INVALID_PART:
        return S3_INVALID_PART;
    case KIST_E_PART_ORDER:
        return S3_INVALID_PART_ORDER;
    case KIST_E_PART_TOO_SMALL:
        return S3_ENTITY_TOO_SMALL;
    case KIST_E_BAD_CHECKSUM:
        return S3_BAD_DIGEST;
    case KIST_E_QUOTA:
        return S3_QUOTA_EXCEEDED;
    case KIST_E_WRITE_OFFSET:
        return S3_INVALID_WRITE_OFFSET;
    case KIST_E_TOO_MANY_PARTS:
        return S3_TOO_MANY_PARTS;
    case KIST_E_TOKEN_REUSED:
        return S3_IDEMPOTENCY_MISMATCH;
    default:
        return S3_INTERNAL_ERROR;
    }
}

enum s3_error s3_error_from(enum kist_err err)
{
    enum s3_error error = from_auth(err);
    return error != S3_ERROR_COUNT ? error : from_store(err);
}

/* Renders one element with its text escaped, straight into a buffer. */
static void put(struct s3_xml *x, const char *name, struct bytes value)
{
    if (value.ptr)
        s3_xml_text(x, name, value);
}

/* The document lives in the arena, as replies need. extra: further, rendered elements. */
struct bytes s3_error_xml(struct arena *arena, const struct exchange *x, const char *code,
                          const char *message, struct bytes resource, struct bytes extra)
{
    struct s3_xml xml = { .failed = false };
    buf_init(&xml.out, 64 << 10);
    s3_xml_begin(&xml, NULL);
    s3_xml_open(&xml, "Error");
    s3_xml_str(&xml, "Code", code);
    s3_xml_str(&xml, "Message", message);
    put(&xml, "Resource", resource);
    if (buf_append_bytes(&xml.out, extra) != KIST_OK)
        xml.failed = true;
    s3_xml_str(&xml, "RequestId", exchange_id(x));
    s3_xml_str(&xml, "HostId", "kist");
    s3_xml_close(&xml, "Error");
    struct bytes out = xml.failed ? BYTES_EMPTY : arena_copy(arena, buf_bytes(&xml.out));
    buf_release(&xml.out);
    return out.ptr ? out : BYTES_LIT("<Error><Code>InternalError</Code></Error>");
}

static void fail(struct s3_request *r, enum s3_error error, const char *message,
                 struct bytes extra)
{
    r->error_code = errors[error].code;
    if (r->guest) {
        s3_guest_refuse(r, errors[error].status, errors[error].code, message);
        return;
    }
    if (!r->error_headers) {
        exchange_clear_headers(r->x);
        s3_cors_headers(r);
    }
    if (r->http->method == HTTP_HEAD) {
        exchange_reply_bytes(r->x, errors[error].status, BYTES_EMPTY);
        return;
    }
    struct bytes xml =
        s3_error_xml(r->arena, r->x, errors[error].code, message, r->http->path, extra);
    s3_add_header_str(r, "Content-Type", "application/xml");
    exchange_reply_bytes(r->x, errors[error].status, xml);
}

void s3_fail_message(struct s3_request *r, enum s3_error error, const char *message)
{
    fail(r, error, message, BYTES_EMPTY);
}

/* What S3 adds to some errors, so that clients can say which thing is missing. */
void s3_fail(struct s3_request *r, enum s3_error error)
{
    struct s3_xml extra = { .failed = false };
    buf_init(&extra.out, 8 << 10);
    if (error == S3_NO_SUCH_KEY || error == S3_NO_SUCH_VERSION)
        put(&extra, "Key", r->key);
    if (error == S3_NO_SUCH_VERSION)
        put(&extra, "VersionId", s3_param(r, "versionId"));
    if (error == S3_NO_SUCH_BUCKET || error == S3_BUCKET_NOT_EMPTY ||
        error == S3_BUCKET_ALREADY_OWNED || error == S3_INVALID_BUCKET_NAME)
        put(&extra, "BucketName", r->bucket);
    if (error == S3_METHOD_NOT_ALLOWED)
        put(&extra, "Method", r->http->method_name);
    struct bytes kept = arena_copy(r->arena, buf_bytes(&extra.out));
    buf_release(&extra.out);
    fail(r, error, errors[error].message, kept);
}

void s3_fail_arguments(struct s3_request *r, size_t n, const struct s3_param *arguments,
                       const char *message)
{
    struct s3_xml extra = { .failed = false };
    buf_init(&extra.out, 256 << 10);
    for (size_t i = 0; i < n; i++) {
        char *name = arena_printf(r->arena, n > 1 ? "ArgumentName%zu" : "ArgumentName", i + 1);
        char *value = arena_printf(r->arena, n > 1 ? "ArgumentValue%zu" : "ArgumentValue", i + 1);
        if (!name || !value)
            break;
        put(&extra, name, arguments[i].name);
        put(&extra, value, arguments[i].value);
    }
    struct bytes kept = arena_copy(r->arena, buf_bytes(&extra.out));
    buf_release(&extra.out);
    fail(r, S3_INVALID_ARGUMENT, message, kept);
}

void s3_fail_argument(struct s3_request *r, const char *name, struct bytes value,
                      const char *message)
{
    struct s3_param argument = { bytes_str(name), value };
    s3_fail_arguments(r, 1, &argument, message);
}

void s3_fail_err(struct s3_request *r, enum kist_err err)
{
    enum s3_error error = s3_error_from(err);
    if (error == S3_INTERNAL_ERROR)
        TRACE(TRACE_ERROR, "s3", "request %s: %s", exchange_id(r->x), kist_err_text(err));
    s3_fail(r, error);
}

static void mismatch_details(struct s3_request *r, struct s3_xml *x)
{
    put(x, "AWSAccessKeyId", r->who.access_key_id);
    put(x, "StringToSign", r->who.string_to_sign);
    put(x, "SignatureProvided", r->who.signature_provided);
    put(x, "CanonicalRequest", r->who.canonical_request);
}

void s3_fail_auth(struct s3_request *r, enum kist_err err)
{
    /* A mechanism that is not supported, or two at once. */
    enum s3_error error = err == KIST_E_INVALID ? S3_INVALID_ARGUMENT : s3_error_from(err);
    const char *message = r->who.reason ? r->who.reason : errors[error].message;
    struct s3_xml extra = { .failed = false };
    buf_init(&extra.out, 32 << 10);
    if (err == KIST_E_SIGNATURE)
        mismatch_details(r, &extra);
    if (err == KIST_E_NO_SUCH_ACCESS_KEY)
        put(&extra, "AWSAccessKeyId", r->who.access_key_id);
    if (err == KIST_E_AUTH_MALFORMED) /* clients go on with this region */
        s3_xml_str(&extra, "Region", r->service->config.region);
    if (err == KIST_E_CLOCK_SKEW) {
        s3_xml_time(&extra, "ServerTime", s3_now(r));
        s3_xml_number(&extra, "MaxAllowedSkewMilliseconds", 900000);
    }
    struct bytes kept = arena_copy(r->arena, buf_bytes(&extra.out));
    buf_release(&extra.out);
    fail(r, error, message, kept);
}

void s3_add_header(struct s3_request *r, const char *name, struct bytes value)
{
    enum kist_err err = exchange_add_header(r->x, name, value);
    if (err != KIST_OK)
        TRACE(TRACE_WARN, "s3", "request %s: header %s: %s", exchange_id(r->x), name,
              kist_err_text(err));
}

void s3_add_header_str(struct s3_request *r, const char *name, const char *value)
{
    s3_add_header(r, name, bytes_str(value));
}

void s3_reply_empty(struct s3_request *r, unsigned status)
{
    exchange_reply_bytes(r->x, status, BYTES_EMPTY);
}

void s3_reply_xml(struct s3_request *r, struct buf *xml)
{
    struct bytes body = arena_copy(r->arena, buf_bytes(xml));
    buf_release(xml);
    if (!body.ptr) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    s3_add_header_str(r, "Content-Type", "application/xml");
    exchange_reply_bytes(r->x, 200, body);
}
