/* Verifies Signature Version 2: HMAC-SHA1 over
 *
 *     PUT                              method
 *     CnK5...==                        Content-MD5
 *     image/jpeg                       Content-Type
 *     Tue, 27 Mar 2007 21:15:45 GMT    Date; empty beside x-amz-date; Expires of a presigned URL
 *     x-amz-meta-a:1                   every x-amz-* header, sorted
 *     /bucket/key?acl                  the path as sent, and the parameters that choose what is
 * done
 */
#include "auth/sigv2.h"

#include <stdlib.h>

#include "storage/base/codec.h"

#define SKEW_MAX_MS (15 * 60 * 1000)
#define TEXT_MAX_BYTES ((size_t)256 << 10)
#define PARAMS_MAX 128

struct item {
    struct bytes name, value;
    bool has_value;
};

struct check {
    const struct auth_request *request;
    struct sigv4_fault *fault;
    bool query;
    bool slash;                     /* one more at the path's end */
    struct item params[PARAMS_MAX]; /* decoded */
    size_t param_count;
    struct bytes access_key_id, signature, date, token;
    struct auth_result *result;
};

/* The parameters that a signature covers: those of AWS's list, and the younger ones that also
 * name another resource. What is not signed could be added to a URL by whoever holds it. */
static const char *const signed_params[] = {
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "defaultObjectAcl",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "quota",
    "renameObject",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "retention",
    "select",
    "select-type",
    "session",
    "site",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
};

static enum kist_err fail(struct check *c, enum kist_err err, const char *reason)
{
    c->fault->reason = reason;
    return err;
}

static enum kist_err read_params(struct check *c)
{
    struct bytes q = c->request->raw_query;
    for (size_t at = 0; at < q.len;) {
        size_t end = bytes_find(q, BYTES_LIT("&"), at);
        end = end == SIZE_MAX ? q.len : end;
        struct bytes part = bytes_of(q.ptr + at, end - at);
        at = end + 1;
        if (part.len == 0)
            continue;
        if (c->param_count == PARAMS_MAX)
            return KIST_E_TOO_LARGE;
        struct item *p = &c->params[c->param_count++];
        size_t eq = bytes_find(part, BYTES_LIT("="), 0);
        p->has_value = eq != SIZE_MAX;
        TRY(uri_decode_copy(c->fault->arena, bytes_of(part.ptr, p->has_value ? eq : part.len),
                            true, &p->name));
        if (p->has_value)
            TRY(uri_decode_copy(c->fault->arena, bytes_of(part.ptr + eq + 1, part.len - eq - 1),
                                true, &p->value));
    }
    return KIST_OK;
}

static struct bytes param(const struct check *c, const char *name, size_t *count)
{
    struct bytes value = BYTES_EMPTY;
    *count = 0;
    for (size_t i = 0; i < c->param_count; i++)
        if (bytes_equal_nocase(c->params[i].name, bytes_str(name)) && (*count)++ == 0)
            value = c->params[i].value;
    return value;
}

/* ---- the claim and its time ---- */

static enum kist_err parse_header(struct check *c)
{
    size_t count;
    struct bytes value = request_header(c->request, BYTES_LIT("authorization"), &count);
    value = bytes_of(value.ptr + 4, value.len - 4); /* "AWS " */
    size_t colon = bytes_find(value, BYTES_LIT(":"), 0);
    if (colon == SIZE_MAX || colon == 0 || colon + 1 == value.len)
        return fail(c, KIST_E_INVALID,
                    "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature");
    c->access_key_id = bytes_of(value.ptr, colon);
    c->signature = bytes_of(value.ptr + colon + 1, value.len - colon - 1);
    c->token = request_header(c->request, BYTES_LIT("x-amz-security-token"), &count);
    return KIST_OK;
}

static enum kist_err parse_query(struct check *c)
{
    size_t keys, signatures, dates, tokens;
    c->access_key_id = param(c, "AWSAccessKeyId", &keys);
    c->signature = param(c, "Signature", &signatures);
    c->date = param(c, "Expires", &dates);
    c->token = param(c, "x-amz-security-token", &tokens);
    if (keys == 1 && signatures == 1 && dates == 1 && tokens <= 1 && c->access_key_id.len &&
        c->signature.len)
        return KIST_OK;
    return fail(c, KIST_E_DENIED,
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
                "parameters");
}

/* Old tools write "+0000" for GMT. */
static enum kist_err parse_date(struct check *c, struct bytes text, int64_t *ms)
{
    char gmt[TIME_HTTP_LEN];
    struct bytes zone = text.len > 5 ? bytes_of(text.ptr + text.len - 5, 5) : BYTES_EMPTY;
    if (time_parse_http(text, ms) == KIST_OK || time_parse_amz(text, ms) == KIST_OK)
        return KIST_OK;
    if (text.len == TIME_HTTP_LEN + 1 &&
        (bytes_equal(zone, BYTES_LIT("+0000")) || bytes_equal(zone, BYTES_LIT("-0000")))) {
        memcpy(gmt, text.ptr, TIME_HTTP_LEN - 4);
        memcpy(gmt + TIME_HTTP_LEN - 4, "GMT", 4);
        if (time_parse_http(bytes_str(gmt), ms) == KIST_OK)
            return KIST_OK;
    }
    return fail(c, KIST_E_AUTH_MISSING_DATE,
                "AWS authentication requires a valid Date or x-amz-date header");
}

