/* Access control lists: from canned names, grant headers and XML to rows, and back.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
 *
 * A row holds what differs from "the bucket's owner, and nobody else". What a list allows is
 * decided in access.c. */
#include "server/s3/acl.h"

#define ACL_XML_MAX ((size_t)64 << 10)

static const struct {
    enum acl_grantee grantee;
    const char *uri;
} groups[] = {
    { ACL_EVERYBODY, "http://acs.amazonaws.com/groups/global/AllUsers" },
    { ACL_AUTHENTICATED, "http://acs.amazonaws.com/groups/global/AuthenticatedUsers" },
    { ACL_LOG_DELIVERY, "http://acs.amazonaws.com/groups/s3/LogDelivery" },
};

static const struct {
    enum acl_permission permission;
    const char *name, *header;
} permissions[] = {
    { ACL_FULL_CONTROL, "FULL_CONTROL", "x-amz-grant-full-control" },
    { ACL_READ, "READ", "x-amz-grant-read" },
    { ACL_WRITE, "WRITE", "x-amz-grant-write" },
    { ACL_READ_ACP, "READ_ACP", "x-amz-grant-read-acp" },
    { ACL_WRITE_ACP, "WRITE_ACP", "x-amz-grant-write-acp" },
};

/* ---- building ---- */

/* The list that is being made, and of what. */
struct making {
    struct s3_request *r;
    bool bucket;           /* of a bucket */
    struct bytes owner;    /* canonical id of whose it is */
    struct bytes landlord; /* of the bucket's owner */
    Kist__Acl *acl;
};

static bool begin(struct making *m, struct s3_request *r, bool bucket, struct bytes owner)
{
    *m = (struct making){ .r = r, .bucket = bucket, .owner = owner };
    m->landlord = bucket ? owner : r->owner.id;
    m->acl = arena_alloc(r->arena, sizeof(*m->acl));
    if (m->acl) {
        kist__acl__init(m->acl);
        m->acl->grants = arena_alloc(r->arena, ACL_GRANTS_MAX * sizeof(*m->acl->grants));
    }
    if (m->acl && m->acl->grants)
        return true;
    s3_fail(r, S3_SLOW_DOWN);
    return false;
}

/* False after an error reply. */
static bool add(struct making *m, enum acl_grantee grantee, struct bytes id, uint32_t permission)
{
    Kist__Acl *acl = m->acl;
    if (grantee == ACL_ACCOUNT && bytes_equal(id, m->owner))
        grantee = ACL_OWNER;
    if (grantee != ACL_ACCOUNT)
        id = BYTES_EMPTY;
    for (size_t i = 0; i < acl->n_grants; i++)
        if (acl->grants[i]->grantee == grantee && acl->grants[i]->permission == permission &&
            bytes_equal(bytes_str(acl->grants[i]->id), id))
            return true;
    Kist__Grant *g = arena_alloc(m->r->arena, sizeof(*g));
    if (!g || acl->n_grants == ACL_GRANTS_MAX) {
        s3_fail(m->r, g ? S3_MALFORMED_ACL : S3_SLOW_DOWN);
        return false;
    }
    kist__grant__init(g);
    g->grantee = grantee;
    g->id = s3_str(m->r, id);
    g->permission = permission;
    acl->grants[acl->n_grants++] = g;
    return true;
}

/* A grantee must be somebody that there is. */
static bool add_account(struct making *m, struct bytes id, uint32_t permission)
{
    struct auth_owner known;
    if (m->r->service->config.users &&
        auth_owner_find(m->r->service->config.users, id, m->r->arena, &known) == KIST_OK)
        return add(m, ACL_ACCOUNT, id, permission);
    s3_fail_argument(m->r, "CanonicalUser/ID", id, "Invalid id");
    return false;
}

static bool add_group(struct making *m, struct bytes uri, uint32_t permission)
{
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        if (bytes_equal(uri, bytes_str(groups[i].uri)))
            return add(m, groups[i].grantee, BYTES_EMPTY, permission);
    s3_fail_argument(m->r, "Group/URI", uri, "Invalid group uri");
    return false;
}

