/* Function URLs: what host name stands for which function. The id follows from the function and
 * the qualifier, so that there is one for each, and it comes back with them.
 * https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html */
#include <stdlib.h>

#include "server/functions/control.h"
#include "storage/base/codec.h"

#define CORS_ITEMS_MAX 100
#define CORS_AGE_MAX 86400

static char *url_text(struct fn_call *c, const Kist__FunctionUrl *url)
{
    const struct functions_config *config = &c->f->config;
    struct bytes host = exchange_header(c->x, "host");
    size_t colon = bytes_find(host, BYTES_LIT(":"), 0);
    struct bytes port =
        colon == SIZE_MAX ? BYTES_EMPTY : bytes_of(host.ptr + colon, host.len - colon);
    const char *domain = config->domain && *config->domain ? config->domain : "localhost";
    char *text = arena_printf(c->arena, "%s://%s.lambda-url.%s.%s%.*s/",
                              c->call->http->tls ? "https" : "http", url->id, config->region,
                              domain, (int)port.len, port.len ? (const char *)port.ptr : "");
    return text ? text : fn_str(c, BYTES_EMPTY);
}

static json_t *url_json(struct fn_call *c, const Kist__FunctionUrl *url)
{
    json_error_t error;
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "FunctionUrl", url_text(c, url),
                  "FunctionArn", fn_arn(c, bytes_str(url->function), bytes_str(url->qualifier)),
                  "AuthType", url->iam ? "AWS_IAM" : "NONE", "CreationTime",
                  fn_time(c, url->created_ms), "LastModifiedTime", fn_time(c, url->modified_ms),
                  "InvokeMode", url->streams ? "RESPONSE_STREAM" : "BUFFERED");
    json_t *cors =
        url->cors.len ? json_loadb((const char *)url->cors.data, url->cors.len, 0, &error) : NULL;
    if (out && cors)
        json_object_set(out, "Cors", cors);
    json_decref(cors);
    return out;
}

/* ---- what a request says ---- */

static bool word_is(struct fn_call *c, const char *name, const char *yes, const char *no,
                    bool required, bool *out)
{
    const char *value = NULL;
    if (!fn_get_str(c, c->in, name, &value))
        return false;
    if ((!value && required) || (value && strcmp(value, yes) != 0 && strcmp(value, no) != 0)) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.64s' at '%s' failed to satisfy "
                 "constraint: Member must satisfy enum value set: [%s, %s]",
                 value ? value : "null", name, no, yes);
        return false;
    }
    if (value)
        *out = strcmp(value, yes) == 0;
    return true;
}

static bool parse_cors(struct fn_call *c, Kist__FunctionUrl *url)
{
    static const char *const lists[] = { "AllowHeaders", "AllowMethods", "AllowOrigins",
                                         "ExposeHeaders" };
    const json_t *cors = NULL;
    bool credentials = false;
    int64_t age = 0;
    if (!fn_get_object(c, c->in, "Cors", &cors) ||
        !fn_get_bool(c, cors, "AllowCredentials", &credentials) ||
        !fn_get_int(c, cors, "MaxAge", 0, CORS_AGE_MAX, &age))
        return false;
    if (!cors)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const json_t *list = json_object_get(cors, lists[i]);
        bool ok = !list || json_is_null(list) ||
                  (json_is_array(list) && json_array_size(list) <= CORS_ITEMS_MAX);
        for (size_t k = 0; ok && k < json_array_size(list); k++)
            ok = json_is_string(json_array_get(list, k));
        if (!ok) {
            fn_invalid(c, "Cors: %s is no list of strings.", lists[i]);
            return false;
        }
    }
    char *text = json_object_size(cors) ? json_dumps(cors, JSON_COMPACT) : NULL;
    struct bytes kept = arena_copy(c->arena, bytes_str(text ? text : ""));
    free(text);
    url->cors = schema_data(kept);
    return true;
}

static bool parse_url(struct fn_call *c, Kist__FunctionUrl *url, bool create)
{
    bool iam = url->iam, streams = url->streams;
    if (!word_is(c, "AuthType", "AWS_IAM", "NONE", create, &iam) ||
        !word_is(c, "InvokeMode", "RESPONSE_STREAM", "BUFFERED", false, &streams))
        return false;
    url->iam = iam;
    url->streams = streams;
    return parse_cors(c, url);
}

static void url_done(struct fn_call *c)
{
    fn_reply(c, c->route->status, url_json(c, c->more));
}

static void url_gone(struct fn_call *c)
{
    fn_reply_empty(c, 204);
}

