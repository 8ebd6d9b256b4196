/* Power cuts under a store: random workloads, random cuts, the same from the same seed.
 *
 *   workload (one thread, manual store) --> journal --> cut at a random position --> reopen
 *
 * Puts, multipart uploads, copies and deletes; in every second workload renames and appends, in
 * the others versions, with lifecycle rules that remove noncurrent versions and abandoned
 * uploads; half of these suspend and enable them again, the other half lock some (locks.h). After
 * the cut every key must hold what was last acknowledged before it, or what the one change in
 * flight would make of it; what was locked is there, whole and not to be deleted, also after the
 * rules have acted; and once garbage is reclaimed fsck must find nothing. Rules for events come
 * and go in all of them, and what waits is settled (events_model.h): a change and what it told
 * are there together or not at all. KIST_SIM_ROUNDS cuts (200), KIST_SIM_SEED repeats one
 * workload.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/object/store.h"
#include "tests/sim/disk.h"
#include "tests/sim/events_model.h"
#include "tests/sim/locks.h"

#define KEYS 10
#define STEPS 60
#define CUTS 10

#define TAILS 4

/* What a key holds: bytes made from a seed, and what was appended; seed 0 is nothing. */
struct state {
    uint64_t seed, length;
    unsigned tails;
    uint64_t tail_length[TAILS];
};

struct change {
    unsigned key;
    struct state state;
    size_t begun, acknowledged; /* journal positions */
};

struct world {
    uint64_t random;
    struct store *store;
    struct change changes[2 * STEPS + 1];
    size_t count;
    size_t bucket_acknowledged;
    bool versions, locking;
    struct locks locks;
    struct events_model events;
    int64_t now_ms; /* of commands */
};

static uint64_t next_random(uint64_t *r)
{
    *r ^= *r << 13;
    *r ^= *r >> 7;
    *r ^= *r << 17;
    return *r;
}

static void fill(struct state s, uint8_t *out)
{
    uint64_t r = s.seed * 0x9E3779B97F4A7C15U + 1;
    for (uint64_t i = 0; i < s.length; i++)
        out[i] = (uint8_t)(next_random(&r) >> 24);
}

static uint64_t total(struct state s)
{
    uint64_t bytes = s.length;
    for (unsigned i = 0; i < s.tails; i++)
        bytes += s.tail_length[i];
    return bytes;
}

static struct state tail_of(struct state s, unsigned i)
{
    return (struct state){ .seed = s.seed + 100 * (i + 1), .length = s.tail_length[i] };
}

static void fill_all(struct state s, uint8_t *out)
{
    fill(s, out);
    out += s.length;
    for (unsigned i = 0; i < s.tails; i++) {
        fill(tail_of(s, i), out);
        out += s.tail_length[i];
    }
}

/* ---- changes ---- */

static void on_done(struct store_op *op)
{
    *(bool *)op->user = true;
}

static char sim_bucket[] = "sim";

static bool finish_with(struct world *w, struct store_op *op, const bool *done,
                        struct apply_result *result)
{
    while (!*done && store_step(w->store))
        continue;
    bool ok = *done && op->err == KIST_OK;
    *result = op->result;
    store_op_release(op);
    return ok;
}

static bool finish(struct world *w, struct store_op *op, const bool *done)
{
    struct apply_result ignored;
    return finish_with(w, op, done, &ignored);
}

static bool submit(struct world *w, Kist__Command *command, struct apply_result *result)
{
    bool done = false;
    struct store_op op;
    store_op_init(&op, on_done, &done);
    store_submit(w->store, &op, command);
    return finish_with(w, &op, &done, result);
}

static bool make_bucket(struct world *w)
{
    bool done = false;
    struct store_op op;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CreateBucket create = KIST__CREATE_BUCKET__INIT;
    Kist__Bucket bucket = KIST__BUCKET__INIT;
    static char name[] = "sim", owner[] = "o", region[] = "r";
    bucket.name = name;
    bucket.owner = owner;
    bucket.region = region;
    create.bucket = &bucket;
    command.of_case = KIST__COMMAND__OF_CREATE_BUCKET;
    command.create_bucket = &create;
    store_op_init(&op, on_done, &done);
    store_submit(w->store, &op, &command);
    return finish(w, &op, &done);
}

