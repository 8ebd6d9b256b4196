/* `kist serve`: wires the store, the keys, the S3 service and the admin page together, then
 * waits for signals. SIGTERM and SIGINT drain and stop, SIGHUP loads certificates and master
 * keys again. */
#include "server/serve.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "auth/accounts.h"
#include "auth/master_keys.h"
#include "auth/oidc.h"
#include "server/admin/admin.h"
#include "server/cli/options.h"
#include "server/cli/rootkey.h"
#include "server/events/control.h"
#include "server/events/schedule.h"
#include "server/events/targets.h"
#include "server/functions/functions.h"
#include "server/http/server.h"
#include "server/s3/s3.h"
#include "storage/base/trace.h"

#define GRACE_MS 20000
/* For deliveries under way; those that take longer are made again at the next start. */
#define EVENTS_GRACE_MS 5000
#define SERVICES_MAX 4

struct server {
    struct serve_options options;
    struct root_key key;
    struct store *store;
    struct auth_root_store credentials;
    struct auth_user_store *users;
    struct auth_keyring *keyring;
    struct master_keys *masters;
    struct oidc *oidc;
    struct s3_service *s3;
    struct functions *functions;
    struct targets *targets;
    struct events *events;
    struct control *control;
    struct schedules *schedules;
    const struct event_sink *sinks[EVENT_SINKS_MAX];
    size_t sink_count;
    const struct api_service *services[SERVICES_MAX];
    size_t service_count;
    struct admin_source sources[2];
    struct admin *admin;
    struct http_server *s3_http, *inside_http, *admin_http;
};

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "kist: %s: %s\n", what, why);
    return 1;
}

static int open_store(struct server *s)
{
    const struct serve_options *o = &s->options;
    struct store_config config = STORE_CONFIG_DEFAULT;
    config.dir = o->data;
    config.sync = o->sync;
    config.memory_bytes = o->memory_bytes;
    config.reserve_bytes = o->reserve_bytes;
    config.log_segment_bytes = o->log_segment_bytes;
    config.scrub_days = (unsigned)o->scrub_days;
    config.lifecycle_offset_ms = (int64_t)o->lifecycle_offset_s * 1000;
    if (o->log_segment_bytes < (2U << 20) || o->log_segment_bytes > (1U << 30))
        return complain("--log-segment", "must be between 2M and 1G");
    enum kist_err err = store_open(&config, &s->store);
    return err == KIST_OK ? 0 : complain(o->data, kist_err_text(err));
}

static int open_keys(struct server *s)
{
    const struct serve_options *o = &s->options;
    enum kist_err err =
        root_key_load(o->data, o->root_access_key, o->root_secret_key, env_real(), &s->key);
    if (err == KIST_OK)
        err = auth_root_store_init(&s->credentials, bytes_str(s->key.access_key),
                                   bytes_str(s->key.secret_key));
    if (err != KIST_OK)
        return complain("root key", err == KIST_E_INVALID
                                        ? "set both KIST_ROOT_ACCESS_KEY and "
                                          "KIST_ROOT_SECRET_KEY, 1 to 128 characters"
                                        : kist_err_text(err));
    if (err == KIST_OK)
        err = auth_accounts_begin(s->store, &s->credentials);
    if (err != KIST_OK)
        return complain("accounts", kist_err_text(err));
    s->users = auth_user_store_new(&s->credentials, s->store);
    err = oidc_open(env_real(), &s->oidc);
    if (err != KIST_OK)
        return complain("oidc", kist_err_text(err));
    s->keyring = s->users ? auth_keyring_new(auth_user_store_base(s->users)) : NULL;
    return s->keyring ? 0 : complain("root key", "out of memory");
}

static int open_masters(struct server *s)
{
    const struct serve_options *o = &s->options;
    struct master_keys_source source = { o->data, o->master_key_file, o->master_key };
    enum kist_err err = master_keys_open(&source, env_real(), &s->masters);
    if (err == KIST_E_INVALID || err == KIST_E_NOT_FOUND)
        return complain("master key", "give base64 of 32 bytes, one a line");
    return err == KIST_OK ? 0 : complain("master key", kist_err_text(err));
}

static struct http_config http_config(const struct serve_options *o, const char *listen)
{
    return (struct http_config){ .listen = listen,
                                 .loops = (unsigned)o->loops,
                                 .connections_max = (unsigned)o->max_connections,
                                 .header_timeout_s = (unsigned)o->header_timeout_s,
                                 .idle_timeout_s = (unsigned)o->idle_timeout_s,
                                 .body_timeout_s = (unsigned)o->body_timeout_s,
                                 .body_rate_min = 1024 };
}

