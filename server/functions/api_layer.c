/* Layers: zips that functions share, below /opt. A version never changes, and its number is never
 * given again.
 * https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html */
#include <stdio.h>

#include "server/functions/control.h"
#include "storage/base/codec.h"

#define LAYER_NAME_MAX 140
#define LICENSE_MAX 512
#define RUNTIMES_MAX 15
#define LIST_MAX 50

/* ---- names ---- */

static char *layer_arn(struct fn_call *c, struct bytes name, const char *version)
{
    char *arn = arena_printf(c->arena, "arn:aws:lambda:%s:%.*s:layer:%.*s%s%s",
                             c->f->config.region, ACCOUNT_ID_LEN, (const char *)c->id.account.ptr,
                             (int)name.len, (const char *)name.ptr, *version ? ":" : "", version);
    return arn ? arn : fn_str(c, BYTES_EMPTY);
}

/* NAME, or arn:aws:lambda:REGION:ACCOUNT:layer:NAME. */
static bool parse_layer(struct fn_call *c)
{
    struct bytes text = c->args[0];
    c->id.account = fn_account(c);
    if (bytes_starts_with(text, BYTES_LIT("arn:"))) {
        size_t mark = bytes_find(text, BYTES_LIT(":layer:"), 0);
        if (mark != SIZE_MAX && mark >= ACCOUNT_ID_LEN) {
            c->id.account = bytes_of(text.ptr + mark - ACCOUNT_ID_LEN, ACCOUNT_ID_LEN);
            text = bytes_of(text.ptr + mark + 7, text.len - mark - 7);
        }
    }
    if (!fn_name_valid(text, LAYER_NAME_MAX)) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.*s' at 'layerName' failed to satisfy "
                 "constraint: Member must satisfy regular expression pattern: "
                 "(arn:[a-zA-Z0-9-]+:lambda:[a-zA-Z0-9-]+:\\d{12}:layer:[a-zA-Z0-9-_]+)|"
                 "[a-zA-Z0-9-_]+",
                 (int)(text.len < 140 ? text.len : 140), (const char *)text.ptr);
        return false;
    }
    c->args[0] = bytes_str(fn_str(c, text));
    return true;
}

static bool parse_number(struct fn_call *c, struct bytes text, uint64_t *out)
{
    if (bytes_to_u64(text, UINT32_MAX, out) == KIST_OK && *out > 0)
        return true;
    fn_invalid(c, "Layer Version Cannot be less than 1.");
    return false;
}

static Kist__FunctionLayer *read_layer(struct fn_call *c, const char *row, uint64_t *changed,
                                       enum kist_err *err)
{
    Kist__FunctionLayer *layer = NULL;
    *err = row ? registry_read(c->f, RECORD_LAYER_VERSION, c->id.account, bytes_str(row),
                               &kist__function_layer__descriptor, c->arena, &layer, changed)
               : KIST_E_NOMEM;
    return layer;
}

/* ---- JSON ---- */

static json_t *strings(size_t n, char *const *list)
{
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_string(list[i]));
    return out;
}

static json_t *layer_json(struct fn_call *c, const Kist__FunctionLayer *layer)
{
    char *number = arena_printf(c->arena, "%u", layer->version);
    json_t *out = json_pack("{s:s, s:i, s:s, s:s, s:o}", "LayerVersionArn",
                            layer_arn(c, bytes_str(layer->name), number ? number : ""), "Version",
                            (int)layer->version, "Description", layer->description, "CreatedDate",
                            fn_time(c, layer->created_ms), "CompatibleRuntimes",
                            strings(layer->n_runtimes, layer->runtimes));
    if (out && layer->n_architectures)
        json_object_set_new(out, "CompatibleArchitectures",
                            strings(layer->n_architectures, layer->architectures));
    if (out && layer->license[0])
        json_object_set_new(out, "LicenseInfo", json_string(layer->license));
    return out;
}

