/* MD5 and SHA-256 in turns, of every number of streams, against each alone. */
#include <string.h>

#include "storage/base/hash_both.h"
#include "tests/lib/suite.h"

enum { BLOCKS = 5, BYTES = BLOCKS * 64 };

/* Case i: 1 to 8 streams with an MD5, of which 0 to all have a SHA-256, too. */
START_TEST(as_each_alone)
{
    static uint8_t data[MD5_LANES][BYTES];
    struct md5 md5[2][MD5_LANES];
    struct sha256 sha[2][MD5_LANES];
    struct hash_both both = { .md5_count = (size_t)_i / (MD5_LANES + 1) + 1,
                              .sha_count = (size_t)_i % (MD5_LANES + 1) };
    if (both.sha_count > both.md5_count || (both.sha_count && !sha256_is_here()))
        return;
    memset(md5, 0, sizeof(md5));
    memset(sha, 0, sizeof(sha));
    for (size_t i = 0; i < MD5_LANES; i++) {
        for (size_t k = 0; k < BYTES; k++)
            data[i][k] = (uint8_t)rand();
        md5_init(&md5[0][i]);
        sha256_init(&sha[0][i]);
    }
    memcpy(md5[1], md5[0], sizeof(md5[0]));
    memcpy(sha[1], sha[0], sizeof(sha[0]));
    for (size_t i = 0; i < both.md5_count; i++) {
        both.md5[i] = &md5[0][i];
        both.md5_from[i] = data[i];
    }
    for (size_t i = 0; i < both.sha_count; i++) { /* not the same streams in the same places */
        both.sha[i] = &sha[0][i];
        both.sha_from[i] = data[MD5_LANES - 1 - i];
    }
    hash_both_blocks(&both, 2);
    for (size_t i = 0; i < MD5_LANES; i++) {
        both.md5_from[i] += i < both.md5_count ? 128 : 0;
        both.sha_from[i] += i < both.sha_count ? 128 : 0;
    }
    hash_both_blocks(&both, BLOCKS - 2);
    for (size_t i = 0; i < MD5_LANES; i++) {
        struct md5 *one = &md5[1][i];
        struct sha256 *other = &sha[1][i];
        const uint8_t *from = data[i], *other_from = data[MD5_LANES - 1 - i];
        if (i < both.md5_count)
            md5_blocks(&one, &from, 1, BLOCKS);
        if (i < both.sha_count)
            sha256_blocks(&other, &other_from, 1, BLOCKS);
    }
    ck_assert_mem_eq(md5[0], md5[1], sizeof(md5[0])); /* those not asked for, too */
    ck_assert_mem_eq(sha[0], sha[1], sizeof(sha[0]));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hash_both");
    TCase *tc = tcase_create("hash_both");
    tcase_add_loop_test(tc, as_each_alone, 0, MD5_LANES * (MD5_LANES + 1));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
