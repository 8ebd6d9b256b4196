#include "server/cli/bench.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/cli/bench_internal.h"
#include "server/cli/tools.h"
#include "storage/base/bytes.h"

#define TEXT_MAX 256 /* several fit into the head of a request */

static const char help[] =
    "usage: kist bench [options]\n\n"
    "  --endpoint URL       http://127.0.0.1:9000 (plain HTTP; a name or an address)\n"
    "  --access-key K --secret-key S   or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY\n"
    "  --region R           us-east-1\n"
    "  --bucket B           kist-bench; made when it is missing\n"
    "  --op OP              put, get, head, list, delete, mixed, multipart (put)\n"
    "  --mix put=20,get=70  percentages for mixed\n"
    "  --size N[KMG]        body size (4K)\n"
    "  --keys N             key space (10000); get, head and delete write it first\n"
    "  --key-prefix P  --key-order random|sequential\n"
    "  --list-prefix P  --max-keys N   for list (1000)\n"
    "  --concurrency N      connections (64)\n"
    "  --duration S (10)  --requests N  --warmup S (1)\n"
    "  --no-prepare         the keys are there already\n"
    "  --no-auth --path-prefix P       plain GETs of P0, P1, ... from any web server\n"
    "  --host NAME          in the Host header (the endpoint's)\n"
    "  --seed N  --json  --quiet\n"
    "  --raw                the machine's own limits instead: fdatasync, hashes, loopback\n";

static void __attribute__((noreturn)) mistake(const char *what)
{
    cli_mistake("bench", NULL, what);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t v = strtoull(text, &end, 10);
    const char *units = "KMG";
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (end == text || *text == '-' || (*end && (!unit || end[1])))
        mistake(text);
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    if (v > UINT64_MAX >> shift)
        mistake(text);
    return v << shift;
}

static const char *const op_names[BENCH_OPS] = { "put",  "get",    "head",
                                                 "list", "delete", "multipart" };

static void set_mix(struct bench_options *o, const char *text)
{
    memset(o->mix, 0, sizeof(o->mix));
    unsigned total = 0;
    while (*text) {
        size_t len = strcspn(text, "=");
        unsigned op = 0;
        while (op < BENCH_OPS &&
               (strlen(op_names[op]) != len || strncmp(op_names[op], text, len)))
            op++;
        if (op == BENCH_OPS || text[len] != '=')
            mistake("--mix put=20,get=80 adds up to 100");
        o->mix[op] = (unsigned)strtoul(text + len + 1, NULL, 10);
        total += o->mix[op];
        text += strcspn(text, ",");
        text += *text == ',';
    }
    if (total != 100)
        mistake("--mix put=20,get=80 adds up to 100");
}

static void set_op(struct bench_options *o, const char *name)
{
    memset(o->mix, 0, sizeof(o->mix));
    if (strcmp(name, "mixed") == 0) {
        set_mix(o, "put=20,get=70,head=5,list=2,delete=3");
        return;
    }
    for (unsigned op = 0; op < BENCH_OPS; op++)
        if (strcmp(name, op_names[op]) == 0) {
            o->mix[op] = 100;
            return;
        }
    mistake("unknown --op");
}

static void set_endpoint(struct bench_options *o, char *url)
{
    static char host[128];
    if (strncmp(url, "http://", 7) != 0)
        mistake("--endpoint http://HOST:PORT (HTTPS is not spoken)");
    const char *name = url + 7;
    bool v6 = *name == '[';
    size_t len = v6 ? strcspn(++name, "]") : strcspn(name, ":/");
    const char *rest = name + len + (v6 && name[len] == ']');
    if (len == 0 || len >= sizeof(host))
        mistake("--endpoint http://HOST:PORT");
    snprintf(host, sizeof(host), "%.*s", (int)len, name);
    o->host = host;
    o->port = *rest == ':' ? (uint16_t)strtoul(rest + 1, NULL, 10) : 80;
}

struct text_option {
    const char *name;
    const char **to;
};
struct number_option {
    const char *name;
    uint64_t *to;
};

