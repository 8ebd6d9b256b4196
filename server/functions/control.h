/* The control side of functions, inside server/functions: one request of Lambda's API.
 *
 *   service.c      routes, bodies, waiting for the log
 *   call.c         what is read of a call, and its reply
 *   config.c       a function's configuration, from JSON and to JSON
 *   code_put.c     zips into the store's own bucket, and out of it
 *   api_*.c        one file for each family of operations
 *
 * A handler looks at rows, decides, gathers changes, and commits them under the condition that
 * those rows are still what they were. When they are not it runs again from its start: handlers
 * keep nothing between the two but what says so.
 */
#ifndef KIST_SERVER_FUNCTIONS_CONTROL_H
#define KIST_SERVER_FUNCTIONS_CONTROL_H

#include <jansson.h>

#include "server/functions/internal.h"
#include "storage/base/worker.h"

#define FN_NAME_MAX 64
#define FN_DESCRIPTION_MAX 256
#define FN_ENV_MAX 4096
#define FN_LAYERS_MAX 5
#define FN_LAYERS_BYTES_MAX FN_CODE_MAX
#define FN_ZIP_MAX ((size_t)50 << 20)
#define FN_STORAGE_MAX (75ULL << 30)
#define FN_POLICY_MAX ((size_t)20 << 10)
#define FN_TAGS_MAX 50
/* https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html: 50 MiB in base64. */
#define FN_BODY_MAX ((size_t)70167211)
#define FN_CHANGES_STEP 8

struct fn_call;
struct download;
struct fn_stream;

struct fn_route {
    const char *method, *path; /* "{}" stands for a segment */
    const char *operation;     /* "CreateFunction" */
    const char *action;        /* "lambda:CreateFunction" */
    /* args[0] names a function: it is parsed into c->id, and the action is asked for on it. */
    enum fn_target { FN_ON_FUNCTION, FN_ON_RESOURCE, FN_ON_ALL, FN_ON_OTHER } target;
    enum fn_body { FN_BODY_NONE, FN_BODY_JSON, FN_BODY_RAW } body;
    unsigned status; /* of success; for documentation and fn_done() */
    void (*handle)(struct fn_call *c);
};

/* Code on its way into the store. */
struct fn_code {
    struct bytes zip64; /* base64, or empty and: */
    struct bytes bucket, key;
    uint64_t version;
    /* out: */
    char *stored; /* key in FUNCTIONS_BUCKET; NULL: nothing was stored */
    uint8_t sha256[32];
    uint64_t size;
    const char *code, *message; /* of the error; NULL: none */
};

struct fn_call {
    struct functions *f;
    struct api_call *call;
    struct exchange *x;
    struct arena *arena;
    const struct fn_route *route;
    struct bytes args[3];
    size_t arg_count;
    json_t *in; /* the body; NULL: none */
    struct function_id id;
    bool replied;
    unsigned tries;

    /* what is to be committed */
    Kist__RecordChange **changes;
    size_t change_count, change_room;
    struct store_op op;
    bool op_used, committed;
    void (*then)(struct fn_call *c);
    /* objects that nothing refers to once it is committed; code.stored if it is not */
    char **trash;
    size_t trash_count;

    struct job job;
    void (*work)(struct fn_call *c);
    struct fn_code code;
    Kist__Function *made; /* by the handler, for then() */
    Kist__FunctionLayer *layer;
    char *request_id;
    void *invoke; /* api_invoke.c's */
    void *logs;   /* api_logs.c's */
    struct download *download;
    struct fn_stream *stream; /* api_stream.c's, and the version that runs: */
    char *version;
    void *more;
};

/* ---- call.c ---- */

