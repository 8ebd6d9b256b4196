/* From JSON to `struct policy`. Everything that the grammar does not allow is an error: what is
 * misspelt must not quietly allow, nor quietly fail to deny. */
#include <jansson.h>

#include "auth/policy_internal.h"
#include "storage/base/codec.h"

#define STATEMENTS_MAX 500

struct parse {
    struct arena *arena;
    enum policy_kind kind;
    struct bytes bucket;
    const char *reason;
    enum kist_err err;
};

static bool fail(struct parse *p, const char *reason)
{
    p->reason = reason;
    p->err = KIST_E_INVALID;
    return false;
}

static void *get_memory(struct parse *p, size_t bytes)
{
    void *memory = arena_zalloc(p->arena, bytes + 1);
    if (!memory)
        p->err = KIST_E_NOMEM;
    return memory;
}

static bool text_of(struct parse *p, const json_t *value, struct bytes *out)
{
    *out = arena_copy(p->arena, bytes_of(json_string_value(value), json_string_length(value)));
    if (!out->ptr)
        p->err = KIST_E_NOMEM;
    return out->ptr != NULL;
}

/* A condition's value may be written as a number or a truth value. */
static bool scalar_of(struct parse *p, const json_t *value, struct bytes *out)
{
    char *text = NULL;
    if (json_is_string(value))
        return text_of(p, value, out);
    if (json_is_boolean(value))
        text = arena_strdup(p->arena, json_is_true(value) ? "true" : "false");
    else if (json_is_integer(value))
        text = arena_printf(p->arena, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        text = arena_printf(p->arena, "%.17g", json_real_value(value));
    else
        return fail(p, "Invalid policy syntax.");
    if (!text)
        p->err = KIST_E_NOMEM;
    *out = bytes_str(text ? text : "");
    return text != NULL;
}

/* "a" or ["a", "b"]. */
static bool list_of(struct parse *p, const json_t *value, struct text_list *out)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (out->list) /* Action beside NotAction, Resource beside NotResource */
        return fail(p, "Invalid policy syntax.");
    out->list = get_memory(p, count * sizeof(*out->list));
    if (!out->list)
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(item))
            return fail(p, "Invalid policy syntax.");
        if (!text_of(p, item, &out->list[out->count++]))
            return false;
    }
    return count > 0 || fail(p, "Policy contains an empty list.");
}

/* ---- principals ---- */

static bool digits(struct bytes b, size_t count)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.ptr[i] < '0' || b.ptr[i] > '9')
            return false;
    return b.len == count;
}

/* *, an account, or arn:aws:iam::account:root|user/...|role/..., arn:aws:sts::... */
static bool aws_principal_valid(struct bytes v)
{
    static const struct bytes iam = { (const uint8_t *)"arn:aws:iam::", 13 };
    static const struct bytes sts = { (const uint8_t *)"arn:aws:sts::", 13 };
    if (bytes_equal(v, BYTES_LIT("*")) || digits(v, 12))
        return true;
    if (!bytes_starts_with(v, iam) && !bytes_starts_with(v, sts))
        return false;
    struct bytes rest = bytes_of(v.ptr + iam.len, v.len - iam.len);
    if (rest.len < 14 || !digits(bytes_of(rest.ptr, 12), 12) || rest.ptr[12] != ':')
        return false;
    rest = bytes_of(rest.ptr + 13, rest.len - 13);
    if (bytes_find(rest, BYTES_LIT("*"), 0) != SIZE_MAX)
        return false;
    return bytes_equal(rest, BYTES_LIT("root")) || bytes_starts_with(rest, BYTES_LIT("user/")) ||
           bytes_starts_with(rest, BYTES_LIT("role/")) ||
           bytes_starts_with(rest, BYTES_LIT("assumed-role/")) ||
           bytes_starts_with(rest, BYTES_LIT("federated-user/"));
}

