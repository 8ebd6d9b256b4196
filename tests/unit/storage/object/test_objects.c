/* Writers, readers and listings over a store without threads. */
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "storage/object/store_internal.h"
#include "tests/unit/storage/object/store_fixture.h"

/* ---- putting ---- */

static uint8_t *content(uint64_t seed, size_t length)
{
    uint8_t *bytes = malloc(length + 1);
    uint32_t r = (uint32_t)seed * 2654435761U + 1;
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < length; i++) {
        r = r * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(r >> 24);
    }
    return bytes;
}

static struct object_writer *write_all(uint64_t seed, size_t length, size_t piece,
                                       unsigned digests)
{
    struct object_writer *w = NULL;
    uint8_t *bytes = content(seed, length);
    ck_assert_int_eq(object_writer_open(store, length, digests, NULL, NULL, &w), KIST_OK);
    for (size_t at = 0; at < length; at += piece) {
        size_t n = length - at < piece ? length - at : piece;
        ck_assert_int_eq(object_writer_write(w, bytes_of(bytes + at, n)), KIST_OK);
    }
    ck_assert_uint_eq(object_writer_size(w), length);
    free(bytes);
    return w;
}

static enum kist_err put_writer(const char *key, struct object_writer *w,
                                Kist__Condition *condition)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    request.bucket = bucket_name;
    request.key = schema_data(bytes_str(key));
    request.object = &object;
    request.condition = condition;
    object.mtime_ms = 1000;
    return commit_written(&command, w, NULL);
}

static enum kist_err put(const char *key, uint64_t seed, size_t length)
{
    return put_writer(key, write_all(seed, length, 70000, 0), NULL);
}

/* ---- looking ---- */

/* From every of some positions to the end. */
static void check_reads(const char *key, uint64_t seed, size_t length)
{
    static const size_t starts[] = { 0, 1, 65535, 65536, 262143, 262144, 4194303, 4194304 };
    struct object_reader *r = open_reader(key);
    uint8_t *wanted = content(seed, length), *found = malloc(length + 1);
    uint8_t etag[16];
    ck_assert_ptr_nonnull(r);
    ck_assert_ptr_nonnull(found);
    ck_assert_uint_eq(object_reader_object(r)->size, length);
    digest_once(DIGEST_MD5, bytes_of(wanted, length), etag);
    ck_assert(bytes_equal(schema_bytes(object_reader_object(r)->etag), bytes_of(etag, 16)));
    for (size_t i = 0; i < ARRAY_LEN(starts) && starts[i] < length; i++) {
        size_t got = 0;
        for (size_t at = starts[i]; at < length; at += got) {
            ck_assert_int_eq(object_reader_read(r, at, found + at, length - at, true, &got),
                             KIST_OK);
            ck_assert_uint_gt(got, 0);
        }
        ck_assert_mem_eq(found + starts[i], wanted + starts[i], length - starts[i]);
    }
    object_reader_close(r);
    free(wanted);
    free(found);
}

/* Around every threshold: empty, riding in the log, chunks, several blocks and chunks. */
START_TEST(test_lengths)
{
    static const size_t lengths[] = { 0,      1,      4096,    65535,   65536,  65537,
                                      262144, 262145, 4194304, 4194305, 9000000 };
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%zu", i);
        ck_assert_int_eq(put(key, i, lengths[i]), KIST_OK);
        check_reads(key, i, lengths[i]);
    }
    (void)checked();
    store_close(store);
    open_store();
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%zu", i);
        check_reads(key, i, lengths[i]);
    }
}
END_TEST

START_TEST(test_digests)
{
    static const enum digest_kind kinds[] = { DIGEST_MD5, DIGEST_SHA256, DIGEST_CRC32C,
                                              DIGEST_CRC64NVME };
    unsigned wanted = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        wanted |= DIGEST_BIT(kinds[i]);
    uint8_t *bytes = content(5, 300000);
    struct object_writer *w = write_all(5, 300000, 1234, wanted);
    for (int round = 0; round < 2; round++) /* any number of times */
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
            uint8_t got[DIGEST_MAX_LEN], right[DIGEST_MAX_LEN];
            object_writer_digest(w, kinds[i], got);
            digest_once(kinds[i], bytes_of(bytes, 300000), right);
            ck_assert_mem_eq(got, right, digest_len(kinds[i]));
        }
    object_writer_abort(w);
    free(bytes);
}
END_TEST

/* Bytes that nobody refers to are given back: aborted, refused, replaced, deleted. */
START_TEST(test_nothing_is_left)
{
    static const size_t lengths[] = { 1000, 300000 };
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        Kist__Condition condition = KIST__CONDITION__INIT;
        condition.must_not_exist = true;
        object_writer_abort(write_all(1, lengths[i], 5000, 0));
        ck_assert_int_eq(put_writer("k", write_all(2, lengths[i], 5000, 0), &condition), KIST_OK);
        ck_assert_int_eq(put_writer("k", write_all(3, lengths[i], 5000, 0), &condition),
                         KIST_E_PRECONDITION);
        check_reads("k", 2, lengths[i]);
        ck_assert_int_eq(put("k", 4, lengths[i]), KIST_OK);
        check_reads("k", 4, lengths[i]);
        ck_assert_int_eq(delete_key("k"), KIST_OK);
        ck_assert_ptr_null(open_reader("k"));
        struct fsck_report report = checked();
        ck_assert_uint_eq(report.extents + report.chunks + report.garbage + report.objects, 0);
    }
}
END_TEST

