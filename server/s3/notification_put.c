/* PutBucketNotificationConfiguration: what a document asks of others. Its targets must be there
 * and take this bucket's events; the new ones among them get a test event. */
#include "server/s3/notification.h"

#include "server/events/events.h"

#define UNABLE "Unable to validate the following destination configurations"
/* Where EventBridgeConfiguration sends: the event target of that name. */
#define BRIDGE_NAME "default"

struct plan {
    Kist__Notification *rules;
    Kist__Event **tests;
    size_t n_tests;
};

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

bool s3_notification_prepare(struct s3_request *r, struct s3_xml_node *root)
{
    return s3_notification_tidy(root, r->arena, store_env(store_of(r)));
}

Kist__Notification *s3_notification_rules(const struct s3_request *r)
{
    const struct plan *plan = r->state;
    return plan ? plan->rules : NULL;
}

/* ---- targets ---- */

static bool skips_validation(const struct s3_request *r)
{
    return bytes_equal_nocase(s3_header(r, "x-amz-skip-destination-validation"),
                              BYTES_LIT("true"));
}

struct complaints {
    size_t count;
    struct s3_param *list;
};

static void complain(struct complaints *c, struct bytes name, const char *why)
{
    if (why)
        c->list[c->count++] = (struct s3_param){ name, bytes_str(why) };
}

/* As AWS says it; NULL: all is well. */
static const char *target_problem(struct s3_request *r, struct bytes arn,
                                  const struct s3_destination *to)
{
    struct events *events = r->service->config.events;
    enum kist_err err = KIST_E_NOT_FOUND;
    if (events)
        err = events_check_target(events, arn, r->bucket, r->owner.account);
    if (err == KIST_OK)
        return NULL;
    if (err != KIST_E_DENIED)
        return to->missing;
    if (strcmp(to->service, "lambda") != 0)
        return to->denied;
    const char *text =
        arena_printf(r->arena, "%s [%.*s]", to->denied, (int)arn.len, (const char *)arn.ptr);
    return text ? text : to->denied;
}

static const struct s3_destination *destination_by_arn(struct bytes arn)
{
    size_t at = bytes_find(arn, BYTES_LIT(":"), 4) + 1;
    for (size_t i = 0; i < S3_DESTINATIONS; i++)
        if (bytes_starts_with(bytes_of(arn.ptr + at, arn.len - at),
                              bytes_str(s3_destinations[i].service)))
            return &s3_destinations[i];
    return &s3_destinations[0];
}

/* ---- dead letters that are objects ---- */

static bool split_url(struct bytes url, struct bytes *bucket, struct bytes *prefix)
{
    static const size_t scheme = sizeof("s3://") - 1;
    if (!bytes_starts_with(url, BYTES_LIT("s3://")))
        return false;
    size_t end = bytes_find(url, BYTES_LIT("/"), scheme);
    end = end == SIZE_MAX ? url.len : end;
    *bucket = bytes_of(url.ptr + scheme, end - scheme);
    *prefix = end < url.len ? bytes_of(url.ptr + end + 1, url.len - end - 1) : BYTES_EMPTY;
    return true;
}

/* A dead letter that makes an event which fails again has no end. */
static bool comes_back(const struct s3_xml_node *root, struct arena *arena, struct bytes prefix)
{
    Kist__NotificationRule letter = KIST__NOTIFICATION_RULE__INIT;
    Kist__Notification *all = s3_notification_compile(root, NULL, arena);
    letter.prefix = schema_data(prefix);
    for (size_t i = 0; all && i < all->n_rules; i++)
        if ((all->rules[i]->kinds >> EVENT_CREATED_PUT & 1) &&
            s3_notification_rules_meet(&letter, all->rules[i]))
            return true;
    return !all;
}

static const char *letter_problem(struct s3_request *r, const struct s3_xml_node *root,
                                  struct bytes bucket, struct bytes prefix)
{
    Kist__Bucket *row = NULL;
    struct auth_owner owner;
    if (!s3_bucket_name_valid(bucket) || prefix.len > 512 || !bytes_is_utf8(prefix))
        return "The destination bucket's name or prefix is not valid";
    if (bytes_equal(bucket, r->bucket))
        return comes_back(root, r->arena, prefix)
                   ? "A dead letter there would make an event again"
                   : NULL;
    if (store_bucket(store_of(r), bucket, r->arena, &row) != KIST_OK)
        return "The destination bucket does not exist";
    if (s3_owner_find(r, row->owner, &owner) != KIST_OK ||
        !bytes_equal(owner.account, r->owner.account))
        return "The destination bucket belongs to another account";
    return NULL;
}

