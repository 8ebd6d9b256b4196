/* Builds the canonical request of Signature Version 4.
 *
 *     PUT                              method
 *     /bucket/a%20key                  path, recoded
 *     partNumber=1&uploadId=x          query, recoded and sorted
 *     host:example.com                 each signed header
 *     x-amz-date:20130524T000000Z
 *                                      empty line
 *     host;x-amz-date                  their names
 *     <hash of the payload>
 *
 * The text goes into one block that is large enough for the worst recoding (three bytes for
 * each), so that nothing is measured twice and nothing grows.
 */
#include "auth/canonical.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/codec.h"

struct param {
    struct bytes name; /* recoded */
    struct bytes value;
};

static char *put(char *to, struct bytes s)
{
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    return to + s.len;
}

static bool is_unreserved(uint8_t c)
{
    static const uint32_t map[8] = { 0, 0x03FF6000, 0x87FFFFFE, 0x47FFFFFE, 0, 0, 0, 0 };
    return (map[c >> 5] >> (c & 31)) & 1;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_escape(struct bytes in, size_t at)
{
    return in.ptr[at] == '%' && in.len - at > 2 && hex_digit(in.ptr[at + 1]) >= 0 &&
           hex_digit(in.ptr[at + 2]) >= 0;
}

char *canonical_recode(char *to, struct bytes in, bool is_path, enum canonical_form form)
{
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.ptr[i];
        bool keep_slash = is_path;
        if (is_escape(in, i)) {
            c = (uint8_t)(hex_digit(in.ptr[i + 1]) * 16 + hex_digit(in.ptr[i + 2]));
            keep_slash = is_path && form == CANONICAL_SLASH;
            i += 2;
        } else if (c == '+' && !is_path) {
            c = ' ';
        }
        if (is_unreserved(c) || (c == '/' && keep_slash)) {
            *to++ = (char)c;
            continue;
        }
        *to++ = '%';
        *to++ = "0123456789ABCDEF"[c >> 4];
        *to++ = "0123456789ABCDEF"[c & 15];
    }
    return to;
}

/* The path of services beside S3: what was sent is encoded as it is, its '%' too.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html */
static char *encode_again(char *to, struct bytes in)
{
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.ptr[i];
        if (is_unreserved(c) || c == '/') {
            *to++ = (char)c;
            continue;
        }
        *to++ = '%';
        *to++ = "0123456789ABCDEF"[c >> 4];
        *to++ = "0123456789ABCDEF"[c & 15];
    }
    return to;
}

/* Takes the next "name=value" off *rest; false at the end. Empty parts are skipped. */
static bool next_part(struct bytes *rest, struct bytes *part)
{
    while (rest->len > 0) {
        const uint8_t *amp = memchr(rest->ptr, '&', rest->len);
        size_t len = amp ? (size_t)(amp - rest->ptr) : rest->len;
        *part = bytes_of(rest->ptr, len);
        size_t skip = amp ? len + 1 : len;
        *rest = bytes_of(rest->ptr + skip, rest->len - skip);
        if (len > 0)
            return true;
    }
    return false;
}

static int param_compare(const void *a, const void *b)
{
    const struct param *x = a, *y = b;
    int order = bytes_compare(x->name, y->name);
    return order ? order : bytes_compare(x->value, y->value);
}

static char *recode_param(char *to, struct bytes part, enum canonical_form form,
                          struct param *out)
{
    const uint8_t *eq = memchr(part.ptr, '=', part.len);
    size_t name_len = eq ? (size_t)(eq - part.ptr) : part.len;
    size_t value_at = eq ? name_len + 1 : part.len;
    char *middle = canonical_recode(to, bytes_of(part.ptr, name_len), false, form);
    char *end =
        canonical_recode(middle, bytes_of(part.ptr + value_at, part.len - value_at), false, form);
    out->name = bytes_of(to, (size_t)(middle - to));
    out->value = bytes_of(middle, (size_t)(end - middle));
    return end;
}

static size_t count_parts(struct bytes query)
{
    size_t count = 0;
    for (struct bytes part; next_part(&query, &part);)
        count++;
    return count;
}

