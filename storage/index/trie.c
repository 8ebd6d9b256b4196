#include "storage/index/trie.h"

#include <errno.h>

#define NODE_PREFIX 9 /* FF and the node id */

static const char node_counter[] = "\0node";

enum kist_err trie_err(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return KIST_OK;
    case MDB_NOTFOUND:
        return KIST_E_NOT_FOUND;
    case MDB_MAP_FULL:
        return KIST_E_NOSPC;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_BAD_VALSIZE:
        return KIST_E_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return KIST_E_NEWER_FORMAT;
    case MDB_READERS_FULL:
        return KIST_E_BUSY;
    default:
        return rc > 0 ? kist_err_from_errno(rc) : KIST_E_IO;
    }
}

static MDB_val val(struct bytes b)
{
    union {
        const uint8_t *in;
        void *out;
    } cast = { .in = b.ptr };
    return (MDB_val){ b.len, cast.out };
}

static struct bytes unval(MDB_val v)
{
    return bytes_of(v.mv_data, v.mv_size);
}

static uint64_t read_u64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static void write_u64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

/* A key on its way down: bytes of the present level's LMDB key. */
struct step {
    size_t len;
    uint8_t data[KV_KEY_MAX + NODE_PREFIX];
};

static struct bytes step_pointer(struct step *s, uint8_t row[TRIE_SEGMENT + 1])
{
    memcpy(row, s->data, TRIE_SEGMENT);
    row[TRIE_SEGMENT] = 0;
    return bytes_of(row, TRIE_SEGMENT + 1);
}

static void step_down(struct step *s, uint64_t node)
{
    size_t rest = s->len - TRIE_SEGMENT;
    memmove(s->data + NODE_PREFIX, s->data + TRIE_SEGMENT, rest);
    s->data[0] = 0xFF;
    write_u64(s->data + 1, node);
    s->len = NODE_PREFIX + rest;
}

static enum kist_err step_start(struct step *s, struct bytes key)
{
    if (key.len == 0 || key.len > KV_KEY_MAX)
        return KIST_E_INVALID;
    memcpy(s->data, key.ptr, key.len);
    s->len = key.len;
    return KIST_OK;
}

static enum kist_err new_node(MDB_txn *txn, MDB_dbi dbi, uint64_t *node)
{
    MDB_val key = val(bytes_of(node_counter, 5)), value;
    uint8_t buf[8];
    int rc = mdb_get(txn, dbi, &key, &value);
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
        return trie_err(rc);
    uint64_t next = rc == MDB_SUCCESS && value.mv_size == 8 ? read_u64(value.mv_data) + 1 : 1;
    write_u64(buf, next);
    value = val(bytes_of(buf, 8));
    TRY(trie_err(mdb_put(txn, dbi, &key, &value, 0)));
    *node = next;
    return KIST_OK;
}

/* Follows (and with `make`, makes) the pointers until the rest fits one row. */
static enum kist_err descend(MDB_txn *txn, MDB_dbi dbi, struct step *s, bool make)
{
    while (s->len > TRIE_SEGMENT) {
        uint8_t row[TRIE_SEGMENT + 1], buf[8];
        MDB_val key = val(step_pointer(s, row)), value;
        uint64_t node = 0;
        int rc = mdb_get(txn, dbi, &key, &value);
        if (rc == MDB_NOTFOUND && make) {
            TRY(new_node(txn, dbi, &node));
            write_u64(buf, node);
            value = val(bytes_of(buf, 8));
            TRY(trie_err(mdb_put(txn, dbi, &key, &value, 0)));
        } else {
            TRY(trie_err(rc));
            if (value.mv_size != 8)
                return KIST_E_CORRUPT;
            node = read_u64(value.mv_data);
        }
        step_down(s, node);
    }
    return KIST_OK;
}

