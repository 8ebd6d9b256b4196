/* Stored records: the first byte chooses the kind; what unpacks must pack again. */
#include "storage/schema/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const kinds[] = {
        &kist__object__descriptor,  &kist__bucket__descriptor,  &kist__upload__descriptor,
        &kist__part__descriptor,    &kist__chunk__descriptor,   &kist__extent_owner__descriptor,
        &kist__garbage__descriptor, &kist__command__descriptor,
    };
    struct arena arena;
    struct buf packed;
    void *message = NULL;
    if (size == 0)
        return 0;
    arena_init(&arena, (size_t)4 << 20);
    buf_init(&packed, (size_t)16 << 20);
    const ProtobufCMessageDescriptor *kind = kinds[data[0] % ARRAY_LEN(kinds)];
    if (schema_unpack(kind, bytes_of(data + 1, size - 1), &arena, &message) == KIST_OK &&
        schema_pack(message, &packed) != KIST_OK)
        __builtin_trap();
    buf_release(&packed);
    arena_release(&arena);
    return 0;
}
