/* Events as apply() writes them: each change makes exactly the rows that its bucket's rules ask
 * for, refused changes make none, and what the dispatcher says moves them. */
#include "tests/unit/storage/object/events_fixture.h"

#define SEEN_MAX 64

/* ---- what waits ---- */

static struct seen {
    Kist__Event *event;
    struct bytes row;
    int64_t due_ms;
    char id[37];
} seen[SEEN_MAX];

static bool look(void *ctx, const struct event_item *item)
{
    size_t *n = ctx;
    struct buf packed;
    struct seen *s = &seen[*n];
    ck_assert_uint_lt(*n, SEEN_MAX);
    buf_init(&packed, 1 << 20);
    ck_assert_int_eq(schema_pack(item->event, &packed), KIST_OK);
    struct bytes copy = arena_copy(&arena, buf_bytes(&packed));
    buf_release(&packed);
    ck_assert_int_eq(schema_unpack(&kist__event__descriptor, copy, &arena, &s->event), KIST_OK);
    s->row = arena_copy(&arena, item->row);
    s->due_ms = item->due_ms;
    snprintf(s->id, sizeof(s->id), "%s", item->id);
    ++*n;
    return true;
}

/* All of a target's, parked ones last; its queue's row must say the same. */
static size_t waiting(const char *to)
{
    size_t n = 0, parked = 0;
    Kist__EventQueue *queue = NULL;
    ck_assert_int_eq(
        store_list_events(store, bytes_str(to), BYTES_EMPTY, ROW_DUE_PARKED, look, &n), KIST_OK);
    for (size_t i = 0; i < n; i++)
        parked += seen[i].due_ms == ROW_DUE_PARKED;
    enum kist_err err = store_queue(store, bytes_str(to), &arena, &queue);
    if (err == KIST_E_NOT_FOUND) {
        ck_assert_uint_eq(n, 0);
        return 0;
    }
    ck_assert_int_eq(err, KIST_OK);
    ck_assert(queue->waiting + queue->parked || queue->paused);
    ck_assert_uint_eq(queue->waiting, n - parked);
    ck_assert_uint_eq(queue->parked, parked);
    ck_assert_str_eq(queue->target, to);
    return n;
}

static enum kist_err settle_row(struct bytes row, Kist__Settlement how, int64_t due_ms,
                                uint32_t attempts)
{
    static char error[] = "why";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents request = KIST__CHANGE_EVENTS__INIT;
    Kist__SettledEvent one = KIST__SETTLED_EVENT__INIT, *settled[] = { &one };
    command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
    command.change_events = &request;
    one.row = schema_data(row);
    one.how = how;
    one.due_ms = due_ms;
    one.attempts = attempts;
    one.error = error;
    request.n_settled = 1;
    request.settled = settled;
    return commit(&command);
}

/* What waits for the target is looked at, and is gone after. */
static size_t take(const char *to)
{
    size_t n = waiting(to);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(settle_row(seen[i].row, KIST__SETTLEMENT__DONE, 0, 0), KIST_OK);
    struct seen kept[SEEN_MAX];
    memcpy(kept, seen, sizeof(kept));
    ck_assert_uint_eq(waiting(to), 0);
    memcpy(seen, kept, sizeof(kept));
    return n;
}

/* seen[i] is this. */
static void is_event(size_t i, enum event_kind kind, const char *key)
{
    const Kist__Event *e = seen[i].event;
    ck_assert_uint_eq(e->kind, kind);
    ck_assert(bytes_equal(schema_bytes(e->key), bytes_str(key)));
    ck_assert_str_eq(e->bucket, bucket_name);
    ck_assert_str_eq(e->owner, "o");
    ck_assert_str_eq(e->rule, rule_id);
    ck_assert_int_eq(seen[i].due_ms, 0);
    ck_assert_uint_eq(e->attempts, 0);
}

/* The last command made one event, of this kind. */
static const Kist__Event *made(enum event_kind kind, const char *key)
{
    struct apply_result of_change = result;
    ck_assert_uint_eq(take(target), 1);
    result = of_change;
    is_event(0, kind, key);
    ck_assert_uint_eq(seen[0].event->sequencer, result.index);
    ck_assert_str_eq(seen[0].event->cause->request_id, "request");
    return seen[0].event;
}