enum kist_err trie_get(MDB_txn *txn, MDB_dbi dbi, struct bytes key, struct bytes *value)
{
    MDB_val found;
    if (key.len == 0)
        return KIST_E_INVALID;
    if (key.len <= TRIE_SEGMENT) {
        MDB_val k = val(key);
        TRY(trie_err(mdb_get(txn, dbi, &k, &found)));
    } else {
        struct step s;
        TRY(step_start(&s, key));
        TRY(descend(txn, dbi, &s, false));
        MDB_val k = val(bytes_of(s.data, s.len));
        TRY(trie_err(mdb_get(txn, dbi, &k, &found)));
    }
    *value = unval(found);
    return KIST_OK;
}

enum kist_err trie_put(MDB_txn *txn, MDB_dbi dbi, struct bytes key, struct bytes value)
{
    struct step s;
    TRY(step_start(&s, key));
    TRY(descend(txn, dbi, &s, true));
    MDB_val k = val(bytes_of(s.data, s.len)), v = val(value);
    return trie_err(mdb_put(txn, dbi, &k, &v, 0));
}

static enum kist_err node_is_empty(MDB_txn *txn, MDB_dbi dbi, const uint8_t *prefix, bool *empty)
{
    MDB_cursor *cursor;
    MDB_val k = val(bytes_of(prefix, NODE_PREFIX)), v;
    TRY(trie_err(mdb_cursor_open(txn, dbi, &cursor)));
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    *empty = rc == MDB_NOTFOUND ||
             (rc == MDB_SUCCESS && !bytes_starts_with(unval(k), bytes_of(prefix, NODE_PREFIX)));
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? KIST_OK : trie_err(rc);
}

/* Takes the last key's path away, too: pointers to empty nodes would make walks slow. */
static enum kist_err delete_step(MDB_txn *txn, MDB_dbi dbi, const struct step *at)
{
    if (at->len <= TRIE_SEGMENT) {
        MDB_val k = val(bytes_of(at->data, at->len));
        int rc = mdb_del(txn, dbi, &k, NULL);
        return rc == MDB_NOTFOUND ? KIST_OK : trie_err(rc);
    }
    struct step s = *at;
    uint8_t row[TRIE_SEGMENT + 1];
    MDB_val pointer = val(step_pointer(&s, row)), value;
    int rc = mdb_get(txn, dbi, &pointer, &value);
    if (rc == MDB_NOTFOUND)
        return KIST_OK;
    TRY(trie_err(rc));
    if (value.mv_size != 8)
        return KIST_E_CORRUPT;
    step_down(&s, read_u64(value.mv_data));
    TRY(delete_step(txn, dbi, &s));
    bool empty;
    TRY(node_is_empty(txn, dbi, s.data, &empty));
    return empty ? trie_err(mdb_del(txn, dbi, &pointer, NULL)) : KIST_OK;
}

enum kist_err trie_delete(MDB_txn *txn, MDB_dbi dbi, struct bytes key)
{
    struct step s;
    TRY(step_start(&s, key));
    return delete_step(txn, dbi, &s);
}

enum kist_err trie_before(MDB_txn *txn, MDB_dbi dbi, struct bytes key, struct bytes *found,
                          struct bytes *value)
{
    MDB_cursor *cursor;
    MDB_val k = val(key), v;
    if (key.len == 0 || key.len > TRIE_SEGMENT)
        return KIST_E_INVALID;
    TRY(trie_err(mdb_cursor_open(txn, dbi, &cursor)));
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (rc == MDB_SUCCESS || rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &k, &v, rc == MDB_SUCCESS ? MDB_PREV : MDB_LAST);
    mdb_cursor_close(cursor);
    TRY(trie_err(rc));
    *found = unval(k);
    *value = unval(v);
    return KIST_OK;
}

/* ---- cursors ---- */

enum kist_err trie_cursor_open(MDB_txn *txn, MDB_dbi dbi, struct trie_cursor *c)
{
    for (int i = 0; i < TRIE_DEPTH; i++)
        c->levels[i] = NULL;
    c->depth = 0;
    c->valid = false;
    c->prefix_len[0] = 0;
    for (int i = 0; i < TRIE_DEPTH; i++) {
        enum kist_err err = trie_err(mdb_cursor_open(txn, dbi, &c->levels[i]));
        if (err != KIST_OK) {
            trie_cursor_close(c);
            return err;
        }
    }
    return KIST_OK;
}

