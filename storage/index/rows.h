/* Keys of the index's rows. Integers are big-endian, so that byte order is numeric order.
 *
 *   B name                       Bucket
 *   S bucket-id                  BucketStats
 *   K bucket-id kind             BucketConfig
 *   I kind name                  IamEntity; kind 0 says when any of them changed
 *   I kind+80 account name       IamEntity of an account that is not the first; access keys of
 *                                all accounts have the form above
 *   A account                    Account
 *   A b canonical-id name        Account (its id): owns that bucket; not for the first account
 *   A c canonical-id             Account (its id)
 *   A f                          Account (its id): the first one
 *   A n name                     Account (its id)
 *   O bucket-id key 00           Object, the current one
 *   V bucket-id key 00 ~data-id  Object that is not current, or a delete marker: newest first
 *   N bucket-id key 00           NullVersion: which of the V rows is the null version
 *   U bucket-id key 00 upload-id Upload in progress
 *   D time bucket-id key 00 id kind   Due: what a lifecycle rule will act on, by time
 *   L bucket-id                  Backfill
 *   P data-id part-number        Part of an upload, or of a completed object's manifest
 *   M data-id                    ManifestRefs: absent means one reference
 *   C sha-256                    Chunk
 *   E pack offset                ExtentOwner: every live extent, and dead ones with an F row
 *   F pack offset                Extent that is dead but not yet punched out of its pack
 *   X k bucket-id token          RenameToken
 *   X t time bucket-id token     (nothing): the same, by age
 *   G index counter              Garbage: data waiting for release
 *   Q q queue                    EventQueue; queue: 8 bytes of its target's hash
 *   Q e queue due index counter  Event; index and counter say which it is, whenever it is due
 *   R kind account 00 name       Record
 *   T s trace index counter      Span
 *   T a time trace               (nothing): traces by age
 *   Y b bucket-id                Usage: all requests to a bucket
 *   Y d day account 00 who 00 bucket-id   Usage: those of one day; who may be function/NAME
 *   Y f account 00 name          Usage: all invocations of a function
 *   Y p account 00 who           Usage: all requests of a principal
 *
 * S3 keys hold no NUL, so that "key 00" sorts before every longer key: listings are in byte
 * order, and what belongs to one key stays together.
 */
#ifndef KIST_STORAGE_INDEX_ROWS_H
#define KIST_STORAGE_INDEX_ROWS_H

#include "storage/index/kv.h"

enum row_table {
    ROW_BUCKET = 'B',
    ROW_STATS = 'S',
    ROW_CONFIG = 'K',
    ROW_IAM = 'I',
    ROW_ACCOUNT = 'A',
    ROW_OBJECT = 'O',
    ROW_VERSION = 'V',
    ROW_NULL = 'N',
    ROW_UPLOAD = 'U',
    ROW_DUE = 'D',
    ROW_BACKFILL = 'L',
    ROW_PART = 'P',
    ROW_MANIFEST = 'M',
    ROW_CHUNK = 'C',
    ROW_EXTENT = 'E',
    ROW_FREED = 'F',
    ROW_GARBAGE = 'G',
    ROW_TOKEN = 'X',
    ROW_EVENT = 'Q',
    ROW_RECORD = 'R',
    ROW_TRACE = 'T',
    ROW_USAGE = 'Y',
};

/* A key being built; bounded by KV_KEY_MAX, which no valid input exceeds. */
struct row_key {
    size_t len;
    uint8_t data[KV_KEY_MAX];
};

static inline struct bytes row_bytes(const struct row_key *k)
{
    return bytes_of(k->data, k->len);
}

void row_start(struct row_key *k, enum row_table table);
void row_add(struct row_key *k, struct bytes part);
void row_add_u32(struct row_key *k, uint32_t v);
void row_add_u64(struct row_key *k, uint64_t v);

