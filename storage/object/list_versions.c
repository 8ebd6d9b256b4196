/* ListObjectVersions: the O and V rows of a bucket, merged by key. */
#include "storage/index/versions.h"
#include "storage/object/walk.h"

struct merge {
    struct walk objects, versions;
    enum kist_err objects_err, versions_err; /* KIST_E_NOT_FOUND where one has ended */
    struct bytes key;                        /* the last one delivered */
    uint64_t object_data_id;                 /* of its O row; 0: none */
};

static enum kist_err failure(const struct merge *m)
{
    if (m->objects_err != KIST_OK && m->objects_err != KIST_E_NOT_FOUND)
        return m->objects_err;
    return m->versions_err == KIST_E_NOT_FOUND ? KIST_OK : m->versions_err;
}

/* The walk whose row comes next, NULL at the end. A key's O row stands before its V rows. */
static struct walk *merge_at(struct merge *m)
{
    if (m->objects_err != KIST_OK)
        return m->versions_err == KIST_OK ? &m->versions : NULL;
    if (m->versions_err != KIST_OK)
        return &m->objects;
    int order = bytes_compare(row_s3_key(m->objects.row), row_s3_key(m->versions.row));
    return order <= 0 ? &m->objects : &m->versions;
}

static void merge_step(struct merge *m, const struct walk *at)
{
    if (at == &m->objects)
        m->objects_err = walk_next(&m->objects);
    else
        m->versions_err = walk_next(&m->versions);
}

static void skip_prefix(struct merge *m, struct bytes common)
{
    if (m->objects_err == KIST_OK && bytes_starts_with(row_s3_key(m->objects.row), common))
        m->objects_err = walk_skip_prefix(&m->objects, common);
    if (m->versions_err == KIST_OK && bytes_starts_with(row_s3_key(m->versions.row), common))
        m->versions_err = walk_skip_prefix(&m->versions, common);
}

/* Behind the marker: a version of after_key, or all of them. */
static enum kist_err merge_begin(struct merge *m, const struct version_query *q,
                                 struct arena *arena)
{
    struct row_key object = m->objects.base, version = m->versions.base;
    row_add(&object, q->after_key);
    row_add(&version, q->after_key);
    row_add(&object, bytes_of("\0\0", 2)); /* behind the key's own row */
    if (q->after_version == VERSION_CURRENT) {
        row_add(&version, bytes_of("\1", 1)); /* behind all rows of the key */
    } else {
        struct row_key found;
        Kist__Object *o = NULL;
        uint64_t bucket_id = row_read_u64(m->versions.base.data + 1);
        enum kist_err err = version_find(&m->versions.read, arena, bucket_id, q->after_key,
                                         q->after_version, &found, &o);
        if (err != KIST_OK && err != KIST_E_NOT_FOUND)
            return err;
        row_version(&version, bucket_id, q->after_key, o ? o->data_id : q->after_version);
        row_add(&version, bytes_of("", 1));
        m->key = q->after_key;
    }
    m->objects_err = walk_begin(&m->objects, q->after_key, &object);
    m->versions_err = walk_begin(&m->versions, q->after_key, &version);
    return KIST_OK;
}

/* Delivers the row at `at`. False: each() wants no more, or *err is set. */
static bool deliver(struct merge *m, struct walk *at, struct bytes key, struct version_page *page,
                    size_t *count, enum kist_err *err)
{
    Kist__Object *o = NULL;
    arena_clear(&at->rows);
    *err = schema_unpack(&kist__object__descriptor, at->value, &at->rows, &o);
    if (*err != KIST_OK)
        return false;
    bool same_key = bytes_equal(key, m->key);
    if (!same_key)
        m->object_data_id = 0;
    if (at == &m->versions && o->data_id == m->object_data_id)
        return true; /* being pushed or promoted at this instant: it was delivered */
    if (at == &m->objects)
        m->object_data_id = o->data_id;
    bool more = page->each(page->ctx, key, o, at == &m->objects || !same_key);
    m->key = key;
    page->last_key = key;
    page->last_version = o->version ? o->version : VERSION_NULL;
    ++*count;
    return more;
}

static enum kist_err run(struct merge *m, const struct version_query *q, struct arena *arena,
                         struct version_page *page)
{
    enum kist_err err = KIST_OK;
    size_t count = 0;
    bool more = true;
    struct walk *at;
    while (more && err == KIST_OK && (at = merge_at(m))) {
        if (count == q->max) {
            page->truncated = true;
            break;
        }
        struct bytes key = row_s3_key(at->row);
        struct bytes common = walk_common_prefix(key, q->prefix, q->delimiter);
        struct bytes item = common.len ? common : key;
        item = bytes_equal(item, page->last_key) ? page->last_key : arena_copy(arena, item);
        if (!item.ptr)
            return KIST_E_NOMEM;
        if (common.len) {
            more = page->each(page->ctx, item, NULL, false);
            m->key = page->last_key = item;
            page->last_version = VERSION_CURRENT;
            count++;
            skip_prefix(m, item);
        } else {
            more = deliver(m, at, item, page, &count, &err);
            merge_step(m, at);
        }
    }
    return err != KIST_OK ? err : failure(m);
}

enum kist_err store_list_versions(struct store *s, struct bytes bucket,
                                  const struct version_query *query, struct arena *arena,
                                  struct version_page *page)
{
    struct merge m = { .objects = { .prefix = query->prefix, .delimiter = query->delimiter },
                       .versions = { .prefix = query->prefix, .delimiter = query->delimiter } };
    if (query->prefix.len > 1024 || query->after_key.len > 1024)
        return KIST_E_INVALID;
    page->truncated = false;
    page->last_key = BYTES_EMPTY;
    page->last_version = VERSION_CURRENT;
    TRY(walk_open(s, &m.objects, ROW_OBJECT, bucket, arena));
    enum kist_err err = walk_open(s, &m.versions, ROW_VERSION, bucket, arena);
    if (err == KIST_OK) {
        err = merge_begin(&m, query, arena);
        if (err == KIST_OK)
            err = run(&m, query, arena, page);
        walk_close(&m.versions);
    }
    walk_close(&m.objects);
    return err;
}
