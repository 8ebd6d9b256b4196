/* Sub-commands that work on a data directory which no server uses: scrub, fsck, account, kms. */
#ifndef KIST_SERVER_CLI_TOOLS_H
#define KIST_SERVER_CLI_TOOLS_H

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

/* What the tools share: arguments (--data, --help), and the store, or the end of the process. */
struct store;
const char *cli_data_dir(const char *tool, const char *help, int argc, char **argv);
struct store *cli_open_store(const char *dir);

#endif
