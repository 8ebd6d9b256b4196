/* What the tests of events share: a store of one bucket, and the commands that change it. */
#ifndef KIST_TESTS_UNIT_STORAGE_OBJECT_EVENTS_FIXTURE_H
#define KIST_TESTS_UNIT_STORAGE_OBJECT_EVENTS_FIXTURE_H

#include "storage/index/rows.h"
#include "storage/object/store_internal.h"
#include "tests/unit/storage/object/store_fixture.h"

#define ALL_KINDS (~(uint64_t)0)

static char target[] = "arn:aws:sqs:r:123456789012:q";
static char other_target[] = "arn:aws:sqs:r:123456789012:other", rule_id[] = "rule";
static struct apply_result result; /* of the last command */

/* ---- commands ---- */

static Kist__Cause cause;

static inline enum kist_err commit(Kist__Command *command)
{
    bool done = false;
    struct store_op op;
    command->cause = &cause;
    store_op_init(&op, on_done, &done);
    store_submit(store, &op, command);
    return finish(&op, &done, &result);
}

static inline enum kist_err commit_body(Kist__Command *command, const char *body)
{
    struct object_writer *w = NULL;
    command->cause = &cause;
    ck_assert_int_eq(object_writer_open(store, strlen(body), 0, NULL, NULL, &w), KIST_OK);
    ck_assert_int_eq(object_writer_write(w, bytes_str(body)), KIST_OK);
    return commit_written(command, w, &result);
}

static inline ProtobufCBinaryData data_of(const char *text)
{
    return schema_data(bytes_str(text));
}

static inline enum kist_err put_if(const char *key, const char *body, bool must_not_exist)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Condition condition = KIST__CONDITION__INIT;
    condition.must_not_exist = must_not_exist;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    object.mtime_ms = 1;
    request.bucket = bucket_name;
    request.key = data_of(key);
    request.object = &object;
    request.condition = &condition;
    return commit_body(&command, body);
}

static inline enum kist_err put(const char *key, const char *body)
{
    return put_if(key, body, false);
}

/* An object whose row is as large as a header's value. body NULL: none. */
static inline enum kist_err put_header(const char *key, char *value, const char *body)
{
    static char name[] = "Content-Disposition";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Pair header = KIST__PAIR__INIT, *headers[] = { &header };
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    request.bucket = bucket_name;
    request.key = data_of(key);
    request.object = &object;
    object.mtime_ms = 1000;
    object.n_headers = 1;
    object.headers = headers;
    header.name = name;
    header.value = value;
    return body ? commit_body(&command, body) : store_commit(store, &command);
}

static inline enum kist_err append(const char *key, uint64_t offset, const char *body)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AppendObject request = KIST__APPEND_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Part part = KIST__PART__INIT;
    command.of_case = KIST__COMMAND__OF_APPEND_OBJECT;
    command.append_object = &request;
    request.bucket = bucket_name;
    request.key = data_of(key);
    request.offset = offset;
    request.part = &part;
    request.object = &object;
    request.mtime_ms = 1;
    return commit_body(&command, body);
}

/* n keys, of each this version; etags[i] NULL: no condition. */
static inline enum kist_err delete_many(size_t n, const char *const *names, uint64_t version,
                                        const char *const *etags)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteObjects request = KIST__DELETE_OBJECTS__INIT;
    Kist__DeleteKey one[4], *keys[4];
    Kist__Condition conditions[4];
    char *wanted[4];
    for (size_t i = 0; i < n; i++) {
        kist__delete_key__init(&one[i]);
        kist__condition__init(&conditions[i]);
        keys[i] = &one[i];
        one[i].key = data_of(names[i]);
        one[i].version = version;
        wanted[i] = etags ? mut(etags[i]) : NULL;
        conditions[i].n_etags = wanted[i] != NULL;
        conditions[i].etags = &wanted[i];
        one[i].condition = &conditions[i];
    }
    command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
    command.delete_objects = &request;
    request.bucket = bucket_name;
    request.n_keys = n;
    request.keys = keys;
    request.now_ms = 77;
    return commit(&command);
}

