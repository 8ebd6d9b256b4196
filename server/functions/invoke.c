/* One invocation, from the caller to the caller. */
#include <stdio.h>
#include <stdlib.h>

#include "server/events/json.h"
#include "server/functions/run.h"
#include "storage/base/codec.h"

#define RUN_ARENA_MAX ((size_t)4 << 20)

/* ---- the trace ---- */

static bool all_hex(const char *s, size_t len)
{
    bool zero = true;
    for (size_t i = 0; i < len; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
        zero = zero && s[i] == '0';
    }
    return !zero;
}

/* traceparent: version, trace id, parent id, flags. Another's mistake begins a new trace.
 * https://www.w3.org/TR/trace-context/#traceparent-header */
static void begin_trace(struct fn_run *run)
{
    const char *given = run->call->trace;
    struct env *env = store_env(run->f->store);
    uint8_t random[16];
    env->random(env, random, 8);
    hex_encode(bytes_of(random, 8), run->span);
    run->sampled = true;
    if (given && strnlen(given, 55) == 55 && given[2] == '-' && given[35] == '-' &&
        given[52] == '-' && all_hex(given + 3, 32) && all_hex(given + 36, 16)) {
        memcpy(run->trace, given + 3, 32);
        memcpy(run->parent, given + 36, 16);
        run->sampled = (given[54] - '0') & 1;
        return;
    }
    env->random(env, random, 16);
    hex_encode(bytes_of(random, 16), run->trace);
    run->parent[0] = '\0';
}

static char *version_of(struct arena *arena, const Kist__Event *event)
{
    char text[VERSION_TEXT_LEN + 1];
    if (!event->versioned)
        return arena_strdup(arena, "");
    version_text(event->version, text);
    return arena_strdup(arena, text);
}

static bool begin_lineage(struct fn_run *run)
{
    const Kist__Lineage *before = run->call->lineage;
    const Kist__Event *event = run->call->event;
    Kist__Lineage *l = &run->lineage;
    kist__lineage__init(l);
    struct function_id id = run->id;
    id.qualifier = bytes_str(run->found.function->version);
    l->depth = (before ? before->depth : 0) + 1;
    l->function = function_arn(run->f, &id, &run->arena);
    l->event_id = (char *)(uintptr_t)run->call->request_id;
    l->trace = run->trace;
    l->span = run->span;
    if (event) {
        l->bucket = event->bucket;
        l->key = event->key;
        l->version = version_of(&run->arena, event);
    }
    return l->function && l->version;
}

/* ---- logs of a run ---- */

static void tail_add(struct fn_run *run, struct bytes line)
{
    if (!run->tail)
        return;
    for (size_t i = 0; i <= line.len; i++)
        run->tail[run->tail_len++ % FN_TAIL_MAX] = i < line.len ? (char)line.ptr[i] : '\n';
}

/* The ring, put straight. */
static struct bytes tail_text(struct fn_run *run)
{
    if (!run->tail || run->tail_len <= FN_TAIL_MAX)
        return bytes_of(run->tail, run->tail_len);
    size_t start = run->tail_len % FN_TAIL_MAX;
    char *text = arena_alloc(&run->arena, FN_TAIL_MAX);
    if (!text)
        return BYTES_EMPTY;
    memcpy(text, run->tail + start, FN_TAIL_MAX - start);
    memcpy(text + FN_TAIL_MAX - start, run->tail, start);
    return bytes_of(text, FN_TAIL_MAX);
}

void run_log(struct fn_run *run, struct bytes line)
{
    logs_add(run->log, run->call->request_id, run->found.function->version, line);
    tail_add(run, line);
}

static void log_start(struct fn_run *run)
{
    char line[512], when[TIME_ISO_LEN];
    const char *version = run->found.function->version;
    time_iso(run->begun_ms, when);
    if (!fn_wants_event(run->found.latest, LEVEL_INFO))
        return;
    int len = fn_logs_json(run->found.latest)
                  ? snprintf(line, sizeof(line),
                             "{\"time\":\"%s\",\"type\":\"platform.start\",\"record\":"
                             "{\"requestId\":\"%s\",\"version\":\"%s\"}}",
                             when, run->call->request_id, version)
                  : snprintf(line, sizeof(line), "START RequestId: %s Version: %s",
                             run->call->request_id, version);
    if (len > 0 && (size_t)len < sizeof(line))
        run_log(run, bytes_of(line, (size_t)len));
}

