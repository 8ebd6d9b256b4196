/* The role of a deployed function, kist-fn-NAME, and what it may do in the store. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/fn_internal.h"
#include "storage/base/codec.h"

#define FORM_MAX ((size_t)256 << 10)
#define POLICY_NAME "trigger"

static const char trust[] =
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"Service\":"
    "\"lambda.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}]}";

/* ---- permissions ---- */

bool fn_permission_parse(struct arena *arena, const char *text, struct fn_permission *out)
{
    static const char scheme[] = "s3://";
    bool reads = strncmp(text, "read ", 5) == 0, writes = strncmp(text, "write ", 6) == 0;
    const char *at = text + (reads ? 5 : writes ? 6 : 0);
    at += strspn(at, " ");
    size_t len = strncmp(at, scheme, sizeof(scheme) - 1) == 0 ? sizeof(scheme) - 1 : 0;
    const char *name = at + len, *slash = strchr(name, '/');
    size_t name_len = slash ? (size_t)(slash - name) : strlen(name);
    /* Policies give *, ? and ${ a meaning of their own. */
    if ((!reads && !writes) || !len || name_len == 0 || strpbrk(name, "*?$"))
        return false;
    out->writes = writes;
    out->bucket = arena_strndup(arena, name, name_len);
    out->prefix = slash ? slash + 1 : "";
    return out->bucket != NULL;
}

static json_t *actions(const char *const *list)
{
    json_t *out = json_array();
    for (; *list; list++)
        json_array_append_new(out, json_string(*list));
    return out;
}

static void add_statement(json_t *to, const char *const *list, json_t *resource,
                          json_t *condition)
{
    json_t *statement = json_pack("{s:s, s:o, s:o}", "Effect", "Allow", "Action", actions(list),
                                  "Resource", resource);
    if (condition)
        json_object_set_new(statement, "Condition", condition);
    json_array_append_new(to, statement);
}

json_t *fn_role_policy(const struct fn_permission *list, size_t count)
{
    static const char *const lists[] = { "s3:ListBucket", NULL };
    static const char *const reads[] = { "s3:GetObject",           "s3:GetObjectVersion",
                                         "s3:GetObjectTagging",    "s3:GetObjectVersionTagging",
                                         "s3:GetObjectAttributes", NULL };
    static const char *const writes[] = { "s3:PutObject",
                                          "s3:PutObjectTagging",
                                          "s3:DeleteObject",
                                          "s3:AbortMultipartUpload",
                                          "s3:ListMultipartUploadParts",
                                          NULL };
    json_t *statements = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct fn_permission *p = &list[i];
        json_t *condition = *p->prefix ? json_pack("{s:{s:o}}", "StringLike", "s3:prefix",
                                                   json_sprintf("%s*", p->prefix))
                                       : NULL;
        if (!p->writes)
            add_statement(statements, lists, json_sprintf("arn:aws:s3:::%s", p->bucket),
                          condition);
        else
            json_decref(condition);
        add_statement(statements, p->writes ? writes : reads,
                      json_sprintf("arn:aws:s3:::%s/%s*", p->bucket, p->prefix), NULL);
    }
    return json_pack("{s:s, s:o}", "Version", "2012-10-17", "Statement", statements);
}

/* ---- IAM ---- */

/* fields: names and values in turn, then NULL. */
static bool write_form(const char *const *fields, struct buf *form)
{
    bool ok = buf_append_str(form, "Version=2010-05-08") == KIST_OK;
    for (; ok && fields[0]; fields += 2)
        ok = buf_printf(form, "&%s=", fields[0]) == KIST_OK &&
             uri_encode(form, bytes_str(fields[1]), false) == KIST_OK;
    return ok;
}

/* The element `wanted` of the answer into *out (both may be NULL); an error whose code is `fine`
 * is none, *out NULL then. False after a message. */
