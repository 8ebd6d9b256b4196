/* Conditional requests: RFC 9110 section 13, and S3's conditional writes. */
#include <stdio.h>

#include "server/s3/internal.h"

struct bytes s3_etag(struct arena *arena, struct bytes md5, uint32_t parts)
{
    char hex[65], tail[16] = "\"";
    if (md5.len > 32)
        md5.len = 32;
    hex_encode(md5, hex);
    if (parts)
        snprintf(tail, sizeof(tail), "-%u\"", parts);
    size_t len = 2 * md5.len, tail_len = strlen(tail);
    char *text = arena_alloc(arena, 1 + len + tail_len + 1);
    if (!text)
        return BYTES_EMPTY;
    text[0] = '"';
    memcpy(text + 1, hex, len);
    memcpy(text + 1 + len, tail, tail_len + 1);
    return bytes_of(text, 1 + len + tail_len);
}

/* An entity tag without W/ and quotes; S3's clients send them with and without. */
static struct bytes bare(struct bytes tag)
{
    tag = bytes_trim(tag, " \t");
    if (tag.len >= 2 && tag.ptr[0] == 'W' && tag.ptr[1] == '/')
        tag = bytes_of(tag.ptr + 2, tag.len - 2);
    if (tag.len >= 2 && tag.ptr[0] == '"' && tag.ptr[tag.len - 1] == '"')
        tag = bytes_of(tag.ptr + 1, tag.len - 2);
    return tag;
}

/* The next of a comma-separated list; false at its end. */
static bool next_tag(struct bytes list, size_t *at, struct bytes *tag)
{
    if (*at >= list.len)
        return false;
    size_t end = bytes_find(list, BYTES_LIT(","), *at);
    end = end == SIZE_MAX ? list.len : end;
    *tag = bare(bytes_of(list.ptr + *at, end - *at));
    *at = end + 1;
    return true;
}

static bool tag_matches(struct bytes list, struct bytes etag)
{
    struct bytes tag;
    size_t at = 0;
    while (next_tag(list, &at, &tag))
        if (bytes_equal(tag, BYTES_LIT("*")) || bytes_equal(tag, bare(etag)))
            return true;
    return false;
}

static struct bytes prefixed(const struct s3_request *r, const char *prefix, const char *name)
{
    char header[64];
    if (!*prefix)
        return s3_header(r, name);
    snprintf(header, sizeof(header), "%s%s", prefix, name);
    return s3_header(r, header);
}

/* RFC 9110 section 13.2.2: the order of evaluation. Dates that do not parse are ignored. */
enum s3_error s3_check_read(const struct s3_request *r, const Kist__Object *o,
                            const char *header_prefix, bool *not_modified)
{
    struct bytes etag = s3_etag(r->arena, schema_bytes(o->etag), o->part_count);
    struct bytes match = prefixed(r, header_prefix, "if-match");
    struct bytes unmodified = prefixed(r, header_prefix, "if-unmodified-since");
    struct bytes none_match = prefixed(r, header_prefix, "if-none-match");
    struct bytes modified = prefixed(r, header_prefix, "if-modified-since");
    int64_t second = o->mtime_ms / 1000, when;
    *not_modified = false;
    if (match.ptr) {
        if (!tag_matches(match, etag))
            return S3_PRECONDITION_FAILED;
    } else if (unmodified.ptr && time_parse_http(unmodified, &when) == KIST_OK &&
               second > when / 1000) {
        return S3_PRECONDITION_FAILED;
    }
    if (none_match.ptr)
        *not_modified = tag_matches(none_match, etag);
    else if (modified.ptr && time_parse_http(modified, &when) == KIST_OK)
        *not_modified = second <= when / 1000;
    return S3_ERROR_COUNT;
}

static bool tags_to_list(struct s3_request *r, struct bytes list, size_t *n, char ***out)
{
    struct bytes tag;
    size_t at = 0, count = 0;
    char **tags = arena_alloc(r->arena, (list.len + 1) * sizeof(*tags));
    if (!tags)
        return false;
    while (next_tag(list, &at, &tag))
        tags[count++] = s3_str(r, tag);
    *n = count;
    *out = tags;
    return true;
}

/* One of If-Match and If-None-Match into the condition. */
static bool etag_condition(struct s3_request *r, struct bytes match, struct bytes none_match,
                           Kist__Condition *c)
{
    bool ok = true;
    if (match.ptr && none_match.ptr) {
        s3_fail(r, S3_NOT_IMPLEMENTED);
        return false;
    }
    if (none_match.ptr && bytes_equal(bytes_trim(none_match, " \t"), BYTES_LIT("*")))
        c->must_not_exist = true;
    else if (none_match.ptr)
        ok = tags_to_list(r, none_match, &c->n_not_etags, &c->not_etags);
    else if (match.ptr && bytes_equal(bytes_trim(match, " \t"), BYTES_LIT("*")))
        c->must_exist = true;
    else if (match.ptr)
        ok = tags_to_list(r, match, &c->n_etags, &c->etags);
    if (!ok)
        s3_fail(r, S3_SLOW_DOWN);
    return ok;
}

static Kist__Condition *new_condition(struct s3_request *r)
{
    Kist__Condition *c = arena_alloc(r->arena, sizeof(*c));
    if (c)
        kist__condition__init(c);
    else
        s3_fail(r, S3_SLOW_DOWN);
    return c;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html */
bool s3_write_condition(struct s3_request *r, Kist__Condition **out)
{
    struct bytes match = exchange_header(r->x, "if-match");
    struct bytes none_match = exchange_header(r->x, "if-none-match");
    *out = NULL;
    if (!match.ptr && !none_match.ptr)
        return true;
    Kist__Condition *c = new_condition(r);
    if (!c || !etag_condition(r, match, none_match, c))
        return false;
    *out = c;
    return true;
}

bool s3_rename_condition(struct s3_request *r, const char *prefix, Kist__Condition **out)
{
    struct bytes modified = prefixed(r, prefix, "if-modified-since");
    struct bytes unmodified = prefixed(r, prefix, "if-unmodified-since");
    int64_t when;
    Kist__Condition *c = new_condition(r);
    if (!c || !etag_condition(r, prefixed(r, prefix, "if-match"),
                              prefixed(r, prefix, "if-none-match"), c))
        return false;
    if (modified.ptr && time_parse_http(modified, &when) == KIST_OK)
        c->modified_since_ms = when;
    if (unmodified.ptr && time_parse_http(unmodified, &when) == KIST_OK)
        c->unmodified_since_ms = when;
    *out = c;
    return true;
}
