/* Rows that cannot be read: a command that meets one changes nothing, and what works through many
 * rows passes it over. */
#include "storage/index/lifecycle.h"
#include "tests/unit/storage/object/events_fixture.h"

static uint64_t bucket_id;

static void setup(void)
{
    (void)target, (void)other_target;
    kist__cause__init(&cause);
    start_store_and_bucket();
    bucket_id = log_last_index(store->log);
}

static bool is_there(const char *key)
{
    struct object_reader *r = open_reader(key);
    object_reader_close(r);
    return r != NULL;
}

static size_t rows_of(enum row_table table)
{
    struct row_key start;
    struct kv_read read;
    struct kv_cursor *cursor;
    struct bytes key, value;
    size_t count = 0;
    row_start(&start, table);
    ck_assert_int_eq(kv_read_begin(store->kv, &read), KIST_OK);
    ck_assert_int_eq(kv_cursor_open(&read, &cursor), KIST_OK);
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&start), &key, &value);
    for (; err == KIST_OK && key.ptr[0] == table; err = kv_cursor_next(cursor, &key, &value))
        count++;
    kv_cursor_close(cursor);
    kv_read_end(&read);
    return count;
}

/* ---- whole or nothing ---- */

/* The statistics are what a command writes last. */
START_TEST(test_nothing_is_half_done)
{
    struct row_key stats;
    static const char *const names[] = { "a", "b" };
    ck_assert_int_eq(put("a", "first"), KIST_OK);
    row_stats(&stats, bucket_id);
    struct bytes was = damage(row_bytes(&stats));
    ck_assert_int_eq(put("b", "second"), KIST_E_CORRUPT);
    ck_assert(!is_there("b"));
    ck_assert_int_eq(put("a", "second"), KIST_E_CORRUPT);
    ck_assert_int_eq(append("a", 5, "second"), KIST_E_CORRUPT);
    ck_assert_int_eq(delete_many(2, names, VERSION_CURRENT, NULL), KIST_E_CORRUPT);
    ck_assert(is_there("a"));
    ck_assert_int_ne(upload("a", "second"), KIST_OK);
    overwrite_bytes(row_bytes(&stats), &was);
    struct fsck_report report = checked();
    ck_assert_uint_eq(report.objects, 1);
    ck_assert_uint_eq(report.extents, 1); /* the refused bytes were given back */
}
END_TEST

/* The same again from the log alone. */
START_TEST(test_replay_is_the_same)
{
    struct row_key stats;
    ck_assert_int_eq(put("a", "first"), KIST_OK);
    row_stats(&stats, bucket_id);
    (void)damage(row_bytes(&stats));
    ck_assert_int_eq(store_checkpoint(store), KIST_OK);
    ck_assert_int_eq(put("b", "second"), KIST_E_CORRUPT);
    ck_assert_int_eq(create_bucket("other", "o"), KIST_OK);
    size_t freed = rows_of(ROW_FREED), extents = rows_of(ROW_EXTENT);
    log_close(store->log); /* and no checkpoint */
    store->log = NULL;
    store_close(store);
    open_store();
    ck_assert(!is_there("b"));
    ck_assert(is_there("a"));
    ck_assert_uint_eq(rows_of(ROW_FREED), freed);
    ck_assert_uint_eq(rows_of(ROW_EXTENT), extents);
}
END_TEST

/* ---- passed over ---- */

static void rule_for_all(void)
{
    static char id[] = "all";
    Kist__Lifecycle lifecycle = KIST__LIFECYCLE__INIT;
    Kist__LifecycleRule rule = KIST__LIFECYCLE_RULE__INIT, *rules[] = { &rule };
    rule.id = id;
    rule.days = 1;
    lifecycle.day_ms = 1;
    lifecycle.n_rules = 1;
    lifecycle.rules = rules;
    set_config(CONFIG_LIFECYCLE, &lifecycle, 0, NULL);
    ck_assert_int_eq(store_expire(store), KIST_OK);
}

START_TEST(test_expiry_goes_on)
{
    struct row_key object;
    rule_for_all();
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_int_eq(put("b", "2"), KIST_OK);
    row_object(&object, bucket_id, bytes_str("a"));
    struct bytes was = damage(row_bytes(&object));
    ck_assert_int_eq(store_expire(store), KIST_OK);
    ck_assert(!is_there("b"));
    ck_assert_uint_eq(rows_of(ROW_DUE), 1); /* again in a day */
    overwrite_bytes(row_bytes(&object), &was);
    ck_assert(is_there("a"));
    (void)checked();
}
END_TEST

