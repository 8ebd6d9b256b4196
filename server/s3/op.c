/* Waiting for the store: the request is suspended until its change is durable. */
#include "server/s3/internal.h"

static void resume(struct exchange *x)
{
    struct s3_request *r = exchange_user(x);
    if (r->op.err != KIST_OK && !r->op_always)
        s3_fail_err(r, r->op.err);
    else
        r->op_then(r);
}

static void op_done(struct store_op *op)
{
    struct s3_request *r = op->user;
    exchange_wake(r->x, resume);
}

static void op_begin(struct s3_request *r, void (*then)(struct s3_request *r))
{
    if (r->op_used)
        store_op_release(&r->op);
    struct delete_result *deletes = r->op.result.deletes;
    store_op_init(&r->op, op_done, r);
    r->op.result.deletes = deletes;
    r->op_used = true;
    r->op_then = then;
    exchange_wait(r->x);
}

void s3_commit(struct s3_request *r, const Kist__Command *command,
               void (*then)(struct s3_request *r))
{
    Kist__Command told = *command;
    told.cause = s3_cause(r);
    op_begin(r, then);
    store_submit(r->service->config.store, &r->op, &told);
}

void s3_commit_always(struct s3_request *r, const Kist__Command *command,
                      void (*then)(struct s3_request *r))
{
    r->op_always = true;
    s3_commit(r, command, then);
}

void s3_commit_put(struct s3_request *r, Kist__Command *command,
                   void (*then)(struct s3_request *r))
{
    struct object_writer *w = r->body->writer;
    r->body->writer = NULL;
    command->cause = s3_cause(r);
    op_begin(r, then);
    store_put(r->service->config.store, &r->op, command, w);
}
