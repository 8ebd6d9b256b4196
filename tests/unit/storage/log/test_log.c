/* The log over real files: order, verdicts, replay, torn ends, damage, recycled segments. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/log/format.h"
#include "tests/lib/suite.h"

#define SEGMENT_BYTES ((size_t)64 << 10)

static char dir[] = "/tmp/kist-unit-XXXXXX";
static struct log *log_;
static struct buf applied, stored; /* what the state machine and the pack saw */
static enum kist_err admit_error, place_error, store_error;
static uint64_t pack_end;

/* ---- what stands below and above the log ---- */

static enum kist_err on_admit(void *ctx)
{
    (void)ctx;
    return admit_error;
}

static enum kist_err on_place(void *ctx, size_t bytes, uint32_t *pack, uint64_t *offset)
{
    (void)ctx;
    TRY(place_error);
    *pack = 1;
    *offset = pack_end;
    pack_end += bytes;
    return KIST_OK;
}

static enum kist_err on_store(void *ctx, uint32_t pack, uint64_t offset, struct bytes bodies)
{
    (void)ctx;
    TRY(store_error);
    return buf_printf(&stored, "%u+%llu:%.*s ", pack, (unsigned long long)offset, (int)bodies.len,
                      (const char *)bodies.ptr);
}

/* "no" is refused. */
static enum kist_err on_apply(void *ctx, const struct log_entry *e, void *result)
{
    (void)ctx;
    if (result)
        *(uint64_t *)result = e->index;
    TRY(buf_printf(&applied, "%llu:%.*s ", (unsigned long long)e->index,
                   e->command.len < 20 ? (int)e->command.len : 20, (const char *)e->command.ptr));
    return bytes_equal(e->command, BYTES_LIT("no")) ? KIST_E_PRECONDITION : KIST_OK;
}

static enum kist_err open_log(uint64_t applied_index)
{
    struct log_ops ops = {
        .admit = on_admit, .place = on_place, .store = on_store, .apply = on_apply
    };
    struct log_config config = LOG_CONFIG_DEFAULT;
    config.dir = dir;
    config.segment_bytes = SEGMENT_BYTES;
    config.batch_bytes_max = SEGMENT_BYTES / 2;
    config.manual = true;
    buf_clear(&applied);
    buf_clear(&stored);
    return log_open(&config, &ops, applied_index, &log_);
}

static void reopen(uint64_t applied_index)
{
    log_close(log_);
    log_ = NULL;
    ck_assert_int_eq(open_log(applied_index), KIST_OK);
}

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    buf_init(&applied, 1 << 20);
    buf_init(&stored, 1 << 20);
    ck_assert_int_eq(open_log(0), KIST_OK);
}

static void teardown(void)
{
    log_close(log_);
    buf_release(&applied);
    buf_release(&stored);
    remove_dir(dir);
}

static void check(struct buf *b, const char *wanted)
{
    ck_assert_int_eq(buf_append(b, "", 1), KIST_OK);
    ck_assert_str_eq((const char *)b->ptr, wanted);
    b->len--;
}

static enum kist_err commit(const char *command, const char *body)
{
    uint64_t index = 0;
    enum kist_err err = log_commit(log_, bytes_str(command), bytes_str(body), &index);
    if (err == KIST_OK)
        ck_assert_uint_eq(index, log_last_index(log_));
    return err;
}

/* ---- committing ---- */

struct waiting {
    struct log_request request;
    enum kist_err err;
    int calls;
};

static void on_done(struct log_request *request, enum kist_err err)
{
    struct waiting *w = (struct waiting *)(void *)request;
    w->err = err;
    w->calls++;
}

START_TEST(test_a_batch_gathers)
{
    struct waiting w[3];
    static const char *const commands[] = { "a", "no", "c" }, *const bodies[] = { "1", "", "33" };
    struct log_stats stats;
    for (int i = 0; i < 3; i++) {
        w[i] = (struct waiting){ .request = { .command = bytes_str(commands[i]),
                                              .body = bytes_str(bodies[i]),
                                              .done = on_done } };
        log_submit(log_, &w[i].request);
    }
    check(&applied, "");
    ck_assert(log_step(log_));
    check(&applied, "1:a 2:no 3:c ");
    check(&stored, "1+0:133 "); /* one write for all bodies */
    ck_assert_int_eq(w[0].err, KIST_OK);
    ck_assert_int_eq(w[1].err, KIST_E_PRECONDITION);
    ck_assert_int_eq(w[2].err, KIST_OK);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(w[i].calls, 1);
    ck_assert(!log_step(log_));
    log_stats(log_, &stats);
    ck_assert_uint_eq(stats.batches, 1);
    ck_assert_uint_eq(stats.commands, 3);
}
END_TEST

