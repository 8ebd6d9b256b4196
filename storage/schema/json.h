/* Records as JSON, for people: `kist dump`. What is secret is named, not shown. */
#ifndef KIST_STORAGE_SCHEMA_JSON_H
#define KIST_STORAGE_SCHEMA_JSON_H

#include "storage/schema/schema.h"

/* A string in quotes. Text (UTF-8 without control characters) is shown as it is, other bytes as
 * {"hex": "..."}. */
enum kist_err schema_json_bytes(struct buf *out, struct bytes s) MUST_CHECK;
/* A message as an object; fields at their defaults are left out. Keys of encryption, secrets of
 * access keys and the nonces of upload ids are "(hidden)". */
enum kist_err schema_json(struct buf *out, const void *message) MUST_CHECK;

#endif
