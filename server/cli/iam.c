/* kist user, kist key, kist policy: IAM's calls in few words, for people and scripts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/client.h"
#include "server/cli/tools.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"

#define ARENA_MAX ((size_t)16 << 20)
#define FORM_MAX ((size_t)1 << 20)
#define DOCUMENT_MAX ((size_t)128 << 10)

static const char usage_text[] =
    "usage: kist user add|rm NAME\n"
    "       kist user ls\n"
    "       kist key add USER\n"
    "       kist key ls USER\n"
    "       kist key rm USER ID\n"
    "       kist policy put NAME FILE [--user U | --group G | --role R]\n"
    "       kist policy attach|detach NAME --user U | --group G | --role R\n"
    "       kist policy ls [--user U | --group G | --role R]\n"
    "       kist policy rm NAME [--user U | --group G | --role R]\n"
    "\n"
    "A new key's secret is shown once. FILE is a JSON policy, - standard input. With --user and\n"
    "so on, put, ls and rm mean policies of that user (group, role) alone; put replaces one.\n"
    "\n" CLIENT_OPTIONS_HELP;

struct call {
    struct client_options options;
    const char *tool, *verb, *words[2];
    size_t count;
    const char *kind, *principal; /* "User", "ann" */
    struct client *client;
    struct client_request request;
    struct buf form;
    struct arena arena;
};

static void __attribute__((noreturn)) mistake(const struct call *c, const char *what)
{
    cli_mistake(c->tool, NULL, what);
}

/* ---- one call ---- */

static void begin(struct call *c, const char *action)
{
    buf_clear(&c->form);
    (void)!buf_printf(&c->form, "Action=%s&Version=2010-05-08", action);
}

static void add(struct call *c, const char *name, const char *value)
{
    bool ok = buf_printf(&c->form, "&%s=", name) == KIST_OK &&
              uri_encode(&c->form, bytes_str(value), false) == KIST_OK;
    if (!ok) { /* a form that lacks something must not be sent */
        fprintf(stderr, "kist: %s: too large\n", name);
        exit(1);
    }
}

/* The reply stays until the next call. False after a message. */
static bool finish(struct call *c, const char *service)
{
    client_request_release(&c->request);
    c->request = (struct client_request){
        .service = service, .method = "POST", .path = "/", .once = true
    };
    client_header_add(&c->request, "Content-Type", "application/x-www-form-urlencoded");
    c->request.body = buf_bytes(&c->form);
    if (client_do(c->client, &c->request))
        return true;
    client_complain(&c->request, c->count ? c->words[0] : c->tool);
    return false;
}

static char *reply_text(struct call *c, const char *element)
{
    struct bytes reply = buf_bytes(&c->request.reply), value;
    size_t at = 0;
    return client_element(reply, element, &at, reply.len, &value) ? client_text(&c->arena, value)
                                                                  : NULL;
}

/* Prints two elements of each member, page after page. `word` stands before each. */
static bool list(struct call *c, const char *action, const char *word, const char *first,
                 const char *second)
{
    char *marker = NULL;
    do {
        begin(c, action);
        if (c->kind)
            add(c, arena_printf(&c->arena, "%sName", c->kind), c->principal);
        else if (c->count && strcmp(c->tool, "key") == 0)
            add(c, "UserName", c->words[0]);
        if (marker)
            add(c, "Marker", marker);
        if (!finish(c, "iam"))
            return false;
        struct bytes reply = buf_bytes(&c->request.reply), member, value;
        for (size_t at = 0; client_element(reply, "member", &at, reply.len, &member);) {
            size_t in = 0, from = 0;
            bool plain = !client_element(member, first, &in, member.len, &value);
            char *text = client_text(&c->arena, plain ? member : value);
            printf("%s%s%s", word ? word : "", word ? " " : "", text ? text : "");
            if (second && client_element(member, second, &from, member.len, &value))
                printf(" %.*s", (int)value.len, (const char *)value.ptr);
            printf("\n");
        }
        marker = reply_text(c, "Marker");
    } while (marker && !ferror(stdout));
    return !ferror(stdout);
}

/* ---- users and keys ---- */

static int user(struct call *c)
{
    bool adds = strcmp(c->verb, "add") == 0;
    if (strcmp(c->verb, "ls") == 0 && c->count == 0)
        return list(c, "ListUsers", NULL, "UserName", NULL) ? 0 : 1;
    if ((!adds && strcmp(c->verb, "rm") != 0) || c->count != 1)
        mistake(c, "which? add NAME, rm NAME or ls");
    begin(c, adds ? "CreateUser" : "DeleteUser");
    add(c, "UserName", c->words[0]);
    return finish(c, "iam") ? 0 : 1;
}

static int key(struct call *c)
{
    if (strcmp(c->verb, "ls") == 0 && c->count == 1)
        return list(c, "ListAccessKeys", NULL, "AccessKeyId", "Status") ? 0 : 1;
    bool adds = strcmp(c->verb, "add") == 0 && c->count == 1;
    if (!adds && (strcmp(c->verb, "rm") != 0 || c->count != 2))
        mistake(c, "which? add USER, rm USER ID or ls USER");
    begin(c, adds ? "CreateAccessKey" : "DeleteAccessKey");
    add(c, "UserName", c->words[0]);
    if (!adds)
        add(c, "AccessKeyId", c->words[1]);
    if (!finish(c, "iam"))
        return 1;
    char *id = reply_text(c, "AccessKeyId"), *secret = reply_text(c, "SecretAccessKey");
    if (adds && id && secret) {
        printf("access-key %s\nsecret-key %s\n", id, secret);
        explicit_bzero(secret, strlen(secret));
    }
    return 0;
}

