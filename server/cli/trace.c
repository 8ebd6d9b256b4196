/* kist trace: what followed from an upload, as a tree. kist lineage: what an object came from. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/client_json.h"
#include "server/cli/tools.h"
#include "storage/base/codec.h"

#define STEPS_MAX 64 /* longer than any chain that a server lets go on */

static const char trace_usage[] =
    "usage: kist trace ID\n"
    "\n"
    "Prints what followed from a change, as a tree: the object, the functions that were invoked\n"
    "for it, the objects that they wrote, and so on. ID is a W3C trace id of 32 hex digits, as "
    "in\n"
    "a traceparent header, in the logs of functions, and in what kist lineage shows.\n"
    "\n" CLIENT_OPTIONS_HELP;

static const char lineage_usage[] = "usage: kist lineage s3://BUCKET/KEY\n"
                                    "\n"
                                    "Prints which function wrote an object, for which event of "
                                    "which object, and where that came\n"
                                    "from in turn.\n"
                                    "\n" CLIENT_OPTIONS_HELP;

/* The one word that is no option; ends the process for --help and mistakes. */
static const char *take_word(const char *tool, int argc, char **argv, const char *help,
                             struct client_options *options)
{
    const char *word = NULL;
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            fputs(help, stdout);
            exit(0);
        }
        bool option = argv[i][0] == '-' && i + 1 < argc;
        if (option && client_take_option(options, argv[i], argv[i + 1])) {
            i++;
            continue;
        }
        if (argv[i][0] == '-')
            cli_mistake(tool, argv[i], CLI_NO_OPTION);
        if (word)
            cli_mistake(tool, argv[i], "too many words");
        word = argv[i];
    }
    if (!word)
        cli_mistake(tool, NULL, "of what?");
    return word;
}

/* ---- kist trace ---- */

static long long number(const json_t *span, const char *name)
{
    return (long long)json_integer_value(json_object_get(span, name));
}

/* Objects that several functions read are shown once; `seen` marks spans that were printed. */
static void print_children(json_t *spans, bool *seen, const char *parent, int depth);

static void print_span(json_t *spans, bool *seen, size_t at, int depth)
{
    const json_t *s = json_array_get(spans, at);
    bool object = strcmp(json_text(s, "Kind"), "Object") == 0;
    char when[TIME_ISO_LEN];
    time_iso(number(s, "BeginMs"), when);
    seen[at] = true;
    printf("%s  %*s%s ", when, 2 * depth, "", object ? "object  " : "function");
    client_print(stdout, json_text(s, "Name"));
    if (!object)
        printf("  %lld ms  %s", number(s, "EndMs") - number(s, "BeginMs"),
               json_text(s, "Outcome"));
    printf("\n");
    if (!object && depth < STEPS_MAX)
        print_children(spans, seen, json_text(s, "Span"), depth + 1);
}

/* What an invocation wrote, below it; what was invoked for that, below that. */
static void print_children(json_t *spans, bool *seen, const char *parent, int depth)
{
    for (size_t i = 0; i < json_array_size(spans); i++) {
        const json_t *s = json_array_get(spans, i);
        if (seen[i] || strcmp(json_text(s, "Parent"), parent) != 0 ||
            strcmp(json_text(s, "Kind"), "Object") != 0)
            continue;
        print_span(spans, seen, i, depth);
        for (size_t k = 0; k < json_array_size(spans); k++) {
            const json_t *f = json_array_get(spans, k);
            if (!seen[k] && strcmp(json_text(f, "Kind"), "Invocation") == 0 &&
                strcmp(json_text(f, "Source"), json_text(s, "Name")) == 0)
                print_span(spans, seen, k, depth + 1);
        }
    }
    for (size_t i = 0; i < json_array_size(spans); i++) {
        const json_t *s = json_array_get(spans, i);
        if (!seen[i] && parent[0] && strcmp(json_text(s, "Parent"), parent) == 0)
            print_span(spans, seen, i, depth);
    }
}

static bool has_parent(const json_t *spans, const json_t *span)
{
    const char *parent = json_text(span, "Parent");
    for (size_t i = 0; parent[0] && i < json_array_size(spans); i++)
        if (strcmp(json_text(json_array_get(spans, i), "Span"), parent) == 0)
            return true;
    return false;
}

