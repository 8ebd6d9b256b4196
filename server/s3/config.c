/* What PutBucket* gives, GetBucket* returns and DeleteBucket* removes: one row per kind.
 *
 * A document is judged when it comes (shape first, then meaning), stored in a canonical form and
 * returned as it is; who acts on it (policy, CORS, website ...) reads it from there. The kind is
 * the operation's sub-resource. */
#include "server/s3/access_log.h"
#include "server/s3/acl.h"
#include "server/s3/xml_shape.h"

#define CONFIG_XML_MAX ((size_t)1 << 20)
#define SITE_RELEASE_MAX 64

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

/* ---- shapes: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Types.html ---- */

static const struct s3_shape cors_rule[] = {
    TEXT("ID", 0, 1),
    TEXT("AllowedHeader", 0, MANY),
    TEXT("AllowedMethod", 1, MANY),
    TEXT("AllowedOrigin", 1, MANY),
    TEXT("ExposeHeader", 0, MANY),
    NUMBER("MaxAgeSeconds", 0, 1),
    END,
};
static const struct s3_shape cors[] = { TREE("CORSRule", 1, 100, cors_rule), END };

static const struct s3_shape website_error[] = { TEXT("Key", 1, 1), END };
static const struct s3_shape website_index[] = { TEXT("Suffix", 1, 1), END };
static const struct s3_shape website_all[] = { TEXT("HostName", 1, 1),
                                               ENUM("Protocol", 0, 1, "http|https"), END };
static const struct s3_shape website_condition[] = {
    ENUM("HttpErrorCodeReturnedEquals", 0, 1,
         "400|401|402|403|404|405|406|409|410|411|412|413|414|415|416|500|501|503"),
    TEXT("KeyPrefixEquals", 0, 1), END
};
static const struct s3_shape website_redirect[] = {
    TEXT("HostName", 0, 1),
    ENUM("HttpRedirectCode", 0, 1, "301|302|303|304|305|307|308"),
    ENUM("Protocol", 0, 1, "http|https"),
    ANY_TEXT("ReplaceKeyPrefixWith", 0, 1),
    ANY_TEXT("ReplaceKeyWith", 0, 1),
    END,
};
static const struct s3_shape website_rule[] = { TREE("Condition", 0, 1, website_condition),
                                                TREE("Redirect", 0, 1, website_redirect),
                                                TEXT("Function", 0, 1), END };
static const struct s3_shape website_rules[] = { TREE("RoutingRule", 1, 50, website_rule), END };
static const struct s3_shape website[] = {
    TREE("ErrorDocument", 0, 1, website_error),
    TREE("IndexDocument", 0, 1, website_index),
    TREE("RedirectAllRequestsTo", 0, 1, website_all),
    TREE("RoutingRules", 0, 1, website_rules),
    END,
};

static const struct s3_shape public_access_block[] = { BOOL("BlockPublicAcls", 0, 1),
                                                       BOOL("IgnorePublicAcls", 0, 1),
                                                       BOOL("BlockPublicPolicy", 0, 1),
                                                       BOOL("RestrictPublicBuckets", 0, 1), END };
static const struct s3_shape site[] = { TEXT("Release", 1, 1), END };
static const struct s3_shape quota[] = { SIZE("Bytes", 0, 1), SIZE("Objects", 0, 1), END };
static const struct s3_shape payment[] = { ENUM("Payer", 1, 1, "BucketOwner|Requester"), END };
static const struct s3_shape lock_retention[] = { ENUM("Mode", 1, 1, "GOVERNANCE|COMPLIANCE"),
                                                  NUMBER("Days", 0, 1), NUMBER("Years", 0, 1),
                                                  END };
static const struct s3_shape lock_rule[] = { TREE("DefaultRetention", 1, 1, lock_retention),
                                             END };
static const struct s3_shape lock[] = { ENUM("ObjectLockEnabled", 1, 1, "Enabled"),
                                        TREE("Rule", 0, 1, lock_rule), END };
