#include "storage/index/rows.h"

#include <assert.h>

#include "storage/base/digest.h"

void row_start(struct row_key *k, enum row_table table)
{
    k->len = 1;
    k->data[0] = (uint8_t)table;
}

void row_add(struct row_key *k, struct bytes part)
{
    assert(part.len <= sizeof(k->data) - k->len);
    if (part.len)
        memcpy(k->data + k->len, part.ptr, part.len);
    k->len += part.len;
}

void row_add_u32(struct row_key *k, uint32_t v)
{
    uint8_t b[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };
    row_add(k, bytes_of(b, sizeof(b)));
}

void row_add_u64(struct row_key *k, uint64_t v)
{
    row_add_u32(k, (uint32_t)(v >> 32));
    row_add_u32(k, (uint32_t)v);
}

void row_bucket(struct row_key *k, struct bytes name)
{
    row_start(k, ROW_BUCKET);
    row_add(k, name);
}

void row_stats(struct row_key *k, uint64_t bucket_id)
{
    row_start(k, ROW_STATS);
    row_add_u64(k, bucket_id);
}

void row_object(struct row_key *k, uint64_t bucket_id, struct bytes key)
{
    row_start(k, ROW_OBJECT);
    row_add_u64(k, bucket_id);
    row_add(k, key);
    row_add(k, bytes_of("", 1));
}

/* The first account's rows are as they were before there were others. */
void row_iam(struct row_key *k, struct bytes account, uint8_t kind, struct bytes name)
{
    uint8_t table = account.len ? kind | 0x80 : kind;
    row_start(k, ROW_IAM);
    row_add(k, bytes_of(&table, 1));
    row_add(k, account);
    row_add(k, name);
}

void row_account(struct row_key *k, struct bytes id)
{
    row_start(k, ROW_ACCOUNT);
    row_add(k, id);
}

void row_account_by(struct row_key *k, enum account_by by, struct bytes value)
{
    uint8_t letter = (uint8_t)by;
    row_start(k, ROW_ACCOUNT);
    row_add(k, bytes_of(&letter, 1));
    row_add(k, value);
}

void row_account_bucket(struct row_key *k, struct bytes canonical, struct bytes name)
{
    row_account_by(k, ACCOUNT_OF_BUCKET, canonical);
    row_add(k, name);
}

void row_config(struct row_key *k, uint64_t bucket_id, uint32_t kind)
{
    row_start(k, ROW_CONFIG);
    row_add_u64(k, bucket_id);
    row_add_u32(k, kind);
}

void row_versions(struct row_key *k, uint64_t bucket_id, struct bytes key)
{
    row_object(k, bucket_id, key);
    k->data[0] = ROW_VERSION;
}

void row_version(struct row_key *k, uint64_t bucket_id, struct bytes key, uint64_t data_id)
{
    row_versions(k, bucket_id, key);
    row_add_u64(k, ~data_id);
}

void row_null(struct row_key *k, uint64_t bucket_id, struct bytes key)
{
    row_object(k, bucket_id, key);
    k->data[0] = ROW_NULL;
}

void row_upload(struct row_key *k, uint64_t bucket_id, struct bytes key, uint64_t upload_id)
{
    row_object(k, bucket_id, key);
    k->data[0] = ROW_UPLOAD;
    row_add_u64(k, upload_id);
}

void row_due(struct row_key *k, int64_t due_ms, uint64_t bucket_id, struct bytes key, uint64_t id,
             uint8_t kind)
{
    row_start(k, ROW_DUE);
    row_add_u64(k, (uint64_t)due_ms);
    row_add_u64(k, bucket_id);
    row_add(k, key);
    row_add(k, bytes_of("", 1));
    row_add_u64(k, id);
    row_add(k, bytes_of(&kind, 1));
}

void row_backfill(struct row_key *k, uint64_t bucket_id)
{
    row_start(k, ROW_BACKFILL);
    row_add_u64(k, bucket_id);
}

void row_part(struct row_key *k, uint64_t data_id, uint32_t number)
{
    row_start(k, ROW_PART);
    row_add_u64(k, data_id);
    row_add_u32(k, number);
}

void row_manifest(struct row_key *k, uint64_t data_id)
{
    row_start(k, ROW_MANIFEST);
    row_add_u64(k, data_id);
}

void row_chunk(struct row_key *k, struct bytes hash)
{
    row_start(k, ROW_CHUNK);
    row_add(k, hash);
}

void row_extent(struct row_key *k, enum row_table table, uint32_t pack, uint64_t offset)
{
    row_start(k, table);
    row_add_u32(k, pack);
    row_add_u64(k, offset);
}

