/* Lifecycle configurations: judged, compiled for apply(), shown.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html */
#include <stdio.h>

#include "server/s3/xml_shape.h"
#include "storage/index/lifecycle.h"

#define RULES_MAX 1000

static const struct s3_shape tag[] = { TEXT("Key", 1, 1), ANY_TEXT("Value", 1, 1), END };
static const struct s3_shape and[] = { ANY_TEXT("Prefix", 0, 1), TREE("Tag", 0, 10, tag),
                                       SIZE("ObjectSizeGreaterThan", 0, 1),
                                       SIZE("ObjectSizeLessThan", 0, 1), END };
static const struct s3_shape filter[] = {
    ANY_TEXT("Prefix", 0, 1),         TREE("Tag", 0, 1, tag), SIZE("ObjectSizeGreaterThan", 0, 1),
    SIZE("ObjectSizeLessThan", 0, 1), TREE("And", 0, 1, and), END
};
static const struct s3_shape expiration[] = { NUMBER("Days", 0, 1), DATE("Date", 0, 1),
                                              BOOL("ExpiredObjectDeleteMarker", 0, 1), END };
static const struct s3_shape noncurrent[] = { NUMBER("NoncurrentDays", 1, 1),
                                              NUMBER("NewerNoncurrentVersions", 0, 1), END };
static const struct s3_shape abort_uploads[] = { NUMBER("DaysAfterInitiation", 1, 1), END };
/* Transitions are known, so that they can be refused by name. */
static const struct s3_shape transition[] = {
    NUMBER("Days", 0, 1),           ANY_TEXT("Date", 0, 1),
    NUMBER("NoncurrentDays", 0, 1), NUMBER("NewerNoncurrentVersions", 0, 1),
    TEXT("StorageClass", 1, 1),     END
};
static const struct s3_shape rule[] = {
    ANY_TEXT("ID", 0, 1),
    ENUM("Status", 1, 1, "Enabled|Disabled"),
    ANY_TEXT("Prefix", 0, 1),
    TREE("Filter", 0, 1, filter),
    TREE("Expiration", 0, 1, expiration),
    TREE("NoncurrentVersionExpiration", 0, 1, noncurrent),
    TREE("AbortIncompleteMultipartUpload", 0, 1, abort_uploads),
    TREE("Transition", 0, 10, transition),
    TREE("NoncurrentVersionTransition", 0, 10, transition),
    END,
};
const struct s3_shape s3_lifecycle_shape[] = { TREE("Rule", 1, RULES_MAX, rule), END };

/* ---- compiling ---- */

static uint64_t number_of(const struct s3_xml_node *node, const char *name)
{
    uint64_t n = 0;
    struct bytes text = s3_xml_child_text(node, name);
    return text.len && bytes_to_u64(text, INT64_MAX - 1, &n) == KIST_OK ? n : 0;
}

static bool is_true(const struct s3_xml_node *node, const char *name)
{
    return bytes_equal_nocase(s3_xml_child_text(node, name), BYTES_LIT("true"));
}

static size_t count_children(const struct s3_xml_node *node, const char *name)
{
    size_t count = 0;
    for (const struct s3_xml_node *n = node ? node->child : NULL; n; n = n->next)
        count += strcmp(n->name, name) == 0;
    return count;
}

static char *text_of(struct arena *arena, struct bytes b)
{
    return arena_strndup(arena, b.ptr ? (const void *)b.ptr : "", b.len);
}

static bool compile_tags(const struct s3_xml_node *from, struct arena *arena,
                         Kist__LifecycleRule *out)
{
    out->tags = arena_alloc(arena, count_children(from, "Tag") * sizeof(*out->tags) + 1);
    for (const struct s3_xml_node *n = from->child; n && out->tags; n = n->next) {
        if (strcmp(n->name, "Tag") != 0)
            continue;
        Kist__Pair *pair = arena_alloc(arena, sizeof(*pair));
        if (!pair)
            return false;
        kist__pair__init(pair);
        pair->name = text_of(arena, s3_xml_child_text(n, "Key"));
        pair->value = text_of(arena, s3_xml_child_text(n, "Value"));
        if (!pair->name || !pair->value)
            return false;
        out->tags[out->n_tags++] = pair;
    }
    return out->tags != NULL;
}

