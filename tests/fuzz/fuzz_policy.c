/* Fuzzes policy documents and their evaluation. The input is a document, a line with a single
 * '%', then "key=value" lines of the request. Beside "no crash, no overrun": a document's verdict
 * does not change when it is asked twice, and what a denial for all covers is never allowed. */
#include <stdint.h>
#include <stdlib.h>

#include "auth/policy_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct keys {
    struct bytes text, value;
};

static bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    struct keys *k = ctx;
    for (size_t at = 0; at < k->text.len;) {
        size_t end = bytes_find(k->text, BYTES_LIT("\n"), at);
        end = end == SIZE_MAX ? k->text.len : end;
        struct bytes line = bytes_of(k->text.ptr + at, end - at);
        size_t eq = bytes_find(line, BYTES_LIT("="), 0);
        at = end + 1;
        if (eq == SIZE_MAX || !bytes_equal_nocase(bytes_of(line.ptr, eq), key))
            continue;
        k->value = bytes_of(line.ptr + eq + 1, line.len - eq - 1);
        *out = (struct policy_values){ &k->value, 1 };
        return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    size_t cut = bytes_find(in, BYTES_LIT("\n%\n"), 0);
    struct bytes document = bytes_of(in.ptr, cut == SIZE_MAX ? in.len : cut);
    struct keys keys = { .text = cut == SIZE_MAX ? BYTES_EMPTY
                                                 : bytes_of(in.ptr + cut + 3, in.len - cut - 3) };
    struct arena arena;
    arena_init(&arena, (size_t)4 << 20);
    for (int kind = POLICY_RESOURCE; kind <= POLICY_IDENTITY; kind++) {
        struct policy *p = NULL;
        const char *reason = NULL;
        if (policy_parse(document, (enum policy_kind)kind, BYTES_LIT("b"), &arena, &p, &reason) !=
            KIST_OK)
            continue;
        struct policy_request r = { .principal = { .account = BYTES_LIT("123456789012") },
                                    .action = BYTES_LIT("s3:GetObject"),
                                    .resource = BYTES_LIT("arn:aws:s3:::b/k"),
                                    .context = context,
                                    .ctx = &keys };
        enum policy_verdict verdict = policy_evaluate(p, &r);
        struct access_question q = {
            .request = &r, .bucket = p, .is_account_root = true, .same_account = true
        };
        if (policy_evaluate(p, &r) != verdict ||
            (verdict == POLICY_DENY && access_is_allowed(&q)))
            abort();
        (void)policy_is_public(p);
    }
    arena_release(&arena);
    return 0;
}
