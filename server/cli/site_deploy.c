/* kist site deploy: read and hash, compare with the live release, upload and copy into a new
 * one, complete it, flip the pointer, tidy up. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/cli/site_internal.h"
#include "storage/base/codec.h"

#define PROGRESS_NS 100000000
/* Below the day after which an abandoned release may be forgotten. */
#define DEPLOY_MS_MAX (12 * 3600 * 1000)

struct deploy {
    struct site *site;
    const struct site_deploy *how;
    struct site_files files, old;
    const struct site_file **by_hash; /* the live release's */
    char live[SITE_RELEASE_MAX + 1], release[SITE_RELEASE_MAX + 1];
    size_t uploaded, copied, removed;
    uint64_t uploaded_bytes;
    size_t *again, again_count; /* could not be copied: to upload after all */
    uint64_t shown_ns;
    int64_t begun_ms;
    bool failed;
};

/* ---- comparing ---- */

static int by_hash(const void *a, const void *b)
{
    return strcmp((*(const struct site_file *const *)a)->hash,
                  (*(const struct site_file *const *)b)->hash);
}

static int hash_is(const void *hash, const void *file)
{
    return strcmp(hash, (*(const struct site_file *const *)file)->hash);
}

static int key_is(const void *key, const void *file)
{
    return strcmp(key, ((const struct site_file *)file)->key);
}

static const struct site_file *file_at(const struct site_files *files, const char *key)
{
    return files->count ? bsearch(key, files->list, files->count, sizeof(*files->list), key_is)
                        : NULL;
}

/* A file of the live release with the same contents, wherever it stands. */
static const struct site_file *source_of(const struct deploy *d, const struct site_file *f)
{
    const struct site_file *const *found = NULL;
    if (d->old.count)
        found = bsearch(f->hash, d->by_hash, d->old.count, sizeof(*d->by_hash), hash_is);
    return found ? *found : NULL;
}

static bool read_live(struct deploy *d, bool *no_bucket)
{
    bool found = false;
    if (!site_live(d->site, d->live, no_bucket) ||
        (d->live[0] && !site_manifest_get(d->site, d->live, &d->old, &found)))
        return false;
    d->by_hash = calloc(d->old.count + 1, sizeof(*d->by_hash));
    d->again = calloc(d->files.count + 1, sizeof(*d->again));
    if (!d->by_hash || !d->again) {
        fprintf(stderr, "kist: out of memory\n");
        return false;
    }
    for (size_t i = 0; i < d->old.count; i++)
        d->by_hash[i] = &d->old.list[i];
    qsort(d->by_hash, d->old.count, sizeof(*d->by_hash), by_hash);
    for (size_t i = 0; i < d->old.count; i++)
        d->removed += !file_at(&d->files, d->old.list[i].key);
    return true;
}

static bool is_same(const struct deploy *d)
{
    bool same = d->files.count == d->old.count;
    for (size_t i = 0; same && i < d->files.count; i++) {
        const struct site_file *a = &d->files.list[i], *b = &d->old.list[i];
        same = strcmp(a->key, b->key) == 0 && strcmp(a->hash, b->hash) == 0 &&
               strcmp(a->cache, b->cache) == 0;
    }
    return same;
}

static void show_plan(const struct deploy *d)
{
    for (size_t i = 0; i < d->files.count; i++) {
        const struct site_file *f = &d->files.list[i], *old = file_at(&d->old, f->key);
        if (!old || strcmp(old->hash, f->hash) != 0)
            printf("%s %s\n", old ? "change" : "add", f->key);
    }
    for (size_t i = 0; i < d->old.count; i++)
        if (!file_at(&d->files, d->old.list[i].key))
            printf("remove %s\n", d->old.list[i].key);
}

/* ---- sending ---- */

struct sending {
    struct client_request request;
    struct deploy *deploy;
    size_t index;
    bool copies;
    struct arena arena;
};

static void progress(struct deploy *d, bool last)
{
    uint64_t now = mono_ns();
    if (!isatty(STDERR_FILENO) || (!last && now - d->shown_ns < PROGRESS_NS))
        return;
    d->shown_ns = now;
    fprintf(stderr, "\r%zu of %zu files, %.1f MiB sent%s", d->uploaded + d->copied,
            d->files.count, (double)d->uploaded_bytes / 1048576, last ? "\n" : "");
}

static void sent(struct client_request *q)
{
    struct sending *s = q->user;
    struct deploy *d = s->deploy;
    const struct site_file *f = &d->files.list[s->index];
    if (client_ok(q) && s->copies) {
        d->copied++;
    } else if (client_ok(q)) {
        d->uploaded++;
        d->uploaded_bytes += f->bytes;
    } else if (s->copies && q->status / 100 == 4) {
        d->again[d->again_count++] = s->index;
    } else {
        if (!d->failed &&
            bytes_find(buf_bytes(&q->reply), BYTES_LIT("SHA256Mismatch"), 0) != SIZE_MAX)
            fprintf(stderr, "kist: %s: it changed while it was read\n", f->path);
        else if (!d->failed)
            client_complain(q, f->path);
        d->failed = true;
    }
    progress(d, false);
    client_request_release(q);
    arena_release(&s->arena);
    free(s);
}

