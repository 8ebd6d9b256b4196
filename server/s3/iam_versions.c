/* Versions of managed policies: five at most, one of them in force.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_managed-versioning.html */
#include "server/s3/iam.h"

#define VERSIONS_MAX 5

char *iam_version_text(struct arena *arena, uint32_t number)
{
    char *text = arena_printf(arena, "v%u", number ? number : 1);
    return text ? text : arena_strdup(arena, "");
}

/* A policy that never had a second document keeps the first as its own; here it gets it as a
 * version like others. False: out of memory. */
static bool unfold(struct s3_request *r, Kist__IamEntity *p)
{
    if (p->n_versions)
        return true;
    Kist__PolicyVersion *first = arena_alloc(r->arena, sizeof(*first));
    p->versions = arena_alloc(r->arena, sizeof(*p->versions));
    if (!first || !p->versions)
        return false;
    kist__policy_version__init(first);
    first->number = 1;
    first->document = p->document;
    first->created_ms = p->created_ms;
    p->versions[0] = first;
    p->n_versions = 1;
    p->default_version = p->last_version = 1;
    return true;
}

/* The policy with its versions; NULL after an error reply. */
static Kist__IamEntity *policy(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *p = iam_policy_of_call(r, call);
    if (!p || unfold(r, p))
        return p;
    iam_fail_err(r, KIST_E_NOMEM);
    return NULL;
}

/* Which of them VersionId names; NULL after an error reply. */
static Kist__PolicyVersion *version(struct s3_request *r, const Kist__IamEntity *p)
{
    struct bytes id = s3_param(r, "VersionId");
    for (size_t i = 0; i < p->n_versions; i++)
        if (bytes_equal(id, bytes_str(iam_version_text(r->arena, p->versions[i]->number))))
            return p->versions[i];
    iam_fail(r, 404, "NoSuchEntity",
             arena_printf(r->arena, "Policy %s version %s does not exist or is not attachable.",
                          s3_str(r, s3_param(r, "PolicyArn")), s3_str(r, id)));
    return NULL;
}

static void xml_version(struct s3_request *r, struct s3_xml *x, const Kist__IamEntity *p,
                        const Kist__PolicyVersion *v)
{
    s3_xml_str(x, "VersionId", iam_version_text(r->arena, v->number));
    s3_xml_bool(x, "IsDefaultVersion", v->number == p->default_version);
    s3_xml_time(x, "CreateDate", v->created_ms);
}

static void make_default(Kist__IamEntity *p, const Kist__PolicyVersion *v)
{
    p->default_version = v->number;
    p->document = v->document;
}

static Kist__PolicyVersion *append(struct s3_request *r, Kist__IamEntity *p, char *document)
{
    Kist__PolicyVersion **longer = arena_alloc(r->arena, (p->n_versions + 1) * sizeof(*longer));
    Kist__PolicyVersion *v = arena_alloc(r->arena, sizeof(*v));
    if (!longer || !v) {
        iam_fail_err(r, KIST_E_NOMEM);
        return NULL;
    }
    memcpy(longer, p->versions, p->n_versions * sizeof(*longer));
    kist__policy_version__init(v);
    v->number = ++p->last_version;
    v->document = document;
    v->created_ms = s3_now(r);
    longer[p->n_versions++] = v;
    p->versions = longer;
    return v;
}

static void create(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *p = policy(r, call);
    char *document = p ? iam_document(r, "PolicyDocument", POLICY_IDENTITY) : NULL;
    if (!document)
        return;
    if (p->n_versions >= VERSIONS_MAX) {
        iam_fail(
            r, 409, "LimitExceeded",
            "A managed policy can have up to 5 versions. Before you create a new version, you "
            "must delete an existing version.");
        return;
    }
    Kist__PolicyVersion *v = append(r, p, document);
    struct iam_work *w = v ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    if (bytes_equal(s3_param(r, "SetAsDefault"), BYTES_LIT("true")))
        make_default(p, v);
    s3_xml_open(&w->x, "PolicyVersion");
    xml_version(r, &w->x, p, v);
    s3_xml_close(&w->x, "PolicyVersion");
    iam_change(r, w, IAM_POLICY, p, false);
    iam_finish(r, w);
}

static void set_default(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *p = policy(r, call);
    const Kist__PolicyVersion *v = p ? version(r, p) : NULL;
    struct iam_work *w = v ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    make_default(p, v);
    iam_change(r, w, IAM_POLICY, p, false);
    iam_finish(r, w);
}

static void delete (struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *p = policy(r, call);
    const Kist__PolicyVersion *v = p ? version(r, p) : NULL;
    size_t kept = 0;
    if (v && v->number == p->default_version) {
        iam_fail(r, 409, "DeleteConflict", "Cannot delete the default version of a policy.");
        return;
    }
    struct iam_work *w = v ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    for (size_t i = 0; i < p->n_versions; i++)
        if (p->versions[i] != v)
            p->versions[kept++] = p->versions[i];
    p->n_versions = kept;
    iam_change(r, w, IAM_POLICY, p, false);
    iam_finish(r, w);
}

static void get(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *p = policy(r, call);
    const Kist__PolicyVersion *v = p ? version(r, p) : NULL;
    struct iam_work *w = v ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, "PolicyVersion");
    iam_xml_document(&w->x, "Document", v->document);
    xml_version(r, &w->x, p, v);
    s3_xml_close(&w->x, "PolicyVersion");
    iam_finish(r, w);
}

/* Newest first. There are so few that no page is cut. */
static void list(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *p = policy(r, call);
    struct iam_work *w = p ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, "Versions");
    for (size_t i = p->n_versions; i > 0; i--) {
        s3_xml_open(&w->x, "member");
        xml_version(r, &w->x, p, p->versions[i - 1]);
        s3_xml_close(&w->x, "member");
    }
    s3_xml_close(&w->x, "Versions");
    s3_xml_bool(&w->x, "IsTruncated", false);
    iam_finish(r, w);
}

const struct iam_call iam_version_calls[] = {
    { "CreatePolicyVersion", create, IAM_POLICY },
    { "SetDefaultPolicyVersion", set_default, IAM_POLICY },
    { "DeletePolicyVersion", delete, IAM_POLICY },
    { "GetPolicyVersion", get, IAM_POLICY },
    { "ListPolicyVersions", list, IAM_POLICY },
    { NULL, NULL, IAM_POLICY },
};
