/* Functions as they run: a real pool with real sandboxes over a real store, and a bootstrap in C
 * that this test compiles. Python and Node handlers where the machine has the interpreters.
 *
 * Started with a command this program is the sandboxes' zygote. */
#include <archive.h>
#include <archive_entry.h>
#include <check.h>
#include <limits.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/functions/run.h"
#include "storage/base/trace.h"

#define ACCOUNT "123456789012"
#define ARN "arn:aws:lambda:eu-central-1:" ACCOUNT ":function:"

static char dir[] = "/tmp/kist-runtime-XXXXXX", self[PATH_MAX];
static struct store *store;
static struct functions *f;
static char c_bootstrap[1 << 21];
static size_t c_bootstrap_len;

/* The front's; there is none here, and no request either. */
struct api_call *api_call_of(struct exchange *x)
{
    (void)x;
    abort();
}

/* ---- functions ---- */

struct file {
    const char *name;
    const void *data;
    size_t len;
    mode_t mode;
    const char *link; /* target of a symbolic link */
};

static size_t zip(const struct file *files, size_t count, void *out, size_t max)
{
    struct archive *a = archive_write_new();
    size_t used = 0;
    ck_assert_int_eq(archive_write_set_format_zip(a), ARCHIVE_OK);
    ck_assert_int_eq(archive_write_open_memory(a, out, max, &used), ARCHIVE_OK);
    for (size_t i = 0; i < count; i++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, files[i].name);
        archive_entry_set_filetype(e, files[i].link ? AE_IFLNK : AE_IFREG);
        if (files[i].link)
            archive_entry_set_symlink(e, files[i].link);
        archive_entry_set_perm(e, files[i].mode);
        archive_entry_set_size(e, (la_int64_t)files[i].len);
        ck_assert_int_eq(archive_write_header(a, e), ARCHIVE_OK);
        if (files[i].len)
            ck_assert_int_eq(archive_write_data(a, files[i].data, files[i].len),
                             (la_ssize_t)files[i].len);
        archive_entry_free(e);
    }
    ck_assert_int_eq(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    return used;
}

static void op_done(struct store_op *op)
{
    sem_post(op->user);
}

static void put_code(char *key, struct bytes body)
{
    static char bucket[] = FUNCTIONS_BUCKET;
    struct object_writer *w = NULL;
    struct store_op op;
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    sem_t sem;
    sem_init(&sem, 0, 0);
    ck_assert_int_eq(object_writer_open(store, body.len, 0, NULL, NULL, &w), KIST_OK);
    ck_assert_int_eq(object_writer_write(w, body), KIST_OK);
    request.bucket = bucket;
    request.key = schema_data(bytes_str(key));
    request.object = &object;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    store_op_init(&op, op_done, &sem);
    store_put(store, &op, &command, w);
    while (sem_wait(&sem) != 0)
        continue;
    ck_assert_int_eq(op.err, KIST_OK);
    store_op_release(&op);
    sem_destroy(&sem);
}

struct settings {
    const char *name, *runtime, *handler;
    struct bytes zip;
    const char *env_name, *env_value;
    uint32_t timeout_s, memory_mb, reserved;
    unsigned revision;
};

