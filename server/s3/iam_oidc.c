/* OpenID Connect providers: whose tokens roles may be taken by.
 * https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html */
#include "auth/oidc.h"
#include "server/s3/oidc_provider.h"
#include "storage/base/digest.h"

#define PROVIDERS_PER_ACCOUNT_MAX 100

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

/* ---- names ---- */

void oidc_row_name(struct bytes issuer_name, char out[OIDC_ROW_NAME_LEN + 1])
{
    uint8_t hash[32];
    digest_once(DIGEST_SHA256, issuer_name, hash);
    hex_encode(bytes_of(hash, sizeof(hash)), out);
}

char *oidc_provider_arn(struct arena *arena, struct bytes account, const Kist__IamEntity *row)
{
    struct bytes name = oidc_url_name(bytes_str(row->issuer));
    return arena_printf(arena, "arn:aws:iam::%.12s:oidc-provider/%.*s", (const char *)account.ptr,
                        (int)name.len, (const char *)name.ptr);
}

static void missing(struct s3_request *r, struct bytes arn)
{
    iam_fail(
        r, 404, "NoSuchEntity",
        arena_printf(r->arena, "OpenIDConnect Provider not found for arn %s", s3_str(r, arn)));
}

static void invalid(struct s3_request *r, const char *why)
{
    iam_fail(r, 400, "InvalidInput", why);
}

/* The provider that the request's ARN names, once the caller may. KIST_E_NOT_FOUND is left to
 * the operation; KIST_E_DENIED: an error was replied. */
static enum kist_err find(struct s3_request *r, const struct iam_call *call,
                          Kist__IamEntity **out)
{
    struct bytes arn = s3_param(r, "OpenIDConnectProviderArn");
    char name[OIDC_ROW_NAME_LEN + 1];
    char *head = arena_printf(r->arena, "arn:aws:iam::%.12s:oidc-provider/",
                              (const char *)r->who.identity->account.ptr);
    if (!head || !bytes_starts_with(arn, BYTES_LIT("arn:"))) {
        invalid(r, "Invalid ARN");
        return KIST_E_DENIED;
    }
    if (!iam_allowed(r, arena_printf(r->arena, "iam:%s", call->action), s3_str(r, arn)))
        return KIST_E_DENIED;
    if (!bytes_starts_with(arn, bytes_str(head)))
        return KIST_E_NOT_FOUND;
    oidc_row_name(bytes_of(arn.ptr + strlen(head), arn.len - strlen(head)), name);
    return store_iam(store_of(r), r->who.identity->tenant, IAM_OIDC_PROVIDER, bytes_str(name),
                     r->arena, out);
}

/* The same; NULL after an error reply. */
static Kist__IamEntity *provider(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = NULL;
    enum kist_err err = find(r, call, &e);
    if (err == KIST_E_NOT_FOUND)
        missing(r, s3_param(r, "OpenIDConnectProviderArn"));
    else if (err != KIST_OK && err != KIST_E_DENIED)
        iam_fail_err(r, err);
    return err == KIST_OK ? e : NULL;
}

/* ---- lists in the request ---- */

static bool audience_is_valid(struct bytes b)
{
    return b.len > 0 && b.len <= 255;
}

static bool thumbprint_is_valid(struct bytes b)
{
    uint8_t sha1[OIDC_THUMBPRINT_LEN / 2];
    return b.len == OIDC_THUMBPRINT_LEN && hex_decode(b, sha1, sizeof(sha1)) == KIST_OK;
}

/* Name.member.1, .2 ... False after an error reply. */
static bool members(struct s3_request *r, const char *name, size_t max,
                    bool (*is_valid)(struct bytes value), size_t *n, char ***list)
{
    *n = 0;
    *list = NULL;
    for (size_t i = 1;; i++) {
        char *param = arena_printf(r->arena, "%s.member.%zu", name, i);
        if (!param || !s3_has_param(r, param))
            return true;
        struct bytes value = s3_param(r, param);
        if (!is_valid(value)) {
            invalid(r, arena_printf(r->arena, "A value of %s is invalid.", name));
            return false;
        }
        if (i > max) {
            iam_fail(r, 409, "LimitExceeded",
                     arena_printf(r->arena, "Cannot exceed quota for %s: %zu", name, max));
            return false;
        }
        if (!iam_list_add(r->arena, n, list, s3_str(r, value))) {
            iam_fail_err(r, KIST_E_NOMEM);
            return false;
        }
    }
}

