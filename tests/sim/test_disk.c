/* The simulator itself: what was synced stays, the rest may go, and the same seed repeats it. */
#include <fcntl.h>
#include <ftw.h>
#include <lmdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/base/cleanup.h"
#include "storage/base/env.h"
#include "tests/lib/suite.h"
#include "tests/sim/disk.h"

static char base[256]; /* a directory of the test; "live" and the crashed ones are in it */
static char live[300];

static char *in(const char *dir, const char *name)
{
    static char paths[4][400];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s/%s", base, dir, name);
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void setup(void)
{
    const char *dir = getenv("TMPDIR");
    snprintf(base, sizeof base, "%s/kist-disk-XXXXXX", dir ? dir : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(base));
    snprintf(live, sizeof live, "%s/live", base);
    ck_assert_int_eq(mkdir(live, 0700), 0);
}

static void teardown(void)
{
    disk_free();
    nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int make(const char *name)
{
    int fd = open(in("live", name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* len bytes of one letter. */
static void fill(int fd, char letter, size_t len, off_t offset)
{
    char piece[8192];
    ck_assert_uint_le(len, sizeof piece);
    memset(piece, letter, len);
    ck_assert_int_eq(pwrite(fd, piece, len, offset), (ssize_t)len);
}

static void crash_at(size_t position, uint64_t seed, const char *target)
{
    nftw(in(target, ""), remove_one, 16, FTW_DEPTH | FTW_PHYS);
    ck_assert_int_eq(disk_crash(position, seed, in(target, "")), KIST_OK);
}

/* The file's content as a string in one buffer, "-" when it is not there. */
static const char *content(const char *target, const char *name)
{
    static char text[65536];
    int fd = open(in(target, name), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return "-";
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    ck_assert_int_ge(n, 0);
    text[n] = '\0';
    return text;
}

static bool exists(const char *target, const char *name)
{
    return access(in(target, name), F_OK) == 0;
}

START_TEST(synced_stays_and_unsynced_may_go)
{
    ck_assert_int_eq(disk_start(live), KIST_OK);
    int fd = make("a");
    fill(fd, 'x', 4, 0);
    ck_assert_int_eq(fdatasync(fd), 0);
    ck_assert_int_eq(dir_sync(live), KIST_OK);
    size_t synced = disk_mark();
    fill(fd, 'y', 2, 1);
    close(fd);
    disk_stop();
    bool saw[2] = { false, false };
    for (uint64_t seed = 0; seed < 200; seed++) {
        crash_at(synced, seed, "dead");
        ck_assert_str_eq(content("dead", "a"), "xxxx");
        crash_at(disk_mark(), seed, "dead");
        bool written = strcmp(content("dead", "a"), "xyyx") == 0;
        ck_assert(written || strcmp(content("dead", "a"), "xxxx") == 0);
        saw[written] = true;
    }
    ck_assert(saw[0] && saw[1]);
}
END_TEST

START_TEST(names_need_their_directory)
{
    ck_assert_int_eq(disk_start(live), KIST_OK);
    int fd = make("a");
    fill(fd, 'x', 3, 0);
    ck_assert_int_eq(fsync(fd), 0);
    close(fd);
    crash_at(disk_mark(), DISK_SEED_NOTHING, "dead");
    ck_assert(!exists("dead", "a"));
    ck_assert_int_eq(dir_sync(live), KIST_OK);
    ck_assert_int_eq(rename(in("live", "a"), in("live", "b")), 0);
    crash_at(disk_mark(), DISK_SEED_NOTHING, "dead");
    ck_assert_str_eq(content("dead", "a"), "xxx");
    ck_assert(!exists("dead", "b"));
    for (uint64_t seed = 0; seed < 200; seed++) {
        crash_at(disk_mark(), seed, "dead");
        ck_assert(exists("dead", "a") != exists("dead", "b"));
    }
    ck_assert_int_eq(dir_sync(live), KIST_OK);
    ck_assert_int_eq(unlink(in("live", "b")), 0);
    crash_at(disk_mark(), DISK_SEED_NOTHING, "dead");
    ck_assert_str_eq(content("dead", "b"), "xxx");
    crash_at(disk_mark(), DISK_SEED_EVERYTHING, "dead");
    ck_assert(!exists("dead", "b") && !exists("dead", "a"));
}
END_TEST

START_TEST(a_rename_replaces_at_once)
{
    int fd = make("current");
    fill(fd, 'o', 3, 0);
    close(fd);
    ck_assert_int_eq(disk_start(live), KIST_OK);
    fd = make("current.new");
    fill(fd, 'n', 3, 0);
    ck_assert_int_eq(fdatasync(fd), 0);
    close(fd);
    ck_assert_int_eq(rename(in("live", "current.new"), in("live", "current")), 0);
    size_t renamed = disk_mark();
    ck_assert_int_eq(dir_sync(live), KIST_OK);
    for (size_t position = 0; position <= disk_mark(); position++)
        for (uint64_t seed = 0; seed < 50; seed++) {
            crash_at(position, seed, "dead");
            const char *text = content("dead", "current");
            bool is_new = strcmp(text, "nnn") == 0;
            ck_assert(is_new || strcmp(text, "ooo") == 0);
            ck_assert(is_new || position <= renamed);
            ck_assert(!is_new || !exists("dead", "current.new"));
        }
}
END_TEST

/* Each sector of three overlapping writes has one of the states that it had. */
START_TEST(writes_tear_at_sectors)
{
    int fd = make("a");
    fill(fd, '0', 8192, 0);
    ck_assert_int_eq(disk_start(live), KIST_OK);
    fill(fd, '1', 4096, 0);
    fill(fd, '2', 4096, 2048);
    fill(fd, '3', 100, 50);
    close(fd);
    bool saw_torn = false;
    for (uint64_t seed = 0; seed < 300; seed++) {
        crash_at(disk_mark(), seed, "dead");
        const char *text = content("dead", "a");
        ck_assert_uint_eq(strlen(text), 8192);
        for (size_t at = 0; at < 8192; at += DISK_SECTOR_BYTES) {
            for (size_t i = 1; at > 0 && i < DISK_SECTOR_BYTES; i++)
                ck_assert_int_eq(text[at + i], text[at]);
            ck_assert(text[at] == '0' || (text[at] == '1' && at < 4096) ||
                      (text[at] == '2' && at >= 2048 && at < 6144));
            saw_torn |= at > 512 && at < 2048 && text[at] != text[at - DISK_SECTOR_BYTES];
        }
        /* The last write shares its sector with the first, so that it cannot come without. */
        ck_assert(text[50] != '3' || (text[0] == '1' && text[149] == '3'));
    }
    ck_assert(saw_torn);
}
END_TEST

START_TEST(sizes_follow_their_order)
{
    ck_assert_int_eq(disk_start(live), KIST_OK);
    int fd = make("a");
    ck_assert_int_eq(fallocate(fd, 0, 0, 3000), 0);
    ck_assert_int_eq(fdatasync(fd), 0);
    ck_assert_int_eq(dir_sync(live), KIST_OK);
    size_t synced = disk_mark();
    fill(fd, 'x', 1000, 0);
    ck_assert_int_eq(ftruncate(fd, 500), 0);
    fill(fd, 'y', 500, 1000);
    close(fd);
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct stat st;
        crash_at(disk_mark(), seed, "dead");
        const char *text = content("dead", "a");
        ck_assert_int_eq(stat(in("dead", "a"), &st), 0);
        ck_assert(st.st_size == 3000 || st.st_size == 500 || st.st_size == 1500);
        /* The size of the last write is lost or its block is there or zero; never the block
         * while the truncation before it is lost. */
        for (off_t i = 1000; i < st.st_size; i++)
            ck_assert(text[i] == '\0' || (text[i] == 'y' && st.st_size == 1500));
        ck_assert(st.st_size != 1500 || text[700] == '\0');
        crash_at(synced, seed, "dead");
        ck_assert_int_eq(stat(in("dead", "a"), &st), 0);
        ck_assert_int_eq(st.st_size, 3000);
    }
}
END_TEST

START_TEST(holes_are_lost_or_there)
{
    int fd = make("a");
    fill(fd, 'x', 8192, 0);
    ck_assert_int_eq(disk_start(live), KIST_OK);
    ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
    close(fd);
    bool saw[2] = { false, false };
    for (uint64_t seed = 0; seed < 100; seed++) {
        crash_at(disk_mark(), seed, "dead");
        const char *text = content("dead", "a");
        ck_assert(text[0] == 'x' && (text[4096] == 'x' || text[4096] == '\0'));
        ck_assert_int_eq(text[4096], text[8191]);
        saw[text[4096] == 'x'] = true;
    }
    ck_assert(saw[0] && saw[1]);
}
END_TEST

START_TEST(synced_descriptors_sync_each_write)
{
    ck_assert_int_eq(disk_start(live), KIST_OK);
    int fd = open(in("live", "a"), O_WRONLY | O_CREAT | O_DSYNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(dir_sync(live), KIST_OK);
    ck_assert_int_eq(write(fd, "abc", 3), 3);
    ck_assert_int_eq(write(fd, "def", 3), 3);
    close(fd);
    fd = open(in("live", "a"), O_WRONLY | O_APPEND | O_CLOEXEC);
    ck_assert_int_eq(write(fd, "ghi", 3), 3);
    close(fd);
    crash_at(disk_mark(), DISK_SEED_NOTHING, "dead");
    ck_assert_str_eq(content("dead", "a"), "abcdef");
    crash_at(disk_mark(), DISK_SEED_EVERYTHING, "dead");
    ck_assert_str_eq(content("dead", "a"), "abcdefghi");
}
END_TEST

START_TEST(directories_and_relative_names)
{
    ck_assert_int_eq(mkdir(in("live", "old"), 0700), 0);
    int fd = make("old/kept");
    close(fd);
    ck_assert_int_eq(disk_start(live), KIST_OK);
    int dir = open(live, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(mkdirat(dir, "sub", 0700), 0);
    fd = openat(dir, "./sub//../sub/f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "f", 1), 1);
    ck_assert_int_eq(fsync(fd), 0);
    close(fd);
    ck_assert_int_eq(dir_sync(in("live", "sub")), KIST_OK);
    crash_at(disk_mark(), DISK_SEED_NOTHING, "dead");
    ck_assert(!exists("dead", "sub") && exists("dead", "old/kept"));
    ck_assert_int_eq(fsync(dir), 0);
    crash_at(disk_mark(), DISK_SEED_NOTHING, "dead");
    ck_assert_str_eq(content("dead", "sub/f"), "f");
    ck_assert_int_eq(unlinkat(dir, "sub/f", 0), 0);
    ck_assert_int_eq(rmdir(in("live", "sub")), 0);
    close(dir);
    for (uint64_t seed = 0; seed < 50; seed++) {
        crash_at(disk_mark(), seed, "dead");
        ck_assert(exists("dead", "old/kept"));
    }
    ck_assert_int_eq(disk_crash(disk_mark() + 1, 0, in("dead", "")), KIST_E_INVALID);
    ck_assert_int_eq(disk_start(live), KIST_E_BUSY);
}
END_TEST

/* A digest of everything in a tree: FNV-1a over names and bytes, summed over the files. */
static uint64_t tree_digest;

static int digest_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    uint64_t h = 0xcbf29ce484222325;
    if (type == FTW_F && (st->st_size > 65000 || strstr(path, "lock.mdb")))
        return 0;
    for (const char *p = path + ftw->base; *p; p++)
        h = (h ^ (uint8_t)*p) * 0x100000001b3;
    if (type == FTW_F) {
        FILE *f = fopen(path, "rb");
        for (int c = getc(f); c != EOF; c = getc(f))
            h = (h ^ (uint8_t)c) * 0x100000001b3;
        fclose(f);
    }
    if (ftw->level > 0)
        tree_digest += h;
    return 0;
}

static uint64_t digest_of(const char *target)
{
    tree_digest = 0;
    ck_assert_int_eq(nftw(in(target, ""), digest_one, 16, FTW_PHYS), 0);
    return tree_digest;
}

static void scribble(unsigned seed, size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        char names[2][16];
        for (size_t k = 0; k < 2; k++)
            snprintf(names[k], sizeof names[k], "f%d", rand_r(&seed) % 12);
        int fd = make(names[0]);
        fill(fd, (char)('a' + rand_r(&seed) % 26), (size_t)rand_r(&seed) % 3000,
             rand_r(&seed) % 20000);
        switch (rand_r(&seed) % 6) {
        case 0:
            ck_assert_int_eq(fdatasync(fd), 0);
            break;
        case 1:
            ck_assert_int_eq(ftruncate(fd, rand_r(&seed) % 20000), 0);
            break;
        case 2:
            ck_assert_int_eq(rename(in("live", names[0]), in("live", names[1])), 0);
            break;
        case 3:
            ck_assert_int_eq(unlink(in("live", names[0])), 0);
            break;
        case 4:
            ck_assert_int_eq(dir_sync(live), KIST_OK);
            break;
        default:
            break;
        }
        close(fd);
    }
}

START_TEST(everything_is_the_directory_itself)
{
    scribble(7, 20);
    ck_assert_int_eq(disk_start(live), KIST_OK);
    uint64_t before = digest_of("live");
    for (unsigned round = 0; round < 20; round++) {
        scribble(round, 40);
        crash_at(disk_mark(), DISK_SEED_EVERYTHING, "dead");
        ck_assert_uint_eq(digest_of("dead"), digest_of("live"));
    }
    crash_at(0, 12345, "dead");
    ck_assert_uint_eq(digest_of("dead"), before);
}
END_TEST

START_TEST(a_seed_repeats)
{
    ck_assert_int_eq(disk_start(live), KIST_OK);
    scribble(3, 200);
    uint64_t distinct = 0;
    uint64_t last = 0;
    for (uint64_t seed = 2; seed < 60; seed++) {
        size_t position = disk_mark() * seed / 60;
        crash_at(position, seed, "dead");
        uint64_t digest = digest_of("dead");
        crash_at(position, seed, "again");
        ck_assert_uint_eq(digest_of("again"), digest);
        distinct += digest != last;
        last = digest;
    }
    ck_assert_uint_gt(distinct, 50);
}
END_TEST

static void *count_up(void *arg)
{
    int fd = *(int *)arg;
    for (uint64_t i = 1; i <= 200; i++) {
        ck_assert_int_eq(file_pwrite(fd, &i, sizeof i, 0), KIST_OK);
        ck_assert_int_eq(file_datasync(fd), KIST_OK);
    }
    return NULL;
}

START_TEST(threads_share_the_disk)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    int files[THREADS];
    ck_assert_int_eq(disk_start(live), KIST_OK);
    for (int i = 0; i < THREADS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        files[i] = make(name);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_up, &files[i]), 0);
    }
    ck_assert_int_eq(dir_sync(live), KIST_OK);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        close(files[i]);
    }
    crash_at(disk_mark(), DISK_SEED_NOTHING, "dead");
    for (int i = 0; i < THREADS; i++) {
        char name[16];
        uint64_t value = 0;
        snprintf(name, sizeof name, "t%d", i);
        memcpy(&value, content("dead", name), sizeof value);
        ck_assert_uint_eq(value, 200);
    }
}
END_TEST

static MDB_env *lmdb_open(const char *dir, size_t map_bytes)
{
    MDB_env *env;
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_set_mapsize(env, map_bytes), 0);
    ck_assert_int_eq(mdb_env_open(env, in(dir, ""), 0, 0600), 0);
    return env;
}

static void lmdb_put(MDB_env *env, uint64_t number)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    uint8_t value[600] = { 0 };
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    memcpy(value, &number, sizeof number);
    uint64_t slot = number % 40;
    MDB_val key = { sizeof slot, &slot };
    MDB_val data = { sizeof value, value };
    ck_assert_int_eq(mdb_put(txn, dbi, &key, &data, 0), 0);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
}

