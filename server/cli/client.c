/* A fixed number of transfers, each with a curl handle of its own, behind one curl_multi. A
 * transfer is free, under way, or waiting for its next try. */
#include "server/cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>

#include "auth/sign.h"
#include "server/cli/options.h"
#include "storage/base/cleanup.h"
#include "storage/base/codec.h"

#define SERVICES_MAX 8
#define TRIES_MAX 3
#define BACKOFF_MS 200
#define CONNECT_S 10L
#define STALLED_S 60L
#define REPLY_HEADERS_MAX ((size_t)64 << 10)
#define REPLY_MAX ((size_t)16 << 20)
#define ARENA_MAX ((size_t)1 << 20)

struct transfer {
    struct client_request *request; /* NULL: free */
    CURL *curl;
    struct curl_slist *headers;
    struct arena arena;
    FILE *file;
    size_t sent;
    unsigned tries;
    uint64_t due_ns; /* of the next try; 0: under way */
    char why[CURL_ERROR_SIZE];
};

struct client {
    CURLM *multi;
    char *base;   /* "http://host:port" */
    char *direct; /* hosts that no proxy is asked for, with commas */
    const char *host, *region, *ca_file;
    struct root_key key;
    const char *token;
    struct signer signers[SERVICES_MAX];
    size_t signer_count, busy;
    struct transfer transfers[CLIENT_PARALLEL];
};

/* ---- opening ---- */

bool client_take_option(struct client_options *o, const char *name, const char *value)
{
    if (strcmp(name, "--endpoint") == 0)
        o->endpoint = value;
    else if (strcmp(name, "--region") == 0)
        o->region = value;
    else if (strcmp(name, "--ca-file") == 0)
        o->ca_file = value;
    else if (strcmp(name, "--data") == 0)
        o->data = value;
    else
        return false;
    return true;
}

/* An empty variable is as good as none. */
static const char *variable(const char *name)
{
    const char *value = name ? getenv(name) : NULL;
    return value && *value ? value : NULL;
}

static const char *first_of(const char *given, const char *a, const char *b, const char *fallback)
{
    const char *names[] = { a, b };
    for (size_t i = 0; !given && i < ARRAY_LEN(names); i++)
        given = variable(names[i]);
    return given && *given ? given : fallback;
}

static bool is_endpoint(const char *url)
{
    const char *host = strstr(url, "://");
    if (!host || (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0))
        return false;
    size_t len = strcspn(host + 3, "/?#@");
    return len > 0 && (host[3 + len] == '\0' || strcmp(host + 3 + len, "/") == 0);
}

static int find_key(struct client *c, const struct client_options *o)
{
    const char *id = variable("AWS_ACCESS_KEY_ID"), *secret = variable("AWS_SECRET_ACCESS_KEY");
    enum kist_err err;
    if (!o->data && !id != !secret) { /* nobody becomes root by half a key of somebody else */
        fprintf(stderr, "kist: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: %s is missing\n",
                id ? "the second" : "the first");
        return 1;
    }
    if (o->data || !id)
        err = root_key_find(o->data ? o->data : default_data_dir(),
                            o->data ? NULL : variable("KIST_ROOT_ACCESS_KEY"),
                            o->data ? NULL : variable("KIST_ROOT_SECRET_KEY"), &c->key);
    else
        err = root_key_find("", id, secret, &c->key);
    if (err == KIST_OK) {
        c->token = o->data || !id ? NULL : variable("AWS_SESSION_TOKEN");
        return 0;
    }
    if (!o->data && err == KIST_E_NOT_FOUND)
        fprintf(stderr, "kist: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                        "or name a data directory by --data\n");
    else
        fprintf(stderr, "kist: %s: the root key: %s\n", o->data ? o->data : "credentials",
                kist_err_text(err));
    return 1;
}

/* Naming hosts to curl puts its reading of no_proxy out of force. */
static bool find_direct(struct client *c)
{
    static const char own[] = "127.0.0.1,localhost,::1";
    const char *more = first_of(NULL, "no_proxy", "NO_PROXY", NULL);
    if (more && strcmp(more, "*") == 0) /* stands alone, or means nothing */
        c->direct = strdup(more);
    else if (asprintf(&c->direct, "%s%s%s", own, more ? "," : "", more ? more : "") < 0)
        c->direct = NULL;
    return c->direct != NULL;
}

static bool open_handles(struct client *c)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return false;
    c->multi = curl_multi_init();
    for (size_t i = 0; i < CLIENT_PARALLEL; i++) {
        arena_init(&c->transfers[i].arena, ARENA_MAX);
        c->transfers[i].curl = c->multi ? curl_easy_init() : NULL;
        if (!c->transfers[i].curl)
            return false;
    }
    return curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)CLIENT_PARALLEL) == CURLM_OK;
}

