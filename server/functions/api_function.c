/* CreateFunction, UpdateFunctionCode, UpdateFunctionConfiguration, GetFunction,
 * GetFunctionConfiguration, ListFunctions, DeleteFunction. */
#include "server/functions/control.h"
#include "storage/base/codec.h"

#define LIST_MAX 50

/* ---- finding ---- */

bool fn_is_latest(struct bytes q)
{
    return q.len == 0 || bytes_equal(q, BYTES_LIT(FN_LATEST));
}

struct bytes fn_qualifier(const struct fn_call *c)
{
    return c->id.qualifier.len ? c->id.qualifier : BYTES_LIT(FN_LATEST);
}

bool fn_load(struct fn_call *c, Kist__Function **latest, uint64_t *changed)
{
    enum kist_err err =
        registry_get(c->f, c->id.account, c->id.name, BYTES_EMPTY, c->arena, latest, changed);
    if (err != KIST_OK)
        fn_fail_err(c, err);
    return err == KIST_OK;
}

bool fn_load_qualified(struct fn_call *c, struct function_found *found)
{
    struct bytes version = c->id.qualifier;
    Kist__FunctionAlias *alias = NULL;
    enum kist_err err = KIST_OK;
    if (!fn_load(c, &found->latest, NULL))
        return false;
    found->function = found->latest;
    if (fn_is_latest(version))
        return true;
    if (!registry_is_version(version)) {
        err = registry_alias(c->f, c->id.account, c->id.name, version, c->arena, &alias, NULL);
        version = alias ? bytes_str(alias->version) : version;
        found->alias = alias ? alias->name : NULL;
    }
    if (err == KIST_OK)
        err = registry_get(c->f, c->id.account, c->id.name, version, c->arena, &found->function,
                           NULL);
    if (err != KIST_OK)
        fn_fail_err(c, err);
    return err == KIST_OK;
}

bool fn_check_revision(struct fn_call *c, const char *revision)
{
    const char *wanted = NULL;
    if (!fn_get_str(c, c->in, "RevisionId", &wanted))
        return false;
    if (!wanted || strcmp(wanted, revision) == 0)
        return true;
    fn_fail(c, 412, "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the "
            "GetFunction/GetAlias API to retrieve the latest Revision Id");
    return false;
}

bool fn_touch(struct fn_call *c, Kist__Function *latest, uint64_t changed)
{
    return fn_change(c, RECORD_FUNCTION, c->id.account, latest->name, changed, latest);
}

/* ---- code that nothing refers to any more ---- */

struct code_users {
    const char *key, *version;
    bool used;
};

static bool uses_code(void *ctx, const Kist__Function *version)
{
    struct code_users *u = ctx;
    u->used = strcmp(version->version, u->version) != 0 && strcmp(version->code_key, u->key) == 0;
    return !u->used;
}

bool fn_throw_away_code(struct fn_call *c, const Kist__Function *row)
{
    struct code_users users = { .key = row->code_key, .version = row->version };
    Kist__Function *latest = NULL;
    enum kist_err err =
        registry_versions(c->f, c->id.account, c->id.name, BYTES_EMPTY, uses_code, &users);
    if (err == KIST_OK)
        err = registry_get(c->f, c->id.account, c->id.name, BYTES_EMPTY, c->arena, &latest, NULL);
    if (err != KIST_OK) {
        fn_fail_err(c, err);
        return false;
    }
    if (users.used || !uses_code(&users, latest))
        return true;
    return fn_throw_away(c, row->code_key);
}

/* ---- create ---- */

static void reply_made(struct fn_call *c)
{
    struct bytes version = bytes_str(c->made->version);
    fn_reply(c, c->route->status,
             fn_config_json(c, c->made, fn_is_latest(version) ? BYTES_EMPTY : version));
}

static void use_code(struct fn_call *c, Kist__Function *fn)
{
    struct bytes hash = arena_copy(c->arena, bytes_of(c->code.sha256, sizeof(c->code.sha256)));
    fn->code_sha256 = schema_data(hash);
    fn->code_size = c->code.size;
    fn->code_key = c->code.stored;
    fn->modified_ms = c->call->now_ms;
    fn->revision = fn_new_uuid(c);
}

static char *new_code_key(struct fn_call *c, const char *function_id)
{
    return arena_printf(c->arena, "code/%.*s/%s/%s", (int)c->id.account.len,
                        (const char *)c->id.account.ptr, function_id, fn_new_uuid(c));
}

