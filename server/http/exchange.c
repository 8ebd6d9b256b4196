/* An exchange's life: its stages, waiting and waking, and the small public functions.
 *
 * Waiting. exchange_wait() suspends MHD's connection, then moves RUNNING -> PARKED; the wake
 * moves PARKED -> WOKEN and resumes. A wake that comes first moves RUNNING -> WOKEN: then the
 * wait finds WOKEN, and either has not suspended at all or resumes by itself. In every order
 * `then` runs once, on the loop thread, in MHD's next call.
 *
 * Left alone, MHD 0.9.75 reads from a resumed connection before it makes that call, and a client
 * that has shut its sending side by then loses its reply: MHD takes the end of input for a
 * request broken off, though it has the whole of it, and it may even be done already. But
 * connections with a timeout of their own get that call (MHD_connection_handle_idle) before any
 * is read from. So a waiting connection has one, far away; it does not run during the wait, and
 * ends with it. tests/unit/server/http/test_halfclose.c holds MHD to this.
 */
#include <assert.h>
#include <stdlib.h>

#include "server/http/internal.h"
#include "storage/base/env.h"

#define STAGE_BIT(s) (1U << (unsigned)(s))
#define TO_END (STAGE_BIT(STAGE_CUT) | STAGE_BIT(STAGE_ENDED))

static const unsigned stage_moves[STAGE_COUNT] = {
    [STAGE_NEW] =
        STAGE_BIT(STAGE_ADMITTED) | STAGE_BIT(STAGE_BEGUN) | STAGE_BIT(STAGE_REPLIED) | TO_END,
    [STAGE_ADMITTED] = STAGE_BIT(STAGE_BEGUN) | TO_END,
    [STAGE_BEGUN] = STAGE_BIT(STAGE_BODY) | STAGE_BIT(STAGE_REPLIED) | TO_END,
    [STAGE_BODY] = STAGE_BIT(STAGE_FINISHED) | STAGE_BIT(STAGE_REPLIED) | TO_END,
    [STAGE_FINISHED] = STAGE_BIT(STAGE_REPLIED) | TO_END,
    [STAGE_REPLIED] = STAGE_BIT(STAGE_SENDING) | TO_END,
    [STAGE_SENDING] = TO_END,
    [STAGE_CUT] = STAGE_BIT(STAGE_ENDED),
    [STAGE_ENDED] = 0,
};

static const unsigned wait_moves[WAIT_STATE_COUNT] = {
    [WAIT_RUNNING] = STAGE_BIT(WAIT_PARKED) | STAGE_BIT(WAIT_WOKEN),
    [WAIT_PARKED] = STAGE_BIT(WAIT_WOKEN),
    [WAIT_WOKEN] = STAGE_BIT(WAIT_RUNNING),
};

void exchange_set_stage(struct exchange *x, enum exchange_stage to)
{
    assert(stage_moves[x->stage] & STAGE_BIT(to));
    x->stage = to;
}

/* MHD counts its milliseconds in 32 bits. */
#define WAIT_TIMEOUT_S 1000000U
#define NO_TIMEOUT_S 0U /* the daemon's */

