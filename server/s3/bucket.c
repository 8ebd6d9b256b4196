/* Buckets: create, head, delete, list, location, tags. */
#include "server/s3/acl.h"

#define BUCKET_XML_MAX ((size_t)64 << 10)

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

/* ---- CreateBucket ---- */

static void create_done(struct s3_request *r)
{
    s3_add_header_str(r, "Location", arena_printf(r->arena, "/%s", s3_str(r, r->bucket)));
    s3_reply_empty(r, 200);
}

/* Where the bucket is to be, and its tags, into r->asked; false after an error reply.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html */
static bool read_configuration(struct s3_request *r)
{
    struct s3_xml_node *root = NULL;
    struct bytes xml = buf_bytes(&r->body->xml);
    r->asked.known = true;
    if (!xml.len)
        return true;
    if (s3_xml_parse(xml, r->arena, &root) != KIST_OK ||
        strcmp(root->name, "CreateBucketConfiguration") != 0) {
        s3_fail(r, S3_MALFORMED_XML);
        return false;
    }
    const struct s3_xml_node *tags = s3_xml_child(root, "Tags");
    r->asked.location = s3_xml_child_text(root, "LocationConstraint");
    return !tags || s3_tags_from_set(r, tags, 50, &r->asked.n_bucket_tags, &r->asked.bucket_tags);
}

/* Tags are a right of their own, as if they were set afterwards. */
static bool tags_allowed(struct s3_request *r)
{
    bool allowed =
        !r->asked.n_bucket_tags || s3_allowed(r, "s3:TagResource", BYTES_EMPTY, VERSION_CURRENT);
    if (!allowed)
        s3_fail(r, S3_ACCESS_DENIED);
    return allowed;
}

/* A constraint may name our region, us-east-1 too: old SDKs send it. */
static bool location_fits(struct s3_request *r)
{
    struct bytes wanted = r->asked.location;
    if (!wanted.len || bytes_equal(wanted, bytes_str(r->service->config.region)))
        return true;
    s3_fail(r, S3_ILLEGAL_LOCATION);
    return false;
}

static void create_commit(struct s3_request *r)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CreateBucket create = KIST__CREATE_BUCKET__INIT;
    Kist__Bucket bucket = KIST__BUCKET__INIT;
    if (!read_configuration(r) || !s3_authorize_body(r) || !tags_allowed(r) ||
        !location_fits(r) || !s3_acl_of_bucket(r, &bucket))
        return;
    command.of_case = KIST__COMMAND__OF_CREATE_BUCKET;
    command.create_bucket = &create;
    create.bucket = &bucket;
    bucket.name = s3_str(r, r->bucket);
    bucket.created_ms = s3_now(r);
    bucket.owner = s3_str(r, r->who.identity->id);
    bucket.region = s3_str(r, bytes_str(r->service->config.region));
    bucket.n_tags = r->asked.n_bucket_tags;
    bucket.tags = r->asked.bucket_tags;
    if (bytes_equal_nocase(s3_header(r, "x-amz-bucket-object-lock-enabled"), BYTES_LIT("true"))) {
        bucket.object_lock = true;
        bucket.versioning = VERSIONING_ENABLED;
    }
    s3_commit(r, &command, create_done);
}

/* What headers add to the operation, as if it were done afterwards. Lists for nobody else are
 * nothing. https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html */
static bool extras_allowed(struct s3_request *r)
{
    static const char *const extras[][2] = {
        { "x-amz-object-ownership", "s3:PutBucketOwnershipControls" },
        { "x-amz-bucket-object-lock-enabled", "s3:PutBucketObjectLockConfiguration" },
        { "x-amz-bucket-object-lock-enabled", "s3:PutBucketVersioning" },
    };
    bool closed = bytes_equal(s3_header(r, "x-amz-acl"), BYTES_LIT("private"));
    bool allowed = !s3_acl_said(r) || closed ||
                   s3_allowed(r, "s3:PutBucketAcl", BYTES_EMPTY, VERSION_CURRENT);
    for (size_t i = 0; i < ARRAY_LEN(extras) && allowed; i++)
        allowed = !s3_header(r, extras[i][0]).len ||
                  s3_allowed(r, extras[i][1], BYTES_EMPTY, VERSION_CURRENT);
    if (!allowed)
        s3_fail(r, S3_ACCESS_DENIED);
    return allowed;
}

void s3_create_bucket(struct s3_request *r)
{
    if (!extras_allowed(r))
        return;
    if (!s3_bucket_name_valid(r->bucket))
        s3_fail(r, S3_INVALID_BUCKET_NAME);
    else if (s3_refuse_offset(r))
        s3_read_xml(r, BUCKET_XML_MAX, create_commit);
}

