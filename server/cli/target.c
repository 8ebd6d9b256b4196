/* kist target: webhooks and brokers that events go to, through a running server. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/client_json.h"
#include "server/cli/tools.h"

#define SECRET_MAX 256

static const char usage_text[] =
    "usage: kist target add NAME URL [options]\n"
    "       kist target ls\n"
    "       kist target show|test|rm NAME\n"
    "\n"
    "add makes a target, or changes all of one, and shows its ARN: bucket notifications name it\n"
    "as a queue, or as a topic with sns in place of sqs. test sends s3:TestEvent and says what\n"
    "came of it.\n"
    "\n"
    "URLs: http and https (webhooks), redis, rediss, nats, tls, mqtt, mqtts, amqp,\n"
    "amqps, kafka.\n"
    "  --form FORM       s3 (the default), cloudevents, cloudevents-binary, eventbridge\n"
    "  --secret TEXT     sign webhooks with it; -: the first line of standard input\n"
    "  --dead-letter X   where events go that cannot be delivered: an ARN, s3://bucket/prefix\n"
    "  --retries N       attempts after the first (without end)\n"
    "  --max-age S       seconds until an event is given up (86400)\n"
    "  --concurrency N   deliveries at once (webhooks 64, brokers 256)\n"
    "  --ordered         events of one key one after the other, in rules made from now on\n"
    "  --private         it may be in a private network, or on this machine\n"
    "  --option K=V      of its kind: see the manual\n"
    "\n" CLIENT_OPTIONS_HELP;

static json_t *ask(struct client *c, const char *action, json_t *in)
{
    return client_json(c, "target", action, in);
}

/* ---- commands ---- */

static int add(struct client *c, json_t *in)
{
    json_t *out = ask(c, "PutTarget", in);
    const json_t *target = json_object_get(out, "Target");
    if (target)
        printf("%s\n", json_text(target, "Arn"));
    json_decref(out);
    return target ? 0 : 1;
}

static void list_one(const json_t *t)
{
    printf("%-20s %-8s %s\n", json_text(t, "Name"), json_text(t, "Kind"), json_text(t, "Url"));
}

static int list(struct client *c)
{
    json_t *next = NULL;
    bool more = true, ok = true;
    while (ok && more) {
        json_t *in = json_object();
        if (next)
            json_object_set(in, "NextToken", next);
        json_decref(next);
        json_t *page = ask(c, "ListTargets", in), *t = NULL;
        size_t i = 0;
        json_array_foreach(json_object_get(page, "Targets"), i, t) list_one(t);
        next = json_incref(json_object_get(page, "NextToken"));
        more = next != NULL;
        ok = page != NULL && !ferror(stdout);
        json_decref(page);
    }
    if (!ok)
        json_decref(next);
    return ok ? 0 : 1;
}

static int show(struct client *c, const char *name)
{
    json_t *out = ask(c, "GetTarget", json_pack("{s:s}", "Name", name));
    int rc = out ? 0 : 1;
    if (out) {
        json_dumpf(json_object_get(out, "Target"), stdout, JSON_INDENT(2));
        printf("\n");
    }
    json_decref(out);
    return rc;
}

static int test(struct client *c, const char *name)
{
    json_t *out = ask(c, "TestTarget", json_pack("{s:s}", "Name", name));
    const char *outcome = json_text(out, "Outcome"), *why = json_text(out, "Message");
    bool delivered = strcmp(outcome, "delivered") == 0;
    if (out)
        printf("%s%s%s (%lld ms)\n", outcome, *why ? ": " : "", why,
               (long long)json_integer_value(json_object_get(out, "DurationMs")));
    json_decref(out);
    return delivered ? 0 : 1;
}

static int drop(struct client *c, const char *name)
{
    json_t *out = ask(c, "DeleteTarget", json_pack("{s:s}", "Name", name));
    int rc = out ? 0 : 1;
    json_decref(out);
    return rc;
}

/* ---- arguments ---- */

static json_t *number(const char *name, const char *value)
{
    uint64_t n = 0;
    if (bytes_to_u64(bytes_str(value), INT64_MAX, &n) != KIST_OK)
        cli_mistake("target", name, "a number is wanted");
    return json_integer((json_int_t)n);
}

