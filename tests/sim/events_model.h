/* Events in a random workload: every change that was acknowledged has told what the bucket's
 * rules asked for, whenever the power fails; nothing tells of a change that is not there; what
 * was settled stays settled. Works on the bucket "sim", in a store in manual mode. */
#ifndef KIST_TESTS_SIM_EVENTS_MODEL_H
#define KIST_TESTS_SIM_EVENTS_MODEL_H

#include "storage/object/store.h"

#define EVENTS_TOLD_MAX 512
#define EVENTS_TARGETS 2

struct told {
    char id[37];
    char key[16];
    unsigned target, kind;
    size_t begun, acknowledged; /* journal positions of the change that it tells of */
    size_t settled, gone;       /* and of its settlement; SIZE_MAX: it is there */
};

struct events_model {
    unsigned rules; /* which of them are set */
    bool paused;
    struct told list[EVENTS_TOLD_MAX];
    size_t count;
};

/* What a change should tell: of this key, that it came (or went). */
struct telling {
    const char *key;
    bool created;
};

/* Other rules, a settlement, a pause. False: something was as it must not be; it is printed. */
bool events_step(struct store *s, struct events_model *m, uint64_t random);
/* After a change that began at that journal position: it has told exactly this. tellings NULL:
 * it may have told of removals, as many as it likes (lifecycle). */
bool events_follow(struct store *s, struct events_model *m, size_t begun,
                   const struct telling *tellings, size_t n);
/* After a cut. *in_flight: 0 when no event may be there or not, 1 when one such is there, -1 when
 * none is. */
bool events_hold(struct store *s, const struct events_model *m, size_t cut, int *in_flight);

#endif
