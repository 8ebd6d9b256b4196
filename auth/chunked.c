/* The aws-chunked decoder: a state machine over lines and runs of data.
 *
 * Every input byte is looked at once; data runs are passed on without a copy. A chunk's signature
 * covers its data, its predecessor's signature and the request's scope, so chunks cannot be
 * dropped, swapped or replayed; the last, empty chunk closes the chain.
 */
#include "auth/chunked.h"

#include <assert.h>

#include "auth/canonical.h"
#include "storage/base/codec.h"

static const char trailer_signature_name[] = "x-amz-trailer-signature";

/* ---- set-up ---- */

static bool is_token(struct bytes s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
        if (!alphanumeric && c != '_' && c != '.')
            return false;
    }
    return s.len > 0;
}

static struct chunked_trailer *announced(struct chunked_decoder *d, struct bytes name)
{
    for (size_t i = 0; i < d->trailer_count; i++)
        if (bytes_equal_nocase(d->trailers[i].name, name))
            return &d->trailers[i];
    return NULL;
}

static enum kist_err announce(struct chunked_decoder *d, struct bytes name)
{
    /* Some clients announce the signature too; it is checked without that. */
    if (d->key && bytes_equal(name, bytes_str(trailer_signature_name)))
        return KIST_OK;
    if (!is_token(name) || announced(d, name) || d->trailer_count == CHUNKED_TRAILER_COUNT)
        return KIST_E_TRAILER;
    d->trailers[d->trailer_count++].name = name;
    return KIST_OK;
}

