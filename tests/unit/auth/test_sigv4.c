/* Signature Version 4: AWS's documented examples, what curl really sends, and everything that
 * must be refused. */
#include "tests/unit/auth/fixture.h"

#include <stdio.h>

#define EMPTY SIGN_EMPTY_SHA256
#define HOST "Host: examplebucket.s3.amazonaws.com"
#define DATE "x-amz-date: 20130524T000000Z"
#define EMPTY_HEADER "x-amz-content-sha256: " EMPTY
#define AUTH(names, signature)                                                                   \
    "Authorization: AWS4-HMAC-SHA256 Credential=" EXAMPLE_CREDENTIAL ",SignedHeaders=" names     \
    ",Signature=" signature
#define NAMES_3 "host;x-amz-content-sha256;x-amz-date"
#define SIG_LIFECYCLE "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
#define SIG_RANGE "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
#define SIG_PUT "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
#define SIG_LIST "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
#define SIG_PRESIGNED "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
#define SIG_STREAM "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
#define SIG_TRAILER "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
#define PUT_HASH "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
#define PUT_NAMES "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class"
#define PUT_HEADERS                                                                              \
    HOST, DATE, "Date: Fri, 24 May 2013 00:00:00 GMT",                                           \
        "x-amz-storage-class: REDUCED_REDUNDANCY", "x-amz-content-sha256: " PUT_HASH

static struct fixture f;

static void setup(void)
{
    fixture_open(&f);
}

static void teardown(void)
{
    fixture_close(&f);
}

/* https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and the
 * streaming pages. */
static const struct example {
    const char *method, *target;
    const char *headers[HEADERS_MAX];
    enum auth_payload payload;
} examples[] = {
    { "GET",
      "/test.txt",
      { HOST, DATE, EMPTY_HEADER, "Range: bytes=0-9",
        AUTH("host;range;x-amz-content-sha256;x-amz-date", SIG_RANGE) },
      AUTH_PAYLOAD_SIGNED_SHA256 },
    { "PUT",
      "/test%24file.text",
      { PUT_HEADERS, AUTH(PUT_NAMES, SIG_PUT) },
      AUTH_PAYLOAD_SIGNED_SHA256 },
    { "PUT",
      "/test$file.text",
      { PUT_HEADERS, AUTH(PUT_NAMES, SIG_PUT) },
      AUTH_PAYLOAD_SIGNED_SHA256 },
    { "PUT",
      "/%74est%24file.text",
      { PUT_HEADERS, AUTH(PUT_NAMES, SIG_PUT) },
      AUTH_PAYLOAD_SIGNED_SHA256 },
    { "GET",
      "/?lifecycle",
      { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) },
      AUTH_PAYLOAD_SIGNED_SHA256 },
    { "GET",
      "/?lifecycle=",
      { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) },
      AUTH_PAYLOAD_SIGNED_SHA256 },
    { "GET",
      "/?max-keys=2&prefix=J",
      { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIST) },
      AUTH_PAYLOAD_SIGNED_SHA256 },
    { "GET",
      "/?prefix=%4a&max-keys=2",
      { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIST) },
      AUTH_PAYLOAD_SIGNED_SHA256 },
    { "GET",
      "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" EXAMPLE_ACCESS
      "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z"
      "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=" SIG_PRESIGNED,
      { HOST },
      AUTH_PAYLOAD_UNSIGNED },
    { "PUT",
      "/examplebucket/chunkObject.txt",
      { "Host: s3.amazonaws.com", DATE, "x-amz-storage-class: REDUCED_REDUNDANCY",
        "x-amz-content-sha256: " SIGN_STREAMING, "Content-Encoding: aws-chunked",
        "x-amz-decoded-content-length: 66560", "Content-Length: 66824",
        AUTH("content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
             "x-amz-decoded-content-length;x-amz-storage-class",
             SIG_STREAM) },
      AUTH_PAYLOAD_STREAMING_SIGNED },
    { "PUT",
      "/examplebucket/chunkObject.txt",
      { "Host: s3.amazonaws.com", DATE, "x-amz-storage-class: REDUCED_REDUNDANCY",
        "x-amz-content-sha256: " SIGN_STREAMING_TRAILER, "Content-Encoding: aws-chunked",
        "x-amz-decoded-content-length: 66560", "x-amz-trailer: x-amz-checksum-crc32c",
        AUTH("content-encoding;host;x-amz-content-sha256;x-amz-date;"
             "x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
             SIG_TRAILER) },
      AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER },
};

