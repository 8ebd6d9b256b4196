/* The state machine: a command goes in, rows change, a verdict and a result come out.
 *
 * apply() is deterministic: it reads the command and the rows, no clock, no random source, no
 * file. All conditions are evaluated here, on the log's thread, so that they are linearizable.
 */
#ifndef KIST_STORAGE_INDEX_APPLY_H
#define KIST_STORAGE_INDEX_APPLY_H

#include "storage/index/kv.h"

/* Kist__Bucket.versioning. */
enum versioning { VERSIONING_NEVER, VERSIONING_ENABLED, VERSIONING_SUSPENDED };

/* Kist__Seal.kind: whose key a data key is wrapped under. */
enum seal_kind { SEAL_NONE, SEAL_S3, SEAL_KMS, SEAL_CUSTOMER };

/* Kist__Object.lock_mode. */
enum lock_mode { LOCK_NONE, LOCK_GOVERNANCE, LOCK_COMPLIANCE };

/* How commands and reads name a version; every other value is Kist__Object.version. */
#define VERSION_CURRENT ((uint64_t)0)
#define VERSION_NULL UINT64_MAX
#define VERSION_NONE (UINT64_MAX - 1) /* matches nothing */
/* How clients see them: opaque, 32 characters as S3's are; 0 is "null". */
#define VERSION_TEXT_LEN 32
void version_text(uint64_t version, char out[VERSION_TEXT_LEN + 1]);
/* False: made up. "null" is VERSION_NULL. */
bool version_parse(struct bytes text, uint64_t *out);

/* Kist__Freed.stage: part of the disk format. */
enum freed_stage {
    FREED_ALL,    /* of commands from before there were stages: E and F rows go */
    FREED_BEFORE, /* E rows go: the extents are about to be punched */
    FREED_AFTER   /* F rows go: they are */
};

/* Kinds of BucketConfig rows: part of the disk format. */
enum bucket_config {
    CONFIG_POLICY,
    CONFIG_CORS,
    CONFIG_WEBSITE,
    CONFIG_LIFECYCLE,
    CONFIG_ENCRYPTION,
    CONFIG_LOGGING,
    CONFIG_NOTIFICATION,
    CONFIG_OWNERSHIP,
    CONFIG_PUBLIC_ACCESS_BLOCK,
    CONFIG_REQUEST_PAYMENT,
    CONFIG_OBJECT_LOCK,
    CONFIG_ACCELERATE,
    CONFIG_ACL,
    CONFIG_SITE, /* which release of a website is served */
    CONFIG_QUOTA,
    CONFIG_COUNT
};

/* Kinds of IamEntity rows: part of the disk format. 0 is the row that says when any changed. */
enum iam_kind {
    IAM_USER = 1,
    IAM_GROUP,
    IAM_ROLE,
    IAM_POLICY,
    IAM_KEY,
    IAM_OIDC_PROVIDER = 16,
    IAM_KMS_KEY = 17,
    IAM_KMS_ALIAS = 18,
    IAM_KIND_END
};
#define IAM_NAME_MAX 128

#define ACCOUNT_ID_LEN 12
#define CANONICAL_ID_LEN 64

/* Kist__Bucket.ownership: whether ACLs count, and whose new objects are. */
enum ownership {
    OWNERSHIP_ENFORCED,  /* ACLs are disabled */
    OWNERSHIP_PREFERRED, /* the bucket owner's with the ACL bucket-owner-full-control */
    OWNERSHIP_WRITER,
    OWNERSHIP_NONE, /* the controls were removed: as OWNERSHIP_WRITER */
    OWNERSHIP_COUNT
};

/* Kist__Grant.grantee and permission. */
enum acl_grantee { ACL_OWNER, ACL_ACCOUNT, ACL_EVERYBODY, ACL_AUTHENTICATED, ACL_LOG_DELIVERY };
enum acl_permission {
    ACL_READ = 1,
    ACL_WRITE = 2,
    ACL_READ_ACP = 4,
    ACL_WRITE_ACP = 8,
    ACL_FULL_CONTROL = 15
};
#define ACL_GRANTS_MAX 100

/* Kist__Event.kind, and bits of Kist__NotificationRule.kinds: part of the disk format. Some are
 * named by S3 and never happen here; rules may ask for them all the same. */
