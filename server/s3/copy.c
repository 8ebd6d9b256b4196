/* CopyObject, UploadPartCopy.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
 *
 * An object of shared chunks is copied by reference, in one command. A small one owns its
 * extent, a part needs its MD5, and what changes its encryption is other bytes: those are copied
 * by a worker.
 */
#include "server/s3/multipart.h"
#include "storage/index/versions.h"

#define COPY_MAX ((uint64_t)5 << 30)

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

/* Who must not list the source's bucket must not learn either what is missing there. */
static enum kist_err hide_absence(struct s3_request *r, const Kist__Bucket *bucket,
                                  const struct object_id *source, enum kist_err err)
{
    struct object_id all = { source->bucket, BYTES_EMPTY, VERSION_CURRENT };
    bool absent = err == KIST_E_NO_KEY || err == KIST_E_NO_VERSION || err == KIST_E_DELETE_MARKER;
    return absent && !s3_allowed_source(r, bucket, "s3:ListBucket", &all) ? KIST_E_DENIED : err;
}

bool s3_open_copy_source(struct s3_request *r, struct object_id *source, Kist__Bucket **out)
{
    Kist__Object *marker = NULL;
    Kist__Bucket *bucket = NULL;
    struct bytes header = s3_header(r, "x-amz-copy-source");
    switch (s3_parse_copy_source(header, r->arena, source)) {
    case S3_COPY_SOURCE_BAD:
        s3_fail_argument(r, "x-amz-copy-source", header,
                         "Copy Source must mention the source bucket and key: "
                         "sourcebucket/sourcekey");
        return false;
    case S3_COPY_SOURCE_BAD_VERSION:
        s3_fail_argument(r, "x-amz-copy-source", header, "Invalid version id specified");
        return false;
    case S3_COPY_SOURCE_OK:
        break;
    }
    struct auth_owner owner;
    enum kist_err err = store_bucket(store_of(r), source->bucket, r->arena, &bucket);
    if (err == KIST_OK)
        err = s3_owner_find(r, bucket->owner, &owner);
    if (err == KIST_OK && !s3_owner_expected(r, "x-amz-source-expected-bucket-owner", &owner))
        return false;
    if (err == KIST_OK && !s3_allowed_source(r, bucket, "s3:GetObject", source))
        err = KIST_E_DENIED;
    if (err == KIST_OK)
        err =
            hide_absence(r, bucket, source,
                         object_reader_open(store_of(r), source, r->arena, &r->reader, &marker));
    *out = bucket;
    if (err != KIST_OK) {
        if (err == KIST_E_NO_BUCKET)
            r->bucket = source->bucket;
        if (err == KIST_E_DELETE_MARKER && source->version == VERSION_CURRENT)
            err = KIST_E_NO_KEY;
        if (err == KIST_E_NO_KEY || err == KIST_E_NO_VERSION)
            r->key = source->key;
        if (err == KIST_E_DELETE_MARKER)
            s3_fail_message(r, S3_INVALID_REQUEST,
                            "The source of a copy request may not specifically refer to a "
                            "delete marker by version id.");
        else
            s3_fail_err(r, err);
        return false;
    }
    if (bucket->versioning != VERSIONING_NEVER)
        s3_add_header(r, "x-amz-copy-source-version-id",
                      s3_version_text(r->arena, object_reader_object(r->reader)->version));
    bool not_modified;
    enum s3_error error =
        s3_check_read(r, object_reader_object(r->reader), "x-amz-copy-source-", &not_modified);
    if (error == S3_ERROR_COUNT && not_modified)
        error = S3_PRECONDITION_FAILED;
    if (error != S3_ERROR_COUNT)
        s3_fail(r, error);
    return error == S3_ERROR_COUNT && s3_unseal(r, "copy-source-");
}

/* ---- copying bytes ---- */

struct copying {
    uint64_t first, length;
    enum kist_err err;
    void (*then)(struct s3_request *r);
    void *state; /* the operation's */
};