/* Versions on or suspended, and (once) the rules that clean up behind them. */
static bool set_versioning(struct world *w, uint32_t versioning)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutVersioning request = KIST__PUT_VERSIONING__INIT;
    struct apply_result ignored;
    request.name = sim_bucket;
    request.versioning = versioning;
    command.of_case = KIST__COMMAND__OF_PUT_VERSIONING;
    command.put_versioning = &request;
    return submit(w, &command, &ignored);
}

static bool set_rules(struct world *w)
{
    static char id[] = "r";
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutBucketConfig request = KIST__PUT_BUCKET_CONFIG__INIT;
    Kist__Lifecycle rules = KIST__LIFECYCLE__INIT;
    Kist__LifecycleRule rule = KIST__LIFECYCLE_RULE__INIT, *list[] = { &rule };
    struct apply_result ignored;
    rule.id = id;
    rule.noncurrent_days = 1;
    rule.noncurrent_keep = 1;
    rule.expired_marker = true;
    rule.abort_days = 1;
    rules.day_ms = 1000;
    rules.n_rules = 1;
    rules.rules = list;
    request.name = sim_bucket;
    request.kind = CONFIG_LIFECYCLE;
    request.document = schema_data(BYTES_LIT("rules"));
    request.lifecycle = &rules;
    command.of_case = KIST__COMMAND__OF_PUT_BUCKET_CONFIG;
    command.put_bucket_config = &request;
    return submit(w, &command, &ignored);
}

/* A third of the contents is encrypted, under a new data key each time; tails as their object. */
static bool is_sealed(struct state s)
{
    return s.seed % 100 > 4;
}

struct sealing {
    Kist__Seal seal;
    uint8_t key[SEAL_KEY_BYTES], wrapped[SEAL_WRAPPED_BYTES];
};

static Kist__Seal *seal_for(struct world *w, struct state s, struct sealing *out)
{
    if (!is_sealed(s))
        return NULL;
    if (seal_new_key(store_env(w->store), sim_wrapping_key, out->key, out->wrapped) != KIST_OK)
        abort();
    kist__seal__init(&out->seal);
    out->seal.kind = SEAL_S3;
    out->seal.wrapped_key = schema_data(bytes_of(out->wrapped, SEAL_WRAPPED_BYTES));
    return &out->seal;
}

/* NULL: out of memory. */
static struct object_writer *write_bytes(struct world *w, struct state s,
                                         const struct sealing *sealing)
{
    struct object_writer *writer;
    uint8_t *bytes = malloc((size_t)s.length + 1);
    if (!bytes || object_writer_open(w->store, s.length, 0, NULL, NULL, &writer) != KIST_OK) {
        free(bytes);
        return NULL;
    }
    if (is_sealed(s) && object_writer_seal(writer, sealing->key, s.seed % 100 > 5) != KIST_OK)
        abort();
    object_writer_go_aside(writer);
    fill(s, bytes);
    for (uint64_t at = 0; at < s.length; at += 50000) {
        size_t n = s.length - at < 50000 ? (size_t)(s.length - at) : 50000;
        if (!object_writer_ready(writer, n, NULL, NULL) ||
            object_writer_write(writer, bytes_of(bytes + at, n)) != KIST_OK)
            abort();
    }
    if (!object_writer_end(writer, NULL, NULL))
        abort();
    free(bytes);
    return writer;
}

static bool put(struct world *w, char *key, struct state s)
{
    bool done = false;
    struct store_op op;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    struct sealing sealing;
    object.seal = seal_for(w, s, &sealing);
    struct object_writer *writer = write_bytes(w, s, &sealing);
    if (!writer)
        return false;
    object.mtime_ms = w->now_ms;
    request.bucket = sim_bucket;
    request.key = schema_data(bytes_str(key));
    request.object = &object;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    store_op_init(&op, on_done, &done);
    store_put(w->store, &op, &command, writer);
    return finish(w, &op, &done);
}

static bool delete (struct world *w, char *key)
{
    struct apply_result ignored;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__DeleteObjects request = KIST__DELETE_OBJECTS__INIT;
    Kist__DeleteKey one = KIST__DELETE_KEY__INIT;
    Kist__DeleteKey *keys[] = { &one };
    one.key = schema_data(bytes_str(key));
    request.bucket = sim_bucket;
    request.now_ms = w->now_ms;
    request.n_keys = 1;
    request.keys = keys;
    command.of_case = KIST__COMMAND__OF_DELETE_OBJECTS;
    command.delete_objects = &request;
    return submit(w, &command, &ignored);
}

