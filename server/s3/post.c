/* PostObject: an upload from a browser's form.
 *
 *   pieces -> form parser -> fields ... the file begins -> signature, policy, permission, headers
 *          -> writer -> the form ends -> committed as a PutObject
 *
 * From then on the form's fields stand for the headers of PutObject.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html */
#include "auth/post_policy.h"
#include "server/s3/form.h"
#include "server/s3/internal.h"

#define FILE_MAX_BYTES ((uint64_t)5 << 30)
#define FIELDS_MAX 128
/* Of the fields before the file, by AWS's documentation. */
#define FIELDS_BYTES_MAX ((size_t)20 << 10)

struct post {
    struct s3_request *r;
    struct form_parser parser;
    struct post_field fields[FIELDS_MAX];
    struct s3_param params[FIELDS_MAX];
    size_t count, bytes;
    bool in_file, had_file;
    struct bytes filename;
    struct post_limits limits;
    struct s3_meta meta;
};

static struct post_form form_of(struct post *p)
{
    struct s3_request *r = p->r;
    return (struct post_form){ .fields = p->fields,
                               .count = p->count,
                               .bucket = r->bucket,
                               .region = bytes_str(r->service->config.region),
                               .now_ms = s3_now(r) };
}

static void fail(struct post *p, enum s3_error error, const char *message)
{
    p->r->body->failed = true;
    if (message)
        s3_fail_message(p->r, error, message);
    else
        s3_fail(p->r, error);
}

/* ---- the file begins: may they, and under which name? ---- */

/* Without a policy the request's own signature would count; but what a header says of the form's
 * bytes is not checked here, where they are a form already. */
static bool is_unsigned(struct post *p)
{
    if (p->r->who.payload == AUTH_PAYLOAD_UNSIGNED)
        return true;
    fail(p, S3_INVALID_REQUEST,
         "A form is signed by its policy: x-amz-content-sha256 must be UNSIGNED-PAYLOAD.");
    return false;
}

static bool identify(struct post *p)
{
    struct s3_request *r = p->r;
    struct post_form form = form_of(p);
    struct auth_result who;
    enum kist_err err = post_verify(&form, r->service->config.keyring, r->arena, &who);
    if (err == KIST_E_DENIED && who.anonymous)
        return is_unsigned(p); /* nobody, as before */
    credential_drop(r->who.hold);
    r->who = who;
    if (err != KIST_OK) {
        r->body->failed = true;
        s3_fail_auth(r, err);
        return false;
    }
    const char *message = NULL;
    err = post_policy_check(&form, r->arena, &p->limits, &message);
    if (err == KIST_E_INVALID || err == KIST_E_DENIED)
        fail(p, err == KIST_E_INVALID ? S3_INVALID_POLICY_DOCUMENT : S3_ACCESS_DENIED, message);
    else if (err != KIST_OK)
        fail(p, S3_SLOW_DOWN, NULL);
    return err == KIST_OK;
}

/* ${filename} in the key is the file's name, without the folders of the user's machine. */
static bool name_object(struct post *p)
{
    static const struct bytes mark = { (const uint8_t *)"${filename}", 11 };
    struct s3_request *r = p->r;
    struct post_form form = form_of(p);
    struct bytes key = post_field(&form, "key"), name = p->filename;
    size_t at = key.ptr ? bytes_find(key, mark, 0) : SIZE_MAX;
    for (size_t i = name.len; i-- > 0;)
        if (name.ptr[i] == '/' || name.ptr[i] == '\\') {
            name = bytes_of(name.ptr + i + 1, name.len - i - 1);
            break;
        }
    if (at != SIZE_MAX)
        key = bytes_str(arena_printf(r->arena, "%.*s%.*s%.*s", (int)at, (const char *)key.ptr,
                                     (int)name.len, (const char *)name.ptr,
                                     (int)(key.len - at - mark.len),
                                     (const char *)key.ptr + at + mark.len));
    if (!key.len)
        s3_fail_argument(r, "key", key,
                         "Bucket POST must contain a field named 'key'.  If it is specified, "
                         "please check the order of the fields.");
    else if (key.len > 1024)
        s3_fail(r, S3_KEY_TOO_LONG);
    else if (!bytes_is_utf8(key) || bytes_find(key, bytes_of("", 1), 0) != SIZE_MAX)
        s3_fail(r, S3_INVALID_URI);
    else {
        r->key = key;
        return true;
    }
    r->body->failed = true;
    return false;
}

/* Headers are now the form's fields. False after an error reply. */
static bool prepare(struct post *p)
{
    struct s3_request *r = p->r;
    if (!identify(p) || !name_object(p))
        return false;
    for (size_t i = 0; i < p->count; i++)
        p->params[i] = (struct s3_param){ p->fields[i].name, p->fields[i].value };
    r->params = p->params;
    r->param_count = p->count;
    r->is_form = true;
    bool ok = s3_authorize_put(r) && s3_meta_parse(r, &p->meta) && s3_body_claims(r);
    r->body->failed = r->body->failed || !ok;
    return ok;
}