/* ---- the simple ones ---- */

void s3_head_bucket(struct s3_request *r)
{
    s3_add_header_str(r, "x-amz-bucket-region", r->bucket_row->region);
    s3_add_header_str(r, "x-amz-access-point-alias", "false");
    s3_reply_empty(r, 200);
}

void s3_get_bucket_location(struct s3_request *r)
{
    const Kist__Bucket *bucket = r->bucket_row;
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, "LocationConstraint");
    if (strcmp(bucket->region, "us-east-1") != 0) /* which S3 shows as empty */
        if (buf_append_str(&x.out, bucket->region) != KIST_OK)
            x.failed = true;
    s3_xml_reply(r, &x, "LocationConstraint");
}

static void no_content(struct s3_request *r)
{
    s3_reply_empty(r, 204);
}

void s3_delete_bucket(struct s3_request *r)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteBucket c = KIST__DELETE_BUCKET__INIT;
    command.of_case = KIST__COMMAND__OF_DELETE_BUCKET;
    command.delete_bucket = &c;
    c.name = s3_str(r, r->bucket);
    s3_commit(r, &command, no_content);
}

/* ---- ListBuckets ---- */

struct bucket_page {
    struct s3_request *r;
    struct s3_xml xml;
    uint64_t max, count;
    struct bytes last;
    bool truncated;
};

static bool add_bucket(void *ctx, const Kist__Bucket *bucket)
{
    struct bucket_page *p = ctx;
    if (p->count == p->max) {
        p->truncated = true;
        return false;
    }
    p->count++;
    p->last = arena_copy(p->r->arena, bytes_str(bucket->name));
    s3_xml_open(&p->xml, "Bucket");
    s3_xml_str(&p->xml, "Name", bucket->name);
    s3_xml_time(&p->xml, "CreationDate", bucket->created_ms);
    s3_xml_str(&p->xml, "BucketRegion", bucket->region);
    s3_xml_close(&p->xml, "Bucket");
    return !p->xml.failed;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html */
void s3_list_buckets(struct s3_request *r)
{
    struct bucket_page p = { .r = r };
    struct bytes prefix = s3_param(r, "prefix");
    if (!s3_param_number(r, "max-buckets", 10000, 10000, &p.max))
        return;
    if (p.max == 0) {
        s3_fail_argument(r, "max-buckets", s3_param(r, "max-buckets"),
                         "Argument max-buckets must be an integer between 1 and 10000.");
        return;
    }
    s3_xml_begin(&p.xml, "ListAllMyBucketsResult");
    const struct auth_identity *who = r->who.identity;
    s3_xml_owner(&p.xml, "Owner", who->id, who->display_name);
    s3_xml_open(&p.xml, "Buckets");
    enum kist_err err = store_list_own_buckets(store_of(r), who->id, prefix,
                                               s3_param(r, "continuation-token"), add_bucket, &p);
    if (err != KIST_OK) {
        buf_release(&p.xml.out);
        s3_fail_err(r, err);
        return;
    }
    s3_xml_close(&p.xml, "Buckets");
    if (prefix.len)
        s3_xml_text(&p.xml, "Prefix", prefix);
    if (p.truncated)
        s3_xml_text(&p.xml, "ContinuationToken", p.last);
    s3_xml_reply(r, &p.xml, "ListAllMyBucketsResult");
}

/* ---- tags ---- */

void s3_get_bucket_tagging(struct s3_request *r)
{
    const Kist__Bucket *bucket = r->bucket_row;
    if (!bucket->n_tags)
        s3_fail(r, S3_NO_SUCH_TAG_SET);
    else
        s3_tags_reply(r, bucket->n_tags, bucket->tags);
}

static void put_tags(struct s3_request *r, size_t n, Kist__Pair **tags)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutBucketTags c = KIST__PUT_BUCKET_TAGS__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_BUCKET_TAGS;
    command.put_bucket_tags = &c;
    c.name = s3_str(r, r->bucket);
    c.n_tags = n;
    c.tags = tags;
    s3_commit(r, &command, no_content);
}

static void put_tagging(struct s3_request *r)
{
    size_t n;
    Kist__Pair **tags;
    if (s3_tags_from_xml(r, buf_bytes(&r->body->xml), 50, &n, &tags))
        put_tags(r, n, tags);
}

void s3_put_bucket_tagging(struct s3_request *r)
{
    s3_read_xml(r, BUCKET_XML_MAX * 8, put_tagging);
}

void s3_delete_bucket_tagging(struct s3_request *r)
{
    put_tags(r, 0, NULL);
}
