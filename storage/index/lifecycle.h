/* Lifecycle rules: when what is due. Pure functions over rows, no clock.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html */
#ifndef KIST_STORAGE_INDEX_LIFECYCLE_H
#define KIST_STORAGE_INDEX_LIFECYCLE_H

#include "storage/base/bytes.h"
#include "storage/schema/schema.h"

/* What a rule can act on: part of the disk format (Due rows). */
enum lifecycle_kind {
    LIFECYCLE_CURRENT = 1,
    LIFECYCLE_NONCURRENT,
    LIFECYCLE_MARKER, /* a delete marker that is all that is left of a key */
    LIFECYCLE_UPLOAD
};

struct lifecycle_subject {
    enum lifecycle_kind kind;
    struct bytes key;
    uint64_t size;
    size_t n_tags;
    Kist__Pair **tags;
    int64_t since_ms; /* created, or noncurrent since */
    uint32_t newer;   /* LIFECYCLE_NONCURRENT: how many noncurrent versions are newer */
};

#define LIFECYCLE_NEVER INT64_MAX
/* No rule keeps more noncurrent versions than this. */
#define LIFECYCLE_KEEP_MAX 100

/* The earliest time at which a rule acts, and which (rule may be NULL). */
int64_t lifecycle_due(const Kist__Lifecycle *rules, const struct lifecycle_subject *s,
                      const Kist__LifecycleRule **rule);

#endif