/* The reminder itself; and that it was there at all. */
START_TEST(test_damaged_reminders_go)
{
    struct row_key due, backfill;
    struct bytes broken = BYTES_LIT("\377");
    rule_for_all();
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_int_eq(put("b", "2"), KIST_OK);
    row_due(&due, 3, bucket_id, bytes_str("a"), result.index - 1, LIFECYCLE_CURRENT);
    (void)damage(row_bytes(&due));
    ck_assert_int_eq(store_expire(store), KIST_OK);
    ck_assert(is_there("a"));
    ck_assert(!is_there("b"));
    ck_assert_uint_eq(rows_of(ROW_DUE), 0);
    row_backfill(&backfill, bucket_id);
    overwrite_bytes(row_bytes(&backfill), &broken);
    ck_assert_int_eq(put("c", "3"), KIST_OK);
    ck_assert_int_eq(store_expire(store), KIST_OK);
    ck_assert(!is_there("c"));
    ck_assert_uint_eq(rows_of(ROW_BACKFILL), 0);
}
END_TEST

START_TEST(test_new_rules_go_on)
{
    struct row_key object;
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_int_eq(put("b", "2"), KIST_OK);
    row_object(&object, bucket_id, bytes_str("a"));
    struct bytes was = damage(row_bytes(&object));
    rule_for_all();
    ck_assert(!is_there("b"));
    ck_assert_uint_eq(rows_of(ROW_BACKFILL), 0);
    overwrite_bytes(row_bytes(&object), &was);
    ck_assert(is_there("a"));
}
END_TEST

/* Rules that could not be read are read again, not taken for none. */
START_TEST(test_rules_are_read_again)
{
    struct row_key config;
    rule_for_all();
    store_close(store);
    open_store(); /* without what was cached */
    row_config(&config, bucket_id, CONFIG_LIFECYCLE);
    struct bytes was = damage(row_bytes(&config));
    ck_assert_int_eq(put("a", "1"), KIST_E_CORRUPT);
    ck_assert_int_eq(put("a", "1"), KIST_E_CORRUPT);
    overwrite_bytes(row_bytes(&config), &was);
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_uint_eq(rows_of(ROW_DUE), 1);
}
END_TEST

/* ---- chunks ---- */

#define LARGE ((size_t)300000)

/* Large enough to be a chunk, of this letter; its hash. */
static void put_chunk(const char *key, char letter, uint8_t hash[32])
{
    char *body = malloc(LARGE + 1);
    ck_assert_ptr_nonnull(body);
    memset(body, letter, LARGE);
    body[LARGE] = '\0';
    digest_once(DIGEST_SHA256, bytes_str(body), hash);
    ck_assert_int_eq(put(key, body), KIST_OK);
    free(body);
}

START_TEST(test_garbage_goes_on)
{
    struct row_key chunk;
    uint8_t x[32], y[32];
    put_chunk("x", 'x', x);
    put_chunk("y", 'y', y);
    ck_assert_int_eq(delete_one("x", VERSION_CURRENT), KIST_OK);
    ck_assert_int_eq(delete_one("y", VERSION_CURRENT), KIST_OK);
    row_chunk(&chunk, bytes_of(x, sizeof(x)));
    struct bytes was = damage(row_bytes(&chunk));
    ck_assert_int_eq(store_reclaim(store), KIST_OK);
    ck_assert_uint_eq(rows_of(ROW_EXTENT), 1);
    ck_assert_uint_eq(rows_of(ROW_GARBAGE), 1);
    overwrite_bytes(row_bytes(&chunk), &was);
    struct fsck_report report = checked();
    ck_assert_uint_eq(report.extents + report.chunks + report.garbage, 0);
}
END_TEST

/* The key of the first row of a table. In the arena. */
static struct bytes first_key(enum row_table table)
{
    struct row_key start;
    struct kv_read read;
    struct kv_cursor *cursor;
    struct bytes key, value;
    row_start(&start, table);
    ck_assert_int_eq(kv_read_begin(store->kv, &read), KIST_OK);
    ck_assert_int_eq(kv_cursor_open(&read, &cursor), KIST_OK);
    ck_assert_int_eq(kv_cursor_seek(cursor, row_bytes(&start), &key, &value), KIST_OK);
    ck_assert_uint_eq(key.ptr[0], table);
    key = arena_copy(&arena, key);
    kv_cursor_close(cursor);
    kv_read_end(&read);
    return key;
}

