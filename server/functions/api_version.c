/* PublishVersion, ListVersionsByFunction, and aliases. */
#include "server/functions/control.h"
#include "storage/base/codec.h"

#define LIST_MAX 50
#define ALIAS_MAX 128

/* ---- versions ---- */

/* What belongs to the name stays with $LATEST. */
static void become_version(Kist__Function *fn, char *number)
{
    fn->version = number;
    fn->n_tags = 0;
    fn->versions = 0;
    fn->reserved = 0;
    fn->n_policies = 0;
    fn->n_invokes = 0;
}

bool fn_publish_version(struct fn_call *c, Kist__Function *latest, uint64_t changed,
                        const char *description, Kist__Function **out)
{
    Kist__Function *last = NULL, *fn = arena_alloc(c->arena, sizeof(*fn));
    char *number = arena_printf(c->arena, "%u", latest->versions);
    enum kist_err err = fn && number ? KIST_E_NOT_FOUND : KIST_E_NOMEM;
    if (err == KIST_E_NOT_FOUND && latest->versions)
        err = registry_get(c->f, c->id.account, c->id.name, bytes_str(number), c->arena, &last,
                           NULL);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND) {
        fn_fail_err(c, err);
        return false;
    }
    if (last && last->modified_ms == latest->modified_ms &&
        strcmp(last->code_key, latest->code_key) == 0) {
        *out = last; /* nothing has changed since */
        return true;
    }
    number = arena_printf(c->arena, "%u", ++latest->versions);
    *fn = *latest;
    become_version(fn, number);
    fn->revision = fn_new_uuid(c);
    if (description)
        fn->description = (char *)description;
    *out = fn;
    return number &&
           fn_change(c, RECORD_FUNCTION_VERSION, c->id.account,
                     registry_version_row(c->arena, c->id.name, bytes_str(number)), 0, fn) &&
           fn_touch(c, latest, changed);
}

static void published(struct fn_call *c)
{
    fn_reply(c, 201, fn_config_json(c, c->made, bytes_str(c->made->version)));
}

void fn_publish(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    const char *description = NULL, *sha256 = NULL;
    if (!fn_load(c, &latest, &changed) || !fn_check_revision(c, latest->revision) ||
        !fn_get_str(c, c->in, "Description", &description) ||
        !fn_get_str(c, c->in, "CodeSha256", &sha256))
        return;
    const char *current = fn_base64(c, schema_bytes(latest->code_sha256));
    if (sha256 && *sha256 && strcmp(sha256, current) != 0) {
        fn_invalid(c,
                   "CodeSHA256 (%.64s) is different from current CodeSHA256 in $LATEST (%s). "
                   "Please try again with the CodeSHA256 in $LATEST.",
                   sha256, current);
        return;
    }
    if (description && strlen(description) > FN_DESCRIPTION_MAX) {
        fn_invalid(c, "A description has at most %d characters.", FN_DESCRIPTION_MAX);
        return;
    }
    if (fn_publish_version(c, latest, changed, description, &c->made))
        fn_commit(c, published);
}

struct listing {
    struct fn_call *c;
    struct fn_page page;
    json_t *list;
    const char *last, *of_version;
};

static bool list_version(void *ctx, const Kist__Function *fn)
{
    struct listing *l = ctx;
    if (l->page.count == l->page.max) {
        l->page.next = l->last;
        return false;
    }
    l->page.count++;
    l->last = fn_str(l->c, bytes_str(fn->version));
    json_array_append_new(l->list, fn_config_json(l->c, fn, bytes_str(fn->version)));
    return true;
}

void fn_list_versions(struct fn_call *c)
{
    struct listing l = { .c = c };
    Kist__Function *latest = NULL;
    enum kist_err err = KIST_OK;
    if (!fn_page(c, LIST_MAX, &l.page) || !fn_load(c, &latest, NULL))
        return;
    l.list = json_array();
    if (!l.page.after[0])
        list_version(&l, latest);
    struct bytes after = bytes_str(l.page.after);
    err = registry_versions(c->f, c->id.account, c->id.name,
                            fn_is_latest(after) ? BYTES_EMPTY : after, list_version, &l);
    if (err != KIST_OK) {
        json_decref(l.list);
        fn_fail_err(c, err);
        return;
    }
    fn_page_reply(c, &l.page, json_pack("{s:o}", "Versions", l.list));
}

/* ---- aliases ---- */

