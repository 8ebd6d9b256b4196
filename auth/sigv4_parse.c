/* Reads the claim of a signed request. Nothing here is believed yet: sigv4.c checks it. */
#include "auth/sigv4_parse.h"

#include "auth/canonical.h"
#include "storage/base/codec.h"

#define EXPIRES_MAX_S 604800
#define CREDENTIAL_FORM "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\""

const char *sigv4_show(struct arena *arena, struct bytes s)
{
    char *text = arena_strndup(arena, s.len ? (const char *)s.ptr : "", s.len > 64 ? 64 : s.len);
    for (char *p = text; p && *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
    return text ? text : "";
}

struct bytes request_header(const struct auth_request *request, struct bytes name, size_t *count)
{
    struct bytes value = BYTES_EMPTY;
    *count = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        const struct auth_header *header = &request->headers[i];
        if (bytes_equal_nocase(header->name, name) && (*count)++ == 0)
            value = header->value;
    }
    return value;
}

/* Cuts s at the first `separator`: returns what is before, *rest gets what is after, or ptr NULL
 * when there is no separator. */
static struct bytes cut(struct bytes s, char separator, struct bytes *rest)
{
    const uint8_t *at = s.len ? memchr(s.ptr, separator, s.len) : NULL;
    if (!at) {
        *rest = BYTES_EMPTY;
        return s;
    }
    size_t before = (size_t)(at - s.ptr);
    *rest = bytes_of(at + 1, s.len - before - 1);
    return bytes_of(s.ptr, before);
}

static enum kist_err fail(const struct sigv4_claim *claim, struct sigv4_fault *fault,
                          const char *reason)
{
    bool header = claim->mechanism == SIGV4_HEADER;
    fault->reason =
        !header ? reason
                : arena_printf(fault->arena, "The authorization header is malformed; %s", reason);
    return header ? KIST_E_AUTH_MALFORMED : KIST_E_AUTH_QUERY;
}

/* A wrong part of the credential: worded alike for header and query. */
static enum kist_err fail_credential(const struct sigv4_claim *claim, struct sigv4_fault *fault,
                                     const char *reason)
{
    if (claim->mechanism == SIGV4_QUERY)
        reason = arena_printf(fault->arena, "Error parsing the X-Amz-Credential parameter; %s",
                              reason ? reason : "");
    return fail(claim, fault, reason);
}

/* Splits from the right: the key id is whatever stands before the last four slashes. */
static bool split_credential(struct sigv4_claim *claim)
{
    struct bytes parts[4], rest = claim->credential;
    for (size_t i = 4; i-- > 0;) {
        size_t slash = rest.len;
        while (slash > 0 && rest.ptr[slash - 1] != '/')
            slash--;
        if (slash == 0)
            return false;
        parts[i] = bytes_of(rest.ptr + slash, rest.len - slash);
        rest.len = slash - 1;
    }
    if (rest.len == 0 || !bytes_equal(parts[3], BYTES_LIT("aws4_request")))
        return false;
    claim->access_key_id = rest;
    claim->date = parts[0];
    claim->region = parts[1];
    claim->service = parts[2];
    claim->scope = bytes_of(rest.ptr + rest.len + 1, claim->credential.len - rest.len - 1);
    return true;
}

static bool is_day(struct bytes s)
{
    uint64_t number;
    return s.len == 8 && bytes_to_u64(s, 99999999, &number) == KIST_OK;
}

static enum kist_err check_credential(const struct auth_request *request,
                                      struct sigv4_fault *fault, struct sigv4_claim *claim)
{
    struct arena *arena = fault->arena;
    if (!split_credential(claim))
        return fail_credential(claim, fault,
                               "the Credential is mal-formed; expecting " CREDENTIAL_FORM ".");
    if (!is_day(claim->date))
        return fail_credential(
            claim, fault,
            arena_printf(arena,
                         "incorrect date format \"%s\". This date in the credential must be in "
                         "the format \"yyyyMMdd\".",
                         sigv4_show(arena, claim->date)));
    if (!bytes_equal(claim->service, request->service))
        return fail_credential(
            claim, fault,
            arena_printf(arena, "incorrect service \"%s\". This endpoint belongs to \"%s\".",
                         sigv4_show(arena, claim->service), sigv4_show(arena, request->service)));
    if (!bytes_equal(claim->region, request->region))
        return fail_credential(claim, fault,
                               arena_printf(arena, "the region '%s' is wrong; expecting '%s'",
                                            sigv4_show(arena, claim->region),
                                            sigv4_show(arena, request->region)));
    return KIST_OK;
}

/* ---- the header ---- */