/* The zip is in the store: now the record. */
static void create_commit(struct fn_call *c)
{
    Kist__Function *fn = c->made;
    bool publish = false;
    if (!fn_code_stored(c) || !fn_get_bool(c, c->in, "Publish", &publish))
        return;
    use_code(c, fn);
    if (publish) {
        if (!fn_publish_version(c, fn, 0, NULL, &c->made))
            return;
    } else if (!fn_touch(c, fn, 0)) {
        return;
    }
    fn_commit(c, reply_made);
}

static bool is_new(struct fn_call *c)
{
    Kist__Function *existing = NULL;
    enum kist_err err =
        registry_get(c->f, c->id.account, c->id.name, BYTES_EMPTY, c->arena, &existing, NULL);
    if (err == KIST_E_NOT_FOUND)
        return true;
    fn_fail_err(c, err == KIST_OK ? KIST_E_CONFLICT : err);
    return false;
}

void fn_create(struct fn_call *c)
{
    const char *name = NULL;
    const json_t *code = NULL, *tags = NULL;
    Kist__Function *fn = arena_alloc(c->arena, sizeof(*fn));
    static char latest[] = FN_LATEST;
    if (!fn) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    kist__function__init(fn);
    if (!fn_get_str(c, c->in, "FunctionName", &name))
        return;
    c->args[0] = bytes_str(name ? name : "");
    if (!fn_name_function(c))
        return;
    if (c->id.qualifier.len || !bytes_equal(c->id.account, fn_account(c))) {
        fn_invalid(c, "The function name must be of your own account, and without a qualifier.");
        return;
    }
    if (c->f->config.off) {
        fn_invalid(c, "Functions are switched off here.");
        return;
    }
    if (!fn_allowed(c, c->route->action, fn_arn(c, c->id.name, BYTES_EMPTY), c->id.account,
                    NULL) ||
        !is_new(c) || !fn_config_parse(c, true, fn) || !fn_get_object(c, c->in, "Code", &code) ||
        !fn_code_parse(c, code) || !fn_get_object(c, c->in, "Tags", &tags) ||
        !fn_tags_parse(c, tags, &fn->n_tags, &fn->tags))
        return;
    fn->name = fn_str(c, c->id.name);
    fn->account = fn_str(c, c->id.account);
    fn->version = latest;
    fn->id = fn_new_uuid(c);
    c->made = fn;
    c->code.stored = new_code_key(c, fn->id);
    fn_work(c, fn_code_store, create_commit);
}

/* ---- update ---- */

static void update_code_commit(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    bool publish = false, dry = false;
    if (!fn_code_stored(c) || !fn_load(c, &latest, &changed) ||
        !fn_check_revision(c, latest->revision) || !fn_get_bool(c, c->in, "Publish", &publish) ||
        !fn_get_bool(c, c->in, "DryRun", &dry) || (!dry && !fn_throw_away_code(c, latest)))
        return;
    use_code(c, latest);
    c->made = latest;
    if (dry) {
        reply_made(c); /* the end of the exchange takes the zip away */
        return;
    }
    if (publish) {
        if (!fn_publish_version(c, latest, changed, NULL, &c->made))
            return;
    } else if (!fn_touch(c, latest, changed)) {
        return;
    }
    fn_commit(c, reply_made);
}

static bool of_latest(struct fn_call *c)
{
    if (fn_is_latest(c->id.qualifier))
        return true;
    fn_invalid(c, "Only the $LATEST version can be changed.");
    return false;
}

void fn_update_code(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    if (!of_latest(c) || !fn_load(c, &latest, NULL) || !fn_check_revision(c, latest->revision) ||
        !fn_code_parse(c, c->in))
        return;
    c->code.stored = new_code_key(c, latest->id);
    fn_work(c, fn_code_store, update_code_commit);
}

void fn_update_config(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    if (!of_latest(c) || !fn_load(c, &latest, &changed) ||
        !fn_check_revision(c, latest->revision) || !fn_config_parse(c, false, latest))
        return;
    latest->modified_ms = c->call->now_ms;
    latest->revision = fn_new_uuid(c);
    c->made = latest;
    if (fn_touch(c, latest, changed))
        fn_commit(c, reply_made);
}

/* ---- get ---- */

