/* kist events: what waits for targets, and what to do about it, through a running server. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "server/cli/client_json.h"
#include "server/cli/tools.h"

#define PROGRESS_MS 200
#define NAMES_MAX 64
#define BAR 40

static const char usage_text[] =
    "usage: kist events ls [TARGET] [--parked]\n"
    "       kist events show TARGET EVENT\n"
    "       kist events redrive TARGET [EVENT ...]\n"
    "       kist events drop TARGET EVENT ... | --parked | --all\n"
    "       kist events pause|resume TARGET\n"
    "       kist events replay s3://BUCKET[/PREFIX] TARGET [--detach]\n"
    "       kist events replays\n"
    "       kist events stop REPLAY\n"
    "\n"
    "ls shows the queues, or a target's events that wait (or were given up: --parked), one a\n"
    "line, the first word being what the other commands call EVENT. redrive sends those again\n"
    "that were given up, all without an EVENT. replay sends events about objects that are there\n"
    "already; it goes on without this command, and after a restart of the server.\n"
    "\n"
    "TARGET is an ARN, or the last part of one that kist target made or that has a queue.\n"
    "\n" CLIENT_OPTIONS_HELP;

struct events_call {
    struct client_options client;
    const char *verb, *names[NAMES_MAX];
    size_t name_count;
    bool parked, all, detach;
};

static json_t *ask(struct client *c, const char *action, json_t *in)
{
    return client_json(c, "events", action, in);
}

static long long number(const json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}

/* ---- pages ---- */

/* Shows each of a list, page by page. */
static int list(struct client *c, const char *action, const char *field, const json_t *in,
                void (*each)(void *ctx, const json_t *one), void *ctx)
{
    json_t *next = NULL;
    do {
        json_t *question = json_deep_copy(in), *one = NULL;
        size_t i = 0;
        if (next)
            json_object_set_new(question, "NextToken", next);
        json_t *page = ask(c, action, question);
        if (!page)
            return 1;
        json_array_foreach(json_object_get(page, field), i, one) each(ctx, one);
        next = ferror(stdout) ? NULL : json_incref(json_object_get(page, "NextToken"));
        json_decref(page);
    } while (next);
    return ferror(stdout) ? 1 : 0;
}

/* ---- names ---- */

struct lookup {
    const char *name;
    char *found; /* the one that fits */
    size_t count;
};

static void compare_target(void *ctx, const json_t *queue)
{
    struct lookup *l = ctx;
    const char *target = json_text(queue, "Target"), *last = strrchr(target, ':');
    if (!last || strcmp(last + 1, l->name) != 0)
        return;
    if (l->count++ == 0)
        l->found = strdup(target);
}

/* The ARN, to be freed; NULL after a message. */
static char *target_of(struct client *c, const char *name)
{
    struct lookup l = { .name = name };
    json_t *none = json_object();
    if (strncmp(name, "arn:", 4) == 0) {
        json_decref(none);
        return strdup(name);
    }
    int rc = list(c, "ListQueues", "Queues", none, compare_target, &l);
    json_decref(none);
    if (rc == 0 && l.count == 0) { /* made, but nothing waits for it */
        json_t *out = ask(c, "GetTarget", json_pack("{s:s}", "Name", name));
        if (out)
            l.found = strdup(json_text(json_object_get(out, "Target"), "Arn"));
        json_decref(out);
    }
    if (l.count > 1) {
        fprintf(stderr, "kist: events: several targets end in %s: give the ARN\n", name);
        free(l.found);
        l.found = NULL;
    }
    return l.found;
}

/* ---- looking ---- */

static void show_queue(void *ctx, const json_t *q)
{
    (void)ctx;
    printf("%-64s %10lld %8lld %10lld %8lld %s%s\n", json_text(q, "Target"), number(q, "Waiting"),
           number(q, "Parked"), number(q, "Delivered"), number(q, "Retried"),
           json_is_true(json_object_get(q, "Paused")) ? "paused " : "",
           json_is_true(json_object_get(q, "Absent")) ? "absent" : "");
}

static void show_event(void *ctx, const json_t *e)
{
    (void)ctx;
    const char *error = json_text(e, "Error");
    printf("%s  %s  %-24s %s/", json_text(e, "Handle"), json_text(e, "Time"),
           json_text(e, "Event"), json_text(e, "Bucket"));
    client_print(stdout, json_text(e, "Key"));
    printf("  %lld attempts%s", number(e, "Attempts"), error[0] ? ": " : "");
    client_print(stdout, error);
    printf("\n");
}

