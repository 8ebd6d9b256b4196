/* `kist dump`: the rows of the index and the commands in the log, a line of JSON each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/cli/options.h"
#include "server/cli/tools.h"
#include "storage/object/store.h"

static const char usage_text[] =
    "usage: kist dump [DIR | --data DIR]\n"
    "Prints the rows of the index and then the commands in the log of a data\n"
    "directory that no server uses (KIST_DATA, ./kist-data), a line of JSON each.\n"
    "Secrets are not shown.\n";

static bool print(void *ctx, struct bytes line)
{
    (void)ctx;
    return fwrite(line.ptr, 1, line.len, stdout) == line.len && putchar('\n') != EOF;
}

int cli_dump(int argc, char **argv)
{
    const char *dir = NULL;
    for (int i = 0; i < argc; i++) {
        if (cli_is_help(argv[i])) {
            fputs(usage_text, stdout);
            return 0;
        }
        bool named = strcmp(argv[i], "--data") == 0 && i + 1 < argc;
        if (!named && argv[i][0] == '-')
            cli_mistake("dump", argv[i], CLI_NO_OPTION);
        if (dir)
            cli_mistake("dump", argv[i], "one directory at a time");
        i += named;
        dir = argv[i];
    }
    enum kist_err err = store_dump(dir ? dir : default_data_dir(), print, NULL);
    if (err != KIST_OK)
        fprintf(stderr, "kist: dump: %s\n",
                err == KIST_E_NOT_FOUND ? "this is no data directory" : kist_err_text(err));
    return err == KIST_OK ? 0 : 1;
}