int client_open(const struct client_options *o, const struct root_key *key, struct client **out)
{
    const char *url =
        first_of(o->endpoint, "KIST_ENDPOINT", "AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
    if (!is_endpoint(url)) {
        fprintf(stderr, "kist: %s: an endpoint is http://HOST:PORT or https://HOST:PORT\n", url);
        return 2;
    }
    struct client *c = calloc(1, sizeof(*c));
    int rc = !c ? 1 : key ? 0 : find_key(c, o);
    if (c && rc == 0) {
        if (key)
            c->key = *key;
        c->region = first_of(o->region, "AWS_REGION", "AWS_DEFAULT_REGION", "us-east-1");
        c->ca_file = first_of(o->ca_file, "AWS_CA_BUNDLE", NULL, NULL);
        c->base = strndup(url, strlen(url) - (url[strlen(url) - 1] == '/'));
        if (!c->base || !find_direct(c) || !open_handles(c)) {
            fprintf(stderr, "kist: out of memory\n");
            rc = 1;
        } else {
            c->host = strstr(c->base, "://") + 3;
        }
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a server that goes away is an error, not our end */
    if (rc == 0)
        *out = c;
    else
        client_close(c);
    return rc;
}

static void transfer_clear(struct transfer *t)
{
    if (t->file)
        fclose(t->file);
    curl_slist_free_all(t->headers);
    t->file = NULL;
    t->headers = NULL;
    arena_clear(&t->arena);
}

void client_close(struct client *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < CLIENT_PARALLEL; i++) {
        struct transfer *t = &c->transfers[i];
        if (t->request && !t->due_ns)
            (void)curl_multi_remove_handle(c->multi, t->curl);
        transfer_clear(t);
        curl_easy_cleanup(t->curl);
        arena_release(&t->arena);
    }
    if (c->multi)
        (void)curl_multi_cleanup(c->multi);
    for (size_t i = 0; i < c->signer_count; i++)
        signer_release(&c->signers[i]);
    explicit_bzero(&c->key, sizeof(c->key));
    free(c->base);
    free(c->direct);
    free(c);
}

const char *client_region(const struct client *c)
{
    return c->region;
}

/* ---- one try ---- */

void client_header_add(struct client_request *q, const char *name, const char *value)
{
    if (q->header_count < CLIENT_HEADERS_MAX)
        q->headers[q->header_count++] = (struct client_header){ name, value };
}

struct bytes client_reply_header(const struct client_request *q, const char *name)
{
    struct bytes all = buf_bytes(&q->reply_headers), wanted = bytes_str(name);
    for (size_t at = 0; at < all.len;) {
        size_t end = bytes_find(all, BYTES_LIT("\n"), at);
        end = end == SIZE_MAX ? all.len : end;
        struct bytes line = bytes_of(all.ptr + at, end - at);
        at = end + 1;
        if (line.len <= wanted.len || line.ptr[wanted.len] != ':' ||
            !bytes_equal_nocase(bytes_of(line.ptr, wanted.len), wanted))
            continue;
        struct bytes value = bytes_of(line.ptr + wanted.len + 1, line.len - wanted.len - 1);
        while (value.len && (value.ptr[0] == ' ' || value.ptr[0] == '\t'))
            value = bytes_of(value.ptr + 1, value.len - 1);
        while (value.len && value.ptr[value.len - 1] <= ' ')
            value.len--;
        return value;
    }
    return BYTES_EMPTY;
}

void client_request_release(struct client_request *q)
{
    if (q->reply.ptr)
        explicit_bzero(q->reply.ptr, q->reply.len); /* a new key may be in it */
    buf_release(&q->reply);
    buf_release(&q->reply_headers);
}

static enum kist_err signer_for(struct client *c, const char *service, int64_t now_ms,
                                struct signer **out)
{
    for (size_t i = 0; i < c->signer_count; i++)
        if (strcmp(c->signers[i].service, service) == 0) {
            *out = &c->signers[i];
            return signer_set_time(*out, now_ms);
        }
    if (c->signer_count == ARRAY_LEN(c->signers))
        return KIST_E_TOO_LARGE;
    struct signer *s = &c->signers[c->signer_count];
    TRY(signer_init(s, bytes_str(c->key.access_key), bytes_str(c->key.secret_key),
                    bytes_str(c->region), bytes_str(service), now_ms));
    c->signer_count++;
    *out = s;
    return KIST_OK;
}

static enum kist_err add_line(struct transfer *t, const char *name, struct bytes value)
{
    char *line =
        arena_printf(&t->arena, value.len ? "%s: %.*s" : "%s;", name, (int)value.len, value.ptr);
    struct curl_slist *list = line ? curl_slist_append(t->headers, line) : NULL;
    if (!list)
        return KIST_E_NOMEM;
    t->headers = list;
    return KIST_OK;
}

static const char *payload_hash(struct transfer *t)
{
    const struct client_request *q = t->request;
    uint8_t digest[32];
    char *hex = arena_alloc(&t->arena, 65);
    if (q->sha256 || !hex)
        return q->sha256;
    digest_once(DIGEST_SHA256, q->body, digest);
    hex_encode(bytes_of(digest, sizeof(digest)), hex);
    return hex;
}

static enum kist_err sign(struct client *c, struct transfer *t)
{
    const struct client_request *q = t->request;
    struct auth_header list[CLIENT_HEADERS_MAX + 4];
    struct signer *signer;
    struct bytes authorization;
    char date[TIME_AMZ_LEN];
    size_t count = 0;
    int64_t now_ms = env_real()->now_ms(env_real());
    const char *hash = payload_hash(t);
    if (!hash)
        return KIST_E_NOMEM;
    TRY(signer_for(c, q->service, now_ms, &signer));
    time_amz(now_ms, date);
    list[count++] = (struct auth_header){ BYTES_LIT("Host"), bytes_str(c->host) };
    list[count++] = (struct auth_header){ BYTES_LIT("x-amz-date"), bytes_str(date) };
    list[count++] = (struct auth_header){ BYTES_LIT("x-amz-content-sha256"), bytes_str(hash) };
    if (c->token)
        list[count++] =
            (struct auth_header){ BYTES_LIT("x-amz-security-token"), bytes_str(c->token) };
    for (size_t i = 0; i < q->header_count; i++)
        list[count++] =
            (struct auth_header){ bytes_str(q->headers[i].name), bytes_str(q->headers[i].value) };
    struct sign_request s = { bytes_str(q->method),
                              bytes_str(q->path),
                              bytes_str(q->query),
                              list,
                              count,
                              bytes_str(hash),
                              now_ms };
    TRY(sign_header(signer, &s, &t->arena, &authorization, NULL));
    for (size_t i = 0; i < count; i++)
        TRY(add_line(t, (const char *)list[i].name.ptr, list[i].value));
    TRY(add_line(t, "Authorization", authorization));
    /* None: it would cost a round trip. */
    struct curl_slist *all = curl_slist_append(t->headers, "Expect:");
    t->headers = all ? all : t->headers;
    return all ? KIST_OK : KIST_E_NOMEM;
}

static size_t give(char *out, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    size_t room = size * count, left = t->request->body.len - t->sent;
    if (t->file)
        return ferror(t->file) ? CURL_READFUNC_ABORT : fread(out, 1, room, t->file);
    size_t n = left < room ? left : room;
    if (n)
        memcpy(out, t->request->body.ptr + t->sent, n);
    t->sent += n;
    return n;
}

/* More than fit are left out: a person asked, and none of them is needed. */
static size_t take_header(char *data, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    if (t->request->wants_headers)
        (void)!buf_append(&t->request->reply_headers, data, size * count);
    return size * count;
}

static size_t take(char *data, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    return buf_append(&t->request->reply, data, size * count) == KIST_OK ? size * count : 0;
}

static int rewind_body(void *user, curl_off_t offset, int origin)
{
    struct transfer *t = user;
    if (origin != SEEK_SET || offset != 0)
        return CURL_SEEKFUNC_CANTSEEK;
    t->sent = 0;
    if (t->file)
        rewind(t->file);
    return CURL_SEEKFUNC_OK;
}

static void set_options(struct client *c, struct transfer *t, const char *url)
{
    const struct client_request *q = t->request;
    uint64_t length = q->file ? q->file_bytes : q->body.len;
    bool sends = length > 0 || strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0;
    curl_easy_reset(t->curl);
    t->why[0] = '\0';
#define SET(option, value) (void)curl_easy_setopt(t->curl, option, value)
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NOPROXY, c->direct);
    SET(CURLOPT_ERRORBUFFER, t->why);
    SET(CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, q->patience_s ? (long)q->patience_s : STALLED_S);
    SET(CURLOPT_HTTPHEADER, t->headers);
    SET(CURLOPT_WRITEFUNCTION, take);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEDATA, t);
    if (c->ca_file)
        SET(CURLOPT_CAINFO, c->ca_file);
    if (sends) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)length);
        SET(CURLOPT_READFUNCTION, give);
        SET(CURLOPT_READDATA, t);
        SET(CURLOPT_SEEKFUNCTION, rewind_body);
        SET(CURLOPT_SEEKDATA, t);
    }
    if (strcmp(q->method, "HEAD") == 0)
        SET(CURLOPT_NOBODY, 1L);
    else
        SET(CURLOPT_CUSTOMREQUEST, q->method);
