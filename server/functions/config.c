/* A function's configuration: from the body of a request into the record, and from the record to
 * FunctionConfiguration. Limits are Lambda's.
 * https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
 * https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html */
#include <stdio.h>

#include "server/functions/control.h"
#include "storage/base/codec.h"

#if defined(__aarch64__)
#define ARCHITECTURE "arm64"
#else
#define ARCHITECTURE "x86_64"
#endif

#define HANDLER_MAX 128
#define MEMORY_MIN 128
#define MEMORY_MAX 10240
#define TIMEOUT_MAX 900
#define TMP_MB_MIN 512
#define TMP_MB_MAX 10240

/* ---- small parts ---- */

bool fn_name_valid(struct bytes name, size_t max)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t ch = name.ptr[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        if (!letter && !(ch >= '0' && ch <= '9') && ch != '-' && ch != '_')
            return false;
    }
    return name.len > 0 && name.len <= max;
}

char *fn_time(struct fn_call *c, int64_t ms)
{
    char iso[TIME_ISO_LEN];
    time_iso(ms, iso);
    char *text = arena_printf(c->arena, "%.23s+0000", iso);
    return text ? text : fn_str(c, BYTES_EMPTY);
}

char *fn_base64(struct fn_call *c, struct bytes in)
{
    char *text = arena_alloc(c->arena, BASE64_LEN(in.len) + 1);
    if (!text)
        return fn_str(c, BYTES_EMPTY);
    base64_encode(in, text);
    return text;
}

static bool too_long(struct fn_call *c, const char *member, const char *value, size_t max)
{
    fn_failf(c, 400, "ValidationException",
             "1 validation error detected: Value '%.64s...' at '%s' failed to satisfy "
             "constraint: Member must have length less than or equal to %zu",
             value, member, max);
    return false;
}

static bool get_text(struct fn_call *c, const char *name, const char *member, size_t max,
                     char **out)
{
    const char *value = NULL;
    if (!fn_get_str(c, c->in, name, &value))
        return false;
    if (value && strlen(value) > max)
        return too_long(c, member, value, max);
    if (value)
        *out = (char *)value;
    return true;
}

static bool get_number(struct fn_call *c, const json_t *object, const char *name, int64_t min,
                       int64_t max, uint32_t *out)
{
    int64_t value = *out;
    if (!fn_get_int(c, object, name, min, max, &value))
        return false;
    *out = (uint32_t)value;
    return true;
}

/* One of the words "a|b"; absent: stays. */
static bool get_word(struct fn_call *c, const json_t *object, const char *name, const char *words,
                     const char **out)
{
    const char *value = NULL;
    if (!fn_get_str(c, object, name, &value))
        return false;
    for (const char *w = words; value && *w; w += strcspn(w, "|"), w += *w == '|') {
        if (bytes_equal(bytes_of(w, strcspn(w, "|")), bytes_str(value))) {
            *out = value;
            return true;
        }
    }
    if (value)
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.64s' at '%s' failed to satisfy "
                 "constraint: Member must satisfy enum value set: [%s]",
                 value, name, words);
    return !value;
}

static bool pairs_of(struct fn_call *c, const json_t *map, const char *what, size_t *n,
                     Kist__Pair ***out)
{
    size_t count = json_object_size(map), i = 0;
    Kist__Pair *pairs = arena_zalloc(c->arena, (count + 1) * sizeof(*pairs));
    Kist__Pair **list = arena_zalloc(c->arena, (count + 1) * sizeof(Kist__Pair *));
    const char *name;
    json_t *value;
    if (!pairs || !list) {
        fn_fail_err(c, KIST_E_NOMEM);
        return false;
    }
    json_object_foreach((json_t *)map, name, value)
    {
        if (!json_is_string(value)) {
            fn_failf(c, 400, "InvalidRequestContentException",
                     "Could not parse request body into json: Unexpected type in %s", what);
            return false;
        }
        kist__pair__init(&pairs[i]);
        pairs[i].name = (char *)name;
        pairs[i].value = (char *)json_string_value(value);
        list[i] = &pairs[i];
        i++;
    }
    *n = count;
    *out = list;
    return true;
}

