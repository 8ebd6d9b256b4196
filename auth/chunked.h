/* Decoder for aws-chunked bodies, signed and unsigned, with and without trailers.
 *
 *     10000;chunk-signature=<64 hex>\r\n   (no extension in unsigned mode)
 *     <65536 bytes>\r\n
 *     0;chunk-signature=<64 hex>\r\n
 *     x-amz-checksum-crc32c:sOO8/Q==\r\n   (trailer modes; "\n\r\n" at the end is taken as well)
 *     x-amz-trailer-signature:<64 hex>\r\n (signed trailer mode)
 *     \r\n
 *
 * Input arrives in any pieces; memory is this struct, whatever the chunk size. The data of a
 * signed chunk is passed on while it is hashed and its signature is checked at the chunk's end,
 * so the sink's bytes are worth nothing until chunked_finish() returned KIST_OK: after any error
 * the caller throws them away.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
 */
#ifndef KIST_AUTH_CHUNKED_H
#define KIST_AUTH_CHUNKED_H

#include "auth/request.h"
#include "storage/base/digest.h"

#define CHUNKED_LINE_MAX 256           /* a chunk's header line, without CRLF */
#define CHUNKED_CHUNK_MAX (5ULL << 30) /* bytes in one chunk */
#define CHUNKED_TRAILERS_MAX 4096      /* bytes of all trailer lines */
#define CHUNKED_TRAILER_COUNT 8        /* announced names */

struct chunked_trailer {
    struct bytes name; /* lower case, as announced */
    struct bytes value;
};

struct chunked_config {
    /* The verified request: payload mode, seed signature, key, scope and date are copied. Its
     * payload must be one of AUTH_PAYLOAD_STREAMING_*. */
    const struct auth_result *auth;
    uint64_t decoded_length; /* x-amz-decoded-content-length */
    struct bytes trailers;   /* the value of x-amz-trailer ("a,b"), empty without one */
};

/* Takes decoded bytes; an error stops the decoder and is returned by chunked_feed(). */
typedef enum kist_err chunked_sink(void *ctx, const void *data, size_t len);

/*      .--------------------------------------.
 *      v                                      |
 *   HEADER --size > 0--> DATA --> DATA_CR --> DATA_LF
 *      |--size 0, trailers--> TRAILER <--> TRAILER_CR --> TRAILER_LF --> TRAILER ...
 *      '--size 0, none--> END_CR --> END_LF --> DONE <-- blank line of TRAILER
 */
enum chunked_state {
    CHUNKED_HEADER,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER,
    CHUNKED_TRAILER_CR, /* a trailer ended with a bare LF: CRLF belongs to its line end */
    CHUNKED_TRAILER_LF,
    CHUNKED_END_CR,
    CHUNKED_END_LF,
    CHUNKED_DONE,
    CHUNKED_FAILED
};

/* Private, but for the trailers, which are valid after chunked_finish(). About 6 KiB; must not
 * move after chunked_init(). */
struct chunked_decoder {
    struct chunked_trailer trailers[CHUNKED_TRAILER_COUNT];
    size_t trailer_count; /* announced */

    enum chunked_state state;
    enum kist_err failure;
    bool has_trailer;
    bool trailer_signed; /* x-amz-trailer-signature was seen */
    uint64_t decoded_length;
    uint64_t decoded_so_far;
    uint64_t chunk_left;
    size_t seen_count; /* trailers that came */

    struct hmac_key *key; /* NULL: unsigned */
    struct digest_set hash;
    char previous[AUTH_SIGNATURE_HEX + 1];
    char claimed[AUTH_SIGNATURE_HEX + 1];
    char scope[160];
    size_t scope_len;
    char amz_date[17];

    char line[CHUNKED_LINE_MAX + 2];
    size_t line_len;
    uint8_t names[512]; /* what trailers[].name point into */
    /* "name:value\n" of each trailer that came, as its signature wants it, and behind that the
     * line that is still coming. */
    uint8_t text[CHUNKED_TRAILERS_MAX];
    size_t text_len;
    size_t text_line; /* where that line starts */
};

/* Copies what it needs. KIST_E_TRAILER: trailer names that are malformed, doubled, too many, or
 * announced in a mode without trailers; KIST_E_INVALID: not a streaming payload; KIST_E_NOMEM.
 * On failure nothing is to be released. */
enum kist_err chunked_init(struct chunked_decoder *d,
                           const struct chunked_config *config) MUST_CHECK;
void chunked_release(struct chunked_decoder *d);

/* Consumes all of the input or fails for good: KIST_E_CHUNK_FRAMING (also for more data than
 * decoded_length), KIST_E_CHUNK_SIGNATURE, KIST_E_TRAILER, or the sink's error. */
enum kist_err chunked_feed(struct chunked_decoder *d, struct bytes input, chunked_sink *sink,
                           void *ctx) MUST_CHECK;

/* The body ended. KIST_E_TRUNCATED when the framing or the decoded length is incomplete,
 * KIST_E_TRAILER when an announced trailer is missing, or the earlier failure. The blank line
 * after the last trailer may be missing: some clients leave it out. */
enum kist_err chunked_finish(struct chunked_decoder *d) MUST_CHECK;

/* The value of an announced trailer after chunked_finish(); ptr NULL when there is none. */
struct bytes chunked_trailer_value(const struct chunked_decoder *d, const char *name);

#endif
