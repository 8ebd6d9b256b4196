/* Users, their access keys, groups, roles. */
#include <stdio.h>

#include "auth/users.h"
#include "server/s3/iam.h"

#define KEYS_MAX 2
#define GROUPS_MAX 10

static const char *const elements[] = {
    [IAM_USER] = "User", [IAM_GROUP] = "Group", [IAM_ROLE] = "Role", [IAM_POLICY] = "Policy"
};

void iam_xml_entity(struct s3_request *r, struct s3_xml *x, enum iam_kind kind,
                    const Kist__IamEntity *e)
{
    char *arn = auth_iam_arn(r->who.identity->account, kind, e, r->arena);
    char name[16], id[16];
    (void)snprintf(name, sizeof(name), "%sName", elements[kind]);
    (void)snprintf(id, sizeof(id), "%sId", elements[kind]);
    s3_xml_str(x, "Path", e->path[0] ? e->path : "/");
    s3_xml_str(x, name, e->name);
    s3_xml_str(x, id, e->id);
    s3_xml_str(x, "Arn", arn ? arn : "");
    s3_xml_time(x, "CreateDate", e->created_ms);
    if (kind == IAM_ROLE) {
        iam_xml_document(x, "AssumeRolePolicyDocument", e->document);
        s3_xml_number(x, "MaxSessionDuration", e->max_session_s);
    }
    if (kind == IAM_POLICY) {
        s3_xml_str(x, "DefaultVersionId", iam_version_text(r->arena, e->default_version));
        s3_xml_number(x, "AttachmentCount", e->n_members);
        s3_xml_bool(x, "IsAttachable", true);
    }
    if (e->description[0])
        s3_xml_str(x, "Description", e->description);
}

/* "/" or "/a/b/". */
static bool path_valid(struct bytes path)
{
    for (size_t i = 0; i < path.len; i++)
        if (path.ptr[i] < 0x21 || path.ptr[i] > 0x7E)
            return false;
    return path.len == 0 ||
           (path.len <= 512 && path.ptr[0] == '/' && path.ptr[path.len - 1] == '/');
}

/* ---- create, get, list, delete ---- */

static void create(struct s3_request *r, const struct iam_call *call)
{
    static const char *const prefixes[] = {
        [IAM_USER] = "AIDA", [IAM_GROUP] = "AGPA", [IAM_ROLE] = "AROA", [IAM_POLICY] = "ANPA"
    };
    struct bytes name, path = s3_param(r, "Path");
    Kist__IamEntity *e = arena_alloc(r->arena, sizeof(*e)), *existing = NULL;
    if (!iam_name(r, iam_param_of(call->kind), &name))
        return;
    if (!e || !path_valid(path)) {
        iam_fail(r, 400, "ValidationError", "The specified value for path is invalid.");
        return;
    }
    kist__iam_entity__init(e);
    e->name = s3_str(r, name);
    e->path = s3_str(r, path);
    e->id = iam_new_id(r, prefixes[call->kind]);
    e->created_ms = s3_now(r);
    e->description = s3_str(r, s3_param(r, "Description"));
    if (!iam_allowed(r, arena_printf(r->arena, "iam:%s", call->action),
                     auth_iam_arn(r->who.identity->account, call->kind, e, r->arena)))
        return;
    if (call->kind == IAM_POLICY) {
        e->document = iam_document(r, "PolicyDocument", POLICY_IDENTITY);
    } else if (call->kind == IAM_ROLE) {
        uint64_t duration = 3600;
        struct bytes text = s3_param(r, "MaxSessionDuration");
        if (text.len && (bytes_to_u64(text, 43200, &duration) != KIST_OK || duration < 3600)) {
            iam_fail(r, 400, "ValidationError",
                     "MaxSessionDuration must be between 3600 and 43200.");
            return;
        }
        e->max_session_s = (uint32_t)duration;
        e->document = iam_document(r, "AssumeRolePolicyDocument", POLICY_TRUST);
    }
    if (!e->document)
        return;
    enum kist_err err = store_iam(r->service->config.store, r->who.identity->tenant, call->kind,
                                  name, r->arena, &existing);
    if (err == KIST_OK) {
        iam_fail(r, 409, "EntityAlreadyExists",
                 arena_printf(r->arena, "%s with name %s already exists.", elements[call->kind],
                              e->name));
        return;
    }
    struct iam_work *w = err == KIST_E_NOT_FOUND ? iam_begin(r, call) : NULL;
    if (!w) {
        if (err != KIST_E_NOT_FOUND)
            iam_fail_err(r, err);
        return;
    }
    s3_xml_open(&w->x, elements[call->kind]);
    iam_xml_entity(r, &w->x, call->kind, e);
    s3_xml_close(&w->x, elements[call->kind]);
    iam_change(r, w, call->kind, e, false);
    iam_finish(r, w);
}

