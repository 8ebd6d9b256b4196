/* Fuzzes the condition operators. The input: a byte that chooses the operator, then lines: the
 * policy's value and the request's. Beside "no crash, no overrun": an operator and its negation
 * never agree about a key that is there; a key that is not there satisfies IfExists; and what a
 * policy variable brings in is compared letter by letter, whatever wildcards it holds. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>

#include "auth/policy_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const pairs[][2] = {
    { "StringEquals", "StringNotEquals" },
    { "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase" },
    { "StringLike", "StringNotLike" },
    { "NumericEquals", "NumericNotEquals" },
    { "NumericLessThan", "NumericGreaterThanEquals" },
    { "NumericGreaterThan", "NumericLessThanEquals" },
    { "DateEquals", "DateNotEquals" },
    { "DateLessThan", "DateGreaterThanEquals" },
    { "DateGreaterThan", "DateLessThanEquals" },
    { "IpAddress", "NotIpAddress" },
    { "ArnEquals", "ArnNotEquals" },
    { "ArnLike", "ArnNotLike" },
    { "Bool", NULL },
    { "BinaryEquals", NULL },
};

struct keys {
    struct bytes prefix, user; /* s3:prefix, aws:username; ptr NULL: not there */
    struct bytes one;
};

static bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    struct keys *k = ctx;
    k->one = BYTES_EMPTY;
    if (bytes_equal_nocase(key, BYTES_LIT("s3:prefix")))
        k->one = k->prefix;
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:username")))
        k->one = k->user;
    *out = (struct policy_values){ &k->one, 1 };
    return k->one.ptr != NULL;
}

/* -1: the document is refused. */
static int allows(const char *op, const char *suffix, struct bytes value, struct keys *keys)
{
    struct arena arena;
    struct policy *p = NULL;
    const char *reason = NULL;
    int verdict = -1;
    char name[64];
    snprintf(name, sizeof(name), "%s%s", op, suffix);
    json_t *text = json_stringn((const char *)value.ptr, value.len);
    json_t *root = text ? json_pack("{s:s, s:{s:s, s:s, s:s, s:s, s:{s:{s:o}}}}", "Version",
                                    "2012-10-17", "Statement", "Effect", "Allow", "Principal",
                                    "*", "Action", "s3:ListBucket", "Resource", "arn:aws:s3:::b",
                                    "Condition", name, "s3:prefix", text)
                        : NULL;
    char *document = root ? json_dumps(root, JSON_COMPACT) : NULL;
    arena_init(&arena, (size_t)1 << 20);
    if (document && policy_parse(bytes_str(document), POLICY_RESOURCE, BYTES_LIT("b"), &arena, &p,
                                 &reason) == KIST_OK) {
        struct policy_request r = { .principal = { .account = BYTES_LIT("123456789012") },
                                    .action = BYTES_LIT("s3:ListBucket"),
                                    .resource = BYTES_LIT("arn:aws:s3:::b"),
                                    .context = context,
                                    .ctx = keys };
        verdict = policy_evaluate(p, &r) == POLICY_ALLOW;
    }
    arena_release(&arena);
    free(document);
    json_decref(root);
    return verdict;
}

static void judge(size_t pair, struct bytes value, struct bytes given)
{
    struct keys there = { .prefix = given, .user = BYTES_LIT("u") }, absent = { .user = given };
    int yes = allows(pairs[pair][0], "", value, &there);
    if (pairs[pair][1]) {
        int no = allows(pairs[pair][1], "", value, &there);
        if (yes == 1 && no == 1)
            abort();
        (void)allows(pairs[pair][1], "IfExists", value, &there);
    }
    if (allows(pairs[pair][0], "IfExists", value, &absent) == 0)
        abort();
}

static void judge_variable(struct bytes user, struct bytes given)
{
    struct keys keys = { .prefix = given, .user = user };
    int like = allows("StringLike", "", BYTES_LIT("${aws:username}"), &keys);
    if (like == 1 && !bytes_equal(user, given))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data + (size > 0), size - (size > 0));
    size_t cut = bytes_find(in, BYTES_LIT("\n"), 0);
    if (size < 2 || cut == SIZE_MAX || size > 4096)
        return 0;
    struct bytes value = bytes_of(in.ptr, cut);
    struct bytes given = bytes_of(in.ptr + cut + 1, in.len - cut - 1);
    judge(data[0] % ARRAY_LEN(pairs), value, given);
    judge_variable(value, given);
    return 0;
}