static void set_timeout(struct exchange *x, unsigned seconds)
{
    MHD_set_connection_option(x->mhd, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

/* False when the state was another one. */
static bool wait_move(struct exchange *x, int from, int to)
{
    assert(wait_moves[from] & STAGE_BIT(to));
    return atomic_compare_exchange_strong(&x->wait, &from, to);
}

void exchange_wait(struct exchange *x)
{
    assert(!x->parked);
    if (atomic_load_explicit(&x->wait, memory_order_acquire) == WAIT_WOKEN)
        return;
    conn_set_flag(x->conn, CONN_WAITING, true);
    x->parked = true;
    MHD_suspend_connection(x->mhd);
    set_timeout(x, WAIT_TIMEOUT_S);
    if (!wait_move(x, WAIT_RUNNING, WAIT_PARKED))
        MHD_resume_connection(x->mhd);
}

/* After the last move the loop may end and recycle x at any time, and the server may stop:
 * the lock keeps MHD's daemon for as long as this thread is inside it. */
void exchange_wake(struct exchange *x, void (*then)(struct exchange *x))
{
    struct http_server *server = x->server;
    struct MHD_Connection *mhd = x->mhd;
    x->then = then;
    pthread_rwlock_rdlock(&server->wakers);
    if (!wait_move(x, WAIT_RUNNING, WAIT_WOKEN)) {
        bool moved = wait_move(x, WAIT_PARKED, WAIT_WOKEN);
        assert(moved); /* two wakes for one wait */
        (void)moved;
        MHD_resume_connection(mhd);
    }
    pthread_rwlock_unlock(&server->wakers);
}

static bool is_suspended(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_SUSPENDED);
    return info && info->suspended == MHD_YES;
}

bool exchange_run(struct exchange *x)
{
    /* MHD offers the next chunk of a chunked body even to a connection just suspended. */
    if (x->parked && is_suspended(x->mhd))
        return false;
    if (x->parked)
        set_timeout(x, NO_TIMEOUT_S);
    x->parked = false;
    while (!x->parked && atomic_load_explicit(&x->wait, memory_order_acquire) == WAIT_WOKEN) {
        void (*then)(struct exchange *) = x->then;
        wait_move(x, WAIT_WOKEN, WAIT_RUNNING);
        conn_set_flag(x->conn, CONN_WAITING, false);
        then(x);
    }
    return !x->parked;
}

/* Exchanges are recycled by the thread that runs their loop. */
#define CACHE_MAX 32U

struct exchange_cache {
    struct exchange *head;
    unsigned count;
};

static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;
static bool cache_usable;

static void cache_free(void *p)
{
    struct exchange_cache *cache = p;
    while (cache->head) {
        struct exchange *x = cache->head;
        cache->head = x->next_free;
        arena_release(&x->arena);
        free(x);
    }
    free(cache);
}

static void cache_setup(void)
{
    cache_usable = pthread_key_create(&cache_key, cache_free) == 0;
}

static struct exchange_cache *cache_here(void)
{
    pthread_once(&cache_once, cache_setup);
    if (!cache_usable)
        return NULL;
    struct exchange_cache *cache = pthread_getspecific(cache_key);
    if (cache)
        return cache;
    cache = calloc(1, sizeof(*cache));
    if (cache && pthread_setspecific(cache_key, cache) != 0) {
        free(cache);
        cache = NULL;
    }
    return cache;
}

static struct exchange *cache_take(void)
{
    struct exchange_cache *cache = cache_here();
    struct exchange *x = cache ? cache->head : NULL;
    if (!x) {
        x = calloc(1, sizeof(*x));
        if (x)
            arena_init(&x->arena, HTTP_ARENA_MAX_BYTES);
        return x;
    }
    cache->head = x->next_free;
    cache->count--;
    struct arena arena = x->arena;
    memset(x, 0, sizeof(*x));
    x->arena = arena;
    return x;
}

static void cache_give(struct exchange *x)
{
    struct exchange_cache *cache = cache_here();
    if (!cache || cache->count >= CACHE_MAX) {
        arena_release(&x->arena);
        free(x);
        return;
    }
    arena_clear(&x->arena);
    x->next_free = cache->head;
    cache->head = x;
    cache->count++;
}

/* A bijection (splitmix64's finalizer, Steele, Lea and Flood 2014), so that ids of one process
 * are unique and do not tell how many there were. */
static void make_id(struct http_server *server, char out[17])
{
    static const char digits[] = "0123456789ABCDEF";
    uint64_t z =
        server->id_seed +
        atomic_fetch_add_explicit(&server->ids, 1, memory_order_relaxed) * 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    z ^= z >> 31;
    for (int i = 15; i >= 0; i--, z >>= 4)
        out[i] = digits[z & 15];
    out[16] = 0;
}

struct exchange *exchange_new(struct conn *conn, struct MHD_Connection *mhd)
{
    struct exchange *x = cache_take();
    if (!x)
        return NULL;
    x->conn = conn;
    x->mhd = mhd;
    x->server = conn->server;
    x->reply_headers_end = &x->reply_headers;
    x->request.method = HTTP_OTHER;
    x->request.tls = conn->server->tls;
    x->request.tls_version = conn->server->tls ? tls_version(mhd) : NULL;
    memcpy(x->request.peer, conn->peer, sizeof(x->request.peer));
    x->request.tag = conn->tag;
    make_id(conn->server, x->id);
    x->begun_ns = mono_ns();
    return x;
}

void exchange_end(struct exchange *x)
{
    struct http_server *server = x->server;
    assert(atomic_load(&x->wait) != WAIT_PARKED);
    exchange_set_stage(x, STAGE_ENDED);
    if (x->begun)
        server->handler.end(server->handler.ctx, x);
    bool counted = x->counted;
    cache_give(x);
    if (!counted || atomic_fetch_sub(&server->active, 1) != 1 || !atomic_load(&server->stopping))
        return;
    pthread_mutex_lock(&server->drain_lock);
    pthread_cond_broadcast(&server->drained);
    pthread_mutex_unlock(&server->drain_lock);
}

const struct http_request *exchange_request(const struct exchange *x)
{
    return &x->request;
}

struct bytes exchange_header(const struct exchange *x, const char *name)
{
    struct bytes wanted = bytes_str(name);
    for (size_t i = 0; i < x->request.header_count; i++)
        if (bytes_equal(x->request.headers[i].name, wanted))
            return x->request.headers[i].value;
    return BYTES_EMPTY;
}

struct arena *exchange_arena(struct exchange *x)
{
    return &x->arena;
}

void exchange_set_user(struct exchange *x, void *user)
{
    x->user = user;
}

void *exchange_user(const struct exchange *x)
{
    return x->user;
}

void exchange_set_guest(struct exchange *x, void *guest)
{
    x->guest = guest;
}

void *exchange_guest(const struct exchange *x)
{
    return x->guest;
}

const char *exchange_id(const struct exchange *x)
{
    return x->id;
}

unsigned exchange_status(const struct exchange *x)
{
    return x->status;
}

void exchange_facts(const struct exchange *x, struct exchange_facts *out)
{
    *out = (struct exchange_facts){ .bytes_received = x->body_seen,
                                    .bytes_sent = x->bytes_sent,
                                    .begun_ns = x->begun_ns,
                                    .replied_ns = x->replied_ns,
                                    .host_id = x->server->host_id };
}

void exchange_read_body(struct exchange *x, const struct body_sink *sink)
{
    exchange_set_stage(x, STAGE_BODY);
    x->sink = *sink;
}

void exchange_abort(struct exchange *x)
{
    exchange_set_stage(x, STAGE_CUT);
}

void exchange_reply_bytes(struct exchange *x, unsigned status, struct bytes body)
{
    exchange_set_stage(x, STAGE_REPLIED);
    x->replied_ns = mono_ns();
    x->status = status;
    x->reply_body = body;
    x->reply_length = body.len;
}

void exchange_reply_reader(struct exchange *x, unsigned status, uint64_t length,
                           const struct body_reader *reader)
{
    exchange_set_stage(x, STAGE_REPLIED);
    x->replied_ns = mono_ns();
    x->status = status;
    x->reply_is_reader = true;
    x->reply_length = length;
    x->reader = *reader;
}

static bool is_sendable(struct bytes s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((s.ptr[i] < ' ' && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
            return false;
    return true;
}

/* Framing is this layer's own. */
static bool is_reserved(struct bytes name)
{
    static const char *const reserved[] = { "content-length", "transfer-encoding", "connection",
                                            "date", "trailer" };
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (bytes_equal_nocase(name, bytes_str(reserved[i])))
            return true;
    return false;
}

enum kist_err exchange_add_header(struct exchange *x, const char *name, struct bytes value)
{
    if (!*name || strpbrk(name, " :\t\r\n") || is_reserved(bytes_str(name)) ||
        !is_sendable(value))
        return KIST_E_INVALID;
    struct reply_header *h = arena_alloc(&x->arena, sizeof(*h));
    char *name_copy = arena_strdup(&x->arena, name);
    /* MHD takes no empty value; a blank means the same (RFC 9110 section 5.5). */
    char *value_copy =
        value.len ? arena_strndup(&x->arena, value.ptr, value.len) : arena_strdup(&x->arena, " ");
    if (!h || !name_copy || !value_copy)
        return KIST_E_NOMEM;
    *h = (struct reply_header){ .name = name_copy, .value = value_copy };
    *x->reply_headers_end = h;
    x->reply_headers_end = &h->next;
    return KIST_OK;
}

void exchange_clear_headers(struct exchange *x)
{
    x->reply_headers = NULL;
    x->reply_headers_end = &x->reply_headers;
}