static json_t *whole_json(struct fn_call *c, const Kist__FunctionLayer *layer)
{
    const struct http_request *http = c->call->http;
    struct bytes host = exchange_header(c->x, "host");
    char *location =
        arena_printf(c->arena, "%s://%.*s/2018-10-31/layers/%s/versions/%u/kist-code",
                     http->tls ? "https" : "http", (int)host.len, (const char *)host.ptr,
                     layer->name, layer->version);
    json_t *out = layer_json(c, layer);
    if (!out)
        return NULL;
    json_object_set_new(out, "LayerArn", json_string(layer_arn(c, bytes_str(layer->name), "")));
    json_object_set_new(out, "Content",
                        json_pack("{s:s, s:s, s:I}", "Location", location ? location : "",
                                  "CodeSha256", fn_base64(c, schema_bytes(layer->code_sha256)),
                                  "CodeSize", (json_int_t)layer->code_size));
    return out;
}

/* ---- publish ---- */

static void published(struct fn_call *c)
{
    fn_reply(c, 201, whole_json(c, c->layer));
}

/* The row without a number has the last one. */
static void publish_commit(struct fn_call *c)
{
    Kist__FunctionLayer *layer = c->layer, *last, counter = KIST__FUNCTION_LAYER__INIT;
    enum kist_err err;
    uint64_t changed = 0;
    char number[16];
    if (!fn_code_stored(c))
        return;
    last = read_layer(c, layer->name, &changed, &err);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND) {
        fn_fail_err(c, err);
        return;
    }
    layer->version = counter.version = last ? last->version + 1 : 1;
    counter.name = layer->name;
    layer->created_ms = c->call->now_ms;
    layer->code_size = c->code.size;
    layer->code_key = c->code.stored;
    struct bytes hash = arena_copy(c->arena, bytes_of(c->code.sha256, sizeof(c->code.sha256)));
    layer->code_sha256 = schema_data(hash);
    snprintf(number, sizeof(number), "%u", layer->version);
    if (fn_change(c, RECORD_LAYER_VERSION, c->id.account,
                  registry_version_row(c->arena, bytes_str(layer->name), bytes_str(number)), 0,
                  layer) &&
        fn_change(c, RECORD_LAYER_VERSION, c->id.account, layer->name, changed, &counter))
        fn_commit(c, published);
}

static bool parse_list(struct fn_call *c, const char *name, size_t most, size_t *n, char ***out)
{
    const json_t *list = json_object_get(c->in, name);
    size_t count = json_array_size(list);
    char **texts = arena_zalloc(c->arena, (count + 1) * sizeof(char *));
    bool ok = texts && count <= most && (!list || json_is_null(list) || json_is_array(list));
    for (size_t i = 0; i < count && ok; i++) {
        const json_t *item = json_array_get(list, i);
        ok = json_is_string(item) && json_string_length(item) <= 64;
        texts[i] = (char *)json_string_value(item);
    }
    if (!ok) {
        fn_invalid(c, "%s is a list of at most %zu names.", name, most);
        return false;
    }
    *n = count;
    *out = texts;
    return true;
}

void fn_publish_layer(struct fn_call *c)
{
    const char *description = "", *license = "";
    const json_t *content = NULL;
    Kist__FunctionLayer *layer = arena_alloc(c->arena, sizeof(*layer));
    if (!layer) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    kist__function_layer__init(layer);
    if (!parse_layer(c) ||
        !fn_allowed(c, c->route->action, layer_arn(c, c->args[0], ""), c->id.account, NULL))
        return;
    if (!bytes_equal(c->id.account, fn_account(c))) {
        fn_invalid(c, "A layer is published in one's own account.");
        return;
    }
    if (!fn_get_str(c, c->in, "Description", &description) ||
        !fn_get_str(c, c->in, "LicenseInfo", &license) ||
        !parse_list(c, "CompatibleRuntimes", RUNTIMES_MAX, &layer->n_runtimes,
                    &layer->runtimes) ||
        !parse_list(c, "CompatibleArchitectures", 2, &layer->n_architectures,
                    &layer->architectures) ||
        !fn_get_object(c, c->in, "Content", &content) || !fn_code_parse(c, content))
        return;
    if (strlen(description) > FN_DESCRIPTION_MAX || strlen(license) > LICENSE_MAX) {
        fn_invalid(c, "A description has at most %d characters, a license %d.",
                   FN_DESCRIPTION_MAX, LICENSE_MAX);
        return;
    }
    layer->name = fn_str(c, c->args[0]);
    layer->description = (char *)description;
    layer->license = (char *)license;
    c->layer = layer;
    c->code.stored = arena_printf(c->arena, "layers/%.*s/%s/%s", (int)c->id.account.len,
                                  (const char *)c->id.account.ptr, layer->name, fn_new_uuid(c));
    fn_work(c, fn_code_store, publish_commit);
}

