/* Ordered events: of one bucket and key, one at a time, in the order of their rows.
 *
 *   row --offer--> chain of its key: [under way | next] [then] [then] ... and more in the store
 *
 * A chain keeps where its next rows are, not the events. When a key has more than a chain keeps,
 * the chain remembers from where on, and reads on there when it runs dry; the queue's own cursor
 * passes over them meanwhile, so that one bad key holds up nobody else. Chains are bounded, too:
 * when so many keys wait, the cursor rests.
 */
#include <assert.h>
#include <stdlib.h>

#include "server/events/internal.h"

/* Rows looked at in one go when a chain reads on. */
#define REFILL_ROWS_MAX 512

static uint64_t hash_of(const Kist__Event *event)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (const char *p = event->bucket; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 0x100000001b3U;
    hash = (hash ^ '/') * 0x100000001b3U;
    for (size_t i = 0; i < event->key.len; i++)
        hash = (hash ^ event->key.data[i]) * 0x100000001b3U;
    return hash;
}

static int compare(struct event_ref a, struct event_ref b)
{
    if (a.index != b.index)
        return a.index < b.index ? -1 : 1;
    return a.counter < b.counter ? -1 : a.counter > b.counter;
}

static struct event_ref ref_of(struct bytes row)
{
    struct row_event_parts parts = { 0 };
    bool is_row = row_event_parse(row, &parts);
    assert(is_row);
    return (struct event_ref){ parts.index, parts.counter };
}

static void row_of(const struct queue *q, struct event_ref ref, struct row_key *out)
{
    row_event(out, row_queue_id(bytes_str(q->target)), 0, ref.index, ref.counter);
}

/* ---- chains ---- */

static struct chains *chains_of(struct queue *q)
{
    if (q->chains)
        return q->chains;
    struct chains *c = calloc(1, sizeof(*c));
    if (c) {
        c->ready_end = &c->ready;
        c->delayed_ms = INT64_MAX;
        q->chains = c;
    }
    return c;
}

static struct chain **slot_of(struct chains *all, uint64_t hash)
{
    struct chain **p = &all->bucket[hash % CHAIN_BUCKETS];
    while (*p && (*p)->hash != hash)
        p = &(*p)->hash_next;
    return p;
}

static void make_ready(struct chains *all, struct chain *c, bool first)
{
    if (first) {
        c->next = all->ready;
        if (!all->ready)
            all->ready_end = &c->next;
        all->ready = c;
        return;
    }
    c->next = NULL;
    *all->ready_end = c;
    all->ready_end = &c->next;
}

static void delay(struct chains *all, struct chain *c)
{
    c->next = all->delayed;
    all->delayed = c;
    if (c->due_ms < all->delayed_ms)
        all->delayed_ms = c->due_ms;
}

/* Not in any list, and not under way: into the one where it belongs. */
static void place(struct queue *q, struct chain *c, bool first)
{
    struct chains *all = q->chains;
    if (c->count == 0 && !c->more) {
        struct chain **slot = slot_of(all, c->hash);
        assert(*slot == c);
        *slot = c->hash_next;
        all->count--;
        free(c->refs);
        free(c);
        q->new_maybe = true; /* the cursor may have waited for the room */
        return;
    }
    if (!has_come(c->due_ms, events_now(q->e)))
        delay(all, c);
    else
        make_ready(all, c, first);
}

static struct chain *chain_new(struct chains *all, uint64_t hash)
{
    struct chain *c = all->count < CHAINS_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c)
        return NULL;
    c->hash = hash;
    *slot_of(all, hash) = c;
    all->count++;
    return c;
}

/* False: out of memory. Rows that are known already are left alone. */
static bool add_ref(struct chain *c, struct event_ref ref)
{
    size_t at = c->count;
    while (at > 0 && compare(c->refs[at - 1], ref) >= 0) {
        if (compare(c->refs[at - 1], ref) == 0)
            return true;
        at--;
    }
    if (c->more && compare(ref, c->more_from) >= 0)
        return true;
    if (c->count >= CHAIN_REFS_MAX) {
        c->more = true;
        c->more_from = ref;
        /* One that came back into the middle: what is behind it is read again. */
        c->count = at > 0 || !c->out ? at : 1;
        return true;
    }
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 2;
        struct event_ref *refs = realloc(c->refs, cap * sizeof(*refs));
        if (!refs)
            return false;
        c->refs = refs;
        c->cap = cap;
    }
    if (c->out && at == 0)
        at = 1;
    memmove(c->refs + at + 1, c->refs + at, (c->count - at) * sizeof(*c->refs));
    c->refs[at] = ref;
    c->count++;
    return true;
}

bool chains_offer(struct queue *q, const struct event_item *row)
{
    struct chains *all = chains_of(q);
    if (!all)
        return false;
    uint64_t hash = hash_of(row->event);
    struct chain *c = *slot_of(all, hash);
    if (c)
        return add_ref(c, ref_of(row->row));
    c = chain_new(all, hash);
    if (!c)
        return false;
    c->due_ms = row->event->not_before_ms;
    bool added = add_ref(c, ref_of(row->row));
    place(q, c, false); /* empty, it is removed */
    return added;
}

