/* The dispatcher on a real store: nothing is lost, nothing waits for the wrong reason. */
#include "deaf.h"

/* How often a key was delivered, with success or not. */
static size_t times_seen(const char *key)
{
    size_t n = 0;
    for (size_t i = 0; i < fix.seen_count; i++)
        n += strcmp(fix.seen[i].key, key) == 0;
    return n;
}

/* ---- delivery ---- */

START_TEST(all_are_delivered_once)
{
    set_one_rule(target_a);
    put_many("x", 300);
    start_events(0);
    put_many("y", 200);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, 500);
    for (size_t i = 1; i < fix.seen_count; i++)
        ck_assert_str_ne(fix.seen[i].id, fix.seen[i - 1].id);
    struct events_stats stats;
    events_stats(fix.events, &stats);
    ck_assert_uint_eq(stats.delivered, 500);
    ck_assert_int_eq(stats.oldest_ms, 0);
}
END_TEST

static bool count_span(void *ctx, const Kist__Span *span)
{
    (void)span;
    ++*(size_t *)ctx;
    return true;
}

START_TEST(spans_come_with_settlements)
{
    size_t spans = 0;
    set_one_rule(target_a);
    start_events(0);
    put_many("x", 3);
    wait_queues(0, 0);
    ck_assert_int_eq(store_list_spans(fix.store, BYTES_LIT("0123456789abcdef0123456789abcdef"),
                                      count_span, &spans),
                     KIST_OK);
    ck_assert_uint_eq(spans, 3);
}
END_TEST

static bool hold_all(const Kist__Event *event)
{
    (void)event;
    return true;
}

START_TEST(the_window_is_bounded)
{
    fix.policy.concurrency = 7;
    fix.hold = hold_all;
    set_one_rule(target_a);
    put_many("x", 50);
    start_events(0);
    for (size_t i = 0; i < 50; i++) {
        wait_seen(i + 7 < 50 ? i + 7 : 50);
        ck_assert(release_held(EVENT_DELIVERED));
    }
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.in_flight_max, 7);
    ck_assert_uint_eq(fix.seen_count, 50);
}
END_TEST

static bool hold_a(const Kist__Event *event)
{
    return strcmp(event->target, target_a) == 0;
}

/* A target that never answers fills its own window, and the total one. */
START_TEST(a_full_target_holds_up_no_other)
{
    Kist__NotificationRule a = rule(target_a, ""), b = rule(target_b, ""), *rules[] = { &a, &b };
    set_rules(rules, 2);
    fix.hold = hold_a;
    put_many("x", 200);
    start_events(16);
    wait_seen(216);
    wait_queues(200, 0);
    size_t of_b = 0;
    for (size_t i = 0; i < fix.seen_count; i++)
        of_b += strcmp(fix.seen[i].target, target_b) == 0;
    ck_assert_uint_eq(of_b, 200);
    ck_assert_uint_eq(fix.held_count, 16);
    pthread_mutex_lock(&fix.lock);
    fix.hold = NULL;
    pthread_mutex_unlock(&fix.lock);
    while (release_held(EVENT_DELIVERED))
        continue;
    wait_queues(0, 0);
}
END_TEST

/* ---- restarts ---- */

/* Deliveries that were under way when the dispatcher ended come again; those that were settled
 * do not. */
START_TEST(unanswered_ones_come_again)
{
    set_one_rule(target_a);
    fix.policy.concurrency = 10;
    fix.hold = hold_all;
    put_many("x", 30);
    start_events(0);
    wait_seen(10);
    for (size_t i = 0; i < 5; i++)
        ck_assert(release_held(EVENT_DELIVERED));
    wait_queues(25, 0);
    stop_events(0);
    size_t before = fix.seen_count;
    ck_assert_uint_ge(before, 15);
    /* Answers that nobody waits for any more are forgotten. */
    while (release_held(EVENT_DELIVERED))
        continue;
    store_close(fix.store);
    fix.hold = NULL;
    start_store();
    wait_queues(25, 0);
    start_events(0);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, before + 25);
    for (size_t i = 5; i < 30; i++) {
        char key[40];
        snprintf(key, sizeof(key), "x%05zu", i);
        ck_assert_uint_ge(times_seen(key), 1);
    }
    ck_assert_uint_eq(times_seen("x00000"), 1);
    ck_assert_uint_eq(times_seen("x00029"), 1);
}
END_TEST

/* ---- failures ---- */

static enum event_outcome fails_once(const Kist__Event *event, unsigned attempt)
{
    (void)event;
    return attempt == 1 ? EVENT_FAILED : EVENT_DELIVERED;
}

