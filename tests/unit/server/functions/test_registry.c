/* Functions as rows of a store: found by version and alias, listed in order, asked by services.
 */
#include <semaphore.h>

#include "server/functions/control.h"
#include "tests/lib/commands.h"
#include "tests/lib/suite.h"

#define ACCOUNT "000000000001"

static char dir[] = "/tmp/kist-unit-XXXXXX";
static struct functions f;
static struct arena arena;

static void setup(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    config.dir = dir;
    config.sync = false;
    ck_assert_int_eq(store_open(&config, &f.store), KIST_OK);
    f.config.region = "us-east-1";
    ck_assert_int_eq(registry_open(&f, &f.registry), KIST_OK);
    arena_init(&arena, 8 << 20);
}

static void teardown(void)
{
    registry_close(f.registry);
    store_close(f.store);
    arena_release(&arena);
    remove_dir(dir);
}

static void put(enum record_kind kind, const char *account, const char *name, const void *message)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords records = KIST__PUT_RECORDS__INIT;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *changes[] = { &change };
    Kist__Record record = KIST__RECORD__INIT;
    struct buf packed;
    buf_init(&packed, 1 << 20);
    ck_assert_int_eq(schema_pack(message, &packed), KIST_OK);
    record.body = schema_data(buf_bytes(&packed));
    change.kind = kind;
    change.account = mut(account);
    change.name = mut(name);
    change.any = true;
    change.record = &record;
    records.n_changes = 1;
    records.changes = changes;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &records;
    ck_assert_int_eq(store_commit(f.store, &command), KIST_OK);
    buf_release(&packed);
}

static void put_function(const char *name, const char *version)
{
    Kist__Function fn = KIST__FUNCTION__INIT;
    bool latest = strcmp(version, FN_LATEST) == 0;
    fn.name = mut(name);
    fn.version = mut(version);
    fn.id = mut(name);
    put(latest ? RECORD_FUNCTION : RECORD_FUNCTION_VERSION, ACCOUNT,
        latest ? name : registry_version_row(&arena, bytes_str(name), bytes_str(version)), &fn);
}

static void put_alias(const char *name, const char *alias, const char *version, const char *other,
                      double weight)
{
    Kist__FunctionAlias a = KIST__FUNCTION_ALIAS__INIT;
    a.name = mut(alias);
    a.version = mut(version);
    a.other_version = mut(other);
    a.other_weight = weight;
    put(RECORD_FUNCTION_ALIAS, ACCOUNT,
        registry_alias_row(&arena, bytes_str(name), bytes_str(alias)), &a);
}

static enum kist_err find(const char *name, const char *qualifier, struct function_found *found)
{
    struct function_id id = { BYTES_LIT(ACCOUNT), bytes_str(name), bytes_str(qualifier) };
    return registry_find(&f, &id, &arena, found);
}

START_TEST(test_find)
{
    struct function_found found;
    put_function("a", FN_LATEST);
    put_function("a", "1");
    put_function("a", "12");
    put_alias("a", "live", "12", "", 0);
    put_alias("a", "gone", "7", "", 0);
    ck_assert_int_eq(find("a", "", &found), KIST_OK);
    ck_assert_str_eq(found.function->version, FN_LATEST);
    ck_assert_ptr_eq(found.function, found.latest);
    ck_assert_ptr_null(found.alias);
    ck_assert_int_eq(find("a", "1", &found), KIST_OK);
    ck_assert_str_eq(found.function->version, "1");
    ck_assert_str_eq(found.latest->version, FN_LATEST);
    ck_assert_int_eq(find("a", "live", &found), KIST_OK);
    ck_assert_str_eq(found.function->version, "12");
    ck_assert_str_eq(found.alias, "live");
    ck_assert_int_eq(find("a", "gone", &found), KIST_E_NOT_FOUND);
    ck_assert_int_eq(find("a", "2", &found), KIST_E_NOT_FOUND);
    ck_assert_int_eq(find("a", "none", &found), KIST_E_NOT_FOUND);
    ck_assert_int_eq(find("b", "", &found), KIST_E_NOT_FOUND);
}
END_TEST

START_TEST(test_weights)
{
    struct function_found found;
    unsigned ones = 0, twos = 0;
    put_function("a", FN_LATEST);
    put_function("a", "1");
    put_function("a", "2");
    put_alias("a", "none", "1", "2", 0);
    put_alias("a", "all", "1", "2", 1);
    put_alias("a", "some", "1", "2", 0.5);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(find("a", "none", &found), KIST_OK);
        ck_assert_str_eq(found.function->version, "1");
        ck_assert_int_eq(find("a", "all", &found), KIST_OK);
        ck_assert_str_eq(found.function->version, "2");
        ck_assert_int_eq(find("a", "some", &found), KIST_OK);
        ones += strcmp(found.function->version, "1") == 0;
        twos += strcmp(found.function->version, "2") == 0;
    }
    ck_assert(ones > 0 && twos > 0); /* 2^-199 */
}
END_TEST

static bool add_version(void *ctx, const Kist__Function *version)
{
    struct buf *out = ctx;
    ck_assert_int_eq(buf_printf(out, "%s ", version->version), KIST_OK);
    return true;
}

