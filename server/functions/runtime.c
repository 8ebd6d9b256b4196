/* The Runtime API: what the process in an environment asks and answers.
 * https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 *
 *     connection:  HEAD --> BODY --> (request) --> HEAD ...
 *                              GET next: NEXT, nothing is read until work has come
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "server/functions/run.h"
#include "storage/base/codec.h"

#define API "/2018-06-01/runtime/"
#define OUT_MAX ((size_t)64 << 10)
#define SIZE_TEXT "6291556"
#define RESPONSE_MAX ((uint64_t)6291556) /* as Lambda: 6 MiB and 100 bytes */
#define DISCARD_MAX ((uint64_t)64 << 20) /* of a body that is too large; then the line is cut */

/* ---- sending ---- */

/* e->lock is held: what the loop is to watch for. */
static void poll_again(struct fn_conn *c)
{
    uint32_t in = c->holds > 0 ? 0 : EPOLLIN | EPOLLRDHUP;
    loop_change(c->env->loop, &c->watch, c->polls_out ? EPOLLOUT : in);
}

bool runtime_flush(struct fn_conn *c)
{
    while (c->out_at < c->out.len || c->payload.len) {
        struct iovec iov[2] = { { c->out.ptr + c->out_at, c->out.len - c->out_at },
                                { (void *)(uintptr_t)c->payload.ptr, c->payload.len } };
        struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
        ssize_t sent = sendmsg(c->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            if (!atomic_exchange(&c->polls_out, true))
                poll_again(c);
            return true;
        }
        if (sent < 0)
            return false;
        size_t head = c->out.len - c->out_at, of_head = (size_t)sent < head ? (size_t)sent : head;
        c->out_at += of_head;
        c->payload.ptr += (size_t)sent - of_head;
        c->payload.len -= (size_t)sent - of_head;
    }
    buf_clear(&c->out);
    c->out_at = 0;
    if (atomic_exchange(&c->polls_out, false))
        poll_again(c);
    return true;
}

static bool reply(struct fn_conn *c, const char *status, const char *body)
{
    struct fn_env *e = c->env;
    pthread_mutex_lock(&e->lock);
    bool sound = buf_printf(&c->out,
                            "HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
                            "Content-Length: %zu\r\n%s\r\n%s",
                            status, strlen(body), c->close_after ? "Connection: close\r\n" : "",
                            body) == KIST_OK &&
                 runtime_flush(c);
    pthread_mutex_unlock(&e->lock);
    return sound && (c->polls_out || !c->close_after);
}

static bool fail(struct fn_conn *c, const char *status, const char *type, const char *message)
{
    char body[512];
    snprintf(body, sizeof(body), "{\"errorMessage\":\"%s\",\"errorType\":\"%s\"}", message, type);
    return reply(c, status, body);
}

static const char *state_name(const struct fn_env *e)
{
    switch (e->state) {
    case ENV_STARTING:
    case ENV_INIT:
        return e->init_reported ? "InitError" : "Started";
    case ENV_BUSY:
        return "Running";
    case ENV_ANSWERED:
        return "ResponseSent";
    case ENV_IDLE:
        return "Ready";
    case ENV_DEAD:
        break;
    }
    return "Exited";
}

static bool wrong_state(struct fn_conn *c, const char *from, const char *to)
{
    char message[256];
    snprintf(message, sizeof(message),
             "State transition from %s to %s failed for runtime. "
             "Error: State transition is not allowed",
             from, to);
    return fail(c, "403 Forbidden", "InvalidStateTransition", message);
}

/* The headers of work. A context that is no line of text is no header. */
static enum kist_err run_head(const struct fn_run *run, struct buf *out)
{
    struct bytes context = run->call->client_context;
    TRY(buf_printf(out,
                   "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                   "Lambda-Runtime-Aws-Request-Id: %s\r\n"
                   "Lambda-Runtime-Deadline-Ms: %lld\r\n"
                   "Lambda-Runtime-Invoked-Function-Arn: %s\r\n"
                   "Lambda-Runtime-Trace-Id: Root=1-%.8s-%s;Parent=%s;Sampled=%d\r\n",
                   run->call->request_id, (long long)run->deadline_ms, run->arn, run->trace,
                   run->trace + 8, run->span, run->sampled));
    bool plain = context.len != 0;
    for (size_t i = 0; i < context.len; i++)
        plain = plain && context.ptr[i] >= ' ' && context.ptr[i] != 0x7f;
    if (plain)
        TRY(buf_printf(out, "Lambda-Runtime-Client-Context: %.*s\r\n", (int)context.len,
                       (const char *)context.ptr));
    return buf_printf(out, "Content-Length: %zu\r\n\r\n", run->call->payload.len);
}

