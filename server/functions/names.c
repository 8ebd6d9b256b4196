#include "server/functions/internal.h"

/* ARNs of functions.
 * https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html */

static bool take_part(struct bytes *rest, struct bytes *part)
{
    size_t colon = bytes_find(*rest, BYTES_LIT(":"), 0);
    if (!rest->ptr)
        return false;
    *part = bytes_of(rest->ptr, colon == SIZE_MAX ? rest->len : colon);
    *rest =
        colon == SIZE_MAX ? BYTES_EMPTY : bytes_of(rest->ptr + colon + 1, rest->len - colon - 1);
    return true;
}

enum kist_err function_id_parse(struct bytes arn, struct function_id *out)
{
    struct bytes rest = arn, arn_word, partition, service, region, kind;
    struct function_id id = { .qualifier = BYTES_EMPTY };
    if (!take_part(&rest, &arn_word) || !take_part(&rest, &partition) ||
        !take_part(&rest, &service) || !take_part(&rest, &region) ||
        !take_part(&rest, &id.account) || !take_part(&rest, &kind) || !take_part(&rest, &id.name))
        return KIST_E_INVALID;
    if (!bytes_equal(arn_word, BYTES_LIT("arn")) || !bytes_equal(service, BYTES_LIT("lambda")) ||
        !bytes_equal(kind, BYTES_LIT("function")) || id.account.len != ACCOUNT_ID_LEN ||
        id.name.len == 0)
        return KIST_E_INVALID;
    if (rest.ptr && (!take_part(&rest, &id.qualifier) || rest.ptr || id.qualifier.len == 0))
        return KIST_E_INVALID;
    *out = id;
    return KIST_OK;
}

char *function_arn(const struct functions *f, const struct function_id *id, struct arena *arena)
{
    return arena_printf(arena, "arn:aws:lambda:%s:%.*s:function:%.*s%s%.*s", f->config.region,
                        (int)id->account.len, (const char *)id->account.ptr, (int)id->name.len,
                        (const char *)id->name.ptr, id->qualifier.len ? ":" : "",
                        (int)id->qualifier.len,
                        id->qualifier.len ? (const char *)id->qualifier.ptr : "");
}
