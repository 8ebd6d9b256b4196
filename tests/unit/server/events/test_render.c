/* Documents that targets get, character by character. */
#include <jansson.h>

#include "server/events/events.h"
#include "tests/lib/suite.h"

static char bucket[] = "photos", rule[] = "thumbs", principal[] = "AWS:AIDAEXAMPLE",
            address[] = "192.0.2.7", request[] = "0123456789ABCDEF",
            host[] = "aG9zdA==", target[] = "arn:aws:sqs:eu-north-1:123456789012:q",
            trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            owner[] = "a9f0aa3ab6bd4bbd6f7ba13b1c5a01ec4bb6b0c3a9f0aa3ab6bd4bbd6f7ba13b";
static const uint8_t md5[16] = { 0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04,
                                 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e };
static const struct event_form form = { "eu-north-1", 0 };
static Kist__Event event;
static Kist__Cause cause;
static struct buf out;
static json_t *json;

typedef enum kist_err render(const struct event_form *form, const Kist__Event *event,
                             const char *id, struct buf *out);

static void setup(void)
{
    kist__event__init(&event);
    kist__cause__init(&cause);
    event.kind = EVENT_CREATED_PUT;
    event.bucket = bucket;
    event.rule = rule;
    event.target = target;
    event.owner = owner;
    event.key = schema_data(BYTES_LIT("red flower.jpg"));
    event.size = 1024;
    event.etag = schema_data(bytes_of(md5, sizeof(md5)));
    event.sequencer = 0x55AED6DCD90281E5;
    event.time_ms = 1700000000123;
    event.cause = &cause;
    cause.request_id = request;
    cause.host_id = host;
    cause.principal = principal;
    cause.source_ip = address;
    buf_init(&out, 1 << 20);
    json = NULL;
}

static void teardown(void)
{
    json_decref(json);
    buf_release(&out);
}

static const char *text(void)
{
    ck_assert_int_eq(buf_append(&out, "", 1), KIST_OK);
    out.len--;
    return (const char *)out.ptr;
}