static void get(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = iam_entity(r, call);
    struct iam_work *w = e ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, elements[call->kind]);
    iam_xml_entity(r, &w->x, call->kind, e);
    s3_xml_close(&w->x, elements[call->kind]);
    if (call->kind == IAM_GROUP) {
        s3_xml_open(&w->x, "Users");
        for (size_t i = 0; i < e->n_members; i++) {
            Kist__IamEntity *user = NULL;
            if (store_iam(r->service->config.store, r->who.identity->tenant, IAM_USER,
                          bytes_str(e->members[i]), r->arena, &user) != KIST_OK)
                continue;
            s3_xml_open(&w->x, "member");
            iam_xml_entity(r, &w->x, IAM_USER, user);
            s3_xml_close(&w->x, "member");
        }
        s3_xml_close(&w->x, "Users");
        s3_xml_bool(&w->x, "IsTruncated", false);
    }
    iam_finish(r, w);
}

struct listing {
    struct s3_request *r;
    struct s3_xml *x;
    const struct iam_call *call;
    struct bytes prefix;
    uint64_t max, count;
    struct bytes last;
    bool truncated;
};

static bool add_entity(void *ctx, const Kist__IamEntity *e)
{
    struct listing *l = ctx;
    struct bytes path = e->path[0] ? bytes_str(e->path) : BYTES_LIT("/");
    if (l->count == l->max) {
        l->truncated = true;
        return false;
    }
    l->last = arena_copy(l->r->arena, bytes_str(e->name));
    if (!bytes_starts_with(path, l->prefix))
        return true;
    l->count++;
    s3_xml_open(l->x, "member");
    iam_xml_entity(l->r, l->x, l->call->kind, e);
    s3_xml_close(l->x, "member");
    return !l->x->failed;
}

static void list(struct s3_request *r, const struct iam_call *call)
{
    static const char *const plural[] = { [IAM_USER] = "Users",
                                          [IAM_GROUP] = "Groups",
                                          [IAM_ROLE] = "Roles",
                                          [IAM_POLICY] = "Policies" };
    struct listing l = { .r = r, .call = call, .prefix = s3_param(r, "PathPrefix") };
    struct bytes max = s3_param(r, "MaxItems");
    l.max = 100;
    if (max.len && (bytes_to_u64(max, IAM_PAGE_MAX, &l.max) != KIST_OK || l.max == 0)) {
        iam_fail(r, 400, "ValidationError", "MaxItems must be between 1 and 1000.");
        return;
    }
    char *arn = arena_printf(
        r->arena, "arn:aws:iam::%.12s:%s/", (const char *)r->who.identity->account.ptr,
        (const char *[]){ "", "user", "group", "role", "policy" }[call->kind]);
    if (!iam_allowed(r, arena_printf(r->arena, "iam:%s", call->action), arn))
        return;
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    l.x = &w->x;
    s3_xml_open(&w->x, plural[call->kind]);
    enum kist_err err = store_list_iam(r->service->config.store, r->who.identity->tenant,
                                       call->kind, s3_param(r, "Marker"), add_entity, &l);
    s3_xml_close(&w->x, plural[call->kind]);
    s3_xml_bool(&w->x, "IsTruncated", l.truncated);
    if (l.truncated)
        s3_xml_text(&w->x, "Marker", l.last);
    if (err != KIST_OK)
        w->x.failed = true;
    iam_finish(r, w);
}