static void put_function(const struct settings *s)
{
    static char account[] = ACCOUNT, latest[] = "$LATEST";
    char key[128], revision[16];
    uint8_t sha256[32];
    struct buf body;
    Kist__Function function = KIST__FUNCTION__INIT;
    Kist__Pair pair = KIST__PAIR__INIT, *environment[] = { &pair };
    Kist__Record record = KIST__RECORD__INIT;
    Kist__RecordChange change = KIST__RECORD_CHANGE__INIT, *changes[] = { &change };
    Kist__PutRecords put = KIST__PUT_RECORDS__INIT;
    Kist__Command command = KIST__COMMAND__INIT;
    digest_once(DIGEST_SHA256, s->zip, sha256);
    snprintf(key, sizeof(key), "code/%s/%s/%u", ACCOUNT, s->name, s->revision);
    snprintf(revision, sizeof(revision), "r%u", s->revision);
    put_code(key, s->zip);
    function.name = (char *)(uintptr_t)s->name;
    function.account = account;
    function.version = latest;
    function.runtime = (char *)(uintptr_t)(s->runtime ? s->runtime : "provided.al2023");
    function.handler = (char *)(uintptr_t)(s->handler ? s->handler : "none");
    function.timeout_s = s->timeout_s ? s->timeout_s : 10;
    function.memory_mb = s->memory_mb ? s->memory_mb : 128;
    function.reserved = s->reserved;
    function.code_sha256 = (ProtobufCBinaryData){ sizeof(sha256), sha256 };
    function.code_key = key;
    function.revision = revision;
    pair.name = (char *)(uintptr_t)s->env_name;
    pair.value = (char *)(uintptr_t)s->env_value;
    function.n_environment = s->env_name != NULL;
    function.environment = environment;
    buf_init(&body, 1 << 20);
    ck_assert_int_eq(schema_pack(&function, &body), KIST_OK);
    record.body = schema_data(buf_bytes(&body));
    change.kind = RECORD_FUNCTION;
    change.account = account;
    change.name = function.name;
    change.any = true;
    change.record = &record;
    put.n_changes = 1;
    put.changes = changes;
    command.of_case = KIST__COMMAND__OF_PUT_RECORDS;
    command.put_records = &put;
    ck_assert_int_eq(store_commit(store, &command), KIST_OK);
    buf_release(&body);
    functions_changed(f, BYTES_LIT(ACCOUNT), bytes_str(s->name));
}

static struct bytes c_zip(void)
{
    static char out[1 << 21];
    struct file file = { "bootstrap", c_bootstrap, c_bootstrap_len, 0755, NULL };
    return bytes_of(out, zip(&file, 1, out, sizeof(out)));
}

static struct bytes text_zip(const char *name, const char *text)
{
    static char out[65536];
    struct file file = { name, text, strlen(text), 0644, NULL };
    return bytes_of(out, zip(&file, 1, out, sizeof(out)));
}

/* ---- calls ---- */

struct call {
    struct fn_invocation in;
    sem_t over;
    char arn[256], id[37];
    enum fn_end end;
    bool handled;
    char payload[8192], why[256], tail[FN_TAIL_MAX + 1];
    size_t payload_len;
    uint64_t duration_us, billed_ms, init_us, memory_max;
    char trace[33], span_parent[17];
};

static void copy(char *to, size_t max, struct bytes from)
{
    size_t len = from.len < max - 1 ? from.len : max - 1;
    if (len)
        memcpy(to, from.ptr, len);
    to[len] = '\0';
}

static void call_done(struct fn_invocation *in, const struct fn_result *r)
{
    struct call *c = in->user;
    c->end = r->end;
    c->handled = r->handled;
    copy(c->payload, sizeof(c->payload), r->payload);
    c->payload_len = r->payload.len;
    copy(c->why, sizeof(c->why), bytes_str(r->why ? r->why : ""));
    copy(c->tail, sizeof(c->tail), r->log_tail);
    c->duration_us = r->duration_us;
    c->billed_ms = r->billed_ms;
    c->init_us = r->init_us;
    c->memory_max = r->memory_max_bytes;
    if (r->span) {
        copy(c->trace, sizeof(c->trace), bytes_str(r->span->trace));
        copy(c->span_parent, sizeof(c->span_parent), bytes_str(r->span->parent));
    }
    sem_post(&c->over);
}

static void begin(struct call *c, const char *name, const char *payload)
{
    static unsigned serial;
    memset(c, 0, sizeof(*c));
    sem_init(&c->over, 0, 0);
    snprintf(c->arn, sizeof(c->arn), ARN "%s", name);
    snprintf(c->id, sizeof(c->id), "11111111-2222-3333-4444-%012u", ++serial);
    c->in = (struct fn_invocation){ .arn = bytes_str(c->arn),
                                    .payload = bytes_str(payload),
                                    .request_id = c->id,
                                    .log_tail = true,
                                    .done = call_done,
                                    .user = c };
    functions_invoke(f, &c->in);
}

static void end(struct call *c)
{
    while (sem_wait(&c->over) != 0)
        continue;
    sem_destroy(&c->over);
}

static void invoke(struct call *c, const char *name, const char *payload)
{
    begin(c, name, payload);
    end(c);
}

static void expect(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" lacks \"%s\"", text, part);
}

