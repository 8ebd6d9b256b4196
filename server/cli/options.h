/* Options of `kist serve`: flags, each also an environment variable KIST_<FLAG>. */
#ifndef KIST_SERVER_CLI_OPTIONS_H
#define KIST_SERVER_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct serve_options {
    const char *data, *listen, *admin, *region, *domain;
    const char *tls_cert, *tls_key;
    const char *master_key_file;                   /* NULL: in the data directory */
    const char *master_key;                        /* KIST_MASTER_KEY; NULL: from the file */
    const char *root_access_key, *root_secret_key; /* from the environment only */
    const char *trace;
    bool sync, json;
    uint64_t loops, max_connections;
    uint64_t header_timeout_s, body_timeout_s, idle_timeout_s;
    uint64_t memory_bytes, reserve_bytes, log_segment_bytes;
    uint64_t scrub_days;
    uint64_t lifecycle_day_s, lifecycle_offset_s;
    uint64_t access_log_interval_s, usage_interval_s;
    bool functions, trust_functions;
    uint64_t function_concurrency, function_memory_bytes, function_idle_s; /* 0: the default */
};

/* Exits with 0 after --help and with 2 after a mistake, which it names in one line. */
void serve_options_parse(int argc, char **argv, struct serve_options *out);
/* The default data directory, for the tools that open one. */
const char *default_data_dir(void);

#endif