/* ---- reading on ---- */

struct refill {
    struct queue *q;
    struct chain *chain;
    unsigned rows;
    bool stopped; /* before the end */
};

static bool refill_row(void *ctx, const struct event_item *item)
{
    struct refill *r = ctx;
    struct chain *c = r->chain;
    struct event_ref ref = ref_of(item->row);
    /* What the cursor has not passed yet, it will offer. */
    if (r->q->cursor.len && bytes_compare(item->row, r->q->cursor) > 0)
        return false;
    if (c->count == CHAIN_REFS_MAX || r->rows++ == REFILL_ROWS_MAX) {
        c->more = true;
        c->more_from = ref;
        r->stopped = true;
        return false;
    }
    if (!item->event->ordered || hash_of(item->event) != c->hash)
        return true;
    if (c->count == 0)
        c->due_ms = item->event->not_before_ms;
    if (add_ref(c, ref))
        return true;
    c->more = true;
    c->more_from = ref;
    r->stopped = true;
    return false;
}

static void refill(struct queue *q, struct chain *c)
{
    struct refill r = { .q = q, .chain = c };
    struct row_key before;
    struct event_ref from = c->more_from;
    if (from.counter-- == 0)
        from.index--;
    row_of(q, from, &before);
    c->more = false;
    enum kist_err err = store_list_events(q->e->config.store, bytes_str(q->target),
                                          row_bytes(&before), 0, refill_row, &r);
    if (err != KIST_OK && !r.stopped)
        c->more = true;
}

/* ---- taking ---- */

static void wake_delayed(struct queue *q, int64_t now_ms)
{
    struct chains *all = q->chains;
    if (!has_come(all->delayed_ms, now_ms))
        return;
    struct chain *c = all->delayed;
    all->delayed = NULL;
    all->delayed_ms = INT64_MAX;
    while (c) {
        struct chain *next = c->next;
        if (has_come(c->due_ms, now_ms))
            make_ready(all, c, false);
        else
            delay(all, c);
        c = next;
    }
}

static struct chain *take_ready(struct chains *all)
{
    struct chain *c = all->ready;
    all->ready = c->next;
    if (!all->ready)
        all->ready_end = &all->ready;
    c->next = NULL;
    return c;
}

static void drop_first(struct chain *c)
{
    assert(c->count > 0);
    memmove(c->refs, c->refs + 1, --c->count * sizeof(*c->refs));
    c->due_ms = 0;
}

/* The chain's next event as an item; NULL: there is none now, and the chain is in its place. */
static struct item *take_first(struct queue *q, struct chain *c, int64_t now_ms)
{
    struct row_key row;
    struct event_item found;
    if (c->count == 0)
        refill(q, c);
    if (c->count == 0 || !has_come(c->due_ms, now_ms)) {
        place(q, c, false);
        return NULL;
    }
    row_of(q, c->refs[0], &row);
    struct item *item = item_new(q, row_bytes(&row));
    struct arena scratch;
    arena_init(&scratch, ITEM_BYTES_MAX);
    enum kist_err err =
        item ? store_event(q->e->config.store, row_bytes(&row), &scratch, &found) : KIST_E_NOMEM;
    if (err == KIST_OK && !has_come(found.event->not_before_ms, now_ms)) {
        c->due_ms = found.event->not_before_ms;
        err = KIST_E_BUSY;
    }
    if (err == KIST_OK)
        err = item_load(item, found.packed, found.id);
    arena_release(&scratch);
    if (err == KIST_OK) {
        item->chain = c;
        c->out = true;
        return item;
    }
    if (item)
        item_free(item);
    if (err == KIST_E_NOT_FOUND)
        drop_first(c); /* somebody took it away */
    else if (err != KIST_E_BUSY)
        q->again_ns = events_after(1000);
    place(q, c, false);
    return NULL;
}

void chains_take(struct queue *q, int64_t now_ms, size_t want, struct item_list *out)
{
    if (!q->chains)
        return;
    wake_delayed(q, now_ms);
    /* A chain that gives none goes to the end: not forever round. */
    for (size_t tries = q->chains->count;
         tries && want && q->chains->ready && mono_ns() >= q->again_ns; tries--) {
        struct item *item = take_first(q, take_ready(q->chains), now_ms);
        if (!item)
            continue;
        item_list_add(out, item);
        want--;
    }
}

void chain_settled(struct item *item)
{
    struct chain *c = item->chain;
    assert(c->out);
    c->out = false;
    if (item->how == ITEM_LATER)
        c->due_ms = item->due_ms;
    else
        drop_first(c);
    place(item->queue, c, false);
}

void chain_back(struct item *item)
{
    assert(item->chain->out);
    item->chain->out = false;
    place(item->queue, item->chain, true);
}

void chains_free(struct queue *q)
{
    if (!q->chains)
        return;
    for (size_t i = 0; i < CHAIN_BUCKETS; i++)
        for (struct chain *c = q->chains->bucket[i], *next; c; c = next) {
            next = c->hash_next;
            free(c->refs);
            free(c);
        }
    free(q->chains);
    q->chains = NULL;
}
