/* Buckets of an application. What the file does not say of one stays as it is. */
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/apply_internal.h"

#define SID "KistPublic"

static struct site site_of(struct app *a, const char *bucket)
{
    struct site s = { .client = a->client, .bucket = bucket };
    arena_init(&s.arena, (size_t)8 << 20);
    return s;
}

/* GETs a sub-resource into out (the caller's, released too after false). *missing: it is not
 * there; no_bucket: nor is the bucket. False after a message. */
static bool get(struct site *s, const char *query, const char *none, struct buf *out,
                bool *missing, bool *no_bucket)
{
    struct client_request q = site_ask(s, "GET", query);
    bool ok = client_do(s->client, &q);
    *no_bucket = site_missing(&q, "NoSuchBucket");
    *missing = *no_bucket || (none && site_missing(&q, none));
    if (!ok && !*missing)
        client_complain(&q, s->bucket);
    *out = q.reply;
    q.reply = (struct buf){ .ptr = NULL };
    client_request_release(&q);
    return ok || *missing;
}

/* ---- the policy ---- */

static json_t *public_statement(const char *bucket)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "Sid", SID, "Effect", "Allow", "Principal", "*",
                     "Action", "s3:GetObject", "Resource",
                     json_sprintf("arn:aws:s3:::%s/*", bucket));
}

/* The bucket's policy, the caller's; NULL: it has none. False after a message. */
static bool get_policy(struct site *s, json_t **out)
{
    struct buf reply;
    bool missing, no_bucket;
    bool ok = get(s, "policy", "NoSuchBucketPolicy", &reply, &missing, &no_bucket);
    *out = ok && !missing ? json_loadb((const char *)reply.ptr, reply.len, 0, NULL) : NULL;
    buf_release(&reply);
    return ok;
}

static size_t find_public(const json_t *policy)
{
    const json_t *list = json_object_get(policy, "Statement");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_text(json_array_get(list, i), "Sid"), SID) == 0)
            return i;
    return SIZE_MAX;
}

static bool put_policy(struct site *s, const json_t *policy)
{
    char *text = json_dumps(policy, JSON_COMPACT);
    bool ok = text && site_put(s, "policy", bytes_str(text));
    free(text);
    return ok;
}

static bool delete_policy(struct site *s)
{
    struct client_request q = site_ask(s, "DELETE", "policy");
    bool ok = client_do(s->client, &q);
    if (!ok)
        client_complain(&q, s->bucket);
    client_request_release(&q);
    return ok;
}

/* Our statement goes in or out; others stay. */
static bool set_public(struct site *s, bool open)
{
    json_t *policy = NULL;
    if (!get_policy(s, &policy))
        return false;
    if (!policy)
        policy = json_pack("{s:s, s:[]}", "Version", "2012-10-17", "Statement");
    json_t *list = json_object_get(policy, "Statement");
    if (json_is_object(list)) { /* a single one may stand there without an array */
        list = json_pack("[O]", list);
        json_object_set_new(policy, "Statement", list);
    }
    size_t at = find_public(policy);
    if (at != SIZE_MAX)
        json_array_remove(list, at);
    if (open)
        json_array_append_new(list, public_statement(s->bucket));
    bool ok = json_array_size(list) ? put_policy(s, policy) : delete_policy(s);
    json_decref(policy);
    return ok;
}

/* ---- reading and looking ---- */

static bool read_bucket(struct app *a, struct app_thing *t)
{
    bool versioning = false, open = false;
    if (!yml_only(&a->yml, t->node, "|versioning|public|") ||
        !yml_flag(&a->yml, t->node, "versioning", &versioning) ||
        !yml_flag(&a->yml, t->node, "public", &open))
        return false;
    if (yml_get(t->node, "versioning"))
        json_object_set_new(t->want, "versioning", json_boolean(versioning));
    if (yml_get(t->node, "public"))
        json_object_set_new(t->want, "public", json_boolean(open));
    return true;
}

static bool look_into(struct site *s, struct app_thing *t)
{
    struct buf reply;
    struct bytes status = BYTES_EMPTY;
    bool missing, no_bucket;
    size_t at = 0;
    json_t *policy = NULL;
    if (!get(s, "versioning", NULL, &reply, &missing, &no_bucket)) {
        buf_release(&reply);
        return false;
    }
    bool on = client_element(buf_bytes(&reply), "Status", &at, reply.len, &status) &&
              bytes_equal(status, BYTES_LIT("Enabled"));
    buf_release(&reply);
    if (no_bucket)
        return true;
    if (json_object_get(t->want, "public") && !get_policy(s, &policy))
        return false;
    t->have = json_pack("{s:b, s:b}", "versioning", on, "public",
                        policy && find_public(policy) != SIZE_MAX);
    json_decref(policy);
    return true;
}

static bool look(struct app *a, struct app_thing *t)
{
    struct site s = site_of(a, t->name);
    bool ok = look_into(&s, t);
    arena_release(&s.arena);
    return ok;
}

