/* A function in C: speaks the Runtime API over a raw socket, and does what its event says. It is
 * compiled and zipped by test_runtime.c; it knows nothing of kist. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static char in[8 << 20];
static size_t in_len;
static int fd = -1;
static unsigned served;

static void die(const char *why)
{
    printf("%s\n", why);
    exit(9);
}

static void dial(void)
{
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    struct sockaddr_in to = { .sin_family = AF_INET };
    int on = 1;
    to.sin_port = htons((unsigned short)strtoul(strchr(api, ':') + 1, NULL, 10));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* As runtimes do that have sockets of one kind only. */
    struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = to.sin_port };
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
    bool six = getenv("SIX");
    fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    if (connect(fd, six ? (struct sockaddr *)&mapped : (struct sockaddr *)&to,
                six ? sizeof(mapped) : sizeof(to)) != 0)
        die("no Runtime API");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void say(const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            die("cannot send");
        data += n;
        len -= (size_t)n;
    }
}

static const char *header(const char *name)
{
    size_t len = strlen(name);
    for (const char *at = in; (at = strstr(at, "\r\n")); at += 2)
        if (strncasecmp(at + 2, name, len) == 0)
            return at + 2 + len + 2;
    return NULL;
}

/* A whole reply is in `in`; gives its status and body. */
static int hear(char **body)
{
    char *end = NULL;
    in_len = 0;
    for (;;) {
        ssize_t n = recv(fd, in + in_len, sizeof(in) - 1 - in_len, 0);
        if (n <= 0)
            die("the Runtime API has gone");
        in_len += (size_t)n;
        in[in_len] = '\0';
        if (!end && (end = strstr(in, "\r\n\r\n")))
            end += 4;
        if (end && in_len >= (size_t)(end - in) + strtoul(header("content-length"), NULL, 10))
            break;
    }
    *body = end;
    return (int)strtol(in + 9, NULL, 10);
}

