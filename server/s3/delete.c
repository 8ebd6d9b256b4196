/* DeleteObject, DeleteObjects.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html */
#include "server/s3/internal.h"

#define DELETE_XML_MAX ((size_t)8 << 20)
#define DELETE_KEYS_MAX 1000

struct delete_state {
    size_t count;
    Kist__DeleteKey **keys;
    struct delete_result *results;
    /* Of those that may be deleted: what is sent, what comes back, and whose it is. */
    size_t sent_count;
    Kist__DeleteKey **sent;
    struct delete_result *sent_results;
    size_t *sent_index;
    bool quiet;
};

static struct delete_state *state_new(struct s3_request *r, size_t most)
{
    struct delete_state *d = arena_zalloc(r->arena, sizeof(*d));
    if (d) {
        d->keys = arena_alloc(r->arena, most * sizeof(*d->keys) + 1);
        d->results = arena_zalloc(r->arena, most * sizeof(*d->results) + 1);
        d->sent = arena_alloc(r->arena, most * sizeof(*d->sent) + 1);
        d->sent_results = arena_zalloc(r->arena, most * sizeof(*d->sent_results) + 1);
        d->sent_index = arena_alloc(r->arena, most * sizeof(*d->sent_index) + 1);
    }
    if (!d || !d->keys || !d->results || !d->sent || !d->sent_results || !d->sent_index) {
        s3_fail(r, S3_SLOW_DOWN);
        return NULL;
    }
    r->state = d;
    return d;
}

static Kist__DeleteKey *add_key(struct s3_request *r, struct delete_state *d, struct bytes key)
{
    Kist__DeleteKey *k = arena_alloc(r->arena, sizeof(*k));
    if (!k)
        return NULL;
    kist__delete_key__init(k);
    k->key = schema_data(key);
    d->keys[d->count++] = k;
    return k;
}

/* Each key is asked for by itself: DeleteObjects deletes what it may. */
static void authorize(struct s3_request *r, struct delete_state *d)
{
    bool bypass = s3_bypass_governance(r);
    for (size_t i = 0; i < d->count; i++) {
        struct bytes key = schema_bytes(d->keys[i]->key);
        uint64_t version = d->keys[i]->version;
        if (s3_allowed(r, version ? "s3:DeleteObjectVersion" : "s3:DeleteObject", key, version) &&
            (!bypass || s3_allowed(r, "s3:BypassGovernanceRetention", key, version))) {
            d->sent_index[d->sent_count] = i;
            d->sent[d->sent_count++] = d->keys[i];
        } else {
            d->results[i].err = KIST_E_DENIED;
            d->results[i].version = version == VERSION_NULL ? 0 : version;
        }
    }
}

static void take_results(struct delete_state *d)
{
    for (size_t i = 0; i < d->sent_count; i++)
        d->results[d->sent_index[i]] = d->sent_results[i];
}

static void commit(struct s3_request *r, struct delete_state *d,
                   void (*then)(struct s3_request *))
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteObjects c = KIST__DELETE_OBJECTS__INIT;
    command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
    command.delete_objects = &c;
    c.bucket = s3_str(r, r->bucket);
    c.n_keys = d->sent_count;
    c.keys = d->sent;
    c.now_ms = s3_now(r);
    c.bypass_governance = s3_bypass_governance(r);
    r->op.result.deletes = d->sent_results;
    s3_commit(r, &command, then);
}

/* ---- one ---- */

static void delete_done(struct s3_request *r)
{
    struct delete_state *d = r->state;
    take_results(d);
    const struct delete_result *one = &d->results[0];
    bool missing = one->err == KIST_E_NO_KEY && !d->keys[0]->condition;
    if (one->err != KIST_OK && !missing) {
        s3_fail_err(r, one->err);
        return;
    }
    /* Deleting what is not there succeeds. */
    if (one->delete_marker)
        s3_add_header_str(r, "x-amz-delete-marker", "true");
    if (one->delete_marker || d->keys[0]->version != VERSION_CURRENT)
        s3_version_header(r, one->versioned, one->version);
    s3_reply_empty(r, 204);
}

/* x-amz-if-match-*: what else a conditional delete can ask for. */
static bool more_conditions(struct s3_request *r, Kist__Condition **condition)
{
    struct bytes size = exchange_header(r->x, "x-amz-if-match-size");
    struct bytes mtime = exchange_header(r->x, "x-amz-if-match-last-modified-time");
    uint64_t bytes = 0;
    if (!size.ptr && !mtime.ptr)
        return true;
    if (!*condition) {
        *condition = arena_alloc(r->arena, sizeof(**condition));
        if (!*condition) {
            s3_fail(r, S3_SLOW_DOWN);
            return false;
        }
        kist__condition__init(*condition);
    }
    if ((size.ptr && bytes_to_u64(size, INT64_MAX - 1, &bytes) != KIST_OK) ||
        (mtime.ptr && time_parse_http(mtime, &(*condition)->mtime_ms) != KIST_OK)) {
        s3_fail(r, S3_INVALID_ARGUMENT);
        return false;
    }
    if (size.ptr)
        (*condition)->size = (int64_t)bytes + 1;
    return true;
}