static void open_writer(struct exchange *x);

static void memory_is_there(void *user)
{
    struct s3_request *r = user;
    exchange_wake(r->x, open_writer);
}

/* The parser stands still until there is a writer. */
static void open_writer(struct exchange *x)
{
    struct s3_request *r = exchange_user(x);
    struct post *p = r->state;
    enum kist_err err = object_writer_open(r->service->config.store, UINT64_MAX, r->body->digests,
                                           memory_is_there, r, &r->body->writer);
    if (err == KIST_E_BUSY) {
        exchange_wait(x);
        return;
    }
    if (err == KIST_OK)
        err = s3_seal_writer(r, r->body->writer);
    if (err == KIST_OK) {
        p->parser.paused = false;
        return;
    }
    r->body->failed = true;
    s3_fail_err(r, err);
}

/* ---- the parser's side ---- */

static enum kist_err on_begin(void *ctx, const struct form_part *part)
{
    struct post *p = ctx;
    struct s3_request *r = p->r;
    bool is_file = bytes_equal_nocase(part->name, BYTES_LIT("file"));
    if (is_file && p->had_file) {
        fail(p, S3_TOO_MANY_FILES, NULL);
        return KIST_E_INVALID;
    }
    if (is_file) {
        p->in_file = p->had_file = true;
        p->filename = part->filename.ptr ? arena_copy(r->arena, part->filename) : BYTES_EMPTY;
        p->parser.paused = true;
        return KIST_OK;
    }
    if (p->had_file)
        return KIST_OK; /* what follows the file is ignored */
    if (p->count == FIELDS_MAX) {
        fail(p, S3_POST_TOO_LARGE, NULL);
        return KIST_E_INVALID;
    }
    r->body->xml.len = 0;
    p->bytes += part->name.len;
    p->fields[p->count].name = arena_copy(r->arena, part->name);
    return KIST_OK;
}

static enum kist_err on_data(void *ctx, struct bytes piece)
{
    struct post *p = ctx;
    struct s3_request *r = p->r;
    if (p->in_file) {
        uint64_t most =
            p->limits.max_bytes < FILE_MAX_BYTES ? p->limits.max_bytes : FILE_MAX_BYTES;
        if (object_writer_size(r->body->writer) + piece.len > most) {
            fail(p, S3_ENTITY_TOO_LARGE, NULL);
            return KIST_E_INVALID;
        }
        enum kist_err err = object_writer_write(r->body->writer, piece);
        if (err != KIST_OK) {
            r->body->failed = true;
            s3_fail_err(r, err);
        }
        return err;
    }
    if (p->had_file)
        return KIST_OK;
    p->bytes += piece.len;
    if (p->bytes > FIELDS_BYTES_MAX || buf_append_bytes(&r->body->xml, piece) != KIST_OK) {
        fail(p, S3_POST_TOO_LARGE, NULL);
        return KIST_E_INVALID;
    }
    return KIST_OK;
}

static enum kist_err on_end(void *ctx)
{
    struct post *p = ctx;
    if (p->in_file)
        p->in_file = false;
    else if (!p->had_file) {
        struct bytes value = arena_copy(p->r->arena, buf_bytes(&p->r->body->xml));
        p->fields[p->count++].value = value.ptr ? value : bytes_str("");
    }
    return KIST_OK;
}

/* ---- the body's side ---- */

static void go_on(struct exchange *x)
{
    (void)x;
}

static void writer_is_ready(void *user)
{
    struct s3_request *r = user;
    exchange_wake(r->x, go_on);
}

static bool still_waits(const struct post *p)
{
    return p->parser.paused && !p->r->body->failed;
}

static void on_piece(struct exchange *x, void *ctx, struct bytes piece, size_t *taken)
{
    struct post *p = ctx;
    struct s3_request *r = p->r;
    size_t at = 0, used = 0;
    *taken = piece.len;
    if (r->body->writer && !object_writer_ready(r->body->writer, piece.len, writer_is_ready, r)) {
        *taken = 0;
        exchange_wait(x);
        return;
    }
    while (at < piece.len && !r->body->failed) {
        enum kist_err err =
            form_feed(&p->parser, bytes_of(piece.ptr + at, piece.len - at), &used);
        at += used;
        if (err != KIST_OK && !r->body->failed)
            fail(p, S3_MALFORMED_POST, NULL);
        if (err == KIST_OK && p->parser.paused && prepare(p))
            open_writer(x);
        if (still_waits(p)) { /* for memory */
            *taken = at;
            return;
        }
    }
}

static void on_finish(struct exchange *x, void *ctx)
{
    struct post *p = ctx;
    struct s3_request *r = p->r;
    (void)x;
    if (r->body->failed)
        return;
    if (!form_is_complete(&p->parser))
        fail(p, S3_MALFORMED_POST, NULL);
    else if (!p->had_file)
        fail(p, S3_TOO_MANY_FILES, NULL);
    else if (object_writer_size(r->body->writer) < p->limits.min_bytes)
        fail(p, S3_ENTITY_TOO_SMALL, NULL);
    else
        s3_body_finish(r);
}