static bool set_text(struct bench_options *o, const char *name, const char *value)
{
    const struct text_option options[] = {
        { "--access-key", &o->access_key },   { "--secret-key", &o->secret_key },
        { "--region", &o->region },           { "--bucket", &o->bucket },
        { "--key-prefix", &o->key_prefix },   { "--list-prefix", &o->list_prefix },
        { "--path-prefix", &o->path_prefix }, { "--host", &o->named_host },
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (strcmp(name, options[i].name) == 0) {
            if (strlen(value) > TEXT_MAX)
                cli_mistake("bench", name, "it is too long");
            *options[i].to = value;
            return true;
        }
    return false;
}

static bool set_number(struct bench_options *o, const char *name, const char *value)
{
    const struct number_option options[] = {
        { "--size", &o->size },
        { "--keys", &o->keys },
        { "--concurrency", &o->concurrency },
        { "--duration", &o->duration_s },
        { "--requests", &o->requests },
        { "--warmup", &o->warmup_s },
        { "--max-keys", &o->max_keys },
        { "--seed", &o->seed },
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (strcmp(name, options[i].name) == 0) {
            *options[i].to = number(value);
            return true;
        }
    return false;
}

static bool set_flag(struct bench_options *o, const char *name)
{
    const struct {
        const char *name;
        bool *to;
    } flags[] = { { "--no-auth", &o->no_auth },
                  { "--no-prepare", &o->no_prepare },
                  { "--json", &o->json },
                  { "--quiet", &o->quiet },
                  { "--raw", &o->raw } };
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (strcmp(name, flags[i].name) == 0) {
            *flags[i].to = true;
            return true;
        }
    return false;
}

static void parse(int argc, char **argv, struct bench_options *o)
{
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            printf("%s", help);
            exit(0);
        }
        if (set_flag(o, argv[i]))
            continue;
        if (i + 1 == argc)
            cli_mistake("bench", argv[i], CLI_NO_OPTION);
        char *value = argv[i + 1];
        if (strcmp(argv[i], "--endpoint") == 0)
            set_endpoint(o, value);
        else if (strcmp(argv[i], "--op") == 0)
            set_op(o, value);
        else if (strcmp(argv[i], "--mix") == 0)
            set_mix(o, value);
        else if (strcmp(argv[i], "--key-order") == 0)
            o->sequential = strcmp(value, "sequential") == 0;
        else if (!set_text(o, argv[i], value) && !set_number(o, argv[i], value))
            cli_mistake("bench", argv[i], CLI_NO_OPTION);
        i++;
    }
    if (!o->keys || !o->concurrency ||
        (!o->no_auth && !o->raw && (!o->access_key || !o->secret_key)))
        mistake("keys, concurrency and credentials are needed");
}

/* ---- phases ---- */

static void make_bucket(const struct bench_options *o)
{
    char path[300];
    snprintf(path, sizeof(path), "/%s", o->bucket);
    unsigned status = bench_once(o, "PUT", path, "", NULL, 0);
    if (status != 200 && status != 409) {
        fprintf(stderr, "kist: bench: cannot make bucket %s at %s:%u (status %u)\n", o->bucket,
                o->host, o->port, status);
        exit(1);
    }
}

static const char *start_upload(const struct bench_options *o)
{
    static char id[200];
    char path[300], body[4096];
    snprintf(path, sizeof(path), "/%s/%smultipart", o->bucket, o->key_prefix);
    if (bench_once(o, "POST", path, "uploads=", body, sizeof(body)) != 200)
        mistake("cannot start a multipart upload");
    char *from = strstr(body, "<UploadId>"), *to = strstr(body, "</UploadId>");
    if (!from || !to || (size_t)(to - from - 10) >= sizeof(id))
        mistake("no upload id");
    snprintf(id, sizeof(id), "%.*s", (int)(to - from - 10), from + 10);
    return id;
}

