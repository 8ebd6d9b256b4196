/* What travels with an object: headers, user metadata, tags, storage class. */
#include "server/s3/acl.h"

#define METADATA_BYTES_MAX 2048
#define STORED_HEADERS 7

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html */
static const struct {
    const char *in, *out;
} stored[STORED_HEADERS] = {
    { "content-type", "Content-Type" },
    { "cache-control", "Cache-Control" },
    { "content-disposition", "Content-Disposition" },
    { "content-encoding", "Content-Encoding" },
    { "content-language", "Content-Language" },
    { "expires", "Expires" },
    { "x-amz-website-redirect-location", "x-amz-website-redirect-location" },
};

static Kist__Pair *pair_new(struct s3_request *r, struct bytes name, struct bytes value)
{
    Kist__Pair *p = arena_alloc(r->arena, sizeof(*p));
    if (!p)
        return NULL;
    kist__pair__init(p);
    p->name = s3_str(r, name);
    p->value = s3_str(r, value);
    return p;
}

/* "aws-chunked" is framing, not part of the object. */
static struct bytes without_aws_chunked(struct bytes v)
{
    static const struct bytes word = { (const uint8_t *)"aws-chunked", 11 };
    if (bytes_equal_nocase(v, word))
        return BYTES_EMPTY;
    if (v.len > word.len && bytes_equal_nocase(bytes_of(v.ptr, word.len), word) &&
        v.ptr[word.len] == ',') {
        v = bytes_of(v.ptr + word.len + 1, v.len - word.len - 1);
        while (v.len && v.ptr[0] == ' ')
            v = bytes_of(v.ptr + 1, v.len - 1);
    } else if (v.len > word.len + 1) {
        struct bytes tail = bytes_of(v.ptr + v.len - word.len, word.len);
        if (bytes_equal_nocase(tail, word)) {
            v.len -= word.len;
            while (v.len && (v.ptr[v.len - 1] == ' ' || v.ptr[v.len - 1] == ','))
                v.len--;
        }
    }
    return v;
}

static bool parse_headers(struct s3_request *r, struct s3_meta *out)
{
    out->headers = arena_alloc(r->arena, STORED_HEADERS * sizeof(*out->headers));
    if (!out->headers)
        return false;
    for (size_t i = 0; i < STORED_HEADERS; i++) {
        struct bytes value = s3_header(r, stored[i].in);
        if (strcmp(stored[i].in, "content-encoding") == 0)
            value = without_aws_chunked(value);
        if (!value.ptr || !value.len)
            continue;
        Kist__Pair *p = pair_new(r, bytes_str(stored[i].out), value);
        if (!p)
            return false;
        out->headers[out->n_headers++] = p;
    }
    return true;
}

static bool is_metadata(struct bytes name, struct bytes *key)
{
    static const struct bytes prefix = { (const uint8_t *)"x-amz-meta-", 11 };
    if (name.len <= prefix.len || !bytes_equal_nocase(bytes_of(name.ptr, prefix.len), prefix))
        return false;
    *key = bytes_of(name.ptr + prefix.len, name.len - prefix.len);
    return true;
}

static bool add_metadata(struct s3_request *r, struct bytes name, struct bytes value,
                         size_t *total, struct s3_meta *out)
{
    struct bytes key;
    if (!is_metadata(name, &key))
        return true;
    *total += key.len + value.len;
    if (*total > METADATA_BYTES_MAX) {
        s3_fail(r, S3_METADATA_TOO_LARGE);
        return false;
    }
    Kist__Pair *p = pair_new(r, key, value);
    if (!p) {
        s3_fail(r, S3_SLOW_DOWN);
        return false;
    }
    out->metadata[out->n_metadata++] = p;
    return true;
}

static bool parse_metadata(struct s3_request *r, struct s3_meta *out)
{
    size_t total = 0;
    size_t most = r->http->header_count + r->param_count;
    out->metadata = arena_alloc(r->arena, most * sizeof(*out->metadata) + 1);
    if (!out->metadata)
        return false;
    for (size_t i = 0; !r->is_form && i < r->http->header_count; i++)
        if (!add_metadata(r, r->http->headers[i].name, r->http->headers[i].value, &total, out))
            return false;
    for (size_t i = 0; (r->who.presigned || r->is_form) && i < r->param_count; i++)
        if (!add_metadata(r, r->params[i].name, r->params[i].value, &total, out))
            return false;
    return true;
}

/* Stored and echoed; the bytes live in one place all the same. */
static bool parse_storage_class(struct s3_request *r, struct s3_meta *out)
{
    static const char *const classes[] = {
        "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA",     "INTELLIGENT_TIERING",
        "GLACIER",  "DEEP_ARCHIVE",       "GLACIER_IR",  "EXPRESS_ONEZONE"
    };
    struct bytes value = s3_header(r, "x-amz-storage-class");
    static char standard[1];
    out->storage_class = standard;
    if (!value.len)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (bytes_equal(value, bytes_str(classes[i]))) {
            if (i > 0)
                out->storage_class = s3_str(r, value);
            return true;
        }
    s3_fail(r, S3_INVALID_STORAGE_CLASS);
    return false;
}

