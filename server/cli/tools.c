#include "server/cli/tools.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/cli/options.h"
#include "storage/base/cleanup.h"
#include "storage/object/store.h"

void cli_mistake(const char *tool, const char *which, const char *what)
{
    fprintf(stderr, "kist: %s: %s%s%s (see kist %s --help)\n", tool, which ? which : "",
            which ? ": " : "", what, tool);
    exit(2);
}

const char *cli_need_utf8(const char *tool, const char *which, const char *value)
{
    if (!bytes_is_utf8(bytes_str(value)))
        cli_mistake(tool, which, "not UTF-8");
    return value;
}

bool cli_is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Opening a store makes one, which only a server and `kist account create` are to do. */
bool cli_is_data_dir(const char *dir)
{
    CLEANUP_FREE char *index = NULL;
    struct stat st;
    if (asprintf(&index, "%s/index", dir) < 0)
        index = NULL;
    if (index && stat(index, &st) == 0)
        return true;
    int why = index ? errno : ENOMEM;
    bool none = why == ENOENT && stat(dir, &st) == 0;
    fprintf(stderr, "kist: %s: %s\n", dir, none ? "this is no data directory" : strerror(why));
    return false;
}

const char *cli_data_dir(const char *tool, const char *help, int argc, char **argv)
{
    const char *dir = default_data_dir();
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            printf("usage: kist %s [--data DIR]\n%s\n"
                   "  --data DIR        a data directory that no server uses (KIST_DATA, "
                   "./kist-data)\n",
                   tool, help);
            exit(0);
        }
        if (strcmp(argv[i], "--data") != 0 || i + 1 == argc)
            cli_mistake(tool, argv[i], CLI_NO_OPTION);
        dir = argv[++i];
    }
    return dir;
}

struct store *cli_open_store(const char *dir)
{
    struct store_config config = STORE_CONFIG_DEFAULT;
    struct store *s = NULL;
    config.dir = dir;
    config.scrub_days = 0;
    config.manual = true; /* nothing happens behind the tool's back, and opening sweeps at once */
    if (!cli_is_data_dir(dir))
        exit(1);
    enum kist_err err = store_open(&config, &s);
    if (err != KIST_OK) {
        fprintf(stderr, "kist: %s: %s\n", dir, kist_err_text(err));
        exit(1);
    }
    return s;
}

/* ---- scrub ---- */

static bool show(void *ctx, const struct scrub_report *r)
{
    uint64_t *last = ctx;
    uint64_t percent = r->bytes_total ? r->bytes * 100 / r->bytes_total : 100;
    percent = percent > 100 ? 100 : percent;
    if (percent == *last || !isatty(STDERR_FILENO))
        return true;
    *last = percent;
    char bar[41];
    for (unsigned i = 0; i < 40; i++)
        bar[i] = i < percent * 40 / 100 ? '#' : '.';
    bar[40] = '\0';
    fprintf(stderr, "\r[%s] %3" PRIu64 "%%  %" PRIu64 " MiB  %" PRIu64 " damaged", bar, percent,
            r->bytes >> 20, r->damaged);
    return true;
}

int cli_scrub(int argc, char **argv)
{
    struct store *s = cli_open_store(
        cli_data_dir("scrub", "Reads everything and checks it against its hashes.", argc, argv));
    struct scrub_report report;
    uint64_t last = UINT64_MAX;
    enum kist_err err = store_scrub(s, show, &last, &report);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\n");
    printf("%" PRIu64 " extents, %" PRIu64 " bytes, %" PRIu64 " damaged\n", report.extents,
           report.bytes, report.damaged);
    if (err != KIST_OK)
        fprintf(stderr, "kist: scrub: %s\n", kist_err_text(err));
    store_close(s);
    return err != KIST_OK || report.damaged ? 1 : 0;
}

/* ---- fsck ---- */

static void finding(void *ctx, const char *text)
{
    (void)ctx;
    printf("%s\n", text);
}

int cli_fsck(int argc, char **argv)
{
    struct store *s = cli_open_store(cli_data_dir(
        "fsck", "Checks every cross-reference of the index and the packs.", argc, argv));
    struct fsck_report r = { 0 };
    enum kist_err err = store_reclaim(s);
    if (err == KIST_OK)
        err = store_fsck(s, finding, NULL, &r);
    if (err != KIST_OK)
        fprintf(stderr, "kist: fsck: %s\n", kist_err_text(err));
    printf("%" PRIu64 " objects, %" PRIu64 " uploads, %" PRIu64 " parts, %" PRIu64
           " chunks, %" PRIu64 " extents, %" PRIu64 " garbage, %" PRIu64 " freed\n"
           "%" PRIu64 " live bytes, %" PRIu64 " bytes in packs, %" PRIu64 " problems\n",
           r.objects, r.uploads, r.parts, r.chunks, r.extents, r.garbage, r.freed, r.live_bytes,
           r.pack_bytes, r.problems);
    store_close(s);
    return err != KIST_OK || r.problems ? 1 : 0;
}
