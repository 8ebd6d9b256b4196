/* Notification configurations: judged, compiled for apply(), and their targets tried.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html
 *
 *   document --> shape --> tidy (Ids, names) --> judge --> targets asked --> compile --> commit
 *                                                                              --> test events
 *
 * Kist's own in a configuration is <Delivery>: how its events are delivered, where that is to
 * differ from what the target says.
 */
#include "server/s3/notification.h"

#include "server/events/events.h"
#include "server/s3/xml_shape.h"

#define CONFIGURATIONS_MAX 100 /* of a bucket: Amazon S3 quotas */
#define ARN_LENGTH_MAX 512
#define KEY_LENGTH_MAX 1024
#define RETRIES_MAX 10000
#define AGE_MAX_S (14U * 86400)

static const struct s3_shape filter_rule[] = { TEXT("Name", 1, 1), ANY_TEXT("Value", 1, 1), END };
static const struct s3_shape filter_key[] = { TREE("FilterRule", 0, MANY, filter_rule), END };
static const struct s3_shape filter[] = { TREE("S3Key", 0, 1, filter_key), END };
static const struct s3_shape delivery[] = { BOOL("Ordered", 0, 1),
                                            NUMBER("MaximumRetryAttempts", 0, 1),
                                            NUMBER("MaximumEventAgeInSeconds", 0, 1),
                                            TEXT("DeadLetter", 0, 1), END };
#define COMMON                                                                                   \
    ANY_TEXT("Id", 0, 1), TEXT("Event", 1, MANY), TREE("Filter", 0, 1, filter),                  \
        TREE("Delivery", 0, 1, delivery), END
static const struct s3_shape topic[] = { TEXT("Topic", 1, 1), COMMON };
static const struct s3_shape queue[] = { TEXT("Queue", 1, 1), COMMON };
/* The deprecated form of the operation has a role, which says nothing any more. */
static const struct s3_shape cloud[] = { TEXT("CloudFunction", 1, 1),
                                         ANY_TEXT("InvocationRole", 0, 1), COMMON };
/* As the documentation of the API names them; SDKs send the other form. */
static const struct s3_shape lambda[] = { TEXT("LambdaFunctionArn", 1, 1), COMMON };
static const struct s3_shape bridge[] = { END };
const struct s3_shape s3_notification_shape[] = {
    TREE("TopicConfiguration", 0, MANY, topic),
    TREE("QueueConfiguration", 0, MANY, queue),
    TREE("CloudFunctionConfiguration", 0, MANY, cloud),
    TREE("LambdaFunctionConfiguration", 0, MANY, lambda),
    TREE("EventBridgeConfiguration", 0, 1, bridge),
    END,
};

const struct s3_destination s3_destinations[S3_DESTINATIONS] = {
    { "TopicConfiguration", "Topic", "sns", "The destination topic does not exist",
      "Permissions on the destination topic do not allow S3 to publish notifications from this "
      "bucket" },
    { "QueueConfiguration", "Queue", "sqs", "The destination queue does not exist",
      "Permissions on the destination queue do not allow S3 to publish notifications from this "
      "bucket" },
    { "CloudFunctionConfiguration", "CloudFunction", "lambda",
      "The destination Lambda does not exist", "Not authorized to invoke function" },
};

const struct s3_destination *s3_destination_of(const struct s3_xml_node *n)
{
    for (size_t i = 0; i < ARRAY_LEN(s3_destinations); i++)
        if (strcmp(n->name, s3_destinations[i].element) == 0)
            return &s3_destinations[i];
    return NULL;
}

/* ---- one form for all that means the same ---- */

static bool add_id(struct s3_xml_node *n, struct arena *arena, struct env *env)
{
    struct s3_xml_node *id = n->child;
    while (id && strcmp(id->name, "Id") != 0)
        id = id->next;
    if (id && id->text.len)
        return true;
    if (!id) {
        id = arena_zalloc(arena, sizeof(*id));
        if (!id)
            return false;
        *id = (struct s3_xml_node){ .name = "Id", .next = n->child };
        n->child = id;
    }
    id->text = bytes_str(s3_new_id(env, arena));
    return id->text.ptr != NULL;
}

