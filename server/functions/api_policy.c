/* AddPermission, RemovePermission, GetPolicy: who else may invoke a function, kept as a policy
 * document for each qualifier; and what it says to those who ask.
 * https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html */
#include <stdlib.h>

#include "server/functions/control.h"

#define STATEMENT_ID_MAX 100

/* ---- documents ---- */

static const char *qualifier_key(struct bytes qualifier)
{
    return fn_is_latest(qualifier) ? "" : (const char *)qualifier.ptr;
}

Kist__FunctionPolicy *fn_policy_of(const Kist__Function *latest, struct bytes qualifier)
{
    struct bytes key = fn_is_latest(qualifier) ? BYTES_EMPTY : qualifier;
    for (size_t i = 0; i < latest->n_policies; i++)
        if (bytes_equal(bytes_str(latest->policies[i]->qualifier), key))
            return latest->policies[i];
    return NULL;
}

bool fn_policy_parsed(const Kist__Function *latest, struct bytes qualifier, struct arena *arena,
                      struct policy **out)
{
    const Kist__FunctionPolicy *p = fn_policy_of(latest, qualifier);
    const char *reason = NULL;
    *out = NULL;
    return !p || policy_parse(bytes_str(p->document), POLICY_FUNCTION, BYTES_EMPTY, arena, out,
                              &reason) == KIST_OK;
}

struct service_context {
    struct bytes source_arn, source_account;
};

static bool service_value(void *ctx, struct bytes key, struct policy_values *out)
{
    const struct service_context *s = ctx;
    const struct bytes *value = NULL;
    if (bytes_equal_nocase(key, BYTES_LIT("aws:SourceArn")))
        value = &s->source_arn;
    else if (bytes_equal_nocase(key, BYTES_LIT("aws:SourceAccount")))
        value = &s->source_account;
    if (!value || !value->len)
        return false;
    *out = (struct policy_values){ value, 1 };
    return true;
}

bool functions_service_allowed(struct functions *f, const struct function_id *id,
                               const char *service, struct bytes source_arn,
                               struct bytes source_account)
{
    struct service_context context = { source_arn, source_account };
    struct policy_request request = { .principal = { .service = bytes_str(service) },
                                      .action = BYTES_LIT("lambda:InvokeFunction"),
                                      .context = service_value,
                                      .ctx = &context };
    Kist__Function *latest = NULL;
    struct policy *policy = NULL;
    struct arena arena;
    arena_init(&arena, 1U << 20);
    char *arn = function_arn(f, id, &arena);
    request.resource = bytes_str(arn ? arn : "");
    bool ok =
        arn &&
        registry_get(f, id->account, id->name, BYTES_EMPTY, &arena, &latest, NULL) == KIST_OK &&
        fn_policy_parsed(latest, id->qualifier, &arena, &policy) &&
        policy_evaluate(policy, &request) == POLICY_ALLOW;
    arena_release(&arena);
    return ok;
}

/* ---- AddPermission ---- */

static json_t *principal_json(struct fn_call *c, const char *principal)
{
    size_t len = strlen(principal);
    if (strcmp(principal, "*") == 0)
        return json_string("*");
    if (len == ACCOUNT_ID_LEN && strspn(principal, "0123456789") == len)
        return json_pack("{s:s}", "AWS",
                         arena_printf(c->arena, "arn:aws:iam::%s:root", principal));
    if (strncmp(principal, "arn:", 4) == 0)
        return json_pack("{s:s}", "AWS", principal);
    if (strchr(principal, '.'))
        return json_pack("{s:s}", "Service", principal);
    return NULL;
}

static bool add_condition(struct fn_call *c, json_t *conditions, const char *member,
                          const char *operator, const char * key)
{
    const char *value = NULL;
    if (!fn_get_str(c, c->in, member, &value))
        return false;
    if (!value)
        return true;
    json_t *block = json_object_get(conditions, operator);
    if (!block) {
        block = json_object();
        json_object_set_new(conditions, operator, block);
    }
    return json_object_set_new(block, key, json_string(value)) == 0;
}

