/* Shared by the files that apply commands: one per family.
 *
 * A command is whole or nothing: readers see its rows when all are written, and an error takes
 * back what was written by then.
 */
#ifndef KIST_STORAGE_INDEX_APPLY_INTERNAL_H
#define KIST_STORAGE_INDEX_APPLY_INTERNAL_H

#include "storage/index/apply.h"
#include "storage/index/lifecycle.h"
#include "storage/index/rows.h"
#include "storage/index/versions.h"
#include "storage/schema/schema.h"

struct apply {
    struct kv *kv;
    struct arena arena; /* cleared for every command */
    struct buf value;   /* packing */
    struct kv_read read;
    const struct apply_input *input;
    struct apply_result *result; /* never NULL inside */
    uint32_t garbage_count;      /* rows made by this command */
    /* the lifecycle rules of the bucket that was asked for last */
    struct arena rules_arena;
    Kist__Lifecycle *rules;
    uint64_t rules_bucket, rules_stamp;
    /* its notification rules, likewise */
    struct arena notify_arena;
    Kist__Notification *notify;
    uint64_t notify_bucket, notify_stamp;
    char queue_target[256]; /* whose row_queue_id() was asked for last */
    uint64_t queue_id;
    const Kist__Cause *cause;    /* of this command; NULL: nobody's */
    enum event_kind creates;     /* what apply_replace() is, to those who are told */
    int64_t time_ms;             /* of a change without a cause */
    bool expiring;               /* lifecycle acts */
    uint32_t event_count, spans; /* rows made by this command */
};

/* Reads and unpacks a row. KIST_E_NOT_FOUND, KIST_E_CORRUPT. */
enum kist_err apply_get(struct apply *a, const struct row_key *key,
                        const ProtobufCMessageDescriptor *type, void *out) MUST_CHECK;
enum kist_err apply_set(struct apply *a, const struct row_key *key,
                        const void *message) MUST_CHECK;
void apply_drop(struct apply *a, const struct row_key *key);
/* KIST_E_NO_BUCKET. */
enum kist_err apply_bucket(struct apply *a, const char *name, Kist__Bucket **out) MUST_CHECK;
/* Adds to a bucket's statistics. */
struct stats_change {
    int64_t objects, bytes, uploads, versions, part_bytes;
};
enum kist_err apply_count(struct apply *a, uint64_t bucket_id,
                          struct stats_change change) MUST_CHECK;

/* apply_data.c: chunks, extents, garbage */
/* Takes over what a command brings along: its chunks, and the riding body as an extent owned
 * by data_id, which is then put into *out. object: NULL for parts. */
enum kist_err apply_adopt(struct apply *a, size_t count, Kist__NewChunk **chunks,
                          uint64_t data_id, uint32_t body_crc, const Kist__Object *object,
                          Kist__Data **out) MUST_CHECK;
/* The verdict went against the command: its chunks and body are freed. Reads nothing. */
enum kist_err apply_disown(struct apply *a, size_t count,
                           Kist__NewChunk *const *chunks) MUST_CHECK;
/* Queues dereferenced data. NULL and empty data are nothing. */
enum kist_err apply_discard(struct apply *a, const Kist__Data *data, uint64_t bytes) MUST_CHECK;
/* One more reference to data that is shared by a copy; false in *ok when it cannot be. */
enum kist_err apply_share(struct apply *a, const Kist__Data *data) MUST_CHECK;
enum kist_err apply_release(struct apply *a, const Kist__Release *c) MUST_CHECK;
enum kist_err apply_freed(struct apply *a, const Kist__Freed *c) MUST_CHECK;
enum kist_err apply_mark_chunk(struct apply *a, const Kist__MarkChunk *c) MUST_CHECK;

/* apply_bucket.c */
/* An object of that size is to take the place of current (NULL: of nothing), and of so many bytes
 * of parts. KIST_E_QUOTA; what makes a bucket smaller is always allowed. */
