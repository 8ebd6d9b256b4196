/* Fuzzes the aws-chunked decoder. The input is a line of settings and the body:
 *
 *     <mode u|s|t> <decoded length> <announced trailers>
 *     5\r\nhello\r\n0\r\n...
 *
 * The body is decoded whole, and byte by byte from blocks of exact size: both must agree in
 * result, data and trailers, and success must mean exactly the announced length. */
#include <stdint.h>
#include <stdlib.h>

#include "auth/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

struct sum {
    uint64_t bytes;
    uint32_t crc;
};

static enum kist_err sink(void *ctx, const void *data, size_t len)
{
    struct sum *sum = ctx;
    check(len > 0);
    sum->bytes += len;
    sum->crc = crc32c_update(sum->crc, data, len);
    return KIST_OK;
}

static struct bytes take_until(struct bytes *rest, char separator)
{
    const uint8_t *at = rest->len ? memchr(rest->ptr, separator, rest->len) : NULL;
    size_t len = at ? (size_t)(at - rest->ptr) : rest->len;
    struct bytes part = bytes_of(rest->ptr, len);
    size_t skip = at ? len + 1 : len;
    if (rest->len > 0)
        *rest = bytes_of(rest->ptr + skip, rest->len - skip);
    return part;
}

/* AWS's example of 20130524, whose chunk signatures are in the seeds. */
static void example_result(struct bytes mode, struct auth_result *result)
{
    static const uint8_t key[32] = {
        0xdb, 0xb8, 0x93, 0xac, 0xc0, 0x10, 0x96, 0x49, 0x18, 0xf1, 0xfd,
        0x43, 0x3a, 0xdd, 0x87, 0xc7, 0x0e, 0x8b, 0x0d, 0xb6, 0xbe, 0x30,
        0xc1, 0xfb, 0xea, 0xfe, 0xfa, 0x5e, 0xc6, 0xba, 0x83, 0x78,
    };
    const char *seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    result->payload = AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER;
    if (bytes_equal(mode, BYTES_LIT("s")))
        result->payload = AUTH_PAYLOAD_STREAMING_SIGNED;
    if (bytes_equal(mode, BYTES_LIT("t"))) {
        result->payload = AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER;
        seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
    }
    memcpy(result->signing_key, key, sizeof key);
    memcpy(result->seed_signature, seed, 65);
    result->scope = BYTES_LIT("20130524/us-east-1/s3/aws4_request");
    result->amz_date = BYTES_LIT("20130524T000000Z");
}

static enum kist_err decode(const struct chunked_config *config, struct bytes body, bool whole,
                            struct chunked_decoder *d, struct sum *sum)
{
    enum kist_err err = chunked_init(d, config);
    if (err != KIST_OK) {
        d->trailer_count = 0;
        return err;
    }
    if (whole) {
        err = chunked_feed(d, body, sink, sum);
    } else {
        for (size_t i = 0; i < body.len && err == KIST_OK; i++) {
            uint8_t *copy = malloc(1);
            check(copy != NULL);
            *copy = body.ptr[i];
            err = chunked_feed(d, bytes_of(copy, 1), sink, sum);
            free(copy);
        }
    }
    if (err == KIST_OK)
        err = chunked_finish(d);
    chunked_release(d);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chunked_decoder decoders[2];
    struct auth_result result = { 0 };
    struct sum sums[2] = { { 0, 0 }, { 0, 0 } };
    struct bytes rest = bytes_of(data, size);
    struct bytes settings = take_until(&rest, '\n');
    example_result(take_until(&settings, ' '), &result);
    struct chunked_config config = { .auth = &result };
    if (bytes_to_u64(take_until(&settings, ' '), UINT64_MAX, &config.decoded_length) != KIST_OK)
        return 0;
    config.trailers = settings;
    enum kist_err whole = decode(&config, rest, true, &decoders[0], &sums[0]);
    enum kist_err bytewise = decode(&config, rest, false, &decoders[1], &sums[1]);
    check(whole == bytewise);
    check(whole != KIST_OK || sums[0].bytes == config.decoded_length);
    check(sums[0].bytes == sums[1].bytes && sums[0].crc == sums[1].crc);
    for (size_t i = 0; whole == KIST_OK && i < decoders[0].trailer_count; i++)
        check(bytes_equal(decoders[0].trailers[i].value, decoders[1].trailers[i].value));
    return 0;
}
