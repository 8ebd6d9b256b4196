/* kist fn: deploy, list, invoke, watch and remove functions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server/cli/client_json.h"
#include "server/cli/fn_internal.h"
#include "server/cli/tools.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"

#define ARENA_MAX ((size_t)64 << 20)
#define PAYLOAD_MAX ((size_t)6 << 20)
#define REPLY_MAX ((size_t)32 << 20)
#define BODY_MAX ((size_t)80 << 20)
#define LOG_WAIT_S 20

static const char usage_text[] =
    "usage: kist fn deploy NAME FILE|DIR|ZIP [options]\n"
    "       kist fn ls\n"
    "       kist fn invoke NAME [PAYLOAD|@FILE|-] [--async] [--log]\n"
    "       kist fn logs NAME [-f] [--since 10m]\n"
    "       kist fn rm NAME\n"
    "\n"
    "deploy makes a function, or gives it new code and settings. What it is written in follows\n"
    "from the file: x.py is Python with x.handler, x.mjs and x.js Node, a program is a "
    "bootstrap\n"
    "that speaks Lambda's Runtime API. rm takes away what deploy made.\n"
    "  --on s3://BUCKET/PREFIX*SUFFIX   call it for each such object that is created; the\n"
    "                    function may read and write in that bucket (may be given again)\n"
    "  --allow \"read s3://BUCKET/PREFIX\", --allow \"write s3://BUCKET/PREFIX\"\n"
    "                    it may do exactly this, instead (may be given again)\n"
    "  --runtime R       python3.11, nodejs20.x, provided.al2023 ...\n"
    "  --handler H       module.function\n"
    "  --memory MB       128 to 10240 (128)\n"
    "  --timeout S       1 to 900 (3)\n"
    "  --env K=V         a variable (may be given again; they replace those that were there)\n"
    "  --role ARN        what it may do; without one and with --on or --allow, kist-fn-NAME is "
    "made\n"
    "  --description T\n"
    "\n"
    "invoke prints the answer; its exit status is 1 when the function failed.\n"
    "  --async           do not wait for an answer\n"
    "  --log             show the end of its log, on standard error\n"
    "logs shows what it printed.\n"
    "  -f                go on as it comes\n"
    "  --since T         from so long ago: 30s, 10m, 2h, 1d\n"
    "\n" CLIENT_OPTIONS_HELP;

static int __attribute__((noreturn)) mistake(const char *what)
{
    cli_mistake("fn", NULL, what);
}

/* ---- calls ---- */

const char *fn_text(const json_t *object, const char *name)
{
    return json_text(object, name);
}

const char *fn_path(struct fn_cli *f, const char *name, const char *tail)
{
    struct buf out;
    const char *path = NULL;
    buf_init(&out, 4096);
    if (buf_append_str(&out, FN_PATH "/") == KIST_OK &&
        uri_encode(&out, bytes_str(name), false) == KIST_OK &&
        buf_append_str(&out, tail) == KIST_OK)
        path = arena_strndup(&f->arena, out.ptr, out.len);
    buf_release(&out);
    if (!path)
        mistake("the name is too long");
    return path;
}

bool fn_ask(struct fn_cli *f, const char *method, const char *path, json_t *in, json_t **out,
            unsigned *status)
{
    return client_rest(f->client, "lambda", method, path, in, out, status);
}

/* ---- ls ---- */

static void show_function(const json_t *fn)
{
    printf("%-24s %-16s %5lld MB %4lld s  %.19s  ", fn_text(fn, "FunctionName"),
           fn_text(fn, "Runtime"),
           (long long)json_integer_value(json_object_get(fn, "MemorySize")),
           (long long)json_integer_value(json_object_get(fn, "Timeout")),
           fn_text(fn, "LastModified"));
    client_print(stdout, fn_text(fn, "Description"));
    printf("\n");
}

static int list(struct fn_cli *f)
{
    char marker[1024] = "";
    for (;;) {
        json_t *page = NULL, *fn;
        size_t i;
        char path[1200];
        struct buf encoded;
        buf_init(&encoded, sizeof(marker) * 3);
        (void)!uri_encode(&encoded, bytes_str(marker), false);
        snprintf(path, sizeof(path), FN_PATH "%s%.*s", *marker ? "?Marker=" : "",
                 (int)encoded.len, encoded.len ? (const char *)encoded.ptr : "");
        buf_release(&encoded);
        if (!fn_ask(f, "GET", path, NULL, &page, NULL))
            return 1;
        json_array_foreach(json_object_get(page, "Functions"), i, fn) show_function(fn);
        snprintf(marker, sizeof(marker), "%s", fn_text(page, "NextMarker"));
        json_decref(page);
        if (!*marker || ferror(stdout))
            return ferror(stdout) ? 1 : 0;
    }
}

