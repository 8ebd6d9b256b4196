/* The reclaimer's thread: what waits while there is much to do, and what does not. */
#include <semaphore.h>
#include <unistd.h>

#include "tests/unit/storage/object/store_fixture.h"

#define BODY_BYTES ((size_t)48 << 10)
#define KEYS 64
#define PUTS_MAX 20000

static uint8_t body[BODY_BYTES];
static sem_t done_sem;

static void open_threaded(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    config.dir = dir;
    config.sync = false;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
}

/* To be looked at as it is: nothing goes on in it. */
static void stop_threads(void)
{
    store_close(store);
    open_store();
}

static void start(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    open_threaded();
    arena_init(&arena, 64 << 20);
    sem_init(&done_sem, 0, 0);
    ck_assert_int_eq(create_bucket(bucket_name, "o"), KIST_OK);
}

static void stop(void)
{
    sem_destroy(&done_sem);
    stop_store();
}

static void on_put(struct store_op *op)
{
    sem_post(op->user);
}

/* Odd lengths: neighbours share pages. */
static void put_one(unsigned n)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    struct object_writer *w = NULL;
    struct store_op op;
    char key[16];
    size_t length = BODY_BYTES - n % 1000;
    snprintf(key, sizeof(key), "%u", n * 7 % KEYS);
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    request.bucket = bucket_name;
    request.key = schema_data(bytes_str(key));
    request.object = &object;
    object.mtime_ms = 1000;
    ck_assert_int_eq(object_writer_open(store, length, 0, NULL, NULL, &w), KIST_OK);
    ck_assert_int_eq(object_writer_write(w, bytes_of(body, length)), KIST_OK);
    store_op_init(&op, on_put, &done_sem);
    store_put(store, &op, &command, w);
    sem_wait(&done_sem);
    ck_assert_int_eq(op.err, KIST_OK);
    store_op_release(&op);
}

static struct fsck_report as_it_is(void)
{
    struct fsck_report report = { 0 };
    ck_assert_int_eq(store_fsck(store, tell_finding, NULL, &report), KIST_OK);
    ck_assert_uint_eq(report.problems, 0);
    return report;
}

static uint64_t reclaimed(void)
{
    struct store_stats stats;
    store_stats(store, &stats);
    return stats.reclaimed_bytes;
}

/* Under load dead extents wait for each other, but only so many: a stop in between leaves some
 * that no longer belong to anybody, and the next start takes them away. */
START_TEST(test_dead_wait_in_company)
{
    unsigned puts = 0;
    while (puts < PUTS_MAX && (puts % 64 || !reclaimed()))
        put_one(puts++);
    ck_assert_uint_gt(reclaimed(), 0);
    stop_threads();
    struct fsck_report before = as_it_is();
    ck_assert_uint_gt(before.freed + before.garbage, 0);
    ck_assert_uint_eq(before.objects, KEYS);
    ck_assert_uint_eq(before.extents - before.garbage, KEYS);
    struct fsck_report after = checked();
    ck_assert_uint_eq(after.freed + after.garbage, 0);
    ck_assert_uint_eq(after.extents, KEYS);
    ck_assert_uint_eq(after.live_bytes, as_it_is().live_bytes);
}
END_TEST

/* Nobody else comes: what is dead goes within seconds. */
START_TEST(test_quiet_waits_for_nobody)
{
    for (unsigned i = 0; i < 3 * KEYS; i++)
        put_one(i);
    for (unsigned i = 0; i < 200 && reclaimed() < 2 * KEYS * (BODY_BYTES - 1000); i++)
        usleep(100000);
    stop_threads();
    struct fsck_report report = as_it_is();
    ck_assert_uint_eq(report.garbage, 0);
    ck_assert_uint_eq(report.extents, KEYS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reclaim");
    TCase *tcase = tcase_create("reclaim");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, test_dead_wait_in_company);
    tcase_add_test(tcase, test_quiet_waits_for_nobody);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
