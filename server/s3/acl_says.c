/* What access control lists allow.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#permissions */
#include "server/s3/acl.h"
#include "server/s3/multipart.h"

static const struct {
    const char *action;
    bool object; /* its own list counts; otherwise the bucket's */
    enum acl_permission permission;
} rules[] = {
    { "s3:ListBucket", false, ACL_READ },
    { "s3:ListBucketVersions", false, ACL_READ },
    { "s3:ListBucketMultipartUploads", false, ACL_READ },
    { "s3:PutObject", false, ACL_WRITE },
    { "s3:DeleteObject", false, ACL_WRITE },
    { "s3:GetBucketAcl", false, ACL_READ_ACP },
    { "s3:PutBucketAcl", false, ACL_WRITE_ACP },
    { "s3:GetObject", true, ACL_READ },
    { "s3:GetObjectVersion", true, ACL_READ },
    { "s3:GetObjectAttributes", true, ACL_READ },
    { "s3:GetObjectVersionAttributes", true, ACL_READ },
    { "s3:GetObjectAcl", true, ACL_READ_ACP },
    { "s3:GetObjectVersionAcl", true, ACL_READ_ACP },
    { "s3:PutObjectAcl", true, ACL_WRITE_ACP },
    { "s3:PutObjectVersionAcl", true, ACL_WRITE_ACP },
};

static size_t rule_of(const char *action)
{
    size_t i = 0;
    while (i < ARRAY_LEN(rules) && strcmp(rules[i].action, action) != 0)
        i++;
    return i;
}

bool s3_acl_is_of_object(const char *action)
{
    size_t i = rule_of(action);
    return i < ARRAY_LEN(rules) && rules[i].object;
}

static void read_list(const struct s3_request *r, const struct s3_acl_question *q,
                      const Kist__Acl *acl, bool is_owner, enum acl_permission wanted,
                      struct s3_acl_answer *out)
{
    struct bytes id = r->who.identity->id;
    if (!acl) {
        out->account = out->account || is_owner;
        return;
    }
    for (size_t i = 0; i < acl->n_grants; i++) {
        const Kist__Grant *g = acl->grants[i];
        if (!(g->permission & wanted))
            continue;
        switch (g->grantee) {
        case ACL_OWNER:
            out->account = out->account || is_owner;
            break;
        case ACL_ACCOUNT:
            out->account = out->account || (id.len && bytes_equal(bytes_str(g->id), id));
            break;
        case ACL_EVERYBODY:
            out->group = out->group || !q->ignore_public;
            break;
        case ACL_AUTHENTICATED:
            out->group = out->group || (id.len && !q->ignore_public);
            break;
        default: /* log delivery is no client */
            break;
        }
    }
}

static bool owns(const struct s3_request *r, const struct s3_acl_question *q,
                 const Kist__Object *o)
{
    struct bytes id = r->who.identity->id;
    struct bytes owner = o->acl && o->acl->owner[0] ? bytes_str(o->acl->owner) : q->bucket_owner;
    return id.len && bytes_equal(owner, id);
}

/* Who began an upload may see and end it. */
static bool is_initiator(struct s3_request *r)
{
    struct s3_upload_id id;
    Kist__Upload *upload = NULL;
    struct bytes who = r->who.identity->id;
    return who.len && s3_upload_id_parse(s3_param(r, "uploadId"), &id) &&
           store_upload(r->service->config.store, r->bucket, r->key, id.id, bytes_of(id.nonce, 8),
                        r->arena, &upload) == KIST_OK &&
           bytes_equal(bytes_str(upload->initiator), who);
}

/* Lists of objects: the owner may always see and change the list itself. */
static void of_object(struct s3_request *r, const struct s3_acl_question *q,
                      enum acl_permission wanted, struct s3_acl_answer *out)
{
    const Kist__Object *o = q->object(q->ctx);
    if (!o)
        return;
    bool is_owner = owns(r, q, o);
    out->foreign = o->acl && o->acl->owner[0];
    out->account = is_owner && (wanted & (ACL_READ_ACP | ACL_WRITE_ACP));
    read_list(r, q, o->acl, is_owner, wanted, out);
}

struct s3_acl_answer s3_acl_says(struct s3_request *r, const struct s3_acl_question *q)
{
    struct s3_acl_answer answer = { .group = false };
    size_t i = rule_of(q->action);
    if (!q->bucket || q->bucket->ownership == OWNERSHIP_ENFORCED)
        return answer;
    if (i == ARRAY_LEN(rules)) {
        bool upload = strcmp(q->action, "s3:AbortMultipartUpload") == 0 ||
                      strcmp(q->action, "s3:ListMultipartUploadParts") == 0;
        answer.account = upload && is_initiator(r);
        return answer;
    }
    enum acl_permission wanted = q->creating ? ACL_WRITE : rules[i].permission;
    if (rules[i].object && !q->creating) {
        of_object(r, q, wanted, &answer);
        return answer;
    }
    struct bytes id = r->who.identity->id;
    read_list(r, q, q->bucket->acl, id.len && bytes_equal(id, q->bucket_owner), wanted, &answer);
    if (wanted == ACL_WRITE && (answer.group || answer.account)) {
        /* to create; what is there already is its owner's */
        const Kist__Object *o = q->object(q->ctx);
        if (o && !owns(r, q, o))
            answer = (struct s3_acl_answer){ .group = false };
    }
    return answer;
}
