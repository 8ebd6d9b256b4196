/* Bodies large enough to be hashed and written beside their threads, many at once. */
#include <pthread.h>
#include <semaphore.h>

#include "tests/lib/commands.h"
#include "tests/lib/suite.h"

#define MIB ((size_t)1 << 20)
#define THREADS 6
#define PIECE ((size_t)33333)

static char dir[32];
static struct store *store;
static char bucket_name[] = "b";

/* Around the ends of hashes' blocks, pages, packs' blocks and chunks. */
static const size_t lengths[] = { 65537,
                                  100000,
                                  262143,
                                  262144,
                                  262145,
                                  400000,
                                  MIB,
                                  MIB + 1,
                                  MIB + 63,
                                  2 * MIB + 4095,
                                  4 * MIB - 1,
                                  4 * MIB,
                                  4 * MIB + 1,
                                  4 * MIB + 65,
                                  8 * MIB + 100,
                                  9 * MIB - 512,
                                  12 * MIB + 262145,
                                  16 * MIB };

static void open_store(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    config.dir = dir;
    config.scrub_days = 0;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
}

static void setup(void)
{
    snprintf(dir, sizeof(dir), "/var/tmp/kist-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    open_store();
    ck_assert_int_eq(commit_bucket(store, bucket_name, "o", "r"), KIST_OK);
}

static void teardown(void)
{
    store_close(store);
    remove_dir(dir);
}

static void post(void *sem)
{
    sem_post(sem);
}

static void on_done(struct store_op *op)
{
    sem_post(op->user);
}

/* Pseudo-random bytes, other ones for every seed. */
static uint8_t *bytes_made(uint64_t seed, size_t length)
{
    uint64_t state = seed * 0x9E3779B97F4A7C15U + 1;
    uint8_t *bytes = malloc(length);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < length; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = (uint8_t)(state >> 24);
    }
    return bytes;
}

static struct object_writer *write_some(const uint8_t *bytes, size_t length, size_t announced,
                                        const uint8_t *key, sem_t *sem)
{
    struct object_writer *w = NULL;
    ck_assert_int_eq(object_writer_open(store, announced, 0, NULL, NULL, &w), KIST_OK);
    if (key)
        ck_assert_int_eq(object_writer_seal(w, key, false), KIST_OK);
    object_writer_go_aside(w);
    for (size_t at = 0; at < length; at += PIECE) {
        size_t n = length - at < PIECE ? length - at : PIECE;
        while (!object_writer_ready(w, n, post, sem))
            sem_wait(sem);
        ck_assert_int_eq(object_writer_write(w, bytes_of(bytes + at, n)), KIST_OK);
    }
    return w;
}

static void put(const char *name, const uint8_t *bytes, size_t length, const uint8_t *key)
{
    sem_t sem;
    struct store_op op;
    uint8_t expected[16], found[16];
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Seal seal = KIST__SEAL__INIT;
    sem_init(&sem, 0, 0);
    struct object_writer *w = write_some(bytes, length, length, key, &sem);
    while (!object_writer_end(w, post, &sem))
        sem_wait(&sem);
    digest_once(DIGEST_MD5, bytes_of(bytes, length), expected);
    object_writer_digest(w, DIGEST_MD5, found);
    ck_assert_mem_eq(found, expected, 16);
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    request.bucket = bucket_name;
    request.key = schema_data(bytes_str(name));
    request.object = &object;
    object.seal = key ? &seal : NULL;
    store_op_init(&op, on_done, &sem);
    store_put(store, &op, &command, w);
    sem_wait(&sem);
    ck_assert_int_eq(op.err, KIST_OK);
    store_op_release(&op);
    sem_destroy(&sem);
}

static void reads_back(const char *name, const uint8_t *bytes, size_t length)
{
    struct arena arena;
    struct object_reader *r = NULL;
    struct object_id id = { bytes_str(bucket_name), bytes_str(name), VERSION_CURRENT };
    uint8_t *found = malloc(length);
    ck_assert_ptr_nonnull(found);
    arena_init(&arena, MIB);
    ck_assert_int_eq(object_reader_open(store, &id, &arena, &r, NULL), KIST_OK);
    for (size_t at = 0, got = 0; at < length; at += got)
        ck_assert_int_eq(object_reader_read(r, at, found + at, length - at, true, &got), KIST_OK);
    ck_assert_mem_eq(found, bytes, length);
    object_reader_close(r);
    arena_release(&arena);
    free(found);
}

static void *uploader(void *arg)
{
    size_t number = (size_t)(uintptr_t)arg;
    static const uint8_t key[SEAL_KEY_BYTES] = { 1 };
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char name[32];
        size_t length = lengths[(i + number) % ARRAY_LEN(lengths)];
        uint8_t *bytes = bytes_made(number * 100 + i, length);
        bool sealed = number == 0 && i % 2 == 0;
        snprintf(name, sizeof(name), "key-%zu-%zu", number, i);
        put(name, bytes, length, sealed ? key : NULL);
        if (!sealed)
            reads_back(name, bytes, length);
        free(bytes);
    }
    return NULL;
}

static bool go_on(void *ctx, const struct scrub_report *report)
{
    (void)ctx, (void)report;
    return true;
}

/* The scrub compares every chunk with its address. */
START_TEST(many_at_once)
{
    pthread_t threads[THREADS];
    struct scrub_report report = { 0 };
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, uploader, (void *)(uintptr_t)i), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(store_scrub(store, go_on, NULL, &report), KIST_OK);
    ck_assert_uint_eq(report.damaged, 0);
    ck_assert_uint_gt(report.extents, THREADS * ARRAY_LEN(lengths));
}
END_TEST

/* Blocks may still be under way when the writer is dropped, and when the store is closed. */
START_TEST(dropped_in_the_middle)
{
    sem_t sem;
    struct store_stats stats;
    uint8_t *bytes = bytes_made(7, 8 * MIB);
    sem_init(&sem, 0, 0);
    for (size_t i = 0; i < 20; i++)
        object_writer_abort(write_some(bytes, 400000 * (i + 1), 9 * MIB, NULL, &sem));
    put("kept", bytes, 8 * MIB, NULL);
    object_writer_abort(write_some(bytes, 8 * MIB, 9 * MIB, NULL, &sem));
    store_close(store);
    open_store();
    reads_back("kept", bytes, 8 * MIB);
    store_stats(store, &stats);
    ck_assert_uint_le(stats.pack_bytes, 9 * MIB);
    sem_destroy(&sem);
    free(bytes);
}
END_TEST

/* Those who do not send must not hold up those who do. */
START_TEST(idle_neighbours)
{
    struct object_writer *idle[THREADS];
    sem_t sem;
    uint8_t *bytes = bytes_made(8, 5 * MIB);
    sem_init(&sem, 0, 0);
    for (size_t i = 0; i < THREADS; i++)
        idle[i] = write_some(bytes, PIECE, 5 * MIB, NULL, &sem);
    for (size_t i = 0; i < 50; i++)
        put("busy", bytes, 5 * MIB - i, NULL);
    for (size_t i = 0; i < THREADS; i++)
        object_writer_abort(idle[i]);
    sem_destroy(&sem);
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("aside");
    TCase *tc = tcase_create("aside");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, many_at_once);
    tcase_add_test(tc, idle_neighbours);
    tcase_add_test(tc, dropped_in_the_middle);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