/* The file into the new release: from the live one, or from the disk. */
static bool send_file(struct deploy *d, size_t index, const struct site_file *source)
{
    const struct site_file *f = &d->files.list[index];
    struct sending *s = calloc(1, sizeof(*s));
    if (!s)
        return false;
    arena_init(&s->arena, 64 << 10);
    s->deploy = d;
    s->index = index;
    s->copies = source != NULL;
    struct client_request *q = &s->request;
    *q = (struct client_request){ .service = "s3", .method = "PUT", .done = sent, .user = s };
    q->path = site_path(&s->arena, d->site->bucket, SITE_ROOT, d->release, f->key);
    client_header_add(q, "Content-Type", site_type(f->key));
    client_header_add(q, "Cache-Control", f->cache);
    const char *from = NULL;
    if (source) {
        from = site_path(&s->arena, d->site->bucket, SITE_ROOT, d->live, source->key);
        client_header_add(q, "x-amz-copy-source", from);
        client_header_add(q, "x-amz-metadata-directive", "REPLACE");
    } else {
        q->file = f->path;
        q->file_bytes = f->bytes;
        q->sha256 = f->hash;
    }
    if (!q->path || (source && !from)) {
        arena_release(&s->arena);
        free(s);
        return false;
    }
    client_start(d->site->client, q);
    return true;
}

static bool send_all(struct deploy *d)
{
    for (size_t i = 0; i < d->files.count && !d->failed; i++)
        d->failed = !send_file(d, i, source_of(d, &d->files.list[i])) || d->failed;
    client_wait(d->site->client);
    for (size_t i = 0; i < d->again_count && !d->failed; i++)
        d->failed = !send_file(d, d->again[i], NULL) || d->failed;
    client_wait(d->site->client);
    progress(d, true);
    return !d->failed;
}

/* ---- the whole ---- */

/* 20261123T195100.123Z-1a2b3c4d: by time, so that lists are in order; random, so that two at
 * once differ. */
static void name_release(struct deploy *d)
{
    char date[TIME_AMZ_LEN], hex[9];
    uint8_t random[4];
    d->begun_ms = env_real()->now_ms(env_real());
    time_amz(d->begun_ms, date);
    env_real()->random(env_real(), random, sizeof(random));
    hex_encode(bytes_of(random, sizeof(random)), hex);
    snprintf(d->release, sizeof(d->release), "%.15s.%03dZ-%s", date, (int)(d->begun_ms % 1000),
             hex);
}

static bool complete(struct deploy *d)
{
    if (env_real()->now_ms(env_real()) - d->begun_ms > DEPLOY_MS_MAX) {
        fprintf(stderr, "kist: %s: took more than 12 hours: begin again\n", d->site->bucket);
        return false;
    }
    return site_manifest_put(d->site, d->release, &d->files) && site_publish(d->site, d->release);
}

static bool run(struct deploy *d)
{
    bool no_bucket = false;
    const char *index = d->how->index ? d->how->index : "index.html";
    if (!site_scan(d->how->dir, d->how->cache_control, &d->files) || !read_live(d, &no_bucket))
        return false;
    if (!file_at(&d->files, index))
        fprintf(stderr, "kist: %s: there is no %s: the site has no front page\n", d->how->dir,
                index);
    if (d->how->dry_run) {
        show_plan(d);
        return true;
    }
    if (no_bucket && !site_make_bucket(d->site))
        return false;
    if (d->live[0] && is_same(d)) {
        memcpy(d->release, d->live, sizeof(d->release));
        d->copied = d->files.count;
    } else {
        name_release(d);
        if (!send_all(d) || !complete(d))
            return false;
    }
    printf("release %s\nuploaded %zu\nunchanged %zu\nremoved %zu\n", d->release, d->uploaded,
           d->copied, d->removed);
    (void)fflush(stdout);
    return site_open_to_all(d->site, d->how, file_at(&d->files, "404.html") != NULL) &&
           site_tidy(d->site, d->release, d->live, d->how->keep);
}

static void count_changes(const struct deploy *d, struct site_plan *out)
{
    for (size_t i = 0; i < d->files.count; i++) {
        const struct site_file *f = &d->files.list[i], *old = file_at(&d->old, f->key);
        out->added += !old;
        out->changed += old && strcmp(old->hash, f->hash) != 0;
        out->other += old && strcmp(old->hash, f->hash) == 0 && strcmp(old->cache, f->cache) != 0;
    }
    out->removed = d->removed;
    out->no_release = !d->live[0];
}

bool site_compare(struct site *s, const struct site_deploy *how, struct site_plan *out)
{
    struct deploy d = { .site = s, .how = how };
    *out = (struct site_plan){ .no_bucket = false };
    site_files_init(&d.files);
    site_files_init(&d.old);
    bool ok = site_scan(how->dir, how->cache_control, &d.files) && read_live(&d, &out->no_bucket);
    if (ok)
        count_changes(&d, out);
    if (ok && !out->no_bucket)
        ok = site_is_open(s, how, file_at(&d.files, "404.html") != NULL, &out->settings);
    site_files_release(&d.files);
    site_files_release(&d.old);
    free(d.by_hash);
    free(d.again);
    return ok;
}

int site_deploy(struct site *s, const struct site_deploy *how)
{
    struct deploy d = { .site = s, .how = how };
    site_files_init(&d.files);
    site_files_init(&d.old);
    bool ok = run(&d);
    site_files_release(&d.files);
    site_files_release(&d.old);
    free(d.by_hash);
    free(d.again);
    return ok ? 0 : 1;
}
