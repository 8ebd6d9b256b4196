/* What control.c and control_replay.c share. */
#ifndef KIST_SERVER_EVENTS_CONTROL_INTERNAL_H
#define KIST_SERVER_EVENTS_CONTROL_INTERNAL_H

#include <jansson.h>

#include "server/events/control.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX 1000

struct events_control {
    struct events_control_config config;
    struct api_service service;
};

/* One call. */
struct control {
    struct events_control *c;
    struct api_call *call;
    json_t *in;
    struct store_op op;
    bool op_used;
    void (*then)(struct control *w); /* when the op has succeeded */
    /* Of a change in steps: */
    const char *target;
    bool drop, parked_only;
    uint64_t changed;
    const char *id;
};

void control_reply(struct control *w, json_t *out); /* takes it over */
void control_fail(struct control *w, unsigned status, const char *type, const char *message);
void control_fail_err(struct control *w, enum kist_err err, const char *what);
/* A member of the input; empty without one. */
const char *control_text(struct control *w, const char *name);
size_t control_page(struct control *w);
/* The target that is named, if the caller may do this to it; NULL after an error reply. */
const char *control_target(struct control *w, const char *action);
bool control_allowed(struct control *w, const char *action, const char *resource,
                     struct bytes account);
void control_commit(struct control *w, const Kist__Command *command,
                    void (*then)(struct control *w));
/* The account that owns the bucket. */
enum kist_err control_bucket_account(struct control *w, const Kist__Bucket *bucket,
                                     const char **out) MUST_CHECK;

/* control_replay.c */
void control_replay_events(struct control *w);
void control_get_replay(struct control *w);
void control_stop_replay(struct control *w);
void control_list_replays(struct control *w);

#endif
