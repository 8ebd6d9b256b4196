/* The lock of an application: an object that is made on the condition that there is none, and
 * says who made it. Who holds it looks before each step whether it is still there, since somebody
 * may have taken it away (--unlock) from a run that he thought was over. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/cli/apply_internal.h"
#include "storage/base/codec.h"

#define MARK "kist apply lock: "
#define TEXT_MAX ((size_t)4096)
#define PATH_MAX_BYTES ((size_t)8192)

/* ---- the file's "lock: s3://bucket/key" ---- */

bool app_lock_read(struct app *a)
{
    static const char scheme[] = "s3://";
    const char *place = NULL;
    if (!yml_text(&a->yml, a->yml.root, "lock", &place) || !place)
        return a->yml.line == 0;
    const char *bucket = place + sizeof(scheme) - 1;
    bool named = strncmp(place, scheme, sizeof(scheme) - 1) == 0;
    size_t len = named ? strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") : 0;
    if (!len || bucket[len] != '/' || !bucket[len + 1])
        return yml_fail(&a->yml, yml_get(a->yml.root, "lock")->line,
                        "lock: an object is wanted, s3://BUCKET/KEY");
    struct buf path;
    buf_init(&path, PATH_MAX_BYTES);
    if (buf_append_str(&path, "/") == KIST_OK &&
        uri_encode(&path, bytes_str(bucket), true) == KIST_OK)
        a->lock.path = arena_strndup(&a->arena, path.ptr, path.len);
    buf_release(&path);
    a->lock.place = place;
    return a->lock.path || yml_fail(&a->yml, 1, "lock: its key is too long");
}

/* ---- the object ---- */

static struct client_request ask(const struct app *a, const char *method)
{
    return (struct client_request){ .service = "s3",
                                    .method = method,
                                    .path = a->lock.path,
                                    .reply_max = TEXT_MAX,
                                    .wants_headers = true };
}

/* What the object says, and its ETag; *text NULL: there is none. False after a message. */
static bool look(struct app *a, const char **text, const char **etag)
{
    struct client_request q = ask(a, "GET");
    bool ok = client_do(a->client, &q), none = site_missing(&q, "NoSuchKey");
    struct bytes tag = client_reply_header(&q, "etag");
    *text =
        ok ? arena_strndup(&a->arena, q.reply.ptr ? (const char *)q.reply.ptr : "", q.reply.len)
           : NULL;
    *etag = ok ? arena_strndup(&a->arena, tag.ptr ? (const char *)tag.ptr : "", tag.len) : NULL;
    bool fits = none || (ok && *text && *etag);
    if (!fits)
        client_complain(&q, a->lock.place);
    client_request_release(&q);
    return fits;
}

/* Only the one that was looked at. False: it is not there any more, or after a message. */
static bool take_away(struct app *a, const char *etag)
{
    struct client_request q = ask(a, "DELETE");
    client_header_add(&q, "If-Match", etag);
    bool ok = client_do(a->client, &q);
    if (!ok && q.status != 404 && q.status != 412)
        client_complain(&q, a->lock.place);
    client_request_release(&q);
    return ok;
}

static bool is_lock(const char *text)
{
    return strncmp(text, MARK, sizeof(MARK) - 1) == 0;
}

/* "ann@host, process 12, since 2026-11-26T10:00:00.000Z (1a2b3c4d)": the last part is random, so
 * that no two are equal. */
static const char *own_text(struct app *a)
{
    const char *user = getenv("USER");
    char host[256] = "", now[TIME_ISO_LEN], hex[17];
    uint8_t random[8];
    (void)gethostname(host, sizeof(host) - 1);
    time_iso(env_real()->now_ms(env_real()), now);
    env_real()->random(env_real(), random, sizeof(random));
    hex_encode(bytes_of(random, sizeof(random)), hex);
    return arena_printf(&a->arena, MARK "%.64s@%s, process %ld, since %s (%s)",
                        user && *user ? user : "somebody", host, (long)getpid(), now, hex);
}

