/* Control groups for sandboxes: memory, processes, freezing; version 2 or 1, what there is.
 *
 * The host owns one group below the server's own, in each hierarchy, named after the server's
 * process, so that what a killed server left can be told from what a living one uses. Each
 * sandbox is a child of it.
 */
#ifndef KIST_SERVER_FUNCTIONS_SANDBOX_CGROUP_H
#define KIST_SERVER_FUNCTIONS_SANDBOX_CGROUP_H

#include <pthread.h>

#include "server/functions/sandbox.h"

#define CGROUP_PATH_MAX 512

enum cgroup_kind { CGROUP_MEMORY, CGROUP_PIDS, CGROUP_FREEZER, CGROUP_KINDS };

struct cgroup_host {
    /* Absolute directories, empty when not available. Version 2: all the same. */
    char dirs[CGROUP_KINDS][CGROUP_PATH_MAX];
    bool v2[CGROUP_KINDS];
    pthread_mutex_t lock;
    struct cgroup_left *left; /* under it: they are tried again with each one that is removed */
};

struct cgroup {
    struct cgroup_host *host;
    uint64_t id;
    /* Open cgroup.procs files, for the process to enter by writing "0". */
    int enter[CGROUP_KINDS];
    size_t enter_count;
};

/* Never fails: what is not there is left out. without: features not to use. */
void cgroup_host_open(struct cgroup_host *host, unsigned without);
void cgroup_host_close(struct cgroup_host *host);
/* SANDBOX_CGROUP_... bits of one version. */
unsigned cgroup_features(const struct cgroup_host *host, bool v2);

/* Makes the groups of one sandbox; memory_bytes 0 is no limit. */
enum kist_err cgroup_make(struct cgroup_host *host, uint64_t id, uint64_t memory_bytes,
                          unsigned pids_max, struct cgroup *out) MUST_CHECK;
/* Closes the files of `enter`. */
void cgroup_entered(struct cgroup *group);
enum kist_err cgroup_freeze(const struct cgroup *group, bool frozen) MUST_CHECK;
/* 0 when unknown. */
uint64_t cgroup_memory_peak(const struct cgroup *group);
/* Processes that were killed for want of memory. */
uint64_t cgroup_oom_kills(const struct cgroup *group);
/* Its processes must be gone, or go now. Waits at most a second; what is busy even then is
 * removed later, with the host at the latest. */
void cgroup_remove(struct cgroup *group);

#endif
