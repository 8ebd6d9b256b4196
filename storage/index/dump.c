#include "storage/index/dump.h"

#include <inttypes.h>

#include "storage/index/apply.h"
#include "storage/index/rows.h"
#include "storage/schema/json.h"

#define DUMP_ARENA_MAX ((size_t)64 << 20)

/* How keys are made up (rows.h), behind the letter of the table:
 *   1, 4, 8  integers of so many bytes    ~  the same as 8, inverted
 *   k        an S3 key and its NUL        z  text and its NUL
 *   a        an account's 12 digits       c  a canonical id's 64
 *   h        16 bytes
 *   s        text up to the end           x  bytes up to the end */
static const struct table {
    char letter, second; /* second 0: none */
    const char *name, *parts;
    const char *fields[5];
    const ProtobufCMessageDescriptor *type; /* NULL: nothing */
} tables[] = {
    { 'B', 0, "bucket", "s", { "name" }, &kist__bucket__descriptor },
    { 'S', 0, "stats", "8", { "bucket" }, &kist__bucket_stats__descriptor },
    { 'K', 0, "config", "84", { "bucket", "kind" }, &kist__bucket_config__descriptor },
    { 'I', 0, "iam", "1s", { "kind", "name" }, &kist__iam_entity__descriptor },
    { 'A', 'b', "bucket_of", "cs", { "account", "bucket" }, &kist__account__descriptor },
    { 'A', 'c', "account_by_id", "s", { "canonical" }, &kist__account__descriptor },
    { 'A', 'f', "first_account", "", { NULL }, &kist__account__descriptor },
    { 'A', 'n', "account_by_name", "s", { "name" }, &kist__account__descriptor },
    { 'A', 0, "account", "s", { "id" }, &kist__account__descriptor },
    { 'O', 0, "object", "8k", { "bucket", "key" }, &kist__object__descriptor },
    { 'V', 0, "version", "8k~", { "bucket", "key", "data" }, &kist__object__descriptor },
    { 'N', 0, "null_version", "8k", { "bucket", "key" }, &kist__null_version__descriptor },
    { 'U', 0, "upload", "8k8", { "bucket", "key", "upload" }, &kist__upload__descriptor },
    { 'D',
      0,
      "due",
      "88k81",
      { "time_ms", "bucket", "key", "id", "kind" },
      &kist__due__descriptor },
    { 'L', 0, "backfill", "8", { "bucket" }, &kist__backfill__descriptor },
    { 'P', 0, "part", "84", { "data", "number" }, &kist__part__descriptor },
    { 'M', 0, "manifest", "8", { "data" }, &kist__manifest_refs__descriptor },
    { 'C', 0, "chunk", "x", { "sha256" }, &kist__chunk__descriptor },
    { 'E', 0, "extent", "48", { "pack", "offset" }, &kist__extent_owner__descriptor },
    { 'F', 0, "freed", "48", { "pack", "offset" }, &kist__extent__descriptor },
    { 'X', 'k', "rename_token", "8s", { "bucket", "token" }, &kist__rename_token__descriptor },
    { 'X', 't', "token_age", "88s", { "time_ms", "bucket", "token" }, NULL },
    { 'G', 0, "garbage", "84", { "index", "counter" }, &kist__garbage__descriptor },
    { 'Q', 'q', "queue", "8", { "queue" }, &kist__event_queue__descriptor },
    { 'Q',
      'e',
      "event",
      "8884",
      { "queue", "due_ms", "index", "counter" },
      &kist__event__descriptor },
    { 'R', 0, "record", "1zs", { "kind", "account", "name" }, &kist__record__descriptor },
    { 'T', 's', "span", "h84", { "trace", "index", "counter" }, &kist__span__descriptor },
    { 'T', 'a', "trace_age", "8h", { "time_ms", "trace" }, NULL },
    { 'Y', 'b', "usage_of_bucket", "8", { "bucket" }, &kist__usage__descriptor },
    { 'Y',
      'd',
      "usage_of_day",
      "4zz8",
      { "day", "account", "who", "bucket" },
      &kist__usage__descriptor },
    { 'Y', 'f', "usage_of_function", "zs", { "account", "function" }, &kist__usage__descriptor },
    { 'Y', 'p', "usage_of", "zs", { "account", "who" }, &kist__usage__descriptor },
};

static const struct table *table_of(struct bytes key)
{
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        if (key.len && key.ptr[0] == (uint8_t)tables[i].letter &&
            (!tables[i].second || (key.len > 1 && key.ptr[1] == (uint8_t)tables[i].second)))
            return &tables[i];
    return NULL;
}

/* The part's bytes, taken off the key. KIST_E_CORRUPT: it is too short. */
static enum kist_err take(struct bytes *key, char part, struct bytes *out)
{
    size_t len = key->len, skip = 0;
    switch (part) {
    case '1':
    case '4':
    case '8':
        len = (size_t)(part - '0');
        break;
    case '~':
        len = 8;
        break;
    case 'a':
        len = 12;
        break;
    case 'c':
        len = 64;
        break;
    case 'h':
        len = 16;
        break;
    case 'k':
    case 'z':
        len = bytes_find(*key, bytes_of("", 1), 0);
        skip = 1;
        break;
    default:
        break;
    }
    if (len > key->len)
        return KIST_E_CORRUPT;
    *out = bytes_of(key->ptr, len);
    *key = bytes_of(key->ptr + len + skip, key->len - len - skip);
    return KIST_OK;
}

