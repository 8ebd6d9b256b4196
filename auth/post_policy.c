#include "auth/post_policy.h"

#include <jansson.h>
#include <stdlib.h>

#include "storage/base/codec.h"

/* JSON of 20 KB nests no deeper than this before it is refused. */
#define CONDITIONS_MAX 200

struct bytes post_field(const struct post_form *form, const char *name)
{
    for (size_t i = 0; i < form->count; i++)
        if (bytes_equal_nocase(form->fields[i].name, bytes_str(name)))
            return form->fields[i].value;
    return BYTES_EMPTY;
}

/* ---- who ---- */

static enum kist_err fail(struct auth_result *r, enum kist_err err, const char *reason)
{
    r->reason = reason;
    return err;
}

static enum kist_err find(struct auth_keyring *ring, struct bytes id, struct bytes token,
                          struct arena *arena, struct auth_result *r, struct credential *out)
{
    struct credential_store *store = auth_keyring_store(ring);
    r->access_key_id = id;
    enum kist_err err = store->find(store, id, token, arena, out);
    if (err == KIST_E_TOKEN)
        return fail(r, err, "The provided token is malformed or otherwise invalid.");
    if (err == KIST_E_TOKEN_EXPIRED)
        return fail(r, err, "The provided token has expired.");
    if (err == KIST_OK)
        r->hold = out->hold;
    return err;
}

/* "AKIA.../20130524/us-east-1/s3/aws4_request" */
static bool split_credential(struct bytes text, struct bytes parts[5])
{
    for (size_t i = 0; i < 5; i++) {
        size_t slash = bytes_find(text, BYTES_LIT("/"), 0);
        if ((slash == SIZE_MAX) != (i == 4))
            return false;
        parts[i] = i == 4 ? text : bytes_of(text.ptr, slash);
        if (i < 4)
            text = bytes_of(text.ptr + slash + 1, text.len - slash - 1);
    }
    return true;
}

