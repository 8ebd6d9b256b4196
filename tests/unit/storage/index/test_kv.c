/* The ordered map as its callers see it: three layers, checkpoints, reopening, full disks. */
#include "tests/unit/storage/index/fixture.h"

#include <sys/resource.h>

#include "storage/index/kv.h"

static struct kv *kv;
static struct kv_config config;
static uint64_t index_now;

static void open_kv(void)
{
    ck_assert_int_eq(kv_open(&config, &kv), KIST_OK);
}

static void start(void)
{
    dir_make();
    config = KV_CONFIG_DEFAULT;
    config.dir = dir;
    config.sync = false;
    config.map_bytes = (size_t)1 << 30; /* sanitizers leave less room than the default takes */
    index_now = 0;
    open_kv();
}

static void stop(void)
{
    kv_close(kv);
    kv = NULL;
    dir_remove();
}

static void put(struct bytes key, struct bytes value)
{
    kv_write_lock(kv);
    kv_put(kv, key, value);
    kv_set_index(kv, ++index_now);
    kv_write_unlock(kv);
}

static void put_str(const char *key, const char *value)
{
    put(bytes_str(key), bytes_str(value));
}

static void delete (struct bytes key)
{
    kv_write_lock(kv);
    kv_delete(kv, key);
    kv_set_index(kv, ++index_now);
    kv_write_unlock(kv);
}

static void freeze(void)
{
    ck_assert_uint_eq(kv_freeze(kv), index_now);
    ck_assert(kv_has_frozen(kv));
}

static void flush(void)
{
    ck_assert_int_eq(kv_flush(kv), KIST_OK);
    ck_assert(!kv_has_frozen(kv));
}

/* Compares; expected NULL: must not be there. */
static void check_get(struct kv_read *read, struct bytes key, const struct bytes *expected)
{
    struct bytes value = BYTES_EMPTY;
    ck_assert_int_eq(kv_get(read, key, &value), expected ? KIST_OK : KIST_E_NOT_FOUND);
    if (expected)
        check_equal(value, *expected);
}

static void check_str(const char *key, const char *expected)
{
    struct kv_read read;
    struct bytes value = bytes_str(expected);
    ck_assert_int_eq(kv_read_begin(kv, &read), KIST_OK);
    check_get(&read, bytes_str(key), expected ? &value : NULL);
    kv_read_end(&read);
}

/* All keys from `from` on, as one string: "a=1 b=2". */
static void check_list(const char *from, const char *expected)
{
    struct kv_read read;
    struct kv_cursor *cursor;
    struct bytes key, value;
    char text[1024] = "";
    size_t len = 0;
    ck_assert_int_eq(kv_read_begin(kv, &read), KIST_OK);
    ck_assert_int_eq(kv_cursor_open(&read, &cursor), KIST_OK);
    enum kist_err err = kv_cursor_seek(cursor, bytes_str(from), &key, &value);
    while (err == KIST_OK) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%.*s=%.*s", len ? " " : "",
                                (int)key.len, (const char *)key.ptr, (int)value.len,
                                (const char *)value.ptr);
        err = kv_cursor_next(cursor, &key, &value);
    }
    ck_assert_int_eq(err, KIST_E_NOT_FOUND);
    ck_assert_int_eq(kv_cursor_next(cursor, &key, &value), KIST_E_NOT_FOUND);
    ck_assert_str_eq(text, expected);
    kv_cursor_close(cursor);
    kv_read_end(&read);
}

/* "key=value", or "" when there is none. */
static void check_before(const char *key, const char *floor, const char *expected)
{
    struct kv_read read;
    struct bytes found, value;
    uint8_t buf[KV_KEY_MAX];
    char text[64] = "";
    ck_assert_int_eq(kv_read_begin(kv, &read), KIST_OK);
    enum kist_err err =
        kv_find_before(&read, bytes_str(key), bytes_str(floor), buf, &found, &value);
    if (err == KIST_OK)
        snprintf(text, sizeof(text), "%.*s=%.*s", (int)found.len, (const char *)found.ptr,
                 (int)value.len, (const char *)value.ptr);
    else
        ck_assert_int_eq(err, KIST_E_NOT_FOUND);
    ck_assert_str_eq(text, expected);
    kv_read_end(&read);
}