static void tidy_filter(struct s3_xml_node *rules)
{
    for (struct s3_xml_node *rule = rules; rule; rule = rule->next)
        for (struct s3_xml_node *n = rule->child; n; n = n->next) {
            if (strcmp(n->name, "Name") != 0)
                continue;
            if (bytes_equal_nocase(n->text, BYTES_LIT("prefix")))
                n->text = BYTES_LIT("Prefix");
            else if (bytes_equal_nocase(n->text, BYTES_LIT("suffix")))
                n->text = BYTES_LIT("Suffix");
        }
}

bool s3_notification_tidy(struct s3_xml_node *root, struct arena *arena, struct env *env)
{
    for (struct s3_xml_node *n = root->child; n; n = n->next) {
        if (strcmp(n->name, "EventBridgeConfiguration") == 0)
            continue;
        if (strcmp(n->name, "LambdaFunctionConfiguration") == 0)
            n->name = "CloudFunctionConfiguration";
        for (struct s3_xml_node *c = n->child; c; c = c->next) {
            if (strcmp(c->name, "LambdaFunctionArn") == 0)
                c->name = "CloudFunction";
            if (strcmp(c->name, "Filter") == 0 && c->child)
                tidy_filter(c->child->child);
        }
        if (!add_id(n, arena, env))
            return false;
    }
    return true;
}

/* ---- reading ---- */

static struct bytes filter_value(const struct s3_xml_node *n, const char *name)
{
    const struct s3_xml_node *key = s3_xml_child(s3_xml_child(n, "Filter"), "S3Key");
    for (const struct s3_xml_node *rule = key ? key->child : NULL; rule; rule = rule->next)
        if (bytes_equal(s3_xml_child_text(rule, "Name"), bytes_str(name)))
            return s3_xml_child_text(rule, "Value");
    return BYTES_EMPTY;
}

/* Special characters come percent-encoded; what is no encoding stands for itself.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html */
static bool decoded(struct arena *arena, struct bytes value, struct bytes *out)
{
    *out = value;
    return uri_decode_copy(arena, value, false, out) != KIST_E_NOMEM;
}

static uint64_t kinds_of(const struct s3_xml_node *n)
{
    uint64_t kinds = 0;
    for (const struct s3_xml_node *c = n->child; c; c = c->next)
        if (strcmp(c->name, "Event") == 0)
            kinds |= event_kinds(c->text);
    return kinds;
}

static bool number_of(const struct s3_xml_node *node, const char *name, uint64_t *out)
{
    struct bytes text = s3_xml_child_text(node, name);
    return text.len && bytes_to_u64(text, INT32_MAX, out) == KIST_OK;
}

static char *text_of(struct arena *arena, struct bytes b)
{
    return arena_strndup(arena, b.ptr ? (const void *)b.ptr : "", b.len);
}

/* ---- compiling ---- */

static Kist__NotificationRule *compile_rule(const struct s3_xml_node *n,
                                            const struct s3_destination *to, struct arena *arena)
{
    Kist__NotificationRule *out = arena_alloc(arena, sizeof(*out));
    const struct s3_xml_node *how = s3_xml_child(n, "Delivery");
    struct bytes prefix, suffix;
    uint64_t number = 0;
    if (!out || !decoded(arena, filter_value(n, "Prefix"), &prefix) ||
        !decoded(arena, filter_value(n, "Suffix"), &suffix))
        return NULL;
    kist__notification_rule__init(out);
    out->id = text_of(arena, s3_xml_child_text(n, "Id"));
    out->target = text_of(arena, s3_xml_child_text(n, to->arn));
    out->dead_letter = text_of(arena, s3_xml_child_text(how, "DeadLetter"));
    out->kinds = kinds_of(n);
    out->prefix = schema_data(prefix);
    out->suffix = schema_data(suffix);
    out->ordered = bytes_equal_nocase(s3_xml_child_text(how, "Ordered"), BYTES_LIT("true"));
    if (number_of(how, "MaximumRetryAttempts", &number))
        out->retries = (int32_t)number + 1;
    if (number_of(how, "MaximumEventAgeInSeconds", &number))
        out->age_max_s = (uint32_t)number;
    return out->id && out->target && out->dead_letter ? out : NULL;
}