static bool iam(struct fn_cli *f, const char *const *fields, const char *fine, const char *wanted,
                char **out)
{
    struct client_request q = { .service = "iam", .method = "POST", .path = "/", .once = true };
    struct bytes found = BYTES_EMPTY;
    struct buf form;
    size_t at = 0;
    buf_init(&form, FORM_MAX);
    bool ok = write_form(fields, &form);
    client_header_add(&q, "Content-Type", "application/x-www-form-urlencoded");
    q.body = buf_bytes(&form);
    bool done = ok && client_do(f->client, &q);
    struct bytes reply = buf_bytes(&q.reply);
    if (out)
        *out = NULL;
    if (done && out && client_element(reply, wanted, &at, reply.len, &found))
        *out = arena_strndup(&f->arena, found.ptr, found.len);
    if (!done && fine && client_element(reply, "Code", &at, reply.len, &found))
        ok = bytes_equal(found, bytes_str(fine));
    else
        ok = done && (!out || *out);
    if (!ok)
        client_complain(&q, "role");
    client_request_release(&q);
    buf_release(&form);
    return ok;
}

static char *role_name(struct fn_cli *f, const char *name)
{
    return arena_printf(&f->arena, FN_ID_PREFIX "%s", name);
}

bool fn_role_is_own(const char *arn, const char *name)
{
    char own[256];
    int n = snprintf(own, sizeof(own), ":role/" FN_ID_PREFIX "%.128s", name);
    size_t len = strlen(arn);
    return len > (size_t)n && strcmp(arn + len - (size_t)n, own) == 0;
}

/* The account is in the function's ARN only once there is one: IAM says the role's. */
static const char *role_arn(struct fn_cli *f, const char *role)
{
    const char *get[] = { "Action", "GetRole", "RoleName", role, NULL };
    char *arn = NULL;
    return iam(f, get, NULL, "Arn", &arn) ? arn : NULL;
}

static void tell(const char *role, const struct fn_permission *list, size_t count)
{
    printf("role %s: may", role);
    for (size_t i = 0; i < count; i++)
        printf("%s %s s3://%s/%s", i ? "," : "", list[i].writes ? "write" : "read",
               list[i].bucket, list[i].prefix);
    printf("\n");
}

const char *fn_role_make(struct fn_cli *f, const char *name, const struct fn_permission *list,
                         size_t count)
{
    json_t *document = fn_role_policy(list, count);
    char *role = role_name(f, name),
         *policy = document ? json_dumps(document, JSON_COMPACT) : NULL;
    const char *create[] = { "Action",
                             "CreateRole",
                             "RoleName",
                             role,
                             "Description",
                             "Made by kist fn deploy",
                             "AssumeRolePolicyDocument",
                             trust,
                             NULL };
    const char *put[] = { "Action",    "PutRolePolicy",  "RoleName", role, "PolicyName",
                          POLICY_NAME, "PolicyDocument", policy,     NULL };
    bool ok = role && policy && iam(f, create, "EntityAlreadyExists", NULL, NULL) &&
              iam(f, put, NULL, NULL, NULL);
    if (ok)
        tell(role, list, count);
    free(policy);
    json_decref(document);
    return ok ? role_arn(f, role) : NULL;
}

bool fn_role_look(struct fn_cli *f, const char *name, json_t **policy)
{
    char *role = role_name(f, name), *text = NULL;
    const char *get[] = { "Action",     "GetRolePolicy", "RoleName", role,
                          "PolicyName", POLICY_NAME,     NULL };
    size_t len = 0;
    *policy = NULL;
    if (!role || !iam(f, get, "NoSuchEntity", "PolicyDocument", &text))
        return false;
    uint8_t *plain = text ? arena_alloc(&f->arena, strlen(text) + 1) : NULL;
    if (plain && uri_decode(bytes_str(text), false, plain, &len) == KIST_OK)
        *policy = json_loadb((const char *)plain, len, 0, NULL);
    return true;
}

bool fn_undo_role(struct fn_cli *f, const char *name)
{
    char *role = role_name(f, name);
    const char *policy[] = { "Action",     "DeleteRolePolicy", "RoleName", role,
                             "PolicyName", POLICY_NAME,        NULL };
    const char *drop[] = { "Action", "DeleteRole", "RoleName", role, NULL };
    return role && iam(f, policy, "NoSuchEntity", NULL, NULL) &&
           iam(f, drop, "NoSuchEntity", NULL, NULL);
}