/* URLs are for $LATEST (without saying so) and for aliases. */
static bool qualifier_fits(struct fn_call *c)
{
    if (!c->id.qualifier.len || !registry_is_version(c->id.qualifier))
        return true;
    fn_failf(c, 400, "ValidationException",
             "1 validation error detected: Value '%.*s' at 'qualifier' failed to satisfy "
             "constraint: Member must satisfy regular expression pattern: "
             "((?!^\\d+$)^[0-9a-zA-Z-_]+$)",
             (int)c->id.qualifier.len, (const char *)c->id.qualifier.ptr);
    return false;
}

/* The call's URL; *url NULL: it has none. False after an error reply. */
static bool find_url(struct fn_call *c, Kist__Function **latest, uint64_t *changed,
                     Kist__FunctionUrl **url)
{
    struct function_found found = { 0 };
    char id[33];
    if (!qualifier_fits(c) || !fn_load_qualified(c, &found) || !fn_load(c, latest, changed))
        return false;
    registry_url_id(*latest, c->id.qualifier, id);
    enum kist_err err = registry_url(c->f, bytes_str(id), c->arena, url, NULL);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        fn_fail_err(c, err);
    return err == KIST_OK || err == KIST_E_NOT_FOUND;
}

/* Where there must be one; NULL after an error reply. */
static Kist__FunctionUrl *load_url(struct fn_call *c, Kist__Function **latest, uint64_t *changed)
{
    Kist__FunctionUrl *url = NULL;
    if (find_url(c, latest, changed, &url) && !url)
        fn_fail(c, 404, "ResourceNotFoundException",
                "The resource you requested does not exist.");
    return url;
}

static void commit_url(struct fn_call *c, Kist__Function *latest, uint64_t changed,
                       Kist__FunctionUrl *url, const Kist__FunctionUrl *after,
                       void (*then)(struct fn_call *c))
{
    if (fn_change(c, RECORD_FUNCTION_URL, BYTES_EMPTY, url->id, FN_CHANGED_ANY, after) &&
        fn_touch(c, latest, changed))
        fn_commit(c, then);
}

void fn_create_url(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    Kist__FunctionUrl *old = NULL, *url = arena_alloc(c->arena, sizeof(*url));
    char id[33];
    uint64_t changed = 0;
    if (!url) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    kist__function_url__init(url);
    if (!find_url(c, &latest, &changed, &old) || !parse_url(c, url, true))
        return;
    if (old) {
        fn_failf(c, 409, "ResourceConflictException",
                 "Failed to create function url config for [functionArn = %s]. Error message:  "
                 "FunctionUrlConfig exists for this Lambda function",
                 fn_arn(c, c->id.name, c->id.qualifier));
        return;
    }
    registry_url_id(latest, c->id.qualifier, id);
    url->id = fn_str(c, bytes_str(id));
    url->account = fn_str(c, c->id.account);
    url->function = latest->name;
    url->qualifier = fn_str(c, c->id.qualifier);
    url->created_ms = url->modified_ms = c->call->now_ms;
    c->more = url;
    commit_url(c, latest, changed, url, url, url_done);
}

void fn_get_url(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    Kist__FunctionUrl *url = load_url(c, &latest, &changed);
    if (url)
        fn_reply(c, 200, url_json(c, url));
}

void fn_update_url(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    Kist__FunctionUrl *url = load_url(c, &latest, &changed);
    if (!url || !parse_url(c, url, false))
        return;
    url->modified_ms = c->call->now_ms;
    c->more = url;
    commit_url(c, latest, changed, url, url, url_done);
}

void fn_delete_url(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t changed = 0;
    Kist__FunctionUrl *url = load_url(c, &latest, &changed);
    if (url)
        commit_url(c, latest, changed, url, NULL, url_gone);
}

/* ---- list ---- */

struct listing {
    struct fn_call *c;
    const Kist__Function *latest;
    json_t *list;
};

static void list_one(struct listing *l, struct bytes qualifier)
{
    Kist__FunctionUrl *url = NULL;
    char id[33];
    registry_url_id(l->latest, qualifier, id);
    if (registry_url(l->c->f, bytes_str(id), l->c->arena, &url, NULL) == KIST_OK)
        json_array_append_new(l->list, url_json(l->c, url));
}

static bool list_alias(void *ctx, const Kist__FunctionAlias *alias, uint64_t changed)
{
    (void)changed;
    list_one(ctx, bytes_str(alias->name));
    return true;
}

void fn_list_urls(struct fn_call *c)
{
    struct listing l = { .c = c };
    Kist__Function *latest = NULL;
    if (!fn_load(c, &latest, NULL))
        return;
    l.latest = latest;
    l.list = json_array();
    list_one(&l, BYTES_EMPTY);
    enum kist_err err =
        registry_aliases(c->f, c->id.account, c->id.name, BYTES_EMPTY, list_alias, &l);
    if (err == KIST_OK) {
        fn_reply(c, 200, json_pack("{s:o}", "FunctionUrlConfigs", l.list));
        return;
    }
    json_decref(l.list);
    fn_fail_err(c, err);
}
