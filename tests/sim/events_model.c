#include "tests/sim/events_model.h"

#include <stdio.h>

#include "tests/sim/disk.h"

#define CREATED                                                                                  \
    ((uint64_t)1 << EVENT_CREATED_PUT | (uint64_t)1 << EVENT_CREATED_POST |                      \
     (uint64_t)1 << EVENT_CREATED_COPY | (uint64_t)1 << EVENT_CREATED_COMPLETE)
#define REMOVED                                                                                  \
    ((uint64_t)1 << EVENT_REMOVED_DELETE | (uint64_t)1 << EVENT_REMOVED_MARKER |                 \
     (uint64_t)1 << EVENT_EXPIRED_DELETE | (uint64_t)1 << EVENT_EXPIRED_MARKER)

static char bucket_name[] = "sim";
static char *const targets[EVENTS_TARGETS] = { (char[]){ "arn:aws:sqs:r:1:all" },
                                               (char[]){ "arn:aws:sqs:r:1:some" } };

/* Bit i of events_model.rules: rule i is set. */
static const struct {
    unsigned target;
    uint64_t kinds;
    const char *prefix, *suffix;
    bool ordered;
} rules[] = {
    { 0, CREATED | REMOVED, "key", "", false },
    { 1, CREATED, "", "3", true },
    { 1, REMOVED, "key-", "-4", true },
};

static bool ends_with(struct bytes text, struct bytes end)
{
    return text.len >= end.len &&
           bytes_equal(bytes_of(text.ptr + text.len - end.len, end.len), end);
}

/* How often a target is told. */
static size_t times(const struct events_model *m, unsigned target, const struct telling *t)
{
    size_t n = 0;
    struct bytes key = bytes_str(t->key);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        n += (m->rules >> i & 1) && rules[i].target == target &&
             (rules[i].kinds & (t->created ? CREATED : REMOVED)) &&
             bytes_starts_with(key, bytes_str(rules[i].prefix)) &&
             ends_with(key, bytes_str(rules[i].suffix));
    return n;
}

/* ---- commands ---- */

static void on_done(struct store_op *op)
{
    *(bool *)op->user = true;
}

static bool submit(struct store *s, const Kist__Command *command)
{
    bool done = false;
    struct store_op op;
    store_op_init(&op, on_done, &done);
    store_submit(s, &op, command);
    while (!done && store_step(s))
        continue;
    bool ok = done && op.err == KIST_OK;
    store_op_release(&op);
    return ok;
}

static bool set_rules(struct store *s, unsigned which)
{
    static char id[] = "r";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutBucketConfig request = KIST__PUT_BUCKET_CONFIG__INIT;
    Kist__Notification notification = KIST__NOTIFICATION__INIT;
    Kist__NotificationRule all[ARRAY_LEN(rules)], *list[ARRAY_LEN(rules)];
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (!(which >> i & 1))
            continue;
        Kist__NotificationRule *rule = &all[notification.n_rules];
        kist__notification_rule__init(rule);
        rule->id = id;
        rule->kinds = rules[i].kinds;
        rule->prefix = schema_data(bytes_str(rules[i].prefix));
        rule->suffix = schema_data(bytes_str(rules[i].suffix));
        rule->target = targets[rules[i].target];
        rule->ordered = rules[i].ordered;
        list[notification.n_rules++] = rule;
    }
    notification.rules = list;
    request.name = bucket_name;
    request.kind = CONFIG_NOTIFICATION;
    request.document = schema_data(which ? BYTES_LIT("rules") : BYTES_EMPTY);
    request.notification = &notification;
    command.of_case = KIST__COMMAND__OF_PUT_BUCKET_CONFIG;
    command.put_bucket_config = &request;
    return submit(s, &command);
}

static bool set_paused(struct store *s, bool paused)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PauseEvents request = KIST__PAUSE_EVENTS__INIT;
    request.target = targets[0];
    request.paused = paused;
    command.of_case = KIST__COMMAND__OF_PAUSE_EVENTS;
    command.pause_events = &request;
    return submit(s, &command);
}

static bool settle(struct store *s, struct bytes row, Kist__Settlement how, int64_t due_ms)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__ChangeEvents request = KIST__CHANGE_EVENTS__INIT;
    Kist__SettledEvent one = KIST__SETTLED_EVENT__INIT, *settled[] = { &one };
    one.row = schema_data(row);
    one.how = how;
    one.due_ms = due_ms;
    one.attempts = 1;
    request.n_settled = 1;
    request.settled = settled;
    command.of_case = KIST__COMMAND__OF_CHANGE_EVENTS;
    command.change_events = &request;
    return submit(s, &command);
}

/* ---- what is there ---- */

struct look {
    struct events_model *m; /* what is new is added */
    const struct events_model *known;
    unsigned target;
    unsigned found[EVENTS_TOLD_MAX]; /* times */
    bool ok;
    const char *wanted; /* id of the event whose row is asked for; NULL: none's */
    struct bytes row;   /* in row_space */
    uint8_t row_space[64];
};

static void keep_row(struct look *l, const struct event_item *item)
{
    if (!l->wanted || strcmp(l->wanted, item->id) != 0 || item->row.len > sizeof(l->row_space))
        return;
    memcpy(l->row_space, item->row.ptr, item->row.len);
    l->row = bytes_of(l->row_space, item->row.len);
}

