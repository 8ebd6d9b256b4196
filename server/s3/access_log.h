/* Server access logs: who asked what of a bucket, as objects in another bucket.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerLogs.html
 *
 *   request's end --> line --> buffer in memory --every interval--> object in the target bucket
 *
 * Requests only append to a buffer, under a lock that few others share; a thread of its own
 * writes the objects, past the request path, so that they are not logged themselves. What is in
 * the buffers is lost with the process; what does not fit is dropped and counted: as Amazon's,
 * delivery is best effort. */
#ifndef KIST_SERVER_S3_ACCESS_LOG_H
#define KIST_SERVER_S3_ACCESS_LOG_H

#include "server/s3/internal.h"

/* How a log object's key goes on behind the prefix. */
enum access_format { ACCESS_SIMPLE, ACCESS_BY_DELIVERY, ACCESS_BY_EVENT };

/* Lines for equal targets share an object. */
struct access_target {
    struct bytes owner;   /* canonical id of the source's owner */
    struct bytes account; /* and his account's number */
    struct bytes source;  /* bucket */
    struct bytes bucket, prefix;
    struct bytes acl; /* struct s3_rules.log_acl */
    enum access_format format;
    int64_t day; /* ACCESS_BY_EVENT: of the events, since 1970 */
};

struct access_log;
/* The service must outlive the log. */
enum kist_err access_log_open(struct s3_service *s, unsigned interval_s,
                              struct access_log **out) MUST_CHECK;
/* Delivers what is there. NULL is allowed. */
void access_log_close(struct access_log *log);
/* Never blocks for long, never fails: a line that does not fit is dropped. */
void access_log_add(struct access_log *log, const struct access_target *target,
                    struct bytes line);

/* At the end of a request, while all of it is there: a line, if its bucket wants one. */
void s3_access_log(struct s3_request *r);

/* Judges a BucketLoggingStatus; false after an error reply. */
bool s3_logging_check(struct s3_request *r, const struct s3_xml_node *root);

#endif
