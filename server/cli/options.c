#include "server/cli/options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"

enum kind { TEXT, NUMBER, SIZE, ON, OFF };

struct option {
    const char *name, *argument, *help;
    enum kind kind;
    size_t offset;
};

#define FIELD(f) offsetof(struct serve_options, f)
static const struct option options[] = {
    { "data", "DIR", "where everything is kept (./kist-data)", TEXT, FIELD(data) },
    { "listen", "ADDR:PORT", "S3 address; port 0 picks one (127.0.0.1:9000)", TEXT,
      FIELD(listen) },
    { "admin", "ADDR:PORT", "health and metrics; \"off\" for none (127.0.0.1:9001)", TEXT,
      FIELD(admin) },
    { "region", "NAME", "region in signatures and answers (us-east-1)", TEXT, FIELD(region) },
    { "domain", "NAME", "buckets are also <bucket>.NAME (localhost)", TEXT, FIELD(domain) },
    { "tls-cert", "FILE", "PEM certificate chain: serve HTTPS", TEXT, FIELD(tls_cert) },
    { "tls-key", "FILE", "PEM private key", TEXT, FIELD(tls_key) },
    { "master-key-file", "FILE", "keys that protect encrypted objects (DIR/master-key)", TEXT,
      FIELD(master_key_file) },
    { "loops", "N", "event loops (one per core)", NUMBER, FIELD(loops) },
    { "max-connections", "N", "more are closed at once (16384)", NUMBER, FIELD(max_connections) },
    { "header-timeout", "S", "seconds for a whole request header (20)", NUMBER,
      FIELD(header_timeout_s) },
    { "body-timeout", "S", "seconds in which a body must move (30)", NUMBER,
      FIELD(body_timeout_s) },
    { "idle-timeout", "S", "seconds between requests (60)", NUMBER, FIELD(idle_timeout_s) },
    { "memory", "BYTES", "ceiling for buffered bodies (64M)", SIZE, FIELD(memory_bytes) },
    { "reserve", "BYTES", "refuse new data below this free space (64M)", SIZE,
      FIELD(reserve_bytes) },
    { "log-segment", "BYTES", "size of a log segment (64M)", SIZE, FIELD(log_segment_bytes) },
    { "scrub-days", "N", "a background scrub takes this long; 0: none (30)", NUMBER,
      FIELD(scrub_days) },
    { "lifecycle-day", "S", "length of a lifecycle day, for tests (86400)", NUMBER,
      FIELD(lifecycle_day_s) },
    { "lifecycle-offset", "S", "lifecycle acts as if so much later, for tests (0)", NUMBER,
      FIELD(lifecycle_offset_s) },
    { "access-log-interval", "S", "access logs are delivered so often; 0: never (60)", NUMBER,
      FIELD(access_log_interval_s) },
    { "usage-interval", "S", "requests and transfer are recorded so often; 0: never (10)", NUMBER,
      FIELD(usage_interval_s) },
    { "no-functions", NULL, "run no functions", OFF, FIELD(functions) },
    { "trust-functions", NULL, "run them although no sandbox protects the server", ON,
      FIELD(trust_functions) },
    { "function-concurrency", "N", "invocations at once (two per core)", NUMBER,
      FIELD(function_concurrency) },
    { "function-memory", "BYTES", "that functions hold together (half the machine's)", SIZE,
      FIELD(function_memory_bytes) },
    { "function-idle", "S", "an environment without work is ended after (300)", NUMBER,
      FIELD(function_idle_s) },
    { "trace", "MODULES", "debug messages of these: http,s3,log,index,...", TEXT, FIELD(trace) },
    { "json", NULL, "messages as JSON", ON, FIELD(json) },
    { "no-sync", NULL, "do not sync: for measurements only, loses data", OFF, FIELD(sync) },
};

static void usage(FILE *f)
{
    fprintf(f, "usage: kist serve [options]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        char left[40];
        snprintf(left, sizeof(left), "--%s %s", options[i].name,
                 options[i].argument ? options[i].argument : "");
        fprintf(f, "  %-26s %s\n", left, options[i].help);
    }
    fprintf(f,
            "\nEach is also an environment variable: --tls-cert is KIST_TLS_CERT. Those without\n"
            "a value are 1 or 0 there: KIST_JSON=1. The command line wins.\n"
            "KIST_ROOT_ACCESS_KEY and KIST_ROOT_SECRET_KEY set the root key; without them\n"
            "it is made on first start and kept in the data directory. KIST_MASTER_KEY\n"
            "gives master keys (base64 of 32 bytes, the last one is current) themselves.\n");
}

static void __attribute__((noreturn)) mistake(const char *what, const char *which)
{
    fprintf(stderr, "kist: %s: %s (see kist serve --help)\n", what, which);
    exit(2);
}

