/* XML as S3 writes it. */
#include <inttypes.h>
#include <stdio.h>

#include "server/s3/internal.h"

/* 1,000 keys of 1,024 bytes, each byte escaped to six, with their other elements. */
#define XML_BYTES_MAX ((size_t)16 << 20)

static void add(struct s3_xml *x, const char *s, size_t len)
{
    if (buf_append(&x->out, s, len) != KIST_OK)
        x->failed = true;
}

static void add_str(struct s3_xml *x, const char *s)
{
    add(x, s, strlen(s));
}

void s3_xml_begin(struct s3_xml *x, const char *root)
{
    if (!x->out.max)
        buf_init(&x->out, XML_BYTES_MAX);
    add_str(x, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    if (!root)
        return;
    add_str(x, "<");
    add_str(x, root);
    add_str(x, " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
}

void s3_xml_open(struct s3_xml *x, const char *name)
{
    add_str(x, "<");
    add_str(x, name);
    add_str(x, ">");
}

void s3_xml_close(struct s3_xml *x, const char *name)
{
    add_str(x, "</");
    add_str(x, name);
    add_str(x, ">");
}

/* Control characters that XML 1.0 cannot hold are written as references, as S3 does it;
 * clients that need them ask for encoding-type=url. */
static void escape(struct s3_xml *x, struct bytes s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        char reference[8];
        const char *with = NULL;
        uint8_t c = s.ptr[i];
        if (c == '&')
            with = "&amp;";
        else if (c == '<')
            with = "&lt;";
        else if (c == '>')
            with = "&gt;";
        else if (c == '"')
            with = "&quot;";
        else if (c < 0x20 && c != '\n' && c != '\t') {
            snprintf(reference, sizeof(reference), "&#x%x;", c);
            with = reference;
        }
        if (!with)
            continue;
        add(x, (const char *)s.ptr + from, i - from);
        add_str(x, with);
        from = i + 1;
    }
    if (s.len > from)
        add(x, (const char *)s.ptr + from, s.len - from);
}

void s3_xml_text(struct s3_xml *x, const char *name, struct bytes value)
{
    s3_xml_open(x, name);
    escape(x, value);
    s3_xml_close(x, name);
}

void s3_xml_str(struct s3_xml *x, const char *name, const char *value)
{
    s3_xml_text(x, name, bytes_str(value));
}

void s3_xml_number(struct s3_xml *x, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    s3_xml_str(x, name, text);
}

void s3_xml_bool(struct s3_xml *x, const char *name, bool value)
{
    s3_xml_str(x, name, value ? "true" : "false");
}

void s3_xml_time(struct s3_xml *x, const char *name, int64_t ms)
{
    char text[TIME_ISO_LEN];
    time_iso(ms, text);
    s3_xml_str(x, name, text);
}

void s3_xml_key(struct s3_xml *x, const char *name, struct bytes value)
{
    if (!x->url) {
        s3_xml_text(x, name, value);
        return;
    }
    s3_xml_open(x, name);
    while (value.len) { /* a blank is '+' here, as S3 writes it */
        size_t blank = bytes_find(value, BYTES_LIT(" "), 0);
        size_t len = blank == SIZE_MAX ? value.len : blank;
        if (uri_encode(&x->out, bytes_of(value.ptr, len), true) != KIST_OK)
            x->failed = true;
        if (blank != SIZE_MAX)
            add_str(x, "+");
        len += blank != SIZE_MAX;
        value = bytes_of(value.ptr + len, value.len - len);
    }
    s3_xml_close(x, name);
}

void s3_xml_etag(struct s3_xml *x, struct bytes md5, uint32_t parts)
{
    char text[64];
    hex_encode(md5, text);
    if (parts)
        snprintf(text + 2 * md5.len, sizeof(text) - 2 * md5.len, "-%" PRIu32, parts);
    add_str(x, "<ETag>&quot;");
    add_str(x, text);
    add_str(x, "&quot;</ETag>");
}

void s3_xml_owner(struct s3_xml *x, const char *element, struct bytes id, struct bytes name)
{
    s3_xml_open(x, element);
    s3_xml_text(x, "ID", id);
    if (name.len)
        s3_xml_text(x, "DisplayName", name);
    s3_xml_close(x, element);
}

void s3_xml_bucket_owner(struct s3_xml *x, const char *element, const struct s3_request *r)
{
    s3_xml_owner(x, element, r->owner.id, r->owner.display_name);
}

void s3_xml_reply(struct s3_request *r, struct s3_xml *x, const char *root)
{
    s3_xml_close(x, root);
    if (x->failed) {
        buf_release(&x->out);
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    s3_reply_xml(r, &x->out);
}
