/* What hangs on a function beside its configuration: reserved concurrency, how events are
 * retried, tags; and what Terraform reads of things that are always the same here. */
#include "server/functions/control.h"

#define AGE_MIN_S 60
#define AGE_MAX_S 21600
#define LIST_MAX 50
#define DESTINATION_MAX 350

static void done_empty(struct fn_call *c)
{
    fn_reply_empty(c, c->route->status);
}

static bool load_unqualified(struct fn_call *c, Kist__Function **latest, uint64_t *changed)
{
    if (c->id.qualifier.len) {
        fn_invalid(c, "This operation is for functions, without a qualifier.");
        return false;
    }
    return fn_load(c, latest, changed);
}

/* ---- concurrency ---- */

static unsigned concurrency_total(const struct fn_call *c)
{
    return c->f->config.concurrency ? c->f->config.concurrency : 1000;
}

static void concurrency_done(struct fn_call *c)
{
    fn_reply(c, 200,
             json_pack("{s:i}", "ReservedConcurrentExecutions", (int)c->made->reserved - 1));
}

void fn_put_concurrency(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    int64_t reserved = -1;
    if (!load_unqualified(c, &latest, &changed) ||
        !fn_get_int(c, c->in, "ReservedConcurrentExecutions", 0, INT32_MAX - 1, &reserved))
        return;
    if (reserved < 0) {
        fn_fail(c, 400, "ValidationException",
                "1 validation error detected: Value null at 'reservedConcurrentExecutions' "
                "failed to satisfy constraint: Member must not be null");
        return;
    }
    latest->reserved = (uint32_t)reserved + 1;
    c->made = latest;
    if (fn_touch(c, latest, changed))
        fn_commit(c, concurrency_done);
}

void fn_get_concurrency(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    if (!load_unqualified(c, &latest, NULL))
        return;
    json_t *out = json_object();
    if (latest->reserved)
        json_object_set_new(out, "ReservedConcurrentExecutions",
                            json_integer(latest->reserved - 1));
    fn_reply(c, 200, out);
}

void fn_delete_concurrency(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    if (!load_unqualified(c, &latest, &changed))
        return;
    latest->reserved = 0;
    if (fn_touch(c, latest, changed))
        fn_commit(c, done_empty);
}

struct account_sum {
    uint64_t functions, bytes;
};

static bool add_function(void *ctx, const Kist__Function *latest)
{
    struct account_sum *sum = ctx;
    sum->functions++;
    sum->bytes += latest->code_size;
    return true;
}

void fn_account_settings(struct fn_call *c)
{
    struct account_sum sum = { 0 };
    unsigned total = concurrency_total(c);
    enum kist_err err = registry_list(c->f, fn_account(c), BYTES_EMPTY, add_function, &sum);
    if (err != KIST_OK) {
        fn_fail_err(c, err);
        return;
    }
    fn_reply(c, 200,
             json_pack("{s:{s:I, s:I, s:I, s:I, s:I}, s:{s:I, s:I}}", "AccountLimit",
                       "TotalCodeSize", (json_int_t)FN_STORAGE_MAX, "CodeSizeUnzipped",
                       (json_int_t)FN_CODE_MAX, "CodeSizeZipped", (json_int_t)FN_ZIP_MAX,
                       "ConcurrentExecutions", (json_int_t)total,
                       "UnreservedConcurrentExecutions", (json_int_t)total, "AccountUsage",
                       "TotalCodeSize", (json_int_t)sum.bytes, "FunctionCount",
                       (json_int_t)sum.functions));
}

void fn_provisioned(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    if (!fn_load(c, &latest, NULL))
        return;
    if (bytes_equal(fn_param(c, "List"), BYTES_LIT("ALL")))
        fn_reply(c, 200, json_pack("{s:[]}", "ProvisionedConcurrencyConfigs"));
    else
        fn_fail(c, 404, "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function");
}

/* ---- how events are retried ---- */

Kist__FunctionInvoke *fn_invoke_of(const Kist__Function *latest, struct bytes qualifier)
{
    struct bytes key = fn_is_latest(qualifier) ? BYTES_EMPTY : qualifier;
    for (size_t i = 0; i < latest->n_invokes; i++)
        if (bytes_equal(bytes_str(latest->invokes[i]->qualifier), key))
            return latest->invokes[i];
    return NULL;
}

static json_t *destination(const char *arn)
{
    return arn[0] ? json_pack("{s:s}", "Destination", arn) : json_object();
}