/* a, b: LMDB; b, c, d, e frozen; c, e, f active; each layer hides something below. */
static void make_layers(void)
{
    start();
    put_str("a", "lmdb");
    put_str("b", "lmdb");
    put_str("c", "lmdb");
    put_str("x", "lmdb");
    freeze();
    flush();
    put_str("b", "frozen");
    delete (BYTES_LIT("c"));
    put_str("d", "frozen");
    put_str("e", "frozen");
    delete (BYTES_LIT("x"));
    freeze();
    put_str("c", "active");
    delete (BYTES_LIT("e"));
    delete (BYTES_LIT("nothing"));
    put_str("f", "");
}

static void check_layers(void)
{
    check_str("a", "lmdb");
    check_str("b", "frozen");
    check_str("c", "active");
    check_str("d", "frozen");
    check_str("e", NULL);
    check_str("f", "");
    check_str("nothing", NULL);
    check_str("x", NULL);
    check_list("", "a=lmdb b=frozen c=active d=frozen f=");
    check_list("b", "b=frozen c=active d=frozen f=");
    check_list("bb", "c=active d=frozen f=");
    check_list("e", "f=");
    check_list("x", "");
    check_before("zzz", "a", "f=");
    check_before("f", "a", "d=frozen");
    check_before("f", "e", "");
    check_before("d", "a", "c=active");
    check_before("c", "a", "b=frozen");
    check_before("b", "b", "");
    check_before("b", "a", "a=lmdb");
    check_before("a", "A", "");
}

START_TEST(layers_hide_each_other)
{
    make_layers();
    check_layers();
    flush();
    check_layers();
    freeze();
    check_layers();
    flush();
    check_layers();
    kv_close(kv);
    open_kv();
    check_layers();
    struct kv_stats stats;
    kv_stats(kv, &stats);
    ck_assert_uint_eq(stats.active_bytes, 0);
    ck_assert_uint_gt(stats.map_used_bytes, 0);
    stop();
}
END_TEST

/* What a reader began with stays, whatever is frozen and flushed meanwhile. */
START_TEST(readers_keep_their_view)
{
    struct kv_read old;
    struct bytes value, one = BYTES_LIT("1");
    start();
    put_str("k", "1");
    ck_assert_int_eq(kv_read_begin(kv, &old), KIST_OK);
    freeze();
    put_str("k", "2");
    flush();
    freeze();
    flush();
    put_str("k", "3");
    check_get(&old, BYTES_LIT("k"), &one);
    check_str("k", "3");
    ck_assert_int_eq(kv_get(&old, BYTES_LIT("none"), &value), KIST_E_NOT_FOUND);
    kv_read_end(&old);
    stop();
}
END_TEST

START_TEST(only_flushed_generations_survive)
{
    struct kv_stats stats;
    start();
    ck_assert_uint_eq(kv_durable_index(kv), 0);
    ck_assert_uint_eq(kv_freeze(kv), 0); /* nothing to do */
    put_str("a", "1");
    ck_assert_uint_gt(kv_active_bytes(kv), 0);
    freeze();
    ck_assert_uint_eq(kv_active_bytes(kv), 0);
    ck_assert_uint_eq(kv_durable_index(kv), 0);
    put_str("b", "2");
    flush();
    ck_assert_uint_eq(kv_durable_index(kv), 1);
    kv_stats(kv, &stats);
    ck_assert_uint_eq(stats.flushes, 1);
    ck_assert_uint_eq(stats.flushed_rows, 1);
    kv_close(kv);
    open_kv();
    ck_assert_uint_eq(kv_durable_index(kv), 1);
    check_list("", "a=1");
    kv_write_lock(kv);
    kv_set_index(kv, index_now = 9); /* commands without rows count, too */
    kv_write_unlock(kv);
    freeze();
    flush();
    kv_close(kv);
    open_kv();
    ck_assert_uint_eq(kv_durable_index(kv), 9);
    stop();
}
END_TEST