static enum kist_err show_part(struct buf *out, char part, struct bytes value)
{
    uint64_t number = 0;
    if (!strchr("148~", part))
        return schema_json_bytes(out, value);
    for (size_t i = 0; i < value.len; i++)
        number = number << 8 | value.ptr[i];
    return buf_printf(out, "%" PRIu64, part == '~' ? ~number : number);
}

/* Entities of accounts that are not the first have a bit set, and the account before the name. */
static const char *parts_of(const struct table *t, struct bytes key, const char *const **fields)
{
    static const char *const of_account[] = { "kind", "account", "name" };
    *fields = t->fields;
    if (t->letter != 'I' || key.len < 2 || !(key.ptr[1] & 0x80))
        return t->parts;
    *fields = of_account;
    return "1as";
}

static enum kist_err show_key(struct buf *out, const struct table *t, struct bytes key)
{
    const char *const *fields;
    const char *parts = parts_of(t, key, &fields);
    size_t head = t->second ? 2 : 1;
    key = bytes_of(key.ptr + head, key.len - head);
    for (size_t i = 0; parts[i]; i++) {
        struct bytes part;
        if (take(&key, parts[i], &part) != KIST_OK)
            return buf_append_str(out, ",\"damaged\":\"key\"");
        TRY(buf_printf(out, ",\"%s\":", fields[i]));
        TRY(show_part(out, parts[i], part));
    }
    return key.len ? buf_append_str(out, ",\"damaged\":\"key\"") : KIST_OK;
}

static enum kist_err show_value(struct buf *out, const ProtobufCMessageDescriptor *type,
                                const char *name, struct bytes value)
{
    struct arena arena;
    void *message = NULL;
    arena_init(&arena, DUMP_ARENA_MAX);
    enum kist_err err = schema_unpack(type, value, &arena, &message);
    if (err == KIST_OK) {
        err = buf_printf(out, ",\"%s\":", name);
        if (err == KIST_OK)
            err = schema_json(out, message);
    } else {
        err = buf_printf(out, ",\"damaged\":\"%s\",\"bytes\":%zu", name, value.len);
    }
    arena_release(&arena);
    return err;
}

/* What a record holds, by its kind. */
static const ProtobufCMessageDescriptor *body_of(struct bytes key)
{
    static const ProtobufCMessageDescriptor *const bodies[RECORD_KIND_END] = {
        [RECORD_FUNCTION] = &kist__function__descriptor,
        [RECORD_FUNCTION_VERSION] = &kist__function__descriptor,
        [RECORD_FUNCTION_ALIAS] = &kist__function_alias__descriptor,
        [RECORD_FUNCTION_URL] = &kist__function_url__descriptor,
        [RECORD_LAYER_VERSION] = &kist__function_layer__descriptor,
        [RECORD_EVENT_TARGET] = &kist__event_target__descriptor,
        [RECORD_SCHEDULE] = &kist__schedule__descriptor,
        [RECORD_SCHEDULE_TURN] = &kist__schedule_turn__descriptor,
    };
    return key.len > 1 && key.ptr[1] < RECORD_KIND_END ? bodies[key.ptr[1]] : NULL;
}

static enum kist_err show_record(struct buf *out, struct bytes key, struct bytes value)
{
    struct arena arena;
    Kist__Record *record = NULL;
    const ProtobufCMessageDescriptor *type = body_of(key);
    if (!type)
        return KIST_OK;
    arena_init(&arena, DUMP_ARENA_MAX);
    enum kist_err err = schema_unpack(&kist__record__descriptor, value, &arena, &record);
    if (err == KIST_OK)
        err = show_value(out, type, "body", schema_bytes(record->body));
    arena_release(&arena);
    return err == KIST_E_CORRUPT ? KIST_OK : err; /* which show_value() has said */
}

enum kist_err dump_row(struct buf *out, struct bytes key, struct bytes value)
{
    const struct table *t = table_of(key);
    if (!t) {
        TRY(buf_append_str(out, "{\"row\":\"(unknown)\",\"key\":"));
        TRY(schema_json_bytes(out, key));
        return buf_printf(out, ",\"bytes\":%zu}", value.len);
    }
    TRY(buf_printf(out, "{\"row\":\"%s\"", t->name));
    TRY(show_key(out, t, key));
    if (t->type)
        TRY(show_value(out, t->type, "value", value));
    if (t->letter == ROW_RECORD)
        TRY(show_record(out, key, value));
    return buf_append_str(out, "}");
}

enum kist_err dump_command(struct buf *out, uint64_t index, struct bytes command,
                           uint64_t body_bytes)
{
    TRY(buf_printf(out, "{\"log\":%" PRIu64, index));
    if (body_bytes)
        TRY(buf_printf(out, ",\"body\":%" PRIu64, body_bytes));
    TRY(show_value(out, &kist__command__descriptor, "command", command));
    return buf_append_str(out, "}");
}
