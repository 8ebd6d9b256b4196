/* Verifies Signature Version 4.
 *
 * The happy path: which mechanism, what does it claim, is its time near ours, which headers does
 * it sign (host and every x-amz-* must be among them), what does it say about the payload, whose
 * key is it, and is the signature ours over the canonical request. Only when it is not, the other
 * forms of canonical.h are tried; an honest request never gets that far.
 */
#include "auth/sigv4.h"

#include "auth/canonical.h"
#include "auth/sign.h"
#include "auth/sigv2.h"
#include "auth/sigv4_parse.h"
#include "storage/base/codec.h"

#define SKEW_MAX_MS (15 * 60 * 1000)

struct check {
    const struct auth_request *request;
    struct auth_keyring *ring;
    struct sigv4_fault fault;
    struct sigv4_claim claim;
    int64_t time_ms;
    struct bytes *names;
    size_t name_count;
    struct bytes payload; /* the canonical request's last line; empty when deferred */
    struct auth_result result;
};

static enum kist_err fail(struct check *c, enum kist_err err, const char *reason)
{
    c->fault.reason = reason;
    return err;
}

/* ---- time ---- */

/* x-amz-date goes before Date; either may be in the other's format. */
static enum kist_err header_time(struct check *c)
{
    static const char reason[] = "AWS authentication requires a valid Date or x-amz-date header";
    size_t count;
    struct bytes text = request_header(c->request, BYTES_LIT("x-amz-date"), &count);
    if (count == 0)
        text = request_header(c->request, BYTES_LIT("date"), &count);
    if (count != 1 || (time_parse_amz(text, &c->time_ms) != KIST_OK &&
                       time_parse_http(text, &c->time_ms) != KIST_OK))
        return fail(c, KIST_E_AUTH_MISSING_DATE, reason);
    char *amz = arena_alloc(c->fault.arena, TIME_AMZ_LEN);
    if (!amz)
        return KIST_E_NOMEM;
    time_amz(c->time_ms, amz);
    c->result.amz_date = bytes_of(amz, TIME_AMZ_LEN - 1);
    return KIST_OK;
}

static enum kist_err check_skew(struct check *c)
{
    int64_t apart_ms = c->request->now_ms - c->time_ms;
    if (apart_ms <= SKEW_MAX_MS && apart_ms >= -SKEW_MAX_MS)
        return KIST_OK;
    c->result.request_ms = c->time_ms;
    return fail(c, KIST_E_CLOCK_SKEW,
                "The difference between the request time and the current time is too large.");
}

static enum kist_err check_expiry(struct check *c)
{
    if (c->time_ms - c->request->now_ms > SKEW_MAX_MS)
        return fail(c, KIST_E_DENIED, "Request is not yet valid");
    int64_t end_ms = c->time_ms + (int64_t)c->claim.expires_s * 1000;
    if (c->request->now_ms <= end_ms)
        return KIST_OK;
    c->result.expires_ms = end_ms;
    return fail(c, KIST_E_EXPIRED, "Request has expired");
}

static enum kist_err check_scope_date(struct check *c)
{
    struct bytes day = bytes_of(c->result.amz_date.ptr, 8);
    if (bytes_equal(c->claim.date, day))
        return KIST_OK;
    const char *reason = arena_printf(
        c->fault.arena,
        "%snvalid credential date \"%.8s\". This date is not the same as X-Amz-Date: \"%.8s\".",
        c->claim.mechanism == SIGV4_HEADER ? "The authorization header is malformed; I" : "I",
        (const char *)c->claim.date.ptr, (const char *)day.ptr);
    return fail(c, c->claim.mechanism == SIGV4_HEADER ? KIST_E_AUTH_MALFORMED : KIST_E_AUTH_QUERY,
                reason);
}

static enum kist_err check_time(struct check *c)
{
    if (c->claim.mechanism == SIGV4_HEADER) {
        TRY(header_time(c));
        TRY(check_scope_date(c));
        return check_skew(c);
    }
    c->result.amz_date = c->claim.amz_date;
    if (time_parse_amz(c->claim.amz_date, &c->time_ms) != KIST_OK)
        return KIST_E_AUTH_QUERY;
    TRY(check_scope_date(c));
    return check_expiry(c);
}

/* ---- signed headers ---- */

static void lower(uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] = (uint8_t)(text[i] | 0x20);
}

