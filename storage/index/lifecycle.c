#include "storage/index/lifecycle.h"

static bool has_tag(const struct lifecycle_subject *s, const Kist__Pair *wanted)
{
    for (size_t i = 0; i < s->n_tags; i++)
        if (strcmp(s->tags[i]->name, wanted->name) == 0 &&
            strcmp(s->tags[i]->value, wanted->value) == 0)
            return true;
    return false;
}

static bool filter_fits(const Kist__LifecycleRule *r, const struct lifecycle_subject *s)
{
    if (!bytes_starts_with(s->key, schema_bytes(r->prefix)))
        return false;
    if (s->kind == LIFECYCLE_UPLOAD || s->kind == LIFECYCLE_MARKER)
        return r->n_tags == 0 && !r->larger_than && !r->smaller_than;
    for (size_t i = 0; i < r->n_tags; i++)
        if (!has_tag(s, r->tags[i]))
            return false;
    return (!r->larger_than || s->size > (uint64_t)(r->larger_than - 1)) &&
           (!r->smaller_than || s->size < (uint64_t)(r->smaller_than - 1));
}

/* The midnight that follows so many days. */
static int64_t after_days(const Kist__Lifecycle *rules, int64_t since_ms, uint32_t days)
{
    int64_t day = rules->day_ms > 0 ? rules->day_ms : 86400000;
    return ((since_ms + (int64_t)days * day) / day + 1) * day;
}

static int64_t rule_due(const Kist__Lifecycle *rules, const Kist__LifecycleRule *r,
                        const struct lifecycle_subject *s)
{
    switch (s->kind) {
    case LIFECYCLE_CURRENT:
        if (r->date_ms)
            return r->date_ms;
        return r->days ? after_days(rules, s->since_ms, r->days) : LIFECYCLE_NEVER;
    case LIFECYCLE_NONCURRENT:
        if (!r->noncurrent_days || s->newer < r->noncurrent_keep)
            return LIFECYCLE_NEVER;
        return after_days(rules, s->since_ms, r->noncurrent_days);
    case LIFECYCLE_MARKER:
        if (r->expired_marker)
            return s->since_ms;
        if (r->date_ms)
            return r->date_ms;
        return r->days ? after_days(rules, s->since_ms, r->days) : LIFECYCLE_NEVER;
    case LIFECYCLE_UPLOAD:
        return r->abort_days ? after_days(rules, s->since_ms, r->abort_days) : LIFECYCLE_NEVER;
    }
    return LIFECYCLE_NEVER;
}

int64_t lifecycle_due(const Kist__Lifecycle *rules, const struct lifecycle_subject *s,
                      const Kist__LifecycleRule **rule)
{
    int64_t due = LIFECYCLE_NEVER;
    for (size_t i = 0; i < rules->n_rules; i++) {
        const Kist__LifecycleRule *r = rules->rules[i];
        int64_t when = filter_fits(r, s) ? rule_due(rules, r, s) : LIFECYCLE_NEVER;
        if (when >= due)
            continue;
        due = when;
        if (rule)
            *rule = r;
    }
    return due;
}