static bool add_principals(struct parse *p, const char *name, const json_t *value,
                           struct statement *s)
{
    struct text_list texts = { 0 };
    enum principal_kind kind;
    if (strcmp(name, "AWS") == 0)
        kind = PRINCIPAL_AWS;
    else if (strcmp(name, "CanonicalUser") == 0)
        kind = PRINCIPAL_CANONICAL;
    else if (strcmp(name, "Federated") == 0)
        kind = PRINCIPAL_FEDERATED;
    else if (strcmp(name, "Service") == 0)
        kind = PRINCIPAL_OTHER;
    else
        return fail(p, "Invalid principal in policy");
    if (!list_of(p, value, &texts))
        return false;
    struct principal *all = get_memory(p, (s->principal_count + texts.count) * sizeof(*all));
    if (!all)
        return false;
    if (s->principal_count)
        memcpy(all, s->principals, s->principal_count * sizeof(*all));
    s->principals = all;
    for (size_t i = 0; i < texts.count; i++) {
        struct bytes v = texts.list[i];
        bool any = kind == PRINCIPAL_AWS && bytes_equal(v, BYTES_LIT("*"));
        if (kind == PRINCIPAL_AWS && !aws_principal_valid(v))
            return fail(p, "Invalid principal in policy");
        all[s->principal_count++] = (struct principal){ any ? PRINCIPAL_ANY : kind, v };
    }
    return true;
}

static bool read_principal(struct parse *p, const json_t *value, struct statement *s)
{
    const char *name;
    json_t *item;
    if (json_is_string(value)) {
        if (strcmp(json_string_value(value), "*") != 0)
            return fail(p, "Invalid principal in policy");
        s->principals = get_memory(p, sizeof(*s->principals));
        if (!s->principals)
            return false;
        s->principals[0] = (struct principal){ PRINCIPAL_ANY, BYTES_LIT("*") };
        s->principal_count = 1;
        return true;
    }
    if (!json_is_object(value) || json_object_size(value) == 0)
        return fail(p, "Invalid principal in policy");
    json_object_foreach((json_t *)value, name, item)
    {
        if (!add_principals(p, name, item, s))
            return false;
    }
    return true;
}

/* ---- actions and resources ---- */

