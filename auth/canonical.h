/* Private to auth: the texts that Signature Version 4 signs. Pure functions over borrowed
 * slices; what they make lives in the arena. */
#ifndef KIST_AUTH_CANONICAL_H
#define KIST_AUTH_CANONICAL_H

#include "auth/request.h"
#include "storage/base/digest.h"

#define SIGNED_HEADERS_MAX 128
#define QUERY_PARAMS_MAX 512
#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"

/* How path and query are written. The first is AWS's rule; the others are what some clients sign
 * for the very same target. A form is admissible only if no two targets that mean different
 * things can share its text with each other or with another form: "'+' is itself" would not be,
 * because our queries read '+' as a blank. */
enum canonical_form {
    CANONICAL_AWS,   /* decode, encode again; an escaped slash stays escaped; '+' is a blank */
    CANONICAL_SLASH, /* an escaped slash in the path becomes '/' (clients that encode the key) */
    CANONICAL_RAW    /* as received, unsorted: curl 7.88 --aws-sigv4 */
};

struct canonical_input {
    struct bytes method;
    struct bytes raw_path;
    struct bytes raw_query;
    const struct auth_header *headers;
    size_t header_count;
    const struct bytes *names; /* signed headers: lower case, ascending, distinct */
    size_t name_count;
    struct bytes payload; /* the last line; empty: to be appended later */
    bool presigned;       /* leave X-Amz-Signature out of the query */
    bool twice;           /* other services than S3: the path is encoded once more than sent */
};

/* KIST_E_TOO_LARGE: more than QUERY_PARAMS_MAX parameters; KIST_E_NOMEM. */
enum kist_err canonical_request(const struct canonical_input *in, enum canonical_form form,
                                struct arena *arena, struct bytes *out) MUST_CHECK;

/* False when the form can only give the same text as CANONICAL_AWS. */
bool canonical_form_differs(const struct canonical_input *in, enum canonical_form form);

/* Sorts header names, which must be lower case already; KIST_E_INVALID when one is empty or
 * doubled. */
enum kist_err canonical_names_sort(struct bytes *names, size_t count) MUST_CHECK;

/* "AWS4-HMAC-SHA256\n<date>\n<scope>\n<sha256 of the canonical request>" */
enum kist_err canonical_string_to_sign(struct bytes amz_date, struct bytes scope,
                                       struct bytes canonical, struct arena *arena,
                                       struct bytes *out) MUST_CHECK;

/* Percent-encodes as AWS does while it percent-decodes; '%' without two digits is a plain '%'.
 * Writes at most 3 * in.len bytes and returns the end. */
char *canonical_recode(char *to, struct bytes in, bool is_path, enum canonical_form form);

struct stream_scope {
    const struct hmac_key *key;
    struct bytes amz_date;
    struct bytes scope;
};
/* The signature of one chunk of an aws-chunked body, of its trailer; previous and out may be the
 * same buffer.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html */
void stream_chunk_signature(const struct stream_scope *s, const char previous[65],
                            const uint8_t sha256[32], char out[65]);
void stream_trailer_signature(const struct stream_scope *s, const char previous[65],
                              struct bytes canonical_trailers, char out[65]);

#endif
