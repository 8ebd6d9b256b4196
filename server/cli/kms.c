/* `kist kms`: the master keys of a data directory. Named keys are made by the running server:
 * `aws kms create-key`. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/master_keys.h"
#include "server/cli/options.h"
#include "server/cli/tools.h"

static const char usage_text[] =
    "usage: kist kms rotate [--data DIR] [--master-key-file FILE]\n"
    "\n"
    "Adds a master key, which protects what is encrypted from now on; the older ones still open\n"
    "what they protect. A running server takes it over on SIGHUP. Named keys are made by\n"
    "`aws kms create-key`, with the server's endpoint.\n";

static int __attribute__((noreturn)) mistake(void)
{
    fputs(usage_text, stderr);
    exit(2);
}

int cli_kms(int argc, char **argv)
{
    struct master_keys_source source = { .dir = default_data_dir(),
                                         .file = getenv("KIST_MASTER_KEY_FILE") };
    char id[MASTER_ID_LEN + 1];
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (argc < 1 || strcmp(argv[0], "rotate") != 0)
        mistake();
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            mistake();
        if (strcmp(argv[i], "--data") == 0)
            source.dir = argv[i + 1];
        else if (strcmp(argv[i], "--master-key-file") == 0)
            source.file = argv[i + 1];
        else
            mistake();
    }
    enum kist_err err = master_keys_rotate(&source, env_real(), id);
    if (err != KIST_OK) {
        fprintf(stderr, "kist: %s: %s\n", source.file ? source.file : source.dir,
                kist_err_text(err));
        return 1;
    }
    printf("%s\n", id);
    return 0;
}
