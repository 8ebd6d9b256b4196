/* aws-chunked bodies: AWS's documented examples, every way of splitting the input, and every
 * broken framing. */
#include "tests/unit/auth/fixture.h"

#include <stdlib.h>

#define SEED_STREAM "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
#define SEED_TRAILER "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
#define CRC "x-amz-checksum-crc32c"
#define CRC_LINE CRC ":sOO8/Q=="
#define TRAILER_SIG                                                                              \
    "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
#define EXAMPLE_BYTES (65536 + 1024)

struct sunk {
    struct buf data;
    enum kist_err fail_with;
};

static struct auth_result who;
static struct chunked_decoder *decoder;
static struct sunk sunk;
static struct buf body;

static enum kist_err sink(void *ctx, const void *data, size_t len)
{
    struct sunk *s = ctx;
    ck_assert_uint_gt(len, 0);
    if (s->fail_with != KIST_OK)
        return s->fail_with;
    return buf_append(&s->data, data, len);
}

static void setup(void)
{
    struct signing_scope scope = { BYTES_LIT("20130524"), BYTES_LIT("us-east-1"),
                                   BYTES_LIT("s3") };
    memset(&who, 0, sizeof who);
    sigv4_derive_key(bytes_str(EXAMPLE_SECRET), &scope, who.signing_key);
    who.scope = bytes_str(EXAMPLE_SCOPE);
    who.amz_date = BYTES_LIT("20130524T000000Z");
    decoder = malloc(sizeof *decoder);
    memset(&sunk, 0, sizeof sunk);
    buf_init(&sunk.data, 1U << 20);
    buf_init(&body, 1U << 20);
}

static void teardown(void)
{
    free(decoder);
    buf_release(&sunk.data);
    buf_release(&body);
}

static void say(const char *text)
{
    ck_assert_int_eq(buf_append_str(&body, text), KIST_OK);
}

static void say_as(size_t count)
{
    for (size_t i = 0; i < count; i++)
        say("a");
}

static void documented_body(bool trailer)
{
    buf_clear(&body);
    say(trailer ? "10000;chunk-signature="
                  "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
                : "10000;chunk-signature="
                  "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n");
    say_as(65536);
    say(trailer ? "\r\n400;chunk-signature="
                  "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
                : "\r\n400;chunk-signature="
                  "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n");
    say_as(1024);
    say(trailer ? "\r\n0;chunk-signature="
                  "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
                : "\r\n0;chunk-signature="
                  "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n");
}

static void use(enum auth_payload mode)
{
    who.payload = mode;
    memcpy(who.seed_signature,
           mode == AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER ? SEED_TRAILER : SEED_STREAM, 65);
}

/* Feeds the body in pieces of `piece` bytes. Reads past a piece's end are seen by ASan. */
static enum kist_err decode(uint64_t length, const char *trailers, size_t piece)
{
    struct chunked_config config = { &who, length, bytes_str(trailers) };
    enum kist_err err = chunked_init(decoder, &config);
    if (err != KIST_OK)
        return err;
    buf_clear(&sunk.data);
    for (size_t at = 0; at < body.len && err == KIST_OK; at += piece) {
        size_t len = body.len - at < piece ? body.len - at : piece;
        uint8_t *copy = malloc(len);
        memcpy(copy, body.ptr + at, len);
        err = chunked_feed(decoder, bytes_of(copy, len), sink, &sunk);
        free(copy);
    }
    if (err == KIST_OK)
        err = chunked_finish(decoder);
    else
        ck_assert_int_eq(chunked_finish(decoder), err);
    chunked_release(decoder);
    return err;
}

static const size_t pieces[] = { 1, 2, 3, 7, 64, 85, 4096, 65536, 1U << 20 };

START_TEST(documented_signed)
{
    use(AUTH_PAYLOAD_STREAMING_SIGNED);
    documented_body(false);
    ck_assert_int_eq(decode(EXAMPLE_BYTES, "", pieces[_i]), KIST_OK);
    ck_assert_uint_eq(sunk.data.len, EXAMPLE_BYTES);
    ck_assert_int_eq(decode(EXAMPLE_BYTES + 1, "", pieces[_i]), KIST_E_TRUNCATED);
    ck_assert_int_eq(decode(EXAMPLE_BYTES - 1, "", pieces[_i]), KIST_E_CHUNK_FRAMING);
}
END_TEST

