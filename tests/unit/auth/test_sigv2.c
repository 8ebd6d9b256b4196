/* Signature Version 2: AWS's documented examples, and what must be refused.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html */
#include "tests/unit/auth/fixture.h"

#define HOST "Host: johnsmith.s3.amazonaws.com"
#define AUTH(signature) "Authorization: AWS " EXAMPLE_ACCESS ":" signature
#define GET_DATE "Date: Tue, 27 Mar 2007 19:36:42 +0000"
#define SIG_GET "bWq2s1WEIj+Ydj0vQ697zp+IXMU="
#define SIG_QUERY "NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D"
#define PRESIGNED(expires) "AWSAccessKeyId=" EXAMPLE_ACCESS "&Expires=" expires "&Signature="
#define AT_GET 1175024202000
#define AT_QUERY 1175139620000
#define MINUTES_15 900000

static struct fixture f;

static void setup(void)
{
    fixture_open(&f);
}

static void teardown(void)
{
    fixture_close(&f);
}

static enum kist_err verify(const char *method, const char *target, const char *bucket,
                            int64_t now_ms, const char *const *headers)
{
    fixture_request(&f, method, target, headers);
    f.request.host_bucket = bytes_str(bucket);
    f.request.now_ms = now_ms;
    return fixture_verify(&f);
}

static const struct example {
    const char *method, *target, *bucket;
    int64_t now_ms;
    const char *headers[HEADERS_MAX];
} examples[] = {
    { "GET", "/photos/puppy.jpg", "johnsmith", AT_GET, { HOST, GET_DATE, AUTH(SIG_GET) } },
    { "GET", "/johnsmith/photos/puppy.jpg", "", AT_GET, { HOST, GET_DATE, AUTH(SIG_GET) } },
    { "PUT",
      "/photos/puppy.jpg",
      "johnsmith",
      1175030145000,
      { HOST, "Content-Type: image/jpeg", "Date: Tue, 27 Mar 2007 21:15:45 +0000",
        AUTH("MyyxeRY7whkBe+bq8fHCL/2kKUg=") } },
    { "GET",
      "/?prefix=photos&max-keys=50&marker=puppy",
      "johnsmith",
      1175024561000,
      { HOST, "Date: Tue, 27 Mar 2007 19:42:41 +0000", AUTH("htDYFYduRNen8P9ZfE/s9SuKy0U=") } },
    { "GET",
      "/?acl",
      "johnsmith",
      1175024686000,
      { HOST, "Date: Tue, 27 Mar 2007 19:44:46 +0000", AUTH("c2WLPFtWHVgbEmeEG93a4cG37dM=") } },
    { "GET",
      "/",
      "",
      1175045399000,
      { HOST, "Date: Wed, 28 Mar 2007 01:29:59 +0000", AUTH("qGdzdERIC03wnaRNKh6OqZehG9s=") } },
    { "GET",
      "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
      "",
      1175046589000,
      { HOST, "Date: Wed, 28 Mar 2007 01:49:49 +0000", AUTH("DNEZGsoieTZ92F3bUfSPQcbGmlM=") } },
    { "PUT",
      "/db-backup.dat.gz",
      "static.johnsmith.net",
      1175029568000,
      { HOST, "Date: Tue, 27 Mar 2007 21:06:08 +0000", "x-amz-acl: public-read",
        "content-type: application/x-download",
        "Content-MD5: 4gJE4saaMU4BqNR0kLY+lw==", "X-Amz-Meta-ReviewedBy: joe@johnsmith.net",
        "X-Amz-Meta-ReviewedBy: jane@johnsmith.net", "X-Amz-Meta-FileChecksum: 0x02661779",
        "X-Amz-Meta-ChecksumAlgorithm: crc32", AUTH("ilyl83RwaSoYIEdixDQcA4OnAnc=") } },
    { "GET",
      "/photos/puppy.jpg?" PRESIGNED("1175139620") SIG_QUERY,
      "johnsmith",
      AT_QUERY,
      { HOST } },
};

START_TEST(documented_examples)
{
    const struct example *e = &examples[_i];
    ck_assert_int_eq(verify(e->method, e->target, e->bucket, e->now_ms, e->headers), KIST_OK);
    ck_assert(f.result.version_2);
    ck_assert(f.result.identity->is_root);
    ck_assert_int_eq(f.result.payload, AUTH_PAYLOAD_UNSIGNED);
    ck_assert(f.result.presigned == (strstr(e->target, "Signature=") != NULL));
}
END_TEST

