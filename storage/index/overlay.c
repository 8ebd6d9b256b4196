#include "storage/index/overlay.h"

#include <stdatomic.h>
#include <stdlib.h>

#define HEIGHT_MAX 16
#define BLOCK_BYTES ((size_t)1 << 20)
#define FILTER_WORDS ((size_t)1 << 16)

#define TOMBSTONE UINT32_MAX /* instead of a length */

struct overlay_value {
    const struct overlay_value *older; /* what it replaced */
    uint64_t command;
    uint32_t len;
    uint8_t data[];
};

struct overlay_node {
    uint32_t key_len;
    const struct overlay_value *_Atomic value; /* NULL: what there was is undone */
    const uint8_t *key;
    struct overlay_node *_Atomic next[]; /* height of them */
};

struct block {
    struct block *older;
    size_t size, used;
    _Alignas(16) uint8_t data[];
};

struct overlay {
    struct overlay_node *head;
    struct block *blocks;
    _Atomic size_t bytes, rows;
    _Atomic int height;
    uint64_t random;
    struct overlay_node **journal; /* of each write since overlay_settle() */
    size_t journal_len, journal_cap;
    _Atomic uint64_t filter[FILTER_WORDS];
};

static struct block *block_new(size_t size, struct block *older)
{
    struct block *b = malloc(sizeof(*b) + size);
    if (!b)
        abort();
    *b = (struct block){ .older = older, .size = size };
    return b;
}

/* Only the writer adds: no need of a locked instruction. */
static void add(_Atomic size_t *counter, size_t n)
{
    size_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

/* What is large gets a block of its own, behind the one being filled, so that at most a quarter
 * of a block is ever wasted and overlay_bytes() stays near the truth. */
static void *take(struct overlay *o, size_t size)
{
    size = (size + 15) / 16 * 16;
    struct block *b = o->blocks;
    if (b && size > BLOCK_BYTES / 4 && b->size - b->used < size)
        b = b->older = block_new(size, b->older);
    else if (!b || b->size - b->used < size)
        b = o->blocks = block_new(size > BLOCK_BYTES ? size : BLOCK_BYTES, b);
    void *p = b->data + b->used;
    b->used += size;
    add(&o->bytes, size);
    return p;
}

/* ---- the filter: four bits of one word for each key ---- */

static uint64_t hash(struct bytes key)
{
    const uint64_t odd = 0x9E3779B97F4A7C15U;
    uint64_t h = key.len * odd;
    size_t i = 0;
    for (; i + 8 <= key.len; i += 8) {
        uint64_t word;
        memcpy(&word, key.ptr + i, 8);
        h = (h ^ word) * odd;
        h ^= h >> 29;
    }
    for (; i < key.len; i++)
        h = (h ^ key.ptr[i]) * odd;
    h ^= h >> 32;
    h *= odd;
    return h ^ h >> 29;
}

static uint64_t filter_bits(uint64_t h)
{
    return (uint64_t)1 << (h & 63) | (uint64_t)1 << (h >> 6 & 63) |
           (uint64_t)1 << (h >> 12 & 63) | (uint64_t)1 << (h >> 18 & 63);
}

static size_t filter_word(uint64_t h)
{
    return (size_t)(h >> 40) % FILTER_WORDS;
}

/* Before the node can be reached: whoever learns of the row by any way that orders memory finds
 * the bits set. */
static void filter_add(struct overlay *o, struct bytes key)
{
    uint64_t h = hash(key);
    _Atomic uint64_t *word = &o->filter[filter_word(h)];
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, old | filter_bits(h), memory_order_relaxed);
}

static bool filter_has(const struct overlay *o, struct bytes key)
{
    uint64_t h = hash(key), bits = filter_bits(h);
    uint64_t word = atomic_load_explicit(&o->filter[filter_word(h)], memory_order_relaxed);
    return (word & bits) == bits;
}

/* ---- nodes ---- */

static struct overlay_node *node_new(struct overlay *o, struct bytes key, int height)
{
    struct overlay_node *n = take(o, sizeof(*n) + (size_t)height * sizeof(n->next[0]) + key.len);
    uint8_t *copy = (uint8_t *)(void *)&n->next[height];
    if (key.len)
        memcpy(copy, key.ptr, key.len);
    n->key = copy;
    n->key_len = (uint32_t)key.len;
    for (int i = 0; i < height; i++)
        atomic_init(&n->next[i], NULL);
    atomic_init(&n->value, NULL);
    return n;
}

struct overlay *overlay_new(void)
{
    struct overlay *o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    o->random = 0x2545F4914F6CDD1DU;
    o->height = 1;
    o->head = node_new(o, BYTES_EMPTY, HEIGHT_MAX);
    o->bytes = 0; /* an empty one says so */
    return o;
}

void overlay_free(struct overlay *o)
{
    if (!o)
        return;
    while (o->blocks) {
        struct block *older = o->blocks->older;
        free(o->blocks);
        o->blocks = older;
    }
    free(o->journal);
    free(o);
}

static struct overlay_node *next_at(const struct overlay_node *n, int level)
{
    return atomic_load_explicit(&n->next[level], memory_order_acquire);
}

