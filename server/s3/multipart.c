/* Multipart uploads: create, upload part, complete, abort.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html */
#include <inttypes.h>
#include <stdlib.h>

#include "server/s3/acl.h"
#include "server/s3/multipart.h"

#define PART_MAX ((uint64_t)5 << 30)
#define COMPLETE_XML_MAX ((size_t)4 << 20)
#define PARTS_MAX 10000

static struct store *store_of(const struct s3_request *r)
{
    return r->service->config.store;
}

/* ---- upload ids: the id and the nonce in hex ---- */

struct bytes s3_upload_id_text(struct arena *arena, uint64_t id, struct bytes nonce)
{
    char hex[17] = "";
    if (nonce.len == 8)
        hex_encode(nonce, hex);
    return bytes_str(arena_printf(arena, "%016" PRIx64 "%s", id, hex));
}

bool s3_upload_id_parse(struct bytes text, struct s3_upload_id *out)
{
    uint8_t id[8];
    if (text.len != 32 || hex_decode(bytes_of(text.ptr, 16), id, 8) != KIST_OK ||
        hex_decode(bytes_of(text.ptr + 16, 16), out->nonce, 8) != KIST_OK)
        return false;
    out->id = 0;
    for (int i = 0; i < 8; i++)
        out->id = out->id << 8 | id[i];
    return true;
}

Kist__Upload *s3_upload_open(struct s3_request *r, struct s3_upload_id *id)
{
    Kist__Upload *upload = NULL;
    enum kist_err err = KIST_E_NO_UPLOAD;
    if (s3_upload_id_parse(s3_param(r, "uploadId"), id))
        err = store_upload(store_of(r), r->bucket, r->key, id->id, bytes_of(id->nonce, 8),
                           r->arena, &upload);
    if (err != KIST_OK)
        s3_fail_err(r, err);
    return upload;
}

/* ---- CreateMultipartUpload ---- */

struct create_state {
    uint8_t nonce[8];
    uint32_t algorithm;
    bool composite;
};

static void create_done(struct s3_request *r)
{
    struct create_state *c = r->state;
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, "InitiateMultipartUploadResult");
    s3_xml_text(&x, "Bucket", r->bucket);
    s3_xml_text(&x, "Key", r->key);
    s3_xml_text(&x, "UploadId",
                s3_upload_id_text(r->arena, r->op.result.index, bytes_of(c->nonce, 8)));
    if (c->algorithm) {
        s3_add_header_str(r, "x-amz-checksum-algorithm",
                          s3_checksum_name((enum digest_kind)(c->algorithm - 1)));
        s3_add_header_str(r, "x-amz-checksum-type", s3_checksum_type(c->composite));
    }
    s3_seal_headers(r, s3_seal_record(r));
    s3_xml_reply(r, &x, "InitiateMultipartUploadResult");
}

static bool parse_algorithm(struct s3_request *r, struct create_state *c)
{
    struct bytes name = s3_header(r, "x-amz-checksum-algorithm");
    struct bytes type = s3_header(r, "x-amz-checksum-type");
    enum digest_kind kind;
    if (!name.len) {
        if (!type.len)
            return true;
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "The x-amz-checksum-type header can only be used with the "
                        "x-amz-checksum-algorithm header.");
        return false;
    }
    if (!s3_checksum_kind(name, &kind)) {
        s3_fail_message(r, S3_INVALID_REQUEST, "Checksum algorithm provided is unsupported.");
        return false;
    }
    bool hash = kind == DIGEST_SHA1 || kind == DIGEST_SHA256;
    bool full = bytes_equal(type, BYTES_LIT("FULL_OBJECT"));
    bool composite = bytes_equal(type, BYTES_LIT("COMPOSITE"));
    if ((type.len && !full && !composite) || (full && hash) ||
        (composite && kind == DIGEST_CRC64NVME)) {
        s3_fail_message(r, S3_INVALID_REQUEST,
                        "The checksum type cannot be used with this checksum algorithm.");
        return false;
    }
    c->algorithm = (uint32_t)kind + 1;
    c->composite = !full && kind != DIGEST_CRC64NVME;
    return true;
}

