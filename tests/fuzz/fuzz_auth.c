/* Fuzzes signature verification. The input is a request as text:
 *
 *     PUT /bucket/key?query
 *     host:example.com
 *     authorization:...
 *
 * Beside "no crash, no overrun", two rules: an unsigned request is anonymous and denied, and what
 * verifies for one time of day does not verify a month later. */
#include <stdint.h>
#include <stdlib.h>

#include "auth/sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADERS_MAX 32
#define NOW_MS 1369353600000 /* 20130524T000000Z, as AWS's examples */

static struct auth_root_store store;
static struct auth_keyring *ring;

static void check(bool ok)
{
    if (!ok)
        abort();
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

static void parse(struct bytes input, struct auth_header *headers, struct auth_request *request)
{
    struct bytes line = take_until(&input, '\n');
    request->method = take_until(&line, ' ');
    request->raw_path = take_until(&line, '?');
    request->raw_query = line;
    while (input.len > 0 && request->header_count < HEADERS_MAX) {
        line = take_until(&input, '\n');
        struct bytes name = take_until(&line, ':');
        headers[request->header_count++] = (struct auth_header){ name, line };
    }
    request->headers = headers;
    request->has_body = bytes_equal(request->method, BYTES_LIT("PUT"));
    request->now_ms = NOW_MS;
    request->region = BYTES_LIT("us-east-1");
    request->service = BYTES_LIT("s3");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct auth_header headers[HEADERS_MAX];
    struct auth_request request = { 0 };
    struct auth_result result;
    struct arena arena;
    if (!ring) {
        check(auth_root_store_init(&store, BYTES_LIT("AKIAIOSFODNN7EXAMPLE"),
                                   BYTES_LIT("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")) ==
              KIST_OK);
        ring = auth_keyring_new(&store.base);
        check(ring != NULL);
    }
    parse(bytes_of(data, size), headers, &request);
    arena_init(&arena, 1U << 20);
    enum kist_err err = auth_verify(&request, ring, &arena, &result);
    check(auth_is_signed(&request) != result.anonymous);
    check(!result.anonymous || err == KIST_E_DENIED);
    check((err == KIST_OK) == (result.identity != NULL));
    if (err == KIST_OK && result.payload == AUTH_PAYLOAD_SIGNED_DEFERRED) {
        enum kist_err deferred = auth_verify_deferred(&result, &arena, result.payload_sha256);
        check(deferred == KIST_OK || deferred == KIST_E_SIGNATURE || deferred == KIST_E_NOMEM);
    }
    request.now_ms += 30LL * 86400 * 1000;
    check(auth_verify(&request, ring, &arena, &result) != KIST_OK);
    arena_release(&arena);
    return 0;
}