/* Large contents are stored once, and until the last object that has them goes. */
START_TEST(test_equal_contents)
{
    ck_assert_int_eq(put("a", 1, 300000), KIST_OK);
    ck_assert_int_eq(put("b", 1, 300000), KIST_OK);
    ck_assert_uint_eq(checked().chunks, 1);
    ck_assert_int_eq(delete_key("a"), KIST_OK);
    ck_assert_uint_eq(checked().chunks, 1);
    check_reads("b", 1, 300000);
    ck_assert_int_eq(delete_key("b"), KIST_OK);
    ck_assert_uint_eq(checked().chunks, 0);
}
END_TEST

/* ---- damage ---- */

/* Changes one byte in the middle of every pack. */
static void damage_packs(void)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/packs", dir);
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        uint8_t byte;
        snprintf(path, sizeof(path), "%s/packs/%s", dir, e->d_name);
        if (!strstr(e->d_name, ".pack"))
            continue;
        int fd = open(path, O_RDWR);
        ck_assert_int_ge(fd, 0);
        if (pread(fd, &byte, 1, 500) == 1) {
            byte ^= 1;
            ck_assert_int_eq(pwrite(fd, &byte, 1, 500), 1);
        }
        close(fd);
    }
    closedir(d);
}

static bool go_on(void *ctx, const struct scrub_report *report)
{
    (void)ctx, (void)report;
    return true;
}

START_TEST(test_damaged_bytes_are_not_sent)
{
    static const size_t lengths[] = { 1000, 300000 };
    uint8_t buf[4096];
    size_t got;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct scrub_report report;
        ck_assert_int_eq(put("k", 7, lengths[i]), KIST_OK);
        damage_packs();
        struct object_reader *r = open_reader("k");
        got = 99;
        ck_assert_int_eq(object_reader_read(r, 0, buf, sizeof(buf), true, &got), KIST_E_CORRUPT);
        ck_assert_uint_eq(got, 99);
        object_reader_close(r);
        ck_assert_int_eq(store_scrub(store, go_on, NULL, &report), KIST_OK);
        ck_assert_uint_eq(report.damaged, 1);
        /* Putting it again heals: large contents, too, though their chunk is there. */
        ck_assert_int_eq(put("k", 7, lengths[i]), KIST_OK);
        check_reads("k", 7, lengths[i]);
        ck_assert_int_eq(delete_key("k"), KIST_OK);
        (void)checked();
    }
}
END_TEST

/* ---- listing ---- */

static bool add_key(void *ctx, struct bytes key, const Kist__Object *object)
{
    struct buf *out = ctx;
    return buf_printf(out, "%.*s%s ", (int)key.len, (const char *)key.ptr, object ? "" : "*") ==
           KIST_OK;
}

static void check_list(const char *prefix, const char *delimiter, const char *after, size_t max,
                       bool truncated, const char *wanted)
{
    struct buf out;
    buf_init(&out, 1000);
    struct list_query query = { .prefix = bytes_str(prefix),
                                .delimiter = bytes_str(delimiter),
                                .after = after ? bytes_str(after) : BYTES_EMPTY,
                                .max = max };
    struct list_page page = { .each = add_key, .ctx = &out };
    ck_assert_int_eq(store_list(store, bytes_str(bucket_name), &query, &arena, &page), KIST_OK);
    ck_assert_int_eq(buf_append(&out, "", 1), KIST_OK);
    ck_assert_str_eq((const char *)out.ptr, wanted);
    ck_assert(page.truncated == truncated);
    buf_release(&out);
}

