/* kist kms: the master key of a directory, and named keys through a running server. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/master_keys.h"
#include "server/cli/client.h"
#include "server/cli/options.h"
#include "server/cli/tools.h"

static const char usage_text[] =
    "usage: kist kms rotate [--data DIR] [--master-key-file FILE]\n"
    "       kist kms create-key [--alias NAME] [--description TEXT]\n"
    "       kist kms ls\n"
    "\n"
    "rotate adds a master key, which protects what is encrypted from now on; the older ones\n"
    "still open what they protect. A running server takes it over on SIGHUP.\n"
    "\n"
    "create-key makes a named key on a running server and shows its id; ls shows a key a line:\n"
    "its id, then its aliases.\n"
    "\n" CLIENT_OPTIONS_HELP;

struct kms_call {
    struct client_options client;
    const char *master_key_file, *alias, *description;
};

/* ---- the directory ---- */

static int rotate(const struct kms_call *call)
{
    struct master_keys_source source = { .dir = call->client.data ? call->client.data
                                                                  : default_data_dir(),
                                         .file = call->master_key_file };
    char id[MASTER_ID_LEN + 1];
    enum kist_err err = master_keys_rotate(&source, env_real(), id);
    if (err != KIST_OK) {
        fprintf(stderr, "kist: %s: %s\n", source.file ? source.file : source.dir,
                kist_err_text(err));
        return 1;
    }
    printf("%s\n", id);
    return 0;
}

/* ---- the server ---- */

/* Takes the input over; NULL after a message. */
static json_t *ask(struct client *c, const char *action, json_t *in)
{
    char target[64];
    char *body = in ? json_dumps(in, JSON_COMPACT) : NULL;
    json_t *out = NULL;
    struct client_request q = { .service = "kms", .method = "POST", .path = "/", .once = true };
    snprintf(target, sizeof(target), "TrentService.%s", action);
    client_header_add(&q, "Content-Type", "application/x-amz-json-1.1");
    client_header_add(&q, "X-Amz-Target", target);
    q.body = bytes_str(body);
    if (!body)
        fprintf(stderr, "kist: kms: not UTF-8\n");
    else if (!client_do(c, &q))
        client_complain(&q, "kms");
    else if (q.reply.len == 0)
        out = json_object(); /* CreateAlias says nothing */
    else if (!(out = json_loadb((const char *)q.reply.ptr, q.reply.len, 0, NULL)))
        fprintf(stderr, "kist: kms: not an answer of kist's\n");
    client_request_release(&q);
    free(body);
    json_decref(in);
    return out;
}

static int create_key(struct client *c, const struct kms_call *call)
{
    int rc = 1;
    json_t *made =
        ask(c, "CreateKey",
            json_pack("{s:s}", "Description", call->description ? call->description : ""));
    const char *id =
        json_string_value(json_object_get(json_object_get(made, "KeyMetadata"), "KeyId"));
    if (id) {
        rc = 0;
        printf("%s\n", id);
        (void)fflush(stdout);
    }
    if (id && call->alias) {
        char name[300];
        bool whole = strncmp(call->alias, "alias/", 6) == 0;
        snprintf(name, sizeof(name), "%s%s", whole ? "" : "alias/", call->alias);
        json_t *alias =
            ask(c, "CreateAlias", json_pack("{s:s, s:s}", "AliasName", name, "TargetKeyId", id));
        rc = alias ? 0 : 1;
        json_decref(alias);
    }
    json_decref(made);
    return rc;
}

/* All pages of a list; NULL after a message. */
static json_t *ask_all(struct client *c, const char *action, const char *field)
{
    json_t *all = json_array(), *marker = NULL;
    bool more = true;
    while (all && more) {
        json_t *in = json_object();
        if (marker)
            json_object_set(in, "Marker", marker);
        json_decref(marker);
        json_t *page = ask(c, action, in);
        if (!page) {
            json_decref(all);
            return NULL;
        }
        json_array_extend(all, json_object_get(page, field));
        marker = json_incref(json_object_get(page, "NextMarker"));
        more = marker && json_is_true(json_object_get(page, "Truncated"));
        json_decref(page);
    }
    json_decref(marker);
    return all;
}

static int list(struct client *c)
{
    json_t *keys = ask_all(c, "ListKeys", "Keys");
    json_t *aliases = keys ? ask_all(c, "ListAliases", "Aliases") : NULL;
    for (size_t i = 0; aliases && i < json_array_size(keys); i++) {
        const char *id = json_string_value(json_object_get(json_array_get(keys, i), "KeyId"));
        printf("%s", id ? id : "");
        for (size_t k = 0; id && k < json_array_size(aliases); k++) {
            const json_t *a = json_array_get(aliases, k);
            const char *target = json_string_value(json_object_get(a, "TargetKeyId"));
            if (target && strcmp(target, id) == 0)
                printf(" %s", json_string_value(json_object_get(a, "AliasName")));
        }
        printf("\n");
    }
    int rc = aliases ? 0 : 1;
    json_decref(keys);
    json_decref(aliases);
    return rc;
}

/* ---- arguments ---- */

static bool take_option(struct kms_call *call, const char *verb, const char *name,
                        const char *value)
{
    bool rotates = strcmp(verb, "rotate") == 0, creates = strcmp(verb, "create-key") == 0;
    if (rotates && strcmp(name, "--master-key-file") == 0)
        call->master_key_file = value;
    else if (creates && strcmp(name, "--alias") == 0 && strlen(value) < 256)
        call->alias = value;
    else if (creates && strcmp(name, "--description") == 0)
        call->description = value;
    else if (!rotates || strcmp(name, "--data") == 0)
        return client_take_option(&call->client, name, value);
    else
        return false;
    return true;
}

int cli_kms(int argc, char **argv)
{
    struct kms_call call = { .master_key_file = getenv("KIST_MASTER_KEY_FILE") };
    struct client *c = NULL;
    const char *verb = argc > 0 ? argv[0] : "";
    for (int i = 0; i < argc; i++)
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            return 0;
        }
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !take_option(&call, verb, argv[i], argv[i + 1]))
            cli_mistake("kms", argv[i], CLI_NO_OPTION);
    if (strcmp(verb, "rotate") == 0)
        return rotate(&call);
    if (strcmp(verb, "create-key") != 0 && strcmp(verb, "ls") != 0)
        cli_mistake("kms", *verb ? verb : NULL, "which? rotate, create-key or ls");
    int rc = client_open(&call.client, NULL, &c);
    if (rc == 0)
        rc = strcmp(verb, "ls") == 0 ? list(c) : create_key(c, &call);
    client_close(c);
    return rc;
}
