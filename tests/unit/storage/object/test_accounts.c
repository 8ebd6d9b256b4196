/* Accounts in the state machine: who owns what, and what old directories hold. */
#include "storage/index/rows.h"
#include "tests/unit/storage/object/store_fixture.h"

#define FIRST "000000000001"
#define OTHER "000000000002"
#define FIRST_ID CANONICAL_OF("aaaa")
#define OTHER_ID CANONICAL_OF("bbbb")

static enum kist_err put_account(const char *id, const char *canonical, const char *name,
                                 bool first, uint64_t expected)
{
    return commit_account(store, id, canonical, name, first, expected);
}

static enum kist_err delete_account(const char *id)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteAccount c = KIST__DELETE_ACCOUNT__INIT;
    command.of_case = KIST__COMMAND__OF_DELETE_ACCOUNT;
    command.delete_account = &c;
    c.id = mut(id);
    return store_commit(store, &command);
}

static enum kist_err put_user(const char *account, const char *name, bool remove,
                              uint64_t expected)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutIam put = KIST__PUT_IAM__INIT;
    Kist__IamChange change = KIST__IAM_CHANGE__INIT, *list[1] = { &change };
    Kist__IamEntity user = KIST__IAM_ENTITY__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_IAM;
    command.put_iam = &put;
    put.n_changes = 1;
    put.changes = list;
    change.kind = IAM_USER;
    change.account = mut(account);
    change.name = user.name = mut(name);
    change.expected = expected;
    change.entity = remove ? NULL : &user;
    return store_commit(store, &command);
}

static bool add_name(void *ctx, const Kist__Bucket *bucket)
{
    char *names = ctx;
    size_t len = strlen(names);
    snprintf(names + len, 100 - len, "%s ", bucket->name);
    return true;
}

static void check_buckets(const char *canonical, const char *wanted)
{
    char names[100] = "";
    ck_assert_int_eq(store_list_own_buckets(store, bytes_str(canonical), BYTES_EMPTY, BYTES_EMPTY,
                                            add_name, names),
                     KIST_OK);
    ck_assert_str_eq(names, wanted);
}

/* What the first account's rows were called before there were others stays readable. */
START_TEST(test_old_rows_keep_their_keys)
{
    struct row_key row;
    row_iam(&row, BYTES_EMPTY, IAM_USER, BYTES_LIT("ann"));
    ck_assert(bytes_equal(row_bytes(&row), BYTES_LIT("I\x01"
                                                     "ann")));
    row_iam(&row, BYTES_LIT(OTHER), IAM_USER, BYTES_LIT("ann"));
    ck_assert(bytes_equal(row_bytes(&row), BYTES_LIT("I\x81" OTHER "ann")));
}
END_TEST

/* Buckets from before accounts were stored, some under an older root key. */
START_TEST(test_unknown_owners_are_the_first_account)
{
    ck_assert_int_eq(create_bucket("older", "c0ffee"), KIST_OK);
    ck_assert_int_eq(create_bucket("old", FIRST_ID), KIST_OK);
    ck_assert_int_eq(put_account(FIRST, FIRST_ID, "root", true, 0), KIST_OK);
    ck_assert_int_eq(put_account(OTHER, OTHER_ID, "other", false, 0), KIST_OK);
    ck_assert_int_eq(create_bucket("theirs", OTHER_ID), KIST_OK);
    check_buckets(FIRST_ID, "old older ");
    check_buckets(OTHER_ID, "theirs ");
    ck_assert_int_eq(create_bucket("older", FIRST_ID), KIST_E_BUCKET_OWNED);
    ck_assert_int_eq(create_bucket("older", OTHER_ID), KIST_E_BUCKET_EXISTS);
    ck_assert_int_eq(create_bucket("theirs", FIRST_ID), KIST_E_BUCKET_EXISTS);
    ck_assert_int_eq(create_bucket("theirs", OTHER_ID), KIST_E_BUCKET_OWNED);
}
END_TEST

