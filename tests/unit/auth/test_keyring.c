/* Credentials and the cache of derived keys, also from several threads at once. */
#include "tests/unit/auth/fixture.h"

#include <pthread.h>
#include <stdio.h>

#include "storage/base/codec.h"

START_TEST(root_store_limits)
{
    struct auth_root_store store;
    struct arena arena;
    struct credential credential;
    char longest[AUTH_SECRET_MAX + 2];
    memset(longest, 'x', sizeof longest);
    struct bytes fits = bytes_of(longest, AUTH_SECRET_MAX);
    struct bytes too_long = bytes_of(longest, AUTH_SECRET_MAX + 1);
    struct bytes good = BYTES_LIT("key");
    ck_assert_int_eq(auth_root_store_init(&store, BYTES_EMPTY, good), KIST_E_INVALID);
    ck_assert_int_eq(auth_root_store_init(&store, good, BYTES_EMPTY), KIST_E_INVALID);
    ck_assert_int_eq(auth_root_store_init(&store, too_long, good), KIST_E_INVALID);
    ck_assert_int_eq(auth_root_store_init(&store, good, too_long), KIST_E_INVALID);
    ck_assert_int_eq(auth_root_store_init(&store, BYTES_LIT("a/b"), good), KIST_E_INVALID);
    ck_assert_int_eq(auth_root_store_init(&store, BYTES_LIT("a b"), good), KIST_E_INVALID);
    ck_assert_int_eq(auth_root_store_init(&store, BYTES_LIT("a,b"), good), KIST_E_INVALID);
    ck_assert_int_eq(auth_root_store_init(&store, fits, fits), KIST_OK);
    arena_init(&arena, 1024);
    ck_assert_int_eq(store.base.find(&store.base, good, BYTES_EMPTY, &arena, &credential),
                     KIST_E_NO_SUCH_ACCESS_KEY);
    ck_assert_int_eq(store.base.find(&store.base, fits, BYTES_EMPTY, &arena, &credential),
                     KIST_OK);
    ck_assert(bytes_equal(credential.secret, fits));
    ck_assert(credential.identity->is_root);
    ck_assert_uint_eq(credential.identity->id.len, 64);
    arena_release(&arena);
}
END_TEST

/* https://docs.aws.amazon.com/general/latest/gr/signature-v4-examples.html */
START_TEST(documented_derivation)
{
    struct signing_scope scope = { BYTES_LIT("20120215"), BYTES_LIT("us-east-1"),
                                   BYTES_LIT("iam") };
    uint8_t key[32];
    char hex[65];
    /* That page's secret differs from S3's example in one character. */
    sigv4_derive_key(BYTES_LIT("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), &scope, key);
    hex_encode(bytes_of(key, sizeof key), hex);
    ck_assert_str_eq(hex, "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
}
END_TEST

START_TEST(cached_by_everything)
{
    struct auth_root_store store;
    struct bytes id = BYTES_LIT("id"), secret = BYTES_LIT("secret"), other = BYTES_LIT("other");
    struct signing_scope scope = { BYTES_LIT("20130524"), BYTES_LIT("r"), BYTES_LIT("s3") };
    struct signing_key *a, *b, *c, *d;
    ck_assert_int_eq(auth_root_store_init(&store, id, secret), KIST_OK);
    struct auth_keyring *ring = auth_keyring_new(&store.base);
    ck_assert_int_eq(auth_keyring_get(ring, id, secret, &scope, &a), KIST_OK);
    ck_assert_int_eq(auth_keyring_get(ring, id, secret, &scope, &b), KIST_OK);
    ck_assert_ptr_eq(a, b);
    /* A changed secret must not find the key of the old one. */
    ck_assert_int_eq(auth_keyring_get(ring, id, other, &scope, &c), KIST_OK);
    ck_assert_mem_ne(signing_key_raw(a), signing_key_raw(c), 32);
    scope.date = BYTES_LIT("20130525");
    ck_assert_int_eq(auth_keyring_get(ring, id, secret, &scope, &d), KIST_OK);
    ck_assert_mem_ne(signing_key_raw(a), signing_key_raw(d), 32);
    auth_keyring_free(ring); /* references outlive the ring */
    ck_assert_mem_eq(signing_key_raw(a), signing_key_raw(b), 32);
    signing_key_unref(a);
    signing_key_unref(b);
    signing_key_unref(c);
    signing_key_unref(d);
}
END_TEST

struct racer {
    struct auth_keyring *ring;
    unsigned seed;
    bool failed;
};

/* Far more keys than places, so that entries are evicted while others use them. */
static void *race(void *arg)
{
    struct racer *r = arg;
    for (unsigned i = 0; i < 3000 && !r->failed; i++) {
        char id[16], hex[65], expected[65];
        uint8_t raw[32], mac[32];
        struct signing_key *key;
        r->seed = r->seed * 1103515245U + 12345U;
        snprintf(id, sizeof id, "key%u", (r->seed >> 16) % (i % 3 ? 4 : 1000));
        struct signing_scope scope = { BYTES_LIT("20130524"), BYTES_LIT("r"), BYTES_LIT("s3") };
        if (auth_keyring_get(r->ring, bytes_str(id), bytes_str(id), &scope, &key) != KIST_OK) {
            r->failed = true;
            break;
        }
        signing_key_sign(key, BYTES_LIT("x"), hex);
        signing_key_unref(key);
        sigv4_derive_key(bytes_str(id), &scope, raw);
        hmac_sha256(bytes_of(raw, sizeof raw), BYTES_LIT("x"), mac);
        hex_encode(bytes_of(mac, sizeof mac), expected);
        r->failed = memcmp(hex, expected, 64) != 0;
    }
    return NULL;
}

START_TEST(shared_by_threads)
{
    struct auth_root_store store;
    pthread_t threads[4];
    struct racer racers[4];
    ck_assert_int_eq(auth_root_store_init(&store, BYTES_LIT("id"), BYTES_LIT("s")), KIST_OK);
    struct auth_keyring *ring = auth_keyring_new(&store.base);
    for (unsigned i = 0; i < 4; i++) {
        racers[i] = (struct racer){ ring, i, false };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(!racers[i].failed);
    }
    auth_keyring_free(ring);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, root_store_limits);
    tcase_add_test(tc, documented_derivation);
    tcase_add_test(tc, cached_by_everything);
    tcase_add_test(tc, shared_by_threads);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
