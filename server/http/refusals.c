/* What MHD itself refuses, in our words.
 *
 * A request that MHD cannot parse (a malformed Content-Length, broken chunks, too long a header)
 * never reaches the handler: MHD answers with a page of HTML, in one case with its head twice,
 * and offers no hook. But it queues that page by its own public function, through the table that
 * the dynamic linker fills, so that a function of that name in the program comes first. Ours is
 * called by MHD alone (we call the real one): it writes the error as the handler has it to the
 * socket, where nothing else is on its way, and returns MHD_NO, upon which MHD closes. Where a
 * linker binds MHD to its own function, clients get its page, and tests/clients/test_bad_input.py
 * says so. */
#include <dlfcn.h>

#include "server/http/internal.h"
#include "storage/base/env.h"

typedef enum MHD_Result queue_function(struct MHD_Connection *mhd, unsigned status,
                                       struct MHD_Response *response);

static queue_function *real_queue;
static pthread_once_t real_once = PTHREAD_ONCE_INIT;

static void find_real(void)
{
    void *symbol = dlsym(RTLD_NEXT, "MHD_queue_response");
    memcpy(&real_queue, &symbol, sizeof(real_queue)); /* POSIX: a function's address fits */
}

enum MHD_Result refusals_queue_reply(struct MHD_Connection *mhd, unsigned status,
                                     struct MHD_Response *response)
{
    pthread_once(&real_once, find_real);
    return real_queue ? real_queue(mhd, status, response) : MHD_NO;
}

struct words {
    unsigned mhd; /* MHD's status */
    bool in_body;
    unsigned status;
    const char *code, *message;
};

static const struct words *words_for(unsigned mhd, bool in_body)
{
    static const struct words all[] = {
        { 400, false, 400, "InvalidRequest", "The request is malformed." },
        { 400, true, 400, "InvalidRequest", "The chunked transfer coding is malformed." },
        { 413, false, 400, "EntityTooLarge",
          "Your proposed upload exceeds the maximum allowed size" },
        { 413, true, 400, "InvalidRequest", "A chunk of the transfer coding is too large." },
        { 414, false, 414, "URITooLong", "The request target is too long." },
        { 431, false, 431, "RequestHeaderSectionTooLarge",
          "Your request header section is too large." },
        { 500, true, 400, "InvalidRequest", "A line of the transfer coding is too long." },
        { 505, false, 505, "InvalidRequest", "The HTTP version is not supported." },
    };
    static const struct words other = { 0, false, 400, "InvalidRequest",
                                        "The request cannot be read." };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].mhd == mhd && all[i].in_body == in_body)
            return &all[i];
    return &other;
}

/* The error as the handler has it; not yet sent. */
static void make_reply(struct exchange *x, unsigned mhd_status)
{
    struct http_server *server = x->server;
    const struct words *w = words_for(mhd_status, x->past_first);
    exchange_clear_headers(x);
    x->reply_body =
        server->handler.refuse(server->handler.ctx, x, w->status, w->code, w->message);
    x->status = w->status;
    x->replied_ns = mono_ns();
    atomic_fetch_add_explicit(&server->refused, 1, memory_order_relaxed);
}

static void add_header(void *ctx, const char *name, const char *value)
{
    (void)!MHD_add_response_header(ctx, name, value);
}

/* Somebody still works for an exchange that waits: MHD must not end it before it is woken, and
 * sends the reply then. */
static enum MHD_Result reply_after_wake(struct exchange *x)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        x->reply_body.len, (void *)(uintptr_t)x->reply_body.ptr, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    reply_fixed_headers(x, response, add_header);
    x->conn->linger = true;
    enum MHD_Result result = refusals_queue_reply(x->mhd, x->status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *mhd, unsigned status,
                                   struct MHD_Response *response)
{
    struct conn *conn = conn_of(mhd);
    (void)response;
    struct exchange *x = conn ? conn->exchange : NULL;
    if (!conn || (x && x->stage == STAGE_SENDING)) /* part of a reply may be out */
        return MHD_NO;
    struct exchange *stranger = x ? NULL : exchange_new(conn, mhd); /* no line was read */
    x = x ? x : stranger;
    if (!x)
        return MHD_NO;
    make_reply(x, status);
    if (x->parked)
        return reply_after_wake(x);
    early_write(x);
    if (stranger)
        exchange_end(stranger);
    return MHD_NO;
}
