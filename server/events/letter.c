/* Dead letters and success records: what became of an event, for whoever is to know.
 * https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
 *
 * Into a bucket, they go as any object does; the event's row is settled when the object is
 * there. The object's name follows from the event's id, so that a crash in between writes it
 * twice at the same place. They count as a step in the chain of events: a rule on that bucket
 * whose target fails, too, comes to its end.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/events/internal.h"
#include "server/events/json.h"
#include "storage/base/codec.h"
#include "storage/base/trace.h"

struct letter {
    struct note note;
    struct item *item;
    struct store_op op;
    char *bucket, *key;
    struct bytes body;
};

/* ---- what it says ---- */

static void put_response(struct json_out *j, const struct item *item)
{
    bool whole = item->response.len > 0;
    if (whole) {
        jput_open(j, "responseContext", '{');
        jput_u64(j, "statusCode", 200);
        jput_str(j, "executedVersion", "$LATEST");
        if (!item->success)
            jput_str(j, "functionError", "Unhandled");
        jput_close(j, '}');
        json_t *value = json_loadb((const char *)item->response.ptr, item->response.len,
                                   JSON_DECODE_ANY, NULL);
        if (value)
            jput_raw(j, "responsePayload", item->response);
        else
            jput_bytes(j, "responsePayload", item->response);
        json_decref(value);
        return;
    }
    jput_open(j, "responsePayload", '{');
    if (item->why[0])
        jput_str(j, "errorMessage", item->why);
    jput_close(j, '}');
}

static enum kist_err render(struct item *item, const char *condition, struct buf *out)
{
    struct event_form form = { item->e->config.region, events_now(item->e) };
    struct json_out j = { .buf = out };
    struct buf request;
    char when[TIME_ISO_LEN];
    time_iso(form.now_ms, when);
    jput_open(&j, NULL, '{');
    jput_str(&j, "version", "1.0");
    jput_str(&j, "timestamp", when);
    jput_open(&j, "requestContext", '{');
    jput_str(&j, "requestId", item->id);
    jput_str(&j, item->queue->is_function ? "functionArn" : "targetArn", item->queue->target);
    jput_str(&j, "condition", condition);
    jput_u64(&j, "approximateInvokeCount", item->attempts);
    jput_close(&j, '}');
    buf_init(&request, ITEM_BYTES_MAX);
    enum kist_err err = event_render_s3(&form, item->event, item->id, &request);
    if (err == KIST_OK)
        jput_raw(&j, "requestPayload", buf_bytes(&request));
    buf_release(&request);
    put_response(&j, item);
    jput_close(&j, '}');
    return err == KIST_OK ? j.err : err;
}

enum kist_err letter_render(struct item *item, const char *condition, struct bytes *out)
{
    struct buf text;
    buf_init(&text, (size_t)2 << 20);
    enum kist_err err = render(item, condition, &text);
    struct bytes copy = err == KIST_OK ? arena_copy(&item->arena, buf_bytes(&text)) : BYTES_EMPTY;
    buf_release(&text);
    TRY(err);
    if (!copy.ptr)
        return KIST_E_NOMEM;
    *out = copy;
    return KIST_OK;
}

/* ---- the chain that it continues ---- */

/* Strings of the item's arena, or NULL. */
static Kist__Cause *cause_of(struct item *item)
{
    const Kist__Event *event = item->event;
    struct arena *arena = &item->arena;
    Kist__Cause *cause = arena_alloc(arena, sizeof(*cause));
    Kist__Lineage *lineage = arena_alloc(arena, sizeof(*lineage));
    char *version = arena_alloc(arena, VERSION_TEXT_LEN + 1);
    if (!cause || !lineage || !version)
        return NULL;
    kist__cause__init(cause);
    kist__lineage__init(lineage);
    cause->time_ms = events_now(item->e);
    cause->request_id = item->id;
    cause->lineage = lineage;
    lineage->depth = event_depth(event) + 1;
    if (item->queue->is_function)
        lineage->function = item->queue->target;
    lineage->event_id = item->id;
    lineage->bucket = event->bucket;
    lineage->key = event->key;
    if (event->versioned) {
        version_text(event->version, version);
        lineage->version = version;
    }
    if (event->cause && bytes_str(event->cause->trace).len == 55) {
        cause->trace = event->cause->trace;
        lineage->trace = arena_strndup(arena, event->cause->trace + 3, 32);
        lineage->span = arena_strndup(arena, event->cause->trace + 36, 16);
        if (!lineage->trace || !lineage->span)
            return NULL;
    }
    return cause;
}

enum kist_err letter_event(struct item *item, const char *target, struct bytes body,
                           Kist__Event **out)
{
    struct bytes arn = bytes_str(target), mine = arn_part(bytes_str(item->queue->target), 4);
    const struct event_sink *sink = events_sink_of(item->e, arn);
    if (!sink)
        return KIST_E_NOT_FOUND;
    if (!bytes_equal(arn_part(arn, 4), mine) &&
        !(sink->accepts && sink->accepts(sink->ctx, arn, bytes_str(item->event->bucket), mine)))
        return KIST_E_DENIED;
    Kist__Event *event = arena_alloc(&item->arena, sizeof(*event));
    Kist__Cause *cause = cause_of(item);
    char *copy = arena_strdup(&item->arena, target);
    if (!event || !cause || !copy)
        return KIST_E_NOMEM;
    kist__event__init(event);
    event->kind = EVENT_INVOCATION;
    event->target = copy;
    event->owner = item->event->owner;
    event->payload = schema_data(body);
    event->time_ms = cause->time_ms;
    event->cause = cause;
    *out = event;
    return KIST_OK;
}

