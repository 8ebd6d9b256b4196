/* Rows that the dispatcher knows. */
#include <stdlib.h>

#include "server/events/internal.h"

void item_list_init(struct item_list *l)
{
    l->first = NULL;
    l->end = &l->first;
    l->count = 0;
}

void item_list_add(struct item_list *l, struct item *item)
{
    item->next = NULL;
    *l->end = item;
    l->end = &item->next;
    l->count++;
}

void item_list_add_first(struct item_list *l, struct item *item)
{
    item->next = l->first;
    if (!l->first)
        l->end = &item->next;
    l->first = item;
    l->count++;
}

struct item *item_list_take(struct item_list *l)
{
    struct item *item = l->first;
    if (!item)
        return NULL;
    l->first = item->next;
    if (!l->first)
        l->end = &l->first;
    item->next = NULL;
    l->count--;
    return item;
}

void item_list_move(struct item_list *to, struct item_list *from)
{
    if (!from->first)
        return;
    *to->end = from->first;
    to->end = from->end;
    to->count += from->count;
    item_list_init(from);
}

/* ---- the table ---- */

static size_t bucket_of(struct bytes row)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (size_t i = 0; i < row.len; i++)
        hash = (hash ^ row.ptr[i]) * 0x100000001b3U;
    return (size_t)(hash ^ hash >> 32) % ITEM_BUCKETS;
}

bool item_known(const struct events *e, struct bytes row)
{
    const struct item *item = e->table[bucket_of(row)];
    while (item && memcmp(item->row, row.ptr, ROW_EVENT_LEN) != 0)
        item = item->hash_next;
    return item != NULL;
}

struct item *item_new(struct queue *q, struct bytes row)
{
    struct events *e = q->e;
    struct item *item = calloc(1, sizeof(*item));
    if (!item)
        return NULL;
    size_t bucket = bucket_of(row);
    item->e = e;
    item->queue = q;
    item->why = "";
    memcpy(item->row, row.ptr, ROW_EVENT_LEN);
    arena_init(&item->arena, ITEM_BYTES_MAX);
    item->hash_next = e->table[bucket];
    e->table[bucket] = item;
    e->items++;
    q->items++;
    return item;
}

enum kist_err item_load(struct item *item, struct bytes packed, const char *id)
{
    TRY(schema_unpack(&kist__event__descriptor, packed, &item->arena, &item->event));
    item->bytes = packed.len;
    item->e->item_bytes += item->bytes;
    memcpy(item->id, id, sizeof(item->id));
    return KIST_OK;
}

void item_unload(struct item *item)
{
    item->e->item_bytes -= item->bytes;
    item->bytes = 0;
    item->event = NULL;
    arena_release(&item->arena);
    arena_init(&item->arena, ITEM_BYTES_MAX);
}

void item_free(struct item *item)
{
    struct events *e = item->e;
    struct item **p = &e->table[bucket_of(bytes_of(item->row, ROW_EVENT_LEN))];
    while (*p != item)
        p = &(*p)->hash_next;
    *p = item->hash_next;
    e->items--;
    item->queue->items--;
    e->item_bytes -= item->bytes;
    arena_release(&item->arena);
    free(item);
}

const char *item_text(struct item *item, const char *text)
{
    const char *copy = text ? arena_strdup(&item->arena, text) : "";
    return copy ? copy : "";
}
