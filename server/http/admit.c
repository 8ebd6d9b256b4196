/* Admission: refuses, before any byte of the body, what MHD 0.9.75 lets through.
 *
 * MHD parses in place. When the first handler call comes, `method` points at the start of the
 * request in its buffer, and MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE is the length of the whole
 * header from there. Of the raw bytes it has changed only these: blanks around the target, each
 * header's colon, and each line end's CR and LF have become NUL. So
 *
 *     GET /a HTTP/1.1 CR LF Host: b CR LF CR LF
 *     GET 0 /a 0 HTTP/1.1 0 0 Host 0 _b 0 0 0 0
 *
 * and a bare LF shows as a single NUL, a folded line as one that starts with a blank. A NUL
 * that the client itself sent could play a line end, but then we count more headers than MHD
 * (which sees the rest of that line as nothing), or find a forbidden byte: refused as well.
 * tests/unit/server/http/test_exchange.c holds MHD to this.
 */
#include <ctype.h>

#include "server/http/internal.h"
#include "server/http/target.h"

#define VERSION_LEN 8U /* "HTTP/1.1", by MHD's own check */

struct refusal {
    unsigned status;
    const char *code;
    const char *message;
};

static const struct refusal OK = { 0, NULL, NULL };

static struct refusal invalid(const char *message)
{
    return (struct refusal){ 400, "InvalidRequest", message };
}

