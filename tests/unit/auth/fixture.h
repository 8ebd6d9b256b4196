/* What the auth tests share: AWS's documented example key, its moment, and a request builder. */
#ifndef KIST_TESTS_UNIT_AUTH_FIXTURE_H
#define KIST_TESTS_UNIT_AUTH_FIXTURE_H

#include "auth/chunked.h"
#include "auth/sign.h"
#include "auth/sigv4.h"
#include "tests/lib/suite.h"

#define EXAMPLE_ACCESS "AKIAIOSFODNN7EXAMPLE"
#define EXAMPLE_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define EXAMPLE_NOW 1369353600000 /* 20130524T000000Z */
#define EXAMPLE_SCOPE "20130524/us-east-1/s3/aws4_request"
#define EXAMPLE_CREDENTIAL EXAMPLE_ACCESS "/" EXAMPLE_SCOPE
#define HEADERS_MAX 20

struct fixture {
    struct auth_root_store store;
    struct auth_keyring *ring;
    struct arena arena;
    struct auth_header headers[HEADERS_MAX];
    struct auth_request request;
    struct auth_result result;
};

static inline void fixture_open(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    ck_assert_int_eq(
        auth_root_store_init(&f->store, bytes_str(EXAMPLE_ACCESS), bytes_str(EXAMPLE_SECRET)),
        KIST_OK);
    f->ring = auth_keyring_new(&f->store.base);
    ck_assert_ptr_nonnull(f->ring);
    arena_init(&f->arena, 1U << 20);
}

static inline void fixture_close(struct fixture *f)
{
    auth_keyring_free(f->ring);
    arena_release(&f->arena);
}

/* headers: "name: value" strings, NULL at the end. target: path and query. */
static inline void fixture_request(struct fixture *f, const char *method, const char *target,
                                   const char *const *headers)
{
    const char *mark = strchr(target, '?');
    size_t path_len = mark ? (size_t)(mark - target) : strlen(target);
    f->request = (struct auth_request){ .method = bytes_str(method),
                                        .raw_path = bytes_of(target, path_len),
                                        .raw_query = bytes_str(mark ? mark + 1 : ""),
                                        .headers = f->headers,
                                        .now_ms = EXAMPLE_NOW,
                                        .region = BYTES_LIT("us-east-1"),
                                        .service = BYTES_LIT("s3") };
    for (size_t i = 0; headers && headers[i]; i++) {
        const char *colon = strchr(headers[i], ':');
        ck_assert_ptr_nonnull(colon);
        ck_assert_uint_lt(f->request.header_count, HEADERS_MAX);
        /* As an HTTP parser gives it: without blanks around the value. */
        const char *value = colon + 1 + strspn(colon + 1, " \t");
        size_t len = strlen(value);
        while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
            len--;
        f->headers[f->request.header_count++] =
            (struct auth_header){ bytes_of(headers[i], (size_t)(colon - headers[i])),
                                  bytes_of(value, len) };
    }
}

static inline enum kist_err fixture_verify(struct fixture *f)
{
    return auth_verify(&f->request, f->ring, &f->arena, &f->result);
}

#endif
