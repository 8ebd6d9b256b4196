#include "storage/base/bytes.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ONE_BLOCK_EACH 1 /* so that overruns are seen */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_BLOCK_EACH 1
#endif
#endif
#ifndef ONE_BLOCK_EACH
#define ONE_BLOCK_EACH 0
#endif

#define FIRST_BLOCK ((size_t)4096)
#define LARGEST_BLOCK ((size_t)65536)
#define ALIGN alignof(max_align_t)

struct arena_block {
    struct arena_block *older;
    size_t size, used;
    alignas(max_align_t) uint8_t data[];
};

void arena_init(struct arena *a, size_t max_bytes)
{
    *a = (struct arena){ .max_bytes = max_bytes };
}

static void drop(struct arena *a, struct arena_block *keep)
{
    while (a->head && a->head != keep) {
        struct arena_block *b = a->head;
        a->head = b->older;
        free(b);
    }
}

void arena_release(struct arena *a)
{
    drop(a, NULL);
    a->used_bytes = 0;
}

void arena_clear(struct arena *a)
{
    struct arena_block *first = a->head;
    while (first && first->older)
        first = first->older;
    if (ONE_BLOCK_EACH || (first && first->size > LARGEST_BLOCK))
        first = NULL;
    drop(a, first);
    if (first)
        first->used = 0;
    a->used_bytes = 0;
}

struct arena_mark arena_mark(const struct arena *a)
{
    return (struct arena_mark){ a->head, a->head ? a->head->used : 0, a->used_bytes };
}

void arena_rewind(struct arena *a, struct arena_mark mark)
{
    drop(a, mark.head);
    if (a->head)
        a->head->used = mark.used;
    a->used_bytes = mark.used_bytes;
}

static size_t block_size(const struct arena *a, size_t wanted)
{
    if (ONE_BLOCK_EACH)
        return wanted;
    size_t size = a->head ? a->head->size * 2 : FIRST_BLOCK;
    size = size > LARGEST_BLOCK ? LARGEST_BLOCK : size;
    return size < wanted ? wanted : size;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX - ALIGN)
        return NULL;
    size_t rounded = ONE_BLOCK_EACH ? size + !size : (size + ALIGN) / ALIGN * ALIGN;
    if (rounded > a->max_bytes || a->used_bytes > a->max_bytes - rounded)
        return NULL;
    struct arena_block *b = a->head;
    if (!b || b->size - b->used < rounded) {
        size_t bytes = block_size(a, rounded);
        b = malloc(sizeof(*b) + bytes);
        if (!b)
            return NULL;
        b->older = a->head;
        b->size = bytes;
        b->used = 0;
        a->head = b;
    }
    void *p = b->data + b->used;
    b->used += rounded;
    a->used_bytes += rounded;
    return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
    void *p = arena_alloc(a, size);
    if (p)
        memset(p, 0, size);
    return p;
}

char *arena_strndup(struct arena *a, const void *s, size_t len)
{
    char *copy = arena_alloc(a, len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

struct bytes arena_copy(struct arena *a, struct bytes s)
{
    return bytes_of(arena_strndup(a, s.ptr, s.len), s.len);
}
