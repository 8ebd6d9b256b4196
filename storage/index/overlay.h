/* The in-memory half of the index: a skip list with one writer and any number of readers.
 *
 * Nodes are never removed; a value is replaced by swapping one pointer, so that readers need no
 * lock: what they can reach stays as it is until the whole overlay goes. Memory comes in large
 * blocks and is given back at once.
 */
#ifndef KIST_STORAGE_INDEX_OVERLAY_H
#define KIST_STORAGE_INDEX_OVERLAY_H

#include "storage/base/bytes.h"

struct overlay;
struct overlay_node;

struct overlay *overlay_new(void); /* NULL: out of memory */
void overlay_free(struct overlay *o);
/* Writer. A NULL value pointer with len 0 via overlay_delete() is a tombstone. Aborts without
 * memory: the log holds the command, the next start applies it. */
void overlay_put(struct overlay *o, struct bytes key, struct bytes value);
void overlay_delete(struct overlay *o, struct bytes key);
size_t overlay_bytes(const struct overlay *o);
size_t overlay_rows(const struct overlay *o);

/* Readers. */
const struct overlay_node *overlay_seek(const struct overlay *o, struct bytes key); /* >= key */
const struct overlay_node *overlay_before(const struct overlay *o, struct bytes key); /* < key */
const struct overlay_node *overlay_next(const struct overlay_node *n);
struct bytes overlay_key(const struct overlay_node *n);
/* False: a tombstone. */
bool overlay_value(const struct overlay_node *n, struct bytes *value);

#endif