/* ---- get, delete ---- */

static Kist__FunctionLayer *find_version(struct fn_call *c, uint64_t *changed)
{
    enum kist_err err;
    uint64_t number = 0;
    if (!parse_layer(c) || !parse_number(c, c->args[1], &number))
        return NULL;
    const char *arn = layer_arn(c, c->args[0], fn_str(c, c->args[1]));
    if (!fn_allowed(c, c->route->action, arn, c->id.account, NULL))
        return NULL;
    Kist__FunctionLayer *layer =
        read_layer(c, registry_version_row(c->arena, c->args[0], c->args[1]), changed, &err);
    if (err == KIST_E_NOT_FOUND)
        fn_fail(c, 404, "ResourceNotFoundException",
                "The resource you requested does not exist.");
    else if (err != KIST_OK)
        fn_fail_err(c, err);
    return layer;
}

void fn_get_layer(struct fn_call *c)
{
    uint64_t changed = 0;
    const Kist__FunctionLayer *layer = find_version(c, &changed);
    if (layer)
        fn_reply(c, 200, whole_json(c, layer));
}

void fn_download_layer(struct fn_call *c)
{
    uint64_t changed = 0;
    const Kist__FunctionLayer *layer = find_version(c, &changed);
    if (layer)
        fn_send_zip(c, layer->code_key);
}

static void gone(struct fn_call *c)
{
    fn_reply_empty(c, 204);
}

/* Functions that have it keep its name, and cannot be made with it again: as in Lambda they go on
 * as they are for as long as their code is unpacked. */
void fn_delete_layer(struct fn_call *c)
{
    uint64_t changed = 0;
    uint64_t number = 0;
    enum kist_err err;
    if (!parse_layer(c) || !parse_number(c, c->args[1], &number) ||
        !fn_allowed(c, c->route->action, layer_arn(c, c->args[0], fn_str(c, c->args[1])),
                    c->id.account, NULL))
        return;
    char *row = registry_version_row(c->arena, c->args[0], c->args[1]);
    const Kist__FunctionLayer *layer = read_layer(c, row, &changed, &err);
    if (err == KIST_E_NOT_FOUND)
        gone(c);
    else if (err != KIST_OK)
        fn_fail_err(c, err);
    else if (fn_throw_away(c, layer->code_key) &&
             fn_change(c, RECORD_LAYER_VERSION, c->id.account, row, changed, NULL))
        fn_commit(c, gone);
}

/* ---- lists ---- */

struct listing {
    struct fn_call *c;
    struct fn_page page;
    json_t *list;
    const char *last;
    struct bytes runtime, architecture; /* only those for it; empty: all */
    /* ListLayers: the newest version of each. */
    Kist__FunctionLayer *newest;
    struct arena arena;
    enum kist_err err;
};

static bool is_among(struct bytes text, size_t n, char *const *list)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal(bytes_str(list[i]), text))
            return true;
    return text.len == 0;
}

static bool fits(const struct listing *l, const Kist__FunctionLayer *layer)
{
    return is_among(l->runtime, layer->n_runtimes, layer->runtimes) &&
           is_among(l->architecture, layer->n_architectures, layer->architectures);
}

static Kist__FunctionLayer *unpack(struct listing *l, const Kist__Record *record)
{
    Kist__FunctionLayer *layer = NULL;
    l->err = schema_unpack(&kist__function_layer__descriptor, schema_bytes(record->body),
                           &l->arena, &layer);
    return layer;
}

static bool add_version(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct listing *l = ctx;
    arena_clear(&l->arena);
    const Kist__FunctionLayer *layer = unpack(l, record);
    if (!layer || !fits(l, layer))
        return l->err == KIST_OK;
    if (l->page.count == l->page.max) {
        l->page.next = l->last;
        return false;
    }
    l->page.count++;
    l->last = fn_str(l->c, name);
    json_array_append_new(l->list, layer_json(l->c, layer));
    return true;
}

static bool begin_list(struct fn_call *c, struct listing *l)
{
    l->c = c;
    l->runtime = fn_param(c, "CompatibleRuntime");
    l->architecture = fn_param(c, "CompatibleArchitecture");
    if (!fn_page(c, LIST_MAX, &l->page))
        return false;
    l->list = json_array();
    arena_init(&l->arena, 1U << 20);
    return true;
}