static json_t *alias_json(struct fn_call *c, const Kist__FunctionAlias *alias)
{
    json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:s}", "AliasArn",
                            fn_arn(c, c->id.name, bytes_str(alias->name)), "Name", alias->name,
                            "FunctionVersion", alias->version, "Description", alias->description,
                            "RevisionId", alias->revision);
    if (out && alias->other_version[0])
        json_object_set_new(out, "RoutingConfig",
                            json_pack("{s:{s:f}}", "AdditionalVersionWeights",
                                      alias->other_version, alias->other_weight));
    return out;
}

static bool version_exists(struct fn_call *c, const char *version)
{
    Kist__Function *row = NULL;
    struct bytes text = bytes_str(version);
    enum kist_err err = !registry_is_version(text) ? KIST_E_NOT_FOUND
                                                   : registry_get(c->f, c->id.account, c->id.name,
                                                                  text, c->arena, &row, NULL);
    if (err == KIST_E_NOT_FOUND)
        fn_failf(c, 404, "ResourceNotFoundException", "Function not found: %s",
                 fn_arn(c, c->id.name, text));
    else if (err != KIST_OK)
        fn_fail_err(c, err);
    return err == KIST_OK;
}

static bool parse_routing(struct fn_call *c, Kist__FunctionAlias *alias)
{
    const json_t *routing = NULL, *weights = NULL;
    const char *version;
    json_t *weight;
    if (!fn_get_object(c, c->in, "RoutingConfig", &routing) ||
        !fn_get_object(c, routing, "AdditionalVersionWeights", &weights))
        return false;
    if (!routing)
        return true;
    alias->other_version = (char *)"";
    alias->other_weight = 0;
    if (json_object_size(weights) > 1) {
        fn_invalid(c, "Number of items in AdditionalVersionWeights cannot be greater than 1");
        return false;
    }
    json_object_foreach((json_t *)weights, version, weight)
    {
        alias->other_version = (char *)version;
        alias->other_weight = json_number_value(weight);
        if (!json_is_number(weight) || alias->other_weight < 0 || alias->other_weight > 1) {
            fn_invalid(c, "Value at 'routingConfig' must be between 0.0 and 1.0.");
            return false;
        }
    }
    if (!alias->other_version[0])
        return true;
    if (!version_exists(c, alias->other_version))
        return false;
    if (strcmp(alias->other_version, FN_LATEST) == 0 || strcmp(alias->version, FN_LATEST) == 0 ||
        strcmp(alias->other_version, alias->version) == 0) {
        fn_invalid(c,
                   "Invalid function version %s. Function version included in routing "
                   "configuration should be published, and not the alias's own.",
                   alias->other_version);
        return false;
    }
    return true;
}

static bool parse_alias(struct fn_call *c, Kist__FunctionAlias *alias)
{
    const char *version = NULL, *description = NULL;
    if (!fn_get_str(c, c->in, "FunctionVersion", &version) ||
        !fn_get_str(c, c->in, "Description", &description))
        return false;
    if (description && strlen(description) > FN_DESCRIPTION_MAX) {
        fn_invalid(c, "A description has at most %d characters.", FN_DESCRIPTION_MAX);
        return false;
    }
    if (version)
        alias->version = (char *)version;
    if (description)
        alias->description = (char *)description;
    alias->revision = fn_new_uuid(c);
    return version_exists(c, alias->version) && parse_routing(c, alias);
}

static void alias_done(struct fn_call *c)
{
    fn_reply(c, c->route->status, alias_json(c, c->more));
}

static bool commit_alias(struct fn_call *c, Kist__FunctionAlias *alias, uint64_t expected)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    c->more = alias;
    if (!fn_load(c, &latest, &changed) ||
        !fn_change(c, RECORD_FUNCTION_ALIAS, c->id.account,
                   registry_alias_row(c->arena, c->id.name, bytes_str(alias->name)), expected,
                   alias) ||
        !fn_touch(c, latest, changed))
        return false;
    fn_commit(c, alias_done);
    return true;
}

