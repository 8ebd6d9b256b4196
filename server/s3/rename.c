/* RenameObject: one command, no bytes moved.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_RenameObject.html
 *
 * Amazon offers it for directory buckets; here every bucket has it that never had versioning. */
#include "server/s3/internal.h"

#define SOURCE "x-amz-rename-source"
#define TOKEN_MAX 64

static void rename_done(struct s3_request *r)
{
    s3_reply_empty(r, 200);
}

/* The header is the source's key, percent-encoded: it is in the same bucket. */
static bool parse_source(struct s3_request *r, struct bytes *key)
{
    struct bytes header = s3_header(r, SOURCE), plain;
    enum kist_err err = uri_decode_copy(r->arena, header, false, &plain);
    if (err == KIST_E_NOMEM) {
        s3_fail(r, S3_SLOW_DOWN);
        return false;
    }
    bool ok = err == KIST_OK && plain.len > 0 && plain.len <= 1024 && bytes_is_utf8(plain) &&
              !memchr(plain.ptr, 0, plain.len);
    if (!ok) {
        s3_fail_argument(r, SOURCE, header,
                         "The rename source must be the URL-encoded key of an object.");
        return false;
    }
    *key = plain;
    return true;
}

/* "A unique string with a max of 64 ASCII characters in the ASCII range of 33 - 126." */
static bool parse_token(struct s3_request *r, struct bytes *token)
{
    *token = s3_header(r, "x-amz-client-token");
    bool ok = token->len <= TOKEN_MAX;
    for (size_t i = 0; ok && i < token->len; i++)
        ok = token->ptr[i] >= 33 && token->ptr[i] <= 126;
    if (!ok)
        s3_fail_argument(r, "x-amz-client-token", *token, "The client token is not valid.");
    return ok;
}

static const char *const conditions[] = { "if-match",
                                          "if-none-match",
                                          "if-modified-since",
                                          "if-unmodified-since",
                                          SOURCE "-if-match",
                                          SOURCE "-if-none-match",
                                          SOURCE "-if-modified-since",
                                          SOURCE "-if-unmodified-since" };

/* What a retry must bring again: where from, where to, and on which conditions. */
static struct bytes digest_request(struct s3_request *r, struct bytes source)
{
    struct buf all;
    uint8_t *out = arena_alloc(r->arena, 32);
    buf_init(&all, 64 << 10);
    bool ok = out && buf_append_bytes(&all, source) == KIST_OK &&
              buf_append(&all, "", 1) == KIST_OK && buf_append_bytes(&all, r->key) == KIST_OK;
    for (size_t i = 0; ok && i < ARRAY_LEN(conditions); i++)
        ok = buf_append(&all, "", 1) == KIST_OK &&
             buf_append_bytes(&all, exchange_header(r->x, conditions[i])) == KIST_OK;
    if (ok)
        digest_once(DIGEST_SHA256, buf_bytes(&all), out);
    buf_release(&all);
    return ok ? bytes_of(out, 32) : BYTES_EMPTY;
}

/* Writing the one key and deleting the other; the source's bytes come under a new name. */
static bool may_rename(struct s3_request *r, struct bytes source)
{
    if (s3_allowed(r, "s3:GetObject", source, VERSION_CURRENT) &&
        s3_allowed(r, "s3:DeleteObject", source, VERSION_CURRENT))
        return true;
    s3_fail(r, S3_ACCESS_DENIED);
    return false;
}

static bool refuse(struct s3_request *r, struct bytes source)
{
    const char *message = NULL;
    bool slash = source.ptr[source.len - 1] == '/' || r->key.ptr[r->key.len - 1] == '/';
    if (s3_versioned(r))
        message = "Objects of a bucket with versioning cannot be renamed.";
    else if (slash)
        message = "Objects whose keys end with a slash cannot be renamed.";
    else if (bytes_equal(source, r->key))
        message = "The source and the destination of a rename must not be the same.";
    if (message)
        s3_fail_message(r, S3_INVALID_REQUEST, message);
    return message != NULL;
}

void s3_rename_object(struct s3_request *r)
{
    struct bytes source, token;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__RenameObject rename = KIST__RENAME_OBJECT__INIT;
    if (!parse_source(r, &source) || !parse_token(r, &token) || refuse(r, source) ||
        !may_rename(r, source) || !s3_rename_condition(r, "", &rename.condition) ||
        !s3_rename_condition(r, SOURCE "-", &rename.source_condition))
        return;
    struct bytes digest = digest_request(r, source);
    if (!digest.ptr) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    command.of_case = KIST__COMMAND__OF_RENAME_OBJECT;
    command.rename_object = &rename;
    rename.bucket = s3_str(r, r->bucket);
    rename.source_key = schema_data(source);
    rename.key = schema_data(r->key);
    rename.token = s3_str(r, token);
    rename.request = schema_data(digest);
    rename.now_ms = s3_now(r);
    s3_commit(r, &command, rename_done);
}