enum action_scope { SCOPE_SERVICE = 1, SCOPE_BUCKET = 2, SCOPE_OBJECT = 4 };
static const struct {
    struct bytes name;
    enum action_scope scope;
} actions[] = {
#define A(name, scope)                                                                           \
    { { (const uint8_t *)"s3:" #name, sizeof("s3:" #name) - 1 }, SCOPE_##scope },
#include "auth/policy_actions.def"
#undef A
};

/* What the actions that a pattern stands for act on; 0: no action has that name. */
static unsigned action_scopes(struct bytes pattern)
{
    static const struct policy_request nobody;
    unsigned scopes = 0;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (pattern_match(pattern, actions[i].name, true, true, false, &nobody) == MATCH_YES)
            scopes |= actions[i].scope;
    return scopes;
}

static bool check_actions(struct parse *p, const struct statement *s, unsigned *scopes)
{
    *scopes = 0;
    for (size_t i = 0; i < s->actions.count; i++) {
        struct bytes a = s->actions.list[i];
        unsigned found = action_scopes(a);
        bool service = bytes_find(a, BYTES_LIT(":"), 0) != SIZE_MAX;
        bool all = bytes_equal(a, BYTES_LIT("*"));
        if (p->kind == POLICY_RESOURCE && !found && !all)
            return fail(p, "Policy has invalid action");
        if (p->kind != POLICY_RESOURCE && !all && !service)
            return fail(p,
                        "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, "
                        "etc.");
        *scopes |= all ? SCOPE_BUCKET | SCOPE_OBJECT : found;
    }
    return true;
}

/* Of a bucket's policy: its own ARN, or one below it. */
static bool resource_is_in_bucket(struct bytes bucket, struct bytes resource, bool *of_object)
{
    static const struct bytes arn = { (const uint8_t *)"arn:aws:s3:::", 13 };
    if (!bytes_starts_with(resource, arn))
        return false;
    struct bytes rest = bytes_of(resource.ptr + arn.len, resource.len - arn.len);
    if (!bytes_starts_with(rest, bucket))
        return false;
    rest = bytes_of(rest.ptr + bucket.len, rest.len - bucket.len);
    *of_object = rest.len > 0;
    return rest.len == 0 || rest.ptr[0] == '/' || bytes_equal(rest, BYTES_LIT("*"));
}

static bool check_resources(struct parse *p, const struct statement *s, unsigned scopes)
{
    unsigned named = 0;
    for (size_t i = 0; i < s->resources.count; i++) {
        struct bytes r = s->resources.list[i];
        bool of_object = false;
        if (p->kind != POLICY_RESOURCE) {
            if (!bytes_equal(r, BYTES_LIT("*")) && !bytes_starts_with(r, BYTES_LIT("arn:")))
                return fail(p, "Resource must be in ARN format or \"*\".");
            continue;
        }
        if (!resource_is_in_bucket(p->bucket, r, &of_object))
            return fail(p, "Policy has invalid resource");
        named |= of_object ? SCOPE_OBJECT : SCOPE_BUCKET;
        if (of_object && r.ptr[r.len - 1] == '*' &&
            r.len == sizeof("arn:aws:s3:::") - 1 + p->bucket.len + 1)
            named |= SCOPE_BUCKET; /* "bucket*" */
    }
    if (p->kind == POLICY_RESOURCE && !s->not_action && !s->not_resource && !(named & scopes))
        return fail(p, "Action does not apply to any resource(s) in statement");
    return true;
}

/* ---- conditions ---- */

static const struct {
    const char *name;
    enum condition_kind kind;
    enum condition_order order;
    bool negated;
} operators[] = {
    { "StringEquals", CONDITION_STRING_EQUALS, ORDER_EQUAL, false },
    { "StringNotEquals", CONDITION_STRING_EQUALS, ORDER_EQUAL, true },
    { "StringEqualsIgnoreCase", CONDITION_STRING_EQUALS_NOCASE, ORDER_EQUAL, false },
    { "StringNotEqualsIgnoreCase", CONDITION_STRING_EQUALS_NOCASE, ORDER_EQUAL, true },
    { "StringLike", CONDITION_STRING_LIKE, ORDER_EQUAL, false },
    { "StringNotLike", CONDITION_STRING_LIKE, ORDER_EQUAL, true },
    { "NumericEquals", CONDITION_NUMERIC, ORDER_EQUAL, false },
    { "NumericNotEquals", CONDITION_NUMERIC, ORDER_EQUAL, true },
    { "NumericLessThan", CONDITION_NUMERIC, ORDER_LESS, false },
    { "NumericLessThanEquals", CONDITION_NUMERIC, ORDER_LESS_EQUAL, false },
    { "NumericGreaterThan", CONDITION_NUMERIC, ORDER_MORE, false },
    { "NumericGreaterThanEquals", CONDITION_NUMERIC, ORDER_MORE_EQUAL, false },
    { "DateEquals", CONDITION_DATE, ORDER_EQUAL, false },
    { "DateNotEquals", CONDITION_DATE, ORDER_EQUAL, true },
    { "DateLessThan", CONDITION_DATE, ORDER_LESS, false },
    { "DateLessThanEquals", CONDITION_DATE, ORDER_LESS_EQUAL, false },
    { "DateGreaterThan", CONDITION_DATE, ORDER_MORE, false },
    { "DateGreaterThanEquals", CONDITION_DATE, ORDER_MORE_EQUAL, false },
    { "Bool", CONDITION_BOOL, ORDER_EQUAL, false },
    { "BinaryEquals", CONDITION_BINARY, ORDER_EQUAL, false },
    { "IpAddress", CONDITION_IP, ORDER_EQUAL, false },
    { "NotIpAddress", CONDITION_IP, ORDER_EQUAL, true },
    { "ArnEquals", CONDITION_ARN, ORDER_EQUAL, false },
    { "ArnLike", CONDITION_ARN, ORDER_EQUAL, false },
    { "ArnNotEquals", CONDITION_ARN, ORDER_EQUAL, true },
    { "ArnNotLike", CONDITION_ARN, ORDER_EQUAL, true },
    { "Null", CONDITION_NULL, ORDER_EQUAL, false },
};

bool condition_operator_parse(struct bytes name, struct condition_operator *out)
{
    static const struct bytes all = { (const uint8_t *)"ForAllValues:", 13 };
    static const struct bytes any = { (const uint8_t *)"ForAnyValue:", 12 };
    static const struct bytes exists = { (const uint8_t *)"IfExists", 8 };
    struct condition_operator op = { .set = SET_NONE };
    if (bytes_starts_with(name, all))
        op.set = SET_ALL;
    else if (bytes_starts_with(name, any))
        op.set = SET_ANY;
    size_t skip = op.set == SET_ALL ? all.len : op.set == SET_ANY ? any.len : 0;
    name = bytes_of(name.ptr + skip, name.len - skip);
    if (name.len > exists.len &&
        memcmp(name.ptr + name.len - exists.len, exists.ptr, exists.len) == 0) {
        op.if_exists = true;
        name.len -= exists.len;
    }
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (!bytes_equal(name, bytes_str(operators[i].name)))
            continue;
        op.kind = operators[i].kind;
        op.order = operators[i].order;
        op.negated = operators[i].negated;
        *out = op;
        return !(op.kind == CONDITION_NULL && (op.if_exists || op.set != SET_NONE));
    }
    return false;
}

static bool add_condition(struct parse *p, const struct condition_operator *op, const char *key,
                          const json_t *values, struct condition *out)
{
    size_t count = json_is_array(values) ? json_array_size(values) : 1;
    out->op = *op;
    out->key = arena_copy(p->arena, bytes_str(key));
    out->values.list = get_memory(p, count * sizeof(*out->values.list));
    if (!out->key.ptr || !out->values.list)
        return fail(p, "");
    if (bytes_find(out->key, BYTES_LIT(":"), 0) == SIZE_MAX)
        return fail(p, "Policy has an invalid condition key");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(values) ? json_array_get(values, i) : values;
        if (!scalar_of(p, item, &out->values.list[out->values.count++]))
            return false;
    }
    return true;
}

