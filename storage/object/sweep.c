/* Packs: what a crash leaves, and space that goes back to the file system.
 *
 * Only packs named by the lanes file, or written to at replay, can hold bytes that nothing
 * refers to; the sweep walks those packs' extent rows and punches the gaps. Its cost is bounded
 * by a few packs, whatever the size of the store.
 */
#include "storage/object/store_internal.h"

/* Where the extent ends that has the greatest offset below `offset`, but not below `lowest`, in
 * the pack. KIST_E_NOT_FOUND. */
static enum kist_err last_before(struct kv_read *read, enum row_table table, uint32_t pack,
                                 uint64_t lowest, uint64_t offset, uint64_t *end)
{
    struct row_key key, floor;
    uint8_t found_buf[KV_KEY_MAX];
    struct bytes found, value;
    struct arena arena;
    uint32_t length = 0;
    row_extent(&key, table, pack, offset);
    row_extent(&floor, table, pack, lowest);
    TRY(kv_find_before(read, row_bytes(&key), row_bytes(&floor), found_buf, &found, &value));
    arena_init(&arena, 1 << 20);
    enum kist_err err;
    if (table == ROW_EXTENT) {
        Kist__ExtentOwner *owner = NULL;
        err = schema_unpack(&kist__extent_owner__descriptor, value, &arena, &owner);
        length = owner ? owner->length : 0;
    } else {
        Kist__Extent *freed = NULL;
        err = schema_unpack(&kist__extent__descriptor, value, &arena, &freed);
        length = freed ? freed->length : 0;
    }
    arena_release(&arena);
    if (err == KIST_OK)
        *end = row_read_u64(found.ptr + 5) + length;
    return err;
}

static enum kist_err pack_end(struct kv_read *read, uint32_t pack, uint64_t *end)
{
    uint64_t live = 0, freed = 0;
    enum kist_err err = last_before(read, ROW_EXTENT, pack, 0, UINT64_MAX, &live);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    err = last_before(read, ROW_FREED, pack, 0, UINT64_MAX, &freed);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    *end = live > freed ? live : freed;
    return KIST_OK;
}

enum kist_err sweep_resume_lanes(struct store *s)
{
    pack_replay_done(s->packs);
    for (unsigned lane = 0; lane < PACK_LANES; lane++) {
        struct kv_read read;
        uint64_t end = 0;
        uint32_t pack = pack_lane_pack(s->packs, lane);
        if (!pack)
            continue;
        TRY(kv_read_begin(s->kv, &read));
        enum kist_err err = pack_end(&read, pack, &end);
        kv_read_end(&read);
        TRY(err);
        TRY(pack_lane_resume(s->packs, lane, end));
        s->resumed[lane].pack = pack;
        s->resumed[lane].end = end;
    }
    return KIST_OK;
}