static void tell(void *ctx, const char *finding)
{
    printf("fsck: %s\n", finding);
    snprintf(ctx, 256, "%s", finding);
}

static uint64_t problems(char last[256])
{
    struct fsck_report report;
    last[0] = '\0';
    ck_assert_int_eq(store_reclaim(store), KIST_OK);
    ck_assert_int_eq(store_fsck(store, tell, last, &report), KIST_OK);
    return report.problems;
}

static void setup(void)
{
    static char request_id[] = "request";
    start_store_and_bucket();
    kist__cause__init(&cause);
    cause.request_id = request_id;
    cause.time_ms = 5;
    one_rule(rule_of(target, ALL_KINDS, "", ""));
}

static void teardown(void)
{
    (void)checked();
    stop_store();
}

/* ---- changes ---- */

START_TEST(test_created)
{
    ck_assert_int_eq(put("a", "hello"), KIST_OK);
    const Kist__Event *e = made(EVENT_CREATED_PUT, "a");
    ck_assert_uint_eq(e->size, 5);
    ck_assert_uint_eq(e->etag.len, 16);
    ck_assert_mem_eq(e->etag.data, result.etag, 16);
    ck_assert(!e->versioned);
    ck_assert_uint_eq(e->version, 0);
    ck_assert_int_eq(e->time_ms, 5);
    cause.form = true;
    ck_assert_int_eq(put("a", "form"), KIST_OK);
    made(EVENT_CREATED_POST, "a");
    cause.form = false;
    ck_assert_int_eq(put("empty", ""), KIST_OK);
    made(EVENT_CREATED_PUT, "empty");
    ck_assert_int_eq(copy_to("empty", result.data_id, "copy"), KIST_OK);
    made(EVENT_CREATED_COPY, "copy");
    ck_assert_int_eq(upload("parts", "in parts"), KIST_OK);
    e = made(EVENT_CREATED_COMPLETE, "parts");
    ck_assert_uint_eq(e->part_count, 1);
    ck_assert_uint_eq(e->size, 8);
    ck_assert_int_eq(append("log", 0, "one"), KIST_OK);
    made(EVENT_CREATED_PUT, "log");
    ck_assert_int_eq(append("log", 3, "two"), KIST_OK);
    e = made(EVENT_CREATED_PUT, "log");
    ck_assert_uint_eq(e->size, 6);
    ck_assert_int_eq(rename_to("log", "old-log"), KIST_OK);
    ck_assert_uint_eq(take(target), 2);
    is_event(0, EVENT_REMOVED_DELETE, "log");
    is_event(1, EVENT_CREATED_COPY, "old-log");
    ck_assert_str_ne(seen[0].id, seen[1].id);
}
END_TEST

START_TEST(test_other_changes)
{
    ck_assert_int_eq(put("a", "hello"), KIST_OK);
    made(EVENT_CREATED_PUT, "a");
    ck_assert_int_eq(tag("a", 1), KIST_OK);
    made(EVENT_TAGGING_PUT, "a");
    ck_assert_int_eq(tag("a", 0), KIST_OK);
    made(EVENT_TAGGING_DELETE, "a");
    ck_assert_int_eq(put_acl("a"), KIST_OK);
    made(EVENT_ACL_PUT, "a");
    ck_assert_int_eq(put_acl(""), KIST_OK); /* the bucket's */
    ck_assert_uint_eq(waiting(target), 0);
}
END_TEST