static bool add_alias(void *ctx, const Kist__FunctionAlias *alias, uint64_t changed)
{
    struct buf *out = ctx;
    ck_assert_uint_gt(changed, 0);
    ck_assert_int_eq(buf_printf(out, "%s ", alias->name), KIST_OK);
    return true;
}

static void is(struct buf *out, const char *text)
{
    ck_assert_msg(bytes_equal(buf_bytes(out), bytes_str(text)), "%.*s", (int)out->len, out->ptr);
    buf_clear(out);
}

/* By number, not by digits; another function's are not among them. */
START_TEST(test_lists)
{
    static const char *const versions[] = { "2", "10", "1", "100" };
    struct buf out;
    struct bytes account = BYTES_LIT(ACCOUNT), name = BYTES_LIT("a");
    buf_init(&out, 4096);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++)
        put_function("a", versions[i]);
    put_function("a-b", "3");
    put_function("ab", "4");
    put_alias("a", "x", "1", "", 0);
    put_alias("a", "b", "1", "", 0);
    ck_assert_int_eq(registry_versions(&f, account, name, BYTES_EMPTY, add_version, &out),
                     KIST_OK);
    is(&out, "1 2 10 100 ");
    ck_assert_int_eq(registry_versions(&f, account, name, BYTES_LIT("2"), add_version, &out),
                     KIST_OK);
    is(&out, "10 100 ");
    ck_assert_int_eq(registry_aliases(&f, account, name, BYTES_EMPTY, add_alias, &out), KIST_OK);
    is(&out, "b x ");
    ck_assert_int_eq(registry_aliases(&f, account, name, BYTES_LIT("b"), add_alias, &out),
                     KIST_OK);
    is(&out, "x ");
    buf_release(&out);
}
END_TEST

START_TEST(test_layer)
{
    Kist__FunctionLayer layer = KIST__FUNCTION_LAYER__INIT, *found = NULL;
    layer.version = 3;
    put(RECORD_LAYER_VERSION, ACCOUNT,
        registry_version_row(&arena, BYTES_LIT("l"), BYTES_LIT("3")), &layer);
    static const struct {
        const char *arn;
        enum kist_err err;
    } arns[] = {
        { "arn:aws:lambda:r:" ACCOUNT ":layer:l:3", KIST_OK },
        { "arn:aws:lambda:r:" ACCOUNT ":layer:l:2", KIST_E_NOT_FOUND },
        { "arn:aws:lambda:r:" ACCOUNT ":layer:l", KIST_E_NOT_FOUND },
        { "arn:aws:lambda:r:" ACCOUNT ":function:l:3", KIST_E_NOT_FOUND },
        { "arn:aws:lambda:r:1:layer:l:3", KIST_E_NOT_FOUND },
        { "arn:aws:lambda:r:" ACCOUNT ":layer:l:3:4", KIST_E_NOT_FOUND },
        { "", KIST_E_NOT_FOUND },
    };
    for (size_t i = 0; i < ARRAY_LEN(arns); i++)
        ck_assert_msg(registry_layer(&f, bytes_str(arns[i].arn), &arena, &found) == arns[i].err,
                      "%s", arns[i].arn);
    ck_assert_uint_eq(found->version, 3);
}
END_TEST

START_TEST(test_url_ids)
{
    Kist__Function a = KIST__FUNCTION__INIT, b = KIST__FUNCTION__INIT;
    char ids[4][33];
    a.id = (char *)"one";
    b.id = (char *)"two";
    registry_url_id(&a, BYTES_EMPTY, ids[0]);
    registry_url_id(&a, BYTES_LIT(FN_LATEST), ids[1]);
    registry_url_id(&a, BYTES_LIT("live"), ids[2]);
    registry_url_id(&b, BYTES_EMPTY, ids[3]);
    ck_assert_uint_eq(strlen(ids[0]), 32);
    ck_assert_str_eq(ids[0], ids[1]);
    ck_assert_str_ne(ids[0], ids[2]);
    ck_assert_str_ne(ids[0], ids[3]);
}
END_TEST

