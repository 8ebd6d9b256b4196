/* Health, metrics and usage, on an address of their own, so that no bucket name can clash. */
#ifndef KIST_SERVER_ADMIN_ADMIN_H
#define KIST_SERVER_ADMIN_ADMIN_H

#include "server/http/server.h"
#include "storage/object/store.h"

struct admin_counter {
    const char *operation;
    uint64_t by_class[6];
};

/* Whoever has more for the metrics page: appends lines of Prometheus' text format. */
struct admin_source {
    enum kist_err (*write)(void *ctx, struct buf *out);
    void *ctx;
};

struct admin_config {
    struct store *store;
    const struct http_server *s3; /* set before requests come */
    /* Requests by operation; false at the end. */
    bool (*counter_at)(void *ctx, size_t i, struct admin_counter *out);
    void *ctx;
    const struct admin_source *sources; /* outlive the page */
    size_t source_count;
};

struct admin;
enum kist_err admin_open(const struct admin_config *config, struct admin **out) MUST_CHECK;
void admin_close(struct admin *a);
const struct http_handler *admin_handler(struct admin *a);

#endif
