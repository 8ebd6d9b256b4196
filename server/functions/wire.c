#include "server/functions/wire.h"

static bool is_token(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* The next line, which ends in CRLF; a lone CR or LF, and NUL, are not allowed in it. */
static enum wire_verdict take_line(struct bytes in, size_t *at, struct bytes *line)
{
    for (size_t i = *at; i < in.len; i++) {
        uint8_t c = in.ptr[i];
        if (c == '\n' || c == '\0')
            return WIRE_BAD;
        if (c != '\r')
            continue;
        if (i + 1 == in.len)
            return WIRE_MORE;
        if (in.ptr[i + 1] != '\n')
            return WIRE_BAD;
        *line = bytes_of(in.ptr + *at, i - *at);
        *at = i + 2;
        return WIRE_OK;
    }
    return WIRE_MORE;
}

/* "METHOD target HTTP/1.1" */
static bool request_line(struct bytes line, struct wire_head *out)
{
    size_t first = bytes_find(line, BYTES_LIT(" "), 0);
    if (first == SIZE_MAX || first == 0)
        return false;
    size_t second = bytes_find(line, BYTES_LIT(" "), first + 1);
    if (second == SIZE_MAX || second == first + 1)
        return false;
    struct bytes method = bytes_of(line.ptr, first);
    struct bytes version = bytes_of(line.ptr + second + 1, line.len - second - 1);
    for (size_t i = 0; i < method.len; i++)
        if (!is_token(method.ptr[i]))
            return false;
    out->target = bytes_of(line.ptr + first + 1, second - first - 1);
    out->get = bytes_equal(method, BYTES_LIT("GET"));
    out->post = bytes_equal(method, BYTES_LIT("POST"));
    out->keep_alive = bytes_equal(version, BYTES_LIT("HTTP/1.1"));
    return out->keep_alive || bytes_equal(version, BYTES_LIT("HTTP/1.0"));
}

/* Name and value of a header or trailer line. */
static bool split_field(struct bytes line, struct bytes *name, struct bytes *value)
{
    size_t colon = bytes_find(line, BYTES_LIT(":"), 0);
    if (colon == SIZE_MAX || colon == 0)
        return false;
    *name = bytes_of(line.ptr, colon);
    for (size_t i = 0; i < colon; i++)
        if (!is_token(name->ptr[i]))
            return false;
    *value = bytes_trim(bytes_of(line.ptr + colon + 1, line.len - colon - 1), " \t");
    return true;
}

static bool header(struct bytes name, struct bytes value, struct wire_head *out)
{
    if (bytes_equal_nocase(name, BYTES_LIT("content-length"))) {
        if (out->has_length || bytes_to_u64(value, UINT64_MAX / 2, &out->length) != KIST_OK)
            return false;
        out->has_length = true;
    } else if (bytes_equal_nocase(name, BYTES_LIT("transfer-encoding"))) {
        if (out->chunked || !bytes_equal_nocase(value, BYTES_LIT("chunked")))
            return false;
        out->chunked = true;
    } else if (bytes_equal_nocase(name, BYTES_LIT("connection"))) {
        if (bytes_equal_nocase(value, BYTES_LIT("close")))
            out->keep_alive = false;
    } else if (bytes_equal_nocase(name, BYTES_LIT("expect"))) {
        out->expect = bytes_equal_nocase(value, BYTES_LIT("100-continue"));
        return out->expect;
    } else if (bytes_equal_nocase(name, BYTES_LIT("content-type"))) {
        out->content_type = value;
    } else if (bytes_equal_nocase(name, BYTES_LIT("lambda-runtime-function-response-mode"))) {
        out->response_mode = value;
    } else if (bytes_equal_nocase(name, BYTES_LIT("lambda-runtime-function-error-type"))) {
        out->error_type = value;
    }
    return true;
}

enum wire_verdict wire_head(struct bytes in, struct wire_head *out, size_t *used)
{
    struct wire_head head = { 0 };
    struct bytes line, name, value;
    size_t at = 0;
    struct bytes seen = bytes_of(in.ptr, in.len < WIRE_HEAD_MAX ? in.len : WIRE_HEAD_MAX);
    enum wire_verdict verdict = take_line(seen, &at, &line);
    if (verdict == WIRE_OK && !request_line(line, &head))
        return WIRE_BAD;
    while (verdict == WIRE_OK) {
        verdict = take_line(seen, &at, &line);
        if (verdict != WIRE_OK || line.len == 0)
            break;
        if (!split_field(line, &name, &value) || !header(name, value, &head))
            return WIRE_BAD;
    }
    if (verdict == WIRE_MORE && in.len >= WIRE_HEAD_MAX)
        return WIRE_BAD;
    if (verdict != WIRE_OK)
        return verdict;
    /* Two lengths: whoever reads another one than we do sees another request behind it. */
    if (head.chunked && (head.has_length || !head.keep_alive))
        return head.has_length ? WIRE_BAD : (*out = head, *used = at, WIRE_OK);
    *out = head;
    *used = at;
    return WIRE_OK;
}

/* ---- chunks ---- */

/* Size in hex, perhaps with an extension behind ';'. */
static bool chunk_size(struct bytes line, uint64_t *out)
{
    uint64_t size = 0;
    size_t i = 0;
    for (; i < line.len && i < 15; i++) {
        uint8_t c = line.ptr[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (c | 0x20U) - 'a' + 10;
        else
            break;
        size = size << 4 | digit;
    }
    *out = size;
    return i && (i == line.len || line.ptr[i] == ';' || line.ptr[i] == ' ');
}

static void keep(char *to, size_t max, struct bytes value)
{
    size_t len = value.len < max - 1 ? value.len : max - 1;
    memcpy(to, value.ptr, len);
    to[len] = '\0';
}

/* A whole line of the framing. */
static enum wire_verdict chunk_line(struct wire_chunks *c, struct bytes line)
{
    struct bytes name, value;
    if (c->state == CHUNK_DATA_END) {
        c->state = CHUNK_SIZE;
        return line.len == 0 ? WIRE_MORE : WIRE_BAD;
    }
    if (c->state == CHUNK_SIZE) {
        if (!chunk_size(line, &c->left))
            return WIRE_BAD;
        c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
        return WIRE_MORE;
    }
    if (line.len == 0)
        return WIRE_OK;
    if (!split_field(line, &name, &value))
        return WIRE_BAD;
    if (bytes_equal_nocase(name, BYTES_LIT("lambda-runtime-function-error-type")))
        keep(c->error_type, sizeof(c->error_type), value);
    else if (bytes_equal_nocase(name, BYTES_LIT("lambda-runtime-function-error-body")))
        keep(c->error_body, sizeof(c->error_body), value);
    return WIRE_MORE;
}

/* One byte of a line: WIRE_MORE until it is whole. */
static enum wire_verdict line_byte(struct wire_chunks *c, uint8_t byte)
{
    bool after_cr = c->line_len && c->line[c->line_len - 1] == '\r';
    if (after_cr != (byte == '\n') || byte == '\0')
        return WIRE_BAD;
    if (byte == '\n')
        return WIRE_OK;
    if (c->line_len == sizeof(c->line))
        return WIRE_BAD;
    c->line[c->line_len++] = (char)byte;
    return WIRE_MORE;
}

enum wire_verdict wire_chunks(struct wire_chunks *c, struct bytes in, size_t *used,
                              struct bytes *data)
{
    size_t at = 0;
    *data = BYTES_EMPTY;
    enum wire_verdict verdict = WIRE_MORE;
    while (at < in.len && verdict == WIRE_MORE) {
        if (c->state == CHUNK_DATA) {
            size_t len = in.len - at < c->left ? in.len - at : (size_t)c->left;
            *data = bytes_of(in.ptr + at, len);
            at += len;
            c->left -= len;
            if (c->left == 0)
                c->state = CHUNK_DATA_END;
            break;
        }
        verdict = line_byte(c, in.ptr[at++]);
        if (verdict != WIRE_OK)
            continue;
        struct bytes line = bytes_of(c->line, c->line_len - 1);
        c->line_len = 0;
        verdict = chunk_line(c, line);
    }
    *used = at;
    return verdict;
}
