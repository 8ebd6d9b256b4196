/* Notification configurations as documents: from XML to the rules that apply() reads. */
#ifndef KIST_SERVER_S3_NOTIFICATION_H
#define KIST_SERVER_S3_NOTIFICATION_H

#include "server/s3/internal.h"

/* What a configuration is called, its target's element, and that target's service in ARNs; what
 * S3 says of a target that is not there or may not be sent to. */
struct s3_destination {
    const char *element, *arn, *service, *missing, *denied;
};
#define S3_DESTINATIONS 3
extern const struct s3_destination s3_destinations[S3_DESTINATIONS];
/* NULL: EventBridgeConfiguration. */
const struct s3_destination *s3_destination_of(const struct s3_xml_node *n);

/* What is wrong, in S3's words: an InvalidArgument. message NULL: out of memory. */
struct s3_notification_fault {
    const char *message, *name;
    struct bytes value;
};

/* Of a document that has the shape: gives an Id to each configuration that came without one
 * (it is stored, and so stays), and one spelling to what has several. False: out of memory. */
bool s3_notification_tidy(struct s3_xml_node *root, struct arena *arena, struct env *env);
/* All that can be told without asking anybody. Of a document that was tidied. */
bool s3_notification_judge(const struct s3_xml_node *root, const char *region,
                           struct arena *arena, struct s3_notification_fault *f);
/* bridge_target: ARN that EventBridgeConfiguration stands for; NULL: nobody is there, no rule.
 * NULL: out of memory. */
Kist__Notification *s3_notification_compile(const struct s3_xml_node *root,
                                            const char *bridge_target, struct arena *arena);
/* Some key matches the filters of both. */
bool s3_notification_rules_meet(const Kist__NotificationRule *a, const Kist__NotificationRule *b);

#endif
