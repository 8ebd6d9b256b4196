/* Arenas: alignment, ceilings, what clearing keeps. */
#include <stdalign.h>
#include <stdint.h>

#include "storage/base/bytes.h"
#include "tests/lib/suite.h"

START_TEST(test_aligned_and_apart)
{
    struct arena a;
    uint8_t *last = NULL;
    arena_init(&a, 1 << 20);
    for (size_t size = 0; size < 300; size++) {
        uint8_t *p = arena_alloc(&a, size);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % alignof(max_align_t), 0);
        ck_assert_ptr_ne(p, last);
        memset(p, (int)size, size);
        if (size > 1) /* the one before is as it was written */
            ck_assert_uint_eq(last[size - 2], (uint8_t)(size - 1));
        last = p;
    }
    arena_release(&a);
}
END_TEST

START_TEST(test_ceiling)
{
    struct arena a;
    arena_init(&a, 1000);
    ck_assert_ptr_null(arena_alloc(&a, 1001));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 1));
    size_t got = 0;
    while (arena_alloc(&a, 100))
        got += 100;
    ck_assert_uint_ge(got, 800);
    ck_assert_uint_le(got, 1000);
    ck_assert_uint_le(a.used_bytes, 1000);
    ck_assert_ptr_null(arena_printf(&a, "%0200d", 1));
    arena_clear(&a);
    ck_assert_ptr_nonnull(arena_alloc(&a, 800));
    arena_release(&a);
    ck_assert_uint_eq(a.used_bytes, 0);
}
END_TEST

/* More than the largest block is its own; clearing gives it back. */
START_TEST(test_large)
{
    struct arena a;
    arena_init(&a, (size_t)4 << 20);
    uint8_t *small = arena_alloc(&a, 10), *large = arena_alloc(&a, 1 << 20);
    ck_assert_ptr_nonnull(small);
    ck_assert_ptr_nonnull(large);
    memset(large, 1, 1 << 20);
    memset(small, 2, 10);
    ck_assert_uint_eq(large[0], 1);
    arena_clear(&a);
    ck_assert_uint_eq(a.used_bytes, 0);
    ck_assert_ptr_nonnull(arena_alloc(&a, (size_t)3 << 20));
    arena_release(&a);
}
END_TEST

START_TEST(test_texts)
{
    struct arena a;
    char source[] = "abc";
    arena_init(&a, 4096);
    char *dup = arena_strndup(&a, source, 2);
    struct bytes copy = arena_copy(&a, bytes_str(source));
    source[0] = 'X';
    ck_assert_str_eq(dup, "ab");
    ck_assert(bytes_equal(copy, BYTES_LIT("abc")));
    ck_assert_str_eq((const char *)copy.ptr, "abc"); /* with a NUL behind it */
    ck_assert_str_eq(arena_printf(&a, "%s-%d", dup, 7), "ab-7");
    ck_assert_ptr_nonnull(arena_copy(&a, BYTES_EMPTY).ptr);
    uint8_t *zero = arena_zalloc(&a, 64);
    for (int i = 0; i < 64; i++)
        ck_assert_uint_eq(zero[i], 0);
    arena_release(&a);
}
END_TEST

/* What was there before the mark stays, in every kind of block. */
START_TEST(test_rewind)
{
    struct arena a;
    arena_init(&a, 1 << 20);
    struct arena_mark nothing = arena_mark(&a);
    char *kept = arena_strdup(&a, "kept");
    struct arena_mark mark = arena_mark(&a);
    for (int round = 0; round < 100; round++) {
        char *small = arena_strdup(&a, "gone");
        uint8_t *large = arena_alloc(&a, 900000);
        ck_assert_ptr_nonnull(small);
        ck_assert_ptr_nonnull(large);
        memset(large, round, 900000);
        arena_rewind(&a, mark);
        ck_assert_str_eq(kept, "kept");
    }
    arena_rewind(&a, nothing);
    ck_assert_uint_eq(a.used_bytes, 0);
    ck_assert_ptr_nonnull(arena_alloc(&a, 1000000));
    arena_release(&a);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *tcase = tcase_create("arena");
    tcase_add_test(tcase, test_aligned_and_apart);
    tcase_add_test(tcase, test_ceiling);
    tcase_add_test(tcase, test_large);
    tcase_add_test(tcase, test_texts);
    tcase_add_test(tcase, test_rewind);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
