/* May they? Every request passes s3_authorize() before its handler; handlers ask again for what
 * else they touch. Who decides is access_is_allowed(); here is what it is told.
 * https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html */
#include <stdio.h>

#include "server/s3/acl.h"

struct question {
    struct s3_request *r;
    const Kist__Bucket *bucket;
    struct bytes account; /* whose the resource is; empty: nobody knows */
    struct object_id id;  /* key empty: the bucket itself */
    Kist__Object *object;
    bool object_asked;
    bool puts;        /* s3:PutObject is asked for */
    struct bytes one; /* the usual single value */
    struct bytes *many;
};

/* ---- condition keys ---- */

static bool give(struct question *q, struct bytes value, struct policy_values *out)
{
    if (!value.ptr)
        return false;
    q->one = value;
    *out = (struct policy_values){ &q->one, 1 };
    return true;
}

static bool give_bool(struct question *q, bool value, struct policy_values *out)
{
    return give(q, value ? BYTES_LIT("true") : BYTES_LIT("false"), out);
}

static bool give_number(struct question *q, int64_t value, struct policy_values *out)
{
    return give(q, bytes_str(arena_printf(q->r->arena, "%lld", (long long)value)), out);
}

static const Kist__Object *existing(struct question *q)
{
    struct store *store = q->r->service->config.store;
    if (!q->object_asked && q->id.key.len &&
        store_head(store, &q->id, q->r->arena, &q->object) != KIST_OK)
        q->object = NULL;
    q->object_asked = true;
    return q->object;
}

static bool give_tag(struct question *q, struct bytes name, size_t n, Kist__Pair **tags,
                     struct policy_values *out)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_nocase(bytes_str(tags[i]->name), name))
            return give(q, bytes_str(tags[i]->value), out);
    return false;
}

static bool give_tag_names(struct question *q, size_t n, Kist__Pair **tags,
                           struct policy_values *out)
{
    q->many = arena_alloc(q->r->arena, n * sizeof(*q->many) + 1);
    for (size_t i = 0; q->many && i < n; i++)
        q->many[i] = bytes_str(tags[i]->name);
    *out = (struct policy_values){ q->many, q->many ? n : 0 };
    return n > 0;
}

/* Of a form: a document. One that is none has no tags, and is refused by its handler. */
static void read_form_tags(struct s3_request *r)
{
    struct s3_xml_node *root = NULL;
    struct bytes xml = s3_header(r, "x-amz-tagging");
    struct s3_asked *asked = &r->asked;
    asked->known = true;
    if (!xml.len || s3_xml_parse(xml, r->arena, &root) != KIST_OK)
        return;
    size_t count = 0;
    const struct s3_xml_node *set = s3_xml_child(root, "TagSet");
    for (const struct s3_xml_node *n = set ? set->child : NULL; n; n = n->next)
        count++;
    asked->tags = arena_alloc(r->arena, count * sizeof(*asked->tags) + 1);
    for (const struct s3_xml_node *n = set ? set->child : NULL; asked->tags && n; n = n->next) {
        Kist__Pair *tag = arena_alloc(r->arena, sizeof(*tag));
        if (!tag)
            return;
        kist__pair__init(tag);
        tag->name = s3_str(r, s3_xml_child_text(n, "Key"));
        tag->value = s3_str(r, s3_xml_child_text(n, "Value"));
        asked->tags[asked->n_tags++] = tag;
    }
}

/* x-amz-tagging, decoded; the handler judges it once more and replies. */
static bool header_tag(struct question *q, struct bytes name, struct policy_values *out)
{
    struct bytes header = s3_header(q->r, "x-amz-tagging");
    size_t count = 0;
    q->many = arena_alloc(q->r->arena, (header.len + 1) * sizeof(*q->many));
    for (size_t at = 0; q->many && at < header.len;) {
        size_t end = bytes_find(header, BYTES_LIT("&"), at);
        end = end == SIZE_MAX ? header.len : end;
        struct bytes part = bytes_of(header.ptr + at, end - at);
        size_t eq = bytes_find(part, BYTES_LIT("="), 0);
        struct bytes raw[2] = { bytes_of(part.ptr, eq == SIZE_MAX ? part.len : eq), BYTES_EMPTY };
        if (eq != SIZE_MAX)
            raw[1] = bytes_of(part.ptr + eq + 1, part.len - eq - 1);
        for (int i = 0; i < 2; i++)
            if (uri_decode_copy(q->r->arena, raw[i], true, &raw[i]) != KIST_OK)
                return false;
        if (name.len && bytes_equal_nocase(raw[0], name))
            return give(q, raw[1], out);
        q->many[count++] = raw[0];
        at = end + 1;
    }
    *out = (struct policy_values){ q->many, count };
    return !name.len && count > 0;
}

