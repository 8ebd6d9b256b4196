/* Targets as they are set up: PutTarget, GetTarget, ListTargets, DeleteTarget, TestTarget.
 * Secrets go in and never come out again. */
#include "server/events/control.h"
#include "server/events/target_internal.h"

#define MEMBERS                                                                                  \
    "|Name|Url|Kind|Form|Secret|DeadLetter|Retries|MaxAgeSeconds|Concurrency|Ordered|"           \
    "PrivateNetwork|Options|DryRun|"
#define RETRIES_MAX 1000
#define AGE_MAX_S (14U * 86400)
#define RECORD_MAX ((size_t)128 << 10)
#define LIST_MAX 1000
#define HIDDEN "hidden"

static char *mut(const char *s)
{
    return (char *)(uintptr_t)s;
}

static const char *arn_of(struct control_request *r, const char *service, const char *name)
{
    const struct auth_identity *who = r->call->who;
    return arena_printf(r->call->arena, "arn:aws:%s:%s:%.*s:%s", service, r->config->region,
                        (int)who->account.len, (const char *)who->account.ptr, name);
}

static void invalid(struct control_request *r, const char *message)
{
    control_fail(r, 400, "ValidationException", message);
}

/* The member Name, after the caller was found to be allowed the call on that target. */
static bool named(struct control_request *r, const char **name)
{
    if (!control_text(r, "Name", name))
        return false;
    if (!target_name_is_valid(bytes_str(*name))) {
        invalid(r, "Name must be 1 to 80 letters, digits, '-', '_' and '.'.");
        return false;
    }
    const char *resource = arena_printf(r->call->arena, "target/%s", *name);
    if (!resource) {
        control_fail_err(r, KIST_E_NOMEM);
        return false;
    }
    return control_allowed(r, resource);
}

/* ---- shown ---- */

static json_t *options_json(const Kist__EventTarget *t)
{
    json_t *options = json_object();
    for (size_t i = 0; i < t->n_options; i++)
        (void)!json_object_set_new(options, t->options[i]->name,
                                   json_string(target_option_is_secret(t->options[i]->name)
                                                   ? HIDDEN
                                                   : t->options[i]->value));
    return options;
}

static json_t *target_json(struct control_request *r, const Kist__EventTarget *t)
{
    struct target_url url = { .shown = "" };
    bool missing = false;
    const struct target_driver *d = target_driver_of(t->kind, &missing);
    unsigned concurrency = t->concurrency ? t->concurrency : d ? d->concurrency : 0;
    (void)!target_url_parse(t->url, r->call->arena, &url);
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:f, s:o}", "Name", t->name,
                  "Arn", arn_of(r, "sqs", t->name), "Kind", t->kind, "Url", url.shown, "Form",
                  *t->form ? t->form : "s3", "Ordered", (int)t->ordered, "PrivateNetwork",
                  (int)t->private_network, "Concurrency", (json_int_t)concurrency,
                  "MaxAgeSeconds", (json_int_t)(t->age_max_s ? t->age_max_s : TARGET_AGE_S),
                  "LastModified", (double)t->modified_ms / 1000, "Options", options_json(t));
    if (out && t->retries)
        (void)!json_object_set_new(out, "Retries", json_integer(t->retries - 1));
    if (out && *t->dead_letter)
        (void)!json_object_set_new(out, "DeadLetter", json_string(t->dead_letter));
    if (out && *t->secret)
        (void)!json_object_set_new(out, "Secret", json_string(HIDDEN));
    return out;
}

/* False after an error reply. */
static bool read_record(struct control_request *r, const char *name, Kist__Record **record,
                        Kist__EventTarget **target)
{
    enum kist_err err = store_record(r->config->store, RECORD_EVENT_TARGET, r->call->who->tenant,
                                     bytes_str(name), r->call->arena, record);
    if (err == KIST_OK)
        err = schema_unpack(&kist__event_target__descriptor, schema_bytes((*record)->body),
                            r->call->arena, (void *)target);
    if (err == KIST_E_NOT_FOUND)
        control_fail(r, 404, "ResourceNotFoundException",
                     arena_printf(r->call->arena, "There is no target %s.", name));
    else if (err != KIST_OK)
        control_fail_err(r, err);
    return err == KIST_OK;
}

/* ---- PutTarget ---- */