void s3_create_multipart_upload(struct s3_request *r)
{
    struct create_state *c = arena_zalloc(r->arena, sizeof(*c));
    struct s3_meta meta = { 0 };
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CreateUpload create = KIST__CREATE_UPLOAD__INIT;
    Kist__Upload u = KIST__UPLOAD__INIT;
    if (!c) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    r->state = c;
    if (!s3_meta_parse(r, &meta) || !parse_algorithm(r, c))
        return;
    struct env *env = store_env(store_of(r));
    env->random(env, c->nonce, sizeof(c->nonce));
    command.of_case = KIST__COMMAND__OF_CREATE_UPLOAD;
    command.create_upload = &create;
    create.upload = &u;
    u.nonce = schema_data(bytes_of(c->nonce, 8));
    u.created_ms = s3_now(r);
    u.bucket = s3_str(r, r->bucket);
    u.key = schema_data(r->key);
    u.n_headers = meta.n_headers;
    u.headers = meta.headers;
    u.n_metadata = meta.n_metadata;
    u.metadata = meta.metadata;
    u.n_tags = meta.n_tags;
    u.tags = meta.tags;
    u.storage_class = meta.storage_class;
    u.lock_mode = meta.lock.mode;
    u.retain_until_ms = meta.lock.until_ms;
    u.legal_hold = meta.lock.hold;
    u.acl = meta.acl;
    u.initiator = s3_acl_initiator(r);
    u.seal = s3_seal_record(r);
    u.checksum_algorithm = c->algorithm;
    u.checksum_composite = c->composite;
    s3_commit(r, &command, create_done);
}

/* ---- UploadPart ---- */

