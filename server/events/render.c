/* What targets get to read. */
#include <inttypes.h>
#include <stdio.h>

#include "server/events/events.h"
#include "server/events/json.h"
#include "storage/base/codec.h"

/* The principal that acts where nobody asked: lifecycle. */
#define S3_ITSELF "s3.amazonaws.com"
#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e"

static const Kist__Cause nobody = KIST__CAUSE__INIT;

static const Kist__Cause *cause_of(const Kist__Event *e)
{
    return e->cause ? e->cause : &nobody;
}

static const char *or_itself(const char *text)
{
    return text[0] ? text : S3_ITSELF;
}

static enum event_kind kind_of(const Kist__Event *e)
{
    return (enum event_kind)e->kind;
}

/* ---- the object ---- */

static bool makes_object(enum event_kind kind)
{
    return kind >= EVENT_CREATED_PUT && kind <= EVENT_CREATED_COMPLETE;
}

static bool makes_marker(enum event_kind kind)
{
    return kind == EVENT_REMOVED_MARKER || kind == EVENT_EXPIRED_MARKER;
}

static bool removes(enum event_kind kind)
{
    return kind == EVENT_REMOVED_DELETE || kind == EVENT_EXPIRED_DELETE;
}

/* Deletes say neither size nor ETag; a delete marker has the ETag of nothing. Tags and ACLs are
 * not the object's bytes: no size. */
static void put_size(struct json_out *j, const Kist__Event *e)
{
    if (makes_object(kind_of(e)) || kind_of(e) > EVENT_EXPIRED_MARKER)
        jput_u64(j, "size", e->size);
}

static void put_etag(struct json_out *j, const char *name, const Kist__Event *e)
{
    char text[2 * DIGEST_MAX_LEN + 16];
    if (removes(kind_of(e)) || e->etag.len > DIGEST_MAX_LEN)
        return;
    if (makes_marker(kind_of(e))) {
        jput_str(j, name, EMPTY_MD5);
        return;
    }
    hex_encode(schema_bytes(e->etag), text);
    if (e->part_count)
        snprintf(text + 2 * e->etag.len, 16, "-%" PRIu32, e->part_count);
    jput_str(j, name, text);
}

static void put_version(struct json_out *j, const char *name, const Kist__Event *e)
{
    char text[VERSION_TEXT_LEN + 1];
    if (!e->versioned)
        return;
    version_text(e->version, text);
    jput_str(j, name, text);
}

static void put_sequencer(struct json_out *j, const char *name, const Kist__Event *e)
{
    char text[24];
    snprintf(text, sizeof(text), "%018" PRIX64, e->sequencer);
    jput_str(j, name, text);
}

/* As in application/x-www-form-urlencoded, but slashes stay: "red flower.jpg" is
 * "red+flower.jpg". */
static void put_form_key(struct json_out *j, const char *name, struct bytes key)
{
    static const char hex[] = "0123456789ABCDEF";
    char text[3 * 1024];
    size_t len = 0;
    for (size_t i = 0; i < key.len && len + 3 <= sizeof(text); i++) {
        uint8_t c = key.ptr[i];
        bool stays = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '*' || c == '/';
        if (stays) {
            text[len++] = (char)c;
        } else if (c == ' ') {
            text[len++] = '+';
        } else {
            text[len++] = '%';
            text[len++] = hex[c >> 4];
            text[len++] = hex[c & 15];
        }
    }
    jput_bytes(j, name, bytes_of(text, len));
}

/* ---- S3's own form ---- */

/* "version 2.2 for cross-Region replication event notifications [...] version 2.3 for S3
 * Lifecycle, S3 Intelligent-Tiering, object ACL, object tagging, and object restoration delete
 * events [...] 2.1 for all other event notification types." */
static const char *record_version(enum event_kind kind)
{
    switch (kind) {
    case EVENT_REPLICATION_FAILED:
    case EVENT_REPLICATION_MISSED:
    case EVENT_REPLICATION_AFTER:
    case EVENT_REPLICATION_UNTRACKED:
        return "2.2";
    case EVENT_TAGGING_PUT:
    case EVENT_TAGGING_DELETE:
    case EVENT_ACL_PUT:
    case EVENT_EXPIRED_DELETE:
    case EVENT_EXPIRED_MARKER:
    case EVENT_RESTORE_DELETE:
    case EVENT_TRANSITION:
    case EVENT_TIERING:
        return "2.3";
    default:
        return "2.1";
    }
}

static void put_bucket(struct json_out *j, const Kist__Event *e)
{
    char arn[128];
    snprintf(arn, sizeof(arn), "arn:aws:s3:::%s", e->bucket);
    jput_open(j, "bucket", '{');
    jput_str(j, "name", e->bucket);
    jput_open(j, "ownerIdentity", '{');
    jput_str(j, "principalId", e->owner);
    jput_close(j, '}');
    jput_str(j, "arn", arn);
    jput_close(j, '}');
}