START_TEST(documented_examples)
{
    const struct example *e = &examples[_i];
    fixture_request(&f, e->method, e->target, e->headers);
    enum kist_err err = fixture_verify(&f);
    if (err != KIST_OK)
        fprintf(stderr, "%s\n%.*s\n", f.result.reason ? f.result.reason : "",
                (int)f.result.canonical_request.len,
                (const char *)f.result.canonical_request.ptr);
    ck_assert_int_eq(err, KIST_OK);
    ck_assert_int_eq(f.result.payload, e->payload);
    ck_assert(f.result.identity->is_root);
    ck_assert(bytes_equal(f.result.access_key_id, bytes_str(EXAMPLE_ACCESS)));
    ck_assert(bytes_equal(f.result.scope, bytes_str(EXAMPLE_SCOPE)));
    ck_assert(bytes_equal(f.result.amz_date, BYTES_LIT("20130524T000000Z")));
}
END_TEST

/* Any changed byte of what is signed must break the signature. */
START_TEST(changed_requests)
{
    static const struct example changed[] = {
        { "HEAD", "/?lifecycle", { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) }, 0 },
        { "GET", "/?lifecyclf", { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) }, 0 },
        { "GET", "/x?lifecycle", { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) }, 0 },
        { "GET", "//?lifecycle", { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) }, 0 },
        { "GET", "/./?lifecycle", { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) }, 0 },
        { "GET", "/?lifecycle&a", { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) }, 0 },
        { "GET",
          "/?lifecycle",
          { "Host: other", DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) },
          0 },
        { "GET",
          "/?lifecycle",
          { HOST, "x-amz-date: 20130524T000001Z", EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE) },
          0 },
        { "GET",
          "/?lifecycle",
          { HOST, DATE, "x-amz-content-sha256: " SIGN_UNSIGNED, AUTH(NAMES_3, SIG_LIFECYCLE) },
          0 },
        { "GET", "/?lifecycle", { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIST) }, 0 },
    };
    const struct example *e = &changed[_i];
    fixture_request(&f, e->method, e->target, e->headers);
    ck_assert_int_eq(fixture_verify(&f), KIST_E_SIGNATURE);
    ck_assert_ptr_null(f.result.identity);
    ck_assert_uint_gt(f.result.canonical_request.len, 0);
    ck_assert(bytes_starts_with(f.result.string_to_sign, BYTES_LIT("AWS4-HMAC-SHA256\n2013")));
}
END_TEST

#define CRED(text)                                                                               \
    "Authorization: AWS4-HMAC-SHA256 Credential=" text ",SignedHeaders=" NAMES_3                 \
    ",Signature=" SIG_LIFECYCLE