/* Before the events that it is a target of. */
static int open_functions(struct server *s)
{
    struct functions_config config = { .store = s->store,
                                       .users = s->users,
                                       .masters = s->masters,
                                       .data_dir = s->options.data,
                                       .region = s->options.region,
                                       .domain = s->options.domain,
                                       .concurrency = (unsigned)s->options.function_concurrency,
                                       .memory_bytes = s->options.function_memory_bytes,
                                       .idle_s = (unsigned)s->options.function_idle_s,
                                       .trust = s->options.trust_functions,
                                       .off = !s->options.functions,
                                       .usage_interval_s =
                                           (unsigned)s->options.usage_interval_s };
    enum kist_err err = functions_open(&config, &s->functions);
    if (err != KIST_OK)
        return complain("functions", kist_err_text(err));
    s->sinks[s->sink_count++] = functions_sink(s->functions);
    s->services[s->service_count++] = functions_service(s->functions);
    s->services[s->service_count++] = functions_urls(s->functions);
    return 0;
}

static int open_events(struct server *s)
{
    struct targets_config targets = { s->store, s->options.region };
    enum kist_err err = targets_open(&targets, &s->targets);
    /* Where it is named by its address; what the kernel picks is known once it listens. */
    if (err == KIST_OK && strcmp(s->options.admin, "off") != 0)
        (void)!targets_avoid(s->targets, s->options.admin, true);
    for (size_t i = 0; err == KIST_OK && i < TARGET_SINKS; i++)
        s->sinks[s->sink_count++] = targets_sink(s->targets, i);
    struct events_config events = { .store = s->store,
                                    .region = s->options.region,
                                    .sinks = s->sinks,
                                    .sink_count = s->sink_count };
    if (err == KIST_OK)
        err = events_open(&events, &s->events);
    if (err == KIST_OK)
        functions_watch(s->functions, s->events);
    struct control_config control = { s->store, s->options.region, s->targets, s->events };
    if (err == KIST_OK)
        err = control_open(&control, &s->control);
    struct schedules_config schedules = { s->store, s->options.region, s->events };
    if (err == KIST_OK)
        err = schedules_open(&schedules, &s->schedules);
    if (err != KIST_OK)
        return complain("events", kist_err_text(err));
    s->services[s->service_count++] = control_service(s->control);
    s->services[s->service_count++] = schedules_service(s->schedules);
    return 0;
}

/* What functions ask of the store comes out of their sandboxes, in plain HTTP, and never through
 * the address that everybody else uses. */
static enum kist_err start_inside(struct server *s, const char **reason)
{
    struct http_config http = http_config(&s->options, NULL);
    http.loops = 1;
    enum kist_err err = http_server_start(&http, s3_handler(s->s3), &s->inside_http, reason);
    if (err == KIST_OK)
        functions_start(s->functions, s->inside_http);
    return err;
}

static int start_s3(struct server *s)
{
    const struct serve_options *o = &s->options;
    struct s3_config config = { .store = s->store,
                                .keyring = s->keyring,
                                .users = s->users,
                                .masters = s->masters,
                                .oidc = s->oidc,
                                .region = o->region,
                                .lifecycle_day_ms = (int64_t)o->lifecycle_day_s * 1000,
                                .access_log_interval_s = (unsigned)o->access_log_interval_s,
                                .usage_interval_s = (unsigned)o->usage_interval_s,
                                .domain = o->domain,
                                .services = s->services,
                                .service_count = s->service_count,
                                .events = s->events,
                                .site_functions = functions_sites(s->functions),
                                .lineage_of = functions_lineage_of,
                                .lineage_ctx = s->functions };
    struct http_config http = http_config(o, o->listen);
    const char *reason = NULL;
    http.tls_cert_file = o->tls_cert;
    http.tls_key_file = o->tls_key;
    if (s3_service_open(&config, &s->s3) != KIST_OK)
        return complain("s3", "out of memory");
    enum kist_err err = start_inside(s, &reason);
    if (err == KIST_OK)
        err = http_server_start(&http, s3_handler(s->s3), &s->s3_http, &reason);
    if (err == KIST_OK)
        err = targets_avoid(s->targets, http_server_address(s->s3_http), false);
    return err == KIST_OK ? 0 : complain(o->listen, reason ? reason : kist_err_text(err));
}

static bool counter_at(void *ctx, size_t i, struct admin_counter *out)
{
    struct s3_counter c;
    if (!s3_counter_at(ctx, i, &c))
        return false;
    out->operation = c.operation;
    memcpy(out->by_class, c.by_class, sizeof(out->by_class));
    return true;
}