static void end_list(struct listing *l, const char *member)
{
    arena_release(&l->arena);
    if (l->err == KIST_OK) {
        fn_page_reply(l->c, &l->page, json_pack("{s:o}", member, l->list));
        return;
    }
    json_decref(l->list);
    fn_fail_err(l->c, l->err);
}

void fn_list_layer_versions(struct fn_call *c)
{
    struct listing l = { .err = KIST_OK };
    if (!parse_layer(c) ||
        !fn_allowed(c, c->route->action, layer_arn(c, c->args[0], ""), c->id.account, NULL) ||
        !begin_list(c, &l))
        return;
    char *prefix = arena_printf(c->arena, "%s/", fn_str(c, c->args[0]));
    enum kist_err err =
        store_list_records(c->f->store, RECORD_LAYER_VERSION, c->id.account, bytes_str(prefix),
                           bytes_str(l.page.after), add_version, &l);
    l.err = l.err == KIST_OK ? err : l.err;
    end_list(&l, "LayerVersions");
}

static bool keep_newest(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct listing *l = ctx;
    Kist__FunctionLayer *layer = unpack(l, record);
    (void)name;
    if (layer && fits(l, layer))
        l->newest = layer;
    return l->err == KIST_OK;
}

/* A row without a number: a layer. Its versions lie behind it. */
static bool add_layer(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct listing *l = ctx;
    struct fn_call *c = l->c;
    (void)record;
    if (memchr(name.ptr, '/', name.len))
        return true;
    l->newest = NULL;
    arena_clear(&l->arena);
    char *prefix = arena_printf(c->arena, "%.*s/", (int)name.len, (const char *)name.ptr);
    enum kist_err err = store_list_records(c->f->store, RECORD_LAYER_VERSION, c->id.account,
                                           bytes_str(prefix), BYTES_EMPTY, keep_newest, l);
    l->err = l->err == KIST_OK ? err : l->err;
    if (l->err != KIST_OK || !l->newest)
        return l->err == KIST_OK;
    if (l->page.count == l->page.max) {
        l->page.next = l->last;
        return false;
    }
    l->page.count++;
    l->last = fn_str(c, name);
    json_array_append_new(l->list, json_pack("{s:s, s:s, s:o}", "LayerName", l->last, "LayerArn",
                                             layer_arn(c, name, ""), "LatestMatchingVersion",
                                             layer_json(c, l->newest)));
    return true;
}

/* GetLayerVersionByArn: ?find=LayerVersion&Arn=... */
static void find_by_arn(struct fn_call *c)
{
    Kist__FunctionLayer *layer = NULL;
    struct bytes arn = fn_param(c, "Arn");
    enum kist_err err = registry_layer(c->f, arn, c->arena, &layer);
    size_t mark = bytes_find(arn, BYTES_LIT(":layer:"), 0);
    c->id.account = mark != SIZE_MAX && mark >= ACCOUNT_ID_LEN
                        ? bytes_of(arn.ptr + mark - ACCOUNT_ID_LEN, ACCOUNT_ID_LEN)
                        : fn_account(c);
    if (!fn_allowed(c, "lambda:GetLayerVersion", fn_str(c, arn), c->id.account, NULL))
        return;
    if (err == KIST_OK)
        fn_reply(c, 200, whole_json(c, layer));
    else if (err == KIST_E_NOT_FOUND)
        fn_fail(c, 404, "ResourceNotFoundException",
                "The resource you requested does not exist.");
    else
        fn_fail_err(c, err);
}

void fn_list_layers(struct fn_call *c)
{
    struct listing l = { .err = KIST_OK };
    c->id.account = fn_account(c);
    if (bytes_equal(fn_param(c, "find"), BYTES_LIT("LayerVersion"))) {
        find_by_arn(c);
        return;
    }
    if (!fn_allowed(c, c->route->action, "*", c->id.account, NULL) || !begin_list(c, &l))
        return;
    enum kist_err err = store_list_records(c->f->store, RECORD_LAYER_VERSION, c->id.account,
                                           BYTES_EMPTY, bytes_str(l.page.after), add_layer, &l);
    l.err = l.err == KIST_OK ? err : l.err;
    end_list(&l, "Layers");
}