bool fn_tags_parse(struct fn_call *c, const json_t *tags, size_t *n, Kist__Pair ***out)
{
    if (!pairs_of(c, tags, "Tags", n, out))
        return false;
    for (size_t i = 0; i < *n; i++) {
        Kist__Pair *p = (*out)[i];
        if (!p->name[0] || strlen(p->name) > 128 * 4 || strlen(p->value) > 256 * 4 ||
            bytes_starts_with(bytes_str(p->name), BYTES_LIT("aws:"))) {
            fn_invalid(c, "The tag %.64s is not valid.", p->name);
            return false;
        }
    }
    if (*n > FN_TAGS_MAX)
        fn_invalid(c, "A function cannot have more than %d tags.", FN_TAGS_MAX);
    return *n <= FN_TAGS_MAX;
}

/* ---- environment ---- */

/* https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html */
static bool is_reserved(const char *name)
{
    static const char *const names[] = {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool variable_valid(const char *name)
{
    struct bytes b = bytes_str(name);
    bool letter = (name[0] >= 'a' && name[0] <= 'z') || (name[0] >= 'A' && name[0] <= 'Z');
    return b.len >= 2 && letter && fn_name_valid(b, FN_ENV_MAX) && !strchr(name, '-');
}

static bool parse_environment(struct fn_call *c, Kist__Function *fn)
{
    const json_t *environment = NULL, *variables = NULL;
    size_t total = 0;
    if (!fn_get_object(c, c->in, "Environment", &environment))
        return false;
    if (!environment)
        return true;
    fn->n_environment = 0;
    if (!fn_get_object(c, environment, "Variables", &variables))
        return false;
    if (!variables)
        return true;
    if (!pairs_of(c, variables, "Variables", &fn->n_environment, &fn->environment))
        return false;
    for (size_t i = 0; i < fn->n_environment; i++) {
        const char *name = fn->environment[i]->name;
        total += strlen(name) + strlen(fn->environment[i]->value);
        if (is_reserved(name)) {
            fn_invalid(c,
                       "Lambda was unable to configure your environment variables because the "
                       "environment variables you have provided contains reserved keys that are "
                       "currently not supported for modification. Reserved keys used in this "
                       "request: %s",
                       name);
            return false;
        }
        if (!variable_valid(name)) {
            fn_failf(c, 400, "ValidationException",
                     "1 validation error detected: Value at 'environment.variables' failed to "
                     "satisfy constraint: Map keys must satisfy constraint: [Member must satisfy "
                     "regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]");
            return false;
        }
    }
    if (total > FN_ENV_MAX)
        fn_invalid(c, "Lambda was unable to configure your environment variables because the "
                      "environment variables you have provided exceeded the 4KB limit.");
    return total <= FN_ENV_MAX;
}

/* ---- layers ---- */

/* All but the version. */
static struct bytes layer_name(const char *arn)
{
    const char *colon = strrchr(arn, ':');
    return bytes_of(arn, colon ? (size_t)(colon - arn) : strlen(arn));
}

static bool add_layer(struct fn_call *c, Kist__Function *fn, const json_t *value)
{
    Kist__FunctionLayer *layer = NULL;
    const char *arn = json_string_value(value);
    enum kist_err err =
        arn ? registry_layer(c->f, bytes_str(arn), c->arena, &layer) : KIST_E_NOT_FOUND;
    if (err == KIST_E_NOT_FOUND) {
        fn_invalid(c, "Layer version %.180s does not exist.", arn ? arn : "");
        return false;
    }
    if (err != KIST_OK) {
        fn_fail_err(c, err);
        return false;
    }
    for (size_t i = 0; i < fn->n_layers; i++)
        if (bytes_equal(layer_name(fn->layers[i]), layer_name(arn))) {
            fn_invalid(c, "Two different versions of the same layer are not allowed to be "
                          "referenced in the same function.");
            return false;
        }
    /* Found: the ARN has its parts, and the account stands before the word. */
    struct bytes owner = bytes_of(strstr(arn, ":layer:") - ACCOUNT_ID_LEN, ACCOUNT_ID_LEN);
    if (!fn_allowed(c, "lambda:GetLayerVersion", arn, owner, NULL))
        return false;
    fn->layers[fn->n_layers++] = (char *)arn;
    return true;
}

static bool parse_layers(struct fn_call *c, Kist__Function *fn)
{
    const json_t *layers = json_object_get(c->in, "Layers");
    if (!layers || json_is_null(layers))
        return true;
    size_t count = json_array_size(layers);
    if (!json_is_array(layers) || count > FN_LAYERS_MAX) {
        fn_invalid(c, "Cannot reference more than %d layers.", FN_LAYERS_MAX);
        return false;
    }
    fn->n_layers = 0;
    fn->layers = arena_zalloc(c->arena, (count + 1) * sizeof(char *));
    if (!fn->layers) {
        fn_fail_err(c, KIST_E_NOMEM);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        if (!add_layer(c, fn, json_array_get(layers, i)))
            return false;
    return true;
}

/* ---- role ---- */

static bool trusts_lambda(struct fn_call *c, const char *document)
{
    struct policy *policy = NULL;
    const char *reason = NULL;
    struct policy_request request = { .principal = { .service =
                                                         BYTES_LIT("lambda.amazonaws.com") },
                                      .action = BYTES_LIT("sts:AssumeRole"),
                                      .context = NULL };
    return policy_parse(bytes_str(document), POLICY_TRUST, BYTES_EMPTY, c->arena, &policy,
                        &reason) == KIST_OK &&
           policy_evaluate(policy, &request) == POLICY_ALLOW;
}

bool fn_role_check(struct fn_call *c, const char *role)
{
    static const struct bytes head = { (const uint8_t *)"arn:aws:iam::", 13 };
    struct bytes arn = bytes_str(role), account = fn_account(c);
    Kist__IamEntity *entity = NULL;
    const char *slash = strrchr(role, '/');
    if (!arn.len)
        return true;
    if (!bytes_starts_with(arn, head) || arn.len < head.len + ACCOUNT_ID_LEN + 7 || !slash ||
        memcmp(role + head.len + ACCOUNT_ID_LEN, ":role/", 6) != 0) {
        fn_failf(c, 400, "ValidationException",
                 "1 validation error detected: Value '%.128s' at 'role' failed to satisfy "
                 "constraint: Member must satisfy regular expression pattern: "
                 "arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+",
                 role);
        return false;
    }
    if (!bytes_equal(bytes_of(role + head.len, ACCOUNT_ID_LEN), account)) {
        fn_fail(c, 403, "AccessDeniedException", "Cross-account pass role is not allowed.");
        return false;
    }
    if (!fn_allowed(c, "iam:PassRole", role, account, NULL))
        return false;
    enum kist_err err = store_iam(c->f->store, c->call->who->tenant, IAM_ROLE,
                                  bytes_str(slash + 1), c->arena, &entity);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND) {
        fn_fail_err(c, err);
        return false;
    }
    char *real = entity ? auth_iam_arn(account, IAM_ROLE, entity, c->arena) : NULL;
    if (!real || strcmp(real, role) != 0 || !trusts_lambda(c, entity->document)) {
        fn_invalid(c, "The role defined for the function cannot be assumed by Lambda.");
        return false;
    }
    return true;
}

static bool parse_role(struct fn_call *c, bool create, Kist__Function *fn)
{
    const char *role = NULL;
    if (!fn_get_str(c, c->in, "Role", &role))
        return false;
    if (create && !role) {
        fn_fail(c, 400, "ValidationException",
                "1 validation error detected: Value null at 'role' failed to satisfy "
                "constraint: Member must not be null");
        return false;
    }
    if (!role)
        return true;
    if (strlen(role) > 512)
        return too_long(c, "role", role, 512);
    fn->role = (char *)role;
    return fn_role_check(c, role);
}

/* ---- runtime, and what is not there ---- */

static bool parse_runtime(struct fn_call *c, bool create, Kist__Function *fn)
{
    const char *why = NULL;
    bool known = false;
    char *before = fn->runtime;
    if (!get_text(c, "Runtime", "runtime", 64, &fn->runtime) ||
        !get_text(c, "Handler", "handler", HANDLER_MAX, &fn->handler))
        return false;
    if (create && (!fn->runtime[0] || !fn->handler[0])) {
        fn_invalid(c, "Runtime and Handler are mandatory parameters for functions created with "
                      "deployment packages.");
        return false;
    }
    if (!create && fn->runtime == before)
        return true;
    if (runtime_check(c->f, fn->runtime, &known, &why))
        return true;
    if (known)
        fn_invalid(c, "The runtime %.64s cannot be used here: %s.", fn->runtime, why);
    else
        fn_invalid(c,
                   "Value %.64s at 'runtime' failed to satisfy constraint: Member must satisfy "
                   "enum value set: [provided, provided.al2, provided.al2023, python3.x, "
                   "nodejsNN.x] or be a valid ARN",
                   fn->runtime);
    return false;
}

static bool parse_architecture(struct fn_call *c, Kist__Function *fn)
{
    static char ours[] = ARCHITECTURE;
    const json_t *list = json_object_get(c->in, "Architectures");
    if (!fn->architecture[0])
        fn->architecture = ours;
    if (!list || json_is_null(list))
        return true;
    const char *first = json_string_value(json_array_get(list, 0));
    if (json_array_size(list) == 1 && first && strcmp(first, ours) == 0)
        return true;
    fn_invalid(c, "Architectures: functions run as [%s] here.", ours);
    return false;
}

/* What Lambda has, and this has not, is refused rather than forgotten. */
static bool refuse_others(struct fn_call *c)
{
    static const char *const objects[] = { "ImageConfig", "FileSystemConfigs", "KMSKeyArn",
                                           "CodeSigningConfigArn" };
    const json_t *vpc = json_object_get(c->in, "VpcConfig");
    const char *type = "Zip", *snap = "None";
    const json_t *snap_start = NULL;
    for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
        const json_t *value = json_object_get(c->in, objects[i]);
        if (json_object_size(value) || json_array_size(value) || json_string_length(value)) {
            fn_invalid(c, "%s is not supported.", objects[i]);
            return false;
        }
    }
    if (json_array_size(json_object_get(vpc, "SubnetIds")) ||
        json_array_size(json_object_get(vpc, "SecurityGroupIds"))) {
        fn_invalid(c, "VpcConfig is not supported.");
        return false;
    }
    if (!get_word(c, c->in, "PackageType", "Zip|Image", &type) ||
        !fn_get_object(c, c->in, "SnapStart", &snap_start) ||
        !get_word(c, snap_start, "ApplyOn", "None|PublishedVersions", &snap))
        return false;
    if (strcmp(type, "Zip") != 0)
        fn_invalid(c, "PackageType Image is not supported: give a zip.");
    else if (strcmp(snap, "None") != 0)
        fn_invalid(c, "SnapStart is not supported.");
    return !c->replied;
}

static bool parse_logging(struct fn_call *c, Kist__Function *fn)
{
    const json_t *logging = NULL;
    const char *format = fn->log_format[0] ? fn->log_format : "Text";
    const char *level = fn->log_level, *system = fn->system_log_level, *group = fn->log_group;
    if (!fn_get_object(c, c->in, "LoggingConfig", &logging) ||
        !get_word(c, logging, "LogFormat", "Text|JSON", &format) ||
        !get_word(c, logging, "ApplicationLogLevel", "TRACE|DEBUG|INFO|WARN|ERROR|FATAL",
                  &level) ||
        !get_word(c, logging, "SystemLogLevel", "DEBUG|INFO|WARN", &system) ||
        !fn_get_str(c, logging, "LogGroup", &group) ||
        !get_number(c, logging, "LogRetentionDays", 0, 3653, &fn->log_days))
        return false;
    if (strlen(group) > 512)
        return too_long(c, "loggingConfig.logGroup", group, 512);
    bool json = strcmp(format, "JSON") == 0;
    if (logging && !json &&
        (json_object_get(logging, "ApplicationLogLevel") ||
         json_object_get(logging, "SystemLogLevel"))) {
        fn_invalid(c, "To set a log level, the LogFormat must be JSON.");
        return false;
    }
    fn->log_format = (char *)format;
    fn->log_level = (char *)(!json ? "" : level[0] ? level : "INFO");
    fn->system_log_level = (char *)(!json ? "" : system[0] ? system : "INFO");
    fn->log_group = (char *)group;
    return true;
}

/* s3://BUCKET/PREFIX: the bucket is the account's, and the caller may write there himself. */
static bool bucket_is_own(struct fn_call *c, struct bytes rest)
{
    size_t slash = bytes_find(rest, BYTES_LIT("/"), 0);
    struct bytes name = bytes_of(rest.ptr, slash == SIZE_MAX ? rest.len : slash);
    Kist__Bucket *bucket = NULL;
    struct auth_owner owner = { 0 };
    if (!name.len || name.ptr[0] == '.' ||
        store_bucket(c->f->store, name, c->arena, &bucket) != KIST_OK)
        return false;
    enum kist_err err = auth_owner_find(c->f->users, bytes_str(bucket->owner), c->arena, &owner);
    char *arn = arena_printf(c->arena, "arn:aws:s3:::%.*s%s*", (int)rest.len,
                             (const char *)rest.ptr, slash == SIZE_MAX ? "/" : "");
    return (err == KIST_OK || err == KIST_E_NOT_FOUND) && arn &&
           bytes_equal(owner.account, fn_account(c)) &&
           c->call->allowed(c->call, "s3:PutObject", bytes_str(arn), owner.account, NULL);
}

/* arn:aws:SERVICE:REGION:ACCOUNT:...: the account's own; a function, if the caller may invoke
 * it. */
static bool target_is_own(struct fn_call *c, struct bytes arn)
{
    struct bytes parts[5];
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t colon = bytes_find(arn, BYTES_LIT(":"), at);
        if (colon == SIZE_MAX)
            return false;
        parts[i] = bytes_of(arn.ptr + at, colon - at);
        at = colon + 1;
    }
    return bytes_equal(parts[0], BYTES_LIT("arn")) && bytes_equal(parts[4], fn_account(c)) &&
           (!bytes_equal(parts[2], BYTES_LIT("lambda")) ||
            c->call->allowed(c->call, "lambda:InvokeFunction", arn, parts[4], NULL));
}

