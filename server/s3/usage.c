#include "server/s3/usage.h"

#include <pthread.h>
#include <stdlib.h>

#include "storage/base/trace.h"

#define SHARDS 16
#define LISTS 64
/* Per shard; all of them together: 8,192 entries of some 150 bytes. */
#define ENTRIES_MAX 512
#define TEXT_MAX 384
#define DAY_MS ((int64_t)86400000)
/* Rows by day are kept so long: a year's bill can still be asked about. */
#define DAYS_KEPT 400
#define DELTAS_MAX 512

struct counts {
    uint64_t requests, bytes_in, bytes_out;
};

/* What is counted apart. The text is "account\0who\0bucket". */
struct subject {
    uint32_t day;
    uint64_t bucket_id;
    size_t text_len;
    char text[TEXT_MAX];
};

struct entry {
    struct entry *next;
    struct counts counts;
    uint32_t day;
    uint64_t bucket_id;
    size_t text_len;
    char text[];
};

struct table {
    struct entry *lists[LISTS];
    unsigned entries;
    struct counts rest; /* for which there was no room */
};

struct shard {
    pthread_mutex_t lock;
    struct table table;
};

struct usage_counter {
    struct store *store;
    unsigned interval_s;
    struct shard shards[SHARDS];
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool full, stopping;
};

/* ---- adding ---- */

static void add_counts(struct counts *to, const struct counts *from)
{
    to->requests += from->requests;
    to->bytes_in += from->bytes_in;
    to->bytes_out += from->bytes_out;
}

static bool is_subject(const struct entry *e, const struct subject *s)
{
    return e->day == s->day && e->bucket_id == s->bucket_id && e->text_len == s->text_len &&
           memcmp(e->text, s->text, s->text_len) == 0;
}

/* NULL: no room. */
static struct entry *entry_for(struct table *t, const struct subject *s)
{
    uint32_t hash = crc32c_update(s->day, s->text, s->text_len);
    struct entry **list = &t->lists[hash % LISTS];
    for (struct entry *e = *list; e; e = e->next)
        if (is_subject(e, s))
            return e;
    if (t->entries == ENTRIES_MAX)
        return NULL;
    struct entry *e = calloc(1, sizeof(*e) + s->text_len);
    if (!e)
        return NULL;
    e->day = s->day;
    e->bucket_id = s->bucket_id;
    e->text_len = s->text_len;
    memcpy(e->text, s->text, s->text_len);
    e->next = *list;
    *list = e;
    t->entries++;
    return e;
}

/* Threads go to shards of their own, so that a busy bucket is no busy lock. */
static struct shard *shard_here(struct usage_counter *c)
{
    static atomic_uint threads;
    static _Thread_local unsigned mine;
    if (!mine)
        mine = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % SHARDS;
    return &c->shards[mine - 1];
}

static void add(struct usage_counter *c, const struct subject *s, const struct counts *counts)
{
    struct shard *shard = shard_here(c);
    pthread_mutex_lock(&shard->lock);
    unsigned before = shard->table.entries;
    struct entry *e = entry_for(&shard->table, s);
    add_counts(e ? &e->counts : &shard->table.rest, counts);
    bool half = before <= ENTRIES_MAX / 2 && shard->table.entries > ENTRIES_MAX / 2;
    pthread_mutex_unlock(&shard->lock);
    if (!half)
        return;
    pthread_mutex_lock(&c->lock);
    c->full = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

/* Longer ones do not exist: names are checked where they are made. */
static void add_text(struct subject *s, const char *head, struct bytes text)
{
    size_t head_len = strlen(head);
    if (head_len + text.len + 1 > sizeof(s->text) - s->text_len)
        return;
    memcpy(s->text + s->text_len, head, head_len);
    if (text.len)
        memcpy(s->text + s->text_len + head_len, text.ptr, text.len);
    s->text_len += head_len + text.len;
    s->text[s->text_len++] = '\0';
}

/* A role's sessions are counted as the role. Who came without a good signature is nobody. */
static void add_principal(struct subject *s, const struct auth_identity *who)
{
    bool known = who && who->account.len;
    add_text(s, "", known ? who->account : BYTES_EMPTY);
    if (!known) {
        add_text(s, "anonymous", BYTES_EMPTY);
    } else if (who->user_name.len) {
        add_text(s, "user/", who->user_name);
    } else if (who->role.len) {
        size_t at = who->role.len;
        while (at > 0 && who->role.ptr[at - 1] != '/')
            at--;
        add_text(s, "role/", bytes_of(who->role.ptr + at, who->role.len - at));
    } else {
        add_text(s, "root", BYTES_EMPTY);
    }
}

void s3_usage_count(const struct s3_request *r)
{
    struct usage_counter *c = r->service->usage;
    struct exchange_facts facts;
    struct subject s = { .day = (uint32_t)(s3_now(r) / DAY_MS) };
    if (!c)
        return;
    exchange_facts(r->x, &facts);
    add_principal(&s, r->who.identity);
    if (r->bucket_row) {
        s.bucket_id = r->bucket_row->id;
        add_text(&s, "", bytes_str(r->bucket_row->name));
    } else {
        add_text(&s, "", BYTES_EMPTY);
    }
    struct counts counts = { 1, facts.bytes_received, facts.bytes_sent };
    add(c, &s, &counts);
}

/* ---- committing ---- */

/* The deltas of one command, built where they are. */
struct batch {
    size_t count;
    struct entry *entries[DELTAS_MAX]; /* NULL: the rest */
    Kist__UsageDelta deltas[DELTAS_MAX], *list[DELTAS_MAX];
    Kist__Usage usages[DELTAS_MAX];
};

static void put_delta(struct batch *b, struct entry *e, const struct counts *counts, uint32_t day)
{
    static char nobody[] = "", other[] = "other";
    Kist__UsageDelta *d = &b->deltas[b->count];
    Kist__Usage *u = &b->usages[b->count];
    kist__usage_delta__init(d);
    kist__usage__init(u);
    d->usage = u;
    d->account = e ? e->text : nobody;
    d->who = e ? e->text + strlen(e->text) + 1 : other;
    u->bucket = e ? d->who + strlen(d->who) + 1 : nobody;
    d->bucket_id = e ? e->bucket_id : 0;
    d->day = e ? e->day : day;
    u->requests = counts->requests;
    u->bytes_in = counts->bytes_in;
    u->bytes_out = counts->bytes_out;
    b->entries[b->count] = e;
    b->list[b->count++] = d;
}

/* What could not be committed is counted again, for the next time. */
static void put_back(struct usage_counter *c, const struct batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        struct subject s = { .day = b->deltas[i].day, .bucket_id = b->deltas[i].bucket_id };
        const Kist__Usage *u = &b->usages[i];
        struct counts counts = { u->requests, u->bytes_in, u->bytes_out };
        add_text(&s, "", bytes_str(b->deltas[i].account));
        add_text(&s, "", bytes_str(b->deltas[i].who));
        add_text(&s, "", bytes_str(u->bucket));
        add(c, &s, &counts);
    }
}