static bool read_options(struct control_request *r, Kist__EventTarget *t)
{
    json_t *options = json_object_get(r->in, "Options"), *value = NULL;
    const char *name = NULL;
    struct arena *a = r->call->arena;
    size_t n = json_object_size(options);
    if (!options)
        return true;
    if (!json_is_object(options) || n > TARGET_OPTIONS_MAX) {
        invalid(r, "Options must be an object of at most 32 strings.");
        return false;
    }
    t->options = arena_alloc(a, (n + 1) * sizeof(Kist__Pair *));
    Kist__Pair *pairs = arena_alloc(a, (n + 1) * sizeof(Kist__Pair));
    if (!t->options || !pairs) {
        control_fail_err(r, KIST_E_NOMEM);
        return false;
    }
    json_object_foreach(options, name, value)
    {
        const char *text = json_string_value(value);
        if (!text || strlen(text) != json_string_length(value)) {
            invalid(r, "Options must be an object of at most 32 strings.");
            return false;
        }
        Kist__Pair *pair = &pairs[t->n_options];
        kist__pair__init(pair);
        pair->name = mut(name);
        pair->value = mut(text);
        t->options[t->n_options++] = pair;
    }
    return true;
}

/* Where events go that cannot be delivered: another target, a function, or a bucket. */
static const char *dead_letter_fault(struct control_request *r, const Kist__EventTarget *t)
{
    const char *letter = t->dead_letter;
    static const char *const own[] = { "sqs", "sns", "events" };
    if (!*letter)
        return NULL;
    if (strlen(letter) > TARGET_OPTION_MAX ||
        !(strncmp(letter, "arn:aws:", 8) == 0 ||
          (strncmp(letter, "s3://", 5) == 0 && letter[5] && letter[5] != '/')))
        return "DeadLetter must be an ARN or s3://BUCKET/PREFIX.";
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        const char *arn = arn_of(r, own[i], t->name);
        if (arn && strcmp(letter, arn) == 0)
            return "A target cannot be its own dead letter.";
    }
    return NULL;
}

static bool read_texts(struct control_request *r, Kist__EventTarget *t)
{
    const char *url = NULL, *kind = NULL, *form = NULL, *secret = NULL, *letter = NULL;
    if (!control_text(r, "Url", &url) || !control_text(r, "Kind", &kind) ||
        !control_text(r, "Form", &form) || !control_text(r, "Secret", &secret) ||
        !control_text(r, "DeadLetter", &letter))
        return false;
    t->url = mut(url);
    t->kind = mut(kind);
    t->form = mut(form);
    t->secret = mut(secret);
    t->dead_letter = mut(letter);
    return true;
}

static bool read_target(struct control_request *r, Kist__EventTarget *t)
{
    uint64_t retries = UINT64_MAX, age = 0, concurrency = 0;
    bool ordered = false, private_network = false;
    if (!control_only(r, MEMBERS) || !read_texts(r, t) || !read_options(r, t) ||
        !control_number(r, "Retries", RETRIES_MAX, &retries) ||
        !control_number(r, "MaxAgeSeconds", AGE_MAX_S, &age) ||
        !control_number(r, "Concurrency", TARGET_CONCURRENCY_MAX, &concurrency) ||
        !control_flag(r, "Ordered", &ordered) ||
        !control_flag(r, "PrivateNetwork", &private_network))
        return false;
    t->retries = retries == UINT64_MAX ? 0 : (int32_t)retries + 1;
    t->age_max_s = (uint32_t)age;
    t->concurrency = (uint32_t)concurrency;
    t->ordered = ordered;
    t->private_network = private_network;
    const char *fault = target_check(t, r->call->arena);
    if (!fault)
        fault = dead_letter_fault(r, t);
    if (fault)
        invalid(r, fault);
    return !fault;
}

struct change {
    Kist__EventTarget target;
    Kist__Record record;
};

/* What waits for it is looked at again. */
static void tell(struct control_request *r, const char *name)
{
    static const char *const services[] = { "sqs", "sns", "events" };
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        const char *arn = arn_of(r, services[i], name);
        if (arn)
            events_target_changed(r->config->events, bytes_str(arn));
    }
}

/* record NULL: the target goes. */
static void commit_record(struct control_request *r, const char *name, Kist__Record *record,
                          uint64_t expected, void (*then)(struct control_request *r))
{
    const struct auth_identity *who = r->call->who;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords put = KIST__PUT_RECORDS__INIT;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *list = &change;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &put;
    put.n_changes = 1;
    put.changes = &list;
    change.kind = RECORD_EVENT_TARGET;
    change.account = arena_strndup(r->call->arena, who->tenant.ptr, who->tenant.len);
    change.name = mut(name);
    change.expected = expected;
    change.any = expected == 0;
    change.record = record;
    if (change.account)
        control_commit(r, &command, then);
    else
        control_fail_err(r, KIST_E_NOMEM);
}

static void put_done(struct control_request *r)
{
    const struct change *c = r->state;
    if (r->op.err != KIST_OK) {
        control_fail_err(r, r->op.err);
        return;
    }
    tell(r, c->target.name);
    control_reply(r, json_pack("{s:o}", "Target", target_json(r, &c->target)));
}

