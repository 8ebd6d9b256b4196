/* Changes on their way to the log.
 *
 *   store_submit:  command --> log --> done()
 *   store_put:     writer --> (large: packs synced on a worker) --> command --> log --> done()
 */
#include "storage/object/store_internal.h"

#include <stdlib.h>

/* A CompleteUpload of 10,000 parts with checksums, or a part of 5 GiB with its chunks. */
#define COMMAND_BYTES_MAX ((size_t)3 << 20)

void store_op_init(struct store_op *op, void (*done)(struct store_op *op), void *user)
{
    memset(op, 0, sizeof(*op));
    op->done = done;
    op->user = user;
    buf_init(&op->command, COMMAND_BYTES_MAX);
}

void store_op_release(struct store_op *op)
{
    buf_release(&op->command);
}

static void finish(struct store_op *op, enum kist_err err)
{
    struct store *s = op->store;
    /* Applied, whatever the verdict: the extents are the index's business. After an I/O error
     * nobody knows: leave them to the sweep. */
    bool keep = op->result.index != 0 || err == KIST_E_IO;
    writer_free(op->writer, keep);
    op->writer = NULL;
    if (op->result.made_garbage)
        reclaim_note(s, op->result.garbage_bytes);
    if (op->result.made_due)
        expire_note(s);
    if (op->result.made_event)
        events_note(s, op->result.event_queue);
    op->err = err;
    op->done(op);
}

static void committed(struct log_request *request, enum kist_err err)
{
    finish(CONTAINER_OF(request, struct store_op, request), err);
}

static void submit(struct store_op *op, const Kist__Command *command, struct bytes body)
{
    enum kist_err err = schema_pack(command, &op->command);
    if (err != KIST_OK) {
        finish(op, err);
        return;
    }
    op->request = (struct log_request){
        .command = buf_bytes(&op->command), .body = body, .result = &op->result, .done = committed
    };
    log_submit(op->store->log, &op->request);
}

void store_submit(struct store *s, struct store_op *op, const Kist__Command *command)
{
    op->store = s;
    submit(op, command, BYTES_EMPTY);
}

/* ---- puts ---- */

struct put_job {
    struct job job;
    struct store_op *op;
};

/* The fields of PutObject, PutPart and AppendObject that the writer knows. */
struct put_fields {
    ProtobufCBinaryData *etag;
    uint64_t *size;
    uint32_t *crc;
    size_t *n_chunks;
    Kist__NewChunk ***chunks;
};

static bool fields_of(Kist__Command *c, struct put_fields *f)
{
    if (c->of_case == KIST__COMMAND__OF_PUT_OBJECT && c->put_object->object) {
        Kist__PutObject *p = c->put_object;
        *f = (struct put_fields){ &p->object->etag, &p->object->size, &p->body_crc, &p->n_chunks,
                                  &p->chunks };
        return true;
    }
    if (c->of_case == KIST__COMMAND__OF_APPEND_OBJECT && c->append_object->part) {
        Kist__AppendObject *p = c->append_object;
        *f = (struct put_fields){ &p->part->etag, &p->part->size, &p->body_crc, &p->n_chunks,
                                  &p->chunks };
        return true;
    }
    if (c->of_case == KIST__COMMAND__OF_PUT_PART && c->put_part->part) {
        Kist__PutPart *p = c->put_part;
        *f = (struct put_fields){ &p->part->etag, &p->part->size, &p->body_crc, &p->n_chunks,
                                  &p->chunks };
        return true;
    }
    return false;
}

static enum kist_err fill_chunk(struct arena *arena, const struct writer_chunk *from,
                                Kist__NewChunk **out)
{
    struct {
        Kist__NewChunk chunk;
        Kist__ChunkRef ref;
        Kist__Extent extent;
    } *m = arena_alloc(arena, sizeof(*m));
    uint8_t *hash = arena_alloc(arena, sizeof(from->hash));
    uint32_t *crcs = arena_alloc(arena, sizeof(from->crcs));
    if (!m || !hash || !crcs)
        return KIST_E_NOMEM;
    memcpy(hash, from->hash, 32);
    memcpy(crcs, from->crcs, sizeof(from->crcs));
    kist__new_chunk__init(&m->chunk);
    kist__chunk_ref__init(&m->ref);
    kist__extent__init(&m->extent);
    m->chunk.ref = &m->ref;
    m->chunk.extent = &m->extent;
    m->ref.hash = (ProtobufCBinaryData){ .len = 32, .data = hash };
    m->ref.length = from->length;
    m->extent.pack = from->pack;
    m->extent.offset = from->offset;
    m->extent.length = from->length;
    m->extent.n_crcs = (from->length + PACK_BLOCK_BYTES - 1) / PACK_BLOCK_BYTES;
    m->extent.crcs = crcs;
    *out = &m->chunk;
    return KIST_OK;
}

static enum kist_err fill(struct object_writer *w, struct arena *arena, Kist__Command *command)
{
    struct put_fields f;
    if (!fields_of(command, &f))
        return KIST_E_INVALID;
    TRY(writer_end(w));
    uint8_t *etag = arena_alloc(arena, 16);
    if (!etag)
        return KIST_E_NOMEM;
    writer_etag(w, etag);
    *f.etag = (ProtobufCBinaryData){ .len = 16, .data = etag };
    *f.size = object_writer_size(w);
    struct bytes body = writer_small_body(w);
    *f.crc = body.len ? crc32c_update(0, body.ptr, body.len) : 0;
    const struct writer_chunk *chunks;
    size_t count = writer_chunks(w, &chunks);
    if (count == 0)
        return KIST_OK;
    *f.chunks = arena_alloc(arena, count * sizeof(**f.chunks));
    if (!*f.chunks)
        return KIST_E_NOMEM;
    for (size_t i = 0; i < count; i++)
        TRY(fill_chunk(arena, &chunks[i], &(*f.chunks)[i]));
    *f.n_chunks = count;
    return KIST_OK;
}

static void sync_then_submit(struct job *job)
{
    struct put_job *p = CONTAINER_OF(job, struct put_job, job);
    struct store_op *op = p->op;
    enum kist_err err = writer_sync(op->writer);
    free(p);
    if (err != KIST_OK) {
        finish(op, err);
        return;
    }
    op->request = (struct log_request){ .command = buf_bytes(&op->command),
                                        .result = &op->result,
                                        .done = committed };
    log_submit(op->store->log, &op->request);
}

/* The chunks' bytes must be on the disk before the command that refers to them. */
static void submit_large(struct store_op *op, const Kist__Command *command)
{
    struct put_job *p = calloc(1, sizeof(*p));
    enum kist_err err = p ? schema_pack(command, &op->command) : KIST_E_NOMEM;
    if (err != KIST_OK) {
        free(p);
        finish(op, err);
        return;
    }
    p->op = op;
    p->job.run = sync_then_submit;
    store_run(op->store, &p->job);
}

void store_put(struct store *s, struct store_op *op, Kist__Command *command,
               struct object_writer *w)
{
    struct arena arena;
    const struct writer_chunk *chunks;
    op->store = s;
    op->writer = w;
    arena_init(&arena, COMMAND_BYTES_MAX);
    enum kist_err err = fill(w, &arena, command);
    if (err != KIST_OK)
        finish(op, err);
    else if (writer_chunks(w, &chunks) > 0)
        submit_large(op, command);
    else
        submit(op, command, writer_small_body(w));
    arena_release(&arena);
}
