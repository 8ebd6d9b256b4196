/* Request bodies.
 *
 *   piece -> [aws-chunked decoder] -> writer or XML buffer ... finish -> every claim checked
 *
 * The claims: decoded length, chunk signatures, x-amz-content-sha256, a deferred signature,
 * Content-MD5, one x-amz-checksum-* as header or trailer. Nothing is committed before all hold.
 */
#include "server/s3/internal.h"

static void body_fail_err(struct s3_request *r, enum kist_err err)
{
    r->body->failed = true;
    if (err == KIST_E_TOO_LARGE)
        s3_fail(r, r->body->writer ? S3_INCOMPLETE_BODY : S3_MAX_MESSAGE_LENGTH);
    else
        s3_fail_err(r, err);
}

/* Documents are read whole. Of each, so much is no matter beside what its connection takes
 * anyway; what all of them have beyond that has a ceiling. */
#define DOCUMENT_FREE ((uint64_t)16 << 10)
#define DOCUMENT_STEP ((uint64_t)64 << 10)
#define DOCUMENTS_MAX ((uint64_t)64 << 20)

static enum kist_err hold_document(struct s3_body *b, size_t more)
{
    _Atomic uint64_t *all = &b->request->service->document_bytes;
    uint64_t wanted = b->xml.len + more;
    if (wanted <= DOCUMENT_FREE + b->xml_held || b->request->body_is_counted)
        return KIST_OK;
    uint64_t step = (wanted - b->xml_held + DOCUMENT_STEP - 1) / DOCUMENT_STEP * DOCUMENT_STEP;
    if (atomic_fetch_add(all, step) + step > DOCUMENTS_MAX) {
        atomic_fetch_sub(all, step);
        return KIST_E_BUSY;
    }
    b->xml_held += step;
    return KIST_OK;
}

static enum kist_err consume(void *ctx, const void *data, size_t len)
{
    struct s3_body *b = ctx;
    struct bytes piece = bytes_of(data, len);
    if (b->writer && object_writer_size(b->writer) + len > b->max_bytes) {
        b->failed = true; /* it came without a length */
        s3_fail(b->request, S3_ENTITY_TOO_LARGE);
        return KIST_E_TOO_LARGE;
    }
    if (b->writer)
        return object_writer_write(b->writer, piece);
    TRY(hold_document(b, len));
    return buf_append_bytes(&b->xml, piece);
}

/* The rest of the piece is offered again. */
static void go_on(struct exchange *x)
{
    (void)x;
}

static void writer_is_ready(void *user)
{
    struct s3_request *r = user;
    exchange_wake(r->x, go_on);
}

static void on_piece(struct exchange *x, void *ctx, struct bytes piece, size_t *taken)
{
    struct s3_body *b = ctx;
    *taken = piece.len;
    if (b->failed)
        return;
    if (b->writer && !object_writer_ready(b->writer, piece.len, writer_is_ready, b->request)) {
        *taken = 0;
        exchange_wait(x);
        return;
    }
    enum kist_err err = b->chunked ? chunked_feed(&b->decoder, piece, consume, b)
                                   : consume(b, piece.ptr, piece.len);
    if (err != KIST_OK && !b->failed)
        body_fail_err(b->request, err);
}

/* ---- at the end ---- */

static uint64_t body_size(const struct s3_body *b)
{
    return b->writer ? object_writer_size(b->writer) : b->xml.len;
}

static void body_digest(struct s3_body *b, enum digest_kind kind, uint8_t *out)
{
    if (b->writer)
        object_writer_digest(b->writer, kind, out);
    else
        digest_once(kind, buf_bytes(&b->xml), out);
}

static enum kist_err verify_signature(struct s3_request *r)
{
    uint8_t sha256[32];
    if (r->who.payload == AUTH_PAYLOAD_SIGNED_SHA256) {
        body_digest(r->body, DIGEST_SHA256, sha256);
        return memcmp(sha256, r->who.payload_sha256, 32) == 0 ? KIST_OK : KIST_E_SHA256_MISMATCH;
    }
    if (r->who.payload == AUTH_PAYLOAD_SIGNED_DEFERRED) {
        body_digest(r->body, DIGEST_SHA256, sha256);
        return auth_verify_deferred(&r->who, r->arena, sha256);
    }
    return KIST_OK;
}

