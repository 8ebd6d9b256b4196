/* What AWS has elsewhere: a function's log lines, and its zip.
 *
 *   GET .../kist-logs?after=CURSOR&since=MS&wait=SECONDS   {"Lines": [...], "Next": CURSOR}
 *   GET .../kist-code?Qualifier=Q                          the zip, of a layer too
 *
 * Reading logs reads objects, so a worker does it; who waits for lines that are not there yet
 * holds no thread. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/functions/control.h"
#include "storage/base/codec.h"

#define LINES_MAX 1000
#define WAIT_MAX_S 60
#define LINES_BYTES_MAX ((size_t)4 << 20)

/* ---- logs ---- */

struct reading {
    struct fn_call *c;
    struct fn_log_query query;
    json_t *lines;
    size_t bytes;
    enum kist_err err;
    uint64_t wait_ns; /* 0: no more */
    struct fn_log_watch *watch;
    struct fn_alarm alarm;
    atomic_bool woken;
};

static struct reading *reading_of(struct fn_call *c)
{
    return c->logs;
}

static void stop_waiting(struct fn_call *c, struct reading *r)
{
    if (r->watch)
        functions_logs_unwatch(c->f, r->watch);
    r->watch = NULL;
    if (r->alarm.ring)
        registry_alarm_unset(c->f->registry, &r->alarm);
}

void fn_logs_end(struct fn_call *c)
{
    struct reading *r = reading_of(c);
    if (!r)
        return;
    stop_waiting(c, r);
    json_decref(r->lines);
    free(r);
}

static bool add_line(void *ctx, const struct fn_log_line *line)
{
    struct reading *r = ctx;
    json_t *text = json_stringn((const char *)line->text.ptr, line->text.len);
    char cursor[24];
    if (!text) { /* not UTF-8 */
        char *hidden = malloc(line->text.len + 1);
        for (size_t i = 0; hidden && i < line->text.len; i++)
            hidden[i] = (char)(line->text.ptr[i] < 0x80 ? line->text.ptr[i] : '?');
        text = hidden ? json_stringn(hidden, line->text.len) : NULL;
        free(hidden);
    }
    snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)line->cursor);
    json_array_append_new(r->lines,
                          json_pack("{s:I, s:s, s:s, s:o?, s:s}", "Time",
                                    (json_int_t)line->time_ms, "RequestId", line->request_id,
                                    "Version", line->version, "Text", text, "Cursor", cursor));
    r->query.cursor = line->cursor;
    r->bytes += line->text.len;
    return r->bytes < LINES_BYTES_MAX;
}

static void read_lines(struct fn_call *c)
{
    struct reading *r = reading_of(c);
    r->err = functions_logs_read(c->f, &r->query, add_line, r);
}

static void start_reading(struct fn_call *c);

static void lines_came(struct exchange *x)
{
    struct fn_call *c = api_call_of(x)->state;
    stop_waiting(c, reading_of(c));
    start_reading(c);
}

/* Lines are there, or it has been long enough: who comes first. */
static void wake_reader(void *ctx)
{
    struct reading *r = ctx;
    if (!atomic_exchange(&r->woken, true))
        exchange_wake(r->c->x, lines_came);
}

static void wait_for_lines(struct fn_call *c, struct reading *r)
{
    r->alarm =
        (struct fn_alarm){ .due_ns = mono_ns() + r->wait_ns, .ring = wake_reader, .ctx = r };
    r->wait_ns = 0;
    /* A wake may come before this returns; what follows it runs on this thread, later. */
    exchange_wait(c->x);
    if (functions_logs_watch(c->f, c->id.account, c->id.name, r->query.cursor, wake_reader, r,
                             &r->watch) != KIST_OK)
        wake_reader(r);
    else
        registry_alarm_set(c->f->registry, &r->alarm);
}