/* The row that says what is to be released, and then that of what is to be punched. */
START_TEST(test_reclaim_goes_on)
{
    static const char *const names[] = { "a", "b", "c" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        ck_assert_int_eq(put(names[i], "some bytes"), KIST_OK);
    ck_assert_int_eq(delete_many(2, names, VERSION_CURRENT, NULL), KIST_OK);
    ck_assert_uint_eq(rows_of(ROW_GARBAGE), 2);
    struct bytes row = first_key(ROW_GARBAGE), was = damage(row);
    ck_assert_int_eq(store_reclaim(store), KIST_OK);
    ck_assert_uint_eq(rows_of(ROW_GARBAGE), 1);
    ck_assert_uint_eq(rows_of(ROW_EXTENT), 2);
    overwrite_bytes(row, &was);
    ck_assert_int_eq(put_if("c", "refused", true), KIST_E_PRECONDITION); /* an F row at once */
    row = first_key(ROW_FREED);
    was = damage(row);
    ck_assert_int_eq(store_reclaim(store), KIST_OK);
    ck_assert_uint_eq(rows_of(ROW_GARBAGE), 0);
    ck_assert_uint_eq(rows_of(ROW_EXTENT), 1);
    ck_assert_uint_eq(rows_of(ROW_FREED), 1);
    overwrite_bytes(row, &was);
    ck_assert_uint_eq(checked().extents, 1);
}
END_TEST

static bool go_on(void *ctx, const struct scrub_report *report)
{
    (void)ctx, (void)report;
    return true;
}

START_TEST(test_scrub_goes_on)
{
    struct scrub_report report;
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    ck_assert_int_eq(put("b", "2"), KIST_OK);
    struct bytes row = first_key(ROW_EXTENT), was = damage(row);
    ck_assert_int_eq(store_scrub(store, go_on, NULL, &report), KIST_OK);
    ck_assert_uint_eq(report.extents, 1);
    ck_assert_uint_eq(report.damaged, 1);
    overwrite_bytes(row, &was);
    (void)checked();
}
END_TEST

static Kist__Chunk *find_chunk(uint8_t hash[32])
{
    struct kv_read read;
    struct row_key row;
    Kist__Chunk *chunk = NULL;
    row_chunk(&row, bytes_of(hash, 32));
    ck_assert_int_eq(kv_read_begin(store->kv, &read), KIST_OK);
    ck_assert_int_eq(lookup(&read, &row, &kist__chunk__descriptor, &arena, &chunk), KIST_OK);
    kv_read_end(&read);
    return chunk;
}

static void mark(uint8_t hash[32], uint32_t pack, uint64_t offset)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__MarkChunk request = KIST__MARK_CHUNK__INIT;
    command.of_case = KIST__COMMAND__OF_MARK_CHUNK;
    command.mark_chunk = &request;
    request.hash = schema_data(bytes_of(hash, 32));
    request.damaged = true;
    request.pack = pack;
    request.offset = offset;
    ck_assert_int_eq(store_commit(store, &command), KIST_OK);
}

/* What a scrub says of bytes that others have replaced since is not said of those. */
START_TEST(test_marks_name_the_bytes)
{
    uint8_t hash[32];
    put_chunk("x", 'x', hash);
    const Kist__Extent *first = find_chunk(hash)->extent;
    mark(hash, first->pack, first->offset);
    ck_assert(find_chunk(hash)->damaged);
    put_chunk("y", 'x', hash); /* heals */
    mark(hash, first->pack, first->offset);
    const Kist__Chunk *healed = find_chunk(hash);
    ck_assert(!healed->damaged);
    ck_assert(healed->extent->pack != first->pack || healed->extent->offset != first->offset);
    mark(hash, 0, 0); /* of a log from before there were places */
    ck_assert(find_chunk(hash)->damaged);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("damage");
    TCase *t = tcase_create("rows");
    tcase_add_checked_fixture(t, setup, stop_store);
    tcase_add_test(t, test_nothing_is_half_done);
    tcase_add_test(t, test_replay_is_the_same);
    tcase_add_test(t, test_expiry_goes_on);
    tcase_add_test(t, test_damaged_reminders_go);
    tcase_add_test(t, test_new_rules_go_on);
    tcase_add_test(t, test_rules_are_read_again);
    tcase_add_test(t, test_garbage_goes_on);
    tcase_add_test(t, test_reclaim_goes_on);
    tcase_add_test(t, test_scrub_goes_on);
    tcase_add_test(t, test_marks_name_the_bytes);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
