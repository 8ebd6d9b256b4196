/* Tokens of other issuers, by tables. What a token claims is judged first, unsigned; whether a
 * key has signed it is judged with tokens that were signed. */
#include "auth/jwt.h"
#include "auth/oidc.h"
#include "storage/base/codec.h"
#include "tests/lib/suite.h"
#include "tests/unit/auth/jwt_fixture.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, (size_t)1 << 20);
}

static void teardown(void)
{
    arena_release(&arena);
}

static const char *encoded(const char *text)
{
    size_t len = strlen(text);
    char *out = arena_alloc(&arena, BASE64_LEN(len) + 1);
    base64_encode(bytes_str(text), out);
    for (char *c = out; *c; c++)
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
    out[strcspn(out, "=")] = '\0';
    return out;
}

static enum kist_err parse(const char *token, struct jwt *out)
{
    const char *problem = NULL;
    enum kist_err err = jwt_parse(bytes_str(token), &arena, out, &problem);
    ck_assert(err == KIST_OK || problem);
    return err;
}

/* ---- claims ---- */

#define HEADER "{\"alg\":\"RS256\",\"kid\":\"k\"}"
#define DATES "\"iat\":1,\"exp\":2"
#define NAMES "\"iss\":\"https://i\",\"sub\":\"s\""

