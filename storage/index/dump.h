/* The index's rows and the log's commands as lines of JSON. */
#ifndef KIST_STORAGE_INDEX_DUMP_H
#define KIST_STORAGE_INDEX_DUMP_H

#include "storage/base/bytes.h"

/* {"row": "object", "bucket": 3, "key": "a", "value": {...}}. A row of a table that this program
 * does not know is shown without what it holds; damaged ones say so. */
enum kist_err dump_row(struct buf *out, struct bytes key, struct bytes value) MUST_CHECK;
/* {"log": 17, "body": 5, "command": {...}}. */
enum kist_err dump_command(struct buf *out, uint64_t index, struct bytes command,
                           uint64_t body_bytes) MUST_CHECK;

#endif