static json_t *invoke_json(struct fn_call *c, const Kist__FunctionInvoke *i)
{
    struct bytes qualifier = i->qualifier[0] ? bytes_str(i->qualifier) : BYTES_LIT(FN_LATEST);
    json_t *out = json_pack("{s:f, s:s, s:{s:o, s:o}}", "LastModified",
                            (double)i->modified_ms / 1000.0, "FunctionArn",
                            fn_arn(c, c->id.name, qualifier), "DestinationConfig", "OnSuccess",
                            destination(i->on_success), "OnFailure", destination(i->on_failure));
    if (out && i->retries)
        json_object_set_new(out, "MaximumRetryAttempts", json_integer(i->retries - 1));
    if (out && i->age_max_s)
        json_object_set_new(out, "MaximumEventAgeInSeconds", json_integer(i->age_max_s));
    return out;
}

static bool parse_destination(struct fn_call *c, const json_t *config, const char *which,
                              char **out)
{
    const json_t *object = NULL;
    const char *arn = NULL;
    if (!fn_get_object(c, config, which, &object) || !fn_get_str(c, object, "Destination", &arn))
        return false;
    if (object)
        *out = (char *)(arn ? arn : "");
    if (arn && strlen(arn) > DESTINATION_MAX) {
        fn_invalid(c, "The provided destination config DestinationConfig is invalid.");
        return false;
    }
    return !arn || fn_destination_check(c, arn);
}

static bool parse_invoke(struct fn_call *c, Kist__FunctionInvoke *i)
{
    const json_t *config = NULL;
    int64_t retries = i->retries - 1, age = i->age_max_s;
    if (!fn_get_int(c, c->in, "MaximumRetryAttempts", 0, 2, &retries) ||
        !fn_get_int(c, c->in, "MaximumEventAgeInSeconds", AGE_MIN_S, AGE_MAX_S, &age) ||
        !fn_get_object(c, c->in, "DestinationConfig", &config) ||
        !parse_destination(c, config, "OnSuccess", &i->on_success) ||
        !parse_destination(c, config, "OnFailure", &i->on_failure))
        return false;
    i->retries = (int32_t)retries + 1;
    i->age_max_s = (uint32_t)age;
    i->modified_ms = c->call->now_ms;
    return true;
}

static void invoke_done(struct fn_call *c)
{
    fn_reply(c, 200, invoke_json(c, c->more));
}

/* Makes one for the qualifier; NULL after an error reply. */
static Kist__FunctionInvoke *new_invoke(struct fn_call *c, Kist__Function *latest)
{
    Kist__FunctionInvoke *i = arena_alloc(c->arena, sizeof(*i));
    Kist__FunctionInvoke **list =
        arena_alloc(c->arena, (latest->n_invokes + 1) * sizeof(Kist__FunctionInvoke *));
    if (!i || !list) {
        fn_fail_err(c, KIST_E_NOMEM);
        return NULL;
    }
    kist__function_invoke__init(i);
    i->qualifier = fn_is_latest(c->id.qualifier) ? (char *)"" : fn_str(c, c->id.qualifier);
    if (latest->n_invokes)
        memcpy(list, latest->invokes, latest->n_invokes * sizeof(*list));
    list[latest->n_invokes++] = i;
    latest->invokes = list;
    return i;
}

static void no_invoke_config(struct fn_call *c)
{
    fn_failf(c, 404, "ResourceNotFoundException",
             "The function %s doesn't have an EventInvokeConfig",
             fn_arn(c, c->id.name, fn_qualifier(c)));
}

static void change_invoke(struct fn_call *c, bool replace)
{
    struct function_found found = { 0 };
    uint64_t changed = 0;
    if (!fn_load_qualified(c, &found) || !fn_load(c, &found.latest, &changed))
        return;
    Kist__FunctionInvoke *i = fn_invoke_of(found.latest, c->id.qualifier);
    if (!i && !replace) {
        no_invoke_config(c);
        return;
    }
    if (i && replace) {
        char *qualifier = i->qualifier;
        kist__function_invoke__init(i);
        i->qualifier = qualifier;
    }
    i = i ? i : new_invoke(c, found.latest);
    if (!i || !parse_invoke(c, i))
        return;
    c->more = i;
    if (fn_touch(c, found.latest, changed))
        fn_commit(c, invoke_done);
}

void fn_put_invoke_config(struct fn_call *c)
{
    change_invoke(c, true);
}

void fn_update_invoke_config(struct fn_call *c)
{
    change_invoke(c, false);
}

void fn_get_invoke_config(struct fn_call *c)
{
    struct function_found found = { 0 };
    if (!fn_load_qualified(c, &found))
        return;
    const Kist__FunctionInvoke *i = fn_invoke_of(found.latest, c->id.qualifier);
    if (i)
        fn_reply(c, 200, invoke_json(c, i));
    else
        no_invoke_config(c);
}