/* All that S3 has a name for. */
static Kist__NotificationRule *compile_bridge(const char *target, struct arena *arena)
{
    static char id[] = "EventBridge";
    Kist__NotificationRule *out = arena_alloc(arena, sizeof(*out));
    if (!out)
        return NULL;
    kist__notification_rule__init(out);
    out->id = id;
    out->target = arena_strdup(arena, target);
    for (unsigned kind = 0; kind < EVENT_KIND_COUNT; kind++)
        if (event_name((enum event_kind)kind))
            out->kinds |= (uint64_t)1 << kind;
    return out->target ? out : NULL;
}

Kist__Notification *s3_notification_compile(const struct s3_xml_node *root,
                                            const char *bridge_target, struct arena *arena)
{
    Kist__Notification *out = arena_alloc(arena, sizeof(*out));
    size_t count = 0;
    for (const struct s3_xml_node *n = root->child; n; n = n->next)
        count++;
    if (!out)
        return NULL;
    kist__notification__init(out);
    out->rules = arena_alloc(arena, (count + 1) * sizeof(*out->rules));
    for (const struct s3_xml_node *n = root->child; n && out->rules; n = n->next) {
        const struct s3_destination *to = s3_destination_of(n);
        if (!to && !bridge_target)
            continue;
        Kist__NotificationRule *rule =
            to ? compile_rule(n, to, arena) : compile_bridge(bridge_target, arena);
        if (!rule)
            return NULL;
        out->rules[out->n_rules++] = rule;
    }
    return out->rules ? out : NULL;
}

/* ---- judging ---- */

static bool fault(struct s3_notification_fault *f, const char *message, const char *name,
                  struct bytes value)
{
    *f = (struct s3_notification_fault){ message, name, value };
    return false;
}

/* arn:aws:SERVICE:REGION:ACCOUNT:REST, cut at the colons. */
static bool split_arn(struct bytes arn, struct bytes part[6])
{
    size_t at = 0;
    for (size_t i = 0; i < 5; i++) {
        size_t end = bytes_find(arn, BYTES_LIT(":"), at);
        if (end == SIZE_MAX)
            return false;
        part[i] = bytes_of(arn.ptr + at, end - at);
        at = end + 1;
    }
    part[5] = bytes_of(arn.ptr + at, arn.len - at);
    return arn.len <= ARN_LENGTH_MAX && bytes_equal(part[0], BYTES_LIT("arn")) &&
           bytes_equal(part[1], BYTES_LIT("aws"));
}

static bool is_name(struct bytes text, const char *more)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              c == '-' || c == '_' || (c && strchr(more, c))))
            return false;
    }
    return text.len > 0 && text.len <= 256;
}

static bool judge_arn(struct bytes arn, const char *service, const char *name, const char *region,
                      struct s3_notification_fault *f)
{
    static const struct bytes function = { (const uint8_t *)"function:", 9 };
    struct bytes part[6];
    uint64_t account;
    bool lambda_arn = strcmp(service, "lambda") == 0;
    if (!split_arn(arn, part) || !bytes_equal(part[2], bytes_str(service)) || !part[3].len ||
        part[4].len != ACCOUNT_ID_LEN || bytes_to_u64(part[4], UINT64_MAX, &account) != KIST_OK)
        return fault(f, "The ARN is not well formed", name, arn);
    if (!bytes_equal(part[3], bytes_str(region)))
        return fault(f,
                     "The notification destination service region is not valid for the bucket "
                     "location constraint",
                     name, arn);
    if (lambda_arn && bytes_starts_with(part[5], function))
        part[5] = bytes_of(part[5].ptr + function.len, part[5].len - function.len);
    else if (lambda_arn)
        part[5] = BYTES_EMPTY;
    if (!is_name(part[5], lambda_arn ? ":$" : "."))
        return fault(f, "The ARN could not be validated", name, arn);
    return true;
}

