/* POST uploads: the signature over a policy document, and what the document demands of the form.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html */
#ifndef KIST_AUTH_POST_POLICY_H
#define KIST_AUTH_POST_POLICY_H

#include "auth/request.h"

#define POST_POLICY_MAX 20480

struct post_field {
    struct bytes name, value;
};

struct post_form {
    const struct post_field *fields;
    size_t count;
    struct bytes bucket;
    struct bytes region; /* ours */
    int64_t now_ms;
};

/* The first field of that name, in any case; ptr NULL when absent. */
struct bytes post_field(const struct post_form *form, const char *name);

/* Who signed the form's policy: version 4 or 2. Results as of auth_verify(): KIST_E_DENIED with
 * out->anonymous when there is no policy. */
enum kist_err post_verify(const struct post_form *form, struct auth_keyring *ring,
                          struct arena *arena, struct auth_result *out) MUST_CHECK;

/* The form against its policy document. KIST_E_INVALID: not a policy; KIST_E_DENIED: it forbids
 * the form; *message says why. */
struct post_limits {
    uint64_t min_bytes, max_bytes; /* content-length-range */
};
enum kist_err post_policy_check(const struct post_form *form, struct arena *arena,
                                struct post_limits *out, const char **message) MUST_CHECK;

#endif