static const struct s3_shape encryption_by[] = {
    ENUM("SSEAlgorithm", 1, 1, "AES256|aws:kms|aws:kms:dsse"), TEXT("KMSMasterKeyID", 0, 1), END
};
static const struct s3_shape encryption_blocked[] = { TEXT("EncryptionType", 0, MANY), END };
static const struct s3_shape encryption_rule[] = {
    TREE("ApplyServerSideEncryptionByDefault", 1, 1, encryption_by),
    BOOL("BucketKeyEnabled", 0, 1),
    TREE("BlockedEncryptionTypes", 0, 1, encryption_blocked),
    END,
};
static const struct s3_shape encryption[] = { TREE("Rule", 1, 1, encryption_rule), END };
static const struct s3_shape logging_partitioned[] = {
    ENUM("PartitionDateSource", 0, 1, "EventTime|DeliveryTime"), END
};
static const struct s3_shape logging_format[] = {
    ANY_TEXT("SimplePrefix", 0, 1),
    TREE("PartitionedPrefix", 0, 1, logging_partitioned),
    END,
};
static const struct s3_shape logging_grantee[] = {
    ANY_TEXT("DisplayName", 0, 1),
    TEXT("EmailAddress", 0, 1),
    TEXT("ID", 0, 1),
    TEXT("URI", 0, 1),
    END,
};
static const struct s3_shape logging_grant[] = {
    TREE("Grantee", 1, 1, logging_grantee), ENUM("Permission", 1, 1, "FULL_CONTROL|READ|WRITE"),
    END
};
static const struct s3_shape logging_grants[] = {
    TREE("Grant", 0, ACL_GRANTS_MAX - 1, logging_grant), END
};
static const struct s3_shape logging_enabled[] = {
    TEXT("TargetBucket", 1, 1),
    ANY_TEXT("TargetPrefix", 1, 1),
    TREE("TargetGrants", 0, 1, logging_grants),
    TREE("TargetObjectKeyFormat", 0, 1, logging_format),
    END,
};
static const struct s3_shape logging[] = { TREE("LoggingEnabled", 0, 1, logging_enabled), END };
/* Of what is not built, only the document that asks for nothing. */
static const struct s3_shape nothing[] = { END };

/* ---- what shapes do not say ---- */

