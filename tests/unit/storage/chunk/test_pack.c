/* Packs: where bytes are reserved, what reads find, what a reopened store knows. */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/chunk/pack.h"
#include "tests/lib/suite.h"

static char dir[] = "/tmp/kist-unit-XXXXXX";
static struct pack_store *store;

static void reopen(void)
{
    struct pack_config config = { .dir = dir, .sync = true };
    pack_store_close(store);
    store = NULL;
    ck_assert_int_eq(pack_store_open(&config, &store), KIST_OK);
}

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    reopen();
    pack_replay_done(store);
}

static void teardown(void)
{
    pack_store_close(store);
    remove_dir(dir);
}

struct place {
    uint32_t pack;
    uint64_t offset;
};

static struct place reserve_and_hold(unsigned lane, uint64_t bytes)
{
    struct place p;
    ck_assert_int_eq(pack_reserve(store, lane, bytes, &p.pack, &p.offset), KIST_OK);
    return p;
}

static struct place reserve(unsigned lane, uint64_t bytes)
{
    struct place p = reserve_and_hold(lane, bytes);
    pack_unhold(store, p.pack);
    return p;
}

static bool exists(uint32_t pack)
{
    char path[100];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%08x.pack", dir, pack);
    return stat(path, &st) == 0;
}

START_TEST(test_reservations_append)
{
    struct place a = reserve(1, 100), b = reserve(1, PACK_ALIGN), c = reserve(1, 1);
    ck_assert_uint_eq(a.pack, b.pack);
    ck_assert_uint_eq(a.offset, 0);
    ck_assert_uint_eq(b.offset, PACK_ALIGN); /* nothing shares a page */
    ck_assert_uint_eq(c.offset, 2 * PACK_ALIGN);
    ck_assert_uint_eq(pack_lane_end(store, 1), 3 * PACK_ALIGN);
    struct place other = reserve(2, 100);
    ck_assert_uint_ne(other.pack, a.pack);
    ck_assert(pack_is_open_lane(store, a.pack) && pack_is_open_lane(store, other.pack));
    for (unsigned i = 0; i < 3 * PACK_LANES; i++) {
        unsigned lane = pack_next_lane(store);
        ck_assert(lane != PACK_LANE_LOG && lane < PACK_LANES);
    }
}
END_TEST

START_TEST(test_what_came_to_nothing_is_reserved_again)
{
    struct place a = reserve(1, 100), b = reserve(1, 3 * PACK_ALIGN);
    pack_unreserve(store, 1, b.pack, b.offset);
    struct place again = reserve(1, 100);
    ck_assert_uint_eq(again.pack, b.pack);
    ck_assert_uint_eq(again.offset, b.offset);
    pack_unreserve(store, 1, a.pack + 100, 0); /* of a pack that the lane has left */
    ck_assert_uint_eq(pack_lane_end(store, 1), again.offset + PACK_ALIGN);
}
END_TEST

static bool is_swept(uint32_t pack)
{
    for (size_t i = 0; i < pack_sweep_count(store); i++)
        if (pack_sweep_at(store, i) == pack)
            return true;
    return false;
}

/* The lanes file names the new pack, which cannot be made: the old one takes no more. */
START_TEST(test_no_room_for_a_pack)
{
    char path[100];
    pack_store_close(store);
    store = NULL;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", dir, "tmpfs", 0, "nr_inodes=4") != 0) {
        puts("nothing may be mounted here: left out");
        return;
    }
    reopen();
    struct place old = reserve(1, 100), small;
    snprintf(path, sizeof(path), "%s/lanes", dir);
    int fd =
        open(path, O_RDONLY); /* of four files: the directory, this, the pack, the next one */
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pack_reserve(store, 1, PACK_BYTES_MAX, &small.pack, &small.offset),
                     KIST_E_NOSPC);
    close(fd);
    small = reserve_and_hold(1, 100);
    uint32_t pack = small.pack;
    ck_assert_uint_ne(pack, old.pack);
    pack_unhold(store, pack);
    reopen();
    ck_assert(is_swept(pack));
    pack_store_close(store);
    store = NULL;
    umount2(dir, MNT_DETACH);
}
END_TEST