static bool read_conditions(struct parse *p, const json_t *value, struct statement *s)
{
    const char *name, *key;
    json_t *block, *values;
    size_t count = 0;
    if (!json_is_object(value))
        return fail(p, "Invalid policy syntax.");
    json_object_foreach((json_t *)value, name, block)
    {
        count += json_object_size(block);
    }
    s->conditions = get_memory(p, count * sizeof(*s->conditions));
    if (!s->conditions)
        return false;
    json_object_foreach((json_t *)value, name, block)
    {
        struct condition_operator op;
        if (!condition_operator_parse(bytes_str(name), &op))
            return fail(p, "Invalid Condition type");
        if (!json_is_object(block))
            return fail(p, "Invalid policy syntax.");
        json_object_foreach(block, key, values)
        {
            if (!add_condition(p, &op, key, values, &s->conditions[s->condition_count++]))
                return false;
        }
    }
    return true;
}

/* ---- statements ---- */

static bool read_member(struct parse *p, const char *name, const json_t *value,
                        struct statement *s, unsigned *seen)
{
    static const char *const names[] = { "Sid",          "Effect",      "Principal",
                                         "NotPrincipal", "Action",      "NotAction",
                                         "Resource",     "NotResource", "Condition" };
    size_t i = 0;
    while (i < ARRAY_LEN(names) && strcmp(names[i], name) != 0)
        i++;
    if (i == ARRAY_LEN(names))
        return fail(p, "Invalid policy syntax.");
    *seen |= 1U << i;
    switch (i) {
    case 0:
        return json_is_string(value) || fail(p, "Invalid policy syntax.");
    case 1:
        if (!json_is_string(value))
            return fail(p, "Invalid policy syntax.");
        s->deny = strcmp(json_string_value(value), "Deny") == 0;
        return s->deny || strcmp(json_string_value(value), "Allow") == 0 ||
               fail(p, "Invalid effect in policy");
    case 2:
    case 3:
        s->not_principal = i == 3;
        return read_principal(p, value, s);
    case 4:
    case 5:
        s->not_action = i == 5;
        return list_of(p, value, &s->actions);
    case 6:
    case 7:
        s->not_resource = i == 7;
        return list_of(p, value, &s->resources);
    default:
        return read_conditions(p, value, s);
    }
}