static size_t stars(struct bytes text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '*';
    return n;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html */
static bool check_cors(struct s3_request *r, const struct s3_xml_node *root)
{
    static const char *const methods[] = { "GET", "PUT", "POST", "DELETE", "HEAD" };
    for (const struct s3_xml_node *rule = root->child; rule; rule = rule->next)
        for (const struct s3_xml_node *n = rule->child; n; n = n->next) {
            bool method = strcmp(n->name, "AllowedMethod") == 0, known = false;
            for (size_t i = 0; i < ARRAY_LEN(methods); i++)
                known = known || bytes_equal(n->text, bytes_str(methods[i]));
            const char *format = NULL;
            if (method && !known)
                format = "Found unsupported HTTP method in CORS config. Unsupported method is %s";
            else if (strcmp(n->name, "AllowedOrigin") == 0 && stars(n->text) > 1)
                format = "AllowedOrigin \"%s\" can not have more than one wildcard.";
            else if (strcmp(n->name, "AllowedHeader") == 0 && stars(n->text) > 1)
                format = "AllowedHeader \"%s\" can not have more than one wildcard.";
            else if (strcmp(n->name, "ExposeHeader") == 0 && stars(n->text) > 0)
                format = "ExposeHeader \"%s\" contains wildcard. We currently do not support "
                         "wildcard for ExposeHeader.";
            if (!format)
                continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            char *message = arena_printf(r->arena, format, s3_str(r, n->text));
#pragma GCC diagnostic pop
            s3_fail_message(r, S3_INVALID_REQUEST, message ? message : "");
            return false;
        }
    return true;
}

/* <Function> is kist's own: requests below a prefix are a function's, not the bucket's. */
static bool check_website_rule(struct s3_request *r, const struct s3_xml_node *rule)
{
    const struct s3_xml_node *redirect = s3_xml_child(rule, "Redirect");
    const struct s3_xml_node *function = s3_xml_child(rule, "Function");
    const struct s3_xml_node *condition = s3_xml_child(rule, "Condition");
    if (function) {
        bool prefix = s3_xml_child(condition, "KeyPrefixEquals") && !condition->child->next;
        if (prefix && !redirect)
            return true;
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "A rule with Function has a Condition with KeyPrefixEquals alone, and no "
                        "Redirect.");
        return false;
    }
    if (s3_xml_child(redirect, "ReplaceKeyWith") &&
        s3_xml_child(redirect, "ReplaceKeyPrefixWith")) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "You can only define ReplaceKeyPrefix or ReplaceKey but not both.");
        return false;
    }
    if (!redirect || !redirect->child) {
        s3_fail(r, S3_MALFORMED_XML);
        return false;
    }
    return true;
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketWebsite.html */
static bool check_website(struct s3_request *r, const struct s3_xml_node *root)
{
    const struct s3_xml_node *all = s3_xml_child(root, "RedirectAllRequestsTo");
    const struct s3_xml_node *index = s3_xml_child(root, "IndexDocument");
    struct bytes suffix = s3_xml_child_text(index, "Suffix");
    if (all ? root->child->next != NULL : !index) {
        s3_fail_argument(r, all ? "RedirectAllRequestsTo" : "IndexDocument", BYTES_EMPTY,
                         all ? "RedirectAllRequestsTo cannot be provided in conjunction with "
                               "other Routing Rules."
                             : "A value for IndexDocument Suffix must be provided if "
                               "RedirectAllRequestsTo is empty");
        return false;
    }
    if (index && bytes_find(suffix, BYTES_LIT("/"), 0) != SIZE_MAX) {
        s3_fail_argument(r, "IndexDocument", suffix,
                         "The IndexDocument Suffix is not well "
                         "formed");
        return false;
    }
    const struct s3_xml_node *rules = s3_xml_child(root, "RoutingRules");
    for (const struct s3_xml_node *n = rules ? rules->child : NULL; n; n = n->next)
        if (!check_website_rule(r, n))
            return false;
    return true;
}

/* Kist's own: the release is a part of keys, so that nothing in it may lead elsewhere. */
static bool check_site(struct s3_request *r, const struct s3_xml_node *root)
{
    struct bytes release = s3_xml_child_text(root, "Release");
    bool good = release.len > 0 && release.len <= SITE_RELEASE_MAX && release.ptr[0] != '.';
    for (size_t i = 0; good && i < release.len; i++) {
        uint8_t c = release.ptr[i];
        good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               c == '-' || c == '.' || c == '_';
    }
    if (!good)
        s3_fail_argument(r, "Release", release,
                         "A release is 1 to 64 letters, digits, -, . and "
                         "_, and does not begin with a dot.");
    return good;
}

static uint64_t limit(const struct s3_xml_node *root, const char *name)
{
    uint64_t n = 0;
    struct bytes text = s3_xml_child_text(root, name);
    return text.ptr && bytes_to_u64(text, INT64_MAX, &n) == KIST_OK ? n + 1 : 0;
}

/* Kist's own: what a bucket may hold, versions included. */
static bool check_quota(struct s3_request *r, const struct s3_xml_node *root)
{
    uint64_t *limits = arena_alloc(r->arena, 2 * sizeof(*limits));
    r->state = limits;
    if (!limits || !root->child) {
        s3_fail(r, limits ? S3_MALFORMED_XML : S3_SLOW_DOWN);
        return false;
    }
    limits[0] = limit(root, "Bytes");
    limits[1] = limit(root, "Objects");
    return true;
}

/* ---- kinds ---- */

