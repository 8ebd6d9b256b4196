/* What the index's tests share: a directory that goes away, random keys that crowd around the
 * trie's limits, and the simplest ordered map there is, to compare with. */
#ifndef KIST_TESTS_UNIT_STORAGE_INDEX_FIXTURE_H
#define KIST_TESTS_UNIT_STORAGE_INDEX_FIXTURE_H

#include <time.h>
#include <unistd.h>

#include "storage/index/trie.h"
#include "tests/lib/suite.h"

/* ---- random numbers ---- */

static uint64_t seed;

/* From KIST_SEED, or another one each time, told on stdout. */
static inline void seed_start(void)
{
    const char *given = getenv("KIST_SEED");
    seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
    if (given)
        seed = strtoull(given, NULL, 0);
    printf("KIST_SEED=%llu repeats this run\n", (unsigned long long)seed);
    fflush(stdout);
    seed = seed * 2 + 1;
}

static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 0x9E3779B97F4A7C15U >> 16;
}

static inline size_t below(size_t n)
{
    return (size_t)(random_next(&seed) % n);
}

/* ---- keys ---- */

/* Mostly 'a', with a few other bytes where segments end: long shared prefixes, keys that are
 * prefixes of others, lengths on both sides of each limit (480, and 480 + 471). */
static inline struct bytes random_long_key(uint8_t *buf)
{
    static const size_t lengths[] = { 1,   2,   3,   470, 471, 478, 479, 480,  481,  482, 483,
                                      600, 949, 950, 951, 952, 953, 954, 1098, 1099, 1100 };
    static const size_t places[] = {
        1, 2, 470, 478, 479, 480, 481, 482, 949, 950, 951, 952, 1098
    };
    static const uint8_t letters[] = { 0, 1, 'a', 'b', 0xFE, 0xFF };
    size_t len = lengths[below(ARRAY_LEN(lengths))];
    memset(buf, 'a', len);
    for (size_t i = below(4); i; i--) {
        size_t at = places[below(ARRAY_LEN(places))];
        if (at < len)
            buf[at] = letters[below(ARRAY_LEN(letters))];
    }
    return bytes_of(buf, len);
}

static inline struct bytes random_short_key(uint8_t *buf)
{
    int len = snprintf((char *)buf, KV_KEY_MAX, "k%03zu", below(500));
    return bytes_of(buf, (size_t)len);
}

/* Mostly small, sometimes empty, seldom of more than LMDB's page or of hundreds of KiB. */
static inline struct bytes random_value(uint8_t *buf, size_t cap)
{
    size_t kind = below(400);
    size_t len = kind == 0 ? 100000 + below(300000) : kind < 20 ? below(9000) : below(40);
    if (len > cap)
        len = cap;
    memset(buf, (int)below(256), len);
    for (size_t i = 0; i < len && i < 8; i++)
        buf[i] = (uint8_t)below(256);
    return bytes_of(buf, len);
}

/* ---- the model: a sorted array ---- */

struct model_row {
    struct bytes key, value;
};
struct model {
    struct model_row *rows;
    size_t count, cap;
};

static inline struct bytes model_copy(struct bytes b)
{
    uint8_t *p = malloc(b.len + 1);
    ck_assert_ptr_nonnull(p);
    if (b.len)
        memcpy(p, b.ptr, b.len);
    return bytes_of(p, b.len);
}

static inline void model_drop(struct bytes b)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = b.ptr };
    free(cast.out);
}

/* Position of the first row >= key. */
static inline size_t model_seek(const struct model *m, struct bytes key)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_compare(m->rows[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* NULL: not there. */
static inline struct model_row *model_get(const struct model *m, struct bytes key)
{
    size_t at = model_seek(m, key);
    return at < m->count && bytes_equal(m->rows[at].key, key) ? &m->rows[at] : NULL;
}

static inline void model_put(struct model *m, struct bytes key, struct bytes value)
{
    struct model_row *row = model_get(m, key);
    if (row) {
        model_drop(row->value);
        row->value = model_copy(value);
        return;
    }
    if (m->count == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 64;
        m->rows = realloc(m->rows, m->cap * sizeof(*m->rows));
        ck_assert_ptr_nonnull(m->rows);
    }
    size_t at = model_seek(m, key);
    memmove(&m->rows[at + 1], &m->rows[at], (m->count - at) * sizeof(*m->rows));
    m->rows[at] = (struct model_row){ model_copy(key), model_copy(value) };
    m->count++;
}

static inline void model_delete(struct model *m, struct bytes key)
{
    struct model_row *row = model_get(m, key);
    if (!row)
        return;
    size_t at = (size_t)(row - m->rows);
    model_drop(row->key);
    model_drop(row->value);
    m->count--;
    memmove(row, row + 1, (m->count - at) * sizeof(*row));
}

static inline void model_free(struct model *m)
{
    while (m->count)
        model_delete(m, m->rows[m->count - 1].key);
    free(m->rows);
    *m = (struct model){ 0 };
}

static inline void check_equal(struct bytes a, struct bytes b)
{
    ck_assert_uint_eq(a.len, b.len);
    ck_assert(bytes_equal(a, b));
}

/* ---- a directory ---- */

static char dir[64];

static inline void dir_make(void)
{
    snprintf(dir, sizeof(dir), "/tmp/kist-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static inline void dir_remove(void)
{
    char path[96];
    static const char *const names[] = { "data.mdb", "lock.mdb" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(dir), 0);
}

static inline int run_seeded_suite(Suite *suite)
{
    seed_start();
    return run_suite(suite);
}

#endif
