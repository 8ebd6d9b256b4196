/* Long keys in LMDB: every key in its place, and nothing left behind. */
#include "tests/unit/storage/index/fixture.h"

#include <errno.h>

static MDB_env *env;
static MDB_dbi dbi;
static MDB_txn *txn;

static void env_start(void)
{
    dir_make();
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_set_mapsize(env, (size_t)1 << 30), 0);
    ck_assert_int_eq(mdb_env_open(env, dir, MDB_NOSYNC, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
}

static void env_stop(void)
{
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    dir_remove();
}

static void put(struct bytes key, struct bytes value)
{
    ck_assert_int_eq(trie_put(txn, dbi, key, value), KIST_OK);
}

static size_t lmdb_rows(void)
{
    MDB_stat stat;
    ck_assert_int_eq(mdb_stat(txn, dbi, &stat), 0);
    return stat.ms_entries;
}

static void check_walk(struct trie_cursor *c, const struct model *m, struct bytes from,
                       size_t most)
{
    size_t at = model_seek(m, from);
    enum kist_err err = trie_cursor_seek(c, from);
    for (; most && at < m->count; at++, most--) {
        ck_assert_int_eq(err, KIST_OK);
        ck_assert(c->valid);
        check_equal(bytes_of(c->key, c->key_len), m->rows[at].key);
        check_equal(c->value, m->rows[at].value);
        err = trie_cursor_next(c);
    }
    if (at == m->count) {
        ck_assert_int_eq(err, KIST_E_NOT_FOUND);
        ck_assert(!c->valid);
    }
}

static void check_get(const struct model *m, struct bytes key)
{
    struct bytes value = BYTES_EMPTY;
    const struct model_row *row = model_get(m, key);
    ck_assert_int_eq(trie_get(txn, dbi, key, &value), row ? KIST_OK : KIST_E_NOT_FOUND);
    if (row)
        check_equal(value, row->value);
}

/* Walks from the start, and seeks to keys that are there and to keys that are not. */
static void check_all(const struct model *m)
{
    struct trie_cursor c;
    uint8_t key[KV_KEY_MAX];
    ck_assert_int_eq(trie_cursor_open(txn, dbi, &c), KIST_OK);
    check_walk(&c, m, BYTES_EMPTY, SIZE_MAX);
    check_walk(&c, m, BYTES_LIT("\0\1"), 3);
    for (int i = 0; i < 300; i++)
        check_walk(&c, m, random_long_key(key), 1 + below(8));
    for (size_t i = 0; i < m->count && i < 100; i++)
        check_walk(&c, m, m->rows[below(m->count)].key, 1 + below(8));
    trie_cursor_close(&c);
}

START_TEST(like_the_model)
{
    struct model m = { 0 };
    uint8_t key[KV_KEY_MAX], value[64];
    env_start();
    for (int i = 0; i < 12000; i++) {
        struct bytes k = random_long_key(key);
        switch (below(5)) {
        case 0:
        case 1: {
            struct bytes v = random_value(value, sizeof(value));
            put(k, v);
            model_put(&m, k, v);
            break;
        }
        case 2:
            if (m.count && below(2)) {
                k = m.rows[below(m.count)].key;
                memcpy(key, k.ptr, k.len);
                k.ptr = key;
            }
            ck_assert_int_eq(trie_delete(txn, dbi, k), KIST_OK);
            model_delete(&m, k);
            check_get(&m, k);
            break;
        default:
            check_get(&m, k);
        }
        if (i % 1000 == 999)
            check_all(&m);
    }
    ck_assert_uint_gt(m.count, 200);
    while (m.count) {
        struct bytes k = m.rows[below(m.count)].key;
        ck_assert_int_eq(trie_delete(txn, dbi, k), KIST_OK);
        model_delete(&m, k);
    }
    check_all(&m);
    ck_assert_uint_eq(lmdb_rows(), 1); /* the node counter */
    model_free(&m);
    env_stop();
}
END_TEST

/* The places where order could break, one by one. */
START_TEST(around_a_segment_end)
{
    struct model m = { 0 };
    uint8_t a[KV_KEY_MAX], sibling[TRIE_SEGMENT];
    struct bytes empty = BYTES_EMPTY;
    memset(a, 'a', sizeof(a));
    memcpy(sibling, a, sizeof(sibling));
    sibling[TRIE_SEGMENT - 1] = 'b';
    static const size_t lengths[] = { 1099, 480, 481, 952, 951, 479, 1100, 1, 950 };
    env_start();
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        put(bytes_of(a, lengths[i]), empty);
        model_put(&m, bytes_of(a, lengths[i]), empty);
    }
    put(bytes_of(sibling, sizeof(sibling)), BYTES_LIT("b"));
    model_put(&m, bytes_of(sibling, sizeof(sibling)), BYTES_LIT("b"));
    for (size_t at = 480; at < 482; at++) { /* both sides of what follows the segment */
        uint8_t low[500], high[500];
        memcpy(low, a, sizeof(low));
        memcpy(high, a, sizeof(high));
        low[at] = 0;
        high[at] = 0xFF;
        put(bytes_of(low, at + 1), BYTES_LIT("low"));
        model_put(&m, bytes_of(low, at + 1), BYTES_LIT("low"));
        put(bytes_of(high, at + 1), BYTES_LIT("high"));
        model_put(&m, bytes_of(high, at + 1), BYTES_LIT("high"));
    }
    check_all(&m);
    model_free(&m);
    env_stop();
}
END_TEST