static int start_admin(struct server *s)
{
    const struct serve_options *o = &s->options;
    s->sources[0] = (struct admin_source){ events_metrics, s->events };
    s->sources[1] = (struct admin_source){ functions_metrics, s->functions };
    struct admin_config config = { .store = s->store,
                                   .s3 = s->s3_http,
                                   .counter_at = counter_at,
                                   .ctx = s->s3,
                                   .sources = s->sources,
                                   .source_count = ARRAY_LEN(s->sources) };
    struct http_config http = http_config(o, o->admin);
    const char *reason = NULL;
    if (strcmp(o->admin, "off") == 0)
        return 0;
    http.loops = 1;
    http.connections_max = 256;
    if (admin_open(&config, &s->admin) != KIST_OK)
        return complain("admin", "out of memory");
    enum kist_err err =
        http_server_start(&http, admin_handler(s->admin), &s->admin_http, &reason);
    if (err == KIST_OK) { /* nobody's key set lies there, and no target */
        oidc_avoid(s->oidc, http_server_address(s->admin_http));
        err = targets_avoid(s->targets, http_server_address(s->admin_http), true);
    }
    return err == KIST_OK ? 0 : complain(o->admin, reason ? reason : kist_err_text(err));
}

/* Secrets are shown once, to a person. */
static void greet(const struct server *s)
{
    const char *scheme = s->options.tls_cert ? "https" : "http";
    const char *address = http_server_address(s->s3_http);
    printf("kist: listening on %s://%s\n", scheme, address);
    if (s->admin_http)
        printf("kist: admin on http://%s\n", http_server_address(s->admin_http));
    struct buf sandbox;
    buf_init(&sandbox, 1024);
    functions_describe(s->functions, &sandbox);
    if (sandbox.len)
        printf("kist: functions: %.*s\n", (int)sandbox.len, (const char *)sandbox.ptr);
    buf_release(&sandbox);
    if (!s->options.sync)
        printf("kist: NOT SYNCING: a crash of the machine loses data\n");
    if (isatty(STDOUT_FILENO) && !s->options.root_access_key)
        printf("\n  access key  %s\n  secret key  %s\n\n"
               "  AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s \\\n"
               "    aws --endpoint-url %s://%s --region %s s3 mb s3://my-bucket\n\n",
               s->key.access_key, s->key.secret_key, s->key.access_key, s->key.secret_key, scheme,
               address, s->options.region);
    else if (s->key.made)
        printf("kist: a root key was made: see %s/root-key\n", s->options.data);
    fflush(stdout);
}

static void serve_until_told(struct server *s, const sigset_t *signals)
{
    for (;;) {
        int which = 0;
        if (sigwait(signals, &which) != 0)
            continue;
        if (which != SIGHUP)
            return;
        enum kist_err err = master_keys_reload(s->masters);
        if (err != KIST_OK)
            TRACE(TRACE_ERROR, "serve", "master keys: %s", kist_err_text(err));
        if (!s->options.tls_cert)
            continue;
        err = http_server_reload_tls(s->s3_http);
        TRACE(err == KIST_OK ? TRACE_INFO : TRACE_ERROR, "http", "certificates loaded again: %s",
              kist_err_text(err));
    }
}

/* Connections, packs and a few more. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int start(struct server *s)
{
    int rc = open_store(s);
    if (rc == 0)
        rc = open_keys(s);
    if (rc == 0)
        rc = open_masters(s);
    if (rc == 0)
        rc = open_functions(s);
    if (rc == 0)
        rc = open_events(s);
    if (rc == 0)
        rc = start_s3(s);
    return rc == 0 ? start_admin(s) : rc;
}

static void stop(struct server *s)
{
    functions_stop(s->functions);
    if (s->s3_http)
        http_server_stop(s->s3_http, GRACE_MS);
    if (s->inside_http)
        http_server_stop(s->inside_http, 1000);
    if (s->admin_http)
        http_server_stop(s->admin_http, 1000);
    schedules_close(s->schedules);
    events_close(s->events, EVENTS_GRACE_MS);
    if (s->targets)
        targets_stop(s->targets);
    functions_close(s->functions);
    admin_close(s->admin);
    s3_service_close(s->s3);
    control_close(s->control);
    targets_close(s->targets);
    oidc_close(s->oidc);
    auth_keyring_free(s->keyring);
    auth_user_store_free(s->users);
    master_keys_close(s->masters);
    store_close(s->store);
}

int serve(int argc, char **argv)
{
    static struct server s; /* the credential store must not move */
    sigset_t signals;
    serve_options_parse(argc, argv, &s.options);
    trace_setup(s.options.json, TRACE_INFO, s.options.trace);
    raise_file_limit();
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    int rc = start(&s);
    if (rc == 0) {
        greet(&s);
        serve_until_told(&s, &signals);
        TRACE(TRACE_INFO, "serve", "stopping");
    }
    stop(&s);
    return rc;
}