static const struct refusal {
    const char *target;
    const char *headers[HEADERS_MAX];
    enum kist_err err;
    const char *reason; /* a part of it */
} refusals[] = {
    { "/", { HOST }, KIST_E_DENIED, NULL },
    { "/", { HOST, "Authorization: Basic Zm9vOmJhcg==" }, KIST_E_INVALID, "Unsupported" },
    { "/", { HOST, "Authorization: " }, KIST_E_INVALID, "Unsupported" },
    { "/", { HOST, "Authorization: AWS AKID:c2ln" }, KIST_E_AUTH_MISSING_DATE, "Date" },
    { "/",
      { HOST, "Authorization: AWS4-ECDSA-P256-SHA256 Credential=x" },
      KIST_E_INVALID,
      "Please use AWS4" },
    { "/?AWSAccessKeyId=x&Signature=y&Expires=1", { HOST }, KIST_E_EXPIRED, "expired" },
    { "/?X-Amz-Signature=x",
      { HOST, DATE, CRED(EXAMPLE_CREDENTIAL) },
      KIST_E_INVALID,
      "Only one auth mechanism" },
    { "/",
      { HOST, DATE, CRED(EXAMPLE_CREDENTIAL), CRED(EXAMPLE_CREDENTIAL) },
      KIST_E_INVALID,
      "Only one Authorization" },
    { "/",
      { HOST, DATE, "Authorization: AWS4-HMAC-SHA256" },
      KIST_E_AUTH_MALFORMED,
      "three components" },
    { "/",
      { HOST, DATE, "Authorization: AWS4-HMAC-SHA256 ,,," },
      KIST_E_AUTH_MALFORMED,
      "three components" },
    { "/",
      { HOST, DATE, "Authorization: AWS4-HMAC-SHA256 Credential=" EXAMPLE_CREDENTIAL },
      KIST_E_AUTH_MALFORMED,
      "three components" },
    { "/",
      { HOST, DATE,
        "Authorization: AWS4-HMAC-SHA256 Credential=a,Credential=b,SignedHeaders=host,"
        "Signature=" SIG_LIST },
      KIST_E_AUTH_MALFORMED,
      "three components" },
    { "/",
      { HOST, DATE,
        "Authorization: AWS4-HMAC-SHA256 Credential=" EXAMPLE_CREDENTIAL
        ",SignedHeaders=host,Signature=" SIG_LIST ",More=1" },
      KIST_E_AUTH_MALFORMED,
      "three components" },
    { "/", { HOST, DATE, CRED("AKID") }, KIST_E_AUTH_MALFORMED, "Credential is mal-formed" },
    { "/",
      { HOST, DATE, CRED("/20130524/us-east-1/s3/aws4_request") },
      KIST_E_AUTH_MALFORMED,
      "Credential is mal-formed" },
    { "/",
      { HOST, DATE, CRED("A/20130524/us-east-1/s3/aws5_request") },
      KIST_E_AUTH_MALFORMED,
      "Credential is mal-formed" },
    { "/",
      { HOST, DATE, CRED("A/2013052x/us-east-1/s3/aws4_request") },
      KIST_E_AUTH_MALFORMED,
      "incorrect date format" },
    { "/",
      { HOST, DATE, CRED("A/20130524/x/s3/aws4_request") },
      KIST_E_AUTH_MALFORMED,
      "The authorization header is malformed; the region 'x' is wrong; expecting 'us-east-1'" },
    { "/",
      { HOST, DATE, CRED("A/20130524/us-east-1/ec2/aws4_request") },
      KIST_E_AUTH_MALFORMED,
      "incorrect service \"ec2\"" },
    { "/",
      { HOST, DATE, CRED("A/20130523/us-east-1/s3/aws4_request") },
      KIST_E_AUTH_MALFORMED,
      "nvalid credential date \"20130523\"" },
    { "/",
      { HOST, EMPTY_HEADER, AUTH("host;x-amz-content-sha256", SIG_LIST) },
      KIST_E_AUTH_MISSING_DATE,
      "requires a valid Date" },
    { "/",
      { HOST, EMPTY_HEADER, "x-amz-date: tomorrow", AUTH(NAMES_3, SIG_LIST) },
      KIST_E_AUTH_MISSING_DATE,
      "requires a valid Date" },
    { "/",
      { HOST, EMPTY_HEADER, DATE, DATE, AUTH(NAMES_3, SIG_LIST) },
      KIST_E_AUTH_MISSING_DATE,
      "requires a valid Date" },
    { "/",
      { HOST, DATE, EMPTY_HEADER, AUTH("host;host;x-amz-content-sha256;x-amz-date", SIG_LIST) },
      KIST_E_AUTH_MALFORMED,
      "SignedHeaders" },
    { "/",
      { HOST, DATE, EMPTY_HEADER, AUTH("host;;x-amz-date", SIG_LIST) },
      KIST_E_AUTH_MALFORMED,
      "SignedHeaders" },
    { "/",
      { HOST, DATE, EMPTY_HEADER, AUTH("x-amz-content-sha256;x-amz-date", SIG_LIST) },
      KIST_E_DENIED,
      "not signed" },
    { "/",
      { HOST, DATE, EMPTY_HEADER, "X-Amz-Acl: private", AUTH(NAMES_3, SIG_LIST) },
      KIST_E_DENIED,
      "not signed" },
    { "/",
      { HOST, DATE, EMPTY_HEADER, AUTH("host;x-amz-date", SIG_LIST) },
      KIST_E_DENIED,
      "not signed" },
    { "/",
      { HOST, DATE, "x-amz-content-sha256: 00", AUTH(NAMES_3, SIG_LIST) },
      KIST_E_BAD_SHA256_HEADER,
      "valid sha256 value" },
    { "/",
      { HOST, DATE, "x-amz-content-sha256: STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        AUTH(NAMES_3, SIG_LIST) },
      KIST_E_BAD_SHA256_HEADER,
      "valid sha256 value" },
    { "/",
      { HOST, DATE, EMPTY_HEADER, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIST) },
      KIST_E_BAD_SHA256_HEADER,
      "valid sha256 value" },
    { "/",
      { HOST, DATE, EMPTY_HEADER,
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAUNKNOWN/" EXAMPLE_SCOPE
        ",SignedHeaders=" NAMES_3 ",Signature=" SIG_LIST },
      KIST_E_NO_SUCH_ACCESS_KEY,
      NULL },
    { "/",
      { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, "abc") },
      KIST_E_AUTH_MALFORMED,
      "64 hexadecimal" },
    { "/",
      { HOST, DATE, EMPTY_HEADER, "x-amz-security-token: t",
        AUTH(NAMES_3 ";x-amz-security-token", SIG_LIST) },
      KIST_E_TOKEN,
      "token" },
};

