/* Copies of bytes inside the store, on worker threads. Readers and uploads wait for these
 * threads, too: a copy goes to the end of their queue after each piece. */
#include "storage/object/store_internal.h"

#include <stdlib.h>

#define TURN_BYTES ((uint64_t)4 << 20)

struct copy_job {
    struct job job;
    struct store *store;
    struct object_reader *from;
    struct object_writer *to;
    uint64_t pos, end;
    void (*done)(void *user, enum kist_err err);
    void *user;
};

static enum kist_err copy_bytes(struct copy_job *c, uint8_t *buf)
{
    uint64_t end = c->end - c->pos < TURN_BYTES ? c->end : c->pos + TURN_BYTES;
    while (c->pos < end) {
        uint64_t rest = end - c->pos;
        size_t max = rest < PACK_BLOCK_BYTES ? (size_t)rest : PACK_BLOCK_BYTES, got;
        TRY(object_reader_read(c->from, c->pos, buf, max, true, &got));
        TRY(object_writer_write(c->to, bytes_of(buf, got)));
        c->pos += got;
    }
    return KIST_OK;
}

static void copy_run(struct job *job)
{
    struct copy_job *c = CONTAINER_OF(job, struct copy_job, job);
    void (*done)(void *user, enum kist_err err) = c->done;
    void *user = c->user;
    uint8_t *buf = malloc(PACK_BLOCK_BYTES);
    enum kist_err err = buf ? copy_bytes(c, buf) : KIST_E_NOMEM;
    free(buf);
    if (err == KIST_OK && c->pos < c->end) {
        store_run(c->store, &c->job);
        return;
    }
    free(c);
    done(user, err);
}

void store_copy_bytes(struct store *s, struct object_reader *from, uint64_t start,
                      uint64_t length, struct object_writer *to,
                      void (*done)(void *user, enum kist_err err), void *user)
{
    struct copy_job *c = calloc(1, sizeof(*c));
    if (!c) {
        done(user, KIST_E_NOMEM);
        return;
    }
    *c = (struct copy_job){ { copy_run, NULL }, s, from, to, start, start + length, done, user };
    store_run(s, &c->job);
}

bool store_can_share(const Kist__Object *object)
{
    return (!object->data || !object->data->extent) && !object->append_parts;
}