static void prepare(const struct bench_options *o, struct bench_phase *phase)
{
    struct bench_result ignored;
    if (o->no_auth)
        return;
    make_bucket(o);
    if (o->mix[BENCH_PART])
        phase->upload_id = start_upload(o);
    bool needs = o->mix[BENCH_GET] || o->mix[BENCH_HEAD] || o->mix[BENCH_DELETE];
    if (o->no_prepare || !needs)
        return;
    struct bench_phase fill = {
        .options = o, .requests = o->keys, .each_key_once = true, .progress = phase->progress
    };
    fill.mix[BENCH_PUT] = 100;
    (void)bench_run(&fill, &ignored);
}

static void report_json(const struct bench_result *r)
{
    double s = (double)r->elapsed_ns / 1e9;
    const struct histogram *h = &r->latency;
    printf(
        "{\"requests\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"seconds\":%.3f,"
        "\"requests_per_s\":%.1f,\"bytes_in_per_s\":%.0f,\"bytes_out_per_s\":%.0f,"
        "\"latency_us\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}}\n",
        r->requests, r->errors, s, (double)r->requests / s, (double)r->bytes_in / s,
        (double)r->bytes_out / s, (double)histogram_quantile(h, 0.5) / 1e3,
        (double)histogram_quantile(h, 0.9) / 1e3, (double)histogram_quantile(h, 0.99) / 1e3,
        (double)histogram_quantile(h, 0.999) / 1e3, (double)h->max / 1e3);
}

static void report_text(const struct bench_result *r)
{
    double s = (double)r->elapsed_ns / 1e9;
    const struct histogram *h = &r->latency;
    printf("%" PRIu64 " requests in %.1f s: %.0f/s, in %.1f MB/s, out %.1f MB/s, %" PRIu64
           " errors\n",
           r->requests, s, (double)r->requests / s, (double)r->bytes_in / s / 1e6,
           (double)r->bytes_out / s / 1e6, r->errors);
    printf("latency us: p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f\n",
           (double)histogram_quantile(h, 0.5) / 1e3, (double)histogram_quantile(h, 0.9) / 1e3,
           (double)histogram_quantile(h, 0.99) / 1e3, (double)histogram_quantile(h, 0.999) / 1e3,
           (double)h->max / 1e3);
    for (unsigned status = 0; status < ARRAY_LEN(r->by_status); status++)
        if (r->by_status[status] && (status < 200 || status > 299))
            printf("status %u: %" PRIu64 "\n", status, r->by_status[status]);
}

int cli_bench(int argc, char **argv)
{
    static char endpoint[] = "http://127.0.0.1:9000";
    struct bench_options o = { .access_key = getenv("AWS_ACCESS_KEY_ID"),
                               .secret_key = getenv("AWS_SECRET_ACCESS_KEY"),
                               .region = "us-east-1",
                               .bucket = "kist-bench",
                               .key_prefix = "k",
                               .list_prefix = "",
                               .path_prefix = "/",
                               .size = 4096,
                               .keys = 10000,
                               .concurrency = 64,
                               .duration_s = 10,
                               .warmup_s = 1,
                               .max_keys = 1000,
                               .seed = 1 };
    struct bench_result result;
    set_endpoint(&o, endpoint);
    set_op(&o, "put");
    parse(argc, argv, &o);
    if (o.raw)
        return bench_raw(&o);
    struct bench_phase phase = { .options = &o, .progress = !o.quiet && isatty(STDERR_FILENO) };
    prepare(&o, &phase);
    memcpy(phase.mix, o.mix, sizeof(o.mix));
    phase.duration_ns = o.warmup_s * 1000000000U;
    if (o.warmup_s)
        (void)bench_run(&phase, &result);
    phase.requests = o.requests;
    phase.duration_ns = o.requests ? 0 : o.duration_s * 1000000000U;
    if (!bench_run(&phase, &result)) {
        fprintf(stderr, "kist: bench: cannot connect to %s:%u\n", o.host, o.port);
        return 1;
    }
    if (o.json)
        report_json(&result);
    else
        report_text(&result);
    return result.errors && result.errors >= result.requests ? 1 : 0;
}