static int pid_of(const struct call *c)
{
    const char *at = strstr(c->payload, "\"pid\":");
    ck_assert_msg(c->end == FN_OK && at, "end %d: %s %s", c->end, c->payload, c->why);
    return atoi(at + 6);
}

static unsigned served_of(const struct call *c)
{
    const char *at = strstr(c->payload, "\"served\":");
    ck_assert_msg(c->end == FN_OK && at, "end %d: %s %s", c->end, c->payload, c->why);
    return (unsigned)atoi(at + 9);
}

/* ---- the store and the pool ---- */

static void open_all(unsigned concurrency, unsigned idle_s)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    snprintf(dir, sizeof(dir), "/tmp/kist-runtime-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    config.dir = dir;
    config.sync = false;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
    struct functions_config functions = { .store = store,
                                          .data_dir = dir,
                                          .region = "eu-central-1",
                                          .concurrency = concurrency,
                                          .idle_s = idle_s,
                                          .zygote_exe = self,
                                          .trust = true };
    ck_assert_int_eq(functions_open(&functions, &f), KIST_OK);
    ck_assert_ptr_nonnull(f->pool);
}

static void setup(void)
{
    open_all(4, 0);
}

static void teardown(void)
{
    char command[128];
    functions_stop(f);
    functions_close(f);
    store_close(store);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void put_c(const char *name)
{
    struct settings s = { .name = name, .zip = c_zip() };
    put_function(&s);
}

/* ---- tests ---- */

START_TEST(test_warm)
{
    struct call a, b;
    put_c("warm");
    invoke(&a, "warm", "{}");
    invoke(&b, "warm", "{}");
    ck_assert_uint_eq(served_of(&a), 1);
    ck_assert_uint_eq(served_of(&b), 2);
    ck_assert(a.init_us > 0);
    ck_assert(b.init_us == 0);
    ck_assert(a.billed_ms >= 1);
    expect(a.tail, "START RequestId: 11111111-");
    expect(a.tail, "END RequestId: 11111111-");
    expect(a.tail, "Init Duration:");
    ck_assert_ptr_null(strstr(b.tail, "Init Duration:"));
    ck_assert_uint_eq(strlen(a.trace), 32);
}
END_TEST

START_TEST(test_trace)
{
    struct call c;
    put_c("trace");
    memset(&c, 0, sizeof(c));
    sem_init(&c.over, 0, 0);
    c.in = (struct fn_invocation){ .arn = BYTES_LIT(ARN "trace"),
                                   .payload = BYTES_LIT("{}"),
                                   .request_id = "11111111-2222-3333-4444-999999999999",
                                   .trace =
                                       "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                   .done = call_done,
                                   .user = &c };
    functions_invoke(f, &c.in);
    end(&c);
    ck_assert_str_eq(c.trace, "0af7651916cd43dd8448eb211c80319c");
    ck_assert_str_eq(c.span_parent, "b7ad6b7169203331");
}
END_TEST

START_TEST(test_ends)
{
    struct call c;
    put_c("ends");
    invoke(&c, "ends", "\"error\"");
    ck_assert_int_eq(c.end, FN_ERROR);
    ck_assert(c.handled);
    ck_assert_str_eq(c.payload, "{\"errorMessage\":\"no\",\"errorType\":\"Mine\"}");
    invoke(&c, "ends", "\"exit\"");
    ck_assert_int_eq(c.end, FN_ERROR);
    ck_assert(!c.handled);
    expect(c.payload, "Runtime exited with error: exit status 3");
    expect(c.payload, "\"errorType\":\"Runtime.ExitError\"");
    invoke(&c, "ends", "\"crash\"");
    expect(c.payload, "Runtime exited with error: signal: aborted");
    /* And another one takes its place. */
    invoke(&c, "ends", "{}");
    ck_assert_uint_eq(served_of(&c), 1);
    ck_assert(c.init_us > 0);
}
END_TEST

START_TEST(test_timeout)
{
    struct call c;
    struct settings s = { .name = "slow", .zip = c_zip(), .timeout_s = 1 };
    put_function(&s);
    invoke(&c, "slow", "\"hang\"");
    ck_assert_int_eq(c.end, FN_ERROR);
    expect(c.payload, " Task timed out after 1.00 seconds\"");
    expect(c.payload, "\"errorType\":\"Sandbox.Timedout\"");
    ck_assert(c.duration_us >= 1000000);
    invoke(&c, "slow", "{}");
    ck_assert_uint_eq(served_of(&c), 1);
}
END_TEST

START_TEST(test_memory)
{
    struct call c;
    put_c("memory");
    invoke(&c, "memory", "\"memory\"");
    ck_assert_int_eq(c.end, FN_ERROR);
    expect(c.payload, "Runtime.");
    invoke(&c, "memory", "{}");
    ck_assert_uint_eq(served_of(&c), 1);
}
END_TEST

START_TEST(test_answers)
{
    struct call c;
    put_c("answers");
    invoke(&c, "answers", "\"wrong\"");
    expect(c.payload, "\"status\":400");
    expect(c.payload, "\"errorType\":\"InvalidRequestID\"");
    invoke(&c, "answers", "\"next\"");
    expect(c.payload, "\"status\":403");
    expect(c.payload, "\"errorType\":\"InvalidStateTransition\"");
    invoke(&c, "answers", "\"twice\"");
    ck_assert_str_eq(c.payload, "\"first\"");
    invoke(&c, "answers", "\"big\"");
    ck_assert_int_eq(c.end, FN_ERROR);
    expect(c.payload, "Function.ResponseSizeTooLarge");
    invoke(&c, "answers", "\"stream\"");
    ck_assert_str_eq(c.payload, "streamed!");
    /* All by one process, which none of it has harmed. */
    invoke(&c, "answers", "{}");
    ck_assert_uint_eq(served_of(&c), 6);
}
END_TEST

struct seen_lines {
    char text[8192];
    size_t len;
    uint64_t cursor;
};

static bool add_line(void *ctx, const struct fn_log_line *line)
{
    struct seen_lines *s = ctx;
    ck_assert(line->cursor > s->cursor);
    s->cursor = line->cursor;
    int n = snprintf(s->text + s->len, sizeof(s->text) - s->len, "%s|%.*s\n", line->request_id,
                     (int)line->text.len, (const char *)line->text.ptr);
    s->len += (size_t)n;
    return true;
}

static void wake(void *ctx)
{
    sem_post(ctx);
}

START_TEST(test_logs)
{
    struct call c;
    struct seen_lines seen = { .len = 0 }, again = { .len = 0 };
    struct fn_log_query query = { .account = BYTES_LIT(ACCOUNT), .name = BYTES_LIT("logs") };
    struct fn_log_watch *watch;
    sem_t woken;
    put_c("logs");
    invoke(&c, "logs", "\"print\"");
    expect(c.tail, "\na line\nand another\nEND");
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, &seen), KIST_OK);
    expect(seen.text, "11111111-2222-3333-4444-");
    expect(seen.text, "|a line\n");
    expect(seen.text, "|REPORT RequestId: ");
    /* Behind the last line is nothing until there is more. */
    sem_init(&woken, 0, 0);
    query.cursor = seen.cursor;
    ck_assert_int_eq(
        functions_logs_watch(f, query.account, query.name, seen.cursor, wake, &woken, &watch),
        KIST_OK);
    ck_assert_int_ne(sem_trywait(&woken), 0);
    invoke(&c, "logs", "\"print\"");
    while (sem_wait(&woken) != 0)
        continue;
    functions_logs_unwatch(f, watch);
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, &again), KIST_OK);
    expect(again.text, c.id);
    sem_destroy(&woken);
    /* And all of it from the store, by another server. */
    struct functions_config config = f->config;
    functions_close(f);
    ck_assert_int_eq(functions_open(&config, &f), KIST_OK);
    struct seen_lines stored = { .len = 0 };
    query.cursor = 0;
    ck_assert_int_eq(functions_logs_read(f, &query, add_line, &stored), KIST_OK);
    expect(stored.text, "|a line\n");
    expect(stored.text, c.id);
    ck_assert_uint_ge(stored.len, seen.len + again.len);
}
END_TEST