void fn_delete_invoke_config(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    if (!fn_load(c, &latest, &changed))
        return;
    const Kist__FunctionInvoke *i = fn_invoke_of(latest, c->id.qualifier);
    if (!i) {
        no_invoke_config(c);
        return;
    }
    for (size_t k = 0; k < latest->n_invokes; k++)
        if (latest->invokes[k] == i)
            latest->invokes[k--] = latest->invokes[--latest->n_invokes];
    if (fn_touch(c, latest, changed))
        fn_commit(c, done_empty);
}

void fn_list_invoke_configs(struct fn_call *c)
{
    struct fn_page page;
    Kist__Function *latest = NULL;
    json_t *list = NULL;
    if (!fn_page(c, LIST_MAX, &page) || !load_unqualified(c, &latest, NULL))
        return;
    list = json_array();
    for (size_t i = 0; i < latest->n_invokes; i++)
        json_array_append_new(list, invoke_json(c, latest->invokes[i]));
    fn_reply(c, 200, json_pack("{s:o}", "FunctionEventInvokeConfigs", list));
}

/* ---- tags ---- */

void fn_list_tags(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    if (!load_unqualified(c, &latest, NULL))
        return;
    json_t *tags = json_object();
    for (size_t i = 0; i < latest->n_tags; i++)
        json_object_set_new(tags, latest->tags[i]->name, json_string(latest->tags[i]->value));
    fn_reply(c, 200, json_pack("{s:o}", "Tags", tags));
}

static void commit_tags(struct fn_call *c, Kist__Function *latest, uint64_t changed)
{
    if (latest->n_tags > FN_TAGS_MAX)
        fn_invalid(c, "A function cannot have more than %d tags.", FN_TAGS_MAX);
    else if (fn_touch(c, latest, changed))
        fn_commit(c, done_empty);
}

void fn_tag(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    Kist__Pair **added = NULL;
    size_t count = 0, had;
    uint64_t changed = 0;
    const json_t *tags = NULL;
    if (!load_unqualified(c, &latest, &changed) || !fn_get_object(c, c->in, "Tags", &tags) ||
        !fn_tags_parse(c, tags, &count, &added))
        return;
    Kist__Pair **all = arena_alloc(c->arena, (latest->n_tags + count + 1) * sizeof(Kist__Pair *));
    if (!all) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    had = latest->n_tags;
    if (had)
        memcpy(all, latest->tags, had * sizeof(*all));
    for (size_t i = 0; i < count; i++) {
        size_t k = 0;
        while (k < had && strcmp(all[k]->name, added[i]->name) != 0)
            k++;
        latest->n_tags += k == had;
        all[k == had ? latest->n_tags - 1 : k] = added[i];
    }
    latest->tags = all;
    commit_tags(c, latest, changed);
}

void fn_untag(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    struct bytes name;
    if (!load_unqualified(c, &latest, &changed))
        return;
    for (size_t n = 0; (name = fn_param_at(c, "tagKeys", n)).ptr; n++)
        for (size_t i = 0; i < latest->n_tags; i++)
            if (bytes_equal(bytes_str(latest->tags[i]->name), name))
                latest->tags[i--] = latest->tags[--latest->n_tags];
    commit_tags(c, latest, changed);
}

/* ---- always the same ---- */

void fn_code_signing(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    if (fn_load(c, &latest, NULL))
        fn_reply(c, 200,
                 json_pack("{s:s, s:s}", "FunctionArn", fn_arn(c, c->id.name, BYTES_EMPTY),
                           "FunctionName", latest->name));
}

void fn_runtime_management(struct fn_call *c)
{
    struct function_found found = { 0 };
    if (fn_load_qualified(c, &found))
        fn_reply(c, 200,
                 json_pack("{s:s, s:s}", "UpdateRuntimeOn", "Auto", "FunctionArn",
                           fn_arn(c, c->id.name, fn_qualifier(c))));
}

void fn_recursion(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    if (fn_load(c, &latest, NULL))
        fn_reply(c, 200, json_pack("{s:s}", "RecursiveLoop", "Terminate"));
}

void fn_list_sources(struct fn_call *c)
{
    fn_reply(c, 200, json_pack("{s:[]}", "EventSourceMappings"));
}

void fn_create_source(struct fn_call *c)
{
    fn_invalid(c, "Event source mappings are not there: let the source call the function, by a "
                  "bucket's notifications or by an event target.");
}
