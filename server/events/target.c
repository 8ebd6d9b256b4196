/* Targets: from the ARN of an event to whoever delivers it. */
#include <curl/curl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "server/events/target_internal.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"

#define RETRY_BASE_MS 1000U
#define RETRY_MAX_MS 300000U
#define RECORD_ARENA_MAX ((size_t)256 << 10)
#define MESSAGE_ARENA_MAX (TARGET_BODY_MAX * 2)

/* Links by name: a cache of so many sets of a few each, so that it neither grows nor is walked.
 */
#define TABLE_SETS 256
#define TABLE_WAYS 4
struct target_table {
    pthread_mutex_t lock;
    uint64_t clock;
    struct target_slot {
        struct target_link *link;
        uint64_t used;
    } slots[TABLE_SETS][TABLE_WAYS];
};

static const char *const services[TARGET_SINKS] = { "sqs", "sns", "events" };

/* ---- ARNs ---- */

struct arn {
    struct bytes service, region, account, name;
};

static bool take_part(struct bytes *rest, struct bytes *part)
{
    size_t at = bytes_find(*rest, BYTES_LIT(":"), 0);
    if (at == SIZE_MAX)
        return false;
    *part = bytes_of(rest->ptr, at);
    *rest = bytes_of(rest->ptr + at + 1, rest->len - at - 1);
    return true;
}

/* arn:aws:SERVICE:REGION:ACCOUNT:NAME; of an event bus, the name comes after "event-bus/". */
static bool arn_parse(struct bytes text, struct arn *out)
{
    static const struct bytes bus = { (const uint8_t *)"event-bus/", 10 };
    struct bytes arn, partition;
    if (!take_part(&text, &arn) || !take_part(&text, &partition) ||
        !take_part(&text, &out->service) || !take_part(&text, &out->region) ||
        !take_part(&text, &out->account) || !bytes_equal(arn, BYTES_LIT("arn")) ||
        !bytes_equal(partition, BYTES_LIT("aws")))
        return false;
    if (bytes_equal(out->service, BYTES_LIT("events")) && bytes_starts_with(text, bus))
        text = bytes_of(text.ptr + bus.len, text.len - bus.len);
    out->name = text;
    return target_name_is_valid(text);
}

/* The record behind an ARN of ours. KIST_E_NOT_FOUND. */
static enum kist_err find_record(const struct targets *t, struct bytes text, struct arena *arena,
                                 struct arn *arn, Kist__Record **out)
{
    if (!arn_parse(text, arn) || !bytes_equal(arn->region, bytes_str(t->config.region)) ||
        arn->account.len != ACCOUNT_ID_LEN)
        return KIST_E_NOT_FOUND;
    bool first = bytes_equal(arn->account, bytes_str(t->first_account));
    return store_record(t->config.store, RECORD_EVENT_TARGET, first ? BYTES_EMPTY : arn->account,
                        arn->name, arena, out);
}

/* ---- messages ---- */

void target_message_set(struct target_message *m, enum event_outcome outcome, const char *format,
                        ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(m->why, sizeof(m->why), format, args);
    va_end(args);
    for (char *c = m->why; *c; c++) /* brokers say what they like; it is shown as JSON */
        if (*c < ' ' || *c > '~')
            *c = '?';
    m->outcome = outcome;
}