/* S3 has ended grants by e-mail address, with this error.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html */
static bool refuse_email(struct making *m)
{
    s3_fail(m->r, S3_METHOD_NOT_ALLOWED);
    return false;
}

/* ---- canned ---- */

static bool add_canned(struct making *m, struct bytes name)
{
    static const struct {
        const char *name;
        struct {
            enum acl_grantee grantee;
            uint32_t permission;
        } more[2];
    } canned[] = {
        { "private", { { 0, 0 } } },
        { "public-read", { { ACL_EVERYBODY, ACL_READ } } },
        { "public-read-write", { { ACL_EVERYBODY, ACL_READ }, { ACL_EVERYBODY, ACL_WRITE } } },
        { "authenticated-read", { { ACL_AUTHENTICATED, ACL_READ } } },
        /* EC2, which reads machine images, is not here */
        { "aws-exec-read", { { 0, 0 } } },
        { "bucket-owner-read", { { ACL_ACCOUNT, ACL_READ } } },
        { "bucket-owner-full-control", { { ACL_ACCOUNT, ACL_FULL_CONTROL } } },
        { "log-delivery-write",
          { { ACL_LOG_DELIVERY, ACL_WRITE }, { ACL_LOG_DELIVERY, ACL_READ_ACP } } },
    };
    for (size_t i = 0; i < ARRAY_LEN(canned); i++) {
        if (!bytes_equal(name, bytes_str(canned[i].name)))
            continue;
        if (!add(m, ACL_OWNER, BYTES_EMPTY, ACL_FULL_CONTROL))
            return false;
        for (size_t k = 0; k < 2 && canned[i].more[k].permission; k++) {
            enum acl_grantee grantee = canned[i].more[k].grantee;
            /* to the bucket's owner, where he is somebody else */
            if (grantee == ACL_ACCOUNT && bytes_equal(m->landlord, m->owner))
                continue;
            if (!add(m, grantee, m->landlord, canned[i].more[k].permission))
                return false;
        }
        return true;
    }
    s3_fail_argument(m->r, "x-amz-acl", name, "");
    return false;
}

/* ---- grant headers: id="...", uri="..." ---- */

static bool add_header(struct making *m, const char *header, struct bytes value,
                       uint32_t permission)
{
    for (size_t at = 0; at <= value.len;) {
        size_t end = bytes_find(value, BYTES_LIT(","), at);
        end = end == SIZE_MAX ? value.len : end;
        struct bytes one = bytes_of(value.ptr + at, end - at);
        size_t eq = bytes_find(one, BYTES_LIT("="), 0);
        struct bytes kind = bytes_trim(bytes_of(one.ptr, eq == SIZE_MAX ? 0 : eq), " ");
        struct bytes text = eq == SIZE_MAX
                                ? BYTES_EMPTY
                                : bytes_trim(bytes_of(one.ptr + eq + 1, one.len - eq - 1), " \"");
        at = end + 1;
        bool ok = false;
        if (bytes_equal_nocase(kind, BYTES_LIT("id")))
            ok = add_account(m, text, permission);
        else if (bytes_equal_nocase(kind, BYTES_LIT("uri")))
            ok = add_group(m, text, permission);
        else if (bytes_equal_nocase(kind, BYTES_LIT("emailAddress")))
            ok = refuse_email(m);
        else
            s3_fail_argument(m->r, header, value, "Argument format not recognized");
        if (!ok)
            return false;
    }
    return true;
}

static bool has_grants(const struct s3_request *r)
{
    for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
        if (s3_header(r, permissions[i].header).ptr)
            return true;
    return false;
}

bool s3_acl_said(const struct s3_request *r)
{
    return s3_header(r, "x-amz-acl").ptr || has_grants(r);
}

