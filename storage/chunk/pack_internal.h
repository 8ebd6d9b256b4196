/* The parts of a pack store. */
#ifndef KIST_STORAGE_CHUNK_PACK_INTERNAL_H
#define KIST_STORAGE_CHUNK_PACK_INTERNAL_H

#include <pthread.h>

#include "storage/chunk/pack.h"

/* Open files kept; more are open only while in use. */
#define PACK_FILES_MAX 512
#define PACK_TABLE_SIZE 1024 /* power of two; chains grow, lookups stay short by the LRU */

/* An open pack file. */
struct pack {
    uint32_t id;
    int fd;
    _Atomic int direct_fd; /* O_DIRECT; -1: not asked for yet, or refused */
    /* under store->files_lock */
    unsigned users;
    unsigned holds; /* each is a user, too */
    struct pack *chain;
    struct pack *older, *newer; /* LRU of those without users */
    bool body_dirty;            /* wants pack_sync_bodies */
    /* under sync_lock */
    pthread_mutex_t sync_lock;
    uint64_t synced;
    bool failed;
    bool name_synced;
    /* */
    _Atomic uint64_t written; /* counts writes */
};

struct pack_lane {
    pthread_mutex_t lock;
    uint32_t pack; /* 0: none yet */
    uint64_t end;
    bool resumed;
};

struct pack_store {
    char *dir;
    bool sync;
    pthread_mutex_t files_lock;
    struct pack *table[PACK_TABLE_SIZE];
    struct pack *lru_old, *lru_new;
    size_t open_files;
    _Atomic bool no_direct; /* the file system refused it */
    struct buf dirty;       /* uint32_t ids with body_dirty */
    struct buf sweep;       /* uint32_t ids, see pack_sweep_count() */
    bool replayed;          /* sweep is settled */
    /* lanes_lock is taken inside a lane's lock */
    pthread_mutex_t lanes_lock;
    uint32_t next_pack;
    _Atomic unsigned next_lane;
    struct pack_lane lanes[PACK_LANES];
};

/* pack_files.c: opens (and with create: makes) a pack; give back with pack_put(). */
enum kist_err pack_get(struct pack_store *s, uint32_t id, bool create,
                       struct pack **out) MUST_CHECK;
void pack_put(struct pack_store *s, struct pack *p);
/* A descriptor that goes past the page cache, or -1. */
int pack_direct_fd(struct pack_store *s, struct pack *p);
/* One more hold, which pack_unhold() gives back. */
enum kist_err pack_hold(struct pack_store *s, uint32_t pack) MUST_CHECK;
/* The ids of held packs, appended as uint32_t. */
enum kist_err pack_files_held(struct pack_store *s, struct buf *out) MUST_CHECK;
void pack_files_close(struct pack_store *s);
/* Closes a file whose name is to go away; false when somebody uses it. */
bool pack_forget(struct pack_store *s, uint32_t id);
char *pack_path(const struct pack_store *s, uint32_t id); /* malloc'ed, or NULL */

/* pack_lanes.c: the lanes file. */
enum kist_err pack_lanes_load(struct pack_store *s) MUST_CHECK;
enum kist_err pack_lanes_save(struct pack_store *s) MUST_CHECK;

#endif