static json_t *tags_json(const Kist__Function *fn)
{
    json_t *tags = json_object();
    for (size_t i = 0; i < fn->n_tags; i++)
        json_object_set_new(tags, fn->tags[i]->name, json_string(fn->tags[i]->value));
    return tags;
}

/* Where the zip can be had: here, with a signature as for any other request. */
static char *location(struct fn_call *c)
{
    const struct http_request *http = c->call->http;
    struct bytes host = exchange_header(c->x, "host");
    char *text = arena_printf(c->arena, "%s://%.*s/2015-03-31/functions/%.*s/kist-code%s%.*s",
                              http->tls ? "https" : "http", (int)host.len, (const char *)host.ptr,
                              (int)c->id.name.len, (const char *)c->id.name.ptr,
                              c->id.qualifier.len ? "?Qualifier=" : "", (int)c->id.qualifier.len,
                              c->id.qualifier.len ? (const char *)c->id.qualifier.ptr : "");
    return text ? text : fn_str(c, BYTES_EMPTY);
}

void fn_get(struct fn_call *c)
{
    struct function_found found = { 0 };
    if (!fn_load_qualified(c, &found))
        return;
    json_t *out = json_pack("{s:o?, s:{s:s, s:s}}", "Configuration",
                            fn_config_json(c, found.function, c->id.qualifier), "Code",
                            "RepositoryType", "S3", "Location", location(c));
    if (out && found.latest->n_tags)
        json_object_set_new(out, "Tags", tags_json(found.latest));
    if (out && found.latest->reserved)
        json_object_set_new(
            out, "Concurrency",
            json_pack("{s:i}", "ReservedConcurrentExecutions", (int)found.latest->reserved - 1));
    fn_reply(c, 200, out);
}

void fn_get_config(struct fn_call *c)
{
    struct function_found found = { 0 };
    if (fn_load_qualified(c, &found))
        fn_reply(c, 200, fn_config_json(c, found.function, c->id.qualifier));
}

/* ---- list ---- */

struct listing {
    struct fn_call *c;
    struct fn_page page;
    json_t *list;
    const char *name, *last;
    bool all; /* versions too */
    enum kist_err err;
};

static bool list_one(struct listing *l, const Kist__Function *fn)
{
    struct fn_call *c = l->c;
    if (l->page.count == l->page.max) {
        l->page.next = l->last;
        return false;
    }
    l->page.count++;
    l->last = arena_printf(c->arena, l->all ? "%s:%s" : "%s", fn->name, fn->version);
    json_array_append_new(l->list,
                          fn_config_json(c, fn, l->all ? bytes_str(fn->version) : BYTES_EMPTY));
    return true;
}

static bool list_version(void *ctx, const Kist__Function *version)
{
    return list_one(ctx, version);
}

static bool list_function(void *ctx, const Kist__Function *latest)
{
    struct listing *l = ctx;
    if (!list_one(l, latest))
        return false;
    if (l->all)
        l->err = registry_versions(l->c->f, fn_account(l->c), bytes_str(latest->name),
                                   BYTES_EMPTY, list_version, l);
    return l->err == KIST_OK && !l->page.next;
}

void fn_list(struct fn_call *c)
{
    struct listing l = { .c = c, .list = json_array() };
    struct bytes which = fn_param(c, "FunctionVersion"), account = fn_account(c), after;
    l.all = bytes_equal(which, BYTES_LIT("ALL"));
    if (which.len && !l.all) {
        json_decref(l.list);
        fn_invalid(c, "FunctionVersion must be ALL.");
        return;
    }
    if (!fn_page(c, LIST_MAX, &l.page)) {
        json_decref(l.list);
        return;
    }
    size_t colon = strcspn(l.page.after, ":");
    after = bytes_of(l.page.after, colon);
    if (l.all && l.page.after[colon])
        l.err = registry_versions(c->f, account, after, bytes_str(l.page.after + colon + 1),
                                  list_version, &l);
    if (l.err == KIST_OK && !l.page.next)
        l.err = registry_list(c->f, account, after, list_function, &l);
    if (l.err != KIST_OK) {
        json_decref(l.list);
        fn_fail_err(c, l.err);
        return;
    }
    fn_page_reply(c, &l.page, json_pack("{s:o}", "Functions", l.list));
}

/* ---- delete ---- */

struct removal {
    struct fn_call *c;
    Kist__Function *latest;
    const char *version; /* that goes; NULL: all do */
    const char *used_by; /* an alias */
    bool ok;
};

