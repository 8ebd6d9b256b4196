/* The parts of the load generator.
 *
 *   bench.c        options, phases (prepare, warm-up, run), report
 *   bench_loop.c   connections on one epoll loop: write request, read reply, next
 *   bench_sign.c   request heads with their signatures
 *   bench_raw.c    the machine's own limits
 */
#ifndef KIST_SERVER_CLI_BENCH_INTERNAL_H
#define KIST_SERVER_CLI_BENCH_INTERNAL_H

#include <netinet/in.h>

#include "server/cli/histogram.h"
#include "storage/base/digest.h"

enum bench_op {
    BENCH_PUT,
    BENCH_GET,
    BENCH_HEAD,
    BENCH_LIST,
    BENCH_DELETE,
    BENCH_PART,
    BENCH_OPS
};

struct bench_options {
    const char *host;
    uint16_t port;
    const char *access_key, *secret_key, *region, *bucket, *key_prefix, *list_prefix,
        *path_prefix;
    const char *named_host;  /* in the Host header; NULL: the endpoint's */
    unsigned mix[BENCH_OPS]; /* percent */
    uint64_t size, keys, concurrency, duration_s, requests, warmup_s, max_keys, seed;
    bool no_auth, no_prepare, json, sequential, quiet, raw;
};

struct bench_result {
    struct histogram latency;
    uint64_t requests, errors, bytes_in, bytes_out, elapsed_ns;
    uint64_t by_status[600];
};

struct signer_cache {
    const struct bench_options *options;
    struct hmac_key *key;
    int64_t second;
    char date[17];
};
void sign_init(struct signer_cache *s, const struct bench_options *o);
void sign_release(struct signer_cache *s);
/* The whole head of a request; length. target: path and query as sent, already encoded, query
 * parameters in order. */
size_t sign_head(struct signer_cache *s, const char *method, const char *path, const char *query,
                 uint64_t body_bytes, char *out, size_t size);

/* One phase: `requests` (0: until the deadline) at the given concurrency. */
struct bench_phase {
    const struct bench_options *options;
    unsigned mix[BENCH_OPS];
    uint64_t requests, duration_ns;
    bool each_key_once; /* keys 0, 1, 2 ... for preparation */
    const char *upload_id;
    bool progress;
};
/* False when the endpoint cannot be reached. */
bool bench_run(const struct bench_phase *phase, struct bench_result *out);
/* One request and its body (up to size - 1 bytes, NUL-terminated); the status, or 0. */
unsigned bench_once(const struct bench_options *o, const char *method, const char *path,
                    const char *query, char *body, size_t size);

int bench_raw(const struct bench_options *o);

#endif