static const struct config_kind {
    const char *query, *root;
    const struct s3_shape *shape;
    /* Before it is judged: names what has no name. False: out of memory. */
    bool (*prepare)(struct s3_request *r, struct s3_xml_node *root);
    bool (*check)(struct s3_request *r, const struct s3_xml_node *root);
    const char *fallback; /* what S3 returns when nothing is set; NULL: the error below */
    enum s3_error missing;
    enum bucket_config kind;
    bool partial; /* what the shape leaves out is not built */
} kinds[] = {
    { "cors", "CORSConfiguration", cors, NULL, check_cors, NULL, S3_NO_SUCH_CORS, CONFIG_CORS,
      false },
    { "website", "WebsiteConfiguration", website, NULL, check_website, NULL, S3_NO_SUCH_WEBSITE,
      CONFIG_WEBSITE, false },
    { "site", "SiteConfiguration", site, NULL, check_site, NULL, S3_NO_SUCH_WEBSITE, CONFIG_SITE,
      false },
    { "publicAccessBlock", "PublicAccessBlockConfiguration", public_access_block, NULL, NULL,
      NULL, S3_NO_SUCH_PUBLIC_ACCESS_BLOCK, CONFIG_PUBLIC_ACCESS_BLOCK, false },
    { "requestPayment", "RequestPaymentConfiguration", payment, NULL, NULL,
      "<Payer>BucketOwner</Payer>", S3_ERROR_COUNT, CONFIG_REQUEST_PAYMENT, false },
    { "object-lock", "ObjectLockConfiguration", lock, NULL, s3_lock_check,
      "<ObjectLockEnabled>Enabled</ObjectLockEnabled>", S3_NO_SUCH_BUCKET_LOCK,
      CONFIG_OBJECT_LOCK, false },
    { "quota", "QuotaConfiguration", quota, NULL, check_quota, NULL, S3_NO_SUCH_QUOTA,
      CONFIG_QUOTA, false },
    { "logging", "BucketLoggingStatus", logging, NULL, s3_logging_check, "", S3_ERROR_COUNT,
      CONFIG_LOGGING, false },
    { "notification", "NotificationConfiguration", s3_notification_shape, s3_notification_prepare,
      s3_notification_check, "", S3_ERROR_COUNT, CONFIG_NOTIFICATION, false },
    { "accelerate", "AccelerateConfiguration", nothing, NULL, NULL, "", S3_ERROR_COUNT,
      CONFIG_ACCELERATE, true },
    { "encryption", "ServerSideEncryptionConfiguration", encryption, NULL, s3_encryption_check,
      NULL, S3_NO_SUCH_ENCRYPTION, CONFIG_ENCRYPTION, false },
    { "lifecycle", "LifecycleConfiguration", s3_lifecycle_shape, s3_lifecycle_name_rules,
      s3_lifecycle_check, NULL, S3_NO_SUCH_LIFECYCLE, CONFIG_LIFECYCLE, false },
};

static const struct config_kind *kind_of(const struct s3_request *r)
{
    const char *query = s3_operations[r->op_index].query;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].query, query) == 0)
            return &kinds[i];
    return NULL;
}

enum kist_err s3_config_xml(struct s3_request *r, enum bucket_config kind,
                            struct s3_xml_node **root)
{
    struct bytes document;
    *root = NULL;
    TRY(store_bucket_config(store_of(r), r->bucket_row, kind, r->arena, &document));
    return document.ptr ? s3_xml_parse(document, r->arena, root) : KIST_OK;
}

/* ---- get ---- */