static void copied(struct exchange *x)
{
    struct s3_request *r = exchange_user(x);
    struct copying *c = r->state;
    r->state = c->state;
    if (c->err != KIST_OK)
        s3_fail_err(r, c->err);
    else
        c->then(r);
}

static void copy_done(void *user, enum kist_err err)
{
    struct s3_request *r = user;
    struct copying *c = r->state;
    c->err = err;
    exchange_wake(r->x, copied);
}

static void copy_start(struct exchange *x);

static void memory_is_there(void *user)
{
    struct s3_request *r = user;
    exchange_wake(r->x, copy_start);
}

static void copy_start(struct exchange *x)
{
    struct s3_request *r = exchange_user(x);
    struct copying *c = r->state;
    enum kist_err err = object_writer_open(store_of(r), c->length, r->digests, memory_is_there, r,
                                           &r->body->writer);
    if (err == KIST_OK)
        err = s3_seal_writer(r, r->body->writer);
    if (err == KIST_OK || err == KIST_E_BUSY)
        exchange_wait(x);
    if (err == KIST_OK)
        store_copy_bytes(store_of(r), r->reader, c->first, c->length, r->body->writer, copy_done,
                         r);
    else if (err != KIST_E_BUSY)
        s3_fail_err(r, err);
}

void s3_copy_bytes(struct s3_request *r, uint64_t first, uint64_t length,
                   void (*then)(struct s3_request *r))
{
    struct copying *c = arena_zalloc(r->arena, sizeof(*c));
    r->body = arena_zalloc(r->arena, sizeof(*r->body));
    if (!c || !r->body) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    *c = (struct copying){ .first = first, .length = length, .then = then, .state = r->state };
    r->state = c;
    copy_start(r->x);
}

/* ---- CopyObject ---- */

struct copy_state {
    struct s3_meta meta;
    Kist__Condition *condition;
    struct object_id source;
    Kist__Bucket *from;
    Kist__Checksum *checksum;
};

static void copy_reply(struct s3_request *r)
{
    const struct apply_result *result = &r->op.result;
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, "CopyObjectResult");
    s3_xml_etag(&x, bytes_of(result->etag, 16), result->part_count);
    s3_xml_time(&x, "LastModified", result->mtime_ms);
    const struct copy_state *c = r->state;
    s3_xml_checksum(&x, r->arena, c->checksum, result->part_count, true);
    s3_version_header(r, result->versioned, result->version);
    s3_seal_headers(r, s3_seal_record(r));
    s3_xml_reply(r, &x, "CopyObjectResult");
}

static void fill_object(struct s3_request *r, Kist__Object *o)
{
    struct copy_state *c = r->state;
    o->mtime_ms = s3_now(r);
    s3_meta_fill(&c->meta, o);
    o->checksum = c->checksum;
}

/* Parts' checksums composed say nothing about an object that is one piece: it gets its own. */
static Kist__Checksum *whole_checksum(struct s3_request *r)
{
    Kist__Checksum *had = object_reader_object(r->reader)->checksum;
    Kist__Checksum *c = had && had->composite ? arena_alloc(r->arena, sizeof(*c)) : NULL;
    uint8_t *value = c ? arena_alloc(r->arena, DIGEST_MAX_LEN) : NULL;
    if (!value)
        return had && had->composite ? NULL : had;
    kist__checksum__init(c);
    c->algorithm = had->algorithm;
    object_writer_digest(r->body->writer, (enum digest_kind)had->algorithm, value);
    c->value = (ProtobufCBinaryData){ .len = digest_len((enum digest_kind)had->algorithm),
                                      .data = value };
    return c;
}

static void put_copy(struct s3_request *r)
{
    struct copy_state *c = r->state;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject put = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    c->checksum = whole_checksum(r);
    fill_object(r, &object);
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &put;
    object.seal = s3_seal_record(r);
    put.bucket = s3_str(r, r->bucket);
    put.key = schema_data(r->key);
    put.object = &object;
    put.condition = c->condition;
    s3_commit_put(r, &command, copy_reply);
}

