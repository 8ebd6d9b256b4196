/* The skip list alone: against a model, and with readers beside its writer. */
#include "tests/unit/storage/index/fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "storage/index/overlay.h"

static struct bytes value_of(const struct overlay_node *n)
{
    struct bytes value;
    ck_assert_ptr_nonnull(n);
    ck_assert(overlay_value(n, 1, &value) == OVERLAY_VALUE);
    return value;
}

START_TEST(empty_one)
{
    struct overlay *o = overlay_new();
    ck_assert_uint_eq(overlay_bytes(o), 0);
    ck_assert_uint_eq(overlay_rows(o), 0);
    ck_assert_ptr_null(overlay_seek(o, BYTES_EMPTY));
    ck_assert_ptr_null(overlay_find(o, BYTES_LIT("a")));
    ck_assert_ptr_null(overlay_before(o, BYTES_LIT("a")));
    overlay_free(o);
    overlay_free(NULL);
}
END_TEST

START_TEST(values_replace_each_other)
{
    struct overlay *o = overlay_new();
    struct bytes key = BYTES_LIT("key"), ignored;
    overlay_put(o, 1, key, BYTES_LIT("first"));
    const struct overlay_node *n = overlay_find(o, key);
    struct bytes first = value_of(n);
    overlay_put(o, 1, key, BYTES_EMPTY);
    ck_assert_ptr_eq(overlay_find(o, key), n);
    ck_assert_uint_eq(value_of(n).len, 0);
    check_equal(first, BYTES_LIT("first")); /* a reader may still hold it */
    overlay_delete(o, 1, key);
    ck_assert(overlay_value(n, 1, &ignored) == OVERLAY_TOMBSTONE);
    overlay_put(o, 1, key, BYTES_LIT("second"));
    check_equal(value_of(n), BYTES_LIT("second"));
    ck_assert_uint_eq(overlay_rows(o), 1);
    overlay_delete(o, 1, BYTES_LIT("never there"));
    ck_assert(overlay_value(overlay_find(o, BYTES_LIT("never there")), 1, &ignored) ==
              OVERLAY_TOMBSTONE);
    ck_assert_uint_eq(overlay_rows(o), 2);
    overlay_free(o);
}
END_TEST

/* Values larger than a block, and so many large ones that blocks are changed in between. */
START_TEST(large_values)
{
    struct overlay *o = overlay_new();
    enum { LARGEST = 3 << 20, COUNT = 60 };
    uint8_t *data = malloc(LARGEST);
    char key[16];
    ck_assert_ptr_nonnull(data);
    for (int i = 0; i < COUNT; i++) {
        size_t len = i % 20 == 19 ? LARGEST : (size_t)i * 17000;
        memset(data, i, len);
        snprintf(key, sizeof(key), "%02d", i);
        overlay_put(o, 1, bytes_str(key), bytes_of(data, len));
    }
    for (int i = 0; i < COUNT; i++) {
        size_t len = i % 20 == 19 ? LARGEST : (size_t)i * 17000;
        memset(data, i, len);
        snprintf(key, sizeof(key), "%02d", i);
        check_equal(value_of(overlay_find(o, bytes_str(key))), bytes_of(data, len));
    }
    free(data);
    overlay_free(o);
}
END_TEST

static void check_around(const struct overlay *o, const struct model *m, struct bytes key)
{
    size_t at = model_seek(m, key);
    const struct overlay_node *n = overlay_seek(o, key), *before = overlay_before(o, key);
    for (size_t i = at; i < at + 3 && i < m->count; i++, n = overlay_next(n)) {
        ck_assert_ptr_nonnull(n);
        check_equal(overlay_key(n), m->rows[i].key);
        check_equal(value_of(n), m->rows[i].value);
    }
    if (at + 3 > m->count)
        ck_assert_ptr_null(n);
    if (at == 0)
        ck_assert_ptr_null(before);
    else
        check_equal(overlay_key(before), m->rows[at - 1].key);
    n = overlay_find(o, key);
    ck_assert_int_eq(n != NULL, model_get(m, key) != NULL);
}

START_TEST(like_the_model)
{
    struct overlay *o = overlay_new();
    struct model m = { 0 };
    uint8_t key[KV_KEY_MAX], value[64];
    for (int i = 0; i < 20000; i++) {
        struct bytes k = below(3) ? random_long_key(key) : random_short_key(key);
        if (below(2)) {
            struct bytes v = random_value(value, sizeof(value));
            overlay_put(o, 1, k, v);
            model_put(&m, k, v);
        } else {
            check_around(o, &m, k);
        }
    }
    ck_assert_uint_eq(overlay_rows(o), m.count);
    ck_assert_uint_gt(overlay_bytes(o), 0);
    model_free(&m);
    overlay_free(o);
}
END_TEST

/* ---- readers beside the writer ---- */

#define SHARED_KEYS 20000