static int ls(struct client *c, const struct events_call *call, const char *target)
{
    json_t *in = json_object();
    int rc;
    if (target) {
        json_object_set_new(in, "Target", json_string(target));
        json_object_set_new(in, "State", json_string(call->parked ? "parked" : "waiting"));
        json_object_set_new(in, "MaxResults", json_integer(1000));
        rc = list(c, "ListEvents", "Events", in, show_event, NULL);
    } else {
        printf("%-64s %10s %8s %10s %8s\n", "target", "waiting", "parked", "delivered",
               "retried");
        rc = list(c, "ListQueues", "Queues", in, show_queue, NULL);
    }
    json_decref(in);
    return rc;
}

static int show(struct client *c, const char *target, const char *handle)
{
    json_t *out = ask(c, "GetEvent", json_pack("{s:s, s:s}", "Target", target, "Handle", handle));
    int rc = out ? 0 : 1;
    if (out) {
        json_dumpf(out, stdout, JSON_INDENT(2));
        printf("\n");
    }
    json_decref(out);
    return rc;
}

/* ---- changing ---- */

/* As often as there are more. */
static int change(struct client *c, const struct events_call *call, const char *target)
{
    bool drops = strcmp(call->verb, "drop") == 0, more = true;
    long long count = 0;
    while (more) {
        json_t *in = json_pack("{s:s}", "Target", target);
        json_t *handles = call->name_count > 1 ? json_array() : NULL;
        for (size_t i = 1; i < call->name_count; i++)
            json_array_append_new(handles, json_string(call->names[i]));
        if (handles)
            json_object_set_new(in, "Handles", handles);
        if (drops && !handles)
            json_object_set_new(in, "State", json_string(call->all ? "waiting" : "parked"));
        json_t *out = ask(c, drops ? "DropEvents" : "RedriveEvents", in);
        if (!out)
            return 1;
        count += number(out, drops ? "Dropped" : "Redriven");
        more = json_is_true(json_object_get(out, "More"));
        json_decref(out);
    }
    printf("%lld\n", count);
    return 0;
}

static int set_paused(struct client *c, const char *target, bool pause)
{
    json_t *out =
        ask(c, pause ? "PauseTarget" : "ResumeTarget", json_pack("{s:s}", "Target", target));
    int rc = out ? 0 : 1;
    json_decref(out);
    return rc;
}

/* ---- replays ---- */

static void progress(const json_t *replay, bool last)
{
    long long events = number(replay, "Events"), objects = number(replay, "Objects");
    char bar[BAR + 1];
    if (!isatty(STDERR_FILENO))
        return;
    long long done = objects && events < objects ? events * BAR / objects : BAR;
    for (long long i = 0; i < BAR; i++)
        bar[i] = i < done ? '#' : '.';
    bar[BAR] = 0;
    if (objects)
        fprintf(stderr, "\r[%s] %lld of %lld objects%s", bar, events, objects, last ? "\n" : "");
    else
        fprintf(stderr, "\r%lld objects%s", events, last ? "\n" : "");
}

/* Until it is over; the exit status. */
static int follow(struct client *c, const char *id)
{
    const struct timespec pause = { .tv_nsec = (long)PROGRESS_MS * 1000000 };
    for (;;) {
        json_t *replay = ask(c, "GetReplay", json_pack("{s:s}", "ReplayId", id));
        if (!replay)
            return 1;
        const char *status = json_text(replay, "Status");
        bool over = strcmp(status, "RUNNING") != 0, whole = strcmp(status, "COMPLETED") == 0;
        progress(replay, over);
        if (over)
            printf("%lld events%s%s\n", number(replay, "Events"), whole ? "" : ": ",
                   json_text(replay, "Reason"));
        json_decref(replay);
        if (over)
            return whole ? 0 : 1;
        nanosleep(&pause, NULL);
    }
}

static int replay(struct client *c, const struct events_call *call, const char *place,
                  const char *target)
{
    char bucket[256];
    place += 5;
    size_t len = strcspn(place, "/");
    snprintf(bucket, sizeof(bucket), "%.*s", (int)len, place);
    json_t *out = ask(c, "ReplayEvents",
                      json_pack("{s:s, s:s, s:s}", "Bucket", bucket, "Prefix",
                                place[len] ? place + len + 1 : "", "Target", target));
    int rc = out ? 0 : 1;
    if (out && call->detach)
        printf("%s\n", json_text(out, "ReplayId"));
    else if (out)
        rc = follow(c, json_text(out, "ReplayId"));
    json_decref(out);
    return rc;
}