/* name empty: the names of all. */
static bool request_tag(struct question *q, struct bytes name, struct policy_values *out)
{
    struct s3_asked *asked = &q->r->asked;
    if (q->r->is_form && !asked->known)
        read_form_tags(q->r);
    if (!asked->known)
        return header_tag(q, name, out);
    return name.len ? give_tag(q, name, asked->n_tags, asked->tags, out)
                    : give_tag_names(q, asked->n_tags, asked->tags, out);
}

static struct bytes lock_until(const struct s3_request *r)
{
    return r->asked.known && !r->is_form ? r->asked.lock_until
                                         : s3_header(r, "x-amz-object-lock-retain-until-date");
}

/* Of a bucket that is to be; name empty: the names of all. */
static bool new_bucket_tag(struct question *q, struct bytes name, struct policy_values *out)
{
    const struct s3_asked *asked = &q->r->asked;
    return name.len ? give_tag(q, name, asked->n_bucket_tags, asked->bucket_tags, out)
                    : give_tag_names(q, asked->n_bucket_tags, asked->bucket_tags, out);
}

static bool lock_key(struct question *q, struct bytes name, struct policy_values *out)
{
    const struct s3_asked *asked = &q->r->asked;
    if (!asked->known || q->r->is_form)
        return false;
    if (bytes_equal_nocase(name, BYTES_LIT("object-lock-mode")))
        return give(q, asked->lock_mode, out);
    if (bytes_equal_nocase(name, BYTES_LIT("object-lock-retain-until-date")))
        return give(q, asked->lock_until, out);
    return bytes_equal_nocase(name, BYTES_LIT("object-lock-legal-hold")) &&
           give(q, asked->hold, out);
}

static bool remaining_days(struct question *q, struct policy_values *out)
{
    int64_t until;
    struct bytes date = lock_until(q->r);
    if (!date.ptr || time_parse_iso(date, &until) != KIST_OK)
        return false;
    return give_number(q, (until - s3_now(q->r)) / 86400000, out);
}

static bool principal_key(struct question *q, struct bytes name, struct policy_values *out)
{
    const struct auth_identity *who = q->r->who.identity;
    bool anonymous = !who->id.len;
    if (bytes_equal_nocase(name, BYTES_LIT("PrincipalIsAWSService")))
        return !anonymous && give_bool(q, false, out);
    if (bytes_equal_nocase(name, BYTES_LIT("PrincipalArn")))
        return !anonymous && give(q, who->arn, out);
    if (bytes_equal_nocase(name, BYTES_LIT("PrincipalAccount")))
        return !anonymous && give(q, who->account, out);
    if (bytes_equal_nocase(name, BYTES_LIT("PrincipalType")))
        return give(q, anonymous ? BYTES_LIT("Anonymous") : who->type, out);
    if (bytes_equal_nocase(name, BYTES_LIT("userid")))
        return give(q, anonymous ? BYTES_LIT("anonymous") : who->user_id, out);
    if (bytes_equal_nocase(name, BYTES_LIT("username")))
        return who->user_name.len && give(q, who->user_name, out);
    return false;
}