/* ---- invoke ---- */

static bool read_payload(const char *word, struct buf *out)
{
    char piece[8192];
    size_t n;
    buf_init(out, PAYLOAD_MAX);
    if (strcmp(word, "-") != 0 && *word != '@')
        return buf_append_str(out, word) == KIST_OK; /* shorter than an argument may be */
    CLEANUP_FCLOSE FILE *f = *word == '@' ? fopen(word + 1, "re") : fdopen(dup(0), "r");
    bool ok = f != NULL;
    if (!ok)
        fprintf(stderr, "kist: %s: %s\n", word, strerror(errno));
    while (ok && (n = fread(piece, 1, sizeof(piece), f)) > 0)
        if (!(ok = buf_append(out, piece, n) == KIST_OK))
            fprintf(stderr, "kist: %s: it is larger than 6 MiB\n", word);
    if (ok && ferror(f)) { /* what was read so far is not what was meant */
        fprintf(stderr, "kist: %s: %s\n", word, strerror(errno));
        ok = false;
    }
    return ok;
}

static void show_log(const struct client_request *q)
{
    struct bytes text = client_reply_header(q, "x-amz-log-result");
    uint8_t *log = malloc(text.len + 1);
    size_t len = 0;
    if (log && base64_decode(text, log, text.len, &len) == KIST_OK)
        fwrite(log, 1, len, stderr);
    free(log);
}

static int invoke(struct fn_cli *f, const char *name, const char *word, bool later, bool log)
{
    struct client_request q = { .service = "lambda",
                                .method = "POST",
                                .path = fn_path(f, name, "/invocations"),
                                .once = true,
                                .wants_headers = true,
                                .patience_s = 1000, /* Lambda's 15 minutes, and some */
                                .reply_max = REPLY_MAX };
    struct buf payload;
    bool ok = read_payload(word, &payload);
    q.body = buf_bytes(&payload);
    client_header_add(&q, "X-Amz-Invocation-Type", later ? "Event" : "RequestResponse");
    if (log && !later)
        client_header_add(&q, "X-Amz-Log-Type", "Tail");
    bool done = ok && client_do(f->client, &q);
    if (ok && !done)
        client_complain(&q, name);
    bool failed = client_reply_header(&q, "x-amz-function-error").len > 0;
    if (done && later)
        printf("request %.*s\n", (int)client_reply_header(&q, "x-amzn-requestid").len,
               (const char *)client_reply_header(&q, "x-amzn-requestid").ptr);
    if (done && !later) {
        show_log(&q);
        fwrite(q.reply.ptr, 1, q.reply.len, stdout);
        if (q.reply.len && q.reply.ptr[q.reply.len - 1] != '\n')
            putchar('\n');
    }
    client_request_release(&q);
    buf_release(&payload);
    return done && !failed ? 0 : 1;
}

/* ---- logs ---- */

/* "10m" in milliseconds; -1: it is none. */
static int64_t duration_ms(const char *text)
{
    static const char units[] = "smhd";
    static const int64_t lengths[] = { 1000, 60000, 3600000, 86400000 };
    size_t len = strlen(text);
    uint64_t n = 0;
    const char *unit = len > 1 ? strchr(units, text[len - 1]) : NULL;
    if (!unit || bytes_to_u64(bytes_of(text, len - 1), 100000, &n) != KIST_OK)
        return -1;
    return (int64_t)n * lengths[unit - units];
}

static void show_lines(const json_t *page)
{
    json_t *line;
    size_t i;
    json_array_foreach(json_object_get(page, "Lines"), i, line)
    {
        char when[TIME_ISO_LEN];
        time_iso(json_integer_value(json_object_get(line, "Time")), when);
        printf("%s %s\n", when, fn_text(line, "Text"));
    }
    fflush(stdout);
}

static int logs(struct fn_cli *f, const char *name, bool follow, int64_t since_ms)
{
    char after[32] = "0", tail[160];
    for (;;) {
        json_t *page = NULL;
        snprintf(tail, sizeof(tail), "/kist-logs?after=%s&since=%lld%s", after,
                 (long long)since_ms, follow ? "&wait=20" : "");
        if (!fn_ask(f, "GET", fn_path(f, name, tail), NULL, &page, NULL))
            return 1;
        bool any = json_array_size(json_object_get(page, "Lines")) > 0;
        show_lines(page);
        snprintf(after, sizeof(after), "%s", fn_text(page, "Next"));
        json_decref(page);
        arena_clear(&f->arena);
        if (ferror(stdout)) /* nobody reads it any more */
            return 1;
        if (!any && !follow)
            return 0;
    }
}

