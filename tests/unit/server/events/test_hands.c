/* What people do to events that wait, or that they want once more: pauses, redrives, replays. */
#include "deaf.h"
#include "storage/index/rows.h"

/* ---- pauses and redrives ---- */

static void pause_target(char *target, bool paused)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PauseEvents pause = KIST__PAUSE_EVENTS__INIT;
    pause.target = target;
    pause.paused = paused;
    command.of_case = KIST__COMMAND__OF_PAUSE_EVENTS;
    command.pause_events = &pause;
    ck_assert_int_eq(store_commit(fix.store, &command), KIST_OK);
}

START_TEST(a_paused_target_gets_none)
{
    Kist__NotificationRule a = rule(target_a, ""), b = rule(target_b, ""), *rules[] = { &a, &b };
    set_rules(rules, 2);
    pause_target(target_a, true);
    start_events(0);
    put_many("x", 10);
    wait_seen(10);
    wait_queues(10, 0);
    for (size_t i = 0; i < fix.seen_count; i++)
        ck_assert_str_eq(fix.seen[i].target, target_b);
    pause_target(target_a, false);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, 20);
}
END_TEST

START_TEST(events_of_a_paused_target_wake_nobody)
{
    bool hears;
    set_one_rule(target_a);
    pause_target(target_a, true);
    put_object("x1");
    start_events(0);
    wait_deaf();
    put_object("x2");
    ck_assert(!has_news(&hears));
    pause_target(target_a, false);
    wait_queues(0, 0);
    has_news(&hears);
    ck_assert(hears);
}
END_TEST

/* All parked ones, again from the start: as kist events redrive does. */
static bool collect_row(void *ctx, const struct event_item *item)
{
    Kist__ChangeEvents *c = ctx;
    Kist__SettledEvent *s = calloc(1, sizeof(*s));
    uint8_t *row = malloc(item->row.len);
    ck_assert(s && row && c->n_settled < 100);
    kist__settled_event__init(s);
    memcpy(row, item->row.ptr, item->row.len);
    s->row = schema_data(bytes_of(row, item->row.len));
    s->how = KIST__SETTLEMENT__LATER;
    s->due_ms = s->redriven_ms = env_real()->now_ms(env_real());
    c->settled[c->n_settled++] = s;
    return true;
}

static void redrive(const char *target)
{
    Kist__SettledEvent *list[100];
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents change = KIST__CHANGE_EVENTS__INIT;
    change.settled = list;
    ck_assert_int_eq(store_list_later_events(fix.store, bytes_str(target), ROW_DUE_PARKED - 1,
                                             ROW_DUE_PARKED, collect_row, &change),
                     KIST_OK);
    command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
    command.change_events = &change;
    ck_assert_int_eq(store_commit(fix.store, &command), KIST_OK);
    for (size_t i = 0; i < change.n_settled; i++) {
        free(list[i]->row.data);
        free(list[i]);
    }
    events_reread(fix.events);
}

START_TEST(too_old_until_redriven)
{
    char error[256] = "";
    fix.age_ms = 7200000;
    set_one_rule(target_a);
    put_many("x", 20);
    start_events(0);
    wait_queues(0, 20);
    ck_assert_uint_eq(fix.seen_count, 0);
    ck_assert_int_eq(
        store_list_later_events(fix.store, bytes_str(target_a), 0, INT64_MAX, copy_error, error),
        KIST_OK);
    ck_assert_str_eq(error, "EventAgeExceeded: too old to be delivered");
    redrive(target_a);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, 20);
    ck_assert_uint_eq(fix.seen[0].attempt, 1);
}
END_TEST

/* Ordered ones come back to their place, which the cursor has passed. */
START_TEST(ordered_ones_are_redriven)
{
    fix.answer = refuses;
    set_ordered_rule();
    for (size_t i = 0; i < 50; i++)
        put_object("bad");
    start_events(0);
    wait_queues(0, 50);
    pthread_mutex_lock(&fix.lock);
    fix.answer = NULL;
    pthread_mutex_unlock(&fix.lock);
    redrive(target_a);
    wait_queues(0, 0);
    ck_assert_uint_eq(fix.seen_count, 100);
    for (size_t i = 0; i < 50; i++)
        ck_assert_str_eq(fix.seen[i].id, fix.seen[50 + i].id);
}
END_TEST

/* ---- replays ---- */

static void begin_replay(const char *prefix)
{
    static char id[] = "replay-1", bucket[] = "b";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords put = KIST__PUT_RECORDS__INIT;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *changes[] = { &change };
    Kist__Record record = KIST__RECORD__INIT;
    Kist__EventReplay replay = KIST__EVENT_REPLAY__INIT;
    struct buf body;
    buf_init(&body, 4096);
    replay.id = id;
    replay.bucket = bucket;
    replay.prefix = schema_data(bytes_str(prefix));
    replay.target = target_a;
    ck_assert_int_eq(schema_pack(&replay, &body), KIST_OK);
    record.body = schema_data(buf_bytes(&body));
    change.kind = RECORD_BACKFILL;
    change.name = id;
    change.record = &record;
    put.n_changes = 1;
    put.changes = changes;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &put;
    ck_assert_int_eq(store_commit(fix.store, &command), KIST_OK);
    buf_release(&body);
}

