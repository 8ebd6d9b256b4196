/* LMDB with long keys. LMDB's keys end at 511 bytes, ours at KV_KEY_MAX.
 *
 * A key of up to 480 bytes is a row as it is. Of a longer one, the first 480 bytes and a 00 are
 * a row whose value is a node id; under FF, the node id and the rest of the key it goes on, by
 * the same rule. In memcmp order the pointer row (481 bytes) stands right behind the 480-byte
 * key that is its prefix and before everything that is greater, and no other row begins with
 * those 480 bytes: so a walk that descends at pointers sees all keys in their order.
 *
 * Rows beginning with 00 are the store's own (revision, durable index, node counter); keys of
 * callers never begin with 00 or FF.
 */
#ifndef KIST_STORAGE_INDEX_TRIE_H
#define KIST_STORAGE_INDEX_TRIE_H

#include <lmdb.h>

#include "storage/index/kv.h"

#define TRIE_SEGMENT 480
#define TRIE_DEPTH 3

enum kist_err trie_err(int lmdb_rc);
enum kist_err trie_get(MDB_txn *txn, MDB_dbi dbi, struct bytes key,
                       struct bytes *value) MUST_CHECK;
enum kist_err trie_put(MDB_txn *txn, MDB_dbi dbi, struct bytes key,
                       struct bytes value) MUST_CHECK;
/* Deleting what is not there is no error. */
enum kist_err trie_delete(MDB_txn *txn, MDB_dbi dbi, struct bytes key) MUST_CHECK;
/* The last row < key. Only for keys among which none is longer than TRIE_SEGMENT. */
enum kist_err trie_before(MDB_txn *txn, MDB_dbi dbi, struct bytes key, struct bytes *found,
                          struct bytes *value) MUST_CHECK;

struct trie_cursor {
    MDB_cursor *levels[TRIE_DEPTH];
    uint64_t nodes[TRIE_DEPTH];    /* of level 1 and up */
    size_t prefix_len[TRIE_DEPTH]; /* of key, what the levels above stand for */
    int depth;
    bool valid;
    size_t key_len;
    uint8_t key[KV_KEY_MAX];
    struct bytes value;
};
enum kist_err trie_cursor_open(MDB_txn *txn, MDB_dbi dbi, struct trie_cursor *c) MUST_CHECK;
void trie_cursor_close(struct trie_cursor *c);
/* KIST_E_NOT_FOUND at the end; c->valid, key and value say where it stands. */
enum kist_err trie_cursor_seek(struct trie_cursor *c, struct bytes key) MUST_CHECK;
enum kist_err trie_cursor_next(struct trie_cursor *c) MUST_CHECK;

#endif