void s3_delete_object(struct s3_request *r)
{
    Kist__Condition *condition = NULL;
    struct delete_state *d = state_new(r, 1);
    if (!d || !s3_write_condition(r, &condition) || !more_conditions(r, &condition))
        return;
    Kist__DeleteKey *key = add_key(r, d, r->key);
    if (!key) {
        s3_fail(r, S3_SLOW_DOWN);
        return;
    }
    key->condition = condition;
    key->version = r->version;
    d->sent[d->sent_count++] = key; /* s3_authorize() has asked */
    d->sent_index[0] = 0;
    commit(r, d, delete_done);
}

/* ---- many ---- */

static void reply_key(struct s3_request *r, struct s3_xml *x, const struct delete_state *d,
                      size_t i)
{
    const struct delete_result *one = &d->results[i];
    enum kist_err verdict = one->err;
    bool named = d->keys[i]->version != VERSION_CURRENT;
    struct bytes version = s3_version_text(r->arena, one->version);
    struct bytes key = schema_bytes(d->keys[i]->key);
    bool missing = verdict == KIST_E_NO_KEY && !d->keys[i]->condition;
    if (verdict == KIST_OK || missing) {
        if (d->quiet)
            return;
        s3_xml_open(x, "Deleted");
        s3_xml_text(x, "Key", key);
        if (named)
            s3_xml_text(x, "VersionId", version);
        if (one->delete_marker) {
            s3_xml_bool(x, "DeleteMarker", true);
            s3_xml_text(x, "DeleteMarkerVersionId", version);
        }
        s3_xml_close(x, "Deleted");
        return;
    }
    bool too_long = verdict == KIST_E_INVALID;
    s3_xml_open(x, "Error");
    s3_xml_text(x, "Key", key);
    if (named)
        s3_xml_text(x, "VersionId", version);
    s3_xml_str(x, "Code", s3_error_code(too_long ? S3_KEY_TOO_LONG : s3_error_from(verdict)));
    s3_xml_str(x, "Message", too_long ? "Your key is too long." : kist_err_text(verdict));
    s3_xml_close(x, "Error");
}

static void delete_many_done(struct s3_request *r)
{
    struct delete_state *d = r->state;
    struct s3_xml x = { .failed = false };
    take_results(d);
    s3_xml_begin(&x, "DeleteResult");
    for (size_t i = 0; i < d->count; i++)
        reply_key(r, &x, d, i);
    s3_xml_reply(r, &x, "DeleteResult");
}

static bool etag_condition(struct s3_request *r, struct bytes etag, Kist__Condition *c)
{
    char **etags = arena_alloc(r->arena, sizeof(*etags));
    if (!etags)
        return false;
    if (etag.len >= 2 && etag.ptr[0] == '"' && etag.ptr[etag.len - 1] == '"')
        etag = bytes_of(etag.ptr + 1, etag.len - 2);
    etags[0] = s3_str(r, etag);
    c->n_etags = 1;
    c->etags = etags;
    return true;
}

/* An object's conditions: ETag, Size, LastModifiedTime. What cannot be read must not delete. */
static bool object_condition(struct s3_request *r, const struct s3_xml_node *node,
                             Kist__DeleteKey *key)
{
    struct bytes etag = s3_xml_child_text(node, "ETag");
    struct bytes size = s3_xml_child_text(node, "Size");
    struct bytes mtime = s3_xml_child_text(node, "LastModifiedTime");
    uint64_t bytes = 0;
    if (!etag.ptr && !size.ptr && !mtime.ptr)
        return true;
    Kist__Condition *c = arena_alloc(r->arena, sizeof(*c));
    if (!c)
        return false;
    kist__condition__init(c);
    if ((etag.ptr && !etag_condition(r, etag, c)) ||
        (size.ptr && bytes_to_u64(size, INT64_MAX - 1, &bytes) != KIST_OK) ||
        (mtime.ptr && time_parse_http(mtime, &c->mtime_ms) != KIST_OK &&
         time_parse_iso(mtime, &c->mtime_ms) != KIST_OK))
        return false;
    if (size.ptr)
        c->size = (int64_t)bytes + 1;
    key->condition = c;
    return true;
}

/* False when the document is not what the schema says. */
static bool read_keys(struct s3_request *r, const struct s3_xml_node *root,
                      struct delete_state *d)
{
    d->quiet = bytes_equal_nocase(s3_xml_child_text(root, "Quiet"), BYTES_LIT("true"));
    for (const struct s3_xml_node *n = root->child; n; n = n->next) {
        if (strcmp(n->name, "Object") != 0)
            continue;
        struct bytes key = s3_xml_child_text(n, "Key");
        if (!key.len || d->count == DELETE_KEYS_MAX)
            return false;
        Kist__DeleteKey *k = add_key(r, d, key);
        struct bytes version = s3_xml_child_text(n, "VersionId");
        if (!k || !object_condition(r, n, k))
            return false;
        if (version.len && !s3_version_parse(version, &k->version))
            k->version = VERSION_NONE; /* no version has it: nothing is deleted */
    }
    return d->count > 0;
}

static void delete_many(struct s3_request *r)
{
    struct s3_xml_node *root = NULL;
    struct delete_state *d = state_new(r, DELETE_KEYS_MAX);
    if (!d)
        return;
    if (s3_xml_parse(buf_bytes(&r->body->xml), r->arena, &root) != KIST_OK ||
        strcmp(root->name, "Delete") != 0 || !read_keys(r, root, d))
        s3_fail(r, S3_MALFORMED_XML);
    else {
        authorize(r, d);
        commit(r, d, delete_many_done);
    }
}

void s3_delete_objects(struct s3_request *r)
{
    s3_read_xml(r, DELETE_XML_MAX, delete_many);
}