static void lines_read(struct fn_call *c)
{
    struct reading *r = reading_of(c);
    char cursor[24];
    if (r->err != KIST_OK && r->err != KIST_E_NOT_FOUND) {
        fn_fail_err(c, r->err);
        return;
    }
    if (json_array_size(r->lines) == 0 && r->wait_ns) {
        wait_for_lines(c, r);
        return;
    }
    snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)r->query.cursor);
    fn_reply(c, 200, json_pack("{s:O, s:s}", "Lines", r->lines, "Next", cursor));
}

static void start_reading(struct fn_call *c)
{
    fn_work(c, read_lines, lines_read);
}

static bool number(struct fn_call *c, const char *name, uint64_t *out)
{
    struct bytes text = fn_param(c, name);
    if (!text.len || bytes_to_u64(text, INT64_MAX, out) == KIST_OK)
        return true;
    fn_invalid(c, "%s is no number.", name);
    return false;
}

void fn_logs(struct fn_call *c)
{
    Kist__Function *latest = NULL;
    uint64_t after = 0, since = 0, wait = 0;
    struct reading *r;
    if (!fn_load(c, &latest, NULL) || !number(c, "after", &after) ||
        !number(c, "since", &since) || !number(c, "wait", &wait))
        return;
    r = calloc(1, sizeof(*r));
    if (!r) {
        fn_fail_err(c, KIST_E_NOMEM);
        return;
    }
    r->c = c;
    r->query = (struct fn_log_query){ .account = c->id.account,
                                      .name = c->id.name,
                                      .since_ms = (int64_t)since,
                                      .cursor = after,
                                      .max = LINES_MAX };
    r->lines = json_array();
    r->wait_ns = (wait < WAIT_MAX_S ? wait : WAIT_MAX_S) * UINT64_C(1000000000);
    c->logs = r;
    start_reading(c);
}

/* ---- the zip ---- */

struct download {
    struct object_reader *reader;
    struct exchange *x;
    uint64_t at; /* that is being fetched */
};

void fn_download_end(struct fn_call *c)
{
    struct download *d = c->download;
    if (d && d->reader)
        object_reader_close(d->reader);
}

/* MHD asks again. */
static void fetched(struct exchange *x)
{
    (void)x;
}

static void on_fetched(void *user)
{
    struct download *d = user;
    exchange_wake(d->x, fetched);
}

static ptrdiff_t read_zip(struct exchange *x, void *ctx, uint64_t pos, uint8_t *buf, size_t max)
{
    struct download *d = ctx;
    size_t got = 0;
    enum kist_err err = object_reader_read(d->reader, pos, buf, max, false, &got);
    if (err == KIST_E_BUSY) {
        exchange_wait(x);
        object_reader_fetch(d->reader, pos, on_fetched, d);
        return 0;
    }
    return err == KIST_OK ? (ptrdiff_t)got : -1;
}

void fn_send_zip(struct fn_call *c, const char *code_key)
{
    struct download *d = arena_zalloc(c->arena, sizeof(*d));
    Kist__Object *marker = NULL;
    struct object_id id = { BYTES_LIT(FUNCTIONS_BUCKET), bytes_str(code_key), VERSION_CURRENT };
    enum kist_err err =
        d ? object_reader_open(c->f->store, &id, c->arena, &d->reader, &marker) : KIST_E_NOMEM;
    if (err != KIST_OK) {
        fn_fail_err(c, err);
        return;
    }
    d->x = c->x;
    c->download = d;
    struct body_reader reader = { .read = read_zip, .ctx = d, .block_bytes = 256U << 10 };
    (void)!exchange_add_header(c->x, "Content-Type", BYTES_LIT("application/zip"));
    c->replied = true;
    exchange_reply_reader(c->x, 200, object_reader_object(d->reader)->size, &reader);
}

void fn_download(struct fn_call *c)
{
    struct function_found found = { 0 };
    if (fn_load_qualified(c, &found))
        fn_send_zip(c, found.function->code_key);
}