/* x-amz-trailer: a comma-separated list of names. */
static enum kist_err parse_announcement(struct chunked_decoder *d, struct bytes list)
{
    list = bytes_trim(list, " \t");
    if (list.len == 0)
        return KIST_OK;
    if (list.len > sizeof d->names || !d->has_trailer)
        return KIST_E_TRAILER;
    size_t start = 0;
    for (size_t i = 0; i < list.len; i++) {
        uint8_t c = list.ptr[i];
        d->names[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
    }
    for (size_t i = 0; i <= list.len; i++) {
        if (i < list.len && d->names[i] != ',')
            continue;
        TRY(announce(d, bytes_trim(bytes_of(d->names + start, i - start), " \t")));
        start = i + 1;
    }
    return KIST_OK;
}

static enum kist_err init_signing(struct chunked_decoder *d, const struct auth_result *auth)
{
    if (auth->scope.len > sizeof d->scope || auth->amz_date.len != 16)
        return KIST_E_INVALID;
    memcpy(d->previous, auth->seed_signature, sizeof d->previous);
    memcpy(d->scope, auth->scope.ptr, auth->scope.len);
    d->scope_len = auth->scope.len;
    memcpy(d->amz_date, auth->amz_date.ptr, auth->amz_date.len);
    TRY(digest_set_init(&d->hash, DIGEST_BIT(DIGEST_SHA256)));
    d->key = hmac_key_new(bytes_of(auth->signing_key, sizeof auth->signing_key));
    if (d->key)
        return KIST_OK;
    digest_set_release(&d->hash);
    return KIST_E_NOMEM;
}

enum kist_err chunked_init(struct chunked_decoder *d, const struct chunked_config *config)
{
    enum auth_payload mode = config->auth->payload;
    memset(d, 0, offsetof(struct chunked_decoder, line));
    d->line_len = d->text_len = d->text_line = 0;
    d->decoded_length = config->decoded_length;
    d->has_trailer = mode == AUTH_PAYLOAD_STREAMING_SIGNED_TRAILER ||
                     mode == AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER;
    if (!d->has_trailer && mode != AUTH_PAYLOAD_STREAMING_SIGNED)
        return KIST_E_INVALID;
    if (mode != AUTH_PAYLOAD_STREAMING_UNSIGNED_TRAILER)
        TRY(init_signing(d, config->auth));
    enum kist_err err = parse_announcement(d, config->trailers);
    if (err != KIST_OK)
        chunked_release(d);
    return err;
}

void chunked_release(struct chunked_decoder *d)
{
    if (d->key)
        digest_set_release(&d->hash);
    hmac_key_free(d->key);
    d->key = NULL;
}

/* ---- chunks ---- */

static struct stream_scope scope_of(const struct chunked_decoder *d)
{
    return (struct stream_scope){ d->key, bytes_of(d->amz_date, 16),
                                  bytes_of(d->scope, d->scope_len) };
}

static enum kist_err check_chunk(struct chunked_decoder *d)
{
    uint8_t hash[32];
    if (!d->key)
        return KIST_OK;
    struct stream_scope scope = scope_of(d);
    digest_set_final(&d->hash, DIGEST_SHA256, hash);
    digest_set_restart(&d->hash, DIGEST_SHA256);
    stream_chunk_signature(&scope, d->previous, hash, d->previous);
    if (!bytes_equal_secret(bytes_of(d->previous, 64), bytes_of(d->claimed, 64)))
        return KIST_E_CHUNK_SIGNATURE;
    return KIST_OK;
}

static enum kist_err parse_size(struct bytes hex, uint64_t *out)
{
    uint64_t size = 0;
    if (hex.len == 0)
        return KIST_E_CHUNK_FRAMING;
    for (size_t i = 0; i < hex.len; i++) {
        uint8_t c = hex.ptr[i], low = c | 0x20;
        if (c >= '0' && c <= '9')
            size = size << 4 | (uint64_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            size = size << 4 | (uint64_t)(low - 'a' + 10);
        else
            return KIST_E_CHUNK_FRAMING;
        /* Checked at each digit, so that it never overflows. */
        if (size > CHUNKED_CHUNK_MAX)
            return KIST_E_CHUNK_FRAMING;
    }
    *out = size;
    return KIST_OK;
}

/* "400;chunk-signature=<64>" when signed, "400" otherwise; nothing else. */
static enum kist_err parse_header(struct chunked_decoder *d, struct bytes line)
{
    static const char extension[] = ";chunk-signature=";
    const size_t tail = sizeof extension - 1 + AUTH_SIGNATURE_HEX;
    uint64_t size;
    if (d->key) {
        if (line.len <= tail)
            return KIST_E_CHUNK_FRAMING;
        line.len -= tail;
        const uint8_t *at = line.ptr + line.len;
        if (memcmp(at, extension, sizeof extension - 1) != 0)
            return KIST_E_CHUNK_FRAMING;
        memcpy(d->claimed, at + sizeof extension - 1, AUTH_SIGNATURE_HEX);
    }
    TRY(parse_size(line, &size));
    if (size > d->decoded_length - d->decoded_so_far)
        return KIST_E_CHUNK_FRAMING;
    d->chunk_left = size;
    if (size > 0) {
        d->state = CHUNKED_DATA;
        return KIST_OK;
    }
    TRY(check_chunk(d));
    d->state = d->has_trailer ? CHUNKED_TRAILER : CHUNKED_END_CR;
    return KIST_OK;
}

/* Gathers the header line; CR must stand right before LF and nowhere else. */
static enum kist_err feed_header(struct chunked_decoder *d, struct bytes *in)
{
    while (in->len > 0) {
        char c = (char)in->ptr[0];
        bool after_cr = d->line_len > 0 && d->line[d->line_len - 1] == '\r';
        *in = bytes_of(in->ptr + 1, in->len - 1);
        if (after_cr != (c == '\n') || d->line_len == sizeof d->line)
            return KIST_E_CHUNK_FRAMING;
        if (c == '\n') {
            size_t len = d->line_len - 1;
            d->line_len = 0;
            return parse_header(d, bytes_of(d->line, len));
        }
        d->line[d->line_len++] = c;
    }
    return KIST_OK;
}

static enum kist_err feed_data(struct chunked_decoder *d, struct bytes *in, chunked_sink *sink,
                               void *ctx)
{
    size_t take = in->len < d->chunk_left ? in->len : (size_t)d->chunk_left;
    if (d->key)
        digest_set_update(&d->hash, in->ptr, take);
    TRY(sink(ctx, in->ptr, take));
    d->chunk_left -= take;
    d->decoded_so_far += take;
    *in = bytes_of(in->ptr + take, in->len - take);
    if (d->chunk_left > 0)
        return KIST_OK;
    d->state = CHUNKED_DATA_CR;
    return check_chunk(d);
}

static enum kist_err expect(struct chunked_decoder *d, struct bytes *in, uint8_t byte,
                            enum chunked_state next)
{
    if (in->ptr[0] != byte)
        return KIST_E_CHUNK_FRAMING;
    *in = bytes_of(in->ptr + 1, in->len - 1);
    d->state = next;
    return KIST_OK;
}

/* ---- trailers ---- */

static enum kist_err check_trailer_signature(struct chunked_decoder *d, struct bytes value)
{
    char hex[65];
    if (!d->key || d->trailer_signed)
        return KIST_E_TRAILER;
    struct stream_scope scope = scope_of(d);
    stream_trailer_signature(&scope, d->previous, bytes_of(d->text, d->text_line), hex);
    if (!bytes_equal_secret(bytes_of(hex, 64), value))
        return KIST_E_CHUNK_SIGNATURE;
    d->trailer_signed = true;
    return KIST_OK;
}

/* Rewrites the line in place as "name:value\n", which is never longer: its own line end is still
 * free. */
static struct bytes make_canonical(struct chunked_decoder *d, struct bytes name,
                                   struct bytes value)
{
    uint8_t *to = d->text + d->text_line;
    memcpy(to, name.ptr, name.len);
    to += name.len + 1; /* the colon stays */
    memmove(to, value.ptr, value.len);
    to[value.len] = '\n';
    d->text_line += name.len + value.len + 2;
    assert(d->text_line <= sizeof d->text);
    return bytes_of(to, value.len);
}

static enum kist_err take_trailer(struct chunked_decoder *d, struct bytes line)
{
    const uint8_t *colon = memchr(line.ptr, ':', line.len);
    if (!colon || memchr(line.ptr, '\r', line.len) || memchr(line.ptr, '\0', line.len))
        return KIST_E_TRAILER;
    struct bytes name = bytes_of(line.ptr, (size_t)(colon - line.ptr));
    struct bytes value = bytes_trim(bytes_of(colon + 1, line.len - name.len - 1), " \t");
    if (bytes_equal_nocase(name, bytes_str(trailer_signature_name)))
        return check_trailer_signature(d, value);
    struct chunked_trailer *trailer = announced(d, name);
    if (!trailer || trailer->value.ptr || d->trailer_signed)
        return KIST_E_TRAILER;
    trailer->value = make_canonical(d, trailer->name, value);
    d->seen_count++;
    return KIST_OK;
}

static enum kist_err trailers_complete(const struct chunked_decoder *d)
{
    bool signature_due = d->key && d->has_trailer && !d->trailer_signed;
    return d->seen_count == d->trailer_count && !signature_due ? KIST_OK : KIST_E_TRAILER;
}

/* A whole line is in text: without its LF. */
static enum kist_err end_trailer_line(struct chunked_decoder *d)
{
    struct bytes line = bytes_of(d->text + d->text_line, d->text_len - d->text_line);
    bool crlf = line.len > 0 && line.ptr[line.len - 1] == '\r';
    if (crlf)
        line.len--;
    if (line.len == 0) {
        if (!crlf)
            return KIST_E_CHUNK_FRAMING;
        d->state = CHUNKED_DONE;
        return trailers_complete(d);
    }
    if (!crlf)
        d->state = CHUNKED_TRAILER_CR;
    TRY(take_trailer(d, line));
    d->text_len = d->text_line;
    return KIST_OK;
}

static enum kist_err feed_trailer(struct chunked_decoder *d, struct bytes *in)
{
    while (in->len > 0) {
        uint8_t c = in->ptr[0];
        *in = bytes_of(in->ptr + 1, in->len - 1);
        if (d->text_len == sizeof d->text)
            return KIST_E_TRAILER;
        if (c == '\n')
            return end_trailer_line(d);
        d->text[d->text_len++] = c;
    }
    return KIST_OK;
}

/* ---- the machine ---- */

static enum kist_err step(struct chunked_decoder *d, struct bytes *in, chunked_sink *sink,
                          void *ctx)
{
    switch (d->state) {
    case CHUNKED_HEADER:
        return feed_header(d, in);
    case CHUNKED_DATA:
        return feed_data(d, in, sink, ctx);
    case CHUNKED_DATA_CR:
        return expect(d, in, '\r', CHUNKED_DATA_LF);
    case CHUNKED_DATA_LF:
        return expect(d, in, '\n', CHUNKED_HEADER);
    case CHUNKED_TRAILER:
        return feed_trailer(d, in);
    case CHUNKED_TRAILER_CR:
        return expect(d, in, '\r', CHUNKED_TRAILER_LF);
    case CHUNKED_TRAILER_LF:
        return expect(d, in, '\n', CHUNKED_TRAILER);
    case CHUNKED_END_CR:
        return expect(d, in, '\r', CHUNKED_END_LF);
    case CHUNKED_END_LF:
        return expect(d, in, '\n', CHUNKED_DONE);
    case CHUNKED_DONE:
        return KIST_E_CHUNK_FRAMING;
    case CHUNKED_FAILED:
        break;
    }
    return d->failure;
}

enum kist_err chunked_feed(struct chunked_decoder *d, struct bytes input, chunked_sink *sink,
                           void *ctx)
{
    while (input.len > 0) {
        enum kist_err err = step(d, &input, sink, ctx);
        if (err != KIST_OK) {
            d->state = CHUNKED_FAILED;
            d->failure = err;
            return err;
        }
    }
    return KIST_OK;
}

enum kist_err chunked_finish(struct chunked_decoder *d)
{
    bool at_line_start = d->state == CHUNKED_TRAILER && d->text_len == d->text_line;
    if (d->state == CHUNKED_FAILED)
        return d->failure;
    if (at_line_start && (d->seen_count > 0 || d->trailer_signed))
        TRY(trailers_complete(d));
    else if (d->state != CHUNKED_DONE)
        return KIST_E_TRUNCATED;
    return d->decoded_so_far == d->decoded_length ? KIST_OK : KIST_E_TRUNCATED;
}

struct bytes chunked_trailer_value(const struct chunked_decoder *d, const char *name)
{
    for (size_t i = 0; i < d->trailer_count; i++)
        if (bytes_equal_nocase(d->trailers[i].name, bytes_str(name)))
            return d->trailers[i].value;
    return BYTES_EMPTY;
}