static bool compile_filter(const struct s3_xml_node *node, struct arena *arena,
                           Kist__LifecycleRule *out)
{
    const struct s3_xml_node *f = s3_xml_child(node, "Filter");
    const struct s3_xml_node *all = s3_xml_child(f, "And");
    const struct s3_xml_node *from = all ? all : f ? f : node;
    out->prefix = schema_data(s3_xml_child_text(from, "Prefix"));
    if (s3_xml_child(from, "ObjectSizeGreaterThan"))
        out->larger_than = (int64_t)number_of(from, "ObjectSizeGreaterThan") + 1;
    if (s3_xml_child(from, "ObjectSizeLessThan"))
        out->smaller_than = (int64_t)number_of(from, "ObjectSizeLessThan") + 1;
    return compile_tags(from, arena, out);
}

static Kist__LifecycleRule *compile_rule(const struct s3_xml_node *node, struct arena *arena)
{
    const struct s3_xml_node *expire = s3_xml_child(node, "Expiration");
    const struct s3_xml_node *old = s3_xml_child(node, "NoncurrentVersionExpiration");
    const struct s3_xml_node *uploads = s3_xml_child(node, "AbortIncompleteMultipartUpload");
    Kist__LifecycleRule *out = arena_alloc(arena, sizeof(*out));
    if (!out)
        return NULL;
    kist__lifecycle_rule__init(out);
    out->id = text_of(arena, s3_xml_child_text(node, "ID"));
    if (!out->id || !compile_filter(node, arena, out))
        return NULL;
    out->days = (uint32_t)number_of(expire, "Days");
    if (s3_xml_child(expire, "Date"))
        (void)!time_parse_iso(s3_xml_child_text(expire, "Date"), &out->date_ms);
    out->expired_marker = is_true(expire, "ExpiredObjectDeleteMarker");
    out->noncurrent_days = (uint32_t)number_of(old, "NoncurrentDays");
    out->noncurrent_keep = (uint32_t)number_of(old, "NewerNoncurrentVersions");
    out->abort_days = (uint32_t)number_of(uploads, "DaysAfterInitiation");
    return out;
}

Kist__Lifecycle *s3_lifecycle_compile(const struct s3_xml_node *root, int64_t day_ms,
                                      struct arena *arena)
{
    Kist__Lifecycle *out = arena_alloc(arena, sizeof(*out));
    if (!out)
        return NULL;
    kist__lifecycle__init(out);
    out->day_ms = day_ms;
    out->rules = arena_alloc(arena, count_children(root, "Rule") * sizeof(*out->rules) + 1);
    for (const struct s3_xml_node *n = root->child; n && out->rules; n = n->next) {
        if (!bytes_equal(s3_xml_child_text(n, "Status"), BYTES_LIT("Enabled")))
            continue;
        Kist__LifecycleRule *compiled = compile_rule(n, arena);
        if (!compiled)
            return NULL;
        out->rules[out->n_rules++] = compiled;
    }
    return out->rules ? out : NULL;
}

/* ---- naming ---- */

char *s3_new_id(struct env *env, struct arena *arena)
{
    uint8_t u[16];
    env->random(env, u, sizeof(u));
    u[6] = (uint8_t)((u[6] & 0x0f) | 0x40);
    u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
    char *uuid = arena_printf(arena,
                              "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
                              "%02x%02x%02x%02x%02x%02x",
                              u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10],
                              u[11], u[12], u[13], u[14], u[15]);
    char *id = uuid ? arena_alloc(arena, BASE64_LEN(strlen(uuid)) + 1) : NULL;
    if (id)
        base64_encode(bytes_str(uuid), id);
    return id;
}

bool s3_lifecycle_name_rules(struct s3_request *r, struct s3_xml_node *root)
{
    for (struct s3_xml_node *n = root->child; n; n = n->next) {
        if (s3_xml_child_text(n, "ID").len)
            continue;
        struct s3_xml_node *id = n->child;
        while (id && strcmp(id->name, "ID") != 0)
            id = id->next;
        if (!id) {
            id = arena_zalloc(r->arena, sizeof(*id));
            if (!id)
                return false;
            *id = (struct s3_xml_node){ .name = "ID", .next = n->child };
            n->child = id;
        }
        id->text = bytes_str(s3_new_id(store_env(r->service->config.store), r->arena));
        if (!id->text.ptr)
            return false;
    }
    return true;
}

/* ---- judging ---- */