START_TEST(failures_are_tried_again)
{
    fix.answer = fails_once;
    set_one_rule(target_a);
    put_many("x", 200);
    start_events(0);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, 400);
    for (size_t i = 0; i < fix.seen_count; i++)
        for (size_t k = i + 1; k < fix.seen_count; k++)
            if (strcmp(fix.seen[i].key, fix.seen[k].key) == 0) {
                ck_assert_str_eq(fix.seen[i].id, fix.seen[k].id);
                ck_assert_uint_eq(fix.seen[k].attempt, 2);
            }
}
END_TEST

static enum event_outcome first_fails_once(const Kist__Event *event, unsigned attempt)
{
    bool first = event->key.len == 6 && memcmp(event->key.data, "x00000", 6) == 0;
    return first && attempt == 1 ? EVENT_FAILED : EVENT_DELIVERED;
}

/* One at a time, each waiting for its settlement: long enough for a retry to come due. */
START_TEST(retries_do_not_wait_for_all_new_ones)
{
    size_t second = 0;
    fix.answer = first_fails_once;
    fix.policy.concurrency = 1;
    fix.policy.retry_base_ms = 1;
    set_one_rule(target_a);
    put_many("x", 1500);
    start_events(0);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, 1501);
    for (size_t i = 0; i < fix.seen_count; i++)
        if (fix.seen[i].attempt == 2)
            second = i;
    ck_assert_uint_gt(second, 0);
    ck_assert_uint_lt(second, 1400);
}
END_TEST

START_TEST(without_a_dead_letter_they_are_parked)
{
    char error[256] = "";
    fix.answer = always_fails;
    set_one_rule(target_a);
    put_many("x", 3);
    start_events(0);
    wait_queues(0, 3);
    ck_assert_uint_eq(fix.seen_count, 9); /* two retries each */
    ck_assert_int_eq(
        store_list_later_events(fix.store, bytes_str(target_a), 0, INT64_MAX, copy_error, error),
        KIST_OK);
    ck_assert_str_eq(error, "RetriesExhausted: the test says so");
}
END_TEST

START_TEST(a_rule_says_how_often)
{
    Kist__NotificationRule r = rule(target_a, ""), *rules[] = { &r };
    r.retries = 1; /* none */
    fix.answer = always_fails;
    set_rules(rules, 1);
    put_object("x");
    start_events(0);
    wait_queues(0, 1);
    ck_assert_uint_eq(fix.seen_count, 1);
}
END_TEST

START_TEST(refused_ones_are_not_tried_again)
{
    fix.answer = refuses;
    set_one_rule(target_a);
    put_object("x");
    start_events(0);
    wait_queues(0, 1);
    ck_assert_uint_eq(fix.seen_count, 1);
}
END_TEST

static unsigned absences;

static enum event_outcome absent_for_a_while(const Kist__Event *event, unsigned attempt)
{
    (void)event;
    ck_assert_uint_eq(attempt, 1); /* none is counted */
    return absences && absences-- ? EVENT_ABSENT : EVENT_DELIVERED;
}

START_TEST(an_absent_target_is_waited_for)
{
    absences = 3;
    fix.answer = absent_for_a_while;
    fix.policy.retries = 0;
    set_one_rule(target_a);
    put_many("x", 100);
    start_events(0);
    wait_queues(0, 0);
    ck_assert_uint_ge(fix.seen_count, 103);
    ck_assert_uint_le(fix.seen_count, 103 + 64);
}
END_TEST

static unsigned throttles;

static enum event_outcome no_room_at_first(const Kist__Event *event, unsigned attempt)
{
    (void)event;
    ck_assert_uint_eq(attempt, 1);
    return throttles && throttles-- ? EVENT_THROTTLED : EVENT_DELIVERED;
}

static enum event_outcome is_not_there(const Kist__Event *event, unsigned attempt)
{
    (void)event, (void)attempt;
    return EVENT_ABSENT;
}

/* While an absent target is tried, its events are stored and nobody is woken; another target's
 * are delivered; and when it is there, it gets what nobody was woken for. */
START_TEST(events_of_an_absent_target_wake_nobody)
{
    bool hears;
    Kist__NotificationRule a = rule(target_a, "a"), b = rule(target_b, "b"),
                           *rules[] = { &a, &b };
    set_rules(rules, 2);
    fix.answer = is_not_there;
    put_object("a1");
    start_events(0);
    wait_seen(1);
    pthread_mutex_lock(&fix.lock);
    fix.hold = hold_a;
    fix.answer = NULL;
    pthread_mutex_unlock(&fix.lock);
    wait_held(1);
    wait_deaf();
    put_object("a2");
    ck_assert(!has_news(&hears));
    put_object("b1");
    wait_queues(2, 0);
    has_news(&hears);
    ck_assert(!hears);
    pthread_mutex_lock(&fix.lock);
    fix.hold = NULL;
    pthread_mutex_unlock(&fix.lock);
    ck_assert(release_held(EVENT_DELIVERED));
    wait_queues(0, 0);
    has_news(&hears);
    ck_assert(hears);
}
END_TEST

