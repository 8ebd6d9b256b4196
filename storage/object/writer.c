/* Bytes on their way in.
 *
 *   small:  pieces --> buffer (from the budget) ------------------------> rides in the log
 *   large:  pieces --> pack, chunk by chunk of CHUNK_BYTES, hashed as they pass; nothing is
 *           kept in memory but the chunk list. An unknown length starts small and spills.
 *           They pass through aside.c, which hashes and writes them elsewhere, where the length
 *           is known and memory allows.
 *   sealed: the same, but what goes to the log or the pack is encrypted block by block, and a
 *           chunk's address is the hash of that; the body's digests are of the plaintext.
 *
 * Failure: object_writer_abort() punches what was reserved; after a crash the sweep does.
 */
#include "storage/object/store_internal.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>

struct object_writer {
    struct store *store;
    uint64_t length; /* announced; UINT64_MAX: unknown */
    uint64_t size;   /* so far */
    struct digest_set whole;
    struct aside *aside; /* has the MD5, and stores what is not sealed; NULL: all is done here */
    uint8_t finals[DIGEST_KIND_COUNT][DIGEST_MAX_LEN];
    unsigned finals_done;
    /* small */
    struct buf body;
    size_t budgeted_bytes;
    /* large */
    bool large;
    unsigned lane;
    struct digest_set chunk_hash; /* of chunks that `whole` cannot speak for */
    struct buf chunks;            /* struct writer_chunk: sealed ones */
    struct buf held;              /* uint32_t: packs */
    bool open;                    /* current is being filled */
    struct writer_chunk current;
    uint32_t current_max; /* as far as is known */
    enum { HASH_HERE, HASH_WHOLE, HASH_ASIDE } current_hash;
    uint64_t stored; /* bytes in packs */
    /* sealed */
    struct sealer *sealer; /* NULL: not */
    uint64_t block;        /* that is open, or comes next */
    uint32_t block_filled; /* its plaintext so far; 0: not begun */
    bool hide_etag;
    bool keep; /* the extents, when it is freed */
    uint8_t key[SEAL_KEY_BYTES];
};

#define SEALED_PAYLOAD (PACK_BLOCK_BYTES - SEAL_TAG_BYTES)

enum kist_err object_writer_open(struct store *s, uint64_t length, unsigned digests,
                                 void (*wake)(void *user), void *user, struct object_writer **out)
{
    bool small = length == UINT64_MAX || length <= SMALL_BODY_MAX;
    size_t budgeted = length > SMALL_BODY_MAX ? (small ? SMALL_BODY_MAX : 0) : (size_t)length;
    TRY(store_admit(s, length == UINT64_MAX ? 0 : length));
    TRY(budget_take(&s->budget, budgeted, wake, user));
    struct object_writer *w = calloc(1, sizeof(*w));
    enum kist_err err =
        w ? digest_set_init(&w->whole, digests | DIGEST_BIT(DIGEST_MD5)) : KIST_E_NOMEM;
    if (err != KIST_OK) {
        free(w);
        budget_give(&s->budget, budgeted);
        return err;
    }
    w->store = s;
    w->length = length;
    w->budgeted_bytes = budgeted;
    buf_init(&w->body, SMALL_BODY_MAX + SEAL_TAG_BYTES);
    buf_init(&w->chunks, SIZE_MAX);
    buf_init(&w->held, SIZE_MAX);
    *out = w;
    return KIST_OK;
}

enum kist_err object_writer_seal(struct object_writer *w, const uint8_t key[SEAL_KEY_BYTES],
                                 bool hide_etag)
{
    assert(w->size == 0 && !w->sealer);
    TRY(sealer_open(key, &w->sealer));
    memcpy(w->key, key, SEAL_KEY_BYTES);
    w->hide_etag = hide_etag;
    return KIST_OK;
}

static void budget_return(struct object_writer *w)
{
    size_t bytes = w->budgeted_bytes;
    w->budgeted_bytes = 0;
    buf_release(&w->body);
    if (bytes)
        budget_give(&w->store->budget, bytes);
}

/* Each reservation holds its pack; one hold is kept for all that follow each other. */
static enum kist_err keep_hold(struct object_writer *w, uint32_t pack)
{
    size_t n = w->held.len / sizeof(pack);
    uint32_t last = 0;
    if (n)
        memcpy(&last, w->held.ptr + (n - 1) * sizeof(last), sizeof(last));
    enum kist_err err = last == pack ? KIST_OK : buf_append(&w->held, &pack, sizeof(pack));
    if (last == pack || err != KIST_OK)
        pack_unhold(w->store->packs, pack);
    return err;
}