/* One part, or (abandoned) none that is ever completed. */
static bool upload(struct world *w, char *key, struct state s, bool abandon)
{
    static uint8_t nonce[8] = { 1 };
    bool done = false;
    struct store_op op;
    struct apply_result made, part_made;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CreateUpload create = KIST__CREATE_UPLOAD__INIT;
    Kist__Upload u = KIST__UPLOAD__INIT;
    u.nonce = schema_data(bytes_of(nonce, 8));
    u.created_ms = w->now_ms;
    u.bucket = sim_bucket;
    u.key = schema_data(bytes_str(key));
    struct sealing of_upload, of_part;
    u.seal = seal_for(w, s, &of_upload);
    create.upload = &u;
    command.of_case = KIST__COMMAND__OF_CREATE_UPLOAD;
    command.create_upload = &create;
    if (!submit(w, &command, &made))
        return false;
    Kist__PutPart put_part = KIST__PUT_PART__INIT;
    Kist__Part part = KIST__PART__INIT;
    const Kist__Seal *seal = seal_for(w, s, &of_part);
    struct object_writer *writer = write_bytes(w, s, &of_part);
    if (!writer)
        return false;
    part.sealed = seal != NULL;
    if (seal)
        part.wrapped_key = seal->wrapped_key;
    put_part.bucket = sim_bucket;
    put_part.key = u.key;
    put_part.upload_id = made.index;
    put_part.nonce = u.nonce;
    put_part.number = 3;
    put_part.part = &part;
    part.mtime_ms = w->now_ms;
    command.of_case = KIST__COMMAND__OF_PUT_PART;
    command.put_part = &put_part;
    store_op_init(&op, on_done, &done);
    store_put(w->store, &op, &command, writer);
    if (!finish_with(w, &op, &done, &part_made))
        return false;
    if (abandon)
        return true;
    Kist__CompleteUpload complete = KIST__COMPLETE_UPLOAD__INIT;
    Kist__CompletePart one = KIST__COMPLETE_PART__INIT, *parts[] = { &one };
    one.number = 3;
    one.etag = schema_data(bytes_of(part_made.etag, 16));
    complete.bucket = sim_bucket;
    complete.key = u.key;
    complete.upload_id = made.index;
    complete.nonce = u.nonce;
    complete.n_parts = 1;
    complete.parts = parts;
    complete.mtime_ms = w->now_ms;
    command.of_case = KIST__COMMAND__OF_COMPLETE_UPLOAD;
    command.complete_upload = &complete;
    return submit(w, &command, &made);
}

/* By reference, when the source's bytes can be shared; *copied tells. */
static bool copy(struct world *w, char *from, char *to, bool *copied)
{
    struct arena arena;
    struct apply_result ignored;
    Kist__Object *source = NULL, object = KIST__OBJECT__INIT;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__CopyObject request = KIST__COPY_OBJECT__INIT;
    struct object_id id = { BYTES_LIT("sim"), bytes_str(from), VERSION_CURRENT };
    bool ok = true;
    arena_init(&arena, (size_t)1 << 20);
    *copied = store_head(w->store, &id, &arena, &source) == KIST_OK && store_can_share(source);
    if (*copied) {
        object.mtime_ms = w->now_ms;
        request.source_bucket = request.bucket = sim_bucket;
        request.source_key = schema_data(bytes_str(from));
        request.source_data_id = source->data_id;
        request.key = schema_data(bytes_str(to));
        request.object = &object;
        command.of_case = KIST__COMMAND__OF_COPY_OBJECT;
        command.copy_object = &request;
        ok = submit(w, &command, &ignored);
    }
    arena_release(&arena);
    return ok;
}

/* One more tail. */
static bool append(struct world *w, char *key, struct state s)
{
    bool done = false;
    struct store_op op;
    struct arena arena;
    Kist__Object *current = NULL, object = KIST__OBJECT__INIT;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__AppendObject request = KIST__APPEND_OBJECT__INIT;
    Kist__Part part = KIST__PART__INIT;
    struct object_id id = { BYTES_LIT("sim"), bytes_str(key), VERSION_CURRENT };
    struct sealing sealing;
    struct state tail = tail_of(s, s.tails - 1);
    const Kist__Seal *seal = seal_for(w, tail, &sealing);
    arena_init(&arena, (size_t)1 << 20);
    struct object_writer *writer = write_bytes(w, tail, &sealing);
    if (!writer || store_head(w->store, &id, &arena, &current) != KIST_OK)
        abort();
    part.sealed = seal != NULL;
    if (seal)
        part.wrapped_key = seal->wrapped_key;
    object.seal = current->seal;
    request.bucket = sim_bucket;
    request.key = schema_data(bytes_str(key));
    request.offset = current->size;
    request.part = &part;
    request.object = &object;
    request.mtime_ms = w->now_ms;
    command.of_case = KIST__COMMAND__OF_APPEND_OBJECT;
    command.append_object = &request;
    store_op_init(&op, on_done, &done);
    store_put(w->store, &op, &command, writer);
    bool ok = finish(w, &op, &done);
    arena_release(&arena);
    return ok;
}