START_TEST(test_removed)
{
    const char *const names[] = { "a", "b", "none", "c" };
    const char *const etags[] = { NULL, "nothing like it", NULL, NULL };
    for (size_t i = 0; i < 4; i++)
        if (i != 2)
            ck_assert_int_eq(put(names[i], names[i]), KIST_OK);
    ck_assert_uint_eq(take(target), 3);
    ck_assert_int_eq(delete_many(4, names, VERSION_CURRENT, etags), KIST_OK);
    ck_assert_uint_eq(take(target), 2);
    is_event(0, EVENT_REMOVED_DELETE, "a");
    is_event(1, EVENT_REMOVED_DELETE, "c");
    ck_assert_uint_eq(seen[0].event->sequencer, seen[1].event->sequencer);
    ck_assert_int_eq(delete_one("a", VERSION_CURRENT), KIST_OK); /* is not there any more */
    ck_assert_uint_eq(waiting(target), 0);
    ck_assert_int_eq(delete_one("b", VERSION_CURRENT), KIST_OK);
    const Kist__Event *e = made(EVENT_REMOVED_DELETE, "b");
    ck_assert_int_eq(e->time_ms, 5);
}
END_TEST

START_TEST(test_versions)
{
    set_versioning(VERSIONING_ENABLED);
    ck_assert_int_eq(put("a", "one"), KIST_OK);
    const Kist__Event *e = made(EVENT_CREATED_PUT, "a");
    uint64_t first = result.version;
    ck_assert(e->versioned);
    ck_assert_uint_eq(e->version, first);
    ck_assert_int_eq(delete_one("a", VERSION_CURRENT), KIST_OK);
    e = made(EVENT_REMOVED_MARKER, "a");
    uint64_t marker = e->version;
    ck_assert_uint_ne(marker, first);
    ck_assert_int_eq(delete_one("a", first), KIST_OK);
    e = made(EVENT_REMOVED_DELETE, "a");
    ck_assert_uint_eq(e->version, first);
    ck_assert_int_eq(delete_one("a", first), KIST_OK); /* it is gone */
    ck_assert_uint_eq(waiting(target), 0);
    ck_assert_int_eq(delete_one("a", marker), KIST_OK);
    e = made(EVENT_REMOVED_DELETE, "a");
    ck_assert_uint_eq(e->version, marker);
    ck_assert_int_eq(delete_one("none", VERSION_CURRENT), KIST_OK);
    made(EVENT_REMOVED_MARKER, "none");
    set_versioning(VERSIONING_SUSPENDED);
    ck_assert_int_eq(put("s", "null version"), KIST_OK);
    e = made(EVENT_CREATED_PUT, "s");
    ck_assert(e->versioned);
    ck_assert_uint_eq(e->version, 0);
}
END_TEST

START_TEST(test_lifecycle)
{
    ck_assert_int_eq(put("a", "one"), KIST_OK);
    ck_assert_uint_eq(take(target), 1);
    expire_at_once();
    ck_assert_uint_eq(take(target), 1);
    is_event(0, EVENT_EXPIRED_DELETE, "a");
    ck_assert_ptr_null(seen[0].event->cause);
    ck_assert_int_gt(seen[0].event->time_ms, 5);
    set_versioning(VERSIONING_ENABLED);
    ck_assert_int_eq(put("v", "one"), KIST_OK);
    ck_assert_uint_eq(take(target), 1);
    uint64_t version = seen[0].event->version;
    expire_at_once(); /* a marker; what is below it stays for longer than this test */
    ck_assert_uint_eq(take(target), 1);
    is_event(0, EVENT_EXPIRED_MARKER, "v");
    uint64_t marker = seen[0].event->version;
    ck_assert_uint_ne(marker, version);
    store->config.lifecycle_offset_ms = 10 * (int64_t)NONCURRENT_MS;
    expire_at_once(); /* the version, and the marker that is alone then */
    ck_assert_uint_eq(take(target), 2);
    is_event(0, EVENT_EXPIRED_DELETE, "v");
    is_event(1, EVENT_EXPIRED_DELETE, "v");
    ck_assert_uint_eq(seen[0].event->version, version);
    ck_assert_uint_eq(seen[1].event->version, marker);
}
END_TEST

START_TEST(test_refused)
{
    ck_assert_int_eq(put("a", "hello"), KIST_OK);
    uint64_t id = result.data_id;
    ck_assert_uint_eq(take(target), 1);
    ck_assert_int_eq(put_if("a", "again", true), KIST_E_PRECONDITION);
    ck_assert_int_eq(append("a", 1, "x"), KIST_E_WRITE_OFFSET);
    ck_assert_int_eq(copy_to("a", id + 1, "b"), KIST_E_CONFLICT);
    ck_assert_int_eq(rename_to("none", "b"), KIST_E_NO_KEY);
    ck_assert_int_eq(tag("none", 1), KIST_E_NO_KEY);
    ck_assert_int_eq(put_acl("none"), KIST_E_NO_KEY);
    ck_assert_int_eq(put("", "x"), KIST_E_INVALID);
    ck_assert_uint_eq(waiting(target), 0);
}
END_TEST