/* Numbers are counted and multiplied as 32 bits at least; a size may be any. */
static bool number(const char *text, bool size, uint64_t *out)
{
    size_t len = strlen(text);
    unsigned shift = 0;
    const char *units = "KMGT";
    const char *unit = size && len ? strchr(units, toupper((unsigned char)text[len - 1])) : NULL;
    if (unit && *unit) {
        shift = 10 * (unsigned)(unit - units + 1);
        len--;
    }
    uint64_t v;
    if (bytes_to_u64(bytes_of(text, len), size ? UINT64_MAX >> shift : UINT32_MAX, &v) != KIST_OK)
        return false;
    *out = v << shift;
    return true;
}

/* name: of the option or the variable, for messages. */
static void set(struct serve_options *o, const struct option *option, const char *name,
                const char *value)
{
    char *field = (char *)o + option->offset;
    uint64_t v = 0;
    bool flag = option->kind == ON;
    switch (option->kind) {
    case TEXT:
        memcpy(field, &value, sizeof(value));
        break;
    case NUMBER:
    case SIZE:
        if (!number(value, option->kind == SIZE, &v))
            mistake(name, option->kind == SIZE ? "a size is wanted, as 64M"
                                               : "a number up to 4294967295 is wanted");
        memcpy(field, &v, sizeof(v));
        break;
    case ON:
    case OFF:
        memcpy(field, &flag, sizeof(flag));
        break;
    }
}

/* Of a variable: "KIST_NO_SYNC=false" must not give up durability. */
static bool is_on(const char *name, const char *value)
{
    static const char *const words[][2] = {
        { "0", "1" }, { "false", "true" }, { "no", "yes" }, { "off", "on" }
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (size_t k = 0; k < 2; k++)
            if (strcasecmp(value, words[i][k]) == 0)
                return k == 1;
    mistake(name, "0 or 1 is wanted");
}

static void from_environment(struct serve_options *o)
{
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        char name[64] = "KIST_";
        size_t at = 5;
        for (const char *c = options[i].name; *c && at + 1 < sizeof(name); c++)
            name[at++] = (char)(*c == '-' ? '_' : toupper((unsigned char)*c));
        const char *value = getenv(name);
        bool flag = options[i].kind == ON || options[i].kind == OFF;
        if (value && *value && (!flag || is_on(name, value)))
            set(o, &options[i], name, value);
    }
    o->master_key = getenv("KIST_MASTER_KEY");
    o->root_access_key = getenv("KIST_ROOT_ACCESS_KEY");
    o->root_secret_key = getenv("KIST_ROOT_SECRET_KEY");
}

/* --name value or --name=value; returns how many arguments it took. */
static int take(struct serve_options *o, int left, char **argv)
{
    if (strncmp(argv[0], "--", 2) != 0)
        mistake("unexpected argument", argv[0]);
    const char *name = argv[0] + 2;
    size_t len = strcspn(name, "=");
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (strlen(options[i].name) != len || strncmp(options[i].name, name, len) != 0)
            continue;
        bool flag = options[i].kind == ON || options[i].kind == OFF;
        if (flag && name[len] == '=')
            mistake(argv[0], "it takes no value");
        if (flag || name[len] == '=') {
            set(o, &options[i], argv[0], name + len + (name[len] == '='));
            return 1;
        }
        if (left < 2)
            mistake("a value is missing", argv[0]);
        set(o, &options[i], argv[0], argv[1]);
        return 2;
    }
    mistake("unknown option", argv[0]);
}

const char *default_data_dir(void)
{
    const char *data = getenv("KIST_DATA");
    return data && *data ? data : "./kist-data";
}

void serve_options_parse(int argc, char **argv, struct serve_options *out)
{
    *out = (struct serve_options){ .data = "./kist-data",
                                   .listen = "127.0.0.1:9000",
                                   .admin = "127.0.0.1:9001",
                                   .region = "us-east-1",
                                   .domain = "localhost",
                                   .sync = true,
                                   .functions = true,
                                   .max_connections = 16384,
                                   .header_timeout_s = 20,
                                   .body_timeout_s = 30,
                                   .idle_timeout_s = 60,
                                   .memory_bytes = 64U << 20,
                                   .reserve_bytes = 64U << 20,
                                   .log_segment_bytes = 64U << 20,
                                   .scrub_days = 30,
                                   .lifecycle_day_s = 86400,
                                   .access_log_interval_s = 60,
                                   .usage_interval_s = 10 };
    from_environment(out);
    for (int i = 0; i < argc;) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage(stdout);
            exit(0);
        }
        i += take(out, argc - i, argv + i);
    }
    if (!out->tls_cert != !out->tls_key)
        mistake("--tls-cert and --tls-key", "one needs the other");
}
