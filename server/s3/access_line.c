/* One line of a server access log, field by field.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html */
#include <stdio.h>
#include <time.h>

#include "server/s3/access_log.h"
#include "server/s3/acl.h"

#define LINE_MAX_BYTES ((size_t)32 << 10)
#define DAY_MS ((int64_t)86400000)

/* ---- the operation: REST.method.type ---- */

static const struct {
    const char *query, *of_bucket, *of_object;
} types[] = {
    { "versioning", "VERSIONING", NULL },
    { "versions", "BUCKETVERSIONS", NULL },
    { "logging", "LOGGING_STATUS", NULL },
    { "policy", "BUCKETPOLICY", NULL },
    { "policyStatus", "POLICY_STATUS", NULL },
    { "acl", "ACL", "ACL" },
    { "location", "LOCATION", NULL },
    { "lifecycle", "LIFECYCLE", NULL },
    { "tagging", "TAGGING", "OBJECT_TAGGING" },
    { "cors", "CORS", NULL },
    { "website", "WEBSITE", NULL },
    { "notification", "NOTIFICATION", NULL },
    { "encryption", "ENCRYPTION", "OBJECT_ENCRYPTION" },
    { "publicAccessBlock", "PUBLIC_ACCESS_BLOCK", NULL },
    { "ownershipControls", "OWNERSHIP_CONTROLS", NULL },
    { "requestPayment", "REQUEST_PAYMENT", NULL },
    { "object-lock", "OBJECT_LOCK_CONFIGURATION", NULL },
    { "accelerate", "ACCELERATE", NULL },
    { "replication", "REPLICATION", NULL },
    { "delete", "MULTI_OBJECT_DELETE", NULL },
    { "uploads", "UPLOADS", "UPLOADS" },
    { "partNumber&uploadId", NULL, "PART" },
    { "uploadId", NULL, "UPLOAD" },
    { "attributes", NULL, "OBJECT_ATTRIBUTES" },
    { "retention", NULL, "OBJECT_LOCK_RETENTION" },
    { "legal-hold", NULL, "OBJECT_LOCK_LEGALHOLD" },
    { "renameObject", NULL, "OBJECT_RENAME" },
};

static const char *type_of(const struct s3_request *r)
{
    const char *query = NULL;
    if (r->op_index < s3_operation_count)
        query = s3_operations[r->op_index].query;
    for (size_t i = 0; query && i < ARRAY_LEN(types); i++) {
        const char *type = r->key.len ? types[i].of_object : types[i].of_bucket;
        if (strcmp(types[i].query, query) == 0 && type)
            return type;
    }
    return r->key.len || r->scope == S3_SCOPE_WEBSITE ? "OBJECT" : "BUCKET";
}

static bool copies(const struct s3_request *r)
{
    if (r->op_index >= s3_operation_count)
        return false;
    const char *header = s3_operations[r->op_index].header;
    return header && strcmp(header, "x-amz-copy-source") == 0;
}

/* ---- fields ---- */

struct line {
    struct buf out;
    bool failed;
};

static void add(struct line *l, struct bytes text)
{
    if (buf_append_bytes(&l->out, text) != KIST_OK)
        l->failed = true;
}

static void add_str(struct line *l, const char *text)
{
    add(l, bytes_str(text));
}

/* What could end a field or a line early is percent-encoded. */
static void add_safe(struct line *l, struct bytes text, bool blanks)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        char code[4];
        if (c > ' ' && c < 0x7f && c != '"')
            add(l, bytes_of(&c, 1));
        else if (c == ' ' && blanks)
            add_str(l, " ");
        else if (snprintf(code, sizeof(code), "%%%02X", c) > 0)
            add_str(l, code);
    }
}

static void field(struct line *l, struct bytes text)
{
    if (l->out.len)
        add_str(l, " ");
    if (text.len)
        add_safe(l, text, false);
    else
        add_str(l, "-");
}

static void quoted(struct line *l, struct bytes text)
{
    add_str(l, " \"");
    if (text.len)
        add_safe(l, text, true);
    else
        add_str(l, "-");
    add_str(l, "\"");
}

/* Parameters that are worth something to whoever reads them: of presigned URLs, which may bring
 * customers' keys as well. */
static bool is_secret(struct arena *arena, struct bytes name)
{
    static const char *const secrets[] = {
        "X-Amz-Signature",
        "Signature",
        "X-Amz-Security-Token",
        "x-amz-server-side-encryption-customer-key",
        "x-amz-copy-source-server-side-encryption-customer-key",
    };
    struct bytes plain;
    if (uri_decode_copy(arena, name, true, &plain) != KIST_OK)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (bytes_equal_nocase(plain, bytes_str(secrets[i])))
            return true;
    return false;
}

