/* kist: one program, sub-commands. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/cli/bench.h"
#include "server/cli/tools.h"
#include "server/functions/sandbox.h"
#include "server/serve.h"
#include "storage/base/bytes.h"

#define VERSION "0.1.0"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    { "serve", serve, "serve a data directory over S3" },
    { "bench", cli_bench, "load any S3 endpoint and measure it" },
    { "scrub", cli_scrub, "check all stored bytes against their hashes" },
    { "account", cli_account, "make, list and remove accounts, and their keys" },
    { "user", cli_user, "make, list and remove users" },
    { "key", cli_key, "make, list and remove users' access keys" },
    { "policy", cli_policy, "put, attach, detach, list and remove policies" },
    { "kms", cli_kms, "make and list keys for encryption, rotate the one above them" },
    { "site", cli_site, "publish a directory as a website, list releases, roll back" },
    { "trace", cli_trace, "what followed from an upload, function by function" },
    { "lineage", cli_lineage, "which function wrote an object, and what from" },
    { "usage", cli_usage, "what buckets hold, and who asked for how much" },
    { "events", cli_events, "show, redrive, pause and replay what targets are told" },
    { "fn", cli_fn, "deploy, invoke, watch and remove functions" },
    { "apply", cli_apply, "functions, triggers, buckets, schedules and sites as one file" },
    { "target", cli_target, "where events go that no function gets: webhooks and brokers" },
    { "dump", cli_dump, "index and log of a data directory as lines of JSON" },
    { "fsck", cli_fsck, "check every cross-reference of a data directory" },
};

static void usage(FILE *f)
{
    fprintf(f, "usage: kist COMMAND [options]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
    fprintf(f, "\nkist COMMAND --help says more.\n");
}

/* What was printed must have arrived: the secret of a new key is shown once. Commands that change
 * something come to their end even when nobody reads any more (kist ... | head), and then end as
 * the signal would have ended them. */
static int close_output(int rc)
{
    struct pollfd out = { .fd = STDOUT_FILENO };
    bool before = ferror(stdout), failed = fflush(stdout) != 0;
    int why = failed ? errno : 0;
    if (!before && !failed)
        return rc;
    if (poll(&out, 1, 0) == 1 && out.revents & POLLERR) {
        (void)signal(SIGPIPE, SIG_DFL);
        (void)raise(SIGPIPE);
    }
    fprintf(stderr, "kist: standard output: %s\n", why ? strerror(why) : "it cannot be written");
    return rc ? rc : 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    /* Not for people: the server starts itself so. */
    if (strcmp(argv[1], SANDBOX_ZYGOTE_COMMAND) == 0)
        return sandbox_zygote_main();
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return close_output(commands[i].run(argc - 2, argv + 2));
    if (strcmp(argv[1], "--version") == 0) {
        printf("kist %s\n", VERSION);
        return 0;
    }
    bool help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
                strcmp(argv[1], "help") == 0;
    if (!help)
        fprintf(stderr, "kist: unknown command: %s\n\n", argv[1]);
    usage(help ? stdout : stderr);
    return help ? 0 : 2;
}