void fn_create_alias(struct fn_call *c)
{
    Kist__FunctionAlias *old = NULL, *alias = arena_alloc(c->arena, sizeof(*alias));
    Kist__Function *latest = NULL;
    const char *name = NULL;
    if (!alias) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    kist__function_alias__init(alias);
    if (!fn_load(c, &latest, NULL) || !fn_get_str(c, c->in, "Name", &name))
        return;
    struct bytes text = bytes_str(name ? name : "");
    if (!fn_name_valid(text, ALIAS_MAX) || registry_is_version(text)) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.128s' at 'name' failed to satisfy "
                 "constraint: Member must satisfy regular expression pattern: "
                 "(?!^[0-9]+$)([a-zA-Z0-9-_]+)",
                 name ? name : "");
        return;
    }
    alias->name = (char *)name;
    enum kist_err err =
        registry_alias(c->f, c->id.account, c->id.name, text, c->arena, &old, NULL);
    if (err == KIST_OK)
        fn_failf(c, 409, "ResourceConflictException", "Alias already exists: %s",
                 fn_arn(c, c->id.name, text));
    else if (err != KIST_E_NOT_FOUND)
        fn_fail_err(c, err);
    else if (parse_alias(c, alias))
        commit_alias(c, alias, 0);
}

/* The one that the path names; false after an error reply. */
static bool load_alias(struct fn_call *c, Kist__FunctionAlias **alias, uint64_t *changed)
{
    enum kist_err err =
        registry_alias(c->f, c->id.account, c->id.name, c->args[1], c->arena, alias, changed);
    if (err == KIST_E_NOT_FOUND)
        fn_failf(c, 404, "ResourceNotFoundException", "Cannot find alias arn: %s",
                 fn_arn(c, c->id.name, c->args[1]));
    else if (err != KIST_OK)
        fn_fail_err(c, err);
    return err == KIST_OK;
}

void fn_get_alias(struct fn_call *c)
{
    Kist__FunctionAlias *alias = NULL;
    uint64_t changed = 0;
    if (load_alias(c, &alias, &changed))
        fn_reply(c, 200, alias_json(c, alias));
}

void fn_update_alias(struct fn_call *c)
{
    Kist__FunctionAlias *alias = NULL;
    uint64_t changed = 0;
    if (load_alias(c, &alias, &changed) && fn_check_revision(c, alias->revision) &&
        parse_alias(c, alias))
        commit_alias(c, alias, changed);
}

static void alias_gone(struct fn_call *c)
{
    fn_reply_empty(c, 204);
}

void fn_delete_alias(struct fn_call *c)
{
    Kist__FunctionAlias *alias = NULL;
    Kist__FunctionUrl *url = NULL;
    Kist__Function *latest = NULL;
    uint64_t changed = 0, alias_changed = 0;
    char id[33];
    if (!fn_load(c, &latest, &changed))
        return;
    enum kist_err err = registry_alias(c->f, c->id.account, c->id.name, c->args[1], c->arena,
                                       &alias, &alias_changed);
    if (err == KIST_E_NOT_FOUND) { /* as Lambda: it is not there, as was wished */
        alias_gone(c);
        return;
    }
    registry_url_id(latest, c->args[1], id);
    if (err != KIST_OK)
        fn_fail_err(c, err);
    else if ((registry_url(c->f, bytes_str(id), c->arena, &url, NULL) != KIST_OK ||
              fn_change(c, RECORD_FUNCTION_URL, BYTES_EMPTY, url->id, FN_CHANGED_ANY, NULL)) &&
             fn_change(c, RECORD_FUNCTION_ALIAS, c->id.account,
                       registry_alias_row(c->arena, c->id.name, c->args[1]), alias_changed,
                       NULL) &&
             fn_touch(c, latest, changed))
        fn_commit(c, alias_gone);
}

static bool list_alias(void *ctx, const Kist__FunctionAlias *alias, uint64_t changed)
{
    struct listing *l = ctx;
    (void)changed;
    if (l->of_version && strcmp(alias->version, l->of_version) != 0)
        return true;
    if (l->page.count == l->page.max) {
        l->page.next = l->last;
        return false;
    }
    l->page.count++;
    l->last = fn_str(l->c, bytes_str(alias->name));
    json_array_append_new(l->list, alias_json(l->c, alias));
    return true;
}

void fn_list_aliases(struct fn_call *c)
{
    struct listing l = { .c = c };
    Kist__Function *latest = NULL;
    struct bytes version = fn_param(c, "FunctionVersion");
    if (!fn_page(c, LIST_MAX, &l.page) || !fn_load(c, &latest, NULL))
        return;
    l.list = json_array();
    l.of_version = version.len ? fn_str(c, version) : NULL;
    enum kist_err err = registry_aliases(c->f, c->id.account, c->id.name, bytes_str(l.page.after),
                                         list_alias, &l);
    if (err != KIST_OK) {
        json_decref(l.list);
        fn_fail_err(c, err);
        return;
    }
    fn_page_reply(c, &l.page, json_pack("{s:o}", "Aliases", l.list));
}