static enum kist_err fail_names(struct check *c)
{
    if (c->claim.mechanism == SIGV4_QUERY)
        return fail(c, KIST_E_AUTH_QUERY, "X-Amz-SignedHeaders is malformed");
    return fail(c, KIST_E_AUTH_MALFORMED,
                "The authorization header is malformed; SignedHeaders is malformed");
}

static enum kist_err split_names(struct check *c)
{
    struct arena *arena = c->fault.arena;
    size_t len = c->claim.signed_headers.len, count = 1;
    uint8_t *text = arena_alloc(arena, len + 1);
    if (!text)
        return KIST_E_NOMEM;
    memcpy(text, c->claim.signed_headers.ptr, len);
    lower(text, len);
    for (size_t i = 0; i < len; i++)
        count += text[i] == ';';
    if (count > SIGNED_HEADERS_MAX)
        return fail_names(c);
    c->names = arena_alloc(arena, count * sizeof *c->names);
    if (!c->names)
        return KIST_E_NOMEM;
    size_t start = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && text[i] != ';')
            continue;
        c->names[c->name_count++] = bytes_of(text + start, i - start);
        start = i + 1;
    }
    return canonical_names_sort(c->names, c->name_count) == KIST_OK ? KIST_OK : fail_names(c);
}

static bool is_signed(const struct check *c, struct bytes name)
{
    for (size_t i = 0; i < c->name_count; i++)
        if (bytes_equal_nocase(c->names[i], name))
            return true;
    return false;
}

/* "You must include the host header and any x-amz-* headers in the canonical headers"; presigned
 * URLs may leave out x-amz-content-sha256, which then says nothing.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
static enum kist_err check_names(struct check *c)
{
    TRY(split_names(c));
    bool ok = is_signed(c, BYTES_LIT("host"));
    for (size_t i = 0; i < c->request->header_count && ok; i++) {
        struct bytes name = c->request->headers[i].name;
        if (name.len <= 6 || !bytes_equal_nocase(bytes_of(name.ptr, 6), BYTES_LIT("x-amz-")))
            continue;
        ok = is_signed(c, name) || (c->claim.mechanism == SIGV4_QUERY &&
                                    bytes_equal_nocase(name, BYTES_LIT("x-amz-content-sha256")));
    }
    if (!ok)
        return fail(c, KIST_E_DENIED,
                    "There were headers present in the request which were not signed");
    return KIST_OK;
}

/* ---- the payload ---- */

static bool payload_word(struct bytes text, enum auth_payload *out)
{
    static const struct {
        const char *word;
        enum auth_payload payload;
    } words[] = {
        { SIGN_UNSIGNED, AUTH_PAYLOAD_UNSIGNED },
        { SIGN_STREAMING, AUTH_PAYLOAD_STREAMING_SIGNED },
        { SIGN_STREAMING_TRAILER, AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER },
        { SIGN_STREAMING_UNSIGNED_TRAILER, AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER },
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (bytes_equal(text, bytes_str(words[i].word))) {
            *out = words[i].payload;
            return true;
        }
    }
    return false;
}

/* What stands for x-amz-content-sha256 when the client did not send it. */
static struct bytes payload_default(const struct check *c)
{
    if (c->claim.mechanism == SIGV4_QUERY)
        return c->claim.content_sha256.ptr ? c->claim.content_sha256 : BYTES_LIT(SIGN_UNSIGNED);
    return c->request->has_body ? BYTES_EMPTY : BYTES_LIT(SIGN_EMPTY_SHA256);
}

static enum kist_err check_payload(struct check *c)
{
    size_t count;
    struct bytes text = request_header(c->request, BYTES_LIT("x-amz-content-sha256"), &count);
    if (count == 0 || !is_signed(c, BYTES_LIT("x-amz-content-sha256"))) {
        text = payload_default(c);
        if (text.len == 0) {
            c->result.payload = AUTH_PAYLOAD_SIGNED_DEFERRED;
            return KIST_OK;
        }
    }
    c->payload = text;
    if (count <= 1 && payload_word(text, &c->result.payload))
        return KIST_OK;
    if (count <= 1 && text.len == 64 &&
        hex_decode(text, c->result.payload_sha256, sizeof c->result.payload_sha256) == KIST_OK) {
        c->result.payload = AUTH_PAYLOAD_SIGNED_SHA256;
        return KIST_OK;
    }
    return fail(c, KIST_E_BAD_SHA256_HEADER,
                "x-amz-content-sha256 must be " SIGN_UNSIGNED ", " SIGN_STREAMING_UNSIGNED_TRAILER
                ", " SIGN_STREAMING ", " SIGN_STREAMING_TRAILER " or a valid sha256 value.");
}

