/* A walk over the O, V or U rows of a bucket, in the order of S3 keys. */
#ifndef KIST_STORAGE_OBJECT_WALK_H
#define KIST_STORAGE_OBJECT_WALK_H

#include "storage/object/store_internal.h"

/* The arena of one row, cleared for the next. */
#define WALK_ROW_MAX ((size_t)8 << 20)

struct walk {
    struct kv_read read;
    struct kv_cursor *cursor;
    struct row_key base; /* table and bucket id */
    struct bytes prefix, delimiter;
    struct arena rows;
    struct bytes row, value; /* where it stands */
};

/* With prefix and delimiter set. KIST_E_NO_BUCKET. */
enum kist_err walk_open(struct store *s, struct walk *w, enum row_table table,
                        struct bytes bucket, struct arena *arena) MUST_CHECK;
void walk_close(struct walk *w);
/* These three: KIST_E_NOT_FOUND where the bucket or the prefix ends. */
enum kist_err walk_seek(struct walk *w, const struct row_key *to) MUST_CHECK;
enum kist_err walk_next(struct walk *w) MUST_CHECK;
/* Behind all keys below a common prefix. */
enum kist_err walk_skip_prefix(struct walk *w, struct bytes common) MUST_CHECK;
/* To the first row of a query: to `start` when `after` lies inside the prefix (or behind all
 * below it, when it is a common prefix), otherwise to where the prefix begins. */
enum kist_err walk_begin(struct walk *w, struct bytes after,
                         const struct row_key *start) MUST_CHECK;
/* The common prefix that a key belongs to, or an empty slice. */
struct bytes walk_common_prefix(struct bytes key, struct bytes prefix, struct bytes delimiter);

/* Of any table: calls each() with the rows from `start` on that begin with `base`, until it says
 * that no more are wanted. */
enum kist_err walk_rows(struct store *s, const struct row_key *start, const struct row_key *base,
                        enum kist_err (*each)(void *ctx, struct walk *w, bool *more),
                        void *ctx) MUST_CHECK;

#endif