/* ---- arguments ---- */

struct arguments {
    struct client_options client;
    struct fn_deploy deploy;
    const char *words[4];
    size_t count;
    int64_t since_ms;
    bool later, log, follow;
};

static unsigned number(const char *name, const char *value)
{
    uint64_t n = 0;
    if (bytes_to_u64(bytes_str(value), 1000000, &n) != KIST_OK || n == 0)
        cli_mistake("fn", name, "a number is wanted");
    return (unsigned)n;
}

static bool take_option(struct arguments *a, const char *name, const char *value)
{
    struct fn_deploy *d = &a->deploy;
    if (strcmp(name, "--data") != 0 && strcmp(name, "--ca-file") != 0)
        cli_need_utf8("fn", name, value);
    if (strcmp(name, "--on") == 0 && d->trigger_count < FN_TRIGGERS_MAX)
        d->triggers[d->trigger_count++] = value;
    else if (strcmp(name, "--env") == 0 && d->variable_count < FN_VARIABLES_MAX &&
             strchr(value, '='))
        d->variables[d->variable_count++] = value;
    else if (strcmp(name, "--allow") == 0 && d->allow_count < FN_PERMISSIONS_MAX)
        d->allow[d->allow_count++] = value;
    else if (strcmp(name, "--runtime") == 0)
        d->runtime = value;
    else if (strcmp(name, "--handler") == 0)
        d->handler = value;
    else if (strcmp(name, "--role") == 0)
        d->role = value;
    else if (strcmp(name, "--description") == 0)
        d->description = value;
    else if (strcmp(name, "--memory") == 0)
        d->memory_mb = number(name, value);
    else if (strcmp(name, "--timeout") == 0)
        d->timeout_s = number(name, value);
    else if (strcmp(name, "--since") == 0 && duration_ms(value) >= 0)
        a->since_ms = (int64_t)time(NULL) * 1000 - duration_ms(value);
    else
        return client_take_option(&a->client, name, value);
    return true;
}

static bool take_flag(struct arguments *a, const char *name)
{
    bool *flag = strcmp(name, "--async") == 0 ? &a->later
                 : strcmp(name, "--log") == 0 ? &a->log
                 : strcmp(name, "-f") == 0    ? &a->follow
                                              : NULL;
    if (flag)
        *flag = true;
    return flag != NULL;
}

static void parse(int argc, char **argv, struct arguments *a)
{
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            exit(0);
        }
        if (take_flag(a, argv[i]))
            continue;
        if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc || !take_option(a, argv[i], argv[i + 1]))
                cli_mistake("fn", argv[i], CLI_NO_OPTION);
            i++;
        } else if (a->count == ARRAY_LEN(a->words)) {
            cli_mistake("fn", argv[i], "too many words");
        } else {
            a->words[a->count++] = argv[i];
        }
    }
}

int cli_fn(int argc, char **argv)
{
    static const struct {
        const char *verb;
        size_t least, most;
    } verbs[] = {
        { "deploy", 3, 3 }, { "ls", 1, 1 }, { "invoke", 2, 3 }, { "logs", 2, 2 }, { "rm", 2, 2 }
    };
    struct arguments a = { .since_ms = 0 };
    struct fn_cli f = { 0 };
    size_t which = 0;
    parse(argc, argv, &a);
    while (which < ARRAY_LEN(verbs) &&
           (a.count == 0 || strcmp(verbs[which].verb, a.words[0]) != 0))
        which++;
    if (which == ARRAY_LEN(verbs))
        mistake("which? deploy, ls, invoke, logs or rm");
    if (a.count < verbs[which].least || a.count > verbs[which].most)
        mistake("wrong number of words");
    /* Rules and roles bear the name: what is made by it is found by it again. */
    bool names = strcmp(a.words[0], "deploy") == 0 || strcmp(a.words[0], "rm") == 0;
    if (names && strchr(a.words[1], ':'))
        cli_mistake("fn", a.words[1], "a function's name is wanted, no ARN");
    a.deploy.name = a.words[1];
    a.deploy.path = a.words[2];
    arena_init(&f.arena, ARENA_MAX);
    int rc = client_open(&a.client, NULL, &f.client);
    const char *payload = a.count == 3 ? a.words[2] : "{}";
    if (rc == 0)
        rc = which == 0   ? fn_deploy(&f, &a.deploy)
             : which == 1 ? list(&f)
             : which == 2 ? invoke(&f, a.words[1], payload, a.later, a.log)
             : which == 3 ? logs(&f, a.words[1], a.follow, a.since_ms)
                          : !fn_drop(&f, a.words[1]);
    client_close(f.client);
    arena_release(&f.arena);
    return rc;
}