static void make(render *how)
{
    json_error_t error;
    buf_clear(&out);
    json_decref(json);
    ck_assert_int_eq(how(&form, &event, "0f0e0d0c-0b0a-8908-8706-050403020100", &out), KIST_OK);
    json = json_loadb((const char *)out.ptr, out.len, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(json != NULL, "%s: %s", error.text, text());
}

static const json_t *record(void)
{
    return json_array_get(json_object_get(json, "Records"), 0);
}

static const json_t *object(void)
{
    return json_object_get(json_object_get(record(), "s3"), "object");
}

static const char *at(const json_t *j, const char *name)
{
    const char *value = json_string_value(json_object_get(j, name));
    return value ? value : "(none)";
}

START_TEST(a_record)
{
    make(event_render_s3);
    ck_assert_str_eq(text(),
                     "{\"Records\":[{\"eventVersion\":\"2.1\",\"eventSource\":\"aws:s3\","
                     "\"awsRegion\":\"eu-north-1\",\"eventTime\":\"2023-11-14T22:13:20.123Z\","
                     "\"eventName\":\"ObjectCreated:Put\","
                     "\"userIdentity\":{\"principalId\":\"AWS:AIDAEXAMPLE\"},"
                     "\"requestParameters\":{\"sourceIPAddress\":\"192.0.2.7\"},"
                     "\"responseElements\":{\"x-amz-request-id\":\"0123456789ABCDEF\","
                     "\"x-amz-id-2\":\"aG9zdA==\"},"
                     "\"s3\":{\"s3SchemaVersion\":\"1.0\",\"configurationId\":\"thumbs\","
                     "\"bucket\":{\"name\":\"photos\",\"ownerIdentity\":{\"principalId\":"
                     "\"a9f0aa3ab6bd4bbd6f7ba13b1c5a01ec4bb6b0c3a9f0aa3ab6bd4bbd6f7ba13b\"},"
                     "\"arn\":\"arn:aws:s3:::photos\"},"
                     "\"object\":{\"key\":\"red+flower.jpg\",\"size\":1024,"
                     "\"eTag\":\"d41d8cd98f00b204e9800998ecf8427e\","
                     "\"sequencer\":\"0055AED6DCD90281E5\"}}}]}");
}
END_TEST

START_TEST(what_kinds_say)
{
    static const struct {
        enum event_kind kind;
        const char *name, *version;
        bool size, etag;
    } kinds[] = {
        { EVENT_CREATED_POST, "ObjectCreated:Post", "2.1", true, true },
        { EVENT_CREATED_COPY, "ObjectCreated:Copy", "2.1", true, true },
        { EVENT_CREATED_COMPLETE, "ObjectCreated:CompleteMultipartUpload", "2.1", true, true },
        { EVENT_REMOVED_DELETE, "ObjectRemoved:Delete", "2.1", false, false },
        { EVENT_REMOVED_MARKER, "ObjectRemoved:DeleteMarkerCreated", "2.1", false, true },
        { EVENT_TAGGING_PUT, "ObjectTagging:Put", "2.3", false, true },
        { EVENT_TAGGING_DELETE, "ObjectTagging:Delete", "2.3", false, true },
        { EVENT_ACL_PUT, "ObjectAcl:Put", "2.3", false, true },
        { EVENT_EXPIRED_DELETE, "LifecycleExpiration:Delete", "2.3", false, false },
        { EVENT_EXPIRED_MARKER, "LifecycleExpiration:DeleteMarkerCreated", "2.3", false, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        event.kind = kinds[i].kind;
        make(event_render_s3);
        ck_assert_str_eq(at(record(), "eventName"), kinds[i].name);
        ck_assert_str_eq(at(record(), "eventVersion"), kinds[i].version);
        ck_assert_int_eq(json_object_get(object(), "size") != NULL, kinds[i].size);
        ck_assert_int_eq(json_object_get(object(), "eTag") != NULL, kinds[i].etag);
        ck_assert_str_eq(at(object(), "sequencer"), "0055AED6DCD90281E5");
    }
}
END_TEST

START_TEST(versions_and_parts)
{
    char version[VERSION_TEXT_LEN + 1];
    uint64_t back = 0;
    event.versioned = true;
    event.version = 4711;
    event.part_count = 12;
    make(event_render_s3);
    version_text(4711, version);
    ck_assert_str_eq(at(object(), "versionId"), version);
    ck_assert(version_parse(bytes_str(version), &back));
    ck_assert_uint_eq(back, 4711);
    ck_assert_str_eq(at(object(), "eTag"), "d41d8cd98f00b204e9800998ecf8427e-12");
}
END_TEST

START_TEST(keys_are_form_encoded)
{
    event.key = schema_data(BYTES_LIT("a/b c+d%\"\\\n\xc3\xa9~*.-_"));
    make(event_render_s3);
    ck_assert_str_eq(at(object(), "key"), "a/b+c%2Bd%25%22%5C%0A%C3%A9%7E*.-_");
}
END_TEST

START_TEST(the_longest_key_fits)
{
    static char key[1024];
    memset(key, '%', sizeof(key));
    event.key = schema_data(bytes_of(key, sizeof(key)));
    make(event_render_s3);
    ck_assert_uint_eq(strlen(at(object(), "key")), 3 * sizeof(key));
}
END_TEST

START_TEST(lifecycle_is_s3_itself)
{
    event.kind = EVENT_EXPIRED_DELETE;
    event.cause = NULL;
    make(event_render_s3);
    ck_assert_str_eq(at(json_object_get(record(), "userIdentity"), "principalId"),
                     "s3.amazonaws.com");
}
END_TEST

START_TEST(the_test_event)
{
    event.kind = EVENT_TEST;
    make(event_render_s3);
    ck_assert_str_eq(text(), "{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\","
                             "\"Time\":\"2023-11-14T22:13:20.123Z\",\"Bucket\":\"photos\","
                             "\"RequestId\":\"0123456789ABCDEF\",\"HostId\":\"aG9zdA==\"}");
}
END_TEST

START_TEST(an_invocation_is_its_payload)
{
    event.kind = EVENT_INVOCATION;
    event.payload = schema_data(BYTES_LIT("{\"n\": [1, 2]}"));
    make(event_render_s3);
    ck_assert_str_eq(text(), "{\"n\": [1, 2]}");
    make(event_render_bridge);
    ck_assert_str_eq(text(), "{\"n\": [1, 2]}");
    make(event_render_cloud);
    ck_assert_int_eq((int)json_array_size(json_object_get(json_object_get(json, "data"), "n")),
                     2);
}
END_TEST

START_TEST(event_bridge)
{
    event.key = schema_data(BYTES_LIT("a \"quoted\"\x01 \xc3\xa9\xff"));
    make(event_render_bridge);
    const json_t *detail = json_object_get(json, "detail");
    ck_assert_str_eq(at(json, "detail-type"), "Object Created");
    ck_assert_str_eq(at(json, "source"), "aws.s3");
    ck_assert_str_eq(at(json, "account"), "123456789012");
    ck_assert_str_eq(at(json, "time"), "2023-11-14T22:13:20Z");
    ck_assert_str_eq(at(detail, "reason"), "PutObject");
    ck_assert_str_eq(at(json_object_get(detail, "object"), "key"),
                     "a \"quoted\"\x01 \xc3\xa9\xef\xbf\xbd");
    event.kind = EVENT_REMOVED_MARKER;
    make(event_render_bridge);
    detail = json_object_get(json, "detail");
    ck_assert_str_eq(at(json, "detail-type"), "Object Deleted");
    ck_assert_str_eq(at(detail, "deletion-type"), "Delete Marker Created");
}
END_TEST

START_TEST(cloud_events)
{
    cause.trace = trace;
    make(event_render_cloud);
    ck_assert_str_eq(at(json, "specversion"), "1.0");
    ck_assert_str_eq(at(json, "id"), "0f0e0d0c-0b0a-8908-8706-050403020100");
    ck_assert_str_eq(at(json, "source"), "aws:s3.eu-north-1.photos");
    ck_assert_str_eq(at(json, "type"), "com.amazonaws.s3.ObjectCreated:Put");
    ck_assert_str_eq(at(json, "subject"), "red flower.jpg");
    ck_assert_str_eq(at(json, "traceparent"), trace);
    ck_assert_str_eq(at(json_object_get(json, "data"), "eventName"), "ObjectCreated:Put");
    event.kind = EVENT_TEST;
    make(event_render_cloud);
    ck_assert_str_eq(at(json_object_get(json, "data"), "Event"), "s3:TestEvent");
}
END_TEST

START_TEST(the_ceiling_is_told)
{
    struct buf small;
    buf_init(&small, 100);
    ck_assert_int_eq(event_render_s3(&form, &event, "id", &small), KIST_E_TOO_LARGE);
    buf_release(&small);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("render");
    TCase *c = tcase_create("render");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, a_record);
    tcase_add_test(c, what_kinds_say);
    tcase_add_test(c, versions_and_parts);
    tcase_add_test(c, keys_are_form_encoded);
    tcase_add_test(c, the_longest_key_fits);
    tcase_add_test(c, lifecycle_is_s3_itself);
    tcase_add_test(c, the_test_event);
    tcase_add_test(c, an_invocation_is_its_payload);
    tcase_add_test(c, event_bridge);
    tcase_add_test(c, cloud_events);
    tcase_add_test(c, the_ceiling_is_told);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
