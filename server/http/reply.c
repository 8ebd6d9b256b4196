/* Replies through MHD.
 *
 * MHD keeps pointers to the body and to the exchange (as the reader's argument) until the
 * completed callback, after which it only drops its reference; the arena lives as long.
 */
#include <assert.h>

#include "server/http/internal.h"

void reply_fixed_headers(struct exchange *x, void *ctx,
                         void (*each)(void *ctx, const char *name, const char *value))
{
    each(ctx, "Server", "kist");
    each(ctx, "x-amz-request-id", x->id);
    each(ctx, "x-amz-id-2", x->server->host_id);
    for (const struct reply_header *h = x->reply_headers; h; h = h->next)
        each(ctx, h->name, h->value);
}

/* MHD asks for bytes. 0 is allowed only for a suspended connection: else MHD would spin. */
static ssize_t read_reply(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct exchange *x = cls;
    while (exchange_run(x)) {
        if (x->stage == STAGE_CUT)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        ptrdiff_t n = x->reader.read(x, x->reader.ctx, pos, (uint8_t *)buf, max);
        assert(n <= (ptrdiff_t)max);
        if (n == BODY_END && x->reply_length == HTTP_LENGTH_UNKNOWN)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (n < 0)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (n > 0) {
            x->bytes_sent += (uint64_t)n;
            atomic_fetch_add_explicit(&x->server->bytes_out, (uint64_t)n, memory_order_relaxed);
            return n;
        }
        assert(x->parked || atomic_load(&x->wait) == WAIT_WOKEN);
    }
    return 0;
}

_Static_assert(HTTP_LENGTH_UNKNOWN == MHD_SIZE_UNKNOWN, "MHD sends such a reply in chunks");

/* Replies without a body still say the length of the one that they do not carry. */
static ssize_t read_nothing(void *cls, uint64_t pos, char *buf, size_t max)
{
    (void)cls;
    (void)pos;
    (void)buf;
    (void)max;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *make_response(struct exchange *x)
{
    bool bodyless = x->request.method == HTTP_HEAD || x->status == 204 || x->status == 304;
    if (x->status == 204 || x->reply_length == 0)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (bodyless)
        return MHD_create_response_from_callback(x->reply_length, 1, read_nothing, NULL, NULL);
    if (!x->reply_is_reader)
        return MHD_create_response_from_buffer(
            x->reply_body.len, (void *)(uintptr_t)x->reply_body.ptr, MHD_RESPMEM_PERSISTENT);
    size_t block = x->reader.block_bytes ? x->reader.block_bytes : 65536;
    if (block > x->reply_length)
        block = (size_t)x->reply_length;
    return MHD_create_response_from_callback(x->reply_length, block, read_reply, x, NULL);
}

struct adding {
    struct MHD_Response *response;
    bool failed;
};

static void add_to_response(void *ctx, const char *name, const char *value)
{
    struct adding *a = ctx;
    if (MHD_add_response_header(a->response, name, value) != MHD_YES)
        a->failed = true;
}

enum MHD_Result reply_queue(struct exchange *x)
{
    struct http_server *server = x->server;
    struct MHD_Response *response = make_response(x);
    if (!response)
        return MHD_NO;
    struct adding a = { .response = response };
    reply_fixed_headers(x, &a, add_to_response);
    if (atomic_load_explicit(&server->stopping, memory_order_relaxed))
        add_to_response(&a, "Connection", "close");
    if (!x->reply_is_reader && x->request.method != HTTP_HEAD) {
        x->bytes_sent = x->reply_body.len;
        atomic_fetch_add_explicit(&server->bytes_out, x->reply_body.len, memory_order_relaxed);
    }
    /* MHD closes after a reply to its first call; what the client still sends is read on. */
    if (!x->past_first)
        x->conn->linger = true;
    exchange_set_stage(x, STAGE_SENDING);
    conn_set_phase(x->conn, CONN_REPLY);
    enum MHD_Result result =
        a.failed ? MHD_NO : refusals_queue_reply(x->mhd, x->status, response);
    MHD_destroy_response(response);
    return result;
}
