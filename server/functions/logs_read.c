/* Logs as they are read, and as they go. */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/functions/logs_internal.h"
#include "storage/base/trace.h"

#define OBJECT_MAX ((uint64_t)4 << 20)
#define PAGE 256
#define LINES_DEFAULT 10000
/* A batch is written when it is a second old; under load, some more. */
#define BATCH_SPAN_US (UINT64_C(120) * 1000000)

/* ---- reading ---- */

struct reading {
    struct functions *f;
    const struct fn_log_query *query;
    bool (*each)(void *ctx, const struct fn_log_line *line);
    void *ctx;
    uint64_t cursor, until; /* lines behind the first, up to the second */
    size_t left;
    bool enough;
};

static bool take_word(struct bytes *line, char *out, size_t max)
{
    size_t end = bytes_find(*line, BYTES_LIT(" "), 0);
    if (end == SIZE_MAX || end >= max)
        return false;
    memcpy(out, line->ptr, end);
    out[end] = '\0';
    *line = bytes_of(line->ptr + end + 1, line->len - end - 1);
    return true;
}

static void give_line(struct reading *r, struct bytes line)
{
    char cursor[17], request_id[72], version[40];
    if (!take_word(&line, cursor, sizeof(cursor)) ||
        !take_word(&line, request_id, sizeof(request_id)) ||
        !take_word(&line, version, sizeof(version)))
        return;
    struct fn_log_line out = { .cursor = strtoull(cursor, NULL, 16),
                               .request_id = request_id[0] == '-' ? "" : request_id,
                               .version = version[0] == '-' ? "" : version,
                               .text = line };
    out.time_ms = (int64_t)(out.cursor / 1000);
    if (out.cursor <= r->cursor)
        return;
    if (out.cursor > r->until || r->left == 0) {
        r->enough = true;
        return;
    }
    r->cursor = out.cursor;
    r->left--;
    r->enough = !r->each(r->ctx, &out);
}

static void give_lines(struct reading *r, struct bytes lines)
{
    while (lines.len && !r->enough) {
        size_t end = bytes_find(lines, BYTES_LIT("\n"), 0);
        size_t len = end == SIZE_MAX ? lines.len : end;
        give_line(r, bytes_of(lines.ptr, len));
        len += end != SIZE_MAX;
        lines = bytes_of(lines.ptr + len, lines.len - len);
    }
}

static enum kist_err give_object(struct reading *r, struct bytes key)
{
    struct arena arena;
    struct object_reader *reader = NULL;
    struct object_id id = { BYTES_LIT(FUNCTIONS_BUCKET), key, VERSION_CURRENT };
    arena_init(&arena, 2 * OBJECT_MAX);
    enum kist_err err = object_reader_open(r->f->store, &id, &arena, &reader, NULL);
    uint64_t size = err == KIST_OK ? object_reader_object(reader)->size : 0, at = 0;
    uint8_t *text = size && size <= OBJECT_MAX ? arena_alloc(&arena, (size_t)size) : NULL;
    if (err == KIST_OK && !text)
        err = KIST_E_NOMEM;
    while (err == KIST_OK && at < size) {
        size_t got = 0;
        err = object_reader_read(reader, at, text + at, (size_t)(size - at), true, &got);
        at += got;
    }
    if (err == KIST_OK)
        give_lines(r, bytes_of(text, (size_t)size));
    object_reader_close(reader);
    arena_release(&arena);
    /* Retention may have been quicker. */
    return err == KIST_E_NO_KEY ? KIST_OK : err;
}

struct keys {
    struct arena *arena;
    struct bytes list[PAGE];
    size_t count;
};

static bool collect(void *ctx, struct bytes key, const Kist__Object *object)
{
    struct keys *k = ctx;
    if (object && k->count < PAGE && (k->list[k->count] = arena_copy(k->arena, key)).ptr)
        k->count++;
    return true;
}

