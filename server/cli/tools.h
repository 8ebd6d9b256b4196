/* Sub-commands that work on a data directory which no server uses: scrub, fsck, account, kms. */
#ifndef KIST_SERVER_CLI_TOOLS_H
#define KIST_SERVER_CLI_TOOLS_H

#include <stdbool.h>

#define CLI_NO_OPTION "unknown option, or one without a good value"

int cli_scrub(int argc, char **argv);
int cli_fsck(int argc, char **argv);
int cli_usage(int argc, char **argv);
int cli_dump(int argc, char **argv);
int cli_account(int argc, char **argv);
/* Through a server. */
int cli_site(int argc, char **argv);
int cli_user(int argc, char **argv);
int cli_key(int argc, char **argv);
int cli_policy(int argc, char **argv);
int cli_fn(int argc, char **argv);
int cli_apply(int argc, char **argv);
int cli_target(int argc, char **argv);
int cli_events(int argc, char **argv);
int cli_trace(int argc, char **argv);
int cli_lineage(int argc, char **argv);
/* Either. */
int cli_kms(int argc, char **argv);

/* Ends the process with status 2 and one line: "kist: TOOL: WHICH: WHAT (see kist TOOL --help)";
 * which NULL: it is left out. */
void cli_mistake(const char *tool, const char *which, const char *what) __attribute__((noreturn));
/* The value, when it is UTF-8; a mistake otherwise. JSON has no place for other bytes: what was
 * said would be left out without a word. */
const char *cli_need_utf8(const char *tool, const char *which, const char *value);
/* --help, or -h. */
bool cli_is_help(const char *word);
/* Whether it is a directory that a server has kept something in; a message otherwise. */
bool cli_is_data_dir(const char *dir);

/* What the tools share: arguments (--data, --help), and the store, or the end of the process. */
struct store;
const char *cli_data_dir(const char *tool, const char *help, int argc, char **argv);
struct store *cli_open_store(const char *dir);

#endif