static bool rename_key(struct world *w, char *from, char *to)
{
    struct apply_result ignored;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__RenameObject request = KIST__RENAME_OBJECT__INIT;
    request.bucket = sim_bucket;
    request.source_key = schema_data(bytes_str(from));
    request.key = schema_data(bytes_str(to));
    request.request = request.key;
    request.now_ms = w->now_ms;
    if (w->count % 2)
        request.token = from; /* for another target soon: it is forgotten after an hour */
    command.of_case = KIST__COMMAND__OF_RENAME_OBJECT;
    command.rename_object = &request;
    w->now_ms += 3600000;
    return submit(w, &command, &ignored);
}

/* Lengths around every threshold; few seeds, so that equal contents meet. */
static struct state random_state(struct world *w)
{
    static const uint64_t lengths[] = { 0,     1,     700,    4096,   30000,
                                        65536, 65537, 150000, 300000, 4300000 };
    uint64_t r = next_random(&w->random);
    uint64_t length = lengths[r % 100 < 3 ? 9 : r / 100 % 9];
    return (struct state){ .seed = 1 + r / 1000 % 6, .length = length };
}

static struct state current(const struct world *w, unsigned key)
{
    struct state s = { 0 };
    for (size_t i = 0; i < w->count; i++)
        if (w->changes[i].key == key)
            s = w->changes[i].state;
    return s;
}

static bool holds(struct store *s, unsigned number, struct state want);

/* Upkeep must not show. */
static bool all_hold(const struct world *w)
{
    bool ok = true;
    for (unsigned key = 0; key < KEYS; key++)
        ok = holds(w->store, key, current(w, key)) && ok;
    return ok;
}

/* Two keys change at once. False: not possible now, nothing was done. */
static bool step_rename(struct world *w, struct change *c, unsigned from, bool *ok)
{
    char source[16], target[16];
    struct state state = current(w, from);
    if (w->versions || from == c->key || !state.seed)
        return false;
    snprintf(source, sizeof(source), "key-%u", from);
    snprintf(target, sizeof(target), "key-%u", c->key);
    *ok = rename_key(w, source, target);
    c[1] = (struct change){ .key = from, .begun = c->begun };
    c->state = state;
    c[0].acknowledged = c[1].acknowledged = disk_mark();
    w->count += 2;
    return true;
}

static bool step_append(struct world *w, struct change *c, char *key, bool *ok)
{
    static const uint64_t lengths[] = { 1, 5000, 65536, 70000, 300000 };
    struct state state = current(w, c->key);
    if (w->versions || !state.seed || state.tails == TAILS)
        return false;
    state.tail_length[state.tails++] = lengths[next_random(&w->random) % 5];
    *ok = append(w, key, state);
    c->state = state;
    c->acknowledged = disk_mark();
    w->count++;
    return true;
}

static bool change_one(struct world *w)
{
    uint64_t r = next_random(&w->random) >> 8;
    char key[16];
    if (r % 10 == 0)
        return store_checkpoint(w->store) == KIST_OK;
    if (r % 10 == 1)
        return store_reclaim(w->store) == KIST_OK;
    w->now_ms += (int64_t)(r / 1000 % 700);
    snprintf(key, sizeof(key), "key-%u", (unsigned)(r / 10 % KEYS));
    if (w->versions && !w->locking && r % 70 == 2)
        return set_versioning(w, r / 70 % 2 ? VERSIONING_ENABLED : VERSIONING_SUSPENDED);
    if (w->versions && r % 40 == 3) /* with the wall clock: all that has days is due */
        return store_expire(w->store) == KIST_OK && all_hold(w) &&
               locks_hold(w->store, &w->locks, disk_mark());
    if (w->locking && (r % 10 == 2 || r % 10 == 3))
        return locks_step(w->store, &w->locks, r / 100, key, w->now_ms);
    struct change *c = &w->changes[w->count];
    c->key = (unsigned)(r / 10 % KEYS);
    c->state = r % 10 < 4 ? (struct state){ 0 } : random_state(w);
    c->begun = disk_mark();
    bool ok, counts = true;
    if (r % 10 == 5 && step_append(w, c, key, &ok))
        return ok;
    if (r % 20 == 6 && step_rename(w, c, (unsigned)(r / 1000 % KEYS), &ok))
        return ok;
    if (!c->state.seed) {
        ok = delete (w, key);
    } else if (r % 70 == 9) {
        ok = upload(w, key, c->state, false);
    } else if (r % 70 == 19) {
        ok = upload(w, key, c->state, true);
        counts = false;
    } else if (r % 10 == 8) {
        unsigned other = (unsigned)(r / 100 % KEYS);
        char from[16];
        snprintf(from, sizeof(from), "key-%u", other);
        c->state = current(w, other);
        ok = copy(w, from, key, &counts);
    } else {
        ok = put(w, key, c->state);
    }
    if (!counts)
        return ok;
    c->acknowledged = disk_mark();
    w->count++;
    return ok;
}