static void add_url(struct line *l, struct arena *arena, struct bytes url)
{
    size_t at = bytes_find(url, BYTES_LIT("?"), 0);
    at = at == SIZE_MAX ? url.len : at + 1;
    add_safe(l, bytes_of(url.ptr, at), true);
    while (at < url.len) {
        size_t end = bytes_find(url, BYTES_LIT("&"), at);
        end = end == SIZE_MAX ? url.len : end;
        struct bytes part = bytes_of(url.ptr + at, end - at);
        size_t eq = bytes_find(part, BYTES_LIT("="), 0);
        bool hidden = eq != SIZE_MAX && is_secret(arena, bytes_of(part.ptr, eq));
        add_safe(l, hidden ? bytes_of(part.ptr, eq + 1) : part, true);
        if (hidden)
            add_str(l, "REDACTED");
        if (end < url.len)
            add_str(l, "&");
        at = end + 1;
    }
}

/* A page that was opened by a presigned URL names it in what it asks for. */
static void referer(struct line *l, const struct s3_request *r)
{
    struct bytes url = exchange_header(r->x, "referer");
    add_str(l, " \"");
    if (url.len)
        add_url(l, r->arena, url);
    else
        add_str(l, "-");
    add_str(l, "\"");
}

static void number(struct line *l, uint64_t value, bool known)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    field(l, known ? bytes_str(text) : BYTES_EMPTY);
}

static void time_field(struct line *l, int64_t ms)
{
    char text[40];
    time_t when = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&when, &tm);
    strftime(text, sizeof(text), " [%d/%b/%Y:%H:%M:%S +0000]", &tm);
    add_str(l, text);
}

/* The account's id of its root, the ARN of users and sessions, nothing of nobody. */
static struct bytes requester(const struct s3_request *r)
{
    const struct auth_identity *who = r->who.identity;
    if (!who || !who->id.len)
        return BYTES_EMPTY;
    return who->is_root ? who->id : who->arn;
}

static void operation(struct line *l, const struct s3_request *r)
{
    char text[64];
    bool website = r->scope == S3_SCOPE_WEBSITE;
    struct bytes method = copies(r) ? BYTES_LIT("COPY") : r->http->method_name;
    snprintf(text, sizeof(text), "%s.%.*s.%s", website ? "WEBSITE" : "REST",
             method.len < 16 ? (int)method.len : 16, (const char *)method.ptr, type_of(r));
    field(l, bytes_str(text));
}

static void key(struct line *l, const struct s3_request *r)
{
    struct buf encoded;
    buf_init(&encoded, 8 << 10);
    if (r->key.len && uri_encode(&encoded, r->key, true) != KIST_OK)
        l->failed = true;
    field(l, buf_bytes(&encoded));
    buf_release(&encoded);
}

static void request_line(struct line *l, const struct s3_request *r)
{
    add_str(l, " \"");
    add_safe(l, r->http->method_name, false);
    add_str(l, " ");
    add_url(l, r->arena, r->http->target);
    add_str(l, " HTTP/1.1\"");
}

static uint64_t object_size(const struct s3_request *r, bool *known)
{
    *known = true;
    if (r->reader)
        return object_reader_object(r->reader)->size;
    if (r->seen)
        return r->seen->size;
    *known = r->op_used && r->op.err == KIST_OK && r->op.result.data_id;
    return r->op.result.size;
}

static void signature(struct line *l, const struct s3_request *r)
{
    bool by_header = s3_header(r, "authorization").len > 0;
    bool by_query = s3_has_param(r, "X-Amz-Signature") || s3_has_param(r, "Signature");
    bool second = bytes_starts_with(s3_header(r, "authorization"), BYTES_LIT("AWS ")) ||
                  s3_has_param(r, "Signature");
    const char *version = !by_header && !by_query ? "" : second ? "SigV2" : "SigV4";
    field(l, bytes_str(version));
    field(l, BYTES_EMPTY); /* cipher suite */
    field(l, bytes_str(by_header ? "AuthHeader" : by_query ? "QueryString" : ""));
}

static void write_line(struct line *l, const struct s3_request *r, struct bytes owner)
{
    struct exchange_facts facts;
    bool size_known;
    exchange_facts(r->x, &facts);
    uint64_t size = object_size(r, &size_known), ms = (mono_ns() - facts.begun_ns) / 1000000;
    uint64_t turn = (facts.replied_ns - facts.begun_ns) / 1000000;
    field(l, owner);
    field(l, r->bucket);
    time_field(l, s3_now(r) - (int64_t)ms);
    field(l, bytes_str(r->http->peer));
    field(l, requester(r));
    field(l, bytes_str(exchange_id(r->x)));
    operation(l, r);
    key(l, r);
    request_line(l, r);
    number(l, exchange_status(r->x), exchange_status(r->x) != 0);
    field(l, bytes_str(r->error_code ? r->error_code : ""));
    number(l, facts.bytes_sent, facts.bytes_sent != 0);
    number(l, size, size_known);
    number(l, ms, true);
    number(l, turn, facts.replied_ns != 0);
    referer(l, r);
    quoted(l, exchange_header(r->x, "user-agent"));
    field(l, s3_param(r, "versionId"));
    field(l, bytes_str(facts.host_id));
    signature(l, r);
    field(l, exchange_header(r->x, "host"));
    field(l, BYTES_EMPTY); /* TLS version */
    field(l, BYTES_EMPTY); /* access point */
    field(l, BYTES_EMPTY); /* whether an ACL was needed */
    add_str(l, "\n");
}

