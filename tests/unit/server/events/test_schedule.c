/* The clock of schedules: turns that do not get into each other's way, and times that were missed
 * long ago. */
#include <unistd.h>

#include "server/events/schedule_internal.h"
#include "tests/lib/commands.h"
#include "tests/lib/suite.h"

#define ACCOUNT "000000000001"
#define TARGET "arn:aws:sqs:us-east-1:" ACCOUNT ":clock"
#define DAY_MS ((int64_t)86400000)

static char dir[] = "/tmp/kist-unit-XXXXXX";
static struct store *store;
static int64_t now_ms;

static void setup(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    config.dir = dir;
    config.sync = false;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
    now_ms = store_env(store)->now_ms(store_env(store));
}

static void teardown(void)
{
    store_close(store);
    remove_dir(dir);
}

static Kist__Schedule schedule_of(const char *name, const char *expression, const char *revision)
{
    Kist__Schedule schedule = KIST__SCHEDULE__INIT;
    schedule.name = mut(name);
    schedule.group = mut("default");
    schedule.target = mut(TARGET);
    schedule.expression = mut(expression);
    schedule.revision = mut(revision);
    return schedule;
}

/* Its turn after that time is written, and the schedule itself. */
static void put(Kist__Schedule *schedule, int64_t after_ms, struct arena *arena)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords records = KIST__PUT_RECORDS__INIT;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *changes[2] = { &change };
    Kist__Record record = KIST__RECORD__INIT;
    struct schedule_turn turn;
    struct buf body;
    buf_init(&body, 1 << 16);
    ck_assert_int_eq(schema_pack(schedule, &body), KIST_OK);
    ck_assert_int_eq(schedule_turn_after(schedule, ACCOUNT, after_ms, arena, &turn), KIST_OK);
    change.kind = RECORD_SCHEDULE;
    change.account = mut(ACCOUNT);
    change.name = turn.turn.schedule;
    change.any = true;
    change.record = &record;
    record.body = schema_data(buf_bytes(&body));
    changes[1] = &turn.change;
    records.n_changes = 2;
    records.changes = changes;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &records;
    ck_assert_int_eq(store_commit(store, &command), KIST_OK);
    schedule_turn_release(&turn);
    buf_release(&body);
}

struct turns {
    unsigned past, future;
};

static bool count_turn(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct turns *t = ctx;
    (void)name;
    *(record->created_ms > now_ms ? &t->future : &t->past) += 1;
    return true;
}

/* What is there when all that was due has been told. */
static struct turns settled(void)
{
    struct turns t;
    for (int i = 0; i < 2000; i++) {
        t = (struct turns){ 0 };
        ck_assert_int_eq(store_list_records(store, RECORD_SCHEDULE_TURN, BYTES_EMPTY, BYTES_EMPTY,
                                            BYTES_EMPTY, count_turn, &t),
                         KIST_OK);
        if (!t.past)
            break;
        usleep(10000);
    }
    ck_assert_uint_eq(t.past, 0);
    return t;
}

static uint64_t waiting(struct arena *arena)
{
    Kist__EventQueue *q = NULL;
    return store_queue(store, BYTES_LIT(TARGET), arena, &q) == KIST_OK ? q->waiting : 0;
}

/* Else the clock, which has read a schedule before it was changed, writes over the turn that the
 * new one got meanwhile. */
START_TEST(revisions_have_turns_of_their_own)
{
    Kist__Schedule old = schedule_of("same", "rate(1 minute)", "a");
    Kist__Schedule new = schedule_of("same", "rate(1 minute)", "b");
    struct schedule_turn turns[2];
    struct arena arena;
    arena_init(&arena, 1 << 16);
    ck_assert_int_eq(schedule_turn_after(&old, ACCOUNT, now_ms, &arena, &turns[0]), KIST_OK);
    ck_assert_int_eq(schedule_turn_after(&new, ACCOUNT, now_ms, &arena, &turns[1]), KIST_OK);
    ck_assert_int_eq(turns[0].turn.due_ms, turns[1].turn.due_ms);
    ck_assert_str_ne(turns[0].change.name, turns[1].change.name);
    for (size_t i = 0; i < ARRAY_LEN(turns); i++)
        schedule_turn_release(&turns[i]);
    arena_release(&arena);
}
END_TEST

/* A server that was away for long tells of the last time once, and goes on. */
START_TEST(long_missed)
{
    static const char *const expressions[] = { "rate(90 seconds)", "rate(50 days)",
                                               "cron(0/2 * * * ? *)", "cron(0 3 ? * 2 *)" };
    char long_name[65];
    struct schedules *s;
    struct schedules_config config = { .store = store, .region = "us-east-1" };
    struct arena arena;
    arena_init(&arena, 1 << 20);
    memset(long_name, 'n', sizeof(long_name));
    long_name[64] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(expressions); i++) {
        long_name[0] = (char)('a' + i);
        Kist__Schedule one = schedule_of(long_name, expressions[i], "r");
        /* Such that the last time is neither now nor at the end of the first look back. */
        one.created_ms = now_ms - 100 * DAY_MS - 65000;
        put(&one, one.created_ms, &arena);
    }
    ck_assert_int_eq(schedules_open(&config, &s), KIST_OK);
    struct turns t = settled();
    schedules_close(s);
    ck_assert_uint_eq(t.future, ARRAY_LEN(expressions));
    ck_assert_uint_eq(waiting(&arena), ARRAY_LEN(expressions));
    arena_release(&arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schedule");
    TCase *t = tcase_create("schedule");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, revisions_have_turns_of_their_own);
    tcase_add_test(t, long_missed);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