START_TEST(refused_headers)
{
    const struct refusal *r = &refusals[_i];
    fixture_request(&f, "GET", r->target, r->headers);
    ck_assert_int_eq(fixture_verify(&f), r->err);
    ck_assert_int_eq(f.result.anonymous, _i == 0);
    if (r->reason)
        ck_assert_msg(f.result.reason && strstr(f.result.reason, r->reason), "%s",
                      f.result.reason ? f.result.reason : "(none)");
}
END_TEST

#define Q_ALG "X-Amz-Algorithm=AWS4-HMAC-SHA256"
#define Q_CRED "&X-Amz-Credential=" EXAMPLE_ACCESS "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
#define Q_DATE "&X-Amz-Date=20130524T000000Z"
#define Q_EXP "&X-Amz-Expires=86400"
#define Q_HDR "&X-Amz-SignedHeaders=host"
#define Q_SIG "&X-Amz-Signature=" SIG_PRESIGNED
#define REQUIRES "requires the X-Amz-Algorithm"

static const struct refusal query_refusals[] = {
    { "/t?" Q_ALG, { HOST }, KIST_E_AUTH_QUERY, REQUIRES },
    { "/t?X-Amz-Signature=x", { HOST }, KIST_E_AUTH_QUERY, REQUIRES },
    { "/t?" Q_ALG Q_CRED Q_DATE Q_EXP Q_HDR, { HOST }, KIST_E_AUTH_QUERY, REQUIRES },
    { "/t?" Q_ALG Q_CRED Q_DATE Q_EXP Q_SIG, { HOST }, KIST_E_AUTH_QUERY, REQUIRES },
    { "/t?" Q_ALG Q_CRED Q_DATE Q_HDR Q_SIG, { HOST }, KIST_E_AUTH_QUERY, REQUIRES },
    { "/t?" Q_ALG Q_CRED Q_EXP Q_HDR Q_SIG, { HOST }, KIST_E_AUTH_QUERY, REQUIRES },
    { "/t?" Q_ALG Q_DATE Q_EXP Q_HDR Q_SIG, { HOST }, KIST_E_AUTH_QUERY, REQUIRES },
    { "/t?X-Amz-Algorithm=AWS4-HMAC-SHA1" Q_CRED Q_DATE Q_EXP Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "only supports" },
    { "/t?" Q_ALG Q_CRED Q_DATE "&X-Amz-Expires=0" Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "at least 1" },
    { "/t?" Q_ALG Q_CRED Q_DATE "&X-Amz-Expires=-1" Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "non-negative" },
    { "/t?" Q_ALG Q_CRED Q_DATE "&X-Amz-Expires=1h" Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "should be a number" },
    { "/t?" Q_ALG Q_CRED Q_DATE "&X-Amz-Expires=604801" Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "less than a week" },
    { "/t?" Q_ALG Q_CRED Q_DATE "&X-Amz-Expires=99999999999999999999999" Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      NULL },
    { "/t?" Q_ALG Q_CRED "&X-Amz-Date=2013" Q_EXP Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "ISO8601" },
    { "/t?" Q_ALG "&X-Amz-Credential=x%2" Q_DATE Q_EXP Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "percent" },
    { "/t?" Q_ALG "&X-Amz-Credential=x" Q_DATE Q_EXP Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed" },
    { "/t?" Q_ALG "&X-Amz-Credential=a/20130524/eu/s3/aws4_request" Q_DATE Q_EXP Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "the region 'eu' is wrong" },
    { "/t?" Q_ALG
      "&X-Amz-Credential=a/20130525/us-east-1/s3/aws4_request" Q_DATE Q_EXP Q_HDR Q_SIG,
      { HOST },
      KIST_E_AUTH_QUERY,
      "nvalid credential date" },
    { "/t?" Q_ALG Q_CRED Q_CRED Q_DATE Q_EXP Q_HDR Q_SIG, { HOST }, KIST_E_AUTH_QUERY, "once" },
    { "/t?" Q_ALG Q_CRED Q_DATE Q_EXP Q_HDR "&X-Amz-Signature=12",
      { HOST },
      KIST_E_AUTH_QUERY,
      "64 hexadecimal" },
    { "/t?" Q_ALG Q_CRED Q_DATE Q_EXP "&X-Amz-SignedHeaders=range" Q_SIG,
      { HOST },
      KIST_E_DENIED,
      "not signed" },
    { "/t?" Q_ALG Q_CRED Q_DATE Q_EXP Q_HDR Q_SIG,
      { HOST, "x-amz-acl: private" },
      KIST_E_DENIED,
      "not signed" },
    { "/t?" Q_ALG Q_CRED Q_DATE Q_EXP Q_HDR Q_SIG "&X-Amz-Security-Token=t",
      { HOST },
      KIST_E_TOKEN,
      "token" },
    { "/t?" Q_ALG Q_CRED Q_DATE Q_EXP Q_HDR Q_SIG, { HOST }, KIST_E_SIGNATURE, NULL },
};

START_TEST(refused_queries)
{
    const struct refusal *r = &query_refusals[_i];
    fixture_request(&f, "GET", r->target, r->headers);
    ck_assert_int_eq(fixture_verify(&f), r->err);
    ck_assert(!f.result.anonymous);
    ck_assert(auth_is_signed(&f.request));
    if (r->reason)
        ck_assert_msg(f.result.reason && strstr(f.result.reason, r->reason), "%s",
                      f.result.reason ? f.result.reason : "(none)");
}
END_TEST

START_TEST(times)
{
    static const struct {
        int example;
        int64_t later_ms;
        enum kist_err err;
    } cases[] = {
        { 0, 15 * 60 * 1000, KIST_OK },  { 0, 15 * 60 * 1000 + 1, KIST_E_CLOCK_SKEW },
        { 0, -15 * 60 * 1000, KIST_OK }, { 0, -15 * 60 * 1000 - 1, KIST_E_CLOCK_SKEW },
        { 8, 86400 * 1000LL, KIST_OK },  { 8, 86400 * 1000LL + 1, KIST_E_EXPIRED },
        { 8, -15 * 60 * 1000, KIST_OK }, { 8, -15 * 60 * 1000 - 1, KIST_E_DENIED },
    };
    const struct example *e = &examples[cases[_i].example];
    fixture_request(&f, e->method, e->target, e->headers);
    f.request.now_ms += cases[_i].later_ms;
    ck_assert_int_eq(fixture_verify(&f), cases[_i].err);
    if (cases[_i].err == KIST_E_EXPIRED)
        ck_assert_int_eq(f.result.expires_ms, EXAMPLE_NOW + 86400 * 1000LL);
}
END_TEST

/* Blanks around commas, another order of the components, unsorted and upper-case header names,
 * and padded header values are all the same signature. */
START_TEST(harmless_spellings)
{
    static const char *const headers[][6] = {
        { HOST, DATE, EMPTY_HEADER,
          "authorization:   AWS4-HMAC-SHA256   Signature=" SIG_LIFECYCLE
          " ,  SignedHeaders=" NAMES_3 "\t,Credential=" EXAMPLE_CREDENTIAL "  " },
        { HOST, DATE, EMPTY_HEADER, AUTH("x-amz-date;Host;x-amz-content-sha256", SIG_LIFECYCLE) },
        { "HOST:  examplebucket.s3.amazonaws.com \t", "X-AMZ-DATE:20130524T000000Z",
          "X-Amz-Content-SHA256:" EMPTY, AUTH(NAMES_3, SIG_LIFECYCLE) },
    };
    fixture_request(&f, "GET", "/?lifecycle", headers[_i]);
    ck_assert_int_eq(fixture_verify(&f), KIST_OK);
}
END_TEST

/* Recorded from curl 7.88.1 --aws-sigv4 aws:amz:us-east-1:s3 (Debian 12): it signs the target
 * as it is, sends no x-amz-content-sha256, and for -T signs the hash of an empty body. */
#define CURL_NOW 1795465224000 /* 20261123T202024Z */
#define CURL_AUTH(names, sig)                                                                    \
    "Authorization: AWS4-HMAC-SHA256 Credential=" EXAMPLE_ACCESS                                 \
    "/20261123/us-east-1/s3/aws4_request, SignedHeaders=" names ", Signature=" sig
#define CURL_HEADERS "Host:127.0.0.1:18099", "X-Amz-Date:20261123T202024Z", "Accept: */*"

START_TEST(curl_without_body)
{
    static const char *const plain[] = {
        CURL_HEADERS,
        CURL_AUTH("host;x-amz-date",
                  "9c62847e2709c9a6591cb809549cb685f31be35c79b6e5dcf43a8b4c0b579a77"),
        NULL
    };
    static const char *const odd[] = {
        CURL_HEADERS,
        CURL_AUTH("host;x-amz-date",
                  "15b387fc528e231cd9a4ce2b50fa64c23b7ec0e3877a14c287e752e5f47ea446"),
        NULL
    };
    fixture_request(&f, "GET", "/b/k", plain);
    f.request.now_ms = CURL_NOW;
    ck_assert_int_eq(fixture_verify(&f), KIST_OK);
    ck_assert_int_eq(f.result.payload, AUTH_PAYLOAD_SIGNED_SHA256);
    fixture_request(&f, "GET", "/b/a(b)%20c%2Fd?uploads&prefix=z+y&delimiter=/&a=1", odd);
    f.request.now_ms = CURL_NOW;
    ck_assert_int_eq(fixture_verify(&f), KIST_OK);
}
END_TEST

START_TEST(curl_with_body)
{
    static const char *const headers[] = {
        CURL_HEADERS,
        CURL_AUTH("host;x-amz-date",
                  "ca8970adb3e1e0b5bd047e8a86bffff4a870bd7d04dc3e505ef24934a9322a7f"),
        NULL
    };
    uint8_t hash[32];
    fixture_request(&f, "PUT", "/b/k", headers);
    f.request.now_ms = CURL_NOW;
    f.request.has_body = true;
    ck_assert_int_eq(fixture_verify(&f), KIST_OK);
    ck_assert_int_eq(f.result.payload, AUTH_PAYLOAD_SIGNED_DEFERRED);
    digest_once(DIGEST_SHA256, BYTES_LIT("jello"), hash);
    ck_assert_int_eq(auth_verify_deferred(&f.result, &f.arena, hash), KIST_E_SIGNATURE);
    ck_assert_uint_gt(f.result.canonical_request.len, 64);
    digest_once(DIGEST_SHA256, BYTES_LIT("hello"), hash);
    ck_assert_int_eq(auth_verify_deferred(&f.result, &f.arena, hash), KIST_OK);
}
END_TEST

START_TEST(curl_upload_of_unsigned_file)
{
    static const char *const headers[] = {
        CURL_HEADERS,
        CURL_AUTH("host;x-amz-date",
                  "4f23ee589b037320792165fc58050d3e9e7b806793c908ddbcf188de36268bf0"),
        NULL
    };
    fixture_request(&f, "PUT", "/b/k2", headers);
    f.request.now_ms = CURL_NOW;
    f.request.has_body = true;
    ck_assert_int_eq(fixture_verify(&f), KIST_E_BAD_SHA256_HEADER);
    ck_assert_ptr_nonnull(strstr(f.result.reason, "UNSIGNED-PAYLOAD"));
}
END_TEST

/* ---- our own signer against our own verifier ---- */

static const char *const odd_targets[] = {
    "/",
    "/b/",
    "/b//",
    "/b/../x",
    "/b/./x",
    "/b/a%20b",
    "/b/a b",
    "/b/a+b",
    "/b/a%2Bb",
    "/b/a%2Fb",
    "/b/a%2fb",
    "/b/%",
    "/b/%zz",
    "/b/%2",
    "/b/%25",
    "/b/~-._",
    "/b/!*'()",
    "/b/\xf0\x9f\x98\x80",
    "/b/%F0%9F%98%80",
    "/b/%00",
    "/b/e%CC%81",
    "/b/a:b@c",
    "/b?",
    "/b?&&",
    "/b?a",
    "/b?a=",
    "/b?a&a",
    "/b?b=1&a=2&a=1",
    "/b?=",
    "/b?=x",
    "/b?a=b=c",
    "/b?prefix=a/b&delimiter=%2F",
    "/b?prefix=a+b",
    "/b?prefix=a%2Bb",
    "/b?prefix=%zz",
    "/b?list-type=2&continuation-token=1/abc==&encoding-type=url",
    "/b?versions&uploads&acl",
    "/b?a-b=1&a=2&a.b=3&A=4&a%21=5",
    "/b?\xc3\xa4=\xc3\xb6&%C3%A4=%C3%B5",
    "",
};

static void sign_and_verify(const char *target, int presign)
{
    struct signer signer;
    static const char *const headers[] = { HOST,
                                           "x-amz-meta-a:  one   two\t three ",
                                           "X-Amz-Meta-A: four",
                                           "Content-Type: text/plain",
                                           DATE,
                                           "x-amz-content-sha256: " SIGN_UNSIGNED,
                                           NULL };
    ck_assert_int_eq(signer_init(&signer, bytes_str(EXAMPLE_ACCESS), bytes_str(EXAMPLE_SECRET),
                                 BYTES_LIT("us-east-1"), BYTES_LIT("s3"), EXAMPLE_NOW),
                     KIST_OK);
    fixture_request(&f, "PUT", target, headers);
    f.headers[1].value = BYTES_LIT("  one   two\t three "); /* not trimmed before */
    struct sign_request request = {
        f.request.method,       f.request.raw_path,       f.request.raw_query, f.headers,
        f.request.header_count, BYTES_LIT(SIGN_UNSIGNED), EXAMPLE_NOW
    };
    struct bytes text;
    if (presign) {
        ck_assert_int_eq(sign_query(&signer, &request, 60, &f.arena, &text), KIST_OK);
        f.request.raw_query = text;
    } else {
        ck_assert_int_eq(sign_header(&signer, &request, &f.arena, &text, NULL), KIST_OK);
        f.headers[f.request.header_count++] =
            (struct auth_header){ BYTES_LIT("Authorization"), text };
    }
    ck_assert_msg(fixture_verify(&f) == KIST_OK, "%s: %s", target,
                  f.result.reason ? f.result.reason : "signature");
    ck_assert_int_eq(f.result.presigned, presign);
    ck_assert_int_eq(f.result.payload, AUTH_PAYLOAD_UNSIGNED);
    signer_release(&signer);
}

START_TEST(round_trips)
{
    sign_and_verify(odd_targets[_i], 0);
    sign_and_verify(odd_targets[_i], 1);
}
END_TEST

START_TEST(signer_gives_the_documented_signature)
{
    struct signer signer;
    static const char *const headers[] = { "Host:examplebucket.s3.amazonaws.com",
                                           "Range:bytes=0-9", "x-amz-content-sha256:" EMPTY,
                                           "x-amz-date:20130524T000000Z", NULL };
    char hex[65];
    struct bytes authorization, query;
    ck_assert_int_eq(signer_init(&signer, bytes_str(EXAMPLE_ACCESS), bytes_str(EXAMPLE_SECRET),
                                 BYTES_LIT("us-east-1"), BYTES_LIT("s3"), EXAMPLE_NOW),
                     KIST_OK);
    fixture_request(&f, "GET", "/test.txt", headers);
    struct sign_request request = { f.request.method, f.request.raw_path,     f.request.raw_query,
                                    f.headers,        f.request.header_count, BYTES_LIT(EMPTY),
                                    EXAMPLE_NOW };
    ck_assert_int_eq(sign_header(&signer, &request, &f.arena, &authorization, hex), KIST_OK);
    ck_assert_str_eq(hex, SIG_RANGE);
    request.header_count = 1;
    request.payload_hash = BYTES_LIT(SIGN_UNSIGNED);
    ck_assert_int_eq(sign_query(&signer, &request, 86400, &f.arena, &query), KIST_OK);
    ck_assert(bytes_find(query, BYTES_LIT("X-Amz-Signature=" SIG_PRESIGNED), 0) != SIZE_MAX);
    ck_assert_int_eq(sign_query(&signer, &request, 604801, &f.arena, &query), KIST_E_INVALID);
    signer_release(&signer);
}
END_TEST

/* Our queries read '+' as a blank, so what was signed for "%2B" must not pass for "+". */
START_TEST(plus_is_no_escaped_plus)
{
    sign_and_verify("/b?prefix=a%2Bb", 0);
    f.request.raw_query = BYTES_LIT("prefix=a+b");
    ck_assert_int_eq(fixture_verify(&f), KIST_E_SIGNATURE);
    sign_and_verify("/b?prefix=a%20b", 0);
    f.request.raw_query = BYTES_LIT("prefix=a+b");
    ck_assert_int_eq(fixture_verify(&f), KIST_OK);
    sign_and_verify("/b/a/b", 0);
    f.request.raw_path = BYTES_LIT("/b/a%2fb"); /* the same key */
    ck_assert_int_eq(fixture_verify(&f), KIST_OK);
}
END_TEST

/* A hostile query costs an error, not memory. */
START_TEST(too_many_parameters)
{
    char target[4096] = "/?";
    static const char *const headers[] = { HOST, DATE, EMPTY_HEADER, AUTH(NAMES_3, SIG_LIFECYCLE),
                                           NULL };
    for (size_t i = 2; i + 2 < sizeof target; i += 2)
        memcpy(target + i, "a&", 3);
    fixture_request(&f, "GET", target, headers);
    ck_assert_int_eq(fixture_verify(&f), KIST_E_TOO_LARGE);
}
END_TEST

START_TEST(small_arena)
{
    const struct example *e = &examples[1];
    struct arena small;
    bool worked = false;
    fixture_request(&f, e->method, e->target, e->headers);
    for (size_t size = 16; size < 65536 && !worked; size += 16) {
        arena_init(&small, size);
        enum kist_err err = auth_verify(&f.request, f.ring, &small, &f.result);
        ck_assert(err == KIST_OK || err == KIST_E_NOMEM);
        worked = err == KIST_OK;
        arena_release(&small);
    }
    ck_assert(worked);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sigv4");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, documented_examples, 0, (int)ARRAY_LEN(examples));
    tcase_add_loop_test(tc, changed_requests, 0, 10);
    tcase_add_loop_test(tc, refused_headers, 0, (int)ARRAY_LEN(refusals));
    tcase_add_loop_test(tc, refused_queries, 0, (int)ARRAY_LEN(query_refusals));
    tcase_add_loop_test(tc, times, 0, 8);
    tcase_add_loop_test(tc, harmless_spellings, 0, 3);
    tcase_add_test(tc, curl_without_body);
    tcase_add_test(tc, curl_with_body);
    tcase_add_test(tc, curl_upload_of_unsigned_file);
    tcase_add_loop_test(tc, round_trips, 0, (int)ARRAY_LEN(odd_targets));
    tcase_add_test(tc, signer_gives_the_documented_signature);
    tcase_add_test(tc, plus_is_no_escaped_plus);
    tcase_add_test(tc, too_many_parameters);
    tcase_add_test(tc, small_arena);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
