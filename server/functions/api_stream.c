/* InvokeWithResponseStream: the answer goes out piece by piece, as the function makes it.
 *
 *   function --> piece() --> queue --> read_stream() --> client
 *                done()  --'   at most what an answer may have in all
 *
 * The client may go while the function still runs: then the stream stays until done(), and all
 * that the invocation borrows is the stream's own.
 *
 * The body is made of event stream messages: prelude (length, length of headers, CRC-32),
 * headers, payload, CRC-32 of all before.
 * https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html
 * https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/functions/control.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"
#include "storage/base/digest.h"

#define CHUNK_MAX ((size_t)64 << 10)
#define QUEUE_MAX ((size_t)28 << 20) /* 20 MiB of answer, and what stands round its pieces */
#define ARENA_MAX ((size_t)8 << 20)
#define PRELUDE_BYTES 12
#define HEADER_TEXT 7 /* type of a header's value */

struct fn_stream {
    struct fn_invocation call;
    struct arena arena;   /* what the invocation borrows */
    pthread_mutex_t lock; /* of what follows */
    struct exchange *x;   /* NULL: the client has gone */
    struct buf queue;
    size_t taken; /* of the queue */
    bool begun, waiting, done, broken;
    enum fn_end end;
    const char *why;
    char version[32];
};

/* ---- messages ---- */

static void put_u32(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (24 - 8 * i));
}

static enum kist_err add_header(struct buf *out, const char *name, const char *value)
{
    uint8_t head = (uint8_t)strlen(name);
    uint8_t length[3] = { HEADER_TEXT, 0, (uint8_t)strlen(value) };
    TRY(buf_append(out, &head, 1));
    TRY(buf_append_str(out, name));
    TRY(buf_append(out, length, sizeof(length)));
    return buf_append_str(out, value);
}

enum kist_err fn_stream_message(struct buf *out, const char *event, const char *type,
                                struct bytes payload)
{
    static const uint8_t room[PRELUDE_BYTES];
    size_t start = out->len;
    uint8_t crc[4];
    TRY(buf_append(out, room, sizeof(room)));
    TRY(add_header(out, ":event-type", event));
    TRY(add_header(out, ":content-type", type));
    TRY(add_header(out, ":message-type", "event"));
    size_t headers = out->len - start - PRELUDE_BYTES;
    TRY(buf_append_bytes(out, payload));
    TRY(buf_reserve(out, sizeof(crc)));
    put_u32(out->ptr + start, (uint32_t)(out->len - start + sizeof(crc)));
    put_u32(out->ptr + start + 4, (uint32_t)headers);
    put_u32(out->ptr + start + 8, crc32_update(0, out->ptr + start, 8));
    put_u32(crc, crc32_update(0, out->ptr + start, out->len - start));
    return buf_append(out, crc, sizeof(crc));
}

static enum kist_err add_chunks(struct buf *out, struct bytes payload)
{
    for (size_t at = 0; at < payload.len; at += CHUNK_MAX) {
        size_t left = payload.len - at;
        TRY(fn_stream_message(out, "PayloadChunk", "application/octet-stream",
                              bytes_of(payload.ptr + at, left < CHUNK_MAX ? left : CHUNK_MAX)));
    }
    return KIST_OK;
}

static enum kist_err add_end(struct buf *out, const struct fn_result *r)
{
    json_t *json = json_object();
    CLEANUP_FREE char *log = malloc(BASE64_LEN(r->log_tail.len) + 1);
    if (r->end == FN_ERROR) {
        json_object_set_new(json, "ErrorCode", json_string("Unhandled"));
        json_object_set_new(json, "ErrorDetails",
                            json_stringn((const char *)r->payload.ptr, r->payload.len));
    }
    if (log && r->log_tail.len) {
        base64_encode(r->log_tail, log);
        json_object_set_new(json, "LogResult", json_string(log));
    }
    char *text = json_dumps(json, JSON_COMPACT);
    enum kist_err err =
        text ? fn_stream_message(out, "InvokeComplete", "application/json", bytes_str(text))
             : KIST_E_NOMEM;
    free(text);
    json_decref(json);
    return err;
}

/* ---- the client's side ---- */

static void stream_free(struct fn_stream *s)
{
    pthread_mutex_destroy(&s->lock);
    buf_release(&s->queue);
    arena_release(&s->arena);
    free(s);
}

static void nothing(struct exchange *x)
{
    (void)x; /* read_stream() is asked again */
}

static ptrdiff_t read_stream(struct exchange *x, void *ctx, uint64_t pos, uint8_t *buf,
                             size_t max)
{
    struct fn_stream *s = ctx;
    ptrdiff_t said = 0;
    (void)pos; /* it is read once, from start to end */
    pthread_mutex_lock(&s->lock);
    size_t there = s->queue.len - s->taken, n = there < max ? there : max;
    if (n > 0) {
        memcpy(buf, s->queue.ptr + s->taken, n);
        s->taken += n;
        if (s->taken == s->queue.len) {
            buf_clear(&s->queue);
            s->taken = 0;
        }
        said = (ptrdiff_t)n;
    } else if (s->done || s->broken) {
        said = s->broken ? -1 : BODY_END;
    } else {
        s->waiting = true;
        exchange_wait(x);
    }
    pthread_mutex_unlock(&s->lock);
    return said;
}

