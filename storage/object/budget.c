/* A ceiling over all bodies held in memory, first come first served. */
#include "storage/object/store_internal.h"

#include <stdlib.h>

void budget_init(struct budget *b, size_t max_bytes)
{
    *b = (struct budget){ .max_bytes = max_bytes };
    b->last = &b->first;
    pthread_mutex_init(&b->lock, NULL);
}

void budget_release(struct budget *b)
{
    pthread_mutex_destroy(&b->lock);
}

enum kist_err budget_take(struct budget *b, size_t bytes, void (*wake)(void *), void *user)
{
    enum kist_err err = KIST_OK;
    pthread_mutex_lock(&b->lock);
    if (b->used_bytes + bytes <= b->max_bytes || b->used_bytes == 0) {
        b->used_bytes += bytes;
    } else {
        struct budget_waiter *w = malloc(sizeof(*w));
        err = w ? KIST_E_BUSY : KIST_E_NOMEM;
        if (w) {
            *w = (struct budget_waiter){ wake, user, NULL };
            *b->last = w;
            b->last = &w->next;
        }
    }
    pthread_mutex_unlock(&b->lock);
    return err;
}

bool budget_try(struct budget *b, size_t bytes, size_t share)
{
    pthread_mutex_lock(&b->lock);
    bool ok = b->used_bytes + bytes <= b->max_bytes / share;
    if (ok)
        b->used_bytes += bytes;
    pthread_mutex_unlock(&b->lock);
    return ok;
}

/* Every waiter of the moment is woken: who finds the budget used up again queues again. One at
 * a time could strand the others when the woken one has lost its client. */
void budget_give(struct budget *b, size_t bytes)
{
    pthread_mutex_lock(&b->lock);
    b->used_bytes -= bytes;
    struct budget_waiter *w = b->first;
    b->first = NULL;
    b->last = &b->first;
    pthread_mutex_unlock(&b->lock);
    while (w) {
        struct budget_waiter *next = w->next;
        w->wake(w->user);
        free(w);
        w = next;
    }
}