/* Lambda's error: {"Type": "User", "Message": ...}, x-amzn-ErrorType. Replies. */
void fn_fail(struct fn_call *c, unsigned status, const char *code, const char *message);
void fn_failf(struct fn_call *c, unsigned status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* 400 InvalidParameterValueException. */
void fn_invalid(struct fn_call *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void fn_fail_err(struct fn_call *c, enum kist_err err);
/* Takes the reference. NULL json: 500. */
void fn_reply(struct fn_call *c, unsigned status, json_t *json);
void fn_reply_empty(struct fn_call *c, unsigned status);
void fn_missing(struct fn_call *c); /* 404 Function not found: ARN */
/* The error's JSON, in the arena. */
struct bytes fn_error_body(struct arena *arena, unsigned status, const char *message);
void fn_add_header(struct fn_call *c, const char *name, const char *value);
/* Percent-decoded, in the arena; ptr NULL: what no text can be. plus: it stands for a blank. */
struct bytes fn_decode(struct fn_call *c, struct bytes raw, bool plus);
/* Text of a parameter of the query, decoded; ptr NULL: absent. The n-th of that name. */
struct bytes fn_param(struct fn_call *c, const char *name);
struct bytes fn_param_at(struct fn_call *c, const char *name, size_t n);
/* NUL-terminated, in the arena; "" on out of memory. */
char *fn_str(struct fn_call *c, struct bytes b);
/* 403 unless allowed. */
bool fn_allowed(struct fn_call *c, const char *action, const char *resource, struct bytes account,
                const struct policy *resource_policy);
char *fn_arn(struct fn_call *c, struct bytes name, struct bytes qualifier);
char *fn_new_uuid(struct fn_call *c);
struct bytes fn_account(const struct fn_call *c); /* the caller's, 12 digits */
/* What the caller is doing this for: functions_lineage_of(). NULL: nothing that functions began.
 */
const Kist__Lineage *fn_lineage(struct functions *f, const struct api_call *call);

/* Members of the body. False after an error reply; absent ones leave *out. */
bool fn_get_str(struct fn_call *c, const json_t *object, const char *name, const char **out);
bool fn_get_int(struct fn_call *c, const json_t *object, const char *name, int64_t min,
                int64_t max, int64_t *out);
bool fn_get_bool(struct fn_call *c, const json_t *object, const char *name, bool *out);
bool fn_get_object(struct fn_call *c, const json_t *object, const char *name, const json_t **out);
/* Marker and MaxItems of a listing. False after an error reply. */
struct fn_page {
    char *after;
    size_t max, count;
    const char *next; /* name to go on behind; NULL: it ends here */
};
bool fn_page(struct fn_call *c, size_t most, struct fn_page *out);
/* Adds NextMarker and replies. */
void fn_page_reply(struct fn_call *c, const struct fn_page *page, json_t *out);

/* ---- service.c ---- */

/* c->args[0] and the query's Qualifier into c->id; false after an error reply. */
bool fn_name_function(struct fn_call *c);
bool fn_qualifier_valid(struct bytes qualifier);

#define FN_CHANGED_ANY UINT64_MAX
/* Gathers a change; message NULL: removes. False after an error reply. */
bool fn_change(struct fn_call *c, enum record_kind kind, struct bytes account, const char *name,
               uint64_t expected, const void *message);
void fn_commit(struct fn_call *c, void (*then)(struct fn_call *c));
void fn_commit_command(struct fn_call *c, const Kist__Command *command,
                       void (*then)(struct fn_call *c));
/* Runs work() on a thread that may block, then then() on the loop. */
void fn_work(struct fn_call *c, void (*work)(struct fn_call *c), void (*then)(struct fn_call *c));
/* The zip goes when what is gathered is committed. */
bool fn_throw_away(struct fn_call *c, const char *code_key);

/* ---- registry.c ---- */

#define FN_ROW_NAME_MAX (RECORD_NAME_MAX + 1)
/* A function's $LATEST, or a version; *changed is what a change of it must name. */
enum kist_err registry_get(struct functions *f, struct bytes account, struct bytes name,
                           struct bytes version, struct arena *arena, Kist__Function **out,
                           uint64_t *changed) MUST_CHECK;
enum kist_err registry_alias(struct functions *f, struct bytes account, struct bytes name,
                             struct bytes alias, struct arena *arena, Kist__FunctionAlias **out,
                             uint64_t *changed) MUST_CHECK;
enum kist_err registry_url(struct functions *f, struct bytes id, struct arena *arena,
                           Kist__FunctionUrl **out, uint64_t *changed) MUST_CHECK;
/* Of any kind, unpacked by its descriptor. */
enum kist_err registry_read(struct functions *f, enum record_kind kind, struct bytes account,
                            struct bytes name, const ProtobufCMessageDescriptor *type,
                            struct arena *arena, void *out, uint64_t *changed) MUST_CHECK;
/* Published versions in the order of their numbers, behind that one (empty: all). */
enum kist_err registry_versions(struct functions *f, struct bytes account, struct bytes name,
                                struct bytes after,
                                bool (*each)(void *ctx, const Kist__Function *version),
                                void *ctx) MUST_CHECK;
enum kist_err registry_aliases(struct functions *f, struct bytes account, struct bytes name,
                               struct bytes after,
                               bool (*each)(void *ctx, const Kist__FunctionAlias *alias,
                                            uint64_t changed),
                               void *ctx) MUST_CHECK;
/* $LATEST of all functions of an account, in name order, behind that name. */
enum kist_err registry_list(struct functions *f, struct bytes account, struct bytes after,
                            bool (*each)(void *ctx, const Kist__Function *latest),
                            void *ctx) MUST_CHECK;
/* On a thread that may block. */
void registry_run(struct registry *r, struct job *job);
/* ring(ctx) comes once, at due_ns (mono_ns()) or when the server stops, and must not block. */
struct fn_alarm {
    struct fn_alarm *next;
    uint64_t due_ns;
    void (*ring)(void *ctx);
    void *ctx;
    bool set;
};
void registry_alarm_set(struct registry *r, struct fn_alarm *alarm);
/* After it ring() is not running, and will not. */
void registry_alarm_unset(struct registry *r, struct fn_alarm *alarm);
/* Names of rows: "name/0000000012", "name/alias". NULL: no memory. */
char *registry_version_row(struct arena *arena, struct bytes name, struct bytes version);
char *registry_alias_row(struct arena *arena, struct bytes name, struct bytes alias);
/* The id of a function's URL: follows from what it is the URL of, so that it need not be looked
 * for. out: 32 letters and a NUL. */
void registry_url_id(const Kist__Function *latest, struct bytes qualifier, char out[33]);
bool registry_is_version(struct bytes qualifier); /* digits, or $LATEST */

/* ---- config.c ---- */

/* Fills from the body what it names; the rest stays. create: names, runtime, handler must be
 * there. False after an error reply. */
bool fn_config_parse(struct fn_call *c, bool create, Kist__Function *fn);
/* FunctionConfiguration; arn_qualifier empty: the ARN has none. NULL: no memory. */
json_t *fn_config_json(struct fn_call *c, const Kist__Function *fn, struct bytes arn_qualifier);
bool fn_name_valid(struct bytes name, size_t max);
/* Strings of an array, or of a map, into the arena. False after an error reply. */
bool fn_tags_parse(struct fn_call *c, const json_t *tags, size_t *n, Kist__Pair ***out);
char *fn_time(struct fn_call *c, int64_t ms); /* 2026-11-25T17:30:00.000+0000 */
char *fn_base64(struct fn_call *c, struct bytes in);
/* The role may be given to functions by who asks. False after an error reply. */
bool fn_role_check(struct fn_call *c, const char *role);
/* Events of the function may be sent there ("": nowhere): the server writes without asking
 * anybody again. False after an error reply. */
bool fn_destination_check(struct fn_call *c, const char *target);

/* ---- code_put.c ---- */

/* Reads "ZipFile", "S3Bucket", "S3Key", "S3ObjectVersion" and asks whether the object may be
 * read. False after an error reply. */
bool fn_code_parse(struct fn_call *c, const json_t *code);
/* On a worker: decodes, checks and stores c->code as an object with such a key. */
void fn_code_store(struct fn_call *c);
/* After fn_code_store(): true: c->code holds it; false after an error reply. */
bool fn_code_stored(struct fn_call *c);
/* Removes objects, in the background. Keys are copied. */
void fn_code_drop(struct functions *f, char *const *keys, size_t count);

/* ---- shared by api_*.c ---- */

/* The call's function, $LATEST; false after an error reply. */
bool fn_load(struct fn_call *c, Kist__Function **latest, uint64_t *changed);
/* What its qualifier names: found->function, ->latest. Aliases are followed. */
bool fn_load_qualified(struct fn_call *c, struct function_found *found);
/* What names the thing that settings hang on: "" and "$LATEST" are the same. */
struct bytes fn_qualifier(const struct fn_call *c);
/* Keys of this function's code that only this row (version, or $LATEST) refers to. */
bool fn_throw_away_code(struct fn_call *c, const Kist__Function *row);
bool fn_check_revision(struct fn_call *c, const char *revision);

#define FN_HANDLERS(X)                                                                           \
    X(fn_create)                                                                                 \
    X(fn_list)                                                                                   \
    X(fn_get)                                                                                    \
    X(fn_get_config)                                                                             \
    X(fn_delete)                                                                                 \
    X(fn_update_code)                                                                            \
    X(fn_update_config)                                                                          \
    X(fn_download)                                                                               \
    X(fn_publish)                                                                                \
    X(fn_list_versions)                                                                          \
    X(fn_create_alias)                                                                           \
    X(fn_get_alias)                                                                              \
    X(fn_update_alias)                                                                           \
    X(fn_delete_alias)                                                                           \
    X(fn_list_aliases)                                                                           \
    X(fn_add_permission)                                                                         \
    X(fn_remove_permission)                                                                      \
    X(fn_get_policy)                                                                             \
    X(fn_put_concurrency)                                                                        \
    X(fn_get_concurrency)                                                                        \
    X(fn_delete_concurrency)                                                                     \
    X(fn_account_settings)                                                                       \
    X(fn_put_invoke_config)                                                                      \
    X(fn_update_invoke_config)                                                                   \
    X(fn_get_invoke_config)                                                                      \
    X(fn_delete_invoke_config)                                                                   \
    X(fn_list_invoke_configs)                                                                    \
    X(fn_create_url)                                                                             \
    X(fn_get_url)                                                                                \
    X(fn_update_url)                                                                             \
    X(fn_delete_url)                                                                             \
    X(fn_list_urls)                                                                              \
    X(fn_tag)                                                                                    \
    X(fn_untag)                                                                                  \
    X(fn_list_tags)                                                                              \
    X(fn_publish_layer)                                                                          \
    X(fn_get_layer)                                                                              \
    X(fn_list_layer_versions)                                                                    \
    X(fn_list_layers)                                                                            \
    X(fn_delete_layer)                                                                           \
    X(fn_download_layer)                                                                         \
    X(fn_code_signing)                                                                           \
    X(fn_runtime_management)                                                                     \
    X(fn_recursion)                                                                              \
    X(fn_provisioned)                                                                            \
    X(fn_list_sources)                                                                           \
    X(fn_create_source)                                                                          \
    X(fn_invoke)                                                                                 \
    X(fn_invoke_async)                                                                           \
    X(fn_invoke_stream)                                                                          \
    X(fn_logs)
#define FN_HANDLER_(name) void name(struct fn_call *c);
FN_HANDLERS(FN_HANDLER_)
#undef FN_HANDLER_

/* A row of the family of c->id changes, or its $LATEST: all such changes write $LATEST, so that
 * they come one after the other. */
bool fn_touch(struct fn_call *c, Kist__Function *latest, uint64_t changed);
bool fn_is_latest(struct bytes qualifier); /* or empty */
/* A version of $LATEST as it is, with the next number: both rows are gathered. *out may be one
 * that is there, of the same code and configuration. False after an error reply. */
bool fn_publish_version(struct fn_call *c, Kist__Function *latest, uint64_t changed,
                        const char *description, Kist__Function **out);

/* Of an exchange that ended: frees what api_invoke.c and logs hold. */
void fn_invoke_end(struct fn_call *c);
void fn_logs_end(struct fn_call *c);
void fn_download_end(struct fn_call *c);
/* Replies with the object. */
void fn_send_zip(struct fn_call *c, const char *code_key);

/* api_stream.c */
void fn_stream_end(struct fn_call *c);
/* Copies what the invocation borrows; ends in a reply. */
void fn_stream_start(struct fn_call *c, const struct fn_invocation *call, const char *version);
/* One message of an event stream. */
enum kist_err fn_stream_message(struct buf *out, const char *event, const char *type,
                                struct bytes payload) MUST_CHECK;

/* payload.c */
bool fn_is_json(struct bytes text);
/* api_policy.c: of $LATEST (or no qualifier), a version or an alias. */
Kist__FunctionPolicy *fn_policy_of(const Kist__Function *latest, struct bytes qualifier);
/* AddPermission's statement, from the body; a new reference, NULL after an error reply. */
json_t *fn_statement_of(struct fn_call *c);
/* *out NULL: it has none. False: it cannot be parsed. */
bool fn_policy_parsed(const Kist__Function *latest, struct bytes qualifier, struct arena *arena,
                      struct policy **out) MUST_CHECK;

#endif