START_TEST(test_a_full_pack_is_left)
{
    struct place a = reserve(1, PACK_BYTES_MAX - PACK_ALIGN), b = reserve(1, PACK_ALIGN);
    ck_assert_uint_eq(a.pack, b.pack);
    struct place c = reserve(1, 1);
    ck_assert_uint_ne(c.pack, a.pack);
    ck_assert_uint_eq(c.offset, 0);
    ck_assert(!pack_is_open_lane(store, a.pack));
}
END_TEST

START_TEST(test_write_and_read)
{
    char got[8];
    struct place p = reserve(1, 100);
    ck_assert_int_eq(pack_write(store, p.pack, p.offset, BYTES_LIT("abcdefgh")), KIST_OK);
    ck_assert_int_eq(pack_write(store, p.pack, p.offset + 2, BYTES_LIT("XY")), KIST_OK);
    ck_assert_int_eq(pack_sync(store, p.pack), KIST_OK);
    ck_assert_int_eq(pack_read(store, p.pack, p.offset, got, 8, false), KIST_OK);
    ck_assert_mem_eq(got, "abXYefgh", 8);
    ck_assert_int_eq(pack_read(store, p.pack, p.offset + 4, got, 8, false), KIST_E_CORRUPT);
    ck_assert_int_eq(pack_read(store, p.pack + 1, 0, got, 8, false), KIST_E_CORRUPT);
    enum kist_err cached = pack_read(store, p.pack, p.offset, got, 4, true);
    ck_assert(cached == KIST_OK || cached == KIST_E_BUSY); /* not every file system tells */
}
END_TEST

/* In one write, past the page cache where the file system knows how: what follows is left alone.
 */
START_TEST(test_write_blocks)
{
    const size_t tail = 5000, bytes = (PACK_BLOCKS_MAX - 1) * (size_t)PACK_BLOCK_BYTES + tail;
    uint8_t *memory = aligned_alloc(PACK_ALIGN, PACK_BLOCKS_MAX * (size_t)PACK_BLOCK_BYTES);
    uint8_t *blocks[PACK_BLOCKS_MAX], *got = malloc(bytes);
    struct place p = reserve(1, bytes), behind = reserve(1, 8);
    ck_assert_int_eq(pack_write(store, behind.pack, behind.offset, BYTES_LIT("abcdefgh")),
                     KIST_OK);
    for (size_t i = 0; i < PACK_BLOCKS_MAX; i++) { /* not in the order of their places */
        blocks[i] = memory + (PACK_BLOCKS_MAX - 1 - i) * (size_t)PACK_BLOCK_BYTES;
        memset(blocks[i], 'a' + (int)i, PACK_BLOCK_BYTES);
    }
    ck_assert_int_eq(pack_write_blocks(store, p.pack, p.offset, blocks, bytes), KIST_OK);
    ck_assert_int_eq(pack_sync(store, p.pack), KIST_OK);
    ck_assert_int_eq(pack_read(store, p.pack, p.offset, got, bytes, false), KIST_OK);
    for (size_t i = 0; i < bytes; i++)
        ck_assert_uint_eq(got[i], 'a' + i / PACK_BLOCK_BYTES);
    ck_assert_int_eq(pack_read(store, behind.pack, behind.offset, got, 8, false), KIST_OK);
    ck_assert_mem_eq(got, "abcdefgh", 8);
    free(got);
    free(memory);
}
END_TEST

static enum kist_err count(void *ctx, uint32_t pack, uint64_t bytes)
{
    uint64_t *sums = ctx;
    (void)pack;
    sums[0]++;
    sums[1] += bytes;
    return KIST_OK;
}

static enum kist_err stop(void *ctx, uint32_t pack, uint64_t bytes)
{
    uint64_t *sums = ctx;
    (void)pack, (void)bytes;
    sums[0]++;
    return KIST_E_IO;
}

