#include "storage/index/apply_internal.h"

#include <stdlib.h>

/* The largest command is a CompleteUpload or DeleteObjects of some MiB; unpacked it grows. */
#define APPLY_ARENA_MAX ((size_t)64 << 20)

enum kist_err apply_open(struct kv *kv, struct apply **out)
{
    struct apply *a = calloc(1, sizeof(*a));
    if (!a)
        return KIST_E_NOMEM;
    a->kv = kv;
    arena_init(&a->arena, APPLY_ARENA_MAX);
    arena_init(&a->rules_arena, APPLY_ARENA_MAX);
    arena_init(&a->notify_arena, APPLY_ARENA_MAX);
    buf_init(&a->value, APPLY_ARENA_MAX);
    *out = a;
    return KIST_OK;
}

void apply_close(struct apply *a)
{
    if (!a)
        return;
    arena_release(&a->arena);
    arena_release(&a->rules_arena);
    arena_release(&a->notify_arena);
    buf_release(&a->value);
    free(a);
}

enum kist_err apply_get(struct apply *a, const struct row_key *key,
                        const ProtobufCMessageDescriptor *type, void *out)
{
    struct bytes value;
    TRY(kv_get(&a->read, row_bytes(key), &value));
    return schema_unpack(type, value, &a->arena, out);
}

enum kist_err apply_set(struct apply *a, const struct row_key *key, const void *message)
{
    buf_clear(&a->value);
    TRY(schema_pack(message, &a->value));
    kv_put(a->kv, row_bytes(key), buf_bytes(&a->value));
    return KIST_OK;
}

void apply_drop(struct apply *a, const struct row_key *key)
{
    kv_delete(a->kv, row_bytes(key));
}

enum kist_err apply_bucket(struct apply *a, const char *name, Kist__Bucket **out)
{
    struct row_key key;
    struct bytes bucket = bytes_str(name);
    if (bucket.len > 255)
        return KIST_E_NO_BUCKET;
    row_bucket(&key, bucket);
    enum kist_err err = apply_get(a, &key, &kist__bucket__descriptor, out);
    return err == KIST_E_NOT_FOUND ? KIST_E_NO_BUCKET : err;
}

enum kist_err apply_count(struct apply *a, uint64_t bucket_id, struct stats_change change)
{
    struct row_key key;
    row_stats(&key, bucket_id);
    Kist__BucketStats fresh = KIST__BUCKET_STATS__INIT;
    Kist__BucketStats *stats = &fresh;
    enum kist_err err = apply_get(a, &key, &kist__bucket_stats__descriptor, &stats);
    if (err != KIST_OK && err != KIST_E_NOT_FOUND)
        return err;
    stats->objects += change.objects;
    stats->bytes += change.bytes;
    stats->uploads += change.uploads;
    stats->versions += change.versions;
    stats->part_bytes += change.part_bytes;
    return apply_set(a, &key, stats);
}

/* What those who are told of changes will want to know about this one. */
static void begin(struct apply *a, const Kist__Command *c)
{
    a->garbage_count = 0;
    a->event_count = 0;
    a->spans = 0;
    a->cause = c->cause;
    a->expiring = c->of_case == KIST__COMMAND__OF_EXPIRE;
    a->creates = EVENT_CREATED_PUT;
    a->time_ms = 0;
    if (c->of_case == KIST__COMMAND__OF_EXPIRE)
        a->time_ms = c->expire->now_ms;
    else if (c->of_case == KIST__COMMAND__OF_DELETE_OBJECTS)
        a->time_ms = c->delete_objects->now_ms;
    else if (c->of_case == KIST__COMMAND__OF_RENAME_OBJECT)
        a->time_ms = c->rename_object->now_ms;
    else if (c->of_case == KIST__COMMAND__OF_COPY_OBJECT)
        a->creates = EVENT_CREATED_COPY;
    else if (c->of_case == KIST__COMMAND__OF_COMPLETE_UPLOAD)
        a->creates = EVENT_CREATED_COMPLETE;
    else if (c->cause && c->cause->form)
        a->creates = EVENT_CREATED_POST;
}