bool s3_meta_parse(struct s3_request *r, struct s3_meta *out)
{
    if (!s3_refuse_offset(r) || !s3_acl_of_object(r, &out->acl) || !parse_storage_class(r, out) ||
        !s3_lock_parse(r, &out->lock))
        return false;
    if (!parse_headers(r, out)) {
        s3_fail(r, S3_SLOW_DOWN);
        return false;
    }
    return parse_metadata(r, out) && s3_meta_tags(r, out) && s3_seal_parse(r);
}

void s3_meta_fill(const struct s3_meta *meta, Kist__Object *o)
{
    o->n_headers = meta->n_headers;
    o->headers = meta->headers;
    o->n_metadata = meta->n_metadata;
    o->metadata = meta->metadata;
    o->n_tags = meta->n_tags;
    o->tags = meta->tags;
    o->storage_class = meta->storage_class;
    o->lock_mode = meta->lock.mode;
    o->retain_until_ms = meta->lock.until_ms;
    o->legal_hold = meta->lock.hold;
    o->acl = meta->acl;
}

/* ---- tags ---- */

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html */
static size_t characters(struct bytes utf8)
{
    size_t n = 0;
    for (size_t i = 0; i < utf8.len; i++)
        n += (utf8.ptr[i] & 0xC0) != 0x80;
    return n;
}

static const char *tag_problem(struct bytes name, struct bytes value)
{
    if (name.len == 0 || characters(name) > 128 || bytes_starts_with(name, BYTES_LIT("aws:")))
        return "The TagKey you have provided is invalid";
    if (characters(value) > 256)
        return "The TagValue you have provided is invalid";
    return NULL;
}

static bool add_tag(struct s3_request *r, struct bytes name, struct bytes value, size_t limit,
                    size_t *n, Kist__Pair **tags)
{
    const char *problem = tag_problem(name, value);
    for (size_t i = 0; i < *n && !problem; i++)
        if (bytes_equal(bytes_str(tags[i]->name), name))
            problem = "Cannot provide multiple Tags with the same key";
    if (problem) {
        s3_fail_message(r, S3_INVALID_TAG, problem);
        return false;
    }
    if (*n == limit) {
        s3_fail_message(r, S3_TOO_MANY_TAGS,
                        limit == 10 ? "Object tags cannot be greater than 10"
                                    : "Bucket tag count cannot be greater than 50");
        return false;
    }
    tags[*n] = pair_new(r, name, value);
    if (!tags[*n]) {
        s3_fail(r, S3_SLOW_DOWN);
        return false;
    }
    ++*n;
    return true;
}

static bool decode_part(struct s3_request *r, struct bytes in, struct bytes *out)
{
    uint8_t *text = arena_alloc(r->arena, in.len + 1);
    size_t len;
    if (!text || uri_decode(in, true, text, &len) != KIST_OK ||
        !bytes_is_utf8(bytes_of(text, len)) || memchr(text, 0, len))
        return false;
    *out = bytes_of(text, len);
    return true;
}

/* x-amz-tagging: a URL query; of a form, a document. */
bool s3_meta_tags(struct s3_request *r, struct s3_meta *out)
{
    struct bytes header = s3_header(r, "x-amz-tagging");
    if (!header.len)
        return true;
    if (r->is_form)
        return s3_tags_from_xml(r, header, 10, &out->n_tags, &out->tags);
    out->tags = arena_alloc(r->arena, 10 * sizeof(*out->tags));
    for (size_t at = 0; out->tags && at < header.len;) {
        size_t end = bytes_find(header, BYTES_LIT("&"), at);
        end = end == SIZE_MAX ? header.len : end;
        struct bytes part = bytes_of(header.ptr + at, end - at);
        size_t eq = bytes_find(part, BYTES_LIT("="), 0);
        struct bytes name = bytes_of(part.ptr, eq == SIZE_MAX ? part.len : eq);
        struct bytes value = eq == SIZE_MAX ? bytes_of(part.ptr, 0)
                                            : bytes_of(part.ptr + eq + 1, part.len - eq - 1);
        at = end + 1;
        if (!decode_part(r, name, &name) || !decode_part(r, value, &value)) {
            s3_fail_argument(
                r, "x-amz-tagging", header,
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded "
                "URL query parameters without tag name duplicates.");
            return false;
        }
        if (!add_tag(r, name, value, 10, &out->n_tags, out->tags))
            return false;
    }
    if (!out->tags)
        s3_fail(r, S3_SLOW_DOWN);
    return out->tags != NULL;
}

bool s3_tags_from_xml(struct s3_request *r, struct bytes xml, size_t limit, size_t *n,
                      Kist__Pair ***out)
{
    struct s3_xml_node *root = NULL;
    enum kist_err err = s3_xml_parse(xml, r->arena, &root);
    bool fits = err == KIST_OK && strcmp(root->name, "Tagging") == 0;
    return s3_tags_from_set(r, fits ? s3_xml_child(root, "TagSet") : NULL, limit, n, out);
}