START_TEST(nodes_come_and_go)
{
    uint8_t key[KV_KEY_MAX];
    env_start();
    memset(key, 'k', sizeof(key));
    put(bytes_of(key, 1100), BYTES_LIT("1"));
    ck_assert_uint_eq(lmdb_rows(), 4); /* the counter, two pointers, the row */
    put(bytes_of(key, 1099), BYTES_LIT("2"));
    put(bytes_of(key, 500), BYTES_LIT("3"));
    ck_assert_uint_eq(lmdb_rows(), 6);
    ck_assert_int_eq(trie_delete(txn, dbi, bytes_of(key, 1100)), KIST_OK);
    ck_assert_uint_eq(lmdb_rows(), 5);
    ck_assert_int_eq(trie_delete(txn, dbi, bytes_of(key, 1099)), KIST_OK);
    ck_assert_uint_eq(lmdb_rows(), 3); /* the lower node is gone, the upper has key 500 */
    ck_assert_int_eq(trie_delete(txn, dbi, bytes_of(key, 1050)), KIST_OK);
    ck_assert_int_eq(trie_delete(txn, dbi, bytes_of(key, 480)), KIST_OK);
    ck_assert_uint_eq(lmdb_rows(), 3);
    ck_assert_int_eq(trie_delete(txn, dbi, bytes_of(key, 500)), KIST_OK);
    ck_assert_uint_eq(lmdb_rows(), 1);
    env_stop();
}
END_TEST

START_TEST(row_before)
{
    struct bytes found, value;
    env_start();
    ck_assert_int_eq(trie_before(txn, dbi, BYTES_LIT("x"), &found, &value), KIST_E_NOT_FOUND);
    put(BYTES_LIT("b"), BYTES_LIT("1"));
    put(BYTES_LIT("d"), BYTES_LIT("2"));
    ck_assert_int_eq(trie_before(txn, dbi, BYTES_LIT("b"), &found, &value), KIST_E_NOT_FOUND);
    ck_assert_int_eq(trie_before(txn, dbi, BYTES_LIT("c"), &found, &value), KIST_OK);
    check_equal(found, BYTES_LIT("b"));
    ck_assert_int_eq(trie_before(txn, dbi, BYTES_LIT("d"), &found, &value), KIST_OK);
    check_equal(value, BYTES_LIT("1"));
    ck_assert_int_eq(trie_before(txn, dbi, BYTES_LIT("e"), &found, &value), KIST_OK);
    check_equal(value, BYTES_LIT("2"));
    ck_assert_int_eq(trie_before(txn, dbi, BYTES_EMPTY, &found, &value), KIST_E_INVALID);
    env_stop();
}
END_TEST