static enum kist_err set_component(struct sigv4_claim *claim, struct sigv4_fault *fault,
                                   struct bytes part)
{
    struct bytes value;
    struct bytes name = cut(part, '=', &value);
    struct bytes *slot = NULL;
    if (bytes_equal(name, BYTES_LIT("Credential")))
        slot = &claim->credential;
    else if (bytes_equal(name, BYTES_LIT("SignedHeaders")))
        slot = &claim->signed_headers;
    else if (bytes_equal(name, BYTES_LIT("Signature")))
        slot = &claim->signature;
    if (!slot || slot->ptr || value.len == 0)
        return fail(claim, fault,
                    "the authorization header requires three components: Credential, "
                    "SignedHeaders, and Signature.");
    *slot = value;
    return KIST_OK;
}

/* Authorization: AWS4-HMAC-SHA256 Credential=..., SignedHeaders=..., Signature=...
 * The three come in any order, with or without blanks around the commas.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html */
static enum kist_err parse_header(const struct auth_request *request, struct sigv4_fault *fault,
                                  struct sigv4_claim *claim)
{
    size_t count;
    struct bytes value =
        bytes_trim(request_header(request, BYTES_LIT("authorization"), &count), " \t");
    if (value.len < sizeof SIGV4_ALGORITHM - 1)
        return fail(claim, fault, "the authorization header is too short");
    struct bytes rest = bytes_of(value.ptr + sizeof SIGV4_ALGORITHM - 1,
                                 value.len - (sizeof SIGV4_ALGORITHM - 1));
    do {
        struct bytes part = bytes_trim(cut(rest, ',', &rest), " \t");
        TRY(set_component(claim, fault, part));
    } while (rest.ptr);
    if (!claim->credential.ptr || !claim->signed_headers.ptr || !claim->signature.ptr)
        return fail(claim, fault,
                    "the authorization header requires three components: Credential, "
                    "SignedHeaders, and Signature.");
    return KIST_OK;
}

/* ---- the query ---- */

enum query_slot {
    Q_ALGORITHM,
    Q_CREDENTIAL,
    Q_DATE,
    Q_EXPIRES,
    Q_HEADERS,
    Q_SIGNATURE,
    Q_SHA256,
    Q_TOKEN,
    Q_COUNT
};

static const char *const query_names[Q_COUNT] = {
    [Q_ALGORITHM] = "X-Amz-Algorithm",
    [Q_CREDENTIAL] = "X-Amz-Credential",
    [Q_DATE] = "X-Amz-Date",
    [Q_EXPIRES] = "X-Amz-Expires",
    [Q_HEADERS] = "X-Amz-SignedHeaders",
    [Q_SIGNATURE] = "X-Amz-Signature",
    [Q_SHA256] = "X-Amz-Content-Sha256",
    [Q_TOKEN] = "X-Amz-Security-Token",
};

static enum query_slot query_slot_of(struct bytes name)
{
    enum query_slot slot = Q_ALGORITHM;
    if (!bytes_starts_with(name, BYTES_LIT("X-Amz-")))
        return Q_COUNT;
    while (slot < Q_COUNT && !bytes_equal(name, bytes_str(query_names[slot])))
        slot++;
    return slot;
}

/* One pass over the query; each X-Amz-* value decoded, once only. */
static enum kist_err collect(const struct auth_request *request, struct sigv4_fault *fault,
                             const struct sigv4_claim *claim, struct bytes values[Q_COUNT])
{
    struct bytes rest = request->raw_query;
    while (rest.len > 0) {
        struct bytes raw, name = cut(cut(rest, '&', &rest), '=', &raw);
        enum query_slot slot = query_slot_of(name);
        if (slot == Q_COUNT)
            continue;
        if (values[slot].ptr)
            return fail(claim, fault,
                        arena_printf(fault->arena, "%s must be given once", query_names[slot]));
        enum kist_err err = uri_decode_copy(fault->arena, raw, true, &values[slot]);
        if (err == KIST_E_INVALID)
            return fail(claim, fault,
                        arena_printf(fault->arena, "%s is not correctly percent-encoded",
                                     query_names[slot]));
        TRY(err);
    }
    return KIST_OK;
}

