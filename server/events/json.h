/* A JSON writer over a buffer: events are written per delivery, so without trees. */
#ifndef KIST_SERVER_EVENTS_JSON_H
#define KIST_SERVER_EVENTS_JSON_H

#include "storage/base/bytes.h"

/* The first error sticks, and nothing is written after it. */
struct json_out {
    struct buf *buf;
    enum kist_err err;
    bool comma; /* something stands before the next member */
};

/* name NULL: an element of an array, or the document itself. */
void jput_open(struct json_out *j, const char *name, char bracket);
void jput_close(struct json_out *j, char bracket);
/* Any bytes: what is not UTF-8 becomes U+FFFD. */
void jput_bytes(struct json_out *j, const char *name, struct bytes value);
void jput_str(struct json_out *j, const char *name, const char *value);
void jput_u64(struct json_out *j, const char *name, uint64_t value);
/* As it is: JSON already. */
void jput_raw(struct json_out *j, const char *name, struct bytes json);

#endif