bool fn_destination_check(struct fn_call *c, const char *target)
{
    static const struct bytes s3 = { (const uint8_t *)"s3://", 5 };
    struct bytes text = bytes_str(target);
    if (!text.len)
        return true;
    bool own = bytes_starts_with(text, s3)
                   ? bucket_is_own(c, bytes_of(text.ptr + s3.len, text.len - s3.len))
                   : target_is_own(c, text);
    if (!own)
        fn_invalid(c,
                   "The destination %.128s is not there, or not yours: it must be an ARN or "
                   "s3://BUCKET/PREFIX of this account.",
                   target);
    return own;
}

static bool parse_sizes(struct fn_call *c, Kist__Function *fn)
{
    const json_t *storage = NULL, *tracing = NULL, *dead = NULL;
    const char *mode = fn->tracing ? "Active" : "PassThrough", *target = fn->dead_letter;
    if (!get_number(c, c->in, "MemorySize", MEMORY_MIN, MEMORY_MAX, &fn->memory_mb) ||
        !get_number(c, c->in, "Timeout", 1, TIMEOUT_MAX, &fn->timeout_s) ||
        !fn_get_object(c, c->in, "EphemeralStorage", &storage) ||
        !get_number(c, storage, "Size", TMP_MB_MIN, TMP_MB_MAX, &fn->tmp_mb) ||
        !fn_get_object(c, c->in, "TracingConfig", &tracing) ||
        !get_word(c, tracing, "Mode", "Active|PassThrough", &mode) ||
        !fn_get_object(c, c->in, "DeadLetterConfig", &dead) ||
        !fn_get_str(c, dead, "TargetArn", &target))
        return false;
    if (strlen(target) > 1024)
        return too_long(c, "deadLetterConfig.targetArn", target, 1024);
    if (dead && !fn_destination_check(c, target))
        return false;
    fn->tracing = strcmp(mode, "Active") == 0;
    fn->dead_letter = (char *)target;
    return true;
}

