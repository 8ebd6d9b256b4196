/* ListObjects, ListObjectsV2.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html */
#include "server/s3/internal.h"

#define PAGE_MAX 1000

struct listing {
    struct s3_request *r;
    struct s3_xml contents, prefixes;
    bool owner;
    size_t count;
};

static void add_object(struct listing *l, struct bytes key, const Kist__Object *o)
{
    struct s3_xml *x = &l->contents;
    s3_xml_open(x, "Contents");
    s3_xml_key(x, "Key", key);
    s3_xml_time(x, "LastModified", o->mtime_ms);
    s3_xml_etag(x, schema_bytes(o->etag), o->part_count);
    if (o->checksum)
        s3_xml_checksum_kind(x, (enum digest_kind)o->checksum->algorithm, o->checksum->composite);
    s3_xml_number(x, "Size", o->size);
    if (l->owner)
        s3_xml_object_owner(x, l->r, "Owner", o->acl);
    s3_xml_str(x, "StorageClass", o->storage_class[0] ? o->storage_class : "STANDARD");
    s3_xml_close(x, "Contents");
}

static bool add_item(void *ctx, struct bytes key, const Kist__Object *o)
{
    struct listing *l = ctx;
    l->count++;
    if (o) {
        add_object(l, key, o);
    } else {
        s3_xml_open(&l->prefixes, "CommonPrefixes");
        s3_xml_key(&l->prefixes, "Prefix", key);
        s3_xml_close(&l->prefixes, "CommonPrefixes");
    }
    return !l->contents.failed && !l->prefixes.failed;
}

/* What both versions have in common. False after an error reply. */
static bool read_query(struct s3_request *r, struct listing *l, struct list_query *q)
{
    uint64_t max;
    bool url;
    if (!s3_param_number(r, "max-keys", INT32_MAX, PAGE_MAX, &max) || !s3_param_encoding(r, &url))
        return false;
    q->prefix = s3_param(r, "prefix");
    q->delimiter = s3_param(r, "delimiter");
    q->max = max > PAGE_MAX ? PAGE_MAX : (size_t)max;
    if (q->prefix.len > 1024 || !bytes_is_utf8(q->prefix) || !bytes_is_utf8(q->delimiter)) {
        s3_fail_argument(r, "prefix", q->prefix, "Invalid prefix or delimiter");
        return false;
    }
    l->r = r;
    l->contents.url = l->prefixes.url = url;
    buf_init(&l->contents.out, (size_t)16 << 20);
    buf_init(&l->prefixes.out, (size_t)16 << 20);
    return true;
}

static bool run(struct s3_request *r, struct listing *l, const struct list_query *q,
                struct list_page *page)
{
    *page = (struct list_page){ .each = add_item, .ctx = l };
    Kist__Bucket *bucket;
    struct store *store = r->service->config.store;
    enum kist_err err = q->max ? store_list(store, r->bucket, q, r->arena, page)
                               : store_bucket(store, r->bucket, r->arena, &bucket);
    if (err == KIST_OK)
        return true;
    buf_release(&l->contents.out);
    buf_release(&l->prefixes.out);
    s3_fail_err(r, err);
    return false;
}

static void finish(struct s3_request *r, struct listing *l, struct s3_xml *x)
{
    x->failed = x->failed || l->contents.failed || l->prefixes.failed ||
                buf_append_bytes(&x->out, buf_bytes(&l->contents.out)) != KIST_OK ||
                buf_append_bytes(&x->out, buf_bytes(&l->prefixes.out)) != KIST_OK;
    buf_release(&l->contents.out);
    buf_release(&l->prefixes.out);
    s3_xml_reply(r, x, "ListBucketResult");
}

static void head(struct s3_request *r, struct s3_xml *x, const struct list_query *q, bool url)
{
    x->url = url;
    s3_xml_begin(x, "ListBucketResult");
    s3_xml_text(x, "Name", r->bucket);
    s3_xml_key(x, "Prefix", q->prefix.ptr ? q->prefix : BYTES_LIT(""));
    if (q->delimiter.len)
        s3_xml_key(x, "Delimiter", q->delimiter);
    s3_xml_number(x, "MaxKeys", q->max);
    if (url)
        s3_xml_str(x, "EncodingType", "url");
}

void s3_list_objects(struct s3_request *r)
{
    struct listing l = { .owner = true };
    struct list_query q = { 0 };
    struct list_page page;
    struct s3_xml x = { .failed = false };
    struct bytes marker = s3_param(r, "marker");
    if (!read_query(r, &l, &q))
        return;
    q.after = marker.len ? marker : BYTES_EMPTY;
    if (!run(r, &l, &q, &page))
        return;
    head(r, &x, &q, l.contents.url);
    s3_xml_key(&x, "Marker", marker.ptr ? marker : BYTES_LIT(""));
    /* S3 gives NextMarker only with a delimiter: without, the last key serves. */
    if (page.truncated && q.delimiter.len)
        s3_xml_key(&x, "NextMarker", page.last);
    s3_xml_bool(&x, "IsTruncated", page.truncated);
    finish(r, &l, &x);
}

/* Opaque, but stateless: where to go on. "1" is its format. */
static struct bytes token_make(struct s3_request *r, struct bytes last)
{
    char *text = arena_alloc(r->arena, BASE64_LEN(last.len) + 2);
    if (!text)
        return BYTES_LIT("");
    text[0] = '1';
    base64_encode(last, text + 1);
    return bytes_str(text);
}

static bool token_read(struct s3_request *r, struct bytes token, struct bytes *after)
{
    uint8_t *out = arena_alloc(r->arena, token.len + 1);
    size_t len = 0;
    if (!out || token.len < 2 || token.ptr[0] != '1' ||
        base64_decode(bytes_of(token.ptr + 1, token.len - 1), out, token.len, &len) != KIST_OK ||
        len > 1024) {
        s3_fail_argument(r, "continuation-token", token,
                         "The continuation token provided is incorrect");
        return false;
    }
    *after = bytes_of(out, len);
    return true;
}

void s3_list_objects_v2(struct s3_request *r)
{
    struct listing l = { .owner = bytes_equal(s3_param(r, "fetch-owner"), BYTES_LIT("true")) };
    struct list_query q = { 0 };
    struct list_page page;
    struct s3_xml x = { .failed = false };
    struct bytes token = s3_param(r, "continuation-token");
    struct bytes start_after = s3_param(r, "start-after");
    q.after = start_after.len ? start_after : BYTES_EMPTY;
    if (s3_has_param(r, "continuation-token") && !token_read(r, token, &q.after))
        return;
    if (!read_query(r, &l, &q) || !run(r, &l, &q, &page))
        return;
    head(r, &x, &q, l.contents.url);
    if (token.len)
        s3_xml_text(&x, "ContinuationToken", token);
    if (start_after.len)
        s3_xml_key(&x, "StartAfter", start_after);
    s3_xml_number(&x, "KeyCount", l.count);
    s3_xml_bool(&x, "IsTruncated", page.truncated);
    if (page.truncated)
        s3_xml_text(&x, "NextContinuationToken", token_make(r, page.last));
    finish(r, &l, &x);
}
