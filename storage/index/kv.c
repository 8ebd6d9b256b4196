/* The ordered map: views over generations, LMDB transactions, checkpoints. */
#include "storage/index/kv_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "storage/base/env.h"
#include "storage/index/rows.h"

#define KV_REVISION 1
#define MAP_BYTES_LEAST ((size_t)4 << 30)

static const char key_revision[] = "\0revision";
static const char key_index[] = "\0index";

/* ---- views ---- */

static struct kv_generation *generation_new(void)
{
    struct kv_generation *g = calloc(1, sizeof(*g));
    if (g)
        g->overlay = overlay_new();
    if (!g || !g->overlay)
        abort(); /* as in overlay_put() */
    g->refs = 1;
    return g;
}

static void generation_unref(struct kv_generation *g)
{
    if (g && atomic_fetch_sub(&g->refs, 1) == 1) {
        overlay_free(g->overlay);
        free(g);
    }
}

static struct kv_view *view_new(struct kv_generation *active, struct kv_generation *frozen)
{
    struct kv_view *v = calloc(1, sizeof(*v));
    if (!v)
        abort();
    v->refs = 1;
    v->active = active;
    v->frozen = frozen;
    active->refs++;
    if (frozen)
        frozen->refs++;
    return v;
}

static void view_unref(struct kv_view *v)
{
    if (v && atomic_fetch_sub(&v->refs, 1) == 1) {
        generation_unref(v->active);
        generation_unref(v->frozen);
        free(v);
    }
}

static struct kv_view *view_take(struct kv *kv)
{
    pthread_mutex_lock(&kv->view_lock);
    struct kv_view *v = kv->view;
    v->refs++;
    pthread_mutex_unlock(&kv->view_lock);
    return v;
}

static void view_set(struct kv *kv, struct kv_generation *active, struct kv_generation *frozen)
{
    struct kv_view *v = view_new(active, frozen);
    pthread_mutex_lock(&kv->view_lock);
    struct kv_view *old = kv->view;
    kv->view = v;
    pthread_mutex_unlock(&kv->view_lock);
    view_unref(old);
}

/* ---- LMDB ---- */

static enum kist_err read_number(MDB_txn *txn, MDB_dbi dbi, struct bytes key, uint64_t *out)
{
    struct bytes value;
    enum kist_err err = trie_get(txn, dbi, key, &value);
    if (err == KIST_E_NOT_FOUND) {
        *out = 0;
        return KIST_OK;
    }
    TRY(err);
    if (value.len != 8)
        return KIST_E_CORRUPT;
    *out = row_read_u64(value.ptr);
    return KIST_OK;
}

static enum kist_err write_number(MDB_txn *txn, MDB_dbi dbi, struct bytes key, uint64_t v)
{
    uint8_t value[8];
    for (int i = 7; i >= 0; i--, v >>= 8)
        value[i] = (uint8_t)v;
    return trie_put(txn, dbi, key, bytes_of(value, 8));
}

static enum kist_err load_state(struct kv *kv, MDB_txn *txn, bool create)
{
    uint64_t revision, index;
    TRY(trie_err(mdb_dbi_open(txn, NULL, 0, &kv->dbi)));
    TRY(read_number(txn, kv->dbi, bytes_of(key_revision, 9), &revision));
    if (revision > KV_REVISION)
        return KIST_E_NEWER_FORMAT;
    if (revision == 0 && create)
        TRY(write_number(txn, kv->dbi, bytes_of(key_revision, 9), KV_REVISION));
    TRY(read_number(txn, kv->dbi, bytes_of(key_index, 6), &index));
    kv->durable_index = index;
    return KIST_OK;
}

static enum kist_err open_env(struct kv *kv, const struct kv_config *config, unsigned flags,
                              size_t map_bytes)
{
    if (kv->env)
        mdb_env_close(kv->env);
    kv->env = NULL;
    TRY(trie_err(mdb_env_create(&kv->env)));
    TRY(trie_err(mdb_env_set_mapsize(kv->env, map_bytes)));
    TRY(trie_err(mdb_env_set_maxreaders(kv->env, config->readers_max)));
    return trie_err(mdb_env_open(kv->env, config->dir, flags, 0600));
}

/* The map is address space, not memory; where that is limited too (containers, sanitizers) a
 * smaller one must do. LMDB never maps less than the file holds. */