static const char *status_of(const struct fn_result *r)
{
    return r->end == FN_OK ? "success" : "error";
}

static void log_done(struct fn_run *run, const struct fn_result *r)
{
    char line[512], when[TIME_ISO_LEN];
    enum fn_level level = r->end == FN_OK ? LEVEL_DEBUG : LEVEL_WARN;
    if (!fn_logs_json(run->found.latest) || !fn_wants_event(run->found.latest, level))
        return;
    time_iso(env_real()->now_ms(env_real()), when);
    int len = snprintf(line, sizeof(line),
                       "{\"time\":\"%s\",\"type\":\"platform.runtimeDone\",\"record\":"
                       "{\"requestId\":\"%s\",\"status\":\"%s\",\"metrics\":"
                       "{\"durationMs\":%.3f,\"producedBytes\":%zu}}}",
                       when, run->call->request_id, status_of(r), (double)r->duration_us / 1000,
                       r->payload.len);
    if (len > 0 && (size_t)len < sizeof(line))
        run_log(run, bytes_of(line, (size_t)len));
}

static void log_report(struct fn_run *run, const struct fn_result *r)
{
    char line[768], init[64] = "", when[TIME_ISO_LEN];
    if (!fn_wants_event(run->found.latest, r->end == FN_OK ? LEVEL_INFO : LEVEL_WARN))
        return;
    const char *id = run->call->request_id;
    double ms = (double)r->duration_us / 1000, init_ms = (double)r->init_us / 1000;
    unsigned size = run->found.function->memory_mb;
    unsigned used = (unsigned)((r->memory_max_bytes + (1U << 20) - 1) >> 20);
    int len;
    if (fn_logs_json(run->found.latest)) {
        time_iso(env_real()->now_ms(env_real()), when);
        if (run->cold)
            snprintf(init, sizeof(init), ",\"initDurationMs\":%.3f", init_ms);
        len = snprintf(line, sizeof(line),
                       "{\"time\":\"%s\",\"type\":\"platform.report\",\"record\":"
                       "{\"requestId\":\"%s\",\"metrics\":{\"durationMs\":%.3f,"
                       "\"billedDurationMs\":%llu,\"memorySizeMB\":%u,\"maxMemoryUsedMB\":%u%s},"
                       "\"status\":\"%s\"}}",
                       when, id, ms, (unsigned long long)r->billed_ms, size, used, init,
                       status_of(r));
    } else {
        len = snprintf(line, sizeof(line), "END RequestId: %s", id);
        run_log(run, bytes_of(line, (size_t)len));
        if (run->cold)
            snprintf(init, sizeof(init), "Init Duration: %.2f ms\t", init_ms);
        len = snprintf(line, sizeof(line),
                       "REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %llu ms\t"
                       "Memory Size: %u MB\tMax Memory Used: %u MB\t%s",
                       id, ms, (unsigned long long)r->billed_ms, size, used, init);
    }
    if (len > 0 && (size_t)len < sizeof(line))
        run_log(run, bytes_of(line, (size_t)len));
}

void run_begin(struct fn_run *run)
{
    struct env *env = store_env(run->f->store);
    run->begun_ns = mono_ns();
    run->begun_ms = env->now_ms(env);
    run->deadline_ms = run->begun_ms + (int64_t)run->found.function->timeout_s * 1000;
    log_start(run);
}

/* ---- ends ---- */

static void run_free(struct fn_run *run)
{
    struct fleet *fleet = run->fleet;
    logs_unref(run->log);
    arena_release(&run->arena);
    free(run);
    if (fleet)
        fleet_unref(fleet);
}

static void measure(struct fn_run *run, struct fn_result *r)
{
    uint64_t now = mono_ns();
    r->version = run->found.function->version;
    r->init_us = run->init_us;
    r->memory_max_bytes = run->memory_peak;
    if (!run->begun_ns) { /* it never began: its init is what it cost */
        run->begun_ms = run->asked_ms;
        r->duration_us = (now - run->asked_ns) / 1000;
    } else {
        r->duration_us = (now - run->begun_ns) / 1000;
    }
    r->billed_ms = (r->duration_us + 999) / 1000;
}