/* Clients send their parameters in order more often than not: then there is nothing to sort. */
static void sort_params(struct param *params, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (param_compare(&params[i - 1], &params[i]) > 0) {
            qsort(params, count, sizeof *params, param_compare);
            return;
        }
    }
}

static enum kist_err put_query(const struct canonical_input *in, enum canonical_form form,
                               struct arena *arena, char **to)
{
    size_t parts = count_parts(in->raw_query);
    if (parts == 0)
        return KIST_OK;
    if (parts > QUERY_PARAMS_MAX)
        return KIST_E_TOO_LARGE;
    struct param *params = arena_alloc(arena, parts * sizeof *params);
    char *text = arena_alloc(arena, 3 * in->raw_query.len);
    if (!params || !text)
        return KIST_E_NOMEM;
    struct bytes rest = in->raw_query, part;
    size_t count = 0;
    while (next_part(&rest, &part)) {
        text = recode_param(text, part, form, &params[count]);
        if (!in->presigned || !bytes_equal(params[count].name, BYTES_LIT("X-Amz-Signature")))
            count++;
    }
    sort_params(params, count);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            *(*to)++ = '&';
        *to = put(*to, params[i].name);
        *(*to)++ = '=';
        *to = put(*to, params[i].value);
    }
    return KIST_OK;
}

static char *put_raw_query(const struct canonical_input *in, char *to)
{
    struct bytes rest = in->raw_query, part;
    char *start = to;
    if (!in->presigned)
        return put(to, rest);
    while (next_part(&rest, &part)) {
        if (bytes_starts_with(part, BYTES_LIT("X-Amz-Signature=")))
            continue;
        if (to > start)
            *to++ = '&';
        to = put(to, part);
    }
    return to;
}

/* Trimmed, and each inner run of blanks a single one. */
static char *put_value(char *to, struct bytes value)
{
    bool pending = false;
    char *start = to;
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.ptr[i];
        if (c == ' ' || c == '\t') {
            pending = to > start;
            continue;
        }
        if (pending)
            *to++ = ' ';
        pending = false;
        *to++ = (char)c;
    }
    return to;
}

/* A header sent twice is signed as one with a comma between. */
static char *put_header(const struct canonical_input *in, struct bytes name, char *to)
{
    bool first = true;
    to = put(to, name);
    *to++ = ':';
    for (size_t i = 0; i < in->header_count; i++) {
        if (!bytes_equal_nocase(in->headers[i].name, name))
            continue;
        if (!first)
            *to++ = ',';
        first = false;
        to = put_value(to, in->headers[i].value);
    }
    *to++ = '\n';
    return to;
}

static char *put_headers(const struct canonical_input *in, char *to)
{
    for (size_t i = 0; i < in->name_count; i++)
        to = put_header(in, in->names[i], to);
    *to++ = '\n';
    for (size_t i = 0; i < in->name_count; i++) {
        if (i > 0)
            *to++ = ';';
        to = put(to, in->names[i]);
    }
    *to++ = '\n';
    return to;
}

static size_t size_max(const struct canonical_input *in)
{
    size_t size = in->method.len + in->payload.len + 8;
    size += 3 * in->raw_path.len + 4 * in->raw_query.len + 2;
    for (size_t i = 0; i < in->name_count; i++)
        size += 2 * in->names[i].len + 3;
    /* Names are distinct, so each header's value is written at most once. */
    for (size_t i = 0; i < in->header_count; i++)
        size += in->headers[i].value.len + 1;
    return size;
}

enum kist_err canonical_request(const struct canonical_input *in, enum canonical_form form,
                                struct arena *arena, struct bytes *out)
{
    size_t max = size_max(in);
    char *start = arena_alloc(arena, max);
    if (!start)
        return KIST_E_NOMEM;
    char *to = put(start, in->method);
    *to++ = '\n';
    if (form == CANONICAL_RAW)
        to = put(to, in->raw_path);
    else if (in->twice)
        to = encode_again(to, in->raw_path);
    else
        to = canonical_recode(to, in->raw_path, true, form);
    if (in->raw_path.len == 0)
        *to++ = '/';
    *to++ = '\n';
    if (form == CANONICAL_RAW)
        to = put_raw_query(in, to);
    else
        TRY(put_query(in, form, arena, &to));
    *to++ = '\n';
    to = put_headers(in, to);
    to = put(to, in->payload);
    assert((size_t)(to - start) <= max);
    *out = bytes_of(start, (size_t)(to - start));
    return KIST_OK;
}