static void copy_id(char *to, size_t max, const char *from)
{
    size_t len = strlen(from);
    len = len < max - 1 ? len : max - 1;
    memcpy(to, from, len);
    to[len] = '\0';
}

void runtime_send_run(struct fn_env *e)
{
    struct fn_conn *c = e->waiting;
    struct fn_run *run = e->run;
    if (e->state != ENV_BUSY) { /* otherwise it is sent once more: its connection had gone */
        e->state = ENV_BUSY;
        run_begin(run);
        e->due_ns = run->begun_ns + (uint64_t)run->found.function->timeout_s * 1000000000;
        copy_id(e->request_id, sizeof(e->request_id), run->call->request_id);
        env_keep_lineage(e, run);
        env_arm(e, e->due_ns);
    }
    e->given = false;
    if (!c)
        return;
    e->waiting = NULL;
    c->state = CONN_HEAD;
    if (run_head(run, &c->out) == KIST_OK) {
        c->payload = run->call->payload;
        e->given = runtime_flush(c);
    }
    if (!e->given || (c->close_after && !c->polls_out)) /* the loop sees the end of it */
        shutdown(c->watch.fd, e->given ? SHUT_WR : SHUT_RDWR);
}

/* ---- requests ---- */

static bool next_work(struct fn_conn *c)
{
    struct fn_env *e = c->env;
    bool retire = false, idle = false;
    pthread_mutex_lock(&e->lock);
    bool allowed = !e->waiting && e->state != ENV_DEAD && !e->init_reported &&
                   !(e->state == ENV_BUSY && e->given);
    const char *from = state_name(e);
    if (!allowed) {
        pthread_mutex_unlock(&e->lock);
        return wrong_state(c, from, "Ready");
    }
    c->state = CONN_NEXT;
    e->waiting = c;
    if (e->state == ENV_INIT) {
        e->ready_ns = mono_ns();
        if (e->run) {
            e->run->cold = true;
            e->run->init_us = (e->ready_ns - e->started_ns) / 1000;
        }
    }
    if (!e->run && e->state != ENV_IDLE) {
        e->run = pool_next(e, &retire);
        idle = !e->run && !retire;
    }
    if (e->run)
        runtime_send_run(e);
    else if (idle)
        env_arm(e, e->idle_ns + FREEZE_AFTER_NS);
    pthread_mutex_unlock(&e->lock);
    if (retire)
        env_kill(e);
    if (idle)
        pool_pump(e->f->pool);
    return true;
}

/* Who answers must have been asked, and must say which question. The run is out of the
 * environment then. */
static bool take_answered(struct fn_conn *c, struct bytes id, const char *to, bool *sound,
                          struct fn_run **out)
{
    struct fn_env *e = c->env;
    struct fn_run *run = NULL;
    pthread_mutex_lock(&e->lock);
    bool running = e->state == ENV_BUSY && e->given;
    const char *from = state_name(e);
    if (running && bytes_equal(id, bytes_str(e->run->call->request_id))) {
        run = e->run;
        e->run = NULL;
        e->state = ENV_ANSWERED;
        /* It may answer before it has read all of the question, and on another connection than
         * the one that it streams on. */
        for (struct fn_conn *other = e->conns; other; other = other->next) {
            runtime_drop_pieces(other);
            if (other->payload.len) {
                other->payload = BYTES_EMPTY;
                other->close_after = true;
            }
        }
        run->memory_peak = sandbox_memory_peak(e->box);
        e->return_ns = mono_ns() + RETURN_NS;
        pool_returns(e);
        env_arm(e, e->return_ns);
    }
    pthread_mutex_unlock(&e->lock);
    *out = run;
    if (!running)
        *sound = wrong_state(c, from, to);
    else if (!run)
        *sound = fail(c, "400 Bad Request", "InvalidRequestID", "Invalid request ID");
    return run != NULL;
}