static void share_copy(struct s3_request *r)
{
    struct copy_state *c = r->state;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CopyObject copy = KIST__COPY_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    c->checksum = object_reader_object(r->reader)->checksum;
    fill_object(r, &object);
    command.of_case = KIST__COMMAND__OF_COPY_OBJECT;
    command.copy_object = &copy;
    copy.source_bucket = s3_str(r, c->source.bucket);
    copy.source_key = schema_data(c->source.key);
    copy.source_version = c->source.version;
    copy.source_data_id = object_reader_object(r->reader)->data_id;
    copy.bucket = s3_str(r, r->bucket);
    copy.key = schema_data(r->key);
    copy.object = &object;
    copy.condition = c->condition;
    s3_commit(r, &command, copy_reply);
}

/* Where a website redirects to is never copied: "This value is unique to each object". */
static bool copy_headers(struct s3_request *r, struct s3_meta *meta, const Kist__Object *o)
{
    static const char redirect[] = "x-amz-website-redirect-location";
    size_t n = 0;
    Kist__Pair **kept = arena_alloc(r->arena, (o->n_headers + 1) * sizeof(*kept));
    if (!kept) {
        s3_fail(r, S3_SLOW_DOWN);
        return false;
    }
    for (size_t i = 0; i < o->n_headers; i++)
        if (strcmp(o->headers[i]->name, redirect) != 0)
            kept[n++] = o->headers[i];
    for (size_t i = 0; i < meta->n_headers; i++)
        if (strcmp(meta->headers[i]->name, redirect) == 0)
            kept[n++] = meta->headers[i];
    meta->n_headers = n;
    meta->headers = kept;
    meta->n_metadata = o->n_metadata;
    meta->metadata = o->metadata;
    return true;
}

/* Tags are read there and written here. */
static bool copy_tags(struct s3_request *r, struct copy_state *c, const Kist__Object *o)
{
    if (o->n_tags && !(s3_allowed_source(r, c->from, "s3:GetObjectTagging", &c->source) &&
                       s3_allowed(r, "s3:PutObjectTagging", r->key, VERSION_CURRENT))) {
        s3_fail(r, S3_ACCESS_DENIED);
        return false;
    }
    c->meta.n_tags = o->n_tags;
    c->meta.tags = o->tags;
    return true;
}

/* COPY takes everything from the source but what is always new; REPLACE takes it from here. */
static bool directives(struct s3_request *r, struct copy_state *c, bool *changes)
{
    const Kist__Object *o = object_reader_object(r->reader);
    struct bytes metadata = s3_header(r, "x-amz-metadata-directive");
    struct bytes tagging = s3_header(r, "x-amz-tagging-directive");
    bool replace = bytes_equal(metadata, BYTES_LIT("REPLACE"));
    bool replace_tags = bytes_equal(tagging, BYTES_LIT("REPLACE"));
    if ((metadata.len && !replace && !bytes_equal(metadata, BYTES_LIT("COPY"))) ||
        (tagging.len && !replace_tags && !bytes_equal(tagging, BYTES_LIT("COPY")))) {
        s3_fail_argument(r, "x-amz-metadata-directive", metadata, "Unknown metadata directive.");
        return false;
    }
    if (!s3_meta_parse(r, &c->meta) || !s3_seal_keep(r, o->seal))
        return false;
    if ((!replace && !copy_headers(r, &c->meta, o)) || (!replace_tags && !copy_tags(r, c, o)))
        return false;
    *changes = replace || replace_tags || s3_header(r, "x-amz-storage-class").len ||
               s3_header(r, "x-amz-website-redirect-location").len ||
               s3_header(r, "x-amz-server-side-encryption").len || !s3_seal_matches(r, o->seal);
    return true;
}