/* The first chunk's address is the whole body's SHA-256 so far. */
static bool whole_is_chunk(const struct object_writer *w)
{
    return !w->sealer && w->chunks.len == 0 && (w->whole.kinds & DIGEST_BIT(DIGEST_SHA256));
}

static bool stores_aside(const struct object_writer *w)
{
    return w->aside && aside_stores(w->aside);
}

/* Bytes that will still go to packs, as far as is known. */
static uint64_t stored_rest(const struct object_writer *w)
{
    if (w->length == UINT64_MAX)
        return CHUNK_BYTES;
    return (w->sealer ? sealed_length(w->length, PACK_BLOCK_BYTES) : w->length) - w->stored;
}

static enum kist_err chunk_open(struct object_writer *w)
{
    uint64_t rest = stored_rest(w);
    uint64_t bytes = rest < CHUNK_BYTES ? rest : CHUNK_BYTES;
    memset(&w->current, 0, sizeof(w->current));
    TRY(store_take_space(w->store, bytes));
    TRY(pack_reserve(w->store->packs, w->lane, bytes, &w->current.pack, &w->current.offset));
    TRY(keep_hold(w, w->current.pack));
    w->current_max = (uint32_t)bytes;
    if (whole_is_chunk(w))
        w->current_hash = HASH_WHOLE;
    else
        w->current_hash = stores_aside(w) && sha256_is_here() ? HASH_ASIDE : HASH_HERE;
    if (w->current_hash == HASH_HERE)
        digest_set_restart(&w->chunk_hash, DIGEST_SHA256);
    w->open = true;
    w->store->filling_bytes += bytes;
    return KIST_OK;
}

static void chunk_close(struct object_writer *w)
{
    w->open = false;
    w->store->filling_bytes -= w->current_max;
}

static enum kist_err chunk_seal(struct object_writer *w)
{
    if (!w->open)
        return KIST_OK;
    if (w->current_hash == HASH_HERE)
        digest_set_final(&w->chunk_hash, DIGEST_SHA256, w->current.hash);
    else if (w->current_hash == HASH_WHOLE &&
             !digest_set_peek(&w->whole, DIGEST_SHA256, w->current.hash))
        return KIST_E_NOMEM;
    TRY(buf_append(&w->chunks, &w->current, sizeof(w->current)));
    chunk_close(w);
    if (!stores_aside(w))
        pack_write_hint(w->store->packs, w->current.pack, w->current.offset, w->current.length);
    return KIST_OK;
}

static void block_crc(struct object_writer *w, struct bytes part)
{
    uint32_t *crc = &w->current.crcs[w->current.length / PACK_BLOCK_BYTES];
    *crc = crc32c_update(*crc, part.ptr, part.len);
    w->current.length += (uint32_t)part.len;
}

static void hash_whole(struct object_writer *w, struct bytes piece)
{
    digest_set_update(&w->whole, piece.ptr, piece.len);
}

static enum kist_err store_part(struct object_writer *w, struct bytes part)
{
    if (stores_aside(w))
        return aside_write(w->aside, part);
    return pack_write(w->store->packs, w->current.pack, w->current.offset + w->current.length,
                      part);
}

/* Where a block or a chunk ends. The list of chunks does not move any more: see go_aside(). */
static enum kist_err part_end(struct object_writer *w)
{
    bool whole = w->current.length == w->current_max;
    uint32_t begin = (w->current.length - 1) / PACK_BLOCK_BYTES * PACK_BLOCK_BYTES;
    struct aside_place place = { .pack = w->current.pack,
                                 .offset = w->current.offset + begin,
                                 .hash = w->current_hash == HASH_ASIDE };
    bool submit = stores_aside(w) && (whole || w->current.length % PACK_BLOCK_BYTES == 0);
    if (whole)
        TRY(chunk_seal(w));
    if (whole && place.hash)
        place.chunk_hash = w->chunks.ptr + w->chunks.len - sizeof(w->current) +
                           offsetof(struct writer_chunk, hash);
    if (submit)
        aside_submit(w->aside, &place);
    return KIST_OK;
}

/* stored counts what went before this piece: chunk_open() relies on it; and chunk_seal() on
 * `whole` having seen the bytes up to the seal and no more. */