bool fn_config_parse(struct fn_call *c, bool create, Kist__Function *fn)
{
    if (create) {
        fn->memory_mb = 128;
        fn->timeout_s = 3;
        fn->tmp_mb = 512;
    }
    return refuse_others(c) &&
           get_text(c, "Description", "description", FN_DESCRIPTION_MAX, &fn->description) &&
           parse_sizes(c, fn) && parse_environment(c, fn) && parse_architecture(c, fn) &&
           parse_logging(c, fn) && parse_runtime(c, create, fn) && parse_layers(c, fn) &&
           parse_role(c, create, fn);
}

/* ---- to JSON ---- */

static void add_environment(json_t *out, const Kist__Function *fn)
{
    json_t *variables = json_object();
    for (size_t i = 0; i < fn->n_environment; i++)
        json_object_set_new(variables, fn->environment[i]->name,
                            json_string(fn->environment[i]->value));
    json_object_set_new(out, "Environment", json_pack("{s:o}", "Variables", variables));
}

static void add_layers(struct fn_call *c, json_t *out, const Kist__Function *fn)
{
    json_t *layers = json_array();
    for (size_t i = 0; i < fn->n_layers; i++) {
        Kist__FunctionLayer *layer = NULL;
        json_int_t size = 0;
        /* A layer's version may be gone: functions keep it by name. */
        if (registry_layer(c->f, bytes_str(fn->layers[i]), c->arena, &layer) == KIST_OK)
            size = (json_int_t)layer->code_size;
        json_array_append_new(layers,
                              json_pack("{s:s, s:I}", "Arn", fn->layers[i], "CodeSize", size));
    }
    json_object_set_new(out, "Layers", layers);
}

