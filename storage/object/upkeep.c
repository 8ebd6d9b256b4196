#include "storage/object/store_internal.h"

void upkeep_init(struct upkeep *u)
{
    *u = (struct upkeep){ 0 };
    pthread_mutex_init(&u->lock, NULL);
    mono_cond_init(&u->wake);
    mono_cond_init(&u->room);
}

enum kist_err upkeep_start(struct upkeep *u, const char *name, void *(*run)(void *),
                           struct store *s)
{
    if (pthread_create(&u->thread, NULL, run, s) != 0)
        return KIST_E_NOMEM;
    pthread_setname_np(u->thread, name);
    u->started = true;
    return KIST_OK;
}

void upkeep_stop(struct upkeep *u)
{
    if (!u->started)
        return;
    pthread_mutex_lock(&u->lock);
    u->stop = true;
    pthread_cond_broadcast(&u->wake);
    pthread_cond_broadcast(&u->room);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    u->started = false;
}

void upkeep_release(struct upkeep *u)
{
    pthread_cond_destroy(&u->wake);
    pthread_cond_destroy(&u->room);
    pthread_mutex_destroy(&u->lock);
}
