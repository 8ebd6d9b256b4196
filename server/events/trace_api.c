/* Kist.GetTrace: the steps of a trace, from the object that came first through the functions that
 * ran to the objects that they wrote. */
#include "server/events/control.h"

#define SPANS_MAX 10000

struct reading {
    json_t *list;
    bool failed, truncated;
};

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = { "", "Object", "Event", "Invocation" };
    return kind < ARRAY_LEN(names) ? names[kind] : "";
}

static bool on_span(void *ctx, const Kist__Span *s)
{
    struct reading *r = ctx;
    if (json_array_size(r->list) == SPANS_MAX) {
        r->truncated = true;
        return false;
    }
    json_t *one =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s}", "Kind", kind_name(s->kind),
                  "Span", s->span, "Parent", s->parent, "Name", s->name, "BeginMs",
                  (json_int_t)s->begin_ms, "EndMs", (json_int_t)s->end_ms, "EventId", s->event_id,
                  "Outcome", s->outcome, "Source", s->source);
    r->failed = r->failed || !one || json_array_append_new(r->list, one) != 0;
    return !r->failed;
}

static void get_trace(struct control_request *r)
{
    const char *id;
    struct reading reading = { .list = json_array() };
    if (!control_only(r, "|TraceId|") || !control_text(r, "TraceId", &id) ||
        !control_allowed(r, "traces")) {
        json_decref(reading.list);
        return;
    }
    enum kist_err err = reading.list
                            ? store_list_spans(r->config->store, bytes_str(id), on_span, &reading)
                            : KIST_E_NOMEM;
    if (err == KIST_OK && !reading.failed) {
        control_reply(
            r, json_pack("{s:o, s:b}", "Spans", reading.list, "Truncated", reading.truncated));
        return;
    }
    json_decref(reading.list);
    if (err == KIST_E_INVALID)
        control_fail(r, 400, "ValidationException", "TraceId must be 32 hex digits.");
    else
        control_fail_err(r, err == KIST_OK ? KIST_E_NOMEM : err);
}

const struct control_call trace_calls[] = { { "GetTrace", "kist:GetTrace", get_trace },
                                            { NULL, NULL, NULL } };
