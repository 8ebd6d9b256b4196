/* What a target may look like: judged when it is set up, so that deliveries need not ask. */
#include "server/events/target_internal.h"

static const struct target_driver *const drivers[] = {
    &target_webhook,
#ifdef HAVE_redis
    &target_redis,
#endif
#ifdef HAVE_nats
    &target_nats,
#endif
#ifdef HAVE_mqtt
    &target_mqtt,
#endif
#ifdef HAVE_amqp
    &target_amqp,
#endif
#ifdef HAVE_kafka
    &target_kafka,
#endif
};
static const char kinds[] = "|webhook|redis|nats|mqtt|amqp|kafka|";
static const char schemes[] = "|http|https|redis|rediss|nats|tls|mqtt|mqtts|amqp|amqps|kafka|";

static bool lists(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; len && (at = strstr(at, word)); at++)
        if (at > list && at[-1] == '|' && at[len] == '|' && !strchr(word, '|'))
            return true;
    return false;
}

const struct target_driver *target_driver_of(const char *kind, bool *missing)
{
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
        if (strcmp(drivers[i]->kind, kind) == 0)
            return drivers[i];
    *missing = lists(kinds, kind);
    return NULL;
}

const struct target_driver *target_driver_of_scheme(const char *scheme, bool *missing)
{
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
        if (lists(drivers[i]->schemes, scheme))
            return drivers[i];
    *missing = lists(schemes, scheme);
    return NULL;
}

const char *target_option(const Kist__EventTarget *target, const char *name)
{
    for (size_t i = 0; i < target->n_options; i++)
        if (strcmp(target->options[i]->name, name) == 0)
            return target->options[i]->value;
    return NULL;
}

bool target_option_is_secret(const char *name)
{
    return strcmp(name, "authorization") == 0;
}

unsigned target_timeout_ms(const Kist__EventTarget *target)
{
    const char *text = target_option(target, "timeout");
    uint64_t s = TARGET_TIMEOUT_S;
    if (text && bytes_to_u64(bytes_str(text), TARGET_TIMEOUT_MAX_S, &s) != KIST_OK)
        s = TARGET_TIMEOUT_S;
    return (unsigned)s * 1000;
}

/* As SQS has it, and '/' is not among them, which ends the last part of an event bus's ARN. */
bool target_name_is_valid(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return name.len > 0 && name.len <= TARGET_NAME_MAX;
}

static const char *check_options(const Kist__EventTarget *target, const struct target_driver *d,
                                 struct arena *arena)
{
    if (target->n_options > TARGET_OPTIONS_MAX)
        return "a target has at most 32 options";
    for (size_t i = 0; i < target->n_options; i++) {
        const Kist__Pair *o = target->options[i];
        if (!lists(d->options, o->name) && strcmp(o->name, TARGET_APP) != 0)
            return arena_printf(arena, "a target of kind %s has no option %.64s", d->kind,
                                o->name);
        if (!*o->value || strlen(o->value) > TARGET_OPTION_MAX)
            return arena_printf(arena, "option %.64s must have 1 to 1024 bytes", o->name);
        for (const char *c = o->value; *c; c++)
            if ((uint8_t)*c < ' ' || *c == 0x7f)
                return arena_printf(arena, "option %.64s has control characters", o->name);
    }
    const char *timeout = target_option(target, "timeout");
    uint64_t s = 0;
    if (timeout &&
        (bytes_to_u64(bytes_str(timeout), TARGET_TIMEOUT_MAX_S, &s) != KIST_OK || s == 0))
        return "option timeout must be 1 to 60 seconds";
    return NULL;
}

static const char *check_form(const Kist__EventTarget *target, const struct target_driver *d,
                              struct arena *arena)
{
    if (*target->form && !lists("|s3|cloudevents|cloudevents-binary|eventbridge|", target->form))
        return "the form must be s3, cloudevents, cloudevents-binary or eventbridge";
    if (strcmp(target->form, "cloudevents-binary") == 0 && !d->binary)
        return arena_printf(arena,
                            "kind %s has no place for attributes beside the body: the "
                            "form cannot be cloudevents-binary",
                            d->kind);
    if (strlen(target->secret) > TARGET_SECRET_MAX)
        return "a secret has at most 256 bytes";
    if (*target->secret && d != &target_webhook)
        return "only webhooks are signed with a secret; brokers' passwords are part of the URL";
    return NULL;
}

const char *target_check(Kist__EventTarget *target, struct arena *arena)
{
    struct target_url url;
    bool missing = false;
    if (target_url_parse(target->url, arena, &url) != KIST_OK)
        return "the URL must be SCHEME://HOST[:PORT][/PATH], of at most 2048 characters, others "
               "than ASCII's percent-encoded";
    const struct target_driver *d = *target->kind ? target_driver_of(target->kind, &missing)
                                                  : target_driver_of_scheme(url.scheme, &missing);
    if (!d && missing)
        return arena_printf(arena,
                            "this kist was built without %s: its library was not there, see "
                            "README under Dependencies",
                            *target->kind ? target->kind : url.scheme);
    if (!d)
        return "there are targets of kind webhook (http, https), redis (redis, rediss), nats "
               "(nats, "
               "tls), mqtt (mqtt, mqtts), amqp (amqp, amqps) and kafka";
    if (!lists(d->schemes, url.scheme))
        return arena_printf(arena, "the URL of a target of kind %s does not begin so", d->kind);
    if (target->concurrency > TARGET_CONCURRENCY_MAX)
        return "concurrency is at most 1000";
    target->kind = arena_strdup(arena, d->kind);
    if (!target->kind)
        return kist_err_text(KIST_E_NOMEM);
    const char *wrong = check_form(target, d, arena);
    if (!wrong)
        wrong = check_options(target, d, arena);
    return wrong || !d->check ? wrong : d->check(target, &url);
}