static bool remove_version(void *ctx, const Kist__Function *version)
{
    struct removal *r = ctx;
    struct fn_call *c = r->c;
    bool known = strcmp(version->code_key, r->latest->code_key) == 0;
    for (size_t i = 0; i < c->trash_count && !known; i++)
        known = strcmp(c->trash[i], version->code_key) == 0;
    r->ok = (known || fn_throw_away(c, version->code_key)) &&
            fn_change(c, RECORD_FUNCTION_VERSION, c->id.account,
                      registry_version_row(c->arena, c->id.name, bytes_str(version->version)),
                      FN_CHANGED_ANY, NULL);
    return r->ok;
}

static bool remove_url(struct removal *r, struct bytes qualifier)
{
    Kist__FunctionUrl *url = NULL;
    char id[33];
    registry_url_id(r->latest, qualifier, id);
    if (registry_url(r->c->f, bytes_str(id), r->c->arena, &url, NULL) != KIST_OK)
        return true;
    return fn_change(r->c, RECORD_FUNCTION_URL, BYTES_EMPTY, url->id, FN_CHANGED_ANY, NULL);
}

static bool remove_alias(void *ctx, const Kist__FunctionAlias *alias, uint64_t changed)
{
    struct removal *r = ctx;
    struct fn_call *c = r->c;
    r->ok = fn_change(c, RECORD_FUNCTION_ALIAS, c->id.account,
                      registry_alias_row(c->arena, c->id.name, bytes_str(alias->name)), changed,
                      NULL) &&
            remove_url(r, bytes_str(alias->name));
    return r->ok;
}

static bool find_user(void *ctx, const Kist__FunctionAlias *alias, uint64_t changed)
{
    struct removal *r = ctx;
    (void)changed;
    if (strcmp(alias->version, r->version) == 0 || strcmp(alias->other_version, r->version) == 0)
        r->used_by = fn_str(r->c, bytes_str(alias->name));
    return !r->used_by;
}

static void deleted(struct fn_call *c)
{
    if (!c->id.qualifier.len)
        functions_logs_remove(c->f, c->id.account, c->id.name);
    fn_reply_empty(c, 204);
}

static void delete_version(struct fn_call *c, struct removal *r, uint64_t changed)
{
    struct bytes version = c->id.qualifier;
    Kist__Function *row = NULL;
    enum kist_err err = KIST_OK;
    if (fn_is_latest(version) || !registry_is_version(version)) {
        fn_invalid(c, fn_is_latest(version)
                          ? "$LATEST version cannot be deleted without deleting the function."
                          : "Deletion of aliases is not currently supported.");
        return;
    }
    r->version = fn_str(c, version);
    err = registry_get(c->f, c->id.account, c->id.name, version, c->arena, &row, NULL);
    if (err == KIST_OK)
        err = registry_aliases(c->f, c->id.account, c->id.name, BYTES_EMPTY, find_user, r);
    if (err != KIST_OK) {
        fn_fail_err(c, err);
        return;
    }
    if (r->used_by) {
        fn_failf(c, 409, "ResourceConflictException",
                 "An error occurred: version %s is used by the alias %s.", r->version,
                 r->used_by);
        return;
    }
    if (fn_throw_away_code(c, row) &&
        fn_change(c, RECORD_FUNCTION_VERSION, c->id.account,
                  registry_version_row(c->arena, c->id.name, version), FN_CHANGED_ANY, NULL) &&
        fn_touch(c, r->latest, changed))
        fn_commit(c, deleted);
}

void fn_delete(struct fn_call *c)
{
    struct removal r = { .c = c, .ok = true };
    uint64_t changed = 0;
    if (!fn_load(c, &r.latest, &changed))
        return;
    if (c->id.qualifier.len) {
        delete_version(c, &r, changed);
        return;
    }
    enum kist_err err =
        registry_versions(c->f, c->id.account, c->id.name, BYTES_EMPTY, remove_version, &r);
    if (err == KIST_OK && r.ok)
        err = registry_aliases(c->f, c->id.account, c->id.name, BYTES_EMPTY, remove_alias, &r);
    if (err != KIST_OK) {
        fn_fail_err(c, err);
        return;
    }
    if (r.ok && remove_url(&r, BYTES_EMPTY) && fn_throw_away(c, r.latest->code_key) &&
        fn_change(c, RECORD_FUNCTION, c->id.account, r.latest->name, changed, NULL))
        fn_commit(c, deleted);
}
