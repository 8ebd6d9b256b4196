/* Between logs.c (adding, writing) and logs_read.c (reading, removing). */
#ifndef KIST_SERVER_FUNCTIONS_LOGS_INTERNAL_H
#define KIST_SERVER_FUNCTIONS_LOGS_INTERNAL_H

#include "server/functions/run.h"
#include "storage/base/codec.h"

#define LOG_TABLE 1024
#define LOG_KEY_MAX 320
#define LOG_UPKEEP_NS (UINT64_C(3600) * 1000000000)

struct log_batch {
    struct buf lines;
    uint64_t first, last; /* cursors */
};

struct fn_log_watch {
    struct fn_log_watch *next;
    struct log_stream *stream;
    bool fired;
    void (*wake)(void *ctx);
    void *ctx;
};

struct log_stream {
    struct log_stream *next;
    struct logs *logs;
    char *account, *name;
    /* Under logs->lock. */
    unsigned refs;
    bool dirty;
    struct log_stream *dirty_next;
    pthread_mutex_t lock; /* of what follows; taken before logs->lock never */
    struct log_batch open, writing;
    uint64_t last, dropped;
    struct fn_log_watch *watches;
};

struct log_removal {
    struct log_removal *next;
    char prefix[LOG_KEY_MAX];
};

struct logs {
    struct functions *f;
    atomic_uint_fast64_t cursor, bytes;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool stopping, hurry;
    struct log_stream *table[LOG_TABLE];
    size_t streams;
    struct log_stream *dirty;
    struct log_removal *removals;
};

void log_key(char out[LOG_KEY_MAX], const char *account, const char *name, uint64_t first,
             uint64_t last);
/* Frees the list. */
void logs_remove_all(struct logs *logs, struct log_removal *list);
/* Drops what is older than its function wants. */
void logs_retain(struct logs *logs);

#endif