static bool answer(struct fn_conn *c, struct bytes id)
{
    struct fn_run *run;
    bool sound = true;
    if (!take_answered(c, id, "InvocationResponse", &sound, &run))
        return sound;
    env_output(c->env, run);
    if (c->discard) {
        sound = fail(c, "413 Request Entity Too Large", "RequestEntityTooLarge",
                     "Exceeded maximum allowed payload size (" SIZE_TEXT " bytes).");
        run_fail(run, "Function.ResponseSizeTooLarge",
                 "Response payload size exceeded maximum allowed payload size (" SIZE_TEXT
                 " bytes).");
        return sound;
    }
    sound = reply(c, "202 Accepted", "{\"status\":\"OK\"}");
    struct fn_result result = { .end = FN_OK,
                                .payload = buf_bytes(&c->body),
                                .content_type = bytes_str(c->content_type),
                                .streamed = c->streams };
    if (c->chunks.error_type[0]) { /* it began to stream, and then it failed */
        uint8_t text[WIRE_LINE_MAX];
        size_t len = 0;
        if (base64_decode(bytes_str(c->chunks.error_body), text, sizeof(text), &len) != KIST_OK)
            len = 0;
        result.end = FN_ERROR;
        result.handled = true;
        result.payload = len ? bytes_of(text, len) : BYTES_LIT("{}");
        run_finish(run, &result);
        return sound;
    }
    run_finish(run, &result);
    return sound;
}

static void end_with_report(struct fn_conn *c, struct fn_run *run)
{
    struct fn_result result = { .end = FN_ERROR,
                                .handled = true,
                                .payload = buf_bytes(&c->body) };
    if (c->discard || !c->body.len)
        run_fail(run, c->error_type[0] ? c->error_type : "Unhandled",
                 "the runtime reported an error");
    else
        run_finish(run, &result);
}

static bool answer_error(struct fn_conn *c, struct bytes id)
{
    struct fn_run *run;
    bool sound = true;
    if (!take_answered(c, id, "InvocationErrorResponse", &sound, &run))
        return sound;
    env_output(c->env, run);
    sound = reply(c, "202 Accepted", "{\"status\":\"OK\"}");
    end_with_report(c, run);
    return sound;
}

/* The process is to end now; what waits for it need not wait. */
static bool init_error(struct fn_conn *c)
{
    struct fn_env *e = c->env;
    pthread_mutex_lock(&e->lock);
    bool allowed = e->state == ENV_INIT && !e->init_reported;
    const char *from = state_name(e);
    struct fn_run *run = allowed ? e->run : NULL;
    if (allowed) {
        e->init_reported = true;
        e->run = NULL;
        pool_release_slot(e);
    }
    pthread_mutex_unlock(&e->lock);
    if (!allowed)
        return wrong_state(c, from, "InitError");
    bool sound = reply(c, "202 Accepted", "{\"status\":\"OK\"}");
    if (run) {
        run->cold = true;
        run->init_us = (mono_ns() - e->started_ns) / 1000;
        env_output(e, run);
        end_with_report(c, run);
    }
    /* It has nothing more to do: a runtime that stays is ended. */
    pthread_mutex_lock(&e->lock);
    uint64_t soon = mono_ns() + UINT64_C(1000000000);
    if (soon < e->due_ns) {
        e->due_ns = soon;
        env_arm(e, soon);
    }
    pthread_mutex_unlock(&e->lock);
    pool_pump(e->f->pool);
    return sound;
}

/* .../invocation/ID/WHAT; false: it is not. */
static bool split_path(struct bytes path, struct bytes *id, struct bytes *what)
{
    static const char prefix[] = API "invocation/";
    if (!bytes_starts_with(path, bytes_str(prefix)))
        return false;
    struct bytes rest = bytes_of(path.ptr + sizeof(prefix) - 1, path.len - sizeof(prefix) + 1);
    size_t slash = bytes_find(rest, BYTES_LIT("/"), 0);
    *id = bytes_of(rest.ptr, slash == SIZE_MAX ? rest.len : slash);
    *what = bytes_of(rest.ptr + id->len, rest.len - id->len);
    return true;
}

static bool handle(struct fn_conn *c)
{
    struct bytes path = bytes_str(c->target), id, what;
    c->close_after = !c->head.keep_alive || c->close_after;
    if (bytes_equal(path, BYTES_LIT(API "invocation/next")))
        return c->head.get ? next_work(c)
                           : fail(c, "405 Method Not Allowed", "MethodNotAllowed", "Use GET");
    bool init = bytes_equal(path, BYTES_LIT(API "init/error"));
    bool known = init || split_path(path, &id, &what);
    if (known && !c->head.post)
        return fail(c, "405 Method Not Allowed", "MethodNotAllowed", "Use POST");
    if (init)
        return init_error(c);
    if (known && bytes_equal(what, BYTES_LIT("/response")))
        return answer(c, id);
    if (known && bytes_equal(what, BYTES_LIT("/error")))
        return answer_error(c, id);
    return fail(c, "404 Not Found", "NotFound", "No such path");
}

