/* The in-memory half of the index: a skip list with one writer and any number of readers.
 *
 * Nodes are never removed; a value is replaced by swapping one pointer, so that readers need no
 * lock: what they can reach stays as it is until the whole overlay goes. Memory comes in large
 * blocks and is given back at once.
 *
 * Each value knows the command that wrote it and the value that it replaced: a reader names the
 * last command that it wants to see, and sees no part of a later one; and the writer can take
 * back what a command wrote.
 *
 * Most lookups are for keys that are not here (a new object's row, an old object's read). A
 * Bloom filter of 512 KiB answers those without a walk; it suits some 400,000 rows, and with
 * more of them the walk only comes more often.
 */
#ifndef KIST_STORAGE_INDEX_OVERLAY_H
#define KIST_STORAGE_INDEX_OVERLAY_H

#include "storage/base/bytes.h"

struct overlay;
struct overlay_node;

struct overlay *overlay_new(void); /* NULL: out of memory */
void overlay_free(struct overlay *o);
/* Writer; commands never go down. overlay_delete() leaves a tombstone. Both abort without memory:
 * the log holds the command, the next start applies it. */
void overlay_put(struct overlay *o, uint64_t command, struct bytes key, struct bytes value);
void overlay_delete(struct overlay *o, uint64_t command, struct bytes key);
/* Writer: takes back what was written since the mark. Before any reader wants to see it. */
size_t overlay_mark(const struct overlay *o);
void overlay_undo(struct overlay *o, size_t mark);
/* Writer: what was written is there to stay. Marks are void. */
void overlay_settle(struct overlay *o);
/* What is taken from blocks, replaced values included. */
size_t overlay_bytes(const struct overlay *o);
size_t overlay_rows(const struct overlay *o);

/* Readers. Nodes and what they hold live as long as the overlay. NULL: no such node. */
const struct overlay_node *overlay_find(const struct overlay *o, struct bytes key);   /* == key */
const struct overlay_node *overlay_seek(const struct overlay *o, struct bytes key);   /* >= key */
const struct overlay_node *overlay_before(const struct overlay *o, struct bytes key); /* < key */
const struct overlay_node *overlay_next(const struct overlay_node *n);
struct bytes overlay_key(const struct overlay_node *n);
/* What the commands up to the given one left there. */
enum overlay_found { OVERLAY_NOTHING, OVERLAY_VALUE, OVERLAY_TOMBSTONE };
enum overlay_found overlay_value(const struct overlay_node *n, uint64_t upto,
                                 struct bytes *value);

#endif