/* What has no parent among the spans: the beginnings, each below the object that it was for. */
static void print_roots(json_t *spans, bool *seen)
{
    for (size_t i = 0; i < json_array_size(spans); i++) {
        const json_t *s = json_array_get(spans, i);
        if (seen[i] || has_parent(spans, s))
            continue;
        const char *source = json_text(s, "Source");
        if (source[0]) {
            char when[TIME_ISO_LEN];
            time_iso(number(s, "BeginMs"), when);
            printf("%s  object   ", when);
            client_print(stdout, source);
            printf("\n");
        }
        for (size_t k = i; k < json_array_size(spans); k++) {
            const json_t *other = json_array_get(spans, k);
            if (!seen[k] && strcmp(json_text(other, "Source"), source) == 0 &&
                strcmp(json_text(other, "Parent"), json_text(s, "Parent")) == 0)
                print_span(spans, seen, k, source[0] ? 1 : 0);
        }
    }
}

int cli_trace(int argc, char **argv)
{
    struct client_options options = { 0 };
    struct client *c = NULL;
    const char *id = take_word("trace", argc, argv, trace_usage, &options);
    int rc = client_open(&options, NULL, &c);
    if (rc != 0)
        return rc;
    json_t *out = client_json(c, "trace", "GetTrace", json_pack("{s:s}", "TraceId", id));
    json_t *spans = json_object_get(out, "Spans");
    bool *seen = calloc(json_array_size(spans) + 1, sizeof(*seen));
    if (out && json_array_size(spans) == 0)
        fprintf(stderr, "kist: trace: nothing is known of %s\n", id);
    rc = out && seen && json_array_size(spans) ? 0 : 1;
    if (rc == 0)
        print_roots(spans, seen);
    free(seen);
    json_decref(out);
    client_close(c);
    return rc;
}

/* ---- kist lineage ---- */

static char *copy_header(const struct client_request *q, const char *name)
{
    struct bytes value = client_reply_header(q, name);
    char *text = malloc(value.len + 1);
    if (text) {
        if (value.len)
            memcpy(text, value.ptr, value.len);
        text[value.len] = '\0';
    }
    return text;
}

/* Asks for one object; prints who wrote it. *path becomes its source's, percent-encoded, or NULL
 * at the end of the chain. False after a message. */
static bool step(struct client *c, char **path, int depth)
{
    char *query = strchr(*path, '?');
    if (query)
        *query++ = '\0';
    struct client_request q = {
        .service = "s3", .method = "HEAD", .path = *path, .query = query, .wants_headers = true
    };
    bool ok = client_do(c, &q);
    if (!ok && depth == 0) {
        client_complain(&q, *path + 1);
        client_request_release(&q);
        return false;
    }
    printf("%*s%s%s%s", 2 * depth, "", *path + 1, query ? "?" : "", query ? query : "");
    free(*path);
    *path = NULL;
    char *function = copy_header(&q, "x-kist-lineage-function");
    char *event = copy_header(&q, "x-kist-lineage-event");
    char *source = copy_header(&q, "x-kist-lineage-source");
    char *trace = copy_header(&q, "x-kist-lineage-trace");
    if (!ok)
        printf("  (no longer there, or not yours to read)\n");
    else if (!function || !function[0])
        printf("\n");
    else
        printf("\n%*s<- %s\n%*s   event %s, trace %s\n", 2 * depth, "", function, 2 * depth, "",
               event ? event : "", trace ? trace : "");
    if (ok && source && source[0] && asprintf(path, "/%s", source) < 0)
        *path = NULL;
    free(function);
    free(event);
    free(source);
    free(trace);
    client_request_release(&q);
    return true;
}

int cli_lineage(int argc, char **argv)
{
    struct client_options options = { 0 };
    struct client *c = NULL;
    struct buf path;
    const char *word = take_word("lineage", argc, argv, lineage_usage, &options);
    if (strncmp(word, "s3://", 5) != 0 || !strchr(word + 5, '/')) {
        cli_mistake("lineage", word, "an object is s3://BUCKET/KEY");
    }
    int rc = client_open(&options, NULL, &c);
    if (rc != 0)
        return rc;
    buf_init(&path, 16 << 10);
    bool ok = buf_append_str(&path, "/") == KIST_OK &&
              uri_encode(&path, bytes_str(word + 5), true) == KIST_OK &&
              buf_append(&path, "", 1) == KIST_OK;
    char *at = ok ? strdup((const char *)path.ptr) : NULL;
    ok = ok && at;
    for (int depth = 0; ok && at && depth < STEPS_MAX; depth++)
        ok = step(c, &at, depth);
    free(at);
    buf_release(&path);
    client_close(c);
    return ok ? 0 : 1;
}
