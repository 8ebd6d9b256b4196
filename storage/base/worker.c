#include "storage/base/worker.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct worker_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *first, **last;
    bool closing;
    size_t count;
    pthread_t threads[];
};

static void *worker_main(void *arg)
{
    struct worker_pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->first && !p->closing)
            pthread_cond_wait(&p->wake, &p->lock);
        struct job *job = p->first;
        if (!job)
            break;
        p->first = job->next;
        if (!p->first)
            p->last = &p->first;
        pthread_mutex_unlock(&p->lock);
        job->run(job);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

enum kist_err worker_pool_open(const char *name, size_t threads, struct worker_pool **out)
{
    struct worker_pool *p = calloc(1, sizeof(*p) + threads * sizeof(pthread_t));
    if (!p)
        return KIST_E_NOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->last = &p->first;
    for (; p->count < threads; p->count++) {
        if (pthread_create(&p->threads[p->count], NULL, worker_main, p) != 0) {
            worker_pool_close(p);
            return KIST_E_NOMEM;
        }
        pthread_setname_np(p->threads[p->count], name);
    }
    *out = p;
    return KIST_OK;
}

void worker_pool_close(struct worker_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->count; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void worker_submit(struct worker_pool *p, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&p->lock);
    *p->last = job;
    p->last = &job->next;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}