static bool from_headers(struct making *m)
{
    struct bytes canned = s3_header(m->r, "x-amz-acl");
    if (canned.ptr && has_grants(m->r)) {
        s3_fail_message(m->r, S3_INVALID_REQUEST,
                        "Specifying both Canned ACLs and Header Grants is not allowed");
        return false;
    }
    if (!has_grants(m->r))
        return add_canned(m, canned.ptr ? canned : BYTES_LIT("private"));
    for (size_t i = 0; i < ARRAY_LEN(permissions); i++) {
        struct bytes value = s3_header(m->r, permissions[i].header);
        if (value.ptr &&
            !add_header(m, permissions[i].header, value, (uint32_t)permissions[i].permission))
            return false;
    }
    return true;
}

/* ---- XML ---- */

static bool add_node(struct making *m, const struct s3_xml_node *grant)
{
    const struct s3_xml_node *grantee = s3_xml_child(grant, "Grantee");
    struct bytes name = s3_xml_child_text(grant, "Permission");
    struct bytes id = s3_xml_child_text(grantee, "ID");
    struct bytes uri = s3_xml_child_text(grantee, "URI");
    for (size_t i = 0; i < ARRAY_LEN(permissions); i++) {
        uint32_t permission = (uint32_t)permissions[i].permission;
        if (!bytes_equal(name, bytes_str(permissions[i].name)))
            continue;
        if (id.len)
            return add_account(m, id, permission);
        if (uri.len)
            return add_group(m, uri, permission);
        if (s3_xml_child(grantee, "EmailAddress"))
            return refuse_email(m);
        break;
    }
    s3_fail(m->r, S3_MALFORMED_ACL);
    return false;
}

static bool from_xml(struct making *m, struct bytes xml)
{
    struct s3_xml_node *root = NULL;
    const struct s3_xml_node *list = NULL;
    if (s3_xml_parse(xml, m->r->arena, &root) == KIST_OK &&
        strcmp(root->name, "AccessControlPolicy") == 0)
        list = s3_xml_child(root, "AccessControlList");
    if (!list) {
        s3_fail(m->r, S3_MALFORMED_ACL);
        return false;
    }
    struct bytes owner = s3_xml_child_text(s3_xml_child(root, "Owner"), "ID");
    if (owner.len && !bytes_equal(owner, m->owner)) { /* which nobody can give away */
        s3_fail(m->r, S3_ACCESS_DENIED);
        return false;
    }
    for (const struct s3_xml_node *n = list->child; n; n = n->next)
        if (strcmp(n->name, "Grant") == 0 && !add_node(m, n))
            return false;
    return true;
}

/* ---- grants of log objects ---- */

bool s3_acl_grants_check(struct s3_request *r, const struct s3_xml_node *grants)
{
    struct making m;
    if (!begin(&m, r, false, r->owner.id) || !add(&m, ACL_OWNER, BYTES_EMPTY, ACL_FULL_CONTROL))
        return false;
    for (const struct s3_xml_node *n = grants->child; n; n = n->next)
        if (!add_node(&m, n))
            return false;
    return true;
}

static void read_grant(const struct s3_xml_node *node, struct arena *arena, Kist__Grant *g)
{
    const struct s3_xml_node *grantee = s3_xml_child(node, "Grantee");
    struct bytes id = s3_xml_child_text(grantee, "ID"), uri = s3_xml_child_text(grantee, "URI");
    struct bytes name = s3_xml_child_text(node, "Permission");
    char *copy = id.len ? arena_strndup(arena, id.ptr, id.len) : NULL;
    kist__grant__init(g);
    g->grantee = ACL_ACCOUNT;
    g->id = copy ? copy : g->id;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        if (bytes_equal(uri, bytes_str(groups[i].uri)))
            g->grantee = groups[i].grantee;
    for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
        if (bytes_equal(name, bytes_str(permissions[i].name)))
            g->permission = (uint32_t)permissions[i].permission;
}