enum kist_err apply_quota(struct apply *a, const Kist__Bucket *bucket,
                          const Kist__Object *current, uint64_t size,
                          uint64_t part_bytes) MUST_CHECK;
/* So many bytes of parts more, or less. KIST_E_QUOTA. */
enum kist_err apply_part_quota(struct apply *a, const Kist__Bucket *bucket,
                               int64_t bytes) MUST_CHECK;
enum kist_err apply_create_bucket(struct apply *a, Kist__CreateBucket *c) MUST_CHECK;
enum kist_err apply_delete_bucket(struct apply *a, const Kist__DeleteBucket *c) MUST_CHECK;
enum kist_err apply_put_versioning(struct apply *a, const Kist__PutVersioning *c) MUST_CHECK;
enum kist_err apply_put_bucket_config(struct apply *a, const Kist__PutBucketConfig *c) MUST_CHECK;
enum kist_err apply_put_bucket_tags(struct apply *a, const Kist__PutBucketTags *c) MUST_CHECK;

/* apply_object.c */
enum kist_err apply_check(struct apply *a, const Kist__Bucket *bucket, ProtobufCBinaryData key,
                          const Kist__Condition *condition, Kist__Object **current) MUST_CHECK;
/* Puts an object row in place of what is there: versions, statistics, garbage, result. */
enum kist_err apply_replace(struct apply *a, const Kist__Bucket *bucket, ProtobufCBinaryData key,
                            Kist__Object *current, Kist__Object *object) MUST_CHECK;
enum kist_err apply_put_object(struct apply *a, Kist__PutObject *c) MUST_CHECK;
enum kist_err apply_delete_objects(struct apply *a, const Kist__DeleteObjects *c) MUST_CHECK;
enum kist_err apply_copy_object(struct apply *a, Kist__CopyObject *c) MUST_CHECK;
enum kist_err apply_put_object_tags(struct apply *a, const Kist__PutObjectTags *c) MUST_CHECK;
enum kist_err apply_put_object_lock(struct apply *a, const Kist__PutObjectLock *c) MUST_CHECK;

/* apply_append.c, apply_rename.c */
enum kist_err apply_append_object(struct apply *a, Kist__AppendObject *c) MUST_CHECK;
enum kist_err apply_rename_object(struct apply *a, const Kist__RenameObject *c) MUST_CHECK;

/* apply_version.c: how V and N rows change. None of these touches the object's data. */
/* The current object becomes the newest noncurrent version at that time. The O row is left
 * alone. */
enum kist_err apply_push_version(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                 Kist__Object *object, int64_t now_ms) MUST_CHECK;
/* Removes the null version among the V rows, and frees its data. Nothing there is fine. */
enum kist_err apply_drop_null(struct apply *a, const Kist__Bucket *bucket,
                              struct bytes key) MUST_CHECK;
enum kist_err apply_delete_key(struct apply *a, const Kist__Bucket *bucket,
                               const Kist__DeleteKey *c, const Kist__DeleteObjects *all,
                               struct delete_result *out) MUST_CHECK;

/* apply_multipart.c */
enum kist_err apply_create_upload(struct apply *a, Kist__CreateUpload *c) MUST_CHECK;
enum kist_err apply_put_part(struct apply *a, Kist__PutPart *c) MUST_CHECK;
enum kist_err apply_complete_upload(struct apply *a, const Kist__CompleteUpload *c) MUST_CHECK;
enum kist_err apply_abort_upload(struct apply *a, const Kist__AbortUpload *c) MUST_CHECK;

/* apply_acl.c */
enum kist_err apply_put_acl(struct apply *a, const Kist__PutAcl *c) MUST_CHECK;
/* The version of a key that a command names. KIST_E_NO_KEY, KIST_E_NO_VERSION,
 * KIST_E_DELETE_MARKER. */
enum kist_err apply_find(struct apply *a, const Kist__Bucket *bucket, ProtobufCBinaryData key,
                         uint64_t version, struct row_key *row, Kist__Object **out) MUST_CHECK;

