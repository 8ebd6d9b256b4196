/* Replays, begun and looked at. What they do is replay.c's.
 *
 *   ReplayEvents { Bucket, Prefix, Target }
 *   GetReplay, StopReplay { ReplayId }
 *   ListReplays  { NextToken, MaxResults }
 */
#include <stdio.h>

#include "server/events/control_internal.h"
#include "storage/base/codec.h"

/* Records of replays that are over stay for so long; so many are dropped with each new one. */
#define REPLAY_LIFE_MS ((int64_t)7 * 86400000)
#define OLD_DROPPED 16

static struct store *store_of(const struct control_request *w)
{
    return w->config->store;
}

static json_t *replay_json(const Kist__EventReplay *r)
{
    char begun[TIME_ISO_LEN], changed[TIME_ISO_LEN];
    time_iso(r->begun_ms, begun);
    time_iso(r->changed_ms, changed);
    json_t *out = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s}", "ReplayId", r->id,
                            "Bucket", r->bucket, "Target", r->target, "Events",
                            (json_int_t)r->events, "Objects", (json_int_t)r->objects, "Status",
                            !r->done      ? "RUNNING"
                            : r->error[0] ? "STOPPED"
                                          : "COMPLETED",
                            "Begun", begun, "Changed", changed);
    if (!out)
        return NULL;
    json_object_set_new(out, "Prefix", json_stringn((const char *)r->prefix.data, r->prefix.len));
    if (r->error[0])
        json_object_set_new(out, "Reason", json_string(r->error));
    return out;
}

/* ---- beginning one ---- */

struct old_ones {
    struct control_request *w;
    Kist__RecordChange change[OLD_DROPPED], *list[1 + OLD_DROPPED];
    size_t count; /* of the list; the new one is first */
};

static bool add_old(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct old_ones *o = ctx;
    struct arena *arena = o->w->call->arena;
    Kist__EventReplay *r = NULL;
    if (schema_unpack(&kist__event_replay__descriptor, schema_bytes(record->body), arena, &r) !=
            KIST_OK ||
        !r->done || o->w->call->now_ms - r->changed_ms < REPLAY_LIFE_MS)
        return true;
    Kist__RecordChange *c = &o->change[o->count - 1];
    kist__record_change__init(c);
    c->kind = RECORD_BACKFILL;
    c->name = arena_strndup(arena, name.ptr, name.len);
    c->expected = record->changed;
    if (!c->name)
        return false;
    o->list[o->count++] = c;
    return o->count <= OLD_DROPPED;
}

static void begun(struct control_request *w)
{
    if (w->op.err != KIST_OK) {
        control_fail_err(w, w->op.err);
        return;
    }
    events_replays_changed(w->config->events);
    control_reply(w, json_pack("{s:s}", "ReplayId", (const char *)w->state));
}

/* The new record's body in the call's arena. */
static enum kist_err pack(struct control_request *w, const Kist__EventReplay *r,
                          struct bytes *out)
{
    struct buf body;
    buf_init(&body, (size_t)64 << 10);
    enum kist_err err = schema_pack(r, &body);
    struct bytes copy =
        err == KIST_OK ? arena_copy(w->call->arena, buf_bytes(&body)) : BYTES_EMPTY;
    buf_release(&body);
    TRY(err);
    if (!copy.ptr)
        return KIST_E_NOMEM;
    *out = copy;
    return KIST_OK;
}

static void write_replay(struct control_request *w, const Kist__EventReplay *r)
{
    struct old_ones old = { .w = w, .count = 1 };
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords put = KIST__PUT_RECORDS__INIT;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT;
    Kist__Record record = KIST__RECORD__INIT;
    struct bytes body;
    enum kist_err err = pack(w, r, &body);
    if (err == KIST_OK)
        err = store_list_records(store_of(w), RECORD_BACKFILL, BYTES_EMPTY, BYTES_EMPTY,
                                 BYTES_EMPTY, add_old, &old);
    if (err != KIST_OK) {
        control_fail_err(w, err);
        return;
    }
    record.created_ms = r->begun_ms;
    record.body = schema_data(body);
    change.kind = RECORD_BACKFILL;
    change.name = r->id;
    change.record = &record;
    old.list[0] = &change;
    put.n_changes = old.count;
    put.changes = old.list;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &put;
    control_commit(w, &command, begun);
}