START_TEST(test_each)
{
    uint64_t sums[2] = { 0 };
    for (unsigned lane = 1; lane < 4; lane++)
        (void)reserve(lane, 1);
    ck_assert_int_eq(pack_each(store, count, sums), KIST_OK);
    ck_assert_uint_eq(sums[0], 3);
    sums[0] = 0;
    ck_assert_int_eq(pack_each(store, stop, sums), KIST_E_IO);
    ck_assert_uint_eq(sums[0], 1);
}
END_TEST

/* Whole pages go, what shares the first or last page stays. */
START_TEST(test_punch)
{
    uint8_t bytes[4 * PACK_ALIGN], got[4 * PACK_ALIGN];
    struct place p = reserve(1, sizeof(bytes));
    memset(bytes, 7, sizeof(bytes));
    ck_assert_int_eq(pack_write(store, p.pack, p.offset, bytes_of(bytes, sizeof(bytes))),
                     KIST_OK);
    ck_assert_int_eq(pack_punch(store, p.pack, p.offset + 1, 2 * PACK_ALIGN), KIST_OK);
    ck_assert_int_eq(pack_read(store, p.pack, p.offset, got, sizeof(got), false), KIST_OK);
    ck_assert_uint_eq(got[PACK_ALIGN - 1], 7);
    ck_assert_uint_eq(got[PACK_ALIGN], 0);
    ck_assert_uint_eq(got[2 * PACK_ALIGN - 1], 0);
    ck_assert_uint_eq(got[2 * PACK_ALIGN], 7);
    ck_assert_int_eq(pack_punch(store, p.pack, p.offset + 1, PACK_ALIGN), KIST_OK);
    ck_assert_int_eq(pack_read(store, p.pack, p.offset, got, 1, false), KIST_OK);
    ck_assert_uint_eq(got[0], 7);
}
END_TEST

START_TEST(test_remove)
{
    struct place p = reserve_and_hold(1, PACK_BYTES_MAX);
    ck_assert_int_eq(pack_remove(store, p.pack), KIST_OK);
    ck_assert(exists(p.pack)); /* the lane appends to it */
    struct place next = reserve(1, 1);
    ck_assert_uint_ne(next.pack, p.pack);
    ck_assert_int_eq(pack_remove(store, p.pack), KIST_OK);
    ck_assert(exists(p.pack)); /* who reserved it will write to it */
    pack_unhold(store, p.pack);
    ck_assert_int_eq(pack_remove(store, p.pack), KIST_OK);
    ck_assert(!exists(p.pack));
    ck_assert_int_eq(pack_remove(store, p.pack), KIST_OK);
}
END_TEST

/* A body that waits for its sync keeps its pack, until the checkpoint's. */
START_TEST(test_dirty_bodies)
{
    struct place p = reserve(PACK_LANE_LOG, PACK_BYTES_MAX);
    ck_assert_int_eq(pack_store_body(store, p.pack, 0, BYTES_LIT("body")), KIST_OK);
    (void)reserve(PACK_LANE_LOG, 1);
    ck_assert_int_eq(pack_remove(store, p.pack), KIST_OK);
    ck_assert(exists(p.pack));
    ck_assert_int_eq(pack_sync_bodies(store), KIST_OK);
    ck_assert_int_eq(pack_remove(store, p.pack), KIST_OK);
    ck_assert(!exists(p.pack));
}
END_TEST

