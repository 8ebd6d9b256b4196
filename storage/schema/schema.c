#include "storage/schema/schema.h"

static void *schema_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size ? size : 1);
}

static void schema_free(void *arena, void *ptr)
{
    (void)arena;
    (void)ptr;
}

enum kist_err schema_unpack(const ProtobufCMessageDescriptor *type, struct bytes in,
                            struct arena *arena, void *out_message)
{
    ProtobufCAllocator allocator = { schema_alloc, schema_free, arena };
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, in.len, in.ptr);
    if (!message)
        return KIST_E_CORRUPT;
    memcpy(out_message, &message, sizeof(message));
    return KIST_OK;
}

enum kist_err schema_pack(const void *message, struct buf *out)
{
    const ProtobufCMessage *m = message;
    size_t size = protobuf_c_message_get_packed_size(m);
    if (size == 0) /* all fields at their defaults */
        return KIST_OK;
    TRY(buf_reserve(out, size));
    out->len += protobuf_c_message_pack(m, out->ptr + out->len);
    return KIST_OK;
}

ProtobufCBinaryData schema_data(struct bytes b)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } cast = { .in = b.ptr };
    return (ProtobufCBinaryData){ .len = b.len, .data = cast.out };
}
