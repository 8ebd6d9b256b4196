/* The log's batches, as they are read from a damaged disk. */
#include <stdlib.h>

#include "storage/base/digest.h"
#include "storage/log/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum kist_err each(void *ctx, const struct log_entry *entry)
{
    uint32_t *sum = ctx;
    *sum += crc32c_update(0, entry->command.ptr, entry->command.len);
    *sum += crc32c_update(0, entry->body.ptr, entry->body.len);
    return KIST_OK;
}

/* Half of the inputs get a checksum that fits, or nothing would ever pass it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch_header h;
    uint64_t generation, nonce;
    uint32_t sum = 0;
    if (size < BATCH_HEADER_BYTES)
        return 0;
    uint8_t *batch = malloc(size);
    memcpy(batch, data, size);
    (void)!segment_peek(batch, &generation, &nonce);
    if (batch_peek(batch, size, 1, &h) == KIST_OK) {
        if (data[6] & 1) {
            put_u32(batch + 44, 0);
            put_u32(batch + 44, crc32c_update(0, batch, h.total_bytes));
        }
        if (batch_check(batch, &h) == KIST_OK)
            (void)!batch_each(batch, &h, each, &sum);
    }
    free(batch);
    return 0;
}
