/* What is told of events that ended: dead letters, successes, and that neither goes round for
 * ever.
 */
#include "fixture.h"

static bool copy_key(void *ctx, struct bytes key, const Kist__Object *object)
{
    (void)object;
    snprintf(ctx, 200, "%.*s", (int)key.len, (const char *)key.ptr);
    return true;
}

static size_t list_letters(const char *bucket, char last[200])
{
    struct arena arena;
    struct list_query query = { .prefix = BYTES_LIT("dead/"), .max = 1000 };
    struct list_page page = { .each = copy_key, .ctx = last };
    arena_init(&arena, 1 << 20);
    last[0] = 0;
    ck_assert_int_eq(store_list(fix.store, bytes_str(bucket), &query, &arena, &page), KIST_OK);
    arena_release(&arena);
    return last[0] != 0;
}

START_TEST(dead_letters_go_into_a_bucket)
{
    char key[200], text[8192];
    create_bucket("letters");
    fix.policy.dead_letter = "s3://letters/dead";
    fix.answer = always_fails;
    set_one_rule(function_f);
    put_object("a b");
    start_events(0);
    wait_queues(0, 0);
    ck_assert(list_letters("letters", key));
    ck_assert_ptr_nonnull(strstr(key, "/f/"));
    ck_assert_ptr_nonnull(strstr(key, fix.seen[0].id));
    ck_assert(read_object("letters", key, text, sizeof(text)));
    ck_assert_ptr_nonnull(strstr(text, "\"condition\":\"RetriesExhausted\""));
    ck_assert_ptr_nonnull(strstr(text, "\"approximateInvokeCount\":3"));
    ck_assert_ptr_nonnull(strstr(text, "\"functionArn\":\"" FUNCTION_ARN "f\""));
    ck_assert_ptr_nonnull(strstr(text, "\"key\":\"a+b\""));
    ck_assert_ptr_nonnull(strstr(text, "\"errorMessage\":\"the test says so\""));
}
END_TEST

START_TEST(a_dead_letter_bucket_that_is_gone_parks_them)
{
    fix.policy.dead_letter = "s3://nowhere/dead";
    fix.answer = always_fails;
    set_one_rule(target_a);
    put_many("x", 4);
    start_events(0);
    wait_queues(0, 4);
}
END_TEST

static enum event_outcome f_fails(const Kist__Event *event, unsigned attempt)
{
    (void)attempt;
    return strcmp(event->target, function_f) == 0 ? EVENT_REFUSED : EVENT_DELIVERED;
}

START_TEST(dead_letters_go_to_another_target)
{
    Kist__NotificationRule r = rule(function_f, ""), *rules[] = { &r };
    r.dead_letter = target_b;
    fix.answer = f_fails;
    set_rules(rules, 1);
    put_object("x");
    start_events(0);
    wait_seen(2);
    wait_queues(0, 0);
    ck_assert_str_eq(fix.seen[1].target, target_b);
    ck_assert_ptr_nonnull(strstr(fix.payload, "\"condition\":\"Refused\""));
}
END_TEST

START_TEST(success_is_told)
{
    fix.policy.on_success = target_b;
    set_one_rule(function_f);
    put_object("x");
    start_events(0);
    wait_seen(2);
    pthread_mutex_lock(&fix.lock);
    fix.policy.on_success = NULL; /* or b tells itself, until it counts as a loop */
    pthread_mutex_unlock(&fix.lock);
    events_target_changed(fix.events, bytes_str(target_b));
    wait_queues(0, 0);
    ck_assert_str_eq(fix.seen[1].target, target_b);
    ck_assert_ptr_nonnull(strstr(fix.payload, "\"condition\":\"Success\""));
    ck_assert_ptr_nonnull(strstr(fix.payload, "\"responsePayload\":{\"answer\":42}"));
}
END_TEST

START_TEST(loops_end_after_sixteen_steps)
{
    set_one_rule(function_f);
    put_object_of("b", "fifteen", 15);
    put_object_of("b", "sixteen", 16);
    start_events(0);
    wait_queues(0, 1);
    ck_assert_uint_eq(fix.seen_count, 1);
    ck_assert_str_eq(fix.seen[0].key, "fifteen");
}
END_TEST

/* A rule that tells a failing target of its own dead letters comes to an end. */
START_TEST(dead_letters_about_dead_letters_end)
{
    Kist__NotificationRule r = rule(function_f, ""), *rules[] = { &r };
    fix.policy.dead_letter = "s3://b/dead";
    fix.policy.retries = 0;
    fix.answer = refuses;
    set_rules(rules, 1);
    put_object("x");
    start_events(0);
    wait_queues(0, 1);
    ck_assert_uint_eq(fix.seen_count, 16);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("letters");
    TCase *c = tcase_create("letters");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 300);
    tcase_add_test(c, dead_letters_go_into_a_bucket);
    tcase_add_test(c, a_dead_letter_bucket_that_is_gone_parks_them);
    tcase_add_test(c, dead_letters_go_to_another_target);
    tcase_add_test(c, success_is_told);
    tcase_add_test(c, loops_end_after_sixteen_steps);
    tcase_add_test(c, dead_letters_about_dead_letters_end);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