/* ---- rules ---- */

START_TEST(test_matching)
{
    static const struct {
        const char *prefix, *suffix, *key;
        bool matches;
    } cases[] = {
        { "", "", "k", true },
        { "in/", "", "in/k", true },
        { "in/", "", "in", false },
        { "in/", "", "out/in/", false },
        { "", ".jpg", "a.jpg", true },
        { "", ".jpg", "a.jpgx", false },
        { "", ".jpg", "jpg", false },
        { "ab", "bc", "abc", true },
        { "ab", "bc", "ab", false },
        { "abc", "abc", "abc", true },
        { "in/", ".JPG", "in/a.jpg", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        one_rule(
            rule_of(target, (uint64_t)1 << EVENT_CREATED_PUT, cases[i].prefix, cases[i].suffix));
        ck_assert_int_eq(put(cases[i].key, "x"), KIST_OK);
        ck_assert_msg(take(target) == cases[i].matches, "case %zu", i);
        ck_assert_int_eq(delete_one(cases[i].key, VERSION_CURRENT), KIST_OK);
        ck_assert_uint_eq(waiting(target), 0); /* not that kind */
    }
    one_rule(rule_of(target, ALL_KINDS & ~((uint64_t)1 << EVENT_CREATED_PUT), "", ""));
    ck_assert_int_eq(put("k", "x"), KIST_OK);
    ck_assert_uint_eq(waiting(target), 0);
    set_config(CONFIG_NOTIFICATION, NULL, 0, NULL);
    ck_assert_int_eq(delete_one("k", VERSION_CURRENT), KIST_OK);
    ck_assert_uint_eq(waiting(target), 0);
}
END_TEST

START_TEST(test_several_rules)
{
    static char letter[] = "s3://dead/letters";
    Kist__NotificationRule a = rule_of(target, ALL_KINDS, "", "");
    Kist__NotificationRule b = rule_of(other_target, ALL_KINDS, "", "");
    Kist__NotificationRule c = rule_of(target, ALL_KINDS, "k", "");
    Kist__NotificationRule *rules[] = { &a, &b, &c };
    b.ordered = true;
    b.retries = 4;
    b.age_max_s = 60;
    b.dead_letter = letter;
    set_config(CONFIG_NOTIFICATION, NULL, 3, rules);
    ck_assert_int_eq(put("k", "x"), KIST_OK);
    ck_assert_uint_eq(take(target), 2);
    ck_assert_str_ne(seen[0].id, seen[1].id);
    ck_assert(!seen[0].event->ordered);
    ck_assert_uint_eq(take(other_target), 1);
    is_event(0, EVENT_CREATED_PUT, "k");
    ck_assert(seen[0].event->ordered);
    ck_assert_int_eq(seen[0].event->retries, 4);
    ck_assert_uint_eq(seen[0].event->age_max_s, 60);
    ck_assert_str_eq(seen[0].event->dead_letter, letter);
}
END_TEST

/* ---- settlements ---- */

START_TEST(test_moves)
{
    char first[37], second[37];
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_int_eq(put("b", "2"), KIST_OK);
    ck_assert_uint_eq(waiting(target), 2);
    memcpy(first, seen[0].id, 37);
    memcpy(second, seen[1].id, 37);
    struct bytes was = seen[0].row;
    ck_assert_int_eq(settle_row(was, KIST__SETTLEMENT__LATER, 1000, 1), KIST_OK);
    ck_assert_uint_eq(waiting(target), 2);
    ck_assert_str_eq(seen[0].id, second);
    ck_assert_str_eq(seen[1].id, first);
    ck_assert_int_eq(seen[1].due_ms, 1000);
    ck_assert_uint_eq(seen[1].event->attempts, 1);
    ck_assert_str_eq(seen[1].event->error, "why");
    /* said twice: the row is not there any more */
    ck_assert_int_eq(settle_row(was, KIST__SETTLEMENT__DONE, 0, 0), KIST_OK);
    ck_assert_uint_eq(waiting(target), 2);
    ck_assert_int_eq(settle_row(seen[1].row, KIST__SETTLEMENT__PARKED, 0, 2), KIST_OK);
    ck_assert_uint_eq(waiting(target), 2); /* and the queue counts it as parked */
    ck_assert_int_eq(seen[1].due_ms, ROW_DUE_PARKED);
    ck_assert_str_eq(seen[1].id, first);
    struct bytes parked = seen[1].row;
    ck_assert_int_eq(settle_row(parked, KIST__SETTLEMENT__PARKED, 0, 3), KIST_OK);
    ck_assert_uint_eq(waiting(target), 2);
    ck_assert_uint_eq(seen[1].event->attempts, 3);
    ck_assert_int_eq(settle_row(parked, KIST__SETTLEMENT__LATER, 0, 0), KIST_OK); /* redrive */
    ck_assert_uint_eq(waiting(target), 2);
    ck_assert_str_eq(seen[0].id, first); /* in its old place */
    ck_assert_int_eq(seen[0].due_ms, 0);
    ck_assert_int_eq(settle_row(seen[0].row, KIST__SETTLEMENT__PARKED, 0, 1), KIST_OK);
    ck_assert_uint_eq(waiting(target), 2);
    ck_assert_int_eq(settle_row(seen[1].row, KIST__SETTLEMENT__DONE, 0, 0), KIST_OK);
    ck_assert_uint_eq(take(target), 1);
    ck_assert_str_eq(seen[0].id, second);
}
END_TEST

START_TEST(test_ordered_stays)
{
    Kist__NotificationRule rule = rule_of(target, ALL_KINDS, "", "");
    rule.ordered = true;
    one_rule(rule);
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_int_eq(put("a", "2"), KIST_OK);
    ck_assert_uint_eq(waiting(target), 2);
    struct bytes row = seen[0].row;
    ck_assert_int_eq(settle_row(row, KIST__SETTLEMENT__LATER, 5000, 1), KIST_OK);
    ck_assert_uint_eq(waiting(target), 2);
    ck_assert(bytes_equal(seen[0].row, row));
    ck_assert_int_eq(seen[0].event->not_before_ms, 5000);
    ck_assert_int_eq(seen[0].due_ms, 0);
    ck_assert_uint_eq(take(target), 2);
    ck_assert_uint_lt(seen[0].event->sequencer, seen[1].event->sequencer);
}
END_TEST

START_TEST(test_strange_rows)
{
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_uint_eq(waiting(target), 1);
    struct bytes row = arena_copy(&arena, seen[0].row);
    static const uint8_t bucket_row[] = "Bb";
    ck_assert_int_eq(settle_row(BYTES_EMPTY, KIST__SETTLEMENT__DONE, 0, 0), KIST_E_INVALID);
    ck_assert_int_eq(settle_row(bytes_of(bucket_row, 2), KIST__SETTLEMENT__DONE, 0, 0),
                     KIST_E_INVALID);
    ck_assert_int_eq(settle_row(bytes_of(row.ptr, row.len - 1), KIST__SETTLEMENT__DONE, 0, 0),
                     KIST_E_INVALID);
    ck_assert_int_eq(settle_row(row, KIST__SETTLEMENT__LATER, -5, 1), KIST_OK);
    ck_assert_uint_eq(take(target), 1);
}
END_TEST

static enum kist_err add(enum event_kind kind, char *to, char *id)
{
    static char payload[] = "{}";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents request = KIST__CHANGE_EVENTS__INIT;
    Kist__Event event = KIST__EVENT__INIT, *added[] = { &event };
    command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
    command.change_events = &request;
    event.kind = kind;
    event.target = to;
    event.id = id;
    event.payload = data_of(payload);
    request.n_added = 1;
    request.added = added;
    return commit(&command);
}

START_TEST(test_added)
{
    static char id[] = "01234567-89ab-4def-8123-456789abcdef", none[1];
    ck_assert_int_eq(add(EVENT_INVOCATION, target, id), KIST_OK);
    ck_assert(result.made_event);
    ck_assert_int_eq(add(EVENT_TEST, target, none), KIST_OK);
    ck_assert_int_eq(add(EVENT_KIND_COUNT, target, none), KIST_E_INVALID);
    ck_assert_int_eq(add(EVENT_TEST, none, none), KIST_E_INVALID);
    ck_assert_uint_eq(take(target), 2);
    ck_assert_str_eq(seen[0].id, id);
    ck_assert_uint_eq(strlen(seen[1].id), 36);
}
END_TEST

static enum kist_err pause_queue(char *to, bool paused)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PauseEvents request = KIST__PAUSE_EVENTS__INIT;
    command.of_case = KIST__COMMAND__OF_PAUSE_EVENTS;
    command.pause_events = &request;
    request.target = to;
    request.paused = paused;
    return commit(&command);
}