START_TEST(large_values)
{
    enum { LARGE = 700 * 1024 };
    uint8_t *data = malloc(LARGE);
    ck_assert_ptr_nonnull(data);
    for (size_t i = 0; i < LARGE; i++)
        data[i] = (uint8_t)(i * 7 >> 3);
    struct bytes value = bytes_of(data, LARGE);
    struct kv_read read;
    start();
    put(BYTES_LIT("large"), value);
    for (int layer = 0; layer < 3; layer++) {
        ck_assert_int_eq(kv_read_begin(kv, &read), KIST_OK);
        check_get(&read, BYTES_LIT("large"), &value);
        kv_read_end(&read);
        if (layer == 0)
            freeze();
        else if (layer == 1)
            flush();
    }
    free(data);
    stop();
}
END_TEST

/* ---- against the model ---- */

static void check_walk(struct kv_cursor *cursor, const struct model *m, struct bytes from,
                       size_t most)
{
    struct bytes key, value;
    size_t at = model_seek(m, from);
    enum kist_err err = kv_cursor_seek(cursor, from, &key, &value);
    for (; most && at < m->count; at++, most--) {
        ck_assert_int_eq(err, KIST_OK);
        check_equal(key, m->rows[at].key);
        check_equal(value, m->rows[at].value);
        err = kv_cursor_next(cursor, &key, &value);
    }
    if (at == m->count)
        ck_assert_int_eq(err, KIST_E_NOT_FOUND);
}

/* In the table of short keys, "k000" to "k499"; the floor is anywhere in it. */
static void check_random_before(struct kv_read *read, const struct model *m)
{
    uint8_t a[KV_KEY_MAX], b[KV_KEY_MAX], buf[KV_KEY_MAX];
    struct bytes key = random_short_key(a), floor = random_short_key(b), found, value;
    size_t at = model_seek(m, key);
    bool there = at > 0 && bytes_compare(m->rows[at - 1].key, floor) >= 0;
    ck_assert_int_eq(kv_find_before(read, key, floor, buf, &found, &value),
                     there ? KIST_OK : KIST_E_NOT_FOUND);
    if (there) {
        check_equal(found, m->rows[at - 1].key);
        check_equal(value, m->rows[at - 1].value);
    }
}

static struct bytes random_key(uint8_t *buf)
{
    return below(2) ? random_long_key(buf) : random_short_key(buf);
}

static void check_some(const struct model *m)
{
    struct kv_read read;
    struct kv_cursor *cursor;
    uint8_t buf[KV_KEY_MAX];
    struct bytes key = random_key(buf);
    const struct model_row *row = model_get(m, key);
    ck_assert_int_eq(kv_read_begin(kv, &read), KIST_OK);
    check_get(&read, key, row ? &row->value : NULL);
    check_random_before(&read, m);
    ck_assert_int_eq(kv_cursor_open(&read, &cursor), KIST_OK);
    check_walk(cursor, m, random_key(buf), below(6));
    check_walk(cursor, m, random_key(buf), below(6));
    if (below(50) == 0)
        check_walk(cursor, m, BYTES_EMPTY, SIZE_MAX);
    kv_cursor_close(cursor);
    kv_read_end(&read);
}

static void checkpoint_step(size_t chance)
{
    if (chance < 40) {
        if (!kv_has_frozen(kv) && index_now > kv_durable_index(kv))
            freeze();
    } else if (chance < 80) {
        flush();
    } else {
        flush();
        kv_freeze(kv);
        flush();
        kv_close(kv);
        open_kv();
        ck_assert_uint_eq(kv_durable_index(kv), index_now);
    }
}