static void show_replay(void *ctx, const json_t *r)
{
    (void)ctx;
    printf("%s  %s  %-9s %10lld events  s3://%s/%s  %s\n", json_text(r, "ReplayId"),
           json_text(r, "Begun"), json_text(r, "Status"), number(r, "Events"),
           json_text(r, "Bucket"), json_text(r, "Prefix"), json_text(r, "Target"));
}

static int replays(struct client *c)
{
    json_t *in = json_object();
    int rc = list(c, "ListReplays", "Replays", in, show_replay, NULL);
    json_decref(in);
    return rc;
}

static int stop(struct client *c, const char *id)
{
    json_t *out = ask(c, "StopReplay", json_pack("{s:s}", "ReplayId", id));
    int rc = out ? 0 : 1;
    json_decref(out);
    return rc;
}

/* ---- arguments ---- */

static void take_arguments(struct events_call *call, int argc, char **argv)
{
    call->verb = argc > 0 ? argv[0] : "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--parked") == 0)
            call->parked = true;
        else if (strcmp(argv[i], "--all") == 0)
            call->all = true;
        else if (strcmp(argv[i], "--detach") == 0)
            call->detach = true;
        else if (strncmp(argv[i], "--", 2) != 0 && call->name_count < NAMES_MAX)
            call->names[call->name_count++] = cli_need_utf8("events", NULL, argv[i]);
        else if (i + 1 < argc && client_take_option(&call->client, argv[i], argv[i + 1]))
            i++;
        else if (strncmp(argv[i], "--", 2) != 0)
            cli_mistake("events", argv[i], "too many words");
        else
            cli_mistake("events", argv[i], CLI_NO_OPTION);
    }
}

static void check_arguments(const struct events_call *call)
{
    static const struct {
        const char *verb;
        size_t least, most;
    } verbs[] = { { "ls", 0, 1 },           { "show", 2, 2 },    { "redrive", 1, NAMES_MAX },
                  { "drop", 1, NAMES_MAX }, { "pause", 1, 1 },   { "resume", 1, 1 },
                  { "replay", 2, 2 },       { "replays", 0, 0 }, { "stop", 1, 1 } };
    bool drops = strcmp(call->verb, "drop") == 0;
    size_t v = 0;
    while (v < ARRAY_LEN(verbs) && strcmp(call->verb, verbs[v].verb) != 0)
        v++;
    if (v == ARRAY_LEN(verbs))
        cli_mistake("events", *call->verb ? call->verb : NULL,
                    "which? ls, show, redrive, drop, pause, resume, replay, replays or stop");
    if (call->name_count < verbs[v].least || call->name_count > verbs[v].most)
        cli_mistake("events", call->verb, "wrong number of words");
    if (strcmp(call->verb, "replay") == 0 && strncmp(call->names[0], "s3://", 5) != 0)
        cli_mistake("events", call->names[0], "objects are s3://BUCKET[/PREFIX]");
    /* Nobody drops everything by leaving something out. */
    if (drops && (call->name_count > 1) + call->parked + call->all != 1)
        cli_mistake("events", "drop", "which? EVENT ..., --parked or --all");
}

static int run(struct client *c, const struct events_call *call)
{
    const char *verb = call->verb;
    bool replaying = strcmp(verb, "replay") == 0;
    if (strcmp(verb, "replays") == 0)
        return replays(c);
    if (strcmp(verb, "stop") == 0)
        return stop(c, call->names[0]);
    if (strcmp(verb, "ls") == 0 && call->name_count == 0)
        return ls(c, call, NULL);
    const char *name = call->names[replaying];
    char *target = name ? target_of(c, name) : NULL;
    int rc = 1;
    if (!target)
        return rc;
    if (strcmp(verb, "ls") == 0)
        rc = ls(c, call, target);
    else if (strcmp(verb, "show") == 0)
        rc = show(c, target, call->names[1]);
    else if (replaying)
        rc = replay(c, call, call->names[0], target);
    else if (strcmp(verb, "pause") == 0 || strcmp(verb, "resume") == 0)
        rc = set_paused(c, target, strcmp(verb, "pause") == 0);
    else
        rc = change(c, call, target);
    free(target);
    return rc;
}

int cli_events(int argc, char **argv)
{
    struct events_call call = { .verb = "" };
    struct client *c = NULL;
    for (int i = 0; i < argc; i++)
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            return 0;
        }
    take_arguments(&call, argc, argv);
    check_arguments(&call);
    int rc = client_open(&call.client, NULL, &c);
    if (rc == 0)
        rc = run(c, &call);
    client_close(c);
    return rc;
}