/* No room for the body fails that request alone, with nothing in the log; nor does what is not
 * admitted leave anything. */
START_TEST(test_no_space)
{
    static enum kist_err *const errors[] = { &admit_error, &place_error, &store_error };
    ck_assert_int_eq(commit("a", ""), KIST_OK);
    *errors[_i] = KIST_E_NOSPC;
    ck_assert_int_eq(commit("b", "body"), KIST_E_NOSPC);
    ck_assert_int_eq(commit("c", ""), _i == 0 ? KIST_E_NOSPC : KIST_OK);
    *errors[_i] = KIST_OK;
    if (_i == 0)
        ck_assert_int_eq(commit("c", ""), KIST_OK);
    check(&applied, "1:a 2:c ");
    reopen(0);
    check(&applied, "1:a 2:c ");
}
END_TEST

START_TEST(test_shutdown)
{
    struct waiting w = { .request = { .command = BYTES_LIT("late"), .done = on_done } };
    log_submit(log_, &w.request);
    log_close(log_); /* commits what is queued */
    log_ = NULL;
    ck_assert_int_eq(w.calls, 1);
    ck_assert_int_eq(w.err, KIST_OK);
    ck_assert_int_eq(open_log(0), KIST_OK);
    check(&applied, "1:late ");
}
END_TEST

/* ---- replay ---- */

START_TEST(test_replay)
{
    ck_assert_int_eq(commit("a", "one"), KIST_OK);
    ck_assert_int_eq(commit("no", ""), KIST_E_PRECONDITION);
    ck_assert_int_eq(commit("c", "three"), KIST_OK);
    reopen(0);
    check(&applied, "1:a 2:no 3:c ");
    check(&stored, "1+0:one 1+3:three ");
    ck_assert_uint_eq(log_last_index(log_), 3);
    ck_assert_int_eq(commit("d", ""), KIST_OK);
    reopen(2); /* the index has the first two */
    check(&applied, "3:c 4:d ");
    check(&stored, "1+3:three ");
    reopen(4);
    check(&applied, "");
    ck_assert_uint_eq(log_last_index(log_), 4);
}
END_TEST

static enum kist_err on_scan(void *ctx, const struct log_entry *e)
{
    return on_apply(ctx, e, NULL) == KIST_E_TOO_LARGE ? KIST_E_TOO_LARGE : KIST_OK;
}

START_TEST(test_scan)
{
    ck_assert_int_eq(commit("a", ""), KIST_OK);
    ck_assert_int_eq(commit("b", ""), KIST_OK);
    buf_clear(&applied);
    ck_assert_int_eq(log_scan(dir, 1, on_scan, NULL), KIST_OK);
    check(&applied, "2:b ");
}
END_TEST

/* ---- damage ---- */

