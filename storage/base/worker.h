/* A pool of threads that run jobs which may block (disk reads, syncs, copies). */
#ifndef KIST_STORAGE_BASE_WORKER_H
#define KIST_STORAGE_BASE_WORKER_H

#include <stddef.h>

#include "storage/base/err.h"

/* Embedded in the caller's own structure, so that queueing never allocates and never fails. */
struct job {
    void (*run)(struct job *job);
    struct job *next;
};
struct worker_pool;
/* name: at most 10 characters, for ps and perf. */
enum kist_err worker_pool_open(const char *name, size_t threads,
                               struct worker_pool **out) MUST_CHECK;
/* Runs what is queued, then joins. NULL is allowed. */
void worker_pool_close(struct worker_pool *pool);
void worker_submit(struct worker_pool *pool, struct job *job);

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
