/* What the IAM and STS operations share. They come over the same port as S3 requests, told apart
 * by the service that they are signed for.
 * https://docs.aws.amazon.com/IAM/latest/APIReference/ */
#ifndef KIST_SERVER_S3_IAM_H
#define KIST_SERVER_S3_IAM_H

#include "server/s3/internal.h"

#define IAM_CHANGES_MAX 16
#define IAM_PAGE_MAX 1000

struct iam_call {
    const char *action;
    void (*handle)(struct s3_request *r, const struct iam_call *call);
    enum iam_kind kind; /* of the entity that it is about */
};

/* An operation's changes and its answer, made before they are committed. */
struct iam_work {
    const struct iam_call *call;
    Kist__IamChange changes[IAM_CHANGES_MAX], *list[IAM_CHANGES_MAX];
    size_t count;
    struct s3_xml x;
};

/* ---- iam.c ---- */
/* POST / signed for iam or sts: reads the form, asks the policies, calls the operation. */
void s3_iam(struct s3_request *r);
/* The same without a signature: of all calls, one is for those who have no key yet. */
void s3_iam_unsigned(struct s3_request *r);
void iam_fail(struct s3_request *r, unsigned status, const char *code, const char *message);
void iam_fail_err(struct s3_request *r, enum kist_err err);
/* The caller may do this on this ARN. */
bool iam_is_allowed(struct s3_request *r, const char *action, const char *arn);
/* The same; false after an error reply. */
bool iam_allowed(struct s3_request *r, const char *action, const char *arn);
/* named: the thing's own policy names the caller, and allows it unless something denies it. */
bool iam_allowed_or_named(struct s3_request *r, const char *action, const char *arn, bool named);
/* A required parameter that fits the field's rules; false after an error reply. */
bool iam_name(struct s3_request *r, const char *param, struct bytes *out);
/* A policy document's parameter, judged; NULL after an error reply. */
char *iam_document(struct s3_request *r, const char *param, enum policy_kind kind);
/* An entity by the parameter of its kind, authorized for the call's action; NULL after an error
 * reply. */
Kist__IamEntity *iam_entity(struct s3_request *r, const struct iam_call *call);
Kist__IamEntity *iam_get(struct s3_request *r, enum iam_kind kind, struct bytes name);
const char *iam_param_of(enum iam_kind kind); /* "UserName" */

/* NULL after an error reply. Opens <ActionResult>. */
struct iam_work *iam_begin(struct s3_request *r, const struct iam_call *call);
/* Adds a change of an entity as it was read (or new: changed 0); remove drops it. */
void iam_change(struct s3_request *r, struct iam_work *w, enum iam_kind kind,
                Kist__IamEntity *entity, bool remove);
/* Commits the changes, then answers; without changes answers at once. */
void iam_finish(struct s3_request *r, struct iam_work *w);
/* Commits another command than changes of entities, then answers. After iam_begin(). */
void iam_finish_command(struct s3_request *r, const Kist__Command *command);
void iam_xml_entity(struct s3_request *r, struct s3_xml *x, enum iam_kind kind,
                    const Kist__IamEntity *e);
/* "v3"; 0 is the first. */
char *iam_version_text(struct arena *arena, uint32_t number);
/* The entity that PolicyArn names, authorized for the call's action; NULL after an error reply.
 */
Kist__IamEntity *iam_policy_of_call(struct s3_request *r, const struct iam_call *call);
/* The policy of an account with this ARN. KIST_E_NOT_FOUND. */
enum kist_err iam_policy_by_arn(struct s3_request *r, struct bytes account, struct bytes tenant,
                                struct bytes arn, Kist__IamEntity **out) MUST_CHECK;
void iam_no_policy(struct s3_request *r, struct bytes arn);
/* Percent-encoded (RFC 3986), as AWS sends policy documents. */
void iam_xml_document(struct s3_xml *x, const char *element, const char *document);

/* Twenty characters in AWS's manner, beginning with the prefix. */
char *iam_new_id(struct s3_request *r, const char *prefix);
char *iam_new_secret(struct s3_request *r);

/* ---- lists of strings in records ---- */
bool iam_list_has(size_t n, char **list, const char *value);
bool iam_list_add(struct arena *arena, size_t *n, char ***list, char *value);
void iam_list_remove(size_t *n, char **list, const char *value);

/* ---- iam_tags.c ---- */
/* Tags.member.N.Key and .Value: replace those of the same key (in any case). False after an error
 * reply. */
bool iam_tags_put(struct s3_request *r, Kist__IamEntity *e);
/* TagKeys.member.N. */
void iam_tags_remove(struct s3_request *r, Kist__IamEntity *e);
void iam_xml_tags(struct s3_xml *x, const Kist__IamEntity *e);

/* ---- iam_users.c, iam_policies.c, iam_versions.c, iam_accounts.c, iam_oidc.c, sts.c ---- */
extern const struct iam_call iam_user_calls[], iam_policy_calls[], iam_version_calls[],
    iam_account_calls[], iam_oidc_calls[], sts_calls[];

#endif
