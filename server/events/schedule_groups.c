/* Groups of schedules: a name that schedules share, and go with. */
#include <jansson.h>

#include "server/events/schedule_internal.h"

#define GROUP_STEP 100

static Kist__RecordChange *group_change(struct schedule_work *w)
{
    Kist__RecordChange *change = arena_alloc(w->call->arena, sizeof(*change));
    if (!change)
        return NULL;
    kist__record_change__init(change);
    change->kind = RECORD_SCHEDULE_GROUP;
    change->account = schedule_copy(w, w->call->who->tenant);
    change->name = schedule_copy(w, w->group);
    return change;
}

static void group_written(struct schedule_work *w)
{
    schedule_reply(w, 200,
                   json_pack("{s:s}", "ScheduleGroupArn",
                             schedule_arn(w, "schedule-group", w->group, BYTES_EMPTY)));
}

void schedule_create_group(struct schedule_work *w)
{
    Kist__Record record = KIST__RECORD__INIT;
    Kist__RecordChange *change = group_change(w);
    if (!schedule_allowed(w, "scheduler:CreateScheduleGroup",
                          schedule_arn(w, "schedule-group", w->group, BYTES_EMPTY)))
        return;
    if (!change || bytes_equal(w->group, BYTES_LIT("default"))) {
        schedule_fail_err(w, change ? KIST_E_CONFLICT : KIST_E_NOMEM);
        return;
    }
    record.created_ms = w->now_ms;
    change->record = &record;
    schedule_commit(w, &change, 1, group_written);
}

void schedule_get_group(struct schedule_work *w)
{
    Kist__Record *record = NULL;
    const char *arn = schedule_arn(w, "schedule-group", w->group, BYTES_EMPTY);
    if (!schedule_allowed(w, "scheduler:GetScheduleGroup", arn))
        return;
    bool named = bytes_equal(w->group, BYTES_LIT("default"));
    enum kist_err err =
        named ? KIST_OK
              : store_record(w->s->config.store, RECORD_SCHEDULE_GROUP, w->call->who->tenant,
                             w->group, w->call->arena, &record);
    if (err != KIST_OK) {
        w->name = w->group;
        schedule_fail_err(w, err);
        return;
    }
    double created = record ? (double)record->created_ms / 1000 : 0;
    schedule_reply(w, 200,
                   json_pack("{s:s, s:s, s:s, s:f, s:f}", "Arn", arn, "Name",
                             schedule_copy(w, w->group), "State", "ACTIVE", "CreationDate",
                             created, "LastModificationDate", created));
}

struct members {
    struct schedule_work *w;
    Kist__RecordChange changes[GROUP_STEP + 1], *list[GROUP_STEP + 1];
    size_t count;
    bool more;
};

static bool on_member(void *ctx, struct bytes name, const Kist__Record *record)
{
    struct members *m = ctx;
    (void)record;
    if (m->count == GROUP_STEP) {
        m->more = true;
        return false;
    }
    Kist__RecordChange *c = &m->changes[m->count];
    kist__record_change__init(c);
    c->kind = RECORD_SCHEDULE;
    c->account = schedule_copy(m->w, m->w->call->who->tenant);
    c->name = schedule_copy(m->w, name);
    c->any = true;
    m->list[m->count++] = c;
    return true;
}

/* In steps, each of which may be the last that happens: what is left is still in the group. */
static void delete_members(struct schedule_work *w)
{
    struct members *m = arena_zalloc(w->call->arena, sizeof(*m));
    Kist__RecordChange *group = group_change(w);
    if (!m || !group) {
        schedule_fail_err(w, KIST_E_NOMEM);
        return;
    }
    m->w = w;
    char *prefix = arena_printf(w->call->arena, "%s/", group->name);
    enum kist_err err =
        store_list_records(w->s->config.store, RECORD_SCHEDULE, w->call->who->tenant,
                           bytes_str(prefix), BYTES_EMPTY, on_member, m);
    if (err != KIST_OK) {
        schedule_fail_err(w, err);
        return;
    }
    group->any = true;
    if (!m->more)
        m->list[m->count++] = group;
    schedule_commit(w, m->list, m->count, m->more ? delete_members : schedule_removed);
}

void schedule_delete_group(struct schedule_work *w)
{
    if (!schedule_allowed(w, "scheduler:DeleteScheduleGroup",
                          schedule_arn(w, "schedule-group", w->group, BYTES_EMPTY)))
        return;
    if (bytes_equal(w->group, BYTES_LIT("default")))
        schedule_fail(w, 400, "ValidationException", "The default group cannot be deleted.");
    else if (!schedule_group_exists(w))
        schedule_fail(w, 404, "ResourceNotFoundException", "Schedule group does not exist.");
    else
        delete_members(w);
}