/* A page of keys below the prefix, behind `after`. */
static enum kist_err list_page(struct store *store, struct bytes prefix, struct bytes after,
                               struct keys *k, bool *more)
{
    struct list_query query = { .prefix = prefix, .after = after, .max = PAGE };
    struct list_page page = { .each = collect, .ctx = k };
    k->count = 0;
    TRY(store_list(store, BYTES_LIT(FUNCTIONS_BUCKET), &query, k->arena, &page));
    *more = page.truncated && k->count;
    return KIST_OK;
}

/* Its lines end before the cursor: the name says so. */
static bool ends_before(struct bytes key, uint64_t cursor)
{
    char hex[17];
    if (key.len < 16)
        return false;
    memcpy(hex, key.ptr + key.len - 16, 16);
    hex[16] = '\0';
    return strtoull(hex, NULL, 16) <= cursor;
}

static enum kist_err read_objects(struct reading *r)
{
    char prefix[LOG_KEY_MAX], start[LOG_KEY_MAX];
    const struct fn_log_query *q = r->query;
    struct bytes after = BYTES_EMPTY;
    bool more = true;
    int n = snprintf(prefix, sizeof(prefix), "logs/%.*s/%.*s/", (int)q->account.len,
                     (const char *)q->account.ptr, (int)q->name.len, (const char *)q->name.ptr);
    if (n < 0 || n > 256)
        return KIST_E_INVALID;
    if (r->cursor > BATCH_SPAN_US) {
        char day[TIME_ISO_LEN];
        uint64_t from = r->cursor - BATCH_SPAN_US;
        time_iso((int64_t)(from / 1000), day);
        snprintf(start, sizeof(start), "%.256s%.10s/%016llx", prefix, day,
                 (unsigned long long)from);
        after = bytes_str(start);
    }
    enum kist_err err = KIST_OK;
    while (more && err == KIST_OK && !r->enough) {
        struct arena arena;
        arena_init(&arena, 4 << 20);
        struct keys k = { .arena = &arena };
        err = list_page(r->f->store, bytes_str(prefix), after, &k, &more);
        for (size_t i = 0; err == KIST_OK && i < k.count && !r->enough; i++)
            if (!ends_before(k.list[i], r->cursor))
                err = give_object(r, k.list[i]);
        if (k.count && k.list[k.count - 1].len < sizeof(start)) {
            memcpy(start, k.list[k.count - 1].ptr, k.list[k.count - 1].len);
            after = bytes_of(start, k.list[k.count - 1].len);
        }
        arena_release(&arena);
    }
    return err;
}

/* What is not written yet. Taken before the objects are read: what is written meanwhile is in
 * both, and its cursors say so. */
static enum kist_err copy_memory(struct functions *f, const struct fn_log_query *q,
                                 struct buf *out)
{
    struct log_stream *s = logs_stream(f->logs, q->account, q->name);
    if (!s)
        return KIST_E_NOMEM;
    pthread_mutex_lock(&s->lock);
    enum kist_err err = buf_append_bytes(out, buf_bytes(&s->writing.lines));
    if (err == KIST_OK)
        err = buf_append_bytes(out, buf_bytes(&s->open.lines));
    pthread_mutex_unlock(&s->lock);
    logs_unref(s);
    return err;
}

enum kist_err functions_logs_read(struct functions *f, const struct fn_log_query *query,
                                  bool (*each)(void *ctx, const struct fn_log_line *line),
                                  void *ctx)
{
    struct reading r = { .f = f, .query = query, .each = each, .ctx = ctx };
    struct buf memory;
    if (!f->logs)
        return KIST_E_UNSUPPORTED;
    uint64_t since = query->since_ms > 0 ? (uint64_t)query->since_ms * 1000 - 1 : 0;
    r.cursor = query->cursor > since ? query->cursor : since;
    r.until = query->until_ms > 0 ? (uint64_t)query->until_ms * 1000 : UINT64_MAX;
    r.left = query->max ? query->max : LINES_DEFAULT;
    buf_init(&memory, 4 << 20);
    enum kist_err err = copy_memory(f, query, &memory);
    if (err == KIST_OK)
        err = read_objects(&r);
    if (err == KIST_OK && !r.enough)
        give_lines(&r, buf_bytes(&memory));
    buf_release(&memory);
    return err;
}