START_TEST(documented_trailer)
{
    static const char *const ends[] = {
        CRC_LINE "\r\n" TRAILER_SIG "\r\n\r\n",
        CRC_LINE "\n\r\n" TRAILER_SIG "\r\n\r\n",
        CRC_LINE "\n\r\n" TRAILER_SIG "\n\r\n\r\n",
        CRC_LINE "\r\n" TRAILER_SIG "\r\n",
        "X-Amz-Checksum-CRC32C: sOO8/Q== \r\n" TRAILER_SIG "\r\n\r\n",
    };
    use(AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        documented_body(true);
        say(ends[i]);
        ck_assert_int_eq(decode(EXAMPLE_BYTES, CRC, pieces[_i]), KIST_OK);
        ck_assert_uint_eq(sunk.data.len, EXAMPLE_BYTES);
        ck_assert(bytes_equal(chunked_trailer_value(decoder, CRC), BYTES_LIT("sOO8/Q==")));
        ck_assert_ptr_null(chunked_trailer_value(decoder, "x-amz-checksum-crc32").ptr);
    }
}
END_TEST

START_TEST(wrong_trailers_signed)
{
    static const struct {
        const char *announced, *end;
        enum kist_err err;
    } cases[] = {
        { CRC, "x-amz-checksum-crc32c:sOO8/R==\r\n" TRAILER_SIG "\r\n\r\n",
          KIST_E_CHUNK_SIGNATURE },
        { CRC, TRAILER_SIG "\r\n\r\n", KIST_E_CHUNK_SIGNATURE },
        { CRC, CRC_LINE "\r\n\r\n", KIST_E_TRAILER },
        { CRC, CRC_LINE "\r\n", KIST_E_TRAILER },
        { CRC, "\r\n", KIST_E_TRAILER },
        { CRC, "", KIST_E_TRUNCATED },
        { CRC, CRC_LINE "\r\n" TRAILER_SIG, KIST_E_TRUNCATED },
        { CRC, CRC_LINE "\r\n" TRAILER_SIG "\r\n\r\nx", KIST_E_CHUNK_FRAMING },
        { CRC, CRC_LINE "\r\n" TRAILER_SIG "\r\n" TRAILER_SIG "\r\n\r\n", KIST_E_TRAILER },
        { CRC, CRC_LINE "\r\n" TRAILER_SIG "\r\n" CRC_LINE "\r\n\r\n", KIST_E_TRAILER },
        { CRC, CRC_LINE "\r\n" CRC_LINE "\r\n" TRAILER_SIG "\r\n\r\n", KIST_E_TRAILER },
        { "", CRC_LINE "\r\n" TRAILER_SIG "\r\n\r\n", KIST_E_TRAILER },
        { CRC ",x-amz-checksum-crc32", CRC_LINE "\r\n" TRAILER_SIG "\r\n\r\n", KIST_E_TRAILER },
        { CRC, CRC_LINE "\n" TRAILER_SIG "\n\n", KIST_E_CHUNK_FRAMING },
        { CRC, "\n", KIST_E_CHUNK_FRAMING },
        { CRC, "nonsense\r\n", KIST_E_TRAILER },
        { CRC, "x-amz-checksum-crc32c:a\rb\r\n", KIST_E_TRAILER },
    };
    use(AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER);
    documented_body(true);
    say(cases[_i].end);
    ck_assert_int_eq(decode(EXAMPLE_BYTES, cases[_i].announced, 4096), cases[_i].err);
    ck_assert_int_eq(decode(EXAMPLE_BYTES, cases[_i].announced, 1), cases[_i].err);
}
END_TEST

