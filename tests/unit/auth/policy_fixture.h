/* What the tests of policies share: requests, their condition keys, and parsing. */
#ifndef KIST_TESTS_UNIT_AUTH_POLICY_FIXTURE_H
#define KIST_TESTS_UNIT_AUTH_POLICY_FIXTURE_H

#include "auth/policy_internal.h"
#include "tests/lib/suite.h"

#define ACCOUNT "123456789012"
#define USER "arn:aws:iam::123456789012:user/ann"
#define CANONICAL "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"

static struct arena arena;

static inline void setup(void)
{
    arena_init(&arena, (size_t)8 << 20);
}

static inline void teardown(void)
{
    arena_release(&arena);
}

/* The request's keys: "name=value|value" lines. */
struct keys {
    const char *text;
    struct bytes values[16];
};

static inline bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    struct keys *k = ctx;
    for (const char *line = k->text; line && *line;) {
        size_t len = strcspn(line, "\n"), eq = strcspn(line, "=");
        if (bytes_equal_nocase(bytes_of(line, eq), key)) {
            size_t count = 0;
            for (size_t at = eq + 1; at <= len && count < 16;) {
                size_t n = strcspn(line + at, "|\n");
                k->values[count++] = bytes_of(line + at, n);
                at += n + 1;
            }
            *out = (struct policy_values){ k->values, eq + 1 == len ? 0 : count };
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

static inline struct policy *parse(const char *json, enum policy_kind kind)
{
    struct policy *p = NULL;
    const char *reason = NULL;
    enum kist_err err = policy_parse(bytes_str(json), kind, BYTES_LIT("b"), &arena, &p, &reason);
    ck_assert_msg(err == KIST_OK, "%s: %s", json, reason ? reason : "");
    return p;
}

static inline struct policy_request request_of(const char *action, const char *resource,
                                               struct keys *keys)
{
    return (struct policy_request){
        .principal = { .account = BYTES_LIT(ACCOUNT),
                       .arn = BYTES_LIT(USER),
                       .canonical = BYTES_LIT(CANONICAL) },
        .action = bytes_str(action),
        .resource = bytes_str(resource),
        .context = context,
        .ctx = keys,
    };
}

#endif