START_TEST(like_the_model)
{
    struct model m = { 0 };
    uint8_t buf[KV_KEY_MAX], *value = malloc(400000);
    ck_assert_ptr_nonnull(value);
    start();
    for (int i = 0; i < 20000; i++) {
        struct bytes key = random_key(buf);
        switch (below(8)) {
        case 0:
        case 1:
        case 2: {
            struct bytes v = random_value(value, 400000);
            put(key, v);
            model_put(&m, key, v);
            break;
        }
        case 3:
        case 4:
            delete (key);
            model_delete(&m, key);
            break;
        default:
            check_some(&m);
        }
        if (below(100) == 0)
            checkpoint_step(below(85));
    }
    ck_assert_uint_gt(m.count, 200);
    model_free(&m);
    free(value);
    stop();
}
END_TEST

/* ---- when things go wrong ---- */

START_TEST(a_full_map_keeps_what_is_frozen)
{
    static uint8_t large[600000];
    start();
    kv_close(kv);
    config.map_bytes = 1 << 20;
    open_kv();
    put_str("small", "1");
    freeze();
    flush();
    put(BYTES_LIT("a"), bytes_of(large, sizeof(large)));
    put(BYTES_LIT("b"), bytes_of(large, sizeof(large)));
    freeze();
    put_str("small", "2");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(kv_flush(kv), KIST_E_NOSPC);
        ck_assert(kv_has_frozen(kv));
        ck_assert_uint_eq(kv_durable_index(kv), 1);
    }
    struct kv_read read;
    struct bytes value = bytes_of(large, sizeof(large));
    ck_assert_int_eq(kv_read_begin(kv, &read), KIST_OK);
    check_get(&read, BYTES_LIT("b"), &value);
    kv_read_end(&read);
    check_str("small", "2");
    kv_close(kv);
    config.map_bytes = 64 << 20;
    open_kv();
    check_list("", "small=1");
    stop();
}
END_TEST

static void write_revision(uint8_t revision)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    char name[] = "\0revision";
    uint8_t number[8] = { 0, 0, 0, 0, 0, 0, 0, revision };
    MDB_val key = { 9, name }, value = { 8, number };
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_open(env, dir, 0, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    ck_assert_int_eq(mdb_put(txn, dbi, &key, &value, 0), 0);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

/* 8 GiB of addresses beyond what the process has. */
START_TEST(short_of_addresses)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    start();
    put_str("a", "1");
    freeze();
    flush();
    kv_close(kv);
    rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)8 << 30);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &(struct rlimit){ most, most }), 0);
    config.map_bytes = KV_CONFIG_DEFAULT.map_bytes;
    open_kv();
    check_list("", "a=1");
    stop();
}
END_TEST

START_TEST(newer_formats_are_refused)
{
    start();
    kv_close(kv);
    write_revision(2);
    struct kv *untouched = NULL;
    ck_assert_int_eq(kv_open(&config, &untouched), KIST_E_NEWER_FORMAT);
    ck_assert_ptr_null(untouched);
    config.read_only = true;
    ck_assert_int_eq(kv_open(&config, &untouched), KIST_E_NEWER_FORMAT);
    config.read_only = false;
    write_revision(1);
    open_kv();
    stop();
}
END_TEST

START_TEST(read_only)
{
    struct kv *none = NULL;
    make_layers();
    flush();
    freeze();
    flush();
    kv_close(kv);
    config.read_only = true;
    open_kv();
    check_layers();
    ck_assert_uint_eq(kv_freeze(kv), 0);
    kv_close(kv);
    config.dir = "/nonexistent/directory";
    ck_assert_int_eq(kv_open(&config, &none), KIST_E_IO);
    ck_assert_ptr_null(none);
    kv_close(NULL);
    dir_remove();
}
END_TEST

START_TEST(readers_are_bounded)
{
    struct kv_read reads[64], more;
    start();
    stop();
    dir_make(); /* LMDB keeps the size of a lock file that it finds */
    config.readers_max = ARRAY_LEN(reads);
    open_kv();
    put_str("k", "1");
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_LEN(reads); i++)
            ck_assert_int_eq(kv_read_begin(kv, &reads[i]), KIST_OK);
        ck_assert_int_eq(kv_read_begin(kv, &more), KIST_E_BUSY);
        for (size_t i = 0; i < ARRAY_LEN(reads); i++)
            kv_read_end(&reads[i]);
        check_str("k", "1");
    }
    stop();
}
END_TEST