/* ---- the signature ---- */

static struct canonical_input input_of(const struct check *c)
{
    return (struct canonical_input){
        .method = c->request->method,
        .raw_path = c->request->raw_path,
        .raw_query = c->request->raw_query,
        .headers = c->request->headers,
        .header_count = c->request->header_count,
        .names = c->names,
        .name_count = c->name_count,
        .payload = c->payload,
        .presigned = c->claim.mechanism == SIGV4_QUERY,
        .twice = !bytes_equal(c->request->service, BYTES_LIT("s3")),
    };
}

/* KIST_E_SIGNATURE when this canonical request is not what was signed. */
static enum kist_err try_canonical(struct check *c, const struct signing_key *key,
                                   struct bytes canonical, struct bytes *string_to_sign)
{
    char hex[65];
    TRY(canonical_string_to_sign(c->result.amz_date, c->claim.scope, canonical, c->fault.arena,
                                 string_to_sign));
    signing_key_sign(key, *string_to_sign, hex);
    return bytes_equal_secret(bytes_of(hex, 64), c->claim.signature) ? KIST_OK : KIST_E_SIGNATURE;
}

static enum kist_err check_signature(struct check *c, const struct signing_key *key)
{
    struct canonical_input in = input_of(c);
    for (enum canonical_form form = CANONICAL_AWS; form <= CANONICAL_RAW; form++) {
        struct bytes canonical, string_to_sign;
        if (!canonical_form_differs(&in, form))
            continue;
        TRY(canonical_request(&in, form, c->fault.arena, &canonical));
        enum kist_err err = try_canonical(c, key, canonical, &string_to_sign);
        if (err != KIST_E_SIGNATURE)
            return err;
        if (form == CANONICAL_AWS) {
            c->result.canonical_request = canonical;
            c->result.string_to_sign = string_to_sign;
        }
    }
    return KIST_E_SIGNATURE;
}

/* curl -T signs the hash of an empty body and then sends another one. That proves nothing about
 * the body; say what helps instead of "does not match". */
static enum kist_err refuse_empty_hash(struct check *c, const struct signing_key *key,
                                       struct bytes head)
{
    struct bytes parts[2] = { head, BYTES_LIT(SIGN_EMPTY_SHA256) }, string_to_sign;
    char *text = arena_alloc(c->fault.arena, head.len + parts[1].len);
    if (!text)
        return KIST_E_NOMEM;
    memcpy(text, head.ptr, head.len);
    memcpy(text + head.len, parts[1].ptr, parts[1].len);
    enum kist_err err =
        try_canonical(c, key, bytes_of(text, head.len + parts[1].len), &string_to_sign);
    if (err == KIST_E_SIGNATURE)
        return KIST_OK;
    TRY(err);
    return fail(c, KIST_E_BAD_SHA256_HEADER,
                "The request has a body, but what was signed is the hash of an empty one: send "
                "the header x-amz-content-sha256 (curl -T: with the value " SIGN_UNSIGNED ").");
}

static enum kist_err defer_signature(struct check *c, const struct signing_key *key)
{
    struct canonical_input in = input_of(c);
    struct auth_result *r = &c->result;
    for (enum canonical_form form = CANONICAL_AWS; form <= CANONICAL_RAW; form++) {
        struct bytes head;
        if (!canonical_form_differs(&in, form))
            continue;
        TRY(canonical_request(&in, form, c->fault.arena, &head));
        if (r->deferred_count > 0 && bytes_equal(head, r->deferred[0]))
            continue;
        TRY(refuse_empty_hash(c, key, head));
        r->deferred[r->deferred_count++] = head;
    }
    return KIST_OK;
}

static enum kist_err check_key(struct check *c, const struct signing_key *key)
{
    struct auth_result *r = &c->result;
    bool deferred = r->payload == AUTH_PAYLOAD_SIGNED_DEFERRED;
    TRY(deferred ? defer_signature(c, key) : check_signature(c, key));
    if (deferred || r->payload == AUTH_PAYLOAD_STREAMING_SIGNED ||
        r->payload == AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER)
        memcpy(r->signing_key, signing_key_raw(key), sizeof r->signing_key);
    memcpy(r->seed_signature, c->claim.signature.ptr, AUTH_SIGNATURE_HEX);
    return KIST_OK;
}

