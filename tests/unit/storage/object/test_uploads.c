/* What the parts of unfinished uploads count for their bucket: each once, until the upload ends,
 * and not those that were stored before parts were counted. */
#include "tests/unit/storage/object/events_fixture.h"

static void setup(void)
{
    (void)target, (void)other_target;
    kist__cause__init(&cause);
    start_store_and_bucket();
}

static void teardown(void)
{
    stop_store();
}

static uint64_t create(void)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CreateUpload create = KIST__CREATE_UPLOAD__INIT;
    Kist__Upload u = KIST__UPLOAD__INIT;
    u.nonce = data_of("12345678");
    u.bucket = bucket_name;
    u.key = data_of("k");
    create.upload = &u;
    command.of_case = KIST__COMMAND__OF_CREATE_UPLOAD;
    command.create_upload = &create;
    ck_assert_int_eq(commit(&command), KIST_OK);
    return result.index;
}

static enum kist_err put_counted(uint64_t upload, uint32_t number, const char *body, bool counted)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutPart request = KIST__PUT_PART__INIT;
    Kist__Part part = KIST__PART__INIT;
    request.bucket = bucket_name;
    request.key = data_of("k");
    request.upload_id = upload;
    request.nonce = data_of("12345678");
    request.number = number;
    request.part = &part;
    part.counted = counted;
    command.of_case = KIST__COMMAND__OF_PUT_PART;
    command.put_part = &request;
    return commit_body(&command, body);
}

static enum kist_err put_part(uint64_t upload, uint32_t number, const char *body)
{
    return put_counted(upload, number, body, true);
}

/* As programs did before parts were counted. */
static enum kist_err put_uncounted(uint64_t upload, uint32_t number, const char *body)
{
    return put_counted(upload, number, body, false);
}

static enum kist_err complete(uint64_t upload, uint32_t number, const uint8_t etag[16])
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CompleteUpload request = KIST__COMPLETE_UPLOAD__INIT;
    Kist__CompletePart one = KIST__COMPLETE_PART__INIT, *parts[] = { &one };
    request.bucket = bucket_name;
    request.key = data_of("k");
    request.upload_id = upload;
    request.nonce = data_of("12345678");
    request.n_parts = 1;
    request.parts = parts;
    request.mtime_ms = 1;
    one.number = number;
    one.etag = schema_data(bytes_of(etag, 16));
    command.of_case = KIST__COMMAND__OF_COMPLETE_UPLOAD;
    command.complete_upload = &request;
    return commit(&command);
}

static enum kist_err abort_upload(uint64_t upload)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AbortUpload request = KIST__ABORT_UPLOAD__INIT;
    request.bucket = bucket_name;
    request.key = data_of("k");
    request.upload_id = upload;
    request.nonce = data_of("12345678");
    command.of_case = KIST__COMMAND__OF_ABORT_UPLOAD;
    command.abort_upload = &request;
    return commit(&command);
}

static void check_bytes(int64_t of_objects, int64_t of_parts)
{
    Kist__Bucket *bucket;
    Kist__BucketStats *stats;
    ck_assert_int_eq(store_bucket(store, bytes_str(bucket_name), &arena, &bucket), KIST_OK);
    ck_assert_int_eq(store_bucket_stats(store, bucket->id, &arena, &stats), KIST_OK);
    ck_assert_int_eq(stats->bytes, of_objects);
    ck_assert_int_eq(stats->part_bytes, of_parts);
    (void)checked();
}

START_TEST(test_counted_once)
{
    uint8_t etag[16];
    uint64_t first = create(), second = create();
    ck_assert_int_eq(put_part(first, 1, "12345"), KIST_OK);
    ck_assert_int_eq(put_part(first, 2, "123"), KIST_OK);
    ck_assert_int_eq(put_part(second, 1, "1234567"), KIST_OK);
    check_bytes(0, 15);
    ck_assert_int_eq(put_part(first, 1, "1"), KIST_OK); /* in place of the other */
    check_bytes(0, 11);
    ck_assert_int_eq(put_part(first, 1, ""), KIST_OK);
    check_bytes(0, 10);
    ck_assert_int_eq(put_part(first, 1, "abcd"), KIST_OK);
    memcpy(etag, result.etag, sizeof(etag));
    ck_assert_int_eq(complete(first, 1, etag), KIST_OK); /* without part 2 */
    check_bytes(4, 7);
    ck_assert_int_eq(abort_upload(second), KIST_OK);
    check_bytes(4, 0);
    ck_assert_int_eq(put_part(second, 1, "1"), KIST_E_NO_UPLOAD);
    check_bytes(4, 0);
}
END_TEST

/* _i: how the upload ends */
START_TEST(test_parts_from_before)
{
    uint8_t etag[16];
    uint64_t upload = create();
    ck_assert_int_eq(put_uncounted(upload, 1, "12345"), KIST_OK);
    memcpy(etag, result.etag, sizeof(etag));
    check_bytes(0, 0);
    ck_assert_int_eq(put_part(upload, 2, "123"), KIST_OK);
    check_bytes(0, 3);
    if (_i == 0) {
        ck_assert_int_eq(abort_upload(upload), KIST_OK);
        check_bytes(0, 0);
    } else if (_i == 1) {
        ck_assert_int_eq(complete(upload, 1, etag), KIST_OK);
        check_bytes(5, 0);
    } else {
        ck_assert_int_eq(put_part(upload, 1, "12"), KIST_OK); /* the old one took nothing */
        check_bytes(0, 5);
        ck_assert_int_eq(put_uncounted(upload, 2, "12"), KIST_OK);
        check_bytes(0, 2);
        ck_assert_int_eq(delete_bucket(bucket_name), KIST_OK);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("uploads");
    TCase *t = tcase_create("counts");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_counted_once);
    tcase_add_loop_test(t, test_parts_from_before, 0, 3);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