START_TEST(test_list)
{
    static const char *const keys[] = { "b/2",   "a",   "b/1", "b",  "c/x/y",
                                        "c/x/z", "c/w", "d",   "b0", "\xc3\xa4" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        ck_assert_int_eq(put(keys[i], i, 10), KIST_OK);
    check_list("", "", NULL, 100, false, "a b b/1 b/2 b0 c/w c/x/y c/x/z d \xc3\xa4 ");
    check_list("", "/", NULL, 100, false, "a b b/* b0 c/* d \xc3\xa4 ");
    check_list("c/", "/", NULL, 100, false, "c/w c/x/* ");
    check_list("b", "", NULL, 100, false, "b b/1 b/2 b0 ");
    check_list("x", "", NULL, 100, false, "");
    check_list("", "", NULL, 3, true, "a b b/1 ");
    check_list("", "", "b/1", 2, true, "b/2 b0 ");
    check_list("", "/", "b/", 2, true, "b0 c/* "); /* all below the prefix is skipped */
    check_list("", "/", "c/", 100, false, "d \xc3\xa4 ");
    check_list("c/", "/", "a", 1, true, "c/w ");
    check_list("", "", "d", 1, false, "\xc3\xa4 ");
    check_list("", "", "\xc3\xa5", 100, false, "");
    check_list("", "x/", NULL, 100, false, "a b b/1 b/2 b0 c/w c/x/* d \xc3\xa4 ");
}
END_TEST

/* What is deleted while its index is still in memory, or already on the disk, is not listed. */
START_TEST(test_list_over_both_places)
{
    static const char *const keys[] = { "a", "b", "c", "d", "e", "f" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        ck_assert_int_eq(put(keys[i], 1, 10), KIST_OK);
    ck_assert_int_eq(store_checkpoint(store), KIST_OK);
    ck_assert_int_eq(delete_key("b"), KIST_OK);
    ck_assert_int_eq(delete_key("f"), KIST_OK);
    ck_assert_int_eq(put("cc", 1, 10), KIST_OK);
    ck_assert_int_eq(put("a", 2, 20), KIST_OK);
    check_list("", "", NULL, 100, false, "a c cc d e ");
    check_list("", "", NULL, 2, true, "a c ");
    ck_assert_int_eq(store_checkpoint(store), KIST_OK);
    check_list("", "", NULL, 100, false, "a c cc d e ");
}
END_TEST

/* There was room when the body began, and there is none any more: it ends within a chunk, and
 * what it has taken comes back. */
START_TEST(test_reserve_is_kept)
{
    static uint8_t piece[65536];
    struct object_writer *w = NULL;
    enum kist_err err = KIST_OK;
    ck_assert_int_eq(object_writer_open(store, UINT64_MAX, 0, NULL, NULL, &w), KIST_OK);
    for (size_t at = 0; at < 5 << 20; at += sizeof(piece))
        ck_assert_int_eq(object_writer_write(w, bytes_of(piece, sizeof(piece))), KIST_OK);
    ck_assert_uint_gt(store->filling_bytes, 0);
    store->config.reserve_bytes = UINT64_MAX;
    for (size_t at = 0; at < CHUNK_BYTES && err == KIST_OK; at += sizeof(piece))
        err = object_writer_write(w, bytes_of(piece, sizeof(piece)));
    ck_assert_int_eq(err, KIST_E_NOSPC);
    object_writer_abort(w);
    ck_assert_uint_eq(store->filling_bytes, 0);
    store->config.reserve_bytes = 0;
    ck_assert_int_eq(put("k", 1, 5 << 20), KIST_OK);
    ck_assert_uint_eq(store->filling_bytes, 0);
}
END_TEST

/* ---- copies take turns ---- */

#define COPIES 4 /* as many as there are threads */

static atomic_int copied;
static atomic_int copied_before; /* whoever came last */

static void on_copied(void *user, enum kist_err err)
{
    *(enum kist_err *)user = err;
    copied++;
}

static void look(struct job *job)
{
    (void)job;
    copied_before = copied;
}

START_TEST(test_copies_take_turns)
{
    static const size_t length = 32 << 20;
    struct store_config config = STORE_CONFIG_DEFAULT;
    struct object_reader *from[COPIES];
    struct object_writer *to[COPIES];
    enum kist_err errs[COPIES];
    struct job other = { look, NULL };
    ck_assert_int_eq(put("source", 1, length), KIST_OK);
    store_close(store);
    config.dir = dir;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
    copied_before = -1;
    for (int i = 0; i < COPIES; i++) {
        from[i] = open_reader("source");
        errs[i] = KIST_E_BUSY;
        ck_assert_int_eq(object_writer_open(store, length, 0, NULL, NULL, &to[i]), KIST_OK);
    }
    for (int i = 0; i < COPIES; i++)
        store_copy_bytes(store, from[i], 0, length, to[i], on_copied, &errs[i]);
    store_run(store, &other);
    while (copied < COPIES)
        usleep(1000);
    ck_assert_int_eq(copied_before, 0);
    for (int i = 0; i < COPIES; i++) {
        uint8_t md5[16];
        ck_assert_int_eq(errs[i], KIST_OK);
        ck_assert_uint_eq(object_writer_size(to[i]), length);
        object_writer_digest(to[i], DIGEST_MD5, md5);
        ck_assert(
            bytes_equal(bytes_of(md5, 16), schema_bytes(object_reader_object(from[i])->etag)));
        object_writer_abort(to[i]);
        object_reader_close(from[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("objects");
    TCase *tcase = tcase_create("objects");
    tcase_add_checked_fixture(tcase, start_store_and_bucket, stop_store);
    tcase_add_test(tcase, test_lengths);
    tcase_add_test(tcase, test_digests);
    tcase_add_test(tcase, test_nothing_is_left);
    tcase_add_test(tcase, test_equal_contents);
    tcase_add_test(tcase, test_damaged_bytes_are_not_sent);
    tcase_add_test(tcase, test_list);
    tcase_add_test(tcase, test_list_over_both_places);
    tcase_add_test(tcase, test_reserve_is_kept);
    tcase_add_test(tcase, test_copies_take_turns);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
