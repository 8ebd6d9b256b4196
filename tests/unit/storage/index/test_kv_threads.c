/* The ordered map with its writer, its checkpoint thread and readers at work together. */
#include "tests/unit/storage/index/fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "storage/base/env.h"
#include "storage/index/kv.h"

#define STEADY 64 /* keys "s00" and on are always there; "t00" and on come and go */
#define RUN_MS 1000

static struct kv *kv;
static _Atomic bool stopping;
static const char *_Atomic failure;
static _Atomic uint64_t committed; /* all rows of rounds up to it are in */

static void flunk(const char *what)
{
    failure = what;
    stopping = true;
}

static struct bytes make_key(char *buf, char table, size_t i)
{
    return bytes_of(buf, (size_t)snprintf(buf, 16, "%c%02zu", table, i));
}

/* A round's number again and again, so that a torn value shows. */
static struct bytes make_value(uint64_t *words, uint64_t round, size_t i)
{
    size_t n = 1 + (round + i * 7) % 40;
    for (size_t k = 0; k < n; k++)
        words[k] = round;
    return bytes_of(words, n * sizeof(words[0]));
}

static bool read_value(struct bytes value, uint64_t *round)
{
    uint64_t first, other;
    if (value.len == 0 || value.len % sizeof(first) != 0)
        return false;
    memcpy(&first, value.ptr, sizeof(first));
    for (size_t i = 0; i < value.len; i += sizeof(other)) {
        memcpy(&other, value.ptr + i, sizeof(other));
        if (other != first)
            return false;
    }
    *round = first;
    return true;
}

static void write_round(uint64_t round)
{
    char key[16];
    uint64_t words[40];
    kv_write_lock(kv);
    for (size_t i = 0; i < STEADY; i++) {
        kv_put(kv, make_key(key, 's', i), make_value(words, round, i));
        if ((round + i) % 3 == 0)
            kv_delete(kv, make_key(key, 't', i));
        else
            kv_put(kv, make_key(key, 't', i), make_value(words, round, i));
    }
    kv_set_index(kv, round);
    kv_write_unlock(kv);
    committed = round;
}

/* The last writer's own reads must see its writes exactly. */
static void check_own(uint64_t round)
{
    struct kv_read read;
    struct bytes value;
    uint64_t seen = 0;
    char key[16];
    size_t i = round % STEADY;
    if (kv_read_begin(kv, &read) != KIST_OK)
        return flunk("the writer cannot read");
    if (kv_get(&read, make_key(key, 's', i), &value) != KIST_OK || !read_value(value, &seen) ||
        seen != round)
        flunk("the writer does not see its own row");
    enum kist_err err = kv_get(&read, make_key(key, 't', i), &value);
    if (err != ((round + i) % 3 == 0 ? KIST_E_NOT_FOUND : KIST_OK))
        flunk("the writer does not see its own tombstone");
    kv_read_end(&read);
}

static void *write_all(void *arg)
{
    (void)arg;
    for (uint64_t round = 2; !stopping; round++) {
        write_round(round);
        check_own(round);
    }
    return NULL;
}

static void *checkpoint_all(void *arg)
{
    (void)arg;
    while (!stopping) {
        if (kv_freeze(kv) && kv_flush(kv) != KIST_OK)
            flunk("flush");
        struct kv_stats stats;
        kv_stats(kv, &stats);
        if (stats.frozen_bytes || kv_durable_index(kv) > committed + 1)
            flunk("the checkpoint's numbers");
    }
    return NULL;
}

/* No row may go back in time, nor be older than what was complete before the read began. */
static void check_get(uint64_t *last, size_t i)
{
    struct kv_read read;
    struct bytes value;
    uint64_t round = 0, least = committed;
    char key[16];
    if (kv_read_begin(kv, &read) != KIST_OK)
        return flunk("a reader cannot begin");
    if (kv_get(&read, make_key(key, 's', i), &value) != KIST_OK)
        flunk("a steady row was missed");
    else if (!read_value(value, &round))
        flunk("a torn value");
    else if (round < last[i] || round < least)
        flunk("a row went back in time");
    last[i] = round;
    kv_read_end(&read);
}

static size_t count_steady(struct kv_cursor *cursor)
{
    struct bytes key, value;
    uint64_t round = 0, first = 0;
    size_t steady = 0;
    char expected[16];
    enum kist_err err = kv_cursor_seek(cursor, BYTES_LIT("s"), &key, &value);
    for (; err == KIST_OK; err = kv_cursor_next(cursor, &key, &value)) {
        if (!read_value(value, &round))
            flunk("a torn value in a walk");
        else if (first && round != first)
            flunk("half a round in a walk");
        first = round;
        if (key.ptr[0] == 's' && !bytes_equal(key, make_key(expected, 's', steady++)))
            flunk("a walk out of order");
    }
    if (err != KIST_E_NOT_FOUND)
        flunk("a walk failed");
    return steady;
}

static void check_walk(void)
{
    struct kv_read read;
    struct kv_cursor *cursor;
    struct bytes found, value;
    uint8_t buf[KV_KEY_MAX];
    if (kv_read_begin(kv, &read) != KIST_OK || kv_cursor_open(&read, &cursor) != KIST_OK)
        return flunk("a cursor cannot begin");
    if (count_steady(cursor) != STEADY)
        flunk("a walk missed a steady row");
    if (kv_find_before(&read, BYTES_LIT("s63"), BYTES_LIT("s"), buf, &found, &value) != KIST_OK ||
        !bytes_equal(found, BYTES_LIT("s62")))
        flunk("the row before");
    kv_cursor_close(cursor);
    kv_read_end(&read);
}

static void *read_all(void *arg)
{
    uint64_t last[STEADY] = { 0 }, state = 88172645463325252U + (uintptr_t)arg;
    while (!stopping) {
        for (int i = 0; i < 200 && !stopping; i++)
            check_get(last, random_next(&state) % STEADY);
        check_walk();
    }
    return NULL;
}

static void run_threads(void)
{
    pthread_t threads[5];
    static void *(*const parts[])(void *) = { write_all, checkpoint_all, read_all, read_all,
                                              read_all };
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, parts[i], (void *)i), 0);
    for (uint64_t end = mono_ns() + RUN_MS * UINT64_C(1000000); !stopping && mono_ns() < end;)
        usleep(10000);
    stopping = true;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    ck_assert_msg(!failure, "%s", failure);
}

START_TEST(all_at_once)
{
    dir_make();
    struct kv_config config = KV_CONFIG_DEFAULT;
    struct kv_stats stats;
    config.dir = dir;
    config.sync = false;
    config.map_bytes = (size_t)1 << 30; /* sanitizers leave less room than the default takes */
    ck_assert_int_eq(kv_open(&config, &kv), KIST_OK);
    write_round(1);
    run_threads();
    kv_freeze(kv);
    ck_assert_int_eq(kv_flush(kv), KIST_OK);
    ck_assert_uint_eq(kv_durable_index(kv), committed);
    kv_stats(kv, &stats);
    printf("%llu rounds, %llu flushes\n", (unsigned long long)committed,
           (unsigned long long)stats.flushes);
    ck_assert_uint_gt(stats.flushes, 2);
    check_walk();
    ck_assert_msg(!failure, "%s", failure);
    kv_close(kv);
    dir_remove();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kv_threads");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, all_at_once);
    suite_add_tcase(suite, tc);
    return run_seeded_suite(suite);
}