enum kist_err s3_acl_pack_grants(const struct s3_xml_node *grants, struct arena *arena,
                                 struct bytes *out)
{
    Kist__Acl acl = KIST__ACL__INIT;
    Kist__Grant *room = arena_alloc(arena, ACL_GRANTS_MAX * sizeof(*room));
    Kist__Grant *list[ACL_GRANTS_MAX];
    struct buf packed;
    if (!room)
        return KIST_E_NOMEM;
    kist__grant__init(&room[0]); /* the owner */
    room[0].permission = ACL_FULL_CONTROL;
    list[0] = &room[0];
    acl.n_grants = 1;
    acl.grants = list;
    for (const struct s3_xml_node *n = grants->child; n && acl.n_grants < ACL_GRANTS_MAX;
         n = n->next) {
        read_grant(n, arena, &room[acl.n_grants]);
        list[acl.n_grants] = &room[acl.n_grants];
        acl.n_grants++;
    }
    buf_init(&packed, 64 << 10);
    enum kist_err err = schema_pack(&acl, &packed);
    struct bytes copy = err == KIST_OK ? arena_copy(arena, buf_bytes(&packed)) : BYTES_EMPTY;
    buf_release(&packed);
    if (err == KIST_OK && !copy.ptr)
        err = KIST_E_NOMEM;
    if (err == KIST_OK)
        *out = copy;
    return err;
}

/* ---- what may be set ---- */

static bool is_group(const Kist__Grant *g)
{
    return g->grantee == ACL_EVERYBODY || g->grantee == ACL_AUTHENTICATED;
}

/* *out NULL: as if none were there. False after an error reply. */
static bool finish(struct making *m, Kist__Acl **out)
{
    Kist__Acl *acl = m->acl;
    bool foreign = !bytes_equal(m->owner, m->landlord);
    for (size_t i = 0; i < acl->n_grants; i++)
        if (is_group(acl->grants[i]) && m->r->rules && m->r->rules->block_public_acls) {
            s3_fail(m->r, S3_ACCESS_DENIED);
            return false;
        }
    bool alone = acl->n_grants == 1 && acl->grants[0]->grantee == ACL_OWNER &&
                 acl->grants[0]->permission == ACL_FULL_CONTROL;
    if (foreign)
        acl->owner = s3_str(m->r, m->owner);
    *out = foreign || !alone ? acl : NULL;
    return true;
}

/* With ACLs disabled, only what holds anyway may be said. */
static bool is_harmless(const struct s3_request *r)
{
    struct bytes acl = s3_header(r, "x-amz-acl");
    bool canned = !acl.ptr || bytes_equal(acl, BYTES_LIT("private")) ||
                  bytes_equal(acl, BYTES_LIT("bucket-owner-full-control")) ||
                  bytes_equal(acl, BYTES_LIT("bucket-owner-read"));
    return canned && !has_grants(r);
}

static struct bytes writer_of(const struct s3_request *r)
{
    struct bytes id = r->who.identity->id;
    return id.len ? id : BYTES_LIT(S3_ANONYMOUS_ID);
}

bool s3_acl_of_object(struct s3_request *r, Kist__Acl **out)
{
    struct making m;
    *out = NULL;
    if (r->bucket_row->ownership == OWNERSHIP_ENFORCED) {
        if (!is_harmless(r))
            s3_fail(r, S3_ACL_NOT_SUPPORTED);
        return is_harmless(r);
    }
    bool given_away =
        bytes_equal(s3_header(r, "x-amz-acl"), BYTES_LIT("bucket-owner-full-control"));
    bool own = s3_is_own(r, &r->owner) ||
               (r->bucket_row->ownership == OWNERSHIP_PREFERRED && given_away && !has_grants(r));
    return begin(&m, r, false, own ? r->owner.id : writer_of(r)) && from_headers(&m) &&
           finish(&m, out);
}

char *s3_acl_initiator(struct s3_request *r)
{
    bool own = s3_is_own(r, &r->owner);
    return s3_str(r, own ? BYTES_EMPTY : writer_of(r));
}

/* ---- CreateBucket ---- */

static const char *const ownerships[] = { [OWNERSHIP_ENFORCED] = "BucketOwnerEnforced",
                                          [OWNERSHIP_PREFERRED] = "BucketOwnerPreferred",
                                          [OWNERSHIP_WRITER] = "ObjectWriter" };

static bool parse_ownership(struct bytes text, uint32_t *out)
{
    for (size_t i = 0; i < ARRAY_LEN(ownerships); i++)
        if (bytes_equal(text, bytes_str(ownerships[i]))) {
            *out = (uint32_t)i;
            return true;
        }
    return false;
}

