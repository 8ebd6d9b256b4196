/* Fuzzes what a function's process sends to the Runtime API: slices stay inside the input, a head
 * that comes in two pieces is the one that comes in one, and so is a chunked body. The first byte
 * says where the input is cut. */
#include <stdlib.h>

#include "server/functions/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool true_thing)
{
    if (!true_thing)
        abort();
}

static void inside(struct bytes part, struct bytes whole)
{
    must(!part.len || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

static void check_head(struct bytes in, size_t cut)
{
    struct wire_head whole, part;
    size_t used = 0, part_used = 0;
    enum wire_verdict verdict = wire_head(in, &whole, &used);
    enum wire_verdict before = wire_head(bytes_of(in.ptr, cut), &part, &part_used);
    /* What is bad stays bad, and what is whole needs no more. */
    must(before != WIRE_BAD || verdict == WIRE_BAD);
    must(before != WIRE_OK || (verdict == WIRE_OK && used == part_used));
    if (verdict != WIRE_OK)
        return;
    must(used <= in.len && used <= WIRE_HEAD_MAX);
    must(!whole.chunked || !whole.has_length);
    must(whole.target.len > 0);
    inside(whole.target, in);
    inside(whole.content_type, in);
    inside(whole.response_mode, in);
    inside(whole.error_type, in);
}

static enum wire_verdict take(struct wire_chunks *c, struct bytes in, struct buf *body,
                              size_t *taken)
{
    enum wire_verdict verdict = WIRE_MORE;
    size_t at = 0;
    while (at < in.len && verdict == WIRE_MORE) {
        size_t used;
        struct bytes data, rest = bytes_of(in.ptr + at, in.len - at);
        verdict = wire_chunks(c, rest, &used, &data);
        must(used > 0 && used <= rest.len);
        inside(data, rest);
        must(buf_append_bytes(body, data) == KIST_OK);
        at += used;
    }
    *taken += at;
    return verdict;
}

static void check_chunks(struct bytes in, size_t cut)
{
    struct wire_chunks one = { 0 }, two = { 0 };
    struct buf first, second;
    size_t used = 0, used_two = 0;
    buf_init(&first, in.len + 1);
    buf_init(&second, in.len + 1);
    enum wire_verdict verdict = take(&one, in, &first, &used);
    enum wire_verdict again = take(&two, bytes_of(in.ptr, cut), &second, &used_two);
    if (again == WIRE_MORE)
        again = take(&two, bytes_of(in.ptr + cut, in.len - cut), &second, &used_two);
    must(verdict == again && used == used_two);
    must(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    must(strcmp(one.error_type, two.error_type) == 0);
    must(strcmp(one.error_body, two.error_body) == 0);
    buf_release(&first);
    buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    size_t cut = in.len ? data[0] % (in.len + 1) : 0;
    check_head(in, cut);
    check_chunks(in, cut);
    return 0;
}
