#include "storage/base/codec.h"

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(struct bytes in, char *out)
{
    for (size_t i = 0; i < in.len; i++) {
        *out++ = hex_digits[in.ptr[i] >> 4];
        *out++ = hex_digits[in.ptr[i] & 15];
    }
    *out = '\0';
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum kist_err hex_decode(struct bytes in, uint8_t *out, size_t out_len)
{
    if (in.len != 2 * out_len)
        return KIST_E_INVALID;
    for (size_t i = 0; i < in.len; i++)
        if (hex_value(in.ptr[i]) < 0)
            return KIST_E_INVALID;
    for (size_t i = 0; i < out_len; i++)
        out[i] = (uint8_t)(hex_value(in.ptr[2 * i]) * 16 + hex_value(in.ptr[2 * i + 1]));
    return KIST_OK;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct bytes in, char *out)
{
    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i;
        uint32_t v = (uint32_t)in.ptr[i] << 16 | (n > 1 ? (uint32_t)in.ptr[i + 1] << 8 : 0) |
                     (n > 2 ? in.ptr[i + 2] : 0);
        *out++ = base64_digits[v >> 18];
        *out++ = base64_digits[v >> 12 & 63];
        *out++ = n > 1 ? base64_digits[v >> 6 & 63] : '=';
        *out++ = n > 2 ? base64_digits[v & 63] : '=';
    }
    *out = '\0';
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum kist_err base64_decode(struct bytes in, uint8_t *out, size_t out_cap, size_t *out_len)
{
    uint32_t bits = 0;
    size_t pad = 0, at = 0;
    if (in.len % 4)
        return KIST_E_INVALID;
    while (pad < 2 && pad < in.len && in.ptr[in.len - 1 - pad] == '=')
        pad++;
    size_t len = in.len / 4 * 3 - pad;
    if (len > out_cap)
        return KIST_E_INVALID;
    for (size_t i = 0; i < in.len; i++) {
        int v = i >= in.len - pad ? 0 : base64_value(in.ptr[i]);
        if (v < 0)
            return KIST_E_INVALID;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 != 3)
            continue;
        for (int shift = 16; shift >= 0; shift -= 8, at++) {
            uint8_t byte = (uint8_t)(bits >> shift);
            if (at < len)
                out[at] = byte;
            else if (byte)
                return KIST_E_INVALID; /* stray bits below the padding */
        }
        bits = 0;
    }
    *out_len = len;
    return KIST_OK;
}

static int base64url_value(uint8_t c)
{
    return c == '-' ? 62 : c == '_' ? 63 : c == '+' || c == '/' ? -1 : base64_value(c);
}

enum kist_err base64url_decode(struct bytes in, uint8_t *out, size_t out_cap, size_t *out_len)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t at = 0;
    if (in.len % 4 == 1 || in.len / 4 * 3 + in.len % 4 * 3 / 4 > out_cap)
        return KIST_E_INVALID;
    for (size_t i = 0; i < in.len; i++) {
        int v = base64url_value(in.ptr[i]);
        if (v < 0)
            return KIST_E_INVALID;
        bits = (bits << 6 | (uint32_t)v) & 0xffff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[at++] = (uint8_t)(bits >> held);
        }
    }
    if (bits & ((1U << held) - 1))
        return KIST_E_INVALID; /* stray bits at the end */
    *out_len = at;
    return KIST_OK;
}

static bool unreserved(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_' || c == '.' || c == '~';
}

enum kist_err uri_encode(struct buf *out, struct bytes in, bool keep_slash)
{
    static const char upper[] = "0123456789ABCDEF";
    TRY(buf_reserve(out, in.len));
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.ptr[i];
        if (unreserved(c) || (keep_slash && c == '/')) {
            TRY(buf_append(out, &c, 1));
        } else {
            char escape[3] = { '%', upper[c >> 4], upper[c & 15] };
            TRY(buf_append(out, escape, 3));
        }
    }
    return KIST_OK;
}

enum kist_err uri_decode(struct bytes in, bool plus_is_blank, uint8_t *out, size_t *out_len)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.ptr[i];
        if (c == '%') {
            int high = i + 2 < in.len ? hex_value(in.ptr[i + 1]) : -1;
            int low = i + 2 < in.len ? hex_value(in.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return KIST_E_INVALID;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        out[n++] = c;
    }
    *out_len = n;
    return KIST_OK;
}

enum kist_err uri_decode_copy(struct arena *arena, struct bytes in, bool plus_is_blank,
                              struct bytes *out)
{
    size_t len;
    uint8_t *text = arena_alloc(arena, in.len + 1);
    if (!text)
        return KIST_E_NOMEM;
    TRY(uri_decode(in, plus_is_blank, text, &len));
    text[len] = '\0';
    *out = bytes_of(text, len);
    return KIST_OK;
}
