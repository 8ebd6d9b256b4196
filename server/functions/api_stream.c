/* InvokeWithResponseStream: the answer goes out piece by piece, as the function makes it.
 *
 * The body is made of event stream messages: prelude (length, length of headers, CRC-32),
 * headers, payload, CRC-32 of all before.
 * https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html
 * https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html */
#include <stdlib.h>

#include "server/functions/control.h"
#include "server/functions/stream.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"
#include "storage/base/digest.h"

#define PRELUDE_BYTES 12
#define HEADER_TEXT 7 /* type of a header's value */

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

static enum kist_err add_chunks(struct fn_stream *s, struct bytes payload)
{
    for (size_t at = 0; at < payload.len; at += FN_STREAM_BLOCK) {
        size_t left = payload.len - at, n = left < FN_STREAM_BLOCK ? left : FN_STREAM_BLOCK;
        TRY(fn_stream_message(&s->queue, "PayloadChunk", "application/octet-stream",
                              bytes_of(payload.ptr + at, n)));
    }
    return KIST_OK;
}

static enum kist_err add_end(struct fn_stream *s, const struct fn_result *r)
{
    if (r->end == FN_OK)
        TRY(add_chunks(s, r->payload));
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
        text ? fn_stream_message(&s->queue, "InvokeComplete", "application/json", bytes_str(text))
             : KIST_E_NOMEM;
    free(text);
    json_decref(json);
    return err;
}

/* ---- the reply ---- */

/* The first piece is there, or the end. */
static void begin_reply(struct exchange *x)
{
    struct fn_call *c = api_call_of(x)->state;
    struct fn_stream *s = c->stream;
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
    (void)!exchange_add_header(x, "X-Amz-Executed-Version", bytes_str(c->version));
    c->replied = true;
    fn_stream_send(s, x, 200);
}

void fn_stream_end(struct fn_call *c)
{
    fn_stream_drop(c->stream);
}

void fn_stream_start(struct fn_call *c, const struct fn_invocation *call, const char *version)
{
    static const struct fn_stream_form form = { .piece = add_chunks,
                                                .end = add_end,
                                                .begin = begin_reply };
    c->version = arena_strdup(c->arena, version);
    c->stream = c->version ? fn_stream_new(c->x, call, &form) : NULL;
    if (c->stream)
        fn_stream_run(c->f, c->stream);
    else
        fn_fail_err(c, KIST_E_NOMEM);
}
