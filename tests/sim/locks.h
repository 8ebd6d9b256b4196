/* Object locks in a random workload: what is locked never goes, whoever tries and whenever the
 * power fails. Works on the bucket "sim", in a store in manual mode. */
#ifndef KIST_TESTS_SIM_LOCKS_H
#define KIST_TESTS_SIM_LOCKS_H

#include "storage/object/store.h"

#define LOCKS_MAX 64

struct lock {
    char key[16];
    uint64_t version; /* as readers name it */
    uint64_t size;
    uint32_t crc; /* of the content */
    enum { LOCK_HOLD, LOCK_TO_GOVERNANCE, LOCK_TO_COMPLIANCE } kind;
    size_t acknowledged; /* journal position since which it holds */
    size_t lifted;       /* from here on it may be gone; SIZE_MAX: never */
};

struct locks {
    struct lock list[LOCKS_MAX];
    size_t count;
    unsigned refused; /* deletions, so that a test of nothing is seen */
};

/* The bucket keeps versions already. */
bool locks_enable(struct store *s);
/* Locks a key's current version, lifts a lock, or tries to get rid of a locked version. False:
 * something was as it must not be; it is printed. */
bool locks_step(struct store *s, struct locks *l, uint64_t random, const char *key,
                int64_t now_ms);
/* Every version that was locked at that journal position is there, locked, with its bytes. */
bool locks_hold(struct store *s, const struct locks *l, size_t at);
/* And nobody may delete it. */
bool locks_refuse(struct store *s, struct locks *l, size_t at, int64_t now_ms);

extern const uint8_t sim_wrapping_key[SEAL_KEY_BYTES];

#endif
