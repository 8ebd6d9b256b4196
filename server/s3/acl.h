/* Access control lists, shared by the operations that carry one. */
#ifndef KIST_SERVER_S3_ACL_H
#define KIST_SERVER_S3_ACL_H

#include "server/s3/internal.h"

/* Who owns what came without a signature: S3's id for it. Nobody has it. */
#define S3_ANONYMOUS_ID "65a011a29cdf8ec533ec3d1ccaae921c"

/* x-amz-acl or x-amz-grant-* is there. */
bool s3_acl_said(const struct s3_request *r);
/* The list of a new object and its owner, from the headers; *out NULL: the bucket's owner alone.
 * False after an error reply. */
bool s3_acl_of_object(struct s3_request *r, Kist__Acl **out);
/* The same, and the ownership, of a new bucket. */
bool s3_acl_of_bucket(struct s3_request *r, Kist__Bucket *bucket);
/* Of an upload: empty for the bucket's owner. */
char *s3_acl_initiator(struct s3_request *r);

/* The grants of log objects, judged; false after an error reply. */
bool s3_acl_grants_check(struct s3_request *r, const struct s3_xml_node *grants);
/* The list of a log object, from grants that were judged when they came: packed, in the arena. */
enum kist_err s3_acl_pack_grants(const struct s3_xml_node *grants, struct arena *arena,
                                 struct bytes *out) MUST_CHECK;
/* <Grantee> with its type. */
void s3_xml_open_grantee(struct s3_xml *x, bool group);

/* ---- acl_says.c ---- */
/* What lists say about a question; see struct access_question. */
struct s3_acl_answer {
    bool group, account, foreign;
};
struct s3_acl_question {
    const Kist__Bucket *bucket;
    struct bytes bucket_owner;
    const char *action;
    bool ignore_public;
    bool creating; /* the object is to be replaced: its own list does not count */
    const Kist__Object *(*object)(void *ctx); /* NULL: there is none */
    void *ctx;
};
/* The action is on an object's bytes or list, over which its owner decides. */
bool s3_acl_is_of_object(const char *action);
/* All false where ACLs are disabled. */
struct s3_acl_answer s3_acl_says(struct s3_request *r, const struct s3_acl_question *q);

#endif