static enum kist_err open_lmdb(struct kv *kv, const struct kv_config *config)
{
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (config->sync ? 0 : MDB_NOSYNC) |
                     (config->read_only ? MDB_RDONLY : 0);
    int dead;
    MDB_txn *txn;
    enum kist_err opened = open_env(kv, config, flags, config->map_bytes);
    for (size_t bytes = config->map_bytes / 4; opened == KIST_E_NOMEM && bytes >= MAP_BYTES_LEAST;
         bytes /= 4)
        opened = open_env(kv, config, flags, bytes);
    TRY(opened);
    (void)mdb_reader_check(kv->env, &dead);
    if (config->sync && !config->read_only)
        TRY(dir_sync(config->dir)); /* LMDB syncs its files, not their names */
    TRY(trie_err(mdb_txn_begin(kv->env, NULL, config->read_only ? MDB_RDONLY : 0, &txn)));
    enum kist_err err = load_state(kv, txn, !config->read_only);
    if (err != KIST_OK) {
        mdb_txn_abort(txn);
        return err;
    }
    return trie_err(mdb_txn_commit(txn));
}

enum kist_err kv_open(const struct kv_config *config, struct kv **out)
{
    struct kv *kv = calloc(1, sizeof(*kv));
    if (!kv)
        return KIST_E_NOMEM;
    kv->config = *config;
    pthread_mutex_init(&kv->write_lock, NULL);
    pthread_mutex_init(&kv->view_lock, NULL);
    pthread_mutex_init(&kv->txn_lock, NULL);
    enum kist_err err = open_lmdb(kv, config);
    if (err != KIST_OK) {
        kv_close(kv);
        return err;
    }
    struct kv_generation *active = generation_new();
    view_set(kv, active, NULL);
    generation_unref(active);
    kv->index = kv->durable_index;
    *out = kv;
    return KIST_OK;
}

void kv_close(struct kv *kv)
{
    if (!kv)
        return;
    view_unref(kv->view);
    while (kv->txn_count)
        mdb_txn_abort(kv->txns[--kv->txn_count]);
    if (kv->env)
        mdb_env_close(kv->env);
    pthread_mutex_destroy(&kv->write_lock);
    pthread_mutex_destroy(&kv->view_lock);
    pthread_mutex_destroy(&kv->txn_lock);
    free(kv);
}

uint64_t kv_durable_index(const struct kv *kv)
{
    return kv->durable_index;
}

/* ---- writer ---- */

void kv_write_lock(struct kv *kv)
{
    pthread_mutex_lock(&kv->write_lock);
}

void kv_write_unlock(struct kv *kv)
{
    pthread_mutex_unlock(&kv->write_lock);
}

/* Whoever has the write lock needs no reference: the view does not change. */
static struct overlay *active_overlay(struct kv *kv)
{
    return kv->view->active->overlay;
}

/* What breaks this would stop every flush to come. */
static bool key_is_valid(struct bytes key)
{
    return key.len && key.len <= KV_KEY_MAX && key.ptr[0] != 0 && key.ptr[0] != 0xFF;
}

void kv_put(struct kv *kv, struct bytes key, struct bytes value)
{
    assert(key_is_valid(key));
    overlay_put(active_overlay(kv), kv->index + 1, key, value);
}

void kv_delete(struct kv *kv, struct bytes key)
{
    assert(key_is_valid(key));
    overlay_delete(active_overlay(kv), kv->index + 1, key);
}

size_t kv_mark(struct kv *kv)
{
    return overlay_mark(active_overlay(kv));
}

void kv_undo(struct kv *kv, size_t mark)
{
    overlay_undo(active_overlay(kv), mark);
}

void kv_set_index(struct kv *kv, uint64_t index)
{
    overlay_settle(active_overlay(kv));
    kv->index = index;
}

size_t kv_active_bytes(const struct kv *kv)
{
    union {
        const struct kv *in;
        struct kv *out;
    } cast = { .in = kv };
    struct kv_view *v = view_take(cast.out);
    size_t bytes = overlay_bytes(v->active->overlay);
    view_unref(v);
    return bytes;
}

/* ---- checkpoint ---- */

uint64_t kv_freeze(struct kv *kv)
{
    uint64_t index = 0;
    pthread_mutex_lock(&kv->write_lock);
    struct kv_view *v = view_take(kv);
    assert(!v->frozen);
    if (kv->index > kv->durable_index) {
        struct kv_generation *fresh = generation_new();
        v->active->index = index = kv->index;
        view_set(kv, fresh, v->active);
        generation_unref(fresh);
    }
    view_unref(v);
    pthread_mutex_unlock(&kv->write_lock);
    return index;
}

bool kv_has_frozen(struct kv *kv)
{
    struct kv_view *v = view_take(kv);
    bool frozen = v->frozen != NULL;
    view_unref(v);
    return frozen;
}

static enum kist_err write_rows(struct kv *kv, MDB_txn *txn, const struct kv_generation *g)
{
    for (const struct overlay_node *n = overlay_seek(g->overlay, BYTES_EMPTY); n;
         n = overlay_next(n)) {
        struct bytes value;
        enum overlay_found found = overlay_value(n, g->index, &value);
        if (found == OVERLAY_VALUE)
            TRY(trie_put(txn, kv->dbi, overlay_key(n), value));
        else if (found == OVERLAY_TOMBSTONE)
            TRY(trie_delete(txn, kv->dbi, overlay_key(n)));
    }
    return write_number(txn, kv->dbi, bytes_of(key_index, 6), g->index);
}

