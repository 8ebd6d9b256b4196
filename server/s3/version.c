/* Versions: their ids, opening one, bucket versioning, ListObjectVersions.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html */
#include "server/s3/internal.h"

#define VERSIONING_XML_MAX ((size_t)64 << 10)
#define PAGE_MAX 1000

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

/* ---- ids ---- */

struct bytes s3_version_text(struct arena *arena, uint64_t version)
{
    char text[VERSION_TEXT_LEN + 1];
    version_text(version, text);
    return bytes_str(arena_strdup(arena, text));
}

bool s3_version_parse(struct bytes text, uint64_t *out)
{
    return version_parse(text, out);
}

bool s3_version_param(struct s3_request *r)
{
    struct bytes text = s3_param(r, "versionId");
    if (!s3_has_param(r, "versionId"))
        return true;
    if (text.len && s3_version_parse(text, &r->version))
        return true;
    s3_fail_argument(r, "versionId", text,
                     text.len ? "Invalid version id specified"
                              : "Version id cannot be the empty string");
    return false;
}

void s3_version_header(struct s3_request *r, bool versioned, uint64_t version)
{
    if (versioned)
        s3_add_header(r, "x-amz-version-id", s3_version_text(r->arena, version));
}

/* ---- opening ---- */

/* A delete marker is told from a missing key by its headers; when it was asked for by its id,
 * there is something, but nothing to get. */
void s3_fail_object(struct s3_request *r, enum kist_err err, const Kist__Object *marker)
{
    bool absent = err == KIST_E_NO_KEY || err == KIST_E_DELETE_MARKER;
    if (absent && !s3_may_know_absence(r)) {
        s3_fail(r, S3_ACCESS_DENIED);
        return;
    }
    if (err != KIST_E_DELETE_MARKER || !marker) {
        s3_fail_err(r, err);
        return;
    }
    r->error_headers = true;
    s3_add_header_str(r, "x-amz-delete-marker", "true");
    s3_version_header(r, true, marker->version);
    if (r->version == VERSION_CURRENT) {
        s3_fail(r, S3_NO_SUCH_KEY);
        return;
    }
    char date[TIME_HTTP_LEN];
    time_http(marker->mtime_ms, date);
    s3_add_header_str(r, "Last-Modified", date);
    s3_add_header_str(r, "Allow", "DELETE");
    s3_fail(r, S3_METHOD_NOT_ALLOWED);
}

const Kist__Object *s3_open_object(struct s3_request *r)
{
    struct object_id id = { r->bucket, r->key, r->version };
    Kist__Object *marker = NULL;
    enum kist_err err = object_reader_open(store_of(r), &id, r->arena, &r->reader, &marker);
    if (err == KIST_OK)
        return s3_unseal(r, "") ? object_reader_object(r->reader) : NULL;
    s3_fail_object(r, err, marker);
    return NULL;
}

Kist__Object *s3_head_row(struct s3_request *r)
{
    struct object_id id = { r->bucket, r->key, r->version };
    Kist__Object *o = NULL;
    enum kist_err err = store_head(store_of(r), &id, r->arena, &o);
    if (err == KIST_OK) {
        r->seen = o;
        return o;
    }
    s3_fail_object(r, err, o);
    return NULL;
}

/* ---- bucket versioning ---- */

bool s3_versioned(const struct s3_request *r)
{
    return r->bucket_row && r->bucket_row->versioning != VERSIONING_NEVER;
}

void s3_get_bucket_versioning(struct s3_request *r)
{
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, "VersioningConfiguration");
    if (s3_versioned(r))
        s3_xml_str(&x, "Status",
                   r->bucket_row->versioning == VERSIONING_ENABLED ? "Enabled" : "Suspended");
    s3_xml_reply(r, &x, "VersioningConfiguration");
}

static void versioning_done(struct s3_request *r)
{
    s3_reply_empty(r, 200);
}

static void put_versioning(struct s3_request *r)
{
    struct s3_xml_node *root = NULL;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutVersioning c = KIST__PUT_VERSIONING__INIT;
    enum kist_err err = s3_xml_parse(buf_bytes(&r->body->xml), r->arena, &root);
    struct bytes status = s3_xml_child_text(root, "Status");
    struct bytes mfa = s3_xml_child_text(root, "MfaDelete");
    bool enabled = bytes_equal(status, BYTES_LIT("Enabled"));
    if (err != KIST_OK || strcmp(root->name, "VersioningConfiguration") != 0 ||
        (!enabled && !bytes_equal(status, BYTES_LIT("Suspended")))) {
        s3_fail(r, S3_MALFORMED_XML);
        return;
    }
    if (mfa.len && !bytes_equal(mfa, BYTES_LIT("Disabled"))) {
        s3_fail_message(r, S3_NOT_IMPLEMENTED, "MFA delete is not supported.");
        return;
    }
    command.of_case = KIST__COMMAND__OF_PUT_VERSIONING;
    command.put_versioning = &c;
    c.name = s3_str(r, r->bucket);
    c.versioning = enabled ? VERSIONING_ENABLED : VERSIONING_SUSPENDED;
    s3_commit(r, &command, versioning_done);
}

void s3_put_bucket_versioning(struct s3_request *r)
{
    s3_read_xml(r, VERSIONING_XML_MAX, put_versioning);
}

/* ---- ListObjectVersions ---- */

