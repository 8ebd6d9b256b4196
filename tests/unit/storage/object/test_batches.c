/* Commands that touch a great many large rows: memory is that of one row, and all is done. */
#include "tests/unit/storage/object/events_fixture.h"

#define LARGE_BYTES 70000
#define KEYS 1000
#define VERSIONS 130

static char *large;

static void setup(void)
{
    (void)target, (void)other_target;
    kist__cause__init(&cause);
    start_store_and_bucket();
    large = malloc(LARGE_BYTES + 1);
    ck_assert_ptr_nonnull(large);
    memset(large, 'x', LARGE_BYTES);
    large[LARGE_BYTES] = '\0';
}

static void teardown(void)
{
    free(large);
    stop_store();
}

/* An object with a header of so many bytes. */
static void put_large(const char *key, size_t header_bytes)
{
    char *value = large + LARGE_BYTES - header_bytes;
    ck_assert_int_eq(put_header(key, value, "some bytes"), KIST_OK);
}

static void delete_all(struct delete_result *results)
{
    static char names[KEYS][8];
    static Kist__DeleteKey keys[KEYS], *list[KEYS];
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteObjects request = KIST__DELETE_OBJECTS__INIT;
    struct store_op op;
    bool done = false;
    for (size_t i = 0; i < KEYS; i++) {
        kist__delete_key__init(&keys[i]);
        snprintf(names[i], sizeof(names[i]), "k%zu", i);
        keys[i].key = data_of(names[i]);
        list[i] = &keys[i];
    }
    command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
    command.delete_objects = &request;
    request.bucket = bucket_name;
    request.n_keys = KEYS;
    request.keys = list;
    request.now_ms = 2000;
    store_op_init(&op, on_done, &done);
    op.result.deletes = results;
    store_submit(store, &op, &command);
    ck_assert_int_eq(finish(&op, &done, NULL), KIST_OK);
}

/* _i: the bucket's versioning */
START_TEST(test_delete_of_many_large_rows)
{
    static struct delete_result results[KEYS];
    char key[8];
    if (_i != VERSIONING_NEVER)
        set_versioning((enum versioning)_i);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        put_large(key, LARGE_BYTES);
    }
    delete_all(results);
    for (int i = 0; i < KEYS; i++) {
        ck_assert_int_eq(results[i].err, KIST_OK);
        snprintf(key, sizeof(key), "k%d", i);
        struct object_reader *r = NULL;
        struct object_id id = { bytes_str(bucket_name), bytes_str(key), VERSION_CURRENT };
        enum kist_err err = object_reader_open(store, &id, &arena, &r, NULL);
        ck_assert_int_eq(err, _i == VERSIONING_NEVER ? KIST_E_NO_KEY : KIST_E_DELETE_MARKER);
        arena_clear(&arena);
    }
    (void)checked();
}
END_TEST

/* Every version of a key looks at as many others as the rule keeps. */
START_TEST(test_rules_for_many_versions)
{
    static char id[] = "keep";
    Kist__Lifecycle lifecycle = KIST__LIFECYCLE__INIT;
    Kist__LifecycleRule rule = KIST__LIFECYCLE_RULE__INIT, *rules[] = { &rule };
    set_versioning(VERSIONING_ENABLED);
    for (int i = 0; i < VERSIONS; i++)
        put_large("k", 10000);
    rule.id = id;
    rule.noncurrent_days = 1;
    rule.noncurrent_keep = 100;
    lifecycle.day_ms = 1;
    lifecycle.n_rules = 1;
    lifecycle.rules = rules;
    set_config(CONFIG_LIFECYCLE, &lifecycle, 0, NULL);
    ck_assert_int_eq(store_expire(store), KIST_OK);
    ck_assert_uint_eq(checked().versions, 100);
}
END_TEST

/* ---- an upload of terabytes: its parts' rows, without their bytes ---- */

#define PARTS 450
#define CHUNKS_OF_PART 1280

static void put_part_rows(uint64_t upload)
{
    static uint8_t hash[32], etag[16];
    static Kist__ChunkRef refs[CHUNKS_OF_PART], *list[CHUNKS_OF_PART];
    Kist__Part part = KIST__PART__INIT;
    Kist__Data data = KIST__DATA__INIT;
    struct buf packed;
    for (size_t i = 0; i < CHUNKS_OF_PART; i++) {
        kist__chunk_ref__init(&refs[i]);
        refs[i].hash = (ProtobufCBinaryData){ sizeof(hash), hash };
        refs[i].length = CHUNK_BYTES;
        list[i] = &refs[i];
    }
    data.n_chunks = CHUNKS_OF_PART;
    data.chunks = list;
    part.data = &data;
    part.size = (uint64_t)CHUNKS_OF_PART * CHUNK_BYTES;
    part.etag = (ProtobufCBinaryData){ sizeof(etag), etag };
    buf_init(&packed, 1 << 20);
    ck_assert_int_eq(schema_pack(&part, &packed), KIST_OK);
    kv_write_lock(store->kv);
    for (uint32_t i = 1; i <= PARTS; i++) {
        struct row_key row;
        row_part(&row, upload, i);
        kv_put(store->kv, row_bytes(&row), buf_bytes(&packed));
    }
    kv_write_unlock(store->kv);
    buf_release(&packed);
}

static enum kist_err complete(uint64_t upload, uint8_t nonce[8])
{
    static uint8_t etag[16];
    static Kist__CompletePart parts[PARTS], *list[PARTS];
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CompleteUpload request = KIST__COMPLETE_UPLOAD__INIT;
    for (uint32_t i = 0; i < PARTS; i++) {
        kist__complete_part__init(&parts[i]);
        parts[i].number = i + 1;
        parts[i].etag = (ProtobufCBinaryData){ sizeof(etag), etag };
        list[i] = &parts[i];
    }
    command.of_case = KIST__COMMAND__OF_COMPLETE_UPLOAD;
    command.complete_upload = &request;
    request.bucket = bucket_name;
    request.key = data_of("terabytes");
    request.upload_id = upload;
    request.nonce = (ProtobufCBinaryData){ 8, nonce };
    request.n_parts = PARTS;
    request.parts = list;
    return commit(&command);
}

START_TEST(test_upload_of_terabytes)
{
    static uint8_t nonce[8] = "nonce..";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CreateUpload create = KIST__CREATE_UPLOAD__INIT;
    Kist__Upload upload = KIST__UPLOAD__INIT;
    struct part_info part;
    command.of_case = KIST__COMMAND__OF_CREATE_UPLOAD;
    command.create_upload = &create;
    create.upload = &upload;
    upload.bucket = bucket_name;
    upload.key = data_of("terabytes");
    upload.nonce = (ProtobufCBinaryData){ sizeof(nonce), nonce };
    ck_assert_int_eq(commit(&command), KIST_OK);
    uint64_t id = result.index;
    put_part_rows(id);
    ck_assert_int_eq(complete(id, nonce), KIST_OK);
    struct object_reader *r = open_reader("terabytes");
    uint64_t size = (uint64_t)CHUNKS_OF_PART * CHUNK_BYTES;
    ck_assert_uint_eq(object_reader_object(r)->size, PARTS * size);
    ck_assert_int_eq(object_reader_part(r, PARTS, &part), KIST_OK);
    ck_assert_uint_eq(part.start, (PARTS - 1) * size);
    object_reader_close(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batches");
    TCase *t = tcase_create("batches");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_delete_of_many_large_rows, VERSIONING_NEVER,
                        VERSIONING_ENABLED + 1);
    tcase_add_test(t, test_rules_for_many_versions);
    tcase_add_test(t, test_upload_of_terabytes);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