/* Only those of the first account, whose machine it is, may reach its networks. */
static bool may_be_private(struct control_request *r, const Kist__EventTarget *t)
{
    if (!t->private_network || r->call->who->tenant.len == 0)
        return true;
    control_fail(r, 403, "AccessDeniedException",
                 "Only targets of the store's first account may be in private networks.");
    return false;
}

/* ---- what a PutTarget would change ---- */

static bool same_options(const Kist__EventTarget *a, const Kist__EventTarget *b)
{
    bool same = a->n_options == b->n_options;
    for (size_t i = 0; same && i < a->n_options; i++) {
        const char *other = target_option(b, a->options[i]->name);
        same = other && strcmp(other, a->options[i]->value) == 0;
    }
    return same;
}

/* Whoever asks knows the secret he asks about, and learns no more than whether it is this one. */
static json_t *changes_json(const Kist__EventTarget *old, const Kist__EventTarget *now)
{
    const struct {
        const char *name;
        bool same;
    } members[] = {
        { "Url", strcmp(old->url, now->url) == 0 },
        { "Kind", strcmp(old->kind, now->kind) == 0 },
        { "Form", strcmp(old->form, now->form) == 0 },
        { "Secret", bytes_equal_secret(bytes_str(old->secret), bytes_str(now->secret)) },
        { "DeadLetter", strcmp(old->dead_letter, now->dead_letter) == 0 },
        { "Retries", old->retries == now->retries },
        { "MaxAgeSeconds", old->age_max_s == now->age_max_s },
        { "Concurrency", old->concurrency == now->concurrency },
        { "Ordered", old->ordered == now->ordered },
        { "PrivateNetwork", old->private_network == now->private_network },
        { "Options", same_options(old, now) },
    };
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (!members[i].same)
            (void)!json_array_append_new(list, json_string(members[i].name));
    return list;
}

/* DryRun: the same checks, and what would change; 404 where there is no such target yet. */
static void compare_target(struct control_request *r, const Kist__EventTarget *now)
{
    Kist__Record *record;
    Kist__EventTarget *old = NULL;
    if (read_record(r, now->name, &record, &old))
        control_reply(r, json_pack("{s:o, s:o}", "Target", target_json(r, old), "Changes",
                                   changes_json(old, now)));
}

static void put_target(struct control_request *r)
{
    struct change *c = arena_zalloc(r->call->arena, sizeof(*c));
    const char *name = NULL;
    bool dry_run = false;
    struct buf body;
    if (!c) {
        control_fail_err(r, KIST_E_NOMEM);
        return;
    }
    kist__event_target__init(&c->target);
    kist__record__init(&c->record);
    if (!named(r, &name))
        return;
    c->target.name = mut(name);
    c->target.modified_ms = r->call->now_ms;
    if (!read_target(r, &c->target) || !may_be_private(r, &c->target) ||
        !control_flag(r, "DryRun", &dry_run))
        return;
    if (dry_run) {
        compare_target(r, &c->target);
        return;
    }
    c->record.created_ms = r->call->now_ms;
    buf_init(&body, RECORD_MAX);
    enum kist_err err = schema_pack(&c->target, &body);
    c->record.body = schema_data(buf_bytes(&body));
    r->state = c;
    if (err == KIST_OK)
        commit_record(r, name, &c->record, 0, put_done);
    else if (err == KIST_E_TOO_LARGE)
        invalid(r, "The target is too large.");
    else
        control_fail_err(r, err);
    buf_release(&body);
}

/* ---- GetTarget, ListTargets, DeleteTarget ---- */

static void get_target(struct control_request *r)
{
    const char *name = NULL;
    Kist__Record *record = NULL;
    Kist__EventTarget *target = NULL;
    if (control_only(r, "|Name|") && named(r, &name) && read_record(r, name, &record, &target))
        control_reply(r, json_pack("{s:o}", "Target", target_json(r, target)));
}

struct page {
    struct control_request *r;
    json_t *list;
    size_t max;
    const char *next; /* NULL: it is the last page */
    const char *last;
    enum kist_err err;
};

static bool on_record(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct page *p = ctx;
    Kist__EventTarget *target = NULL;
    if (json_array_size(p->list) == p->max) {
        p->next = p->last;
        return false;
    }
    p->err = schema_unpack(&kist__event_target__descriptor, schema_bytes(record->body),
                           p->r->call->arena, (void *)&target);
    p->last = arena_strndup(p->r->call->arena, name.ptr, name.len);
    if (p->err == KIST_OK &&
        (!p->last || json_array_append_new(p->list, target_json(p->r, target)) != 0))
        p->err = KIST_E_NOMEM;
    return p->err == KIST_OK;
}

