/* Where a key's versions are: the current object in its O row, all others and every delete
 * marker in V rows, so that listings of objects never meet a marker. A key whose newest version
 * is a marker has no O row. Used by apply() and by reads alike.
 */
#ifndef KIST_STORAGE_INDEX_VERSIONS_H
#define KIST_STORAGE_INDEX_VERSIONS_H

#include "storage/index/apply.h"
#include "storage/index/rows.h"
#include "storage/schema/schema.h"

/* Finds a version (VERSION_CURRENT, VERSION_NULL, or an id), its row's key and what it holds,
 * which may be a delete marker. KIST_E_NOT_FOUND, KIST_E_CORRUPT. */
enum kist_err version_find(struct kv_read *read, struct arena *arena, uint64_t bucket_id,
                           struct bytes key, uint64_t version, struct row_key *row,
                           Kist__Object **out) MUST_CHECK;
/* The newest of a key's V rows. KIST_E_NOT_FOUND. */
enum kist_err version_newest(struct kv_read *read, struct arena *arena, uint64_t bucket_id,
                             struct bytes key, struct row_key *row,
                             Kist__Object **out) MUST_CHECK;
/* True: replacing or deleting this current object leaves it behind as a version. */
bool version_is_kept(const Kist__Bucket *bucket, const Kist__Object *current);
/* True: the version must not be removed at that time. */
bool version_is_locked(const Kist__Object *o, int64_t now_ms, bool bypass_governance);

#endif
