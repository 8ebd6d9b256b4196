#include "storage/schema/json.h"

#include <inttypes.h>

/* ---- strings ---- */

static bool is_text(struct bytes s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < ' ' || s.ptr[i] == 0x7F)
            return false;
    return bytes_is_utf8(s);
}

static enum kist_err json_hex(struct buf *out, struct bytes s)
{
    TRY(buf_append_str(out, "{\"hex\":\""));
    for (size_t i = 0; i < s.len; i++)
        TRY(buf_printf(out, "%02x", s.ptr[i]));
    return buf_append_str(out, "\"}");
}

enum kist_err schema_json_bytes(struct buf *out, struct bytes s)
{
    if (!is_text(s))
        return json_hex(out, s);
    TRY(buf_append_str(out, "\""));
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"' || s.ptr[i] == '\\')
            TRY(buf_append_str(out, "\\"));
        TRY(buf_append(out, &s.ptr[i], 1));
    }
    return buf_append_str(out, "\"");
}

/* Documents may have line ends, which one line of JSON may not. */
static enum kist_err json_string(struct buf *out, const char *s)
{
    if (!bytes_is_utf8(bytes_str(s)))
        return json_hex(out, bytes_str(s));
    TRY(buf_append_str(out, "\""));
    for (; *s; s++) {
        uint8_t c = (uint8_t)*s;
        if (c < ' ' || c == 0x7F)
            TRY(buf_printf(out, "\\u%04x", c));
        else if (c == '"' || c == '\\')
            TRY(buf_printf(out, "\\%c", c));
        else
            TRY(buf_append(out, &c, 1));
    }
    return buf_append_str(out, "\"");
}

/* ---- fields ---- */

static bool is_secret(const char *name)
{
    static const char *const names[] = { "secret", "wrapped_key", "nonce", "password" };
    /* Bodies of records are messages of their own, with secrets in them; users keep theirs in
     * functions' environments. */
    if (strcmp(name, "body") == 0 || strcmp(name, "environment") == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strstr(name, names[i]))
            return true;
    return false;
}

static size_t size_of(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

union scalar {
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    protobuf_c_boolean boolean;
    float f;
    double d;
    const char *string;
    const ProtobufCMessage *message;
    ProtobufCBinaryData bytes;
};

static union scalar load(const ProtobufCFieldDescriptor *f, const uint8_t *at)
{
    union scalar v = { .u64 = 0 };
    memcpy(&v, at, size_of(f));
    return v;
}

static bool is_default(const ProtobufCFieldDescriptor *f, const union scalar *v)
{
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return !v->string || !v->string[0];
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return !v->message;
    return f->type == PROTOBUF_C_TYPE_BYTES ? v->bytes.len == 0 : v->u64 == 0;
}

static enum kist_err json_scalar(struct buf *out, const ProtobufCFieldDescriptor *f,
                                 const union scalar *v)
{
    if (is_secret(f->name))
        return buf_append_str(out, "\"(hidden)\"");
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return json_string(out, v->string ? v->string : "");
    case PROTOBUF_C_TYPE_BYTES:
        return schema_json_bytes(out, schema_bytes(v->bytes));
    case PROTOBUF_C_TYPE_MESSAGE:
        return schema_json(out, v->message);
    case PROTOBUF_C_TYPE_BOOL:
        return buf_append_str(out, v->boolean ? "true" : "false");
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return buf_printf(out, "%" PRId64, v->i64);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return buf_printf(out, "%" PRIu64, v->u64);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return buf_printf(out, "%" PRIu32, v->u32);
    case PROTOBUF_C_TYPE_DOUBLE:
        return buf_printf(out, "%.17g", v->d);
    case PROTOBUF_C_TYPE_FLOAT:
        return buf_printf(out, "%.9g", (double)v->f);
    default:
        return buf_printf(out, "%" PRId32, v->i32);
    }
}

static enum kist_err json_list(struct buf *out, const ProtobufCFieldDescriptor *f,
                               const uint8_t *list, size_t count)
{
    TRY(buf_append_str(out, "["));
    for (size_t i = 0; i < count; i++) {
        union scalar v = load(f, list + i * size_of(f));
        if (i)
            TRY(buf_append_str(out, ","));
        TRY(json_scalar(out, f, &v));
    }
    return buf_append_str(out, "]");
}

/* Of a oneof, only the one that is there. */
static bool is_absent(const ProtobufCFieldDescriptor *f, const uint8_t *base)
{
    uint32_t which;
    if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return false;
    memcpy(&which, base + f->quantifier_offset, sizeof(which));
    return which != f->id;
}

static enum kist_err json_field(struct buf *out, const ProtobufCFieldDescriptor *f,
                                const uint8_t *base, bool *first)
{
    union scalar v = { .u64 = 0 };
    const uint8_t *list = NULL;
    size_t count = 0;
    bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
    if (repeated) {
        memcpy(&count, base + f->quantifier_offset, sizeof(count));
        memcpy(&list, base + f->offset, sizeof(list));
        if (!count)
            return KIST_OK;
    } else {
        if (is_absent(f, base))
            return KIST_OK;
        v = load(f, base + f->offset);
        if (is_default(f, &v))
            return KIST_OK;
    }
    TRY(buf_printf(out, "%s\"%s\":", *first ? "" : ",", f->name));
    *first = false;
    return repeated ? json_list(out, f, list, count) : json_scalar(out, f, &v);
}

enum kist_err schema_json(struct buf *out, const void *message)
{
    const ProtobufCMessage *m = message;
    const ProtobufCMessageDescriptor *d = m->descriptor;
    bool first = true;
    TRY(buf_append_str(out, "{"));
    for (unsigned i = 0; i < d->n_fields; i++)
        TRY(json_field(out, &d->fields[i], message, &first));
    return buf_append_str(out, "}");
}
