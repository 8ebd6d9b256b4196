/* ListParts, ListMultipartUploads.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html */
#include "server/s3/multipart.h"

#define PAGE_MAX 1000

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

static void who(struct s3_request *r, struct s3_xml *x, const Kist__Upload *u)
{
    struct auth_owner initiator = u->initiator[0] ? s3_owner_shown(r, u->initiator) : r->owner;
    s3_xml_owner(x, "Initiator", initiator.id, initiator.display_name);
    s3_xml_object_owner(x, r, "Owner", u->acl);
}

static void upload_checksum(struct s3_xml *x, const Kist__Upload *u)
{
    if (u->checksum_algorithm)
        s3_xml_checksum_kind(x, (enum digest_kind)(u->checksum_algorithm - 1),
                             u->checksum_composite);
}

/* ---- ListParts ---- */

struct part_page {
    struct s3_request *r;
    struct s3_xml parts;
    uint32_t last;
};

static bool add_part(void *ctx, uint32_t number, const Kist__Part *part)
{
    struct part_page *p = ctx;
    p->last = number;
    s3_xml_open(&p->parts, "Part");
    s3_xml_number(&p->parts, "PartNumber", number);
    s3_xml_time(&p->parts, "LastModified", part->mtime_ms);
    s3_xml_etag(&p->parts, schema_bytes(part->etag), 0);
    s3_xml_number(&p->parts, "Size", part->size);
    s3_xml_checksum(&p->parts, p->r->arena, part->checksum, 0, false);
    s3_xml_close(&p->parts, "Part");
    return !p->parts.failed;
}

void s3_list_parts(struct s3_request *r)
{
    struct s3_upload_id id;
    struct s3_xml x = { .failed = false };
    struct part_page p = { .r = r };
    uint64_t max, after;
    bool truncated = false, url;
    if (!s3_param_number(r, "max-parts", INT32_MAX, PAGE_MAX, &max) ||
        !s3_param_number(r, "part-number-marker", INT32_MAX, 0, &after) ||
        !s3_param_encoding(r, &url))
        return;
    const Kist__Upload *u = s3_upload_open(r, &id);
    if (!u)
        return;
    max = max > PAGE_MAX ? PAGE_MAX : max;
    buf_init(&p.parts.out, (size_t)16 << 20);
    p.last = (uint32_t)after;
    enum kist_err err = store_list_parts(store_of(r), id.id, (uint32_t)after, (size_t)max,
                                         add_part, &p, &truncated);
    if (err != KIST_OK) {
        buf_release(&p.parts.out);
        s3_fail_err(r, err);
        return;
    }
    x.url = url;
    s3_xml_begin(&x, "ListPartsResult");
    s3_xml_text(&x, "Bucket", r->bucket);
    s3_xml_key(&x, "Key", r->key);
    s3_xml_text(&x, "UploadId", s3_param(r, "uploadId"));
    who(r, &x, u);
    s3_xml_str(&x, "StorageClass", u->storage_class[0] ? u->storage_class : "STANDARD");
    upload_checksum(&x, u);
    s3_xml_number(&x, "PartNumberMarker", after);
    s3_xml_number(&x, "NextPartNumberMarker", p.last);
    s3_xml_number(&x, "MaxParts", max);
    s3_xml_bool(&x, "IsTruncated", truncated);
    x.failed = x.failed || p.parts.failed ||
               buf_append_bytes(&x.out, buf_bytes(&p.parts.out)) != KIST_OK;
    buf_release(&p.parts.out);
    s3_xml_reply(r, &x, "ListPartsResult");
}

/* ---- ListMultipartUploads ---- */

struct uploads {
    struct s3_request *r;
    struct s3_xml uploads, prefixes;
    struct bytes last_id;
};

