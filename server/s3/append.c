/* PutObject with x-amz-write-offset-bytes: bytes for the end of an object.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-buckets-objects-append.html
 *
 * The object is looked at first, so that nobody sends gigabytes in vain, and to learn what it is
 * encrypted with and which checksum goes on; apply() judges again. What is there keeps its
 * headers, metadata, tags and encryption; only an object to be takes them from the request. */
#include "server/s3/internal.h"
#include "server/s3/kms.h"

#define APPEND_MAX ((uint64_t)5 << 30)

struct append_state {
    struct s3_meta meta;
    Kist__Condition *condition;
    uint64_t offset;
    Kist__Object *current; /* NULL: none yet */
};

static void append_done(struct s3_request *r)
{
    const struct apply_result *result = &r->op.result;
    char *size = arena_printf(r->arena, "%llu", (unsigned long long)result->size);
    s3_add_header(r, "ETag", s3_etag(r->arena, bytes_of(result->etag, 16), result->part_count));
    s3_add_header_str(r, "x-amz-object-size", size ? size : "");
    s3_checksum_headers(r, s3_checksum_record(r), 0);
    s3_seal_headers(r, s3_seal_record(r));
    s3_reply_empty(r, 200);
}

/* The CRC that the object has of all its bytes, for these; NULL: it has none. */
static Kist__Checksum *crc_to_carry(struct s3_request *r, const Kist__Object *current)
{
    if (!current || !current->checksum || current->checksum->composite ||
        !(r->digests & DIGEST_BIT(current->checksum->algorithm)))
        return NULL;
    enum digest_kind kind = (enum digest_kind)current->checksum->algorithm;
    Kist__Checksum *c = arena_alloc(r->arena, sizeof(*c));
    uint8_t *value = arena_alloc(r->arena, DIGEST_MAX_LEN);
    if (!c || !value)
        return NULL;
    object_writer_digest(r->body->writer, kind, value);
    kist__checksum__init(c);
    c->algorithm = (uint32_t)kind;
    c->value = (ProtobufCBinaryData){ .len = digest_len(kind), .data = value };
    return c;
}

static void append_commit(struct s3_request *r)
{
    struct append_state *state = r->state;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AppendObject append = KIST__APPEND_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Part part = KIST__PART__INIT;
    command.of_case = KIST__COMMAND__OF_APPEND_OBJECT;
    command.append_object = &append;
    append.bucket = s3_str(r, r->bucket);
    append.key = schema_data(r->key);
    append.offset = state->offset;
    append.part = &part;
    append.object = &object;
    append.condition = state->condition;
    append.mtime_ms = part.mtime_ms = s3_now(r);
    append.crc = crc_to_carry(r, state->current);
    part.checksum = s3_checksum_record(r);
    if (r->seal) {
        part.sealed = true;
        part.wrapped_key = r->seal->record.wrapped_key;
    }
    s3_meta_fill(&state->meta, &object);
    object.seal = state->current ? state->current->seal : s3_seal_record(r);
    s3_commit_put(r, &command, append_done);
}

static bool parse_offset(struct s3_request *r, uint64_t *out)
{
    struct bytes text = s3_header(r, "x-amz-write-offset-bytes");
    if (bytes_to_u64(text, INT64_MAX, out) == KIST_OK)
        return true;
    s3_fail_argument(r, "x-amz-write-offset-bytes", text,
                     "The write offset must be a number of bytes.");
    return false;
}

/* The same encryption as the object's, or none asked for. Customers' keys come with each
 * request. */
static bool seal_as_before(struct s3_request *r, const Kist__Seal *seal)
{
    uint32_t before = seal ? seal->kind : SEAL_NONE;
    bool named = s3_header(r, "x-amz-server-side-encryption").ptr ||
                 s3_header(r, "x-amz-server-side-encryption-customer-algorithm").ptr;
    uint32_t asked = r->seal && named ? r->seal->record.kind : SEAL_NONE;
    bool other_key = named && before == SEAL_KMS && !s3_seal_matches(r, seal);
    if ((named && asked != before) || (!named && before == SEAL_CUSTOMER) || other_key) {
        s3_fail(r, S3_ENCRYPTION_MISMATCH);
        return false;
    }
    if (before == SEAL_KMS && !kms_may_use(r, "kms:GenerateDataKey", seal->key)) {
        s3_fail(r, S3_ACCESS_DENIED);
        return false;
    }
    s3_seal_wipe(r);
    r->seal = NULL;
    return s3_seal_part(r, seal);
}

/* False after an error reply. */
static bool look_at_object(struct s3_request *r, struct append_state *state)
{
    struct object_id id = { r->bucket, r->key, VERSION_CURRENT };
    enum kist_err err = store_head(r->service->config.store, &id, r->arena, &state->current);
    if (err != KIST_OK && err != KIST_E_NO_KEY) {
        s3_fail_err(r, err);
        return false;
    }
    const Kist__Object *o = state->current;
    if (state->offset != (o ? o->size : 0)) {
        s3_fail(r, S3_INVALID_WRITE_OFFSET);
        return false;
    }
    if (o && o->checksum && !o->checksum->composite && o->checksum->algorithm >= DIGEST_CRC32 &&
        o->checksum->algorithm < DIGEST_KIND_COUNT)
        r->digests |= DIGEST_BIT(o->checksum->algorithm);
    return !o || seal_as_before(r, o->seal);
}

void s3_append_object(struct s3_request *r)
{
    struct append_state *state = arena_zalloc(r->arena, sizeof(*state));
    r->state = state;
    if (!state) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    if (s3_versioned(r)) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "Objects of a bucket with versioning cannot be appended to.");
        return;
    }
    if (parse_offset(r, &state->offset) && s3_meta_parse(r, &state->meta) &&
        s3_write_condition(r, &state->condition) && look_at_object(r, state))
        s3_read_object(r, APPEND_MAX, append_commit);
}
