#include "storage/log/format.h"

#include "storage/base/digest.h"

#define BATCH_MAGIC 0x5441424BU /* "KBAT" */

void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void put_u64(uint8_t *p, uint64_t v)
{
    put_u32(p, (uint32_t)v);
    put_u32(p + 4, (uint32_t)(v >> 32));
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get_u64(const uint8_t *p)
{
    return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

void batch_seal(uint8_t *b, const struct batch_header *h)
{
    memset(b, 0, BATCH_HEADER_BYTES);
    put_u32(b, BATCH_MAGIC);
    b[4] = LOG_REVISION;
    put_u64(b + 8, h->generation);
    put_u64(b + 16, h->first_index);
    put_u32(b + 24, h->commands);
    put_u32(b + 28, h->total_bytes);
    put_u32(b + 32, h->bodies_at);
    put_u32(b + 36, h->bodies_bytes);
    put_u32(b + 40, h->pack);
    put_u64(b + 48, h->pack_offset);
    put_u64(b + 56, h->nonce);
    put_u32(b + 44, crc32c_update(0, b, h->total_bytes));
}

enum kist_err batch_peek(const uint8_t *b, size_t max, uint64_t generation,
                         struct batch_header *out)
{
    if (max < BATCH_HEADER_BYTES || get_u32(b) != BATCH_MAGIC || get_u64(b + 8) != generation)
        return KIST_E_NOT_FOUND;
    if (b[4] > LOG_REVISION || b[5])
        return KIST_E_NEWER_FORMAT;
    struct batch_header h = { .generation = generation,
                              .first_index = get_u64(b + 16),
                              .commands = get_u32(b + 24),
                              .total_bytes = get_u32(b + 28),
                              .bodies_at = get_u32(b + 32),
                              .bodies_bytes = get_u32(b + 36),
                              .pack = get_u32(b + 40),
                              .pack_offset = get_u64(b + 48),
                              .nonce = get_u64(b + 56) };
    if (h.total_bytes > max || h.bodies_at < BATCH_HEADER_BYTES || h.bodies_at > h.total_bytes ||
        h.bodies_bytes != h.total_bytes - h.bodies_at || h.commands == 0)
        return KIST_E_CORRUPT;
    *out = h;
    return KIST_OK;
}

enum kist_err batch_check(uint8_t *b, const struct batch_header *h)
{
    uint32_t stored = get_u32(b + 44);
    put_u32(b + 44, 0);
    uint32_t found = crc32c_update(0, b, h->total_bytes);
    put_u32(b + 44, stored);
    return found == stored ? KIST_OK : KIST_E_CORRUPT;
}

enum kist_err batch_each(const uint8_t *b, const struct batch_header *h,
                         enum kist_err (*each)(void *ctx, const struct log_entry *entry),
                         void *ctx)
{
    size_t at = BATCH_HEADER_BYTES, body_at = 0;
    for (uint32_t i = 0; i < h->commands; i++) {
        if (h->bodies_at - at < COMMAND_HEADER_BYTES)
            return KIST_E_CORRUPT;
        uint32_t command = get_u32(b + at), body = get_u32(b + at + 4);
        at += COMMAND_HEADER_BYTES;
        if (command > h->bodies_at - at || body > h->bodies_bytes - body_at)
            return KIST_E_CORRUPT;
        struct log_entry entry = { .index = h->first_index + i,
                                   .command = bytes_of(b + at, command),
                                   .body = bytes_of(b + h->bodies_at + body_at, body),
                                   .pack = h->pack,
                                   .offset = h->pack_offset + body_at };
        TRY(each(ctx, &entry));
        at += command;
        body_at += body;
    }
    return KIST_OK;
}

void segment_seal(uint8_t b[SEGMENT_SEAL_BYTES], uint64_t generation, uint64_t nonce)
{
    memset(b, 0, 24);
    memcpy(b, "KISTSEG1", 8);
    put_u32(b + 8, LOG_REVISION);
    put_u64(b + 16, generation);
    put_u32(b + 12, crc32c_update(0, b, 24));
    put_u64(b + 24, nonce);
}

enum kist_err segment_peek(const uint8_t b[SEGMENT_SEAL_BYTES], uint64_t *generation,
                           uint64_t *nonce)
{
    uint8_t copy[24];
    memcpy(copy, b, sizeof(copy));
    put_u32(copy + 12, 0);
    if (memcmp(b, "KISTSEG1", 8) != 0 || crc32c_update(0, copy, 24) != get_u32(b + 12))
        return KIST_E_NOT_FOUND;
    if (get_u32(b + 8) > LOG_REVISION)
        return KIST_E_NEWER_FORMAT;
    *generation = get_u64(b + 16);
    *nonce = get_u64(b + 24);
    return KIST_OK;
}