/* RFC 9110 section 5.6.2 */
static bool is_token_byte(uint8_t c)
{
    return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_value_byte(uint8_t c)
{
    return (c >= ' ' && c != 0x7f) || c == '\t';
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* One header at *at, which moves to the next line. Names become lower-case in place. The value
 * keeps its trailing blanks: MHD compares them, and so must the framing rules below. */
static struct refusal take_header(uint8_t **at, const uint8_t *end, struct http_header *out)
{
    uint8_t *p = *at;
    if (is_blank(*p))
        return invalid("Folded header lines are not allowed.");
    uint8_t *name = p;
    for (; p < end && is_token_byte(*p); p++)
        *p = (uint8_t)tolower(*p);
    if (p == end || *p != 0 || p == name)
        return invalid("A header name is malformed.");
    out->name = bytes_of(name, (size_t)(p - name));
    for (p++; p < end && is_blank(*p); p++)
        ;
    uint8_t *value = p;
    while (p < end && is_value_byte(*p))
        p++;
    if (p == end || *p != 0)
        return invalid("A header value has control characters.");
    out->value = bytes_of(value, (size_t)(p - value));
    if (end - p < 2 || p[1] != 0)
        return invalid("A header line does not end with CR LF.");
    *at = p + 2;
    return OK;
}

/* The raw header lines, from behind the version, copied into the arena: MHD's own memory is
 * not ours to change. */
static struct refusal take_headers(struct exchange *x, const char *lines, size_t len)
{
    if (len < 4 || lines[0] != 0 || lines[1] != 0)
        return invalid("The request line does not end with CR LF.");
    int known = MHD_get_connection_values(x->mhd, MHD_HEADER_KIND, NULL, NULL);
    size_t room = known > 0 ? (size_t)known : 0;
    uint8_t *copy = arena_alloc(&x->arena, len);
    struct http_header *headers = arena_alloc(&x->arena, (room + 1) * sizeof(*headers));
    if (!copy || !headers)
        return (struct refusal){ 503, "SlowDown", "Out of memory." };
    memcpy(copy, lines, len);
    uint8_t *at = copy + 2;
    const uint8_t *end = copy + len;
    size_t count = 0;
    while (at < end && *at != 0) {
        if (count == room)
            return invalid("The header has NUL bytes.");
        struct refusal bad = take_header(&at, end, &headers[count]);
        if (bad.status)
            return bad;
        count++;
    }
    if (end - at != 2 || at[0] != 0 || at[1] != 0 || count != room)
        return invalid("The header is malformed.");
    x->request.headers = headers;
    x->request.header_count = count;
    return OK;
}

static size_t find_header(const struct exchange *x, const char *name, struct bytes *value)
{
    size_t count = 0;
    struct bytes wanted = bytes_str(name);
    for (size_t i = 0; i < x->request.header_count; i++) {
        if (!bytes_equal(x->request.headers[i].name, wanted))
            continue;
        *value = x->request.headers[i].value;
        count++;
    }
    return count;
}

/* RFC 9112 section 6.3: the ways to smuggle one request inside another. */
static struct refusal check_framing(struct exchange *x, bool is_1_0)
{
    struct bytes coding = BYTES_EMPTY, length = BYTES_EMPTY;
    size_t codings = find_header(x, "transfer-encoding", &coding);
    size_t lengths = find_header(x, "content-length", &length);
    if (codings && lengths)
        return invalid("Both Content-Length and Transfer-Encoding are given.");
    if (codings > 1 || lengths > 1)
        return invalid("The length of the body is given twice.");
    if (codings && !bytes_equal_nocase(coding, BYTES_LIT("chunked")))
        return (struct refusal){ 501, "NotImplemented",
                                 "The only transfer coding supported is chunked." };
    if (codings && is_1_0)
        return invalid("Transfer-Encoding needs HTTP/1.1.");
    x->request.content_length = codings ? HTTP_LENGTH_UNKNOWN : 0;
    if (lengths &&
        bytes_to_u64(length, (uint64_t)INT64_MAX, &x->request.content_length) != KIST_OK)
        return invalid("Content-Length is malformed.");
    x->has_body = x->request.content_length != 0;
    return OK;
}

static struct refusal check_expect(const struct exchange *x, bool is_1_0)
{
    struct bytes expect = BYTES_EMPTY;
    size_t count = find_header(x, "expect", &expect);
    if (count == 0 || is_1_0)
        return OK;
    if (count > 1 || !bytes_equal_nocase(expect, BYTES_LIT("100-continue")))
        return (struct refusal){ 417, "InvalidRequest",
                                 "The only expectation supported is 100-continue." };
    return OK;
}

static struct bytes trim_end(struct bytes s)
{
    while (s.len && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* RFC 9112 section 3.2: exactly one Host; an absolute-form target wins over it. */
static struct refusal check_host(struct exchange *x, struct bytes authority, bool is_1_0)
{
    struct bytes value = BYTES_EMPTY;
    size_t count = find_header(x, "host", &value);
    if (count > 1 || (count == 0 && !is_1_0))
        return invalid("Exactly one Host header is required.");
    if (host_split(trim_end(value), &x->request.host) != KIST_OK)
        return invalid("The Host header is malformed.");
    if (authority.ptr && host_split(authority, &x->request.host) != KIST_OK)
        return invalid("The request target is malformed.");
    return OK;
}

static enum http_method method_of(struct bytes name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {
        { "GET", HTTP_GET },   { "PUT", HTTP_PUT },       { "HEAD", HTTP_HEAD },
        { "POST", HTTP_POST }, { "DELETE", HTTP_DELETE }, { "OPTIONS", HTTP_OPTIONS }
    };
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (bytes_equal(name, bytes_str(methods[i].name)))
            return methods[i].method;
    return HTTP_OTHER;
}

static struct refusal check_request_line(struct exchange *x, const char *method,
                                         const char *version, struct bytes *authority)
{
    struct http_request *r = &x->request;
    size_t method_len = strlen(method);
    if (x->target_too_long)
        return (struct refusal){ 414, "URITooLong", "The request target is too long." };
    for (size_t i = 0; i < method_len; i++)
        if (!is_token_byte((uint8_t)method[i]))
            return invalid("The method is malformed.");
    /* MHD skips blanks before the target, and its idea of the target ends at a NUL. */
    if (x->line_target != method + method_len + 1 ||
        x->line_target + r->target.len + 1 != version)
        return invalid("The request line is malformed.");
    char *name = arena_strndup(&x->arena, method, method_len);
    if (!name)
        return (struct refusal){ 503, "SlowDown", "Out of memory." };
    r->method_name = bytes_of(name, method_len);
    r->method = method_of(r->method_name);
    struct target_parts parts;
    if (target_split(r->target, &parts) != KIST_OK)
        return invalid("The request target is malformed.");
    if (bytes_equal(parts.path, BYTES_LIT("*")) && r->method != HTTP_OPTIONS)
        return invalid("The target * is for OPTIONS only.");
    r->path = parts.path;
    r->query = parts.query;
    *authority = parts.authority;
    return OK;
}

static struct refusal check_all(struct exchange *x, const char *method, const char *version)
{
    struct bytes authority = BYTES_EMPTY;
    bool is_1_0 = strcmp(version, "HTTP/1.0") == 0;
    struct refusal bad = check_request_line(x, method, version, &authority);
    if (bad.status)
        return bad;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const char *lines = version + VERSION_LEN;
    size_t before = (size_t)(lines - method);
    size_t whole = info ? info->header_size : 0;
    if (whole < before || whole - before > HTTP_HEADERS_MAX_BYTES)
        return (struct refusal){ 431, "RequestHeaderSectionTooLarge",
                                 "Your request header section is too large." };
    bad = take_headers(x, lines, whole - before);
    if (!bad.status)
        bad = check_framing(x, is_1_0);
    if (!bad.status)
        bad = check_expect(x, is_1_0);
    if (!bad.status)
        bad = check_host(x, authority, is_1_0);
    return bad;
}

unsigned admit(struct exchange *x, const char *method, const char *version, const char **code,
               const char **message)
{
    struct refusal bad = check_all(x, method, version);
    if (bad.status) {
        *code = bad.code;
        *message = bad.message;
        return bad.status;
    }
    struct http_header *headers = (struct http_header *)(uintptr_t)x->request.headers;
    for (size_t i = 0; i < x->request.header_count; i++)
        headers[i].value = trim_end(headers[i].value);
    return 0;
}
