#include <stdio.h>
#include <stdlib.h>

#include "server/cli/account_internal.h"
#include "server/cli/options.h"
#include "server/cli/tools.h"

#define ARENA_MAX ((size_t)1 << 20)

static const char usage_text[] =
    "usage: kist account create NAME [--access-key ID --secret-key SECRET]\n"
    "       kist account ls\n"
    "       kist account rm NAME\n"
    "       kist account key create|rotate NAME [--access-key ID --secret-key SECRET]\n"
    "       kist account key rm NAME ID\n"
    "\n"
    "  --data DIR        a data directory that no server uses; create makes it when it is\n"
    "                    missing (KIST_DATA, ./kist-data)\n"
    "  --endpoint URL    a running server instead (http:// or https://), with the root key of\n"
    "                    KIST_ROOT_ACCESS_KEY and KIST_ROOT_SECRET_KEY, or DIR's\n"
    "  --ca-file FILE    certificates to trust, PEM (AWS_CA_BUNDLE; the system's)\n"
    "\n"
    "KIST_ACCOUNT_ACCESS_KEY and KIST_ACCOUNT_SECRET_KEY choose the new key, too, and are not\n"
    "seen in the list of processes. Without a choice it is made, and shown once. Rotating puts\n"
    "the new key in place of all others; an account is only removed when it owns no buckets,\n"
    "users, groups, roles or policies.\n";

static void __attribute__((noreturn)) mistake(const char *what)
{
    cli_mistake("account", NULL, what);
}

/* ---- on the directory ---- */

static int complain(const char *what, enum kist_err err)
{
    const char *why = kist_err_text(err);
    if (err == KIST_E_BUCKET_NOT_EMPTY)
        why = "it owns buckets, users, groups, roles or policies";
    else if (err == KIST_E_BUCKET_STATE)
        why = "it is the first account: its key is the root key";
    else if (err == KIST_E_TOO_LARGE)
        why = "it has two keys already";
    else if (err == KIST_E_NOT_FOUND)
        why = "not found";
    else if (err == KIST_E_CONFLICT)
        why = "the name or the access key is taken";
    fprintf(stderr, "kist: %s: %s\n", what, why);
    return 1;
}

static bool print_row(void *ctx, const Kist__Account *a)
{
    (void)ctx;
    printf("%s %s %s", a->id, a->canonical, a->name);
    for (size_t i = 0; i < a->n_keys; i++)
        printf(" %s", a->keys[i]);
    printf("\n");
    return true;
}

static void print_change(const struct account_change *c)
{
    printf("account-id %s\ncanonical-id %s\nname %s\n", c->account.id, c->account.canonical,
           c->account.name);
    if (c->access_key)
        printf("access-key %s\nsecret-key %s\n", c->access_key, c->secret);
}

static enum kist_err delete_account(struct store *s, const Kist__Account *account)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteAccount c = KIST__DELETE_ACCOUNT__INIT;
    command.of_case = KIST__COMMAND__OF_DELETE_ACCOUNT;
    command.delete_account = &c;
    c.id = account->id;
    return store_commit(s, &command);
}

static enum kist_err run(struct store *s, const struct account_call *call, struct arena *arena)
{
    struct account_change c;
    Kist__Account *account = NULL;
    enum kist_err err = KIST_OK;
    if (strcmp(call->verb, "ls") == 0)
        return store_list_accounts(s, print_row, NULL);
    if (strcmp(call->verb, "create") != 0)
        TRY(store_account_named(s, bytes_str(call->name), arena, &account));
    if (strcmp(call->verb, "rm") == 0)
        return delete_account(s, account);
    if (strcmp(call->verb, "create") == 0)
        err = account_make(store_env(s), bytes_str(call->name), &call->key, arena, &c);
    else if (strcmp(call->verb, "key create") == 0)
        err = account_add_key(store_env(s), account, &call->key, arena, &c);
    else if (strcmp(call->verb, "key rotate") == 0)
        err = account_rotate_key(s, account, &call->key, arena, &c);
    else
        err = account_remove_key(s, account, bytes_str(call->key_id), arena, &c);
    if (err == KIST_OK)
        err = store_commit(s, &c.command);
    if (err == KIST_OK)
        print_change(&c);
    return err;
}

int account_local(const struct account_call *call)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    struct store *s = NULL;
    struct arena arena;
    config.dir = call->data;
    config.scrub_days = 0;
    config.manual = true; /* nothing happens behind the tool's back */
    if (strcmp(call->verb, "create") != 0 && !cli_is_data_dir(call->data))
        return 1;
    enum kist_err err = store_open(&config, &s);
    if (err == KIST_E_LOCKED) {
        fprintf(stderr, "kist: %s: a server uses it: name it with --endpoint\n", call->data);
        return 1;
    }
    if (err != KIST_OK)
        return complain(call->data, err);
    arena_init(&arena, ARENA_MAX);
    err = run(s, call, &arena);
    arena_release(&arena);
    store_close(s);
    return err == KIST_OK ? 0 : complain(call->name ? call->name : call->verb, err);
}

/* ---- arguments ---- */

static struct bytes from_environment(const char *name)
{
    const char *value = getenv(name);
    return value ? bytes_str(value) : BYTES_EMPTY;
}

static bool take_option(struct account_call *call, const char *name, const char *value)
{
    if (strcmp(name, "--data") == 0)
        call->data = value;
    else if (strcmp(name, "--endpoint") == 0)
        call->endpoint = value;
    else if (strcmp(name, "--ca-file") == 0)
        call->ca_file = value;
    else if (strcmp(name, "--access-key") == 0)
        call->key.access_key = bytes_str(value);
    else if (strcmp(name, "--secret-key") == 0)
        call->key.secret = bytes_str(value);
    else
        return false;
    return true;
}

/* The words that are no options, in order; how many. */
static size_t words_of(struct account_call *call, int argc, char **argv, const char *words[4])
{
    size_t count = 0;
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            exit(0);
        }
        if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc || !take_option(call, argv[i], argv[i + 1]))
                cli_mistake("account", argv[i], CLI_NO_OPTION);
            i++;
        } else if (count == 4) {
            cli_mistake("account", argv[i], "too many words");
        } else {
            words[count++] = argv[i];
        }
    }
    return count;
}

int cli_account(int argc, char **argv)
{
    static const struct {
        const char *first, *second, *verb;
        size_t words;
    } verbs[] = {
        { "create", NULL, "create", 2 },
        { "ls", NULL, "ls", 1 },
        { "rm", NULL, "rm", 2 },
        { "key", "create", "key create", 3 },
        { "key", "rotate", "key rotate", 3 },
        { "key", "rm", "key rm", 4 },
    };
    struct account_call call = { .data = default_data_dir(),
                                 .key = { from_environment("KIST_ACCOUNT_ACCESS_KEY"),
                                          from_environment("KIST_ACCOUNT_SECRET_KEY") } };
    const char *words[4] = { "", "", "", "" };
    size_t count = words_of(&call, argc, argv, words);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        size_t at = verbs[i].second ? 2 : 1;
        if (strcmp(words[0], verbs[i].first) != 0 ||
            (verbs[i].second && strcmp(words[1], verbs[i].second) != 0))
            continue;
        if (count != verbs[i].words)
            mistake("wrong number of words");
        call.verb = verbs[i].verb;
        call.name = count > at ? words[at] : NULL;
        call.key_id = count > at + 1 ? words[at + 1] : NULL;
        return call.endpoint ? account_remote(&call) : account_local(&call);
    }
    mistake("which? create, ls, rm or key");
}
