#include "server/events/events.h"

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-event-types-and-destinations.html
 */
static const char *const names[EVENT_KIND_COUNT] = {
    [EVENT_CREATED_PUT] = "ObjectCreated:Put",
    [EVENT_CREATED_POST] = "ObjectCreated:Post",
    [EVENT_CREATED_COPY] = "ObjectCreated:Copy",
    [EVENT_CREATED_COMPLETE] = "ObjectCreated:CompleteMultipartUpload",
    [EVENT_REMOVED_DELETE] = "ObjectRemoved:Delete",
    [EVENT_REMOVED_MARKER] = "ObjectRemoved:DeleteMarkerCreated",
    [EVENT_TAGGING_PUT] = "ObjectTagging:Put",
    [EVENT_TAGGING_DELETE] = "ObjectTagging:Delete",
    [EVENT_ACL_PUT] = "ObjectAcl:Put",
    [EVENT_EXPIRED_DELETE] = "LifecycleExpiration:Delete",
    [EVENT_EXPIRED_MARKER] = "LifecycleExpiration:DeleteMarkerCreated",
    [EVENT_REDUCED_REDUNDANCY_LOST] = "ReducedRedundancyLostObject",
    [EVENT_RESTORE_POST] = "ObjectRestore:Post",
    [EVENT_RESTORE_COMPLETED] = "ObjectRestore:Completed",
    [EVENT_RESTORE_DELETE] = "ObjectRestore:Delete",
    [EVENT_REPLICATION_FAILED] = "Replication:OperationFailedReplication",
    [EVENT_REPLICATION_MISSED] = "Replication:OperationMissedThreshold",
    [EVENT_REPLICATION_AFTER] = "Replication:OperationReplicatedAfterThreshold",
    [EVENT_REPLICATION_UNTRACKED] = "Replication:OperationNotTracked",
    [EVENT_TRANSITION] = "LifecycleTransition",
    [EVENT_TIERING] = "IntelligentTiering",
};

const char *event_name(enum event_kind kind)
{
    return kind < EVENT_KIND_COUNT ? names[kind] : NULL;
}

uint64_t event_kinds(struct bytes name)
{
    uint64_t kinds = 0;
    if (!bytes_starts_with(name, BYTES_LIT("s3:")))
        return 0;
    struct bytes wanted = bytes_of(name.ptr + 3, name.len - 3);
    bool all =
        wanted.len > 2 && wanted.ptr[wanted.len - 1] == '*' && wanted.ptr[wanted.len - 2] == ':';
    struct bytes family = bytes_of(wanted.ptr, all ? wanted.len - 1 : 0);
    for (unsigned kind = 0; kind < EVENT_KIND_COUNT; kind++) {
        struct bytes known = bytes_str(names[kind]);
        if (known.len && (all ? bytes_starts_with(known, family) : bytes_equal(known, wanted)))
            kinds |= (uint64_t)1 << kind;
    }
    return kinds;
}