static enum kist_err check_header_time(struct check *c)
{
    size_t amz, plain;
    int64_t ms;
    struct bytes date = request_header(c->request, BYTES_LIT("x-amz-date"), &amz);
    c->date = request_header(c->request, BYTES_LIT("date"), &plain);
    if (amz == 0)
        date = c->date;
    else
        c->date = BYTES_EMPTY; /* the header is among the signed x-amz-* */
    if (amz > 1 || plain > 1)
        date = BYTES_EMPTY;
    TRY(parse_date(c, date, &ms));
    c->result->signed_ms = ms;
    int64_t apart_ms = c->request->now_ms - ms;
    if (apart_ms <= SKEW_MAX_MS && apart_ms >= -SKEW_MAX_MS)
        return KIST_OK;
    c->result->request_ms = ms;
    return fail(c, KIST_E_CLOCK_SKEW,
                "The difference between the request time and the current time is too large.");
}

static enum kist_err check_query_time(struct check *c)
{
    uint64_t end_s;
    if (bytes_to_u64(c->date, INT64_MAX / 1000, &end_s) != KIST_OK)
        return fail(c, KIST_E_DENIED, "Invalid date (should be seconds since epoch)");
    if (c->request->now_ms <= (int64_t)end_s * 1000)
        return KIST_OK;
    c->result->expires_ms = (int64_t)end_s * 1000;
    return fail(c, KIST_E_EXPIRED, "Request has expired");
}

/* ---- the text ---- */

static int item_order(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int order = bytes_compare(x->name, y->name);
    if (order)
        return order;
    return x->value.ptr < y->value.ptr ? -1 : x->value.ptr > y->value.ptr;
}

/* A header; of a presigned URL, a parameter may stand for it. */
static struct bytes claimed(const struct check *c, const char *name)
{
    size_t count;
    struct bytes value = request_header(c->request, bytes_str(name), &count);
    return count == 0 && c->query ? param(c, name, &count) : value;
}

static enum kist_err add_amz(struct check *c, struct bytes name, struct bytes value,
                             struct item *items, size_t *count)
{
    if (name.len <= 6 || !bytes_equal_nocase(bytes_of(name.ptr, 6), BYTES_LIT("x-amz-")))
        return KIST_OK;
    uint8_t *lower = arena_alloc(c->fault->arena, name.len);
    if (!lower)
        return KIST_E_NOMEM;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t ch = name.ptr[i];
        lower[i] = ch >= 'A' && ch <= 'Z' ? (uint8_t)(ch | 0x20) : ch;
    }
    items[(*count)++] = (struct item){ bytes_of(lower, name.len), value, true };
    return KIST_OK;
}

/* What is sent twice is signed as one, with a comma between, in the order of sending. */
static enum kist_err put_amz(struct check *c, struct buf *text)
{
    size_t most = c->request->header_count + c->param_count, count = 0;
    struct item *items = arena_alloc(c->fault->arena, most * sizeof *items + 1);
    if (!items)
        return KIST_E_NOMEM;
    for (size_t i = 0; i < c->request->header_count; i++)
        TRY(add_amz(c, c->request->headers[i].name, c->request->headers[i].value, items, &count));
    for (size_t i = 0; c->query && i < c->param_count; i++)
        TRY(add_amz(c, c->params[i].name, c->params[i].value, items, &count));
    qsort(items, count, sizeof *items, item_order);
    for (size_t i = 0; i < count; i++) {
        bool again = i > 0 && bytes_equal(items[i - 1].name, items[i].name);
        if (!again)
            TRY(buf_append_bytes(text, items[i].name));
        TRY(buf_append_str(text, again ? "," : ":"));
        TRY(buf_append_bytes(text, items[i].value));
        if (i + 1 == count || !bytes_equal(items[i + 1].name, items[i].name))
            TRY(buf_append_str(text, "\n"));
    }
    return KIST_OK;
}

static bool is_signed_param(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(signed_params); i++)
        if (bytes_equal(name, bytes_str(signed_params[i])))
            return true;
    return false;
}

static enum kist_err put_resource(struct check *c, struct buf *text)
{
    struct item chosen[PARAMS_MAX];
    size_t count = 0;
    if (c->request->host_bucket.len) {
        TRY(buf_append_str(text, "/"));
        TRY(buf_append_bytes(text, c->request->host_bucket));
    }
    TRY(buf_append_bytes(text, c->request->raw_path));
    if (c->slash)
        TRY(buf_append_str(text, "/"));
    for (size_t i = 0; i < c->param_count; i++)
        if (is_signed_param(c->params[i].name))
            chosen[count++] = c->params[i];
    qsort(chosen, count, sizeof *chosen, item_order);
    for (size_t i = 0; i < count; i++) {
        TRY(buf_append_str(text, i ? "&" : "?"));
        TRY(buf_append_bytes(text, chosen[i].name));
        if (chosen[i].has_value)
            TRY(buf_append_str(text, "="));
        TRY(buf_append_bytes(text, chosen[i].value));
    }
    return KIST_OK;
}