/* A change, and what it told. */
static bool step(struct world *w)
{
    char keys[2][16];
    struct telling tellings[2];
    bool had[KEYS];
    size_t before = w->count, begun = disk_mark(), n = 0;
    uint64_t r = next_random(&w->random) >> 8;
    if (r % 5 == 0)
        return events_step(w->store, &w->events, r / 5);
    for (unsigned key = 0; key < KEYS; key++)
        had[key] = current(w, key).seed != 0;
    if (!change_one(w))
        return false;
    for (size_t i = before; i < w->count; i++) {
        const struct change *c = &w->changes[i];
        if (!c->state.seed && !had[c->key] && !w->versions)
            continue; /* nothing was there: nothing is told */
        snprintf(keys[n], sizeof(keys[n]), "key-%u", c->key);
        tellings[n] = (struct telling){ keys[n], c->state.seed != 0 };
        n++;
    }
    bool quiet = before == w->count && w->versions; /* lifecycle, or who tries locks */
    return events_follow(w->store, &w->events, begun, quiet ? NULL : tellings, n);
}

/* ---- after the cut ---- */

static bool holds(struct store *s, unsigned number, struct state want)
{
    char key[16];
    struct arena arena;
    struct object_reader *r = NULL;
    snprintf(key, sizeof(key), "key-%u", number);
    arena_init(&arena, (size_t)1 << 20);
    enum kist_err err = object_reader_open(
        s, &(struct object_id){ BYTES_LIT("sim"), bytes_str(key), VERSION_CURRENT }, &arena, &r,
        NULL);
    bool same = (err == KIST_E_NO_KEY || err == KIST_E_DELETE_MARKER) && want.seed == 0;
    if (err == KIST_OK && want.seed && object_reader_object(r)->size == total(want)) {
        uint64_t length = total(want);
        uint8_t *wanted = malloc((size_t)length + 1);
        uint8_t *found = malloc((size_t)length + 1);
        size_t got = 0;
        fill_all(want, wanted);
        if (is_sealed(want))
            err = object_reader_unseal(r, sim_wrapping_key);
        for (uint64_t at = 0; at < length && err == KIST_OK; at += got)
            err = object_reader_read(r, at, found + at, (size_t)(length - at), true, &got);
        same = err == KIST_OK && memcmp(wanted, found, (size_t)length) == 0;
        free(wanted);
        free(found);
    }
    object_reader_close(r);
    arena_release(&arena);
    return same;
}

/* Everything acknowledged before the cut; with the one change in flight, whole, or without.
 * KEYS: all are right; otherwise one that is not. */
static unsigned wrong_key(struct world *w, struct store *s, size_t cut, bool in_flight)
{
    for (unsigned key = 0; key < KEYS; key++) {
        struct state last = { 0 };
        for (size_t i = 0; i < w->count; i++) {
            const struct change *c = &w->changes[i];
            if (c->key == key && (in_flight ? c->begun : c->acknowledged) <= cut)
                last = c->state;
        }
        if (!holds(s, key, last))
            return key;
    }
    return KEYS;
}

static bool keys_are_right(struct world *w, struct store *s, size_t cut)
{
    unsigned without = wrong_key(w, s, cut, false);
    unsigned with = without == KEYS ? KEYS : wrong_key(w, s, cut, true);
    if (with != KEYS)
        printf("    key-%u is wrong, and with the change in flight key-%u\n", without, with);
    return with == KEYS;
}