/* ---- receiving ---- */

static bool keep_text(char *to, size_t max, struct bytes from)
{
    if (from.len >= max || (from.len && memchr(from.ptr, '\0', from.len)))
        return false;
    if (from.len)
        memcpy(to, from.ptr, from.len);
    to[from.len] = '\0';
    return true;
}

/* ---- pieces ---- */

void runtime_drop_pieces(struct fn_conn *c)
{
    if (!c->pieces)
        return;
    bool held = c->holds > 0;
    c->pieces->from = NULL;
    c->pieces = NULL;
    c->holds = 0;
    if (held)
        poll_again(c);
}

void functions_more(struct fn_invocation *i)
{
    struct fn_run *run = i->state;
    pthread_mutex_lock(&run->env->lock);
    struct fn_conn *c = run->from;
    if (c && --c->holds == 0)
        poll_again(c);
    pthread_mutex_unlock(&run->env->lock);
}

static void send_piece(struct fn_conn *c, struct bytes data)
{
    struct fn_invocation *call = c->pieces->call;
    if (call->piece(call, bytes_str(c->content_type), data))
        return;
    pthread_mutex_lock(&c->env->lock);
    if (++c->holds == 1) /* else functions_more() has been faster */
        poll_again(c);
    pthread_mutex_unlock(&c->env->lock);
}

/* A streamed answer whose caller wants it piece by piece; runs end on this thread alone. */
static void begin_pieces(struct fn_conn *c)
{
    struct fn_env *e = c->env;
    struct bytes id, what;
    if (!c->streams || !c->head.post || !split_path(bytes_str(c->target), &id, &what) ||
        !bytes_equal(what, BYTES_LIT("/response")))
        return;
    pthread_mutex_lock(&e->lock);
    struct fn_run *run = e->state == ENV_BUSY && e->given ? e->run : NULL;
    if (run && run->call->piece && !run->env &&
        bytes_equal(id, bytes_str(run->call->request_id))) {
        c->pieces = run;
        run->env = e;
        run->from = c;
    }
    pthread_mutex_unlock(&e->lock);
}

/* What is worth keeping of the head: its bytes are overwritten by what follows. */
static bool head_done(struct fn_conn *c)
{
    const struct wire_head *h = &c->head;
    if (!keep_text(c->target, sizeof(c->target), h->target))
        return false;
    if (!keep_text(c->error_type, sizeof(c->error_type), h->error_type))
        c->error_type[0] = '\0';
    if (!keep_text(c->content_type, sizeof(c->content_type), h->content_type))
        c->content_type[0] = '\0';
    c->streams = bytes_equal_nocase(h->response_mode, BYTES_LIT("streaming"));
    uint64_t max = c->streams ? STREAM_MAX : RESPONSE_MAX;
    c->discard = h->has_length && h->length > max;
    c->body_left = h->has_length ? h->length : 0;
    c->body_seen = 0;
    c->body.len = 0;
    c->body.max = (size_t)max;
    memset(&c->chunks, 0, offsetof(struct wire_chunks, line));
    c->chunks.error_type[0] = c->chunks.error_body[0] = '\0';
    /* No runtime sends more than it says here. */
    for (const char *p = c->error_type; *p; p++)
        if (*p < ' ' || *p == '"' || *p == '\\')
            c->error_type[0] = '\0';
    begin_pieces(c);
    c->state = CONN_BODY;
    if (!h->expect)
        return true;
    pthread_mutex_lock(&c->env->lock);
    bool sound =
        buf_append_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n") == KIST_OK && runtime_flush(c);
    pthread_mutex_unlock(&c->env->lock);
    return sound;
}

static bool body_bytes(struct fn_conn *c, struct bytes data)
{
    c->body_seen += data.len;
    if (c->pieces && c->body_seen <= c->body.max) {
        if (data.len)
            send_piece(c, data);
        return true;
    }
    c->discard = c->discard || c->pieces; /* its caller has had all that it may get */
    if (!c->discard && buf_append_bytes(&c->body, data) != KIST_OK) {
        c->discard = true;
        buf_release(&c->body);
    }
    return c->body_seen <= DISCARD_MAX;
}

