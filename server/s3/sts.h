/* What the STS operations share: roles, and the sessions that they are taken by. */
#ifndef KIST_SERVER_S3_STS_H
#define KIST_SERVER_S3_STS_H

#include "server/s3/iam.h"

/* arn:aws:iam::account:role/path/name, and how storage names that account. */
struct sts_role {
    struct bytes account, tenant, name;
    Kist__IamEntity *row; /* by sts_find_role(), and its ARN */
    char *arn;
};

/* ---- sts.c ---- */
/* Account and name out of an ARN; false: there is no such account, or it is no role's. */
bool sts_role_name(struct s3_request *r, struct bytes arn, struct sts_role *out);
/* KIST_E_NOT_FOUND also when the role's path is another. */
enum kist_err sts_find_role(struct s3_request *r, struct bytes arn,
                            struct sts_role *role) MUST_CHECK;
/* DurationSeconds; false after an error reply. */
bool sts_duration(struct s3_request *r, uint64_t min, uint64_t max, uint64_t fallback,
                  uint64_t *seconds);
/* A role's session with the policies that the request gives it; false after an error reply. */
bool sts_begin_session(struct s3_request *r, const struct sts_role *role,
                       struct bytes session_name, Kist__Session *out);
/* Seals the session and shows it. False after an error reply. */
bool sts_give_credentials(struct s3_request *r, struct s3_xml *x, Kist__Session *session,
                          uint64_t seconds);
void sts_xml_role_user(struct s3_request *r, struct s3_xml *x, const struct sts_role *role,
                       const Kist__Session *session);

/* ---- sts_web.c ---- */
void sts_assume_role_with_web_identity(struct s3_request *r, const struct iam_call *call);

#endif