/* The change in flight and what it told are one: both are there, or none. */
static bool events_are_right(struct world *w, struct store *s, size_t cut)
{
    int in_flight = 0;
    if (!events_hold(s, &w->events, cut, &in_flight))
        return false;
    if (!in_flight || wrong_key(w, s, cut, in_flight > 0) == KEYS)
        return true;
    printf("    the change in flight is %s, and its event is not\n",
           in_flight > 0 ? "lost" : "there");
    return false;
}

static void tell(void *ctx, const char *finding)
{
    (void)ctx;
    printf("    fsck: %s\n", finding);
}

static bool check(struct world *w, const char *dir, size_t cut)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    struct store *s = NULL;
    struct fsck_report report = { 0 };
    config.dir = dir;
    config.manual = true;
    config.sync = false;
    config.log_segment_bytes = (size_t)8 << 20;
    enum kist_err err = store_open(&config, &s);
    if (err != KIST_OK) {
        printf("    open: %s\n", kist_err_text(err));
        return false;
    }
    bool ok =
        keys_are_right(w, s, cut) && locks_hold(s, &w->locks, cut) && events_are_right(w, s, cut);
    if (store_expire(s) != KIST_OK || !locks_refuse(s, &w->locks, cut, w->now_ms) ||
        !locks_hold(s, &w->locks, cut))
        ok = false;
    if (store_reclaim(s) != KIST_OK || store_fsck(s, tell, NULL, &report) != KIST_OK ||
        report.problems)
        ok = false;
    store_close(s);
    return ok;
}

/* ---- rounds ---- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool run_workload(struct world *w, const char *live, uint64_t seed)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    config.dir = live;
    config.manual = true;
    config.log_segment_bytes = (size_t)8 << 20;
    *w = (struct world){ .random = seed * 0x9E3779B97F4A7C15U + 7 };
    if (store_open(&config, &w->store) != KIST_OK || !make_bucket(w))
        return false;
    w->versions = seed % 2;
    w->locking = seed % 4 == 3;
    w->now_ms = 1;
    if (w->versions && (!set_versioning(w, VERSIONING_ENABLED) || !set_rules(w)))
        return false;
    if (w->locking && !locks_enable(w->store))
        return false;
    w->bucket_acknowledged = disk_mark();
    for (int i = 0; i < STEPS; i++)
        if (!step(w))
            return false;
    return true;
}

static unsigned a_round(const char *work, uint64_t seed, unsigned *cuts)
{
    char live[256], dead[256];
    struct world *w = calloc(1, sizeof(*w));
    unsigned failed = 0;
    snprintf(live, sizeof(live), "%s/live", work);
    snprintf(dead, sizeof(dead), "%s/dead", work);
    mkdir(live, 0700);
    if (!w || disk_start(live) != KIST_OK || !run_workload(w, live, seed)) {
        printf("seed %llu: the workload failed\n", (unsigned long long)seed);
        exit(1);
    }
    disk_stop();
    size_t first = w->bucket_acknowledged, span = disk_mark() - first + 1;
    for (unsigned i = 0; i < CUTS; i++, ++*cuts) {
        size_t cut = first + (size_t)(next_random(&w->random) >> 8) % span;
        if (disk_crash(cut, seed * CUTS + i, dead) != KIST_OK || !check(w, dead, cut)) {
            printf("failed: seed %llu, cut %u at %zu; KIST_SIM_SEED=%llu repeats it\n",
                   (unsigned long long)seed, i, cut, (unsigned long long)seed);
            failed++;
        }
        remove_tree(dead);
    }
    store_close(w->store);
    disk_free();
    remove_tree(live);
    free(w);
    return failed;
}

int main(void)
{
    const char *rounds = getenv("KIST_SIM_ROUNDS"), *seed = getenv("KIST_SIM_SEED");
    const char *tmp = getenv("TMPDIR");
    unsigned wanted = rounds ? (unsigned)strtoul(rounds, NULL, 10) : 200, cuts = 0, failed = 0;
    uint64_t first = seed ? strtoull(seed, NULL, 10) : 1;
    char work[200];
    snprintf(work, sizeof(work), "%s/kist-sim-XXXXXX", tmp && *tmp ? tmp : "/var/tmp");
    if (!mkdtemp(work))
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (uint64_t s = first; cuts < wanted && (!seed || s == first); s++)
        failed += a_round(work, s, &cuts);
    rmdir(work);
    printf("%u passed, %u failed, 0 skipped\n", cuts - failed, failed);
    return failed ? 1 : 0;
}
