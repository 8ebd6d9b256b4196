/* Whom the store's news reach: see queue_deafen(). */
#ifndef KIST_TESTS_EVENTS_DEAF_H
#define KIST_TESTS_EVENTS_DEAF_H

#include "server/events/internal.h"
#include "tests/unit/server/events/fixture.h"

/* hears: news of every queue. */
static bool has_news(bool *hears)
{
    uint64_t deaf = 0;
    pthread_mutex_lock(&fix.events->lock);
    bool noted = fix.events->noted;
    for (size_t i = 0; i < DEAF_MAX; i++)
        deaf |= fix.events->deaf[i];
    pthread_mutex_unlock(&fix.events->lock);
    *hears = deaf == 0;
    return noted;
}

/* Until a queue does not hear, and no news are under way. */
static void wait_deaf(void)
{
    const struct timespec pause = { 0, 1000000 };
    bool hears = true;
    for (unsigned i = 0; i < PATIENCE_S * 1000 && (has_news(&hears) || hears); i++)
        nanosleep(&pause, NULL);
    ck_assert(!hears);
}

#endif