/* False after an error reply. */
static bool ask_targets(struct s3_request *r, const struct s3_xml_node *root)
{
    struct complaints c = { 0 };
    size_t count = 0;
    bool skip = skips_validation(r);
    for (const struct s3_xml_node *n = root->child; n; n = n->next)
        count += 2;
    c.list = arena_alloc(r->arena, count * sizeof(*c.list) + 1);
    for (const struct s3_xml_node *n = root->child; n && c.list; n = n->next) {
        const struct s3_destination *to = s3_destination_of(n);
        struct bytes bucket, prefix;
        struct bytes letter = s3_xml_child_text(s3_xml_child(n, "Delivery"), "DeadLetter");
        if (!to)
            continue;
        struct bytes arn = s3_xml_child_text(n, to->arn);
        if (!skip)
            complain(&c, arn, target_problem(r, arn, to));
        if (split_url(letter, &bucket, &prefix))
            complain(&c, letter, letter_problem(r, root, bucket, prefix));
        else if (letter.len && !skip)
            complain(&c, letter, target_problem(r, letter, destination_by_arn(letter)));
    }
    if (!c.list)
        s3_fail(r, S3_SLOW_DOWN);
    else if (c.count)
        s3_fail_arguments(r, c.count, c.list, UNABLE);
    return c.list && !c.count;
}

/* ---- targets that are event targets of ours ---- */

/* Rows of the first account have no account's name. */
static struct bytes tenant_of(struct s3_request *r, struct bytes account)
{
    Kist__Account *first = NULL;
    if (store_account_first(store_of(r), r->arena, &first) != KIST_OK ||
        bytes_equal(bytes_str(first->id), account))
        return BYTES_EMPTY;
    return account;
}

/* A target may say that its events come in order, wherever a rule does not say otherwise. */
static bool target_is_ordered(struct s3_request *r, struct bytes arn)
{
    Kist__Record *record = NULL;
    Kist__EventTarget *found = NULL;
    size_t at = arn.len;
    while (at && arn.ptr[at - 1] != ':')
        at--;
    if (at <= ACCOUNT_ID_LEN)
        return false;
    struct bytes account = bytes_of(arn.ptr + at - 1 - ACCOUNT_ID_LEN, ACCOUNT_ID_LEN);
    struct bytes name = bytes_of(arn.ptr + at, arn.len - at);
    if (store_record(store_of(r), RECORD_EVENT_TARGET, tenant_of(r, account), name, r->arena,
                     &record) != KIST_OK)
        return false;
    return schema_unpack(&kist__event_target__descriptor, schema_bytes(record->body), r->arena,
                         &found) == KIST_OK &&
           found->ordered;
}

/* The rules are in the order of the document's elements. */
static void order_rules(struct s3_request *r, const struct s3_xml_node *root,
                        Kist__Notification *all)
{
    size_t i = 0;
    for (const struct s3_xml_node *n = root->child; n && i < all->n_rules; n = n->next) {
        const struct s3_destination *to = s3_destination_of(n);
        Kist__NotificationRule *rule = all->rules[i];
        if (!to && !bytes_starts_with(bytes_str(rule->target), BYTES_LIT("arn:aws:events:")))
            continue; /* it became none */
        if (!s3_xml_child(s3_xml_child(n, "Delivery"), "Ordered") &&
            (!to || strcmp(to->service, "lambda") != 0))
            rule->ordered = target_is_ordered(r, bytes_str(rule->target));
        i++;
    }
}

/* ---- EventBridge ---- */

/* Amazon takes the configuration whether or not anybody listens. Here a rule without a target
 * would keep its events for ever, so that there is one only while an event target of the name
 * "default" is there: it holds from the next time that the configuration is put. NULL: none. */
