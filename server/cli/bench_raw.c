/* What the machine can do at best: the other side of every ratio. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/cli/bench_internal.h"
#include "storage/base/env.h"

#define SYNCS 1000
#define HASH_BYTES ((size_t)64 << 20)
#define LOOP_BYTES ((uint64_t)4 << 30)

static double sync_us(void)
{
    const char *dir = getenv("TMPDIR");
    char path[4096], block[4096] = { 1 };
    snprintf(path, sizeof(path), "%s/kist-raw-XXXXXX", dir && *dir ? dir : "/var/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return 0;
    unlink(path);
    for (uint64_t at = 0; at < SYNCS; at++)
        (void)!file_pwrite(fd, block, sizeof(block), at * sizeof(block));
    (void)!fsync(fd);
    uint64_t start = mono_ns();
    for (uint64_t at = 0; at < SYNCS; at++) {
        (void)!file_pwrite(fd, block, sizeof(block), at * sizeof(block));
        (void)!fdatasync(fd);
    }
    double us = (double)(mono_ns() - start) / 1e3 / SYNCS;
    close(fd);
    return us;
}

static void *hash_thread(void *arg)
{
    const enum digest_kind *kind = arg;
    uint8_t out[DIGEST_MAX_LEN], *data = calloc(1, HASH_BYTES);
    if (data)
        for (int i = 0; i < 4; i++)
            digest_once(*kind, bytes_of(data, HASH_BYTES), out);
    free(data);
    return NULL;
}

static double hash_rate(enum digest_kind kind, unsigned threads)
{
    pthread_t all[64];
    threads = threads > 64 ? 64 : threads;
    uint64_t start = mono_ns();
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&all[i], NULL, hash_thread, &kind) != 0)
            return 0;
    for (unsigned i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
    return 4.0 * (double)HASH_BYTES * threads / (double)(mono_ns() - start);
}

static void *drain(void *arg)
{
    const int *fd = arg;
    char *buf = malloc(1 << 20);
    while (buf && recv(*fd, buf, 1 << 20, 0) > 0)
        continue;
    free(buf);
    return NULL;
}

static double loopback_rate(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof(a);
    struct sockaddr *address = (struct sockaddr *)(void *)&a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    char *buf = calloc(1, 256 << 10);
    pthread_t reader;
    double rate = 0;
    if (buf && bind(listener, address, len) == 0 && listen(listener, 1) == 0 &&
        getsockname(listener, address, &len) == 0 && connect(client, address, len) == 0) {
        int server = accept(listener, NULL, NULL);
        uint64_t start = mono_ns(), sent = 0;
        if (pthread_create(&reader, NULL, drain, &server) == 0) {
            while (sent < LOOP_BYTES) {
                ssize_t n = send(client, buf, 256 << 10, MSG_NOSIGNAL);
                if (n <= 0)
                    break;
                sent += (uint64_t)n;
            }
            shutdown(client, SHUT_WR);
            pthread_join(reader, NULL);
            rate = (double)sent / (double)(mono_ns() - start);
        }
        close(server);
    }
    free(buf);
    close(listener);
    close(client);
    return rate;
}

int bench_raw(const struct bench_options *o)
{
    unsigned cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    double sync = sync_us(), md5 = hash_rate(DIGEST_MD5, 1), all = hash_rate(DIGEST_MD5, cores);
    double sha = hash_rate(DIGEST_SHA256, 1), loop = loopback_rate();
    printf(o->json
               ? "{\"cores\":%u,\"fdatasync_us\":%.1f,\"md5_gb_s\":%.3f,\"md5_all_gb_s\":%.3f,"
                 "\"sha256_gb_s\":%.3f,\"loopback_gb_s\":%.3f}\n"
               : "%u cores; fdatasync %.1f us; GB/s: md5 %.2f, on all cores %.2f, sha256 %.2f, "
                 "loopback %.2f\n",
           cores, sync, md5, all, sha, loop);
    return 0;
}
