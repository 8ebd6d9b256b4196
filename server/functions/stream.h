/* An answer that goes out while the function still makes it: event streams of Lambda's API
 * (api_stream.c), and the replies of function URLs (url.c).
 *
 *   function --> piece() --> queue --> reader --> client
 *      ^         done()  --'   |
 *      '--- held when the queue is long, let go when the client has read it
 *
 * The client may go while the function still runs: then the stream stays until done(), and all
 * that the invocation borrows is the stream's own.
 */
#ifndef KIST_SERVER_FUNCTIONS_STREAM_H
#define KIST_SERVER_FUNCTIONS_STREAM_H

#include <pthread.h>

#include "server/functions/internal.h"

#define FN_STREAM_BLOCK ((size_t)64 << 10)

struct fn_stream {
    struct fn_invocation call;
    const struct fn_stream_form *form;
    struct arena arena;   /* what the invocation borrows */
    pthread_mutex_t lock; /* of what follows */
    struct exchange *x;   /* NULL: the client has gone */
    struct buf queue;
    size_t taken;     /* of the queue */
    size_t looked;    /* at, of the queue, by ready() */
    bool begun;       /* the reply */
    bool waiting;     /* the reader, for more */
    bool held;        /* the function, until there is room */
    bool done;        /* the function, and: */
    bool streamed;    /* it sent pieces, rather than one answer */
    bool broken;      /* the reply cannot be sent whole: it is cut */
    bool integration; /* its content type says that HTTP's head comes first */
    enum fn_end end;
    const char *why;
    char type[128]; /* content type of the pieces; "": none has come */
};

/* What becomes of an answer. All but begin() are called with the lock held, from any thread. */
struct fn_stream_form {
    /* Adds to the queue what the client is to get. */
    enum kist_err (*piece)(struct fn_stream *s, struct bytes piece);
    enum kist_err (*end)(struct fn_stream *s, const struct fn_result *r);
    /* Enough is there for begin(); it is not asked once the function is done. NULL: always. */
    bool (*ready)(struct fn_stream *s);
    /* On the exchange's thread, once: replies, by fn_stream_send() if the queue is the body. */
    void (*begin)(struct exchange *x);
};

/* Copies what the invocation borrows. NULL: no memory. */
struct fn_stream *fn_stream_new(struct exchange *x, const struct fn_invocation *call,
                                const struct fn_stream_form *form);
/* Waits, and invokes. */
void fn_stream_run(struct functions *f, struct fn_stream *s);
/* Replies with what is in the queue, and with what will be. */
void fn_stream_send(struct fn_stream *s, struct exchange *x, unsigned status);
/* The exchange is over: the stream goes now, or with its invocation. NULL is allowed. */
void fn_stream_drop(struct fn_stream *s);

#endif
