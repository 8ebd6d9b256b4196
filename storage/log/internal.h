/* The parts of a log. */
#ifndef KIST_STORAGE_LOG_INTERNAL_H
#define KIST_STORAGE_LOG_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/base/env.h"
#include "storage/log/format.h"

#define SPARES_MAX 4

struct segment {
    uint64_t generation, nonce;
    int fd;
    uint64_t end;         /* next batch goes here */
    uint64_t last_index;  /* of what it holds; 0: nothing */
    struct segment *next; /* newer */
};

/* Segment files: made ahead, filled, kept until checkpointed, used again. */
struct segments {
    const char *dir;
    size_t bytes;
    bool sync, manual;
    struct env *env;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the maker */
    pthread_t maker;
    bool maker_started, stop;
    uint64_t next_generation;
    struct segment *oldest, *active; /* a list; active is its end */
    struct segment *spares;          /* pre-written, generation not yet given */
    size_t spare_count;
};
enum kist_err segments_open(struct segments *s, const struct log_config *config,
                            uint64_t next_generation) MUST_CHECK;
void segments_close(struct segments *s);
/* A new active segment; its header is durable with the first batch's sync. */
enum kist_err segments_advance(struct segments *s) MUST_CHECK;
/* Notes a segment found at start that still holds commands. */
enum kist_err segments_keep(struct segments *s, uint64_t generation,
                            uint64_t last_index) MUST_CHECK;
void segments_checkpointed(struct segments *s, uint64_t index);

struct log {
    struct log_config config;
    char *dir;
    struct log_ops ops;
    struct segments segments;
    uint8_t *buffer; /* one batch */
    size_t buffer_bytes;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct log_request *first, **last;
    bool closing, sleeping;
    pthread_t thread;
    bool thread_started;
    /* the log's thread */
    _Atomic uint64_t last_index;
    _Atomic bool failed;
    _Atomic uint64_t batches, commands, bytes, sync_ns;
};

/* replay.c: applies everything after applied_index; generations found and the last index. */
enum kist_err log_replay(struct log *log, uint64_t applied_index,
                         uint64_t *next_generation) MUST_CHECK;
/* Sorted generations of the segment files in dir, appended as uint64_t. */
enum kist_err log_list_segments(const char *dir, struct buf *out) MUST_CHECK;
char *log_segment_path(const char *dir, uint64_t generation);

#endif