static inline enum kist_err delete_one(const char *key, uint64_t version)
{
    return delete_many(1, &key, version, NULL);
}

static inline enum kist_err copy_to(const char *from, uint64_t data_id, const char *to)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CopyObject request = KIST__COPY_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    command.of_case = KIST__COMMAND__OF_COPY_OBJECT;
    command.copy_object = &request;
    request.source_bucket = request.bucket = bucket_name;
    request.source_key = data_of(from);
    request.source_data_id = data_id;
    request.key = data_of(to);
    request.object = &object;
    object.mtime_ms = 1;
    return commit(&command);
}

static inline enum kist_err upload(const char *key, const char *body)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CreateUpload create = KIST__CREATE_UPLOAD__INIT;
    Kist__Upload u = KIST__UPLOAD__INIT;
    Kist__PutPart put_part = KIST__PUT_PART__INIT;
    Kist__Part part = KIST__PART__INIT;
    Kist__CompleteUpload complete = KIST__COMPLETE_UPLOAD__INIT;
    Kist__CompletePart one = KIST__COMPLETE_PART__INIT, *parts[] = { &one };
    uint8_t etag[16];
    u.nonce = data_of("12345678");
    u.bucket = put_part.bucket = complete.bucket = bucket_name;
    u.key = put_part.key = complete.key = data_of(key);
    create.upload = &u;
    command.of_case = KIST__COMMAND__OF_CREATE_UPLOAD;
    command.create_upload = &create;
    TRY(commit(&command));
    put_part.upload_id = complete.upload_id = result.index;
    put_part.nonce = complete.nonce = u.nonce;
    put_part.number = one.number = 1;
    put_part.part = &part;
    command.of_case = KIST__COMMAND__OF_PUT_PART;
    command.put_part = &put_part;
    TRY(commit_body(&command, body));
    memcpy(etag, result.etag, sizeof(etag));
    one.etag = schema_data(bytes_of(etag, sizeof(etag)));
    complete.n_parts = 1;
    complete.parts = parts;
    complete.mtime_ms = 1;
    command.of_case = KIST__COMMAND__OF_COMPLETE_UPLOAD;
    command.complete_upload = &complete;
    return commit(&command);
}

static inline enum kist_err rename_to(const char *from, const char *to)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__RenameObject request = KIST__RENAME_OBJECT__INIT;
    command.of_case = KIST__COMMAND__OF_RENAME_OBJECT;
    command.rename_object = &request;
    request.bucket = bucket_name;
    request.source_key = data_of(from);
    request.key = data_of(to);
    request.request = request.key;
    request.now_ms = 1;
    return commit(&command);
}

static inline enum kist_err tag(const char *key, size_t n)
{
    static char name[] = "k", value[] = "v";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObjectTags request = KIST__PUT_OBJECT_TAGS__INIT;
    Kist__Pair pair = KIST__PAIR__INIT, *pairs[] = { &pair };
    pair.name = name;
    pair.value = value;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT_TAGS;
    command.put_object_tags = &request;
    request.bucket = bucket_name;
    request.key = data_of(key);
    request.n_tags = n;
    request.tags = pairs;
    return commit(&command);
}

static inline enum kist_err put_acl(const char *key)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutAcl request = KIST__PUT_ACL__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_ACL;
    command.put_acl = &request;
    request.bucket = bucket_name;
    request.key = data_of(key);
    return commit(&command);
}

static inline void set_versioning(enum versioning versioning)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutVersioning request = KIST__PUT_VERSIONING__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_VERSIONING;
    command.put_versioning = &request;
    request.name = bucket_name;
    request.versioning = versioning;
    ck_assert_int_eq(commit(&command), KIST_OK);
}

