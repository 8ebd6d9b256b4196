/* Fuzzes the request target and the Host header: slices stay inside the input, and putting the
 * parts together gives the input again. */
#include <stdlib.h>

#include "server/http/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool true_thing)
{
    if (!true_thing)
        abort();
}

static bool is_inside(struct bytes part, struct bytes whole)
{
    return part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len;
}

static void check_target(struct bytes in)
{
    struct target_parts p;
    if (target_split(in, &p) != KIST_OK)
        return;
    must(p.path.len > 0 && !memchr(p.path.ptr, '?', p.path.len));
    must(!p.query.ptr || is_inside(p.query, in));
    must(!p.query.ptr || p.query.ptr + p.query.len == in.ptr + in.len);
    must(p.authority.ptr || p.path.ptr == in.ptr);
    if (!p.authority.ptr)
        must(p.path.len + (p.query.ptr ? p.query.len + 1 : 0) == in.len);
    else
        must(p.authority.len > 0 && is_inside(p.authority, in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct bytes host;
    check_target(in);
    if (host_split(in, &host) == KIST_OK)
        must(host.len <= in.len && (host.len == 0 || host.ptr == in.ptr));
    return 0;
}