START_TEST(test_init)
{
    struct call c;
    struct settings s = { .name = "init", .zip = c_zip(), .env_name = "INIT" };
    s.env_value = "error";
    put_function(&s);
    invoke(&c, "init", "{}");
    ck_assert_int_eq(c.end, FN_ERROR);
    expect(c.payload, "\"errorType\":\"Init\"");
    s.env_value = "exit";
    s.revision = 2;
    put_function(&s);
    invoke(&c, "init", "{}");
    ck_assert_int_eq(c.end, FN_ERROR);
    expect(c.payload, "exit status 5");
    invoke(&c, "nobody", "{}");
    ck_assert_int_eq(c.end, FN_MISSING);
    s = (struct settings){ .name = "empty", .zip = text_zip("readme", "no bootstrap") };
    put_function(&s);
    invoke(&c, "empty", "{}");
    ck_assert_int_eq(c.end, FN_BROKEN);
    expect(c.why, "no executable file bootstrap");
}
END_TEST

START_TEST(test_change)
{
    struct call c;
    struct settings s = {
        .name = "change", .zip = c_zip(), .env_name = "MINE", .env_value = "one"
    };
    put_function(&s);
    invoke(&c, "change", "\"env\"");
    ck_assert_str_eq(c.payload, "\"change none one http://127.0.0.1:9000\"");
    s.env_value = "two";
    s.revision = 1;
    put_function(&s);
    invoke(&c, "change", "\"env\"");
    ck_assert_str_eq(c.payload, "\"change none two http://127.0.0.1:9000\"");
}
END_TEST