bool canonical_form_differs(const struct canonical_input *in, enum canonical_form form)
{
    struct bytes path = in->raw_path;
    switch (form) {
    case CANONICAL_AWS:
        return true;
    case CANONICAL_SLASH:
        return !in->twice && (bytes_find(path, BYTES_LIT("%2F"), 0) != SIZE_MAX ||
                              bytes_find(path, BYTES_LIT("%2f"), 0) != SIZE_MAX);
    case CANONICAL_RAW: /* a raw "%2520" is what "%20" becomes when it is encoded again */
        return !in->twice || bytes_find(path, BYTES_LIT("%"), 0) == SIZE_MAX;
    }
    return true;
}

static int bytes_order(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;
    return bytes_compare(*x, *y);
}

enum kist_err canonical_names_sort(struct bytes *names, size_t count)
{
    bool sorted = true;
    for (size_t i = 0; i < count; i++) {
        if (names[i].len == 0)
            return KIST_E_INVALID;
        sorted = sorted && (i == 0 || bytes_compare(names[i - 1], names[i]) < 0);
    }
    if (sorted)
        return KIST_OK;
    qsort(names, count, sizeof *names, bytes_order);
    for (size_t i = 1; i < count; i++)
        if (bytes_equal(names[i - 1], names[i]))
            return KIST_E_INVALID;
    return KIST_OK;
}

enum kist_err canonical_string_to_sign(struct bytes amz_date, struct bytes scope,
                                       struct bytes canonical, struct arena *arena,
                                       struct bytes *out)
{
    uint8_t hash[32];
    digest_once(DIGEST_SHA256, canonical, hash);
    size_t max = sizeof SIGV4_ALGORITHM + amz_date.len + scope.len + 2 + 65;
    char *start = arena_alloc(arena, max);
    if (!start)
        return KIST_E_NOMEM;
    char *to = put(start, BYTES_LIT(SIGV4_ALGORITHM "\n"));
    to = put(to, amz_date);
    *to++ = '\n';
    to = put(to, scope);
    *to++ = '\n';
    hex_encode(bytes_of(hash, sizeof hash), to);
    to += 64;
    *out = bytes_of(start, (size_t)(to - start));
    return KIST_OK;
}

static void sign_lines(const struct stream_scope *s, const char *algorithm,
                       const char previous[65], const char *tail, char out[65])
{
    char text[512];
    uint8_t mac[32];
    int len = snprintf(text, sizeof text, "%s\n%.*s\n%.*s\n%s\n%s", algorithm,
                       (int)s->amz_date.len, (const char *)s->amz_date.ptr, (int)s->scope.len,
                       (const char *)s->scope.ptr, previous, tail);
    assert(len > 0 && (size_t)len < sizeof text); /* dates and scopes are bounded at init */
    hmac_key_sign(s->key, bytes_of(text, (size_t)len), mac);
    hex_encode(bytes_of(mac, sizeof mac), out);
}

void stream_chunk_signature(const struct stream_scope *s, const char previous[65],
                            const uint8_t sha256[32], char out[65])
{
    static const char of_nothing[] =
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";
    char tail[sizeof of_nothing + 64];
    memcpy(tail, of_nothing, sizeof of_nothing);
    hex_encode(bytes_of(sha256, 32), tail + sizeof of_nothing - 1);
    sign_lines(s, SIGV4_ALGORITHM "-PAYLOAD", previous, tail, out);
}

void stream_trailer_signature(const struct stream_scope *s, const char previous[65],
                              struct bytes canonical_trailers, char out[65])
{
    uint8_t hash[32];
    char hex[65];
    digest_once(DIGEST_SHA256, canonical_trailers, hash);
    hex_encode(bytes_of(hash, sizeof hash), hex);
    sign_lines(s, SIGV4_ALGORITHM "-TRAILER", previous, hex, out);
}
