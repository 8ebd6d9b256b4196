#include "auth/jwt.h"

#include <jansson.h>

#include "storage/base/codec.h"

/* The year 5138: beyond it a number is no date. */
#define DATE_MAX_S 1e11
#define METHODS_MAX 32
#define CLAIM_MAX 255

struct parse {
    struct arena *arena;
    struct jwt *out;
    const char *problem;
};

static enum kist_err refuse(struct parse *p, const char *problem)
{
    p->problem = problem;
    return KIST_E_TOKEN;
}

/* ---- parts ---- */

/* A part's JSON object; NULL: it is none. */
static json_t *object_of(struct parse *p, struct bytes part)
{
    json_error_t error;
    size_t len = 0;
    uint8_t *text = arena_alloc(p->arena, part.len + 1);
    if (!text || base64url_decode(part, text, part.len, &len) != KIST_OK)
        return NULL;
    json_t *root = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(root))
        return root;
    json_decref(root);
    return NULL;
}

static enum kist_err text_of(struct parse *p, const json_t *value, struct bytes *out)
{
    *out = arena_copy(p->arena, bytes_of(json_string_value(value), json_string_length(value)));
    return out->ptr ? KIST_OK : KIST_E_NOMEM;
}

/* ---- header ---- */

static enum kist_err read_header(struct parse *p, const json_t *header)
{
    static const char *const names[] = { [JWT_RS256] = "RS256", [JWT_ES256] = "ES256" };
    const char *name = json_string_value(json_object_get(header, "alg"));
    const json_t *kid = json_object_get(header, "kid");
    size_t i = 0;
    while (name && i < JWT_ALGORITHM_COUNT && strcmp(name, names[i]) != 0)
        i++;
    if (!name || i == JWT_ALGORITHM_COUNT)
        return refuse(p, "The token's signing algorithm is not supported");
    p->out->algorithm = (enum jwt_algorithm)i;
    /* RFC 7515 section 4.1.11: what must be understood, and is not */
    if (json_object_get(header, "crit"))
        return refuse(p, "The token has critical header parameters");
    if (!kid)
        return KIST_OK;
    if (!json_is_string(kid))
        return refuse(p, "The token's kid is not a string");
    return text_of(p, kid, &p->out->kid);
}

/* ---- claims ---- */

static enum kist_err text_claim(struct parse *p, const json_t *claims, const char *name,
                                const char *missing, struct bytes *out)
{
    const json_t *value = json_object_get(claims, name);
    if (!json_is_string(value) || json_string_length(value) == 0)
        return refuse(p, missing);
    if (json_string_length(value) > CLAIM_MAX)
        return refuse(p, "A claim of the token is too long");
    return text_of(p, value, out);
}

static enum kist_err date_claim(struct parse *p, const json_t *claims, const char *name,
                                const char *missing, int64_t *out)
{
    const json_t *value = json_object_get(claims, name);
    double seconds = json_number_value(value);
    if (!json_is_number(value) || !(seconds >= 0 && seconds <= DATE_MAX_S))
        return refuse(p, missing);
    *out = (int64_t)(seconds * 1000);
    return KIST_OK;
}

static bool names(const json_t *audiences, struct bytes party)
{
    for (size_t i = 0; i < json_array_size(audiences); i++) {
        const json_t *item = json_array_get(audiences, i);
        if (bytes_equal(bytes_of(json_string_value(item), json_string_length(item)), party))
            return true;
    }
    return false;
}

/* One audience, or several and among them the party that it was issued to. */
static enum kist_err read_audience(struct parse *p, const json_t *claims)
{
    const json_t *aud = json_object_get(claims, "aud"), *azp = json_object_get(claims, "azp");
    if (json_is_array(aud) && json_array_size(aud) > 1) {
        TRY(text_claim(p, claims, "azp", "Missing a required claim: azp", &p->out->audience));
        return names(aud, p->out->audience) ? KIST_OK : refuse(p, "Incorrect token audience");
    }
    if (json_is_array(aud))
        aud = json_array_get(aud, 0);
    if (!json_is_string(aud) || json_string_length(aud) == 0)
        return refuse(p, "Missing a required claim: aud");
    if (azp)
        return text_claim(p, claims, "azp", "The token's azp is not a string", &p->out->audience);
    if (json_string_length(aud) > CLAIM_MAX)
        return refuse(p, "A claim of the token is too long");
    return text_of(p, aud, &p->out->audience);
}