#undef SET
}

static void finish(struct client *c, struct transfer *t)
{
    struct client_request *q = t->request;
    transfer_clear(t);
    t->request = NULL;
    c->busy--;
    if (q->done)
        q->done(q);
}

static void launch(struct client *c, struct transfer *t)
{
    struct client_request *q = t->request;
    transfer_clear(t);
    buf_clear(&q->reply);
    buf_clear(&q->reply_headers);
    t->due_ns = 0;
    t->sent = 0;
    t->tries++;
    q->status = 0;
    q->error[0] = '\0';
    const char *mark = q->query && *q->query ? "?" : "";
    char *url =
        arena_printf(&t->arena, "%s%s%s%s", c->base, q->path, mark, *mark ? q->query : "");
    if (q->file && !(t->file = fopen(q->file, "re"))) {
        snprintf(q->error, sizeof(q->error), "%s", strerror(errno));
    } else if (!url || sign(c, t) != KIST_OK) {
        snprintf(q->error, sizeof(q->error), "the request is too large");
    } else {
        set_options(c, t, url);
        if (curl_multi_add_handle(c->multi, t->curl) == CURLM_OK)
            return;
        snprintf(q->error, sizeof(q->error), "out of memory");
    }
    finish(c, t);
}

/* ---- the loop ---- */