void trie_cursor_close(struct trie_cursor *c)
{
    for (int i = 0; i < TRIE_DEPTH; i++)
        if (c->levels[i])
            mdb_cursor_close(c->levels[i]);
}

/* The row belongs to the level: its node's rows, or at the top whatever is not reserved. */
static bool in_level(const struct trie_cursor *c, struct bytes row)
{
    if (c->depth == 0)
        return row.len && row.ptr[0] != 0xFF;
    return row.len >= NODE_PREFIX && row.ptr[0] == 0xFF &&
           read_u64(row.ptr + 1) == c->nodes[c->depth];
}

static size_t strip_of(const struct trie_cursor *c)
{
    return c->depth ? NODE_PREFIX : 0;
}

static enum kist_err enter(struct trie_cursor *c, struct bytes row, struct bytes value)
{
    size_t strip = strip_of(c), at = c->prefix_len[c->depth];
    if (c->depth + 1 == TRIE_DEPTH || value.len != 8 ||
        at + TRIE_SEGMENT - strip > sizeof(c->key))
        return KIST_E_CORRUPT;
    memcpy(c->key + at, row.ptr + strip, TRIE_SEGMENT - strip);
    c->depth++;
    c->nodes[c->depth] = read_u64(value.ptr);
    c->prefix_len[c->depth] = at + TRIE_SEGMENT - strip;
    return KIST_OK;
}

/* From wherever the level's cursor stands (rc, k, v) to the next row that is a key: down at
 * pointers, up at ends. */
static enum kist_err settle(struct trie_cursor *c, int rc, MDB_val k, MDB_val v)
{
    c->valid = false;
    for (;;) {
        if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
            return trie_err(rc);
        struct bytes row = unval(k);
        if (rc == MDB_NOTFOUND || !in_level(c, row)) {
            if (c->depth == 0)
                return KIST_E_NOT_FOUND;
            c->depth--;
            rc = mdb_cursor_get(c->levels[c->depth], &k, &v, MDB_NEXT);
            continue;
        }
        if (row.len == TRIE_SEGMENT + 1) {
            uint8_t prefix[NODE_PREFIX] = { 0xFF };
            TRY(enter(c, row, unval(v)));
            write_u64(prefix + 1, c->nodes[c->depth]);
            k = val(bytes_of(prefix, NODE_PREFIX));
            rc = mdb_cursor_get(c->levels[c->depth], &k, &v, MDB_SET_RANGE);
            continue;
        }
        size_t strip = strip_of(c), at = c->prefix_len[c->depth];
        if (at + row.len - strip > sizeof(c->key))
            return KIST_E_CORRUPT;
        memcpy(c->key + at, row.ptr + strip, row.len - strip);
        c->key_len = at + row.len - strip;
        c->value = unval(v);
        c->valid = true;
        return KIST_OK;
    }
}

enum kist_err trie_cursor_seek(struct trie_cursor *c, struct bytes key)
{
    struct step s;
    c->depth = 0;
    c->valid = false;
    /* What begins with 00 is ours alone, and lies below all callers' keys. */
    TRY(step_start(&s, key.len && key.ptr[0] ? key : BYTES_LIT("\1")));
    for (;;) {
        uint8_t row[TRIE_SEGMENT + 1];
        bool long_key = s.len > TRIE_SEGMENT;
        struct bytes want = long_key ? step_pointer(&s, row) : bytes_of(s.data, s.len);
        MDB_val k = val(want), v = { 0, NULL };
        int rc = mdb_cursor_get(c->levels[c->depth], &k, &v, MDB_SET_RANGE);
        if (!long_key || rc != MDB_SUCCESS || !bytes_equal(unval(k), want))
            return settle(c, rc, k, v);
        TRY(enter(c, unval(k), unval(v)));
        step_down(&s, c->nodes[c->depth]);
    }
}

enum kist_err trie_cursor_next(struct trie_cursor *c)
{
    MDB_val k = { 0, NULL }, v = { 0, NULL };
    int rc = mdb_cursor_get(c->levels[c->depth], &k, &v, MDB_NEXT);
    return settle(c, rc, k, v);
}
