/* What the files of multipart uploads share. */
#ifndef KIST_SERVER_S3_MULTIPART_H
#define KIST_SERVER_S3_MULTIPART_H

#include "server/s3/internal.h"

struct s3_upload_id {
    uint64_t id;
    uint8_t nonce[8];
};
struct bytes s3_upload_id_text(struct arena *arena, uint64_t id, struct bytes nonce);
bool s3_upload_id_parse(struct bytes text, struct s3_upload_id *out);
/* The upload that the query names; NULL after an error reply. */
Kist__Upload *s3_upload_open(struct s3_request *r, struct s3_upload_id *id);
bool s3_part_number(struct s3_request *r, uint32_t *out);

struct part_state {
    struct s3_upload_id id;
    uint32_t number;
    Kist__Upload *upload;
    Kist__Condition *condition;
    uint64_t copy_first, copy_length; /* UploadPartCopy */
    enum kist_err copy_err;
};
/* Number, upload and checksum are in order; NULL after an error reply. */
struct part_state *s3_part_begin(struct s3_request *r);
/* Commits the part whose bytes are in r->body->writer. */
void s3_part_commit(struct s3_request *r, void (*then)(struct s3_request *r));

/* copy.c: opens the source that x-amz-copy-source names into r->reader and checks its
 * conditions; false after an error reply. */
bool s3_open_copy_source(struct s3_request *r, struct object_id *source, Kist__Bucket **bucket);
/* A writer as for a body, to copy into; then() is called once it is open. */
void s3_copy_bytes(struct s3_request *r, uint64_t first, uint64_t length,
                   void (*then)(struct s3_request *r));

#endif
