#include "storage/base/bytes.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool bytes_starts_with(struct bytes s, struct bytes prefix)
{
    return s.len >= prefix.len && (!prefix.len || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool bytes_equal_nocase(struct bytes a, struct bytes b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

size_t bytes_find(struct bytes s, struct bytes needle, size_t from)
{
    if (!needle.len || from >= s.len)
        return SIZE_MAX;
    const uint8_t *at = memmem(s.ptr + from, s.len - from, needle.ptr, needle.len);
    return at ? (size_t)(at - s.ptr) : SIZE_MAX;
}

static bool is_one_of(uint8_t c, const char *what)
{
    return c && strchr(what, c);
}

struct bytes bytes_trim(struct bytes s, const char *what)
{
    while (s.len && is_one_of(s.ptr[0], what))
        s = bytes_of(s.ptr + 1, s.len - 1);
    while (s.len && is_one_of(s.ptr[s.len - 1], what))
        s.len--;
    return s;
}

bool bytes_equal_secret(struct bytes a, struct bytes b)
{
    return a.len == b.len && (!a.len || CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* The lead byte says how many follow and the least code point that needs that many. */
static int utf8_lead(uint8_t c, uint32_t *code, uint32_t *least)
{
    if (c < 0xC2 || c > 0xF4)
        return -1;
    int more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    *code = c & (0x3FU >> more);
    *least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
    return more;
}

/* Bytes of the character that s begins with; 0: none. */
static size_t utf8_first(struct bytes s)
{
    uint32_t code, least;
    if (s.ptr[0] < 0x80)
        return 1;
    int more = utf8_lead(s.ptr[0], &code, &least);
    if (more < 0 || s.len <= (size_t)more)
        return 0;
    for (int i = 1; i <= more; i++) {
        if ((s.ptr[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (s.ptr[i] & 0x3FU);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return 0;
    return (size_t)more + 1;
}

bool bytes_is_utf8(struct bytes s)
{
    while (s.len) {
        size_t n = utf8_first(s);
        if (n == 0)
            return false;
        s = bytes_of(s.ptr + n, s.len - n);
    }
    return true;
}

char *arena_utf8(struct arena *a, const char *text)
{
    char *out = arena_strdup(a, text);
    struct bytes s = bytes_str(out ? out : "");
    while (s.len) {
        size_t n = utf8_first(s);
        if (n == 0)
            out[s.ptr - (const uint8_t *)out] = '?';
        n += n == 0;
        s = bytes_of(s.ptr + n, s.len - n);
    }
    return out;
}

enum kist_err bytes_to_u64(struct bytes s, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (s.len == 0)
        return KIST_E_INVALID;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t digit = (uint8_t)(s.ptr[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(v, 10U, &v) ||
            __builtin_add_overflow(v, digit, &v))
            return KIST_E_INVALID;
    }
    if (v > max)
        return KIST_E_INVALID;
    *out = v;
    return KIST_OK;
}

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){ .max = max_bytes };
}

void buf_release(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){ .max = b->max };
}

enum kist_err buf_reserve(struct buf *b, size_t extra)
{
    if (extra > b->max || b->len > b->max - extra)
        return KIST_E_TOO_LARGE;
    size_t need = b->len + extra;
    if (need <= b->cap)
        return KIST_OK;
    size_t cap = b->cap < SIZE_MAX / 2 ? b->cap * 2 : need;
    cap = cap < need ? need : cap;
    cap = cap < 64 && b->max >= 64 ? 64 : cap;
    cap = cap > b->max ? b->max : cap;
    uint8_t *ptr = realloc(b->ptr, cap);
    if (!ptr)
        return KIST_E_NOMEM;
    b->ptr = ptr;
    b->cap = cap;
    return KIST_OK;
}

enum kist_err buf_append(struct buf *b, const void *data, size_t len)
{
    TRY(buf_reserve(b, len));
    if (len)
        memcpy(b->ptr + b->len, data, len);
    b->len += len;
    return KIST_OK;
}

enum kist_err buf_append_str(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

enum kist_err buf_append_bytes(struct buf *b, struct bytes s)
{
    return buf_append(b, s.ptr, s.len);
}

enum kist_err buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        return KIST_E_NOMEM;
    enum kist_err err = buf_append(b, text, (size_t)n);
    free(text);
    return err;
}