struct version_listing {
    struct s3_request *r;
    struct s3_xml versions, prefixes;
};

static bool add_version(void *ctx, struct bytes key, const Kist__Object *o, bool latest)
{
    struct version_listing *l = ctx;
    struct s3_xml *x = o ? &l->versions : &l->prefixes;
    if (!o) {
        s3_xml_open(x, "CommonPrefixes");
        s3_xml_key(x, "Prefix", key);
        s3_xml_close(x, "CommonPrefixes");
        return !x->failed;
    }
    const char *element = o->delete_marker ? "DeleteMarker" : "Version";
    s3_xml_open(x, element);
    s3_xml_key(x, "Key", key);
    s3_xml_text(x, "VersionId", s3_version_text(l->r->arena, o->version));
    s3_xml_bool(x, "IsLatest", latest);
    s3_xml_time(x, "LastModified", o->mtime_ms);
    if (!o->delete_marker) {
        s3_xml_etag(x, schema_bytes(o->etag), o->part_count);
        if (o->checksum)
            s3_xml_checksum_kind(x, (enum digest_kind)o->checksum->algorithm,
                                 o->checksum->composite);
        s3_xml_number(x, "Size", o->size);
        s3_xml_str(x, "StorageClass", o->storage_class[0] ? o->storage_class : "STANDARD");
    }
    s3_xml_object_owner(x, l->r, "Owner", o->acl);
    s3_xml_close(x, element);
    return !x->failed;
}

static bool read_query(struct s3_request *r, struct version_query *q, bool *url)
{
    uint64_t max;
    struct bytes marker = s3_param(r, "version-id-marker");
    if (!s3_param_number(r, "max-keys", INT32_MAX, PAGE_MAX, &max) || !s3_param_encoding(r, url))
        return false;
    q->prefix = s3_param(r, "prefix");
    q->delimiter = s3_param(r, "delimiter");
    q->after_key = s3_param(r, "key-marker");
    q->max = max > PAGE_MAX ? PAGE_MAX : (size_t)max;
    if (!q->after_key.len)
        q->after_key = BYTES_EMPTY;
    if (q->prefix.len > 1024 || q->after_key.len > 1024 || !bytes_is_utf8(q->prefix) ||
        !bytes_is_utf8(q->delimiter)) {
        s3_fail_argument(r, "prefix", q->prefix, "Invalid prefix or delimiter");
        return false;
    }
    if (!s3_has_param(r, "version-id-marker"))
        return true;
    if (!q->after_key.len) {
        s3_fail_argument(r, "version-id-marker", marker,
                         "A version-id marker cannot be specified without a key marker.");
        return false;
    }
    if (!marker.len || s3_version_parse(marker, &q->after_version))
        return true;
    s3_fail_argument(r, "version-id-marker", marker, "Invalid version id specified");
    return false;
}

static void render(struct s3_request *r, const struct version_query *q,
                   const struct version_page *page, struct version_listing *l)
{
    struct s3_xml x = { .url = l->versions.url };
    s3_xml_begin(&x, "ListVersionsResult");
    s3_xml_text(&x, "Name", r->bucket);
    s3_xml_key(&x, "Prefix", q->prefix.ptr ? q->prefix : BYTES_LIT(""));
    s3_xml_key(&x, "KeyMarker", q->after_key.ptr ? q->after_key : BYTES_LIT(""));
    struct bytes marker = s3_param(r, "version-id-marker");
    s3_xml_text(&x, "VersionIdMarker", marker.ptr ? marker : BYTES_LIT(""));
    if (q->delimiter.len)
        s3_xml_key(&x, "Delimiter", q->delimiter);
    s3_xml_number(&x, "MaxKeys", q->max);
    if (x.url)
        s3_xml_str(&x, "EncodingType", "url");
    s3_xml_bool(&x, "IsTruncated", page->truncated);
    if (page->truncated) {
        s3_xml_key(&x, "NextKeyMarker", page->last_key);
        if (page->last_version != VERSION_CURRENT)
            s3_xml_text(&x, "NextVersionIdMarker",
                        s3_version_text(r->arena, page->last_version == VERSION_NULL
                                                      ? 0
                                                      : page->last_version));
    }
    x.failed = x.failed || l->versions.failed || l->prefixes.failed ||
               buf_append_bytes(&x.out, buf_bytes(&l->versions.out)) != KIST_OK ||
               buf_append_bytes(&x.out, buf_bytes(&l->prefixes.out)) != KIST_OK;
    s3_xml_reply(r, &x, "ListVersionsResult");
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html */
void s3_list_object_versions(struct s3_request *r)
{
    struct version_listing l = { .r = r };
    struct version_query q = { .after_version = VERSION_CURRENT };
    struct version_page page = { .each = add_version, .ctx = &l };
    bool url;
    if (!read_query(r, &q, &url))
        return;
    l.versions.url = l.prefixes.url = url;
    buf_init(&l.versions.out, (size_t)16 << 20);
    buf_init(&l.prefixes.out, (size_t)16 << 20);
    enum kist_err err =
        q.max ? store_list_versions(store_of(r), r->bucket, &q, r->arena, &page) : KIST_OK;
    if (err == KIST_OK)
        render(r, &q, &page, &l);
    else
        s3_fail_err(r, err);
    buf_release(&l.versions.out);
    buf_release(&l.prefixes.out);
}