/* The first piece is there, or the end. */
static void begin_reply(struct exchange *x)
{
    struct fn_call *c = api_call_of(x)->state;
    struct fn_stream *s = c->stream;
    struct body_reader reader = { .read = read_stream, .ctx = s, .block_bytes = CHUNK_MAX };
    pthread_mutex_lock(&s->lock);
    enum fn_end end = s->done ? s->end : FN_OK;
    const char *why = s->why;
    pthread_mutex_unlock(&s->lock);
    switch (end) {
    case FN_THROTTLED:
        fn_fail(c, 429, "TooManyRequestsException", why ? why : "Rate Exceeded.");
        return;
    case FN_MISSING:
        fn_missing(c);
        return;
    case FN_BROKEN:
        fn_fail(c, 502, "EC2UnexpectedException", why ? why : "It cannot be started.");
        return;
    case FN_OK:
    case FN_ERROR:
        break;
    }
    (void)!exchange_add_header(x, "Content-Type",
                               BYTES_LIT("application/vnd.amazon.eventstream"));
    (void)!exchange_add_header(x, "X-Amz-Executed-Version", bytes_str(s->version));
    c->replied = true;
    exchange_reply_reader(x, 200, HTTP_LENGTH_UNKNOWN, &reader);
}

void fn_stream_end(struct fn_call *c)
{
    struct fn_stream *s = c->stream;
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    bool done = s->done;
    s->x = NULL;
    pthread_mutex_unlock(&s->lock);
    if (done)
        stream_free(s);
}

/* ---- the function's side: from any thread ---- */

/* s->lock is held. */
static void tell_client(struct fn_stream *s)
{
    if (!s->x)
        return;
    if (!s->begun) {
        s->begun = true;
        exchange_wake(s->x, begin_reply);
    } else if (s->waiting) {
        s->waiting = false;
        exchange_wake(s->x, nothing);
    }
}

static void piece(struct fn_invocation *call, struct bytes type, struct bytes bytes)
{
    struct fn_stream *s = CONTAINER_OF(call, struct fn_stream, call);
    (void)type;
    pthread_mutex_lock(&s->lock);
    if (s->x && !s->broken)
        s->broken = add_chunks(&s->queue, bytes) != KIST_OK;
    tell_client(s);
    pthread_mutex_unlock(&s->lock);
}

static void done(struct fn_invocation *call, const struct fn_result *r)
{
    struct fn_stream *s = CONTAINER_OF(call, struct fn_stream, call);
    pthread_mutex_lock(&s->lock);
    s->done = true;
    s->end = r->end;
    s->why = r->why ? arena_strdup(&s->arena, r->why) : NULL;
    if (s->x && !s->broken && r->end == FN_OK)
        s->broken = add_chunks(&s->queue, r->payload) != KIST_OK;
    if (s->x && !s->broken)
        s->broken = add_end(&s->queue, r) != KIST_OK;
    bool gone = !s->x;
    tell_client(s);
    pthread_mutex_unlock(&s->lock);
    if (gone)
        stream_free(s);
}

/* ---- the operation ---- */

static const Kist__Lineage *copy_lineage(struct arena *arena, const Kist__Lineage *from,
                                         bool *failed)
{
    Kist__Lineage *copy = NULL;
    struct buf packed;
    if (!from)
        return NULL;
    buf_init(&packed, 64 << 10);
    *failed = schema_pack(from, &packed) != KIST_OK ||
              schema_unpack(&kist__lineage__descriptor, buf_bytes(&packed), arena,
                            (void *)&copy) != KIST_OK;
    buf_release(&packed);
    return copy;
}

void fn_stream_start(struct fn_call *c, const struct fn_invocation *call, const char *version)
{
    struct fn_stream *s = calloc(1, sizeof(*s));
    bool failed = false;
    if (!s) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    pthread_mutex_init(&s->lock, NULL);
    arena_init(&s->arena, ARENA_MAX);
    buf_init(&s->queue, QUEUE_MAX);
    s->x = c->x;
    s->call = *call;
    s->call.arn = arena_copy(&s->arena, call->arn);
    s->call.payload = arena_copy(&s->arena, call->payload);
    s->call.client_context = arena_copy(&s->arena, call->client_context);
    s->call.request_id = arena_strdup(&s->arena, call->request_id);
    s->call.trace = call->trace ? arena_strdup(&s->arena, call->trace) : NULL;
    s->call.lineage = copy_lineage(&s->arena, call->lineage, &failed);
    s->call.piece = piece;
    s->call.done = done;
    snprintf(s->version, sizeof(s->version), "%s", version);
    if (failed || !s->call.arn.ptr || !s->call.payload.ptr || !s->call.request_id ||
        !s->call.client_context.ptr || (call->trace && !s->call.trace)) {
        stream_free(s);
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    c->stream = s;
    exchange_wait(c->x);
    functions_invoke(c->f, &s->call);
}