static const struct refusal {
    const char *method, *target;
    int64_t now_ms;
    const char *headers[HEADERS_MAX];
    enum kist_err err;
} refusals[] = {
    { "PUT", "/photos/puppy.jpg", AT_GET, { GET_DATE, AUTH(SIG_GET) }, KIST_E_SIGNATURE },
    { "GET", "/photos/Puppy.jpg", AT_GET, { GET_DATE, AUTH(SIG_GET) }, KIST_E_SIGNATURE },
    { "GET", "/photos/puppy.jpg?acl", AT_GET, { GET_DATE, AUTH(SIG_GET) }, KIST_E_SIGNATURE },
    { "GET",
      "/photos/puppy.jpg?retention",
      AT_GET,
      { GET_DATE, AUTH(SIG_GET) },
      KIST_E_SIGNATURE },
    { "GET",
      "/photos/puppy.jpg",
      AT_GET,
      { GET_DATE, "x-amz-meta-a: 1", AUTH(SIG_GET) },
      KIST_E_SIGNATURE },
    { "GET",
      "/photos/puppy.jpg",
      AT_GET,
      { GET_DATE, AUTH("bWq2s1WEIj+Ydj0vQ697zp+IXMV=") },
      KIST_E_SIGNATURE },
    { "GET", "/photos/puppy.jpg", AT_GET, { GET_DATE, AUTH("x") }, KIST_E_SIGNATURE },
    { "GET", "/photos/puppy.jpg", AT_GET, { GET_DATE, AUTH("") }, KIST_E_INVALID },
    { "GET", "/photos/puppy.jpg", AT_GET, { GET_DATE, "Authorization: AWS x" }, KIST_E_INVALID },
    { "GET",
      "/photos/puppy.jpg",
      AT_GET,
      { GET_DATE, "Authorization: AWS AKIANOBODY:" SIG_GET },
      KIST_E_NO_SUCH_ACCESS_KEY },
    { "GET", "/photos/puppy.jpg", AT_GET, { AUTH(SIG_GET) }, KIST_E_AUTH_MISSING_DATE },
    { "GET",
      "/photos/puppy.jpg",
      AT_GET + MINUTES_15 + 1,
      { GET_DATE, AUTH(SIG_GET) },
      KIST_E_CLOCK_SKEW },
    { "GET",
      "/photos/puppy.jpg",
      AT_GET - MINUTES_15 - 1,
      { GET_DATE, AUTH(SIG_GET) },
      KIST_E_CLOCK_SKEW },
    { "GET",
      "/photos/puppy.jpg?" PRESIGNED("1175139620") SIG_QUERY,
      AT_QUERY + 1,
      { HOST },
      KIST_E_EXPIRED },
    { "GET",
      "/photos/puppy.jpg?" PRESIGNED("1175139621") SIG_QUERY,
      AT_QUERY,
      { HOST },
      KIST_E_SIGNATURE },
    { "GET",
      "/photos/puppy.jpg?x-amz-acl=private&" PRESIGNED("1175139620") SIG_QUERY,
      AT_QUERY,
      { HOST },
      KIST_E_SIGNATURE },
    { "GET",
      "/photos/puppy.jpg?" PRESIGNED("soon") SIG_QUERY,
      AT_QUERY,
      { HOST },
      KIST_E_DENIED },
    { "GET",
      "/photos/puppy.jpg?AWSAccessKeyId=" EXAMPLE_ACCESS,
      AT_QUERY,
      { HOST },
      KIST_E_DENIED },
    { "GET",
      "/photos/puppy.jpg?" PRESIGNED("1175139620") SIG_QUERY,
      AT_GET,
      { GET_DATE, AUTH(SIG_GET) },
      KIST_E_INVALID },
    { "GET",
      "/photos/puppy.jpg",
      AT_GET,
      { GET_DATE, "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD", AUTH(SIG_GET) },
      KIST_E_BAD_SHA256_HEADER },
};

START_TEST(refused)
{
    const struct refusal *r = &refusals[_i];
    ck_assert_int_eq(verify(r->method, r->target, "johnsmith", r->now_ms, r->headers), r->err);
    ck_assert_ptr_null(f.result.identity);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sigv2");
    TCase *tc = tcase_create("sigv2");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, documented_examples, 0, (int)ARRAY_LEN(examples));
    tcase_add_loop_test(tc, refused, 0, (int)ARRAY_LEN(refusals));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
