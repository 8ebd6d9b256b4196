/* Zips that nothing refers to: a server that was killed after it had stored one, and before the
 * function's row was written, leaves it behind. Each start looks for them once, beside everything
 * else. A zip is written before its row, so that young ones may still be waiting for theirs.
 *
 * What rows refer to is gathered first, then sorted: the walk over the zips asks it. */
#include <stdlib.h>

#include "server/functions/control.h"
#include "storage/base/trace.h"

#define YOUNG_MS ((int64_t)3600 * 1000)
#define KEYS_MAX ((size_t)256 << 20)
#define PAGE 256

struct sweep {
    struct functions *f;
    struct arena arena; /* of referenced keys */
    char **keys;
    size_t count, room;
    enum record_kind kind;
    enum kist_err err;
    /* a page of the walk */
    int64_t before_ms;
    struct arena page_arena;
    ProtobufCBinaryData dead[PAGE];
    size_t dead_count;
};

/* ---- what is referred to ---- */

static void refer(struct sweep *s, const char *key)
{
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 1024;
        char **more =
            room * sizeof(*more) <= KEYS_MAX ? realloc(s->keys, room * sizeof(*more)) : NULL;
        s->keys = more ? more : s->keys;
        s->room = more ? room : s->room;
    }
    char *copy = s->count < s->room ? arena_strdup(&s->arena, key) : NULL;
    if (copy)
        s->keys[s->count++] = copy;
    else
        s->err = KIST_E_NOMEM; /* then nothing is removed */
}

static bool on_record(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct sweep *s = ctx;
    struct arena arena;
    Kist__Function *function = NULL;
    Kist__FunctionLayer *layer = NULL;
    bool is_layer = s->kind == RECORD_LAYER_VERSION;
    (void)name;
    arena_init(&arena, (size_t)4 << 20);
    enum kist_err err = is_layer ? schema_unpack(&kist__function_layer__descriptor,
                                                 schema_bytes(record->body), &arena, &layer)
                                 : schema_unpack(&kist__function__descriptor,
                                                 schema_bytes(record->body), &arena, &function);
    if (err == KIST_OK)
        refer(s, is_layer ? layer->code_key : function->code_key);
    else
        s->err = err;
    arena_release(&arena);
    return s->err == KIST_OK;
}

static bool on_account(void *ctx, const Kist__Account *account)
{
    static const enum record_kind kinds[] = { RECORD_FUNCTION, RECORD_FUNCTION_VERSION,
                                              RECORD_LAYER_VERSION };
    struct sweep *s = ctx;
    for (size_t i = 0; i < ARRAY_LEN(kinds) && s->err == KIST_OK; i++) {
        s->kind = kinds[i];
        enum kist_err err = store_list_records(s->f->store, kinds[i], bytes_str(account->id),
                                               BYTES_EMPTY, BYTES_EMPTY, on_record, s);
        s->err = s->err == KIST_OK ? err : s->err;
    }
    return s->err == KIST_OK;
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

static bool is_referred(const struct sweep *s, const char *key)
{
    return s->count && bsearch(&key, s->keys, s->count, sizeof(*s->keys), by_text);
}

/* ---- the walk ---- */

static bool on_zip(void *ctx, struct bytes key, const Kist__Object *object)
{
    struct sweep *s = ctx;
    if (!object || object->mtime_ms > s->before_ms)
        return true;
    char *copy = arena_strndup(&s->page_arena, key.ptr, key.len);
    if (copy && !is_referred(s, copy))
        s->dead[s->dead_count++] = schema_data(bytes_str(copy));
    return copy != NULL;
}

static enum kist_err remove_dead(struct sweep *s)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteObjects request = KIST__DELETE_OBJECTS__INIT;
    Kist__DeleteKey rows[PAGE], *list[PAGE];
    if (!s->dead_count)
        return KIST_OK;
    for (size_t i = 0; i < s->dead_count; i++) {
        kist__delete_key__init(&rows[i]);
        rows[i].key = s->dead[i];
        list[i] = &rows[i];
    }
    request.bucket = (char *)(uintptr_t)FUNCTIONS_BUCKET;
    request.n_keys = s->dead_count;
    request.keys = list;
    request.now_ms = s->before_ms + YOUNG_MS;
    command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
    command.delete_objects = &request;
    TRACE(TRACE_INFO, "functions", "%zu zips that no function refers to are removed",
          s->dead_count);
    return store_commit(s->f->store, &command);
}

static enum kist_err walk(struct sweep *s, struct bytes prefix)
{
    char after[1025] = "";
    for (bool more = true; more && s->err == KIST_OK && !atomic_load(&s->f->stopping);) {
        struct list_query query = { .prefix = prefix, .after = bytes_str(after), .max = PAGE };
        struct list_page page = { .each = on_zip, .ctx = s };
        if (!after[0])
            query.after = BYTES_EMPTY;
        arena_clear(&s->page_arena);
        s->dead_count = 0;
        TRY(store_list(s->f->store, BYTES_LIT(FUNCTIONS_BUCKET), &query, &s->page_arena, &page));
        more = page.truncated && page.last.len < sizeof(after);
        if (more) {
            memcpy(after, page.last.ptr, page.last.len);
            after[page.last.len] = '\0';
        }
        TRY(remove_dead(s));
    }
    return s->err;
}

struct sweep_job {
    struct job job;
    struct functions *f;
};

static void run(struct job *job)
{
    struct sweep_job *j = CONTAINER_OF(job, struct sweep_job, job);
    struct sweep *s = calloc(1, sizeof(*s));
    struct env *env = store_env(j->f->store);
    if (s) {
        s->f = j->f;
        s->before_ms = env->now_ms(env) - YOUNG_MS;
        arena_init(&s->arena, KEYS_MAX);
        arena_init(&s->page_arena, (size_t)4 << 20);
        enum kist_err err = store_list_accounts(j->f->store, on_account, s);
        err = err == KIST_OK ? s->err : err;
        if (err == KIST_OK && s->count)
            qsort(s->keys, s->count, sizeof(*s->keys), by_text);
        if (err == KIST_OK)
            err = walk(s, BYTES_LIT("code/"));
        if (err == KIST_OK)
            err = walk(s, BYTES_LIT("layers/"));
        if (err != KIST_OK && err != KIST_E_SHUTDOWN)
            TRACE(TRACE_WARN, "functions", "zips are not swept: %s", kist_err_text(err));
        arena_release(&s->arena);
        arena_release(&s->page_arena);
        free(s->keys);
    }
    free(s);
    free(j);
}

void code_sweep(struct functions *f)
{
    struct sweep_job *j = calloc(1, sizeof(*j));
    if (!j)
        return;
    j->f = f;
    j->job.run = run;
    registry_run(f->registry, &j->job);
}