/* Only what nothing hangs on: AWS's DeleteConflict. */
static void delete_entity(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = iam_entity(r, call);
    if (!e)
        return;
    if (e->n_policies || e->n_attached || e->n_keys || e->n_groups || e->n_members) {
        iam_fail(r, 409, "DeleteConflict",
                 "Cannot delete entity, must remove policies, access keys, and group memberships "
                 "first.");
        return;
    }
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    iam_change(r, w, call->kind, e, true);
    iam_finish(r, w);
}

/* ---- access keys ---- */

static void create_key(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *user = iam_entity(r, call);
    Kist__IamEntity *key = arena_alloc(r->arena, sizeof(*key));
    if (!user)
        return;
    if (user->n_keys >= KEYS_MAX) {
        iam_fail(r, 409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2");
        return;
    }
    struct iam_work *w = key ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    kist__iam_entity__init(key);
    key->name = iam_new_id(r, "AKIA");
    key->secret = iam_new_secret(r);
    key->owner = user->name;
    key->created_ms = s3_now(r);
    if (!iam_list_add(r->arena, &user->n_keys, &user->keys, key->name))
        w->x.failed = true;
    s3_xml_open(&w->x, "AccessKey");
    s3_xml_str(&w->x, "UserName", user->name);
    s3_xml_str(&w->x, "AccessKeyId", key->name);
    s3_xml_str(&w->x, "Status", "Active");
    s3_xml_str(&w->x, "SecretAccessKey", key->secret);
    s3_xml_time(&w->x, "CreateDate", key->created_ms);
    s3_xml_close(&w->x, "AccessKey");
    iam_change(r, w, IAM_KEY, key, false);
    iam_change(r, w, IAM_USER, user, false);
    iam_finish(r, w);
}

static void list_keys(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *user = iam_entity(r, call);
    struct iam_work *w = user ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, "AccessKeyMetadata");
    for (size_t i = 0; i < user->n_keys; i++) {
        Kist__IamEntity *key = NULL;
        if (store_iam(r->service->config.store, r->who.identity->tenant, IAM_KEY,
                      bytes_str(user->keys[i]), r->arena, &key) != KIST_OK)
            continue;
        s3_xml_open(&w->x, "member");
        s3_xml_str(&w->x, "UserName", user->name);
        s3_xml_str(&w->x, "AccessKeyId", key->name);
        s3_xml_str(&w->x, "Status", key->inactive ? "Inactive" : "Active");
        s3_xml_time(&w->x, "CreateDate", key->created_ms);
        s3_xml_close(&w->x, "member");
    }
    s3_xml_close(&w->x, "AccessKeyMetadata");
    s3_xml_bool(&w->x, "IsTruncated", false);
    iam_finish(r, w);
}

/* The user's key that the parameter names; NULL after an error reply. */
static Kist__IamEntity *own_key(struct s3_request *r, const Kist__IamEntity *user)
{
    struct bytes id;
    if (!user || !iam_name(r, "AccessKeyId", &id))
        return NULL;
    Kist__IamEntity *key = iam_get(r, IAM_KEY, id);
    if (key && (strcmp(key->owner, user->name) != 0 ||
                !bytes_equal(bytes_str(key->account), r->who.identity->tenant))) {
        iam_fail(r, 404, "NoSuchEntity", "The Access Key cannot be found.");
        return NULL;
    }
    return key;
}

