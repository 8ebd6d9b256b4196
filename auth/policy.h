/* Policy documents: parsing, and the one function that evaluates them.
 *
 * A policy is immutable after policy_parse(); any number of threads evaluate it at once. Rules:
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
 */
#ifndef KIST_AUTH_POLICY_H
#define KIST_AUTH_POLICY_H

#include "storage/base/bytes.h"

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html: 20 KB */
#define POLICY_BYTES_MAX ((size_t)20 << 10)

enum policy_kind {
    POLICY_RESOURCE, /* names principals: a bucket's */
    POLICY_IDENTITY, /* hangs on a principal: a user's, a session's */
    POLICY_TRUST,    /* names principals, and no resource: a role's */
    POLICY_FUNCTION  /* names principals; actions and resources are another service's */
};

struct policy;

/* Who asks. Slices that do not apply are empty. */
struct policy_principal {
    bool anonymous;
    struct bytes account;   /* 12 digits */
    struct bytes arn;       /* arn:aws:iam::account:user/name */
    struct bytes role;      /* arn:aws:iam::account:role/name, of a role's session */
    struct bytes federated; /* arn:aws:iam::account:oidc-provider/..., of a web identity */
    struct bytes canonical; /* S3's 64 hex digits, of the account */
    struct bytes service;   /* lambda.amazonaws.com: it is a service, and none of the others */
};

/* The condition keys of a request, by name (any case). False: the request has no such key. A key
 * may have several values; they live until the evaluation ends. */
struct policy_values {
    const struct bytes *list;
    size_t count;
};
struct policy_request {
    struct policy_principal principal;
    struct bytes action;   /* "s3:GetObject" */
    struct bytes resource; /* "arn:aws:s3:::bucket/key" */
    bool (*context)(void *ctx, struct bytes key, struct policy_values *out);
    void *ctx;
};

enum policy_verdict { POLICY_SILENT, POLICY_ALLOW, POLICY_DENY };

/* Everything is kept in the arena. KIST_E_INVALID: *reason is AWS's wording of what is wrong.
 * bucket: resources must lie in it (POLICY_RESOURCE); empty: anywhere. */
enum kist_err policy_parse(struct bytes json, enum policy_kind kind, struct bytes bucket,
                           struct arena *arena, struct policy **out,
                           const char **reason) MUST_CHECK;
/* One that says nothing; NULL: out of memory. */
struct policy *policy_empty(struct arena *arena);
/* Both together are one policy from now on: `to`, which more must not be a part of. */
void policy_add(struct policy *to, struct policy *more);
/* What one policy says; a denial anywhere in it wins. */
enum policy_verdict policy_evaluate(const struct policy *p, const struct policy_request *request);

/* True when a condition speaks of a key that AWS has not: of s3: and aws:, which have no others.
 * PutBucketPolicy refuses those; policies of identities may name any key.
 * https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html */
bool policy_has_unknown_key(const struct policy *p);

/* True when a statement allows everybody, with no condition that pins down who that is.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
 */
bool policy_is_public(const struct policy *p);

/* Everything that bears on a request, and the decision: an explicit denial anywhere, then who
 * must allow. NULL policies are silent. */
struct access_question {
    const struct policy_request *request;
    const struct policy *bucket;          /* the resource's */
    const struct policy *const *identity; /* the principal's own, all that apply */
    size_t identity_count;
    const struct policy *session; /* bounds what identity gives; NULL: no session */
    bool is_account_root;         /* of the principal's account: allowed all within it */
    bool same_account;            /* as the resource's */
    bool restrict_public;         /* RestrictPublicBuckets is on */
    /* What access control lists say; a policy of the bucket cannot open another account's
     * object, only close it. */
    bool acl_group;      /* everybody, or everybody with a signature, is granted it */
    bool acl_account;    /* the principal's account is */
    bool foreign_object; /* the object is not the bucket owner's */
};
bool access_is_allowed(const struct access_question *q);

#endif
