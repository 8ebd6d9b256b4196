/* https://www.rfc-editor.org/rfc/rfc8259 */
#include "server/events/json.h"

#include <inttypes.h>
#include <stdio.h>

static void put(struct json_out *j, const void *data, size_t len)
{
    if (j->err == KIST_OK)
        j->err = buf_append(j->buf, data, len);
}

/* How long the UTF-8 character at the start is; 0: it is none. */
static size_t character_len(struct bytes s)
{
    uint8_t c = s.ptr[0];
    size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return len <= s.len && bytes_is_utf8(bytes_of(s.ptr, len)) ? len : 0;
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void put_escaped(struct json_out *j, uint8_t c)
{
    char text[8];
    if (c == '"' || c == '\\')
        snprintf(text, sizeof(text), "\\%c", c);
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(text, sizeof(text), "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else
        snprintf(text, sizeof(text), "\\u%04x", c);
    put(j, text, strlen(text));
}

/* Section 7: quotation mark, reverse solidus and U+0000 to U+001F must be escaped. */
static void put_string(struct json_out *j, struct bytes s)
{
    put(j, "\"", 1);
    for (size_t at = 0; at < s.len && j->err == KIST_OK;) {
        size_t run = 0;
        while (at + run < s.len && is_plain(s.ptr[at + run]))
            run++;
        put(j, s.ptr + at, run);
        at += run;
        if (at == s.len)
            break;
        size_t len = character_len(bytes_of(s.ptr + at, s.len - at));
        if (len > 1)
            put(j, s.ptr + at, len);
        else if (len == 1)
            put_escaped(j, s.ptr[at]);
        else
            put(j, "\xef\xbf\xbd", 3);
        at += len ? len : 1;
    }
    put(j, "\"", 1);
}

static void begin_member(struct json_out *j, const char *name)
{
    if (j->comma)
        put(j, ",", 1);
    if (name) {
        put_string(j, bytes_str(name));
        put(j, ":", 1);
    }
    j->comma = true;
}

void jput_open(struct json_out *j, const char *name, char bracket)
{
    begin_member(j, name);
    put(j, &bracket, 1);
    j->comma = false;
}

void jput_close(struct json_out *j, char bracket)
{
    put(j, &bracket, 1);
    j->comma = true;
}

void jput_bytes(struct json_out *j, const char *name, struct bytes value)
{
    begin_member(j, name);
    put_string(j, value);
}

void jput_str(struct json_out *j, const char *name, const char *value)
{
    jput_bytes(j, name, bytes_str(value));
}

void jput_u64(struct json_out *j, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    begin_member(j, name);
    put(j, text, strlen(text));
}

void jput_raw(struct json_out *j, const char *name, struct bytes json)
{
    begin_member(j, name);
    put(j, json.ptr, json.len);
}
