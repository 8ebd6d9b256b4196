/* The services that share S3's port: functions, schedules, event targets.
 *
 * server/s3 is the front: it takes every request, checks the signature, and hands those that are
 * signed for another service (the credential's scope says which) to that service, whole and with
 * who asks. A service that also answers for host names of its own (function URLs) says which.
 * server/serve.c tells the front which services there are; they know nothing of S3's handlers.
 */
#ifndef KIST_SERVER_HTTP_API_H
#define KIST_SERVER_HTTP_API_H

#include "auth/credentials.h"
#include "auth/policy.h"
#include "server/http/exchange.h"

struct store_op;

/* One request to a service; lives as long as its exchange. */
struct api_call {
    struct exchange *x;
    const struct http_request *http;
    struct arena *arena;
    /* Who asks; who->id is empty for somebody without a signature. */
    const struct auth_identity *who;
    bool unsigned_allowed; /* the front did not insist: a host name of the service's own */
    bool presigned;
    struct bytes host;     /* as names are compared: lower case, without port and last dot */
    struct bytes body;     /* whole, and what the signature says of it holds; at most body_max */
    struct bytes resource; /* ARN of what the front says that it is for; mostly empty */
    int64_t now_ms;
    void *state; /* the service's */
    /* The caller may do this ("lambda:InvokeFunction") on this ARN: his own policies, and the
     * resource's (NULL: it has none). account: the resource's owner, 12 digits. */
    /* The service's own condition keys, where it sets this: false, there is no such one. */
    bool (*condition)(struct api_call *call, struct bytes key, struct bytes *value);
    bool (*allowed)(struct api_call *call, const char *action, struct bytes resource,
                    struct bytes account, const struct policy *resource_policy);
};

/* The call of an exchange that was handed over; for callbacks after a wait. */
static inline struct api_call *api_call_of(struct exchange *x)
{
    return exchange_guest(x);
}

struct api_service {
    void *ctx;
    const char *name; /* of the credential's scope: "lambda" */
    size_t body_max;
    /* The request is whole. Ends in exactly one exchange_reply_*(), at once or after waits. */
    void (*call)(void *ctx, struct api_call *call);
    /* The exchange is over; call->state may be freed. May be NULL. */
    void (*end)(void *ctx, struct api_call *call);
    /* What is wrong with a request that does not get as far as call(): the service's own form of
     * error, as the body of the reply (it may add headers). code: "AccessDenied",
     * "SignatureDoesNotMatch", "RequestEntityTooLarge" ... */
    struct bytes (*refuse)(void *ctx, struct exchange *x, unsigned status, const char *code,
                           const char *message);
    /* Not NULL: the service takes what comes to such host names (lower case, without port), and
     * nothing else. */
    bool (*host)(void *ctx, struct bytes host);
};

#endif
