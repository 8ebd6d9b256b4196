/* Tags of entities. Keys are equal in any case, and kept as they came.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html */
#include "server/s3/iam.h"

#define TAGS_MAX 50
/* In characters, which UTF-8 makes up to four bytes of. */
#define KEY_MAX 128
#define VALUE_MAX 256

static size_t characters(struct bytes s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += (s.ptr[i] & 0xC0) != 0x80;
    return n;
}

static bool is_plain(struct bytes s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < ' ' || s.ptr[i] == 0x7F)
            return false;
    return bytes_is_utf8(s);
}

static bool key_is_valid(struct bytes key)
{
    struct bytes head = bytes_of(key.ptr, key.len < 4 ? key.len : 4);
    return key.len > 0 && is_plain(key) && characters(key) <= KEY_MAX &&
           !bytes_equal_nocase(head, BYTES_LIT("aws:"));
}

static size_t find(const Kist__IamEntity *e, struct bytes key)
{
    size_t i = 0;
    while (i < e->n_tags && !bytes_equal_nocase(bytes_str(e->tags[i]->name), key))
        i++;
    return i;
}

/* False after an error reply. */
static bool put_one(struct s3_request *r, Kist__IamEntity *e, struct bytes key,
                    struct bytes value)
{
    size_t i = find(e, key);
    Kist__Pair *tag = arena_alloc(r->arena, sizeof(*tag));
    if (!tag) {
        iam_fail_err(r, KIST_E_NOMEM);
        return false;
    }
    if (i == TAGS_MAX) {
        iam_fail(r, 409, "LimitExceeded", "The number of tags has reached the maximum limit.");
        return false;
    }
    kist__pair__init(tag);
    tag->name = s3_str(r, key);
    tag->value = s3_str(r, value);
    e->tags[i] = tag;
    e->n_tags += i == e->n_tags;
    return true;
}

static bool is_duplicate(struct s3_request *r, size_t n, struct bytes key)
{
    for (size_t i = 1; i < n; i++) {
        char *param = arena_printf(r->arena, "Tags.member.%zu.Key", i);
        if (param && bytes_equal_nocase(s3_param(r, param), key))
            return true;
    }
    return false;
}

bool iam_tags_put(struct s3_request *r, Kist__IamEntity *e)
{
    Kist__Pair **room = arena_alloc(r->arena, TAGS_MAX * sizeof(*room));
    if (!room || e->n_tags > TAGS_MAX) {
        iam_fail_err(r, KIST_E_NOMEM);
        return false;
    }
    if (e->n_tags)
        memcpy(room, e->tags, e->n_tags * sizeof(*room));
    e->tags = room;
    for (size_t i = 1;; i++) {
        char *key_name = arena_printf(r->arena, "Tags.member.%zu.Key", i);
        char *value_name = arena_printf(r->arena, "Tags.member.%zu.Value", i);
        if (!key_name || !value_name || !s3_has_param(r, key_name))
            return true;
        struct bytes key = s3_param(r, key_name), value = s3_param(r, value_name);
        if (!key_is_valid(key) || !is_plain(value) || characters(value) > VALUE_MAX) {
            iam_fail(r, 400, "InvalidInput", "A tag's key or value is invalid.");
            return false;
        }
        if (is_duplicate(r, i, key)) {
            iam_fail(r, 400, "InvalidInput",
                     "Duplicate tag keys found. Please note that Tag keys are case insensitive.");
            return false;
        }
        if (!put_one(r, e, key, value))
            return false;
    }
}

void iam_tags_remove(struct s3_request *r, Kist__IamEntity *e)
{
    for (size_t i = 1;; i++) {
        char *param = arena_printf(r->arena, "TagKeys.member.%zu", i);
        if (!param || !s3_has_param(r, param))
            return;
        size_t at = find(e, s3_param(r, param));
        if (at == e->n_tags)
            continue;
        e->n_tags--;
        memmove(&e->tags[at], &e->tags[at + 1], (e->n_tags - at) * sizeof(*e->tags));
    }
}

void iam_xml_tags(struct s3_xml *x, const Kist__IamEntity *e)
{
    s3_xml_open(x, "Tags");
    for (size_t i = 0; i < e->n_tags; i++) {
        s3_xml_open(x, "member");
        s3_xml_str(x, "Key", e->tags[i]->name);
        s3_xml_str(x, "Value", e->tags[i]->value);
        s3_xml_close(x, "member");
    }
    s3_xml_close(x, "Tags");
}
