/* Policies of users, groups and roles: inline ones, and managed ones that are attached. */
#include "auth/users.h"
#include "server/s3/iam.h"

/* ---- inline ---- */

static Kist__Pair *find(const Kist__IamEntity *e, struct bytes name)
{
    for (size_t i = 0; i < e->n_policies; i++)
        if (bytes_equal(bytes_str(e->policies[i]->name), name))
            return e->policies[i];
    return NULL;
}

static bool add(struct s3_request *r, Kist__IamEntity *e, struct bytes name, char *document)
{
    Kist__Pair *p = find(e, name);
    if (!p) {
        Kist__Pair **longer = arena_alloc(r->arena, (e->n_policies + 1) * sizeof(*longer));
        p = arena_alloc(r->arena, sizeof(*p));
        if (!longer || !p)
            return false;
        if (e->n_policies)
            memcpy(longer, e->policies, e->n_policies * sizeof(*longer));
        kist__pair__init(p);
        p->name = s3_str(r, name);
        longer[e->n_policies++] = p;
        e->policies = longer;
    }
    p->value = document;
    return true;
}

static void put_inline(struct s3_request *r, const struct iam_call *call)
{
    struct bytes name;
    Kist__IamEntity *e = iam_entity(r, call);
    if (!e || !iam_name(r, "PolicyName", &name))
        return;
    char *document = iam_document(r, "PolicyDocument", POLICY_IDENTITY);
    struct iam_work *w = document ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    if (!add(r, e, name, document))
        w->x.failed = true;
    iam_change(r, w, call->kind, e, false);
    iam_finish(r, w);
}

static Kist__Pair *named(struct s3_request *r, const Kist__IamEntity *e)
{
    struct bytes name;
    if (!e || !iam_name(r, "PolicyName", &name))
        return NULL;
    Kist__Pair *p = find(e, name);
    if (!p)
        iam_fail(r, 404, "NoSuchEntity", "The policy with this name cannot be found.");
    return p;
}

static void get_inline(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = iam_entity(r, call);
    const Kist__Pair *p = named(r, e);
    struct iam_work *w = p ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_str(&w->x, iam_param_of(call->kind), e->name);
    s3_xml_str(&w->x, "PolicyName", p->name);
    iam_xml_document(&w->x, "PolicyDocument", p->value);
    iam_finish(r, w);
}

static void delete_inline(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = iam_entity(r, call);
    const Kist__Pair *p = named(r, e);
    struct iam_work *w = p ? iam_begin(r, call) : NULL;
    size_t kept = 0;
    if (!w)
        return;
    for (size_t i = 0; i < e->n_policies; i++)
        if (e->policies[i] != p)
            e->policies[kept++] = e->policies[i];
    e->n_policies = kept;
    iam_change(r, w, call->kind, e, false);
    iam_finish(r, w);
}

static void list_inline(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = iam_entity(r, call);
    struct iam_work *w = e ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, "PolicyNames");
    for (size_t i = 0; i < e->n_policies; i++)
        s3_xml_str(&w->x, "member", e->policies[i]->name);
    s3_xml_close(&w->x, "PolicyNames");
    s3_xml_bool(&w->x, "IsTruncated", false);
    iam_finish(r, w);
}

/* ---- managed ---- */

enum kist_err iam_policy_by_arn(struct s3_request *r, struct bytes account, struct bytes tenant,
                                struct bytes arn, Kist__IamEntity **out)
{
    struct bytes name = arn;
    Kist__IamEntity *p = NULL;
    for (size_t i = 0; i < arn.len; i++)
        if (arn.ptr[i] == '/')
            name = bytes_of(arn.ptr + i + 1, arn.len - i - 1);
    TRY(store_iam(r->service->config.store, tenant, IAM_POLICY, name, r->arena, &p));
    char *own = auth_iam_arn(account, IAM_POLICY, p, r->arena);
    if (!own)
        return KIST_E_NOMEM;
    if (!bytes_equal(bytes_str(own), arn))
        return KIST_E_NOT_FOUND;
    *out = p;
    return KIST_OK;
}

void iam_no_policy(struct s3_request *r, struct bytes arn)
{
    iam_fail(
        r, 404, "NoSuchEntity",
        arena_printf(r->arena, "Policy %s does not exist or is not attachable.", s3_str(r, arn)));
}

/* arn:aws:iam::account:policy/path/name to the policy; NULL after an error reply. */
static Kist__IamEntity *by_arn(struct s3_request *r)
{
    struct bytes arn = s3_param(r, "PolicyArn");
    const struct auth_identity *who = r->who.identity;
    Kist__IamEntity *p = NULL;
    enum kist_err err = iam_policy_by_arn(r, who->account, who->tenant, arn, &p);
    if (err == KIST_E_NOT_FOUND)
        iam_no_policy(r, arn);
    else if (err != KIST_OK)
        iam_fail_err(r, err);
    return p;
}