void row_token(struct row_key *k, uint64_t bucket_id, struct bytes token)
{
    row_start(k, ROW_TOKEN);
    row_add(k, BYTES_LIT("k"));
    row_add_u64(k, bucket_id);
    row_add(k, token);
}

void row_token_age(struct row_key *k, int64_t time_ms, uint64_t bucket_id, struct bytes token)
{
    row_start(k, ROW_TOKEN);
    row_add(k, BYTES_LIT("t"));
    row_add_u64(k, (uint64_t)time_ms);
    row_add_u64(k, bucket_id);
    row_add(k, token);
}

void row_usage(struct row_key *k, enum usage_by by)
{
    uint8_t letter = (uint8_t)by;
    row_start(k, ROW_USAGE);
    row_add(k, bytes_of(&letter, 1));
}

void row_usage_bucket(struct row_key *k, uint64_t bucket_id)
{
    row_usage(k, USAGE_BY_BUCKET);
    row_add_u64(k, bucket_id);
}

void row_usage_day(struct row_key *k, uint32_t day, struct bytes account, struct bytes who,
                   uint64_t bucket_id)
{
    row_usage(k, USAGE_BY_DAY);
    row_add_u32(k, day);
    row_add(k, account);
    row_add(k, bytes_of("", 1));
    row_add(k, who);
    row_add(k, bytes_of("", 1));
    row_add_u64(k, bucket_id);
}

static void row_usage_named(struct row_key *k, enum usage_by by, struct bytes account,
                            struct bytes name)
{
    row_usage(k, by);
    row_add(k, account);
    row_add(k, bytes_of("", 1));
    row_add(k, name);
}

void row_usage_principal(struct row_key *k, struct bytes account, struct bytes who)
{
    row_usage_named(k, USAGE_BY_PRINCIPAL, account, who);
}

void row_usage_function(struct row_key *k, struct bytes account, struct bytes name)
{
    row_usage_named(k, USAGE_BY_FUNCTION, account, name);
}

void row_garbage(struct row_key *k, uint64_t index, uint32_t counter)
{
    row_start(k, ROW_GARBAGE);
    row_add_u64(k, index);
    row_add_u32(k, counter);
}

uint32_t row_read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t row_read_u64(const uint8_t *p)
{
    return (uint64_t)row_read_u32(p) << 32 | row_read_u32(p + 4);
}

struct bytes row_s3_key(struct bytes row)
{
    size_t tail = row.ptr[0] == ROW_UPLOAD || row.ptr[0] == ROW_VERSION ? 9 : 1;
    assert(row.len >= 9 + tail);
    return bytes_of(row.ptr + 9, row.len - 9 - tail);
}

/* ---- events, records, traces ---- */

static void start_kind(struct row_key *k, enum row_table table, char kind)
{
    row_start(k, table);
    row_add(k, bytes_of(&kind, 1));
}

uint64_t row_queue_id(struct bytes target)
{
    uint8_t hash[DIGEST_MAX_LEN];
    digest_once(DIGEST_SHA256, target, hash);
    return row_read_u64(hash);
}

void row_queue(struct row_key *k, uint64_t queue)
{
    start_kind(k, ROW_EVENT, 'q');
    row_add_u64(k, queue);
}

void row_event(struct row_key *k, uint64_t queue, int64_t due_ms, uint64_t index,
               uint32_t counter)
{
    start_kind(k, ROW_EVENT, 'e');
    row_add_u64(k, queue);
    row_add_u64(k, (uint64_t)due_ms);
    row_add_u64(k, index);
    row_add_u32(k, counter);
}

bool row_event_parse(struct bytes row, struct row_event_parts *out)
{
    if (row.len != ROW_EVENT_LEN || row.ptr[0] != ROW_EVENT || row.ptr[1] != 'e')
        return false;
    out->queue = row_read_u64(row.ptr + 2);
    out->due_ms = (int64_t)row_read_u64(row.ptr + 10);
    out->index = row_read_u64(row.ptr + 18);
    out->counter = row_read_u32(row.ptr + 26);
    return true;
}

void row_record(struct row_key *k, uint8_t kind, struct bytes account, struct bytes name)
{
    row_start(k, ROW_RECORD);
    row_add(k, bytes_of(&kind, 1));
    row_add(k, account);
    row_add(k, bytes_of("", 1));
    row_add(k, name);
}

void row_span(struct row_key *k, struct bytes trace, uint64_t index, uint32_t counter)
{
    start_kind(k, ROW_TRACE, 's');
    row_add(k, trace);
    row_add_u64(k, index);
    row_add_u32(k, counter);
}

void row_trace_age(struct row_key *k, int64_t time_ms, struct bytes trace)
{
    start_kind(k, ROW_TRACE, 'a');
    row_add_u64(k, (uint64_t)time_ms);
    row_add(k, trace);
}