/* What is wrong with a rule, in S3's words; NULL: nothing. */
static const char *rule_problem(const struct s3_xml_node *n)
{
    const struct s3_xml_node *f = s3_xml_child(n, "Filter");
    const struct s3_xml_node *expire = s3_xml_child(n, "Expiration");
    const struct s3_xml_node *old = s3_xml_child(n, "NoncurrentVersionExpiration");
    const struct s3_xml_node *uploads = s3_xml_child(n, "AbortIncompleteMultipartUpload");
    const struct s3_xml_node *all = s3_xml_child(f, "And");
    const struct s3_xml_node *from = all ? all : f;
    bool by_content = count_children(from, "Tag") ||
                      s3_xml_child(from, "ObjectSizeGreaterThan") ||
                      s3_xml_child(from, "ObjectSizeLessThan");
    int64_t date = 0;
    if (s3_xml_child_text(n, "ID").len > 255)
        return "ID length should not exceed allowed limit of 255";
    if (!expire && !old && !uploads)
        return "At least one action needs to be specified in a rule";
    if (expire && (!expire->child || expire->child->next))
        return "Exactly one of Days, Date and ExpiredObjectDeleteMarker must be specified in an "
               "Expiration";
    if (s3_xml_child(expire, "Days") && number_of(expire, "Days") == 0)
        return "'Days' for Expiration action must be a positive integer";
    if (s3_xml_child(expire, "Date") &&
        (time_parse_iso(s3_xml_child_text(expire, "Date"), &date) != KIST_OK ||
         date % 86400000 != 0))
        return "'Date' must be at midnight GMT";
    if (old && number_of(old, "NoncurrentDays") == 0)
        return "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive "
               "integer";
    if (number_of(old, "NewerNoncurrentVersions") > LIFECYCLE_KEEP_MAX)
        return "'NewerNoncurrentVersions' must not exceed 100";
    if (uploads && number_of(uploads, "DaysAfterInitiation") == 0)
        return "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a "
               "positive integer";
    if (uploads && by_content)
        return "AbortIncompleteMultipartUpload cannot be specified with Tags or object sizes";
    if (s3_xml_child(expire, "ExpiredObjectDeleteMarker") && by_content)
        return "ExpiredObjectDeleteMarker cannot be specified with Tags or object sizes";
    return NULL;
}

static bool filter_is_one(const struct s3_xml_node *n)
{
    const struct s3_xml_node *f = s3_xml_child(n, "Filter");
    if (!f)
        return s3_xml_child(n, "Prefix") != NULL;
    return !s3_xml_child(n, "Prefix") && !(f->child && f->child->next);
}

static bool ids_differ(const struct s3_xml_node *root)
{
    for (const struct s3_xml_node *n = root->child; n; n = n->next) {
        struct bytes id = s3_xml_child_text(n, "ID");
        for (const struct s3_xml_node *m = n->next; m && id.len; m = m->next)
            if (bytes_equal(s3_xml_child_text(m, "ID"), id))
                return false;
    }
    return true;
}

bool s3_lifecycle_check(struct s3_request *r, const struct s3_xml_node *root)
{
    for (const struct s3_xml_node *n = root->child; n; n = n->next) {
        if (s3_xml_child(n, "Transition") || s3_xml_child(n, "NoncurrentVersionTransition")) {
            s3_fail_message(r, S3_NOT_IMPLEMENTED,
                            "Transitions are not supported: there is one storage class.");
            return false;
        }
        const char *problem = rule_problem(n);
        if (problem) {
            s3_fail_message(r, S3_INVALID_ARGUMENT, problem);
            return false;
        }
        if (!filter_is_one(n)) {
            s3_fail(r, S3_MALFORMED_XML);
            return false;
        }
    }
    if (!ids_differ(root)) {
        s3_fail_message(r, S3_INVALID_ARGUMENT,
                        "Rule ID must be unique. Found same ID for more "
                        "than one rule");
        return false;
    }
    r->state = s3_lifecycle_compile(root, r->service->config.lifecycle_day_ms, r->arena);
    if (!r->state)
        s3_fail(r, S3_SLOW_DOWN);
    return r->state != NULL;
}

/* ---- showing ---- */

void s3_lifecycle_header(struct s3_request *r, const Kist__Object *o)
{
    const Kist__LifecycleRule *which = NULL;
    char date[TIME_HTTP_LEN];
    if (!r->rules || !r->rules->lifecycle)
        return;
    struct lifecycle_subject s = { .kind = LIFECYCLE_CURRENT,
                                   .key = r->key,
                                   .size = o->size,
                                   .n_tags = o->n_tags,
                                   .tags = o->tags,
                                   .since_ms = o->mtime_ms };
    int64_t due = lifecycle_due(r->rules->lifecycle, &s, &which);
    if (due == LIFECYCLE_NEVER)
        return;
    time_http(due, date);
    s3_add_header_str(
        r, "x-amz-expiration",
        arena_printf(r->arena, "expiry-date=\"%s\", rule-id=\"%s\"", date, which->id));
}