static void commit(struct usage_counter *c, struct batch *b, uint32_t day)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AddUsage request = KIST__ADD_USAGE__INIT;
    if (!b->count)
        return;
    request.n_deltas = b->count;
    request.deltas = b->list;
    request.first_day = day > DAYS_KEPT ? day - DAYS_KEPT : 0;
    command.of_case = KIST__COMMAND__OF_ADD_USAGE;
    command.add_usage = &request;
    enum kist_err err = store_commit(c->store, &command);
    if (err != KIST_OK) {
        TRACE(TRACE_ERROR, "s3", "usage: %s", kist_err_text(err));
        if (err != KIST_E_INVALID)
            put_back(c, b);
    }
    for (size_t i = 0; i < b->count; i++)
        free(b->entries[i]);
    b->count = 0;
}

static void flush_shard(struct usage_counter *c, struct shard *shard, struct batch *b,
                        uint32_t day)
{
    pthread_mutex_lock(&shard->lock);
    struct table table = shard->table;
    shard->table = (struct table){ .entries = 0 };
    pthread_mutex_unlock(&shard->lock);
    for (size_t i = 0; i < LISTS; i++)
        for (struct entry *e = table.lists[i], *next; e; e = next) {
            next = e->next;
            put_delta(b, e, &e->counts, e->day);
            if (b->count == DELTAS_MAX)
                commit(c, b, day);
        }
    if (table.rest.requests)
        put_delta(b, NULL, &table.rest, day);
    if (b->count == DELTAS_MAX)
        commit(c, b, day);
}

static void flush(struct usage_counter *c)
{
    struct env *env = store_env(c->store);
    uint32_t day = (uint32_t)(env->now_ms(env) / DAY_MS);
    struct batch *b = calloc(1, sizeof(*b));
    if (!b)
        return; /* the counts stay where they are */
    for (size_t i = 0; i < SHARDS; i++)
        flush_shard(c, &c->shards[i], b, day);
    commit(c, b, day);
    free(b);
}

/* ---- the thread ---- */

/* False: stopping. */
static bool wait_for_work(struct usage_counter *c)
{
    struct timespec until;
    mono_after((int64_t)c->interval_s * 1000, &until);
    pthread_mutex_lock(&c->lock);
    int rc = 0;
    while (!c->full && !c->stopping && rc == 0)
        rc = pthread_cond_timedwait(&c->wake, &c->lock, &until);
    c->full = false;
    bool go_on = !c->stopping;
    pthread_mutex_unlock(&c->lock);
    return go_on;
}

static void *run(void *arg)
{
    struct usage_counter *c = arg;
    while (wait_for_work(c))
        flush(c);
    flush(c);
    return NULL;
}

static void destroy(struct usage_counter *c)
{
    for (size_t i = 0; i < SHARDS; i++) {
        for (size_t k = 0; k < LISTS; k++)
            for (struct entry *e = c->shards[i].table.lists[k], *next; e; e = next) {
                next = e->next;
                free(e);
            }
        pthread_mutex_destroy(&c->shards[i].lock);
    }
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->wake);
    free(c);
}

enum kist_err usage_counter_open(struct store *store, unsigned interval_s,
                                 struct usage_counter **out)
{
    struct usage_counter *c = calloc(1, sizeof(*c));
    if (!c)
        return KIST_E_NOMEM;
    c->store = store;
    c->interval_s = interval_s;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&c->shards[i].lock, NULL);
    pthread_mutex_init(&c->lock, NULL);
    mono_cond_init(&c->wake);
    if (pthread_create(&c->thread, NULL, run, c) != 0) {
        destroy(c);
        return KIST_E_NOMEM;
    }
    *out = c;
    return KIST_OK;
}

void usage_counter_close(struct usage_counter *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    destroy(c);
}