bool s3_part_number(struct s3_request *r, uint32_t *out)
{
    uint64_t number = 0;
    struct bytes text = s3_param(r, "partNumber");
    if (bytes_to_u64(text, PARTS_MAX, &number) != KIST_OK || number == 0) {
        s3_fail_argument(r, "partNumber", text,
                         "Part number must be an integer between 1 and 10000, inclusive");
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

/* The checksum that the upload wants of each part: given, or computed here. A copy has no body
 * that a header could speak of. */
static bool fit_checksum(struct s3_request *r, const Kist__Upload *u)
{
    bool copies = s3_operations[r->op_index].handle == s3_upload_part_copy;
    if (!u->checksum_algorithm)
        return true;
    enum digest_kind kind = (enum digest_kind)(u->checksum_algorithm - 1);
    if (!copies && !s3_checksum_parse(r))
        return false;
    if (!r->checksum.wanted) {
        r->digests = DIGEST_BIT(kind);
        return true;
    }
    if (r->checksum.kind == kind)
        return true;
    char *message = arena_printf(r->arena,
                                 "Checksum Type mismatch occurred, expected checksum Type: %s, "
                                 "actual checksum Type: %s",
                                 s3_checksum_name(kind), s3_checksum_name(r->checksum.kind));
    s3_fail_message(r, S3_INVALID_REQUEST, message ? message : "");
    return false;
}

/* A checksum that nobody claimed but the upload wants. */
static void compute_checksum(struct s3_request *r, const struct part_state *p)
{
    if (r->checksum.wanted || !p->upload->checksum_algorithm)
        return;
    r->checksum.wanted = true;
    r->checksum.kind = (enum digest_kind)(p->upload->checksum_algorithm - 1);
    object_writer_digest(r->body->writer, r->checksum.kind, r->checksum.value);
}

void s3_part_commit(struct s3_request *r, void (*then)(struct s3_request *r))
{
    struct part_state *p = r->state;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutPart put = KIST__PUT_PART__INIT;
    Kist__Part part = KIST__PART__INIT;
    compute_checksum(r, p);
    command.of_case = KIST__COMMAND__OF_PUT_PART;
    command.put_part = &put;
    put.bucket = s3_str(r, r->bucket);
    put.key = schema_data(r->key);
    put.upload_id = p->id.id;
    put.nonce = schema_data(bytes_of(p->id.nonce, 8));
    put.number = p->number;
    put.part = &part;
    part.counted = true;
    part.mtime_ms = s3_now(r);
    part.checksum = s3_checksum_record(r);
    if (r->seal) {
        part.sealed = true;
        part.wrapped_key = r->seal->record.wrapped_key;
    }
    s3_commit_put(r, &command, then);
}

static void part_done(struct s3_request *r)
{
    s3_add_header(r, "ETag", s3_etag(r->arena, bytes_of(r->op.result.etag, 16), 0));
    Kist__Checksum *c = s3_checksum_record(r);
    if (c)
        s3_add_header(r, s3_checksum_header(r->checksum.kind), s3_checksum_text(r->arena, c, 0));
    s3_seal_headers(r, s3_seal_record(r));
    s3_reply_empty(r, 200);
}

static void part_read(struct s3_request *r)
{
    s3_part_commit(r, part_done);
}

struct part_state *s3_part_begin(struct s3_request *r)
{
    struct part_state *p = arena_zalloc(r->arena, sizeof(*p));
    if (!p) {
        s3_fail(r, S3_SLOW_DOWN);
        return NULL;
    }
    r->state = p;
    if (!s3_part_number(r, &p->number) || !s3_refuse_offset(r))
        return NULL;
    p->upload = s3_upload_open(r, &p->id);
    return p->upload && fit_checksum(r, p->upload) && s3_seal_part(r, p->upload->seal) ? p : NULL;
}

void s3_upload_part(struct s3_request *r)
{
    if (s3_part_begin(r))
        s3_read_object(r, PART_MAX, part_read);
}

/* ---- CompleteMultipartUpload ---- */

static void complete_done(struct s3_request *r)
{
    const struct apply_result *result = &r->op.result;
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, "CompleteMultipartUploadResult");
    struct bytes host = exchange_header(r->x, "host");
    s3_xml_text(&x, "Location",
                bytes_str(arena_printf(r->arena, "%s://%s%s", r->http->tls ? "https" : "http",
                                       s3_str(r, host), s3_str(r, r->http->path))));
    s3_xml_text(&x, "Bucket", r->bucket);
    s3_xml_text(&x, "Key", r->key);
    s3_xml_etag(&x, bytes_of(result->etag, 16), result->part_count);
    if (result->checksum_algorithm) {
        Kist__Checksum c = KIST__CHECKSUM__INIT;
        c.algorithm = result->checksum_algorithm - 1;
        c.composite = result->checksum_composite;
        c.value =
            schema_data(bytes_of(result->checksum, digest_len((enum digest_kind)c.algorithm)));
        s3_xml_checksum(&x, r->arena, &c, result->part_count, true);
    }
    const struct part_state *p = r->state;
    s3_version_header(r, result->versioned, result->version);
    s3_seal_headers(r, p->upload->seal);
    s3_xml_reply(r, &x, "CompleteMultipartUploadResult");
}

static bool part_checksum(struct s3_request *r, const struct s3_xml_node *node,
                          Kist__CompletePart *part)
{
    for (const struct s3_xml_node *n = node->child; n; n = n->next) {
        enum digest_kind kind;
        if (strncmp(n->name, "Checksum", 8) != 0 ||
            !s3_checksum_kind(bytes_str(n->name + 8), &kind))
            continue;
        Kist__Checksum *c = arena_alloc(r->arena, sizeof(*c));
        uint8_t *value = arena_alloc(r->arena, DIGEST_MAX_LEN);
        if (!c || !value || !s3_checksum_decode(kind, n->text, value))
            return false;
        kist__checksum__init(c);
        c->algorithm = (uint32_t)kind;
        c->value = (ProtobufCBinaryData){ .len = digest_len(kind), .data = value };
        part->checksum = c;
    }
    return true;
}

/* An ETag that is not 32 hex digits matches no part: InvalidPart, not MalformedXML. */
static bool read_part(struct s3_request *r, const struct s3_xml_node *node,
                      Kist__CompletePart **out)
{
    Kist__CompletePart *part = arena_alloc(r->arena, sizeof(*part));
    uint8_t *etag = arena_zalloc(r->arena, 16);
    uint64_t number;
    struct bytes text = s3_xml_child_text(node, "ETag");
    if (!part || !etag || strcmp(node->name, "Part") != 0 || !text.ptr ||
        bytes_to_u64(s3_xml_child_text(node, "PartNumber"), UINT32_MAX, &number) != KIST_OK)
        return false;
    kist__complete_part__init(part);
    part->number = (uint32_t)number;
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
        text = bytes_of(text.ptr + 1, text.len - 2);
    bool valid = hex_decode(text, etag, 16) == KIST_OK;
    part->etag = (ProtobufCBinaryData){ .len = valid ? 16 : 0, .data = etag };
    if (!part_checksum(r, node, part))
        return false;
    *out = part;
    return true;
}

static bool read_parts(struct s3_request *r, Kist__CompleteUpload *c)
{
    struct s3_xml_node *root = NULL;
    size_t count = 0;
    if (s3_xml_parse(buf_bytes(&r->body->xml), r->arena, &root) != KIST_OK ||
        strcmp(root->name, "CompleteMultipartUpload") != 0)
        return false;
    for (const struct s3_xml_node *n = root->child; n; n = n->next)
        count++;
    c->parts = arena_alloc(r->arena, count * sizeof(*c->parts) + 1);
    if (!c->parts || count == 0 || count > PARTS_MAX)
        return false;
    for (const struct s3_xml_node *n = root->child; n; n = n->next)
        if (!read_part(r, n, &c->parts[c->n_parts++]))
            return false;
    return true;
}

static void complete_read(struct s3_request *r)
{
    struct part_state *p = r->state;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CompleteUpload c = KIST__COMPLETE_UPLOAD__INIT;
    struct bytes size_text = s3_header(r, "x-amz-mp-object-size");
    uint64_t size = 0;
    if (!read_parts(r, &c)) {
        s3_fail(r, S3_MALFORMED_XML);
        return;
    }
    if (size_text.len && bytes_to_u64(size_text, INT64_MAX - 1, &size) != KIST_OK) {
        s3_fail(r, S3_INVALID_REQUEST);
        return;
    }
    command.of_case = KIST__COMMAND__OF_COMPLETE_UPLOAD;
    command.complete_upload = &c;
    c.bucket = s3_str(r, r->bucket);
    c.key = schema_data(r->key);
    c.upload_id = p->id.id;
    c.nonce = schema_data(bytes_of(p->id.nonce, 8));
    c.mtime_ms = s3_now(r);
    c.condition = p->condition;
    c.checksum = s3_checksum_record(r);
    c.object_size = size_text.len ? (int64_t)size + 1 : 0;
    s3_commit(r, &command, complete_done);
}

void s3_complete_multipart_upload(struct s3_request *r)
{
    struct part_state *p = arena_zalloc(r->arena, sizeof(*p));
    r->state = p;
    if (!p) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    r->checksum_of_object = true;
    p->upload = s3_upload_open(r, &p->id);
    if (p->upload && s3_write_condition(r, &p->condition))
        s3_read_xml(r, COMPLETE_XML_MAX, complete_read);
}

/* ---- AbortMultipartUpload ---- */

static void no_content(struct s3_request *r)
{
    s3_reply_empty(r, 204);
}

void s3_abort_multipart_upload(struct s3_request *r)
{
    struct s3_upload_id id;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AbortUpload c = KIST__ABORT_UPLOAD__INIT;
    if (!s3_upload_id_parse(s3_param(r, "uploadId"), &id)) {
        s3_fail(r, S3_NO_SUCH_UPLOAD);
        return;
    }
    command.of_case = KIST__COMMAND__OF_ABORT_UPLOAD;
    command.abort_upload = &c;
    c.bucket = s3_str(r, r->bucket);
    c.key = schema_data(r->key);
    c.upload_id = id.id;
    c.nonce = schema_data(bytes_of(id.nonce, 8));
    s3_commit(r, &command, no_content);
}