static inline void set_config(enum bucket_config kind, Kist__Lifecycle *lifecycle, size_t n,
                              Kist__NotificationRule **rules)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutBucketConfig request = KIST__PUT_BUCKET_CONFIG__INIT;
    Kist__Notification notification = KIST__NOTIFICATION__INIT;
    command.of_case = KIST__COMMAND__OF_PUT_BUCKET_CONFIG;
    command.put_bucket_config = &request;
    request.name = bucket_name;
    request.kind = kind;
    request.document = schema_data(lifecycle || n ? BYTES_LIT("<x/>") : BYTES_EMPTY);
    request.lifecycle = lifecycle;
    notification.n_rules = n;
    notification.rules = rules;
    request.notification = n ? &notification : NULL;
    ck_assert_int_eq(commit(&command), KIST_OK);
}

static inline Kist__NotificationRule rule_of(char *to, uint64_t kinds, const char *prefix,
                                             const char *suffix)
{
    Kist__NotificationRule rule = KIST__NOTIFICATION_RULE__INIT;
    rule.id = rule_id;
    rule.kinds = kinds;
    rule.prefix = data_of(prefix);
    rule.suffix = data_of(suffix);
    rule.target = to;
    return rule;
}

static inline void one_rule(Kist__NotificationRule rule)
{
    Kist__NotificationRule *rules[] = { &rule };
    set_config(CONFIG_NOTIFICATION, NULL, 1, rules);
}

/* ---- damage ---- */

/* What a row holds from now on; NULL: it goes. A command that changes nothing lets it be seen. */
static inline void overwrite_bytes(struct bytes row, const struct bytes *value)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AddUsage nothing = KIST__ADD_USAGE__INIT;
    kv_write_lock(store->kv);
    if (value)
        kv_put(store->kv, row, *value);
    else
        kv_delete(store->kv, row);
    kv_write_unlock(store->kv);
    command.of_case = KIST__COMMAND__OF_ADD_USAGE;
    command.add_usage = &nothing;
    ck_assert_int_eq(store_commit(store, &command), KIST_OK);
}

static inline void overwrite(struct bytes row, const void *message)
{
    struct buf packed;
    buf_init(&packed, 1 << 20);
    if (message)
        ck_assert_int_eq(schema_pack(message, &packed), KIST_OK);
    struct bytes value = buf_bytes(&packed);
    overwrite_bytes(row, message ? &value : NULL);
    buf_release(&packed);
}

/* Makes a row unreadable; what it held, to be put back. In the arena. */
static inline struct bytes damage(struct bytes row)
{
    struct kv_read read;
    struct bytes value, broken = BYTES_LIT("\377\377\377\377");
    ck_assert_int_eq(kv_read_begin(store->kv, &read), KIST_OK);
    ck_assert_int_eq(kv_get(&read, row, &value), KIST_OK);
    struct bytes copy = arena_copy(&arena, value);
    kv_read_end(&read);
    overwrite_bytes(row, &broken);
    return copy;
}

#define NONCURRENT_MS 1000000 /* kept so long */

/* Whatever is current is old: a day is a millisecond. */
static inline void expire_at_once(void)
{
    static char id[] = "all";
    Kist__Lifecycle lifecycle = KIST__LIFECYCLE__INIT;
    Kist__LifecycleRule rule = KIST__LIFECYCLE_RULE__INIT, *rules[] = { &rule };
    rule.id = id;
    rule.days = 1;
    rule.noncurrent_days = NONCURRENT_MS;
    lifecycle.day_ms = 1;
    lifecycle.n_rules = 1;
    lifecycle.rules = rules;
    set_config(CONFIG_LIFECYCLE, &lifecycle, 0, NULL);
    ck_assert_int_eq(store_expire(store), KIST_OK);
    set_config(CONFIG_LIFECYCLE, NULL, 0, NULL);
}

#endif
