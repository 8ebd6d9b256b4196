/* Bucket policies: put, get, delete, status.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html */
#include "server/s3/internal.h"

static void done(struct s3_request *r)
{
    s3_reply_empty(r, 204);
}

static void put_policy(struct s3_request *r)
{
    struct bytes document = buf_bytes(&r->body->xml);
    struct policy *policy = NULL;
    const char *reason = NULL;
    enum kist_err err =
        policy_parse(document, POLICY_RESOURCE, r->bucket, r->arena, &policy, &reason);
    if (err == KIST_E_INVALID)
        s3_fail_message(r, S3_MALFORMED_POLICY, reason);
    else if (err != KIST_OK)
        s3_fail_err(r, err);
    else if (policy_has_unknown_key(policy))
        s3_fail_message(r, S3_MALFORMED_POLICY, "Policy has an invalid condition key");
    else if (r->rules && r->rules->block_public_policy && policy_is_public(policy))
        s3_fail_message(r, S3_ACCESS_DENIED,
                        "Access Denied: public policies are blocked by the BlockPublicPolicy "
                        "setting of the bucket.");
    else
        s3_config_commit(r, CONFIG_POLICY, document, done);
}

void s3_put_bucket_policy(struct s3_request *r)
{
    s3_read_xml(r, POLICY_BYTES_MAX, put_policy);
}

void s3_get_bucket_policy(struct s3_request *r)
{
    struct bytes document;
    enum kist_err err = store_bucket_config(r->service->config.store, r->bucket_row,
                                            CONFIG_POLICY, r->arena, &document);
    if (err != KIST_OK) {
        s3_fail_err(r, err);
    } else if (!document.ptr) {
        s3_fail(r, S3_NO_SUCH_POLICY);
    } else {
        s3_add_header_str(r, "Content-Type", "application/json");
        exchange_reply_bytes(r->x, 200, document);
    }
}

void s3_delete_bucket_policy(struct s3_request *r)
{
    s3_config_commit(r, CONFIG_POLICY, BYTES_EMPTY, done);
}

void s3_get_bucket_policy_status(struct s3_request *r)
{
    struct s3_xml x = { .failed = false };
    if (!r->rules || !r->rules->policy) {
        s3_fail(r, S3_NO_SUCH_POLICY);
        return;
    }
    s3_xml_begin(&x, "PolicyStatus");
    s3_xml_bool(&x, "IsPublic", policy_is_public(r->rules->policy));
    s3_xml_reply(r, &x, "PolicyStatus");
}