static enum kist_err store_piece(struct object_writer *w, struct bytes piece, bool hashed)
{
    while (piece.len) {
        if (!w->open)
            TRY(chunk_open(w));
        size_t block = PACK_BLOCK_BYTES - w->current.length % PACK_BLOCK_BYTES;
        size_t room = w->current_max - w->current.length;
        room = room < block ? room : block;
        size_t n = piece.len < room ? piece.len : room;
        struct bytes part = bytes_of(piece.ptr, n);
        TRY(store_part(w, part));
        if (!hashed)
            hash_whole(w, part);
        if (w->current_hash == HASH_HERE)
            digest_set_update(&w->chunk_hash, part.ptr, part.len);
        block_crc(w, part);
        w->stored += n;
        TRY(part_end(w));
        piece = bytes_of(piece.ptr + n, piece.len - n);
    }
    return KIST_OK;
}

static enum kist_err block_end(struct object_writer *w)
{
    uint8_t tag[SEAL_TAG_BYTES];
    TRY(sealer_end(w->sealer, tag));
    w->block++;
    w->block_filled = 0;
    return store_piece(w, bytes_of(tag, sizeof(tag)), true);
}

static enum kist_err seal_piece(struct object_writer *w, struct bytes piece)
{
    static _Thread_local uint8_t sealed[64 << 10];
    while (piece.len) {
        size_t n = SEALED_PAYLOAD - w->block_filled;
        n = piece.len < n ? piece.len : n;
        n = n < sizeof(sealed) ? n : sizeof(sealed);
        if (w->block_filled == 0)
            TRY(sealer_begin(w->sealer, w->block));
        TRY(sealer_update(w->sealer, bytes_of(piece.ptr, n), sealed));
        TRY(store_piece(w, bytes_of(sealed, n), true));
        w->block_filled += (uint32_t)n;
        if (w->block_filled == SEALED_PAYLOAD)
            TRY(block_end(w));
        piece = bytes_of(piece.ptr + n, piece.len - n);
    }
    return KIST_OK;
}

static enum kist_err write_chunks(struct object_writer *w, struct bytes piece, bool hashed)
{
    w->size += piece.len;
    if (!w->sealer)
        return store_piece(w, piece, hashed);
    if (!hashed)
        hash_whole(w, piece);
    if (w->aside)
        TRY(aside_write(w->aside, piece));
    return seal_piece(w, piece);
}

static enum kist_err spill(struct object_writer *w)
{
    TRY(digest_set_init(&w->chunk_hash, DIGEST_BIT(DIGEST_SHA256)));
    w->large = true;
    w->lane = pack_next_lane(w->store->packs);
    w->size = 0;
    TRY(write_chunks(w, buf_bytes(&w->body), true));
    budget_return(w);
    return KIST_OK;
}

enum kist_err object_writer_write(struct object_writer *w, struct bytes piece)
{
    if (w->length != UINT64_MAX && piece.len > w->length - w->size)
        return KIST_E_TOO_LARGE;
    if (w->aside)
        TRY(aside_error(w->aside));
    bool fits = w->size + piece.len <= SMALL_BODY_MAX &&
                (w->length == UINT64_MAX || w->length <= SMALL_BODY_MAX);
    if (!w->large && fits) {
        if (w->length != UINT64_MAX)
            TRY(buf_reserve(&w->body, (size_t)w->length - w->body.len));
        hash_whole(w, piece);
        TRY(buf_append_bytes(&w->body, piece));
        w->size += piece.len;
        return KIST_OK;
    }
    if (!w->large)
        TRY(spill(w));
    return write_chunks(w, piece, false);
}

void object_writer_go_aside(struct object_writer *w)
{
    if (w->length == UINT64_MAX || w->length <= SMALL_BODY_MAX || w->size > 0)
        return;
    /* Hashes are put into the list from elsewhere: it must not move. */
    size_t chunks = (size_t)(w->length / CHUNK_BYTES) + 1;
    if (!w->sealer && buf_reserve(&w->chunks, chunks * sizeof(struct writer_chunk)) != KIST_OK)
        return;
    w->aside = aside_open(w->store, w->length, !w->sealer);
    if (w->aside)
        digest_set_drop(&w->whole, DIGEST_MD5);
}