START_TEST(test_concurrency)
{
    struct call calls[5];
    struct settings s = { .name = "many", .zip = c_zip(), .timeout_s = 1 };
    put_function(&s);
    for (size_t i = 0; i < 5; i++)
        begin(&calls[i], "many", "\"hang\"");
    unsigned throttled = 0;
    for (size_t i = 0; i < 5; i++) {
        end(&calls[i]);
        throttled += calls[i].end == FN_THROTTLED;
    }
    ck_assert_uint_eq(throttled, 1);
    /* Reserved: two at once, and none at all. */
    s.reserved = 3;
    s.revision = 1;
    put_function(&s);
    for (size_t i = 0; i < 3; i++)
        begin(&calls[i], "many", "\"hang\"");
    throttled = 0;
    for (size_t i = 0; i < 3; i++) {
        end(&calls[i]);
        throttled += calls[i].end == FN_THROTTLED;
    }
    ck_assert_uint_eq(throttled, 1);
    s.reserved = 1;
    s.revision = 2;
    put_function(&s);
    invoke(&calls[0], "many", "{}");
    ck_assert_int_eq(calls[0].end, FN_THROTTLED);
}
END_TEST

/* Events wait where calls are turned away. */
START_TEST(test_events)
{
    enum { N = 64 };
    static struct call calls[N];
    Kist__Event event = KIST__EVENT__INIT;
    put_c("events");
    for (size_t i = 0; i < N; i++) {
        struct call *c = &calls[i];
        memset(c, 0, sizeof(*c));
        sem_init(&c->over, 0, 0);
        snprintf(c->id, sizeof(c->id), "99999999-2222-3333-4444-%012zu", i);
        c->in = (struct fn_invocation){ .arn = BYTES_LIT(ARN "events"),
                                        .payload = BYTES_LIT("{}"),
                                        .request_id = c->id,
                                        .event = &event,
                                        .done = call_done,
                                        .user = c };
        functions_invoke(f, &c->in);
    }
    for (size_t i = 0; i < N; i++) {
        end(&calls[i]);
        ck_assert_int_eq(calls[i].end, FN_OK);
    }
    struct fn_totals totals;
    functions_totals(f, &totals);
    ck_assert_uint_le(totals.environments, 3); /* one slot is left to callers */
}
END_TEST

/* Frozen, and thawed for the next call; then ended. The pool's idle time is a second here. */
START_TEST(test_idle)
{
    struct call a, b;
    struct fn_totals totals;
    put_c("idle");
    invoke(&a, "idle", "{}");
    usleep(300000);
    invoke(&b, "idle", "{}");
    ck_assert_int_eq(pid_of(&a), pid_of(&b));
    ck_assert_uint_eq(served_of(&b), 2);
    pthread_mutex_lock(&f->pool->live_lock);
    while (f->pool->live_count)
        pthread_cond_wait(&f->pool->live_none, &f->pool->live_lock);
    pthread_mutex_unlock(&f->pool->live_lock);
    functions_totals(f, &totals);
    ck_assert_uint_eq(totals.environments, 0);
    ck_assert_uint_eq(totals.memory_bytes, 0);
    ck_assert_uint_eq(totals.running, 0);
}
END_TEST

