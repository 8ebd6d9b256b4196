/* The clock of schedules: see schedule.h. */
#include "server/events/schedule_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "storage/base/codec.h"
#include "storage/base/trace.h"

/* The wall clock may be set: it is looked at now and then. */
#define WAIT_MAX_MS 60000
#define LATE_MS 60000
/* Times that were missed, invoked in one go. */
#define CATCH_UP_MAX 1000
#define CATCH_UP_BYTES ((size_t)2 << 20)
#define ARENA_MAX ((size_t)4 << 20)

static int64_t now_ms(struct schedules *s)
{
    struct env *env = store_env(s->config.store);
    return env->now_ms(env);
}

/* ---- turns ---- */

int64_t schedule_begin(const Kist__Schedule *schedule, int64_t now)
{
    return schedule->start_ms > now ? schedule->start_ms - 1 : now;
}

/* INT64_MAX: never. */
static int64_t due_after(const Kist__Schedule *schedule, int64_t after_ms)
{
    struct cron cron;
    if (schedule->disabled || cron_parse(bytes_str(schedule->expression),
                                         bytes_str(schedule->time_zone), &cron) != KIST_OK)
        return INT64_MAX;
    int64_t base = schedule->start_ms ? schedule->start_ms : schedule->created_ms;
    int64_t due = cron_next(&cron, base, after_ms);
    return schedule->end_ms && due > schedule->end_ms ? INT64_MAX : due;
}

/* The revision is part of the name: while the clock writes the next turn of a schedule as it was,
 * somebody may change it, and the turn of the new one would be at the same time. */
enum kist_err schedule_turn_after(const Kist__Schedule *schedule, const char *account,
                                  int64_t after_ms, struct arena *arena,
                                  struct schedule_turn *out)
{
    memset(out, 0, sizeof(*out));
    buf_init(&out->body, 4096);
    int64_t due = due_after(schedule, after_ms);
    if (due == INT64_MAX)
        return KIST_E_NOT_FOUND;
    kist__record_change__init(&out->change);
    kist__record__init(&out->record);
    kist__schedule_turn__init(&out->turn);
    out->turn.account = (char *)(uintptr_t)account;
    out->turn.schedule = arena_printf(arena, "%s/%s", schedule->group, schedule->name);
    out->turn.revision = schedule->revision;
    out->turn.due_ms = due;
    out->change.kind = RECORD_SCHEDULE_TURN;
    out->change.name = arena_printf(arena, "%016" PRIx64 "/%s/%s/%s/%s", (uint64_t)due, account,
                                    schedule->group, schedule->name, schedule->revision);
    out->change.any = true;
    out->change.record = &out->record;
    if (!out->turn.schedule || !out->change.name)
        return KIST_E_NOMEM;
    TRY(schema_pack(&out->turn, &out->body));
    out->record.body = schema_data(buf_bytes(&out->body));
    out->record.created_ms = due;
    return KIST_OK;
}

void schedule_turn_release(struct schedule_turn *t)
{
    buf_release(&t->body);
}

/* ---- one turn ---- */

struct first {
    struct arena *arena;
    char *name;
    Kist__ScheduleTurn *turn;
    enum kist_err err;
};

static bool on_first(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct first *f = ctx;
    struct bytes body = arena_copy(f->arena, schema_bytes(record->body));
    f->name = arena_strndup(f->arena, name.ptr, name.len);
    f->err = body.ptr && f->name
                 ? schema_unpack(&kist__schedule_turn__descriptor, body, f->arena, &f->turn)
                 : KIST_E_NOMEM;
    return false;
}

static enum kist_err schedule_of(struct schedules *s, const Kist__ScheduleTurn *turn,
                                 struct arena *arena, Kist__Record **record, Kist__Schedule **out)
{
    *out = NULL;
    enum kist_err err = store_record(s->config.store, RECORD_SCHEDULE, bytes_str(turn->account),
                                     bytes_str(turn->schedule), arena, record);
    if (err == KIST_E_NOT_FOUND)
        return KIST_OK;
    TRY(err);
    TRY(schema_unpack(&kist__schedule__descriptor, schema_bytes((*record)->body), arena, out));
    if (strcmp((*out)->revision, turn->revision) != 0)
        *out = NULL;
    return KIST_OK;
}