static bool verify_md5(struct s3_request *r)
{
    uint8_t md5[16];
    if (!r->body->has_md5)
        return true;
    body_digest(r->body, DIGEST_MD5, md5);
    if (memcmp(md5, r->body->md5, sizeof(md5)) == 0)
        return true;
    s3_fail_message(r, S3_BAD_DIGEST,
                    "The Content-MD5 you specified did not match what we received.");
    return false;
}

static bool verify_checksum(struct s3_request *r)
{
    struct s3_checksum *c = &r->checksum;
    uint8_t found[DIGEST_MAX_LEN];
    if (!c->wanted || r->checksum_of_object)
        return true;
    if (c->in_trailer) {
        struct bytes text = chunked_trailer_value(&r->body->decoder, s3_checksum_header(c->kind));
        if (!text.ptr || !s3_checksum_decode(c->kind, text, c->value)) {
            s3_fail(r, S3_MALFORMED_TRAILER);
            return false;
        }
    }
    body_digest(r->body, c->kind, found);
    if (memcmp(found, c->value, digest_len(c->kind)) == 0)
        return true;
    char *message =
        arena_printf(r->arena, "The %s you specified did not match the calculated checksum.",
                     s3_checksum_name(c->kind));
    s3_fail_message(r, S3_BAD_DIGEST, message ? message : "");
    return false;
}

static void verify(struct s3_request *r)
{
    struct s3_body *b = r->body;
    b->failed = true; /* unless all holds */
    enum kist_err err = b->chunked ? chunked_finish(&b->decoder) : KIST_OK;
    if (err == KIST_OK && b->length != UINT64_MAX && body_size(b) != b->length)
        err = KIST_E_TRUNCATED;
    if (err == KIST_OK)
        err = verify_signature(r);
    if (err == KIST_E_SIGNATURE)
        s3_fail_auth(r, err);
    else if (err != KIST_OK)
        s3_fail_err(r, err);
    else if (verify_md5(r) && verify_checksum(r)) {
        b->failed = false;
        b->then(r);
    }
}

static void finish(struct exchange *x);

static void writer_has_ended(void *user)
{
    struct s3_request *r = user;
    exchange_wake(r->x, finish);
}

static void finish(struct exchange *x)
{
    struct s3_request *r = exchange_user(x);
    struct object_writer *w = r->body->writer;
    if (w && !object_writer_end(w, writer_has_ended, r))
        exchange_wait(x);
    else
        verify(r);
}

void s3_body_finish(struct s3_request *r)
{
    finish(r->x);
}

static void on_finish(struct exchange *x, void *ctx)
{
    struct s3_body *b = ctx;
    if (!b->failed)
        finish(x);
}

/* ---- at the beginning ---- */

static bool parse_md5(struct s3_request *r)
{
    struct bytes text = s3_header(r, "content-md5");
    size_t len = 0;
    if (!text.ptr)
        return true;
    if (base64_decode(text, r->body->md5, 16, &len) != KIST_OK || len != 16) {
        s3_fail_message(r, S3_INVALID_DIGEST, "The Content-MD5 you specified was invalid.");
        return false;
    }
    r->body->has_md5 = true;
    return true;
}

static bool parse_length(struct s3_request *r, uint64_t max_bytes)
{
    struct s3_body *b = r->body;
    b->chunked = r->who.payload == AUTH_PAYLOAD_STREAMING_SIGNED ||
                 r->who.payload == AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER ||
                 r->who.payload == AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER;
    b->length = r->http->content_length;
    if (b->chunked) {
        struct bytes text = exchange_header(r->x, "x-amz-decoded-content-length");
        if (!text.ptr) {
            s3_fail(r, S3_MISSING_CONTENT_LENGTH);
            return false;
        }
        if (bytes_to_u64(text, INT64_MAX, &b->length) != KIST_OK) {
            s3_fail_argument(r, "x-amz-decoded-content-length", text,
                             "The decoded content length is not a valid number.");
            return false;
        }
    }
    if (b->length != UINT64_MAX && b->length > max_bytes) {
        s3_fail(r, b->writer || max_bytes > ((uint64_t)1 << 30) ? S3_ENTITY_TOO_LARGE
                                                                : S3_MAX_MESSAGE_LENGTH);
        return false;
    }
    return true;
}

