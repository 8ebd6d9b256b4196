/* Cursors over the three layers: active, frozen, LMDB. The smallest key is next; where layers
 * have the same key the newest decides, and its tombstone hides the others. */
#include <stdlib.h>

#include "storage/index/kv_internal.h"

struct kv_cursor {
    struct kv_read *read;
    const struct kv_view *view;
    const struct overlay_node *active, *frozen;
    struct trie_cursor trie;
};

enum kist_err kv_cursor_open(struct kv_read *read, struct kv_cursor **out)
{
    struct kv_cursor *c = malloc(sizeof(*c));
    if (!c)
        return KIST_E_NOMEM;
    c->read = read;
    c->view = read->view;
    c->active = c->frozen = NULL;
    enum kist_err err = trie_cursor_open(read->txn, read->kv->dbi, &c->trie);
    if (err != KIST_OK) {
        free(c);
        return err;
    }
    *out = c;
    return KIST_OK;
}

void kv_cursor_close(struct kv_cursor *c)
{
    if (!c)
        return;
    trie_cursor_close(&c->trie);
    free(c);
}

static enum kist_err end_is_fine(enum kist_err err)
{
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static struct bytes trie_key(const struct kv_cursor *c)
{
    return bytes_of(c->trie.key, c->trie.key_len);
}

/* The smallest key of the three; false at the end of all. */
static bool smallest(const struct kv_cursor *c, struct bytes *key)
{
    struct bytes best = BYTES_EMPTY;
    const struct overlay_node *nodes[2] = { c->active, c->frozen };
    for (int i = 0; i < 2; i++)
        if (nodes[i] && (!best.ptr || bytes_compare(overlay_key(nodes[i]), best) < 0))
            best = overlay_key(nodes[i]);
    if (c->trie.valid && (!best.ptr || bytes_compare(trie_key(c), best) < 0))
        best = trie_key(c);
    *key = best;
    return best.ptr != NULL;
}

static bool stands_at(const struct overlay_node *n, struct bytes key)
{
    return n && bytes_equal(overlay_key(n), key);
}

/* Moves every layer that stands at the key. Overlay keys outlive this; the trie's is moved
 * last, since `key` may be its own. */
static enum kist_err advance(struct kv_cursor *c, struct bytes key)
{
    bool trie = c->trie.valid && bytes_equal(trie_key(c), key);
    if (stands_at(c->active, key))
        c->active = overlay_next(c->active);
    if (stands_at(c->frozen, key))
        c->frozen = overlay_next(c->frozen);
    return trie ? end_is_fine(trie_cursor_next(&c->trie)) : KIST_OK;
}

/* Whether the row at the key is there, by the newest layer that knows of it. */
static bool is_live(const struct kv_cursor *c, struct bytes key, struct bytes *value)
{
    const struct overlay_node *nodes[2] = { c->active, c->frozen };
    for (int i = 0; i < 2; i++) {
        enum overlay_found found = stands_at(nodes[i], key)
                                       ? overlay_value(nodes[i], c->read->upto, value)
                                       : OVERLAY_NOTHING;
        if (found != OVERLAY_NOTHING)
            return found == OVERLAY_VALUE;
    }
    if (!c->trie.valid || !bytes_equal(trie_key(c), key))
        return false;
    *value = c->trie.value;
    return true;
}

static enum kist_err deliver(struct kv_cursor *c, struct bytes *found, struct bytes *value)
{
    struct bytes key;
    while (smallest(c, &key)) {
        if (is_live(c, key, value)) {
            *found = key;
            return KIST_OK;
        }
        TRY(advance(c, key));
    }
    return KIST_E_NOT_FOUND;
}

enum kist_err kv_cursor_seek(struct kv_cursor *c, struct bytes key, struct bytes *found,
                             struct bytes *value)
{
    c->active = overlay_seek(c->view->active->overlay, key);
    c->frozen = c->view->frozen ? overlay_seek(c->view->frozen->overlay, key) : NULL;
    TRY(end_is_fine(trie_cursor_seek(&c->trie, key)));
    return deliver(c, found, value);
}

enum kist_err kv_cursor_next(struct kv_cursor *c, struct bytes *found, struct bytes *value)
{
    struct bytes key;
    if (!smallest(c, &key))
        return KIST_E_NOT_FOUND;
    TRY(advance(c, key));
    return deliver(c, found, value);
}

/* ---- backwards, one step ---- */

static void consider(struct bytes candidate, struct bytes floor, struct bytes *best)
{
    if (bytes_compare(candidate, floor) >= 0 &&
        (!best->ptr || bytes_compare(candidate, *best) > 0))
        *best = candidate;
}

enum kist_err kv_find_before(struct kv_read *read, struct bytes key, struct bytes floor,
                             uint8_t *found_buf, struct bytes *found, struct bytes *value)
{
    const struct kv_view *v = read->view;
    const struct kv_generation *generations[2] = { v->active, v->frozen };
    uint8_t below[KV_KEY_MAX];
    for (;;) {
        struct bytes best = BYTES_EMPTY, row, ignored;
        for (int i = 0; i < 2; i++) {
            const struct overlay_node *n =
                generations[i] ? overlay_before(generations[i]->overlay, key) : NULL;
            if (n)
                consider(overlay_key(n), floor, &best);
        }
        enum kist_err err = trie_before(read->txn, read->kv->dbi, key, &row, &ignored);
        if (err == KIST_OK)
            consider(row, floor, &best);
        else
            TRY(end_is_fine(err));
        if (!best.ptr)
            return KIST_E_NOT_FOUND;
        memcpy(below, best.ptr, best.len);
        key = bytes_of(below, best.len);
        err = kv_get(read, key, value);
        if (err == KIST_E_NOT_FOUND)
            continue; /* a tombstone, or a later command's: look below it */
        TRY(err);
        memcpy(found_buf, below, key.len);
        *found = bytes_of(found_buf, key.len);
        return KIST_OK;
    }
}
