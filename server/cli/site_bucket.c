/* What is in the bucket: the pointer to the live release, manifests, lists of keys. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/site_internal.h"
#include "storage/base/codec.h"
#include "storage/base/digest.h"

#define REPLY_MAX ((size_t)1 << 30)
#define PATH_MAX_BYTES ((size_t)8192)
#define NAMES_ARENA_MAX ((size_t)4 << 30)
#define DELETE_BATCH 1000

/* ---- requests ---- */

char *site_path(struct arena *arena, const char *bucket, const char *prefix, const char *release,
                const char *key)
{
    struct buf out;
    char *path = NULL;
    buf_init(&out, PATH_MAX_BYTES);
    if (buf_printf(&out, "/%s/%s%s", bucket, prefix, release) == KIST_OK &&
        (!*key || (buf_append_str(&out, "/") == KIST_OK &&
                   uri_encode(&out, bytes_str(key), true) == KIST_OK)))
        path = arena_strndup(arena, out.ptr, out.len);
    buf_release(&out);
    return path;
}

struct client_request site_ask(struct site *s, const char *method, const char *query)
{
    char *path = arena_printf(&s->arena, "/%s", s->bucket);
    return (struct client_request){
        .service = "s3", .method = method, .path = path ? path : "/", .query = query
    };
}

struct client_request site_ask_manifest(struct site *s, const char *method, const char *release)
{
    char *path = site_path(&s->arena, s->bucket, SITE_MANIFESTS, release, "");
    return (struct client_request){
        .service = "s3", .method = method, .path = path ? path : "/", .reply_max = REPLY_MAX
    };
}

bool site_put(struct site *s, const char *query, struct bytes document)
{
    struct client_request q = site_ask(s, "PUT", query);
    q.body = document;
    bool ok = client_do(s->client, &q);
    if (!ok)
        client_complain(&q, s->bucket);
    client_request_release(&q);
    return ok;
}

bool site_make_bucket(struct site *s)
{
    struct client_request q = site_ask(s, "PUT", NULL);
    const char *region = client_region(s->client);
    char body[256];
    int n = snprintf(body, sizeof(body),
                     "<CreateBucketConfiguration><LocationConstraint>%s</LocationConstraint>"
                     "</CreateBucketConfiguration>",
                     region);
    if (strcmp(region, "us-east-1") != 0)
        q.body = bytes_of(body, (size_t)n);
    bool ok = client_do(s->client, &q);
    if (ok)
        fprintf(stderr, "kist: %s: made the bucket\n", s->bucket);
    else
        client_complain(&q, s->bucket);
    client_request_release(&q);
    return ok;
}

bool site_missing(const struct client_request *q, const char *code)
{
    struct bytes reply = buf_bytes(&q->reply), found;
    size_t at = 0;
    return q->status == 404 && client_element(reply, "Code", &at, reply.len, &found) &&
           bytes_equal(found, bytes_str(code));
}

/* ---- the pointer ---- */

bool site_live(struct site *s, char release[SITE_RELEASE_MAX + 1], bool *no_bucket)
{
    struct client_request q = site_ask(s, "GET", "site");
    struct bytes found = BYTES_EMPTY;
    size_t at = 0;
    bool ok = client_do(s->client, &q);
    *no_bucket = site_missing(&q, "NoSuchBucket");
    release[0] = '\0';
    if (ok && client_element(buf_bytes(&q.reply), "Release", &at, q.reply.len, &found) &&
        found.len <= SITE_RELEASE_MAX)
        snprintf(release, SITE_RELEASE_MAX + 1, "%.*s", (int)found.len, (const char *)found.ptr);
    ok = (ok && release[0]) || *no_bucket || site_missing(&q, "NoSuchWebsiteConfiguration");
    if (!ok)
        client_complain(&q, s->bucket);
    client_request_release(&q);
    return ok;
}

bool site_publish(struct site *s, const char *release)
{
    struct client_request q = site_ask(s, "PUT", "site");
    char body[256];
    int n = snprintf(body, sizeof(body),
                     "<SiteConfiguration><Release>%s</Release></SiteConfiguration>", release);
    q.body = bytes_of(body, (size_t)n);
    bool ok = client_do(s->client, &q);
    if (!ok)
        client_complain(&q, s->bucket);
    client_request_release(&q);
    return ok;
}

/* ---- manifests: "kist site 1 FILES BYTES", then "HASH BYTES CACHE KEY" for each file ---- */

static char *decoded(struct arena *arena, struct bytes word)
{
    size_t len = 0;
    char *out = arena_alloc(arena, word.len + 1);
    if (!out || uri_decode(word, false, (uint8_t *)out, &len) != KIST_OK)
        return NULL;
    out[len] = '\0';
    return out;
}

/* The words of a line; how many. */
static size_t split(struct bytes line, struct bytes *words, size_t max)
{
    size_t count = 0;
    for (size_t at = 0; at < line.len && count < max; count++) {
        size_t end = bytes_find(line, BYTES_LIT(" "), at);
        end = end == SIZE_MAX ? line.len : end;
        words[count] = bytes_of(line.ptr + at, end - at);
        at = end + 1;
    }
    return count;
}

