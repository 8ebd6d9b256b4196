/* MD5 of large bodies and SHA-256 of their chunks, many at once, beside the event loops.
 *
 *   aside: blocks --> a line for each body --> thread: up to 8 lines, one step for all;
 *                                              newcomers join between steps
 *
 * A step of MD5 costs the same for one line as for eight, so it begins when most open lines have
 * a block for it, or when somebody waits for one. A lone line's block begins at once. */
#include <assert.h>
#include <stdlib.h>

#include "storage/base/hash_both.h"
#include "storage/object/store_internal.h"

/* How long a newcomer may wait to join, in 64-byte blocks; it stays in the nearest cache for the
 * second hash. */
#define STEP_BLOCKS ((size_t)256)

struct hasher {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool threaded;
    struct hash_line *first, **last; /* lines with jobs, of which none is being done */
    size_t queued, urgent, open;
    bool stop;
};

/* ---- the thread ---- */

static void job_begin(struct hash_line *l)
{
    const struct hash_job *j = l->first;
    if (j->of_chunk && l->chunk_bytes == 0)
        sha256_init(&l->chunk);
    l->at = j->data;
    l->left_blocks = j->len / MD5_BLOCK_BYTES;
}

/* Whole blocks of 64 bytes are done; only a body's last job has more. */
static void job_end(struct hash_line *l)
{
    const struct hash_job *j = l->first;
    size_t tail = j->len % MD5_BLOCK_BYTES;
    l->bytes += j->len;
    l->chunk_bytes += j->of_chunk ? j->len : 0;
    if (j->chunk_hash) {
        sha256_final(&l->chunk, l->at, tail, l->chunk_bytes, j->chunk_hash);
        l->chunk_bytes = 0;
    }
    if (j->ends) {
        uint8_t last[MD5_BLOCK_BYTES + MD5_PAD_MAX];
        const uint8_t *data = last;
        struct md5 *md5 = &l->md5;
        memcpy(last, l->at, tail);
        md5_blocks(&md5, &data, 1, md5_pad(last, tail, l->bytes) / MD5_BLOCK_BYTES);
    }
}

static void step(struct hash_line *const *active, size_t count)
{
    struct hash_both both = { .md5_count = count };
    size_t blocks = STEP_BLOCKS;
    assert(count > 0 && count <= MD5_LANES);
    for (size_t i = 0; i < count; i++) {
        both.md5[i] = &active[i]->md5;
        both.md5_from[i] = active[i]->at;
        if (active[i]->first->of_chunk) {
            both.sha[both.sha_count] = &active[i]->chunk;
            both.sha_from[both.sha_count++] = active[i]->at;
        }
        if (active[i]->left_blocks < blocks)
            blocks = active[i]->left_blocks;
    }
    hash_both_blocks(&both, blocks);
    for (size_t i = 0; i < count; i++) {
        active[i]->at += blocks * MD5_BLOCK_BYTES;
        active[i]->left_blocks -= blocks;
    }
}

static bool worth_a_step(const struct hasher *h)
{
    size_t most = h->open - h->open / 4;
    return h->queued > 0 &&
           (h->urgent > 0 || h->stop || h->queued >= (most < MD5_LANES ? most : MD5_LANES));
}

static void enqueue(struct hasher *h, struct hash_line *l)
{
    l->next = NULL;
    *h->last = l;
    h->last = &l->next;
    h->queued++;
    h->urgent += l->urgent;
    l->queued = true;
}

static struct hash_line *dequeue(struct hasher *h)
{
    struct hash_line *l = h->first;
    h->first = l->next;
    if (!h->first)
        h->last = &h->first;
    h->queued--;
    h->urgent -= l->urgent;
    l->queued = false;
    l->urgent = l->urgent_to_end;
    return l;
}

/* Fills the lanes; false when there is nothing left to do, ever. */
static bool gather(struct hasher *h, struct hash_line *active[MD5_LANES], size_t *count)
{
    pthread_mutex_lock(&h->lock);
    while (*count == 0 && !worth_a_step(h) && !h->stop)
        pthread_cond_wait(&h->wake, &h->lock);
    while (*count < MD5_LANES && h->first) {
        active[*count] = dequeue(h);
        job_begin(active[(*count)++]);
    }
    pthread_mutex_unlock(&h->lock);
    return *count > 0;
}

/* The line may be gone after its last job's done(). */
static void finish(struct hasher *h, struct hash_line *l)
{
    struct hash_job *j = l->first;
    job_end(l);
    pthread_mutex_lock(&h->lock);
    l->first = j->next;
    if (l->first)
        enqueue(h, l);
    else
        l->last = &l->first;
    pthread_mutex_unlock(&h->lock);
    j->done(j);
}

static void *hasher_main(void *arg)
{
    struct hasher *h = arg;
    struct hash_line *active[MD5_LANES];
    size_t count = 0;
    while (gather(h, active, &count)) {
        step(active, count);
        for (size_t i = 0; i < count;) {
            if (active[i]->left_blocks > 0) {
                i++;
                continue;
            }
            struct hash_line *l = active[i];
            active[i] = active[--count];
            finish(h, l);
        }
    }
    return NULL;
}

enum kist_err hasher_open(bool threaded, struct hasher **out)
{
    struct hasher *h = calloc(1, sizeof(*h));
    if (!h)
        return KIST_E_NOMEM;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->wake, NULL);
    h->last = &h->first;
    h->threaded = threaded;
    if (threaded && pthread_create(&h->thread, NULL, hasher_main, h) != 0) {
        free(h);
        return KIST_E_NOMEM;
    }
    if (threaded)
        pthread_setname_np(h->thread, "hash");
    *out = h;
    return KIST_OK;
}

void hasher_stop(struct hasher *h)
{
    if (!h || !h->threaded)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
}

void hasher_free(struct hasher *h)
{
    if (!h)
        return;
    assert(h->open == 0);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* ---- lines ---- */

void hash_line_open(struct hasher *h, struct hash_line *l)
{
    *l = (struct hash_line){ .hasher = h };
    l->last = &l->first;
    md5_init(&l->md5);
    pthread_mutex_lock(&h->lock);
    h->open++;
    pthread_mutex_unlock(&h->lock);
}

void hash_line_close(struct hash_line *l)
{
    struct hasher *h = l->hasher;
    pthread_mutex_lock(&h->lock);
    assert(!l->first && !l->queued);
    h->open--;
    if (worth_a_step(h))
        pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

static void hash_now(struct hash_line *l, struct hash_job *j)
{
    l->first = j;
    for (job_begin(l); l->left_blocks > 0;)
        step(&l, 1);
    job_end(l);
    l->first = NULL;
    j->done(j);
}

void hash_submit(struct hash_line *l, struct hash_job *j)
{
    struct hasher *h = l->hasher;
    j->next = NULL;
    if (!h->threaded) {
        hash_now(l, j);
        return;
    }
    pthread_mutex_lock(&h->lock);
    bool idle = !l->first;
    *l->last = j;
    l->last = &j->next;
    if (idle)
        enqueue(h, l);
    if (worth_a_step(h))
        pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

void hash_hurry(struct hash_line *l, bool to_end)
{
    struct hasher *h = l->hasher;
    pthread_mutex_lock(&h->lock);
    if (l->queued && !l->urgent) {
        h->urgent++;
        pthread_cond_signal(&h->wake);
    }
    l->urgent = l->urgent || l->queued || to_end;
    l->urgent_to_end = l->urgent_to_end || to_end;
    pthread_mutex_unlock(&h->lock);
}