void s3_get_bucket_config(struct s3_request *r)
{
    const struct config_kind *k = kind_of(r);
    struct bytes document;
    struct s3_xml x = { .failed = false };
    enum kist_err err =
        store_bucket_config(store_of(r), r->bucket_row, k->kind, r->arena, &document);
    if (err != KIST_OK) {
        s3_fail_err(r, err);
        return;
    }
    bool locked = k->kind != CONFIG_OBJECT_LOCK || r->bucket_row->object_lock;
    if (!document.ptr && (!k->fallback || !locked)) {
        s3_fail(r, k->missing);
        return;
    }
    if (document.ptr) {
        s3_add_header_str(r, "Content-Type", "application/xml");
        exchange_reply_bytes(r->x, 200, document);
        return;
    }
    s3_xml_begin(&x, k->root);
    x.failed = x.failed || buf_append_str(&x.out, k->fallback) != KIST_OK;
    s3_xml_reply(r, &x, k->root);
}

/* ---- put and delete ---- */

void s3_config_commit(struct s3_request *r, enum bucket_config kind, struct bytes document,
                      void (*then)(struct s3_request *r))
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutBucketConfig c = KIST__PUT_BUCKET_CONFIG__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_BUCKET_CONFIG;
    command.put_bucket_config = &c;
    c.name = s3_str(r, r->bucket);
    c.kind = kind;
    c.document = schema_data(document);
    if (kind == CONFIG_LIFECYCLE)
        c.lifecycle = r->state;
    if (kind == CONFIG_NOTIFICATION && document.len)
        c.notification = s3_notification_rules(r);
    if (kind == CONFIG_QUOTA && document.len) {
        const uint64_t *limits = r->state;
        c.quota_bytes = limits[0];
        c.quota_objects = limits[1];
    }
    s3_commit(r, &command, then);
}

static void put_done(struct s3_request *r)
{
    s3_reply_empty(r, 200);
}

static void delete_done(struct s3_request *r)
{
    s3_reply_empty(r, 204);
}

static void render(struct s3_xml *x, const struct s3_xml_node *node)
{
    for (const struct s3_xml_node *n = node->child; n; n = n->next) {
        if (!n->child) {
            s3_xml_text(x, n->name, n->text);
            continue;
        }
        if (strcmp(n->name, "Grantee") == 0)
            s3_xml_open_grantee(x, s3_xml_child(n, "URI") != NULL);
        else
            s3_xml_open(x, n->name);
        render(x, n);
        s3_xml_close(x, n->name);
    }
}

static void put_config(struct s3_request *r)
{
    const struct config_kind *k = kind_of(r);
    struct s3_xml_node *root = NULL;
    struct s3_xml x = { .failed = false };
    if (s3_xml_parse(buf_bytes(&r->body->xml), r->arena, &root) != KIST_OK ||
        strcmp(root->name, k->root) != 0) {
        s3_fail(r, S3_MALFORMED_XML);
        return;
    }
    if (!s3_shape_fits(root, k->shape)) {
        s3_fail(r, k->partial ? S3_NOT_IMPLEMENTED : S3_MALFORMED_XML);
        return;
    }
    if (k->prepare && !k->prepare(r, root)) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    if (k->check && !k->check(r, root))
        return;
    bool nothing_asked =
        !root->child && (k->kind == CONFIG_LOGGING || k->kind == CONFIG_NOTIFICATION);
    if (k->partial || nothing_asked) {
        s3_config_commit(r, k->kind, BYTES_EMPTY, put_done);
        return;
    }
    buf_init(&x.out, CONFIG_XML_MAX * 2);
    s3_xml_begin(&x, k->root);
    render(&x, root);
    s3_xml_close(&x, k->root);
    struct bytes document = arena_copy(r->arena, buf_bytes(&x.out));
    bool failed = x.failed || !document.ptr;
    buf_release(&x.out);
    if (failed)
        s3_fail(r, S3_SLOW_DOWN);
    else
        s3_config_commit(r, k->kind, document,
                         k->kind == CONFIG_NOTIFICATION ? s3_notification_done : put_done);
}

void s3_put_bucket_config(struct s3_request *r)
{
    s3_read_xml(r, CONFIG_XML_MAX, put_config);
}

void s3_delete_bucket_config(struct s3_request *r)
{
    s3_config_commit(r, kind_of(r)->kind, BYTES_EMPTY, delete_done);
}