static bool add_conditions(struct fn_call *c, json_t *statement)
{
    json_t *conditions = json_object();
    bool ok =
        add_condition(c, conditions, "SourceArn", "ArnLike", "AWS:SourceArn") &&
        add_condition(c, conditions, "SourceAccount", "StringEquals", "AWS:SourceAccount") &&
        add_condition(c, conditions, "PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID") &&
        add_condition(c, conditions, "EventSourceToken", "StringEquals",
                      "lambda:EventSourceToken") &&
        add_condition(c, conditions, "FunctionUrlAuthType", "StringEquals",
                      "lambda:FunctionUrlAuthType");
    if (ok && json_object_size(conditions))
        json_object_set(statement, "Condition", conditions);
    json_decref(conditions);
    return ok;
}

/* The statement that is asked for; NULL after an error reply. */
json_t *fn_statement_of(struct fn_call *c)
{
    const char *sid = NULL, *action = NULL, *principal = NULL;
    if (!fn_get_str(c, c->in, "StatementId", &sid) || !fn_get_str(c, c->in, "Action", &action) ||
        !fn_get_str(c, c->in, "Principal", &principal))
        return NULL;
    if (!sid || !fn_name_valid(bytes_str(sid), STATEMENT_ID_MAX) || !action || !principal) {
        fn_fail(c, 400, "ValidationException",
                "1 validation error detected: statementId, action and principal must be there, "
                "and statementId satisfy the pattern ([a-zA-Z0-9-_]+)");
        return NULL;
    }
    if (strncmp(action, "lambda:", 7) != 0 && strcmp(action, "*") != 0) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.64s' at 'action' failed to satisfy "
                 "constraint: Member must satisfy regular expression pattern: "
                 "(lambda:[*]|lambda:[a-zA-Z]+|[*])",
                 action);
        return NULL;
    }
    json_t *who = principal_json(c, principal);
    if (!who) {
        fn_invalid(c, "The provided principal was invalid. Please check the principal and try "
                      "again.");
        return NULL;
    }
    json_t *statement =
        json_pack("{s:s, s:s, s:o, s:s, s:s}", "Sid", sid, "Effect", "Allow", "Principal", who,
                  "Action", action, "Resource", fn_arn(c, c->id.name, c->id.qualifier));
    if (statement && !add_conditions(c, statement)) {
        json_decref(statement);
        return NULL;
    }
    return statement;
}

static json_t *document_of(const Kist__FunctionPolicy *policy)
{
    json_error_t error;
    json_t *document = policy ? json_loads(policy->document, 0, &error) : NULL;
    return document ? document
                    : json_pack("{s:s, s:s, s:[]}", "Version", "2012-10-17", "Id", "default",
                                "Statement");
}

static size_t find_statement(const json_t *document, const char *sid)
{
    const json_t *list = json_object_get(document, "Statement");
    size_t i = 0;
    while (i < json_array_size(list) &&
           strcmp(json_string_value(json_object_get(json_array_get(list, i), "Sid")), sid) != 0)
        i++;
    return i;
}

/* The qualifier's policy becomes that document; without statements it goes. */
static bool set_policy(struct fn_call *c, Kist__Function *latest, Kist__FunctionPolicy *policy,
                       const json_t *document)
{
    char *text = json_dumps(document, JSON_COMPACT);
    char *kept = text ? arena_strdup(c->arena, text) : NULL;
    size_t count = json_array_size(json_object_get(document, "Statement"));
    free(text);
    if (!policy) {
        Kist__FunctionPolicy **list =
            arena_alloc(c->arena, (latest->n_policies + 1) * sizeof(Kist__FunctionPolicy *));
        policy = arena_alloc(c->arena, sizeof(*policy));
        if (list && policy) {
            kist__function_policy__init(policy);
            policy->qualifier = (char *)qualifier_key(c->id.qualifier);
            if (latest->n_policies)
                memcpy(list, latest->policies, latest->n_policies * sizeof(*list));
            list[latest->n_policies++] = policy;
            latest->policies = list;
        } else {
            kept = NULL;
        }
    }
    if (!kept) {
        fn_fail_err(c, KIST_E_NOMEM);
        return false;
    }
    if (strlen(kept) > FN_POLICY_MAX) {
        fn_fail(c, 400, "PolicyLengthExceededException",
                "The final policy size is bigger than the limit (20480).");
        return false;
    }
    policy->document = kept;
    policy->revision = fn_new_uuid(c);
    for (size_t i = 0; i < latest->n_policies && count == 0; i++)
        if (latest->policies[i] == policy)
            latest->policies[i--] = latest->policies[--latest->n_policies];
    return true;
}