/* The last node below key (the head where there is none), at each level if `before` is given;
 * *at_or_after is the one that stood behind it when it was compared. To load that pointer once
 * more would be wrong: the writer may have put a lesser key there meanwhile. */
static struct overlay_node *find(const struct overlay *o, struct bytes key,
                                 struct overlay_node **before, struct overlay_node **at_or_after)
{
    struct overlay_node *n = o->head, *next = NULL;
    for (int level = o->height - 1; level >= 0; level--) {
        while ((next = next_at(n, level)) && bytes_compare(overlay_key(next), key) < 0)
            n = next;
        if (before)
            before[level] = n;
    }
    *at_or_after = next;
    return n;
}

/* Each level holds a quarter of the one below. */
static int random_height(struct overlay *o)
{
    o->random ^= o->random << 13;
    o->random ^= o->random >> 7;
    o->random ^= o->random << 17;
    int height = 1;
    for (uint64_t r = o->random; height < HEIGHT_MAX && (r & 3) == 0; r >>= 2)
        height++;
    return height;
}

static void journal_add(struct overlay *o, struct overlay_node *n)
{
    if (o->journal_len == o->journal_cap) {
        o->journal_cap = o->journal_cap ? o->journal_cap * 2 : 256;
        o->journal = realloc(o->journal, o->journal_cap * sizeof(struct overlay_node *));
        if (!o->journal)
            abort();
    }
    o->journal[o->journal_len++] = n;
}

static void set(struct overlay *o, struct bytes key, struct overlay_value *value)
{
    struct overlay_node *before[HEIGHT_MAX];
    for (int i = 0; i < HEIGHT_MAX; i++)
        before[i] = o->head;
    struct overlay_node *n;
    (void)find(o, key, before, &n);
    if (n && bytes_equal(overlay_key(n), key)) {
        value->older = atomic_load_explicit(&n->value, memory_order_relaxed);
        journal_add(o, n);
        atomic_store_explicit(&n->value, value, memory_order_release);
        return;
    }
    int height = random_height(o);
    filter_add(o, key);
    n = node_new(o, key, height);
    journal_add(o, n);
    atomic_store_explicit(&n->value, value, memory_order_relaxed);
    for (int i = 0; i < height; i++)
        atomic_store_explicit(&n->next[i], next_at(before[i], i), memory_order_relaxed);
    if (height > o->height)
        o->height = height;
    /* From the bottom: a node that is seen on one level is there on all below. */
    for (int i = 0; i < height; i++)
        atomic_store_explicit(&before[i]->next[i], n, memory_order_release);
    add(&o->rows, 1);
}

void overlay_put(struct overlay *o, uint64_t command, struct bytes key, struct bytes value)
{
    struct overlay_value *v = take(o, sizeof(*v) + value.len);
    v->older = NULL;
    v->command = command;
    v->len = (uint32_t)value.len;
    if (value.len)
        memcpy(v->data, value.ptr, value.len);
    set(o, key, v);
}

void overlay_delete(struct overlay *o, uint64_t command, struct bytes key)
{
    struct overlay_value *v = take(o, sizeof(*v));
    v->older = NULL;
    v->command = command;
    v->len = TOMBSTONE;
    set(o, key, v);
}

size_t overlay_mark(const struct overlay *o)
{
    return o->journal_len;
}

void overlay_undo(struct overlay *o, size_t mark)
{
    while (o->journal_len > mark) {
        struct overlay_node *n = o->journal[--o->journal_len];
        const struct overlay_value *v = atomic_load_explicit(&n->value, memory_order_relaxed);
        atomic_store_explicit(&n->value, v->older, memory_order_release);
    }
}

void overlay_settle(struct overlay *o)
{
    o->journal_len = 0;
}

size_t overlay_bytes(const struct overlay *o)
{
    return o->bytes;
}

size_t overlay_rows(const struct overlay *o)
{
    return o->rows;
}

const struct overlay_node *overlay_find(const struct overlay *o, struct bytes key)
{
    const struct overlay_node *n = filter_has(o, key) ? overlay_seek(o, key) : NULL;
    return n && bytes_equal(overlay_key(n), key) ? n : NULL;
}

const struct overlay_node *overlay_seek(const struct overlay *o, struct bytes key)
{
    struct overlay_node *at_or_after;
    (void)find(o, key, NULL, &at_or_after);
    return at_or_after;
}

const struct overlay_node *overlay_before(const struct overlay *o, struct bytes key)
{
    struct overlay_node *at_or_after;
    const struct overlay_node *n = find(o, key, NULL, &at_or_after);
    return n == o->head ? NULL : n;
}

const struct overlay_node *overlay_next(const struct overlay_node *n)
{
    return next_at(n, 0);
}

struct bytes overlay_key(const struct overlay_node *n)
{
    return bytes_of(n->key, n->key_len);
}

enum overlay_found overlay_value(const struct overlay_node *n, uint64_t upto, struct bytes *value)
{
    const struct overlay_value *v = atomic_load_explicit(&n->value, memory_order_acquire);
    while (v && v->command > upto)
        v = v->older;
    if (!v)
        return OVERLAY_NOTHING;
    if (v->len == TOMBSTONE)
        return OVERLAY_TOMBSTONE;
    *value = bytes_of(v->data, v->len);
    return OVERLAY_VALUE;
}
