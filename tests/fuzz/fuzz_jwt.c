/* Tokens of other issuers and their key sets: both come from outside, the token from anybody.
 * The input is a token, a line feed, and a key set. A signature is never found good here: no
 * fuzzer has a private key; but for a token and a set of the corpus, which are a pair. */
#include <stdlib.h>

#include "auth/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t sum(const struct jwt *t)
{
    size_t n = t->kid.len + t->issuer.len + t->subject.len + t->audience.len;
    for (size_t i = 0; i < t->method_count; i++)
        n += t->methods[i].len;
    for (size_t i = 0; i < t->signature.len; i++)
        n += t->signature.ptr[i] & 1;
    return n;
}

/* What a parsed token must be. */
static void check(const struct jwt *t)
{
    if (t->issuer.len == 0 || t->subject.len == 0 || t->audience.len == 0 || sum(t) < 3 ||
        t->algorithm >= JWT_ALGORITHM_COUNT || t->expires_ms < 0 || t->issued_ms < 0 ||
        t->not_before_ms < 0)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    size_t cut = bytes_find(in, BYTES_LIT("\n"), 0);
    struct bytes token = bytes_of(data, cut == SIZE_MAX ? size : cut);
    struct bytes rest = cut == SIZE_MAX ? in : bytes_of(data + cut + 1, size - cut - 1);
    struct arena arena;
    struct jwt jwt = { .kid = BYTES_EMPTY };
    struct jwks *set = NULL;
    const char *problem = NULL;
    arena_init(&arena, (size_t)1 << 20);
    enum kist_err err = jwt_parse(token, &arena, &jwt, &problem);
    if (err == KIST_OK)
        check(&jwt);
    else if (err == KIST_E_TOKEN && !problem)
        __builtin_trap();
    if (jwks_parse(rest, &set) == KIST_OK) {
        if (jwks_count(set) > JWKS_KEYS_MAX)
            __builtin_trap();
        if (err == KIST_OK)
            (void)!jwt_verify(&jwt, set);
    }
    jwks_unref(set);
    arena_release(&arena);
    return 0;
}