/* The newest segment that holds commands. */
static int open_segment(void)
{
    DIR *d = opendir(dir);
    char newest[300] = "", path[400];
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (strncmp(e->d_name, "segment-", 8) == 0 && strcmp(e->d_name, newest) > 0)
            snprintf(newest, sizeof(newest), "%s", e->d_name);
    closedir(d);
    snprintf(path, sizeof(path), "%s/%s", dir, newest);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void flip(int fd, off_t at)
{
    uint8_t byte;
    ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
}

/* Each small batch takes one unit. */
static off_t batch_at(int i)
{
    return SEGMENT_HEADER_BYTES + i * BATCH_ALIGN;
}

/* Three batches, one damaged byte in one of them; what reopening says. */
static enum kist_err with_damage(int batch, off_t byte)
{
    ck_assert_int_eq(commit("a", ""), KIST_OK);
    ck_assert_int_eq(commit("b", ""), KIST_OK);
    ck_assert_int_eq(commit("c", ""), KIST_OK);
    log_close(log_);
    log_ = NULL;
    int fd = open_segment();
    flip(fd, batch_at(batch) + byte);
    close(fd);
    return open_log(0);
}

/* The last batch was never acknowledged, as far as the disk can tell. */
START_TEST(test_torn_tail)
{
    ck_assert_int_eq(with_damage(2, BATCH_HEADER_BYTES + COMMAND_HEADER_BYTES), KIST_OK);
    check(&applied, "1:a 2:b ");
    ck_assert_int_eq(commit("d", ""), KIST_OK);
    reopen(0);
    check(&applied, "1:a 2:b 3:d ");
}
END_TEST

START_TEST(test_torn_header)
{
    ck_assert_int_eq(with_damage(2, 0), KIST_OK);
    check(&applied, "1:a 2:b ");
}
END_TEST

/* What follows was acknowledged after it: that is damage, and nothing is served over a gap. */
START_TEST(test_damage_in_the_middle)
{
    ck_assert_int_eq(with_damage(1, BATCH_HEADER_BYTES + COMMAND_HEADER_BYTES), KIST_E_CORRUPT);
}
END_TEST

START_TEST(test_damaged_header_in_the_middle)
{
    ck_assert_int_eq(with_damage(1, 0), KIST_E_CORRUPT);
}
END_TEST

START_TEST(test_damaged_length_in_the_middle)
{
    ck_assert_int_eq(with_damage(0, 28), KIST_E_CORRUPT);
}
END_TEST

/* The batch that would come second, but for the nonce. */
static void forge(uint8_t *at, uint64_t generation)
{
    struct batch_header h = { .generation = generation,
                              .first_index = 2,
                              .commands = 1,
                              .total_bytes = BATCH_HEADER_BYTES + COMMAND_HEADER_BYTES + 4,
                              .bodies_at = BATCH_HEADER_BYTES + COMMAND_HEADER_BYTES + 4 };
    put_u32(at + BATCH_HEADER_BYTES, 4);
    memcpy(at + BATCH_HEADER_BYTES + COMMAND_HEADER_BYTES, "evil", 4);
    batch_seal(at, &h);
}

/* A body that looks like the next batch, in a batch that was torn: it is its sender's, and
 * neither replayed nor taken for damage. Only the nonce is not to be guessed. */
START_TEST(test_forged_batch_in_a_torn_one)
{
    uint8_t head[SEGMENT_SEAL_BYTES], *body = calloc(1, 2 * BATCH_ALIGN);
    uint64_t generation, nonce;
    ck_assert_ptr_nonnull(body);
    ck_assert_int_eq(commit("a", ""), KIST_OK);
    int fd = open_segment();
    ck_assert_int_eq(pread(fd, head, sizeof(head), 0), sizeof(head));
    ck_assert_int_eq(segment_peek(head, &generation, &nonce), KIST_OK);
    ck_assert_uint_ne(nonce, 0);
    uint32_t bodies_at = BATCH_HEADER_BYTES + COMMAND_HEADER_BYTES + 1; /* of our batch */
    forge(body + BATCH_ALIGN - bodies_at, generation);
    ck_assert_int_eq(
        log_commit(log_, BYTES_LIT("b"), bytes_of(body, 2 * BATCH_ALIGN), &generation), KIST_OK);
    log_close(log_);
    log_ = NULL;
    flip(fd, batch_at(1)); /* its header did not get to the disk */
    close(fd);
    ck_assert_int_eq(open_log(0), KIST_OK);
    check(&applied, "1:a ");
    free(body);
}
END_TEST

/* The same behind the last batch, as the file's earlier life may have left it there. */
START_TEST(test_forged_batch_behind_the_last)
{
    uint8_t head[SEGMENT_SEAL_BYTES], forged[BATCH_ALIGN] = { 0 };
    uint64_t generation, nonce;
    ck_assert_int_eq(commit("a", ""), KIST_OK);
    int fd = open_segment();
    ck_assert_int_eq(pread(fd, head, sizeof(head), 0), sizeof(head));
    ck_assert_int_eq(segment_peek(head, &generation, &nonce), KIST_OK);
    forge(forged, generation);
    ck_assert_int_eq(pwrite(fd, forged, sizeof(forged), batch_at(1)), sizeof(forged));
    close(fd);
    reopen(0);
    check(&applied, "1:a ");
    ck_assert_int_eq(commit("b", ""), KIST_OK);
    reopen(0);
    check(&applied, "1:a 2:b ");
}
END_TEST

START_TEST(test_damage_that_was_applied)
{
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(commit("a", ""), KIST_OK);
    log_close(log_);
    log_ = NULL;
    int fd = open_segment();
    flip(fd, batch_at(1));
    close(fd);
    ck_assert_int_eq(open_log(3), KIST_OK);
    check(&applied, "");
    ck_assert_int_eq(commit("d", ""), KIST_OK);
    log_close(log_);
    log_ = NULL;
    ck_assert_int_eq(open_log(1), KIST_E_CORRUPT); /* 2 is gone, and 3 was acknowledged */
    ck_assert_int_eq(open_log(3), KIST_OK);
    check(&applied, "4:d ");
}
END_TEST

/* Damage that the index is past does no harm. */
START_TEST(test_damage_before_the_checkpoint)
{
    ck_assert_int_eq(commit("a", ""), KIST_OK);
    ck_assert_int_eq(commit("b", ""), KIST_OK);
    log_close(log_);
    log_ = NULL;
    int fd = open_segment();
    flip(fd, batch_at(1) + BATCH_HEADER_BYTES);
    close(fd);
    ck_assert_int_eq(open_log(2), KIST_OK);
    ck_assert_uint_eq(log_last_index(log_), 2);
}
END_TEST

/* ---- segments ---- */

static void fill_segments(unsigned commits)
{
    static char big[10001];
    memset(big, 'x', 10000);
    for (unsigned i = 0; i < commits; i++)
        ck_assert_int_eq(commit(big, ""), KIST_OK);
}

static uint64_t segments(void)
{
    struct log_stats stats;
    log_stats(log_, &stats);
    return stats.segments;
}

START_TEST(test_many_segments)
{
    fill_segments(20);
    ck_assert_uint_ge(segments(), 3);
    reopen(0);
    ck_assert_uint_eq(log_last_index(log_), 20);
    buf_clear(&applied);
    reopen(17);
    check(&applied, "18:xxxxxxxxxxxxxxxxxxxx 19:xxxxxxxxxxxxxxxxxxxx 20:xxxxxxxxxxxxxxxxxxxx ");
}
END_TEST

/* A gap between segments: an older one is missing. */
START_TEST(test_missing_segment)
{
    fill_segments(20);
    log_close(log_);
    log_ = NULL;
    char command[128];
    snprintf(command, sizeof(command), "cd '%s' && rm \"$(ls | grep segment- | head -1)\"", dir);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_eq(open_log(0), KIST_E_CORRUPT);
}
END_TEST

/* Recycled files hold batches of earlier lives: none of them comes back. */
START_TEST(test_recycled)
{
    for (int round = 0; round < 5; round++) {
        fill_segments(10);
        log_checkpointed(log_, log_last_index(log_));
        ck_assert_uint_le(segments(), 2);
    }
    ck_assert_int_eq(commit("last", ""), KIST_OK);
    uint64_t last = log_last_index(log_);
    ck_assert_uint_eq(last, 51);
    reopen(last - 1);
    check(&applied, "51:last ");
    reopen(last);
    check(&applied, "");
    ck_assert_int_eq(commit("next", ""), KIST_OK);
    ck_assert_uint_eq(log_last_index(log_), last + 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tcase = tcase_create("log");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_a_batch_gathers);
    tcase_add_loop_test(tcase, test_no_space, 0, 3);
    tcase_add_test(tcase, test_shutdown);
    tcase_add_test(tcase, test_replay);
    tcase_add_test(tcase, test_scan);
    tcase_add_test(tcase, test_torn_tail);
    tcase_add_test(tcase, test_torn_header);
    tcase_add_test(tcase, test_damage_in_the_middle);
    tcase_add_test(tcase, test_damaged_header_in_the_middle);
    tcase_add_test(tcase, test_damaged_length_in_the_middle);
    tcase_add_test(tcase, test_forged_batch_in_a_torn_one);
    tcase_add_test(tcase, test_forged_batch_behind_the_last);
    tcase_add_test(tcase, test_damage_that_was_applied);
    tcase_add_test(tcase, test_damage_before_the_checkpoint);
    tcase_add_test(tcase, test_many_segments);
    tcase_add_test(tcase, test_missing_segment);
    tcase_add_test(tcase, test_recycled);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
