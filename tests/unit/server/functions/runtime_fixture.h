/* A real pool with real sandboxes over a real store, and a bootstrap in C that is compiled here.
 *
 * Started with a command the test program is the sandboxes' zygote. */
#ifndef KIST_TESTS_RUNTIME_FIXTURE_H
#define KIST_TESTS_RUNTIME_FIXTURE_H

#include <archive.h>
#include <archive_entry.h>
#include <limits.h>
#include <semaphore.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/functions/run.h"
#include "storage/base/trace.h"
#include "tests/lib/commands.h"
#include "tests/lib/suite.h"

#define UNUSED_OK __attribute__((unused))

#define ACCOUNT "123456789012"
#define ARN "arn:aws:lambda:eu-central-1:" ACCOUNT ":function:"

static char dir[] = "/tmp/kist-runtime-XXXXXX", self[PATH_MAX];
static struct store *store;
static struct functions *f;
static size_t memory_bytes; /* for all environments; 0: the default */
static unsigned without;    /* sandboxes' features */
static uint64_t code_bytes; /* that nobody uses */
static char c_bootstrap[1 << 21];
static size_t c_bootstrap_len;

/* ---- functions ---- */

struct file {
    const char *name;
    const void *data;
    size_t len;
    mode_t mode;
    const char *link; /* target of a symbolic link */
};

UNUSED_OK static size_t zip(const struct file *files, size_t count, void *out, size_t max)
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

UNUSED_OK static void op_done(struct store_op *op)
{
    sem_post(op->user);
}

UNUSED_OK static void put_code(char *key, struct bytes body)
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
    /* Else the sweep of a pool that has just started may take it before its function is there. */
    object.mtime_ms = env_real()->now_ms(env_real());
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
    const char *log_format, *log_level, *system_log_level;
    uint32_t timeout_s, memory_mb, reserved, log_days;
    unsigned revision;
};

UNUSED_OK static void put_function(const struct settings *s)
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
    function.name = mut(s->name);
    function.account = account;
    function.version = latest;
    function.runtime = mut(s->runtime ? s->runtime : "provided.al2023");
    function.handler = mut(s->handler ? s->handler : "none");
    function.timeout_s = s->timeout_s ? s->timeout_s : 10;
    function.memory_mb = s->memory_mb ? s->memory_mb : 128;
    function.reserved = s->reserved;
    function.log_days = s->log_days;
    function.log_format = mut(s->log_format ? s->log_format : "");
    function.log_level = mut(s->log_level ? s->log_level : "");
    function.system_log_level = mut(s->system_log_level ? s->system_log_level : "");
    function.code_sha256 = (ProtobufCBinaryData){ sizeof(sha256), sha256 };
    function.code_key = key;
    function.revision = revision;
    pair.name = mut(s->env_name);
    pair.value = mut(s->env_value);
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

UNUSED_OK static struct bytes c_zip(void)
{
    static char out[1 << 21];
    struct file file = { "bootstrap", c_bootstrap, c_bootstrap_len, 0755, NULL };
    return bytes_of(out, zip(&file, 1, out, sizeof(out)));
}

UNUSED_OK static struct bytes text_zip(const char *name, const char *text)
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
    char trace[33], span_parent[17], pieces[64];
    size_t piece_count;
};

UNUSED_OK static void copy(char *to, size_t max, struct bytes from)
{
    size_t len = from.len < max - 1 ? from.len : max - 1;
    if (len)
        memcpy(to, from.ptr, len);
    to[len] = '\0';
}

UNUSED_OK static void call_done(struct fn_invocation *in, const struct fn_result *r)
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

UNUSED_OK static void prepare(struct call *c, const char *name, const char *payload)
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
}

UNUSED_OK static void begin(struct call *c, const char *name, const char *payload)
{
    prepare(c, name, payload);
    functions_invoke(f, &c->in);
}

UNUSED_OK static void end(struct call *c)
{
    while (sem_wait(&c->over) != 0)
        continue;
    sem_destroy(&c->over);
}

UNUSED_OK static void invoke(struct call *c, const char *name, const char *payload)
{
    begin(c, name, payload);
    end(c);
}

UNUSED_OK static void expect(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" lacks \"%s\"", text, part);
}

UNUSED_OK static int pid_of(const struct call *c)
{
    const char *at = strstr(c->payload, "\"pid\":");
    ck_assert_msg(c->end == FN_OK && at, "end %d: %s %s", c->end, c->payload, c->why);
    return (int)strtol(at + 6, NULL, 10);
}

UNUSED_OK static unsigned served_of(const struct call *c)
{
    const char *at = strstr(c->payload, "\"served\":");
    ck_assert_msg(c->end == FN_OK && at, "end %d: %s %s", c->end, c->payload, c->why);
    return (unsigned)strtoul(at + 9, NULL, 10);
}

/* ---- the store and the pool ---- */

UNUSED_OK static void open_all(unsigned concurrency, unsigned idle_s)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    snprintf(dir, sizeof(dir), "/tmp/kist-runtime-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    config.dir = dir;
    config.sync = false;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
    ck_assert_int_eq(commit_account(store, ACCOUNT, CANONICAL_OF("aaaa"), "first", true, 0),
                     KIST_OK);
    struct functions_config functions = { .store = store,
                                          .data_dir = dir,
                                          .region = "eu-central-1",
                                          .concurrency = concurrency,
                                          .idle_s = idle_s,
                                          .memory_bytes = memory_bytes,
                                          .zygote_exe = self,
                                          .without = without,
                                          .unused_code_bytes = code_bytes,
                                          .trust = true };
    ck_assert_int_eq(functions_open(&functions, &f), KIST_OK);
    ck_assert_ptr_nonnull(f->pool);
}

UNUSED_OK static void setup(void)
{
    open_all(4, 0);
}

UNUSED_OK static void teardown(void)
{
    functions_stop(f);
    functions_close(f);
    store_close(store);
    remove_dir(dir);
}

UNUSED_OK static void put_c(const char *name)
{
    struct settings s = { .name = name, .zip = c_zip() };
    put_function(&s);
}

UNUSED_OK static void compile_bootstrap(void)
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

/* A test's main(). */
UNUSED_OK static int run_runtime_suite(int argc, char **argv, Suite *(*make)(void))
{
    if (argc > 1 && strcmp(argv[1], SANDBOX_ZYGOTE_COMMAND) == 0)
        return sandbox_zygote_main();
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len < 0)
        return 1;
    self[len] = '\0';
    if (getenv("KIST_TEST_ZYGOTE"))
        snprintf(self, sizeof(self), "%s", getenv("KIST_TEST_ZYGOTE"));
    else if (THREAD_SANITIZER) {
        printf("skipped: set KIST_TEST_ZYGOTE to another build of this program\n");
        return 0;
    }
    trace_setup(false, TRACE_WARN, NULL);
    compile_bootstrap();
    return run_suite(make());
}

#endif