enum event_kind {
    EVENT_TEST, /* to try a target when a rule for it is made */
    EVENT_INVOCATION,
    EVENT_CREATED_PUT,
    EVENT_CREATED_POST,
    EVENT_CREATED_COPY,
    EVENT_CREATED_COMPLETE,
    EVENT_REMOVED_DELETE,
    EVENT_REMOVED_MARKER,
    EVENT_TAGGING_PUT,
    EVENT_TAGGING_DELETE,
    EVENT_ACL_PUT,
    EVENT_EXPIRED_DELETE,
    EVENT_EXPIRED_MARKER,
    EVENT_REDUCED_REDUNDANCY_LOST,
    EVENT_RESTORE_POST,
    EVENT_RESTORE_COMPLETED,
    EVENT_RESTORE_DELETE,
    EVENT_REPLICATION_FAILED,
    EVENT_REPLICATION_MISSED,
    EVENT_REPLICATION_AFTER,
    EVENT_REPLICATION_UNTRACKED,
    EVENT_TRANSITION,
    EVENT_TIERING,
    EVENT_KIND_COUNT
};

/* Kinds of Record rows: part of the disk format. */
enum record_kind {
    RECORD_FUNCTION = 1,
    RECORD_FUNCTION_VERSION,
    RECORD_FUNCTION_ALIAS,
    RECORD_FUNCTION_URL, /* by its id, in the first account */
    RECORD_LAYER_VERSION,
    RECORD_EVENT_TARGET,
    RECORD_SCHEDULE,      /* group/name */
    RECORD_SCHEDULE_TURN, /* of all accounts, in the first one */
    RECORD_SCHEDULE_GROUP,
    RECORD_BACKFILL, /* an event replay that is under way */
    RECORD_KIND_END
};
#define RECORD_NAME_MAX 256

/* Kist__Span.kind. */
enum span_kind { SPAN_OBJECT = 1, SPAN_EVENT, SPAN_INVOCATION };

/* What became of one key of a DeleteObjects. */
struct delete_result {
    enum kist_err err;
    bool versioned;     /* the bucket keeps versions: `version` is worth telling */
    bool delete_marker; /* one was made, or (when a version was named) removed */
    uint64_t version;   /* as Kist__Object.version: 0 is the null version */
};

/* Filled in by apply() for whoever waits; fixed size but for deletes. */
struct apply_result {
    uint64_t index;   /* of the command: new data ids, bucket ids and upload ids are this */
    uint64_t data_id; /* of the object written */
    uint64_t size;
    int64_t mtime_ms;
    uint8_t etag[16];
    uint32_t part_count;
    uint32_t checksum_algorithm; /* enum digest_kind + 1; 0: none */
    bool checksum_composite;
    uint8_t checksum[32];
    bool versioned;   /* the bucket keeps versions, and this is the new one's: */
    uint64_t version; /* as Kist__Object.version */
    /* DeleteObjects: one per key, given by the caller; may be NULL. */
    struct delete_result *deletes;
    /* The command freed data, of about so many bytes: the reclaimer has work. */
    bool made_garbage;
    uint64_t garbage_bytes;
    /* A lifecycle row was written: something may be due sooner than was known. */
    bool made_due;
    /* An event was written, or may be delivered sooner than was known. */
    bool made_event;
    uint64_t event_queue; /* row_queue_id() of its target; 0: of more than one */
    /* Rows that were due, to be entered or to be released, and could not be: damage. */
    uint32_t skipped;
};

/* A log command, with the place of its riding body. */
struct apply_input {
    uint64_t index;
    struct bytes command;
    uint32_t body_length;
    uint32_t pack;
    uint64_t offset;
};

struct apply;
enum kist_err apply_open(struct kv *kv, struct apply **out) MUST_CHECK;
void apply_close(struct apply *a);
/* Under kv_write_lock(). KIST_E_CORRUPT for a command that does not parse,
 * KIST_E_NEWER_FORMAT for one that this program does not know; otherwise the verdict. */
enum kist_err apply_command(struct apply *a, const struct apply_input *input,
                            struct apply_result *result) MUST_CHECK;

#endif