START_TEST(throttled_ones_come_later)
{
    throttles = 3;
    fix.answer = no_room_at_first;
    fix.policy.retries = 0;
    set_one_rule(function_f);
    put_many("x", 20);
    start_events(0);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, 23);
}
END_TEST

static bool nothing_exists(struct bytes arn)
{
    (void)arn;
    return false;
}

START_TEST(a_target_that_is_gone_parks_them)
{
    fix.exists = nothing_exists;
    set_one_rule(target_a);
    put_many("x", 5);
    start_events(0);
    wait_queues(0, 5);
    ck_assert_uint_eq(fix.seen_count, 0);
    ck_assert_int_eq(events_check_target(fix.events, bytes_str(target_a), BYTES_LIT("b"),
                                         BYTES_LIT("000000000001")),
                     KIST_E_NOT_FOUND);
}
END_TEST

/* ---- order ---- */

static unsigned first_fails;

/* The first event of "bad" fails four times. */
static enum event_outcome bad_fails_first(const Kist__Event *event, unsigned attempt)
{
    (void)attempt;
    bool bad = event->key.len == 3 && memcmp(event->key.data, "bad", 3) == 0;
    return bad && first_fails && first_fails-- ? EVENT_FAILED : EVENT_DELIVERED;
}

START_TEST(order_is_kept_over_failures)
{
    first_fails = 4;
    fix.policy.retries = -1;
    fix.answer = bad_fails_first;
    set_ordered_rule();
    for (size_t i = 0; i < 100; i++) { /* more than a chain keeps */
        put_object("bad");
        if (i % 10 == 0)
            put_object("good");
    }
    start_events(0);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, 114);
    char first[37] = "";
    for (size_t i = 0, n = 0; i < fix.seen_count; i++) {
        if (strcmp(fix.seen[i].key, "bad") != 0)
            continue;
        if (n == 0)
            memcpy(first, fix.seen[i].id, sizeof(first));
        if (n <= 4)
            ck_assert_str_eq(fix.seen[i].id, first);
        else
            ck_assert_str_ne(fix.seen[i].id, first);
        n++;
    }
}
END_TEST

static bool hold_bad(const Kist__Event *event)
{
    return event->key.len == 3 && memcmp(event->key.data, "bad", 3) == 0;
}

START_TEST(one_of_a_key_at_a_time)
{
    fix.hold = hold_bad;
    set_ordered_rule();
    for (size_t i = 0; i < 80; i++)
        put_object("bad");
    put_many("x", 40);
    start_events(0);
    wait_seen(41);
    wait_queues(80, 0);
    ck_assert_uint_eq(fix.held_count, 1);
    /* Over a restart, too. */
    stop_events(0);
    while (release_held(EVENT_DELIVERED))
        continue;
    start_events(0);
    for (size_t i = 0; i < 80; i++) {
        wait_seen(42 + i);
        ck_assert_uint_eq(fix.held_count, 1);
        ck_assert(release_held(EVENT_DELIVERED));
    }
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.in_flight_max, 1);
    ck_assert_uint_eq(fix.seen_count, 121);
}
END_TEST

START_TEST(ordered_ones_wait_for_an_absent_target)
{
    absences = 2;
    fix.answer = absent_for_a_while;
    set_ordered_rule();
    for (size_t i = 0; i < 40; i++)
        put_object("bad");
    put_many("x", 40);
    start_events(0);
    wait_queues(0, 0);
    ck_assert_uint_ge(fix.seen_count, 82);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dispatch");
    TCase *c = tcase_create("dispatch");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 300);
    tcase_add_test(c, all_are_delivered_once);
    tcase_add_test(c, spans_come_with_settlements);
    tcase_add_test(c, the_window_is_bounded);
    tcase_add_test(c, a_full_target_holds_up_no_other);
    tcase_add_test(c, unanswered_ones_come_again);
    tcase_add_test(c, failures_are_tried_again);
    tcase_add_test(c, retries_do_not_wait_for_all_new_ones);
    tcase_add_test(c, without_a_dead_letter_they_are_parked);
    tcase_add_test(c, a_rule_says_how_often);
    tcase_add_test(c, refused_ones_are_not_tried_again);
    tcase_add_test(c, an_absent_target_is_waited_for);
    tcase_add_test(c, events_of_an_absent_target_wake_nobody);
    tcase_add_test(c, throttled_ones_come_later);
    tcase_add_test(c, a_target_that_is_gone_parks_them);
    tcase_add_test(c, order_is_kept_over_failures);
    tcase_add_test(c, one_of_a_key_at_a_time);
    tcase_add_test(c, ordered_ones_wait_for_an_absent_target);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