static enum kist_err parse_expires(struct bytes text, struct sigv4_fault *fault,
                                   struct sigv4_claim *claim)
{
    uint64_t seconds;
    if (text.len > 1 && text.ptr[0] == '-')
        return fail(claim, fault, "X-Amz-Expires must be non-negative");
    enum kist_err err = bytes_to_u64(text, UINT64_MAX, &seconds);
    if (err == KIST_E_INVALID || text.len == 0)
        return fail(claim, fault, "X-Amz-Expires should be a number");
    if (err != KIST_OK || seconds > EXPIRES_MAX_S)
        return fail(claim, fault,
                    "X-Amz-Expires must be less than a week (in seconds); that is, the given "
                    "X-Amz-Expires must be less than 604800 seconds");
    if (seconds == 0)
        return fail(claim, fault, "X-Amz-Expires must be at least 1 second");
    claim->expires_s = seconds;
    return KIST_OK;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
static enum kist_err parse_query(const struct auth_request *request, struct sigv4_fault *fault,
                                 struct sigv4_claim *claim)
{
    struct bytes values[Q_COUNT] = { 0 };
    TRY(collect(request, fault, claim, values));
    for (enum query_slot slot = Q_ALGORITHM; slot <= Q_SIGNATURE; slot++)
        if (values[slot].len == 0)
            return fail(claim, fault,
                        "Query-string authentication version 4 requires the X-Amz-Algorithm, "
                        "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
                        "X-Amz-Expires parameters.");
    if (!bytes_equal(values[Q_ALGORITHM], BYTES_LIT(SIGV4_ALGORITHM)))
        return fail(claim, fault, "X-Amz-Algorithm only supports \"" SIGV4_ALGORITHM "\"");
    int64_t ms;
    if (time_parse_amz(values[Q_DATE], &ms) != KIST_OK)
        return fail(claim, fault,
                    "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
    claim->credential = values[Q_CREDENTIAL];
    claim->signed_headers = values[Q_HEADERS];
    claim->signature = values[Q_SIGNATURE];
    claim->amz_date = values[Q_DATE];
    claim->content_sha256 = values[Q_SHA256];
    claim->token = values[Q_TOKEN];
    return parse_expires(values[Q_EXPIRES], fault, claim);
}

/* ---- both ---- */

/* True when the query has a parameter that only a signed URL has, of version 4 or 2. */
static bool query_is_signed(struct bytes query, bool *version_2)
{
    bool signed_4 = false;
    *version_2 = false;
    while (query.len > 0) {
        struct bytes value, name = cut(cut(query, '&', &query), '=', &value);
        enum query_slot slot = query_slot_of(name);
        signed_4 = signed_4 || (slot != Q_COUNT && slot != Q_SHA256 && slot != Q_TOKEN);
        *version_2 = *version_2 || bytes_equal(name, BYTES_LIT("AWSAccessKeyId"));
    }
    return signed_4;
}

static enum kist_err refuse(struct sigv4_fault *fault, const char *reason)
{
    fault->reason = reason;
    return KIST_E_INVALID;
}

static enum kist_err header_mechanism(struct bytes value, size_t count, struct sigv4_fault *fault,
                                      enum sigv4_mechanism *out)
{
    if (count > 1)
        return refuse(fault, "Only one Authorization header is allowed");
    value = bytes_trim(value, " \t");
    size_t len = sizeof SIGV4_ALGORITHM - 1;
    if (bytes_starts_with(value, BYTES_LIT(SIGV4_ALGORITHM)) &&
        (value.len == len || value.ptr[len] == ' ' || value.ptr[len] == '\t')) {
        *out = SIGV4_HEADER;
        return KIST_OK;
    }
    if (bytes_starts_with(value, BYTES_LIT("AWS "))) {
        *out = SIGV2_HEADER;
        return KIST_OK;
    }
    if (bytes_starts_with(value, BYTES_LIT("AWS4-")))
        return refuse(fault, "The authorization mechanism you have provided is not supported. "
                             "Please use AWS4-HMAC-SHA256.");
    return refuse(fault, "Unsupported Authorization Type");
}

enum kist_err sigv4_mechanism(const struct auth_request *request, struct sigv4_fault *fault,
                              enum sigv4_mechanism *out)
{
    size_t count;
    bool version_2;
    struct bytes value = request_header(request, BYTES_LIT("authorization"), &count);
    bool in_query = query_is_signed(request->raw_query, &version_2);
    if (count > 0 && (in_query || version_2))
        return refuse(fault, "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
                             "parameter, Signature query string parameter or the Authorization "
                             "header should be specified");
    if (in_query && version_2)
        return refuse(fault, "Only one auth mechanism allowed");
    if (count > 0)
        return header_mechanism(value, count, fault, out);
    *out = in_query ? SIGV4_QUERY : version_2 ? SIGV2_QUERY : SIGV4_NONE;
    return KIST_OK;
}

enum kist_err sigv4_parse(const struct auth_request *request, enum sigv4_mechanism mechanism,
                          struct sigv4_fault *fault, struct sigv4_claim *out)
{
    struct sigv4_claim claim = { .mechanism = mechanism };
    if (mechanism == SIGV4_HEADER)
        TRY(parse_header(request, fault, &claim));
    else
        TRY(parse_query(request, fault, &claim));
    TRY(check_credential(request, fault, &claim));
    if (claim.signature.len != AUTH_SIGNATURE_HEX)
        return fail(&claim, fault, "the Signature must be 64 hexadecimal digits");
    *out = claim;
    return KIST_OK;
}
