/* The dispatcher's numbers in Prometheus' text format 0.0.4. */
#include <inttypes.h>
#include <stdlib.h>

#include "server/events/events.h"

/* Series are bounded: targets behind these are in the sums alone. */
#define TARGETS_MAX 1000

enum column {
    WAITING,
    PARKED,
    IN_FLIGHT,
    OLDEST,
    DELIVERED,
    FAILED,
    THROTTLED,
    RETRIED,
    DEAD_LETTERS,
    PAUSED,
    ABSENT,
    COLUMN_COUNT
};

static const struct {
    const char *name, *type;
} columns[COLUMN_COUNT] = {
    [WAITING] = { "kist_events_waiting", "gauge" },
    [PARKED] = { "kist_events_parked", "gauge" },
    [IN_FLIGHT] = { "kist_events_in_flight", "gauge" },
    [OLDEST] = { "kist_events_oldest_age_seconds", "gauge" },
    [DELIVERED] = { "kist_events_target_delivered_total", "counter" },
    [FAILED] = { "kist_events_target_failed_total", "counter" },
    [THROTTLED] = { "kist_events_target_throttled_total", "counter" },
    [RETRIED] = { "kist_events_target_retried_total", "counter" },
    [DEAD_LETTERS] = { "kist_events_target_dead_letters_total", "counter" },
    [PAUSED] = { "kist_events_paused", "gauge" },
    [ABSENT] = { "kist_events_target_absent", "gauge" },
};

struct row {
    char *target;
    uint64_t value[COLUMN_COUNT];
};
struct rows {
    struct arena arena;
    struct row *list;
    size_t count;
    int64_t now_ms;
    enum kist_err err;
};

static bool add_row(void *ctx, const struct events_target *t)
{
    struct rows *r = ctx;
    struct row *row = &r->list[r->count];
    int64_t age_ms = t->oldest_ms && t->oldest_ms < r->now_ms ? r->now_ms - t->oldest_ms : 0;
    row->target = arena_strdup(&r->arena, t->target);
    if (!row->target) {
        r->err = KIST_E_NOMEM;
        return false;
    }
    const uint64_t value[COLUMN_COUNT] = {
        [WAITING] = t->waiting,           [PARKED] = t->parked,
        [IN_FLIGHT] = t->in_flight,       [OLDEST] = (uint64_t)age_ms / 1000,
        [DELIVERED] = t->delivered,       [FAILED] = t->failed,
        [THROTTLED] = t->throttled,       [RETRIED] = t->retried,
        [DEAD_LETTERS] = t->dead_letters, [PAUSED] = t->paused,
        [ABSENT] = t->is_absent,
    };
    memcpy(row->value, value, sizeof(value));
    return ++r->count < TARGETS_MAX;
}

static enum kist_err put_label(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            TRY(buf_append_str(out, "\\n"));
        else if (*text == '"' || *text == '\\')
            TRY(buf_printf(out, "\\%c", *text));
        else
            TRY(buf_append(out, text, 1));
    }
    return KIST_OK;
}

static enum kist_err put_targets(const struct rows *r, struct buf *out)
{
    for (size_t k = 0; k < COLUMN_COUNT; k++) {
        TRY(buf_printf(out, "# TYPE %s %s\n", columns[k].name, columns[k].type));
        for (size_t i = 0; i < r->count; i++) {
            TRY(buf_printf(out, "%s{target=\"", columns[k].name));
            TRY(put_label(out, r->list[i].target));
            TRY(buf_printf(out, "\"} %" PRIu64 "\n", r->list[i].value[k]));
        }
    }
    return KIST_OK;
}

static enum kist_err put_sums(struct events *e, struct buf *out)
{
    struct events_stats s;
    events_counts(e, &s);
    const struct {
        const char *name;
        uint64_t value;
    } sums[] = {
        { "delivered", s.delivered },       { "failed", s.failed },
        { "throttled", s.throttled },       { "absent", s.absent },
        { "refused", s.refused },           { "retried", s.retried },
        { "dead_letters", s.dead_letters }, { "given_up", s.parked },
    };
    for (size_t i = 0; i < ARRAY_LEN(sums); i++)
        TRY(buf_printf(out,
                       "# TYPE kist_events_%s_total counter\nkist_events_%s_total %" PRIu64 "\n",
                       sums[i].name, sums[i].name, sums[i].value));
    return KIST_OK;
}

enum kist_err events_metrics(void *events, struct buf *out)
{
    struct rows r = { .now_ms = env_real()->now_ms(env_real()) };
    arena_init(&r.arena, (size_t)4 << 20);
    r.list = arena_alloc(&r.arena, TARGETS_MAX * sizeof(*r.list));
    enum kist_err err = r.list ? events_each_target(events, add_row, &r) : KIST_E_NOMEM;
    if (err == KIST_OK)
        err = r.err;
    if (err == KIST_OK)
        err = put_sums(events, out);
    if (err == KIST_OK)
        err = put_targets(&r, out);
    arena_release(&r.arena);
    return err;
}