START_TEST(test_reopened)
{
    char got[3];
    struct place a = reserve(1, 3), b = reserve(2, 3);
    ck_assert_int_eq(pack_write(store, a.pack, a.offset, BYTES_LIT("abc")), KIST_OK);
    ck_assert_int_eq(pack_write(store, a.pack, PACK_ALIGN, BYTES_LIT("lost")), KIST_OK);
    reopen();
    ck_assert_uint_eq(pack_lane_pack(store, 1), a.pack);
    ck_assert_uint_eq(pack_lane_pack(store, 2), b.pack);
    ck_assert_uint_eq(pack_lane_pack(store, 3), 0);
    ck_assert_uint_eq(pack_sweep_count(store),
                      2); /* what lanes appended to may be unreferenced */
    /* Nothing at or above is referenced, and it is cut off. */
    ck_assert_int_eq(pack_lane_resume(store, 1, 3), KIST_OK);
    ck_assert_int_eq(pack_read(store, a.pack, 0, got, 3, false), KIST_OK);
    ck_assert_mem_eq(got, "abc", 3);
    ck_assert_int_eq(pack_read(store, a.pack, PACK_ALIGN, got, 1, false), KIST_E_CORRUPT);
    struct place next = reserve(1, 1);
    ck_assert_uint_eq(next.pack, a.pack);
    ck_assert_uint_eq(next.offset, PACK_ALIGN);
    /* A lane that was not resumed begins a pack that nobody had. */
    struct place fresh = reserve(2, 1);
    ck_assert(fresh.pack > a.pack && fresh.pack > b.pack);
    ck_assert_uint_eq(fresh.offset, 0);
}
END_TEST

/* A held pack that the lane has left is named in the lanes file: the sweep looks there. */
START_TEST(test_held_packs_are_remembered)
{
    bool found = false;
    struct place p = reserve_and_hold(1, PACK_BYTES_MAX);
    (void)reserve(1, 1);
    pack_unhold(store, p.pack);
    reopen();
    for (size_t i = 0; i < pack_sweep_count(store); i++)
        found = found || pack_sweep_at(store, i) == p.pack;
    ck_assert(found);
}
END_TEST

static void write_lanes(const char *text)
{
    char path[100];
    snprintf(path, sizeof(path), "%s/lanes", dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(test_strange_lanes_file)
{
    struct pack_config config = { .dir = dir, .sync = true };
    struct pack_store *other = NULL;
    write_lanes("kist-lanes 2 next 1\nlane 0\nlane 0\nlane 0\nlane 0\nlane 0\n");
    ck_assert_int_eq(pack_store_open(&config, &other), KIST_E_NEWER_FORMAT);
    write_lanes("kist-lanes 1 next 1\nlane 0\n");
    ck_assert_int_eq(pack_store_open(&config, &other), KIST_E_CORRUPT);
    write_lanes("something\n");
    ck_assert_int_eq(pack_store_open(&config, &other), KIST_E_CORRUPT);
    ck_assert_ptr_null(other);
}
END_TEST

/* More packs than are kept open: every one is still read. */
START_TEST(test_many_packs)
{
    enum { PACKS = 600 };
    for (uint32_t i = 1; i <= PACKS; i++)
        ck_assert_int_eq(pack_store_body(store, i, 0, bytes_of(&i, sizeof(i))), KIST_OK);
    ck_assert_int_eq(pack_sync_bodies(store), KIST_OK);
    for (uint32_t i = PACKS; i >= 1; i--) {
        uint32_t got = 0;
        ck_assert_int_eq(pack_read(store, i, 0, &got, sizeof(got), false), KIST_OK);
        ck_assert_uint_eq(got, i);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pack");
    TCase *tcase = tcase_create("pack");
    tcase_set_timeout(tcase, 60); /* 600 syncs on a busy disk */
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_reservations_append);
    tcase_add_test(tcase, test_what_came_to_nothing_is_reserved_again);
    tcase_add_test(tcase, test_no_room_for_a_pack);
    tcase_add_test(tcase, test_a_full_pack_is_left);
    tcase_add_test(tcase, test_write_and_read);
    tcase_add_test(tcase, test_write_blocks);
    tcase_add_test(tcase, test_each);
    tcase_add_test(tcase, test_punch);
    tcase_add_test(tcase, test_remove);
    tcase_add_test(tcase, test_dirty_bodies);
    tcase_add_test(tcase, test_reopened);
    tcase_add_test(tcase, test_held_packs_are_remembered);
    tcase_add_test(tcase, test_strange_lanes_file);
    tcase_add_test(tcase, test_many_packs);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