static void update_key(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *key = own_key(r, iam_entity(r, call));
    struct bytes status = s3_param(r, "Status");
    bool active = bytes_equal(status, BYTES_LIT("Active"));
    if (!key)
        return;
    if (!active && !bytes_equal(status, BYTES_LIT("Inactive"))) {
        iam_fail(r, 400, "ValidationError", "Status must be Active or Inactive.");
        return;
    }
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    key->inactive = !active;
    iam_change(r, w, IAM_KEY, key, false);
    iam_finish(r, w);
}

static void delete_key(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *user = iam_entity(r, call);
    Kist__IamEntity *key = own_key(r, user);
    struct iam_work *w = key ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    iam_list_remove(&user->n_keys, user->keys, key->name);
    iam_change(r, w, IAM_KEY, key, true);
    iam_change(r, w, IAM_USER, user, false);
    iam_finish(r, w);
}

/* ---- membership ---- */

static void change_membership(struct s3_request *r, const struct iam_call *call)
{
    struct bytes name;
    Kist__IamEntity *group = iam_entity(r, call);
    Kist__IamEntity *user =
        group && iam_name(r, "UserName", &name) ? iam_get(r, IAM_USER, name) : NULL;
    if (!user)
        return;
    bool add = strcmp(call->action, "AddUserToGroup") == 0;
    if (add && user->n_groups >= GROUPS_MAX) {
        iam_fail(r, 409, "LimitExceeded", "Cannot exceed quota for GroupsPerUser: 10");
        return;
    }
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    if (add) {
        if (!iam_list_add(r->arena, &user->n_groups, &user->groups, group->name) ||
            !iam_list_add(r->arena, &group->n_members, &group->members, user->name))
            w->x.failed = true;
    } else {
        iam_list_remove(&user->n_groups, user->groups, group->name);
        iam_list_remove(&group->n_members, group->members, user->name);
    }
    iam_change(r, w, IAM_USER, user, false);
    iam_change(r, w, IAM_GROUP, group, false);
    iam_finish(r, w);
}

static void list_groups_for_user(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *user = iam_entity(r, call);
    struct iam_work *w = user ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_open(&w->x, "Groups");
    for (size_t i = 0; i < user->n_groups; i++) {
        Kist__IamEntity *group = NULL;
        if (store_iam(r->service->config.store, r->who.identity->tenant, IAM_GROUP,
                      bytes_str(user->groups[i]), r->arena, &group) != KIST_OK)
            continue;
        s3_xml_open(&w->x, "member");
        iam_xml_entity(r, &w->x, IAM_GROUP, group);
        s3_xml_close(&w->x, "member");
    }
    s3_xml_close(&w->x, "Groups");
    s3_xml_bool(&w->x, "IsTruncated", false);
    iam_finish(r, w);
}

const struct iam_call iam_user_calls[] = {
    { "CreateUser", create, IAM_USER },
    { "GetUser", get, IAM_USER },
    { "ListUsers", list, IAM_USER },
    { "DeleteUser", delete_entity, IAM_USER },
    { "CreateGroup", create, IAM_GROUP },
    { "GetGroup", get, IAM_GROUP },
    { "ListGroups", list, IAM_GROUP },
    { "DeleteGroup", delete_entity, IAM_GROUP },
    { "AddUserToGroup", change_membership, IAM_GROUP },
    { "RemoveUserFromGroup", change_membership, IAM_GROUP },
    { "ListGroupsForUser", list_groups_for_user, IAM_USER },
    { "CreateRole", create, IAM_ROLE },
    { "GetRole", get, IAM_ROLE },
    { "ListRoles", list, IAM_ROLE },
    { "DeleteRole", delete_entity, IAM_ROLE },
    { "CreatePolicy", create, IAM_POLICY },
    { "ListPolicies", list, IAM_POLICY },
    { "CreateAccessKey", create_key, IAM_USER },
    { "ListAccessKeys", list_keys, IAM_USER },
    { "UpdateAccessKey", update_key, IAM_USER },
    { "DeleteAccessKey", delete_key, IAM_USER },
    { NULL, NULL, IAM_USER },
};