/* A target without input of its own is told when it was.
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html */
static bool set_payload(struct schedules *s, const Kist__Schedule *schedule, int64_t due_ms,
                        struct arena *arena, Kist__Event *event)
{
    char when[TIME_ISO_LEN];
    if (schedule->input.len) {
        event->payload = schedule->input;
        return true;
    }
    time_iso(due_ms, when);
    const char *account = "";
    const char *arn = schedule->target; /* arn:aws:service:region:ACCOUNT:... */
    for (int colons = 0; *arn; arn++)
        if (*arn == ':' && ++colons == 4)
            account = arn + 1;
    char *text = arena_printf(
        arena,
        "{\"version\":\"0\",\"id\":\"%s\",\"detail-type\":\"Scheduled Event\",\"source\":"
        "\"aws.scheduler\",\"account\":\"%.12s\",\"time\":\"%.19sZ\",\"region\":\"%s\","
        "\"resources\":[\"arn:aws:scheduler:%s:%.12s:schedule/%s/%s\"],\"detail\":\"{}\"}",
        schedule->revision, account, when, s->config.region, s->config.region, account,
        schedule->group, schedule->name);
    event->payload = schema_data(bytes_str(text));
    return text != NULL;
}

/* From a due turn to the times that are to be invoked, and the turn after them. */
struct firing {
    Kist__Event events[CATCH_UP_MAX], *list[CATCH_UP_MAX];
    size_t count;
    struct schedule_turn next;
    bool has_next;
};

static bool add_time(struct schedules *s, struct firing *f, const Kist__Schedule *schedule,
                     int64_t due_ms, struct arena *arena)
{
    Kist__Event *e = &f->events[f->count];
    kist__event__init(e);
    e->kind = EVENT_INVOCATION;
    e->target = schedule->target;
    e->rule = schedule->name;
    e->time_ms = due_ms;
    e->retries = schedule->retries;
    e->age_max_s = schedule->age_max_s;
    e->dead_letter = schedule->dead_letter;
    f->list[f->count++] = e;
    return set_payload(s, schedule, due_ms, arena, e);
}

/* Of many times that were missed only the last matters: one that is not long before it. */
static int64_t skip_missed(const Kist__Schedule *schedule, int64_t due, int64_t now)
{
    for (int64_t span = LATE_MS; span < now - due; span *= 2) {
        int64_t late = due_after(schedule, now - span);
        if (late <= now)
            return late;
    }
    return due;
}

static enum kist_err plan(struct schedules *s, const Kist__Schedule *schedule,
                          const Kist__ScheduleTurn *turn, struct arena *arena, struct firing *f)
{
    int64_t now = now_ms(s), due = turn->due_ms, next;
    size_t most = CATCH_UP_BYTES / (schedule->input.len + 1024);
    most = most > CATCH_UP_MAX ? CATCH_UP_MAX : most;
    bool at = bytes_starts_with(bytes_str(schedule->expression), BYTES_LIT("at("));
    bool all = schedule->missed == SCHEDULE_MISSED_ALL;
    for (;; due = all ? next : skip_missed(schedule, next, now)) {
        next = due_after(schedule, due);
        bool skip = schedule->missed == SCHEDULE_MISSED_SKIP && !at && now - due > LATE_MS;
        if ((all || next > now) && !skip && !add_time(s, f, schedule, due, arena))
            return KIST_E_NOMEM;
        if (next > now || f->count >= most)
            break;
    }
    enum kist_err err = schedule_turn_after(schedule, turn->account, due, arena, &f->next);
    f->has_next = err == KIST_OK;
    return err == KIST_E_NOT_FOUND ? KIST_OK : err;
}