/* First row of the table at or after offset: its offset; UINT64_MAX when the pack has none. */
static enum kist_err first_from(struct kv_read *read, enum row_table table, uint32_t pack,
                                uint64_t offset, uint64_t *out)
{
    struct row_key key;
    struct kv_cursor *cursor;
    struct bytes found, value;
    row_extent(&key, table, pack, offset);
    TRY(kv_cursor_open(read, &cursor));
    enum kist_err err = kv_cursor_seek(cursor, row_bytes(&key), &found, &value);
    if (err == KIST_OK && found.len == key.len && memcmp(found.ptr, key.data, 5) == 0)
        *out = row_read_u64(found.ptr + 5);
    else
        *out = UINT64_MAX;
    kv_cursor_close(cursor);
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* Only bodies that rode in one batch share pages. Further back than they are long we need not
 * look for one that ends in ours: over the tombstones of all that died there. */
#define SHARERS_BYTES (2 * (uint64_t)SMALL_BODY_MAX)

/* Widens [start, end) to whole pages; of one that is shared with a live neighbour, nothing. */
static enum kist_err dead_pages(struct store *s, uint32_t pack, uint64_t start, uint64_t end,
                                uint64_t *low, uint64_t *high)
{
    uint64_t before = 0, after = UINT64_MAX;
    uint64_t floor = start > SHARERS_BYTES ? start - SHARERS_BYTES : 0;
    struct kv_read read;
    enum kist_err err = KIST_OK;
    *low = start & ~(PACK_ALIGN - 1);
    *high = (end + PACK_ALIGN - 1) & ~(PACK_ALIGN - 1);
    TRY(kv_read_begin(s->kv, &read));
    if (end != *high)
        err = first_from(&read, ROW_EXTENT, pack, end, &after);
    if (after < *high)
        *high -= PACK_ALIGN;
    if (err == KIST_OK && start != *low && *low < *high)
        err = last_before(&read, ROW_EXTENT, pack, floor, start, &before);
    kv_read_end(&read);
    if (before > *low)
        *low += PACK_ALIGN;
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

/* The write lock keeps a batch from being half applied here: rows of all extents that share our
 * pages are then either there or long gone. Where a neighbour lives we need not ask: if it is
 * dying just now, the pages are its own punch's, which finds us gone. */
enum kist_err sweep_punch(struct store *s, uint32_t pack, uint64_t start, uint64_t end)
{
    uint64_t low, high;
    TRY(dead_pages(s, pack, start, end, &low, &high));
    if (low >= high)
        return KIST_OK;
    kv_write_lock(s->kv);
    enum kist_err err = dead_pages(s, pack, start, end, &low, &high);
    kv_write_unlock(s->kv);
    TRY(err);
    return low < high ? pack_punch(s->packs, pack, low, high - low) : KIST_OK;
}

static enum kist_err holds_nothing(struct store *s, uint32_t pack, uint64_t offset, bool *nothing)
{
    uint64_t live = UINT64_MAX, freed = UINT64_MAX;
    struct kv_read read;
    TRY(kv_read_begin(s->kv, &read));
    enum kist_err err = first_from(&read, ROW_EXTENT, pack, offset, &live);
    if (err == KIST_OK && live == UINT64_MAX)
        err = first_from(&read, ROW_FREED, pack, offset, &freed);
    kv_read_end(&read);
    *nothing = live == UINT64_MAX && freed == UINT64_MAX;
    return err;
}

/* Most packs are not empty: that much shows without the lock, and behind `offset` without a walk
 * over what has just gone. */
enum kist_err sweep_remove_empty(struct store *s, uint32_t pack, uint64_t offset)
{
    bool empty;
    TRY(holds_nothing(s, pack, offset, &empty));
    if (empty && offset)
        TRY(holds_nothing(s, pack, 0, &empty));
    if (!empty)
        return KIST_OK;
    kv_write_lock(s->kv);
    enum kist_err err = holds_nothing(s, pack, 0, &empty);
    kv_write_unlock(s->kv);
    TRY(err);
    return empty ? pack_remove(s->packs, pack) : KIST_OK;
}

/* Punches what lies between live extents, below `limit`. */
static enum kist_err sweep_pack(struct store *s, uint32_t pack, uint64_t limit)
{
    uint64_t at = 0;
    while (at < limit && !s->stopping) {
        struct kv_read read;
        uint64_t next = UINT64_MAX, end = 0;
        TRY(kv_read_begin(s->kv, &read));
        enum kist_err err = first_from(&read, ROW_EXTENT, pack, at, &next);
        if (err == KIST_OK && next != UINT64_MAX)
            err = last_before(&read, ROW_EXTENT, pack, next, next + 1, &end);
        kv_read_end(&read);
        TRY(err);
        uint64_t gap_end = next < limit ? next : limit;
        if (gap_end > at && (gap_end & ~(PACK_ALIGN - 1)) > at)
            TRY(pack_punch(s->packs, pack, at, gap_end - at));
        if (next >= limit)
            break;
        at = end;
    }
    return sweep_remove_empty(s, pack, 0);
}

/* A pack that a lane goes on appending to is swept only below where it resumed. */
static uint64_t sweep_limit(struct store *s, uint32_t pack)
{
    for (unsigned lane = 0; lane < PACK_LANES; lane++)
        if (s->resumed[lane].pack == pack)
            return s->resumed[lane].end;
    return PACK_BYTES_MAX;
}

enum kist_err sweep_packs(struct store *s)
{
    for (size_t i = 0; i < pack_sweep_count(s->packs); i++) {
        uint32_t pack = pack_sweep_at(s->packs, i);
        TRY(sweep_pack(s, pack, sweep_limit(s, pack)));
    }
    return KIST_OK;
}