/* ---- the answer ---- */

static struct bytes field(struct s3_request *r, const char *name)
{
    return s3_header(r, name);
}

static struct bytes location(struct s3_request *r)
{
    struct buf path;
    buf_init(&path, 8192);
    bool virtual = s3_host_bucket(r).len > 0;
    enum kist_err err = uri_encode(&path, r->key, true);
    char *url =
        arena_printf(r->arena, "%s://%s%s%s/%.*s", r->http->tls ? "https" : "http",
                     s3_str(r, exchange_header(r->x, "host")), virtual ? "" : "/",
                     virtual ? "" : s3_str(r, r->bucket), (int)path.len, (const char *)path.ptr);
    buf_release(&path);
    return err == KIST_OK && url ? bytes_str(url) : BYTES_EMPTY;
}

static bool is_web_address(struct bytes url)
{
    return bytes_starts_with(url, BYTES_LIT("http://")) ||
           bytes_starts_with(url, BYTES_LIT("https://"));
}

/* 303 to the page that the form names, with what was stored in its query. */
static bool redirect(struct s3_request *r, struct bytes etag)
{
    struct bytes to = field(r, "success_action_redirect");
    struct buf url;
    if (!to.len)
        to = field(r, "redirect");
    if (!is_web_address(to))
        return false;
    buf_init(&url, 16384);
    bool ok =
        buf_append_bytes(&url, to) == KIST_OK &&
        buf_append_str(&url,
                       bytes_find(to, BYTES_LIT("?"), 0) == SIZE_MAX ? "?bucket=" : "&bucket=") ==
            KIST_OK &&
        uri_encode(&url, r->bucket, false) == KIST_OK &&
        buf_append_str(&url, "&key=") == KIST_OK && uri_encode(&url, r->key, false) == KIST_OK &&
        buf_append_str(&url, "&etag=") == KIST_OK && uri_encode(&url, etag, false) == KIST_OK;
    struct bytes target = ok ? arena_copy(r->arena, buf_bytes(&url)) : BYTES_EMPTY;
    buf_release(&url);
    if (!target.ptr)
        return false;
    s3_add_header(r, "Location", target);
    s3_reply_empty(r, 303);
    return true;
}

static void done(struct s3_request *r)
{
    const struct apply_result *result = &r->op.result;
    struct bytes etag = s3_etag(r->arena, bytes_of(result->etag, 16), 0);
    struct bytes status = field(r, "success_action_status");
    s3_add_header(r, "ETag", etag);
    s3_checksum_headers(r, s3_checksum_record(r), 0);
    s3_seal_headers(r, s3_seal_record(r));
    s3_version_header(r, result->versioned, result->version);
    if (redirect(r, etag))
        return;
    struct bytes where = location(r);
    s3_add_header(r, "Location", where);
    if (!bytes_equal(status, BYTES_LIT("201"))) {
        s3_reply_empty(r, bytes_equal(status, BYTES_LIT("200")) ? 200 : 204);
        return;
    }
    struct s3_xml x = { .failed = false };
    s3_xml_begin(&x, NULL);
    s3_xml_open(&x, "PostResponse");
    s3_xml_text(&x, "Location", where);
    s3_xml_text(&x, "Bucket", r->bucket);
    s3_xml_text(&x, "Key", r->key);
    s3_xml_text(&x, "ETag", etag);
    s3_xml_close(&x, "PostResponse");
    struct bytes body = arena_copy(r->arena, buf_bytes(&x.out));
    buf_release(&x.out);
    s3_add_header_str(r, "Content-Type", "application/xml");
    exchange_reply_bytes(r->x, 201, body);
}

static void commit(struct s3_request *r)
{
    struct post *p = r->state;
    s3_put_commit(r, &p->meta, NULL, done);
}

void s3_post_object(struct s3_request *r)
{
    struct post *p = arena_zalloc(r->arena, sizeof(*p));
    struct form_sink parts = { on_begin, on_data, on_end, p };
    struct body_sink sink = { .write = on_piece, .finish = on_finish, .ctx = p };
    r->body = arena_zalloc(r->arena, sizeof(*r->body));
    if (!p || !r->body) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    r->state = p;
    r->body->request = r;
    r->body->length = UINT64_MAX;
    r->body->then = commit;
    p->r = r;
    p->limits.max_bytes = UINT64_MAX;
    buf_init(&r->body->xml, FIELDS_BYTES_MAX); /* the field that is coming in */
    if (form_init(&p->parser, exchange_header(r->x, "content-type"), &parts) != KIST_OK) {
        s3_fail_message(r, S3_PRECONDITION_FAILED,
                        "Bucket POST must be of the enclosure-type multipart/form-data");
        return;
    }
    exchange_read_body(r->x, &sink);
}