/* ---- into a bucket ---- */

/* Nobody gets letters into another account's bucket. */
static enum kist_err check_owner(struct item *item, const Kist__Bucket *bucket, bool by_rule)
{
    struct store *store = item->e->config.store;
    Kist__Account *account = NULL;
    if (by_rule && item->event->owner[0])
        return strcmp(bucket->owner, item->event->owner) == 0 ? KIST_OK : KIST_E_DENIED;
    enum kist_err err =
        store_account_canonical(store, bytes_str(bucket->owner), &item->arena, &account);
    if (err == KIST_E_NOT_FOUND)
        err = store_account_first(store, &item->arena, &account);
    TRY(err);
    struct bytes mine = arn_part(bytes_str(item->queue->target), 4);
    return bytes_equal(bytes_str(account->id), mine) ? KIST_OK : KIST_E_DENIED;
}

/* prefix/YYYY/MM/DD/target/id.json */
static char *letter_key(struct item *item, struct bytes prefix)
{
    char when[TIME_ISO_LEN];
    const char *name = strrchr(item->queue->target, ':');
    bool slash = prefix.len && prefix.ptr[prefix.len - 1] != '/';
    time_iso(events_now(item->e), when);
    return arena_printf(&item->arena, "%.*s%s%.4s/%.2s/%.2s/%s/%s.json", (int)prefix.len,
                        (const char *)prefix.ptr, slash ? "/" : "", when, when + 5, when + 8,
                        name ? name + 1 : item->queue->target, item->id);
}

static void end(struct letter *l, enum kist_err err)
{
    l->item->e->ops--;
    settle_letter_done(l->item, err);
}

static void written(struct note *note)
{
    struct letter *l = CONTAINER_OF(note, struct letter, note);
    enum kist_err err = l->op.err;
    store_op_release(&l->op);
    end(l, err);
}

static void on_done(struct store_op *op)
{
    struct letter *l = op->user;
    l->note.run = written;
    events_post(l->note.e, &l->note);
}

static enum kist_err put(struct letter *l, struct object_writer *w)
{
    static char name[] = "Content-Type", value[] = "application/json";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Pair type = KIST__PAIR__INIT, *headers[] = { &type };
    enum kist_err err = object_writer_write(w, l->body);
    command.cause = cause_of(l->item);
    if (err == KIST_OK && !command.cause)
        err = KIST_E_NOMEM;
    if (err != KIST_OK) {
        object_writer_abort(w);
        return err;
    }
    type.name = name;
    type.value = value;
    object.n_headers = 1;
    object.headers = headers;
    object.mtime_ms = command.cause->time_ms;
    request.bucket = l->bucket;
    request.key = schema_data(bytes_str(l->key));
    request.object = &object;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    store_op_init(&l->op, on_done, l);
    store_put(l->item->e->config.store, &l->op, &command, w);
    return KIST_OK;
}

static void wake(void *user)
{
    struct letter *l = user;
    events_post(l->note.e, &l->note);
}

/* Again, when there was no memory. */
static void begin(struct note *note)
{
    struct letter *l = CONTAINER_OF(note, struct letter, note);
    struct object_writer *w = NULL;
    enum kist_err err = object_writer_open(l->item->e->config.store, l->body.len, 0, wake, l, &w);
    if (err == KIST_E_BUSY)
        return;
    if (err == KIST_OK)
        err = put(l, w);
    if (err != KIST_OK)
        end(l, err);
}

static enum kist_err prepare(struct letter *l, const char *destination, bool by_rule)
{
    struct item *item = l->item;
    struct bytes place = bytes_str(destination + strlen("s3://"));
    size_t slash = bytes_find(place, BYTES_LIT("/"), 0);
    Kist__Bucket *bucket = NULL;
    struct bytes name = bytes_of(place.ptr, slash == SIZE_MAX ? place.len : slash);
    struct bytes prefix =
        slash == SIZE_MAX ? BYTES_EMPTY : bytes_of(place.ptr + slash + 1, place.len - slash - 1);
    TRY(store_bucket(item->e->config.store, name, &item->arena, &bucket));
    TRY(check_owner(item, bucket, by_rule));
    l->bucket = bucket->name;
    l->key = letter_key(item, prefix);
    if (!l->key)
        return KIST_E_NOMEM;
    return strlen(l->key) <= 1024 ? KIST_OK : KIST_E_TOO_LARGE;
}

void letter_write(struct item *item, const char *destination, struct bytes body, bool by_rule)
{
    struct letter *l = arena_zalloc(&item->arena, sizeof(*l));
    enum kist_err err = KIST_E_NOMEM;
    if (l) {
        l->item = item;
        l->body = body;
        l->note = (struct note){ .run = begin, .e = item->e };
        err = prepare(l, destination, by_rule);
    }
    if (err != KIST_OK) {
        settle_letter_done(item, err);
        return;
    }
    item->e->ops++;
    begin(&l->note);
}