static bool add_upload(void *ctx, struct bytes key, const Kist__Upload *u)
{
    struct uploads *l = ctx;
    struct s3_xml *x = &l->uploads;
    if (!u) {
        s3_xml_open(&l->prefixes, "CommonPrefixes");
        s3_xml_key(&l->prefixes, "Prefix", key);
        s3_xml_close(&l->prefixes, "CommonPrefixes");
        l->last_id = BYTES_EMPTY;
        return !l->prefixes.failed;
    }
    l->last_id = s3_upload_id_text(l->r->arena, u->id, schema_bytes(u->nonce));
    s3_xml_open(x, "Upload");
    s3_xml_key(x, "Key", key);
    s3_xml_text(x, "UploadId", l->last_id);
    who(l->r, x, u);
    s3_xml_str(x, "StorageClass", u->storage_class[0] ? u->storage_class : "STANDARD");
    s3_xml_time(x, "Initiated", u->created_ms);
    upload_checksum(x, u);
    s3_xml_close(x, "Upload");
    return !x->failed;
}

static void uploads_reply(struct s3_request *r, struct uploads *l, const struct upload_query *q,
                          const struct upload_page *page)
{
    struct s3_xml x = { .url = l->uploads.url };
    s3_xml_begin(&x, "ListMultipartUploadsResult");
    s3_xml_text(&x, "Bucket", r->bucket);
    s3_xml_key(&x, "KeyMarker", s3_param(r, "key-marker"));
    s3_xml_text(&x, "UploadIdMarker", s3_param(r, "upload-id-marker"));
    if (page->truncated) {
        s3_xml_key(&x, "NextKeyMarker", page->last_key);
        s3_xml_text(&x, "NextUploadIdMarker", l->last_id);
    }
    if (q->delimiter.len)
        s3_xml_key(&x, "Delimiter", q->delimiter);
    s3_xml_key(&x, "Prefix", q->prefix);
    s3_xml_number(&x, "MaxUploads", q->max);
    if (x.url)
        s3_xml_str(&x, "EncodingType", "url");
    s3_xml_bool(&x, "IsTruncated", page->truncated);
    x.failed = x.failed || l->uploads.failed || l->prefixes.failed ||
               buf_append_bytes(&x.out, buf_bytes(&l->uploads.out)) != KIST_OK ||
               buf_append_bytes(&x.out, buf_bytes(&l->prefixes.out)) != KIST_OK;
    s3_xml_reply(r, &x, "ListMultipartUploadsResult");
}

void s3_list_multipart_uploads(struct s3_request *r)
{
    struct uploads l = { .r = r };
    struct upload_query q = { .prefix = s3_param(r, "prefix"),
                              .delimiter = s3_param(r, "delimiter"),
                              .after_key = s3_param(r, "key-marker"),
                              .after_id = UINT64_MAX };
    struct upload_page page = { .each = add_upload, .ctx = &l };
    struct bytes id_text = s3_param(r, "upload-id-marker");
    struct s3_upload_id id;
    uint64_t max;
    bool url;
    if (!s3_param_number(r, "max-uploads", INT32_MAX, PAGE_MAX, &max) ||
        !s3_param_encoding(r, &url))
        return;
    if (!q.after_key.len)
        q.after_key = BYTES_EMPTY;
    if (id_text.len && q.after_key.len) {
        if (!s3_upload_id_parse(id_text, &id)) {
            s3_fail_argument(r, "upload-id-marker", id_text, "Invalid uploadId marker");
            return;
        }
        q.after_id = id.id;
    }
    q.max = max > PAGE_MAX ? PAGE_MAX : (size_t)max;
    l.uploads.url = l.prefixes.url = url;
    buf_init(&l.uploads.out, (size_t)16 << 20);
    buf_init(&l.prefixes.out, (size_t)16 << 20);
    enum kist_err err = store_list_uploads(store_of(r), r->bucket, &q, r->arena, &page);
    if (err == KIST_OK)
        uploads_reply(r, &l, &q, &page);
    else
        s3_fail_err(r, err);
    buf_release(&l.uploads.out);
    buf_release(&l.prefixes.out);
}
