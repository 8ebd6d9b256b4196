/* What HEAD says of an object that a function wrote. The store is real and so is the server; the
 * object is written below S3, with the cause that a function's credentials would give it. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/accounts.h"
#include "server/http/server.h"
#include "server/s3/s3.h"
#include "tests/lib/commands.h"
#include "tests/lib/suite.h"

#define POLICY                                                                                   \
    "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\","       \
    "\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::lineage/*\"}}"

static char dir[] = "/tmp/kist-unit-XXXXXX";
static char bucket_name[] = "lineage";
static struct store *store;
static struct auth_root_store root;
static struct auth_user_store *users;
static struct auth_keyring *keyring;
static struct s3_service *service;
static struct http_server *server;

static void commit(Kist__Command *command)
{
    ck_assert_int_eq(store_commit(store, command), KIST_OK);
}

static void make_bucket(void)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutBucketConfig policy = KIST__PUT_BUCKET_CONFIG__INIT;
    ck_assert_int_eq(commit_bucket(store, bucket_name, "o", "us-east-1"), KIST_OK);
    policy.name = bucket_name;
    policy.kind = CONFIG_POLICY;
    policy.document = schema_data(BYTES_LIT(POLICY));
    command.of_case = KIST__COMMAND__OF_PUT_BUCKET_CONFIG;
    command.put_bucket_config = &policy;
    commit(&command);
}

/* An empty object. lineage NULL: somebody's own. */
static void put(const char *key, Kist__Lineage *lineage)
{
    Kist__Command command = KIST__COMMAND__INIT;
    Kist__PutObject request = KIST__PUT_OBJECT__INIT;
    Kist__Object object = KIST__OBJECT__INIT;
    Kist__Cause cause = KIST__CAUSE__INIT;
    static const uint8_t etag[16] = { 1 };
    cause.lineage = lineage;
    object.mtime_ms = 1000;
    object.etag = schema_data(bytes_of(etag, sizeof(etag)));
    request.bucket = bucket_name;
    request.key = schema_data(bytes_str(key));
    request.object = &object;
    command.of_case = KIST__COMMAND__OF_PUT_OBJECT;
    command.put_object = &request;
    command.cause = &cause;
    commit(&command);
}

static void setup(void)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    struct http_config http = { .listen = "127.0.0.1:0",
                                .loops = 1,
                                .connections_max = 16,
                                .header_timeout_s = 60,
                                .idle_timeout_s = 60,
                                .body_timeout_s = 60 };
    const char *reason = NULL;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    config.dir = dir;
    ck_assert_int_eq(store_open(&config, &store), KIST_OK);
    ck_assert_int_eq(auth_root_store_init(&root, BYTES_LIT("key"), BYTES_LIT("secret")), KIST_OK);
    ck_assert_int_eq(auth_accounts_begin(store, &root), KIST_OK);
    users = auth_user_store_new(&root, store);
    keyring = auth_keyring_new(auth_user_store_base(users));
    struct s3_config s3 = { .store = store,
                            .keyring = keyring,
                            .users = users,
                            .region = "us-east-1",
                            .lifecycle_day_ms = 86400000,
                            .domain = "s3.localhost" };
    ck_assert_int_eq(s3_service_open(&s3, &service), KIST_OK);
    ck_assert_int_eq(http_server_start(&http, s3_handler(service), &server, &reason), KIST_OK);
    make_bucket();
}

static void teardown(void)
{
    http_server_stop(server, 1000);
    s3_service_close(service);
    auth_keyring_free(keyring);
    auth_user_store_free(users);
    store_close(store);
    remove_dir(dir);
}

/* The reply's head. */
static void head(const char *target, char reply[4096])
{
    char request[256];
    const char *port = strrchr(http_server_address(server), ':');
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t len = 0;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    snprintf(request, sizeof(request),
             "HEAD %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", target);
    ck_assert_int_eq(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
    for (ssize_t n = 1; n > 0 && len<4095; len += n> 0 ? (size_t)n : 0)
        n = recv(fd, reply + len, 4095 - len, 0);
    reply[len] = '\0';
    close(fd);
    ck_assert_ptr_nonnull(strstr(reply, "HTTP/1.1 200"));
}

static void shows(const char *reply, const char *header)
{
    char line[256];
    snprintf(line, sizeof(line), "\r\n%s\r\n", header);
    ck_assert_msg(strstr(reply, line) != NULL, "%s is not in %s", header, reply);
}

START_TEST(test_headers)
{
    static char function[] = "arn:aws:lambda:us-east-1:123456789012:function:f:3";
    static char id[] = "0a1b", from[] = "photos", version[] = "v/1";
    static char trace[] = "0123456789abcdef0123456789abcdef";
    char reply[4096];
    Kist__Lineage lineage = KIST__LINEAGE__INIT;
    put("own", NULL);
    head("/lineage/own", reply);
    ck_assert_ptr_null(strstr(reply, "x-kist-lineage"));
    lineage.depth = 2;
    lineage.function = function;
    lineage.event_id = id;
    lineage.bucket = from;
    lineage.key = schema_data(BYTES_LIT("in/a b\r\n\xc3\xa4?.jpg"));
    lineage.version = version;
    lineage.trace = trace;
    put("derived", &lineage);
    head("/lineage/derived", reply);
    shows(reply, "x-kist-lineage-function: arn:aws:lambda:us-east-1:123456789012:function:f:3");
    shows(reply, "x-kist-lineage-event: 0a1b");
    shows(reply, "x-kist-lineage-depth: 2");
    shows(reply, "x-kist-lineage-trace: 0123456789abcdef0123456789abcdef");
    shows(reply, "x-kist-lineage-source: "
                 "photos/in/a%20b%0D%0A%C3%A4%3F.jpg?versionId=v%2F1");
    static char none[1];
    lineage.bucket = none; /* an invocation that no event made */
    lineage.trace = none;
    put("invoked", &lineage);
    head("/lineage/invoked", reply);
    shows(reply, "x-kist-lineage-depth: 2");
    ck_assert_ptr_null(strstr(reply, "x-kist-lineage-source"));
    ck_assert_ptr_null(strstr(reply, "x-kist-lineage-trace"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lineage");
    TCase *t = tcase_create("lineage");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_headers);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