void s3_copy_object(struct s3_request *r)
{
    struct copy_state *c = arena_zalloc(r->arena, sizeof(*c));
    struct bytes target_bucket = r->bucket, target_key = r->key;
    bool changes = false;
    if (!c) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    r->state = c;
    if (!s3_open_copy_source(r, &c->source, &c->from) || !directives(r, c, &changes) ||
        !s3_write_condition(r, &c->condition))
        return;
    const Kist__Object *o = object_reader_object(r->reader);
    bool self =
        bytes_equal(c->source.bucket, target_bucket) && bytes_equal(c->source.key, target_key);
    /* The very object that would be replaced; an older version may be brought back. */
    bool same = self && c->source.version == VERSION_CURRENT;
    if (same && !changes) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "This copy request is illegal because it is trying to copy an object to "
                        "itself without changing the object's metadata, storage class, website "
                        "redirect location or encryption attributes.");
        return;
    }
    if (o->size > COPY_MAX) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "The specified copy source is larger than the maximum allowable size for "
                        "a copy source: 5368709120");
        return;
    }
    bool in_place = same && !version_is_kept(r->bucket_row, o);
    if ((in_place || store_can_share(o)) && s3_seal_matches(r, o->seal))
        share_copy(r);
    else {
        if (o->checksum && o->checksum->composite)
            r->digests |= DIGEST_BIT(o->checksum->algorithm);
        s3_copy_bytes(r, 0, o->size, put_copy);
    }
}

/* ---- UploadPartCopy ---- */

static void part_copy_reply(struct s3_request *r)
{
    const struct apply_result *result = &r->op.result;
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, "CopyPartResult");
    s3_xml_etag(&x, bytes_of(result->etag, 16), 0);
    s3_xml_time(&x, "LastModified", result->mtime_ms);
    s3_xml_checksum(&x, r->arena, s3_checksum_record(r), 0, false);
    s3_seal_headers(r, s3_seal_record(r));
    s3_xml_reply(r, &x, "CopyPartResult");
}

static void part_copied(struct s3_request *r)
{
    s3_part_commit(r, part_copy_reply);
}

/* x-amz-copy-source-range: bytes=first-last, both given, inside the object. */
static bool copy_range(struct s3_request *r, uint64_t size, struct s3_range *range)
{
    struct bytes header = s3_header(r, "x-amz-copy-source-range");
    *range = (struct s3_range){ 0, size };
    if (!header.ptr)
        return true;
    enum s3_range_kind kind = s3_range_parse(header, size, range);
    bool open_ended = header.len && (header.ptr[header.len - 1] == '-' ||
                                     bytes_starts_with(header, BYTES_LIT("bytes=-")));
    if (kind == S3_RANGE_NONE || open_ended) {
        s3_fail_argument(r, "x-amz-copy-source-range", header,
                         "The x-amz-copy-source-range value must be of the form bytes=first-last "
                         "where first and last are the zero-based offsets of the first and last "
                         "bytes to copy");
        return false;
    }
    struct bytes last = bytes_of(header.ptr + bytes_find(header, BYTES_LIT("-"), 0) + 1, 0);
    last.len = (size_t)(header.ptr + header.len - last.ptr);
    uint64_t wanted = 0;
    if (kind == S3_RANGE_UNSATISFIABLE || bytes_to_u64(last, UINT64_MAX, &wanted) != KIST_OK ||
        wanted >= size) {
        s3_fail_argument(r, "x-amz-copy-source-range", header,
                         "Range specified is not valid for source object");
        return false;
    }
    return true;
}

void s3_upload_part_copy(struct s3_request *r)
{
    struct object_id source;
    Kist__Bucket *from = NULL;
    struct s3_range range;
    if (!s3_part_begin(r) || !s3_open_copy_source(r, &source, &from) ||
        !copy_range(r, object_reader_object(r->reader)->size, &range))
        return;
    if (range.length > COPY_MAX)
        s3_fail(r, S3_ENTITY_TOO_LARGE);
    else
        s3_copy_bytes(r, range.first, range.length, part_copied);
}