START_TEST(test_pause)
{
    static char none[1];
    Kist__EventQueue *queue = NULL;
    ck_assert_int_eq(pause_queue(none, true), KIST_E_INVALID);
    ck_assert_int_eq(pause_queue(target, true), KIST_OK);
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_uint_eq(take(target), 1);
    ck_assert_int_eq(store_queue(store, bytes_str(target), &arena, &queue), KIST_OK);
    ck_assert(queue->paused); /* also when it is empty */
    ck_assert_int_eq(put("b", "1"), KIST_OK);
    ck_assert_int_eq(pause_queue(target, false), KIST_OK);
    ck_assert(result.made_event);
    ck_assert_uint_eq(take(target), 1);
    ck_assert_int_eq(pause_queue(target, true), KIST_OK);
    ck_assert_int_eq(pause_queue(target, false), KIST_OK);
    ck_assert_int_eq(store_queue(store, bytes_str(target), &arena, &queue), KIST_E_NOT_FOUND);
}
END_TEST

/* ---- fsck ---- */

START_TEST(test_fsck)
{
    char last[256];
    struct row_key row;
    Kist__EventQueue queue = KIST__EVENT_QUEUE__INIT;
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_uint_eq(problems(last), 0);
    row_queue(&row, row_queue_id(bytes_str(target)));
    queue.target = target;
    queue.waiting = 2;
    overwrite(row_bytes(&row), &queue);
    ck_assert_uint_eq(problems(last), 1);
    ck_assert_ptr_nonnull(strstr(last, "2 wait and 0 are parked, 1 and 0 counted"));
    queue.waiting = 0;
    queue.parked = 1;
    overwrite(row_bytes(&row), &queue);
    ck_assert_uint_eq(problems(last), 1);
    overwrite(row_bytes(&row), NULL);
    ck_assert_uint_eq(problems(last), 1);
    ck_assert_str_eq(last, "1 events belong to no queue");
    queue.waiting = 1;
    queue.parked = 0;
    queue.target = other_target;
    overwrite(row_bytes(&row), &queue); /* in the wrong place */
    ck_assert_uint_ge(problems(last), 1);
    queue.target = target;
    overwrite(row_bytes(&row), &queue);
    ck_assert_uint_eq(take(target), 1);
    queue.waiting = 0;
    overwrite(row_bytes(&row), &queue); /* empty, and left behind */
    ck_assert_uint_eq(problems(last), 1);
    overwrite(row_bytes(&row), NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("events");
    TCase *t = tcase_create("events");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_created);
    tcase_add_test(t, test_other_changes);
    tcase_add_test(t, test_removed);
    tcase_add_test(t, test_versions);
    tcase_add_test(t, test_lifecycle);
    tcase_add_test(t, test_refused);
    tcase_add_test(t, test_matching);
    tcase_add_test(t, test_several_rules);
    tcase_add_test(t, test_moves);
    tcase_add_test(t, test_ordered_stays);
    tcase_add_test(t, test_strange_rows);
    tcase_add_test(t, test_added);
    tcase_add_test(t, test_pause);
    tcase_add_test(t, test_fsck);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
