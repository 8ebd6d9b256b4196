/* The pool of workers: every job runs once, and closing waits for all. */
#include <pthread.h>
#include <stdatomic.h>

#include "storage/base/worker.h"
#include "tests/lib/suite.h"

#define JOBS 5000

struct counted {
    struct job job;
    atomic_int runs;
};

static atomic_int total;

static void count(struct job *job)
{
    struct counted *c = CONTAINER_OF(job, struct counted, job);
    atomic_fetch_add(&c->runs, 1);
    atomic_fetch_add(&total, 1);
}

static struct counted *submit_all(struct worker_pool *pool)
{
    struct counted *jobs = calloc(JOBS, sizeof(*jobs));
    ck_assert_ptr_nonnull(jobs);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].job.run = count;
        worker_submit(pool, &jobs[i].job);
    }
    return jobs;
}

START_TEST(test_each_once_and_close_waits)
{
    for (size_t threads = 1; threads <= 4; threads += 3) {
        struct worker_pool *pool = NULL;
        atomic_store(&total, 0);
        ck_assert_int_eq(worker_pool_open("unit", threads, &pool), KIST_OK);
        struct counted *jobs = submit_all(pool);
        worker_pool_close(pool);
        ck_assert_int_eq(atomic_load(&total), JOBS);
        for (int i = 0; i < JOBS; i++)
            ck_assert_int_eq(atomic_load(&jobs[i].runs), 1);
        free(jobs);
    }
    worker_pool_close(NULL);
}
END_TEST

/* Two jobs that need each other: they run at the same time. */
struct meeting {
    struct job job;
    pthread_barrier_t *barrier;
};

static void meet(struct job *job)
{
    pthread_barrier_wait(CONTAINER_OF(job, struct meeting, job)->barrier);
}

START_TEST(test_side_by_side)
{
    struct worker_pool *pool = NULL;
    pthread_barrier_t barrier;
    struct meeting jobs[2];
    pthread_barrier_init(&barrier, NULL, 2);
    ck_assert_int_eq(worker_pool_open("unit", 2, &pool), KIST_OK);
    for (int i = 0; i < 2; i++) {
        jobs[i] = (struct meeting){ .job = { .run = meet }, .barrier = &barrier };
        worker_submit(pool, &jobs[i].job);
    }
    worker_pool_close(pool);
    pthread_barrier_destroy(&barrier);
}
END_TEST

/* With one thread, first come, first served. */
static int order[100], ordered;

struct numbered {
    struct job job;
    int number;
};

static void note(struct job *job)
{
    order[ordered++] = CONTAINER_OF(job, struct numbered, job)->number;
}

START_TEST(test_in_order)
{
    struct worker_pool *pool = NULL;
    struct numbered jobs[100];
    ck_assert_int_eq(worker_pool_open("unit", 1, &pool), KIST_OK);
    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct numbered){ .job = { .run = note }, .number = i };
        worker_submit(pool, &jobs[i].job);
    }
    worker_pool_close(pool);
    ck_assert_int_eq(ordered, 100);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(order[i], i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("worker");
    TCase *tcase = tcase_create("worker");
    tcase_add_test(tcase, test_each_once_and_close_waits);
    tcase_add_test(tcase, test_side_by_side);
    tcase_add_test(tcase, test_in_order);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