/* RFC 9562 section 5.4 */
void target_new_id(struct store *store, char out[37])
{
    uint8_t b[16];
    char hex[33];
    store_env(store)->random(store_env(store), b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    hex_encode(bytes_of(b, sizeof(b)), hex);
    snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

static struct target_message *message_new(struct targets *t, struct event_delivery *d)
{
    struct target_message *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->delivery = d;
    m->outcome = EVENT_ABSENT;
    arena_init(&m->arena, MESSAGE_ARENA_MAX);
    buf_init(&m->body, TARGET_BODY_MAX);
    pthread_mutex_lock(&t->lock);
    t->messages++;
    pthread_mutex_unlock(&t->lock);
    return m;
}

static void message_end(struct targets *t, struct target_message *m)
{
    struct event_delivery *d = m->delivery;
    bool delivered = m->outcome == EVENT_DELIVERED;
    d->done(d, m->outcome, delivered ? NULL : m->why, BYTES_EMPTY, NULL);
    if (m->link)
        target_link_unref(m->link);
    buf_release(&m->body);
    arena_release(&m->arena);
    free(m);
    pthread_mutex_lock(&t->lock);
    if (--t->messages == 0)
        pthread_cond_broadcast(&t->quiet);
    pthread_mutex_unlock(&t->lock);
}

void target_message_end(struct target_message *m)
{
    message_end(m->link->targets, m);
}

/* ---- links ---- */

struct target_link *target_link_ref(struct target_link *link)
{
    atomic_fetch_add(&link->references, 1);
    return link;
}

void target_link_unref(struct target_link *link)
{
    if (!link || atomic_fetch_sub(&link->references, 1) != 1)
        return;
    arena_release(&link->arena);
    pthread_mutex_destroy(&link->lock);
    pthread_cond_destroy(&link->wake);
    free(link);
}

/* What an event bus gets is in EventBridge's form, unless the target says otherwise. */
static bool is_bus(const struct arn *arn)
{
    return bytes_equal(arn->service, BYTES_LIT("events"));
}

static enum target_form form_of(const char *form, bool bus)
{
    if (strcmp(form, "cloudevents") == 0)
        return TARGET_FORM_CLOUD;
    if (strcmp(form, "cloudevents-binary") == 0)
        return TARGET_FORM_BINARY;
    if (strcmp(form, "eventbridge") == 0 || (!*form && bus))
        return TARGET_FORM_BRIDGE;
    return TARGET_FORM_S3;
}

static enum kist_err link_fill(struct target_link *link, const struct arn *arn,
                               const Kist__Record *record)
{
    bool missing = false;
    link->changed = record->changed;
    link->account = arena_strndup(&link->arena, arn->account.ptr, arn->account.len);
    link->name = arena_strndup(&link->arena, arn->name.ptr, arn->name.len);
    if (!link->account || !link->name)
        return KIST_E_NOMEM;
    TRY(schema_unpack(&kist__event_target__descriptor, schema_bytes(record->body), &link->arena,
                      (void *)&link->target));
    TRY(target_url_parse(link->target->url, &link->arena, &link->url));
    link->bus = is_bus(arn);
    link->form = form_of(link->target->form, link->bus);
    link->driver = target_driver_of(link->target->kind, &missing);
    return link->driver ? KIST_OK : KIST_E_UNSUPPORTED;
}

static enum kist_err link_new(struct targets *t, const struct arn *arn,
                              const Kist__Record *record, struct target_link **out)
{
    struct target_link *link = calloc(1, sizeof(*link));
    if (!link)
        return KIST_E_NOMEM;
    link->targets = t;
    atomic_init(&link->references, 1);
    arena_init(&link->arena, RECORD_ARENA_MAX);
    pthread_mutex_init(&link->lock, NULL);
    mono_cond_init(&link->wake);
    link->last = &link->first;
    enum kist_err err = link_fill(link, arn, record);
    if (err != KIST_OK)
        target_link_unref(link);
    else
        *out = link;
    return err;
}

static void link_retire(struct target_link *link)
{
    if (!link)
        return;
    target_queue_retire(link);
    target_link_unref(link);
}

static bool is_of(const struct target_link *link, const struct arn *arn)
{
    return link && link->bus == is_bus(arn) && bytes_equal(bytes_str(link->name), arn->name) &&
           bytes_equal(bytes_str(link->account), arn->account);
}

/* The slot of that target; otherwise the one that was not used for longest. */
static struct target_slot *slot_of(struct target_table *table, const struct arn *arn)
{
    uint32_t hash = crc32c_update(is_bus(arn), arn->name.ptr, arn->name.len);
    hash = crc32c_update(hash, arn->account.ptr, arn->account.len);
    struct target_slot *set = table->slots[hash % TABLE_SETS], *oldest = set;
    for (size_t i = 0; i < TABLE_WAYS; i++) {
        if (is_of(set[i].link, arn))
            return &set[i];
        if (!set[i].link || set[i].used < oldest->used)
            oldest = &set[i];
    }
    return oldest;
}

/* The link of a target as its record is now; the caller's to unref. */
static enum kist_err find_link(struct targets *t, struct bytes text, struct target_link **out)
{
    struct arn arn;
    struct arena arena;
    Kist__Record *record = NULL;
    struct target_link *old = NULL;
    arena_init(&arena, RECORD_ARENA_MAX);
    enum kist_err err = find_record(t, text, &arena, &arn, &record);
    if (err == KIST_OK) {
        pthread_mutex_lock(&t->table->lock);
        struct target_slot *slot = slot_of(t->table, &arn);
        bool good = is_of(slot->link, &arn) && slot->link->changed == record->changed;
        struct target_link *link = slot->link;
        if (!good)
            err = link_new(t, &arn, record, &link);
        if (err == KIST_OK) {
            *out = target_link_ref(link);
            old = good ? NULL : slot->link;
            slot->link = link;
            slot->used = ++t->table->clock;
        }
        pthread_mutex_unlock(&t->table->lock);
    }
    link_retire(old);
    arena_release(&arena);
    return err;
}

/* ---- the sink ---- */

static enum kist_err describe(void *ctx, struct bytes text, struct arena *arena,
                              struct event_policy *out)
{
    const struct targets *t = ((const struct target_sink *)ctx)->targets;
    struct arn arn;
    Kist__Record *record = NULL;
    Kist__EventTarget *target = NULL;
    bool missing = false;
    TRY(find_record(t, text, arena, &arn, &record));
    TRY(schema_unpack(&kist__event_target__descriptor, schema_bytes(record->body), arena,
                      (void *)&target));
    const struct target_driver *d = target_driver_of(target->kind, &missing);
    *out = (struct event_policy){
        .concurrency = target->concurrency ? target->concurrency
                       : d                 ? d->concurrency
                                           : 0,
        .retries = target->retries - 1,
        .age_max_s = target->age_max_s ? target->age_max_s : TARGET_AGE_S,
        .retry_base_ms = RETRY_BASE_MS,
        .retry_max_ms = RETRY_MAX_MS,
        .dead_letter = *target->dead_letter ? target->dead_letter : NULL,
        .ordered = target->ordered,
    };
    return KIST_OK;
}

static const char *why_not(enum kist_err err)
{
    if (err == KIST_E_NOT_FOUND)
        return "there is no such target";
    return err == KIST_E_UNSUPPORTED ? "this kist was built without that kind of target"
                                     : kist_err_text(err);
}

/* KIST_E_TOO_LARGE: an event that no target of ours takes. */
static enum event_outcome outcome_of(enum kist_err err)
{
    if (err == KIST_E_NOT_FOUND || err == KIST_E_TOO_LARGE || err == KIST_E_CORRUPT)
        return EVENT_REFUSED;
    return err == KIST_E_NOMEM ? EVENT_THROTTLED : EVENT_ABSENT;
}

static void deliver(void *ctx, struct event_delivery *d)
{
    struct targets *t = ((const struct target_sink *)ctx)->targets;
    struct target_message *m = message_new(t, d);
    if (!m) {
        d->done(d, EVENT_THROTTLED, "out of memory", BYTES_EMPTY, NULL);
        return;
    }
    enum kist_err err = atomic_load(&t->stopped) ? KIST_E_SHUTDOWN : KIST_OK;
    if (err == KIST_OK)
        err = find_link(t, bytes_str(d->event->target), &m->link);
    if (err == KIST_OK)
        err = target_render(m->link, m);
    if (err != KIST_OK) {
        target_message_set(m, outcome_of(err), "%s", why_not(err));
        message_end(t, m);
    } else if (m->link->driver == &target_webhook) {
        target_http_send(t->http, m);
    } else {
        target_queue_push(m->link, m);
    }
}

/* Only within one account; bucket policies do not speak of targets. */
static bool accepts(void *ctx, struct bytes text, struct bytes bucket, struct bytes account)
{
    const struct targets *t = ((const struct target_sink *)ctx)->targets;
    struct arn arn;
    struct arena arena;
    Kist__Record *record = NULL;
    (void)bucket;
    if (!account.len)
        account = bytes_str(t->first_account);
    arena_init(&arena, RECORD_ARENA_MAX);
    bool yes = find_record(t, text, &arena, &arn, &record) == KIST_OK &&
               bytes_equal(arn.account, account);
    arena_release(&arena);
    return yes;
}

/* ---- the whole ---- */

static enum kist_err open_parts(struct targets *t)
{
    struct arena arena;
    Kist__Account *first = NULL;
    arena_init(&arena, RECORD_ARENA_MAX);
    enum kist_err err = store_account_first(t->config.store, &arena, &first);
    if (err == KIST_OK)
        t->first_account = strdup(first->id);
    arena_release(&arena);
    TRY(err);
    t->table = calloc(1, sizeof(*t->table));
    t->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!t->first_account || !t->table || t->stop_fd < 0)
        return KIST_E_NOMEM;
    pthread_mutex_init(&t->table->lock, NULL);
    return target_http_open(t, &t->http);
}

enum kist_err targets_open(const struct targets_config *config, struct targets **out)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return KIST_E_NOMEM;
    struct targets *t = calloc(1, sizeof(*t));
    if (!t)
        return KIST_E_NOMEM;
    t->config = *config;
    t->stop_fd = -1;
    atomic_init(&t->stopped, false);
    target_guard_init(&t->guard);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->quiet, NULL);
    for (size_t i = 0; i < TARGET_SINKS; i++) {
        t->sinks[i].targets = t;
        t->sinks[i].sink = (struct event_sink){ .ctx = &t->sinks[i],
                                                .service = services[i],
                                                .describe = describe,
                                                .deliver = deliver,
                                                .accepts = accepts };
    }
    enum kist_err err = open_parts(t);
    if (err != KIST_OK)
        targets_close(t);
    else
        *out = t;
    return err;
}

