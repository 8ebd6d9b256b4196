/* Bytes: borrowed slices, owned bounded buffers, and arenas.
 *
 * `struct bytes` never owns. `struct buf` owns and has a ceiling from the day it is made.
 * `struct arena` owns everything allocated from it and gives it all back at once.
 */
#ifndef KIST_STORAGE_BASE_BYTES_H
#define KIST_STORAGE_BASE_BYTES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "storage/base/err.h"

struct bytes {
    const uint8_t *ptr;
    size_t len;
};

#define BYTES_EMPTY ((struct bytes){ NULL, 0 })
#define BYTES_LIT(s) ((struct bytes){ (const uint8_t *)("" s), sizeof(s) - 1 })

static inline struct bytes bytes_of(const void *ptr, size_t len)
{
    return (struct bytes){ (const uint8_t *)ptr, len };
}
static inline struct bytes bytes_str(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, s ? strlen(s) : 0 };
}
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    if (a.len != b.len || a.len == 0)
        return a.len == b.len;
    assert(a.ptr && b.ptr);
    return memcmp(a.ptr, b.ptr, a.len) == 0;
}
/* memcmp order, a shorter prefix first: the order of S3 listings. */
int bytes_compare(struct bytes a, struct bytes b);
bool bytes_starts_with(struct bytes s, struct bytes prefix);
/* ASCII case-insensitive equality. */
bool bytes_equal_nocase(struct bytes a, struct bytes b);
/* Position of needle in s at or after `from`, or SIZE_MAX. An empty needle is never found. */
size_t bytes_find(struct bytes s, struct bytes needle, size_t from);
/* Without those of `what`'s characters that stand at both ends. */
struct bytes bytes_trim(struct bytes s, const char *what);
/* Equality in time that depends on the lengths alone: for secrets. */
bool bytes_equal_secret(struct bytes a, struct bytes b);
/* Strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
bool bytes_is_utf8(struct bytes s);
/* Decimal digits only, no sign, no blanks; fails on overflow, empty input, and above max. */
enum kist_err bytes_to_u64(struct bytes s, uint64_t max, uint64_t *out) MUST_CHECK;

/* An owned, growing buffer; appending past `max` bytes fails with KIST_E_TOO_LARGE. */
struct buf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    size_t max;
};
void buf_init(struct buf *b, size_t max_bytes);
void buf_release(struct buf *b); /* frees; the struct may be initialised again */
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
}
enum kist_err buf_reserve(struct buf *b, size_t extra_bytes) MUST_CHECK;
enum kist_err buf_append(struct buf *b, const void *data, size_t len) MUST_CHECK;
enum kist_err buf_append_str(struct buf *b, const char *s) MUST_CHECK;
enum kist_err buf_append_bytes(struct buf *b, struct bytes s) MUST_CHECK;
enum kist_err buf_printf(struct buf *b, const char *format, ...) MUST_CHECK
    __attribute__((format(printf, 2, 3)));
static inline struct bytes buf_bytes(const struct buf *b)
{
    return bytes_of(b->ptr, b->len);
}

/* A region: allocations live until arena_clear() or arena_release(). Not thread-safe.
 * Total size is bounded by max_bytes; past it allocations return NULL. */
struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used_bytes;
    size_t max_bytes;
};
void arena_init(struct arena *a, size_t max_bytes);
void arena_release(struct arena *a);
/* Keeps one block for reuse; all earlier allocations become invalid. */
void arena_clear(struct arena *a);
/* What is allocated from here on goes again with arena_rewind(): for steps of a long walk. No
 * arena_clear() between the two. */
struct arena_mark {
    struct arena_block *head;
    size_t used, used_bytes;
};
struct arena_mark arena_mark(const struct arena *a);
void arena_rewind(struct arena *a, struct arena_mark mark);
/* Uninitialised memory aligned for any type, or NULL. */
void *arena_alloc(struct arena *a, size_t size) __attribute__((malloc));
/* Zeroed memory, or NULL. */
void *arena_zalloc(struct arena *a, size_t size) __attribute__((malloc));
/* A NUL-terminated copy, or NULL. */
char *arena_strndup(struct arena *a, const void *s, size_t len);
char *arena_strdup(struct arena *a, const char *s);
/* A copy in which each byte that is no part of a UTF-8 character is '?': for messages, which
 * quote what others sent and may have cut it in the middle of a character. */
char *arena_utf8(struct arena *a, const char *text);
char *arena_printf(struct arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A borrowed slice of a copy; ptr is NULL on failure (even for len 0 it is not). */
struct bytes arena_copy(struct arena *a, struct bytes s);

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