static json_t *logging_json(struct fn_call *c, const Kist__Function *fn)
{
    char *group =
        fn->log_group[0] ? fn->log_group : arena_printf(c->arena, "/aws/lambda/%s", fn->name);
    json_t *out =
        json_pack("{s:s, s:s}", "LogFormat", fn->log_format[0] ? fn->log_format : "Text",
                  "LogGroup", group ? group : "");
    if (fn->log_level[0])
        json_object_set_new(out, "ApplicationLogLevel", json_string(fn->log_level));
    if (fn->system_log_level[0])
        json_object_set_new(out, "SystemLogLevel", json_string(fn->system_log_level));
    if (fn->log_days)
        json_object_set_new(out, "LogRetentionDays", json_integer(fn->log_days));
    return out;
}

json_t *fn_config_json(struct fn_call *c, const Kist__Function *fn, struct bytes arn_qualifier)
{
    struct bytes name = bytes_str(fn->name);
    char *runtime_arn =
        arena_printf(c->arena, "arn:aws:lambda:%s::runtime:%s", c->f->config.region, fn->runtime);
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:i, s:i, s:s, s:s, s:s}", "FunctionName",
                  fn->name, "FunctionArn", fn_arn(c, name, arn_qualifier), "Runtime", fn->runtime,
                  "Role", fn->role, "Handler", fn->handler, "CodeSize", (json_int_t)fn->code_size,
                  "Description", fn->description, "Timeout", (int)fn->timeout_s, "MemorySize",
                  (int)fn->memory_mb, "LastModified", fn_time(c, fn->modified_ms), "CodeSha256",
                  fn_base64(c, schema_bytes(fn->code_sha256)), "Version", fn->version);
    json_t *more = json_pack(
        "{s:{s:s}, s:s, s:s, s:s, s:s, s:[s], s:{s:i}, s:{s:s, s:s}, s:o, s:{s:s}}",
        "TracingConfig", "Mode", fn->tracing ? "Active" : "PassThrough", "RevisionId",
        fn->revision, "State", "Active", "LastUpdateStatus", "Successful", "PackageType", "Zip",
        "Architectures", fn->architecture[0] ? fn->architecture : ARCHITECTURE,
        "EphemeralStorage", "Size", (int)fn->tmp_mb, "SnapStart", "ApplyOn", "None",
        "OptimizationStatus", "Off", "LoggingConfig", logging_json(c, fn), "RuntimeVersionConfig",
        "RuntimeVersionArn", runtime_arn ? runtime_arn : "");
    if (!out || !more) {
        json_decref(out);
        json_decref(more);
        return NULL;
    }
    json_object_update(out, more);
    json_decref(more);
    if (fn->n_environment)
        add_environment(out, fn);
    if (fn->n_layers)
        add_layers(c, out, fn);
    if (fn->dead_letter[0])
        json_object_set_new(out, "DeadLetterConfig",
                            json_pack("{s:s}", "TargetArn", fn->dead_letter));
    return out;
}