/* x-amz-security-token; check_names() has seen to it that a header is signed. */
static struct bytes session_token(const struct check *c)
{
    size_t count;
    struct bytes header = request_header(c->request, BYTES_LIT("x-amz-security-token"), &count);
    return c->claim.mechanism == SIGV4_QUERY ? c->claim.token : header;
}

static enum kist_err find_and_check_key(struct check *c)
{
    struct credential credential = { .hold = NULL };
    struct credential_store *store = auth_keyring_store(c->ring);
    struct bytes token = session_token(c);
    enum kist_err err =
        store->find(store, c->claim.access_key_id, token, c->fault.arena, &credential);
    if (err == KIST_E_TOKEN)
        return fail(c, err, "The provided token is malformed or otherwise invalid.");
    if (err == KIST_E_TOKEN_EXPIRED)
        return fail(c, err, "The provided token has expired.");
    TRY(err);
    c->result.hold = credential.hold;
    struct signing_scope scope = { c->claim.date, c->claim.region, c->claim.service };
    struct signing_key *key;
    TRY(auth_keyring_get(c->ring, c->claim.access_key_id, credential.secret, &scope, &key));
    err = check_key(c, key);
    signing_key_unref(key);
    c->result.identity = credential.identity;
    return err;
}

static enum kist_err verify(struct check *c)
{
    enum sigv4_mechanism mechanism;
    TRY(sigv4_mechanism(c->request, &c->fault, &mechanism));
    if (mechanism == SIGV4_NONE) {
        c->result.anonymous = true;
        return KIST_E_DENIED;
    }
    if (mechanism == SIGV2_HEADER || mechanism == SIGV2_QUERY)
        return sigv2_verify(c->request, mechanism, c->ring, &c->fault, &c->result);
    TRY(sigv4_parse(c->request, mechanism, &c->fault, &c->claim));
    c->result.access_key_id = c->claim.access_key_id;
    c->result.presigned = mechanism == SIGV4_QUERY;
    c->result.scope = c->claim.scope;
    c->result.signature_provided = c->claim.signature;
    TRY(check_time(c));
    c->result.signed_ms = c->time_ms;
    TRY(check_names(c));
    TRY(check_payload(c));
    return find_and_check_key(c);
}

enum kist_err auth_verify(const struct auth_request *request, struct auth_keyring *ring,
                          struct arena *arena, struct auth_result *out)
{
    struct check c = { .request = request, .ring = ring, .fault = { .arena = arena } };
    enum kist_err err = verify(&c);
    if (err != KIST_OK) {
        c.result.reason = c.fault.reason;
        c.result.identity = NULL;
    } else {
        c.result.canonical_request = BYTES_EMPTY;
        c.result.string_to_sign = BYTES_EMPTY;
    }
    *out = c.result;
    return err;
}

static enum kist_err deferred_try(struct auth_result *r, struct arena *arena, struct bytes head,
                                  const char hash_hex[65], struct bytes texts[2])
{
    uint8_t mac[32];
    char hex[65];
    char *text = arena_alloc(arena, head.len + 64);
    if (!text)
        return KIST_E_NOMEM;
    memcpy(text, head.ptr, head.len);
    memcpy(text + head.len, hash_hex, 64);
    texts[0] = bytes_of(text, head.len + 64);
    TRY(canonical_string_to_sign(r->amz_date, r->scope, texts[0], arena, &texts[1]));
    hmac_sha256(bytes_of(r->signing_key, sizeof r->signing_key), texts[1], mac);
    hex_encode(bytes_of(mac, sizeof mac), hex);
    return bytes_equal_secret(bytes_of(hex, 64), r->signature_provided) ? KIST_OK
                                                                        : KIST_E_SIGNATURE;
}

enum kist_err auth_verify_deferred(struct auth_result *result, struct arena *arena,
                                   const uint8_t sha256[32])
{
    char hash_hex[65];
    hex_encode(bytes_of(sha256, 32), hash_hex);
    for (size_t i = 0; i < result->deferred_count; i++) {
        struct bytes texts[2];
        enum kist_err err = deferred_try(result, arena, result->deferred[i], hash_hex, texts);
        if (err != KIST_E_SIGNATURE)
            return err;
        if (i == 0) {
            result->canonical_request = texts[0];
            result->string_to_sign = texts[1];
        }
    }
    return KIST_E_SIGNATURE;
}

bool auth_is_signed(const struct auth_request *request)
{
    struct sigv4_fault fault = { 0 };
    enum sigv4_mechanism mechanism;
    return sigv4_mechanism(request, &fault, &mechanism) != KIST_OK || mechanism != SIGV4_NONE;
}
