/* What stands around a release: the bucket's website configuration and policy, older releases,
 * and what interrupted deployments left. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/site_internal.h"
#include "storage/base/codec.h"

#define DAY_MS 86400000
#define DOCUMENT_MAX ((size_t)1 << 20)

/* ---- leftovers ---- */

/* By its name; 0 when it bears no time. */
static int64_t age_ms(const char *release)
{
    int64_t made_ms = 0;
    char date[TIME_AMZ_LEN];
    snprintf(date, sizeof(date), "%.15sZ", release);
    if (time_parse_amz(bytes_str(date), &made_ms) != KIST_OK)
        return 0;
    return env_real()->now_ms(env_real()) - made_ms;
}

/* Whoever is at work on it must not complete it any more. False: it was completed meanwhile. */
static bool abandon(struct site *s, const char *release)
{
    struct client_request q = site_ask_manifest(s, "PUT", release);
    client_header_add(&q, "If-None-Match", "*");
    bool ok = client_do(s->client, &q);
    client_request_release(&q);
    return ok;
}

static bool remove_manifest(struct site *s, const char *release)
{
    struct client_request q = site_ask_manifest(s, "DELETE", release);
    bool ok = client_do(s->client, &q);
    if (!ok)
        client_complain(&q, release);
    client_request_release(&q);
    return ok;
}

static bool clear_leftovers(struct site *s, const char *live, const struct site_names *manifests)
{
    struct site_names present;
    size_t removed;
    bool ok = site_list(s, SITE_ROOT, "/", 0, &present);
    for (size_t i = 0; ok && i < present.count; i++) {
        const char *release = present.list[i];
        if (!site_is_release(release) || strcmp(release, live) == 0 ||
            site_known(manifests, release, true) ||
            (!site_known(manifests, release, false) && !abandon(s, release)))
            continue;
        ok = site_clear(s, release, &removed);
        fprintf(stderr, "kist: %s: removed %zu files of %s, which was never completed\n",
                s->bucket, removed, release);
    }
    /* The mark that a release is abandoned stays while its deployment may still be running. */
    for (size_t i = 0; ok && i < manifests->count; i++)
        if (manifests->bytes[i] == 0 && site_is_release(manifests->list[i]) &&
            age_ms(manifests->list[i]) > DAY_MS &&
            !site_known(&present, manifests->list[i], false))
            ok = remove_manifest(s, manifests->list[i]);
    site_names_release(&present);
    return ok;
}

/* ---- releases beyond the newest ---- */

/* The manifest goes first: a release without one can not be rolled back to. Somebody who did so
 * just before gets it back; somebody who does so just after finds it missing. */
static bool retire(struct site *s, const char *release)
{
    char live[SITE_RELEASE_MAX + 1];
    size_t removed;
    bool no_bucket, found = false;
    struct site_files files;
    site_files_init(&files);
    bool ok = site_manifest_get(s, release, &files, &found) &&
              (!found || (remove_manifest(s, release) && site_live(s, live, &no_bucket)));
    if (ok && found && strcmp(live, release) == 0)
        ok = site_manifest_put(s, release, &files);
    else if (ok && found)
        ok = site_clear(s, release, &removed);
    site_files_release(&files);
    return ok;
}

bool site_remove_releases(struct site *s)
{
    struct site_names releases, manifests;
    size_t removed;
    bool ok = site_list(s, SITE_MANIFESTS, "", 0, &manifests);
    for (size_t i = 0; ok && i < manifests.count; i++)
        if (site_is_release(manifests.list[i]))
            ok = remove_manifest(s, manifests.list[i]);
    site_names_release(&manifests);
    if (!ok)
        return false;
    ok = site_list(s, SITE_ROOT, "/", 0, &releases);
    for (size_t i = 0; ok && i < releases.count; i++)
        if (site_is_release(releases.list[i]))
            ok = site_clear(s, releases.list[i], &removed);
    site_names_release(&releases);
    return ok;
}

bool site_tidy(struct site *s, const char *live, const char *previous, unsigned keep)
{
    struct site_names manifests;
    size_t complete = 0;
    bool ok = site_list(s, SITE_MANIFESTS, "", 0, &manifests);
    for (size_t i = 0; ok && i < manifests.count; i++)
        complete += manifests.bytes[i] > 0 && site_is_release(manifests.list[i]);
    for (size_t i = 0; ok && complete > keep && i < manifests.count; i++) {
        if (manifests.bytes[i] == 0 || !site_is_release(manifests.list[i]) ||
            strcmp(manifests.list[i], live) == 0 || strcmp(manifests.list[i], previous) == 0)
            continue;
        ok = retire(s, manifests.list[i]);
        complete--;
    }
    ok = ok && clear_leftovers(s, live, &manifests);
    site_names_release(&manifests);
    return ok;
}

/* ---- configuration ---- */

/* *none: the bucket has no policy. False after a message. */
static bool has_policy(struct site *s, bool *none)
{
    struct client_request q = site_ask(s, "GET", "policy");
    bool ok = client_do(s->client, &q);
    *none = site_missing(&q, "NoSuchBucketPolicy");
    if (!ok && !*none)
        client_complain(&q, s->bucket);
    client_request_release(&q);
    return ok || *none;
}

