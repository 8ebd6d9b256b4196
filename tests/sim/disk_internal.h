/* The parts of the simulator: disk.c keeps the journal and the names, disk_calls.c stands in for
 * libc and fills it, disk_crash.c makes a directory of it.
 *
 * A node is a file or a directory; node 0 is the root. A name is a pair of directory node and
 * text that ever stood for a node; both are numbers that are never used again. What was below
 * the root at disk_start() makes up the first `base` entries of the journal.
 */
#ifndef KIST_TESTS_SIM_DISK_INTERNAL_H
#define KIST_TESTS_SIM_DISK_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "tests/sim/disk.h"

#define DISK_NONE UINT32_MAX

enum disk_op_kind {
    DISK_WRITE, /* bytes at an offset */
    DISK_SIZE,  /* truncation to `offset` bytes */
    DISK_ALLOC, /* the file has at least offset + len bytes from now on */
    DISK_PUNCH, /* zeros */
    DISK_SYNC,  /* of a file or directory: covers the entries before `upto` */
    DISK_MAKE,  /* names[0] stands for the new node */
    DISK_REMOVE,
    DISK_RENAME, /* names[0] to names[1] */
};

struct disk_op {
    enum disk_op_kind kind;
    uint32_t node;
    uint32_t names[2];    /* DISK_NONE where unused */
    uint32_t rests_on[2]; /* the entry before that touched the same name, or DISK_NONE */
    bool synced;          /* a write through O_SYNC or O_DSYNC */
    uint64_t offset;
    uint64_t len;
    size_t upto;
    uint8_t *data;
};

struct disk_name {
    uint32_t id;
    uint32_t dir;
    char *text;
    uint32_t node; /* now; DISK_NONE when the name is free */
    uint32_t last_op;
};

struct disk_journal {
    struct disk_op *ops;
    size_t count;
    size_t cap;
    size_t base;
    struct disk_name **names;
    uint32_t name_count;
    uint32_t name_cap;
    void *by_text; /* tsearch() tree of the names */
    bool *is_dir;  /* of each node */
    uint32_t node_count;
    uint32_t node_cap;
};

/* All below asserts that the caller holds the lock, but disk_lock() and disk_active(). */
extern struct disk_journal disk_journal;
bool disk_active(void);
void disk_lock(void);
void disk_unlock(void);

/* Where a path leads: name is NULL for the root itself. False when it is not below the root, or
 * its directory does not exist. */
struct disk_place {
    uint32_t dir;
    const char *text; /* inside the caller's buffer */
};
#define DISK_PATH_MAX 4096
bool disk_locate(int dirfd, const char *path, char buffer[DISK_PATH_MAX], struct disk_place *out);
/* DISK_NONE when there is nothing. */
uint32_t disk_node_at(const struct disk_place *place);
/* The node of an absolute path, or DISK_NONE. */
uint32_t disk_node_of_path(const char *path);

/* Entries of the journal. Data is copied. */
uint32_t disk_note_make(const struct disk_place *place, bool is_dir);
void disk_note_remove(const struct disk_place *place);
void disk_note_rename(const struct disk_place *from, const struct disk_place *to);
void disk_note_write(uint32_t node, uint64_t offset, const struct iovec *parts, size_t len,
                     bool synced);
void disk_note(enum disk_op_kind kind, uint32_t node, uint64_t offset, uint64_t len);
void disk_note_sync(uint32_t node, size_t upto);

/* disk_calls.c: libc's own calls, which are never journaled. */
struct disk_libc {
    int (*open)(const char *, int, ...);
    int (*openat)(int, const char *, int, ...);
    int (*close)(int);
    ssize_t (*write)(int, const void *, size_t);
    ssize_t (*pwrite)(int, const void *, size_t, off_t);
    ssize_t (*writev)(int, const struct iovec *, int);
    ssize_t (*pwritev)(int, const struct iovec *, int, off_t);
    int (*ftruncate)(int, off_t);
    int (*truncate)(const char *, off_t);
    int (*fallocate)(int, int, off_t, off_t);
    int (*posix_fallocate)(int, off_t, off_t);
    int (*fsync)(int);
    int (*fdatasync)(int);
    int (*renameat2)(int, const char *, int, const char *, unsigned);
    int (*unlinkat)(int, const char *, int);
    int (*mkdirat)(int, const char *, mode_t);
    int (*fclose)(void *);
    int (*closedir)(void *);
};
const struct disk_libc *disk_libc(void);
/* What is known of descriptors is forgotten: at the start of a journal. */
void disk_forget_descriptors(void);

/* Memory, or the end of the test. */
void *disk_grow(void *old, size_t count, size_t size);

#endif