struct shared {
    struct overlay *overlay;
    _Atomic unsigned written; /* keys 0 to written - 1 are in */
    const char *_Atomic failure;
};

/* Scattered, so that insertions hit all places. */
static struct bytes shared_key(char *buf, unsigned i)
{
    return bytes_of(buf, (size_t)snprintf(buf, 32, "%08x", i * 2654435761U));
}

static bool is_whole(struct bytes value)
{
    for (size_t i = 1; i < value.len; i++)
        if (value.ptr[i] != value.ptr[0])
            return false;
    return value.len > 0;
}

static const char *walk(const struct overlay *o, unsigned at_least)
{
    struct bytes last = BYTES_EMPTY;
    unsigned rows = 0;
    for (const struct overlay_node *n = overlay_seek(o, BYTES_EMPTY); n; n = overlay_next(n)) {
        struct bytes value;
        if (bytes_compare(overlay_key(n), last) <= 0)
            return "keys out of order";
        if (overlay_value(n, 1, &value) == OVERLAY_VALUE && !is_whole(value))
            return "a torn value";
        last = overlay_key(n);
        rows++;
    }
    return rows < at_least ? "a row was missed" : NULL;
}

static void *read_shared(void *arg)
{
    struct shared *s = arg;
    uint64_t state = 88172645463325252U;
    char buf[32];
    unsigned written = 0;
    for (unsigned i = 0; written < SHARED_KEYS && !s->failure; i++) {
        written = s->written;
        if (written == 0)
            continue;
        unsigned k = (unsigned)(random_next(&state) % written);
        if (!overlay_find(s->overlay, shared_key(buf, k)))
            s->failure = "a written key was not found";
        const char *failure = i % 256 == 0 ? walk(s->overlay, written) : NULL;
        if (failure)
            s->failure = failure;
    }
    return NULL;
}

START_TEST(readers_need_no_lock)
{
    struct shared s = { .overlay = overlay_new() };
    pthread_t readers[3];
    char key[32];
    uint8_t value[40];
    for (size_t i = 0; i < ARRAY_LEN(readers); i++)
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_shared, &s), 0);
    for (unsigned i = 0; i < SHARED_KEYS; i++) {
        memset(value, (int)(i & 255), sizeof(value));
        overlay_put(s.overlay, 1, shared_key(key, i), bytes_of(value, 1 + i % sizeof(value)));
        s.written = i + 1;
        struct bytes other = shared_key(key, i / 2);
        if (i % 3 == 0)
            overlay_delete(s.overlay, 1, other);
        else
            overlay_put(s.overlay, 1, other, bytes_of(value, sizeof(value)));
    }
    for (size_t i = 0; i < ARRAY_LEN(readers); i++)
        pthread_join(readers[i], NULL);
    ck_assert_msg(!s.failure, "%s", s.failure);
    ck_assert_ptr_null(walk(s.overlay, SHARED_KEYS));
    overlay_free(s.overlay);
}
END_TEST

/* The hardest place: every insertion goes between the last node below the key and the key. */
static void *seek_last(void *arg)
{
    struct shared *s = arg;
    struct bytes last = BYTES_LIT("last");
    while (s->written < SHARED_KEYS && !s->failure) {
        const struct overlay_node *n = overlay_seek(s->overlay, last);
        if (!n || !bytes_equal(overlay_key(n), last))
            s->failure = "a seek ended at a lesser key";
        n = overlay_before(s->overlay, last);
        if (n && bytes_compare(overlay_key(n), last) >= 0)
            s->failure = "what is before is not";
    }
    return NULL;
}

START_TEST(insertions_before_what_is_sought)
{
    struct shared s = { .overlay = overlay_new() };
    pthread_t readers[2];
    char key[32];
    overlay_put(s.overlay, 1, BYTES_LIT("last"), BYTES_EMPTY);
    for (size_t i = 0; i < ARRAY_LEN(readers); i++)
        ck_assert_int_eq(pthread_create(&readers[i], NULL, seek_last, &s), 0);
    for (unsigned i = 0; i < 10 * SHARED_KEYS; i++) {
        size_t len = (size_t)snprintf(key, sizeof(key), "key%08u", i);
        overlay_put(s.overlay, 1, bytes_of(key, len), BYTES_EMPTY);
    }
    s.written = SHARED_KEYS;
    for (size_t i = 0; i < ARRAY_LEN(readers); i++)
        pthread_join(readers[i], NULL);
    ck_assert_msg(!s.failure, "%s", s.failure);
    overlay_free(s.overlay);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("overlay");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, empty_one);
    tcase_add_test(tc, values_replace_each_other);
    tcase_add_test(tc, large_values);
    tcase_add_test(tc, like_the_model);
    tcase_add_test(tc, readers_need_no_lock);
    tcase_add_test(tc, insertions_before_what_is_sought);
    suite_add_tcase(suite, tc);
    return run_seeded_suite(suite);
}