bool app_bucket_known(struct app *a, const char *bucket, bool *known)
{
    struct site s = site_of(a, bucket);
    struct buf reply;
    bool missing = false, ok = true;
    *known = app_find(a, &app_bucket, bucket) || app_find(a, &app_site, bucket);
    if (!*known) {
        ok = get(&s, "location", NULL, &reply, &missing, &missing);
        *known = !missing;
        buf_release(&reply);
    }
    arena_release(&s.arena);
    return ok;
}

/* ---- making ---- */

static bool make_tagged(struct app *a, struct site *s)
{
    char *tags = NULL;
    if (!site_make_bucket(s))
        return false;
    if (!a->app)
        return true;
    tags = arena_printf(&s->arena,
                        "<Tagging><TagSet><Tag><Key>" APP_TAG "</Key><Value>%s</Value></Tag>"
                        "</TagSet></Tagging>",
                        a->app);
    return tags && site_put(s, "tagging", bytes_str(tags));
}

bool app_make_bucket(struct app *a, const char *bucket)
{
    struct site s = site_of(a, bucket);
    bool ok = make_tagged(a, &s);
    arena_release(&s.arena);
    return ok;
}

static bool set_versioning(struct site *s, bool on)
{
    return site_put(s, "versioning",
                    on ? BYTES_LIT("<VersioningConfiguration><Status>Enabled</Status>"
                                   "</VersioningConfiguration>")
                       : BYTES_LIT("<VersioningConfiguration><Status>Suspended</Status>"
                                   "</VersioningConfiguration>"));
}

static bool make(struct app *a, struct app_thing *t)
{
    struct site s = site_of(a, t->name);
    bool on = json_is_true(json_object_get(t->want, "versioning"));
    bool open = json_is_true(json_object_get(t->want, "public"));
    bool ok = t->have || make_tagged(a, &s);
    /* A new bucket is neither. */
    if (ok && app_differs(t, "versioning") && (t->have || on))
        ok = set_versioning(&s, on);
    if (ok && app_differs(t, "public") && (t->have || open))
        ok = set_public(&s, open);
    arena_release(&s.arena);
    return ok;
}

/* ---- removing ---- */

static bool drop(struct app *a, struct app_thing *t)
{
    struct site s = site_of(a, t->name);
    struct client_request q = site_ask(&s, "DELETE", NULL);
    bool ok = client_do(a->client, &q);
    if (!ok && bytes_find(buf_bytes(&q.reply), BYTES_LIT("BucketNotEmpty"), 0) != SIZE_MAX)
        fprintf(stderr, "kist: %s: it stays, because it is not empty: empty it first\n", t->name);
    else if (!ok)
        client_complain(&q, t->name);
    client_request_release(&q);
    arena_release(&s.arena);
    return ok;
}

/* Whether its tags say that it is the application's. */
static bool is_ours(struct app *a, const char *bucket, bool *ours)
{
    struct site s = site_of(a, bucket);
    struct buf reply;
    struct bytes tag, key, value;
    bool missing, no_bucket;
    bool ok = get(&s, "tagging", "NoSuchTagSet", &reply, &missing, &no_bucket);
    *ours = false;
    for (size_t at = 0; ok && client_element(buf_bytes(&reply), "Tag", &at, reply.len, &tag);) {
        size_t k = 0, v = 0;
        *ours = *ours ||
                (client_element(tag, "Key", &k, tag.len, &key) &&
                 client_element(tag, "Value", &v, tag.len, &value) &&
                 bytes_equal(key, BYTES_LIT(APP_TAG)) && bytes_equal(value, bytes_str(a->app)));
    }
    buf_release(&reply);
    arena_release(&s.arena);
    return ok;
}

static bool leftovers(struct app *a)
{
    struct client_request q = { .service = "s3", .method = "GET", .path = "/" };
    bool ok = client_do(a->client, &q), ours = false;
    struct bytes reply = buf_bytes(&q.reply), bucket, name;
    if (!ok)
        client_complain(&q, "buckets");
    for (size_t at = 0; ok && client_element(reply, "Bucket", &at, reply.len, &bucket);) {
        size_t in = 0;
        if (!client_element(bucket, "Name", &in, bucket.len, &name))
            continue;
        const char *text = arena_strndup(&a->arena, name.ptr, name.len);
        if (app_find(a, &app_site, text))
            continue;
        ok = is_ours(a, text, &ours) && (!ours || app_add_leftover(a, &app_bucket, text));
    }
    client_request_release(&q);
    return ok;
}

const struct app_kind app_bucket = { .section = "buckets",
                                     .word = "bucket",
                                     .letters = "-.",
                                     .name_max = 63,
                                     .read = read_bucket,
                                     .look = look,
                                     .make = make,
                                     .drop = drop,
                                     .leftovers = leftovers };