static bool aws_key(struct question *q, struct bytes name, struct policy_values *out)
{
    static const struct bytes new_tag = { (const uint8_t *)"RequestTag/", 11 };
    struct s3_request *r = q->r;
    char date[TIME_ISO_LEN];
    if (bytes_equal_nocase(bytes_of(name.ptr, name.len < 11 ? 0 : 11), new_tag))
        return new_bucket_tag(q, bytes_of(name.ptr + 11, name.len - 11), out);
    if (bytes_equal_nocase(name, BYTES_LIT("TagKeys")))
        return new_bucket_tag(q, BYTES_EMPTY, out);
    if (bytes_equal_nocase(name, BYTES_LIT("ResourceAccount")))
        return q->account.len && give(q, q->account, out);
    if (bytes_equal_nocase(name, BYTES_LIT("SourceIp")))
        return give(q, bytes_str(r->http->peer), out);
    if (bytes_equal_nocase(name, BYTES_LIT("SecureTransport")))
        return give_bool(q, r->http->tls, out);
    if (bytes_equal_nocase(name, BYTES_LIT("ViaAWSService")))
        return give_bool(q, false, out);
    if (bytes_equal_nocase(name, BYTES_LIT("UserAgent")))
        return give(q, exchange_header(r->x, "user-agent"), out);
    if (bytes_equal_nocase(name, BYTES_LIT("Referer")))
        return give(q, exchange_header(r->x, "referer"), out);
    if (bytes_equal_nocase(name, BYTES_LIT("RequestedRegion")))
        return give(q, bytes_str(r->service->config.region), out);
    if (bytes_equal_nocase(name, BYTES_LIT("CurrentTime"))) {
        time_iso(s3_now(r), date);
        return give(q, arena_copy(r->arena, bytes_str(date)), out);
    }
    if (bytes_equal_nocase(name, BYTES_LIT("EpochTime")))
        return give_number(q, s3_now(r) / 1000, out);
    return principal_key(q, name, out);
}

bool s3_aws_key(struct s3_request *r, struct bytes key, struct bytes *value)
{
    struct question q = { .r = r };
    struct policy_values found;
    if (auth_web_key(r->who.identity, key, value))
        return true;
    if (!bytes_equal_nocase(bytes_of(key.ptr, key.len < 4 ? 0 : 4), BYTES_LIT("aws:")) ||
        !aws_key(&q, bytes_of(key.ptr + 4, key.len - 4), &found))
        return false;
    *value = q.one;
    return true;
}

/* Keys that are a parameter or a header by another name. */
static bool plain_key(struct question *q, struct bytes name, struct policy_values *out)
{
    static const struct {
        const char *key, *param, *header;
    } plain[] = {
        { "prefix", "prefix", NULL },
        { "delimiter", "delimiter", NULL },
        { "max-keys", "max-keys", NULL },
        { "x-amz-acl", NULL, "x-amz-acl" },
        { "x-amz-copy-source", NULL, "x-amz-copy-source" },
        { "x-amz-metadata-directive", NULL, "x-amz-metadata-directive" },
        { "x-amz-storage-class", NULL, "x-amz-storage-class" },
        { "x-amz-content-sha256", NULL, "x-amz-content-sha256" },
        { "x-amz-server-side-encryption", NULL, "x-amz-server-side-encryption" },
        { "x-amz-server-side-encryption-aws-kms-key-id", NULL,
          "x-amz-server-side-encryption-aws-kms-key-id" },
        { "x-amz-server-side-encryption-customer-algorithm", NULL,
          "x-amz-server-side-encryption-customer-algorithm" },
        { "x-amz-website-redirect-location", NULL, "x-amz-website-redirect-location" },
        { "object-lock-mode", NULL, "x-amz-object-lock-mode" },
        { "object-lock-retain-until-date", NULL, "x-amz-object-lock-retain-until-date" },
        { "object-lock-legal-hold", NULL, "x-amz-object-lock-legal-hold" },
        { "x-amz-grant-full-control", NULL, "x-amz-grant-full-control" },
        { "x-amz-grant-read", NULL, "x-amz-grant-read" },
        { "x-amz-grant-read-acp", NULL, "x-amz-grant-read-acp" },
        { "x-amz-grant-write", NULL, "x-amz-grant-write" },
        { "x-amz-grant-write-acp", NULL, "x-amz-grant-write-acp" },
        { "x-amz-object-ownership", NULL, "x-amz-object-ownership" },
    };
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (bytes_equal_nocase(name, bytes_str(plain[i].key)))
            return give(q,
                        plain[i].param ? s3_param(q->r, plain[i].param)
                                       : s3_header(q->r, plain[i].header),
                        out);
    return false;
}