static uint64_t lmdb_get(MDB_env *env, uint64_t slot)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    uint64_t number = 0;
    ck_assert_int_eq(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    MDB_val key = { sizeof slot, &slot };
    MDB_val data;
    int rc = mdb_get(txn, dbi, &key, &data);
    ck_assert(rc == 0 || rc == MDB_NOTFOUND);
    if (rc == 0)
        memcpy(&number, data.mv_data, sizeof number);
    mdb_txn_abort(txn);
    return number;
}

/* LMDB keeps its promise on our disk: liblmdb binds to our calls, and they are not too cruel. */
START_TEST(lmdb_survives)
{
    enum { COMMITS = 150 };
    size_t marks[COMMITS + 1];
    MDB_env *env = lmdb_open("live", UINT64_C(1) << 30);
    lmdb_put(env, 0);
    ck_assert_int_eq(disk_start(live), KIST_OK);
    marks[0] = 0;
    for (uint64_t i = 1; i <= COMMITS; i++) {
        lmdb_put(env, i);
        marks[i] = disk_mark();
    }
    mdb_env_close(env);
    disk_stop();
    ck_assert_uint_gt(marks[COMMITS], 3 * COMMITS);
    unsigned seed = 5;
    for (size_t round = 0; round < 300; round++) {
        size_t position = (size_t)rand_r(&seed) % (marks[COMMITS] + 1);
        uint64_t durable = 0;
        while (durable < COMMITS && marks[durable + 1] <= position)
            durable++;
        crash_at(position, round, "dead");
        env = lmdb_open("dead", UINT64_C(1) << 30);
        for (uint64_t i = durable > 39 ? durable - 39 : 0; i <= durable; i++) {
            uint64_t got = lmdb_get(env, i % 40);
            ck_assert(got == i || got == durable + 1);
        }
        mdb_env_close(env);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("disk");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, synced_stays_and_unsynced_may_go);
    tcase_add_test(tc, names_need_their_directory);
    tcase_add_test(tc, a_rename_replaces_at_once);
    tcase_add_test(tc, writes_tear_at_sectors);
    tcase_add_test(tc, sizes_follow_their_order);
    tcase_add_test(tc, holes_are_lost_or_there);
    tcase_add_test(tc, synced_descriptors_sync_each_write);
    tcase_add_test(tc, directories_and_relative_names);
    tcase_add_test(tc, everything_is_the_directory_itself);
    tcase_add_test(tc, a_seed_repeats);
    tcase_add_test(tc, threads_share_the_disk);
    tcase_add_test(tc, lmdb_survives);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
