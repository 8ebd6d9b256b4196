/* The seam to the machine: clock and randomness.
 *
 * Files are not behind this seam: LMDB does its own I/O, so the power-loss simulator of
 * tests/sim stands below libc's calls, where it sees LMDB's writes and ours alike.
 */
#ifndef KIST_STORAGE_BASE_ENV_H
#define KIST_STORAGE_BASE_ENV_H

#include <pthread.h>

#include "storage/base/bytes.h"

struct env {
    /* Wall clock, milliseconds since 1970 UTC. */
    int64_t (*now_ms)(struct env *env);
    /* Fills with unpredictable bytes. */
    void (*random)(struct env *env, void *out, size_t len);
};

/* The real machine; static, never freed. */
struct env *env_real(void);

/* Monotonic nanoseconds, for durations and deadlines only. */
uint64_t mono_ns(void);

/* A condition variable whose waits end by that clock, and the instant in so many milliseconds to
 * wait for. */
void mono_cond_init(pthread_cond_t *cond);
struct timespec;
void mono_after(int64_t ms, struct timespec *out);

/* Writes all of data at an offset, retrying short writes and EINTR. */
enum kist_err file_pwrite(int fd, const void *data, size_t len, uint64_t offset) MUST_CHECK;
/* The same for several pieces, fewer than IOV_MAX; the parts are used up. */
struct iovec;
enum kist_err file_pwritev(int fd, struct iovec *parts, size_t count, uint64_t offset) MUST_CHECK;
/* Reads exactly len bytes; KIST_E_TRUNCATED at end of file. */
enum kist_err file_pread(int fd, void *data, size_t len, uint64_t offset) MUST_CHECK;
enum kist_err file_datasync(int fd) MUST_CHECK;
/* Makes names in a directory durable. */
enum kist_err dir_sync(const char *path) MUST_CHECK;

#endif
