/* OpenID Connect providers as rows: their names and ARNs. */
#ifndef KIST_SERVER_S3_OIDC_PROVIDER_H
#define KIST_SERVER_S3_OIDC_PROVIDER_H

#include "server/s3/iam.h"

/* An issuer's name may be longer than a row's: the row bears its SHA-256. */
#define OIDC_ROW_NAME_LEN 64
void oidc_row_name(struct bytes issuer_name, char out[OIDC_ROW_NAME_LEN + 1]);
/* arn:aws:iam::account:oidc-provider/HOST/PATH, in the arena. */
char *oidc_provider_arn(struct arena *arena, struct bytes account, const Kist__IamEntity *row);

#endif
