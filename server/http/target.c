#include "server/http/target.h"

#include <ctype.h>

static bool has_forbidden_byte(struct bytes s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
            return true;
    return false;
}

static struct bytes after(struct bytes s, size_t n)
{
    return bytes_of(s.ptr + n, s.len - n);
}

/* Takes "http://authority" off an absolute-form target. The scheme is case-insensitive. */
static bool take_authority(struct bytes *rest, struct bytes *authority)
{
    static const struct bytes schemes[] = { { (const uint8_t *)"http://", 7 },
                                            { (const uint8_t *)"https://", 8 } };
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = schemes[i].len;
        if (rest->len <= n || !bytes_equal_nocase(bytes_of(rest->ptr, n), schemes[i]))
            continue;
        struct bytes tail = after(*rest, n);
        size_t end = 0;
        while (end < tail.len && tail.ptr[end] != '/' && tail.ptr[end] != '?')
            end++;
        *authority = bytes_of(tail.ptr, end);
        *rest = after(tail, end);
        return end > 0;
    }
    return false;
}

enum kist_err target_split(struct bytes target, struct target_parts *out)
{
    struct bytes authority = BYTES_EMPTY;
    struct bytes rest = target;
    if (target.len == 0 || has_forbidden_byte(target))
        return KIST_E_INVALID;
    if (target.ptr[0] != '/' && !bytes_equal(target, BYTES_LIT("*")) &&
        !take_authority(&rest, &authority))
        return KIST_E_INVALID;
    const uint8_t *mark = rest.len ? memchr(rest.ptr, '?', rest.len) : NULL;
    size_t path_len = mark ? (size_t)(mark - rest.ptr) : rest.len;
    out->path = path_len ? bytes_of(rest.ptr, path_len) : BYTES_LIT("/");
    out->query = mark ? after(rest, path_len + 1) : BYTES_EMPTY;
    out->authority = authority;
    return KIST_OK;
}

static bool is_port(struct bytes s)
{
    if (s.len > 5)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return true;
}

/* RFC 3986 section 3.2.2: reg-name characters. '@' would be user information. */
static bool is_host_byte(uint8_t c)
{
    return isalnum(c) || (c && strchr("-._~%!$&'()*+,;=", c));
}

static bool is_v6_byte(uint8_t c)
{
    return isxdigit(c) || c == ':' || c == '.';
}

enum kist_err host_split(struct bytes value, struct bytes *host)
{
    size_t end = 0;
    if (value.len && value.ptr[0] == '[') {
        end = 1;
        while (end < value.len && is_v6_byte(value.ptr[end]))
            end++;
        if (end == value.len || value.ptr[end] != ']' || end == 1)
            return KIST_E_INVALID;
        end++;
    } else {
        while (end < value.len && is_host_byte(value.ptr[end]))
            end++;
    }
    if (end < value.len && (value.ptr[end] != ':' || !is_port(after(value, end + 1))))
        return KIST_E_INVALID;
    *host = bytes_of(value.ptr, end);
    return KIST_OK;
}