static enum kist_err dispatch(struct apply *a, const Kist__Command *c)
{
    switch (c->of_case) {
    case KIST__COMMAND__OF_CREATE_BUCKET:
        return apply_create_bucket(a, c->create_bucket);
    case KIST__COMMAND__OF_DELETE_BUCKET:
        return apply_delete_bucket(a, c->delete_bucket);
    case KIST__COMMAND__OF_PUT_BUCKET_TAGS:
        return apply_put_bucket_tags(a, c->put_bucket_tags);
    case KIST__COMMAND__OF_PUT_OBJECT:
        return apply_put_object(a, c->put_object);
    case KIST__COMMAND__OF_DELETE_OBJECTS:
        return apply_delete_objects(a, c->delete_objects);
    case KIST__COMMAND__OF_COPY_OBJECT:
        return apply_copy_object(a, c->copy_object);
    case KIST__COMMAND__OF_PUT_OBJECT_TAGS:
        return apply_put_object_tags(a, c->put_object_tags);
    case KIST__COMMAND__OF_CREATE_UPLOAD:
        return apply_create_upload(a, c->create_upload);
    case KIST__COMMAND__OF_PUT_PART:
        return apply_put_part(a, c->put_part);
    case KIST__COMMAND__OF_COMPLETE_UPLOAD:
        return apply_complete_upload(a, c->complete_upload);
    case KIST__COMMAND__OF_ABORT_UPLOAD:
        return apply_abort_upload(a, c->abort_upload);
    case KIST__COMMAND__OF_RELEASE:
        return apply_release(a, c->release);
    case KIST__COMMAND__OF_FREED:
        return apply_freed(a, c->freed);
    case KIST__COMMAND__OF_MARK_CHUNK:
        return apply_mark_chunk(a, c->mark_chunk);
    case KIST__COMMAND__OF_PUT_VERSIONING:
        return apply_put_versioning(a, c->put_versioning);
    case KIST__COMMAND__OF_PUT_BUCKET_CONFIG:
        return apply_put_bucket_config(a, c->put_bucket_config);
    case KIST__COMMAND__OF_PUT_OBJECT_LOCK:
        return apply_put_object_lock(a, c->put_object_lock);
    case KIST__COMMAND__OF_EXPIRE:
        return apply_expire(a, c->expire);
    case KIST__COMMAND__OF_BACKFILL_STEP:
        return apply_backfill_step(a, c->backfill_step);
    case KIST__COMMAND__OF_PUT_IAM:
        return apply_put_iam(a, c->put_iam);
    case KIST__COMMAND__OF_RENAME_OBJECT:
        return apply_rename_object(a, c->rename_object);
    case KIST__COMMAND__OF_APPEND_OBJECT:
        return apply_append_object(a, c->append_object);
    case KIST__COMMAND__OF_PUT_ACCOUNT:
        return apply_put_account(a, c->put_account);
    case KIST__COMMAND__OF_DELETE_ACCOUNT:
        return apply_delete_account(a, c->delete_account);
    case KIST__COMMAND__OF_PUT_ACL:
        return apply_put_acl(a, c->put_acl);
    case KIST__COMMAND__OF_PUT_RECORDS:
        return apply_put_records(a, c->put_records);
    case KIST__COMMAND__OF_CHANGE_EVENTS:
        return apply_change_events(a, c->change_events);
    case KIST__COMMAND__OF_PAUSE_EVENTS:
        return apply_pause_events(a, c->pause_events);
    case KIST__COMMAND__OF_ADD_USAGE:
        return apply_add_usage(a, c->add_usage);
    case KIST__COMMAND__OF__NOT_SET:
    case _KIST__COMMAND__OF__CASE_IS_INT_SIZE:
        break;
    }
    return KIST_E_NEWER_FORMAT;
}

/* What a command brought along is nobody's when it comes to nothing. */
static enum kist_err disown(struct apply *a, const Kist__Command *c)
{
    if (c->of_case == KIST__COMMAND__OF_PUT_OBJECT)
        return apply_disown(a, c->put_object->n_chunks, c->put_object->chunks);
    if (c->of_case == KIST__COMMAND__OF_PUT_PART)
        return apply_disown(a, c->put_part->n_chunks, c->put_part->chunks);
    if (c->of_case == KIST__COMMAND__OF_APPEND_OBJECT)
        return apply_disown(a, c->append_object->n_chunks, c->append_object->chunks);
    return KIST_OK;
}

static enum kist_err try_command(struct apply *a, const Kist__Command *command)
{
    begin(a, command);
    TRY(kv_read_begin(a->kv, &a->read));
    kv_read_own(&a->read);
    enum kist_err err = dispatch(a, command);
    kv_read_end(&a->read);
    return err;
}

/* A command whose verdict is not KIST_OK changes nothing, wherever it stopped. */
enum kist_err apply_command(struct apply *a, const struct apply_input *input,
                            struct apply_result *result)
{
    struct apply_result nobody = { 0 };
    arena_clear(&a->arena);
    a->input = input;
    a->result = result ? result : &nobody;
    a->result->index = input->index;
    Kist__Command *command;
    size_t mark = kv_mark(a->kv);
    TRY(schema_unpack(&kist__command__descriptor, input->command, &a->arena, &command));
    enum kist_err err = try_command(a, command);
    if (err != KIST_OK) {
        kv_undo(a->kv, mark);
        *a->result =
            (struct apply_result){ .index = input->index, .deletes = a->result->deletes };
        if (disown(a, command) != KIST_OK)
            kv_undo(a->kv, mark);
    }
    kv_set_index(a->kv, input->index);
    return err;
}