static bool judge_filter(const struct s3_xml_node *n, struct s3_notification_fault *f)
{
    const struct s3_xml_node *key = s3_xml_child(s3_xml_child(n, "Filter"), "S3Key");
    unsigned prefixes = 0, suffixes = 0;
    for (const struct s3_xml_node *rule = key ? key->child : NULL; rule; rule = rule->next) {
        struct bytes name = s3_xml_child_text(rule, "Name");
        struct bytes value = s3_xml_child_text(rule, "Value");
        bool prefix = bytes_equal(name, BYTES_LIT("Prefix"));
        if (!prefix && !bytes_equal(name, BYTES_LIT("Suffix")))
            return fault(f, "filter rule name must be either prefix or suffix", "FilterRule.Name",
                         name);
        if (value.len > KEY_LENGTH_MAX)
            return fault(f,
                         "Size of filter rule value cannot exceed 1024 bytes in UTF-8 encoding",
                         "FilterRule.Value", value);
        if (prefix ? ++prefixes > 1 : ++suffixes > 1)
            return fault(f,
                         prefix ? "Cannot specify more than one prefix rule in a filter."
                                : "Cannot specify more than one suffix rule in a filter.",
                         "FilterRule.Name", name);
    }
    return true;
}

static bool judge_events(const struct s3_xml_node *n, struct arena *arena,
                         struct s3_notification_fault *f)
{
    for (const struct s3_xml_node *c = n->child; c; c = c->next) {
        if (strcmp(c->name, "Event") != 0 || event_kinds(c->text))
            continue;
        char *message = arena_printf(arena, "The event '%.*s' is not supported for notifications",
                                     (int)c->text.len, (const char *)c->text.ptr);
        return fault(f, message ? message : "", "Event", c->text);
    }
    return true;
}

static bool judge_delivery(const struct s3_xml_node *how, const char *region,
                           struct s3_notification_fault *f)
{
    uint64_t number = 0;
    struct bytes part[6], letter = s3_xml_child_text(how, "DeadLetter");
    if (number_of(how, "MaximumRetryAttempts", &number) && number > RETRIES_MAX)
        return fault(f, "MaximumRetryAttempts must be between 0 and 10000",
                     "MaximumRetryAttempts", s3_xml_child_text(how, "MaximumRetryAttempts"));
    if (number_of(how, "MaximumEventAgeInSeconds", &number) && (!number || number > AGE_MAX_S))
        return fault(f, "MaximumEventAgeInSeconds must be between 1 and 1209600",
                     "MaximumEventAgeInSeconds",
                     s3_xml_child_text(how, "MaximumEventAgeInSeconds"));
    if (!letter.len || bytes_starts_with(letter, BYTES_LIT("s3://")))
        return true; /* its bucket is asked for later */
    if (!split_arn(letter, part))
        return fault(f, "The ARN is not well formed", "DeadLetter", letter);
    for (size_t i = 0; i < ARRAY_LEN(s3_destinations); i++)
        if (bytes_equal(part[2], bytes_str(s3_destinations[i].service)))
            return judge_arn(letter, s3_destinations[i].service, "DeadLetter", region, f);
    return fault(f, "The ARN could not be validated", "DeadLetter", letter);
}

/* ---- which would tell of one change twice ---- */

static const struct s3_xml_node *common_event(const struct s3_xml_node *n, uint64_t kinds,
                                              const struct s3_xml_node * not )
{
    for (const struct s3_xml_node *c = n->child; c; c = c->next)
        if (c != not &&strcmp(c->name, "Event") == 0 && (event_kinds(c->text) & kinds))
            return c;
    return NULL;
}

static bool fault_overlap(const struct s3_xml_node *a, const struct s3_xml_node *b,
                          const char *message, struct arena *arena,
                          struct s3_notification_fault *f)
{
    char *both = arena_printf(arena, "%.*s, %.*s", (int)a->text.len, (const char *)a->text.ptr,
                              (int)b->text.len, (const char *)b->text.ptr);
    return fault(f, message, "Event", both ? bytes_str(both) : BYTES_EMPTY);
}

