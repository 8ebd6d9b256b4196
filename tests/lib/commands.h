/* Commands that tests of every layer over the store commit. */
#ifndef KIST_TESTS_LIB_COMMANDS_H
#define KIST_TESTS_LIB_COMMANDS_H

#include "storage/object/store.h"

/* 64 characters, from four. */
#define CANONICAL_OF(c) c c c c c c c c c c c c c c c c

/* For messages, which are not written to. */
static inline char *mut(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* expected: 0, or what a change of the account must name. */
static inline enum kist_err commit_account(struct store *store, const char *id,
                                           const char *canonical, const char *name, bool first,
                                           uint64_t expected)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutAccount put = KIST__PUT_ACCOUNT__INIT;
    Kist__Account account = KIST__ACCOUNT__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_ACCOUNT;
    command.put_account = &put;
    put.account = &account;
    put.expected = expected;
    account.id = mut(id);
    account.canonical = mut(canonical);
    account.name = mut(name);
    account.first = first;
    return store_commit(store, &command);
}

static inline enum kist_err commit_bucket(struct store *store, const char *name,
                                          const char *owner, const char *region)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CreateBucket create = KIST__CREATE_BUCKET__INIT;
    Kist__Bucket bucket = KIST__BUCKET__INIT;
    command.of_case = KIST__COMMAND__OF_CREATE_BUCKET;
    command.create_bucket = &create;
    create.bucket = &bucket;
    bucket.name = mut(name);
    bucket.owner = mut(owner);
    bucket.region = mut(region);
    return store_commit(store, &command);
}

#endif
