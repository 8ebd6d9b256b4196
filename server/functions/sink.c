/* Events as invocations: the dispatcher's side of functions. */
#include <stdio.h>
#include <stdlib.h>

#include "server/functions/run.h"

/* https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html */
#define RETRIES 2
#define AGE_MAX_S (6U * 3600)
#define RETRY_BASE_MS 60000
#define RETRY_MAX_MS 120000
#define PAYLOAD_MAX ((size_t)1 << 20)

struct sink_work {
    struct functions *f;
    struct event_delivery *delivery;
    struct fn_invocation call;
    struct buf payload;
};

static const char *copy_or_null(struct arena *arena, const char *text)
{
    return text && text[0] ? arena_strdup(arena, text) : NULL;
}

/* So many that no environment waits for the dispatcher, and few enough to be fair. */
static unsigned window(const struct functions *f, const Kist__Function *latest)
{
    unsigned slots = f->pool ? f->pool->concurrency : 1;
    if (latest->reserved && latest->reserved - 1 < slots)
        slots = latest->reserved - 1;
    unsigned n = 8 * slots;
    return n < 4 ? 4 : n > FLEET_WAITING_MAX ? FLEET_WAITING_MAX : n;
}

static enum kist_err describe(void *ctx, struct bytes arn, struct arena *arena,
                              struct event_policy *out)
{
    struct functions *f = ctx;
    struct function_id id;
    struct function_found found;
    if (function_id_parse(arn, &id) != KIST_OK)
        return KIST_E_NOT_FOUND;
    TRY(registry_find(f, &id, arena, &found));
    const Kist__FunctionInvoke *set = fn_invoke_of(found.latest, id.qualifier);
    *out = (struct event_policy){ .concurrency = window(f, found.latest),
                                  .retries = set && set->retries ? set->retries - 1 : RETRIES,
                                  .age_max_s = set && set->age_max_s ? set->age_max_s : AGE_MAX_S,
                                  .retry_base_ms = RETRY_BASE_MS,
                                  .retry_max_ms = RETRY_MAX_MS };
    if (set) {
        out->dead_letter = copy_or_null(arena, set->on_failure);
        out->on_success = copy_or_null(arena, set->on_success);
    }
    /* DeadLetterConfig is the older way to say it, and the version's own. */
    if (!out->dead_letter)
        out->dead_letter = copy_or_null(arena, found.function->dead_letter);
    return KIST_OK;
}

static void delivered(struct fn_invocation *call, const struct fn_result *r)
{
    static const enum event_outcome outcomes[] = { [FN_OK] = EVENT_DELIVERED,
                                                   [FN_ERROR] = EVENT_FAILED,
                                                   [FN_THROTTLED] = EVENT_THROTTLED,
                                                   [FN_MISSING] = EVENT_REFUSED,
                                                   [FN_BROKEN] = EVENT_FAILED };
    struct sink_work *w = call->user;
    struct event_delivery *d = w->delivery;
    char why[512];
    const char *text = r->why;
    if (r->end == FN_ERROR) { /* what the function says of it, as far as there is room */
        size_t len = r->payload.len < sizeof(why) - 1 ? r->payload.len : sizeof(why) - 1;
        if (len)
            memcpy(why, r->payload.ptr, len);
        why[len] = '\0';
        text = why;
    }
    enum event_outcome outcome = outcomes[r->end];
    if (r->end != FN_OK && atomic_load(&w->f->stopping))
        outcome = EVENT_ABSENT;
    d->done(d, outcome, r->end == FN_OK ? NULL : text, r->payload, r->span);
    buf_release(&w->payload);
    free(w);
}

static void deliver(void *ctx, struct event_delivery *d)
{
    struct functions *f = ctx;
    const Kist__Event *event = d->event;
    const Kist__Lineage *lineage = event->cause ? event->cause->lineage : NULL;
    struct sink_work *w = NULL;
    if (!atomic_load(&f->started) || atomic_load(&f->stopping)) {
        d->done(d, EVENT_ABSENT, "the server is starting or stopping", BYTES_EMPTY, NULL);
        return;
    }
    if (lineage && lineage->depth >= FN_DEPTH_MAX) {
        d->done(d, EVENT_REFUSED, "the chain of functions before this event is too long",
                BYTES_EMPTY, NULL);
        return;
    }
    w = calloc(1, sizeof(*w));
    if (!w) {
        d->done(d, EVENT_THROTTLED, "out of memory", BYTES_EMPTY, NULL);
        return;
    }
    buf_init(&w->payload, PAYLOAD_MAX);
    w->delivery = d;
    w->f = f;
    w->call = (struct fn_invocation){ .arn = bytes_str(event->target),
                                      .request_id = d->id,
                                      .trace = event->cause && event->cause->trace[0]
                                                   ? event->cause->trace
                                                   : NULL,
                                      .lineage = lineage,
                                      .event = event,
                                      .done = delivered,
                                      .user = w };
    enum kist_err err = KIST_OK;
    if (event->kind == EVENT_INVOCATION) {
        w->call.payload = schema_bytes(event->payload);
    } else {
        struct env *env = store_env(f->store);
        struct event_form form = { f->config.region, env->now_ms(env) };
        err = event_render_s3(&form, event, d->id, &w->payload);
        w->call.payload = buf_bytes(&w->payload);
    }
    if (err != KIST_OK) {
        buf_release(&w->payload);
        free(w);
        d->done(d, err == KIST_E_NOMEM ? EVENT_THROTTLED : EVENT_REFUSED, kist_err_text(err),
                BYTES_EMPTY, NULL);
        return;
    }
    functions_invoke(f, &w->call);
}

/* S3 asks the function's policy as any service would.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/grant-destinations-permissions-to-s3.html
 */
static bool accepts(void *ctx, struct bytes arn, struct bytes bucket, struct bytes account)
{
    struct functions *f = ctx;
    struct function_id id;
    char source[128];
    if (function_id_parse(arn, &id) != KIST_OK || bucket.len > 64)
        return false;
    if (!bucket.len) /* not S3 but the account itself asks, by a schedule */
        return bytes_equal(id.account, account);
    int n = snprintf(source, sizeof(source), "arn:aws:s3:::%.*s", (int)bucket.len,
                     (const char *)bucket.ptr);
    return functions_service_allowed(f, &id, "s3.amazonaws.com", bytes_of(source, (size_t)n),
                                     account);
}

void sink_init(struct functions *f)
{
    f->sink = (struct event_sink){ .ctx = f,
                                   .service = "lambda",
                                   .describe = describe,
                                   .deliver = deliver,
                                   .accepts = accepts };
}