/* A trust policy speaks of the role that it hangs on. */
static bool any_resource(struct parse *p, struct statement *s)
{
    s->resources.list = get_memory(p, sizeof(*s->resources.list));
    if (!s->resources.list)
        return false;
    s->resources.list[0] = BYTES_LIT("*");
    s->resources.count = 1;
    return true;
}

static bool one_of(unsigned seen, unsigned a, unsigned b)
{
    return (seen >> a & 1) != (seen >> b & 1);
}

static bool read_statement(struct parse *p, const json_t *value, struct statement *s)
{
    const char *name;
    json_t *member;
    unsigned seen = 0, scopes;
    if (!json_is_object(value))
        return fail(p, "Invalid policy syntax.");
    json_object_foreach((json_t *)value, name, member)
    {
        if (!read_member(p, name, member, s, &seen))
            return false;
    }
    if (!(seen & 2))
        return fail(p, "Missing required field Effect");
    bool principal = p->kind != POLICY_IDENTITY;
    if (principal ? !one_of(seen, 2, 3) : (seen & 12) != 0)
        return fail(p, principal ? "Missing required field Principal"
                                 : "Policy document should not specify a "
                                   "principal.");
    if (!one_of(seen, 4, 5))
        return fail(p, "Missing required field Action");
    if (p->kind == POLICY_TRUST) {
        if (seen >> 6 & 3)
            return fail(p, "Has prohibited field Resource");
        return any_resource(p, s);
    }
    if (!one_of(seen, 6, 7))
        return fail(p, "Missing required field Resource");
    return check_actions(p, s, &scopes) && check_resources(p, s, scopes);
}

static bool read_policy(struct parse *p, const json_t *root, struct policy *policy)
{
    const json_t *version = json_object_get(root, "Version");
    const json_t *statements = json_object_get(root, "Statement");
    const char *name;
    json_t *member;
    struct statement **tail = &policy->statements;
    json_object_foreach((json_t *)root, name, member)
    {
        if (strcmp(name, "Version") != 0 && strcmp(name, "Id") != 0 &&
            strcmp(name, "Statement") != 0)
            return fail(p, "Invalid policy syntax.");
    }
    const char *text = version ? json_string_value(version) : "2008-10-17";
    policy->variables = text && strcmp(text, "2012-10-17") == 0;
    if (!text || (!policy->variables && strcmp(text, "2008-10-17") != 0))
        return fail(p, "The policy must contain a valid version string");
    size_t count = json_is_array(statements) ? json_array_size(statements) : 1;
    if (!statements || count == 0 || count > STATEMENTS_MAX)
        return fail(p, "Missing required field Statement");
    for (size_t i = 0; i < count; i++) {
        struct statement *s = get_memory(p, sizeof(*s));
        if (!s ||
            !read_statement(
                p, json_is_array(statements) ? json_array_get(statements, i) : statements, s))
            return false;
        *tail = s;
        tail = &s->next;
    }
    return true;
}

enum kist_err policy_parse(struct bytes json, enum policy_kind kind, struct bytes bucket,
                           struct arena *arena, struct policy **out, const char **reason)
{
    struct parse p = { .arena = arena, .kind = kind, .bucket = bucket };
    json_error_t error;
    if (json.len > POLICY_BYTES_MAX) {
        *reason = "Policy exceeds the maximum allowed document size.";
        return KIST_E_INVALID;
    }
    json_t *root = json_loadb((const char *)json.ptr, json.len, JSON_REJECT_DUPLICATES, &error);
    struct policy *policy = get_memory(&p, sizeof(*policy));
    bool ok = json_is_object(root) && policy && read_policy(&p, root, policy);
    if (!json_is_object(root))
        fail(&p, "Policies must be valid JSON and the first byte must be '{'");
    json_decref(root);
    if (!ok) {
        *reason = p.reason ? p.reason : "Invalid policy syntax.";
        return p.err != KIST_OK ? p.err : KIST_E_INVALID;
    }
    *out = policy;
    return KIST_OK;
}
