/* Named keys, by the calls of AWS's Key Management Service that make and name them. They are
 * kept wrapped under a master key.
 * https://docs.aws.amazon.com/kms/latest/APIReference/ */
#ifndef KIST_SERVER_S3_KMS_H
#define KIST_SERVER_S3_KMS_H

#include "server/s3/internal.h"

/* POST / signed for kms. */
void s3_kms(struct s3_request *r);

/* An id, an alias, or an ARN of either, to the key's ARN; empty: the store's own key, aws/s3.
 * KIST_E_NOT_FOUND, KIST_E_BUCKET_STATE (disabled), KIST_E_DENIED (nobody has no keys). */
enum kist_err kms_resolve(struct s3_request *r, struct bytes name, char **arn) MUST_CHECK;
/* The store's own key stands directly below the master key. */
bool kms_is_default(struct bytes arn);
/* The key behind an ARN. Errors as above. */
enum kist_err kms_material(struct s3_request *r, struct bytes arn,
                           uint8_t out[SEAL_KEY_BYTES]) MUST_CHECK;
/* The caller's policies allow the action; the store's own key is for the whole account. */
bool kms_may_use(struct s3_request *r, const char *action, const char *arn);

#endif
