#include "storage/object/store_internal.h"

#include "storage/base/trace.h"

enum kist_err extent_read_block(struct store *s, const Kist__Extent *e, uint32_t at, uint8_t *buf,
                                bool cached_only, uint32_t *block_bytes)
{
    uint32_t block = at / PACK_BLOCK_BYTES;
    uint32_t start = block * PACK_BLOCK_BYTES;
    uint32_t len = e->length - start < PACK_BLOCK_BYTES ? e->length - start : PACK_BLOCK_BYTES;
    if (at >= e->length || block >= e->n_crcs)
        return KIST_E_CORRUPT;
    enum kist_err err = pack_read(s->packs, e->pack, e->offset + start, buf, len, cached_only);
    if (err == KIST_OK && crc32c_update(0, buf, len) != e->crcs[block])
        err = KIST_E_CORRUPT;
    if (err == KIST_E_CORRUPT) {
        s->reads_damaged++;
        TRACE(TRACE_ERROR, "chunk", "damaged block in pack %08x at %llu", e->pack,
              (unsigned long long)(e->offset + start));
    }
    if (err == KIST_OK)
        *block_bytes = len;
    return err;
}
