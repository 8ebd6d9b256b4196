/* The parts of an ordered map. */
#ifndef KIST_STORAGE_INDEX_KV_INTERNAL_H
#define KIST_STORAGE_INDEX_KV_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/index/overlay.h"
#include "storage/index/trie.h"

struct kv_generation {
    _Atomic unsigned refs;
    struct overlay *overlay;
    uint64_t index; /* once frozen: the command it reaches */
};

/* What a reader pins: immutable, counted. */
struct kv_view {
    _Atomic unsigned refs;
    struct kv_generation *active, *frozen;
};

struct kv {
    struct kv_config config;
    MDB_env *env;
    MDB_dbi dbi;
    pthread_mutex_t write_lock;
    _Atomic uint64_t index; /* written under write_lock */
    _Atomic uint64_t durable_index, flushes, flushed_rows;
    pthread_mutex_t view_lock; /* for the moment of taking a reference */
    struct kv_view *view;      /* changes under write_lock, too */
    pthread_mutex_t txn_lock;
    MDB_txn *txns[64]; /* reset, to be renewed */
    size_t txn_count;
};

#endif