static bool has_program(const char *path)
{
    return access(path, X_OK) == 0;
}

START_TEST(test_python)
{
    static const char code[] = "import logging, os\n"
                               "logging.getLogger().setLevel('INFO')\n"
                               "def handler(event, context):\n"
                               "    if event == 'fail':\n"
                               "        raise KeyError('nothing')\n"
                               "    print('printed')\n"
                               "    logging.info('logged')\n"
                               "    return {'event': event, 'name': context.function_name,\n"
                               "            'id': context.aws_request_id, 'left': "
                               "context.get_remaining_time_in_millis(),\n"
                               "            'env': os.environ['AWS_EXECUTION_ENV']}\n";
    struct call c;
    struct settings s = { .name = "snake",
                          .runtime = "python3.12",
                          .handler = "app.handler",
                          .zip = text_zip("app.py", code) };
    if (!has_program("/usr/bin/python3"))
        return;
    put_function(&s);
    invoke(&c, "snake", "{\"a\": \"\\u00fc\"}");
    ck_assert_msg(c.end == FN_OK, "%s %s %s", c.payload, c.why, c.tail);
    expect(c.payload, "\"name\": \"snake\"");
    expect(c.payload, c.id);
    expect(c.payload, "AWS_Lambda_python3.12");
    expect(c.tail, "\nprinted\n");
    expect(c.tail, "[INFO]\t");
    invoke(&c, "snake", "\"fail\"");
    ck_assert_int_eq(c.end, FN_ERROR);
    expect(c.payload, "\"errorType\": \"KeyError\"");
    expect(c.payload, "app.py");
    s.handler = "app.nothing";
    s.revision = 1;
    put_function(&s);
    invoke(&c, "snake", "{}");
    expect(c.payload, "Runtime.HandlerNotFound");
}
END_TEST

START_TEST(test_node)
{
    static const char code[] =
        "exports.handler = async (event, context) => {\n"
        "  if (event === 'fail') throw new RangeError('nothing');\n"
        "  console.log('printed');\n"
        "  return { event, name: context.functionName, id: context.awsRequestId };\n"
        "};\n"
        "exports.callback = (event, context, done) => setTimeout(() => done(null, 'called'), "
        "1);\n"
        "exports.streams = awslambda.streamifyResponse(async (event, out) => {\n"
        "  out.write('one,'); out.write('two'); out.end();\n"
        "});\n";
    struct call c;
    struct settings s = { .name = "node",
                          .runtime = "nodejs20.x",
                          .handler = "index.handler",
                          .memory_mb = 256,
                          .zip = text_zip("index.js", code) };
    if (!has_program("/usr/bin/node"))
        return;
    put_function(&s);
    invoke(&c, "node", "{\"a\":1}");
    ck_assert_msg(c.end == FN_OK, "%s %s %s", c.payload, c.why, c.tail);
    expect(c.payload, "\"name\":\"node\"");
    expect(c.payload, c.id);
    expect(c.tail, "INFO\tprinted");
    invoke(&c, "node", "\"fail\"");
    ck_assert_int_eq(c.end, FN_ERROR);
    expect(c.payload, "\"errorType\":\"RangeError\"");
    s.handler = "index.callback";
    s.revision = 1;
    put_function(&s);
    invoke(&c, "node", "{}");
    ck_assert_str_eq(c.payload, "\"called\"");
    s.handler = "index.streams";
    s.revision = 2;
    put_function(&s);
    invoke(&c, "node", "{}");
    ck_assert_msg(strcmp(c.payload, "one,two") == 0, "%s %s", c.payload, c.tail);
}
END_TEST

/* ---- zips ---- */

static enum kist_err check_zip(struct file file, const char **why)
{
    static char out[1 << 20];
    uint64_t unpacked;
    *why = "";
    return code_check(bytes_of(out, zip(&file, 1, out, sizeof(out))), &unpacked, why);
}