bool s3_acl_of_bucket(struct s3_request *r, Kist__Bucket *bucket)
{
    struct making m;
    struct bytes ownership = s3_header(r, "x-amz-object-ownership");
    if (ownership.ptr && !parse_ownership(ownership, &bucket->ownership)) {
        s3_fail_argument(r, "x-amz-object-ownership", ownership,
                         "Invalid x-amz-object-ownership header");
        return false;
    }
    if (!begin(&m, r, true, r->who.identity->id) || !from_headers(&m) ||
        !finish(&m, &bucket->acl))
        return false;
    if (bucket->ownership != OWNERSHIP_ENFORCED || !bucket->acl)
        return true;
    s3_fail(r, S3_ACL_WITH_OWNERSHIP);
    return false;
}

/* ---- Put*Acl ---- */

static void put_done(struct s3_request *r)
{
    if (r->scope == S3_SCOPE_OBJECT)
        s3_version_header(r, r->op.result.versioned, r->op.result.version);
    s3_reply_empty(r, 200);
}

static void commit(struct s3_request *r, Kist__PutAcl *put)
{
    Kist__Command command = KIST__COMMAND__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_ACL;
    command.put_acl = put;
    put->bucket = s3_str(r, r->bucket);
    s3_commit(r, &command, put_done);
}

/* The one grant that holds anyway may be said; nothing is stored. */
static void put_disabled(struct s3_request *r, const Kist__Acl *acl)
{
    bool harmless = s3_acl_said(r) ? is_harmless(r) : !acl;
    if (harmless)
        s3_reply_empty(r, 200);
    else
        s3_fail(r, S3_ACL_NOT_SUPPORTED);
}

static void put_acl(struct s3_request *r)
{
    struct making m;
    Kist__PutAcl put = KIST__PUT_ACL__INIT;
    struct bytes xml = buf_bytes(&r->body->xml), owner = r->owner.id;
    bool enforced = r->bucket_row->ownership == OWNERSHIP_ENFORCED;
    if (r->scope == S3_SCOPE_OBJECT) {
        const Kist__Object *o = s3_head_row(r);
        if (!o)
            return;
        if (o->acl && o->acl->owner[0] && !enforced)
            owner = bytes_str(o->acl->owner);
        put.key = schema_data(r->key);
        put.version = r->version;
    }
    if (!xml.len && !s3_acl_said(r)) {
        s3_fail(r, S3_MISSING_SECURITY_HEADER);
        return;
    }
    if (xml.len && s3_acl_said(r)) {
        s3_fail(r, S3_UNEXPECTED_CONTENT);
        return;
    }
    if (!begin(&m, r, r->scope == S3_SCOPE_BUCKET, owner))
        return;
    if (enforced && s3_acl_said(r))
        put_disabled(r, NULL);
    else if ((xml.len ? from_xml(&m, xml) : from_headers(&m)) && finish(&m, &put.acl)) {
        if (enforced)
            put_disabled(r, put.acl);
        else
            commit(r, &put);
    }
}

void s3_put_acl(struct s3_request *r)
{
    s3_read_xml(r, ACL_XML_MAX, put_acl);
}

/* ---- Get*Acl ---- */

void s3_xml_open_grantee(struct s3_xml *x, bool group)
{
    if (buf_printf(&x->out,
                   "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
                   "xsi:type=\"%s\">",
                   group ? "Group" : "CanonicalUser") != KIST_OK)
        x->failed = true;
}

static void render_grantee(struct s3_request *r, struct s3_xml *x, const Kist__Grant *g,
                           const char *owner)
{
    const char *id = g->grantee == ACL_OWNER ? owner : g->id, *uri = NULL;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        if (groups[i].grantee == g->grantee)
            uri = groups[i].uri;
    s3_xml_open_grantee(x, uri != NULL);
    if (uri) {
        s3_xml_str(x, "URI", uri);
    } else {
        struct auth_owner who = s3_owner_shown(r, id);
        s3_xml_text(x, "ID", who.id);
        if (who.display_name.len)
            s3_xml_text(x, "DisplayName", who.display_name);
    }
    s3_xml_close(x, "Grantee");
}

