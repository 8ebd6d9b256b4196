/* The service: every request passes here. */
#include "server/s3/s3.h"

#include <stdlib.h>

#include "server/s3/access_log.h"
#include "server/s3/iam.h"
#include "server/s3/kms.h"
#include "server/s3/usage.h"
#include "storage/base/trace.h"

static void count(struct s3_service *s, size_t row, unsigned status)
{
    unsigned class = status / 100;
    s->counters[row][class < 6 ? class : 0]++;
}

/* IAM, STS and KMS share our port: the credential's scope tells. */
static struct bytes service_of(const struct s3_request *r)
{
    struct bytes claim = exchange_header(r->x, "authorization");
    if (r->guest)
        return s3_guest_name(r);
    if (r->scope != S3_SCOPE_SERVICE || r->http->method != HTTP_POST)
        return BYTES_LIT("s3");
    if (bytes_find(claim, BYTES_LIT("/iam/aws4_request"), 0) != SIZE_MAX)
        return BYTES_LIT("iam");
    if (bytes_find(claim, BYTES_LIT("/sts/aws4_request"), 0) != SIZE_MAX)
        return BYTES_LIT("sts");
    if (bytes_find(claim, BYTES_LIT("/kms/aws4_request"), 0) != SIZE_MAX)
        return BYTES_LIT("kms");
    return BYTES_LIT("s3");
}

static enum kist_err authenticate(struct s3_request *r)
{
    const struct http_request *h = r->http;
    struct auth_header *headers = arena_alloc(r->arena, h->header_count * sizeof(*headers) + 1);
    if (!headers)
        return KIST_E_NOMEM;
    for (size_t i = 0; i < h->header_count; i++)
        headers[i] = (struct auth_header){ h->headers[i].name, h->headers[i].value };
    struct auth_request request = { .method = h->method_name,
                                    .raw_path = h->path,
                                    .raw_query = h->query,
                                    .headers = headers,
                                    .header_count = h->header_count,
                                    .has_body = h->content_length != 0,
                                    .tls = h->tls,
                                    .now_ms = s3_now(r),
                                    .region = bytes_str(r->service->config.region),
                                    .service = service_of(r),
                                    .host_bucket = s3_host_bucket(r) };
    if (bytes_equal(request.service, BYTES_LIT("iam")))
        request.region = BYTES_LIT("us-east-1"); /* IAM has no regions */
    return auth_verify(&request, r->service->config.keyring, r->arena, &r->who);
}

/* Who comes without a signature: allowed what a policy allows everybody. */
static const struct auth_identity nobody = { .is_root = false };

/* What such a request says about its body holds all the same. */
static void become_nobody(struct s3_request *r)
{
    struct bytes payload = exchange_header(r->x, "x-amz-content-sha256");
    r->who.identity = &nobody;
    r->who.payload = AUTH_PAYLOAD_UNSIGNED;
    if (bytes_equal(payload, BYTES_LIT("STREAMING-UNSIGNED-PAYLOAD-TRAILER")))
        r->who.payload = AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER;
    else if (payload.len == 64 && hex_decode(payload, r->who.payload_sha256, 32) == KIST_OK)
        r->who.payload = AUTH_PAYLOAD_SIGNED_SHA256;
}

/* A form without a signature is for STS: S3 has none at that place. */
static bool is_web_identity(const struct s3_request *r)
{
    static const struct bytes form = { (const uint8_t *)"application/x-www-form-urlencoded", 33 };
    return r->scope == S3_SCOPE_SERVICE && r->http->method == HTTP_POST && !r->http->query.len &&
           bytes_starts_with(exchange_header(r->x, "content-type"), form);
}

/* Asked early, so that nobody sends gigabytes to a bucket that is not there; apply() asks again.
 * False after an error reply. */
bool s3_load_bucket(struct s3_request *r)
{
    if (r->scope == S3_SCOPE_SERVICE || s3_operations[r->op_index].handle == s3_create_bucket)
        return true;
    enum kist_err err =
        store_bucket(r->service->config.store, r->bucket, r->arena, &r->bucket_row);
    if (err == KIST_OK)
        err = s3_owner_find(r, r->bucket_row->owner, &r->owner);
    if (err == KIST_OK)
        err = s3_rules_get(r->service, r->bucket_row, &r->rules);
    if (err == KIST_OK)
        s3_cors_headers(r);
    if (err != KIST_OK)
        s3_fail_err(r, err);
    return err == KIST_OK;
}

static void begin_guest(struct s3_request *r)
{
    enum kist_err err = authenticate(r);
    if (err == KIST_E_DENIED && r->who.anonymous && s3_guest_unsigned(r)) {
        become_nobody(r);
        err = KIST_OK;
    }
    if (err == KIST_OK)
        s3_guest_call(r);
    else
        s3_fail_auth(r, err);
}