bool s3_tags_from_set(struct s3_request *r, const struct s3_xml_node *set, size_t limit,
                      size_t *n, Kist__Pair ***out)
{
    Kist__Pair **tags = arena_alloc(r->arena, limit * sizeof(*tags));
    if (!set || !tags) {
        s3_fail(r, S3_MALFORMED_XML);
        return false;
    }
    *n = 0;
    for (const struct s3_xml_node *tag = set->child; tag; tag = tag->next) {
        struct bytes name = s3_xml_child_text(tag, "Key");
        struct bytes value = s3_xml_child_text(tag, "Value");
        if (strcmp(tag->name, "Tag") != 0 || !name.ptr || !value.ptr) {
            s3_fail(r, S3_MALFORMED_XML);
            return false;
        }
        if (!add_tag(r, name, value, limit, n, tags))
            return false;
    }
    *out = tags;
    return true;
}

void s3_tags_reply(struct s3_request *r, size_t n, Kist__Pair **tags)
{
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, "Tagging");
    s3_xml_open(&x, "TagSet");
    for (size_t i = 0; i < n; i++) {
        s3_xml_open(&x, "Tag");
        s3_xml_str(&x, "Key", tags[i]->name);
        s3_xml_str(&x, "Value", tags[i]->value);
        s3_xml_close(&x, "Tag");
    }
    s3_xml_close(&x, "TagSet");
    s3_xml_reply(r, &x, "Tagging");
}

bool s3_refuse_offset(struct s3_request *r)
{
    if (s3_operations[r->op_index].handle == s3_put_object ||
        !s3_header(r, "x-amz-write-offset-bytes").ptr)
        return true;
    s3_fail_message(r, S3_INVALID_REQUEST,
                    "x-amz-write-offset-bytes is not a header of this operation.");
    return false;
}

/* ---- replies ---- */

static bool has_header(const Kist__Object *o, const char *name)
{
    for (size_t i = 0; i < o->n_headers; i++)
        if (strcmp(o->headers[i]->name, name) == 0)
            return true;
    return false;
}

/* Of the object that the event behind the invocation spoke of; empty: there was none. */
static struct bytes lineage_source(struct s3_request *r, const Kist__Lineage *l)
{
    struct buf out;
    bool ok = true;
    if (!l->bucket[0])
        return BYTES_EMPTY;
    buf_init(&out, 8 << 10);
    ok = buf_append_str(&out, l->bucket) == KIST_OK && buf_append_str(&out, "/") == KIST_OK &&
         uri_encode(&out, schema_bytes(l->key), true) == KIST_OK;
    if (ok && l->version[0])
        ok = buf_append_str(&out, "?versionId=") == KIST_OK &&
             uri_encode(&out, bytes_str(l->version), false) == KIST_OK;
    struct bytes source = ok ? arena_copy(r->arena, buf_bytes(&out)) : BYTES_EMPTY;
    buf_release(&out);
    return source;
}

/* Which function wrote it, and why. x-amz-meta-* is the user's, so the names are our own. */
static void lineage_headers(struct s3_request *r, const Kist__Lineage *l)
{
    if (!l)
        return;
    struct bytes source = lineage_source(r, l);
    if (l->function[0])
        s3_add_header_str(r, "x-kist-lineage-function", l->function);
    if (l->event_id[0])
        s3_add_header_str(r, "x-kist-lineage-event", l->event_id);
    if (source.len)
        s3_add_header(r, "x-kist-lineage-source", source);
    char *depth = arena_printf(r->arena, "%u", l->depth);
    if (depth)
        s3_add_header_str(r, "x-kist-lineage-depth", depth);
    if (l->trace[0])
        s3_add_header_str(r, "x-kist-lineage-trace", l->trace);
}

void s3_meta_reply(struct s3_request *r, const Kist__Object *o, bool default_type)
{
    char date[TIME_HTTP_LEN];
    time_http(o->mtime_ms, date);
    s3_add_header_str(r, "Last-Modified", date);
    s3_add_header(r, "ETag", s3_etag(r->arena, schema_bytes(o->etag), o->part_count));
    s3_version_header(r, s3_versioned(r), o->version);
    s3_add_header_str(r, "Accept-Ranges", "bytes");
    if (default_type && !has_header(o, "Content-Type"))
        s3_add_header_str(r, "Content-Type", "binary/octet-stream");
    for (size_t i = 0; i < o->n_headers; i++)
        s3_add_header_str(r, o->headers[i]->name, o->headers[i]->value);
    for (size_t i = 0; i < o->n_metadata; i++) {
        char *name = arena_printf(r->arena, "x-amz-meta-%s", o->metadata[i]->name);
        if (name)
            s3_add_header_str(r, name, o->metadata[i]->value);
    }
    if (o->n_tags)
        s3_add_header_str(r, "x-amz-tagging-count", arena_printf(r->arena, "%zu", o->n_tags));
    if (o->storage_class[0])
        s3_add_header_str(r, "x-amz-storage-class", o->storage_class);
    s3_lock_headers(r, o);
    s3_seal_headers(r, o->seal);
    lineage_headers(r, o->lineage);
    if (r->version == VERSION_CURRENT)
        s3_lifecycle_header(r, o);
}