static void tell_holder(const struct app *a, const char *text)
{
    fprintf(stderr, "kist: %s: %s: ", a->file, a->lock.place);
    if (!is_lock(text)) {
        fprintf(stderr, "an object that is no lock of kist apply\n");
        return;
    }
    client_print(stderr, text + sizeof(MARK) - 1);
    fprintf(stderr,
            " is at work on it; if that has ended without taking its lock away, "
            "kist apply %s --unlock does\n",
            a->file);
}

bool app_lock_take(struct app *a)
{
    const char *there = NULL, *etag = NULL;
    if (!a->lock.path)
        return true;
    const char *own = own_text(a);
    struct client_request q = ask(a, "PUT");
    client_header_add(&q, "If-None-Match", "*");
    client_header_add(&q, "Content-Type", "text/plain");
    q.body = bytes_str(own);
    bool ok = own && client_do(a->client, &q), taken = q.status == 412 || q.status == 409;
    if (!ok && !taken)
        client_complain(&q, a->lock.place);
    client_request_release(&q);
    if (!ok && taken && look(a, &there, &etag)) {
        /* When the answer to a first try was lost, the second one finds what the first one made.
         */
        ok = there && strcmp(there, own) == 0;
        if (!ok && there)
            tell_holder(a, there);
        else if (!ok)
            fprintf(stderr, "kist: %s: %s: it was locked just now: try again\n", a->file,
                    a->lock.place);
    }
    a->lock.own = ok ? own : NULL;
    return ok;
}

bool app_lock_is_held(struct app *a)
{
    const char *there = NULL, *etag = NULL;
    if (!a->lock.path)
        return true;
    if (!look(a, &there, &etag))
        return false;
    bool held = there && strcmp(there, a->lock.own) == 0;
    if (!held) {
        fprintf(stderr, "kist: %s: %s: somebody took the lock away\n", a->file, a->lock.place);
        a->lock.own = NULL;
    }
    return held;
}

bool app_lock_release(struct app *a)
{
    const char *there = NULL, *etag = NULL;
    if (!a->lock.own)
        return true;
    bool ok = look(a, &there, &etag);
    if (ok && there && strcmp(there, a->lock.own) == 0)
        ok = take_away(a, etag);
    a->lock.own = NULL;
    return ok;
}

bool app_lock_break(struct app *a)
{
    const char *there = NULL, *etag = NULL;
    if (!look(a, &there, &etag))
        return false;
    if (!there) {
        printf("not locked\n");
        return true;
    }
    if (!is_lock(there)) {
        tell_holder(a, there);
        return false;
    }
    if (!take_away(a, etag))
        return false;
    printf("unlocked: ");
    client_print(stdout, there + sizeof(MARK) - 1);
    printf("\n");
    return true;
}

/* ---- signals ---- */

static const int ending[] = { SIGINT, SIGTERM, SIGHUP };
static volatile sig_atomic_t told;

static void on_signal(int which)
{
    static const char text[] = "kist: apply: ends after this step; once more ends it at once\n";
    int before = errno;
    told = which;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    errno = before;
}

void app_watch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND }, before;
    for (size_t i = 0; i < ARRAY_LEN(ending); i++) /* nohup's stay ignored */
        if (sigaction(ending[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(ending[i], &action, NULL);
}

/* Between the look at what came and the waiting none may be missed. */
bool app_await_input(void)
{
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    sigset_t held, before;
    sigemptyset(&held);
    for (size_t i = 0; i < ARRAY_LEN(ending); i++)
        sigaddset(&held, ending[i]);
    (void)sigprocmask(SIG_BLOCK, &held, &before);
    int n = 0;
    while (!told && (n == 0 || (n < 0 && errno == EINTR)))
        n = ppoll(&in, 1, NULL, &before);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return !told;
}

int app_told_to_end(void)
{
    return told;
}