/* The call's action is asked about the policy itself. */
Kist__IamEntity *iam_policy_of_call(struct s3_request *r, const struct iam_call *call)
{
    if (!iam_allowed(r, arena_printf(r->arena, "iam:%s", call->action),
                     s3_str(r, s3_param(r, "PolicyArn"))))
        return NULL;
    return by_arn(r);
}

static void get_policy(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *p = iam_policy_of_call(r, call);
    struct iam_work *w = p ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, "Policy");
    iam_xml_entity(r, &w->x, IAM_POLICY, p);
    s3_xml_close(&w->x, "Policy");
    iam_finish(r, w);
}

static void delete_policy(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *p = iam_policy_of_call(r, call);
    if (p && p->n_members) {
        iam_fail(r, 409, "DeleteConflict", "Cannot delete a policy attached to entities.");
        return;
    }
    if (p && p->n_versions > 1) {
        iam_fail(r, 409, "DeleteConflict",
                 "This policy has more than one version. Before you delete a policy, you must "
                 "delete the policy's versions. The default version is deleted with the policy.");
        return;
    }
    struct iam_work *w = p ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    iam_change(r, w, IAM_POLICY, p, true);
    iam_finish(r, w);
}

/* A policy's members are "kind:name" of whom it is attached to. */
static void change_attachment(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = iam_entity(r, call);
    Kist__IamEntity *p = e ? by_arn(r) : NULL;
    if (!p)
        return;
    char *member = arena_printf(r->arena, "%u:%s", (unsigned)call->kind, e->name);
    bool attach = strncmp(call->action, "Attach", 6) == 0;
    bool attached = iam_list_has(e->n_attached, e->attached, p->name);
    if (!attach && !attached) {
        iam_fail(r, 404, "NoSuchEntity", "The policy is not attached to this entity.");
        return;
    }
    struct iam_work *w = member ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    if (!attach) {
        iam_list_remove(&e->n_attached, e->attached, p->name);
        iam_list_remove(&p->n_members, p->members, member);
    } else if (!iam_list_add(r->arena, &e->n_attached, &e->attached, p->name) ||
               !iam_list_add(r->arena, &p->n_members, &p->members, member)) {
        w->x.failed = true;
    }
    iam_change(r, w, call->kind, e, false);
    iam_change(r, w, IAM_POLICY, p, false);
    iam_finish(r, w);
}

static void list_attached(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = iam_entity(r, call);
    struct iam_work *w = e ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, "AttachedPolicies");
    for (size_t i = 0; i < e->n_attached; i++) {
        Kist__IamEntity *p = NULL;
        if (store_iam(r->service->config.store, r->who.identity->tenant, IAM_POLICY,
                      bytes_str(e->attached[i]), r->arena, &p) != KIST_OK)
            continue;
        s3_xml_open(&w->x, "member");
        s3_xml_str(&w->x, "PolicyName", p->name);
        s3_xml_str(&w->x, "PolicyArn",
                   auth_iam_arn(r->who.identity->account, IAM_POLICY, p, r->arena));
        s3_xml_close(&w->x, "member");
    }
    s3_xml_close(&w->x, "AttachedPolicies");
    s3_xml_bool(&w->x, "IsTruncated", false);
    iam_finish(r, w);
}

const struct iam_call iam_policy_calls[] = {
    { "PutUserPolicy", put_inline, IAM_USER },
    { "GetUserPolicy", get_inline, IAM_USER },
    { "DeleteUserPolicy", delete_inline, IAM_USER },
    { "ListUserPolicies", list_inline, IAM_USER },
    { "PutGroupPolicy", put_inline, IAM_GROUP },
    { "GetGroupPolicy", get_inline, IAM_GROUP },
    { "DeleteGroupPolicy", delete_inline, IAM_GROUP },
    { "ListGroupPolicies", list_inline, IAM_GROUP },
    { "PutRolePolicy", put_inline, IAM_ROLE },
    { "GetRolePolicy", get_inline, IAM_ROLE },
    { "DeleteRolePolicy", delete_inline, IAM_ROLE },
    { "ListRolePolicies", list_inline, IAM_ROLE },
    { "GetPolicy", get_policy, IAM_POLICY },
    { "DeletePolicy", delete_policy, IAM_POLICY },
    { "AttachUserPolicy", change_attachment, IAM_USER },
    { "DetachUserPolicy", change_attachment, IAM_USER },
    { "ListAttachedUserPolicies", list_attached, IAM_USER },
    { "AttachGroupPolicy", change_attachment, IAM_GROUP },
    { "DetachGroupPolicy", change_attachment, IAM_GROUP },
    { "ListAttachedGroupPolicies", list_attached, IAM_GROUP },
    { "AttachRolePolicy", change_attachment, IAM_ROLE },
    { "DetachRolePolicy", change_attachment, IAM_ROLE },
    { "ListAttachedRolePolicies", list_attached, IAM_ROLE },
    { NULL, NULL, IAM_POLICY },
};