/* Everybody may read the releases, and nothing else that may be in the bucket. */
static bool open_policy(struct site *s)
{
    bool none;
    if (!has_policy(s, &none))
        return false;
    if (!none)
        return true;
    char *policy = arena_printf(
        &s->arena,
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"KistSite\",\"Effect\":\"Allow\","
        "\"Principal\":\"*\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::%"
        "s/" SITE_ROOT "*\"}]}",
        s->bucket);
    if (!policy || !site_put(s, "policy", bytes_str(policy)))
        return false;
    fprintf(stderr, "kist: %s: made a bucket policy: everybody may read %s*\n", s->bucket,
            SITE_ROOT);
    return true;
}

/* The document with <outer><inner>text</inner></outer> in it, in place of what it has. */
static bool splice(struct buf *document, const char *outer, const char *inner, const char *text)
{
    struct bytes old = buf_bytes(document), found = BYTES_EMPTY;
    size_t at = 0, root = bytes_find(old, BYTES_LIT("<WebsiteConfiguration"), 0);
    size_t open = root == SIZE_MAX ? root : bytes_find(old, BYTES_LIT(">"), root);
    struct buf out;
    if (open == SIZE_MAX)
        return false;
    size_t from = open + 1, to = open + 1;
    if (client_element(old, outer, &at, old.len, &found)) {
        from = (size_t)(found.ptr - old.ptr) - strlen(outer) - 2;
        to = (size_t)(found.ptr - old.ptr) + found.len + strlen(outer) + 3;
    }
    buf_init(&out, DOCUMENT_MAX);
    bool ok = buf_append(&out, old.ptr, from) == KIST_OK &&
              buf_printf(&out, "<%s><%s>", outer, inner) == KIST_OK;
    for (; ok && *text; text++)
        ok = strchr("<>&", *text) ? buf_printf(&out, "&#%d;", *text) == KIST_OK
                                  : buf_append(&out, text, 1) == KIST_OK;
    ok = ok && buf_printf(&out, "</%s></%s>", inner, outer) == KIST_OK &&
         buf_append(&out, old.ptr + to, old.len - to) == KIST_OK;
    buf_release(document);
    *document = out;
    return ok;
}

struct website {
    struct buf before, after;  /* the configuration as it is, and as it should be */
    const char *index, *error; /* NULL: stays */
};

static bool wanted(struct website *w, const struct site_deploy *how, bool none,
                   bool has_error_page)
{
    w->index = how->index ? how->index : none ? "index.html" : NULL;
    w->error = how->error ? how->error : none && has_error_page ? "404.html" : NULL;
    return (none ? buf_append_str(&w->after, "<WebsiteConfiguration></WebsiteConfiguration>")
                 : buf_append_bytes(&w->after, buf_bytes(&w->before))) == KIST_OK &&
           (!w->error || splice(&w->after, "ErrorDocument", "Key", w->error)) &&
           (!w->index || splice(&w->after, "IndexDocument", "Suffix", w->index)) &&
           site_route(&w->after, how);
}

/* False after a message. */
static bool read_website(struct site *s, const struct site_deploy *how, bool has_error_page,
                         struct website *w)
{
    struct client_request q = site_ask(s, "GET", "website");
    bool ok = client_do(s->client, &q), none = site_missing(&q, "NoSuchWebsiteConfiguration");
    bool known = ok || none;
    *w = (struct website){ .index = NULL };
    buf_init(&w->before, DOCUMENT_MAX);
    buf_init(&w->after, DOCUMENT_MAX);
    if (!known)
        client_complain(&q, s->bucket);
    bool fits = known && (none || buf_append_bytes(&w->before, buf_bytes(&q.reply)) == KIST_OK) &&
                wanted(w, how, none, has_error_page);
    if (known && !fits)
        fprintf(stderr, "kist: %s: its website configuration is too large\n", s->bucket);
    client_request_release(&q);
    return fits;
}

static void release_website(struct website *w)
{
    buf_release(&w->before);
    buf_release(&w->after);
}

static bool is_as_wanted(const struct website *w)
{
    return bytes_equal(buf_bytes(&w->before), buf_bytes(&w->after));
}

static bool configure(struct site *s, const struct website *w)
{
    if (is_as_wanted(w))
        return true;
    if (!site_put(s, "website", buf_bytes(&w->after)))
        return false;
    fprintf(stderr, "kist: %s: set the website configuration%s%s%s%s\n", s->bucket,
            w->index ? ", index " : "", w->index ? w->index : "", w->error ? ", error " : "",
            w->error ? w->error : "");
    return true;
}

bool site_open_to_all(struct site *s, const struct site_deploy *how, bool has_error_page)
{
    struct website w;
    bool ok = read_website(s, how, has_error_page, &w) && open_policy(s) && configure(s, &w);
    release_website(&w);
    return ok;
}

bool site_is_open(struct site *s, const struct site_deploy *how, bool has_error_page,
                  bool *differs)
{
    struct website w;
    bool no_policy = false;
    bool ok = read_website(s, how, has_error_page, &w) && has_policy(s, &no_policy);
    *differs = ok && (no_policy || !is_as_wanted(&w));
    release_website(&w);
    return ok;
}
