/* Who has caused how many requests, and how much transfer, of which bucket.
 *
 *   request's end --> counts in memory, per bucket and principal --every interval--> AddUsage
 *
 * A request adds to its thread's own table; a thread of the counter's commits what came together,
 * so that no request writes a row. What a crash loses is what came since the last commit. The
 * tables are bounded: principals and buckets beyond them are counted as one. */
#ifndef KIST_SERVER_S3_USAGE_H
#define KIST_SERVER_S3_USAGE_H

#include "server/s3/internal.h"

struct usage_counter;
/* interval_s > 0. The store must outlive it. */
enum kist_err usage_counter_open(struct store *store, unsigned interval_s,
                                 struct usage_counter **out) MUST_CHECK;
/* Commits what is there. NULL is allowed. */
void usage_counter_close(struct usage_counter *c);

/* At the end of a request: never blocks for long, never fails. */
void s3_usage_count(const struct s3_request *r);

#endif
