/* See stream.h. */
#include "server/functions/stream.h"

#include <stdio.h>
#include <stdlib.h>

#include "storage/base/worker.h"

/* The function waits when that much is unread. One read of its connection may come on top of
 * it, and an answer that was not streamed, which is there as a whole. */
#define QUEUE_LONG ((size_t)1 << 20)
#define QUEUE_MAX ((size_t)9 << 20)
#define ARENA_MAX ((size_t)8 << 20)

static void stream_free(struct fn_stream *s)
{
    pthread_mutex_destroy(&s->lock);
    buf_release(&s->queue);
    arena_release(&s->arena);
    free(s);
}

/* ---- the client's side ---- */

static void nothing(struct exchange *x)
{
    (void)x; /* read_queue() is asked again */
}

/* s->lock is held. The invocation is there until done(), which takes the lock first. */
static void let_go(struct fn_stream *s)
{
    if (s->held && !s->done)
        functions_more(&s->call);
    s->held = false;
}

static ptrdiff_t read_queue(struct exchange *x, void *ctx, uint64_t pos, uint8_t *buf, size_t max)
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
        if (there - n < QUEUE_LONG / 2)
            let_go(s);
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

void fn_stream_send(struct fn_stream *s, struct exchange *x, unsigned status)
{
    struct body_reader reader = { .read = read_queue, .ctx = s, .block_bytes = FN_STREAM_BLOCK };
    if (status == 204 || status == 304)
        exchange_reply_bytes(x, status, BYTES_EMPTY);
    else
        exchange_reply_reader(x, status, HTTP_LENGTH_UNKNOWN, &reader);
}

void fn_stream_drop(struct fn_stream *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    bool done = s->done;
    s->x = NULL;
    buf_release(&s->queue);
    let_go(s);
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
    if (!s->begun && (s->done || s->broken || !s->form->ready || s->form->ready(s))) {
        s->begun = true;
        exchange_wake(s->x, s->form->begin);
    } else if (s->waiting) {
        s->waiting = false;
        exchange_wake(s->x, nothing);
    }
}

/* What has been read need not stay: each byte moves once, more or less. */
static void make_room(struct fn_stream *s)
{
    size_t left = s->queue.len - s->taken;
    if (s->taken < FN_STREAM_BLOCK || s->taken < left)
        return;
    memmove(s->queue.ptr, s->queue.ptr + s->taken, left);
    s->queue.len = left;
    s->taken = 0;
}

static bool piece(struct fn_invocation *call, struct bytes type, struct bytes bytes)
{
    struct fn_stream *s = CONTAINER_OF(call, struct fn_stream, call);
    bool hold = false;
    pthread_mutex_lock(&s->lock);
    if (s->x && !s->broken) {
        if (!s->type[0] && type.len && type.len < sizeof(s->type)) {
            memcpy(s->type, type.ptr, type.len);
            s->integration = bytes_equal_nocase(type, BYTES_LIT(FN_INTEGRATION_TYPE));
        }
        make_room(s);
        s->broken = s->form->piece(s, bytes) != KIST_OK;
        hold = !s->held && !s->broken && s->queue.len - s->taken >= QUEUE_LONG;
        s->held = s->held || hold;
        tell_client(s);
    }
    pthread_mutex_unlock(&s->lock);
    return !hold;
}

static void done(struct fn_invocation *call, const struct fn_result *r)
{
    struct fn_stream *s = CONTAINER_OF(call, struct fn_stream, call);
    pthread_mutex_lock(&s->lock);
    s->done = true;
    s->end = r->end;
    s->streamed = r->streamed;
    s->why = r->why ? arena_strdup(&s->arena, r->why) : NULL;
    if (s->x && !s->broken)
        s->broken = s->form->end(s, r) != KIST_OK;
    bool gone = !s->x;
    tell_client(s);
    pthread_mutex_unlock(&s->lock);
    if (gone)
        stream_free(s);
}

/* ---- the start ---- */

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

struct fn_stream *fn_stream_new(struct exchange *x, const struct fn_invocation *call,
                                const struct fn_stream_form *form)
{
    struct fn_stream *s = calloc(1, sizeof(*s));
    bool failed = false;
    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    arena_init(&s->arena, ARENA_MAX);
    buf_init(&s->queue, QUEUE_MAX);
    s->form = form;
    s->x = x;
    s->call = *call;
    s->call.arn = arena_copy(&s->arena, call->arn);
    s->call.payload = arena_copy(&s->arena, call->payload);
    s->call.client_context = arena_copy(&s->arena, call->client_context);
    s->call.request_id = arena_strdup(&s->arena, call->request_id);
    s->call.trace = call->trace ? arena_strdup(&s->arena, call->trace) : NULL;
    s->call.lineage = copy_lineage(&s->arena, call->lineage, &failed);
    s->call.piece = piece;
    s->call.done = done;
    if (!failed && s->call.arn.ptr && s->call.payload.ptr && s->call.request_id &&
        s->call.client_context.ptr && (!call->trace || s->call.trace))
        return s;
    stream_free(s);
    return NULL;
}

void fn_stream_run(struct functions *f, struct fn_stream *s)
{
    exchange_wait(s->x);
    functions_invoke(f, &s->call);
}
