/* MD5 of large bodies, many at once, beside the event loops.
 *
 *   loop: pieces --> block being filled --whole--> queue --> thread: up to 8 streams, one step
 *                    (two blocks a stream)                   for all, newcomers join between
 *
 * A step costs the same for one stream as for eight, so it begins when most open streams have a
 * block for it, or when one cannot go on without it: its other block is full, too, or its body
 * has ended. Memory stays bounded, and that wait is the back-pressure. A lone stream's block
 * begins at once. */
#include <assert.h>
#include <stdlib.h>

#include "storage/base/md5.h"
#include "storage/object/store_internal.h"

#define HASH_BLOCK_BYTES ((size_t)128 << 10)
#define STREAM_BYTES (2 * (HASH_BLOCK_BYTES + MD5_PAD_MAX))
/* How long a newcomer may wait to join, in 64-byte blocks. */
#define STEP_BLOCKS ((size_t)512)

struct hasher {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    struct budget *budget;
    struct hash_stream *first, **last;
    size_t queued, open;
    size_t stuck; /* streams that wait */
    bool stop;
};

struct hash_stream {
    struct hasher *hasher;
    struct md5 md5;
    uint64_t bytes;
    uint8_t *blocks;
    size_t filled;
    unsigned filling; /* 0 or 1 */
    bool ended;       /* the padded end was submitted */
    /* hasher->lock */
    bool busy, orphan;
    void (*wake)(void *user);
    void *user;
    struct hash_stream *next;
    /* the thread's, while busy */
    const uint8_t *at;
    size_t left_blocks;
};

static void stream_free(struct hash_stream *s)
{
    pthread_mutex_lock(&s->hasher->lock);
    s->hasher->open--;
    pthread_mutex_unlock(&s->hasher->lock);
    budget_give(s->hasher->budget, STREAM_BYTES);
    free(s->blocks);
    free(s);
}

/* ---- the thread ---- */

static void done(struct hash_stream *s)
{
    struct hasher *h = s->hasher;
    pthread_mutex_lock(&h->lock);
    void (*wake)(void *) = s->wake;
    void *user = s->user;
    bool orphan = s->orphan;
    h->stuck -= wake != NULL;
    s->wake = NULL;
    s->busy = false;
    pthread_mutex_unlock(&h->lock);
    if (orphan)
        stream_free(s);
    else if (wake)
        wake(user);
}

static bool worth_a_step(const struct hasher *h)
{
    size_t most = h->open - h->open / 4;
    return h->queued > 0 &&
           (h->stuck > 0 || h->stop || h->queued >= (most < MD5_LANES ? most : MD5_LANES));
}

/* Fills the lanes; false when there is nothing left to do, ever. */
static bool gather(struct hasher *h, struct hash_stream *active[MD5_LANES], size_t *count)
{
    pthread_mutex_lock(&h->lock);
    while (*count == 0 && !worth_a_step(h) && !h->stop)
        pthread_cond_wait(&h->wake, &h->lock);
    while (*count < MD5_LANES && h->first) {
        active[(*count)++] = h->first;
        h->first = h->first->next;
        h->queued--;
        if (!h->first)
            h->last = &h->first;
    }
    pthread_mutex_unlock(&h->lock);
    return *count > 0;
}

static void step(struct hash_stream *const active[MD5_LANES], size_t count)
{
    struct md5 *states[MD5_LANES];
    const uint8_t *from[MD5_LANES];
    size_t blocks = STEP_BLOCKS;
    for (size_t i = 0; i < count; i++) {
        states[i] = &active[i]->md5;
        from[i] = active[i]->at;
        if (active[i]->left_blocks < blocks)
            blocks = active[i]->left_blocks;
    }
    md5_blocks(states, from, count, blocks);
    for (size_t i = 0; i < count; i++) {
        active[i]->at += blocks * MD5_BLOCK_BYTES;
        active[i]->left_blocks -= blocks;
    }
}

static void *hasher_main(void *arg)
{
    struct hasher *h = arg;
    struct hash_stream *active[MD5_LANES];
    size_t count = 0;
    while (gather(h, active, &count)) {
        step(active, count);
        for (size_t i = 0; i < count;) {
            if (active[i]->left_blocks > 0) {
                i++;
                continue;
            }
            done(active[i]);
            active[i] = active[--count];
        }
    }
    return NULL;
}