bool object_writer_ready(struct object_writer *w, size_t bytes, void (*wake)(void *), void *user)
{
    return !w->aside || aside_ready(w->aside, bytes, wake, user);
}

bool object_writer_end(struct object_writer *w, void (*wake)(void *), void *user)
{
    return !w->aside || aside_end(w->aside, wake, user);
}

uint64_t object_writer_size(const struct object_writer *w)
{
    return w->size;
}

void object_writer_digest(struct object_writer *w, enum digest_kind kind, uint8_t *out)
{
    if (!(w->finals_done & DIGEST_BIT(kind))) {
        if (kind == DIGEST_MD5 && w->aside)
            aside_md5(w->aside, w->finals[kind]);
        else
            digest_set_final(&w->whole, kind, w->finals[kind]);
        w->finals_done |= DIGEST_BIT(kind);
    }
    memcpy(out, w->finals[kind], digest_len(kind));
}

static enum kist_err seal_body(struct object_writer *w)
{
    uint8_t tag[SEAL_TAG_BYTES];
    TRY(sealer_begin(w->sealer, 0));
    TRY(sealer_update(w->sealer, buf_bytes(&w->body), w->body.ptr));
    TRY(sealer_end(w->sealer, tag));
    return buf_append(&w->body, tag, sizeof(tag));
}

enum kist_err writer_end(struct object_writer *w)
{
    if (w->aside)
        TRY(aside_error(w->aside));
    if (!w->large)
        return w->sealer && w->body.len ? seal_body(w) : KIST_OK;
    if (w->block_filled)
        TRY(block_end(w));
    return chunk_seal(w);
}

/* MD5, which tells what a guess was right: not where only the holder of a key may know.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html: "may or may not be an MD5
 * digest of the object data". */
void writer_etag(struct object_writer *w, uint8_t out[16])
{
    uint8_t md5[16], keyed[32];
    object_writer_digest(w, DIGEST_MD5, md5);
    memcpy(out, md5, sizeof(md5));
    if (!w->hide_etag)
        return;
    hmac_sha256(bytes_of(w->key, sizeof(w->key)), bytes_of(md5, sizeof(md5)), keyed);
    memcpy(out, keyed, 16);
}

struct bytes writer_small_body(const struct object_writer *w)
{
    return w->large ? BYTES_EMPTY : buf_bytes(&w->body);
}

size_t writer_chunks(const struct object_writer *w, const struct writer_chunk **out)
{
    *out = (const struct writer_chunk *)(const void *)w->chunks.ptr;
    return w->chunks.len / sizeof(struct writer_chunk);
}

enum kist_err writer_sync(struct object_writer *w)
{
    for (size_t at = 0; at < w->held.len; at += sizeof(uint32_t)) {
        uint32_t pack;
        memcpy(&pack, w->held.ptr + at, sizeof(pack));
        TRY(pack_sync(w->store->packs, pack));
    }
    return KIST_OK;
}

static void punch(struct object_writer *w, const struct writer_chunk *c)
{
    /* Failure leaks until the next start's sweep; there is nobody to tell. */
    (void)!pack_punch(w->store->packs, c->pack, c->offset,
                      (c->length + PACK_ALIGN - 1) & ~(PACK_ALIGN - 1));
}

static void drop(void *user)
{
    struct object_writer *w = user;
    const struct writer_chunk *chunks;
    size_t count = writer_chunks(w, &chunks);
    for (size_t i = 0; i < count && !w->keep; i++)
        punch(w, &chunks[i]);
    if (w->open) {
        punch(w, &w->current);
        chunk_close(w);
    }
    for (size_t at = 0; at < w->held.len; at += sizeof(uint32_t)) {
        uint32_t pack;
        memcpy(&pack, w->held.ptr + at, sizeof(pack));
        pack_unhold(w->store->packs, pack);
    }
    budget_return(w);
    digest_set_release(&w->whole);
    digest_set_release(&w->chunk_hash);
    sealer_close(w->sealer);
    OPENSSL_cleanse(w->key, sizeof(w->key));
    buf_release(&w->chunks);
    buf_release(&w->held);
    free(w);
}

/* What is under way aside must not be written after it was punched. */
void writer_free(struct object_writer *w, bool keep)
{
    if (!w)
        return;
    w->keep = keep;
    if (w->aside)
        aside_close(w->aside, drop, w);
    else
        drop(w);
}

void object_writer_abort(struct object_writer *w)
{
    writer_free(w, false);
}