static enum kist_err put_text(struct check *c, struct buf *text)
{
    struct bytes lines[] = { c->request->method, claimed(c, "content-md5"),
                             claimed(c, "content-type"), c->date };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        TRY(buf_append_bytes(text, lines[i]));
        TRY(buf_append_str(text, "\n"));
    }
    TRY(put_amz(c, text));
    return put_resource(c, text);
}

static enum kist_err string_to_sign(struct check *c)
{
    struct buf text;
    buf_init(&text, TEXT_MAX_BYTES);
    enum kist_err err = put_text(c, &text);
    struct bytes kept =
        err == KIST_OK ? arena_copy(c->fault->arena, buf_bytes(&text)) : BYTES_EMPTY;
    buf_release(&text);
    TRY(err);
    if (!kept.ptr)
        return KIST_E_NOMEM;
    c->result->string_to_sign = kept;
    return KIST_OK;
}

/* ---- the decision ---- */

/* Bodies are not signed, but what a header says of one holds. */
static enum kist_err check_payload(struct check *c)
{
    struct auth_result *r = c->result;
    struct bytes text = claimed(c, "x-amz-content-sha256");
    r->payload = AUTH_PAYLOAD_UNSIGNED;
    if (!text.len || bytes_equal(text, BYTES_LIT("UNSIGNED-PAYLOAD")))
        return KIST_OK;
    if (bytes_equal(text, BYTES_LIT("STREAMING-UNSIGNED-PAYLOAD-TRAILER"))) {
        r->payload = AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER;
        return KIST_OK;
    }
    if (text.len != 64 || hex_decode(text, r->payload_sha256, 32) != KIST_OK)
        return fail(c, KIST_E_BAD_SHA256_HEADER,
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
                    "STREAMING-UNSIGNED-PAYLOAD-TRAILER or a valid sha256 value.");
    r->payload = AUTH_PAYLOAD_SIGNED_SHA256;
    return KIST_OK;
}

/* boto signs the bucket's path with a slash at its end, and sends it without. */
static bool names_only_bucket(const struct check *c)
{
    struct bytes path = c->request->raw_path;
    return !c->request->host_bucket.len && path.len > 1 &&
           !memchr(path.ptr + 1, '/', path.len - 1);
}

static bool signature_fits(const struct check *c, struct bytes secret)
{
    uint8_t mac[20];
    char text[BASE64_LEN(sizeof mac) + 1];
    hmac_sha1(secret, c->result->string_to_sign, mac);
    base64_encode(bytes_of(mac, sizeof mac), text);
    return bytes_equal_secret(bytes_str(text), c->signature);
}

static enum kist_err check_signature(struct check *c, struct auth_keyring *ring)
{
    struct credential credential = { .hold = NULL };
    struct credential_store *store = auth_keyring_store(ring);
    enum kist_err err =
        store->find(store, c->access_key_id, c->token, c->fault->arena, &credential);
    if (err == KIST_E_TOKEN)
        return fail(c, err, "The provided token is malformed or otherwise invalid.");
    if (err == KIST_E_TOKEN_EXPIRED)
        return fail(c, err, "The provided token has expired.");
    TRY(err);
    c->result->hold = credential.hold;
    bool fits = signature_fits(c, credential.secret);
    if (!fits && names_only_bucket(c)) {
        struct bytes shown = c->result->string_to_sign;
        c->slash = true;
        TRY(string_to_sign(c));
        fits = signature_fits(c, credential.secret);
        c->result->string_to_sign = shown;
    }
    if (!fits)
        return KIST_E_SIGNATURE;
    c->result->identity = credential.identity;
    return KIST_OK;
}

enum kist_err sigv2_verify(const struct auth_request *request, enum sigv4_mechanism mechanism,
                           struct auth_keyring *ring, struct sigv4_fault *fault,
                           struct auth_result *out)
{
    struct check c = {
        .request = request, .fault = fault, .query = mechanism == SIGV2_QUERY, .result = out
    };
    enum kist_err err = read_params(&c);
    if (err == KIST_E_INVALID)
        return fail(&c, err, "The query is not correctly percent-encoded");
    TRY(err);
    TRY(c.query ? parse_query(&c) : parse_header(&c));
    out->version_2 = true;
    out->presigned = c.query;
    out->access_key_id = c.access_key_id;
    out->signature_provided = c.signature;
    TRY(c.query ? check_query_time(&c) : check_header_time(&c));
    TRY(check_payload(&c));
    TRY(string_to_sign(&c));
    return check_signature(&c, ring);
}