static bool try_again(const struct transfer *t, CURLcode result, long status)
{
    bool unsent = result == CURLE_COULDNT_CONNECT || result == CURLE_COULDNT_RESOLVE_HOST ||
                  (result == CURLE_OK && status == 503);
    if (t->tries >= TRIES_MAX || result == CURLE_WRITE_ERROR ||
        result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE ||
        result == CURLE_ABORTED_BY_CALLBACK)
        return false;
    if (t->request->once)
        return unsent;
    return result != CURLE_OK || status == 429 || (status >= 500 && status != 501);
}

static void ended(struct client *c, CURLMsg *message)
{
    struct transfer *t = NULL;
    long status = 0;
    CURLcode result = message->data.result;
    (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_multi_remove_handle(c->multi, t->curl);
    if (try_again(t, result, status)) {
        t->due_ns = mono_ns() + ((uint64_t)BACKOFF_MS << (t->tries - 1)) * 1000000;
        return;
    }
    if (result == CURLE_OK)
        t->request->status = (unsigned)status;
    else
        snprintf(t->request->error, sizeof(t->request->error), "%s: %s", c->base,
                 t->why[0] ? t->why : curl_easy_strerror(result));
    finish(c, t);
}

static void step(struct client *c)
{
    int running = 0, queued, wait_ms = 1000;
    CURLMsg *message;
    for (size_t i = 0; i < CLIENT_PARALLEL; i++) {
        struct transfer *t = &c->transfers[i];
        if (!t->request || !t->due_ns)
            continue;
        uint64_t now = mono_ns();
        if (t->due_ns <= now)
            launch(c, t);
        else if ((t->due_ns - now) / 1000000 < (uint64_t)wait_ms)
            wait_ms = (int)((t->due_ns - now) / 1000000) + 1;
    }
    (void)curl_multi_perform(c->multi, &running);
    bool any = false;
    while ((message = curl_multi_info_read(c->multi, &queued))) {
        any = true;
        if (message->msg == CURLMSG_DONE)
            ended(c, message);
    }
    if (!any && c->busy)
        (void)curl_multi_poll(c->multi, NULL, 0, wait_ms, NULL);
}

void client_start(struct client *c, struct client_request *q)
{
    while (c->busy == CLIENT_PARALLEL)
        step(c);
    buf_init(&q->reply, q->reply_max ? q->reply_max : REPLY_MAX);
    buf_init(&q->reply_headers, REPLY_HEADERS_MAX);
    for (size_t i = 0; i < CLIENT_PARALLEL; i++)
        if (!c->transfers[i].request) {
            c->transfers[i].request = q;
            c->transfers[i].tries = 0;
            c->busy++;
            launch(c, &c->transfers[i]);
            return;
        }
}

void client_wait(struct client *c)
{
    while (c->busy)
        step(c);
}

bool client_do(struct client *c, struct client_request *q)
{
    client_wait(c);
    q->done = NULL;
    client_start(c, q);
    client_wait(c);
    return client_ok(q);
}

/* ---- answers ---- */

bool client_ok(const struct client_request *q)
{
    struct bytes reply = buf_bytes(&q->reply);
    return q->status / 100 == 2 && (strcmp(q->method, "PUT") != 0 ||
                                    bytes_find(reply, BYTES_LIT("<Error>"), 0) == SIZE_MAX);
}

void client_print(FILE *f, const char *text)
{
    bool utf8 = bytes_is_utf8(bytes_str(text));
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        /* U+0080 to U+009F are controls, too: C2 80 to C2 9F. */
        bool high = c == 0xC2 && (unsigned char)text[1] < 0xA0;
        if (c < 32 || c == 127 || (!utf8 && c > 127) || (utf8 && high)) {
            fprintf(f, "\\x%02x", c);
            if (utf8 && high)
                fprintf(f, "\\x%02x", (unsigned char)*++text);
        } else {
            fputc(c, f);
        }
    }
}