static const char *bridge_target(struct s3_request *r, const struct s3_xml_node *root)
{
    Kist__Record *record = NULL;
    if (!s3_xml_child(root, "EventBridgeConfiguration") ||
        store_record(store_of(r), RECORD_EVENT_TARGET, tenant_of(r, r->owner.account),
                     BYTES_LIT(BRIDGE_NAME), r->arena, &record) != KIST_OK)
        return NULL;
    return arena_printf(r->arena, "arn:aws:events:%s:%.*s:" BRIDGE_NAME,
                        r->service->config.region, (int)r->owner.account.len,
                        (const char *)r->owner.account.ptr);
}

/* ---- test events ---- */

static bool names_target(const struct s3_xml_node *root, const struct s3_destination *to,
                         struct bytes arn, const struct s3_xml_node *until)
{
    for (const struct s3_xml_node *n = root ? root->child : NULL; n && n != until; n = n->next)
        if (s3_destination_of(n) == to && bytes_equal(s3_xml_child_text(n, to->arn), arn))
            return true;
    return false;
}

static Kist__Event *test_event(struct s3_request *r, struct bytes arn)
{
    Kist__Event *event = arena_alloc(r->arena, sizeof(*event));
    Kist__Cause *cause = arena_alloc(r->arena, sizeof(*cause));
    struct exchange_facts facts;
    exchange_facts(r->x, &facts);
    if (!event || !cause)
        return NULL;
    kist__event__init(event);
    kist__cause__init(cause);
    cause->request_id = arena_strdup(r->arena, exchange_id(r->x));
    cause->host_id = arena_strdup(r->arena, facts.host_id);
    cause->time_ms = s3_now(r);
    event->kind = EVENT_TEST;
    event->target = s3_str(r, arn);
    event->bucket = r->bucket_row->name;
    event->owner = r->bucket_row->owner;
    event->time_ms = cause->time_ms;
    event->cause = cause;
    return event->target && cause->request_id && cause->host_id ? event : NULL;
}

/* Queues and topics that the bucket did not tell of anything before: functions are not tried.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html */
static bool plan_tests(struct s3_request *r, const struct s3_xml_node *root, struct plan *plan)
{
    struct s3_xml_node *old = NULL;
    size_t count = 0;
    if (s3_config_xml(r, CONFIG_NOTIFICATION, &old) != KIST_OK)
        return false;
    for (const struct s3_xml_node *n = root->child; n; n = n->next)
        count++;
    plan->tests = arena_alloc(r->arena, count * sizeof(Kist__Event *) + 1);
    for (const struct s3_xml_node *n = root->child; n && plan->tests; n = n->next) {
        const struct s3_destination *to = s3_destination_of(n);
        if (!to || strcmp(to->service, "lambda") == 0)
            continue;
        struct bytes arn = s3_xml_child_text(n, to->arn);
        if (names_target(old, to, arn, NULL) || names_target(root, to, arn, n))
            continue;
        plan->tests[plan->n_tests] = test_event(r, arn);
        if (!plan->tests[plan->n_tests++])
            return false;
    }
    return plan->tests != NULL;
}

/* ---- the operation ---- */

bool s3_notification_check(struct s3_request *r, const struct s3_xml_node *root)
{
    struct s3_notification_fault f;
    struct plan *plan = arena_zalloc(r->arena, sizeof(*plan));
    if (!s3_notification_judge(root, r->service->config.region, r->arena, &f)) {
        if (f.message)
            s3_fail_argument(r, f.name, f.value, f.message);
        else
            s3_fail(r, S3_SLOW_DOWN);
        return false;
    }
    if (!ask_targets(r, root))
        return false;
    if (plan)
        plan->rules = s3_notification_compile(root, bridge_target(r, root), r->arena);
    if (!plan || !plan->rules || (!skips_validation(r) && !plan_tests(r, root, plan))) {
        s3_fail(r, S3_SLOW_DOWN);
        return false;
    }
    order_rules(r, root, plan->rules);
    r->state = plan;
    return true;
}

static void tested(struct s3_request *r)
{
    s3_reply_empty(r, 200);
}

void s3_notification_done(struct s3_request *r)
{
    const struct plan *plan = r->state;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents c = KIST__CHANGE_EVENTS__INIT;
    if (!plan->n_tests) {
        s3_reply_empty(r, 200);
        return;
    }
    c.n_added = plan->n_tests;
    c.added = plan->tests;
    c.now_ms = s3_now(r);
    command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
    command.change_events = &c;
    s3_commit(r, &command, tested);
}