/* A command's rows are seen when all are there, by its writer before, and by nobody when they are
 * taken back: whatever layer holds what they hide. */
START_TEST(commands_are_whole)
{
    struct kv_read reader, own;
    struct bytes value, lmdb = BYTES_LIT("lmdb"), frozen = BYTES_LIT("frozen"),
                        active = BYTES_LIT("active"), later = BYTES_LIT("later");
    start();
    put_str("a", "lmdb");
    freeze();
    flush();
    put_str("b", "frozen");
    freeze();
    put_str("c", "active");
    kv_write_lock(kv);
    ck_assert_int_eq(kv_read_begin(kv, &own), KIST_OK);
    kv_read_own(&own);
    kv_put(kv, BYTES_LIT("a"), later);
    size_t mark = kv_mark(kv);
    kv_delete(kv, BYTES_LIT("a"));
    kv_put(kv, BYTES_LIT("b"), later);
    kv_put(kv, BYTES_LIT("c"), later);
    kv_put(kv, BYTES_LIT("c"), BYTES_LIT("still later"));
    kv_put(kv, BYTES_LIT("d"), later);
    check_list("", "a=lmdb b=frozen c=active");
    check_before("d", "a", "c=active");
    check_before("e", "a", "c=active");
    check_get(&own, BYTES_LIT("a"), NULL);
    check_get(&own, BYTES_LIT("b"), &later);
    check_get(&own, BYTES_LIT("d"), &later);
    kv_undo(kv, mark);
    check_get(&own, BYTES_LIT("a"), &later);
    check_get(&own, BYTES_LIT("b"), &frozen);
    check_get(&own, BYTES_LIT("c"), &active);
    check_get(&own, BYTES_LIT("d"), NULL);
    kv_read_end(&own);
    ck_assert_int_eq(kv_read_begin(kv, &reader), KIST_OK);
    kv_set_index(kv, ++index_now);
    kv_write_unlock(kv);
    check_get(&reader, BYTES_LIT("a"), &lmdb);
    ck_assert_int_eq(kv_get(&reader, BYTES_LIT("d"), &value), KIST_E_NOT_FOUND);
    kv_read_end(&reader);
    check_list("", "a=later b=frozen c=active");
    flush();
    freeze();
    flush();
    kv_close(kv);
    open_kv();
    check_list("", "a=later b=frozen c=active");
    stop();
}
END_TEST

/* Tools open several maps in one thread. */
START_TEST(two_maps_at_once)
{
    char first_dir[64];
    start();
    memcpy(first_dir, dir, sizeof(first_dir));
    struct kv *first = kv;
    struct kv_read a, b;
    struct bytes one = BYTES_LIT("1"), two = BYTES_LIT("2");
    put_str("k", "1");
    start();
    put_str("k", "2");
    ck_assert_int_eq(kv_read_begin(first, &a), KIST_OK);
    ck_assert_int_eq(kv_read_begin(kv, &b), KIST_OK);
    check_get(&a, BYTES_LIT("k"), &one);
    check_get(&b, BYTES_LIT("k"), &two);
    kv_read_end(&a);
    kv_read_end(&b);
    stop();
    kv_close(first);
    memcpy(dir, first_dir, sizeof(first_dir));
    dir_remove();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, layers_hide_each_other);
    tcase_add_test(tc, readers_keep_their_view);
    tcase_add_test(tc, only_flushed_generations_survive);
    tcase_add_test(tc, large_values);
    tcase_add_test(tc, like_the_model);
    tcase_add_test(tc, a_full_map_keeps_what_is_frozen);
    tcase_add_test(tc, short_of_addresses);
    tcase_add_test(tc, newer_formats_are_refused);
    tcase_add_test(tc, read_only);
    tcase_add_test(tc, readers_are_bounded);
    tcase_add_test(tc, commands_are_whole);
    tcase_add_test(tc, two_maps_at_once);
    suite_add_tcase(suite, tc);
    return run_seeded_suite(suite);
}
