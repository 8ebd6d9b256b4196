/* A store without threads in a directory of its own, and what tests of all kinds do to it. */
#ifndef KIST_TESTS_UNIT_STORAGE_OBJECT_STORE_FIXTURE_H
#define KIST_TESTS_UNIT_STORAGE_OBJECT_STORE_FIXTURE_H

#include "tests/lib/commands.h"
#include "tests/lib/suite.h"

static char dir[] = "/tmp/kist-unit-XXXXXX";
static struct store *store;
static struct arena arena;
static char bucket_name[] = "b";

static inline void open_store(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    config.dir = dir;
    config.manual = true;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
}

static inline void start_store(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    open_store();
    arena_init(&arena, 64 << 20);
}

static inline void stop_store(void)
{
    store_close(store);
    arena_release(&arena);
    remove_dir(dir);
}

/* ---- commands ---- */

static inline void on_done(struct store_op *op)
{
    *(bool *)op->user = true;
}

/* result NULL: nobody asks. */
static inline enum kist_err finish(struct store_op *op, const bool *done,
                                   struct apply_result *result)
{
    while (!*done && store_step(store))
        continue;
    ck_assert(*done);
    enum kist_err err = op->err;
    if (result)
        *result = op->result;
    store_op_release(op);
    return err;
}

/* A command with a body. */
static inline enum kist_err commit_written(Kist__Command *command, struct object_writer *w,
                                           struct apply_result *result)
{
    bool done = false;
    struct store_op op;
    store_op_init(&op, on_done, &done);
    store_put(store, &op, command, w);
    return finish(&op, &done, result);
}

static inline enum kist_err create_bucket(const char *name, const char *owner)
{
    return commit_bucket(store, name, owner, "r");
}

static inline enum kist_err delete_bucket(const char *name)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteBucket request = KIST__DELETE_BUCKET__INIT;
    command.of_case = KIST__COMMAND__OF_DELETE_BUCKET;
    command.delete_bucket = &request;
    request.name = mut(name);
    return store_commit(store, &command);
}

/* For tests of one bucket. */
static inline void start_store_and_bucket(void)
{
    start_store();
    ck_assert_int_eq(create_bucket(bucket_name, "o"), KIST_OK);
}

static inline enum kist_err delete_key(const char *key)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteObjects request = KIST__DELETE_OBJECTS__INIT;
    Kist__DeleteKey one = KIST__DELETE_KEY__INIT, *keys[] = { &one };
    command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
    command.delete_objects = &request;
    request.bucket = bucket_name;
    request.n_keys = 1;
    request.keys = keys;
    one.key = schema_data(bytes_str(key));
    return store_commit(store, &command);
}

/* ---- what is there ---- */

/* NULL: nothing. */
static inline struct object_reader *open_reader(const char *key)
{
    struct object_reader *r = NULL;
    struct object_id id = { bytes_str(bucket_name), bytes_str(key), VERSION_CURRENT };
    enum kist_err err = object_reader_open(store, &id, &arena, &r, NULL);
    ck_assert(err == KIST_OK || err == KIST_E_NO_KEY);
    return r;
}

static inline void tell_finding(void *ctx, const char *finding)
{
    (void)ctx;
    printf("fsck: %s\n", finding);
}

/* After all that can go is gone; nothing may be wrong. */
static inline struct fsck_report checked(void)
{
    struct fsck_report report = { 0 };
    ck_assert_int_eq(store_reclaim(store), KIST_OK);
    ck_assert_int_eq(store_fsck(store, tell_finding, NULL, &report), KIST_OK);
    ck_assert_uint_eq(report.problems, 0);
    return report;
}

#endif