START_TEST(bad_input)
{
    static const uint8_t long_key[KV_KEY_MAX + 1] = { 'a' };
    struct trie_cursor c;
    struct bytes value, too_long = bytes_of(long_key, sizeof(long_key));
    env_start();
    ck_assert_int_eq(trie_put(txn, dbi, BYTES_EMPTY, BYTES_EMPTY), KIST_E_INVALID);
    ck_assert_int_eq(trie_put(txn, dbi, too_long, BYTES_EMPTY), KIST_E_INVALID);
    ck_assert_int_eq(trie_delete(txn, dbi, too_long), KIST_E_INVALID);
    ck_assert_int_eq(trie_get(txn, dbi, too_long, &value), KIST_E_INVALID);
    ck_assert_int_eq(trie_get(txn, dbi, BYTES_EMPTY, &value), KIST_E_INVALID);
    ck_assert_int_eq(trie_cursor_open(txn, dbi, &c), KIST_OK);
    ck_assert_int_eq(trie_cursor_seek(&c, too_long), KIST_E_INVALID);
    ck_assert(!c.valid);
    trie_cursor_close(&c);
    ck_assert_uint_eq(lmdb_rows(), 0);
    env_stop();
}
END_TEST

/* A pointer whose value is no node id, and one that leads round in a ring. */
START_TEST(damaged_pointers)
{
    uint8_t key[KV_KEY_MAX], pointer[TRIE_SEGMENT + 1] = { 0 }, node[8] = { 0 };
    uint8_t inner[TRIE_SEGMENT + 1] = { 0xFF };
    struct bytes value;
    struct trie_cursor c;
    env_start();
    memset(key, 'k', sizeof(key));
    memset(pointer, 'k', TRIE_SEGMENT);
    MDB_val k = { sizeof(pointer), pointer }, v = { 3, node };
    ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
    struct bytes long_key = bytes_of(key, 700);
    ck_assert_int_eq(trie_get(txn, dbi, long_key, &value), KIST_E_CORRUPT);
    ck_assert_int_eq(trie_put(txn, dbi, long_key, BYTES_EMPTY), KIST_E_CORRUPT);
    ck_assert_int_eq(trie_delete(txn, dbi, long_key), KIST_E_CORRUPT);
    ck_assert_int_eq(trie_cursor_open(txn, dbi, &c), KIST_OK);
    ck_assert_int_eq(trie_cursor_seek(&c, long_key), KIST_E_CORRUPT);
    ck_assert_int_eq(trie_cursor_seek(&c, BYTES_LIT("a")), KIST_E_CORRUPT);
    v.mv_size = 8;
    ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
    memset(inner + 9, 'k', TRIE_SEGMENT - 9);
    k.mv_data = inner;
    ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
    ck_assert_int_eq(trie_cursor_seek(&c, BYTES_LIT("a")), KIST_E_CORRUPT);
    trie_cursor_close(&c);
    env_stop();
}
END_TEST

START_TEST(errors_of_lmdb)
{
    ck_assert_int_eq(trie_err(MDB_SUCCESS), KIST_OK);
    ck_assert_int_eq(trie_err(MDB_MAP_FULL), KIST_E_NOSPC);
    ck_assert_int_eq(trie_err(ENOSPC), KIST_E_NOSPC);
    ck_assert_int_eq(trie_err(EIO), KIST_E_IO);
    ck_assert_int_eq(trie_err(MDB_PANIC), KIST_E_IO);
    ck_assert_int_eq(trie_err(ENOMEM), KIST_E_NOMEM);
    ck_assert_int_eq(trie_err(MDB_CORRUPTED), KIST_E_CORRUPT);
    ck_assert_int_eq(trie_err(MDB_VERSION_MISMATCH), KIST_E_NEWER_FORMAT);
    ck_assert_int_eq(trie_err(MDB_READERS_FULL), KIST_E_BUSY);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("trie");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, like_the_model);
    tcase_add_test(tc, around_a_segment_end);
    tcase_add_test(tc, nodes_come_and_go);
    tcase_add_test(tc, row_before);
    tcase_add_test(tc, bad_input);
    tcase_add_test(tc, damaged_pointers);
    tcase_add_test(tc, errors_of_lmdb);
    suite_add_tcase(suite, tc);
    return run_seeded_suite(suite);
}
