/* Functions as they run, on runtime_fixture.h. Python and Node handlers where the machine has the
 * interpreters. */
#include <arpa/inet.h>
#include <sched.h>
#include <sys/socket.h>

#include "tests/unit/server/functions/runtime_fixture.h"

#define TURNS 40000

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

/* What somebody else on this machine gets of a function's Runtime API: nothing. */
static void knock(const char *api)
{
    static const char request[] =
        "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[256];
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    to.sin_port = htons((uint16_t)strtoul(strchr(api, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    (void)send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    ck_assert_int_le(recv(fd, answer, sizeof(answer), 0), 0);
    close(fd);
}

/* In the machine's network a function has ports of its own, which answer nobody else. */
START_TEST(test_shared_network)
{
    struct call c;
    struct settings s = { .name = "shared", .zip = c_zip() };
    put_function(&s);
    invoke(&c, "shared", "\"api\"");
    ck_assert_int_eq(c.end, FN_OK);
    if (sandbox_features(f->host) & SANDBOX_OWN_UID)
        knock(c.payload);
    else
        printf("SKIPPED: functions have no user of their own on this machine\n");
    invoke(&c, "shared", "{}");
    ck_assert_uint_eq(served_of(&c), 2);
    s.env_name = "SIX";
    s.env_value = "1";
    s.revision = 1;
    put_function(&s);
    invoke(&c, "shared", "{}");
    ck_assert_uint_eq(served_of(&c), 1);
}
END_TEST

/* And its environment has asked for more. */
static void invoke_and_rest(struct call *c, const char *name)
{
    struct fn_totals totals;
    invoke(c, name, "{}");
    do {
        sched_yield();
        functions_totals(f, &totals);
    } while (totals.running);
}

/* Memory for two environments: a third function's takes that of the one used longest ago. */
START_TEST(test_memory_for_others)
{
    struct call c;
    struct fn_totals totals;
    put_c("one");
    put_c("two");
    put_c("three");
    invoke_and_rest(&c, "one");
    invoke_and_rest(&c, "two");
    invoke_and_rest(&c, "one");
    ck_assert_uint_eq(served_of(&c), 2);
    invoke_and_rest(&c, "three");
    ck_assert_uint_eq(served_of(&c), 1);
    functions_totals(f, &totals);
    ck_assert_uint_le(totals.memory_bytes, 256 << 20);
    invoke_and_rest(&c, "one");
    ck_assert_uint_eq(served_of(&c), 3);
    invoke_and_rest(&c, "two");
    ck_assert_uint_eq(served_of(&c), 1);
    /* More than there is at all is said so. */
    struct settings s = { .name = "giant", .zip = c_zip(), .memory_mb = 512 };
    put_function(&s);
    invoke(&c, "giant", "{}");
    ck_assert_int_eq(c.end, FN_BROKEN);
    expect(c.why, "more than all functions may have");
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

/* Calls and events for three functions that crash, exit and are changed meanwhile: each call
 * ends, once, and nothing of it stays. */
START_TEST(test_storm)
{
    enum { CALLS = 16, ROUNDS = 24 };
    static const char *const names[] = { "storm-a", "storm-b", "storm-c" };
    static const char *const commands[] = { "{}",        "{}",         "\"print\"", "\"crash\"",
                                            "\"error\"", "\"stream\"", "\"exit\"",  "\"twice\"" };
    static struct call calls[CALLS];
    Kist__Event event = KIST__EVENT__INIT;
    struct fn_totals totals;
    unsigned seed = 1, ends[FN_BROKEN + 1] = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        put_c(names[i]);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (size_t i = 0; i < CALLS; i++) {
            prepare(&calls[i], names[(unsigned)rand_r(&seed) % 3],
                    commands[(unsigned)rand_r(&seed) % ARRAY_LEN(commands)]);
            calls[i].in.event = rand_r(&seed) % 4 ? &event : NULL;
            functions_invoke(f, &calls[i].in);
        }
        struct settings s = { .name = names[round % 3], .zip = c_zip(), .revision = round };
        if (round % 4 == 0)
            put_function(&s);
        for (size_t i = 0; i < CALLS; i++) {
            end(&calls[i]);
            ends[calls[i].end]++;
        }
    }
    ck_assert_uint_eq(ends[FN_MISSING] + ends[FN_BROKEN], 0);
    ck_assert_uint_gt(ends[FN_OK], CALLS * ROUNDS / 4);
    ck_assert_uint_gt(ends[FN_ERROR], 0);
    do {
        sched_yield();
        functions_totals(f, &totals);
    } while (totals.running);
    ck_assert_uint_eq(totals.waiting_functions, 0);
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

/* Two functions take turns at the one slot there is. Each asks for it about when the other gives
 * it back, sooner or later by a few microseconds: nobody waits for a slot that is free. */
START_TEST(test_turns)
{
    static const char *const names[] = { "this", "that" };
    static struct call c;
    Kist__Event event = KIST__EVENT__INIT;
    put_c(names[0]);
    put_c(names[1]);
    for (unsigned round = 0; round < TURNS; round++) {
        prepare(&c, names[round % 2], "{}");
        c.in.event = &event;
        for (uint64_t until = mono_ns() + round % 500 * 200; mono_ns() < until;)
            continue;
        functions_invoke(f, &c.in);
        end(&c);
        ck_assert_int_eq(c.end, FN_OK);
    }
}
END_TEST

/* ---- wiring ---- */

static void setup_one(void)
{
    open_all(1, 0);
}

static void setup_idle(void)
{
    open_all(2, 1);
}

static void setup_shared(void)
{
    without = SANDBOX_NET_NS;
    open_all(4, 0);
    without = 0;
}

static void setup_small(void)
{
    memory_bytes = (size_t)256 << 20;
    open_all(4, 0);
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
    tcase_add_test(t, test_init);
    tcase_add_test(t, test_change);
    tcase_add_test(t, test_concurrency);
    tcase_add_test(t, test_events);
    tcase_add_test(t, test_storm);
    tcase_add_test(t, test_python);
    tcase_add_test(t, test_node);
    tcase_add_test(t, test_speed);
    suite_add_tcase(s, t);
    t = tcase_create("one");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup_one, teardown);
    tcase_add_test(t, test_turns);
    suite_add_tcase(s, t);
    t = tcase_create("idle");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup_idle, teardown);
    tcase_add_test(t, test_idle);
    suite_add_tcase(s, t);
    t = tcase_create("shared");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup_shared, teardown);
    tcase_add_test(t, test_shared_network);
    suite_add_tcase(s, t);
    t = tcase_create("small");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup_small, teardown);
    tcase_add_test(t, test_memory_for_others);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv)
{
    return run_runtime_suite(argc, argv, suite);
}