static bool replay_is_done(uint64_t *events)
{
    struct arena arena;
    Kist__Record *record = NULL;
    Kist__EventReplay *replay = NULL;
    arena_init(&arena, 1 << 20);
    ck_assert_int_eq(store_record(fix.store, RECORD_BACKFILL, BYTES_EMPTY, BYTES_LIT("replay-1"),
                                  &arena, &record),
                     KIST_OK);
    ck_assert_int_eq(schema_unpack(&kist__event_replay__descriptor, schema_bytes(record->body),
                                   &arena, &replay),
                     KIST_OK);
    bool done = replay->done;
    *events = replay->events;
    arena_release(&arena);
    return done;
}

/* The dispatcher ends again and again; each object has its event all the same, and one. */
START_TEST(a_replay_goes_on_where_it_was)
{
    uint64_t events = 0;
    put_many("in/", 700);
    put_many("out/", 10);
    begin_replay("in/");
    for (size_t i = 0; !replay_is_done(&events); i++) {
        ck_assert_uint_lt(i, 10000);
        start_events(0);
        stop_events(0);
    }
    ck_assert_uint_eq(events, 700);
    start_events(0);
    wait_queues(0, 0);
    char keys[700] = "";
    for (size_t i = 0; i < fix.seen_count; i++) {
        unsigned long n = strtoul(fix.seen[i].key + 3, NULL, 10);
        ck_assert_int_eq(strncmp(fix.seen[i].key, "in/", 3), 0);
        ck_assert_uint_lt(n, 700);
        keys[n] = 1;
    }
    for (size_t i = 0; i < 700; i++)
        ck_assert_int_eq(keys[i], 1);
}
END_TEST

START_TEST(a_replay_of_a_bucket_that_is_gone_ends)
{
    static char bucket[] = "b";
    uint64_t events = 0;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteBucket drop = KIST__DELETE_BUCKET__INIT;
    begin_replay("");
    drop.name = bucket;
    command.of_case = KIST__COMMAND__OF_DELETE_BUCKET;
    command.delete_bucket = &drop;
    ck_assert_int_eq(store_commit(fix.store, &command), KIST_OK);
    for (size_t i = 0; !replay_is_done(&events); i++) {
        ck_assert_uint_lt(i, 10000);
        start_events(0);
        stop_events(0);
    }
    ck_assert_uint_eq(events, 0);
}
END_TEST

/* ---- replays, while the store cannot be read ---- */

static sem_t unreadable, looked;
static _Atomic bool first_delivered;

static void post(struct note *n)
{
    (void)n;
    sem_post(&looked);
}

/* What the dispatcher's thread began before, it has ended twice. */
static void await_rounds(void)
{
    for (int i = 0; i < 2; i++) {
        struct note note = { .run = post };
        events_post(fix.events, &note);
        while (sem_wait(&looked) != 0)
            continue;
    }
}

/* One reader within the other, until the store has no more of them. */
static bool use_up_readers(void *ctx, const Kist__EventQueue *queue)
{
    void (*meanwhile)(void) = *(void (**)(void))ctx;
    (void)queue;
    enum kist_err err = store_list_queues(fix.store, use_up_readers, ctx);
    if (err == KIST_E_BUSY)
        meanwhile();
    else
        ck_assert_int_eq(err, KIST_OK);
    return false;
}

static void while_unreadable(void (*meanwhile)(void))
{
    ck_assert_int_eq(store_list_queues(fix.store, use_up_readers, &meanwhile), KIST_OK);
}

static void start_unreadable(void)
{
    start_events(0);
    await_rounds();
}

/* The dispatcher starts, and cannot see which replays there are. */
START_TEST(a_replay_that_cannot_be_read_is_read_later)
{
    sem_init(&looked, 0, 0);
    set_one_rule(target_a);
    put_many("x", 1);
    begin_replay("x");
    while_unreadable(start_unreadable);
    wait_seen(2);
    wait_queues(0, 0);
}
END_TEST

/* The first event holds the dispatcher's thread up until the store cannot be read. */
static enum event_outcome wait_for_it(const Kist__Event *event, unsigned attempt)
{
    (void)event, (void)attempt;
    if (!atomic_exchange(&first_delivered, true)) {
        sem_post(&looked);
        while (sem_wait(&unreadable) != 0)
            continue;
    }
    return EVENT_DELIVERED;
}

static void go_on_unreadable(void)
{
    sem_post(&unreadable);
    await_rounds();
}

START_TEST(a_replay_whose_step_fails_goes_on)
{
    uint64_t events = 0;
    sem_init(&looked, 0, 0);
    sem_init(&unreadable, 0, 0);
    fix.answer = wait_for_it;
    set_one_rule(target_a);
    put_many("x", 1);
    begin_replay("x");
    start_events(0);
    while (sem_wait(&looked) != 0)
        continue;
    while_unreadable(go_on_unreadable);
    wait_seen(2);
    wait_queues(0, 0);
    ck_assert(replay_is_done(&events));
    ck_assert_uint_eq(events, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hands");
    TCase *c = tcase_create("hands");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 300);
    tcase_add_test(c, a_paused_target_gets_none);
    tcase_add_test(c, events_of_a_paused_target_wake_nobody);
    tcase_add_test(c, too_old_until_redriven);
    tcase_add_test(c, ordered_ones_are_redriven);
    tcase_add_test(c, a_replay_goes_on_where_it_was);
    tcase_add_test(c, a_replay_of_a_bucket_that_is_gone_ends);
    tcase_add_test(c, a_replay_that_cannot_be_read_is_read_later);
    tcase_add_test(c, a_replay_whose_step_fails_goes_on);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