static bool look_at(void *ctx, const struct event_item *item)
{
    struct look *l = ctx;
    size_t i = 0;
    keep_row(l, item);
    while (i < l->known->count && strcmp(l->known->list[i].id, item->id) != 0)
        i++;
    if (i == EVENTS_TOLD_MAX || (i == l->known->count && !l->m)) {
        printf("    event %s was never made\n", item->id);
        l->ok = false;
        return true;
    }
    if (i == l->known->count) {
        struct told *t = &l->m->list[l->m->count++];
        *t = (struct told){
            .target = l->target, .kind = item->event->kind, .settled = SIZE_MAX, .gone = SIZE_MAX
        };
        snprintf(t->id, sizeof(t->id), "%s", item->id);
        snprintf(t->key, sizeof(t->key), "%.*s", (int)item->event->key.len,
                 (const char *)item->event->key.data);
    }
    if (++l->found[i] > 1) {
        printf("    event %s is there twice\n", item->id);
        l->ok = false;
    }
    return true;
}

static bool look(struct store *s, struct look *l)
{
    l->ok = true;
    for (l->target = 0; l->target < EVENTS_TARGETS; l->target++)
        if (store_list_events(s, bytes_str(targets[l->target]), BYTES_EMPTY, INT64_MAX, look_at,
                              l) != KIST_OK)
            return false;
    return l->ok;
}

/* ---- the workload ---- */

static bool settle_one(struct store *s, struct events_model *m, uint64_t random)
{
    struct look l = { .known = m };
    size_t first = (size_t)(random / 10 % m->count), i = first;
    while (m->list[i].gone != SIZE_MAX) {
        i = (i + 1) % m->count;
        if (i == first)
            return true;
    }
    struct told *t = &m->list[i];
    l.wanted = t->id;
    if (!look(s, &l) || !l.row.len) {
        printf("    event %s is not there\n", t->id);
        return false;
    }
    if (random % 10 < 4)
        return settle(s, l.row, random % 2 ? KIST__SETTLEMENT__LATER : KIST__SETTLEMENT__PARKED,
                      (int64_t)(random % 5));
    size_t before = disk_mark();
    bool ok = settle(s, l.row, KIST__SETTLEMENT__DONE, 0);
    t->settled = before;
    t->gone = disk_mark();
    return ok;
}

bool events_step(struct store *s, struct events_model *m, uint64_t random)
{
    bool ok = true;
    if (random % 5 == 0 || !m->count) {
        m->rules = (unsigned)(random / 5 % 8);
        ok = set_rules(s, m->rules);
    } else if (random % 10 == 1) {
        m->paused = !m->paused;
        ok = set_paused(s, m->paused);
    } else {
        ok = settle_one(s, m, random / 10);
    }
    return ok && events_follow(s, m, disk_mark(), (struct telling[]){ { "", false } }, 0);
}

static bool is_told(const struct told *t, const struct telling *tellings, size_t n)
{
    bool created = CREATED >> t->kind & 1;
    if (!tellings)
        return !created;
    for (size_t i = 0; i < n; i++)
        if (strcmp(t->key, tellings[i].key) == 0 && created == tellings[i].created)
            return true;
    return false;
}

bool events_follow(struct store *s, struct events_model *m, size_t begun,
                   const struct telling *tellings, size_t n)
{
    struct look l = { .m = m, .known = m };
    size_t before = m->count;
    bool ok = look(s, &l);
    for (size_t i = 0; i < before; i++)
        ok = ok && l.found[i] == (m->list[i].gone == SIZE_MAX);
    for (size_t i = before; i < m->count; i++) {
        m->list[i].begun = begun;
        m->list[i].acknowledged = disk_mark();
        ok = ok && is_told(&m->list[i], tellings, n);
    }
    for (unsigned target = 0; target < EVENTS_TARGETS && tellings; target++) {
        size_t wanted = 0, got = 0;
        for (size_t i = 0; i < n; i++)
            wanted += times(m, target, &tellings[i]);
        for (size_t i = before; i < m->count; i++)
            got += m->list[i].target == target;
        ok = ok && got == wanted;
    }
    if (!ok)
        printf("    a change told other things than it should\n");
    return ok;
}

bool events_hold(struct store *s, const struct events_model *m, size_t cut, int *in_flight)
{
    struct look l = { .known = m };
    bool ok = look(s, &l);
    *in_flight = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct told *t = &m->list[i];
        bool made = t->acknowledged <= cut, must = made && t->settled > cut;
        if (!made && t->begun <= cut) {
            if (*in_flight && (*in_flight > 0) != (l.found[i] > 0) && (CREATED >> t->kind & 1)) {
                printf("    a change told one and not the other\n");
                ok = false;
            }
            *in_flight = l.found[i] ? 1 : -1;
            continue;
        }
        if (must != (l.found[i] > 0) && !(made && t->gone > cut && t->settled <= cut)) {
            printf("    event %s of %s (kind %u) is %s\n", t->id, t->key, t->kind,
                   must ? "lost" : "there");
            ok = false;
        }
    }
    return ok;
}