START_TEST(test_services)
{
    Kist__Function fn = KIST__FUNCTION__INIT;
    Kist__FunctionPolicy policy = KIST__FUNCTION_POLICY__INIT, *list[] = { &policy };
    struct function_id id = { BYTES_LIT(ACCOUNT), BYTES_LIT("a"), BYTES_EMPTY };
    struct function_id version = { BYTES_LIT(ACCOUNT), BYTES_LIT("a"), BYTES_LIT("1") };
    struct bytes arn = BYTES_LIT("arn:aws:s3:::b"), account = BYTES_LIT(ACCOUNT);
    policy.document = (char *)"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"Service\":"
                              "\"s3.amazonaws.com\"},\"Action\":\"lambda:InvokeFunction\","
                              "\"Resource\":\"arn:aws:lambda:us-east-1:" ACCOUNT
                              ":function:a\",\"Condition\":{\"ArnLike\":{\"AWS:SourceArn\":"
                              "\"arn:aws:s3:::b\"},\"StringEquals\":{\"AWS:SourceAccount\":"
                              "\"" ACCOUNT "\"}}}}";
    fn.name = (char *)"a";
    fn.n_policies = 1;
    fn.policies = list;
    put(RECORD_FUNCTION, ACCOUNT, "a", &fn);
    ck_assert(functions_service_allowed(&f, &id, "s3.amazonaws.com", arn, account));
    ck_assert(!functions_service_allowed(&f, &id, "sns.amazonaws.com", arn, account));
    ck_assert(!functions_service_allowed(&f, &id, "s3.amazonaws.com", BYTES_LIT("arn:aws:s3:::c"),
                                         account));
    ck_assert(!functions_service_allowed(&f, &id, "s3.amazonaws.com", arn, BYTES_EMPTY));
    ck_assert(!functions_service_allowed(&f, &version, "s3.amazonaws.com", arn, account));
    id.name = BYTES_LIT("none");
    ck_assert(!functions_service_allowed(&f, &id, "s3.amazonaws.com", arn, account));
}
END_TEST

/* ---- alarms ---- */

static void ring(void *ctx)
{
    sem_post(ctx);
}

START_TEST(test_alarms)
{
    sem_t sems[3];
    struct fn_alarm alarms[3];
    int value;
    for (int i = 0; i < 3; i++) {
        sem_init(&sems[i], 0, 0);
        alarms[i] =
            (struct fn_alarm){ .due_ns = mono_ns() + (i == 2 ? 0 : UINT64_C(3600000000000)),
                               .ring = ring,
                               .ctx = &sems[i] };
        registry_alarm_set(f.registry, &alarms[i]);
    }
    while (sem_wait(&sems[2]) != 0)
        continue;
    registry_alarm_unset(f.registry, &alarms[2]); /* it has rung */
    registry_alarm_unset(f.registry, &alarms[1]);
    registry_stop(f.registry); /* all others ring */
    while (sem_wait(&sems[0]) != 0)
        continue;
    sem_getvalue(&sems[1], &value);
    ck_assert_int_eq(value, 0);
    registry_alarm_set(f.registry, &alarms[1]); /* at once, from now on */
    while (sem_wait(&sems[1]) != 0)
        continue;
}
END_TEST

static void put_zip(const char *key, int64_t mtime_ms)
{
    Kist__Object object = KIST__OBJECT__INIT;
    struct whole_object o = {
        .bucket = FUNCTIONS_BUCKET, .key = key, .body = BYTES_LIT("zip"), .object = &object
    };
    object.mtime_ms = mtime_ms;
    ck_assert_int_eq(store_put_whole(f.store, &o), KIST_OK);
}

static enum kist_err head(const char *key)
{
    Kist__Object *object;
    struct object_id id = { BYTES_LIT(FUNCTIONS_BUCKET), bytes_str(key), VERSION_CURRENT };
    return store_head(f.store, &id, &arena, &object);
}

/* Zips without a row go, unless they are so young that their row may be on its way. */
START_TEST(test_sweep)
{
    Kist__Function fn = KIST__FUNCTION__INIT;
    Kist__FunctionLayer layer = KIST__FUNCTION_LAYER__INIT;
    struct env *env = store_env(f.store);
    ck_assert_int_eq(commit_bucket(f.store, FUNCTIONS_BUCKET, "", ""), KIST_OK);
    ck_assert_int_eq(commit_account(f.store, ACCOUNT, CANONICAL_OF("aaaa"), "owner", true, 0),
                     KIST_OK);
    fn.code_key = mut("code/1/kept");
    put(RECORD_FUNCTION, ACCOUNT, "a", &fn);
    layer.code_key = mut("layers/1/kept");
    put(RECORD_LAYER_VERSION, ACCOUNT, "l", &layer);
    put_zip("code/1/kept", 1000);
    put_zip("code/1/lost", 1000);
    put_zip("code/1/young", env->now_ms(env));
    put_zip("layers/1/kept", 1000);
    put_zip("layers/1/lost", 1000);
    put_zip("logs/1/lost", 1000);
    code_sweep(&f);
    registry_close(f.registry); /* waits for it */
    ck_assert_int_eq(registry_open(&f, &f.registry), KIST_OK);
    ck_assert_int_eq(head("code/1/kept"), KIST_OK);
    ck_assert_int_eq(head("code/1/lost"), KIST_E_NO_KEY);
    ck_assert_int_eq(head("code/1/young"), KIST_OK);
    ck_assert_int_eq(head("layers/1/kept"), KIST_OK);
    ck_assert_int_eq(head("layers/1/lost"), KIST_E_NO_KEY);
    ck_assert_int_eq(head("logs/1/lost"), KIST_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("registry");
    TCase *t = tcase_create("rows");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_find);
    tcase_add_test(t, test_weights);
    tcase_add_test(t, test_lists);
    tcase_add_test(t, test_layer);
    tcase_add_test(t, test_url_ids);
    tcase_add_test(t, test_services);
    tcase_add_test(t, test_alarms);
    tcase_add_test(t, test_sweep);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