static const char overlap[] = "Configurations overlap. Configurations on the same bucket cannot "
                              "share a common event type.";
static const char ambiguous[] =
    "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the "
    "prefixes are overlapping for the same event type.";

static bool judge_pair(const struct s3_xml_node *n, const Kist__NotificationRule *a,
                       const struct s3_xml_node *m, const Kist__NotificationRule *b,
                       struct arena *arena, struct s3_notification_fault *f)
{
    uint64_t kinds = a->kinds & b->kinds;
    if (!kinds || !s3_notification_rules_meet(a, b))
        return true;
    bool filtered = a->prefix.len || a->suffix.len || b->prefix.len || b->suffix.len;
    const struct s3_xml_node *first = common_event(n, kinds, NULL);
    return fault_overlap(first, common_event(m, event_kinds(first->text) & kinds, NULL),
                         filtered ? ambiguous : overlap, arena, f);
}

static bool ends_with(struct bytes text, struct bytes end)
{
    return text.len >= end.len &&
           bytes_equal(bytes_of(text.ptr + text.len - end.len, end.len), end);
}

bool s3_notification_rules_meet(const Kist__NotificationRule *a, const Kist__NotificationRule *b)
{
    struct bytes pa = schema_bytes(a->prefix), pb = schema_bytes(b->prefix);
    struct bytes sa = schema_bytes(a->suffix), sb = schema_bytes(b->suffix);
    return (bytes_starts_with(pa, pb) || bytes_starts_with(pb, pa)) &&
           (ends_with(sa, sb) || ends_with(sb, sa));
}

static bool judge_overlaps(const struct s3_xml_node *root, struct arena *arena,
                           struct s3_notification_fault *f)
{
    Kist__Notification *all = s3_notification_compile(root, NULL, arena);
    if (!all)
        return fault(f, NULL, NULL, BYTES_EMPTY);
    size_t i = 0;
    for (const struct s3_xml_node *n = root->child; n; n = n->next) {
        if (!s3_destination_of(n))
            continue;
        size_t k = i + 1;
        for (const struct s3_xml_node *c = n->child; c; c = c->next) {
            const struct s3_xml_node *other =
                strcmp(c->name, "Event") == 0 ? common_event(n, event_kinds(c->text), c) : NULL;
            if (other)
                return fault_overlap(c, other, overlap, arena, f);
        }
        for (const struct s3_xml_node *m = n->next; m; m = m->next)
            if (s3_destination_of(m) &&
                !judge_pair(n, all->rules[i], m, all->rules[k++], arena, f))
                return false;
        i++;
    }
    return true;
}

static bool judge_ids(const struct s3_xml_node *root, struct s3_notification_fault *f)
{
    unsigned count = 0;
    for (const struct s3_xml_node *n = root->child; n; n = n->next) {
        struct bytes id = s3_xml_child_text(n, "Id");
        if (!s3_destination_of(n))
            continue;
        if (++count > CONFIGURATIONS_MAX)
            return fault(f, "A bucket can have up to 100 notification configurations", "Id", id);
        if (id.len > 255)
            return fault(f, "ID length should not exceed allowed limit of 255", "Id", id);
        for (const struct s3_xml_node *m = n->next; m; m = m->next)
            if (s3_destination_of(m) && bytes_equal(s3_xml_child_text(m, "Id"), id))
                return fault(f, "Same ID used for multiple configurations. IDs must be unique",
                             "Id", id);
    }
    return true;
}

bool s3_notification_judge(const struct s3_xml_node *root, const char *region,
                           struct arena *arena, struct s3_notification_fault *f)
{
    for (const struct s3_xml_node *n = root->child; n; n = n->next) {
        const struct s3_destination *to = s3_destination_of(n);
        if (!to)
            continue;
        if (!judge_arn(s3_xml_child_text(n, to->arn), to->service, to->arn, region, f) ||
            !judge_events(n, arena, f) || !judge_filter(n, f) ||
            !judge_delivery(s3_xml_child(n, "Delivery"), region, f))
            return false;
    }
    return judge_ids(root, f) && judge_overlaps(root, arena, f);
}
