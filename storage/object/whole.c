/* A whole object from memory, for callers that may block. */
#include <semaphore.h>

#include "storage/object/store_internal.h"

#define PIECE_BYTES ((size_t)128 << 10)

static void post(void *sem)
{
    sem_post(sem);
}

static void op_done(struct store_op *op)
{
    sem_post(op->user);
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        continue;
}

static enum kist_err fill(const struct whole_object *o, struct object_writer *w)
{
    enum kist_err err = o->seal_key ? object_writer_seal(w, o->seal_key, false) : KIST_OK;
    for (size_t at = 0; at < o->body.len && err == KIST_OK; at += PIECE_BYTES) {
        size_t left = o->body.len - at;
        err = object_writer_write(
            w, bytes_of(o->body.ptr + at, left < PIECE_BYTES ? left : PIECE_BYTES));
    }
    return err;
}

static enum kist_err commit(struct store *s, const struct whole_object *o,
                            struct object_writer *w, sem_t *sem)
{
    struct store_op op;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject put = KIST__PUT_OBJECT__INIT;
    Kist__Object plain = KIST__OBJECT__INIT;
    put.bucket = (char *)(uintptr_t)o->bucket;
    put.key = schema_data(bytes_str(o->key));
    put.object = o->object ? o->object : &plain;
    if (!put.object->mtime_ms)
        put.object->mtime_ms = s->env->now_ms(s->env);
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &put;
    store_op_init(&op, op_done, sem);
    store_put(s, &op, &command, w);
    wait_for(sem);
    enum kist_err err = op.err;
    store_op_release(&op);
    return err;
}

enum kist_err store_put_whole(struct store *s, const struct whole_object *o)
{
    struct object_writer *w = NULL;
    enum kist_err err;
    sem_t sem;
    sem_init(&sem, 0, 0);
    while ((err = object_writer_open(s, o->body.len, 0, post, &sem, &w)) == KIST_E_BUSY)
        wait_for(&sem);
    if (err == KIST_OK)
        err = fill(o, w);
    if (err == KIST_OK)
        err = commit(s, o, w, &sem);
    else
        object_writer_abort(w);
    sem_destroy(&sem);
    return err;
}
