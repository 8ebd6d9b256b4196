#include "storage/object/store_internal.h"

#include <assert.h>
#include <stdlib.h>

struct pin {
    uint64_t identity;
    unsigned count;
    bool wanted; /* by the reclaimer */
    struct pin *next;
};

void pins_init(struct pins *p)
{
    pthread_rwlock_init(&p->gate, NULL);
    for (size_t i = 0; i < PIN_SHARDS; i++) {
        p->shards[i].first = NULL;
        pthread_mutex_init(&p->shards[i].lock, NULL);
    }
}

void pins_release(struct pins *p)
{
    pthread_rwlock_destroy(&p->gate);
    for (size_t i = 0; i < PIN_SHARDS; i++) {
        assert(!p->shards[i].first);
        pthread_mutex_destroy(&p->shards[i].lock);
    }
}

/* Equal content shares chunks, but an object's own references go only with its own garbage row,
 * whose first chunk is the same: one hash identifies the list. */
uint64_t pin_identity(const Kist__Data *data)
{
    if (!data)
        return 0;
    if (data->extent)
        return ((uint64_t)data->extent->pack << 40 ^ data->extent->offset) | (uint64_t)1 << 63;
    if (data->manifest)
        return data->manifest;
    return data->n_chunks ? row_read_u64(data->chunks[0]->hash.data) : 0;
}

static struct pin_shard *shard_of(struct pins *p, uint64_t identity)
{
    return &p->shards[(identity * 0x9E3779B97F4A7C15U) >> 58];
}

static struct pin **find(struct pin_shard *shard, uint64_t identity)
{
    struct pin **slot = &shard->first;
    while (*slot && (*slot)->identity != identity)
        slot = &(*slot)->next;
    return slot;
}

enum kist_err pin_take(struct pins *p, uint64_t identity)
{
    struct pin_shard *shard = shard_of(p, identity);
    enum kist_err err = KIST_OK;
    pthread_mutex_lock(&shard->lock);
    struct pin **slot = find(shard, identity);
    if (!*slot) {
        *slot = calloc(1, sizeof(**slot));
        if (*slot)
            (*slot)->identity = identity;
        else
            err = KIST_E_NOMEM;
    }
    if (*slot)
        (*slot)->count++;
    pthread_mutex_unlock(&shard->lock);
    return err;
}

bool pin_drop(struct pins *p, uint64_t identity)
{
    bool wanted = false;
    struct pin_shard *shard = shard_of(p, identity);
    pthread_mutex_lock(&shard->lock);
    struct pin **slot = find(shard, identity);
    assert(*slot && (*slot)->count > 0);
    if (--(*slot)->count == 0) {
        struct pin *gone = *slot;
        *slot = gone->next;
        wanted = gone->wanted;
        free(gone);
    }
    pthread_mutex_unlock(&shard->lock);
    return wanted;
}

bool pin_held(struct pins *p, uint64_t identity)
{
    struct pin_shard *shard = shard_of(p, identity);
    pthread_mutex_lock(&shard->lock);
    struct pin *pin = *find(shard, identity);
    bool held = pin != NULL;
    if (held)
        pin->wanted = true;
    pthread_mutex_unlock(&shard->lock);
    return held;
}
