/* Fuzzes bodies of Lambda's control API. The input's first byte says whose: 'c' CreateFunction,
 * 'u' UpdateFunctionConfiguration, 'p' AddPermission, anything else a payload. Beside "no crash,
 * no overrun": what is taken is within Lambda's limits, what is not gets exactly one error, a
 * statement that is made can be parsed as a policy, and what jansson reads is JSON to us too. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/functions/control.h"
#include "server/http/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct functions f;
static char dir[] = "/tmp/kist-fuzz-lambda-XXXXXX";

static void clean(void)
{
    char command[64];
    store_close(f.store);
    snprintf(command, sizeof(command), "rm -r '%s'", dir);
    if (system(command) != 0)
        abort();
}

static void begin(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    static char pool;
    if (f.store)
        return;
    if (!mkdtemp(dir))
        abort();
    config.dir = dir;
    config.manual = true;
    if (store_open(&config, &f.store) != KIST_OK)
        abort();
    f.config.region = "us-east-1";
    f.pool = (struct pool *)(void *)&pool; /* runtimes are asked for interpreters alone */
    atexit(clean);
}

static bool allowed(struct api_call *call, const char *action, struct bytes resource,
                    struct bytes account, const struct policy *policy)
{
    (void)call;
    (void)policy;
    return strchr(action, ':') && resource.len && account.len;
}

/* A call whose replies go no further than its exchange. */
struct fake {
    struct exchange x;
    struct api_call api;
    struct auth_identity who;
    struct http_request http;
    struct fn_call call;
};

static void fake_init(struct fake *k, struct bytes body)
{
    static const struct fn_route route = { .operation = "Fuzz" };
    memset(k, 0, sizeof(*k));
    arena_init(&k->x.arena, 16U << 20);
    k->x.reply_headers_end = &k->x.reply_headers;
    k->x.stage = STAGE_FINISHED;
    k->who.account = BYTES_LIT("000000000001");
    k->who.id = BYTES_LIT("someone");
    k->http.method_name = BYTES_LIT("POST");
    k->api = (struct api_call){ .x = &k->x,
                                .http = &k->http,
                                .arena = &k->x.arena,
                                .who = &k->who,
                                .body = body,
                                .allowed = allowed };
    k->call = (struct fn_call){ .f = &f,
                                .call = &k->api,
                                .x = &k->x,
                                .arena = &k->x.arena,
                                .route = &route,
                                .id = { k->who.account, BYTES_LIT("f"), BYTES_EMPTY } };
    k->call.in = json_loadb((const char *)body.ptr, body.len, JSON_REJECT_DUPLICATES, NULL);
}

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Taken without a word, or refused with an error's document. */
static void check_reply(const struct fake *k, bool taken)
{
    must(k->call.replied != taken);
    if (taken)
        return;
    must(k->x.status >= 400 && k->x.reply_body.len > 0);
    json_t *error = json_loadb((const char *)k->x.reply_body.ptr, k->x.reply_body.len, 0, NULL);
    must(json_is_string(json_object_get(error, "Message")) &&
         json_is_string(json_object_get(error, "Type")));
    json_decref(error);
}

static void configuration(struct fake *k, bool create)
{
    Kist__Function fn = KIST__FUNCTION__INIT;
    size_t environment = 0;
    if (!create) {
        fn.runtime = (char *)"provided";
        fn.memory_mb = 128;
        fn.timeout_s = 3;
        fn.tmp_mb = 512;
    }
    bool taken = fn_config_parse(&k->call, create, &fn);
    check_reply(k, taken);
    if (!taken)
        return;
    for (size_t i = 0; i < fn.n_environment; i++)
        environment += strlen(fn.environment[i]->name) + strlen(fn.environment[i]->value);
    must(fn.memory_mb >= 128 && fn.memory_mb <= 10240 && fn.timeout_s >= 1 &&
         fn.timeout_s <= 900 && fn.tmp_mb >= 512 && fn.tmp_mb <= 10240);
    must(strlen(fn.description) <= FN_DESCRIPTION_MAX && environment <= FN_ENV_MAX &&
         fn.n_layers <= FN_LAYERS_MAX && fn.runtime[0]);
    fn.name = (char *)"f";
    fn.version = (char *)FN_LATEST;
    json_t *shown = fn_config_json(&k->call, &fn, BYTES_EMPTY);
    must(json_is_object(shown));
    json_decref(shown);
    const json_t *code = json_object_get(k->call.in, "Code");
    if (json_is_object(code))
        check_reply(k, fn_code_parse(&k->call, code));
}

static void permission(struct fake *k)
{
    struct policy *policy = NULL;
    const char *reason = NULL;
    json_t *statement = fn_statement_of(&k->call);
    check_reply(k, statement != NULL);
    if (!statement)
        return;
    json_t *document = json_pack("{s:s, s:[O]}", "Version", "2012-10-17", "Statement", statement);
    char *text = json_dumps(document, JSON_COMPACT);
    enum kist_err err = policy_parse(bytes_str(text), POLICY_FUNCTION, BYTES_EMPTY, k->call.arena,
                                     &policy, &reason);
    must(err == KIST_OK || (err == KIST_E_INVALID && reason));
    free(text);
    json_decref(document);
    json_decref(statement);
}

/* jansson takes numbers that fit only, goes deeper, and ends at a NUL. */
static void payload(struct bytes text)
{
    size_t opened = 0;
    for (size_t i = 0; i < text.len; i++)
        opened += text.ptr[i] == '[' || text.ptr[i] == '{';
    json_t *read =
        json_loadb((const char *)text.ptr, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool odd = opened > 512 || (text.len && memchr(text.ptr, 0, text.len));
    must(!read || odd || fn_is_json(text));
    (void)fn_is_json(text);
    json_decref(read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes body = size ? bytes_of(data + 1, size - 1) : BYTES_EMPTY;
    struct fake k;
    char kind = size ? (char)data[0] : ' ';
    begin();
    if (!strchr("cup", kind)) {
        payload(bytes_of(data, size));
        return 0;
    }
    fake_init(&k, body);
    if (json_is_object(k.call.in)) {
        if (kind == 'p')
            permission(&k);
        else
            configuration(&k, kind == 'c');
    }
    json_decref(k.call.in);
    arena_release(&k.x.arena);
    return 0;
}
