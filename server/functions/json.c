#include "server/functions/run.h"

enum kist_err json_escape(struct buf *out, struct bytes text)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        TRY(buf_append(out, text.ptr + from, i - from));
        if (c < ' ')
            TRY(buf_printf(out, "\\u%04x", c));
        else
            TRY(buf_printf(out, "\\%c", c));
        from = i + 1;
    }
    return text.len ? buf_append(out, text.ptr + from, text.len - from) : KIST_OK;
}