static void reply(struct s3_request *r, const Kist__Acl *acl)
{
    Kist__Grant owner_has_all = KIST__GRANT__INIT;
    Kist__Grant *only[1] = { &owner_has_all };
    struct s3_xml x = { .failed = false };
    owner_has_all.permission = ACL_FULL_CONTROL;
    if (r->bucket_row->ownership == OWNERSHIP_ENFORCED)
        acl = NULL;
    const char *owner = acl && acl->owner[0] ? acl->owner : s3_str(r, r->owner.id);
    Kist__Grant **grants = acl ? acl->grants : only;
    size_t count = acl ? acl->n_grants : 1;
    struct auth_owner shown = s3_owner_shown(r, owner);
    s3_xml_begin(&x, "AccessControlPolicy");
    s3_xml_owner(&x, "Owner", shown.id, shown.display_name);
    s3_xml_open(&x, "AccessControlList");
    for (size_t i = 0; i < count; i++) {
        s3_xml_open(&x, "Grant");
        render_grantee(r, &x, grants[i], owner);
        for (size_t k = 0; k < ARRAY_LEN(permissions); k++)
            if ((uint32_t)permissions[k].permission == grants[i]->permission)
                s3_xml_str(&x, "Permission", permissions[k].name);
        s3_xml_close(&x, "Grant");
    }
    s3_xml_close(&x, "AccessControlList");
    s3_xml_reply(r, &x, "AccessControlPolicy");
}

void s3_get_acl(struct s3_request *r)
{
    if (r->scope == S3_SCOPE_BUCKET) {
        reply(r, r->bucket_row->acl);
        return;
    }
    const Kist__Object *o = s3_head_row(r);
    if (!o)
        return;
    s3_version_header(r, s3_versioned(r), o->version);
    reply(r, o->acl);
}

/* ---- ownership controls ---- */

static void ownership_deleted(struct s3_request *r)
{
    s3_reply_empty(r, 204);
}

static void set_ownership(struct s3_request *r, uint32_t ownership,
                          void (*then)(struct s3_request *r))
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutAcl put = KIST__PUT_ACL__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_ACL;
    command.put_acl = &put;
    put.bucket = s3_str(r, r->bucket);
    put.set_ownership = true;
    put.ownership = ownership;
    s3_commit(r, &command, then);
}

static void put_ownership(struct s3_request *r)
{
    struct s3_xml_node *root = NULL;
    uint32_t ownership;
    const struct s3_xml_node *rule = NULL;
    if (s3_xml_parse(buf_bytes(&r->body->xml), r->arena, &root) == KIST_OK &&
        strcmp(root->name, "OwnershipControls") == 0)
        rule = s3_xml_child(root, "Rule");
    if (!rule || rule->next || root->child != rule ||
        !parse_ownership(s3_xml_child_text(rule, "ObjectOwnership"), &ownership))
        s3_fail(r, S3_MALFORMED_XML);
    else if (ownership == OWNERSHIP_ENFORCED && r->bucket_row->acl)
        s3_fail(r, S3_ACL_WITH_OWNERSHIP);
    else
        set_ownership(r, ownership, put_done);
}

void s3_put_ownership(struct s3_request *r)
{
    s3_read_xml(r, ACL_XML_MAX, put_ownership);
}

void s3_delete_ownership(struct s3_request *r)
{
    set_ownership(r, OWNERSHIP_NONE, ownership_deleted);
}

void s3_get_ownership(struct s3_request *r)
{
    struct s3_xml x = { .failed = false };
    if (r->bucket_row->ownership >= ARRAY_LEN(ownerships)) {
        s3_fail(r, S3_NO_SUCH_OWNERSHIP);
        return;
    }
    s3_xml_begin(&x, "OwnershipControls");
    s3_xml_open(&x, "Rule");
    s3_xml_str(&x, "ObjectOwnership", ownerships[r->bucket_row->ownership]);
    s3_xml_close(&x, "Rule");
    s3_xml_reply(r, &x, "OwnershipControls");
}
