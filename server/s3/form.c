#include "server/s3/form.h"

#include <assert.h>
#include <string.h>

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct bytes skip_blanks(struct bytes s)
{
    while (s.len && is_blank(s.ptr[0]))
        s = bytes_of(s.ptr + 1, s.len - 1);
    return s;
}

/* ---- "type; name=value; name="value"" ---- */

/* The next parameter behind a ';'; false at the end, or when it is malformed. */
static bool next_param(struct bytes *s, struct bytes *name, struct bytes *value)
{
    *s = skip_blanks(*s);
    if (!s->len || s->ptr[0] != ';')
        return false;
    *s = skip_blanks(bytes_of(s->ptr + 1, s->len - 1));
    size_t eq = bytes_find(*s, BYTES_LIT("="), 0);
    if (eq == SIZE_MAX)
        return false;
    *name = bytes_of(s->ptr, eq);
    *s = bytes_of(s->ptr + eq + 1, s->len - eq - 1);
    bool quoted = s->len && s->ptr[0] == '"';
    size_t end = quoted ? 1 : 0;
    while (end < s->len && (quoted ? s->ptr[end] != '"' : s->ptr[end] != ';'))
        end++;
    if (quoted && end == s->len)
        return false;
    *value = quoted ? bytes_of(s->ptr + 1, end - 1) : bytes_of(s->ptr, end);
    while (!quoted && value->len && is_blank(value->ptr[value->len - 1]))
        value->len--;
    *s = bytes_of(s->ptr + end + quoted, s->len - end - quoted);
    return true;
}

