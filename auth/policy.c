/* Evaluation: statements against a request, and policies against each other. */
#include "auth/policy.h"

#include "auth/policy_internal.h"

/* ---- one statement ---- */

static const struct bytes root_tail = { (const uint8_t *)":root", 5 };

/* An account (by its digits or as arn:...:root) stands for everybody in it. */
static bool names_account(struct bytes value, struct bytes account)
{
    if (bytes_equal(value, account))
        return true;
    size_t head = sizeof("arn:aws:iam::") - 1;
    return value.len == head + account.len + root_tail.len &&
           bytes_equal(bytes_of(value.ptr + head, account.len), account) &&
           bytes_equal(bytes_of(value.ptr + head + account.len, root_tail.len), root_tail);
}

static bool is_principal(const struct principal *p, const struct policy_principal *who)
{
    switch (p->kind) {
    case PRINCIPAL_ANY:
        return true;
    case PRINCIPAL_AWS:
        return !who->anonymous && !who->service.len &&
               (names_account(p->value, who->account) ||
                (who->arn.len && bytes_equal(p->value, who->arn)) ||
                (who->role.len && bytes_equal(p->value, who->role)));
    case PRINCIPAL_CANONICAL:
        return !who->anonymous && who->canonical.len && bytes_equal(p->value, who->canonical);
    case PRINCIPAL_FEDERATED:
        return who->federated.len && bytes_equal(p->value, who->federated);
    case PRINCIPAL_OTHER:
        return who->service.len && bytes_equal(p->value, who->service);
    }
    return false;
}

static bool principal_fits(const struct statement *s, const struct policy_principal *who)
{
    bool found = s->principal_count == 0; /* an identity's policy */
    for (size_t i = 0; i < s->principal_count && !found; i++)
        found = is_principal(&s->principals[i], who);
    return s->principal_count == 0 || found != s->not_principal;
}

static bool list_fits(const struct text_list *patterns, struct bytes text, bool nocase, bool not,
                      bool variables, const struct policy_request *request)
{
    bool found = false;
    for (size_t i = 0; i < patterns->count && !found; i++) {
        enum match m = pattern_match(patterns->list[i], text, nocase, true, variables, request);
        if (m == MATCH_UNRESOLVED && not )
            return false; /* unknown what is excepted */
        found = m == MATCH_YES;
    }
    return found != not ;
}

static bool statement_fits(const struct policy *p, const struct statement *s,
                           const struct policy_request *r)
{
    if (!principal_fits(s, &r->principal) ||
        !list_fits(&s->actions, r->action, true, s->not_action, false, r) ||
        !list_fits(&s->resources, r->resource, false, s->not_resource, p->variables, r))
        return false;
    for (size_t i = 0; i < s->condition_count; i++)
        if (!condition_holds(&s->conditions[i], p->variables, r))
            return false;
    return true;
}

static enum policy_verdict evaluate_one(const struct policy *p,
                                        const struct policy_request *request)
{
    enum policy_verdict verdict = POLICY_SILENT;
    for (const struct statement *s = p->statements; s; s = s->next) {
        if ((verdict == POLICY_ALLOW && !s->deny) || !statement_fits(p, s, request))
            continue;
        if (s->deny)
            return POLICY_DENY;
        verdict = POLICY_ALLOW;
    }
    return verdict;
}

enum policy_verdict policy_evaluate(const struct policy *p, const struct policy_request *request)
{
    enum policy_verdict verdict = POLICY_SILENT;
    for (; p && verdict != POLICY_DENY; p = p->more) {
        enum policy_verdict one = evaluate_one(p, request);
        verdict = one == POLICY_SILENT ? verdict : one;
    }
    return verdict;
}

struct policy *policy_empty(struct arena *arena)
{
    return arena_zalloc(arena, sizeof(struct policy));
}

void policy_add(struct policy *to, struct policy *more)
{
    more->more = to->more;
    to->more = more;
}

/* ---- the decision ---- */

bool access_is_allowed(const struct access_question *q)
{
    enum policy_verdict resource = policy_evaluate(q->bucket, q->request);
    enum policy_verdict identity = q->is_account_root ? POLICY_ALLOW : POLICY_SILENT;
    if (resource == POLICY_DENY)
        return false;
    for (size_t i = 0; i < q->identity_count; i++) {
        enum policy_verdict v = policy_evaluate(q->identity[i], q->request);
        if (v == POLICY_DENY)
            return false;
        if (v == POLICY_ALLOW)
            identity = POLICY_ALLOW;
    }
    if (q->session && policy_evaluate(q->session, q->request) != POLICY_ALLOW)
        return false;
    bool opened = q->acl_group || (resource == POLICY_ALLOW && !q->foreign_object);
    if (q->same_account && !q->foreign_object)
        return identity == POLICY_ALLOW || opened;
    if (!q->same_account && q->restrict_public && policy_is_public(q->bucket))
        return false;
    if (q->request->principal.anonymous)
        return opened;
    return identity == POLICY_ALLOW && (opened || q->acl_account);
}

/* ---- public or not ---- */

static bool is_fixed(struct bytes value)
{
    return bytes_find(value, BYTES_LIT("*"), 0) == SIZE_MAX &&
           bytes_find(value, BYTES_LIT("?"), 0) == SIZE_MAX &&
           bytes_find(value, BYTES_LIT("${"), 0) == SIZE_MAX;
}

/* The condition leaves only principals or networks that it names. */
static bool pins_down(const struct condition *c)
{
    static const char *const keys[] = {
        "aws:SourceArn",         "aws:SourceVpc",
        "aws:SourceVpce",        "aws:SourceOwner",
        "aws:SourceAccount",     "aws:PrincipalArn",
        "aws:PrincipalAccount",  "aws:PrincipalOrgID",
        "s3:DataAccessPointArn", "aws:userid",
        "aws:SourceIp",          "s3:x-amz-server-side-encryption-aws-kms-key-id",
    };
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        known = known || bytes_equal_nocase(c->key, bytes_str(keys[i]));
    if (!known || c->op.negated || c->op.if_exists || c->op.set == SET_ALL ||
        c->op.kind == CONDITION_NULL)
        return false;
    for (size_t i = 0; i < c->values.count; i++) {
        struct bytes v = c->values.list[i];
        if (!is_fixed(v) || (c->op.kind == CONDITION_IP && network_is_broad(v)))
            return false;
    }
    return c->values.count > 0;
}

bool policy_is_public(const struct policy *p)
{
    for (const struct statement *s = p ? p->statements : NULL; s; s = s->next) {
        bool anybody = s->not_principal;
        for (size_t i = 0; i < s->principal_count; i++)
            anybody = anybody || s->principals[i].kind == PRINCIPAL_ANY;
        for (size_t i = 0; i < s->condition_count && anybody; i++)
            anybody = !pins_down(&s->conditions[i]);
        if (anybody && !s->deny)
            return true;
    }
    return false;
}
