/* Large bodies beside the event loops.
 *
 *   loop: pieces --> block being filled --> hasher --> worker: past the page cache --> free
 *                    (in turns)             (in order)  (what waits, in one piece)
 *
 * The loop only copies; hashing and the disk take their time elsewhere, and when all blocks are
 * under way, that wait is the back-pressure. A block is a pack's block and begins at a multiple
 * of it in its chunk, so that only a body's last one is shorter. */
#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "storage/object/store_internal.h"

/* Few bodies get eight blocks each, so that one that arrives in bursts is there with the others
 * when the hasher makes its step, and the disk gets several at once; of many, enough are there
 * anyway, and all shall have some. */
#define BLOCKS_MAX 8U
#define BLOCKS_MIN 2U
#define MANY_SHARE 8 /* of the budget */
#define MOST_SHARE 2

enum block_state { BLOCK_FREE, BLOCK_HASHING, BLOCK_WRITING };

struct block {
    struct aside *aside;
    struct hash_job hash;
    struct block *next_written; /* in aside->to_write */
    uint8_t *data;
    size_t length;
    uint32_t pack;
    uint64_t offset;
    enum block_state state; /* aside->lock */
};

struct aside {
    struct store *store;
    struct hash_line line;
    bool stores;
    uint64_t length, submitted_bytes;
    struct block blocks[BLOCKS_MAX];
    uint8_t *memory; /* of all blocks; made when first needed */
    unsigned block_count, filling;
    pthread_mutex_t lock; /* the rest */
    unsigned busy;
    struct block *to_write, **to_write_end; /* hashed, in order */
    bool writing;
    struct job write;
    enum kist_err err;
    const struct block *waits_for; /* NULL: for all */
    void (*wake)(void *user);
    void *user;
    void (*closed)(void *user);
    void *closed_user;
};

static size_t bytes_of_blocks(unsigned count)
{
    return count * (size_t)PACK_BLOCK_BYTES;
}

static unsigned blocks_for(uint64_t length, unsigned most)
{
    uint64_t wanted = (length + PACK_BLOCK_BYTES - 1) / PACK_BLOCK_BYTES;
    return wanted < most ? (unsigned)wanted : most;
}

static void write_blocks(struct job *job);

struct aside *aside_open(struct store *s, uint64_t length, bool stores)
{
    unsigned blocks = blocks_for(length, BLOCKS_MAX);
    if (!budget_try(&s->budget, bytes_of_blocks(blocks), MANY_SHARE)) {
        blocks = blocks_for(length, BLOCKS_MIN);
        if (!budget_try(&s->budget, bytes_of_blocks(blocks), MOST_SHARE))
            return NULL;
    }
    struct aside *a = calloc(1, sizeof(*a));
    if (!a) {
        budget_give(&s->budget, bytes_of_blocks(blocks));
        return NULL;
    }
    a->block_count = blocks;
    a->store = s;
    a->length = length;
    a->stores = stores;
    a->to_write_end = &a->to_write;
    a->write.run = write_blocks;
    pthread_mutex_init(&a->lock, NULL);
    for (unsigned i = 0; i < a->block_count; i++)
        a->blocks[i].aside = a;
    hash_line_open(s->hasher, &a->line);
    return a;
}

static void aside_free(struct aside *a)
{
    hash_line_close(&a->line);
    free(a->memory);
    pthread_mutex_destroy(&a->lock);
    budget_give(&a->store->budget, bytes_of_blocks(a->block_count));
    free(a);
}

void aside_close(struct aside *a, void (*closed)(void *user), void *user)
{
    pthread_mutex_lock(&a->lock);
    bool busy = a->busy > 0;
    a->closed = closed;
    a->closed_user = user;
    a->wake = NULL;
    /* The last block's thread frees it as soon as the lock is free: hurry before. */
    if (busy)
        hash_hurry(&a->line, true);
    pthread_mutex_unlock(&a->lock);
    if (busy)
        return;
    aside_free(a);
    closed(user);
}

/* ---- blocks under way ---- */

static void block_done(struct block *b, enum kist_err err)
{
    struct aside *a = b->aside;
    void (*call)(void *user) = NULL;
    void *user = NULL;
    pthread_mutex_lock(&a->lock);
    b->state = BLOCK_FREE;
    b->length = 0;
    a->busy--;
    if (a->err == KIST_OK)
        a->err = err;
    bool last = a->busy == 0 && a->closed;
    if (last) {
        call = a->closed;
        user = a->closed_user;
    } else if (a->wake && (a->waits_for ? a->waits_for == b : a->busy == 0)) {
        call = a->wake;
        user = a->user;
        a->wake = NULL;
    }
    pthread_mutex_unlock(&a->lock);
    if (last)
        aside_free(a);
    if (call)
        call(user);
}

/* The oldest that wait, as many as lie one behind the other on the disk. */
static unsigned take_writes(struct aside *a, struct block *taken[PACK_BLOCKS_MAX])
{
    unsigned count = 0;
    pthread_mutex_lock(&a->lock);
    while (count < PACK_BLOCKS_MAX && a->to_write) {
        struct block *b = a->to_write;
        const struct block *before = count ? taken[count - 1] : NULL;
        if (before &&
            (b->pack != before->pack || b->offset != before->offset + PACK_BLOCK_BYTES ||
             before->length != PACK_BLOCK_BYTES))
            break;
        taken[count++] = b;
        a->to_write = b->next_written;
    }
    if (!a->to_write)
        a->to_write_end = &a->to_write;
    pthread_mutex_unlock(&a->lock);
    return count;
}

/* False when nothing waits. */
static bool write_goes_on(struct aside *a)
{
    pthread_mutex_lock(&a->lock);
    a->writing = a->to_write != NULL;
    bool more = a->writing;
    pthread_mutex_unlock(&a->lock);
    return more;
}

