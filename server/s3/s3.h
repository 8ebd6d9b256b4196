/* The S3 REST API over a store: a handler for the HTTP layer.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html */
#ifndef KIST_SERVER_S3_S3_H
#define KIST_SERVER_S3_S3_H

#include "auth/keyring.h"
#include "auth/users.h"
#include "server/http/exchange.h"
#include "storage/object/store.h"

struct api_service;
struct events;
struct master_keys;
struct oidc;

struct s3_config {
    struct store *store;
    struct auth_keyring *keyring;
    struct auth_user_store *users; /* NULL: there is only the root */
    struct master_keys *masters;   /* NULL: nothing can be encrypted */
    struct oidc *oidc;
    struct events *events; /* who knows notifications' targets; NULL: each is refused */
    const char *region;
    int64_t lifecycle_day_ms;       /* 86400000; less in tests */
    unsigned access_log_interval_s; /* access logs are delivered so often; 0: never */
    unsigned usage_interval_s;      /* usage is committed so often; 0: never */
    const char *domain;             /* buckets are also served as <bucket>.<domain> */
    /* Others that share the port; they outlive the service. */
    const struct api_service *const *services;
    size_t service_count;
    /* Who takes the requests of websites that a routing rule sends to a function (the call's
     * resource); NULL: nobody. */
    const struct api_service *site_functions;
    /* What a function's invocation is doing that sends a request: over a connection with this tag
     * (http_server_adopt(); or NULL), or as this identity (or NULL). NULL: nothing. */
    const Kist__Lineage *(*lineage_of)(void *ctx, void *tag, const struct auth_identity *who,
                                       struct arena *arena);
    void *lineage_ctx;
};

struct s3_service;
/* The strings, the store and the keyring must outlive the service. */
enum kist_err s3_service_open(const struct s3_config *config, struct s3_service **out) MUST_CHECK;
void s3_service_close(struct s3_service *s);
/* To give to http_server_start(); as long as the service lives. */
const struct http_handler *s3_handler(struct s3_service *s);

/* Requests by operation and status class, for the metrics page. Index i counts until false. */
struct s3_counter {
    const char *operation;
    uint64_t by_class[6]; /* [2]: 2xx ... [5]: 5xx; [0]: connection lost */
};
bool s3_counter_at(struct s3_service *s, size_t i, struct s3_counter *out);

/* Exposed for fuzzing: parsers of outside bytes. */
struct s3_range {
    uint64_t first, length;
};
enum s3_range_kind { S3_RANGE_NONE, S3_RANGE_OK, S3_RANGE_UNSATISFIABLE };
/* RFC 9110 section 14.1.2, one range; anything else is as if no Range were there. */
enum s3_range_kind s3_range_parse(struct bytes header, uint64_t size, struct s3_range *out);

#endif
