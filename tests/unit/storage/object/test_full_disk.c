/* A disk that others fill: what cannot be written is refused, and all goes on when there is room
 * again. A file system of its own, where we may mount one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/storage/object/events_fixture.h"

#define DISK_MIB 24

static bool mounted;

static void open_with(bool manual)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    config.dir = dir;
    config.manual = manual;
    config.sync = manual;
    config.reserve_bytes = 0;
    config.log_segment_bytes = (size_t)2 << 20;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
}

static void setup(void)
{
    char options[32];
    (void)target, (void)other_target;
    kist__cause__init(&cause);
    arena_init(&arena, 64 << 20);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(options, sizeof(options), "size=%dm", DISK_MIB);
    mounted = unshare(CLONE_NEWNS) == 0 &&
              mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
              mount("none", dir, "tmpfs", 0, options) == 0;
    if (!mounted) {
        puts("nothing may be mounted here: the tests of a full file system are left out");
        return;
    }
    open_with(true);
    ck_assert_int_eq(create_bucket(bucket_name, "o"), KIST_OK);
}

static void teardown(void)
{
    store_close(store);
    arena_release(&arena);
    if (mounted)
        umount2(dir, MNT_DETACH);
    remove_dir(dir);
}

/* ---- what others do ---- */

static char *path_of(const char *name)
{
    char *path = arena_printf(&arena, "%s/%s", dir, name);
    ck_assert_ptr_nonnull(path);
    return path;
}

static void fill_disk(void)
{
    static const uint8_t piece[4096];
    int fd = open(path_of("filler"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ck_assert_int_ge(fd, 0);
    while (write(fd, piece, sizeof(piece)) > 0)
        continue;
    ck_assert_int_eq(errno, ENOSPC);
    close(fd);
}

static void make_room(void)
{
    ck_assert_int_eq(unlink(path_of("filler")), 0);
}

/* As where a file system writes every block anew: what was made ahead is of no use. */
static void take_blocks_away(void)
{
    DIR *d = opendir(path_of("log"));
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (strncmp(e->d_name, "segment-", 8) != 0)
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDWR);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 2 << 20),
                         0);
        close(fd);
    }
    closedir(d);
}

static bool is_there(const char *key)
{
    struct object_reader *r = open_reader(key);
    object_reader_close(r);
    return r != NULL;
}

static char *body_of(char letter, size_t length)
{
    char *body = arena_alloc(&arena, length + 1);
    ck_assert_ptr_nonnull(body);
    memset(body, letter, length);
    body[length] = '\0';
    return body;
}

static void reopen(void)
{
    store_close(store);
    open_with(true);
}

/* ---- tests ---- */

/* The store believes that there is room: it measured before the others came. */
START_TEST(test_no_room_for_bodies)
{
    struct store_stats stats;
    if (!mounted)
        return;
    ck_assert_int_eq(put("a", "1"), KIST_OK);
    fill_disk();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(put("b", body_of('b', 60000)), KIST_E_NOSPC);
    ck_assert_int_eq(delete_one("a", VERSION_CURRENT), KIST_OK); /* the log has room */
    log_stats(store->log, &stats.log);
    ck_assert(!stats.log.failed);
    ck_assert(!is_there("b"));
    make_room();
    ck_assert_int_eq(put("b", body_of('b', 60000)), KIST_OK);
    ck_assert_uint_eq(result.size, 60000);
    reopen();
    ck_assert(is_there("b"));
    ck_assert_uint_eq(checked().extents, 1);
}
END_TEST

/* What was half written is not there after a start, and is written over before. */
START_TEST(test_no_room_in_the_log)
{
    if (!mounted)
        return;
    ck_assert_int_eq(put("a", body_of('a', 50000)), KIST_OK);
    reopen(); /* the log begins a new segment */
    take_blocks_away();
    fill_disk();
    ck_assert_int_eq(tag("a", 1), KIST_E_NOSPC);
    make_room();
    ck_assert_int_eq(put("b", body_of('b', 50000)), KIST_OK);
    fill_disk();
    ck_assert_int_eq(put("c", body_of('c', 60000)), KIST_E_NOSPC);
    while (delete_one("a", VERSION_CURRENT) == KIST_OK)
        continue; /* what room the last block has */
    make_room();
    ck_assert_int_eq(put("d", body_of('d', 100)), KIST_OK);
    log_close(store->log); /* no checkpoint: the log alone says what there is */
    store->log = NULL;
    reopen();
    ck_assert(!is_there("c"));
    ck_assert(is_there("b"));
    ck_assert(is_there("d"));
    (void)checked();
}
END_TEST

/* The beginning finds room; the rest does not, but is as it was. What is refused must not be
 * there after a start. */
START_TEST(test_zeros_need_no_room)
{
    static const uint8_t zeros[20000];
    if (!mounted)
        return;
    reopen();
    take_blocks_away();
    fill_disk();
    int fd = open(path_of("filler"), O_WRONLY);
    ck_assert_int_eq(ftruncate(fd, lseek(fd, 0, SEEK_END) - 4096), 0);
    close(fd);
    ck_assert_int_ne(log_commit(store->log, bytes_of(zeros, sizeof(zeros)), BYTES_EMPTY, &result),
                     KIST_OK);
    uint64_t last = log_last_index(store->log);
    make_room();
    log_close(store->log);
    store->log = NULL;
    reopen();
    ck_assert_uint_eq(log_last_index(store->log), last);
}
END_TEST

/* An object whose row is so large. */
static enum kist_err put_large(int i)
{
    char key[16];
    snprintf(key, sizeof(key), "k%d", i);
    return put_header(key, body_of('x', 300000), NULL);
}

/* The index cannot grow, the log can: at the overlay's ceiling requests are refused. They do not
 * wait for what may never come. */
START_TEST(test_no_room_for_the_index)
{
    struct rlimit was, small;
    struct arena_mark mark = arena_mark(&arena);
    enum kist_err err = KIST_OK;
    int i = 0;
    if (mounted) {
        store_close(store);
        umount2(dir, MNT_DETACH);
        mounted = false;
    }
    open_with(false);
    ck_assert_int_eq(create_bucket(bucket_name, "o"), KIST_OK);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = (rlim_t)4 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (; i < 2000 && err == KIST_OK; i++, arena_rewind(&arena, mark))
        err = put_large(i);
    ck_assert_int_eq(err, KIST_E_IO);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
    while (put_large(i) != KIST_OK)
        arena_rewind(&arena, mark);
    store_close(store);
    open_with(true);
    ck_assert(is_there("k0"));
    ck_assert(!is_there(arena_printf(&arena, "k%d", i - 1)));
    ck_assert(is_there(arena_printf(&arena, "k%d", i)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("full_disk");
    TCase *t = tcase_create("disk");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_no_room_for_bodies);
    tcase_add_test(t, test_no_room_in_the_log);
    tcase_add_test(t, test_zeros_need_no_room);
    tcase_add_test(t, test_no_room_for_the_index);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