/* ---- going ---- */

static enum kist_err delete_keys(struct store *store, const struct keys *k)
{
    static char bucket[] = FUNCTIONS_BUCKET;
    Kist__DeleteKey rows[PAGE], *list[PAGE];
    Kist__DeleteObjects request = KIST__DELETE_OBJECTS__INIT;
    Kist__Command command = KIST__COMMAND__INIT;
    for (size_t i = 0; i < k->count; i++) {
        kist__delete_key__init(&rows[i]);
        rows[i].key = schema_data(k->list[i]);
        list[i] = &rows[i];
    }
    request.bucket = bucket;
    request.n_keys = k->count;
    request.keys = list;
    request.now_ms = store_env(store)->now_ms(store_env(store));
    command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
    command.delete_objects = &request;
    return store_commit(store, &command);
}

/* All below the prefix whose names are less than `below` (empty: all). */
static enum kist_err delete_below(struct store *store, const char *prefix, const char *below)
{
    enum kist_err err = KIST_OK;
    bool more = true;
    while (more && err == KIST_OK) {
        struct arena arena;
        arena_init(&arena, 4 << 20);
        struct keys k = { .arena = &arena };
        err = list_page(store, bytes_str(prefix), BYTES_EMPTY, &k, &more);
        size_t n = 0;
        while (n < k.count && (!below[0] || bytes_compare(k.list[n], bytes_str(below)) < 0))
            n++;
        more = more && n == k.count;
        k.count = n;
        if (err == KIST_OK && n)
            err = delete_keys(store, &k);
        arena_release(&arena);
    }
    return err;
}

void logs_remove_all(struct logs *logs, struct log_removal *list)
{
    while (list) {
        struct log_removal *r = list;
        list = r->next;
        enum kist_err err = delete_below(logs->f->store, r->prefix, "");
        if (err != KIST_OK)
            TRACE(TRACE_WARN, "functions", "logs %s stay: %s", r->prefix, kist_err_text(err));
        free(r);
    }
}

void functions_logs_remove(struct functions *f, struct bytes account, struct bytes name)
{
    struct log_removal *r = f->logs ? calloc(1, sizeof(*r)) : NULL;
    if (!r)
        return;
    snprintf(r->prefix, sizeof(r->prefix), "logs/%.*s/%.*s/", (int)account.len,
             (const char *)account.ptr, (int)name.len, (const char *)name.ptr);
    pthread_mutex_lock(&f->logs->lock);
    r->next = f->logs->removals;
    f->logs->removals = r;
    pthread_mutex_unlock(&f->logs->lock);
}

struct retained {
    struct arena arena;
    int64_t now_ms;
    struct retained_name {
        struct retained_name *next;
        char prefix[LOG_KEY_MAX], below[LOG_KEY_MAX];
    } * first;
};

static bool collect_name(void *ctx, const Kist__Function *latest)
{
    struct retained *r = ctx;
    char day[TIME_ISO_LEN];
    struct retained_name *one = latest->log_days ? arena_alloc(&r->arena, sizeof(*one)) : NULL;
    if (!one)
        return true;
    time_iso(r->now_ms - (int64_t)latest->log_days * 86400000, day);
    int n =
        snprintf(one->prefix, sizeof(one->prefix), "logs/%s/%s/", latest->account, latest->name);
    if (n < 0 || n > 256)
        return true;
    snprintf(one->below, sizeof(one->below), "%.256s%.10s", one->prefix, day);
    one->next = r->first;
    r->first = one;
    return true;
}

void logs_retain(struct logs *logs)
{
    struct env *env = store_env(logs->f->store);
    struct retained r = { .now_ms = env->now_ms(env) };
    arena_init(&r.arena, 16 << 20);
    enum kist_err err = registry_each(logs->f, collect_name, &r);
    for (struct retained_name *one = r.first; one && err == KIST_OK; one = one->next)
        err = delete_below(logs->f->store, one->prefix, one->below);
    if (err != KIST_OK)
        TRACE(TRACE_WARN, "functions", "old logs stay: %s", kist_err_text(err));
    arena_release(&r.arena);
}