static char *new_id(struct control_request *w)
{
    uint8_t random[16];
    char *hex = arena_alloc(w->call->arena, 2 * sizeof(random) + 1);
    store_env(store_of(w))->random(store_env(store_of(w)), random, sizeof(random));
    if (hex)
        hex_encode(bytes_of(random, sizeof(random)), hex);
    return hex;
}

static enum kist_err bucket_account(struct control_request *w, const Kist__Bucket *bucket,
                                    const char **out)
{
    Kist__Account *account = NULL;
    enum kist_err err =
        store_account_canonical(store_of(w), bytes_str(bucket->owner), w->call->arena, &account);
    if (err == KIST_E_NOT_FOUND)
        err = store_account_first(store_of(w), w->call->arena, &account);
    TRY(err);
    *out = account->id;
    return KIST_OK;
}

/* The bucket must be the caller's account's, as the target is. */
static enum kist_err open_bucket(struct control_request *w, const char *name, Kist__Bucket **out,
                                 Kist__BucketStats **stats)
{
    const char *account = NULL;
    TRY(store_bucket(store_of(w), bytes_str(name), w->call->arena, out));
    TRY(bucket_account(w, *out, &account));
    if (!bytes_equal(bytes_str(account), w->call->who->account))
        return KIST_E_NO_BUCKET;
    return store_bucket_stats(store_of(w), (*out)->id, w->call->arena, stats);
}

/* A replay tells the target what the bucket holds. False after an error reply. */
static bool may_list(struct control_request *w, const char *bucket)
{
    const struct auth_identity *who = w->call->who;
    const char *arn = arena_printf(w->call->arena, "arn:aws:s3:::%s", bucket);
    if (arn && w->call->allowed(w->call, "s3:ListBucket", bytes_str(arn), who->account, NULL))
        return true;
    control_fail(w, 403, "AccessDeniedException", "A replay needs s3:ListBucket on the bucket.");
    return false;
}

static void replay_events(struct control_request *w)
{
    Kist__EventReplay replay = KIST__EVENT_REPLAY__INIT;
    Kist__Bucket *bucket = NULL;
    Kist__BucketStats *stats = NULL;
    const char *name, *prefix, *target;
    if (!control_text(w, "Bucket", &name) || !control_text(w, "Prefix", &prefix) ||
        !(target = control_target(w)))
        return;
    enum kist_err err = open_bucket(w, name, &bucket, &stats);
    if (err == KIST_OK)
        err = events_check_target(w->config->events, bytes_str(target), bytes_str(name),
                                  w->call->who->account);
    if (err == KIST_E_DENIED) {
        control_fail(w, 400, "ValidationException",
                     "The target does not let this bucket's events in.");
        return;
    }
    if (err == KIST_OK && !may_list(w, name))
        return;
    w->state = new_id(w);
    if (err == KIST_OK && !w->state)
        err = KIST_E_NOMEM;
    if (err == KIST_OK && strlen(prefix) > 1024)
        err = KIST_E_INVALID;
    if (err != KIST_OK) {
        control_events_fail(w, err, err == KIST_E_NO_BUCKET ? name : target);
        return;
    }
    replay.id = (char *)(uintptr_t)w->state;
    replay.bucket = bucket->name;
    replay.prefix = schema_data(bytes_str(prefix));
    replay.target = (char *)(uintptr_t)target;
    replay.objects = prefix[0] ? 0 : (uint64_t)stats->objects;
    replay.begun_ms = replay.changed_ms = w->call->now_ms;
    replay.account =
        arena_strndup(w->call->arena, w->call->who->account.ptr, w->call->who->account.len);
    if (!replay.account)
        control_fail_err(w, KIST_E_NOMEM);
    else
        write_replay(w, &replay);
}

/* ---- looking ---- */