START_TEST(test_zips)
{
    const char *why;
    uint64_t unpacked;
    ck_assert_int_eq(check_zip((struct file){ "a/b.py", "x", 1, 0644, NULL }, &why), KIST_OK);
    ck_assert_int_eq(check_zip((struct file){ "l", NULL, 0, 0777, "a/../b" }, &why), KIST_OK);
    static const struct file bad[] = {
        { "../b.py", "x", 1, 0644, NULL },     { "a/../../b.py", "x", 1, 0644, NULL },
        { "/etc/passwd", "x", 1, 0644, NULL }, { "l", NULL, 0, 0777, "/etc/passwd" },
        { "a/l", NULL, 0, 0777, "../../etc" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ck_assert_msg(check_zip(bad[i], &why) == KIST_E_INVALID, "%s", bad[i].name);
        expect(why, "leads out of it");
    }
    ck_assert_int_eq(code_check(BYTES_LIT("PK no zip"), &unpacked, &why), KIST_E_INVALID);
    expect(why, "Could not unzip uploaded file");
    ck_assert_int_eq(code_check(BYTES_EMPTY, &unpacked, &why), KIST_E_INVALID);
}
END_TEST

/* A link, and then a file through it: the file's way does not follow the link. */
START_TEST(test_zip_through_link)
{
    static char out[65536];
    char where[64], path[128];
    const char *why = "";
    uint64_t unpacked;
    struct stat st;
    struct file files[] = { { "sub/real.py", "x", 1, 0755, NULL },
                            { "link", NULL, 0, 0777, "sub" },
                            { "link/evil.py", "x", 1, 0644, NULL } };
    snprintf(where, sizeof(where), "%s/unzip", dir);
    ck_assert_int_eq(mkdir(where, 0755), 0);
    struct bytes good = bytes_of(out, zip(files, 2, out, sizeof(out)));
    ck_assert_int_eq(unzip(good, where, &unpacked, &why), KIST_OK);
    snprintf(path, sizeof(path), "%s/sub/real.py", where);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0755);
    snprintf(where, sizeof(where), "%s/unzip2", dir);
    ck_assert_int_eq(mkdir(where, 0755), 0);
    struct bytes evil = bytes_of(out, zip(files, 3, out, sizeof(out)));
    ck_assert_int_eq(unzip(evil, where, &unpacked, &why), KIST_E_INVALID);
}
END_TEST

START_TEST(test_zip_bomb)
{
    static char out[1 << 20];
    size_t len = (size_t)FN_CODE_MAX + 1;
    const char *why = "";
    uint64_t unpacked;
    char *zeros = calloc(1, len);
    ck_assert_ptr_nonnull(zeros);
    struct file file = { "bomb", zeros, len, 0644, NULL };
    struct bytes bomb = bytes_of(out, zip(&file, 1, out, sizeof(out)));
    free(zeros);
    ck_assert_int_eq(code_check(bomb, &unpacked, &why), KIST_E_TOO_LARGE);
    expect(why, "262144000");
}
END_TEST

/* ---- numbers, for people ---- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void cold(const char *what, const struct settings *given, size_t rounds)
{
    uint64_t took[64];
    struct settings s = *given;
    for (size_t i = 0; i < rounds; i++) {
        struct call c;
        s.revision = (unsigned)i + 100;
        put_function(&s);
        uint64_t start = mono_ns();
        invoke(&c, s.name, "{}");
        took[i] = (mono_ns() - start) / 1000;
        ck_assert_msg(c.end == FN_OK, "%s %s", c.payload, c.why);
    }
    qsort(took, rounds, sizeof(*took), compare);
    printf("cold start, %s: p50 %llu us, best %llu us\n", what,
           (unsigned long long)took[rounds / 2], (unsigned long long)took[0]);
}

static atomic_uint flood_done;

static void flood_next(struct fn_invocation *in, const struct fn_result *r)
{
    unsigned *left = in->user;
    ck_assert_int_eq(r->end, FN_OK);
    atomic_fetch_add(&flood_done, 1);
    if (--*left)
        functions_invoke(f, in);
}

/* As the dispatcher does it: a window of events, one follows the other. */
static void flood(void)
{
    enum { WINDOW = 32, EACH = 500 };
    static struct fn_invocation calls[WINDOW];
    static unsigned left[WINDOW];
    Kist__Event event = KIST__EVENT__INIT;
    uint64_t start = mono_ns();
    atomic_store(&flood_done, 0);
    for (size_t i = 0; i < WINDOW; i++) {
        left[i] = EACH;
        calls[i] = (struct fn_invocation){ .arn = BYTES_LIT(ARN "speed"),
                                           .payload = BYTES_LIT("{}"),
                                           .request_id = "11111111-2222-3333-4444-555555555555",
                                           .event = &event,
                                           .done = flood_next,
                                           .user = &left[i] };
        functions_invoke(f, &calls[i]);
    }
    while (atomic_load(&flood_done) < WINDOW * EACH)
        usleep(1000);
    printf("events: %.0f a second\n", WINDOW * EACH / ((double)(mono_ns() - start) / 1e9));
}

