/* The metrics of functions as Prometheus reads them. */
#include <stdio.h>

#include "server/functions/run.h"

/* What one metric says of one function. */
typedef void say(struct buf *out, const char *name, const struct fn_stats *s, enum kist_err *err);

static void line(struct buf *out, enum kist_err *err, const char *name, const struct fn_stats *s,
                 double value)
{
    if (*err == KIST_OK)
        *err = buf_printf(out, "%s{faas_name=\"%s\",account=\"%s\"} %.17g\n", name, s->name,
                          s->account, value);
}

static void histogram(struct buf *out, enum kist_err *err, const char *name,
                      const struct fn_stats *s, const struct fn_histogram *h)
{
    for (size_t i = 0; i <= FN_DURATION_BUCKETS && *err == KIST_OK; i++) {
        char le[32] = "+Inf";
        if (i < FN_DURATION_BUCKETS)
            snprintf(le, sizeof(le), "%g", fn_duration_bounds[i]);
        *err = buf_printf(out, "%s_bucket{faas_name=\"%s\",account=\"%s\",le=\"%s\"} %llu\n",
                          name, s->name, s->account, le,
                          (unsigned long long)(i < FN_DURATION_BUCKETS ? h->upto[i] : h->count));
    }
    if (*err == KIST_OK)
        *err = buf_printf(out,
                          "%s_sum{faas_name=\"%s\",account=\"%s\"} %.6f\n"
                          "%s_count{faas_name=\"%s\",account=\"%s\"} %llu\n",
                          name, s->name, s->account, h->sum_s, name, s->name, s->account,
                          (unsigned long long)h->count);
}

#define SAY(metric, value)                                                                       \
    static void say_##metric(struct buf *out, const char *name, const struct fn_stats *s,        \
                             enum kist_err *err)                                                 \
    {                                                                                            \
        line(out, err, name, s, (double)(value));                                                \
    }
SAY(invocations, s->invocations)
SAY(errors, s->errors)
SAY(timeouts, s->timeouts)
SAY(throttles, s->throttles)
SAY(coldstarts, s->coldstarts)
SAY(memory, s->memory_max_bytes)
SAY(billed, s->billed_gb_ms / 1000)

static void say_init(struct buf *out, const char *name, const struct fn_stats *s,
                     enum kist_err *err)
{
    histogram(out, err, name, s, &s->init);
}

static void say_run(struct buf *out, const char *name, const struct fn_stats *s,
                    enum kist_err *err)
{
    histogram(out, err, name, s, &s->run);
}

/* https://opentelemetry.io/docs/specs/semconv/faas/faas-metrics/, and two of our own. */
static const struct {
    const char *name, *type;
    say *say;
} metrics[] = {
    { "faas_invocations_total", "counter", say_invocations },
    { "faas_errors_total", "counter", say_errors },
    { "faas_timeouts_total", "counter", say_timeouts },
    { "faas_coldstarts_total", "counter", say_coldstarts },
    { "faas_init_duration_seconds", "histogram", say_init },
    { "faas_invoke_duration_seconds", "histogram", say_run },
    { "faas_mem_usage_max_bytes", "gauge", say_memory },
    { "kist_functions_throttles_total", "counter", say_throttles },
    { "kist_functions_billed_gb_seconds_total", "counter", say_billed },
};

/* The page has a ceiling: of more functions than these, the rest is not on it. */
#define PAGE_FUNCTIONS_MAX 1000

struct page {
    struct buf *out;
    size_t metric, functions;
    enum kist_err err;
};

static bool each(void *ctx, const struct fn_stats *stats)
{
    struct page *p = ctx;
    metrics[p->metric].say(p->out, metrics[p->metric].name, stats, &p->err);
    return p->err == KIST_OK && ++p->functions < PAGE_FUNCTIONS_MAX;
}

static enum kist_err gauge(struct buf *out, const char *name, uint64_t value)
{
    return buf_printf(out, "# TYPE %s gauge\n%s %llu\n", name, name, (unsigned long long)value);
}

enum kist_err functions_metrics(void *ctx, struct buf *out)
{
    struct functions *f = ctx;
    struct fn_totals totals;
    functions_totals(f, &totals);
    TRY(gauge(out, "kist_functions_concurrency", totals.concurrency));
    TRY(gauge(out, "kist_functions_running", totals.running));
    TRY(gauge(out, "kist_functions_environments", totals.environments));
    TRY(gauge(out, "kist_functions_waiting", totals.waiting_functions));
    TRY(gauge(out, "kist_functions_memory_bytes", totals.memory_bytes));
    TRY(gauge(out, "kist_functions_memory_max_bytes", totals.memory_max_bytes));
    struct page page = { .out = out };
    for (; page.metric < ARRAY_LEN(metrics) && page.err == KIST_OK; page.metric++) {
        TRY(buf_printf(out, "# TYPE %s %s\n", metrics[page.metric].name,
                       metrics[page.metric].type));
        page.functions = 0;
        functions_stats(f, each, &page);
    }
    return page.err;
}