enum kist_err hasher_open(struct budget *budget, struct hasher **out)
{
    struct hasher *h = calloc(1, sizeof(*h));
    if (!h)
        return KIST_E_NOMEM;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    h->last = &h->first;
    h->budget = budget;
    if (pthread_create(&h->thread, NULL, hasher_main, h) != 0) {
        free(h);
        return KIST_E_NOMEM;
    }
    pthread_setname_np(h->thread, "md5");
    *out = h;
    return KIST_OK;
}

void hasher_close(struct hasher *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* ---- streams ---- */

struct hash_stream *hash_stream_open(struct hasher *h)
{
    if (!h || !budget_try(h->budget, STREAM_BYTES))
        return NULL;
    struct hash_stream *s = calloc(1, sizeof(*s));
    uint8_t *blocks = malloc(STREAM_BYTES);
    if (!s || !blocks) {
        budget_give(h->budget, STREAM_BYTES);
        free(s);
        free(blocks);
        return NULL;
    }
    pthread_mutex_lock(&h->lock);
    h->open++;
    pthread_mutex_unlock(&h->lock);
    s->hasher = h;
    s->blocks = blocks;
    md5_init(&s->md5);
    return s;
}

static void nobody(void *user)
{
    (void)user;
}

void hash_stream_close(struct hash_stream *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->hasher->lock);
    bool busy = s->busy;
    s->orphan = true;
    s->hasher->stuck += busy && !s->wake;
    s->wake = busy ? nobody : NULL;
    pthread_cond_signal(&s->hasher->wake);
    pthread_mutex_unlock(&s->hasher->lock);
    if (!busy)
        stream_free(s);
}

static uint8_t *block_of(const struct hash_stream *s, unsigned which)
{
    return s->blocks + which * (STREAM_BYTES / 2);
}

/* False: the other block is in work, and wake(user) follows. */
static bool is_free(struct hash_stream *s, void (*wake)(void *), void *user)
{
    pthread_mutex_lock(&s->hasher->lock);
    bool busy = s->busy;
    if (busy) {
        s->hasher->stuck += s->wake == NULL;
        s->wake = wake;
        s->user = user;
        pthread_cond_signal(&s->hasher->wake);
    }
    pthread_mutex_unlock(&s->hasher->lock);
    return !busy;
}

/* Hands over the whole 64-byte blocks of what is filled; the rest moves to the other block. */
static void submit(struct hash_stream *s)
{
    struct hasher *h = s->hasher;
    uint8_t *block = block_of(s, s->filling), *other = block_of(s, !s->filling);
    size_t whole = s->filled & ~(MD5_BLOCK_BYTES - 1);
    memcpy(other, block + whole, s->filled - whole);
    s->filling = !s->filling;
    s->filled -= whole;
    s->at = block;
    s->left_blocks = whole / MD5_BLOCK_BYTES;
    pthread_mutex_lock(&h->lock);
    s->busy = true;
    s->next = NULL;
    *h->last = s;
    h->last = &s->next;
    h->queued++;
    if (worth_a_step(h))
        pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

bool hash_stream_ready(struct hash_stream *s, size_t bytes, void (*wake)(void *), void *user)
{
    if (s->filled + bytes <= HASH_BLOCK_BYTES)
        return true;
    if (!is_free(s, wake, user))
        return false;
    submit(s);
    return true;
}

void hash_stream_write(struct hash_stream *s, struct bytes piece)
{
    assert(s->filled + piece.len <= HASH_BLOCK_BYTES);
    memcpy(block_of(s, s->filling) + s->filled, piece.ptr, piece.len);
    s->filled += piece.len;
    s->bytes += piece.len;
}

bool hash_stream_end(struct hash_stream *s, void (*wake)(void *), void *user)
{
    if (!is_free(s, wake, user))
        return false;
    if (s->ended)
        return true;
    s->ended = true;
    s->filled = md5_pad(block_of(s, s->filling), s->filled, s->bytes);
    submit(s);
    return is_free(s, wake, user);
}

void hash_stream_value(const struct hash_stream *s, uint8_t out[16])
{
    md5_value(&s->md5, out);
}