static bool parse_line(struct bytes line, struct site_files *out)
{
    struct bytes words[4];
    struct site_file *f = site_files_add(out);
    if (!f || split(line, words, 4) != 4 || words[0].len != 64 ||
        bytes_to_u64(words[1], INT64_MAX, &f->bytes) != KIST_OK)
        return false;
    memcpy(f->hash, words[0].ptr, 64);
    f->cache = decoded(&out->arena, words[2]);
    f->key = decoded(&out->arena, words[3]);
    out->bytes += f->bytes;
    return f->cache && f->key;
}

static bool parse_manifest(struct bytes text, struct site_files *out)
{
    size_t lines = 0;
    for (size_t at = 0; at < text.len; lines++) {
        size_t end = bytes_find(text, BYTES_LIT("\n"), at);
        if (end == SIZE_MAX)
            return false;
        struct bytes line = bytes_of(text.ptr + at, end - at);
        if (lines == 0 ? !bytes_starts_with(line, BYTES_LIT("kist site 1 "))
                       : !parse_line(line, out))
            return false;
        at = end + 1;
    }
    return lines > 0;
}

bool site_manifest_get(struct site *s, const char *release, struct site_files *out, bool *found)
{
    struct client_request q = site_ask_manifest(s, "GET", release);
    bool ok = client_do(s->client, &q);
    *found = ok && q.reply.len > 0;
    if (*found && !parse_manifest(buf_bytes(&q.reply), out)) {
        fprintf(stderr, "kist: %s: its manifest is not one of kist's\n", release);
        ok = false;
    } else if (!ok && q.status == 404) {
        ok = true;
    } else if (!ok) {
        client_complain(&q, release);
    }
    client_request_release(&q);
    return ok;
}

static enum kist_err write_manifest(const struct site_files *files, struct buf *out)
{
    TRY(buf_printf(out, "kist site 1 %zu %" PRIu64 "\n", files->count, files->bytes));
    for (size_t i = 0; i < files->count; i++) {
        const struct site_file *f = &files->list[i];
        TRY(buf_printf(out, "%s %" PRIu64 " ", f->hash, f->bytes));
        TRY(uri_encode(out, bytes_str(f->cache), false));
        TRY(buf_append_str(out, " "));
        TRY(uri_encode(out, bytes_str(f->key), true));
        TRY(buf_append_str(out, "\n"));
    }
    return KIST_OK;
}

/* When the answer to a first try was lost, the second one finds what the first one wrote. */
static bool is_ours(struct site *s, const char *release, struct bytes text)
{
    struct client_request q = site_ask_manifest(s, "GET", release);
    bool same = client_do(s->client, &q) && bytes_equal(buf_bytes(&q.reply), text);
    client_request_release(&q);
    return same;
}

bool site_manifest_put(struct site *s, const char *release, const struct site_files *files)
{
    struct client_request q = site_ask_manifest(s, "PUT", release);
    struct buf text;
    buf_init(&text, REPLY_MAX);
    bool ok = write_manifest(files, &text) == KIST_OK;
    if (!ok)
        fprintf(stderr, "kist: %s: too many files\n", s->bucket);
    client_header_add(&q, "If-None-Match", "*");
    client_header_add(&q, "Content-Type", "text/plain");
    q.body = buf_bytes(&text);
    if (ok && !client_do(s->client, &q)) {
        ok = q.status == 412 && is_ours(s, release, q.body);
        if (!ok && q.status == 412)
            fprintf(stderr,
                    "kist: %s: another deployment ended meanwhile, and removed this one\n",
                    s->bucket);
        else if (!ok)
            client_complain(&q, release);
    }
    client_request_release(&q);
    buf_release(&text);
    return ok;
}

/* ---- lists ---- */

void site_names_release(struct site_names *names)
{
    free(names->list);
    free(names->bytes);
    arena_release(&names->arena);
}

static bool add_name(struct site_names *names, struct bytes text, size_t skip, uint64_t bytes)
{
    if (names->count == names->room) {
        size_t room = names->room ? names->room * 2 : 64;
        char **list = realloc(names->list, room * sizeof(*list));
        names->list = list ? list : names->list;
        uint64_t *sizes = realloc(names->bytes, room * sizeof(*sizes));
        names->bytes = sizes ? sizes : names->bytes;
        if (!list || !sizes)
            return false;
        names->room = room;
    }
    char *name = decoded(&names->arena, text);
    if (!name || strlen(name) < skip)
        return false;
    names->bytes[names->count] = bytes;
    names->list[names->count++] = name + skip;
    return true;
}

