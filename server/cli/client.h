/* How kist's own commands speak to a server: signed requests over HTTP and HTTPS, several under
 * way at once, repeated when the network or the server has a bad moment.
 *
 *     struct client_request q = { .service = "s3", .method = "GET", .path = "/bucket/key" };
 *     if (client_do(c, &q))
 *         ... q.reply ...
 *     else
 *         client_complain(&q, "bucket/key");
 *     client_request_release(&q);
 */
#ifndef KIST_SERVER_CLI_CLIENT_H
#define KIST_SERVER_CLI_CLIENT_H

#include <stdio.h>

#include "server/cli/rootkey.h"
#include "storage/base/bytes.h"

#define CLIENT_PARALLEL 16
#define CLIENT_HEADERS_MAX 8

struct client_options {
    const char *endpoint, *region, *ca_file; /* NULL: the environment's, or the default */
    const char *data;                        /* NULL: the environment's keys */
};
#define CLIENT_OPTIONS_HELP                                                                      \
    "  --endpoint URL    the server (KIST_ENDPOINT, AWS_ENDPOINT_URL; "                          \
    "http://127.0.0.1:9000)\n"                                                                   \
    "  --region NAME     the region to sign for (AWS_REGION, AWS_DEFAULT_REGION; us-east-1)\n"   \
    "  --ca-file FILE    certificates to trust, PEM (AWS_CA_BUNDLE; the system's)\n"             \
    "  --data DIR        sign with the root key of this data directory; otherwise with\n"        \
    "                    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or\n"      \
    "                    KIST_ROOT_ACCESS_KEY, KIST_ROOT_SECRET_KEY, or the root key of\n"       \
    "                    KIST_DATA or ./kist-data\n"
/* False: none of them. */
bool client_take_option(struct client_options *o, const char *name, const char *value);

/* A request and its answer. The caller's strings must live until it is done. */
struct client_request {
    const char *service; /* "s3", "iam", "kms" */
    const char *method;
    const char *path;  /* percent-encoded */
    const char *query; /* percent-encoded, NULL without one */
    struct client_header {
        const char *name, *value;
    } headers[CLIENT_HEADERS_MAX];
    size_t header_count;
    struct bytes body;
    const char *file; /* the body, instead: this file, of this length and hash */
    uint64_t file_bytes;
    const char *sha256;  /* hex */
    bool once;           /* doing it twice is not the same: sent again only if it cannot have
                            arrived */
    size_t reply_max;    /* 0: 16 MiB */
    unsigned patience_s; /* the answer may take so long to begin; 0: 60 */
    void (*done)(struct client_request *q);
    void *user;

    unsigned status; /* 0: there was no answer, and error says why */
    struct buf reply;
    /* The answer's headers as "name: value" lines; kept only when wants_headers. */
    struct buf reply_headers;
    bool wants_headers;
    char error[768];
};
void client_header_add(struct client_request *q, const char *name, const char *value);
void client_request_release(struct client_request *q);
/* A header of the answer, without blanks around it; empty: there is none. */
struct bytes client_reply_header(const struct client_request *q, const char *name);

/* Not thread-safe: a client belongs to one thread. */
struct client;
/* key NULL: as the options say. Says what is wrong; the exit status, 0 with a client. */
int client_open(const struct client_options *o, const struct root_key *key, struct client **out);
void client_close(struct client *c); /* NULL is allowed; gives up what is under way */
const char *client_region(const struct client *c);

/* Waits while CLIENT_PARALLEL are under way, then starts one; done() is called from here or
 * from client_wait(), and may release and free the request, but not start another. */
void client_start(struct client *c, struct client_request *q);
/* Until none is under way. */
void client_wait(struct client *c);
/* One request from start to end; true: it succeeded (2xx). done is not called. */
bool client_do(struct client *c, struct client_request *q);
/* 2xx, and no error in the body: a long copy is answered 200 before it ends. */
bool client_ok(const struct client_request *q);
/* Text from elsewhere, with control characters and what is not UTF-8 as \xNN: it neither moves
 * the terminal's cursor nor passes for a line of its own. */
void client_print(FILE *f, const char *text);
/* "kist: what: why" */
void client_complain(const struct client_request *q, const char *what);

/* ---- replies in XML: machine-made, so that a search for elements is enough ---- */

/* The next such element's text at or behind *at, which moves behind it. */
bool client_element(struct bytes xml, const char *name, size_t *at, size_t end,
                    struct bytes *out);
/* With the entities put back; NULL on out of memory. */
char *client_text(struct arena *arena, struct bytes text);

#endif