/* apply_usage.c */
enum kist_err apply_add_usage(struct apply *a, const Kist__AddUsage *c) MUST_CHECK;

/* apply_account.c */
enum kist_err apply_put_account(struct apply *a, const Kist__PutAccount *c) MUST_CHECK;
enum kist_err apply_delete_account(struct apply *a, const Kist__DeleteAccount *c) MUST_CHECK;
/* A bucket came to its owner (or left him): kept for all accounts but the first. */
enum kist_err apply_own_bucket(struct apply *a, const Kist__Bucket *bucket, bool owns) MUST_CHECK;
/* Both name the same account. Ids that name none are the first account's: its id followed the
 * root key before accounts were stored. */
enum kist_err apply_same_owner(struct apply *a, const char *x, const char *y,
                               bool *same) MUST_CHECK;
/* True when some row begins with the prefix. */
enum kist_err apply_holds_any(struct apply *a, const struct row_key *prefix,
                              bool *any) MUST_CHECK;

/* apply_iam.c */
/* Every entity is as it was read: KIST_E_CONFLICT. */
enum kist_err apply_iam_check(struct apply *a, size_t count,
                              Kist__IamChange **changes) MUST_CHECK;
/* Writes them; whatever was derived from any entity is void. */
enum kist_err apply_iam_changes(struct apply *a, size_t count,
                                Kist__IamChange **changes) MUST_CHECK;
enum kist_err apply_put_iam(struct apply *a, const Kist__PutIam *c) MUST_CHECK;

/* apply_event.c */
/* Tells those whose rules match what became of a key. object: the one that came or went. */
enum kist_err apply_emit(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                         enum event_kind kind, const Kist__Object *object) MUST_CHECK;
/* An object that a function has written: its trace goes on. */
enum kist_err apply_trace_object(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                                 const Kist__Object *object) MUST_CHECK;
enum kist_err apply_change_events(struct apply *a, Kist__ChangeEvents *c) MUST_CHECK;
enum kist_err apply_pause_events(struct apply *a, const Kist__PauseEvents *c) MUST_CHECK;

/* apply_record.c */
/* All of them, or none: KIST_E_CONFLICT. */
enum kist_err apply_records(struct apply *a, size_t count,
                            Kist__RecordChange **changes) MUST_CHECK;
enum kist_err apply_put_records(struct apply *a, const Kist__PutRecords *c) MUST_CHECK;

/* apply_lifecycle.c */
/* Enters what became of a key into the index of what is due, or takes it out again. Both do
 * nothing for a bucket without rules, and tolerate rows that older rules left behind. */
enum kist_err apply_schedule(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                             enum lifecycle_kind kind, const Kist__Object *object) MUST_CHECK;
enum kist_err apply_unschedule(struct apply *a, const Kist__Bucket *bucket, struct bytes key,
                               enum lifecycle_kind kind, const Kist__Object *object) MUST_CHECK;
enum kist_err apply_schedule_upload(struct apply *a, const Kist__Bucket *bucket,
                                    const Kist__Upload *upload) MUST_CHECK;
enum kist_err apply_unschedule_upload(struct apply *a, const Kist__Bucket *bucket,
                                      const Kist__Upload *upload) MUST_CHECK;
/* A delete marker at the top gets a newer version above it. */
enum kist_err apply_supersede_marker(struct apply *a, const Kist__Bucket *bucket,
                                     struct bytes key, int64_t now_ms) MUST_CHECK;
/* When nothing but a delete marker is left of a key. */
enum kist_err apply_schedule_lone_marker(struct apply *a, const Kist__Bucket *bucket,
                                         struct bytes key) MUST_CHECK;
/* New rules: what the bucket holds is to be entered. */
enum kist_err apply_begin_backfill(struct apply *a, const Kist__Bucket *bucket) MUST_CHECK;
enum kist_err apply_expire(struct apply *a, const Kist__Expire *c) MUST_CHECK;
enum kist_err apply_backfill_step(struct apply *a, const Kist__BackfillStep *c) MUST_CHECK;

#endif