static void list_targets(struct control_request *r)
{
    struct page p = { .r = r };
    const char *after = NULL;
    uint64_t limit = 100;
    if (!control_only(r, "|NextToken|Limit|") || !control_text(r, "NextToken", &after) ||
        !control_number(r, "Limit", LIST_MAX, &limit) || !control_allowed(r, "target/*"))
        return;
    p.max = limit ? (size_t)limit : 1;
    p.list = json_array();
    enum kist_err err =
        p.list ? store_list_records(r->config->store, RECORD_EVENT_TARGET, r->call->who->tenant,
                                    BYTES_EMPTY, bytes_str(after), on_record, &p)
               : KIST_E_NOMEM;
    if (err == KIST_OK)
        err = p.err;
    if (err != KIST_OK) {
        json_decref(p.list);
        control_fail_err(r, err);
        return;
    }
    json_t *out = json_pack("{s:o}", "Targets", p.list);
    if (out && p.next)
        (void)!json_object_set_new(out, "NextToken", json_string(p.next));
    control_reply(r, out);
}

static void delete_done(struct control_request *r)
{
    if (r->op.err != KIST_OK) {
        control_fail_err(r, r->op.err);
        return;
    }
    tell(r, r->state);
    control_reply(r, json_object());
}

static void delete_target(struct control_request *r)
{
    const char *name = NULL;
    Kist__Record *record = NULL;
    Kist__EventTarget *target = NULL;
    if (!control_only(r, "|Name|") || !named(r, &name) || !read_record(r, name, &record, &target))
        return;
    r->state = mut(name);
    commit_record(r, name, NULL, record->changed, delete_done);
}

/* ---- TestTarget ---- */

struct test {
    struct event_delivery delivery; /* first */
    struct control_request *r;
    Kist__Event event;
    char id[37];
    uint64_t begun_ns, ended_ns;
    enum event_outcome outcome;
    char why[TARGET_WHY_MAX];
};

static void test_delivered(struct event_delivery *d, enum event_outcome outcome, const char *why,
                           struct bytes response, const Kist__Span *span)
{
    struct test *t = (struct test *)(void *)d;
    (void)response, (void)span;
    t->outcome = outcome;
    t->ended_ns = mono_ns();
    if (why)
        memcpy(t->why, why, strnlen(why, sizeof(t->why) - 1));
    control_wake(t->r);
}

static void test_done(struct control_request *r)
{
    static const char *const outcomes[] = { [EVENT_DELIVERED] = "delivered",
                                            [EVENT_FAILED] = "failed",
                                            [EVENT_THROTTLED] = "throttled",
                                            [EVENT_ABSENT] = "absent",
                                            [EVENT_REFUSED] = "refused" };
    const struct test *t = r->state;
    control_reply(r, json_pack("{s:s, s:s, s:s, s:I}", "Outcome", outcomes[t->outcome], "Message",
                               t->why, "EventId", t->id, "DurationMs",
                               (json_int_t)((t->ended_ns - t->begun_ns) / 1000000)));
}

/* The same that a target gets when a notification rule for it is made. */
static void test_target(struct control_request *r)
{
    const char *name = NULL;
    Kist__Record *record = NULL;
    Kist__EventTarget *target = NULL;
    if (!control_only(r, "|Name|") || !named(r, &name) || !read_record(r, name, &record, &target))
        return;
    struct test *t = arena_zalloc(r->call->arena, sizeof(*t));
    const char *arn = arn_of(r, "sqs", name);
    if (!t || !arn) {
        control_fail_err(r, KIST_E_NOMEM);
        return;
    }
    kist__event__init(&t->event);
    t->event.kind = EVENT_TEST;
    t->event.target = mut(arn);
    t->event.time_ms = r->call->now_ms;
    target_new_id(r->config->store, t->id);
    t->r = r;
    t->begun_ns = mono_ns();
    t->delivery = (struct event_delivery){
        .event = &t->event, .id = t->id, .attempt = 1, .done = test_delivered
    };
    r->state = t;
    const struct event_sink *sink = targets_sink(r->config->targets, 0);
    control_wait(r, test_done);
    sink->deliver(sink->ctx, &t->delivery);
}

const struct control_call target_calls[] = {
    { "PutTarget", "kist:PutTarget", put_target },
    { "GetTarget", "kist:GetTarget", get_target },
    { "ListTargets", "kist:ListTargets", list_targets },
    { "DeleteTarget", "kist:DeleteTarget", delete_target },
    { "TestTarget", "kist:TestTarget", test_target },
    { NULL, NULL, NULL },
};