static void put_s3(struct json_out *j, const Kist__Event *e)
{
    jput_open(j, "s3", '{');
    jput_str(j, "s3SchemaVersion", "1.0");
    jput_str(j, "configurationId", e->rule);
    put_bucket(j, e);
    jput_open(j, "object", '{');
    put_form_key(j, "key", schema_bytes(e->key));
    put_size(j, e);
    put_etag(j, "eTag", e);
    put_version(j, "versionId", e);
    put_sequencer(j, "sequencer", e);
    jput_close(j, '}');
    jput_close(j, '}');
}

static void put_record(struct json_out *j, const char *name, const struct event_form *form,
                       const Kist__Event *e)
{
    const Kist__Cause *cause = cause_of(e);
    const char *event = event_name(kind_of(e));
    char when[TIME_ISO_LEN];
    time_iso(e->time_ms, when);
    jput_open(j, name, '{');
    jput_str(j, "eventVersion", record_version(kind_of(e)));
    jput_str(j, "eventSource", "aws:s3");
    jput_str(j, "awsRegion", form->region);
    jput_str(j, "eventTime", when);
    jput_str(j, "eventName", event ? event : "");
    jput_open(j, "userIdentity", '{');
    jput_str(j, "principalId", or_itself(cause->principal));
    jput_close(j, '}');
    jput_open(j, "requestParameters", '{');
    jput_str(j, "sourceIPAddress", or_itself(cause->source_ip));
    jput_close(j, '}');
    jput_open(j, "responseElements", '{');
    jput_str(j, "x-amz-request-id", cause->request_id);
    jput_str(j, "x-amz-id-2", cause->host_id);
    jput_close(j, '}');
    put_s3(j, e);
    jput_close(j, '}');
}

/* https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-to-enable-disable-notification-intro.html
 */
static void put_test(struct json_out *j, const Kist__Event *e)
{
    const Kist__Cause *cause = cause_of(e);
    char when[TIME_ISO_LEN];
    time_iso(e->time_ms, when);
    jput_open(j, NULL, '{');
    jput_str(j, "Service", "Amazon S3");
    jput_str(j, "Event", "s3:TestEvent");
    jput_str(j, "Time", when);
    jput_str(j, "Bucket", e->bucket);
    jput_str(j, "RequestId", cause->request_id);
    jput_str(j, "HostId", cause->host_id);
    jput_close(j, '}');
}

/* True: it has no other form, and is in the buffer. */
static bool put_formless(struct json_out *j, const Kist__Event *e)
{
    if (e->kind == EVENT_TEST)
        put_test(j, e);
    else if (e->kind == EVENT_INVOCATION)
        jput_raw(j, NULL, e->payload.len ? schema_bytes(e->payload) : BYTES_LIT("{}"));
    return e->kind == EVENT_TEST || e->kind == EVENT_INVOCATION;
}

enum kist_err event_render_s3(const struct event_form *form, const Kist__Event *event,
                              const char *id, struct buf *out)
{
    struct json_out j = { .buf = out };
    (void)id;
    if (put_formless(&j, event))
        return j.err;
    jput_open(&j, NULL, '{');
    jput_open(&j, "Records", '[');
    put_record(&j, NULL, form, event);
    jput_close(&j, ']');
    jput_close(&j, '}');
    return j.err;
}

/* ---- EventBridge ---- */

static const struct bridge_name {
    const char *type, *reason;
} bridge_names[EVENT_KIND_COUNT] = {
    [EVENT_CREATED_PUT] = { "Object Created", "PutObject" },
    [EVENT_CREATED_POST] = { "Object Created", "POST Object" },
    [EVENT_CREATED_COPY] = { "Object Created", "CopyObject" },
    [EVENT_CREATED_COMPLETE] = { "Object Created", "CompleteMultipartUpload" },
    [EVENT_REMOVED_DELETE] = { "Object Deleted", "DeleteObject" },
    [EVENT_REMOVED_MARKER] = { "Object Deleted", "DeleteObject" },
    [EVENT_EXPIRED_DELETE] = { "Object Deleted", "Lifecycle Expiration" },
    [EVENT_EXPIRED_MARKER] = { "Object Deleted", "Lifecycle Expiration" },
    [EVENT_TAGGING_PUT] = { "Object Tags Added", NULL },
    [EVENT_TAGGING_DELETE] = { "Object Tags Deleted", NULL },
    [EVENT_ACL_PUT] = { "Object ACL Updated", NULL },
    [EVENT_RESTORE_POST] = { "Object Restore Initiated", NULL },
    [EVENT_RESTORE_COMPLETED] = { "Object Restore Completed", NULL },
    [EVENT_RESTORE_DELETE] = { "Object Restore Expired", NULL },
    [EVENT_TRANSITION] = { "Object Storage Class Changed", NULL },
    [EVENT_TIERING] = { "Object Access Tier Changed", NULL },
};