/* Takes from c->in what belongs to the body. */
static enum wire_verdict take_body(struct fn_conn *c, size_t *used)
{
    if (!c->head.chunked) {
        size_t len = c->in_len < c->body_left ? c->in_len : (size_t)c->body_left;
        *used = len;
        c->body_left -= len;
        if (!body_bytes(c, bytes_of(c->in, len)))
            return WIRE_BAD;
        return c->body_left ? WIRE_MORE : WIRE_OK;
    }
    enum wire_verdict verdict = WIRE_MORE;
    size_t at = 0;
    while (at < c->in_len && verdict == WIRE_MORE) {
        size_t n;
        struct bytes data;
        verdict = wire_chunks(&c->chunks, bytes_of(c->in + at, c->in_len - at), &n, &data);
        at += n;
        if (!body_bytes(c, data))
            return WIRE_BAD;
    }
    *used = at;
    return verdict;
}

static void shift(struct fn_conn *c, size_t used)
{
    c->in_len -= used;
    memmove(c->in, c->in + used, c->in_len);
}

/* All requests that are whole. False: the connection is to be closed. */
static bool process(struct fn_conn *c)
{
    while (c->state != CONN_NEXT && !c->polls_out) {
        size_t used = 0;
        enum wire_verdict verdict =
            c->state == CONN_HEAD
                ? (c->in_len ? wire_head(bytes_of(c->in, c->in_len), &c->head, &used) : WIRE_MORE)
                : take_body(c, &used);
        if (verdict == WIRE_BAD) {
            c->close_after = true;
            return fail(c, "400 Bad Request", "InvalidRequest", "Malformed request");
        }
        bool begins = c->state == CONN_HEAD && verdict == WIRE_OK;
        if (begins && !head_done(c))
            return false;
        shift(c, used);
        if (verdict == WIRE_MORE)
            return true;
        if (begins)
            continue;
        c->state = CONN_HEAD;
        if (!handle(c))
            return false;
        if (c->body.cap > (64 << 10))
            buf_release(&c->body);
    }
    return true;
}

/* Straight into the body, when a large one of known length comes. */
static ssize_t receive(struct fn_conn *c)
{
    bool direct = c->state == CONN_BODY && !c->pieces && !c->head.chunked && !c->discard &&
                  c->in_len == 0 && c->body_left > sizeof(c->in);
    if (!direct || buf_reserve(&c->body, (size_t)c->body_left) != KIST_OK) {
        ssize_t got = recv(c->watch.fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);
        c->in_len += got > 0 ? (size_t)got : 0;
        return got;
    }
    ssize_t got = recv(c->watch.fd, c->body.ptr + c->body.len, (size_t)c->body_left, 0);
    if (got > 0) {
        c->body.len += (size_t)got;
        c->body_seen += (uint64_t)got;
        c->body_left -= (uint64_t)got;
    }
    return got;
}

bool runtime_resume(struct fn_conn *c)
{
    return process(c);
}

void runtime_readable(struct fn_conn *c)
{
    if (c->in_len == sizeof(c->in)) { /* it talks on while it waits for work */
        runtime_close(c);
        return;
    }
    ssize_t got = receive(c);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || !process(c))
        runtime_close(c);
}

void runtime_accept(struct fn_env *e)
{
    int on = 1, fd = accept4(e->listen.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    bool wanted = e->conn_count < CONNECTIONS_MAX && sandbox_owns_peer(e->box, fd);
    struct fn_conn *c = wanted ? calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->watch = (struct fn_watch){ WATCH_CONN, fd };
    c->env = e;
    buf_init(&c->out, OUT_MAX);
    buf_init(&c->body, STREAM_MAX);
    if (!loop_watch(e->loop, &c->watch, EPOLLIN | EPOLLRDHUP)) {
        close(fd);
        free(c);
        return;
    }
    pthread_mutex_lock(&e->lock);
    c->next = e->conns;
    e->conns = c;
    e->conn_count++;
    pthread_mutex_unlock(&e->lock);
}

void runtime_close(struct fn_conn *c)
{
    struct fn_env *e = c->env;
    pthread_mutex_lock(&e->lock);
    struct fn_conn **at = &e->conns;
    while (*at && *at != c)
        at = &(*at)->next;
    if (*at) {
        *at = c->next;
        e->conn_count--;
    }
    if (e->waiting == c)
        e->waiting = NULL;
    c->payload = BYTES_EMPTY;
    int fd = c->watch.fd;
    loop_forget(e->loop, &c->watch);
    runtime_drop_pieces(c);
    pthread_mutex_unlock(&e->lock);
    if (fd >= 0)
        close(fd);
    loop_bury_conn(e->loop, c);
}