static void write_blocks(struct job *job)
{
    struct aside *a = CONTAINER_OF(job, struct aside, write);
    struct block *taken[PACK_BLOCKS_MAX];
    uint8_t *data[PACK_BLOCKS_MAX];
    unsigned count = take_writes(a, taken);
    for (unsigned i = 0; i < count; i++)
        data[i] = taken[i]->data;
    size_t bytes = (count - 1) * (size_t)PACK_BLOCK_BYTES + taken[count - 1]->length;
    enum kist_err err =
        pack_write_blocks(a->store->packs, taken[0]->pack, taken[0]->offset, data, bytes);
    if (write_goes_on(a))
        store_run(a->store, &a->write);
    for (unsigned i = 0; i < count; i++)
        block_done(taken[i], err);
}

static void block_hashed(struct hash_job *job)
{
    struct block *b = CONTAINER_OF(job, struct block, hash);
    struct aside *a = b->aside;
    if (!a->stores) {
        block_done(b, KIST_OK);
        return;
    }
    b->next_written = NULL;
    pthread_mutex_lock(&a->lock);
    b->state = BLOCK_WRITING;
    *a->to_write_end = b;
    a->to_write_end = &b->next_written;
    bool begins = !a->writing;
    a->writing = true;
    pthread_mutex_unlock(&a->lock);
    if (begins) /* else the block may be written, and all of it gone */
        store_run(a->store, &a->write);
}

static void submit(struct aside *a, struct block *b)
{
    a->filling = (a->filling + 1) % a->block_count;
    a->submitted_bytes += b->length;
    b->hash.data = b->data;
    b->hash.len = b->length;
    b->hash.ends = a->submitted_bytes == a->length;
    b->hash.done = block_hashed;
    pthread_mutex_lock(&a->lock);
    b->state = BLOCK_HASHING;
    a->busy++;
    pthread_mutex_unlock(&a->lock);
    hash_submit(&a->line, &b->hash);
}

void aside_submit(struct aside *a, const struct aside_place *place)
{
    struct block *b = &a->blocks[a->filling];
    b->pack = place->pack;
    b->offset = place->offset;
    b->hash.of_chunk = place->hash;
    b->hash.chunk_hash = place->chunk_hash;
    submit(a, b);
}

/* ---- the loop's side ---- */

/* False: the block is under way, and wake(user) follows. NULL: any block is. */
static bool is_free(struct aside *a, const struct block *b, void (*wake)(void *), void *user)
{
    pthread_mutex_lock(&a->lock);
    bool busy = b ? b->state != BLOCK_FREE : a->busy > 0;
    if (busy) {
        a->waits_for = b;
        a->wake = wake;
        a->user = user;
    }
    /* A single block is the oldest that is under way, so that none stands before it. */
    if (busy && (!b || b->state == BLOCK_HASHING))
        hash_hurry(&a->line, !b);
    pthread_mutex_unlock(&a->lock);
    return !busy;
}

bool aside_ready(struct aside *a, size_t bytes, void (*wake)(void *), void *user)
{
    const struct block *b = &a->blocks[a->filling];
    assert(bytes <= PACK_BLOCK_BYTES);
    if (!is_free(a, b, wake, user))
        return false;
    return b->length + bytes <= PACK_BLOCK_BYTES ||
           is_free(a, &a->blocks[(a->filling + 1) % a->block_count], wake, user);
}

/* BLOCKS_MAX of them are one huge page, where the machine has them: 2.1 instead of 1.7 GB/s to
 * the disk, and the hash reads from eight places with few misses in the TLB. */
static enum kist_err make_memory(struct aside *a)
{
    size_t bytes = bytes_of_blocks(a->block_count);
    bool huge = a->block_count == BLOCKS_MAX;
    a->memory = aligned_alloc(huge ? bytes : PACK_ALIGN, bytes);
    if (!a->memory)
        return KIST_E_NOMEM;
    if (huge)
        (void)!madvise(a->memory, bytes, MADV_HUGEPAGE);
    for (unsigned i = 0; i < a->block_count; i++)
        a->blocks[i].data = a->memory + bytes_of_blocks(i);
    return KIST_OK;
}

static enum kist_err block_fill(struct block *b, struct bytes piece)
{
    assert(b->length + piece.len <= PACK_BLOCK_BYTES);
    if (!b->aside->memory)
        TRY(make_memory(b->aside));
    memcpy(b->data + b->length, piece.ptr, piece.len);
    b->length += piece.len;
    return KIST_OK;
}

enum kist_err aside_write(struct aside *a, struct bytes piece)
{
    if (a->stores)
        return block_fill(&a->blocks[a->filling], piece);
    while (piece.len) {
        struct block *b = &a->blocks[a->filling];
        size_t room = PACK_BLOCK_BYTES - b->length;
        size_t n = piece.len < room ? piece.len : room;
        TRY(block_fill(b, bytes_of(piece.ptr, n)));
        if (b->length == PACK_BLOCK_BYTES || a->submitted_bytes + b->length == a->length)
            submit(a, b);
        piece = bytes_of(piece.ptr + n, piece.len - n);
    }
    return KIST_OK;
}

bool aside_end(struct aside *a, void (*wake)(void *), void *user)
{
    return is_free(a, NULL, wake, user);
}

enum kist_err aside_error(struct aside *a)
{
    pthread_mutex_lock(&a->lock);
    enum kist_err err = a->err;
    pthread_mutex_unlock(&a->lock);
    return err;
}

bool aside_stores(const struct aside *a)
{
    return a->stores;
}

void aside_md5(const struct aside *a, uint8_t out[16])
{
    md5_value(&a->line.md5, out);
}
