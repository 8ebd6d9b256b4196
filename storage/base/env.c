#include "storage/base/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int64_t real_now_ms(struct env *env)
{
    struct timespec t;
    (void)env;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Without randomness there are no secrets: better no process. */
static void real_random(struct env *env, void *out, size_t len)
{
    uint8_t *p = out;
    (void)env;
    while (len) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno != EINTR)
            abort();
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}

struct env *env_real(void)
{
    static struct env env = { .now_ms = real_now_ms, .random = real_random };
    return &env;
}

void mono_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

void mono_after(int64_t ms, struct timespec *out)
{
    clock_gettime(CLOCK_MONOTONIC, out);
    out->tv_sec += ms / 1000;
    out->tv_nsec += (long)(ms % 1000) * 1000000;
    if (out->tv_nsec >= 1000000000) {
        out->tv_sec++;
        out->tv_nsec -= 1000000000;
    }
}

uint64_t mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

enum kist_err file_pwrite(int fd, const void *data, size_t len, uint64_t offset)
{
    struct iovec part = { (void *)(uintptr_t)data, len };
    return file_pwritev(fd, &part, 1, offset);
}

enum kist_err file_pwritev(int fd, struct iovec *parts, size_t count, uint64_t offset)
{
    for (;;) {
        for (; count && parts->iov_len == 0; count--)
            parts++;
        if (count == 0)
            return KIST_OK;
        ssize_t n = pwritev(fd, parts, (int)count, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? KIST_E_IO : kist_err_from_errno(errno);
        offset += (uint64_t)n;
        for (size_t left = (size_t)n; left;) {
            size_t some = left < parts->iov_len ? left : parts->iov_len;
            parts->iov_base = (uint8_t *)parts->iov_base + some;
            parts->iov_len -= some;
            left -= some;
            if (parts->iov_len == 0) {
                parts++;
                count--;
            }
        }
    }
}

enum kist_err file_pread(int fd, void *data, size_t len, uint64_t offset)
{
    uint8_t *p = data;
    while (len) {
        ssize_t n = pread(fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? KIST_E_TRUNCATED : kist_err_from_errno(errno);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return KIST_OK;
}

enum kist_err file_datasync(int fd)
{
    return fdatasync(fd) == 0 ? KIST_OK : kist_err_from_errno(errno);
}

enum kist_err dir_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kist_err_from_errno(errno);
    enum kist_err err = fsync(fd) == 0 ? KIST_OK : kist_err_from_errno(errno);
    close(fd);
    return err;
}