static bool start_decoder(struct s3_request *r)
{
    struct s3_body *b = r->body;
    if (!b->chunked)
        return true;
    struct chunked_config config = { .auth = &r->who,
                                     .decoded_length = b->length,
                                     .trailers = exchange_header(r->x, "x-amz-trailer") };
    enum kist_err err = chunked_init(&b->decoder, &config);
    if (err == KIST_OK)
        return true;
    b->chunked = false; /* nothing to release */
    s3_fail_err(r, err);
    return false;
}

static struct s3_body *body_begin(struct s3_request *r, uint64_t max_bytes,
                                  void (*then)(struct s3_request *r))
{
    r->body = arena_zalloc(r->arena, sizeof(*r->body));
    if (!r->body) {
        s3_fail(r, S3_SLOW_DOWN);
        return NULL;
    }
    r->body->request = r;
    r->body->then = then;
    if (!parse_length(r, max_bytes)) {
        r->body->chunked = false;
        return NULL;
    }
    return parse_md5(r) && s3_checksum_parse(r) && start_decoder(r) ? r->body : NULL;
}

static void body_start(struct s3_request *r)
{
    struct body_sink sink = { .write = on_piece, .finish = on_finish, .ctx = r->body };
    exchange_read_body(r->x, &sink);
}

void s3_read_xml(struct s3_request *r, size_t max_bytes, void (*then)(struct s3_request *r))
{
    struct s3_body *b = body_begin(r, max_bytes, then);
    if (!b)
        return;
    b->xml_max_bytes = max_bytes;
    buf_init(&b->xml, max_bytes);
    body_start(r);
}

static void want_digests(struct s3_request *r)
{
    r->body->digests |= r->digests;
    if (r->checksum.wanted)
        r->body->digests |= DIGEST_BIT(r->checksum.kind);
}

bool s3_body_claims(struct s3_request *r)
{
    if (!parse_md5(r) || !s3_checksum_parse(r))
        return false;
    want_digests(r);
    return true;
}

static void open_writer(struct exchange *x);

static void memory_is_there(void *user)
{
    struct s3_request *r = user;
    exchange_wake(r->x, open_writer);
}

static void open_writer(struct exchange *x)
{
    struct s3_request *r = exchange_user(x);
    struct s3_body *b = r->body;
    enum kist_err err = object_writer_open(r->service->config.store, b->length, b->digests,
                                           memory_is_there, r, &b->writer);
    if (err == KIST_E_BUSY) {
        exchange_wait(x);
        return;
    }
    if (err == KIST_OK)
        err = s3_seal_writer(r, b->writer);
    if (err != KIST_OK) {
        s3_fail_err(r, err);
        return;
    }
    object_writer_go_aside(b->writer);
    body_start(r);
}

void s3_read_object(struct s3_request *r, uint64_t max_bytes, void (*then)(struct s3_request *r))
{
    struct s3_body *b = body_begin(r, max_bytes, then);
    if (!b)
        return;
    b->max_bytes = max_bytes;
    want_digests(r);
    if (r->who.payload == AUTH_PAYLOAD_SIGNED_SHA256 ||
        r->who.payload == AUTH_PAYLOAD_SIGNED_DEFERRED)
        b->digests |= DIGEST_BIT(DIGEST_SHA256);
    open_writer(r->x);
}

void s3_body_release(struct s3_body *b)
{
    if (!b)
        return;
    if (b->chunked)
        chunked_release(&b->decoder);
    object_writer_abort(b->writer);
    buf_release(&b->xml);
    if (b->xml_held)
        atomic_fetch_sub(&b->request->service->document_bytes, b->xml_held);
}