/* RFC 2046 section 5.1.1 */
static bool is_boundary(struct bytes b)
{
    static const char allowed[] = "'()+_,-./:=? ";
    for (size_t i = 0; i < b.len; i++) {
        uint8_t c = b.ptr[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  (c && strchr(allowed, c));
        if (!ok)
            return false;
    }
    return b.len > 0 && b.len <= FORM_BOUNDARY_MAX;
}

enum kist_err form_init(struct form_parser *p, struct bytes content_type,
                        const struct form_sink *sink)
{
    static const struct bytes type = { (const uint8_t *)"multipart/form-data", 19 };
    struct bytes name, value;
    if (content_type.len < type.len ||
        !bytes_equal_nocase(bytes_of(content_type.ptr, type.len), type))
        return KIST_E_INVALID;
    struct bytes rest = bytes_of(content_type.ptr + type.len, content_type.len - type.len);
    memset(p, 0, sizeof(*p));
    p->sink = *sink;
    while (next_param(&rest, &name, &value)) {
        if (!bytes_equal_nocase(name, BYTES_LIT("boundary")))
            continue;
        if (!is_boundary(value))
            return KIST_E_INVALID;
        memcpy(p->delimiter, "\r\n--", 4);
        memcpy(p->delimiter + 4, value.ptr, value.len);
        p->delimiter_len = 4 + value.len;
        p->matched = 2; /* the first one needs no line before it */
        return KIST_OK;
    }
    return KIST_E_INVALID;
}

/* ---- a part's header ---- */

static void parse_line(struct bytes line, struct form_part *part)
{
    static const struct bytes form_data = { (const uint8_t *)"form-data", 9 };
    struct bytes name, value, rest;
    size_t colon = bytes_find(line, BYTES_LIT(":"), 0);
    if (colon == SIZE_MAX)
        return;
    struct bytes header = bytes_of(line.ptr, colon);
    rest = skip_blanks(bytes_of(line.ptr + colon + 1, line.len - colon - 1));
    if (bytes_equal_nocase(header, BYTES_LIT("content-type")))
        part->type = rest;
    if (!bytes_equal_nocase(header, BYTES_LIT("content-disposition")) ||
        rest.len < form_data.len ||
        !bytes_equal_nocase(bytes_of(rest.ptr, form_data.len), form_data))
        return;
    rest = bytes_of(rest.ptr + form_data.len, rest.len - form_data.len);
    while (next_param(&rest, &name, &value)) {
        if (bytes_equal_nocase(name, BYTES_LIT("name")))
            part->name = value;
        else if (bytes_equal_nocase(name, BYTES_LIT("filename")))
            part->filename = value;
    }
}

static enum kist_err header_done(struct form_parser *p)
{
    struct form_part part = { .name = BYTES_EMPTY };
    struct bytes all = bytes_of(p->header, p->header_len);
    for (size_t at = 0; at < all.len;) {
        size_t end = bytes_find(all, BYTES_LIT("\r\n"), at);
        end = end == SIZE_MAX ? all.len : end;
        parse_line(bytes_of(all.ptr + at, end - at), &part);
        at = end + 2;
    }
    if (!part.name.len)
        return KIST_E_INVALID;
    p->state = FORM_DATA;
    p->matched = 0;
    p->in_part = true;
    return p->sink.begin(p->sink.ctx, &part);
}

/* One byte more of the header. It ends at an empty line, which may be its first. */
static enum kist_err header_byte(struct form_parser *p, uint8_t c)
{
    if (p->header_len == FORM_PART_HEADER_MAX)
        return KIST_E_INVALID;
    p->header[p->header_len++] = (char)c;
    size_t n = p->header_len;
    bool ends = (n == 2 && memcmp(p->header, "\r\n", 2) == 0) ||
                (n >= 4 && memcmp(p->header + n - 4, "\r\n\r\n", 4) == 0);
    return ends ? header_done(p) : KIST_OK;
}

/* What follows a delimiter: CR LF, or -- at the last one; blanks may stand before. */
static enum kist_err delimiter_byte(struct form_parser *p, uint8_t c)
{
    if (p->header_len == 0 && is_blank(c))
        return KIST_OK;
    p->header[p->header_len++] = (char)c;
    if (p->header_len < 2)
        return c == '\r' || c == '-' ? KIST_OK : KIST_E_INVALID;
    bool next = memcmp(p->header, "\r\n", 2) == 0;
    if (!next && memcmp(p->header, "--", 2) != 0)
        return KIST_E_INVALID;
    p->state = next ? FORM_HEADER : FORM_END;
    p->header_len = 0;
    return KIST_OK;
}

/* ---- data ---- */

static enum kist_err emit(struct form_parser *p, struct bytes piece)
{
    return p->in_part && piece.len ? p->sink.data(p->sink.ctx, piece) : KIST_OK;
}

static enum kist_err delimiter_found(struct form_parser *p)
{
    bool ended = p->in_part;
    p->state = FORM_DELIMITER;
    p->header_len = 0;
    p->in_part = false;
    return ended ? p->sink.end(p->sink.ctx) : KIST_OK;
}

/* A CR begins a delimiter and stands nowhere else in it: after a mismatch nothing but the byte at
 * hand can begin another. */
static enum kist_err data_bytes(struct form_parser *p, struct bytes piece, size_t *at)
{
    size_t start = *at;
    while (*at < piece.len) {
        uint8_t c = piece.ptr[*at];
        if (p->matched == 0 && c != '\r') {
            const uint8_t *cr = memchr(piece.ptr + *at, '\r', piece.len - *at);
            *at = cr ? (size_t)(cr - piece.ptr) : piece.len;
            continue;
        }
        if (c == (uint8_t)p->delimiter[p->matched]) {
            if (p->matched == 0) {
                TRY(emit(p, bytes_of(piece.ptr + start, *at - start)));
                start = *at;
            }
            p->matched++;
            ++*at;
            if (p->matched == p->delimiter_len)
                return delimiter_found(p);
            continue;
        }
        size_t held = p->matched;
        p->matched = 0;
        TRY(emit(p, bytes_of(p->delimiter, held)));
        start = *at;
    }
    return p->matched ? KIST_OK : emit(p, bytes_of(piece.ptr + start, *at - start));
}

enum kist_err form_feed(struct form_parser *p, struct bytes piece, size_t *used)
{
    size_t at = 0;
    enum kist_err err = KIST_OK;
    while (at < piece.len && err == KIST_OK && !p->paused) {
        switch (p->state) {
        case FORM_DATA:
            err = data_bytes(p, piece, &at);
            break;
        case FORM_DELIMITER:
            err = delimiter_byte(p, piece.ptr[at++]);
            break;
        case FORM_HEADER:
            err = header_byte(p, piece.ptr[at++]);
            break;
        case FORM_END: /* RFC 2046 section 5.1.1: what follows is to be ignored */
            at = piece.len;
            break;
        }
    }
    *used = at;
    return err;
}

bool form_is_complete(const struct form_parser *p)
{
    return p->state == FORM_END;
}