static void end_span(struct fn_run *run, const struct fn_result *r, Kist__Span *span)
{
    static char ok[] = "ok", error[] = "error";
    struct env *env = store_env(run->f->store);
    kist__span__init(span);
    span->kind = SPAN_INVOCATION;
    span->trace = run->trace;
    span->span = run->span;
    span->parent = run->parent;
    span->name = run->lineage.function;
    span->begin_ms = run->begun_ms;
    span->end_ms = env->now_ms(env);
    span->event_id = (char *)(uintptr_t)run->call->request_id;
    span->outcome = r->end == FN_OK ? ok : error;
}

void run_finish(struct fn_run *run, struct fn_result *r)
{
    struct fn_invocation *call = run->call;
    Kist__Span span;
    measure(run, r);
    if (run->begun_ns == 0)
        log_start(run);
    log_done(run, r);
    log_report(run, r);
    end_span(run, r, &span);
    r->span = &span;
    r->log_tail = tail_text(run);
    metrics_count(run->metric, run, r);
    call->done(call, r);
    run_free(run);
}

void run_fail(struct fn_run *run, const char *type, const char *message)
{
    struct buf json;
    struct fn_result result = { .end = FN_ERROR };
    buf_init(&json, 4096);
    struct json_out out = { .buf = &json };
    jput_open(&out, NULL, '{');
    jput_str(&out, "errorMessage", message);
    jput_str(&out, "errorType", type);
    jput_close(&out, '}');
    if (out.err == KIST_OK)
        result.payload = buf_bytes(&json);
    run_finish(run, &result);
    buf_release(&json);
}

void run_end_with(struct fn_run *run, enum fn_end end, const char *why)
{
    struct fn_result result = { .end = end, .why = why };
    struct fn_invocation *call = run->call;
    if (run->found.function)
        result.version = run->found.function->version;
    metrics_count(run->metric, run, &result);
    call->done(call, &result);
    run_free(run);
}

/* ---- beginning ---- */

static enum kist_err find(struct fn_run *run)
{
    struct functions *f = run->f;
    TRY(function_id_parse(run->call->arn, &run->id));
    run->id.account = arena_copy(&run->arena, run->id.account);
    run->id.name = arena_copy(&run->arena, run->id.name);
    if (!run->id.account.ptr || !run->id.name.ptr)
        return KIST_E_NOMEM;
    TRY(registry_find(f, &run->id, &run->arena, &run->found));
    run->arn = arena_strndup(&run->arena, run->call->arn.ptr, run->call->arn.len);
    run->log = logs_stream(f->logs, run->id.account, run->id.name);
    run->metric = metrics_of(f->metrics, run->id.account, run->id.name);
    if (run->call->log_tail)
        run->tail = arena_alloc(&run->arena, FN_TAIL_MAX);
    begin_trace(run);
    return run->arn && run->log && begin_lineage(run) ? KIST_OK : KIST_E_NOMEM;
}

static void refuse(struct fn_invocation *call, enum fn_end end, const char *why)
{
    struct fn_result result = { .end = end, .why = why };
    call->done(call, &result);
}

void functions_invoke(struct functions *f, struct fn_invocation *call)
{
    if (!f->pool) {
        refuse(call, FN_BROKEN, f->host_why);
        return;
    }
    struct fn_run *run = call->payload.len <= FN_SYNC_MAX ? calloc(1, sizeof(*run)) : NULL;
    if (!run) {
        refuse(call, FN_BROKEN,
               call->payload.len > FN_SYNC_MAX ? "the payload is too large" : "out of memory");
        return;
    }
    arena_init(&run->arena, RUN_ARENA_MAX);
    run->f = f;
    run->call = call;
    call->state = run;
    run->event = call->event != NULL;
    run->asked_ns = mono_ns();
    run->asked_ms = store_env(f->store)->now_ms(store_env(f->store));
    enum kist_err err = find(run);
    if (err == KIST_OK && run->found.function->timeout_s == 0)
        run->found.function->timeout_s = 3; /* Lambda's default */
    if (err == KIST_OK)
        pool_run(f->pool, run);
    else if (err == KIST_E_NOT_FOUND || err == KIST_E_INVALID)
        run_end_with(run, FN_MISSING, "no such function");
    else
        run_end_with(run, FN_BROKEN, kist_err_text(err));
}