static enum kist_err verify_4(const struct post_form *form, struct auth_keyring *ring,
                              struct arena *arena, struct auth_result *r)
{
    struct bytes parts[5], date = post_field(form, "x-amz-date");
    struct bytes claimed = post_field(form, "x-amz-signature");
    struct credential credential = { .hold = NULL };
    struct signing_key *key = NULL;
    char hex[65];
    int64_t ms;
    if (!bytes_equal(post_field(form, "x-amz-algorithm"), BYTES_LIT("AWS4-HMAC-SHA256")))
        return fail(r, KIST_E_AUTH_QUERY, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
    if (!split_credential(post_field(form, "x-amz-credential"), parts) || parts[1].len != 8 ||
        !bytes_equal(parts[2], form->region) || !bytes_equal(parts[3], BYTES_LIT("s3")) ||
        !bytes_equal(parts[4], BYTES_LIT("aws4_request")))
        return fail(r, KIST_E_AUTH_QUERY,
                    "Error parsing the X-Amz-Credential parameter: it must name a date, this "
                    "region, s3 and aws4_request.");
    if (time_parse_amz(date, &ms) != KIST_OK || memcmp(date.ptr, parts[1].ptr, 8) != 0)
        return fail(r, KIST_E_AUTH_QUERY,
                    "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
    r->signed_ms = ms;
    TRY(find(ring, parts[0], post_field(form, "x-amz-security-token"), arena, r, &credential));
    struct signing_scope scope = { parts[1], parts[2], parts[3] };
    TRY(auth_keyring_get(ring, parts[0], credential.secret, &scope, &key));
    signing_key_sign(key, post_field(form, "policy"), hex);
    signing_key_unref(key);
    r->signature_provided = claimed;
    if (!bytes_equal_secret(bytes_of(hex, 64), claimed))
        return KIST_E_SIGNATURE;
    r->identity = credential.identity;
    return KIST_OK;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/HTTPPOSTExamples.html, before 2014 */
static enum kist_err verify_2(const struct post_form *form, struct auth_keyring *ring,
                              struct arena *arena, struct auth_result *r)
{
    struct credential credential = { .hold = NULL };
    struct bytes claimed = post_field(form, "signature");
    uint8_t mac[20];
    char text[BASE64_LEN(sizeof mac) + 1];
    TRY(find(ring, post_field(form, "AWSAccessKeyId"), post_field(form, "x-amz-security-token"),
             arena, r, &credential));
    hmac_sha1(credential.secret, post_field(form, "policy"), mac);
    base64_encode(bytes_of(mac, sizeof mac), text);
    r->version_2 = true;
    r->signature_provided = claimed;
    if (!bytes_equal_secret(bytes_str(text), claimed))
        return KIST_E_SIGNATURE;
    r->identity = credential.identity;
    return KIST_OK;
}

enum kist_err post_verify(const struct post_form *form, struct auth_keyring *ring,
                          struct arena *arena, struct auth_result *out)
{
    memset(out, 0, sizeof(*out));
    out->payload = AUTH_PAYLOAD_UNSIGNED;
    if (!post_field(form, "policy").len) {
        out->anonymous = true;
        return KIST_E_DENIED;
    }
    if (post_field(form, "AWSAccessKeyId").ptr)
        return verify_2(form, ring, arena, out);
    return verify_4(form, ring, arena, out);
}

/* ---- what ---- */

struct judge {
    const struct post_form *form;
    struct arena *arena;
    struct post_limits *limits;
    const char **message;
    bool *covered; /* by field: a condition speaks of it */
};

static enum kist_err invalid(struct judge *j, const char *why)
{
    *j->message = arena_printf(j->arena, "Invalid Policy: %s", why);
    return KIST_E_INVALID;
}

/* The condition as AWS shows it. */
static enum kist_err refused(struct judge *j, const char *op, const char *name, const char *value)
{
    json_t *shown = json_pack("[s, s, s]", op, name, value);
    char *text = shown ? json_dumps(shown, 0) : NULL;
    *j->message = arena_printf(
        j->arena, "Invalid according to Policy: Policy Condition failed: %s", text ? text : "");
    free(text);
    json_decref(shown);
    return KIST_E_DENIED;
}

static bool value_fits(const char *op, struct bytes value, struct bytes wanted)
{
    return strcmp(op, "eq") == 0 ? bytes_equal(value, wanted) : bytes_starts_with(value, wanted);
}

/* All fields of that name; without one, nothing is its value. */
static enum kist_err match(struct judge *j, const char *op, const char *dollar_name,
                           const char *wanted)
{
    struct bytes name = bytes_str(dollar_name + 1), text = bytes_str(wanted);
    bool is_bucket = bytes_equal(name, BYTES_LIT("bucket")), found = is_bucket;
    bool ok = !is_bucket || value_fits(op, j->form->bucket, text);
    for (size_t i = 0; i < j->form->count; i++) {
        if (!bytes_equal_nocase(j->form->fields[i].name, name))
            continue;
        j->covered[i] = found = true;
        ok = ok && (is_bucket || value_fits(op, j->form->fields[i].value, text));
    }
    ok = ok && (found || value_fits(op, BYTES_EMPTY, text));
    return ok ? KIST_OK : refused(j, op, dollar_name, wanted);
}

/* A number, or a string of digits: both are in use. */
static bool size_of(const json_t *v, uint64_t *out)
{
    if (json_is_string(v))
        return bytes_to_u64(bytes_str(json_string_value(v)), UINT64_MAX, out) == KIST_OK;
    *out = (uint64_t)json_integer_value(v);
    return json_is_integer(v) && json_integer_value(v) >= 0;
}

static enum kist_err list_condition(struct judge *j, const json_t *c)
{
    const char *op = json_string_value(json_array_get(c, 0));
    if (json_array_size(c) != 3 || !op)
        return invalid(j, "Invalid Condition: wrong number of arguments.");
    char lower[32] = "";
    for (size_t i = 0; op[i] && i + 1 < sizeof(lower); i++)
        lower[i] = (char)(op[i] >= 'A' && op[i] <= 'Z' ? op[i] + 32 : op[i]);
    if (strcmp(lower, "content-length-range") == 0) {
        if (!size_of(json_array_get(c, 1), &j->limits->min_bytes) ||
            !size_of(json_array_get(c, 2), &j->limits->max_bytes))
            return invalid(j, "Invalid content-length-range.");
        return KIST_OK;
    }
    const char *name = json_string_value(json_array_get(c, 1));
    const char *value = json_string_value(json_array_get(c, 2));
    if (!name || !value || name[0] != '$' ||
        (strcmp(lower, "eq") != 0 && strcmp(lower, "starts-with") != 0))
        return invalid(j, "Invalid Condition: unknown operation, or no field.");
    return match(j, lower, name, value);
}

static enum kist_err object_condition(struct judge *j, json_t *c)
{
    const char *name;
    json_t *value;
    if (json_object_size(c) != 1)
        return invalid(j, "Invalid Simple-Condition: Simple-Conditions must have exactly one "
                          "property specified.");
    json_object_foreach(c, name, value)
    {
        char *dollar = arena_printf(j->arena, "$%s", name);
        if (!json_is_string(value))
            return invalid(j, "Invalid Simple-Condition: the value must be a string.");
        if (!dollar)
            return KIST_E_NOMEM;
        TRY(match(j, "eq", dollar, json_string_value(value)));
    }
    return KIST_OK;
}

/* Fields that no condition needs to speak of. */
static bool is_exempt(struct bytes name)
{
    static const char *const exempt[] = { "policy", "file", "signature", "AWSAccessKeyId",
                                          "x-amz-signature" };
    for (size_t i = 0; i < ARRAY_LEN(exempt); i++)
        if (bytes_equal_nocase(name, bytes_str(exempt[i])))
            return true;
    return name.len >= 9 && bytes_equal_nocase(bytes_of(name.ptr, 9), BYTES_LIT("x-ignore-"));
}

static enum kist_err check_covered(struct judge *j)
{
    for (size_t i = 0; i < j->form->count; i++) {
        struct bytes name = j->form->fields[i].name;
        if (j->covered[i] || is_exempt(name))
            continue;
        *j->message =
            arena_printf(j->arena, "Invalid according to Policy: Extra input fields: %.*s",
                         (int)name.len, (const char *)name.ptr);
        return KIST_E_DENIED;
    }
    return KIST_OK;
}

static enum kist_err judge_document(struct judge *j, json_t *root)
{
    const char *expiration = json_string_value(json_object_get(root, "expiration"));
    json_t *conditions = json_object_get(root, "conditions"), *c;
    int64_t until;
    size_t i;
    if (!expiration)
        return invalid(j, "Policy missing expiration.");
    if (time_parse_iso(bytes_str(expiration), &until) != KIST_OK)
        return invalid(j, "Invalid 'expiration' value.");
    if (!json_is_array(conditions))
        return invalid(j, "Policy missing conditions.");
    if (json_array_size(conditions) > CONDITIONS_MAX)
        return invalid(j, "Too many conditions.");
    if (j->form->now_ms > until) {
        *j->message = "Invalid according to Policy: Policy expired.";
        return KIST_E_DENIED;
    }
    json_array_foreach(conditions, i, c)
    {
        if (!json_is_array(c) && !json_is_object(c))
            return invalid(j, "Conditions must be lists or objects.");
        TRY(json_is_array(c) ? list_condition(j, c) : object_condition(j, c));
    }
    return check_covered(j);
}

enum kist_err post_policy_check(const struct post_form *form, struct arena *arena,
                                struct post_limits *out, const char **message)
{
    struct post_limits limits = { 0, UINT64_MAX };
    struct judge j = { form, arena, &limits, message,
                       arena_zalloc(arena, form->count * sizeof(bool) + 1) };
    struct bytes text = post_field(form, "policy");
    uint8_t *json = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    if (!json || !j.covered)
        return KIST_E_NOMEM;
    if (text.len > POST_POLICY_MAX || base64_decode(text, json, text.len, &len) != KIST_OK)
        return invalid(&j, "Invalid base64, or too large.");
    json_t *root = json_loadb((const char *)json, len, JSON_REJECT_DUPLICATES, NULL);
    enum kist_err err =
        json_is_object(root) ? judge_document(&j, root) : invalid(&j, "Invalid JSON.");
    json_decref(root);
    if (err == KIST_OK)
        *out = limits;
    return err;
}