static enum kist_err read_methods(struct parse *p, const json_t *claims)
{
    const json_t *amr = json_object_get(claims, "amr");
    size_t count = json_array_size(amr);
    if (count > METHODS_MAX || (amr && !json_is_array(amr)))
        return refuse(p, "The token's amr is not a list of methods");
    struct bytes *list = arena_alloc(p->arena, count * sizeof(*list) + 1);
    if (!list)
        return KIST_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(amr, i);
        if (!json_is_string(item))
            return refuse(p, "The token's amr is not a list of methods");
        TRY(text_of(p, item, &list[i]));
    }
    p->out->methods = list;
    p->out->method_count = count;
    return KIST_OK;
}

static enum kist_err read_claims(struct parse *p, const json_t *claims)
{
    struct jwt *out = p->out;
    TRY(text_claim(p, claims, "iss", "Missing a required claim: iss", &out->issuer));
    TRY(text_claim(p, claims, "sub", "Missing a required claim: sub", &out->subject));
    TRY(date_claim(p, claims, "exp", "Missing a required claim: exp", &out->expires_ms));
    TRY(date_claim(p, claims, "iat", "Missing a required claim: iat", &out->issued_ms));
    if (json_object_get(claims, "nbf"))
        TRY(date_claim(p, claims, "nbf", "The token's nbf is not a date", &out->not_before_ms));
    TRY(read_audience(p, claims));
    return read_methods(p, claims);
}

/* ---- token ---- */

static const char not_a_jwt[] = "The ID Token provided is not a valid JWT. (You may see this "
                                "error if you sent an Access Token)";

static enum kist_err read_object(struct parse *p, struct bytes part,
                                 enum kist_err (*read)(struct parse *p, const json_t *object))
{
    json_t *object = object_of(p, part);
    enum kist_err err = object ? read(p, object) : refuse(p, not_a_jwt);
    json_decref(object);
    return err;
}

static enum kist_err read_token(struct parse *p, struct bytes token)
{
    static const struct bytes dot = { (const uint8_t *)".", 1 };
    size_t first = bytes_find(token, dot, 0);
    if (token.len < JWT_LEN_MIN || token.len > JWT_LEN_MAX || first == SIZE_MAX)
        return refuse(p, not_a_jwt);
    size_t second = bytes_find(token, dot, first + 1);
    if (second == SIZE_MAX || bytes_find(token, dot, second + 1) != SIZE_MAX)
        return refuse(p, not_a_jwt);
    struct bytes last = bytes_of(token.ptr + second + 1, token.len - second - 1);
    uint8_t *signature = arena_alloc(p->arena, last.len + 1);
    if (!signature)
        return KIST_E_NOMEM;
    if (base64url_decode(last, signature, last.len, &p->out->signature.len) != KIST_OK)
        return refuse(p, not_a_jwt);
    p->out->signature.ptr = signature;
    p->out->signed_by = bytes_of(token.ptr, second);
    TRY(read_object(p, bytes_of(token.ptr, first), read_header));
    return read_object(p, bytes_of(token.ptr + first + 1, second - first - 1), read_claims);
}

enum kist_err jwt_parse(struct bytes token, struct arena *arena, struct jwt *out,
                        const char **problem)
{
    struct jwt jwt = { .kid = BYTES_EMPTY };
    struct parse p = { arena, &jwt, NULL };
    enum kist_err err = read_token(&p, token);
    if (err == KIST_OK)
        *out = jwt;
    else
        *problem = p.problem ? p.problem : not_a_jwt;
    return err;
}