enum kist_err kv_flush(struct kv *kv)
{
    struct kv_view *v = view_take(kv);
    MDB_txn *txn;
    enum kist_err err = KIST_OK;
    if (v->frozen) {
        err = trie_err(mdb_txn_begin(kv->env, NULL, 0, &txn));
        if (err == KIST_OK) {
            err = write_rows(kv, txn, v->frozen);
            if (err == KIST_OK)
                err = trie_err(mdb_txn_commit(txn));
            else
                mdb_txn_abort(txn);
        }
        if (err == KIST_OK) {
            kv->durable_index = v->frozen->index;
            kv->flushes++;
            kv->flushed_rows += overlay_rows(v->frozen->overlay);
            pthread_mutex_lock(&kv->write_lock);
            view_set(kv, v->active, NULL);
            pthread_mutex_unlock(&kv->write_lock);
        }
    }
    view_unref(v);
    return err;
}

/* ---- readers ---- */

static enum kist_err txn_take(struct kv *kv, MDB_txn **out)
{
    MDB_txn *txn = NULL;
    pthread_mutex_lock(&kv->txn_lock);
    if (kv->txn_count)
        txn = kv->txns[--kv->txn_count];
    pthread_mutex_unlock(&kv->txn_lock);
    if (!txn)
        return trie_err(mdb_txn_begin(kv->env, NULL, MDB_RDONLY, out));
    int rc = mdb_txn_renew(txn);
    if (rc != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return trie_err(rc);
    }
    *out = txn;
    return KIST_OK;
}

static void txn_give(struct kv *kv, MDB_txn *txn)
{
    mdb_txn_reset(txn);
    pthread_mutex_lock(&kv->txn_lock);
    bool keep = kv->txn_count < ARRAY_LEN(kv->txns);
    if (keep)
        kv->txns[kv->txn_count++] = txn;
    pthread_mutex_unlock(&kv->txn_lock);
    if (!keep)
        mdb_txn_abort(txn);
}

void kv_read_end(struct kv_read *read)
{
    txn_give(read->kv, read->txn);
    view_unref(read->view);
}

/* The view first: a flush between the two is then seen twice, never missed. But of the flush
 * after that the view knows nothing, so that both are taken again when one has ended meanwhile.
 * The index last: what LMDB holds is no later. */
enum kist_err kv_read_begin(struct kv *kv, struct kv_read *read)
{
    for (;;) {
        uint64_t flushes = kv->flushes;
        struct kv_view *v = view_take(kv);
        MDB_txn *txn = NULL;
        enum kist_err err = txn_take(kv, &txn);
        if (err != KIST_OK) {
            view_unref(v);
            return err;
        }
        *read = (struct kv_read){ kv, v, txn, kv->index };
        if (kv->flushes == flushes)
            return KIST_OK;
        kv_read_end(read);
    }
}

void kv_read_own(struct kv_read *read)
{
    read->upto = UINT64_MAX;
}

/* The newest layer that knows the key decides. */
static bool overlay_get(const struct kv_generation *g, struct bytes key, uint64_t upto,
                        enum kist_err *verdict, struct bytes *value)
{
    const struct overlay_node *n = g ? overlay_find(g->overlay, key) : NULL;
    enum overlay_found found = n ? overlay_value(n, upto, value) : OVERLAY_NOTHING;
    *verdict = found == OVERLAY_VALUE ? KIST_OK : KIST_E_NOT_FOUND;
    return found != OVERLAY_NOTHING;
}

enum kist_err kv_get(struct kv_read *read, struct bytes key, struct bytes *value)
{
    const struct kv_view *v = read->view;
    enum kist_err verdict;
    if (overlay_get(v->active, key, read->upto, &verdict, value) ||
        overlay_get(v->frozen, key, read->upto, &verdict, value))
        return verdict;
    return trie_get(read->txn, read->kv->dbi, key, value);
}

void kv_stats(struct kv *kv, struct kv_stats *out)
{
    MDB_envinfo info;
    MDB_stat stat;
    struct kv_view *v = view_take(kv);
    *out = (struct kv_stats){ .active_bytes = overlay_bytes(v->active->overlay),
                              .frozen_bytes = v->frozen ? overlay_bytes(v->frozen->overlay) : 0,
                              .flushes = kv->flushes,
                              .flushed_rows = kv->flushed_rows };
    view_unref(v);
    if (mdb_env_info(kv->env, &info) == MDB_SUCCESS &&
        mdb_env_stat(kv->env, &stat) == MDB_SUCCESS)
        out->map_used_bytes = (info.me_last_pgno + 1) * stat.ms_psize;
}
