/* HTTP/1.1 as the Runtime API's clients speak it, taken apart strictly and within bounds: a
 * function's process is a stranger. Nothing here does I/O or allocates.
 * RFC 9112. */
#ifndef KIST_SERVER_FUNCTIONS_WIRE_H
#define KIST_SERVER_FUNCTIONS_WIRE_H

#include "storage/base/bytes.h"

#define WIRE_HEAD_MAX ((size_t)16 << 10)
#define WIRE_LINE_MAX 4096 /* of a chunk's size, or a trailer */

enum wire_verdict { WIRE_OK, WIRE_MORE, WIRE_BAD };

struct wire_head {
    bool get, post;
    struct bytes target;
    bool chunked, keep_alive, expect;
    bool has_length;
    uint64_t length;
    struct bytes content_type, response_mode, error_type; /* empty: absent */
};
/* A request's head from the start of what has come. WIRE_MORE: it is not whole yet. *used: its
 * bytes, with the empty line. Slices point into `in`. */
enum wire_verdict wire_head(struct bytes in, struct wire_head *out, size_t *used);

/* A chunked body. Zeroed memory is its beginning. */
struct wire_chunks {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER } state;
    uint64_t left;
    size_t line_len;
    char line[WIRE_LINE_MAX];
    /* Of Lambda's trailers; "": none came. */
    char error_type[128], error_body[WIRE_LINE_MAX];
};
/* Takes from `in` and says how much; *data is a slice of it that belongs to the body, perhaps
 * empty. WIRE_MORE: call again with what follows; WIRE_OK: the body is whole. */
enum wire_verdict wire_chunks(struct wire_chunks *c, struct bytes in, size_t *used,
                              struct bytes *data);

#endif