static void added(struct fn_call *c)
{
    json_t *statement = c->more;
    char *text = json_dumps(statement, JSON_COMPACT);
    json_t *out = text ? json_pack("{s:s}", "Statement", text) : NULL;
    free(text);
    fn_reply(c, 201, out);
}

/* The statement must be one that can be evaluated. */
static bool check_document(struct fn_call *c, const Kist__FunctionPolicy *policy)
{
    struct policy *parsed = NULL;
    const char *reason = NULL;
    if (policy_parse(bytes_str(policy->document), POLICY_FUNCTION, BYTES_EMPTY, c->arena, &parsed,
                     &reason) == KIST_OK)
        return true;
    fn_invalid(c,
               "The provided principal was invalid. Please check the principal and try again. "
               "(%s)",
               reason);
    return false;
}

static void add_statement(struct fn_call *c, json_t *statement)
{
    struct function_found found = { 0 };
    uint64_t changed = 0;
    const char *sid = json_string_value(json_object_get(statement, "Sid"));
    if (!fn_load_qualified(c, &found) || !fn_load(c, &found.latest, &changed))
        return;
    Kist__FunctionPolicy *policy = fn_policy_of(found.latest, c->id.qualifier);
    if (!fn_check_revision(c, policy ? policy->revision : found.latest->revision))
        return;
    json_t *document = document_of(policy);
    json_t *list = json_object_get(document, "Statement");
    if (find_statement(document, sid) < json_array_size(list)) {
        fn_failf(c, 409, "ResourceConflictException",
                 "The statement id (%s) provided already exists. Please provide a new statement "
                 "id, or remove the existing statement.",
                 sid);
    } else if (json_array_append(list, statement) == 0 &&
               set_policy(c, found.latest, policy, document) &&
               check_document(c, fn_policy_of(found.latest, c->id.qualifier)) &&
               fn_touch(c, found.latest, changed)) {
        c->more = statement;
        json_object_set(c->in, "kist-statement", statement); /* keeps it until the end */
        fn_commit(c, added);
    }
    json_decref(document);
}

void fn_add_permission(struct fn_call *c)
{
    json_t *statement = fn_statement_of(c);
    if (!statement)
        return;
    if (bytes_equal(c->id.qualifier, BYTES_LIT(FN_LATEST)))
        fn_invalid(c, "We currently do not support adding policies for $LATEST.");
    else
        add_statement(c, statement);
    json_decref(statement);
}

/* ---- GetPolicy, RemovePermission ---- */

static void no_policy(struct fn_call *c)
{
    fn_fail(c, 404, "ResourceNotFoundException", "The resource you requested does not exist.");
}

void fn_get_policy(struct fn_call *c)
{
    struct function_found found = { 0 };
    if (!fn_load_qualified(c, &found))
        return;
    const Kist__FunctionPolicy *policy = fn_policy_of(found.latest, c->id.qualifier);
    if (policy)
        fn_reply(
            c, 200,
            json_pack("{s:s, s:s}", "Policy", policy->document, "RevisionId", policy->revision));
    else
        no_policy(c);
}

static void removed(struct fn_call *c)
{
    fn_reply_empty(c, 204);
}

void fn_remove_permission(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    struct bytes revision = fn_param(c, "RevisionId");
    if (!fn_load(c, &latest, &changed))
        return;
    Kist__FunctionPolicy *policy = fn_policy_of(latest, c->id.qualifier);
    json_t *document = document_of(policy);
    json_t *list = json_object_get(document, "Statement");
    size_t at = find_statement(document, fn_str(c, c->args[1]));
    if (!policy || at == json_array_size(list))
        fn_fail(c, 404, "ResourceNotFoundException",
                policy ? "Statement is not found in resource policy."
                       : "No policy is associated with the given resource.");
    else if (revision.len && !bytes_equal(revision, bytes_str(policy->revision)))
        fn_fail(c, 412, "PreconditionFailedException",
                "The RevisionId provided does not match the latest RevisionId. Call the "
                "GetPolicy API to retrieve the latest RevisionId");
    else if (json_array_remove(list, at) == 0 && set_policy(c, latest, policy, document) &&
             fn_touch(c, latest, changed))
        fn_commit(c, removed);
    json_decref(document);
}