enum kist_err targets_avoid(struct targets *t, const char *address, bool admin)
{
    return target_guard_add(&t->guard, address, admin);
}

const struct event_sink *targets_sink(const struct targets *t, size_t i)
{
    return &t->sinks[i].sink;
}

static void table_retire(struct target_table *table)
{
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < TABLE_SETS; i++)
        for (size_t k = 0; k < TABLE_WAYS; k++) {
            link_retire(table->slots[i][k].link);
            table->slots[i][k].link = NULL;
        }
    pthread_mutex_unlock(&table->lock);
}

void targets_stop(struct targets *t)
{
    if (atomic_exchange(&t->stopped, true))
        return;
    if (t->stop_fd >= 0)
        (void)eventfd_write(t->stop_fd, 1);
    target_http_stop(t->http);
    if (t->table)
        table_retire(t->table);
    pthread_mutex_lock(&t->lock);
    while (t->messages || t->threads)
        pthread_cond_wait(&t->quiet, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

void targets_close(struct targets *t)
{
    if (!t)
        return;
    targets_stop(t);
    target_http_free(t->http);
    if (t->table)
        pthread_mutex_destroy(&t->table->lock);
    free(t->table);
    if (t->stop_fd >= 0)
        close(t->stop_fd);
    target_guard_release(&t->guard);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->quiet);
    free(t->first_account);
    free(t);
}