void row_bucket(struct row_key *k, struct bytes name);
void row_stats(struct row_key *k, uint64_t bucket_id);
void row_object(struct row_key *k, uint64_t bucket_id, struct bytes key);
/* account: empty for the first. Without a name, the prefix of all of that kind. */
void row_iam(struct row_key *k, struct bytes account, uint8_t kind, struct bytes name);
void row_account(struct row_key *k, struct bytes id);
enum account_by {
    ACCOUNT_OF_BUCKET = 'b',
    ACCOUNT_BY_CANONICAL = 'c',
    ACCOUNT_FIRST = 'f',
    ACCOUNT_BY_NAME = 'n'
};
void row_account_by(struct row_key *k, enum account_by by, struct bytes value);
/* Without a name, the prefix of all buckets of an account. */
void row_account_bucket(struct row_key *k, struct bytes canonical, struct bytes name);
void row_config(struct row_key *k, uint64_t bucket_id, uint32_t kind);
/* Of all versions of a key; row_version() without the last part. */
void row_versions(struct row_key *k, uint64_t bucket_id, struct bytes key);
void row_version(struct row_key *k, uint64_t bucket_id, struct bytes key, uint64_t data_id);
void row_null(struct row_key *k, uint64_t bucket_id, struct bytes key);
void row_upload(struct row_key *k, uint64_t bucket_id, struct bytes key, uint64_t upload_id);
/* kind: enum lifecycle_kind; id: of the object's data, or the upload. */
void row_due(struct row_key *k, int64_t due_ms, uint64_t bucket_id, struct bytes key, uint64_t id,
             uint8_t kind);
void row_backfill(struct row_key *k, uint64_t bucket_id);
void row_part(struct row_key *k, uint64_t data_id, uint32_t number);
void row_manifest(struct row_key *k, uint64_t data_id);
void row_chunk(struct row_key *k, struct bytes hash);
void row_extent(struct row_key *k, enum row_table table, uint32_t pack, uint64_t offset);
void row_token(struct row_key *k, uint64_t bucket_id, struct bytes token);
/* Without a bucket and token, where all of that time begin. */
void row_token_age(struct row_key *k, int64_t time_ms, uint64_t bucket_id, struct bytes token);
enum usage_by {
    USAGE_BY_BUCKET = 'b',
    USAGE_BY_DAY = 'd',
    USAGE_BY_FUNCTION = 'f',
    USAGE_BY_PRINCIPAL = 'p'
};
/* With nothing behind the letter: the prefix of all such rows. */
void row_usage(struct row_key *k, enum usage_by by);
void row_usage_bucket(struct row_key *k, uint64_t bucket_id);
void row_usage_day(struct row_key *k, uint32_t day, struct bytes account, struct bytes who,
                   uint64_t bucket_id);
void row_usage_principal(struct row_key *k, struct bytes account, struct bytes who);
void row_usage_function(struct row_key *k, struct bytes account, struct bytes name);
void row_garbage(struct row_key *k, uint64_t index, uint32_t counter);
/* What the rows of a target's events begin with, and its queue's row. target: an ARN. */
uint64_t row_queue_id(struct bytes target);
void row_queue(struct row_key *k, uint64_t queue);
#define ROW_DUE_PARKED INT64_MAX
void row_event(struct row_key *k, uint64_t queue, int64_t due_ms, uint64_t index,
               uint32_t counter);
#define ROW_EVENT_LEN (2 + 8 + 8 + 8 + 4)
/* The parts of an event row's key; false when it is none. */
struct row_event_parts {
    uint64_t queue;
    int64_t due_ms;
    uint64_t index;
    uint32_t counter;
};
bool row_event_parse(struct bytes row, struct row_event_parts *out);
/* Without a name, the prefix of all of that kind and account. account: empty for the first. */
void row_record(struct row_key *k, uint8_t kind, struct bytes account, struct bytes name);
/* trace: 16 bytes. */
void row_span(struct row_key *k, struct bytes trace, uint64_t index, uint32_t counter);
void row_trace_age(struct row_key *k, int64_t time_ms, struct bytes trace);

uint32_t row_read_u32(const uint8_t *p);
uint64_t row_read_u64(const uint8_t *p);
/* The S3 key inside an O, V, N or U row's key; the row's key is whole and valid. */
struct bytes row_s3_key(struct bytes row);

#endif