/* {"__type": "...", "message": "..."}; Lambda and the scheduler write Message. */
static char *json_message(struct arena *arena, struct bytes reply)
{
    json_t *out = json_loadb((const char *)reply.ptr, reply.len, 0, NULL);
    const char *text = json_string_value(json_object_get(out, "message"));
    if (!text)
        text = json_string_value(json_object_get(out, "Message"));
    char *copy = text ? arena_strdup(arena, text) : NULL;
    json_decref(out);
    return copy;
}

void client_complain(const struct client_request *q, const char *what)
{
    struct bytes reply = buf_bytes(&q->reply), message = BYTES_EMPTY;
    struct arena arena;
    size_t at = 0;
    if (q->error[0]) {
        fprintf(stderr, "kist: %s: %s\n", what, q->error);
        return;
    }
    arena_init(&arena, REPLY_MAX);
    char *text = NULL;
    if (client_element(reply, "Message", &at, reply.len, &message))
        text = client_text(&arena, message);
    else if (reply.len)
        text = json_message(&arena, reply);
    fprintf(stderr, "kist: %s: ", what);
    if (text && *text)
        client_print(stderr, text);
    else if (q->status == 403 || q->status == 404) /* to a HEAD there are no words */
        fputs(q->status == 403 ? "access denied" : "not found", stderr);
    else
        fprintf(stderr, "the server answered %u", q->status);
    fputc('\n', stderr);
    arena_release(&arena);
}

bool client_element(struct bytes xml, const char *name, size_t *at, size_t end, struct bytes *out)
{
    char open[40], close[40];
    snprintf(open, sizeof(open), "<%s>", name);
    snprintf(close, sizeof(close), "</%s>", name);
    size_t start = bytes_find(xml, bytes_str(open), *at);
    if (start == SIZE_MAX || start >= end)
        return false;
    start += strlen(open);
    size_t stop = bytes_find(xml, bytes_str(close), start);
    if (stop == SIZE_MAX)
        return false;
    *out = bytes_of(xml.ptr + start, stop - start);
    *at = stop;
    return true;
}

char *client_text(struct arena *arena, struct bytes text)
{
    static const struct {
        const char *entity, *as;
    } entities[] = { { "&lt;", "<" },  { "&gt;", ">" },   { "&quot;", "\"" }, { "&apos;", "'" },
                     { "&#39;", "'" }, { "&#34;", "\"" }, { "&#13;", "\r" },  { "&amp;", "&" } };
    char *out = arena_alloc(arena, text.len + 1), *to = out;
    for (size_t i = 0; out && i < text.len;) {
        struct bytes rest = bytes_of(text.ptr + i, text.len - i);
        size_t k = 0;
        while (k < ARRAY_LEN(entities) && !bytes_starts_with(rest, bytes_str(entities[k].entity)))
            k++;
        *to++ = k < ARRAY_LEN(entities) ? entities[k].as[0] : (char)rest.ptr[0];
        i += k < ARRAY_LEN(entities) ? strlen(entities[k].entity) : 1;
    }
    if (out)
        *to = '\0';
    return out;
}