START_TEST(test_speed)
{
    enum { N = 2000 };
    static uint64_t took[N];
    struct call c;
    put_c("speed");
    for (size_t i = 0; i < N; i++) {
        uint64_t start = mono_ns();
        invoke(&c, "speed", "{}");
        took[i] = (mono_ns() - start) / 1000;
    }
    qsort(took, N, sizeof(*took), compare);
    printf("warm call, C: p50 %llu us, p99 %llu us\n", (unsigned long long)took[N / 2],
           (unsigned long long)took[N * 99 / 100]);
    flood();
    struct settings s = { .name = "cold-c", .zip = c_zip() };
    cold("C", &s, 21);
    if (has_program("/usr/bin/python3")) {
        s = (struct settings){ .name = "cold-py",
                               .runtime = "python3.11",
                               .handler = "a.h",
                               .zip = text_zip("a.py", "def h(event, context):\n return 1\n") };
        cold("Python", &s, 21);
    }
    if (has_program("/usr/bin/node")) {
        s = (struct settings){ .name = "cold-js",
                               .runtime = "nodejs20.x",
                               .handler = "a.h",
                               .memory_mb = 256,
                               .zip = text_zip("a.js", "exports.h = async () => 1;\n") };
        cold("Node", &s, 21);
    }
}
END_TEST

/* ---- wiring ---- */

static void setup_idle(void)
{
    open_all(2, 1);
}

static void compile_bootstrap(void)
{
    char command[256], out[] = "/tmp/kist-bootstrap-XXXXXX";
    int fd = mkstemp(out);
    snprintf(command, sizeof(command),
             "cc -O2 -static -o %s tests/unit/server/functions/bootstrap.c", out);
    if (fd < 0 || system(command) != 0) {
        fprintf(stderr, "cannot compile the bootstrap\n");
        exit(1);
    }
    close(fd);
    FILE *file = fopen(out, "r");
    c_bootstrap_len = file ? fread(c_bootstrap, 1, sizeof(c_bootstrap), file) : 0;
    if (file)
        fclose(file);
    unlink(out);
}

static Suite *suite(void)
{
    Suite *s = suite_create("runtime");
    TCase *t = tcase_create("pool");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_warm);
    tcase_add_test(t, test_trace);
    tcase_add_test(t, test_ends);
    tcase_add_test(t, test_timeout);
    tcase_add_test(t, test_memory);
    tcase_add_test(t, test_answers);
    tcase_add_test(t, test_logs);
    tcase_add_test(t, test_init);
    tcase_add_test(t, test_change);
    tcase_add_test(t, test_concurrency);
    tcase_add_test(t, test_events);
    tcase_add_test(t, test_python);
    tcase_add_test(t, test_node);
    tcase_add_test(t, test_zips);
    tcase_add_test(t, test_zip_through_link);
    tcase_add_test(t, test_zip_bomb);
    tcase_add_test(t, test_speed);
    suite_add_tcase(s, t);
    t = tcase_create("idle");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup_idle, teardown);
    tcase_add_test(t, test_idle);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], SANDBOX_ZYGOTE_COMMAND) == 0)
        return sandbox_zygote_main();
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len < 0)
        return 1;
    self[len] = '\0';
    trace_setup(false, TRACE_WARN, NULL);
    compile_bootstrap();
    SRunner *runner = srunner_create(suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