static json_t *secret(const char *value)
{
    char line[SECRET_MAX + 2];
    if (strcmp(value, "-") != 0)
        return json_string(value);
    if (!fgets(line, sizeof(line), stdin) || !line[strcspn(line, "\r\n")]) {
        fprintf(stderr, "kist: target: no line of at most %d bytes on standard input\n",
                SECRET_MAX);
        exit(1);
    }
    line[strcspn(line, "\r\n")] = 0;
    cli_need_utf8("target", "--secret", line);
    return json_string(line);
}

static void set_option(json_t *in, const char *value)
{
    json_t *options = json_object_get(in, "Options");
    const char *equals = strchr(value, '=');
    char name[64];
    if (!equals || equals == value || (size_t)(equals - value) >= sizeof(name))
        cli_mistake("target", "--option", "it is K=V");
    if (!options)
        json_object_set_new(in, "Options", options = json_object());
    snprintf(name, sizeof(name), "%.*s", (int)(equals - value), value);
    json_object_set_new(options, name, json_string(equals + 1));
}

static bool take_flag(json_t *in, const char *name)
{
    if (strcmp(name, "--ordered") == 0)
        json_object_set_new(in, "Ordered", json_true());
    else if (strcmp(name, "--private") == 0)
        json_object_set_new(in, "PrivateNetwork", json_true());
    else
        return false;
    return true;
}

static bool take_option(json_t *in, const char *name, const char *value)
{
    cli_need_utf8("target", name, value);
    if (strcmp(name, "--form") == 0)
        json_object_set_new(in, "Form", json_string(value));
    else if (strcmp(name, "--secret") == 0)
        json_object_set_new(in, "Secret", secret(value));
    else if (strcmp(name, "--dead-letter") == 0)
        json_object_set_new(in, "DeadLetter", json_string(value));
    else if (strcmp(name, "--retries") == 0)
        json_object_set_new(in, "Retries", number(name, value));
    else if (strcmp(name, "--max-age") == 0)
        json_object_set_new(in, "MaxAgeSeconds", number(name, value));
    else if (strcmp(name, "--concurrency") == 0)
        json_object_set_new(in, "Concurrency", number(name, value));
    else if (strcmp(name, "--option") == 0)
        set_option(in, value);
    else
        return false;
    return true;
}

/* Options may stand before, between and behind the names. */
static size_t take_arguments(int argc, char **argv, bool adds, struct client_options *client,
                             json_t *in, const char *names[2])
{
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strncmp(argv[i], "--", 2) != 0) {
            if (count == 2)
                cli_mistake("target", argv[i], "too many words");
            cli_need_utf8("target", NULL, argv[i]);
            names[count++] = argv[i];
        } else if (adds && take_flag(in, argv[i])) {
            continue;
        } else if (value && ((adds && take_option(in, argv[i], value)) ||
                             client_take_option(client, argv[i], value))) {
            i++;
        } else {
            cli_mistake("target", argv[i], CLI_NO_OPTION);
        }
    }
    return count;
}

static int run(struct client *c, const char *verb, const char *const names[2], json_t *in)
{
    if (strcmp(verb, "add") == 0) {
        json_object_set_new(in, "Name", json_string(names[0]));
        json_object_set_new(in, "Url", json_string(names[1]));
        return add(c, json_incref(in));
    }
    if (strcmp(verb, "ls") == 0)
        return list(c);
    if (strcmp(verb, "show") == 0)
        return show(c, names[0]);
    return strcmp(verb, "test") == 0 ? test(c, names[0]) : drop(c, names[0]);
}

int cli_target(int argc, char **argv)
{
    static const struct {
        const char *verb;
        size_t names;
    } verbs[] = { { "add", 2 }, { "ls", 0 }, { "show", 1 }, { "test", 1 }, { "rm", 1 } };
    struct client_options options = { 0 };
    struct client *c = NULL;
    const char *names[2] = { NULL, NULL }, *verb = argc > 0 ? argv[0] : "";
    size_t v = 0;
    for (int i = 0; i < argc; i++)
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            return 0;
        }
    while (v < ARRAY_LEN(verbs) && strcmp(verb, verbs[v].verb) != 0)
        v++;
    if (v == ARRAY_LEN(verbs))
        cli_mistake("target", *verb ? verb : NULL, "which? add, ls, show, test or rm");
    json_t *in = json_object();
    if (take_arguments(argc, argv, v == 0, &options, in, names) != verbs[v].names)
        cli_mistake("target", verb, "wrong number of words");
    int rc = client_open(&options, NULL, &c);
    if (rc == 0)
        rc = run(c, verb, names, in);
    client_close(c);
    json_decref(in);
    return rc;
}
