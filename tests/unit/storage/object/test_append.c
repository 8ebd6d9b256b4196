/* Appending and renaming below the S3 layer: what readers hold, and what rows are left. */
#include "storage/index/rows.h"
#include "tests/unit/storage/object/store_fixture.h"

/* ---- commands ---- */

/* `length` bytes of this letter at the offset. */
static enum kist_err append(const char *key, uint64_t offset, char letter, size_t length)
{
    struct object_writer *w = NULL;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AppendObject request = KIST__APPEND_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Part part = KIST__PART__INIT;
    char *bytes = malloc(length + 1);
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, letter, length);
    ck_assert_int_eq(object_writer_open(store, length, 0, NULL, NULL, &w), KIST_OK);
    ck_assert_int_eq(object_writer_write(w, bytes_of(bytes, length)), KIST_OK);
    free(bytes);
    command.of_case = KIST__COMMAND__OF_APPEND_OBJECT;
    command.append_object = &request;
    request.bucket = bucket_name;
    request.key = schema_data(bytes_str(key));
    request.offset = offset;
    request.part = &part;
    request.object = &object;
    request.mtime_ms = 1;
    return commit_written(&command, w, NULL);
}

static enum kist_err rename_object(const char *from, const char *to, const char *token,
                                   int64_t now_ms)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__RenameObject request = KIST__RENAME_OBJECT__INIT;
    command.of_case = KIST__COMMAND__OF_RENAME_OBJECT;
    command.rename_object = &request;
    request.bucket = bucket_name;
    request.source_key = schema_data(bytes_str(from));
    request.key = schema_data(bytes_str(to));
    request.token = mut(token);
    request.request = request.key;
    request.now_ms = now_ms;
    return store_commit(store, &command);
}

/* ---- what is there ---- */

/* Reads all; true when it is so many of the letter. */
static bool reads(struct object_reader *r, char letter, uint64_t length)
{
    uint8_t piece[8192];
    if (object_reader_object(r)->size != length)
        return false;
    for (uint64_t at = 0; at < length;) {
        size_t got = 0;
        if (object_reader_read(r, at, piece, sizeof(piece), true, &got) != KIST_OK)
            return false;
        for (size_t i = 0; i < got; i++)
            if (piece[i] != (uint8_t)letter)
                return false;
        at += got;
    }
    return true;
}

/* Small bodies own their extent, large ones are chunks: both move below a manifest. */
START_TEST(test_readers_from_before_keep_their_bytes)
{
    size_t length = _i ? 300000 : 1000;
    ck_assert_int_eq(append("k", 0, 'x', length), KIST_OK);
    struct object_reader *before = open_reader("k");
    ck_assert_int_eq(append("k", length, 'x', 500), KIST_OK);
    struct object_reader *after = open_reader("k");
    ck_assert_int_eq(delete_key("k"), KIST_OK);
    ck_assert_int_eq(store_reclaim(store), KIST_OK);
    ck_assert(reads(after, 'x', length + 500));
    object_reader_close(after);
    ck_assert_int_eq(store_reclaim(store), KIST_OK);
    ck_assert(reads(before, 'x', length));
    object_reader_close(before);
    struct fsck_report report = checked();
    ck_assert_uint_eq(report.parts + report.extents + report.chunks + report.garbage, 0);
}
END_TEST

START_TEST(test_refused_bytes_are_given_back)
{
    ck_assert_int_eq(append("k", 1, 'x', 300000), KIST_E_WRITE_OFFSET);
    ck_assert_int_eq(append("k", 0, 'x', 10), KIST_OK);
    ck_assert_int_eq(append("k", 0, 'y', 300000), KIST_E_WRITE_OFFSET);
    ck_assert_int_eq(append("k", 11, 'y', 10), KIST_E_WRITE_OFFSET);
    struct fsck_report report = checked();
    ck_assert_uint_eq(report.extents, 1);
}
END_TEST

START_TEST(test_tokens_are_forgotten)
{
    const int64_t minute = 60000;
    ck_assert_int_eq(append("a", 0, 'x', 1), KIST_OK);
    ck_assert_int_eq(rename_object("a", "b", "t", minute), KIST_OK);
    ck_assert_int_eq(rename_object("a", "b", "t", 16 * minute), KIST_OK);
    ck_assert_int_eq(rename_object("b", "c", "t", 16 * minute), KIST_E_TOKEN_REUSED);
    ck_assert_int_eq(rename_object("b", "c", "t", 17 * minute), KIST_OK);
    ck_assert_int_eq(rename_object("a", "b", "t", 18 * minute), KIST_E_TOKEN_REUSED);
    /* the age row of the first use must not take the second one's token with it */
    ck_assert_int_eq(rename_object("c", "d", "u", 20 * minute), KIST_OK);
    ck_assert_int_eq(rename_object("b", "c", "t", 20 * minute), KIST_OK);
    struct object_reader *r = open_reader("d");
    ck_assert_ptr_nonnull(r);
    object_reader_close(r);
    (void)checked();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("append");
    TCase *t = tcase_create("store");
    tcase_add_checked_fixture(t, start_store_and_bucket, stop_store);
    tcase_add_loop_test(t, test_readers_from_before_keep_their_bytes, 0, 2);
    tcase_add_test(t, test_refused_bytes_are_given_back);
    tcase_add_test(t, test_tokens_are_forgotten);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