/* arn:partition:service:region:account:... */
static struct bytes arn_account(struct bytes arn)
{
    size_t start = 0, colons = 0;
    for (size_t i = 0; i < arn.len; i++) {
        if (arn.ptr[i] != ':')
            continue;
        if (++colons == 4)
            start = i + 1;
        else if (colons == 5)
            return bytes_of(arn.ptr + start, i - start);
    }
    return BYTES_EMPTY;
}

static void put_detail(struct json_out *j, const Kist__Event *e, const struct bridge_name *name)
{
    const Kist__Cause *cause = cause_of(e);
    enum event_kind kind = kind_of(e);
    jput_open(j, "detail", '{');
    jput_str(j, "version", "0");
    jput_open(j, "bucket", '{');
    jput_str(j, "name", e->bucket);
    jput_close(j, '}');
    jput_open(j, "object", '{');
    jput_bytes(j, "key", schema_bytes(e->key)); /* not encoded here */
    put_size(j, e);
    put_etag(j, "etag", e);
    put_version(j, "version-id", e);
    put_sequencer(j, "sequencer", e);
    jput_close(j, '}');
    jput_str(j, "request-id", cause->request_id);
    jput_str(j, "requester", or_itself(cause->principal));
    if (cause->source_ip[0])
        jput_str(j, "source-ip-address", cause->source_ip);
    if (name->reason)
        jput_str(j, "reason", name->reason);
    if (makes_marker(kind) || removes(kind))
        jput_str(j, "deletion-type",
                 removes(kind) ? "Permanently Deleted" : "Delete Marker Created");
    jput_close(j, '}');
}

enum kist_err event_render_bridge(const struct event_form *form, const Kist__Event *event,
                                  const char *id, struct buf *out)
{
    static const struct bridge_name other = { "Object Event", NULL };
    struct json_out j = { .buf = out };
    char when[TIME_ISO_LEN], arn[128];
    if (put_formless(&j, event))
        return j.err;
    const struct bridge_name *name =
        event->kind < EVENT_KIND_COUNT && bridge_names[event->kind].type
            ? &bridge_names[event->kind]
            : &other;
    time_iso(event->time_ms, when);
    memcpy(when + 19, "Z", 2); /* whole seconds */
    snprintf(arn, sizeof(arn), "arn:aws:s3:::%s", event->bucket);
    jput_open(&j, NULL, '{');
    jput_str(&j, "version", "0");
    jput_str(&j, "id", id);
    jput_str(&j, "detail-type", name->type);
    jput_str(&j, "source", "aws.s3");
    jput_bytes(&j, "account", arn_account(bytes_str(event->target)));
    jput_str(&j, "time", when);
    jput_str(&j, "region", form->region);
    jput_open(&j, "resources", '[');
    jput_str(&j, NULL, arn);
    jput_close(&j, ']');
    put_detail(&j, event, name);
    jput_close(&j, '}');
    return j.err;
}

/* ---- CloudEvents ---- */

/* Names after the specification's adapter for S3, but that the id is the event's, which stays
 * over retries.
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/adapters/aws-s3.md */
enum kist_err event_render_cloud(const struct event_form *form, const Kist__Event *event,
                                 const char *id, struct buf *out)
{
    struct json_out j = { .buf = out };
    const char *name = event_name(kind_of(event));
    char when[TIME_ISO_LEN], text[192];
    time_iso(event->time_ms, when);
    jput_open(&j, NULL, '{');
    jput_str(&j, "specversion", "1.0");
    jput_str(&j, "id", id);
    snprintf(text, sizeof(text), "aws:s3.%s.%s", form->region, event->bucket);
    jput_str(&j, "source", event->bucket[0] ? text : "kist");
    snprintf(text, sizeof(text), "com.amazonaws.s3.%s",
             name                        ? name
             : event->kind == EVENT_TEST ? "TestEvent"
                                         : "Invocation");
    jput_str(&j, "type", text);
    jput_str(&j, "time", when);
    jput_str(&j, "datacontenttype", "application/json");
    if (event->key.len)
        jput_bytes(&j, "subject", schema_bytes(event->key));
    if (cause_of(event)->trace[0])
        jput_str(&j, "traceparent", cause_of(event)->trace);
    if (name)
        put_sequencer(&j, "sequence", event);
    if (name) {
        put_record(&j, "data", form, event);
    } else {
        /* The name, then what put_formless() would write alone. */
        if (j.err == KIST_OK)
            j.err = buf_append_str(out, ",\"data\":");
        j.comma = false;
        (void)put_formless(&j, event);
    }
    jput_close(&j, '}');
    return j.err;
}