static void begin(void *ctx, struct exchange *x)
{
    struct s3_service *s = ctx;
    struct s3_request *r = arena_zalloc(exchange_arena(x), sizeof(*r));
    if (!r) {
        exchange_abort(x);
        return;
    }
    exchange_set_user(x, r);
    r->service = s;
    r->x = x;
    r->arena = exchange_arena(x);
    r->http = exchange_request(x);
    r->op_index = s3_operation_count;
    const struct api_service *guest = s3_set_host(r) ? s3_guest_service(r) : NULL;
    if (guest) {
        if (s3_guest_begin(r, guest))
            begin_guest(r);
        return;
    }
    enum s3_error error = s3_parse_target(r);
    if (error != S3_ERROR_COUNT) {
        s3_fail(r, error);
        return;
    }
    if (r->scope == S3_SCOPE_WEBSITE) {
        become_nobody(r);
        (void)!s3_route(r);
        s3_website(r);
        return;
    }
    if (r->http->method == HTTP_OPTIONS) {
        s3_cors_preflight(r);
        return;
    }
    enum kist_err err = authenticate(r);
    if (err == KIST_E_DENIED && r->who.anonymous) {
        become_nobody(r);
        err = KIST_OK;
        if (is_web_identity(r)) {
            s3_iam_unsigned(r);
            return;
        }
    }
    if (err != KIST_OK) {
        s3_fail_auth(r, err);
        return;
    }
    if (!bytes_equal(service_of(r), BYTES_LIT("s3"))) {
        r->op_index = s3_operation_count;
        if (bytes_equal(service_of(r), BYTES_LIT("kms")))
            s3_kms(r);
        else
            s3_iam(r);
        return;
    }
    error = s3_route(r);
    if (error != S3_ERROR_COUNT)
        s3_fail(r, error);
    else if (s3_load_bucket(r) &&
             (!r->bucket_row || s3_owner_expected(r, "x-amz-expected-bucket-owner", &r->owner)) &&
             s3_version_param(r) && s3_authorize(r))
        s3_operations[r->op_index].handle(r);
}

static void end(void *ctx, struct exchange *x)
{
    struct s3_service *s = ctx;
    struct s3_request *r = exchange_user(x);
    if (!r)
        return;
    count(s, r->op_index, exchange_status(x));
    TRACE(TRACE_DEBUG, "s3", "%s %.*s %.*s %u", exchange_id(x), (int)r->http->method_name.len,
          (const char *)r->http->method_name.ptr, (int)r->http->path.len,
          (const char *)r->http->path.ptr, exchange_status(x));
    s3_guest_end(r);
    s3_access_log(r);
    s3_usage_count(r);
    s3_body_release(r->body);
    object_reader_close(r->reader);
    s3_seal_wipe(r);
    s3_rules_drop(r->rules);
    credential_drop(r->who.hold);
    if (r->op_used)
        store_op_release(&r->op);
}

static struct bytes refuse(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message)
{
    struct s3_service *s = ctx;
    count(s, s3_operation_count, status);
    (void)!exchange_add_header(x, "Content-Type", BYTES_LIT("application/xml"));
    return s3_error_xml(exchange_arena(x), x, code, message, BYTES_EMPTY, BYTES_EMPTY);
}

enum kist_err s3_service_open(const struct s3_config *config, struct s3_service **out)
{
    struct s3_service *s = calloc(1, sizeof(*s));
    if (!s)
        return KIST_E_NOMEM;
    s->config = *config;
    s->handler = (struct http_handler){ .ctx = s, .begin = begin, .end = end, .refuse = refuse };
    s->counters = calloc(s3_operation_count + 1, sizeof(*s->counters));
    s->rules = s3_rules_cache_new();
    if (!s->counters || !s->rules) {
        s3_service_close(s);
        return KIST_E_NOMEM;
    }
    enum kist_err err = KIST_OK;
    if (config->access_log_interval_s)
        err = access_log_open(s, config->access_log_interval_s, &s->access_log);
    if (err == KIST_OK && config->usage_interval_s)
        err = usage_counter_open(config->store, config->usage_interval_s, &s->usage);
    if (err != KIST_OK) {
        s3_service_close(s);
        return err;
    }
    *out = s;
    return KIST_OK;
}

void s3_service_close(struct s3_service *s)
{
    if (!s)
        return;
    access_log_close(s->access_log);
    usage_counter_close(s->usage);
    free(s->counters);
    s3_rules_cache_free(s->rules);
    free(s);
}

const struct http_handler *s3_handler(struct s3_service *s)
{
    return &s->handler;
}

bool s3_counter_at(struct s3_service *s, size_t i, struct s3_counter *out)
{
    if (i > s3_operation_count)
        return false;
    out->operation = i < s3_operation_count ? s3_operations[i].name : "Unknown";
    for (size_t k = 0; k < 6; k++)
        out->by_class[k] = s->counters[i][k];
    return true;
}