/* ---- operations ---- */

struct listing {
    struct s3_request *r;
    struct s3_xml *x; /* NULL: only count */
    size_t count;
};

static bool add_to_list(void *ctx, const Kist__IamEntity *e)
{
    struct listing *l = ctx;
    l->count++;
    if (l->x) {
        s3_xml_open(l->x, "member");
        s3_xml_str(l->x, "Arn", oidc_provider_arn(l->r->arena, l->r->who.identity->account, e));
        s3_xml_close(l->x, "member");
    }
    return l->count < PROVIDERS_PER_ACCOUNT_MAX;
}

static enum kist_err each(struct s3_request *r, struct listing *l)
{
    return store_list_iam(store_of(r), r->who.identity->tenant, IAM_OIDC_PROVIDER, BYTES_EMPTY,
                          add_to_list, l);
}

/* False after an error reply. */
static bool has_room(struct s3_request *r, struct bytes url, const char *name)
{
    struct listing l = { .r = r };
    Kist__IamEntity *there = NULL;
    enum kist_err err = store_iam(store_of(r), r->who.identity->tenant, IAM_OIDC_PROVIDER,
                                  bytes_str(name), r->arena, &there);
    if (err == KIST_OK) {
        iam_fail(r, 409, "EntityAlreadyExists",
                 arena_printf(r->arena, "Provider with url %s already exists.", s3_str(r, url)));
        return false;
    }
    if (err == KIST_E_NOT_FOUND)
        err = each(r, &l);
    if (err != KIST_OK)
        iam_fail_err(r, err);
    else if (l.count >= PROVIDERS_PER_ACCOUNT_MAX)
        iam_fail(r, 409, "LimitExceeded",
                 "Cannot exceed quota for OpenIdConnectProvidersPerAccount: 100");
    return err == KIST_OK && l.count < PROVIDERS_PER_ACCOUNT_MAX;
}

static void create(struct s3_request *r, const struct iam_call *call)
{
    struct bytes url = s3_param(r, "Url");
    char name[OIDC_ROW_NAME_LEN + 1];
    Kist__IamEntity e = KIST__IAM_ENTITY__INIT;
    if (!oidc_url_is_valid(url)) {
        invalid(r, "Invalid Open ID Connect Provider URL");
        return;
    }
    e.issuer = s3_str(r, url);
    char *arn = oidc_provider_arn(r->arena, r->who.identity->account, &e);
    if (!arn || !iam_allowed(r, "iam:CreateOpenIDConnectProvider", arn))
        return;
    oidc_row_name(oidc_url_name(url), name);
    if (!members(r, "ClientIDList", OIDC_AUDIENCES_MAX, audience_is_valid, &e.n_audiences,
                 &e.audiences) ||
        !members(r, "ThumbprintList", OIDC_THUMBPRINTS_MAX, thumbprint_is_valid, &e.n_thumbprints,
                 &e.thumbprints) ||
        !iam_tags_put(r, &e) || !has_room(r, url, name))
        return;
    e.name = s3_str(r, bytes_str(name));
    e.created_ms = s3_now(r);
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    s3_xml_str(&w->x, "OpenIDConnectProviderArn", arn);
    if (e.n_tags)
        iam_xml_tags(&w->x, &e);
    iam_change(r, w, IAM_OIDC_PROVIDER, &e, false);
    iam_finish(r, w);
}

static void xml_list(struct s3_xml *x, const char *name, size_t n, char **list)
{
    s3_xml_open(x, name);
    for (size_t i = 0; i < n; i++)
        s3_xml_str(x, "member", list[i]);
    s3_xml_close(x, name);
}

static void get(struct s3_request *r, const struct iam_call *call)
{
    const Kist__IamEntity *e = provider(r, call);
    struct iam_work *w = e ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    s3_xml_text(&w->x, "Url", oidc_url_name(bytes_str(e->issuer)));
    xml_list(&w->x, "ClientIDList", e->n_audiences, e->audiences);
    xml_list(&w->x, "ThumbprintList", e->n_thumbprints, e->thumbprints);
    s3_xml_time(&w->x, "CreateDate", e->created_ms);
    iam_xml_tags(&w->x, e);
    iam_finish(r, w);
}

