/* The log's disk format: what is sealed is read back, what is damaged is not. */
#include "storage/log/format.h"
#include "tests/lib/suite.h"

#define GENERATION 7

/* Two commands, one with a body, and where they ended. */
static uint8_t *make_batch(struct batch_header *h)
{
    static const struct {
        const char *command, *body;
    } parts[] = { { "first", "body" }, { "second!", "" } };
    uint8_t *b = calloc(1, 1024);
    size_t at = BATCH_HEADER_BYTES;
    ck_assert_ptr_nonnull(b);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t len = strlen(parts[i].command);
        put_u32(b + at, (uint32_t)len);
        put_u32(b + at + 4, (uint32_t)strlen(parts[i].body));
        memcpy(b + at + COMMAND_HEADER_BYTES, parts[i].command, len);
        at += COMMAND_HEADER_BYTES + len;
    }
    memcpy(b + at, "body", 4);
    *h = (struct batch_header){ .generation = GENERATION,
                                .first_index = 41,
                                .pack_offset = 4096,
                                .commands = 2,
                                .total_bytes = (uint32_t)at + 4,
                                .bodies_at = (uint32_t)at,
                                .bodies_bytes = 4,
                                .pack = 3,
                                .nonce = 99 };
    batch_seal(b, h);
    return b;
}

static enum kist_err collect(void *ctx, const struct log_entry *e)
{
    struct buf *out = ctx;
    return buf_printf(out, "%llu:%.*s/%.*s@%u+%llu ", (unsigned long long)e->index,
                      (int)e->command.len, (const char *)e->command.ptr, (int)e->body.len,
                      (const char *)e->body.ptr, e->pack, (unsigned long long)e->offset);
}

START_TEST(test_round_trip)
{
    struct batch_header h, found;
    struct buf out;
    uint8_t *b = make_batch(&h);
    buf_init(&out, 1000);
    ck_assert_int_eq(batch_peek(b, 1024, GENERATION, &found), KIST_OK);
    ck_assert_uint_eq(found.generation, GENERATION);
    ck_assert_uint_eq(found.first_index, 41);
    ck_assert_uint_eq(found.pack_offset, 4096);
    ck_assert_uint_eq(found.commands, 2);
    ck_assert_uint_eq(found.total_bytes, h.total_bytes);
    ck_assert_uint_eq(found.bodies_at, h.bodies_at);
    ck_assert_uint_eq(found.bodies_bytes, 4);
    ck_assert_uint_eq(found.pack, 3);
    ck_assert_uint_eq(found.nonce, 99);
    ck_assert_int_eq(batch_check(b, &found), KIST_OK);
    ck_assert_int_eq(batch_each(b, &found, collect, &out), KIST_OK);
    ck_assert(bytes_equal(buf_bytes(&out), BYTES_LIT("41:first/body@3+4096 "
                                                     "42:second!/@3+4100 ")));
    buf_release(&out);
    free(b);
}
END_TEST

/* Whichever byte changes, the batch is not taken. */
START_TEST(test_every_byte_counts)
{
    struct batch_header h, found;
    uint8_t *b = make_batch(&h);
    for (size_t i = 0; i < h.total_bytes; i++)
        for (unsigned bit = 0; bit < 8; bit += 7) {
            b[i] ^= (uint8_t)(1U << bit);
            bool taken = batch_peek(b, 1024, GENERATION, &found) == KIST_OK &&
                         batch_check(b, &found) == KIST_OK;
            ck_assert_msg(!taken, "byte %zu bit %u", i, bit);
            b[i] ^= (uint8_t)(1U << bit);
        }
    ck_assert_int_eq(batch_check(b, &h), KIST_OK); /* and it was not changed by looking */
    free(b);
}
END_TEST

START_TEST(test_other_lives_and_lengths)
{
    struct batch_header h, found;
    uint8_t *b = make_batch(&h);
    ck_assert_int_eq(batch_peek(b, 1024, GENERATION + 1, &found), KIST_E_NOT_FOUND);
    ck_assert_int_eq(batch_peek(b, BATCH_HEADER_BYTES - 1, GENERATION, &found), KIST_E_NOT_FOUND);
    ck_assert_int_eq(batch_peek(b, h.total_bytes - 1, GENERATION, &found), KIST_E_CORRUPT);
    ck_assert_int_eq(batch_peek(b, h.total_bytes, GENERATION, &found), KIST_OK);
    b[4]++;
    ck_assert_int_eq(batch_peek(b, 1024, GENERATION, &found), KIST_E_NEWER_FORMAT);
    free(b);
}
END_TEST

/* Lengths inside that do not fit, under a checksum that does. */
START_TEST(test_lying_lengths)
{
    static const size_t fields[] = { BATCH_HEADER_BYTES, BATCH_HEADER_BYTES + 4 };
    static const uint32_t lies[] = { 1000, 0xFFFFFFFFU };
    struct buf out;
    buf_init(&out, 1000);
    for (size_t f = 0; f < ARRAY_LEN(fields); f++)
        for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
            struct batch_header h;
            uint8_t *b = make_batch(&h);
            put_u32(b + fields[f], lies[i]);
            batch_seal(b, &h);
            ck_assert_int_eq(batch_check(b, &h), KIST_OK);
            ck_assert_int_eq(batch_each(b, &h, collect, &out), KIST_E_CORRUPT);
            free(b);
        }
    struct batch_header h;
    uint8_t *b = make_batch(&h);
    h.commands = 100;
    batch_seal(b, &h);
    ck_assert_int_eq(batch_each(b, &h, collect, &out), KIST_E_CORRUPT);
    free(b);
    buf_release(&out);
}
END_TEST

START_TEST(test_segment_header)
{
    uint8_t b[SEGMENT_SEAL_BYTES], damaged[SEGMENT_SEAL_BYTES];
    uint64_t generation = 0, nonce = 0;
    segment_seal(b, 0x123456789ABCDEF0U, 77);
    ck_assert_int_eq(segment_peek(b, &generation, &nonce), KIST_OK);
    ck_assert_uint_eq(generation, 0x123456789ABCDEF0U);
    ck_assert_uint_eq(nonce, 77);
    for (size_t i = 0; i < 24; i++) { /* the nonce is only compared */
        memcpy(damaged, b, sizeof(b));
        damaged[i] ^= 1;
        ck_assert_int_eq(segment_peek(damaged, &generation, &nonce), KIST_E_NOT_FOUND);
    }
    memset(b, 0, sizeof(b));
    ck_assert_int_eq(segment_peek(b, &generation, &nonce), KIST_E_NOT_FOUND);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("format");
    TCase *tcase = tcase_create("format");
    tcase_add_test(tcase, test_round_trip);
    tcase_add_test(tcase, test_every_byte_counts);
    tcase_add_test(tcase, test_other_lives_and_lengths);
    tcase_add_test(tcase, test_lying_lengths);
    tcase_add_test(tcase, test_segment_header);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