/* Takes one page; *token is where the next one begins, empty at the end. */
static bool take_page(struct bytes reply, size_t skip, struct site_names *out,
                      struct arena *arena, char **token)
{
    struct bytes item, value;
    for (size_t at = 0; client_element(reply, "Contents", &at, reply.len, &item);) {
        size_t in = 0, from = 0;
        uint64_t bytes = 0;
        if (!client_element(item, "Key", &in, item.len, &value))
            return false;
        struct bytes key = value;
        if (client_element(item, "Size", &from, item.len, &value))
            (void)!bytes_to_u64(value, INT64_MAX, &bytes);
        if (!add_name(out, key, skip, bytes))
            return false;
    }
    for (size_t at = 0; client_element(reply, "CommonPrefixes", &at, reply.len, &item);) {
        size_t in = 0;
        if (!client_element(item, "Prefix", &in, item.len, &value) ||
            !add_name(out, value, skip, 0))
            return false;
        char *name = out->list[out->count - 1];
        if (*name && name[strlen(name) - 1] == '/')
            name[strlen(name) - 1] = '\0';
    }
    size_t at = 0;
    *token = NULL;
    if (client_element(reply, "NextContinuationToken", &at, reply.len, &value))
        *token = client_text(arena, value);
    return true;
}

static char *list_query(struct arena *arena, const char *prefix, const char *delimiter,
                        const char *token)
{
    struct buf out;
    char *query = NULL;
    buf_init(&out, PATH_MAX_BYTES);
    enum kist_err err = buf_append_str(&out, "list-type=2&encoding-type=url&prefix=");
    err = err == KIST_OK ? uri_encode(&out, bytes_str(prefix), false) : err;
    if (err == KIST_OK && *delimiter)
        err = buf_append_str(&out, "&delimiter=%2F");
    if (err == KIST_OK && token) {
        err = buf_append_str(&out, "&continuation-token=");
        err = err == KIST_OK ? uri_encode(&out, bytes_str(token), false) : err;
    }
    if (err == KIST_OK)
        query = arena_strndup(arena, out.ptr, out.len);
    buf_release(&out);
    return query;
}

bool site_list(struct site *s, const char *prefix, const char *delimiter, size_t max,
               struct site_names *out)
{
    struct arena arena;
    char *token = NULL;
    bool ok = true;
    *out = (struct site_names){ 0 };
    arena_init(&out->arena, NAMES_ARENA_MAX);
    arena_init(&arena, NAMES_ARENA_MAX);
    do {
        char *query = list_query(&arena, prefix, delimiter, token);
        struct client_request q = site_ask(s, "GET", query ? query : "");
        ok = query && client_do(s->client, &q);
        if (!ok)
            client_complain(&q, s->bucket);
        ok = ok && take_page(buf_bytes(&q.reply), strlen(prefix), out, &arena, &token);
        client_request_release(&q);
    } while (ok && token && (max == 0 || out->count < max));
    arena_release(&arena);
    return ok;
}

bool site_is_release(const char *name)
{
    size_t len =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_");
    return len > 0 && len <= SITE_RELEASE_MAX && name[len] == '\0';
}

bool site_known(const struct site_names *names, const char *name, bool complete)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i], name) == 0)
            return !complete || names->bytes[i] > 0;
    return false;
}

/* ---- deleting ---- */

static enum kist_err escape(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("<>&\"", *text))
            TRY(buf_printf(out, "&#%d;", *text));
        else
            TRY(buf_append(out, text, 1));
    }
    return KIST_OK;
}

static enum kist_err delete_document(const char *prefix, const struct site_names *names,
                                     struct buf *out)
{
    TRY(buf_append_str(out, "<Delete><Quiet>true</Quiet>"));
    for (size_t i = 0; i < names->count; i++) {
        TRY(buf_printf(out, "<Object><Key>%s", prefix));
        TRY(escape(out, names->list[i]));
        TRY(buf_append_str(out, "</Key></Object>"));
    }
    return buf_append_str(out, "</Delete>");
}

static bool delete_batch(struct site *s, const char *prefix, const struct site_names *names)
{
    struct client_request q = site_ask(s, "POST", "delete");
    char md5[BASE64_LEN(16) + 1];
    uint8_t digest[16];
    struct buf body;
    buf_init(&body, (size_t)DELETE_BATCH * 8192);
    bool ok = delete_document(prefix, names, &body) == KIST_OK;
    q.body = buf_bytes(&body);
    digest_once(DIGEST_MD5, q.body, digest);
    base64_encode(bytes_of(digest, sizeof(digest)), md5);
    client_header_add(&q, "Content-MD5", md5);
    ok = ok && client_do(s->client, &q) &&
         bytes_find(buf_bytes(&q.reply), BYTES_LIT("<Error>"), 0) == SIZE_MAX;
    if (!ok)
        client_complain(&q, prefix);
    client_request_release(&q);
    buf_release(&body);
    return ok;
}

bool site_clear(struct site *s, const char *release, size_t *removed)
{
    char prefix[sizeof(SITE_ROOT) + SITE_RELEASE_MAX + 1];
    bool ok = true, more = true;
    snprintf(prefix, sizeof(prefix), SITE_ROOT "%.*s/", SITE_RELEASE_MAX, release);
    *removed = 0;
    while (ok && more) {
        struct site_names page;
        ok = site_list(s, prefix, "", DELETE_BATCH, &page);
        more = page.count >= DELETE_BATCH;
        ok = ok && (page.count == 0 || delete_batch(s, prefix, &page));
        *removed += page.count;
        site_names_release(&page);
    }
    return ok;
}
