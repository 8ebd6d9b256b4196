/* PutObject. https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html */
#include "server/s3/internal.h"

#define OBJECT_PUT_MAX ((uint64_t)5 << 30)

struct put_state {
    struct s3_meta meta;
    Kist__Condition *condition;
};

static void put_done(struct s3_request *r)
{
    const struct apply_result *result = &r->op.result;
    s3_add_header(r, "ETag", s3_etag(r->arena, bytes_of(result->etag, 16), 0));
    s3_checksum_headers(r, s3_checksum_record(r), 0);
    s3_seal_headers(r, s3_seal_record(r));
    s3_version_header(r, result->versioned, result->version);
    s3_reply_empty(r, 200);
}

void s3_put_commit(struct s3_request *r, const struct s3_meta *meta, Kist__Condition *condition,
                   void (*then)(struct s3_request *r))
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject put = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &put;
    put.bucket = s3_str(r, r->bucket);
    put.key = schema_data(r->key);
    put.object = &object;
    put.condition = condition;
    object.mtime_ms = s3_now(r);
    s3_meta_fill(meta, &object);
    object.checksum = s3_checksum_record(r);
    object.seal = s3_seal_record(r);
    s3_commit_put(r, &command, then);
}

static void put_commit(struct s3_request *r)
{
    struct put_state *state = r->state;
    s3_put_commit(r, &state->meta, state->condition, put_done);
}

void s3_put_object(struct s3_request *r)
{
    if (s3_header(r, "x-amz-write-offset-bytes").ptr) {
        s3_append_object(r);
        return;
    }
    struct put_state *state = arena_zalloc(r->arena, sizeof(*state));
    r->state = state;
    if (!state) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    if (s3_meta_parse(r, &state->meta) && s3_write_condition(r, &state->condition))
        s3_read_object(r, OBJECT_PUT_MAX, put_commit);
}
