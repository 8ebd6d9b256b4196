/* Resources that release themselves at the end of their scope (gcc and clang). */
#ifndef KIST_STORAGE_BASE_CLEANUP_H
#define KIST_STORAGE_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function) __attribute__((cleanup(function)))

static inline void cleanup_free_(void *p)
{
    free(*(void **)p);
}
static inline void cleanup_close_(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void cleanup_fclose_(FILE **f)
{
    if (*f)
        fclose(*f);
}
#define CLEANUP_FREE CLEANUP(cleanup_free_)
#define CLEANUP_CLOSE CLEANUP(cleanup_close_)
#define CLEANUP_FCLOSE CLEANUP(cleanup_fclose_)

/* Hands a cleaned-up pointer over to a longer life. */
#define TAKE_PTR(p)                                                                              \
    __extension__({                                                                              \
        __typeof__(p) take_ = (p);                                                               \
        (p) = NULL;                                                                              \
        take_;                                                                                   \
    })
#define TAKE_FD(fd)                                                                              \
    __extension__({                                                                              \
        int take_ = (fd);                                                                        \
        (fd) = -1;                                                                               \
        take_;                                                                                   \
    })

#endif
