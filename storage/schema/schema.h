/* Records on disk: packing and unpacking over arenas. The format is kist.proto. */
#ifndef KIST_STORAGE_SCHEMA_SCHEMA_H
#define KIST_STORAGE_SCHEMA_SCHEMA_H

#include "storage/base/bytes.h"
#include "storage/schema/kist.pb-c.h"

/* Unpacks into the arena: nothing is freed one by one. KIST_E_CORRUPT for bytes that are not
 * such a record, KIST_E_NOMEM when the arena is full. */
enum kist_err schema_unpack(const ProtobufCMessageDescriptor *type, struct bytes in,
                            struct arena *arena, void *out_message) MUST_CHECK;
/* Appends the packed message. */
enum kist_err schema_pack(const void *message, struct buf *out) MUST_CHECK;

static inline struct bytes schema_bytes(ProtobufCBinaryData d)
{
    return bytes_of(d.data, d.len);
}
/* Protobuf's structure has no const; the data is not written. */
ProtobufCBinaryData schema_data(struct bytes b);

#endif
