/* /-/health and /-/metrics (Prometheus text format 0.0.4). */
#include <inttypes.h>
#include <stdlib.h>

#include "server/admin/internal.h"

#define METRICS_BYTES_MAX ((size_t)8 << 20)

static enum kist_err metric(struct buf *out, const char *type, const char *name, uint64_t value)
{
    return buf_printf(out, "# TYPE kist_%s %s\nkist_%s %" PRIu64 "\n", name, type, name, value);
}

static enum kist_err operations(struct admin *a, struct buf *out)
{
    static const char *const classes[] = { "lost", "1xx", "2xx", "3xx", "4xx", "5xx" };
    struct admin_counter c;
    TRY(buf_append_str(out, "# TYPE kist_s3_requests_total counter\n"));
    for (size_t i = 0; a->config.counter_at(a->config.ctx, i, &c); i++)
        for (size_t k = 0; k < ARRAY_LEN(classes); k++)
            if (c.by_class[k])
                TRY(buf_printf(
                    out, "kist_s3_requests_total{operation=\"%s\",status=\"%s\"} %" PRIu64 "\n",
                    c.operation, classes[k], c.by_class[k]));
    return KIST_OK;
}

static enum kist_err store_metrics(struct admin *a, struct buf *out)
{
    struct store_stats s;
    store_stats(a->config.store, &s);
    const struct {
        const char *type, *name;
        uint64_t value;
    } rows[] = {
        { "gauge", "buckets", s.buckets },
        { "gauge", "packs", s.packs },
        { "gauge", "pack_bytes", s.pack_bytes },
        { "gauge", "free_bytes", s.free_bytes },
        { "gauge", "accepting_writes", s.accepting_writes },
        { "gauge", "buffered_bytes", s.memory_used_bytes },
        { "counter", "log_batches_total", s.log.batches },
        { "counter", "log_commands_total", s.log.commands },
        { "counter", "log_bytes_total", s.log.bytes },
        { "counter", "log_sync_nanoseconds_total", s.log.sync_ns },
        { "gauge", "log_segments", s.log.segments },
        { "gauge", "index_overlay_bytes", s.kv.active_bytes + s.kv.frozen_bytes },
        { "counter", "index_flushes_total", s.kv.flushes },
        { "counter", "index_flushed_rows_total", s.kv.flushed_rows },
        { "gauge", "index_bytes", s.kv.map_used_bytes },
        { "counter", "damaged_reads_total", s.reads_damaged },
        { "counter", "scrubbed_bytes_total", s.scrubbed_bytes },
        { "counter", "reclaimed_bytes_total", s.reclaimed_bytes },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        TRY(metric(out, rows[i].type, rows[i].name, rows[i].value));
    return KIST_OK;
}

static enum kist_err http_metrics(struct admin *a, struct buf *out)
{
    struct http_stats h;
    http_server_stats(a->config.s3, &h);
    TRY(metric(out, "counter", "http_connections_total", h.connections));
    TRY(metric(out, "gauge", "http_connections", h.connections_active));
    TRY(metric(out, "counter", "http_requests_total", h.requests));
    TRY(metric(out, "counter", "http_refused_total", h.refused));
    TRY(metric(out, "counter", "http_bytes_in_total", h.bytes_in));
    return metric(out, "counter", "http_bytes_out_total", h.bytes_out);
}

void admin_reply(struct exchange *x, unsigned status, const char *type, struct bytes body)
{
    (void)!exchange_add_header(x, "Content-Type", bytes_str(type));
    exchange_reply_bytes(x, status, body);
}

static void reply_metrics(struct admin *a, struct exchange *x)
{
    struct buf out;
    buf_init(&out, METRICS_BYTES_MAX);
    enum kist_err err = store_metrics(a, &out);
    if (err == KIST_OK)
        err = http_metrics(a, &out);
    if (err == KIST_OK)
        err = operations(a, &out);
    for (size_t i = 0; err == KIST_OK && i < a->config.source_count; i++)
        err = a->config.sources[i].write(a->config.sources[i].ctx, &out);
    struct bytes body = arena_copy(exchange_arena(x), buf_bytes(&out));
    buf_release(&out);
    if (err != KIST_OK || !body.ptr)
        admin_reply(x, 503, "text/plain", BYTES_LIT("out of memory\n"));
    else
        admin_reply(x, 200, "text/plain; version=0.0.4", body);
}

static void reply_health(struct admin *a, struct exchange *x)
{
    struct store_stats s;
    store_stats(a->config.store, &s);
    if (s.log.failed)
        admin_reply(x, 503, "text/plain", BYTES_LIT("read only: the log's disk failed\n"));
    else if (!s.accepting_writes)
        admin_reply(x, 200, "text/plain", BYTES_LIT("ok, but no space for new data\n"));
    else
        admin_reply(x, 200, "text/plain", BYTES_LIT("ok\n"));
}

static void begin(void *ctx, struct exchange *x)
{
    const struct http_request *h = exchange_request(x);
    if (h->method != HTTP_GET && h->method != HTTP_HEAD)
        admin_reply(x, 405, "text/plain", BYTES_LIT("method not allowed\n"));
    else if (bytes_equal(h->path, BYTES_LIT("/-/health")) ||
             bytes_equal(h->path, BYTES_LIT("/-/ready")))
        reply_health(ctx, x);
    else if (bytes_equal(h->path, BYTES_LIT("/-/metrics")))
        reply_metrics(ctx, x);
    else if (bytes_equal(h->path, BYTES_LIT("/-/usage")))
        admin_usage(ctx, x);
    else
        admin_reply(x, 404, "text/plain", BYTES_LIT("try /-/health, /-/metrics or /-/usage\n"));
}

static void end(void *ctx, struct exchange *x)
{
    (void)ctx, (void)x;
}

static struct bytes refuse(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message)
{
    (void)ctx, (void)status, (void)code;
    return arena_copy(exchange_arena(x), bytes_str(message));
}

enum kist_err admin_open(const struct admin_config *config, struct admin **out)
{
    struct admin *a = calloc(1, sizeof(*a));
    if (!a)
        return KIST_E_NOMEM;
    a->config = *config;
    a->handler = (struct http_handler){ .ctx = a, .begin = begin, .end = end, .refuse = refuse };
    *out = a;
    return KIST_OK;
}

void admin_close(struct admin *a)
{
    free(a);
}

const struct http_handler *admin_handler(struct admin *a)
{
    return &a->handler;
}
