/* Replies in the middle of a body.
 *
 * MHD queues a reply before the body or after it, not between. A client that sends 5 GiB with
 * a bad first chunk must not send all of it to hear so. When little is left, it is read and
 * dropped, and the reply goes the usual way. Otherwise the reply is written to the socket here
 * (nothing else is on its way there: MHD has sent at most 100 Continue) and MHD is told to
 * close; the lingerer then reads on for a while, so that no reset overtakes the reply.
 */
#include <errno.h>
#include <sys/socket.h>

#include "server/http/internal.h"
#include "storage/base/codec.h"
#include "storage/base/env.h"

#define DROP_MAX_BYTES (256U << 10)
#define HEAD_MAX_BYTES 16384U

struct writing {
    struct buf *out;
    bool failed;
};

static void add_line(void *ctx, const char *name, const char *value)
{
    struct writing *w = ctx;
    if (buf_printf(w->out, "%s: %s\r\n", name, value) != KIST_OK)
        w->failed = true;
}

static enum kist_err render(struct exchange *x, struct buf *out)
{
    char date[TIME_HTTP_LEN];
    struct env *env = env_real();
    time_http(env->now_ms(env), date);
    TRY(buf_printf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: close\r\n", x->status,
                   MHD_get_reason_phrase_for(x->status), date));
    struct writing w = { .out = out };
    reply_fixed_headers(x, &w, add_line);
    if (w.failed)
        return KIST_E_TOO_LARGE;
    TRY(buf_printf(out, "Content-Length: %zu\r\n\r\n", x->reply_body.len));
    return buf_append_bytes(out, x->reply_body);
}

/* A reply that the empty socket buffer does not take whole is cut: the client reads nothing. */
static void write_now(struct exchange *x, struct bytes data)
{
    while (data.len > 0) {
        ptrdiff_t n = x->server->tls
                          ? tls_write(x->mhd, data.ptr, data.len)
                          : send(x->conn->fd, data.ptr, data.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data = bytes_of(data.ptr + n, data.len - (size_t)n);
    }
}

static bool is_worth_dropping(const struct exchange *x)
{
    if (x->reply_is_reader)
        return true;
    return x->request.content_length != HTTP_LENGTH_UNKNOWN &&
           x->request.content_length - x->body_seen <= DROP_MAX_BYTES;
}

void early_write(struct exchange *x)
{
    struct buf out;
    buf_init(&out, HEAD_MAX_BYTES + x->reply_body.len);
    if (render(x, &out) == KIST_OK) {
        write_now(x, buf_bytes(&out));
        x->conn->linger = true;
    }
    buf_release(&out);
}

enum MHD_Result reply_mid_body(struct exchange *x, size_t *left)
{
    if (is_worth_dropping(x)) {
        x->body_seen += *left;
        *left = 0;
        return MHD_YES;
    }
    exchange_set_stage(x, STAGE_SENDING);
    early_write(x);
    return MHD_NO;
}
