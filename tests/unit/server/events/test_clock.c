/* The wall clock is set while events wait: nothing waits for hours that it gained, and nothing
 * grows old by them.
 */
#include "fixture.h"

#define DAY_MS ((int64_t)86400000)

static bool is_absent(void *ctx, const struct events_target *target)
{
    *(bool *)ctx = target->is_absent;
    return false;
}

static void wait_absent(void)
{
    bool absent = false;
    for (unsigned i = 0; i < PATIENCE_S * 1000 && !absent; i++) {
        struct timespec pause = { 0, 1000000 };
        ck_assert_int_eq(events_each_target(fix.events, is_absent, &absent), KIST_OK);
        nanosleep(&pause, NULL);
    }
    ck_assert(absent);
}

static void set_answer(enum event_outcome (*answer)(const Kist__Event *event, unsigned attempt))
{
    pthread_mutex_lock(&fix.lock);
    fix.answer = answer;
    pthread_mutex_unlock(&fix.lock);
}

static enum event_outcome is_not_there(const Kist__Event *event, unsigned attempt)
{
    (void)event, (void)attempt;
    return EVENT_ABSENT;
}

START_TEST(an_absent_target_is_asked_again_when_the_clock_goes_back)
{
    set_answer(is_not_there);
    set_one_rule(target_a);
    put_object("x");
    start_events(0);
    wait_absent();
    fix.clock_ahead_ms = -DAY_MS;
    set_answer(NULL);
    wait_queues(0, 0);
}
END_TEST

START_TEST(what_waits_for_an_absent_target_does_not_age_by_the_clock)
{
    set_answer(is_not_there);
    set_one_rule(target_a);
    put_object("x");
    start_events(0);
    wait_absent();
    fix.clock_ahead_ms = DAY_MS; /* the target's events live for an hour */
    set_answer(NULL);
    wait_queues(0, 0);
}
END_TEST

/* One that failed has its next attempt in the store, by a clock that is a day ahead. */
static enum event_outcome fails_at_first(const Kist__Event *event, unsigned attempt)
{
    (void)event;
    return attempt == 1 ? EVENT_FAILED : EVENT_DELIVERED;
}

static bool count_later(void *ctx, const struct event_item *item)
{
    *(size_t *)ctx += item->due_ms > 0 || item->event->not_before_ms > 0;
    return true;
}

static void fail_ahead(void)
{
    size_t later = 0;
    fix.policy.retry_base_ms = fix.policy.retry_max_ms = 60000;
    fix.clock_ahead_ms = DAY_MS;
    set_answer(fails_at_first);
    put_object("x");
    start_events(0);
    for (unsigned i = 0; i < PATIENCE_S * 1000 && !later; i++) {
        struct timespec pause = { 0, 1000000 };
        ck_assert_int_eq(store_list_events(fix.store, bytes_str(target_a), BYTES_EMPTY, INT64_MAX,
                                           count_later, &later),
                         KIST_OK);
        nanosleep(&pause, NULL);
    }
    ck_assert_uint_eq(later, 1);
    fix.clock_ahead_ms = 0;
}

START_TEST(a_retry_does_not_wait_for_a_clock_that_was_ahead)
{
    set_one_rule(target_a);
    fail_ahead();
    put_object("y"); /* wakes the dispatcher, and fails by the right clock */
    wait_seen(3);
    wait_queues(1, 0);
}
END_TEST

START_TEST(nor_after_a_restart)
{
    set_one_rule(target_a);
    fail_ahead();
    stop_events(0);
    start_events(0);
    wait_queues(0, 0);
}
END_TEST

START_TEST(nor_does_an_ordered_one)
{
    set_ordered_rule();
    fail_ahead();
    put_object("y");
    wait_seen(3);
    wait_queues(1, 0);
}
END_TEST

START_TEST(nor_does_an_ordered_one_after_a_restart)
{
    set_ordered_rule();
    fail_ahead();
    stop_events(0);
    start_events(0);
    wait_queues(0, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock");
    TCase *c = tcase_create("clock");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 300);
    tcase_add_test(c, an_absent_target_is_asked_again_when_the_clock_goes_back);
    tcase_add_test(c, what_waits_for_an_absent_target_does_not_age_by_the_clock);
    tcase_add_test(c, a_retry_does_not_wait_for_a_clock_that_was_ahead);
    tcase_add_test(c, nor_after_a_restart);
    tcase_add_test(c, nor_does_an_ordered_one);
    tcase_add_test(c, nor_does_an_ordered_one_after_a_restart);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