static void list(struct s3_request *r, const struct iam_call *call)
{
    if (!iam_allowed(r, "iam:ListOpenIDConnectProviders", "*"))
        return;
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    struct listing l = { .r = r, .x = &w->x };
    s3_xml_open(&w->x, "OpenIDConnectProviderList");
    if (each(r, &l) != KIST_OK)
        w->x.failed = true;
    s3_xml_close(&w->x, "OpenIDConnectProviderList");
    iam_finish(r, w);
}

/* To delete what is not there is no error. */
static void delete (struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = NULL;
    enum kist_err err = find(r, call, &e);
    if (err == KIST_E_DENIED)
        return;
    if (err != KIST_OK && err != KIST_E_NOT_FOUND) {
        iam_fail_err(r, err);
        return;
    }
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    if (e)
        iam_change(r, w, IAM_OIDC_PROVIDER, e, true);
    iam_finish(r, w);
}

static void commit(struct s3_request *r, const struct iam_call *call, Kist__IamEntity *e)
{
    struct iam_work *w = iam_begin(r, call);
    if (!w)
        return;
    iam_change(r, w, IAM_OIDC_PROVIDER, e, false);
    iam_finish(r, w);
}

static void update_thumbprints(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = provider(r, call);
    if (e && members(r, "ThumbprintList", OIDC_THUMBPRINTS_MAX, thumbprint_is_valid,
                     &e->n_thumbprints, &e->thumbprints))
        commit(r, call, e);
}

static void change_audience(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = provider(r, call);
    struct bytes id = s3_param(r, "ClientID");
    if (!e)
        return;
    if (!audience_is_valid(id)) {
        invalid(r, "The value of ClientID is invalid.");
        return;
    }
    if (strncmp(call->action, "Remove", 6) == 0) {
        iam_list_remove(&e->n_audiences, e->audiences, s3_str(r, id));
    } else if (!iam_list_add(r->arena, &e->n_audiences, &e->audiences, s3_str(r, id))) {
        iam_fail_err(r, KIST_E_NOMEM);
        return;
    }
    if (e->n_audiences > OIDC_AUDIENCES_MAX)
        iam_fail(r, 409, "LimitExceeded",
                 "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100");
    else
        commit(r, call, e);
}

static void change_tags(struct s3_request *r, const struct iam_call *call)
{
    Kist__IamEntity *e = provider(r, call);
    if (!e)
        return;
    if (strncmp(call->action, "Untag", 5) == 0)
        iam_tags_remove(r, e);
    else if (!iam_tags_put(r, e))
        return;
    commit(r, call, e);
}

static void list_tags(struct s3_request *r, const struct iam_call *call)
{
    const Kist__IamEntity *e = provider(r, call);
    struct iam_work *w = e ? iam_begin(r, call) : NULL;
    if (!w)
        return;
    iam_xml_tags(&w->x, e);
    s3_xml_bool(&w->x, "IsTruncated", false);
    iam_finish(r, w);
}

const struct iam_call iam_oidc_calls[] = {
    { "CreateOpenIDConnectProvider", create, IAM_OIDC_PROVIDER },
    { "GetOpenIDConnectProvider", get, IAM_OIDC_PROVIDER },
    { "ListOpenIDConnectProviders", list, IAM_OIDC_PROVIDER },
    { "DeleteOpenIDConnectProvider", delete, IAM_OIDC_PROVIDER },
    { "UpdateOpenIDConnectProviderThumbprint", update_thumbprints, IAM_OIDC_PROVIDER },
    { "AddClientIDToOpenIDConnectProvider", change_audience, IAM_OIDC_PROVIDER },
    { "RemoveClientIDFromOpenIDConnectProvider", change_audience, IAM_OIDC_PROVIDER },
    { "TagOpenIDConnectProvider", change_tags, IAM_OIDC_PROVIDER },
    { "UntagOpenIDConnectProvider", change_tags, IAM_OIDC_PROVIDER },
    { "ListOpenIDConnectProviderTags", list_tags, IAM_OIDC_PROVIDER },
    { NULL, NULL, IAM_OIDC_PROVIDER },
};