/* ---- policies ---- */

static bool read_document(struct call *c, const char *path, struct buf *out)
{
    char piece[4096];
    bool standard = strcmp(path, "-") == 0;
    CLEANUP_FCLOSE FILE *own = standard ? NULL : fopen(path, "re");
    FILE *f = standard ? stdin : own;
    bool ok = f != NULL;
    for (size_t n = 1; ok && n > 0;) {
        n = fread(piece, 1, sizeof(piece) - 1, f);
        piece[n] = '\0';
        ok = !ferror(f) && strlen(piece) == n && buf_append(out, piece, n) == KIST_OK;
    }
    ok = ok && buf_append(out, "", 1) == KIST_OK;
    if (!ok)
        fprintf(stderr, "kist: %s: %s: %s\n", c->words[0], path,
                f && !ferror(f) ? "no policy, or too large" : strerror(errno));
    return ok;
}

static bool put(struct call *c)
{
    struct buf document;
    buf_init(&document, DOCUMENT_MAX);
    bool ok = read_document(c, c->words[1], &document);
    if (ok) {
        begin(c, c->kind ? arena_printf(&c->arena, "Put%sPolicy", c->kind) : "CreatePolicy");
        add(c, "PolicyName", c->words[0]);
        add(c, "PolicyDocument", (const char *)document.ptr);
        if (c->kind)
            add(c, arena_printf(&c->arena, "%sName", c->kind), c->principal);
        ok = finish(c, "iam");
    }
    buf_release(&document);
    return ok;
}

/* IAM names managed policies by ARN; ours have no path. */
static const char *arn_of(struct call *c)
{
    if (strncmp(c->words[0], "arn:", 4) == 0)
        return c->words[0];
    buf_clear(&c->form);
    (void)!buf_append_str(&c->form, "Action=GetCallerIdentity&Version=2011-06-15");
    char *account = finish(c, "sts") ? reply_text(c, "Account") : NULL;
    return account ? arena_printf(&c->arena, "arn:aws:iam::%s:policy/%s", account, c->words[0])
                   : NULL;
}

static bool change(struct call *c)
{
    bool removes = strcmp(c->verb, "rm") == 0;
    const char *arn = NULL;
    if (removes && c->kind) {
        begin(c, arena_printf(&c->arena, "Delete%sPolicy", c->kind));
        add(c, "PolicyName", c->words[0]);
    } else {
        const char *verb = strcmp(c->verb, "attach") == 0 ? "Attach" : "Detach";
        if (!(arn = arn_of(c)))
            return false;
        begin(c, removes ? "DeletePolicy" : arena_printf(&c->arena, "%s%sPolicy", verb, c->kind));
        add(c, "PolicyArn", arn);
    }
    if (c->kind)
        add(c, arena_printf(&c->arena, "%sName", c->kind), c->principal);
    return finish(c, "iam");
}

static int policy(struct call *c)
{
    const char *v = c->verb;
    bool ok;
    if (strcmp(v, "put") == 0 && c->count == 2)
        ok = put(c);
    else if (strcmp(v, "ls") == 0 && c->count == 0 && !c->kind)
        ok = list(c, "ListPolicies", NULL, "PolicyName", NULL);
    else if (strcmp(v, "ls") == 0 && c->count == 0)
        ok = list(c, arena_printf(&c->arena, "List%sPolicies", c->kind), "own", "PolicyName",
                  NULL) &&
             list(c, arena_printf(&c->arena, "ListAttached%sPolicies", c->kind), "attached",
                  "PolicyName", NULL);
    else if (c->count == 1 && (strcmp(v, "rm") == 0 || (c->kind && (strcmp(v, "attach") == 0 ||
                                                                    strcmp(v, "detach") == 0))))
        ok = change(c);
    else
        mistake(c, "which? put NAME FILE; attach or detach NAME --user U; ls; rm NAME");
    return ok ? 0 : 1;
}

/* ---- arguments ---- */

static bool take_option(struct call *c, const char *name, const char *value)
{
    static const char *const kinds[][2] = { { "--user", "User" },
                                            { "--group", "Group" },
                                            { "--role", "Role" } };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(name, kinds[i][0]) == 0 && strcmp(c->tool, "policy") == 0 && !c->kind) {
            c->kind = kinds[i][1];
            c->principal = value;
            return true;
        }
    return client_take_option(&c->options, name, value);
}

static void parse(struct call *c, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            exit(0);
        }
        if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc || !take_option(c, argv[i], argv[i + 1]))
                cli_mistake(c->tool, argv[i], CLI_NO_OPTION);
            i++;
        } else if (!*c->verb) {
            c->verb = argv[i];
        } else if (c->count == ARRAY_LEN(c->words)) {
            cli_mistake(c->tool, argv[i], "too many words");
        } else {
            c->words[c->count++] = argv[i];
        }
    }
}

static int run(const char *tool, int (*work)(struct call *c), int argc, char **argv)
{
    struct call c = { .tool = tool, .verb = "" };
    parse(&c, argc, argv);
    int rc = client_open(&c.options, NULL, &c.client);
    if (rc != 0)
        return rc;
    buf_init(&c.form, FORM_MAX);
    arena_init(&c.arena, ARENA_MAX);
    rc = work(&c);
    client_request_release(&c.request);
    buf_release(&c.form);
    arena_release(&c.arena);
    client_close(c.client);
    return rc;
}

int cli_user(int argc, char **argv)
{
    return run("user", user, argc, argv);
}

int cli_key(int argc, char **argv)
{
    return run("key", key, argc, argv);
}

int cli_policy(int argc, char **argv)
{
    return run("policy", policy, argc, argv);
}