static int post(const char *id, const char *what, const char *body, size_t len, char **reply)
{
    char head[512];
    int n = snprintf(head, sizeof(head),
                     "POST /2018-06-01/runtime/%s%s%s HTTP/1.1\r\nHost: x\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     id[0] ? "invocation/" : "", id, what, len);
    say(head, (size_t)n);
    say(body, len);
    return hear(reply);
}

static int next(char **body)
{
    static const char request[] =
        "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";
    say(request, sizeof(request) - 1);
    return hear(body);
}

/* In chunks, one of them cut in the middle. */
static void stream(const char *id)
{
    char head[512], *reply;
    int n = snprintf(head, sizeof(head),
                     "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n"
                     "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n6\r\nstr",
                     id);
    say(head, (size_t)n);
    say("eam\r\n3\r\ned!\r\n0\r\n\r\n", 18);
    hear(&reply);
}

/* Begins to stream, ends the run on a second connection, and goes on on the first, which then is
 * of no run. */
static void stream_and_fail(const char *id)
{
    char head[512], *reply;
    int first, n = snprintf(head, sizeof(head),
                            "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\n"
                            "Host: x\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n6\r\nbefore\r\n",
                            id);
    say(head, (size_t)n);
    first = fd;
    dial();
    post(id, "/error", "{\"errorMessage\":\"no\",\"errorType\":\"Mine\"}", 40, &reply);
    close(fd);
    fd = first;
    say("5\r\nafter\r\n0\r\n\r\n", 15);
    printf("late: %d\n", hear(&reply));
    fflush(stdout);
}

/* More than anybody takes who does not read. */
static void stream_much(const char *id)
{
    static char block[(1 << 16) + 9];
    char head[512], *reply;
    int n = snprintf(head, sizeof(head),
                     "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n"
                     "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n",
                     id);
    say(head, (size_t)n);
    memset(block, 'x', sizeof(block));
    memcpy(block, "10000\r\n", 7);
    memcpy(block + sizeof(block) - 2, "\r\n", 2);
    for (int i = 0; i < 256; i++)
        say(block, sizeof(block));
    say("0\r\n\r\n", 5);
    hear(&reply);
}

static void answer(const char *id, const char *command)
{
    static char big[7 << 20];
    char text[1024], *reply;
    if (strncmp(command, "\"wrong\"", 7) == 0) {
        int status = post("00000000-0000-0000-0000-000000000000", "/response", "1", 1, &reply);
        snprintf(text, sizeof(text), "{\"status\":%d,\"body\":%s}", status, reply);
    } else if (strncmp(command, "\"next\"", 6) == 0) {
        int status = next(&reply);
        snprintf(text, sizeof(text), "{\"status\":%d,\"body\":%s}", status, reply);
    } else if (strncmp(command, "\"twice\"", 7) == 0) {
        post(id, "/response", "\"first\"", 7, &reply);
        int status = post(id, "/response", "\"second\"", 8, &reply);
        printf("twice: %d %s\n", status, reply);
        fflush(stdout);
        return;
    } else if (strncmp(command, "\"big\"", 5) == 0) {
        memset(big, 'x', sizeof(big));
        int status = post(id, "/response", big, sizeof(big), &reply);
        printf("big: %d %s\n", status, reply);
        fflush(stdout);
        return;
    } else if (strncmp(command, "\"error\"", 7) == 0) {
        post(id, "/error", "{\"errorMessage\":\"no\",\"errorType\":\"Mine\"}", 40, &reply);
        return;
    } else if (strncmp(command, "\"stream\"", 8) == 0) {
        stream(id);
        return;
    } else if (strncmp(command, "\"much\"", 6) == 0) {
        stream_much(id);
        return;
    } else if (strncmp(command, "\"both\"", 6) == 0) {
        stream_and_fail(id);
        return;
    } else if (strncmp(command, "\"api\"", 5) == 0) {
        snprintf(text, sizeof(text), "\"%s\"", getenv("AWS_LAMBDA_RUNTIME_API"));
    } else if (strncmp(command, "\"env\"", 5) == 0) {
        snprintf(text, sizeof(text), "\"%s %s %s %s\"", getenv("AWS_LAMBDA_FUNCTION_NAME"),
                 getenv("_HANDLER"), getenv("MINE"), getenv("AWS_ENDPOINT_URL"));
    } else {
        snprintf(text, sizeof(text), "{\"pid\":%d,\"served\":%u}", (int)getpid(), served);
    }
    post(id, "/response", text, strlen(text), &reply);
}

static void misbehave(const char *command)
{
    if (strncmp(command, "\"crash\"", 7) == 0)
        abort();
    if (strncmp(command, "\"exit\"", 6) == 0)
        exit(3);
    if (strncmp(command, "\"hang\"", 6) == 0)
        pause();
    if (strncmp(command, "\"print\"", 7) == 0) {
        printf("a line\nand another\n");
        fflush(stdout);
    }
    if (strncmp(command, "\"levels\"", 8) == 0) {
        printf("{\"n\":1,\"level\":\"debug\"}\n{\"n\":2,\"level\":\"WARN\"}\nplain\n"
               "{\"n\":3,\"level\":\"info\",\"long\":\"%05000d\"}\n"
               "{\"n\":4,\"level\":\"error\",\"long\":\"%05000d\"}\n",
               3, 4);
        fflush(stdout);
    }
    if (strncmp(command, "\"memory\"", 8) == 0)
        for (;;) {
            char *more = malloc(1 << 20);
            if (!more)
                exit(4);
            memset(more, 1, 1 << 20);
        }
}

int main(void)
{
    const char *init = getenv("INIT");
    char *command, id[64], *reply;
    dial();
    if (init && strcmp(init, "exit") == 0)
        return 5;
    if (init && strcmp(init, "error") == 0) {
        post("", "init/error", "{\"errorMessage\":\"sorry\",\"errorType\":\"Init\"}", 43, &reply);
        return 1;
    }
    for (;;) {
        if (next(&command) != 200)
            die("no work");
        served++;
        const char *at = header("lambda-runtime-aws-request-id");
        memcpy(id, at, 36);
        id[36] = '\0';
        misbehave(command);
        answer(id, command);
    }
}