static enum kist_err commit(struct schedules *s, const struct first *first, struct firing *f,
                            const Kist__Record *record, const Kist__Schedule *schedule)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents change = KIST__CHANGE_EVENTS__INIT;
    Kist__RecordChange gone = KIST__RECORD_CHANGE__INIT, removed = KIST__RECORD_CHANGE__INIT;
    Kist__RecordChange *records[3];
    gone.kind = RECORD_SCHEDULE_TURN;
    gone.name = first->name;
    gone.any = true;
    records[change.n_records++] = &gone;
    if (f->has_next)
        records[change.n_records++] = &f->next.change;
    if (schedule && !f->has_next && schedule->delete_after) {
        removed.kind = RECORD_SCHEDULE;
        removed.account = first->turn->account;
        removed.name = first->turn->schedule;
        removed.expected = record->changed;
        records[change.n_records++] = &removed;
    }
    change.records = records;
    change.n_added = f->count;
    change.added = f->list;
    command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
    command.change_events = &change;
    return store_commit(s->config.store, &command);
}

/* KIST_E_NOT_FOUND: no schedule has a turn. *due_ms is that of the first that is not due yet. */
static enum kist_err fire_first(struct schedules *s, struct arena *arena, int64_t *due_ms)
{
    struct first first = { .arena = arena };
    Kist__Record *record = NULL;
    Kist__Schedule *schedule = NULL;
    arena_clear(arena);
    TRY(store_list_records(s->config.store, RECORD_SCHEDULE_TURN, BYTES_EMPTY, BYTES_EMPTY,
                           BYTES_EMPTY, on_first, &first));
    if (!first.name)
        return KIST_E_NOT_FOUND;
    TRY(first.err);
    *due_ms = first.turn->due_ms;
    if (*due_ms > now_ms(s))
        return KIST_OK;
    TRY(schedule_of(s, first.turn, arena, &record, &schedule));
    struct firing *f = calloc(1, sizeof(*f));
    if (!f)
        return KIST_E_NOMEM;
    enum kist_err err = schedule ? plan(s, schedule, first.turn, arena, f) : KIST_OK;
    if (err == KIST_OK)
        err = commit(s, &first, f, record, schedule);
    schedule_turn_release(&f->next);
    free(f);
    return err == KIST_E_CONFLICT ? KIST_OK : err; /* it was changed meanwhile: ask again */
}

/* ---- the thread ---- */

/* How long until there is something to do. */
static int64_t fire_all(struct schedules *s, struct arena *arena)
{
    for (;;) {
        int64_t due = INT64_MAX;
        enum kist_err err = fire_first(s, arena, &due);
        if (err == KIST_E_NOT_FOUND || err == KIST_E_SHUTDOWN)
            return WAIT_MAX_MS;
        if (err != KIST_OK) {
            TRACE(TRACE_WARN, "schedule", "%s", kist_err_text(err));
            return 1000;
        }
        int64_t wait = due - now_ms(s);
        if (wait > 0)
            return wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS;
        pthread_mutex_lock(&s->lock);
        bool stop = s->stop;
        pthread_mutex_unlock(&s->lock);
        if (stop)
            return 0;
    }
}

static void *clock_main(void *arg)
{
    struct schedules *s = arg;
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        s->dirty = false;
        pthread_mutex_unlock(&s->lock);
        struct timespec until;
        mono_after(fire_all(s, &arena), &until);
        pthread_mutex_lock(&s->lock);
        while (!s->stop && !s->dirty && pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&s->lock);
    arena_release(&arena);
    return NULL;
}

void schedules_note(struct schedules *s)
{
    pthread_mutex_lock(&s->lock);
    s->dirty = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

enum kist_err schedules_open(const struct schedules_config *config, struct schedules **out)
{
    struct schedules *s = calloc(1, sizeof(*s));
    if (!s)
        return KIST_E_NOMEM;
    s->config = *config;
    schedule_api_init(s);
    pthread_mutex_init(&s->lock, NULL);
    mono_cond_init(&s->wake);
    s->started = pthread_create(&s->thread, NULL, clock_main, s) == 0;
    if (!s->started) {
        schedules_close(s);
        return KIST_E_NOMEM;
    }
    *out = s;
    return KIST_OK;
}

void schedules_close(struct schedules *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct api_service *schedules_service(struct schedules *s)
{
    return &s->service;
}