START_TEST(wrong_announcements)
{
    static const struct {
        enum auth_payload mode;
        const char *announced;
    } cases[] = {
        { AUTH_PAYLOAD_STREAMING_SIGNED, CRC },
        { AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER, CRC "," CRC },
        { AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER, CRC "," },
        { AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER, "a b" },
        { AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER, "a:b" },
        { AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER, "1,2,3,4,5,6,7,8,9" },
    };
    use(cases[_i].mode);
    ck_assert_int_eq(decode(0, cases[_i].announced, 1), KIST_E_TRAILER);
    use(AUTH_PAYLOAD_UNSIGNED);
    ck_assert_int_eq(decode(0, "", 1), KIST_E_INVALID);
}
END_TEST

static const struct unsigned_case {
    const char *body;
    uint64_t length;
    const char *announced;
    enum kist_err err;
} unsigned_cases[] = {
    { "5\r\nhello\r\n0\r\n" CRC_LINE "\r\n\r\n", 5, CRC, KIST_OK },
    { "5\r\nhello\r\n0\r\n" CRC_LINE "\n\r\n\r\n", 5, CRC, KIST_OK },
    { "5\r\nhello\r\n0\r\n" CRC_LINE "\n\r\n", 5, CRC, KIST_OK },
    { "5\r\nhello\r\n0\r\n" CRC_LINE "\r\n", 5, CRC, KIST_OK },
    { "2\r\nhe\r\n003\r\nllo\r\n000\r\n\r\n", 5, "", KIST_OK },
    { "A\r\n0123456789\r\n0\r\n\r\n", 10, "", KIST_OK },
    { "a\r\n01234\r\n789\r\n0\r\n\r\n", 10, "", KIST_OK },
    { "0\r\n\r\n", 0, "", KIST_OK },
    { "0\r\nb:1\r\na: 2\r\n\r\n", 0, "a, B", KIST_OK },
    { "0\r\na:\r\n\r\n", 0, "a", KIST_OK },
    { "5\r\nhello\r\n0\r\n" CRC_LINE "\r\n" TRAILER_SIG "\r\n\r\n", 5, CRC, KIST_E_TRAILER },
    { "", 0, "", KIST_E_TRUNCATED },
    { "0", 0, "", KIST_E_TRUNCATED },
    { "0\r\n", 0, "", KIST_E_TRUNCATED },
    { "0\r\n\r", 0, "", KIST_E_TRUNCATED },
    { "5\r\nhel", 5, "", KIST_E_TRUNCATED },
    { "5\r\nhello", 5, "", KIST_E_TRUNCATED },
    { "5\r\nhello\r\n", 5, "", KIST_E_TRUNCATED },
    { "0\r\n\r\n", 1, "", KIST_E_TRUNCATED },
    { "5\r\nhello\r\n0\r\n\r\n", 4, "", KIST_E_CHUNK_FRAMING },
    { "5\r\nhelloX\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "5\r\nhello\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "5\r\nhello\r0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "5\nhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "5\rhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "\r\n", 0, "", KIST_E_CHUNK_FRAMING },
    { "-1\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "+5\r\nhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "0x5\r\nhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { " 5\r\nhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "5 \r\nhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "g\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "5;chunk-signature=" SEED_STREAM "\r\nhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "5;a=b\r\nhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "140000001\r\n", UINT64_MAX, "", KIST_E_CHUNK_FRAMING },
    { "10000000000000000\r\n", UINT64_MAX, "", KIST_E_CHUNK_FRAMING },
    { "ffffffffffffffff\r\n", UINT64_MAX, "", KIST_E_CHUNK_FRAMING },
    { "10000000000000005\r\nhello\r\n0\r\n\r\n", 5, "", KIST_E_CHUNK_FRAMING },
    { "0\r\n\r\n0\r\n\r\n", 0, "", KIST_E_CHUNK_FRAMING },
    { "0\r\n\r\n\r\n", 0, "", KIST_E_CHUNK_FRAMING },
};

START_TEST(unsigned_bodies)
{
    const struct unsigned_case *c = &unsigned_cases[_i];
    use(AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER);
    say(c->body);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        ck_assert_int_eq(decode(c->length, c->announced, pieces[i]), c->err);
    if (c->err == KIST_OK)
        ck_assert_uint_eq(sunk.data.len, c->length);
}
END_TEST

/* Lines and trailers have ceilings. */
START_TEST(endless_lines)
{
    use(AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER);
    for (size_t i = 0; i < CHUNKED_LINE_MAX + 3; i++)
        say("0");
    ck_assert_int_eq(decode(0, "", 64), KIST_E_CHUNK_FRAMING);
    buf_clear(&body);
    say("0\r\na:");
    say_as(CHUNKED_TRAILERS_MAX);
    ck_assert_int_eq(decode(0, "a", 64), KIST_E_TRAILER);
    buf_clear(&body);
    say("0\r\na:");
    say_as(CHUNKED_TRAILERS_MAX - 2 - 1 - 2);
    say("\n\r\n\r\n");
    ck_assert_int_eq(decode(0, "a", 64), KIST_OK);
}
END_TEST

/* Every byte of a signed body matters; the data may have been passed on, but never as good. */
START_TEST(flipped_bytes)
{
    struct signer signer;
    char signature[65];
    ck_assert_int_eq(signer_init(&signer, bytes_str(EXAMPLE_ACCESS), bytes_str(EXAMPLE_SECRET),
                                 BYTES_LIT("us-east-1"), BYTES_LIT("s3"), EXAMPLE_NOW),
                     KIST_OK);
    use(AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER);
    memcpy(signature, who.seed_signature, 65);
    static const char *const chunks[] = { "first", "second chunk", "" };
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
        sign_chunk(&signer, EXAMPLE_NOW, bytes_str(chunks[i]), signature);
        ck_assert_int_eq(buf_printf(&body, "%zx;chunk-signature=%s\r\n%s%s", strlen(chunks[i]),
                                    signature, chunks[i], chunks[i][0] ? "\r\n" : ""),
                         KIST_OK);
    }
    sign_trailer(&signer, EXAMPLE_NOW, BYTES_LIT("x-a:1\nx-b:2\n"), signature);
    ck_assert_int_eq(
        buf_printf(&body, "x-a:1\r\nx-b:2\r\nx-amz-trailer-signature:%s\r\n\r\n", signature),
        KIST_OK);
    signer_release(&signer);
    ck_assert_int_eq(decode(17, "x-b,x-a", 5), KIST_OK);
    ck_assert(bytes_equal(buf_bytes(&sunk.data), BYTES_LIT("firstsecond chunk")));
    for (size_t i = 0; i < body.len; i++) {
        body.ptr[i] ^= 0x01;
        enum kist_err err = decode(17, "x-b,x-a", 4096);
        ck_assert_msg(err == KIST_E_CHUNK_FRAMING || err == KIST_E_CHUNK_SIGNATURE ||
                          err == KIST_E_TRAILER || err == KIST_E_TRUNCATED,
                      "byte %zu: %d", i, (int)err);
        body.ptr[i] ^= 0x01;
    }
    for (size_t len = 0; len < body.len - 2; len++) {
        size_t whole = body.len;
        body.len = len;
        ck_assert_int_ne(decode(17, "x-b,x-a", 4096), KIST_OK);
        body.len = whole;
    }
}
END_TEST

START_TEST(sink_errors_stop)
{
    use(AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER);
    sunk.fail_with = KIST_E_NOSPC;
    say("5\r\nhello\r\n0\r\n\r\n");
    ck_assert_int_eq(decode(5, "", 3), KIST_E_NOSPC);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chunked");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, documented_signed, 0, (int)ARRAY_LEN(pieces));
    tcase_add_loop_test(tc, documented_trailer, 0, (int)ARRAY_LEN(pieces));
    tcase_add_loop_test(tc, wrong_trailers_signed, 0, 17);
    tcase_add_loop_test(tc, wrong_announcements, 0, 6);
    tcase_add_loop_test(tc, unsigned_bodies, 0, (int)ARRAY_LEN(unsigned_cases));
    tcase_add_test(tc, endless_lines);
    tcase_add_test(tc, flipped_bytes);
    tcase_add_test(tc, sink_errors_stop);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