/* NULL after an error reply. */
static Kist__EventReplay *find(struct control_request *w, Kist__Record **record)
{
    const char *id;
    Kist__EventReplay *r = NULL;
    if (!control_text(w, "ReplayId", &id) || !control_allowed(w, "events/*"))
        return NULL;
    enum kist_err err = store_record(store_of(w), RECORD_BACKFILL, BYTES_EMPTY, bytes_str(id),
                                     w->call->arena, record);
    if (err == KIST_OK)
        err = schema_unpack(&kist__event_replay__descriptor, schema_bytes((*record)->body),
                            w->call->arena, &r);
    if (err == KIST_OK && !bytes_equal(bytes_str(r->account), w->call->who->account))
        err = KIST_E_NOT_FOUND;
    if (err == KIST_OK)
        return r;
    control_events_fail(w, err, id[0] ? id : "ReplayId");
    return NULL;
}

static void get_replay(struct control_request *w)
{
    Kist__Record *record = NULL;
    const Kist__EventReplay *r = find(w, &record);
    if (r)
        control_reply(w, replay_json(r));
}

static void stopped(struct control_request *w)
{
    if (w->op.err != KIST_OK) {
        control_fail_err(w, w->op.err);
        return;
    }
    events_replays_changed(w->config->events);
    control_reply(w, json_object());
}

/* Its next step finds the record changed. Whatever step came in between, the end stays. */
static void stop_replay(struct control_request *w)
{
    static char reason[] = "stopped";
    Kist__Record *record = NULL;
    Kist__EventReplay *r = find(w, &record);
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutRecords put = KIST__PUT_RECORDS__INIT;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *list[] = { &change };
    struct bytes body;
    if (!r)
        return;
    if (r->done) {
        control_reply(w, json_object());
        return;
    }
    r->done = true;
    r->error = reason;
    r->changed_ms = w->call->now_ms;
    enum kist_err err = pack(w, r, &body);
    if (err != KIST_OK) {
        control_fail_err(w, err);
        return;
    }
    record->body = schema_data(body);
    change.kind = RECORD_BACKFILL;
    change.name = r->id;
    change.any = true;
    change.record = record;
    put.n_changes = 1;
    put.changes = list;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &put;
    control_commit(w, &command, stopped);
}

struct replays_page {
    struct control_request *w;
    json_t *list;
    size_t max;
    char last[64];
    bool more;
};

static bool add_replay(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct replays_page *p = ctx;
    struct arena arena;
    Kist__EventReplay *r = NULL;
    arena_init(&arena, (size_t)64 << 10);
    bool mine = schema_unpack(&kist__event_replay__descriptor, schema_bytes(record->body), &arena,
                              &r) == KIST_OK &&
                bytes_equal(bytes_str(r->account), p->w->call->who->account);
    p->more = mine && json_array_size(p->list) == p->max;
    if (mine && !p->more) {
        json_array_append_new(p->list, replay_json(r));
        snprintf(p->last, sizeof(p->last), "%.*s", (int)name.len, (const char *)name.ptr);
    }
    arena_release(&arena);
    return !p->more;
}

static void list_replays(struct control_request *w)
{
    struct replays_page p = { .w = w };
    struct control_page page;
    if (!control_allowed(w, "events/*") || !control_page(w, &page))
        return;
    p.max = page.max;
    p.list = json_array();
    enum kist_err err = store_list_records(store_of(w), RECORD_BACKFILL, BYTES_EMPTY, BYTES_EMPTY,
                                           bytes_str(page.after), add_replay, &p);
    if (err != KIST_OK) {
        json_decref(p.list);
        control_fail_err(w, err);
        return;
    }
    json_t *out = json_pack("{s:o}", "Replays", p.list);
    if (p.more)
        json_object_set_new(out, "NextToken", json_string(p.last));
    control_reply(w, out);
}

const struct control_call replay_calls[] = {
    { "ReplayEvents", "kist:ReplayEvents", replay_events },
    { "GetReplay", "kist:GetReplay", get_replay },
    { "StopReplay", "kist:StopReplay", stop_replay },
    { "ListReplays", "kist:ListReplays", list_replays },
    { NULL, NULL, NULL },
};