START_TEST(test_names_and_ids_are_unique)
{
    Kist__Account *account = NULL;
    ck_assert_int_eq(put_account(FIRST, FIRST_ID, "root", true, 0), KIST_OK);
    ck_assert_int_eq(put_account(OTHER, OTHER_ID, "root", false, 0), KIST_E_CONFLICT);
    ck_assert_int_eq(put_account(OTHER, FIRST_ID, "other", false, 0), KIST_E_CONFLICT);
    ck_assert_int_eq(put_account(OTHER, OTHER_ID, "other", true, 0), KIST_E_CONFLICT);
    ck_assert_int_eq(put_account(FIRST, OTHER_ID, "other", false, 0), KIST_E_CONFLICT);
    ck_assert_int_eq(put_account("12", OTHER_ID, "other", false, 0), KIST_E_INVALID);
    ck_assert_int_eq(put_account(OTHER, "short", "other", false, 0), KIST_E_INVALID);
    ck_assert_int_eq(put_account(OTHER, OTHER_ID, "other", false, 0), KIST_OK);
    ck_assert_int_eq(store_account_named(store, BYTES_LIT("other"), &arena, &account), KIST_OK);
    ck_assert_str_eq(account->id, OTHER);
    ck_assert_int_eq(store_account_canonical(store, BYTES_LIT(FIRST_ID), &arena, &account),
                     KIST_OK);
    ck_assert_str_eq(account->name, "root");
    ck_assert_int_eq(put_account(FIRST, FIRST_ID, "renamed", true, account->changed),
                     KIST_E_INVALID);
}
END_TEST

START_TEST(test_delete_only_what_owns_nothing)
{
    Kist__IamEntity *user = NULL;
    Kist__Account *account;
    ck_assert_int_eq(put_account(FIRST, FIRST_ID, "root", true, 0), KIST_OK);
    ck_assert_int_eq(put_account(OTHER, OTHER_ID, "other", false, 0), KIST_OK);
    ck_assert_int_eq(delete_account(FIRST), KIST_E_BUCKET_STATE);
    ck_assert_int_eq(create_bucket("b", OTHER_ID), KIST_OK);
    ck_assert_int_eq(delete_account(OTHER), KIST_E_BUCKET_NOT_EMPTY);
    ck_assert_int_eq(delete_bucket("b"), KIST_OK);
    ck_assert_int_eq(put_user(OTHER, "ann", false, 0), KIST_OK);
    ck_assert_int_eq(put_user("", "ann", false, 0), KIST_OK); /* of the first: another ann */
    ck_assert_int_eq(delete_account(OTHER), KIST_E_BUCKET_NOT_EMPTY);
    ck_assert_int_eq(
        store_iam(store, BYTES_LIT(OTHER), IAM_USER, BYTES_LIT("ann"), &arena, &user), KIST_OK);
    ck_assert_int_eq(put_user(OTHER, "ann", true, user->changed), KIST_OK);
    ck_assert_int_eq(delete_account(OTHER), KIST_OK);
    ck_assert_int_eq(store_account(store, BYTES_LIT(OTHER), &arena, &account), KIST_E_NOT_FOUND);
    ck_assert_int_eq(put_user(OTHER, "bob", false, 0), KIST_E_CONFLICT);
    ck_assert_int_eq(store_iam(store, BYTES_EMPTY, IAM_USER, BYTES_LIT("ann"), &arena, &user),
                     KIST_OK);
    ck_assert_int_eq(put_account(OTHER, OTHER_ID, "other", false, 0), KIST_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("accounts");
    TCase *t = tcase_create("rows");
    tcase_add_checked_fixture(t, start_store, stop_store);
    tcase_add_test(t, test_old_rows_keep_their_keys);
    tcase_add_test(t, test_unknown_owners_are_the_first_account);
    tcase_add_test(t, test_names_and_ids_are_unique);
    tcase_add_test(t, test_delete_only_what_owns_nothing);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
