/* multipart/form-data, as it streams in (RFC 7578, RFC 2046 section 5.1).
 *
 * Memory is one part's header and the boundary: data are handed on as slices of the pieces that
 * came, but for the few bytes that looked like the beginning of a boundary. */
#ifndef KIST_SERVER_S3_FORM_H
#define KIST_SERVER_S3_FORM_H

#include "storage/base/bytes.h"

#define FORM_BOUNDARY_MAX 70
#define FORM_PART_HEADER_MAX 4096

struct form_part {
    struct bytes name, filename, type; /* filename: ptr NULL when the part is no file */
};

struct form_sink {
    /* Slices live until it returns. An error ends the parsing, and is form_feed()'s. */
    enum kist_err (*begin)(void *ctx, const struct form_part *part);
    enum kist_err (*data)(void *ctx, struct bytes piece);
    enum kist_err (*end)(void *ctx);
    void *ctx;
};

struct form_parser {
    struct form_sink sink;
    enum form_state { FORM_DATA, FORM_DELIMITER, FORM_HEADER, FORM_END } state;
    bool in_part;
    bool
        paused; /* set by a sink's begin(): form_feed() returns there, and goes on when cleared */
    char delimiter[4 + FORM_BOUNDARY_MAX]; /* CR LF -- boundary */
    size_t delimiter_len, matched;
    size_t header_len;
    char header[FORM_PART_HEADER_MAX + 1];
};

/* From a Content-Type. KIST_E_INVALID: not multipart/form-data, or no boundary. */
enum kist_err form_init(struct form_parser *p, struct bytes content_type,
                        const struct form_sink *sink) MUST_CHECK;
/* *used < piece.len only when paused. KIST_E_INVALID: malformed. */
enum kist_err form_feed(struct form_parser *p, struct bytes piece, size_t *used) MUST_CHECK;
/* The closing boundary has come. */
bool form_is_complete(const struct form_parser *p);

#endif