static const struct {
    const char *header, *claims;
    bool good;
} claims[] = {
    { HEADER, "{" NAMES "," DATES ",\"aud\":\"a\"}", true },
    { HEADER, "{" NAMES "," DATES ",\"aud\":[\"a\"]}", true },
    { HEADER, "{" NAMES "," DATES ",\"aud\":\"a\",\"nbf\":1.5,\"amr\":[]}", true },
    { HEADER, "{" NAMES "," DATES ",\"aud\":[\"b\",\"a\"],\"azp\":\"a\"}", true },
    { HEADER, "{" NAMES "," DATES ",\"aud\":[\"b\",\"a\"]}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":[\"b\",\"c\"],\"azp\":\"a\"}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":[]}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":[1]}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":\"\"}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":{}}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":\"a\",\"azp\":7}", false },
    { HEADER, "{" NAMES "," DATES "}", false },
    { HEADER, "{" NAMES ",\"iat\":1,\"aud\":\"a\"}", false },
    { HEADER, "{" NAMES ",\"exp\":1,\"aud\":\"a\"}", false },
    { HEADER, "{" NAMES ",\"iat\":1,\"exp\":\"2\",\"aud\":\"a\"}", false },
    { HEADER, "{" NAMES ",\"iat\":1,\"exp\":-2,\"aud\":\"a\"}", false },
    { HEADER, "{" NAMES ",\"iat\":1,\"exp\":1e300,\"aud\":\"a\"}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":\"a\",\"nbf\":\"now\"}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":\"a\",\"amr\":\"mfa\"}", false },
    { HEADER, "{" NAMES "," DATES ",\"aud\":\"a\",\"amr\":[7]}", false },
    { HEADER, "{\"iss\":\"i\"," DATES ",\"aud\":\"a\"}", false },
    { HEADER, "{\"sub\":\"s\"," DATES ",\"aud\":\"a\"}", false },
    { HEADER, "{" NAMES ",\"sub\":\"t\"," DATES ",\"aud\":\"a\"}", false },
    { HEADER, "{" NAMES "\\u0000," DATES ",\"aud\":\"a\"}", false },
    { HEADER, "[]", false },
    { HEADER, "", false },
    { "{\"alg\":\"ES256\"}", "{" NAMES "," DATES ",\"aud\":\"a\"}", true },
    { "{\"alg\":\"none\"}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
    { "{\"alg\":\"rs256\"}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
    { "{\"alg\":\"HS256\"}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
    { "{\"alg\":\"PS256\"}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
    { "{\"alg\":[\"RS256\"]}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
    { "{\"alg\":\"RS256\",\"alg\":\"none\"}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
    { "{\"alg\":\"RS256\",\"kid\":1}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
    { "{\"alg\":\"RS256\",\"crit\":[]}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
    { "{}", "{" NAMES "," DATES ",\"aud\":\"a\"}", false },
};

START_TEST(test_claims)
{
    struct jwt jwt;
    char *token = arena_printf(&arena, "%s.%s.AAAA", encoded(claims[_i].header),
                               encoded(claims[_i].claims));
    ck_assert_msg(parse(token, &jwt) == (claims[_i].good ? KIST_OK : KIST_E_TOKEN), "%s %s",
                  claims[_i].header, claims[_i].claims);
}
END_TEST

START_TEST(test_what_is_read)
{
    struct jwt jwt;
    ck_assert_int_eq(parse(JWT_EC, &jwt), KIST_OK);
    ck_assert_int_eq(jwt.algorithm, JWT_ES256);
    ck_assert(bytes_equal(jwt.kid, BYTES_LIT("ec-1")));
    ck_assert(bytes_equal(jwt.issuer, BYTES_LIT("https://id.example.com/realm")));
    ck_assert(bytes_equal(jwt.subject, BYTES_LIT("build-7")));
    ck_assert(bytes_equal(jwt.audience, BYTES_LIT("kist")));
    ck_assert_uint_eq(jwt.method_count, 2);
    ck_assert(bytes_equal(jwt.methods[1], BYTES_LIT("mfa")));
    ck_assert_int_eq(jwt.expires_ms, 4000000000000);
    ck_assert_int_eq(jwt.issued_ms, 1700000000000);
    ck_assert_int_eq(jwt.not_before_ms, 1700000000000);
    ck_assert_int_eq(parse(JWT_AUDIENCES, &jwt), KIST_OK);
    ck_assert(bytes_equal(jwt.audience, BYTES_LIT("b")));
}
END_TEST

static const char *const broken[] = {
    "",           "...",       "a.b",        "a.b.c.d", "a.b.c",   JWT_RSA "=",
    JWT_RSA ".x", " " JWT_RSA, JWT_RSA "\n", JWT_NONE,  JWT_HS256, JWT_CRIT,
};

START_TEST(test_broken)
{
    struct jwt jwt;
    ck_assert_int_eq(parse(broken[_i], &jwt), KIST_E_TOKEN);
}
END_TEST

/* Every prefix, and every token with one byte that is none of base64's. */
START_TEST(test_cut_and_spoilt)
{
    struct jwt jwt;
    size_t len = strlen(JWT_EC), before_signature = (size_t)(strrchr(JWT_EC, '.') - JWT_EC);
    char text[] = JWT_EC;
    for (size_t i = 0; i <= before_signature; i++) {
        const char *problem = NULL;
        ck_assert_int_eq(jwt_parse(bytes_of(text, i), &arena, &jwt, &problem), KIST_E_TOKEN);
        arena_clear(&arena);
    }
    for (size_t i = 0; i < len; i++) {
        char was = text[i];
        text[i] = '+';
        ck_assert_int_eq(parse(text, &jwt), KIST_E_TOKEN);
        text[i] = was;
        arena_clear(&arena);
    }
}
END_TEST

START_TEST(test_too_long)
{
    struct jwt jwt;
    char *text = arena_zalloc(&arena, JWT_LEN_MAX + 2);
    memset(text, 'A', JWT_LEN_MAX + 1);
    ck_assert_int_eq(parse(text, &jwt), KIST_E_TOKEN);
}
END_TEST

/* ---- signatures ---- */

#define BOTH "{\"keys\":[" JWT_KEY_RSA "," JWT_KEY_EC "]}"
#define ONLY_RSA "{\"keys\":[" JWT_KEY_RSA "]}"
#define TWICE "{\"keys\":[" JWT_KEY_RSA "," JWT_KEY_RSA "]}"

static const struct {
    const char *token, *set;
    enum kist_err err;
} signatures[] = {
    { JWT_RSA, BOTH, KIST_OK },
    { JWT_EC, BOTH, KIST_OK },
    { JWT_AUDIENCES, BOTH, KIST_OK },
    { JWT_NO_KID, BOTH, KIST_OK },
    { JWT_NO_KID, TWICE, KIST_E_NOT_FOUND },
    { JWT_EC, ONLY_RSA, KIST_E_NOT_FOUND },
    { JWT_RSA, "{\"keys\":[]}", KIST_E_NOT_FOUND },
    { JWT_UNKNOWN_KID, BOTH, KIST_E_NOT_FOUND },
    { JWT_OTHER_KEY, BOTH, KIST_E_SIGNATURE },
    { JWT_RSA_AS_ES256, BOTH, KIST_E_NOT_FOUND },
    { JWT_WEAK, "{\"keys\":[" JWT_KEY_WEAK "]}", KIST_E_NOT_FOUND },
};

static struct jwks *set_of(const char *json, size_t count)
{
    struct jwks *set = NULL;
    ck_assert_int_eq(jwks_parse(bytes_str(json), &set), KIST_OK);
    ck_assert(count == SIZE_MAX || jwks_count(set) == count);
    return set;
}

START_TEST(test_signature)
{
    struct jwt jwt;
    struct jwks *set = set_of(signatures[_i].set, SIZE_MAX);
    ck_assert_int_eq(parse(signatures[_i].token, &jwt), KIST_OK);
    ck_assert_int_eq(jwt_verify(&jwt, set), signatures[_i].err);
    jwks_unref(set);
}
END_TEST

/* No bit of what is signed, or of the signature, may change. */
START_TEST(test_every_byte_counts)
{
    struct jwks *set = set_of(BOTH, 2);
    struct jwt jwt;
    ck_assert_int_eq(parse(JWT_EC, &jwt), KIST_OK);
    uint8_t *text = arena_alloc(&arena, jwt.signed_by.len);
    uint8_t *signature = arena_alloc(&arena, jwt.signature.len);
    memcpy(text, jwt.signed_by.ptr, jwt.signed_by.len);
    memcpy(signature, jwt.signature.ptr, jwt.signature.len);
    jwt.signed_by.ptr = text;
    jwt.signature.ptr = signature;
    ck_assert_int_eq(jwt_verify(&jwt, set), KIST_OK);
    for (size_t i = 0; i < jwt.signed_by.len + jwt.signature.len; i++) {
        uint8_t *byte = i < jwt.signed_by.len ? text + i : signature + (i - jwt.signed_by.len);
        *byte ^= 1;
        ck_assert_int_eq(jwt_verify(&jwt, set), KIST_E_SIGNATURE);
        *byte ^= 1;
    }
    for (size_t len = 0; len < jwt.signature.len; len++) {
        struct jwt shorter = jwt;
        shorter.signature.len = len;
        ck_assert_int_eq(jwt_verify(&shorter, set), KIST_E_SIGNATURE);
    }
    jwks_unref(set);
}
END_TEST

static const struct {
    const char *json;
    size_t count; /* SIZE_MAX: no set */
} sets[] = {
    { BOTH, 2 },
    { "{\"keys\":[]}", 0 },
    { "{}", SIZE_MAX },
    { "[]", SIZE_MAX },
    { "", SIZE_MAX },
    { "{\"keys\":{}}", SIZE_MAX },
    { "{\"keys\":[1,null,{},{\"kty\":\"oct\",\"k\":\"AAAA\"},{\"kty\":\"RSA\"}]}", 0 },
    { "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", 0 },
    { "{\"keys\":[" JWT_KEY_WEAK "]}", 0 },
    /* (1, 1) is not on the curve */
    { "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
      "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\","
      "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE\"}]}",
      0 },
    { "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AQ\",\"y\":\"AQ\"}]}", 0 },
};

START_TEST(test_set)
{
    struct jwks *set = NULL;
    if (sets[_i].count != SIZE_MAX)
        set = set_of(sets[_i].json, sets[_i].count);
    else
        ck_assert_int_eq(jwks_parse(bytes_str(sets[_i].json), &set), KIST_E_INVALID);
    jwks_unref(set);
}
END_TEST

/* ---- issuers ---- */

static const struct {
    const char *url, *name; /* NULL: not to be stored */
} urls[] = {
    { "https://id.example.com", "id.example.com" },
    { "https://id.example.com/", "id.example.com/" },
    { "https://id.example.com:8443/a/b", "id.example.com:8443/a/b" },
    { "http://127.0.0.1:8080/x", "127.0.0.1:8080/x" },
    { "http://localhost", "localhost" },
    { "http://[::1]:80", "[::1]:80" },
    { "http://id.example.com", NULL },
    { "http://localhost.example.com", NULL },
    { "http://127.0.0.1@example.com", NULL },
    { "https://a@b", NULL },
    { "https://a?b", NULL },
    { "https://a/b#c", NULL },
    { "https://a/b?c", NULL },
    { "https://a b", NULL },
    { "https:///a", NULL },
    { "https://", NULL },
    { "file:///etc/passwd", NULL },
    { "", NULL },
};

START_TEST(test_url)
{
    struct bytes url = bytes_str(urls[_i].url);
    ck_assert_msg(oidc_url_is_valid(url) == (urls[_i].name != NULL), "%s", urls[_i].url);
    if (urls[_i].name)
        ck_assert(bytes_equal(oidc_url_name(url), bytes_str(urls[_i].name)));
}
END_TEST

START_TEST(test_each_peer_has_a_rate)
{
    struct oidc *o = NULL;
    ck_assert_int_eq(oidc_open(env_real(), &o), KIST_OK);
    unsigned admitted = 0;
    while (admitted < 100000 && oidc_admit(o, BYTES_LIT("192.0.2.1")))
        admitted++;
    ck_assert_uint_ge(admitted, 100);
    ck_assert_uint_lt(admitted, 100000);
    ck_assert(oidc_admit(o, BYTES_LIT("192.0.2.2")));
    oidc_close(o);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("jwt");
    TCase *t = tcase_create("tables");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_claims, 0, ARRAY_LEN(claims));
    tcase_add_loop_test(t, test_broken, 0, ARRAY_LEN(broken));
    tcase_add_loop_test(t, test_signature, 0, ARRAY_LEN(signatures));
    tcase_add_loop_test(t, test_set, 0, ARRAY_LEN(sets));
    tcase_add_loop_test(t, test_url, 0, ARRAY_LEN(urls));
    tcase_add_test(t, test_what_is_read);
    tcase_add_test(t, test_cut_and_spoilt);
    tcase_add_test(t, test_too_long);
    tcase_add_test(t, test_every_byte_counts);
    tcase_add_test(t, test_each_peer_has_a_rate);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