/* What a write stands under, as s3_write_condition() reads it: a form cannot say. */
static bool write_condition_key(struct question *q, struct bytes name, struct policy_values *out)
{
    bool match = bytes_equal_nocase(name, BYTES_LIT("if-match"));
    if ((!match && !bytes_equal_nocase(name, BYTES_LIT("if-none-match"))) || q->r->is_form)
        return false;
    return give(q, exchange_header(q->r->x, match ? "if-match" : "if-none-match"), out);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html */
static bool creates_object(const struct s3_request *r)
{
    void (*handle)(struct s3_request *) = s3_operations[r->op_index].handle;
    return handle != s3_create_multipart_upload && handle != s3_upload_part &&
           handle != s3_upload_part_copy;
}

/* Who signed how, and when. */
static bool signature_key(struct question *q, struct bytes name, struct policy_values *out)
{
    const struct auth_result *who = &q->r->who;
    if (!who->identity->id.len)
        return false;
    if (bytes_equal_nocase(name, BYTES_LIT("authType")))
        return give(q,
                    q->r->is_form    ? BYTES_LIT("POST")
                    : who->presigned ? BYTES_LIT("REST-QUERY-STRING")
                                     : BYTES_LIT("REST-HEADER"),
                    out);
    if (bytes_equal_nocase(name, BYTES_LIT("signatureversion")))
        return give(q, who->version_2 ? BYTES_LIT("AWS") : BYTES_LIT("AWS4-HMAC-SHA256"), out);
    int64_t age_ms = s3_now(q->r) - who->signed_ms;
    return bytes_equal_nocase(name, BYTES_LIT("signatureAge")) && who->signed_ms &&
           give_number(q, age_ms > 0 ? age_ms : 0, out);
}

/* What the question is about, more than what the request says. */
static bool resource_key(struct question *q, struct bytes name, struct policy_values *out)
{
    if (bytes_equal_nocase(name, BYTES_LIT("ResourceAccount")))
        return q->account.len && give(q, q->account, out);
    uint64_t version = q->id.version;
    if (bytes_equal_nocase(name, BYTES_LIT("VersionId")))
        return version != VERSION_CURRENT &&
               give(q, s3_version_text(q->r->arena, version == VERSION_NULL ? 0 : version), out);
    return bytes_equal_nocase(name, BYTES_LIT("ObjectCreationOperation")) && q->puts &&
           give_bool(q, creates_object(q->r), out);
}

static bool s3_key(struct question *q, struct bytes name, struct policy_values *out)
{
    static const struct bytes existing_tag = { (const uint8_t *)"ExistingObjectTag/", 18 };
    static const struct bytes new_tag = { (const uint8_t *)"RequestObjectTag/", 17 };
    struct bytes head = bytes_of(name.ptr, name.len < existing_tag.len ? 0 : existing_tag.len);
    const Kist__Object *o;
    if (bytes_equal_nocase(head, existing_tag)) {
        o = existing(q);
        return o && give_tag(q, bytes_of(name.ptr + head.len, name.len - head.len), o->n_tags,
                             o->tags, out);
    }
    head = bytes_of(name.ptr, name.len < new_tag.len ? 0 : new_tag.len);
    if (bytes_equal_nocase(head, new_tag))
        return request_tag(q, bytes_of(name.ptr + head.len, name.len - head.len), out);
    if (bytes_equal_nocase(name, BYTES_LIT("RequestObjectTagKeys")))
        return request_tag(q, BYTES_EMPTY, out);
    if (bytes_equal_nocase(name, BYTES_LIT("ExistingObjectTagKeys"))) {
        o = existing(q);
        return o && give_tag_names(q, o->n_tags, o->tags, out);
    }
    if (bytes_equal_nocase(name, BYTES_LIT("object-lock-remaining-retention-days")))
        return remaining_days(q, out);
    if (bytes_equal_nocase(name, BYTES_LIT("TlsVersion")))
        return q->r->http->tls_version && give(q, bytes_str(q->r->http->tls_version), out);
    if (bytes_equal_nocase(name, BYTES_LIT("LocationConstraint")))
        return q->r->asked.location.len && give(q, q->r->asked.location, out);
    return signature_key(q, name, out) || resource_key(q, name, out) || lock_key(q, name, out) ||
           write_condition_key(q, name, out) || plain_key(q, name, out);
}

static bool context(void *ctx, struct bytes key, struct policy_values *out)
{
    struct question *q = ctx;
    struct bytes web;
    if (auth_web_key(q->r->who.identity, key, &web))
        return give(q, web, out);
    struct bytes aws = bytes_of(key.ptr, key.len < 4 ? 0 : 4);
    struct bytes s3 = bytes_of(key.ptr, key.len < 3 ? 0 : 3);
    if (bytes_equal_nocase(aws, BYTES_LIT("aws:")))
        return aws_key(q, bytes_of(key.ptr + 4, key.len - 4), out);
    if (bytes_equal_nocase(s3, BYTES_LIT("s3:")))
        return s3_key(q, bytes_of(key.ptr + 3, key.len - 3), out);
    return false;
}

/* ---- the question ---- */

static const Kist__Object *existing_object(void *ctx)
{
    return existing(ctx);
}

/* "The root user of the account that owns a bucket can always use this operation, even if the
 * policy explicitly denies": nobody locks himself out.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html */
static bool is_about_policy(const char *action)
{
    return strcmp(action, "s3:GetBucketPolicy") == 0 ||
           strcmp(action, "s3:PutBucketPolicy") == 0 ||
           strcmp(action, "s3:DeleteBucketPolicy") == 0;
}

/* Without a bucket (ListBuckets, CreateBucket) the account itself is asked about. */
static bool is_own_bucket(struct s3_request *r, const Kist__Bucket *bucket,
                          struct auth_owner *owner)
{
    *owner = r->owner;
    if (!bucket) {
        *owner = (struct auth_owner){ .account = r->who.identity->account };
        return r->who.identity->id.len > 0;
    }
    if (bucket != r->bucket_row && s3_owner_find(r, bucket->owner, owner) != KIST_OK) {
        *owner = (struct auth_owner){ .id = BYTES_EMPTY };
        return false;
    }
    return s3_is_own(r, owner);
}

static bool ask(struct s3_request *r, const Kist__Bucket *bucket, const struct s3_rules *rules,
                const char *action, const struct object_id *id)
{
    struct auth_owner owner;
    bool own = is_own_bucket(r, bucket, &owner);
    bool lists = bucket && bucket->ownership != OWNERSHIP_ENFORCED && s3_acl_is_of_object(action);
    const struct auth_identity *who = r->who.identity;
    struct question q = { .r = r,
                          .bucket = bucket,
                          .account = owner.account,
                          .id = *id,
                          .puts = strcmp(action, "s3:PutObject") == 0 };
    if (own && !lists && who->is_root && !who->session &&
        (!rules || !rules->policy || is_about_policy(action)))
        return true; /* nothing can deny */
    struct policy_request request = {
        .principal = { .anonymous = !who->id.len,
                       .account = who->account,
                       .arn = who->arn,
                       .role = who->role,
                       .canonical = who->id },
        .action = bytes_str(action),
        .context = context,
        .ctx = &q,
    };
    char *resource = arena_printf(r->arena, "arn:aws:s3:::%s%s%s",
                                  bucket ? bucket->name : s3_str(r, id->bucket),
                                  id->key.len ? "/" : "", s3_str(r, id->key));
    if (!resource)
        return false;
    request.resource = bytes_str(resource);
    struct s3_acl_question asked = { .bucket = bucket,
                                     .bucket_owner = owner.id,
                                     .action = action,
                                     .ignore_public = rules && rules->ignore_public_acls,
                                     .creating = r->creating,
                                     .object = existing_object,
                                     .ctx = &q };
    struct s3_acl_answer acl = s3_acl_says(r, &asked);
    struct access_question question = {
        .request = &request,
        .bucket = rules ? rules->policy : NULL,
        .identity = who->policies,
        .identity_count = who->policy_count,
        .session = who->session,
        .is_account_root = who->is_root,
        .same_account = own,
        .acl_group = acl.group,
        .acl_account = acl.account,
        .foreign_object = acl.foreign,
        .restrict_public = rules && rules->restrict_public_buckets,
    };
    return access_is_allowed(&question);
}

/* Nobody is billed here, but who is not the owner must have said that he would be.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/RequesterPaysBuckets.html */
static bool payer_agrees(struct s3_request *r, const Kist__Bucket *bucket,
                         const struct s3_rules *rules)
{
    static const char name[] = "x-amz-request-payer";
    struct auth_owner owner;
    if (!bucket || !rules || !rules->requester_pays || is_own_bucket(r, bucket, &owner))
        return true;
    if (!r->who.identity->id.len ||
        !(bytes_equal_nocase(s3_header(r, name), BYTES_LIT("requester")) ||
          bytes_equal_nocase(s3_param(r, name), BYTES_LIT("requester"))))
        return false;
    if (!r->charged)
        s3_add_header_str(r, "x-amz-request-charged", "requester");
    r->charged = true;
    return true;
}

/* Of an operation that names a version, the action has another name. */
static const char *versioned_action(uint64_t version, const char *action)
{
    static const char *const names[][2] = {
        { "s3:GetObject", "s3:GetObjectVersion" },
        { "s3:GetObjectAcl", "s3:GetObjectVersionAcl" },
        { "s3:GetObjectAttributes", "s3:GetObjectVersionAttributes" },
        { "s3:GetObjectTagging", "s3:GetObjectVersionTagging" },
        { "s3:PutObjectAcl", "s3:PutObjectVersionAcl" },
        { "s3:PutObjectTagging", "s3:PutObjectVersionTagging" },
        { "s3:DeleteObject", "s3:DeleteObjectVersion" },
        { "s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging" },
    };
    for (size_t i = 0; version != VERSION_CURRENT && i < ARRAY_LEN(names); i++)
        if (strcmp(action, names[i][0]) == 0)
            return names[i][1];
    return action;
}

bool s3_allowed(struct s3_request *r, const char *action, struct bytes key, uint64_t version)
{
    struct object_id id = { r->bucket, key, version };
    return ask(r, r->bucket_row, r->rules, action, &id);
}

bool s3_allowed_source(struct s3_request *r, const Kist__Bucket *bucket, const char *action,
                       const struct object_id *id)
{
    struct s3_rules *rules = NULL;
    if (s3_rules_get(r->service, bucket, &rules) != KIST_OK)
        return false;
    bool allowed = payer_agrees(r, bucket, rules) &&
                   ask(r, bucket, rules, versioned_action(id->version, action), id);
    s3_rules_drop(rules);
    return allowed;
}

bool s3_may_know_absence(struct s3_request *r)
{
    return s3_allowed(r, "s3:ListBucket", BYTES_EMPTY, VERSION_CURRENT);
}

/* A list that comes with a new object. With lists disabled it can only say what holds anyway. */
static bool acl_allowed(struct s3_request *r)
{
    const char *action = s3_operations[r->op_index].action;
    bool creates = action && strcmp(action, "s3:PutObject") == 0;
    if (!creates || !s3_acl_said(r) || r->bucket_row->ownership == OWNERSHIP_ENFORCED)
        return true;
    r->creating = true;
    bool allowed = s3_allowed(r, "s3:PutObjectAcl", r->key, VERSION_CURRENT);
    r->creating = false;
    return allowed;
}

/* What headers add to an operation. */
static bool extras_allowed(struct s3_request *r)
{
    static const char *const extras[][2] = {
        { "x-amz-tagging", "s3:PutObjectTagging" },
        { "x-amz-object-lock-mode", "s3:PutObjectRetention" },
        { "x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold" },
        { "x-amz-bypass-governance-retention", "s3:BypassGovernanceRetention" },
    };
    for (size_t i = 0; i < ARRAY_LEN(extras); i++)
        if (s3_header(r, extras[i][0]).len && !s3_allowed(r, extras[i][1], r->key, r->version))
            return false;
    return acl_allowed(r);
}

bool s3_authorize_put(struct s3_request *r)
{
    bool allowed = payer_agrees(r, r->bucket_row, r->rules) &&
                   s3_allowed(r, "s3:PutObject", r->key, VERSION_CURRENT) && extras_allowed(r);
    if (!allowed)
        s3_fail(r, S3_ACCESS_DENIED);
    return allowed;
}

static bool action_allowed(struct s3_request *r, const char *action)
{
    return s3_allowed(r, versioned_action(r->version, action), r->key, r->version);
}

/* Their conditions may speak of the body: the question comes again with it. */
static bool is_asked_again(const struct s3_request *r)
{
    void (*handle)(struct s3_request *) = s3_operations[r->op_index].handle;
    return handle == s3_create_bucket || handle == s3_put_object_tagging ||
           handle == s3_put_object_retention || handle == s3_put_object_legal_hold;
}

bool s3_authorize_body(struct s3_request *r)
{
    bool allowed = action_allowed(r, s3_operations[r->op_index].action);
    if (!allowed)
        s3_fail(r, S3_ACCESS_DENIED);
    return allowed;
}

bool s3_authorize(struct s3_request *r)
{
    const char *action = s3_operations[r->op_index].action;
    bool form = s3_operations[r->op_index].handle == s3_post_object; /* whose fields will tell */
    bool later = is_asked_again(r) && r->who.identity->id.len;
    bool allowed = form || payer_agrees(r, r->bucket_row, r->rules);
    if (action && allowed && !later)
        allowed = action_allowed(r, action);
    if (allowed && r->scope == S3_SCOPE_OBJECT)
        allowed = extras_allowed(r);
    if (!allowed)
        s3_fail(r, S3_ACCESS_DENIED);
    return allowed;
}