/* ---- where to ---- */

/* Who was refused before his bucket was looked at is logged there all the same. */
static bool find_rules(struct s3_request *r)
{
    struct store *store = r->service->config.store;
    if (!r->bucket_row && r->bucket.len && exchange_status(r->x) >= 400) {
        if (r->op_index == s3_operation_count)
            (void)!s3_route(r);
        if (store_bucket(store, r->bucket, r->arena, &r->bucket_row) != KIST_OK ||
            s3_rules_get(r->service, r->bucket_row, &r->rules) != KIST_OK)
            r->rules = NULL;
    }
    return r->bucket_row && r->rules && r->rules->logging;
}

static void find_owner(const struct s3_request *r, struct auth_owner *owner)
{
    *owner = r->owner;
    if (owner->id.len || !r->service->config.users)
        return;
    enum kist_err err = auth_owner_find(r->service->config.users, bytes_str(r->bucket_row->owner),
                                        r->arena, owner);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        *owner = (struct auth_owner){ .id = bytes_str(r->bucket_row->owner) };
}

static enum access_format format_of(const struct s3_xml_node *enabled)
{
    const struct s3_xml_node *partitioned =
        s3_xml_child(s3_xml_child(enabled, "TargetObjectKeyFormat"), "PartitionedPrefix");
    if (!partitioned)
        return ACCESS_SIMPLE;
    return bytes_equal(s3_xml_child_text(partitioned, "PartitionDateSource"),
                       BYTES_LIT("EventTime"))
               ? ACCESS_BY_EVENT
               : ACCESS_BY_DELIVERY;
}

void s3_access_log(struct s3_request *r)
{
    struct auth_owner owner;
    struct line l = { .failed = false };
    if (!r->service->access_log || !find_rules(r))
        return;
    const struct s3_xml_node *enabled = s3_xml_child(r->rules->logging, "LoggingEnabled");
    if (!enabled)
        return;
    find_owner(r, &owner);
    enum access_format format = format_of(enabled);
    struct access_target target = { .owner = owner.id,
                                    .account = owner.account,
                                    .source = bytes_str(r->bucket_row->name),
                                    .bucket = s3_xml_child_text(enabled, "TargetBucket"),
                                    .prefix = s3_xml_child_text(enabled, "TargetPrefix"),
                                    .acl = r->rules->log_acl,
                                    .format = format,
                                    .day = format == ACCESS_BY_EVENT ? s3_now(r) / DAY_MS : 0 };
    buf_init(&l.out, LINE_MAX_BYTES);
    write_line(&l, r, owner.id);
    if (!l.failed)
        access_log_add(r->service->access_log, &target, buf_bytes(&l.out));
    buf_release(&l.out);
}

/* ---- PutBucketLogging ---- */

static bool refuse_target(struct s3_request *r, const char *message)
{
    s3_fail_message(r, S3_INVALID_LOG_TARGET, message);
    return false;
}

/* Where the target's ACLs are disabled, permissions come from policies only. */
static bool grants_fit(struct s3_request *r, const struct s3_xml_node *grants,
                       const Kist__Bucket *target)
{
    if (!grants || !grants->child)
        return true;
    if (target->ownership == OWNERSHIP_ENFORCED) {
        s3_fail(r, S3_ACL_NOT_SUPPORTED);
        return false;
    }
    return s3_acl_grants_check(r, grants);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLogging.html */
bool s3_logging_check(struct s3_request *r, const struct s3_xml_node *root)
{
    const struct s3_xml_node *enabled = s3_xml_child(root, "LoggingEnabled");
    const struct s3_xml_node *format = s3_xml_child(enabled, "TargetObjectKeyFormat");
    Kist__Bucket *target = NULL;
    struct auth_owner owner;
    if (!enabled)
        return true;
    if (format && (!format->child || format->child->next)) {
        s3_fail(r, S3_MALFORMED_XML);
        return false;
    }
    if (s3_xml_child_text(enabled, "TargetPrefix").len > 512) {
        s3_fail(r, S3_KEY_TOO_LONG);
        return false;
    }
    enum kist_err err = store_bucket(
        r->service->config.store, s3_xml_child_text(enabled, "TargetBucket"), r->arena, &target);
    if (err == KIST_OK && target->name[0] == '.') /* the server's own */
        err = KIST_E_NO_BUCKET;
    if (err == KIST_E_NO_BUCKET)
        return refuse_target(r, "The target bucket for logging does not exist");
    if (err == KIST_OK)
        err = s3_owner_find(r, target->owner, &owner);
    if (err != KIST_OK) {
        s3_fail_err(r, err);
        return false;
    }
    if (!bytes_equal(owner.account, r->owner.account))
        return refuse_target(r, "The owner for the bucket to be logged and the target bucket "
                                "must be the same.");
    return grants_fit(r, s3_xml_child(enabled, "TargetGrants"), target);
}
