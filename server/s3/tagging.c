/* Object tags; GetObjectAttributes.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html */
#include "server/s3/internal.h"

static void put_tags(struct s3_request *r, size_t n, Kist__Pair **tags,
                     void (*then)(struct s3_request *))
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObjectTags c = KIST__PUT_OBJECT_TAGS__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT_TAGS;
    command.put_object_tags = &c;
    c.bucket = s3_str(r, r->bucket);
    c.key = schema_data(r->key);
    c.n_tags = n;
    c.tags = tags;
    c.version = r->version;
    s3_commit(r, &command, then);
}

void s3_get_object_tagging(struct s3_request *r)
{
    Kist__Object *o = s3_head_row(r);
    if (!o)
        return;
    s3_version_header(r, s3_versioned(r), o->version);
    s3_tags_reply(r, o->n_tags, o->tags);
}

static void ok(struct s3_request *r)
{
    s3_version_header(r, r->op.result.versioned, r->op.result.version);
    s3_reply_empty(r, 200);
}

static void no_content(struct s3_request *r)
{
    s3_version_header(r, r->op.result.versioned, r->op.result.version);
    s3_reply_empty(r, 204);
}

static void put_tagging(struct s3_request *r)
{
    size_t n;
    Kist__Pair **tags;
    if (!s3_tags_from_xml(r, buf_bytes(&r->body->xml), 10, &n, &tags))
        return;
    r->asked = (struct s3_asked){ .known = true, .n_tags = n, .tags = tags };
    if (s3_authorize_body(r))
        put_tags(r, n, tags, ok);
}

void s3_put_object_tagging(struct s3_request *r)
{
    s3_read_xml(r, (size_t)128 << 10, put_tagging);
}

void s3_delete_object_tagging(struct s3_request *r)
{
    put_tags(r, 0, NULL, no_content);
}

/* ---- attributes ---- */

static bool wants(const struct s3_request *r, const char *name)
{
    struct bytes list = s3_header(r, "x-amz-object-attributes");
    struct bytes want = bytes_str(name);
    for (size_t at = 0; at < list.len;) {
        size_t end = bytes_find(list, BYTES_LIT(","), at);
        end = end == SIZE_MAX ? list.len : end;
        while (at < end && list.ptr[at] == ' ')
            at++;
        if (bytes_equal(bytes_of(list.ptr + at, end - at), want))
            return true;
        at = end + 1;
    }
    return false;
}

/* Every name in the list must be one that exists. */
static bool attributes_known(const struct s3_request *r)
{
    static const char *const known[] = { "ETag", "Checksum", "ObjectParts", "StorageClass",
                                         "ObjectSize" };
    struct bytes list = s3_header(r, "x-amz-object-attributes");
    size_t names = list.len ? 1 : 0, found = 0;
    for (size_t i = 0; i < list.len; i++)
        names += list.ptr[i] == ',';
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        found += wants(r, known[i]);
    return found == names;
}

static enum kist_err add_part_list(struct s3_request *r, struct s3_xml *x, uint64_t after,
                                   uint64_t max)
{
    struct part_info part;
    uint64_t count = 0;
    bool truncated = false;
    uint32_t last = (uint32_t)after;
    enum kist_err err = object_reader_next_part(r->reader, last, &part);
    while (err == KIST_OK && !truncated) {
        if (count++ == max) {
            truncated = true;
            break;
        }
        s3_xml_open(x, "Part");
        s3_xml_number(x, "PartNumber", part.number);
        s3_xml_number(x, "Size", part.size);
        s3_xml_checksum(x, r->arena, part.checksum, 0, false);
        s3_xml_close(x, "Part");
        last = part.number;
        err = object_reader_next_part(r->reader, last, &part);
    }
    s3_xml_bool(x, "IsTruncated", truncated);
    s3_xml_number(x, "NextPartNumberMarker", last);
    return err == KIST_E_INVALID_PART ? KIST_OK : err;
}

static enum kist_err add_parts(struct s3_request *r, struct s3_xml *x, const Kist__Object *o)
{
    uint64_t max = 1000, after = 0;
    struct bytes max_text = s3_header(r, "x-amz-max-parts");
    struct bytes after_text = s3_header(r, "x-amz-part-number-marker");
    if ((max_text.len && bytes_to_u64(max_text, INT32_MAX, &max) != KIST_OK) ||
        (after_text.len && bytes_to_u64(after_text, INT32_MAX, &after) != KIST_OK))
        return KIST_E_INVALID;
    max = max > 1000 ? 1000 : max;
    s3_xml_open(x, "ObjectParts");
    s3_xml_number(x, "PartsCount", o->part_count);
    s3_xml_number(x, "PartNumberMarker", after);
    s3_xml_number(x, "MaxParts", max);
    enum kist_err err = add_part_list(r, x, after, max);
    s3_xml_close(x, "ObjectParts");
    return err;
}

static void add_etag(struct s3_request *r, struct s3_xml *x, const Kist__Object *o)
{
    struct bytes etag = s3_etag(r->arena, schema_bytes(o->etag), o->part_count);
    if (etag.len > 2) /* here without quotes */
        s3_xml_text(x, "ETag", bytes_of(etag.ptr + 1, etag.len - 2));
}

/* "You must have READ access": beside its own action, that of GetObject. */
static bool may_read(struct s3_request *r)
{
    bool current = r->version == VERSION_CURRENT;
    bool may =
        s3_allowed(r, current ? "s3:GetObject" : "s3:GetObjectVersion", r->key, r->version);
    if (!may)
        s3_fail(r, S3_ACCESS_DENIED);
    return may;
}

void s3_get_object_attributes(struct s3_request *r)
{
    struct s3_xml x = { .failed = false };
    char date[TIME_HTTP_LEN];
    enum kist_err err = KIST_OK;
    if (!may_read(r) || !s3_open_object(r))
        return;
    if (!s3_header(r, "x-amz-object-attributes").len) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "The x-amz-object-attributes header specifying the attributes to be "
                        "retrieved is either missing or empty");
        return;
    }
    if (!attributes_known(r)) {
        s3_fail_argument(r, "x-amz-object-attributes", s3_header(r, "x-amz-object-attributes"),
                         "Invalid attribute name specified.");
        return;
    }
    const Kist__Object *o = object_reader_object(r->reader);
    s3_xml_begin(&x, "GetObjectAttributesResponse");
    if (wants(r, "ETag"))
        add_etag(r, &x, o);
    if (wants(r, "Checksum") && o->checksum) {
        s3_xml_open(&x, "Checksum");
        s3_xml_checksum(&x, r->arena, o->checksum, o->part_count, true);
        s3_xml_close(&x, "Checksum");
    }
    if (wants(r, "ObjectParts") && o->part_count)
        err = add_parts(r, &x, o);
    if (wants(r, "StorageClass"))
        s3_xml_str(&x, "StorageClass", o->storage_class[0] ? o->storage_class : "STANDARD");
    if (wants(r, "ObjectSize"))
        s3_xml_number(&x, "ObjectSize", o->size);
    if (err != KIST_OK) {
        buf_release(&x.out);
        s3_fail_err(r, err);
        return;
    }
    time_http(o->mtime_ms, date);
    s3_version_header(r, s3_versioned(r), o->version);
    s3_add_header_str(r, "Last-Modified", date);
    s3_xml_reply(r, &x, "GetObjectAttributesResponse");
}
